"""Looking at the kernel's counts while pages move: never a word of agreement that was not seen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from binder_observe.analysis.report import Report
from binder_observe.api import open_recording
from binder_observe.audit import UNCHECKED, Audit, Counts, Difference
from binder_observe.commands.checking import Checker, KernelCounts
from binder_observe.commands.observe import observe
from binder_observe.errors import ObserveError
from binder_observe.events import EventBatch, Kind
from binder_observe.observation import Observation
from binder_observe.reports.terminal import quality, write
from tests.build import META, OWNER, Row, attach, batch, install, mapped, park, release, row
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


def check(found: Checker) -> Audit:
    said = found.check()
    assert list(said.kind) == [Kind.AUDIT]
    return Audit.from_json(said.names[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stats"


def test_quiet_and_equal(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "1:0:3")))
    found = checker(path, install(1))
    assert check(found).to_dict() == {
        "checked": True, "agreed": True, "compared": 1, "inconclusive": 0, "differences": [],
    }  # fmt: skip


def test_what_comes_between_two_looks_is_waited_for(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "0:1:3")))
    found = checker(path, install(1), [park(5)])
    assert check(found).agreed is True


def test_a_difference_that_stays_is_one(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "0:1:3")))
    found = checker(path, install(1))
    assert check(found).differences == (Difference(OWNER, "binder", Counts(1, 0, 3), Counts(0, 1, 3)),)
    path.write_text(stats((OWNER, "binder", "1:0:3")))
    assert check(found).agreed is False  # what was wrong once is told in the end


def test_what_never_stands_still_is_inconclusive(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "2:0:2")))
    moving: list[list[Row]] = [[install(9 * n)[1]] for n in range(100)]
    found = checker(path, *moving)
    audit = check(found)
    assert audit.agreed is None
    assert audit.inconclusive == 1


def test_what_is_gone_meanwhile_is_no_matter(path: Path) -> None:
    path.write_text(stats())
    found = checker(path, [], [], release(9))
    audit = check(found)
    assert (audit.agreed, audit.compared) == (True, 0)


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


class Source:
    """One mapping, of which nothing more is heard; ends by itself after `rounds`."""

    meta = META

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.order: list[str] = []

    def batches(self) -> Iterator[EventBatch]:
        yield batch(attach(), mapped())
        while "stop" not in self.order and self.rounds:
            self.rounds -= 1
            yield batch()
        yield batch(row(9, Kind.DETACH, alloc=0))

    def hurry(self) -> None:
        self.order.append("look")

    def stop(self) -> None:
        self.order.append("stop")

    def close(self) -> None:
        self.order.append("close")


def test_the_last_look_comes_before_the_end(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "0:0:4")))
    source = Source(rounds=-1)
    report = observe(source, duration=1e-9, quiet=True, counts=KernelCounts(path, source.hurry))
    assert source.order == ["look", "stop", "close"]
    assert report.audit.agreed is True
    assert report.complete
    assert "; equal to the kernel's counts in 1 mappings" in quality(report)


def test_looks_on_the_way(path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "4:0:0")))
    source = Source(rounds=40)
    report = observe(source, quiet=True, counts=KernelCounts(path, source.hurry, every=1e-9))
    assert source.order.count("look") > 2
    assert "stop" not in source.order
    assert report.audit.agreed is False
    assert "; NOT EQUAL to the kernel's counts in 1 mappings" in quality(report)
    text = io.StringIO()
    write(report, text)
    shown = " ".join(text.getvalue().split())
    assert f"note: {OWNER} binder: tracked are 0:0:4 active:lru:free pages, the kernel counts 4:0:0" in shown


def test_what_ends_by_itself_is_not_checked(path: Path) -> None:
    source = Source(rounds=3)
    report = observe(source, quiet=True, counts=KernelCounts(path, source.hurry))
    assert source.order == ["close"]
    assert report.audit == UNCHECKED
    assert "; not checked against the kernel's counts" in quality(report)


def test_no_stats(path: Path) -> None:
    with pytest.raises(ObserveError, match="cannot read"):
        checker(path).check()


def from_file(path: Path) -> Report:
    return open_recording(path).report().data


def test_a_recording_keeps_what_was_said(path: Path, tmp_path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "4:0:0")))
    source, file = Source(rounds=-1), tmp_path / "r.arrows"
    report = observe(
        source, duration=1e-9, quiet=True, output=str(file), counts=KernelCounts(path, source.hurry, every=1e-9)
    )
    assert report.audit.agreed is False
    assert from_file(file) == report
    kinds = [kind for one in open_recording(file).batches() for kind in one.kind.tolist()]
    assert kinds[-2:] == [Kind.AUDIT, Kind.DETACH]


def test_the_last_look_counts_when_the_processes_ended(path: Path, tmp_path: Path) -> None:
    path.write_text(stats((OWNER, "binder", "0:0:4")))
    source, file = Source(rounds=40), tmp_path / "r.arrows"
    report = observe(source, quiet=True, output=str(file), counts=KernelCounts(path, source.hurry, every=1e-9))
    assert "stop" not in source.order
    assert (report.audit.agreed, report.audit.compared) == (True, 1)
    assert from_file(file) == report


def test_an_unchecked_recording_says_so(path: Path, tmp_path: Path) -> None:
    source, file = Source(rounds=3), tmp_path / "r.arrows"
    report = observe(source, quiet=True, output=str(file), counts=KernelCounts(path, source.hurry))
    assert from_file(file) == report
    assert from_file(file).audit == UNCHECKED


def test_an_audit_is_itself_again() -> None:
    difference = Difference(7, 'my "dev"', Counts(1, 2, 3), Counts(4, 5, 6))
    for audit in (UNCHECKED, Audit(True, 3, 1), Audit(True, 3, 0, (difference,))):
        (text,) = audit.event(5).names.values()
        assert Audit.from_json(text) == audit


@pytest.mark.parametrize("text", ["", "7", "{}", '{"checked":true,"compared":0,"inconclusive":0,"differences":[1]}'])
def test_a_damaged_audit_is_an_error(text: str) -> None:
    with pytest.raises(ObserveError, match="the event stream is damaged"):
        Observation(META).feed(batch(row(1, Kind.AUDIT, alloc=0, name=text)))
