/* SPDX-License-Identifier: MIT */
/*
 * The text format of the dump and load tools of Berkeley DB and LMDB: a header of NAME=VALUE lines, then for each
 * object a line with its key and one with its value, each behind a space, then DATA=END.
 *
 *     VERSION=3
 *     format=print          or bytevalue: two hexadecimal digits a byte
 *     type=btree
 *     HEADER=END
 *      key
 *      a value with a byte 0: \00
 *     DATA=END
 *
 * All of our tables are type=btree: LMDB's tool refuses any other. Our own type is in lines that Berkeley DB knows (it
 * refuses those it does not) and LMDB passes over or knows:
 *     duplicates=1                  duplicate bag
 *     duplicates=1 and dupsort=1    bag: to both of them, objects that differ
 *     bt_minkey=2                   ordered set: Berkeley DB's default, so it changes nothing there
 * A backslash is written as \5c: LMDB's tool before 0.9.25 spoils the other form, two of them.
 */
#ifndef HEIRCTL_FLAT_H
#define HEIRCTL_FLAT_H

#include "heirctl.h"
#include <stdio.h>

enum flat_format { FLAT_PRINT, FLAT_BYTEVALUE };

void flat_write_header(FILE *file, enum flat_format format, enum heir_type type);
void flat_write(FILE *file, enum flat_format format, const void *data, size_t len);
void flat_write_end(FILE *file);

/* A file that is read. Everything in it is somebody's word: it is checked, and refused with a reason. */
struct flat {
    FILE *file;
    enum flat_format format;
    enum heir_type type; /* as the header tells it */
    uint64_t line;       /* read last */
    char problem[192];   /* what is wrong at that line; "": nothing yet */
    struct bytes key, value;
    size_t key_room, value_room;
};

void flat_begin(struct flat *flat, FILE *file);
/* False: `problem` tells why. */
bool flat_read_header(struct flat *flat);
/* The next object: in key and value until the next call. False at the end, and when there is a `problem`. */
bool flat_read(struct flat *flat);
void flat_end(struct flat *flat);

#endif
