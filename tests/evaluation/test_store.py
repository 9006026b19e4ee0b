"""Scores that were made before: which are used again, and which are not."""

import json
import math
import os

import pytest

from sswavenet.evaluation.metrics import METRICS
from sswavenet.evaluation.run import Settings, evaluate
from sswavenet.evaluation.store import ScoreStore, state_of_files
from tests.evaluation.conftest import make_target, run
from tests.support import STEMS, golden_config


@pytest.mark.slow
def test_scores_are_reused_until_what_they_depend_on_changes(tree):
    config = golden_config("singing-voice").replace(datasets=str(tree))
    separated = []

    def make_separate(lengths):
        def separate(mixture, rate):
            separated.append(len(mixture))
            return dict.fromkeys(config.task.stems, mixture / 4)

        return separate

    def count(weights="x", metrics=("si_sdr",), oracle=False):
        separated.clear()
        settings = Settings(tree / "out", metrics=metrics, oracle=oracle)
        evaluate(config, make_separate, weights, settings, heading=["#"])
        return len(separated)

    assert count() == 2
    first = (tree / "out" / "summary.md").read_text()
    assert count() == 0
    assert (tree / "out" / "summary.md").read_text() == first
    assert count(oracle=True) == 0
    assert count(weights="y") == 2
    assert count(weights="y", metrics=("bss", "si_sdr")) == 2
    assert count(weights="y") == 0
    os.utime(tree / "test" / "first" / "bass.wav", (1, 1))
    assert count(weights="y") == 1
    (tree / "out" / "model" / "test" / "second.json").write_text('{"targets": [')
    assert count(weights="y") == 1


@pytest.mark.slow
def test_scores_of_another_precision_are_made_anew(multi_instrument, tree, capsys):
    for precision, before in (("float32", 0), ("highest", 0), ("highest", 2)):
        flags = ("--metrics", "si_sdr", "--precision", precision)
        assert run(multi_instrument, tree, *flags) == 0
        shown = capsys.readouterr()
        assert f"2 tracks, {before} of them scored before" in shown.err
        assert f"computed in {precision}." in shown.out


@pytest.mark.slow
def test_stems_of_another_form_are_scored_and_the_mixture_is_not_again(
    multi_instrument, tree, tmp_path
):
    def states(form):
        flags = ("--metrics", "si_sdr", "--output_path", str(tmp_path / "out"))
        assert run(multi_instrument, tree, *flags, "--stem_format", form) == 0
        return {
            method: (tmp_path / "out" / method / "test" / "first.json").stat().st_ino
            for method in ("model", "mixture")
        }

    native, masks = states("native"), states("masks")
    assert native["mixture"] == masks["mixture"]
    assert native["model"] != masks["model"]


def scored_store(folder, stems=STEMS):
    """A store with the scores of one track, all metrics, and what they are."""
    store = ScoreStore(folder, "test", stems, METRICS, {}, "x")
    targets = [make_target(name, -3.0, 1.5, [2.0, math.nan]) for name in stems]
    targets[0]["left_out"] = {"bss": "silent estimate"}
    store.write("model", "a", {}, targets)
    return store, targets


def test_scores_are_read_back(tmp_path):
    store, targets = scored_store(tmp_path)
    found = store.read("model", "a", {})
    # As text, since NaN equals no NaN.
    assert json.dumps(found, sort_keys=True) == json.dumps(targets, sort_keys=True)


def test_scores_of_one_metric_stay_where_another_is_scored(tmp_path):
    def store(*metrics):
        return ScoreStore(tmp_path, "test", ["drums"], metrics, {}, "x")

    def target(level_db, **scores):
        return {"name": "drums", "level_db": level_db, "gain_db": 0.0, **scores}

    window = {"metrics": dict.fromkeys(("SDR", "ISR", "SIR", "SAR"), 2.0)}
    frames = target(-3.0, frames=[window], left_out={"bss": "silent estimate"})
    single = target(-3.0, frames=[], left_out={"si_sdr": "no"}, si_sdr=math.nan)
    store("bss").write("model", "a", {}, [frames])
    assert store("si_sdr").read("model", "a", {}) is None
    store("si_sdr").write("model", "a", {}, [single])
    (found,) = store("si_sdr", "bss").read("model", "a", {})
    assert found["frames"] == [window]
    assert math.isnan(found["si_sdr"])
    assert found["left_out"] == {"bss": "silent estimate", "si_sdr": "no"}
    # Not those that were made from other things.
    other = ScoreStore(tmp_path, "test", ["drums"], ("si_sdr",), {}, "y")
    other.write("model", "a", {}, [single])
    assert store("bss").read("model", "a", {}) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.__setitem__("targets", None),
        lambda d: d.__setitem__("targets", "text"),
        lambda d: d.__setitem__("metrics", 3),
        lambda d: d.__setitem__("metrics", ["si_sdr"]),
        lambda d: d["targets"].pop(),
        lambda d: d["targets"].reverse(),
        lambda d: d["targets"].__setitem__(1, None),
        lambda d: d["targets"][1].__setitem__("level_db", "loud"),
        lambda d: d["targets"][1].pop("si_sdr"),
        lambda d: d["targets"][1].__setitem__("si_sdr", None),
        lambda d: d["targets"][1].__setitem__("left_out", ["bss"]),
        lambda d: d["targets"][1].__setitem__("left_out", {"bss": 3}),
        lambda d: d["targets"][1].__setitem__("left_out", {"loudness": "unknown"}),
        lambda d: d["targets"][1].__setitem__("frames", 5),
        lambda d: d["targets"][1]["frames"].append({}),
        lambda d: d["targets"][1]["frames"][0]["metrics"].pop("ISR"),
        lambda d: d["targets"][1]["frames"][0]["metrics"].__setitem__("SDR", "1"),
    ],
)
def test_spoiled_scores_are_made_anew(spoil, tmp_path):
    store, _ = scored_store(tmp_path)
    path = store.path("model", "a")
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    assert store.read("model", "a", {}) is None


def test_links_that_lead_nowhere_are_no_files_of_a_track(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "b.wav").symlink_to(tmp_path / "none.wav")
    assert list(state_of_files(tmp_path)) == ["a.wav"]
