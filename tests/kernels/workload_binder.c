/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binder protocol, as far as a workload needs it. Files are open with O_NONBLOCK and waiting is done with poll(): a
 * blocking read may swallow work of which nothing reaches user space (a reference that came and went) and sleep on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "workload.h"

struct reference_command {
    uint32_t command;
    struct binder_ptr_cookie payload;
} __attribute__((packed));

struct free_command {
    uint32_t command;
    binder_uintptr_t payload;
} __attribute__((packed));

void die(const char *format, ...)
{
    char name[17] = "";
    va_list arguments;

    prctl(PR_GET_NAME, name);
    fprintf(stderr, "workload: %s: ", name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    _exit(3);
}

void *must_realloc(void *old, size_t count, size_t bytes)
{
    void *grown = reallocarray(old, count, bytes);

    if (!grown)
        die("no memory");
    return grown;
}

char *must_copy(const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        die("no memory");
    return copy;
}

void binder_write(int fd, const void *commands, size_t bytes)
{
    struct binder_write_read request = {.write_buffer = (binder_uintptr_t)commands, .write_size = bytes};

    while (request.write_consumed < request.write_size)
        if (ioctl(fd, BINDER_WRITE_READ, &request) < 0 && errno != EINTR)
            die("binder takes no commands: %s", strerror(errno));
}

void binder_command(int fd, uint32_t command)
{
    binder_write(fd, &command, sizeof(command));
}

void binder_free_buffer(int fd, binder_uintptr_t address)
{
    struct free_command command = {BC_FREE_BUFFER, address};

    binder_write(fd, &command, sizeof(command));
}

bool binder_wait(int fd, int milliseconds)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int count = poll(&ready, 1, milliseconds);

    if (count < 0 && errno != EINTR)
        die("cannot wait for binder: %s", strerror(errno));
    if (count > 0 && ready.revents & ~POLLIN)
        die("binder is gone (poll says %#x)", (unsigned)ready.revents);
    return count > 0;
}

/* The kernel holds a node in a half-taken state until its owner has answered. */
static void acknowledge(int fd, uint32_t command, const struct binder_ptr_cookie *node)
{
    struct reference_command done = {command, *node};

    binder_write(fd, &done, sizeof(done));
}

static void digest(int fd, uint32_t command, const unsigned char *payload, struct returned *returned)
{
    struct binder_ptr_cookie node;

    switch (command) {
    case BR_TRANSACTION_COMPLETE:
    case BR_ONEWAY_SPAM_SUSPECT:
        returned->complete = true;
        break;
    case BR_FAILED_REPLY:
    case BR_DEAD_REPLY:
    case BR_FROZEN_REPLY:
        returned->failure = command;
        break;
    case BR_TRANSACTION:
    case BR_REPLY:
        *(command == BR_REPLY ? &returned->replied : &returned->transaction) = true;
        memcpy(&returned->data, payload, sizeof(returned->data));
        break;
    case BR_INCREFS:
    case BR_ACQUIRE:
        memcpy(&node, payload, sizeof(node));
        acknowledge(fd, command == BR_INCREFS ? BC_INCREFS_DONE : BC_ACQUIRE_DONE, &node);
        break;
    case BR_NOOP:
    case BR_RELEASE: /* nothing is kept for a node, so nothing is let go */
    case BR_DECREFS:
    case BR_SPAWN_LOOPER: /* never asked for: BINDER_SET_MAX_THREADS is 0 */
        break;
    default:
        die("binder returned %#x, which nothing here can have caused", command);
    }
}

void binder_read(int fd, struct returned *returned)
{
    unsigned char buffer[1024];
    struct binder_write_read request = {.read_buffer = (binder_uintptr_t)buffer, .read_size = sizeof(buffer)};

    *returned = (struct returned){0};
    if (ioctl(fd, BINDER_WRITE_READ, &request) < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return;
        die("binder cannot be read: %s", strerror(errno));
    }
    for (size_t at = 0; at + sizeof(uint32_t) <= request.read_consumed;) {
        uint32_t command;

        memcpy(&command, buffer + at, sizeof(command));
        at += sizeof(command);
        digest(fd, command, buffer + at, returned);
        at += _IOC_SIZE(command);
    }
}

static void fill_objects(unsigned char *data, binder_size_t *offsets, uint64_t count)
{
    static atomic_uint_fast64_t last_node; /* a node is known by its address: give each its own */

    for (uint64_t i = 0; i < count; i++) {
        struct flat_binder_object object = {.hdr.type = BINDER_TYPE_BINDER};

        object.binder = object.cookie = (atomic_fetch_add(&last_node, 1) + 1) * 16;
        offsets[i] = i * sizeof(object);
        memcpy(data + offsets[i], &object, sizeof(object));
    }
}

/* BC_TRANSACTION and BC_REPLY are what libbinder sends; the form with buffers is libhwbinder's. */
static void write_transaction(int fd, bool reply, const struct binder_transaction_data_sg *transaction)
{
    bool buffers = transaction->buffers_size;
    uint32_t command = reply ? BC_REPLY : buffers ? BC_TRANSACTION_SG : BC_TRANSACTION;
    unsigned char bytes[sizeof(command) + sizeof(*transaction)];

    memcpy(bytes, &command, sizeof(command));
    memcpy(bytes + sizeof(command), transaction, sizeof(*transaction));
    binder_write(fd, bytes, sizeof(command) + _IOC_SIZE(command));
}

void binder_transact(int fd, const struct parcel *parcel, struct returned *returned)
{
    unsigned char *data = must_realloc(NULL, parcel->data + 1, 1);
    binder_size_t *offsets = must_realloc(NULL, parcel->objects + 1, sizeof(*offsets));
    struct binder_transaction_data_sg transaction = {
        .transaction_data = {
            .code = parcel->code, .flags = parcel->oneway ? TF_ONE_WAY : 0, .data_size = parcel->data,
            .offsets_size = parcel->objects * sizeof(*offsets),
            .data.ptr = {(binder_uintptr_t)data, (binder_uintptr_t)offsets}},
        .buffers_size = parcel->extra};

    memset(data, 0, parcel->data);
    fill_objects(data, offsets, parcel->objects);
    write_transaction(fd, false, &transaction);
    do {
        binder_wait(fd, -1);
        binder_read(fd, returned);
    } while (!returned->failure && !returned->replied && !(parcel->oneway && returned->complete));
    free(offsets);
    free(data);
}

void binder_reply(int fd, uint32_t code, uint64_t bytes)
{
    unsigned char *data = must_realloc(NULL, bytes + 1, 1);
    struct binder_transaction_data_sg transaction = {
        .transaction_data = {.code = code, .data_size = bytes, .data.ptr.buffer = (binder_uintptr_t)data}};

    memset(data, 0, bytes);
    write_transaction(fd, true, &transaction);
    free(data);
}

const char *binder_failure_name(uint32_t failure)
{
    switch (failure) {
    case BR_FAILED_REPLY:
        return "BR_FAILED_REPLY";
    case BR_DEAD_REPLY:
        return "BR_DEAD_REPLY";
    case BR_FROZEN_REPLY:
        return "BR_FROZEN_REPLY";
    default:
        return NULL;
    }
}
