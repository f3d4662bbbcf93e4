/* SPDX-License-Identifier: MIT */
/*
 * Operations on objects, as users call them: who may, under which lock, in which transaction.
 *
 * A write locks the table's writer mutex, repairs what a dead writer left, and then looks at the owner word: that is
 * the fence. A client that was stopped, and whose table was given to another meanwhile, is refused here at its next
 * write, and cannot be overtaken later, because the owner changes only under that mutex.
 */
#include "client.h"
#include "objects.h"
#include "read.h"
#include "space.h"
#include "walk.h"
#include <errno.h>

/* ---- Writing ------------------------------------------------------------------------------------------ */

/* May this handle write now? The writer mutex is held. */
static int fence(const struct heir_table *t, const struct table_page *page)
{
    if (unlikely(get(&page->destroyed) != 0))
        return -ENOTCONN;
    uint64_t epoch = atomic_load_explicit(&t->epoch, memory_order_relaxed);
    if (likely(epoch != 0 && get(&page->owner) == owner_word(epoch, t->client->id)))
        return 0;
    if (page->access == HEIR_PUBLIC)
        return 0;
    return epoch != 0 ? -ESTALE : -EPERM;
}

static int write_try(struct heir_table *t, struct store **store, bool *open)
{
    int r;

    urcu_bp_read_lock();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (unlikely(m == NULL || m->writer.base == NULL)) {
        handle_read_end(t);
        return m == NULL ? -ENOTCONN : t->epoch != 0 ? -ESTALE : -EPERM;
    }
    *store = &m->writer;
    *open = atomic_load_explicit(&t->txn_thread, memory_order_relaxed) == this_thread();
    if (*open)
        return 0;
    struct table_page *page = page_of(&m->writer);
    r = writer_lock(page, true);
    if (unlikely(r == -EBUSY)) {
        /* wait outside of RCU: who holds the mutex may be waiting for a grace period */
        atomic_fetch_add(&t->users, 1);
        handle_read_end(t);
        r = writer_lock(page, false);
        urcu_bp_read_lock();
        atomic_fetch_sub(&t->users, 1);
    }
    if (unlikely(r == -EOWNERDEAD))
        r = writer_repair(page, &m->writer);
    if (likely(r == 0)) {
        if (likely((r = fence(t, page)) == 0)) {
            objects_begin(&m->writer);
            return 0;
        }
        writer_unlock(page);
    }
    handle_read_end(t);
    return r;
}

/* Enter a write: 0 with the store to write to, and RCU's read side held until write_end(). */
static int write_begin(struct heir_table *t, struct store **store, bool *open)
{
    if (unlikely(t == NULL))
        return -EINVAL;
    if (unlikely(!fork_same(t->generation)))
        return -ENOTCONN;
    if (unlikely(t->client == NULL))
        return -EPERM; /* heir_inspect_open() */
    int r = write_try(t, store, open);
    if (unlikely(r == -EPERM || r == -ESTALE) && table_catch_up(t))
        r = write_try(t, store, open);
    return r;
}

#define MOST_TRIES 8

/* A write of its own that found no space: take back what can be, and let it try again as long as that yields something.
 */
static bool try_again(struct store *s, bool open, int r, unsigned *tries)
{
    if (likely(r != -ENOSPC) || open || (*tries)++ == MOST_TRIES)
        return false;
    if (objects_abort(s) < 0)
        return false;
    bool again = objects_collect(s);
    objects_begin(s);
    return again;
}

/* Leave it with the operation's result, committing if it was a transaction of its own. */
static int write_end(struct heir_table *t, struct store *s, bool open, int r)
{
    if (!open) {
        if (likely(r == 0))
            objects_commit(s);
        else if (objects_abort(s) < 0)
            r = -EUCLEAN;
        writer_unlock(page_of(s));
    }
    handle_read_end(t);
    return r;
}

static int check_key(const struct store *s, const void *key, size_t key_len)
{
    const struct table_page *page = page_of(s);
    if (unlikely(key == NULL || key_len == 0 || key_len > HEIR_KEY_MAX))
        return -EINVAL;
    return unlikely(page->key_size != 0 && page->key_size != key_len) ? -EINVAL : 0;
}

static int check_value(const struct store *s, const void *value, size_t value_len)
{
    const struct table_page *page = page_of(s);
    if (unlikely(value == NULL && value_len != 0))
        return -EINVAL;
    if (unlikely(value_len > UINT32_MAX))
        return -EFBIG;
    return unlikely(page->value_size != 0 && page->value_size != value_len) ? -EINVAL : 0;
}

static int put(struct heir_table *t, const void *key, size_t key_len, const void *value, size_t value_len,
               bool only_new)
{
    struct store *s;
    unsigned tries = 0;
    bool open;
    int r = write_begin(t, &s, &open);
    if (unlikely(r < 0))
        return r;
    if ((r = check_key(s, key, key_len)) == 0 && (r = check_value(s, value, value_len)) == 0)
        do {
            r = objects_put(s, key, key_len, value, value_len, only_new);
        } while (try_again(s, open, r, &tries));
    return write_end(t, s, open, r);
}

int heir_put(struct heir_table *t, const void *key, size_t key_len, const void *value, size_t value_len)
{
    return put(t, key, key_len, value, value_len, false);
}

int heir_put_new(struct heir_table *t, const void *key, size_t key_len, const void *value, size_t value_len)
{
    return put(t, key, key_len, value, value_len, true);
}

int heir_take(struct heir_table *t, const void *key, size_t key_len, void *value, size_t *value_len)
{
    struct store *s;
    unsigned tries = 0;
    bool open;
    int r = write_begin(t, &s, &open);
    if (r < 0)
        return r;
    if ((r = check_key(s, key, key_len)) == 0) {
        if (value == NULL && value_len != NULL && *value_len != 0)
            r = -EINVAL;
        else
            do {
                r = objects_take(s, key, key_len, value, value_len);
            } while (try_again(s, open, r, &tries));
    }
    return write_end(t, s, open, r);
}

int heir_del(struct heir_table *t, const void *key, size_t key_len)
{
    return heir_take(t, key, key_len, NULL, NULL);
}

int heir_add(struct heir_table *t, const void *key, size_t key_len, int64_t delta, int64_t *result)
{
    struct store *s;
    unsigned tries = 0;
    bool open;
    int r = write_begin(t, &s, &open);
    if (unlikely(r < 0))
        return r;
    if ((r = check_key(s, key, key_len)) == 0 && (r = check_value(s, &delta, sizeof delta)) == 0)
        do {
            r = objects_add(s, key, key_len, delta, result);
        } while (try_again(s, open, r, &tries));
    return write_end(t, s, open, r);
}

int heir_clear(struct heir_table *t)
{
    struct store *s;
    unsigned tries = 0;
    bool open;
    int r = write_begin(t, &s, &open);
    if (r < 0)
        return r;
    do {
        r = objects_clear(s);
    } while (try_again(s, open, r, &tries));
    return write_end(t, s, open, r);
}

/* ---- Transactions ------------------------------------------------------------------------------------- */

int heir_begin(struct heir_table *t)
{
    struct store *s;
    bool open;
    int r = write_begin(t, &s, &open);
    if (r < 0)
        return r;
    if (open) {
        r = -EALREADY;
    } else {
        objects_abort(s);
        objects_make_room(s);
        objects_begin(s);
        t->txn_mapping = caa_container_of(s, struct mapping, writer);
        atomic_store_explicit(&t->txn_thread, this_thread(), memory_order_relaxed);
    }
    handle_read_end(t); /* an open transaction keeps the handle from being detached */
    return r;
}

static int end(struct heir_table *t, bool commit)
{
    int r = 0;

    if (t == NULL)
        return -EINVAL;
    if (!fork_same(t->generation))
        return -ENOTCONN;
    const void *thread = atomic_load_explicit(&t->txn_thread, memory_order_relaxed);
    if (thread == NULL)
        return -EINVAL;
    if (thread != this_thread())
        return -EPERM;
    struct store *s = &t->txn_mapping->writer;
    if (commit)
        objects_commit(s);
    else
        r = objects_abort(s);
    atomic_store_explicit(&t->txn_thread, NULL, memory_order_relaxed);
    writer_unlock(page_of(s));
    return r;
}

int heir_commit(struct heir_table *t)
{
    return end(t, true);
}

int heir_abort(struct heir_table *t)
{
    return end(t, false);
}

/* ---- Reading ------------------------------------------------------------------------------------------ */

/* Enter a read: 0 with the mapping, and RCU's read side held. *own: this thread has a transaction open. */
static int read_begin(struct heir_table *t, struct mapping **mapping, bool *own)
{
    int r = 0;

    if (unlikely(t == NULL))
        return -EINVAL;
    if (unlikely(!fork_same(t->generation)))
        return -ENOTCONN;
    urcu_bp_read_lock();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (unlikely(m == NULL)) {
        r = -ENOTCONN;
    } else {
        const struct table_page *page = page_of(&m->reader);
        if (unlikely(page->access == HEIR_PRIVATE && t->client != NULL && owner_id(get(&page->owner)) != t->client->id))
            r = -EACCES;
    }
    if (unlikely(r < 0)) {
        handle_read_end(t);
        return r;
    }
    *mapping = m;
    *own = atomic_load_explicit(&t->txn_thread, memory_order_relaxed) == this_thread();
    return 0;
}

static int get_value(struct heir_table *t, const void *key, size_t key_len, void *value, size_t *value_len)
{
    struct mapping *m;
    bool own;
    int r = read_begin(t, &m, &own);
    if (unlikely(r < 0))
        return r;
    if (likely((r = check_key(&m->reader, key, key_len)) == 0)) {
        r = unlikely(own) ? read_own(&m->writer, key, key_len, value, value_len)
                          : read_get(&m->reader, key, key_len, value, value_len);
    }
    handle_read_end(t);
    return r;
}

int heir_get(struct heir_table *t, const void *key, size_t key_len, void *value, size_t *value_len)
{
    if (unlikely(value == NULL && value_len != NULL && *value_len != 0))
        return -EINVAL;
    return get_value(t, key, key_len, value, value_len);
}

int heir_has(struct heir_table *t, const void *key, size_t key_len)
{
    return get_value(t, key, key_len, NULL, NULL);
}

/* ---- Walks -------------------------------------------------------------------------------------------- */

#define SMALL_TABLE (UINT64_C(256) << 10) /* bytes: copying it takes less than asking the keeper */
#define SMALL_TRIES 3
#define COPY_TRIES  100

static void unpin_myself(struct heir *c, uint64_t table, uint64_t txn)
{
    for (unsigned i = 0; i < PINS_A_CLIENT; i++) {
        if (get(&c->page->pins[i].table) == table && get(&c->page->pins[i].txn) == txn)
            set(&c->page->pins[i].table, 0);
    }
}

/* Of the last committed state. */
static int walk(struct heir_table *t, const struct store *s, heir_visit *visit, void *arg)
{
    struct wire_request q = {.head.type = WIRE_PIN, .table = t->id};
    struct wire_reply reply;
    bool copied = false, keeper = t->client != NULL && t->client->socket >= 0;
    int r = -EAGAIN;

    if (!keeper || space_bytes_used(s) <= SMALL_TABLE)
        r = walk_copy(s, keeper ? SMALL_TRIES : COPY_TRIES, &copied, visit, arg);
    if (!keeper || r != -EAGAIN || copied)
        return r;
    r = call(t->client, &q, deadline_after(t->client->timeout_ms), &reply, NULL);
    if (r < 0)
        return r == -EACCES || r == -ENOMEM ? r : walk_copy(s, COPY_TRIES, &copied, visit, arg);
    r = walk_pinned(s, reply.value, visit, arg);
    q = (struct wire_request){.head.type = WIRE_UNPIN, .table = t->id, .id = reply.value};
    if (call_once(t->client, &q, deadline_after(t->client->timeout_ms), &reply, NULL) < 0)
        unpin_myself(t->client, t->id, q.id); /* the next keeper asks our page */
    return r;
}

int heir_foreach(struct heir_table *t, heir_visit *visit, void *arg)
{
    struct mapping *m;
    bool own;

    if (visit == NULL)
        return -EINVAL;
    int r = read_begin(t, &m, &own);
    if (r < 0)
        return r;
    /* not in RCU's read side: visit may do anything, and the keeper may be a thread of ours that waits for a grace
     * period */
    atomic_fetch_add(&t->users, 1);
    handle_read_end(t);
    r = own ? walk_own(&m->writer, visit, arg) : walk(t, &m->reader, visit, arg);
    atomic_fetch_sub(&t->users, 1);
    return r;
}

int heir_range(struct heir_table *t, const void *from, size_t from_len, const void *to, size_t to_len,
               heir_visit *visit, void *arg)
{
    (void)from, (void)from_len, (void)to, (void)to_len, (void)arg;
    if (t == NULL || visit == NULL)
        return -EINVAL;
    return fork_same(t->generation) ? -ENOTSUP : -ENOTCONN;
}
