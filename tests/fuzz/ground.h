/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets stand on: random numbers, and a main() for where there is no libFuzzer; those with a keeper a
 * namespace and a folder of their own, of which nothing remains however the process ends (a child waits for that and
 * cleans up).
 */
#ifndef HEIR_FUZZ_GROUND_H
#define HEIR_FUZZ_GROUND_H

#include <heir/keeper.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern struct ground {
    char ns[64];
    char folder[64];
    char socket[96];
} ground;

/* Once, before there are threads: that namespace. */
void ground_begin(void);

/* Remove all shared memory of the namespace. */
void ground_clear(void);

#define PATIENCE 20000 /* ms until something that must happen counts as hanging */

/* A keeper, and a client of the namespace. -errno. */
int ground_keeper(struct heir_keeper **keeper);
int ground_open(const char *name, int timeout_ms, struct heir **client);

int ground_descriptors(void); /* how many this process has */

/* Wrong: say what, and abort. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ground_wrong(__FILE__, __LINE__, #condition, 0);                                                           \
    } while (0)
#define MUST_RC(call, expected)                                                                                        \
    do {                                                                                                               \
        int must_rc = (call);                                                                                          \
        if (must_rc != (expected))                                                                                     \
            ground_wrong(__FILE__, __LINE__, #call, must_rc);                                                          \
    } while (0)
void ground_wrong(const char *file, int line, const char *what, int rc) __attribute__((noreturn));

uint64_t ground_random(uint64_t *state); /* the next number; any state will do to begin with */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* PROGRAM [SEED [SECONDS]]: random inputs of a first byte and 1 to `most` steps of `step` bytes; PROGRAM FILE, or
 * PROGRAM FOLDER: one, or all that lie there. What main() shall return. */
int ground_main(int argc, char **argv, const char *name, size_t step, size_t most);

#endif
