"""Tables and box plots of an evaluation's scores.

BSS Eval: medians over the windows of a track, then over tracks; SI-SDR, which has no
windows, over tracks.

Conventions: `found` holds targets as `metrics.score_stems` makes them, by method and
track; scores are in dB; a track that does not count in a column is counted as left
out.
"""

from __future__ import annotations

import csv
import io
import math
import pathlib
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import util
from sswavenet.console.tables import markdown_table
from sswavenet.evaluation.metrics import BSS_METRICS
from sswavenet.evaluation.tables import tables

Targets = Sequence[Mapping[str, Any]]
Found = Mapping[str, Mapping[str, Targets]]

BASELINE = "mixture"
# Without information where the estimate is the mixture: no artifacts, no change.
NOT_OF_BASELINE = ("SAR", "SDR improvement", "SI-SDR improvement")
LEVEL = "level"  # of the estimate, from its reference's
# Songs in which each stem's level, from the mixture's, lies between these.
BALANCED_DB = (-12.0, 3.0)
WIDTH = 88  # characters of a line of text
PANEL_SIZE = (5.0, 3.4)  # inches


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def columns(metrics: Sequence[str]) -> list[str]:
    """Names of the scores that the tables have."""
    names = [*BSS_METRICS, "SDR improvement"] if "bss" in metrics else []
    names += ["SI-SDR", "SI-SDR improvement"] if "si_sdr" in metrics else []
    return [*names, LEVEL]


def track_scores(
    target: Mapping[str, Any], baseline: Mapping[str, Any], metrics: Sequence[str]
) -> dict[str, float]:
    """One stem's scores in one track by `columns`, medians over its windows.

    NaN where a score is not defined. The baseline is the stem's target with the mixture
    as estimate.
    """
    row = {}
    if "bss" in metrics:
        for metric in BSS_METRICS:
            row[metric] = _median(
                [frame["metrics"][metric] for frame in target["frames"]]
            )
        row["SDR improvement"] = row["SDR"] - _median(
            [frame["metrics"]["SDR"] for frame in baseline["frames"]]
        )
    if "si_sdr" in metrics:
        row["SI-SDR"] = target["si_sdr"]
        row["SI-SDR improvement"] = target["si_sdr"] - baseline["si_sdr"]
    row[LEVEL] = target["gain_db"]
    return row


def is_balanced(targets: Targets) -> bool:
    """Whether each stem of a track is heard, and none is far above the others."""
    lowest, highest = BALANCED_DB
    return all(
        lowest <= target["level_db"] <= highest
        and "silent reference" not in target["left_out"].values()
        for target in targets
    )


def _by_stem(
    found: Found, stems: Sequence[str], metrics: Sequence[str]
) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """`track_scores` by (method, stem), then track."""
    return {
        (method, stem): {
            track: track_scores(targets[row], found[BASELINE][track][row], metrics)
            for track, targets in tracks.items()
        }
        for method, tracks in found.items()
        for row, stem in enumerate(stems)
    }


def summarize(
    found: Found, stems: Sequence[str], metrics: Sequence[str], num_failed: int = 0
) -> list[dict[str, Any]]:
    """Rows of the summary table, for targets of the same tracks for each method.

    `num_failed` tracks have no scores. For all songs, then for the balanced ones, there
    is a row for each method and stem: medians over tracks and the numbers of tracks and
    windows that count and do not, by column name.
    """
    by_stem = _by_stem(found, stems, metrics)
    baseline = found[BASELINE]
    balanced = {track for track in baseline if is_balanced(baseline[track])}
    rows = []
    for songs, chosen in (("all", set(baseline)), ("balanced", balanced)):
        for (method, stem), by_track in by_stem.items():
            tracks = {name: by_track[name] for name in by_track if name in chosen}
            total = len(tracks) + (num_failed if songs == "all" else 0)
            row: dict[str, Any] = {"songs": songs, "method": method, "stem": stem}
            for column in columns(metrics):
                row[column] = _median([found[column] for found in tracks.values()])
            for metric, column in (("bss", "SDR"), ("si_sdr", "SI-SDR")):
                if metric in metrics:
                    counted = sum(
                        not math.isnan(found[column]) for found in tracks.values()
                    )
                    row[f"{column} tracks"] = counted
                    row[f"{column} left out"] = total - counted
            if "bss" in metrics:
                windows = [
                    frame["metrics"]["SDR"]
                    for name in tracks
                    for frame in found[method][name][stems.index(stem)]["frames"]
                ]
                counted = sum(not math.isnan(score) for score in windows)
                row["windows"] = counted
                row["windows left out"] = len(windows) - counted
            rows.append(row)
    return rows


def left_out_lines(found: Found, metrics: Sequence[str]) -> list[str]:
    """What does not count and why, a line for each metric, stem and reason."""
    names = {"bss": "BSS Eval", "si_sdr": "SI-SDR"}
    methods: dict[tuple[str, str, str], list[str]] = {}
    for method, tracks in found.items():
        for track, targets in tracks.items():
            for target in targets:
                for metric, reason in target["left_out"].items():
                    if metric not in metrics:
                        continue
                    what = f"{names[metric]} of {target['name']}"
                    methods.setdefault((what, reason, track), []).append(method)
    places: dict[str, list[str]] = {}
    for (what, reason, track), concerned in methods.items():
        place = f"{what} ({', '.join(concerned)}): {reason}"
        places.setdefault(place, []).append(track)
    return [
        f"- {place}, {len(tracks)} track(s): {', '.join(tracks)}"
        for place, tracks in places.items()
    ]


def _paragraphs(
    rows: Sequence[Mapping[str, Any]],
    baseline: Mapping[str, Targets],
    metrics: Sequence[str],
    num_failed: int,
) -> list[str]:
    """Tables of all songs, and of the balanced ones where these are other songs."""
    num_balanced = sum(map(is_balanced, baseline.values()))
    lowest, highest = BALANCED_DB
    songs = f"{len(baseline)} songs"
    if num_failed:
        songs += f", and {num_failed} that could not be used"
    introduction = (
        f"{songs}. Balanced songs, in which each stem lies between {lowest:+.0f} and "
        f"{highest:+.0f} dB of the mixture: {num_balanced}. SI-SDRi and SDRi are the "
        "improvements over the mixture taken as every estimate."
    )
    paragraphs = [textwrap.fill(introduction, WIDTH)]
    parts = {"all": "All songs"}
    if 0 < num_balanced < len(baseline):
        parts["balanced"] = "Balanced songs"
    for part, name in parts.items():
        paragraphs.append(f"## {name}")
        chosen = [row for row in rows if row["songs"] == part]
        for title, table in tables(chosen, metrics):
            paragraphs += [title, markdown_table(table)]
    return paragraphs


def write_report(
    folder: pathlib.Path,
    found: Found,
    stems: Sequence[str],
    metrics: Sequence[str],
    *,
    heading: Sequence[str],
    failed: Mapping[str, str] | None = None,
) -> str:
    """Write `summary.md`, whose text it returns, `summary.csv` and `scores.png`.

    The paragraphs of `heading` stand above the table. Tracks that some method lacks are
    left to `failed`: why they have no scores, by their names. Raises UserError where
    the folder cannot be written.
    """
    failed = failed or {}
    found = {
        method: {track: tracks[track] for track in tracks if track not in failed}
        for method, tracks in found.items()
    }
    rows = summarize(found, stems, metrics, len(failed))
    paragraphs = [*heading, *_paragraphs(rows, found[BASELINE], metrics, len(failed))]
    left_out = left_out_lines(found, metrics)
    left_out += [f"- no scores, {track}: {reason}" for track, reason in failed.items()]
    if left_out:
        paragraphs += ["Left out:", "\n".join(left_out)]
    text = "\n\n".join(paragraphs) + "\n"
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
        )
    for name, content in (("summary.md", text), ("summary.csv", table.getvalue())):
        with util.replacing(folder / name) as temporary:
            # Names of files may be no text.
            temporary.write_text(content, "utf-8", "backslashreplace")
    draw_scores(folder / "scores.png", _by_stem(found, stems, metrics), metrics)
    return text


def draw_scores(
    path: pathlib.Path,
    by_stem: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]],
    metrics: Sequence[str],
) -> None:
    """Draw a panel for each score, a box over the tracks for each stem and method."""
    from matplotlib.figure import Figure

    names = columns(metrics)
    num_rows = -(-len(names) // 2)
    width, height = PANEL_SIZE
    figure = Figure(figsize=(2 * width, num_rows * height), layout="constrained")
    methods = list(dict.fromkeys(method for method, _ in by_stem))
    stems = list(dict.fromkeys(stem for _, stem in by_stem))
    step = 1 / (len(methods) + 1)
    for panel, name in enumerate(names, 1):
        axes = figure.add_subplot(num_rows, 2, panel)
        for k, method in enumerate(methods):
            if method == BASELINE and name in NOT_OF_BASELINE:
                continue
            boxes = axes.boxplot(
                [
                    [
                        found[name]
                        for found in by_stem[method, stem].values()
                        if math.isfinite(found[name])
                    ]
                    for stem in stems
                ],
                positions=[place + k * step for place in range(len(stems))],
                widths=0.8 * step,
                patch_artist=True,
                medianprops={"color": "black"},
            )
            for box in boxes["boxes"]:
                box.set_facecolor(f"C{k}")
            axes.plot([], [], color=f"C{k}", linewidth=6, label=method)
        middle = (len(methods) - 1) / 2 * step
        axes.set_xticks([place + middle for place in range(len(stems))], stems)
        axes.set_ylabel("dB")
        axes.set_title(name)
        axes.grid(axis="y", alpha=0.4)
        if panel == 1:
            # A fixed place: a search for the best one takes long with many boxes, and
            # matplotlib then warns.
            axes.legend(loc="upper right")
    with util.replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
