"""Batches of a training: each follows from its place alone, and is drawn ahead.

Every fragment is drawn by a generator of its own that is seeded by (seed, subset,
epoch, step, fragment). So there is no random stream to save, a training goes on after
any step with the same batches, and several processes that draw a share each draw
together what one would.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from typing import Any

import numpy as np

SUBSET_NUMBERS = {"train": 0, "validation": 1}


def stream(
    dataset: Any, subset: str, seed: int, epoch: int, steps: range, fragments: range
) -> Iterator[tuple]:
    """What `draw` gives for each of `steps`, the next one while the last is used."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        def start(step: int) -> concurrent.futures.Future:
            return pool.submit(draw, dataset, subset, (seed, epoch, step), fragments)

        pending = start(steps.start)
        for step in steps:
            batch = pending.result()
            if step + 1 in steps:
                pending = start(step + 1)
            yield batch


def draw(
    dataset: Any, subset: str, place: tuple[int, int, int], fragments: range
) -> tuple[np.ndarray, list[np.ndarray]]:
    """One batch, or this process's share of it.

    Args:
        dataset: where to draw.
        subset: "train" or "validation".
        place: seed of the training, epoch, and step in it.
        fragments: which of the batch's fragments.

    Returns:
        Inputs, shape (fragments, samples), and such targets for each output.
    """
    seed, epoch, step = place
    key = [seed, SUBSET_NUMBERS[subset], epoch, step]
    drawn = [
        dataset.draw_batch(subset, 1, np.random.default_rng([*key, fragment]))
        for fragment in fragments
    ]
    inputs = np.concatenate([fragment[0] for fragment in drawn])
    targets = [np.concatenate(part) for part in zip(*(d[1] for d in drawn))]
    return inputs, targets
