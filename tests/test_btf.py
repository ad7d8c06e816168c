"""Struct layouts from BTF that libbpf's own writer makes here, one for each generation of the allocator."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from binder_observe.errors import UnsupportedError
from binder_observe.sources import Generation
from binder_observe.sources import btf as btf_module
from binder_observe.sources.btf import KERNEL_BTF, Btf, generation

MUTEX_AND_POINTER = "mutex, void *buffer"
SPINLOCK_AND_NUMBER = "spinlock, unsigned long buffer"
MUTEX_AND_NUMBER = "mutex, unsigned long buffer"
VM_START = "mutex, unsigned long vm_start"


class Writer:
    """Writes BTF through libbpf; type ids are those that it gives."""

    def __init__(self, base: Writer | None = None) -> None:
        self.lib = lib = ctypes.CDLL("libbpf.so.1")
        for name in ("btf__new_empty", "btf__new_empty_split", "btf__raw_data"):
            getattr(lib, name).restype = ctypes.c_void_p
        self.handle: ctypes.c_void_p = ctypes.c_void_p(
            lib.btf__new_empty_split(base.handle) if base else lib.btf__new_empty()
        )
        assert self.handle.value

    def add(self, what: str, *args: Any) -> int:
        """One `btf__add_...`; text and numbers become what C wants."""
        converted = [a.encode() if isinstance(a, str) else ctypes.c_size_t(a) for a in args]
        type_id = int(getattr(self.lib, f"btf__add_{what}")(self.handle, *converted))
        assert type_id >= 0, (what, args)
        return type_id

    def struct(
        self, name: str | None, size: int, members: list[tuple[str | None, int, int]], kind: str = "struct"
    ) -> int:
        """Members as (name, type id, offset in bytes)."""
        type_id = int(getattr(self.lib, f"btf__add_{kind}")(self.handle, name and name.encode(), ctypes.c_uint32(size)))
        assert type_id > 0
        for member, of, at in members:
            self.field(member, of, 8 * at)
        return type_id

    def field(self, name: str | None, of: int, bit: int, bits: int = 0) -> None:
        assert self.lib.btf__add_field(self.handle, name and name.encode(), of, bit, bits) == 0

    def write(self, path: Path) -> None:
        size = ctypes.c_uint32()
        data = self.lib.btf__raw_data(self.handle, ctypes.byref(size))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ctypes.string_at(data, size.value))


class Kernel(Writer):
    """What every vmlinux has, with the ids of its types."""

    def __init__(self) -> None:
        super().__init__()
        self.ulong = self.add("int", "unsigned long", 8, 0)
        self.int = self.add("int", "int", 4, 1)
        self.void_ptr = self.add("ptr", 0)
        self.user_ptr = self.add("ptr", self.add("type_tag", "user", 0))
        self.size_t = self.add("typedef", "size_t", self.add("typedef", "__kernel_size_t", self.ulong))
        self.list_head = self.struct("list_head", 16, [("next", self.void_ptr, 0), ("prev", self.void_ptr, 8)])
        self.mutex = self.struct("mutex", 32, [("wait_list", self.list_head, 16)])
        self.spinlock = self.add("typedef", "spinlock_t", self.struct("spinlock", 4, []))


def add_binder(to: Writer, kernel: Kernel, layout: str, *, mdata: bool, lru_page: bool) -> None:
    """`struct binder_alloc` and what hangs on it, with the offsets of 64-bit Debian kernels."""
    members: list[tuple[str | None, int, int]]
    members = [("mutex", kernel.mutex, 0)] if "mutex" in layout else [("lock", kernel.spinlock, 0)]
    start = {
        MUTEX_AND_POINTER: ("buffer", kernel.user_ptr, 48),
        SPINLOCK_AND_NUMBER: ("buffer", kernel.ulong, 24),
        MUTEX_AND_NUMBER: ("buffer", kernel.ulong, 40),
        VM_START: ("vm_start", kernel.ulong, 32),
    }.get(layout)
    if start:
        members.append(start)
    members += [("pages", kernel.void_ptr, 80), ("buffer_size", kernel.size_t, 96), ("pid", kernel.int, 104)]
    alloc = to.struct("binder_alloc", 136, members)
    to.struct("binder_proc", 600, [("pid", kernel.int, 64), ("alloc", alloc, 488)])
    if mdata:
        to.struct("binder_shrinker_mdata", 32, [("lru", kernel.list_head, 0), ("page_index", kernel.ulong, 24)])
    if lru_page:
        to.struct("binder_lru_page", 32, [("lru", kernel.list_head, 0), ("page_ptr", kernel.void_ptr, 16)])


def write_kernel(
    directory: Path,
    layout: str | None = SPINLOCK_AND_NUMBER,
    *,
    mdata: bool = False,
    lru_page: bool = True,
    module: bool = True,
) -> None:
    """A directory as /sys/kernel/btf is; `layout` None: binder is not loaded."""
    kernel = Kernel()
    if layout is not None and not module:
        add_binder(kernel, kernel, layout, mdata=mdata, lru_page=lru_page)
    kernel.write(directory / "vmlinux")
    if layout is not None and module:
        split = Writer(kernel)
        add_binder(split, kernel, layout, mdata=mdata, lru_page=lru_page)
        split.write(directory / "binder_linux")


@pytest.mark.parametrize("module", [True, False])
@pytest.mark.parametrize(
    ("layout", "mdata", "lru_page", "wanted"),
    [
        (MUTEX_AND_POINTER, False, True, "6.1"),
        (SPINLOCK_AND_NUMBER, False, True, "6.8"),
        (MUTEX_AND_NUMBER, False, True, "6.8"),  # the first patch of 6.14's series alone
        (VM_START, True, False, "6.14"),
        (MUTEX_AND_NUMBER, True, False, "6.14"),  # Android's backport
        (SPINLOCK_AND_NUMBER, False, False, "unknown"),
        ("mutex", False, True, "unknown"),
        (None, False, False, "unknown"),
    ],
)
def test_generation(
    tmp_path: Path, layout: str | None, mdata: bool, lru_page: bool, wanted: Generation, module: bool
) -> None:
    write_kernel(tmp_path, layout, mdata=mdata, lru_page=lru_page, module=module)
    with Btf.load(tmp_path) as btf:
        assert generation(btf) == wanted


def test_layouts(tmp_path: Path) -> None:
    write_kernel(tmp_path)
    with Btf.load(tmp_path) as btf:
        assert btf.has_struct("binder_alloc")
        assert btf.has_struct("list_head")  # of the base
        assert not btf.has_struct("binder_shrinker_mdata")
        assert btf.sizeof("binder_alloc") == 136
        assert btf.offset("binder_alloc", "pid") == 104
        assert btf.offset("binder_proc", "alloc.pid") == 488 + 104
        assert btf.offset("list_head", "prev") == 8
        assert btf.member_type("binder_alloc", "lock") == "struct spinlock"
        assert btf.member_type("binder_alloc", "buffer_size") == "int"
        assert btf.member_type("binder_alloc", "pages") == "pointer"
        assert btf.has_member("binder_alloc", "buffer")
        assert not btf.has_member("binder_alloc", "vm_start")


def test_anonymous_members_and_bit_fields(tmp_path: Path) -> None:
    kernel = Kernel()
    inner = kernel.struct(None, 16, [("mapping", kernel.void_ptr, 0), ("private", kernel.ulong, 8)])
    union = kernel.struct(None, 16, [("lru", kernel.list_head, 0), (None, inner, 0)], kind="union")
    const = kernel.add("const", union)
    kernel.struct("page", 24, [("flags", kernel.ulong, 0), (None, const, 8), ("_union", union, 8)])
    kernel.struct("bits", 16, [])
    kernel.field("whole", kernel.int, 32)
    kernel.field("single", kernel.int, 65, bits=1)
    kernel.add("func", "binder_alloc_deferred_release", 0, kernel.add("func_proto", 0))
    kernel.write(tmp_path / "vmlinux")
    with Btf.load(tmp_path) as btf:
        assert btf.offset("page", "private") == 16
        assert btf.offset("page", "lru.prev") == 16
        assert btf.member_type("page", "_union") == "union (anonymous)"
        assert btf.offset("bits", "whole") == 4
        with pytest.raises(UnsupportedError, match="bit field for single"):
            btf.offset("bits", "single")
        assert btf.has_function("binder_alloc_deferred_release")
        assert not btf.has_function("page")


def test_members_of_enums(tmp_path: Path) -> None:
    kernel = Kernel()
    kernel.add("enum", "lru_status", 4)
    for name, value in (("LRU_REMOVED", 0), ("LRU_SKIP", 3), ("LRU_BAD", -1)):
        assert kernel.lib.btf__add_enum_value(kernel.handle, name.encode(), ctypes.c_int64(value)) == 0
    kernel.write(tmp_path / "vmlinux")
    split = Writer(kernel)
    split.struct("binder_alloc", 8, [])
    split.write(tmp_path / "binder_linux")
    with Btf.load(tmp_path) as btf:
        assert btf.enumerator("lru_status", "LRU_SKIP") == 3
        assert btf.enumerator("lru_status", "LRU_BAD") == -1
        with pytest.raises(UnsupportedError, match="no LRU_STOP in enum lru_status"):
            btf.enumerator("lru_status", "LRU_STOP")
        with pytest.raises(UnsupportedError, match="no A in enum nothing"):
            btf.enumerator("nothing", "A")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    write_kernel(tmp_path)
    with Btf.load(tmp_path) as btf:
        with pytest.raises(UnsupportedError, match="no struct nobody"):
            btf.sizeof("nobody")
        with pytest.raises(UnsupportedError, match="no struct nobody"):
            btf.offset("nobody", "pid")
        with pytest.raises(UnsupportedError, match="struct binder_alloc has no member vm_start"):
            btf.offset("binder_alloc", "vm_start")
        with pytest.raises(UnsupportedError, match=r"struct binder_alloc has no member pid\.x"):
            btf.member_type("binder_alloc", "pid.x")


def test_closed(tmp_path: Path) -> None:
    write_kernel(tmp_path)
    btf = Btf.load(tmp_path)
    btf.close()
    btf.close()
    with pytest.raises(ValueError, match="closed"):
        btf.has_struct("page")


def test_no_btf(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnsupportedError, match=r"no BTF at .*/vmlinux \(CONFIG_DEBUG_INFO_BTF\)"):
        Btf.load(tmp_path)
    write_kernel(tmp_path)
    for damaged in (tmp_path / "binder_linux", tmp_path / "vmlinux"):
        damaged.write_bytes(b"no BTF")
        with pytest.raises(UnsupportedError, match=f"cannot read the BTF at .*/{damaged.name}"):
            Btf.load(tmp_path)
    assert capfd.readouterr() == ("", "")  # libbpf has opinions of its own


def test_nolibbpf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    write_kernel(tmp_path)
    monkeypatch.setattr(ctypes, "CDLL", missing)
    btf_module.libbpf.cache_clear()
    with pytest.raises(UnsupportedError, match="libbpf"):
        Btf.load(tmp_path)


def test_this_machine_like_bpftool() -> None:
    bpftool = which("bpftool") or which("bpftool", path="/usr/sbin")
    if bpftool is None or not (KERNEL_BTF / "vmlinux").exists():
        pytest.skip("takes a kernel with BTF, and bpftool")
    dump = subprocess.run(
        [bpftool, "btf", "dump", "file", str(KERNEL_BTF / "vmlinux")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    header, *members = dump[dump.index("STRUCT 'task_struct' ") :].split("\n[", 1)[0].splitlines()
    offsets = {line.split("'")[1]: line for line in members}
    with Btf(KERNEL_BTF / "vmlinux") as btf:
        assert f" size={btf.sizeof('task_struct')} " in header
        for member in ("pid", "tgid", "comm", "mm"):
            assert offsets[member].endswith(f" bits_offset={8 * btf.offset('task_struct', member)}")
        assert btf.member_type("task_struct", "tgid") == "int"
        assert btf.offset("page", "private") % 8 == 0
