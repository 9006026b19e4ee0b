"""The arguments of main.py: the 2018 program's, and ours.

Nothing here may import NumPy, Keras or audio libraries: `--help` must be quick.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import Any, NoReturn

from sswavenet.config.tasks import MULTI_INSTRUMENT, TASKS
from sswavenet.console import values


class Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """End the program with the message."""
        self.exit(2, f"error: {message}; --help lists the arguments\n")


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(
            f"expected True or False, got {text!r}"
        ) from None


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least 1, got {text!r}"
        )
    return value


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return os.path.expanduser(text)  # noqa: PTH111 - shells leave --flag=~/x alone


def path(text: str) -> pathlib.Path:
    """A path from the command line."""
    return pathlib.Path(_path(text))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def add_kernel_convention(parser: argparse.ArgumentParser) -> None:
    """Add the flag for checkpoints that do not say how their kernels are stored."""
    parser.add_argument(
        "--kernel_convention",
        choices=["theano", "tensorflow"],
        help="backend that wrote a checkpoint which does not say so itself",
    )


def build_parser() -> Parser:
    """The parser of the command line, with the 2018 program's flags and ours."""
    parser = Parser(
        description="Separate music into stems, train a session, or evaluate one.",
        epilog="With `app` as its first word it starts a page in the browser instead; "
        "`app --help` lists that one's arguments.",
        allow_abbrev=False,
    )

    def add_flag(group: Any, name: str, text: str) -> None:
        group.add_argument(
            name,
            nargs="?",
            const=True,
            default=False,
            type=_boolean,
            metavar="True|False",
            help=f"{text} (default: False)",
        )

    parser.add_argument(
        "--mode",
        choices=["training", "inference", "evaluation"],
        default="training",
        help="what to do; not needed with MIXTURE (default: training)",
    )
    parser.add_argument(
        "--target",
        choices=list(TASKS),
        help="task of the model, where the config has no model.type "
        f"(default: {MULTI_INSTRUMENT})",
    )
    parser.add_argument(
        "--config",
        type=_path,
        default="config.json",
        metavar="FILE",
        help="JSON configuration (default: config.json)",
    )
    parser.add_argument(
        "--session",
        type=_path,
        metavar="SESSION",
        help="in place of --config a shipped session's name, a session's folder or its "
        "config.json (default: multi-instrument with MIXTURE, if there is no --config)",
    )
    add_flag(parser, "--print_model_summary", "print the network, layer by layer")
    parser.add_argument(
        "--load_checkpoint",
        type=_path,
        metavar="FILE",
        help="weights to use (default: the session's newest)",
    )
    add_kernel_convention(parser)
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "highest"],
        default="float32",
        help="what the network computes in: exact float32 on a CPU, TF32 on a GPU; "
        "bfloat16, faster and less exact; highest, exact float32 on a GPU too "
        "(default: float32)",
    )
    inference = parser.add_argument_group("separation")
    inference.add_argument(
        "mixtures",
        nargs="*",
        default=[],
        type=_path,
        metavar="MIXTURE",
        help="audio files, videos and folders of them to separate, or - for a stream",
    )
    add_flag(inference, "--one_shot", "separate each file in one forward pass")
    inference.add_argument(
        "--target_field_length",
        type=_count,
        metavar="N",
        help="samples separated at a time (default: chosen to fit the memory; with "
        "--original_framing as defined in the config)",
    )
    inference.add_argument(
        "--batch_size",
        type=_count,
        metavar="N",
        help="fragments per batch (default: as for --target_field_length)",
    )
    inference.add_argument(
        "--mixture_input_path",
        type=_path,
        metavar="PATH",
        help="one MIXTURE; or - for raw float32 mono samples from stdin (stems "
        "interleaved to stdout)",
    )
    add_flag(inference, "--recursive", "look into the folder's folders, too")
    inference.add_argument(
        "--output_path",
        type=path,
        metavar="FOLDER",
        help="where the stems go (default: separated/<name of the session>; with "
        "--config a new <session>/samples/samples_N) or the results of an evaluation "
        "(default: evaluation/<name of the session>; with --config "
        "<session>/evaluation)",
    )
    inference.add_argument(
        "--output_name",
        type=_path,
        default="{mixture}_{stem}",
        metavar="NAME",
        help="names of the stems below that, without extension, folders included, as "
        "{mixture}/{stem} (default: {mixture}_{stem})",
    )
    inference.add_argument(
        "--format",
        choices=["wav", "flac", "mp3", "ogg", "opus", "m4a"],
        default="wav",
        help="format of the stems (default: wav)",
    )
    inference.add_argument(
        "--subtype",
        choices=["PCM_16", "PCM_24", "FLOAT"],
        help="sample type of the stems in wav, and but for FLOAT in flac "
        "(default: PCM_16)",
    )
    inference.add_argument(
        "--bitrate",
        type=values.bitrate,
        metavar="BITS",
        help="bits a second of stems in mp3, opus and m4a, as 192k (default: plenty)",
    )
    inference.add_argument(
        "--start",
        type=values.seconds,
        default=0.0,
        metavar="TIME",
        help="where to begin in each file, in seconds or h:m:s (default: 0.0)",
    )
    inference.add_argument(
        "--duration",
        type=values.duration,
        metavar="TIME",
        help="how much to separate, likewise (default: to the end)",
    )
    add_flag(inference, "--strict", "let a file fail that is damaged or cut short")
    inference.add_argument(
        "--stems",
        type=_names,
        metavar="NAME,...",
        help="stems to write, separated by commas (default: all)",
    )
    add_flag(
        inference,
        "--complement",
        "write for each stem the mixture without it, too, as no_<stem>",
    )
    inference.add_argument(
        "--stem_format",
        choices=["native", "model"],
        help="native: stems with the mixture's rate and channels; model: mono at the "
        "session's rate (default: native; model with --original_framing and in an "
        "evaluation)",
    )
    add_flag(inference, "--overwrite", "replace stems that are there")
    add_flag(
        inference,
        "--skip_existing",
        "leave out mixtures whose stems are all there",
    )
    inference.add_argument(
        "--report",
        type=_path,
        metavar="FILE",
        help="write what became of each file as JSON",
    )
    add_flag(
        inference,
        "--original_framing",
        "cut fragments like the 2018 program: stems are shorter than the mixture",
    )
    evaluation = parser.add_argument_group("evaluation")
    evaluation.add_argument(
        "--dataset_path",
        type=_path,
        metavar="FOLDER",
        help="MUSDB18 tree to evaluate on (default: the config's)",
    )
    evaluation.add_argument(
        "--subset",
        choices=["train", "validation", "test"],
        default="test",
        help="tracks to evaluate on (default: test)",
    )
    evaluation.add_argument(
        "--metrics",
        type=_names,
        default=("si_sdr", "bss"),
        metavar="NAME,...",
        help="si_sdr (quick), bss (BSS Eval v4, slow) or both (default: si_sdr,bss)",
    )
    add_flag(evaluation, "--oracle", "score the ideal ratio mask, too, as a ceiling")
    evaluation.add_argument(
        "-j",
        "--jobs",
        type=_count,
        metavar="N",
        help="processes that compute BSS Eval, each with one track in memory "
        "(default: one for each core)",
    )
    return parser
