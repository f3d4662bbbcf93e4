/* SPDX-License-Identifier: MIT */
/*
 * Who owns a table: the owner word, the records of how it came to that, and the sets of tables that clients own.
 *
 * O1 The owner word says who owns the table and in which epoch. One store of it is the transfer; everything else can be
 * derived. O2 owner(T) = X implies T in owned(X): the table is put into the receiver's set before, and taken out of the
 * giver's after. O3 The record of an epoch is whole before the owner word names the epoch. O4 The owner word changes
 * only under the writer mutex.
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

/* Roll back what a dead writer left unfinished. `whole` maps all of the table; the mutex is the one locked. On an error
 * it is unlocked, unusable for ever. -EUCLEAN. */
APART int writer_repair(struct table_page *locked, struct store *whole);

void writer_unlock(struct table_page *page);

/* The keeper only tries the mutex, and where many write it would never find it free: so it says that it wants it, and
 * says so again, and a writer that sees this waits some milliseconds before it locks. */
void writer_wanted(struct table_page *page, bool wanted);
APART void writer_make_way(struct table_page *page);

/* Begin the next epoch, with client `to` or the keeper. The caller holds the writer mutex and does what O2 asks for. */
void owner_switch(struct table_page *page, uint64_t to, enum heir_reason reason, const void *data, size_t data_len);

/* The record of this epoch, copied; false when a later one has taken its place. */
bool transfer_read(const struct table_page *page, uint64_t epoch, struct transfer *record);

/* Name, heir and heir data as of now, copied; and set anew (under the writer mutex). */
void settings_read(const struct table_page *page, struct settings *settings);
void settings_write(struct table_page *page, const struct settings *settings);

/* Owned sets. owned_add: the entry's number; -ENOSPC. */
int64_t owned_add(struct client_page *page, uint64_t table, uint64_t epoch);
void owned_remove(struct client_page *page, uint64_t entry, uint64_t table);

#endif
