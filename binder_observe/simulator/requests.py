"""Request lists: the same file that `tests/kernels/workload.c` executes on a real kernel, run on the model.

Run alone on either, a list without `flood` emits the same events in the same order: that is how the model is held
against kernels. A request is a line of words; `#` begins a comment.

    open WHO CONTEXT [bytes=N]         open and map; the first opener of a context without manager becomes its manager
    call WHO CONTEXT data=N [objects=K] [extra=E] reply=R as NAME      both buffers are held until they are freed
    oneway WHO CONTEXT data=N [objects=K] [extra=E] as NAME
    free NAME | free NAME.reply        the owner of the mapping frees the buffer; nothing to do where it failed
    reclaim                            the shrinker takes every parked page that it can
    unmap WHO CONTEXT                  munmap(); the file stays open
    close WHO CONTEXT                  munmap() and close()
    exit WHO
    rename WHO NAME                    the kernel's name of the process; no page knows of it
    fork WHO CHILD                     the child shares the open files, not the mappings
    flood CONTEXT senders=A,B threads=N count=N min=N max=N mode=sync|oneway|mixed seed=N [hold=N]
    sleep MS | checkpoint NAME | wait FILE | touch FILE       (wait and touch are for scripts around a real run)

At the end every process that is left exits, in the order in which they appeared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from binder_observe.errors import ObserveError

MAX_ACTORS: Final = 64
MAX_FILES: Final = 64
MAX_CONTEXTS: Final = 8
MAX_TRANSACTION_BYTES: Final = 16 << 20
NAME_BYTES: Final = 64
OBJECT_BYTES: Final = 24  # sizeof(struct flat_binder_object)

Verb = Literal[
    "open", "call", "oneway", "free", "reclaim", "unmap", "close", "exit", "fork", "flood", "sleep", "checkpoint",
    "wait", "touch", "rename",
]  # fmt: skip


@dataclass(slots=True)
class OpenFile:
    """An open file of a list: one alloc. `holders` are the processes that have it open at the point reached."""

    context: str
    opener: str
    holders: set[str]
    unmapped: bool = False


@dataclass(slots=True)
class Sent:
    """A transaction of a list; files are indexes, None where there is no manager."""

    name: str
    oneway: bool
    sender_file: int
    manager_file: int | None
    freed: bool = False
    reply_freed: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One line, with every name resolved to what it meant there."""

    line: int
    text: str
    verb: Verb
    actor: str | None = None
    file: int | None = None
    transaction: int | None = None
    manager: bool = False
    """open: becomes the manager of its context."""
    reply_half: bool = False
    """free: of the reply."""
    child: str | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    """data, objects, extra, reply, bytes, ms... by key."""
    senders: tuple[tuple[str, int], ...] = ()
    """flood: processes and their files."""
    mode: str = ""
    name: str = ""


class RequestList:
    """A list, read line by line; whatever can be known to be wrong is refused with its line."""

    def __init__(self, where: str = "requests") -> None:
        self.where = where
        self.requests: list[Request] = []
        self.files: list[OpenFile] = []
        self.transactions: list[Sent] = []
        self.actors: list[str] = []
        self.contexts: list[str] = []
        self.managers: dict[str, int] = {}
        self.exited: set[str] = set()
        self._line = 0
        self._names: dict[str, int] = {}
        self._checkpoints: set[str] = set()

    def add(self, line: str) -> Request | None:
        """Reads one line.

        Returns:
            The request, or None where the line has none.

        Raises:
            ObserveError: it cannot be meant; with file, line and reason.
        """
        self._line += 1
        text = line.split("#", 1)[0].strip(" \t\r\n")
        words = text.split()
        if not words:
            return None
        reader = _READERS.get(words[0])
        if reader is None:
            self._refuse(f"there is no request {words[0]}")
        taken = _Words(self, words)
        request = Request(self._line, text, words[0], **reader(self, taken))  # type: ignore[arg-type]
        taken.done()
        self.requests.append(request)
        return request

    def _refuse(self, reason: str) -> NoReturn:
        raise ObserveError(f"{self.where}:{self._line}: {reason}")

    # What the words mean.

    def _check_name(self, what: str, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            self._refuse(f"{what} {name} may hold letters, digits, _ and - only")
        if len(name) >= NAME_BYTES:
            self._refuse(f"{what} {name} is longer than {NAME_BYTES - 1} characters")

    def _new_actor(self, name: str) -> str:
        self._check_name("process", name)
        if len(self.actors) == MAX_ACTORS:
            self._refuse(f"more than {MAX_ACTORS} processes")
        self.actors.append(name)
        return name

    def _living(self, name: str) -> str:
        if name not in self.actors:
            self._refuse(f"process {name} has not opened anything")
        if name in self.exited:
            self._refuse(f"process {name} has exited")
        return name

    def _context(self, name: str) -> str:
        if name not in self.contexts:
            self._check_name("context", name)
            if len(self.contexts) == MAX_CONTEXTS:
                self._refuse(f"more than {MAX_CONTEXTS} contexts")
            self.contexts.append(name)
        return name

    def held_file(self, actor: str, context: str) -> int | None:
        """The file of a context that the process has open now."""
        for number in range(len(self.files) - 1, -1, -1):
            if self.files[number].context == context and actor in self.files[number].holders:
                return number
        return None

    def _needed_file(self, actor: str, context: str) -> int:
        file = self.held_file(actor, context)
        if file is None:
            self._refuse(f"process {actor} does not have {context} open")
        return file

    def _opened_file(self, actor: str, context: str) -> int:
        file = self._needed_file(actor, context)
        if self.files[file].opener != actor:  # binder lets only the opener map it and talk through it
            self._refuse(f"process {actor} only inherited {context}")
        return file

    def _let_go(self, actor: str, number: int) -> None:
        file = self.files[number]
        file.holders.discard(actor)
        if file.opener == actor:
            file.unmapped = True
        if not file.holders and self.managers.get(file.context) == number:
            del self.managers[file.context]

    # One function for each verb; each returns the fields of its Request.

    def _open(self, words: _Words) -> dict[str, Any]:
        actor = words.take("WHO")
        actor = self._living(actor) if actor in self.actors else self._new_actor(actor)
        context = self._context(words.take("CONTEXT"))
        if self.held_file(actor, context) is not None:
            self._refuse(f"process {actor} has {context} open already")
        if len(self.files) == MAX_FILES:
            self._refuse(f"more than {MAX_FILES} opens")
        size = words.number("bytes", 1 << 30, 0)
        if size == 0 and words.has("bytes"):
            self._refuse("bytes must be at least 1")
        number = len(self.files)
        self.files.append(OpenFile(context, actor, {actor}))
        manager = context not in self.managers
        if manager:
            self.managers[context] = number
        return {"actor": actor, "file": number, "manager": manager, "numbers": {"bytes": size}}

    def _transaction(self, words: _Words) -> dict[str, Any]:
        actor = self._living(words.take("WHO"))
        context = self._context(words.take("CONTEXT"))
        file = self._opened_file(actor, context)
        oneway = words.verb == "oneway"
        numbers = {
            "data": words.number("data", MAX_TRANSACTION_BYTES),
            "objects": words.number("objects", MAX_TRANSACTION_BYTES, 0),
            "extra": words.number("extra", MAX_TRANSACTION_BYTES, 0),
        }
        if numbers["data"] < numbers["objects"] * OBJECT_BYTES:
            objects = f"{numbers['objects']} objects of {OBJECT_BYTES} bytes"
            self._refuse(f"data={numbers['data']} is too small for {objects}")
        if numbers["extra"] % 8:
            self._refuse("extra must be a multiple of 8")
        if not oneway:
            numbers["reply"] = words.number("reply", MAX_TRANSACTION_BYTES)
        word = words.take("as NAME")
        if word != "as":
            self._refuse(f'{words.verb}: expected "as NAME" instead of {word}')
        name = words.take("NAME")
        self._check_name("name", name)
        if name in self._names:
            self._refuse(f"the name {name} is taken")
        manager_file = self.managers.get(context)
        if manager_file is not None and self.files[manager_file].opener == actor:
            self._refuse(f"process {actor} manages {context} and cannot call itself")
        self._names[name] = len(self.transactions)
        self.transactions.append(Sent(name, oneway, file, manager_file))
        return {"actor": actor, "file": file, "transaction": self._names[name], "numbers": numbers}

    def _free(self, words: _Words) -> dict[str, Any]:
        name = words.take("NAME")
        reply_half = name.endswith(".reply")
        name = name.removesuffix(".reply")
        if name not in self._names:
            self._refuse(f"nothing was sent as {name}")
        number = self._names[name]
        sent = self.transactions[number]
        if reply_half and sent.oneway:
            self._refuse(f"{name} is one-way and has no reply")
        if sent.reply_freed if reply_half else sent.freed:
            self._refuse(f"{name}{'.reply' if reply_half else ''} is freed already")
        if reply_half:
            sent.reply_freed = True
        else:
            sent.freed = True
        fields: dict[str, Any] = {"transaction": number, "reply_half": reply_half}
        file = sent.sender_file if reply_half else sent.manager_file
        if file is None:
            return fields  # there was no manager: it failed, and there is nothing to free
        opener = self.files[file].opener
        if opener not in self.files[file].holders:
            self._refuse(f"process {opener}, which held {name}, has closed its file")
        if sent.oneway:
            for older in self.transactions[:number]:
                if older.oneway and older.manager_file == file and not older.freed:
                    self._refuse(f"one-way buffers are freed in the order they were sent: {older.name} comes first")
        return {**fields, "file": file, "actor": opener}

    def _unmap(self, words: _Words) -> dict[str, Any]:
        actor = self._living(words.take("WHO"))
        file = self._opened_file(actor, self._context(words.take("CONTEXT")))
        if self.files[file].unmapped:
            self._refuse("it is unmapped already")
        self.files[file].unmapped = True
        return {"actor": actor, "file": file}

    def _close(self, words: _Words) -> dict[str, Any]:
        actor = self._living(words.take("WHO"))
        file = self._needed_file(actor, self._context(words.take("CONTEXT")))
        self._let_go(actor, file)
        return {"actor": actor, "file": file}

    def _exit(self, words: _Words) -> dict[str, Any]:
        actor = self._living(words.take("WHO"))
        for number, file in enumerate(self.files):
            if actor in file.holders:
                self._let_go(actor, number)
        self.exited.add(actor)
        return {"actor": actor}

    def _fork(self, words: _Words) -> dict[str, Any]:
        actor = self._living(words.take("WHO"))
        child = words.take("CHILD")
        if child in self.actors:
            self._refuse(f"process {child} exists already")
        self._new_actor(child)
        for file in self.files:
            if actor in file.holders:
                file.holders.add(child)
        return {"actor": actor, "child": child}

    def _rename(self, words: _Words) -> dict[str, Any]:
        actor = self._living(words.take("WHO"))
        name = words.take("NAME")
        self._check_name("NAME", name)
        return {"actor": actor, "name": name}

    def _flood(self, words: _Words) -> dict[str, Any]:
        context = self._context(words.take("CONTEXT"))
        file = self.managers.get(context)
        if file is None or self.files[file].unmapped:
            self._refuse(f"{context} has no manager")
        manager = self.files[file].opener
        if any(t.oneway and t.manager_file == file and not t.freed for t in self.transactions):
            self._refuse(f"free the one-way buffers of {context} first: the kernel delivers no other before")
        senders: dict[str, int] = {}
        for name in words.option("senders").split(","):
            actor = self._living(name)
            number = self._opened_file(actor, context)
            if self.files[number].unmapped:
                self._refuse(f"process {actor} has {context} unmapped")
            if actor == manager:
                self._refuse(f"process {actor} manages {context} and cannot call itself")
            if actor in senders:
                self._refuse(f"process {actor} is named twice")
            senders[actor] = number
        limits = {"threads": 64, "count": 10_000_000, "min": MAX_TRANSACTION_BYTES, "max": MAX_TRANSACTION_BYTES,
                  "seed": (1 << 32) - 1}  # fmt: skip
        numbers = {key: words.number(key, limit) for key, limit in limits.items()}
        numbers["hold"] = words.number("hold", 4096, 0)
        if not numbers["threads"]:
            self._refuse("threads must be at least 1")
        if numbers["min"] > numbers["max"]:
            self._refuse("min is larger than max")
        mode = words.option("mode")
        if mode not in ("sync", "oneway", "mixed"):
            self._refuse(f"mode must be sync, oneway or mixed, not {mode}")
        return {"actor": manager, "file": file, "senders": tuple(senders.items()), "numbers": numbers, "mode": mode}

    def _sleep(self, words: _Words) -> dict[str, Any]:
        return {"numbers": {"ms": words.whole("MS", words.take("MS"), 86_400_000)}}

    def _checkpoint(self, words: _Words) -> dict[str, Any]:
        name = words.take("NAME")
        self._check_name("name", name)
        if name in self._checkpoints:
            self._refuse(f"there is a checkpoint {name} already")
        self._checkpoints.add(name)
        return {"name": name}

    def _path(self, words: _Words) -> dict[str, Any]:
        return {"name": words.take("FILE")}

    def _nothing(self, words: _Words) -> dict[str, Any]:
        return {}


class _Words:
    """The words of a line: plain ones in order, KEY=VALUE wherever they stand."""

    def __init__(self, reader: RequestList, words: Sequence[str]) -> None:
        self.verb = words[0]
        self._refuse = reader._refuse
        self._plain = [word for word in words[1:] if "=" not in word]
        self._options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        self._used: set[str] = set()

    def take(self, what: str) -> str:
        if not self._plain:
            self._refuse(f"{self.verb}: {what} is missing")
        return self._plain.pop(0)

    def has(self, key: str) -> bool:
        return key in self._options

    def option(self, key: str) -> str:
        if key not in self._options:
            self._refuse(f"{self.verb}: {key}= is missing")
        self._used.add(key)
        return self._options[key]

    def number(self, key: str, limit: int, otherwise: int | None = None) -> int:
        if otherwise is not None and key not in self._options:
            return otherwise
        return self.whole(key, self.option(key), limit)

    def whole(self, what: str, text: str, limit: int) -> int:
        if not re.fullmatch(r"[0-9]+", text) or int(text) > limit:
            self._refuse(f"{what} must be a whole number up to {limit}, not {text}")
        return int(text)

    def done(self) -> None:
        left = self._plain + [f"{k}={v}" for k, v in self._options.items() if k not in self._used]
        if left:
            self._refuse(f"{self.verb}: what is {left[0]}?")


_READERS: Final[dict[str, Callable[[RequestList, _Words], dict[str, Any]]]] = {
    "open": RequestList._open,
    "call": RequestList._transaction,
    "oneway": RequestList._transaction,
    "free": RequestList._free,
    "reclaim": RequestList._nothing,
    "unmap": RequestList._unmap,
    "close": RequestList._close,
    "exit": RequestList._exit,
    "fork": RequestList._fork,
    "flood": RequestList._flood,
    "sleep": RequestList._sleep,
    "checkpoint": RequestList._checkpoint,
    "wait": RequestList._path,
    "touch": RequestList._path,
    "rename": RequestList._rename,
}


def parse_requests(text: str, where: str = "requests") -> RequestList:
    """A list from its text.

    Raises:
        ObserveError: with file, line and reason.
    """
    requests = RequestList(where)
    for line in text.splitlines():
        requests.add(line)
    return requests


def load_requests(path: str | Path) -> RequestList:
    """A list from a file.

    Raises:
        ObserveError: it cannot be read, or a line cannot be meant.
    """
    try:
        return parse_requests(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ObserveError(f"cannot read the requests {path}: {error.strerror}") from None
