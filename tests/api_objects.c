/* SPDX-License-Identifier: MIT */
/*
 * The errors of the object functions, of transactions and of walks.
 */
#include "api.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct heir *me, *other;
static struct heir_table *table, *reader;

/* A protected table "t" of me, which other reads. */
static void begin(const struct heir_table_options *options)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    me = test_open("me");
    other = test_open("other");
    REQUIRE_RC(heir_create(me, "t", options, &table), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
}

static uint64_t committed(void)
{
    struct heir_info info = {0};
    CHECK_RC(heir_info(table, &info), 0);
    return info.committed;
}

static int visit_nothing(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len, (void)value, (void)value_len, (void)arg;
    return 0;
}

static void null_handles(void)
{
    size_t len = 0;
    CHECK_RC(heir_put(NULL, "k", 1, "v", 1), -EINVAL);
    CHECK_RC(heir_put_new(NULL, "k", 1, "v", 1), -EINVAL);
    CHECK_RC(heir_get(NULL, "k", 1, NULL, &len), -EINVAL);
    CHECK_RC(heir_has(NULL, "k", 1), -EINVAL);
    CHECK_RC(heir_del(NULL, "k", 1), -EINVAL);
    CHECK_RC(heir_take(NULL, "k", 1, NULL, &len), -EINVAL);
    CHECK_RC(heir_add(NULL, "k", 1, 1, NULL), -EINVAL);
    CHECK_RC(heir_clear(NULL), -EINVAL);
    CHECK_RC(heir_begin(NULL), -EINVAL);
    CHECK_RC(heir_commit(NULL), -EINVAL);
    CHECK_RC(heir_abort(NULL), -EINVAL);
    CHECK_RC(heir_foreach(NULL, visit_nothing, NULL), -EINVAL);
    CHECK_RC(heir_range(NULL, NULL, 0, NULL, 0, visit_nothing, NULL), -EINVAL);
}

static void key_lengths(void)
{
    static char big[HEIR_KEY_MAX + 1];
    static const size_t bad[] = {0, HEIR_KEY_MAX + 1, UINT32_MAX, SIZE_MAX};
    char value[8];
    begin(NULL);
    uint64_t before = committed();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t len = sizeof value;
        CHECK_RC(heir_put(table, big, bad[i], "v", 1), -EINVAL);
        CHECK_RC(heir_put_new(table, big, bad[i], "v", 1), -EINVAL);
        CHECK_RC(heir_get(table, big, bad[i], value, &len), -EINVAL);
        CHECK_RC(heir_has(table, big, bad[i]), -EINVAL);
        CHECK_RC(heir_del(table, big, bad[i]), -EINVAL);
        CHECK_RC(heir_take(table, big, bad[i], value, &len), -EINVAL);
        CHECK_RC(heir_add(table, big, bad[i], 1, NULL), -EINVAL);
        CHECK_RC(heir_get(reader, big, bad[i], value, &len), -EINVAL);
    }
    size_t len = sizeof value;
    CHECK_RC(heir_put(table, NULL, 1, "v", 1), -EINVAL);
    CHECK_RC(heir_get(table, NULL, 1, value, &len), -EINVAL);
    CHECK_RC(heir_has(table, NULL, 1), -EINVAL);
    CHECK_RC(heir_del(table, NULL, 1), -EINVAL);
    CHECK_RC(heir_take(table, NULL, 1, value, &len), -EINVAL);
    CHECK_RC(heir_add(table, NULL, 1, 1, NULL), -EINVAL);
    CHECK_EQ(committed(), before);
    CHECK_RC(heir_put(table, big, HEIR_KEY_MAX, "v", 1), 0);
    CHECK_RC(heir_has(reader, big, HEIR_KEY_MAX), 0);
    CHECK_RC(heir_has(reader, big, HEIR_KEY_MAX - 1), -ENOENT); /* equal means equal length */
    CHECK_RC(heir_del(table, big, HEIR_KEY_MAX), 0);
}

static void value_lengths(void)
{
    char value[8] = "........";
    size_t len = sizeof value;
    begin(NULL);
    uint64_t before = committed();
    CHECK_RC(heir_put(table, "k", 1, NULL, 1), -EINVAL);
    CHECK_RC(heir_put_new(table, "k", 1, NULL, 1), -EINVAL);
    CHECK_RC(heir_put(table, "k", 1, "v", UINT64_C(1) << 32), -EFBIG);
    CHECK_RC(heir_put(table, "k", 1, "v", SIZE_MAX), -EFBIG);
    CHECK_RC(heir_put_new(table, "k", 1, "v", UINT64_C(1) << 32), -EFBIG);
    CHECK_RC(heir_put(table, "k", 1, value, (UINT64_C(1) << 32) - 1), -ENOSPC); /* the table has 1 GiB */
    CHECK_EQ(committed(), before);
    CHECK_RC(heir_put(table, "k", 1, NULL, 0), 0); /* an empty value is a value */
    CHECK_RC(heir_get(reader, "k", 1, value, &len), 0);
    CHECK_EQ(len, 0);
    CHECK_EQ(value[0], '.');
    CHECK_RC(heir_get(reader, "k", 1, NULL, &len), 0);
    CHECK_RC(heir_get(reader, "k", 1, NULL, NULL), 0);
}

static void fixed_sizes(void)
{
    const int64_t key = 5, value[2] = {1, 2};
    begin(&(struct heir_table_options){.key_size = 8, .value_size = 16});
    CHECK_RC(heir_put(table, &key, 8, value, 16), 0);
    CHECK_RC(heir_put(table, &key, 7, value, 16), -EINVAL);
    CHECK_RC(heir_put(table, &key, 8, value, 15), -EINVAL);
    CHECK_RC(heir_put(table, &key, 8, NULL, 0), -EINVAL);
    CHECK_RC(heir_put_new(table, &key, 4, value, 16), -EINVAL);
    CHECK_RC(heir_put_new(table, &key, 8, value, 8), -EINVAL);
    CHECK_RC(heir_has(table, &key, 4), -EINVAL);
    CHECK_RC(heir_del(table, &key, 4), -EINVAL);
    CHECK_RC(heir_add(table, &key, 8, 1, NULL), -EINVAL); /* its values are not 8 bytes long */
    const int64_t absent = 6;
    CHECK_RC(heir_add(table, &absent, 8, 1, NULL), -EINVAL);
    CHECK_RC(heir_has(table, &absent, 8), -ENOENT);
    int64_t out[2] = {0};
    size_t len = sizeof out;
    CHECK_RC(heir_get(reader, &key, 8, out, &len), 0);
    CHECK_BYTES(out, len, value, 16);
}

static void get_and_take(void)
{
    char value[8] = "........";
    size_t len = sizeof value;
    begin(NULL);
    CHECK_RC(heir_get(table, "k", 1, value, &len), -ENOENT);
    CHECK_RC(heir_has(table, "k", 1), -ENOENT);
    CHECK_RC(heir_take(table, "k", 1, value, &len), -ENOENT);
    CHECK_RC(heir_del(table, "k", 1), -ENOENT);
    CHECK_RC(heir_put(table, "k", 1, "value", 5), 0);
    CHECK_RC(heir_has(table, "k", 1), 0);
    len = 4;
    CHECK_RC(heir_get(table, "k", 1, value, &len), -ENOBUFS);
    CHECK_EQ(len, 5);
    CHECK_BYTES(value, 8, "........", 8); /* nothing is copied */
    len = 4;
    CHECK_RC(heir_take(table, "k", 1, value, &len), -ENOBUFS);
    CHECK_EQ(len, 5);
    CHECK_BYTES(value, 8, "........", 8);
    len = 0;
    CHECK_RC(heir_get(reader, "k", 1, NULL, &len), -ENOBUFS);
    CHECK_EQ(len, 5);
    CHECK_RC(heir_take(table, "k", 1, NULL, &len), len == 5 ? -EINVAL : -ENOBUFS); /* room that is nowhere */
    len = 0;
    CHECK_RC(heir_take(table, "k", 1, NULL, &len), -ENOBUFS);
    CHECK_RC(heir_get(table, "k", 1, NULL, NULL), 0);
    len = 8;
    CHECK_RC(heir_get(table, "k", 1, NULL, &len), -EINVAL);
    CHECK_RC(heir_has(table, "k", 1), 0);
    len = 5;
    CHECK_RC(heir_take(table, "k", 1, value, &len), 0);
    CHECK_BYTES(value, len, "value", 5);
    CHECK_BYTES(value + 5, 3, "...", 3);
    CHECK_RC(heir_has(reader, "k", 1), -ENOENT);
    CHECK_RC(heir_put(table, "k", 1, "value", 5), 0);
    CHECK_RC(heir_take(table, "k", 1, NULL, NULL), 0);
    CHECK_RC(heir_has(reader, "k", 1), -ENOENT);
}

static void put_new_and_del(void)
{
    char value[8];
    size_t len = sizeof value;
    begin(NULL);
    CHECK_RC(heir_put_new(table, "k", 1, "one", 3), 0);
    CHECK_RC(heir_put_new(table, "k", 1, "two", 3), -EEXIST);
    CHECK_RC(heir_get(reader, "k", 1, value, &len), 0);
    CHECK_BYTES(value, len, "one", 3);
    CHECK_RC(heir_del(table, "k", 1), 0);
    CHECK_RC(heir_del(table, "k", 1), -ENOENT);
    CHECK_RC(heir_put_new(table, "k", 1, "two", 3), 0);
}

static void add_rules(void)
{
    int64_t sum = -7, raw;
    size_t len = sizeof raw;
    begin(NULL);
    CHECK_RC(heir_add(table, "n", 1, 5, &sum), 0); /* an absent one counts as 0 */
    CHECK_EQ(sum, 5);
    CHECK_RC(heir_add(table, "n", 1, -8, NULL), 0);
    CHECK_RC(heir_get(reader, "n", 1, &raw, &len), 0);
    CHECK_EQ(raw, -3);
    CHECK_EQ(len, 8);
    CHECK_RC(heir_add(table, "n", 1, 0, &sum), 0);
    CHECK_EQ(sum, -3);
    CHECK_RC(heir_add(table, "n", 1, INT64_MIN, &sum), -ERANGE);
    CHECK_RC(heir_add(table, "n", 1, INT64_MAX, &sum), 0);
    CHECK_EQ(sum, INT64_MAX - 3);
    CHECK_RC(heir_add(table, "n", 1, 3, &sum), 0);
    CHECK_EQ(sum, INT64_MAX);
    uint64_t before = committed();
    CHECK_RC(heir_add(table, "n", 1, 1, &sum), -ERANGE);
    CHECK_RC(heir_put(table, "s", 1, "seven..", 7), 0);
    CHECK_RC(heir_add(table, "s", 1, 1, &sum), -EINVAL);
    CHECK_RC(heir_put(table, "e", 1, NULL, 0), 0);
    CHECK_RC(heir_add(table, "e", 1, 1, &sum), -EINVAL);
    CHECK_EQ(committed(), before + 2); /* a failed one is no transaction */
    len = sizeof raw;
    CHECK_RC(heir_get(reader, "n", 1, &raw, &len), 0);
    CHECK_EQ(raw, INT64_MAX);
    char text[8];
    len = sizeof text;
    CHECK_RC(heir_get(reader, "s", 1, text, &len), 0);
    CHECK_BYTES(text, len, "seven..", 7);
}

static void readers_may_not_write(void)
{
    char value[8];
    size_t len = sizeof value;
    begin(NULL);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), 0);
    uint64_t before = committed();
    CHECK_RC(heir_put(reader, "k", 1, "w", 1), -EPERM);
    CHECK_RC(heir_put_new(reader, "l", 1, "w", 1), -EPERM);
    CHECK_RC(heir_del(reader, "k", 1), -EPERM);
    CHECK_RC(heir_take(reader, "k", 1, value, &len), -EPERM);
    CHECK_RC(heir_add(reader, "n", 1, 1, NULL), -EPERM);
    CHECK_RC(heir_clear(reader), -EPERM);
    CHECK_RC(heir_begin(reader), -EPERM);
    CHECK_EQ(committed(), before);
    /* and a former owner gets the other answer */
    CHECK_RC(heir_give_away(table, heir_id(other), NULL, 0), 0);
    CHECK_RC(heir_put(table, "k", 1, "w", 1), -ESTALE);
    CHECK_RC(heir_put_new(table, "l", 1, "w", 1), -ESTALE);
    CHECK_RC(heir_del(table, "k", 1), -ESTALE);
    CHECK_RC(heir_take(table, "k", 1, value, &len), -ESTALE);
    CHECK_RC(heir_add(table, "n", 1, 1, NULL), -ESTALE);
    CHECK_RC(heir_clear(table), -ESTALE);
    CHECK_RC(heir_begin(table), -ESTALE);
    CHECK_EQ(committed(), before);
    CHECK_RC(heir_has(table, "k", 1), 0); /* its handle is a reader's */
    CHECK_RC(heir_put(reader, "k", 1, "w", 1), 0);
}

static void *end_elsewhere(void *result)
{
    int *rc = result;
    rc[0] = heir_commit(table);
    rc[1] = heir_abort(table);
    return NULL;
}

static void transactions(void)
{
    int rc[2] = {0, 0};
    pthread_t thread;
    begin(NULL);
    CHECK_RC(heir_commit(table), -EINVAL);
    CHECK_RC(heir_abort(table), -EINVAL);
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_begin(table), -EALREADY);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), 0);
    REQUIRE(pthread_create(&thread, NULL, end_elsewhere, rc) == 0);
    pthread_join(thread, NULL);
    CHECK_RC(rc[0], -EPERM);
    CHECK_RC(rc[1], -EPERM);
    CHECK_RC(heir_has(table, "k", 1), 0); /* its own thread reads its own changes */
    CHECK_RC(heir_has(reader, "k", 1), -ENOENT);
    CHECK_RC(heir_put_new(table, "k", 1, "w", 1), -EEXIST);
    CHECK_RC(heir_del(table, "x", 1), -ENOENT); /* an error does not end it */
    CHECK_RC(heir_commit(table), 0);
    CHECK_RC(heir_has(reader, "k", 1), 0);
    CHECK_RC(heir_commit(table), -EINVAL);
    CHECK_RC(heir_begin(table), 0); /* an empty one */
    CHECK_RC(heir_commit(table), 0);
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_del(table, "k", 1), 0);
    CHECK_RC(heir_put(table, "l", 1, "v", 1), 0);
    CHECK_RC(heir_has(table, "k", 1), -ENOENT);
    CHECK_RC(heir_abort(table), 0);
    CHECK_RC(heir_has(table, "k", 1), 0);
    CHECK_RC(heir_has(table, "l", 1), -ENOENT);
    CHECK_RC(heir_abort(table), -EINVAL);
    CHECK_RC(heir_begin(table), 0); /* a close in the middle rolls back */
    CHECK_RC(heir_del(table, "k", 1), 0);
    test_close(me);
    CHECK_RC(heir_has(reader, "k", 1), 0);
}

static int stop_at_two(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    return ++*(int *)arg == 2 ? 17 : 0;
}

static int write_inside(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)value, (void)value_len;
    char name[16] = "new-";
    ++*(int *)arg;
    if (key_len != 1)
        return -EBADMSG; /* one that came after the beginning */
    memcpy(name + 4, key, 1);
    int rc = heir_put(table, name, 5, "x", 1);
    return rc ? rc : heir_del(table, key, key_len);
}

static void walks(void)
{
    int seen = 0;
    begin(NULL);
    CHECK_RC(heir_foreach(table, NULL, NULL), -EINVAL);
    CHECK_RC(heir_range(table, NULL, 0, NULL, 0, visit_nothing, NULL), -ENOTSUP);
    CHECK_RC(heir_range(table, "a", 1, "b", 1, visit_nothing, NULL), -ENOTSUP);
    CHECK_RC(heir_foreach(table, stop_at_two, &seen), 0);
    CHECK_EQ(seen, 0);
    for (char key = 'a'; key < 'f'; key++)
        REQUIRE_RC(heir_put(table, &key, 1, "v", 1), 0);
    CHECK_RC(heir_foreach(reader, stop_at_two, &seen), 17);
    CHECK_EQ(seen, 2);
    seen = 0;
    CHECK_RC(heir_foreach(table, write_inside, &seen), 0); /* it shows the state at its beginning */
    CHECK_EQ(seen, 5);
    struct heir_info info;
    CHECK_RC(heir_info(reader, &info), 0);
    CHECK_EQ(info.objects, 5);
    CHECK_RC(heir_has(reader, "new-a", 5), 0);
    CHECK_RC(heir_has(reader, "a", 1), -ENOENT);
}

const struct test api_objects[] = {{"NULL handles", null_handles},
                                   {"key lengths", key_lengths},
                                   {"value lengths", value_lengths},
                                   {"fixed sizes", fixed_sizes},
                                   {"get and take", get_and_take},
                                   {"put_new and del", put_new_and_del},
                                   {"add", add_rules},
                                   {"readers may not write", readers_may_not_write},
                                   {"transactions", transactions},
                                   {"walks", walks},
                                   {NULL, NULL}};
