"""The voices of the corpus, and which of them training never hears."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Speaker:
    """One voice."""

    # A glob below /usr/share, or the voice of a speech synthesizer as `flite:NAME` or
    # `festival:NAME`
    source: str
    split: str  # the only split in which the voice is heard
    person: str  # who speaks; two entries of one person stand on the same side
    # Whether the clips are recorded phrases that may be used as they are, next to being
    # turned into singing
    phrases: bool


def _asterisk(folder: str, split: str, person: str) -> Speaker:
    return Speaker(f"asterisk/sounds/{folder}/**/*.*", split, person, True)


def _fillets(pattern: str, person: str) -> Speaker:
    return Speaker(f"games/fillets-ng/sound/*/{pattern}.ogg", "train", person, True)


def _tuxpaint(language: str) -> Speaker:
    pattern = f"tuxpaint/stamps/**/*_desc_{language}.ogg"
    return Speaker(pattern, "train", f"tuxpaint-{language}", True)


def _ktuberling(language: str) -> Speaker:
    pattern = f"ktuberling/sounds/{language}/*.*"
    return Speaker(pattern, "train", f"ktuberling-{language}", True)


def _synthetic(source: str, split: str = "train", person: str = "") -> Speaker:
    return Speaker(source, split, person or source, False)


# Languages of which there is enough.
TUXPAINT = ("be", "bg", "ca", "da", "el", "es", "fr", "lt", "nl", "ro", "ru")
KTUBERLING = (
    *("ca", "da", "de", "el", "en", "fr", "gl", "lt", "ru", "sl", "uk", "wa"),
)
# asterisk's English and Spanish core prompts are one person, and so are the two slt.
SPEAKERS = {
    "allison-en": _asterisk("en_US_f_Allison", "test", "allison"),
    "allison-es": _asterisk("es_MX_f_Allison", "test", "allison"),
    "armelle-fr": _asterisk("fr", "validation", "armelle"),
    "carlo-it": _asterisk("it_IT_m_Carlo", "test", "carlo"),
    "colombia-es": _asterisk("es", "train", "colombia"),
    "june-fr": _asterisk("fr_CA_f_June", "train", "june"),
    "ivr-ru": _asterisk("ru_RU_f_IvrvoiceRU", "train", "ivr"),
    "menardi-it": _asterisk("it_IT_f_Menardi", "train", "menardi"),
    "small-nl": _fillets("nl/*-m-*", "small-nl"),
    "big-nl": _fillets("nl/*-v-*", "big-nl"),
    "small-cs": _fillets("cs/*-m-*", "small-cs"),
    "big-cs": _fillets("cs/*-v-*", "big-cs"),
    "others-cs": _fillets("cs/*-[b-lo-uw-z]*-*", "others-cs"),
    "gcin-3": Speaker("gcin-voice/ogg/*/3.ogg", "train", "gcin-3", False),
    "gcin-5": Speaker("gcin-voice/ogg/*/5.ogg", "train", "gcin-5", False),
    "nsh-ru": Speaker("festival/voices/russian/*/wav/*.wav", "train", "nsh", True),
    "kal": _synthetic("flite:kal16", person="kal"),
    "awb": _synthetic("flite:awb"),
    "rms": _synthetic("flite:rms", split="validation"),
    "slt": _synthetic("flite:slt", person="slt"),
    "slt-hts": _synthetic("festival:cmu_us_slt_arctic_hts", person="slt"),
    "ked": _synthetic("festival:ked_diphone"),
    "dita-cs": _synthetic("festival:czech_dita", split="test"),
    "krb-cs": _synthetic("festival:czech_krb"),
    "machac-cs": _synthetic("festival:czech_machac", split="test"),
    "ph-cs": _synthetic("festival:czech_ph"),
    "mv-fi": _synthetic("festival:hy_fi_mv_diphone"),
    "lj-fi": _synthetic("festival:suo_fi_lj_diphone"),
    "lp-it": _synthetic("festival:lp_diphone"),
    "pc-it": _synthetic("festival:pc_diphone"),
    "ona-ca": _synthetic("festival:upc_ca_ona_hts"),
    # Spoken names of pictures: by language, each by one person or by a few.
    **{f"tuxpaint-{language}": _tuxpaint(language) for language in TUXPAINT},
    **{f"ktuberling-{language}": _ktuberling(language) for language in KTUBERLING},
}
# Recorded people whom no training song holds: they speak over the kept-out music.
REAL_SPEAKERS = ("allison-en", "carlo-it")


def speakers(split: str) -> list[str]:
    """Names of the speakers of a split, sorted."""
    return sorted(name for name, voice in SPEAKERS.items() if voice.split == split)
