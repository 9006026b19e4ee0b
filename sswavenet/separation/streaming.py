"""Separate a stream: samples in, finished stem samples out, context kept in between.

A stream is a function from its next block of samples to what the network puts out
then, `Config.context_length` samples late; `stream_keras` says how,
and `stream_fused` computes the same as compiled code, where there is a compiler.
"""

from __future__ import annotations

import concurrent.futures
from typing import Callable

import numpy as np

from sswavenet.backend import cores
from sswavenet.backend.choice import is_jax_on_processor
from sswavenet.config.session import Config
from sswavenet.separation import stream_fused
from sswavenet.separation.arrays import as_piece
from sswavenet.separation.framing import Progress
from sswavenet.separation.gain import GainControl
from sswavenet.sound.loudness import check_samples
from util import UserError

# Samples of a block: few enough for a layer's channels to stay in the cache of one
# core, measured on the full-size network.
BLOCK_LENGTH = 1600

Stream = Callable[[np.ndarray], np.ndarray]


def is_compiled(config: Config, precision: str) -> bool:
    """Whether streams run as compiled code, without Keras."""
    return is_jax_on_processor() and stream_fused.available(config, precision)


def build_streams(
    config: Config,
    weights: dict,
    block_length: int,
    *,
    precision: str = "float32",
    num_parallel: int = 1,
) -> Callable[[], Stream]:
    """What begins streams: compiled code or, for float32 without it, Keras.

    `num_parallel` streams go on side by side, and share the cores. Raises UserError
    where there is nothing here that computes in this precision.
    """
    given = (config, weights, block_length)
    if is_compiled(config, precision):
        num_threads = max(1, cores.num_cores() // num_parallel)
        return stream_fused.build_streams(*given, precision, num_threads)
    from sswavenet.backend import compat
    from sswavenet.separation import stream_keras

    if precision == "bfloat16" and compat.is_jax_on_cpu():
        raise UserError(
            "--precision bfloat16 on a processor needs a C++ compiler, AVX512_FP16 or "
            "AVX512_BF16, and a network whose channels are multiples of 16: leave it "
            "out"
        )
    return stream_keras.build_streams(*given, precision)


class BlockwisePredict:
    """What `models.build_predict` makes for seamless framing, for processors.

    Each fragment is run as a stream of short blocks, which stay in the processor's
    cache, and `num_threads` fragments of a batch run side by side. It is a function
    from (batch, input_length) to (estimates, batch, padded target field), float32, zero
    in the padding.
    """

    def __init__(
        self,
        config: Config,
        weights: dict,
        *,
        target_field_length: int,
        target_padding: int,
        input_length: int,
        num_threads: int = 1,
        precision: str = "float32",
    ):
        self._context = config.context_length
        self._num_estimates = len(config.task.estimates)
        self._length, self._padding = target_field_length, target_padding
        self._num_blocks = -(-input_length // BLOCK_LENGTH)
        self._size = -(-input_length // self._num_blocks)
        self._begin = build_streams(
            config, weights, self._size, precision=precision, num_parallel=num_threads
        )
        # For all passes: new threads would each take memory of their own.
        self._pool = concurrent.futures.ThreadPoolExecutor(num_threads)

    def __call__(self, fragments: np.ndarray) -> np.ndarray:
        """Run a batch."""
        return self.run(fragments, lambda samples: None)

    def run(self, fragments: np.ndarray, progress: Progress) -> np.ndarray:
        """Run a batch, and tell of the target samples that are done."""
        padded = self._length + 2 * self._padding
        shape = (self._num_estimates, len(fragments), padded)
        outputs = np.zeros(shape, np.float32)
        field = slice(self._padding, self._padding + self._length)
        done = [
            self._pool.submit(self._run, fragment, outputs[:, row, field], progress)
            for row, fragment in enumerate(fragments)
        ]
        concurrent.futures.wait(done)  # all of them, before an error of one is raised
        for future in done:
            future.result()
        return outputs

    def _run(
        self, fragment: np.ndarray, output: np.ndarray, progress: Progress
    ) -> None:
        size, late = self._size, 2 * self._context
        fragment = np.pad(fragment, (0, self._num_blocks * size - len(fragment)))
        # What silence leaves is known, so a fragment's silent beginning is left out
        # as far as nothing of the target field falls into it.
        sounding = np.flatnonzero(fragment)
        silent = sounding[0] if len(sounding) else len(fragment)
        first = min(silent, late) // size
        stream = self._begin()
        for start in range(first * size, len(fragment), size):
            estimates = stream(fragment[start : start + size])
            # Of the target field, which comes out so much later than it went in.
            begin, end = max(0, start - late), min(self._length, start + size - late)
            if end > begin:
                output[:, begin:end] = estimates[:, begin + late - start :][
                    :, : end - begin
                ]
                progress(end - begin)


class StreamingSeparator:
    """Separates one stream of mono samples at the model's rate.

    Stem samples come out `config.context_length` samples after the mixture's, plus what
    is missing to a whole block, plus 10 to 20 ms for the level (see `gain`). The stems,
    remainder included, sum to the mixture. The network takes `block_length` samples at
    a time.
    """

    def __init__(
        self,
        config: Config,
        weights: dict,
        block_length: int = BLOCK_LENGTH,
        precision: str = "float32",
    ):
        self.config = config
        self.block_length = block_length
        self._begin = build_streams(config, weights, block_length, precision=precision)
        self.reset()

    @property
    def latency(self) -> int:
        """Samples that may have come in after one before its stems come out."""
        pieces = 2 * self._gain.length
        return self.config.context_length + self.block_length + pieces - 2

    def reset(self) -> None:
        """Begin a new stream."""
        self._stream = self._begin()
        config = self.config
        self._gain = GainControl(config.sample_rate, config.context_length)
        self._waiting = np.zeros(0, np.float32)  # not yet a whole block
        self._mixture = np.zeros(0, np.float32)  # whose stems are still to come
        self._to_drop = config.context_length

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add samples, any number of shape (frames,), full scale 1.0.

        Returns the stem samples that are finished now, in the order of `Task.stems`:
        shape (stems, frames'), float32; frames' may be 0. Raises UserError where what
        was given is no such samples, and goes on as if it had not been.
        """
        samples = as_piece(samples)
        self._mixture = np.concatenate([self._mixture, samples])
        return self._advance(self._gain.amplify(samples))

    def finish(self) -> np.ndarray:
        """End the stream; the rest of the stems, as `push` returns them."""
        silence = np.zeros(self.config.context_length + self.block_length, np.float32)
        rest = self._advance(np.concatenate([self._gain.finish(), silence]))
        self.reset()
        return rest

    def _advance(self, samples: np.ndarray) -> np.ndarray:
        self._waiting = np.concatenate([self._waiting, samples])
        size, parts = self.block_length, []
        while len(self._waiting) >= size:
            block, self._waiting = self._waiting[:size], self._waiting[size:]
            estimates = self._stream(block)
            late = min(self._to_drop, size)
            self._to_drop -= late
            parts.append(estimates[:, late:])
        num_estimates = len(self.config.task.estimates)
        estimates = np.concatenate([np.zeros((num_estimates, 0), "f4"), *parts], axis=1)
        estimates = self._gain.take_back(estimates[:, : len(self._mixture)])
        count = estimates.shape[1]
        mixture, self._mixture = self._mixture[:count], self._mixture[count:]
        remainder = mixture - estimates.sum(axis=0)
        return np.concatenate([estimates, remainder[None]])


def pipe(
    separator: StreamingSeparator,
    read: Callable[[int], bytes],
    write: Callable[[bytes], object],
) -> None:
    """Separate raw samples, mono float32 in the machine's byte order, as they come.

    `read` gives at most so many bytes that have come in, none at the end alone; `write`
    gets the stems' samples interleaved as soon as they are finished. Raises UserError
    where the samples end within one, or one that came in or is to go out is not finite.
    """

    def put_out(stems: np.ndarray) -> None:
        if not np.isfinite(stems).all():
            raise UserError("the network's output has NaN or infinity")
        write(np.ascontiguousarray(stems.T).tobytes())

    rest = b""
    while chunk := read(4 * separator.block_length):
        data = rest + chunk
        whole = len(data) // 4 * 4
        data, rest = data[:whole], data[whole:]
        samples = np.frombuffer(data, np.float32)
        check_samples(samples, "stdin: ")
        put_out(separator.push(samples))
    if rest:
        raise UserError(
            f"expected whole float32 samples on stdin, got {len(rest)} bytes more"
        )
    put_out(separator.finish())
