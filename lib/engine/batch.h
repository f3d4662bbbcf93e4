/* SPDX-License-Identifier: MIT */
/*
 * A batch: what is copied out of a table before it is known to be true, entry behind entry in memory that grows. An
 * entry is a head, which says how long the rest is, a key, and a value.
 */
#ifndef HEIR_BATCH_H
#define HEIR_BATCH_H

#include "version.h"
#include <errno.h>
#include <stdlib.h>

#define BATCH_LEAST 65536u /* what it takes when it takes memory */

struct batch {
    uint8_t *data, *allocated; /* the same, or data is memory that somebody else lends to begin with */
    size_t used, room;
};

/* Have room for so many bytes in all. -ENOMEM, and it is as it was. */
static inline int batch_grow(struct batch *b, size_t need)
{
    size_t room = need < BATCH_LEAST ? BATCH_LEAST : need + need / 2;
    uint8_t *data = realloc(b->allocated, room);
    if (data == NULL)
        return -ENOMEM;
    if (b->allocated == NULL && b->used != 0)
        memcpy(data, b->data, b->used);
    b->data = b->allocated = data;
    b->room = room;
    return 0;
}

static inline int batch_append(struct batch *b, const void *head, size_t head_len, const void *key, uint64_t key_len,
                               const void *value, uint64_t value_len)
{
    size_t need = b->used + head_len + key_len + value_len;
    int r = unlikely(need > b->room) ? batch_grow(b, need) : 0;
    if (r < 0)
        return r;
    memcpy(b->data + b->used, head, head_len);
    racy_copy(b->data + b->used + head_len, key, key_len);
    racy_copy(b->data + b->used + head_len + key_len, value, value_len);
    b->used = need;
    return 0;
}

#endif
