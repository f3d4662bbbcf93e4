/* SPDX-License-Identifier: MIT */
/*
 * Bags and duplicate bags: the order of insertion, equal objects, what each function does to several objects of one
 * key; keys that are prefixes of each other with zero bytes at the end; thousands of objects of one key; random
 * operations against a model.
 */
#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const enum heir_type types[] = {HEIR_BAG, HEIR_DUPLICATE_BAG};
static struct heir_table *table, *reader;
static struct model model;

#define LONGEST (HEIR_KEY_MAX - 10) /* key of a bag */
#define IS_BAG  (model.type == HEIR_BAG)

static void begin(enum heir_type type, uint64_t max_bytes)
{
    struct heir_table_options options = {.type = type, .max_bytes = max_bytes};
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    REQUIRE_RC(heir_create(test_open("me"), "t", &options, &table), 0);
    REQUIRE_RC(heir_attach(test_open("other"), "t", &reader), 0);
    model_free(&model);
    model.type = type;
}

static void end(void)
{
    whole(reader, "at the end", NULL);
    CHECK_RC(heir_destroy(table), 0);
    CHECK_RC(heir_detach(reader), 0);
    model_free(&model);
}

static bool same(const char *when)
{
    return same_content((struct view){table, NULL}, &model, when) &&
           same_content((struct view){reader, NULL}, &model, when);
}

static void put(const char *key, const char *value)
{
    CHECK_RC(heir_put(table, key, strlen(key), value, strlen(value)), 0);
    model_put(&model, key, strlen(key), value, strlen(value));
}

/* The values of a key as one string. */
static int append(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len;
    if (value_len)
        strncat(arg, value, value_len);
    strcat(arg, " ");
    return 0;
}

static bool values_are(const char *key, const char *want)
{
    char text[256] = "";
    int rc = heir_values(reader, key, strlen(key), append, text);
    return CHECK_RC(rc, *want ? 0 : -ENOENT) && CHECK_STR(text, want);
}

/* ---- Each function ------------------------------------------------------------------------------------ */

static void puts_and_order(void)
{
    for (int i = 0; i < 2; i++) {
        begin(types[i], 0);
        put("k", "b");
        put("k", "a");
        put("other", "x");
        put("k", "c");
        put("k", "a"); /* equal to one that is there */
        values_are("k", IS_BAG ? "b a c " : "b a c a ");
        put("k", "");
        put("k", "b");
        values_are("k", IS_BAG ? "b a c  " : "b a c a  b ");
        values_are("none", "");
        same("after some puts");
        CHECK_RC(heir_put_new(table, "k", 1, "new", 3), -EEXIST);
        CHECK_RC(heir_put_new(table, "new", 3, "n", 1), 0);
        model_put(&model, "new", 3, "n", 1);
        CHECK_RC(heir_has(table, "k", 1), 0);
        CHECK_RC(heir_has(table, "K", 1), -ENOENT);
        same("after put_new");
        struct heir_info info = {0};
        CHECK_RC(heir_info(table, &info), 0);
        CHECK_EQ(info.objects, model.count);
        CHECK_EQ(info.type, types[i]);
        end();
    }
}

static void gets_and_takes(void)
{
    for (int i = 0; i < 2; i++) {
        char value[8];
        size_t len = sizeof value;
        begin(types[i], 0);
        put("k", "long");
        put("k", "1");
        put("k", "long");
        put("k", "2");
        CHECK_RC(heir_get(table, "k", 1, value, &len), 0);
        CHECK_BYTES(value, len, "long", 4);
        len = 3;
        CHECK_RC(heir_get(reader, "k", 1, value, &len), -ENOBUFS);
        CHECK_EQ(len, 4);
        len = 3;
        CHECK_RC(heir_take(table, "k", 1, value, &len), -ENOBUFS);
        CHECK_EQ(len, 4);
        same("nothing taken");
        const void *seen = NULL;
        CHECK_RC(heir_view(table, "k", 1, &seen, &len), 0);
        CHECK_BYTES(seen, len, "long", 4);
        static const char *const order[2][4] = {{"long", "1", "2", NULL}, {"long", "1", "long", "2"}};
        for (int n = 0; n < 4 && order[i][n]; n++) {
            len = sizeof value;
            CHECK_RC(heir_take(table, "k", 1, value, &len), 0);
            CHECK_BYTES(value, len, order[i][n], strlen(order[i][n]));
            model_remove(&model, 0, 1);
            same("after a take");
        }
        CHECK_RC(heir_take(table, "k", 1, value, &len), -ENOENT);
        CHECK_RC(heir_get(table, "k", 1, value, &len), -ENOENT);
        put("k", "first"); /* one that was there may come again, as the last */
        put("k", "long");
        values_are("k", "first long ");
        end();
    }
}

static void deletes(void)
{
    for (int i = 0; i < 2; i++) {
        begin(types[i], 0);
        static const char *const values[] = {"a", "b", "a", "c", "a", "", "d"};
        for (int n = 0; n < 7; n++) {
            put("k", values[n]);
            put("other", values[n]);
        }
        CHECK_RC(heir_del_object(table, "k", 1, "z", 1), -ENOENT);
        CHECK_RC(heir_del_object(table, "kk", 2, "a", 1), -ENOENT);
        CHECK_RC(heir_del_object(table, "k", 1, "a", 1), 0); /* of a duplicate bag all three */
        values_are("k", "b c  d ");
        CHECK_RC(heir_del_object(table, "k", 1, "a", 1), -ENOENT);
        CHECK_RC(heir_del_object(table, "k", 1, NULL, 0), 0);
        CHECK_RC(heir_del_object(table, "k", 1, "d", 1), 0); /* the last */
        CHECK_RC(heir_del_object(table, "k", 1, "b", 1), 0); /* the first */
        values_are("k", "c ");
        CHECK_RC(heir_del_object(table, "k", 1, "c", 1), 0);
        values_are("k", "");
        CHECK_RC(heir_del(table, "k", 1), -ENOENT);
        model_del(&model, "k", 1);
        same("the other key");
        CHECK_RC(heir_del(table, "other", 5), 0);
        CHECK_RC(heir_del(table, "other", 5), -ENOENT);
        model_del(&model, "other", 5);
        same("nothing");
        put("k", "x");
        CHECK_RC(heir_clear(table), 0);
        model_free(&model);
        same("cleared");
        end();
    }
}

static void many_at_once(void)
{
    static const struct heir_object more[] = {{"k", 1, "1", 1}, {"n", 1, "1", 1}, {"k", 1, "2", 1},
                                              {"k", 1, "1", 1}, {"n", 1, "", 0},  {"k", 1, "0", 1}};
    static const struct heir_object new[] = {{"p", 1, "1", 1}, {"q", 1, "1", 1}, {"p", 1, "2", 1}, {"p", 1, "1", 1}};
    static const struct heir_object bad[] = {{"r", 1, "1", 1}, {"k", 1, "1", 1}, {"s", 1, "1", 1}};
    for (int i = 0; i < 2; i++) {
        begin(types[i], 0);
        put("k", "0");
        CHECK_RC(heir_put_many(table, more, 6), 0);
        values_are("k", IS_BAG ? "0 1 2 " : "0 1 2 1 0 ");
        for (int n = 0; n < 6; n++)
            model_put(&model, more[n].key, more[n].key_len, more[n].value, more[n].value_len);
        same("put_many");
        CHECK_RC(heir_put_new_many(table, new, 4), 0);
        values_are("p", IS_BAG ? "1 2 " : "1 2 1 ");
        for (int n = 0; n < 4; n++)
            model_put(&model, new[n].key, 1, new[n].value, 1);
        same("put_new_many");
        CHECK_RC(heir_put_new_many(table, bad, 3), -EEXIST);
        same("put_new_many, refused");
        end();
    }
}

static void undone(void)
{
    for (int i = 0; i < 2; i++) {
        begin(types[i], 0);
        struct model before = {.type = types[i]};
        put("k", "a");
        put("k", "b");
        put("k", "c");
        put("m", "a");
        model_copy(&before, &model);
        for (int commit = 0; commit < 2; commit++) {
            CHECK_RC(heir_begin(table), 0);
            put("k", "d");
            CHECK_RC(heir_take(table, "k", 1, NULL, NULL), 0);
            model_remove(&model, 0, 1);
            put("k", "a");
            CHECK_RC(heir_del_object(table, "k", 1, "c", 1), 0);
            model_del_object(&model, "k", 1, "c", 1);
            CHECK_RC(heir_del(table, "m", 1), 0);
            model_del(&model, "m", 1);
            put("m", "z");
            same_content((struct view){table, NULL}, &model, "inside");
            same_content((struct view){reader, NULL}, &before, "outside");
            CHECK_RC(commit ? heir_commit(table) : heir_abort(table), 0);
            if (!commit)
                model_copy(&model, &before);
            same(commit ? "committed" : "aborted");
        }
        values_are("k", "b d a ");
        values_are("m", "z ");
        model_free(&before);
        end();
    }
}

static int no_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len, (void)value, (void)value_len, (void)arg;
    return 1;
}

static void not_for_bags(void)
{
    for (int i = 0; i < 2; i++) {
        int64_t sum = 5;
        void *lent = NULL;
        char found[4];
        size_t len = sizeof found;
        begin(types[i], 0);
        CHECK_RC(heir_put(table, "n", 1, &sum, 8), 0);
        model_put(&model, "n", 1, &sum, 8);
        CHECK_RC(heir_add(table, "n", 1, 1, &sum), -ENOTSUP);
        CHECK_RC(heir_add_wrap(table, "n", 1, 1, 10, 0, &sum), -ENOTSUP);
        CHECK_RC(heir_cas(table, "n", 1, &sum, 8, "x", 1), -ENOTSUP);
        CHECK_RC(heir_cas(table, "new", 3, NULL, 0, "x", 1), -ENOTSUP);
        CHECK_RC(heir_range(table, NULL, 0, NULL, 0, no_visit, NULL), -ENOTSUP);
        CHECK_RC(heir_range_reverse(table, NULL, 0, NULL, 0, no_visit, NULL), -ENOTSUP);
        CHECK_RC(heir_first(table, found, &len), -ENOTSUP);
        CHECK_RC(heir_begin(table), 0);
        CHECK_RC(heir_edit(table, "n", 1, 8, &lent), -ENOTSUP);
        CHECK_RC(heir_commit(table), 0);
        same("nothing has changed");
        end();
    }
}

/* ---- Keys --------------------------------------------------------------------------------------------- */

static void keys_with_zeros(void)
{
    static const unsigned char bytes[] = "a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0b";
    static const unsigned char zeros[24];
    for (int i = 0; i < 2; i++) {
        begin(types[i], 0);
        for (int round = 0; round < 4; round++) /* all prefixes, and strings of zeros; several objects each */
            for (size_t len = 1; len <= 18; len++) {
                char value[32];
                size_t value_len = (size_t)snprintf(value, sizeof value, "%zu/%d", len, round / 2);
                CHECK_RC(heir_put(table, bytes, len, value, value_len), 0);
                model_put(&model, bytes, len, value, value_len);
                CHECK_RC(heir_put(table, zeros, len, value, value_len), 0);
                model_put(&model, zeros, len, value, value_len);
            }
        same("keys with zero bytes");
        for (size_t len = 1; len <= 18; len += 2) {
            CHECK_RC(heir_del(table, bytes, len), 0);
            model_del(&model, bytes, len);
            CHECK_RC(heir_take(table, zeros, len, NULL, NULL), 0);
            size_t at = model_from(&model, zeros, len);
            model_remove(&model, at, at + 1);
            same("keys with zero bytes, fewer");
        }
        end();
    }
}

static void longest_keys(void)
{
    static unsigned char key[HEIR_KEY_MAX + 1];
    for (int i = 0; i < 2; i++) {
        begin(types[i], 0);
        memset(key, 'k', sizeof key);
        for (size_t len = LONGEST - 2; len <= LONGEST; len++)
            for (int n = 0; n < 3; n++) {
                CHECK_RC(heir_put(table, key, len, &n, sizeof n), 0);
                model_put(&model, key, len, &n, sizeof n);
            }
        same("the longest keys");
        for (size_t len = LONGEST + 1; len <= HEIR_KEY_MAX + 1; len++) {
            CHECK_RC(heir_put(table, key, len, "v", 1), -EINVAL);
            CHECK_RC(heir_put_new(table, key, len, "v", 1), -EINVAL);
            const struct heir_object objects[] = {{"a", 1, "v", 1}, {key, len, "v", 1}};
            CHECK_RC(heir_put_many(table, objects, 2), -EINVAL);
            CHECK_RC(heir_put_new_many(table, objects, 2), -EINVAL);
        }
        CHECK_RC(heir_put(table, key, 0, "v", 1), -EINVAL);
        same("the longest keys, and none that is longer");
        end();
    }
}

/* ---- Many --------------------------------------------------------------------------------------------- */

struct row {
    uint32_t next, step, wrong, count;
};

static int row_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct row *row = arg;
    uint32_t number = ~0u;
    (void)key, (void)key_len;
    if (value_len >= 4)
        memcpy(&number, value, 4);
    row->wrong += number != row->next;
    row->next = number + row->step;
    row->count++;
    return 0;
}

static bool row_is(uint32_t first, uint32_t step, uint32_t count)
{
    struct row row = {first, step, 0, 0};
    int rc = heir_values(reader, "key", 3, row_visit, &row);
    return CHECK(rc == (count ? 0 : -ENOENT) && !row.wrong && row.count == count,
                 "%s: %u objects of the key, %u in the wrong place, expected %u", error_text(rc), row.count, row.wrong,
                 count);
}

static void many_of_one_key(void)
{
    uint32_t many = TEST_ASAN || TEST_TSAN ? 2000 : 5000;
    for (int i = 0; i < 2; i++) {
        unsigned char value[60] = {0};
        int rc = 0;
        begin(types[i], 0);
        for (uint32_t n = 0; n < many && !rc; n++) {
            memcpy(value, &n, 4);
            rc = heir_put(table, "key", 3, value, 4 + n % 50);
            if (n % 100 == 0 && !rc)
                rc = heir_put(table, &n, 4, value, 4); /* and other keys between them */
        }
        CHECK_RC(rc, 0);
        row_is(0, 1, many);
        for (uint32_t n = 1; n < many && !rc; n += 2) { /* the odd ones go */
            memcpy(value, &n, 4);
            rc = heir_del_object(table, "key", 3, value, 4 + n % 50);
        }
        CHECK_RC(rc, 0);
        row_is(0, 2, many / 2);
        CHECK_RC(heir_begin(table), 0);
        for (uint32_t n = 0; n < many / 4 && !rc; n++) {
            size_t len = sizeof value;
            rc = heir_take(table, "key", 3, value, &len);
            if (!rc && memcmp(value, &(uint32_t){2 * n}, 4))
                rc = -EBADMSG;
        }
        CHECK_RC(rc, 0);
        row_is(0, 2, many / 2); /* not committed */
        CHECK_RC(heir_commit(table), 0);
        row_is(many / 2, 2, many / 2 - many / 4);
        whole(table, "many of one key", NULL);
        CHECK_RC(heir_begin(table), 0);
        CHECK_RC(heir_del(table, "key", 3), 0);
        CHECK_RC(heir_put(table, "key", 3, "1234", 4), 0);
        CHECK_RC(heir_abort(table), 0);
        row_is(many / 2, 2, many / 2 - many / 4);
        CHECK_RC(heir_del(table, "key", 3), 0);
        row_is(0, 0, 0);
        struct heir_info info = {0};
        CHECK_RC(heir_info(table, &info), 0);
        CHECK_EQ(info.objects, many / 100);
        end();
    }
}

/* Fill and empty a small one, many times. */
static void in_a_small_table(void)
{
    for (int i = 0; i < 2; i++) {
        begin(types[i], HEIR_TABLE_MIN);
        uint32_t first = 0;
        for (unsigned round = 0; round < 60; round++) {
            uint32_t n = 0, keys = round % 3 ? 7 : 1;
            int rc;
            while (!(rc = heir_put(table, &(uint32_t){n % keys}, 4, &n, 4)) && n < 100000) {
                model_put(&model, &(uint32_t){n % keys}, 4, &n, 4);
                n++;
            }
            CHECK_RC(rc, -ENOSPC);
            first = first ? first : n;
            if (!CHECK(n >= 50 && n >= first / 2, "round %u: %u fit, %u at first", round, n, first) || !same("full"))
                break;
            for (uint32_t k = 0; k < keys; k++) {
                rc = -ENOSPC;
                while (rc == -ENOSPC && round % 2) /* a great change in a full table: some go before */
                    if ((rc = heir_del(table, &k, 4)) == -ENOSPC)
                        REQUIRE_RC(heir_take(table, &k, 4, NULL, NULL), 0);
                while (round % 2 == 0 && !(rc = heir_take(table, &k, 4, NULL, NULL)))
                    ;
                if (rc != (round % 2 ? 0 : -ENOENT))
                    REQUIRE_EQ(k, -1);
            }
            model_free(&model);
            for (uint32_t k = 0; k < 2000; k++) /* what was put by comes back with the writes that follow */
                if (heir_put(table, "k", 1, "v", 1) || heir_del(table, "k", 1))
                    REQUIRE_EQ(k, -1);
            if (!same("emptied") || !whole(table, "emptied", NULL))
                break;
        }
        end();
    }
}

static void random_operations(void)
{
    static struct play play;
    unsigned operations = TEST_ASAN || TEST_TSAN ? 4000 : 20000;
    for (int i = 0; i < 2; i++)
        for (enum keys keys = 0; keys < KEYS_KINDS; keys++) {
            play_begin(&play, types[i], keys, 0);
            play.limit = keys % 2 ? 1500 : 300;
            if (!CHECK(play_on(&play, operations), "keys of kind %d", (int)keys))
                return;
            play_end(&play);
        }
}

static const struct test tests[] = {{"puts and order", puts_and_order},
                                    {"gets and takes", gets_and_takes},
                                    {"deletes", deletes},
                                    {"many at once", many_at_once},
                                    {"undone", undone},
                                    {"not for bags", not_for_bags},
                                    {"keys with zeros", keys_with_zeros},
                                    {"longest keys", longest_keys},
                                    {"many of one key", many_of_one_key},
                                    {"in a small table", in_a_small_table},
                                    {"random operations", random_operations},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "bags", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
