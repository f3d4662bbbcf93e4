/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores of words in shared memory, with the orders this project uses; see F3 in layout.h.
 */
#ifndef HEIR_ATOMICS_H
#define HEIR_ATOMICS_H

#include "layout.h"

static inline uint64_t get(const word_t *w)
{
    return atomic_load_explicit(w, memory_order_acquire);
}

static inline uint64_t peek(const word_t *w)
{
    return atomic_load_explicit(w, memory_order_relaxed);
}

static inline void set(word_t *w, uint64_t value)
{
    atomic_store_explicit(w, value, memory_order_release);
}

/* Memory that a reader may look at while a writer, which knows nothing of it, uses it again: the reader finds out
 * afterwards and throws away what it read. That is a race by the letter of C11; these functions are where it lives, and
 * sanitizers are told. */
#if defined(__SANITIZE_THREAD__)
#define HEIR_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HEIR_TSAN 1
#endif
#endif
#ifdef HEIR_TSAN
#define RACY __attribute__((no_sanitize("thread"), noinline))
#else
#define RACY
#endif

/* FLAT: with all that it calls, but what is APART, as one function. (Not "cold": that makes compilers take all that may
 * lead there for cold, too.) */
#define FLAT        __attribute__((flatten))
#define APART       __attribute__((noinline))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
