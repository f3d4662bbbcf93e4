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

/* Give a block back. -EUCLEAN when it is none, or free. */
int space_free(struct store *s, uint64_t offset);

/* Are so few pages free that the past, and what is pinned of it, must give way? */
bool space_low(const struct store *s);

/* Is this block in use, and of the size that space_alloc() would choose for `bytes`? */
bool space_fits(const struct store *s, uint64_t offset, uint64_t bytes);

/* Check all descriptors; `block` is called for each block in use. Returns how many there are. */
uint64_t space_visit(const struct store *s, void (*block)(uint64_t offset, void *arg),
                     void (*bad)(const char *what, uint64_t where, void *arg), void *arg);

/* Memory in use, and memory taken from the system. */
uint64_t space_bytes_used(const struct store *s);
uint64_t space_bytes_taken(const struct store *s);

#endif
