/* SPDX-License-Identifier: MIT */
/* The parts of test-operations: each test runs on a set and on an ordered set. */
#ifndef HEIR_TESTS_OPERATIONS_H
#define HEIR_TESTS_OPERATIONS_H

#include "model.h"

extern const struct test operations_edit[];

/* The table "t", its owner, another client's handle, and what must be in it. */
extern struct heir_table *table, *reader;
extern struct heir *owner_client, *reader_client;
extern struct model model;

void operations_begin(const struct heir_table_options *options);
void operations_end(void);
bool operations_same(const char *when);                  /* as both handles see it */
void operations_put(const char *key, const char *value); /* into table and model */
void on_both_types(void (*with)(enum heir_type type));

#endif
