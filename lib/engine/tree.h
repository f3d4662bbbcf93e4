/* SPDX-License-Identifier: MIT */
/*
 * The index of ordered sets and bags: from key to version, in the order of the keys. A tree; see tree.c.
 */
#ifndef HEIR_TREE_H
#define HEIR_TREE_H

#include "index.h"

#define TREE_LEVELS_MAX 10u

/* The word that leads to a tree: the root's offset and the number of levels; 0: it is empty. */
static inline uint64_t tree_levels(uint64_t word)
{
    return word & INDEX_DEPTH_MASK;
}

/* Writer: look a key up. -EUCLEAN. */
APART int tree_find(const struct store *s, const void *key, size_t key_len, struct spot *spot);

/* Readers: as index_peek(). */
APART int tree_peek(const struct store *s, uint64_t snap, const void *key, size_t key_len, struct version **version);

/* tree_find() found no vacant slot: one step towards having one; then look again. -ENOSPC, -EUCLEAN. */
APART int tree_make_room(struct store *s, const void *key, size_t key_len);

/* As index_drop(). A part of the tree that has become empty is taken out. */
APART int tree_drop(struct store *s, uint64_t version);

/* A part of the tree in which all keys are next to each other: a leaf. */
struct portion {
    uint64_t slots[LEAF_SLOTS]; /* in the order of their keys */
    unsigned count;
    unsigned sure_from, sure_to; /* those from here to there are in the range; the others may be */
    struct edge bound;           /* where the next portion begins, or in reverse ends; none: this is the last */
    uint64_t beside;             /* the leaf that holds it, as far as is known; 0: another one */
};

/* Keys, from <= key < to; NULL: no bound. */
struct range {
    const void *from;
    size_t from_len;
    const void *to;
    size_t to_len;
    bool reverse;
};

/* Have the beginning of a slot's version brought into the cache: two lines, which is all of a small one. */
static ALWAYS_INLINE void version_prefetch(const struct store *s, uint64_t slot)
{
    __builtin_prefetch(s->base + slot_version(slot));
    __builtin_prefetch(s->base + slot_version(slot) + 64);
}

static inline bool range_valid(const struct range *range)
{
    return (range->from != NULL || range->from_len == 0) && (range->to != NULL || range->to_len == 0);
}

/* The first portion of a range, or in reverse the last: its slots in the range, and a few more; keys beyond the range's
 * other end are in none that is further on than portion->bound. -EUCLEAN. */
APART int tree_portion(const struct store *s, uint64_t root, const struct range *range, struct portion *portion);

/* Have the versions of the portion that comes next brought into the cache. */
void tree_prefetch_beside(const struct store *s, const struct portion *portion);

/* Taking apart a tree that has been cleared: free the versions, queue the nodes. Goes on at *cursor, to be kept between
 * calls, 0 at first, for at most `budget` slots. INDEX_END: done. -ENOSPC: no room in the log or for the history, and
 * *cursor has not moved. */
APART int tree_sweep(struct store *s, uint64_t root, uint64_t *cursor, int budget);

/* Where a cursor of tree_sweep() stands: the node's child or slot number at this level (0: the leaf's). */
static inline unsigned tree_digit(uint64_t cursor, unsigned level)
{
    return cursor >> 6 * level & 63;
}

#endif
