"""What a run imports and compiles, and what it does without."""

import os
import subprocess
import sys

import pytest

from sswavenet.backend import choice
from tests.support import ROOT, make_tone


def run_code(code, *arguments, **environment):
    """A Python of its own, which must not fail."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys, main\n"
        "try: main.main(['--help'])\n"
        "except SystemExit as done: print(done.code, *sys.modules)\n"
    )
    done = run_code(code)
    assert "--mixture_input_path" in done.stdout
    status, *modules = done.stdout.splitlines()[-1].split()
    assert status == "0"
    heavy = {"keras", "jax", "theano", "torch", "numpy", "scipy", "soundfile", "h5py"}
    assert heavy.isdisjoint(modules)


def test_help_comes_at_once():
    """In seconds of a processor, which other work on the machine does not change."""
    took = []
    for _ in range(3):
        before = sum(os.times()[2:4])
        done = run_code("import main; main.main(['--help'])")
        took.append(sum(os.times()[2:4]) - before)
    assert "--cluster_resources" in done.stdout
    assert min(took) < 0.5


@pytest.mark.slow
def test_a_run_on_one_machine_imports_nothing_of_clusters(session, folder, tmp_path):
    make_tone(folder / "song.wav")
    words = ["--mode=inference", f"--config={session / 'config.json'}", str(folder)]
    code = (
        "import sys\n"
        "from tests.support import without_network\n"
        "with without_network() as run:\n"
        f"    assert run({[*words, f'--output_path={tmp_path}']}) == 0\n"
        "print(*sys.modules)\n"
    )
    modules = run_code(code).stdout.splitlines()[-1].split()
    assert "sswavenet.separation.folder" in modules
    assert {"ray", "fsspec", "s3fs"}.isdisjoint(modules)
    assert not any(name.startswith("sswavenet.cluster") for name in modules)


@pytest.mark.slow
def test_mixtures_and_their_page_do_without_pyav(session, song, tmp_path):
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from tests.support import without_network\n"
        "with without_network() as run: sys.exit(run(sys.argv[1:]))\n"
    )
    page = tmp_path / "page.html"
    run_code(
        code,
        str(song),
        f"--session={session}",
        f"--html={page}",
        f"--output_path={tmp_path / 'out'}",
    )
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert "data:image/png" in page.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.keras3
def test_keras_comes_without_what_only_its_other_parts_need():
    code = (
        "import importlib, os, sys\n"
        "from sswavenet.backend import choice\n"
        "os.environ['KERAS_BACKEND'] = 'jax'\n"
        "choice.choose_backend()\n"
        "print(*sys.modules)\n"
        "for name in choice.UNUSED_BY_KERAS: importlib.import_module(name)\n"
        "print(*sys.modules)\n"
    )
    done = run_code(code)
    before, after = (set(line.split()) for line in done.stdout.splitlines())
    assert "keras" in before
    assert before.isdisjoint(choice.UNUSED_BY_KERAS)
    assert after >= set(choice.UNUSED_BY_KERAS)


@pytest.mark.slow
@pytest.mark.keras3
def test_a_second_run_compiles_nothing(session, song, tmp_path):
    code = (
        "import collections, sys, main\n"
        "from sswavenet.backend import choice\n"
        "choice.choose_backend()\n"
        "import jax\n"
        "events = collections.Counter()\n"
        "jax.monitoring.register_event_listener(\n"
        "    lambda event, **_: events.update([event.split('/')[-1]]))\n"
        "assert main.main(sys.argv[1:]) == 0\n"
        "print(events['compile_requests_use_cache'], events['cache_hits'])\n"
    )
    arguments = ["--mode=inference", f"--config={session / 'config.json'}"]
    arguments += [f"--mixture_input_path={song}"]
    found = []
    for _ in range(2):
        cache = str(tmp_path / "xla")
        done = run_code(code, *arguments, JAX_COMPILATION_CACHE_DIR=cache)
        found.append(tuple(map(int, done.stdout.splitlines()[-1].split())))
    (asked, hits), again = found
    assert asked > hits
    assert again == (asked, asked)
