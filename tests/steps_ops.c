/* SPDX-License-Identifier: MIT */
/*
 * The operations that steps.c steps through: objects, transactions, recovery, ownership, clients.
 */
#include "steps.h"

#include <string.h>
#include <unistd.h>

/* ---- Objects ------------------------------------------------------------------------------------------ */

static int put_new(struct kid *kid)
{
    return heir_put(kid->table, "new", 3, "a value of some length", 22);
}

static int overwrite(struct kid *kid)
{
    return heir_put(kid->table, "k3", 2, "another value of k3", 19);
}

static int del(struct kid *kid)
{
    return heir_del(kid->table, "k5", 2);
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
    return heir_add(kid->table, "number2", 7, 7, NULL);
}

static int clear(struct kid *kid)
{
    return heir_clear(kid->table);
}

/* ---- Transactions ------------------------------------------------------------------------------------- */

static int commit(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = heir_put(kid->table, "new", 3, "one", 3);
    if (!rc)
        rc = heir_put(kid->table, "k1", 2, "two", 3);
    if (!rc)
        rc = heir_put(kid->table, "newer", 5, "three", 5);
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
        rc = heir_put(kid->table, "k1", 2, "again", 5);
    if (!rc)
        rc = heir_add(kid->table, "number", 6, 1, NULL);
    return rc ? rc : heir_commit(kid->table);
}

static int undone(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = heir_put(kid->table, "new", 3, "one", 3);
    if (!rc)
        rc = heir_del(kid->table, "k1", 2);
    return rc ? rc : heir_abort(kid->table);
}

/* Into an empty table, so many that its index grows on the way. */
static int grow(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    for (uint32_t i = 0; i < 80 && !rc; i++)
        rc = heir_put_new(kid->table, &i, sizeof i, &i, sizeof i);
    return rc ? rc : heir_commit(kid->table);
}

/* The first write after another writer's death: it undoes what the dead one had begun. */
static int put_over_the_dead(struct kid *kid)
{
    return heir_put(kid->table, "new", 3, "after recovery", 14);
}

/* ---- Ownership ---------------------------------------------------------------------------------------- */

static int give(struct kid *kid)
{
    return heir_give_away(kid->table, kid->survivor, "data", 4);
}

static int release(struct kid *kid)
{
    return heir_release(kid->table);
}

static int set_heir(struct kid *kid)
{
    return heir_set_heir(kid->table, "survivor", "data", 4);
}

static int close_client(struct kid *kid)
{
    return heir_close(kid->client);
}

static int create(struct kid *kid)
{
    struct heir_table *made = NULL;
    return heir_create(kid->client, "made", &(struct heir_table_options){.max_bytes = HEIR_TABLE_MIN}, &made);
}

/* "made" may be there or not: either way it can be had and destroyed. */
static bool tidy_made(struct heir *survivor)
{
    struct heir_table *made = NULL;
    const struct heir_table_options options = {.max_bytes = HEIR_TABLE_MIN};
    return CHECK_RC(heir_claim(survivor, "made", &options, patience(PATIENCE), &made), 0) &&
           CHECK_RC(heir_put(made, "k", 1, "v", 1), 0) && CHECK_RC(heir_destroy(made), 0) &&
           CHECK_EQ(shm_count("t."), 1);
}

static int open_client(struct kid *kid)
{
    return heir_open(&(struct heir_open_options){.name = "kid", .timeout_ms = patience(PATIENCE)}, &kid->client);
}

/* ---- The list ----------------------------------------------------------------------------------------- */

static const struct stepped ops[] = {
    {"put, new", FROM_OWNING, HEIR_PROTECTED, put_new, .share = 0.06},
    {"put, overwrite", FROM_OWNING, HEIR_PROTECTED, overwrite, .share = 0.06},
    {"del", FROM_OWNING, HEIR_PROTECTED, del, .share = 0.06},
    {"take", FROM_OWNING, HEIR_PROTECTED, take, .share = 0.06},
    {"add", FROM_OWNING, HEIR_PROTECTED, add, .share = 0.06},
    {"add, new", FROM_OWNING, HEIR_PROTECTED, add_new, .share = 0.06},
    {"clear", FROM_OWNING, HEIR_PROTECTED, clear, .share = 0.06},
    {"transaction of 3 puts", FROM_OWNING, HEIR_PROTECTED, commit, .share = 0.08},
    {"transaction, mixed", FROM_OWNING, HEIR_PROTECTED, mixed, .share = 0.06},
    {"transaction, aborted", FROM_OWNING, HEIR_PROTECTED, undone, .same = true, .share = 0.06},
    {"growth", FROM_OWNING, HEIR_PROTECTED, grow, .fresh = true, .share = 0.08},
    {"put over a dead writer", FROM_ATTACHED, HEIR_PUBLIC, put_over_the_dead, .recovery = true, .share = 0.1},
    {"give_away", FROM_OWNING, HEIR_PROTECTED, give, .same = true, .share = 0.05},
    {"release", FROM_OWNING, HEIR_PROTECTED, release, .same = true, .share = 0.05},
    {"set_heir", FROM_OWNING, HEIR_PROTECTED, set_heir, .same = true, .share = 0.03},
    {"close", FROM_OWNING, HEIR_PROTECTED, close_client, .same = true, .from_outside = true, .share = 0.03},
    {"create", FROM_OPEN, HEIR_PUBLIC, create, .same = true, .tidy = tidy_made, .share = 0.03},
    {"open", FROM_NOTHING, HEIR_PUBLIC, open_client, .same = true, .from_outside = true, .share = 0.03},
};

static void step_range(size_t from, size_t end)
{
    if (!steps_begin())
        return;
    for (size_t i = from; i < end; i++)
        step_through(&ops[i]);
}

static void objects(void)
{
    step_range(0, 7);
}

static void transactions(void)
{
    step_range(7, 11);
}

static void recovery(void)
{
    step_range(11, 12);
}

static void ownership(void)
{
    step_range(12, sizeof ops / sizeof ops[0]);
    steps_ledger();
}

static const struct test tests[] = {{"objects", objects},
                                    {"transactions", transactions},
                                    {"recovery", recovery},
                                    {"ownership", ownership},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "steps", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
