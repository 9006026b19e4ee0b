"""The three commands: separate mixtures, train a session, evaluate one.

Each takes the parsed arguments and returns the exit status. What imports Keras is
imported only after its backend has been chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import logging
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import checkpoints
import evaluate
import mixtures
import report
import separate
import shapes
import stems
import util
from config import Config, UserError, parse_config

logger = logging.getLogger(__name__)

BACKENDS = ("jax", "torch", "tensorflow", "theano")


def infer(args: argparse.Namespace) -> int:
    """Separate mixtures."""
    if args.mixture_input_path is None:
        raise UserError("--mode inference needs --mixture_input_path")
    if args.mixture_input_path == "-":
        return _separate_stdin(args)
    if args.report is not None:
        util.check_place(args.report)
    if args.one_shot and (args.target_field_length or args.batch_size):
        logger.warning(
            "--one_shot takes each file whole: --target_field_length and --batch_size "
            "change nothing"
        )
    found = mixtures.find_mixtures(
        args.mixture_input_path,
        sample_rate=_read_config(args).sample_rate,
        recursive=args.recursive,
        output_path=args.output_path,
    )
    config, session, checkpoint = _load_session(args)
    if args.report is not None:
        inputs = [args.config, checkpoint.path, *(mixture.path for mixture in found)]
        util.check_not_among([args.report], inputs, "an input")
    _choose_backend()
    import models

    _announce(session, checkpoint)
    build_predict, blocks = _network(
        config,
        checkpoint.weights,
        whole=args.original_framing or args.one_shot,
        precision=args.precision,
    )
    if args.output_path is not None:
        for place in {args.output_path / mixture.name.parent for mixture in found}:
            util.remove_leftovers(place)
    if args.print_model_summary:
        models.build_wavenet(config).summary()
    settings = separate.Settings(
        output_path=args.output_path,
        stems=args.stems,
        subtype=args.subtype,
        overwrite=args.overwrite,
        skip_existing=args.skip_existing,
        verify=args.verify,
        original_framing=args.original_framing,
        one_shot=args.one_shot,
        target_field_length=args.target_field_length,
        batch_size=args.batch_size,
    )
    with _reporting(args, config, checkpoint.path) as files:
        summary = separate.separate_all(
            found, config, build_predict, settings, session, blocks, files
        )
    skipped = f"{summary.num_skipped} skipped, " if summary.num_skipped else ""
    util.write_out(
        f"stems in {summary.folder}\n"
        f"{summary.num_separated} of {summary.num_files} files, {skipped}"
        f"{summary.audio_seconds:.1f} s of audio in {summary.wall_seconds:.1f} s, "
        f"real-time factor {summary.audio_seconds / summary.wall_seconds:.2f}\n"
    )
    done = summary.num_separated + summary.num_skipped
    return 0 if done == summary.num_files else 1


@contextlib.contextmanager
def _reporting(
    args: argparse.Namespace, config: Config, checkpoint: pathlib.Path
) -> Iterator[list]:
    """A list for what becomes of each file; written as a report whatever happens."""
    files: list = []
    facts = report.run_facts(args, config, checkpoint)
    complete = False
    try:
        yield files
        complete = True
    finally:
        if args.report is not None:
            report.write_report(args.report, files, {**facts, "complete": complete})


def _separate_stdin(args: argparse.Namespace) -> int:
    """Separate raw float32 samples from stdin to interleaved stems on stdout."""
    config, session, checkpoint = _load_session(args)
    _choose_backend()
    import compat
    import streaming

    _announce(session, checkpoint)
    compat.check_precision(args.precision)
    separator = streaming.StreamingSeparator(
        config, checkpoint.weights, precision=args.precision
    )
    logger.info(
        "reading mono float32 at %d Hz; writing %s interleaved, %d samples late",
        config.sample_rate,
        ", ".join(config.task.stems),
        config.context_length,
    )
    streaming.pipe(separator, sys.stdin.buffer, sys.stdout.buffer)
    return 0


def train(args: argparse.Namespace) -> int:
    """Train a session."""
    config = _read_config(args)
    _choose_backend()
    import training

    try:
        training.train(
            config,
            load_checkpoint=args.load_checkpoint,
            kernel_convention=args.kernel_convention,
            print_model_summary=args.print_model_summary,
            precision=args.precision,
        )
    except training.Interrupted as error:
        logger.warning("stopped by %s", error)
        return error.exit_status
    return 0


def evaluate_session(args: argparse.Namespace) -> int:
    """Score a session on a data set."""
    config, session, checkpoint = _load_session(args)
    if args.dataset_path is not None:
        config = config.replace(dataset_path=args.dataset_path)
    _choose_backend()

    def make_separate(lengths: Sequence[int]) -> Any:
        # Not before it is needed: scores made earlier may be all there is to read.
        _announce(session, checkpoint)
        build_predict, blocks = _network(
            config, checkpoint.weights, whole=False, precision=args.precision
        )
        return stems.make_separate(
            config,
            build_predict,
            lengths,
            target_field_length=args.target_field_length,
            batch_size=args.batch_size,
            blocks=blocks,
        )

    summary = evaluate.evaluate(
        config,
        make_separate,
        evaluate.fingerprint(checkpoint.weights),
        evaluate.Settings(
            output_path=args.output_path or session / "evaluation",
            subset=args.subset,
            metrics=args.metrics,
            oracle=args.oracle,
            jobs=args.jobs,
        ),
        heading=[
            f"# Evaluation of {config.task_name}",
            f"Checkpoint {checkpoint.path.name}, epoch {checkpoint.epoch}; "
            f"{args.subset} tracks of {pathlib.Path(config.dataset_path).name}, mono "
            f"at {config.sample_rate} Hz.",
        ],
    )
    util.write_out(f"{summary.text}\nresults in {summary.folder}\n")
    return 1 if summary.num_failed else 0


def _read_config(args: argparse.Namespace) -> Config:
    document = util.read_json(args.config)
    return parse_config(document, source=args.config, task_name=args.target)


def _load_session(args: argparse.Namespace) -> tuple[Config, pathlib.Path, Any]:
    """The session that the arguments name: config, folder and checkpoint."""
    config = _read_config(args)
    shapes.check_network(config)
    session = checkpoints.find_session(args.config, config)
    checkpoint = checkpoints.read_checkpoint(
        args.load_checkpoint or checkpoints.find_latest(session),
        config,
        args.kernel_convention,
    )
    return config, session, checkpoint


def _announce(session: pathlib.Path, checkpoint: Any) -> None:
    """Log what runs: backend, device, checkpoint, and the session's notice."""
    import models

    logger.info("%s", models.describe_backend())
    epoch = "unknown" if checkpoint.epoch is None else checkpoint.epoch
    logger.info("checkpoint %s, epoch %s", checkpoint.path, epoch)
    notice = session / "NOTICE.txt"
    if notice.is_file():
        logger.warning("%s", " ".join(notice.read_text("utf-8", "replace").split()))


def _choose_backend() -> None:
    """Settle KERAS_BACKEND before Keras is imported for the first time."""
    name = os.environ.setdefault("KERAS_BACKEND", "jax")
    if name not in BACKENDS:
        raise UserError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}, got {name!r}"
        )
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"KERAS_BACKEND is {name}, but {name} is not installed; README.md says "
            f"under Backends what to install (jax: pip install -r requirements.txt)"
        )
    # What JAX has compiled once need not be compiled by the next run.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(util.cache_folder() / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _network(
    config: Config, weights: dict, *, whole: bool, precision: str
) -> tuple[Any, Any]:
    """What builds the network for a framing, and how it runs fragments.

    On a processor fragments are run by blocks, unless each must be one `whole` pass.
    """
    import compat
    import models
    import streaming

    compat.check_precision(precision)
    if not compat.is_jax_on_cpu():
        build = functools.partial(models.build_predict, config, weights, precision)
        return build, None
    if whole and precision == "bfloat16":
        raise UserError(
            "--precision bfloat16 on a processor works block by block, so neither with "
            "--one_shot nor with --original_framing"
        )
    if whole:
        return functools.partial(models.build_predict, config, weights), None
    blocks = shapes.Blocks(streaming.BLOCK_LENGTH, compat.num_cores())
    build = functools.partial(
        streaming.build_predict,
        config,
        weights,
        num_threads=blocks.num_parallel,
        precision=precision,
    )
    return build, blocks


COMMANDS = {"training": train, "inference": infer, "evaluation": evaluate_session}
