"""Looking at the kernel's counts while pages move: never a word of agreement that was not seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from binder_observe.audit import Counts, Difference
from binder_observe.commands.checking import Checker, KernelCounts
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch
from binder_observe.observation import Observation
from tests.build import META, OWNER, Row, attach, batch, install, mapped, park, release
from tests.test_audit import stats


def checker(path: Path, *batches: list[Row]) -> Checker:
    """After these batches nothing happens any more."""
    observation = Observation(META)
    observation.feed(batch(attach(), mapped()))

    def coming() -> Iterator[EventBatch]:
        for rows in batches:
            yield batch(*rows)
        while True:
            yield batch()

    source = coming()

    def take() -> EventBatch:
        taken = next(source)
        observation.feed(taken)
        return taken

    return Checker(KernelCounts(path, lambda: None), observation, take)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stats"


def test_quiet_and_equal(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "1:0:3")))
    found = checker(path, install(1))
    found.check()
    assert found.audit.to_dict() == {
        "checked": True, "agreed": True, "compared": 1, "inconclusive": 0, "differences": [],
    }  # fmt: skip


def test_what_comes_between_two_looks_is_waited_for(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "0:1:3")))
    found = checker(path, install(1), [park(5)])
    found.check()
    assert found.audit.agreed is True


def test_a_difference_that_stays_is_one(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "0:1:3")))
    found = checker(path, install(1))
    found.check()
    assert found.audit.differences == (Difference(OWNER, "binder", Counts(1, 0, 3), Counts(0, 1, 3)),)
    path.write_text(stats((OWNER, "binder", "1:0:3")))
    found.check()
    assert found.audit.agreed is False  # what was wrong once is told in the end


def test_what_never_stands_still_is_inconclusive(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "2:0:2")))
    moving: list[list[Row]] = [[install(9 * n)[1]] for n in range(100)]
    found = checker(path, *moving)
    found.check()
    assert found.audit.agreed is None
    assert found.audit.inconclusive == 1


def test_what_is_gone_meanwhile_is_no_matter(path: Path) -> None:
    path.write_text(stats())
    found = checker(path, [], [], release(9))
    found.check()
    assert (found.audit.agreed, found.audit.compared) == (True, 0)


def test_the_second_look_is_hurried(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "0:0:4")))
    observation = Observation(META)
    observation.feed(batch(attach(), mapped()))
    order: list[str] = []

    def take() -> EventBatch:
        order.append("take")
        return batch()

    Checker(KernelCounts(path, lambda: order.append("hurry")), observation, take).check()
    assert order == ["take", "hurry", "take"]


def test_no_stats(path: Path) -> None:
    with pytest.raises(ObserveError, match="cannot read"):
        checker(path).check()
