/* SPDX-License-Identifier: MIT */
/*
 * Is a table whole? Read-only; of a table that nobody writes meanwhile and that has no transaction open.
 *
 *  K1  the header's numbers agree with each other and with the size of the file
 *  K2  every page of the heap is in exactly one span, large block or free run, and free runs are joined and listed
 *  K3  every block is in use exactly once, or free: index, versions, history and what waits in it account for all of
 * them K4  every entry of the directory with the same low bits leads to the same segment K5  every version in the index
 * is found by its key, and objects counts the living K6  the history is in commit order
 */
#ifndef HEIR_CHECK_H
#define HEIR_CHECK_H

#include "store.h"

/* Called for each thing found wrong. */
typedef void check_report(unsigned law, const char *what, uint64_t where, void *arg);

/* The number of things that are wrong, or -ENOMEM. Follows nothing that is not backed. */
int check_store(const struct store *s, check_report *report, void *arg);

#endif
