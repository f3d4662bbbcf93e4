/* SPDX-License-Identifier: MIT */
/* What the tests of feeds share: a copy of a table that is made from its changes. */
#ifndef HEIR_TESTS_FEED_H
#define HEIR_TESTS_FEED_H

#include "model.h"

#include <heir/inspect.h>
#include <stdio.h>

struct copy {
    struct model model;
    uint64_t txn, changes, transactions; /* txn: of the last change */
    uint64_t missed_first, missed_last;  /* the last gap */
    unsigned gaps, wrong;                /* wrong: out of order, twice, of what was not there */
    bool last, gapped;                   /* the transaction is at its end; something is missing in the model */
};

int copy_change(const struct heir_change *change, void *arg); /* a heir_visit_change */
bool copy_is(const struct copy *copy, const struct model *model);
void copy_end(struct copy *copy);

extern const struct test speed_tests[];

#endif
