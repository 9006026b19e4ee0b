"""Standard streams that are full, slow, or read by nobody."""

import os
import pathlib
import subprocess
import sys
import time

import pytest
import soundfile

from sswavenet.console.run import run as run_command
from sswavenet.console.streams import printable, write
from tests.support import base_session, write_session
from util import UserError

ROOT = pathlib.Path(__file__).parents[2]
# The command line with a network that takes no time to build.
RUN = """
import sys
sys.path.insert(0, ".")
from tests.support import without_network
with without_network() as run:
    sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def arguments(tmp_path):
    session = tmp_path / "session"
    write_session(session, *base_session("multi-instrument"))
    soundfile.write(tmp_path / "song.wav", [0.5] * 100, 16000)
    return [
        "--mode=inference",
        f"--config={session / 'config.json'}",
        f"--output_path={tmp_path / 'out'}",
    ]


def run(arguments, redirections, program=("-c", RUN), **environment):
    shell = ["sh", "-c", f'exec "$@" {redirections}', "sh"]
    return subprocess.run(
        [*shell, sys.executable, *program, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_named(arguments, tmp_path):
    done = run([*arguments, f"--mixture_input_path={tmp_path}"], ">/dev/full")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("info")]
    assert said == [
        "error: cannot write to standard output: No space left on device",
    ]
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_summary_that_cannot_be_written_ends_the_run_first(arguments, tmp_path):
    flags = ["--print_model_summary", f"--mixture_input_path={tmp_path}"]
    done = run([*arguments, *flags], ">/dev/full", ["main.py"])
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: cannot write to standard output: No space left on device"
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere(closed, arguments, tmp_path):
    done = run([*arguments, f"--mixture_input_path={tmp_path}"], closed)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_closed_stdin_is_empty():
    code = (
        "from sswavenet.console import run, streams as s; "
        "run.run(lambda: s.write(repr(s.read(9))))"
    )
    done = run(["-c", code], "<&-", [])
    assert (done.stdout, done.stderr) == ("b''", "")


def test_stdout_gets_names_that_are_no_text(capsysbinary):
    write("a\udcff\n")
    assert capsysbinary.readouterr().out == b"a\\udcff\n"


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("buffering", ["", "1"])
def test_samples_that_cannot_be_written_are_named(buffering):
    code = "from sswavenet.console import streams as s; s.write(bytes(9))"
    done = run(["-c", code], ">/dev/full", [], PYTHONUNBUFFERED=buffering)
    assert done.returncode == 1
    assert "UserError: cannot write to standard output: No space left" in done.stderr


# Streams that take and give a part at a time.

DATA = bytes(range(256)) * 4000  # many times what a pipe holds
WRITERS = {
    "samples": "s.write(data)",
    "text": "s.write(data.hex())",
}


@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize("what", WRITERS)
def test_a_pipe_that_does_not_block_gets_everything(what, buffering):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = (
        "from sswavenet.console import streams as s; data = bytes(range(256)) * 4000; "
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code + WRITERS[what]],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": buffering},
        stdout=writer,
    )
    os.close(writer)
    time.sleep(1)  # the pipe is full by now
    with os.fdopen(reader, "rb") as file:
        got = file.read()
    assert child.wait(60) == 0
    assert got == {"samples": DATA, "text": DATA.hex().encode()}[what]


@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize("what", WRITERS)
def test_a_disk_that_fills_on_the_last_write_is_named(what, buffering, tmp_path):
    """A limit on the size of files: the system takes what fits of a write."""
    code = f"""
import resource
from sswavenet.console import streams as s
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
data = bytes(1600)
{WRITERS[what]}
"""
    flow = f">{tmp_path / 'out'}"
    done = run(["-c", code], flow, [], PYTHONUNBUFFERED=buffering)
    assert done.returncode == 1
    assert "UserError: cannot write to standard output: File too large" in done.stderr
    assert (tmp_path / "out").stat().st_size == 1000


@pytest.mark.parametrize("buffering", ["", "1"])
def test_an_empty_pipe_that_does_not_block_is_not_the_end(buffering):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    code = """
import sys
from sswavenet.console import streams
got = b""
while data := streams.read(999):
    got += data
sys.stdout.buffer.write(got)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": buffering},
        stdin=reader,
        stdout=subprocess.PIPE,
    )
    os.close(reader)
    for _ in range(3):
        time.sleep(0.3)
        os.write(writer, bytes(2000))
    os.close(writer)
    assert len(child.communicate(timeout=60)[0]) == 6000
    assert child.returncode == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Café 東京 1", "Café 東京 1"),
        ("a\nb\tc\u2028d", "a b c d"),
        ("\x1b[2J\x07\x7f", r"\x1b[2J\x07\x7f"),
        ("\x9b31m\u202egpj.exe", r"\x9b31m\u202egpj.exe"),
        ("no text \udc80", r"no text \udc80"),
    ],
)
def test_what_is_shown_cannot_command_a_terminal(text, expected):
    assert printable(text) == expected
    assert printable(text).isprintable()


def test_the_programs_messages_are_printable(capsys):
    def fail():
        raise UserError("song\x9b2J\udc80: no audio")

    assert run_command(fail) == 2
    assert capsys.readouterr().err == "error: song\\x9b2J\\udc80: no audio\n"
