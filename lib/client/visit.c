/* SPDX-License-Identifier: MIT */
/* Visiting many objects: walks over a table, ranges, the objects of a key, and the keys next to a key. */
#include "client.h"
#include "space.h"
#include "walk.h"
#include <errno.h>

#define SMALL_TABLE (UINT64_C(256) << 10) /* bytes: copying it takes less than asking the keeper */
#define SMALL_RANGE (UINT64_C(128) << 10) /* the same of a range, of which it is not known how much there is */
#define SMALL_TRIES 3
#define COPY_TRIES  100

/* Is it sure to be much? */
static bool all_of_a_large_table(const struct store *s, const struct walk_what *what)
{
    return what->key == NULL && !what->first && what->range.from == NULL && what->range.to == NULL &&
           space_bytes_used(s) > SMALL_TABLE;
}

/* Of the last committed state. */
static int visit_committed(struct heir_table *t, const struct store *s, const struct walk_what *what, heir_visit *visit,
                           void *arg)
{
    bool copied = false, keeper = t->client != NULL && t->client->socket >= 0;
    uint64_t snap;
    int r = -EFBIG;

    if (!keeper)
        return walk_copy(s, what, COPY_TRIES, SIZE_MAX, &copied, visit, arg);
    if (!all_of_a_large_table(s, what))
        r = walk_copy(s, what, SMALL_TRIES,
                      what->range.from != NULL || what->range.to != NULL ? SMALL_RANGE : SMALL_TABLE, &copied, visit,
                      arg);
    if (copied || (r != -EAGAIN && r != -EFBIG))
        return r;
    r = pin_take_once(t, &snap); /* readers need no keeper, and wait for none */
    if (r < 0)
        return r == -EACCES || r == -ENOMEM || r == -EBUSY
                   ? r
                   : walk_copy(s, what, COPY_TRIES, SIZE_MAX, &copied, visit, arg);
    r = walk_pinned(s, snap, what, visit, arg);
    pin_drop(t, snap);
    return r;
}

static int visit_what(struct heir_table *t, const struct walk_what *what, bool sorted, heir_visit *visit, void *arg)
{
    struct mapping *m;
    bool own;
    int r = read_begin(t, &m, &own);

    if (r < 0)
        return r;
    if (sorted && page_of(&m->reader)->type != HEIR_ORDERED_SET)
        r = -ENOTSUP;
    else if (what->key != NULL)
        r = check_key(&m->reader, what->key, what->key_len);
    /* not in RCU's read side: visit may do anything, and the keeper may be a thread of ours that waits for a grace
     * period */
    atomic_fetch_add(&t->users, 1);
    handle_read_end(t);
    if (r == 0)
        r = own ? walk_pinned(&m->writer, m->writer.txn, what, visit, arg)
                : visit_committed(t, &m->reader, what, visit, arg);
    atomic_fetch_sub(&t->users, 1);
    return r;
}

int heir_foreach(struct heir_table *t, heir_visit *visit, void *arg)
{
    return visit == NULL ? -EINVAL : visit_what(t, &(struct walk_what){.key = NULL}, false, visit, arg);
}

int heir_salvage(struct heir_table *t, heir_visit *visit, void *arg, uint64_t *lost)
{
    if (visit == NULL || lost == NULL)
        return -EINVAL;
    *lost = 0;
    return visit_what(t, &(struct walk_what){.lost = lost}, false, visit, arg);
}

int heir_values(struct heir_table *t, const void *key, size_t key_len, heir_visit *visit, void *arg)
{
    if (visit == NULL || key == NULL)
        return -EINVAL;
    return visit_what(t, &(struct walk_what){.key = key, .key_len = key_len}, false, visit, arg);
}

static int range(struct heir_table *t, struct range range, heir_visit *visit, void *arg)
{
    if (visit == NULL || !range_valid(&range))
        return -EINVAL;
    return visit_what(t, &(struct walk_what){.range = range}, true, visit, arg);
}

int heir_range(struct heir_table *t, const void *from, size_t from_len, const void *to, size_t to_len,
               heir_visit *visit, void *arg)
{
    return range(t, (struct range){from, from_len, to, to_len, false}, visit, arg);
}

int heir_range_reverse(struct heir_table *t, const void *from, size_t from_len, const void *to, size_t to_len,
                       heir_visit *visit, void *arg)
{
    return range(t, (struct range){from, from_len, to, to_len, true}, visit, arg);
}

/* ---- Neighbours ----------------------------------------------------------------------------------------- */

struct copied_key {
    void *found;
    size_t *found_len;
};

static int copy_key(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    const struct copied_key *to = arg;
    size_t room = *to->found_len;

    (void)value, (void)value_len;
    *to->found_len = key_len;
    if (key_len > room)
        return -ENOBUFS;
    memcpy(to->found, key, key_len);
    return 1;
}

static int neighbour(struct heir_table *t, const struct walk_what *what, void *found, size_t *found_len)
{
    if (found_len == NULL || (found == NULL && *found_len != 0))
        return -EINVAL;
    int r = visit_what(t, what, true, copy_key, &(struct copied_key){found, found_len});
    return r == 1 ? 0 : r;
}

int heir_first(struct heir_table *t, void *found, size_t *found_len)
{
    return neighbour(t, &(struct walk_what){.first = true}, found, found_len);
}

int heir_last(struct heir_table *t, void *found, size_t *found_len)
{
    return neighbour(t, &(struct walk_what){.first = true, .range.reverse = true}, found, found_len);
}

int heir_next(struct heir_table *t, const void *key, size_t key_len, void *found, size_t *found_len)
{
    if (key == NULL)
        return -EINVAL;
    return neighbour(t, &(struct walk_what){.first = true, .after = true, .range = {.from = key, .from_len = key_len}},
                     found, found_len);
}

int heir_prev(struct heir_table *t, const void *key, size_t key_len, void *found, size_t *found_len)
{
    if (key == NULL)
        return -EINVAL;
    return neighbour(t, &(struct walk_what){.first = true, .range = {.to = key, .to_len = key_len, .reverse = true}},
                     found, found_len);
}
