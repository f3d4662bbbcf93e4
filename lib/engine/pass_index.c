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

/* The versions of a segment. `entry`: the first in the directory that leads here. */
static void check_segment(struct pass *c, const uint64_t *slots, uint64_t entry, uint64_t depth)
{
    struct fields f;

    for (unsigned i = 0; i < INDEX_SEGMENT_SLOTS; i++) {
        uint64_t version = slot_version(slots[i]), hash = slot_hash(slots[i]);
        if (version == 0 || !pass_version(c, slots[i], &f))
            continue;
        if (index_hash(c->s, c->key, f.key_len) != hash)
            wrong(c, 5, "a slot's hash is not its key's", version, slots[i]);
        else if ((hash >> INDEX_GROUP_BITS & ((UINT64_C(1) << depth) - 1)) != entry ||
                 !leads_to(c, slots, i, f.key_len))
            wrong(c, 5, "a version is not found by its key", version, slots[i]);
    }
}

/* A walk through the directory, in the order of its entries' reversed bits: so the entries of a segment are next to
 * each other, and each half of one that has been split is a half of what it was, whatever the directory's depth is by
 * then. */
struct round {
    uint64_t position; /* the entry that comes next, its bits reversed, the first one at POSITION_BITS - 1 */
    uint64_t covered;  /* segments that have been gone through reach up to here */
    uint64_t held;     /* the directory that has been held last */
};

#define POSITION_BITS INDEX_DEPTH_MAX

static uint64_t reversed(uint64_t x)
{
    uint64_t y = 0;
    for (unsigned i = 0; i < POSITION_BITS; i++)
        y |= (x >> i & 1) << (POSITION_BITS - 1 - i);
    return y;
}

/* How far what begins here reaches, when the first `depth` bits are the same for all of it. */
static uint64_t beyond(uint64_t position, uint64_t depth)
{
    return (position | ((UINT64_C(1) << (POSITION_BITS - depth)) - 1)) + 1;
}

/* Look at the next entry, and go through its segment if nobody has. */
static enum step directory_step(struct pass *c, void *walk, bool patient)
{
    struct round *r = walk;
    struct link way[2];
    uint64_t slots[INDEX_SEGMENT_SLOTS], entry = 0, word = 0, first = 0;
    bool can_be = false, same = false, look = false, there = false;

    pass_follow(c);
    const uint64_t directory = pass_link(c, &view_of(c->s)->directory, &way[0]), depth = index_depth(directory);
    const uint64_t offset = index_offset(directory), size = space_block(c->s, &c->look, offset);
    const bool fits = depth <= INDEX_DEPTH_MAX && sizeof(word_t) << depth <= size;
    if (fits) {
        const word_t *words = pass_at(c, offset);
        entry = reversed(r->position) & ((UINT64_C(1) << depth) - 1);
        word = pass_link(c, &words[entry], &way[1]);
        can_be = index_depth(word) <= depth;
        first = can_be ? entry & ((UINT64_C(1) << index_depth(word)) - 1) : entry;
        same = first == entry || pass_word(c, &words[first]) == word;
        look = can_be && (first == entry || r->position >= r->covered);
        there = !look || space_block(c->s, &c->look, index_offset(word)) >= PAGE_BYTES;
        for (unsigned i = 0; look && there && i < INDEX_SEGMENT_SLOTS; i++)
            slots[i] = pass_word(c, pass_at(c, index_offset(word)) + i);
    }
    if (!pass_sure(c, !(fits && can_be && same && there), patient) || !pass_led(c, way, fits ? 2 : 1))
        return STEP_AGAIN;

    c->found.partial |= !(fits && can_be && there);
    if (offset != r->held) {
        r->held = offset;
        if (pass_hold(c, offset) != 0)
            pass_put_in(c, PART_INDEX, sizeof(word_t) << (fits ? depth : 0), size);
    }
    if (!fits) {
        wrong(c, 4, "the directory is damaged", offset, directory);
        return STEP_LAST;
    }
    if (!can_be)
        wrong(c, 4, "an entry is deeper than its directory", entry, word);
    if (!same)
        wrong(c, 4, "two entries should lead to the same segment", entry, word);
    if (look) {
        r->covered = beyond(r->position, index_depth(word));
        /* also when its block has been something else, and met as that, before it was split off */
        pass_hold_all(c, index_offset(word), PART_INDEX, PAGE_BYTES);
        if (there)
            check_segment(c, slots, first, index_depth(word));
    }
    r->position = beyond(r->position, depth);
    return r->position >> POSITION_BITS != 0 ? STEP_LAST : STEP_DONE;
}

void pass_index(struct pass *c)
{
    struct round r = {.held = 0};
    if (ordered(c->s))
        pass_tree(c);
    else
        pass_walk(c, directory_step, &r);
}

/* ---- Cleared indexes ---------------------------------------------------------------------------------- */

/* Hold all that hangs on a directory. */
static void hold_directory(struct pass *c, uint64_t directory, uint64_t from)
{
    uint64_t offset = index_offset(directory), depth = index_depth(directory), size = pass_hold(c, offset);

    if (size == 0)
        return;
    pass_put_in(c, PART_SUPERSEDED, size, size);
    if (depth > INDEX_DEPTH_MAX || sizeof(word_t) << depth > size) {
        wrong(c, 4, "the directory is damaged", offset, directory);
        return;
    }
    const word_t *words = pass_at(c, offset);
    for (uint64_t entry = 0; entry >> depth == 0; entry++) {
        pass_follow(c);
        uint64_t word = pass_word(c, &words[entry]), begin = entry * INDEX_SEGMENT_SLOTS;
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
        if (begin + INDEX_SEGMENT_SLOTS <= from) /* swept, and in the history by itself */
            continue;
        const word_t *slots = pass_hold_all(c, index_offset(word), PART_SUPERSEDED, PAGE_BYTES);
        for (uint64_t i = from > begin ? from - begin : 0; slots != NULL && i < INDEX_SEGMENT_SLOTS; i++) {
            uint64_t version = slot_version(pass_word(c, &slots[i]));
            if (version != 0)
                pass_hold_all(c, version, PART_SUPERSEDED, 0);
        }
    }
}

void pass_cleared(struct pass *c, uint64_t word, uint64_t from)
{
    if (ordered(c->s))
        pass_cleared_tree(c, word, from);
    else
        hold_directory(c, word, from);
}
