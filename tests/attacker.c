/* SPDX-License-Identifier: MIT */
/* See attacker.h. */
#include "attacker.h"
#include "robust.h"
#include "shm.h"
#include "support.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MOST 250 /* the kernel takes 253 */

int raw_connect(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("HEIR_SOCKET"));
    for (int64_t end = now_ms() + patience(PATIENCE); now_ms() < end;) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return -errno;
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
            return fd;
        int r = -errno;
        close(fd);
        if (r != -EAGAIN) /* its queue is full for the moment */
            return r;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return -ETIME;
}

struct wire_request raw_request(enum wire_type type, const char *name)
{
    static _Atomic uint32_t serial;
    struct wire_request q = {.head = {.magic = WIRE_MAGIC,
                                      .version = WIRE_VERSION,
                                      .type = (uint16_t)type,
                                      .length = sizeof q,
                                      .serial = ++serial},
                             .max_bytes = HEIR_TABLE_MIN,
                             .mode = 0600};
    if (name)
        snprintf(q.name, sizeof q.name, "%s", name);
    return q;
}

int raw_send(int fd, const void *message, size_t bytes, const int *fds, unsigned count)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * FDS_MOST)];
    } control;
    struct iovec part = {(void *)(uintptr_t)message, bytes};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > FDS_MOST)
        return -E2BIG;
    if (count > 0) {
        memset(&control, 0, sizeof control);
        m.msg_control = control.room;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    }
    for (int64_t end = now_ms() + patience(PATIENCE); now_ms() < end;) {
        if (sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
        struct pollfd room = {.fd = fd, .events = POLLOUT};
        poll(&room, 1, 10);
    }
    return -ETIME;
}

int raw_reply(int fd, struct wire_reply *reply, int *fds, int ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int came[WIRE_FDS] = {-1, -1};
    size_t got = 0;
    if (poll(&wait, 1, ms) != 1)
        return -ETIME;
    int r = wire_receive(fd, reply, sizeof *reply, &got, came, WIRE_FDS);
    if (r == 0 && got == 0)
        r = -EPIPE;
    for (int i = 0; i < WIRE_FDS; i++) {
        if (fds && r == 0)
            fds[i] = came[i];
        else if (came[i] >= 0)
            close(came[i]);
    }
    return r;
}

int raw_ask(int fd, const struct wire_request *q, int with, struct wire_reply *reply, int *came)
{
    struct wire_reply unused;
    int fds[WIRE_FDS] = {-1, -1}, r = raw_send(fd, q, sizeof *q, &with, with >= 0);
    if (!reply)
        reply = &unused;
    while (r == 0) {
        r = raw_reply(fd, reply, fds, patience(PATIENCE));
        if (r == 0 && reply->head.serial == q->head.serial)
            break;
        for (int i = 0; r == 0 && i < WIRE_FDS; i++)
            if (fds[i] >= 0)
                close(fds[i]);
    }
    if (r < 0)
        return r;
    if (fds[1] >= 0)
        close(fds[1]);
    if (came)
        *came = fds[0];
    else if (fds[0] >= 0)
        close(fds[0]);
    return reply->error;
}

int raw_poke(int fd, const struct wire_request *q)
{
    struct wire_reply reply;
    int r = raw_send(fd, q, sizeof *q, NULL, 0);
    while (r == 0 && (r = raw_reply(fd, &reply, NULL, 2)) == 0 && reply.head.serial != q->head.serial)
        ;
    return r == -EPIPE ? r : 0;
}

int raw_hung_up(int fd)
{
    struct wire_reply reply;
    int r;
    while ((r = raw_reply(fd, &reply, NULL, patience(PATIENCE))) == 0)
        ;
    return r == -EPIPE;
}

int raw_bell(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    close(pair[1]);
    return pair[0];
}

int raw_hello(struct raw *raw, int fd, const char *role, int bell)
{
    struct wire_request q = raw_request(WIRE_HELLO, role);
    struct wire_reply reply;
    *raw = (struct raw){.fd = fd >= 0 ? fd : raw_connect(), .page_fd = -1, .bell = bell};
    if (raw->fd < 0)
        return raw->fd;
    if (bell < 0)
        raw->bell = raw_bell();
    q.tid = (int32_t)syscall(SYS_gettid);
    int r = raw_ask(raw->fd, &q, raw->bell, &reply, &raw->page_fd);
    raw->id = reply.id;
    if (r == 0 && raw->page_fd >= 0)
        raw->page = shm_map(raw->page_fd, CLIENT_PAGE_BYTES, true);
    return r == 0 && !raw->page ? -ENOMEM : r;
}

int raw_open(struct raw *raw, int fd, const char *role)
{
    struct wire_request q = raw_request(WIRE_READY, NULL);
    int r = raw_hello(raw, fd, role, -1);
    if (r == 0)
        r = robust_try(&raw->page->life.mutex);
    return r == 0 ? raw_ask(raw->fd, &q, -1, NULL, NULL) : r;
}

void raw_close(struct raw *raw)
{
    close(raw->fd);
    close(raw->page_fd);
    close(raw->bell);
    if (raw->page)
        munmap(raw->page, CLIENT_PAGE_BYTES);
    raw->page = NULL;
}

int raw_create(const struct raw *raw, const char *name, uint64_t bytes, enum heir_access access,
               struct raw_table *table)
{
    struct wire_request q = raw_request(WIRE_CREATE, name);
    struct wire_reply reply;
    *table = (struct raw_table){.fd = -1, .bytes = bytes};
    q.max_bytes = bytes;
    q.access = access;
    strcpy(q.heir, HEIR_NOBODY);
    int r = raw_ask(raw->fd, &q, -1, &reply, &table->fd);
    if (r < 0)
        return r;
    table->id = reply.id;
    table->page = shm_map(table->fd, PAGE_BYTES, true);
    return table->page ? 0 : -ENOMEM;
}

uint64_t raw_nonsense(void)
{
    static __thread struct rnd rnd;
    if (!rnd.state)
        rnd.state = test_seed + (uint64_t)syscall(SYS_gettid);
    uint64_t dice = rnd_below(&rnd, 8), any = rnd_next(&rnd);
    return dice == 0 ? 0 : dice == 1 ? UINT64_MAX : dice == 2 ? UINT64_C(1) << any % 64 : any >> rnd_next(&rnd) % 64;
}
