"""One mixture: what is made ahead, and what a run costs in counts, not in seconds."""

import threading

import pytest

from sswavenet.separation.file import prefetch


def test_what_is_made_ahead_comes_in_order():
    with prefetch(range(100)) as items:
        assert list(items) == list(range(100))
    with prefetch([]) as items:
        assert list(items) == []


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_as_wanted_are_made_while_one_is_used(count):
    made = [threading.Event() for _ in range(10)]

    def work():
        for event in made:
            event.set()
            yield event

    with prefetch(work(), count) as items:
        for number, _ in enumerate(items):
            if number + count < 10:
                assert made[number + count].wait(10)
            # A little later there are still no more of them.
            if number + count + 1 < 10:
                assert not made[number + count + 1].wait(0.01)


def test_an_error_comes_where_the_item_would():
    def work():
        yield 1
        raise OSError("no more")

    with prefetch(work()) as items:
        assert next(items) == 1
        with pytest.raises(OSError, match="no more"):
            next(items)
    with prefetch(work()) as items:  # an error that nobody gets to
        assert next(items) == 1


def test_nothing_is_being_made_after_the_end():
    going, threads = threading.Event(), threading.active_count()

    def work():
        for number in range(100):
            going.set()
            threading.Event().wait(0.02)
            going.clear()
            yield number

    with prefetch(work()) as outer, prefetch(outer) as inner:
        assert [next(inner), next(inner)] == [0, 1]
    assert not going.is_set()
    assert threading.active_count() <= threads
