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
#include <heir.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    struct bench bench;
    uint64_t objects, value_size;
    const char *peers, *only, *rivals;
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

/* A peer that fails is no reason to learn nothing of the others; that it has lost an object is. */
static int leave_out(struct run *run, unsigned which, const char *call, int error)
{
    struct side *side = &run->sides[which];

    if (which == SET || which == ORDERED)
        return fail("%s: %s: %s", side->name, call, heir_strerror(error));
    say("%s is left out from here on, it failed: %s: %s", side->name, call, heir_strerror(error));
    side->out = true;
    return 0;
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
        return leave_out(run, which, phases[phase].name, r);
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
        return leave_out(run, which, "open", r);
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
            if (!side->out && (phase == INSERT || phase == HOT_ADD) && measure_bytes(run, i, phase == HOT_ADD) < 0)
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
            say("%s is left out from here on, it failed", side->name);
            side->out = true;
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
        raw_series(s, "ns", "%s%s", prefix(run, i), phases[phase].name);
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
    for (char *rest = o->rivals ? must(strdup(o->rivals)) : NULL, *script;
         run->n_sides < SIDES && (script = strsep(&rest, ",")); run->n_sides++) {
        struct side *side = &run->sides[run->n_sides];
        side->script = script;
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
        (unsigned long long)run->options.bench.rounds);
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
    for (; bench_goes_on(&o->bench, run->work.round, error); run->work.round++) {
        if (run_round(run, world) < 0)
            return -1;
        error = worst_error(run, whose, sizeof whose);
    }
    report(run);
    bench_steady(&o->bench, "", run->work.round, error, whose);
    if (world_keeper_stop(world) < 0)
        return -1;
    say("conserved: after each round every store had exactly its objects, with the sum of their numbers");
    put_result((double)run->checked, "checks_passed");
    put_result(world_objects(world), "leftover_shm_objects");
    return 0;
}

static bool known_names(const struct options *o)
{
    size_t peers = 0, only = 0;

    for (unsigned i = 0; i < PEERS; i++)
        peers += list_has(o->peers, all_peers[i]->name);
    for (unsigned i = 0; i < PHASES; i++)
        only += list_has(o->only, phases[i].name);
    if ((!o->peers || peers == list_size(o->peers)) && (!o->only || only == list_size(o->only)) &&
        (!o->rivals || list_size(o->rivals) <= MAX_RIVALS))
        return true;
    fail("unknown or doubled name in --peers or --only, or too many of --rival");
    return false;
}

static void add_names(char *text, size_t size, const char *name)
{
    size_t n = strlen(text);

    snprintf(text + n, size - n, " %s", name);
}

int main(int argc, char **argv)
{
    struct options o = {
        .bench = {.does =
                      "Measure object operations of libheir against the stores found when it was built, in one run.",
                  .wrong = "Ends with 1 when a store has lost or invented an object.",
                  .max_error = 0.05,
                  .rounds = 5,
                  .seconds = 150,
                  .patience = 2}};
    char peers[256] = "only these stores:", only[256] = "only these phases, after insert:";
    const struct bench_option options[] = {
        {"objects", "N", "objects in a store", &o.objects, MIN_OBJECTS, 200000000, 1000000, 20000},
        {"value-size", "N", "bytes of a value; Boost.Interprocess: 16, 64 or 1024 only", &o.value_size,
         sizeof(uint64_t), 1 << 20, 64, 64},
        {"peers", "A,B", peers, &o.peers, 1, 0, 0, 0},
        {"only", "A,B", only, &o.only, 1, 0, 0, 0},
        {"rival", "A,B",
         "also stores that scripts measure, in each round; up to 4: bench/ets.sh, bench/redis.sh\nof libheir's sources",
         &o.rivals, 1, 0, 0, 0},
        {0},
    };
    int status;

    for (unsigned i = 0; i < PEERS; i++)
        add_names(peers, sizeof peers, all_peers[i]->name);
    for (unsigned i = 1; i < PHASES; i++)
        add_names(only, sizeof only, phases[i].name);
    o.bench.options = options;
    if ((status = bench_options(&o.bench, argc, argv)) >= 0)
        return status;
    return known_names(&o) ? world_run(run_all, &o) : 2;
}
