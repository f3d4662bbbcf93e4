/* SPDX-License-Identifier: MIT */
/*
 * A writer is killed in the middle of a large transaction: how much later has the next owner the table, because its
 * changes must be undone? And does that depend on the size of the table?
 *
 * The next owner waits in heir_claim(). The time is from SIGKILL until it has the table and has written. Two tables,
 * a small and a large one, are left behind in turns, with and without an open transaction.
 *
 * Most of that time is death, two wake-ups and the keeper's work, and has more noise than undoing takes. So undoing is
 * also timed alone: the tables are public, another process is killed in its transaction, and when it has gone, and the
 * machine has come to rest, one heir_add() of the owner comes upon the dead one's lock, undoes, and adds.
 */
#include "child.h"
#include "common.h"
#include "world.h"

#include <errno.h>
#include <heir.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNTER    "n" /* its owners count themselves; a key of another length than all others */
#define TIMEOUT_MS 60000
#define REST_US    5000 /* before a kill: the machine becomes idle */
#define FILL_TX    1000
#define VALUE_MIN  sizeof(uint64_t)
#define SMALL_N    10000

enum size { SMALL, LARGE, SIZES };
enum left { IDLE, OPEN, LEFTS };

static const char *const size_names[] = {"small", "large"};
static const char *const left_names[] = {"idle", "tx"};

struct options {
    struct bench bench;
    uint64_t objects[SIZES], value_size, changes, samples, settle;
    bool ordered;
};

struct table {
    struct heir_table *handle;
    uint64_t n;
    int64_t owners; /* what the counter must be */
};

struct recovery {
    const struct options *options;
    const struct world *world;
    struct heir *client;
    struct table tables[SIZES];
    uint64_t seed;
    struct series us[SIZES][LEFTS], medians[SIZES][LEFTS], tx_ratio[SIZES], size_ratio[LEFTS];
    struct series undo[SIZES], undo_medians[SIZES], plain[SIZES], undo_ratio;
    uint64_t kills;
};

/* What key i has as its committed number; the writers that are killed put other ones. */
static uint64_t number_of(uint64_t i)
{
    return mix64(~i);
}

/* The i-th key that a transaction changes: no two are the same, and no two are neighbours. */
static uint64_t changed(uint64_t seed, uint64_t i, uint64_t n)
{
    const uint64_t prime = UINT64_C(4294967291);

    return (seed % n + i * prime) % n;
}

/* ---- The writer that is killed ------------------------------------------------------------------------ */

struct victim {
    const struct recovery *recovery;
    enum size size;
    enum left left;
    uint64_t seed;
    bool guest; /* it writes without owning the table */
};

static int change(const struct victim *v, struct heir_table *table, unsigned char *value)
{
    const struct options *o = v->recovery->options;
    uint64_t n = o->objects[v->size];

    if (check(heir_begin(table), "heir_begin") < 0)
        return -1;
    for (uint64_t i = 0; i < o->changes; i++) {
        uint64_t key = mix64(changed(v->seed, i, n));
        if (check(heir_put(table, &key, sizeof key, value, o->value_size), "heir_put") < 0)
            return -1;
    }
    return 0;
}

static int victim(int wire, void *arg)
{
    const struct victim *v = arg;
    unsigned char *value = must(calloc(1, v->recovery->options->value_size));
    struct heir_table *table;
    struct heir *client;
    char byte = 0;

    if (world_open(v->recovery->world, "writer", &client) < 0 ||
        check(v->guest ? heir_attach(client, size_names[v->size], &table)
                       : heir_claim(client, size_names[v->size], NULL, TIMEOUT_MS, &table),
              "heir_claim") < 0 ||
        (v->left == OPEN && change(v, table, value) < 0) || child_tell(wire, &byte, 1) < 0)
        return -1;
    child_next(wire, &byte, 1);
    return fail("a writer was not killed");
}

/* ---- The next owner ----------------------------------------------------------------------------------- */

/* While its main thread waits in the line, another thread of the next owner kills. */
struct killer {
    pid_t pid;
    uint64_t at;
};

static void *kill_later(void *arg)
{
    struct killer *k = arg;

    usleep(REST_US);
    k->at = now_ns();
    kill(k->pid, SIGKILL);
    return NULL;
}

static int take_over(struct recovery *rec, enum size size, pid_t pid, double *us)
{
    struct table *t = &rec->tables[size];
    struct killer k = {.pid = pid};
    pthread_t thread;
    int64_t owners = 0;
    uint64_t written;
    int r, added;

    if (pthread_create(&thread, NULL, kill_later, &k) != 0)
        return fail("pthread_create failed");
    r = heir_claim(rec->client, size_names[size], NULL, TIMEOUT_MS, &t->handle);
    added = r < 0 ? r : heir_add(t->handle, COUNTER, sizeof COUNTER, 1, &owners);
    written = now_ns();
    pthread_join(thread, NULL);
    if (check(r, "heir_claim") < 0 || check(added, "heir_add") < 0)
        return -1;
    *us = (double)(written - k.at) / 1e3;
    return owners == ++t->owners ? 0
                                 : fail("NOT CONSERVED: owner %lld finds itself to be the %lldth", (long long)t->owners,
                                        (long long)owners);
}

/* The event of becoming the owner says how many changes were undone. */
static int hear(struct recovery *rec, uint64_t undone)
{
    struct heir_event event;

    if (check(heir_wait(rec->client, TIMEOUT_MS, &event), "heir_wait") < 0)
        return -1;
    return event.type == HEIR_EVENT_TRANSFER && event.undone == undone
               ? 0
               : fail("NOT CONSERVED: %llu changes were open, %llu undone", (unsigned long long)undone,
                      (unsigned long long)event.undone);
}

/* The changes are undone. */
static int inspect(struct recovery *rec, enum size size)
{
    const struct options *o = rec->options;
    uint64_t number, n = rec->tables[size].n;
    unsigned char *value = must(malloc(o->value_size));
    int r = 0;

    for (uint64_t i = 0; i < o->changes && r == 0; i++) {
        uint64_t which = changed(rec->seed, i, n), key = mix64(which);
        size_t length = o->value_size;
        r = check(heir_get(rec->tables[size].handle, &key, sizeof key, value, &length), "heir_get");
        memcpy(&number, value, sizeof number);
        if (r == 0 && (length != o->value_size || number != number_of(which)))
            r = fail("NOT CONSERVED: a change of a dead writer is there");
    }
    free(value);
    return r;
}

static int sample(struct recovery *rec, enum size size, enum left left)
{
    struct victim v = {rec, size, left, rec->seed = mix64(rec->seed), false};
    struct child child;
    double us = 0;
    char byte;

    if (child_start(&child, victim, &v) < 0 || child_hear(child.wire, &byte, 1) < 0 ||
        take_over(rec, size, child.pid, &us) < 0 || child_end(&child, true) < 0 ||
        hear(rec, left == OPEN ? rec->options->changes : 0) < 0 || inspect(rec, size) < 0 ||
        check(heir_release(rec->tables[size].handle), "heir_release") < 0)
        return -1;
    series_add(&rec->us[size][left], us);
    rec->kills++;
    return 0;
}

static int timed_add(struct table *t, double *us)
{
    int64_t owners = 0;
    uint64_t began = now_ns();
    int r = heir_add(t->handle, COUNTER, sizeof COUNTER, 1, &owners);

    *us = (double)(now_ns() - began) / 1e3;
    if (check(r, "heir_add") < 0)
        return -1;
    return owners == ++t->owners ? 0 : fail("NOT CONSERVED: the counter is %lld", (long long)owners);
}

/* Somebody else is killed in a transaction; how long does the next write take? And the one after it? */
static int sample_undo(struct recovery *rec, enum size size)
{
    struct victim v = {rec, size, OPEN, rec->seed = mix64(rec->seed), true};
    struct table *t = &rec->tables[size];
    struct child child;
    double undo = 0, plain = 0;
    char byte;

    if (check(heir_claim(rec->client, size_names[size], NULL, TIMEOUT_MS, &t->handle), "heir_claim") < 0 ||
        hear(rec, 0) < 0 || child_start(&child, victim, &v) < 0 || child_hear(child.wire, &byte, 1) < 0)
        return -1;
    kill(child.pid, SIGKILL);
    if (child_end(&child, true) < 0)
        return -1;
    usleep(REST_US);
    if (timed_add(t, &undo) < 0 || timed_add(t, &plain) < 0 || inspect(rec, size) < 0 ||
        check(heir_release(t->handle), "heir_release") < 0)
        return -1;
    series_add(&rec->undo[size], undo);
    series_add(&rec->plain[size], plain);
    rec->kills++;
    return 0;
}

/* ---- The tables --------------------------------------------------------------------------------------- */

static int fill(struct recovery *rec, enum size size)
{
    const struct options *o = rec->options;
    struct table *t = &rec->tables[size];
    struct heir_table_options options = {.type = o->ordered ? HEIR_ORDERED_SET : HEIR_SET, .access = HEIR_PUBLIC};
    unsigned char *value = must(calloc(1, o->value_size));
    int r;

    progress("filling the %s table", size_names[size]);
    t->n = o->objects[size];
    options.max_bytes = t->n * (o->value_size + 256) * 2 + (64u << 20);
    if (options.max_bytes > HEIR_TABLE_MAX)
        options.max_bytes = HEIR_TABLE_MAX;
    r = heir_create(rec->client, size_names[size], &options, &t->handle);
    for (uint64_t i = 0; i < t->n && r == 0; i++) {
        uint64_t key = mix64(i), number = number_of(i);
        memcpy(value, &number, sizeof number);
        r = i % FILL_TX ? 0 : heir_begin(t->handle);
        r = r < 0 ? r : heir_put(t->handle, &key, sizeof key, value, o->value_size);
        if (r == 0 && (i % FILL_TX == FILL_TX - 1 || i == t->n - 1))
            r = heir_commit(t->handle);
    }
    free(value);
    if (r == -ENOTSUP)
        return r;
    return check(r, "filling a table") < 0 ? -1 : check(heir_release(t->handle), "heir_release");
}

struct seen {
    uint64_t objects, sum;
};

static int see(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct seen *seen = arg;
    uint64_t number;

    (void)key;
    if (key_len != sizeof(uint64_t)) /* the counter */
        return 0;
    if (value_len < sizeof number)
        return -EUCLEAN;
    memcpy(&number, value, sizeof number);
    seen->objects++;
    seen->sum += number;
    return 0;
}

static int check_table(struct recovery *rec, enum size size)
{
    struct table *t = &rec->tables[size];
    struct seen seen = {0};
    uint64_t sum = 0;

    progress("checking the %s table", size_names[size]);
    for (uint64_t i = 0; i < t->n; i++)
        sum += number_of(i);
    if (check(heir_foreach(t->handle, see, &seen), "heir_foreach") < 0)
        return -1;
    if (seen.objects == t->n && seen.sum == sum)
        return check(heir_claim(rec->client, size_names[size], NULL, TIMEOUT_MS, &t->handle), "heir_claim") < 0
                   ? -1
                   : check(heir_destroy(t->handle), "heir_destroy");
    return fail("NOT CONSERVED: %llu objects instead of %llu, sum %llu instead of %llu",
                (unsigned long long)seen.objects, (unsigned long long)t->n, (unsigned long long)seen.sum,
                (unsigned long long)sum);
}

/* ---- The run ------------------------------------------------------------------------------------------ */

static double median_from(const struct series *s, size_t first)
{
    struct series now = {0};
    double median;

    series_append(&now, s, first);
    median = series_median(&now);
    series_free(&now);
    return median;
}

static int run_round(struct recovery *rec, unsigned round)
{
    size_t first = rec->us[SMALL][IDLE].n;
    double median[SIZES][LEFTS], undo[SIZES];

    for (uint64_t i = 0; i < rec->options->samples; i++) {
        progress("round %u: sample %llu", round + 1, (unsigned long long)i + 1);
        for (unsigned turn = 0; turn < SIZES * LEFTS; turn++) {
            unsigned which = (unsigned)((turn + i) % (SIZES * LEFTS));
            if (sample(rec, (enum size)(which / LEFTS), (enum left)(which % LEFTS)) < 0)
                return -1;
        }
        for (unsigned turn = 0; turn < SIZES; turn++)
            if (sample_undo(rec, (enum size)((turn + i) % SIZES)) < 0)
                return -1;
    }
    for (enum size size = SMALL; size < SIZES; size++) {
        for (enum left left = IDLE; left < LEFTS; left++) {
            median[size][left] = median_from(&rec->us[size][left], first);
            series_add(&rec->medians[size][left], median[size][left]);
        }
        undo[size] = median_from(&rec->undo[size], first);
        series_add(&rec->undo_medians[size], undo[size]);
        series_add(&rec->tx_ratio[size], median[size][OPEN] / median[size][IDLE]);
    }
    for (enum left left = IDLE; left < LEFTS; left++)
        series_add(&rec->size_ratio[left], median[LARGE][left] / median[SMALL][left]);
    series_add(&rec->undo_ratio, undo[LARGE] / undo[SMALL]);
    return 0;
}

static double worst_error(const struct recovery *rec, const char **whose)
{
    const struct {
        const struct series *s;
        const char *name;
    } ratios[] = {
        {&rec->tx_ratio[SMALL], "small_tx_vs_idle"},     {&rec->tx_ratio[LARGE], "large_tx_vs_idle"},
        {&rec->size_ratio[IDLE], "idle_large_vs_small"}, {&rec->size_ratio[OPEN], "tx_large_vs_small"},
        {&rec->undo_ratio, "undo_large_vs_small"},
    };
    double worst = 0;

    for (unsigned i = 0; i < sizeof ratios / sizeof ratios[0]; i++) {
        if (series_error(ratios[i].s) <= worst)
            continue;
        worst = series_error(ratios[i].s);
        *whose = ratios[i].name;
    }
    return worst;
}

static void report_times(const struct recovery *rec, enum size size, enum left left)
{
    const struct series *s = &rec->us[size][left];
    const char *a = size_names[size], *b = left_names[left];

    if (left == OPEN)
        say("%s: SIGKILL until the next owner has written, table of %llu objects, %llu changes to undo", a,
            (unsigned long long)rec->tables[size].n, (unsigned long long)rec->options->changes);
    else
        say("%s: SIGKILL until the next owner has written, table of %llu objects, nothing to undo", a,
            (unsigned long long)rec->tables[size].n);
    put_result(series_median(s), "%s_%s_p50_us", a, b);
    put_result(series_quantile(s, 0.99), "%s_%s_p99_us", a, b);
    put_result(series_quantile(s, 1), "%s_%s_max_us", a, b);
    raw_series(s, "us", "%s_%s", a, b);
    put_result(100 * series_spread(&rec->medians[size][left]), "%s_%s_spread_percent", a, b);
}

static void report_undo(const struct recovery *rec, enum size size)
{
    const struct series *s = &rec->undo[size];
    const char *name = size_names[size];

    say("%s: one heir_add of a process that had the table all the time, the first after another one was killed with "
        "%llu changes open: it undoes them; and the one after it",
        name, (unsigned long long)rec->options->changes);
    put_result(series_median(s), "%s_undo_us", name);
    put_result(series_quantile(s, 0.99), "%s_undo_p99_us", name);
    put_result(series_quantile(s, 1), "%s_undo_max_us", name);
    put_result(100 * series_error(&rec->undo_medians[size]), "%s_undo_error_percent", name);
    put_result(series_median(&rec->plain[size]), "%s_undo_floor_us", name);
    raw_series(s, "us", "%s_undo", name);
}

static void report(const struct recovery *rec)
{
    for (enum size size = SMALL; size < SIZES; size++)
        for (enum left left = IDLE; left < LEFTS; left++)
            report_times(rec, size, left);
    for (enum size size = SMALL; size < SIZES; size++)
        report_undo(rec, size);
    say("ratios: medians of those of each round");
    for (enum size size = SMALL; size < SIZES; size++)
        put_result(series_median(&rec->tx_ratio[size]), "%s_tx_vs_idle_ratio", size_names[size]);
    for (enum left left = IDLE; left < LEFTS; left++)
        put_result(series_median(&rec->size_ratio[left]), "%s_large_vs_small_ratio", left_names[left]);
    put_result(series_median(&rec->undo_ratio), "undo_large_vs_small_ratio");
}

static void introduce(const struct options *o)
{
    say("recovery: time until the next owner has a table whose writer was killed in a transaction");
    say_machine();
    say("parameters: %s of %llu and %llu objects of 8 + %llu bytes; transactions of %llu puts over random keys; %llu "
        "samples a round, at least %llu rounds",
        o->ordered ? "ordered sets" : "sets", (unsigned long long)o->objects[SMALL],
        (unsigned long long)o->objects[LARGE], (unsigned long long)o->value_size, (unsigned long long)o->changes,
        (unsigned long long)o->samples, (unsigned long long)o->bench.rounds);
    say("before the first kill the tables stand still for %llu s, in which the keeper makes huge pages of them; a "
        "table "
        "that has just been filled costs its heir more",
        (unsigned long long)o->settle);
    say("says nothing about: a machine that is busy, deaths of many, a keeper that must be started first");
}

static int measure(struct recovery *rec)
{
    const struct options *o = rec->options;
    const char *whose = "";
    double error = 1;
    unsigned round;

    for (round = 0; bench_goes_on(&o->bench, round, error); round++) {
        if (run_round(rec, round) < 0)
            return -1;
        error = worst_error(rec, &whose);
    }
    report(rec);
    bench_steady(&o->bench, "", round, error, whose);
    for (enum size size = SMALL; size < SIZES; size++)
        if (check_table(rec, size) < 0)
            return -1;
    return 0;
}

static int finish(struct recovery *rec, struct world *world)
{
    if (check(heir_close(rec->client), "heir_close") < 0)
        return -1;
    return world_keeper_stop(world);
}

static int run_all(struct world *world, void *arg)
{
    static struct recovery rec; /* reachable to the end: no leak checker need be told */
    const struct options *o = arg;
    int r = 0;

    rec.options = o;
    rec.world = world;
    introduce(o);
    if (o->objects[LARGE] * (o->value_size * 2 + 200) > memory_available() / 5 * 4)
        return fail("not enough memory for the large table: use fewer --objects");
    if (world_keeper_start(world) < 0 || world_open(world, "recovery", &rec.client) < 0)
        return -1;
    for (enum size size = SMALL; size < SIZES && r == 0; size++)
        r = fill(&rec, size);
    if (r == -ENOTSUP) {
        say("nothing measured: this version of libheir has no ordered sets");
        return finish(&rec, world);
    }
    if (r < 0)
        return -1;
    progress("letting the keeper join pages");
    sleep((unsigned)o->settle);
    if (measure(&rec) < 0 || finish(&rec, world) < 0)
        return -1;
    say("conserved: of every transaction of a killed writer all changes were undone, and counted; every owner found "
        "the sum of all before it");
    put_result((double)rec.kills, "kills_checked");
    put_result(world_objects(world), "leftover_shm_objects");
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {
        .objects[SMALL] = SMALL_N,
        .bench = {
            .does = "Measure how much later a table has its next owner when its writer is killed in a transaction.",
            .wrong = "Ends with 1 when a change of a killed writer is seen, or a table has lost or invented an object.",
            .max_error = 0.10,
            .rounds = 5,
            .seconds = 90,
            .patience = 2}};
    const struct bench_option options[] = {
        {"objects", "N", "objects of the large table; the small one has 10000", &o.objects[LARGE], SMALL_N, 200000000,
         10000000, 100000},
        {"value-size", "N", "bytes of a value", &o.value_size, VALUE_MIN, 1 << 20, 64, 64},
        {"changes", "N", "of the open transaction", &o.changes, 1, SMALL_N, 1000, 1000},
        {.name = "ordered", .help = "ordered sets instead of sets", .value = &o.ordered},
        {"samples", "N", "kills of each of the four kinds in a round", &o.samples, 1, 100000, 25, 5},
        {"settle", "N", "seconds between filling and killing", &o.settle, 0, 3600, 10, 1},
        {0},
    };
    int status;

    o.bench.options = options;
    status = bench_options(&o.bench, argc, argv);
    return status >= 0 ? status : world_run(run_all, &o);
}
