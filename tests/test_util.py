"""Files: all or nothing; JSON: clear errors."""

import os
import pathlib
import stat
import subprocess
import sys

import pytest

import util
from util import UserError


def test_replacing_renames_on_success_only(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with util.replacing(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"

    def fail_halfway():
        with util.replacing(path) as temporary:
            temporary.write_text("second")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert path.read_text() == "first"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_leftovers_of_killed_processes_are_removed_and_others_are_not(tmp_path):
    deep = tmp_path / "deep"
    (tmp_path / "mine.wav").touch()
    writing = """
import pathlib, sys, time
import util
with util.replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", writing, str(deep / name)],
            cwd=pathlib.Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a.wav", "b.wav")
    ]
    killed, alive = (pathlib.Path(child.stdout.readline()[:-1]) for child in children)
    children[0].kill()
    children[0].communicate()
    util.remove_leftovers(deep)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [
        tmp_path / "mine.wav",
        alive,
    ]
    assert not killed.parent.exists()
    children[1].kill()
    children[1].communicate()
    util.remove_leftovers(deep)
    assert not any(deep.iterdir())
    util.remove_leftovers(tmp_path / "none")


def test_a_folder_that_was_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    real, made = util.tempfile.mkdtemp, []

    def taken(**options):
        made.append(real(**options))
        if len(made) == 1:
            util.remove_leftovers(tmp_path)
        return made[-1]

    monkeypatch.setattr(util.tempfile, "mkdtemp", taken)
    util.write_json(tmp_path / "a.json", 1)
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(util, "fcntl", None)
    (tmp_path / f"{util.PARTIAL}x").mkdir()
    util.write_json(tmp_path / "a.json", 1)
    util.remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_replacing_makes_files_that_others_may_read(tmp_path):
    (tmp_path / "plain").write_text("")
    with util.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("text")
    mode = (tmp_path / "a.txt").stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_json_is_read_back(tmp_path):
    document = {"b": [1, 2.5], "a": {"é": None}}
    util.write_json(tmp_path / "a.json", document)
    assert util.read_json(tmp_path / "a.json") == document


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected JSON"),
        (b"", "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        (b'{"b": {"a": 1, "c": 2, "a": 3}}', "got the key 'a' twice"),
        (b"[" * 100000, "nested too deeply"),
        (b" " * (util.MAX_JSON_BYTES + 1), "at most"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_json_is_refused_by_name(content, message, tmp_path):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        util.read_json(tmp_path / "a.json")
    assert "a.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pipe", "got a folder, a pipe or a device"),
        (".", "got a folder, a pipe or a device"),
        ("/dev/zero", "got a folder, a pipe or a device"),
        ("/proc/self/pagemap", "at most"),  # says it has 0 bytes; it has gigabytes
    ],
)
def test_what_has_no_end_is_refused(name, message, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / name
    if not path.exists():
        pytest.skip(f"needs {name}")
    with pytest.raises(UserError, match=message):
        util.read_json(path)


def test_a_user_without_a_home_folder_is_told(monkeypatch):
    def no_entry(_):
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    with pytest.raises(UserError, match="set HOME, or XDG_CACHE_HOME"):
        util.cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert util.cache_folder() == pathlib.Path("/somewhere/sswavenet")
