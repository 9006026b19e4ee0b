"""What a track looks like and how loud it is, from one pass over its samples.

Conventions: audio is float32, shape (frames,) or (frames, channels), full scale 1.0;
levels are in dB below full scale (dBFS), of all channels together.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

# Of a waveform and of a spectrogram; both are stretched to the width of the page.
NUM_PEAKS = 600
COLUMNS, ROWS = 720, 112
WINDOWS_PER_COLUMN = 4  # at most; of longer music some of it is seen
WINDOW_SECONDS = 0.05
LOWEST = 40  # Hz
INDEXED = 3  # a PNG's type of colours
FAINTEST = -300  # dB, in place of the logarithm of nothing


@dataclasses.dataclass(frozen=True)
class Sketch:
    """Levels and outlines of one track."""

    seconds: float  # how long it is
    peak: float  # largest magnitude of a sample
    rms: float  # root of the mean square
    peaks: np.ndarray  # largest magnitudes in equal parts of it, shape (NUM_PEAKS,)
    # Power in dB, highest frequency first, on a logarithmic scale from 40 Hz to half
    # the sample rate, shape (ROWS, COLUMNS). None where it was not asked for
    spectrogram: np.ndarray | None = None


def decibels(amplitude: float) -> float:
    """An amplitude's level, dBFS; minus infinity for 0."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def sketch(
    blocks: Iterable[np.ndarray],
    *,
    frames: int,
    sample_rate: int,
    with_spectrogram: bool = True,
) -> Sketch:
    """Look at a track block by block, so that any length fits in memory.

    The blocks are in order, of one shape but for the frames; fewer or more frames than
    said distort the outline only. The rate is in Hz. A spectrogram takes most of the
    time.
    """
    peaks = np.zeros(NUM_PEAKS)
    picture = _Spectrogram(frames, sample_rate) if with_spectrogram else None
    count, values, energy = 0, 0, 0.0
    for block in blocks:
        if not len(block):
            continue
        audio = np.nan_to_num(block.reshape(len(block), -1))
        loudest = np.abs(audio).max(axis=1)
        parts = (count + np.arange(len(audio))) * NUM_PEAKS // max(frames, 1)
        np.maximum.at(peaks, np.minimum(parts, NUM_PEAKS - 1), loudest)
        count += len(audio)
        values += audio.size
        energy += float(np.square(audio, dtype=np.float64).sum())
        if picture:
            picture.add(audio)
    return Sketch(
        seconds=count / sample_rate,
        peak=float(peaks.max()),
        rms=math.sqrt(energy / max(values, 1)),
        peaks=peaks,
        spectrogram=picture.finish() if picture else None,
    )


class _Spectrogram:
    """Power over time and frequency, of windows that come block by block."""

    def __init__(self, frames: int, sample_rate: int):
        length = max(16, 2 ** round(math.log2(WINDOW_SECONDS * sample_rate)))
        self._window = np.hanning(length + 1)[:length].astype(np.float32)
        fitting = max(1, frames // (length // 4))
        self._count = min(fitting, COLUMNS * WINDOWS_PER_COLUMN)
        self._hop = Fraction(max(frames, 1), self._count)
        # Windows are centred on their places: the first begins before the audio.
        self._waiting: np.ndarray | None = None
        self._place = -length // 2
        self._powers: list[np.ndarray] = []
        edges = np.geomspace(min(LOWEST, sample_rate / 4), sample_rate / 2, ROWS + 1)
        bins = edges * length / sample_rate
        self._low = np.floor(bins[:-1]).astype(int)
        self._high = np.maximum(self._low + 1, np.ceil(bins[1:]).astype(int))

    def add(self, audio: np.ndarray) -> None:
        """Go on, with shape (frames, channels)."""
        length = len(self._window)
        if self._waiting is None:
            self._waiting = np.zeros((length // 2, audio.shape[1]), np.float32)
        audio = np.concatenate([self._waiting, audio])
        end = self._place + len(audio)
        starts: list[int] = []
        while (k := len(self._powers) + len(starts)) < self._count:
            start = int(k * self._hop) - length // 2
            if start + length > end:
                break
            starts.append(start - self._place)
        for start in starts:
            self._powers.append(self._power(audio[start : start + length]))
        kept = min(len(audio), length)
        if len(self._powers) < self._count:
            following = int(len(self._powers) * self._hop) - length // 2 - self._place
            kept = min(len(audio), max(kept, len(audio) - following))
        self._waiting, self._place = audio[len(audio) - kept :], end - kept

    def finish(self) -> np.ndarray:
        """What was seen, shape (ROWS, COLUMNS), dB."""
        if self._waiting is not None:
            self.add(np.zeros((len(self._window), self._waiting.shape[1]), np.float32))
        powers = np.array(self._powers or [np.zeros(ROWS)])
        if len(powers) >= COLUMNS:  # the mean of those of a column
            first = np.arange(COLUMNS) * len(powers) // COLUMNS
            counts = np.diff([*first, len(powers)])
            powers = np.add.reduceat(powers, first) / counts[:, None]
        else:
            powers = powers[np.arange(COLUMNS) * len(powers) // COLUMNS]
        with np.errstate(divide="ignore"):
            levels = np.maximum(10 * np.log10(powers), FAINTEST)
        return levels.T[::-1].astype(np.float32)

    def _power(self, audio: np.ndarray) -> np.ndarray:
        """Mean power of each row's frequencies, of all channels: shape (ROWS,).

        A sine of full scale has 0 dB where one frequency makes a row.
        """
        spectrum = np.fft.rfft(audio * self._window[:, None], axis=0)
        scale = 2 / self._window.sum(dtype=np.float64)
        power = np.square(np.abs(spectrum) * scale).mean(axis=1)
        sums = np.concatenate([[0.0], np.cumsum(power)])
        high = np.minimum(self._high, len(power))
        low = np.minimum(self._low, high - 1)
        return (sums[high] - sums[low]) / (high - low)


def to_png(levels: np.ndarray, palette: np.ndarray) -> bytes:
    """A picture of one index of the palette for each pixel.

    `levels` is uint8, (height, width); `palette` red, green and blue, uint8, (256, 3).
    """
    height, width = levels.shape
    rows = np.insert(levels, 0, 0, axis=1)  # each begins with its filter: none
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, INDEXED, 0, 0, 0),
        b"PLTE": palette.tobytes(),
        b"IDAT": zlib.compress(rows.tobytes(), 9),
        b"IEND": b"",
    }
    picture = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks.items():
        sum_of_both = zlib.crc32(name + data)
        picture += struct.pack(">I4s", len(data), name) + data
        picture += struct.pack(">I", sum_of_both)
    return picture
