"""The commands for archives and clusters, from arguments to exit status."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import util
from sswavenet.cluster import archive
from sswavenet.cluster.archive import Job, Separator
from sswavenet.console import places, streams
from sswavenet.console.bars import make_bar
from sswavenet.separation import command, folder, report
from sswavenet.separation.inputs import Found, Mixture
from sswavenet.separation.options import Options
from sswavenet.separation.outputs import new_samples_folder, output_folder, parents
from sswavenet.separation.report import FAILED, Counts, FileReport
from sswavenet.separation.separator import Session
from util import UserError

logger = logging.getLogger(__name__)


class Lines:
    """A report as JSON lines, each written as soon as it is known; None writes nothing.

    The first line of a run says what holds for all of it, the last one how it ended.
    What is there already, of earlier runs, stays.
    """

    def __init__(self, file: IO[str] | None):
        self._file = file

    def add(self, entry: dict[str, Any]) -> None:
        """Append a line, so that it is there if this process ends at once."""
        if self._file:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()


def infer(args: argparse.Namespace) -> int:
    """Separate mixtures in stores or on a cluster."""
    _check_cluster(args)
    if args.html is not None:
        raise UserError(
            "--html shows files of this machine: expected it without URLs and "
            "--cluster, where --report says what became of each file"
        )
    options = command.make_options(args)
    session = command.load_session(args)
    folder.chosen_stems(session.config, options)  # refuses those that there are not
    urls = list(filter(places.is_url, command.inputs(args)))
    if urls and len(urls) < len(command.inputs(args)):
        raise UserError("expected URLs of mixtures, or files and folders, got both")
    found = Found([], []) if urls else command.find(args, session, options)
    command.check_reports(args, session, found)  # before anything is appended
    if args.print_model_summary:
        session.print_summary()
    with contextlib.ExitStack() as stack:
        lines = Lines(_open_report(args, stack))
        facts = report.run_facts(args, session.config, session.checkpoint.path)
        lines.add({**facts, "versions": report.versions()})
        for place, reason in found.left_out:
            lines.add({"left_out": place, "reason": reason})
        output, jobs = (
            _in_stores(args, lines)
            if urls
            else _in_folders(args, options, session, found.mixtures, stack)
        )
        tally = Counts(output)
        started = time.monotonic()
        make = functools.partial(
            Separator, session, options, output, args.output_name, args.format
        )
        bar = stack.enter_context(
            make_bar(desc="all files", unit=" files", disable=None)
        )
        for file in _reports(args, make, jobs):
            tally.add(file)
            lines.add(dataclasses.asdict(file))
            bar.set_postfix_str(
                f"{tally.audio_seconds:.0f} s of audio, {tally.num_failed} failed",
                refresh=False,
            )
            bar.update()
        tally.wall_seconds = time.monotonic() - started
        if not tally.num_files:
            raise UserError(f"{urls[0]}: expected at least one audio file there")
        counts = {
            "separated": tally.num_separated,
            "skipped": tally.num_skipped,
            "failed": tally.num_failed,
        }
        lines.add({"complete": True, **counts})
    streams.write(command.in_words(tally))
    return 1 if tally.num_failed else 0


def evaluate_session(args: argparse.Namespace) -> int:
    """Score a session on a data set on a cluster, all of whose nodes see its files."""
    _check_cluster(args)
    if places.is_url(args.output_path):
        raise UserError(f"{args.output_path}: expected a folder for an evaluation")
    from sswavenet.cluster import actors
    from sswavenet.evaluation import command as evaluation

    actors.connect(args.cluster)
    resources = args.cluster_resources or {}
    return evaluation.evaluate_session(
        args, functools.partial(actors.spread, resources=resources)
    )


def _check_cluster(args: argparse.Namespace) -> None:
    if args.cluster_resources is not None and args.cluster is None:
        raise UserError(
            "--cluster_resources is for --cluster: expected both, or neither"
        )


def _open_report(
    args: argparse.Namespace, stack: contextlib.ExitStack
) -> IO[str] | None:
    if args.report is None:
        return None
    path = pathlib.Path(args.report)
    path.parent.mkdir(parents=True, exist_ok=True)
    return stack.enter_context(path.open("a", encoding="utf-8"))


def _in_stores(
    args: argparse.Namespace, lines: Lines
) -> tuple[pathlib.Path | str, Iterator[Job]]:
    """Where the stems go, and the mixtures at URLs, listed while they are separated."""
    if args.output_path is None:
        raise UserError("mixtures in a store need --output_path, a folder or a URL")
    output = args.output_path
    if not places.is_url(output):
        output = output_folder(output).resolve()

    def leave_out(place: str, reason: str) -> None:
        logger.warning("left out: %s (%s)", place, reason)
        lines.add({"left_out": place, "reason": reason})

    listed = (
        archive.in_store(
            url, recursive=args.recursive, output=output, leave_out=leave_out
        )
        for url in command.inputs(args)
    )
    return output, archive.without_twins(itertools.chain.from_iterable(listed))


def _in_folders(
    args: argparse.Namespace,
    options: Options,
    session: Session,
    mixtures: Sequence[Mixture],
    stack: contextlib.ExitStack,
) -> tuple[pathlib.Path | str, Iterator[Job]]:
    """Where the stems go, and mixtures in folders, checked as on one machine."""
    output: Any = args.output_path
    if not places.is_url(output):
        stems = folder.chosen_stems(session.config, options)
        mixtures, _ = folder.to_do(mixtures, options, stems)
        if output is None:
            output = new_samples_folder(session.folder)
        output = output_folder(pathlib.Path(output)).resolve()
        for parent in parents(mixtures, stems):  # of nodes that died, too
            util.remove_leftovers(output / parent)
            stack.callback(util.remove_leftovers, output / parent)
    jobs = (
        Job("", str(mixture.path.absolute()), mixture.name, mixture.size)
        for mixture in mixtures
    )
    return output, jobs


def _reports(
    args: argparse.Namespace,
    make: Callable[[], Callable[[Job, bool], FileReport]],
    jobs: Iterable[Job],
) -> Iterator[FileReport]:
    """What becomes of each job, here or in the actors of a cluster."""
    if args.cluster is None:
        separate = make()
        yield from (separate(job, False) for job in jobs)
        return
    from sswavenet.cluster import actors

    actors.connect(args.cluster)
    for job, found in actors.spread(make, jobs, args.cluster_resources or {}):
        if found is None:
            message = f"{job.place}: each process that separated it ended early"
            found = FileReport(job.place, FAILED, message)
        for warning in found.warnings:
            logger.warning("%s: %s", found.path, warning)
        if found.message:
            logger.error("%s", found.message)
        yield found
