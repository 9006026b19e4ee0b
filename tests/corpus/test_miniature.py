"""The miniature corpus: two minutes of songs, where the Debian packages are."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile

import main
from tests.corpus.support import (
    MINIATURE,
    RATE,
    SECONDS,
    STEMS,
    command,
    corpus_song,
    corpus_sources,
    corpus_speakers,
    job,
    make_corpus,
    packages,
    read,
    songs_of,
)
from tests.support import copy_golden_session

pytestmark = [pytest.mark.slow, packages]  # to make it takes half a minute


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


def test_mixture_is_the_exact_sum_without_clipping(miniature):
    for source in ("scores", "music"):
        for _, song in songs_of(miniature / source):
            waves = read(song)
            mixture = waves.pop("mixture")
            np.testing.assert_array_equal(sum(waves.values()), mixture)
            assert np.abs(mixture).max() < 32767


def test_stems_play_and_have_no_offset(miniature):
    for record, song in songs_of(miniature / "scores"):
        waves = read(song)
        for stem in STEMS:
            assert np.abs(waves[stem]).max() > 100, (record["name"], stem)
            assert abs(waves[stem].mean()) < 0.01 * waves[stem].std()


def test_of_produced_music_only_vocals_and_accompaniment_are_known(miniature):
    for record, song in songs_of(miniature / "music"):
        waves = read(song)
        assert set(waves) == {"mixture", "vocals", "accompaniment"}
        assert set(record["levels_db"]) == {"vocals", "accompaniment"}
        assert np.abs(waves["accompaniment"]).max() > 100
        assert np.abs(waves["vocals"]).max() > 100


def test_manifest_has_the_levels_of_the_files(miniature):
    for record, song in songs_of(miniature / "scores"):
        waves = read(song)
        energy = {name: float((wave**2).sum()) for name, wave in waves.items()}
        for stem in STEMS:
            level = 10 * np.log10(energy[stem] / energy["mixture"])
            assert record["levels_db"][stem] == pytest.approx(level, abs=0.01)
        if record["split"] != "train":
            assert all(-12 <= level <= 3 for level in record["levels_db"].values())


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


def test_the_test_songs_can_be_evaluated(miniature, tmp_path):
    session = copy_golden_session(tmp_path / "session", "multi-instrument")
    arguments = ["--mode", "evaluation", "--config", str(session / "config.json")]
    tree = shutil.copytree(miniature / "scores", tmp_path / "tree")
    arguments += ["--dataset_path", str(tree)]
    assert main.main([*arguments, "-j", "2", "--oracle", "--metrics", "si_sdr"]) == 0
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


def test_real_songs_hold_recorded_speech_over_kept_out_tracks(miniature):
    real = [r for r, _ in songs_of(miniature / "music") if r["split"] == "real"]
    for record in real:
        assert record["style"] == "said"
        assert record["speaker"] in corpus_speakers.REAL_SPEAKERS
        assert record["score"] in corpus_sources.REAL_TRACKS


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
