"""Out of memory: the batch is halved, then the field."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from sswavenet import checkpoints
from sswavenet.backend import cores
from sswavenet.config.document import parse_config
from sswavenet.separation.engine import Engine
from sswavenet.separation.folder import separate_all
from sswavenet.separation.inputs import find_mixtures
from sswavenet.separation.options import Options
from tests.support import (
    ROOT,
    fake_engine,
    make_tone,
    random_weights,
    stems_of,
    tiny_config,
    tiny_document,
)


def hungry(limit, shapes_seen):
    """The fake network, which has no memory for more than `limit` samples a batch."""

    def make(config):
        engine = fake_engine(config)

        def build_predict(**shape):
            predict = engine._build_predict(**shape)

            def wrapped(fragments):
                shapes_seen.append((len(fragments), shape["target_field_length"]))
                if fragments.size > limit:
                    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9")
                return predict(fragments)

            return wrapped

        return Engine(config, build_predict)

    return make


def test_out_of_memory_halves_the_batch_then_the_field(
    session, folder, tmp_path, monkeypatch, caplog
):
    for name in ("a", "song"):
        make_tone(folder / f"{name}.wav", 900)
    config = tiny_config()
    outputs = []
    for limit in (10**9, 190):
        seen, caplog_before = [], len(caplog.records)
        engine = hungry(limit, seen)(config)
        found = find_mixtures(folder).mixtures
        out = tmp_path / f"out {limit}"
        summary = separate_all(
            found,
            engine,
            Options(output_path=out, target_field_length=160, batch_size=4),
            session,
        )
        assert summary.num_separated == 2
        outputs.append([path.read_bytes() for path in sorted(out.iterdir())])
    shrunk = list(dict.fromkeys(seen))
    assert shrunk == [(4, 160), (2, 160), (1, 160), (1, 80)]
    assert seen.count((4, 160)) == 1  # the second file starts where the first ended
    assert outputs[0] == outputs[1]
    said = [r for r in caplog.records[caplog_before:] if "out of memory" in r.message]
    assert len(said) == 1


def test_out_of_memory_with_nothing_left_to_halve_fails_the_file(
    infer, folder, monkeypatch
):
    make_tone(folder / "song.wav", 900)
    seen = []
    monkeypatch.setattr("tests.support.fake_engine", hungry(1, seen))
    status, (line,) = infer(folder, "--original_framing", "--batch_size=2")
    assert status == 1
    assert "Out of memory" in line
    assert list(dict.fromkeys(seen)) == [
        (2, 21),
        (1, 21),
    ]  # the field shapes the result


LIMITED = """
import os, resource, sys
from sswavenet.backend import compat
compat.is_jax_on_cpu = lambda: False  # fragments in one pass, as on a GPU
import av, jax, main, models
from sswavenet.separation import folder, streaming
jax.block_until_ready(jax.numpy.ones(1) + 1)  # so that the backend has its own memory
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv.pop(1)) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.keras3
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
@pytest.mark.skipif(cores.num_cores() < 2, reason="XLA aborts then, on one core")
def test_a_process_with_little_memory_gets_the_same_stems(folder, tmp_path):
    """JAX itself fails to allocate: the head of this network is wide."""
    document = tiny_document()
    document["model"]["filters"]["depths"]["final"] = [512, 6]
    session = tmp_path / "session"
    weights = random_weights(parse_config(document), np.random.default_rng(1))
    path = session / "checkpoints" / "checkpoint.00001-0.1.hdf5"
    checkpoints.write_checkpoint(path, weights)
    (session / "config.json").write_text(json.dumps(document))
    make_tone(folder / "song.wav", 100000)
    said = []
    for mib in (100000, 150):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                LIMITED,
                str(mib),
                "--mode=inference",
                f"--config={session / 'config.json'}",
                f"--mixture_input_path={folder}",
                f"--output_path={tmp_path / str(mib)}",
                "--target_field_length=50000",
                "--batch_size=2",
            ],
            cwd=ROOT,
            # To read what was compiled earlier takes memory of its own.
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": ""},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    assert "out of memory" not in said[0]
    assert said[1].count("warning: out of memory") == 1
    fields = [int(n) for n in re.findall(r"target field (\d+) samples,", said[1])]
    assert fields[:3] == [50000, 50000, 25000]  # the batch was halved before the field
    free, limited = (stems_of(tmp_path / str(mib)) for mib in (100000, 150))
    for one, other in zip(free, limited):
        assert np.ptp(one) > 0.01
        assert np.abs(one - other).max() <= 2**-15
