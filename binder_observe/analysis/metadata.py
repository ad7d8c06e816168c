"""What the allocator's own metadata costs, before and after "binder: store shrinker metadata under page->private".

Before (up to 6.13) a mapping pays sizeof(struct binder_lru_page) for each of its pages when it is made. Since then it
pays a pointer for each of its pages, and sizeof(struct binder_shrinker_mdata) for each page that is installed. Both are
computed for every run, whichever kernel it ran on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from binder_observe.observation import Sample

POINTER_BYTES: Final = 8
# On 64-bit: a list_head and two words, both times (drivers/android/binder_alloc.h); a power of two, so kmalloc adds
# nothing. Used for the structure that the observed kernel does not have, and where there is no BTF.
DEFAULT_BYTES: Final = {"binder_lru_page": 32, "binder_shrinker_mdata": 32}


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes of metadata of all live mappings together."""

    mean: int  # over the observation
    max: int
    end: int


@dataclass(frozen=True, slots=True)
class MetadataCost:
    """`series` has (seconds since the first sample, bytes before, bytes after), in order of time."""

    struct_bytes: dict[str, int]
    from_btf: tuple[str, ...]  # the structs whose size is the kernel's own
    before: Cost
    after: Cost
    series: tuple[tuple[float, int, int], ...]

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def metadata_cost(
    samples: list[Sample], struct_bytes: dict[str, int], mapped_ns: int, installed_ns: int, duration_ns: int
) -> MetadataCost:
    """From the pages mapped and installed over time.

    `struct_bytes` are sizes from BTF, defaults fill the rest; `mapped_ns` and `installed_ns` are page-time summed over
    all mappings, so that the means are exact, while maxima and the series are those of the samples.
    """
    sizes = {name: struct_bytes.get(name, size) for name, size in DEFAULT_BYTES.items()}
    page, mdata = sizes["binder_lru_page"], sizes["binder_shrinker_mdata"]
    before = [s.mapped * page for s in samples]
    after = [s.mapped * POINTER_BYTES + s.installed * mdata for s in samples]
    duration = max(duration_ns, 1)
    begin = samples[0].ts_ns if samples else 0
    return MetadataCost(
        struct_bytes=sizes,
        from_btf=tuple(sorted(name for name in sizes if name in struct_bytes)),
        before=_cost(mapped_ns * page // duration, before),
        after=_cost((mapped_ns * POINTER_BYTES + installed_ns * mdata) // duration, after),
        series=tuple(((s.ts_ns - begin) / 1e9, b, a) for s, b, a in zip(samples, before, after, strict=True)),
    )


def _cost(mean: int, values: list[int]) -> Cost:
    return Cost(mean, max(values, default=0), values[-1] if values else 0)
