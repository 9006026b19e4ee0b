"""What of a folder is a mixture, and what is left out."""

import json
import os
import shutil
import subprocess

import pytest
import soundfile

import util
from sswavenet.separation import engine, inputs
from sswavenet.separation.inputs import find_mixtures
from tests.support import base_session, make_tone, stems_of, write_session, written


def test_output_within_the_input_is_not_taken_for_mixtures(infer, folder):
    make_tone(folder / "song.wav")
    out = folder / "deep" / "stems"
    for flags in ([], ["--overwrite"]):
        assert infer(folder, "--recursive", *flags, output=out) == (0, [])
        assert len(written(folder)) == 5


@pytest.mark.parametrize("flags", [(), ("--recursive",)])
def test_a_run_into_the_input_folder_can_go_on(flags, infer, folder):
    make_tone(folder / "song.wav")
    assert infer(folder, *flags, output=folder) == (0, [])
    assert len(written(folder)) == 5

    def times():
        return {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    before = times()
    for more in ([], ["--overwrite"]):
        status, (line,) = infer(folder, *flags, *more, output=folder)
        assert status == 2
        assert "song_vocals.wav lies among the mixtures, but is a stem" in line
        assert "--skip_existing" in line
    assert infer(folder, *flags, "--skip_existing", output=folder) == (0, [])
    assert times() == before
    make_tone(folder / "new.wav", 70)
    assert infer(folder, *flags, "--skip_existing", output=folder) == (0, [])
    assert [len(stem) for stem in stems_of(folder, "new")] == [70] * 4
    assert len(written(folder)) == 10
    assert before.items() <= times().items()


@pytest.fixture
def lengths(monkeypatch):
    """What the network of a run is chosen for."""
    found = []

    class Noted(engine.Networks):
        def __init__(self, network, mixture_lengths, options):
            found.extend(mixture_lengths)
            super().__init__(network, mixture_lengths, options)

    monkeypatch.setattr("sswavenet.separation.folder.Networks", Noted)
    return found


def test_what_cannot_be_read_says_no_length_for_the_others(
    infer, folder, tmp_path, lengths
):
    (folder / "junk.wav").write_bytes(bytes(5000))
    make_tone(folder / "song.wav")
    status, (line,) = infer(folder)
    assert (status, lengths) == (1, [0])
    assert "junk.wav" in line
    assert [len(stem) for stem in stems_of(tmp_path / "out")] == [100] * 4


def test_a_file_that_ends_before_a_part_says_no_length_for_the_others(
    infer, folder, tmp_path, lengths
):
    make_tone(folder / "short.wav", 1600, channels=8)
    make_tone(folder / "song.wav", 6400)
    status, (line,) = infer(folder, "--start=0.1")
    assert (status, lengths) == (1, [0])
    assert "short.wav" in line
    assert [len(stem) for stem in stems_of(tmp_path / "out")] == [4800] * 4


def test_a_part_is_chosen_for_with_what_is_heard_beside_it(infer, folder, lengths):
    make_tone(folder / "song.wav", 6400)
    assert infer(folder, "--start=0.1", "--duration=0.1") == (0, [])
    (length,) = lengths
    assert 1600 < length < 1700


def test_a_file_that_does_not_say_its_length_is_separated_to_the_end(
    infer, folder, tmp_path, lengths, require_av
):
    path = folder / "song.flac"
    make_tone(path, 6400)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # 36 bits of STREAMINFO, as a writer to a pipe leaves them
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert infer(folder) == (0, [])
    assert lengths == [0]
    assert [len(stem) for stem in stems_of(tmp_path / "out")] == [6400] * 4


def test_a_run_for_fewer_stems_knows_all_of_an_earlier_one(infer, folder):
    make_tone(folder / "song.wav")
    assert infer(folder, output=folder) == (0, [])
    before = written(folder)
    make_tone(folder / "new.wav")
    flags = ["--stems=vocals", "--skip_existing"]
    assert infer(folder, *flags, output=folder) == (0, [])
    assert written(folder) == sorted([*before, "new.wav", "new_vocals.wav"])


def test_the_stems_of_another_task_are_no_mixtures(infer, session, folder):
    make_tone(folder / "song.wav")
    assert infer(folder, output=folder) == (0, [])
    before = written(folder)
    shutil.rmtree(session)
    write_session(session, *base_session("singing-voice"))
    status, (line,) = infer(folder, output=folder)
    assert status == 2
    assert "song_vocals.wav lies among the mixtures, but is a stem" in line
    assert infer(folder, "--skip_existing", output=folder) == (0, [])
    assert written(folder) == sorted([*before, "song_accompaniment.wav"])


def test_what_may_be_a_stem_is_not_taken_for_a_mixture(infer, folder):
    make_tone(folder / "song.wav")
    assert infer(folder, "--stems=vocals", output=folder) == (0, [])
    before = written(folder)
    flags = ["--stems=drums", "--skip_existing"]
    status, (line,) = infer(folder, *flags, output=folder)
    assert status == 2
    assert "song_vocals.wav lies among the mixtures, but has the name of a stem" in line
    assert written(folder) == before


def test_the_sessions_own_samples_are_not_taken_for_mixtures(
    infer, session, folder, tmp_path
):
    make_tone(folder / "song.wav")
    for number in (1, 2):
        assert infer(tmp_path, "--recursive", output=None) == (0, [])
        assert len(written(session / "samples" / f"samples_{number}")) == 4


def test_what_is_left_out_of_a_folder_is_said(
    infer, folder, tmp_path, caplog, monkeypatch
):
    # As without PyAV.
    monkeypatch.setattr(inputs, "EXTENSIONS", frozenset({".wav"}))
    media = {".wma", ".m4a", ".mov", ".mkv", ".mp2"}
    monkeypatch.setattr(inputs, "UNREADABLE", frozenset(media))
    make_tone(folder / "song.wav")
    for name in ("cover.jpg", ".z.wma", "list.m3u"):
        (folder / name).touch()
    report = tmp_path / "report.json"
    flags = ["--recursive", f"--report={report}"]
    assert infer(folder, *flags, output=tmp_path / "one") == (0, [])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    assert json.loads(report.read_text())["left_out"] == []
    (folder / "deep").mkdir()
    for name in ("z.wma", "b.M4A", "deep/v.mov", "w.mkv", "r.mp2"):
        (folder / name).touch()
    (tmp_path / "album").mkdir()
    (folder / "link").symlink_to(tmp_path / "album")
    os.mkfifo(folder / "pipe.wav")
    assert infer(folder, *flags, output=tmp_path / "two") == (0, [])
    names = ("b.M4A", "deep/v.mov", "r.mp2", "w.mkv", "z.wma")
    reasons = dict.fromkeys(names, "a format that cannot be read")
    reasons |= {"link": "a link to a folder", "pipe.wav": "a pipe or a device"}
    expected = sorted((str(folder / name), why) for name, why in reasons.items())
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    text = ", ".join(f"{place} ({why})" for place, why in expected)
    assert line == f"left out: {text}"
    entries = json.loads(report.read_text())["left_out"]
    assert entries == [{"path": place, "reason": why} for place, why in expected]


@pytest.mark.parametrize("form", ["wav", "flac", "ogg"])
def test_a_path_may_be_longer_than_libsndfile_takes(form, infer, folder, tmp_path):
    place = folder.joinpath(*["d" * 200] * 6)
    place.mkdir(parents=True)
    make_tone(tmp_path / "song.wav", 500)
    (tmp_path / "song.wav").rename(place / "song.wav")
    assert infer(folder, "--recursive", f"--format={form}") == (0, [])
    assert len(list((tmp_path / "out").rglob(f"*.{form}"))) == 4


def test_folders_of_any_depth_are_looked_into(tmp_path):
    """Deeper than Python's own recursion goes."""
    place = tmp_path / "/".join("d" * 1200)
    util.make_folder(place)
    (place / "song.wav").touch()
    (mixture,) = find_mixtures(tmp_path, recursive=True).mixtures
    assert mixture.path == place / "song.wav"
    assert mixture.name == os.fspath(place.relative_to(tmp_path) / "song")
    # pytest itself would remove them by recursion
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_many_files_do_not_delay_the_first(infer, folder, tmp_path, monkeypatch):
    """What costs time for each file: to open it, to look at it, to resolve its path."""
    make_tone(folder / "a.wav")
    for k in range(300):
        os.link(folder / "a.wav", folder / f"{k:03d}.wav")
    counts = {"open": 0, "stat": 0, "realpath": 0}

    class First(BaseException):
        pass

    def counting(name, real):
        def count(path, *arguments, **options):
            # What a test before this one left to the collector looks at files, too.
            counts[name] += str(path).startswith(str(folder))
            return real(path, *arguments, **options)

        return count

    def first(*_, **__):
        raise First

    monkeypatch.setattr(soundfile, "info", counting("open", soundfile.info))
    monkeypatch.setattr(os, "stat", counting("stat", os.stat))
    monkeypatch.setattr(os.path, "realpath", counting("realpath", os.path.realpath))
    monkeypatch.setattr("sswavenet.separation.folder.separate_file", first)
    with pytest.raises(First):
        infer(folder, f"--report={tmp_path / 'report.json'}")
    assert counts["open"] <= 1
    assert counts["realpath"] < 100
    assert counts["stat"] < 2 * 301


def test_what_may_be_a_mixture_is_not_taken_for_a_stem(infer, folder):
    for name in ("song", "song_bass", "song_vocals"):
        make_tone(folder / f"{name}.wav")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    status, (line,) = infer(folder, "--skip_existing", output=folder)
    assert status == 2
    assert "song_vocals.wav is a mixture and would be overwritten" in line
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_pipes_are_not_opened(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    os.mkfifo(folder / "pipe.wav")
    (folder / "link.wav").symlink_to(folder / "pipe.wav")
    assert infer(folder) == (0, [])
    assert len(written(tmp_path / "out")) == 4
    status, (line,) = infer(folder / "pipe.wav")
    assert status == 2
    assert "expected an audio file or a folder" in line
