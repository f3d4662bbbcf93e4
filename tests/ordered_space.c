/* SPDX-License-Identifier: MIT */
/*
 * Ordered sets in small tables: filled and emptied many times, full (-ENOSPC changes nothing, deleting works, there is
 * room again), queues that live for long, transactions that are too large; and values of 16 MiB. What went in, minus
 * what came out, minus what is there, is nothing: heir_check() and bytes_used say so.
 */
#include "model.h"
#include "ordered.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t sizes[] = {HEIR_TABLE_MIN, 256 << 10, 1 << 20};
static struct heir_table *table, *reader;

static void begin(uint64_t max_bytes)
{
    struct heir_table_options options = {.type = HEIR_ORDERED_SET, .max_bytes = max_bytes};
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    REQUIRE_RC(heir_create(test_open("me"), "t", &options, &table), 0);
    REQUIRE_RC(heir_attach(test_open("other"), "t", &reader), 0);
}

static void end(void)
{
    whole(reader, "at the end", NULL);
    CHECK_RC(heir_destroy(table), 0);
    CHECK_RC(heir_detach(reader), 0);
}

static uint64_t used(void)
{
    struct heir_info info = {0};
    CHECK_RC(heir_info(table, &info), 0);
    return info.bytes_used;
}

/* ---- Filled and emptied ------------------------------------------------------------------------------- */

enum shape { ASCENDING, DESCENDING, SCATTERED, COMMON, SHAPES };

/* The object with this number. Keys of 8 bytes; or of more than 200, which are the same but for the last. */
static size_t key_of(enum shape shape, unsigned number, unsigned char *key)
{
    uint64_t place = shape == DESCENDING ? UINT64_MAX - number : number;
    size_t len = 0;
    if (shape == SCATTERED)
        place = number * UINT64_C(0x9e3779b97f4a7c15);
    if (shape == COMMON)
        memset(key, 'c', len = 200);
    for (int i = 0; i < 8; i++)
        key[len++] = (unsigned char)(place >> (56 - 8 * i));
    return len;
}

static size_t value_of(unsigned number, unsigned char *value)
{
    size_t len = number * 37 % 101;
    memset(value, (int)number, len);
    return len;
}

/* Writes of an object that is not there, which bring back what earlier ones have put by. */
static void settle(enum shape shape)
{
    unsigned char key[256], value[256];
    size_t len = key_of(shape, 1, key), value_len = value_of(1, value);
    int rc = 0, i = 0;
    for (; i < 4000 && !rc; i++)
        rc = i % 2 ? heir_del(table, key, len) : heir_put_new(table, key, len, value, value_len);
    CHECK(rc == 0, "write %d: %s", i, error_text(rc));
}

/* Put new ones until there is no room; how many. */
static unsigned fill(enum shape shape, struct model *model)
{
    unsigned char key[256], value[256];
    unsigned number = 0;
    for (;; number++) {
        size_t len = key_of(shape, number, key), value_len = value_of(number, value);
        int rc = heir_put_new(table, key, len, value, value_len);
        if (rc) {
            CHECK_RC(rc, -ENOSPC);
            CHECK_RC(heir_has(table, key, len), -ENOENT);
            return number;
        }
        model_put(model, key, len, value, value_len);
    }
}

/* Delete all, in one of several ways. */
static void empty(enum shape shape, unsigned count, unsigned how, struct model *model)
{
    unsigned char key[256];
    size_t len;
    int rc = 0;
    if (how % 5 == 0)
        rc = heir_clear(table);
    for (unsigned i = 0; i < count && !rc && how % 5; i++) {
        switch (how % 5) {
        case 1: /* as they came */
            rc = heir_del(table, key, key_of(shape, i, key));
            break;
        case 2:
            rc = heir_take(table, key, key_of(shape, count - 1 - i, key), NULL, NULL);
            break;
        default: /* from the front, from the back */
            len = sizeof key;
            rc = how % 5 == 3 ? heir_first(table, key, &len) : heir_last(table, key, &len);
            if (!rc)
                rc = heir_del(table, key, len);
        }
    }
    CHECK(rc == 0, "emptied by way %u: %s", how % 5, error_text(rc));
    model_free(model);
}

static void filled_and_emptied(void)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct model model = {.type = HEIR_ORDERED_SET};
        unsigned first[SHAPES] = {0}, rounds = sizes[i] > 300000 ? 16 : 60;
        uint64_t start = 0;
        begin(sizes[i]);
        for (unsigned round = 0; round < rounds; round++) {
            enum shape shape = (enum shape)(round % SHAPES);
            char when[64];
            snprintf(when, sizeof when, "%u KiB, round %u", (unsigned)(sizes[i] >> 10), round);
            unsigned count = fill(shape, &model);
            first[shape] = first[shape] ? first[shape] : count;
            bool good = CHECK(count >= 20 && count >= first[shape] - first[shape] / 8, "%s: %u fit, %u at first", when,
                              count, first[shape]);
            good = good && same_content((struct view){reader, NULL}, &model, when) && whole(table, when, NULL);
            empty(shape, count, round / SHAPES + round, &model);
            settle(shape);
            if (round < 10) /* each shape and each way once or twice */
                start = used() > start ? used() : start;
            good = good && same_content((struct view){reader, NULL}, &model, when) && whole(table, when, NULL) &&
                   CHECK(used() <= start + sizes[i] / 16, "%s: %llu bytes are used, %llu at first", when,
                         (unsigned long long)used(), (unsigned long long)start);
            if (!good)
                break;
        }
        model_free(&model);
        end();
    }
}

/* ---- Full --------------------------------------------------------------------------------------------- */

static void full(void)
{
    static unsigned char value[300], key[256];
    for (unsigned i = 0; i < 2 * SHAPES; i++) {
        enum shape shape = (enum shape)(i % SHAPES);
        struct model model = {.type = HEIR_ORDERED_SET};
        begin(sizes[i / SHAPES]);
        unsigned count = fill(shape, &model);
        for (unsigned n = 0; n < 50; n++) { /* what does not fit changes nothing */
            size_t len = key_of(shape, n * 7 % count, key);
            int rc = heir_put(table, key, len, value, sizeof value);
            if (rc == 0)
                model_put(&model, key, len, value, sizeof value);
            else
                CHECK_RC(rc, -ENOSPC);
        }
        same_content((struct view){table, NULL}, &model, "full");
        same_content((struct view){reader, NULL}, &model, "full");
        whole(table, "full", NULL);
        int rc = 0;
        for (unsigned n = 0; n < count && !rc; n++) { /* deleting works; each third stays */
            size_t len = key_of(shape, n, key);
            if (n % 3) {
                rc = heir_del(table, key, len);
                model_del(&model, key, len);
            }
        }
        CHECK(rc == 0, "deleting from a full table: %s", error_text(rc));
        same_content((struct view){reader, NULL}, &model, "a third is left");
        whole(table, "a third is left", NULL);
        settle(shape);
        for (unsigned n = 0; n < count / 2 && !rc; n++) { /* and there is room again */
            size_t len = key_of(shape, n, key), value_len = value_of(n, value);
            rc = heir_put(table, key, len, value, value_len);
            if (!rc)
                model_put(&model, key, len, value, value_len);
        }
        CHECK(rc == 0, "%u KiB, shape %d, inserting into a table with room: %s", (unsigned)(sizes[i / SHAPES] >> 10),
              (int)shape, error_text(rc));
        same_content((struct view){reader, NULL}, &model, "filled again");
        model_free(&model);
        end();
    }
}

static void full_in_a_transaction(void)
{
    unsigned char key[256], value[256];
    for (unsigned i = 0; i < 2 * SHAPES; i++) {
        enum shape shape = (enum shape)(i % SHAPES);
        struct model model = {.type = HEIR_ORDERED_SET}, before = {.type = HEIR_ORDERED_SET};
        begin(sizes[i / SHAPES]);
        for (unsigned n = 1000000; n < 1000020; n++) {
            size_t len = key_of(shape, n, key), value_len = value_of(n, value);
            REQUIRE_RC(heir_put(table, key, len, value, value_len), 0);
            model_put(&model, key, len, value, value_len);
        }
        model_copy(&before, &model);
        unsigned most = 0;
        for (int round = 0; round < 12; round++) {
            REQUIRE_RC(heir_begin(table), 0);
            unsigned count = fill(shape, &model);
            most = count > most ? count : most;
            CHECK(count >= 10 && count >= most / 2, "round %d: %u fit, %u before", round, count, most);
            bool good = same_content((struct view){table, NULL}, &model, "a transaction without room");
            good = good && same_content((struct view){reader, NULL}, &before, "a reader beside it");
            if (round % 3 < 2) {
                CHECK_RC(heir_abort(table), 0);
                model_copy(&model, &before);
            } else {
                CHECK_RC(heir_commit(table), 0);
            }
            good =
                good && same_content((struct view){reader, NULL}, &model, "after it") && whole(table, "after it", NULL);
            int rc = 0;
            for (unsigned n = 0; n < count && round % 3 == 2 && !rc; n++)
                rc = heir_del(table, key, key_of(shape, n, key));
            CHECK_RC(rc, 0);
            model_copy(&model, &before);
            settle(shape);
            if (!good || !same_content((struct view){reader, NULL}, &model, "as before"))
                break;
        }
        model_free(&model);
        model_free(&before);
        end();
    }
}

/* ---- Long lives --------------------------------------------------------------------------------------- */

static void take_from_front(uint64_t want, bool transaction)
{
    unsigned char key[16];
    uint64_t value = 0;
    size_t key_len = sizeof key, len = sizeof value;
    if (transaction)
        REQUIRE_RC(heir_begin(table), 0);
    int rc = heir_first(table, key, &key_len);
    if (!rc)
        rc = heir_take(table, key, key_len, &value, &len);
    if (rc || value != want)
        REQUIRE(false, "%s; %llu, expected %llu", error_text(rc), (unsigned long long)value, (unsigned long long)want);
    if (transaction)
        REQUIRE_RC(heir_commit(table), 0);
}

/* Insert ascending, take from the front. */
static void queue(void)
{
    static const unsigned depths[] = {0, 1, 17, 150};
    unsigned rounds = (TEST_ASAN || TEST_TSAN ? 20000u : 250000u) * (unsigned)(test_seconds(1) > 5 ? 10 : 1);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t number = 0;
        begin(HEIR_TABLE_MIN);
        for (; number < rounds; number++) {
            unsigned char key[16];
            int rc = heir_put_new(table, key, key_of(ASCENDING, (unsigned)number, key), &number, 8);
            if (rc)
                REQUIRE(false, "%u deep, number %llu: %s", depths[i], (unsigned long long)number, error_text(rc));
            if (number >= depths[i])
                take_from_front(number - depths[i], i % 2);
            if (number % (rounds / 4) == 0)
                whole(table, "in the life of a queue", NULL);
        }
        for (uint64_t left = number - depths[i]; left < number; left++)
            take_from_front(left, false);
        settle(ASCENDING);
        struct heir_account account;
        whole(table, "an empty queue", &account);
        CHECK_EQ(account.live, 0);
        end();
    }
}

/* A third of what fits, which changes for long, in and out of transactions. */
static void churn(void)
{
    struct rnd rnd = {test_seed};
    unsigned rounds = TEST_ASAN || TEST_TSAN ? 20000 : 150000;
    for (unsigned i = 0; i < 2 * SHAPES; i++) {
        enum shape shape = (enum shape)(i % SHAPES);
        struct model model = {.type = HEIR_ORDERED_SET}, before = {.type = HEIR_ORDERED_SET};
        unsigned char key[256], value[256];
        begin(sizes[i / SHAPES]);
        unsigned live = fill(shape, &model) / 3, round = 0;
        REQUIRE_RC(heir_clear(table), 0);
        model_free(&model);
        settle(shape);
        int rc = 0;
        for (bool open = false; round < rounds && !rc; round++) {
            unsigned number = (unsigned)rnd_below(&rnd, live);
            size_t len = key_of(shape, number, key), value_len = value_of((unsigned)rnd_below(&rnd, 1000), value);
            if (!open && rnd_below(&rnd, 16) == 0) {
                open = heir_begin(table) == 0;
                model_copy(&before, &model);
            } else if (open && rnd_below(&rnd, 5) == 0) {
                bool commit = rnd_below(&rnd, 2);
                open = false;
                rc = commit ? heir_commit(table) : heir_abort(table);
                if (!commit)
                    model_copy(&model, &before);
            } else if (rnd_below(&rnd, 2)) {
                rc = heir_put(table, key, len, value, value_len);
                if (!rc)
                    model_put(&model, key, len, value, value_len);
            } else {
                rc = heir_del(table, key, len);
                bool there = model_del(&model, key, len);
                if (rc == -ENOENT && !there)
                    rc = 0;
            }
            if (open && (rc || round == rounds - 1))
                CHECK_RC(heir_commit(table), 0);
        }
        CHECK(rc == 0, "%u KiB, %u keys, round %u: %s", (unsigned)(sizes[i / SHAPES] >> 10), live, round,
              error_text(rc));
        if (!rc)
            same_content((struct view){reader, NULL}, &model, "after a long life");
        model_free(&model);
        model_free(&before);
        end();
    }
}

/* ---- Big values --------------------------------------------------------------------------------------- */

static void big_values(void)
{
    size_t size = (size_t)16 << 20;
    struct model model = {.type = HEIR_ORDERED_SET};
    if (!shm_has_room(UINT64_C(160) << 20))
        return;
    unsigned char *bytes = malloc(size);
    begin(UINT64_C(128) << 20);
    int rc = 0;
    for (unsigned round = 0; rc == 0 && round < 24; round++) {
        char key[16];
        size_t len = size - (round % 5) * 4097, key_len = (size_t)snprintf(key, sizeof key, "key %u", round % 4);
        memset(bytes, (int)round + 1, len);
        rc = round % 7 == 6 ? heir_del(table, key, key_len) : heir_put(table, key, key_len, bytes, len);
        if (rc)
            break;
        model_del(&model, key, key_len);
        if (round % 7 != 6)
            model_put(&model, key, key_len, bytes, len);
        if (!same_content((struct view){reader, NULL}, &model, "big values"))
            break;
    }
    CHECK_RC(rc, 0);
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_put(table, "key 1", 5, bytes, size), 0);
    CHECK_RC(heir_put(table, "key 2", 5, bytes, 1), 0);
    CHECK_RC(heir_abort(table), 0);
    same_content((struct view){reader, NULL}, &model, "big values, undone");
    model_free(&model);
    free(bytes);
    end();
}

const struct test ordered_space[] = {{"filled and emptied", filled_and_emptied},
                                     {"full", full},
                                     {"full in a transaction", full_in_a_transaction},
                                     {"queue", queue},
                                     {"churn", churn},
                                     {"big values", big_values},
                                     {NULL, NULL}};
