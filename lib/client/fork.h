/* SPDX-License-Identifier: MIT */
/*
 * The life of a handle: it is of use in the process that made it, until something ends it. One comparison a call tells.
 *
 * Each life has a word of its own with a number that no other has. The words are on pages that the kernel wipes in a
 * forked child (MADV_WIPEONFORK), so a parent's handles are dead there, for every way of forking; and a signal handler
 * can end a life with one store.
 */
#ifndef HEIR_FORK_H
#define HEIR_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LIFE_ENDED (UINT64_C(1) << 63)

struct life {
    _Atomic uint64_t *word;
    uint64_t number;
};

/* -ENOMEM. */
int life_begin(struct life *life);
void life_free(struct life *life); /* its word may become another's; nothing in a child */

static inline bool life_lasts(struct life life)
{
    return atomic_load_explicit(life.word, memory_order_relaxed) == life.number;
}

/* From a signal handler. */
static inline void life_end(struct life life)
{
    atomic_store_explicit(life.word, life.number | LIFE_ENDED, memory_order_relaxed);
}

/* Ended in this process: what it held is still here. */
static inline bool life_ended(struct life life)
{
    return atomic_load_explicit(life.word, memory_order_relaxed) == (life.number | LIFE_ENDED);
}

#endif
