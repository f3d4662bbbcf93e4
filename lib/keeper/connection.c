/* SPDX-License-Identifier: MIT */
/* Connections: accepting, receiving, replying, closing. Whatever comes in is a request of full length, or the end of
 * the connection. */
#include "atomics.h"
#include "bell.h"
#include "robust.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BURST 64 /* messages taken from one connection, or connections, before others have their turn */

/* More than there is room for, or than this user may have. Nobody is asked to wait for what may never come. */
static void refuse(struct heir_keeper *k, int fd, const struct ucred *who, struct keeper_user *user)
{
    if (!k->short_of_descriptors)
        keeper_log(k, HEIR_LOG_ERROR, "pid %d, uid %u: too many connections, refused", who->pid, who->uid);
    k->short_of_descriptors = true;
    journal_count(k, COUNT_REFUSED_CONNECTIONS, 1);
    if (user != NULL)
        user_close(user, fd);
    else
        close(fd);
}

void connection_accept(struct heir_keeper *k)
{
    for (int i = 0; i < BURST; i++) {
        int fd = accept4(k->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if (errno != EAGAIN) {
                if (!k->short_of_descriptors)
                    keeper_log(k, HEIR_LOG_ERROR, "cannot accept a connection: %s", strerror(errno));
                k->short_of_descriptors = true;
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* the queue stays readable: do not spin */
            }
            return;
        }
        struct ucred who;
        socklen_t len = sizeof who;
        struct keeper_user *user = NULL;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
            user = user_of(k, who.uid);
        struct connection *c =
            fd < k->descriptors && user != NULL && user_may_connect(k, user) == 0 ? calloc(1, sizeof *c) : NULL;
        if (c == NULL) {
            refuse(k, fd, &who, user);
            continue;
        }
        *c = (struct connection){.fd = fd, .uid = who.uid, .gid = who.gid, .pid = who.pid, .user = user};
        user->connections++;
        cds_list_add(&c->all, &k->connections);
        k->short_of_descriptors = false;
        if (keeper_poll(k, fd, SOURCE_CONNECTION, (uintptr_t)c) < 0)
            connection_close(k, c);
    }
}

void connection_close(struct heir_keeper *k, struct connection *c)
{
    struct keeper_client *client = c->client;

    epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL); /* a forked child of ours may hold a copy */
    shutdown(c->fd, SHUT_RDWR);                         /* at once: closing it may have to wait */
    user_close(c->user, c->fd);                         /* with what it may still bring */
    cds_list_del(&c->all);
    c->user->connections--;
    reign_orders_unheard(k, c);
    free(c);
    if (client == NULL)
        return;
    client->connection = NULL;
    bell_ring_dozer(client->page);
    reign_drop_claims(k, client);
    /* The second sign of a death, for when watchers are short: look whether the client lives. One that was only on its
     * way in is gone. */
    if (!client->ready || robust_holder(&client->page->life.mutex) == 0)
        death_of(k, client, clock_mono_ns());
    else if (process_lost_thread(client))
        death_proven(k, client);
}

/* Is it a request: 0, or the reason why not. */
static int check(const struct wire_request *q, size_t got)
{
    if (got < sizeof q->head || q->head.magic != WIRE_MAGIC)
        return -EPROTO;
    if (q->head.version != WIRE_VERSION)
        return -EPROTONOSUPPORT;
    if (got != sizeof *q || q->head.length != got || q->head.type == 0 || q->head.type >= WIRE_TYPES)
        return -EPROTO;
    if (!wire_text_ok(q->name) || !wire_text_ok(q->heir) || q->data_len > HEIR_DATA_MAX)
        return -EPROTO;
    return 0;
}

static void close_all(struct keeper_user *user, const int fds[WIRE_FDS_MOST])
{
    for (unsigned i = 0; i < WIRE_FDS_MOST && fds[i] >= 0; i++)
        user_close(user, fds[i]);
}

void connection_receive(struct heir_keeper *k, struct connection *c)
{
    for (int i = 0; i < BURST; i++) {
        struct wire_request q;
        size_t got = 0;
        int fds[WIRE_FDS_MOST], r = wire_receive(c->fd, &q, sizeof q, &got, fds, WIRE_FDS_MOST);

        if (r == -EAGAIN)
            return;
        if (r == 0 && fds[1] >= 0)
            r = -EPROTO;
        if (r < 0)
            close_all(c->user, fds);
        if (r < 0 || got == 0) {
            if (r == -EPROTO)
                journal_count(k, COUNT_REFUSED_MESSAGES, 1);
            if (r == -EPROTO)
                keeper_log(k, HEIR_LOG_NOTICE, "pid %d, uid %u: malformed message, disconnected", c->pid, c->uid);
            connection_close(k, c);
            return;
        }
        r = check(&q, got);
        if (r < 0) {
            journal_count(k, COUNT_REFUSED_MESSAGES, 1);
            if (r == -EPROTONOSUPPORT) { /* it will understand this much of any version */
                struct wire_reply reply = {.error = r};
                connection_reply(c, &q, &reply, -1);
            }
            keeper_log(k, HEIR_LOG_NOTICE, "pid %d, uid %u: %s, disconnected", c->pid, c->uid,
                       r == -EPROTO ? "malformed message" : "another protocol version");
            close_all(c->user, fds);
            connection_close(k, c);
            return;
        }
        request_handle(k, c, &q, fds);
        close_all(c->user, fds);
    }
}

void connection_reply_with(struct connection *c, const struct wire_request *q, struct wire_reply *reply, const int *fds,
                           unsigned count)
{
    reply->head = (struct wire_head){.magic = WIRE_MAGIC,
                                     .version = WIRE_VERSION,
                                     .type = WIRE_REPLY,
                                     .length = sizeof *reply,
                                     .serial = q->head.serial};
    /* A client that does not read loses its connection, which the event loop notices; it can come again. */
    if (wire_send(c->fd, reply, sizeof *reply, fds, count) < 0)
        shutdown(c->fd, SHUT_RDWR);
    if (c->client != NULL)
        bell_ring_dozer(c->client->page);
}

void connection_reply(struct connection *c, const struct wire_request *q, struct wire_reply *reply, int fd)
{
    connection_reply_with(c, q, reply, &fd, fd >= 0 ? 1 : 0);
}
