/* SPDX-License-Identifier: MIT */
/*
 * Scenario 5: many instances, and the keeper dies too.
 *
 * Each instance is a worker and its table: one counts from -10 every 200 ms, one from 0 every 1,000 ms, and 100 more.
 * Workers are killed at random; then the keeper is killed; then workers while there is no keeper; then a keeper is
 * started again, and workers that have seen it all are killed. Every instance must go on from its own count, no worker
 * may stop counting because there is no keeper, and the count of a dead one stays where it was. The driver sees all
 * this by reading the tables.
 */
#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SPECIAL = 2, INSTANCES_MAX = 10000 };

struct instance {
    char name[32];
    struct child *child;
    struct heir_table *table;
    int64_t start, interval; /* of the count; in ms */
    int64_t born;            /* before its first worker was started */
    int64_t seen;            /* the count when we last looked */
    int64_t mark;            /* the count it has to pass */
    pid_t pid;               /* 0: dead, or not there yet */
};

static struct instance *instances;
static long count, deaths;

/* A count never goes back, and never faster than its clock (1: milliseconds are rounded down, twice). */
static void look(struct instance *one)
{
    int64_t n;
    driver_must(heir_get(one->table, "n", 1, &n, &(size_t){sizeof(n)}), one->name);
    if (n < one->seen)
        driver_fail("%s went back from %" PRId64 " to %" PRId64, one->name, one->seen, n);
    if ((n - one->start) * one->interval > driver_now_ms() - one->born + 1)
        driver_fail("%s is at %" PRId64 ": too far, for one that began with %" PRId64, one->name, n, one->start);
    one->seen = n;
}

/* Wait up to ms for a worker to say that it owns its table. */
static void greet(int ms)
{
    const char *line;
    char name[32];
    int pid;
    struct child *child = driver_listen(ms, &line);
    for (long i = 0; child && i < count; i++) {
        struct instance *one = &instances[i];
        if (one->child != child)
            continue;
        if (sscanf(line, "%31s %d", name, &pid) != 2 || strcmp(name, one->name) != 0 || one->pid)
            driver_fail("%s says '%s'", one->name, line);
        one->pid = pid;
        if (!one->table)
            one->table = driver_attach(one->name);
        look(one);
        return;
    }
}

static long dead(void)
{
    long n = 0;
    for (long i = 0; i < count; i++)
        n += instances[i].pid == 0;
    return n;
}

static void until_all_live(void)
{
    while (dead())
        greet(-1);
}

/* Until each living worker has counted twice. */
static void until_all_count(void)
{
    for (long i = 0; i < count; i++)
        instances[i].mark = instances[i].seen + 2;
    for (long i = 0; i < count; i++) {
        struct instance *one = &instances[i];
        while (one->pid && one->seen < one->mark) {
            greet(one->interval < 20 ? (int)one->interval : 20);
            look(one);
        }
    }
}

static void kill_one(struct instance *one)
{
    driver_kill(one->pid);
    one->pid = 0;
    look(one);
    deaths++;
}

static void kill_some(long n)
{
    for (long i = 0; i < n; i++) {
        struct instance *one = i < SPECIAL ? &instances[i] : &instances[random() % count];
        if (one->pid)
            kill_one(one);
    }
}

static void start(struct instance *one, long number, long speed)
{
    char from[32], interval[32];
    if (number == 0)
        *one = (struct instance){.start = -10, .interval = 200};
    else if (number == 1)
        *one = (struct instance){.start = 0, .interval = 1000};
    else
        *one = (struct instance){.start = number * 1000000, .interval = 100 + number % 10 * 50};
    one->interval = one->interval > speed ? one->interval / speed : 1;
    one->seen = one->start;
    one->born = driver_now_ms();
    snprintf(one->name, sizeof(one->name), "pair-%ld", number);
    snprintf(from, sizeof(from), "%" PRId64, one->start);
    snprintf(interval, sizeof(interval), "%" PRId64, one->interval);
    driver_table(one->name);
    one->child = driver_run((const char *[]){"pairs-worker", one->name, from, interval, NULL}, -1, OFTEN);
}

int main(int argc, char *argv[])
{
    unsigned random_seed;
    if (getrandom(&random_seed, sizeof(random_seed), 0) < 0)
        random_seed = 1;
    long more = 100, seconds = 3, speed = 1, seed = random_seed % 1000000;
    driver_begin_own_keeper(
        argc, argv,
        (struct driver_option[]){{"--instances", &more, 0, INSTANCES_MAX, "instances besides the two special ones"},
                                 {"--seconds", &seconds, 0, 3600, "how long to kill at random"},
                                 {"--speed", &speed, 1, 1000, "count that many times as fast"},
                                 {"--seed", &seed, 0, 1000000, "seed of the kills"},
                                 {0}});
    driver_deadline(60 + seconds + more);
    printf("# seed %ld\n", seed);
    srandom((unsigned)seed);
    count = SPECIAL + more;
    instances = calloc((size_t)count, sizeof(*instances));
    if (!instances)
        driver_fail("no memory");
    for (long i = 0; i < count; i++)
        start(&instances[i], i, speed);
    until_all_live();
    until_all_count();
    printf("# %ld workers count\n", count);

    for (int64_t end = driver_now_ms() + seconds * 1000; driver_now_ms() < end;) {
        struct instance *one = &instances[random() % count];
        if (one->pid)
            kill_one(one);
        int64_t next = driver_now_ms() + random() % 100;
        while (driver_now_ms() < next)
            greet((int)(next - driver_now_ms()));
    }
    until_all_live();
    printf("# %ld have been killed with kill -9, and have gone on\n", deaths);

    driver_keeper_kill();
    puts("# the keeper is killed");
    kill_some(SPECIAL + count / 10);
    long without_keeper = dead();
    printf("# %ld workers are killed while there is no keeper\n", without_keeper);
    until_all_count();
    if (dead() != without_keeper)
        driver_fail("a worker has got its table without a keeper");
    for (long i = 0; i < count; i++) {
        int64_t before = instances[i].seen;
        look(&instances[i]);
        if (!instances[i].pid && instances[i].seen != before)
            driver_fail("%s counts, and is dead", instances[i].name);
    }
    printf("# the other %ld have gone on counting without a keeper; the dead stand still\n", count - without_keeper);

    driver_keeper_start();
    puts("# a keeper is started");
    until_all_live();
    until_all_count();
    puts("# all have gone on");
    kill_some(SPECIAL + count / 10);
    until_all_live();
    until_all_count();
    puts("# so have those whose workers were killed then");
    for (int i = 0; i < SPECIAL; i++)
        printf("%s: from %" PRId64 ", every %" PRId64 " ms, is at %" PRId64 "\n", instances[i].name, instances[i].start,
               instances[i].interval, instances[i].seen);
    return driver_done("%ld instances, %ld deaths, 1 of the keeper, every count went on from its own", count, deaths);
}
