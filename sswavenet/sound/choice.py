"""Which library decodes a file: its content decides, not its name."""

from __future__ import annotations

import importlib.util
import os
import stat
from typing import TYPE_CHECKING, Union

import soundfile

from sswavenet.sound.pcm import PcmDecoder, UnreadableError
from util import UserError

if TYPE_CHECKING:
    from sswavenet.sound.compressed import FfmpegDecoder

# Hz; a header that says more is spoiled, and the filter for it would fill the memory.
MAX_RATE = 768000
WITHOUT_FFMPEG = "(without the package av only libsndfile's formats are read)"

# Extensions of what libsndfile reads; RAW has no header, hence no rate.
_PCM = {f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}
_PCM |= {".aif", ".aifc", ".bwf", ".iff", ".mp3", ".oga", ".opus", ".snd", ".sph"}
# Other audio and videos, which FFmpeg reads.
_NAMES = (
    "3g2 3ga 3gp aac ac3 alac amr ape asf avi awb dff dsf dts eac3 ec3 f4a f4v flv gsm"
    " m2a m2ts m4a m4b m4r m4v mka mkv mlp mov mp1 mp2 mp4 mpa mpc mpe mpeg mpg mpga"
    " mts mxf ofr ogm ogv ogx qt ra rm rmvb shn spx tak thd tta vob weba webm wm wma"
    " wmv wv"
)
_MORE = {f".{name}" for name in _NAMES.split()}

Decoder = Union["PcmDecoder", "FfmpegDecoder"]


def extensions() -> tuple[frozenset[str], frozenset[str]]:
    """Extensions of files that can be read here, and of those that could be."""
    if importlib.util.find_spec("av"):
        return frozenset(_PCM | _MORE), frozenset()
    return frozenset(_PCM), frozenset(_MORE)


def open_decoder(path: os.PathLike) -> Decoder:
    """The decoder that fits what is in a file.

    Raises UserError where it is missing, no audio file, a pipe or a device, or holds
    fewer samples than its header says where these are stored one by one.
    """
    try:
        # To open a pipe may take for ever.
        found = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("a folder, a pipe or a device")
        if not found.st_size:
            raise UnreadableError("an empty file (0 bytes); get the file again")
        decoder = _choose(path)
    except (OSError, UnreadableError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: expected an audio file, got: {reason}") from None
    problem, rate = "", decoder.sample_rate
    if decoder.is_stored and decoder.declared > decoder.frames:
        there, whole = decoder.frames / rate, decoder.declared / rate
        problem = f"cut short: {there:.2f} of {whole:.2f} s are there"
    elif rate > MAX_RATE:
        problem = f"expected a sample rate of at most {MAX_RATE} Hz, got {rate}"
    if problem:
        decoder.close()
        raise UserError(f"{path}: {problem}")
    return decoder


def _choose(path: os.PathLike) -> Decoder:
    """The decoder for a file: FFmpeg's, if there is one, of what is not PCM."""
    # Of MPEG audio libmpg123, which libsndfile uses, writes to stderr.
    with open(path, "rb") as file:  # noqa: PTH123
        is_mpeg = file.read(3).startswith((b"ID3", b"\xff"))
    stored, reason = None, "an unknown format"
    if not is_mpeg:
        try:
            stored = PcmDecoder(path)
            if stored.is_certain:
                return stored
        except UnreadableError as error:
            reason = str(error)
    try:
        # Not before it is needed: it takes a while.
        from sswavenet.sound.compressed import FfmpegDecoder

        decoder = FfmpegDecoder(path)
        if stored is not None:
            stored.close()
        return decoder
    except UnreadableError as error:
        reason = str(error) or reason
    except ImportError:  # as beside Theano
        if is_mpeg:
            return PcmDecoder(path)
        reason = f"{reason} {WITHOUT_FFMPEG}"
    if stored is None:
        raise UnreadableError(reason)
    return stored
