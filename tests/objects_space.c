/* SPDX-License-Identifier: MIT */
/*
 * Small tables that run full: -ENOSPC changes nothing, the open transaction lives, deleting makes room, and a long life
 * in a small table does not use it up (what went in, minus what came out, minus what is there, is nothing).
 */
#include "objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct heir *me, *other;
static struct heir_table *table, *reader;

static const uint64_t sizes[] = {HEIR_TABLE_MIN, 256 << 10, 1 << 20};

static void begin(uint64_t max_bytes)
{
    if (!keeper_pid()) {
        REQUIRE_EQ(keeper_start(NULL), 0);
        me = test_open("me");
        other = test_open("other");
    } else {
        REQUIRE_RC(heir_destroy(table), 0);
        REQUIRE_RC(heir_detach(reader), 0);
    }
    REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.max_bytes = max_bytes}, &table), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
}

static struct heir_info look(void)
{
    struct heir_info info = {0};
    CHECK_RC(heir_info(table, &info), 0);
    return info;
}

static size_t value_of(unsigned number, unsigned char *out)
{
    size_t len = number * 37 % 201;
    memset(out, (int)number, len);
    return len;
}

static int put_number(unsigned number, bool new)
{
    unsigned char bytes[256];
    size_t len = value_of(number, bytes);
    return new ? heir_put_new(table, &number, sizeof number, bytes, len)
               : heir_put(table, &number, sizeof number, bytes, len);
}

/* Objects from..end-1 are there and nothing else is, seen through this handle. */
static bool holds(struct heir_table *handle, unsigned from, unsigned end)
{
    unsigned char want[256], got[256];
    for (unsigned number = from; number < end; number++) {
        size_t len = sizeof got, want_len = value_of(number, want);
        int rc = heir_get(handle, &number, sizeof number, got, &len);
        if (rc || len != want_len || memcmp(got, want, len))
            return CHECK(false, "object %u of %u..%u: %s, %zu bytes, not %zu", number, from, end, error_text(rc), len,
                         want_len);
    }
    for (unsigned number = end; number < end + 5; number++)
        CHECK_RC(heir_has(handle, &number, sizeof number), -ENOENT);
    return true;
}

/* Put new objects from..: how many went in until -ENOSPC. */
static unsigned fill(unsigned from)
{
    unsigned number = from;
    int rc;
    while ((rc = put_number(number, true)) == 0)
        number++;
    CHECK_RC(rc, -ENOSPC);
    return number - from;
}

static void full_table(void)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        begin(sizes[i]);
        unsigned end = fill(0);
        struct heir_info full = look();
        CHECK(end >= sizes[i] / 1000, "only %u objects of about 104 bytes fit into %llu", end,
              (unsigned long long)sizes[i]);
        CHECK(full.bytes_used <= full.max_bytes && full.bytes_taken <= full.max_bytes);
        CHECK_EQ(full.objects, end);
        holds(reader, 0, end);
        unsigned there = 0;
        CHECK_RC(put_number(end, false), -ENOSPC);               /* once more */
        int rc = heir_put(table, &there, sizeof there, NULL, 0); /* what it is already */
        CHECK(rc == 0 || rc == -ENOSPC, "%s", error_text(rc));
        CHECK_EQ(look().objects, end);
        holds(table, 0, end);
        /* deleting works in a full table, and makes room */
        rc = 0;
        for (unsigned number = 0; number < end / 2 && rc == 0; number++)
            rc = heir_del(table, &number, sizeof number);
        CHECK_RC(rc, 0);
        holds(table, end / 2, end);
        unsigned more = fill(end);
        CHECK(more >= end / 4, "%u objects fitted, %u were deleted, %u fit again", end, end / 2, more);
        holds(reader, end / 2, end + more);
    }
}

static void full_in_a_transaction(void)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        begin(sizes[i]);
        unsigned base = 20;
        for (unsigned number = 0; number < base; number++)
            REQUIRE_RC(put_number(number, true), 0);
        /* aborted */
        struct heir_info before = look();
        REQUIRE_RC(heir_begin(table), 0);
        unsigned added = fill(base);
        CHECK(added > 0);
        holds(table, 0, base + added); /* the failed one has changed nothing, in there and outside */
        holds(reader, 0, base);
        CHECK_RC(heir_abort(table), 0);
        holds(table, 0, base);
        CHECK_EQ(look().objects, base);
        CHECK_EQ(look().committed, before.committed);
        /* committed without the failed change; there is as much room as before */
        REQUIRE_RC(heir_begin(table), 0);
        unsigned again = fill(base);
        CHECK(again >= added - added / 4, "%u objects fitted before the abort, %u after it", added, again);
        CHECK_RC(heir_commit(table), 0);
        holds(table, 0, base + again);
        holds(reader, 0, base + again);
        CHECK_EQ(look().objects, base + again);
    }
}

static void full_by_add_and_clear(void)
{
    begin(HEIR_TABLE_MIN);
    unsigned first = 0;
    for (int round = 0; round < 30; round++) {
        unsigned count = fill(0);
        first = first ? first : count;
        CHECK(count >= first - first / 4, "%u objects fitted at first, %u in round %d", first, count, round);
        holds(reader, 0, count);
        if (round % 2) {
            CHECK_RC(heir_clear(table), 0);
        } else {
            for (unsigned number = 0; number < count; number++)
                if (heir_del(table, &number, sizeof number))
                    REQUIRE_EQ(number, -1);
        }
        CHECK_EQ(look().objects, 0);
        holds(reader, 0, 0);
    }
    for (int64_t key = 0;; key++) { /* and counters */
        int rc = heir_add(table, &key, 8, 1, NULL);
        if (rc) {
            CHECK_RC(rc, -ENOSPC);
            CHECK_RC(heir_has(reader, &key, 8), -ENOENT);
            break;
        }
    }
}

/* A third of what fits is there, and changes for long: never -ENOSPC. */
static void long_life(void)
{
    struct rnd rnd = {test_seed};
    unsigned rounds = TEST_ASAN || TEST_TSAN ? 60000 : 300000;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        begin(sizes[i]);
        unsigned live = fill(0) / 3, peak = 0;
        CHECK_RC(heir_clear(table), 0);
        unsigned char *size = calloc(1, live), bytes[256]; /* 0: absent, else the value's length + 1 */
        int rc = 0;
        unsigned round = 0;
        for (; round < rounds && rc == 0; round++) {
            unsigned number = (unsigned)rnd_below(&rnd, live);
            unsigned char len = (unsigned char)rnd_below(&rnd, 201);
            bool transaction = rnd_below(&rnd, 8) == 0, undo = transaction && rnd_below(&rnd, 2);
            if (transaction)
                CHECK_RC(heir_begin(table), 0);
            if (rnd_below(&rnd, 3) || !size[number]) {
                rc = heir_put(table, &number, sizeof number, memset(bytes, (int)round, sizeof bytes), len);
                if (!undo)
                    size[number] = (unsigned char)(len + 1);
            } else {
                rc = heir_del(table, &number, sizeof number);
                if (!undo)
                    size[number] = 0;
            }
            if (transaction)
                CHECK_RC(undo ? heir_abort(table) : heir_commit(table), 0);
        }
        CHECK(rc == 0, "%llu bytes, %u keys, round %u: %s", (unsigned long long)sizes[i], live, round, error_text(rc));
        for (unsigned number = 0; number < live && rc == 0; number++) {
            size_t len = sizeof bytes;
            int got = heir_get(reader, &number, sizeof number, bytes, &len);
            CHECK(got == (size[number] ? 0 : -ENOENT) && (got || len + 1 == size[number]), "object %u", number);
            peak += size[number] != 0;
        }
        if (rc == 0)
            CHECK_EQ(look().objects, peak);
        free(size);
    }
}

/* One object, overwritten for long with values of all sizes. */
static void hot_object(void)
{
    static unsigned char bytes[2048];
    struct rnd rnd = {test_seed};
    begin(HEIR_TABLE_MIN);
    int rc = 0, round = 0;
    for (; round < 100000 && rc == 0; round++)
        rc = heir_put(table, "hot", 3, bytes, rnd_below(&rnd, sizeof bytes));
    CHECK(rc == 0, "round %d: %s", round, error_text(rc));
    CHECK_EQ(look().objects, 1);
}

/* A pinned reader holds the past, so a writer may run out of room: then the reader gives way, not the writer. */
static int overwrite_all(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    int *worst = arg;
    for (int i = 0; i < 200; i++) {
        unsigned char bytes[200];
        int rc = heir_put(table, "hot", 3, memset(bytes, i, sizeof bytes), sizeof bytes);
        if (rc)
            *worst = rc;
    }
    return 0;
}

static void a_walk_gives_way(void)
{
    int worst = 0;
    begin(HEIR_TABLE_MIN);
    for (unsigned number = 0; number < 50; number++)
        REQUIRE_RC(put_number(number, true), 0);
    int rc = heir_foreach(reader, overwrite_all, &worst);
    CHECK(rc == 0 || rc == -ESTALE, "the walk: %s", error_text(rc));
    CHECK_RC(worst, 0);
    for (int i = 0; i < 1000; i++)
        CHECK_RC(put_number(1, false), 0);
}

const struct test objects_space[] = {{"a full table", full_table},
                                     {"full in a transaction", full_in_a_transaction},
                                     {"filled and emptied", full_by_add_and_clear},
                                     {"a long life", long_life},
                                     {"a hot object", hot_object},
                                     {"a walk gives way", a_walk_gives_way},
                                     {NULL, NULL}};
