/* SPDX-License-Identifier: MIT */
/*
 * What does the best-known lock-free hash table cost inside one process: liburcu's cds_lfht, readers in read-side
 * critical sections, objects replaced by copy and freed after a grace period?
 */
#include "peer.h"

#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <urcu/urcu-bp.h>

#include <urcu/rculfhash.h>
#include <xxhash.h>

struct lfht_peer {
    struct cds_lfht *map;
    size_t value_size;
};

struct object {
    struct cds_lfht_node node;
    struct rcu_head rcu;
    uint64_t key;
    unsigned char value[];
};

static unsigned long hash_of(const uint64_t *key)
{
    return (unsigned long)XXH3_64bits(key, sizeof *key);
}

static int match(struct cds_lfht_node *node, const void *key)
{
    return caa_container_of(node, struct object, node)->key == *(const uint64_t *)key;
}

static void free_object(struct rcu_head *head)
{
    free(caa_container_of(head, struct object, rcu));
}

static int lfht_open(const struct peer_setup *setup, void **state)
{
    struct lfht_peer *p = must(calloc(1, sizeof *p));

    *state = p;
    p->value_size = setup->value_size;
    p->map = cds_lfht_new_flavor(64, 64, 0, CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING, &urcu_bp_flavor, NULL);
    return p->map ? 0 : -ENOMEM;
}

static void lfht_close(void *state)
{
    struct lfht_peer *p = state;
    struct cds_lfht_iter iter;
    struct object *o;

    if (p && p->map) {
        urcu_bp_read_lock();
        cds_lfht_for_each_entry(p->map, &iter, o, node)
        {
            if (cds_lfht_del(p->map, &o->node) == 0)
                urcu_bp_call_rcu(&o->rcu, free_object);
        }
        urcu_bp_read_unlock();
        urcu_bp_barrier();
        cds_lfht_destroy(p->map, NULL);
    }
    free(p);
}

static struct object *find(struct lfht_peer *p, const uint64_t *key)
{
    struct cds_lfht_node *node;
    struct cds_lfht_iter iter;

    cds_lfht_lookup(p->map, hash_of(key), match, key, &iter);
    node = cds_lfht_iter_get_node(&iter);
    return node ? caa_container_of(node, struct object, node) : NULL;
}

static int lfht_put(void *state, const uint64_t *key, const void *value)
{
    struct lfht_peer *p = state;
    struct object *o = must(malloc(sizeof *o + p->value_size));
    struct cds_lfht_node *old;

    cds_lfht_node_init(&o->node);
    o->key = *key;
    memcpy(o->value, value, p->value_size);
    urcu_bp_read_lock();
    old = cds_lfht_add_replace(p->map, hash_of(key), match, key, &o->node);
    if (old)
        urcu_bp_call_rcu(&caa_container_of(old, struct object, node)->rcu, free_object);
    urcu_bp_read_unlock();
    return 0;
}

static int lfht_get(void *state, const uint64_t *key, void *value)
{
    struct lfht_peer *p = state;
    struct object *o;

    urcu_bp_read_lock();
    o = find(p, key);
    if (o)
        memcpy(value, o->value, p->value_size);
    urcu_bp_read_unlock();
    return o ? 0 : -ENOENT;
}

static int lfht_del(void *state, const uint64_t *key)
{
    struct lfht_peer *p = state;
    struct object *o;
    int r = -ENOENT;

    urcu_bp_read_lock();
    o = find(p, key);
    if (o && cds_lfht_del(p->map, &o->node) == 0) {
        urcu_bp_call_rcu(&o->rcu, free_object);
        r = 0;
    }
    urcu_bp_read_unlock();
    return r;
}

static void lfht_settle(void *state)
{
    (void)state;
    urcu_bp_barrier();
}

static int lfht_walk(void *state, uint64_t *objects, uint64_t *sum)
{
    struct lfht_peer *p = state;
    struct cds_lfht_iter iter;
    struct object *o;
    uint64_t number;

    *objects = *sum = 0;
    urcu_bp_read_lock();
    cds_lfht_for_each_entry(p->map, &iter, o, node)
    {
        memcpy(&number, o->value, sizeof number);
        ++*objects;
        *sum += number;
    }
    urcu_bp_read_unlock();
    return 0;
}

const struct peer peer_lfht = {
    .name = "lfht",
    .what = "liburcu's cds_lfht in one process: nothing shared, nothing survives; frees in a thread of its own",
    .open = lfht_open,
    .close = lfht_close,
    .insert = lfht_put,
    .get = lfht_get,
    .put = lfht_put,
    .del = lfht_del,
    .walk = lfht_walk,
    .settle = lfht_settle,
};
