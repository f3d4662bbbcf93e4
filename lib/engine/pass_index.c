/* SPDX-License-Identifier: MIT */
/* One look at a whole table; see pass.h. Here: K4 and K5, versions and the index of a set. */
#include "index.h"
#include "pass.h"

/* ---- Versions ----------------------------------------------------------------------------------------- */

struct fields pass_fields(const struct pass *c, uint64_t offset)
{
    const struct version *v = (const struct version *)pass_at(c, offset);
    uint64_t made = get(&v->made), ended = pass_word(c, &v->ended), prev = get(&v->prev);
    return (struct fields){made >> 8, ended >> 8, (prev & 0xffffffffu) * GRANULE, (made & 0xff) << 8 | (ended & 0xff),
                           prev >> 32};
}

const uint8_t *pass_key(const struct pass *c, uint64_t offset)
{
    return ((const struct version *)pass_at(c, offset))->data;
}

/* The versions before this one, as far as a state that can still be read may need them. */
static void check_older(struct pass *c, const struct fields *newest)
{
    struct fields f = *newest;
    while (f.prev != 0 && f.made > c->horizon) {
        uint64_t offset = f.prev, newer = f.made, size = space_block(c->s, &c->look, offset);
        bool ok = size >= sizeof(struct version);
        if (ok) {
            f = pass_fields(c, offset);
            ok = f.key_len == newest->key_len && f.made < newer && version_bytes(f.key_len, f.value_len) <= size &&
                 racy_compare(pass_key(c, offset), c->key, f.key_len) == 0;
        }
        if (!ok) {
            if (get(&view_of(c->s)->horizon) < newer)
                wrong(c, 5, "an older version that can still be read is not there", offset, pass_mark(c, offset));
            return;
        }
    }
}

bool pass_version(struct pass *c, uint64_t slot, struct fields *f)
{
    uint64_t offset = slot_version(slot), size = pass_hold(c, offset);

    if (size == 0)
        return false;
    *f = pass_fields(c, offset);
    uint64_t bytes = version_bytes(f->key_len, f->value_len);
    bool fits = pass_put_in(c, f->ended == 0 ? PART_LIVE : PART_SUPERSEDED, f->ended == 0 ? bytes : size, size);
    if (!fits || bytes > size || f->key_len == 0) {
        wrong(c, 5, "a slot leads to no version", offset, slot);
        return false;
    }
    c->living += f->ended == 0;
    if (f->made > c->past.committed || f->ended > c->past.committed)
        wrong(c, 5, "a version is of a transaction that was never committed", offset, pass_mark(c, offset));
    racy_copy(c->key, pass_key(c, offset), f->key_len);
    check_older(c, f);
    return true;
}

/* ---- Segments and directories ----------------------------------------------------------------------- */

/* Does looking for the key in c->key end at slot number i of these? */
static bool leads_to(const struct pass *c, const uint64_t *slots, unsigned i, uint64_t key_len)
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
                pass_fields(c, other).key_len == key_len && racy_compare(pass_key(c, other), c->key, key_len) == 0)
                return false;
        }
        if (end)
            return false;
    }
    return false;
}

/* A segment, from slot number `from` on. `entry`: the first in the directory that leads here. */
static void check_segment(struct pass *c, uint64_t segment, uint64_t entry, uint64_t depth, uint64_t from, bool current)
{
    const word_t *words = pass_at(c, segment);
    uint64_t slots[INDEX_SEGMENT_SLOTS];
    struct fields f;

    for (unsigned i = 0; i < INDEX_SEGMENT_SLOTS; i++)
        slots[i] = pass_word(c, &words[i]);
    for (unsigned i = (unsigned)from; i < INDEX_SEGMENT_SLOTS; i++) {
        uint64_t version = slot_version(slots[i]), hash = slot_hash(slots[i]);
        if (version == 0)
            continue;
        if (!current) {
            pass_hold_all(c, version, PART_SUPERSEDED, 0);
            continue;
        }
        if (!pass_version(c, slots[i], &f))
            continue;
        if (index_hash(c->s, c->key, f.key_len) != hash)
            wrong(c, 5, "a slot's hash is not its key's", version, slots[i]);
        else if ((hash >> INDEX_GROUP_BITS & ((UINT64_C(1) << depth) - 1)) != entry ||
                 !leads_to(c, slots, i, f.key_len))
            wrong(c, 5, "a version is not found by its key", version, slots[i]);
    }
}

/* A directory and all that hangs on it, from slot number `from` on. */
static void check_hash_index(struct pass *c, uint64_t directory, uint64_t from, bool current)
{
    enum part part = current ? PART_INDEX : PART_SUPERSEDED;
    uint64_t offset = index_offset(directory), depth = index_depth(directory), size = pass_hold(c, offset);

    if (size == 0)
        return;
    if (depth > INDEX_DEPTH_MAX || !pass_put_in(c, part, current ? sizeof(word_t) << depth : size, size) ||
        sizeof(word_t) << depth > size) {
        wrong(c, 4, "the directory is damaged", offset, directory);
        return;
    }
    const word_t *words = pass_at(c, offset);
    for (uint64_t entry = 0; entry >> depth == 0; entry++) {
        pass_follow(c);
        uint64_t word = pass_word(c, &words[entry]);
        if (index_depth(word) > depth) {
            wrong(c, 4, "an entry is deeper than its directory", entry, word);
            continue;
        }
        uint64_t first = entry & ((UINT64_C(1) << index_depth(word)) - 1);
        if (first != entry) {
            if (pass_word(c, &words[first]) != word)
                wrong(c, 4, "two entries should lead to the same segment", entry, word);
            continue;
        }
        uint64_t begin = entry * INDEX_SEGMENT_SLOTS;
        if (begin + INDEX_SEGMENT_SLOTS <= from) /* swept, and in the history by itself */
            continue;
        if (pass_hold_all(c, index_offset(word), part, PAGE_BYTES) != NULL)
            check_segment(c, index_offset(word), entry, index_depth(word), from > begin ? from - begin : 0, current);
    }
}

void pass_index(struct pass *c)
{
    if (ordered(c->s))
        pass_tree(c);
    else
        check_hash_index(c, pass_word(c, &view_of(c->s)->directory), 0, true);
}

void pass_cleared(struct pass *c, uint64_t word, uint64_t from)
{
    if (ordered(c->s))
        pass_cleared_tree(c, word, from);
    else
        check_hash_index(c, word, from, false);
}
