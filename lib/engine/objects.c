/* SPDX-License-Identifier: MIT */
/* The writer's operations; see objects.h. */
#include "objects.h"
#include "bag.h"
#include "change.h"
#include "probe.h"

#define LOG_SHORT 4096u /* entries: a few steps of a sweep fill such a log */

void objects_begin(struct store *s)
{
    undo_begin(s);
}

#ifdef __clang__ /* which takes the probe in it for long, and would call it for each put */
__attribute__((always_inline))
#endif
void objects_commit(struct store *s)
{
    if (s->log_count == 0) {
        set(&ledger_of(s)->log_txn, 0);
    } else {
        struct table_page *page = page_of(s);
        uint64_t txn = s->txn;
        /* visible to others now: */
        set(&page->view.committed, txn);
        probe_commit(page, txn);
    }
    if (unlikely(s->log_grown))
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
    if (!history_waiting(s) || !(space_low(s) || (history_sweeping(s) && undo_most(s) < LOG_SHORT)))
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

/* ---- Sets ----------------------------------------------------------------------------------------------- */

int objects_put(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len, bool only_new)
{
    struct mark mark = change_mark(s);
    struct version *v;
    struct spot spot;
    int r;

    if (bag(s))
        return bag_put(s, key, key_len, value, value_len, only_new);
    if (only_new) {
        if ((r = change_find(s, key, key_len, &spot)) < 0)
            return r;
        if (living(&spot))
            return -EEXIST;
    }
    if ((r = change_prepare(s, false)) < 0 ||
        (r = version_new(s, key, key_len, value, value_len, false, &spot, &v)) < 0)
        return change_fail(s, &mark, r);
    r = version_publish(s, &spot, v, value_len);
    return r < 0 ? change_fail(s, &mark, r) : 0;
}

int objects_put_many(struct store *s, const struct heir_object *objects, size_t count, bool only_new)
{
    struct mark mark = change_mark(s);
    struct version *v;
    struct spot spot;
    int r = 0;

    for (size_t i = 0; only_new && i < count; i++) {
        if (bag(s))
            r = bag_find(s, s->txn, objects[i].key, objects[i].key_len, &v);
        else if ((r = change_find(s, objects[i].key, objects[i].key_len, &spot)) == 0)
            r = living(&spot) ? 0 : -ENOENT;
        if (r != -ENOENT)
            return r < 0 ? r : -EEXIST;
    }
    r = 0;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = objects_put(s, objects[i].key, objects[i].key_len, objects[i].value, objects[i].value_len, false);
    return r < 0 ? change_fail(s, &mark, r) : 0;
}

int objects_cas(struct store *s, const void *key, size_t key_len, const void *expected, size_t expected_len,
                const void *value, size_t value_len)
{
    struct spot spot;
    int r = change_find(s, key, key_len, &spot);

    if (r < 0)
        return r;
    if (expected == NULL && living(&spot))
        return -ECANCELED;
    if (expected != NULL && !living(&spot))
        return -ENOENT;
    if (expected != NULL && !version_has_value(s, spot.version, expected, expected_len))
        return -ECANCELED;
    return objects_put(s, key, key_len, value, value_len, false);
}

/* The sum, or what stands for it; false: it overflows. */
static bool sum_of(int64_t value, int64_t delta, const struct add_limit *limit, int64_t *sum)
{
    bool over = __builtin_add_overflow(value, delta, sum);
    if (limit == NULL)
        return !over;
    if (over || (delta >= 0 ? *sum > limit->limit : *sum < limit->limit))
        *sum = limit->wrap;
    return true;
}

int objects_add(struct store *s, const void *key, size_t key_len, int64_t delta, const struct add_limit *limit,
                int64_t *result)
{
    struct mark mark = change_mark(s);
    int64_t value = 0;
    struct version *v;
    struct spot spot;
    int r;

    if ((r = change_prepare(s, false)) < 0 ||
        (r = version_new(s, key, key_len, NULL, sizeof value, false, &spot, &v)) < 0)
        return change_fail(s, &mark, r);
    if (living(&spot)) {
        if (version_value_len(spot.version) != sizeof value)
            return change_fail(s, &mark, -EINVAL);
        if (at(s, offset_of(s, spot.version), version_bytes(key_len, sizeof value)) == NULL)
            return change_fail(s, &mark, -EUCLEAN);
        memcpy(&value, version_value(spot.version, key_len), sizeof value);
    }
    if (!sum_of(value, delta, limit, &value))
        return change_fail(s, &mark, -ERANGE);
    racy_copy((uint8_t *)version_value(v, key_len), &value, sizeof value);
    if ((r = version_publish(s, &spot, v, sizeof value)) < 0)
        return change_fail(s, &mark, r);
    if (result != NULL)
        *result = value;
    return 0;
}

int objects_edit(struct store *s, const void *key, size_t key_len, size_t value_len, uint64_t *offset)
{
    struct mark mark = change_mark(s);
    uint64_t keep = 0;
    struct version *v;
    struct spot spot;
    int r = change_find(s, key, key_len, &spot);

    if (r < 0)
        return r;
    uint64_t offset_now = living(&spot) ? offset_of(s, spot.version) : 0;
    if (offset_now == 0 || version_made(spot.version) != s->txn || version_value_len(spot.version) != value_len ||
        !space_alone(s, offset_now) || at(s, offset_now, version_bytes(key_len, value_len)) == NULL) {
        if ((r = change_prepare(s, false)) < 0 ||
            (r = version_new(s, key, key_len, NULL, value_len, true, &spot, &v)) < 0)
            return change_fail(s, &mark, r);
        uint8_t *to = (uint8_t *)version_value(v, key_len);
        if (living(&spot)) {
            keep = version_value_len(spot.version) < value_len ? version_value_len(spot.version) : value_len;
            if (at(s, offset_of(s, spot.version), version_bytes(key_len, keep)) == NULL)
                return change_fail(s, &mark, -EUCLEAN);
            memmove(to, version_value(spot.version, key_len), keep); /* in a damaged table they may overlap */
        }
        memset(to + keep, 0, value_len - keep);
        if ((r = version_publish(s, &spot, v, value_len)) < 0)
            return change_fail(s, &mark, r);
        spot.version = v;
    }
    *offset = (uint64_t)(version_value(spot.version, key_len) - s->base);
    return 0;
}

/* ---- Deleting ------------------------------------------------------------------------------------------- */

int objects_take(struct store *s, const void *key, size_t key_len, void *value, size_t *value_len)
{
    struct mark mark = change_mark(s);
    struct version *v = NULL;
    struct spot spot;
    int r;

    if (bag(s)) {
        if ((r = bag_find(s, s->txn, key, key_len, &v)) < 0)
            return r;
    } else {
        if ((r = change_find(s, key, key_len, &spot)) < 0)
            return r;
        if (!living(&spot))
            return -ENOENT;
        v = spot.version;
    }
    if (value_len != NULL) {
        size_t room = *value_len, len = *value_len = version_value_len(v);
        if (len > room)
            return -ENOBUFS;
        if (at(s, offset_of(s, v), version_bytes(version_key_len(v), len)) == NULL)
            return -EUCLEAN;
        if (len != 0)
            memcpy(value, version_value(v, version_key_len(v)), len);
    }
    /* preparing moves nothing that is living, so it does not move this version */
    if ((r = change_prepare(s, true)) < 0 || (r = version_end(s, v)) < 0)
        return change_fail(s, &mark, r);
    return 0;
}

int objects_del(struct store *s, const void *key, size_t key_len)
{
    return bag(s) ? bag_del(s, key, key_len, NULL) : objects_take(s, key, key_len, NULL, NULL);
}

int objects_del_object(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len)
{
    struct spot spot;
    int r;

    if (bag(s))
        return bag_del(s, key, key_len, &(struct bag_value){value, value_len});
    if ((r = change_find(s, key, key_len, &spot)) < 0)
        return r;
    if (!living(&spot) || !version_has_value(s, spot.version, value, value_len))
        return -ENOENT;
    return objects_take(s, key, key_len, NULL, NULL);
}

int objects_clear(struct store *s)
{
    struct mark mark = change_mark(s);
    int r;

    if (mark.objects == 0)
        return 0;
    if ((r = change_prepare(s, true)) < 0 || (r = index_clear(s)) < 0)
        return change_fail(s, &mark, r);
    change_count(s, (int64_t)(0 - mark.objects));
    return 0;
}
