/* SPDX-License-Identifier: MIT */
/*
 * A B+tree that readers walk without a lock while one writer changes it.
 *
 * A leaf holds up to 63 slots, each with four bytes of its key, so that finding a key reads hardly a version but its
 * own. Which four: those after the bytes that all keys between the node's bounds share (Bayer and Unterauer, "Prefix
 * B-trees", ACM TODS 1977); separators are cut to what tells two neighbours apart, as there. Equal slots are told apart
 * by the keys themselves.
 *
 * What changes in place, by one store, is what readers may see in either state: a slot gets another version of its key;
 * a new key is appended behind the sorted slots; a key that is gone leaves a hole; a child is replaced. Everything else
 * is done by building new nodes aside and switching the one word that leads to them; the old ones go through the
 * history. When TAIL_MOST keys have been appended the leaf is built anew, sorted, and split when it is full. Full inner
 * nodes are split on the way down, so that every step changes one parent only.
 *
 * A leaf that is empty is taken out, its parent keeping a hole for the range, and an inner node without children
 * likewise. Nodes are never joined: "free at empty" costs little space and far fewer changes (Johnson and Shasha, JCSS
 * 1993).
 */
#include "node.h"

/* ---- Reading nodes -------------------------------------------------------------------------------------- */

struct edge separator_key(const struct store *s, uint64_t word)
{
    uint64_t offset = slot_version(word);
    const struct separator *separator = at(s, offset, sizeof *separator);
    uint64_t len = separator != NULL ? peek(&separator->len) : UINT64_MAX;
    if (len > HEIR_KEY_MAX || at(s, offset, sizeof *separator + len) == NULL)
        return (struct edge){NULL, 0};
    return (struct edge){separator->key, len};
}

/* How many of the first n words, in the order of their slices, have one that is less. Halving without a branch: where a
 * random key goes cannot be foretold, and each wrong guess would cost more than a step. */
static inline unsigned count_below(const word_t *words, unsigned n, uint32_t wanted)
{
    const uint64_t least = (uint64_t)wanted << 32;
    if (n == 0)
        return 0;
    unsigned half = 1u << (31 - __builtin_clz(n));
    /* the two halves overlap, so that what remains is always half - 1 words */
    unsigned from = (n + 1 - half) & -(unsigned)(peek(&words[half - 1]) < least);
    while (half /= 2)
        from += half & -(unsigned)(peek(&words[from + half - 1]) < least);
    return from;
}

/* The child for a key that has the slice of some separators, of which number `low` is the first. */
static APART int child_among_equals(const struct store *s, const struct inner *node, unsigned low, unsigned high,
                                    uint32_t wanted, const uint8_t *key, size_t len, bool before, unsigned *index)
{
    while (low < high) {
        unsigned middle = (low + high) / 2;
        uint64_t word = peek(&node->separators[middle]);
        int order = 1;
        if (slot_hash(word) == wanted) {
            struct edge separator = separator_key(s, word);
            if (separator.key == NULL)
                return -EUCLEAN;
            order = racy_order(separator.key, separator.len, key, len);
        }
        if (order < 0 || (order == 0 && !before))
            low = middle + 1;
        else
            high = middle;
    }
    *index = low;
    return 0;
}

/* The child for a key: after all separators that are not greater, with `before` after all that are less. key NULL: the
 * last. */
static inline int child_for(const struct store *s, const struct inner *node, uint64_t head, const uint8_t *key,
                            size_t len, bool before, unsigned *index)
{
    unsigned high = count_of(head) - 1;

    if (unlikely(high >= INNER_CHILDREN))
        return -EUCLEAN;
    *index = high;
    if (key == NULL)
        return 0;
    uint32_t wanted = slice(key, len, skip_of(head));
    unsigned low = *index = count_below(node->separators, high, wanted);
    if (likely(low == high || slot_hash(peek(&node->separators[low])) != wanted))
        return 0;
    return child_among_equals(s, node, low, high, wanted, key, len, before, index);
}

/* Have a node's lines brought into the cache together: searching in it would ask for three of them one by one. */
static ALWAYS_INLINE void prefetch_node(const struct store *s, uint64_t offset, uint64_t from, uint64_t to)
{
    for (uint64_t line = from / 64 * 64; line < to; line += 64)
        __builtin_prefetch((const void *)((uintptr_t)s->base + offset + line)); /* of any offset: it is a hint */
}

int way_find(const struct store *s, uint64_t root, const uint8_t *key, size_t len, bool before, struct way *way)
{
    uint64_t levels = tree_levels(root), offset = index_offset(root);
    int r;

    way->count = 0;
    way->ref = &view_of(s)->directory;
    way->leaf = NULL;
    way->low = way->high = 0;
    if (unlikely(levels > TREE_LEVELS_MAX))
        return -EUCLEAN;
    for (; levels > 1; levels--) {
        struct descent *step = &way->steps[way->count++];
        step->ref = way->ref;
        step->low = way->low;
        step->high = way->high;
        if (unlikely((step->node = at(s, offset, sizeof *step->node)) == NULL))
            return -EUCLEAN;
        uint64_t head = get(&step->node->head); /* once: it may be overwritten */
        if (unlikely((r = child_for(s, step->node, head, key, len, before, &step->index)) < 0))
            return r;
        if (step->index > 0)
            way->low = peek(&step->node->separators[step->index - 1]);
        if (step->index + 1 < count_of(head))
            way->high = peek(&step->node->separators[step->index]);
        way->ref = &step->node->children[step->index];
        offset = get(way->ref);
        if (offset == 0)
            return 0;
        if (levels == 2)
            prefetch_node(s, offset, 0, sizeof(struct leaf));
        else
            prefetch_node(s, offset, 0, sizeof(struct inner));
    }
    if (offset == 0)
        return 0;
    way->leaf = at(s, offset, sizeof *way->leaf);
    return likely(way->leaf != NULL) ? 0 : -EUCLEAN;
}

static int entry_order(const struct store *s, uint64_t slot, uint32_t wanted, const uint8_t *key, size_t len)
{
    if (slot_hash(slot) != wanted)
        return slot_hash(slot) < wanted ? -1 : 1;
    struct edge its = version_key(s, slot_version(slot));
    return its.key == NULL ? 0 : racy_order(its.key, its.len, key, len);
}

/* The slot of a key. NULL: it is not there, and *vacant is where it can be appended, NULL: nowhere. */
static word_t *slot_in(const struct store *s, struct leaf *leaf, const uint8_t *key, size_t len,
                       struct version **version, word_t **vacant, uint32_t *tag)
{
    uint64_t head = get(&leaf->head), slot;
    unsigned sorted = count_of(head), low, high, end;

    *vacant = NULL;
    if (unlikely(sorted > LEAF_SLOTS))
        return NULL;
    uint32_t wanted = *tag = slice(key, len, skip_of(head));
    low = count_below(leaf->slots, sorted, wanted);
    for (high = low; high < sorted && slot_hash(peek(&leaf->slots[high])) == wanted; high++) {
    }
    while (unlikely(high - low > 3)) { /* many with the same four bytes */
        unsigned middle = (low + high) / 2;
        slot = get(&leaf->slots[middle]);
        if (is_hole(slot)) /* no key to go by: look at all that are left */
            break;
        if (entry_order(s, slot, wanted, key, len) <= 0)
            low = middle;
        else
            high = middle;
    }
    for (; low < high; low++) {
        slot = get(&leaf->slots[low]);
        version_prefetch(s, slot);
        if (!is_hole(slot) && (*version = version_of_key(s, slot_version(slot), key, len)) != NULL)
            return &leaf->slots[low];
    }
    end = sorted + TAIL_MOST < LEAF_SLOTS ? sorted + TAIL_MOST : LEAF_SLOTS;
    for (unsigned i = sorted; i < end; i++) {
        slot = get(&leaf->slots[i]);
        if (slot == 0) {
            *vacant = &leaf->slots[i];
            break;
        }
        if (slot_hash(slot) == wanted && !is_hole(slot) &&
            (*version = version_of_key(s, slot_version(slot), key, len)) != NULL)
            return &leaf->slots[i];
    }
    return NULL;
}

int tree_find(const struct store *s, const void *key, size_t key_len, struct spot *spot)
{
    struct way way;
    int r = way_find(s, peek(&view_of(s)->directory), key, key_len, false, &way);

    *spot = (struct spot){0};
    if (r == 0 && way.leaf != NULL)
        spot->slot = slot_in(s, way.leaf, key, key_len, &spot->version, &spot->vacant, &spot->tag);
    return r;
}

int tree_peek(const struct store *s, uint64_t snap, const void *key, size_t key_len, struct version **version)
{
    struct way way;
    word_t *vacant;
    uint32_t tag;
    int r = way_find(s, index_directory(s, snap), key, key_len, false, &way);

    *version = NULL;
    if (r == 0 && way.leaf != NULL && slot_in(s, way.leaf, key, key_len, version, &vacant, &tag) == NULL)
        *version = NULL;
    return r;
}

/* ---- Portions ------------------------------------------------------------------------------------------- */

static int slot_order(const struct store *s, uint64_t a, uint64_t b)
{
    if (likely(slot_hash(a) != slot_hash(b)))
        return slot_hash(a) < slot_hash(b) ? -1 : 1;
    struct edge key = version_key(s, slot_version(b));
    return key.key == NULL ? 0 : entry_order(s, a, slot_hash(b), key.key, key.len);
}

int leaf_gather(const struct store *s, const struct leaf *leaf, uint32_t first, uint32_t last, uint64_t *slots,
                unsigned *count)
{
    unsigned sorted = count_of(get(&leaf->head)), n = 0;

    if (sorted > LEAF_SLOTS)
        return -EUCLEAN;
    for (unsigned i = 0; i < LEAF_SLOTS; i++) {
        uint64_t slot = get(&leaf->slots[i]);
        if (slot == 0 && i >= sorted)
            break;
        if (is_hole(slot) || slot_hash(slot) < first || slot_hash(slot) > last)
            continue;
        unsigned place = n++;
        if (i >= sorted) {
            for (; place > 0 && slot_order(s, slots[place - 1], slot) > 0; place--)
                slots[place] = slots[place - 1];
        }
        slots[place] = slot;
    }
    *count = n;
    return 0;
}

int tree_portion(const struct store *s, uint64_t root, const struct range *range, struct portion *portion)
{
    const void *key = range->reverse ? range->to : range->from != NULL ? range->from : "";
    uint32_t first = 0, last = UINT32_MAX;
    struct way way;
    int r = way_find(s, root, key, range->reverse ? range->to_len : range->from_len, range->reverse, &way);

    portion->count = portion->sure_from = portion->sure_to = 0;
    portion->beside = 0;
    if (r < 0)
        return r;
    uint64_t bound = range->reverse ? way.low : way.high;
    const struct descent *last_step = way.count > 0 ? &way.steps[way.count - 1] : NULL;
    unsigned beside = last_step == NULL ? INNER_CHILDREN : last_step->index + (range->reverse ? -1u : 1u);
    if (beside < INNER_CHILDREN && way.leaf != NULL) {
        portion->beside = get(&last_step->node->children[beside]);
        prefetch_node(s, portion->beside, 0, sizeof(struct leaf));
    }
    portion->bound = separator_key(s, bound);
    if (bound != 0 && portion->bound.key == NULL)
        return -EUCLEAN;
    if (way.leaf == NULL)
        return 0;
    /* An end of the range has slices here only if it lies between the leaf's bounds: the one by which we came does. */
    uint64_t skip = skip_of(get(&way.leaf->head));
    bool from_here = range->from != NULL, to_here = range->to != NULL;
    if (range->reverse && from_here && bound != 0)
        from_here = racy_order(range->from, range->from_len, portion->bound.key, portion->bound.len) >= 0;
    if (!range->reverse && to_here && bound != 0)
        to_here = racy_order(range->to, range->to_len, portion->bound.key, portion->bound.len) <= 0;
    if (from_here)
        first = slice(range->from, range->from_len, skip);
    if (to_here)
        last = slice(range->to, range->to_len, skip);
    if ((r = leaf_gather(s, way.leaf, first, last, portion->slots, &portion->count)) < 0)
        return r;
    portion->sure_to = portion->count;
    while (from_here && portion->sure_from < portion->count && slot_hash(portion->slots[portion->sure_from]) == first)
        portion->sure_from++;
    while (to_here && portion->sure_to > 0 && slot_hash(portion->slots[portion->sure_to - 1]) == last)
        portion->sure_to--;
    return 0;
}

void tree_prefetch_beside(const struct store *s, const struct portion *portion)
{
    const struct leaf *leaf = at(s, portion->beside, sizeof *leaf);
    for (unsigned i = 0; leaf != NULL && i < LEAF_SLOTS; i++) {
        uint64_t slot = peek(&leaf->slots[i]);
        if (slot == 0)
            break;
        version_prefetch(s, slot);
    }
}
