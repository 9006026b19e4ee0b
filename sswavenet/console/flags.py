"""Which flags work where.

A flag that would be ignored is refused, so that nobody waits for what it does not do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

TRAINING, FILES, STREAM, EVALUATION = (
    "--mode training",
    "--mode inference with files",
    "--mode inference with --mixture_input_path -",
    "--mode evaluation",
)

# The names of arguments; those that are not here work everywhere.
WORKS_WITH = {
    "print_model_summary": (TRAINING, FILES, EVALUATION),
    "one_shot": (FILES,),
    "target_field_length": (FILES, EVALUATION),
    "batch_size": (FILES, EVALUATION),
    "mixture_input_path": (FILES, STREAM),
    "recursive": (FILES,),
    "output_path": (FILES, EVALUATION),
    "format": (FILES,),
    "subtype": (FILES,),
    "bitrate": (FILES,),
    "output_name": (FILES,),
    "start": (FILES,),
    "duration": (FILES,),
    "strict": (FILES,),
    "stems": (FILES,),
    "complement": (FILES,),
    "stem_format": (FILES, EVALUATION),
    "overwrite": (FILES,),
    "skip_existing": (FILES,),
    "verify": (FILES,),
    "report": (FILES,),
    "original_framing": (FILES,),
    "dataset_path": (EVALUATION,),
    "subset": (EVALUATION,),
    "metrics": (EVALUATION,),
    "oracle": (EVALUATION,),
    "jobs": (EVALUATION,),
}
_NOT_GIVEN = object()


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """The arguments, where each flag that is given has something to do.

    A flag that is given as False asks for nothing and is taken everywhere. Otherwise
    the parser ends the program with a line that names the flag and where it works.
    """
    # What is in the namespace before is not replaced by a default.
    names = [
        action.dest
        for action in parser._actions
        if action.dest not in ("help", "version")
    ]
    blank = argparse.Namespace(**dict.fromkeys(names, _NOT_GIVEN))
    args = parser.parse_args(argv, blank)
    given = [name for name in names if getattr(args, name) is not _NOT_GIVEN]
    for name in set(names) - set(given):
        setattr(args, name, parser.get_default(name))
    use = _use(args)
    for name in given:
        works_with = WORKS_WITH.get(name, (use,))
        if use not in works_with and getattr(args, name) is not False:
            parser.error(
                f"--{name} works with {' and '.join(works_with)}, not with {use}"
            )
    return args


def _use(args: argparse.Namespace) -> str:
    """What the program is used for."""
    if args.mode == "inference":
        return STREAM if args.mixture_input_path == "-" else FILES
    return TRAINING if args.mode == "training" else EVALUATION
