"""Batches of a training: each follows from its place alone, and is drawn ahead.

Every fragment is drawn by a generator of its own that is seeded by (seed, subset,
epoch, step, fragment). So there is no random stream to save, a training goes on after
any step with the same batches, several processes that draw a share each draw together
what one would, and it does not matter which threads draw them, in which order.
"""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Iterator
from typing import Any

import numpy as np

from sswavenet.backend.cores import num_cores

SUBSET_NUMBERS = {"train": 0, "validation": 1}
MAX_THREADS = 16


def num_threads() -> int:
    """Threads that draw, one batch each; as many batches are drawn ahead.

    One where the network computes on the few cores that there are.
    """
    cores = num_cores()
    return 1 if cores <= 2 else min(cores, MAX_THREADS)


def prefetch(
    dataset: Any, subset: str, seed: int, epoch: int, steps: range, fragments: range
) -> Iterator[tuple]:
    """What `draw` gives for each of `steps`, the next ones while the last is used."""
    threads, waiting = num_threads(), iter(steps)
    pending: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:

        def start_next() -> None:
            for step in waiting:
                place = (seed, epoch, step)
                pending.append(pool.submit(draw, dataset, subset, place, fragments))
                return

        for _ in range(threads):
            start_next()
        try:
            while pending:
                batch = pending.popleft().result()
                start_next()
                yield batch
        finally:
            for future in pending:
                future.cancel()


def draw(
    dataset: Any, subset: str, place: tuple[int, int, int], fragments: range
) -> tuple[np.ndarray, list[np.ndarray]]:
    """One batch, or this process's share of it: inputs, and targets for each output.

    Both of shape (fragments, samples). `place` is the seed of the training, the epoch,
    and the step in it; `fragments` says which of the batch's fragments are drawn.
    """
    seed, epoch, step = place
    key = [seed, SUBSET_NUMBERS[subset], epoch, step]
    drawn = [
        dataset.draw_fragment(subset, np.random.default_rng([*key, fragment]))
        for fragment in fragments
    ]
    targets = zip(*(targets for _, targets in drawn))
    return np.stack([mixture for mixture, _ in drawn]), [np.stack(t) for t in targets]
