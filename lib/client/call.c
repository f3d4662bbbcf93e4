/* SPDX-License-Identifier: MIT */
/*
 * Requests to the keeper.
 *
 * Any number of threads may be waiting for replies on one socket: one of them polls it, for all, and hands each reply
 * to its request by the serial number. One that stands in line sleeps on the bell instead. When the keeper goes away
 * all of them find out, one connects anew and proves with the secret of the page who we are, and each sends its request
 * again, marked so that the keeper knows that it may have been carried out.
 */
#include "atomics.h"
#include "bell.h"
#include "client.h"
#include "shm.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS   20  /* between two looks for a keeper */
#define PROBE_MS   100 /* the same, when nobody waits for one but heir_wait() */
#define CANCEL_MS  1000
#define RINGS_MOST 64    /* unread; some 270 find room */
#define DOZE_MS    60000 /* without looking whether the connection is still there: whoever ends it rings, or is dead */

uint64_t deadline_after(int timeout_ms)
{
    return timeout_ms < 0 ? FOREVER : clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
}

int deadline_left_ms(uint64_t deadline)
{
    uint64_t now = clock_mono_ns();
    if (deadline == FOREVER)
        return -1;
    if (deadline <= now)
        return 0;
    uint64_t ms = (deadline - now + 999999) / 1000000;
    return ms > 1000000000 ? 1000000000 : (int)ms;
}

/* ---- One connection ----------------------------------------------------------------------------------- */

static int connect_once(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int r = errno == EPERM ? -EACCES : -errno;
    close(fd);
    if (r == -ENOENT || r == -EAGAIN || r == -ENOTSOCK || r == -EPROTOTYPE || r == -ENOTDIR)
        r = -ECONNREFUSED; /* not there, not there any more, or not to be talked to */
    return r;
}

bool link_retry(uint64_t deadline)
{
    if (deadline_left_ms(deadline) == 0)
        return false;
    nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000}, NULL);
    return true;
}

int link_open(const char *path, uint64_t deadline)
{
    int fd;
    do
        fd = connect_once(path);
    while (fd == -ECONNREFUSED && link_retry(deadline));
    return fd;
}

static void sign(struct wire_request *q, uint32_t serial)
{
    q->head.magic = WIRE_MAGIC;
    q->head.version = WIRE_VERSION;
    q->head.length = sizeof *q;
    q->head.serial = serial;
}

static int check_reply(const struct wire_reply *reply, size_t got)
{
    if (got < sizeof reply->head || reply->head.magic != WIRE_MAGIC || reply->head.version != WIRE_VERSION ||
        reply->head.type != WIRE_REPLY || got != sizeof *reply || reply->error > 0)
        return -EPROTONOSUPPORT;
    return 0;
}

int link_ask(int socket, struct wire_request *q, int fd, uint64_t deadline, struct wire_reply *reply, int *reply_fd)
{
    struct pollfd p = {.fd = socket, .events = POLLIN};
    size_t got = 0;
    int r, came = -1;

    sign(q, 1);
    if ((r = wire_send(socket, q, sizeof *q, &fd, fd >= 0 ? 1 : 0)) < 0)
        return r == -EPIPE || r == -EAGAIN ? -ECONNREFUSED : r;
    while ((r = wire_receive(socket, reply, sizeof *reply, &got, &came, 1)) == -EAGAIN) {
        int left = deadline_left_ms(deadline);
        if (left == 0)
            return -ECONNREFUSED;
        poll(&p, 1, left);
    }
    if (r == 0 && got == 0)
        r = -ECONNREFUSED;
    if (r == -EPROTO)
        r = -EPROTONOSUPPORT;
    if (r == 0)
        r = check_reply(reply, got);
    if (r == 0)
        r = reply->error;
    if (r == 0 && reply_fd != NULL)
        *reply_fd = came;
    else if (came >= 0)
        close(came);
    return r;
}

/* ---- A client's connection ---------------------------------------------------------------------------- */

struct pending {
    uint32_t serial;
    bool done;
    int error; /* -EPIPE: the connection was lost */
    int fds[WIRE_FDS];
    struct heir_table *table; /* of a claim in line: its memory is mapped */
    bool leaving;             /* it has been told to leave the line, since the table is ours */
    struct wire_reply reply;
    struct cds_list_head list;
};

/* Wake heir_wait() now and then while there is no keeper. */
static void probe_timer(struct heir *c, bool on)
{
    long ns = on ? PROBE_MS * 1000000L : 0;
    struct itimerspec when = {{.tv_nsec = ns}, {.tv_nsec = ns}};
    timerfd_settime(c->timer, 0, &when, NULL);
}

void call_look_again(struct heir *c)
{
    struct itimerspec once = {.it_value.tv_nsec = PROBE_MS * 1000000L};
    if (c->socket >= 0) /* else the other one is on */
        timerfd_settime(c->timer, 0, &once, NULL);
}

static void close_lost(struct heir *c)
{
    if (c->lost_socket < 0)
        return;
    epoll_ctl(c->arrivals, EPOLL_CTL_DEL, c->lost_socket, NULL); /* a forked child may hold a copy */
    close(c->lost_socket);
    c->lost_socket = -1;
}

/* Something has come for one who waits, and may not be the one who has read it. */
static void tell_waiting(struct heir *c)
{
    pthread_cond_broadcast(&c->arrived);
    if (c->dozing)
        bell_ring_dozer(c->page);
}

/* The connection is lost, or broken with an error that every waiting request gets. */
static void hang_up(struct heir *c, int error)
{
    struct pending *p;

    if (c->socket < 0)
        return;
    shutdown(c->socket, SHUT_RDWR); /* a thread may be polling it, and wakes up */
    epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->socket, NULL);
    if (!c->reading)
        epoll_ctl(c->arrivals, EPOLL_CTL_DEL, c->socket, NULL);
    if (c->reading) {
        close_lost(c); /* the one before, of which the reader has not heard yet */
        c->lost_socket = c->socket;
    } else {
        close(c->socket);
    }
    c->socket = -1;
    cds_list_for_each_entry(p, &c->calls, list) {
        if (!p->done) {
            p->done = true;
            p->error = error;
        }
    }
    probe_timer(c, true);
    event_push(c, HEIR_EVENT_KEEPER_DOWN);
    tell_waiting(c);
}

static void close_all(int fds[WIRE_FDS])
{
    for (unsigned i = 0; i < WIRE_FDS; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

void call_connected(struct heir *c, int socket)
{
    struct epoll_event hang_up = {.events = EPOLLRDHUP}, reply = {.events = EPOLLIN};
    c->socket = socket;
    epoll_ctl(c->epoll, EPOLL_CTL_ADD, socket, &hang_up);
    epoll_ctl(c->arrivals, EPOLL_CTL_ADD, socket, &reply);
}

/* Take all replies that have arrived. */
static void receive(struct heir *c)
{
    while (c->socket >= 0) {
        struct wire_reply reply;
        struct pending *p, *found = NULL;
        size_t got = 0;
        int fds[WIRE_FDS], r = wire_receive(c->socket, &reply, sizeof reply, &got, fds, WIRE_FDS);

        if (r == -EAGAIN)
            return;
        if (r == 0 && got > 0)
            r = check_reply(&reply, got);
        else if (r == 0)
            r = -EPIPE;
        if (r < 0) {
            close_all(fds);
            hang_up(c, r == -EPIPE ? -EPIPE : -EPROTONOSUPPORT);
            return;
        }
        cds_list_for_each_entry(p, &c->calls, list) {
            if (p->serial == reply.head.serial && !p->done)
                found = p;
        }
        if (found == NULL) { /* too late for the one who asked; what the reply tells is in shared memory, too */
            close_all(fds);
            continue;
        }
        if (reply.error == -EINPROGRESS) { /* in line: mapped now, the table can be used as soon as it is ours */
            if (table_open(c, &reply, fds[0], &found->table) < 0)
                found->table = NULL;
            else
                table_warm(found->table);
            event_prepare(c);
            fds[0] = -1;
            close_all(fds);
            continue;
        }
        found->reply = reply;
        found->error = reply.error;
        memcpy(found->fds, fds, sizeof fds);
        found->done = true;
        tell_waiting(c);
    }
}

/* Take a claim back. false: there is nobody who would have to know. */
static bool leave_line(struct heir *c, const struct pending *p)
{
    struct wire_request q = {.head.type = WIRE_CANCEL, .id = p->serial};
    sign(&q, ++c->serial);
    return c->socket >= 0 && wire_send(c->socket, &q, sizeof q, NULL, 0) == 0;
}

/* A call leaves the rings to heir_wait(); but each is to wake it, so there must be room for one more. */
static void leave_one_ring(struct heir *c)
{
    char rings[512];
    ssize_t n = recv(c->heard, rings, sizeof rings, MSG_DONTWAIT | MSG_PEEK);
    if (n > 1 && recv(c->heard, rings, (size_t)n - 1, MSG_DONTWAIT) > 0)
        c->drained = bell_count(c->page);
}

/* The lock is let go meanwhile. */
static void sleep_for_arrivals(struct heir *c, uint64_t rung, int timeout_ms)
{
    struct epoll_event event;

    if (bell_count(c->page) - c->drained > RINGS_MOST)
        leave_one_ring(c);
    bell_sleep(c->page);
    if (bell_count(c->page) == rung) {
        pthread_mutex_unlock(&c->lock);
        epoll_wait(c->arrivals, &event, 1, timeout_ms);
        pthread_mutex_lock(&c->lock);
    }
    bell_wake(c->page);
}

/*
 * For a claim in line. It is granted in shared memory, and then the bell is rung: sleeping on that is quicker than on
 * the connection, which others may read meanwhile. Whatever the keeper sends by that, it rings, too; also when it
 * closes it, and when another keeper has come.
 */
static void doze(struct heir *c, const struct pending *p, uint64_t rung, uint64_t deadline)
{
    uint64_t soon = deadline_after(DOZE_MS);

    if (c->dozing) /* while this thread was watching the bell another one has begun to */
        return;
    bell_doze_begin(c->page);
    if (!c->reading)
        receive(c); /* what has come before that; else whoever polls does, and would not be woken if it were gone */
    if (!p->done && bell_count(c->page) == rung) {
        c->dozing = true;
        pthread_mutex_unlock(&c->lock);
        bell_doze(c->page, rung, deadline < soon ? deadline : soon);
        pthread_mutex_lock(&c->lock);
        c->dozing = false;
    }
    bell_doze_end(c->page);
}

static void wait_arrival(struct heir *c, uint64_t deadline)
{
    if (deadline == FOREVER) {
        pthread_cond_wait(&c->arrived, &c->lock);
        return;
    }
    struct timespec t = timespec_of(deadline);
    pthread_cond_timedwait(&c->arrived, &c->lock, &t);
}

bool call_spin(struct heir *c, uint64_t rung, uint64_t deadline)
{
    uint64_t now = clock_mono_ns(), end = now + c->spin_us * UINT64_C(1000);
    bool found = bell_count(c->page) != rung;

    if (found || c->spin_us == 0)
        return found;
    pthread_mutex_unlock(&c->lock);
    for (end = end < deadline ? end : deadline; !found && now < end; now = clock_mono_ns()) {
        for (unsigned looks = 0; !found && looks < 128; looks++) {
            relax();
            found = bell_count(c->page) != rung;
        }
    }
    pthread_mutex_lock(&c->lock);
    return found;
}

/* A claim in line: has the table become ours, although no reply has come yet? It is granted then by the keeper, whose
 * reply is on its way, or another client has given it to us, of which the keeper knows nothing. */
static bool ours_by_now(struct heir *c, struct pending *p)
{
    struct transfer record;

    if (p->table == NULL || p->table->mapping == NULL)
        return false;
    const struct table_page *page = page_of(&p->table->mapping->reader);
    uint64_t word = get(&page->owner);
    if (owner_id(word) != c->id || get(&page->destroyed) != 0)
        return false;
    if (!transfer_read(page, owner_epoch(word), &record) || record.reason != HEIR_CLAIMED) {
        /* not by this claim: the keeper must have dropped it, or it would give us the table once more, some day */
        p->leaving = p->leaving || leave_line(c, p);
        return false;
    }
    p->reply = (struct wire_reply){.id = p->table->id, .epoch = owner_epoch(word), .memory = WIRE_MAPPED};
    p->error = 0;
    p->done = true;
    return true;
}

/* Until the reply is there. -ETIMEDOUT; else 0 and p->done. */
static int await(struct heir *c, struct pending *p, uint64_t deadline)
{
    for (;;) {
        uint64_t rung = bell_count(c->page);
        if (p->done || ours_by_now(c, p))
            return 0;
        int left = deadline_left_ms(deadline);
        if (left == 0)
            return -ETIMEDOUT;
        if (p->table != NULL && !c->dozing) {
            if (!call_spin(c, rung, deadline))
                doze(c, p, rung, deadline);
        } else if (c->reading) {
            wait_arrival(c, deadline);
            continue;
        } else {
            c->reading = true;
            sleep_for_arrivals(c, rung, left);
            c->reading = false;
            close_lost(c);
        }
        if (!ours_by_now(c, p) && !c->reading) /* else the reply is for whoever reads next, to be thrown away */
            receive(c);
        pthread_cond_broadcast(&c->arrived);
    }
}

/* Say who we are: for the first time, or again. */
static int greet(struct heir *c, int socket, uint64_t deadline)
{
    struct wire_request q = {.head.type = WIRE_HELLO, .id = c->id};
    struct wire_reply reply;

    memcpy(q.secret, c->page->head.uuid, sizeof q.secret);
    memcpy(q.name, c->role, NAME_ROOM);
    return link_ask(socket, &q, c->bell, deadline, &reply, NULL);
}

/* With the lock held, which is let go meanwhile. */
static int connect_again(struct heir *c, uint64_t deadline)
{
    while (c->connecting) {
        if (deadline_left_ms(deadline) == 0)
            return -ECONNREFUSED;
        wait_arrival(c, deadline);
    }
    if (c->socket >= 0)
        return 0;
    if (c->orphan)
        return -ENOTCONN;
    c->connecting = true;
    pthread_mutex_unlock(&c->lock);
    int r, fd;
    for (;;) {
        r = fd = link_open(c->socket_path, deadline);
        if (fd >= 0) {
            /* a keeper that has just accepted us and dies is one more reason to try again */
            uint64_t soon = deadline_after(PROBE_MS);
            r = greet(c, fd, deadline > soon ? deadline : soon);
            if (r == 0)
                break;
            close(fd);
            fd = -1;
        }
        if (r != -ECONNREFUSED || !link_retry(deadline))
            break;
    }
    pthread_mutex_lock(&c->lock);
    c->connecting = false;
    if (r == 0) {
        call_connected(c, fd);
        c->rescan = true;
        probe_timer(c, false);
        event_push(c, HEIR_EVENT_KEEPER_UP);
    } else if (r == -ESRCH) {
        c->orphan = true;
        r = -ENOTCONN;
    }
    pthread_cond_broadcast(&c->arrived);
    return r;
}

/* A claim has timed out. The keeper answers the claim itself, with this or with the grant that came before. */
static void cancel(struct heir *c, struct pending *p)
{
    if (leave_line(c, p))
        await(c, p, deadline_after(CANCEL_MS));
}

static int ask(struct heir *c, struct wire_request *q, uint64_t deadline, bool patient, struct wire_reply *reply,
               int fds[WIRE_FDS])
{
    struct pending p = {0};
    int r;

    pthread_mutex_lock(&c->lock);
    for (;;) {
        r = -ECONNREFUSED;
        if (c->socket < 0 && (!patient || (r = connect_again(c, deadline)) < 0)) {
            if (r == -ECONNREFUSED && q->head.type == WIRE_CLAIM && (q->flags & WIRE_AGAIN) != 0)
                r = -ETIMEDOUT; /* it has been in line, and the keeper has not come back in time */
            break;
        }
        p = (struct pending){.serial = ++c->serial, .fds = {-1, -1}};
        sign(q, p.serial);
        cds_list_add_tail(&p.list, &c->calls);
        r = wire_send(c->socket, q, sizeof *q, NULL, 0);
        if (r == -EPIPE)
            hang_up(c, -EPIPE);
        if (r == 0)
            r = await(c, &p, deadline);
        if (r == -ETIMEDOUT && q->head.type == WIRE_CLAIM) {
            cancel(c, &p);
            r = p.done ? 0 : -ETIMEDOUT;
        }
        cds_list_del(&p.list);
        if (r == 0)
            r = p.error;
        if (p.leaving && r < 0) { /* out of the line, or the line went with the keeper; and the table is ours */
            p.reply = (struct wire_reply){.id = p.table->id, .memory = WIRE_MAPPED};
            r = 0;
        } else if (r == -ETIMEDOUT && q->head.type != WIRE_CLAIM)
            r = -ECONNREFUSED;                                 /* it may be carried out yet */
        if (r == -EAGAIN && deadline_left_ms(deadline) != 0) { /* it has much to read: its socket is full */
            pthread_mutex_unlock(&c->lock);
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            pthread_mutex_lock(&c->lock);
            continue;
        }
        if (r != -EPIPE)
            break;
        q->flags |= WIRE_AGAIN;
    }
    pthread_mutex_unlock(&c->lock);
    *reply = p.reply; /* also what comes with an error */
    if (r == 0)
        memcpy(fds, p.fds, sizeof p.fds);
    return r;
}

static int ask_for_one(struct heir *c, struct wire_request *q, uint64_t deadline, bool patient,
                       struct wire_reply *reply, int *fd)
{
    int fds[WIRE_FDS] = {-1, -1}, r = ask(c, q, deadline, patient, reply, fds);
    if (r == 0 && fd != NULL) {
        *fd = fds[0];
        fds[0] = -1;
    }
    close_all(fds);
    return r;
}

int call(struct heir *c, struct wire_request *q, uint64_t deadline, struct wire_reply *reply, int *fd)
{
    return ask_for_one(c, q, deadline, true, reply, fd);
}

int call_once(struct heir *c, struct wire_request *q, uint64_t deadline, struct wire_reply *reply, int *fd)
{
    return ask_for_one(c, q, deadline, false, reply, fd);
}

int call_for_both(struct heir *c, struct wire_request *q, uint64_t deadline, struct wire_reply *reply,
                  int fds[WIRE_FDS])
{
    int r = ask(c, q, deadline, true, reply, fds);
    if (r == 0 && (fds[0] < 0 || fds[1] < 0)) {
        close_all(fds);
        r = -EPROTONOSUPPORT;
    }
    return r;
}

void call_service(struct heir *c)
{
    if (c->socket >= 0 && !c->reading)
        receive(c);
    if (c->socket < 0 && !c->connecting)
        connect_again(c, 0);
}
