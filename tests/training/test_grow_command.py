"""The command that grows a session into a larger one."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

import util
from sswavenet import checkpoints
from sswavenet.backend import memory
from sswavenet.training import grow
from tests.support import ROOT, random_weights, tiny_config, tiny_document
from tests.training.conftest import BIGGER
from util import UserError

GROW = "sswavenet.training.grow"
PID = os.getpid()


class Sessions:
    """A small session and the config of a larger one, as files."""

    def __init__(self, folder, rng):
        self.weights = random_weights(tiny_config(), rng)
        self.small, self.big = folder / "small", folder / "big"
        self.source = self.small / "checkpoints" / "checkpoint.00004-0.1.hdf5"
        checkpoints.write_checkpoint(self.source, self.weights)
        self.configs = [folder / "small.json", folder / "big.json"]
        self.write_config(0, {})
        self.write_config(1, BIGGER)

    def write_config(self, number, model):
        place = str((self.small, self.big)[number])
        document = tiny_document(model=model, training={"path": place})
        self.configs[number].write_text(json.dumps(document))

    def grown(self):
        """The checkpoint in the larger session, which has its config."""
        big = tiny_config(model=BIGGER, training={"path": str(self.big)})
        assert json.loads((self.big / "config.json").read_text())["model"]
        return checkpoints.read_checkpoint(checkpoints.find_latest(self.big), big)

    def files(self):
        return [path for path in self.big.rglob("*") if path.is_file()]

    def run(self, *flags, redirections="", before="", program=("-m", GROW)):
        """The command in a process of its own, from a shell."""
        shell = ["sh", "-c", f'{before} exec "$@" {redirections}', "sh"]
        return subprocess.run(
            [*shell, sys.executable, *program, *map(str, self.configs), *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )


@pytest.fixture
def sessions(tmp_path, rng):
    return Sessions(tmp_path, rng)


@pytest.fixture
def command(sessions, monkeypatch, capsys):
    """Run the command in this process: its status and what it says on stderr."""

    def run(*flags):
        words = ["grow.py", *map(str, sessions.configs), *flags]
        monkeypatch.setattr(sys, "argv", words)
        try:
            status: object = grow.main()
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr().err
        assert len(said.splitlines()) == (status != 0)
        return status, said

    return run


def test_command_writes_a_session_to_go_on_from(sessions):
    done = sessions.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "checkpoint.00000" in done.stdout
    assert sessions.grown().epoch == 0
    assert len(sessions.files()) == 2


def test_a_session_with_a_checkpoint_is_left_alone(sessions, command):
    assert command() == (0, "")
    before = {path: path.read_bytes() for path in sessions.files()}
    status, said = command()
    assert status == 2
    assert "choose a new training.path" in said
    assert {path: path.read_bytes() for path in sessions.files()} == before


def test_a_folder_without_checkpoints_is_no_hindrance(sessions, command):
    (sessions.big / "checkpoints").mkdir(parents=True)
    (sessions.big / "checkpoints" / ".hidden.hdf5").touch()
    assert command() == (0, "")
    assert sessions.grown().epoch == 0


def test_the_config_of_another_network_is_not_overwritten(sessions, command):
    sessions.big.mkdir()
    there = sessions.big / "config.json"
    there.write_bytes(sessions.configs[0].read_bytes())
    status, said = command()
    assert status == 2
    assert "describes another network" in said
    assert there.read_bytes() == sessions.configs[0].read_bytes()
    assert sessions.files() == [there]


@pytest.mark.parametrize("blocks", [0, 1, 8])  # of 512 or 1024 bytes
def test_a_full_disk_leaves_nothing_and_the_command_can_be_repeated(blocks, sessions):
    done = sessions.run(before=f"ulimit -f {blocks};")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write ")
    assert len(done.stderr.splitlines()) == 1
    assert sessions.files() == []
    sessions.write_config(1, {**BIGGER, "num_stacks": 4})  # also with another network
    assert sessions.run().returncode == 0


def test_a_full_disk_keeps_a_config_that_was_there(sessions, command, monkeypatch):
    sessions.big.mkdir()
    place = sessions.big / "config.json"
    place.write_bytes(sessions.configs[1].read_bytes())

    def fail(*_, **__):
        raise UserError("disk full")

    monkeypatch.setattr(checkpoints, "write_checkpoint", fail)
    assert command() == (2, "error: disk full\n")
    assert sessions.files() == [place]


def test_the_config_is_there_before_the_checkpoint(sessions, command, monkeypatch):
    seen = []
    monkeypatch.setattr(
        checkpoints, "write_checkpoint", lambda *_, **__: seen.extend(sessions.files())
    )
    assert command() == (0, "")
    assert seen == [sessions.big / "config.json"]


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs /dev/full")
def test_stdout_on_a_full_disk_takes_one_line(sessions):
    done = sessions.run(redirections=">/dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write to standard output: ")
    assert len(done.stderr.splitlines()) == 1
    assert sessions.grown().epoch == 0


def test_nobody_reads_stdout(sessions):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", GROW, *map(str, sessions.configs)],
            cwd=ROOT,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=300,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
    assert sessions.grown().epoch == 0


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [
        (signal.SIGINT, 130, "error: interrupted\n"),
        (signal.SIGTERM, 143, "error: terminated\n"),
    ],
)
def test_a_signal_takes_one_line_and_leaves_nothing(
    number, status, line, sessions, command, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoints, "write_checkpoint", lambda *_, **__: os.kill(PID, number)
        )
        assert command() == (status, line)
    assert sessions.files() == []
    assert command() == (0, "")


def test_a_checkpoint_of_unknown_convention_is_read_as_the_flag_says(sessions, command):
    with h5py.File(sessions.source, "r+") as file:
        for place in (file, file["model_weights"]):
            del place.attrs["backend"]
    status, said = command()
    assert status == 2
    assert "--kernel_convention theano or tensorflow" in said
    assert sessions.files() == []
    assert command("--kernel_convention", "theano") == (0, "")
    name = "initial_causal_conv/kernel"
    got = sessions.grown().weights[name][:, :, :4]
    assert np.array_equal(got, sessions.weights[name][::-1])


def test_paths_may_begin_with_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    args = grow._build_parser().parse_args(["~/a", "~/b", "--load_checkpoint=~/c"])
    assert list(map(str, args.small_configs)) == ["/home/me/a"]
    assert str(args.big_config) == "/home/me/b"
    assert str(args.load_checkpoint) == "/home/me/c"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["more.json"], "cannot read "),
        (["more.json", "--load_checkpoint", "x"], "no --load_checkpoint where several"),
        (["--kernel_convention", "keras"], "invalid choice: 'keras'"),
        (["--target", "drums"], "invalid choice: 'drums'"),
        (["--load", "x"], "unrecognized arguments: --load x"),
    ],
)
def test_wrong_arguments_take_one_line(flags, message, sessions, command):
    status, said = command(*flags)
    assert status == 2
    assert message in said
    assert not sessions.big.exists()


def test_missing_arguments_take_one_line(sessions, command):
    sessions.configs.pop()
    status, said = command()
    assert status == 2
    assert "required: big_config" in said


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.configs[0].unlink(), "cannot read .*small.json"),
        (lambda s: s.configs[1].write_text("{"), "big.json: expected JSON"),
        (lambda s: s.source.unlink(), "expected a checkpoint .* found none"),
        (lambda s: s.source.write_text("no"), "checkpoint.00004-0.1.hdf5"),
        (lambda s: s.write_config(1, {"num_stacks": 1}), "num_stacks of at least 2"),
        (lambda s: s.write_config(0, BIGGER), "checkpoint.00004-0.1.hdf5"),
    ],
)
def test_what_cannot_be_used_takes_one_line(spoil, message, sessions, command):
    spoil(sessions)
    status, said = command()
    assert status == 2
    assert re.search(message, said)
    assert not sessions.big.exists()


def test_a_session_that_is_a_file_is_refused(sessions, command):
    sessions.big.write_text("mine")
    status, said = command()
    assert status == 2
    assert f"cannot make {sessions.big}" in said
    assert sessions.big.read_text() == "mine"


def test_a_session_in_training_is_left_alone(sessions, command):
    with util.locked(sessions.big, what="a training"):
        status, said = command()
    assert status == 2
    assert "another process runs" in said
    assert sessions.files() == []


def test_memory_that_runs_out_takes_one_line(sessions, command, monkeypatch):
    def fail(_config):
        raise MemoryError

    monkeypatch.setattr(memory, "check_network", fail)
    assert command() == (2, "error: out of memory: MemoryError\n")


def test_a_network_too_large_for_the_memory_is_refused(tmp_path, monkeypatch, capsys):
    paths = []
    for channels in (4, 10**6):
        document = tiny_document(training={"path": str(tmp_path / "new")})
        document["model"]["filters"]["depths"]["res"] = channels
        paths.append(tmp_path / f"{channels}.json")
        paths[-1].write_text(json.dumps(document))
    monkeypatch.setattr(sys, "argv", ["grow.py", *map(str, paths)])
    assert grow.main() == 2
    said = capsys.readouterr().err
    assert "MiB of memory, but" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "new").exists()
