/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a list of requests. All that can be known to be wrong before anything runs is refused here, with its line. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload.h"
#include "workload_words.h"

#define MAX_TRANSACTION_BYTES (16u << 20)

/* What the list has said so far. */
struct reader {
    struct list *list;
    struct words words;
    uint64_t exited; /* actors */
    int manager_file[MAX_CONTEXTS]; /* -1: none */
};

/* ---- what the words mean ---- */

static int find_actor(struct reader *reader, const char *name)
{
    for (int i = 0; i < reader->list->actor_count; i++)
        if (!strcmp(reader->list->actors[i], name))
            return i;
    return -1;
}

static int new_actor(struct reader *reader, const char *name)
{
    struct list *list = reader->list;

    if (list->actor_count == MAX_ACTORS)
        refuse(&reader->words, "more than %d processes", MAX_ACTORS);
    strcpy(list->actors[list->actor_count], name);
    return list->actor_count++;
}

static int living_actor(struct reader *reader, const char *name)
{
    int actor = find_actor(reader, name);

    if (actor < 0)
        refuse(&reader->words, "process %s has not opened anything", name);
    if (reader->exited >> actor & 1)
        refuse(&reader->words, "process %s has exited", name);
    return actor;
}

static int take_context(struct reader *reader)
{
    struct list *list = reader->list;
    const char *name = take_name(&reader->words, "CONTEXT");

    for (int i = 0; i < list->context_count; i++)
        if (!strcmp(list->contexts[i], name))
            return i;
    if (list->context_count == MAX_CONTEXTS)
        refuse(&reader->words, "more than %d contexts", MAX_CONTEXTS);
    strcpy(list->contexts[list->context_count], name);
    reader->manager_file[list->context_count] = -1;
    return list->context_count++;
}

/* The file of a context that the actor has open now; -1: none. */
static int held_file(const struct list *list, int actor, int context)
{
    for (int i = list->file_count - 1; i >= 0; i--)
        if (list->files[i].context == context && list->files[i].holders >> actor & 1)
            return i;
    return -1;
}

static int needed_file(struct reader *reader, int actor, int context)
{
    int file = held_file(reader->list, actor, context);

    if (file < 0)
        refuse(&reader->words, "process %s does not have %s open", reader->list->actors[actor],
               reader->list->contexts[context]);
    return file;
}

static int opened_file(struct reader *reader, int actor, int context)
{
    int file = needed_file(reader, actor, context);

    /* binder lets only the process that opened a file map it and talk through it */
    if (reader->list->files[file].opener != actor)
        refuse(&reader->words, "process %s only inherited %s", reader->list->actors[actor],
               reader->list->contexts[context]);
    return file;
}

static void let_go(struct reader *reader, struct request *request, int actor, int file)
{
    struct open_file *open_file = &reader->list->files[file];

    open_file->holders &= ~(UINT64_C(1) << actor);
    if (open_file->opener == actor)
        open_file->unmapped = true;
    if (open_file->holders)
        return;
    request->releases |= UINT64_C(1) << file;
    if (reader->manager_file[open_file->context] == file)
        reader->manager_file[open_file->context] = -1;
}

static bool opener_holds(const struct open_file *file)
{
    return file->holders >> file->opener & 1;
}

static bool owes_oneways(const struct list *list, int manager_file)
{
    for (size_t i = 0; i < list->transaction_count; i++)
        if (list->transactions[i].oneway && list->transactions[i].manager_file == manager_file &&
            !list->transactions[i].freed)
            return true;
    return false;
}

/* ---- one function for each verb ---- */

static void read_open(struct reader *reader, struct request *request)
{
    struct list *list = reader->list;
    const char *name = take_name(&reader->words, "WHO");
    int actor = find_actor(reader, name);
    int context = take_context(reader);

    actor = actor < 0 ? new_actor(reader, name) : living_actor(reader, name);
    if (held_file(list, actor, context) >= 0)
        refuse(&reader->words, "process %s has %s open already", name, list->contexts[context]);
    if (list->file_count == MAX_FILES)
        refuse(&reader->words, "more than %d opens", MAX_FILES);
    request->actor = actor;
    request->file = list->file_count++;
    request->bytes = optional_number(&reader->words, "bytes", 0, UINT64_C(1) << 30);
    if (option(&reader->words, "bytes") && !request->bytes)
        refuse(&reader->words, "bytes must be at least 1");
    list->files[request->file] = (struct open_file){
        .context = context, .opener = actor, .holders = UINT64_C(1) << actor};
    request->manager = reader->manager_file[context] < 0;
    if (request->manager)
        reader->manager_file[context] = request->file;
}

static void read_transaction(struct reader *reader, struct request *request)
{
    struct list *list = reader->list;
    bool oneway = request->verb == VERB_ONEWAY;
    struct transaction *transaction;
    const char *name;
    int context;

    request->actor = living_actor(reader, take_name(&reader->words, "WHO"));
    context = take_context(reader);
    request->file = opened_file(reader, request->actor, context);
    request->data = needed_number(&reader->words, "data", MAX_TRANSACTION_BYTES);
    request->objects = optional_number(&reader->words, "objects", 0, MAX_TRANSACTION_BYTES);
    request->extra = optional_number(&reader->words, "extra", 0, MAX_TRANSACTION_BYTES);
    if (request->data < request->objects * sizeof(struct flat_binder_object))
        refuse(&reader->words, "data=%llu is too small for %llu objects of %zu bytes",
               (unsigned long long)request->data, (unsigned long long)request->objects,
               sizeof(struct flat_binder_object));
    if (request->extra % 8)
        refuse(&reader->words, "extra must be a multiple of 8");
    if (!oneway)
        request->reply = needed_number(&reader->words, "reply", MAX_TRANSACTION_BYTES);
    skip_options(&reader->words);
    if (strcmp(take(&reader->words, "as NAME"), "as"))
        refuse(&reader->words, "expected as NAME instead of %s", reader->words.word[reader->words.next - 1]);
    name = take_name(&reader->words, "NAME");
    for (size_t i = 0; i < list->transaction_count; i++)
        if (!strcmp(list->transactions[i].name, name))
            refuse(&reader->words, "the name %s is taken", name);
    if (reader->manager_file[context] >= 0 &&
        list->files[reader->manager_file[context]].opener == request->actor)
        refuse(&reader->words, "process %s manages %s and cannot call itself", list->actors[request->actor],
               list->contexts[context]);
    list->transactions = must_realloc(list->transactions, list->transaction_count + 1, sizeof(*list->transactions));
    transaction = &list->transactions[list->transaction_count];
    *transaction = (struct transaction){
        .oneway = oneway, .sender_file = request->file, .manager_file = reader->manager_file[context]};
    strcpy(transaction->name, name);
    if (transaction->manager_file >= 0)
        transaction->manager_answers = opener_holds(&list->files[transaction->manager_file]);
    request->transaction = (int)list->transaction_count++;
}

static void read_free(struct reader *reader, struct request *request)
{
    struct list *list = reader->list;
    char *name = take(&reader->words, "NAME");
    char *dot = strrchr(name, '.');
    struct transaction *transaction = NULL;
    int file;

    if (dot && !strcmp(dot, ".reply")) {
        request->reply_half = true;
        *dot = '\0';
    }
    for (size_t i = 0; i < list->transaction_count; i++)
        if (!strcmp(list->transactions[i].name, name)) {
            transaction = &list->transactions[i];
            request->transaction = (int)i;
        }
    if (!transaction)
        refuse(&reader->words, "nothing was sent as %s", name);
    if (request->reply_half && transaction->oneway)
        refuse(&reader->words, "%s is one-way and has no reply", name);
    if (request->reply_half ? transaction->reply_freed : transaction->freed)
        refuse(&reader->words, "%s%s is freed already", name, request->reply_half ? ".reply" : "");
    *(request->reply_half ? &transaction->reply_freed : &transaction->freed) = true;
    file = request->reply_half ? transaction->sender_file : transaction->manager_file;
    if (file < 0)
        return; /* there was no manager: it failed, and there is nothing to free */
    request->file = file;
    request->actor = list->files[file].opener;
    if (!opener_holds(&list->files[file]))
        refuse(&reader->words, "process %s, which held %s, has closed its file", list->actors[request->actor], name);
    for (struct transaction *older = list->transactions; transaction->oneway && older < transaction; older++)
        if (older->oneway && older->manager_file == file && !older->freed)
            refuse(&reader->words, "one-way buffers are freed in the order they were sent: %s comes first",
                   older->name);
}

static void read_unmap(struct reader *reader, struct request *request)
{
    request->actor = living_actor(reader, take_name(&reader->words, "WHO"));
    request->file = opened_file(reader, request->actor, take_context(reader));
    if (reader->list->files[request->file].unmapped)
        refuse(&reader->words, "it is unmapped already");
    reader->list->files[request->file].unmapped = true;
}

static void read_close(struct reader *reader, struct request *request)
{
    request->actor = living_actor(reader, take_name(&reader->words, "WHO"));
    request->file = needed_file(reader, request->actor, take_context(reader));
    let_go(reader, request, request->actor, request->file);
}

static void read_exit(struct reader *reader, struct request *request)
{
    request->actor = living_actor(reader, take_name(&reader->words, "WHO"));
    for (int file = 0; file < reader->list->file_count; file++)
        if (reader->list->files[file].holders >> request->actor & 1)
            let_go(reader, request, request->actor, file);
    reader->exited |= UINT64_C(1) << request->actor;
}

static void read_fork(struct reader *reader, struct request *request)
{
    const char *child;

    request->actor = living_actor(reader, take_name(&reader->words, "WHO"));
    child = take_name(&reader->words, "CHILD");
    if (find_actor(reader, child) >= 0)
        refuse(&reader->words, "process %s exists already", child);
    request->child = new_actor(reader, child);
    for (int file = 0; file < reader->list->file_count; file++)
        if (reader->list->files[file].holders >> request->actor & 1)
            reader->list->files[file].holders |= UINT64_C(1) << request->child;
}

static void read_rename(struct reader *reader, struct request *request)
{
    request->actor = living_actor(reader, take_name(&reader->words, "WHO"));
    request->name = must_copy(take_name(&reader->words, "NAME"));
}

static void read_flood(struct reader *reader, struct request *request)
{
    struct list *list = reader->list;
    int context = take_context(reader);
    char *senders = must_copy(needed(&reader->words, "senders"));
    const char *mode = needed(&reader->words, "mode");
    char *rest = NULL;

    request->file = reader->manager_file[context];
    if (request->file < 0 || list->files[request->file].unmapped)
        refuse(&reader->words, "%s has no manager", list->contexts[context]);
    request->actor = list->files[request->file].opener;
    if (owes_oneways(list, request->file))
        refuse(&reader->words, "free the one-way buffers of %s first: the kernel delivers no other before",
               list->contexts[context]);
    for (char *name = strtok_r(senders, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        int actor = living_actor(reader, name);

        request->sender_files[actor] = opened_file(reader, actor, context);
        if (list->files[request->sender_files[actor]].unmapped)
            refuse(&reader->words, "process %s has %s unmapped", name, list->contexts[context]);
        if (actor == request->actor)
            refuse(&reader->words, "process %s manages %s and cannot call itself", name, list->contexts[context]);
        if (request->senders >> actor & 1)
            refuse(&reader->words, "process %s is named twice", name);
        request->senders |= UINT64_C(1) << actor;
    }
    free(senders);
    if (!request->senders)
        refuse(&reader->words, "senders= names no process");
    request->threads = needed_number(&reader->words, "threads", 64);
    request->count = needed_number(&reader->words, "count", 10000000);
    request->min = needed_number(&reader->words, "min", MAX_TRANSACTION_BYTES);
    request->max = needed_number(&reader->words, "max", MAX_TRANSACTION_BYTES);
    request->seed = needed_number(&reader->words, "seed", UINT32_MAX);
    request->hold = optional_number(&reader->words, "hold", 0, 4096);
    if (!request->threads || request->min > request->max)
        refuse(&reader->words, !request->threads ? "threads must be at least 1" : "min is larger than max");
    if (!strcmp(mode, "sync"))
        request->mode = FLOOD_SYNC;
    else if (!strcmp(mode, "oneway"))
        request->mode = FLOOD_ONEWAY;
    else if (!strcmp(mode, "mixed"))
        request->mode = FLOOD_MIXED;
    else
        refuse(&reader->words, "mode must be sync, oneway or mixed, not %s", mode);
}

static void read_sleep(struct reader *reader, struct request *request)
{
    request->milliseconds = number(&reader->words, "MS", take(&reader->words, "MS"), 86400000);
}

static void read_checkpoint(struct reader *reader, struct request *request)
{
    request->name = must_copy(take_name(&reader->words, "NAME"));
    for (size_t i = 0; i < reader->list->request_count; i++)
        if (reader->list->requests[i].verb == VERB_CHECKPOINT && !strcmp(reader->list->requests[i].name, request->name))
            refuse(&reader->words, "there is a checkpoint %s already", request->name);
}

static void read_path(struct reader *reader, struct request *request)
{
    request->name = must_copy(take(&reader->words, "FILE"));
}

static void read_nothing(struct reader *reader, struct request *request)
{
    (void)reader, (void)request;
}

static const struct {
    const char *word;
    enum verb verb;
    void (*read)(struct reader *, struct request *);
} verbs[] = {
    {"open", VERB_OPEN, read_open},
    {"call", VERB_CALL, read_transaction},
    {"oneway", VERB_ONEWAY, read_transaction},
    {"free", VERB_FREE, read_free},
    {"reclaim", VERB_RECLAIM, read_nothing},
    {"unmap", VERB_UNMAP, read_unmap},
    {"close", VERB_CLOSE, read_close},
    {"exit", VERB_EXIT, read_exit},
    {"fork", VERB_FORK, read_fork},
    {"sleep", VERB_SLEEP, read_sleep},
    {"checkpoint", VERB_CHECKPOINT, read_checkpoint},
    {"flood", VERB_FLOOD, read_flood},
    {"wait", VERB_WAIT, read_path},
    {"touch", VERB_TOUCH, read_path},
    {"rename", VERB_RENAME, read_rename},
};

static void read_request(struct reader *reader, char *line)
{
    struct request request = {
        .line = reader->words.line, .actor = -1, .file = -1, .transaction = -1, .child = -1};
    struct list *list = reader->list;
    size_t i, length;

    words_split(&reader->words, line);
    if (!reader->words.count)
        return;
    for (i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
        if (!strcmp(reader->words.word[0], verbs[i].word))
            break;
    if (i == sizeof(verbs) / sizeof(*verbs))
        refuse(&reader->words, "there is no request %s", reader->words.word[0]);
    request.verb = verbs[i].verb;
    verbs[i].read(reader, &request);
    words_all_used(&reader->words);
    line += strspn(line, " \t");
    for (length = strlen(line); strchr(" \t", line[length - 1]); length--)
        line[length - 1] = '\0';
    request.text = must_copy(line);
    list->requests = must_realloc(list->requests, list->request_count + 1, sizeof(request));
    list->requests[list->request_count++] = request;
}

bool list_read(const char *path, struct list *list)
{
    struct reader reader = {.list = list, .words.path = path};
    FILE *stream = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;

    *list = (struct list){0};
    if (!stream) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    if (setjmp(reader.words.malformed))
        return false; /* the process ends at once, so what the line had allocated goes with it */
    while (getline(&line, &size, stream) >= 0) {
        reader.words.line++;
        line[strcspn(line, "#\n\r")] = '\0';
        read_request(&reader, line);
    }
    free(line);
    free(reader.words.text);
    fclose(stream);
    return true;
}
