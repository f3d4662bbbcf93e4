/* SPDX-License-Identifier: MIT */
/*
 * The undo log: what makes a transaction all or nothing.
 *
 * Every word of shared metadata is changed through log_set(), which first notes {offset, old value} at the end of the
 * file. The log belongs to transaction log_txn and counts only while log_txn == committed + 1: the store that commits a
 * transaction also ends its log. Rolling back writes the old values back, newest first; killed inside, it is done
 * again.
 */
#ifndef HEIR_UNDO_H
#define HEIR_UNDO_H

#include "store.h"

/* Pages at the end of the file that the heap leaves to the log, so that even in a full table a transaction can take
 * back what it needs: a 32nd, 2 pages at least, 1 MiB at most. */
static inline uint64_t undo_pages(const struct store *s)
{
    uint64_t pages = s->bytes / PAGE_BYTES / 32;
    return pages < 2 ? 2 : pages < 256 ? pages : 256;
}

/* First page that the heap may not use now. */
static inline uint64_t undo_first_page(const struct store *s)
{
    uint64_t floor = peek(&ledger_of(s)->log_floor) / PAGE_BYTES, top = s->bytes / PAGE_BYTES - undo_pages(s);
    return floor < top ? floor : top;
}

/* Begin transaction committed + 1. */
void undo_begin(struct store *s);

/* Make room for n more entries; -ENOSPC. */
APART int undo_grow(struct store *s, uint64_t n);

static inline int undo_reserve(struct store *s, uint64_t n)
{
    uint64_t need = sizeof(struct log_entry) * (s->log_count + n);
    if (likely(need <= PAGE_BYTES)) /* the last page is the log's, whatever the table says */
        return 0;
    /* after a rollback the heap may reach into what was backed for the log */
    uint64_t floor = peek(&ledger_of(s)->log_floor), heap = peek(&ledger_of(s)->frontier) * PAGE_BYTES;
    if (likely(need <= s->bytes - s->heap_first * PAGE_BYTES && s->bytes - need >= (floor > heap ? floor : heap)))
        return 0;
    return undo_grow(s, n);
}

/* Entries that the log may grow to, as the heap is now. */
static inline uint64_t undo_most(const struct store *s)
{
    uint64_t heap = peek(&ledger_of(s)->frontier) * PAGE_BYTES;
    return heap < s->bytes ? (s->bytes - heap) / sizeof(struct log_entry) : 0;
}

/* Entries stand before it, the first one nearest. */
static inline struct log_entry *log_end(const struct store *s)
{
    return (struct log_entry *)(void *)(s->base + s->bytes);
}

/* Change a word of shared metadata. Room must have been reserved. */
static inline void log_set(struct store *s, word_t *word, uint64_t value)
{
    struct log_entry *entry = --s->log_at;
    entry->offset = (uint64_t)((uint8_t *)word - s->base);
    entry->old = peek(word);
    /* from here on a crash undoes the word */
    set(&ledger_of(s)->log_count, ++s->log_count);
    /* visible to others now: */
    set(word, value);
}

/* Can this be the offset of a word that is logged? What an entry names is written to when it is taken back. */
bool undo_names(const struct store *s, uint64_t offset);

/* Take back all entries from number `keep` on; for readers this counts as a rollback. -EUCLEAN. */
APART int undo_back_to(struct store *s, uint64_t keep);

/* Take back a transaction that did not commit, if there is one; *changes (may be NULL): how many changes it had made.
 * May be called by any process that holds the writer mutex, and again after a crash inside. -EUCLEAN. */
APART int undo_all(struct store *s, uint64_t *changes);

/* After a commit: give the memory of a very long log back. */
void undo_trim(struct store *s);

#endif
