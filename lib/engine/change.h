/* SPDX-License-Identifier: MIT */
/*
 * One change of the open transaction: the steps that every operation is made of.
 *
 * An operation notes s->log_count, prepares, makes its changes, and on an error returns change_fail(), which takes back
 * what it has done.
 */
#ifndef HEIR_CHANGE_H
#define HEIR_CHANGE_H

#include "index.h"

/* As if the operation that began at `mark` had not begun. Returns the error, or -EUCLEAN. */
int change_fail(struct store *s, uint64_t mark, int error);

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

/* A new version, which nobody sees yet, its value still to be written; *spot is where it belongs. suffix: 8 bytes of
 * the key after the others, NULL: none. -ENOSPC, -EUCLEAN. */
int version_new(struct store *s, const void *key, size_t key_len, const void *suffix, size_t value_len,
                struct spot *spot, struct version **version);

/* Make it the newest of its key. -ENOSPC, -EUCLEAN. */
int version_publish(struct store *s, const struct spot *spot, struct version *v, size_t value_len);

/* Delete the object with this living version. -ENOSPC, -EUCLEAN. */
int version_end(struct store *s, struct version *v);

/* All objects are gone: `more` is minus their number. */
void change_count(struct store *s, int64_t more);

#endif
