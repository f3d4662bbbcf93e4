/* SPDX-License-Identifier: MIT */
/* What the benchmarks share: options, time, random numbers, samples and their quantiles, and how results are printed.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An option of one benchmark; a table of them ends with a name that is NULL. Without an argument: a bool, for a flag;
 * with min <= max: a uint64_t, which is `usual`, or with --quick `quick`, when nothing is said; else a const char *. */
struct bench_option {
    const char *name, *argument, *help;
    void *value;
    uint64_t min, max, usual, quick;
};

/* What all of them have: --rounds, --seconds, --raw, --quick, --help, and how long they go on. */
struct bench {
    const char *does, *wrong; /* "Measure ...", "Ends with 1 when ..." */
    const struct bench_option *options;
    double max_error;  /* of the median ratios: more rounds while it may be larger */
    uint64_t rounds;   /* usually, if the time lasts; before bench_options(): without --rounds */
    uint64_t seconds;  /* after which no round is begun, but for the first few, which have more;
                          before bench_options(): usually */
    unsigned patience; /* at most so many times as many rounds */
    const char *raw;   /* file for all samples, or NULL */
    uint64_t began_ns; /* of CLOCK_MONOTONIC; seconds are counted from here */
    bool quick;
};

/* -1: go on; else the status to exit with. */
int bench_options(struct bench *b, int argc, char **argv);
/* Whether another round is wanted, after `round` of them. */
bool bench_goes_on(const struct bench *b, uint64_t round, double error);
/* Says how many rounds there were, and whether they were enough. part: "", or what the keys begin with. */
void bench_steady(const struct bench *b, const char *part, uint64_t round, double error, const char *whose);
/* From now on a stop by SIGTERM (of the process that waits, see world.h) is not the end, but is told here. */
void bench_catch_stop(void);
bool bench_stopped(void);

/* CLOCK_MONOTONIC: one clock for all processes of the machine. */
uint64_t now_ns(void);
uint64_t real_ns(void); /* CLOCK_REALTIME, as the keeper's events have it */
void spin_ns(uint64_t ns);

/* A bijection of 64 bits that looks random: different numbers never collide. */
static inline uint64_t mix64(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}
void shuffle(uint64_t *v, size_t n, uint64_t seed);

/* Samples of one thing. Starts as zero bytes. */
struct series {
    double *v;
    size_t n, room;
};
void series_add(struct series *s, double value);
void series_append(struct series *s, const struct series *from, size_t first);
void series_free(struct series *s);
double series_quantile(const struct series *s, double q); /* 0 when it is empty */
double series_median(const struct series *s);
/* Width of the middle half, as a part of the median. */
double series_spread(const struct series *s);
/* How far the median may be off (its standard error), as a part of it; 1 with fewer than three samples. */
double series_error(const struct series *s);

/* A line for people; a line for scripts. name says the unit. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
__attribute__((format(printf, 2, 3))) void put_result(double value, const char *name, ...);

/*
 * --raw FILE: all samples, for plots. Blocks of lines "VALUE COUNT" in the order in which they were taken, each under
 * "# NAME UNIT" and ended by two empty lines, which is what gnuplot calls a data set with a name. Nothing without
 * --raw.
 */
__attribute__((format(printf, 2, 3))) void raw_begin(const char *unit, const char *name, ...);
void raw_value(double value, uint64_t count);
void raw_end(void);
__attribute__((format(printf, 3, 4))) void raw_series(const struct series *s, const char *unit, const char *name, ...);

/* Machine, kernel, build and load: the context without which a figure means nothing. */
void say_machine(void);

/* One line on a terminal's stderr, overwritten by the next; nothing when stderr is no terminal. */
__attribute__((format(printf, 1, 2))) void progress(const char *format, ...);
void progress_end(void);

/* Says on stderr what went wrong; returns -1. */
__attribute__((format(printf, 1, 2))) int fail(const char *format, ...);
/* Of what a call of the library returned: 0, or fail(). */
int check(int r, const char *call);

void *must(void *memory); /* ends the program when memory is NULL */
bool parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *value);
/* A comma-separated list of names; NULL has all. */
bool list_has(const char *list, const char *name);
size_t list_size(const char *list);
uint64_t memory_available(void); /* bytes the kernel can give without swapping */

#endif
