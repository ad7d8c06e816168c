/* SPDX-License-Identifier: Apache-2.0 */
/* The actors, as the controller sees them: a process each, and a channel to it. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload_controller.h"

struct actor actors[MAX_ACTORS];
static const struct request *current;
static unsigned limit;

/* ---- a request that hangs ---- */

static void kill_actors(void)
{
    for (int i = 0; i < MAX_ACTORS; i++)
        if (actors[i].alive)
            kill(actors[i].pid, SIGKILL);
}

static void on_alarm(int signal_number)
{
    char text[512];
    int bytes;

    (void)signal_number;
    /* not a function for signal handlers, but the process has hung and is about to end */
    bytes = snprintf(text, sizeof(text), "workload: line %d hangs: \"%s\" is not done after %u s\n",
                     current ? current->line : 0, current ? current->text : "the end", limit);
    if (write(STDERR_FILENO, text, (size_t)bytes) < 0)
        _exit(4);
    kill_actors();
    _exit(3);
}

static _Noreturn void stop(const char *actor)
{
    fprintf(stderr, "workload: line %d: \"%s\": process %s ended unexpectedly\n", current ? current->line : 0,
            current ? current->text : "the end", actor);
    kill_actors();
    exit(3);
}

void crew_watch(const struct request *request, unsigned seconds)
{
    current = request;
    limit = seconds;
    signal(SIGALRM, on_alarm);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* a forked actor outlives the one that forked it */
    alarm(seconds);
}

/* ---- what is said to them ---- */

static void tell(int actor, struct message message, int passed)
{
    char space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&message, sizeof(message)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    message.actor = actor;
    if (passed >= 0) {
        header.msg_control = space;
        header.msg_controllen = sizeof(space);
        *CMSG_FIRSTHDR(&header) =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &passed, sizeof(passed));
    }
    if (sendmsg(actors[actor].channel, &header, MSG_NOSIGNAL) < 0)
        stop(list.actors[actor]);
}

struct answer crew_hear(int actor)
{
    struct answer answer;

    if (recv(actors[actor].channel, &answer, sizeof(answer), 0) != sizeof(answer))
        stop(list.actors[actor]);
    return answer;
}

void crew_tell(int actor, struct message message)
{
    tell(actor, message, -1);
}

struct answer crew_ask(int actor, struct message message)
{
    tell(actor, message, -1);
    return crew_hear(actor);
}

/* The actor's end of a new channel; the controller's is in actors[]. */
static int new_channel(int actor)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair: %s", strerror(errno));
    actors[actor].channel = ends[0];
    return ends[1];
}

void crew_start(int actor)
{
    int channel = new_channel(actor);

    fflush(NULL);
    actors[actor].pid = fork();
    if (actors[actor].pid < 0)
        die("fork: %s", strerror(errno));
    if (!actors[actor].pid) {
        close(actors[actor].channel);
        for (int i = 0; i < MAX_ACTORS; i++)
            if (actors[i].alive)
                close(actors[i].channel); /* or the other actors would never see the controller go */
        actor_run(channel, list.actors[actor], NULL);
    }
    actors[actor].alive = true;
    close(channel);
    results_actors();
}

void crew_fork(int parent, int child)
{
    struct message message = {.order = ORDER_FORK, .file = -1};
    int channel = new_channel(child);

    strcpy(message.name, list.actors[child]);
    tell(parent, message, channel);
    close(channel);
    actors[child].pid = crew_hear(parent).pid;
    actors[child].alive = true;
    results_actors();
}

void crew_end(int actor)
{
    char byte;

    tell(actor, (struct message){.order = ORDER_EXIT}, -1);
    while (recv(actors[actor].channel, &byte, 1, 0) > 0)
        ; /* until its end of the channel is gone, and its mappings with it */
    close(actors[actor].channel);
    actors[actor].alive = false;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}
