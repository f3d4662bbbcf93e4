/* SPDX-License-Identifier: MIT */
/*
 * How long is a table without an owner that can work: when it is claimed, given, or left behind by a killed process?
 * And how much of that is the kernel's share, and what would the usual ways of noticing a death cost?
 *
 * Each round measures everything once, floors and rivals included; a ratio is taken between the medians of one round,
 * so that a machine that slows down for a while slows both sides. Quantiles are over the samples of all rounds.
 */
#include "handoff.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_NS UINT64_C(30000000000)
enum {
    MAX_RESIDENT = 8,
    MAX_MEASURES = 16 + 8 * MAX_RESIDENT,
    MAX_FIGURES = 2 * MAX_MEASURES,
    MAX_RATIOS = 16 + 10 * MAX_RESIDENT
};

/* ---- Processes ---------------------------------------------------------------------------------------- */

static void futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
    syscall(SYS_futex, word, operation, value, timeout, NULL, 0); /* who waits looks again, whatever this returns */
}

int await(struct board *board, _Atomic uint32_t *word, uint32_t value, enum how how)
{
    uint64_t deadline = now_ns() + WAIT_NS;
    const struct timespec second = {.tv_sec = 1};
    uint32_t seen;

    for (unsigned looks = 1; (seen = atomic_load_explicit(word, memory_order_acquire)) != value; looks++) {
        if (atomic_load_explicit(&board->failed, memory_order_relaxed))
            return -1;
        if (how == SLEEPING)
            futex(word, FUTEX_WAIT, seen, &second);
        else if (how == YIELDING)
            sched_yield();
        if ((how == SLEEPING || looks % 1024 == 0) && now_ns() > deadline)
            return fail("another process did not answer in time");
    }
    return 0;
}

void announce(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store(word, value);
    futex(word, FUTEX_WAKE, INT_MAX, NULL);
}

void stay(enum place place)
{
    static cpu_set_t all;
    cpu_set_t wanted;
    int seen = 0;

    if (!CPU_COUNT(&all))
        sched_getaffinity(0, sizeof all, &all);
    wanted = all;
    for (int i = 0; i < CPU_SETSIZE && place != ANYWHERE && CPU_COUNT(&all) > 1; i++)
        if (CPU_ISSET(i, &all) && ++seen != (int)place)
            CPU_CLR(i, &wanted);
    sched_setaffinity(0, sizeof wanted, &wanted);
}

void board_reset(struct board *board)
{
    memset(board, 0, sizeof *board);
}

void child_fail(struct board *board, const char *format, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    fail("process %ld: %s", (long)getpid(), text);
    atomic_store(&board->failed, 1);
    _exit(1);
}

void rest(const struct measure *m)
{
    usleep(m->resident_mib ? 100000 : 5000);
}

void occupy(unsigned mib)
{
    size_t size = (size_t)mib << 20;
    unsigned char *p;

    if (!mib)
        return;
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        fail("no %u MiB for a worker", mib);
        _exit(1);
    }
    madvise(p, size, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < size; i += 4096)
        p[i] = 1;
}

int reap(pid_t pid, bool killed)
{
    uint64_t deadline = now_ns() + WAIT_NS;
    int status;
    pid_t r;

    while ((r = waitpid(pid, &status, WNOHANG)) == 0 && now_ns() < deadline)
        usleep(100);
    if (r == 0)
        return fail("process %ld does not end", (long)pid);
    if (r < 0)
        return fail("waitpid: %s", strerror(errno));
    if (killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return fail("process %ld ended with status 0x%x", (long)pid, (unsigned)status);
}

/* ---- What is measured --------------------------------------------------------------------------------- */

struct ratio {
    char name[128];
    const struct figure *above, *below;
    struct series rounds;
};

struct plan {
    struct measure measures[MAX_MEASURES];
    struct ratio ratios[MAX_RATIOS];
    struct figure *figures[MAX_FIGURES];
    unsigned n_measures, n_ratios, n_figures;
};

static struct figure *figure(struct plan *plan, const char *what, const char *name, unsigned mib)
{
    struct figure *f = must(calloc(1, sizeof *f));

    snprintf(f->name, sizeof f->name, mib ? "%s_%umib" : "%s", name, mib);
    f->what = what;
    plan->figures[plan->n_figures++] = f;
    return f;
}

static void add(struct plan *plan, struct measure m)
{
    plan->measures[plan->n_measures++] = m;
}

static void compare(struct plan *plan, const struct figure *above, const struct figure *below)
{
    struct ratio *r = &plan->ratios[plan->n_ratios++];

    r->above = above;
    r->below = below;
    snprintf(r->name, sizeof r->name, "%s_vs_%s_ratio", above->name, below->name);
}

static void plan_living(struct plan *plan, unsigned n)
{
    struct figure *sleep, *spin, *hop1, *hop2, *descriptor, *claim, *give_sleep, *give_spin, *give_keeper;

    sleep = figure(plan, "floor: a futex wakes a sleeping process", "futex_sleep", 0);
    spin = figure(plan, "floor: a process that spins sees a word change", "futex_spin", 0);
    hop1 = figure(plan, "floor: a SEQPACKET socket wakes a sleeping process", "socket_hop", 0);
    hop2 = figure(plan, "floor: the same by way of a third process, as through a keeper", "socket_two_hops", 0);
    descriptor = figure(plan, "floor: one hop with a descriptor", "descriptor_hop", 0);
    claim = figure(plan, "libheir: heir_claim of the keeper's table, and heir_release", "claim_release", 0);
    give_sleep =
        figure(plan, "libheir: heir_give_away until the receiver, asleep in heir_wait, has written", "give_sleep", 0);
    give_spin = figure(plan, "libheir: the same, the receiver with spin_us", "give_spin", 0);
    give_keeper = figure(plan, "libheir: as give_sleep, through the keeper: giver and receiver are of different groups",
                         "give_keeper", 0);

    add(plan, (struct measure){.run = run_hop, .kind = FUTEX_SLEEP, .first = sleep, .samples = n});
    add(plan, (struct measure){.run = run_give, .kind = GIVE_SLEEP, .first = give_sleep, .samples = n});
    add(plan, (struct measure){.run = run_hop, .kind = SOCKET_TWO, .first = hop2, .samples = n});
    if (give_keeper_possible())
        add(plan, (struct measure){.run = run_give, .kind = GIVE_KEEPER, .first = give_keeper, .samples = n});
    else
        say("a give through the keeper is left out: only root can be of two groups");
    add(plan, (struct measure){.run = run_claim, .first = claim, .samples = n});
    add(plan, (struct measure){.run = run_hop, .kind = SOCKET_ONE, .first = hop1, .samples = n});
    add(plan, (struct measure){.run = run_hop, .kind = DESCRIPTOR, .first = descriptor, .samples = n});
    add(plan, (struct measure){.run = run_give, .kind = GIVE_SPIN, .first = give_spin, .samples = n});
    add(plan, (struct measure){.run = run_hop, .kind = FUTEX_SPIN, .first = spin, .samples = n});
    compare(plan, give_sleep, sleep);
    compare(plan, give_sleep, hop2);
    compare(plan, give_spin, spin);
    compare(plan, give_keeper, hop2);
    compare(plan, claim, hop2);
}

static void plan_deaths(struct plan *plan, unsigned mib, unsigned n, const struct figure *idle[2])
{
    static const char *const rivals[] = {[PIDFD] = "pidfd", [WAITPID] = "waitpid", [HANGUP] = "hangup"};
    struct figure *mutex, *mutex_standby, *keeper, *claimant, *open, *watched, *watched_standby, *keeper_watched;
    char name[32];

    mutex = figure(plan, "floor: SIGKILL until a bare robust mutex has woken its waiter", "kill_mutex", mib);
    mutex_standby =
        figure(plan, "floor: and until the standby that the waiter wakes has written", "kill_mutex_standby", mib);
    keeper =
        figure(plan, "libheir: SIGKILL until the keeper owns the table, by the time noted in it", "kill_keeper", mib);
    claimant = figure(plan, "libheir: SIGKILL until the waiting claimant has written", "kill_claimant", mib);
    add(plan, (struct measure){.run = run_death,
                               .kind = MUTEX,
                               .resident_mib = mib,
                               .first = mutex,
                               .second = mutex_standby,
                               .samples = n});
    add(plan, (struct measure){.run = run_kill_keeper, .resident_mib = mib, .first = keeper, .samples = n});
    add(plan, (struct measure){.run = run_kill_claimant, .resident_mib = mib, .first = claimant, .samples = n});
    watched =
        figure(plan, "floor: kill_mutex beside a process that looks at a word all the time", "kill_mutex_watched", mib);
    watched_standby = figure(plan, "floor: and until the standby has written", "kill_mutex_watched_standby", mib);
    keeper_watched =
        figure(plan, "libheir: SIGKILL until a process that looks all the time sees the keeper own the table",
               "kill_keeper_watched", mib);
    add(plan, (struct measure){.run = run_death,
                               .kind = MUTEX,
                               .watched = true,
                               .resident_mib = mib,
                               .first = watched,
                               .second = watched_standby,
                               .samples = n});
    add(plan, (struct measure){
                  .run = run_kill_keeper, .watched = true, .resident_mib = mib, .first = keeper_watched, .samples = n});
    compare(plan, keeper, mutex);
    compare(plan, keeper_watched, watched);
    compare(plan, claimant, mutex);
    compare(plan, claimant, mutex_standby);
    for (int kind = PIDFD; kind <= HANGUP; kind++) {
        struct figure *notice, *standby;
        snprintf(name, sizeof name, "kill_%s", rivals[kind]);
        notice = figure(plan, "rival: SIGKILL until it is noticed", name, mib);
        snprintf(name, sizeof name, "kill_%s_standby", rivals[kind]);
        standby = figure(plan, "rival: and until the standby has written", name, mib);
        add(plan,
            (struct measure){
                .run = run_death, .kind = kind, .resident_mib = mib, .first = notice, .second = standby, .samples = n});
        compare(plan, standby, claimant);
    }
    if (mib) {
        compare(plan, keeper, idle[0]);
        compare(plan, claimant, idle[1]);
        return;
    }
    idle[0] = keeper;
    idle[1] = claimant;
    open = figure(plan, "libheir: as kill_keeper, with 1,000 changes of an open transaction to undo",
                  "kill_keeper_tx1000", 0);
    add(plan, (struct measure){.run = run_kill_keeper, .changes = 1000, .first = open, .samples = n});
    compare(plan, open, keeper);
}

/* ---- The run ------------------------------------------------------------------------------------------ */

struct options {
    struct bench bench;
    uint64_t samples, pause_us;
    unsigned resident[MAX_RESIDENT], n_resident;
    const char *only, *resident_list;
};

static double worst_error(const struct plan *plan, const char **whose)
{
    double worst = 0;

    for (unsigned i = 0; i < plan->n_ratios; i++) {
        double error = series_error(&plan->ratios[i].rounds);
        if (!plan->ratios[i].rounds.n || error <= worst)
            continue;
        worst = error;
        *whose = plan->ratios[i].name;
    }
    return worst;
}

static bool wanted(const struct options *o, const struct measure *m)
{
    return list_has(o->only, m->first->name) || (m->second && list_has(o->only, m->second->name));
}

static unsigned wanted_count(const struct plan *plan, const struct options *o)
{
    unsigned n = 0;

    for (unsigned i = 0; i < plan->n_measures; i++)
        n += wanted(o, &plan->measures[i]);
    return n;
}

static int run_round(struct handoff *h, struct plan *plan, const struct options *o, unsigned round)
{
    for (unsigned i = 0; i < plan->n_measures; i++) {
        struct measure *m = &plan->measures[i];
        if (!wanted(o, m))
            continue;
        progress("round %u: %s", round + 1, m->first->name);
        if (m->run(h, m, m->samples) < 0)
            return fail("%s could not be measured", m->first->name);
    }
    for (unsigned i = 0; i < plan->n_figures; i++) {
        struct figure *f = plan->figures[i];
        struct series now = {0};
        series_append(&now, &f->us, f->seen);
        f->seen = f->us.n;
        if (now.n)
            series_add(&f->medians, series_median(&now));
        series_free(&now);
    }
    for (unsigned i = 0; i < plan->n_ratios; i++) {
        struct ratio *r = &plan->ratios[i];
        if (r->above->us.n && r->below->us.n)
            series_add(&r->rounds, r->above->medians.v[round] / r->below->medians.v[round]);
    }
    return 0;
}

static void report(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->n_figures; i++) {
        const struct figure *f = plan->figures[i];
        if (!f->us.n)
            continue;
        say("%s", f->what);
        put_result(series_median(&f->us), "%s_p50_us", f->name);
        put_result(series_quantile(&f->us, 0.99), "%s_p99_us", f->name);
        put_result(series_quantile(&f->us, 0.999), "%s_p999_us", f->name);
        put_result(series_quantile(&f->us, 1), "%s_max_us", f->name);
        put_result((double)f->us.n, "%s_samples", f->name);
        put_result(100 * series_spread(&f->medians), "%s_spread_percent", f->name);
    }
    say("ratios of p50: the median of those of each round");
    for (unsigned i = 0; i < plan->n_ratios; i++)
        if (plan->ratios[i].rounds.n)
            put_result(series_median(&plan->ratios[i].rounds), "%s", plan->ratios[i].name);
}

static void introduce(const struct options *o)
{
    say("handoff: time until a table's next owner can work");
    say_machine();
    say("parameters: %llu samples a round, at least %llu rounds, one table, pause of %llu us before each, so that all "
        "others sleep",
        (unsigned long long)o->samples, (unsigned long long)o->bench.rounds, (unsigned long long)o->pause_us);
    say("the process that is killed sleeps; NAME_64mib: it has 64 MiB of memory of its own in 4 KiB pages (fewer "
        "samples)");
    say("quantiles that lie beyond the number of samples are their maximum");
    say("says nothing about: many tables, many clients, a loaded machine, core dumps");
}

static int run_all(struct world *world, void *arg)
{
    const struct options *o = arg;
    struct handoff h = {.world = world, .pause_ns = o->pause_us * 1000};
    static struct plan all; /* reachable to the end: no leak checker need be told */
    struct plan *plan = &all;
    const struct figure *idle[2] = {NULL, NULL};
    const char *whose = "";
    double error = 1;
    unsigned round;
    int r;

    introduce(o);
    h.board = mmap(NULL, sizeof *h.board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (h.board == MAP_FAILED)
        return fail("mmap: %s", strerror(errno));
    plan_living(plan, (unsigned)o->samples);
    for (unsigned i = 0; i < o->n_resident; i++) {
        unsigned mib = o->resident[i];
        uint64_t n = mib < 16 ? o->samples : mib < 512 ? o->samples / 10 : o->samples / 60;
        /* Two workers at a time, the standby and the one that is killed. */
        if (((uint64_t)mib << 21) + (UINT64_C(1) << 30) > memory_available()) {
            say("%u MiB resident is left out: the machine has not enough memory for it", mib);
            continue;
        }
        plan_deaths(plan, mib, (unsigned)(n < 3 ? 3 : n), idle);
    }
    if (o->only && wanted_count(plan, o) == 0)
        return fail("--only names nothing that is measured");
    if (world_keeper_start(world) < 0 || world_open(world, "handoff", &h.client) < 0)
        return -1;
    for (round = 0; bench_goes_on(&o->bench, round, error); round++) {
        if (run_round(&h, plan, o, round) < 0)
            return -1;
        error = worst_error(plan, &whose);
    }
    report(plan);
    bench_steady(&o->bench, "", round, error, whose);
    r = heir_close(h.client);
    if (r < 0)
        return fail("heir_close: %s", heir_strerror(r));
    if (world_keeper_stop(world) < 0)
        return -1;
    say("conserved: every owner found the sum of all before it, every change of owner raised the epoch and had one "
        "event");
    put_result((double)h.transfers, "transfers_checked");
    put_result((double)h.kills, "kills_checked");
    put_result(world_objects(world), "leftover_shm_objects");
    return 0;
}

/* ---- Options ------------------------------------------------------------------------------------------ */

static bool parse_resident(const char *text, struct options *o)
{
    char copy[128], *save, *word;
    uint64_t mib;

    if (strlen(text) >= sizeof copy)
        return false;
    strcpy(copy, text);
    o->n_resident = 0;
    for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        if (o->n_resident == MAX_RESIDENT || !parse_u64(word, 0, 1 << 20, &mib))
            return false;
        if ((o->n_resident == 0) != (mib == 0)) /* 0 is what the others are compared with */
            return false;
        o->resident[o->n_resident++] = (unsigned)mib;
    }
    return o->n_resident > 0;
}

int main(int argc, char **argv)
{
    struct options o = {
        .bench = {.does =
                      "Measure how long libheir takes to change a table's owner, with floors and rivals, in one run.",
                  .wrong = "Ends with 1 when a change of owner was lost, doubled, or without its event.",
                  .max_error = 0.05,
                  .rounds = 5,
                  .seconds = 170,
                  .patience = 2}};
    const struct bench_option options[] = {
        {"samples", "N", "samples of each thing in a round", &o.samples, 1, 1000000, 200, 20},
        {"resident", "A,B", "MiB of memory that killed processes have; begins with 0 (0,64,1024,4096; quick: 0,64)",
         &o.resident_list, 1, 0, 0, 0},
        {"pause-us", "N", "before each sample, so that all others sleep", &o.pause_us, 1, 100000, 300, 300},
        {"only", "A,B", "only these, named as in the output without the unit; ratios need both sides", &o.only, 1, 0, 0,
         0},
        {0},
    };
    int status;

    o.bench.options = options;
    if ((status = bench_options(&o.bench, argc, argv)) >= 0)
        return status;
    if (!o.resident_list)
        o.resident_list = o.bench.quick ? "0,64" : "0,64,1024,4096";
    return parse_resident(o.resident_list, &o) ? world_run(run_all, &o) : (fail("no list for --resident"), 2);
}
