"""`python -m sswavenet.app`."""

from __future__ import annotations

import sys

from sswavenet.app.command import main

if __name__ == "__main__":
    sys.exit(main())
