/* SPDX-License-Identifier: MIT */
/*
 * Committed changes in the order in which they were made.
 *
 * What a record of transaction n names (the version it made or deleted), the record itself, and the chunk that it is in
 * stay as they are while horizon < n; see history.c. So a reader who has read all up to state r needs horizon <= r for
 * what comes next, just as one who reads the state r: the same sight tells both, and a pin on r holds both. When the
 * horizon h has passed r, what is certain is that r + 1 to h may have been overwritten: they are missed, and h + 1
 * comes next.
 *
 * Which records there are: those before history_tail, read after `committed` and so not before those of the last
 * commit, whose transaction is not greater. Behind the tail may stand records of a transaction that was rolled back,
 * with the number of one that has been committed since; so the tail, and a record's number, have to be known exactly.
 *
 * Where to begin: head_chunk, one word, leads to a chunk that tells its number itself. By the time that we look there
 * it may be something else, even with horizon <= r: chunks are given back as soon as all of their records are behind
 * the horizon. But then head_chunk has changed, and it cannot have changed back: for that the chunk would have had to
 * be filled again with records of transactions after r, and be worked off to its first one, which is behind the horizon
 * then. From the first record that is not behind r on, horizon <= r is enough.
 *
 * Nothing is given out before it is known to be true: all is copied first, a transaction as a whole.
 */
#include "feed.h"
#include "bag.h"
#include "history.h"

#define FILL_ENOUGH (32u << 10) /* bytes: what is copied at once, unless a transaction has more */
#define FILL_SLICE  (64u << 10) /* after so much is looked whether it is still worth going on */
#define MOST_LAPSES 8           /* times that the writer overtakes us before what has been missed is told */

/* In the copy: this, the key, the value. */
struct entry {
    uint64_t txn, value_len;
    uint32_t key_len;
    uint16_t kind; /* enum heir_changed */
    uint16_t last; /* of its transaction */
};

void feed_begin(struct feed *f, uint64_t state)
{
    *f = (struct feed){.read = state, .told = state};
}

void feed_end(struct feed *f)
{
    free(f->copied.allocated);
    f->copied = (struct batch){0};
}

/* ---- Copying ---------------------------------------------------------------------------------------------- */

static int copy_change(struct feed *f, const struct entry *entry, const void *key, const void *value)
{
    return batch_append(&f->copied, entry, sizeof *entry, key, entry->key_len, value, entry->value_len);
}

static int copy_version(const struct store *s, struct feed *f, struct entry entry, uint64_t offset)
{
    const struct version *v = version_whole(s, offset);
    if (v == NULL || (entry.kind == HEIR_CHANGE_PUT ? version_made(v) : version_ended(v)) != entry.txn)
        return -EUCLEAN;
    uint64_t key_len = version_key_len(v);
    const uint8_t *key = v->data, *value = version_value(v, key_len);
    entry.value_len = version_value_len(v);
    /* both were read anew: a writer may be at work there */
    if (at(s, offset, version_bytes(key_len, entry.value_len)) == NULL || (bag(s) && key_len < BAG_EXTRA))
        return -EUCLEAN;
    entry.key_len = (uint32_t)(bag(s) ? key_len - BAG_EXTRA : key_len);
    return copy_change(f, &entry, bag(s) ? key + BAG_LENGTH : key, value);
}

static int copy_record(const struct store *s, struct feed *f, const struct record *record)
{
    uint64_t gone = record->gone & ~(uint64_t)KIND_MASK;
    struct entry entry = {.txn = record->txn};

    switch (record->gone & KIND_MASK) {
    case GONE_BLOCK:
        if (record->made == 0)
            return 0; /* housekeeping */
        entry.kind = HEIR_CHANGE_PUT;
        return copy_version(s, f, entry, record->made);
    case GONE_DELETED:
        entry.kind = HEIR_CHANGE_DELETED;
        return copy_version(s, f, entry, gone);
    case GONE_INDEX:
        entry.kind = HEIR_CHANGE_CLEARED;
        return copy_change(f, &entry, "", "");
    default:
        return -EUCLEAN;
    }
}

/* The entry at `from`, if there is one, is the last of its transaction. */
static void mark_last(struct feed *f, size_t from)
{
    struct entry entry;
    if (from == f->copied.used)
        return;
    memcpy(&entry, f->copied.data + from, sizeof entry);
    entry.last = 1;
    memcpy(f->copied.data + from, &entry, sizeof entry);
}

/* ---- The history ------------------------------------------------------------------------------------------ */

static const struct chunk *chunk_numbered(const struct store *s, uint64_t offset, uint64_t number)
{
    const struct chunk *chunk = at(s, offset, sizeof *chunk);
    return chunk != NULL && get(&chunk->number) == number ? chunk : NULL;
}

static struct record record_of(const struct chunk *chunk, uint64_t number)
{
    struct record record;
    racy_copy(&record, &chunk->records[number % CHUNK_RECORDS], sizeof record);
    return record;
}

/* The chunk behind this one. NULL: damaged, or caught while changing. */
static const struct chunk *step(const struct store *s, struct feed *f, const struct chunk *chunk)
{
    f->chunk = get(&chunk->next);
    f->number++;
    f->record = f->number * CHUNK_RECORDS;
    return chunk_numbered(s, f->chunk, f->number);
}

/* The chunk with the first record behind f->read, or the last chunk of all; `head` is the first one. */
static const struct chunk *look_for(const struct store *s, struct feed *f, uint64_t head, uint64_t tail)
{
    const struct chunk *chunk = at(s, head, sizeof *chunk);

    if (chunk == NULL)
        return NULL;
    f->chunk = head;
    f->number = get(&chunk->number);
    if (f->number > tail / CHUNK_RECORDS || tail / CHUNK_RECORDS - f->number > s->bytes / PAGE_BYTES)
        return NULL; /* and so it ends: each step is to the next number */
    f->record = f->number * CHUNK_RECORDS;
    while ((f->number + 1) * CHUNK_RECORDS < tail) {
        struct feed next = *f;
        const struct chunk *behind = step(s, &next, chunk);
        if (behind == NULL)
            return NULL;
        if (record_of(behind, next.record).txn > f->read)
            break;
        chunk = behind;
        *f = next;
    }
    return chunk;
}

/* Copy the changes after f->read that state `snap` knows. *gone: a look in between found that it was in vain. */
static int collect(const struct store *s, struct feed *f, struct sight *sight, uint64_t head, bool *gone)
{
    uint64_t committed = get(&view_of(s)->committed), tail = get(&ledger_of(s)->history_tail), before = f->read,
             txn = 0;
    size_t last = f->copied.used, looked = f->copied.used; /* the newest entry */
    const struct chunk *chunk = f->chunk == 0 ? look_for(s, f, head, tail) : chunk_numbered(s, f->chunk, f->number);
    int r;

    if (committed < before) /* both only grow */
        return -EUCLEAN;
    while (chunk != NULL && f->record < tail) {
        if (f->record == (f->number + 1) * CHUNK_RECORDS && (chunk = step(s, f, chunk)) == NULL)
            break;
        struct record record = record_of(chunk, f->record);
        if (record.txn > committed)
            break;
        if (record.txn < txn)
            return -EUCLEAN;
        if (record.txn > before) {
            if (record.txn != txn) {
                mark_last(f, last);
                last = f->copied.used;
                if (f->copied.used > FILL_ENOUGH) {
                    f->read = record.txn - 1;
                    return 0;
                }
            }
            size_t used = f->copied.used;
            if ((r = copy_record(s, f, &record)) < 0)
                return r;
            if (f->copied.used != used)
                last = used;
            if (f->copied.used - looked > FILL_SLICE) {
                looked = f->copied.used;
                *gone = sight_check(s, sight) != SIGHT_TRUE;
                if (*gone)
                    return 0;
            }
        }
        txn = record.txn;
        f->record++;
    }
    if (chunk == NULL)
        return -EUCLEAN;
    mark_last(f, last);
    f->read = committed;
    return 0;
}

/* collect() once, and whether it is true. Else nothing has happened. */
static enum sight_end collect_once(const struct store *s, struct feed *f, int *r)
{
    struct feed before = *f;
    struct sight sight = {.snap = f->read};
    bool gone = false;

    sight_refresh(s, &sight);
    uint64_t head = get(&ledger_of(s)->head_chunk);
    *r = collect(s, f, &sight, head, &gone);
    enum sight_end end = sight_check(s, &sight);
    if (end == SIGHT_TRUE && before.chunk == 0 && peek(&ledger_of(s)->head_chunk) != head)
        end = SIGHT_AGAIN;
    if (end != SIGHT_TRUE || *r < 0) {
        size_t used = before.copied.used;
        before.copied = f->copied; /* the memory stays */
        before.copied.used = used;
        *f = before;
    }
    return end;
}

int feed_fill(const struct store *s, struct feed *f)
{
    int r;

    f->copied.used = f->given = 0;
    for (unsigned lapses = 0; lapses < MOST_LAPSES && get(&view_of(s)->committed) > f->read;) {
        switch (collect_once(s, f, &r)) {
        case SIGHT_TRUE:
            return r;
        case SIGHT_AGAIN:
            break;
        case SIGHT_GONE:
            if (sight_gone(s) == -EUCLEAN)
                return -EUCLEAN;
            if (f->missed == 0)
                f->missed = f->read + 1;
            f->missed_last = f->read = get(&view_of(s)->horizon);
            f->chunk = 0;
            lapses++;
        }
    }
    return 0;
}

/* ---- Giving out ------------------------------------------------------------------------------------------- */

static int give_missed(struct feed *f, heir_visit_change *visit, void *arg)
{
    struct heir_change change = {
        .txn = f->missed, .missed_last = f->missed_last, .kind = HEIR_CHANGE_MISSED, .last = 1};
    f->missed = 0;
    f->told = f->missed_last;
    return visit(&change, arg);
}

int feed_give(struct feed *f, uint64_t up_to, heir_visit_change *visit, void *arg)
{
    uint64_t next = f->missed;
    int r = 0;

    if (next != 0 && next <= up_to)
        r = give_missed(f, visit, arg);
    while (r == 0 && f->missed == 0 && f->given < f->copied.used) {
        struct entry entry;
        memcpy(&entry, f->copied.data + f->given, sizeof entry);
        if ((next = entry.txn) > up_to)
            break;
        const uint8_t *key = f->copied.data + f->given + sizeof entry;
        struct heir_change change = {.txn = entry.txn,
                                     .kind = (enum heir_changed)entry.kind,
                                     .last = entry.last,
                                     .key = key,
                                     .key_len = entry.key_len,
                                     .value = key + entry.key_len,
                                     .value_len = entry.value_len};
        f->given += sizeof entry + entry.key_len + entry.value_len;
        if (entry.last)
            f->told = entry.txn;
        r = visit(&change, arg);
    }
    if (r == 0) {
        uint64_t all = feed_empty(f) ? f->read : next - 1;
        f->told = all < up_to ? all : up_to > f->told ? up_to : f->told;
    }
    return r;
}
