// SPDX-License-Identifier: GPL-2.0-only
/*
 * One handler for each tracepoint of struct binder_lru_page_class, and entry and return probes on
 * binder_alloc_mmap_handler() and binder_alloc_deferred_release(). They number allocs, apply the filters and write
 * records; all else is the collector's.
 *
 * The loader defines, from BTF: ALLOC_PID, ALLOC_SIZE, ALLOC_HIGH (offsets in struct binder_alloc), PROC_ALLOC,
 * PROC_CONTEXT, PROC_TSK (in struct binder_proc), CONTEXT_NAME (struct binder_context), TASK_COMM (struct
 * task_struct); from the user's options: RING_PAGES, MAX_ALLOCS, LATENCY, and of each filter how many values it has:
 * FILTER_OWNER, FILTER_NAME, FILTER_CONTEXT; and SPARES where tracepoints can be preempted. bcc rewrites only one file, so
 * snapshot.c is appended to this one where page states can be read, processes.c where pids have to be looked up, and
 * skips.c where LRU_SKIP can be seen. The first and the last need LOCK_WORD (in struct binder_alloc) and LOCK_MASK (which of its
 * bits say that the lock is held).
 */
#include <uapi/linux/ptrace.h>
#include "record.h"

/* What the kernel side remembers of a live binder_alloc. Number 0: the filters do not want it. */
struct known {
	u32 number;
	u32 lost;   /* events that found no room in the ring */
	u64 last;   /* identity() of the last event that happened under the alloc's lock; of number 0 when that was decided */
	u32 walked; /* number of the last walk that has read its pages, from 1 */
};

BPF_RINGBUF_OUTPUT(ring, RING_PAGES);
BPF_TABLE("hash", u64, struct known, allocs, MAX_ALLOCS);
BPF_TABLE("hash", u32, struct description, descriptions, MAX_ALLOCS); /* by number, removed by the collector */
BPF_TABLE("hash", u32, u64, in_mmap, 4096);    /* tid -> alloc, from entry to return */
BPF_TABLE("hash", u64, u32, mapping, 4096);    /* alloc -> tid, likewise */
BPF_TABLE("hash", u32, u64, in_release, 4096); /* tid -> alloc */
BPF_TABLE("array", u32, u32, last_number, 1);
BPF_TABLE("lru_hash", u32, u64, last_install, 4096); /* tid -> identity() of its last install event */
BPF_TABLE("percpu_array", u32, u64, rescued, 64);    /* by kind: events that a spare took */
BPF_TABLE("percpu_array", u32, u64, lost, 2); /* LOST_RING, LOST_TABLE */

/* Filters: an alloc must be in each of the tables that there are. */
#ifdef FILTER_OWNER
BPF_TABLE("hash", u32, u8, owners, FILTER_OWNER); /* pids in the init namespace */
#endif
#ifdef FILTER_NAME
BPF_TABLE("hash", struct comm, u8, names, FILTER_NAME);
#endif
#ifdef FILTER_CONTEXT
BPF_TABLE("hash", struct context, u8, contexts, FILTER_CONTEXT);
#endif
#if defined(FILTER_OWNER) || defined(FILTER_NAME) || defined(FILTER_CONTEXT)
#define FILTERED
BPF_TABLE("lru_hash", u64, struct known, unwanted, MAX_ALLOCS);
BPF_TABLE("array", u32, u64, widened, 1); /* when somebody new came to fit the filters, CLOCK_BOOTTIME */
#endif

#define LOST_RING 0  /* no room in the ring buffer */
#define LOST_TABLE 1 /* no room in `allocs`, so the alloc has no number */

static __always_inline void count_lost(u32 which)
{
	u64 *n = lost.lookup(&which);

	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline u64 read_u64(u64 address)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static __always_inline u32 read_u32(u64 address)
{
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

#ifdef LOCK_WORD
static __always_inline int is_locked(u64 alloc)
{
	return (read_u64(alloc + LOCK_WORD) & LOCK_MASK) != 0;
}
#endif

/*
 * A number that no other alloc has. bcc 0.26 cannot compile a fetch-and-add, so two CPUs may read the same value; the
 * insertion, which fails where the key is taken, decides between them.
 */
static __always_inline u32 claim(struct description *d)
{
	u32 zero = 0;
	u32 *last = last_number.lookup(&zero);
	u32 number;

	if (!last)
		return 0;
#pragma unroll
	for (int try = 0; try < 4; try++) {
		__sync_fetch_and_add(last, 1);
		number = *(volatile u32 *)last;
		if (!descriptions.insert(&number, d))
			return number;
	}
	return 0;
}

#ifdef FILTERED
static __always_inline int is_wanted(struct description *d)
{
#ifdef FILTER_OWNER
	if (!owners.lookup(&d->pid))
		return 0;
#endif
#ifdef FILTER_NAME
	if (!names.lookup(&d->comm))
		return 0;
#endif
#ifdef FILTER_CONTEXT
	if (!contexts.lookup(&d->context))
		return 0;
#endif
	return 1;
}

/* So that the next look need not decide again. */
static __always_inline struct known *refuse(u64 alloc)
{
	struct known nobody = { .last = bpf_ktime_get_boot_ns() };

	unwanted.update(&alloc, &nobody);
	return unwanted.lookup(&alloc);
}

/*
 * That an alloc is not wanted may have to be decided again, when somebody new fits the filters. The tracepoint of a new
 * name comes before the name (__set_task_comm(), fs/exec.c), so for a while after it nothing is decided for good.
 */
static __always_inline int is_stale(struct known *known)
{
	u32 zero = 0;
	u64 *when = widened.lookup(&zero);

	return when && *when && known->last < *when + WIDENED_NS;
}

static __always_inline void forget_unwanted(u64 alloc)
{
	unwanted.delete(&alloc);
}
#else
static __always_inline void forget_unwanted(u64 alloc)
{
}
#endif

/* What is known of an alloc, or NULL. */
static __always_inline struct known *look_up(u64 alloc)
{
	struct known *known = allocs.lookup(&alloc);

#ifdef FILTERED
	if (!known) {
		known = unwanted.lookup(&alloc);
		if (known && is_stale(known))
			known = NULL;
	}
#endif
	return known;
}

/* First sight of an alloc: gives it a number and describes it, unless the filters do not want it. NULL: no room. */
static __always_inline struct known *introduce(u64 alloc)
{
	struct known fresh = {};
	struct description d = {};
	u64 proc = alloc - PROC_ALLOC;

	d.pid = read_u32(alloc + ALLOC_PID);
	bpf_probe_read_kernel_str(&d.comm, sizeof(d.comm), (void *)read_u64(proc + PROC_TSK) + TASK_COMM);
	bpf_probe_read_kernel_str(&d.context, sizeof(d.context),
				  (void *)read_u64(read_u64(proc + PROC_CONTEXT) + CONTEXT_NAME));
#ifdef FILTERED
	if (!is_wanted(&d))
		return refuse(alloc);
	forget_unwanted(alloc);
#endif
	d.pages = read_u64(alloc + ALLOC_SIZE) / PAGE_SIZE;
	d.high = read_u64(alloc + ALLOC_HIGH);
	fresh.number = claim(&d);
	if (!fresh.number)
		return NULL;
	/* Another CPU may have been first: its number stands, and ours is never used. */
	if (allocs.insert(&alloc, &fresh))
		descriptions.delete(&fresh.number);
	return allocs.lookup(&alloc);
}

static __always_inline void submit(struct known *known, u32 page, u8 kind)
{
	struct record *record = ring.ringbuf_reserve(sizeof(*record));
	u64 task;

	if (!record) {
		count_lost(LOST_RING);
		__sync_fetch_and_add(&known->lost, 1);
		return;
	}
	task = bpf_get_current_pid_tgid();
	record->ts_ns = bpf_ktime_get_boot_ns();
	record->alloc = known->number;
	record->page = page;
	record->tgid = task >> 32;
	record->tid = task;
	record->lost = known->lost;
	record->cpu = bpf_get_smp_processor_id();
	record->kind = kind;
	record->pad = 0;
	/* The collector polls on a timer: no wake-up is sent from the traced task. */
	ring.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static __always_inline void note(u64 alloc, u32 page, u8 kind)
{
	struct known *known = look_up(alloc);

	if (!known)
		known = introduce(alloc);
	if (!known)
		count_lost(LOST_TABLE);
	else if (known->number)
		submit(known, page, kind);
}

/*
 * Since tracepoints no longer disable preemption (they are under SRCU-fast and __bpf_trace_run() only disables
 * migration), a task can be preempted inside a BPF program, and the kernel then silently skips that same program for
 * every other task on that CPU (bpf_prog_get_recursion_context(); `recursion_misses` in the program's fdinfo). So each
 * tracepoint has spare programs behind the first one: copies that act only when no program before them took the event.
 *
 * Whether one did is told by the event's identity. Under the alloc's lock no other event of the alloc can come between
 * the first program and the spares. Installs happen outside of it (since 6.8), but a task has one at a time.
 */
#ifdef SPARES
static __always_inline u64 identity(u32 page, u8 kind)
{
	return bpf_get_current_pid_tgid() << 32 | (u64)page << 8 | kind;
}

static __always_inline int is_install(u8 kind)
{
	return kind == ALLOC_PAGE_START || kind == ALLOC_PAGE_END;
}

static __always_inline void remember(struct known *known, u32 page, u8 kind)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 id = identity(page, kind);
	u64 *last;

	if (!is_install(kind)) {
		known->last = id;
		return;
	}
	/* In place where the task is known: an update takes a lock and a new element, which doubles the cost of an event. */
	last = last_install.lookup(&tid);
	if (last)
		*last = id;
	else
		last_install.update(&tid, &id);
}

static __always_inline void spare(u64 alloc, u32 page, u8 kind)
{
	struct known *known = look_up(alloc);
	u32 tid = bpf_get_current_pid_tgid();
	u32 which = kind;
	u64 *last, *n;

	if (known && !known->number)
		return;
	if (known) {
		last = is_install(kind) ? last_install.lookup(&tid) : &known->last;
		if (last && *last == identity(page, kind))
			return;
	} else {
		known = introduce(alloc);
		if (!known || !known->number)
			return; /* the loader counts it: missed and not rescued */
	}
	remember(known, page, kind);
	n = rescued.lookup(&which);
	if (n)
		__sync_fetch_and_add(n, 1);
	submit(known, page, kind);
}
#endif

static __always_inline void first(u64 alloc, u32 page, u8 kind)
{
#ifdef SPARES
	struct known *known = look_up(alloc);

	if (!known)
		known = introduce(alloc);
	if (!known) {
		count_lost(LOST_TABLE);
	} else if (known->number) {
		remember(known, page, kind);
		submit(known, page, kind);
	}
#else
	note(alloc, page, kind);
#endif
}

int alloc_page_start(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], ALLOC_PAGE_START);
	return 0;
}
int alloc_page_end(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], ALLOC_PAGE_END);
	return 0;
}

int alloc_lru_start(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], ALLOC_LRU_START);
	return 0;
}

int free_lru_start(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], FREE_LRU_START);
	return 0;
}

int unmap_kernel_start(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], UNMAP_KERNEL_START);
	return 0;
}

#ifdef LATENCY
int alloc_lru_end(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], ALLOC_LRU_END);
	return 0;
}

int free_lru_end(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], FREE_LRU_END);
	return 0;
}

int unmap_kernel_end(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], UNMAP_KERNEL_END);
	return 0;
}

int unmap_user_start(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], UNMAP_USER_START);
	return 0;
}

int unmap_user_end(struct bpf_raw_tracepoint_args *ctx)
{
	first(ctx->args[0], ctx->args[1], UNMAP_USER_END);
	return 0;
}
#endif

#ifdef SPARES
int spare_alloc_page_start(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], ALLOC_PAGE_START);
	return 0;
}

int spare_alloc_page_end(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], ALLOC_PAGE_END);
	return 0;
}

int spare_alloc_lru_start(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], ALLOC_LRU_START);
	return 0;
}

int spare_free_lru_start(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], FREE_LRU_START);
	return 0;
}

int spare_unmap_kernel_start(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], UNMAP_KERNEL_START);
	return 0;
}

#ifdef LATENCY
int spare_alloc_lru_end(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], ALLOC_LRU_END);
	return 0;
}

int spare_free_lru_end(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], FREE_LRU_END);
	return 0;
}

int spare_unmap_kernel_end(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], UNMAP_KERNEL_END);
	return 0;
}

int spare_unmap_user_start(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], UNMAP_USER_START);
	return 0;
}

int spare_unmap_user_end(struct bpf_raw_tracepoint_args *ctx)
{
	spare(ctx->args[0], ctx->args[1], UNMAP_USER_END);
	return 0;
}
#endif
#endif

/* A return probe does not see the argument, so the entry keeps it by task. */
int mmap_entry(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 alloc = PT_REGS_PARM1(ctx);

	in_mmap.update(&tid, &alloc);
	mapping.update(&alloc, &tid);
	return 0;
}

int mmap_return(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 *entered = in_mmap.lookup(&tid);
	u64 alloc;

	if (!entered)
		return 0;
	alloc = *entered;
	in_mmap.delete(&tid);
	/* Not there any more: the walk gave up waiting, and has described the alloc. */
	if (mapping.lookup(&alloc) && !(int)PT_REGS_RC(ctx)) {
		/* A new mapping is a new alloc, whatever was at this address before. */
		allocs.delete(&alloc);
		forget_unwanted(alloc);
		note(alloc, read_u64(alloc + ALLOC_SIZE) / PAGE_SIZE, MMAP);
	}
	mapping.delete(&alloc);
	return 0;
}

int release_entry(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 alloc = PT_REGS_PARM1(ctx);

	/* A file that was opened and never mapped has no pages and no story. */
	if (!read_u64(alloc + ALLOC_SIZE))
		return 0;
	in_release.update(&tid, &alloc);
	note(alloc, 0, RELEASE_START);
	return 0;
}

int release_return(struct pt_regs *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 *entered = in_release.lookup(&tid);
	struct description *description;
	struct known *known;
	u64 alloc;

	if (!entered)
		return 0;
	alloc = *entered;
	in_release.delete(&tid);
	forget_unwanted(alloc);
	/* The memory is about to be freed: by the address alone, without a look at it. */
	known = allocs.lookup(&alloc);
	if (!known)
		return 0;
	note(alloc, 0, RELEASE_END);
	description = descriptions.lookup(&known->number);
	if (description) {
		description->lost = known->lost;
		description->released = 1;
	}
	allocs.delete(&alloc);
	return 0;
}

#ifdef FILTER_NAME
/* A task is about to get a name that is looked for: by exec(), or by prctl() at any time after it has opened binder. */
int task_rename(struct bpf_raw_tracepoint_args *ctx)
{
	struct comm name = {};
	u32 zero = 0;
	u64 now = bpf_ktime_get_boot_ns();

	bpf_probe_read_kernel_str(&name, sizeof(name), (void *)ctx->args[1]);
	if (names.lookup(&name))
		widened.update(&zero, &now);
	return 0;
}
#endif
