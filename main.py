"""The command line: separate mixtures with a session, train or evaluate one.

`python main.py --help` lists the arguments; docs/usage.md explains them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

# Nothing here may import NumPy, Keras or audio libraries: `--help` must be quick.
from sswavenet.console import flags
from sswavenet.console import run as command_line
from sswavenet.console.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments. Defaults to the process's.

    Returns:
        The exit status: 0 if everything asked for was done, 1 if a file failed, 2
        if the arguments, the config or the checkpoint cannot be used, 130 after an
        interrupt, 143 after SIGTERM, 129 after SIGHUP.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["app"]:  # a folder of that name is ./app
        from sswavenet.app.command import main as serve

        return serve(words[1:])
    import sswavenet  # what its public names stand for is imported when they are used

    parser = build_parser()
    parser.add_argument(
        "--version", action="version", version=f"sswavenet {sswavenet.__version__}"
    )
    args = flags.parse(parser, words)

    def work() -> int:
        flags.use_session(args)
        if args.mode == "inference":
            from sswavenet.separation.command import infer

            return infer(args)
        if args.mode == "evaluation":
            from sswavenet.evaluation.command import evaluate_session

            return evaluate_session(args)
        from sswavenet.training.command import train

        return train(args)

    return command_line.run(work)


if __name__ == "__main__":
    sys.exit(main())
