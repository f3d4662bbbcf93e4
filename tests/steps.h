/* SPDX-License-Identifier: MIT */
/*
 * Single-stepping: what happens around a kill (steps.c), the processes that are killed (steps_kill.c), the operations
 * on objects and the states of the tables (steps_ops.c), those of clients and owners (steps_clients.c).
 */
#ifndef HEIR_TESTS_STEPS_H
#define HEIR_TESTS_STEPS_H

#include "support.h"

struct kid { /* who does the operation */
    struct heir *client;
    struct heir_table *table;
    uint64_t survivor; /* the survivor's id */
    uint32_t i;        /* which one of many; see `sought` */
};
typedef int step_fn(struct kid *kid);

/* ---- Operations on the objects of a public table, "t" ---------------------------------------------------- */

enum { SETS = 1 << HEIR_SET, TREES = 1 << HEIR_ORDERED_SET, BAGS = 1 << HEIR_BAG, TWINS = 1 << HEIR_DUPLICATE_BAG };

struct state {
    const char *name;
    int (*build)(struct heir_table *table);
    uint64_t max_bytes;
    bool snapshot; /* the survivor holds one, from before the last writes */
    bool full;     /* there may be no room for another object */
    int check;     /* heir_check after every n-th kill; 0: after each */
};

struct change { /* of the account, by one operation */
    int64_t live, superseded, index, metadata, free, untouched;
};

struct stepped {
    const char *name;
    unsigned types;
    const struct state *const *states; /* ends with NULL */
    step_fn *run;
    bool (*sought)(const struct change *change); /* run it with i = 0, 1, ... until it does this: that one is stepped */
    step_fn *dead;                               /* a writer who has died in the middle of this; `run` repairs */
    bool same;                                   /* the content does not change */
    int rc;                                      /* what it returns */
};

void step_through(const struct stepped *op);

void step_objects(void); /* the lists of steps_ops.c */
void step_space(void);
void step_transactions(void);
void step_recovery(void);

/* ---- Operations of clients and owners -------------------------------------------------------------------- */

enum begin {
    FROM_OWNING,   /* it owns the table "t" */
    FROM_CLAIMING, /* it is a client, and nobody owns the table */
    FROM_ATTACHED, /* it has a handle of it */
    FROM_OPEN,     /* it is a client */
    FROM_NOTHING   /* it is not */
};

struct client_stepped {
    const char *name;
    enum begin begin;
    enum heir_access access;
    step_fn *run;
    step_fn *before;                     /* in the child, before the stepping begins; may be NULL */
    bool (*tidy)(struct heir *survivor); /* after the kill, may be NULL */
    bool same;                           /* the content does not change */
    bool from_outside;                   /* it blocks signals: stepped by ptrace */
};

void step_through_client(const struct client_stepped *op);

bool steps_begin(void);
void steps_share(int rows, double share); /* so many rows come now, and this part of all the time is theirs */
void steps_ledger(void);

/* ---- The processes that are killed (steps_kill.c) --------------------------------------------------------- */

enum kill_mode { TRACE, KILL, RUN, RUN_AND_DIE };
enum phase { BEFORE, INSIDE, AFTER, BROKEN };

/* What has become of it. */
struct death {
    enum phase phase; /* INSIDE: killed there. AFTER: it came to its end */
    int rc;
    bool astray; /* it did not come by the instruction at which it should have been killed */
};

void kill_init(void);
long kill_length(void);    /* instructions in the last trace */
bool kill_reaches(long k); /* can it be killed before its k-th instruction? */
bool kill_is_new(long k);  /* is the table another one there than an instruction before? */
int kill_begin(const char *table, const void *bytes, size_t length); /* the template: who is forked for each kill */
void kill_end(void);
struct death kill_at(step_fn *operation, uint32_t i, enum kill_mode mode, long k);

/* A client of its own for one kill: brought to the beginning of the operation; -1: it could not be. */
int64_t kill_client_begin(const struct client_stepped *op, uint64_t survivor, enum kill_mode mode, long k);
struct death kill_client(const struct client_stepped *op, int64_t pid, enum kill_mode mode, long k);

#endif
