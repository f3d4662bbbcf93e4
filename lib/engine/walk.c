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

#define SMALL_BATCH   16384u /* on the stack, as a short range needs no more */
#define SMALL_BOUND   256u
#define NO_COUNT      UINT64_MAX
#define AHEAD         24u /* versions asked for before they are copied */

struct walk {
    const struct store *s;
    uint64_t snap;
    const struct walk_what *what;
    struct batch batch;
    size_t enough; /* bytes to add before looking whether they are true */
    bool done, any;
    uint64_t lost;
    uint64_t objects, visited; /* that there are (NO_COUNT: nobody knows any more), and that have been shown */
    uint64_t position;         /* in a set: what comes next */
    uint64_t segments;         /* in a set: gone through */
    struct range range;        /* in a tree: what is left */
    struct bag_range of_key;
    struct bound { /* the moving end of the range, and what it will be */
        uint8_t *data, *allocated;
        size_t len, room;
        uint8_t small[SMALL_BOUND];
    } bounds[2];
    unsigned next; /* bound */
    _Alignas(8) uint8_t small[SMALL_BATCH];
};

/* In the batch: this, then the key and the value as they are in the version, then up to 7 bytes of nothing. */
struct entry {
    uint32_t key_len, value_len;
    uint8_t data[];
};

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static uint32_t reverse(uint32_t x)
{
    uint32_t y = 0;
    for (unsigned i = 0; i < POSITION_BITS; i++)
        y |= (x >> i & 1) << (POSITION_BITS - 1 - i);
    return y;
}

/* Add an object whose memory is there. */
static int batch_add(struct batch *b, const struct version *v, uint64_t key_len, uint64_t value_len)
{
    size_t need = b->used + sizeof(struct entry) + padded(key_len) + padded(value_len);
    if (unlikely(need > b->room)) {
        int r = batch_grow(b, need);
        if (r < 0)
            return r;
    }
    struct entry *entry = (struct entry *)(void *)(b->data + b->used);
    *entry = (struct entry){(uint32_t)key_len, (uint32_t)value_len};
    racy_copy(entry->data, v->data, padded(key_len) + value_len);
    b->used = need;
    return 0;
}

/* In a bag the objects' keys are inside of their versions'. */
static int batch_visit(struct walk *w, heir_visit *visit, void *arg)
{
    const struct batch *b = &w->batch;
    const size_t before = bag(w->s) ? BAG_LENGTH : 0, extra = bag(w->s) ? BAG_EXTRA : 0;

    for (size_t i = 0; i < b->used;) {
        const struct entry *entry = (const struct entry *)(const void *)(b->data + i);
        const size_t key_len = entry->key_len, value_len = entry->value_len;
        int r = visit(entry->data + before, key_len - extra, entry->data + padded(key_len), value_len, arg);
        if (r != 0)
            return r;
        w->visited++;
        i += sizeof *entry + padded(key_len) + padded(value_len);
    }
    return 0;
}

/* 0 in place of -EUCLEAN, where that is to be passed over. */
static int pass_over(struct walk *w, int r)
{
    if (r != -EUCLEAN || w->what->lost == NULL)
        return r;
    w->lost++;
    return 0;
}

/* Is this key among those that are to be visited? */
static bool wanted(const struct walk *w, struct edge key)
{
    const struct range *range = &w->range;

    if (w->what->key != NULL)
        return bag_key(key, w->what->key, w->what->key_len);
    if (range->from != NULL) {
        int order = racy_order(key.key, key.len, range->from, range->from_len);
        if (order < 0 || (order == 0 && w->what->after && range->from == w->what->range.from))
            return false;
    }
    return range->to == NULL || racy_order(key.key, key.len, range->to, range->to_len) < 0;
}

/* Is the object added last what the slot is about? A reader takes that on trust; in a tree, all but that it has a key.
 */
static int check_added(struct walk *w, size_t before, uint64_t slot)
{
    const struct entry *entry = (const struct entry *)(const void *)(w->batch.data + before);

    if (ordered(w->s) ? entry->key_len > (bag(w->s) ? BAG_EXTRA : 0)
                      : index_hash(w->s, entry->data, entry->key_len) == slot_hash(slot))
        return 0;
    w->batch.used = before;
    return -EUCLEAN;
}

/* Add the object that a slot leads to, if the state knows one and it is `sure` to be wanted, or is. */
static inline int add(struct walk *w, uint64_t slot, bool sure)
{
    const size_t before = w->batch.used;
    struct known k;
    int r = version_known(w->s, w->snap, slot_version(slot), &k);

    if (r < 0 || k.version == NULL || (!sure && !wanted(w, (struct edge){k.version->data, k.key_len})))
        return r;
    if (bag(w->s) && k.key_len < BAG_EXTRA)
        return -EUCLEAN;
    r = batch_add(&w->batch, k.version, k.key_len, k.value_len);
    return r == 0 && w->what->lost != NULL ? check_added(w, before, slot) : r;
}

static void next_segment(struct walk *w, uint64_t depth)
{
    w->position = (w->position | ((UINT64_C(1) << (POSITION_BITS - depth)) - 1)) + 1;
    w->done = w->position >> POSITION_BITS != 0;
}

/* A directory is no longer than its memory. Salvaging, one that says so is taken for as long as it can be: the depths
 * of its segments still lead from each to the next. */
static int bound_directory(struct walk *w, uint64_t *dir)
{
    const uint64_t offset = index_offset(*dir), depth = index_depth(*dir);
    uint64_t most = depth < INDEX_DEPTH_MAX ? depth : INDEX_DEPTH_MAX;

    while (at(w->s, offset, sizeof(word_t) << most) == NULL) {
        if (most-- == 0)
            return -EUCLEAN;
    }
    *dir = offset | most;
    return most != depth && (w->position == 0 || w->what->lost == NULL) ? pass_over(w, -EUCLEAN) : 0;
}

/* Add the objects of the segment at the position, and go on to the next. */
static int collect_segment(struct walk *w)
{
    const struct store *s = w->s;
    uint64_t dir = index_directory(s, w->snap), word;
    int r = bound_directory(w, &dir);
    const uint64_t depth = index_depth(dir);

    if (r < 0)
        return r;
    const word_t *slots = NULL;
    if (index_word(s, dir, reverse((uint32_t)w->position) & ((UINT64_C(1) << depth) - 1), &word) == 0)
        slots = at(s, index_offset(word), PAGE_BYTES);
    if (slots == NULL) {
        next_segment(w, depth);
        return pass_over(w, -EUCLEAN);
    }
    if (w->what->lost != NULL && w->segments++ == readable(s) / PAGE_BYTES) {
        w->done = true; /* there are not so many: some have been gone through again and again */
        return pass_over(w, -EUCLEAN);
    }
    for (unsigned i = 0; i < INDEX_SEGMENT_SLOTS; i++) {
        uint64_t slot = get(&slots[i]);
        /* after a rollback a segment may be whole again of which we have visited one half */
        if (slot_version(slot) == 0 || reverse(slot_hash(slot) >> INDEX_GROUP_BITS) < w->position)
            continue;
        if ((r = pass_over(w, add(w, slot, true))) < 0)
            return r;
    }
    next_segment(w, index_depth(word));
    return 0;
}

/* Where the range goes on beyond a leaf that is bounded by this. */
static int go_on_at(struct walk *w, struct edge bound)
{
    struct range *range = &w->range;
    const void *here = range->reverse ? range->to : range->from;
    size_t here_len = range->reverse ? range->to_len : range->from_len;
    struct bound *next = &w->bounds[w->next];
    uint64_t len = bound.len;
    int forward = range->reverse ? -1 : 1;

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
    return 0;
}

/* Add the objects of a leaf that are in the range. */
static int collect_portion(struct walk *w, const struct portion *p)
{
    const struct range *range = &w->range;
    const unsigned ahead = w->what->first ? 1 : AHEAD;
    int r;

    for (unsigned i = 0; i < ahead && i < p->count; i++)
        portion_prefetch(w->s, range, p, i);
    for (unsigned i = 0; i < p->count; i++) {
        const unsigned j = range->reverse ? p->count - 1 - i : i;
        portion_prefetch(w->s, range, p, i + ahead);
        if ((r = pass_over(w, add(w, p->slots[j], j >= p->sure_from && j < p->sure_to))) < 0)
            return r;
        if (w->what->first && w->batch.used != 0) {
            w->done = true;
            return 0;
        }
    }
    w->done = p->last;
    return 0;
}

/* Add the objects of the leaves at the beginning of the range, until it is `enough`, or they hang on another node. */
static int collect_leaves(struct walk *w)
{
    const uint64_t root = index_directory(w->s, w->snap);
    const size_t before = w->batch.used;
    struct edge bound = {NULL, 0};
    struct portion p;
    int r = tree_portion(w->s, root, &w->range, &p), more = r == 0;

    while (more > 0) {
        if ((r = collect_portion(w, &p)) < 0 || w->done)
            return r;
        /* salvaging, each leaf is looked for from the root: one that is torn is known by the way to it */
        more = w->what->lost == NULL && w->batch.used - before < w->enough ? tree_portion_next(w->s, &w->range, &p) : 0;
        r = more < 0 ? more : 0;
    }
    if (r == 0 && (bound = tree_portion_bound(w->s, &p)).key == NULL)
        r = -EUCLEAN;
    if (r == -EUCLEAN && (r = pass_over(w, r)) == 0) {
        bound = salvage_next(w->s, root, w->range.from, w->range.from_len);
        w->done = bound.key == NULL;
    }
    if (r == 0 && !w->done && (r = go_on_at(w, bound)) == -EUCLEAN && (r = pass_over(w, r)) == 0)
        w->done = true;
    return r;
}

/* Add the one object of a key. */
static int collect_key(struct walk *w)
{
    struct version *v;
    int r = read_find(w->s, w->snap, w->what->key, w->what->key_len, &v);
    w->done = true;
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    uint64_t key_len = version_key_len(v), value_len = version_value_len(v);
    if (at(w->s, offset_of(w->s, v), version_bytes(key_len, value_len)) == NULL)
        return -EUCLEAN;
    return batch_add(&w->batch, v, key_len, value_len);
}

static int collect(struct walk *w)
{
    if (w->what->key != NULL && !bag(w->s))
        return collect_key(w);
    return ordered(w->s) ? collect_leaves(w) : collect_segment(w);
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
        uint64_t position = w->position, segments = w->segments, lost = w->lost;
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
            w->segments = segments;
            w->lost = lost;
            w->batch.used = used;
            w->done = false;
        }
    }
}

/* ---- Walks ---------------------------------------------------------------------------------------------- */

static int walk_begin(struct walk *w, const struct store *s, const struct walk_what *what, size_t enough)
{
    /* not all of it: the buffers are large */
    w->s = s;
    w->what = what;
    w->enough = enough;
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

/* How many objects a state has, if it is the last committed one, or that which its writer has open. */
static uint64_t count_objects(const struct store *s, uint64_t snap)
{
    const struct view *v = view_of(s);
    uint64_t objects = get(&v->objects[snap & 1]);
    return snap == s->txn || get(&v->committed) == snap ? objects : NO_COUNT;
}

static void walk_from(struct walk *w, uint64_t snap)
{
    w->snap = snap;
    w->position = 0;
    w->segments = 0;
    w->lost = 0;
    w->objects = count_objects(w->s, snap);
    w->visited = 0;
    w->any = false;
    w->done = w->what->range.from != NULL && w->what->range.to != NULL &&
              racy_order(w->what->range.from, w->what->range.from_len, w->what->range.to, w->what->range.to_len) >= 0;
    w->range = w->what->key != NULL && bag(w->s) ? w->of_key.range : w->what->range;
    w->batch.used = 0;
}

static void walk_end(struct walk *w, int r)
{
    if (w->what->lost != NULL) {
        /* what has become zeros can be read: there is nothing in it */
        bool all = r != 0 || w->objects == NO_COUNT || w->visited == w->objects;
        *w->what->lost = w->lost != 0 || all ? w->lost : 1;
    }
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
    int r = walk_begin(&w, s, what, 0);

    if (r == 0)
        walk_from(&w, snap);
    while (r == 0 && !w.done) {
        if ((r = collect_true(&w)) == 0)
            r = batch_visit(&w, visit, arg);
        w.any |= w.batch.used != 0;
        w.enough = w.enough + w.batch.used / 4 < SMALL_BATCH ? w.enough + w.batch.used / 4 : SMALL_BATCH;
        w.batch.used = 0;
    }
    walk_end(&w, r);
    return r == 0 && !w.any && for_one(what) ? -ENOENT : r;
}

int walk_copy(const struct store *s, const struct walk_what *what, unsigned tries, size_t most, bool *copied,
              heir_visit *visit, void *arg)
{
    struct walk w;
    int r = walk_begin(&w, s, what, SMALL_BATCH);

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
        r = w.batch.used == 0 && for_one(what) ? -ENOENT : batch_visit(&w, visit, arg);
    else if (r == 0)
        r = -EAGAIN;
    walk_end(&w, r);
    return r;
}
