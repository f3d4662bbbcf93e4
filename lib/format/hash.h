/* SPDX-License-Identifier: MIT */
/*
 * Hash tables within a process: liburcu's cds_lfht, grown by hand.
 *
 * Not by CDS_LFHT_AUTO_RESIZE, whose worker thread would be missing in a forked child and hang its first destroy, and
 * with no call_rcu() for the same reason. Lookups need no lock against additions; who removes an entry sees to it that
 * nobody looks it up meanwhile: keeper and client do all of this under their own locks.
 */
#ifndef HEIR_HASH_H
#define HEIR_HASH_H

#include <urcu/rculfhash.h>
#include <urcu/urcu-bp.h>

struct hash {
    struct cds_lfht *ht;
    unsigned long count, buckets;
};

int hash_init(struct hash *h);    /* -ENOMEM */
void hash_deinit(struct hash *h); /* which must be empty; may be called twice */
struct cds_lfht_node *hash_find(struct hash *h, unsigned long hash, cds_lfht_match_fct match, const void *key);
void hash_add(struct hash *h, unsigned long hash, struct cds_lfht_node *node);
void hash_del(struct hash *h, struct cds_lfht_node *node);

/* Make RCU work in forked children: their parent's other readers are not there. Once a process, and before any other
 * pthread_atfork() of ours: handlers run last come first before a fork, so locks of ours are taken before RCU's, as
 * everywhere. -ENOMEM. */
int rcu_survive_forks(void);

unsigned long hash_text(const char *text);
unsigned long hash_number(uint64_t number);

#endif
