/* SPDX-License-Identifier: MIT */
/*
 * The parts of the objects test, one a file.
 */
#ifndef HEIR_TESTS_OBJECTS_H
#define HEIR_TESTS_OBJECTS_H

#include "support.h"

extern const struct test objects_space[];

#endif
