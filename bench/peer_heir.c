/* SPDX-License-Identifier: MIT */
/*
 * What does libheir cost, called as a worker calls it: a protected table, its owner's thread, a keeper beside it?
 * Two peers that differ in the type of the table: a set, and an ordered set.
 */
#include "peer.h"
#include "world.h"

#include "common.h"

#include <errno.h>
#include <heir.h>
#include <stdlib.h>
#include <string.h>

struct heir_peer {
    struct heir *client;
    struct heir_table *table;
    struct heir_snapshot *snapshot;
    size_t value_size;
};

static int open_table(const struct peer_setup *setup, enum heir_type type, void **state)
{
    struct heir_table_options options = {.type = type};
    struct heir_peer *p = must(calloc(1, sizeof *p));

    *state = p;
    p->value_size = setup->value_size;
    options.max_bytes = setup->objects * (setup->value_size + 256) * 2 + (64u << 20);
    if (options.max_bytes > HEIR_TABLE_MAX)
        return -ENOTSUP;
    if (world_open(setup->world, type == HEIR_SET ? "set" : "ordered", &p->client) < 0)
        return -ECONNREFUSED;
    return heir_create(p->client, type == HEIR_SET ? "set" : "ordered", &options, &p->table);
}

static int set_open(const struct peer_setup *setup, void **state)
{
    return open_table(setup, HEIR_SET, state);
}

static int ordered_open(const struct peer_setup *setup, void **state)
{
    return open_table(setup, HEIR_ORDERED_SET, state);
}

static void heir_peer_close(void *state)
{
    struct heir_peer *p = state;

    if (p && p->table)
        heir_destroy(p->table);
    if (p)
        heir_close(p->client);
    free(p);
}

static int heir_peer_put(void *state, const uint64_t *key, const void *value)
{
    struct heir_peer *p = state;

    return heir_put(p->table, key, sizeof *key, value, p->value_size);
}

static int heir_peer_get(void *state, const uint64_t *key, void *value)
{
    struct heir_peer *p = state;
    size_t size = p->value_size;

    return heir_get(p->table, key, sizeof *key, value, &size);
}

static int heir_peer_del(void *state, const uint64_t *key)
{
    struct heir_peer *p = state;

    return heir_del(p->table, key, sizeof *key);
}

static int heir_peer_add(void *state, const uint64_t *key, int64_t delta, int64_t *result)
{
    struct heir_peer *p = state;

    return heir_add(p->table, key, sizeof *key, delta, result);
}

static int heir_peer_put_many(void *state, const uint64_t *keys, size_t n, const void *values)
{
    struct heir_peer *p = state;
    const unsigned char *value = values;
    int r = heir_begin(p->table);

    for (size_t i = 0; i < n && r == 0; i++, value += p->value_size)
        r = heir_put(p->table, &keys[i], sizeof *keys, value, p->value_size);
    return r < 0 ? r : heir_commit(p->table);
}

static int visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct total *total = arg;
    uint64_t number;

    (void)key;
    if (key_len != sizeof(uint64_t) || value_len < sizeof number)
        return -EUCLEAN;
    memcpy(&number, value, sizeof number);
    total->objects++;
    total->sum += number;
    return 0;
}

static int heir_peer_walk(void *state, uint64_t *objects, uint64_t *sum)
{
    struct heir_peer *p = state;
    struct total total = {0};
    struct heir_info info;
    int r = heir_foreach(p->table, visit, &total);

    if (r == 0)
        r = heir_info(p->table, &info);
    if (r < 0)
        return r;
    *objects = total.objects;
    *sum = total.sum;
    return info.objects == total.objects ? 0
                                         : fail("heir_info counts %llu objects, heir_foreach shows %llu",
                                                (unsigned long long)info.objects, (unsigned long long)total.objects);
}

static int heir_peer_range(void *state, const struct span *span, struct total *total)
{
    struct heir_peer *p = state;

    return heir_range(p->table, &span->from, sizeof span->from, &span->to, sizeof span->to, visit, total);
}

static int heir_peer_hold(void *state, bool on)
{
    struct heir_peer *p = state;

    if (on)
        return heir_snapshot_open(p->table, &p->snapshot);
    return heir_snapshot_close(p->snapshot);
}

struct limited {
    struct total *total;
    uint64_t left;
};

static int visit_limited(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct limited *limited = arg;
    int r = visit(key, key_len, value, value_len, limited->total);

    return r < 0 ? r : --limited->left == 0;
}

static int heir_peer_held_range(void *state, const struct span *span, struct total *total)
{
    struct heir_peer *p = state;
    struct limited limited = {total, span->n};
    int r = heir_snapshot_range(p->snapshot, &span->from, sizeof span->from, NULL, 0, visit_limited, &limited);

    return r < 0 ? r : 0;
}

static int heir_peer_bytes(void *state, uint64_t *bytes)
{
    struct heir_peer *p = state;
    struct heir_info info;
    int r = heir_info(p->table, &info);

    *bytes = info.bytes_used;
    return r;
}

static int heir_peer_taken(void *state, uint64_t *bytes)
{
    struct heir_peer *p = state;
    struct heir_info info;
    int r = heir_info(p->table, &info);

    *bytes = info.bytes_taken;
    return r;
}

#define COMMON                                                                                                         \
    .close = heir_peer_close, .insert = heir_peer_put, .get = heir_peer_get, .put = heir_peer_put,                     \
    .del = heir_peer_del, .walk = heir_peer_walk, .add = heir_peer_add, .put_many = heir_peer_put_many,                \
    .bytes = heir_peer_bytes, .taken = heir_peer_taken

const struct peer peer_heir = {
    .name = "heir",
    .what = "libheir, a protected set in shared memory, each call a transaction of its own",
    .open = set_open,
    COMMON,
};

const struct peer peer_heir_ordered = {
    .name = "heir_ordered",
    .what = "the same with an ordered set",
    .open = ordered_open,
    .range = heir_peer_range,
    .hold = heir_peer_hold,
    .held_range = heir_peer_held_range,
    COMMON,
};
