/* SPDX-License-Identifier: MIT */
/* One look at a whole table; see pass.h. Here: K6, the history, and what waits in it. */
#include "index.h"
#include "pass.h"
#include <stdlib.h>

#define MOMENT_TRIES 50 /* to see the history's ends together */

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
        if (clearing == NULL) {
            c->found.partial = true;
            return;
        }
        note_clearing(c, record->made);
        pass_cleared(c, get(&clearing->directory), swept);
        return;
    default:
        wrong(c, 6, "a record is of no kind", number, record->gone);
    }
}

/* The clearings that readers find are those of the history, newest first. */
static void check_clearings(struct pass *c, uint64_t offset)
{
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

/* Hold a chunk. One that has been put by, and held as that, is in use meanwhile: its number tells; and as no two have
 * the same one, a circle ends. */
static const struct chunk *hold_chunk(struct pass *c, uint64_t offset, uint64_t number)
{
    const struct chunk *chunk = pass_hold_all(c, offset, PART_METADATA, sizeof *chunk);
    if (chunk != NULL || space_block(c->s, &c->look, offset) < sizeof *chunk)
        return chunk;
    chunk = (const struct chunk *)pass_at(c, offset);
    return get(&chunk->number) == number ? chunk : NULL;
}

void pass_history(struct pass *c)
{
    const struct ledger *l = ledger_of(c->s);
    uint64_t head, tail, head_chunk, tail_chunk, swept, cleared, txn = 0;

    /* all of one moment */
    for (unsigned tries = 0; tries < MOMENT_TRIES; tries++) {
        pass_follow(c);
        head = pass_word(c, &l->history_head);
        tail = pass_word(c, &l->history_tail);
        head_chunk = pass_word(c, &l->head_chunk);
        tail_chunk = pass_word(c, &l->tail_chunk);
        swept = pass_word(c, &l->sweep);
        cleared = pass_word(c, &view_of(c->s)->cleared);
        if (past_still(&c->past))
            break;
    }
    if (head > tail) {
        wrong(c, 6, "the history's head is beyond its tail", head, tail);
        c->found.partial = true;
        return;
    }
    uint64_t offset = head_chunk;
    const struct chunk *chunk = hold_chunk(c, offset, (head != 0 ? head - 1 : 0) / CHUNK_RECORDS);
    for (uint64_t i = head; i != tail && chunk != NULL; i++) {
        if (i % CHUNK_RECORDS == 0 && i != 0) {
            offset = get(&chunk->next);
            if ((chunk = hold_chunk(c, offset, i / CHUNK_RECORDS)) == NULL)
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
    if (chunk == NULL || offset != tail_chunk) { /* or the way has been used anew while we were on it */
        wrong(c, 6, "the history does not end in its last chunk", offset, tail_chunk);
        c->found.partial = true;
    } else {
        check_clearings(c, cleared);
    }
}
