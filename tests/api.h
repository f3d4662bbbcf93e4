/* SPDX-License-Identifier: MIT */
/*
 * The parts of the api test, one a file: every error that heir.h documents, function by function.
 */
#ifndef HEIR_TESTS_API_H
#define HEIR_TESTS_API_H

#include "support.h"

extern const struct test api_tables[];
extern const struct test api_objects[];
extern const struct test api_fake[];

#endif
