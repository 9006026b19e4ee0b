"""What networks take of the memory, and how much of it there is."""

import pytest

from sswavenet.backend import memory
from tests.support import tiny_config
from util import UserError


def test_estimates_of_memory_grow_with_the_network(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10 * 2**20)
    memory.check_network(tiny_config())
    memory.check_training(tiny_config())
    large = tiny_config().replace(residual_channels=1000)
    for check in (memory.check_network, memory.check_training):
        with pytest.raises(UserError, match="needs about"):
            check(large)


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
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    free = memory.available_memory()
    assert free > 2**20
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / used).write_text("700000\n")
    (place / "memory.stat").write_text("anon 5\ninactive_file 1000\nunevictable 0\n")
    for text, expected in (("1000000\n", 301000), ("600000", 0)):
        (place / limit).write_text(text)
        assert memory.available_memory() == expected
    (place / limit).write_text("max\n")
    assert memory.available_memory() > 2**20
