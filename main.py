"""The command line: separate mixtures with a session, train or evaluate one.

`python main.py --help` lists the arguments; README.md explains them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator, Sequence

# Nothing here may import NumPy, Keras or audio libraries: `--help` must be quick.
import flags
import packages
import signals
import standard_streams
from arguments import build_parser
from config import UserError

logger = logging.getLogger(__name__)


class OneLine(logging.Formatter):
    """`level: message`, on one line and encodable, whatever names are in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        return re.sub(r"[\x00-\x1f\x7f]", " ", text)


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
            f"needs the package {error.name}, which is not installed: "
            f"{packages.how_to_install(error.name)}"
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
    args = flags.parse(build_parser(), argv)
    with standard_streams.opened(), _logging_to_stderr():
        try:
            with signals.raising():
                import commands

                status = commands.COMMANDS[args.mode](args)
                standard_streams.write("")
        except KeyboardInterrupt:
            logger.error("interrupted")
            return 130
        except signals.Terminated:
            logger.error("terminated")
            return 143
        except BrokenPipeError:
            standard_streams.silence_stdout()  # whoever read it is gone
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
