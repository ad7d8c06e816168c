"""Random request lists from a seed: valid, and such that every kernel can answer them in one way only.

What a kernel leaves open is left out: when several files fall with one exit, the kworker releases them in an order
that nobody promises, so all but one are closed before; pages whose address space is gone are skipped by the shrinker,
and behind many of them what drop_caches reaches depends on the rest of the system, so only small mappings outlive
their process while pages are reclaimed. For the same reason a list ends with every file closed.
"""

from __future__ import annotations

from random import Random
from typing import Final

from binder_observe.simulator.requests import MAX_ACTORS, MAX_FILES, OBJECT_BYTES, RequestList

CONTEXTS: Final = ("binder", "hwbinder", "vndbinder")
SMALL_MAPPING: Final = 65536  # bytes
_MAX_OPEN: Final = 7  # processes at a time

# How often each request is drawn, when it can be.
_WEIGHTS: Final = {
    "call": 30,
    "oneway": 12,
    "free": 38,
    "open": 6,
    "reclaim": 3,
    "checkpoint": 2,
    "close": 2,
    "exit": 2,
    "fork": 2,
    "unmap": 1,
}


class _Author:
    """Writes a list, reading each line at once, so that it knows what the next may say."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"{seed}:requests")
        self.list = RequestList("random")
        self.lines: list[str] = []
        self.small: set[int] = set()  # files with a small mapping
        self.serial = 0

    def say(self, line: str) -> None:
        self.list.add(line)
        self.lines.append(line)

    # What there is.

    def living(self) -> list[str]:
        return [actor for actor in self.list.actors if actor not in self.list.exited]

    def held(self, actor: str) -> list[int]:
        return [number for number, file in enumerate(self.list.files) if actor in file.holders]

    def own(self, actor: str) -> list[int]:
        return [number for number in self.held(actor) if self.list.files[number].opener == actor]

    def senders(self) -> list[tuple[str, str]]:
        """(process, context) that can call; once in a while one whose call must fail, because nobody answers."""
        answered: list[tuple[str, str]] = []
        others: list[tuple[str, str]] = []
        for actor in self.living():
            for number in self.own(actor):
                context = self.list.files[number].context
                manager = self.list.managers.get(context)
                if manager is not None and self.list.files[manager].opener == actor:
                    continue
                answers = manager is not None and not self.list.files[manager].unmapped
                (answered if answers else others).append((actor, context))
        return others if others and self.random.random() < 0.05 else answered

    def spare(self, number: int) -> bool:
        """Whether this file is given up: managers mostly stay, or little would go on."""
        return self.random.random() < 0.15 or number not in self.list.managers.values()

    def orphans(self) -> list[int]:
        """Files that live on in children after their opener's address space has gone."""
        return [
            number for number, file in enumerate(self.list.files) if file.holders and file.opener in self.list.exited
        ]

    # What can be said.

    def size(self) -> int:
        """Bytes: small ones, ones around a page, large ones; sometimes what fits nowhere."""
        random = self.random
        kind = random.random()
        if kind < 0.35:
            return random.randrange(0, 600)
        if kind < 0.6:
            return max(0, 4096 * random.randrange(1, 5) + random.choice((-8, -1, 0, 1, 8, random.randrange(-64, 64))))
        if kind < 0.9:
            return int(2 ** random.uniform(8, 15.5))
        if kind < 0.98:
            return int(2 ** random.uniform(15, 18))
        return int(2 ** random.uniform(18, 21))

    def transaction(self, verb: str) -> bool:
        senders = self.senders()
        if not senders:
            return False
        random = self.random
        actor, context = random.choice(senders)
        self.serial += 1
        objects = random.randrange(1, 5) if random.random() < 0.2 else 0
        words = [verb, actor, context, f"data={max(self.size(), OBJECT_BYTES * objects)}"]
        if objects:
            words.append(f"objects={objects}")
        if random.random() < 0.15:
            words.append(f"extra={self.size() // 8 * 8}")
        if verb == "call":
            words.append(f"reply={self.size()}")
        self.say(" ".join([*words, "as", f"{'c' if verb == 'call' else 'w'}{self.serial}"]))
        return True

    def call(self) -> bool:
        return self.transaction("call")

    def oneway(self) -> bool:
        return self.transaction("oneway")

    def free(self) -> bool:
        candidates = []
        oneway_files = set()
        for sent in self.list.transactions:
            file = sent.manager_file
            if not sent.freed and self._holds(file):
                if sent.oneway:
                    if file in oneway_files:
                        continue  # another comes first
                    oneway_files.add(file)
                candidates.append(sent.name)
            if not sent.oneway and not sent.reply_freed and self._holds(sent.sender_file):
                candidates.append(f"{sent.name}.reply")
        if not candidates:
            return False
        # Mostly the youngest, as real callers do; sometimes any, which makes holes.
        random = self.random
        at = len(candidates) - 1 - int(len(candidates) * random.random() ** 2)
        self.say(f"free {candidates[at]}")
        return True

    def _holds(self, file: int | None) -> bool:
        return file is None or self.list.files[file].opener in self.list.files[file].holders

    def open(self) -> bool:
        random = self.random
        living = self.living()
        if len(self.list.files) >= MAX_FILES - 1:
            return False
        fresh = len(living) < _MAX_OPEN and len(self.list.actors) < MAX_ACTORS - 1
        if fresh and (not living or random.random() < 0.6):
            actor = f"p{len(self.list.actors)}"
        elif living:
            actor = random.choice(living)
        else:
            return False
        closed = [c for c in CONTEXTS if self.list.held_file(actor, c) is None]
        if not closed:
            return False
        context = closed[0] if random.random() < 0.6 else random.choice(closed)
        kind = random.random()
        line = f"open {actor} {context}"
        size = 0
        if kind < 0.3:
            size = random.choice((8192, 16384, 40000, SMALL_MAPPING))
            self.small.add(len(self.list.files))
        elif kind < 0.5:
            size = random.choice((131072, 300000, 1 << 20, 5 << 20))
        self.say(f"{line} bytes={size}" if size else line)
        return True

    def reclaim(self) -> bool:
        if any(number not in self.small for number in self.orphans()):
            return False
        self.say("reclaim")
        return True

    def checkpoint(self) -> bool:
        self.serial += 1
        self.say(f"checkpoint k{self.serial}")
        return True

    def unmap(self) -> bool:
        mapped = [
            (actor, number)
            for actor in self.living()
            for number in self.own(actor)
            if not self.list.files[number].unmapped
        ]
        if len(mapped) < 3:
            return False
        actor, number = self.random.choice(mapped)
        if not self.spare(number):
            return False
        self.say(f"unmap {actor} {self.list.files[number].context}")
        return True

    def close(self) -> bool:
        held = [(actor, number) for actor in self.living() for number in self.held(actor)]
        if len(held) < 3:
            return False
        actor, number = self.random.choice(held)
        if not self.spare(number):
            return False
        self.say(f"close {actor} {self.list.files[number].context}")
        return True

    def _released_by_exit(self, actor: str) -> list[int]:
        return [number for number in self.held(actor) if self.list.files[number].holders == {actor}]

    def exit(self) -> bool:
        living = self.living()
        if len(living) < 3:
            return False
        actor = self.random.choice(living)
        if not all(self.spare(number) for number in self.held(actor)):
            return False
        for number in self._released_by_exit(actor)[1:]:
            self.say(f"close {actor} {self.list.files[number].context}")
        self.say(f"exit {actor}")
        return True

    def fork(self) -> bool:
        parents = [actor for actor in self.living() if self.held(actor)]
        if not parents or len(self.list.actors) >= MAX_ACTORS or len(self.living()) > _MAX_OPEN:
            return False
        self.say(f"fork {self.random.choice(parents)} p{len(self.list.actors)}")
        return True


def random_requests(seed: int, n: int) -> str:
    """A list of some `n` requests and what ends it in order; the same for the same seed."""
    author = _Author(seed)
    author.say("open p0 binder")
    author.say("open p1 binder")
    while len(author.lines) < n:
        verb = author.random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        getattr(author, verb)()
    author.say("checkpoint end")
    for actor in author.living():
        for number in author.held(actor):
            author.say(f"close {actor} {author.list.files[number].context}")
    return "\n".join([f"# random_requests({seed}, {n})", *author.lines, ""])
