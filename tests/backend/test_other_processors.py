"""The compiled code for processors that are not this one, as far as that can be had."""

from __future__ import annotations

import os
import pathlib
import platform
import shutil
import subprocess

import numpy as np
import pytest

from sswavenet.backend import compiling, fused
from sswavenet.separation import stream_fused
from tests.support import oracle, random_weights, tiny_config

SOURCES = [fused.SOURCE, stream_fused.SOURCE]
AARCH64 = "aarch64-linux-gnu-g++"  # of Debian's package g++-aarch64-linux-gnu
EMULATOR = "qemu-aarch64"  # of Debian's package qemu-user

# Reads sizes, dilations, weights and blocks of one length, and writes what comes out.
PROGRAM = """
#include "SOURCE"

template <typename T>
std::vector<T> Numbers() {
  int64_t count = 0;
  if (!std::fread(&count, sizeof count, 1, stdin)) std::abort();
  std::vector<T> numbers(count);
  if (std::fread(numbers.data(), sizeof(T), count, stdin) < size_t(count)) std::abort();
  return numbers;
}

int main() {
  auto sizes = Numbers<int64_t>(), dilations = Numbers<int64_t>();
  auto weights = Numbers<float>(), samples = Numbers<float>();
  const int64_t length = Numbers<int64_t>()[0];
  int64_t six[6];
  std::copy_n(sizes.begin(), 6, six);
  char wrong[256];
  void* network = WavenetNetwork(six, dilations.data(), weights.data(), weights.size(),
                                 false, wrong, sizeof wrong);
  auto* stream = (Stream*)WavenetStream((Network*)network, length, 2, wrong, 256);
  std::vector<float> out(length * sizes[4]);
  for (size_t at = 0; at < samples.size(); at += length) {
    if (!WavenetStep(stream, &samples[at], length, out.data())) std::abort();
    std::fwrite(out.data(), sizeof(float), out.size(), stdout);
  }
  WavenetEndStream(stream);
  WavenetEndNetwork((Network*)network);
}
"""


def compiler_for(machine):
    """A compiler and its flags; skips the test where there is none."""
    aarch64 = machine == "aarch64"
    name = AARCH64 if aarch64 else os.environ.get("CXX", "c++")
    if not aarch64 and platform.machine() != "x86_64":
        pytest.skip("needs a compiler for x86")
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    flags = [flag for flag in compiling.FLAGS if flag != "-march=native"]
    command = [name, *flags, f"-march={'armv8-a' if aarch64 else machine}"]
    known = subprocess.run(
        [*command, "-fsyntax-only", "-x", "c++", os.devnull], capture_output=True
    )
    if known.returncode:
        pytest.skip(f"{name} does not know {machine}")
    return command


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "machine",
    ["x86-64", "x86-64-v3", "x86-64-v4", "cooperlake", "sapphirerapids", "aarch64"],
)
def test_nothing_is_warned_about_for_other_processors(machine, source):
    """On whose registers, and which numbers of 16 bits they take, the code depends."""
    jax = pytest.importorskip("jax")
    command = [*compiler_for(machine), "-fsyntax-only"]
    command += ["-isystem", jax.ffi.include_dir(), str(source)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def numbers(array, dtype):
    array = np.asarray(array, dtype).ravel()
    return np.int64(array.size).tobytes() + array.tobytes()


def test_streams_on_neon_are_those_of_the_formula(tmp_path, monkeypatch, rng):
    command = compiler_for("aarch64")
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"needs {EMULATOR}")
    command.remove("-shared")
    source = pathlib.Path(tmp_path, "main.cc")
    source.write_text(PROGRAM.replace("SOURCE", str(stream_fused.SOURCE)))
    program = str(tmp_path / "main")
    subprocess.run([*command, "-static", str(source), "-o", program], check=True)
    config = tiny_config().replace(
        residual_channels=32, skip_channels=16, final_channels=(48, 6)
    )
    weights = {
        name: (array / np.sqrt(np.prod(array.shape[:-1]))).astype("float32")
        for name, array in random_weights(config, rng, 1).items()
    }
    given: list = []
    monkeypatch.setattr(stream_fused, "build_network", lambda *all: given.extend(all))
    stream_fused.build_streams(config, weights, 64)
    sizes, dilations, flat, _ = given
    context, margin = config.context_length, config.head_margin
    mixture = rng.standard_normal(4 * 64 - context)
    samples = np.pad(mixture, (0, context))
    data = b"".join(
        numbers(array, dtype)
        for array, dtype in (
            *((sizes, np.int64), (dilations, np.int64), (flat, np.float32)),
            *((samples, np.float32), (64, np.int64)),
        )
    )
    done = subprocess.run(
        [EMULATOR, program], input=data, capture_output=True, check=True
    )
    blocks = np.frombuffer(done.stdout, np.float32).reshape(4, sizes[4], 64)
    found = np.concatenate(list(blocks), axis=1)[:, context:]
    padded = np.pad(mixture, context)
    expected = oracle(config, weights, padded, margin, len(mixture))
    expected = expected[:, margin:-margin]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
