/* SPDX-License-Identifier: MIT */
/*
 * Is a table whole?
 *
 * A pass goes through all that refers to blocks: blocks put by, the index, the history; each is noted by a bit for its
 * granule. Then it goes through all blocks in use (space_visit()): one without a bit is lost. The bits take 1/128 of
 * the heap.
 *
 * Words are seen as they will be after rolling back: the undo log is made into a hash table {word, oldest old value}
 * first, and every word that is logged is read through it (word_of()). So a table whose owner died in a transaction, or
 * stands still in one, is checked as its next owner will find it.
 *
 * No lock is taken. A pass during which nothing has changed is the truth. In any other one, what is found may come from
 * looking at different moments; so it is done again, and only what is found in every pass counts, until nothing is
 * left, or it has come so often that it cannot be chance. Two things make chance rare. First the order: a block moves
 * from what is put by into the index, from there into the history, and from there it is freed, and a pass looks in this
 * order, so it may meet a block twice but does not miss one that is left alone. Second the mark of a finding: what
 * stood there. Damage stays as it is, while a block that is used anew is another one.
 */
#include "check.h"
#include "node.h"
#include "shm.h"
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define PASSES_LEAST   3   /* for a quiet one, though nothing is found */
#define PASSES_CERTAIN 12  /* what came in so many is no chance */
#define PASSES_MOST    100 /* if there is time for so many */
#define TIME_MOST_NS   UINT64_C(3000000000)
#define FINDINGS_MOST  (UINT64_C(1) << 20) /* of a pass: the rest is more of the same */

enum part { PART_LIVE, PART_SUPERSEDED, PART_INDEX, PART_METADATA, PART_SLACK, PARTS };

struct finding {
    const char *what;
    uint64_t where, mark;
    unsigned law;
};

struct findings {
    struct finding *list;
    size_t count, room;
};

/* The undo log by offset: open addressing, a power of two of places. */
struct past {
    struct log_entry *entries; /* offset + 1; 0: free */
    uint64_t mask;             /* 0: nothing is to be rolled back */
};

struct check {
    const struct store *s;
    struct past past;
    struct space_look look;
    uint64_t committed, horizon;
    uint64_t *seen;      /* a bit for each granule of the heap */
    uint8_t *key;        /* HEIR_KEY_MAX bytes */
    uint64_t *clearings; /* of the history, in its order */
    size_t clearing_count, clearing_room;
    uint64_t part[PARTS], idle;
    uint64_t living;
    struct findings found;
    bool no_memory;
};

/* ---- Findings ----------------------------------------------------------------------------------------- */

static void wrong(struct check *c, unsigned law, const char *what, uint64_t where, uint64_t mark)
{
    struct findings *f = &c->found;
    if (f->count == FINDINGS_MOST)
        return;
    if (f->count == f->room) {
        size_t room = f->room * 2 + 64;
        struct finding *list = realloc(f->list, room * sizeof *list);
        if (list == NULL) {
            c->no_memory = true;
            return;
        }
        f->list = list;
        f->room = room;
    }
    f->list[f->count++] = (struct finding){what, where, mark, law};
}

static int by_place(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    if (x->law != y->law)
        return x->law < y->law ? -1 : 1;
    if (x->what != y->what)
        return (uintptr_t)x->what < (uintptr_t)y->what ? -1 : 1;
    if (x->where != y->where)
        return x->where < y->where ? -1 : 1;
    return (x->mark > y->mark) - (x->mark < y->mark);
}

static void findings_sort(struct findings *f)
{
    size_t count = 0;
    if (f->count > 1)
        qsort(f->list, f->count, sizeof *f->list, by_place);
    for (size_t i = 0; i < f->count; i++) {
        if (i == 0 || by_place(&f->list[i], &f->list[i - 1]) != 0)
            f->list[count++] = f->list[i];
    }
    f->count = count;
}

/* Keep those that are in both; both are sorted. */
static void findings_meet(struct findings *f, const struct findings *other)
{
    size_t count = 0, j = 0;
    for (size_t i = 0; i < f->count; i++) {
        while (j < other->count && by_place(&other->list[j], &f->list[i]) < 0)
            j++;
        if (j < other->count && by_place(&other->list[j], &f->list[i]) == 0)
            f->list[count++] = f->list[i];
    }
    f->count = count;
}

/* ---- Words as they will be ---------------------------------------------------------------------------- */

static uint64_t past_place(const struct past *past, uint64_t key)
{
    uint64_t i = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & past->mask;
    while (past->entries[i].offset != 0 && past->entries[i].offset != key)
        i = (i + 1) & past->mask;
    return i;
}

static uint64_t word_of(const struct check *c, const word_t *word)
{
    if (likely(c->past.mask == 0))
        return get(word);
    const struct log_entry *entry =
        &c->past.entries[past_place(&c->past, (uint64_t)((const uint8_t *)word - c->s->base) + 1)];
    return entry->offset != 0 ? entry->old : get(word);
}

static uint64_t look_word(const word_t *word, void *arg)
{
    return word_of(arg, word);
}

/* Will touching this memory be SIGBUS, because the file has been cut? */
static bool is_there(const struct store *s, uint64_t from, uint64_t to)
{
    if (from >= to)
        return true;
    while (madvise(s->base + from, to - from, MADV_POPULATE_READ) < 0) {
        if (errno == EFAULT)
            return false;
        if (errno != EINTR && errno != EAGAIN)
            break; /* an old kernel, or no memory: not ours to judge */
    }
    return true;
}

/* Make the log into c->past. false: it is damaged. */
static bool past_begin(struct check *c)
{
    const struct store *s = c->s;
    const struct ledger *l = ledger_of(s);
    uint64_t count = get(&l->log_count), floor = get(&l->log_floor), places = 64;

    c->past = (struct past){0};
    if (get(&l->log_txn) != c->committed + 1 || count == 0)
        return true;
    if (floor > s->bytes || count > (s->bytes - floor) / sizeof(struct log_entry)) {
        wrong(c, 1, "the undo log is longer than its memory", count, 0);
        return false;
    }
    if (!is_there(s, (s->bytes - count * sizeof(struct log_entry)) / PAGE_BYTES * PAGE_BYTES, s->bytes)) {
        wrong(c, 1, "the file is shorter than it says", s->bytes, 0);
        return false;
    }
    while (places < count * 2)
        places *= 2;
    c->past.entries = calloc(places, sizeof *c->past.entries);
    if (c->past.entries == NULL) {
        c->no_memory = true;
        return false;
    }
    c->past.mask = places - 1;
    for (uint64_t i = 0; i < count; i++) {
        struct log_entry entry;
        racy_copy(&entry, s->base + s->bytes - (i + 1) * sizeof entry, sizeof entry);
        if (!undo_names(s, entry.offset)) {
            wrong(c, 1, "the undo log leads out of the table", i, entry.offset);
            return false;
        }
        uint64_t place = past_place(&c->past, entry.offset + 1);
        if (c->past.entries[place].offset == 0) /* the first of a word has its value before the transaction */
            c->past.entries[place] = (struct log_entry){entry.offset + 1, entry.old};
    }
    return true;
}

/* ---- Blocks ------------------------------------------------------------------------------------------- */

/* What stands at the beginning of a block, in one number. */
static uint64_t mark_of(const struct check *c, uint64_t offset)
{
    uint64_t mark = 0;
    uint64_t begin = c->s->heap_first * PAGE_BYTES, end = c->look.frontier * PAGE_BYTES;
    if (offset % 8 != 0 || offset < begin || offset >= end || end - offset < 24)
        return 0;
    for (unsigned i = 0; i < 3; i++)
        mark = (mark ^ get((const word_t *)(void *)(c->s->base + offset) + i)) * UINT64_C(0x9e3779b97f4a7c15);
    return mark;
}

static bool seen(const struct check *c, uint64_t offset)
{
    uint64_t granule = (offset - c->s->heap_first * PAGE_BYTES) / GRANULE;
    return (c->seen[granule / 64] >> granule % 64 & 1) != 0;
}

/* The block that begins here is in use by what led here: its size, or 0 when it cannot be. Then it is not to be
 * followed: so everything ends. */
static uint64_t hold(struct check *c, uint64_t offset)
{
    uint64_t size = space_block(c->s, &c->look, offset);
    if (size == 0) {
        wrong(c, 3, "what is used is free, or no block", offset, mark_of(c, offset));
        return 0;
    }
    if (seen(c, offset)) {
        wrong(c, 3, "a block is used twice", offset, mark_of(c, offset));
        return 0;
    }
    uint64_t granule = (offset - c->s->heap_first * PAGE_BYTES) / GRANULE;
    c->seen[granule / 64] |= UINT64_C(1) << granule % 64;
    return size;
}

/* Of a block of this size, so many bytes are this; the rest is lost in it. false: it is too small for that. */
static bool put_in(struct check *c, enum part part, uint64_t bytes, uint64_t size)
{
    c->part[part] += bytes < size ? bytes : size;
    c->part[PART_SLACK] += bytes < size ? size - bytes : 0;
    return bytes <= size;
}

/* Hold a block, all of which is this, and which is to be read as `bytes` bytes. NULL: it cannot be. */
static void *hold_all(struct check *c, uint64_t offset, enum part part, uint64_t bytes)
{
    uint64_t size = hold(c, offset);
    if (size == 0)
        return NULL;
    put_in(c, part, size, size);
    if (size < bytes) {
        wrong(c, 3, "a block is smaller than what should be in it", offset, size);
        return NULL;
    }
    return c->s->base + offset;
}

/* ---- Versions ----------------------------------------------------------------------------------------- */

/* The fields of a version, read once. */
struct fields {
    uint64_t made, ended, prev, key_len, value_len;
};

static struct fields fields_of(const struct check *c, uint64_t offset)
{
    const struct version *v = (const struct version *)(void *)(c->s->base + offset);
    uint64_t made = get(&v->made), ended = word_of(c, &v->ended), prev = get(&v->prev);
    return (struct fields){made >> 8, ended >> 8, (prev & 0xffffffffu) * GRANULE, (made & 0xff) << 8 | (ended & 0xff),
                           prev >> 32};
}

static const uint8_t *key_at(const struct check *c, uint64_t offset)
{
    return ((const struct version *)(void *)(c->s->base + offset))->data;
}

/* The versions before this one, as far as a state that can still be read may need them. */
static void check_older(struct check *c, const struct fields *newest)
{
    struct fields f = *newest;
    while (f.prev != 0 && f.made > c->horizon) {
        uint64_t offset = f.prev, newer = f.made, size = space_block(c->s, &c->look, offset);
        bool ok = size >= sizeof(struct version);
        if (ok) {
            f = fields_of(c, offset);
            ok = f.key_len == newest->key_len && f.made < newer && version_bytes(f.key_len, f.value_len) <= size &&
                 racy_compare(key_at(c, offset), c->key, f.key_len) == 0;
        }
        if (!ok) {
            if (get(&view_of(c->s)->horizon) < newer)
                wrong(c, 5, "an older version that can still be read is not there", offset, mark_of(c, offset));
            return;
        }
    }
}

/* A version that the current index leads to, from the slot `slot` at `where`. Its key is in c->key afterwards. false:
 * it is none. */
static bool check_version(struct check *c, uint64_t slot, uint64_t where, struct fields *f)
{
    uint64_t offset = slot_version(slot), size = hold(c, offset);

    if (size == 0)
        return false;
    *f = fields_of(c, offset);
    uint64_t bytes = version_bytes(f->key_len, f->value_len);
    bool fits = put_in(c, f->ended == 0 ? PART_LIVE : PART_SUPERSEDED, f->ended == 0 ? bytes : size, size);
    if (!fits || bytes > size || f->key_len == 0) {
        wrong(c, 5, "a slot leads to no version", where, slot);
        return false;
    }
    c->living += f->ended == 0;
    if (f->made > c->committed || f->ended > c->committed)
        wrong(c, 5, "a version is of a transaction that was never committed", offset, mark_of(c, offset));
    racy_copy(c->key, key_at(c, offset), f->key_len);
    check_older(c, f);
    return true;
}

/* ---- K4, K5: the index of a set ----------------------------------------------------------------------- */

/* Does looking for the key in c->key end at slot number i of these? */
static bool leads_to(const struct check *c, const uint64_t *slots, unsigned i, uint64_t key_len)
{
    uint32_t hash = slot_hash(slots[i]);
    for (unsigned g = 0; g < INDEX_REACH; g++) {
        const unsigned first = (hash + g) % SEGMENT_GROUPS * GROUP_SLOTS;
        bool end = false;
        for (unsigned j = first; j < first + GROUP_SLOTS; j++) {
            if (j == i)
                return true;
            end |= slots[j] == 0;
            if (slot_hash(slots[j]) != hash || slot_version(slots[j]) == 0)
                continue;
            uint64_t other = slot_version(slots[j]);
            if (space_block(c->s, &c->look, other) >= sizeof(struct version) + key_len &&
                fields_of(c, other).key_len == key_len && racy_compare(key_at(c, other), c->key, key_len) == 0)
                return false;
        }
        if (end)
            return false;
    }
    return false;
}

/* A segment, from slot number `from` on. `entry`: the first in the directory that leads here. */
static void check_segment(struct check *c, uint64_t segment, uint64_t entry, uint64_t depth, uint64_t from,
                          bool current)
{
    const word_t *words = (const word_t *)(void *)(c->s->base + segment);
    uint64_t slots[INDEX_SEGMENT_SLOTS];
    struct fields f;

    for (unsigned i = 0; i < INDEX_SEGMENT_SLOTS; i++)
        slots[i] = word_of(c, &words[i]);
    for (unsigned i = (unsigned)from; i < INDEX_SEGMENT_SLOTS; i++) {
        uint64_t where = segment + 8 * i, hash = slot_hash(slots[i]);
        if (slot_version(slots[i]) == 0)
            continue;
        if (!current) { /* it may have been freed and overwritten, before a rollback made it wait here again */
            hold_all(c, slot_version(slots[i]), PART_SUPERSEDED, 0);
            continue;
        }
        if (!check_version(c, slots[i], where, &f))
            continue;
        if (index_hash(c->s, c->key, f.key_len) != hash)
            wrong(c, 5, "a slot's hash is not its key's", where, slots[i]);
        else if ((hash >> INDEX_GROUP_BITS & ((UINT64_C(1) << depth) - 1)) != entry ||
                 !leads_to(c, slots, i, f.key_len))
            wrong(c, 5, "a version is not found by its key", slot_version(slots[i]), where);
    }
}

/* A directory and all that hangs on it, from slot number `from` on. */
static void check_hash_index(struct check *c, uint64_t directory, uint64_t from, bool current)
{
    enum part part = current ? PART_INDEX : PART_SUPERSEDED;
    uint64_t offset = index_offset(directory), depth = index_depth(directory), size = hold(c, offset);

    if (size == 0)
        return;
    if (depth > INDEX_DEPTH_MAX || !put_in(c, part, current ? sizeof(word_t) << depth : size, size) ||
        sizeof(word_t) << depth > size) {
        wrong(c, 4, "the directory is damaged", offset, directory);
        return;
    }
    const word_t *words = (const word_t *)(void *)(c->s->base + offset);
    for (uint64_t entry = 0; entry >> depth == 0; entry++) {
        uint64_t word = word_of(c, &words[entry]);
        if (index_depth(word) > depth) {
            wrong(c, 4, "an entry is deeper than its directory", entry, word);
            continue;
        }
        uint64_t first = entry & ((UINT64_C(1) << index_depth(word)) - 1);
        if (first != entry) {
            if (word_of(c, &words[first]) != word)
                wrong(c, 4, "two entries should lead to the same segment", entry, word);
            continue;
        }
        uint64_t begin = entry * INDEX_SEGMENT_SLOTS;
        if (begin + INDEX_SEGMENT_SLOTS <= from) /* swept, and in the history by itself */
            continue;
        if (hold_all(c, index_offset(word), part, PAGE_BYTES) != NULL)
            check_segment(c, index_offset(word), entry, index_depth(word), from > begin ? from - begin : 0, current);
    }
}

/* ---- K4, K5: the index of the other types --------------------------------------------------------------- */

static bool before(struct edge a, struct edge b)
{
    return racy_order(a.key, a.len, b.key, b.len) < 0;
}

/* A node's head can be true: it leaves out no more than its bounds share. */
static bool check_head(struct check *c, uint64_t node, unsigned most, struct edge low, struct edge high)
{
    uint64_t head = get((const word_t *)(void *)(c->s->base + node)), skip = skip_of(head);
    uint64_t same = low.key == NULL || high.key == NULL ? 0 : common(low.key, low.len, high.key, high.len);
    if ((uint32_t)head <= most && skip <= same)
        return true;
    wrong(c, 4, "a node's head cannot be true", node, head);
    return false;
}

/* The slots of a leaf from number `from` on. */
static void check_leaf(struct check *c, uint64_t offset, struct edge low, struct edge high, unsigned from, bool current)
{
    const struct leaf *leaf = (const struct leaf *)(void *)(c->s->base + offset);
    uint64_t head = get(&leaf->head);
    struct edge keys[LEAF_SLOTS], last = {NULL, 0};
    uint64_t slots[LEAF_SLOTS];
    struct fields f;

    if (current && !check_head(c, offset, LEAF_SLOTS, low, high))
        return;
    for (unsigned i = from; i < LEAF_SLOTS; i++) {
        uint64_t slot = slots[i] = word_of(c, &leaf->slots[i]), where = offset + 8 + 8 * i;
        keys[i] = (struct edge){NULL, 0};
        if (slot == 0 || (slot & 0xffffffffu) == SLOT_HOLE)
            continue;
        if (!current) { /* as in check_segment() */
            hold_all(c, slot_version(slot), PART_SUPERSEDED, 0);
            continue;
        }
        if (!check_version(c, slot, where, &f))
            continue;
        struct edge key = keys[i] = (struct edge){key_at(c, slot_version(slot)), f.key_len};
        if (slot_hash(slot) != slice(key.key, key.len, skip_of(head)))
            wrong(c, 5, "a slot's four bytes are not its key's", where, slot);
        else if ((low.key != NULL && before(key, low)) || (high.key != NULL && !before(key, high)))
            wrong(c, 5, "a key is not between its leaf's bounds", slot_version(slot), where);
        else if (i < (uint32_t)head && last.key != NULL && !before(last, key))
            wrong(c, 4, "a leaf's keys are out of order", where, slot);
        if (i < (uint32_t)head)
            last = key;
        for (unsigned j = 0; i >= (uint32_t)head && j < i; j++) {
            if (keys[j].key != NULL && slot_hash(slots[j]) == slot_hash(slot) && keys[j].len == key.len &&
                racy_compare(keys[j].key, key.key, key.len) == 0)
                wrong(c, 5, "a key is in a leaf twice", where, slot);
        }
    }
}

/* A node and all below it, but for what has been swept up to the cursor, on whose way it is if `swept`. */
static void check_node(struct check *c, uint64_t offset, unsigned level, struct edge low, struct edge high,
                       uint64_t cursor, bool swept, bool current)
{
    enum part part = current ? PART_INDEX : PART_SUPERSEDED;
    unsigned digit = swept ? tree_digit(cursor, level) : 0;

    if (level == 0) {
        if (hold_all(c, offset, part, sizeof(struct leaf)) != NULL)
            check_leaf(c, offset, low, high, digit, current);
        return;
    }
    const struct inner *node = hold_all(c, offset, part, sizeof *node);
    if (node == NULL || (current && !check_head(c, offset, INNER_CHILDREN, low, high)))
        return;
    uint64_t head = get(&node->head);
    struct edge from = low;
    for (unsigned i = 0; i < (uint32_t)head && i < INNER_CHILDREN; i++) {
        struct edge to = high;
        if (i + 1 < (uint32_t)head && i >= digit) {
            uint64_t word = word_of(c, &node->separators[i]);
            const struct separator *separator = hold_all(c, slot_version(word), part, sizeof *separator);
            uint64_t size = space_block(c->s, &c->look, slot_version(word)), len = 0;
            if (separator != NULL) /* once: it may be overwritten */
                racy_copy(&len, &separator->len, sizeof len);
            if (separator == NULL || size < sizeof *separator || len > size - sizeof *separator) {
                wrong(c, 4, "a separator is damaged", offset, word);
                return;
            }
            to = (struct edge){separator->key, len};
            if ((from.key != NULL && !before(from, to)) || (high.key != NULL && !before(to, high)) ||
                slot_hash(word) != slice(to.key, to.len, skip_of(head)))
                wrong(c, 4, "separators are out of order", offset, word);
        }
        uint64_t child = word_of(c, &node->children[i]);
        if (child != 0 && i >= digit)
            check_node(c, child, level - 1, current ? from : (struct edge){NULL, 0},
                       current ? to : (struct edge){NULL, 0}, cursor, swept && i == digit, current);
        from = to;
    }
}

static void check_tree(struct check *c, uint64_t root, uint64_t cursor, bool current)
{
    uint64_t levels = tree_levels(root);
    if (root == 0)
        return;
    if (levels == 0 || levels > TREE_LEVELS_MAX)
        wrong(c, 4, "the tree's root is damaged", root, 0);
    else
        check_node(c, index_offset(root), (unsigned)levels - 1, (struct edge){NULL, 0}, (struct edge){NULL, 0}, cursor,
                   cursor != 0, current);
}

/* An index by the word that leads to it. Of one that has been cleared, what has been swept up to `from` is left out. */
static void check_index(struct check *c, uint64_t word, uint64_t from, bool current)
{
    if (ordered(c->s))
        check_tree(c, word, from, current);
    else
        check_hash_index(c, word, from, current);
}

/* ---- K6: the history ---------------------------------------------------------------------------------- */

static void note_clearing(struct check *c, uint64_t clearing)
{
    if (c->clearing_count == c->clearing_room) {
        size_t room = c->clearing_room * 2 + 16;
        uint64_t *list = realloc(c->clearings, room * sizeof *list);
        if (list == NULL) {
            c->no_memory = true;
            return;
        }
        c->clearings = list;
        c->clearing_room = room;
    }
    c->clearings[c->clearing_count++] = clearing;
}

static void check_record(struct check *c, const struct record *record, uint64_t number, uint64_t swept)
{
    uint64_t gone = record->gone & ~UINT64_C(7);
    const struct clearing *clearing;

    switch (record->gone & 7) {
    case GONE_BLOCK:
        if (gone != 0)
            hold_all(c, gone, PART_SUPERSEDED, 0);
        return;
    case GONE_DELETED: /* its slot still leads to it, or a newer version's record to free it follows */
        return;
    case GONE_INDEX:
        clearing = hold_all(c, record->made, PART_METADATA, sizeof *clearing);
        if (clearing == NULL)
            return;
        note_clearing(c, record->made);
        check_index(c, get(&clearing->directory), swept, false);
        return;
    default:
        wrong(c, 6, "a record is of no kind", number, record->gone);
    }
}

/* The clearings that readers find are those of the history, newest first. */
static void check_clearings(struct check *c)
{
    uint64_t offset = word_of(c, &view_of(c->s)->cleared);
    for (size_t i = c->clearing_count; i-- > 0;) {
        if (offset != c->clearings[i]) {
            wrong(c, 4, "the chain of cleared indexes is not as in the history", c->clearings[i], offset);
            return;
        }
        offset = word_of(c, &((const struct clearing *)(void *)(c->s->base + offset))->prev);
    }
    if (offset != 0)
        wrong(c, 4, "the chain of cleared indexes is not as in the history", 0, offset);
}

static void check_history(struct check *c)
{
    const struct ledger *l = ledger_of(c->s);
    uint64_t head = word_of(c, &l->history_head), tail = word_of(c, &l->history_tail), txn = 0;
    uint64_t offset = word_of(c, &l->head_chunk), swept = word_of(c, &l->sweep);

    if (head > tail) {
        wrong(c, 6, "the history's head is beyond its tail", head, tail);
        return;
    }
    const struct chunk *chunk = hold_all(c, offset, PART_METADATA, sizeof *chunk);
    for (uint64_t i = head; i != tail && chunk != NULL; i++) {
        if (i % CHUNK_RECORDS == 0 && i != 0) {
            offset = get(&chunk->next);
            if ((chunk = hold_all(c, offset, PART_METADATA, sizeof *chunk)) == NULL)
                break;
        }
        if ((i == head || i % CHUNK_RECORDS == 0) && get(&chunk->number) != i / CHUNK_RECORDS)
            wrong(c, 6, "a part of the history has another number", offset, get(&chunk->number));
        struct record record;
        racy_copy(&record, &chunk->records[i % CHUNK_RECORDS], sizeof record);
        if (record.txn < txn || record.txn > c->committed)
            wrong(c, 6, "a record is out of order", i, record.txn);
        txn = record.txn;
        check_record(c, &record, i, i == head ? swept : 0);
    }
    if (chunk == NULL || offset != word_of(c, &l->tail_chunk))
        wrong(c, 6, "the history does not end in its last chunk", offset, word_of(c, &l->tail_chunk));
    else
        check_clearings(c);
}

/* ---- K2, K3: space ------------------------------------------------------------------------------------ */

static void check_spares(struct check *c)
{
    static const uint64_t least[SPARES] = {PAGE_BYTES, sizeof(struct leaf), 0, sizeof(struct clearing)};
    const struct ledger *l = ledger_of(c->s);

    for (int i = 0; i < SPARES; i++) {
        if (word_of(c, &l->spare[i]) != 0)
            hold_all(c, word_of(c, &l->spare[i]), PART_METADATA, least[i]);
    }
    if (word_of(c, &l->limbo) != 0)
        hold_all(c, word_of(c, &l->limbo), PART_METADATA, sizeof(struct chunk));
}

static void look_block(uint64_t offset, uint64_t bytes, void *arg)
{
    struct check *c = arg;
    if (seen(c, offset))
        return;
    wrong(c, 3, "a block is lost", offset, mark_of(c, offset));
    c->part[PART_SLACK] += bytes;
}

static void look_bad(const char *what, uint64_t where, uint64_t is, void *arg)
{
    wrong(arg, 2, what, where, is);
}

/* ---- A pass ------------------------------------------------------------------------------------------- */

/* K1. false: nothing more can be looked at. */
static bool check_header(struct check *c)
{
    const struct store *s = c->s;
    const struct table_page *page = page_of(s);
    const struct view *v = view_of(s);
    const struct ledger *l = ledger_of(s);
    uint64_t limit = get(&v->limit), floor = get(&l->log_floor), before = c->found.count;

    c->committed = get(&v->committed);
    c->horizon = get(&v->horizon);
    if (page->max_bytes != s->bytes || page->heap_first != s->heap_first || page->hash_seed != s->seed)
        wrong(c, 1, "size, beginning of the heap or seed are not those that were mapped", page->max_bytes, 0);
    if (page->type > HEIR_DUPLICATE_BAG || page->access > HEIR_PRIVATE)
        wrong(c, 1, "there is no such type, or access", page->type, page->access);
    if (limit < s->heap_first || limit > s->bytes / PAGE_BYTES)
        wrong(c, 1, "the heap is longer than the file, or shorter than nothing", limit, 0);
    if (floor >= s->bytes || floor % PAGE_BYTES != 0 || floor < s->heap_first * PAGE_BYTES)
        wrong(c, 1, "the undo log is longer than the file, or shorter than a page", floor, 0);
    if (c->found.count != before || !past_begin(c))
        return false;
    uint64_t frontier = word_of(c, &l->frontier);
    if (frontier < s->heap_first || frontier > limit)
        wrong(c, 1, "the heap in use is longer than what is backed", frontier, limit);
    /* a long log may stand in what its transaction has freed; it is given back when it is rolled back */
    else if (frontier * PAGE_BYTES > floor && c->past.mask == 0)
        wrong(c, 1, "the heap and the undo log are in each other's place", frontier, floor);
    else if (!is_there(s, 0, space_front(s)) || !is_there(s, s->heap_first * PAGE_BYTES, frontier * PAGE_BYTES))
        wrong(c, 1, "the file is shorter than it says", s->bytes, 0);
    else
        c->look.frontier = frontier;
    return c->found.count == before;
}

/* The header's numbers that do not keep from looking further. */
static void check_numbers(struct check *c)
{
    const struct view *v = view_of(c->s);
    const struct ledger *l = ledger_of(c->s);
    uint64_t next = get(&l->next_horizon), txn = get(&l->log_txn);

    if (c->horizon > next || next > c->committed)
        wrong(c, 1, "the horizon is beyond the last commit", next, c->horizon);
    if (txn > c->committed + 1)
        wrong(c, 1, "the undo log is of a transaction to come", txn, 0);
    if (c->living != get(&v->objects[c->committed & 1]))
        wrong(c, 5, "objects does not count the living", get(&v->objects[c->committed & 1]) - c->living, 0);
}

/* All of the file but the heap in use is known from the header. */
static void close_account(struct check *c, uint64_t lost, struct heir_account *a)
{
    const struct store *s = c->s;
    uint64_t heap = s->heap_first * PAGE_BYTES, end = c->look.frontier * PAGE_BYTES, front = space_front(s);
    uint64_t limit = get(&view_of(s)->limit) * PAGE_BYTES, floor = get(&ledger_of(s)->log_floor), sum = 0;

    c->part[PART_SLACK] += lost;
    for (int i = 0; i < PARTS; i++)
        sum += c->part[i];
    if (sum + c->idle != end - heap) {
        wrong(c, 2, "the account does not add up", sum + c->idle - (end - heap), 0);
        /* whatever it is, each byte is somewhere */
        uint64_t over = sum + c->idle > end - heap ? sum + c->idle - (end - heap) : 0;
        c->part[PART_SLACK] += over == 0 ? end - heap - sum - c->idle : 0;
        for (int i = PARTS; i >= 0; i--) {
            uint64_t *from = i == PARTS ? &c->idle : &c->part[i], take = over < *from ? over : *from;
            *from -= take;
            over -= take;
        }
    }
    if (front > heap) /* the header is being changed; so is what comes of it */
        front = heap;
    if (floor < end) /* see check_header() */
        floor = end;
    if (floor > s->bytes)
        floor = s->bytes;
    if (limit > floor)
        limit = floor;
    if (limit < end)
        limit = end;
    *a = (struct heir_account){
        .live = c->part[PART_LIVE],
        .superseded = c->part[PART_SUPERSEDED],
        .index = c->part[PART_INDEX],
        .metadata = c->part[PART_METADATA] + front + (s->bytes - floor),
        .slack = c->part[PART_SLACK],
        .free = c->idle + (limit - end),
        .untouched = (heap - front) + (floor - limit),
    };
}

/* Look once. *found: sorted, to be freed also on an error. -ENOMEM. */
static int pass(const struct store *s, struct findings *found, struct heir_account *account)
{
    struct check c = {.s = s};
    uint64_t lost;

    /* which could be anything: then nothing is said of it */
    *account = (struct heir_account){.slack = s->bytes};
    c.look = (struct space_look){.word = look_word, .block = look_block, .bad = look_bad, .arg = &c};
    if (!is_there(s, 0, PAGE_BYTES)) {
        wrong(&c, 1, "the file is shorter than it says", s->bytes, 0);
    } else if (check_header(&c)) {
        c.seen = calloc((c.look.frontier - s->heap_first) * (PAGE_BYTES / GRANULE) / 64 + 1, sizeof *c.seen);
        c.key = malloc(HEIR_KEY_MAX);
        c.no_memory |= c.seen == NULL || c.key == NULL;
        if (!c.no_memory) {
            check_spares(&c);
            check_index(&c, word_of(&c, &view_of(s)->directory), 0, true);
            check_history(&c);
            c.no_memory |= space_visit(s, &c.look, &c.idle, &lost) < 0;
        }
        if (!c.no_memory) {
            check_numbers(&c);
            close_account(&c, lost, account);
        }
    }
    free(c.past.entries);
    free(c.seen);
    free(c.key);
    free(c.clearings);
    findings_sort(&c.found);
    *found = c.found;
    return c.no_memory ? -ENOMEM : 0;
}

/* ---- Passes ------------------------------------------------------------------------------------------- */

/* What no writer can leave as it is, whatever it does. */
struct moment {
    uint64_t committed, rollbacks, next_horizon, log_txn, log_count, limit, log_floor;
};

static struct moment moment_now(const struct store *s)
{
    const struct view *v = view_of(s);
    const struct ledger *l = ledger_of(s);
    return (struct moment){get(&v->committed), get(&v->rollbacks), get(&l->next_horizon), get(&l->log_txn),
                           get(&l->log_count), get(&v->limit),     get(&l->log_floor)};
}

static int report_all(const struct findings *f, heir_finding *report, void *arg)
{
    for (size_t i = 0; report != NULL && i < f->count; i++)
        report(f->list[i].law, f->list[i].what, f->list[i].where, arg);
    return (int)f->count;
}

int check_store(const struct store *s, heir_finding *report, void *arg)
{
    struct heir_account account;
    struct findings found;
    int r = pass(s, &found, &account);
    if (r == 0)
        r = report_all(&found, report, arg);
    free(found.list);
    return r;
}

int check_table(const struct store *s, heir_finding *report, void *arg, struct heir_account *account)
{
    struct heir_account sums;
    struct findings left = {0};
    uint64_t began = clock_mono_ns();
    bool quiet = false;
    int r = 0;

    for (unsigned passes = 1; r == 0; passes++) {
        struct findings found = {0};
        struct moment before = {0}, after = {0};
        bool there = is_there(s, 0, PAGE_BYTES);
        if (there)
            before = moment_now(s);
        r = pass(s, &found, &sums);
        if (there && is_there(s, 0, PAGE_BYTES)) {
            atomic_thread_fence(memory_order_acquire);
            after = moment_now(s);
        }
        quiet = memcmp(&before, &after, sizeof before) == 0;
        if (r == 0 && passes > 1 && !quiet) {
            findings_meet(&left, &found);
            free(found.list);
        } else {
            free(left.list);
            left = found;
        }
        if (quiet || (left.count == 0 && passes >= PASSES_LEAST) || passes == PASSES_MOST ||
            (passes >= PASSES_CERTAIN && clock_mono_ns() - began > TIME_MOST_NS))
            break;
    }
    if (r == 0)
        r = report_all(&left, report, arg);
    free(left.list);
    if (account != NULL && r >= 0) {
        *account = sums;
        account->findings = (uint64_t)r;
    }
    return r;
}
