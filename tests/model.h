/* SPDX-License-Identifier: MIT */
/*
 * What a table must hold, in the test's own memory: a sorted array of objects, for all four types; and the comparison
 * of a table, or of a snapshot of it, with such a model, through every function that reads. play.h does random
 * operations to both.
 */
#ifndef HEIR_TESTS_MODEL_H
#define HEIR_TESTS_MODEL_H

#include "support.h"

struct object {
    unsigned refs; /* models that hold it: it is never changed, but replaced */
    size_t key_len, value_len;
    unsigned char bytes[]; /* the key, then the value */
};

/* In the order of the keys (memcmp, shorter first); a bag's objects of one key in the order of their insertion. */
struct model {
    enum heir_type type;
    struct object **at;
    size_t count, room;
};

int key_order(const void *a, size_t a_len, const void *b, size_t b_len);
/* The place of the first object whose key is not less, and of the first one whose key is greater. */
size_t model_from(const struct model *model, const void *key, size_t key_len);
size_t model_end(const struct model *model, const void *key, size_t key_len);
bool model_has(const struct model *model, const void *key, size_t key_len);
const void *object_value(const struct object *object);
bool object_is(const struct object *object, const void *key, size_t key_len, const void *value, size_t value_len);

/* What heir_put(), heir_del(), heir_del_object() and heir_take() do. false: it is not there. */
void model_put(struct model *model, const void *key, size_t key_len, const void *value, size_t value_len);
bool model_del(struct model *model, const void *key, size_t key_len);
bool model_del_object(struct model *model, const void *key, size_t key_len, const void *value, size_t value_len);
void model_remove(struct model *model, size_t from, size_t end);
void model_copy(struct model *to, const struct model *from); /* what was in `to` is forgotten */
void model_free(struct model *model);                        /* empty, and usable again */

/* What is compared: a table as this handle sees it, or a snapshot. */
struct view {
    struct heir_table *table;
    struct heir_snapshot *snapshot;
};

/* Each says whether it was the same, and fails the test if not. `when` is for the message. */
bool same_key(struct view view, const struct model *model, const void *key, size_t key_len, const char *when);
bool same_range(struct view view, const struct model *model, const void *from, size_t from_len, const void *to,
                size_t to_len, bool reverse, const char *when);
bool same_ends(struct heir_table *table, const struct model *model, const void *key, size_t key_len, const char *when);
/* All of it: the walk, each key, of an ordered set the ranges in both directions. */
bool same_content(struct view view, const struct model *model, const char *when);

/* heir_check() finds nothing, and its account adds up. account may be NULL. */
bool whole(struct heir_table *table, const char *when, struct heir_account *account);

#endif
