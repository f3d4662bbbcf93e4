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

/* How many of the first n words, in the order of their slices, have one that is less. Halving, hardly with a branch:
 * where a random key goes cannot be foretold, and neither can n while the node is on its way from memory; after a wrong
 * guess all that has been begun meanwhile is thrown away. */
static ALWAYS_INLINE unsigned count_below(const word_t *words, unsigned n, uint32_t wanted)
{
    const uint64_t least = (uint64_t)wanted << 32;
#define LESS(i) (peek(&words[i]) < least)
    if (unlikely(n < 16)) {
        unsigned below = 0;
        for (unsigned i = 0; i < n; i++)
            below += LESS(i);
        return below;
    }
    /* 32 or 16 words; the halves overlap, so that 31 or 15 remain */
    const unsigned half = 16u << (n >> 5), next = half / 2 & 16;
    unsigned from = LESS(half - 1) ? n + 1 - half : 0;
    from = LESS(from + 15) ? from + next : from;
    from = LESS(from + 7) ? from + 8 : from;
    from = LESS(from + 3) ? from + 4 : from;
    from = LESS(from + 1) ? from + 2 : from;
    return from + LESS(from);
#undef LESS
}

static_assert(LEAF_SLOTS == 63 && INNER_CHILDREN == 64, "so many halvings");

/* The child for a key that has the slice of some separators, of which number `low` is the first. */
static APART int child_among_equals(const struct store *s, const struct inner *node, unsigned low, unsigned high,
                                    uint32_t wanted, const uint8_t *key, size_t len, bool before)
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
    return (int)low;
}

/* The number of the child for a key: after all separators that are not greater, with `before` after all that are less.
 * key NULL: the last. -EUCLEAN. */
static inline int child_for(const struct store *s, const struct inner *node, uint64_t head, const uint8_t *key,
                            size_t len, bool before)
{
    unsigned high = count_of(head) - 1;

    if (unlikely(high >= INNER_CHILDREN))
        return -EUCLEAN;
    if (key == NULL)
        return (int)high;
    uint32_t wanted = slice(key, len, skip_of(head));
    unsigned low = count_below(node->separators, high, wanted);
    if (likely(low == high || slot_hash(peek(&node->separators[low])) != wanted))
        return (int)low;
    return child_among_equals(s, node, low, high, wanted, key, len, before);
}

int way_find(const struct store *s, uint64_t root, const uint8_t *key, size_t len, bool before, struct way *way)
{
    uint64_t levels = tree_levels(root), offset = index_offset(root);

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
        int index = child_for(s, step->node, head, key, len, before);
        if (unlikely(index < 0))
            return index;
        step->index = (unsigned)index;
        if (step->index > 0)
            way->low = peek(&step->node->separators[step->index - 1]);
        if (step->index + 1 < count_of(head))
            way->high = peek(&step->node->separators[step->index]);
        way->ref = &step->node->children[step->index];
        offset = get(way->ref);
        if (offset == 0)
            return 0;
        if (levels == 2)
            node_prefetch(s->base, offset, sizeof(struct leaf));
        else
            node_prefetch(s->base, offset, sizeof(struct inner));
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

/* The leaf for a key, as way_find() has it, without the way. NULL: there is none. */
static inline int leaf_for(const struct store *s, uint64_t root, const uint8_t *key, size_t len, struct leaf **leaf)
{
    uint64_t levels = tree_levels(root), offset = index_offset(root);

    *leaf = NULL;
    if (unlikely(levels > TREE_LEVELS_MAX))
        return -EUCLEAN;
    for (; levels > 1; levels--) {
        const struct inner *node = at(s, offset, sizeof *node);
        if (unlikely(node == NULL))
            return -EUCLEAN;
        int index = child_for(s, node, get(&node->head), key, len, false);
        if (unlikely(index < 0))
            return index;
        if (unlikely((offset = get(&node->children[index])) == 0))
            return 0;
        if (levels == 2)
            node_prefetch(s->base, offset, sizeof(struct leaf));
        else if (levels == 3)
            node_prefetch(s->base, offset, sizeof(struct inner)); /* those above are few, and in the cache */
    }
    if (unlikely(offset == 0))
        return 0;
    *leaf = at(s, offset, sizeof **leaf);
    return likely(*leaf != NULL) ? 0 : -EUCLEAN;
}

int tree_find(const struct store *s, const void *key, size_t key_len, struct spot *spot)
{
    struct leaf *leaf;
    int r = leaf_for(s, peek(&view_of(s)->directory), key, key_len, &leaf);

    *spot = (struct spot){0};
    if (r == 0 && leaf != NULL)
        spot->slot = slot_in(s, leaf, key, key_len, &spot->version, &spot->vacant, &spot->tag);
    return r;
}

int tree_peek(const struct store *s, uint64_t snap, const void *key, size_t key_len, struct version **version)
{
    struct leaf *leaf;
    word_t *vacant;
    uint32_t tag;
    int r = leaf_for(s, index_directory(s, snap), key, key_len, &leaf);

    *version = NULL;
    if (r == 0 && leaf != NULL && slot_in(s, leaf, key, key_len, version, &vacant, &tag) == NULL)
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
    for (unsigned i = count_below(leaf->slots, sorted, first); i < sorted; i++) {
        uint64_t slot = get(&leaf->slots[i]);
        if (slot_hash(slot) > last)
            break;
        if (!is_hole(slot))
            slots[n++] = slot;
    }
    /* the others: put in order, then merged with the sorted ones from the end on */
    uint64_t others[LEAF_SLOTS];
    unsigned more = 0;
    for (unsigned i = sorted; i < LEAF_SLOTS; i++) {
        uint64_t slot = get(&leaf->slots[i]);
        if (slot == 0)
            break;
        if (is_hole(slot) || slot_hash(slot) < first || slot_hash(slot) > last)
            continue;
        unsigned place = more++;
        for (; place > 0 && slot_order(s, others[place - 1], slot) > 0; place--)
            others[place] = others[place - 1];
        others[place] = slot;
    }
    *count = n + more;
    while (more > 0) {
        if (n > 0 && slot_order(s, slots[n - 1], others[more - 1]) > 0) {
            slots[n + more - 1] = slots[n - 1];
            n--;
        } else {
            slots[n + more - 1] = others[more - 1];
            more--;
        }
    }
    return 0;
}

struct edge tree_portion_bound(const struct store *s, const struct portion *p)
{
    return separator_key(s, p->bound);
}

/* Is the range's other end in this portion, or where it ends? Mostly the slices tell, and the separator, which lies
 * somewhere, is not read. */
static int ends_here(const struct store *s, const struct range *range, const struct portion *p, bool *here)
{
    const void *end = range->reverse ? range->from : range->to;
    const size_t len = range->reverse ? range->from_len : range->to_len;
    int order;

    *here = end != NULL;
    if (p->bound == 0 || end == NULL)
        return 0;
    if (p->sliced && p->bound != p->outer && p->slice != slot_hash(p->bound)) {
        order = p->slice < slot_hash(p->bound) ? -1 : 1;
    } else {
        struct edge bound = separator_key(s, p->bound);
        if (bound.key == NULL)
            return -EUCLEAN;
        order = racy_order(end, len, bound.key, bound.len);
    }
    *here = range->reverse ? order >= 0 : order <= 0;
    return 0;
}

/* The part of the range that is in child p->index, a leaf. `begins`: its near end is there. */
static int portion_of(const struct store *s, const struct range *range, const struct leaf *leaf, bool begins,
                      struct portion *p)
{
    const unsigned children = p->parent != NULL ? count_of(p->head) : 0;
    const unsigned beside = p->index + (range->reverse ? -1u : 1u);
    uint32_t first = 0, last = UINT32_MAX;
    bool ends;
    int r;

    p->count = p->sure_from = p->sure_to = 0;
    p->beside = NULL;
    p->bound = beside < children ? peek(&p->parent->separators[range->reverse ? beside : p->index]) : p->outer;
    if ((r = ends_here(s, range, p, &ends)) < 0)
        return r;
    p->last = p->bound == 0 || ends;
    if (leaf == NULL)
        return 0;
    if (!p->last && beside < children) {
        uint64_t offset = get(&p->parent->children[beside]);
        node_prefetch(s->base, offset, sizeof *leaf);
        p->beside = at(s, offset, sizeof *leaf);
    }
    /* An end of the range has slices here only if it lies between the leaf's bounds. */
    const bool from_here = range->reverse ? ends : begins && range->from != NULL;
    const bool to_here = range->reverse ? begins && range->to != NULL : ends;
    const uint64_t skip = skip_of(get(&leaf->head));
    if (from_here)
        first = slice(range->from, range->from_len, skip);
    if (to_here)
        last = slice(range->to, range->to_len, skip);
    if ((r = leaf_gather(s, leaf, first, last, p->slots, &p->count)) < 0)
        return r;
    p->sure_to = p->count;
    while (from_here && p->sure_from < p->count && slot_hash(p->slots[p->sure_from]) == first)
        p->sure_from++;
    while (to_here && p->sure_to > 0 && slot_hash(p->slots[p->sure_to - 1]) == last)
        p->sure_to--;
    return 0;
}

int tree_portion(const struct store *s, uint64_t root, const struct range *range, struct portion *p)
{
    const void *key = range->reverse ? range->to : range->from != NULL ? range->from : "";
    const void *end = range->reverse ? range->from : range->to;
    const size_t len = range->reverse ? range->to_len : range->from_len;
    const size_t end_len = range->reverse ? range->from_len : range->to_len;
    struct way way;
    int r = way_find(s, root, key, len, range->reverse, &way);

    p->count = 0;
    if (r < 0)
        return r;
    p->parent = NULL;
    p->outer = range->reverse ? way.low : way.high;
    p->index = 0;
    p->sliced = false;
    if (way.count > 0 && way.count + 1 == tree_levels(root)) { /* else a larger part of the tree has been taken out */
        const struct descent *step = &way.steps[way.count - 1];
        p->parent = step->node;
        p->head = get(&step->node->head);
        p->index = step->index;
        p->outer = range->reverse ? step->low : step->high;
        if (count_of(p->head) > INNER_CHILDREN || p->index >= count_of(p->head))
            return -EUCLEAN;
        /* the node's keys begin as the key does by which we came; the end may be in another node */
        const uint64_t skip = skip_of(p->head);
        p->sliced = end != NULL &&
                    (skip == 0 || (key != NULL && len >= skip && end_len >= skip && memcmp(key, end, skip) == 0));
        if (p->sliced)
            p->slice = slice(end, end_len, skip);
    }
    return portion_of(s, range, way.leaf, true, p);
}

int tree_portion_next(const struct store *s, const struct range *range, struct portion *p)
{
    const unsigned next = p->index + (range->reverse ? -1u : 1u);
    const struct leaf *leaf = NULL;

    if (p->last || p->parent == NULL || next >= count_of(p->head))
        return 0;
    const uint64_t offset = get(&p->parent->children[next]);
    if (offset != 0 && (leaf = at(s, offset, sizeof *leaf)) == NULL)
        return -EUCLEAN;
    p->index = next;
    const int r = portion_of(s, range, leaf, false, p);
    return r < 0 ? r : 1;
}
