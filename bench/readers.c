/* SPDX-License-Identifier: MIT */
/*
 * How much do a writer and a reader of one table disturb each other, in two processes on two cores?
 *
 * Each works alone for a while, then both together, in turns; a ratio is one process's time of an operation together
 * against alone, within a round. The same two processes do the same to plain shared memory without any protocol: what
 * they disturb each other there is the machine's share.
 */
#include "child.h"
#include "common.h"
#include "world.h"

#include <errno.h>
#include <heir.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOOK_EVERY  32 /* operations between two looks at the clock */
#define LEAD_NS     UINT64_C(2000000)
#define TABLE       "readers"
#define EXIT_SKIP   77
#define VALUE_SMALL (2 * sizeof(uint64_t))

enum role { WRITER, READER, ROLES };
enum kind { FLOOR, SET, ORDERED, KINDS };
enum company { ALONE, TOGETHER, COMPANIES };

static const char *const role_names[] = {"writer", "reader"};
static const char *const kind_names[] = {"floor_", "", "ordered_"};
static const char *const kind_texts[] = {
    "floor: memcpy to and from random slots of plain shared memory, by the same two processes",
    "libheir, a set: heir_put over random keys by its owner, heir_get of random keys by another process",
    "libheir, an ordered set: the same",
};

struct options {
    struct bench bench;
    uint64_t objects, value_size, ms;
};

struct job {
    const struct options *options;
    const struct world *world;
    unsigned char *slots; /* the floor's */
    enum role role;
};

/* ---- In the processes --------------------------------------------------------------------------------- */

struct request {
    enum { OPEN, WORK, CHECK } what;
    enum kind kind;
    uint64_t begin, end; /* WORK: between these times */
};

struct answer {
    int32_t error;
    uint64_t operations, ns;
};

struct worker {
    const struct job *job;
    struct heir *client;
    struct heir_table *tables[KINDS];
    uint64_t *keys, next[KINDS]; /* the keys in an order of its own; how many have been used */
    uint64_t n;
    size_t value_size;
    unsigned char *value;
};

/* The value of a key that was written as the turn-th one: it says so at its beginning, and agrees with it at its end.
 */
static void make_value(const struct worker *w, uint64_t key, uint64_t turn)
{
    uint64_t end = mix64(key + turn);

    memcpy(w->value, &turn, sizeof turn);
    memcpy(w->value + w->value_size - sizeof end, &end, sizeof end);
}

static bool right_value(const void *value, size_t size, uint64_t key, uint64_t *turn)
{
    uint64_t end;

    memcpy(turn, value, sizeof *turn);
    memcpy(&end, (const unsigned char *)value + size - sizeof end, sizeof end);
    return end == mix64(key + *turn);
}

static int write_one(struct worker *w, enum kind kind, uint64_t turn)
{
    const uint64_t *key = &w->keys[turn % w->n];

    make_value(w, *key, turn);
    if (kind != FLOOR)
        return heir_put(w->tables[kind], key, sizeof *key, w->value, w->value_size);
    memcpy(w->job->slots + *key % w->n * w->value_size, w->value, w->value_size);
    return 0;
}

static int read_one(struct worker *w, enum kind kind, uint64_t turn)
{
    const uint64_t *key = &w->keys[turn % w->n];
    size_t size = w->value_size;
    uint64_t written;
    int r;

    if (kind == FLOOR) {
        memcpy(w->value, w->job->slots + *key % w->n * w->value_size, w->value_size);
        __asm__ volatile("" : : "r"(w->value) : "memory");
        return 0;
    }
    r = heir_get(w->tables[kind], key, sizeof *key, w->value, &size);
    if (r < 0)
        return r;
    return size == w->value_size && right_value(w->value, size, *key, &written) ? 0 : -EUCLEAN;
}

static struct answer work(struct worker *w, const struct request *q)
{
    struct answer a = {0};
    uint64_t now;

    while ((now = now_ns()) < q->begin) {
    }
    a.ns = now;
    for (; now < q->end && a.error == 0; now = now_ns())
        for (unsigned i = 0; i < LOOK_EVERY && a.error == 0; i++, a.operations++)
            a.error = w->job->role == WRITER ? write_one(w, q->kind, w->next[q->kind]++)
                                             : read_one(w, q->kind, w->next[q->kind]++);
    a.ns = now - a.ns;
    return a;
}

/* The writer makes the table and writes each key once. -ENOTSUP: not this kind. */
static struct answer open_table(struct worker *w, enum kind kind)
{
    char name[32];
    struct heir_table_options options = {.type = kind == ORDERED ? HEIR_ORDERED_SET : HEIR_SET};
    int r = 0;

    snprintf(name, sizeof name, "%s%s", kind_names[kind], TABLE);
    options.max_bytes = w->n * (w->value_size + 256) * 2 + (64u << 20);
    if (kind != FLOOR)
        r = w->job->role == WRITER ? heir_create(w->client, name, &options, &w->tables[kind])
                                   : heir_attach(w->client, name, &w->tables[kind]);
    while (w->job->role == WRITER && r == 0 && w->next[kind] < w->n)
        r = write_one(w, kind, w->next[kind]++);
    return (struct answer){.error = r};
}

struct seen {
    uint64_t objects, turns, wrong;
};

static int see(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct seen *seen = arg;
    uint64_t number, turn = 0;

    memcpy(&number, key, sizeof number);
    seen->objects++;
    seen->wrong += key_len != sizeof number || value_len < VALUE_SMALL || !right_value(value, value_len, number, &turn);
    seen->turns += turn;
    return 0;
}

/* The writer's keys come round and round: so the last turns are what must be there, one for each key. Then the table
 * has done its work. */
static struct answer check(struct worker *w, enum kind kind)
{
    struct seen seen = {0};
    uint64_t turns = 0;
    int r;

    if (kind == FLOOR || w->job->role == READER)
        return (struct answer){0};
    r = heir_foreach(w->tables[kind], see, &seen);
    if (r < 0)
        return (struct answer){.error = r};
    for (uint64_t i = 1; i <= w->n; i++)
        turns += w->next[kind] - i;
    if (seen.objects == w->n && seen.turns == turns && !seen.wrong)
        return (struct answer){.error = heir_destroy(w->tables[kind])};
    fail("NOT CONSERVED: %llu objects instead of %llu, sum of turns %llu instead of %llu, %llu wrong",
         (unsigned long long)seen.objects, (unsigned long long)w->n, (unsigned long long)seen.turns,
         (unsigned long long)turns, (unsigned long long)seen.wrong);
    return (struct answer){.error = -EUCLEAN};
}

static int serve(int wire, void *arg)
{
    const struct job *job = arg;
    struct worker w = {.job = job, .n = job->options->objects, .value_size = job->options->value_size};
    struct request q;
    int r;

    w.keys = must(malloc(w.n * sizeof *w.keys));
    w.value = must(calloc(1, w.value_size));
    for (uint64_t i = 0; i < w.n; i++)
        w.keys[i] = mix64(i);
    shuffle(w.keys, w.n, job->role + 1);
    if (pin_to_core(job->role) < 0 || world_open(job->world, role_names[job->role], &w.client) < 0)
        return -1;
    while ((r = child_next(wire, &q, sizeof q)) == 0) {
        struct answer a = q.what == OPEN ? open_table(&w, q.kind) : q.what == WORK ? work(&w, &q) : check(&w, q.kind);
        if (child_tell(wire, &a, sizeof a) < 0)
            return -1;
    }
    heir_close(w.client);
    free(w.keys);
    free(w.value);
    return r < 0 ? -1 : 0;
}

/* ---- The run ------------------------------------------------------------------------------------------ */

struct run {
    const struct options *options;
    struct child children[ROLES];
    struct series ns[KINDS][ROLES][COMPANIES], ratio[KINDS][ROLES];
    bool out[KINDS];
    uint64_t operations;
};

static int hear(struct run *run, enum role role, enum kind kind, struct answer *a)
{
    if (child_hear(run->children[role].wire, a, sizeof *a) < 0)
        return -1;
    if (a->error < 0 && a->error != -ENOTSUP)
        return fail("%s%s: %s", kind_names[kind], role_names[role], heir_strerror(a->error));
    run->operations += a->operations;
    return 0;
}

/* Both processes, one after the other. */
static int ask_both(struct run *run, struct request q, struct answer *a)
{
    for (enum role role = WRITER; role < ROLES; role++) {
        if (child_tell(run->children[role].wire, &q, sizeof q) < 0 || hear(run, role, q.kind, a) < 0)
            return -1;
        if (a->error)
            return 0;
    }
    return 0;
}

static int window(struct run *run, enum kind kind, bool writer, bool reader, double ns[ROLES])
{
    const bool works[ROLES] = {writer, reader};
    uint64_t begin = now_ns() + LEAD_NS;
    struct request q = {WORK, kind, begin, begin + run->options->ms * 1000000};
    struct answer a;

    for (enum role role = WRITER; role < ROLES; role++)
        if (works[role] && child_tell(run->children[role].wire, &q, sizeof q) < 0)
            return -1;
    for (enum role role = WRITER; role < ROLES; role++) {
        if (works[role] && hear(run, role, kind, &a) < 0)
            return -1;
        if (works[role])
            ns[role] = (double)a.ns / (double)a.operations;
    }
    return 0;
}

static int run_round(struct run *run, unsigned round)
{
    for (unsigned turn = 0; turn < KINDS; turn++) {
        enum kind kind = (turn + round) % KINDS;
        double ns[COMPANIES][ROLES];

        if (run->out[kind])
            continue;
        progress("round %u: %s", round + 1, kind_texts[kind]);
        if (window(run, kind, true, false, ns[ALONE]) < 0 || window(run, kind, true, true, ns[TOGETHER]) < 0 ||
            window(run, kind, false, true, ns[ALONE]) < 0)
            return -1;
        for (enum role role = WRITER; role < ROLES; role++) {
            series_add(&run->ns[kind][role][ALONE], ns[ALONE][role]);
            series_add(&run->ns[kind][role][TOGETHER], ns[TOGETHER][role]);
            series_add(&run->ratio[kind][role], ns[TOGETHER][role] / ns[ALONE][role]);
        }
    }
    return 0;
}

static double worst_error(const struct run *run)
{
    double worst = 0;

    for (enum kind kind = SET; kind < KINDS; kind++)
        for (enum role role = WRITER; role < ROLES && !run->out[kind]; role++)
            if (series_error(&run->ratio[kind][role]) > worst)
                worst = series_error(&run->ratio[kind][role]);
    return worst;
}

static void report(const struct run *run)
{
    for (enum kind kind = FLOOR; kind < KINDS; kind++) {
        if (run->out[kind])
            continue;
        say("%s", kind_texts[kind]);
        for (enum role role = WRITER; role < ROLES; role++) {
            put_result(series_median(&run->ns[kind][role][ALONE]), "%s%s_alone_ns", kind_names[kind], role_names[role]);
            put_result(series_median(&run->ns[kind][role][TOGETHER]), "%s%s_together_ns", kind_names[kind],
                       role_names[role]);
            put_result(series_median(&run->ratio[kind][role]), "%s%s_together_vs_alone_ratio", kind_names[kind],
                       role_names[role]);
            put_result(100 * series_spread(&run->ratio[kind][role]), "%s%s_ratio_spread_percent", kind_names[kind],
                       role_names[role]);
        }
    }
}

static void introduce(const struct options *o)
{
    say("readers: one writer and one reader process on two cores, together against each alone");
    say_machine();
    say("parameters: %llu random 8-byte keys, %llu-byte values, windows of %llu ms, at least %llu rounds",
        (unsigned long long)o->objects, (unsigned long long)o->value_size, (unsigned long long)o->ms,
        (unsigned long long)o->bench.rounds);
    say("says nothing about: more readers than one, readers on the writer's core, walks and snapshots");
}

static int start(struct run *run, struct job jobs[ROLES], const struct world *world)
{
    const struct options *o = run->options;
    size_t size = o->objects * o->value_size;
    unsigned char *slots = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct answer a;

    if (slots == MAP_FAILED)
        return fail("mmap: %s", strerror(errno));
    for (enum role role = WRITER; role < ROLES; role++) {
        jobs[role] = (struct job){o, world, slots, role};
        if (child_start(&run->children[role], serve, &jobs[role]) < 0)
            return -1;
    }
    for (enum kind kind = FLOOR; kind < KINDS; kind++) {
        progress("filling: %s", kind_texts[kind]);
        if (ask_both(run, (struct request){.what = OPEN, .kind = kind}, &a) < 0)
            return -1;
        run->out[kind] = a.error == -ENOTSUP;
        if (run->out[kind])
            say("left out, this version of libheir has it not: %s", kind_texts[kind]);
    }
    return 0;
}

static int finish(struct run *run, struct world *world)
{
    struct answer a;

    for (enum kind kind = SET; kind < KINDS; kind++)
        if (!run->out[kind] && ask_both(run, (struct request){.what = CHECK, .kind = kind}, &a) < 0)
            return -1;
    for (enum role role = WRITER; role < ROLES; role++)
        if (child_end(&run->children[role], false) < 0)
            return -1;
    return world_keeper_stop(world);
}

static int run_all(struct world *world, void *arg)
{
    static struct run all; /* reachable to the end: no leak checker need be told */
    struct run *run = &all;
    const struct options *o = arg;
    struct job jobs[ROLES];
    double error = 1;
    unsigned round;

    run->options = o;
    introduce(o);
    if (o->objects * (o->value_size * 5 + 600) > memory_available() / 5 * 4)
        return fail("not enough memory: use fewer --objects");
    if (world_keeper_start(world) < 0 || start(run, jobs, world) < 0)
        return -1;
    for (round = 0; bench_goes_on(&o->bench, round, error); round++) {
        if (run_round(run, round) < 0)
            return -1;
        error = worst_error(run);
    }
    report(run);
    bench_steady(&o->bench, "", round, error, "a ratio");
    if (finish(run, world) < 0)
        return -1;
    say("conserved: no value that was read was half of one; at the end each key had the value written last");
    put_result((double)run->operations, "operations_checked");
    put_result(world_objects(world), "leftover_shm_objects");
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {
        .bench = {.does = "Measure what a writer and a reader in two processes on two cores cost each other.",
                  .wrong = "Ends with 1 when a reader saw half of a write or a write was lost, with 77 when there are "
                           "not two cores.",
                  .max_error = 0.05,
                  .rounds = 8,
                  .seconds = 100,
                  .patience = 4}};
    const struct bench_option options[] = {
        {"objects", "N", "objects in the table", &o.objects, 1, 100000000, 1000000, 20000},
        {"value-size", "N", "bytes of a value", &o.value_size, VALUE_SMALL, 1 << 20, 64, 64},
        {"window-ms", "N", "for which a process works alone or together with the other", &o.ms, 1, 10000, 200, 30},
        {0},
    };
    int status;

    o.bench.options = options;
    if ((status = bench_options(&o.bench, argc, argv)) >= 0)
        return status;
    if (cores() < 2) {
        fail("two cores are needed, and this process may use one");
        return EXIT_SKIP;
    }
    return world_run(run_all, &o);
}
