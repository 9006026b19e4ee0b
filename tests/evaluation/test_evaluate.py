import contextlib
import csv
import functools
import itertools
import json
import math
import os
import pathlib
import shutil
import signal as signals
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from scipy import signal

import util
from main import main
from sswavenet.evaluation import metrics as scores
from sswavenet.evaluation import run as evaluate
from sswavenet.evaluation import store as score_store
from sswavenet.evaluation import summary as score_report
from sswavenet.musdb import cache as dataset_cache
from sswavenet.separation import native
from tests.support import GOLDEN, golden_checkpoint, golden_config

museval = scores.load_museval()

ROOT = pathlib.Path(__file__).parents[2]
RATE = 16000
STEMS = ("vocals", "drums", "bass", "other")


def make_stems(rng, seconds=2.5, rate=RATE):
    """Four different noises (stems, frames), each with a spectrum of its own."""
    num_frames = round(seconds * rate)
    noise = 0.1 * rng.standard_normal((len(STEMS), num_frames))
    return np.stack(
        [
            signal.lfilter([1], [1, slope], row)
            for slope, row in zip((-0.9, -0.3, 0.4, 0.9), noise)
        ]
    ).astype("float32")


def write_track(folder, stems, mixture=None, rate=RATE):
    """A track of a MUSDB18 tree, in files that keep every sample."""
    folder.mkdir(parents=True)
    mixture = stems.sum(axis=0) if mixture is None else mixture
    for name, audio in zip((*STEMS, "mixture"), (*stems, mixture)):
        soundfile.write(folder / f"{name}.wav", audio, rate, subtype="FLOAT")


@pytest.fixture
def tree(tmp_path, rng):
    """A MUSDB18 tree of two test tracks."""
    for name in ("first", "second"):
        write_track(tmp_path / "musdb" / "test" / name, make_stems(rng))
    return tmp_path / "musdb"


@pytest.fixture
def multi_instrument(tmp_path):
    return copy_session(tmp_path, "multi-instrument")


def copy_session(tmp_path, task_name):
    folder = tmp_path / "session"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(GOLDEN / task_name / "config.json", folder)
    shutil.copy(golden_checkpoint(task_name), folder / "checkpoints")
    return folder


def run(session, tree, *more):
    return main(
        [
            *("--mode", "evaluation", "--config", str(session / "config.json")),
            *("--dataset_path", str(tree), *more),
            *(() if "--metrics" in more else ("--jobs", "1")),
        ]
    )


def read_rows(folder):
    with (folder / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {(row["songs"], row["method"], row["stem"]): row for row in rows}


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


# Scores of arrays


def reference_si_sdr(reference, estimate):
    """Le Roux et al. 2019, equation 5, the angle form: no projection is formed."""
    cosine = np.dot(reference, estimate) / (
        np.linalg.norm(reference) * np.linalg.norm(estimate)
    )
    return 10 * math.log10(cosine**2 / (1 - cosine**2))


@pytest.mark.parametrize("gain", [1, -0.2, 30])
def test_si_sdr_is_the_formula_whatever_the_scale(rng, gain):
    reference = rng.standard_normal(5000)
    estimate = gain * (reference + 0.3 * rng.standard_normal(5000))
    expected = reference_si_sdr(reference, estimate)
    assert scores.si_sdr(reference, estimate) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("snr", [-10, 0, 25])
def test_si_sdr_of_orthogonal_noise_is_the_snr(rng, snr):
    reference, noise = rng.standard_normal((2, 4000))
    noise -= reference * (noise @ reference) / (reference @ reference)
    noise *= np.sqrt((reference @ reference) / (noise @ noise)) * 10 ** (-snr / 20)
    assert scores.si_sdr(reference, reference + noise) == pytest.approx(snr, abs=1e-9)


def test_si_sdr_at_its_limits():
    reference = np.array([1.0, -1.0, 1.0, -1.0])
    assert scores.si_sdr(reference, 2 * reference) == math.inf
    assert scores.si_sdr(reference, np.array([1.0, 1.0, 1.0, 1.0])) == -math.inf
    assert scores.si_sdr(reference, np.zeros(4)) == -math.inf
    assert math.isnan(scores.si_sdr(np.zeros(4), reference))


@pytest.mark.slow
def test_bss_eval_is_musevals_own(rng):
    references = make_stems(rng, seconds=3.4)
    estimates = references + 0.2 * references[::-1]
    estimates += 0.02 * rng.standard_normal(references.shape).astype("float32")
    references[1, RATE : 2 * RATE] = 0  # a window that museval does not score
    expected = museval.metrics.bss_eval(
        references[:, :, None], estimates[:, :, None], window=RATE, hop=RATE
    )
    targets = scores.score_stems(
        STEMS, references, estimates, references.sum(axis=0), sample_rate=RATE
    )
    for row, target in enumerate(targets):
        assert [frame["time"] for frame in target["frames"]] == [0, 1, 2]
        assert {frame["duration"] for frame in target["frames"]} == {1}
        for place, metric in enumerate(("SDR", "ISR", "SIR", "SAR")):
            found = [frame["metrics"][metric] for frame in target["frames"]]
            assert math.isnan(found[1])
            np.testing.assert_allclose(found, expected[place][row], atol=0.51e-5)


def test_bss_eval_of_a_mixture_of_two_orthogonal_stems(rng):
    # The same power in both: the mixture is 0 dB for each, and without artifacts.
    references = 0.1 * rng.standard_normal((2, 4 * RATE))
    targets = scores.score_stems(
        ("vocals", "accompaniment"),
        references,
        np.broadcast_to(references.sum(axis=0), references.shape),
        references.sum(axis=0),
        sample_rate=RATE,
    )
    for target in targets:
        assert target["si_sdr"] == pytest.approx(0, abs=0.2)
        assert target["level_db"] == pytest.approx(-3, abs=0.2)
        for frame in target["frames"]:
            assert frame["metrics"]["SDR"] == pytest.approx(0, abs=0.3)
            assert frame["metrics"]["SIR"] == pytest.approx(0, abs=0.5)
            assert not frame["metrics"]["SAR"] < 60


def test_stereo_stems_are_scored_as_musevals_own(rng):
    shape = (2, round(2.4 * RATE), 2)
    references = 0.1 * rng.standard_normal(shape)
    references[1] = signal.lfilter([1], [1, -0.9], references[1], axis=0)
    estimates = 0.5 * references + 0.1 * references[::-1]
    expected = museval.metrics.bss_eval(references, estimates, window=RATE, hop=RATE)
    names, mixture = ("vocals", "accompaniment"), references.sum(axis=0)
    targets = scores.score_stems(
        names, references, estimates, mixture, sample_rate=RATE
    )
    for row, target in enumerate(targets):
        for place, metric in enumerate(("SDR", "ISR", "SIR", "SAR")):
            found = [frame["metrics"][metric] for frame in target["frames"]]
            np.testing.assert_allclose(found, expected[place][row], atol=0.51e-5)
        flat = references[row].ravel(), estimates[row].ravel()
        assert target["si_sdr"] == pytest.approx(reference_si_sdr(*flat), abs=1e-9)


def test_the_oracle_masks_each_channel_by_itself(rng):
    references = rng.standard_normal((2, 20000, 2)).astype("float32")
    references[0] = np.cumsum(references[0], axis=0) / 50
    mixture = references.sum(axis=0)
    both = scores.ideal_ratio_mask(references, mixture, sample_rate=44100)
    for channel in range(2):
        one = scores.ideal_ratio_mask(
            references[..., channel], mixture[..., channel], sample_rate=44100
        )
        np.testing.assert_allclose(both[..., channel], one, atol=1e-6)


@pytest.mark.parametrize("gain_db", [-9, 0, 4])
def test_the_level_of_an_estimate_is_told(rng, gain_db):
    references = make_stems(rng)
    references[3] = 0
    targets = scores.score_stems(
        STEMS,
        references,
        10 ** (gain_db / 20) * references,
        references.sum(axis=0),
        sample_rate=RATE,
        metrics=("si_sdr",),
    )
    for target in targets[:3]:
        assert target["gain_db"] == pytest.approx(gain_db, abs=1e-6)
    assert math.isnan(targets[3]["gain_db"])


def test_a_silent_reference_is_left_out_and_the_others_are_scored(rng):
    references = make_stems(rng)
    references[2] = 0
    estimates = references + 0.01 * rng.standard_normal(references.shape)
    targets = scores.score_stems(
        STEMS, references, estimates, references.sum(axis=0), sample_rate=RATE
    )
    reason = "silent reference"
    assert targets[2]["left_out"] == {"bss": reason, "si_sdr": reason}
    assert math.isnan(targets[2]["si_sdr"])
    kept = [0, 1, 3]
    expected = museval.metrics.bss_eval(
        references[kept, :, None], estimates[kept, :, None], window=RATE, hop=RATE
    )[0]
    for row, sdr in zip(kept, expected):
        assert targets[row]["left_out"] == {}
        found = [frame["metrics"]["SDR"] for frame in targets[row]["frames"]]
        np.testing.assert_allclose(found, sdr, atol=0.51e-5)


def test_a_silent_estimate_is_scored_where_that_is_defined(rng):
    references = make_stems(rng)
    estimates = references + 0.01 * rng.standard_normal(references.shape)
    arguments = (references.sum(axis=0),)
    whole = scores.score_stems(
        STEMS, references, estimates, *arguments, sample_rate=RATE
    )
    estimates[0] = 0
    targets = scores.score_stems(
        STEMS, references, estimates, *arguments, sample_rate=RATE
    )
    assert targets[0]["left_out"] == {"bss": "silent estimate"}
    assert targets[0]["si_sdr"] == -math.inf
    assert targets[1:] == whole[1:]


def test_a_track_with_one_stem_has_nothing_to_separate(rng):
    references = make_stems(rng)
    references[:3] = 0
    targets = scores.score_stems(
        STEMS, references, references, references[3], sample_rate=RATE
    )
    assert targets[3]["left_out"] == dict.fromkeys(
        ("bss", "si_sdr"), "no other stem sounds"
    )


def test_a_short_track_has_no_window_but_an_si_sdr(rng):
    references = make_stems(rng, seconds=0.5)
    mixture = references.sum(axis=0)
    estimates = np.broadcast_to(mixture, references.shape)
    targets = scores.score_stems(
        STEMS, references, estimates, mixture, sample_rate=RATE
    )
    for row, target in enumerate(targets):
        assert target["left_out"] == {"bss": "shorter than 1 s"}
        assert target["si_sdr"] == pytest.approx(
            reference_si_sdr(references[row], mixture), abs=1e-4
        )


def test_stems_that_determine_each_other_are_left_out_of_bss_eval():
    references = np.zeros((2, 2 * RATE))
    references[:, 0] = 4  # a singular system, in floats, too
    targets = scores.score_stems(
        ("vocals", "accompaniment"),
        references,
        references,
        references.sum(axis=0),
        sample_rate=RATE,
    )
    for target in targets:
        assert target["left_out"] == {"bss": "stems are multiples of each other"}


@pytest.mark.parametrize("num_frames", [1, 300, 3 * RATE + 7])
def test_the_oracles_stems_sum_to_the_mixture(rng, num_frames):
    references = rng.standard_normal((3, num_frames)).astype("float32")
    mixture = references.sum(axis=0)
    estimates = scores.ideal_ratio_mask(references, mixture, sample_rate=RATE)
    assert estimates.shape == references.shape
    np.testing.assert_allclose(estimates.sum(axis=0), mixture, atol=1e-5)


def test_the_oracle_separates_what_does_not_overlap():
    time = np.arange(2 * RATE) / RATE
    references = np.stack([np.sin(2 * np.pi * f * time) for f in (500, 3000)])
    estimates = scores.ideal_ratio_mask(
        references, references.sum(axis=0), sample_rate=RATE
    )
    for reference, estimate in zip(references, estimates):
        assert scores.si_sdr(reference, estimate) > 30


def test_the_oracle_is_that_of_sisec_2018(rng):
    # 44.1 kHz, Hann windows of 2048 samples, a hop of 1024, here window by window.
    references = rng.standard_normal((2, 22 * 1024)).astype("float32")
    references[0] = np.cumsum(references[0]) / 50
    mixture = references.sum(axis=0)
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2048) / 1024)
    padded = np.pad([*references, mixture], ((0, 0), (1024, 1024)))
    expected, weights = np.zeros((2, padded.shape[1])), np.zeros(padded.shape[1])
    for start in range(0, padded.shape[1] - 1024, 1024):
        part = slice(start, start + 2048)
        *spectra, whole = np.fft.rfft(window * padded[:, part])
        magnitudes = np.abs(spectra)
        masked = magnitudes / magnitudes.sum(axis=0) * whole
        expected[:, part] += window * np.fft.irfft(masked)
        weights[part] += window**2
    expected = (expected / np.maximum(weights, 1e-9))[:, 1024:-1024]
    estimates = scores.ideal_ratio_mask(references, mixture, sample_rate=44100)
    np.testing.assert_allclose(estimates, expected, atol=1e-5)


# Tables


def make_target(name, level_db, si_sdr, windows=()):
    return {
        "name": name,
        "level_db": level_db,
        "gain_db": si_sdr - 10,
        "si_sdr": si_sdr,
        "left_out": {} if not math.isnan(si_sdr) else {"si_sdr": "silent reference"},
        "frames": [
            {"metrics": dict.fromkeys(("SDR", "ISR", "SIR", "SAR"), score)}
            for score in windows
        ],
    }


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
    rows = score_report.summarize(found, ["vocals"], scores.METRICS, num_failed=2)
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
    text = score_report.write_report(
        tmp_path, found, stems, scores.METRICS, heading=["#"], failed={"x": "cut"}
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
    only = score_report.write_report(
        tmp_path, found, stems, ("si_sdr",), heading=["#"], failed={}
    )
    assert "windows" not in only
    assert "BSS" not in only


def test_a_song_without_sound_is_not_balanced():
    # The level of silence in silence is 0 dB: that of the mixture.
    targets = [make_target("vocals", 0, math.nan, [0])] * 2
    assert not score_report.is_balanced(targets)
    assert score_report.is_balanced([make_target("vocals", 0, 3, [0])] * 2)


# The command


@pytest.mark.slow
@pytest.mark.parametrize("task_name", ["multi-instrument", "singing-voice"])
def test_command_scores_what_separation_writes(tmp_path, tree, task_name, capsys):
    session = copy_session(tmp_path, task_name)
    assert run(session, tree, "--oracle", "--metrics", "si_sdr") == 0
    folder = session / "evaluation"
    shown = capsys.readouterr().out
    assert (folder / "summary.md").read_text() in shown
    title = f"# Evaluation of the session {session.name}, task {task_name}\n"
    assert shown.startswith(title)
    assert "dB of the mixture: 2." in shown.replace("\n", " ")
    # The balanced songs are all songs, and have no tables of their own.
    assert "## All songs" in shown
    assert "## Balanced songs" not in shown
    assert (folder / "scores.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    stems = golden_config(task_name).task.stems
    rows = read_rows(folder)
    assert list(rows) == [
        (songs, method, stem)
        for songs in ("all", "balanced")
        for method in ("model", "mixture", "oracle")
        for stem in stems
    ]
    expected = {("model", stem): [] for stem in stems}
    expected.update({("mixture", stem): [] for stem in stems})
    for name in ("first", "second"):
        track = tree / "test" / name
        arguments = ["--mode", "inference", "--config", str(session / "config.json")]
        arguments += ["--mixture_input_path", str(track / "mixture.wav")]
        arguments += ["--output_path", str(tmp_path / name), "--subtype", "FLOAT"]
        assert main(arguments) == 0
        audio = {path.stem: soundfile.read(path)[0] for path in track.iterdir()}
        audio["accompaniment"] = audio["mixture"] - audio["vocals"]
        for stem in stems:
            written = soundfile.read(tmp_path / name / f"mixture_{stem}.wav")[0]
            estimates = {"model": written, "mixture": audio["mixture"]}
            for method, estimate in estimates.items():
                score = reference_si_sdr(audio[stem], estimate)
                expected[method, stem].append(score)
    for (method, stem), found in expected.items():
        score = float(rows["all", method, stem]["SI-SDR"])
        # The median of two.
        assert score == pytest.approx(np.mean(found), abs=2e-3)
        change = np.mean(np.subtract(found, expected["mixture", stem]))
        improvement = float(rows["all", method, stem]["SI-SDR improvement"])
        assert improvement == pytest.approx(change, abs=2e-3)
    for stem in stems:
        assert float(rows["all", "oracle", stem]["SI-SDR improvement"]) > 0


def stereo_track(rng, rate):
    """Stems (stems, frames, channels), each with a place of its own."""
    mono = make_stems(rng, rate=rate)
    sides = np.array([(1, 1), (0.3, 1), (1, 1), (1, 0.2)], "float32")
    return mono[:, :, np.newaxis] * sides[:, np.newaxis]


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


def test_native_stems_are_scored_as_they_would_be_written(tmp_path, rng):
    """A network that gives each stem a quarter: so do its masks."""
    config = golden_config("multi-instrument").replace(datasets=str(tmp_path / "musdb"))
    write_track(tmp_path / "musdb/test/stereo", stereo_track(rng, 44100), rate=44100)
    settings = evaluate.Settings(tmp_path / "out", metrics=("si_sdr",), native=True)

    def quarters(heard):
        return np.stack([heard / 4] * len(config.task.estimates))

    separate = functools.partial(native.separate_array, config, quarters)
    evaluate.evaluate(config, lambda lengths: separate, "x", settings, heading=["#"])
    rows = read_rows(tmp_path / "out")
    for stem in config.task.stems:
        improvement = float(rows["all", "model", stem]["SI-SDR improvement"])
        assert improvement == pytest.approx(0, abs=0.05)
        level = float(rows["all", "model", stem]["level"])
        mixture = float(rows["all", "mixture", stem]["level"])
        assert level == pytest.approx(mixture - 12.04, abs=0.05)


def test_files_of_a_track_that_differ_are_told(tmp_path, rng, capsys):
    stems = stereo_track(rng, 44100)
    folder = tmp_path / "musdb" / "test" / "odd"
    write_track(folder, stems, rate=44100)
    soundfile.write(folder / "bass.wav", stems[2, :, 0], 44100, subtype="FLOAT")
    session = copy_session(tmp_path, "multi-instrument")
    assert run(session, tmp_path / "musdb", "--stem_format", "native") == 1
    said = capsys.readouterr().err
    assert "odd: bass.wav: expected rate, frames and channels of the mixture" in said


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
    settings = evaluate.Settings(multi_instrument / "out", metrics=("si_sdr",))

    def separate(mixture, rate):
        assert rate == RATE
        estimates = dict.fromkeys(config.task.estimates, 0 * mixture)
        return {**estimates, "other": mixture}

    evaluate.evaluate(config, lambda lengths: separate, "x", settings, heading=["#"])
    rows = read_rows(multi_instrument / "out")
    assert float(rows["all", "model", "other"]["SI-SDR improvement"]) == 0
    assert float(rows["all", "model", "bass"]["SI-SDR"]) == -math.inf


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
        settings = evaluate.Settings(tree / "out", metrics=metrics, oracle=oracle)
        evaluate.evaluate(config, make_separate, weights, settings, heading=["#"])
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
def test_scoring_in_several_processes_gives_the_same(tree, tmp_path):
    session = copy_session(tmp_path, "singing-voice")
    for jobs in ("1", "2"):
        out = tmp_path / jobs
        assert run(session, tree, "--jobs", jobs, "--output_path", str(out)) == 0
    for path in (tmp_path / "1").rglob("*.json"):
        assert (
            path.read_text()
            == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_text()
        )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signals.SIGINT, signals.SIGTERM])
@pytest.mark.parametrize(
    ("place", "name"),
    [
        (dataset_cache, "prepare_tracks"),
        (evaluate, "score_methods"),
        (score_report, "write_report"),
    ],
)
def test_a_signal_ends_in_one_line_and_the_next_run_goes_on(
    number, place, name, multi_instrument, tree, monkeypatch, capsys
):
    real, calls = getattr(place, name), []

    def interrupted(*arguments, **keywords):
        calls.append(name)
        if name != "score_methods" or len(calls) == 2:
            os.kill(os.getpid(), number)
        return real(*arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(place, name, interrupted)
        assert run(multi_instrument, tree, "--metrics", "si_sdr") == 128 + number
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"error: {'interrupted' if number == 2 else 'terminated'}"
    assert not any("Traceback" in line for line in said)
    assert not list(multi_instrument.rglob("summary*"))
    before = {"prepare_tracks": 0, "score_methods": 1, "write_report": 2}[name]
    assert len(list(multi_instrument.rglob("model/test/*.json"))) == before
    assert run(multi_instrument, tree, "--metrics", "si_sdr") == 0
    assert f"2 tracks, {before} of them scored before" in capsys.readouterr().err


def test_scores_of_another_precision_are_made_anew(multi_instrument, tree, capsys):
    for precision, before in (("float32", 0), ("highest", 0), ("highest", 2)):
        flags = ("--metrics", "si_sdr", "--precision", precision)
        assert run(multi_instrument, tree, *flags) == 0
        shown = capsys.readouterr()
        assert f"2 tracks, {before} of them scored before" in shown.err
        assert f"computed in {precision}." in shown.out


KILLED = """
import os, signal, sys
import main
from sswavenet.evaluation import run
calls = []
def score(*arguments, real=run.score_methods, **keywords):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **keywords)
run.score_methods = score
main.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_scores_made_before_a_kill_are_kept(multi_instrument, tree, capsys):
    arguments = ["--mode=evaluation", f"--config={multi_instrument / 'config.json'}"]
    arguments += [f"--dataset_path={tree}", "--jobs=1", "--metrics=si_sdr"]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT)
    assert done.returncode == -signals.SIGKILL
    assert not list(multi_instrument.rglob("summary*"))
    assert main(arguments) == 0
    assert "2 tracks, 1 of them scored before" in capsys.readouterr().err


def test_jobs_that_change_nothing_are_named(multi_instrument, tree, capsys):
    arguments = ["--mode=evaluation", f"--config={multi_instrument / 'config.json'}"]
    arguments += [f"--dataset_path={tree}", "--metrics=si_sdr"]
    for flags in ([], ["--jobs=1"]):
        assert main([*arguments, *flags]) == 0
        said = "warning: --jobs is for BSS Eval" in capsys.readouterr().err
        assert said == bool(flags)


def children_of(process):
    """Ids of the processes that score."""
    path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = []
    for child in path.read_text().split():
        with contextlib.suppress(OSError):  # it has ended
            command = pathlib.Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command:
                found.append(int(child))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "to_child", "status", "message"),
    [
        (signals.SIGKILL, True, 2, "error: a scoring process ended early"),
        (signals.SIGINT, False, 130, "error: interrupted"),
    ],
)
def test_processes_that_score_end_together(
    number, to_child, status, message, multi_instrument, tree
):
    process = subprocess.Popen(
        [
            sys.executable,
            "main.py",
            *("--mode", "evaluation", "--dataset_path", str(tree), "--jobs", "2"),
            *("--config", str(multi_instrument / "config.json"), "--metrics", "bss"),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = []
    try:
        while len(children) < 2:
            assert process.poll() is None
            time.sleep(0.01)
            children = children_of(process)
        os.kill(children[0] if to_child else process.pid, number)
        _, said = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == status, said
    assert said.splitlines()[-1].startswith(message)
    assert "Traceback" not in said
    assert not any(pathlib.Path(f"/proc/{child}").exists() for child in children)


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


def scored_store(folder, stems=STEMS):
    """A store with the scores of one track, all metrics, and what they are."""
    store = score_store.ScoreStore(folder, "test", stems, scores.METRICS, {}, "x")
    targets = [make_target(name, -3.0, 1.5, [2.0, math.nan]) for name in stems]
    targets[0]["left_out"] = {"bss": "silent estimate"}
    store.write("model", "a", {}, targets)
    return store, targets


def test_scores_are_read_back(tmp_path):
    store, targets = scored_store(tmp_path)
    found = store.read("model", "a", {})
    # As text, since NaN equals no NaN.
    assert json.dumps(found, sort_keys=True) == json.dumps(targets, sort_keys=True)


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
    assert list(score_store.state_of_files(tmp_path)) == ["a.wav"]


def test_a_track_that_changes_while_it_is_evaluated_fails_alone(
    multi_instrument, tree, rng, capsys
):
    config = golden_config("multi-instrument").replace(datasets=str(tree))
    settings = evaluate.Settings(multi_instrument / "out", metrics=("si_sdr",))
    separated = []

    def separate(mixture, rate):
        if not separated:  # the other one has not been read yet
            shutil.rmtree(tree / "test" / "second")
            write_track(tree / "test" / "second", make_stems(rng, seconds=1.0))
        separated.append(len(mixture))
        return dict.fromkeys(STEMS, mixture)

    def run_again():
        return evaluate.evaluate(
            config, lambda lengths: separate, "x", settings, heading=["#"]
        )

    summary = run_again()
    assert (summary.num_failed, len(separated)) == (1, 1)
    assert "second: the files have changed since the evaluation began" in summary.text
    assert run_again().num_failed == 0
    assert separated == [int(2.5 * RATE), RATE]


def test_a_network_that_diverged_is_counted(multi_instrument, tree):
    config = golden_config("multi-instrument").replace(datasets=str(tree))
    settings = evaluate.Settings(multi_instrument / "out", metrics=("si_sdr",))
    summary = evaluate.evaluate(
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
        settings = evaluate.Settings(tmp_path / "out", subset, ("si_sdr",))
        evaluate.evaluate(
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


@pytest.mark.parametrize("package", ["museval", "matplotlib"])
def test_a_missing_package_is_named(
    multi_instrument, tree, package, monkeypatch, capsys
):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    assert run(multi_instrument, tree) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: needs the package {package} for ")
    assert line.endswith(": make .venv, then run .venv/bin/python")
    assert not (multi_instrument / "evaluation").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--metrics", "pesq"], "--metrics"),
        (["--subset", "validation"], "train"),
        (["--dataset_path", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments_take_one_line(
    multi_instrument, tree, capsys, arguments, expected
):
    assert run(multi_instrument, tree, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (multi_instrument / "evaluation").exists()


def test_names_that_are_no_text_are_reported(tmp_path):
    text = score_report.write_report(
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
        name: dict.fromkeys(score_report.columns(("si_sdr",)), dB)
        for name, dB in (("song", 1.0), ("other song", 2.0))
    }
    by_stem = {("model", "vocals"): scored, ("mixture", "vocals"): scored}
    score_report.draw_scores(tmp_path / "scores.png", by_stem, ("si_sdr",))
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_museval_is_had_without_ffmpeg(tmp_path):
    script = (
        "import numpy as np; from sswavenet.evaluation import metrics as scores;"
        "r = np.random.default_rng(1);"
        "s = r.standard_normal((2, 16000)).astype('f4');"
        "print(scores.bss_eval(s, s + 0.1, sample_rate=16000).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[0] == "(4, 2, 1)"
