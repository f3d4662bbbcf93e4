/* SPDX-License-Identifier: MIT */
/*
 * Salvage of a tree, a node of which is torn: each node in turn, in each way. All objects that are not below it are
 * there, each once and in the order of their keys; and it is said that something is not. And of a set whose directory
 * is not what it says.
 *
 * The engine is a part of this program, so that its work can be counted: that of a walk is bounded by the table's size,
 * whatever stands in it.
 */
#include "atomics.h"

static uint64_t loads;
static void count_load(void)
{
    loads++;
}
#define get(word) (count_load(), get(word))

#include "inside.h"

#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TABLE_BYTES (UINT64_C(4) << 20)
#define OBJECTS     6000u /* three levels */

enum tear { FILLED, WITHOUT_HEAD, LOST, ZEROS, TEARS }; /* LOST: what leads to it leads nowhere */

static struct store table;
static bool accounted[OBJECTS]; /* below the node that is torn, or seen */

static struct store new_table(enum heir_type type)
{
    struct store s = {.bytes = TABLE_BYTES, .seed = 7};
    s.base = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(s.base != MAP_FAILED);
    page_of(&s)->max_bytes = TABLE_BYTES;
    page_of(&s)->hash_seed = s.seed;
    page_of(&s)->type = type;
    REQUIRE_RC(objects_format(&s), 0);
    for (unsigned i = 0; i < OBJECTS; i++) {
        char key[16];
        unsigned number = i * 7919u % OBJECTS; /* in no order */
        int len = snprintf(key, sizeof key, "key %05u", number);
        objects_begin(&s);
        REQUIRE_RC(objects_put(&s, key, (size_t)len, &number, sizeof number, false), 0);
        objects_commit(&s);
    }
    return s;
}

/* ---- Visiting ----------------------------------------------------------------------------------------- */

struct seen {
    unsigned count, last, wrong;
};

/* A few loads a slot of a page, or an entry of a directory, and there is no more memory than that for them. */
#define LOADS_MOST (4 * TABLE_BYTES / sizeof(word_t))

static int see(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct seen *seen = arg;
    char want[16];
    unsigned number = OBJECTS;
    if (value_len == sizeof number)
        memcpy(&number, value, sizeof number);
    int len = snprintf(want, sizeof want, "key %05u", number);
    bool good = number < OBJECTS && key_len == (size_t)len && memcmp(key, want, key_len) == 0 &&
                (ordered(&table) ? seen->count == 0 || number > seen->last : !accounted[number]);
    seen->wrong += !good;
    seen->count++;
    seen->last = number;
    if (good)
        accounted[number] = true;
    return 0;
}

/* Salvage: so many objects are missing, and those are accounted for. */
static void salvage(unsigned missing)
{
    struct seen seen = {0};
    uint64_t lost = 0;
    struct walk_what what = {.lost = &lost};
    bool copied;
    CHECK_RC(walk_copy(&table, &what, 1, SIZE_MAX, &copied, see, &seen), 0);
    unsigned others = 0;
    for (unsigned i = 0; i < OBJECTS; i++)
        others += !accounted[i];
    CHECK(others == 0 && seen.wrong == 0, "%u of other nodes are missing, %u are wrong", others, seen.wrong);
    CHECK_EQ(seen.count, OBJECTS - missing);
    CHECK(missing == 0 ? lost == 0 : lost > 0 && lost < 4, "%lu times", (unsigned long)lost);
}

/* ---- Nodes -------------------------------------------------------------------------------------------- */

static unsigned mark_leaf(const struct leaf *leaf)
{
    uint64_t slots[LEAF_SLOTS];
    unsigned count = 0, number;
    REQUIRE_RC(leaf_gather(&table, leaf, 0, UINT32_MAX, slots, &count), 0);
    for (unsigned i = 0; i < count; i++) {
        const struct version *v = at(&table, slot_version(slots[i]), sizeof *v);
        memcpy(&number, version_value(v, version_key_len(v)), sizeof number);
        accounted[number] = true;
    }
    return count;
}

/* Mark what is below a node of this level (1: a leaf). Their number. */
static unsigned mark(uint64_t offset, uint64_t level)
{
    unsigned count = 0;
    if (level == 1)
        return mark_leaf(at(&table, offset, sizeof(struct leaf)));
    const struct inner *node = at(&table, offset, sizeof *node);
    for (unsigned i = 0; i < count_of(get(&node->head)); i++) {
        if (get(&node->children[i]) != 0)
            count += mark(get(&node->children[i]), level - 1);
    }
    return count;
}

/* It says so of the leaf itself, not only of what hung on it. */
struct said {
    uint64_t leaf;
    unsigned times;
};

static void hear(unsigned law, const char *what, uint64_t where, void *arg)
{
    struct said *said = arg;
    said->times += law == 4 && where == said->leaf && strcmp(what, "a leaf has never had a key") == 0;
}

static void check_leaf_of_zeros(uint64_t offset)
{
    struct said said = {.leaf = offset};
    CHECK(check_store(&table, hear, &said) > 0 && said.times == 1, "%u times", said.times);
}

static void tear_node(word_t *ref, uint64_t level)
{
    uint64_t offset = index_offset(get(ref)), before = get(ref);
    size_t bytes = level == 1 ? sizeof(struct leaf) : sizeof(struct inner);
    uint8_t *node = table.base + offset, whole[sizeof(struct inner)];

    memcpy(whole, node, bytes);
    for (enum tear tear = 0; tear < TEARS; tear++) {
        memset(accounted, 0, sizeof accounted);
        unsigned missing = mark(offset, level);
        if (tear == LOST)
            set(ref, before + (UINT64_C(1) << 50));
        else
            memset(node, tear == ZEROS ? 0 : 0xa5, tear == WITHOUT_HEAD ? sizeof(word_t) : bytes);
        salvage(missing);
        if (tear == ZEROS && level == 1)
            check_leaf_of_zeros(offset);
        memcpy(node, whole, bytes);
        set(ref, before);
    }
}

/* All nodes from there on down. */
static unsigned tear_all(word_t *ref, uint64_t level)
{
    unsigned count = 1;
    tear_node(ref, level);
    if (level == 1)
        return count;
    struct inner *node = at(&table, index_offset(get(ref)), sizeof *node);
    for (unsigned i = 0; i < count_of(get(&node->head)); i++)
        count += tear_all(&node->children[i], level - 1);
    return count;
}

static void of_type(enum heir_type type)
{
    table = new_table(type);
    memset(accounted, 0, sizeof accounted);
    salvage(0);
    word_t *root = &view_of(&table)->directory;
    uint64_t levels = tree_levels(get(root));
    CHECK_EQ(levels, 3);
    unsigned nodes = tear_all(root, levels);
    CHECK(nodes > 100, "%u", nodes);
    memset(accounted, 0, sizeof accounted);
    salvage(0); /* all is as it was */
    CHECK_EQ(check_store(&table, NULL, NULL), 0);
    munmap(table.base, TABLE_BYTES);
}

static void of_an_ordered_set(void)
{
    of_type(HEIR_ORDERED_SET);
}

static void of_a_bag(void)
{
    of_type(HEIR_BAG);
}

/* ---- Directories ---------------------------------------------------------------------------------------- */

/* The directory is what this word says. */
static int salvage_set(uint64_t directory, struct seen *seen, uint64_t *lost)
{
    word_t *root = &view_of(&table)->directory;
    const uint64_t before = get(root);
    struct walk_what what = {.lost = lost};
    bool copied;

    memset(accounted, 0, sizeof accounted);
    *seen = (struct seen){0};
    set(root, directory);
    loads = 0;
    int r = walk_copy(&table, &what, 1, SIZE_MAX, &copied, see, seen);
    CHECK(loads < LOADS_MOST, "%#lx: %lu loads", (unsigned long)directory, (unsigned long)loads);
    set(root, before);
    return r;
}

static void a_wild_depth(void)
{
    struct seen seen;
    uint64_t lost;

    table = new_table(HEIR_SET);
    const uint64_t whole = get(&view_of(&table)->directory), offset = index_offset(whole);
    CHECK(index_depth(whole) > 2, "%lu", (unsigned long)index_depth(whole));
    for (uint64_t depth = 0; depth <= INDEX_DEPTH_MASK; depth++) {
        CHECK_RC(salvage_set(offset | depth, &seen, &lost), 0);
        CHECK_EQ(seen.wrong, 0);
        if (depth < index_depth(whole))
            CHECK(seen.count < OBJECTS && lost > 0, "depth %lu: %u", (unsigned long)depth, seen.count);
        else
            CHECK(seen.count == OBJECTS && lost == (directory_at(&table, offset | depth) == NULL),
                  "depth %lu: %u, %lu lost", (unsigned long)depth, seen.count, (unsigned long)lost);
    }
    munmap(table.base, TABLE_BYTES);
}

static void a_wild_offset(void)
{
    struct seen seen;
    uint64_t lost;

    table = new_table(HEIR_SET);
    CHECK_RC(salvage_set(UINT64_C(1) << 50 | INDEX_DEPTH_MAX, &seen, &lost), -EUCLEAN);
    CHECK_RC(salvage_set(INDEX_DEPTH_MAX, &seen, &lost), -EUCLEAN);
    munmap(table.base, TABLE_BYTES);
}

/* The longest directory that there is room for, all of which leads to one page. */
static void a_directory_of_one_segment(void)
{
    struct seen seen;
    uint64_t lost, depth = INDEX_DEPTH_MAX;

    table = new_table(HEIR_SET);
    const uint64_t first = table.heap_first * PAGE_BYTES;
    while (directory_at(&table, first | depth) == NULL)
        depth--;
    CHECK(depth > 14, "%lu", (unsigned long)depth);
    for (uint64_t i = 0; i >> depth == 0; i++)
        set((word_t *)(void *)(table.base + first) + i, first | depth);
    CHECK_RC(salvage_set(first | depth, &seen, &lost), 0);
    CHECK(seen.count == 0 && lost > 0, "%u, %lu lost", seen.count, (unsigned long)lost);
    munmap(table.base, TABLE_BYTES);
}

/* ---- What is read and is not all ------------------------------------------------------------------------- */

static void a_segment_of_zeros(void)
{
    struct seen seen;
    uint64_t lost, word = 0;

    table = new_table(HEIR_SET);
    const uint64_t whole = get(&view_of(&table)->directory);
    REQUIRE_RC(index_word(&table, whole, 0, &word), 0);
    memset(table.base + index_offset(word), 0, PAGE_BYTES);
    CHECK_RC(salvage_set(whole, &seen, &lost), 0);
    CHECK(seen.count < OBJECTS && seen.wrong == 0 && lost == 1, "%u, %lu lost", seen.count, (unsigned long)lost);
    munmap(table.base, TABLE_BYTES);
}

/* The writer sees its open transaction, everybody else the last commit: all of either. */
static void an_open_transaction(void)
{
    for (enum heir_type type = HEIR_SET; type <= HEIR_ORDERED_SET; type++) {
        uint64_t lost = 7, inside = 0, outside = 0;
        struct walk_what what = {.lost = &lost};
        bool copied;
        table = new_table(type);
        objects_begin(&table);
        for (unsigned i = 0; i < 3; i++)
            CHECK_RC(objects_put(&table, &i, sizeof i, "new", 3, true), 0);
        CHECK_RC(objects_del(&table, "key 00007", 9), 0);
        CHECK_RC(walk_pinned(&table, table.txn, &what, visit_bytes, &inside), 0);
        CHECK(inside == OBJECTS + 2 && lost == 0, "%lu, %lu lost", (unsigned long)inside, (unsigned long)lost);
        CHECK_RC(walk_copy(&table, &what, 1, SIZE_MAX, &copied, visit_bytes, &outside), 0);
        CHECK(outside == OBJECTS && lost == 0, "%lu, %lu lost", (unsigned long)outside, (unsigned long)lost);
        objects_commit(&table);
        munmap(table.base, TABLE_BYTES);
    }
}

static const struct test others[] = {
    {"a segment of zeros", a_segment_of_zeros}, {"an open transaction", an_open_transaction}, {NULL, NULL}};

static const struct test directories[] = {{"a wild depth", a_wild_depth},
                                          {"a wild offset", a_wild_offset},
                                          {"a directory of one segment", a_directory_of_one_segment},
                                          {NULL, NULL}};

static const struct test all[] = {{"an ordered set", of_an_ordered_set}, {"a bag", of_a_bag}, {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "salvage", .tests = all},
                                        {.name = "directories", .tests = directories},
                                        {.name = "all of it", .tests = others},
                                        {.name = NULL}};
    return test_main(argc, argv, suites);
}
