"""Music source separation with a Wavenet, for use in programs.

    import soundfile
    import sswavenet

    session = sswavenet.load_session("multi-instrument")
    audio, sample_rate = soundfile.read("song.wav")
    stems = session.separate(audio, sample_rate)
    soundfile.write("vocals.wav", stems["vocals"], sample_rate)

Public are the names in `__all__`; each is imported when it is first used, so that
importing the package is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sswavenet.config.session import Config
    from sswavenet.separation.separator import Session, load_session
    from util import UserError

__version__ = "1.0.0"

__all__ = ["Config", "Session", "UserError", "__version__", "load_session"]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "Config":
        from sswavenet.config.session import Config as value
    elif name == "UserError":
        from util import UserError as value
    elif name in ("Session", "load_session"):
        from sswavenet.separation import separator

        value = getattr(separator, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
