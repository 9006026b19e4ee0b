"""A data set from its tracks to the scores, and tracks that are left out."""

import functools
import math
import shutil

import numpy as np
import pytest
import soundfile

import util
from sswavenet.evaluation.metrics import load_museval
from sswavenet.evaluation.run import Settings, evaluate
from sswavenet.separation import native
from tests.evaluation.conftest import (
    RATE,
    copy_session,
    make_stems,
    read_rows,
    run,
    stereo_track,
    write_track,
)
from tests.support import STEMS, golden_config

museval = load_museval()


@pytest.mark.slow
def test_stems_that_are_not_known_alone_are_left_out(multi_instrument, tmp_path, rng):
    whole, songs = tmp_path / "whole", tmp_path / "songs"
    stems = make_stems(rng, seconds=1.5)
    write_track(whole / "test" / "a", stems)
    write_track(songs / "test" / "a", stems)
    for stem in ("drums", "bass", "other"):
        (songs / "test" / "a" / f"{stem}.wav").unlink()
    tables = {}
    for tree in (whole, songs):
        output = tmp_path / f"{tree.name}-scores"
        assert (
            run(multi_instrument, tree, "--output_path", str(output), "--oracle") == 0
        )
        tables[tree] = read_rows(output)
    for method in ("model", "mixture", "oracle"):
        known, same = (tables[tree]["all", method, "vocals"] for tree in (songs, whole))
        # SI-SDR compares with the stem alone; SDR projects on the stem alone, too.
        if method != "oracle":  # which divides by what it knows
            assert known["SI-SDR"] == same["SI-SDR"]
            assert float(known["SDR"]) == pytest.approx(float(same["SDR"]), abs=0.02)
        assert known["SI-SDR tracks"] == known["SDR tracks"] == "1"
        for stem in ("drums", "bass", "other"):
            row = tables[songs]["all", method, stem]
            assert row["SI-SDR"] == row["SDR"] == "nan"
            assert row["SI-SDR left out"] == row["SDR left out"] == "1"
    text = (tmp_path / "songs-scores" / "summary.md").read_text()
    assert "SI-SDR of bass (model, mixture, oracle): not known alone" in text
    # Scores made before are taken again.
    output = tmp_path / "songs-scores"
    assert run(multi_instrument, songs, "--output_path", str(output), "--oracle") == 0
    again = (output / "summary.md").read_text()
    assert sorted(again.splitlines()) == sorted(text.splitlines())


@pytest.mark.slow
def test_tracks_are_scored_at_their_own_rate_and_channels(tmp_path, rng, capsys):
    # Half of the rate and of the stems, for BSS Eval is slow.
    rate, tree = 22050, tmp_path / "musdb"
    track = stereo_track(rng, rate)
    write_track(tree / "test" / "stereo", track, rate=rate)
    session = copy_session(tmp_path, "singing-voice")
    assert run(session, tree, "--stem_format", "native") == 0
    assert "their own rate and channels" in capsys.readouterr().out
    folder = session / "evaluation-native"
    document = util.read_json(folder / "mixture" / "test" / "stereo.json")
    mixture = track.sum(axis=0)
    references = np.stack([track[0], mixture - track[0]])
    # What museval itself makes of the files, with the mixture as the estimate.
    expected = museval.metrics.bss_eval(
        references,
        np.broadcast_to(mixture, references.shape),
        window=rate,
        hop=rate,
    )[0]
    for target, row in zip(document["targets"], expected):
        found = [frame["metrics"]["SDR"] for frame in target["frames"]]
        np.testing.assert_allclose(found, row, atol=1e-3)
    model = util.read_json(folder / "model" / "test" / "stereo.json")
    assert all(len(target["frames"]) == 2 for target in model["targets"])


def test_masks_are_scored_of_tracks_that_are_mono_at_the_models_rate(tmp_path, rng):
    """A network that puts out noise: masks of that leave some of the mixture."""
    config = golden_config("multi-instrument").replace(datasets=str(tmp_path / "musdb"))
    write_track(tmp_path / "musdb/test/mono", make_stems(rng, seconds=1.5))

    def noise(heard):
        return rng.standard_normal((3, len(heard))).astype("float32")

    improvements = {}
    for form in ("native", "masks"):
        masks = form == "masks"
        separate = functools.partial(native.separate_array, config, noise, masks=masks)
        make = functools.partial(lambda separate, lengths: separate, separate)
        settings = Settings(tmp_path / form, metrics=("si_sdr",), native=True)
        evaluate(config, make, "x", settings, heading=["#"])
        row = read_rows(tmp_path / form)["all", "model", "vocals"]
        improvements[form] = float(row["SI-SDR improvement"])
    assert improvements["native"] < -15
    assert improvements["masks"] > -10


def test_native_stems_are_scored_as_they_would_be_written(tmp_path, rng):
    """A network that gives each stem a quarter: so do its masks."""
    config = golden_config("multi-instrument").replace(datasets=str(tmp_path / "musdb"))
    write_track(tmp_path / "musdb/test/stereo", stereo_track(rng, 44100), rate=44100)
    settings = Settings(tmp_path / "out", metrics=("si_sdr",), native=True)

    def quarters(heard):
        return np.stack([heard / 4] * len(config.task.estimates))

    separate = functools.partial(native.separate_array, config, quarters)
    evaluate(config, lambda lengths: separate, "x", settings, heading=["#"])
    rows = read_rows(tmp_path / "out")
    for stem in config.task.stems:
        improvement = float(rows["all", "model", stem]["SI-SDR improvement"])
        assert improvement == pytest.approx(0, abs=0.05)
        level = float(rows["all", "model", stem]["level"])
        mixture = float(rows["all", "mixture", stem]["level"])
        assert level == pytest.approx(mixture - 12.04, abs=0.05)


@pytest.mark.slow
def test_files_of_a_track_that_differ_are_told(tmp_path, rng, capsys):
    stems = stereo_track(rng, 44100)
    folder = tmp_path / "musdb" / "test" / "odd"
    write_track(folder, stems, rate=44100)
    soundfile.write(folder / "bass.wav", stems[2, :, 0], 44100, subtype="FLOAT")
    session = copy_session(tmp_path, "multi-instrument")
    assert run(session, tmp_path / "musdb", "--stem_format", "native") == 1
    said = capsys.readouterr().err
    assert "odd: bass.wav: expected rate, frames and channels of the mixture" in said


@pytest.mark.slow
def test_museval_reads_the_results(tmp_path, tree):
    session = copy_session(tmp_path, "singing-voice")
    assert run(session, tree, "--oracle") == 0
    methods = ("model", "mixture", "oracle")
    store = museval.MethodStore()
    for method in methods:
        store.add_eval_dir(str(session / "evaluation" / method))
    medians = store.agg_frames_tracks_scores()
    rows = read_rows(session / "evaluation")
    for method in methods:
        for stem in ("vocals", "accompaniment"):
            row = rows["all", method, stem]
            assert row["windows"] == "4"
            for metric in ("SDR", "ISR", "SIR", "SAR"):
                expected = medians[method, stem, metric]
                assert float(row[metric]) == pytest.approx(expected, abs=0.51e-5)


def test_the_remainder_is_scored_like_any_stem(multi_instrument, tree):
    config = golden_config("multi-instrument")
    config = config.replace(datasets=str(tree))
    settings = Settings(multi_instrument / "out", metrics=("si_sdr",))

    def separate(mixture, rate):
        assert rate == RATE
        estimates = dict.fromkeys(config.task.estimates, 0 * mixture)
        return {**estimates, "other": mixture}

    evaluate(config, lambda lengths: separate, "x", settings, heading=["#"])
    rows = read_rows(multi_instrument / "out")
    assert float(rows["all", "model", "other"]["SI-SDR improvement"]) == 0
    assert float(rows["all", "model", "bass"]["SI-SDR"]) == -math.inf


@pytest.mark.slow
def test_bad_silent_and_short_tracks_are_counted(multi_instrument, tree, rng, capsys):
    shutil.rmtree(tree / "test" / "second")
    silent = make_stems(rng)
    silent[2] = 0
    write_track(tree / "test" / "third", silent)
    write_track(tree / "test" / "tiny", make_stems(rng, seconds=0.3))
    write_track(tree / "test" / "broken", make_stems(rng))
    (tree / "test" / "broken" / "bass.wav").write_bytes(b"RIFF")
    assert run(multi_instrument, tree) == 1
    rows = read_rows(multi_instrument / "evaluation")
    bass, drums = rows["all", "model", "bass"], rows["all", "model", "drums"]
    assert (bass["SI-SDR tracks"], bass["SI-SDR left out"]) == ("2", "2")
    assert (bass["SDR tracks"], bass["SDR left out"]) == ("1", "3")
    assert (drums["SI-SDR tracks"], drums["SI-SDR left out"]) == ("3", "1")
    assert (drums["SDR tracks"], drums["SDR left out"]) == ("2", "2")
    shown = capsys.readouterr()
    assert (
        "SI-SDR of bass (model, mixture): silent reference, 1 track(s): third"
        in shown.out
    )
    assert (
        "BSS Eval of drums (model, mixture): shorter than 1 s, 1 track(s): tiny"
        in shown.out
    )
    assert "no scores, broken" in shown.out
    assert "broken" in shown.err
    assert "Traceback" not in shown.err


def test_a_track_that_changes_while_it_is_evaluated_fails_alone(
    multi_instrument, tree, rng, capsys
):
    config = golden_config("multi-instrument").replace(datasets=str(tree))
    settings = Settings(multi_instrument / "out", metrics=("si_sdr",))
    separated = []

    def separate(mixture, rate):
        if not separated:  # the other one has not been read yet
            shutil.rmtree(tree / "test" / "second")
            write_track(tree / "test" / "second", make_stems(rng, seconds=1.0))
        separated.append(len(mixture))
        return dict.fromkeys(STEMS, mixture)

    def run_again():
        return evaluate(config, lambda lengths: separate, "x", settings, heading=["#"])

    summary = run_again()
    assert (summary.num_failed, len(separated)) == (1, 1)
    assert "second: the files have changed since the evaluation began" in summary.text
    assert run_again().num_failed == 0
    assert separated == [int(2.5 * RATE), RATE]


def test_a_network_that_diverged_is_counted(multi_instrument, tree):
    config = golden_config("multi-instrument").replace(datasets=str(tree))
    settings = Settings(multi_instrument / "out", metrics=("si_sdr",))
    summary = evaluate(
        config,
        lambda lengths: lambda mixture, rate: dict.fromkeys(STEMS, mixture * math.nan),
        "x",
        settings,
        heading=["#"],
    )
    assert summary.num_failed == 2
    assert "NaN" in summary.text


def test_validation_tracks_are_those_of_training(tmp_path, rng):
    for k in range(26):
        stems = make_stems(rng, seconds=0.1)
        write_track(tmp_path / "train" / f"track {k:02}", stems)
    config = golden_config("multi-instrument").replace(datasets=str(tmp_path))
    names = {}
    for subset in ("train", "validation"):
        settings = Settings(tmp_path / "out", subset, ("si_sdr",))
        evaluate(
            config,
            lambda lengths: lambda mixture, rate: dict.fromkeys(STEMS, mixture),
            "x",
            settings,
            heading=["#"],
        )
        folder = tmp_path / "out" / "model" / subset
        names[subset] = {path.stem for path in folder.iterdir()}
    drawn = np.random.RandomState(1337).choice(26, 25, replace=False)
    assert names["validation"] == {f"track {k:02}" for k in drawn}
    assert len(names["train"]) == 1
    assert not names["train"] & names["validation"]
