"""Audio files encoded by FFmpeg's libraries, through PyAV: MP3, Opus, AAC.

Conventions: see `writer`.
"""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

import av
import numpy as np

from sswavenet.sound.formats import Format
from sswavenet.sound.tags import Tags

# By the number of channels.
LAYOUTS = ("", "mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
# Bits a second and channel without a chosen bit rate: nobody hears a loss.
DEFAULT_BITRATE = 128000
BITS_PER_SAMPLE = 4  # at most, so that low rates take less
# LAME's best quality at a bit rate that varies; at a constant one below 256 kbit/s it
# lowers the level by up to 0.5 dB.
BEST_MP3 = {"flags": "+qscale", "global_quality": "0"}


class FfmpegWriter:
    """A file in a lossy format; what is read back is as long as what was written.

    The rate is that of the audio, Hz; the file has the next one that its codec knows.
    By default the bit rate is the best that the format is good for. Tags are written
    but for the cover. Raises OSError where the file cannot be written, or would be
    empty.
    """

    def __init__(
        self,
        path: os.PathLike,
        form: Format,
        *,
        sample_rate: int,
        channels: int,
        bitrate: int | None = None,
        tags: Tags | None = None,
    ):
        self._layout = LAYOUTS[channels]
        self._name, self._rate = form.name, sample_rate
        self._frames = self._packets = 0
        rate = form.rate(sample_rate)
        options = BEST_MP3 if form.codec == "libmp3lame" and not bitrate else {}
        # Else an MP4 tells its length in whole milliseconds.
        scale = {"movie_timescale": str(rate)} if form.muxer == "ipod" else {}
        self._container = _encoding(
            av.open,
            f"file:{os.fspath(path)}",
            mode="w",
            format=form.muxer,
            container_options=scale,
        )
        self._container.metadata.update((tags or Tags()).texts())
        self._stream = self._container.add_stream(
            form.codec, rate=rate, layout=self._layout, options=options
        )
        if not options:
            usual = channels * min(DEFAULT_BITRATE, BITS_PER_SAMPLE * rate)
            self._stream.bit_rate = bitrate or usual

    def write(self, audio: np.ndarray) -> None:
        """Append audio of shape (frames,) or (frames, channels), float32."""
        packed = np.ascontiguousarray(audio, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "flt", self._layout)
        frame.sample_rate, frame.pts = self._rate, self._frames
        frame.time_base = Fraction(1, self._rate)
        self._frames += frame.samples
        self._encode(frame)

    def close(self) -> None:
        """Write what is still to be written."""
        try:
            self._encode(None)
        finally:
            _encoding(self._container.close)
        if not self._packets:  # FFmpeg's resampler loses some twenty samples
            raise OSError(
                f"{self._frames} samples at {self._rate} Hz are too few for "
                f"{self._name}: flac holds them"
            )

    def discard(self) -> None:
        """Close a file that is not to be finished."""
        try:
            self._container.close()
        except (av.FFmpegError, OSError):
            return

    def _encode(self, frame: Any) -> None:
        for packet in _encoding(self._stream.encode, frame):
            _encoding(self._container.mux, packet)
            self._packets += 1


def _encoding(work: Any, *args: Any, **kwargs: Any) -> Any:
    """Let FFmpeg work; its errors are those of a file that cannot be written."""
    try:
        return work(*args, **kwargs)
    except av.FFmpegError as error:
        if isinstance(error, (MemoryError, OSError)):
            raise
        raise OSError(f"could not be encoded: {error.strerror or error}") from None
