/* SPDX-License-Identifier: MIT */
/*
 * What a check has found wrong: a list, and what comes of it together with another one.
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
    unsigned times; /* lists in which it was, that were merged */
    bool absent;    /* it is that something was not met: who has not looked at all cannot tell */
};

struct findings {
    struct finding *list;
    size_t count, room;
    bool partial;   /* not all has been looked at: what is not here may be wrong all the same */
    bool cut;       /* there was more than is kept */
    bool no_memory; /* some are missing */
};

/* More than a million are not kept: the rest is more of the same, and the list is cut. */
void findings_add(struct findings *f, struct finding finding);

/* Is what is not in it sound? */
static inline bool findings_whole(const struct findings *f)
{
    return !f->partial && !f->cut;
}

/* In an order that findings_merge() knows, each once. */
void findings_sort(struct findings *f);

/* Those that are in both, and of those that are in one only: `keep` what is in f, `add` what is in the other one. Of a
 * partial one, what was absent does not count. All lists are sorted. */
void findings_merge(struct findings *f, const struct findings *other, bool keep, bool add);

/* How many have been in so many lists? */
size_t findings_certain(const struct findings *f, unsigned times);

#endif
