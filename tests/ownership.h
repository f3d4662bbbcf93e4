/* SPDX-License-Identifier: MIT */
/*
 * The parts of the ownership test, one a file, and what they share: an eye, a client of the test's own process that
 * looks.
 */
#ifndef HEIR_TESTS_OWNERSHIP_H
#define HEIR_TESTS_OWNERSHIP_H

#include "support.h"

extern const struct test ownership_deaths[];
extern const struct test ownership_fences[];
extern const struct test ownership_events[];

/* Start a keeper and the eye. */
void look_on(void);
/* The eye's handle of a table, and what it sees. */
struct heir_table *seen(const char *name);
struct heir_info look(const char *name);
/* Wait until this client owns the table. */
bool comes_to(const char *name, uint64_t owner);
/* Wait until so many claims stand in the table's line. */
bool line_has(const char *name, uint64_t waiting);
/* Wait until no table has this name. */
bool vanishes(const char *name);

#endif
