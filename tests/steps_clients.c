/* SPDX-License-Identifier: MIT */
/*
 * The operations of clients and owners that steps.c steps through, and the program.
 */
#include "steps.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct heir_snapshot *snapshot; /* the child's */

static int put(struct kid *kid)
{
    return heir_put(kid->table, "new", 3, "a value of some length", 22);
}

static int commit(struct kid *kid)
{
    int rc = heir_begin(kid->table);
    if (!rc)
        rc = heir_put(kid->table, "new", 3, "one", 3);
    if (!rc)
        rc = heir_put(kid->table, "k1", 2, "two", 3);
    return rc ? rc : heir_commit(kid->table);
}

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

static int claim(struct kid *kid)
{
    return heir_claim(kid->client, "t", NULL, patience(PATIENCE), &kid->table);
}

/* An owner who has died inside a transaction. */
static int leave_a_dead_owner(struct kid *kid)
{
    int pipes[2], rc = -EPIPE;
    if (pipe(pipes))
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        struct kid other = {0};
        struct heir_open_options options = {.name = "dead", .timeout_ms = patience(PATIENCE)};
        rc = heir_open(&options, &other.client);
        if (!rc)
            rc = claim(&other);
        if (!rc)
            rc = heir_begin(other.table);
        if (!rc)
            rc = heir_put(other.table, "k1", 2, "half", 4);
        if (!rc)
            rc = heir_put(other.table, "half", 4, "half", 4);
        if (!rc)
            rc = heir_del(other.table, "k2", 2);
        if (write(pipes[1], &rc, sizeof rc) == sizeof rc)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    close(pipes[1]);
    if (pid > 0 && read(pipes[0], &rc, sizeof rc) != sizeof rc)
        rc = -EPIPE;
    close(pipes[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return kid->client ? rc : -EINVAL;
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

static int open_snapshot(struct kid *kid)
{
    return heir_snapshot_open(kid->table, &snapshot);
}

static int close_snapshot(struct kid *kid)
{
    (void)kid;
    return heir_snapshot_close(snapshot);
}

static const struct client_stepped ops[] = {
    {"put by the owner", FROM_OWNING, HEIR_PROTECTED, put},
    {"transaction by the owner", FROM_OWNING, HEIR_PROTECTED, commit},
    {"give_away", FROM_OWNING, HEIR_PROTECTED, give, .same = true},
    {"release", FROM_OWNING, HEIR_PROTECTED, release, .same = true},
    {"set_heir", FROM_OWNING, HEIR_PROTECTED, set_heir, .same = true},
    {"claim", FROM_CLAIMING, HEIR_PROTECTED, claim, .same = true},
    {"claim over a dead owner", FROM_CLAIMING, HEIR_PROTECTED, claim, .before = leave_a_dead_owner, .same = true},
    {"snapshot_open", FROM_ATTACHED, HEIR_PUBLIC, open_snapshot, .same = true},
    {"snapshot_close", FROM_ATTACHED, HEIR_PUBLIC, close_snapshot, .before = open_snapshot, .same = true},
    {"create", FROM_OPEN, HEIR_PUBLIC, create, .same = true, .tidy = tidy_made},
    {"open", FROM_NOTHING, HEIR_PUBLIC, open_client, .same = true, .from_outside = true},
    {"close", FROM_OWNING, HEIR_PROTECTED, close_client, .same = true, .from_outside = true},
};

static void clients(void)
{
    const size_t count = sizeof ops / sizeof *ops;
    if (!steps_begin())
        return;
    steps_share((int)count, 0.08);
    for (size_t i = 0; i < count; i++)
        step_through_client(&ops[i]);
}

static const struct test tests[] = {{"objects", step_objects},
                                    {"space", step_space},
                                    {"transactions", step_transactions},
                                    {"recovery", step_recovery},
                                    {"clients", clients},
                                    {"ledger", steps_ledger},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "steps", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
