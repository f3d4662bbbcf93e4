/* SPDX-License-Identifier: MIT */
/*
 * Nodes of a tree, as the files tree*.c see them: their heads, slices and bounds, and the way down to a key.
 */
#ifndef HEIR_NODE_H
#define HEIR_NODE_H

#include "tree.h"

#define TAIL_MOST 8u /* keys appended behind a leaf's sorted ones */

static inline unsigned count_of(uint64_t head)
{
    return (unsigned)head;
}

static inline uint64_t skip_of(uint64_t head)
{
    return head >> 32;
}

static inline uint64_t head_word(uint64_t skip, unsigned count)
{
    return skip << 32 | count;
}

static inline uint64_t granule_word(uint64_t offset)
{
    return offset / GRANULE;
}

static inline bool is_hole(uint64_t slot)
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

static inline uint64_t common(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    uint64_t n = 0;
    while (n < a_len && n < b_len && a[n] == b[n])
        n++;
    return n;
}

/* Have a node's lines brought into the cache together: searching in it would ask for them one by one. */
static ALWAYS_INLINE void node_prefetch(const uint8_t *base, uint64_t offset, uint64_t bytes)
{
    for (uint64_t line = 0; line < bytes; line += 64)
        __builtin_prefetch((const void *)((uintptr_t)base + offset + line)); /* of any offset: it is a hint */
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

/* key NULL: the last. `before`: to where the keys before it end. */
int way_find(const struct store *s, uint64_t root, const uint8_t *key, size_t len, bool before, struct way *way);

/* What bounds the keys of a node, by its word. No key: there is none, or it is damaged. */
struct edge separator_key(const struct store *s, uint64_t word);

/* The slots of a leaf in the order of their keys, without holes: those whose slice is from `first` up to `last`. */
int leaf_gather(const struct store *s, const struct leaf *leaf, uint32_t first, uint32_t last, uint64_t *slots,
                unsigned *count);

/* Let the word that led to a node lead to another one, with so many levels from here on down. */
static inline void switch_to(struct store *s, word_t *ref, uint64_t offset, unsigned levels)
{
    /* visible to others now: */
    log_set(s, ref, offset != 0 && ref == &view_of(s)->directory ? offset | levels : offset);
}

#endif
