"""Tests of the maker of the procedural corpus.

The logic is tested wherever `requirements-corpus.txt` is installed; the miniature, two
minutes of songs, where the Debian packages are too.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pathlib
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import soundfile

import main
from tests.support import GOLDEN, golden_checkpoint

DATA = pathlib.Path(__file__).parents[1] / "data"
sys.path.insert(0, str(DATA))


def load(name):
    """Imports a module of data/, or skips this file where it cannot be."""
    with warnings.catch_warnings():
        # Newer setuptools warn about pkg_resources, which pyworld imports.
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            name,
            reason="needs requirements-corpus.txt and libfluidsynth3",
            exc_type=ImportError,
        )


mido = load("mido")
corpus_job = load("corpus.job")
corpus_mix = load("corpus.mix")
corpus_recorded = load("corpus.recorded")
corpus_scores = load("corpus.scores")
corpus_singer = load("corpus.singer")
corpus_song = load("corpus.song")
corpus_sources = load("corpus.sources")
corpus_speakers = load("corpus.speakers")
corpus_synth = load("corpus.synth")
corpus_voices = load("corpus.voices")
make_corpus = load("make_corpus")

RATE, STEMS = corpus_sources.RATE, corpus_sources.STEMS
SECONDS = 10.0
SPEECH = 6.0  # seconds analysed per speaker in the miniature
# (source, split, number of songs): 12 songs, two minutes.
MINIATURE = (
    ("scores", "train", 4),
    ("scores", "validation", 1),
    ("scores", "test", 3),
    ("music", "train", 2),
    ("music", "real", 2),
)


def installed(package: str) -> bool:
    """Whether a Debian package left its documentation."""
    return (corpus_sources.SHARE / "doc" / package).exists()


PACKAGES = (DATA / "corpus-packages.txt").read_text().split()
packages = pytest.mark.skipif(
    not all(map(installed, PACKAGES)) or shutil.which("mma") is None,
    reason="needs the packages of `make corpus-packages`",
)


def command(out, cache, source, split, count, *more):
    return [
        *(str(out), "--source", source, "--split", split, "--count", str(count)),
        *("--seconds", str(SECONDS), "--cache", str(cache), "--speech", str(SPEECH)),
        *more,
    ]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder that this file's tests share, in all processes that pytest runs."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def cache(shared):
    """A folder of analysed voices."""
    return shared / "voices"


@pytest.fixture(scope="module")
def miniature(shared, cache):
    """The miniature corpus: one folder a source.

    The training songs are made in a pool of two processes, in a Python of its own.
    """
    out = shared / "corpus"
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for source, split, count in MINIATURE:
            if len([*(out / source).glob(f"{split}/*")]) == count:
                continue  # another process made them
            arguments = command(out / source, cache, source, split, count, "-j", "2")
            if split == "train":
                program = [sys.executable, str(DATA / "make_corpus.py"), *arguments]
                subprocess.run(program, check=True, timeout=300)
            else:
                assert make_corpus.main(arguments[:-2]) == 0
    return out


def songs_of(folder):
    """The records of a corpus with the folder of each song."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return [(r, folder / r["split"] / r["name"]) for r in manifest["songs"]]


def read(song):
    return {
        path.stem: soundfile.read(path, dtype="int16")[0].astype(int)
        for path in song.glob("*.wav")
    }


def job(cache, split, seed, source="scores"):
    return corpus_job.Job(source, split, seed, SECONDS, cache, SPEECH)


# --- the miniature ---------------------------------------------------------------


@pytest.mark.slow
@packages
def test_layout_is_musdbs(miniature):
    for source, split, count in MINIATURE:
        folders = list((miniature / source / split).iterdir())
        assert len(folders) == count
        for folder in folders:
            wavs = sorted(path.name for path in folder.glob("*.wav"))
            stems = STEMS if source == "scores" else ("vocals", "accompaniment")
            assert wavs == sorted(f"{name}.wav" for name in (*stems, "mixture"))
            for path in folder.glob("*.wav"):
                info = soundfile.info(path)
                assert (info.samplerate, info.channels) == (RATE, 1)
                assert (info.subtype, info.frames) == ("PCM_16", SECONDS * RATE)


@packages
def test_mixture_is_the_exact_sum_without_clipping(miniature):
    for source in ("scores", "music"):
        for _, song in songs_of(miniature / source):
            waves = read(song)
            mixture = waves.pop("mixture")
            np.testing.assert_array_equal(sum(waves.values()), mixture)
            assert np.abs(mixture).max() < 32767


@packages
def test_stems_play_and_have_no_offset(miniature):
    for record, song in songs_of(miniature / "scores"):
        waves = read(song)
        for stem in STEMS:
            assert np.abs(waves[stem]).max() > 100, (record["name"], stem)
            assert abs(waves[stem].mean()) < 0.01 * waves[stem].std()


@packages
def test_of_produced_music_only_vocals_and_accompaniment_are_known(miniature):
    for record, song in songs_of(miniature / "music"):
        waves = read(song)
        assert set(waves) == {"mixture", "vocals", "accompaniment"}
        assert set(record["levels_db"]) == {"vocals", "accompaniment"}
        assert np.abs(waves["accompaniment"]).max() > 100
        assert np.abs(waves["vocals"]).max() > 100


@packages
def test_manifest_has_the_levels_of_the_files(miniature):
    for record, song in songs_of(miniature / "scores"):
        waves = read(song)
        energy = {name: float((wave**2).sum()) for name, wave in waves.items()}
        for stem in STEMS:
            level = 10 * np.log10(energy[stem] / energy["mixture"])
            assert record["levels_db"][stem] == pytest.approx(level, abs=0.01)
        if record["split"] != "train":
            assert all(-12 <= level <= 3 for level in record["levels_db"].values())


@packages
def test_song_is_the_same_alone_in_another_order_and_in_a_pool(miniature, cache):
    written = {
        r["seed"]: s for r, s in songs_of(miniature / "scores") if "train" in str(s)
    }
    for seed in (3, 1, 3):  # the files were written in the order 0 to 3, by two
        _, stems, mixture = corpus_song.make(job(cache, "train", seed))
        waves = read(written[seed])
        np.testing.assert_array_equal(mixture, waves["mixture"])
        for stem, wave in zip(STEMS, stems):
            np.testing.assert_array_equal(wave, waves[stem])


@packages
def test_splits_share_no_speaker_bank_or_score(miniature):
    used: dict = {split: set() for split in corpus_sources.SPLITS}
    banks: dict = {True: set(), False: set()}
    for source in ("scores", "music"):
        for record, _ in songs_of(miniature / source):
            names = {record["person"], *record["score"].split("+")}
            used[record["split"]] |= names
            for bank in record.get("banks", {}).values():
                banks["train" in record["split"]] |= set(bank.split("+"))
    assert not used["train"] & (used["validation"] | used["test"] | used["real"])
    assert not used["validation"] & (used["test"] | used["real"])
    assert banks[False]
    assert not banks[True] & banks[False]


@pytest.mark.slow
@packages
def test_the_test_songs_can_be_evaluated(miniature, tmp_path):
    session = tmp_path / "session"
    (session / "checkpoints").mkdir(parents=True)
    shutil.copy(GOLDEN / "multi-instrument" / "config.json", session)
    shutil.copy(golden_checkpoint("multi-instrument"), session / "checkpoints")
    arguments = ["--mode", "evaluation", "--config", str(session / "config.json")]
    tree = shutil.copytree(miniature / "scores", tmp_path / "tree")
    arguments += ["--dataset_path", str(tree)]
    assert main.main([*arguments, "-j", "2", "--oracle"]) == 0
    tests = [song.name for r, song in songs_of(miniature / "scores")
             if r["split"] == "test"]  # fmt: skip
    for name in tests:
        paths = list((session / "evaluation").rglob(f"{name}.json"))
        assert len(paths) == 3  # of the mixture, the model and the mask
        for path in paths:
            targets = json.loads(path.read_text())["targets"]
            assert {target["name"] for target in targets} == set(STEMS)
    table = (session / "evaluation" / "summary.csv").read_text()
    assert all(f"oracle,{stem}" in table for stem in STEMS)


@packages
def test_real_songs_hold_recorded_speech_over_kept_out_tracks(miniature):
    real = [r for r, _ in songs_of(miniature / "music") if r["split"] == "real"]
    for record in real:
        assert record["style"] == "said"
        assert record["speaker"] in corpus_speakers.REAL_SPEAKERS
        assert record["score"] in corpus_sources.REAL_TRACKS


@packages
def test_finished_songs_are_kept_and_missing_ones_made(miniature, cache, tmp_path):
    out = tmp_path / "corpus"
    shutil.copytree(miniature / "scores", out)
    kept, missing = sorted((out / "test").iterdir())[:2]
    before = read(missing)
    (kept / "mixture.wav").write_bytes(b"mine")
    shutil.rmtree(missing)
    assert make_corpus.main(command(out, cache, "scores", "test", 3)) == 0
    assert (kept / "mixture.wav").read_bytes() == b"mine"
    for name, wave in read(missing).items():
        np.testing.assert_array_equal(wave, before[name])
    assert not [*out.glob(".*"), *out.glob("*/.*")]


@packages
def test_tables_of_the_splits_are_disjoint_and_complete():
    splits = corpus_sources.SPLITS
    grooves = [set(corpus_sources.grooves(split)) for split in splits[:3]]
    assert [len(g) > least for g, least in zip(grooves, (500, 10, 50))] == [True] * 3
    # The same name may stand in two library files; mma then takes either.
    assert len(set.union(*grooves)) == sum(map(len, grooves))
    scores = [set(corpus_scores.doom_scores(split)) for split in splits[:3]]
    assert all(scores)
    assert len(set.union(*scores)) == len(corpus_sources.doom_lumps())
    tracks = [set(corpus_sources.music_tracks(split)) for split in splits]
    assert len(set.union(*tracks)) == sum(map(len, tracks))
    assert len(tracks[3]) == len(corpus_sources.REAL_TRACKS)
    for name in corpus_sources.KITS:
        assert {"kick", "snare", "hat"} <= set(corpus_sources.kit(name))


def test_missing_package_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(corpus_sources, "GROOVE_LIBRARY", tmp_path / "absent")
    monkeypatch.setattr(corpus_sources, "WADS", (tmp_path / "absent.wad",))
    corpus_sources.grooves.cache_clear()
    corpus_sources.doom_lumps.cache_clear()
    try:
        status = make_corpus.main([str(tmp_path / "out"), "--count", "1"])
    finally:
        corpus_sources.grooves.cache_clear()
        corpus_sources.doom_lumps.cache_clear()
        errors = capsys.readouterr().err.strip().splitlines()
    assert status == 2
    assert len(errors) == 1
    assert "make corpus-packages" in errors[0]
    # Processes hand it on by pickling it.
    error = pickle.loads(pickle.dumps(corpus_sources.MissingPackageError("it")))
    assert str(error).count("the corpus needs it") == 1
    assert not list((tmp_path / "out").glob("*/*"))


@packages
def test_pieces_longer_than_any_track_are_one_line(tmp_path, capsys):
    # The longest track of the packages lasts 13 minutes.
    out = tmp_path / "out"
    options = ["--source", "music", "--seconds", "2000", "--count", "1"]
    assert make_corpus.main([str(out), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: no track of the split train is longer than 2000.0 s"
    assert not out.exists()


@pytest.mark.slow
@packages
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_stopped_maker_keeps_whole_songs_only(
    number, status, said, processes, cache, tmp_path
):
    arguments = command(tmp_path, cache, "scores", "test", 30, "-j", processes)
    process = subprocess.Popen(
        [sys.executable, str(DATA / "make_corpus.py"), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.glob("test/*")) and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.2)  # into the next song
        if number == signal.SIGINT:  # Ctrl-C reaches all processes
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert (process.returncode, errors) == (status, f"error: {said}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "test"]
    songs = songs_of(tmp_path)
    assert {song for _, song in songs} == set((tmp_path / "test").iterdir())
    assert 1 <= len(songs) < 30
    for _, song in songs:
        assert len(list(song.iterdir())) == 6


# --- the logic -------------------------------------------------------------------


def test_speakers_split_by_person():
    people = [
        {
            corpus_speakers.SPEAKERS[name].person
            for name in corpus_speakers.speakers(split)
        }
        for split in ("train", "validation", "test")
    ]
    assert all(people)
    assert len(set.union(*people)) == sum(map(len, people))
    assert len(set.union(*people)) >= 12
    assert set(corpus_speakers.REAL_SPEAKERS) <= set(corpus_speakers.speakers("test"))


def test_split_is_by_the_checksum_of_the_name():
    # crc32 of "123456789" is 0xCBF43926, the published check value: 4 more than a
    # multiple of 6.
    assert corpus_sources.split_of("123456789") == "train"
    splits = [corpus_sources.split_of(f"groove{i}") for i in range(3000)]
    assert splits.count("validation") / 3000 == pytest.approx(1 / 18, abs=0.02)
    assert splits.count("test") / 3000 == pytest.approx(2 / 18, abs=0.02)


def test_banks_and_kits_of_both_splits():
    for table in (
        corpus_sources.BANKS,
        corpus_sources.DRUM_BANKS,
        corpus_sources.KITS,
        corpus_sources.LOOPS,
    ):
        assert set(table.values()) == {True, False}


def test_plan_depends_on_the_seed_alone(tmp_path):
    plans = {
        seed: corpus_job.draw_plan(job(tmp_path, "train", seed)) for seed in range(99)
    }
    for seed in reversed(range(99)):
        assert corpus_job.draw_plan(job(tmp_path, "train", seed)) == plans[seed]
    assert len(set(plans.values())) > 40
    assert (
        corpus_job.Plan("mma", "june-fr", "sung").name(12) == "mma-00012-june-fr-sung"
    )


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_plans_hold_out_speakers_and_record_a_third(tmp_path, split):
    plans = [corpus_job.draw_plan(job(tmp_path, split, seed)) for seed in range(600)]
    assert {p.speaker for p in plans} == set(corpus_speakers.speakers(split))
    recorded = np.mean([p.style != "sung" for p in plans])
    assert 1 / 3 < recorded < 1 / 2
    for plan in plans:
        if plan.style != "sung":
            assert corpus_speakers.SPEAKERS[plan.speaker].phrases


def test_quantised_stems_add_up_and_keep_the_peak(rng):
    stems = rng.normal(size=(4, 5000))
    whole, mixture = corpus_mix.quantise(stems, 0.5)
    assert whole.dtype == mixture.dtype == np.int16
    np.testing.assert_array_equal(whole.sum(axis=0, dtype=int), mixture)
    peak = max(np.abs(whole.astype(int)).max(), np.abs(mixture.astype(int)).max())
    assert peak == pytest.approx(0.5 * 32767, abs=2)  # four roundings of a half


def test_quantise_leaves_silence_silent():
    whole, mixture = corpus_mix.quantise(np.zeros((4, 10)), 0.9)
    assert not whole.any()
    assert not mixture.any()


def test_opposed_stems_do_not_clip(rng):
    loud = rng.normal(size=5000)
    whole, _ = corpus_mix.quantise(np.stack([loud, -loud, 0 * loud, 0 * loud]), 0.95)
    assert np.abs(whole.astype(int)).max() <= 0.95 * 32767 + 1


def test_relative_levels_of_uncorrelated_stems():
    time = np.arange(RATE) / RATE
    stems = np.stack(
        [a * np.sin(2 * np.pi * f * time) for a, f in ((1, 100), (3, 200))]
    )
    # Energies 1 and 9 of 10.
    expected = 10 * np.log10([1 / 10, 9 / 10])
    np.testing.assert_allclose(corpus_mix.relative_levels(stems), expected, atol=1e-6)


def test_strict_mixes_are_balanced(rng):
    scales = np.array([[1.0], [1e-3], [50.0], [1.0]])
    stems = rng.normal(size=(4, 2 * RATE)) * scales
    for seed in range(20):
        whole, _ = corpus_mix.mix(stems, random.Random(seed), rate=RATE, strict=True)
        levels = corpus_mix.relative_levels(whole)
        assert np.all((levels >= -12) & (levels <= 3))


def test_mix_leaves_unused_stems_silent(rng):
    stems = rng.normal(size=(4, 2 * RATE)) * np.array([[1.0], [0], [0], [1]])
    whole, _ = corpus_mix.mix(stems, random.Random(1), rate=RATE, strict=True)
    assert whole[0].any()
    assert not whole[1:3].any()


def test_active_rms_leaves_rests_out(rng):
    noise = rng.normal(size=RATE)
    padded = np.concatenate([np.zeros(3 * RATE), noise, np.zeros(2 * RATE)])
    assert corpus_mix.active_rms(padded, RATE) == pytest.approx(
        np.sqrt((noise**2).mean())
    )


@pytest.mark.parametrize("stem", STEMS)
def test_effects_are_seeded_and_without_offset(rng, stem):
    y = rng.normal(size=2 * RATE) + 0.5
    for seed in range(8):
        first = corpus_mix.effects(y, random.Random(seed), stem, RATE)
        np.testing.assert_array_equal(
            first, corpus_mix.effects(y, random.Random(seed), stem, RATE)
        )
        assert first.shape == y.shape
        assert abs(first.mean()) < 0.02 * first.std()


def test_rest_is_silent_for_its_time_and_leaves_the_rest_alone():
    y = np.ones(10 * RATE)
    rested = corpus_mix.rest(y, random.Random(4), RATE)
    silent = (rested < 1e-9).mean()
    assert 0.09 < silent < 0.36
    assert (rested > 1 - 1e-9).mean() > 0.6
    assert np.all((rested >= -1e-9) & (rested <= 1 + 1e-9))


def test_bus_compression_lowers_what_is_loud(rng):
    y = rng.normal(size=4 * RATE)
    y[: 2 * RATE] *= 0.05
    gain = corpus_mix.bus_compression(y, random.Random(0), RATE)
    assert np.all((gain > 0) & (gain <= 1))
    assert gain[RATE : 2 * RATE].mean() > gain[3 * RATE :].mean()


def event(time, kind, note, velocity=90, stem="bass"):
    return corpus_scores.Event(
        time, stem, mido.Message(kind, note=note, velocity=velocity)
    )


def test_notes_pair_with_their_ends():
    events = [
        event(0.0, "note_on", 40),
        event(0.5, "note_on", 45),
        event(1.0, "note_on", 40, 0),  # velocity 0 ends a note
        event(1.5, "note_off", 45),
        event(3.0, "note_on", 47),  # hangs
    ]
    notes = corpus_synth.notes_of(events, 3.5)
    assert [(n.start, n.length, n.pitch) for n in notes] == [
        (0.0, 1.0, 40),
        (0.5, 1.0, 45),
        (3.0, 0.5, 47),
    ]


def test_chords_are_found_from_pitch_classes():
    histogram = np.zeros((2, 12))
    histogram[0, [0, 4, 7]] = 1  # C E G
    histogram[1, [9, 0, 4]] = 1  # A C E
    chords = corpus_scores.chords_of(histogram, 2.0)
    assert [(c.time, c.root, c.minor) for c in chords] == [(0, 0, False), (2, 9, True)]
    assert corpus_singer.tones_at(chords, 1.9) == {0, 4, 7}
    assert corpus_singer.tones_at(chords, 2.1) == {9, 0, 4}


@pytest.mark.parametrize("kind", ["saw", "square", "sub", "fm", "pluck"])
def test_tones_have_the_pitch_asked_for(kind, rng):
    patch = corpus_synth.Patch(kind, 0, 0.3, 1.0, 1.0, 0.01, 1.0, 0.5, 500.0, 0.5, 0)
    y = corpus_synth.tone(patch, 200.0, RATE, rng, RATE)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(RATE)))  # 1 Hz a bin
    peaks = spectrum[150:250].argmax() + 150
    assert peaks == pytest.approx(200, abs=3)  # a string's period is a whole number


def test_synthetic_kits_differ_by_seed_only():
    first, again, other = (
        corpus_synth.synthetic_kit(random.Random(seed), RATE) for seed in (1, 1, 2)
    )
    assert {"kick", "snare", "hat", "crash", "ride", "tom"} == set(first)
    for kind, hits in first.items():
        for hit, same in zip(hits, again[kind]):
            np.testing.assert_array_equal(hit, same)
            assert np.abs(hit).max() == pytest.approx(1)
    assert not np.array_equal(first["kick"][0], other["kick"][0])


def hum(seconds=1.5, hertz=150.0):
    """A buzzing voice-like clip, analysed."""
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = [np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 20)]
    return corpus_voices.analyse(0.2 * np.sum(harmonics, axis=0))


def test_singing_follows_the_chords_and_the_seed():
    clips = [hum()]
    chords = [corpus_scores.Chord(0.0, 9, False)]  # A major
    first, again, other = (
        corpus_singer.sing(clips, random.Random(seed), chords, 0.5, 6.0)
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (6 * RATE,)
    assert np.abs(first).max() > 0.01
    assert not np.array_equal(first, other)


def test_speech_is_placed_as_recorded():
    clip = hum()
    y = corpus_singer.say([clip], random.Random(3), 0.5, 5.0)
    start = np.flatnonzero(y)[0]
    assert start % int(0.25 * RATE) in (0, 1)  # on a half beat; sin(0) is 0
    start -= start % int(0.25 * RATE)
    np.testing.assert_array_equal(y[start : start + len(clip.audio)], clip.audio)


def test_trim_cuts_silence_and_sets_the_peak(rng):
    tone = 0.1 * rng.normal(size=RATE)
    clip = np.concatenate([np.zeros(RATE), tone, np.zeros(RATE)])
    trimmed = corpus_voices.trim(clip)
    assert abs(len(trimmed) - RATE) <= RATE // 50
    assert np.abs(trimmed).max() == pytest.approx(0.7)
    assert corpus_voices.trim(np.zeros(RATE)).size == 0


FIRST = corpus_job.draw_plan(job(pathlib.Path(), "train", 0)).name(0)


@pytest.mark.parametrize("place", [f"out/train/{FIRST}", "out/manifest.json"])
def test_a_folder_in_the_place_of_what_is_made_is_one_line(
    place, cache, tmp_path, capsys
):
    (tmp_path / place).mkdir(parents=True)
    arguments = command(tmp_path / "out", cache, "scores", "train", 1)
    assert make_corpus.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / place}: " in line
    files = [path for path in tmp_path.rglob("out/**/*") if path.is_file()]
    assert {path.name for path in files} <= {"manifest.json"}


def test_a_record_that_cannot_be_read_is_found_before_the_work(tmp_path, capsys):
    record = tmp_path / "train" / "x" / "song.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    assert make_corpus.main([str(tmp_path), "--count", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{record}: expected JSON" in line
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


@pytest.mark.parametrize("place", ["out", "out/train", "voices"])
def test_a_file_in_the_place_of_a_folder_is_one_line(place, tmp_path, capsys):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file")
    arguments = [str(tmp_path / "out"), "--cache", str(tmp_path / "voices")]
    assert make_corpus.main([*arguments, "--count", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {tmp_path / place}: expected a folder, got a file"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [
        tmp_path / place
    ]


def test_bad_options_exit_with_a_line(capsys):
    for bad in (
        ["out", "--count", "0"],
        ["out", "--count", "1000000000"],
        ["out", "--seconds", "1e300"],
        ["out", "--seconds", "nan"],
        ["out", "--first", "-5"],
        ["out", "--speech", "0"],
        ["out", "--split", "real"],
    ):
        with pytest.raises(SystemExit):
            make_corpus.parse(bad)
    assert "music only" in capsys.readouterr().err


# --- recorded instruments and mastering --------------------------------------------


@pytest.fixture(scope="module")
def instruments(tmp_path_factory):
    """A stand-in for the recorded instruments: one tone for all keys of each."""
    folder = tmp_path_factory.mktemp("instruments")
    for program in corpus_recorded.programs():
        path = folder / program.file
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * 261.63 * np.arange(32000) / 32000)
        soundfile.write(path.with_suffix(".ogg"), tone, 32000)
        path.write_text(f"<region> sample={path.stem}.wav pitch_keycenter=60\n")
    return folder


def some_events(stem, programs=(0,)):
    """Notes of a stem on a channel for each program."""
    events = []
    for channel, program in enumerate(programs):
        change = mido.Message("program_change", channel=channel, program=program)
        events.append(corpus_scores.Event(0.0, stem, change))
        for at, note in ((0.2, 40), (0.6, 90)):
            for kind, later in (("note_on", 0.0), ("note_off", 0.2)):
                message = mido.Message(kind, channel=channel, note=note, velocity=90)
                events.append(corpus_scores.Event(at + later, stem, message))
    return sorted(events, key=lambda event: event.time)


def test_half_of_the_songs_have_a_recorded_bass_and_a_third_a_guitar(instruments):
    drawn = {"bass": [], "other": [], "drums": []}
    take = corpus_recorded.Take(instruments, 1.0, RATE)
    for seed in range(300):
        for stem, draw in (
            ("bass", corpus_recorded.draw_bass),
            ("other", corpus_recorded.draw_lead),
            ("drums", corpus_recorded.draw_percussion),
        ):
            rng = random.Random(f"{stem}/{seed}")
            made = draw(rng, some_events(stem), take)
            drawn[stem].append(made and made[0])
    played = {stem: [name for name in names if name] for stem, names in drawn.items()}
    assert len(played["bass"]) / 300 == pytest.approx(1 / 2, abs=0.08)
    guitars = [name for name in played["other"] if name in corpus_recorded.GUITARS]
    assert len(guitars) / 300 == pytest.approx(1 / 3, abs=0.08)
    assert set(played["bass"]) == set(corpus_recorded.BASSES)
    assert set(guitars) == set(corpus_recorded.GUITARS)
    assert set(played["other"]) - set(guitars) == {"weresax"}
    assert set(played["drums"]) == set(corpus_recorded.PERCUSSION)


def test_a_recorded_guitar_takes_the_guitars_channel_and_leaves_the_rest(instruments):
    events = some_events("other", programs=(0, 27, 48))
    for seed in range(40):
        take = corpus_recorded.Take(instruments, 1.0, RATE)
        lead = corpus_recorded.draw_lead(random.Random(seed), events, take)
        if lead and lead[0] in corpus_recorded.GUITARS:
            assert {event.message.channel for event in lead[2]} == {0, 2}
            break
    else:
        pytest.fail("no guitar in 40 draws")


def test_pitches_are_folded_into_what_the_instrument_plays():
    low = corpus_recorded.Instrument("x.sfz", 28, 60)
    assert [corpus_recorded.fold(p, low) for p in (20, 28, 60, 61, 85)] == [
        32, 28, 60, 49, 49
    ]  # fmt: skip


def test_a_melody_has_one_note_at_a_time():
    note = corpus_synth.Note
    chords = [note(0, 1, 60, 90), note(0, 1, 67, 90), note(0.5, 1, 64, 90)]
    melody = corpus_recorded.highest(chords)
    assert [(n.start, n.length, n.pitch) for n in melody] == [
        (0, 0.5, 67),
        (0.5, 1, 64),
    ]


def test_instruments_that_are_incomplete_are_one_line(instruments, tmp_path, capsys):
    corpus_recorded.check(instruments)  # raises nothing
    arguments = ["--count", "1", "--instruments", str(tmp_path / "absent")]
    assert make_corpus.main([str(tmp_path / "out"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected the recorded instruments that data/CORPUS.md lists" in line
    assert not (tmp_path / "out").exists()


@packages
def test_only_training_songs_have_recorded_instruments(instruments, cache, monkeypatch):
    for share in ("BASS_SHARE", "GUITAR_SHARE", "PERCUSSION_SHARE"):
        monkeypatch.setattr(corpus_recorded, share, 1.0)
    with_them = dataclasses.replace(job(cache, "test", 0), instruments=instruments)
    record, stems, _ = corpus_song.make(with_them)
    plain_record, plain, _ = corpus_song.make(job(cache, "test", 0))
    assert record == plain_record
    np.testing.assert_array_equal(stems, plain)
    train = dataclasses.replace(job(cache, "train", 0), instruments=instruments)
    record, stems, mixture = corpus_song.make(train)
    assert record["banks"]["bass"] in corpus_recorded.BASSES
    assert record["banks"]["other"].split("+")[-1] in corpus_recorded.GUITARS
    assert record["banks"]["drums"].split("+")[-1] in corpus_recorded.PERCUSSION
    np.testing.assert_array_equal(stems.sum(axis=0), mixture)
    # And so that it can be repeated.
    np.testing.assert_array_equal(corpus_song.make(train)[1], stems)


def test_the_limiter_lets_no_peak_through_and_moves_all_stems_alike(rng):
    stems = rng.normal(0, 0.1, (4, 2 * RATE)) * np.linspace(0.2, 2, 2 * RATE)
    mixture = stems.sum(axis=0)
    ceiling = 0.3 * np.abs(mixture).max()
    gain = corpus_mix.limiter(mixture, ceiling, 0.02, RATE)
    assert gain.shape == mixture.shape
    assert gain.min() > 0
    assert gain.max() <= 1 + 1e-9
    assert np.abs((stems * gain).sum(axis=0)).max() <= ceiling * (1 + 1e-9)
    # Where nothing is loud within reach, nothing changes.
    quiet = np.convolve(np.abs(mixture) > ceiling, np.ones(RATE // 10), "same") < 0.5
    assert quiet.any()
    np.testing.assert_allclose(gain[quiet], 1, atol=1e-9)


def test_a_third_of_the_songs_is_mastered_and_its_stems_still_sum(rng):
    stems = rng.normal(0, 0.1, (4, 2 * RATE)) * rng.uniform(0, 3, 2 * RATE) ** 3
    crest, loud = [], 0
    for seed in range(200):
        whole, mixture = corpus_mix.mix(
            stems,
            random.Random("mix"),
            rate=RATE,
            strict=False,
            master=random.Random(seed),
        )
        np.testing.assert_array_equal(whole.astype(int).sum(axis=0), mixture)
        crest.append(np.abs(mixture).max() / mixture.std(dtype=float))
        # From 0.1 to 1 dB below full scale.
        loud += max(abs(whole).max(), abs(mixture).max()) > 0.89 * 32767
    plain = max(crest)  # of the songs that are not mastered
    mastered = [one for one in crest if one < 0.9 * plain]
    assert len(mastered) / 200 == pytest.approx(1 / 3, abs=0.1)
    assert loud >= len(mastered)


# --- stereo --------------------------------------------------------------------------


def test_a_place_keeps_the_power_and_says_where_it_is(rng):
    y = rng.normal(size=1000)
    np.testing.assert_array_equal(corpus_mix.place(y, 0.3, 1), y)
    for position, left, right in ((-1, 2, 0), (0, 1, 1), (1, 0, 2)):
        placed = corpus_mix.place(y, position, 2)
        np.testing.assert_allclose(
            (placed**2).mean(axis=1), np.array([left, right]) * (y**2).mean(), atol=1e-9
        )
    np.testing.assert_array_equal(corpus_mix.place(placed, 0.3, 2), placed)
    np.testing.assert_allclose(corpus_mix.loudness(placed), np.abs(y))


@pytest.mark.slow
@packages
@pytest.mark.parametrize(("source", "split"), [("scores", "train"), ("music", "real")])
def test_stereo_songs_are_the_same_songs(source, split, cache, instruments, tmp_path):
    options = command(tmp_path / "stereo", cache, source, split, 2, "--stereo")
    assert make_corpus.main([*options, "--instruments", str(instruments)]) == 0
    manifest = json.loads((tmp_path / "stereo" / "manifest.json").read_text())
    assert manifest["sample_rate"] == 44100
    sides = 0.0
    for record, folder in songs_of(tmp_path / "stereo"):
        mono_job = dataclasses.replace(
            job(cache, split, record["seed"], source), instruments=instruments
        )
        mono_record, mono, _ = corpus_song.make(mono_job)
        for key in ("name", "score", "banks", "speaker"):
            assert record.get(key) == mono_record.get(key)
        waves = read(folder)
        info = soundfile.info(folder / "mixture.wav")
        assert (info.samplerate, info.channels) == (44100, 2)
        assert info.frames == SECONDS * 44100
        mixture = waves.pop("mixture")
        np.testing.assert_array_equal(sum(waves.values()), mixture)
        for stem, wave in waves.items():
            if not wave.any():
                continue
            sides += np.abs(wave[:, 0] - wave[:, 1]).mean()
            # It sounds at the same times: levels of tenths of a second go together.
            row = STEMS.index("other" if stem == "accompaniment" else stem)
            levels = [
                np.sqrt((y.astype(float) ** 2).reshape(100, -1).mean(axis=1))
                for y in (wave.mean(axis=1), mono[row])
            ]
            assert np.corrcoef(*levels)[0, 1] > 0.8, (record["name"], stem)
    assert sides > 10


@packages
def test_mono_and_stereo_songs_need_a_folder_each(cache, tmp_path, capsys):
    (tmp_path / "manifest.json").write_text('{"sample_rate": 16000, "songs": []}')
    options = command(tmp_path, cache, "scores", "test", 1, "--stereo")
    assert make_corpus.main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected songs at 44100 Hz, got 16000 Hz" in line
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
