/* SPDX-License-Identifier: MIT */
/*
 * Scenario 3: crashing in the middle of a change.
 *
 * A worker adds 1 to two keys in one transaction, again and again, and aborts between the two at one tick in ten. The
 * keys must agree always: in each worker, and for a reader (this process) that never stops looking. And the count must
 * be the right one: the workers' dice are thrown here, too, so it is known how many ticks each life has.
 */
#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A walk is a question to the keeper. Two processes that do nothing but wake each other can starve a whole core, so the
 * reader rests for a millisecond now and then. */
enum { LOOKS_A_REST = 50 };

struct view {
    int64_t life, tick, tock;
};

static int visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct view *view = arg;
    int64_t *field = memcmp(key, "life", 4) == 0   ? &view->life
                     : memcmp(key, "tick", 4) == 0 ? &view->tick
                                                   : &view->tock;
    if (key_len != 4 || value_len != sizeof(*field))
        driver_fail("an object that nobody wrote, of %zu and %zu bytes", key_len, value_len);
    memcpy(field, value, value_len);
    return 0;
}

static int64_t ticks_of(unsigned dice)
{
    int64_t n = 0;
    srandom(dice);
    while (random() % 10)
        n++;
    return n;
}

/* One committed state. known[n] ticks are there at the end of life n. */
static struct view look(struct heir_table *table, const int64_t *known, int64_t lives)
{
    struct view view = {0};
    driver_must(heir_foreach(table, visit, &view), "reading");
    if (view.tick != view.tock)
        driver_fail("half a change is to be seen: tick %" PRId64 ", tock %" PRId64, view.tick, view.tock);
    if (view.life < 1 || view.life > lives)
        driver_fail("life %" PRId64 " is to be seen", view.life);
    if (view.tick < known[view.life - 1] || view.tick > known[view.life])
        driver_fail("tick %" PRId64 " is to be seen in life %" PRId64 ", which goes from %" PRId64 " to %" PRId64,
                    view.tick, view.life, known[view.life - 1], known[view.life]);
    return view;
}

int main(int argc, char *argv[])
{
    long seed = 1, crashes = 50, looks = 0;
    char dice[32];
    const char *line;
    driver_begin(argc, argv,
                 (struct driver_option[]){{"--seed", &seed, 0, 1000000000, "seed of the dice"},
                                          {"--crashes", &crashes, 1, 100000, "how often to crash"},
                                          {0}});
    driver_deadline(60 + crashes * 2); /* heirctl run waits before each restart */
    driver_table("dynamite");
    printf("# seed %ld\n", seed);
    int64_t lives = crashes + 2, *known = calloc((size_t)lives + 1, sizeof(*known));
    if (!known)
        driver_fail("no memory");
    for (int64_t life = 1; life <= lives; life++)
        known[life] = known[life - 1] + ticks_of((unsigned)(seed + life));

    snprintf(dice, sizeof(dice), "%ld", seed);
    struct child *worker = driver_run((const char *[]){"dynamite-worker", dice, NULL}, -1, OFTEN);
    driver_hello(worker);
    struct heir_table *table = driver_attach("dynamite");

    struct view last = look(table, known, lives);
    while (last.life <= crashes) {
        struct view now = look(table, known, lives);
        looks++;
        if (now.tick < last.tick || now.life < last.life)
            driver_fail("the count went back from %" PRId64 " to %" PRId64, last.tick, now.tick);
        if (now.life != last.life)
            printf("crash %" PRId64 ": %" PRId64 " ticks\n", last.life, known[last.life]);
        last = now;
        driver_listen(looks % LOOKS_A_REST == 0, &line); /* the next worker's hello, which we have no use for */
    }
    free(known);
    printf("# the reader has looked %ld times\n", looks);
    return driver_done("%ld crashes in the middle of a change, %" PRId64 " ticks, both keys always agreed", crashes,
                       last.tick);
}
