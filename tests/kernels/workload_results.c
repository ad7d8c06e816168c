/* SPDX-License-Identifier: Apache-2.0 */
/* What a list leaves: log.jsonl, actors.json and the checkpoints. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "workload_controller.h"

static const char *results;
static FILE *history; /* log.jsonl */

FILE *results_create(const char *name, const char *suffix)
{
    char path[4096];
    FILE *stream;

    snprintf(path, sizeof(path), "%s/%s%s", results, name, suffix);
    stream = fopen(path, "w");
    if (!stream)
        die("%s: %s", path, strerror(errno));
    return stream;
}

void results_finish(FILE *stream)
{
    if (ferror(stream) | fclose(stream))
        die("cannot write the results: %s", strerror(errno));
}

void results_open(const char *directory)
{
    results = directory;
    if (mkdir(results, 0755) < 0 && errno != EEXIST)
        die("%s: %s", results, strerror(errno));
    history = results_create("log", ".jsonl");
}

void results_close(void)
{
    results_finish(history);
}

void results_resolve(const char *name, char *path, size_t bytes)
{
    if (*name == '/')
        snprintf(path, bytes, "%s", name);
    else
        snprintf(path, bytes, "%s/%s", results, name);
}

void results_actors(void)
{
    char from[4096], to[4096];
    FILE *stream = results_create("actors.json", ".part");
    const char *before = "";

    fputc('{', stream);
    for (int i = 0; i < list.actor_count; i++)
        if (actors[i].pid) {
            fprintf(stream, "%s\"%s\": %d", before, list.actors[i], actors[i].pid);
            before = ", ";
        }
    fputs("}\n", stream);
    results_finish(stream);
    snprintf(from, sizeof(from), "%s/actors.json.part", results);
    snprintf(to, sizeof(to), "%s/actors.json", results);
    if (rename(from, to) < 0)
        die("%s: %s", to, strerror(errno));
}

static void print_quoted(FILE *stream, const char *text)
{
    fputc('"', stream);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', stream);
        if ((unsigned char)*text < ' ')
            fprintf(stream, "\\u%04x", *text);
        else
            fputc(*text, stream);
    }
    fputc('"', stream);
}

void results_record(const struct request *request, uint32_t failure, const char *more)
{
    const char *error = failure ? binder_failure_name(failure) : NULL;

    fprintf(history, "{\"line\": %d, \"request\": ", request->line);
    print_quoted(history, request->text);
    fprintf(history, ", \"ok\": %s, \"ts_ns\": %llu, \"error\": ", error ? "false" : "true",
            (unsigned long long)kernel_boottime_ns());
    fprintf(history, error ? "\"%s\"" : "null", error);
    fprintf(history, "%s}\n", more);
    fflush(history);
}
