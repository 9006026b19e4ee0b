"""The shape of the network's input: as given, else fitting; never beyond memory."""

import pytest

from sswavenet.separation import shapes
from sswavenet.separation.framing import Framing
from sswavenet.separation.shapes import choose_shape
from tests.support import tiny_config
from util import UserError

CONFIG = tiny_config()
CONTEXT = CONFIG.context_length


@pytest.mark.parametrize("make", [Framing.seamless, Framing.original])
def test_what_is_given_is_taken(make):
    shape, batch_size = choose_shape(
        CONFIG, make, [5, 50000], target_field_length=401, batch_size=3
    )
    assert shape == make(CONFIG, 401)
    assert batch_size == 3


@pytest.mark.parametrize("longest", [1, 2, 15999, 16000, 16001, 32001, 10**9])
def test_a_chosen_field_is_no_longer_than_needed(longest):
    shape, batch_size = choose_shape(CONFIG, Framing.seamless, [1, longest, 0])
    assert batch_size == 1
    assert shape.target_field_length <= shapes.PASS_LENGTH
    rounds = shape.num_fragments(longest)
    assert 0 <= rounds * shape.target_field_length - longest < rounds
    assert rounds == -(-longest // shapes.PASS_LENGTH)


def test_the_batch_size_is_chosen_for_a_given_field():
    _, batch_size = choose_shape(
        CONFIG, Framing.seamless, [10**6], target_field_length=100
    )
    inputs = batch_size * (100 + 2 * CONTEXT)
    assert 0.9 * shapes.PASS_LENGTH < inputs <= shapes.PASS_LENGTH + 2 * CONTEXT
    _, batch_size = choose_shape(
        CONFIG, Framing.seamless, [250], target_field_length=100
    )
    assert batch_size == 3  # there are no more fragments than that


def test_the_field_is_chosen_for_a_given_batch_size():
    shape, batch_size = choose_shape(CONFIG, Framing.seamless, [10**6], batch_size=8)
    assert batch_size == 8
    assert shape.target_field_length <= shapes.PASS_LENGTH / 8


def test_chosen_shapes_keep_to_a_quarter_of_the_memory(monkeypatch):
    monkeypatch.setattr(shapes, "available_memory", lambda: 2**20)
    shape, batch_size = choose_shape(CONFIG, Framing.seamless, [10**6])
    assert shapes.bytes_needed(CONFIG, shape, batch_size) <= 2**18
    shape, batch_size = choose_shape(
        CONFIG, Framing.seamless, [10**6], target_field_length=50
    )
    assert shapes.bytes_needed(CONFIG, shape, batch_size) <= 2**18
    assert batch_size > 1


def test_a_shape_that_does_not_fit_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(shapes, "available_memory", lambda: 100 * 2**20)
    with pytest.raises(UserError, match=r"\d{5,} MiB of memory, but 100 MiB"):
        choose_shape(
            CONFIG, Framing.seamless, [5], target_field_length=10**6, batch_size=90
        )


def test_memory_grows_with_field_and_batch():
    small = shapes.bytes_needed(CONFIG, Framing.seamless(CONFIG, 100), 1)
    assert shapes.bytes_needed(CONFIG, Framing.seamless(CONFIG, 200), 1) > small
    assert shapes.bytes_needed(CONFIG, Framing.seamless(CONFIG, 100), 3) == 3 * small
    assert shapes.available_memory() > 2**20


@pytest.mark.parametrize("cores", [1, 2, 7])
@pytest.mark.parametrize("longest", [1, 500, 160000, 160001, 10**7])
def test_fragments_run_by_blocks_keep_all_cores_busy(cores, longest):
    blocks = shapes.Blocks(1600, cores)
    shape, batch_size = choose_shape(CONFIG, Framing.seamless, [longest], blocks=blocks)
    assert batch_size == cores
    assert shape.target_field_length <= shapes.BLOCKWISE_LENGTH
    count = shape.num_fragments(longest)
    assert count % cores == 0 or shape.target_field_length == 1 or longest < 1000


def test_memory_of_blocks_hardly_grows_with_the_field():
    blocks = shapes.Blocks(1600, 2)
    short, long = (
        shapes.bytes_needed(CONFIG, Framing.seamless(CONFIG, field), 2, blocks)
        for field in (16000, 160000)
    )
    signals = 1 + 1 + len(CONFIG.task.estimates)  # input, mixture, estimates
    assert long - short == 2 * 4 * signals * 144000


@pytest.mark.parametrize(
    ("folder", "limit", "used"),
    [
        (".", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_a_container_has_what_is_left_of_its_limit(
    folder, limit, used, tmp_path, monkeypatch
):
    monkeypatch.setattr(shapes, "CGROUP", tmp_path)
    free = shapes.available_memory()
    assert free > 2**20
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / used).write_text("700000\n")
    (place / "memory.stat").write_text("anon 5\ninactive_file 1000\nunevictable 0\n")
    for text, expected in (("1000000\n", 301000), ("600000", 0)):
        (place / limit).write_text(text)
        assert shapes.available_memory() == expected
    (place / limit).write_text("max\n")
    assert shapes.available_memory() > 2**20
