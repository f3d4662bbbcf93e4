/* SPDX-License-Identifier: MIT */
/*
 * The feed: committed changes, transaction by transaction, out of the history and without a lock. See feed.c.
 */
#ifndef HEIR_FEED_H
#define HEIR_FEED_H

#include "batch.h"
#include "read.h"

/* Where a reader of the history stands, and what it has copied and not given out yet. */
struct feed {
    uint64_t read;        /* all changes up to this transaction have been copied, or are known to be missed */
    uint64_t chunk;       /* offset of the one that holds the next record or the one before it; 0: to be looked for */
    uint64_t number;      /* of the chunk */
    uint64_t record;      /* the next one */
    uint64_t missed;      /* the first transaction since `told` that went before it could be read; 0: none has */
    uint64_t missed_last; /* and the last one */
    uint64_t told;        /* the last transaction of which all has been given out */
    struct batch copied;
    size_t given; /* bytes of it */
};

/* Begin behind state `state`: with the transaction after it. */
void feed_begin(struct feed *f, uint64_t state);
void feed_end(struct feed *f);

/* Copy what has been committed, in whole transactions: until there is no more, or so much that it should be given out.
 * For when all that was copied is given out. -ENOMEM, and -EUCLEAN; in both cases nothing is skipped. */
int feed_fill(const struct store *s, struct feed *f);

/* Give out what has been missed, and then what is copied, up to transaction `up_to`. What visit returned; 0: all of it.
 */
int feed_give(struct feed *f, uint64_t up_to, heir_visit_change *visit, void *arg);

/* Has all been given out that was copied? */
static inline bool feed_empty(const struct feed *f)
{
    return f->missed == 0 && f->given == f->copied.used;
}

#endif
