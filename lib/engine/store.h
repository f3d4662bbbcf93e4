/* SPDX-License-Identifier: MIT */
/*
 * A table's memory as one process sees it: where it is mapped, and the checked step from offset to pointer.
 *
 * The layers above: undo (the log), space (pages and blocks), history (what is kept and what is taken back), index and
 * tree (finding a key), change (one change), objects and bag (the operations, in transactions), read and walk (readers
 * without a lock), check (is all of it true). None of them knows about owners.
 */
#ifndef HEIR_STORE_H
#define HEIR_STORE_H

#include "atomics.h"
#include <errno.h>
#include <stdbool.h>

struct store {
    uint8_t *base;            /* of the mapping: the writable view for writers, the read-only one for readers */
    uint64_t bytes;           /* of the mapping: max_bytes */
    uint64_t heap_first;      /* page; checked when the table was mapped */
    uint64_t seed;            /* of the key hash */
    uint64_t quick_from;      /* reader: heap_first in bytes; QUICK_NEVER: there is no hash index for read_quick() */
    uint64_t quick_tree_from; /* the same of a tree */
    uint64_t txn;             /* writer: number of the open transaction, 0: none */
    uint64_t log_count;       /* writer: copy of ledger.log_count */
    struct log_entry *log_at; /* writer: its newest entry, or its end */
    struct record *next;      /* writer: where the next record of the history goes; NULL: to be looked up */
    uint64_t keep;            /* writer: records of history to keep, as of the last history_step() */
    word_t heap_seen;         /* bytes of backed heap when we last looked, but for a page: there are never fewer */
    word_t heap_reach;        /* the same but for GLANCE_BYTES; 0: less than a page more */
    bool log_grown;           /* writer: the log has got more than its last page */
    bool starved;             /* writer: the last attempt to have more memory failed */
    bool collecting;          /* writer: the open transaction only takes back, see history_let_go() ... */
    bool let_go;              /* ... and has freed what it read */
};

#define QUICK_NEVER (UINT64_C(1) << 63)

static inline struct table_page *page_of(const struct store *s)
{
    return (struct table_page *)s->base;
}

static inline struct ledger *ledger_of(const struct store *s)
{
    return &page_of(s)->ledger;
}

static inline struct view *view_of(const struct store *s)
{
    return &page_of(s)->view;
}

/* Is the index a tree? */
static inline bool ordered(const struct store *s)
{
    return page_of(s)->type != HEIR_SET;
}

static inline bool bag(const struct store *s)
{
    return page_of(s)->type >= HEIR_BAG;
}

/* Bytes that may be followed: below what is backed, and below the end of the mapping, whatever the table says. */
static inline uint64_t readable(const struct store *s)
{
    uint64_t bytes = get(&view_of(s)->limit) * PAGE_BYTES;
    return bytes < s->bytes ? bytes : s->bytes;
}

/* at() for more than a page, or near the end of what was backed when we last looked, or beyond. */
APART void *at_careful(const struct store *s, uint64_t offset, uint64_t bytes);

/* The one way from an offset in shared memory to a pointer: NULL when [offset, offset + bytes) is not backed heap. */
static inline void *at(const struct store *s, uint64_t offset, uint64_t bytes)
{
    uint64_t start = offset - s->heap_first * PAGE_BYTES; /* huge when it is before the heap */
    if (likely(bytes <= PAGE_BYTES && start < peek(&s->heap_seen) && offset % 8 == 0))
        return s->base + offset;
    return at_careful(s, offset, bytes);
}

/* What at() compares with, looked at once, for who gives up where it would look more closely. Of what begins within it
 * GLANCE_BYTES are backed. */
#define GLANCE_BYTES 1024u
struct reach {
    uint8_t *base;
    uint64_t from, bytes;
};

static inline bool within(struct reach r, uint64_t offset)
{
    return likely(offset - r.from < r.bytes);
}

/* Is what is before that offset backed? Of the first bytes it may say that it is not. */
static inline bool backed_upto(struct reach r, uint64_t end)
{
    return within(r, end - GLANCE_BYTES);
}

/* And back. */
static inline uint64_t offset_of(const struct store *s, const void *at)
{
    return (uint64_t)((const uint8_t *)at - s->base);
}

/* Is there so much of what at() has given, too? */
static inline bool reaches(const struct store *s, const void *from, uint64_t bytes)
{
    uint64_t start = offset_of(s, from) - s->heap_first * PAGE_BYTES;
    return likely(bytes <= PAGE_BYTES && start < peek(&s->heap_seen)) ||
           at_careful(s, offset_of(s, from), bytes) != NULL;
}

/* table_page.ahead: what the keeper has backed of a table that grows. */
static inline uint64_t ahead_first(uint64_t word)
{
    return word >> 32;
}

static inline uint64_t ahead_end(uint64_t word)
{
    return word & UINT32_MAX;
}

static inline uint64_t ahead_word(uint64_t first, uint64_t end)
{
    return first << 32 | end;
}

/* Living objects, as of the last commit. */
static inline uint64_t objects_committed(const struct store *s)
{
    uint64_t committed, objects;
    do {
        committed = get(&view_of(s)->committed);
        objects = get(&view_of(s)->objects[committed & 1]);
    } while (get(&view_of(s)->committed) != committed);
    return objects;
}

static inline uint64_t pages_for(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
}

#endif
