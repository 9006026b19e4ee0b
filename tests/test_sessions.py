"""The shipped sessions on the mixtures of audio/."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import main
from sswavenet import checkpoints
from sswavenet.config.document import parse_config
from sswavenet.training import grow
from tests.support import ROOT, TASK_NAMES, oracle

sys.path.insert(0, str(ROOT / "data"))

import score_stems

REFERENCES = ROOT / "audio" / "references"
# Below what the sessions reach on these mixtures, by 0.1 dB or more; a mixture as
# its own estimate has 0.
LEAST = {
    "multi-instrument": {"vocals": 3.0, "drums": 2.0, "bass": 4.6, "other": 2.8},
    "singing-voice": {"vocals": 2.8, "accompaniment": 1.1},
    "multi-instrument-rendered": {
        "vocals": 3.0,
        "drums": 2.0,
        "bass": 4.6,
        "other": 2.8,
    },
    "singing-voice-rendered": {"vocals": 3.0, "accompaniment": 1.1},
    # These have learned most from real songs; what is in audio/ was rendered.
    "multi-instrument-fast": {"vocals": 1.9, "drums": 1.4, "bass": 3.5, "other": 2.0},
    "singing-voice-fast": {"vocals": 1.9, "accompaniment": 0.6},
}
SESSIONS = tuple(LEAST)


def improvements(name, out, *more):
    """SI-SDR improvement in dB by stem, the mean over audio/."""
    session = ROOT / "sessions" / name
    arguments = ["--mode", "inference", "--config", str(session / "config.json")]
    arguments += ["--mixture_input_path", str(ROOT / "audio")]
    assert main.main([*arguments, "--output_path", str(out), *more]) == 0
    found: dict = {}
    for row in score_stems.score(out, REFERENCES):
        found.setdefault(row["Stem"], []).append(row["improvement in dB"])
    return {stem: float(np.mean(values)) for stem, values in found.items()}


@pytest.mark.slow
@pytest.mark.keras3
@pytest.mark.parametrize("name", SESSIONS)
def test_shipped_session_separates_audio(name, tmp_path):
    found = improvements(name, tmp_path)
    for stem, least in LEAST[name].items():
        assert found[stem] > least, found


# With all kernels flipped the network does to a signal what it does to the reversed
# one, backwards; music runs both ways, and the improvement is nearly the same. So the
# samples tell.
@pytest.mark.slow
@pytest.mark.keras3
@pytest.mark.parametrize("name", SESSIONS)
def test_samples_are_the_oracles_and_not_those_of_flipped_kernels(name, tmp_path):
    session = ROOT / "sessions" / name
    config = parse_config(json.loads((session / "config.json").read_text()))
    newest = checkpoints.find_latest(session)
    weights = checkpoints.read_checkpoint(newest, config).weights
    mixture, field = tmp_path / "part.wav", 20
    length = field + 2 * config.context_length
    whole = score_stems.read_references(REFERENCES, "samba")
    samples = (whole["vocals"] + whole["accompaniment"])[100000 : 100000 + length]
    samples *= 0.5 / np.sqrt(np.mean(samples[:160] ** 2))  # too loud for a gain
    soundfile.write(mixture, samples, 16000, subtype="FLOAT")
    expected = oracle(config, weights, samples, 2, field)[:, 2:-2]
    errors = []
    for convention in ("tensorflow", "theano"):
        out = tmp_path / convention
        arguments = ["--mode", "inference", "--config", str(session / "config.json")]
        arguments += ["--mixture_input_path", str(mixture), "--output_path", str(out)]
        arguments += ["--subtype", "FLOAT", "--kernel_convention", convention]
        assert main.main(arguments) == 0
        got = [
            soundfile.read(out / f"part_{stem}.wav")[0]
            for stem in config.task.estimates
        ]
        middle = slice(config.context_length, config.context_length + field)
        errors.append(np.abs(np.stack(got)[:, middle] - expected).max())
    assert errors[0] < 1e-5
    assert errors[1] > 1e-3


@pytest.mark.parametrize("name", SESSIONS)
def test_a_shipped_network_can_be_trained_again_beside_it(name):
    folder = ROOT / "sessions" / name
    shipped, again = (
        parse_config(json.loads((folder / file).read_text()), file)
        for file in ("config.json", "retrain.json")
    )
    assert again.weight_shapes == shipped.weight_shapes
    assert again.session_path == f"{shipped.session_path}-retrained"
    for name in ("task_name", "datasets", "losses", "augmentation_mix"):
        assert getattr(again, name) == getattr(shipped, name)


def parts_of(task_name):
    """The sessions that the one of the paper's architecture began with."""
    return (f"{task_name}-rendered", "singing-voice-fast")


@pytest.mark.slow
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_the_shipped_networks_grow_into_the_papers(task_name, rng):
    """It begins at the mean of what two compact ones estimate."""
    paper = ROOT / f"config_{task_name.replace('-', '_')}.json"
    grown, papers = (
        parse_config(json.loads(path.read_text()), path.name, task_name)
        for path in (ROOT / "sessions" / task_name / "retrain.json", paper)
    )
    assert grown.weight_shapes == papers.weight_shapes
    whole = score_stems.read_references(REFERENCES, "samba")
    samples = (whole["vocals"] + whole["accompaniment"])[100000:]
    field, margin = 4, grown.head_margin
    samples = samples[: field + 2 * grown.context_length]
    inside = slice(margin, margin + field)
    parts, estimates = [], {}
    for name in parts_of(task_name):
        folder = ROOT / "sessions" / name
        config = parse_config(json.loads((folder / "config.json").read_text()))
        path = checkpoints.find_latest(folder)
        parts.append((config, checkpoints.read_checkpoint(path, config).weights))
        cut = grown.context_length - config.context_length
        found = oracle(*parts[-1], samples[cut:-cut], margin, field)[:, inside]
        for stem, estimate in zip(config.task.estimates, found):
            estimates.setdefault(stem, []).append(estimate)
    arrays = grow.grown_weights(parts, grown, rng)
    got = oracle(grown, arrays, samples, margin, field)[:, inside]
    expected = [np.mean(estimates[stem], axis=0) for stem in grown.task.estimates]
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def places_of(steps, target, *settings):
    """Where each step stands in what `make` would do for a target, in bfloat16."""
    done = subprocess.run(
        ["make", "--dry-run", target, "PRECISION=bfloat16", *settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [done.stdout.find(step) for step in steps]


TRAIN = "main.py --mode training --precision bfloat16 --config"
GROW = "-m sswavenet.training.grow"


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_growing_makes_corpus_and_networks_in_order(task_name):
    config = f"sessions/{task_name}/retrain.json"
    parts = (f"sessions/{name}/config.json" for name in parts_of(task_name))
    steps = (
        "make_corpus.py",
        f"{GROW} {' '.join(parts)} {config}",
        f"{TRAIN} {config}",
    )
    places = places_of(steps, f"grow-{task_name}")
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize(("songs", "suffix"), [("", "-rendered"), ("songs", "-fast")])
def test_retraining_makes_corpus_and_compact_networks_in_order(songs, suffix):
    first, second = (f"sessions/{name}{suffix}" for name in TASK_NAMES)
    steps = (
        "make_corpus.py",
        f"{TRAIN} {first}/retrain.json",
        f"{GROW} {first}-retrained/config.json {second}/retrain.json",
        f"{TRAIN} {second}/retrain.json",
    )
    settings = (f"SONGS={songs}", "TEACHER=x")
    places = places_of(steps, f"retrain-singing-voice{suffix}", *settings)
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_the_papers_networks_are_retrained_after_those_they_begin_with(task_name):
    parts = parts_of(task_name)
    config = f"sessions/{task_name}/retrain.json"
    configs = " ".join(f"sessions/{name}-retrained/config.json" for name in parts)
    steps = (
        *(f"{TRAIN} sessions/{name}/retrain.json" for name in parts),
        f"{GROW} {configs} {config}",
        f"{TRAIN} {config}",
    )
    target = f"retrain-{task_name}"
    places = places_of(steps, target, "SONGS=songs", "TEACHER=x")
    assert -1 not in places
    assert places == sorted(places)
    # Without songs, what is left has none of their terms.
    assert [place >= 0 for place in places_of(steps, target, "SONGS=")] == [
        *(True, False),
        *(False, False),
    ]


def test_references_sum_to_the_mixtures():
    mixtures = sorted((ROOT / "audio").glob("*.flac"))
    assert len(mixtures) >= 2
    for path in mixtures:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (44100, 2)
        assert 15 <= info.duration <= 20
        stems = score_stems.read_references(REFERENCES, path.stem)
        whole = soundfile.read(path)[0].mean(axis=1)
        total = (stems["vocals"] + stems["accompaniment"]).astype(float)
        # Up to 7 kHz, where no resampler has begun to cut.
        count = round(7000 * info.duration)
        spectrum = np.fft.rfft(whole)[:count] / len(whole)
        expected = np.fft.rfft(total)[:count] / len(total)
        error = np.linalg.norm(spectrum - expected)
        assert error < 1e-3 * np.linalg.norm(expected)
