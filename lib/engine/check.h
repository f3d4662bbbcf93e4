/* SPDX-License-Identifier: MIT */
/*
 * Is a table whole, and where is every byte of it? Read-only; the laws K1 to K6 stand in heir.h. Nothing that is found
 * in the table is trusted: no offset is followed that does not lead to a block in use, and everything ends.
 */
#ifndef HEIR_CHECK_H
#define HEIR_CHECK_H

#include "store.h"

/* Look once, at a table that nobody writes meanwhile: as it will be after rolling back. The number of things found
 * wrong, or -ENOMEM. */
int check_store(const struct store *s, heir_finding *report, void *arg);

/* Look at a table that may be being written, until what is found is certain: as heir_check(). The number of things
 * found wrong, or -ENOMEM. account may be NULL. */
int check_table(const struct store *s, heir_finding *report, void *arg, struct heir_account *account);

#endif
