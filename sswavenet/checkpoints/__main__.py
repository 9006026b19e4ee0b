"""Print what a checkpoint is: `python -m sswavenet.checkpoints FILE`."""

import sys

from sswavenet.checkpoints import files

sys.exit(files.main())
