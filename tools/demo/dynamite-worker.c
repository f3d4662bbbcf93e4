/* SPDX-License-Identifier: MIT */
/*
 * The worker of scenario 3: it ticks, every millisecond, and counts the ticks under two keys. One tick in ten is
 * dynamite: it blows up when only one of the two keys is written. The dice are thrown anew in each life.
 *
 *     dynamite-worker SEED
 */
#include <err.h>
#include <heir.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
    struct heir *me;
    struct heir_table *table;
    int64_t life, tick = 0, tock = 0;
    int error;

    if ((error = heir_open(&(struct heir_open_options){.timeout_ms = -1}, &me)) ||
        (error = heir_claim(me, "dynamite", &(struct heir_table_options){0}, -1, &table)) ||
        (error = heir_add(table, "life", 4, 1, &life)))
        errx(1, "%s", heir_strerror(error));
    dprintf(STDOUT_FILENO, "dynamite-worker %d\n", (int)getpid());

    srandom((argc > 1 ? (unsigned)atol(argv[1]) : 1) + (unsigned)life);
    while (tick == tock) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if ((error = heir_begin(table)) || (error = heir_add(table, "tick", 4, 1, &tick)))
            errx(1, "%s", heir_strerror(error));
        if (random() % 10 == 0)
            abort();
        if ((error = heir_add(table, "tock", 4, 1, &tock)) || (error = heir_commit(table)))
            errx(1, "%s", heir_strerror(error));
    }
    errx(1, "tick %" PRId64 ", tock %" PRId64, tick, tock);
}
