"""The sessions that a page offers, each loaded when it is first asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import numpy as np

import sswavenet
from sswavenet.config import shipped
from sswavenet.config.document import read_config
from sswavenet.separation.separator import Session
from util import UserError

logger = logging.getLogger(__name__)

FIRST = "multi-instrument-fast"  # the best of those that ship at real music
# What to take those that ship for, by the ends of their names (sessions/README.md).
PURPOSES = {
    "-fast": "real songs, quick",
    "-rendered": "rendered songs, speech",
    "": "songs of any kind, slow",
}


class Sessions:
    """Sessions by the names that a page shows for them.

    Args:
        paths: folders of trained sessions, offered beside those that ship.

    Raises:
        UserError: one of them is none.
    """

    def __init__(self, paths: Sequence[str] = ()):
        self._configs = {
            name: shipped.config_path(name) for name in (*paths, *_shipped())
        }
        self.labels = {
            f"{name}: {', '.join(read_config(path).task.stems)}{_purpose(name)}": name
            for name, path in self._configs.items()
        }
        self._lock = threading.Lock()
        self._loaded: dict[str, Session] = {}

    def get(self, name: str) -> Session:
        """A session, whoever else asks for it at the same time.

        Raises:
            UserError: it is not offered, or cannot be used.
        """
        if name not in self._configs:
            raise UserError(f"expected one of {', '.join(self._configs)}, got {name!r}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = sswavenet.load_session(self._configs[name])
            return self._loaded[name]

    def warm_up(self) -> None:
        """Load the first session and let its network run, before anybody waits."""
        try:
            session = self.get(next(iter(self._configs)))
            session.separate(np.zeros(session.sample_rate, np.float32), 16000)
        except (UserError, OSError, MemoryError) as error:
            logger.warning("%s", error)  # and again when somebody asks for it


def _purpose(name: str) -> str:
    """What to take a session for, where that is known."""
    if name not in shipped.session_names():
        return ""
    text = next(text for end, text in PURPOSES.items() if name.endswith(end))
    return f" ({text})"


def _shipped() -> list[str]:
    """Names of the sessions that ship, the best one first."""
    return sorted(shipped.session_names(), key=lambda name: (name != FIRST, name))
