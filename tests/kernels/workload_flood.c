/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of a flood: senders that never rest, and servers that hold some of what they got. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "workload.h"

#define SERVERS 4
#define IDLE_MS 20
#define ATTEMPTS 1000 /* of one transaction, a millisecond apart, while there is no room for it */

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    int error = pthread_create(thread, NULL, run, argument);

    if (error)
        die("pthread_create: error %d", error);
}

static void leave_binder(int fd)
{
    uint32_t unused = 0;

    ioctl(fd, BINDER_THREAD_EXIT, &unused);
}

/* ---- senders ---- */

struct sender {
    pthread_t thread;
    int fd;
    const struct message *order;
    uint64_t random;
    struct answer counts;
};

/* splitmix64: two lines, and every seed is a good one */
static uint64_t draw(uint64_t *state)
{
    uint64_t mixed = (*state += UINT64_C(0x9e3779b97f4a7c15));

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static bool send_once(struct sender *sender, const struct parcel *parcel)
{
    struct returned returned;

    binder_transact(sender->fd, parcel, &returned);
    if (returned.replied)
        binder_free_buffer(sender->fd, returned.data.data.ptr.buffer);
    if (returned.failure)
        return false;
    *(parcel->oneway ? &sender->counts.sent_oneway : &sender->counts.sent_sync) += 1;
    return true;
}

static void send_patiently(struct sender *sender, const struct parcel *parcel)
{
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (send_once(sender, parcel))
            return;
        sender->counts.refused++;
        usleep(1000);
    }
    sender->counts.failed++;
}

static void *run_sender(void *argument)
{
    struct sender *sender = argument;
    const struct message *order = sender->order;

    for (uint64_t i = 0; i < order->count; i++) {
        struct parcel parcel = {.data = order->min + draw(&sender->random) % (order->max - order->min + 1)};

        parcel.oneway = order->mode == FLOOD_ONEWAY || (order->mode == FLOOD_MIXED && draw(&sender->random) & 1);
        send_patiently(sender, &parcel);
    }
    leave_binder(sender->fd);
    return NULL;
}

void flood_send(int fd, const struct message *order, struct answer *answer)
{
    struct sender *senders = must_realloc(NULL, order->threads, sizeof(*senders));

    for (uint64_t i = 0; i < order->threads; i++) {
        senders[i] = (struct sender){
            .fd = fd, .order = order, .random = order->seed << 32 ^ (uint64_t)order->actor << 16 ^ i};
        start(&senders[i].thread, run_sender, &senders[i]);
    }
    for (uint64_t i = 0; i < order->threads; i++) {
        pthread_join(senders[i].thread, NULL);
        answer->sent_sync += senders[i].counts.sent_sync;
        answer->sent_oneway += senders[i].counts.sent_oneway;
        answer->refused += senders[i].counts.refused;
        answer->failed += senders[i].counts.failed;
    }
    free(senders);
}

/* ---- servers ---- */

struct flood {
    int fd;
    pthread_t threads[SERVERS];
    pthread_mutex_t lock; /* of what follows */
    binder_uintptr_t *held; /* a ring of *hold* buffers, oldest at *first* */
    uint64_t hold, first, count;
    atomic_uint_fast64_t oneways;
    atomic_bool stop;
};

/* Puts *address* (0: nothing) into the ring; returns what must leave it now, or 0. */
static binder_uintptr_t rotate(struct flood *flood, binder_uintptr_t address)
{
    binder_uintptr_t oldest = 0;

    if (!flood->hold)
        return address;
    pthread_mutex_lock(&flood->lock);
    if (flood->count && (flood->count == flood->hold || !address)) {
        oldest = flood->held[flood->first];
        flood->first = (flood->first + 1) % flood->hold;
        flood->count--;
    }
    if (address)
        flood->held[(flood->first + flood->count++) % flood->hold] = address;
    pthread_mutex_unlock(&flood->lock);
    return oldest;
}

static void serve_one(struct flood *flood, const struct binder_transaction_data *data)
{
    binder_uintptr_t leaving = data->data.ptr.buffer;

    if (data->flags & TF_ONE_WAY) {
        /* never held: the kernel delivers the next one-way transaction when this one is freed */
        binder_free_buffer(flood->fd, leaving);
        atomic_fetch_add(&flood->oneways, 1);
        return;
    }
    binder_reply(flood->fd, 0, data->data_size);
    leaving = rotate(flood, leaving);
    if (leaving)
        binder_free_buffer(flood->fd, leaving);
}

static void *run_server(void *argument)
{
    struct flood *flood = argument;
    binder_uintptr_t leaving;

    binder_command(flood->fd, BC_ENTER_LOOPER);
    while (!atomic_load(&flood->stop)) {
        struct returned returned;

        if (binder_wait(flood->fd, IDLE_MS)) {
            binder_read(flood->fd, &returned);
            if (returned.transaction)
                serve_one(flood, &returned.data);
        } else if ((leaving = rotate(flood, 0))) {
            binder_free_buffer(flood->fd, leaving); /* all senders may be waiting for room */
        }
    }
    leave_binder(flood->fd);
    return NULL;
}

struct flood *flood_serve(int fd, const struct message *order)
{
    struct flood *flood = must_realloc(NULL, 1, sizeof(*flood));

    *flood = (struct flood){.fd = fd, .hold = order->hold, .lock = PTHREAD_MUTEX_INITIALIZER};
    flood->held = must_realloc(NULL, order->hold + 1, sizeof(*flood->held));
    for (int i = 0; i < SERVERS; i++)
        start(&flood->threads[i], run_server, flood);
    return flood;
}

void flood_stop(struct flood *flood, uint64_t oneways)
{
    binder_uintptr_t leaving;

    /* every call has its reply by now, and what was sent one-way is still being delivered */
    while (atomic_load(&flood->oneways) < oneways)
        usleep(1000);
    atomic_store(&flood->stop, true);
    for (int i = 0; i < SERVERS; i++)
        pthread_join(flood->threads[i], NULL);
    while ((leaving = rotate(flood, 0)))
        binder_free_buffer(flood->fd, leaving);
    free(flood->held);
    free(flood);
}
