/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the controller share. */
#ifndef WORKLOAD_CONTROLLER_H
#define WORKLOAD_CONTROLLER_H

#include <stdio.h>

#include "workload.h"

struct actor {
    pid_t pid; /* 0: not started; kept when it has ended */
    bool alive;
    int channel; /* while it is alive */
};

extern struct list list;
extern struct actor actors[MAX_ACTORS];

/* ---- workload_crew.c: the actors, as the controller sees them ---- */

void crew_start(int actor);
void crew_fork(int parent, int child);
/* Returns when its mappings are gone; the kernel lets go of its files later. */
void crew_end(int actor);
void crew_tell(int actor, struct message message);
struct answer crew_hear(int actor);
struct answer crew_ask(int actor, struct message message);
/* From now on this request is being executed (NULL: none is left), and must be done in so many seconds. */
void crew_watch(const struct request *request, unsigned seconds);

/* ---- workload_results.c ---- */

void results_open(const char *directory);
void results_close(void);
/* A path as a list means it: relative to the results. */
void results_resolve(const char *name, char *path, size_t bytes);
FILE *results_create(const char *name, const char *suffix);
void results_finish(FILE *stream);
/* actors.json: written anew for each process that joins, so that a tool can look one up while the list runs. */
void results_actors(void);
/* A line of log.jsonl; *more* is what there is to say beyond success or failure: ", \"key\": value..." */
void results_record(const struct request *request, uint32_t failure, const char *more);

#endif
