"""What `probes/skips.c` is built with: where the shrinker's callback finds what can be in its way."""

from __future__ import annotations

from binder_observe.sources.btf import Btf, generation
from binder_observe.sources.snapshot import lock_layout


def layout(btf: Btf) -> dict[str, int]:
    """The offsets that `skips.c` asks for, in bytes, by the names of its defines.

    Raises UnsupportedError when the kernel keeps them in another way than those that are known (on PREEMPT_RT, locks).
    """
    found = lock_layout(btf) | {
        "LRU_SKIP": btf.enumerator("lru_status", "LRU_SKIP"),
        "ALLOC_MM": btf.offset("binder_alloc", "mm"),
        "ALLOC_PAGES": btf.offset("binder_alloc", "pages"),
        "MM_USERS": btf.offset("mm_struct", "mm_users"),
        "MMAP_LOCK": btf.offset("mm_struct", "mmap_lock.count"),
    }
    # f909f0308267 ("binder: store shrinker metadata under page->private")
    if btf.has_struct("binder_shrinker_mdata"):
        return found | {
            "MDATA_LRU": btf.offset("binder_shrinker_mdata", "lru"),
            "MDATA_ALLOC": btf.offset("binder_shrinker_mdata", "alloc"),
            "MDATA_INDEX": btf.offset("binder_shrinker_mdata", "page_index"),
        }
    if generation(btf) == "6.1":
        found["ALLOC_LOCK_FIRST"] = 1
    return found | {
        "PAGE_LRU": btf.offset("binder_lru_page", "lru"),
        "PAGE_ALLOC": btf.offset("binder_lru_page", "alloc"),
        "PAGE_ENTRY": btf.sizeof("binder_lru_page"),
    }
