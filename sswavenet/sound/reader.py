"""Audio files and videos, read block by block, so that any length fits in memory.

libsndfile decodes PCM (WAV, AIFF, CAF, ...), FFmpeg everything else (FLAC, MP3, AAC,
videos, ...). What is damaged is told of, or refused where that is asked for.

Conventions: audio is float32, shape (frames,) where mono and (frames, channels)
otherwise, full scale 1.0; rates are in Hz.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from sswavenet.sound.choice import open_decoder
from sswavenet.sound.loudness import check_samples
from sswavenet.sound.pcm import UnreadableError
from sswavenet.sound.phase import Cancellation
from sswavenet.sound.resampling import FILTER_REACH, rate_problem, resample, to_mono
from sswavenet.sound.tags import Tags
from util import UserError

# Decoded at a time, of all channels together, and made of them at the wanted rate.
BLOCK_FRAMES = 2**18
# Seconds that a file may be shorter than it says, since encoders count differently.
TOLERANCE = 0.5
# Share of the energy that cancels in the mean from which on that is worth a warning.
CANCELLED = 0.1


class AudioReader:
    """An audio file at its own rate and with its own channels, block by block.

    A context manager. It goes through the file once, from the frame `start` up to
    `stop`. `sample_rate` is in Hz; `damage` says, for messages, what is wrong with the
    file, once all was read, and is refused if strict. Raises UserError where the file
    is missing, is no audio file, a pipe or a device, or holds fewer samples than its
    header says where these are stored one by one.
    """

    def __init__(
        self,
        path: os.PathLike,
        *,
        start: int = 0,
        stop: int | None = None,
        strict: bool = False,
    ):
        self.path = path
        self.damage = ""
        self._start, self._stop, self._strict = start, stop, strict
        self._decoder = open_decoder(path)
        self.sample_rate = self._decoder.sample_rate
        self.channels = self._decoder.channels
        self._cancellation = Cancellation()
        self._frames: int | None = None
        self._blocks: Iterator[np.ndarray] | None = None
        self._left = np.zeros((0, self.channels), np.float32)

    def __enter__(self) -> AudioReader:
        """Give the reader itself."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Close the file."""
        self._decoder.close()

    def select(self, start: int, stop: int | None) -> None:
        """Choose another piece, before anything is read."""
        self._start, self._stop, self._frames = start, stop, None

    @property
    def rough_frames(self) -> int:
        """Frames of the whole file as far as its header tells; 0 where unknown."""
        return self._decoder.frames

    @property
    def frames(self) -> int:
        """Frames of the piece: by what the file says, exact once all was read."""
        if self._frames is None:
            total = self._decoder.frames
            if self._decoder.is_guess or not total:
                total = self._decoder.count()
            stop = total if self._stop is None else min(total, self._stop)
            self._frames = max(0, stop - self._start)
        return self._frames

    @property
    def tags(self) -> Tags:
        """Title, artist, album and cover, as far as the file has them."""
        try:
            return self._decoder.tags()
        except (UnreadableError, OSError):
            return Tags()

    @property
    def cancelled(self) -> float:
        """The share of the energy read so far that cancels in the channels' sum."""
        return self._cancellation.share

    def blocks(self, size: int | None = None) -> Iterator[np.ndarray]:
        """The audio, in pieces of shape (frames, channels), of at most `size` frames.

        By default that is what `BLOCK_FRAMES` leaves each channel. Raises UserError
        where the file cannot be read, or has nothing to read, or it is damaged and that
        is refused.
        """
        size = size or max(1, BLOCK_FRAMES // self.channels)
        wanted = None if self._stop is None else self._stop - self._start
        got = 0
        pieces = self._decoder.pieces(self._start, size)
        while wanted is None or got < wanted:
            try:
                piece = next(pieces, None)
            except OSError as error:
                raise UserError(f"{self.path}: {error.strerror or error}") from None
            if piece is None:
                self._ended(got)
                break
            piece = piece[: None if wanted is None else wanted - got]
            got += len(piece)
            check_samples(piece, f"{self.path}: ")
            if self.channels > 1:
                self._cancellation.add(piece)
            yield piece
        self._frames = got
        if not got:
            seconds = self._start / self.sample_rate
            place = f" behind {seconds:.1f} s" if self._start else ""
            raise UserError(f"{self.path}: expected audio, got no samples{place}")

    def read(self, frames: int) -> np.ndarray:
        """The next frames, (frames, channels), fewer only at the end.

        Errors of `blocks`.
        """
        self._blocks = self._blocks or self.blocks()
        waiting, count = [self._left], len(self._left)
        while count < frames and (block := next(self._blocks, None)) is not None:
            waiting.append(block)
            count += len(block)
        audio = np.concatenate(waiting)
        self._left = audio[frames:]
        return audio[:frames]

    def _ended(self, got: int) -> None:
        """The file is at its end: see whether all is there."""
        decoder, rate = self._decoder, self.sample_rate
        there = self._start + got
        missing = max(0, decoder.declared - there) if got else 0
        allowed = 0 if decoder.is_exact else TOLERANCE * rate
        if missing <= allowed and not decoder.errors:
            return
        if decoder.is_stored:
            raise UserError(
                f"{self.path}: expected {decoder.declared} frames, got {there}"
            )
        self.damage = (
            f"damaged or cut short: {there / rate:.2f} of "
            f"{(there + missing) / rate:.2f} s could be decoded"
        )
        if self._strict:
            raise UserError(f"{self.path}: {self.damage}")


class MonoReader:
    """An audio file as float32 mono at a wanted rate, Hz, block by block.

    Channels are averaged, then resampled. A context manager. `source` is the file with
    its own channels and rate, an `AudioReader`, and raises what that does.
    """

    def __init__(self, path: os.PathLike, *, sample_rate: int, strict: bool = False):
        self.sample_rate = sample_rate
        self.source = AudioReader(path, strict=strict)
        problem = rate_problem(self.source.sample_rate, sample_rate)
        if problem:
            self.source.__exit__()
            raise UserError(f"{path}: {problem}")

    def __enter__(self) -> MonoReader:
        """Give the reader itself."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Close the file."""
        self.source.__exit__(*error)

    def select(
        self, start: int, stop: int | None, margin: int, lead: int = 0, step: int = 1
    ) -> int:
        """Read no more than a piece and what is beside it, which is resampled as ever.

        The piece goes from the sample `start` up to `stop`, at the wanted rate, or to
        the end; `margin` samples are wanted on either side, and before those `lead`
        more, from a multiple of `step` on. Returns how many samples are read before
        `start`.
        """
        divisor = math.gcd(self.source_rate, self.sample_rate)
        up, down = self.sample_rate // divisor, self.source_rate // divisor
        margin += FILTER_REACH * -(-max(up, down) // down)
        # There the samples of both rates fall together.
        step *= up // math.gcd(up, step)
        first = max(0, start - margin - lead) // step * step
        last = None if stop is None else -(-(stop + margin) // up) * down
        self.source.select(first // up * down, last)
        return start - first

    @property
    def source_rate(self) -> int:
        """The file's own sample rate, Hz."""
        return self.source.sample_rate

    @property
    def length(self) -> int:
        """Frames at the wanted rate: by what the file says, exact once all was read."""
        return -(-self.source.frames * self.sample_rate // self.source_rate)

    @property
    def block_frames(self) -> int:
        """Frames of the file to be read at a time."""
        # Of a low rate a few frames become many: at 1 Hz each one a whole second.
        most = BLOCK_FRAMES * self.source_rate // self.sample_rate
        return max(1, min(BLOCK_FRAMES // self.source.channels, most))

    @property
    def warnings(self) -> list[str]:
        """What is to be told of the file, after all was read."""
        found = [self.source.damage] if self.source.damage else []
        cancelled = self.source.cancelled
        if cancelled > CANCELLED:
            found.append(
                f"the channels cancel each other: {cancelled:.0%} of their energy is "
                "lost in their mean, and so in the stems"
            )
        return found

    def blocks(self) -> Iterator[np.ndarray]:
        """All of the audio, in pieces of shape (frames,)."""
        return resample(
            map(to_mono, self.source.blocks(self.block_frames)),
            from_rate=self.source_rate,
            to_rate=self.sample_rate,
        )

    def read(self) -> np.ndarray:
        """All of the audio at once: shape (frames,)."""
        return np.concatenate([np.zeros(0, np.float32), *self.blocks()])


def read_mono(path: os.PathLike, *, sample_rate: int) -> np.ndarray:
    """A whole audio file as `MonoReader` gives it, shape (frames,), float32."""
    with MonoReader(path, sample_rate=sample_rate) as reader:
        return reader.read()
