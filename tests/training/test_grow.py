"""A grown network computes what the small one computed, and new parts can learn."""

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

import models
import util
from sswavenet import checkpoints
from sswavenet.backend import compat, memory
from sswavenet.training import grow, losses
from tests.support import oracle, random_weights, tiny_config, tiny_document
from util import UserError

ROOT = pathlib.Path(__file__).parents[2]
GROW = "sswavenet.training.grow"
PID = os.getpid()
BIGGER = {
    "num_stacks": 3,
    "filters": {
        "depths": {"res": 6, "skip": 8, "final": [11, 9]},
        "lengths": {"res": 3, "final": [3, 3], "skip": 1},
    },
}


def estimates_of_both(small, big, rng):
    """What a network and the one grown from it estimate of the same samples."""
    weights = random_weights(small, rng)
    arrays = grow.grown_weights([(small, weights)], big, rng)
    assert {n: a.shape for n, a in arrays.items()} == big.weight_shapes
    field, margin = 7, big.head_margin
    fragment = rng.standard_normal(field + 2 * big.context_length)
    cut = big.context_length - small.context_length
    part = fragment[cut : len(fragment) - cut]
    expected = oracle(small, weights, part, margin, field)
    got = oracle(big, arrays, fragment, margin, field)
    inside = slice(margin, margin + field)
    return expected[:, inside], got[:, inside]


def test_grown_network_computes_the_same(rng):
    expected, got = estimates_of_both(tiny_config(), tiny_config(model=BIGGER), rng)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("model", [{}, BIGGER])
def test_singing_voice_begins_with_the_vocals_of_multi_instrument(model, rng):
    big = tiny_config("singing-voice", model=model)
    expected, got = estimates_of_both(tiny_config(), big, rng)
    np.testing.assert_allclose(got, expected[:1], rtol=0, atol=1e-9)


def test_multi_instrument_cannot_begin_with_singing_voice(rng):
    small, big = tiny_config("singing-voice"), tiny_config()
    with pytest.raises(UserError, match="expected a network that estimates vocals, dr"):
        grow.grown_weights([(small, random_weights(small, rng))], big, rng)


def middle(config, arrays, fragment, field):
    """What a network estimates of the middle of a fragment that may be too long."""
    cut = (len(fragment) - field) // 2 - config.context_length
    part = fragment[cut : len(fragment) - cut]
    margin = config.head_margin
    return oracle(config, arrays, part, margin, field)[:, margin : margin + field]


# The last layers' channels fit side by side, or only as many as there are estimates.
@pytest.mark.parametrize("last", [10, 4])
def test_several_networks_grow_into_the_mean_of_what_they_estimate(last, rng):
    model = json.loads(json.dumps(BIGGER))
    depths = model["filters"]["depths"]
    depths |= {"res": 9, "skip": 12, "final": [15, last]}
    big = tiny_config(model=model)
    parts = [
        (small, random_weights(small, rng))
        for small in (tiny_config(), tiny_config("singing-voice"))
    ]
    arrays = grow.grown_weights(parts, big, rng)
    assert {name: array.shape for name, array in arrays.items()} == big.weight_shapes
    fragment = rng.standard_normal(7 + 2 * big.context_length)
    all_three, vocals = (middle(*part, fragment, 7) for part in parts)
    got = middle(big, arrays, fragment, 7)
    np.testing.assert_allclose(got[0], (all_three[0] + vocals[0]) / 2, atol=1e-6)
    np.testing.assert_allclose(got[1:], all_three[1:], rtol=0, atol=1e-6)


def test_networks_that_do_not_fit_side_by_side_are_refused(rng):
    small = tiny_config()
    parts = [(small, random_weights(small, rng))] * 2
    with pytest.raises(UserError, match="expected residual_channels of at least 8"):
        grow.grown_weights(parts, tiny_config(model=BIGGER), rng)


def test_new_channels_are_not_dead(rng):
    """Old parts read nothing new, but new parts are neither silent nor unread."""
    small, big = tiny_config(), tiny_config(model=BIGGER)
    arrays = grow.grown_weights([(small, random_weights(small, rng))], big, rng)
    assert np.abs(arrays["res_1_dilated_conv_d1_s0/kernel"][:, :, 4:6]).min() > 0
    assert np.abs(arrays["conv1d_9/kernel"][:, :, 4:6]).min() > 0  # an added stack
    assert np.abs(arrays["conv1d_9/kernel"][:, :, :4]).max() == 0
    assert np.abs(arrays["conv1d_11/kernel"][:, 7:, :6]).max() == 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"dilations": [1, 2, 8]}, "same dilations"),
        ({"num_stacks": 1}, "num_stacks of at least 2, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(model, message, rng):
    small = tiny_config()
    with pytest.raises(UserError, match=message):
        grow.grown_weights(
            [(small, random_weights(small, rng))], tiny_config(model=model), rng
        )


@pytest.mark.slow
@pytest.mark.keras3
def test_a_grown_network_learns(rng):
    """First the connections that were zero, then what lies behind them, too."""
    small, big = tiny_config(), tiny_config(model=BIGGER)
    weights = random_weights(small, rng)
    arrays = grow.grown_weights([(small, weights)], big, rng)
    model = models.build_wavenet(big)
    models.load_weights(model, big, arrays)
    model.compile(
        optimizer=compat.make_optimizer(0.01, 1e-8), **losses.compile_arguments(big)
    )
    length = big.padded_target_field_length
    inputs = rng.standard_normal((2, big.input_length)).astype("float32")
    targets = [np.ones((2, length), "float32")] * len(big.task.supervised)
    changed = []
    for _ in range(2):
        compat.train_on_batch(model, inputs, targets)
        now = models.weights_of(model, big)
        changed.append({name: now[name] != arrays[name] for name in now})
    ones = {name: np.ones_like(array) for name, array in weights.items()}
    nothing = {name: np.zeros_like(array) for name, array in weights.items()}
    with_ones, with_nothing = (
        grow.grown_weights([(small, each)], big, np.random.default_rng(0))
        for each in (ones, nothing)
    )
    for name, array in arrays.items():
        new = with_ones[name] == with_nothing[name]
        for step, part in enumerate((new & (array == 0), new & (array != 0))):
            if part.any():
                assert (changed[step][name] & part).any(), (name, step)


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
