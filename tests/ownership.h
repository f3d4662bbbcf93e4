/* SPDX-License-Identifier: MIT */
/* The parts of the ownership test, one a file. */
#ifndef HEIR_TESTS_OWNERSHIP_H
#define HEIR_TESTS_OWNERSHIP_H

#include "eye.h"

extern const struct test ownership_deaths[];
extern const struct test ownership_fences[];
extern const struct test ownership_events[];
extern const struct test ownership_line[];

#endif
