/* SPDX-License-Identifier: MIT */
/*
 * The history: recent changes in commit order, and the taking back of what no reader needs any longer.
 */
#ifndef HEIR_HISTORY_H
#define HEIR_HISTORY_H

#include "space.h"

enum record_kind {
    GONE_BLOCK = 0,   /* a superseded version, segment, directory, chunk: its block can be freed */
    GONE_DELETED = 1, /* a version that was deleted: its slot can be cleared */
    GONE_INDEX = 2    /* an index with all that hangs on it: `made` is its struct clearing */
};
#define KIND_MASK 7u

int history_format(struct store *s);

/* Note a change of the open transaction. -ENOSPC. */
int history_append(struct store *s, uint64_t made, uint64_t gone, enum record_kind kind);

/* A block that was put by, else a fresh one. -ENOSPC, -EUCLEAN. */
int history_spare(struct store *s, enum spare which, uint64_t *offset);

/* Queue a block that was read while taking back; or free it, in history_collect(). -ENOSPC, -EUCLEAN. */
int history_let_go(struct store *s, uint64_t block);

/* Is there more to be taken back than the history that is kept? */
bool history_waiting(const struct store *s);

/* Is a cleared index being taken apart? */
bool history_sweeping(const struct store *s);

/* In a transaction of its own: take back as much as the log has room for; false: there is nothing, or it is pinned. */
bool history_collect(struct store *s, bool by_force);

/* At the beginning of an operation: have room for its records; take back a little of what is older than the history
 * kept. Deleting must work in a full table, so that it does without a reserve when there is none. -ENOSPC, -EUCLEAN. */
int history_step(struct store *s, bool deleting);

/* A block for a new version: the oldest one that is no longer needed when it has the size, which spares freeing it;
 * else as history_alloc(). */
int history_reuse(struct store *s, uint64_t bytes, uint64_t *offset);

/* space_alloc(), or space_alloc_alone(), which takes back all that can be taken back before it says -ENOSPC. Must not
 * be called between finding a slot and storing into it: what is taken back may be that slot. */
APART int history_alloc(struct store *s, uint64_t bytes, bool alone, uint64_t *offset);

#endif
