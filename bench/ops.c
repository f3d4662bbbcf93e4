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
#include "ops_rival.h"
#include "world.h"

#include <errno.h>
#include <getopt.h>
#include <heir.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ERROR 0.05 /* of the median ratios that are printed */

static const struct peer *const all_peers[] = {
    &peer_heir,  &peer_heir_ordered,
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
enum { PEERS = sizeof all_peers / sizeof all_peers[0], MAX_RIVALS = 4, SIDES = PEERS + MAX_RIVALS };

/* Our tables, which are compared with the other sides: a set with all, an ordered set with ordered ones. */
enum { SET, ORDERED, OURS };

/* ---- The run ------------------------------------------------------------------------------------------ */

struct options {
    uint64_t objects, value_size, rounds;
    const char *peers, *only, *rivals[MAX_RIVALS];
    unsigned n_rivals;
    bool quick;
};

/* A peer, or a rival: then its store is not used. */
struct side {
    char name[32];
    const char *script; /* NULL: a peer */
    bool out;
    struct series ns[PHASES], ratio[OURS][PHASES], batch_ratio;
    struct series bytes, bytes_after, taken, empty;
    bool impossible[PHASES]; /* not in this version */
};

struct run {
    struct options options;
    struct work work;
    struct store stores[PEERS];
    struct side sides[SIDES];
    unsigned n_sides;
    uint64_t checked;
};

static bool comparable(unsigned ours, unsigned i)
{
    if (ours == SET)
        return i != SET;
    return i != SET && i != ORDERED && i < PEERS && all_peers[i]->range;
}

static bool is_floor(unsigned i)
{
    return i < PEERS && all_peers[i] == &peer_floor;
}

/* hot_get reads what hot_put has put. */
static bool wanted(const char *only, unsigned phase)
{
    return phase == INSERT || list_has(only, phases[phase].name) ||
           (phase == HOT_PUT && list_has(only, phases[HOT_GET].name));
}

static int run_phase(struct run *run, unsigned phase, unsigned which, double *ns)
{
    struct store *s = &run->stores[which];
    uint64_t began, took;
    int r;

    progress("round %llu: %s %s", (unsigned long long)run->work.round + 1, s->peer->name, phases[phase].name);
    began = now_ns();
    r = phases[phase].run(s, &run->work);
    took = now_ns() - began;
    if (s->peer->settle)
        s->peer->settle(s->state);
    if (r == -ENOTSUP && phases[phase].check) {
        say("%s of %s is left out: this version of libheir has it not", phases[phase].name, s->peer->name);
        run->sides[which].impossible[phase] = true;
        return 0;
    }
    if (r < 0)
        return fail("%s: %s: %s", s->peer->name, phases[phase].name, heir_strerror(r));
    *ns = (double)took / (double)(run->work.n / phases[phase].objects);
    return phases[phase].check ? phases[phase].check(s, &run->work) : 0;
}

static int measure_bytes(struct run *run, unsigned which, bool after)
{
    struct store *s = &run->stores[which];
    struct side *side = &run->sides[which];
    uint64_t n;

    if (!s->peer->bytes || s->peer->bytes(s->state, &n) < 0)
        return s->peer->bytes ? fail("%s: cannot tell its memory", s->peer->name) : 0;
    series_add(after ? &side->bytes_after : &side->bytes, (double)n / (double)run->work.n);
    if (s->peer->taken && !after && s->peer->taken(s->state, &n) == 0)
        series_add(&side->taken, (double)n / (double)run->work.n);
    return 0;
}

static int open_store(struct run *run, const struct world *world, unsigned which)
{
    struct peer_setup setup = {world, run->work.n, run->work.value_size};
    struct store *s = &run->stores[which];
    struct side *side = &run->sides[which];
    uint64_t n;
    int r;

    *s = (struct store){.peer = all_peers[which], .version = 1};
    progress("opening %s", side->name);
    r = s->peer->open(&setup, &s->state);
    if (r == -ENOTSUP && s->peer != &peer_heir) {
        say("%s is left out: not with these sizes, on this system, or in this version", side->name);
        s->peer->close(s->state);
        side->out = true;
        return 0;
    }
    if (r < 0)
        return fail("%s: open: %s", side->name, heir_strerror(r));
    if (s->peer->taken && s->peer->taken(s->state, &n) == 0)
        series_add(&side->empty, (double)n);
    return 0;
}

static int run_phases(struct run *run, double ns[SIDES][PHASES])
{
    for (unsigned phase = 0; phase < PHASES; phase++) {
        if (!wanted(run->options.only, phase))
            continue;
        shuffle(run->work.keys, run->work.n, run->work.round * PHASES + phase);
        for (unsigned turn = 0; turn < PEERS; turn++) {
            unsigned i = (unsigned)((turn + run->work.round) % PEERS);
            const struct side *side = &run->sides[i];
            if (side->out || side->impossible[phase] || !phase_possible(all_peers[i], phase))
                continue;
            if (run_phase(run, phase, i, &ns[i][phase]) < 0)
                return -1;
            if ((phase == INSERT || phase == HOT_ADD) && measure_bytes(run, i, phase == HOT_ADD) < 0)
                return -1;
        }
    }
    return 0;
}

static int run_peers(struct run *run, const struct world *world, double ns[SIDES][PHASES])
{
    for (unsigned i = 0; i < PEERS; i++)
        if (!run->sides[i].out && open_store(run, world, i) < 0)
            return -1;
    if (run_phases(run, ns) < 0)
        return -1;
    for (unsigned i = 0; i < PEERS; i++) {
        if (run->sides[i].out)
            continue;
        progress("checking %s", run->sides[i].name);
        run->checked++;
        if (phase_check(&run->stores[i], &run->work, ns[i][DEL] > 0) < 0)
            return -1;
    }
    for (unsigned i = 0; i < PEERS; i++) {
        progress("closing %s", run->sides[i].name);
        if (!run->sides[i].out)
            all_peers[i]->close(run->stores[i].state);
        run->stores[i].state = NULL;
    }
    return 0;
}

static int run_rivals(struct run *run, const struct world *world, double ns[SIDES][PHASES])
{
    for (unsigned i = PEERS; i < run->n_sides; i++) {
        struct side *side = &run->sides[i];
        int r;

        if (side->out)
            continue;
        progress("round %llu: %s", (unsigned long long)run->work.round + 1, side->name);
        r = rival_run(side->script, world, &run->work, run->work.round == 0, ns[i]);
        if (r == -ENOTSUP) {
            say("%s is left out: it is not installed", side->name);
            side->out = true;
        } else if (r < 0) {
            return -1;
        } else {
            run->checked++;
        }
    }
    return 0;
}

static int run_round(struct run *run, const struct world *world)
{
    double ns[SIDES][PHASES] = {{0}};

    if (run_peers(run, world, ns) < 0 || run_rivals(run, world, ns) < 0)
        return -1;
    for (unsigned i = 0; i < run->n_sides; i++) {
        struct side *side = &run->sides[i];
        for (unsigned phase = 0; phase < PHASES; phase++) {
            if (ns[i][phase] <= 0)
                continue;
            series_add(&side->ns[phase], ns[i][phase]);
            for (unsigned ours = SET; ours < OURS; ours++)
                if (comparable(ours, i) && ns[ours][phase] > 0)
                    series_add(&side->ratio[ours][phase], ns[ours][phase] / ns[i][phase]);
        }
        if (ns[i][BATCH_PUT] > 0 && ns[i][PUT] > 0)
            series_add(&side->batch_ratio, ns[i][BATCH_PUT] / ns[i][PUT]);
    }
    return 0;
}

/* ---- Results ------------------------------------------------------------------------------------------ */

static const char *prefix(const struct run *run, unsigned i)
{
    static char text[40];

    if (i == SET)
        return "";
    snprintf(text, sizeof text, "%s_", run->sides[i].name);
    return text;
}

/* The largest error of the ratios, and whose it is; of the times, when nothing is compared. The floor is never steady.
 */
static double worst_error(const struct run *run, char *name, size_t size)
{
    double worst[2] = {0, 0};
    char names[2][96] = {"", ""};
    bool compared = false;

    for (unsigned i = 0; i < run->n_sides; i++) {
        for (unsigned phase = 0; phase < PHASES && !is_floor(i); phase++) {
            const struct side *side = &run->sides[i];
            for (unsigned ours = SET; ours < OURS; ours++) {
                const struct series *s = &side->ratio[ours][phase];
                compared |= s->n > 0;
                if (!s->n || series_error(s) <= worst[1])
                    continue;
                worst[1] = series_error(s);
                snprintf(names[1], sizeof names[1], "%s%s against %s", prefix(run, ours), phases[phase].name,
                         side->name);
            }
            if (!side->ns[phase].n || series_error(&side->ns[phase]) <= worst[0])
                continue;
            worst[0] = series_error(&side->ns[phase]);
            snprintf(names[0], sizeof names[0], "%s%s", prefix(run, i), phases[phase].name);
        }
    }
    snprintf(name, size, "%s", names[compared]);
    return worst[compared];
}

static void report_phase(const struct run *run, unsigned phase)
{
    bool said = false;

    for (unsigned i = 0; i < run->n_sides; i++) {
        const struct series *s = &run->sides[i].ns[phase];
        if (!s->n)
            continue;
        if (!said)
            say("%s: %s", phases[phase].name, phases[phase].what);
        said = true;
        put_result(series_median(s), "%s%s_ns", prefix(run, i), phases[phase].name);
        put_result(100 * series_spread(s), "%s%s_spread_percent", prefix(run, i), phases[phase].name);
    }
    for (unsigned ours = SET; ours < OURS; ours++)
        for (unsigned i = 0; i < run->n_sides; i++)
            if (run->sides[i].ratio[ours][phase].n)
                put_result(series_median(&run->sides[i].ratio[ours][phase]), "%s%s_vs_%s_ratio", prefix(run, ours),
                           phases[phase].name, run->sides[i].name);
}

static void put_median(const struct run *run, unsigned i, const struct series *s, const char *name)
{
    if (s->n)
        put_result(series_median(s), "%s%s", prefix(run, i), name);
}

static void report(const struct run *run)
{
    for (unsigned phase = 0; phase < PHASES; phase++)
        report_phase(run, phase);
    say("a put in a transaction of 10, against one that is a transaction");
    for (unsigned i = 0; i < run->n_sides; i++)
        put_median(run, i, &run->sides[i].batch_ratio, "put_tx10_vs_put_ratio");
    say("memory: in use for an object of 8 + %zu bytes, its part of the index included", run->work.value_size);
    for (unsigned i = 0; i < run->n_sides; i++) {
        put_median(run, i, &run->sides[i].bytes, "object_bytes");
        put_median(run, i, &run->sides[i].bytes_after, "object_after_overwrites_bytes");
    }
    for (unsigned i = 0; i < run->n_sides; i++) {
        put_median(run, i, &run->sides[i].taken, "object_taken_bytes");
        put_median(run, i, &run->sides[i].empty, "empty_table_bytes");
    }
}

/* ---- The whole ---------------------------------------------------------------------------------------- */

static unsigned add_sides(struct run *run)
{
    const struct options *o = &run->options;
    unsigned used = 0;

    for (unsigned i = 0; i < PEERS; i++, run->n_sides++) {
        struct side *side = &run->sides[i];
        snprintf(side->name, sizeof side->name, "%s", all_peers[i]->name);
        side->out = !list_has(o->peers, side->name);
        used += !side->out;
    }
    for (unsigned i = 0; i < o->n_rivals; i++, run->n_sides++) {
        struct side *side = &run->sides[run->n_sides];
        side->script = o->rivals[i];
        rival_name(side->script, side->name, sizeof side->name);
    }
    return used;
}

static void introduce(const struct run *run)
{
    say("ops: time of object operations on one table, one thread, nobody else reading or writing");
    say_machine();
    say("parameters: %llu random 8-byte keys in random order, %llu-byte values, at least %llu rounds, on /dev/shm",
        (unsigned long long)run->work.n, (unsigned long long)run->work.value_size,
        (unsigned long long)run->options.rounds);
    say("says nothing about: readers beside the writer, several tables, latencies of single operations, disks");
    for (unsigned i = 0; i < PEERS; i++)
        if (!run->sides[i].out)
            say("%s: %s", all_peers[i]->name, all_peers[i]->what);
}

static int run_all(struct world *world, void *arg)
{
    static struct run all; /* reachable to the end: no leak checker need be told */
    struct run *run = &all;
    const struct options *o = &run->options;
    double error = 1;
    char whose[96] = "";
    unsigned used;

    run->options = *(const struct options *)arg;
    used = add_sides(run);
    work_init(&run->work, o->objects / BATCH * BATCH, o->value_size, true);
    introduce(run);
    if (run->work.n * (run->work.value_size * 3 / 2 + 250) * used > memory_available() / 5 * 4)
        return fail("not enough memory for all at once: use fewer --objects or --peers");
    if ((!run->sides[SET].out || !run->sides[ORDERED].out) && world_keeper_start(world) < 0)
        return -1;
    for (uint64_t *i = &run->work.round; *i < o->rounds || (!o->quick && error > MAX_ERROR && *i < 2 * o->rounds);
         ++*i) {
        if (run_round(run, world) < 0)
            return -1;
        error = worst_error(run, whose, sizeof whose);
    }
    report(run);
    put_result((double)run->work.round, "rounds");
    put_result(100 * error, "worst_error_percent");
    if (error > MAX_ERROR)
        say("NOT STEADY: after %llu rounds the median of %s may still be off by %.0f %%%s",
            (unsigned long long)run->work.round, whose, 100 * error,
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
    fputs("\n  --rival SCRIPT    also a store that a script measures, in each round; up to 4: bench/ets.sh,\n"
          "                    bench/redis.sh of libheir's sources\n"
          "  --quick           20000 objects, 2 rounds: a try-out of a few seconds\n"
          "  --help            this text\n\n"
          "Prints lines with # for people and key=value lines for scripts. Ends with 1 when a store has lost or\n"
          "invented an object. heird is looked for in $HEIR_BINDIR, else in ../tools beside this program's folder.\n",
          to);
    return status;
}

static bool known_names(const struct options *o)
{
    size_t peers = 0, only = 0;

    for (unsigned i = 0; i < PEERS; i++)
        peers += list_has(o->peers, all_peers[i]->name);
    for (unsigned i = 0; i < PHASES; i++)
        only += list_has(o->only, phases[i].name);
    if ((!o->peers || peers == list_size(o->peers)) && (!o->only || only == list_size(o->only)))
        return true;
    fail("unknown or doubled name in --peers or --only");
    return false;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"objects", required_argument, NULL, 'o'},
        {"value-size", required_argument, NULL, 'v'},
        {"rounds", required_argument, NULL, 'r'},
        {"peers", required_argument, NULL, 'p'},
        {"only", required_argument, NULL, 'y'},
        {"rival", required_argument, NULL, 'R'},
        {"quick", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct options o = {.value_size = 64};
    bool ok = true;
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'o':
            ok = ok && parse_u64(optarg, MIN_OBJECTS, 200000000, &o.objects);
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
        case 'R':
            ok = ok && o.n_rivals < MAX_RIVALS;
            if (ok)
                o.rivals[o.n_rivals++] = optarg;
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
    if (!known_names(&o) || !ok || optind < argc)
        return usage(stderr, 2);
    if (!o.objects)
        o.objects = o.quick ? 20000 : 1000000;
    if (!o.rounds)
        o.rounds = o.quick ? 2 : 5;
    return world_run(run_all, &o);
}
