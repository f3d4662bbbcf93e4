/* SPDX-License-Identifier: MIT */
/*
 * Damaged tables, from inside: an input is a list of patches to a table in memory (four types, in six states), which is
 * then read, checked, rolled back, written to in every way, and checked again. Any result is right, if it comes, and if
 * nothing beside the table is touched: it lies between guards.
 *
 * Built with clang -fsanitize=fuzzer,address this is a libFuzzer target. Else it has a main() of its own that makes
 * random inputs: table [SEED [SECONDS]], or table FILE to run one.
 */
#include "check.h"
#include "feed.h"
#include "ground.h"
#include "objects.h"
#include "undo.h"
#include "walk.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define TABLE_BYTES (UINT64_C(256) << 10)
#define GUARD_BYTES (UINT64_C(1) << 32)
#define TYPES       4u
#define STATES      6u
#define KEYS        300u
#define PATCH_BYTES 11u

static struct store table;
static struct {
    uint8_t *bytes;
    struct store writer; /* of who made it, and may go on */
} images[TYPES][STATES];

static uint64_t random_state;

static uint64_t next_random(void)
{
    return ground_random(&random_state);
}

/* ---- Tables ------------------------------------------------------------------------------------------- */

static size_t make_key(uint8_t key[32], uint64_t number)
{
    int n = snprintf((char *)key, 32,
                     number % 3 == 0   ? "a key %lu"
                     : number % 3 == 1 ? "%lu"
                                       : "a longer key: %lu",
                     (unsigned long)number);
    return (size_t)n;
}

/* One operation of any kind. */
static void write_something(struct store *s)
{
    static uint8_t value[20000];
    uint64_t dice = next_random() % 100;
    size_t len = dice % 7 == 0 ? next_random() % sizeof value : next_random() % 120, room = sizeof value;
    uint8_t key[32], other[32];
    size_t key_len = make_key(key, next_random() % KEYS), other_len = make_key(other, next_random() % KEYS);
    int64_t sum;
    uint64_t offset;
    struct heir_object objects[2] = {{key, key_len, value, len}, {other, other_len, "two", 3}};

    memset(value, (int)dice, 130);
    if (dice < 30)
        objects_put(s, key, key_len, value, len, false);
    else if (dice < 40)
        objects_put(s, key, key_len, value, len, true);
    else if (dice < 60)
        objects_del(s, key, key_len);
    else if (dice < 70)
        objects_take(s, key, key_len, value, &room);
    else if (dice < 78)
        objects_add(s, key, key_len, 1, NULL, &sum);
    else if (dice < 84)
        objects_put_many(s, objects, 2, dice % 2 == 0);
    else if (dice < 88)
        objects_del_object(s, key, key_len, "two", 3);
    else if (dice < 92)
        objects_cas(s, key, key_len, "two", 3, value, len);
    else if (dice < 96 && objects_edit(s, key, key_len, 40, &offset) == 0)
        memset(s->base + offset, 1, 40);
    else if (dice == 96)
        objects_clear(s);
}

static void write_much(struct store *s, unsigned transactions)
{
    for (unsigned i = 0; i < transactions; i++) {
        objects_begin(s);
        for (unsigned n = i % 4 == 0 ? 5 : 1; n > 0; n--)
            write_something(s);
        if (i % 7 == 6)
            objects_abort(s);
        else
            objects_commit(s);
    }
}

/* Empty, some objects, many, cleared with new ones, full, and with a transaction open. */
static void make_state(struct store *s, unsigned state)
{
    uint8_t key[32];

    if (objects_format(s) < 0)
        abort();
    if (state == 0)
        return;
    write_much(s, state == 1 ? 20 : 600);
    objects_begin(s);
    if (state == 3)
        objects_clear(s);
    objects_commit(s);
    for (unsigned i = 0; state == 4 && i < 20000; i++) {
        objects_begin(s);
        int r = objects_put(s, key, make_key(key, i), "filling", 7, false);
        objects_commit(s);
        if (r < 0)
            break;
    }
    if (state == 3)
        write_much(s, 3);
    if (state == 5) {
        objects_begin(s);
        for (unsigned i = 0; i < 200; i++)
            write_something(s);
    }
}

static void set_up(void)
{
    uint8_t *room =
        mmap(NULL, 2 * GUARD_BYTES + TABLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        abort();
    uint8_t *base =
        mmap(room + GUARD_BYTES, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (base == MAP_FAILED)
        abort();
    for (unsigned type = 0; type < TYPES; type++) {
        for (unsigned state = 0; state < STATES; state++) {
            memset(base, 0, TABLE_BYTES);
            table = (struct store){.base = base, .bytes = TABLE_BYTES, .seed = 7};
            struct table_page *page = page_of(&table);
            page->max_bytes = TABLE_BYTES;
            page->hash_seed = 7;
            page->type = type;
            random_state = type * 10 + state;
            make_state(&table, state);
            if (check_store(&table, NULL, NULL) != 0)
                abort();
            images[type][state].writer = table;
            images[type][state].bytes = malloc(TABLE_BYTES);
            if (images[type][state].bytes == NULL)
                abort();
            memcpy(images[type][state].bytes, base, TABLE_BYTES);
        }
    }
}

/* ---- Damage ------------------------------------------------------------------------------------------- */

/* A word of the place that the patch says: {kind, where (2 bytes), value (8 bytes)}. */
static void patch(struct store *s, const uint8_t *bytes)
{
    uint64_t where = bytes[1] | (uint64_t)bytes[2] << 8, value, heap = s->heap_first * PAGE_BYTES, offset;
    uint64_t used = get(&ledger_of(s)->frontier) - s->heap_first;

    memcpy(&value, bytes + 3, sizeof value);
    if (used == 0 || used > TABLE_BYTES / PAGE_BYTES - s->heap_first)
        used = TABLE_BYTES / PAGE_BYTES - s->heap_first;
    switch (bytes[0] & 7) {
    case 0: /* view */
        offset = offsetof(struct table_page, view) + where * 8 % sizeof(struct view);
        break;
    case 1: /* ledger */
        offset = offsetof(struct table_page, ledger) + where * 8 % sizeof(struct ledger);
        break;
    case 2: /* all of the header */
        offset = where * 8 % PAGE_BYTES;
        break;
    case 3: /* descriptors of pages in use */
        offset = PAGE_BYTES + where * 8 % (used * sizeof(struct page_desc));
        break;
    case 4: /* the log */
        offset = TABLE_BYTES - 8 - where * 8 % PAGE_BYTES;
        break;
    default: /* the heap in use */
        offset = heap + where * 8 % (used * PAGE_BYTES);
    }
    word_t *word = (word_t *)(void *)(s->base + offset);
    switch (bytes[0] >> 3 & 7) {
    case 0:
    case 1:
        set(word, value);
        break;
    case 2: /* a bit */
        set(word, peek(word) ^ UINT64_C(1) << (value & 63));
        break;
    case 3: /* a little more, or less */
        set(word, peek(word) + (uint64_t)(int8_t)(value & 0xff));
        break;
    case 4: /* an offset in the heap, with its low bits */
        set(word, heap + value % (used * PAGE_BYTES));
        break;
    case 5: /* a granule in the heap */
        set(word, (peek(word) & ~UINT64_C(0xffffffff)) | (heap + value % (used * PAGE_BYTES)) / GRANULE);
        break;
    case 6: /* a page of the heap */
        set(word, s->heap_first + value % used);
        break;
    case 7: /* what stands elsewhere in the heap */
        memcpy(&value, s->base + heap + value % (used * PAGE_BYTES) / 8 * 8, sizeof value);
        set(word, value);
    }
}

/* ---- Use ---------------------------------------------------------------------------------------------- */

static int look_at_all(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    uint64_t *sum = arg;
    for (size_t i = 0; i < key_len; i++)
        *sum += ((const uint8_t *)key)[i];
    for (size_t i = 0; i < value_len; i++)
        *sum += ((const uint8_t *)value)[i];
    return 0;
}

static int look_at_change(const struct heir_change *change, void *arg)
{
    if (change->kind == HEIR_CHANGE_MISSED)
        return change->missed_last < change->txn ? -1 : 0;
    return look_at_all(change->key, change->key_len, change->value, change->value_len, arg);
}

/* All changes that are still there, and from one of them on. */
static void read_changes(const struct store *s)
{
    uint64_t from[] = {0, get(&view_of(s)->horizon) + next_random() % 100}, sum = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct feed f;
        feed_begin(&f, from[i]);
        while (f.read < get(&view_of(s)->committed) && feed_fill(s, &f) == 0) {
            if (feed_give(&f, UINT64_MAX, look_at_change, &sum) != 0)
                abort();
        }
        feed_end(&f);
    }
}

static void read_all(const struct store *s)
{
    static uint8_t value[1 << 16];
    uint64_t sum = 0, lost;
    struct walk_what all = {0}, some = {.key = "10", .key_len = 2}, rest = {.lost = &lost};
    bool copied;

    for (uint64_t i = 0; i < KEYS; i += 3) {
        uint8_t key[32];
        size_t room = sizeof value;
        read_get(s, key, make_key(key, i), value, &room);
    }
    walk_copy(s, &all, 2, SIZE_MAX, &copied, look_at_all, &sum);
    if (ordered(s)) /* a set with a wild depth is gone through for seconds */
        walk_copy(s, &rest, 2, SIZE_MAX, &copied, look_at_all, &sum);
    if (bag(s))
        walk_copy(s, &some, 2, SIZE_MAX, &copied, look_at_all, &sum);
    if (page_of(s)->type == HEIR_ORDERED_SET) {
        some = (struct walk_what){.range = {"1", 1, "a key 2", 7, true}};
        walk_copy(s, &some, 2, SIZE_MAX, &copied, look_at_all, &sum);
    }
    read_changes(s);
}

static void count_finding(unsigned law, const char *what, uint64_t where, void *arg)
{
    (void)where;
    *(uint64_t *)arg += law + (uint64_t)(what[0] != '\0');
}

static void check_sum(const struct store *s)
{
    struct heir_account a;
    uint64_t findings = 0;
    int r = check_table(s, count_finding, &findings, &a);
    if (r == -ENOMEM)
        return;
    if (a.live + a.superseded + a.index + a.metadata + a.slack + a.free + a.untouched != TABLE_BYTES ||
        (r != 0) != (findings != 0))
        abort();
}

/* What stands in the header and is no business of the engine: what the table is, its owner, the mutex, the settings. */
static bool owners_part(uint64_t offset)
{
    return offset < offsetof(struct table_page, view) ||
           (offset >= offsetof(struct table_page, writer) && offset < offsetof(struct table_page, ledger)) ||
           offset >= offsetof(struct table_page, transfers);
}

static void use(unsigned type, unsigned state, bool lives)
{
    uint64_t undone;
    struct store reader = {.base = table.base, .bytes = TABLE_BYTES, .heap_first = table.heap_first, .seed = 7};
    struct store writer = lives ? images[type][state].writer : reader;
    read_all(&reader);
    check_sum(&reader);
    if (lives && writer.txn != 0) {
        for (unsigned i = 0; i < 20; i++)
            write_something(&writer);
        if (next_random() % 2 == 0)
            objects_commit(&writer);
        else if (objects_abort(&writer) < 0)
            return;
    } else if (!lives && undo_all(&writer, &undone) < 0) {
        return; /* then nobody writes to it any more */
    }
    read_all(&reader);
    write_much(&writer, 60);
    objects_collect(&writer);
    objects_make_room(&writer);
    objects_begin(&writer);
    objects_clear(&writer);
    objects_commit(&writer);
    write_much(&writer, 30);
    read_all(&reader);
    check_sum(&reader);
}

/* The first byte: which table, and whether its writer lives and goes on, or is dead. The rest: patches. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    uint8_t header[PAGE_BYTES];

    if (!ready)
        set_up();
    ready = true;
    if (size < 1)
        return 0;
    unsigned type = data[0] % TYPES, state = data[0] / TYPES % STATES;
    bool lives = data[0] / TYPES / STATES % 2 != 0;
    memcpy(table.base, images[type][state].bytes, TABLE_BYTES);
    random_state = data[0];
    for (size_t i = 1; i + PATCH_BYTES <= size && i < 100 * PATCH_BYTES; i += PATCH_BYTES) {
        patch(&table, data + i);
        random_state = random_state * 31 + data[i];
    }
    memcpy(header, table.base, sizeof header);
    use(type, state, lives);
    for (uint64_t i = 0; i < sizeof header; i++) {
        if (owners_part(i) && header[i] != table.base[i])
            abort();
    }
    return 0;
}

#ifndef HEIR_LIBFUZZER
int main(int argc, char **argv)
{
    return ground_main(argc, argv, "table", PATCH_BYTES, 12);
}
#endif
