"""Files of weights: the 2018 program's and ours."""

from sswavenet.checkpoints.find import (
    NEWEST,
    STOPPED,
    check_session,
    find_latest,
    find_resumable,
    find_session,
    find_stopped,
    is_of,
    numbered,
    stopped_states,
)
from sswavenet.checkpoints.read import (
    SLOTS,
    Checkpoint,
    epoch_of,
    read_checkpoint,
    state_of,
)
from sswavenet.checkpoints.write import write_checkpoint

__all__ = [
    "NEWEST",
    "SLOTS",
    "STOPPED",
    "Checkpoint",
    "check_session",
    "epoch_of",
    "find_latest",
    "find_resumable",
    "find_session",
    "find_stopped",
    "is_of",
    "numbered",
    "read_checkpoint",
    "state_of",
    "stopped_states",
    "write_checkpoint",
]
