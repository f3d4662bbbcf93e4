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

/* Look a key up, as the writer: its newest version, deleted ones included. -EUCLEAN. */
int change_find(const struct store *s, const void *key, size_t key_len, struct spot *spot);

static inline bool living(const struct spot *spot)
{
    return spot->slot != NULL && version_ended(spot->version) == 0;
}

/* Is this the value of a version? */
bool version_has_value(const struct store *s, const struct version *v, const void *value, size_t value_len);

/* A new version, which nobody sees yet, its value still to be written; *spot is where it belongs. `alone`: in pages of
 * its own. Room in the log for version_publish() is reserved. -ENOSPC, -EUCLEAN. */
int version_new(struct store *s, const void *key, size_t key_len, size_t value_len, bool alone, struct spot *spot,
                struct version **version);

/* Make it the newest of its key. -ENOSPC, -EUCLEAN. */
int version_publish(struct store *s, const struct spot *spot, struct version *v, size_t value_len);

/* Delete the object with this living version. -ENOSPC, -EUCLEAN. */
int version_end(struct store *s, struct version *v);

/* All objects are gone: `more` is minus their number. */
void change_count(struct store *s, int64_t more);

#endif
