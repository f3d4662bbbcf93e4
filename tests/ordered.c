/* SPDX-License-Identifier: MIT */
/*
 * Ordered sets: content and order against a model under random operations, with keys of all kinds; the ends of ranges,
 * all of them in a small world of keys; walks whose visit stops them or writes; growth to many objects.
 * ordered_space.c has small tables, ordered_readers.c other processes.
 */
#include "ordered.h"

#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct heir_table *begin(enum heir_type type, uint64_t max_bytes)
{
    struct heir_table *table = NULL;
    struct heir_table_options options = {.type = type, .max_bytes = max_bytes};
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    REQUIRE_RC(heir_create(test_open("me"), "t", &options, &table), 0);
    return table;
}

/* ---- Against the model -------------------------------------------------------------------------------- */

static void random_operations(void)
{
    static struct play play;
    unsigned operations = TEST_ASAN || TEST_TSAN ? 5000 : 25000;
    for (enum keys keys = 0; keys < KEYS_KINDS; keys++) {
        play_begin(&play, HEIR_ORDERED_SET, keys, 0);
        if (!CHECK(play_on(&play, operations), "keys of kind %d", (int)keys))
            return;
        play.limit = 0; /* down to nearly nothing, and up again */
        if (!CHECK(play_on(&play, operations / 5), "keys of kind %d", (int)keys))
            return;
        play.limit = 4000;
        if (!CHECK(play_on(&play, operations / 5), "keys of kind %d", (int)keys))
            return;
        play_end(&play);
    }
}

/* For HEIR_TEST_SECONDS: one table, all kinds of keys in it. */
static void a_long_life(void)
{
    static struct play play;
    int64_t end = now_ms() + (int64_t)(test_seconds(2) * 1000);
    play_begin(&play, HEIR_ORDERED_SET, KEYS_BYTES, 0);
    bool good = true;
    for (unsigned round = 0; now_ms() < end && good; round++) {
        play.keys = (enum keys)(round % KEYS_KINDS);
        play.limit = rnd_below(&play.rnd, 3000);
        good = play_on(&play, 2000);
        if (good && round % 8 == 0)
            good = whole(play.reader, "in the middle", NULL);
    }
    play_end(&play);
}

/* ---- The ends of ranges ------------------------------------------------------------------------------- */

#define STRINGS 39

/* All strings of one to three of these bytes. */
static size_t string_of(unsigned number, unsigned char *out)
{
    static const unsigned char bytes[] = {0, 'a', 0xff};
    size_t len = number < 3 ? 1 : number < 12 ? 2 : 3;
    number -= len == 1 ? 0 : len == 2 ? 3 : 12;
    for (size_t i = 0; i < len; i++, number /= 3)
        out[i] = bytes[number % 3];
    return len;
}

static void ends_of_ranges(void)
{
    struct rnd rnd = {test_seed};
    struct heir_table *table = begin(HEIR_ORDERED_SET, 0);
    struct model model = {.type = HEIR_ORDERED_SET};
    bool good = true;
    for (unsigned round = 0; round < 12 && good; round++) {
        unsigned char from[4], to[4];
        REQUIRE_RC(heir_clear(table), 0);
        model_free(&model);
        for (unsigned i = 0; i < STRINGS; i++) {
            size_t len = string_of(i, from);
            if (rnd_below(&rnd, 12) >= round) /* from all to few */
                REQUIRE_RC(heir_put(table, from, len, &i, sizeof i), 0);
            else
                continue;
            model_put(&model, from, len, &i, sizeof i);
        }
        for (unsigned i = 0; i <= STRINGS && good; i++) {
            size_t len = i < STRINGS ? string_of(i, from) : 0, to_len;
            if (len)
                good = same_ends(table, &model, from, len, "ends");
            for (unsigned k = 0; k <= STRINGS && good; k++) {
                to_len = k < STRINGS ? string_of(k, to) : 0;
                for (int reverse = 0; reverse < 2 && good; reverse++)
                    good = same_range((struct view){table, NULL}, &model, len ? from : NULL, len, to_len ? to : NULL,
                                      to_len, reverse, "pairs of ends");
            }
        }
    }
    /* a bound of length 0 that is not NULL stands before all keys */
    for (int reverse = 0; reverse < 2; reverse++) {
        same_range((struct view){table, NULL}, &model, "", 0, NULL, 0, reverse, "from the empty key");
        same_range((struct view){table, NULL}, &model, NULL, 0, "", 0, reverse, "to the empty key");
        same_range((struct view){table, NULL}, &model, "", 0, "\xff\xff\xff\xff", 4, reverse, "from the empty key");
    }
    model_free(&model);
}

static int stop_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    int *left = arg;
    (void)key, (void)key_len, (void)value, (void)value_len;
    return --left[0] == 0 ? left[1] : 0;
}

typedef int range_fn(struct heir_table *, const void *, size_t, const void *, size_t, heir_visit *, void *);

static void stopped_by_visit(void)
{
    struct heir_table *table = begin(HEIR_ORDERED_SET, 0);
    range_fn *const range[2] = {heir_range, heir_range_reverse};
    for (uint32_t i = 0; i < 3000; i++)
        REQUIRE_RC(heir_put(table, &i, 4, &i, 4), 0);
    for (int at = 1; at <= 3000; at += 428)
        for (int what = -5; what <= 1000000; what += 333335) {
            int left[2] = {at, what};
            for (int r = 0; r < 2; r++) {
                left[0] = at;
                CHECK_RC(range[r](table, NULL, 0, NULL, 0, stop_visit, left), what);
                CHECK_EQ(left[0], 0);
            }
            left[0] = at;
            CHECK_RC(heir_foreach(table, stop_visit, left), what);
            CHECK_EQ(left[0], 0);
            left[0] = 1;
            CHECK_RC(heir_values(table, &(uint32_t){7}, 4, stop_visit, left), what);
        }
}

/* What first, last, next and prev say besides the key. */
static void first_and_last(void)
{
    struct heir_table *table = begin(HEIR_ORDERED_SET, 0);
    unsigned char found[16];
    size_t len = sizeof found;
    CHECK_RC(heir_first(table, found, &len), -ENOENT);
    CHECK_RC(heir_last(table, found, &len), -ENOENT);
    CHECK_RC(heir_next(table, "k", 1, found, &len), -ENOENT);
    CHECK_RC(heir_prev(table, "k", 1, found, &len), -ENOENT);
    REQUIRE_RC(heir_put(table, "first", 5, NULL, 0), 0);
    REQUIRE_RC(heir_put(table, "the last", 8, NULL, 0), 0);
    for (size_t room = 0; room < 10; room++) {
        memset(found, '-', sizeof found);
        len = room;
        CHECK_RC(heir_first(table, room ? found : NULL, &len), room < 5 ? -ENOBUFS : 0);
        CHECK_EQ(len, 5);
        CHECK(found[0] == (room < 5 ? '-' : 'f') && found[5] == '-');
        len = room;
        CHECK_RC(heir_next(table, "g", 1, room ? found : NULL, &len), room < 8 ? -ENOBUFS : 0);
        CHECK_EQ(len, 8);
        len = room;
        CHECK_RC(heir_last(table, room ? found : NULL, &len), room < 8 ? -ENOBUFS : 0);
        CHECK_EQ(len, 8);
        len = room;
        CHECK_RC(heir_prev(table, "g", 1, room ? found : NULL, &len), room < 5 ? -ENOBUFS : 0);
        CHECK_EQ(len, 5);
    }
    len = sizeof found;
    CHECK_RC(heir_next(table, "the last", 8, found, &len), -ENOENT);
    len = sizeof found;
    CHECK_RC(heir_prev(table, "first", 5, found, &len), -ENOENT);
    len = sizeof found;
    CHECK_RC(heir_next(NULL, "k", 1, found, &len), -EINVAL);
    CHECK_RC(heir_range(NULL, NULL, 0, NULL, 0, stop_visit, NULL), -EINVAL);
    CHECK_RC(heir_range(table, NULL, 0, NULL, 0, NULL, NULL), -EINVAL);
    CHECK_RC(heir_range_reverse(table, NULL, 0, NULL, 0, NULL, NULL), -EINVAL);
}

static void other_types(void)
{
    static const enum heir_type types[] = {HEIR_SET, HEIR_BAG, HEIR_DUPLICATE_BAG};
    for (int i = 0; i < 3; i++) {
        struct heir_table *table = begin(types[i], 0);
        unsigned char found[8];
        size_t len = sizeof found;
        int left[2] = {1, 5};
        REQUIRE_RC(heir_put(table, "k", 1, "v", 1), 0);
        CHECK_RC(heir_range(table, NULL, 0, NULL, 0, stop_visit, left), -ENOTSUP);
        CHECK_RC(heir_range_reverse(table, NULL, 0, NULL, 0, stop_visit, left), -ENOTSUP);
        CHECK_RC(heir_first(table, found, &len), -ENOTSUP);
        CHECK_RC(heir_last(table, found, &len), -ENOTSUP);
        CHECK_RC(heir_next(table, "a", 1, found, &len), -ENOTSUP);
        CHECK_RC(heir_prev(table, "z", 1, found, &len), -ENOTSUP);
        CHECK_EQ(left[0], 1);
        CHECK_RC(heir_destroy(table), 0);
    }
}

/* ---- Walks whose visit writes ------------------------------------------------------------------------- */

enum meddling { DELETE_IT, OVERWRITE_ALL, INSERT_AROUND, DELETE_NEXT, CLEAR, TRANSACTION, MEDDLINGS };

struct meddle {
    struct heir_table *table;
    enum meddling how;
    bool reverse, in_transaction;
    uint32_t count, seen;
    unsigned wrong;
    int error;
};

static uint32_t number_of(const unsigned char *key)
{
    return (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
}

static void key_of(uint32_t number, unsigned char *key)
{
    for (int i = 0; i < 4; i++)
        key[i] = (unsigned char)(number >> (24 - 8 * i));
}

static int write_something(struct meddle *m, uint32_t number)
{
    unsigned char key[6] = {0};
    int rc = 0;
    key_of(number, key);
    switch (m->how) {
    case DELETE_IT:
        return heir_del(m->table, key, 4);
    case OVERWRITE_ALL:
        for (uint32_t i = 0; i < m->count && !rc; i += 1 + m->count / 16) {
            key_of(i * 2, key);
            rc = heir_put(m->table, key, 4, "another value", 13);
        }
        return rc;
    case INSERT_AROUND:
        key_of(number - 1, key);
        if (number)
            rc = heir_put(m->table, key, 4, "new", 3);
        key_of(number + 1, key);
        if (!rc)
            rc = heir_put(m->table, key, 4, "new", 3);
        key_of(number, key);
        return rc ? rc : heir_put(m->table, key, 5, "new", 3);
    case DELETE_NEXT:
        key_of(m->reverse ? number - 2 : number + 2, key);
        rc = heir_del(m->table, key, 4);
        return rc == -ENOENT ? 0 : rc;
    case CLEAR:
        return m->seen == 1 ? heir_clear(m->table) : heir_put(m->table, key, 4, "new", 3);
    default:
        rc = heir_begin(m->table);
        if (!rc)
            rc = heir_del(m->table, key, 4);
        if (!rc)
            rc = heir_put(m->table, "\1", 1, key, 4);
        return rc ? rc : number % 4 ? heir_abort(m->table) : heir_commit(m->table);
    }
}

static int meddle_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct meddle *m = arg;
    uint32_t number, want = 2 * (m->reverse ? m->count - 1 - m->seen : m->seen);
    bool original = key_len == 4 && number_of(key) % 2 == 0;
    if (!original && m->in_transaction) /* its own changes may show */
        return 0;
    number = original ? number_of(key) : 0;
    if (!original || number != want || m->seen >= m->count)
        m->wrong++;
    if (!m->in_transaction && (value_len != 4 || number_of(value) != number))
        m->wrong++;
    m->seen++;
    int rc = write_something(m, number);
    if (rc && !m->error)
        m->error = rc;
    return 0;
}

static int walk(struct meddle *m)
{
    return (m->reverse ? heir_range_reverse : heir_range)(m->table, NULL, 0, NULL, 0, meddle_visit, m);
}

static void visit_writes(void)
{
    static const uint32_t counts[] = {3, 10, 200, 900, 3000};
    struct heir_table *table = begin(HEIR_ORDERED_SET, 0);
    for (unsigned i = 0; i < 5 * 4 * MEDDLINGS; i++) {
        struct meddle m = {table, (enum meddling)(i / 20), i / 5 % 2, i / 10 % 2, counts[i % 5], 0, 0, .error = 0};
        unsigned char key[4];
        if (m.in_transaction && m.how >= DELETE_NEXT)
            continue;
        REQUIRE_RC(heir_clear(table), 0);
        for (uint32_t n = 0; n < m.count; n++) {
            key_of(2 * n, key);
            REQUIRE_RC(heir_put(table, key, 4, key, 4), 0);
        }
        if (m.in_transaction)
            REQUIRE_RC(heir_begin(table), 0);
        CHECK_RC(walk(&m), 0);
        CHECK(!m.wrong && !m.error && m.seen == m.count,
              "meddling %d, %s, %s: %u of %u objects, %u wrong; the writes: %s", (int)m.how,
              m.reverse ? "backwards" : "forwards", m.in_transaction ? "in a transaction" : "outside", m.seen, m.count,
              m.wrong, error_text(m.error));
        if (m.in_transaction)
            REQUIRE_RC(heir_abort(table), 0);
    }
    whole(table, "afterwards", NULL);
}

/* ---- Growth ------------------------------------------------------------------------------------------- */

#define MANY 300000u

struct run {
    uint32_t next, step;
    uint32_t count, wrong;
    bool reverse;
};

static int run_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct run *run = arg;
    if (key_len != 4 || number_of(key) != run->next || value_len != 4 || memcmp(value, key, 4))
        run->wrong++;
    run->count++;
    run->next += run->reverse ? -run->step : run->step;
    return 0;
}

static bool check_run(struct heir_table *table, uint32_t from, uint32_t to, uint32_t step, bool reverse)
{
    unsigned char a[4], b[4];
    uint32_t first = (from + step - 1) / step * step, end = (to + step - 1) / step * step;
    uint32_t count = first < end ? (end - first) / step : 0;
    struct run run = {reverse ? end - step : first, step, 0, 0, reverse};
    key_of(from, a);
    key_of(to, b);
    int rc = (reverse ? heir_range_reverse : heir_range)(table, a, 4, b, 4, run_visit, &run);
    return CHECK(rc == 0 && !run.wrong && run.count == count,
                 "%u to %u, step %u: %s, %u objects, %u wrong, expected %u", from, to, step, error_text(rc), run.count,
                 run.wrong, count);
}

static bool check_many(struct heir_table *table, struct rnd *rnd, uint32_t step)
{
    struct heir_info info = {0};
    bool good = check_run(table, 0, MANY, step, false) && check_run(table, 0, MANY, step, true) &&
                CHECK_RC(heir_info(table, &info), 0) && CHECK_EQ(info.objects, (MANY + step - 1) / step);
    for (int i = 0; i < 300 && good; i++) {
        uint32_t from = (uint32_t)rnd_below(rnd, MANY),
                 to = from + (uint32_t)rnd_below(rnd, i % 50 ? 200 : MANY - from);
        unsigned char key[4], found[4];
        size_t len = 4;
        good = check_run(table, from, to < MANY ? to : MANY, step, i % 2);
        good = good && (from == to || check_run(table, to, from, step, i % 2)); /* nothing */
        key_of(from, key);
        int rc = heir_prev(table, key, 4, found, &len);
        good = good && CHECK(from == 0 ? rc == -ENOENT : rc == 0 && number_of(found) == (from - 1) / step * step);
    }
    return good;
}

static void growth(void)
{
    struct rnd rnd = {test_seed};
    unsigned char key[4];
    if (!shm_has_room(UINT64_C(256) << 20))
        return;
    struct heir_table *table = begin(HEIR_ORDERED_SET, 0);
    for (int order = 0; order < 3; order++) { /* ascending, descending, scattered */
        int rc = 0;
        for (uint32_t i = 0; i < MANY && !rc; i++) {
            key_of(order == 0 ? i : order == 1 ? MANY - 1 - i : (uint32_t)((uint64_t)i * 7919 % MANY), key);
            rc = heir_put_new(table, key, 4, key, 4);
        }
        CHECK_RC(rc, 0);
        if (!check_many(table, &rnd, 1))
            return;
        for (uint32_t i = 0; i < MANY && !rc; i++) { /* but each third */
            key_of(order == 1 ? i : order == 0 ? MANY - 1 - i : (uint32_t)((uint64_t)i * 7 % MANY), key);
            if (number_of(key) % 3)
                rc = heir_del(table, key, 4);
        }
        CHECK_RC(rc, 0);
        if (!check_many(table, &rnd, 3) || !whole(table, "each third is there", NULL))
            return;
        CHECK_RC(heir_begin(table), 0); /* one transaction over everything, undone */
        for (uint32_t i = 0; i < MANY && !rc; i++) {
            key_of(i, key);
            rc = i % 3 ? heir_put(table, key, 4, key, 4) : i % 2 ? heir_del(table, key, 4) : 0;
        }
        CHECK_RC(rc, 0);
        CHECK_RC(heir_abort(table), 0);
        if (!check_many(table, &rnd, 3))
            return;
        if (order == 2)
            CHECK_RC(heir_clear(table), 0);
        for (uint32_t i = 0; i < MANY && !rc && order < 2; i += 3) {
            key_of(i, key);
            rc = heir_del(table, key, 4);
        }
        CHECK_RC(rc, 0);
        size_t len = 4;
        CHECK_RC(heir_first(table, key, &len), -ENOENT);
        check_run(table, 1, 1, 1, true);
        check_run(table, MANY, 0, 1, false);
    }
    whole(table, "empty again", NULL);
}

static const struct test tests[] = {{"random operations", random_operations},
                                    {"a long life", a_long_life},
                                    {"ends of ranges", ends_of_ranges},
                                    {"stopped by visit", stopped_by_visit},
                                    {"first and last", first_and_last},
                                    {"other types", other_types},
                                    {"visit writes", visit_writes},
                                    {"growth", growth},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "ordered", .tests = tests},
                                        {.name = "space", .tests = ordered_space},
                                        {.name = "readers", .tests = ordered_readers},
                                        {.name = NULL}};
    return test_main(argc, argv, suites);
}
