/* SPDX-License-Identifier: MIT */
/* The parts of test-snapshots. */
#ifndef HEIR_TESTS_SNAPSHOTS_H
#define HEIR_TESTS_SNAPSHOTS_H

#include "model.h"

/* Look through every function: 0: all is as in the model; -ESTALE: so said one, and nothing was wrong before; another
 * error; -EBADMSG: wrong data. */
int snapshot_holds(struct heir_snapshot *snapshot, const struct model *model);

extern const struct test snapshots_others[];

#endif
