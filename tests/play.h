/* SPDX-License-Identifier: MIT */
/*
 * Random operations on a table and on its model: every function of heir.h that writes one table, in and out of
 * transactions, with results and content compared all the time, as the owner and as a reader see them.
 */
#ifndef HEIR_TESTS_PLAY_H
#define HEIR_TESTS_PLAY_H

#include "model.h"

enum keys {
    KEYS_BYTES,    /* 1 to 40 bytes, any */
    KEYS_PREFIXES, /* prefixes of each other, with zero bytes, also at the end */
    KEYS_COMMON,   /* 200 bytes are the same in all */
    KEYS_BYTE,     /* one byte */
    KEYS_NATIVE,   /* native 8-byte integers */
    KEYS_LARGE,    /* some of up to HEIR_KEY_MAX - 10 bytes */
    KEYS_KINDS
};

#define EDITS 64

struct play {
    struct rnd rnd;
    enum keys keys;
    size_t limit;                      /* objects: with more than that, deleting is likelier */
    struct heir_table *table, *reader; /* the owner's handle, another client's */
    struct model now, before;          /* before: the last commit, while a transaction is open */
    bool open;
    unsigned long operation;
    unsigned calls, edits; /* of heir_edit() in this transaction; what is lent */
    struct {
        struct object *of; /* its key */
        unsigned char *lent;
        size_t len;
    } edit[EDITS];
};

/* Clients, and a table "t" of this type. */
void play_begin(struct play *play, enum heir_type type, enum keys keys, uint64_t max_bytes);
bool play_step(struct play *play);                    /* one operation; false: something was wrong */
bool play_on(struct play *play, unsigned operations); /* and all of it compared at the end */
bool play_compare(struct play *play);
void play_close(struct play *play);                     /* commit an open transaction */
void play_end(struct play *play);                       /* close, compare, check, destroy */
size_t play_key(struct play *play, unsigned char *key); /* a key that is there, nearly there, or any; its length */
size_t play_value(struct play *play);                   /* into play_bytes */
extern unsigned char play_bytes[1 << 17];

#endif
