/* SPDX-License-Identifier: MIT */
/*
 * The owned set of a client: which tables it may own. The format is told in layout.h.
 *
 * Several may enter tables at once (givers, the keeper) without a common lock: an entry is one word, and is taken by
 * compare and swap. The page is the client's to damage; whatever stands in it is checked.
 */
#ifndef HEIR_OWNED_H
#define HEIR_OWNED_H

#include "layout.h"

static inline uint64_t owned_word(uint64_t table, uint64_t epoch)
{
    return table << OWNED_EPOCH_BITS | (epoch & ((UINT64_C(1) << OWNED_EPOCH_BITS) - 1));
}

static inline uint64_t owned_table(uint64_t word)
{
    return word >> OWNED_EPOCH_BITS;
}

/* How far the entry's epoch is ahead of this one; negative: behind. */
static inline int64_t owned_ahead(uint64_t word, uint64_t epoch)
{
    unsigned unused = 64 - OWNED_EPOCH_BITS;
    return (int64_t)((word << unused) - (epoch << unused)) / ((int64_t)1 << unused);
}

/* Entries that may be looked at. */
uint64_t owned_entries(const struct client_page *page);

/* Enter a table that is to be the client's from this epoch on: the entry's number; -ENOSPC, -EUCLEAN. Killed inside:
 * nothing, or an entry too many. */
int64_t owned_add(struct client_page *page, uint64_t table, uint64_t epoch);

/* Take a table out. hint: the entry's number + 1, 0: unknown. */
void owned_remove(struct client_page *page, uint64_t table, uint64_t hint);

/* Take out what the entry names, if it still is that. */
void owned_remove_entry(struct client_page *page, uint64_t entry, uint64_t word);

#endif
