"""Tables that are read as they stand: columns of one width, figures to the right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def aligned(rows: Sequence[Sequence[str]], left: Sequence[bool]) -> list[list[str]]:
    """Cells as wide as their columns, each to the left or not."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        [
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, is_left, width in zip(row, left, widths)
        ]
        for row in rows
    ]


def cell(value: Any) -> str:
    """A value as tables show it: a figure to a hundredth, nothing for NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.2f}"
    return str(value)


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of rows by column name, texts to the left."""
    cells = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    left = [isinstance(value, str) for value in rows[0].values()]
    head, *body = aligned(cells, left)
    rule = [
        "-" * len(c) if is_left else "-" * (len(c) - 1) + ":"
        for c, is_left in zip(head, left)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])
