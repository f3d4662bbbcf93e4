/* SPDX-License-Identifier: MIT */
/*
 * Room, from inside: what -ENOSPC means. A table that was cleared has room,
 * however full it had been; taking back what was in it is stopped before every
 * store.
 */
#include "atomics.h"

static void hook(word_t *word);
static inline void set_really(word_t *word, uint64_t value)
{
    set(word, value);
}
#define set(word, value)                                                                                               \
    do {                                                                                                               \
        word_t *set_word = (word);                                                                                     \
        uint64_t set_value = (value);                                                                                  \
        hook(set_word);                                                                                                \
        set_really(set_word, set_value);                                                                               \
    } while (0)

#include "inside.h"

#include "support.h"
#include <stdio.h>
#include <sys/mman.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

static enum heir_type table_type; /* of the tables to come */
static struct store table;

static struct store store_new(uint64_t bytes)
{
    struct store s = {.bytes = bytes, .seed = test_seed};
    s.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(s.base != MAP_FAILED);
    return s;
}

static void table_new(uint64_t bytes)
{
    table = store_new(bytes);
    page_of(&table)->max_bytes = bytes;
    page_of(&table)->type = table_type;
    page_of(&table)->hash_seed = table.seed;
    REQUIRE_RC(objects_format(&table), 0);
}

static void store_end(struct store *s)
{
    munmap(s->base, s->bytes);
}

static void copy_to(struct store *to, const struct store *from)
{
    uint64_t heap = readable(from), floor = get(&ledger_of(from)->log_floor);
    *to = (struct store){.base = to->base, .bytes = from->bytes, .heap_first = from->heap_first, .seed = from->seed};
    memcpy(to->base, from->base, heap);
    memcpy(to->base + floor, from->base + floor, from->bytes - floor);
}

static void tell_wrong(unsigned law, const char *what, uint64_t where, void *arg)
{
    (void)arg;
    printf("  K%u: %s (%lu)\n", law, what, (unsigned long)where);
}

static void whole(const struct store *s)
{
    CHECK(check_store(s, tell_wrong, NULL) == 0, "it is not whole");
}

/* ---- Writing as the library's calls do
 * ------------------------------------------------------------------ */

static const uint8_t bytes[8192];

/* heir_put(), heir_del() outside of a transaction; value_len SIZE_MAX: delete.
 */
static int alone(struct store *s, const void *key, size_t key_len, size_t value_len)
{
    int r;
    for (unsigned tries = 0;; tries++) {
        objects_begin(s);
        r = value_len == SIZE_MAX ? objects_del(s, key, key_len)
                                  : objects_put(s, key, key_len, bytes, value_len, false);
        if (r == 0) {
            objects_commit(s);
            return 0;
        }
        objects_abort(s);
        if (r != -ENOSPC || tries == 8 || !objects_collect(s))
            return r;
    }
}

/* The same objects each time. */
static uint64_t fill_with(uint64_t value_most)
{
    struct rnd same = {test_seed};
    uint64_t count = 0, key;
    do
        key = rnd_next(&same);
    while (alone(&table, &key, sizeof key, rnd_below(&same, value_most)) == 0 && ++count != 0);
    return count;
}

static void clear(void)
{
    objects_begin(&table);
    CHECK_RC(objects_clear(&table), 0);
    objects_commit(&table);
}

/* ---- Cleared
 * --------------------------------------------------------------------------------------------
 */

/* Small objects in the order of random keys: those of one part of the index are
 * all over the heap, so that no page comes free with them. All the same there
 * is room again. */
static void cleared_is_empty(void)
{
    static const uint64_t sizes[] = {64 * KIB, 320 * KIB, 1 * MIB, 4 * MIB, 16 * MIB}, most[] = {10, 130, 1500};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t j = 0; j < (sizes[i] > MIB ? 1 : sizeof most / sizeof *most); j++) {
            table_new(sizes[i]);
            uint64_t count = fill_with(most[j]);
            for (unsigned round = 0; round < 2; round++) {
                clear();
                for (uint64_t key = 0; key < 100; key++) { /* what one operation takes back is little */
                    if (!CHECK(alone(&table, &key, sizeof key, 8) == 0, "%lu KiB that held %lu objects: put %lu",
                               (unsigned long)(sizes[i] / KIB), (unsigned long)count, (unsigned long)key))
                        break;
                }
                objects_collect(&table);
                CHECK(peek(&ledger_of(&table)->pages_used) < 120, "%lu pages are in use",
                      (unsigned long)peek(&ledger_of(&table)->pages_used));
                whole(&table);
                clear();
                uint64_t again = fill_with(most[j]);
                /* of a dozen pages one more or less counts much */
                CHECK(again >= count / 2 || sizes[i] < 320 * KIB, "%lu fitted, then %lu", (unsigned long)count,
                      (unsigned long)again);
            }
            store_end(&table);
        }
    }
}

/* ---- Stopped while taking back
 * -------------------------------------------------------------------------- */

static struct {
    bool on;
    struct store image;
    uint64_t stores, wrong;
} stopped;

/* Before every store: a successor rolls back, goes on taking back to the end,
 * and finds everything in its place. */
static void hook(word_t *word)
{
    (void)word;
    if (!stopped.on)
        return;
    stopped.on = false;
    stopped.stores++;
    copy_to(&stopped.image, &table);
    bool good = undo_all(&stopped.image, NULL) == 0;
    objects_collect(&stopped.image);
    good = good && check_store(&stopped.image, tell_wrong, NULL) == 0 &&
           peek(&ledger_of(&stopped.image)->history_head) == peek(&ledger_of(&stopped.image)->history_tail);
    stopped.wrong += !good;
    stopped.on = true;
}

/* So that the history must take a page when it goes on in another chunk. */
static void no_chunk_put_by(void)
{
    word_t *put_by[] = {&ledger_of(&table)->spare[SPARE_CHUNK], &ledger_of(&table)->limbo};
    objects_begin(&table);
    for (unsigned i = 0; i < 2; i++) {
        if (peek(put_by[i]) != 0)
            CHECK_RC(space_free(&table, peek(put_by[i])), 0);
        log_set(&table, put_by[i], 0);
    }
    objects_commit(&table);
}

static void take_back_stopped(void)
{
    set_really(&page_of(&table)->pin_floor, 0);
    stopped.on = true;
    objects_collect(&table);
    stopped.on = false;
    whole(&table);
}

static void stopped_while_taking_back(void)
{
    memset(&stopped, 0, sizeof stopped);
    for (unsigned round = 0; round < 16 && stopped.wrong == 0; round++) {
        table_new(96 * KIB);
        stopped.image = store_new(table.bytes);
        uint64_t count = fill_with(round % 3 == 0 ? 10 : 200), key;
        for (unsigned n = 0; n < 1 + round % 2; n++) { /* deletions behind what was cleared, and before it */
            clear();
            set_really(&page_of(&table)->pin_floor, peek(&view_of(&table)->committed)); /* nothing is taken back yet */
            for (key = 0; key < count / 3; key++)
                alone(&table, &key, sizeof key, 8);
            for (key = 0; key < 7 * round; key++)
                alone(&table, &key, sizeof key, SIZE_MAX);
            set_really(&page_of(&table)->pin_floor, 0);
        }
        take_back_stopped();
        store_end(&stopped.image);
        store_end(&table);
    }
    printf("  %lu stores, wrong %lu\n", (unsigned long)stopped.stores, (unsigned long)stopped.wrong);
    CHECK_EQ(stopped.wrong, 0);
    CHECK(stopped.stores > 1000, "only %lu stores", (unsigned long)stopped.stores);
}

/* A cleared index, then deletions whose records need another chunk: it must not
 * be a page of that index, which is looked through again if this comes to
 * nothing. */
static void stopped_at_a_new_chunk(void)
{
    memset(&stopped, 0, sizeof stopped);
    for (uint64_t left = 0; left < 6; left++) {
        table_new(96 * KIB);
        stopped.image = store_new(table.bytes);
        for (uint64_t key = 0; key < 60; key++)
            CHECK_RC(alone(&table, &key, sizeof key, 8), 0);
        set_really(&page_of(&table)->pin_floor, peek(&view_of(&table)->committed));
        clear();
        for (uint64_t key = 0; peek(&ledger_of(&table)->history_tail) % CHUNK_RECORDS != CHUNK_RECORDS - 6 - left;
             key++)
            CHECK_RC(alone(&table, &key, sizeof key, 8), 0);
        for (uint64_t key = 0; key < 6; key++)
            CHECK_RC(alone(&table, &key, sizeof key, SIZE_MAX), 0);
        no_chunk_put_by();
        take_back_stopped();
        store_end(&stopped.image);
        store_end(&table);
    }
    CHECK_EQ(stopped.wrong, 0);
}

static const struct test tests[] = {{"cleared is empty", cleared_is_empty},
                                    {"stopped while taking back", stopped_while_taking_back},
                                    {"stopped at a new chunk", stopped_at_a_new_chunk},
                                    {0}};

static int of_type(enum heir_type type)
{
    table_type = type;
    return 0;
}

static int of_sets(void)
{
    return of_type(HEIR_SET);
}

static int of_ordered_sets(void)
{
    return of_type(HEIR_ORDERED_SET);
}

static int of_bags(void)
{
    return of_type(HEIR_BAG);
}

static int of_duplicate_bags(void)
{
    return of_type(HEIR_DUPLICATE_BAG);
}

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{"sets", tests, of_sets},
                                        {"ordered sets", tests, of_ordered_sets},
                                        {"bags", tests, of_bags},
                                        {"duplicate bags", tests, of_duplicate_bags},
                                        {0}};
    return test_main(argc, argv, suites);
}
