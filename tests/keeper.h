/* SPDX-License-Identifier: MIT */
/*
 * The parts of the keeper test, one a file.
 */
#ifndef HEIR_TESTS_KEEPER_H
#define HEIR_TESTS_KEEPER_H

#include "support.h"

extern const struct test keeper_restart[];
extern const struct test keeper_damage[];

#endif
