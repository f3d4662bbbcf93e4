/* SPDX-License-Identifier: MIT */
/*
 * The model of a table's content, and the comparison with it. Objects are counted, so that a copy of a model (the last
 * commit, a snapshot's state) is a copy of pointers.
 */
#include "model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The model ---------------------------------------------------------------------------------------- */

int key_order(const void *a, size_t a_len, const void *b, size_t b_len)
{
    size_t len = a_len < b_len ? a_len : b_len;
    int order = len ? memcmp(a, b, len) : 0;
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static size_t place(const struct model *model, const void *key, size_t key_len, bool after)
{
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = key_order(model->at[mid]->bytes, model->at[mid]->key_len, key, key_len);
        if (order < 0 || (after && order == 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t model_from(const struct model *model, const void *key, size_t key_len)
{
    return place(model, key, key_len, false);
}

size_t model_end(const struct model *model, const void *key, size_t key_len)
{
    return place(model, key, key_len, true);
}

bool model_has(const struct model *model, const void *key, size_t key_len)
{
    return model_from(model, key, key_len) < model_end(model, key, key_len);
}

const void *object_value(const struct object *object)
{
    return object->bytes + object->key_len;
}

static bool value_is(const struct object *object, const void *value, size_t value_len)
{
    return object->value_len == value_len && (!value_len || !memcmp(object_value(object), value, value_len));
}

bool object_is(const struct object *object, const void *key, size_t key_len, const void *value, size_t value_len)
{
    return key_order(object->bytes, object->key_len, key, key_len) == 0 && value_is(object, value, value_len);
}

static void drop(struct object *object)
{
    if (--object->refs == 0)
        free(object);
}

void model_remove(struct model *model, size_t from, size_t end)
{
    for (size_t i = from; i < end; i++)
        drop(model->at[i]);
    if (from < end)
        memmove(model->at + from, model->at + end, (model->count - end) * sizeof *model->at);
    model->count -= end - from;
}

void model_put(struct model *model, const void *key, size_t key_len, const void *value, size_t value_len)
{
    size_t from = model_from(model, key, key_len), end = model_end(model, key, key_len);
    struct object *object = malloc(sizeof *object + key_len + value_len);
    *object = (struct object){.refs = 1, .key_len = key_len, .value_len = value_len};
    memcpy(object->bytes, key, key_len);
    if (value_len)
        memcpy(object->bytes + key_len, value, value_len);
    if (model->type == HEIR_SET || model->type == HEIR_ORDERED_SET)
        model_remove(model, from, end), end = from;
    for (size_t i = from; model->type == HEIR_BAG && i < end; i++)
        if (value_is(model->at[i], value, value_len)) {
            free(object);
            return;
        }
    if (model->count == model->room)
        model->at = realloc(model->at, (model->room = model->room * 2 + 64) * sizeof *model->at);
    memmove(model->at + end + 1, model->at + end, (model->count - end) * sizeof *model->at);
    model->at[end] = object;
    model->count++;
}

bool model_del(struct model *model, const void *key, size_t key_len)
{
    size_t from = model_from(model, key, key_len), end = model_end(model, key, key_len);
    model_remove(model, from, end);
    return from < end;
}

bool model_del_object(struct model *model, const void *key, size_t key_len, const void *value, size_t value_len)
{
    size_t before = model->count;
    for (size_t i = model_end(model, key, key_len), from = model_from(model, key, key_len); i > from; i--)
        if (value_is(model->at[i - 1], value, value_len))
            model_remove(model, i - 1, i);
    return model->count < before;
}

void model_copy(struct model *to, const struct model *from)
{
    struct object **at = calloc(from->count + 1, sizeof *at);
    for (size_t i = 0; i < from->count; i++) {
        at[i] = from->at[i];
        at[i]->refs++;
    }
    model_free(to);
    *to = (struct model){from->type, at, from->count, from->count + 1};
}

void model_free(struct model *model)
{
    model_remove(model, 0, model->count);
    free(model->at);
    *model = (struct model){.type = model->type};
}

/* ---- The comparison ----------------------------------------------------------------------------------- */

/* Objects must come in the model's order, from `at` on, to `end`; or backwards, from end - 1. */
struct follow {
    const struct model *model;
    size_t at, end, seen, wrong;
    bool reverse;
};

static int follow_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct follow *f = arg;
    size_t left = f->end > f->at ? f->end - f->at : 0, i = f->reverse ? f->end - 1 - f->seen : f->at + f->seen;
    if (f->seen >= left || !object_is(f->model->at[i], key, key_len, value, value_len))
        f->wrong++;
    f->seen++;
    return 0;
}

static const char *shown(const void *key, size_t len)
{
    static char text[2][80];
    static unsigned turn;
    char *out = text[turn++ % 2];
    size_t n = (size_t)snprintf(out, sizeof text[0], "%zu:", len);
    for (size_t i = 0; key && i < len && n + 3 < sizeof text[0]; i++)
        n += (size_t)snprintf(out + n, sizeof text[0] - n, "%02x", ((const unsigned char *)key)[i]);
    return key ? out : "open";
}

static bool followed(const struct follow *f, const char *what, int rc, int want, const void *key, size_t key_len,
                     const char *when)
{
    size_t count = f->end > f->at ? f->end - f->at : 0;
    return CHECK(rc == want && !f->wrong && f->seen == count, "%s: %s at %s: %s, %zu objects, %zu wrong; expected %zu",
                 when, what, shown(key, key_len), error_text(rc), f->seen, f->wrong, count);
}

bool same_key(struct view view, const struct model *model, const void *key, size_t key_len, const char *when)
{
    struct follow f = {model, model_from(model, key, key_len), model_end(model, key, key_len), 0, 0, false};
    const struct object *object = f.at < f.end ? model->at[f.at] : NULL;
    size_t len = object ? object->value_len : 64, room = len;
    unsigned char *bytes = malloc(len + 1);
    int want = object ? 0 : -ENOENT;
    int rc = view.snapshot ? heir_snapshot_get(view.snapshot, key, key_len, bytes, &len)
                           : heir_get(view.table, key, key_len, bytes, &len);
    bool good = rc == want && (!object || value_is(object, bytes, len));
    free(bytes);
    if (!good)
        return CHECK(false, "%s: get of %s: %s, %zu bytes, expected %s, %zu bytes", when, shown(key, key_len),
                     error_text(rc), len, error_text(want), room);
    if (!view.snapshot && (rc = heir_has(view.table, key, key_len)) != want)
        return CHECK(false, "%s: has %s: %s", when, shown(key, key_len), error_text(rc));
    rc = view.snapshot ? heir_snapshot_values(view.snapshot, key, key_len, follow_visit, &f)
                       : heir_values(view.table, key, key_len, follow_visit, &f);
    return followed(&f, "values", rc, want, key, key_len, when);
}

bool same_range(struct view view, const struct model *model, const void *from, size_t from_len, const void *to,
                size_t to_len, bool reverse, const char *when)
{
    struct follow f = {
        model, from ? model_from(model, from, from_len) : 0, to ? model_from(model, to, to_len) : 0, 0, 0, reverse};
    int rc;
    if (!to)
        f.end = model->count;
    if (view.snapshot)
        rc = (reverse ? heir_snapshot_range_reverse : heir_snapshot_range)(view.snapshot, from, from_len, to, to_len,
                                                                           follow_visit, &f);
    else
        rc = (reverse ? heir_range_reverse : heir_range)(view.table, from, from_len, to, to_len, follow_visit, &f);
    char what[128];
    snprintf(what, sizeof what, "%s to %s", reverse ? "reverse range" : "range", shown(to, to_len));
    return followed(&f, what, rc, 0, from, from_len, when);
}

static bool same_step(const struct model *model, const char *what, size_t at, int rc, const void *found, size_t len,
                      const void *key, size_t key_len, const char *when)
{
    const struct object *want = at < model->count ? model->at[at] : NULL;
    return CHECK(rc == (want ? 0 : -ENOENT) && (!want || !key_order(want->bytes, want->key_len, found, len)),
                 "%s: %s of %s: %s, %s", when, what, shown(key, key_len), error_text(rc),
                 rc ? "something is there" : shown(found, len));
}

/* The first key, the last one, and those around this key. */
bool same_ends(struct heir_table *table, const struct model *model, const void *key, size_t key_len, const char *when)
{
    static unsigned char found[HEIR_KEY_MAX];
    size_t len = sizeof found;
    int rc = heir_first(table, found, &len);
    bool good = same_step(model, "first", 0, rc, found, len, NULL, 0, when);
    len = sizeof found;
    rc = heir_last(table, found, &len);
    good = good && same_step(model, "last", model->count - 1, rc, found, len, NULL, 0, when);
    len = sizeof found;
    rc = heir_next(table, key, key_len, found, &len);
    good = good && same_step(model, "next", model_end(model, key, key_len), rc, found, len, key, key_len, when);
    len = sizeof found;
    rc = heir_prev(table, key, key_len, found, &len);
    return good && same_step(model, "prev", model_from(model, key, key_len) - 1, rc, found, len, key, key_len, when);
}

struct walk {
    const struct model *model;
    unsigned char *seen;
    size_t next, end; /* in the model: what is still to come of the key that came last */
    size_t count, wrong;
};

static int walk_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct walk *walk = arg;
    if (walk->next == walk->end) { /* another key: all of its objects, from the first */
        walk->next = model_from(walk->model, key, key_len);
        walk->end = model_end(walk->model, key, key_len);
        if (walk->model->type == HEIR_ORDERED_SET && walk->next != walk->count)
            walk->wrong++;
    }
    walk->count++;
    if (walk->next == walk->end || walk->seen[walk->next]++ ||
        !object_is(walk->model->at[walk->next], key, key_len, value, value_len))
        walk->wrong++;
    walk->next += walk->next < walk->end;
    return 0;
}

bool same_content(struct view view, const struct model *model, const char *when)
{
    struct walk walk = {.model = model, .seen = calloc(1, model->count + 1)};
    int rc = view.snapshot ? heir_snapshot_foreach(view.snapshot, walk_visit, &walk)
                           : heir_foreach(view.table, walk_visit, &walk);
    bool good = CHECK(rc == 0 && !walk.wrong && walk.count == model->count,
                      "%s: the walk: %s, %zu objects, %zu wrong or twice; expected %zu", when, error_text(rc),
                      walk.count, walk.wrong, model->count);
    free(walk.seen);
    for (size_t i = 0; i < model->count && good; i++) {
        const struct object *object = model->at[i];
        if (i == 0 || key_order(object->bytes, object->key_len, model->at[i - 1]->bytes, model->at[i - 1]->key_len))
            good = same_key(view, model, object->bytes, object->key_len, when);
    }
    if (model->type != HEIR_ORDERED_SET || !good)
        return good;
    good =
        same_range(view, model, NULL, 0, NULL, 0, false, when) && same_range(view, model, NULL, 0, NULL, 0, true, when);
    for (size_t i = 0; i < 8 && good && model->count; i++) { /* and eight pieces */
        const struct object *from = model->at[i * model->count / 8], *to = model->at[((i + 1) * model->count - 1) / 8];
        good = same_range(view, model, from->bytes, from->key_len, to->bytes, to->key_len, i % 2, when);
    }
    return good;
}

/* ---- heir_check() ------------------------------------------------------------------------------------- */

static void report(unsigned law, const char *what, uint64_t where, void *arg)
{
    unsigned *told = arg;
    if ((*told)++ < 5)
        fprintf(stderr, "\nK%u: %s at %" PRIu64 "\n", law, what, where);
}

bool whole(struct heir_table *table, const char *when, struct heir_account *account)
{
    struct heir_account a = {0};
    struct heir_info info = {0};
    unsigned told = 0;
    int rc = heir_check(table, report, &told, &a), got = heir_info(table, &info);
    uint64_t sum = a.live + a.superseded + a.index + a.metadata + a.slack + a.free + a.untouched;
    if (account)
        *account = a;
    return CHECK(rc == 0 && told == 0 && a.findings == 0, "%s: heir_check: %s, %u findings told, %" PRIu64 " counted",
                 when, error_text(rc), told, a.findings) &&
           CHECK(got == 0 && sum == info.max_bytes, "%s: the account's sum is %" PRIu64 ", max_bytes %" PRIu64, when,
                 sum, info.max_bytes);
}
