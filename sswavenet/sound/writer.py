"""Audio files, written block by block: every sample is exactly what was foretold.

Of a lossy format that holds only nearly, and only its length is exact.

Conventions: audio is float32, shape (frames,) where mono and (frames, channels)
otherwise, full scale 1.0. An integer k of a file of b bits stands for k / 2**(b - 1).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from typing import Any

import numpy as np
import soundfile

from sswavenet.console import packages
from sswavenet.sound.formats import FORMATS, SAMPLE_BITS, Format
from sswavenet.sound.tags import Tags, add_cover
from util import UserError

LARGEST_WAV = 2**32 - 2**16  # bytes; a WAV header counts no further
VORBIS_LOSS = 0.3  # of 1: about 110 kbit/s for each channel at 44.1 kHz
# libvorbis puts what it is given on the stack.
VORBIS_FRAMES = 2**12


def quantize(audio: np.ndarray, subtype: str) -> tuple[np.ndarray, int]:
    """What reading a file gives back after `audio`, float32, was written to it.

    A sample becomes the nearest k / 2**(b - 1); `FLOAT` keeps every one as it is.
    Returns the audio, same shape and type, and how many samples lay outside of what the
    file can hold and were clipped.
    """
    if subtype == "FLOAT":
        return audio, 0
    scale = np.float32(2 ** (SAMPLE_BITS[subtype] - 1))
    with np.errstate(over="ignore"):  # what becomes infinite is clipped
        steps = np.rint(audio * scale)
    kept = np.clip(steps, -scale, scale - 1)
    # Plus zero: an integer has no negative zero.
    return kept / scale + np.float32(0), int(np.count_nonzero(kept != steps))


class AudioWriter:
    """An audio file whose samples are exactly `quantize`, unless its format is lossy.

    A context manager; after an error the file is closed as it is. `form` is a key of
    `FORMATS`, `subtype` a key of `SAMPLE_BITS` that the format has. A lossy format that
    does not have the rate, Hz, takes the next one. The number of frames to come, about,
    decides whether a WAV becomes an RF64. Raises UserError where the format does not
    have so many channels or that rate, and OSError where the file cannot be written,
    for example on a full disk.
    """

    def __init__(
        self,
        path: os.PathLike,
        *,
        sample_rate: int,
        frames: int,
        channels: int = 1,
        form: str = "wav",
        subtype: str = "PCM_16",
        bitrate: int | None = None,
        tags: Tags | None = None,
    ):
        self.path = pathlib.Path(path)
        kind = FORMATS[form]
        kind.check(channels, sample_rate)
        self._hash = None if kind.is_lossy else hashlib.sha256()
        self._tags = tags or Tags()
        self.path.open("wb").close()  # says why, where libsndfile does not
        facts: dict[str, Any] = {"sample_rate": sample_rate, "channels": channels}
        if kind.muxer:
            encoder = _import_encoder(kind)
            self._file = encoder(path, kind, bitrate=bitrate, tags=self._tags, **facts)
        else:
            self._file = _SndfileWriter(
                path, form, subtype=subtype, frames=frames, tags=self._tags, **facts
            )

    def __enter__(self) -> AudioWriter:
        """Give the writer itself."""
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        """Finish the file, or close it after an error."""
        if kind is not None:
            self._file.discard()
            return
        self._file.close()
        if self._tags.cover:
            add_cover(self.path, self._tags.cover)

    @property
    def digest(self) -> str:
        """SHA-256 of the samples written, as little-endian float32; empty if lossy."""
        return self._hash.hexdigest() if self._hash else ""

    def write(self, audio: np.ndarray) -> None:
        """Append what `quantize` returned, (frames,) or (frames, channels), float32.

        Raises OSError where that cannot be written.
        """
        if self._hash:
            self._hash.update(audio.astype("<f4", copy=False).tobytes())
        self._file.write(audio)


class _SndfileWriter:
    """WAV (RF64 from 4 GB on), FLAC or Ogg Vorbis through libsndfile.

    The integers are made here: libsndfile would scale floats by 2**(b - 1) - 1, which
    changes the level.
    """

    def __init__(
        self,
        path: os.PathLike,
        form: str,
        *,
        sample_rate: int,
        channels: int,
        subtype: str,
        frames: int,
        tags: Tags,
    ):
        self.path = pathlib.Path(path)
        self.subtype = "VORBIS" if form == "ogg" else subtype
        # A count of frames may be a little too small.
        size = 1.01 * frames * channels * SAMPLE_BITS[subtype] / 8
        name = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG"}[form]
        if name == "WAV" and size > LARGEST_WAV:
            name = "RF64"
        elif name == "WAV" and channels > 2:
            name = "WAVEX"  # says which channel is which
        # Not by its name, of which libsndfile takes 1023 bytes.
        place = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        self._file = soundfile.SoundFile(
            place,
            "w",
            sample_rate,
            channels=channels,
            subtype=self.subtype,
            format=name,
            closefd=True,
            **({"compression_level": VORBIS_LOSS} if form == "ogg" else {}),
        )
        for key, text in tags.texts().items():
            with contextlib.suppress(RuntimeError):  # too long, for example
                setattr(self._file, key, text)

    def write(self, audio: np.ndarray) -> None:
        """Append audio."""
        if self.subtype in ("PCM_16", "PCM_24"):
            # libsndfile takes the high bits of an integer, so both depths fit in one.
            audio = (audio * 2.0**31).astype(np.int32)
        size = VORBIS_FRAMES if self.subtype == "VORBIS" else max(1, len(audio))
        try:
            for k in range(0, len(audio), size):
                self._file.write(audio[k : k + size])
        except (AssertionError, RuntimeError) as error:
            raise self._reason(error) from None

    def close(self) -> None:
        """Write what is still to be written."""
        try:
            self._file.close()
        except RuntimeError as error:
            raise self._reason(error) from None

    def discard(self) -> None:
        """Close a file that is not to be finished."""
        with contextlib.suppress(RuntimeError):
            self._file.close()

    def _reason(self, error: Exception) -> OSError:
        """Why a write failed: libsndfile does not say, the system does."""
        with contextlib.suppress(AttributeError):
            try:
                with self.path.open("ab") as file:
                    file.write(bytes(2**16))
            except OSError as reason:
                return reason
        return OSError(f"the samples could not be written: {error}")


def _import_encoder(form: Format) -> Any:
    """FFmpeg's encoder, where there is PyAV."""
    try:
        from sswavenet.sound.encoder import FfmpegWriter
    except ImportError:
        raise UserError(
            f"--format {form.name} needs the package av: "
            f"{packages.how_to_install('av')}; or take flac"
        ) from None
    return FfmpegWriter
