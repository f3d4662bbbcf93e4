/* SPDX-License-Identifier: MIT */
/*
 * Scenario 1: a counter that survives kill -9.
 *
 * Ask the worker three times, kill it, wait for the one that `heirctl run` starts in its place; three times over. The
 * numbers must be 1 to 9: none lost, none twice. See counter-worker.c for what a worker has to do for that.
 */
#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEATHS = 3, REQUESTS_A_LIFE = 3 };

static void ask(struct child *worker, int64_t expected)
{
    driver_say(worker, "next");
    const char *answer = driver_hear(worker);
    puts(answer);
    if (strtoll(answer, NULL, 10) != expected)
        driver_fail("%" PRId64 " was to come, not %s", expected, answer);
}

int main(int argc, char *argv[])
{
    int64_t n = 0, left;
    driver_begin(argc, argv, NULL);
    driver_table("counter");

    struct child *worker = driver_run((const char *[]){"counter-worker", NULL}, -1, NULL);
    pid_t pid = driver_hello(worker);
    printf("# worker %d has claimed the table 'counter', which is new\n", (int)pid);
    struct heir_table *counter = driver_attach("counter");

    for (int death = 1; death <= DEATHS; death++) {
        for (int i = 0; i < REQUESTS_A_LIFE; i++)
            ask(worker, ++n);

        int64_t killed = driver_now_ms();
        printf("# kill -9 %d\n", (int)pid);
        driver_kill(pid);
        driver_must(heir_get(counter, "n", 1, &left, &(size_t){sizeof(left)}), "reading the table of the dead");
        printf("# worker %d is dead; its table is there, and says %" PRId64 "\n", (int)pid, left);
        if (left != n)
            driver_fail("the table says %" PRId64 " after %" PRId64 " requests", left, n);
        pid = driver_hello(worker);
        printf("# worker %d, started by heirctl run, has claimed the table %" PRId64 " ms after the kill\n", (int)pid,
               driver_now_ms() - killed);
    }
    driver_finish(worker);
    return driver_done("%" PRId64 " requests, %d deaths, nothing lost", n, DEATHS);
}
