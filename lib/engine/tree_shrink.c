/* SPDX-License-Identifier: MIT */
/* How a tree lets go: of a key, of what has become empty, and of all when the table has been cleared; see tree.c. */
#include "node.h"

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
    return r == 0 ? history_append(s, 0, offset_of(s, node), GONE_BLOCK) : r;
}

/* Take out what has become empty, upwards from the leaf. Without room for the records it is left where it is. */
static int take_out(struct store *s, const struct way *way)
{
    uint64_t mark = s->log_count;
    int r = undo_reserve(s, 3 * SPACE_LOG);

    if (r == 0) {
        switch_to(s, way->ref, 0, 0);
        r = history_append(s, 0, offset_of(s, way->leaf), GONE_BLOCK);
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
    if ((r = way_find(s, peek(&view_of(s)->directory), v->data, version_key_len(v), false, &way)) < 0)
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

/* What the cursor stands at is done: let it go, and what separates it from the next. INDEX_END: that was the root. */
static int carry(struct store *s, uint64_t root, unsigned level, struct inner *const *inner, uint64_t *cursor)
{
    unsigned levels = (unsigned)tree_levels(root);
    int r;

    for (unsigned up = level + 1; up < levels; up++) {
        unsigned digit = tree_digit(*cursor, up);
        uint64_t child = peek(&inner[up]->children[digit]);
        if (child != 0 && (r = history_let_go(s, child)) < 0)
            return r;
        *cursor &= ~((UINT64_C(1) << 6 * up) - 1);
        if (digit + 1 < count_of(peek(&inner[up]->head)) && digit + 1 < INNER_CHILDREN) {
            *cursor += UINT64_C(1) << 6 * up;
            return history_let_go(s, slot_version(peek(&inner[up]->separators[digit])));
        }
    }
    r = history_let_go(s, index_offset(root));
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
        if ((r = undo_reserve(s, (3 + tree_levels(root)) * SPACE_LOG)) == 0)
            r = carry(s, root, (unsigned)level, inner, cursor);
        if (r == -ENOSPC) {
            *cursor = here;
            int undone = s->log_count > mark ? undo_back_to(s, mark) : 0;
            r = undone < 0 ? undone : r;
        }
    }
    return r == -ENOSPC && *cursor != begin ? 0 : r;
}
