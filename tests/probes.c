/* SPDX-License-Identifier: MIT */
/*
 * A scene for tests/probes.sh: something of everything that has a probe, with the keeper in this process, so that one
 * debugger sees it all. Each line printed is what a probe is to say, in the order in which they fire; the arguments are
 * those that the library tells by other ways. 2: it could not be played.
 */
#include <errno.h>
#include <heir.h>
#include <heir/keeper.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef HEIR_PROBES
#include <sys/sdt.h>
#endif

#define TRIES 10000 /* of a millisecond: a guard against hangs */

static void must(int error, const char *what)
{
    if (error >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, heir_strerror(error));
    exit(2);
}
#define MUST(call) must((call), #call)

static struct heir_info info_of(struct heir_table *table)
{
    struct heir_info info;
    MUST(heir_info(table, &info));
    return info;
}

static void said_transfer(struct heir_table *table, uint64_t from, uint64_t to, enum heir_reason reason)
{
    struct heir_info info = info_of(table);
    printf("transfer %lu %lu %lu %lu %d\n", info.id, info.epoch, from, to, (int)reason);
}

static void said_commit(struct heir_table *table)
{
    struct heir_info info = info_of(table);
    printf("commit %lu %lu\n", info.id, info.committed);
}

/* A table, with what its creation says. */
static struct heir_table *create(struct heir *client, const char *name)
{
    struct heir_table *table;
    MUST(heir_create(client, name, NULL, &table));
    said_commit(table); /* by the keeper: its empty index */
    said_transfer(table, HEIR_KEEPER, heir_id(client), HEIR_CLAIMED);
    return table;
}

static void write_and_abort(struct heir_table *table)
{
    MUST(heir_put(table, "k", 1, "v", 1));
    said_commit(table);
    MUST(heir_begin(table));
    MUST(heir_put(table, "a", 1, "v", 1));
    MUST(heir_put(table, "b", 1, "v", 1));
    MUST(heir_abort(table));
    struct heir_info info = info_of(table);
    printf("rollback %lu %lu 2 0\n", info.id, info.committed + 1);
    MUST(heir_begin(table)); /* nothing was changed, so these say nothing */
    MUST(heir_commit(table));
    MUST(heir_begin(table));
    MUST(heir_abort(table));
}

static void read_state(struct heir *client, struct heir_table *table)
{
    struct heir_snapshot *snapshot;
    MUST(heir_snapshot_open(table, &snapshot));
    printf("pin %lu %lu %lu\n", info_of(table).id, heir_id(client), heir_snapshot_state(snapshot));
    MUST(heir_snapshot_close(snapshot));
}

/* In a process of its own, until it is killed: one change of a transaction that is not committed. */
static void work_until_killed(int ready)
{
    struct heir *client;
    struct heir_table *table;
    MUST(heir_open(NULL, &client));
    MUST(heir_create(client, "orphan", NULL, &table));
    MUST(heir_begin(table));
    MUST(heir_put(table, "k", 1, "v", 1));
    uint64_t id = heir_id(client);
    if (write(ready, &id, sizeof id) != (ssize_t)sizeof id)
        exit(2);
    for (;;)
        pause();
}

static void die_and_inherit(struct heir *client)
{
    struct heir_table *orphan;
    uint64_t id;
    int ready[2], tries = 0;
    MUST(pipe(ready));
    fflush(stdout);
    pid_t pid = fork();
    MUST(pid);
    if (pid == 0)
        work_until_killed(ready[1]);
    close(ready[1]);
    if (read(ready[0], &id, sizeof id) != (ssize_t)sizeof id)
        exit(2);
    close(ready[0]);
    MUST(heir_attach(client, "orphan", &orphan));
    said_commit(orphan);
    said_transfer(orphan, HEIR_KEEPER, id, HEIR_CLAIMED);
    MUST(kill(pid, SIGKILL));
    while (info_of(orphan).owner != HEIR_KEEPER && tries++ < TRIES)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    struct heir_info info = info_of(orphan);
    printf("rollback %lu %lu 1 1\n", info.id, info.committed + 1);
    said_transfer(orphan, id, HEIR_KEEPER, HEIR_INHERITED);
    printf("reclaim %lu 1 in some time\n", id);
    printf("death %lu %d %d %d\n", id, (int)pid, (int)HEIR_CAUSE_SIGNAL, SIGKILL);
    MUST(heir_claim(client, "orphan", NULL, -1, &orphan)); /* answered when the keeper is done with that */
    said_transfer(orphan, HEIR_KEEPER, heir_id(client), HEIR_CLAIMED);
    waitpid(pid, NULL, 0);
    MUST(heir_destroy(orphan));
}

int main(void)
{
    struct heir_keeper *keeper;
    struct heir *one, *two;
#ifdef HEIR_PROBES
    STAP_PROBE(mine, begin); /* a program that links the static library may have probes of its own */
#endif
    MUST(heir_keeper_start(&(struct heir_keeper_options){0}, &keeper));
    MUST(heir_open(NULL, &one));
    MUST(heir_open(NULL, &two));
    struct heir_table *table = create(one, "table");
    write_and_abort(table);
    read_state(one, table);
    MUST(heir_give_away(table, heir_id(two), NULL, 0));
    said_transfer(table, heir_id(one), heir_id(two), HEIR_GIVEN);
    die_and_inherit(one);
    MUST(heir_claim(two, "table", NULL, 0, &table));
    MUST(heir_destroy(table));
    MUST(heir_close(two));
    MUST(heir_close(one));
    heir_keeper_stop(keeper);
    return 0;
}
