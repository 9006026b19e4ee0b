"""Where stems go, what is replaced, kept and refused."""

import json
import re

import pytest

import util
from sswavenet.separation import outputs
from sswavenet.separation.folder import separate_all
from sswavenet.separation.inputs import find_mixtures
from sswavenet.separation.options import Options
from tests.support import (
    STEMS,
    as_nobody,
    fake_engine,
    make_tone,
    stems_of,
    tiny_config,
    without_network,
    written,
)
from util import UserError


def test_a_read_only_folder_is_refused():
    with as_nobody() as place:
        (place / "out").mkdir(mode=0o500)
        with pytest.raises(UserError, match="cannot make the folder"):
            outputs.output_folder(place / "out" / "deeper")
        with (
            pytest.raises(UserError, match="cannot write"),
            util.replacing(place / "out" / "a.wav"),
        ):
            pass
        (place / "out").chmod(0o700)


def test_a_read_only_folder_is_refused_before_computing(session, monkeypatch):
    def compute(*_, **__):
        raise AssertionError("a mixture was opened")

    engine = fake_engine(tiny_config())

    def separated(place, **flags):
        return separate_all(
            find_mixtures(place / "song.wav").mixtures,
            engine,
            Options(output_path=place / "out", **flags),
            session,
        )

    with as_nobody() as place:
        make_tone(place / "song.wav")
        (place / "out").mkdir()
        for stem in STEMS:
            make_tone(place / "out" / f"song_{stem}.wav")
        monkeypatch.setattr("sswavenet.separation.folder.separate_file", compute)
        (place / "out").chmod(0o500)
        with pytest.raises(UserError, match=r"cannot write into the folder .*out: "):
            separated(place, overwrite=True)
        # Where nothing is to be written, nothing need be writable.
        assert separated(place, skip_existing=True).num_skipped == 1
        (place / "out").chmod(0o700)


def test_a_missing_output_folder_is_made(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    assert infer(folder, output=tmp_path / "a" / "b") == (0, [])
    assert len(written(tmp_path / "a" / "b")) == 4


def test_existing_stems_are_refused_before_computing(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    make_tone(folder / "z.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "z_bass.wav").write_text("mine")
    status, (line,) = infer(folder)
    assert status == 2
    assert "z_bass.wav exists; --overwrite" in line
    assert "--skip_existing" in line
    assert written(tmp_path / "out") == ["z_bass.wav"]


def test_overwrite_replaces(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "song_bass.wav").write_text("old")
    assert infer(folder, "--overwrite") == (0, [])
    assert len(stems_of(tmp_path / "out")[2]) == 100


def test_skip_existing_leaves_out_what_is_complete(infer, folder, tmp_path):
    for name in ("a", "b", "c"):
        make_tone(folder / f"{name}.wav")
    assert infer(folder) == (0, [])
    out = tmp_path / "out"
    (out / "b_drums.wav").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.wav")}
    report = tmp_path / "report.json"
    assert infer(folder, "--skip_existing", f"--report={report}") == (0, [])
    assert len(written(out)) == 12
    changed = {path.name[0] for path, time in before.items()
               if path.stat().st_mtime_ns != time}  # fmt: skip
    assert changed == {"b"}
    files = json.loads(report.read_text())["files"]
    assert [file["status"] for file in files] == ["skipped", "separated", "skipped"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--overwrite", "--skip_existing"], "exclude each other"),
        (["--skip_existing"], "needs --output_path"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message, infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    output = tmp_path / "out" if len(flags) == 2 else None
    status, (line,) = infer(folder, *flags, output=output)
    assert status == 2
    assert message in line


def test_what_a_killed_run_left_is_removed(infer, folder, tmp_path):
    (folder / "deep").mkdir()
    for path in (folder / "song.wav", folder / "deep" / "song.wav"):
        make_tone(path)
    left = [tmp_path / "out" / util.PARTIAL, tmp_path / "out" / "deep" / util.PARTIAL]
    for place in left:
        place.mkdir(parents=True)
        (place / "new.wav").touch()
    assert infer(folder, "--recursive") == (0, [])
    assert len(written(tmp_path / "out")) == 8
    assert not any(place.exists() for place in left)


def test_the_last_lines_say_what_was_written(session, folder, tmp_path, capsys):
    def run(path, *flags):
        arguments = [f"--config={session / 'config.json'}", *flags]
        with without_network() as main:
            main(["--mode=inference", *arguments, f"--mixture_input_path={path}"])
        return capsys.readouterr().out.splitlines()

    (folder / "bad.wav").write_text("not audio")
    assert run(folder) == ["no stems were written", "0 of 1 files"]
    make_tone(folder / "song.wav", 16000)
    out = f"--output_path={tmp_path / 'out'}"
    where, counts = run(folder, out)
    assert where == f"stems in {tmp_path / 'out'}"
    speed = r"\d+\.\d+ x real time"
    assert re.fullmatch(f"1 of 2 files, 1.0 s of audio in .* s, {speed}", counts)
    (folder / "bad.wav").unlink()
    assert run(folder, out, "--skip_existing") == [
        "no stems were written",
        "0 of 1 files, 1 skipped",
    ]


def test_skip_existing_does_not_take_dangling_links_for_stems(infer, folder, tmp_path):
    make_tone(folder / "song.wav")
    out = tmp_path / "out"
    out.mkdir()
    for stem in STEMS:
        (out / f"song_{stem}.wav").symlink_to(tmp_path / "gone")
    assert infer(folder, "--skip_existing") == (0, [])
    assert [len(stem) for stem in stems_of(out)] == [100] * 4
