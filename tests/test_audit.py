"""Tracked counts against the kernel's text."""

from __future__ import annotations

import pytest

from binder_observe.audit import UNCHECKED, Audit, Counts, Difference, compare, parse
from binder_observe.events import Kind
from binder_observe.sources.selection import Scope
from binder_observe.tracker import AllocState, PageTracker
from tests.build import OWNER, Row, all_states, attach, batch, found, install, mapped, park, release, row

KEY = (OWNER, "binder")


def stats(*blocks: tuple[int, str, str]) -> str:
    """As the kernel prints it: totals, then a block for each open file."""
    text = "binder stats:\nBC_TRANSACTION: 8\nproc: active 3 total 9\n"
    for pid, context, pages in blocks:
        text += (
            f"proc {pid}\ncontext {context}\n  threads: 1\n  requested threads: 0+0/0\n  ready threads 1\n"
            f"  free async space 520192\n  nodes: 0\n  refs: 1 s 1 w 1\n  buffers: 0\n  pages: {pages}\n"
            "  pages high watermark: 4\n  pending transactions: 0\n  BC_REPLY: 3\n"
        )
    return text


def states(*rows: Row | list[Row]) -> list[AllocState]:
    tracker = PageTracker()
    return all_states(tracker, tracker.update(batch(attach(), *rows)))


def test_every_mapping_is_read() -> None:
    text = stats((7, "binder", "1:2:3"), (7, "binder", "0:0:0"), (7, "hwbinder", "0:0:254"), (8, "my dev", "4:5:6"))
    assert parse(text) == {
        (7, "binder"): [Counts(1, 2, 3), Counts(0, 0, 0)],
        (7, "hwbinder"): [Counts(0, 0, 254)],
        (8, "my dev"): [Counts(4, 5, 6)],
    }
    assert parse("") == {}


def test_equal_counts_agree() -> None:
    tracked = states(mapped(), install(1, 0), install(5, 1), park(9, 1))
    assert compare(tracked, stats((OWNER, "binder", "1:1:2"))) == {KEY: True}


def test_a_difference_is_listed_with_both_counts() -> None:
    tracked = states(mapped(), install(1, 0))
    text = stats((OWNER, "binder", "0:1:3"))
    assert compare(tracked, text) == {KEY: Difference(*KEY, Counts(1, 0, 3), Counts(0, 1, 3))}
    assert compare(tracked, text, moving={1}) == {KEY: False}
    assert isinstance(compare(tracked, text, moving={2})[KEY], Difference)


def test_equal_counts_of_pages_that_move_are_no_agreement() -> None:
    assert compare(states(mapped()), stats((OWNER, "binder", "0:0:4")), moving={1}) == {KEY: False}
    assert compare(states(mapped()), stats((OWNER, "binder", "0:0:4")), moving={2}) == {KEY: True}


def test_an_install_under_way_makes_no_difference() -> None:
    tracked = states(mapped(), row(1, Kind.ALLOC_PAGE_START, 0))
    assert compare(tracked, stats((OWNER, "binder", "1:0:3"))) == {KEY: False}


def test_mappings_of_one_process_in_one_context_are_summed() -> None:
    tracked = states(mapped(), mapped(8, alloc=2), install(1, 0), install(5, 3, alloc=2))
    assert compare(tracked, stats((OWNER, "binder", "1:0:7"), (OWNER, "binder", "1:0:3"))) == {KEY: True}


def test_what_is_not_mapped_any_more_is_not_compared() -> None:
    tracked = states(mapped(), install(1, 0))
    assert compare(tracked, stats((OWNER, "binder", "0:0:0"))) == {}
    both = states(mapped(), mapped(8, alloc=2))  # which of the two is it?
    assert compare(both, stats((OWNER, "binder", "0:0:0"), (OWNER, "binder", "0:0:8"))) == {KEY: False}


def test_what_is_released_is_not_compared() -> None:
    assert compare(states(mapped(), release(9)), stats()) == {}
    assert compare(states(mapped()), stats()) == {KEY: False}  # closed, and its release is yet to come


def test_unknown_pages_are_never_called_equal() -> None:
    assert compare(states(found()), stats((OWNER, "binder", "0:0:0"), (OWNER, "binder", "0:0:4"))) == {KEY: False}


def test_a_mapping_that_nobody_saw_is_a_difference_unless_that_could_not_be() -> None:
    text = stats((9, "binder", "1:0:3"))
    assert compare([], text) == {(9, "binder"): Difference(9, "binder", Counts(0, 0, 0), Counts(1, 0, 3))}
    assert compare([], text, scope=Scope(complete=False)) == {(9, "binder"): False}


def test_only_the_owners_that_are_observed_count() -> None:
    text = stats((OWNER, "binder", "0:0:4"), (9, "binder", "1:0:3"))
    assert compare(states(mapped()), text, scope=Scope(pids=[OWNER])) == {KEY: True}
    assert compare(states(mapped()), text, scope=Scope(named=True)) == {KEY: True}
    assert compare([], text, scope=Scope(pids=[])) == {}


def test_only_the_contexts_that_are_observed_count() -> None:
    text = stats((OWNER, "binder", "0:0:4"), (OWNER, "hwbinder", "1:0:3"), (9, "hwbinder", "1:0:3"))
    assert compare(states(mapped()), text, scope=Scope(contexts=["binder"])) == {KEY: True}
    unseen = compare(states(mapped()), text, scope=Scope(pids=[OWNER], contexts=["binder", "hwbinder"]))
    assert unseen[OWNER, "hwbinder"] == Difference(OWNER, "hwbinder", Counts(0, 0, 0), Counts(1, 0, 3))
    assert (9, "hwbinder") not in unseen


@pytest.mark.parametrize(
    ("audit", "agreed"),
    [
        (UNCHECKED, None),
        (Audit(checked=True), True),
        (Audit(checked=True, compared=3), True),
        (Audit(checked=True, compared=3, inconclusive=1), None),
        (Audit(True, 3, 1, (Difference(1, "binder", Counts(1, 0, 0), Counts(0, 1, 0)),)), False),
    ],
)
def test_what_is_inconclusive_has_not_agreed(audit: Audit, agreed: bool | None) -> None:
    assert audit.agreed is agreed
    assert audit.to_dict()["agreed"] is agreed
