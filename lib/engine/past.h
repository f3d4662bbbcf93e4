/* SPDX-License-Identifier: MIT */
/*
 * The words of a table as they were at its last commit, and will be after rolling back: the undo log, read without a
 * lock, as a hash table {word, oldest old value}. A table whose owner died in a transaction, or stands still in one, is
 * seen through it as its next owner will find it; in one that goes on, a word is as of the last commit that
 * past_follow() has seen, or has been changed since.
 */
#ifndef HEIR_PAST_H
#define HEIR_PAST_H

#include "finding.h"
#include "store.h"

struct past {
    const struct store *s;
    uint64_t committed, rollbacks, txn, log_count; /* when we looked */
    uint64_t count;            /* entries of the log that are in the table; 0: nothing is to be rolled back */
    struct log_entry *entries; /* of a word's offset + 1; 0: a free place. Open addressing */
    uint64_t mask;             /* places - 1; a power of two of places */
    uint64_t there;            /* the log's memory is there from this offset on */
    struct finding wrong;      /* what is, when following the log was -EUCLEAN */
};

void past_begin(struct past *p, const struct store *s);
void past_end(struct past *p);

/* Look at the log again. -EUCLEAN: it is damaged, or changes too fast; -ENOMEM. Then words are seen as they are. */
int past_follow(struct past *p);

uint64_t past_old(const struct past *p, const word_t *word);

static inline uint64_t past_word(const struct past *p, const word_t *word)
{
    return likely(p->count == 0) ? get(word) : past_old(p, word);
}

/* Has no word been changed since the last past_follow()? Else some may have been seen as they were before a change, and
 * others as they are after it. */
static inline bool past_still(const struct past *p)
{
    const struct ledger *l = ledger_of(p->s);
    atomic_thread_fence(memory_order_acquire);
    return get(&l->log_count) == p->log_count && get(&l->log_txn) == p->txn &&
           get(&view_of(p->s)->committed) == p->committed && get(&view_of(p->s)->rollbacks) == p->rollbacks;
}

#endif
