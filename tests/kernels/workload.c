/* SPDX-License-Identifier: Apache-2.0 */
/* The controller: one request at a time, from the list to the actors, and what came of it to the results. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workload_controller.h"

#define USAGE "usage: workload [--limit SECONDS] LIST RESULTS\n       workload --check LIST\n"
#define REQUEST_SECONDS 300 /* no request takes that long, a flood in an emulator included */

struct list list;
static uint64_t open_files; /* as the kernel has them */

/* Waits until the kernel has let go of these files: it does so later, in a worker. */
static void wait_released(uint64_t files)
{
    open_files &= ~files;
    for (int i = 0; i < list.file_count; i++) {
        const struct open_file *file = &list.files[i];
        int remaining = 0; /* the actor may have opened that context again, while a child kept the first file */

        for (int other = 0; other < list.file_count; other++)
            remaining += open_files >> other & 1 && list.files[other].opener == file->opener &&
                         list.files[other].context == file->context;
        if (files >> i & 1)
            kernel_wait_released(actors[file->opener].pid, list.contexts[file->context], remaining);
    }
}

/* ---- requests; each returns the failure that binder reported, and may have more to say for the record ---- */

static uint32_t run_open(const struct request *request, FILE *more)
{
    struct message message = {
        .order = ORDER_OPEN, .file = request->file, .bytes = request->bytes, .manager = request->manager};

    if (!actors[request->actor].alive)
        crew_start(request->actor);
    open_files |= UINT64_C(1) << request->file;
    strcpy(message.name, list.contexts[list.files[request->file].context]);
    fprintf(more, ", \"pid\": %d, \"manager\": %s", crew_ask(request->actor, message).pid,
            request->manager ? "true" : "false");
    return 0;
}

static uint32_t run_transaction(const struct request *request, FILE *more)
{
    struct transaction *transaction = &list.transactions[request->transaction];
    bool call = request->verb == VERB_CALL;
    int manager = transaction->manager_answers ? list.files[transaction->manager_file].opener : -1;
    struct message message = {
        .serial = (uint32_t)request->transaction + 1, .data = request->data, .objects = request->objects,
        .extra = request->extra, .reply = request->reply};
    struct answer arrived = {0}, answer;

    if (call && manager >= 0) {
        message.order = ORDER_EXPECT;
        message.file = transaction->manager_file;
        crew_ask(manager, message);
    }
    message.order = call ? ORDER_CALL : ORDER_ONEWAY;
    message.file = transaction->sender_file;
    answer = crew_ask(request->actor, message);
    if (!call) {
        transaction->held = !answer.failure;
        return answer.failure;
    }
    if (manager >= 0) {
        message.order = ORDER_FIND;
        message.file = transaction->manager_file;
        arrived = crew_ask(manager, message);
    }
    transaction->held = arrived.found;
    transaction->reply_held = !answer.failure;
    if (arrived.found)
        fprintf(more, ", \"offset\": %llu", (unsigned long long)arrived.offset);
    if (transaction->reply_held)
        fprintf(more, ", \"reply_offset\": %llu", (unsigned long long)answer.offset);
    else
        fprintf(more, ", \"failed\": \"%s\"", arrived.found ? "reply" : "call");
    return answer.failure;
}

static uint32_t run_free(const struct request *request, FILE *more)
{
    struct transaction *transaction = &list.transactions[request->transaction];
    struct message message = {
        .order = ORDER_FREE, .file = request->file, .serial = (uint32_t)request->transaction + 1};

    if (request->reply_half ? transaction->reply_held : transaction->held)
        fprintf(more, ", \"offset\": %llu", (unsigned long long)crew_ask(request->actor, message).offset);
    else
        fputs(", \"skipped\": true", more); /* it failed, so nothing is held */
    return 0;
}

static uint32_t run_reclaim(const struct request *request, FILE *more)
{
    (void)request;
    fprintf(more, ", \"writes\": %d", kernel_reclaim());
    return 0;
}

static uint32_t run_unmap_or_close(const struct request *request, FILE *more)
{
    (void)more;
    crew_ask(request->actor, (struct message){
        .order = request->verb == VERB_UNMAP ? ORDER_UNMAP : ORDER_CLOSE, .file = request->file});
    wait_released(request->releases);
    return 0;
}

static uint32_t run_exit(const struct request *request, FILE *more)
{
    (void)more;
    crew_end(request->actor);
    wait_released(request->releases);
    return 0;
}

static uint32_t run_fork(const struct request *request, FILE *more)
{
    crew_fork(request->actor, request->child);
    fprintf(more, ", \"pid\": %d", actors[request->child].pid);
    return 0;
}

static uint32_t run_rename(const struct request *request, FILE *more)
{
    struct message message = {.order = ORDER_RENAME};

    (void)more;
    strcpy(message.name, request->name);
    crew_ask(request->actor, message);
    return 0;
}

static uint32_t run_sleep(const struct request *request, FILE *more)
{
    (void)more;
    usleep((useconds_t)request->milliseconds * 1000);
    return 0;
}

static uint32_t run_checkpoint(const struct request *request, FILE *more)
{
    uint64_t now = kernel_boottime_ns();
    FILE *from = fopen(kernel_stats_path(), "r"), *to = results_create(request->name, ".stats");
    char line[256];

    if (!from)
        die("%s: %s", kernel_stats_path(), strerror(errno));
    while (fgets(line, sizeof(line), from))
        fputs(line, to);
    fclose(from);
    results_finish(to);
    to = results_create(request->name, ".time");
    fprintf(to, "%llu\n", (unsigned long long)now);
    results_finish(to);
    fprintf(more, ", \"taken_ns\": %llu", (unsigned long long)now);
    return 0;
}

static uint32_t run_flood(const struct request *request, FILE *more)
{
    struct message message = {
        .order = ORDER_FLOOD_SERVE, .file = request->file, .threads = request->threads, .count = request->count,
        .min = request->min, .max = request->max, .seed = request->seed, .hold = request->hold,
        .mode = request->mode};
    struct answer sum = {0};
    char text[256];

    crew_ask(request->actor, message);
    message.order = ORDER_FLOOD_SEND;
    for (int i = 0; i < list.actor_count; i++)
        if (request->senders >> i & 1) {
            message.file = request->sender_files[i];
            crew_tell(i, message);
        }
    for (int i = 0; i < list.actor_count; i++)
        if (request->senders >> i & 1) {
            struct answer answer = crew_hear(i);

            sum.sent_sync += answer.sent_sync;
            sum.sent_oneway += answer.sent_oneway;
            sum.refused += answer.refused;
            sum.failed += answer.failed;
        }
    message.order = ORDER_FLOOD_STOP;
    message.file = request->file;
    message.count = sum.sent_oneway;
    crew_ask(request->actor, message);
    snprintf(text, sizeof(text),
             "\"sent\": %llu, \"sync\": %llu, \"oneway\": %llu, \"refused\": %llu, \"failed\": %llu",
             (unsigned long long)(sum.sent_sync + sum.sent_oneway), (unsigned long long)sum.sent_sync,
             (unsigned long long)sum.sent_oneway, (unsigned long long)sum.refused, (unsigned long long)sum.failed);
    fprintf(more, ", %s", text);
    printf("flood, line %d: %s\n", request->line, text);
    fflush(stdout);
    return 0;
}

static uint32_t run_wait(const struct request *request, FILE *more)
{
    char path[4096];

    (void)more;
    results_resolve(request->name, path, sizeof(path));
    while (access(path, F_OK))
        usleep(10000);
    return 0;
}

static uint32_t run_touch(const struct request *request, FILE *more)
{
    char path[4096];
    int fd;

    (void)more;
    results_resolve(request->name, path, sizeof(path));
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    close(fd);
    return 0;
}

static uint32_t (*const runners[])(const struct request *, FILE *) = {
    [VERB_OPEN] = run_open, [VERB_CALL] = run_transaction, [VERB_ONEWAY] = run_transaction, [VERB_FREE] = run_free,
    [VERB_RECLAIM] = run_reclaim, [VERB_UNMAP] = run_unmap_or_close, [VERB_CLOSE] = run_unmap_or_close,
    [VERB_EXIT] = run_exit, [VERB_FORK] = run_fork, [VERB_SLEEP] = run_sleep, [VERB_CHECKPOINT] = run_checkpoint,
    [VERB_FLOOD] = run_flood, [VERB_WAIT] = run_wait, [VERB_TOUCH] = run_touch,
    [VERB_RENAME] = run_rename,
};

static void run(const struct request *request, unsigned limit)
{
    char *more = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&more, &bytes);
    uint32_t failure;

    crew_watch(request, limit + (unsigned)(request->milliseconds / 1000));
    failure = runners[request->verb](request, stream);
    fclose(stream);
    results_record(request, failure, more);
    free(more);
}

static void end_all(unsigned limit)
{
    crew_watch(NULL, limit);
    for (int i = 0; i < list.actor_count; i++)
        if (actors[i].alive)
            crew_end(i);
    wait_released(open_files);
}

static int usage(void)
{
    fputs(USAGE, stderr);
    return 2;
}

int main(int count, char **words)
{
    unsigned limit = REQUEST_SECONDS;
    int next = 1;

    if (count == 3 && !strcmp(words[1], "--check"))
        return list_read(words[2], &list) ? 0 : 2;
    if (count > 3 && !strcmp(words[1], "--limit")) {
        limit = (unsigned)strtoul(words[2], NULL, 10);
        next = 3;
    }
    if (count != next + 2 || !limit || words[next][0] == '-')
        return usage();
    if (!list_read(words[next], &list))
        return 2;
    results_open(words[next + 1]);
    for (size_t i = 0; i < list.request_count; i++)
        run(&list.requests[i], limit);
    end_all(limit);
    results_close();
    return 0;
}
