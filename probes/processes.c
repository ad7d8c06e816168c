/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks a process up by its pid, in the collector's pid namespace or in the initial one, each time that the collector runs
 * the program (BPF_PROG_TEST_RUN): what find_pid_ns() does (kernel/pid.c). For a collector in a namespace of its own,
 * whose /proc shows other pids than the events have.
 *
 * A part of binder_pages.c. The loader defines, beside what that asks for: TASK_PID_LINKS, TASK_THREAD_PID (in struct
 * task_struct), PID_LEVEL, PID_TASKS, PID_NUMBERS (struct pid), UPID_NR, UPID_NS, UPID_SIZE (struct upid), NS_IDR
 * (struct pid_namespace: the head of its xarray) and NODE_SHIFT, NODE_SLOTS, NODE_SIZE (struct xa_node: two offsets and
 * how many slots it has).
 */

/* What is asked, and the answer. */
struct process {
	u32 nr;    /* in: a pid */
	u32 inner; /* in: whether that is a number of the collector's namespace, or of the initial one */
	u32 pid;   /* out: the pid in the initial namespace */
	struct comm comm; /* out */
};
BPF_TABLE("array", u32, struct process, process, 1);

#define TREE_HEIGHT 6	   /* as many bits of an index in each level; pids have 22 (PID_MAX_LIMIT) */
#define PIDTYPE_TGID 1	   /* enum pid_type, include/linux/pid_types.h */
#define HLIST_NODE_SIZE 16 /* two pointers */

/* Address of the struct upid of a struct pid in the namespace of that level. */
static __always_inline u64 upid(u64 pid, u32 level)
{
	return pid + PID_NUMBERS + (u64)level * UPID_SIZE;
}

int find_process(void *ctx)
{
	u32 zero = 0, level, nr;
	struct process *asked = process.lookup(&zero);
	u64 own, space, entry, node, task;
	u8 shift = 0;

	if (!asked)
		return 0;
	nr = asked->nr;
	own = read_u64(bpf_get_current_task() + TASK_THREAD_PID);
	level = asked->inner ? read_u32(own + PID_LEVEL) : 0;
	space = read_u64(upid(own, level) + UPID_NS);
	entry = read_u64(space + NS_IDR);
#pragma unroll
	for (int i = 0; i < TREE_HEIGHT; i++) {
		/* xa_is_node(), include/linux/xarray.h; small ones are no nodes but markers */
		if ((entry & 3) == 2 && entry > 4096) {
			node = entry - 2;
			bpf_probe_read_kernel(&shift, sizeof(shift), (void *)node + NODE_SHIFT);
			entry = read_u64(node + NODE_SLOTS + (nr >> (shift & 31) & (NODE_SIZE - 1)) * sizeof(u64));
		}
	}
	/* The tree may have changed meanwhile, and an index too large for it lands in a wrong slot: it says itself who it is. */
	if (!entry || entry & 3 || read_u32(upid(entry, level) + UPID_NR) != nr ||
	    read_u64(upid(entry, level) + UPID_NS) != space)
		return 0;
	task = read_u64(entry + PID_TASKS + PIDTYPE_TGID * sizeof(u64));
	if (!task)
		return 0; /* it is gone, or a thread that does not lead its process */
	task -= TASK_PID_LINKS + PIDTYPE_TGID * HLIST_NODE_SIZE;
	asked->pid = read_u32(upid(entry, 0) + UPID_NR);
	bpf_probe_read_kernel_str(&asked->comm, sizeof(asked->comm), (void *)task + TASK_COMM);
	return 1;
}
