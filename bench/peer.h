/* SPDX-License-Identifier: MIT */
/*
 * What `ops` asks of libheir and of each store that it is compared with. One file a peer; each does its work as its
 * manual advises a user who wants speed.
 *
 * Keys are 8 bytes, values value_size bytes; "the number" of a value is its first 8 bytes as a native integer.
 * Functions return 0 or a negative errno. The caller knows what is in the store: inserted keys are new, the others are
 * there.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct world;

struct peer_setup {
    const struct world *world;
    uint64_t objects; /* that will be inserted; only the floor may know it before they are */
    size_t value_size;
};

/* Neighbours in the order of the keys: n objects from a key that is there up to another one, which is not among them.
 */
struct span {
    uint64_t from, to; /* as they lie in memory: their order is memcmp's */
    uint64_t n;
};

struct total {
    uint64_t objects, sum;
};

struct peer {
    const char *name; /* part of the keys of the output */
    const char *what; /* for people */

    /* -ENOTSUP: not with this setup. close may follow whatever open left in *state, NULL too. */
    int (*open)(const struct peer_setup *setup, void **state);
    void (*close)(void *state);

    int (*insert)(void *state, const uint64_t *key, const void *value);
    int (*get)(void *state, const uint64_t *key, void *value); /* copied out */
    int (*put)(void *state, const uint64_t *key, const void *value);
    int (*del)(void *state, const uint64_t *key);

    /* Objects and the sum of their numbers, by looking at every object. */
    int (*walk)(void *state, uint64_t *objects, uint64_t *sum);

    /* Ordered stores only. Visit the objects of a span and add them to the total: as they are at the last commit, or in
     * one state that is held, from hold(true) to hold(false), for any number of such calls. */
    int (*range)(void *state, const struct span *span, struct total *total);
    int (*hold)(void *state, bool on);
    int (*held_range)(void *state, const struct span *span, struct total *total);

    /* May be NULL. */
    int (*add)(void *state, const uint64_t *key, int64_t delta, int64_t *result);     /* absent: 0 */
    int (*put_many)(void *state, const uint64_t *keys, size_t n, const void *values); /* one transaction */
    int (*bytes)(void *state, uint64_t *bytes); /* in use for objects and index, without what is kept free */
    void (*settle)(void *state); /* wait for work it left to other threads: the next phase is another store's */
    int (*taken)(void *state, uint64_t *bytes); /* memory taken from the system */
};

extern const struct peer peer_heir, peer_heir_ordered, peer_boost, peer_lmdb, peer_tdb, peer_lfht, peer_floor;

#ifdef __cplusplus
}
#endif
#endif
