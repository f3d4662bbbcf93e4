/* SPDX-License-Identifier: MIT */
/* How a tree makes room for a key: leaves sorted anew and split, inner nodes split; see tree.c. */
#include "node.h"

#define SPLIT_ABOVE (LEAF_SLOTS - TAIL_MOST)
#define DROP_MOST   16u /* separators of neighbouring holes that are dropped in one step */

/* What one step of making room needs. */
struct plan {
    enum { NEW_LEAF, NEW_INNER, SORT_LEAF, SPLIT_LEAF, SPLIT_INNER } what;
    unsigned level;         /* SPLIT_INNER: which step of the way */
    unsigned left;          /* SPLIT_LEAF: so many slots go to the left */
    uint64_t separator_len; /* SPLIT_LEAF */
};

struct blocks {
    unsigned leaves, inners;
    uint64_t leaf[2], inner[3], separator;
};

struct slots {
    uint64_t slot[LEAF_SLOTS];
    unsigned count;
};

/* Where a full leaf is split: in the middle; a key beyond all others begins a leaf of its own, so that keys inserted in
 * order fill theirs. The separator is as much of the right key as tells it from the left one. */
static int plan_split(const struct store *s, const struct slots *all, const uint8_t *key, size_t len,
                      const uint8_t **right_key, struct plan *plan)
{
    struct edge first = version_key(s, slot_version(all->slot[0])), left = {key, len}, right = left;
    struct edge last = version_key(s, slot_version(all->slot[all->count - 1]));

    if (first.key == NULL || last.key == NULL)
        return -EUCLEAN;
    plan->left = all->count / 2;
    if (racy_order(last.key, last.len, key, len) < 0)
        plan->left = all->count;
    else if (racy_order(key, len, first.key, first.len) < 0)
        plan->left = 0;
    if (plan->left > 0)
        left = version_key(s, slot_version(all->slot[plan->left - 1]));
    if (plan->left < all->count)
        right = version_key(s, slot_version(all->slot[plan->left]));
    if (left.key == NULL || right.key == NULL)
        return -EUCLEAN;
    *right_key = right.key;
    plan->separator_len = common(left.key, left.len, right.key, right.len) + 1;
    return plan->separator_len <= right.len ? 0 : -EUCLEAN;
}

static int make_plan(const struct store *s, const uint8_t *key, size_t len, struct way *way, struct slots *all,
                     const uint8_t **right_key, struct plan *plan)
{
    int r = way_find(s, peek(&view_of(s)->directory), key, len, false, way);

    if (r < 0)
        return r;
    *plan = (struct plan){.what = NEW_LEAF};
    for (unsigned i = 0; i < way->count; i++) {
        if (count_of(peek(&way->steps[i].node->head)) == INNER_CHILDREN) {
            plan->what = SPLIT_INNER;
            plan->level = i;
            return 0;
        }
    }
    if (way->leaf == NULL) {
        if (way->count + 1 < tree_levels(peek(&view_of(s)->directory)))
            plan->what = NEW_INNER; /* a larger part of the tree had been taken out */
        return 0;
    }
    if ((r = leaf_gather(s, way->leaf, 0, UINT32_MAX, all->slot, &all->count)) < 0)
        return r;
    plan->what = all->count > SPLIT_ABOVE ? SPLIT_LEAF : SORT_LEAF;
    return plan->what == SPLIT_LEAF ? plan_split(s, all, key, len, right_key, plan) : 0;
}

static int take_block(struct store *s, uint64_t bytes, uint64_t *offset)
{
    int r = undo_reserve(s, 2 * SPACE_LOG);
    if (r == 0)
        r = history_alloc(s, bytes, false, offset);
    /* a root's offset has room for the number of levels */
    return r < 0                                                                                  ? r
           : at(s, *offset, bytes) == NULL || (bytes >= sizeof(struct leaf) && *offset % 64 != 0) ? -EUCLEAN
                                                                                                  : 0;
}

static int take_blocks(struct store *s, const struct plan *plan, struct blocks *b)
{
    static const unsigned leaves[] = {[NEW_LEAF] = 1, [SORT_LEAF] = 1, [SPLIT_LEAF] = 2, [SPLIT_INNER] = 0};
    static const unsigned inners[] = {[NEW_INNER] = 1, [SPLIT_LEAF] = 1, [SPLIT_INNER] = 3};
    int r = 0;

    *b = (struct blocks){.separator = 0};
    for (; r == 0 && b->leaves < leaves[plan->what]; b->leaves++)
        r = take_block(s, sizeof(struct leaf), &b->leaf[b->leaves]);
    if (r == -ENOSPC && plan->what == SORT_LEAF && (r = undo_reserve(s, 2 * SPACE_LOG)) == 0)
        r = history_spare(s, SPARE_SEGMENT, &b->leaf[0]);
    for (; r == 0 && b->inners < inners[plan->what]; b->inners++)
        r = take_block(s, sizeof(struct inner), &b->inner[b->inners]);
    if (r == 0 && plan->what == SPLIT_LEAF)
        r = take_block(s, sizeof(struct separator) + plan->separator_len, &b->separator);
    return r;
}

static int leave_blocks(struct store *s, const struct blocks *b)
{
    int r = undo_reserve(s, 3 * SPACE_LOG);
    for (unsigned i = 0; r == 0 && i < b->leaves; i++)
        r = space_free(s, b->leaf[i]);
    for (unsigned i = 0; r == 0 && i < b->inners; i++)
        r = space_free(s, b->inner[i]);
    return r == 0 && b->separator != 0 ? space_free(s, b->separator) : r;
}

/* How many bytes all keys between two bounds share. */
static uint64_t skip_between(const struct store *s, uint64_t low_word, uint64_t high_word)
{
    struct edge low = separator_key(s, low_word), high = separator_key(s, high_word);
    return low.key == NULL || high.key == NULL ? 0 : common(low.key, low.len, high.key, high.len);
}

static bool tied(const uint64_t *words, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        if (slot_hash(words[i - 1]) == slot_hash(words[i]))
            return true;
    }
    return false;
}

/* Fill a new leaf with sorted slots. What they skip is looked at again only if that may tell them apart better. */
static int write_leaf(struct store *s, uint64_t offset, uint64_t skip, uint64_t low, uint64_t high,
                      const uint64_t *slots, unsigned count)
{
    struct leaf *leaf = at(s, offset, sizeof *leaf);
    if (leaf == NULL)
        return -EUCLEAN;
    bool anew = tied(slots, count) && skip_between(s, low, high) > skip;

    if (anew)
        skip = skip_between(s, low, high);
    set(&leaf->head, head_word(skip, count));
    for (unsigned i = 0; i < LEAF_SLOTS; i++) {
        uint64_t slot = i < count ? slots[i] : 0;
        if (anew && i < count) {
            struct edge key = version_key(s, slot_version(slot));
            if (key.key == NULL)
                return -EUCLEAN;
            slot = (uint64_t)slice(key.key, key.len, skip) << 32 | (slot & 0xffffffffu);
        }
        set(&leaf->slots[i], slot);
    }
    return 0;
}

/* An inner node under construction; room for one child more than fits. */
struct family {
    unsigned count;
    uint64_t children[INNER_CHILDREN + 1], separators[INNER_CHILDREN];
};

/* -EUCLEAN: it has not as many children as it should have; in a damaged table it may have been overwritten since it was
 * found. */
static int family_of(const struct inner *node, unsigned least, unsigned most, struct family *f)
{
    f->count = count_of(peek(&node->head));
    if (f->count < least || f->count > most)
        return -EUCLEAN;
    for (unsigned i = 0; i < f->count; i++)
        f->children[i] = peek(&node->children[i]);
    for (unsigned i = 0; i + 1 < f->count; i++)
        f->separators[i] = peek(&node->separators[i]);
    return 0;
}

/* Instead of child i: two, and what separates them. */
static void family_part(struct family *f, unsigned i, uint64_t left, uint64_t separator, uint64_t right)
{
    memmove(&f->children[i + 1], &f->children[i], (f->count - i) * sizeof *f->children);
    memmove(&f->separators[i + 1], &f->separators[i], (f->count - 1 - i) * sizeof *f->separators);
    f->children[i] = left;
    f->children[i + 1] = right;
    f->separators[i] = separator;
    f->count++;
}

/* Two holes next to each other are one. */
static int family_join_holes(struct store *s, struct family *f)
{
    unsigned dropped = 0;
    int r = 0;

    for (unsigned i = 0; r == 0 && i + 1 < f->count && dropped < DROP_MOST;) {
        if (f->children[i] != 0 || f->children[i + 1] != 0) {
            i++;
            continue;
        }
        r = history_append(s, 0, slot_version(f->separators[i]), GONE_BLOCK);
        memmove(&f->children[i], &f->children[i + 1], (f->count - 1 - i) * sizeof *f->children);
        memmove(&f->separators[i], &f->separators[i + 1], (f->count - 2 - i) * sizeof *f->separators);
        f->count--;
        dropped++;
    }
    return r;
}

static int write_inner(struct store *s, uint64_t offset, uint64_t skip, uint64_t low, uint64_t high,
                       const struct family *f, unsigned from, unsigned count)
{
    struct inner *node = at(s, offset, sizeof *node);
    if (node == NULL)
        return -EUCLEAN;
    bool anew = tied(&f->separators[from], count - 1) && skip_between(s, low, high) > skip;

    if (anew)
        skip = skip_between(s, low, high);
    set(&node->head, head_word(skip, count));
    for (unsigned i = 0; i < INNER_CHILDREN; i++)
        set(&node->children[i], i < count ? f->children[from + i] : 0);
    for (unsigned i = 0; i < INNER_CHILDREN - 1; i++) {
        uint64_t word = i + 1 < count ? f->separators[from + i] : 0;
        if (anew && word != 0) {
            struct edge separator = separator_key(s, word);
            if (separator.key == NULL)
                return -EUCLEAN;
            word = (uint64_t)slice(separator.key, separator.len, skip) << 32 | (word & 0xffffffffu);
        }
        set(&node->separators[i], word);
    }
    return 0;
}

/* A node has become two: tell its parent, by a new parent in a new block. `level` is the node's. */
static int tell_parent(struct store *s, const struct way *way, unsigned level, uint64_t left, uint64_t separator_offset,
                       uint64_t right, uint64_t block)
{
    struct edge separator = separator_key(s, granule_word(separator_offset));
    unsigned levels = (unsigned)tree_levels(peek(&view_of(s)->directory));
    const struct descent *parent = level == 0 ? NULL : &way->steps[level - 1];
    uint64_t skip = parent == NULL ? 0 : skip_of(peek(&parent->node->head));
    struct family f = {.count = 1};
    int r;

    if (separator.key == NULL || (parent == NULL && levels >= TREE_LEVELS_MAX))
        return separator.key == NULL ? -EUCLEAN : -ENOSPC;
    if (parent != NULL && (r = family_of(parent->node, parent->index + 1, INNER_CHILDREN - 1, &f)) < 0)
        return r;
    family_part(&f, parent == NULL ? 0 : parent->index, left,
                (uint64_t)slice(separator.key, separator.len, skip) << 32 | granule_word(separator_offset), right);
    if ((r = family_join_holes(s, &f)) < 0 || (r = write_inner(s, block, skip, parent == NULL ? 0 : parent->low,
                                                               parent == NULL ? 0 : parent->high, &f, 0, f.count)) < 0)
        return r;
    if (parent == NULL) {
        switch_to(s, &view_of(s)->directory, block, levels + 1);
        return 0;
    }
    uint64_t old = offset_of(s, parent->node);
    switch_to(s, parent->ref, block, levels);
    return history_append(s, 0, old, GONE_BLOCK);
}

static int split_inner(struct store *s, const struct way *way, unsigned level, const struct blocks *b)
{
    const struct descent *step = &way->steps[level];
    uint64_t skip = skip_of(peek(&step->node->head));
    struct family f;
    int r;

    if ((r = family_of(step->node, INNER_CHILDREN, INNER_CHILDREN, &f)) < 0)
        return r;
    unsigned half = f.count / 2;
    uint64_t middle = f.separators[half - 1];
    if ((r = write_inner(s, b->inner[0], skip, step->low, middle, &f, 0, half)) < 0 ||
        (r = write_inner(s, b->inner[1], skip, middle, step->high, &f, half, f.count - half)) < 0 ||
        (r = tell_parent(s, way, level, b->inner[0], slot_version(middle), b->inner[1], b->inner[2])) < 0)
        return r;
    return history_append(s, 0, offset_of(s, step->node), GONE_BLOCK);
}

static int split_leaf(struct store *s, const struct way *way, const struct plan *plan, const struct slots *all,
                      const uint8_t *right_key, const struct blocks *b)
{
    struct separator *separator = at(s, b->separator, sizeof *separator + plan->separator_len);
    uint64_t skip = skip_of(peek(&way->leaf->head)), word = granule_word(b->separator);
    int r;

    if (separator == NULL)
        return -EUCLEAN;
    set(&separator->len, plan->separator_len);
    memmove(separator->key, right_key, plan->separator_len); /* in a damaged table they may overlap */
    if ((r = write_leaf(s, b->leaf[0], skip, way->low, word, all->slot, plan->left)) < 0 ||
        (r = write_leaf(s, b->leaf[1], skip, word, way->high, all->slot + plan->left, all->count - plan->left)) < 0 ||
        (r = tell_parent(s, way, way->count, b->leaf[0], b->separator, b->leaf[1], b->inner[0])) < 0)
        return r;
    return history_append(s, 0, offset_of(s, way->leaf), GONE_BLOCK);
}

int tree_make_room(struct store *s, const void *key, size_t key_len)
{
    struct way way;
    struct slots all;
    struct plan plan, now;
    struct blocks b;
    const uint8_t *right_key;
    int r;

    if ((r = make_plan(s, key, key_len, &way, &all, &right_key, &plan)) < 0 || (r = take_blocks(s, &plan, &b)) < 0 ||
        (r = make_plan(s, key, key_len, &way, &all, &right_key, &now)) < 0)
        return r;
    /* taking blocks may have taken keys back, and with them parts of the tree */
    if (now.what != plan.what || now.separator_len != plan.separator_len)
        return leave_blocks(s, &b);
    if ((r = undo_reserve(s, 3 * SPACE_LOG)) < 0)
        return r;
    switch (now.what) {
    case NEW_LEAF:
        if ((r = write_leaf(s, b.leaf[0], skip_between(s, way.low, way.high), 0, 0, NULL, 0)) == 0)
            switch_to(s, way.ref, b.leaf[0], 1);
        return r;
    case NEW_INNER:
        if ((r = write_inner(s, b.inner[0], skip_between(s, way.low, way.high), 0, 0, &(struct family){.count = 1}, 0,
                             1)) == 0)
            switch_to(s, way.ref, b.inner[0], 0);
        return r;
    case SORT_LEAF:
        if ((r = write_leaf(s, b.leaf[0], skip_of(peek(&way.leaf->head)), way.low, way.high, all.slot, all.count)) < 0)
            return r;
        switch_to(s, way.ref, b.leaf[0], 1);
        return history_append(s, 0, offset_of(s, way.leaf), GONE_BLOCK);
    case SPLIT_LEAF:
        return split_leaf(s, &way, &now, &all, right_key, &b);
    default:
        return split_inner(s, &way, now.level, &b);
    }
}
