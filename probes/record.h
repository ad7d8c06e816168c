/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What one ring buffer record holds. The kinds are those of binder_observe/events.py, the layout is that of
 * RECORD in binder_observe/sources/ring.py; tests/test_probes.py holds the three together.
 */
#ifndef BINDER_OBSERVE_RECORD_H
#define BINDER_OBSERVE_RECORD_H

enum kind {
	ALLOC_PAGE_START = 1,
	ALLOC_PAGE_END = 2,
	ALLOC_LRU_START = 3,
	ALLOC_LRU_END = 4,
	FREE_LRU_START = 5,
	FREE_LRU_END = 6,
	UNMAP_KERNEL_START = 7,
	UNMAP_KERNEL_END = 8,
	UNMAP_USER_START = 9,
	UNMAP_USER_END = 10,
	RELEASE_START = 11,
	RELEASE_END = 12,
	SNAPSHOT_HIGH = 19,
	LRU_SKIP_ALLOC_LOCK = 20,
	LRU_SKIP_MMAP_LOCK = 21,
	LRU_SKIP_MM_GONE = 22,
	LRU_SKIP_OTHER = 23,
	MMAP = 25,
};

/*
 * A record of this kind is the states of up to 32 pages, and the collector makes SNAPSHOT_* events of it: `page` is the first
 * page, `cpu` how many there are (0: it says nothing), bit N of `tgid` is set if page + N is installed, and of `tid` if
 * that is on the LRU. A SNAPSHOT_HIGH of `cpu` 0 says nothing, either.
 */
#define SNAPSHOT_PAGES 63
#define SNAPSHOT_PAGES_MOST 32

/* What one run of the program that makes them says. */
#define WALK_DONE 0
#define WALK_STEP 1  /* there is more */
#define WALK_BUSY 2  /* the alloc is changing: again, a little later */
#define WALK_FULL 3  /* no room in the ring: again, once it is read */
#define WALK_PATIENCE 1000 /* how often in a row an alloc may be busy until it is left out */

/* Every record has this size, so that the collector can view the whole ring as one array. */
struct record {
	u64 ts_ns; /* CLOCK_BOOTTIME */
	u32 alloc; /* number of the binder_alloc, from 1 */
	u32 page;  /* page index; mapping size in pages for MMAP */
	u32 tgid;
	u32 tid;
	u32 lost; /* events of this alloc that found no room before this one */
	u16 cpu;
	u8 kind;
	u8 pad;
};

/* Keys of the filters: zero from the string's end on. A longer name is cut, by the kernel (TASK_COMM_LEN) or by us. */
struct comm {
	char text[16];
};

struct context {
	char text[64];
};

/* What is told of an alloc once, at first sight; the collector takes it from the map by number. */
struct description {
	u32 pid;   /* of the owner, in the init namespace */
	u32 pages; /* mapping size */
	u32 high;  /* pages_high at first sight */
	u32 lost;  /* events that found no room so far */
	u8 released;
	struct comm comm;
	struct context context;
};

/* How long after somebody new fits the filters what was not wanted is looked at again. */
#define WIDENED_NS 1000000000ULL

#endif
