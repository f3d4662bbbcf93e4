/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores of words in shared memory, with the orders this project uses; see F3 in layout.h.
 */
#ifndef HEIR_ATOMICS_H
#define HEIR_ATOMICS_H

#include "layout.h"
#include "point.h"

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

/* In one total order with other such stores and the loads behind them: what Dekker's algorithm needs. */
static inline void set_ordered(word_t *w, uint64_t value)
{
    atomic_store_explicit(w, value, memory_order_seq_cst);
}

static inline uint64_t get_ordered(const word_t *w)
{
    return atomic_load_explicit(w, memory_order_seq_cst);
}

#ifdef HEIR_POINTS
#define set(w, value)         (VISIBLE(), (set)(w, value))
#define set_ordered(w, value) (VISIBLE(), (set_ordered)(w, value))
#endif

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
#define FLAT          __attribute__((flatten))
#define APART         __attribute__((noinline))

/* What does nothing but prefetch GCC takes for a function without effects, and leaves its calls out. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* One who spins lets the other thread of the core have it. */
static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* It will be written soon, and is in another core's cache. */
static inline void prefetch_to_write(const volatile void *p)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const volatile char *)p)); /* the builtin takes it for a later CPU's */
#else
    __builtin_prefetch((const void *)(uintptr_t)p, 1);
#endif
}

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
