/* SPDX-License-Identifier: MIT */
/*
 * Bags. Every object has a version of its own, whose key is the object's between its length, 2 bytes, and a number, 8
 * bytes, which grows with every object put into the table; both most significant byte first. So in the tree the keys
 * are in the order of their lengths, and a key's objects next to each other, in the order of their insertion. The
 * number is that of the history record with which the object was put.
 */
#include "bag.h"
#include "change.h"
#include <stdlib.h>

int bag_range(struct bag_range *b, const void *key, size_t key_len)
{
    size_t len = BAG_LENGTH + key_len + BAG_NUMBER;
    uint8_t *at = b->small;

    b->memory = NULL;
    if (2 * len > sizeof b->small && (at = b->memory = malloc(2 * len)) == NULL)
        return -ENOMEM;
    at[0] = (uint8_t)(key_len >> 8);
    at[1] = (uint8_t)key_len;
    memcpy(at + BAG_LENGTH, key, key_len);
    memcpy(at + len, at, BAG_LENGTH + key_len);
    memset(at + BAG_LENGTH + key_len, 0, BAG_NUMBER);
    memset(at + len + BAG_LENGTH + key_len, 0xff, BAG_NUMBER);
    b->range = (struct range){.from = at, .from_len = len, .to = at + len, .to_len = len};
    b->number = at + BAG_LENGTH + key_len;
    return 0;
}

void bag_range_end(struct bag_range *b)
{
    free(b->memory);
}

bool bag_key(struct edge of_version, const void *key, size_t key_len)
{
    return of_version.key != NULL && of_version.len == BAG_LENGTH + key_len + BAG_NUMBER &&
           racy_compare(of_version.key + BAG_LENGTH, key, key_len) == 0;
}

int bag_for_each(const struct store *s, uint64_t snap, const void *key, size_t key_len, bag_each *each, void *arg)
{
    uint64_t most =
        readable(s) / sizeof(struct leaf) + 1; /* leaves: what is found while it changes may lead in a circle */
    struct bag_range b;
    struct portion p;
    int r = bag_range(&b, key, key_len);

    while (r == 0) {
        if (most-- == 0)
            r = -EUCLEAN;
        else
            r = tree_portion(s, index_directory(s, snap), &b.range, &p);
        for (unsigned i = 0; r == 0 && i < p.count; i++) {
            struct known k;
            r = version_known(s, snap, slot_version(p.slots[i]), &k);
            if (r == 0 && k.version != NULL && bag_key((struct edge){k.version->data, k.key_len}, key, key_len))
                r = each(k.version, arg);
        }
        if (r != 0 || p.last)
            break;
        /* a transaction does not use again what it lets go, so this stays what it is, also when `each` deletes */
        const struct edge bound = tree_portion_bound(s, &p);
        b.range.from = bound.key;
        b.range.from_len = bound.len;
        if (bound.key == NULL)
            r = -EUCLEAN;
    }
    bag_range_end(&b);
    return r;
}

static int found(struct version *v, void *arg)
{
    *(struct version **)arg = v;
    return 1;
}

int bag_find(const struct store *s, uint64_t snap, const void *key, size_t key_len, struct version **version)
{
    int r = bag_for_each(s, snap, key, key_len, found, version);
    return r < 0 ? r : r == 1 ? 0 : -ENOENT;
}

/* ---- Changes ---------------------------------------------------------------------------------------------- */

/* Objects with this value, or all. */
struct bag_choice {
    struct store *s;
    const struct bag_value *value;
    uint64_t count;
};

static bool has_value(const struct bag_choice *d, const struct version *v)
{
    return d->value == NULL || version_has_value(d->s, v, d->value->value, d->value->len);
}

static int equal(struct version *v, void *arg)
{
    return has_value(arg, v);
}

int bag_put(struct store *s, const void *key, size_t key_len, const void *value, size_t value_len, bool only_new)
{
    struct bag_choice wanted = {.s = s, .value = &(struct bag_value){value, value_len}};
    struct mark mark = change_mark(s);
    struct version *v;
    struct spot spot;
    int r;

    if (only_new && (r = bag_find(s, s->txn, key, key_len, &v)) != -ENOENT)
        return r < 0 ? r : -EEXIST;
    if (page_of(s)->type == HEIR_BAG && (r = bag_for_each(s, s->txn, key, key_len, equal, &wanted)) != 0)
        return r < 0 ? r : 0;
    struct bag_range b;
    if ((r = bag_range(&b, key, key_len)) == 0 && (r = change_prepare(s, false)) == 0) {
        uint64_t number = __builtin_bswap64(peek(&ledger_of(s)->history_tail));
        memcpy(b.number, &number, sizeof number);
        r = version_new(s, b.range.from, b.range.from_len, NULL, value_len, false, &spot, &v);
    }
    if (r == 0 && value_len != 0)
        racy_copy((uint8_t *)version_value(v, b.range.from_len), value, value_len);
    if (r == 0)
        r = version_publish(s, &spot, v, value_len);
    bag_range_end(&b);
    return r < 0 ? change_fail(s, &mark, r) : 0;
}

static int delete_each(struct version *v, void *arg)
{
    struct bag_choice *d = arg;
    int r;

    if (!has_value(d, v))
        return 0;
    d->count++;
    return (r = change_prepare(d->s, true)) < 0 ? r : version_end(d->s, v);
}

int bag_del(struct store *s, const void *key, size_t key_len, const struct bag_value *value)
{
    struct bag_choice d = {.s = s, .value = value};
    struct mark mark = change_mark(s);
    int r = bag_for_each(s, s->txn, key, key_len, delete_each, &d);
    return r < 0 ? change_fail(s, &mark, r) : d.count == 0 ? -ENOENT : 0;
}
