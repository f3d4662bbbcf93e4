/* SPDX-License-Identifier: MIT */
/*
 * The index of a set: from key to version. Extendible hashing; see index.c. That of the other types is in tree.h.
 */
#ifndef HEIR_INDEX_H
#define HEIR_INDEX_H

#include "history.h"
#include "version.h"

#define INDEX_DEPTH_MASK    63u
#define INDEX_GROUP_BITS    6u
#define INDEX_DEPTH_MAX     26u
#define INDEX_DIRECTORY_MIN 64u /* bytes */
#define INDEX_SEGMENT_SLOTS (SEGMENT_GROUPS * GROUP_SLOTS)
#define INDEX_REACH         4u /* groups from its home on in which a key may be */

/* A key's 32 bits: the low 6 choose the home group, the rest the segment. */
uint32_t index_hash(const struct store *s, const void *key, size_t key_len);

/* Directory words, of the directory itself and in it: an offset and a depth. */
static inline uint64_t index_depth(uint64_t word)
{
    return word & INDEX_DEPTH_MASK;
}

static inline uint64_t index_offset(uint64_t word)
{
    return word & ~(uint64_t)INDEX_DEPTH_MASK;
}

static inline uint32_t slot_hash(uint64_t slot)
{
    return (uint32_t)(slot >> 32);
}

static inline uint64_t slot_version(uint64_t slot)
{
    return (slot & 0xffffffffu) * GRANULE;
}

struct spot {
    word_t *slot; /* of the key; NULL: it is not there */
    struct version *version;
    word_t *vacant; /* where it can be put; NULL: room must be made first */
    uint32_t tag;   /* the high half of the slot word for this key */
};

/* An empty index, of whatever type the table is. -ENOSPC. */
int index_format(struct store *s);

/* Have a hash's home group brought into the cache. The mutex need not be held: what is read may be changing. */
void index_prefetch(const struct store *s, uint32_t hash);

/* Writer: look a key up. -EUCLEAN. */
int index_find(const struct store *s, uint32_t hash, const void *key, size_t key_len, struct spot *spot);

/* Readers: the newest version in the index of state `snap`; *version NULL: not there. -EUCLEAN: caught while changing,
 * or damaged. Never follows what is not backed. */
int index_peek(const struct store *s, uint64_t snap, uint32_t hash, const void *key, size_t key_len,
               struct version **version);

/* In the newest index, for a key of 8 bytes that is where it is looked for first; in as few steps as can be. NULL:
 * perhaps not there. What it returns is a version with these bytes, of whatever length its key is. GLANCE_BYTES
 * are backed from there on. */
const struct version *index_glance(struct reach reach, const struct view *v, uint32_t hash, uint64_t key);

/* The directory word for state `snap`. */
uint64_t index_directory(const struct store *s, uint64_t snap);

/* Split the segment of this hash. -ENOSPC, -EUCLEAN. */
APART int index_split(struct store *s, uint32_t hash);

/* Replace the index by an empty one and queue the old. */
int index_clear(struct store *s);

/* No reader needs what was before this clearing any more: unlink it. */
int index_forget(struct store *s, uint64_t clearing);

/* Clear the slot that holds this deleted version. 1: done, 0: it holds a newer one, or none. */
int index_drop(struct store *s, uint64_t version);

/* Entry number `entry` of a directory: INDEX_END when it has no such entry. *word is the segment's offset and depth; it
 * stands in every entry with the same low `depth` bits. */
#define INDEX_END 1
int index_word(const struct store *s, uint64_t directory, uint64_t entry, uint64_t *word);

#endif
