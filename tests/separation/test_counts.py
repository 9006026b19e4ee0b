"""What a separation costs in counts that no machine changes: not a word of seconds.

The expected numbers follow from the lengths alone: a field of F samples needs F + 2 c
samples of the mixture, c being the context, and goes through the network in blocks.
"""

import functools
import math
import threading

import jax
import numpy as np
import pytest
import soundfile

import models
from sswavenet.separation import streaming
from sswavenet.separation.engine import BlockEngine, Engine
from sswavenet.separation.folder import separate_all
from sswavenet.separation.framing import Framing, Network, estimate_blocks
from sswavenet.separation.inputs import find_mixtures
from sswavenet.separation.options import Options
from tests.support import random_weights, tiny_config

pytestmark = pytest.mark.keras3

BLOCK, FIELD, CORES = 64, 700, 2
LENGTHS = [1, 63, 700, 1401, 5000]


class Counter:
    """Counts of compilations and of the network's steps by file."""

    def __init__(self):
        self.num_compiled = 0
        self.steps = []  # samples of each

    def compiled(self, event, duration_secs, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration":
            self.num_compiled += fun_name == "jit(run)"

    def counting(self, build_streams):
        lock = threading.Lock()

        def build(*arguments, **keywords):
            begin = build_streams(*arguments, **keywords)

            def begin_counted():
                step = begin()

                def counted(block):
                    with lock:
                        self.steps.append(len(block))
                    return step(block)

                return counted

            return begin_counted

        return build


@pytest.fixture
def counter():
    counter = Counter()
    jax.monitoring.register_event_duration_secs_listener(counter.compiled)
    yield counter
    jax.monitoring.unregister_event_duration_listener(counter.compiled)


@pytest.fixture
def folder(tmp_path, rng):
    """Mixtures of all lengths, none silent at its beginning."""
    (tmp_path / "in").mkdir()
    for length in LENGTHS:
        audio = rng.uniform(0.1, 0.5, length)
        soundfile.write(tmp_path / "in" / f"{length:05d}.wav", audio, 16000)
    return tmp_path


def separate(folder, engine, **options):
    summary = separate_all(
        find_mixtures(folder / "in").mixtures,
        engine,
        Options(output_path=folder / "out", **options),
        folder,
    )
    assert summary.num_separated == len(LENGTHS)


def expected_steps(length, config, field):
    """Blocks that one file takes: (count, samples of each)."""
    context = config.context_length
    input_length = field + 2 * context
    count = math.ceil(input_length / BLOCK)
    size = math.ceil(input_length / count)
    rows = math.ceil(math.ceil(length / field) / CORES) * CORES
    # The first fragment begins with the silence before the mixture; those that fill
    # the last batch up are silent; of either, blocks that nothing depends on are left
    # out.
    silent = rows - math.ceil(length / field)
    return rows * count - context // size - silent * (2 * context // size), size


def test_a_folder_by_blocks(folder, counter, rng, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_LENGTH", BLOCK)
    monkeypatch.setattr(
        streaming, "build_streams", counter.counting(streaming.build_streams)
    )
    config = tiny_config()
    weights = random_weights(config, rng)

    def build_predict(**framing):
        return streaming.BlockwisePredict(config, weights, num_threads=CORES, **framing)

    engine = BlockEngine(config, build_predict, BLOCK, CORES)
    separate(folder, engine, target_field_length=FIELD)
    assert counter.num_compiled == 1
    expected = [expected_steps(length, config, FIELD) for length in LENGTHS]
    assert len(counter.steps) == sum(count for count, _ in expected)
    assert set(counter.steps) == {size for _, size in expected}
    assert max(counter.steps) <= BLOCK


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_folder_by_whole_passes(batch_size, folder, counter, rng):
    config = tiny_config()
    weights = random_weights(config, rng)
    shapes_seen = []

    def build_predict(**framing):
        predict = models.build_predict(config, weights, **framing)

        def counted(fragments):
            shapes_seen.append(fragments.shape)
            return predict(fragments)

        return counted

    field = FIELD
    engine = Engine(config, build_predict)
    separate(folder, engine, target_field_length=field, batch_size=batch_size)
    assert counter.num_compiled == 1
    fragments = [math.ceil(length / field) for length in LENGTHS]
    assert len(shapes_seen) == sum(math.ceil(n / batch_size) for n in fragments)
    assert set(shapes_seen) == {(batch_size, field + 2 * config.context_length)}


@pytest.mark.parametrize("cores", [1, 2, 16])
@pytest.mark.parametrize("seconds", [5, 10, 60, 180, 3 * 3600])
def test_samples_computed_per_sample_written(cores, seconds):
    # Of the full-size network, as the default flags frame it: context and blocks cost
    # little for a long file, and a short one is shared by the cores.
    config = tiny_config(model={"dilations": 9, "num_stacks": 4})
    assert config.context_length == 4 * 1023 + 3
    length = 16000 * seconds
    shape, batch_size = BlockEngine(config, pytest.fail, 1600, cores).choose(
        functools.partial(Framing.seamless, config), length
    )
    rows = math.ceil(shape.num_fragments(length) / batch_size) * batch_size
    assert rows == cores * math.ceil(length / (16 * 2 * config.context_length * cores))
    computed = rows * 1600 * math.ceil(shape.input_length / 1600)
    bound = 1 + (2 * config.context_length + 1600) / (length / rows) + rows / length
    assert 1 <= computed / length <= bound
    if seconds >= 60 and cores <= 2:
        assert bound < 1.1


@pytest.mark.parametrize("num_blocks", [10, 1000])
def test_no_more_of_a_mixture_is_kept_than_a_batch_needs(num_blocks):
    config = tiny_config(dataset={"sample_rate": 700})
    framing = Framing.seamless(config, 50)
    network = Network(framing, 3, lambda x: np.zeros((3, len(x), 54), np.float32))
    size, read, put_out = 64, 0, 0

    def blocks():
        nonlocal read
        for _ in range(num_blocks):
            read += size
            yield np.ones(size, np.float32)

    for part, _ in estimate_blocks(blocks(), network, num_estimates=3):
        level = 2 * 7  # of two pieces of 10 ms the gain is not known
        assert read - put_out <= 3 * 50 + 2 * config.context_length + size + level
        put_out += len(part)
    assert put_out == num_blocks * size
