/* SPDX-License-Identifier: MIT */
/*
 * How much do the writer of a table and its readers disturb each other, in processes on cores of their own? What does
 * it cost the writer that a reader stands still, or holds a snapshot?
 *
 * Each works alone for a while, then the writer together with 1, 2, ... readers, in turns; a ratio is one process's
 * time of an operation together against alone, within a round. The same processes do the same to plain shared memory
 * without any protocol: what they disturb each other there is the machine's share. The writer has the first core, the
 * readers share the others.
 */
#include "child.h"
#include "common.h"
#include "world.h"

#include <errno.h>
#include <heir.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_EVERY  32 /* operations between two looks at the clock */
#define LEAD_NS     UINT64_C(2000000)
#define TABLE       "readers"
#define EXIT_SKIP   77
#define VALUE_SMALL (2 * sizeof(uint64_t))

enum role { WRITER, READER, ROLES }; /* as numbers of processes: READER and those after it read */
enum kind { FLOOR, SET, ORDERED, KINDS };
enum company { ALONE, TOGETHER, COMPANIES };
enum still { STOPPED, PINNED, AFTER, STILLS };
enum { MAX_COUNTS = 8, MAX_READERS = 256, PROBES = 100 /* keys that a snapshot is checked by */ };

static const char *const role_names[] = {"writer", "reader"};
static const char *const kind_names[] = {"floor_", "", "ordered_"};
static const char *const kind_texts[] = {
    "floor: memcpy to and from random slots of plain shared memory, by the same two processes",
    "libheir, a set: heir_put over random keys by its owner, heir_get of random keys by another process",
    "libheir, an ordered set: the same",
};

static const struct {
    const char *name, *what;
} stills[STILLS] = {
    [STOPPED] = {"stopped", "the writer while the reader stands still in the middle of its reading (SIGSTOP)"},
    [PINNED] = {"pinned", "the writer while the reader holds a snapshot from before (running or stopped)"},
    [AFTER] = {"after_pin", "the writer when that snapshot has just been closed"},
};

struct options {
    struct bench bench;
    uint64_t objects, value_size, ms;
    unsigned counts[MAX_COUNTS], n_counts, most; /* how many readers */
    const char *count_list;
};

struct job {
    const struct options *options;
    const struct world *world;
    unsigned char *slots; /* the floor's */
    enum role role;
    unsigned number; /* of the process */
};

/* ---- In the processes --------------------------------------------------------------------------------- */

struct request {
    enum { OPEN, WORK, PIN, UNPIN, CHECK } what;
    enum kind kind;
    uint64_t begin, end; /* WORK: between these times */
};

struct answer {
    int32_t error;
    uint64_t operations, ns;
    uint64_t bytes; /* the writer's: in use in the table */
};

struct worker {
    const struct job *job;
    struct heir *client;
    struct heir_table *tables[KINDS];
    struct heir_snapshot *snapshot;
    uint64_t pinned;             /* sum of the turns of the probes */
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
    do { /* something, even when the kernel let it begin after the end */
        for (unsigned i = 0; i < LOOK_EVERY && a.error == 0; i++, a.operations++)
            a.error = w->job->role == WRITER ? write_one(w, q->kind, w->next[q->kind]++)
                                             : read_one(w, q->kind, w->next[q->kind]++);
        now = now_ns();
    } while (now < q->end && a.error == 0);
    a.ns = now - a.ns;
    if (a.error == 0 && w->job->role == WRITER && q->kind != FLOOR) {
        struct heir_info info;
        a.error = heir_info(w->tables[q->kind], &info);
        a.bytes = info.bytes_used;
    }
    return a;
}

/* 0, -ESTALE, or what else is wrong. */
static int probe(struct worker *w, uint64_t *sum)
{
    uint64_t turn;

    *sum = 0;
    for (uint64_t i = 0; i < PROBES && i < w->n; i++, *sum += turn) {
        size_t size = w->value_size;
        int r = heir_snapshot_get(w->snapshot, &w->keys[i], sizeof w->keys[i], w->value, &size);
        if (r < 0)
            return r;
        if (size != w->value_size || !right_value(w->value, size, w->keys[i], &turn))
            return -EUCLEAN;
    }
    return 0;
}

static struct answer pin(struct worker *w, enum kind kind)
{
    int r = heir_snapshot_open(w->tables[kind], &w->snapshot);

    return (struct answer){.error = r < 0 ? r : probe(w, &w->pinned)};
}

/* The snapshot must be as it was. operations: 1 when it was broken, as the table had no more room. */
static struct answer unpin(struct worker *w)
{
    uint64_t sum;
    int r = probe(w, &sum);

    if (r == 0 && sum != w->pinned)
        r = -EUCLEAN;
    heir_snapshot_close(w->snapshot);
    return r == -ESTALE ? (struct answer){.operations = 1} : (struct answer){.error = r};
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
static struct answer check_view(struct worker *w, enum kind kind)
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
    shuffle(w.keys, w.n, job->number + 1);
    if (pin_to_core(job->role == WRITER ? 0 : 1 + (job->number - READER) % (cores() - 1)) < 0 ||
        world_open(job->world, role_names[job->role], &w.client) < 0)
        return -1;
    while ((r = child_next(wire, &q, sizeof q)) == 0) {
        struct answer a = q.what == OPEN    ? open_table(&w, q.kind)
                          : q.what == WORK  ? work(&w, &q)
                          : q.what == PIN   ? pin(&w, q.kind)
                          : q.what == UNPIN ? unpin(&w)
                                            : check_view(&w, q.kind);
        if (child_tell(wire, &a, sizeof a) < 0)
            return -1;
    }
    heir_close(w.client);
    free(w.keys);
    free(w.value);
    return r < 0 ? -1 : 0;
}

/* ---- The run ------------------------------------------------------------------------------------------ */

/* Of one number of readers; mops: million operations a second, all readers' together. */
struct crowd {
    struct series writer_mops, read_mops, ratio;
};

struct run {
    const struct options *options;
    struct child children[1 + MAX_READERS];
    struct series ns[KINDS][ROLES][COMPANIES], ratio[KINDS][ROLES];
    struct crowd crowds[KINDS][MAX_COUNTS];
    struct series still[KINDS][STILLS], held[KINDS][STILLS], held_mib[KINDS];
    bool out[KINDS];
    uint64_t operations, snapshots, broken;
};

static int hear(struct run *run, unsigned who, enum kind kind, struct answer *a)
{
    if (child_hear(run->children[who].wire, a, sizeof *a) < 0)
        return -1;
    if (a->error < 0 && a->error != -ENOTSUP)
        return fail("%s%s: %s", kind_names[kind], role_names[who != WRITER], heir_strerror(a->error));
    run->operations += a->operations;
    return 0;
}

static int ask(struct run *run, unsigned who, struct request q, struct answer *a)
{
    return child_tell(run->children[who].wire, &q, sizeof q) < 0 ? -1 : hear(run, who, q.kind, a);
}

/* All processes, one after the other. */
static int ask_all(struct run *run, struct request q, struct answer *a)
{
    for (unsigned who = WRITER; who <= run->options->most; who++) {
        if (ask(run, who, q, a) < 0)
            return -1;
        if (a->error)
            return 0;
    }
    return 0;
}

struct window {
    double ns[ROLES]; /* of an operation; a reader's: as if there were one that does what all do */
    uint64_t bytes, operations;
};

static int window(struct run *run, enum kind kind, bool writer, unsigned readers, struct window *w)
{
    uint64_t begin = now_ns() + LEAD_NS;
    struct request q = {WORK, kind, begin, begin + run->options->ms * 1000000};
    unsigned first = writer ? WRITER : READER;
    double reads = 0; /* a nanosecond */
    struct answer a;

    for (unsigned who = first; who < READER + readers; who++)
        if (child_tell(run->children[who].wire, &q, sizeof q) < 0)
            return -1;
    for (unsigned who = first; who < READER + readers; who++) {
        if (hear(run, who, kind, &a) < 0)
            return -1;
        if (who != WRITER) {
            reads += (double)a.operations / (double)a.ns;
            continue;
        }
        w->ns[WRITER] = (double)a.ns / (double)a.operations;
        w->bytes = a.bytes;
        w->operations = a.operations;
    }
    if (readers)
        w->ns[READER] = 1 / reads;
    return 0;
}

/* The writer's window; what the table has grown by, an operation. */
static int still_window(struct run *run, enum kind kind, enum still still, double alone_ns, uint64_t *bytes)
{
    struct window w;

    if (window(run, kind, true, 0, &w) < 0)
        return -1;
    series_add(&run->still[kind][still], w.ns[WRITER] / alone_ns);
    series_add(&run->held[kind][still], ((double)w.bytes - (double)*bytes) / (double)w.operations);
    if (still == PINNED)
        series_add(&run->held_mib[kind], ((double)w.bytes - (double)*bytes) / (1 << 20));
    *bytes = w.bytes;
    return 0;
}

static int stand_still(struct run *run, enum kind kind, double alone_ns, uint64_t bytes)
{
    struct child *reader = &run->children[READER];
    uint64_t now = now_ns();
    struct request q = {WORK, kind, now, now + run->options->ms * 1000000};
    struct answer a;
    int r;

    if (child_tell(reader->wire, &q, sizeof q) < 0)
        return -1;
    usleep((useconds_t)(run->options->ms * 500));
    if (kill(reader->pid, SIGSTOP) < 0 || waitpid(reader->pid, NULL, WUNTRACED) != reader->pid)
        return fail("the reader cannot be stopped: %s", strerror(errno));
    r = still_window(run, kind, STOPPED, alone_ns, &bytes);
    kill(reader->pid, SIGCONT);
    if (r < 0 || hear(run, READER, kind, &a) < 0 || ask(run, READER, (struct request){PIN, kind, 0, 0}, &a) < 0)
        return -1;
    if (still_window(run, kind, PINNED, alone_ns, &bytes) < 0 ||
        ask(run, READER, (struct request){UNPIN, kind, 0, 0}, &a) < 0)
        return -1;
    run->snapshots++;
    run->broken += a.operations;
    return still_window(run, kind, AFTER, alone_ns, &bytes);
}

static int run_kind(struct run *run, enum kind kind)
{
    struct window alone = {{0}}, together = {{0}};

    if (window(run, kind, true, 0, &alone) < 0 || window(run, kind, false, 1, &alone) < 0)
        return -1;
    for (enum role role = WRITER; role < ROLES; role++)
        series_add(&run->ns[kind][role][ALONE], alone.ns[role]);
    for (unsigned i = 0; i < run->options->n_counts; i++) {
        struct crowd *crowd = &run->crowds[kind][i];
        if (window(run, kind, true, run->options->counts[i], &together) < 0)
            return -1;
        series_add(&crowd->writer_mops, 1e3 / together.ns[WRITER]);
        series_add(&crowd->read_mops, 1e3 / together.ns[READER]);
        series_add(&crowd->ratio, together.ns[WRITER] / alone.ns[WRITER]);
        for (enum role role = WRITER; role < ROLES && i == 0; role++) {
            series_add(&run->ns[kind][role][TOGETHER], together.ns[role]);
            series_add(&run->ratio[kind][role], together.ns[role] / alone.ns[role]);
        }
    }
    return kind == FLOOR ? 0 : stand_still(run, kind, alone.ns[WRITER], together.bytes);
}

static int run_round(struct run *run, unsigned round)
{
    for (unsigned turn = 0; turn < KINDS; turn++) {
        enum kind kind = (turn + round) % KINDS;
        if (run->out[kind])
            continue;
        progress("round %u: %s", round + 1, kind_texts[kind]);
        if (run_kind(run, kind) < 0)
            return -1;
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

static void report_still(const struct run *run, enum kind kind)
{
    const char *name = kind_names[kind];

    for (enum still still = STOPPED; still < STILLS; still++) {
        say("%s", stills[still].what);
        put_result(series_median(&run->still[kind][still]), "%swriter_%s_vs_alone_ratio", name, stills[still].name);
        put_result(100 * series_spread(&run->still[kind][still]), "%swriter_%s_ratio_spread_percent", name,
                   stills[still].name);
        put_result(series_median(&run->held[kind][still]), "%swriter_%s_held_bytes_per_put", name, stills[still].name);
        if (still == PINNED)
            put_result(series_median(&run->held_mib[kind]), "%swriter_%s_held_mib", name, stills[still].name);
    }
}

static void report_crowds(const struct run *run, enum kind kind)
{
    const char *name = kind_names[kind];

    say("the writer with so many readers: million operations a second, the readers' together");
    for (unsigned i = 0; i < run->options->n_counts; i++) {
        const struct crowd *crowd = &run->crowds[kind][i];
        unsigned n = run->options->counts[i];
        put_result(series_median(&crowd->writer_mops), "%sreaders%u_writer_mops", name, n);
        put_result(series_median(&crowd->read_mops), "%sreaders%u_read_mops", name, n);
        put_result(series_median(&crowd->ratio), "%sreaders%u_writer_vs_alone_ratio", name, n);
        raw_series(&crowd->writer_mops, "mops", "%sreaders%u_writer", name, n);
        raw_series(&crowd->read_mops, "mops", "%sreaders%u_read", name, n);
    }
}

static void report(const struct run *run)
{
    for (enum kind kind = FLOOR; kind < KINDS; kind++) {
        const char *name = kind_names[kind];
        if (run->out[kind])
            continue;
        say("%s", kind_texts[kind]);
        for (enum role role = WRITER; role < ROLES; role++) {
            put_result(series_median(&run->ns[kind][role][ALONE]), "%s%s_alone_ns", name, role_names[role]);
            put_result(series_median(&run->ns[kind][role][TOGETHER]), "%s%s_together_ns", name, role_names[role]);
            put_result(series_median(&run->ratio[kind][role]), "%s%s_together_vs_alone_ratio", name, role_names[role]);
            put_result(100 * series_spread(&run->ratio[kind][role]), "%s%s_ratio_spread_percent", name,
                       role_names[role]);
            raw_series(&run->ns[kind][role][ALONE], "ns", "%s%s_alone", name, role_names[role]);
        }
        report_crowds(run, kind);
        if (kind != FLOOR)
            report_still(run, kind);
    }
}

static void introduce(const struct options *o)
{
    say("readers: one writer and its readers, on cores of their own, together against each alone");
    say_machine();
    say("parameters: %llu random 8-byte keys, %llu-byte values, windows of %llu ms, at least %llu rounds, up to %u "
        "readers on %u cores",
        (unsigned long long)o->objects, (unsigned long long)o->value_size, (unsigned long long)o->ms,
        (unsigned long long)o->bench.rounds, o->most, cores() - 1);
    say("together: with one reader; the writer has a core, the readers share the others");
    say("says nothing about: readers on the writer's core, whole walks");
}

static int start(struct run *run, struct job *jobs, const struct world *world)
{
    const struct options *o = run->options;
    size_t size = o->objects * o->value_size;
    unsigned char *slots = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct answer a;

    if (slots == MAP_FAILED)
        return fail("mmap: %s", strerror(errno));
    for (unsigned who = WRITER; who <= o->most; who++) {
        jobs[who] = (struct job){o, world, slots, who == WRITER ? WRITER : READER, who};
        if (child_start(&run->children[who], serve, &jobs[who]) < 0)
            return -1;
    }
    for (enum kind kind = FLOOR; kind < KINDS; kind++) {
        progress("filling: %s", kind_texts[kind]);
        if (ask_all(run, (struct request){.what = OPEN, .kind = kind}, &a) < 0)
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
        if (!run->out[kind] && ask_all(run, (struct request){.what = CHECK, .kind = kind}, &a) < 0)
            return -1;
    for (unsigned who = WRITER; who <= run->options->most; who++)
        if (child_end(&run->children[who], false) < 0)
            return -1;
    return world_keeper_stop(world);
}

static int run_all(struct world *world, void *arg)
{
    static struct run all; /* reachable to the end: no leak checker need be told */
    struct run *run = &all;
    const struct options *o = arg;
    static struct job jobs[1 + MAX_READERS];
    double error = 1;
    unsigned round;

    run->options = o;
    introduce(o);
    if (o->objects * (o->value_size * 5 + 600 + 8 * o->most) > memory_available() / 5 * 4)
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
    if (run->broken)
        say("%llu of %llu snapshots were broken: the table had no room for all that was written meanwhile",
            (unsigned long long)run->broken, (unsigned long long)run->snapshots);
    say("conserved: no value that was read was half of one, no snapshot changed; at the end each key had the value "
        "written last");
    put_result((double)run->operations, "operations_checked");
    put_result((double)run->snapshots, "snapshots_checked");
    put_result(world_objects(world), "leftover_shm_objects");
    return 0;
}

/* Counts that grow, from 1 on. */
static bool parse_counts(struct options *o)
{
    const char *p = o->count_list ? o->count_list : o->bench.quick ? "1,2" : "1,2,4,8,16";

    for (o->n_counts = 0; *p; p += *p == ',') {
        unsigned n = 0;
        for (; *p >= '0' && *p <= '9' && n <= MAX_READERS; p++)
            n = 10 * n + (unsigned)(*p - '0');
        if (n <= o->most || n > MAX_READERS || o->n_counts == MAX_COUNTS || (*p && *p != ','))
            return false;
        o->counts[o->n_counts++] = o->most = n;
    }
    return o->n_counts > 0 && o->counts[0] == 1;
}

int main(int argc, char **argv)
{
    struct options o = {
        .bench = {
            .does =
                "Measure what a table's writer and its readers cost each other, in processes on cores of their own.",
            .wrong = "Ends with 1 when a reader saw half of a write or a write was lost, with 77 when there are "
                     "not two cores.",
            .max_error = 0.05,
            .rounds = 8,
            .seconds = 100,
            .patience = 4}};
    const struct bench_option options[] = {
        {"objects", "N", "objects in the table", &o.objects, 1, 100000000, 1000000, 20000},
        {"value-size", "N", "bytes of a value", &o.value_size, VALUE_SMALL, 1 << 20, 64, 64},
        {"window-ms", "N", "for which processes work alone or together", &o.ms, 1, 10000, 200, 30},
        {"readers", "A,B", "how many, beginning with 1 (1,2,4,8,16; quick: 1,2)", &o.count_list, 1, 0, 0, 0},
        {0},
    };
    int status;

    o.bench.options = options;
    if ((status = bench_options(&o.bench, argc, argv)) >= 0)
        return status;
    if (!parse_counts(&o)) {
        fail("no list for --readers");
        return 2;
    }
    if (cores() < 2) {
        fail("two cores are needed, and this process may use one");
        return EXIT_SKIP;
    }
    return world_run(run_all, &o);
}
