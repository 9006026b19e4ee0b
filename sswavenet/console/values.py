"""Values on the command line that need more than a number: times and bit rates."""

from __future__ import annotations

import argparse

MAX_SECONDS = 1e7  # some months
MIN_BITRATE, MAX_BITRATE = 8000, 2000000  # bits a second


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
