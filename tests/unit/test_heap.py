"""Filling a heap with what stays costs no search among all of it; afterwards all is as usual."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from roadstead import heap


@pytest.fixture(autouse=True)
def ordinary() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.set_threshold(*heap.ORDINARY)


def searches() -> int:
    """How often all objects have been looked through."""
    found: int = gc.get_stats()[2]["collections"]
    return found


def filled(count: int) -> list[dict[str, object]]:
    return [{"number": number, "labels": {"a": [number]}} for number in range(count)]


def test_a_heap_is_filled_without_a_search_among_all_of_it() -> None:
    gc.collect()
    before = searches()
    usual = filled(400_000)
    assert searches() > before
    heap.fills()
    before = searches()
    more = filled(400_000)
    assert searches() == before
    assert len(usual) == len(more)


def test_what_is_young_is_looked_through_all_the_same() -> None:
    heap.fills()
    before = [each["collected"] for each in gc.get_stats()[:2]]
    for _ in range(100_000):
        knot: list[object] = []
        knot.append(knot)
    after = [each["collected"] for each in gc.get_stats()[:2]]
    assert sum(after) - sum(before) > 90_000


def test_a_full_heap_is_left_alone_and_the_rest_is_as_usual() -> None:
    heap.fills()
    kept = filled(100_000)
    frozen = gc.get_freeze_count()
    heap.is_full()
    assert gc.get_freeze_count() - frozen >= 3 * len(kept)
    assert gc.get_threshold() == heap.ORDINARY
