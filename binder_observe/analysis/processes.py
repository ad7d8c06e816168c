"""What a report says of each mapping, from its state and from what was counted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binder_observe.analysis import leaks
from binder_observe.analysis.report import LONG_IDLE_NS, LeakSender, ProcessReport, Sender
from binder_observe.lifetimes.counts import MOST_SENDERS, Counts, Measure, Senders, SenderTotal
from binder_observe.rows import SPAN, Began, Ended, State
from binder_observe.tracker import AllocState

_NO_SPANS: Final = np.zeros(0, dtype=SPAN)
_NO_LIVES: Final = np.zeros((len(Began), len(Ended)), dtype=np.int64)


def process_reports(
    states: Iterable[AllocState],
    counts: Counts,
    comms: Mapping[int, str],
    spans: NDArray[np.void] = _NO_SPANS,
    *,
    skips: bool,
) -> list[ProcessReport]:
    """One for each state; `spans` (dtype SPAN) are those of pages held that go on, those of an alloc together.

    `skips`: LRU_SKIP was observed.
    """
    quantiles, senders, ended = counts.quantiles(), counts.who_sent(), counts.ends()
    norms = {alloc: leaks.norm_ns(q.get(Measure.ACTIVE_SPAN)) for alloc, q in quantiles.items()}
    suspects, idle = _long_stays(spans, norms)
    found = []
    for state in states:
        lives = ended.get(state.alloc, _NO_LIVES)
        q = quantiles.get(state.alloc, {})
        sent = senders.get(state.alloc, Senders())
        by_end = lives.sum(axis=0).tolist()
        found.append(
            ProcessReport(
                state=state,
                lives_ended={e.name.lower(): by_end[e] for e in Ended},
                lives_left_truncated=int(lives[Began.BEFORE_ATTACH :].sum()),
                lifetime=q.get(Measure.LIFETIME),
                active_span=q.get(Measure.ACTIVE_SPAN),
                idle_span=q.get(Measure.IDLE_SPAN),
                refault_delay=q.get(Measure.REFAULT_DELAY),
                install_latency=q.get(Measure.INSTALL_LATENCY),
                lru_skips=state.lru_skips if skips else None,
                senders=tuple(_sender(total, comms) for total in sent.most),
                busiest=_sender(sent.busiest, comms) if sent.busiest else None,
                sending_processes=sent.n,
                long_idle_pages=idle.get(state.alloc, 0),
                leak_suspects=sum(suspects[state.alloc].values()) if state.alloc in suspects else 0,
                leak_senders=_leak_senders(suspects[state.alloc], comms) if state.alloc in suspects else (),
            )
        )
    return found


def unknown_before(processes: Iterable[ProcessReport]) -> int:
    """Pages from before attach of which nothing was ever known."""
    return sum(p.state.unknown for p in processes if not p.state.from_birth and not p.state.lost_events)


def _long_stays(
    spans: NDArray[np.void], norms: Mapping[int, int | None]
) -> tuple[dict[int, Counter[int]], Counter[int]]:
    """Pages at the end by alloc: those that `leaks` suspects, by who took them into use (0: unknown), and those that
    have been idle for long."""
    ages = spans["until_ns"] - spans["since_ns"]
    idle = spans["alloc"][(spans["state"] == State.LRU) & (ages > LONG_IDLE_NS)]
    active = spans["state"] == State.ACTIVE
    alloc, starter, ages = spans["alloc"][active], spans["starter"][active], ages[active]
    suspects: dict[int, Counter[int]] = {}
    # the spans of an alloc stand together
    first = np.flatnonzero(np.diff(alloc.astype(np.int64), prepend=-1))
    oldest = np.maximum.reduceat(ages, first) if len(first) else ages
    for (begin, end), age in zip(pairwise([*first.tolist(), len(alloc)]), oldest.tolist(), strict=True):
        if age <= leaks.LEAK_MIN_NS:
            continue
        number = int(alloc[begin])
        suspected = leaks.suspects(ages[begin:end], norms.get(number))
        if suspected.any():
            suspects[number] = Counter(starter[begin:end][suspected].tolist())
    return suspects, Counter(idle.tolist())


def _sender(total: SenderTotal, comms: Mapping[int, str]) -> Sender:
    t = total
    return Sender(t.tgid, comms.get(t.tgid), t.installs, t.duplicates, t.held_ns, t.used_ns)


def _leak_senders(pages: Counter[int], comms: Mapping[int, str]) -> tuple[LeakSender, ...]:
    known = sorted(((n, tgid) for tgid, n in pages.items() if tgid), key=lambda found: (-found[0], found[1]))
    return tuple(LeakSender(tgid, comms.get(tgid), n) for n, tgid in known[:MOST_SENDERS])
