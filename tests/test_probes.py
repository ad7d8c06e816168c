"""Loading and attaching, with a bcc that only keeps books."""

from __future__ import annotations

import ctypes
import os
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from binder_observe.errors import ObserveError, UnsupportedError
from binder_observe.events import TABLE
from binder_observe.sources import probes
from binder_observe.sources.probes import Probes
from binder_observe.sources.selection import Selection

OFFSETS = {"ALLOC_PID": 104}
ESSENTIAL = [row.tracepoint for row in TABLE if row.tracepoint and row.essential]
LATENCY = [row.tracepoint for row in TABLE if row.tracepoint and not row.default]


class Bpf:
    """bcc.BPF as far as it is used; `lacks` are tracepoints and functions that this kernel has not."""

    RAW_TRACEPOINT = 17
    lacks: tuple[str, ...] = ()
    fails = ""
    made: ClassVar[list[Bpf]]

    def __init__(self, text: str, cflags: list[str]) -> None:
        os.write(2, b"warning: noise of the compiler\n")
        if self.fails:
            os.write(2, f"{self.fails}\n".encode())
            raise Exception("Failed to compile BPF module")
        self.text = text
        self.cflags = cflags
        self.calls: list[tuple[str, str]] = []
        self.funcs: dict[bytes, object] = {}
        self.raw_tracepoint_fds: dict[bytes, int] = {}
        self.kprobe_fds: dict[bytes, int] = {}
        self.tables: dict[str, dict[Any, int]] = {}
        self.made.append(self)

    def __getitem__(self, name: str) -> Any:
        table = self.tables.setdefault(name, {})

        class Table:
            Key = staticmethod(ctypes.create_string_buffer)

            def __setitem__(self, key: Any, value: Any) -> None:
                table[key.value] = value.value

            def __delitem__(self, key: Any) -> None:
                del table[key.value]

            def __getitem__(self, key: Any) -> Any:
                return ctypes.c_uint64(table.get(key.value, 0))

        return Table()

    def load_func(self, name: str, kind: int) -> object:
        assert kind == self.RAW_TRACEPOINT
        return self.funcs.setdefault(name.encode(), SimpleNamespace(fd=os.open(os.devnull, os.O_RDONLY)))

    def attach_raw_tracepoint(self, tp: str, fn_name: str) -> None:
        if tp in self.lacks:
            raise Exception("Failed to attach BPF to raw tracepoint")
        assert tp.encode() not in self.raw_tracepoint_fds
        self.raw_tracepoint_fds[tp.encode()] = os.open(os.devnull, os.O_RDONLY)
        self.calls.append((tp, fn_name))

    def attach_kprobe(self, event: str, fn_name: str) -> None:
        if event in self.lacks or fn_name in self.lacks:
            raise Exception(f"Failed to attach BPF program {fn_name} to kprobe {event}")
        self.kprobe_fds[event.encode()] = 0
        self.calls.append((event, fn_name))

    def attach_kretprobe(self, event: str, fn_name: str) -> None:
        self.attach_kprobe(event, fn_name)
        self.kprobe_fds[f"r_{event}".encode()] = self.kprobe_fds.pop(event.encode())

    def detach_kprobe_event(self, event: bytes) -> None:
        del self.kprobe_fds[event]

    def cleanup(self) -> None:
        self.calls.append(("cleanup", ""))


@pytest.fixture
def bpf(monkeypatch: pytest.MonkeyPatch) -> type[Bpf]:
    class Fresh(Bpf):
        made: ClassVar[list[Bpf]] = []

    monkeypatch.setattr(probes, "load_bcc", lambda: SimpleNamespace(BPF=Fresh))
    return Fresh


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_everything_is_attached_and_detached(bpf: type[Bpf], capfd: pytest.CaptureFixture[str]) -> None:
    before = open_files()
    loaded = Probes(OFFSETS, Selection(pids=(12, 34)), latency=False, ring_bytes=1 << 16, spares=True)
    loaded.add_owner(12)
    loaded.attach()
    (made,) = bpf.made
    assert {"-DALLOC_PID=104", "-DRING_PAGES=16", "-DFILTER_OWNER=2", "-DSPARES=1"} <= set(made.cflags)
    assert "-DLATENCY=1" not in made.cflags
    assert made.tables["owners"] == {12: 1}
    assert loaded.widened_ns() > 0
    loaded.remove_owner(12)
    assert made.tables["owners"] == {}
    for tracepoint in ESSENTIAL:
        programs = [program for tp, program in made.calls if tp == tracepoint]
        first = str(tracepoint).removeprefix("binder_")
        assert programs == [first, *[f"spare_{first}"] * 3]  # the first program is called first
    assert not any(tp in LATENCY for tp, _ in made.calls)
    assert set(loaded.attached) == {*ESSENTIAL, "binder_alloc_deferred_release", "binder_alloc_mmap_handler"}
    assert loaded.missing == []
    loaded.close()
    assert not made.kprobe_fds
    assert made.calls[-1] == ("cleanup", "")
    assert open_files() == before
    assert capfd.readouterr() == ("", "")


def test_kernels_that_need_no_spares_get_none(bpf: type[Bpf]) -> None:
    loaded = Probes(OFFSETS, Selection(), latency=True, ring_bytes=1 << 16, spares=False)
    loaded.attach()
    (made,) = bpf.made
    assert {"-DLATENCY=1"} <= set(made.cflags)
    assert not any(flag.startswith(("-DSPARES", "-DFILTER")) for flag in made.cflags)
    assert loaded.widened_ns() == 0
    assert [tp for tp, _ in made.calls if tp in LATENCY] == LATENCY
    assert not any(program.startswith("spare_") for _, program in made.calls)
    loaded.close()


def test_names_and_contexts_are_cut_as_the_kernel_side_cuts_them(bpf: type[Bpf]) -> None:
    selection = Selection(names=("com.android.systemui", "short"), contexts=("binder", "x" * 80))
    loaded = Probes(OFFSETS, selection, latency=False, ring_bytes=1 << 16, spares=False)
    loaded.attach()
    (made,) = bpf.made
    assert {"-DFILTER_NAME=3", "-DFILTER_CONTEXT=2"} <= set(made.cflags)
    assert made.tables["names"] == {b"com.android.sys": 1, b"ndroid.systemui": 1, b"short": 1}
    assert made.tables["contexts"] == {b"binder": 1, b"x" * 63: 1}
    assert ("task_rename", "task_rename") in made.calls
    loaded.close()


def test_renames_that_are_not_told_are_done_without(bpf: type[Bpf]) -> None:
    bpf.lacks = ("task_rename",)
    loaded = Probes(OFFSETS, Selection(names=("a",)), latency=False, ring_bytes=1 << 16, spares=False)
    loaded.attach()
    assert loaded.missing == ["task_rename"]
    loaded.close()


def test_no_process_is_looked_up_where_that_is_unknown(bpf: type[Bpf]) -> None:
    loaded = Probes(OFFSETS, Selection(), latency=False, ring_bytes=1 << 16, spares=False)
    with pytest.raises(UnsupportedError, match="pids is not known"):
        loaded.find_process(7, inner=True)
    loaded.close()


@pytest.mark.parametrize("tracepoint", ESSENTIAL)
def test_an_essential_tracepoint_that_is_missing_is_named(bpf: type[Bpf], tracepoint: str) -> None:
    bpf.lacks = (tracepoint,)
    loaded = Probes(OFFSETS, Selection(), latency=False, ring_bytes=1 << 16, spares=False)
    with pytest.raises(UnsupportedError, match=f"binder:{tracepoint}") as caught:
        loaded.attach()
    assert caught.value.exit_status == 3
    loaded.close()


def test_other_tracepoints_are_named_and_done_without(bpf: type[Bpf]) -> None:
    bpf.lacks = ("binder_unmap_user_start",)
    loaded = Probes(OFFSETS, Selection(), latency=True, ring_bytes=1 << 16, spares=False)
    loaded.attach()
    assert loaded.missing == ["binder_unmap_user_start"]
    loaded.close()


def test_a_release_that_cannot_be_probed_is_status_3(bpf: type[Bpf]) -> None:
    bpf.lacks = ("binder_alloc_deferred_release",)
    loaded = Probes(OFFSETS, Selection(), latency=False, ring_bytes=1 << 16, spares=False)
    with pytest.raises(UnsupportedError, match="binder_alloc_deferred_release"):
        loaded.attach()
    loaded.close()


SKIPS = {"LRU_SKIP": 3}


def test_the_shrinkers_callback_is_probed_where_it_is_asked_for(bpf: type[Bpf]) -> None:
    for skips, there in ((SKIPS, True), (None, False)):
        loaded = Probes(OFFSETS, Selection(), latency=True, ring_bytes=1 << 16, spares=False, skips=skips)
        loaded.attach()
        made = bpf.made[-1]
        assert ("-DLRU_SKIP=3" in made.cflags) == there
        assert ("int free_page_return(" in made.text) == there
        # the return before the entry: a call that is entered is seen to end
        assert [program for function, program in made.calls if function == "binder_alloc_free_page"] == (
            ["free_page_return", "free_page_entry"] if there else []
        )
        assert ("binder_alloc_free_page" in loaded.attached) == there
        assert loaded.notes == []
        loaded.close()
        assert not made.kprobe_fds


@pytest.mark.parametrize("lacks", ["free_page_return", "free_page_entry"])
def test_a_callback_that_cannot_be_probed_is_noted_and_done_without(bpf: type[Bpf], lacks: str) -> None:
    bpf.lacks = (lacks,)
    loaded = Probes(OFFSETS, Selection(), latency=True, ring_bytes=1 << 16, spares=False, skips=SKIPS)
    loaded.attach()
    (note,) = loaded.notes
    assert note.startswith("what the shrinker skips is not seen: cannot probe binder_alloc_free_page (")
    assert "binder_alloc_free_page" not in loaded.attached
    assert "binder_alloc_page_end" in loaded.attached
    assert not any(b"free_page" in event for event in bpf.made[0].kprobe_fds)
    loaded.close()


def test_what_the_compiler_says_is_in_the_sentence(bpf: type[Bpf], capfd: pytest.CaptureFixture[str]) -> None:
    bpf.fails = "fatal error: 'linux/kconfig.h' file not found"
    with pytest.raises(UnsupportedError, match=r"kconfig\.h' file not found; try: binder-observe doctor"):
        Probes(OFFSETS, Selection(), latency=False, ring_bytes=1 << 16, spares=False)
    assert capfd.readouterr().err == ""


def test_bcc_that_fails_later_is_one_sentence_and_leaves_no_file_open(
    bpf: type[Bpf], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_files()
    loaded = Probes(OFFSETS, Selection(), latency=False, ring_bytes=1 << 16, spares=True)
    loaded.attach()
    (made,) = bpf.made

    def gone(*_: object) -> None:
        raise Exception("libbcc is gone")

    for name in ("__getitem__", "detach_kprobe_event", "cleanup"):
        monkeypatch.setattr(Bpf, name, gone)
    for ask in (loaded.lost_totals, loaded.lost_by_alloc, lambda: loaded.description(1), lambda: loaded.forget(1)):
        with pytest.raises(ObserveError, match=r"bcc failed .*libbcc is gone\); start it again") as caught:
            ask()
        assert caught.value.exit_status == 1
    with pytest.raises(ObserveError, match="bcc failed"):
        loaded.detach()
    loaded.close()
    assert open_files() == before
    assert made.kprobe_fds  # these end with the process
