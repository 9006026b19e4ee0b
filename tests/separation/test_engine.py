"""The size of the network's input: as given, else fitting; never beyond memory."""

import functools

import pytest

from sswavenet.backend import memory
from sswavenet.separation import engine
from sswavenet.separation.engine import BlockEngine, Engine, Networks
from sswavenet.separation.framing import Framing
from sswavenet.separation.options import Options
from tests.support import tiny_config
from util import UserError

CONFIG = tiny_config()
CONTEXT = CONFIG.context_length
SEAMLESS = functools.partial(Framing.seamless, CONFIG)


def build_predict(**lengths):
    return pytest.fail


WHOLE = Engine(CONFIG, build_predict)


@pytest.mark.parametrize("make", [Framing.seamless, Framing.original])
def test_what_is_given_is_taken(make):
    options = Options(
        original_framing=make == Framing.original, target_field_length=401, batch_size=3
    )
    network = Networks(WHOLE, [5, 50000], options)(50000)
    assert network.framing == make(CONFIG, 401)
    assert network.batch_size == 3


@pytest.mark.parametrize("longest", [1, 2, 15999, 16000, 16001, 32001, 10**9])
def test_a_chosen_field_is_no_longer_than_needed(longest):
    network = Networks(WHOLE, [1, longest])(longest)
    shape = network.framing
    longest = max(longest, 2 * CONTEXT)  # what the context alone takes
    assert network.batch_size == 1
    assert shape.target_field_length <= engine.PASS_LENGTH
    rounds = shape.num_fragments(longest)
    assert 0 <= rounds * shape.target_field_length - longest < rounds
    assert rounds == -(-longest // engine.PASS_LENGTH)


@pytest.mark.parametrize("blockwise", [False, True])
@pytest.mark.parametrize("lengths", [[0], [100, 0], [0, 10**5]])
def test_an_unknown_length_may_be_any(lengths, blockwise):
    """Else a song that does not say its length went through sample by sample."""
    chosen = BlockEngine(CONFIG, build_predict, 1600, 2) if blockwise else WHOLE
    most = engine.BLOCKWISE_LEAST if blockwise else engine.PASS_LENGTH
    network = Networks(chosen, lengths)(10**6)
    assert 0.9 * most < network.framing.target_field_length <= most


@pytest.mark.parametrize("longest", [1, 100])
def test_a_field_is_no_shorter_than_what_is_around_it(longest):
    """A length that a header says too short then costs a constant, and no more."""
    config = CONFIG.replace(dilations=9, num_stacks=4)
    framing = Networks(Engine(config, build_predict), [longest])(10**6).framing
    assert framing.target_field_length >= framing.input_length / 3


def test_the_batch_size_is_chosen_for_a_given_field():
    _, batch_size = WHOLE.choose(SEAMLESS, 10**6, target_field_length=100)
    inputs = batch_size * (100 + 2 * CONTEXT)
    assert 0.9 * engine.PASS_LENGTH < inputs <= engine.PASS_LENGTH + 2 * CONTEXT
    _, batch_size = WHOLE.choose(SEAMLESS, 250, target_field_length=100)
    assert batch_size == 3  # there are no more fragments than that


def test_the_field_is_chosen_for_a_given_batch_size():
    shape, batch_size = WHOLE.choose(SEAMLESS, 10**6, batch_size=8)
    assert batch_size == 8
    assert shape.target_field_length <= engine.PASS_LENGTH / 8


def test_chosen_shapes_keep_to_a_quarter_of_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**20)
    shape, batch_size = WHOLE.choose(SEAMLESS, 10**6)
    assert WHOLE.bytes(shape, batch_size) <= 2**18
    shape, batch_size = WHOLE.choose(SEAMLESS, 10**6, target_field_length=50)
    assert WHOLE.bytes(shape, batch_size) <= 2**18
    assert batch_size > 1


def test_a_shape_that_does_not_fit_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 100 * 2**20)
    with pytest.raises(UserError, match=r"\d{5,} MiB of memory, but 100 MiB"):
        Networks(WHOLE, [5], Options(target_field_length=10**6, batch_size=90))


def test_memory_grows_with_field_and_batch():
    small = WHOLE.bytes(SEAMLESS(100), 1)
    assert WHOLE.bytes(SEAMLESS(200), 1) > small
    assert WHOLE.bytes(SEAMLESS(100), 3) == 3 * small


@pytest.mark.parametrize("cores", [1, 2, 7])
@pytest.mark.parametrize("longest", [1, 500, 160000, 160001, 10**7])
def test_fragments_run_by_blocks_keep_all_cores_busy(cores, longest):
    blocks = BlockEngine(CONFIG, build_predict, 1600, cores)
    shape, batch_size = blocks.choose(SEAMLESS, longest)
    assert batch_size == cores
    assert shape.target_field_length <= engine.BLOCKWISE_LENGTH
    count = shape.num_fragments(longest)
    assert count % cores == 0 or shape.target_field_length == 1 or longest < 1000


@pytest.mark.parametrize(
    ("num_stacks", "most"), [(1, 80000), (3, 16 * 6144), (4, 16 * 8190), (9, 160000)]
)
def test_longer_contexts_take_longer_fragments(num_stacks, most):
    """With the paper's dilations; within bounds."""
    config = CONFIG.replace(dilations=9, num_stacks=num_stacks)
    blocks = BlockEngine(config, build_predict, 1600, 2)
    shape, _ = blocks.choose(functools.partial(Framing.seamless, config), 10**9)
    assert most - 1000 < shape.target_field_length <= most


def test_memory_of_blocks_hardly_grows_with_the_field():
    blocks = BlockEngine(CONFIG, build_predict, 1600, 2)
    short, long = (blocks.bytes(SEAMLESS(field), 2) for field in (16000, 160000))
    signals = 1 + 1 + len(CONFIG.task.estimates)  # input, mixture, estimates
    assert long - short == 2 * 4 * signals * 144000
