"""Scores as tables that are read as they stand and fit a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sswavenet.evaluation.metrics import BSS_METRICS, WINDOW_SECONDS


def tables(
    rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of `summary.summarize`, of the same songs, as tables that fit a terminal.

    For each way to score, how its figures came about, and the rows of its table, stem
    by stem.
    """
    found = []
    stems = list(dict.fromkeys(row["stem"] for row in rows))
    rows = sorted(rows, key=lambda row: stems.index(row["stem"]))
    if "si_sdr" in metrics:
        title = "SI-SDR in dB, medians over tracks:"
        found.append((title, [_narrow(row, "SI-SDR", ["SI-SDR"]) for row in rows]))
    if "bss" in metrics:
        title = (
            f"BSS Eval v4 in dB, medians over windows of {WINDOW_SECONDS} s, "
            "then over tracks:"
        )
        table = [
            {
                **_narrow(row, "SDR", BSS_METRICS),
                "windows": _share(row["windows"], row["windows left out"]),
            }
            for row in rows
        ]
        found.append((title, table))
    return found


def _narrow(
    row: Mapping[str, Any], name: str, columns: Sequence[str]
) -> dict[str, Any]:
    return {
        **{column: row[column] for column in ("stem", "method", *columns)},
        f"{name}i": row[f"{name} improvement"],
        "tracks": _share(row[f"{name} tracks"], row[f"{name} left out"]),
    }


def _share(counted: int, left_out: int) -> str:
    return f"{counted} of {counted + left_out}" if left_out else str(counted)
