/* SPDX-License-Identifier: MIT */
/* One look at a whole table; see pass.h. Here: K6, the history, and what waits in it. */
#include "index.h"
#include "pass.h"
#include <stdlib.h>

static void note_clearing(struct pass *c, uint64_t clearing)
{
    if (c->clearing_count == c->clearing_room) {
        size_t room = c->clearing_room * 2 + 16;
        uint64_t *list = realloc(c->clearings, room * sizeof *list);
        if (list == NULL) {
            c->found.no_memory = true;
            return;
        }
        c->clearings = list;
        c->clearing_room = room;
    }
    c->clearings[c->clearing_count++] = clearing;
}

static void check_record(struct pass *c, const struct record *record, uint64_t number, uint64_t swept)
{
    uint64_t gone = record->gone & ~UINT64_C(7);
    const struct clearing *clearing;

    switch (record->gone & 7) {
    case GONE_BLOCK:
        if (gone != 0)
            pass_hold_all(c, gone, PART_SUPERSEDED, 0);
        return;
    case GONE_DELETED: /* its slot still leads to it, or a newer version's record to free it follows */
        return;
    case GONE_INDEX:
        clearing = pass_hold_all(c, record->made, PART_METADATA, sizeof *clearing);
        if (clearing == NULL)
            return;
        note_clearing(c, record->made);
        pass_cleared(c, get(&clearing->directory), swept);
        return;
    default:
        wrong(c, 6, "a record is of no kind", number, record->gone);
    }
}

/* The clearings that readers find are those of the history, newest first. */
static void check_clearings(struct pass *c)
{
    uint64_t offset = pass_word(c, &view_of(c->s)->cleared);
    for (size_t i = c->clearing_count; i-- > 0;) {
        if (offset != c->clearings[i]) {
            wrong(c, 4, "the chain of cleared indexes is not as in the history", c->clearings[i], offset);
            return;
        }
        offset = pass_word(c, &((const struct clearing *)pass_at(c, offset))->prev);
    }
    if (offset != 0)
        wrong(c, 4, "the chain of cleared indexes is not as in the history", 0, offset);
}

void pass_history(struct pass *c)
{
    const struct ledger *l = ledger_of(c->s);

    pass_follow(c);
    uint64_t head = pass_word(c, &l->history_head), tail = pass_word(c, &l->history_tail), txn = 0;
    uint64_t offset = pass_word(c, &l->head_chunk), swept = pass_word(c, &l->sweep);

    if (head > tail) {
        wrong(c, 6, "the history's head is beyond its tail", head, tail);
        return;
    }
    const struct chunk *chunk = pass_hold_all(c, offset, PART_METADATA, sizeof *chunk);
    for (uint64_t i = head; i != tail && chunk != NULL; i++) {
        if (i % CHUNK_RECORDS == 0 && i != 0) {
            offset = get(&chunk->next);
            if ((chunk = pass_hold_all(c, offset, PART_METADATA, sizeof *chunk)) == NULL)
                break;
        }
        if ((i == head || i % CHUNK_RECORDS == 0) && get(&chunk->number) != i / CHUNK_RECORDS)
            wrong(c, 6, "a part of the history has another number", offset, get(&chunk->number));
        struct record record;
        racy_copy(&record, &chunk->records[i % CHUNK_RECORDS], sizeof record);
        if (record.txn < txn || record.txn > c->past.committed)
            wrong(c, 6, "a record is out of order", i, record.txn);
        txn = record.txn;
        check_record(c, &record, i, i == head ? swept : 0);
    }
    if (chunk == NULL || offset != pass_word(c, &l->tail_chunk))
        wrong(c, 6, "the history does not end in its last chunk", offset, pass_word(c, &l->tail_chunk));
    else
        check_clearings(c);
}
