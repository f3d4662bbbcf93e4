/* SPDX-License-Identifier: MIT */
/*
 * The writer's operations on objects, inside a transaction. The caller holds the writer mutex and has checked that it
 * may write.
 *
 * G1 Each operation makes its change whole or, when it returns an error, not at all; the transaction goes on.
 * G2 Nothing of a transaction is visible to others before objects_commit(), and all of it after; a process killed at
 * any instruction leaves one or the other once undo_all() has run. G3 What a reader of a state not older than the
 * horizon needs is not overwritten.
 */
#ifndef HEIR_OBJECTS_H
#define HEIR_OBJECTS_H

#include "store.h"
#include <stdbool.h>

/* Fill in a fresh, zeroed table whose first page is backed, as one transaction. -ENOSPC. */
int objects_format(struct store *s);

void objects_begin(struct store *s);
void objects_commit(struct store *s);
int objects_abort(struct store *s);

/* Outside of a transaction, when one could not have space: take back all that can be, in transactions of its own. true:
 * it may be worth while to try again. */
APART bool objects_collect(struct store *s);

/* Before a transaction of several changes: it cannot take back much by itself, for its log must be able to undo that.
 * So where the heap or the log cannot grow, do it now. */
void objects_make_room(struct store *s);

/* Each as the function of heir.h whose name it bears. */
int objects_put(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len, bool only_new);
int objects_put_many(struct store *s, const struct heir_object *objects, size_t count, bool only_new);
int objects_cas(struct store *s, const void *key, size_t key_len, const void *expected, size_t expected_len,
                const void *value, size_t value_len);
int objects_del(struct store *s, const void *key, size_t key_len);
int objects_del_object(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len);
int objects_take(struct store *s, const void *key, size_t key_len, void *value, size_t *value_len);
int objects_clear(struct store *s);

/* limit NULL: -ERANGE on overflow. */
struct add_limit {
    int64_t limit, wrap;
};
int objects_add(struct store *s, const void *key, size_t key_len, int64_t delta, const struct add_limit *limit,
                int64_t *result);

/* *offset: of the value, which the caller may write to until the transaction ends. */
int objects_edit(struct store *s, const void *key, size_t key_len, size_t value_len, uint64_t *offset);

#endif
