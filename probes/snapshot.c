/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads the state of every page of every open alloc from the kernel, 32 pages each time that the collector runs the program
 * (BPF_PROG_TEST_RUN), and puts it into the ring among the events. Why what it says is true at its place in the ring is
 * in docs/probes.md; the order of the checks below is that argument.
 *
 * A part of binder_pages.c. The loader defines, beside what that asks for: BINDER_PROCS (address of the list of binder processes),
 * PROC_NODE (in struct binder_proc), ALLOC_PAGES (in struct binder_alloc); and either MDATA_LRU (struct binder_shrinker_mdata) with PAGE_PRIVATE
 * (struct page), or PAGE_PTR, PAGE_LRU and PAGE_ENTRY (struct binder_lru_page: two offsets and its size).
 */

/* Where the walk is. All zero: at the beginning of the first one. */
struct walk {
	u64 node;   /* proc_node of the process it is at; 0: at the head of the list */
	u32 page;   /* the first one that is still to be read there */
	u32 busy;   /* how often in a row they could not be */
	u32 number; /* of the walk, to know what it has seen when it begins again from the head */
};
BPF_TABLE("array", u32, struct walk, walks, 1);

/*
 * Whether a process is on the list. It leaves the list before it is torn down (binder_deferred_release()), and nothing
 * else in memory is pointed to by what it points to, so what was read between two times that it is on the list was
 * not read from freed memory.
 */
static __always_inline int listed(u64 node)
{
	u64 pprev = read_u64(node + sizeof(u64));

	return pprev && read_u64(pprev) == node;
}

/* Address of the list_head by which a page is on the LRU; 0: there is no page. */
static __always_inline u64 lru_of(u64 pages, u32 index)
{
#ifdef MDATA_LRU
	u64 page = read_u64(pages + (u64)index * sizeof(u64));

	return page ? read_u64(page + PAGE_PRIVATE) + MDATA_LRU : 0;
#else
	u64 entry = pages + (u64)index * PAGE_ENTRY;

	return read_u64(entry + PAGE_PTR) ? entry + PAGE_LRU : 0;
#endif
}

static __always_inline int go_on(struct walk *walk, u64 node)
{
	walk->node = node;
	walk->page = 0;
	walk->busy = 0;
	if (node)
		return WALK_STEP;
	walk->number++;
	return WALK_DONE;
}

/* The list has changed here: from its head again, past what this walk has seen. */
static __always_inline int begin_again(struct walk *walk)
{
	if (walk->busy++ > WALK_PATIENCE)
		return go_on(walk, 0);
	walk->node = 0;
	walk->page = 0;
	return WALK_STEP;
}

/* A record that says nothing yet: its `cpu` is 0. */
static __always_inline struct record *reserve_row(u8 kind, u32 number, u32 page, u32 lost)
{
	struct record *record = ring.ringbuf_reserve(sizeof(*record));

	if (!record)
		return NULL;
	record->ts_ns = bpf_ktime_get_boot_ns();
	record->alloc = number;
	record->page = page;
	record->tgid = 0;
	record->tid = 0;
	record->lost = lost;
	record->cpu = 0;
	record->kind = kind;
	record->pad = 0;
	return record;
}

int snapshot(void *ctx)
{
	u32 zero = 0, installed = 0, parked = 0, pages, lost, number, count, high;
	struct walk *walk = walks.lookup(&zero);
	struct record *states, *highest;
	struct known *known;
	u64 alloc, array, lru, next, node;

	if (!walk)
		return WALK_DONE;
	if (!walk->node)
		walk->node = read_u64(BINDER_PROCS);
	node = walk->node;
	if (!node)
		return go_on(walk, 0);
	next = read_u64(node);
	if (!listed(node))
		return begin_again(walk);
	alloc = node - PROC_NODE + PROC_ALLOC;
	/* A size before `mapping` is looked at: mmap_entry() ran before there was one, or before we were attached. */
	pages = read_u64(alloc + ALLOC_SIZE) / PAGE_SIZE;
	array = read_u64(alloc + ALLOC_PAGES);
	if (!pages || !array || walk->busy > WALK_PATIENCE)
		return go_on(walk, next);
	walk->busy++;
	if (mapping.lookup(&alloc)) {
		if (walk->busy > WALK_PATIENCE) {
			/* No mmap() takes that long: its return probe was missed (`nmissed`, Documentation/trace/kprobes.rst). */
			mapping.delete(&alloc);
			walk->busy = 1;
		}
		return WALK_BUSY;
	}
	known = look_up(alloc);
	if (!known)
		known = introduce(alloc);
	if (!known || !known->number || known->walked == walk->number + 1)
		return go_on(walk, next);
	number = known->number;
	lost = known->lost;

	if (is_locked(alloc))
		return WALK_BUSY;
	high = read_u64(alloc + ALLOC_HIGH);
	count = pages > walk->page ? pages - walk->page : 0;
	if (count > SNAPSHOT_PAGES_MOST)
		count = SNAPSHOT_PAGES_MOST;
#pragma unroll
	for (u32 i = 0; i < SNAPSHOT_PAGES_MOST; i++) {
		if (i < count) {
			lru = lru_of(array, walk->page + i);
			if (lru) {
				installed |= 1U << i;
				if (read_u64(lru) != lru) /* !list_empty() */
					parked |= 1U << i;
			}
		}
	}
	if (is_locked(alloc))
		return WALK_BUSY;

	states = reserve_row(SNAPSHOT_PAGES, number, walk->page, lost);
	if (!states)
		return WALK_FULL;
	highest = reserve_row(SNAPSHOT_HIGH, number, high, lost);
	if (!highest) {
		ring.ringbuf_submit(states, BPF_RB_NO_WAKEUP);
		return WALK_FULL;
	}
	states->tgid = installed;
	states->tid = parked;
	known = allocs.lookup(&alloc);
	if (!known || known->number != number || known->lost != lost || !listed(node)) {
		ring.ringbuf_submit(states, BPF_RB_NO_WAKEUP);
		ring.ringbuf_submit(highest, BPF_RB_NO_WAKEUP);
		return WALK_BUSY; /* if it is not on the list any more, the next run sees that */
	}
	states->cpu = count;
	highest->cpu = walk->page ? 0 : 1; /* once is enough */
	ring.ringbuf_submit(states, BPF_RB_NO_WAKEUP);
	ring.ringbuf_submit(highest, BPF_RB_NO_WAKEUP);
	walk->busy = 0;
	walk->page += count;
	if (walk->page < pages)
		return WALK_STEP;
	known->walked = walk->number + 1;
	return go_on(walk, next);
}
