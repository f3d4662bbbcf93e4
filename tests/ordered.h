/* SPDX-License-Identifier: MIT */
/* The parts of test-ordered. */
#ifndef HEIR_TESTS_ORDERED_H
#define HEIR_TESTS_ORDERED_H

#include "support.h"

extern const struct test ordered_space[], ordered_readers[];

#endif
