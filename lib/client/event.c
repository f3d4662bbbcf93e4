/* SPDX-License-Identifier: MIT */
/*
 * Events: what heir_wait() tells.
 *
 * No message brings them. The keeper (or a giver) changes the owner word and rings; a client that wakes looks through
 * its owned set, and each table that names it with an epoch that it has not told of yet is an event. So none can be
 * lost, or come twice.
 */
#include "bell.h"
#include "client.h"
#include "owned.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EXPLAINED_MS 1000 /* the keeper takes some microseconds, if it is not stopped in the middle */
#define EXPLAINED_NS 50000
#define AFTER_DATA   (sizeof(struct heir_event) - offsetof(struct heir_event, cause))

/* Who sleeps, or may at any time, must know that there is an event; nobody else looks at the descriptor. With the lock
 * held: who is about to sleep has looked at the events before, and has said so before letting the lock go. */
static void ring_myself(struct heir *c)
{
    bell_rouse_sleepers(c->page, c->bell);
}

void event_polled(struct heir *c)
{
    bell_sleep(c->page);
    if (!cds_list_empty(&c->events) || bell_count(c->page) != c->rung || c->rescan) /* from before */
        ring_myself(c);
}

struct heir_event *event_push(struct heir *c, enum heir_event_type type)
{
    struct queued_event *e = c->spare != NULL ? c->spare : malloc(sizeof *e);
    if (e == NULL)
        return NULL;
    c->spare = NULL;
    memset(&e->event, 0, offsetof(struct heir_event, data)); /* the data are large, and mostly none */
    memset(&e->event.cause, 0, AFTER_DATA);
    e->event.type = type;
    cds_list_add_tail(&e->list, &c->events);
    ring_myself(c);
    return &e->event;
}

/* Tell of a table that is this client's, if that is news. false: no memory. */
static bool tell_transfer(struct heir *c, struct heir_table *t)
{
    const struct table_page *page = page_of(&t->mapping->reader);
    uint64_t word = get(&page->owner), epoch = owner_epoch(word);
    struct transfer record;
    struct heir_event *e;

    if (owner_id(word) != c->id || (t->epoch == epoch && t->told))
        return true;
    if (!transfer_read(page, epoch, &record) || get(&page->owner) != word)
        return true; /* it has gone on meanwhile: there is another ring for that */
    if ((e = event_push(c, HEIR_EVENT_TRANSFER)) == NULL)
        return false;
    e->reason = (enum heir_reason)record.reason;
    e->table = t;
    e->from = record.from;
    e->epoch = epoch;
    e->undone = record.undone;
    e->cause = transfer_cause(&record, &e->code);
    e->data_len = record.data_len;
    memcpy(e->data, record.data, record.data_len);
    settings_name(page, e->name);
    t->told = true;
    t->lost = false;
    t->epoch = epoch;
    c->latest = t;
    return true;
}

/* The keeper looks how an owner died when it has handed on the table, and then completes the record. false: not yet. */
static bool explain(struct heir_event *e)
{
    const struct mapping *m = e->table != NULL ? e->table->mapping : NULL;
    struct transfer record;

    if (e->cause != CAUSE_PENDING)
        return true;
    if (m == NULL || !transfer_read(page_of(&m->reader), e->epoch, &record)) {
        e->cause = HEIR_CAUSE_UNKNOWN; /* the table is not ours any more */
        return true;
    }
    e->cause = transfer_cause(&record, &e->code);
    return e->cause != CAUSE_PENDING;
}

void event_explain(struct heir *c, const struct heir_table *t)
{
    struct queued_event *e;
    cds_list_for_each_entry(e, &c->events, list) {
        if (e->event.table == t)
            explain(&e->event);
    }
}

/* The lock is let go meanwhile. */
static void await_explanation(struct heir *c, struct heir_event *e)
{
    uint64_t deadline = 0;

    while (!explain(e)) {
        if (deadline == 0)
            deadline = deadline_after(EXPLAINED_MS);
        if (deadline_left_ms(deadline) == 0) { /* killed: the next one will not know it, either */
            e->cause = HEIR_CAUSE_UNKNOWN;
            break;
        }
        pthread_mutex_unlock(&c->lock);
        nanosleep(&(struct timespec){.tv_nsec = EXPLAINED_NS}, NULL);
        pthread_mutex_lock(&c->lock);
    }
}

void event_loss(struct heir *c, struct heir_table *t, uint64_t newer)
{
    struct transfer record;
    struct heir_event *e;

    if (t == NULL || t->mapping == NULL || t->lost || t->epoch == 0 || t->epoch >= newer)
        return;
    const struct table_page *page = page_of(&t->mapping->reader);
    uint64_t word = get(&page->owner);
    if (word == owner_word(t->epoch, c->id) || get(&page->destroyed) != 0)
        return;
    t->lost = true;
    bool known = transfer_read(page, t->epoch + 1, &record) && record.from == c->id;
    if ((known && record.reason != HEIR_REVOKED) || (e = event_push(c, HEIR_EVENT_LOST)) == NULL)
        return;
    e->reason = HEIR_REVOKED;
    e->table = t;
    e->from = c->id;
    e->epoch = t->epoch + 1;
    settings_name(page, e->name);
}

static bool make_room(struct heir *c, uint64_t count)
{
    if (count <= c->seen_room)
        return true;
    uint64_t room = count * 2;
    uint64_t *seen = realloc(c->seen, room * sizeof *seen);
    if (seen == NULL)
        return false;
    memset(seen + c->seen_room, 0, (room - c->seen_room) * sizeof *seen);
    c->seen = seen;
    c->seen_room = room;
    return true;
}

void event_prepare(struct heir *c)
{
    if (c->spare == NULL && (c->spare = malloc(sizeof *c->spare)) != NULL)
        memset(c->spare, 0, sizeof *c->spare); /* touched */
    make_room(c, owned_entries(c->page) + 1);
}

/* fetch() from the keeper. Apart: a request is large. */
static APART struct heir_table *fetch_anew(struct heir *c, uint64_t id, uint64_t *epoch)
{
    struct wire_request q = {.head.type = WIRE_OPEN, .table = id};
    struct wire_reply reply;
    struct heir_table *t = NULL;
    int fd = -1;

    pthread_mutex_unlock(&c->lock);
    int r = call_once(c, &q, deadline_after(c->timeout_ms), &reply, &fd);
    pthread_mutex_lock(&c->lock);
    if (r == 0)
        r = table_open(c, &reply, fd, &t);
    if (r == -EPERM) /* another's: by now, or still */
        *epoch = reply.epoch;
    else if (r < 0 && r != -ENOENT && r != -EUCLEAN && r != -EPROTONOSUPPORT)
        c->rescan = true;
    return r == 0 ? t : NULL;
}

/* A handle of a table that has come to us without our asking, which lets the lock go. NULL: it cannot be had now; it is
 * in this *epoch, if that is known. */
static struct heir_table *fetch(struct heir *c, uint64_t id, uint64_t *epoch)
{
    struct heir_table *t = table_find(c, id);

    *epoch = 0;
    if (t != NULL && t->mapping != NULL && t->mapping->writer.base != NULL)
        return t;
    return fetch_anew(c, id, epoch);
}

struct heir_table *event_fetch(struct heir *c, uint64_t id)
{
    uint64_t epoch;
    return fetch(c, id, &epoch);
}

void event_note(struct heir *c, struct heir_table *t)
{
    const struct table_page *page = page_of(&t->mapping->reader);
    uint64_t owner = get(&page->owner);
    struct transfer record;

    if (owner_id(owner) != c->id || !transfer_read(page, owner_epoch(owner), &record))
        return;
    uint64_t i = record.entry - 1;
    if (record.entry == 0 || record.entry > owned_entries(c->page) || !make_room(c, record.entry))
        return;
    uint64_t now = get(&c->page->owned[i]), before = c->seen[i];
    if (owned_table(now) != t->id)
        return;
    if (before != 0 && owned_table(before) != t->id)
        event_loss(c, table_find(c, owned_table(before)), UINT64_MAX);
    if (tell_transfer(c, t))
        c->seen[i] = now;
}

/* One entry of the owned set has changed since the last look. false: look again. */
static bool look_at(struct heir *c, uint64_t before, uint64_t now)
{
    uint64_t id = owned_table(now);

    if (owned_table(before) != id && before != 0)
        event_loss(c, table_find(c, owned_table(before)), UINT64_MAX);
    if (id == 0)
        return true;
    uint64_t epoch;
    struct heir_table *t = fetch(c, id, &epoch);
    bool mapped = t != NULL && t->mapping != NULL;
    if (mapped)
        epoch = owner_epoch(get(&page_of(&t->mapping->reader)->owner));
    /* announced, and not yet done: there will be another ring, perhaps with the very same word, from a giver that tries
     * again */
    if (epoch != 0 && owned_ahead(now, epoch) > 0)
        return false;
    if (!mapped)
        return !c->rescan;
    event_loss(c, t, epoch); /* lost and won again since we looked */
    if (tell_transfer(c, t))
        return true;
    c->rescan = true; /* no memory */
    return false;
}

/* What has come is mostly what came the last time; its memory is in the giver's cache. */
static void prefetch_latest(const struct heir *c)
{
    const struct mapping *m = c->latest != NULL ? c->latest->mapping : NULL;

    if (m == NULL || m->writer.base == NULL)
        return;
    const struct table_page *page = page_of(&m->writer);
    prefetch_to_write(&page->owner);
    prefetch_to_write(&page->writer);
    prefetch_to_write(&page->view);
    prefetch_to_write(&page->ledger);
    for (int i = 0; i < 2; i++) /* either record may be the new one */
        __builtin_prefetch(&page->transfers[i]);
}

void event_scan(struct heir *c)
{
    prefetch_latest(c);
    c->rung = bell_count(c->page);
    uint64_t count = owned_entries(c->page);
    c->rescan = !make_room(c, count);
    for (uint64_t i = 0; i < count && i < c->seen_room; i++) {
        uint64_t now = get(&c->page->owned[i]);
        if (c->seen[i] != now && look_at(c, c->seen[i], now))
            c->seen[i] = now;
    }
    if (c->rescan)
        call_look_again(c);
}

/* Clear what made heir_fd() readable. */
static void drain(struct heir *c)
{
    char rings[512];
    uint64_t n;
    c->drained = bell_count(c->page);
    if (recv(c->heard, rings, sizeof rings, MSG_DONTWAIT) < 0) {
        /* not rung */
    }
    if (read(c->timer, &n, sizeof n) < 0) {
        /* not expired */
    }
}

/* Take the oldest event. */
static bool take(struct heir *c, struct heir_event *event)
{
    if (c->rescan || bell_count(c->page) != c->rung)
        event_scan(c);
    if (cds_list_empty(&c->events))
        return false;
    struct queued_event *e = cds_list_entry(c->events.next, struct queued_event, list);
    cds_list_del(&e->list);
    memcpy(event, &e->event, offsetof(struct heir_event, data) + e->event.data_len);
    memcpy(&event->cause, &e->event.cause, AFTER_DATA);
    free(c->spare);
    c->spare = e;
    if (!cds_list_empty(&c->events))
        ring_myself(c); /* for heir_fd(), and for other threads */
    await_explanation(c, event);
    return true;
}

/* Sleep until there may be something to do; the lock is let go meanwhile. */
static void sleep_for_events(struct heir *c, int timeout_ms)
{
    bell_sleep(c->page);
    if (bell_count(c->page) == c->rung && cds_list_empty(&c->events)) {
        struct epoll_event event;
        pthread_mutex_unlock(&c->lock);
        epoll_wait(c->epoll, &event, 1, timeout_ms);
        pthread_mutex_lock(&c->lock);
    }
    bell_wake(c->page);
}

int heir_wait(struct heir *c, int timeout_ms, struct heir_event *event)
{
    uint64_t deadline = deadline_after(timeout_ms);
    int r = client_check(c);

    if (r < 0)
        return r;
    if (event == NULL || timeout_ms < -1)
        return -EINVAL;
    pthread_mutex_lock(&c->lock);
    while (!take(c, event)) {
        call_service(c);
        drain(c);
        if (take(c, event))
            break;
        int left = deadline_left_ms(deadline);
        if (left == 0) {
            event_scan(c); /* the owner word may name us already, and the bell not have been rung yet */
            r = take(c, event) ? 0 : -ETIMEDOUT;
            break;
        }
        if (!call_spin(c, c->rung, deadline))
            sleep_for_events(c, left);
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}
