/* SPDX-License-Identifier: MIT */
/*
 * Single-stepping: the machine (steps.c) and the list of operations (steps_ops.c).
 */
#ifndef HEIR_TESTS_STEPS_H
#define HEIR_TESTS_STEPS_H

#include "support.h"

enum begin {
    FROM_OWNING,   /* it owns the table "t" */
    FROM_ATTACHED, /* it has a handle of it */
    FROM_OPEN,     /* it is a client */
    FROM_NOTHING   /* it is not */
};

struct kid { /* the stepped child's */
    struct heir *client;
    struct heir_table *table;
    uint64_t survivor; /* the survivor's id */
};

struct stepped {
    const char *name;
    enum begin begin;
    enum heir_access access;
    int (*run)(struct kid *kid);
    bool (*tidy)(struct heir *survivor); /* after the kill, may be NULL */
    bool recovery;                       /* over a writer who has died inside a transaction */
    bool fresh;                          /* a new, empty table for each kill */
    bool same;                           /* the content does not change */
    bool from_outside;                   /* it blocks signals: stepped by ptrace */
    double share;                        /* of the time of all */
};

bool steps_begin(void);
void step_through(const struct stepped *op);
void steps_ledger(void);

#endif
