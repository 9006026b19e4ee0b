"""Who has the page open, and what lies here for them: nothing is left when they go.

Names that visitors give their files are only shown: on the disk all of it has names of
the page's own, in a folder for each visit.
"""

from __future__ import annotations

import pathlib
import secrets
import shutil
import threading
import time

from sswavenet.app.jobs import Job
from sswavenet.app.sessions import Sessions
from sswavenet.app.songs import Song
from sswavenet.sound.formats import Encoding
from util import UserError

UPLOADS = "uploads"  # the folder in which Gradio may look for what visitors bring
UNCLAIMED = 3600.0  # seconds


class Visit:
    """What one open page has here.

    Args:
        folder: its own, in which all of it lies but for the song.

    Attributes:
        job: what is or was separated last.
        is_waiting: whether a song waits to be separated.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.job: Job | None = None
        self.is_waiting = False
        self._song: Song | None = None
        self._lock = threading.Lock()
        folder.mkdir()

    @property
    def song(self) -> Song | None:
        """What is to be separated next."""
        return self._song

    @song.setter
    def song(self, song: Song | None) -> None:
        with self._lock:
            self._forget_song()
            self._song = song

    def begin(
        self,
        session_name: str,
        encoding: Encoding,
        *,
        sessions: Sessions,
        max_seconds: float,
    ) -> Job:
        """Separate the song; what was separated before is removed.

        Args: as of `Job`.

        Raises:
            UserError: there is no song, or nobody is here any more.
        """
        with self._lock:
            if self._song is None:
                raise UserError(
                    "expected a song first: a file, a recording, an example"
                )
            self._forget_job()
            self.job = Job(
                self.folder / secrets.token_hex(8),
                self._song,
                session_name,
                encoding,
                sessions=sessions,
                max_seconds=max_seconds,
            )
            return self.job

    def close(self) -> None:
        """Leave nothing."""
        with self._lock:
            self._forget_job()
            self._forget_song()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_job(self) -> None:
        if self.job is not None:
            self.job.discard()
            self.job = None

    def _forget_song(self) -> None:
        if self._song is not None and not self._song.is_example:
            shutil.rmtree(self._song.path.parent, ignore_errors=True)
        self._song = None


class Visits:
    """All visits, by the keys of their pages. A context manager: at its end all end.

    Args:
        folder: an empty one, below which everything is kept.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder / "visits"
        self._uploads = folder / UPLOADS
        self._lock = threading.Lock()
        self._visits: dict[str, Visit] = {}
        self._unclaimed: dict[pathlib.Path, tuple[float, str]] = {}
        self._folder.mkdir()
        self._uploads.mkdir()

    def __enter__(self) -> Visits:
        """Give the visits themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all visits."""
        for key in list(self._visits):
            self.leave(key)

    def begin(self, key: str | None) -> None:
        """Somebody opened the page."""
        with self._lock:
            if key and key not in self._visits:
                self._visits[key] = Visit(self._folder / secrets.token_hex(16))

    def get(self, key: str | None) -> Visit | None:
        """The visit of a page that is open; None if it is not."""
        return self._visits.get(key or "")

    def leave(self, key: str | None) -> None:
        """Somebody closed the page, or reloads it."""
        with self._lock:
            visit = self._visits.pop(key or "", None)
        if visit is not None:
            visit.close()

    def new_folder(self) -> pathlib.Path:
        """A folder for a file that is being uploaded."""
        folder = self._uploads / secrets.token_hex(16)
        folder.mkdir()
        return folder

    def offer(self, folder: pathlib.Path, name: str) -> None:
        """A file is there; it is removed if no page asks for it within the hour.

        Args:
            folder: of `new_folder`, with the file.
            name: what its user calls it.
        """
        now = time.monotonic()
        with self._lock:
            old = [
                each
                for each, (since, _) in self._unclaimed.items()
                if now - since > UNCLAIMED
            ]
            for each in old:
                del self._unclaimed[each]
            self._unclaimed[folder] = now, name
        for each in old:
            shutil.rmtree(each, ignore_errors=True)

    def claim(self, path: pathlib.Path) -> str | None:
        """The name of a file that was offered, to whoever asks first; else None."""
        with self._lock:
            return self._unclaimed.pop(path.parent, (0.0, None))[1]

    def job(self, token: str) -> Job | None:
        """What was separated, by the key in its links; None where it is not there."""
        for visit in list(self._visits.values()):
            job = visit.job
            if job is not None and secrets.compare_digest(job.token, token):
                return job
        return None
