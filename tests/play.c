/* SPDX-License-Identifier: MIT */
/*
 * Random operations on a table and on its model. Lent memory (heir_edit) is kept and written to until its transaction
 * ends or its object is written otherwise, as heir.h allows; the model is changed with it.
 */
#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned char play_bytes[1 << 17];

static unsigned char key[HEIR_KEY_MAX + 64], room[sizeof play_bytes];

#define EXPECT(play, what, rc, want) expect(play, what, len, rc, want)

static bool expect(const struct play *play, const char *what, size_t key_len, int rc, int want)
{
    return CHECK(rc == want, "operation %lu, %s of a key of %zu bytes: %s, expected %s", play->operation, what, key_len,
                 error_text(rc), error_text(want));
}

static bool is_bag(const struct play *play)
{
    return play->now.type == HEIR_BAG || play->now.type == HEIR_DUPLICATE_BAG;
}

/* ---- Keys and values ---------------------------------------------------------------------------------- */

static size_t fill(struct rnd *rnd, unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)rnd_next(rnd);
    return len;
}

static size_t any_key(enum keys keys, struct rnd *rnd, unsigned char *out)
{
    uint64_t number;
    size_t len;
    switch (keys) {
    case KEYS_PREFIXES:
        len = 1 + rnd_below(rnd, rnd_below(rnd, 4) ? 12 : 40);
        for (size_t i = 0, any = rnd_below(rnd, 2); i < len; i++)
            out[i] = (unsigned char)(any ? rnd_below(rnd, 2) * 'a' : i % 5 == 0 ? 'a' : 0);
        return len;
    case KEYS_COMMON:
        memset(out, 'p', 200);
        return rnd_below(rnd, 20) ? 200 + fill(rnd, out + 200, 1 + rnd_below(rnd, 6)) : 1 + rnd_below(rnd, 200);
    case KEYS_BYTE:
        return fill(rnd, out, 1);
    case KEYS_NATIVE:
        number = rnd_below(rnd, 4) ? rnd_below(rnd, 5000) : rnd_next(rnd);
        memcpy(out, &number, 8);
        return 8;
    case KEYS_LARGE:
        len = rnd_below(rnd, 30) ? 1 + rnd_below(rnd, 2000) : HEIR_KEY_MAX - 10 - rnd_below(rnd, 3);
        memset(out, (int)rnd_below(rnd, 3), len);
        fill(rnd, out + rnd_below(rnd, len), 1);
        return len;
    default:
        return fill(rnd, out, 1 + rnd_below(rnd, 40));
    }
}

size_t play_key(struct play *play, unsigned char *out)
{
    struct rnd *rnd = &play->rnd;
    uint64_t how = rnd_below(rnd, 16);
    if (!play->now.count || how > 9)
        return any_key(play->keys, rnd, out);
    const struct object *there = play->now.at[rnd_below(rnd, play->now.count)];
    size_t len = there->key_len;
    memcpy(out, there->bytes, len);
    if (how == 9) { /* one that is nearly there */
        switch (rnd_below(rnd, 4)) {
        case 0:
            if (len < HEIR_KEY_MAX - 10)
                out[len++] = 0;
            break;
        case 1:
            len -= len > 1;
            break;
        case 2:
            out[len - 1]++;
            break;
        default:
            out[len - 1]--;
        }
    }
    return len;
}

size_t play_value(struct play *play)
{
    struct rnd *rnd = &play->rnd;
    uint64_t kind = rnd_below(rnd, 100), number = rnd_next(rnd) >> rnd_below(rnd, 62);
    size_t len = kind < 5    ? 0
                 : kind < 40 ? 8
                 : kind < 94 ? rnd_below(rnd, 200)
                 : kind < 99 ? rnd_below(rnd, 5000)
                             : rnd_below(rnd, rnd_below(rnd, 8) ? 40000 : sizeof play_bytes);
    if (is_bag(play) && kind > 25 && kind < 90) /* so that equal ones are common */
        return play_bytes[0] = (unsigned char)rnd_below(rnd, 6), rnd_below(rnd, 2);
    memset(play_bytes, (int)number, len);
    memcpy(play_bytes, &number, len < 8 ? len : 8);
    return len;
}

/* ---- What is lent ------------------------------------------------------------------------------------- */

static void end_edit(struct play *play, unsigned i)
{
    free(play->edit[i].of);
    play->edit[i] = play->edit[--play->edits];
}

static void end_edits(struct play *play)
{
    while (play->edits)
        end_edit(play, 0);
    play->calls = 0;
}

static unsigned edit_of(const struct play *play, const void *k, size_t len)
{
    unsigned i = 0;
    while (i < play->edits && key_order(play->edit[i].of->bytes, play->edit[i].of->key_len, k, len))
        i++;
    return i;
}

/* The object is written otherwise. */
static void written(struct play *play, const void *k, size_t len)
{
    unsigned i = edit_of(play, k, len);
    if (i < play->edits)
        end_edit(play, i);
}

static void put(struct play *play, const void *k, size_t len, const void *value, size_t value_len)
{
    written(play, k, len);
    model_put(&play->now, k, len, value, value_len);
}

static bool store_into(struct play *play, unsigned i)
{
    const struct object *of = play->edit[i].of;
    size_t len = play->edit[i].len;
    if (len) {
        size_t at = rnd_below(&play->rnd, len), some = 1 + rnd_below(&play->rnd, len - at);
        memset(play->edit[i].lent + at, (int)rnd_next(&play->rnd), some);
    }
    model_put(&play->now, of->bytes, of->key_len, play->edit[i].lent, len);
    return true;
}

static bool edit(struct play *play, size_t len)
{
    size_t at = model_from(&play->now, key, len), size = rnd_below(&play->rnd, 3) ? play_value(play) : 64;
    const struct object *old = model_has(&play->now, key, len) ? play->now.at[at] : NULL;
    unsigned i = edit_of(play, key, len);
    void *lent = NULL;
    if (is_bag(play) || !play->open) {
        int rc = heir_edit(play->table, key, len, size, &lent);
        return EXPECT(play, "edit", rc, is_bag(play) && (play->open || rc != -EINVAL) ? -ENOTSUP : -EINVAL);
    }
    if (play->calls >= EDITS - 4) /* the limit has a test of its own */
        return true;
    if (old && rnd_below(&play->rnd, 2))
        size = old->value_len;
    play->calls++;
    memset(play_bytes, 0, size);
    if (old && size && old->value_len)
        memcpy(play_bytes, object_value(old), old->value_len < size ? old->value_len : size);
    if (!EXPECT(play, "edit", heir_edit(play->table, key, len, size, &lent), 0) ||
        !CHECK(lent && (uintptr_t)lent % 8 == 0 && !memcmp(lent, play_bytes, size),
               "operation %lu: lent at %p, another content", play->operation, lent))
        return false;
    if (i < play->edits && play->edit[i].len == size &&
        !CHECK(play->edit[i].lent == lent, "operation %lu: edited again, and lent elsewhere", play->operation))
        return false;
    put(play, key, len, lent, size);
    struct object *of = calloc(1, sizeof *of + len);
    memcpy(of->bytes, key, of->key_len = len);
    play->edit[play->edits].of = of;
    play->edit[play->edits].lent = lent;
    play->edit[play->edits].len = size;
    return store_into(play, play->edits++);
}

/* ---- Writes ------------------------------------------------------------------------------------------- */

static bool add(struct play *play, size_t len, bool wrap)
{
    struct rnd *rnd = &play->rnd;
    int64_t delta = (int64_t)rnd_next(rnd) >> rnd_below(rnd, 63), sum = 0, old = 0, expected = 0;
    int64_t limit = (int64_t)rnd_next(rnd) >> rnd_below(rnd, 63), to = (int64_t)rnd_next(rnd) >> rnd_below(rnd, 63);
    bool there = model_has(&play->now, key, len);
    const struct object *object = there ? play->now.at[model_from(&play->now, key, len)] : NULL;
    int want = is_bag(play) ? -ENOTSUP : there && object->value_len != 8 ? -EINVAL : 0;
    if (!want && there)
        memcpy(&old, object_value(object), 8);
    if (!want) {
        bool over = __builtin_add_overflow(old, delta, &expected);
        if (wrap && (over || (delta >= 0 ? expected > limit : expected < limit)))
            expected = to;
        else if (over)
            want = -ERANGE;
    }
    int rc = wrap ? heir_add_wrap(play->table, key, len, delta, limit, to, &sum)
                  : heir_add(play->table, key, len, delta, &sum);
    if (!want)
        put(play, key, len, &expected, 8);
    return EXPECT(play, wrap ? "add_wrap" : "add", rc, want) &&
           CHECK(rc || sum == expected, "operation %lu: %lld, expected %lld", play->operation, (long long)sum,
                 (long long)expected);
}

static bool cas(struct play *play, size_t len)
{
    bool there = model_has(&play->now, key, len);
    const struct object *object = there ? play->now.at[model_from(&play->now, key, len)] : NULL;
    size_t value_len = play_value(play), old_len = 0;
    const void *old = NULL;
    uint64_t how = rnd_below(&play->rnd, 4);
    int want = there ? -ECANCELED : 0;
    if (how) {
        old_len = there ? object->value_len : 5;
        memcpy(room, there ? object_value(object) : "wrong", old_len);
        want = there ? 0 : -ENOENT;
        old = room;
        if (how == 1) { /* another value: other bytes, shorter, longer */
            uint64_t other = rnd_below(&play->rnd, 3);
            if (other == 0 || !old_len)
                room[old_len++] = 0;
            else if (other == 1)
                old_len--;
            else
                room[rnd_below(&play->rnd, old_len)] ^= 1;
            want = there ? -ECANCELED : -ENOENT;
        }
    }
    if (is_bag(play))
        want = -ENOTSUP;
    int rc = heir_cas(play->table, key, len, old, old_len, play_bytes, value_len);
    if (!want)
        put(play, key, len, play_bytes, value_len);
    return EXPECT(play, "cas", rc, want);
}

#define MANY 6

static bool put_many(struct play *play, bool new)
{
    static unsigned char keys[MANY][HEIR_KEY_MAX + 64];
    struct heir_object objects[MANY];
    size_t count = rnd_below(&play->rnd, MANY + 1), len = count, value_len = play_value(play);
    int want = 0, rc;
    for (size_t i = 0; i < count; i++) {
        objects[i] = (struct heir_object){keys[i], play_key(play, keys[i]), play_bytes + i,
                                          rnd_below(&play->rnd, 2) && value_len > i ? value_len - i : 0};
        if (new &&rnd_below(&play->rnd, 4))
            objects[i].key_len = any_key(play->keys, &play->rnd, keys[i]);
        if (new &&model_has(&play->now, keys[i], objects[i].key_len))
            want = -EEXIST;
    }
    rc = (new ? heir_put_new_many : heir_put_many)(play->table, objects, count);
    for (size_t i = 0; i < count && !want; i++)
        put(play, keys[i], objects[i].key_len, objects[i].value, objects[i].value_len);
    return EXPECT(play, new ? "put_new_many" : "put_many", rc, want);
}

static bool del_object(struct play *play, size_t len)
{
    size_t from = model_from(&play->now, key, len), end = model_end(&play->now, key, len), value_len = 0;
    if (from < end && rnd_below(&play->rnd, 4)) {
        const struct object *object = play->now.at[from + rnd_below(&play->rnd, end - from)];
        memcpy(play_bytes, object_value(object), value_len = object->value_len);
    } else {
        value_len = play_value(play);
    }
    int rc = heir_del_object(play->table, key, len, play_bytes, value_len);
    bool there = model_del_object(&play->now, key, len, play_bytes, value_len);
    if (there)
        written(play, key, len);
    return EXPECT(play, "del_object", rc, there ? 0 : -ENOENT);
}

static bool take(struct play *play, size_t len)
{
    size_t from = model_from(&play->now, key, len), got = sizeof room;
    const struct object *object = model_has(&play->now, key, len) ? play->now.at[from] : NULL;
    if (object && object->value_len && rnd_below(&play->rnd, 3) == 0) {
        got = rnd_below(&play->rnd, object->value_len);
        return EXPECT(play, "take with little room", heir_take(play->table, key, len, room, &got), -ENOBUFS) &&
               CHECK_EQ(got, object->value_len);
    }
    int rc = heir_take(play->table, key, len, room, &got);
    bool good = EXPECT(play, "take", rc, object ? 0 : -ENOENT);
    if (good && object) {
        good = CHECK(object_is(object, key, len, room, got), "operation %lu: took another value", play->operation);
        written(play, key, len);
        model_remove(&play->now, from, from + 1);
    }
    return good;
}

static bool write_one(struct play *play)
{
    size_t len = play_key(play, key), value_len;
    uint64_t what = rnd_below(&play->rnd, play->now.count > play->limit ? 200 : 100);
    bool there = model_has(&play->now, key, len);
    int rc;
    if (what < 25 && what >= 5) {
        value_len = play_value(play);
        rc = heir_put(play->table, key, len, play_bytes, value_len);
        put(play, key, len, play_bytes, value_len);
        return EXPECT(play, "put", rc, 0);
    }
    if (what < 30) {
        value_len = play_value(play);
        rc = heir_put_new(play->table, key, len, play_bytes, value_len);
        if (!there)
            put(play, key, len, play_bytes, value_len);
        return EXPECT(play, "put_new", rc, there ? -EEXIST : 0);
    }
    if (what < 38)
        return add(play, len, what % 2);
    if (what < 48)
        return cas(play, len);
    if (what < 58)
        return put_many(play, what % 2);
    if (what < 66)
        return edit(play, len);
    if (what < 74)
        return !play->edits || store_into(play, (unsigned)rnd_below(&play->rnd, play->edits));
    if (what < 79)
        return take(play, len);
    if (what < 88)
        return del_object(play, len);
    rc = heir_del(play->table, key, len);
    if (there)
        written(play, key, len);
    model_del(&play->now, key, len);
    return EXPECT(play, "del", rc, there ? 0 : -ENOENT);
}

/* ---- The rest ----------------------------------------------------------------------------------------- */

static const struct model *committed(const struct play *play)
{
    return play->open ? &play->before : &play->now;
}

static bool look(struct play *play)
{
    static unsigned char to[HEIR_KEY_MAX + 64];
    size_t len = play_key(play, key), to_len = play_key(play, to), got = 1;
    uint64_t what = rnd_below(&play->rnd, 8);
    bool ours = rnd_below(&play->rnd, 2);
    struct view view = {ours ? play->table : play->reader, NULL};
    const struct model *model = ours ? &play->now : committed(play);
    char when[64];
    snprintf(when, sizeof when, "operation %lu%s%s", play->operation, ours ? "" : ", the reader",
             play->open ? ", in a transaction" : "");
    if (what == 0) {
        const void *value = NULL;
        const struct object *object = model_has(model, key, len) ? model->at[model_from(model, key, len)] : NULL;
        int rc = heir_view(view.table, key, len, &value, &got);
        return EXPECT(play, "view", rc,
                      !ours    ? -EPERM
                      : object ? 0
                               : -ENOENT) &&
               CHECK(rc || object_is(object, key, len, value, got), "%s: the view is of another value", when);
    }
    if (what < 3 || play->now.type != HEIR_ORDERED_SET)
        return same_key(view, model, key, len, when);
    if (what < 5)
        return same_ends(view.table, model, key, len, when);
    const void *from = rnd_below(&play->rnd, 8) ? key : NULL, *end = rnd_below(&play->rnd, 8) ? to : NULL;
    if (rnd_below(&play->rnd, 8) == 0)
        memcpy(to, key, to_len = len);
    return same_range(view, model, from, from ? len : 0, end, end ? to_len : 0, what % 2, when);
}

static bool end_transaction(struct play *play, bool commit)
{
    int rc = commit ? heir_commit(play->table) : heir_abort(play->table);
    play->open = false;
    end_edits(play);
    if (!commit)
        model_copy(&play->now, &play->before);
    model_free(&play->before);
    return CHECK(rc == 0, "operation %lu, %s: %s", play->operation, commit ? "commit" : "abort", error_text(rc));
}

bool play_compare(struct play *play)
{
    struct heir_info info = {0};
    char when[64];
    snprintf(when, sizeof when, "operation %lu%s", play->operation, play->open ? ", in a transaction" : "");
    bool good = same_content((struct view){play->table, NULL}, &play->now, when);
    snprintf(when, sizeof when, "operation %lu, the reader", play->operation);
    return good && same_content((struct view){play->reader, NULL}, committed(play), when) &&
           CHECK_RC(heir_info(play->reader, &info), 0) &&
           CHECK(play->open || info.objects == play->now.count, "operation %lu: %llu objects", play->operation,
                 (unsigned long long)info.objects);
}

bool play_step(struct play *play)
{
    uint64_t what = rnd_below(&play->rnd, 1000);
    play->operation++;
    if (what < 680)
        return write_one(play);
    if (what < 960)
        return look(play);
    if (what == 960 && rnd_below(&play->rnd, 4) == 0) {
        int rc = heir_clear(play->table);
        while (play->edits)
            end_edit(play, 0);
        model_free(&play->now);
        return CHECK(rc == 0, "operation %lu, clear: %s", play->operation, error_text(rc));
    }
    if (what < 963)
        return play_compare(play);
    if (play->open)
        return end_transaction(play, what % 2);
    int rc = heir_begin(play->table);
    play->open = true;
    model_copy(&play->before, &play->now);
    return CHECK(rc == 0, "operation %lu, begin: %s", play->operation, error_text(rc));
}

bool play_on(struct play *play, unsigned operations)
{
    bool good = true;
    for (unsigned i = 0; i < operations && good; i++)
        good = play_step(play);
    return good && play_compare(play);
}

void play_begin(struct play *play, enum heir_type type, enum keys keys, uint64_t max_bytes)
{
    static uint64_t turn;
    *play = (struct play){.rnd = {test_seed + 1000003 * turn++}, .keys = keys, .limit = 1500};
    play->now.type = play->before.type = type;
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *owner = test_open("owner"), *reader = test_open("reader");
    struct heir_table_options options = {.type = type, .max_bytes = max_bytes};
    REQUIRE_RC(heir_create(owner, "t", &options, &play->table), 0);
    REQUIRE_RC(heir_attach(reader, "t", &play->reader), 0);
}

void play_close(struct play *play)
{
    if (play->open)
        end_transaction(play, true);
}

void play_end(struct play *play)
{
    play_close(play);
    play_compare(play);
    whole(play->reader, "at the end", NULL);
    CHECK_RC(heir_destroy(play->table), 0);
    CHECK_RC(heir_detach(play->reader), 0);
    end_edits(play);
    model_free(&play->now);
    model_free(&play->before);
}
