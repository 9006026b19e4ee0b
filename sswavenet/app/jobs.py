"""One song's separation in a thread that can be stopped, as by the command line."""

from __future__ import annotations

import logging
import os
import pathlib
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

import util
from sswavenet.app.sessions import Sessions
from sswavenet.app.songs import Song, check_length
from sswavenet.evaluation.references import score_song
from sswavenet.page.sketch import Sketch, sketch
from sswavenet.separation.engine import Networks
from sswavenet.separation.file import separate_file
from sswavenet.separation.inputs import Mixture, some_lengths
from sswavenet.separation.options import Options
from sswavenet.separation.report import FileReport
from sswavenet.sound.formats import Encoding
from sswavenet.sound.reader import AudioReader
from sswavenet.sound.writer import AudioWriter, quantize
from util import UserError

logger = logging.getLogger(__name__)

MIXTURE = "mixture"


class Stopped(Exception):
    """Nobody waits for it any more."""


class Job:
    """A separation, begun when it is made.

    Args:
        folder: a new one for all that it makes.
        song: what to separate.
        session_name: of `sessions`.
        encoding: how the stems are stored.
        sessions: what there is to choose from.
        max_seconds: how long the song may be.

    Attributes:
        token: key of its files in links, which nobody can guess.
        error: why it failed, for its user; empty where it did not.
        report: what was written; None until it is done.
        sketches: of the mixture and the stems, likewise.
        scores: of an example's stems against its references, as a table's rows.
        seconds: that it took.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        song: Song,
        session_name: str,
        encoding: Encoding,
        *,
        sessions: Sessions,
        max_seconds: float,
    ):
        self.token = secrets.token_urlsafe(16)
        self.folder, self.song, self.encoding = folder, song, encoding
        self.session_name = session_name
        self.error, self.stage = "", "Loading the session"
        self.report: FileReport | None = None
        self.sketches: dict[str, Sketch] = {}
        self.scores: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._sessions, self._max_seconds = sessions, max_seconds
        self._total, self._done = 1.0, 0.0
        self._is_stopped, self._lock = False, threading.Lock()
        folder.mkdir()
        self._path = song.path
        if not song.is_example:  # whatever else its user brings meanwhile
            self._path = folder / f"song{song.path.suffix}"
            os.link(song.path, self._path)
        self._thread = threading.Thread(target=self._run, name="separation")
        self._thread.start()

    @property
    def fraction(self) -> float:
        """How much of the song was separated, from 0 to 1."""
        return min(1.0, self._done / self._total)

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether it is over."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Let it end at its next step."""
        self._is_stopped = True

    def discard(self) -> None:
        """Stop it, and remove what it made; waits for its next step."""
        self.stop()
        self._thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def paths(self) -> dict[str, pathlib.Path]:
        """What can be downloaded or played, by its names in links."""
        if self.report is None:
            return {}
        stems = {path.name: path for path in map(pathlib.Path, self._stems().values())}
        return {**stems, self.mixture.name: self.mixture}

    @property
    def mixture(self) -> pathlib.Path:
        """The mixture as every browser can play it."""
        return self.folder / f"{MIXTURE}.wav"

    def download_name(self, name: str) -> str:
        """What a file of `paths` is called elsewhere: as the command line calls it."""
        return f"{self.song.title}_{name}"

    def zipped(self) -> pathlib.Path:
        """A ZIP of all stems, made when it is first asked for."""
        path = self.folder / "stems.zip"
        with self._lock:
            if not path.exists():
                with util.replacing(path) as new, zipfile.ZipFile(new, "w") as file:
                    for stem in map(pathlib.Path, self._stems().values()):
                        file.write(stem, self.download_name(stem.name))
        return path

    def _stems(self) -> dict[str, str]:
        """Paths of the stems by their names."""
        stems = self.report.stems if self.report else {}
        return {name: stem.path for name, stem in stems.items()}

    # As a separation shows its progress: `begin`, then a call for each step.

    def begin(self, num_samples: int) -> None:
        """Begin, perhaps anew, with so many samples."""
        self._total, self._done = max(1.0, float(num_samples)), 0.0
        self(0)

    def __call__(self, samples: int) -> None:
        """Go on, from any thread."""
        if self._is_stopped:
            raise Stopped
        with self._lock:
            self._done += samples
        check_length(self._done / self._rate, self._max_seconds, self.song.name)

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self._separate()
            self.seconds = time.monotonic() - started
        except Stopped:
            self.error = "stopped"
        except Exception as error:
            known = (OSError, MemoryError, UserError)
            if isinstance(error, known) or util.is_out_of_memory(error):
                reason = getattr(error, "strerror", None) or str(error)
                text = " ".join(reason.split()) or type(error).__name__
                self.error = text.replace(os.fspath(self._path), self.song.name)
            else:
                logger.exception("a separation failed")
                self.error = "something went wrong; the page's log says what"

    def _separate(self) -> None:
        session = self._sessions.get(self.session_name)
        self._rate = session.sample_rate
        mixture = Mixture(
            self._path,
            self.song.title,
            self._path.stat().st_size,
            extension=self.encoding.form,
        )
        options = Options(output_path=self.folder, encoding=self.encoding)
        lengths = some_lengths([mixture], session.sample_rate)
        networks = Networks(session.engine(), lengths, options)
        paths = {
            stem: self.folder / f"{stem}.{self.encoding.form}" for stem in session.stems
        }
        self.stage = "Separating"
        report = networks.retrying(
            lambda: separate_file(mixture, paths, networks, options, bar=self)
        )
        self.stage = "Drawing"
        self.sketches = {MIXTURE: self._play_mixture()}
        for name, path in paths.items():
            self.sketches[name] = self._look_at(path)
        if self.song.references is not None:
            self.scores = score_song(self.song.title, paths, self.song.references)
        self.report = report

    def _look_at(self, path: pathlib.Path) -> Sketch:
        with AudioReader(path) as reader:
            return sketch(
                self._going_on(reader.blocks()),
                frames=reader.frames,
                sample_rate=reader.sample_rate,
            )

    def _play_mixture(self) -> Sketch:
        """Write the mixture as every browser can play it, and look at it."""
        with AudioReader(self._path) as reader:
            frames, rate = reader.frames, reader.sample_rate
            with AudioWriter(
                self.mixture, sample_rate=rate, frames=frames, channels=reader.channels
            ) as writer:

                def written() -> Iterator[np.ndarray]:
                    for block in self._going_on(reader.blocks()):
                        writer.write(quantize(block, "PCM_16")[0])
                        yield block

                return sketch(written(), frames=frames, sample_rate=rate)

    def _going_on(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            if self._is_stopped:
                raise Stopped
            yield block
