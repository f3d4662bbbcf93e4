/* SPDX-License-Identifier: MIT */
/*
 * Noticing that we are a forked child, whose parent's clients are not ours: one load a call.
 *
 * The mark is on a page that the kernel wipes in a child (MADV_WIPEONFORK), so it works for every way of forking.
 */
#ifndef HEIR_FORK_H
#define HEIR_FORK_H

#include <stdint.h>

extern uint64_t *fork_mark;

/* The generation of this process, for fork_same(). -ENOMEM. */
int fork_generation(uint64_t *generation);

static inline int fork_same(uint64_t generation)
{
    return *(volatile uint64_t *)fork_mark == generation;
}

#endif
