"""The command that makes the corpus: its options, faults, signals and stereo."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from tests.corpus.support import (
    DATA,
    SECONDS,
    STEMS,
    command,
    corpus_job,
    corpus_recorded,
    corpus_song,
    corpus_sources,
    job,
    make_corpus,
    packages,
    read,
    songs_of,
)


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


def test_instruments_that_are_incomplete_are_one_line(instruments, tmp_path, capsys):
    corpus_recorded.check(instruments)  # raises nothing
    arguments = ["--count", "1", "--instruments", str(tmp_path / "absent")]
    assert make_corpus.main([str(tmp_path / "out"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected the recorded instruments that data/CORPUS.md lists" in line
    assert not (tmp_path / "out").exists()


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
