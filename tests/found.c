/* SPDX-License-Identifier: MIT */
/*
 * The short way of a read, as it is shipped: what it gives is what is there. And it gives it: whatever it does not find
 * is read by the long way, so a short way that found nothing would only be slow.
 */
#include "inside.h"

#include "support.h"

#include <sys/mman.h>

#define TABLE_BYTES (UINT64_C(8) << 20)
#define MOST        6000

static struct store table, reader;
static struct rnd rnd;
static uint64_t keys[MOST];

static void table_new(enum heir_type type)
{
    table = (struct store){.bytes = TABLE_BYTES, .seed = test_seed};
    table.base = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(table.base != MAP_FAILED);
    page_of(&table)->max_bytes = TABLE_BYTES;
    page_of(&table)->hash_seed = table.seed;
    page_of(&table)->type = type;
    REQUIRE_RC(objects_format(&table), 0);
    reader = table;
    reader.heap_reach = TABLE_BYTES - (table.heap_first + 1) * PAGE_BYTES; /* all of it is backed */
    read_quick_set(&reader, true);
}

static void put(const void *key, size_t key_len, const void *value, size_t value_len)
{
    objects_begin(&table);
    CHECK_RC(objects_put(&table, key, key_len, value, value_len, false), 0);
    objects_commit(&table);
}

/* Of some length, and told by the key and a number. */
static size_t value_of(uint64_t key, uint64_t number, uint8_t *value)
{
    size_t len = key % 80;
    for (size_t i = 0; i < len; i++)
        value[i] = (uint8_t)(key + number + i);
    return len;
}

static void put_key(uint64_t key, uint64_t number)
{
    uint8_t value[80];
    put(&key, sizeof key, value, value_of(key, number, value));
}

static bool quickly(uint64_t key, uint64_t number)
{
    uint8_t value[80], expected[80];
    size_t len = sizeof value;

    if (!read_quick(&reader, key, value, &len))
        return false;
    CHECK(len == value_of(key, number, expected) && memcmp(value, expected, len) == 0, "key %016lx", (long)key);
    return true;
}

/* ---- Keys ----------------------------------------------------------------------------------------------- */

static uint64_t key_random(uint64_t i)
{
    (void)i;
    return rnd_next(&rnd);
}

static uint64_t key_up(uint64_t i)
{
    return __builtin_bswap64(i);
}

static uint64_t key_down(uint64_t i)
{
    return __builtin_bswap64(UINT64_MAX - i);
}

static uint64_t key_native(uint64_t i)
{
    return i;
}

/* No four bytes tell many of them apart. */
static uint64_t key_sparse(uint64_t i)
{
    return (i & 15) | (i >> 4 & 15) << 28 | (i >> 8) << 56;
}

static const struct {
    const char *name;
    uint64_t (*key)(uint64_t);
} kinds[] = {
    {"random", key_random}, {"up", key_up}, {"down", key_down}, {"native", key_native}, {"sparse", key_sparse}};

/* ---- Tests ---------------------------------------------------------------------------------------------- */

static void all_found(enum heir_type type)
{
    rnd = (struct rnd){test_seed};
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        table_new(type);
        for (uint64_t n = 0, next = 1; n < MOST; n++) {
            keys[n] = kinds[k].key(n);
            put_key(keys[n], 0);
            if (n != next)
                continue;
            next += 1 + next / 8;
            uint64_t missing = 0;
            for (uint64_t i = 0; i <= n; i++)
                missing += !quickly(keys[i], 0);
            /* of a hash index, those that are not where they are looked for first */
            CHECK(missing <= (type == HEIR_SET ? n / 8 + 1 : 0), "%s: %lu of %lu are not found", kinds[k].name,
                  (long)missing, (long)n + 1);
            CHECK(!quickly(kinds[k].key(n + 1), 0), "%s: what is not there is found", kinds[k].name);
        }
        munmap(table.base, table.bytes);
    }
}

static void set_found(void)
{
    all_found(HEIR_SET);
}

static void tree_found(void)
{
    all_found(HEIR_ORDERED_SET);
}

/* A small table, of which no more is mapped than is backed. */
static void few_found(enum heir_type type)
{
    uint64_t objects = 0, missing = 0;

    rnd = (struct rnd){test_seed};
    table_new(type);
    for (uint64_t n = 0; n < 200; n++) {
        keys[n] = key_random(n);
        put_key(keys[n], 0);
        uint8_t *end = table.base + readable(&table), *log = table.base + get(&ledger_of(&table)->log_floor);
        REQUIRE(mprotect(end, (size_t)(log - end), PROT_NONE) == 0);
        CHECK(at_careful(&reader, table.heap_first * PAGE_BYTES, 1));
        for (uint64_t i = 0; i <= n; i++, objects++)
            missing += !quickly(keys[i], 0);
        REQUIRE(mprotect(end, (size_t)(log - end), PROT_READ | PROT_WRITE) == 0);
    }
    CHECK(missing * 5 < objects, "%lu of %lu are not found", (long)missing, (long)objects);
    munmap(table.base, table.bytes);
}

static void set_few_found(void)
{
    few_found(HEIR_SET);
}

static void tree_few_found(void)
{
    few_found(HEIR_ORDERED_SET);
}

/* Objects come, change and go, and keys that are longer and shorter are between them. */
static void changing(enum heir_type type)
{
    enum { OBJECTS = 500, ROUNDS = 40000, EVERY = 500 };
    static uint64_t numbers[OBJECTS]; /* of the value + 1; 0: it is not there */

    rnd = (struct rnd){test_seed};
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        uint64_t living = 0, seen = 0;
        memset(numbers, 0, sizeof numbers);
        table_new(type);
        for (uint64_t i = 0; i < OBJECTS; i++) {
            uint8_t longer[9] = {0};
            keys[i] = kinds[k].key(i);
            memcpy(longer, &keys[i], sizeof keys[i]);
            if (i % 40 == 0)
                put(longer, sizeof longer, NULL, 0);
            if (i % 40 == 1)
                put(longer, 5 + i % 3, NULL, 0);
        }
        for (uint64_t round = 1; round <= ROUNDS; round++) {
            uint64_t i = rnd_below(&rnd, OBJECTS);
            if (numbers[i] != 0 && rnd_below(&rnd, 3) == 0) {
                objects_begin(&table);
                CHECK_RC(objects_del(&table, &keys[i], sizeof keys[i]), 0);
                objects_commit(&table);
                numbers[i] = 0;
            } else {
                put_key(keys[i], round - 1);
                numbers[i] = round;
            }
            if (round % EVERY != 0)
                continue;
            for (i = 0; i < OBJECTS; i++) {
                bool is = quickly(keys[i], numbers[i] - 1);
                CHECK(!is || numbers[i] != 0, "%s: what has been deleted is found", kinds[k].name);
                living += numbers[i] != 0;
                seen += is;
            }
        }
        CHECK(seen * 10 > living * 7, "%s: %lu of %lu are found", kinds[k].name, (long)seen, (long)living);
        munmap(table.base, table.bytes);
    }
}

static void set_changing(void)
{
    changing(HEIR_SET);
}

static void tree_changing(void)
{
    changing(HEIR_ORDERED_SET);
}

static const struct test all[] = {{"all of a set", set_found},
                                  {"all of a tree", tree_found},
                                  {"a small set", set_few_found},
                                  {"a small tree", tree_few_found},
                                  {"a set that changes", set_changing},
                                  {"a tree that changes", tree_changing},
                                  {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "found", .tests = all}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
