/* SPDX-License-Identifier: MIT */
/*
 * Walks; see walk.h.
 *
 * The walk goes through the hash values in the order of their reversed bits, so that a segment is a range of positions,
 * and the two halves of a split segment are the halves of its range. So it meets each key once, however the index
 * changes meanwhile.
 */
#include "walk.h"
#include "index.h"
#include <stdlib.h>

#define POSITION_BITS INDEX_DEPTH_MAX

struct batch {
    uint8_t *data;
    size_t used, room;
};

/* In the batch: this, the key, the value. */
struct entry {
    uint64_t value_len;
    uint64_t key_len;
};

static uint32_t reverse(uint32_t x)
{
    uint32_t y = 0;
    for (unsigned i = 0; i < POSITION_BITS; i++)
        y |= (x >> i & 1) << (POSITION_BITS - 1 - i);
    return y;
}

static int batch_add(struct batch *b, const struct version *v, uint64_t key_len, uint64_t value_len)
{
    size_t need = b->used + sizeof(struct entry) + key_len + value_len;
    if (need > b->room) {
        size_t room = need < 65536 ? 65536 : need + need / 2;
        uint8_t *data = realloc(b->data, room);
        if (data == NULL)
            return -ENOMEM;
        b->data = data;
        b->room = room;
    }
    struct entry entry = {value_len, key_len};
    memcpy(b->data + b->used, &entry, sizeof entry);
    racy_copy(b->data + b->used + sizeof entry, v->data, key_len);
    racy_copy(b->data + b->used + sizeof entry + key_len, version_value(v, key_len), value_len);
    b->used = need;
    return 0;
}

static int batch_visit(const struct batch *b, heir_visit *visit, void *arg)
{
    for (size_t i = 0; i < b->used;) {
        struct entry entry;
        memcpy(&entry, b->data + i, sizeof entry);
        const uint8_t *key = b->data + i + sizeof entry, *value = key + entry.key_len;
        int r = visit(key, entry.key_len, value, entry.value_len, arg);
        if (r != 0)
            return r;
        i += sizeof entry + entry.key_len + entry.value_len;
    }
    return 0;
}

/* Add the version of this slot that `snap` knows. -EUCLEAN is damage only if the sight holds. */
static int collect_slot(const struct store *s, uint64_t snap, uint64_t slot, struct batch *b)
{
    uint64_t offset = slot_version(slot), newer = UINT64_MAX;

    while (offset != 0) {
        struct version *v = version_whole(s, offset);
        if (v == NULL || version_made(v) >= newer)
            return -EUCLEAN;
        if ((newer = version_made(v)) <= snap) {
            uint64_t ended = version_ended(v), key_len = version_key_len(v), value_len = version_value_len(v);
            if (ended != 0 && ended <= snap)
                return 0;
            if (at(s, offset, version_bytes(key_len, value_len)) == NULL)
                return -EUCLEAN;
            return batch_add(b, v, key_len, value_len);
        }
        offset = version_prev(v);
    }
    return 0;
}

/* Add the objects of the segment at *position, and go on to the next. INDEX_END: there is none. */
static int collect(const struct store *s, uint64_t snap, uint64_t *position, struct batch *b)
{
    uint64_t dir = index_directory(s, snap), depth = index_depth(dir), word;

    if (*position >> POSITION_BITS != 0)
        return INDEX_END;
    if (depth > INDEX_DEPTH_MAX)
        return -EUCLEAN;
    if (index_word(s, dir, reverse((uint32_t)*position) & ((UINT64_C(1) << depth) - 1), &word) != 0)
        return -EUCLEAN;
    const word_t *slots = at(s, index_offset(word), PAGE_BYTES);
    if (slots == NULL)
        return -EUCLEAN;
    for (unsigned i = 0; i < INDEX_SEGMENT_SLOTS; i++) {
        uint64_t slot = get(&slots[i]);
        /* after a rollback a segment may be whole again of which we have visited one half */
        if (slot_version(slot) == 0 || reverse(slot_hash(slot) >> INDEX_GROUP_BITS) < *position)
            continue;
        int r = collect_slot(s, snap, slot, b);
        if (r < 0)
            return r;
    }
    *position = (*position | ((UINT64_C(1) << (POSITION_BITS - index_depth(word))) - 1)) + 1;
    return 0;
}

/* collect(), again and again until it was not disturbed. -ESTALE: the state is gone. */
static int collect_true(const struct store *s, uint64_t snap, uint64_t *position, struct batch *b)
{
    for (;;) {
        struct sight sight = {.snap = snap};
        uint64_t at_first = *position;
        size_t used = b->used;
        sight_refresh(s, &sight);
        int r = collect(s, snap, position, b);
        switch (sight_check(s, &sight)) {
        case SIGHT_TRUE:
            return r;
        case SIGHT_GONE:
            return -ESTALE;
        case SIGHT_AGAIN:
            *position = at_first;
            b->used = used;
        }
    }
}

int walk_pinned(const struct store *s, uint64_t snap, heir_visit *visit, void *arg)
{
    struct batch batch = {0};
    uint64_t position = 0;
    int r;

    while ((r = collect_true(s, snap, &position, &batch)) == 0) {
        if ((r = batch_visit(&batch, visit, arg)) != 0)
            break;
        batch.used = 0;
    }
    free(batch.data);
    return r == INDEX_END && position >> POSITION_BITS != 0 ? 0 : r;
}

int walk_own(const struct store *s, heir_visit *visit, void *arg)
{
    /* nobody else changes the table, and the horizon does not pass an open transaction */
    return walk_pinned(s, s->txn, visit, arg);
}

int walk_copy(const struct store *s, unsigned tries, bool *copied, heir_visit *visit, void *arg)
{
    struct batch batch = {0};
    int r = -EAGAIN;

    for (; tries > 0 && r == -EAGAIN; tries--) {
        uint64_t position = 0, snap = sight_now(s).snap;
        batch.used = 0;
        while ((r = collect_true(s, snap, &position, &batch)) == 0) {
        }
        if (r == -ESTALE)
            r = -EAGAIN;
    }
    *copied = r == INDEX_END;
    if (*copied)
        r = batch_visit(&batch, visit, arg);
    free(batch.data);
    return r;
}
