/* SPDX-License-Identifier: MIT */
/* A table's words as of its last commit; see past.h. */
#include "past.h"
#include "shm.h"
#include "undo.h"
#include "version.h"
#include <stdlib.h>

#define PLACES_LEAST 64u
#define FOLLOW_TRIES 64

void past_begin(struct past *p, const struct store *s)
{
    *p = (struct past){.s = s, .there = s->bytes};
}

void past_end(struct past *p)
{
    free(p->entries);
    p->entries = NULL;
    p->count = 0;
}

static struct log_entry *place_of(const struct past *p, uint64_t key)
{
    uint64_t i = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & p->mask;
    while (p->entries[i].offset != 0 && p->entries[i].offset != key)
        i = (i + 1) & p->mask;
    return &p->entries[i];
}

uint64_t past_old(const struct past *p, const word_t *word)
{
    const struct log_entry *entry = place_of(p, offset_of(p->s, word) + 1);
    return entry->offset != 0 ? entry->old : get(word);
}

static int damaged(struct past *p, const char *what, uint64_t where, uint64_t mark)
{
    p->wrong = (struct finding){what, where, mark, 1};
    return -EUCLEAN;
}

/* An empty table with room for so many. */
static int make_room(struct past *p, uint64_t count)
{
    uint64_t places = PLACES_LEAST;
    while (places < count * 2)
        places *= 2;
    p->count = 0;
    if (p->entries != NULL && p->mask >= places - 1) {
        memset(p->entries, 0, (p->mask + 1) * sizeof *p->entries);
        return 0;
    }
    free(p->entries);
    p->entries = calloc(places, sizeof *p->entries);
    p->mask = places - 1;
    return p->entries != NULL ? 0 : -ENOMEM;
}

/* Add what the log has beyond the first p->count entries. */
static int read_log(struct past *p, uint64_t count)
{
    const struct store *s = p->s;
    uint64_t floor = get(&ledger_of(s)->log_floor);
    int r;

    if (floor > s->bytes || count > (s->bytes - floor) / sizeof(struct log_entry))
        return damaged(p, "the undo log is longer than its memory", count, 0);
    uint64_t from = (s->bytes - count * sizeof(struct log_entry)) / PAGE_BYTES * PAGE_BYTES;
    if (from < p->there && !shm_reaches(s->base + from, p->there - from))
        return damaged(p, "the file is shorter than it says", s->bytes, 0);
    p->there = from < p->there ? from : p->there;
    if ((p->count == 0 || count * 2 > p->mask + 1) && (r = make_room(p, count)) < 0)
        return r;
    for (; p->count < count; p->count++) {
        struct log_entry entry;
        racy_copy(&entry, s->base + s->bytes - (p->count + 1) * sizeof entry, sizeof entry);
        if (!undo_names(s, entry.offset))
            return damaged(p, "the undo log leads out of the table", p->count, entry.offset);
        struct log_entry *place = place_of(p, entry.offset + 1);
        if (place->offset == 0) /* the first of a word has its value before the transaction */
            *place = (struct log_entry){entry.offset + 1, entry.old};
    }
    return 0;
}

int past_follow(struct past *p)
{
    const struct view *v = view_of(p->s);
    const struct ledger *l = ledger_of(p->s);
    int r = 0;

    for (int tries = 0; tries < FOLLOW_TRIES; tries++) {
        uint64_t rollbacks = get(&v->rollbacks), committed = get(&v->committed), txn = get(&l->log_txn);
        uint64_t log_count = get(&l->log_count), count = txn == committed + 1 ? log_count : 0;

        if (rollbacks != p->rollbacks || committed != p->committed || txn != p->txn)
            p->count = 0;
        p->rollbacks = rollbacks;
        p->committed = committed;
        p->txn = txn;
        p->log_count = log_count;
        /* fewer than before: they are being rolled back, and those that have been are the same in both */
        r = count > p->count ? read_log(p, count) : 0;
        atomic_thread_fence(memory_order_acquire);
        if (r == -ENOMEM ||
            (peek(&v->rollbacks) == rollbacks && peek(&v->committed) == committed && peek(&l->log_txn) == txn))
            break;
        p->count = 0; /* what has been read may be of two logs */
        r = damaged(p, "the undo log does not stand still", committed, 0);
    }
    if (r < 0)
        p->count = 0;
    return r;
}
