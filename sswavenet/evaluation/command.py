"""The command that scores a session on a data set, from arguments to exit status."""

from __future__ import annotations

import argparse
import functools
import logging
import os
import pathlib

from sswavenet.console import flags, streams
from sswavenet.evaluation.run import Settings, Spread, evaluate
from sswavenet.evaluation.store import fingerprint
from sswavenet.separation.command import load_session
from sswavenet.separation.options import Options

logger = logging.getLogger(__name__)


def evaluate_session(args: argparse.Namespace, spread: Spread | None = None) -> int:
    """Score a session on a data set; `spread` as in `evaluate`."""
    session = load_session(args)
    config, checkpoint = session.config, session.checkpoint
    if args.jobs is not None and (spread or "bss" not in args.metrics):
        logger.warning(
            "--jobs is for BSS Eval on one machine: without that it changes nothing"
        )
    if args.dataset_path is not None:
        config = config.replace(datasets=args.dataset_path)
    if args.print_model_summary:
        session.print_summary()
    # Published scores are of the tracks as they are; this project's own, of its
    # sessions, of what the network hears.
    stem_format = args.stem_format or "model"
    options = Options(
        target_field_length=args.target_field_length,
        batch_size=args.batch_size,
        stem_format=stem_format,
    )
    make_separate = functools.partial(session.separator, options=options)
    form = {
        "model": f"mono at {config.sample_rate} Hz",
        "native": "their own rate and channels",
        "masks": "their own rate and channels, by masks",
    }[stem_format]
    name = streams.printable(session.folder.resolve().name)
    results = evaluate(
        config,
        make_separate,
        # Never reuse scores computed at another precision, or of other stems.
        fingerprint(checkpoint.weights)
        + ("" if args.precision == "float32" else f" in {args.precision}")
        + (" by masks" if stem_format == "masks" else ""),
        Settings(
            output_path=args.output_path
            or session.folder / flags.evaluation_folder(stem_format),
            subset=args.subset,
            metrics=args.metrics,
            oracle=args.oracle,
            jobs=args.jobs or os.cpu_count() or 1,
            native=stem_format != "model",
        ),
        heading=[
            f"# Evaluation of the session {name}, task {config.task_name}",
            f"Checkpoint {checkpoint.path.name}, epoch {checkpoint.epoch}; "
            f"{args.subset} tracks of {pathlib.Path(config.dataset_path).name}, "
            f"{form}; computed in {args.precision}.",
        ],
        spread=spread,
    )
    streams.write(f"{results.text}\nresults in {results.folder}\n")
    return 1 if results.num_failed else 0
