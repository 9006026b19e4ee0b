"""Mixtures and stems in a store: names, whole objects, what is there already."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import pytest

fsspec = pytest.importorskip("fsspec", reason="make .venv/cluster-installed")

from fsspec.implementations.memory import MemoryFileSystem

from sswavenet.cluster import archive, command
from sswavenet.cluster.archive import Job
from sswavenet.cluster.storage import Store
from sswavenet.separation.engine import Networks
from sswavenet.separation.report import SEPARATED, FileReport
from tests.cluster.conftest import SAME_ROUNDING, STEMS, contents, report
from util import UserError


@pytest.fixture
def memory(songs):
    """A store in memory with the songs in it."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    store.put(str(songs), "/songs", recursive=True)
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def stems_in(memory):
    """Of each object below memory://stems its bytes, by its name there."""
    names = memory.find("/stems") if memory.exists("/stems") else []
    return {name[len("/stems/") :]: memory.cat_file(name) for name in names}


def refuse_to_put(memory, monkeypatch, part):
    """Let no object arrive in whose name there is this part."""
    put_file = MemoryFileSystem.put_file

    def broken(self, local, path, **more):
        if part in path:
            self.pipe_file(path, b"half")
            raise ConnectionResetError("the connection was lost")
        put_file(self, local, path, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", broken)


def test_stems_of_a_store_are_those_of_a_folder(run, songs, memory, tmp_path):
    out = tmp_path / "out"
    words = ["--recursive", *SAME_ROUNDING, "--output_path"]
    assert run(songs, *words, out) == 0
    assert run("memory://songs", *words, "memory://stems") == 0
    assert stems_in(memory) == contents(out)
    assert len(contents(out)) == 3 * len(STEMS)


def test_a_store_and_folders_go_together(run, songs, memory, tmp_path):
    out = tmp_path / "out"
    assert run("memory://songs", *SAME_ROUNDING, "--output_path", out) == 0
    assert run(songs, *SAME_ROUNDING, "--output_path", "memory://stems") == 0
    assert stems_in(memory) == contents(out)
    assert sorted(contents(out)) == sorted(
        f"{name}_{stem}.wav" for name in "ab" for stem in STEMS
    )


def test_a_part_is_chosen_for_and_not_the_whole(run, songs, memory, monkeypatch):
    chosen = []

    class Noted(Networks):
        def __init__(self, engine, lengths, options):
            chosen.extend(lengths)
            super().__init__(engine, lengths, options)

    monkeypatch.setattr(archive, "Networks", Noted)
    words = ["memory://songs/a.wav", "--output_path", "memory://stems"]
    assert run(*words) == 0
    assert run(*words, "--start", "0.01", "--duration", "0.01", "--overwrite") == 0
    whole, part = chosen
    assert 160 < part < whole


def test_a_single_object_is_separated(run, memory):
    url = "memory://songs/more/c d.wav"
    assert run(url, "--output_path", "memory://stems", "--format", "flac") == 0
    assert sorted(stems_in(memory)) == sorted(f"c d_{stem}.flac" for stem in STEMS)


def test_a_report_has_a_line_for_each_file_and_grows(run, memory, tmp_path):
    memory.pipe_file("/songs/bad.wav", b"no audio")
    memory.pipe_file("/songs/video.wma9", b"what has no name of audio is passed over")
    place = tmp_path / "report.jsonl"
    arguments = ["memory://songs", "--output_path", "memory://stems", "--report", place]
    assert run(*arguments) == 1
    first = report(place)
    assert {name: line["status"] for name, line in first.items()} == {
        "a.wav": "separated",
        "b.flac": "separated",
        "bad.wav": "failed",
    }
    stem = first["a.wav"]["stems"]["vocals"]
    assert stem["path"] == "memory://stems/a_vocals.wav"
    count = len(place.read_text().splitlines())
    assert run(*arguments, "--skip_existing") == 1
    lines = list(map(json.loads, place.read_text().splitlines()))
    assert len(lines) == 2 * count
    assert report(place)["a.wav"]["status"] == "skipped"
    assert lines[-1] == {"complete": True, "separated": 0, "skipped": 2, "failed": 1}


def test_messages_name_urls_and_no_temporary_files(run, memory, capsys):
    memory.pipe_file("/songs/bad.wav", b"no audio")
    assert run("memory://songs/bad.wav", "--output_path", "memory://stems") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert errors[0].startswith("error: memory://songs/bad.wav: expected an audio file")
    assert "sswavenet-" not in errors[0]
    assert stems_in(memory) == {}


def test_stems_that_are_there_are_kept(run, memory, capsys):
    assert run("memory://songs", "--output_path", "memory://stems") == 0
    before = stems_in(memory)
    memory.pipe_file("/stems/a_bass.wav", b"mine")
    assert run("memory://songs", "--output_path", "memory://stems") == 1
    assert "--overwrite replaces" in capsys.readouterr().err
    assert stems_in(memory) == {**before, "a_bass.wav": b"mine"}
    overwriting = ["--output_path", "memory://stems", "--overwrite"]
    assert run("memory://songs", *overwriting) == 0
    assert stems_in(memory) == before


def test_a_set_is_taken_back_where_one_of_it_cannot_be_put(
    run, memory, monkeypatch, capsys
):
    refuse_to_put(memory, monkeypatch, "a_bass")
    assert run("memory://songs", "--output_path", "memory://stems") == 1
    assert sorted(stems_in(memory)) == sorted(f"b_{stem}.wav" for stem in STEMS)
    assert (
        "error: memory://songs/a.wav: cannot write memory://stems/a_bass.wav: the "
        "connection was lost"
    ) in capsys.readouterr().err


def test_what_was_replaced_comes_back_where_one_of_a_set_cannot_be_put(
    run, memory, monkeypatch
):
    assert run("memory://songs", "--output_path", "memory://stems") == 0
    old = {name: b"old " + name.encode() for name in stems_in(memory)}
    for name, content in old.items():
        memory.pipe_file(f"/stems/{name}", content)
    refuse_to_put(memory, monkeypatch, "a_other")
    overwriting = ["--output_path", "memory://stems", "--overwrite"]
    assert run("memory://songs/a.wav", *overwriting) == 1
    assert stems_in(memory) == old


def test_hidden_names_and_stems_are_no_mixtures(run, memory):
    memory.pipe_file("/songs/.hidden.wav", b"x")
    memory.pipe_file("/songs/__MACOSX/a.wav", b"x")
    memory.pipe_file("/songs/._a.wav", b"x")
    arguments = ["memory://songs", "--recursive", "--output_path"]
    assert run(*arguments, "memory://songs/stems") == 0
    assert run(*arguments, "memory://songs/stems", "--skip_existing") == 0
    assert len(memory.find("/songs/stems")) == 3 * len(STEMS)


def test_a_report_is_not_appended_to_an_input(run, session, memory, songs, capsys):
    before = session.read_bytes()
    for mixtures in ("memory://songs", songs):
        words = ["--output_path", "memory://stems", "--report", session]
        assert run(mixtures, *words) == 2
        assert "is an input and would be overwritten" in capsys.readouterr().err
        assert session.read_bytes() == before
    assert (
        run(songs, "--output_path", "memory://stems", "--report", songs / "a.wav") == 2
    )
    assert stems_in(memory) == {}


def test_a_page_of_an_archive_is_refused(run, memory, tmp_path, capsys):
    words = ["--output_path", "memory://stems", "--html", tmp_path / "page.html"]
    assert run("memory://songs", *words) == 2
    assert "--html shows files of this machine" in capsys.readouterr().err
    assert stems_in(memory) == {}
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("output", ["memory://songs", "memory://"])
def test_stems_do_not_go_among_mixtures(run, memory, output, capsys):
    assert run("memory://songs", "--output_path", output) == 2
    assert "expected an --output_path beside the mixtures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["memory://nothing", "--output_path", "memory://stems"],
            "nothing of",
        ),
        (["memory://songs"], "need --output_path"),
        (["memory://songs", "audio", "--output_path", "memory://stems"], "got both"),
        (["quux://songs", "--output_path", "memory://stems"], "quux://songs"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(run, memory, arguments, message, capsys):
    assert run(*arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert message in line


def test_names_that_share_stems_are_told_though_others_lie_between():
    names = ["a.b.flac", "a.flac", "a.mp3", "b.wav", "c/a.mp3"]
    jobs = [Job("memory://x", name, name.rsplit(".", 1)[0], 1) for name in names]
    found = list(archive.without_twins(jobs))
    assert [job.file for job in found] == names
    assert [bool(job.problem) for job in found] == [False, False, True, False, False]
    assert "x/a.flac and memory://x/a.mp3 would write the same stems" in (
        found[2].problem
    )


class Folders(MemoryFileSystem):
    """A store of 200 folders with 1,000 names each, none of which it holds."""

    protocol = "folders"
    cachable = False
    listed = 0

    @classmethod
    def _strip_protocol(cls, path):
        return path.replace("folders://", "")

    def ls(self, path, detail=True, **more):
        if path.rstrip("/") == "/all":
            names = [f"/all/{k:03d}" for k in range(200)]
            return [{"name": name, "size": 0, "type": "directory"} for name in names]
        Folders.listed += 1000
        names = [f"{path}/{k:03d}.wav" for k in range(1000)]
        return [{"name": name, "size": 1, "type": "file"} for name in names]

    def isfile(self, path):
        return False


@pytest.mark.slow
def test_of_200000_names_the_first_is_done_at_once_and_none_is_kept(
    monkeypatch, tmp_path
):
    fsspec.register_implementation("folders", Folders, clobber=True)
    args = command.argparse.Namespace(
        mixtures=["folders:///all"],
        recursive=True,
        output_path=tmp_path / "stems",
        cluster=None,
    )
    _, jobs = command._in_stores(args, command.Lines(None))
    monkeypatch.setattr(Folders, "listed", 0)

    def make():
        return lambda job, again: FileReport(job.place, SEPARATED, frames=1)

    reports = command._reports(args, make, jobs)
    tracemalloc.start()
    try:
        assert next(reports).path.endswith("000/000.wav")
        assert Folders.listed == 1000
        for _ in itertools.islice(reports, 10000):
            pass
        early, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert 10001 + sum(1 for _ in reports) == 200000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - early < 2 * 2**20  # a folder's names; all of them would take 30 MB


def test_a_store_can_be_sent_to_another_process(memory):
    import pickle

    store = pickle.loads(pickle.dumps(Store("memory://songs/")))
    assert [name for name, _ in store.files(recursive=False)] == ["a.wav", "b.flac"]


def test_what_cannot_be_listed_is_told(memory, monkeypatch):
    def broken(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "ls", broken)
    with pytest.raises(UserError, match="cannot list memory://songs: Access Denied"):
        list(Store("memory://songs").files(recursive=True))
