/* SPDX-License-Identifier: MIT */
/*
 * Reading without a lock.
 *
 * A reader notes `rollbacks` and `committed` = s, goes through the index to the newest version of the key, along `prev`
 * to the newest one that s knows, copies, and then looks whether the state was there all the while: `horizon` still not
 * beyond s, and no rollback meanwhile. If not, what it read may be anything, and is read again. This is a seqlock
 * (Lameter 2005; Boehm, MSPC 2012, for the fences) whose sequence number moves only when memory is about to be used
 * again.
 */
#include "read.h"
#include "bag.h"
#include "tree_glance.h"

struct sight sight_now(const struct store *s)
{
    struct sight sight;
    sight.rollbacks = get(&view_of(s)->rollbacks);
    sight.snap = get(&view_of(s)->committed);
    return sight;
}

void sight_refresh(const struct store *s, struct sight *sight)
{
    sight->rollbacks = get(&view_of(s)->rollbacks);
}

int sight_gone(const struct store *s)
{
    uint64_t horizon = get(&view_of(s)->horizon);
    /* both only grow, and the horizon is never beyond the last commit */
    return horizon > get(&view_of(s)->committed) ? -EUCLEAN : -ESTALE;
}

enum sight_end sight_check(const struct store *s, const struct sight *sight)
{
    /* pairs with the fences in raise_horizon() and undo_back_to() */
    atomic_thread_fence(memory_order_acquire);
    if (peek(&view_of(s)->horizon) > sight->snap)
        return SIGHT_GONE;
    return peek(&view_of(s)->rollbacks) == sight->rollbacks ? SIGHT_TRUE : SIGHT_AGAIN;
}

/* Of the versions of a key, of which v is the newest, the one that state `snap` knows. */
static int known_to(const struct store *s, uint64_t snap, struct version *v, const void *key, size_t key_len,
                    struct version **version)
{
    uint64_t newer = UINT64_MAX, offset;

    for (; v != NULL; v = version_of_key(s, offset, key, key_len)) {
        uint64_t made = version_made(v), ended = version_ended(v);
        if (likely(made <= snap)) {
            *version = v;
            return ended != 0 && ended <= snap ? -ENOENT : 0;
        }
        if (made >= newer)
            return -EUCLEAN;
        newer = made;
        offset = version_prev(v);
        if (offset == 0)
            return -ENOENT;
    }
    return newer == UINT64_MAX ? -ENOENT : -EUCLEAN;
}

int read_find(const struct store *s, uint64_t snap, const void *key, size_t key_len, struct version **version)
{
    struct version *newest;
    if (unlikely(bag(s)))
        return bag_find(s, snap, key, key_len, version);
    int r = ordered(s) ? tree_peek(s, snap, key, key_len, &newest)
                       : index_peek(s, snap, index_hash(s, key, key_len), key, key_len, &newest);
    return unlikely(r < 0) ? r : known_to(s, snap, newest, key, key_len, version);
}

/* How long the key in a version is that was found by this one. */
static size_t whole_key(const struct store *s, size_t key_len)
{
    return unlikely(bag(s)) ? key_len + BAG_EXTRA : key_len;
}

static int copy_out(const struct store *s, const struct version *v, size_t key_len, void *value, size_t room,
                    size_t *len)
{
    *len = version_value_len(v);
    if (*len > room)
        return -ENOBUFS;
    if (unlikely(!reaches(s, v, version_bytes(key_len, *len))))
        return -EUCLEAN;
    if (*len != 0)
        racy_copy(value, version_value(v, key_len), *len);
    return 0;
}

static int read_at(const struct store *s, uint64_t snap, const void *key, size_t key_len, void *value,
                   const size_t *room, size_t *len)
{
    struct version *v;
    int r = read_find(s, snap, key, key_len, &v);
    return r == 0 && room != NULL ? copy_out(s, v, whole_key(s, key_len), value, *room, len) : r;
}

/* A read of a large table waits for memory twice, for group or leaf and for the version, and most of that time the
 * processor could spend on the reads that come next, if they fitted into what it has begun at once: some three hundred
 * instructions, and some hundred loads, which run out first. So no load is done twice here, nothing is called, for
 * which registers would have to be saved, and whatever is unusual is left to others.
 *
 * Whether this thread has a transaction open need not be asked, nor whether the table has been cleared: what an open
 * transaction has changed has a version, or an end, that no committed state knows, or is not in the newest index. */
#define QUICK_VALUE 64u /* a value for which it need not be asked whether it is backed */

static_assert(GLANCE_BYTES >= sizeof(struct version) + sizeof(uint64_t) + QUICK_VALUE, "it is backed");

static ALWAYS_INLINE bool read_glance(const struct store *s, uint64_t from, bool tree, uint64_t key, void *value,
                                      size_t *value_len)
{
    const struct reach reach = {s->base, from, peek(&s->heap_reach)};
    const struct view *view = &((const struct table_page *)reach.base)->view;
    const uint32_t hash = tree ? 0 : index_hash(s, &key, sizeof key);
    const uint64_t rollbacks = get(&view->rollbacks), snap = get(&view->committed);
    const struct version *v = tree ? tree_glance(reach, view, key) : index_glance(reach, view, hash, key);

    if (unlikely(v == NULL))
        return false;
    const uint64_t made = peek(&v->made);
    /* turned round, bits of the key's length make it greater than any */
    if (unlikely((made >> 8 | made << 56) > snap))
        return false;
    if (unlikely(peek(&v->ended) != sizeof key)) /* deleted, or a key of another length */
        return false;
    const size_t len = version_value_len(v);
    if (unlikely(len > *value_len))
        return false;
    if (unlikely(len > QUICK_VALUE) && /* which is one comparison with that of racy_copy() */
        unlikely(!backed_upto(reach, (uint64_t)(v->data - reach.base) + sizeof key + len)))
        return false;
    racy_copy(value, v->data + sizeof key, len);
    atomic_thread_fence(memory_order_acquire); /* as in sight_check() */
    if (unlikely(peek(&view->horizon) > snap))
        return false;
    if (unlikely(peek(&view->rollbacks) != rollbacks))
        return false;
    *value_len = len;
    return true;
}

bool read_quick(const struct store *s, uint64_t key, void *value, size_t *value_len)
{
    if (likely(s->quick_from < QUICK_NEVER))
        return read_glance(s, s->quick_from, false, key, value, value_len);
    if (likely(s->quick_tree_from < QUICK_NEVER))
        return read_glance(s, s->quick_tree_from, true, key, value, value_len);
    return false;
}

int read_get(const struct store *s, const void *key, size_t key_len, void *value, size_t *value_len)
{
    for (;;) {
        struct sight sight = sight_now(s);
        size_t len = 0;
        int r = read_at(s, sight.snap, key, key_len, value, value_len, &len);
        enum sight_end end = sight_check(s, &sight);
        if (likely(end == SIGHT_TRUE)) {
            if (value_len != NULL && (r == 0 || r == -ENOBUFS))
                *value_len = len;
            return r;
        }
        if (end == SIGHT_GONE && sight_gone(s) == -EUCLEAN)
            return -EUCLEAN;
    }
}

int read_get_at(const struct store *s, uint64_t snap, const void *key, size_t key_len, void *value, size_t *value_len)
{
    for (;;) {
        struct sight sight = {.snap = snap};
        size_t len = 0;
        sight_refresh(s, &sight);
        int r = read_at(s, snap, key, key_len, value, value_len, &len);
        switch (sight_check(s, &sight)) {
        case SIGHT_TRUE:
            if (value_len != NULL && (r == 0 || r == -ENOBUFS))
                *value_len = len;
            return r;
        case SIGHT_GONE:
            return sight_gone(s);
        case SIGHT_AGAIN:
            break;
        }
    }
}

int read_view_at(const struct store *s, uint64_t snap, const void *key, size_t key_len, const void **value,
                 size_t *value_len)
{
    for (;;) {
        struct sight sight = {.snap = snap};
        struct version *v;
        sight_refresh(s, &sight);
        int r = read_find(s, snap, key, key_len, &v);
        if (r == 0) {
            *value = version_value(v, whole_key(s, key_len));
            *value_len = version_value_len(v);
            if (at(s, offset_of(s, v), version_bytes(whole_key(s, key_len), *value_len)) == NULL)
                r = -EUCLEAN;
        }
        switch (sight_check(s, &sight)) {
        case SIGHT_TRUE:
            return r;
        case SIGHT_GONE:
            return sight_gone(s);
        case SIGHT_AGAIN:
            break;
        }
    }
}
