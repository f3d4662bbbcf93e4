/* SPDX-License-Identifier: MIT */
/*
 * Memory of a table that is lent to the application for writing, while a transaction is open.
 */
#ifndef HEIR_LEND_H
#define HEIR_LEND_H

#include "client.h"

/* Lend these bytes. -EBUSY: too much is lent already; -ENOMEM. */
int lend_out(struct mapping *m, uint64_t offset, uint64_t bytes, void **memory);

/* Take everything back: a store to it faults from now on. */
void lend_end(struct mapping *m);

void lend_free(struct mapping *m);

#endif
