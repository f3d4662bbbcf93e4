/* SPDX-License-Identifier: MIT */
/*
 * One change of the open transaction: the steps that every operation is made of.
 *
 * An operation begins with change_mark(), prepares, makes its changes, and on an error returns change_fail(), which
 * takes back what it has done.
 */
#ifndef HEIR_CHANGE_H
#define HEIR_CHANGE_H

#include "index.h"

/* Where the open transaction stands. */
struct mark {
    uint64_t log_count, objects, changes;
};

static inline struct mark change_mark(const struct store *s)
{
    return (struct mark){s->log_count, peek(&view_of(s)->objects[s->txn & 1]), peek(&ledger_of(s)->changes)};
}

/* As if nothing had been done since the mark. Returns the error, or -EUCLEAN. */
APART int change_fail(struct store *s, const struct mark *mark, int error);

/* Have room in the log for one change, and let go of a little of the past. Moves nothing that is living. -ENOSPC,
 * -EUCLEAN. */
int change_prepare(struct store *s, bool deleting);

#define EXPECT_MOST 64u /* bytes of a key: hashing a longer one twice is not worth it */

/*
 * This key is about to be looked up. In a large table a put waits for memory twice, for the key's group in the index
 * and for its version, whose place the group tells; little else takes time. The processor looks some 300 instructions
 * ahead of what it waits for. So the group is asked for at the very beginning of an operation, before the writer mutex
 * is held, and little is left to be done after the version has been looked at: then the group of the next put comes
 * while the version of this one is waited for, and a put takes one wait instead of two. Before adding instructions to
 * either end, measure.
 */
static inline void change_expect(const struct store *s, const void *key, size_t key_len)
{
    if (likely(key_len - 1 < EXPECT_MOST) && !ordered(s))
        index_prefetch(s, index_hash(s, key, key_len));
}

/* Look a key up, as the writer: its newest version, deleted ones included. -EUCLEAN. */
int change_find(const struct store *s, const void *key, size_t key_len, struct spot *spot);

static inline bool living(const struct spot *spot)
{
    return spot->slot != NULL && version_ended(spot->version) == 0;
}

/* Is this the value of a version? */
bool version_has_value(const struct store *s, const struct version *v, const void *value, size_t value_len);

/* A new version, which nobody sees yet; *spot is where it belongs. value NULL: it is still to be written. `alone`: in
 * pages of its own. Room in the log for version_publish() is reserved. -ENOSPC, -EUCLEAN. */
int version_new(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len, bool alone,
                struct spot *spot, struct version **version);

/* Make it the newest of its key. -ENOSPC, -EUCLEAN. */
int version_publish(struct store *s, const struct spot *spot, struct version *v, size_t value_len);

/* Delete the object with this living version. -ENOSPC, -EUCLEAN. */
int version_end(struct store *s, struct version *v);

/* All objects are gone: `more` is minus their number. */
void change_count(struct store *s, int64_t more);

#endif
