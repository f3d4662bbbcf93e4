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
    bool last;                   /* no other portion of the range comes after it */
    uint64_t bound;              /* separator where the next one begins, or in reverse ends; 0: the tree ends here */
    const struct leaf *beside;   /* what holds it, as far as is known; NULL: another leaf, or none */
    /* where it hangs */
    const struct inner *parent; /* NULL: it is the root, or there are no leaves hereabouts */
    uint64_t head, outer;       /* the parent's head, and what bounds it in the range's direction */
    unsigned index;             /* in the parent */
    bool sliced;                /* the range's other end can be compared by its slice with the parent's separators: */
    uint32_t slice;
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

/* The same for later: into the second level, as the first has room for few lines on their way, and who asks for one
 * more waits. */
static ALWAYS_INLINE void version_prefetch_early(const struct store *s, uint64_t slot)
{
    __builtin_prefetch(s->base + slot_version(slot), 0, 2);
    __builtin_prefetch(s->base + slot_version(slot) + 64, 0, 2);
}

static inline bool range_valid(const struct range *range)
{
    return (range->from != NULL || range->from_len == 0) && (range->to != NULL || range->to_len == 0);
}

/* The first portion of a range, or in reverse the last: its slots in the range, and a few more. -EUCLEAN. */
APART int tree_portion(const struct store *s, uint64_t root, const struct range *range, struct portion *portion);

/* The portion that comes next, when it hangs on the same node: 1. 0: it does not, or there is none; go on at the bound.
 * Between sights, as what is read of a tree at all. -EUCLEAN. */
APART int tree_portion_next(const struct store *s, const struct range *range, struct portion *portion);

/* The key of portion->bound. No key: it is damaged. */
struct edge tree_portion_bound(const struct store *s, const struct portion *portion);

/* Have the version at a place of the portion, counted in the range's direction, brought into the cache; beyond its end
 * one of the portion that comes next. */
static ALWAYS_INLINE void portion_prefetch(const struct store *s, const struct range *range, const struct portion *p,
                                           unsigned place)
{
    if (place < p->count) {
        version_prefetch_early(s, p->slots[range->reverse ? p->count - 1 - place : place]);
    } else if (p->beside != NULL) {
        unsigned sorted = (unsigned)peek(&p->beside->head);
        place -= p->count;
        if (place < sorted && sorted <= LEAF_SLOTS)
            version_prefetch_early(s, peek(&p->beside->slots[range->reverse ? sorted - 1 - place : place]));
    }
}

/* Taking apart a tree that has been cleared: free the versions, let the nodes go. Goes on at *cursor, to be kept
 * between calls, 0 at first, for at most `budget` slots. INDEX_END: done. -ENOSPC: no room in the log or for the
 * history, and *cursor has not moved. */
APART int tree_sweep(struct store *s, uint64_t root, uint64_t *cursor, int budget);

/* Where a cursor of tree_sweep() stands: the node's child or slot number at this level (0: the leaf's). */
static inline unsigned tree_digit(uint64_t cursor, unsigned level)
{
    return cursor >> 6 * level & 63;
}

#endif
