/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's own count (binder's `stats` file) and the shrinker. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define RECLAIM_WRITES 20

void kernel_device(const char *context, char *path, size_t bytes)
{
    static const char *const directories[] = {"/dev", "/dev/binderfs"};

    for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++) {
        snprintf(path, bytes, "%s/%s", directories[i], context);
        if (!access(path, R_OK | W_OK))
            return;
    }
    die("there is no device %s: modprobe binder_linux devices=%s", context, context);
}

const char *kernel_stats_path(void)
{
    static const char *const paths[] = {"/sys/kernel/debug/binder/stats", "/dev/binderfs/binder_logs/stats"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
        if (!access(paths[i], R_OK))
            return paths[i];
    die("binder's stats file is not there: mount -t debugfs debugfs /sys/kernel/debug");
}

struct count {
    int listed, existing, matching; /* procs */
    long parked; /* pages, of all mappings */
};

static struct count count_procs(pid_t pid, const char *context)
{
    FILE *stream = fopen(kernel_stats_path(), "r");
    struct count count = {0};
    char line[256], name[128];
    int number = 0;
    long parked;

    if (!stream)
        die("%s: %s", kernel_stats_path(), strerror(errno));
    while (fgets(line, sizeof(line), stream)) {
        if (sscanf(line, "proc: active %d", &count.existing) == 1)
            continue;
        if (sscanf(line, "proc %d", &number) == 1)
            count.listed++;
        else if (sscanf(line, "context %127s", name) == 1)
            count.matching += number == pid && !strcmp(name, context);
        else if (sscanf(line, " pages: %*d:%ld:%*d", &parked) == 1)
            count.parked += parked;
    }
    fclose(stream);
    return count;
}

void kernel_wait_released(pid_t pid, const char *context, int remaining)
{
    for (;;) {
        struct count count = count_procs(pid, context);

        /*
         * binder_deferred_release() takes the proc off the list first and frees its pages last; only then does
         * binder_free_proc() count it as deleted.
         */
        if (count.matching == remaining && count.listed == count.existing)
            return;
        usleep(1000);
    }
}

/*
 * One write has always been enough on an idle machine: drop_slab() asks each shrinker until little comes back. But
 * binder_alloc_free_page() skips a page where it would have to wait for a lock, and pages whose process is gone
 * (mmget_not_zero() fails) can never be reclaimed, so: ask until nothing is parked or nothing changes.
 */
int kernel_reclaim(void)
{
    long parked = -1, before;
    int writes = 0;

    do {
        int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, "2", 1) != 1)
            die("/proc/sys/vm/drop_caches: %s", strerror(errno));
        close(fd);
        writes++;
        before = parked;
        parked = count_procs(0, "").parked;
    } while (parked && parked != before && writes < RECLAIM_WRITES);
    return writes;
}

uint64_t kernel_boottime_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
