/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Entry and return probes on binder_alloc_free_page(), which the shrinker calls for one parked page after the other. It answers
 * LRU_SKIP, and no tracepoint says so, when something is in its way; what, is told by a look at entry and another at the return.
 * What that is worth is in docs/probes.md.
 *
 * The walk holds the list's lock from before the entry to after the return, unless a page is taken. So a page that is skipped
 * stays on the list meanwhile, and its alloc and mm stay in memory.
 *
 * A part of binder_pages.c. The loader defines, beside what that asks for: LRU_SKIP (enum lru_status), ALLOC_MM and ALLOC_PAGES
 * (in struct binder_alloc), MM_USERS and MMAP_LOCK (the lock's count, in struct mm_struct); either MDATA_LRU, MDATA_ALLOC
 * and MDATA_INDEX (in struct binder_shrinker_mdata), or PAGE_LRU, PAGE_ALLOC and PAGE_ENTRY (struct binder_lru_page: two offsets
 * and its size); and ALLOC_LOCK_FIRST where the callback tries the alloc's lock before it looks at the mm.
 */

/* What can be in the way, the lowest bit first tried. e50f4e6cc9bf ("binder: reverse locking order in shrinker callback"), 6.8 */
#ifdef ALLOC_LOCK_FIRST
#define ALLOC_LOCK 1
#define MM_GONE 2
#define MM_LOCK 4
#else
#define MM_GONE 1
#define MM_LOCK 2
#define ALLOC_LOCK 4
#endif

/* RWSEM_READ_FAILED_MASK, kernel/locking/rwsem.c: bits with which down_read_trylock() fails (a writer, or one that waits) */
#define READ_FAILED ((1ULL << 63) | 7)

/* A page that is offered to the callback. */
struct offer {
	u64 alloc;
	u64 mm;
	u32 page;
	u32 obstacles; /* at entry */
};
BPF_TABLE("hash", u32, struct offer, in_free_page, 4096); /* by tid, from entry to return */

static __always_inline u32 obstacles(struct offer *offer)
{
	u32 found = 0;

	if (!read_u32(offer->mm + MM_USERS))
		found |= MM_GONE;
	if (read_u64(offer->mm + MMAP_LOCK) & READ_FAILED)
		found |= MM_LOCK;
	if (is_locked(offer->alloc))
		found |= ALLOC_LOCK;
	return found;
}

/* The only thing that was in the way at either look; of several the one that is tried first, if it was there at both. */
static __always_inline u8 reason(u32 entry, u32 end)
{
	u32 any = entry | end;
	u32 first = any & -any;

	if (any != first && !(entry & end & first))
		return LRU_SKIP_OTHER;
	if (first == MM_GONE)
		return LRU_SKIP_MM_GONE;
	if (first == ALLOC_LOCK)
		return LRU_SKIP_ALLOC_LOCK;
	if (first != MM_LOCK)
		return LRU_SKIP_OTHER;
#ifdef MDATA_LRU
	/* With the lock of the VMA the callback gets past the mmap lock: 95bc2d4a9020 ("binder: use per-vma lock in page reclaiming") */
	if (any != first)
		return LRU_SKIP_OTHER;
#endif
	return LRU_SKIP_MMAP_LOCK;
}

int free_page_entry(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 item = PT_REGS_PARM1(ctx); /* the list_head by which the page is on the LRU */
	struct offer offer = {};

#ifdef MDATA_LRU
	offer.alloc = read_u64(item - MDATA_LRU + MDATA_ALLOC);
	offer.page = read_u64(item - MDATA_LRU + MDATA_INDEX);
#else
	offer.alloc = read_u64(item - PAGE_LRU + PAGE_ALLOC);
	offer.page = (item - PAGE_LRU - read_u64(offer.alloc + ALLOC_PAGES)) / PAGE_ENTRY;
#endif
	offer.mm = read_u64(offer.alloc + ALLOC_MM);
	offer.obstacles = obstacles(&offer);
	in_free_page.update(&tid, &offer);
	return 0;
}

int free_page_return(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct offer *entered = in_free_page.lookup(&tid);
	struct offer offer;

	if (!entered)
		return 0;
	offer = *entered;
	in_free_page.delete(&tid);
	if ((u32)PT_REGS_RC(ctx) == LRU_SKIP)
		note(offer.alloc, offer.page, reason(offer.obstacles, obstacles(&offer)));
	return 0;
}
