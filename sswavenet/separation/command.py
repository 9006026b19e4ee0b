"""The command that separates mixtures, from arguments to exit status.

What imports Keras is imported only after its backend has been chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Callable

import util
from sswavenet.console import flags, places, streams
from sswavenet.separation import naming, picture, report, separator
from sswavenet.separation.excerpt import Excerpt
from sswavenet.separation.folder import chosen_stems, separate_all
from sswavenet.separation.inputs import Found, Mixture, find_mixtures
from sswavenet.separation.options import Options
from sswavenet.separation.outputs import parents
from sswavenet.separation.report import Counts, FileReport
from sswavenet.separation.separator import Session
from sswavenet.sound.formats import FORMATS, Encoding
from util import UserError

logger = logging.getLogger(__name__)


def infer(args: argparse.Namespace) -> int:
    """Separate mixtures."""
    if args.mixture_input_path == "-":
        return _separate_stdin(args)
    options = make_options(args)
    session = load_session(args)
    found = find(args, session, options)
    check_reports(args, session, found)
    engine = session.engine(whole=options.whole_passes)
    if args.output_path is not None:
        for parent in parents(found.mixtures, session.stems):
            util.remove_leftovers(args.output_path / parent)
    if args.print_model_summary:
        session.print_summary()
    with _reporting(args, session, found, options.excerpt) as finished:
        summary = separate_all(
            found.mixtures, engine, options, session.folder, finished
        )
    streams.write(in_words(summary))
    done = summary.num_separated + summary.num_skipped
    return 0 if done == summary.num_files else 1


def inputs(args: argparse.Namespace) -> list[str]:
    """The files, folders and URLs that are to be separated; else a UserError."""
    paths = args.mixtures or [args.mixture_input_path]
    if paths == [None]:
        raise UserError("--mode inference needs mixtures, or --mixture_input_path")
    return paths


def make_options(args: argparse.Namespace) -> Options:
    """What the arguments ask for; refuses those that contradict each other."""
    paths = inputs(args)
    for path in _reports(args):
        places.check_place(path)
    if args.one_shot and (args.target_field_length or args.batch_size):
        logger.warning(
            "--one_shot takes each file whole: --target_field_length and --batch_size "
            "change nothing"
        )
    if args.recursive and all(map(os.path.isfile, paths)):
        logger.warning(
            "--recursive looks into folders: with the file %s it changes nothing",
            paths[0],
        )
    if args.overwrite and args.skip_existing:
        raise UserError("--overwrite and --skip_existing exclude each other")
    naming.check_template(args.output_name)
    encoding = _encoding(args)
    excerpt = Excerpt(args.start, args.duration)
    if args.original_framing and not excerpt.is_whole:
        raise UserError(
            "--original_framing depends on where the fragments begin, so that no part "
            "comes out as in the whole: expected it without --start and --duration"
        )
    if args.original_framing and args.stem_format in ("native", "masks"):
        raise UserError(
            "--original_framing gives stems at the model's rate: expected it without "
            f"--stem_format {args.stem_format}"
        )
    return Options(
        output_path=None if places.is_url(args.output_path) else args.output_path,
        stems=args.stems,
        complements=args.complement,
        stem_format=args.stem_format or "native",
        encoding=encoding,
        excerpt=excerpt,
        strict=args.strict,
        overwrite=args.overwrite,
        skip_existing=args.skip_existing,
        original_framing=args.original_framing,
        one_shot=args.one_shot,
        target_field_length=args.target_field_length,
        batch_size=args.batch_size,
    )


def find(args: argparse.Namespace, session: Session, options: Options) -> Found:
    """The mixtures that the arguments name, in files and folders."""
    return find_mixtures(
        *inputs(args),
        recursive=args.recursive,
        output_paths=[
            args.output_path or session.folder / "samples",
            *([flags.SEPARATED] if args.session else []),
        ],
        template=args.output_name,
        extension=args.format,
        stems=chosen_stems(session.config, options),
    )


def check_reports(args: argparse.Namespace, session: Session, found: Found) -> None:
    """Refuse a report or a page that could take the place of an input or of a stem."""
    reports = _reports(args)
    files = [
        args.config,
        session.checkpoint.path,
        *(mixture.path for mixture in found.mixtures),
    ]
    places.check_not_among(reports, files, "an input")
    if len(set(map(os.path.realpath, reports))) < len(reports):
        raise UserError(f"{args.html}: expected another place than that of --report")
    if not places.is_url(args.output_path):
        for path in reports:
            _check_not_a_stem(path, args.output_path, found.mixtures, session)


def _reports(args: argparse.Namespace) -> list[pathlib.Path]:
    """Where to write what a run did."""
    given = (args.report, args.html)
    return [pathlib.Path(path) for path in given if path is not None]


def load_session(args: argparse.Namespace) -> Session:
    """The session that the arguments name."""
    return separator.load_session(
        pathlib.Path(args.config),
        checkpoint=args.load_checkpoint,
        precision=args.precision,
        target=args.target,
        kernel_convention=args.kernel_convention,
    )


def in_words(summary: Counts) -> str:
    """The last lines of a run."""
    counts = f"{summary.num_separated} of {summary.num_files} files"
    if summary.num_skipped:
        counts += f", {summary.num_skipped} skipped"
    if not summary.num_separated:
        return f"no stems were written\n{counts}\n"
    speed = summary.audio_seconds / summary.wall_seconds
    times = f"{speed:.1f}" if speed >= 0.1 else f"{speed:.2g}"
    return (
        f"stems in {summary.folder}\n{counts}, {summary.audio_seconds:.1f} s of audio "
        f"in {summary.wall_seconds:.1f} s, {times} x real time\n"
    )


def _encoding(args: argparse.Namespace) -> Encoding:
    """How the stems are stored; refuses what a format does not have."""
    form = FORMATS[args.format]
    if args.subtype is not None and args.subtype not in form.subtypes:
        having = [name for name, other in FORMATS.items() if other.subtypes]
        raise UserError(
            f"--subtype {args.subtype}: --format {form.name} holds "
            f"{' or '.join(form.subtypes)}"
            if form.subtypes
            else f"--subtype works with --format {' and '.join(having)}, not with "
            f"{form.name}"
        )
    if args.bitrate is not None and not form.muxer:
        having = [name for name, other in FORMATS.items() if other.muxer]
        raise UserError(
            f"--bitrate works with --format {', '.join(having)}, not with {form.name}"
        )
    if form.is_lossy:
        logger.info("%s is lossy: the stems sum to the mixture only nearly", form.name)
        return Encoding(form.name, bitrate=args.bitrate)
    args.subtype = args.subtype or "PCM_16"
    return Encoding(form.name, args.subtype)


def _check_not_a_stem(
    report: pathlib.Path,
    output: pathlib.Path | None,
    found: Sequence[Mixture],
    session: Session,
) -> None:
    """Refuse a report that could take the place of a stem."""
    if output is None:
        # The run makes a folder of its own among these, whose name nobody knows yet.
        samples = pathlib.Path(os.path.realpath(session.folder / "samples"))
        if samples in pathlib.Path(os.path.realpath(report)).parent.parents:
            raise UserError(
                f"{report}: expected a report outside the folders in {samples}, or "
                "--output_path"
            )
        return
    stems = [*session.stems, *map(naming.complement, session.stems)]
    report_folder, name = os.path.split(os.path.realpath(report))
    for mixture in found:
        for stem in mixture.stem_names(stems):
            place = output / stem
            if place.name == name and report_folder == os.path.realpath(place.parent):
                raise UserError(f"{report} is a stem and would be overwritten")


@contextlib.contextmanager
def _reporting(
    args: argparse.Namespace, session: Session, found: Found, excerpt: Excerpt
) -> Iterator[Callable[[FileReport], None]]:
    """Takes what becomes of each file; tells of it whatever happens."""
    files: list[FileReport] = []
    facts = report.run_facts(args, session.config, session.checkpoint.path)
    facts["left_out"] = [
        {"path": place, "reason": reason} for place, reason in found.left_out
    ]
    facts["complete"] = False
    with contextlib.ExitStack() as stack:
        page = None
        if args.html is not None:
            page = stack.enter_context(picture.Picture(args.html, excerpt))

        def finished(file: FileReport) -> None:
            files.append(file)
            if page:
                page.add(file)

        try:
            yield finished
            facts["complete"] = True
        finally:
            if args.report is not None:
                report.write_report(args.report, files, facts)
            if page:
                page.write(facts)


def _separate_stdin(args: argparse.Namespace) -> int:
    """Separate raw float32 samples from stdin to interleaved stems on stdout."""
    session = load_session(args)
    stream = session.stream()
    from sswavenet.separation import streaming

    logger.info(
        "reading mono float32 at %d Hz; writing %s interleaved, up to %d samples late",
        session.sample_rate,
        ", ".join(session.stems),
        stream.latency,
    )
    streaming.pipe(stream, streams.read, streams.write)
    return 0
