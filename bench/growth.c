/* SPDX-License-Identifier: MIT */
/*
 * How long may a single put take while a table grows from nothing to ten million objects: is there one that pays for
 * many?
 *
 * The same loop, with the same clock, is run over two floors, in slices that take turns with the table's: memory that
 * is there already, so that only the machine's own stalls show, and memory that is new, which the kernel gives page by
 * page. After each of the table's slices nothing but the clock is looked at, for as long: a third floor.
 *
 * A put during which the kernel ran something else on the core says nothing about the table. That is another thread, or
 * the tick of the machine's timer: there are 250 or 1,000 of them a second, which is one in 10,000 puts of 400 or 100
 * ns, so that p99.99 is the time of a tick or not, as the puts are slow or fast. Such puts are counted apart, and are
 * in the last figures only.
 */
#include "common.h"
#include "ticks.h"
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <heir.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define SLICE    100000 /* puts of one side before the next one's turn */
#define KEY_SIZE sizeof(uint64_t)
#define SLOW_NS  3000 /* shorter ones were not interrupted */

struct options {
    struct bench bench;
    uint64_t objects, value_size;
    bool ordered;
};

/* ---- Latencies ---------------------------------------------------------------------------------------- */

/* Buckets of equal width within a power of two: 1/64 of it, so that a quantile is right to 1.6 %. */
enum { PART_BITS = 6, PARTS = 1 << PART_BITS, BUCKETS = (64 - PART_BITS + 1) * PARTS };

struct histogram {
    uint64_t count[BUCKETS], n, max;
};

static void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned shift = ns < PARTS ? 0 : 63 - (unsigned)__builtin_clzll(ns) - PART_BITS;

    h->count[shift * PARTS + (ns >> shift)]++;
    h->n++;
    if (ns > h->max)
        h->max = ns;
}

/* The middle of the bucket. */
static double histogram_value(unsigned bucket)
{
    unsigned shift = bucket < 2 * PARTS ? 0 : bucket / PARTS - 1;

    return (double)((uint64_t)(bucket - shift * PARTS) << shift) + (double)((UINT64_C(1) << shift) - 1) / 2;
}

static double histogram_quantile(const struct histogram *h, double q)
{
    uint64_t rank = (uint64_t)(q * (double)(h->n - 1)), seen = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += h->count[i];
        if (seen > rank)
            return histogram_value(i);
    }
    return (double)h->max;
}

/* What is exceeded so many times. */
static double histogram_exceeded(const struct histogram *h, uint64_t times)
{
    uint64_t seen = 0;

    for (unsigned i = BUCKETS; i-- > 0;) {
        seen += h->count[i];
        if (seen > times)
            return histogram_value(i);
    }
    return 0;
}

/* ---- What is put -------------------------------------------------------------------------------------- */

enum side_id { TABLE, READY, FRESH, SIDES };
enum quantile_id { P50, P99, P999, P9999, QUANTILES };

static const struct {
    const char *name;
    double q;
} quantiles[QUANTILES] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}};

static const struct {
    const char *prefix, *what;
} sides[SIDES] = {
    [TABLE] = {"put", "libheir: heir_put of a new object into a growing table"},
    [READY] = {"floor_ready", "floor: memcpy of key and value into a random slot of shared memory that is there"},
    [FRESH] = {"floor_fresh", "floor: memcpy of key and value to the end of shared memory that is not there yet"},
};

struct growth {
    const struct options *options;
    const struct world *world;
    struct heir *client;
    struct heir_table *table;
    unsigned char *slots[SIDES], *value;
    uint64_t n;
    size_t slot_size;
    struct histogram histogram[SIDES], all[SIDES]; /* without and with the interrupted ones */
    struct histogram raw[SIDES];                   /* as all, of all rounds */
    struct histogram stalls, all_stalls;           /* of the clock alone, the same two */
    struct histogram ticked;                       /* puts into the table that met a tick, of all rounds */
    struct series stall_p9999, all_stall_p9999;
    struct series figures[SIDES][QUANTILES], ratios[SIDES], all_p9999[SIDES];
    double max[SIDES], all_max[SIDES];
    uint64_t switched[SIDES], ticks[SIDES];
    uint64_t checked;
    struct ticks *timer;
    long switches;
};

static int put_table(struct growth *g, uint64_t i)
{
    uint64_t key = mix64(i);

    memcpy(g->value, &i, sizeof i);
    return heir_put(g->table, &key, sizeof key, g->value, g->options->value_size);
}

static void put_slot(struct growth *g, unsigned char *slot, uint64_t i)
{
    uint64_t key = mix64(i);

    memcpy(g->value, &i, sizeof i);
    memcpy(slot, &key, sizeof key);
    memcpy(slot + KEY_SIZE, g->value, g->options->value_size);
}

static int put_one(struct growth *g, enum side_id side, uint64_t i)
{
    if (side == TABLE)
        return put_table(g, i);
    put_slot(g, g->slots[side] + (side == READY ? mix64(i) % g->n : i) * g->slot_size, i);
    return 0;
}

/* How often the kernel has given the core of this thread to another one. */
static long switches(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) < 0 ? 0 : usage.ru_nivcsw;
}

enum interruption { NONE, SWITCH, TICK };

/* What the kernel did on this core between the two times, asked of what was slow. */
static enum interruption interruption(struct growth *g, uint64_t from, uint64_t to)
{
    long before = g->switches;
    bool tick = ticks_between(g->timer, from, to);

    g->switches = switches();
    return g->switches != before ? SWITCH : tick ? TICK : NONE;
}

/* One look at the clock a put: its end is the next one's beginning. */
static int put_slice(struct growth *g, enum side_id side, uint64_t begin, uint64_t end)
{
    uint64_t before, now;
    int r = 0;

    g->switches = switches();
    before = now_ns();
    for (uint64_t i = begin; i < end && r == 0; i++, before = now) {
        enum interruption by = NONE;
        r = put_one(g, side, i);
        now = now_ns();
        uint64_t took = now - before;
        if (took > SLOW_NS) {
            by = interruption(g, before, now);
            g->switched[side] += by == SWITCH;
            g->ticks[side] += by == TICK;
            now = now_ns();
        }
        histogram_add(&g->all[side], took);
        if (by == NONE)
            histogram_add(&g->histogram[side], took);
        else if (by == TICK && side == TABLE)
            histogram_add(&g->ticked, took);
    }
    return r < 0 ? fail("heir_put: %s", heir_strerror(r)) : 0;
}

/* Do nothing for so long, and note when that took longer. */
static void idle_slice(struct growth *g, uint64_t ns)
{
    uint64_t before, end, now;

    g->switches = switches();
    before = now_ns();
    for (end = before + ns; before < end; before = now) {
        now = now_ns();
        uint64_t took = now - before;
        if (took <= SLOW_NS)
            continue;
        histogram_add(&g->all_stalls, took);
        if (interruption(g, before, now) == NONE)
            histogram_add(&g->stalls, took);
        now = now_ns();
    }
}

static unsigned char *slots_new(const struct growth *g, bool ready)
{
    size_t size = g->n * g->slot_size;
    char path[96];
    void *p;
    int fd;

    snprintf(path, sizeof path, "%s/slots", g->world->shm_dir);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail("%s: %s", path, strerror(errno)), NULL;
    unlink(path);
    p = ftruncate(fd, (off_t)size) < 0
            ? MAP_FAILED
            : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | (ready ? MAP_POPULATE : 0), fd, 0);
    close(fd);
    return p == MAP_FAILED ? (fail("no memory for a floor: %s", strerror(errno)), NULL) : p;
}

/* ---- A round ------------------------------------------------------------------------------------------ */

static int round_begin(struct growth *g)
{
    struct heir_table_options options = {.type = g->options->ordered ? HEIR_ORDERED_SET : HEIR_SET};
    int r;

    options.max_bytes = g->n * (g->options->value_size + 256) * 2 + (64u << 20);
    if (options.max_bytes > HEIR_TABLE_MAX)
        options.max_bytes = HEIR_TABLE_MAX;
    r = heir_create(g->client, "growth", &options, &g->table);
    if (r < 0)
        return r == -ENOTSUP ? r : fail("heir_create: %s", heir_strerror(r));
    memset(g->histogram, 0, sizeof g->histogram);
    memset(g->all, 0, sizeof g->all);
    memset(&g->stalls, 0, sizeof g->stalls);
    memset(&g->all_stalls, 0, sizeof g->all_stalls);
    for (enum side_id side = READY; side < SIDES; side++)
        if (!(g->slots[side] = slots_new(g, side == READY)))
            return -1;
    return 0;
}

static void round_note(struct growth *g)
{
    uint64_t rarest = (uint64_t)((double)g->n * (1 - quantiles[P9999].q));
    double p9999[SIDES];

    series_add(&g->stall_p9999, histogram_exceeded(&g->stalls, rarest));
    series_add(&g->all_stall_p9999, histogram_exceeded(&g->all_stalls, rarest));
    for (enum side_id side = TABLE; side < SIDES; side++) {
        const struct histogram *h = &g->histogram[side];
        for (unsigned q = 0; q < QUANTILES; q++)
            series_add(&g->figures[side][q], histogram_quantile(h, quantiles[q].q));
        for (unsigned i = 0; i < BUCKETS; i++)
            g->raw[side].count[i] += g->all[side].count[i];
        series_add(&g->all_p9999[side], histogram_quantile(&g->all[side], quantiles[P9999].q));
        if ((double)h->max > g->max[side])
            g->max[side] = (double)h->max;
        if ((double)g->all[side].max > g->all_max[side])
            g->all_max[side] = (double)g->all[side].max;
        p9999[side] = histogram_quantile(h, quantiles[P9999].q);
        if (side != TABLE)
            series_add(&g->ratios[side], p9999[TABLE] / p9999[side]);
    }
}

static int see(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    uint64_t *seen = arg, number, i;

    if (key_len != KEY_SIZE || value_len < sizeof i)
        return -EUCLEAN;
    memcpy(&number, key, sizeof number);
    memcpy(&i, value, sizeof i);
    seen[0]++;
    seen[1] += i;
    return number == mix64(i) ? 0 : -EUCLEAN;
}

static int round_end(struct growth *g)
{
    uint64_t seen[2] = {0, 0}, sum = g->n * (g->n - 1) / 2;
    int r = heir_foreach(g->table, see, seen);

    if (r < 0)
        return fail("heir_foreach: %s", heir_strerror(r));
    if (seen[0] != g->n || seen[1] != sum)
        return fail("NOT CONSERVED: %llu objects instead of %llu, sum %llu instead of %llu",
                    (unsigned long long)seen[0], (unsigned long long)g->n, (unsigned long long)seen[1],
                    (unsigned long long)sum);
    g->checked++;
    for (enum side_id side = READY; side < SIDES; side++)
        munmap(g->slots[side], g->n * g->slot_size);
    r = heir_destroy(g->table);
    return r < 0 ? fail("heir_destroy: %s", heir_strerror(r)) : 0;
}

static int run_round(struct growth *g, unsigned round)
{
    int r = round_begin(g);

    for (uint64_t i = 0; i < g->n && r == 0; i += SLICE) {
        uint64_t end = i + SLICE < g->n ? i + SLICE : g->n;
        progress("round %u: %llu objects", round + 1, (unsigned long long)i);
        for (unsigned turn = 0; turn < SIDES && r == 0; turn++) {
            enum side_id side = (enum side_id)((turn + i / SLICE) % SIDES);
            uint64_t began = now_ns();
            r = put_slice(g, side, i, end);
            if (side == TABLE)
                idle_slice(g, now_ns() - began);
        }
    }
    if (r < 0)
        return r;
    round_note(g);
    progress("round %u: checking", round + 1);
    return round_end(g);
}

/* ---- The whole ---------------------------------------------------------------------------------------- */

static double worst_error(const struct growth *g)
{
    double own = series_error(&g->figures[TABLE][P9999]), against = series_error(&g->ratios[FRESH]);

    return own > against ? own : against;
}

static void put_raw(const struct histogram *h, const char *name)
{
    raw_begin("ns", "%s", name);
    for (unsigned i = 0; i < BUCKETS; i++)
        if (h->count[i])
            raw_value(histogram_value(i), h->count[i]);
    raw_end();
}

static void report(const struct growth *g)
{
    for (enum side_id side = TABLE; side < SIDES; side++) {
        say("%s", sides[side].what);
        for (unsigned q = 0; q < QUANTILES; q++)
            put_result(series_median(&g->figures[side][q]), "%s_%s_ns", sides[side].prefix, quantiles[q].name);
        put_result(g->max[side], "%s_max_ns", sides[side].prefix);
        put_result(100 * series_spread(&g->figures[side][P9999]), "%s_p9999_spread_percent", sides[side].prefix);
        put_result((double)g->switched[side], "%s_interrupted_by_threads", sides[side].prefix);
        if (g->timer != NULL)
            put_result((double)g->ticks[side], "%s_interrupted_by_ticks", sides[side].prefix);
        put_result(series_median(&g->all_p9999[side]), "%s_with_interrupted_p9999_ns", sides[side].prefix);
        put_result(g->all_max[side], "%s_with_interrupted_max_ns", sides[side].prefix);
        put_raw(&g->raw[side], sides[side].prefix);
    }
    say("floor: nothing, for as long as the puts take: a stall that is exceeded as often as one put in 10,000");
    put_result(series_median(&g->stall_p9999), "floor_idle_p9999_ns");
    put_result(series_median(&g->all_stall_p9999), "floor_idle_with_interrupted_p9999_ns");
    if (g->ticked.n > 0) {
        say("a put into the table that meets a tick");
        put_result(histogram_quantile(&g->ticked, 0.5), "put_with_tick_p50_ns");
    }
    for (enum side_id side = READY; side < SIDES; side++)
        put_result(series_median(&g->ratios[side]), "put_p9999_vs_%s_ratio", sides[side].prefix);
}

static void introduce(const struct options *o)
{
    say("growth: time of each single put while a table grows from nothing");
    say_machine();
    say("parameters: %llu new objects with random 8-byte keys and %llu-byte values into %s, at least %llu rounds, each "
        "with a new table",
        (unsigned long long)o->objects, (unsigned long long)o->value_size, o->ordered ? "an ordered set" : "a set",
        (unsigned long long)o->bench.rounds);
    say("quantiles: the median of those of each round; max: of all rounds; each time includes a look at the clock");
    say("interrupted: the kernel ran another thread on the core meanwhile, or the tick of its timer; these are in the "
        "figures _with_interrupted only");
    say("says nothing about: tables that are read or overwritten meanwhile");
}

static int finish(struct growth *g, struct world *world)
{
    int r = heir_close(g->client);

    ticks_close(g->timer);
    free(g->value);
    if (r < 0)
        return fail("heir_close: %s", heir_strerror(r));
    return world_keeper_stop(world);
}

static int run_all(struct world *world, void *arg)
{
    static struct growth g; /* reachable to the end: no leak checker need be told */
    const struct options *o = arg;
    double error = 1;
    unsigned round;
    int r;

    g.options = o;
    g.world = world;
    g.n = o->objects;
    g.slot_size = KEY_SIZE + ((o->value_size + 7) & ~(size_t)7);
    g.value = must(calloc(1, o->value_size));
    introduce(o);
    if (g.n * (o->value_size * 4 + 300) > memory_available() / 5 * 4)
        return fail("not enough memory for the table and the floors: use fewer --objects");
    g.timer = ticks_open();
    if (g.timer == NULL)
        say("ticks: this user is not told of them, so they count as the table's (run it as root)");
    if (world_keeper_start(world) < 0 || world_open(world, "growth", &g.client) < 0)
        return -1;
    for (round = 0; bench_goes_on(&o->bench, round, error); round++) {
        r = run_round(&g, round);
        if (r == -ENOTSUP) {
            say("nothing measured: this version of libheir has no ordered sets");
            return finish(&g, world);
        }
        if (r < 0)
            return -1;
        error = worst_error(&g);
    }
    report(&g);
    bench_steady(&o->bench, "", round, error, "p99.99");
    if (finish(&g, world) < 0)
        return -1;
    say("conserved: after each round the table had exactly its objects, with the sum of their numbers");
    put_result((double)g.checked, "checks_passed");
    put_result(world_objects(world), "leftover_shm_objects");
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {
        .bench = {.does = "Measure the latency of each put while a table grows, with floors in the same run.",
                  .wrong = "Ends with 1 when the table has lost or invented an object.",
                  .max_error = 0.10, /* of the medians of p99.99 */
                  .rounds = 5,
                  .seconds = 100,
                  .patience = 2}};
    const struct bench_option options[] = {
        {"objects", "N", "objects at the end", &o.objects, 1, 200000000, 10000000, 100000},
        {"value-size", "N", "bytes of a value", &o.value_size, sizeof(uint64_t), 1 << 20, 64, 64},
        {.name = "ordered", .help = "an ordered set instead of a set", .value = &o.ordered},
        {0},
    };
    int status;

    o.bench.options = options;
    status = bench_options(&o.bench, argc, argv);
    return status >= 0 ? status : world_run(run_all, &o);
}
