"""Struct layouts of the running kernel, from its BTF, through libbpf.

libbpf reads the files; what is done here is to follow the `struct btf_type` records that it hands out
(include/uapi/linux/btf.h).
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, Structure, c_char_p, c_int, c_uint32, c_void_p
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from binder_observe.errors import UnsupportedError
from binder_observe.sources import Generation

KERNEL_BTF: Final = Path("/sys/kernel/btf")
MODULE: Final = "binder_linux"

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FUNC = 1, 2, 3, 4, 5, 6, 12
_FLOAT_AND_ENUMS: Final = {6: "enum", 16: "float", 19: "enum"}
# typedef, volatile, const, restrict, type tag (6.1 tags `__user` pointers): these only stand before a type
_MODIFIERS: Final = frozenset({8, 9, 10, 11, 18})
_MAX_ERRNO: Final = 4095


class _Type(Structure):
    _fields_ = (("name_off", c_uint32), ("info", c_uint32), ("size_or_type", c_uint32))

    # Masks as of Linux 7.x, which widened both fields into bits that were zero before.
    @property
    def kind(self) -> int:
        return int(self.info) >> 24 & 0x7F

    @property
    def length(self) -> int:
        return int(self.info) & 0xFFFFFF

    @property
    def has_bitfields(self) -> bool:
        return bool(int(self.info) >> 31)


class _Member(Structure):
    _fields_ = (("name_off", c_uint32), ("type", c_uint32), ("offset", c_uint32))


class _Enumerator(Structure):
    _fields_ = (("name_off", c_uint32), ("val", c_int))


class Btf:
    """The kernel's types; frees libbpf's copy on exit.

    Raises UnsupportedError when libbpf or BTF is missing, and from every look-up that finds nothing.
    """

    def __init__(self, vmlinux: Path, module: Path | None = None) -> None:
        self._lib = libbpf()
        self._base: int | None = None
        self._btf: int | None = None
        silent = self._lib.libbpf_set_print(None)
        try:
            self._btf = self._parsed(self._lib.btf__parse_raw(bytes(vmlinux)), vmlinux)
            if module is not None:
                self._base = self._btf
                self._btf = None
                split = self._lib.btf__parse_raw_split(bytes(module), self._base)
                self._btf = self._parsed(split, module)
        except BaseException:
            self.close()
            raise
        finally:
            self._lib.libbpf_set_print(silent)

    @classmethod
    def load(cls, root: Path = KERNEL_BTF) -> Self:
        """The BTF of binder: that of module binder_linux on top of the kernel's, or the kernel's alone."""
        module = root / MODULE
        return cls(root / "vmlinux", module if module.exists() else None)

    def has_struct(self, name: str) -> bool:
        return self._find(name, _STRUCT) is not None

    def has_function(self, name: str) -> bool:
        """Whether the kernel has this function as one of its own: an inlined one has no BTF."""
        return self._find(name, _FUNC) is not None

    def has_member(self, struct: str, member: str) -> bool:
        return self._member(struct, member) is not None

    def sizeof(self, struct: str) -> int:
        """Size in bytes."""
        return int(self._struct(struct).size_or_type)

    def offset(self, struct: str, member: str) -> int:
        """Offset in bytes; `member` may be inside anonymous structs and unions, or dotted (`alloc.pid`)."""
        bits, _ = self._need(struct, member)
        if bits % 8:
            raise UnsupportedError(f"the kernel's struct {struct} has a bit field for {member}")
        return bits // 8

    def member_type(self, struct: str, member: str) -> str:
        """What a member is, its typedefs and qualifiers taken off: `int`, `pointer`, `struct mutex`..."""
        _, type_id = self._need(struct, member)
        found = self._resolve(type_id)
        if found.kind in (_STRUCT, _UNION):
            name = self._name(found.name_off) or "(anonymous)"
            return f"{'struct' if found.kind == _STRUCT else 'union'} {name}"
        return {_INT: "int", _PTR: "pointer", _ARRAY: "array", **_FLOAT_AND_ENUMS}.get(found.kind, "other")

    def enumerator(self, enum: str, name: str) -> int:
        """The value of a member of an enum of at most 32 bits."""
        type_id = self._find(enum, _ENUM)
        found = self._type(type_id) if type_id is not None else None
        first = ctypes.addressof(found) + ctypes.sizeof(_Type) if found is not None else 0
        for member in (_Enumerator * found.length).from_address(first) if found is not None else ():
            if self._name(member.name_off) == name:
                return int(member.val)
        raise UnsupportedError(f"the kernel's BTF has no {name} in enum {enum}")

    def close(self) -> None:
        for handle in (self._btf, self._base):  # a split one goes before its base
            if handle is not None:
                self._lib.btf__free(handle)
        self._btf = self._base = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _parsed(self, handle: int | None, path: Path) -> int:
        # libbpf 1.x gives NULL, 0.x an errno in place of a pointer
        if handle and handle < ctypes.c_size_t(-_MAX_ERRNO).value:
            return handle
        if not path.exists():
            raise UnsupportedError(f"the kernel has no BTF at {path} (CONFIG_DEBUG_INFO_BTF)")
        raise UnsupportedError(f"libbpf cannot read the BTF at {path}")

    def _handle(self) -> int:
        if self._btf is None:
            raise ValueError("the BTF is closed")
        return self._btf

    def _type(self, type_id: int) -> Any:
        return self._lib.btf__type_by_id(self._handle(), type_id).contents

    def _name(self, offset: int) -> str:
        return bytes(self._lib.btf__name_by_offset(self._handle(), offset)).decode()

    def _find(self, name: str, kind: int) -> int | None:
        type_id = self._lib.btf__find_by_name_kind(self._handle(), name.encode(), kind)
        return int(type_id) if type_id > 0 else None

    def _struct(self, name: str) -> Any:
        type_id = self._find(name, _STRUCT)
        if type_id is None:
            raise UnsupportedError(f"the kernel's BTF has no struct {name}")
        return self._type(type_id)

    def _resolve(self, type_id: int) -> Any:
        found = self._type(type_id)
        while found.kind in _MODIFIERS:
            found = self._type(found.size_or_type)
        return found

    def _need(self, struct: str, member: str) -> tuple[int, int]:
        found = self._member(struct, member)
        if found is None:
            raise UnsupportedError(f"the kernel's struct {struct} has no member {member}")
        return found

    def _member(self, struct: str, path: str) -> tuple[int, int] | None:
        """Offset in bits and type of a member."""
        at, inside = 0, self._struct(struct)
        type_id = 0
        for name in path.split("."):
            found = self._walk(inside, name) if inside.kind in (_STRUCT, _UNION) else None
            if found is None:
                return None
            at += found[0]
            type_id = found[1]
            inside = self._resolve(type_id)
        return at, type_id

    def _walk(self, inside: Any, name: str) -> tuple[int, int] | None:
        first = ctypes.addressof(inside) + ctypes.sizeof(_Type)
        for member in (_Member * inside.length).from_address(first):
            at = member.offset & 0xFFFFFF if inside.has_bitfields else member.offset
            found_name = self._name(member.name_off)
            if found_name == name:
                return at, member.type
            if not found_name:
                nested = self._resolve(member.type)
                below = self._walk(nested, name) if nested.kind in (_STRUCT, _UNION) else None
                if below is not None:
                    return at + below[0], below[1]
        return None


def generation(btf: Btf) -> Generation:
    """Which allocator this is, by its types: version numbers mislead, since Android's 6.6 has the `6.8` one.

    `6.14`: f909f0308267 ("binder: store shrinker metadata under page->private").
    `6.8`: 37ebbb4f73a0 ("binder: perform page installation outside of locks"). Its series also turned the
    address of the mapping from a pointer into a number, df9aabead791 ("binder: keep vma addresses type as
    unsigned long"). The lock is a worse sign: a spinlock since 7710e2cca32e, the end of that series, and a
    mutex again in the series of 6.14.
    """
    if btf.has_struct("binder_shrinker_mdata"):
        return "6.14"
    if not btf.has_struct("binder_lru_page") or not btf.has_struct("binder_alloc"):
        return "unknown"
    if not btf.has_member("binder_alloc", "buffer"):
        return "unknown"
    kinds: dict[str, Generation] = {"pointer": "6.1", "int": "6.8"}
    return kinds.get(btf.member_type("binder_alloc", "buffer"), "unknown")


@functools.cache
def libbpf() -> Any:
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            lib = ctypes.CDLL(name)
        except OSError:
            continue
        lib.libbpf_set_print.argtypes, lib.libbpf_set_print.restype = [c_void_p], c_void_p
        lib.btf__parse_raw.argtypes, lib.btf__parse_raw.restype = [c_char_p], c_void_p
        lib.btf__parse_raw_split.argtypes = [c_char_p, c_void_p]
        lib.btf__parse_raw_split.restype = c_void_p
        lib.btf__free.argtypes, lib.btf__free.restype = [c_void_p], None
        lib.btf__type_by_id.argtypes, lib.btf__type_by_id.restype = [c_void_p, c_uint32], POINTER(_Type)
        lib.btf__name_by_offset.argtypes, lib.btf__name_by_offset.restype = [c_void_p, c_uint32], c_char_p
        lib.btf__find_by_name_kind.argtypes = [c_void_p, c_char_p, c_uint32]
        lib.btf__find_by_name_kind.restype = c_int
        return lib
    raise UnsupportedError("libbpf, which reads the kernel's BTF, is not installed")
