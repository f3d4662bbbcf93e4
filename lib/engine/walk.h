/* SPDX-License-Identifier: MIT */
/*
 * Walking over all objects of one state: the objects are copied out of the table a segment at a time, and visited from
 * the copy.
 */
#ifndef HEIR_WALK_H
#define HEIR_WALK_H

#include "read.h"

/* Walk the state `snap`, which the caller holds by a pin. -ESTALE when it is gone after all. */
int walk_pinned(const struct store *s, uint64_t snap, heir_visit *visit, void *arg);

/* Walk the open transaction's state, in its own thread. */
int walk_own(const struct store *s, heir_visit *visit, void *arg);

/* Walk the last committed state with nobody to hold it: all is copied before the first visit. *copied: that was done,
 * and the result is what visit returned. -ENOMEM; -EAGAIN: it was gone each time before all was copied. */
int walk_copy(const struct store *s, unsigned tries, bool *copied, heir_visit *visit, void *arg);

#endif
