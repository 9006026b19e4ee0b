"""Choose the shape of the network's input, within the memory there is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Callable

from sswavenet.config.session import Config
from sswavenet.separation.framing import Framing
from util import UserError

# Target samples of one pass: enough to keep the context's share of the work low,
# few enough to keep the activations near the processor's caches.
PASS_LENGTH = 16000
# Target samples of a fragment that is run by blocks: its context is 5 % of the work.
BLOCKWISE_LENGTH = 160000
MEMORY_BUDGET = 2 * 2**30
# Where Linux says what a container may use, and uses: version 2 and 1 of its interface.
CGROUP = pathlib.Path("/sys/fs/cgroup")
CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A network that runs each fragment as a stream of blocks.

    Args:
        length: samples of a block.
        num_parallel: fragments it runs side by side.
    """

    length: int
    num_parallel: int


def bytes_needed(
    config: Config, framing: Framing, batch_size: int, blocks: Blocks | None = None
) -> int:
    """Estimated peak of memory for one pass of the network.

    What the blocks put out lives until the skips are summed; its length falls from
    the fragment's to the target field's. Then the head's widest layer, before and
    after its ReLU. Measured peaks lie within 25 % of this, plus 200 MiB for compiling.
    """
    if blocks is not None:
        # One block for each fragment that runs, and the context it keeps; all
        # fragments and what is put out for them.
        block = bytes_needed(config, Framing.seamless(config, blocks.length), 1)
        signals = framing.input_length + framing.target_field_length * (
            1 + len(config.task.estimates)
        )
        return min(batch_size, blocks.num_parallel) * block + 4 * batch_size * signals
    channels = config.num_residual_blocks * (
        config.residual_channels + config.skip_channels
    )
    stacks = channels * (framing.input_length + framing.target_field_length) // 2
    head = 2 * config.final_channels[0] * framing.target_field_length
    return 4 * batch_size * max(stacks, head)


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


def check_network(config: Config) -> None:
    """Refuse a network whose weights alone do not fit into the memory.

    Raises:
        UserError: with the memory needed and the memory available.
    """
    # Twice: as they are read, and as the backend holds them.
    _refuse_beyond_memory(
        f"a network of {config.num_params} parameters", 2 * 4 * config.num_params
    )


def check_training(config: Config) -> None:
    """Refuse a training that does not fit into the memory.

    Raises:
        UserError: with the memory needed and the memory available.
    """
    # Weights, their gradients and two moments of the optimizer; one pass of the
    # network, the least that a step takes.
    framing = Framing.original(config, config.target_field_length)
    activations = bytes_needed(config, framing, config.batch_size)
    _refuse_beyond_memory(
        f"training a network of {config.num_params} parameters on "
        f"{config.batch_size} fragments of {config.input_length} samples",
        4 * 4 * config.num_params + activations,
    )


def _refuse_beyond_memory(what: str, needed: int) -> None:
    available = available_memory()
    if needed > available:
        raise UserError(
            f"{what} needs about {needed / 2**20:.0f} MiB of memory, but "
            f"{available / 2**20:.0f} MiB are available"
        )


def check_memory(
    config: Config, framing: Framing, batch_size: int, blocks: Blocks | None = None
) -> None:
    """Refuse a pass that does not fit into the memory.

    Raises:
        UserError: with the memory needed and the memory available.
    """
    _refuse_beyond_memory(
        f"a target field of {framing.target_field_length} samples, {batch_size} a "
        "batch,",
        bytes_needed(config, framing, batch_size, blocks),
    )


def choose_shape(
    config: Config,
    make_framing: Callable[[Config, int], Framing],
    mixture_lengths: Sequence[int],
    *,
    target_field_length: int | None = None,
    batch_size: int | None = None,
    blocks: Blocks | None = None,
) -> tuple[Framing, int]:
    """The framing and the batch size of a run, within a budget of memory.

    Args:
        config: the session's configuration.
        make_framing: `Framing.seamless` or `Framing.original`.
        mixture_lengths: samples of each mixture.
        target_field_length: samples. Defaults to about `PASS_LENGTH` a batch, less
            where the longest mixture needs less.
        batch_size: fragments. Defaults to about `PASS_LENGTH` samples a batch.
        blocks: how fragments are run, if not in one pass. Then the default field is
            about `BLOCKWISE_LENGTH` and the default batch what runs side by side.

    Raises:
        UserError: what was given does not fit into the memory.
    """
    longest = max([1, *mixture_lengths])
    if blocks is not None:
        batch_size = batch_size or blocks.num_parallel
        if target_field_length is None:
            rounds = -(-longest // (BLOCKWISE_LENGTH * batch_size))
            target_field_length = -(-longest // (rounds * batch_size))
        framing = make_framing(config, target_field_length)
        check_memory(config, framing, batch_size, blocks)
        return framing, batch_size
    budget = min(MEMORY_BUDGET, available_memory() // 4)
    if target_field_length is None:
        most = max(1, PASS_LENGTH // (batch_size or 1))
        num_fragments = -(-longest // most)
        target_field_length = -(-longest // num_fragments)
        while target_field_length > 1 and budget < bytes_needed(
            config, make_framing(config, target_field_length), batch_size or 1
        ):
            target_field_length //= 2
    framing = make_framing(config, target_field_length)
    if batch_size is None:
        fitting = budget // bytes_needed(config, framing, 1)
        wanted = (PASS_LENGTH + 2 * config.context_length) // framing.input_length
        needed = framing.num_fragments(longest)
        batch_size = max(1, min(fitting, wanted, needed))
    check_memory(config, framing, batch_size)
    return framing, batch_size
