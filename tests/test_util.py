"""Files: all or nothing; JSON: clear errors."""

import errno
import os
import pathlib
import stat
import subprocess
import sys
import tempfile

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


NAMES = ("a.wav", "b.wav", "c.wav")


@pytest.fixture(params=["hard links", "no hard links"])
def links(request, monkeypatch):
    """File systems of both kinds."""

    def link(*_, **__):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", link)


def put(folder, text, **options):
    """Write files of the three names, backwards, which take them in order."""
    finals = [folder / name for name in reversed(NAMES)]
    with util.replacing_all(finals, **options) as temporaries:
        for path in temporaries:
            path.write_text(text)


def texts(folder):
    """What each file of a folder holds, hidden folders' too."""
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_set_replaces_what_is_there(links, tmp_path):
    (tmp_path / "a.wav").write_text("old")
    (tmp_path / "b.wav").symlink_to("nowhere")
    put(tmp_path, "new")
    assert texts(tmp_path) == dict.fromkeys(NAMES, "new")


@pytest.mark.parametrize("name", NAMES)
def test_a_set_stays_old_where_one_file_cannot_be_replaced(
    name, links, tmp_path, monkeypatch
):
    (tmp_path / "a.wav").symlink_to("nowhere")
    for old in ("b.wav", name):
        (tmp_path / old).unlink(missing_ok=True)
        (tmp_path / old).write_text("old")
    before = {path: path.lstat() for path in tmp_path.iterdir()}
    replace = pathlib.Path.replace

    def fail(self, target):
        if target.name == name and self.name.startswith("new"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return replace(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(UserError, match=f"cannot write .*{name}: Operation not perm"):
        put(tmp_path, "new")
    after = {path: path.lstat() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    for path, state in before.items():
        assert (after[path].st_mode, after[path].st_mtime_ns, after[path].st_size) == (
            state.st_mode,
            state.st_mtime_ns,
            state.st_size,
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_set_of_new_names_replaces_nothing(name, links, tmp_path):
    def appears():
        finals = [tmp_path / name for name in NAMES]
        with util.replacing_all(finals, old=()) as temporaries:
            for path in temporaries:
                path.write_text("new")
            (tmp_path / name).write_text("mine")

    with pytest.raises(UserError, match=f"{name}: something else has got this name"):
        appears()
    assert texts(tmp_path) == {name: "mine"}
    (tmp_path / name).unlink()
    put(tmp_path, "new", old=())
    assert texts(tmp_path) == dict.fromkeys(NAMES, "new")


def test_of_two_runs_for_the_same_names_one_gets_all(links, tmp_path):
    def both():
        finals = [tmp_path / name for name in NAMES]
        with util.replacing_all(finals, old=()) as temporaries:
            put(tmp_path, "first", old=())
            for path in temporaries:
                path.write_text("second")

    with pytest.raises(UserError, match=r"a\.wav: something else has got this name"):
        both()
    assert texts(tmp_path) == dict.fromkeys(NAMES, "first")


def test_what_was_there_may_be_replaced_what_comes_may_not(links, tmp_path):
    (tmp_path / "b.wav").write_text("old")
    put(tmp_path, "new", old=[tmp_path / "b.wav"])
    assert texts(tmp_path) == dict.fromkeys(NAMES, "new")


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


def test_what_is_called_like_a_leftover_but_is_none_stops_nothing(tmp_path):
    os.mkfifo(tmp_path / f"{util.PARTIAL}pipe")  # to open it would wait for ever
    (tmp_path / f"{util.PARTIAL}file").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / f"{util.PARTIAL}link").symlink_to(tmp_path / "mine")
    before = sorted(tmp_path.rglob("*"))
    remove = "import sys, util; util.remove_leftovers(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", remove, str(tmp_path)],
        cwd=pathlib.Path(__file__).parents[1],
        timeout=60,
    )
    assert done.returncode == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_was_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    real, made = tempfile.mkdtemp, []

    def taken(**options):
        made.append(real(**options))
        if len(made) == 1:
            util.remove_leftovers(tmp_path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
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


def test_a_byte_order_mark_is_no_part_of_json(tmp_path):
    """Editors on Windows put one before what they save as UTF-8."""
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert util.read_json(tmp_path / "a.json") == {"a": 1}


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


def test_folders_of_any_depth_are_made(tmp_path):
    folder = tmp_path / "/".join("d" * 1500)
    util.make_folder(folder)
    assert folder.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="File exists"):
        util.make_folder(tmp_path / "file" / "deep")
    while folder != tmp_path:  # pytest itself would climb by recursion
        folder.rmdir()
        folder = folder.parent
