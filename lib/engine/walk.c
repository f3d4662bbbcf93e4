/* SPDX-License-Identifier: MIT */
/*
 * Walks; see walk.h.
 *
 * The index changes while a walk goes on. In a set the walk goes through the hash values in the order of their reversed
 * bits, so that a segment is a range of positions, and the two halves of a split segment are the halves of its range;
 * in a tree it goes on at the key that bounded the last leaf. So it meets each key once.
 */
#include "walk.h"
#include "bag.h"
#include "batch.h"
#include "salvage.h"

#define POSITION_BITS INDEX_DEPTH_MAX

#define SMALL_BATCH   8192u /* on the stack, as a short range needs no more */
#define SMALL_BOUND   256u

struct walk {
    const struct store *s;
    uint64_t snap;
    const struct walk_what *what;
    struct batch batch;
    bool done, any;
    uint64_t lost;
    uint64_t position;  /* in a set: what comes next */
    struct range range; /* in a tree: what is left */
    struct bag_range of_key;
    struct bound { /* the moving end of the range, and what it will be */
        uint8_t *data, *allocated;
        size_t len, room;
        uint8_t small[SMALL_BOUND];
    } bounds[2];
    unsigned next; /* bound */
    uint8_t small[SMALL_BATCH];
};

/* In the batch: this, the key, the value. */
struct entry {
    uint64_t value_len;
    uint64_t key_len;
};

static uint32_t reverse(uint32_t x)
{
    uint32_t y = 0;
    for (unsigned i = 0; i < POSITION_BITS; i++)
        y |= (x >> i & 1) << (POSITION_BITS - 1 - i);
    return y;
}

static int batch_add(struct batch *b, const uint8_t *key, uint64_t key_len, const uint8_t *value, uint64_t value_len)
{
    struct entry entry = {value_len, key_len};
    return batch_append(b, &entry, sizeof entry, key, key_len, value, value_len);
}

static int batch_visit(const struct batch *b, heir_visit *visit, void *arg)
{
    for (size_t i = 0; i < b->used;) {
        struct entry entry;
        memcpy(&entry, b->data + i, sizeof entry);
        const uint8_t *key = b->data + i + sizeof entry, *value = key + entry.key_len;
        int r = visit(key, entry.key_len, value, entry.value_len, arg);
        if (r != 0)
            return r;
        i += sizeof entry + entry.key_len + entry.value_len;
    }
    return 0;
}

static int add(struct walk *w, const struct version *v)
{
    uint64_t key_len = version_key_len(v), value_len = version_value_len(v);
    uint64_t offset = offset_of(w->s, v);

    if (at(w->s, offset, version_bytes(key_len, value_len)) == NULL)
        return -EUCLEAN;
    if (!bag(w->s))
        return batch_add(&w->batch, v->data, key_len, version_value(v, key_len), value_len);
    if (key_len < BAG_EXTRA)
        return -EUCLEAN;
    return batch_add(&w->batch, v->data + BAG_LENGTH, key_len - BAG_EXTRA, version_value(v, key_len), value_len);
}

/* 0 in place of -EUCLEAN, where that is to be passed over. */
static int pass_over(struct walk *w, int r)
{
    if (r != -EUCLEAN || w->what->lost == NULL)
        return r;
    w->lost++;
    return 0;
}

/* Is the object added last what the slot is about? A reader takes that on trust; in a tree, all but that it has a key.
 */
static int check_added(struct walk *w, size_t before, uint64_t slot)
{
    struct entry entry;
    const uint8_t *added = w->batch.data + before;

    if (w->what->lost == NULL)
        return 0;
    memcpy(&entry, added, sizeof entry);
    if (ordered(w->s) ? entry.key_len != 0 : index_hash(w->s, added + sizeof entry, entry.key_len) == slot_hash(slot))
        return 0;
    w->batch.used = before;
    return -EUCLEAN;
}

static void next_segment(struct walk *w, uint64_t depth)
{
    w->position = (w->position | ((UINT64_C(1) << (POSITION_BITS - depth)) - 1)) + 1;
    w->done = w->position >> POSITION_BITS != 0;
}

/* Add the objects of the segment at the position, and go on to the next. */
static int collect_segment(struct walk *w)
{
    const struct store *s = w->s;
    uint64_t dir = index_directory(s, w->snap), depth = index_depth(dir), word;
    struct version *v;
    int r;

    if (depth > INDEX_DEPTH_MAX)
        return -EUCLEAN;
    const word_t *slots = NULL;
    if (index_word(s, dir, reverse((uint32_t)w->position) & ((UINT64_C(1) << depth) - 1), &word) == 0)
        slots = at(s, index_offset(word), PAGE_BYTES);
    if (slots == NULL) {
        next_segment(w, depth);
        return pass_over(w, -EUCLEAN);
    }
    for (unsigned i = 0; i < INDEX_SEGMENT_SLOTS; i++) {
        uint64_t slot = get(&slots[i]);
        /* after a rollback a segment may be whole again of which we have visited one half */
        if (slot_version(slot) == 0 || reverse(slot_hash(slot) >> INDEX_GROUP_BITS) < w->position)
            continue;
        size_t before = w->batch.used;
        r = version_known(s, w->snap, slot_version(slot), &v);
        if (r == 0 && v != NULL && (r = add(w, v)) == 0)
            r = check_added(w, before, slot);
        if ((r = pass_over(w, r)) < 0)
            return r;
    }
    next_segment(w, index_depth(word));
    return 0;
}

/* Is it among what is to be visited? */
static bool wanted(const struct walk *w, const struct version *v)
{
    const struct range *range = &w->range;
    struct edge key = version_key(w->s, offset_of(w->s, v));

    if (w->what->key != NULL)
        return bag_key(key, w->what->key, w->what->key_len);
    if (key.key == NULL)
        return false; /* it is being overwritten */
    if (range->from != NULL) {
        int order = racy_order(key.key, key.len, range->from, range->from_len);
        if (order < 0 || (order == 0 && w->what->after && range->from == w->what->range.from))
            return false;
    }
    return range->to == NULL || racy_order(key.key, key.len, range->to, range->to_len) < 0;
}

/* Where the range goes on beyond a leaf that is bounded by this. */
static int go_on_at(struct walk *w, struct edge bound)
{
    struct range *range = &w->range;
    const void *here = range->reverse ? range->to : range->from, *end = range->reverse ? range->from : range->to;
    size_t here_len = range->reverse ? range->to_len : range->from_len;
    size_t end_len = range->reverse ? range->from_len : range->to_len;
    struct bound *next = &w->bounds[w->next];
    uint64_t len = bound.len;
    int forward = range->reverse ? -1 : 1;

    w->done = bound.key == NULL;
    if (w->done)
        return 0;
    if (len > next->room) {
        if ((next->allocated = malloc(HEIR_KEY_MAX)) == NULL)
            return -ENOMEM;
        next->data = next->allocated;
        next->room = HEIR_KEY_MAX;
    }
    racy_copy(next->data, bound.key, len);
    next->len = len;
    if (here != NULL && racy_order(next->data, len, here, here_len) * forward <= 0)
        return -EUCLEAN; /* that would not end */
    w->done = end != NULL && racy_order(next->data, len, end, end_len) * forward >= 0;
    return 0;
}

/* Add the objects of the leaf at the beginning of the range. */
static int collect_leaf(struct walk *w)
{
    const struct store *s = w->s;
    struct portion p;
    struct version *v;
    int r = tree_portion(s, index_directory(s, w->snap), &w->range, &p);

    if (r == -EUCLEAN && (r = pass_over(w, r)) == 0) {
        p.count = 0;
        p.bound = salvage_next(s, index_directory(s, w->snap), w->range.from, w->range.from_len);
    }
    if (r < 0)
        return r;
    for (unsigned i = 0; i < p.count && !w->what->first; i++) {
        version_prefetch(s, p.slots[i]);
    }
    for (unsigned i = 0; i < p.count; i++) {
        unsigned j = w->range.reverse ? p.count - 1 - i : i;
        if ((r = version_known(s, w->snap, slot_version(p.slots[j]), &v)) < 0 && (r = pass_over(w, r)) == 0)
            continue;
        if (r < 0)
            return r;
        if (v == NULL || ((j < p.sure_from || j >= p.sure_to) && !wanted(w, v)))
            continue;
        size_t before = w->batch.used;
        if ((r = add(w, v)) == 0)
            r = check_added(w, before, p.slots[j]);
        if ((r = pass_over(w, r)) < 0)
            return r;
        if (w->what->first) {
            w->done = true;
            return 0;
        }
    }
    r = go_on_at(w, p.bound);
    if (r == -EUCLEAN && (r = pass_over(w, r)) == 0)
        w->done = true;
    if (r == 0 && !w->done)
        tree_prefetch_beside(s, &p);
    return r;
}

/* Add the one object of a key. */
static int collect_key(struct walk *w)
{
    struct version *v;
    int r = read_find(w->s, w->snap, w->what->key, w->what->key_len, &v);
    w->done = true;
    return r == -ENOENT ? 0 : r < 0 ? r : add(w, v);
}

static int collect(struct walk *w)
{
    if (w->what->key != NULL && !bag(w->s))
        return collect_key(w);
    return ordered(w->s) ? collect_leaf(w) : collect_segment(w);
}

static void moved(struct walk *w)
{
    if (!ordered(w->s) || w->done)
        return;
    const struct bound *bound = &w->bounds[w->next];
    w->next ^= 1;
    if (w->range.reverse) {
        w->range.to = bound->data;
        w->range.to_len = bound->len;
    } else {
        w->range.from = bound->data;
        w->range.from_len = bound->len;
    }
}

/* collect(), again and again until it was not disturbed. -ESTALE: the state is gone. */
static int collect_true(struct walk *w)
{
    for (;;) {
        struct sight sight = {.snap = w->snap};
        size_t used = w->batch.used;
        uint64_t position = w->position, lost = w->lost;
        sight_refresh(w->s, &sight);
        int r = collect(w);
        switch (sight_check(w->s, &sight)) {
        case SIGHT_TRUE:
            if (r == 0)
                moved(w);
            return r;
        case SIGHT_GONE:
            return sight_gone(w->s);
        case SIGHT_AGAIN:
            w->position = position;
            w->lost = lost;
            w->batch.used = used;
            w->done = false;
        }
    }
}

/* ---- Walks ---------------------------------------------------------------------------------------------- */

static int walk_begin(struct walk *w, const struct store *s, const struct walk_what *what)
{
    /* not all of it: the buffers are large */
    w->s = s;
    w->what = what;
    w->range = what->range;
    w->batch = (struct batch){.data = w->small, .room = sizeof w->small};
    w->of_key.memory = NULL;
    w->lost = 0;
    w->next = 0;
    for (unsigned i = 0; i < 2; i++) {
        w->bounds[i].data = w->bounds[i].small;
        w->bounds[i].room = sizeof w->bounds[i].small;
        w->bounds[i].allocated = NULL;
    }
    if (what->key == NULL || !bag(s))
        return 0;
    int r = bag_range(&w->of_key, what->key, what->key_len);
    w->range = w->of_key.range;
    return r;
}

static void walk_from(struct walk *w, uint64_t snap)
{
    w->snap = snap;
    w->position = 0;
    w->lost = 0;
    w->any = false;
    w->done = w->what->range.from != NULL && w->what->range.to != NULL &&
              racy_order(w->what->range.from, w->what->range.from_len, w->what->range.to, w->what->range.to_len) >= 0;
    w->range = w->what->key != NULL && bag(w->s) ? w->of_key.range : w->what->range;
    w->batch.used = 0;
}

static void walk_end(struct walk *w)
{
    if (w->what->lost != NULL)
        *w->what->lost = w->lost;
    free(w->batch.allocated);
    for (unsigned i = 0; i < 2; i++)
        free(w->bounds[i].allocated);
    bag_range_end(&w->of_key);
}

/* Is it asked for something, and not for what there may be? */
static bool for_one(const struct walk_what *what)
{
    return what->key != NULL || what->first;
}

int walk_pinned(const struct store *s, uint64_t snap, const struct walk_what *what, heir_visit *visit, void *arg)
{
    struct walk w;
    int r = walk_begin(&w, s, what);

    if (r == 0)
        walk_from(&w, snap);
    while (r == 0 && !w.done) {
        if ((r = collect_true(&w)) == 0)
            r = batch_visit(&w.batch, visit, arg);
        w.any |= w.batch.used != 0;
        w.batch.used = 0;
    }
    walk_end(&w);
    return r == 0 && !w.any && for_one(what) ? -ENOENT : r;
}

int walk_copy(const struct store *s, const struct walk_what *what, unsigned tries, size_t most, bool *copied,
              heir_visit *visit, void *arg)
{
    struct walk w;
    int r = walk_begin(&w, s, what);

    *copied = false;
    for (; r == 0 && tries > 0 && !*copied; tries--) {
        walk_from(&w, sight_now(s).snap);
        while (r == 0 && !w.done) {
            r = collect_true(&w);
            if (r == 0 && w.batch.used > most && !w.done)
                r = -EFBIG;
        }
        *copied = r == 0;
        if (r == -ESTALE)
            r = 0;
    }
    if (*copied)
        r = w.batch.used == 0 && for_one(what) ? -ENOENT : batch_visit(&w.batch, visit, arg);
    else if (r == 0)
        r = -EAGAIN;
    walk_end(&w);
    return r;
}
