/* SPDX-License-Identifier: MIT */
/*
 * The eye: a client of the test's own process that owns nothing and looks at others' tables.
 */
#ifndef HEIR_TESTS_EYE_H
#define HEIR_TESTS_EYE_H

#include "support.h"

/* Start a keeper, with options as keeper_start(), and the eye. */
void look_on(void);
void look_on_by(const char *const options[]);
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
