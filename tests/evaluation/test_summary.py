"""The tables and the picture of the scores."""

import itertools
import math
import time

import pytest

from sswavenet.evaluation.metrics import METRICS
from sswavenet.evaluation.summary import (
    columns,
    draw_scores,
    is_balanced,
    summarize,
    write_report,
)
from tests.evaluation.conftest import make_target
from tests.support import STEMS


def test_summary_takes_medians_over_windows_then_tracks_and_counts():
    nan = math.nan
    found = {
        "model": {
            "a": [make_target("vocals", -3, 5.0, [1, 2, 9, nan])],
            "b": [make_target("vocals", -13, 7.0, [nan, nan])],
            "c": [make_target("vocals", 2, 12.0, [4, 6])],
            "d": [make_target("vocals", -200, nan, [10])],
        },
        "mixture": {
            "a": [make_target("vocals", -3, 1.0, [0, 0, 1])],
            "b": [make_target("vocals", -13, 2.0, [0])],
            "c": [make_target("vocals", 2, -1.0, [-1])],
            "d": [make_target("vocals", -200, nan, [0])],
        },
    }
    rows = summarize(found, ["vocals"], METRICS, num_failed=2)
    row = next(r for r in rows if (r["songs"], r["method"]) == ("all", "model"))
    assert row["SDR"] == 5  # of 2, 5, 10
    assert row["SDR improvement"] == 6  # of 2 - 0, 5 + 1, 10 - 0
    assert row["SI-SDR"] == 7  # of 5, 7, 12
    assert row["SI-SDR improvement"] == 5  # of 4, 5, 13
    assert row["level"] == -3  # of -5, -3, 2
    assert (row["SDR tracks"], row["SDR left out"]) == (3, 3)
    assert (row["SI-SDR tracks"], row["SI-SDR left out"]) == (3, 3)
    assert (row["windows"], row["windows left out"]) == (6, 3)
    row = next(r for r in rows if (r["songs"], r["method"]) == ("balanced", "model"))
    assert row["SI-SDR improvement"] == 8.5  # of a and c
    assert (row["SI-SDR tracks"], row["SI-SDR left out"]) == (2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("stems", [STEMS, ("vocals", "accompaniment")])
def test_tables_fit_a_terminal_and_say_how_each_figure_came_about(stems, tmp_path):
    def target(name, number):
        loud = math.nan if number == 0 else 1.0
        windows = [-12.34 * (loud if window else 1) for window in range(30)]
        return make_target(name, -20.0 if number < 9 else -3.0, -12.34 * loud, windows)

    found = {
        method: {f"{k}": [target(name, k) for name in stems] for k in range(70)}
        for method in ("model", "mixture", "oracle")
    }
    text = write_report(
        tmp_path, found, stems, METRICS, heading=["#"], failed={"x": "cut"}
    )
    lines = text.splitlines()
    assert max(len(line) for line in lines if line[:1] in "|#SB") <= 100
    parts = text.split("## ")[1:]
    assert [part.splitlines()[0] for part in parts] == ["All songs", "Balanced songs"]
    for part in parts:
        simple, bss = part.split("BSS Eval v4")
        assert "windows" not in simple
        assert "medians over windows of 1 s, then over tracks:" in bss
        assert part.count("| vocals ") == 2 * 3
    row = next(line for line in lines if line.startswith("| vocals "))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        *("vocals", "model", "-12.34", "0.00", "69 of 71")
    ]
    only = write_report(tmp_path, found, stems, ("si_sdr",), heading=["#"], failed={})
    assert "windows" not in only
    assert "BSS" not in only


def test_a_song_without_sound_is_not_balanced():
    # The level of silence in silence is 0 dB: that of the mixture.
    targets = [make_target("vocals", 0, math.nan, [0])] * 2
    assert not is_balanced(targets)
    assert is_balanced([make_target("vocals", 0, 3, [0])] * 2)


def test_what_was_left_out_of_a_metric_that_is_not_asked_for_is_not_told(tmp_path):
    targets = [make_target("vocals", -3.0, 2.0, [math.nan])]
    targets[0]["left_out"] = {"bss": "silent estimate"}
    found = {method: {"song": targets} for method in ("model", "mixture")}
    for metrics, told in ((("si_sdr",), False), (("si_sdr", "bss"), True)):
        text = write_report(tmp_path, found, ("vocals",), metrics, heading=["#"])
        assert ("silent estimate" in text) is told


def test_names_that_are_no_text_are_reported(tmp_path):
    text = write_report(
        tmp_path,
        {"model": {}, "mixture": {}},
        ("vocals", "accompaniment"),
        ("si_sdr",),
        heading=["tracks of music\udce9"],
        failed={"song\udcff": "cut short"},
    )
    assert "song\udcff: cut short" in text
    written = (tmp_path / "summary.md").read_text("utf-8")
    assert r"tracks of music\udce9" in written
    assert r"song\udcff: cut short" in written


def test_scores_are_drawn_without_a_warning_however_slow_the_machine(
    tmp_path, monkeypatch
):
    # Where a second passes from one reading of the clock to the next.
    monkeypatch.setattr(time, "perf_counter", itertools.count(step=2.0).__next__)
    scored = {
        name: dict.fromkeys(columns(("si_sdr",)), dB)
        for name, dB in (("song", 1.0), ("other song", 2.0))
    }
    by_stem = {("model", "vocals"): scored, ("mixture", "vocals"): scored}
    draw_scores(tmp_path / "scores.png", by_stem, ("si_sdr",))
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
