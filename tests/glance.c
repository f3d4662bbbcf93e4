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

static struct store table;
static void (*act)(void); /* before load number `at_load`; NULL: nothing */
static unsigned loads, at_load;

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

/* Read with this happening before load number n. false: there is no such load. */
static bool read_beside(void (*what)(void), unsigned n, bool *read, uint64_t *value)
{
    size_t len = sizeof *value;
    struct store reader;

    table = (struct store){.bytes = TABLE_BYTES, .seed = 7};
    table.base = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(table.base != MAP_FAILED);
    page_of(&table)->max_bytes = TABLE_BYTES;
    page_of(&table)->hash_seed = table.seed;
    REQUIRE_RC(objects_format(&table), 0);
    write(1, true);
    CHECK_RC(read_get(&table, &(uint64_t){KEY}, sizeof KEY, value, &len), 0); /* so that it knows what is backed */
    reader = table;
    reader.quick_from = table.heap_first * PAGE_BYTES;
    *value = 0;
    at_load = n;
    loads = 0;
    act = what;
    *read = read_quick(&reader, KEY, value, &len);
    bool acted = act == NULL;
    act = NULL;
    return acted;
}

static void rolled_back(void)
{
    unsigned n = 0, noticed = 0;
    uint64_t value;
    bool read, noticing = false;

    for (; read_beside(roll_back, n, &read, &value); n++) {
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

static void horizon_raised(void)
{
    unsigned n = 0, noticed = 0, late = 0;
    uint64_t value;
    bool read;

    for (; read_beside(go_on, n, &read, &value); n++) {
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

static const struct test all[] = {{"a rollback", rolled_back}, {"the horizon", horizon_raised}, {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "glance", .tests = all}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
