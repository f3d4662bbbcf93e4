/* SPDX-License-Identifier: MIT */
/*
 * Who owns a table: the owner word, the records of how it came to that, and how it passes from one to the next.
 *
 * W1 The owner word says who owns the table and in which epoch. One store of it is the transfer; all else can be
 * derived. W2 owner(T) = X implies T in owned(X): the table is put into the receiver's set before, and taken out of the
 * giver's after, under the same lock. W3 The record of an epoch is whole before the owner word names the epoch, but for
 * how an owner died, which owner_explain() may tell afterwards. W4 The owner word changes only under the writer mutex.
 * W5 Who ends is marked `dead` before its set is read; who passes a table to it looks at that mark after the transfer.
 *
 * The same steps serve a client that gives and the keeper, which differ in whom they act for. tests/model has them as a
 * model of all interleavings.
 */
#ifndef HEIR_OWNER_H
#define HEIR_OWNER_H

#include "store.h"

#define OWNER_ID_MAX ((UINT64_C(1) << OWNER_ID_BITS) - 1)
#define EPOCH_MAX    ((UINT64_C(1) << (64 - OWNER_ID_BITS)) - 1)

static inline uint64_t owner_word(uint64_t epoch, uint64_t id)
{
    return epoch << OWNER_ID_BITS | id;
}

static inline uint64_t owner_id(uint64_t word)
{
    return word & OWNER_ID_MAX;
}

static inline uint64_t owner_epoch(uint64_t word)
{
    return word >> OWNER_ID_BITS;
}

/* Lock the writer mutex of a mapped table. 0; -EOWNERDEAD: held, and writer_repair() must follow; -EBUSY (try);
 * -EUCLEAN. */
int writer_lock(struct table_page *page, bool try_only);

/* The same, waiting until this time (CLOCK_MONOTONIC, ns) at most: -EBUSY. */
int writer_lock_until(struct table_page *page, uint64_t deadline_ns);

/* Roll back what a dead writer left unfinished. `whole` maps all of the table; the mutex is the one locked. On an error
 * it is unlocked, unusable for ever. -EUCLEAN. */
APART int writer_repair(struct table_page *locked, struct store *whole);

void writer_unlock(struct table_page *page);

/* The keeper only tries the mutex, and where many write it would never find it free: so it says that it wants it, and
 * says so again, and a writer that sees this waits some milliseconds before it locks. */
void writer_wanted(struct table_page *page, bool wanted);
APART void writer_make_way(struct table_page *page);

/* One between whom a table passes: a client, its page, and the descriptor of its bell (-1: none); or the keeper, whose
 * page is NULL. */
struct party {
    uint64_t id;
    struct client_page *page;
    int bell;
    bool later; /* it is roused when the mutex has been let go: only its bell is counted up */
};

struct passing {
    enum heir_reason reason;
    const void *data;
    size_t data_len;
    enum heir_cause cause; /* how the owner ended that is dead; CAUSE_PENDING: owner_explain() follows */
    int code;
};

/*
 * Pass a table from its owner to another. The writer mutex is held, and the table is at its last commit. 0: with the
 * receiver, in the next epoch. -ESRCH: it was dead, or died in the middle; the giver owns the table, and when its epoch
 * is not the one before, it has been taken back. -ENOSPC, -EUCLEAN: nothing done.
 */
int owner_pass(struct table_page *page, const struct party *from, const struct party *to, const struct passing *how);

/* What that writes first is in other cores' caches: fetch it all at once. A hint, without the mutex. */
void owner_pass_soon(const struct table_page *page, const struct party *to);

/* The first owner of a table that nobody knows of yet. */
int owner_first(struct table_page *page, const struct party *owner);

/* The record of this epoch, copied; false when a later one has taken its place. */
bool transfer_read(const struct table_page *page, uint64_t epoch, struct transfer *record);

/* How the owner had ended, as a record tells. */
enum heir_cause transfer_cause(const struct transfer *record, int *code);

/* Tell how the owner ended in the records that leave it open. The keeper's to do, for one death at a time. */
void owner_explain(struct table_page *page, enum heir_cause cause, int code);

/* Name, heir and heir data as of now, copied; and set anew (under the writer mutex). */
void settings_read(const struct table_page *page, struct settings *settings);
void settings_name(const struct table_page *page, char name[NAME_ROOM]); /* this alone */
void settings_write(struct table_page *page, const struct settings *settings);

#endif
