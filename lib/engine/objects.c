/* SPDX-License-Identifier: MIT */
/* The writer's operations; see objects.h. */
#include "objects.h"
#include "index.h"

/* Log entries of one operation, without what the parts reserve for themselves. Deleting must find room in the one page
 * of log that every table has, after history_step() has used some of it. */
#define OP_LOG     (4 * SPACE_LOG)
#define DELETE_LOG (SPACE_LOG + 16)

void objects_begin(struct store *s)
{
    undo_begin(s);
}

void objects_commit(struct store *s)
{
    if (s->log_count == 0) {
        set(&ledger_of(s)->log_txn, 0);
    } else {
        /* visible to others now: */
        set(&view_of(s)->committed, s->txn);
    }
    undo_trim(s);
    s->txn = 0;
}

int objects_abort(struct store *s)
{
    if (s->log_count != 0)
        return undo_all(s, NULL);
    /* nothing to undo, so nothing that readers need to hear of */
    set(&ledger_of(s)->log_txn, 0);
    undo_trim(s);
    s->txn = 0;
    return 0;
}

/* In transactions of its own. */
static bool collect_all(struct store *s, bool by_force)
{
    bool any = false;
    for (bool more = true; more; any |= more) {
        objects_begin(s);
        more = history_collect(s, by_force);
        objects_commit(s);
    }
    return any;
}

bool objects_collect(struct store *s)
{
    return collect_all(s, false) || collect_all(s, true);
}

void objects_make_room(struct store *s)
{
    if (!history_waiting(s) || !space_low(s))
        return;
    collect_all(s, false);
    if (history_waiting(s) && space_low(s))
        collect_all(s, true);
}

int objects_format(struct store *s)
{
    int r = space_format(s);
    if (r < 0)
        return r;
    undo_begin(s);
    if ((r = history_format(s)) < 0 || (r = index_format(s)) < 0)
        return r;
    objects_commit(s);
    return 0;
}

/* An operation has failed: as if it had not begun. */
static int fail(struct store *s, uint64_t mark, int error)
{
    if (s->log_count > mark) {
        int r = undo_back_to(s, mark);
        if (r < 0)
            return r;
    }
    return error;
}

static int prepare(struct store *s, bool deleting)
{
    int r = history_step(s, deleting);
    return r < 0 ? r : undo_reserve(s, deleting ? DELETE_LOG : OP_LOG);
}

/* One change more, and so many objects more. Not logged: both belong to the transaction alone. */
static void changed(struct store *s, int64_t more)
{
    word_t *objects = &view_of(s)->objects[s->txn & 1], *changes = &ledger_of(s)->changes;
    set(objects, peek(objects) + (uint64_t)more);
    set(changes, peek(changes) + 1);
}

static bool living(const struct spot *spot)
{
    return spot->slot != NULL && version_ended(spot->version) == 0;
}

static uint64_t offset_of(const struct store *s, const struct version *v)
{
    return (uint64_t)((const uint8_t *)v - s->base);
}

/* A new version, which nobody sees yet; *spot is where it belongs. */
static int version_new(struct store *s, uint32_t hash, const void *key, size_t key_len, size_t value_len,
                       struct spot *spot, struct version **version)
{
    uint64_t offset;
    int r = history_reuse(s, version_bytes(key_len, value_len), &offset);
    if (r < 0)
        return r;
    struct version *v = at(s, offset, version_bytes(key_len, value_len));
    if (v == NULL)
        return -EUCLEAN;
    set(&v->made, s->txn << 8 | key_len >> 8);
    set(&v->ended, key_len & 0xff);
    racy_copy(v->data, key, key_len);
    while ((r = index_find(s, hash, key, key_len, spot)) == 0 && spot->slot == NULL && spot->vacant == NULL) {
        if ((r = index_split(s, hash)) < 0)
            break;
    }
    *version = v;
    return r;
}

/* Make it the newest of its key. */
static int publish(struct store *s, uint32_t hash, const struct spot *spot, struct version *v, size_t value_len)
{
    uint64_t offset = offset_of(s, v), gone = 0, prev = 0;

    if (spot->slot != NULL) {
        gone = offset_of(s, spot->version);
        /* of a transaction only the last version of a key matters: chains have one version a transaction */
        prev = version_made(spot->version) == s->txn ? version_prev(spot->version) : gone;
    }
    set(&v->prev, (uint64_t)value_len << 32 | prev / GRANULE);
    int r = history_append(s, offset, gone, GONE_BLOCK);
    if (r < 0)
        return r;
    /* visible to others now: */
    log_set(s, spot->slot != NULL ? spot->slot : spot->vacant, (uint64_t)hash << 32 | offset / GRANULE);
    changed(s, living(spot) ? 0 : 1);
    return 0;
}

int objects_put(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len, bool only_new)
{
    uint32_t hash = index_hash(s, key, key_len);
    uint64_t mark = s->log_count;
    struct version *v;
    struct spot spot;
    int r;

    if (only_new) {
        if ((r = index_find(s, hash, key, key_len, &spot)) < 0)
            return r;
        if (living(&spot))
            return -EEXIST;
    }
    if ((r = prepare(s, false)) < 0 || (r = version_new(s, hash, key, key_len, value_len, &spot, &v)) < 0)
        return fail(s, mark, r);
    if (value_len != 0)
        racy_copy((uint8_t *)version_value(v, key_len), value, value_len);
    r = publish(s, hash, &spot, v, value_len);
    return r < 0 ? fail(s, mark, r) : 0;
}

int objects_add(struct store *s, const void *key, size_t key_len, int64_t delta, int64_t *result)
{
    uint32_t hash = index_hash(s, key, key_len);
    uint64_t mark = s->log_count;
    int64_t value = 0;
    struct version *v;
    struct spot spot;
    int r;

    if ((r = prepare(s, false)) < 0 || (r = version_new(s, hash, key, key_len, sizeof value, &spot, &v)) < 0)
        return fail(s, mark, r);
    if (living(&spot)) {
        if (version_value_len(spot.version) != sizeof value)
            return fail(s, mark, -EINVAL);
        memcpy(&value, version_value(spot.version, key_len), sizeof value);
    }
    if (__builtin_add_overflow(value, delta, &value))
        return fail(s, mark, -ERANGE);
    racy_copy((uint8_t *)version_value(v, key_len), &value, sizeof value);
    if ((r = publish(s, hash, &spot, v, sizeof value)) < 0)
        return fail(s, mark, r);
    if (result != NULL)
        *result = value;
    return 0;
}

int objects_take(struct store *s, const void *key, size_t key_len, void *value, size_t *value_len)
{
    uint32_t hash = index_hash(s, key, key_len);
    uint64_t mark = s->log_count;
    struct spot spot;
    int r = index_find(s, hash, key, key_len, &spot);

    if (r < 0)
        return r;
    if (!living(&spot))
        return -ENOENT;
    if (value_len != NULL) {
        size_t room = *value_len, len = *value_len = version_value_len(spot.version);
        if (len > room)
            return -ENOBUFS;
        if (at(s, offset_of(s, spot.version), version_bytes(key_len, len)) == NULL)
            return -EUCLEAN;
        if (len != 0)
            memcpy(value, version_value(spot.version, key_len), len);
    }
    /* taking back may move nothing but emptied slots: this one holds a living version, so it stays */
    if ((r = prepare(s, true)) < 0 || (r = history_append(s, 0, offset_of(s, spot.version), GONE_DELETED)) < 0)
        return fail(s, mark, r);
    log_set(s, &spot.version->ended, s->txn << 8 | (key_len & 0xff));
    changed(s, -1);
    return 0;
}

int objects_del(struct store *s, const void *key, size_t key_len)
{
    return objects_take(s, key, key_len, NULL, NULL);
}

int objects_clear(struct store *s)
{
    uint64_t mark = s->log_count;
    int r;

    if (peek(&view_of(s)->objects[s->txn & 1]) == 0)
        return 0;
    if ((r = prepare(s, true)) < 0 || (r = index_clear(s)) < 0)
        return fail(s, mark, r);
    changed(s, -(int64_t)peek(&view_of(s)->objects[s->txn & 1]));
    return 0;
}
