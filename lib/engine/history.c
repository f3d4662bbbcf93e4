/* SPDX-License-Identifier: MIT */
/*
 * The history: a queue of records {transaction, version made, block gone}, in chunks of one page.
 *
 * What a transaction supersedes is not freed: readers who look at an earlier state may stand on it. It is noted here,
 * and freed after `horizon` was raised to that transaction: whoever reads an older state finds out when he looks at the
 * horizon after reading (read.c), and throws away what he read. The newest HISTORY_KEEP records are kept although
 * nobody may need them, so that the horizon stays behind and readers rarely have to read again.
 *
 * Deleted objects take two rounds: when the deletion is behind the horizon the slot is cleared, and the version goes
 * through the queue a second time, since a reader of the newest state may have come to it through the slot.
 *
 * Taking back is a part of the transaction of the next change, so it is undone with it. Hence a rule: memory that
 * taking back itself *reads* (chunks, swept segments and directories, keys of deleted versions) goes through the queue
 * again instead of being freed, because memory freed in a transaction may be overwritten by the same transaction, and
 * could not be read once more after a rollback. Memory that is only freed may. The queue takes memory itself, a page
 * for CHUNK_RECORDS blocks, and a full table has none: what hangs on a large index that was cleared would never come
 * back. So a transaction that does nothing but take back frees what it has read, and from then on takes no memory.
 *
 * Pins (see owner.h): the keeper stores the oldest pinned state in pin_floor, then looks at next_horizon; we store
 * next_horizon, then look at pin_floor (both sequentially consistent: Dekker). So either the keeper sees that the state
 * is about to go and pins a newer one, or we see the pin.
 */
#include "history.h"
#include "tree.h"

#define HISTORY_KEEP 128u
#define KEEP_LEAST   8u
#define STEP_RECORDS 3  /* taken back by one operation: more than it adds */
#define LOW_RECORDS  8  /* the same, when space is low */
#define SWEEP_SLOTS  64 /* slots looked at in one step of a sweep */

static struct chunk *chunk_at(const struct store *s, uint64_t offset)
{
    return likely(offset % PAGE_BYTES == 0) ? at(s, offset, sizeof(struct chunk)) : NULL;
}

int history_format(struct store *s)
{
    uint64_t chunk;
    int r = space_alloc(s, PAGE_BYTES, &chunk);
    if (r < 0)
        return r;
    set(&chunk_at(s, chunk)->number, 0);
    log_set(s, &ledger_of(s)->head_chunk, chunk);
    log_set(s, &ledger_of(s)->tail_chunk, chunk);
    return 0;
}

/* A tree puts a leaf by, so that it can sort one anew in a full table, and needs nothing when it is empty. 0: none. */
static uint64_t spare_bytes_of(const struct store *s, enum spare which)
{
    static const uint64_t of_set[SPARES] = {PAGE_BYTES, PAGE_BYTES, INDEX_DIRECTORY_MIN, sizeof(struct clearing)};
    static const uint64_t of_tree[SPARES] = {PAGE_BYTES, sizeof(struct leaf), 0, sizeof(struct clearing)};
    return ordered(s) ? of_tree[which] : of_set[which];
}

int history_spare(struct store *s, enum spare which, uint64_t *offset)
{
    word_t *spare = &ledger_of(s)->spare[which];
    *offset = peek(spare);
    if (*offset == 0)
        return s->let_go ? -ENOSPC : space_alloc(s, spare_bytes_of(s, which), offset);
    log_set(s, spare, 0);
    return 0;
}

/* The chunk after a full one. */
static APART int next_chunk(struct store *s, struct chunk **chunk)
{
    struct ledger *l = ledger_of(s);
    uint64_t next = peek(&l->limbo);
    int r = 0;

    if (next != 0 && peek(&l->limbo_txn) < s->txn)
        log_set(s, &l->limbo, 0);
    else
        r = history_spare(s, SPARE_CHUNK, &next);
    if (r < 0)
        return r;
    struct chunk *fresh = chunk_at(s, next);
    if (fresh == NULL)
        return -EUCLEAN;
    set(&fresh->number, peek(&l->history_tail) / CHUNK_RECORDS);
    /* not logged: nobody follows the link of the last chunk */
    set(&(*chunk)->next, next);
    log_set(s, &l->tail_chunk, next);
    *chunk = fresh;
    return 0;
}

/* Where the next record goes; NULL: that takes more than a look. */
static struct record *next_record(const struct store *s)
{
    uint64_t tail = peek(&ledger_of(s)->history_tail) % CHUNK_RECORDS;
    struct chunk *chunk = chunk_at(s, peek(&ledger_of(s)->tail_chunk));
    return likely(tail != 0 && chunk != NULL) ? &chunk->records[tail] : NULL;
}

/* The same, in a new chunk if need be. */
static APART int make_next(struct store *s)
{
    uint64_t tail = peek(&ledger_of(s)->history_tail);
    struct chunk *chunk = chunk_at(s, peek(&ledger_of(s)->tail_chunk));
    int r;

    if (chunk == NULL)
        return -EUCLEAN;
    if (tail % CHUNK_RECORDS == 0 && tail != 0 && (r = next_chunk(s, &chunk)) < 0)
        return r;
    s->next = &chunk->records[tail % CHUNK_RECORDS];
    return 0;
}

static int append(struct store *s, uint64_t made, uint64_t gone)
{
    word_t *tail = &ledger_of(s)->history_tail;
    int r;

    if (unlikely(s->next == NULL) && (r = make_next(s)) < 0)
        return r;
    struct record *record = s->next;
    s->next = (uintptr_t)(record + 1) % PAGE_BYTES != 0 ? record + 1 : NULL; /* a chunk ends with its page */
    *record = (struct record){s->txn, made, gone};
    log_set(s, tail, peek(tail) + 1);
    return 0;
}

int history_append(struct store *s, uint64_t made, uint64_t gone, enum record_kind kind)
{
    return append(s, made, gone | kind);
}

/* ---- Taking back -------------------------------------------------------------------------------------- */

/* The oldest record, and the chunk it is in. NULL: there is none, or it is damaged (*chunk is 0 then). */
static struct record *oldest(const struct store *s, uint64_t *chunk)
{
    struct ledger *l = ledger_of(s);
    uint64_t head = peek(&l->history_head), count = peek(&l->history_tail) - head;

    *chunk = peek(&l->head_chunk);
    if (count == 0)
        return NULL;
    /* more than there is room for: its chunks may lead in a circle */
    struct chunk *c = count <= s->bytes / PAGE_BYTES * CHUNK_RECORDS ? chunk_at(s, *chunk) : NULL;
    if (c != NULL && head % CHUNK_RECORDS == 0 && head != 0) {
        *chunk = peek(&c->next);
        c = chunk_at(s, *chunk);
    }
    if (c == NULL) {
        *chunk = 0;
        return NULL;
    }
    return &c->records[head % CHUNK_RECORDS];
}

/* Raise the horizon to `to`, unless a pin holds it; `by_force`: then the pin is broken, and its reader finds that out.
 */
static bool raise_horizon(struct store *s, uint64_t to, bool by_force)
{
    struct view *v = view_of(s);
    struct ledger *l = ledger_of(s);
    uint64_t horizon = peek(&v->horizon);

    if (to <= horizon)
        return true;
    atomic_store_explicit(&l->next_horizon, to, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t pin = atomic_load_explicit(&page_of(s)->pin_floor, memory_order_seq_cst);
    if (pin >= horizon && pin != 0 && pin < to && !by_force) /* one before the horizon is broken already */
        to = pin;
    set(&l->next_horizon, to);
    if (to == horizon)
        return false;
    /* visible to others now: */
    set(&v->horizon, to);
    /* before anything that it lets go is overwritten; pairs with the fence in read_valid() */
    atomic_thread_fence(memory_order_seq_cst);
    return true;
}

int history_let_go(struct store *s, uint64_t block)
{
    if (!s->collecting)
        return append(s, 0, block);
    s->let_go = true;
    return space_free(s, block);
}

/* Does the next block that is let go need a chunk that has not been put by? */
static bool needs_chunk(const struct store *s)
{
    const struct ledger *l = ledger_of(s);
    uint64_t tail = peek(&l->history_tail);
    return !s->collecting && tail % CHUNK_RECORDS == 0 && tail != 0 && peek(&l->spare[SPARE_CHUNK]) == 0;
}

static int swept(struct store *s, uint64_t clearing)
{
    int r;
    log_set(s, &ledger_of(s)->sweep, 0);
    if ((r = index_forget(s, clearing)) < 0 || (r = history_let_go(s, clearing)) < 0)
        return r;
    return 1;
}

static int sweep_tree(struct store *s, const struct clearing *c)
{
    word_t *at_word = &ledger_of(s)->sweep;
    uint64_t cursor = peek(at_word), directory = peek(&c->directory);
    int r = tree_sweep(s, directory, &cursor, SWEEP_SLOTS);

    if (r == INDEX_END && (r = undo_reserve(s, 2 * SPACE_LOG)) == 0)
        return swept(s, offset_of(s, c));
    if (r == 0)
        log_set(s, at_word, cursor);
    return r;
}

/* Work off a part of a cleared index; a slot's older versions have been in earlier records. 1: done. */
static int sweep(struct store *s, uint64_t clearing)
{
    word_t *at_word = &ledger_of(s)->sweep;
    struct clearing *c = at(s, clearing, sizeof *c);
    uint64_t cursor = peek(at_word), word;
    int r;

    if (c == NULL)
        return -EUCLEAN;
    if (ordered(s))
        return sweep_tree(s, c);
    for (int budget = SWEEP_SLOTS; budget > 0;) {
        uint64_t entry = cursor / INDEX_SEGMENT_SLOTS, slot = cursor % INDEX_SEGMENT_SLOTS;
        r = undo_reserve(s, 4 * SPACE_LOG);
        if (r == -ENOSPC && cursor != peek(at_word))
            break; /* as far as the log reaches; the rest in another transaction */
        if (r < 0 || (r = index_word(s, c->directory, entry, &word)) < 0)
            return r;
        if (r == INDEX_END) {
            r = history_let_go(s, index_offset(c->directory));
            return r < 0 ? r : swept(s, clearing);
        }
        if (entry >> index_depth(word) != 0) { /* its segment has been swept at an earlier entry */
            cursor += INDEX_SEGMENT_SLOTS - slot;
            budget--;
            continue;
        }
        word_t *slots = at(s, index_offset(word), PAGE_BYTES);
        if (slots == NULL)
            return -EUCLEAN;
        for (; slot < INDEX_SEGMENT_SLOTS && budget > 0; slot++, cursor++, budget--) {
            /* a record is due after the last slot: if that needs a chunk, what is free by then may be one */
            bool pause = slot == INDEX_SEGMENT_SLOTS - 1 && needs_chunk(s);
            uint64_t version = slot_version(peek(&slots[slot]));
            r = version != 0 ? undo_reserve(s, 3 * SPACE_LOG) : 0;
            if ((r == -ENOSPC || pause) && cursor != peek(at_word)) {
                log_set(s, at_word, cursor);
                return 0;
            }
            if (version == 0)
                continue;
            if (r < 0 || (r = space_free(s, version)) < 0)
                return r;
        }
        if (slot == INDEX_SEGMENT_SLOTS && (r = history_let_go(s, index_offset(word))) < 0)
            return r;
    }
    log_set(s, at_word, cursor);
    return 0;
}

/* A chunk has been worked off. It may be used again, but not by this transaction: rolling back must find it whole. */
static int leave_chunk(struct store *s, uint64_t chunk)
{
    struct ledger *l = ledger_of(s);
    uint64_t limbo = peek(&l->limbo);

    if (limbo != 0 && peek(&l->limbo_txn) == s->txn)
        return append(s, 0, chunk);
    log_set(s, &l->limbo, chunk);
    log_set(s, &l->limbo_txn, s->txn);
    return limbo != 0 ? space_free(s, limbo) : 0;
}

static int work_off(struct store *s, const struct record *record)
{
    uint64_t gone = record->gone & ~(uint64_t)KIND_MASK;
    int r;

    switch (record->gone & KIND_MASK) {
    case GONE_BLOCK:
        r = gone != 0 ? space_free(s, gone) : 0;
        return r < 0 ? r : 1;
    case GONE_DELETED:
        r = ordered(s) ? tree_drop(s, gone) : index_drop(s, gone);
        if (r > 0)
            r = append(s, 0, gone);
        return r < 0 ? r : 1;
    case GONE_INDEX:
        return sweep(s, record->made);
    default:
        return -EUCLEAN;
    }
}

/* Take back the oldest record, or a part of it, when it is behind the horizon. 1: done; 0: there is none. All or
 * nothing. */
static APART int take_back(struct store *s)
{
    struct ledger *l = ledger_of(s);
    uint64_t chunk, old_chunk = peek(&l->head_chunk);
    struct record *record = oldest(s, &chunk);
    int r = undo_reserve(s, 4 * SPACE_LOG); /* half of it is for what space_alloc() needs afterwards */

    if (r < 0)
        return r;
    if (record == NULL)
        return chunk == 0 ? -EUCLEAN : 0;
    if (record->txn > peek(&view_of(s)->horizon))
        return 0;
    uint64_t mark = s->log_count;
    r = work_off(s, record);
    if (r == 0)
        return 1;
    if (r > 0) {
        log_set(s, &l->history_head, peek(&l->history_head) + 1);
        if (chunk != old_chunk) {
            log_set(s, &l->head_chunk, chunk);
            r = leave_chunk(s, old_chunk);
        }
    }
    if (r < 0) {
        int undone = undo_back_to(s, mark);
        return undone < 0 ? undone : r;
    }
    return 1;
}

/* All that is committed; what is pinned only by force. */
static APART int take_back_all(struct store *s, bool by_force)
{
    int r;
    raise_horizon(s, peek(&view_of(s)->committed), by_force);
    while ((r = take_back(s)) > 0) {
    }
    return r == -ENOSPC ? 0 : r;
}

bool history_collect(struct store *s, bool by_force)
{
    uint64_t head = peek(&ledger_of(s)->history_head), swept = peek(&ledger_of(s)->sweep);
    s->collecting = true;
    int r = take_back_all(s, by_force);
    s->collecting = s->let_go = false;
    return r == 0 && (peek(&ledger_of(s)->history_head) != head || peek(&ledger_of(s)->sweep) != swept);
}

int history_alloc(struct store *s, uint64_t bytes, bool alone, uint64_t *offset)
{
    int (*alloc)(struct store *, uint64_t, uint64_t *) = alone ? space_alloc_alone : space_alloc;
    int r = alloc(s, bytes, offset);
    if (likely(r != -ENOSPC))
        return r;
    for (int by_force = 0; by_force < 2 && r == -ENOSPC; by_force++) {
        if ((r = take_back_all(s, by_force)) < 0 || (r = undo_reserve(s, SPACE_LOG)) < 0)
            return r;
        r = alloc(s, bytes, offset);
    }
    return r;
}

static uint64_t kept(const struct store *s)
{
    return peek(&ledger_of(s)->history_tail) - peek(&ledger_of(s)->history_head);
}

/* How many records are kept for slow readers: as the table's size allows, and none when it has hardly a page left. */
static uint64_t keep(const struct store *s)
{
    uint64_t most = s->bytes >> 14;
    if (unlikely(space_low(s)))
        return 0;
    return most < KEEP_LEAST ? KEEP_LEAST : most < HISTORY_KEEP ? most : HISTORY_KEEP;
}

/* Which horizon lets go of half of what is kept, without looking at every record. */
static uint64_t halfway(struct store *s)
{
    struct ledger *l = ledger_of(s);
    uint64_t head = peek(&l->history_head), last = CHUNK_RECORDS - 1 - head % CHUNK_RECORDS, chunk;
    struct record *record = oldest(s, &chunk);
    uint64_t committed = peek(&view_of(s)->committed);

    if (record == NULL)
        return 0;
    uint64_t half = keep(s) / 2;
    record += last < half ? last : half;
    return record->txn < committed ? record->txn : committed;
}

bool history_sweeping(const struct store *s)
{
    return peek(&ledger_of(s)->sweep) != 0;
}

bool history_waiting(const struct store *s)
{
    return kept(s) > keep(s) || history_sweeping(s);
}

/* Let go of half of what is kept; is this transaction behind the horizon now? */
static APART bool raise_beyond(struct store *s, uint64_t txn)
{
    raise_horizon(s, halfway(s), space_low(s));
    return txn <= peek(&view_of(s)->horizon);
}

int history_reuse(struct store *s, uint64_t bytes, uint64_t *offset)
{
    struct ledger *l = ledger_of(s);
    uint64_t head = peek(&l->history_head);
    const struct chunk *chunk = chunk_at(s, peek(&l->head_chunk));

    if (likely(kept(s) > s->keep && chunk != NULL && head % CHUNK_RECORDS != 0)) { /* a new chunk is more work */
        const struct record *record = &chunk->records[head % CHUNK_RECORDS];
        if ((likely(record->txn <= peek(&view_of(s)->horizon)) || raise_beyond(s, record->txn)) &&
            (record->gone & KIND_MASK) == GONE_BLOCK && space_fits(s, record->gone, bytes)) {
            log_set(s, &l->history_head, head + 1);
            *offset = record->gone;
            /* what the next put will write to, which has not been looked at since it was made */
            if (likely((head + 1) % CHUNK_RECORDS != 0))
                space_prefetch(s, record[1].gone);
            return 0;
        }
    }
    return history_alloc(s, bytes, false, offset);
}

/* Take back what is more than the history kept. All that a transaction takes back its log must be able to undo, so
 * there it is not for this to use up a log that cannot grow: three quarters are left to the changes. */
static APART int step(struct store *s)
{
    uint64_t chunk;
    struct record *record = oldest(s, &chunk);
    int r = 0;

    if (record != NULL && record->txn > peek(&view_of(s)->horizon))
        raise_beyond(s, record->txn);
    for (int i = 0; i < (s->keep == 0 ? LOW_RECORDS : STEP_RECORDS) && s->log_count <= undo_most(s) / 4; i++) {
        if ((r = take_back(s)) <= 0)
            break;
    }
    return r < 0 && r != -ENOSPC ? r : 0; /* no room in the log for more: what was taken back counts */
}

/* Does deleting and clearing work without it? The chunk in limbo will do as well as one put by. */
static bool dispensable(const struct store *s, enum spare which)
{
    return which == SPARE_CHUNK ? peek(&ledger_of(s)->limbo) != 0 : which == SPARE_SEGMENT && ordered(s);
}

static APART int put_by(struct store *s, bool deleting)
{
    for (int i = 0; i < SPARES; i++) {
        word_t *spare = &ledger_of(s)->spare[i];
        uint64_t block;
        if (peek(spare) != 0 || spare_bytes_of(s, i) == 0)
            continue;
        int r = undo_reserve(s, SPACE_LOG);
        if (r == 0)
            r = history_alloc(s, spare_bytes_of(s, i), false, &block);
        if (r == 0)
            log_set(s, spare, block);
        else if (r != -ENOSPC || !(deleting || dispensable(s, i)))
            return r;
    }
    return 0;
}

int history_step(struct store *s, bool deleting)
{
    const word_t *spare = ledger_of(s)->spare;
    int r;

    if (space_wants_one(s) && !deleting)
        space_back_one(s);
    s->keep = keep(s);
    s->next = next_record(s);
    if (unlikely(kept(s) > s->keep + s->keep / 4) && (r = step(s)) < 0) /* a quarter is left to history_reuse() */
        return r;
#pragma GCC unroll 4
    for (int i = 0; i < SPARES; i++) {
        if (unlikely(peek(&spare[i]) == 0) && spare_bytes_of(s, i) != 0)
            return put_by(s, deleting);
    }
    return 0;
}
