/* SPDX-License-Identifier: MIT */
/*
 * The worker of scenario 5: adds 1 to a count of its own, every INTERVAL milliseconds, from START.
 *
 *     pairs-worker NAME START INTERVAL
 *
 * Whether there is a keeper matters to it only while it starts.
 */
#include <err.h>
#include <errno.h>
#include <heir.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
    struct heir *me;
    struct heir_table *table;
    int error;
    if (argc != 4)
        errx(2, "usage: pairs-worker NAME START INTERVAL");
    int64_t start = atoll(argv[2]);
    long interval = atol(argv[3]);

    if ((error = heir_open(&(struct heir_open_options){.name = argv[1], .timeout_ms = -1}, &me)) ||
        (error = heir_claim(me, argv[1], &(struct heir_table_options){.max_bytes = 1 << 20}, -1, &table)))
        errx(1, "%s: %s", argv[1], heir_strerror(error));
    error = heir_put_new(table, "n", 1, &start, sizeof(start));
    if (error && error != -EEXIST)
        errx(1, "%s: %s", argv[1], heir_strerror(error));
    dprintf(STDOUT_FILENO, "%s %d\n", argv[1], (int)getpid());

    for (;;) {
        nanosleep(&(struct timespec){.tv_sec = interval / 1000, .tv_nsec = interval % 1000 * 1000000}, NULL);
        if ((error = heir_add(table, "n", 1, 1, NULL)))
            errx(1, "%s: %s", argv[1], heir_strerror(error));
    }
}
