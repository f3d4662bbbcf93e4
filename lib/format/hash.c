/* SPDX-License-Identifier: MIT */
/* Hash tables within a process; see hash.h. */
#include "hash.h"
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

#define BUCKETS_FIRST 64

int hash_init(struct hash *h)
{
    *h = (struct hash){.buckets = BUCKETS_FIRST};
    h->ht = cds_lfht_new_flavor(BUCKETS_FIRST, BUCKETS_FIRST, 0, 0, &urcu_bp_flavor, NULL);
    return h->ht != NULL ? 0 : -ENOMEM;
}

void hash_deinit(struct hash *h)
{
    if (h->ht != NULL)
        cds_lfht_destroy(h->ht, NULL);
    h->ht = NULL;
}

struct cds_lfht_node *hash_find(struct hash *h, unsigned long hash, cds_lfht_match_fct match, const void *key)
{
    struct cds_lfht_iter iter;
    urcu_bp_read_lock();
    cds_lfht_lookup(h->ht, hash, match, key, &iter);
    struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
    urcu_bp_read_unlock();
    return node;
}

void hash_add(struct hash *h, unsigned long hash, struct cds_lfht_node *node)
{
    cds_lfht_node_init(node);
    urcu_bp_read_lock();
    cds_lfht_add(h->ht, hash, node);
    urcu_bp_read_unlock();
    if (++h->count > 2 * h->buckets)
        cds_lfht_resize(h->ht, h->buckets *= 4);
}

void hash_del(struct hash *h, struct cds_lfht_node *node)
{
    urcu_bp_read_lock();
    cds_lfht_del(h->ht, node);
    urcu_bp_read_unlock();
    h->count--;
}

static pthread_once_t forks_once = PTHREAD_ONCE_INIT;
static int forks_error;

static void watch_forks(void)
{
    forks_error =
        pthread_atfork(urcu_bp_before_fork, urcu_bp_after_fork_parent, urcu_bp_after_fork_child) != 0 ? -ENOMEM : 0;
}

int rcu_survive_forks(void)
{
    pthread_once(&forks_once, watch_forks);
    return forks_error;
}

unsigned long hash_text(const char *text)
{
    return (unsigned long)XXH3_64bits(text, strlen(text));
}

unsigned long hash_number(uint64_t number)
{
    return (unsigned long)XXH3_64bits(&number, sizeof number);
}
