/* SPDX-License-Identifier: MIT */
/*
 * Bags and duplicate bags: several objects a key. See bag.c.
 */
#ifndef HEIR_BAG_OBJECTS_H
#define HEIR_BAG_OBJECTS_H

#include "tree.h"

#define BAG_LENGTH 2u /* bytes before the key in a bag's version */
#define BAG_NUMBER 8u /* and after it */
#define BAG_EXTRA  (BAG_LENGTH + BAG_NUMBER)

struct bag_value {
    const void *value;
    size_t len;
};

/* The range of a key's objects, in memory to be freed with bag_range_end(). -ENOMEM. */
struct bag_range {
    struct range range;
    uint8_t *number; /* in range.from: 0 there */
    uint8_t small[2 * (64 + BAG_EXTRA)];
    uint8_t *memory;
};
int bag_range(struct bag_range *b, const void *key, size_t key_len);
void bag_range_end(struct bag_range *b);

/* Is this the key of one of the key's versions? */
bool bag_key(struct edge of_version, const void *key, size_t key_len);

/* Called for the objects of a key that state `snap` knows, oldest first; non-zero ends it and is returned. -ENOMEM;
 * -EUCLEAN means damage only if the sight holds. */
typedef int bag_each(struct version *v, void *arg);
APART int bag_for_each(const struct store *s, uint64_t snap, const void *key, size_t key_len, bag_each *each,
                       void *arg);

/* The oldest. -ENOENT. */
APART int bag_find(const struct store *s, uint64_t snap, const void *key, size_t key_len, struct version **version);

/* In a transaction, as the operations in objects.h. */
APART int bag_put(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len, bool only_new);

/* Delete all objects of the key, or those with this value (NULL: any). -ENOENT. */
APART int bag_del(struct store *s, const void *key, size_t key_len, const struct bag_value *value);

#endif
