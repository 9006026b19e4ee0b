"""The command line: separate mixtures with a session, train or evaluate one.

`python main.py --help` lists the arguments; README.md explains them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import logging
import os
import pathlib
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

# Nothing here may import NumPy, Keras or audio libraries: `--help` must be quick.
from arguments import build_parser
from config import Config, UserError, parse_config

logger = logging.getLogger(__name__)

BACKENDS = ("jax", "torch", "tensorflow", "theano")


class OneLine(logging.Formatter):
    """`level: message`, on one line and encodable, whatever names are in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        return re.sub(r"[\x00-\x1f\x7f]", " ", text)


def _read_config(args: argparse.Namespace) -> Config:
    import util

    document = util.read_json(args.config)
    return parse_config(document, source=args.config, task_name=args.target)


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
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "sswavenet" / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _network(config: Config, weights: dict, *, whole: bool) -> tuple[Any, Any]:
    """What builds the network for a framing, and how it runs fragments.

    On a processor fragments are run by blocks, unless each must be one `whole` pass.
    """
    import compat
    import models
    import shapes
    import streaming

    if whole or not compat.is_jax_on_cpu():
        return functools.partial(models.build_predict, config, weights), None
    blocks = shapes.Blocks(streaming.BLOCK_LENGTH, compat.num_cores())
    build = functools.partial(
        streaming.build_predict, config, weights, num_threads=blocks.num_parallel
    )
    return build, blocks


def _load_session(args: argparse.Namespace) -> tuple[Config, pathlib.Path, Any]:
    """The session that the arguments name: config, folder and checkpoint."""
    import checkpoints
    import shapes

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


def infer(args: argparse.Namespace) -> int:
    """Separate mixtures; returns the exit status."""
    if args.mixture_input_path is None:
        raise UserError("--mode inference needs --mixture_input_path")
    if args.mixture_input_path == "-":
        return _separate_stdin(args)
    import mixtures
    import separate
    import util

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
    _choose_backend()
    import models

    _announce(session, checkpoint)
    build_predict, blocks = _network(
        config, checkpoint.weights, whole=args.original_framing or args.one_shot
    )
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
    import report

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
    import streaming

    _announce(session, checkpoint)
    separator = streaming.StreamingSeparator(config, checkpoint.weights)
    logger.info(
        "reading mono float32 at %d Hz; writing %s interleaved, %d samples late",
        config.sample_rate,
        ", ".join(config.task.stems),
        config.context_length,
    )
    streaming.pipe(separator, sys.stdin.buffer, sys.stdout.buffer)
    return 0


def train(args: argparse.Namespace) -> int:
    """Train a session; returns the exit status."""
    config = _read_config(args)
    _choose_backend()
    import training

    try:
        training.train(
            config,
            load_checkpoint=args.load_checkpoint,
            kernel_convention=args.kernel_convention,
            print_model_summary=args.print_model_summary,
        )
    except training.Interrupted as error:
        logger.warning("stopped by %s", error)
        return error.exit_status
    return 0


def evaluate_session(args: argparse.Namespace) -> int:
    """Score a session on a data set; returns the exit status."""
    import evaluate
    import separate
    import util

    config, session, checkpoint = _load_session(args)
    if args.dataset_path is not None:
        config = config.replace(dataset_path=args.dataset_path)
    _choose_backend()

    def make_separate(lengths: Sequence[int]) -> Any:
        # Not before it is needed: scores made earlier may be all there is to read.
        _announce(session, checkpoint)
        build_predict, blocks = _network(config, checkpoint.weights, whole=False)
        return separate.make_separate(
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


@contextlib.contextmanager
def _logging_to_stderr() -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("jax").setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt, it unwinds and cleans up."""


@contextlib.contextmanager
def _stopping_at_sigterm() -> Iterator[None]:
    """Raise `Terminated` at SIGTERM; training has its own way while it runs."""

    def stop(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up has begun
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _explained(error: Exception) -> str | None:
    """What to tell the user of an error; None where it is a fault of the program."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return " ".join(f"{place}{error.strerror or text}".split())
    if isinstance(error, ModuleNotFoundError):
        return (
            f"needs the package {error.name}, which is not installed: pip install -r "
            "requirements.txt"
        )
    import shapes

    if shapes.is_out_of_memory(error):
        return f"out of memory: {text or type(error).__name__}"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments. Defaults to the process's.

    Returns:
        The exit status: 0 if everything asked for was done, 1 if a file failed, 2
        if the arguments, the config or the checkpoint cannot be used, 130 after an
        interrupt, 143 after SIGTERM.
    """
    args = build_parser().parse_args(argv)
    run = {"training": train, "inference": infer, "evaluation": evaluate_session}[
        args.mode
    ]
    with _logging_to_stderr():
        try:
            with _stopping_at_sigterm():
                status = run(args)
                sys.stdout.flush()
        except KeyboardInterrupt:
            logger.error("interrupted")
            return 130
        except Terminated:
            logger.error("terminated")
            return 143
        except BrokenPipeError:
            # Whoever read stdout is gone: what is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            explained = _explained(error)
            if explained is None:
                raise
            logger.error("%s", explained)
            return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
