"""The shipped sessions on the mixtures of audio/, and the tools around these."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

import main
from sswavenet import checkpoints
from sswavenet.config.document import parse_config
from sswavenet.training import grow
from tests.support import TASK_NAMES, oracle

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "data"))

import draw_spectrograms  # noqa: E402
import make_mixture  # noqa: E402
import score_stems  # noqa: E402

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


@pytest.fixture
def song(tmp_path, rng):
    folder = tmp_path / "song"
    folder.mkdir()
    smooth = np.hanning(9) / 20
    for stem in make_mixture.PLACES:
        samples = np.convolve(rng.normal(size=32000), smooth, mode="same")
        soundfile.write(folder / f"{stem}.wav", samples, 16000, subtype="PCM_16")
    return folder


def test_mean_of_the_channels_is_the_sum_of_the_stems(rng):
    stems = {stem: rng.normal(size=50) for stem in make_mixture.PLACES}
    stereo = make_mixture.in_stereo(stems)
    np.testing.assert_allclose(stereo.mean(axis=1), sum(stems.values()))
    assert np.abs(stereo[:, 0] - stereo[:, 1]).max() > 0.1


def test_mixture_and_references_are_of_the_part_asked_for(song, tmp_path):
    out = tmp_path / "audio" / "song.flac"
    assert (
        make_mixture.main([str(song), str(out), "--start", "0.5", "--seconds", "1"])
        == 0
    )
    info = soundfile.info(out)
    assert (info.samplerate, info.channels, info.frames) == (44100, 2, 44100)
    for stem in make_mixture.PLACES:
        written, rate = soundfile.read(out.parent / "references" / f"song_{stem}.flac")
        whole, _ = soundfile.read(song / f"{stem}.wav")
        assert rate == 16000
        np.testing.assert_array_equal(written, whole[8000:24000])


def said(capsys):
    """What stderr got: one line that begins with `error: `."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "song.flac",
            "--seconds 3",
            "expected 3.0 seconds or more, got 2.0",
        ),
        ("song.flac", "--seconds 0", "0.1 seconds or more, got 0.0 and 0.0"),
        ("song.flac", "--seconds inf", "got 0.0 and inf"),
        ("song.flac", "--seconds nan", "got 0.0 and nan"),
        ("song.flac", "--start 1e305", "1e+305 seconds or more, got 2.0"),
        ("song.flac", "--start -1", "got -1.0 and 16.0"),
        ("song.xyz", "--seconds 1", "a mixture's name in .flac"),
        ("song", "--seconds 1", "a mixture's name in .flac"),
    ],
)
def test_a_mixture_that_cannot_be_made_is_one_line(
    name, options, message, song, tmp_path, capsys
):
    out = tmp_path / "audio" / name
    assert make_mixture.main([str(song), str(out), *options.split()]) == 2
    assert message in said(capsys)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros((32000, 2)), 16000, "bass.wav: expected mono, got 2 channels"),
        (np.zeros(16000), 8000, "expected stems of one sample rate"),
        (None, 0, "bass.wav: expected an audio file, got nothing there"),
    ],
)
def test_a_song_that_makes_no_mixture_leaves_nothing(
    samples, rate, message, song, tmp_path, capsys
):
    (song / "bass.wav").unlink()
    if samples is not None:
        soundfile.write(song / "bass.wav", samples, rate)
    out = tmp_path / "audio" / "song.flac"
    assert make_mixture.main([str(song), str(out), "--seconds", "2"]) == 2
    assert message in said(capsys)
    assert not out.parent.exists()


@pytest.mark.parametrize("place", ["song.flac", "references/song_vocals.flac"])
def test_a_mixture_that_cannot_be_written_leaves_nothing(place, song, tmp_path, capsys):
    audio = tmp_path / "audio"
    (audio / place).mkdir(parents=True)
    arguments = [str(song), str(audio / "song.flac"), "--seconds", "2"]
    assert make_mixture.main(arguments) == 2
    assert place in said(capsys)
    assert not [path for path in audio.rglob("*") if path.is_file()]


def test_names_too_long_for_the_stems_leave_nothing(song, tmp_path, capsys):
    out = tmp_path / "audio" / ("a" * 245 + ".flac")  # with _vocals.flac: 257
    assert make_mixture.main([str(song), str(out), "--seconds", "2"]) == 2
    assert "a_vocals.flac: expected a name of at most 255 bytes" in said(capsys)
    assert not out.parent.exists()


def test_the_mixture_comes_when_its_stems_are_there(song, tmp_path, monkeypatch):
    names = []
    rename = pathlib.Path.replace

    def noted(path, target):
        names.append(target.name)
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "replace", noted)
    out = tmp_path / "song.flac"
    assert make_mixture.main([str(song), str(out), "--seconds", "2"]) == 0
    assert len(names) == 5
    assert names[-1] == "song.flac"


def test_scores_are_those_of_the_formula(song, tmp_path, rng, capsys):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    references = tmp_path / "references"
    stems = score_stems.read_references(references, "song")
    noise = rng.normal(size=32000).astype(np.float32) / 100
    vocals = stems["vocals"] + noise
    soundfile.write(tmp_path / "song_vocals.wav", vocals, 16000, subtype="FLOAT")
    (row,) = score_stems.score(tmp_path, references)
    assert (row["Mixture"], row["Stem"]) == ("song", "vocals")

    def by_angle(estimate):
        """SI-SDR from the cosine between two signals."""
        a, b = stems["vocals"].astype(float), estimate.astype(float)
        square = (a @ b) ** 2 / (a @ a) / (b @ b)
        return 10 * np.log10(square / (1 - square))

    expected = by_angle(vocals)
    assert row["SI-SDR in dB"] == pytest.approx(expected, abs=1e-3)
    baseline = by_angle(stems["vocals"] + stems["accompaniment"])
    assert row["improvement in dB"] == pytest.approx(expected - baseline, abs=1e-3)
    assert score_stems.main([str(tmp_path), str(references)]) == 0
    assert f"{expected:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rate", "channels", "value", "message"),
    [
        (8000, 1, 0.1, "has 64000 samples, its reference has 32000"),
        (16000, 1, np.nan, "has samples that are not finite"),
    ],
)
def test_what_is_no_stem_is_not_scored(
    rate, channels, value, message, song, tmp_path, capsys
):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    samples = np.full((32000, channels), value)
    path = tmp_path / "song_vocals.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    assert score_stems.main([str(tmp_path), str(tmp_path / "references")]) == 2
    assert message in said(capsys)


def test_stems_of_any_rate_and_channels_are_scored_as_they_are_heard(song, tmp_path):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    vocals, _ = soundfile.read(tmp_path / "references" / "song_vocals.flac")
    left = resample_poly(vocals, 441, 160)
    stereo = np.stack([1.5 * left, 0.5 * left], axis=1)
    soundfile.write(tmp_path / "song_vocals.wav", stereo, 44100, subtype="FLOAT")
    (row,) = score_stems.score(tmp_path, tmp_path / "references")
    assert row["SI-SDR in dB"] > 30


def test_a_reference_that_is_no_audio_file_is_named(song, tmp_path, capsys):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    (tmp_path / "references" / "song_bass.flac").write_text("no audio")
    assert score_stems.main([str(tmp_path), str(tmp_path / "references")]) == 2
    assert "song_bass.flac: expected an audio file, got: " in said(capsys)


def test_references_of_different_lengths_are_refused(song, tmp_path, capsys):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    references = tmp_path / "references"
    soundfile.write(references / "song_drums.flac", np.zeros(100), 16000)
    assert score_stems.main([str(tmp_path), str(references)]) == 2
    assert "'drums': 100, 'bass': 32000" in said(capsys)


def test_folders_that_are_missing_are_named(tmp_path, capsys):
    absent = tmp_path / "absent"
    for folders in ([absent, tmp_path], [tmp_path, absent]):
        assert score_stems.main(list(map(str, folders))) == 2
        assert f"{absent}: expected a folder of stems" in said(capsys)


def test_nothing_to_score_is_one_line(song, tmp_path, capsys):
    make_mixture.main([str(song), str(tmp_path / "song.flac"), "--seconds", "2"])
    assert score_stems.main([str(song), str(tmp_path / "references")]) == 2
    assert "has no stems of the mixtures" in said(capsys)


@pytest.fixture
def separated(tmp_path, rng):
    """The arguments to draw a mixture whose stems were separated without a fault."""
    mixture, *folders = (tmp_path / name for name in ("it.flac", "estimates", "true"))
    stems = {stem: rng.normal(scale=0.1, size=4000) for stem in score_stems.STEMS}
    soundfile.write(mixture, sum(stems.values()), 16000)
    for folder, suffix in zip(folders, ("wav", "flac")):
        folder.mkdir()
        for stem, samples in stems.items():
            soundfile.write(folder / f"it_{stem}.{suffix}", samples, 16000)
    return [mixture, *folders]


def drawn(out, arguments):
    return draw_spectrograms.main(list(map(str, [out, *arguments])))


def test_spectrograms_stand_beside_their_references_in_the_order_of_the_stems(rng):
    mixture, *stems = rng.normal(size=(5, 4000))
    pairs = dict.fromkeys(("vocals", "bass"), (stems[0], stems[1]))
    *axes, bar = draw_spectrograms.draw(mixture, pairs, "samba").axes
    assert [axis.get_title() for axis in axes] == [
        "samba: the mixture",
        "vocals, separated",
        "vocals, reference",
        "bass, separated",
        "bass, reference",
    ]
    assert {axis.get_ylabel() for axis in axes} <= {"frequency in Hz", ""}
    assert axes[-1].get_xlabel() == "time in s"
    assert bar.get_ylabel() == "level in dB"


def test_stems_to_draw_are_in_the_order_of_a_session(separated):
    mixture, estimates, _ = separated
    found = draw_spectrograms.find_estimates(estimates, mixture.stem)
    assert list(found) == ["vocals", "drums", "bass", "other"]


def test_spectrograms_are_written(separated, tmp_path):
    out = tmp_path / "out.png"
    assert drawn(out, separated) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "no samples"),
        (np.zeros(1000), "at least 1024 samples at 16000 Hz, got 1000"),
        (np.zeros(4000), "expected some sound"),
        (np.full(4000, np.nan), "expected some sound"),
    ],
)
def test_what_has_no_sound_is_not_drawn(samples, message, separated, tmp_path, capsys):
    _, estimates, _ = separated
    out = tmp_path / "out.png"
    soundfile.write(estimates / "it_bass.wav", samples, 16000, subtype="FLOAT")
    assert drawn(out, separated) == 2
    assert message in said(capsys)
    assert not out.exists()


def test_nothing_to_draw_is_one_line(separated, tmp_path, capsys):
    mixture, _, references = separated
    for folder in (tmp_path / "absent", tmp_path):
        assert drawn(tmp_path / "out.png", [mixture, folder, references]) == 2
        assert f"{folder}: expected stems of it" in said(capsys)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("vocals.wav", "name in .png"),
        ("a.png/b.png", "folder that can be written"),
        ("a.png", "is an input and would be overwritten"),
    ],
)
def test_a_place_for_no_picture_is_refused(out, message, separated, tmp_path, capsys):
    mixture, estimates, references = separated
    picture = mixture.with_name("a.png")  # of that name, but sound
    mixture.rename(picture)
    (estimates / "it_vocals.wav").rename(estimates / "a_vocals.wav")
    before = picture.read_bytes()
    assert drawn(tmp_path / out, [picture, estimates, references]) == 2
    assert message in said(capsys)
    assert picture.read_bytes() == before


def test_any_name_can_be_drawn(separated, tmp_path, capfd):
    name = "we$ird_{$ 日本 " + os.fsdecode(b"\xff")
    mixture, *folders = separated
    for folder in folders:
        for path in folder.iterdir():
            path.rename(folder / path.name.replace("it_", f"{name}_"))
    out = tmp_path / "out.png"
    assert drawn(out, [mixture.rename(tmp_path / f"{name}.flac"), *folders]) == 0
    assert out.exists()
    assert capfd.readouterr().err == ""


LIMITED = """
import os, resource, sys
size = 1024 * int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def limited(blocks, tool, *arguments):
    """Runs a tool whose files may have so many KiB; returns its status and stderr."""
    program = [sys.executable, "-c", LIMITED, blocks, ROOT / "data" / tool, *arguments]
    done = subprocess.run(list(map(str, program)), capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["make_mixture", "make_demo", "draw_spectrograms"])
def test_what_cannot_be_written_takes_one_line(tool, song, separated, tmp_path):
    out = tmp_path / "out"
    arguments = {
        "make_mixture": [song, out / "song.flac", "--seconds", "2"],
        "make_demo": [out / "demo"],
        "draw_spectrograms": [out / "it.png", *separated],
    }
    # Matplotlib keeps a large cache of fonts, Numba of what it compiled for librosa.
    once = {
        "make_mixture": [song, tmp_path / "once" / "song.flac", "--seconds", "2"],
        "draw_spectrograms": [tmp_path / "once.png", *separated],
    }
    if tool in once:
        assert limited(10**6, f"{tool}.py", *once[tool]) == (0, "")
    status, errors = limited(8, f"{tool}.py", *arguments[tool])
    assert status == 2
    (line,) = errors.splitlines()
    assert line.startswith(f"error: cannot write {out}")
    assert not [path for path in tmp_path.rglob("out/**/*") if path.is_file()]


@pytest.mark.parametrize(
    "tool", ["draw_spectrograms.py", "make_mixture.py", "score_stems.py"]
)
def test_tools_explain_themselves_from_anywhere(tool, tmp_path):
    program = [sys.executable, str(ROOT / "data" / tool), "--help"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"data/{tool}" in done.stdout
