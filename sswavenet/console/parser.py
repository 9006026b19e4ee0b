"""A parser of command lines, and the types of arguments."""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import NoReturn

from sswavenet.console.places import is_url

MAX_SECONDS = 1e7  # some months
MIN_BITRATE, MAX_BITRATE = 8000, 2000000  # bits a second


class Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        """End the program with the message."""
        self.exit(2, f"error: {message}; --help lists the arguments\n")


def described(text: str | None) -> argparse.ArgumentParser:
    """A parser whose help begins with the text of a module, as it stands."""
    form = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=text, formatter_class=form)


def boolean(text: str) -> bool:
    """True or False, in any case."""
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(
            f"expected True or False, got {text!r}"
        ) from None


def count(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least 1, got {text!r}"
        )
    return value


def text_path(text: str) -> str:
    """A path as text; `~` is the home folder, file:// is understood."""
    if text.startswith("file://"):
        text = text[len("file://") :]
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return os.path.expanduser(text)  # noqa: PTH111 - shells leave --flag=~/x alone


def path(text: str) -> pathlib.Path:
    """`text_path` as a path."""
    return pathlib.Path(text_path(text))


def place(text: str) -> pathlib.Path | str:
    """`path`; but the URL of a store as it is."""
    return text if is_url(text_path(text)) else path(text)


def resources(text: str) -> dict[str, float]:
    """Resources by name, as `num_cpus=2,num_gpus=1`."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = map(str.strip, part.partition("="))
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = -1.0
        if not (name and 0 <= found[name] < float("inf")):
            raise argparse.ArgumentTypeError(
                f"expected resources as num_cpus=2,num_gpus=1, got {text!r}"
            )
    return found


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(","))


def add_kernel_convention(parser: argparse.ArgumentParser) -> None:
    """Add the flag for checkpoints that do not say how their kernels are stored."""
    parser.add_argument(
        "--kernel_convention",
        choices=["theano", "tensorflow"],
        help="backend that wrote a checkpoint which does not say so itself",
    )


def seconds(text: str) -> float:
    """Seconds, or hours, minutes and seconds with colons between them."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    total = sum(part * 60**k for k, part in enumerate(reversed(parts)))
    # Behind a colon there are sixty at most.
    small = all(0 <= part < 60 for part in parts[1:])
    if not (1 <= len(parts) <= 3 and small and parts[0] >= 0 and total < MAX_SECONDS):
        raise argparse.ArgumentTypeError(
            f"expected seconds, m:s or h:m:s, as 90 or 1:30, got {text!r}"
        )
    return total


def duration(text: str) -> float:
    """Seconds as `seconds` takes them, but not none."""
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError(f"expected more than nothing, got {text!r}")
    return value


def bitrate(text: str) -> int:
    """Bits a second, with a k behind them for a thousand."""
    digits = text[:-1] if text.endswith(("k", "K")) else text
    value = int(digits) if digits.isdecimal() and digits.isascii() else 0
    value *= 1 if digits == text else 1000
    if not MIN_BITRATE <= value <= MAX_BITRATE:
        raise argparse.ArgumentTypeError(
            f"expected {MIN_BITRATE // 1000}k to {MAX_BITRATE // 1000}k bits a second, "
            f"got {text!r}"
        )
    return value
