/* SPDX-License-Identifier: MIT */
/*
 * What each operation promises, on sets and on ordered sets: many objects as one, counters that wrap, compare and swap,
 * deleting what has a value; who may call them. operations_edit.c has heir_edit() and heir_view(). Random operations
 * against a model come last.
 */
#include "operations.h"

#include "play.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct heir_table *table, *reader;
struct heir *owner_client, *reader_client;
struct model model;

void operations_begin(const struct heir_table_options *options)
{
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    owner_client = test_open("owner");
    reader_client = test_open("reader");
    REQUIRE_RC(heir_create(owner_client, "t", options, &table), 0);
    reader = NULL;
    if (options->access != HEIR_PRIVATE)
        REQUIRE_RC(heir_attach(reader_client, "t", &reader), 0);
    model_free(&model);
    model.type = options->type;
}

void operations_end(void)
{
    whole(table, "at the end", NULL);
    CHECK_RC(heir_destroy(table), 0);
    test_close(owner_client);
    test_close(reader_client);
    model_free(&model);
}

bool operations_same(const char *when)
{
    return same_content((struct view){table, NULL}, &model, when) &&
           same_content((struct view){reader, NULL}, &model, when);
}

void operations_put(const char *key, const char *value)
{
    CHECK_RC(heir_put(table, key, strlen(key), value, strlen(value)), 0);
    model_put(&model, key, strlen(key), value, strlen(value));
}

void on_both_types(void (*with)(enum heir_type type))
{
    with(HEIR_SET);
    with(HEIR_ORDERED_SET);
}

static uint64_t committed(void)
{
    struct heir_info info = {0};
    CHECK_RC(heir_info(reader, &info), 0);
    return info.committed;
}

/* ---- Many objects as one ------------------------------------------------------------------------------ */

typedef int many_fn(struct heir_table *, const struct heir_object *, size_t);

static const struct heir_object some[] = {{"b", 1, "1", 1}, {"d", 1, "2", 1}, {"b", 1, "3", 1}, {"e", 1, NULL, 0}};

static void note_some(void)
{
    for (int i = 0; i < 4; i++)
        model_put(&model, some[i].key, some[i].key_len, some[i].value, some[i].value_len);
}

static void many_at_once_in(enum heir_type type)
{
    operations_begin(&(struct heir_table_options){.type = type});
    operations_put("a", "A");
    uint64_t before = committed();
    CHECK_RC(heir_put_new_many(table, some, 4), 0);
    note_some();
    operations_same("put_new_many");
    CHECK_EQ(committed(), before + 1); /* as one */
    CHECK_RC(heir_put_new_many(table, some, 4), -EEXIST);
    static const struct heir_object last_there[] = {{"x", 1, "x", 1}, {"y", 1, "y", 1}, {"e", 1, "e", 1}};
    CHECK_RC(heir_put_new_many(table, last_there, 3), -EEXIST);
    operations_same("put_new_many, refused");
    CHECK_RC(heir_del(table, "b", 1), 0);
    operations_put("d", "changed");
    before = committed();
    CHECK_RC(heir_put_many(table, some, 4), 0);
    note_some();
    operations_same("put_many");
    CHECK_EQ(committed(), before + 1);
    CHECK_RC(heir_put_many(table, some, 0), 0);
    CHECK_RC(heir_put_many(table, NULL, 0), 0);
    CHECK_RC(heir_put_new_many(table, NULL, 0), 0);
    CHECK_RC(heir_put_many(table, NULL, 2), -EINVAL);
    CHECK_RC(heir_put_new_many(table, NULL, 2), -EINVAL);
    CHECK_RC(heir_put_many(NULL, some, 1), -EINVAL);
    operations_same("none");
    operations_end();
}

static void many_at_once(void)
{
    on_both_types(many_at_once_in);
}

/* A bad object at each place, outside and inside of a transaction. */
static void a_bad_one_among_many_in(enum heir_type type)
{
    static unsigned char long_key[HEIR_KEY_MAX + 1];
    static const struct heir_object bad[] = {
        {"k", 0, "v", 1}, {long_key, sizeof long_key, "v", 1}, {NULL, 1, "v", 1}, {"k", 1, NULL, 5}};
    many_fn *const many[2] = {heir_put_many, heir_put_new_many};
    operations_begin(&(struct heir_table_options){.type = type});
    operations_put("a", "A");
    struct model before = {.type = type};
    for (int inside = 0; inside < 2; inside++) {
        model_copy(&before, &model);
        if (inside) {
            CHECK_RC(heir_begin(table), 0);
            operations_put("mine", "1");
        }
        for (int i = 0; i < 4 * 5 * 2; i++) {
            struct heir_object objects[] = {
                {"p", 1, "1", 1}, {"a2", 2, "2", 1}, {"q", 1, "3", 1}, {"r", 1, "4", 1}, {"s", 1, "5", 1}};
            objects[i / 2 % 5] = bad[i / 10];
            CHECK(many[i % 2](table, objects, 5) == -EINVAL, "bad object %d at place %d", i / 10, i / 2 % 5);
            if (!same_content((struct view){table, NULL}, &model, "a bad object among them"))
                break;
        }
        same_content((struct view){reader, NULL}, &before, "a bad object among them, the reader");
        if (inside)
            CHECK_RC(heir_commit(table), 0);
        operations_same("after bad objects");
    }
    struct heir_object huge[] = {{"p", 1, "1", 1}, {"q", 1, "1", (size_t)1 << 32}};
    CHECK_RC(heir_put_many(table, huge, 2), -EFBIG);
    CHECK_RC(heir_put_new_many(table, huge, 2), -EFBIG);
    operations_same("after a value of 4 GiB");
    operations_end();
    model_free(&before);
    operations_begin(&(struct heir_table_options){.type = type, .key_size = 1, .value_size = 2});
    static const struct heir_object sizes[] = {
        {"a", 1, "11", 2}, {"b", 1, "2", 1}, {"c", 1, "33", 2}, {"dd", 2, "44", 2}, {"e", 1, "55", 2}};
    CHECK_RC(heir_put_many(table, sizes, 2), -EINVAL);
    CHECK_RC(heir_put_many(table, sizes + 2, 3), -EINVAL);
    CHECK_RC(heir_put_new_many(table, sizes + 1, 2), -EINVAL);
    CHECK_RC(heir_cas(table, "a", 1, NULL, 0, "1", 1), -EINVAL);
    operations_same("sizes that are not the table's");
    operations_end();
}

static void a_bad_one_among_many(void)
{
    on_both_types(a_bad_one_among_many_in);
}

/* No room in the middle of them. */
static void many_without_room_in(enum heir_type type)
{
    static struct heir_object objects[200];
    static uint32_t keys[200];
    static unsigned char value[1000];
    many_fn *const many[2] = {heir_put_many, heir_put_new_many};
    for (uint32_t i = 0; i < 200; i++) {
        keys[i] = i * 7919;
        objects[i] = (struct heir_object){&keys[i], 4, value, sizeof value};
    }
    for (int i = 0; i < 4; i++) {
        many_fn *put = many[i % 2];
        bool inside = i / 2;
        struct model before = {.type = type};
        operations_begin(&(struct heir_table_options){.type = type, .max_bytes = HEIR_TABLE_MIN});
        for (uint32_t n = 0; n < 10; n++) { /* small ones, which put_many would overwrite */
            uint32_t key = keys[n * 3] + (uint32_t)(i % 2);
            CHECK_RC(heir_put(table, &key, 4, &n, 4), 0);
            model_put(&model, &key, 4, &n, 4);
        }
        model_copy(&before, &model);
        if (inside) {
            CHECK_RC(heir_begin(table), 0);
            operations_put("mine", "1");
        }
        for (int round = 0; round < 20; round++) {
            CHECK_RC(put(table, objects, 200), -ENOSPC);
            if (!same_content((struct view){table, NULL}, &model, "many without room"))
                break;
        }
        same_content((struct view){reader, NULL}, &before, "many without room, the reader");
        CHECK_RC(put(table, objects + 100, 2), 0); /* some have room */
        for (int n = 100; n < 102; n++)
            model_put(&model, &keys[n], 4, value, sizeof value);
        if (inside)
            CHECK_RC(heir_commit(table), 0);
        operations_same("after many without room");
        operations_end();
        model_free(&before);
    }
}

static void many_without_room(void)
{
    on_both_types(many_without_room_in);
}

static _Atomic bool *stop; /* shared with the agents */

static int put_rows(struct agent_self *self, void *arg)
{
    int rc = 0;
    (void)arg;
    for (uint32_t n = 1; !rc && !atomic_load(stop); n++) {
        uint32_t keys[20];
        struct heir_object objects[20];
        for (uint32_t i = 0; i < 20; i++) {
            keys[i] = i;
            objects[i] = (struct heir_object){&keys[i], 4, &n, 4};
        }
        rc = heir_put_many(agent_table(self, "t"), objects, 20);
    }
    return rc;
}

struct row {
    uint32_t number, count, wrong;
};

static int row_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct row *row = arg;
    uint32_t number = 0;
    (void)key, (void)key_len;
    if (value_len == 4)
        memcpy(&number, value, 4);
    if (!row->count++)
        row->number = number;
    row->wrong += number != row->number;
    return 0;
}

/* A reader sees all of them or none, also when the writer is killed. */
static void seen_as_one_in(enum heir_type type)
{
    static const int64_t looks_for_ms = 700;
    struct heir_table *seen = NULL;
    REQUIRE_EQ(keeper_pid() ? 0 : keeper_start(NULL), 0);
    struct heir *me = test_open("me");
    stop = mmap(NULL, sizeof *stop, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stop != MAP_FAILED);
    struct agent *writer = agent_new("writer");
    DO(writer, 0, "create t type=%d max=65536", (int)type);
    REQUIRE_RC(heir_attach(me, "t", &seen), 0);
    for (int round = 0; round < 4; round++) {
        unsigned wrong = 0, looks = 0, empty = 0;
        agent_call_send(writer, put_rows, NULL, 0);
        for (int64_t end = now_ms() + looks_for_ms; now_ms() < end && !wrong;) {
            struct row row = {0, 0, 0};
            int rc = heir_foreach(seen, row_visit, &row);
            wrong += row.wrong || (row.count && row.count != 20) || (rc && rc != -EAGAIN && rc != -ESTALE);
            empty += !row.count;
            looks += !rc && row.count;
        }
        CHECK(!wrong && looks > 3, "%u looks, %u at nothing, %u wrong", looks, empty, wrong);
        struct agent *next = agent_new("writer");
        agent_send(next, "claim t -1 none");
        agent_kill(writer);
        CHECK_RC(agent_answer(next, PATIENCE), 0);
        struct row row = {0, 0, 0};
        CHECK_RC(heir_foreach(seen, row_visit, &row), 0);
        CHECK(row.count == 20 && !row.wrong, "after a kill: %u objects, %u of another row", row.count, row.wrong);
        whole(seen, "after a kill", NULL);
        writer = next;
    }
    DO(writer, 0, "destroy t");
    munmap((void *)stop, sizeof *stop);
}

static void seen_as_one(void)
{
    on_both_types(seen_as_one_in);
}

/* ---- Counters ----------------------------------------------------------------------------------------- */

static bool wraps(int64_t from, int64_t delta, int64_t limit, int64_t wrap, int64_t want)
{
    int64_t sum = 77, there = 0;
    size_t len = 8;
    CHECK_RC(heir_put(table, "n", 1, &from, 8), 0);
    int rc = heir_add_wrap(table, "n", 1, delta, limit, wrap, &sum), got = heir_get(reader, "n", 1, &there, &len);
    return CHECK(rc == 0 && got == 0 && sum == want && there == want && len == 8,
                 "%lld + %lld, limit %lld, wrap %lld: %s, %lld, %lld is there; expected %lld", (long long)from,
                 (long long)delta, (long long)limit, (long long)wrap, error_text(rc), (long long)sum, (long long)there,
                 (long long)want);
}

static void counters_in(enum heir_type type)
{
    int64_t sum = 0;
    operations_begin(&(struct heir_table_options){.type = type});
    /* as ets:update_counter(T, K, {Pos, Incr, Threshold, SetValue}) */
    wraps(5, 1, 6, 0, 6);
    wraps(6, 1, 6, 0, 0);
    wraps(6, 100, 6, -3, -3);
    wraps(6, 0, 6, 1, 6); /* 0 counts as upwards */
    wraps(7, 0, 6, 1, 1);
    wraps(5, -1, 4, 9, 4);
    wraps(4, -1, 4, 9, 9);
    wraps(4, -1, 5, 9, 9);
    wraps(100, -1, 4, 9, 99); /* only below it */
    wraps(-100, 1, 4, 9, -99);
    wraps(10, 1, 4, 500, 500); /* `wrap` itself may lie beyond */
    wraps(INT64_MAX, 1, INT64_MAX, 3, 3);
    wraps(INT64_MAX - 1, 1, INT64_MAX, 3, INT64_MAX);
    wraps(INT64_MAX, INT64_MAX, 0, INT64_MIN, INT64_MIN);
    wraps(INT64_MIN, -1, INT64_MIN, 3, 3);
    wraps(INT64_MIN + 1, -1, INT64_MIN, 3, INT64_MIN);
    wraps(INT64_MIN, INT64_MIN, 0, INT64_MAX, INT64_MAX);
    wraps(INT64_MIN, INT64_MAX, 0, 5, -1);
    wraps(INT64_MAX, INT64_MIN, 0, 5, 5);
    wraps(0, INT64_MIN, INT64_MIN, 5, INT64_MIN);
    CHECK_RC(heir_add_wrap(table, "new", 3, 3, 10, 0, &sum), 0); /* an absent one counts as 0 */
    CHECK_EQ(sum, 3);
    CHECK_RC(heir_add_wrap(table, "newer", 5, 30, 10, 7, &sum), 0);
    CHECK_EQ(sum, 7);
    CHECK_RC(heir_add_wrap(table, "newest", 6, -30, -10, 8, NULL), 0);
    CHECK_RC(heir_add(table, "newest", 6, 0, &sum), 0);
    CHECK_EQ(sum, 8);
    CHECK_RC(heir_put(table, "text", 4, "seven b", 7), 0);
    CHECK_RC(heir_add_wrap(table, "text", 4, 1, 10, 0, &sum), -EINVAL);
    CHECK_RC(heir_put(table, "text", 4, NULL, 0), 0);
    CHECK_RC(heir_add_wrap(table, "text", 4, 1, 10, 0, &sum), -EINVAL);
    CHECK_RC(heir_add_wrap(table, NULL, 4, 1, 10, 0, &sum), -EINVAL);
    CHECK_RC(heir_add_wrap(table, "", 0, 1, 10, 0, &sum), -EINVAL);
    size_t len = 8;
    CHECK_RC(heir_get(table, "text", 4, &sum, &len), 0);
    CHECK_EQ(len, 0);
    /* the round of an identifier, as in a login server: 1 to 3 */
    static const int64_t round[] = {1, 2, 3, 1, 2, 3, 1};
    for (size_t i = 0; i < sizeof round / sizeof round[0]; i++) {
        CHECK_RC(heir_add_wrap(table, "round", 5, 1, 3, 1, &sum), 0);
        CHECK_EQ(sum, round[i]);
    }
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_add_wrap(table, "round", 5, 5, 3, 1, &sum), 0);
    CHECK_RC(heir_abort(table), 0);
    CHECK_RC(heir_add(table, "round", 5, 0, &sum), 0);
    CHECK_EQ(sum, 1);
    operations_end();
}

static void counters(void)
{
    on_both_types(counters_in);
}

/* ---- Compare and swap, delete an object --------------------------------------------------------------- */

static void compare_and_swap_in(enum heir_type type)
{
    operations_begin(&(struct heir_table_options){.type = type});
    CHECK_RC(heir_cas(table, "k", 1, "old", 3, "new", 3), -ENOENT);
    CHECK_RC(heir_cas(table, "k", 1, "", 0, "new", 3), -ENOENT);
    operations_same("cas of nothing");
    CHECK_RC(heir_cas(table, "k", 1, NULL, 0, "1", 1), 0);
    model_put(&model, "k", 1, "1", 1);
    CHECK_RC(heir_cas(table, "k", 1, NULL, 0, "2", 1), -ECANCELED);
    CHECK_RC(heir_cas(table, "k", 1, "2", 1, "3", 1), -ECANCELED);
    CHECK_RC(heir_cas(table, "k", 1, "11", 2, "3", 1), -ECANCELED);
    CHECK_RC(heir_cas(table, "k", 1, "", 0, "3", 1), -ECANCELED);
    operations_same("cas of another value");
    CHECK_RC(heir_cas(table, "k", 1, "1", 1, "a longer one", 12), 0);
    CHECK_RC(heir_cas(table, "k", 1, "a longer one", 12, NULL, 0), 0);
    model_put(&model, "k", 1, NULL, 0);
    operations_same("cas to an empty one");
    CHECK_RC(heir_cas(table, "k", 1, NULL, 0, "x", 1), -ECANCELED);
    CHECK_RC(heir_cas(table, "k", 1, "", 0, "x", 1), 0);
    CHECK_RC(heir_cas(table, "k", 1, "x", 1, "x", 1), 0); /* to itself */
    model_put(&model, "k", 1, "x", 1);
    operations_same("cas of an empty one");
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_cas(table, "k", 1, "x", 1, "y", 1), 0);
    CHECK_RC(heir_cas(table, "k", 1, "x", 1, "z", 1), -ECANCELED); /* it sees its own */
    CHECK_RC(heir_del(table, "k", 1), 0);
    CHECK_RC(heir_cas(table, "k", 1, "y", 1, "z", 1), -ENOENT);
    CHECK_RC(heir_cas(table, "k", 1, NULL, 0, "z", 1), 0);
    same_content((struct view){reader, NULL}, &model, "cas in a transaction, the reader");
    CHECK_RC(heir_abort(table), 0);
    operations_same("cas, aborted");
    CHECK_RC(heir_cas(table, "", 0, NULL, 0, "v", 1), -EINVAL);
    CHECK_RC(heir_cas(table, NULL, 1, NULL, 0, "v", 1), -EINVAL);
    CHECK_RC(heir_cas(table, "k", 1, "x", 1, "v", (size_t)1 << 32), -EFBIG);
    operations_end();
}

static void compare_and_swap(void)
{
    on_both_types(compare_and_swap_in);
}

static void delete_an_object_in(enum heir_type type)
{
    operations_begin(&(struct heir_table_options){.type = type});
    operations_put("k", "value");
    operations_put("e", "");
    CHECK_RC(heir_del_object(table, "k", 1, "valu", 4), -ENOENT);
    CHECK_RC(heir_del_object(table, "k", 1, "values", 6), -ENOENT);
    CHECK_RC(heir_del_object(table, "k", 1, "Value", 5), -ENOENT);
    CHECK_RC(heir_del_object(table, "k", 1, NULL, 0), -ENOENT);
    CHECK_RC(heir_del_object(table, "none", 4, "value", 5), -ENOENT);
    CHECK_RC(heir_del_object(table, "e", 1, "x", 1), -ENOENT);
    CHECK_RC(heir_del_object(table, "", 0, "x", 1), -EINVAL);
    operations_same("del_object of others");
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_del_object(table, "k", 1, "value", 5), 0);
    CHECK_RC(heir_has(table, "k", 1), -ENOENT);
    CHECK_RC(heir_abort(table), 0);
    operations_same("del_object, aborted");
    CHECK_RC(heir_del_object(table, "k", 1, "value", 5), 0);
    CHECK_RC(heir_del_object(table, "k", 1, "value", 5), -ENOENT);
    CHECK_RC(heir_del_object(table, "e", 1, NULL, 0), 0);
    model_del(&model, "k", 1);
    model_del(&model, "e", 1);
    operations_same("del_object");
    operations_end();
}

static void delete_an_object(void)
{
    on_both_types(delete_an_object_in);
}

/* ---- Who may ------------------------------------------------------------------------------------------ */

/* Every new function that writes, on this handle. */
static void refused(struct heir_table *handle, int want)
{
    int64_t sum;
    void *lent = NULL;
    CHECK_RC(heir_put_many(handle, some, 4), want);
    CHECK_RC(heir_put_new_many(handle, some, 4), want);
    CHECK_RC(heir_del_object(handle, "a", 1, "A", 1), want);
    CHECK_RC(heir_add_wrap(handle, "n", 1, 1, 10, 0, &sum), want);
    CHECK_RC(heir_cas(handle, "a", 1, "A", 1, "B", 1), want);
    CHECK_RC(heir_cas(handle, "z", 1, NULL, 0, "B", 1), want);
    int rc = heir_edit(handle, "a", 1, 1, &lent);
    CHECK(rc == want || rc == -EINVAL, "edit: %s, expected %s", error_text(rc), error_text(want));
}

static int no_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len, (void)value, (void)value_len, (void)arg;
    return 1;
}

static void who_may_in(enum heir_type type)
{
    struct heir_event event;
    struct heir_snapshot *snapshot = NULL;
    const void *seen = NULL;
    size_t len = 0;
    operations_begin(&(struct heir_table_options){.type = type});
    operations_put("a", "A");
    refused(reader, -EPERM);
    CHECK_RC(heir_give_away(table, heir_id(reader_client), NULL, 0), 0);
    CHECK_RC(heir_wait(reader_client, patience(PATIENCE), &event), 0);
    refused(table, -ESTALE);
    CHECK_RC(heir_view(table, "a", 1, &seen, &len), -EPERM);
    CHECK_RC(heir_view(reader, "a", 1, &seen, &len), 0);
    operations_same("refused");
    CHECK_RC(heir_give_away(reader, heir_id(owner_client), NULL, 0), 0);
    CHECK_RC(heir_wait(owner_client, patience(PATIENCE), &event), 0);
    operations_end();
    operations_begin(&(struct heir_table_options){.type = type, .access = HEIR_PRIVATE});
    operations_put("a", "A");
    CHECK_RC(heir_view(table, "a", 1, &seen, &len), 0);
    CHECK_RC(heir_give_away(table, heir_id(reader_client), NULL, 0), 0);
    CHECK_RC(heir_wait(reader_client, patience(PATIENCE), &event), 0);
    refused(table, -ESTALE);
    CHECK_RC(heir_values(table, "a", 1, no_visit, NULL), -EACCES);
    CHECK_RC(heir_foreach(table, no_visit, NULL), -EACCES);
    CHECK_RC(heir_snapshot_open(table, &snapshot), -EACCES);
    int rc = heir_view(table, "a", 1, &seen, &len);
    CHECK(rc == -EACCES || rc == -EPERM, "view: %s", error_text(rc));
    if (type == HEIR_ORDERED_SET) {
        char found[4];
        len = sizeof found;
        CHECK_RC(heir_range(table, NULL, 0, NULL, 0, no_visit, NULL), -EACCES);
        CHECK_RC(heir_range_reverse(table, NULL, 0, NULL, 0, no_visit, NULL), -EACCES);
        CHECK_RC(heir_first(table, found, &len), -EACCES);
        CHECK_RC(heir_next(table, "a", 1, found, &len), -EACCES);
    }
    CHECK_RC(heir_snapshot_open(event.table, &snapshot), 0);
    CHECK_RC(heir_snapshot_close(snapshot), 0);
    CHECK_RC(heir_give_away(event.table, heir_id(owner_client), NULL, 0), 0);
    CHECK_RC(heir_wait(owner_client, patience(PATIENCE), &event), 0);
    operations_end();
}

static void who_may(void)
{
    on_both_types(who_may_in);
}

/* ---- Random operations -------------------------------------------------------------------------------- */

static void random_operations(void)
{
    static const enum heir_type types[] = {HEIR_SET, HEIR_ORDERED_SET};
    static struct play play;
    for (int i = 0; i < 2; i++)
        for (enum keys keys = 0; keys < KEYS_KINDS; keys++) {
            play_begin(&play, types[i], keys, 0);
            play.limit = 100 + rnd_below(&play.rnd, 1500);
            if (!CHECK(play_on(&play, TEST_ASAN || TEST_TSAN ? 4000 : 15000), "keys of kind %d", (int)keys))
                return;
            play_end(&play);
        }
}

static const struct test tests[] = {{"many at once", many_at_once},
                                    {"a bad one among many", a_bad_one_among_many},
                                    {"many without room", many_without_room},
                                    {"seen as one", seen_as_one},
                                    {"counters", counters},
                                    {"compare and swap", compare_and_swap},
                                    {"delete an object", delete_an_object},
                                    {"who may", who_may},
                                    {"random operations", random_operations},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {
        {.name = "operations", .tests = tests}, {.name = "edit", .tests = operations_edit}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
