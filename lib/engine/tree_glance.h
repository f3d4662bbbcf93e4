/* SPDX-License-Identifier: MIT */
/*
 * A glance at a tree: the commonest look-up, in so few steps that the next one begins while this one waits.
 *
 * A look-up in a large tree waits for memory again and again: for the leaf, for the version, mostly for the inner node
 * above. Meanwhile a processor begins with what comes next, as far as some three hundred instructions reach, and not
 * beyond a branch that waits for that memory and that it guesses wrong. The leaf of the next look-up must come before
 * that. It is all or nothing: 890 instructions, or 440 of which others wait, take the same time. Hence:
 *
 * - No step of a search is a branch: where a random key goes cannot be foretold. GCC takes some for branches whatever
 *   it is told; so a step is assembly where it matters.
 * - Nothing is called: what is passed in memory, written by halves and read as a whole, waits for all before it.
 * - Nothing is checked but that memory is there. What is found is believed for what it is, a version with the bytes of
 *   the key, in a slot of a tree that held it. Nodes that are damaged or used again, and slots of keys that are gone,
 *   may lead elsewhere; then nothing is found, and who asked goes the long way.
 */
#ifndef HEIR_TREE_GLANCE_H
#define HEIR_TREE_GLANCE_H

#include "node.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Sanitizers are to see the loads of others' memory, and so is a test that lays something over peek(). */
#if defined(HEIR_TSAN) || defined(peek)
#define PLAINLY 1
#else
#define PLAINLY 0
#endif

/* One step of a search: `yes` if the word is not above `most`, else `no`. */
static ALWAYS_INLINE uint64_t pick(const word_t *word, uint64_t most, uint64_t yes, uint64_t no)
{
#if defined(__x86_64__) && !PLAINLY
    __asm__("cmpq %[word], %[most]\n\t"
            "cmovae %[yes], %[no]"
            : [no] "+r"(no)
            : [yes] "r"(yes), [most] "r"(most), [word] "m"(*(const uint64_t *)(const void *)word)
            : "cc");
    return no;
#else
    return peek(word) <= most ? yes : no;
#endif
}

/* How many of the first n words, in their order, are not above `most`. n < 64. The halves overlap, as in
 * count_below(). */
static ALWAYS_INLINE uint64_t count_upto(const word_t *words, uint64_t n, uint64_t most)
{
    uint64_t from = 0;

    if (likely(n >= 16)) {
        const uint64_t half = UINT64_C(16) << (n >> 5), next = half / 2 & 16;
        from = pick(&words[half - 1], most, n + 1 - half, 0);
        from = pick(&words[from + 15], most, from + next, from);
        from = pick(&words[from + 7], most, from + 8, from);
    } else if (n >= 8) {
        from = pick(&words[7], most, n - 7, 0);
    } else {
        for (uint64_t i = 0; i < n; i++)
            from += peek(&words[i]) <= most;
        return from;
    }
    from = pick(&words[from + 3], most, from + 4, from);
    from = pick(&words[from + 1], most, from + 2, from);
    return pick(&words[from], most, from + 1, from);
}

/* Which of eight slots have this slice, a bit a slot. What is pointed out is looked at afterwards. */
static ALWAYS_INLINE unsigned tail_scan(const word_t *tail, uint32_t slice)
{
#if defined(__SSE2__) && !PLAINLY
    const __m128i *pair = (const __m128i *)(const void *)tail, wanted = _mm_set1_epi32((int)slice);
    __m128i same[2];
    for (unsigned i = 0; i < 2; i++) {
        __m128 a = _mm_castsi128_ps(_mm_loadu_si128(pair + 2 * i)),
               b = _mm_castsi128_ps(_mm_loadu_si128(pair + 2 * i + 1));
        same[i] = _mm_cmpeq_epi32(_mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1))), wanted);
    }
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(same[0], same[1]), _mm_setzero_si128()));
#else
    unsigned same = 0;
    for (unsigned i = 0; i < TAIL_MOST; i++)
        same |= (unsigned)(slot_hash(peek(&tail[i])) == slice) << i;
    return same;
#endif
}

static_assert(TAIL_MOST == 8, "so many may be behind the sorted ones");
static_assert(sizeof(struct leaf) + TAIL_MOST * sizeof(word_t) <= GLANCE_BYTES, "it is backed");

/* Its bytes as a number that compares as they do. */
static inline uint64_t number_of(uint64_t key)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap64(key);
#else
    return key;
#endif
}

/* As count_upto(), where many words have the same slice: by the keys to which they lead. UINT64_MAX: one leads nowhere.
 */
static ALWAYS_INLINE uint64_t count_by_keys(const struct reach *reach, const word_t *words, uint64_t n, uint64_t number,
                                            bool separators)
{
    uint64_t from = 0, its;

    for (unsigned step = 32; step > 0; step /= 2) {
        if (from + step > n)
            continue;
        const uint64_t offset = slot_version(peek(&words[from + step - 1]));
        if (!within(*reach, offset))
            return UINT64_MAX;
        const struct separator *separator = (const struct separator *)(void *)(reach->base + offset);
        const struct version *version = (const struct version *)(void *)(reach->base + offset);
        const uint64_t len = separators ? peek(&separator->len) : version_key_len(version);
        racy_copy(&its, separators ? separator->key : version->data, sizeof its);
        its = number_of(its);
        if (len < sizeof its) /* what is behind it may be anything */
            its &= ~(UINT64_MAX >> len * 8);
        if (its < number || (its == number && len <= sizeof its))
            from += step;
    }
    return from;
}

static APART uint64_t child_by_keys(const struct reach *reach, const word_t *separators, uint64_t n, uint64_t number)
{
    return count_by_keys(reach, separators, n, number, true);
}

/* The version of a key, if this slot leads to it. */
static ALWAYS_INLINE const struct version *version_if(struct reach reach, uint64_t slot, uint64_t key)
{
    const uint64_t offset = slot_version(slot);
    if (unlikely(!within(reach, offset)))
        return NULL;
    const struct version *version = (const struct version *)(void *)(reach.base + offset);
    return likely(racy_compare(version->data, &key, sizeof key) == 0) ? version : NULL;
}

/* The version of a key in a leaf where many have its slice; tail: which of those behind the sorted ones, counted from
 * 1, a bit a slot. */
static APART const struct version *version_by_keys(const struct reach *reach, const word_t *slots, uint64_t sorted,
                                                   uint64_t tail, uint64_t key)
{
    const uint64_t place = count_by_keys(reach, slots, sorted, number_of(key), false);
    const struct version *version = NULL;

    if (place > 0 && place <= sorted)
        version = version_if(*reach, get(&slots[place - 1]), key);
    for (; version == NULL && tail != 0; tail &= tail - 1)
        version = version_if(*reach, get(&slots[__builtin_ctzll(tail) - 1]), key);
    return version;
}

/* The bytes of a key after those that a node's keys share; and the same with the most that can follow its slice. */
static ALWAYS_INLINE uint64_t rest_of(uint64_t number, uint64_t head)
{
    return number << skip_of(head) * 8 % 64;
}

static ALWAYS_INLINE uint64_t most_of(uint64_t rest)
{
    return rest | UINT32_MAX;
}

static ALWAYS_INLINE bool same_slice(uint64_t word, uint64_t rest)
{
    return (word ^ rest) <= UINT32_MAX;
}

/* The separator before a child. The first one has none: the word there is a child, to look closer on its account does
 * no harm. */
static ALWAYS_INLINE const word_t *word_before(const struct inner *node, uint64_t child)
{
    return (const word_t *)(const void *)node + INNER_CHILDREN + child;
}

static_assert(offsetof(struct inner, separators) == (INNER_CHILDREN + 1) * sizeof(word_t), "a child is before them");
static_assert(sizeof(struct inner) <= GLANCE_BYTES, "it is backed");

/* As index_glance(). */
static ALWAYS_INLINE const struct version *tree_glance(struct reach reach, const struct view *v, uint64_t key)
{
    const uint64_t root = get(&v->directory), number = number_of(key);
    uint64_t offset = index_offset(root);

    for (uint64_t levels = tree_levels(root); levels > 1; levels--) {
        if (unlikely(!within(reach, offset)))
            return NULL;
        const struct inner *node = (const struct inner *)(void *)(reach.base + offset);
        const uint64_t head = get(&node->head), n = (head - 1) % INNER_CHILDREN, most = most_of(rest_of(number, head));
        uint64_t i = count_upto(node->separators, n, most);
        if (unlikely(same_slice(peek(word_before(node, i)), most)) &&
            (i = child_by_keys(&reach, node->separators, n, number)) > n)
            return NULL;
        offset = index_offset(get(&node->children[i]));
        if (levels == 2)
            node_prefetch(reach.base, offset, sizeof(struct leaf));
        else if (levels == 3)
            node_prefetch(reach.base, offset, sizeof(struct inner)); /* those above are few, and in the cache */
    }
    if (unlikely(!within(reach, offset)))
        return NULL;
    const struct leaf *leaf = (const struct leaf *)(void *)(reach.base + offset);
    const uint64_t head = get(&leaf->head), sorted = count_of(head), rest = rest_of(number, head);
    if (unlikely(sorted > LEAF_SLOTS))
        return NULL;
    /* Counted from 1: the last of the sorted slots that are not above the key, and of those behind them that have its
     * slice. What is beyond the leaf is shifted out. */
    const uint64_t place = count_upto(leaf->slots, sorted, most_of(rest));
    const uint64_t tail = (uint64_t)tail_scan(&leaf->slots[sorted], (uint32_t)(rest >> 32)) << sorted << 1;
    const unsigned last = 63 ^ (unsigned)__builtin_clzll(UINT64_C(1) << place | tail);
    if (unlikely(last == 0))
        return NULL;
    const uint64_t slot = get(&leaf->slots[last - 1]);
    const struct version *version = version_if(reach, slot, key);
    if (unlikely(version == NULL) && same_slice(slot, rest))
        return version_by_keys(&reach, leaf->slots, sorted, tail, key);
    return version;
}

#undef PLAINLY
#endif
