/* SPDX-License-Identifier: MIT */
/*
 * What the parts of `handoff` share: the page through which its processes agree on sequence numbers and times, and the
 * list of things to measure.
 *
 * A sample is taken by the main process and one to three others. Steps are numbered from 1; a process announces that it
 * is done with step i by storing i in a word of the board. Times are CLOCK_MONOTONIC and may be taken in one process
 * and subtracted in another.
 */
#ifndef BENCH_HANDOFF_H
#define BENCH_HANDOFF_H

#include "common.h"
#include "world.h"

#include <heir.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct measure;

struct board {
    _Alignas(64) _Atomic uint32_t call;   /* main to the other: step i begins */
    _Alignas(64) _Atomic uint32_t answer; /* the other to main: step i is done */
    _Alignas(64) _Atomic uint32_t ready, armed;
    _Alignas(64) _Atomic uint64_t began, noticed, written; /* times of the current step */
    _Alignas(64) _Atomic uint32_t failed;                  /* some process has said why on stderr */
    _Atomic int32_t victim;
    _Atomic uint64_t id, epoch, undone, value;
    _Alignas(64) pthread_mutex_t mutex;
};

struct figure {
    char name[64]; /* key=value: NAME_p50_us and so on */
    const char *what;
    struct series us, medians; /* all samples; the median of each round */
    size_t seen;               /* samples that belong to earlier rounds */
};

struct handoff;
typedef int measure_run(struct handoff *h, const struct measure *m, unsigned n);

struct measure {
    measure_run *run; /* takes n samples; 0 or -1 */
    int kind;
    unsigned resident_mib; /* in the process that is killed */
    unsigned beside_mib;   /* in another one, which has just taken it and lives on */
    unsigned tables;       /* that the owner has, if more than the one */
    bool watched;          /* by a process that looks all the time, instead of sleeping */
    bool loaded;           /* as many processes as there are cores do nothing but count */
    unsigned changes;      /* of an open transaction of the killed */
    struct figure *first, *second;
    unsigned samples; /* a round */
};

struct handoff {
    struct world *world;
    struct board *board;
    struct heir *client; /* the main process's */
    uint64_t pause_ns;
    uint64_t transfers, kills; /* counted for the check at the end */
    unsigned held;             /* the largest number of `tables` so far */
};

/* Where both spin nobody need fall asleep first. */
static inline uint64_t spin_pause(const struct handoff *h)
{
    return h->pause_ns / 100;
}

/*
 * Waits until *word is value. -1, said: another process failed, or two minutes. How: asleep, so that no core is taken
 * from those that are measured; looking again and again, but letting others run; looking without a pause, as somebody
 * with a core of his own does.
 */
enum how { SLEEPING, YIELDING, SPINNING };
int await(struct board *board, _Atomic uint32_t *word, uint32_t value, enum how how);
/* Stores it and wakes who sleeps on it. */
void announce(_Atomic uint32_t *word, uint32_t value);
/* Giver and receiver have a core each, if there are two: else the kernel may put both on one, and what is measured is
 * sometimes a wake-up and sometimes a change of process. */
enum place { ANYWHERE, GIVER, RECEIVER };
void stay(enum place place);
/*
 * How the giver passes the time before a step and until its answer is there: going on with other work, as givers do;
 * asleep, where the cores have other work anyway and whoever had kept one busy would wait for his turn like all who do.
 */
void pass_time(const struct measure *m, uint64_t ns);
int await_answer(struct board *board, const struct measure *m, _Atomic uint32_t *word, uint32_t value);
/* A new step or batch: all words 0. Only while no other process looks. */
void board_reset(struct board *board);
/*
 * Before a kill: lets the machine become idle, and be known to be. While the scheduler remembers the work of starting
 * the victim, it takes both cores for busy and may leave the woken watcher behind the dying process, on the same core.
 */
void rest(const struct measure *m);
/* Takes up memory in 4 KiB pages, as a worker with state of its own does. Where there is none: child_fail(). */
void occupy(struct board *board, unsigned mib);
/* For processes other than main: say what is wrong and tell the others. Does not return. */
__attribute__((format(printf, 2, 3), noreturn)) void child_fail(struct board *board, const char *format, ...);
/* Waits for a child that ends by itself with status 0; or by SIGKILL. -1, said, when it did otherwise. */
int reap(pid_t pid, bool killed);

enum hop { FUTEX_SLEEP, FUTEX_SPIN, SOCKET_ONE, SOCKET_TWO, DESCRIPTOR };
measure_run run_hop; /* kind: enum hop. first: from the call until the receiver runs */

enum death { MUTEX, PIDFD, WAITPID, HANGUP };
measure_run run_death; /* kind: enum death. first: until the monitor knows; second: until the standby, told by it, has
                          written */

measure_run run_claim; /* first: claim and release */
enum give { GIVE_SLEEP, GIVE_SPIN, GIVE_SPIN_RESTED, GIVE_KEEPER };
bool give_keeper_possible(void);
/* kind: enum give. first: from the call until the receiver has written; there and back, or, with a second: there, with
 * the giver holding `tables`; second: back to it. */
measure_run run_give;
measure_run run_kill_keeper;         /* first: until the keeper owns; all of them, if there are `tables` */
measure_run run_kill_claimant;       /* first: until the claimant of one table has written */
int destroy_held(struct handoff *h); /* the tables of `tables`; when they are not all there, -1 */

#endif
