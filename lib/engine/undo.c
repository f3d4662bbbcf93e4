/* SPDX-License-Identifier: MIT */
/* The undo log; see undo.h. */
#include "undo.h"
#include "probe.h"
#include "shm.h"
#include <sys/mman.h>

#define LOG_KEEP (64 * PAGE_BYTES) /* or a 64th of the table */

void undo_begin(struct store *s)
{
    struct ledger *l = ledger_of(s);

    struct view *v = view_of(s);

    s->txn = peek(&v->committed) + 1;
    s->log_count = 0;
    s->log_at = log_end(s);
    s->next = NULL;
    set(&v->objects[s->txn & 1], peek(&v->objects[(s->txn - 1) & 1]));
    /* the old log ends before the new one begins: log_txn is of a committed or undone transaction here */
    set(&l->log_count, 0);
    set(&l->changes, 0);
    set(&l->log_txn, s->txn);
}

int undo_grow(struct store *s, uint64_t n)
{
    struct ledger *l = ledger_of(s);
    uint64_t need = sizeof(struct log_entry) * (s->log_count + n), floor = get(&l->log_floor);
    uint64_t heap = get(&l->frontier) * PAGE_BYTES; /* what is beyond it is free, be it backed or not */
    uint64_t least = (s->bytes - need) / PAGE_BYTES * PAGE_BYTES, have = s->bytes - floor;

    if (heap < s->heap_first * PAGE_BYTES || heap > s->bytes || floor > s->bytes)
        return -EUCLEAN;
    if (need > s->bytes - heap || least < heap)
        return -ENOSPC;
    /* half as much again, so that a long transaction does not come here for each page; or just what is needed */
    uint64_t more = have / 2 / PAGE_BYTES * PAGE_BYTES, to = least >= heap + more ? least - more : least;
    int r = shm_populate(s->base + to, floor - to);
    if (r == -ENOSPC && to != least)
        r = shm_populate(s->base + (to = least), floor - least);
    if (r < 0)
        return r;
    set(&l->log_floor, to);
    s->log_grown = true;
    return 0;
}

bool undo_names(const struct store *s, uint64_t offset)
{
    const uint64_t view = offsetof(struct table_page, view);
    const uint64_t ledger = offsetof(struct table_page, ledger) + offsetof(struct ledger, frontier);
    const uint64_t ledger_end = offsetof(struct table_page, ledger) + sizeof(struct ledger);

    if (offset % 8 != 0)
        return false;
    if (offset < PAGE_BYTES)
        return (offset >= ledger && offset < ledger_end) || offset == view + offsetof(struct view, directory) ||
               offset == view + offsetof(struct view, cleared);
    if (offset < s->heap_first * PAGE_BYTES) /* the descriptor of a page that is backed */
        return s->heap_first + (offset - PAGE_BYTES) / sizeof(struct page_desc) < readable(s) / PAGE_BYTES;
    return at(s, offset, sizeof(word_t)) != NULL;
}

int undo_back_to(struct store *s, uint64_t keep)
{
    struct ledger *l = ledger_of(s);
    struct view *v = view_of(s);
    uint64_t count = get(&l->log_count), floor = get(&l->log_floor);

    if (floor > s->bytes || count > (s->bytes - floor) / sizeof(struct log_entry))
        return -EUCLEAN;
    /* log_count is about to pass through values that it has had: a check that looks twice must see that it moved */
    set(&v->rollbacks, peek(&v->rollbacks) + 1);
    while (count > keep) {
        struct log_entry *entry = log_end(s) - count;
        uint64_t offset = entry->offset;
        if (!undo_names(s, offset))
            return -EUCLEAN;
        /* visible to others now: */
        set((word_t *)(void *)(s->base + offset), entry->old);
        set(&l->log_count, --count);
    }
    s->log_count = count;
    s->log_at = log_end(s) - count;
    s->next = NULL;
    /* Readers may still stand on blocks that are free again: they notice by this, before the blocks are used anew. */
    set(&v->rollbacks, peek(&v->rollbacks) + 1);
    atomic_thread_fence(memory_order_seq_cst);
    return 0;
}

int undo_all(struct store *s, uint64_t *changes)
{
    struct ledger *l = ledger_of(s);

    if (changes != NULL)
        *changes = 0;
    s->txn = 0;
    s->log_count = 0;
    if (get(&l->log_txn) != get(&view_of(s)->committed) + 1) {
        undo_trim(s); /* the one before us may have come no further */
        return 0;
    }
    int r = undo_back_to(s, 0);
    if (r < 0)
        return r;
    if (changes != NULL) {
        /* noted before the log ends, so that a crash here counts them again and not twice */
        *changes = get(&l->changes);
        set(&l->undone, *changes);
        set(&l->undone_epoch, get(&page_of(s)->owner) >> OWNER_ID_BITS);
    }
    uint64_t txn = get(&l->log_txn);
    set(&l->log_txn, 0);
    probe_rollback(page_of(s)->head.id, txn, get(&l->changes), changes != NULL);
    undo_trim(s); /* the heap may have its end back where the log has come down to */
    return 0;
}

void undo_trim(struct store *s)
{
    struct ledger *l = ledger_of(s);
    uint64_t floor = peek(&l->log_floor), to = s->bytes - PAGE_BYTES;

    s->log_grown = false;
    if (likely(s->bytes - floor <= PAGE_BYTES ||
               s->bytes - floor <= (s->bytes / 64 < LOG_KEEP ? s->bytes / 64 : LOG_KEEP)))
        return;
    /* the floor first: a crash in between leaves memory that is backed and not known to be, which does no harm */
    set(&l->log_floor, to);
    /* what is below the limit stays backed: readers may be there; and so does what the keeper has backed ahead */
    uint64_t heap = s->heap_first * PAGE_BYTES, limit = readable(s) > heap ? readable(s) : heap;
    uint64_t from = limit > floor ? limit : floor, ahead = ahead_end(get(&page_of(s)->ahead)) * PAGE_BYTES;
    if (from < ahead)
        from = ahead;
    if (from < to)
        madvise(s->base + from, to - from, MADV_REMOVE);
}
