/* SPDX-License-Identifier: MIT */
/*
 * Passing tables on, and what else is the owner's to decide.
 *
 * A gift to a client of the same user is made in shared memory; everything else is asked of the keeper.
 */
#include "client.h"
#include <errno.h>
#include <string.h>
#include <time.h>

/* The epoch in which this client owns the table, as it knows; 0 with *error when it does not. */
static uint64_t owned_epoch(struct heir_table *t, int *error)
{
    uint64_t epoch = 0;

    handle_read_begin();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (m == NULL || get(&page_of(&m->reader)->destroyed) != 0)
        *error = -ENOTCONN;
    else if (t->epoch == 0 || get(&page_of(&m->reader)->owner) != owner_word(t->epoch, t->client->id))
        *error = -EPERM;
    else if (t->txn_thread == this_thread())
        *error = -EBUSY;
    else
        epoch = t->epoch;
    handle_read_end(t);
    return epoch;
}

/* Was it this client that ended that epoch, for this reason? The keeper died before it could tell. */
static bool ended_by_us(struct heir_table *t, uint64_t epoch, enum heir_reason reason)
{
    struct transfer record;
    bool us = false;

    handle_read_begin();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (m != NULL && owner_epoch(get(&page_of(&m->reader)->owner)) > epoch &&
        transfer_read(page_of(&m->reader), epoch + 1, &record))
        us = record.from == t->client->id && record.reason == reason;
    handle_read_end(t);
    return us;
}

/* The same, after a look whether it has become the owner meanwhile. */
static uint64_t own(struct heir_table *t, int *error)
{
    uint64_t epoch = owned_epoch(t, error);
    if (epoch == 0 && *error == -EPERM && table_catch_up(t))
        epoch = owned_epoch(t, error);
    return epoch;
}

/* This client has ended that epoch itself, and that is no news. */
static void ended(struct heir_table *t, uint64_t epoch)
{
    pthread_mutex_lock(&t->client->lock);
    if (t->epoch == epoch)
        t->lost = true;
    event_explain(t->client, t);
    pthread_mutex_unlock(&t->client->lock);
}

/* An owner's request. Another thread of this process may be writing: the keeper does not wait for it, so we do. */
static int ask_as_owner(struct heir_table *t, struct wire_request *q, enum heir_reason reason)
{
    struct wire_reply reply;
    uint64_t deadline = deadline_after(t->client->timeout_ms);
    int r = 0;
    uint64_t epoch = own(t, &r);

    if (epoch == 0)
        return r;
    q->table = t->id;
    q->epoch = epoch; /* sent again after the keeper died, it must not end a later reign */
    for (;;) {
        r = call(t->client, q, deadline, &reply, NULL);
        if (r != -EBUSY || deadline_left_ms(deadline) == 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    if ((r == -EPERM || r == -ENOENT) && (q->flags & WIRE_AGAIN) != 0 && reason != 0 && ended_by_us(t, epoch, reason))
        r = 0;
    if (r == 0 && reason != 0)
        ended(t, epoch);
    return r;
}

/*
 * Give to a client of the same user, in shared memory. -EREMOTE: that is the keeper's to do. Killed anywhere in here:
 * the writer mutex and the two owned sets tell the keeper what there is to mend; see owner_pass().
 */
static int give_directly(struct heir_table *t, uint64_t to, const struct passing *how)
{
    struct heir *c = t->client;
    struct peer *peer;
    int r = peer_get(c, to, &peer);

    if (r < 0)
        return r;
    handle_read_begin();
    atomic_fetch_add(&t->users, 1); /* the handle stays mapped while we wait outside of RCU */
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    handle_read_end(t);
    r = m == NULL || m->writer.base == NULL ? -EPERM : 0;
    if (r == 0) {
        struct table_page *page = page_of(&m->writer);
        const struct party me = {.id = c->id, .page = c->page, .bell = c->bell}, receiver = peer_party(peer);
        owner_pass_soon(page, &receiver);
        r = writer_lock(page, true);
        if (r == -EBUSY)
            r = writer_lock_until(page, deadline_after(c->timeout_ms));
        if (r == -EOWNERDEAD)
            r = writer_repair(page, &m->writer);
        if (r == 0) {
            uint64_t epoch = t->epoch;
            /* one that counts as dead has nobody who would mend what it leaves */
            if (get_ordered(&c->page->dead) != 0 || get(&page->destroyed) != 0 || epoch == 0 ||
                get(&page->owner) != owner_word(epoch, c->id)) {
                r = -EPERM;
            } else {
                r = owner_pass(page, &me, &receiver, how);
                if (r < 0) /* taken back, perhaps, in a later epoch */
                    t->epoch = owner_epoch(get(&page->owner));
            }
            writer_unlock(page);
        }
    }
    atomic_fetch_sub(&t->users, 1);
    peer_put(c, peer);
    return r;
}

/* Apart: a request is large, and a gift to a client of the same user needs none. */
static APART int give_by_keeper(struct heir_table *t, uint64_t to, const struct passing *how)
{
    struct wire_request q = {.head.type = WIRE_GIVE, .id = to};
    table_data(&q, how->data, how->data_len);
    return ask_as_owner(t, &q, HEIR_GIVEN);
}

int heir_give_away(struct heir_table *t, uint64_t to, const void *data, size_t data_len)
{
    int r = table_check(t);
    if (r < 0 || (r = table_data_check(data, data_len)) < 0)
        return r;
    if (to == HEIR_KEEPER || to == t->client->id)
        return -EINVAL;
    uint64_t epoch = own(t, &r);
    if (epoch == 0)
        return r;
    const struct passing how = {.reason = HEIR_GIVEN, .data = data, .data_len = data_len};
    r = give_directly(t, to, &how);
    if (r == -EREMOTE)
        return give_by_keeper(t, to, &how);
    if (r == 0)
        ended(t, epoch);
    return r;
}

int heir_release(struct heir_table *t)
{
    struct wire_request q = {.head.type = WIRE_RELEASE};
    int r = table_check(t);
    return r < 0 ? r : ask_as_owner(t, &q, HEIR_RELEASED);
}

int heir_renew(struct heir_table *t)
{
    int r = table_check(t);
    if (r < 0)
        return r;
    if (own(t, &r) == 0 && r != -EBUSY) /* inside a transaction it owns it all the same */
        return r;
    handle_read_begin();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    r = m == NULL ? -ENOTCONN : m->writer.base == NULL ? -EPERM : 0;
    if (r == 0)
        atomic_fetch_add(&page_of(&m->writer)->renewals, 1);
    handle_read_end(t);
    return r;
}

int heir_destroy(struct heir_table *t)
{
    struct wire_request q = {.head.type = WIRE_DESTROY};
    int r = table_check(t);
    if (r < 0)
        return r;
    r = ask_as_owner(t, &q, 0);
    if (r == -ENOENT && (q.flags & WIRE_AGAIN) != 0)
        r = 0; /* done by the keeper that died */
    if (r == 0) {
        pthread_mutex_lock(&t->client->lock);
        if (t->mapping != NULL)
            table_unmap(t); /* in use: heir_close() will */
        pthread_mutex_unlock(&t->client->lock);
    }
    return r;
}

int heir_set_heir(struct heir_table *t, const char *heir, const void *data, size_t data_len)
{
    struct wire_request q = {.head.type = WIRE_SET_HEIR};
    int r = table_check(t);
    if (r < 0 || (r = name_heir(heir, q.heir)) < 0 || (r = table_data(&q, data, data_len)) < 0)
        return r;
    return ask_as_owner(t, &q, 0);
}

int heir_rename(struct heir_table *t, const char *name)
{
    struct wire_request q = {.head.type = WIRE_RENAME};
    int r = table_check(t);
    if (r < 0)
        return r;
    if (!name_valid(name))
        return -EINVAL;
    strcpy(q.name, name);
    return ask_as_owner(t, &q, 0);
}
