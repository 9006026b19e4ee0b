"""How much memory there is, and how much of it networks take."""

from __future__ import annotations

import contextlib
import os
import pathlib

from sswavenet.config.session import Config
from util import UserError

# Where Linux says what a container may use, and uses: version 2 and 1 of its interface.
CGROUP = pathlib.Path("/sys/fs/cgroup")
CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def available_memory() -> int:
    """Bytes to be had without swapping; where that is unknown, all there are.

    Within a container, what is left of its limit: who takes more is killed.
    """
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    for limit, used in CGROUP_FILES:
        path = CGROUP / limit
        # Where there is no limit there is no file, or the word "max" in it.
        with contextlib.suppress(OSError, ValueError):
            left = int(path.read_text()) - int((CGROUP / used).read_text())
            for line in path.with_name("memory.stat").read_text().splitlines():
                if line.startswith("inactive_file "):  # a cache, given up on demand
                    left += int(line.split()[1])
            available = max(0, min(available, left))
    return available


def bytes_of_pass(
    config: Config, *, input_length: int, target_field_length: int, batch_size: int
) -> int:
    """Estimated peak of memory for one pass of the network.

    What the blocks put out lives until the skips are summed; its length falls from
    the fragment's to the target field's. Then the head's widest layer, before and
    after its ReLU. Measured peaks lie within 25 % of this, plus 200 MiB for compiling.
    """
    channels = config.num_residual_blocks * (
        config.residual_channels + config.skip_channels
    )
    stacks = channels * (input_length + target_field_length) // 2
    head = 2 * config.final_channels[0] * target_field_length
    return 4 * batch_size * max(stacks, head)


def check_memory(what: str, needed: int) -> None:
    """Refuse what does not fit into the memory, and say which; `needed` is in bytes."""
    available = available_memory()
    if needed > available:
        raise UserError(
            f"{what} needs about {needed / 2**20:.0f} MiB of memory, but "
            f"{available / 2**20:.0f} MiB are available"
        )


def check_network(config: Config) -> None:
    """Refuse a network whose weights alone do not fit into the memory."""
    # Twice: as they are read, and as the backend holds them.
    check_memory(
        f"a network of {config.num_params} parameters", 2 * 4 * config.num_params
    )


def check_training(config: Config) -> None:
    """Refuse a training that does not fit into the memory."""
    # Weights, their gradients and two moments of the optimizer; one pass of the
    # network, the least that a step takes.
    activations = bytes_of_pass(
        config,
        input_length=config.input_length,
        target_field_length=config.target_field_length,
        batch_size=config.batch_size,
    )
    check_memory(
        f"training a network of {config.num_params} parameters on "
        f"{config.batch_size} fragments of {config.input_length} samples",
        4 * 4 * config.num_params + activations,
    )
