/* SPDX-License-Identifier: MIT */
/*
 * Reading without a lock: of one committed state, from a read-only mapping, storing nothing.
 *
 * R1 What is returned is of one committed state, not older than the last commit before the call.
 * R2 A reader never waits for a writer, whatever has become of it.
 * R3 A reader never follows an offset to memory that is not there, whatever it finds.
 */
#ifndef HEIR_READ_H
#define HEIR_READ_H

#include "version.h"
#include <stdbool.h>

/* The state being looked at, and how to tell that looking went wrong. */
struct sight {
    uint64_t snap;
    uint64_t rollbacks;
};

/* The last committed state. */
struct sight sight_now(const struct store *s);

/* Try again on the same state. */
void sight_refresh(const struct store *s, struct sight *sight);

/* Is what was read since sight_now() or sight_refresh() true? SIGHT_AGAIN: a rollback came in between, the state can
 * still be read; SIGHT_GONE: it cannot. */
enum sight_end { SIGHT_TRUE, SIGHT_AGAIN, SIGHT_GONE };
enum sight_end sight_check(const struct store *s, const struct sight *sight);

/* What SIGHT_GONE means: -ESTALE; or -EUCLEAN, when no state can be read. */
int sight_gone(const struct store *s);

/* Copy a value out. value_len as in heir_get(). -ENOENT, -ENOBUFS, -EUCLEAN. */
int read_get(const struct store *s, const void *key, size_t key_len, void *value, size_t *value_len);

/* The commonest read: an object of a set, ordered or not, by a key of 8 bytes, that has been there since the last
 * commit and is where it is looked for first; in so few steps that a processor begins with the next read while it waits
 * for the memory of this one. false: it may be another case, and nothing is known. *value_len must be the room, and is
 * the length then.
 */
bool read_quick(const struct store *s, uint64_t key, void *value, size_t *value_len);

/* Say to a store that has just been mapped where that may look. `plain`: it may be looked for any key of 8 bytes. */
static inline void read_quick_set(struct store *s, bool plain)
{
    const uint64_t from = plain ? s->heap_first * PAGE_BYTES : QUICK_NEVER;
    const uint32_t type = page_of(s)->type;

    s->quick_from = type == HEIR_SET ? from : QUICK_NEVER;
    s->quick_tree_from = type == HEIR_ORDERED_SET ? from : QUICK_NEVER;
}

/* The same of state `snap`: one that a pin holds, or in its own thread the open transaction (s->txn). -ESTALE. */
int read_get_at(const struct store *s, uint64_t snap, const void *key, size_t key_len, void *value, size_t *value_len);

/* Where the value is, instead of a copy. -ENOENT, -EUCLEAN, -ESTALE. */
int read_view_at(const struct store *s, uint64_t snap, const void *key, size_t key_len, const void **value,
                 size_t *value_len);

/* Between sights: the version of a key that state `snap` knows. -ENOENT; -EUCLEAN means damage only if the sight holds.
 */
int read_find(const struct store *s, uint64_t snap, const void *key, size_t key_len, struct version **version);

#endif
