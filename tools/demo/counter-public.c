/* SPDX-License-Identifier: MIT */
/*
 * Scenario 2: the counter as Erlang's supervisors do it.
 *
 * This process is the supervisor: it makes a public table, names itself the heir, and gives the table to each new
 * worker. When a worker is killed the table falls back to the supervisor, which gives it to the next one. The numbers
 * must be 1 to 9.
 */
#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEATHS = 3, REQUESTS_A_LIFE = 3 };

static void ask(struct child *worker, int64_t expected)
{
    driver_say(worker, "next");
    const char *answer = driver_hear(worker);
    puts(answer);
    if (strtoll(answer, NULL, 10) != expected)
        driver_fail("%" PRId64 " was to come, not %s", expected, answer);
}

/* Wait until a worker stands ready, and give it the table. */
static pid_t hand_over(struct child *worker, struct heir_table *counter)
{
    int pid;
    uint64_t id;
    const char *hello = driver_hear(worker);
    if (sscanf(hello, "counter-public-worker %d %" SCNu64, &pid, &id) != 2)
        driver_fail("the worker says '%s'", hello);
    driver_must(heir_give_away(counter, id, "go on", strlen("go on")), "giving the table away");
    printf("# the supervisor has given the table to worker %d\n", pid);
    return pid;
}

/* The worker is dead: wait for the table. */
static void inherit(void)
{
    struct heir_event event;
    do {
        driver_must(heir_wait(driver_heir(), 10000, &event), "waiting for the inheritance");
    } while (event.type != HEIR_EVENT_TRANSFER);
    if (event.reason != HEIR_INHERITED || strcmp(event.name, "counter-public") != 0)
        driver_fail("got the table %s for reason %d", event.name, (int)event.reason);
    puts("# the supervisor has inherited the table");
}

int main(int argc, char *argv[])
{
    int64_t n = 0;
    struct heir_table *counter;
    driver_begin(argc, argv, NULL);
    driver_table("counter-public");
    driver_must(heir_create(driver_heir(), "counter-public",
                            &(struct heir_table_options){.access = HEIR_PUBLIC, .heir = "counter-public"}, &counter),
                "making the table");

    struct child *worker = driver_run((const char *[]){"counter-public-worker", NULL}, -1, NULL);
    pid_t pid = hand_over(worker, counter);
    for (int death = 1; death <= DEATHS; death++) {
        for (int i = 0; i < REQUESTS_A_LIFE; i++)
            ask(worker, ++n);
        printf("# kill -9 %d\n", (int)pid);
        driver_kill(pid);
        inherit();
        pid = hand_over(worker, counter);
    }
    driver_finish(worker);
    return driver_done("%" PRId64 " requests, %d deaths, nothing lost", n, DEATHS);
}
