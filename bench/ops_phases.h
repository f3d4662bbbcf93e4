/* SPDX-License-Identifier: MIT */
/* The phases of `ops`: what is done to a store, and what must be in it afterwards. */
#ifndef BENCH_OPS_PHASES_H
#define BENCH_OPS_PHASES_H

#include "peer.h"

#include <stdbool.h>

enum {
    BATCH = 10,       /* puts in a transaction */
    RANGE = 100,      /* objects in a range */
    RANGE_EVERY = 20, /* a range for so many objects of the store */
    MIN_OBJECTS = 2 * RANGE
};

struct store {
    const struct peer *peer;
    void *state;
    bool out;                  /* not with this setup */
    uint64_t version;          /* of all values */
    uint64_t extra, extra_sum; /* the hot objects */
    struct total ranges;       /* what the ranges of a phase have shown */
};

struct work {
    uint64_t n, round;
    size_t value_size;
    uint64_t *keys;   /* shuffled before each phase */
    uint64_t *sorted; /* the same in memcmp's order; NULL when no store is ordered */
    uint64_t hot_key, add_key;
    unsigned char *values; /* room for BATCH */
};

enum phase_id { INSERT, GET, PUT, BATCH_PUT, RANGES, HELD_RANGES, HOT_PUT, HOT_GET, HOT_ADD, DEL, PHASES };

struct phase {
    const char *name, *what;
    int (*run)(struct store *, struct work *);               /* 0 or a negative errno */
    unsigned objects;                                        /* of the store, for an operation */
    int (*check)(const struct store *, const struct work *); /* what it has read; when that takes time. 0 or -1, said */
};
extern const struct phase phases[PHASES];

void work_init(struct work *w, uint64_t n, size_t value_size, bool ordered);

bool phase_possible(const struct peer *peer, unsigned phase);

/* The conservation law: what was put in, less what was taken out, is there. deleted: DEL was the last phase. */
int phase_check(const struct store *s, const struct work *w, bool deleted);

#endif
