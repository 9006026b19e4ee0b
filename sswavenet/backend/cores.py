"""How many processor cores there are."""

from __future__ import annotations

import os


def num_cores() -> int:
    """Processor cores that this process may use.

    `OMP_NUM_THREADS` in the environment says it where several processes share a
    machine, as under Slurm and Ray, which set it.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
