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
#include "tree.h"

#define TAIL_MOST   8u
#define SPLIT_ABOVE (LEAF_SLOTS - TAIL_MOST)
#define DROP_MOST   16u /* separators of neighbouring holes that are dropped in one step */

static unsigned count_of(uint64_t head)
{
    return (unsigned)head;
}

static uint64_t skip_of(uint64_t head)
{
    return head >> 32;
}

static uint64_t head_word(uint64_t skip, unsigned count)
{
    return skip << 32 | count;
}

static uint64_t granule_word(uint64_t offset)
{
    return offset / GRANULE;
}

static bool is_hole(uint64_t slot)
{
    return (slot & 0xffffffffu) == SLOT_HOLE;
}

/* Four bytes of the key as a number that compares as they do; what is missing counts as zero. */
static inline RACY uint32_t slice(const uint8_t *key, size_t len, uint64_t skip)
{
    uint32_t n = 0;
    if (likely(skip + sizeof n <= len)) {
        racy_copy(&n, key + skip, sizeof n);
        return __builtin_bswap32(n);
    }
    for (uint64_t i = skip; i < skip + sizeof n; i++)
        n = n << 8 | (i < len ? ((const volatile uint8_t *)key)[i] : 0);
    return n;
}

static uint64_t common(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    uint64_t n = 0;
    while (n < a_len && n < b_len && a[n] == b[n])
        n++;
    return n;
}

/* ---- Reading nodes -------------------------------------------------------------------------------------- */

static RACY struct separator *separator_at(const struct store *s, uint64_t word)
{
    uint64_t offset = slot_version(word);
    struct separator *separator = at(s, offset, sizeof *separator);
    if (separator == NULL || separator->len > HEIR_KEY_MAX || at(s, offset, sizeof *separator + separator->len) == NULL)
        return NULL;
    return separator;
}

/* The child for a key: after all separators that are not greater, with `before` after all that are less. key NULL: the
 * last. */
static int child_for(const struct store *s, const struct inner *node, const uint8_t *key, size_t len, bool before,
                     unsigned *index)
{
    uint64_t head = get(&node->head);
    unsigned low = 0, high = count_of(head) - 1;

    if (unlikely(high >= INNER_CHILDREN))
        return -EUCLEAN;
    *index = high;
    if (key == NULL)
        return 0;
    uint32_t wanted = slice(key, len, skip_of(head));
    while (low < high) {
        unsigned middle = (low + high) / 2;
        uint64_t word = peek(&node->separators[middle]);
        int order = slot_hash(word) < wanted ? -1 : slot_hash(word) > wanted;
        if (unlikely(order == 0)) {
            const struct separator *separator = separator_at(s, word);
            if (separator == NULL)
                return -EUCLEAN;
            order = racy_order(separator->key, separator->len, key, len);
        }
        if (order < 0 || (order == 0 && !before))
            low = middle + 1;
        else
            high = middle;
    }
    *index = low;
    return 0;
}

/* The way down to a key. */
struct descent {
    word_t *ref; /* leads to the node */
    struct inner *node;
    unsigned index;     /* of the child */
    uint64_t low, high; /* bounds of its keys: separator words, 0: none */
};

struct way {
    unsigned count;
    struct descent steps[TREE_LEVELS_MAX];
    word_t *ref;       /* leads to the leaf */
    struct leaf *leaf; /* NULL: there is none for this part of the range */
    uint64_t low, high;
};

/* Have a node's lines brought into the cache together: searching in it would ask for three of them one by one. */
static void prefetch_node(const struct store *s, uint64_t offset, uint64_t from, uint64_t to)
{
    for (uint64_t line = from / 64 * 64; line < to; line += 64)
        __builtin_prefetch(s->base + offset + line);
}

static int go_down(const struct store *s, uint64_t root, const uint8_t *key, size_t len, bool before, struct way *way)
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
        if (unlikely((r = child_for(s, step->node, key, len, before, &step->index)) < 0))
            return r;
        if (step->index > 0)
            way->low = peek(&step->node->separators[step->index - 1]);
        if (step->index + 1 < count_of(get(&step->node->head)))
            way->high = peek(&step->node->separators[step->index]);
        way->ref = &step->node->children[step->index];
        offset = get(way->ref);
        if (offset == 0)
            return 0;
        if (levels == 2)
            prefetch_node(s, offset, 0, sizeof(struct leaf));
        else
            prefetch_node(s, offset, offsetof(struct inner, separators), sizeof(struct inner));
    }
    if (offset == 0)
        return 0;
    way->leaf = at(s, offset, sizeof *way->leaf);
    return likely(way->leaf != NULL) ? 0 : -EUCLEAN;
}

static struct version *version_of_slot(const struct store *s, uint64_t slot)
{
    return version_whole(s, slot_version(slot));
}

static int entry_order(const struct store *s, uint64_t slot, uint32_t wanted, const uint8_t *key, size_t len)
{
    if (slot_hash(slot) != wanted)
        return slot_hash(slot) < wanted ? -1 : 1;
    const struct version *v = version_of_slot(s, slot);
    return v == NULL ? 0 : racy_order(v->data, version_key_len(v), key, len);
}

/* The slot of a key. NULL: it is not there, and *vacant is where it can be appended, NULL: nowhere. */
static word_t *slot_in(const struct store *s, struct leaf *leaf, const uint8_t *key, size_t len,
                       struct version **version, word_t **vacant, uint32_t *tag)
{
    uint64_t head = get(&leaf->head), slot;
    unsigned sorted = count_of(head), low = 0, high = sorted, end;

    *vacant = NULL;
    if (unlikely(sorted > LEAF_SLOTS))
        return NULL;
    uint32_t wanted = *tag = slice(key, len, skip_of(head));
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (slot_hash(peek(&leaf->slots[middle])) < wanted)
            low = middle + 1;
        else
            high = middle;
    }
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
    int r = go_down(s, peek(&view_of(s)->directory), key, key_len, false, &way);

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
    int r = go_down(s, index_directory(s, snap), key, key_len, false, &way);

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
    const struct version *v = version_of_slot(s, b);
    return v == NULL ? 0 : entry_order(s, a, slot_hash(b), v->data, version_key_len(v));
}

/* The slots of a leaf in the order of their keys, without holes: those from `first` up to `last` in slices. */
static int gather(const struct store *s, const struct leaf *leaf, uint32_t first, uint32_t last, uint64_t *slots,
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
    int r = go_down(s, root, key, range->reverse ? range->to_len : range->from_len, range->reverse, &way);

    portion->count = portion->sure_from = portion->sure_to = 0;
    if (r < 0)
        return r;
    portion->low = way.low != 0 ? separator_at(s, way.low) : NULL;
    portion->high = way.high != 0 ? separator_at(s, way.high) : NULL;
    if ((way.low != 0 && portion->low == NULL) || (way.high != 0 && portion->high == NULL))
        return -EUCLEAN;
    if (way.leaf == NULL)
        return 0;
    const struct descent *last_step = way.count > 0 ? &way.steps[way.count - 1] : NULL;
    unsigned beside = last_step == NULL ? 0 : range->reverse ? last_step->index - 1 : last_step->index + 1;
    if (last_step != NULL && beside < INNER_CHILDREN) /* where a walk comes next */
        prefetch_node(s, get(&last_step->node->children[beside]), 0, sizeof(struct leaf));
    /* a bound has slices here only if it lies between the leaf's own */
    uint64_t skip = skip_of(get(&way.leaf->head));
    bool from_here = range->from != NULL && (way.low == 0 || racy_order(range->from, range->from_len, portion->low->key,
                                                                        portion->low->len) >= 0);
    bool to_here = range->to != NULL &&
                   (way.high == 0 || racy_order(range->to, range->to_len, portion->high->key, portion->high->len) <= 0);
    if (from_here)
        first = slice(range->from, range->from_len, skip);
    if (to_here)
        last = slice(range->to, range->to_len, skip);
    if ((r = gather(s, way.leaf, first, last, portion->slots, &portion->count)) < 0)
        return r;
    portion->sure_to = portion->count;
    while (from_here && portion->sure_from < portion->count && slot_hash(portion->slots[portion->sure_from]) == first)
        portion->sure_from++;
    while (to_here && portion->sure_to > 0 && slot_hash(portion->slots[portion->sure_to - 1]) == last)
        portion->sure_to--;
    return 0;
}

/* ---- Growing -------------------------------------------------------------------------------------------- */

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
    const struct version *first = version_of_slot(s, all->slot[0]),
                         *last = version_of_slot(s, all->slot[all->count - 1]);
    const struct version *left, *right;
    const uint8_t *left_key = key;
    size_t left_len = len, right_len = len;

    if (first == NULL || last == NULL)
        return -EUCLEAN;
    *right_key = key;
    plan->left = all->count / 2;
    if (racy_order(last->data, version_key_len(last), key, len) < 0)
        plan->left = all->count;
    else if (racy_order(key, len, first->data, version_key_len(first)) < 0)
        plan->left = 0;
    if (plan->left > 0) {
        if ((left = version_of_slot(s, all->slot[plan->left - 1])) == NULL)
            return -EUCLEAN;
        left_key = left->data;
        left_len = version_key_len(left);
    }
    if (plan->left < all->count) {
        if ((right = version_of_slot(s, all->slot[plan->left])) == NULL)
            return -EUCLEAN;
        *right_key = right->data;
        right_len = version_key_len(right);
    }
    uint64_t same = common(left_key, left_len, *right_key, right_len);
    plan->separator_len = same + 1;
    return same < right_len ? 0 : -EUCLEAN;
}

static int make_plan(const struct store *s, const uint8_t *key, size_t len, struct way *way, struct slots *all,
                     const uint8_t **right_key, struct plan *plan)
{
    int r = go_down(s, peek(&view_of(s)->directory), key, len, false, way);

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
    if ((r = gather(s, way->leaf, 0, UINT32_MAX, all->slot, &all->count)) < 0)
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
    const struct separator *low = separator_at(s, low_word), *high = separator_at(s, high_word);
    return low == NULL || high == NULL ? 0 : common(low->key, low->len, high->key, high->len);
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
            const struct version *v = version_of_slot(s, slot);
            if (v == NULL)
                return -EUCLEAN;
            slot = (uint64_t)slice(v->data, version_key_len(v), skip) << 32 | (slot & 0xffffffffu);
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

static void family_of(const struct inner *node, struct family *f)
{
    f->count = count_of(peek(&node->head));
    for (unsigned i = 0; i < f->count; i++)
        f->children[i] = peek(&node->children[i]);
    for (unsigned i = 0; i + 1 < f->count; i++)
        f->separators[i] = peek(&node->separators[i]);
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
            const struct separator *separator = separator_at(s, word);
            if (separator == NULL)
                return -EUCLEAN;
            word = (uint64_t)slice(separator->key, separator->len, skip) << 32 | (word & 0xffffffffu);
        }
        set(&node->separators[i], word);
    }
    return 0;
}

/* Let the word that led to a node lead to another one, with so many levels from here on down. */
static void switch_to(struct store *s, word_t *ref, uint64_t offset, unsigned levels)
{
    /* visible to others now: */
    log_set(s, ref, offset != 0 && ref == &view_of(s)->directory ? offset | levels : offset);
}

/* A node has become two: tell its parent, by a new parent in a new block. `level` is the node's. */
static int tell_parent(struct store *s, const struct way *way, unsigned level, uint64_t left, uint64_t separator_offset,
                       uint64_t right, uint64_t block)
{
    const struct separator *separator = separator_at(s, granule_word(separator_offset));
    unsigned levels = (unsigned)tree_levels(peek(&view_of(s)->directory));
    const struct descent *parent = level == 0 ? NULL : &way->steps[level - 1];
    uint64_t skip = parent == NULL ? 0 : skip_of(peek(&parent->node->head));
    struct family f = {.count = 1};
    int r;

    if (separator == NULL || (parent == NULL && levels >= TREE_LEVELS_MAX))
        return separator == NULL ? -EUCLEAN : -ENOSPC;
    if (parent != NULL)
        family_of(parent->node, &f);
    family_part(&f, parent == NULL ? 0 : parent->index, left,
                (uint64_t)slice(separator->key, separator->len, skip) << 32 | granule_word(separator_offset), right);
    if ((r = family_join_holes(s, &f)) < 0 || (r = write_inner(s, block, skip, parent == NULL ? 0 : parent->low,
                                                               parent == NULL ? 0 : parent->high, &f, 0, f.count)) < 0)
        return r;
    if (parent == NULL) {
        switch_to(s, &view_of(s)->directory, block, levels + 1);
        return 0;
    }
    uint64_t old = (uint64_t)((uint8_t *)parent->node - s->base);
    switch_to(s, parent->ref, block, levels);
    return history_append(s, 0, old, GONE_BLOCK);
}

static int split_inner(struct store *s, const struct way *way, unsigned level, const struct blocks *b)
{
    const struct descent *step = &way->steps[level];
    uint64_t skip = skip_of(peek(&step->node->head));
    struct family f;
    int r;

    family_of(step->node, &f);
    unsigned half = f.count / 2;
    uint64_t middle = f.separators[half - 1];
    if ((r = write_inner(s, b->inner[0], skip, step->low, middle, &f, 0, half)) < 0 ||
        (r = write_inner(s, b->inner[1], skip, middle, step->high, &f, half, f.count - half)) < 0 ||
        (r = tell_parent(s, way, level, b->inner[0], slot_version(middle), b->inner[1], b->inner[2])) < 0)
        return r;
    return history_append(s, 0, (uint64_t)((uint8_t *)step->node - s->base), GONE_BLOCK);
}

static int split_leaf(struct store *s, const struct way *way, const struct plan *plan, const struct slots *all,
                      const uint8_t *right_key, const struct blocks *b)
{
    struct separator *separator = at(s, b->separator, sizeof *separator + plan->separator_len);
    uint64_t skip = skip_of(peek(&way->leaf->head)), word = granule_word(b->separator);
    int r;

    if (separator == NULL)
        return -EUCLEAN;
    racy_copy(&separator->len, &plan->separator_len, sizeof separator->len);
    racy_copy(separator->key, right_key, plan->separator_len);
    if ((r = write_leaf(s, b->leaf[0], skip, way->low, word, all->slot, plan->left)) < 0 ||
        (r = write_leaf(s, b->leaf[1], skip, word, way->high, all->slot + plan->left, all->count - plan->left)) < 0 ||
        (r = tell_parent(s, way, way->count, b->leaf[0], b->separator, b->leaf[1], b->inner[0])) < 0)
        return r;
    return history_append(s, 0, (uint64_t)((uint8_t *)way->leaf - s->base), GONE_BLOCK);
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
        return history_append(s, 0, (uint64_t)((uint8_t *)way.leaf - s->base), GONE_BLOCK);
    case SPLIT_LEAF:
        return split_leaf(s, &way, &now, &all, right_key, &b);
    default:
        return split_inner(s, &way, now.level, &b);
    }
}

/* ---- Shrinking ------------------------------------------------------------------------------------------ */

static bool leaf_empty(const struct leaf *leaf)
{
    for (unsigned i = 0; i < LEAF_SLOTS; i++) {
        uint64_t slot = peek(&leaf->slots[i]);
        if (slot != 0 && !is_hole(slot))
            return false;
    }
    return true;
}

static bool childless(const struct inner *node)
{
    for (unsigned i = 0; i < INNER_CHILDREN; i++) {
        if (peek(&node->children[i]) != 0)
            return false;
    }
    return true;
}

/* Queue an inner node without children, and its separators. */
static int leave_inner(struct store *s, const struct inner *node)
{
    int r = undo_reserve(s, 4 * SPACE_LOG);
    for (unsigned i = 0; r == 0 && i + 1 < count_of(peek(&node->head)) && i + 1 < INNER_CHILDREN; i++)
        r = history_append(s, 0, slot_version(peek(&node->separators[i])), GONE_BLOCK);
    return r == 0 ? history_append(s, 0, (uint64_t)((const uint8_t *)node - s->base), GONE_BLOCK) : r;
}

/* Take out what has become empty, upwards from the leaf. Without room for the records it is left where it is. */
static int take_out(struct store *s, const struct way *way)
{
    uint64_t mark = s->log_count;
    int r = undo_reserve(s, 3 * SPACE_LOG);

    if (r == 0) {
        switch_to(s, way->ref, 0, 0);
        r = history_append(s, 0, (uint64_t)((const uint8_t *)way->leaf - s->base), GONE_BLOCK);
    }
    for (unsigned i = way->count; r == 0 && i > 0 && childless(way->steps[i - 1].node); i--) {
        mark = s->log_count;
        r = leave_inner(s, way->steps[i - 1].node);
        if (r == 0)
            switch_to(s, way->steps[i - 1].ref, 0, 0);
    }
    return r == -ENOSPC && s->log_count > mark ? undo_back_to(s, mark) : r == -ENOSPC ? 0 : r;
}

int tree_drop(struct store *s, uint64_t version)
{
    struct version *v = version_whole(s, version);
    struct way way;
    int r;

    if (v == NULL) /* see index_drop() */
        return 0;
    if ((r = go_down(s, peek(&view_of(s)->directory), v->data, version_key_len(v), false, &way)) < 0)
        return r;
    for (unsigned i = 0; way.leaf != NULL && i < LEAF_SLOTS; i++) {
        uint64_t slot = peek(&way.leaf->slots[i]);
        if (slot_version(slot) != version)
            continue;
        log_set(s, &way.leaf->slots[i], (uint64_t)slot_hash(slot) << 32 | SLOT_HOLE);
        r = leaf_empty(way.leaf) ? take_out(s, &way) : 0;
        return r < 0 ? r : 1;
    }
    return 0;
}

/* ---- Taking apart --------------------------------------------------------------------------------------- */

/* The inner nodes from the root to where the cursor stands. Returns the level at which it stands: 0, at *leaf; or that
 * of a child that is not there. */
static int find_cursor(const struct store *s, uint64_t root, uint64_t cursor, struct inner **inner, struct leaf **leaf)
{
    uint64_t offset = index_offset(root);

    *leaf = NULL;
    for (unsigned level = (unsigned)tree_levels(root); --level > 0;) {
        struct inner *node = at(s, offset, sizeof *node);
        if (node == NULL || count_of(peek(&node->head)) > INNER_CHILDREN)
            return -EUCLEAN;
        inner[level] = node;
        offset = peek(&node->children[tree_digit(cursor, level)]);
        if (offset == 0)
            return (int)level - 1;
    }
    *leaf = at(s, offset, sizeof **leaf);
    return *leaf == NULL ? -EUCLEAN : 0;
}

/* What the cursor stands at is done: queue it, and what separates it from the next. INDEX_END: that was the root. */
static int carry(struct store *s, uint64_t root, unsigned level, struct inner *const *inner, uint64_t *cursor)
{
    unsigned levels = (unsigned)tree_levels(root);
    int r;

    for (unsigned up = level + 1; up < levels; up++) {
        unsigned digit = tree_digit(*cursor, up);
        uint64_t child = peek(&inner[up]->children[digit]);
        if (child != 0 && (r = history_append(s, 0, child, GONE_BLOCK)) < 0)
            return r;
        *cursor &= ~((UINT64_C(1) << 6 * up) - 1);
        if (digit + 1 < count_of(peek(&inner[up]->head))) {
            *cursor += UINT64_C(1) << 6 * up;
            return history_append(s, 0, slot_version(peek(&inner[up]->separators[digit])), GONE_BLOCK);
        }
    }
    r = history_append(s, 0, index_offset(root), GONE_BLOCK);
    return r < 0 ? r : INDEX_END;
}

/* Free the versions of a leaf, as far as the budget and the log reach. */
static int sweep_leaf(struct store *s, const struct leaf *leaf, uint64_t *cursor, int *budget)
{
    int r = 0;
    for (; r == 0 && *budget > 0 && tree_digit(*cursor, 0) < LEAF_SLOTS; --*budget) {
        uint64_t slot = peek(&leaf->slots[tree_digit(*cursor, 0)]);
        if (slot != 0 && !is_hole(slot) && (r = undo_reserve(s, 3 * SPACE_LOG)) == 0)
            r = space_free(s, slot_version(slot));
        if (r == 0)
            ++*cursor;
    }
    return r;
}

int tree_sweep(struct store *s, uint64_t root, uint64_t *cursor, int budget)
{
    struct inner *inner[TREE_LEVELS_MAX];
    uint64_t begin = *cursor;
    struct leaf *leaf;
    int r = 0;

    if (tree_levels(root) == 0 || tree_levels(root) > TREE_LEVELS_MAX)
        return -EUCLEAN;
    while (budget > 0 && r == 0) {
        int level = find_cursor(s, root, *cursor, inner, &leaf);
        if (level < 0)
            return level;
        if (leaf != NULL && (r = sweep_leaf(s, leaf, cursor, &budget)) < 0)
            break;
        if (leaf != NULL && tree_digit(*cursor, 0) < LEAF_SLOTS)
            return 0;
        uint64_t mark = s->log_count, here = *cursor;
        budget--;
        if ((r = undo_reserve(s, 4 * SPACE_LOG)) == 0)
            r = carry(s, root, (unsigned)level, inner, cursor);
        if (r == -ENOSPC) {
            *cursor = here;
            int undone = s->log_count > mark ? undo_back_to(s, mark) : 0;
            r = undone < 0 ? undone : r;
        }
    }
    return r == -ENOSPC && *cursor != begin ? 0 : r;
}
