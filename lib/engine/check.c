/* SPDX-License-Identifier: MIT */
/* Is a table whole? See check.h. Blocks in use are collected from all that refers to them, and compared with what space
 * says. */
#include "check.h"
#include "index.h"
#include <stdlib.h>

#define WRONG_MOST 100 /* then the rest would only be more of the same */

struct check {
    const struct store *s;
    check_report *report;
    void *arg;
    int wrong;
    bool no_memory;
    uint64_t *used; /* offsets of blocks */
    size_t count, room;
};

static void wrong(struct check *c, unsigned law, const char *what, uint64_t where)
{
    if (c->report != NULL && c->wrong < WRONG_MOST)
        c->report(law, what, where, c->arg);
    c->wrong++;
}

static void use(struct check *c, uint64_t offset)
{
    if (c->count == c->room) {
        size_t room = c->room * 2 + 1024;
        uint64_t *used = realloc(c->used, room * sizeof *used);
        if (used == NULL) {
            c->no_memory = true;
            return;
        }
        c->used = used;
        c->room = room;
    }
    c->used[c->count++] = offset;
}

/* ---- K4, K5: the index -------------------------------------------------------------------------------- */

static void check_slot(struct check *c, uint64_t slot, uint64_t where, bool current, uint64_t *living)
{
    uint64_t offset = slot_version(slot);
    struct version *v = version_whole(c->s, offset);
    struct spot spot;

    if (offset == 0)
        return;
    use(c, offset);
    if (!current) /* in a cleared index: it may have been freed and overwritten, before a rollback made it wait here
                     again */
        return;
    if (v == NULL) {
        wrong(c, 5, "a slot leads to no version", where);
        return;
    }
    uint64_t key_len = version_key_len(v);
    if (index_hash(c->s, v->data, key_len) != slot_hash(slot))
        wrong(c, 5, "a slot's hash is not its key's", where);
    if (version_made(v) > get(&view_of(c->s)->committed) || version_ended(v) > get(&view_of(c->s)->committed))
        wrong(c, 5, "a version is of a transaction that was never committed", offset);
    if (index_find(c->s, slot_hash(slot), v->data, key_len, &spot) < 0 || spot.version != v)
        wrong(c, 5, "a version is not found by its key", offset);
    *living += version_ended(v) == 0;
}

/* A directory and all that hangs on it, from slot number `from` on. */
static void check_index(struct check *c, uint64_t directory, uint64_t from, bool current, uint64_t *living)
{
    uint64_t word;

    use(c, index_offset(directory));
    for (uint64_t entry = 0;; entry++) {
        int r = index_word(c->s, directory, entry, &word);
        if (r == INDEX_END)
            return;
        if (r < 0) {
            wrong(c, 4, "the directory is damaged", index_offset(directory));
            return;
        }
        uint64_t first = entry & ((UINT64_C(1) << index_depth(word)) - 1), same;
        if (first != entry) {
            if (index_word(c->s, directory, first, &same) != 0 || same != word)
                wrong(c, 4, "two entries should lead to the same segment", entry);
            continue;
        }
        const word_t *slots = at(c->s, index_offset(word), PAGE_BYTES);
        if (slots == NULL) {
            wrong(c, 4, "an entry leads to no segment", entry);
            continue;
        }
        if ((entry + 1) * INDEX_SEGMENT_SLOTS > from)
            use(c, index_offset(word));
        for (uint64_t i = 0; i < INDEX_SEGMENT_SLOTS; i++) {
            if (entry * INDEX_SEGMENT_SLOTS + i >= from)
                check_slot(c, get(&slots[i]), index_offset(word) + 8 * i, current, living);
        }
    }
}

/* ---- K6: the history ---------------------------------------------------------------------------------- */

static void check_history(struct check *c)
{
    const struct ledger *l = ledger_of(c->s);
    uint64_t head = get(&l->history_head), tail = get(&l->history_tail), offset = get(&l->head_chunk), txn = 0,
             ignored = 0;

    for (int i = 0; i < SPARES; i++) {
        if (get(&l->spare[i]) != 0)
            use(c, get(&l->spare[i]));
    }
    if (get(&l->limbo) != 0)
        use(c, get(&l->limbo));
    if (head > tail) {
        wrong(c, 6, "the history's head is beyond its tail", head);
        return;
    }
    for (uint64_t i = head;; i++) {
        const struct chunk *chunk = at(c->s, offset, sizeof *chunk);
        if (chunk == NULL) {
            wrong(c, 6, "the history leads to no chunk", offset);
            return;
        }
        if (i == head)
            use(c, offset);
        if (i == tail)
            break;
        if (i % CHUNK_RECORDS == 0 && i != 0) {
            offset = get(&chunk->next);
            if ((chunk = at(c->s, offset, sizeof *chunk)) == NULL) {
                wrong(c, 6, "the history leads to no chunk", offset);
                return;
            }
            use(c, offset);
        }
        const struct record *record = &chunk->records[i % CHUNK_RECORDS];
        if (record->txn < txn || record->txn > get(&view_of(c->s)->committed))
            wrong(c, 6, "a record is out of order", i);
        txn = record->txn;
        uint64_t gone = record->gone & ~UINT64_C(7), kind = record->gone & 7;
        if (kind == GONE_BLOCK && gone != 0) {
            use(c, gone);
        } else if (kind == GONE_INDEX) {
            const struct clearing *clearing = at(c->s, record->made, sizeof *clearing);
            if (clearing == NULL) {
                wrong(c, 6, "a record leads to no clearing", i);
                continue;
            }
            use(c, record->made);
            check_index(c, clearing->directory, i == head ? get(&l->sweep) : 0, false, &ignored);
        } else if (kind > GONE_INDEX) {
            wrong(c, 6, "a record is of no kind", i);
        }
    }
    if (offset != get(&l->tail_chunk))
        wrong(c, 6, "the history does not end in its last chunk", offset);
}

/* ---- All ---------------------------------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* K3, one block that space has in use. */
static void allocated(uint64_t offset, void *arg)
{
    struct check *c = arg;
    uint64_t *found = c->count == 0 ? NULL : bsearch(&offset, c->used, c->count, sizeof *c->used, by_offset);
    if (found == NULL)
        wrong(c, 3, "a block is lost", offset);
}

static void space_wrong(const char *what, uint64_t where, void *arg)
{
    wrong(arg, 2, what, where);
}

int check_store(const struct store *s, check_report *report, void *arg)
{
    struct check c = {.s = s, .report = report, .arg = arg};
    const struct view *v = view_of(s);
    const struct ledger *l = ledger_of(s);
    uint64_t living = 0;

    if (page_of(s)->max_bytes != s->bytes || get(&v->horizon) > get(&v->committed) ||
        get(&l->next_horizon) > get(&v->committed) || get(&l->frontier) > get(&v->limit) ||
        get(&l->frontier) * PAGE_BYTES > get(&l->log_floor) || get(&v->limit) * PAGE_BYTES > s->bytes ||
        get(&l->log_floor) >= s->bytes) {
        wrong(&c, 1, "the header's numbers do not agree", 0);
        return c.wrong;
    }
    check_index(&c, get(&v->directory), 0, true, &living);
    if (living != objects_committed(s))
        wrong(&c, 5, "objects does not count the living", objects_committed(s));
    check_history(&c);
    qsort(c.used, c.count, sizeof *c.used, by_offset);
    for (size_t i = 1; i < c.count; i++) {
        if (c.used[i] == c.used[i - 1])
            wrong(&c, 3, "a block is in use twice", c.used[i]);
    }
    uint64_t blocks = space_visit(s, allocated, space_wrong, &c);
    if (blocks < c.count)
        wrong(&c, 3, "blocks are in use that are free", c.count - blocks);
    free(c.used);
    return c.no_memory ? -ENOMEM : c.wrong;
}
