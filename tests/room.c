/* SPDX-License-Identifier: MIT */
/*
 * Room, from inside: what -ENOSPC means. It is said when fewer pages are free than one put may need and nothing can
 * be taken back, and not otherwise: not in a table that was cleared, however full it had been, nor to a transaction
 * because of what others have left behind. A full table of each type is led there as tests/torture.c does it, but by
 * one thread; and taking back is stopped before every store. And memory that the keeper has backed ahead is taken as
 * it says, and not relied on.
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
static struct rnd rnd;

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

/* ---- Writing as the library's calls do ------------------------------------------------------------------ */

static const uint8_t bytes[8192];

static void begin(struct store *s)
{
    objects_abort(s);
    objects_make_room(s);
    objects_begin(s);
}

/* heir_put(), heir_del() outside of a transaction; value_len SIZE_MAX: delete. */
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

static uint64_t pages_free(const struct store *s)
{
    return undo_first_page(s) - s->heap_first - peek(&ledger_of(s)->pages_used);
}

/* ---- Cleared -------------------------------------------------------------------------------------------- */

/* Small objects in the order of random keys: those of one part of the index are all over the heap, so that no page
 * comes free with them. All the same there is room again. */
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

/* A transaction is not refused because what was cleared is still being taken apart. */
static void transaction_in_a_cleared_table(void)
{
    static const uint64_t sizes[] = {320 * KIB, 1 * MIB, 4 * MIB}, most[] = {10, 130, 490, 1570};
    unsigned sweeping = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (unsigned n = 1; n <= 57; n += sizes[i] > MIB ? 28 : 8) {
            for (size_t j = 0; j < sizeof most / sizeof *most; j++) {
                uint64_t key = 0;
                int r = 0;
                table_new(sizes[i]);
                fill_with(most[j]);
                clear();
                for (uint64_t one = UINT64_MAX; r == 0 && space_low(&table); one--)
                    r = alone(&table, &one, sizeof one, 5);
                CHECK_RC(r, 0);
                sweeping += history_sweeping(&table);
                begin(&table);
                for (; r == 0 && key < n; key++)
                    r = objects_put(&table, &key, sizeof key, bytes, 20, false);
                CHECK(r == 0, "%lu KiB, change %lu of %u: %s", (unsigned long)(sizes[i] / KIB), (unsigned long)key, n,
                      error_text(r));
                objects_commit(&table);
                store_end(&table);
            }
        }
    }
    CHECK(sweeping > 0);
}

/* ---- Stopped while taking back -------------------------------------------------------------------------- */

static struct {
    bool on;
    struct store image;
    uint64_t stores, wrong;
} stopped;

/* Before every store: a successor rolls back, goes on taking back to the end, and finds everything in its place. */
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

/* A cleared index, then deletions whose records need another chunk: it must not be a page of that index, which is
 * looked through again if this comes to nothing. */
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

/* ---- Full ----------------------------------------------------------------------------------------------- */

#define ACCOUNTS 128

static size_t account(char *key, uint64_t n)
{
    return (size_t)sprintf(key, "a%lu-%02lu", (unsigned long)(n / 16), (unsigned long)(n % 16));
}

static int accounts_anew(void)
{
    char key[24];
    int r = objects_clear(&table);
    for (uint64_t n = 0; r == 0 && n < ACCOUNTS && !bag(&table); n++)
        r = objects_put(&table, key, account(key, n), bytes, 8, false);
    return r;
}

static int random_changes(void)
{
    char key[24];
    int r = 0;
    for (uint64_t n = rnd_below(&rnd, 20); r == 0 && n > 0; n--) {
        size_t len = account(key, rnd_below(&rnd, ACCOUNTS));
        uint8_t note[64] = {0};
        uint64_t random = rnd_next(&rnd);
        memcpy(note, &random, sizeof random);
        r = objects_put(&table, key, len, note, bag(&table) ? 17 + rnd_below(&rnd, 40) : 8, false);
    }
    for (uint64_t n = rnd_below(&rnd, rnd_below(&rnd, 20) ? 4 : 60); r == 0 && n > 0; n--) {
        size_t len = (size_t)sprintf(key, "f%04d", (int)rnd_below(&rnd, 2000));
        if (rnd_below(&rnd, 5) < 3)
            r = objects_put(&table, key, len, bytes, rnd_below(&rnd, rnd_below(&rnd, 30) ? 200 : 6000), false);
        else if ((r = objects_del(&table, key, len)) == -ENOENT)
            r = 0;
    }
    return r;
}

struct names {
    unsigned count;
    struct {
        char key[8];
        size_t key_len, value_len;
    } object[8];
};

static int note_name(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct names *names = arg;
    (void)value;
    if (key_len > sizeof names->object[0].key)
        return -EINVAL;
    memcpy(names->object[names->count].key, key, key_len);
    names->object[names->count].key_len = key_len;
    names->object[names->count].value_len = value_len;
    return ++names->count == sizeof names->object / sizeof names->object[0];
}

/* A table that refuses one small object when nobody holds the past: it is full of what lives; and can be emptied. */
static void refused(struct store *s)
{
    static const struct walk_what all;
    const struct ledger *l = ledger_of(s);
    uint64_t objects = objects_committed(s);
    bool copied;

    CHECK_EQ(peek(&l->history_head), peek(&l->history_tail));
    CHECK_EQ(peek(&l->sweep), 0);
    CHECK(pages_free(s) < PAGES_A_PUT, "with %lu pages free", (unsigned long)pages_free(s));
    for (bool first = true; objects != 0; first = false) {
        struct names names = {.count = 0};
        if (walk_copy(s, &all, 1, SIZE_MAX, &copied, note_name, &names) < 0 || names.count == 0) {
            CHECK(false, "%lu objects are not found", (unsigned long)objects);
            return;
        }
        for (unsigned i = 0; i < names.count; i++) {
            int r = alone(s, names.object[i].key, names.object[i].key_len, SIZE_MAX);
            if (r == -ENOENT && bag(s)) /* with one of the same key */
                continue;
            if (!CHECK(r == 0, "deleting from a full table: %s", error_text(r)))
                return;
        }
        objects = objects_committed(s);
        if (first) /* their room can be had again */
            CHECK_RC(alone(s, names.object[0].key, names.object[0].key_len, names.object[0].value_len), 0);
        if (first)
            CHECK_RC(alone(s, names.object[0].key, names.object[0].key_len, SIZE_MAX), 0);
    }
    CHECK_RC(alone(s, "f", 1, 1), 0);
    objects_collect(s);
    uint64_t used = peek(&l->pages_used),
             heap = pages_free(s) + used; /* a tree may keep empty nodes that were full when it was */
    CHECK(used < 8 + heap / 4, "%lu pages of %lu are in use for one object", (unsigned long)used, (unsigned long)heap);
    whole(s);
}

/* Writers who fail, some of which clear the table and some of which are killed before they have; readers who pin. */
static void full_of_what_lives(void)
{
    static const uint64_t sizes[] = {64 * KIB, 320 * KIB, 1 * MIB};
    unsigned held = 0, full = 0, refusals = 0, streak = 0, longest = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        table_new(sizes[i]);
        struct store copy = store_new(sizes[i]);
        begin(&table);
        CHECK_RC(accounts_anew(), 0);
        objects_commit(&table);
        for (unsigned n = 0; n < 8000; n++) {
            if (held == 0 && rnd_below(&rnd, 30) == 0)
                held = 1 + (unsigned)rnd_below(&rnd, 200);
            else if (held != 0)
                held--;
            if (held == 0 || peek(&page_of(&table)->pin_floor) == 0)
                set_really(&page_of(&table)->pin_floor, held != 0 ? peek(&view_of(&table)->committed) : 0);
            begin(&table);
            int r = random_changes();
            if (r == 0 && rnd_below(&rnd, 12) != 0) {
                objects_commit(&table);
                streak = 0;
                continue;
            }
            objects_abort(&table);
            if (r == 0)
                continue;
            CHECK_RC(r, -ENOSPC);
            full++;
            copy_to(&copy, &table);
            set_really(&page_of(&copy)->pin_floor, 0);
            if ((r = alone(&copy, "f", 1, 1)) != 0) {
                CHECK_RC(r, -ENOSPC);
                refusals++;
                refused(&copy);
            }
            if (rnd_below(&rnd, 2) != 0)
                continue;
            begin(&table);
            if ((r = accounts_anew()) == 0)
                objects_commit(&table);
            else
                objects_abort(&table);
            streak = bag(&table) ? streak + 1 : 0; /* it is empty now */
            longest = streak > longest ? streak : longest;
        }
        whole(&table);
        store_end(&copy);
        store_end(&table);
    }
    printf("  %u times full, %u of them also for one byte\n", full, refusals);
    CHECK(full > 0);
    CHECK(longest < 10, "%u transactions in a row had no room in a table that was empty", longest);
}

/* ---- Backed ahead --------------------------------------------------------------------------------------- */

/* Put new objects until the limit moves, or all is full; how far it has moved. */
static uint64_t put_until_it_grows(uint64_t *key)
{
    uint64_t limit = get(&view_of(&table)->limit);
    while (get(&view_of(&table)->limit) == limit && alone(&table, key, sizeof *key, 1000) == 0)
        ++*key;
    return get(&view_of(&table)->limit) - limit;
}

/* What table_page.ahead names is taken at once, or as much of it as one may; elsewhere it is a page at a time. */
static void backed_ahead(void)
{
    uint64_t key = 0, limit, grown;
    table_new(64 * MIB);
    word_t *ahead = &page_of(&table)->ahead;
    while (get(&view_of(&table)->limit) < table.heap_first + 2 * SPACE_AHEAD_FROM)
        REQUIRE(put_until_it_grows(&key) != 0);
    limit = get(&view_of(&table)->limit);
    set_really(ahead, ahead_word(limit + 100, limit + 100 + 1000));
    while (limit < ahead_first(get(ahead))) {
        CHECK(put_until_it_grows(&key) <= SPACE_AHEAD);
        limit = get(&view_of(&table)->limit);
    }
    CHECK_EQ(put_until_it_grows(&key), ahead_end(get(ahead)) - limit);
    CHECK(put_until_it_grows(&key) <= SPACE_AHEAD);
    whole(&table);

    set_really(ahead, ahead_word(0, UINT32_MAX)); /* none of it is there, and most of it not in the table */
    while ((grown = put_until_it_grows(&key)) != 0)
        CHECK(grown == SPACE_AHEAD_MOST ||
              (grown < SPACE_AHEAD_MOST && get(&view_of(&table)->limit) + SPACE_AHEAD > undo_first_page(&table)));
    CHECK(get(&view_of(&table)->limit) <= undo_first_page(&table));
    CHECK_RC(alone(&table, &key, sizeof key, 1000), -ENOSPC);
    whole(&table);
    store_end(&table);
}

/* A long log has come down into it, and goes. */
static void ahead_of_a_long_log(void)
{
    table_new(16 * MIB);
    uint64_t limit = get(&view_of(&table)->limit), end = table.bytes / PAGE_BYTES - 32, key = 0, marked = 0;
    for (uint64_t page = limit; page < end; page++)
        table.base[(page + 1) * PAGE_BYTES - 1] = 'a';
    set_really(&page_of(&table)->ahead, ahead_word(limit, end));
    objects_begin(&table);
    for (; get(&ledger_of(&table)->log_floor) >= (end - 32) * PAGE_BYTES; key++)
        REQUIRE_RC(objects_put(&table, &key, sizeof key, bytes, 0, false), 0);
    uint64_t log = (table.bytes - get(&ledger_of(&table)->log_count) * sizeof(struct log_entry)) / PAGE_BYTES;
    CHECK(log > get(&ledger_of(&table)->log_floor) / PAGE_BYTES && log < end);
    objects_commit(&table);
    CHECK_EQ(get(&ledger_of(&table)->log_floor), table.bytes - PAGE_BYTES);
    for (uint64_t page = get(&view_of(&table)->limit); page < log; page++)
        marked += table.base[(page + 1) * PAGE_BYTES - 1] == 'a';
    CHECK_EQ(marked, log - get(&view_of(&table)->limit));
    whole(&table);
    store_end(&table);
}

static const struct test tests[] = {{"cleared is empty", cleared_is_empty},
                                    {"transaction in a cleared table", transaction_in_a_cleared_table},
                                    {"stopped while taking back", stopped_while_taking_back},
                                    {"stopped at a new chunk", stopped_at_a_new_chunk},
                                    {"full of what lives", full_of_what_lives},
                                    {"backed ahead", backed_ahead},
                                    {"ahead of a long log", ahead_of_a_long_log},
                                    {0}};

static int of_type(enum heir_type type)
{
    table_type = type;
    rnd = (struct rnd){test_seed};
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
