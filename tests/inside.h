/* SPDX-License-Identifier: MIT */
/*
 * The engine as a part of the program that includes this, once: for tests that stop it between its steps. What they
 * lay over set(), get() and peek() stands before.
 */
#ifndef HEIR_TESTS_INSIDE_H
#define HEIR_TESTS_INSIDE_H

#include "../lib/engine/bag.c"
#include "../lib/engine/change.c"
#include "../lib/engine/check.c"
#include "../lib/engine/finding.c"
#include "../lib/engine/history.c"
#include "../lib/engine/index.c"
#include "../lib/engine/objects.c"
#include "../lib/engine/pass.c"
#include "../lib/engine/pass_history.c"
#include "../lib/engine/pass_index.c"
#include "../lib/engine/pass_tree.c"
#include "../lib/engine/past.c"
#include "../lib/engine/read.c"
#include "../lib/engine/salvage.c"
#include "../lib/engine/space.c"
#include "../lib/engine/tree.c"
#include "../lib/engine/tree_grow.c"
#include "../lib/engine/tree_shrink.c"
#include "../lib/engine/undo.c"
#include "../lib/engine/walk.c"

#endif
