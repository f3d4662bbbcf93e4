/* SPDX-License-Identifier: MIT */
/*
 * The short way of a read, from inside: before each of its loads a writer does something whole. What is read without
 * noticing would be rare in life, memory used again within one read by bytes that look like a version; so it is asked
 * whether the read notices.
 */
#include "atomics.h"

static void before_load(void);
#define get(word)  (before_load(), get(word))
#define peek(word) (before_load(), peek(word))

#include "inside.h"

#include "support.h"

#include <string.h>
#include <sys/mman.h>

#define TABLE_BYTES (UINT64_C(1) << 20)
#define KEY         UINT64_C(0x0123456789abcdef)
#define OTHERS      200 /* in a tree */

static struct store table;
static void (*act)(void); /* before load number `at_load`; NULL: nothing */
static unsigned loads, at_load;
static unsigned apart; /* in a tree: from which bit on keys differ; 32: all have the same slice */

static void before_load(void)
{
    void (*now)(void) = act;
    if (now == NULL || loads++ != at_load)
        return;
    act = NULL; /* its own loads are the writer's */
    now();
}

static void write(uint64_t value, bool commit)
{
    const uint64_t key = KEY;
    objects_begin(&table);
    CHECK_RC(objects_put(&table, &key, sizeof key, &value, sizeof value, false), 0);
    if (commit)
        objects_commit(&table);
    else
        CHECK_RC(objects_abort(&table), 0);
}

static void roll_back(void)
{
    write(2, false);
}

static void go_on(void)
{
    write(2, true);
    objects_collect(&table);
}

/* The first state: the key, and in a tree so many others that it has two levels. */
static void fill(enum heir_type type)
{
    objects_begin(&table);
    for (uint64_t i = 0, key; i < (type == HEIR_SET ? 1 : OTHERS); i++) {
        key = KEY ^ i << apart;
        CHECK_RC(objects_put(&table, &key, sizeof key, &(uint64_t){1}, sizeof(uint64_t), false), 0);
    }
    objects_commit(&table);
    CHECK(type == HEIR_SET || tree_levels(view_of(&table)->directory) == 2);
}

/* Read with this happening before load number n. false: there is no such load. */
static bool read_beside(enum heir_type type, void (*what)(void), unsigned n, bool *read, uint64_t *value)
{
    size_t len = sizeof *value;
    struct store reader;

    table = (struct store){.bytes = TABLE_BYTES, .seed = 7};
    table.base = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(table.base != MAP_FAILED);
    page_of(&table)->max_bytes = TABLE_BYTES;
    page_of(&table)->hash_seed = table.seed;
    page_of(&table)->type = type;
    REQUIRE_RC(objects_format(&table), 0);
    fill(type);
    reader = table;
    reader.heap_reach = TABLE_BYTES - (table.heap_first + 1) * PAGE_BYTES; /* all of it is backed */
    read_quick_set(&reader, true);
    *value = 0;
    at_load = n;
    loads = 0;
    act = what;
    *read = read_quick(&reader, KEY, value, &len);
    bool acted = act == NULL;
    act = NULL;
    return acted;
}

static void rolled_back(enum heir_type type)
{
    unsigned n = 0, noticed = 0;
    uint64_t value;
    bool read, noticing = false;

    for (; read_beside(type, roll_back, n, &read, &value); n++) {
        CHECK(!read || value == 1, "load %u: %lu", n, (unsigned long)value);
        CHECK(!noticing || !read, "load %u: it has not noticed", n);
        noticing = noticing || !read; /* from when it has looked at the count on */
        noticed += !read;
        munmap(table.base, TABLE_BYTES);
    }
    CHECK(read && value == 1, "and when nothing happens: %lu", (unsigned long)value);
    CHECK(n > 8 && noticed >= n - 2, "%u of %u loads", noticed, n);
    munmap(table.base, TABLE_BYTES);
}

static void horizon_raised(enum heir_type type)
{
    unsigned n = 0, noticed = 0, late = 0;
    uint64_t value;
    bool read;

    for (; read_beside(type, go_on, n, &read, &value); n++) {
        CHECK(get(&view_of(&table)->horizon) > 1, "load %u: the state before can still be read", n);
        CHECK(!read || value == 1 || value == 2, "load %u: %lu", n, (unsigned long)value);
        if (read && value == 1)
            late = late == 0 ? n : 1; /* copied, and looked at the horizon, before it was raised */
        noticed += !read;
        munmap(table.base, TABLE_BYTES);
    }
    CHECK(late == n - 1, "what was before is read at load %u of %u", late, n);
    CHECK(noticed > 4, "%u of %u loads", noticed, n);
    munmap(table.base, TABLE_BYTES);
}

static void set_rolled_back(void)
{
    rolled_back(HEIR_SET);
}

static void set_horizon(void)
{
    horizon_raised(HEIR_SET);
}

static void tree_rolled_back(void)
{
    for (apart = 0; apart <= 32; apart += 32)
        rolled_back(HEIR_ORDERED_SET);
}

static void tree_horizon(void)
{
    for (apart = 0; apart <= 32; apart += 32)
        horizon_raised(HEIR_ORDERED_SET);
}

static const struct test all[] = {{"a rollback", set_rolled_back},
                                  {"the horizon", set_horizon},
                                  {"a rollback, in a tree", tree_rolled_back},
                                  {"the horizon, in a tree", tree_horizon},
                                  {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "glance", .tests = all}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
