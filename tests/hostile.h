/* SPDX-License-Identifier: MIT */
/* The parts of test-hostile. */
#ifndef HEIR_TESTS_HOSTILE_H
#define HEIR_TESTS_HOSTILE_H

#include "support.h"

#define WORK_MS 3000 /* for what honest clients do; it takes some 20 ms */

/* How long an attack goes on: ms. */
int attack_ms(void);

/* With a keeper of its own: honest clients work before, while and after `attack` goes on in a process of its own, which
 * is killed then. The keeper must be the same as before in the end. What the attack leaves behind is named "evil...".
 */
void under_attack(agent_fn *attack, const void *arg, size_t len);

extern const struct test hostile_pages[], hostile_tables[];

#endif
