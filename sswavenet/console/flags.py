"""Which flags work where.

A flag that would be ignored is refused, so that nobody waits for what it does not do.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Collection, Sequence

from sswavenet.config import shipped
from sswavenet.config.tasks import MULTI_INSTRUMENT
from sswavenet.console.places import is_url

# Where the stems of sessions go that are not given by their config.
SEPARATED = pathlib.Path("separated")
TRAINING, FILES, STREAM, EVALUATION = (
    "--mode training",
    "--mode inference with files",
    "--mode inference with --mixture_input_path -",
    "--mode evaluation",
)

# The names of arguments; those that are not here work everywhere.
WORKS_WITH: dict[str, tuple[str, ...]] = {
    "print_model_summary": (TRAINING, FILES, EVALUATION),
    "session": (FILES, STREAM, EVALUATION),
    "mixture_input_path": (FILES, STREAM),
    **dict.fromkeys(
        ("target_field_length", "batch_size", "output_path", "stem_format"),
        (FILES, EVALUATION),
    ),
    **dict.fromkeys(("cluster", "cluster_resources"), (FILES, EVALUATION)),
    **dict.fromkeys(
        ("one_shot", "recursive", "output_name", "original_framing"), (FILES,)
    ),
    **dict.fromkeys(("format", "subtype", "bitrate", "start", "duration"), (FILES,)),
    **dict.fromkeys(("strict", "stems", "complement", "overwrite"), (FILES,)),
    **dict.fromkeys(("skip_existing", "report", "html"), (FILES,)),
    **dict.fromkeys(("dataset_path", "subset", "metrics"), (EVALUATION,)),
    **dict.fromkeys(("oracle", "jobs"), (EVALUATION,)),
}


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, where each flag that is given has something to do.

    Mixtures without a flag mean `--mode inference` and, unless the session is given,
    the multi-instrument one that ships. A flag that is given as False asks for nothing
    and is taken everywhere. Otherwise the parser ends the program with a line that
    names the flag and where it works.
    """
    defaults = {}
    for action in parser._actions:
        if action.default is not argparse.SUPPRESS:  # as of --help
            defaults[action.dest], action.default = action.default, argparse.SUPPRESS
    words = _with_bare_flags(parser, _without_dashes(argv))
    given = vars(parser.parse_intermixed_args(words))
    args = argparse.Namespace(**{**defaults, **given})
    contradiction = _contradiction(args, given)
    if contradiction:
        parser.error(contradiction)
    if args.mixtures:
        args.mode = "inference"
        if "config" not in given:
            args.session = args.session or MULTI_INSTRUMENT
        if args.mixtures == ["-"]:
            args.mixtures, args.mixture_input_path = [], "-"
    use = _use(args)
    for name in given:
        works_with = WORKS_WITH.get(name, (use,))
        if use not in works_with and getattr(args, name) is not False:
            parser.error(
                f"--{name} works with {' and '.join(works_with)}, not with {use}"
            )
    return args


def _without_dashes(argv: Sequence[str]) -> list[str]:
    """The arguments, where what is behind -- begins with no dash.

    `parse_intermixed_args` forgets the -- when it comes to the mixtures.
    """
    words = list(argv)
    if "--" in words:
        k = words.index("--")
        words[k:] = [
            f"./{word}" if word.startswith("-") and word != "-" else word
            for word in words[k + 1 :]
        ]
    return words


def _with_bare_flags(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """The arguments, where no mixture is taken for the value of a flag before it."""
    bare = {
        option
        for action in parser._actions
        if action.nargs == "?"
        for option in action.option_strings
    }
    words: list[str] = []
    for word in argv:
        if words and words[-1] in bare and os.path.lexists(word):
            words[-1] += "=True"
        words.append(word)
    return words


def _contradiction(args: argparse.Namespace, given: Collection[str]) -> str:
    """What is wrong with arguments that exclude each other; else empty."""
    if "session" in given and "config" in given:
        return "--session takes the place of --config: expected only one of them"
    if not args.mixtures:
        return ""
    mixture = args.mixtures[0]
    if "mode" in given and args.mode != "inference":
        return f"{mixture} is to be separated: expected it without --mode {args.mode}"
    if "mixture_input_path" in given:
        return (
            f"{mixture} takes the place of --mixture_input_path: expected all "
            "mixtures without it"
        )
    if "-" in args.mixtures[1:] or (mixture == "-" and len(args.mixtures) > 1):
        return "expected - for a stream alone, or files and folders, got both"
    return ""


def use_session(args: argparse.Namespace) -> None:
    """Set what the name of a session stands for: its config, and where results go.

    These do not go to the session, which may lie where the program is installed. Raises
    UserError where there is no such session.
    """
    if args.session is None:
        return
    config = shipped.config_path(args.session)
    args.config = str(config)
    if args.output_path is None and args.mixture_input_path != "-":
        inference = args.mode == "inference"
        folder = SEPARATED if inference else evaluation_folder(args.stem_format)
        args.output_path = folder / config.resolve().parent.name


def evaluation_folder(stem_format: str | None) -> pathlib.Path:
    """Where results go, by `--stem_format`, so that those of one replace no other's."""
    is_model = stem_format in (None, "model")
    return pathlib.Path("evaluation" if is_model else f"evaluation-{stem_format}")


def is_at_scale(args: argparse.Namespace) -> bool:
    """Whether files lie in a store, or are spread over a cluster."""
    places = (*args.mixtures, args.mixture_input_path, args.output_path)
    spread = args.cluster is not None or args.cluster_resources is not None
    return spread or any(map(is_url, places))


def _use(args: argparse.Namespace) -> str:
    """What the program is used for."""
    if args.mode == "inference":
        return STREAM if args.mixture_input_path == "-" else FILES
    return TRAINING if args.mode == "training" else EVALUATION
