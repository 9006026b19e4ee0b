"""The formats that stems can be written in, and what each of them holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from util import UserError

# What a written sample may be, and its bits.
SAMPLE_BITS = {"PCM_16": 16, "PCM_24": 24, "FLOAT": 32}
_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclasses.dataclass(frozen=True)
class Format:
    """One format."""

    name: str  # as the command line has it; the extension of its files
    # Sample types that it stores exactly; none where it is lossy
    subtypes: Sequence[str] = ()
    channels: Sequence[int] = range(1, 9)  # how many a file may have
    # Sample rates of its codec, Hz, ascending; any where empty. What has another is
    # resampled
    rates: Sequence[int] = ()
    # Where nothing is resampled, the rates that it holds, Hz; any where empty
    ranges: Sequence[range] = ()
    muxer: str = ""  # FFmpeg's name of the container; empty where libsndfile writes it
    codec: str = ""  # FFmpeg's name of the encoder, of which a bit rate can be chosen

    @property
    def is_lossy(self) -> bool:
        """Whether what is read back is only nearly what was written."""
        return not self.subtypes

    def rate(self, sample_rate: int) -> int:
        """The sample rate, Hz, of a file for audio of the given one."""
        if not self.rates or sample_rate in self.rates:
            return sample_rate
        return next((rate for rate in self.rates if rate > sample_rate), self.rates[-1])

    def check(self, channels: int, sample_rate: int) -> None:
        """Refuse with a UserError channels or a rate, Hz, that it cannot hold."""
        if channels not in self.channels:
            known = ", ".join(map(str, self.channels))
            raise UserError(
                f"--format {self.name} holds {known} channels, got {channels}: wav "
                "holds them"
            )
        if self.ranges and not any(sample_rate in held for held in self.ranges):
            raise UserError(
                f"--format {self.name} does not hold {sample_rate} Hz: wav does"
            )


FORMATS = {
    form.name: form
    for form in (
        Format("wav", tuple(SAMPLE_BITS), channels=range(1, 1025)),
        Format(
            "flac",
            ("PCM_16", "PCM_24"),
            ranges=(range(1, 2**16), range(2**16 + 4, 655351, 10)),
        ),
        Format(
            "mp3", channels=(1, 2), rates=_MPEG_RATES, muxer="mp3", codec="libmp3lame"
        ),
        # Vorbis orders more channels than two in a way of its own. At a higher rate
        # libsndfile ends the process.
        Format("ogg", channels=(1, 2), ranges=(range(1, 200001),)),
        # With five and seven channels FFmpeg mistakes their order.
        Format(
            "opus",
            channels=(1, 2, 3, 4, 6, 8),
            rates=(8000, 12000, 16000, 24000, 48000),
            muxer="opus",
            codec="libopus",
        ),
        Format(
            "m4a",
            rates=(*_MPEG_RATES, 64000, 88200, 96000),
            muxer="ipod",
            codec="aac",
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How stems are stored."""

    form: str = "wav"  # a key of `FORMATS`
    subtype: str = "PCM_16"  # sample type, where the format is not lossy
    # Bits a second, where the format has a choice; defaults to plenty
    bitrate: int | None = None

    @property
    def is_lossy(self) -> bool:
        """Whether stems are read back only nearly as they were written."""
        return FORMATS[self.form].is_lossy

    @property
    def rounding(self) -> str:
        """The sample type that samples are rounded to before they are written."""
        return "FLOAT" if self.is_lossy else self.subtype
