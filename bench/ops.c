/* SPDX-License-Identifier: MIT */
/*
 * How much time and memory does an object operation cost, against stores that are as fast but not crash safe, or crash
 * safe but not as fast?
 *
 * All stores are open at the same time and take turns: in each round, each phase (insert, get, ...) is run on one store
 * after the other, beginning with another one each round. A ratio is taken within a round, so that a machine that slows
 * down for a while slows both sides; what is printed is the median over the rounds.
 */
#include "common.h"
#include "ops_phases.h"
#include "world.h"

#include <errno.h>
#include <getopt.h>
#include <heir.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ERROR 0.05 /* of the median ratios that are printed */

static const struct peer *const all_peers[] = {
    &peer_heir,
#ifdef BENCH_BOOST
    &peer_boost,
#endif
#ifdef BENCH_LMDB
    &peer_lmdb,
#endif
#ifdef BENCH_TDB
    &peer_tdb,
#endif
    &peer_lfht,  &peer_floor,
};
enum { PEERS = sizeof all_peers / sizeof all_peers[0] };

/* ---- The run ------------------------------------------------------------------------------------------ */

struct options {
    uint64_t objects, value_size, rounds;
    const char *peers, *only;
    bool quick;
};

struct run {
    struct options options;
    struct work work;
    struct store stores[PEERS];
    struct series ns[PEERS][PHASES], ratio[PEERS][PHASES], batch_ratio[PEERS];
    struct series bytes[PEERS], bytes_after[PEERS], empty, taken;
    uint64_t checked;
};

/* hot_get reads what hot_put has put. */
static bool wanted(const char *only, unsigned phase)
{
    return phase == INSERT || list_has(only, phases[phase].name) ||
           (phase == HOT_PUT && list_has(only, phases[HOT_GET].name));
}

static int run_phase(struct run *run, unsigned phase, unsigned which, double *ns)
{
    struct store *s = &run->stores[which];
    uint64_t ops = phase == DEL ? run->work.n / 2 : run->work.n, began;
    int r;

    progress("round %zu: %s %s", run->ns[0][INSERT].n + 1, s->peer->name, phases[phase].name);
    began = now_ns();
    r = phases[phase].run(s, &run->work);
    *ns = (double)(now_ns() - began) / (double)ops;
    if (s->peer->settle)
        s->peer->settle(s->state);
    if (r < 0)
        return fail("%s: %s: %s", s->peer->name, phases[phase].name, heir_strerror(r));
    return 0;
}

static int measure_bytes(struct run *run, unsigned which, struct series *bytes)
{
    struct store *s = &run->stores[which];
    uint64_t n;

    if (!s->peer->bytes || s->peer->bytes(s->state, &n) < 0)
        return s->peer->bytes ? fail("%s: cannot tell its memory", s->peer->name) : 0;
    series_add(bytes, (double)n / (double)run->work.n);
    if (s->peer->taken && bytes == run->bytes && s->peer->taken(s->state, &n) == 0)
        series_add(&run->taken, (double)n / (double)run->work.n);
    return 0;
}

static int open_stores(struct run *run, const struct world *world)
{
    struct peer_setup setup = {world, run->work.n, run->work.value_size};

    for (unsigned i = 0; i < PEERS; i++) {
        struct store *s = &run->stores[i];
        uint64_t n;
        int r;

        if (s->out)
            continue;
        *s = (struct store){.peer = s->peer, .version = 1};
        progress("opening %s", s->peer->name);
        r = s->peer->open(&setup, &s->state);
        if (r == -ENOTSUP && s->peer != &peer_heir) {
            say("%s is left out: not with these sizes, or not on this system", s->peer->name);
            s->peer->close(s->state);
            s->out = true;
            continue;
        }
        if (r < 0)
            return fail("%s: open: %s", s->peer->name, heir_strerror(r));
        if (s->peer->taken && s->peer->taken(s->state, &n) == 0)
            series_add(&run->empty, (double)n);
    }
    return 0;
}

static void close_stores(struct run *run)
{
    for (unsigned i = 0; i < PEERS; i++) {
        struct store *s = &run->stores[i];
        progress("closing %s", s->peer->name);
        if (!s->out)
            s->peer->close(s->state);
        s->state = NULL;
    }
}

static int check(struct run *run, const struct store *s, bool deleted)
{
    progress("checking %s", s->peer->name);
    run->checked++;
    return phase_check(s, &run->work, deleted);
}

static int run_round(struct run *run, const struct world *world, unsigned round)
{
    double ns[PEERS][PHASES] = {{0}};

    if (open_stores(run, world) < 0)
        return -1;
    for (unsigned phase = 0; phase < PHASES; phase++) {
        if (!wanted(run->options.only, phase))
            continue;
        shuffle(run->work.keys, run->work.n, round * PHASES + phase);
        for (unsigned turn = 0; turn < PEERS; turn++) {
            unsigned i = (turn + round) % PEERS;
            if (run->stores[i].out || !phase_possible(run->stores[i].peer, phase))
                continue;
            if (run_phase(run, phase, i, &ns[i][phase]) < 0)
                return -1;
            if (phase == INSERT && measure_bytes(run, i, &run->bytes[i]) < 0)
                return -1;
            if (phase == HOT_ADD && measure_bytes(run, i, &run->bytes_after[i]) < 0)
                return -1;
        }
    }
    for (unsigned i = 0; i < PEERS; i++)
        if (!run->stores[i].out && check(run, &run->stores[i], ns[i][DEL] > 0) < 0)
            return -1;
    close_stores(run);

    for (unsigned i = 0; i < PEERS; i++) {
        for (unsigned phase = 0; phase < PHASES; phase++) {
            if (ns[i][phase] > 0)
                series_add(&run->ns[i][phase], ns[i][phase]);
            if (i > 0 && ns[i][phase] > 0 && ns[0][phase] > 0)
                series_add(&run->ratio[i][phase], ns[0][phase] / ns[i][phase]);
        }
        if (ns[i][BATCH_PUT] > 0 && ns[i][PUT] > 0)
            series_add(&run->batch_ratio[i], ns[i][BATCH_PUT] / ns[i][PUT]);
    }
    return 0;
}

/* The largest error of the ratios (of libheir's times, when it runs alone), and whose it is. The floor is never steady.
 */
static double worst_error(const struct run *run, char *name, size_t size)
{
    double worst = 0;
    bool compared = false;

    for (unsigned i = 1; i < PEERS; i++)
        compared |= run->stores[i].peer != &peer_floor && !run->stores[i].out;
    for (unsigned i = 0; i < PEERS; i++)
        for (unsigned phase = 0; phase < PHASES; phase++) {
            const struct series *s = i ? &run->ratio[i][phase] : &run->ns[i][phase];
            if (run->stores[i].peer == &peer_floor || !s->n || series_error(s) <= worst || (i == 0 && compared))
                continue;
            worst = series_error(s);
            snprintf(name, size, "%s%s%s", phases[phase].name, i ? " against " : "",
                     i ? run->stores[i].peer->name : "");
        }
    return worst;
}

static void report(const struct run *run)
{
    for (unsigned phase = 0; phase < PHASES; phase++) {
        bool said = false;
        for (unsigned i = 0; i < PEERS; i++) {
            const struct series *s = &run->ns[i][phase];
            const char *peer = i ? run->stores[i].peer->name : "", *line = i ? "_" : "";
            if (!s->n)
                continue;
            if (!said)
                say("%s: %s", phases[phase].name, phases[phase].what);
            said = true;
            put_result(series_median(s), "%s%s%s_ns", peer, line, phases[phase].name);
            put_result(100 * series_spread(s), "%s%s%s_spread_percent", peer, line, phases[phase].name);
        }
        for (unsigned i = 1; i < PEERS; i++)
            if (run->ratio[i][phase].n)
                put_result(series_median(&run->ratio[i][phase]), "%s_vs_%s_ratio", phases[phase].name,
                           run->stores[i].peer->name);
    }
    for (unsigned i = 0; i < PEERS; i++)
        if (run->batch_ratio[i].n)
            put_result(series_median(&run->batch_ratio[i]), "%s%sput_tx10_vs_put_ratio",
                       i ? run->stores[i].peer->name : "", i ? "_" : "");
    say("memory: in use for an object of 8 + %zu bytes, its part of the index included", run->work.value_size);
    for (unsigned i = 0; i < PEERS; i++) {
        const char *peer = i ? run->stores[i].peer->name : "", *line = i ? "_" : "";
        if (run->bytes[i].n)
            put_result(series_median(&run->bytes[i]), "%s%sobject_bytes", peer, line);
        if (run->bytes_after[i].n)
            put_result(series_median(&run->bytes_after[i]), "%s%sobject_after_overwrites_bytes", peer, line);
    }
    if (run->taken.n)
        put_result(series_median(&run->taken), "object_taken_bytes");
    if (run->empty.n)
        put_result(series_median(&run->empty), "empty_table_bytes");
}

static int run_all(struct world *world, void *arg)
{
    static struct run all; /* reachable to the end: no leak checker need be told */
    struct run *run = &all;
    const struct options *o = &run->options;
    struct work *w = &run->work;
    unsigned used = 0, round;
    double error = 1;
    char whose[64] = "";

    run->options = *(const struct options *)arg;
    w->n = o->objects / BATCH * BATCH;
    w->value_size = o->value_size;
    w->keys = must(malloc(w->n * sizeof *w->keys));
    w->values = must(calloc(BATCH, w->value_size));
    for (uint64_t i = 0; i < w->n; i++)
        w->keys[i] = mix64(i);
    w->hot_key = mix64(w->n);
    w->add_key = mix64(w->n + 1);
    for (unsigned i = 0; i < PEERS; i++) {
        run->stores[i].peer = all_peers[i];
        run->stores[i].out = !list_has(o->peers, all_peers[i]->name);
        used += !run->stores[i].out;
    }
    say("ops: time of object operations on one table, one thread, nobody else reading or writing");
    say_machine();
    say("parameters: %llu random 8-byte keys in random order, %llu-byte values, at least %llu rounds, on /dev/shm",
        (unsigned long long)w->n, (unsigned long long)w->value_size, (unsigned long long)o->rounds);
    say("says nothing about: readers beside the writer, several tables, latencies of single operations, disks");
    for (unsigned i = 0; i < PEERS; i++)
        if (!run->stores[i].out)
            say("%s: %s", all_peers[i]->name, all_peers[i]->what);
    if (w->n * (w->value_size * 3 / 2 + 250) * used > memory_available() / 5 * 4)
        return fail("not enough memory for all at once: use fewer --objects or --peers");
    if (!run->stores[0].out && world_keeper_start(world) < 0)
        return -1;
    for (round = 0; round < o->rounds || (!o->quick && error > MAX_ERROR && round < 2 * o->rounds); round++) {
        if (run_round(run, world, round) < 0)
            return -1;
        error = worst_error(run, whose, sizeof whose);
    }
    report(run);
    put_result(round, "rounds");
    put_result(100 * error, "worst_error_percent");
    if (error > MAX_ERROR)
        say("NOT STEADY: after %u rounds the median of %s may still be off by %.0f %%%s", round, whose, 100 * error,
            o->quick ? " (--quick)" : ": the machine does other work, or give more --rounds");
    if (world_keeper_stop(world) < 0)
        return -1;
    say("conserved: after each round every store had exactly its objects, with the sum of their numbers");
    put_result((double)run->checked, "checks_passed");
    put_result(world_objects(world), "leftover_shm_objects");
    return 0;
}

static int usage(FILE *to, int status)
{
    fputs("Usage: ops [OPTION]...\n"
          "Measure object operations of libheir against the stores found when it was built, in one run.\n\n"
          "  --objects N       objects in a store (1000000)\n"
          "  --value-size N    bytes of a value (64; Boost.Interprocess: 16, 64 or 1024 only)\n"
          "  --rounds N        at least so many rounds (5); twice as many when medians are unsure\n"
          "  --peers A,B       only these stores:",
          to);
    for (unsigned i = 0; i < PEERS; i++)
        fprintf(to, " %s", all_peers[i]->name);
    fputs("\n  --only A,B        only these phases, after insert:", to);
    for (unsigned i = 1; i < PHASES; i++)
        fprintf(to, " %s", phases[i].name);
    fputs("\n  --quick           20000 objects, 2 rounds: a try-out of a few seconds\n"
          "  --help            this text\n\n"
          "Prints lines with # for people and key=value lines for scripts. Ends with 1 when a store has lost or\n"
          "invented an object. heird is looked for in $HEIR_BINDIR, else in ../tools beside this program's folder.\n",
          to);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"objects", required_argument, NULL, 'o'}, {"value-size", required_argument, NULL, 'v'},
        {"rounds", required_argument, NULL, 'r'},  {"peers", required_argument, NULL, 'p'},
        {"only", required_argument, NULL, 'y'},    {"quick", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},          {0},
    };
    struct options o = {.value_size = 64};
    size_t peers = 0, only = 0;
    bool ok = true;
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'o':
            ok = ok && parse_u64(optarg, BATCH, 200000000, &o.objects);
            break;
        case 'v':
            ok = ok && parse_u64(optarg, sizeof(uint64_t), 1 << 20, &o.value_size);
            break;
        case 'r':
            ok = ok && parse_u64(optarg, 1, 1000, &o.rounds);
            break;
        case 'p':
            o.peers = optarg;
            break;
        case 'y':
            o.only = optarg;
            break;
        case 'q':
            o.quick = true;
            break;
        case 'h':
            return usage(stdout, 0);
        default:
            ok = false;
        }
    }
    for (unsigned i = 0; i < PEERS; i++)
        peers += list_has(o.peers, all_peers[i]->name);
    for (unsigned i = 0; i < PHASES; i++)
        only += list_has(o.only, phases[i].name);
    if ((o.peers && peers != list_size(o.peers)) || (o.only && only != list_size(o.only)))
        ok = fail("unknown or doubled name in --peers or --only") == 0;
    if (!ok || optind < argc)
        return usage(stderr, 2);
    if (!o.objects)
        o.objects = o.quick ? 20000 : 1000000;
    if (!o.rounds)
        o.rounds = o.quick ? 2 : 5;
    return world_run(run_all, &o);
}
