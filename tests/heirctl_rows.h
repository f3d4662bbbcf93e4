/* SPDX-License-Identifier: MIT */
/* What each verb of heirctl is to do in each condition; heirctl_verbs.c does it. */
#ifndef HEIR_TESTS_HEIRCTL_ROWS_H
#define HEIR_TESTS_HEIRCTL_ROWS_H

#include "heirctl.h"

/*
 * In all of them there are two tables, "bread" (k is v), which the client "baker" owns, and "kept" (k is a-value),
 * which nobody does; and another client, "second". DAMAGED: kept is. NAMES: in place of kept each name of name_list,
 * and of second "-s.e_c-". BYTES: the names of baker and of bread's heir, and the name of a file among the tables, are
 * spoilt by escape sequences. THOUSANDS: 3000 more.
 */
enum condition { OUTPUT, USAGE, REFUSED, NO_KEEPER, DAMAGED, THOUSANDS, NAMES, BYTES, CONDITIONS };

/* An @ in a word or pattern: the table, or what else the condition is about. */
struct row {
    const char *verb;
    enum condition condition;
    const char *args[8];
    int code;
    const char *out, *err; /* extended regular expressions, of lines; NULL: nothing is printed there */
    size_t lines;          /* that stdout has; 0: any number */
    const char *list;      /* with --json: an array ... */
    size_t count;          /* ... of so many; or */
    const char *member;    /* a text that is the @ */
    const char *input;     /* on stdin */
    const char *typed;     /* it is on a terminal, which all of its output goes to, and this is typed there */
    const char *none;      /* there is nothing to be tried, and this is why */
    bool without;          /* it runs when there is no keeper */
    bool endless;          /* it goes on until it is stopped */
    bool plain;            /* without --json only */
    bool findings;         /* 1 is no error: the answer is an object as ever */
    bool owned;            /* THOUSANDS: the @ is one that baker owns */
};
extern const struct row rows[], byte_rows[]; /* byte_rows: with each of the specimens as the @, which kept has */

extern const char *const name_list[];

struct specimen {
    const char *text; /* as it is printed and taken */
    char bytes[16];
    size_t len;
};
extern const struct specimen specimens[];

#endif
