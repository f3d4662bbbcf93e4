/* SPDX-License-Identifier: MIT */
/*
 * Space: memory inside a table, as blocks and as runs of pages. Transactional: everything is done through the undo log.
 */
#ifndef HEIR_SPACE_H
#define HEIR_SPACE_H

#include "undo.h"

/* Log entries that one call of space_alloc or space_free may need. */
#define SPACE_LOG 48u

/* First heap page of a table of this size. */
uint64_t space_heap_first(uint64_t max_bytes);

/* Fill in the ledger of a fresh, zeroed table whose first page is backed. -ENOSPC. */
int space_format(struct store *s);

/* Take a block of at least `bytes`; blocks of a page or more begin on a page. -ENOSPC, -EUCLEAN. */
int space_alloc(struct store *s, uint64_t bytes, uint64_t *offset);

/* The same in whole pages, in which there is nothing else; is this block one of those? */
int space_alloc_alone(struct store *s, uint64_t bytes, uint64_t *offset);
bool space_alone(const struct store *s, uint64_t offset);

/* Give a block back. -EUCLEAN when it is none, or free. */
int space_free(struct store *s, uint64_t offset);

/* Pages of a large table that are backed before they are needed, one by one, so that no operation waits for several. */
#define SPACE_AHEAD      6u
#define SPACE_AHEAD_FROM 256u /* pages */

static inline bool space_wants_one(const struct store *s)
{
    uint64_t limit = peek(&view_of(s)->limit);
    return unlikely(limit - peek(&ledger_of(s)->frontier) < SPACE_AHEAD) && limit - s->heap_first >= SPACE_AHEAD_FROM;
}
APART void space_back_one(struct store *s);

/* Pages of a table that grows that the keeper backs ahead, at most. */
#define SPACE_AHEAD_MOST 4096u

/* Are so few pages free that the past, and what is pinned of it, must give way? */
bool space_low(const struct store *s);

/* Is this block in use, and of the size that space_alloc() would choose for `bytes`? */
bool space_fits(const struct store *s, uint64_t offset, uint64_t bytes);

/* Have this block, and what space_fits() and space_free() will want of it, brought into the cache. It may be none. */
void space_prefetch(const struct store *s, uint64_t offset);

/* How a check looks at the table: it sees the words as they will be after rolling back. */
struct space_look {
    uint64_t (*word)(const word_t *word, void *arg);
    void (*block)(uint64_t offset, uint64_t bytes, void *arg);             /* for each block in use */
    void (*bad)(const char *what, uint64_t where, uint64_t is, void *arg); /* is: what stands there now */
    void *arg;
    uint64_t frontier; /* page */
};

/* Bytes of the block in use that begins at this offset; 0: there is none. */
uint64_t space_block(const struct store *s, const struct space_look *look, uint64_t offset);

/* Check all descriptors and lists. *idle, *lost: bytes that are free, and in no block. 1: a list has been left before
 * its end, as it led elsewhere; -ENOMEM. */
int space_visit(const struct store *s, const struct space_look *look, uint64_t *idle, uint64_t *lost);

/* Bytes of header and page descriptors: that are backed; that a heap needs which ends at this page. */
uint64_t space_front(const struct store *s);
uint64_t space_front_of(const struct store *s, uint64_t limit);

/* Memory in use, and memory taken from the system. */
uint64_t space_bytes_used(const struct store *s);
uint64_t space_bytes_taken(const struct store *s);

#endif
