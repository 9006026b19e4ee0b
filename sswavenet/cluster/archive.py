"""Separate the mixtures of an archive, wherever they and their stems lie.

Conventions: a mixture and its stems have the same names as on one machine. What lies in
a store is copied to a temporary folder and separated there; its stems are put into
their store once all of them are whole.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
import posixpath
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator

from sswavenet.cluster.storage import Store
from sswavenet.separation.arrays import rounded_up
from sswavenet.separation.engine import Networks
from sswavenet.separation.folder import attempt, chosen_stems
from sswavenet.separation.inputs import (
    EXTENSIONS,
    UNREADABLE,
    Mixture,
    read_header,
)
from sswavenet.separation.options import Options
from sswavenet.separation.report import FAILED, SEPARATED, SKIPPED, FileReport
from sswavenet.separation.separator import Session
from util import UserError

logger = logging.getLogger(__name__)

LONGEST = 600  # seconds; fragments are no longer for longer mixtures
NUM_NETWORKS = 4  # for mixtures of about the same lengths


@dataclasses.dataclass(frozen=True)
class Job:
    """One mixture that is to be separated."""

    root: str  # the URL that was listed; empty for a file
    file: str  # what lies below that, or the path of a file
    name: str  # its path below the folder of mixtures, without extension
    size: int  # bytes
    problem: str = ""  # why it cannot be separated, if that is known already

    @property
    def place(self) -> str:
        """Its URL or its path."""
        return _as_folder(self.root) + self.file if self.file else self.root


def in_store(
    url: str,
    *,
    recursive: bool,
    output: pathlib.Path | str,
    leave_out: Callable[[str, str], None],
) -> Iterator[Job]:
    """The mixtures at a URL and below it, listed while they are taken.

    What may be audio but cannot be read is given to `leave_out`, with the reason. What
    lies below `output` is passed over. Raises UserError where the store cannot be
    listed, or the stems would lie among the mixtures.
    """
    store = Store(url)
    stems = _as_folder(str(output))
    if _as_folder(store.url).startswith(stems):
        raise UserError(
            f"{output}: expected an --output_path beside the mixtures or below them, "
            "where stems are not taken for mixtures"
        )
    for file, size in store.files(recursive=recursive):
        stem, extension = posixpath.splitext(file or posixpath.basename(store.url))
        if store.url_of(file).startswith(stems):
            continue
        if file and extension.lower() in UNREADABLE:
            leave_out(store.url_of(file), "a format that cannot be read")
        elif not file or extension.lower() in EXTENSIONS:
            yield Job(store.url, file, stem, size)


def _as_folder(url: str) -> str:
    """A URL that begins those of what lies below it."""
    return f"{url}/" if url and not url.endswith("/") else url


def without_twins(jobs: Iterable[Job]) -> Iterator[Job]:
    """Jobs, of which those that would write the stems of an earlier one cannot be done.

    Names of a folder come in order, so that those that differ in their extension alone
    are near each other: no more of them need to be remembered.
    """
    near = ""
    seen: dict[str, Job] = {}
    for job in jobs:
        folder, base = posixpath.split(job.name)
        beginning = posixpath.join(job.root, folder, base.partition(".")[0])
        if beginning != near:
            near, seen = beginning, {}
        first = seen.setdefault(job.name, job)
        if first is not job:
            problem = f"{first.place} and {job.place} would write the same stems"
            yield dataclasses.replace(job, problem=problem)
        else:
            yield job


class Silent:
    """Shows nobody how far the separation of one file is."""

    def begin(self, num_samples: int) -> None:
        """Begin with a file."""

    def __call__(self, samples: int) -> None:
        """Go on."""


class Separator:
    """Separates jobs with one session, in this process or in an actor.

    Args:
        session: the network.
        options: what the run is asked for.
        output: folder or URL that the stems go to.
        template: of the stems' names.
        extension: of the stems' files.
    """

    def __init__(
        self,
        session: Session,
        options: Options,
        output: pathlib.Path | str,
        template: str,
        extension: str,
    ):
        self._config = session.config
        self._options = options
        self._stems = chosen_stems(session.config, options)
        self._place = output
        self._store = Store(output) if isinstance(output, str) else None
        self._form = (template, extension)
        engine = session.engine(whole=options.whole_passes)
        self._networks = functools.lru_cache(NUM_NETWORKS)(
            lambda length: Networks(engine, [length], options)
        )
        self._inputs = functools.lru_cache(NUM_NETWORKS)(Store)

    def __call__(self, job: Job, again: bool = False) -> FileReport:
        """Separate a mixture; where it fails, its report says why.

        `again` says that an earlier attempt ended with its process, perhaps after it
        had written stems.
        """
        started = time.monotonic()
        try:
            if job.problem:
                raise UserError(job.problem)
            with tempfile.TemporaryDirectory(prefix="sswavenet-") as folder:
                found = self._separate(job, pathlib.Path(folder), again)
        except (OSError, UserError) as error:
            message = " ".join(str(error).split())
            if job.place not in message:
                message = f"{job.place}: {message}"
            logger.error("%s", message)
            found = FileReport(job.place, FAILED, message)
        found.seconds = time.monotonic() - started
        return found

    def _separate(self, job: Job, folder: pathlib.Path, again: bool) -> FileReport:
        options = self._options
        mixture = Mixture(pathlib.Path(job.file), job.name, job.size, *self._form)
        names = dict(zip(self._stems, mixture.stem_names(self._stems)))
        if again:
            options = dataclasses.replace(options, overwrite=True, skip_existing=False)
        elif not options.overwrite:
            there = [name for name in names.values() if self._exists(name)]
            if len(there) == len(names) and options.skip_existing:
                return FileReport(job.place, SKIPPED)
            if there and not options.skip_existing:
                raise UserError(
                    f"{job.place}: {self._place_of(there[0])} exists; --overwrite "
                    "replaces what is there, --skip_existing keeps it"
                )
        if job.root:
            file = folder / f"mixture{posixpath.splitext(job.place)[1]}"
            self._inputs(job.root).fetch(job.file, file)
            mixture = dataclasses.replace(mixture, path=file, origin=job.place)
        output = folder / "stems" if isinstance(self._place, str) else self._place
        paths = mixture.stem_paths(output, self._stems)
        rate = self._config.sample_rate
        length, _ = read_header(mixture.path, rate)
        heard = options.excerpt.heard_length(length, rate, self._config.context_length)
        networks = self._networks(min(rounded_up(heard), LONGEST * rate))
        found = attempt(mixture, paths, output, networks, options, Silent())
        if self._store and found.status == SEPARATED:
            self._store.put_all({names[stem]: paths[stem] for stem in self._stems})
            for stem, name in names.items():
                found.stems[stem].path = self._store.url_of(name)
        return found

    def _place_of(self, name: str) -> str:
        if self._store:
            return self._store.url_of(name)
        return str(pathlib.Path(self._place, name))

    def _exists(self, name: str) -> bool:
        if self._store:
            return self._store.exists(name)
        return pathlib.Path(self._place, name).exists()
