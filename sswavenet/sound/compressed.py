"""Audio files and videos decoded by FFmpeg's libraries, through PyAV.

What FFmpeg plays is read, with the encoder's delay taken away where the file tells it.
A piece that cannot be decoded is counted and left out, as FFmpeg leaves it out.

Conventions: see `reader`. A decoder goes through its file once, from a frame on.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import av
import av.logging
import numpy as np
from av.stream import Discard, Disposition

from sswavenet.sound.pcm import UnreadableError
from sswavenet.sound.tags import Tags, from_texts

# How FFmpeg names MP4 and its kin, where each track states its own length.
MOV = "mov,mp4,m4a,3gp,3g2,mj2"
# Its names of what libsndfile reads, too, if the header is as it should be.
STORED = ("aiff", "au", "caf", "wav", "w64")
# So FFmpeg's log tells that a length is a guess.
GUESSED = "Estimating duration from bitrate"
# A FLAC has checksums: what does not agree with them is not played as if it were good.
OPTIONS = {"flac": {"err_detect": "crccheck+explode"}}
# What FFmpeg would follow to other files: one from a stranger could name any of ours.
PLAYLISTS = {"concat", "dash", "hls", "imf", "rtsp", "sdp"}

_CLOCK = re.compile(r"(\d+):(\d+):(\d+\.?\d*)$")
# FFmpeg's own lines are not for a terminal: `reader` says what they mean.
logging.getLogger("libav").setLevel(logging.CRITICAL + 1)
# Its log has one level for all threads.
_OPENING = threading.Lock()


class FfmpegDecoder:
    """One file through FFmpeg: its best audio stream.

    Attributes are those of `pcm.PcmDecoder`. `frames` may be a guess, from the size of
    the file; where other streams play, too, `declared` is known only at the end.
    `errors` counts pieces between others that could not be decoded.

    Raises:
        UnreadableError: FFmpeg does not know the file, or finds no audio in it.
        OSError: the file cannot be read.
    """

    def __init__(self, path: os.PathLike):
        self._path = path
        self._container, self._stream, self.is_guess = _open(path)
        self.errors = self.declared = self.sample_rate = 0
        try:
            self._others = self._other_streams()
            codec = self._stream.codec_context
            codec.options = OPTIONS.get(codec.name, {})
            form = self._container.format.name
            self.is_stored = form in STORED and codec.name.startswith("pcm_")
            self.is_exact = self.is_stored or codec.name in OPTIONS
            self._samples = self._decode()
            first = next(self._samples, None)
        except BaseException:
            self.close()
            raise
        if first is None:
            self.close()
            raise UnreadableError("nothing in it can be decoded")
        self._samples = itertools.chain([first], self._samples)
        self.channels = first.shape[1]
        own = self._own_seconds()
        self.frames = round((own or self._seconds()) * self.sample_rate)
        if not self.is_guess and (own or not self._others):
            self.declared = self.frames

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def tags(self) -> Tags:
        """Title, artist, album and cover."""
        # A new container, since a picture comes before all audio.
        container, stream, _ = _open(self._path)
        with container:
            cover = b""
            for picture in container.streams.video:
                if picture.disposition & Disposition.attached_pic and not cover:
                    cover = next(map(bytes, _packets(container, picture)), b"")
            # In an Ogg they belong to the stream.
            return from_texts({**stream.metadata, **container.metadata}, cover)

    def count(self) -> int:
        """How many frames there are by what the packets say, which takes a while."""
        container, stream, _ = _open(self._path)
        with container:
            units = sum(packet.duration or 0 for packet in _packets(container, stream))
            return round(units * float(stream.time_base) * self.sample_rate)

    def pieces(self, start: int, size: int) -> Iterator[np.ndarray]:
        """The audio from a frame on: (frames, channels), at most `size` of them.

        What is before is decoded, too: no decoder can do without its past. Raises
        OSError where the file cannot be read.
        """
        waiting: list[np.ndarray] = []
        count = 0
        for samples in self._samples:
            fresh, start = samples[start:], max(0, start - len(samples))
            while len(fresh):
                waiting.append(fresh[: size - count])
                count += len(waiting[-1])
                fresh = fresh[len(waiting[-1]) :]
                if count == size:
                    yield np.concatenate(waiting)
                    waiting, count = [], 0
        if waiting:
            yield np.concatenate(waiting)

    def _other_streams(self) -> list[Any]:
        """Those that play beside this one, where they share one length with it."""
        others = []
        for stream in self._container.streams:
            if stream is self._stream:
                continue
            is_cover = stream.disposition & Disposition.attached_pic
            plays = stream.type in ("audio", "video") and not is_cover
            if plays and self._container.format.name != MOV:
                others.append(stream)
            else:
                stream.discard = Discard.all
        return others

    def _own_seconds(self) -> float:
        """Length of the stream as the file tells it or FFmpeg guesses it, or 0."""
        stream = self._stream
        if stream.duration and not self._others:
            return float(stream.duration * stream.time_base)
        # Where a Matroska file says until when each stream plays.
        end = _CLOCK.match(stream.metadata.get("DURATION", ""))
        if not end:
            return 0.0
        hours, minutes, seconds = map(float, end.groups())
        return max(0.0, hours * 3600 + minutes * 60 + seconds - self._begin())

    def _seconds(self) -> float:
        """The same of the whole file."""
        return max(0.0, self._until() - self._begin())

    def _begin(self) -> float:
        """Seconds at which the stream begins to play."""
        return max(0.0, float((self._stream.start_time or 0) * self._stream.time_base))

    def _decode(self) -> Iterator[np.ndarray]:
        """The audio as it is decoded: shapes (samples, channels), float32."""
        convert = _Converter()
        got = failed = 0
        limit = last_end = 0.0  # seconds; where all streams end
        for packet in _packets(self._container, self._stream, *self._others):
            place = 0.0
            if packet.pts is not None and packet.time_base is not None:
                place = float(packet.pts * packet.time_base)
                seconds = float((packet.duration or 0) * packet.time_base)
                last_end = max(last_end, place + seconds)
            if packet.stream is not self._stream:
                continue
            if place < 0:
                limit = self._edited_seconds()
            try:
                decoded = list(convert(packet.decode()))
            except (av.FFmpegError, ValueError) as error:
                if isinstance(error, (MemoryError, OSError)):
                    raise
                failed += 1
                continue
            for samples in decoded:
                self.sample_rate = convert.rate
                if limit:
                    samples = samples[: max(0, round(limit * convert.rate) - got)]
                # What fails before the first sample or behind the last is no audio.
                self.errors += failed if got else 0
                failed = 0
                got += len(samples)
                yield samples
        if got and not self.declared and not self.is_guess and self._until():
            missing = max(0.0, self._until() - last_end)
            self.declared = got + round(missing * self.sample_rate)

    def _until(self) -> float:
        """Seconds at which the whole file ends, as it says; 0 where it does not."""
        if not self._container.duration:
            return 0.0
        first = self._container.start_time or 0
        return float((first + self._container.duration) / av.time_base)

    def _edited_seconds(self) -> float:
        """Length by an MP4's edit list, which cuts what an encoder added; 0 without."""
        stream = self._stream
        if self._container.format.name != MOV or not stream.duration:
            return 0.0
        return float(stream.duration * stream.time_base)


class _Converter:
    """Decoded frames as arrays of one rate and one number of channels: the first's."""

    def __init__(self) -> None:
        self.rate = 0
        self._layout = ""
        self._kind: tuple = ()
        self._resampler: Any = None

    def __call__(self, frames: list) -> Iterator[np.ndarray]:
        """Shapes (samples, channels), float32."""
        for frame in frames:
            kind = (frame.sample_rate, frame.layout.name, frame.format.name)
            self.rate = self.rate or frame.sample_rate
            self._layout = self._layout or frame.layout.name
            if kind != self._kind:
                # Within a file where broadcasts are cut, for example.
                self._kind = kind
                self._resampler = av.AudioResampler("flt", self._layout, self.rate)
            frame.pts = None
            for packed in self._resampler.resample(frame):
                yield packed.to_ndarray().reshape(packed.samples, -1)


def _open(path: os.PathLike) -> tuple[Any, Any, bool]:
    """A file's container, its best audio stream, and whether its length is a guess."""
    with _OPENING, av.logging.Capture() as lines:
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.WARNING)
        try:
            # With its protocol, since a name may have a colon in it.
            container = av.open(
                f"file:{os.fspath(path)}", mode="r", metadata_errors="replace"
            )
        except av.FFmpegError as error:
            reason = _reason(lines)
            # Of a file that ends too soon it says "Input/output error", too.
            is_system = isinstance(error, OSError) and not reason
            if is_system or isinstance(error, MemoryError):
                raise
            raise UnreadableError(reason) from None
        finally:
            av.logging.set_level(None)
    if container.format.name in PLAYLISTS:
        container.close()
        raise UnreadableError("a playlist, which is no audio but names other files")
    stream = container.streams.best("audio")
    if stream is None or stream.codec_context is None:
        container.close()
        raise UnreadableError("there is no audio in it, or none that FFmpeg decodes")
    return container, stream, any(GUESSED in text for _, _, text in lines)


def _reason(lines: list) -> str:
    """The last error that FFmpeg spoke of, if any; its exception says nothing."""
    said = [text.strip() for level, _, text in lines if level <= av.logging.ERROR]
    return said[-1] if said else ""


def _packets(container: Any, *streams: Any) -> Iterator[Any]:
    """The packets of some streams; an end within the file is an end."""
    try:
        yield from container.demux(*streams)
    except av.FFmpegError as error:
        if isinstance(error, (MemoryError, OSError)):
            raise
