/* SPDX-License-Identifier: MIT */
/*
 * A namespace of the benchmark's own, with its own keeper and folders, that is gone afterwards, whatever happens.
 *
 * The benchmark runs in a child process and process group; its parent only waits. However the child ends (result,
 * failed check, crash), the parent kills what is left of the group, waits for all of it, and removes socket, folders
 * and shared memory. Ctrl-C and other signals that stop it reach the child as SIGTERM, with some seconds for those who
 * catch it to print what they have; a second one ends it at once.
 */
#ifndef BENCH_WORLD_H
#define BENCH_WORLD_H

#include <limits.h>
#include <sys/types.h>

struct heir;

struct world {
    char ns[32];
    char dir[64];     /* socket and keeper's log */
    char shm_dir[64]; /* on /dev/shm: the peers' files */
    char socket[96];
    pid_t keeper; /* 0: not running */
};

typedef int world_main(struct world *world, void *arg);

/* Runs the benchmark in its world; returns the program's exit status. */
int world_run(world_main *run, void *arg);

/* Starts heird ($HEIR_BINDIR, else ../tools beside this program's folder) and waits until it serves. 0 or -1, said on
 * stderr. */
int world_keeper_start(struct world *world);
/* SIGTERM, and wait for its end. 0 when it ended well. */
int world_keeper_stop(struct world *world);

/* Another namespace in this world, with a keeper of its own; world: a copy. */
void world_another(struct world *world, const char *name);
/* Remove the shared memory of the namespace, whose keeper has stopped. */
void world_clear(const struct world *world);

/* Shared-memory objects of the namespace, and of others in this world. */
unsigned world_objects(const struct world *world);

/* heir_open in this world for this thread. */
int world_open(const struct world *world, const char *role, struct heir **client);
int world_open_spinning(const struct world *world, const char *role, unsigned spin_us, struct heir **client);

/* fork(): a child that dies with its parent. */
pid_t world_fork(void);

#endif
