"""--report: what it says, and where it and a page of --html are refused."""

import hashlib
import json
import os

import numpy as np
import pytest
import soundfile

from sswavenet.config.document import parse_config
from sswavenet.separation.command import in_words
from sswavenet.separation.report import Counts
from tests.support import STEMS, make_tone, stems_of, tiny_document


def test_the_report_says_what_became_of_each_file(infer, session, folder, tmp_path):
    make_tone(folder / "song.wav", 441, 44100, 2)
    soundfile.write(folder / "loud.wav", [4.5] * 10, 16000, "FLOAT")
    (folder / "bad.wav").write_text("not audio")
    path = tmp_path / "report.json"
    assert infer(folder, f"--report={path}")[0] == 1
    report = json.loads(path.read_text())
    assert report["complete"] is True
    assert parse_config(report["config"]) == parse_config(tiny_document())
    (checkpoint,) = (session / "checkpoints").iterdir()
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert report["checkpoint"] == {"path": str(checkpoint), "sha256": digest}
    assert report["arguments"]["subtype"] == "PCM_16"
    assert report["versions"]["numpy"] == np.__version__
    bad, loud, song = report["files"]
    assert (bad["status"], bad["stems"]) == ("failed", {})
    assert "bad.wav: expected an audio file" in bad["message"]
    assert loud["stems"]["vocals"]["clipped"] == 10
    assert (song["status"], song["frames"], song["sample_rate"]) == (
        "separated",
        441,
        44100,
    )
    assert song["seconds"] > 0
    for stem, samples in zip(STEMS, stems_of(tmp_path / "out")):
        entry = song["stems"][stem]
        assert entry["path"] == str(tmp_path / "out" / f"song_{stem}.wav")
        assert entry["frames"] == 441
        expected = hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()
        assert entry["sha256"] == expected


@pytest.mark.parametrize("flag", ["--report", "--html"])
def test_a_report_that_cannot_be_written_is_refused_first(
    flag, infer, folder, tmp_path
):
    make_tone(folder / "song.wav")
    for place in (folder / "song.wav" / "deep" / "r.json", folder):
        status, (line,) = infer(folder, f"{flag}={place}")
        assert status == 2
        assert f"cannot write {place}: " in line
        assert not (tmp_path / "out").exists()
    assert (
        f"expected {folder / 'song.wav'} to be a folder"
        in infer(folder, f"{flag}={folder / 'song.wav' / 'r.json'}")[1][0]
    )


def test_a_missing_folder_of_the_report_is_made(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    for place in (tmp_path / "out", tmp_path / "a" / "b"):
        flags = [f"--report={place / 'r.json'}", "--overwrite"]
        assert infer(folder, *flags) == (0, [])
        assert json.loads((place / "r.json").read_text())["complete"] is True


@pytest.mark.parametrize("flag", ["--report", "--html"])
@pytest.mark.parametrize("name", ["in/song.wav", "session/config.json", "link.json"])
def test_a_report_in_the_place_of_an_input_is_refused(
    flag, infer, folder, tmp_path, name
):
    make_tone(folder / "song.wav")
    (tmp_path / "link.json").symlink_to(folder / "song.wav")
    before = (tmp_path / name).read_bytes()
    status, (line,) = infer(folder, f"{flag}={tmp_path / name}")
    assert status == 2
    assert "is an input and would be overwritten" in line
    assert (tmp_path / name).read_bytes() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--report", "--html"])
@pytest.mark.parametrize("flags", [[], ["--stems=vocals"]])
def test_a_report_in_the_place_of_a_stem_is_refused(
    flag, infer, folder, tmp_path, flags
):
    make_tone(folder / "song.wav")
    report = tmp_path / "out" / "song_drums.wav"
    status, (line,) = infer(folder, f"{flag}={report}", *flags)
    assert status == 2
    assert "song_drums.wav is a stem and would be overwritten" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--report", "--html"])
def test_a_report_in_a_folder_of_stems_to_come_is_refused(
    flag, infer, session, folder, tmp_path
):
    make_tone(folder / "song.wav")
    (tmp_path / "link").symlink_to(session / "samples")
    for place in (session / "samples", tmp_path / "link"):
        report = place / "samples_1" / "song_bass.wav"
        status, (line,) = infer(folder, f"{flag}={report}", output=None)
        assert status == 2
        assert f"expected a report outside the folders in {session / 'samples'}" in line
    assert not (session / "samples").exists()
    report = session / "samples" / "report.json"
    assert infer(folder, f"--report={report}", output=None) == (0, [])
    assert json.loads(report.read_text())["complete"] is True


def test_a_report_is_written_at_the_end_of_a_link(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "report.json").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "report.json")
    assert infer(folder, f"--report={tmp_path / 'link'}")[0] == 0
    assert (tmp_path / "link").is_symlink()
    report = json.loads((tmp_path / "elsewhere" / "report.json").read_text())
    assert [file["status"] for file in report["files"]] == ["separated"]


@pytest.mark.parametrize("flag", ["--report", "--html"])
def test_a_report_in_the_place_of_a_pipe_or_folder_is_refused(
    flag, infer, folder, tmp_path
):
    make_tone(folder / "song.wav")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link", "in"):
        status, (line,) = infer(folder, f"{flag}={tmp_path / name}")
        assert status == 2
        assert f"cannot write {tmp_path / name}: expected a file or nothing" in line
    assert (tmp_path / "pipe").is_fifo()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wall_seconds", "speed"),
    [(8, "1.2"), (80, "0.1"), (250, "0.04"), (100_000, "0.0001")],
)
def test_a_slow_run_has_a_speed_above_zero(wall_seconds, speed):
    counts = Counts("out", 1, 1, 0, 10.0, wall_seconds)
    assert in_words(counts).endswith(f" s, {speed} x real time\n")
