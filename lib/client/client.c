/* SPDX-License-Identifier: MIT */
/* Clients: opening and closing a membership. */
#include "client.h"
#include "robust.h"
#include "shm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_MS 1000

int client_check(const struct heir *c)
{
    if (c == NULL)
        return -EINVAL;
    return life_lasts(c->life) ? 0 : -ENOTCONN;
}

bool all_zero(const uint64_t *reserved, size_t count)
{
    while (count > 0) {
        if (reserved[--count] != 0)
            return false;
    }
    return true;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Everything but what the keeper and the life mutex have to do with. */
static void client_free(struct heir *c)
{
    struct queued_event *e, *next;

    cds_list_for_each_entry_safe(e, next, &c->events, list)
        free(e);
    free(c->spare);
    if (c->page != NULL)
        munmap(c->page, CLIENT_PAGE_BYTES);
    life_free(&c->life);
    close_fd(&c->socket);
    close_fd(&c->bell);
    close_fd(&c->heard);
    close_fd(&c->epoll);
    close_fd(&c->arrivals);
    close_fd(&c->timer);
    pthread_cond_destroy(&c->arrived);
    pthread_mutex_destroy(&c->lock);
    free(c->seen);
    free(c);
}

static int make_descriptors(struct heir *c)
{
    struct epoll_event event = {.events = EPOLLIN}, edge = {.events = EPOLLIN | EPOLLET};
    int bell[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bell) < 0)
        return -errno;
    c->bell = bell[0];
    c->heard = bell[1];
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->arrivals = epoll_create1(EPOLL_CLOEXEC);
    if (c->timer < 0 || c->epoll < 0 || c->arrivals < 0 || epoll_ctl(c->arrivals, EPOLL_CTL_ADD, c->heard, &edge) < 0 ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->heard, &event) < 0 ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->timer, &event) < 0)
        return -errno;
    return 0;
}

static int map_page(struct heir *c, int fd, uint64_t id)
{
    struct stat st;
    c->page =
        fstat(fd, &st) == 0 && st.st_size == (off_t)CLIENT_PAGE_BYTES ? shm_map(fd, CLIENT_PAGE_BYTES, true) : NULL;
    if (c->page == NULL)
        return -ENOMEM;
    int r = head_check(&c->page->head, CLIENT_MAGIC, CLIENT_PAGE_BYTES, CLIENT_PAGE_BYTES);
    if (r < 0)
        return r == -EAGAIN ? -EUCLEAN : r;
    c->id = id;
    return c->page->head.id == id ? 0 : -EUCLEAN;
}

/* Become a client over this connection. Killed before READY is handled: the keeper removes the page with the
 * connection. */
static int join(struct heir *c, int socket, uint64_t deadline)
{
    struct wire_request q = {.head.type = WIRE_HELLO, .tid = (int32_t)syscall(SYS_gettid)};
    struct wire_reply reply;
    int fd = -1, r;

    memcpy(q.name, c->role, NAME_ROOM);
    if ((r = link_ask(socket, &q, c->bell, deadline, &reply, &fd)) < 0)
        return r;
    r = fd >= 0 ? map_page(c, fd, reply.id) : -EPROTONOSUPPORT;
    if (fd >= 0)
        close(fd);
    if (r < 0)
        return r;
    if ((r = robust_try(&c->page->life.mutex)) < 0)
        return r == -EBUSY ? -EUCLEAN : r;
    q = (struct wire_request){.head.type = WIRE_READY};
    r = link_ask(socket, &q, -1, deadline, &reply, NULL);
    if (r < 0)
        robust_unlock(&c->page->life.mutex);
    return r;
}

static int open_client(struct heir *c, const struct heir_open_options *o)
{
    bool folder;
    int r;

    if (o->timeout_ms < -1 || (o->crash_note & ~1) != 0 || o->reserved_int != 0 ||
        !all_zero(o->reserved, sizeof o->reserved / sizeof *o->reserved))
        return -EINVAL;
    if ((r = name_space(o->ns, c->ns)) < 0 || (r = name_socket(o->socket, c->ns, c->socket_path, &folder)) < 0 ||
        (r = name_role(o->name, c->role)) < 0 || (r = life_begin(&c->life)) < 0)
        return r;
    if (folder && (r = name_folder_safe(c->socket_path)) < 0)
        return r;
    c->spin_us = o->spin_us;
    c->crash_note = o->crash_note != 0;
    c->spare = calloc(1, sizeof *c->spare);
    c->timeout_ms = o->timeout_ms != 0 ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
    if ((r = hash_init(&c->tables)) < 0)
        return r;
    if ((r = make_descriptors(c)) < 0)
        return r;
    uint64_t deadline = deadline_after(c->timeout_ms);
    do { /* again when a keeper dies in the middle of it */
        int fd = link_open(c->socket_path, deadline);
        if (fd < 0)
            return fd;
        r = join(c, fd, deadline);
        if (r == 0) {
            call_connected(c, fd);
            return 0;
        }
        close(fd);
        if (c->page != NULL)
            munmap(c->page, CLIENT_PAGE_BYTES);
        c->page = NULL;
    } while (r == -ECONNREFUSED && link_retry(deadline)); /* one that is short of descriptors hangs up, too */
    return r;
}

int heir_open(const struct heir_open_options *options, struct heir **client)
{
    static const struct heir_open_options none;
    pthread_condattr_t attr;

    if (client == NULL)
        return -EINVAL;
    *client = NULL;
    struct heir *c = calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->thread = pthread_self();
    c->socket = c->lost_socket = c->bell = c->heard = c->epoll = c->arrivals = c->timer = -1;
    CDS_INIT_LIST_HEAD(&c->calls);
    CDS_INIT_LIST_HEAD(&c->events);
    CDS_INIT_LIST_HEAD(&c->snapshots);
    CDS_INIT_LIST_HEAD(&c->feeds);
    CDS_INIT_LIST_HEAD(&c->peers);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->arrived, &attr);
    pthread_condattr_destroy(&attr);
    int r = open_client(c, options != NULL ? options : &none);
    if (r == 0 && c->crash_note && (r = crash_note_begin(c)) < 0) {
        heir_close(c);
        return r;
    }
    if (r < 0) {
        hash_deinit(&c->tables);
        client_free(c);
        return r;
    }
    *client = c;
    return 0;
}

static void abort_own(struct heir *c)
{
    struct cds_lfht_iter iter;
    struct cds_lfht_node *node;

    urcu_bp_read_lock();
    cds_lfht_for_each(c->tables.ht, &iter, node)
        table_abort(caa_container_of(node, struct heir_table, by_id));
    urcu_bp_read_unlock();
}

/* Threads that are inside a read have left before anything is unmapped. */
static void free_tables(struct heir *c)
{
    struct cds_lfht_iter iter;
    struct cds_lfht_node *node;
    struct cds_list_head all;
    struct heir_table *t, *next;

    CDS_INIT_LIST_HEAD(&all);
    urcu_bp_read_lock();
    cds_lfht_for_each(c->tables.ht, &iter, node) {
        t = caa_container_of(node, struct heir_table, by_id);
        cds_list_add(&t->closing, &all);
    }
    urcu_bp_read_unlock();
    cds_list_for_each_entry(t, &all, closing)
        hash_del(&c->tables, &t->by_id);
    hash_deinit(&c->tables);
    urcu_bp_synchronize_rcu();
    cds_list_for_each_entry_safe(t, next, &all, closing) {
        handle_reads_ended(t);
        if (t->txn_thread == NULL && atomic_load(&t->users) == 0) /* a thread that is still in there keeps its memory */
            table_free(t);
    }
}

int heir_close(struct heir *c)
{
    if (c == NULL)
        return 0;
    bool ended = life_ended(c->life);     /* by a crash that has been recovered from: the keeper knows */
    if (!ended && !life_lasts(c->life)) { /* a child's copy: the mappings are not here, and the locks may be anyhow */
        c->page = NULL;
        client_free(c);
        return 0;
    }
    if (!pthread_equal(c->thread, pthread_self()))
        return -EPERM;
    abort_own(c);
    crash_note_end(c);
    if (!ended)
        set(&c->page->closing, 1);
    if (!ended && c->socket >= 0) {
        struct wire_request q = {.head.type = WIRE_CLOSE};
        struct wire_reply reply;
        call_once(c, &q, deadline_after(c->timeout_ms), &reply,
                  NULL); /* no answer: the life mutex tells the next keeper */
    }
    robust_unlock(&c->page->life.mutex);
    snapshots_close(c);
    feeds_close(c);
    peers_free(c);
    free_tables(c);
    client_free(c);
    return 0;
}

uint64_t heir_id(const struct heir *c)
{
    return c != NULL ? c->id : 0;
}

int heir_fd(const struct heir *c)
{
    int r = client_check(c);
    if (r < 0)
        return r;
    struct heir *client = (struct heir *)(uintptr_t)c; /* that somebody asks is no change that he could see */
    pthread_mutex_lock(&client->lock);
    if (!client->polled)
        event_polled(client);
    client->polled = true;
    pthread_mutex_unlock(&client->lock);
    return c->epoll;
}

int heir_find(struct heir *c, const char *name, uint64_t *id)
{
    struct wire_request q = {.head.type = WIRE_FIND};
    struct wire_reply reply;
    int r = client_check(c);

    if (r < 0)
        return r;
    if (id == NULL || !name_valid(name))
        return -EINVAL;
    strcpy(q.name, name);
    if ((r = call(c, &q, deadline_after(c->timeout_ms), &reply, NULL)) < 0)
        return r;
    *id = reply.id;
    return 0;
}
