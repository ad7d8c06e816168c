/* SPDX-License-Identifier: Apache-2.0 */
/* An actor: one process with binder files of its own, which does what the controller tells it and nothing else. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workload.h"

#define FIRST_MAPPING UINT64_C(0x1000000000) /* far from the program, its heap, its libraries and its stacks */
#define MAPPING_STEP UINT64_C(0x40000000)
#define LIBBINDER_BYTES (1u << 20) /* less two pages */

/*
 * Every mapping gets an address that no later one takes over: where another mapping lies in its place, 6.14 and later
 * no longer reclaim the pages of an unmapped file.
 */
static unsigned char *map(int fd, uint64_t bytes, int file)
{
    void *address = (void *)(uintptr_t)(FIRST_MAPPING + (uint64_t)file * MAPPING_STEP);
    void *mapping = mmap(address, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);

    if (mapping != address)
        die("cannot map %llu bytes: %s", (unsigned long long)bytes, strerror(errno));
    return mapping;
}

static void open_port(struct port *port, const struct message *message, struct answer *answer)
{
    char path[128];
    uint32_t none = 0;
    long page = sysconf(_SC_PAGESIZE);

    kernel_device(message->name, path, sizeof(path));
    *port = (struct port){.mine = true, .fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK)};
    if (port->fd < 0)
        die("%s: %s", path, strerror(errno));
    port->bytes = message->bytes ? message->bytes : LIBBINDER_BYTES - 2 * (uint64_t)page;
    port->mapping = map(port->fd, port->bytes, message->file);
    port->mapped = true;
    if (ioctl(port->fd, BINDER_SET_MAX_THREADS, &none) < 0)
        die("%s: BINDER_SET_MAX_THREADS: %s", path, strerror(errno));
    if (message->manager && ioctl(port->fd, BINDER_SET_CONTEXT_MGR, &none) < 0)
        die("%s: BINDER_SET_CONTEXT_MGR: %s", path, strerror(errno));
    binder_command(port->fd, BC_ENTER_LOOPER);
    answer->pid = getpid();
}

/* ---- what arrives ---- */

static struct delivery *find(struct port *port, uint32_t serial)
{
    for (size_t i = 0; i < port->delivery_count; i++)
        if (port->deliveries[i].serial == serial)
            return &port->deliveries[i];
    return NULL;
}

static void keep(struct port *port, uint32_t serial, binder_uintptr_t address)
{
    port->deliveries = must_realloc(port->deliveries, port->delivery_count + 1, sizeof(*port->deliveries));
    port->deliveries[port->delivery_count++] = (struct delivery){serial, address};
}

static void take_delivery(struct port *port)
{
    struct returned returned;

    binder_read(port->fd, &returned);
    if (!returned.transaction)
        return;
    keep(port, returned.data.code, returned.data.data.ptr.buffer);
    if (returned.data.flags & TF_ONE_WAY)
        return;
    if (returned.data.code != port->expected)
        die("call %u arrived and %u was expected", returned.data.code, port->expected);
    binder_reply(port->fd, returned.data.code, port->expected_reply);
}

/* ---- orders ---- */

static void transact(struct port *port, const struct message *message, struct answer *answer)
{
    struct parcel parcel = {
        .code = message->serial, .oneway = message->order == ORDER_ONEWAY, .data = message->data,
        .objects = message->objects, .extra = message->extra};
    struct returned returned;

    binder_transact(port->fd, &parcel, &returned);
    answer->failure = returned.failure;
    if (!returned.replied)
        return;
    keep(port, message->serial, returned.data.data.ptr.buffer);
    answer->offset = returned.data.data.ptr.buffer - (uintptr_t)port->mapping;
}

static void free_delivery(struct port *port, const struct message *message, struct answer *answer)
{
    struct delivery *delivery;

    /* the kernel delivers a one-way transaction only when the one before it is freed: this one is on its way */
    while (!(delivery = find(port, message->serial))) {
        binder_wait(port->fd, -1);
        take_delivery(port);
    }
    answer->offset = delivery->address - (uintptr_t)port->mapping;
    binder_free_buffer(port->fd, delivery->address);
    *delivery = port->deliveries[--port->delivery_count];
}

static void unmap(struct port *port)
{
    if (port->mapped && munmap(port->mapping, port->bytes) < 0)
        die("munmap: %s", strerror(errno));
    port->mapped = false;
}

static void close_port(struct port *port)
{
    unmap(port);
    close(port->fd);
    free(port->deliveries);
    *port = (struct port){.fd = -1};
}

/* ---- the conversation with the controller ---- */

/* False: the controller is gone. *passed* is the file descriptor that came along, or -1. */
static bool receive(int channel, struct message *message, int *passed)
{
    char space[CMSG_SPACE(sizeof(int))];
    struct iovec part = {message, sizeof(*message)};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
    ssize_t bytes = recvmsg(channel, &header, MSG_CMSG_CLOEXEC);
    struct cmsghdr *attached = CMSG_FIRSTHDR(&header);

    *passed = -1;
    if (bytes > 0 && attached && attached->cmsg_type == SCM_RIGHTS)
        memcpy(passed, CMSG_DATA(attached), sizeof(*passed));
    return bytes == sizeof(*message);
}

static void fork_actor(int channel, int child_channel, const struct message *message, struct port *ports,
                       struct answer *answer)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid) {
        close(child_channel);
        answer->pid = pid;
        return;
    }
    close(channel);
    for (int file = 0; file < MAX_FILES; file++) {
        /* binder's mappings are not copied (VM_DONTCOPY), and another process cannot act through the file */
        ports[file].mine = ports[file].mapped = false;
    }
    actor_run(child_channel, message->name, ports);
}

static void serve(int channel, struct port *ports, const struct message *message, int passed)
{
    struct port *port = &ports[message->file < 0 ? 0 : message->file];
    struct answer answer = {0};
    struct delivery *delivery;

    switch (message->order) {
    case ORDER_OPEN:
        open_port(port, message, &answer);
        break;
    case ORDER_EXPECT:
        port->expected = message->serial;
        port->expected_reply = message->reply;
        break;
    case ORDER_CALL:
    case ORDER_ONEWAY:
        transact(port, message, &answer);
        break;
    case ORDER_FIND:
        delivery = find(port, message->serial);
        answer.found = delivery;
        answer.offset = delivery ? delivery->address - (uintptr_t)port->mapping : 0;
        break;
    case ORDER_FREE:
        free_delivery(port, message, &answer);
        break;
    case ORDER_UNMAP:
        unmap(port);
        break;
    case ORDER_CLOSE:
        close_port(port);
        break;
    case ORDER_FORK:
        fork_actor(channel, passed, message, ports, &answer);
        break;
    case ORDER_RENAME:
        prctl(PR_SET_NAME, message->name);
        break;
    case ORDER_EXIT:
        _exit(0);
    case ORDER_FLOOD_SERVE:
        port->flood = flood_serve(port->fd, message);
        break;
    case ORDER_FLOOD_SEND:
        flood_send(port->fd, message, &answer);
        break;
    case ORDER_FLOOD_STOP:
        flood_stop(port->flood, message->count);
        port->flood = NULL;
        break;
    }
    if (send(channel, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer))
        _exit(0); /* the controller is gone */
}

void actor_run(int channel, const char *name, struct port *inherited)
{
    struct port *ports = inherited;

    prctl(PR_SET_NAME, name);
    signal(SIGCHLD, SIG_IGN); /* forked actors need no burial here */
    signal(SIGALRM, SIG_DFL);
    if (!ports) {
        ports = must_realloc(NULL, MAX_FILES, sizeof(*ports));
        for (int file = 0; file < MAX_FILES; file++)
            ports[file] = (struct port){.fd = -1};
    }
    for (;;) {
        struct pollfd waited[MAX_FILES + 1] = {{.fd = channel, .events = POLLIN}};

        /* poll() ignores negative descriptors: the files that are closed, inherited, or left to a flood's threads */
        for (int file = 0; file < MAX_FILES; file++)
            waited[file + 1] = (struct pollfd){
                .fd = ports[file].mine && !ports[file].flood ? ports[file].fd : -1, .events = POLLIN};
        if (poll(waited, MAX_FILES + 1, -1) < 0 && errno != EINTR)
            die("poll: %s", strerror(errno));
        for (int file = 0; file < MAX_FILES; file++)
            if (waited[file + 1].revents & POLLIN)
                take_delivery(&ports[file]);
        if (waited[0].revents) {
            struct message message;
            int passed;

            if (!receive(channel, &message, &passed))
                _exit(0);
            serve(channel, ports, &message, passed);
        }
    }
}
