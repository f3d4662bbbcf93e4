/* SPDX-License-Identifier: MIT */
/* How long does the kernel take to get a word from one living process to another: the floors of every hand-over? */
#include "handoff.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_SIZE 64 /* about what a request and its header need */

struct wires {
    int kind;
    int to_relay[2], to_receiver[2];
    int descriptor; /* to be passed */
};

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation, value, NULL, NULL, 0); /* both are repeated or harmless when they fail */
}

static int send_descriptor(int socket, int fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    char bytes[MESSAGE_SIZE] = {0};
    struct iovec iov = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == MESSAGE_SIZE ? 0 : -1;
}

static int receive_descriptor(int socket)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    char bytes[MESSAGE_SIZE];
    struct iovec iov = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    struct cmsghdr *c;
    int fd;

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != MESSAGE_SIZE || !(c = CMSG_FIRSTHDR(&message)))
        return -1;
    memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static int call(struct board *board, const struct wires *w, uint32_t step)
{
    char bytes[MESSAGE_SIZE] = {0};

    switch (w->kind) {
    case FUTEX_SLEEP:
        atomic_store(&board->call, step);
        futex(&board->call, FUTEX_WAKE, 1);
        return 0;
    case FUTEX_SPIN:
        atomic_store(&board->call, step);
        return 0;
    case SOCKET_ONE:
        return send(w->to_receiver[0], bytes, sizeof bytes, MSG_NOSIGNAL) == sizeof bytes ? 0 : -1;
    case SOCKET_TWO:
        return send(w->to_relay[0], bytes, sizeof bytes, MSG_NOSIGNAL) == sizeof bytes ? 0 : -1;
    default:
        return send_descriptor(w->to_receiver[0], w->descriptor);
    }
}

static void receiver(struct board *board, const struct wires *w, unsigned n)
{
    char bytes[MESSAGE_SIZE];
    int fd = -1;

    stay(RECEIVER);
    announce(&board->ready, 1);
    for (uint32_t step = 1; step <= n; step++) {
        if (w->kind == FUTEX_SLEEP) {
            while (atomic_load(&board->call) != step)
                futex(&board->call, FUTEX_WAIT, step - 1);
        } else if (w->kind == FUTEX_SPIN) {
            if (await(board, &board->call, step, SPINNING) < 0)
                _exit(1);
        } else if (w->kind == DESCRIPTOR) {
            if ((fd = receive_descriptor(w->to_receiver[1])) < 0)
                child_fail(board, "no descriptor came: %s", strerror(errno));
        } else if (recv(w->to_receiver[1], bytes, sizeof bytes, 0) != sizeof bytes) {
            child_fail(board, "recv: %s", strerror(errno));
        }
        atomic_store(&board->written, now_ns());
        announce(&board->answer, step);
        if (fd >= 0)
            close(fd);
    }
    _exit(0);
}

static void relay(struct board *board, const struct wires *w, unsigned n)
{
    char bytes[MESSAGE_SIZE];

    for (unsigned i = 0; i < n; i++)
        if (recv(w->to_relay[1], bytes, sizeof bytes, 0) != sizeof bytes ||
            send(w->to_receiver[0], bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes)
            child_fail(board, "relay: %s", strerror(errno));
    _exit(0);
}

static int take_samples(struct handoff *h, const struct measure *m, const struct wires *w, unsigned n)
{
    struct board *board = h->board;
    uint64_t began;

    if (await(board, &board->ready, 1, SLEEPING) < 0)
        return -1;
    for (uint32_t step = 1; step <= n; step++) {
        pass_time(m, m->kind == FUTEX_SPIN ? spin_pause(h) : h->pause_ns);
        began = now_ns();
        if (call(board, w, step) < 0)
            return fail("send: %s", strerror(errno));
        /* A giver goes on working. Asleep, it would leave its core to the receiver, which then need not wake another
         * one. */
        if (await_answer(board, m, &board->answer, step) < 0)
            return -1;
        series_add(&m->first->us, (double)(atomic_load(&board->written) - began) / 1e3);
    }
    return 0;
}

int run_hop(struct handoff *h, const struct measure *m, unsigned n)
{
    struct wires w = {.kind = m->kind, .to_relay = {-1, -1}, .to_receiver = {-1, -1}, .descriptor = -1};
    pid_t pids[2] = {-1, -1};
    int r = -1;

    board_reset(h->board);
    w.descriptor = memfd_create("handed", MFD_CLOEXEC);
    if (w.descriptor < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w.to_relay) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w.to_receiver) < 0) {
        fail("cannot make sockets: %s", strerror(errno));
    } else {
        if ((pids[0] = world_fork()) == 0)
            receiver(h->board, &w, n);
        if (m->kind == SOCKET_TWO && (pids[1] = world_fork()) == 0)
            relay(h->board, &w, n);
        stay(GIVER);
        r = take_samples(h, m, &w, n);
        stay(ANYWHERE);
    }
    for (unsigned i = 0; i < 2 && r == 0; i++)
        if (pids[i] > 0)
            r = reap(pids[i], false);
    close(w.descriptor);
    for (unsigned i = 0; i < 2; i++) {
        close(w.to_relay[i]);
        close(w.to_receiver[i]);
    }
    return r;
}
