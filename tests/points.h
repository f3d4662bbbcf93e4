/* SPDX-License-Identifier: MIT */
/*
 * Kill points: a small cast plays a scene, and one of them is killed, or stopped for a while, at each point at which
 * the others can see what it has done so far. See points.c.
 */
#ifndef HEIR_TESTS_POINTS_H
#define HEIR_TESTS_POINTS_H

#include "support.h"

enum who { KEEPER, WORKER, OTHER, ACTORS }; /* OTHER: the receiver, the heir, the one in line */
extern const char *const who_text[ACTORS];

enum stage { STARTED, READY, ACT, DONE };

#define EVENTS_MOST 32
#define FIRST_COUNT 5 /* what the worker has counted to before the scene begins */

/* In memory that all of them share. */
struct actor {
    _Atomic uint32_t stage, armed, count; /* count: points passed while armed */
    uint32_t die_at, park_at;             /* 0: never */
    _Atomic uint32_t parked, go, busy;    /* busy: threads in the hook */
    _Atomic uint32_t probe, probed;       /* the parent asks; the actor answers with probe_result */
    int probe_result;
    int result;
    uint64_t id;
    pid_t pid;         /* 0: dead */
    char at[64];       /* where it was stopped or killed */
    _Atomic bool gone; /* its client has ended, and it lives */
    bool in_transaction;
    bool refused; /* its gift came back */
    _Atomic uint32_t events;
    struct {
        uint64_t epoch;
        uint32_t type, reason, cause;
        int code;
    } event[EVENTS_MOST];
};

struct cast {
    struct actor actor[ACTORS];
    _Atomic uint64_t added; /* commits that somebody knows of */
    _Atomic uint32_t finish;
};
extern struct cast *cast;
extern struct actor *me; /* this process; NULL: the parent */

/* What the actors of a scene have in their hands. */
struct hands {
    struct heir *client;
    struct heir_table *table;
};

struct scene {
    const char *name;
    bool worker_dies; /* its act is its own death */
    bool as_nobody;   /* the worker is another user: root alone can play this */
    bool anew;        /* the table may be another one at the end */
    bool by_thread;   /* the worker's client is another thread's, which ends when this one stands still */
    bool restarts;    /* the keeper's act is to begin */
    int (*prepare[ACTORS])(struct hands *); /* the worker's first; NULL: it has a client, and that is all */
    int (*act[ACTORS])(struct hands *);     /* NULL: it collects events */
    /* Who must own "t" at the end; anybody alive or the keeper: -1; there need not be one: -2 */
    int (*ends)(const struct cast *);
};
extern const struct scene scenes[];

int open_as(struct hands *h, const char *role);
void collect(struct hands *h, int timeout_ms);

#endif
