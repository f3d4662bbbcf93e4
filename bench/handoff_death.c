/* SPDX-License-Identifier: MIT */
/*
 * How long after SIGKILL does another process learn of a death, and a third one take over, when it is built on a bare
 * robust mutex, on a pidfd, on waitpid, on a socket's hang-up?
 *
 * A monitor starts the victim and blocks. When it is told, it sends a packet to a standby that waits in recv and writes
 * one number: the smallest hand-over that can be built so. The main process kills, and sleeps until the standby
 * has written, or looks all the time, as a watcher would.
 */
#include "handoff.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void mutex_init(struct board *board)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&board->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static void victim(struct board *board, const struct measure *m, uint32_t step)
{
    occupy(board, m->resident_mib);
    if (m->kind == MUTEX && pthread_mutex_lock(&board->mutex) != 0)
        child_fail(board, "the mutex was not left consistent");
    atomic_store(&board->victim, getpid());
    announce(&board->ready, step);
    for (;;)
        pause();
}

/* Blocks until the victim is dead. */
static void learn(struct board *board, int kind, pid_t pid, int pidfd, int wire)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    bool told = false;
    char byte;

    switch (kind) {
    case MUTEX:
        told = pthread_mutex_lock(&board->mutex) == EOWNERDEAD;
        break;
    case PIDFD:
        told = poll(&p, 1, -1) == 1;
        break;
    case WAITPID:
        told = waitpid(pid, NULL, 0) == pid;
        break;
    case HANGUP:
        told = recv(wire, &byte, 1, 0) == 0;
        break;
    }
    if (!told)
        child_fail(board, "the monitor woke up for another reason: %s", strerror(errno));
}

static void monitor(struct board *board, const struct measure *m, unsigned n, int standby)
{
    for (uint32_t step = 1; step <= n; step++) {
        int wire[2], pidfd = -1;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wire) < 0 || (pid = world_fork()) < 0)
            child_fail(board, "cannot start a victim: %s", strerror(errno));
        if (pid == 0)
            victim(board, m, step);
        close(wire[1]); /* only the victim's death closes the other one */
        if (await(board, &board->ready, step, SLEEPING) < 0)
            _exit(1);
        if (m->kind == PIDFD && (pidfd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0)
            child_fail(board, "pidfd_open: %s", strerror(errno));
        announce(&board->armed, step);
        learn(board, m->kind, pid, pidfd, wire[0]);
        atomic_store(&board->noticed, now_ns());
        if (send(standby, "", 1, MSG_NOSIGNAL) != 1)
            child_fail(board, "send: %s", strerror(errno));
        if (m->kind == MUTEX) {
            pthread_mutex_consistent(&board->mutex);
            pthread_mutex_unlock(&board->mutex);
        }
        if (m->kind != WAITPID)
            waitpid(pid, NULL, 0);
        if (pidfd >= 0)
            close(pidfd);
        close(wire[0]);
    }
    _exit(0);
}

static void standby(struct board *board, unsigned n, int wire)
{
    char byte;

    for (uint32_t step = 1; step <= n; step++) {
        if (recv(wire, &byte, 1, 0) != 1)
            child_fail(board, "recv: %s", strerror(errno));
        atomic_fetch_add(&board->value, 1);
        atomic_store(&board->written, now_ns());
        announce(&board->answer, step);
    }
    _exit(0);
}

static int take_samples(struct handoff *h, const struct measure *m, unsigned n)
{
    struct board *board = h->board;
    uint64_t began;

    for (uint32_t step = 1; step <= n; step++) {
        if (await(board, &board->armed, step, SLEEPING) < 0)
            return -1;
        rest(m);
        began = now_ns();
        if (kill(atomic_load(&board->victim), SIGKILL) < 0)
            return fail("kill: %s", strerror(errno));
        if (await(board, &board->answer, step, m->watched ? YIELDING : SLEEPING) < 0)
            return -1;
        series_add(&m->first->us, (double)(atomic_load(&board->noticed) - began) / 1e3);
        series_add(&m->second->us, (double)(atomic_load(&board->written) - began) / 1e3);
        h->kills++;
    }
    return atomic_load(&board->value) == n ? 0 : fail("the standby took over %u times too often or too rarely", n);
}

int run_death(struct handoff *h, const struct measure *m, unsigned n)
{
    pid_t monitor_pid, standby_pid = -1;
    int wire[2], r = -1;

    board_reset(h->board);
    mutex_init(h->board);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wire) < 0)
        return fail("socketpair: %s", strerror(errno));
    if ((monitor_pid = world_fork()) == 0)
        monitor(h->board, m, n, wire[0]);
    if (monitor_pid > 0 && (standby_pid = world_fork()) == 0)
        standby(h->board, n, wire[1]);
    if (monitor_pid < 0 || standby_pid < 0)
        fail("fork: %s", strerror(errno));
    else if (take_samples(h, m, n) == 0 && reap(monitor_pid, false) == 0)
        r = reap(standby_pid, false);
    close(wire[0]);
    close(wire[1]);
    return r;
}
