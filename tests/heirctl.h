/* SPDX-License-Identifier: MIT */
/* What the tests of heirctl share: running it, and looking at what it printed. */
#ifndef HEIR_TESTS_HEIRCTL_H
#define HEIR_TESTS_HEIRCTL_H

#include "support.h"

#include <jansson.h>

extern struct output out; /* of the program run last */
extern const struct test dump_tests[], admin_tests[], clients_tests[], completion_tests[], events_tests[], verb_tests[],
    changes_tests[];

#define CTL(code, ...)        check_ctl(HERE, code, (const char *const[]){"heirctl", __VA_ARGS__, NULL}, NULL)
#define CTL_IN(code, in, ...) check_ctl(HERE, code, (const char *const[]){"heirctl", __VA_ARGS__, NULL}, in)
/* To be freed by json_decref(). */
#define CTL_JSON(code, ...)   check_json(HERE, code, (const char *const[]){"heirctl", "--json", __VA_ARGS__, NULL})
/* A line of shell, put together as by printf(). */
#define SHELL(code, ...)      check_shell(HERE, code, __VA_ARGS__)
#define SAYS(text)            CHECK(strstr(out.out, text) != NULL, "no \"%s\" in: %s", text, out.out)
#define COMPLAINS(text)       CHECK(strstr(out.err, text) != NULL, "no \"%s\" in: %s", text, out.err)

bool check_ctl(const char *file, int line, const char *function, int code, const char *const argv[], const char *in);
json_t *check_json(const char *file, int line, const char *function, int code, const char *const argv[]);
void check_shell(const char *file, int line, const char *function, int code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Start the keeper, and an agent, "baker", that creates a table: its name and options as agent_do() has them. */
struct agent *keeper_and_owner(const char *table);

/* Members of what CTL_JSON returned; their absence is a failure. */
long long number(const json_t *object, const char *key);
const char *text(const json_t *object, const char *key);

/* Of the counters that `stats` and `info` have; label: "" for one that has none. -1: there is no such counter. */
long long counter(const char *name, const char *label);
long long counter_in(const json_t *object, const char *name, const char *label);

void damage(const char *table); /* its header, so that nothing can read it */

#endif
