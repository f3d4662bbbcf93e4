/* SPDX-License-Identifier: MIT */
/*
 * The operations on objects that steps.c steps through, and the states of the tables they are done on.
 */
#include "steps.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int put_text(struct heir_table *table, const char *key, const char *value)
{
    return heir_put(table, key, strlen(key), value, strlen(value));
}

static int put_number(struct heir_table *table, uint32_t number, size_t value_len)
{
    static const char value[600];
    unsigned char key[8] = {'n',
                            0,
                            0,
                            0,
                            (unsigned char)(number >> 24),
                            (unsigned char)(number >> 16),
                            (unsigned char)(number >> 8),
                            (unsigned char)number};
    return heir_put(table, key, sizeof key, value, value_len);
}

static int del_number(struct heir_table *table, uint32_t number)
{
    unsigned char key[8] = {'n',
                            0,
                            0,
                            0,
                            (unsigned char)(number >> 24),
                            (unsigned char)(number >> 16),
                            (unsigned char)(number >> 8),
                            (unsigned char)number};
    return heir_del(table, key, sizeof key);
}

/* ---- States ------------------------------------------------------------------------------------------- */

static int is_bag(struct heir_table *table)
{
    struct heir_info info = {0};
    heir_info(table, &info);
    return info.type == HEIR_BAG || info.type == HEIR_DUPLICATE_BAG;
}

static int nothing(struct heir_table *table)
{
    (void)table;
    return 0;
}

/* Ten objects and a number; of a bag two objects of each key. */
static int few(struct heir_table *table)
{
    int64_t number = 41;
    char key[8], value[64];
    int rc = 0, bag = is_bag(table);
    for (int i = 0; i < 10 && !rc; i++) {
        snprintf(key, sizeof key, "k%d", i);
        memset(value, 'a' + i, sizeof value);
        rc = heir_put(table, key, 2, value, (size_t)(10 + 5 * i));
        if (!rc && bag)
            rc = heir_put(table, key, 2, value, (size_t)(11 + 5 * i));
    }
    return rc ? rc : heir_put(table, "number", 6, &number, 8);
}

/* The same after hundreds of changes: each change lets go of an old one, and uses its memory again. */
static int worn(struct heir_table *table)
{
    char key[8];
    int rc = few(table);
    for (uint32_t i = 0; i < 600 && !rc; i++) {
        snprintf(key, sizeof key, "k%u", i % 10);
        if (i % 7 == 0)
            rc = heir_del(table, key, 2);
        else if (i % 5 == 0)
            rc = put_number(table, i % 50, i % 200);
        else
            rc = heir_put(table, key, 2, "0123456789012345678901234567890123456789", i % 41);
        if (rc == -ENOENT)
            rc = 0;
    }
    for (uint32_t i = 0; i < 50 && !rc; i++)
        if ((rc = del_number(table, i)) == -ENOENT)
            rc = 0;
    for (int i = 0; i < 10 && !rc; i++) {
        snprintf(key, sizeof key, "k%d", i);
        if ((rc = heir_del(table, key, 2)) == -ENOENT)
            rc = 0;
    }
    if (!rc)
        rc = heir_del(table, "number", 6);
    return rc ? rc : few(table);
}

static int one(struct heir_table *table)
{
    return put_text(table, "k5", "the only one");
}

static int cleared(struct heir_table *table)
{
    int rc = 0;
    for (uint32_t i = 0; i < 400 && !rc; i++)
        rc = put_number(table, i, 8);
    if (!rc)
        rc = heir_clear(table);
    return rc ? rc : few(table);
}

/* Leaves that have been emptied, and are still there. */
static int emptied(struct heir_table *table)
{
    int rc = few(table);
    for (uint32_t i = 0; i < 150 && !rc; i++)
        rc = put_number(table, i, 8);
    for (uint32_t i = 0; i < 150 && !rc; i++)
        if (i < 40 || i >= 110)
            rc = del_number(table, i);
    for (uint32_t i = 0; i < 400 && !rc; i++)
        rc = put_number(table, 40, 1 + i % 2);
    for (uint32_t i = 40; i < 110 && !rc; i++)
        rc = del_number(table, i);
    return rc;
}

/* A tree with a nearly full inner node, but few objects. */
static int wide(struct heir_table *table)
{
    int rc = 0;
    for (uint32_t i = 0; i < 3200 && !rc; i++) {
        rc = put_number(table, i, 8);
        if (!rc && i >= 300 && (i - 300) % 25)
            rc = del_number(table, i - 300);
    }
    return rc;
}

static int full(struct heir_table *table)
{
    int rc = few(table);
    for (uint32_t i = 0; i < 10000 && !rc; i++)
        rc = put_number(table, i, 300);
    return rc == -ENOSPC ? 0 : rc ? rc : -ENOTSUP;
}

static const struct state state_few = {"few", few, 128 << 10};
static const struct state state_worn = {"worn", worn, 128 << 10};
static const struct state state_held = {"snapshot held", few, 128 << 10, .snapshot = true};
static const struct state state_empty = {"empty", nothing, 256 << 10};
static const struct state state_one = {"one", one, 128 << 10};
static const struct state state_cleared = {"cleared", cleared, 256 << 10};
static const struct state state_emptied = {"emptied", emptied, 256 << 10};
static const struct state state_wide = {"wide", wide, 512 << 10, .check = 8};
static const struct state state_full = {"full", full, HEIR_TABLE_MIN, .full = true};

#define STATES(...)                                                                                                    \
    (const struct state *const[])                                                                                      \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

/* ---- One object --------------------------------------------------------------------------------------- */

static int put_new(struct kid *kid)
{
    return heir_put(kid->table, "new", 3, "a value of some length", 22);
}

static int put_same(struct kid *kid)
{
    return heir_put(kid->table, "k3", 2, "as long as that of k3 was", 25);
}

static int put_larger(struct kid *kid)
{
    static const char value[200] = "larger";
    return heir_put(kid->table, "k3", 2, value, sizeof value);
}

static int put_smaller(struct kid *kid)
{
    return heir_put(kid->table, "k9", 2, "s", 1);
}

static int del(struct kid *kid)
{
    return heir_del(kid->table, "k5", 2);
}

static int del_object(struct kid *kid)
{
    char value[20];
    memset(value, 'c', sizeof value);
    return heir_del_object(kid->table, "k2", 2, value, sizeof value);
}

static int take(struct kid *kid)
{
    char value[80];
    size_t len = sizeof value;
    return heir_take(kid->table, "k6", 2, value, &len);
}

static int add(struct kid *kid)
{
    return heir_add(kid->table, "number", 6, 1, NULL);
}

static int add_new(struct kid *kid)
{
    return heir_add(kid->table, "new", 3, 7, NULL);
}

static int add_wrap(struct kid *kid)
{
    return heir_add_wrap(kid->table, "number", 6, 5, 42, 1, NULL);
}

static int cas(struct kid *kid)
{
    char value[10];
    memset(value, 'a', sizeof value);
    return heir_cas(kid->table, "k0", 2, value, sizeof value, "swapped", 7);
}

static int clear(struct kid *kid)
{
    return heir_clear(kid->table);
}

static int put_one_more(struct kid *kid)
{
    return put_number(kid->table, kid->i, 8);
}

static int put_one_more_of_size(struct kid *kid)
{
    return put_number(kid->table, kid->i, 500);
}

static int put_next(struct kid *kid)
{
    return put_number(kid->table, 3200 + kid->i, 8);
}

/* So that each of them differs from the one before. */
static int put_again(struct kid *kid)
{
    char value[25] = "one value after another";
    memcpy(value, &kid->i, sizeof kid->i);
    return heir_put(kid->table, "k3", 2, value, sizeof value);
}

static int put_too_much(struct kid *kid)
{
    static const char value[20000];
    return heir_put(kid->table, "new", 3, value, sizeof value);
}

/* ---- Several objects ---------------------------------------------------------------------------------- */

static int put_many(struct kid *kid)
{
    const struct heir_object objects[] = {{"new", 3, "one", 3}, {"k1", 2, "two", 3}, {"newer", 5, "three", 5}};
    return heir_put_many(kid->table, objects, COUNT(objects));
}

static int commit(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = put_text(kid->table, "new", "one");
    if (!rc)
        rc = put_text(kid->table, "k1", "two");
    if (!rc)
        rc = put_text(kid->table, "newer", "three");
    return rc ? rc : heir_commit(kid->table);
}

static int mixed(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = heir_del(kid->table, "k1", 2);
    if (!rc)
        rc = heir_add(kid->table, "number", 6, 1, NULL);
    if (!rc)
        rc = put_text(kid->table, "k1", "again");
    if (!rc)
        rc = heir_add(kid->table, "number", 6, 1, NULL);
    return rc ? rc : heir_commit(kid->table);
}

static int cleared_and_refilled(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = heir_clear(kid->table);
    if (!rc)
        rc = put_text(kid->table, "k1", "after the clear");
    return rc ? rc : heir_commit(kid->table);
}

static int aborted(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = put_text(kid->table, "new", "one");
    if (!rc)
        rc = heir_del(kid->table, "k1", 2);
    return rc ? rc : heir_abort(kid->table);
}

static int edited(struct kid *kid)
{
    void *value;
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = heir_edit(kid->table, "k4", 2, 40, &value);
    if (!rc)
        memcpy(value, "edited", 6);
    return rc ? rc : heir_commit(kid->table);
}

static int two_more(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = put_number(kid->table, 2 * kid->i, 8);
    if (!rc)
        rc = put_number(kid->table, 2 * kid->i + 1, 8);
    return rc ? rc : heir_commit(kid->table);
}

/* ---- Reading ------------------------------------------------------------------------------------------ */

static int visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    ++*(int *)arg;
    return 0;
}

static int walk(struct kid *kid)
{
    int n = 0;
    return heir_foreach(kid->table, visit, &n);
}

static int range(struct kid *kid)
{
    int n = 0;
    int rc = heir_range(kid->table, "k2", 2, "k6", 2, visit, &n);
    return rc ? rc : n == 4 ? 0 : -EBADMSG;
}

/* ---- Writers who have died ------------------------------------------------------------------------------ */

static int die_early(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = put_text(kid->table, "k1", "half");
    if (!rc)
        rc = put_text(kid->table, "half", "half");
    return rc ? rc : heir_del(kid->table, "k2", 2);
}

static int die_late(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    for (uint32_t i = 0; i < 60 && !rc; i++)
        rc = put_number(kid->table, i, 8);
    return rc;
}

static int die_cleared(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = heir_clear(kid->table);
    for (uint32_t i = 0; i < 5 && !rc; i++)
        rc = put_number(kid->table, i, 8);
    return rc;
}

/* ---- What is sought ----------------------------------------------------------------------------------- */

static bool a_larger_index(const struct change *c)
{
    return c->index >= 512;
}

/* The old segment is let go, but not the directory. */
static bool a_split_segment(const struct change *c)
{
    return c->index == 4096 && c->superseded == 4096;
}

static bool two_more_inners(const struct change *c)
{
    return c->index >= 2048;
}

static bool a_smaller_index(const struct change *c)
{
    return c->index <= -512;
}

static bool a_sorted_leaf(const struct change *c)
{
    return c->index == 0 && c->superseded >= 512;
}

static bool much_taken_back(const struct change *c)
{
    return c->free >= 2000;
}

static bool a_reused_block(const struct change *c)
{
    return !c->live && !c->superseded && !c->index && !c->metadata && !c->free && !c->untouched;
}

static bool more_memory(const struct change *c)
{
    return c->untouched < 0;
}

static bool a_new_chunk(const struct change *c)
{
    return c->metadata >= 4096;
}

/* ---- The list ----------------------------------------------------------------------------------------- */

#define BOTH   (SETS | TREES)
#define USUAL  STATES(&state_few, &state_worn)
#define USUAL3 STATES(&state_few, &state_worn, &state_held)
#define FEW    STATES(&state_few)
#define WORN   STATES(&state_worn)

static const struct stepped one_object[] = {
    {"put, new", BOTH | BAGS, USUAL, put_new},
    {"put, overwrite", BOTH, USUAL3, put_same},
    {"put, larger", BOTH, USUAL, put_larger},
    {"put, smaller", BOTH, USUAL, put_smaller},
    {"put, one more of a key", BAGS | TWINS, USUAL3, put_same},
    {"del", BOTH | BAGS, USUAL3, del},
    {"del_object", BOTH | BAGS | TWINS, USUAL, del_object},
    {"take", BOTH | BAGS, USUAL, take},
    {"add", BOTH, USUAL, add},
    {"add, new", BOTH, FEW, add_new},
    {"add_wrap", BOTH, FEW, add_wrap},
    {"cas", BOTH, USUAL, cas},
    {"clear", BOTH | BAGS, STATES(&state_few, &state_held), clear},
    {"foreach", BOTH | BAGS, FEW, walk, .same = true},
    {"range", TREES, FEW, range, .same = true},
};

static const struct stepped space[] = {
    {"put that doubles the index", SETS, STATES(&state_empty), put_one_more, a_larger_index},
    {"put that splits one segment", SETS, STATES(&state_empty), put_one_more, a_split_segment},
    {"put that begins a tree", TREES, STATES(&state_empty), put_one_more, a_larger_index},
    {"put that sorts a leaf", TREES | BAGS, STATES(&state_few), put_one_more, a_sorted_leaf},
    {"put that splits a leaf", TREES | BAGS, STATES(&state_few), put_one_more, a_larger_index},
    {"put that splits an inner node", TREES, STATES(&state_wide), put_next, two_more_inners},
    {"del of the only object", BOTH, STATES(&state_one), del},
    {"put that takes a leaf out", TREES, STATES(&state_emptied), put_again, a_smaller_index},
    {"put that sweeps what was cleared", BOTH, STATES(&state_cleared), put_again, much_taken_back},
    {"put that reuses a block", BOTH, WORN, put_again, a_reused_block},
    {"put that takes memory", BOTH, STATES(&state_empty), put_one_more_of_size, more_memory},
    {"put that begins a chunk", BOTH, FEW, put_again, a_new_chunk},
    {"put without room", BOTH | BAGS, STATES(&state_full), put_too_much, .same = true, .rc = -ENOSPC},
    {"del", BOTH | BAGS, STATES(&state_full), del},
    {"clear", BOTH | BAGS, STATES(&state_full), clear},
};

static const struct stepped transactions[] = {
    {"put_many of 3", BOTH | BAGS, FEW, put_many},
    {"transaction of 3 puts", BOTH | BAGS, USUAL, commit},
    {"transaction, mixed", BOTH, USUAL, mixed},
    {"transaction with a clear", BOTH | BAGS, FEW, cleared_and_refilled},
    {"transaction, aborted", BOTH | BAGS, USUAL, aborted, .same = true},
    {"transaction with an edit", BOTH, FEW, edited},
    {"transaction that makes room", BOTH, STATES(&state_empty), two_more, a_larger_index},
};

static const struct stepped recovery[] = {
    {"put over a dead writer", BOTH | BAGS, USUAL3, put_new, .dead = die_early},
    {"put over a large dead transaction", BOTH, USUAL, put_new, .dead = die_late},
    {"put over a dead clear", BOTH | BAGS, FEW, put_new, .dead = die_cleared},
    {"transaction over a dead writer", BOTH, FEW, commit, .dead = die_early},
    {"foreach over a dead writer", BOTH, FEW, walk, .dead = die_early, .same = true},
};

static int rows_of(const struct stepped *ops, size_t count)
{
    int rows = 0;
    for (size_t i = 0; i < count; i++)
        for (const struct state *const *state = ops[i].states; *state; state++)
            rows += __builtin_popcount(ops[i].types);
    return rows;
}

static void step_list(const struct stepped *ops, size_t count, double share)
{
    if (!steps_begin())
        return;
    steps_share(rows_of(ops, count), share);
    for (size_t i = 0; i < count; i++)
        step_through(&ops[i]);
}

void step_objects(void)
{
    step_list(one_object, COUNT(one_object), 0.42);
}

void step_space(void)
{
    step_list(space, COUNT(space), 0.2);
}

void step_transactions(void)
{
    step_list(transactions, COUNT(transactions), 0.16);
}

void step_recovery(void)
{
    step_list(recovery, COUNT(recovery), 0.14);
}
