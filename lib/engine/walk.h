/* SPDX-License-Identifier: MIT */
/*
 * Walking over objects of one state: they are copied out of the table, a segment or a few leaves at a time, and visited
 * from the copy.
 */
#ifndef HEIR_WALK_H
#define HEIR_WALK_H

#include "read.h"
#include "tree.h"

/* Which objects. All zero: all. */
struct walk_what {
    struct range range; /* with an ordered index */
    const void *key;    /* of this key alone; then range is not looked at */
    size_t key_len;
    bool after;     /* without the key range.from itself */
    bool first;     /* the first object alone */
    uint64_t *lost; /* not NULL: pass over what is damaged, and how often that was */
};

/* Of a key, or of the first alone, -ENOENT when there is none.
 *
 * Walk the state `snap`, which the caller holds by a pin; or in its own thread the open transaction's (s->txn): nobody
 * else changes the table then, and the horizon does not pass it. -ESTALE when the state is gone after all, -ENOMEM. */
int walk_pinned(const struct store *s, uint64_t snap, const struct walk_what *what, heir_visit *visit, void *arg);

/* Walk the last committed state with nobody to hold it: all is copied before the first visit. *copied: that was done,
 * and the result is what visit returned. -ENOMEM; -EAGAIN: it was gone each time before all was copied; -EFBIG: it is
 * more than so many bytes. */
int walk_copy(const struct store *s, const struct walk_what *what, unsigned tries, size_t most, bool *copied,
              heir_visit *visit, void *arg);

#endif
