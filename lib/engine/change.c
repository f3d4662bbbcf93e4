/* SPDX-License-Identifier: MIT */
/* The steps of a change; see change.h. */
#include "change.h"
#include "tree.h"

/* Log entries of one change, without what the parts reserve for themselves. Deleting must find room in the one page of
 * log that every table has, after history_step() has used some of it. */
#define CHANGE_LOG  (4 * SPACE_LOG)
#define DELETE_LOG  (SPACE_LOG + 16)
#define PUBLISH_LOG (SPACE_LOG + 8)

int change_fail(struct store *s, const struct mark *mark, int error)
{
    if (s->log_count > mark->log_count) {
        int r = undo_back_to(s, mark->log_count);
        if (r < 0)
            return r;
    }
    set(&view_of(s)->objects[s->txn & 1], mark->objects);
    set(&ledger_of(s)->changes, mark->changes);
    return error;
}

int change_prepare(struct store *s, bool deleting)
{
    int r = history_step(s, deleting);
    return r < 0 ? r : undo_reserve(s, deleting ? DELETE_LOG : CHANGE_LOG);
}

void change_count(struct store *s, int64_t more)
{
    /* not logged: both belong to the transaction alone */
    word_t *objects = &view_of(s)->objects[s->txn & 1], *changes = &ledger_of(s)->changes;
    set(objects, peek(objects) + (uint64_t)more);
    set(changes, peek(changes) + 1);
}

int change_find(const struct store *s, const void *key, size_t key_len, struct spot *spot)
{
    return ordered(s) ? tree_find(s, key, key_len, spot)
                      : index_find(s, index_hash(s, key, key_len), key, key_len, spot);
}

bool version_has_value(const struct store *s, const struct version *v, const void *value, size_t value_len)
{
    uint64_t key_len = version_key_len(v);
    return version_value_len(v) == value_len && at(s, offset_of(s, v), version_bytes(key_len, value_len)) != NULL &&
           (value_len == 0 || memcmp(version_value(v, key_len), value, value_len) == 0);
}

/* Where in the index a new version belongs, making room if there is none; and the log has room to put it there. */
static int find_room(struct store *s, const void *key, size_t key_len, struct spot *spot)
{
    uint32_t hash = ordered(s) ? 0 : index_hash(s, key, key_len);
    int r;

    for (;;) {
        if ((r = undo_reserve(s, PUBLISH_LOG)) < 0)
            return r;
        r = ordered(s) ? tree_find(s, key, key_len, spot) : index_find(s, hash, key, key_len, spot);
        if (likely(r < 0 || spot->slot != NULL || spot->vacant != NULL))
            return r;
        if ((r = ordered(s) ? tree_make_room(s, key, key_len) : index_split(s, hash)) < 0)
            return r;
    }
}

int version_new(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len, bool alone,
                struct spot *spot, struct version **version)
{
    uint64_t offset, bytes = version_bytes(key_len, value_len);
    int r = unlikely(alone) ? history_alloc(s, bytes, true, &offset) : history_reuse(s, bytes, &offset);
    if (r < 0)
        return r;
    struct version *v = at(s, offset, bytes);
    if (v == NULL)
        return -EUCLEAN;
    set(&v->made, s->txn << 8 | key_len >> 8);
    set(&v->ended, key_len & 0xff);
    racy_copy(v->data, key, key_len);
    if (value != NULL && value_len != 0)
        racy_copy((uint8_t *)version_value(v, key_len), value, value_len);
    *version = v;
    return find_room(s, key, key_len, spot);
}

int version_publish(struct store *s, const struct spot *spot, struct version *v, size_t value_len)
{
    uint64_t offset = offset_of(s, v), gone = 0, prev = 0;
    word_t *slot = spot->slot;
    int more = 1, r;

    if (likely(slot != NULL)) {
        const struct version *old = spot->version;
        gone = offset_of(s, old);
        /* of a transaction only the last version of a key matters: chains have one version a transaction */
        prev = version_made(old) == s->txn ? version_prev(old) : gone;
        more = version_ended(old) != 0;
    } else {
        slot = spot->vacant;
    }
    set(&v->prev, (uint64_t)value_len << 32 | prev / GRANULE);
    if ((r = history_append(s, offset, gone, GONE_BLOCK)) < 0)
        return r;
    /* visible to others now: */
    log_set(s, slot, (uint64_t)spot->tag << 32 | offset / GRANULE);
    change_count(s, more);
    return 0;
}

int version_end(struct store *s, struct version *v)
{
    int r = history_append(s, 0, offset_of(s, v), GONE_DELETED);
    if (r < 0)
        return r;
    /* visible to others now: */
    log_set(s, &v->ended, s->txn << 8 | (peek(&v->ended) & 0xff));
    change_count(s, -1);
    return 0;
}
