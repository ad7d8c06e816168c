/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload: executes a list of requests on real binder, one after the other (see lists/README.md for the language).
 *
 *   workload.c         the controller: takes one request at a time and tells the actors...
 *   workload_crew.c    ...which it starts, watches and ends...
 *   workload_results.c ...and writes what came of it
 *   workload_list.c    reads a list and refuses what cannot be meant, before anything runs...
 *   workload_words.c   ...a line at a time
 *   workload_actor.c   an actor: the process that opens binder and acts when it is told to
 *   workload_flood.c   the threads of the one concurrent request
 *   workload_binder.c  the binder protocol
 *   workload_kernel.c  the kernel's own count, and the shrinker
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/android/binder.h>

#define MAX_ACTORS 64
#define MAX_FILES 64
#define MAX_CONTEXTS 8
#define NAME_BYTES 64

/* ---- the list, as resolved by workload_list.c: every name is an index by then ---- */

enum verb {
    VERB_OPEN, VERB_CALL, VERB_ONEWAY, VERB_FREE, VERB_RECLAIM, VERB_UNMAP, VERB_CLOSE, VERB_EXIT, VERB_FORK,
    VERB_SLEEP, VERB_CHECKPOINT, VERB_FLOOD, VERB_WAIT, VERB_TOUCH, VERB_RENAME,
};

enum flood_mode { FLOOD_SYNC, FLOOD_ONEWAY, FLOOD_MIXED };

/* An open file of a binder device: one binder_proc, one binder_alloc. */
struct open_file {
    int context;      /* index into list.contexts */
    int opener;       /* the only actor that can map it and act through it */
    uint64_t holders; /* the actors whose file table has it, as the list is read; 0: released */
    bool unmapped;
};

/* A transaction's buffers: one in the manager's mapping and, of a call, one in the caller's. */
struct transaction {
    char name[NAME_BYTES];
    bool oneway;
    int sender_file;
    int manager_file; /* -1: the context had no manager, so it must fail */
    bool manager_answers; /* false: only a process that inherited the manager's file keeps it open */
    bool freed, reply_freed; /* as the list is read */
    bool held, reply_held;   /* as it runs */
};

struct request {
    int line;
    char *text;
    enum verb verb;
    int actor, file, transaction; /* -1 where the verb has none */
    int child;                    /* fork */
    bool manager;                 /* open: becomes the context's manager */
    bool reply_half;              /* free NAME.reply */
    uint64_t releases;            /* close, exit: files whose last holder this was */
    uint64_t bytes, data, objects, extra, reply, milliseconds;
    char *name; /* checkpoint, wait, touch, rename */
    /* flood */
    uint64_t senders; /* actors */
    int sender_files[MAX_ACTORS];
    uint64_t threads, count, min, max, seed, hold;
    enum flood_mode mode;
};

struct list {
    struct request *requests;
    size_t request_count;
    struct transaction *transactions;
    size_t transaction_count;
    char actors[MAX_ACTORS][NAME_BYTES];
    int actor_count;
    char contexts[MAX_CONTEXTS][NAME_BYTES];
    int context_count;
    struct open_file files[MAX_FILES];
    int file_count;
};

/* Reads a list. Where it is malformed: prints "FILE:LINE: reason" to stderr and returns false. */
bool list_read(const char *path, struct list *list);

/* ---- what the controller and its actors say to each other: one message, one answer ---- */

enum order {
    ORDER_OPEN,        /* file, context, bytes, manager */
    ORDER_EXPECT,      /* file, serial, reply: answer the call that is about to come with that many bytes */
    ORDER_CALL,        /* file, serial, data, objects, extra */
    ORDER_ONEWAY,      /* the same */
    ORDER_FIND,        /* file, serial: has that call's buffer arrived? */
    ORDER_FREE,        /* file, serial */
    ORDER_UNMAP, ORDER_CLOSE, /* file */
    ORDER_FORK,        /* actor; the child's end of its own channel comes with it */
    ORDER_RENAME,      /* name */
    ORDER_EXIT,
    ORDER_FLOOD_SERVE, /* file, threads, hold */
    ORDER_FLOOD_SEND,  /* file, threads, count, min, max, seed, mode */
    ORDER_FLOOD_STOP,  /* file, count: one-way transactions that were accepted */
};

struct message {
    enum order order;
    int actor, file;
    uint32_t serial;
    bool manager;
    enum flood_mode mode;
    uint64_t bytes, data, objects, extra, reply;
    uint64_t threads, count, min, max, seed, hold;
    char name[NAME_BYTES]; /* of the context, of the child, or the new one */
};

struct answer {
    uint32_t failure;    /* BR_FAILED_REPLY, BR_DEAD_REPLY... or 0 */
    bool found;
    pid_t pid;
    uint64_t offset;     /* of the buffer in its mapping */
    uint64_t sent_sync, sent_oneway, refused, failed;
};

/* ---- an actor ---- */

/* A buffer in a mapping of this actor: a transaction it received, or the reply to one it sent. */
struct delivery {
    uint32_t serial;
    binder_uintptr_t address;
};

struct port {
    int fd; /* -1: not open */
    unsigned char *mapping; /* stays when it is unmapped: buffers in it can still be freed */
    uint64_t bytes;
    bool mapped;
    bool mine; /* opened here, not inherited */
    uint32_t expected;
    uint64_t expected_reply;
    struct delivery *deliveries;
    size_t delivery_count;
    struct flood *flood; /* whose threads take this file's work for now */
};

/* Serves orders until it is told to exit or its controller is gone; never returns. */
_Noreturn void actor_run(int channel, const char *name, struct port *inherited);

/* ---- a flood ---- */

/* What a flood did is answered in sent_sync, sent_oneway, refused (tried again), failed (given up). */
void flood_send(int fd, const struct message *order, struct answer *answer);
struct flood *flood_serve(int fd, const struct message *order);
void flood_stop(struct flood *flood, uint64_t oneways);

/* ---- the binder protocol ---- */

/* What one read returned. binder returns at most one transaction or reply a read. */
struct returned {
    bool complete, transaction, replied;
    uint32_t failure;
    struct binder_transaction_data data;
};

struct parcel {
    uint32_t code;
    bool oneway;
    uint64_t data, objects, extra;
};

void binder_write(int fd, const void *commands, size_t bytes);
void binder_command(int fd, uint32_t command);
void binder_free_buffer(int fd, binder_uintptr_t address);
/* Waits until this thread has something to read; false: it has not after so many ms (-1: no limit). */
bool binder_wait(int fd, int milliseconds);
/* Reads without blocking, and acknowledges references on the way. */
void binder_read(int fd, struct returned *returned);
/* Sends to the context's manager and waits for what comes of it; *returned* has the reply or the failure. */
void binder_transact(int fd, const struct parcel *parcel, struct returned *returned);
void binder_reply(int fd, uint32_t code, uint64_t bytes);
const char *binder_failure_name(uint32_t failure);

/* ---- the kernel's own count ---- */

/* Path of a device, under /dev or binderfs. */
void kernel_device(const char *context, char *path, size_t bytes);
const char *kernel_stats_path(void);
/* Waits until so many procs of that pid and context remain, and none is still being released. */
void kernel_wait_released(pid_t pid, const char *context, int remaining);
/* Has the shrinker reclaim every parked page it can; returns how often it had to be asked. */
int kernel_reclaim(void);
uint64_t kernel_boottime_ns(void);

/* Ends this process with one sentence: the workload itself cannot go on. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *must_realloc(void *old, size_t count, size_t bytes);
char *must_copy(const char *text);

#endif
