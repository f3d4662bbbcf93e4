/* SPDX-License-Identifier: MIT */
/*
 * Operations on objects, as users call them: who may, under which lock, in which transaction.
 *
 * A write locks the table's writer mutex, repairs what a dead writer left, and then looks at the owner word: that is
 * the fence. A client that was stopped, and whose table was given to another meanwhile, is refused here at its next
 * write, and cannot be overtaken later, because the owner changes only under that mutex.
 */
#include "bag.h"
#include "change.h"
#include "client.h"
#include "lend.h"
#include "objects.h"
#include "read.h"
#include <errno.h>

/* ---- Writing ------------------------------------------------------------------------------------------ */

/* Has this thread a transaction open? */
static bool in_transaction(const struct heir_table *t)
{
    const void *thread = atomic_load_explicit(&t->txn_thread, memory_order_relaxed);
    return unlikely(thread != NULL) && thread == this_thread();
}

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

/* Outside of RCU, for who is waited for may be waiting for a grace period; the handle stays mapped. */
static void wait_begin(struct heir_table *t)
{
    atomic_fetch_add(&t->users, 1);
    handle_read_end(t);
}

static void wait_end(struct heir_table *t)
{
    handle_read_begin();
    atomic_fetch_sub(&t->users, 1);
}

static int write_try(struct heir_table *t, const void *key, size_t key_len, struct store **store, bool *open)
{
    int r;

    handle_read_begin();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (unlikely(m == NULL || m->writer.base == NULL)) {
        handle_read_end(t);
        return m == NULL ? -ENOTCONN : t->epoch != 0 ? -ESTALE : -EPERM;
    }
    *store = &m->writer;
    if (likely(key != NULL)) /* now, not when it is needed: see change_expect() */
        change_expect(&m->writer, key, key_len);
    *open = in_transaction(t);
    if (*open)
        return 0;
    struct table_page *page = page_of(&m->writer);
    if (unlikely(peek(&page->wanted) != 0)) {
        wait_begin(t);
        writer_make_way(page);
        wait_end(t);
    }
    r = writer_lock(page, true);
    if (unlikely(r == -EBUSY)) {
        wait_begin(t);
        r = writer_lock(page, false);
        wait_end(t);
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

/* Enter a write, of this key if there is one: 0 with the store to write to, and RCU's read side held until write_end().
 */
static int write_begin(struct heir_table *t, const void *key, size_t key_len, struct store **store, bool *open)
{
    if (unlikely(t == NULL))
        return -EINVAL;
    if (unlikely(!life_lasts(t->life))) {
        table_refuse(t);
        return -ENOTCONN;
    }
    if (unlikely(t->client == NULL))
        return -EPERM; /* heir_inspect_open() */
    int r = write_try(t, key, key_len, store, open);
    if (unlikely(r == -EPERM || r == -ESTALE) && table_catch_up(t))
        r = write_try(t, key, key_len, store, open);
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

int check_key(const struct store *s, const void *key, size_t key_len)
{
    const struct table_page *page = page_of(s);
    if (unlikely(key == NULL || key_len == 0 || key_len > HEIR_KEY_MAX))
        return -EINVAL;
    if (unlikely(key_len > HEIR_KEY_MAX - BAG_EXTRA) && bag(s))
        return -EINVAL;
    return unlikely(page->key_size != key_len) && page->key_size != 0 ? -EINVAL : 0;
}

static int check_value(const struct store *s, const void *value, size_t value_len)
{
    const struct table_page *page = page_of(s);
    if (unlikely(value == NULL && value_len != 0))
        return -EINVAL;
    if (unlikely(value_len > UINT32_MAX))
        return -EFBIG;
    return unlikely(page->value_size != value_len) && page->value_size != 0 ? -EINVAL : 0;
}

/* A write: the frame of those that follow. `operation` may use s, r and the function's arguments. */
#define WRITE_TO(key, key_len, check, operation)                                                                       \
    do {                                                                                                               \
        struct store *s;                                                                                               \
        unsigned tries = 0;                                                                                            \
        bool open;                                                                                                     \
        int r = write_begin(t, key, key_len, &s, &open);                                                               \
        if (unlikely(r < 0))                                                                                           \
            return r;                                                                                                  \
        if (likely((r = (check)) == 0)) {                                                                              \
            do {                                                                                                       \
                r = (operation);                                                                                       \
            } while (unlikely(try_again(s, open, r, &tries)));                                                         \
        }                                                                                                              \
        return write_end(t, s, open, r);                                                                               \
    } while (0)

/* Of the function's key; of any. */
#define WRITE(check, operation)     WRITE_TO(key, key_len, check, operation)
#define WRITE_ANY(check, operation) WRITE_TO(NULL, 0, check, operation)

static int check_object(const struct store *s, const void *key, size_t key_len, const void *value, size_t value_len)
{
    int r = check_key(s, key, key_len);
    return likely(r == 0) ? check_value(s, value, value_len) : r;
}

/* Where several objects a key make no sense. */
static int check_single(const struct store *s, const void *key, size_t key_len, const void *value, size_t value_len)
{
    return unlikely(bag(s)) ? -ENOTSUP : check_object(s, key, key_len, value, value_len);
}

static int check_all(const struct store *s, const struct heir_object *objects, size_t count)
{
    int r = objects == NULL && count != 0 ? -EINVAL : 0;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = check_object(s, objects[i].key, objects[i].key_len, objects[i].value, objects[i].value_len);
    return r;
}

FLAT int heir_put(struct heir_table *t, const void *key, size_t key_len, const void *value, size_t value_len)
{
    WRITE(check_object(s, key, key_len, value, value_len), objects_put(s, key, key_len, value, value_len, false));
}

int heir_put_new(struct heir_table *t, const void *key, size_t key_len, const void *value, size_t value_len)
{
    WRITE(check_object(s, key, key_len, value, value_len), objects_put(s, key, key_len, value, value_len, true));
}

int heir_put_many(struct heir_table *t, const struct heir_object *objects, size_t count)
{
    WRITE_ANY(check_all(s, objects, count), objects_put_many(s, objects, count, false));
}

int heir_put_new_many(struct heir_table *t, const struct heir_object *objects, size_t count)
{
    WRITE_ANY(check_all(s, objects, count), objects_put_many(s, objects, count, true));
}

int heir_cas(struct heir_table *t, const void *key, size_t key_len, const void *expected, size_t expected_len,
             const void *value, size_t value_len)
{
    if (expected == NULL && expected_len != 0)
        return -EINVAL;
    WRITE(check_single(s, key, key_len, value, value_len),
          objects_cas(s, key, key_len, expected, expected_len, value, value_len));
}

int heir_take(struct heir_table *t, const void *key, size_t key_len, void *value, size_t *value_len)
{
    if (value == NULL && value_len != NULL && *value_len != 0)
        return -EINVAL;
    WRITE(check_key(s, key, key_len), objects_take(s, key, key_len, value, value_len));
}

int heir_del(struct heir_table *t, const void *key, size_t key_len)
{
    WRITE(check_key(s, key, key_len), objects_del(s, key, key_len));
}

int heir_del_object(struct heir_table *t, const void *key, size_t key_len, const void *value, size_t value_len)
{
    if (value == NULL && value_len != 0)
        return -EINVAL;
    WRITE(check_key(s, key, key_len), objects_del_object(s, key, key_len, value, value_len));
}

FLAT int heir_add(struct heir_table *t, const void *key, size_t key_len, int64_t delta, int64_t *result)
{
    WRITE(check_single(s, key, key_len, &delta, sizeof delta), objects_add(s, key, key_len, delta, NULL, result));
}

int heir_add_wrap(struct heir_table *t, const void *key, size_t key_len, int64_t delta, int64_t limit, int64_t wrap,
                  int64_t *result)
{
    WRITE(check_single(s, key, key_len, &delta, sizeof delta),
          objects_add(s, key, key_len, delta, &(struct add_limit){limit, wrap}, result));
}

int heir_clear(struct heir_table *t)
{
    WRITE_ANY(0, objects_clear(s));
}

static int edit(struct heir_table *t, struct store *s, const void *key, size_t key_len, size_t value_len, void **value)
{
    struct mapping *m = t->txn_mapping;
    struct mark mark = change_mark(s);
    uint64_t offset;
    int r = objects_edit(s, key, key_len, value_len, &offset);
    if (r == 0 && (r = lend_out(m, offset, value_len, value)) < 0)
        r = change_fail(s, &mark, r);
    return r;
}

int heir_edit(struct heir_table *t, const void *key, size_t key_len, size_t value_len, void **value)
{
    if (value == NULL)
        return -EINVAL;
    *value = NULL;
    WRITE(open ? check_single(s, key, key_len, s, value_len) : -EINVAL, edit(t, s, key, key_len, value_len, value));
}

/* ---- Transactions ------------------------------------------------------------------------------------- */

int heir_begin(struct heir_table *t)
{
    struct store *s;
    bool open;
    int r = write_begin(t, NULL, 0, &s, &open);
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
    if (!life_lasts(t->life)) {
        table_refuse(t);
        return -ENOTCONN;
    }
    const void *thread = atomic_load_explicit(&t->txn_thread, memory_order_relaxed);
    if (thread == NULL)
        return -EINVAL;
    if (thread != this_thread())
        return -EPERM;
    struct store *s = &t->txn_mapping->writer;
    lend_end(t->txn_mapping);
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

int read_begin(struct heir_table *t, struct mapping **mapping, bool *own)
{
    int r = 0;

    if (unlikely(t == NULL))
        return -EINVAL;
    if (unlikely(!life_lasts(t->life))) {
        table_refuse(t);
        return -ENOTCONN;
    }
    handle_read_begin();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (unlikely(m == NULL)) {
        r = -ENOTCONN;
    } else {
        const struct table_page *page = page_of(&m->reader);
        if (unlikely(t->client != NULL && page->access == HEIR_PRIVATE && owner_id(get(&page->owner)) != t->client->id))
            r = -EACCES;
    }
    if (unlikely(r < 0)) {
        handle_read_end(t);
        return r;
    }
    *mapping = m;
    *own = in_transaction(t);
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
        r = unlikely(own) ? read_get_at(&m->writer, m->writer.txn, key, key_len, value, value_len)
                          : read_get(&m->reader, key, key_len, value, value_len);
    }
    handle_read_end(t);
    return r;
}

int heir_has(struct heir_table *t, const void *key, size_t key_len)
{
    return get_value(t, key, key_len, NULL, NULL);
}

/* heir_get() where it is quick, by a key of 8 bytes; false: nothing has been done. The order keeps the compiler from
 * making one long condition of the checks, which takes it twice the steps. */
static inline bool get_quickly(struct heir_table *t, const void *key, void *value, size_t *value_len)
{
    uint64_t number;

    if (unlikely(t == NULL || !life_lasts(t->life) || key == NULL))
        return false;
    memcpy(&number, key, sizeof number);
    unsigned long *counter = handle_read_quickly();
    if (unlikely(counter == NULL))
        return false;
    const struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    bool done =
        likely(m != NULL && value != NULL && value_len != NULL) && read_quick(&m->reader, number, value, value_len);
    handle_read_quickly_end(t, counter);
    return done;
}

static APART int get_anyhow(struct heir_table *t, const void *key, size_t key_len, void *value, size_t *value_len)
{
    if (unlikely(value_len == NULL))
        return heir_has(t, key, key_len);
    if (unlikely(value == NULL && *value_len != 0))
        return -EINVAL;
    return get_value(t, key, key_len, value, value_len);
}

FLAT int heir_get(struct heir_table *t, const void *key, size_t key_len, void *value, size_t *value_len)
{
    if (unlikely(key_len != sizeof(uint64_t)))
        return get_anyhow(t, key, key_len, value, value_len);
    return likely(get_quickly(t, key, value, value_len)) ? 0 : get_anyhow(t, key, sizeof(uint64_t), value, value_len);
}

/* Is this client the only one who may write, so that nothing changes under its eyes? */
static bool sole_writer(const struct heir_table *t, const struct table_page *page)
{
    return t->client != NULL && page->access != HEIR_PUBLIC && t->epoch != 0 &&
           get(&page->owner) == owner_word(t->epoch, t->client->id);
}

int heir_view(struct heir_table *t, const void *key, size_t key_len, const void **value, size_t *value_len)
{
    struct mapping *m;
    bool own;

    if (value == NULL || value_len == NULL)
        return -EINVAL;
    int r = read_begin(t, &m, &own);
    if (r < 0)
        return r;
    if ((r = check_key(&m->reader, key, key_len)) == 0) {
        if (own)
            r = read_view_at(&m->reader, m->writer.txn, key, key_len, value, value_len);
        else if (!sole_writer(t, page_of(&m->reader)))
            r = -EPERM;
        else
            do {
                r = read_view_at(&m->reader, sight_now(&m->reader).snap, key, key_len, value, value_len);
            } while (r == -ESTALE);
    }
    handle_read_end(t);
    return r;
}
