/* SPDX-License-Identifier: MIT */
/*
 * Versions of objects: the fields packed into struct version (layout.h).
 */
#ifndef HEIR_VERSION_H
#define HEIR_VERSION_H

#include "store.h"
#include <string.h>

static inline uint64_t version_bytes(uint64_t key_len, uint64_t value_len)
{
    return sizeof(struct version) + (key_len + 7) / 8 * 8 + value_len;
}

/* Transaction that made it, that deleted it (0: none). */
static inline uint64_t version_made(const struct version *v)
{
    return peek(&v->made) >> 8;
}

static inline uint64_t version_ended(const struct version *v)
{
    return peek(&v->ended) >> 8;
}

static inline uint64_t version_key_len(const struct version *v)
{
    return (peek(&v->made) & 0xff) << 8 | (peek(&v->ended) & 0xff);
}

static inline uint64_t version_value_len(const struct version *v)
{
    return peek(&v->prev) >> 32;
}

static inline uint64_t version_prev(const struct version *v)
{
    return (peek(&v->prev) & 0xffffffffu) * GRANULE;
}

static inline const uint8_t *version_value(const struct version *v, uint64_t key_len)
{
    return v->data + (key_len + 7) / 8 * 8;
}

/* Bytewise where a writer may be at work on the same bytes: what came of it is checked afterwards. */
static inline RACY int racy_compare(const void *a, const void *b, size_t n)
{
#ifdef HEIR_TSAN
    const volatile uint8_t *x = a, *y = b;
    while (n-- > 0) {
        if (*x++ != *y++)
            return 1;
    }
    return 0;
#else
    uint64_t x, y;
    if (n == sizeof x) {
        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        return x != y;
    }
    return memcmp(a, b, n);
#endif
}

/* As memcmp, and of two that begin alike the shorter one is less. */
static inline RACY int racy_order(const void *a, size_t a_len, const void *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len;
#ifdef HEIR_TSAN
    const volatile uint8_t *x = a, *y = b;
    for (; n > 0; n--, x++, y++) {
        uint8_t p = *x, q = *y;
        if (p != q)
            return p < q ? -1 : 1;
    }
#else
    int order = n != 0 ? memcmp(a, b, n) : 0;
    if (order != 0)
        return order;
#endif
    return a_len < b_len ? -1 : a_len > b_len;
}

static inline RACY void racy_copy(void *to, const void *from, size_t n)
{
#ifdef HEIR_TSAN
    const volatile uint8_t *x = from;
    volatile uint8_t *y = to;
    while (n-- > 0)
        *y++ = *x++;
#else
    /* Of a length that the compiler knows it is a few moves. And the processor guesses which of them come, and goes on,
     * where in memcpy() it would have to know the length to know where the last bytes go. */
    if (n == 64) {
        memcpy(to, from, 64);
        return;
    }
    switch (n) {
#define COPY(bytes)                                                                                                    \
    case bytes:                                                                                                        \
        memcpy(to, from, bytes);                                                                                       \
        break
        COPY(8);
        COPY(16);
        COPY(24);
        COPY(32);
        COPY(40);
        COPY(48);
        COPY(56);
#undef COPY
    default:
        memcpy(to, from, n);
    }
#endif
}

/* A key in the table, or none: its length was read once, and so much is there. */
struct edge {
    const uint8_t *key; /* NULL: none */
    uint64_t len;
};

static inline struct edge version_key(const struct store *s, uint64_t offset)
{
    const struct version *v = at(s, offset, sizeof *v);
    uint64_t len = v != NULL ? version_key_len(v) : 0;
    return (struct edge){v != NULL && at(s, offset, sizeof *v + len) != NULL ? v->data : NULL, len};
}

/* The version at an offset when it is one of this key, NULL otherwise: damaged, being overwritten, or of another key.
 */
static inline struct version *version_of_key(const struct store *s, uint64_t offset, const void *key, size_t key_len)
{
    struct version *v = at(s, offset, sizeof *v + key_len);
    if (unlikely(v == NULL) || version_key_len(v) != key_len || racy_compare(v->data, key, key_len) != 0)
        return NULL;
    return v;
}

/* The whole version, as far as its lengths can be believed; NULL: damaged, or being overwritten. */
static inline struct version *version_whole(const struct store *s, uint64_t offset)
{
    struct version *v = at(s, offset, sizeof *v);
    if (v == NULL || at(s, offset, version_bytes(version_key_len(v), version_value_len(v))) == NULL)
        return NULL;
    return v;
}

/* A version, its lengths read once, and so much of it there. */
struct known {
    struct version *version; /* NULL: none */
    uint64_t key_len, value_len;
};

/* Of a version and those before it the one that state `snap` knows. -EUCLEAN: damaged, or being overwritten. */
static inline int version_known(const struct store *s, uint64_t snap, uint64_t offset, struct known *known)
{
    uint64_t newer = UINT64_MAX;

    known->version = NULL;
    while (offset != 0) {
        struct version *v = at(s, offset, sizeof *v);
        if (unlikely(v == NULL))
            return -EUCLEAN;
        const uint64_t made = peek(&v->made), ended = peek(&v->ended), prev = peek(&v->prev);
        const uint64_t key_len = (made & 0xff) << 8 | (ended & 0xff), value_len = prev >> 32;
        if (unlikely(made >> 8 >= newer || at(s, offset, version_bytes(key_len, value_len)) == NULL))
            return -EUCLEAN;
        if (likely((newer = made >> 8) <= snap)) {
            if (likely(ended >> 8 == 0 || ended >> 8 > snap))
                *known = (struct known){v, key_len, value_len};
            return 0;
        }
        offset = (prev & 0xffffffffu) * GRANULE;
    }
    return 0;
}

#endif
