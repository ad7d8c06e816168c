"""Reading one batch ahead changes nothing but the time that it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from binder_observe.recording.ahead import ahead


def test_items_come_in_order() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead(iter(()))) == []


def test_one_is_made_while_the_one_before_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    found = ahead(items())
    assert next(found) == 0
    assert made.wait(timeout=60)
    assert list(found) == [1]


def test_an_error_comes_after_what_was_before_it() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("torn")

    found = ahead(items())
    assert next(found) == 0
    with pytest.raises(ValueError, match="torn"):
        next(found)


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    found = ahead(iter(range(100)))
    next(found)
    found.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before
