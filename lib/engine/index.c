/* SPDX-License-Identifier: MIT */
/*
 * The index of a set: extendible hashing (Fagin, Nievergelt, Pippenger, Strong, ACM TODS 1979), with cache lines as
 * buckets.
 *
 * A directory of 2^depth words leads to segments of one page, each with a depth of its own; segments whose depth is
 * less stand in several entries. A segment has 64 groups of 8 slots, a group is a cache line. A key lives in its home
 * group or, when that is full, in one of the three after it. So a lookup reads one directory word, one or two lines of
 * slots, and the version.
 *
 * A slot that was emptied in a full group is marked as used before, so that a lookup knows that keys may have gone past
 * it: a lookup ends at the first group with a slot that was never used.
 *
 * When the groups in reach are full the segment is split: two new segments are built aside, then the directory's words
 * are switched, each by one store; readers find every key all the while, in the old segment or in a new one. The slot
 * holds the hash, so that splitting touches no version. The directory doubles in the same way. Nothing is ever moved in
 * place.
 */
#include "index.h"
#define XXH_INLINE_ALL
#include <xxhash.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define USED_BEFORE(hash) ((uint64_t)((hash) | 1u) << 32)

static APART uint64_t hash_any(const struct store *s, const void *key, size_t key_len)
{
    return XXH3_64bits_withSeed(key, key_len, s->seed);
}

uint32_t index_hash(const struct store *s, const void *key, size_t key_len)
{
    /* a length that the compiler knows saves half of the time */
    uint64_t h = likely(key_len == sizeof(uint64_t)) ? XXH3_64bits_withSeed(key, sizeof(uint64_t), s->seed)
                                                     : hash_any(s, key, key_len);
    return (uint32_t)(h ^ h >> 32);
}

static word_t *directory_at(const struct store *s, uint64_t word)
{
    if (index_depth(word) > INDEX_DEPTH_MAX || index_offset(word) == 0)
        return NULL;
    return at(s, index_offset(word), sizeof(word_t) << index_depth(word));
}

static uint64_t entry_of(uint32_t hash, uint64_t depth)
{
    return (hash >> INDEX_GROUP_BITS) & ((UINT64_C(1) << depth) - 1);
}

/* The directory word of a state that may be older than the newest clearing. */
static APART uint64_t directory_before(const struct store *s, uint64_t snap, uint64_t directory, uint64_t cleared)
{
    uint64_t newer = UINT64_MAX;

    /* one that has been reused meanwhile may hold anything: the chain goes back in time, and ends */
    for (uint64_t most = readable(s) / 64; cleared != 0 && most > 0; most--) {
        const struct clearing *c = at(s, cleared, sizeof *c);
        uint64_t txn = c != NULL ? get(&c->txn) : 0;
        if (c == NULL || snap >= txn || txn > newer)
            break;
        newer = txn;
        directory = get(&c->directory);
        cleared = get(&c->prev);
    }
    return directory;
}

uint64_t index_directory(const struct store *s, uint64_t snap)
{
    const struct view *v = view_of(s);
    uint64_t directory, cleared;

    /* A clear sets `cleared`, then `directory`; rolling it back goes the other way. So they belong together when the
     * directory is the same before and after. */
    do {
        directory = get(&v->directory);
        cleared = get(&v->cleared);
    } while (unlikely(get(&v->directory) != directory));
    return likely(cleared == 0) ? directory : directory_before(s, snap, directory, cleared);
}

/* The slots of the segment for a hash, in this directory. */
static inline word_t *segment_of(const struct store *s, uint64_t dir, uint32_t hash, uint64_t *word)
{
    const word_t *entry = at(s, index_offset(dir) + entry_of(hash, index_depth(dir)) * sizeof *entry, sizeof *entry);
    if (unlikely(entry == NULL || index_depth(dir) > INDEX_DEPTH_MAX))
        return NULL;
    *word = get(entry);
    return at(s, index_offset(*word), PAGE_BYTES);
}

/* What stands in a group, a bit a slot. */
struct scan {
    unsigned same;   /* has this hash */
    unsigned vacant; /* holds no version */
    unsigned never;  /* was never used */
};

/* All slots of a group at once and without a branch: which of them has the key is anybody's guess, and a processor that
 * has guessed wrong has begun nothing of use while it waited for the group. A writer may be at work on them: the words
 * are only pointed out here, and looked at one by one afterwards. */
static inline struct scan group_scan(const word_t *group, uint32_t hash)
{
#if defined(__SSE2__) && !defined(HEIR_TSAN)
    const __m128i *pair = (const __m128i *)(const void *)group, zero = _mm_setzero_si128();
    __m128i high[2], low[2];
    for (unsigned i = 0; i < 2; i++) {
        __m128 a = _mm_castsi128_ps(_mm_load_si128(pair + 2 * i)),
               b = _mm_castsi128_ps(_mm_load_si128(pair + 2 * i + 1));
        high[i] = _mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
        low[i] = _mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)));
    }
#define BITS(of, is)                                                                                                   \
    (unsigned)_mm_movemask_epi8(                                                                                       \
        _mm_packs_epi16(_mm_packs_epi32(_mm_cmpeq_epi32((of)[0], is), _mm_cmpeq_epi32((of)[1], is)), zero))
    unsigned vacant = BITS(low, zero);
    return (struct scan){BITS(high, _mm_set1_epi32((int)hash)), vacant, vacant & BITS(high, zero)};
#undef BITS
#else
    struct scan scan = {0, 0, 0};
    for (unsigned j = 0; j < GROUP_SLOTS; j++) {
        uint64_t word = get(&group[j]);
        scan.same |= (unsigned)(slot_hash(word) == hash) << j;
        scan.vacant |= (unsigned)(slot_version(word) == 0) << j;
        scan.never |= (unsigned)(word == 0) << j;
    }
    return scan;
#endif
}

/* The version of a key among the slots of its home group, when the first one with its hash has it: nearly always. */
static inline struct version *home_find(const struct store *s, word_t *slots, uint32_t hash, const void *key,
                                        size_t key_len, word_t **slot)
{
    word_t *group = slots + hash % SEGMENT_GROUPS * GROUP_SLOTS;
    *slot = &group[__builtin_ctz(group_scan(group, hash).same | 1u << (GROUP_SLOTS - 1))];
    uint64_t word = get(*slot);
    return likely(slot_hash(word) == hash && slot_version(word) != 0)
               ? version_of_key(s, slot_version(word), key, key_len)
               : NULL;
}

/* Look for a key in all groups in reach. */
static APART void reach_find(const struct store *s, word_t *slots, uint32_t hash, const void *key, size_t key_len,
                             struct spot *spot)
{
    for (unsigned i = 0; i < INDEX_REACH; i++) {
        word_t *group = slots + (hash + i) % SEGMENT_GROUPS * GROUP_SLOTS;
        struct scan scan = group_scan(group, hash);
        for (unsigned same = scan.same; same != 0; same &= same - 1) {
            word_t *slot = &group[__builtin_ctz(same)];
            uint64_t word = get(slot);
            if (slot_hash(word) != hash || slot_version(word) == 0)
                continue;
            spot->version = version_of_key(s, slot_version(word), key, key_len);
            if (spot->version != NULL) {
                spot->slot = slot;
                return;
            }
        }
        if (spot->vacant == NULL && scan.vacant != 0)
            spot->vacant = &group[__builtin_ctz(scan.vacant)];
        if (scan.never != 0)
            return;
    }
}

int index_peek(const struct store *s, uint64_t snap, uint32_t hash, const void *key, size_t key_len,
               struct version **version)
{
    uint64_t word;
    word_t *slots = segment_of(s, index_directory(s, snap), hash, &word), *slot;
    struct spot spot = {.tag = hash};

    *version = NULL;
    if (unlikely(slots == NULL))
        return -EUCLEAN;
    *version = home_find(s, slots, hash, key, key_len, &slot);
    if (unlikely(*version == NULL)) {
        reach_find(s, slots, hash, key, key_len, &spot);
        *version = spot.version;
    }
    return 0;
}

const struct version *index_glance(struct reach reach, const struct view *v, uint32_t hash, uint64_t key)
{
    const uint64_t directory = get(&v->directory);
    const uint64_t entry = index_offset(directory) + entry_of(hash, index_depth(directory)) * sizeof(word_t);

    if (unlikely(!within(reach, entry)))
        return NULL;
    const uint64_t home = index_offset(get((word_t *)(void *)(reach.base + entry))) +
                          hash % SEGMENT_GROUPS * GROUP_SLOTS * sizeof(word_t);
    if (unlikely(!within(reach, home)))
        return NULL;
    const word_t *group = (word_t *)(void *)(reach.base + home);
    const unsigned same = group_scan(group, hash).same;
    if (unlikely(same == 0))
        return NULL;
    const uint64_t offset = slot_version(get(&group[__builtin_ctz(same)]));
    if (unlikely(!within(reach, offset)))
        return NULL;
    const struct version *version = (const struct version *)(void *)(reach.base + offset);
    return likely(racy_compare(version->data, &key, sizeof key) == 0) ? version : NULL;
}

int index_find(const struct store *s, uint32_t hash, const void *key, size_t key_len, struct spot *spot)
{
    uint64_t word;
    word_t *slots = segment_of(s, peek(&view_of(s)->directory), hash, &word);

    *spot = (struct spot){.tag = hash};
    if (unlikely(slots == NULL))
        return -EUCLEAN;
    spot->version = home_find(s, slots, hash, key, key_len, &spot->slot);
    if (unlikely(spot->version == NULL)) {
        spot->slot = NULL;
        reach_find(s, slots, hash, key, key_len, spot);
    }
    return 0;
}

void index_prefetch(const struct store *s, uint32_t hash)
{
    uint64_t dir = peek(&view_of(s)->directory), depth = index_depth(dir);
    const word_t *entry = at(s, index_offset(dir) + entry_of(hash, depth) * sizeof *entry, sizeof *entry);
    uint64_t segment = entry != NULL ? index_offset(peek(entry)) : 0;
    if (likely(segment < s->bytes)) /* where there is nothing, nothing happens */
        __builtin_prefetch(s->base + segment + hash % SEGMENT_GROUPS * GROUP_SLOTS * sizeof *entry);
}

int index_drop(struct store *s, uint64_t version)
{
    struct version *v = version_whole(s, version);
    uint64_t word;

    /* A version that is not the newest may have been overwritten already, when a rollback made us come here a second
     * time: then what stands here is garbage, and no slot holds it. */
    if (v == NULL)
        return 0;
    uint32_t hash = index_hash(s, v->data, version_key_len(v));
    word_t *slots = segment_of(s, peek(&view_of(s)->directory), hash, &word);
    if (slots == NULL)
        return -EUCLEAN;
    for (unsigned i = 0; i < INDEX_REACH; i++) {
        word_t *group = slots + (hash + i) % SEGMENT_GROUPS * GROUP_SLOTS;
        word_t *found = NULL;
        bool end = false;
        for (unsigned j = 0; j < GROUP_SLOTS; j++) {
            uint64_t slot = peek(&group[j]);
            if (slot_version(slot) == version)
                found = &group[j];
            end |= slot == 0;
        }
        if (found != NULL) {
            /* a group with a slot never used was never full: no lookup went past it */
            log_set(s, found, end ? 0 : USED_BEFORE(hash));
            return 1;
        }
        if (end)
            break;
    }
    return 0;
}

/* ---- Growth ------------------------------------------------------------------------------------------- */

static int page_alloc(struct store *s, word_t **page, uint64_t *offset)
{
    int r = undo_reserve(s, 2 * SPACE_LOG);
    if (r == 0)
        r = history_alloc(s, PAGE_BYTES, false, offset);
    if (r < 0)
        return r;
    *page = at(s, *offset, PAGE_BYTES);
    if (*page == NULL)
        return -EUCLEAN;
    memset(*page, 0, PAGE_BYTES);
    return 0;
}

/* Slots of a segment under construction that hold keys whose home is another group, in the order of the groups. */
struct strays {
    unsigned count;
    uint16_t slots[INDEX_SEGMENT_SLOTS];
};

/* Nobody sees the segment yet, so slots may move: nearer to home, if there is room by now. */
static void settle(word_t *slots, struct strays *strays)
{
    unsigned left = 0;

    for (unsigned i = 0; i < strays->count; i++) {
        unsigned at = strays->slots[i];
        const uint64_t slot = peek(&slots[at]);
        const unsigned home = slot_hash(slot) % SEGMENT_GROUPS;
        for (unsigned g = home; g != at / GROUP_SLOTS; g = (g + 1) % SEGMENT_GROUPS) {
            unsigned j = 0;
            while (j < GROUP_SLOTS && slot_version(peek(&slots[g * GROUP_SLOTS + j])) != 0)
                j++;
            if (j < GROUP_SLOTS) {
                set(&slots[g * GROUP_SLOTS + j], slot);
                set(&slots[at], 0);
                at = g * GROUP_SLOTS + j;
                break;
            }
        }
        strays->slots[left] = (uint16_t)at;
        left += at / GROUP_SLOTS != home;
    }
    /* what still is away from home must be found: the groups before it have no slot that was never used */
    for (unsigned i = 0; i < left; i++) {
        const unsigned there = strays->slots[i] / GROUP_SLOTS;
        for (unsigned g = slot_hash(peek(&slots[strays->slots[i]])) % SEGMENT_GROUPS; g != there;
             g = (g + 1) % SEGMENT_GROUPS) {
            for (unsigned j = 0; j < GROUP_SLOTS; j++) {
                if (peek(&slots[g * GROUP_SLOTS + j]) == 0)
                    set(&slots[g * GROUP_SLOTS + j], USED_BEFORE(g));
            }
        }
    }
}

/* The slots of a segment to the two that take its place, by this bit of their hashes. Which half it is must not be
 * guessed; hardly any is away from home. */
static void distribute(const word_t *from, unsigned bit, word_t *const to[2], struct strays strays[2])
{
    strays[0].count = strays[1].count = 0;
    for (unsigned i = 0; i < INDEX_SEGMENT_SLOTS; i++) {
        const uint64_t slot = peek(&from[i]), used = slot_version(slot) != 0 ? slot : 0;
        const unsigned half = slot_hash(slot) >> bit & 1;
        set(&to[half][i], used);
        if (unlikely(slot_hash(slot) % SEGMENT_GROUPS != i / GROUP_SLOTS && used != 0))
            strays[half].slots[strays[half].count++] = (uint16_t)i;
    }
}

static int double_directory(struct store *s)
{
    struct view *v = view_of(s);
    uint64_t old = peek(&v->directory), depth = index_depth(old), count = UINT64_C(1) << depth, offset;
    uint64_t bytes = 2 * count * sizeof(word_t);

    if (depth >= INDEX_DEPTH_MAX)
        return -ENOSPC;
    int r = undo_reserve(s, SPACE_LOG);
    if (r == 0)
        r = history_alloc(s, bytes < INDEX_DIRECTORY_MIN ? INDEX_DIRECTORY_MIN : bytes, false, &offset);
    if (r < 0)
        return r;
    word_t *from = directory_at(s, old), *to = at(s, offset, bytes);
    if (from == NULL || to == NULL)
        return -EUCLEAN;
    for (uint64_t i = 0; i < count; i++) {
        set(&to[i], peek(&from[i]));
        set(&to[i + count], peek(&from[i]));
    }
    r = history_append(s, 0, index_offset(old), GONE_BLOCK);
    if (r < 0)
        return r;
    if ((offset & INDEX_DEPTH_MASK) != 0)
        return -EUCLEAN;
    log_set(s, &v->directory, offset | (depth + 1));
    return 0;
}

int index_split(struct store *s, uint32_t hash)
{
    uint64_t halves[2], word, old;
    word_t *to[2], *from;
    struct strays strays[2];
    int r = 0;

    for (int i = 0; i < 2; i++) {
        if ((r = page_alloc(s, &to[i], &halves[i])) < 0)
            return r;
    }
    from = segment_of(s, peek(&view_of(s)->directory), hash, &word);
    if (from == NULL || index_depth(word) > index_depth(peek(&view_of(s)->directory)))
        return -EUCLEAN;
    if (index_depth(word) == index_depth(peek(&view_of(s)->directory)) && (r = double_directory(s)) < 0)
        return r;
    /* doubling may have taken memory back, and with it emptied slots: only now the segment is looked at */
    old = word;
    uint64_t depth = index_depth(old);
    distribute(from, INDEX_GROUP_BITS + (unsigned)depth, to, strays);
    settle(to[0], &strays[0]);
    settle(to[1], &strays[1]);

    uint64_t dir = peek(&view_of(s)->directory), entries = UINT64_C(1) << index_depth(dir);
    word_t *d = directory_at(s, dir);
    if (d == NULL)
        return -EUCLEAN;
    if ((r = undo_reserve(s, SPACE_LOG + (entries >> depth))) < 0 ||
        (r = history_append(s, 0, index_offset(old), GONE_BLOCK)) < 0)
        return r;
    for (uint64_t i = entry_of(hash, depth); i < entries; i += UINT64_C(1) << depth)
        log_set(s, &d[i], halves[i >> depth & 1] | (depth + 1));
    return 0;
}

int index_format(struct store *s)
{
    uint64_t segment, directory;
    int r;
    if (ordered(s)) {
        log_set(s, &view_of(s)->directory, 0);
        return 0;
    }
    r = history_spare(s, SPARE_SEGMENT, &segment);
    if (r == 0)
        r = history_spare(s, SPARE_DIRECTORY, &directory);
    if (r < 0)
        return r;
    word_t *d = at(s, directory, INDEX_DIRECTORY_MIN), *page = at(s, segment, PAGE_BYTES);
    if (d == NULL || page == NULL || (directory & INDEX_DEPTH_MASK) != 0)
        return -EUCLEAN;
    memset((void *)page, 0, PAGE_BYTES);
    set(d, segment);
    log_set(s, &view_of(s)->directory, directory);
    return 0;
}

int index_clear(struct store *s)
{
    struct view *v = view_of(s);
    uint64_t old = peek(&v->directory), offset;
    int r = history_spare(s, SPARE_CLEARING, &offset);
    if (r < 0)
        return r;
    struct clearing *c = at(s, offset, sizeof *c);
    if (c == NULL)
        return -EUCLEAN;
    set(&c->txn, s->txn);
    set(&c->directory, old);
    set(&c->prev, peek(&v->cleared));
    /* before the directory: a reader who sees the new one finds the old one by this */
    log_set(s, &v->cleared, offset);
    if ((r = index_format(s)) < 0)
        return r;
    return history_append(s, offset, 0, GONE_INDEX);
}

int index_forget(struct store *s, uint64_t clearing)
{
    word_t *link = &view_of(s)->cleared;
    for (uint64_t most = readable(s) / sizeof(struct clearing); peek(link) != clearing; most--) {
        struct clearing *c = at(s, peek(link), sizeof *c);
        if (c == NULL || most == 0) /* a damaged chain may be a circle */
            return -EUCLEAN;
        link = &c->prev;
    }
    log_set(s, link, 0);
    return 0;
}

int index_word(const struct store *s, uint64_t directory, uint64_t entry, uint64_t *word)
{
    word_t *d = directory_at(s, directory);
    if (d == NULL)
        return -EUCLEAN;
    if (entry >> index_depth(directory) != 0)
        return INDEX_END;
    *word = get(&d[entry]);
    return index_depth(*word) > index_depth(directory) ? -EUCLEAN : 0;
}
