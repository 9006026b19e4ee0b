"""Cut a mixture into fragments, run the network over them, put the stems together.

The target fields of a mixture's fragments lie side by side. Seamless, each fragment
carries all the context that its target field depends on, so that the result depends
neither on the field's length nor on the batch size.

Conventions: audio is float32 at the model's rate, time last: a mixture has shape
(frames,), estimates have shape (estimates, frames). The network is a function
`predict` from (batch, input_length) to (estimates, batch, target_field_length +
2 * target_padding).
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator
from typing import Callable, Protocol, runtime_checkable

import numpy as np

from sswavenet.config.session import Config
from sswavenet.separation.gain import GainControl

Predict = Callable[[np.ndarray], np.ndarray]
# Is told how many more samples of a mixture have been separated.
Progress = Callable[[int], object]


@runtime_checkable
class StepwisePredict(Protocol):
    """A network that goes through its fragments step by step."""

    def run(self, fragments: np.ndarray, progress: Progress) -> np.ndarray:
        """What a call gives; tells of its steps, in target samples, from any thread."""


@dataclasses.dataclass(frozen=True)
class Framing:
    """How a mixture is cut into fragments, all lengths in samples."""

    target_field_length: int  # what a fragment adds to each stem
    target_padding: int  # what the network puts out on either side of that, cropped
    input_length: int  # one fragment
    lead: int  # zeros before the mixture
    lost: int  # how much shorter the stems are than the mixture, half on each side
    # Sample rate at which quiet mixtures are amplified for the network (see `gain`);
    # None where everything is left at its level
    amplified: int | None

    @classmethod
    def seamless(cls, config: Config, target_field_length: int) -> Framing:
        """Every target sample with all of its context; stems as long as mixtures."""
        return cls(
            target_field_length=target_field_length,
            target_padding=config.head_margin,
            input_length=target_field_length + 2 * config.context_length,
            lead=config.context_length,
            lost=0,
            amplified=config.sample_rate,
        )

    @classmethod
    def original(cls, config: Config, target_field_length: int) -> Framing:
        """The 2018 framing: the network pads the fragments' edges with zeros."""
        return cls(
            target_field_length=target_field_length,
            target_padding=config.target_padding,
            input_length=config.receptive_field_length + target_field_length - 1,
            lead=0,
            lost=config.receptive_field_length - 1,
            amplified=None,
        )

    @property
    def lengths(self) -> dict[str, int]:
        """What the network must be built for: keywords of `models.build_wavenet`."""
        return {
            "target_field_length": self.target_field_length,
            "target_padding": self.target_padding,
            "input_length": self.input_length,
        }

    def num_fragments(self, mixture_length: int) -> int:
        """How many fragments a mixture of so many samples takes."""
        return -(-(mixture_length - self.lost) // self.target_field_length)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network built for one shape of its input."""

    framing: Framing
    batch_size: int
    predict: Predict


def estimate_blocks(
    blocks: Iterable[np.ndarray],
    network: Network,
    *,
    num_estimates: int,
    progress: Progress | None = None,
    unheard: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Run the network over a mixture in pieces of shape (frames,), batch by batch.

    Yields the next part of the mixture that the framing leaves, and its estimates:
    shapes (frames',) and (estimates, frames'). `progress` is told while the network
    runs, not only between its passes. From the first `unheard` samples only the gain
    follows; their estimates are zero.
    """
    framing = network.framing
    if framing.amplified is None:
        yield from _run_batches(blocks, network, num_estimates, progress)
        return
    gain = GainControl(framing.amplified, framing.lead)
    waiting: list[np.ndarray] = []

    def amplified() -> Iterator[np.ndarray]:
        for block in blocks:
            waiting.append(block)
            yield gain.amplify(block)
        yield gain.finish()

    def heard() -> Iterator[np.ndarray]:
        place = 0
        for samples in amplified():
            yield samples[max(0, unheard - place) :]
            place += len(samples)

    parts = _run_batches(heard(), network, num_estimates, progress)
    for number, (_, estimates) in enumerate(parts):
        if number == 0:
            estimates = np.pad(estimates, ((0, 0), (unheard, 0)))
        mixture, count = np.concatenate(waiting), estimates.shape[1]
        waiting[:] = [mixture[count:]]
        yield mixture[:count], gain.take_back(estimates)


def _run_batches(
    blocks: Iterable[np.ndarray],
    network: Network,
    num_estimates: int,
    progress: Progress | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`estimate_blocks` at the level that the blocks have.

    Every batch has the same shape; the last one is filled up with zeros. No more of
    the mixture is kept than one batch needs.
    """
    framing, batch_size = network.framing, network.batch_size
    hop, padding = framing.target_field_length, framing.target_padding
    width = (batch_size - 1) * hop + framing.input_length
    first = framing.lead + framing.lost // 2  # in a batch, of what its stems stand for
    fragments = np.zeros((batch_size, framing.input_length), np.float32)

    def run(samples: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        count = -(-length // hop)
        for row in range(count):
            fragments[row] = samples[row * hop : row * hop + framing.input_length]
        fragments[count:] = 0
        outputs = _predict(network.predict, fragments, length, progress)
        fields = outputs[:, :count, padding : padding + hop]
        estimates = fields.reshape(num_estimates, -1)[:, :length]
        return samples[first : first + length], estimates

    waiting = [np.zeros(framing.lead, np.float32)]
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= width:
            samples = np.concatenate(waiting)
            while len(samples) >= width:
                yield run(samples, batch_size * hop)
                samples = samples[batch_size * hop :]
            waiting = [samples]
    samples = np.concatenate(waiting)
    remaining = len(samples) - framing.lead - framing.lost
    samples = np.pad(samples, (0, width + batch_size * hop))
    while remaining > 0:
        length = min(remaining, batch_size * hop)
        yield run(samples, length)
        samples, remaining = samples[length:], remaining - length


def _predict(
    predict: Predict, fragments: np.ndarray, length: int, progress: Progress | None
) -> np.ndarray:
    """Run a pass, and tell of its samples: step by step where it has some."""
    if progress is None:
        return predict(fragments)
    lock, left = threading.Lock(), length

    def step(samples: int) -> None:
        nonlocal left
        with lock:  # the last batch may be filled up, so there may be more steps
            samples = min(samples, left)
            left -= samples
        progress(samples)

    if isinstance(predict, StepwisePredict):
        outputs = predict.run(fragments, step)
    else:
        outputs = predict(fragments)
    step(length)
    return outputs


def estimate_stems(
    mixture: np.ndarray, network: Network, *, num_estimates: int
) -> np.ndarray:
    """`estimate_blocks` in memory: (frames,) to (estimates, frames - lost)."""
    parts = estimate_blocks([mixture], network, num_estimates=num_estimates)
    return np.concatenate([estimates for _, estimates in parts], axis=1)
