/* SPDX-License-Identifier: MIT */
/*
 * What a check has found wrong: a list, and what two lists have in common.
 */
#ifndef HEIR_FINDING_H
#define HEIR_FINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The mark tells what stood there. Damage stays as it is, while what is used anew is another thing. */
struct finding {
    const char *what; /* a literal: the same words are the same finding */
    uint64_t where, mark;
    unsigned law;
};

struct findings {
    struct finding *list;
    size_t count, room;
    bool no_memory; /* some are missing */
};

/* More than a million are not kept: the rest is more of the same. */
void findings_add(struct findings *f, unsigned law, const char *what, uint64_t where, uint64_t mark);

/* In an order that findings_meet() knows, each once. */
void findings_sort(struct findings *f);

/* Keep those that are in both; both are sorted. */
void findings_meet(struct findings *f, const struct findings *other);

#endif
