/* SPDX-License-Identifier: MIT */
/*
 * The engine from inside: crashes at every store, conservation of space, and the frozen format.
 *
 * A thread that is killed leaves a prefix of its stores. So here every store of a word of shared metadata (all of them
 * go through set()) first looks at the table as it would be found by a successor: a copy is taken, rolled back, checked
 * (check.h), and compared: it must be what was before the transaction, or, from the committing store on, what is after
 * it. For some, rolling back is itself stopped before each of its stores and begun anew. (The crash suite does the same
 * from outside, by instruction, on the library as it is shipped.)
 */
#include "atomics.h"

static void hook(word_t *word, uint64_t value);
static inline void set_really(word_t *word, uint64_t value)
{
    set(word, value);
}
#define set(word, value) hook(word, value)

#include "inside.h"

#include "support.h"
#include <stdio.h>
#include <sys/mman.h>

/* ---- Tables in plain memory --------------------------------------------------------------------------- */

static enum heir_type table_type; /* of the tables to come */

static struct store store_new(uint64_t bytes)
{
    struct store s = {.bytes = bytes, .seed = test_seed};
    s.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_PTR_NOT_EQUAL_FATAL(s.base, MAP_FAILED);
    page_of(&s)->max_bytes = bytes;
    page_of(&s)->type = table_type;
    page_of(&s)->hash_seed = s.seed;
    return s;
}

static struct store table_new(uint64_t bytes)
{
    struct store s = store_new(bytes);
    CHECK_RC(objects_format(&s), 0);
    return s;
}

static void table_end(struct store *s)
{
    munmap(s->base, s->bytes);
}

static void tell_wrong(unsigned law, const char *what, uint64_t where, void *arg)
{
    (void)arg;
    printf("  K%u: %s (%lu)\n", law, what, (unsigned long)where);
}

static void check_whole(const struct store *s)
{
    CHECK_EQ(check_store(s, tell_wrong, NULL), 0);
}

/* What is in the table, in one number that does not depend on the order. */
static int add_up(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    *(uint64_t *)arg += XXH3_64bits_withSeed(value, value_len, XXH3_64bits(key, key_len)) | 1;
    return 0;
}

static const struct walk_what all;

static uint64_t content(const struct store *s)
{
    uint64_t sum = 0;
    bool copied;
    CHECK_RC(walk_copy(s, &all, 1, SIZE_MAX, &copied, add_up, &sum), 0);
    return sum;
}

/* ---- A crash before every store ----------------------------------------------------------------------- */

static struct {
    struct store *watched; /* NULL: off */
    struct store image;
    uint64_t before, after; /* contents */
    bool committing;        /* the transaction ends: `after` is right, too */
    unsigned nest;          /* one image in so many is also stopped while being rolled back */
    uint64_t stores, nested, found_before, found_after, wrong;
} crash;

static void copy_image(struct store *to, const struct store *from)
{
    uint64_t heap = readable(from), floor = get(&ledger_of(from)->log_floor);
    *to = (struct store){.base = to->base, .bytes = from->bytes, .heap_first = from->heap_first, .seed = from->seed};
    memcpy(to->base, from->base, heap);
    memcpy(to->base + floor, from->base + floor, from->bytes - floor);
}

static void judge(struct store *image)
{
    uint64_t found = 0;
    /* the check sees the table as it will be after rolling back */
    bool copied, ok = check_store(image, tell_wrong, NULL) == 0 && undo_all(image, NULL) == 0 &&
                      check_store(image, tell_wrong, NULL) == 0 &&
                      walk_copy(image, &all, 1, SIZE_MAX, &copied, add_up, &found) == 0;
    if (ok && found == crash.before)
        crash.found_before++;
    else if (ok && crash.committing && found == crash.after)
        crash.found_after++;
    else
        crash.wrong++;
}

static void stop_before_store(struct store *s, struct store *image)
{
    copy_image(image, s);
    judge(image);
}

static void hook(word_t *word, uint64_t value)
{
    struct store *s = crash.watched;

    if (s != NULL && (uint8_t *)word >= s->base && (uint8_t *)word < s->base + s->bytes) {
        crash.watched = NULL;
        crash.stores++;
        stop_before_store(s, &crash.image);
        if (crash.nest != 0 && crash.stores % crash.nest == 0) {
            /* the same, with the successor's rolling back stopped before each of its stores */
            struct store first = store_new(s->bytes), outer = crash.image;
            copy_image(&first, s);
            crash.image = store_new(s->bytes);
            unsigned nest = crash.nest;
            uint64_t stores = crash.stores;
            crash.nest = 0;
            crash.watched = &first;
            undo_all(&first, NULL);
            crash.watched = NULL;
            crash.nested += crash.stores - stores;
            crash.stores = stores;
            crash.nest = nest;
            table_end(&crash.image);
            table_end(&first);
            crash.image = outer;
        }
        crash.watched = s;
    }
    set_really(word, value);
}

/* One step of a transaction on both tables alike: on a twin first, to know what comes out. */
struct deed {
    enum { PUT, DEL, ADD, TAKE, CLEAR, PUT_NEW, PUT_MANY, CAS, EDIT, DEL_OBJECT } what;
    uint64_t key;
    unsigned key_len;
    size_t value_len;
};

static int do_deed(struct store *s, const struct deed *step)
{
    static uint8_t value[70000], key[256], other[8];
    const struct heir_object many[] = {{key, step->key_len, value, step->value_len},
                                       {other, sizeof other, value, 20},
                                       {value, 30, key, step->key_len}};
    size_t room = sizeof value;
    uint64_t offset;
    int64_t sum;
    int r;

    memset(value, (int)(step->key + step->value_len), step->value_len + 30);
    memcpy(key, &step->key, sizeof step->key);
    memcpy(other, &step->value_len, sizeof other);
    switch (step->what) {
    case PUT:
    case PUT_NEW:
        return objects_put(s, key, step->key_len, value, step->value_len, step->what == PUT_NEW);
    case DEL:
        return objects_del(s, key, step->key_len);
    case TAKE:
        return objects_take(s, key, step->key_len, value, &room);
    case PUT_MANY:
        return objects_put_many(s, many, 3, step->value_len % 2 != 0);
    case CAS:
        r = read_get_at(s, s->txn, key, step->key_len, value, &room);
        return r < 0 ? r : objects_cas(s, key, step->key_len, value, room, "cas", 3);
    case EDIT:
        r = objects_edit(s, key, step->key_len, step->value_len, &offset);
        if (r == 0)
            memcpy(s->base + offset, value, step->value_len);
        return r;
    case DEL_OBJECT:
        return objects_del_object(s, key, step->key_len, value, step->value_len);
    case ADD:
        return objects_add(s, key, step->key_len, 1, NULL, &sum);
    case CLEAR:
        return objects_clear(s);
    }
    return -EINVAL;
}

static void transact(struct store *s, const struct deed *steps, size_t n, bool commit)
{
    objects_begin(s);
    for (size_t i = 0; i < n; i++)
        do_deed(s, &steps[i]);
    crash.committing = commit && s == crash.watched;
    if (commit)
        objects_commit(s);
    else
        objects_abort(s);
    crash.committing = false;
}

/* The transaction on a twin, to know what it leads to; then on the table, crashing before each store. */
static void crash_through(struct store *s, struct store *twin, const struct deed *steps, size_t n, bool commit)
{
    copy_image(twin, s);
    crash.before = content(s);
    transact(twin, steps, n, commit);
    crash.after = content(twin);
    crash.watched = s;
    transact(s, steps, n, commit);
    crash.watched = NULL;
    crash.committing = commit;
    stop_before_store(s, &crash.image); /* after the last */
    crash.committing = false;
    CHECK_EQ(content(s), crash.after);
    check_whole(s);
}

static struct deed random_deed(struct rnd *rnd, unsigned keys, size_t largest)
{
    unsigned dice = (unsigned)rnd_below(rnd, 100);
    struct deed step = {.key = rnd_below(rnd, keys), .key_len = 8};
    step.what = dice < 35   ? PUT
                : dice < 50 ? DEL
                : dice < 58 ? PUT_NEW
                : dice < 66 ? TAKE
                : dice < 76 ? ADD
                : dice < 82 ? PUT_MANY
                : dice < 88 ? CAS
                : dice < 93 ? EDIT
                : dice < 98 ? DEL_OBJECT
                            : CLEAR;
    if (table_type >= HEIR_BAG && (step.what == ADD || step.what == CAS || step.what == EDIT))
        step.what = DEL; /* for one object a key */
    step.value_len = step.what == ADD ? 8 : rnd_below(rnd, 8) == 0 ? rnd_below(rnd, largest) : rnd_below(rnd, 100);
    return step;
}

static void crash_table(uint64_t bytes, unsigned keys, size_t largest, unsigned transactions, unsigned nest)
{
    struct store s = table_new(bytes), twin = store_new(bytes);
    struct rnd rnd = {test_seed};

    memset(&crash, 0, sizeof crash);
    crash.image = store_new(bytes);
    crash.nest = nest;
    for (unsigned i = 0; i < transactions && crash.wrong == 0; i++) {
        struct deed steps[12];
        size_t n = 1 + (rnd_below(&rnd, 3) == 0 ? rnd_below(&rnd, 12) : 0);
        for (size_t j = 0; j < n; j++)
            steps[j] = random_deed(&rnd, keys, largest);
        crash_through(&s, &twin, steps, n, rnd_below(&rnd, 5) != 0);
    }
    printf("  %u transactions, %lu stores, %lu more while rolling back: before %lu, after %lu, wrong %lu\n",
           transactions, (unsigned long)crash.stores, (unsigned long)crash.nested, (unsigned long)crash.found_before,
           (unsigned long)crash.found_after, (unsigned long)crash.wrong);
    CHECK_EQ(crash.wrong, 0);
    CU_ASSERT_TRUE(crash.found_before > 0 && crash.found_after > 0);
    table_end(&crash.image);
    table_end(&twin);
    table_end(&s);
}

static void crash_small(void)
{
    crash_table(128 << 10, 60, 3000, 200, 37);
}

/* A table so full that most writes fail, in the middle. */
static void crash_full(void)
{
    crash_table(80 << 10, 400, 9000, 200, 41);
}

static void crash_many_keys(void)
{
    crash_table(1 << 20, 3000, 300, 400, 101);
}

/* Does putting a key split something in the index? Trees are only sorted anew most of the time. */
static bool grows(const struct store *s, uint64_t key)
{
    const uint8_t *right_key;
    struct slots slots;
    struct plan plan;
    struct spot spot;
    struct way way;

    change_find(s, &key, 8, &spot);
    if (!ordered(s) || spot.vacant != NULL)
        return spot.vacant == NULL;
    CHECK_RC(make_plan(s, (const uint8_t *)&key, 8, &way, &slots, &right_key, &plan), 0);
    return plan.what != SORT_LEAF || key % 64 == 0;
}

/* Index growth: crash through every store of the puts that split and double. */
static void crash_growth(void)
{
    struct store s = table_new(2 << 20), twin = store_new(2 << 20);
    memset(&crash, 0, sizeof crash);
    crash.image = store_new(2 << 20);
    uint64_t splits = 0;
    for (uint64_t key = 0; key < (ordered(&s) ? 3000 : 9000) && crash.wrong == 0; key++) {
        struct deed put = {.what = PUT, .key = key, .key_len = 8, .value_len = 4};
        if (grows(&s, key)) {
            splits++;
            crash_through(&s, &twin, &put, 1, splits % 3 != 0);
        }
        transact(&s, &put, 1, true);
    }
    printf("  %lu splits, %lu stores, wrong %lu\n", (unsigned long)splits, (unsigned long)crash.stores,
           (unsigned long)crash.wrong);
    CHECK_EQ(crash.wrong, 0);
    CU_ASSERT_TRUE(splits > 10);
    check_whole(&s);
    table_end(&crash.image);
    table_end(&twin);
    table_end(&s);
}

/* ---- Conservation ------------------------------------------------------------------------------------- */

/* Long churn of all sizes in a small table, checked all the time; in the end all space is back. */
static void churn_conserves_space(void)
{
    struct store s = table_new(4 << 20);
    struct rnd rnd = {test_seed};
    uint64_t full = 0;

    for (unsigned i = 0; i < 60000; i++) {
        struct deed step = random_deed(&rnd, 2000, rnd_below(&rnd, 20) == 0 ? 65536 : 2000);
        if (step.what == CLEAR && rnd_below(&rnd, 20) != 0)
            step.what = PUT;
        objects_begin(&s);
        int r = do_deed(&s, &step);
        full += r == -ENOSPC;
        if (rnd_below(&rnd, 10) == 0)
            objects_abort(&s);
        else
            objects_commit(&s);
        if (i % 1000 == 0)
            check_whole(&s);
    }
    printf("  %lu times full\n", (unsigned long)full);
    struct deed clear = {.what = CLEAR}, put = {.what = PUT, .key = 1, .key_len = 8, .value_len = 8};
    transact(&s, &clear, 1, true);
    struct deed again[] = {{.what = DEL, .key = 1, .key_len = 8}, put};
    for (unsigned i = 0; i < 20000; i++)
        transact(&s, again, 2, true);
    check_whole(&s);
    printf("  %lu bytes used in the end\n", (unsigned long)space_bytes_used(&s));
    CHECK_EQ(objects_committed(&s), 1);
    CU_ASSERT_TRUE(space_bytes_used(&s) < 256 << 10);
    table_end(&s);
}

/* Deleting must work, and help, in a table that is full. */
static void full_table_can_be_emptied(void)
{
    struct store s = table_new(256 << 10);
    uint64_t n = 0;
    int r = 0;

    for (; r == 0; n++) {
        struct deed put = {.what = PUT, .key = n, .key_len = 8, .value_len = 50};
        objects_begin(&s);
        r = do_deed(&s, &put);
        objects_commit(&s);
    }
    CHECK_EQ(r, -ENOSPC);
    n--;
    printf("  %lu objects\n", (unsigned long)n);
    CHECK_EQ(objects_committed(&s), n);
    check_whole(&s);
    for (uint64_t key = 0; key < n; key++) {
        struct deed del = {.what = DEL, .key = key, .key_len = 8};
        objects_begin(&s);
        CHECK_RC(do_deed(&s, &del), 0);
        objects_commit(&s);
    }
    check_whole(&s);
    CHECK_EQ(objects_committed(&s), 0);
    for (uint64_t key = 0; key < n * 9 / 10; key++) {
        struct deed put = {.what = PUT, .key = key * 7 + 1, .key_len = 8, .value_len = 50};
        objects_begin(&s);
        CHECK_RC(do_deed(&s, &put), 0);
        objects_commit(&s);
    }
    check_whole(&s);
    table_end(&s);
}

/* Full tables of fine and of coarse classes, cleared, filled with other sizes, cleared, by transactions that are also
 * aborted: blocks of one size end up in the place of others, and the log comes down to where the heap was. */
static void full_tables_turn_over(void)
{
    static const uint64_t sizes[] = {64 << 10, 1 << 20, 2 << 20, 3 << 20};
    struct rnd rnd = {test_seed};
    uint64_t key = 0, full = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct store s = table_new(sizes[i]);
        for (unsigned round = 0; round < 24; round++) {
            size_t most = rnd_below(&rnd, 3) == 0 ? 4000 : 1 + rnd_below(&rnd, 300);
            for (unsigned failed = 0; failed < 40;) {
                unsigned many = rnd_below(&rnd, 30) == 0 ? 300 : 1;
                objects_begin(&s);
                while (many-- > 0) {
                    struct deed put = {.what = PUT, .key = key++, .key_len = 8, .value_len = rnd_below(&rnd, most)};
                    struct deed del = {.what = DEL, .key = key - 1 - rnd_below(&rnd, 200), .key_len = 8};
                    failed += do_deed(&s, &put) == -ENOSPC;
                    if (rnd_below(&rnd, 3) == 0)
                        do_deed(&s, &del);
                }
                if (rnd_below(&rnd, 10) == 0)
                    objects_abort(&s);
                else
                    objects_commit(&s);
                full += failed;
            }
            check_whole(&s);
            struct deed clear = {.what = CLEAR}, put = {.what = PUT, .key = key++, .key_len = 8, .value_len = 8};
            for (unsigned again = 0; again < 1 + round % 3; again++) {
                transact(&s, &clear, 1, round % 5 != 4);
                check_whole(&s);
                objects_begin(&s);
                do_deed(&s, &put);
                objects_commit(&s);
                check_whole(&s);
                objects_collect(&s);
            }
        }
        check_whole(&s);
        table_end(&s);
    }
    CU_ASSERT_TRUE(full > 0);
}

/* A pinned state stays readable, whatever is written, cleared and rolled back; and is let go of afterwards. */
static void pinned_state_stays(void)
{
    struct store s = table_new(4 << 20);
    struct rnd rnd = {test_seed};

    for (uint64_t key = 0; key < 500; key++) {
        struct deed put = {.what = PUT, .key = key, .key_len = 8, .value_len = key % 90};
        transact(&s, &put, 1, true);
    }
    uint64_t snap = get(&view_of(&s)->committed), want = content(&s);
    set_really(&page_of(&s)->pin_floor, snap);
    for (unsigned i = 0; i < 6000; i++) {
        struct deed step = random_deed(&rnd, 700, 100);
        transact(&s, &step, 1, rnd_below(&rnd, 8) != 0);
        if (i % 50 == 0) {
            uint64_t sum = 0;
            CHECK_RC(walk_pinned(&s, snap, &all, add_up, &sum), 0);
            CHECK_EQ(sum, want);
        }
    }
    check_whole(&s);
    CHECK_EQ(get(&view_of(&s)->horizon), snap);
    set_really(&page_of(&s)->pin_floor, 0);
    for (unsigned i = 0; i < 20000; i++) {
        struct deed put = {.what = PUT, .key = 1, .key_len = 8, .value_len = 8};
        transact(&s, &put, 1, true);
    }
    uint64_t sum = 0;
    CHECK_EQ(walk_pinned(&s, snap, &all, add_up, &sum), -ESTALE);
    check_whole(&s);
    table_end(&s);
}

/* The check must find what is wrong: damage every word of the ledger and of the descriptors in turn. */
static void check_finds_damage(void)
{
    struct store s = table_new(256 << 10);
    unsigned found = 0, tried = 0;

    for (uint64_t key = 0; key < 300; key++) {
        struct deed put = {.what = PUT, .key = key, .key_len = 8, .value_len = 40};
        transact(&s, &put, 1, true);
    }
    word_t *words[] = {&ledger_of(&s)->pages_used,
                       &ledger_of(&s)->history_tail,
                       &ledger_of(&s)->tail_chunk,
                       &ledger_of(&s)->spare[SPARE_CHUNK],
                       &view_of(&s)->objects[get(&view_of(&s)->committed) & 1],
                       &view_of(&s)->directory,
                       &desc(&s, s.heap_first)->free,
                       &desc(&s, s.heap_first)->kind};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (unsigned bit = 1; bit < 8; bit++) {
            uint64_t was = peek(words[i]);
            set_really(words[i], was ^ UINT64_C(1) << bit * 7);
            bool ok = check_store(&s, NULL, NULL) == 0;
            set_really(words[i], was);
            tried++;
            found += !ok;
            if (ok)
                printf("  word %zu bit %u: not found\n", i, bit * 7);
        }
    }
    printf("  %u of %u found\n", found, tried);
    CHECK_EQ(found, tried);
    check_whole(&s);
    table_end(&s);
}

/* What a damaged log names is not written to, unless it is a word that can have been logged. */
static void damaged_log_stays_inside(void)
{
    const struct deed put = {.what = PUT, .key = 1, .key_len = 8, .value_len = 40};
    struct store s = table_new(1 << 20);

    transact(&s, &put, 1, false);
    uint64_t limit = peek(&view_of(&s)->limit); /* as it will be */
    const uint64_t beside[] = {offsetof(struct table_page, heap_first),
                               offsetof(struct table_page, owner),
                               offsetof(struct table_page, view.limit),
                               offsetof(struct table_page, writer) + 24,
                               offsetof(struct table_page, ledger.log_floor),
                               offsetof(struct table_page, transfers),
                               PAGE_BYTES + (limit - s.heap_first) * sizeof(struct page_desc),
                               limit * PAGE_BYTES,
                               s.bytes,
                               0 - UINT64_C(8)};

    table_end(&s);
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        s = table_new(1 << 20);
        objects_begin(&s);
        CHECK_RC(do_deed(&s, &put), 0);
        struct log_entry *entry = (struct log_entry *)(void *)(s.base + s.bytes) - 1;
        *entry = (struct log_entry){beside[i], 12345};
        CHECK_EQ(check_store(&s, NULL, NULL), 1);
        CHECK_RC(undo_all(&s, NULL), -EUCLEAN);
        CHECK(beside[i] >= s.bytes || peek((word_t *)(void *)(s.base + beside[i])) != 12345, "entry to %lu",
              (unsigned long)beside[i]);
        table_end(&s);
    }
}

/* A heap that ends before it begins, or beyond all memory: no pages are given away, nor to the log. */
static void damaged_end_of_heap(void)
{
    static const uint64_t ends[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_MAX / PAGE_BYTES};
    uint64_t offset;

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct store s = table_new(1 << 20);
        objects_begin(&s);
        set_really(&ledger_of(&s)->frontier, ends[i]);
        CHECK_RC(space_alloc_alone(&s, PAGE_BYTES, &offset), -EUCLEAN);
        CHECK(undo_reserve(&s, s.bytes / sizeof(struct log_entry)) < 0);
        CHECK(undo_reserve(&s, 2 * s.bytes / sizeof(struct log_entry)) < 0);
        CHECK_EQ(s.log_count, 0);
        table_end(&s);
    }
}

/* A segment that seems to stand in more entries than the log has room for. */
static void damaged_directory(void)
{
    struct store s = table_new(128 << 10);

    if (!ordered(&s)) {
        struct view *v = view_of(&s);
        set_really(&v->limit, s.bytes / PAGE_BYTES);
        set_really(&v->directory, index_offset(peek(&v->directory)) | 13);
        objects_begin(&s);
        CHECK_RC(index_split(&s, 0), -ENOSPC);
        CHECK_EQ(page_of(&s)->max_bytes, s.bytes);
        objects_abort(&s);
    }
    table_end(&s);
}

/* A history that never ends, in a chunk that leads to itself. */
static void damaged_history(void)
{
    struct store s = table_new(256 << 10);
    struct ledger *l = ledger_of(&s);

    set_really(&chunk_at(&s, peek(&l->head_chunk))->next, peek(&l->head_chunk));
    set_really(&l->history_tail, peek(&l->history_tail) + (UINT64_C(1) << 50));
    CU_ASSERT_FALSE(objects_collect(&s));
    table_end(&s);

    /* a chunk that is no page: its records would go on behind it */
    s = table_new(256 << 10);
    objects_begin(&s);
    set_really(&ledger_of(&s)->tail_chunk, peek(&ledger_of(&s)->tail_chunk) + 8);
    CHECK_RC(objects_put(&s, "key", 3, "value", 5, false), -EUCLEAN);
    table_end(&s);
}

/* The record after one that was taken back is where that one was. */
static void record_after_rollback(void)
{
    struct store s = table_new(256 << 10);
    struct ledger *l = ledger_of(&s);
    uint64_t tail = peek(&l->history_tail);

    objects_begin(&s);
    CHECK_RC(history_step(&s, false), 0);
    uint64_t mark = s.log_count;
    CHECK_RC(history_append(&s, 0, 0, GONE_BLOCK), 0);
    CHECK_RC(undo_back_to(&s, mark), 0);
    CHECK_RC(history_append(&s, 4096, 0, GONE_BLOCK), 0);
    CHECK_EQ(peek(&l->history_tail), tail + 1);
    CHECK_EQ(chunk_at(&s, peek(&l->tail_chunk))->records[tail].made, 4096);
    table_end(&s);
}

/* ---- Keys that look alike ------------------------------------------------------------------------------ */

struct hashed {
    uint32_t hash, number;
};

static int by_hash(const void *a, const void *b)
{
    uint32_t x = ((const struct hashed *)a)->hash, y = ((const struct hashed *)b)->hash;
    return (x > y) - (x < y);
}

static bool has(const struct store *s, uint64_t key, uint64_t value)
{
    uint64_t found = 0;
    size_t len = sizeof found;
    return read_get(s, &key, sizeof key, &found, &len) == 0 && found == value;
}

static void change(struct store *s, uint64_t key, const uint64_t *value)
{
    objects_begin(s);
    CHECK_RC(value != NULL ? objects_put(s, &key, sizeof key, value, sizeof *value, false)
                           : objects_del(s, &key, sizeof key),
             0);
    objects_commit(s);
}

/* Different keys with one hash, in one group: each is found, changed and deleted for itself, also beside what the other
 * has left behind. */
static void same_hash(void)
{
    const uint32_t keys = 400000; /* some 20 pairs of them */
    struct hashed *h = calloc(keys, sizeof *h);
    struct store s = table_new(1 << 20);
    unsigned pairs = 0;

    for (uint32_t i = 0; !ordered(&s) && i < keys; i++)
        h[i] = (struct hashed){index_hash(&s, &(uint64_t){i}, sizeof(uint64_t)), i};
    qsort(h, keys, sizeof *h, by_hash);
    for (uint32_t i = 0; !ordered(&s) && i + 1 < keys; i++) {
        uint64_t a = h[i].number, b = h[i + 1].number, value = 1;
        if (h[i].hash != h[i + 1].hash)
            continue;
        pairs++;
        for (unsigned turn = 0; turn < 2; turn++, a ^= b, b ^= a, a ^= b) {
            change(&s, a, &value);
            CHECK(has(&s, a, 1) && !has(&s, b, 1));
            change(&s, b, &(uint64_t){2});
            CHECK(has(&s, a, 1) && has(&s, b, 2));
            change(&s, b, &(uint64_t){3});
            CHECK(has(&s, a, 1) && has(&s, b, 3));
            change(&s, a, NULL);
            CHECK(!has(&s, a, 1) && has(&s, b, 3));
            objects_collect(&s);
            CHECK(!has(&s, a, 1) && has(&s, b, 3));
            change(&s, b, NULL);
            CHECK(!has(&s, b, 3));
        }
        check_whole(&s);
    }
    CHECK(ordered(&s) || pairs != 0);
    free(h);
    table_end(&s);
}

/* One who could not come home because of another who then went home himself is still found. */
static void settling(void)
{
    word_t from[INDEX_SEGMENT_SLOTS] = {0}, slots[INDEX_SEGMENT_SLOTS] = {0}, others[INDEX_SEGMENT_SLOTS] = {0};
    word_t *last = &from[63 * GROUP_SLOTS];
    struct strays strays[2];
    for (unsigned j = 0; j < GROUP_SLOTS; j++)
        set_really(&last[j], (j == 0 ? UINT64_C(62) : 63) << 32 | (j + 1));
    set_really(&from[0], UINT64_C(63) << 32 | 9);
    distribute(from, 31, (word_t *[]){slots, others}, strays);
    CHECK(strays[0].count == 2 && strays[1].count == 0);
    settle(slots, &strays[0]);
    last = &slots[63 * GROUP_SLOTS];
    CHECK_EQ(peek(&slots[62 * GROUP_SLOTS]), UINT64_C(62) << 32 | 1);
    CHECK_EQ(peek(&slots[0]), UINT64_C(63) << 32 | 9);
    CHECK(peek(&last[0]) != 0 && slot_version(peek(&last[0])) == 0);
}

/* ---- The format --------------------------------------------------------------------------------------- */

/* Changing any of these is a new LAYOUT_VERSION. */
static void format_is_frozen(void)
{
    CHECK_EQ(LAYOUT_VERSION, 5);
    CHECK_EQ(sizeof(struct table_page), 3536);
    CHECK_EQ(offsetof(struct table_page, transfers), 1104);
    CHECK_EQ(offsetof(struct transfer, data), 56);
    CHECK_EQ(offsetof(struct table_page, settings), 2240);
    CHECK_EQ(offsetof(struct ledger, partial), 160);
    CHECK_EQ(offsetof(struct ledger, runs), 584);
    CHECK_EQ(offsetof(struct chunk, number), 8);
    CHECK_EQ(offsetof(struct chunk, records), 16);
    CHECK_EQ(offsetof(struct client_page, rung), 176);
    CHECK_EQ(offsetof(struct client_page, crash_signal), 256);
    CHECK_EQ(offsetof(struct client_page, pins), 320);
    CHECK_EQ(offsetof(struct client_page, owned), 704);
    CHECK_EQ(sizeof(struct space_page), 4096);
    CHECK_EQ(sizeof(struct journal_entry), 320);
    CHECK_EQ(SPACE_BYTES, 4096 + 512 * 320);
    CHECK_EQ(offsetof(struct space_page, journal_last), 96);
    CHECK_EQ(offsetof(struct space_page, counters), 128);
    CHECK_EQ(offsetof(struct journal_entry, kind), 72);
    CHECK_EQ(offsetof(struct journal_entry, name), 128);
}

static void size_classes(void)
{
    for (unsigned class = 0; class < SIZE_CLASSES; class ++) {
        uint64_t size = class_bytes(class), last = class == 0 ? 0 : class_bytes(class - 1);
        CHECK_EQ(fine_class(size), class);
        CHECK_EQ(fine_class(last + 1), class);
        CHECK_EQ(size % GRANULE, 0);
        CU_ASSERT_TRUE(class_pages(class) <= SPAN_MAX && class_pages(class) * PAGE_BYTES >= size);
        CU_ASSERT_TRUE(class_pages(class) * PAGE_BYTES / size <= 64);
        CU_ASSERT_TRUE(class_pages(class) * PAGE_BYTES % size * 8 <= class_pages(class) * PAGE_BYTES);
        if ((size & (size - 1)) == 0) /* directories rely on it: their low bits hold a depth */
            CHECK_EQ(class_pages(class) * PAGE_BYTES % size, 0);
    }
    CHECK_EQ(class_bytes(SIZE_CLASSES - 1), CLASS_LARGE);
}

static const struct test tests[] = {
    {"crash-small", crash_small},
    {"crash-full", crash_full},
    {"crash-many-keys", crash_many_keys},
    {"crash-growth", crash_growth},
    {"churn-conserves-space", churn_conserves_space},
    {"full-table-can-be-emptied", full_table_can_be_emptied},
    {"full-tables-turn-over", full_tables_turn_over},
    {"pinned-state-stays", pinned_state_stays},
    {"check-finds-damage", check_finds_damage},
    {"damaged-log-stays-inside", damaged_log_stays_inside},
    {"damaged-end-of-heap", damaged_end_of_heap},
    {"damaged-directory", damaged_directory},
    {"damaged-history", damaged_history},
    {"record-after-rollback", record_after_rollback},
    {"same-hash", same_hash},
    {"settling", settling},
    {0},
};

static const struct test tests_of_format[] = {
    {"format-is-frozen", format_is_frozen},
    {"size-classes", size_classes},
    {0},
};

static int of_sets(void)
{
    table_type = HEIR_SET;
    return 0;
}

static int of_ordered_sets(void)
{
    table_type = HEIR_ORDERED_SET;
    return 0;
}

static int of_bags(void)
{
    table_type = HEIR_BAG;
    return 0;
}

static int of_duplicate_bags(void)
{
    table_type = HEIR_DUPLICATE_BAG;
    return 0;
}

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{"format", tests_of_format, NULL},
                                        {"sets", tests, of_sets},
                                        {"ordered sets", tests, of_ordered_sets},
                                        {"bags", tests, of_bags},
                                        {"duplicate bags", tests, of_duplicate_bags},
                                        {0}};
    return test_main(argc, argv, suites);
}
