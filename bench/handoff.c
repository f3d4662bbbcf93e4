/* SPDX-License-Identifier: MIT */
/*
 * How long is a table without an owner that can work: when it is claimed, given, or left behind by a killed process?
 * And how much of that is the kernel's share, and what would the usual ways of noticing a death cost?
 *
 * What belongs together is a section: each of its rounds measures everything once, floors and rivals included; a ratio
 * is taken between the medians of one round, so that a machine that slows down for a while slows both sides. Quantiles
 * are over the samples of all rounds. A section is printed when it is done, or when the benchmark is stopped.
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
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_NS UINT64_C(120000000000) /* taking 4 GiB takes half a minute where everything waits for a processor */
enum {
    MAX_RESIDENT = 8,
    MAX_SECTIONS = 5 + MAX_RESIDENT,
    MAX_MEASURES = 16 * MAX_SECTIONS,
    MAX_FIGURES = 2 * MAX_MEASURES,
    MAX_RATIOS = 16 * MAX_SECTIONS,
    MAX_LOAD = 1024
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
        if (atomic_load_explicit(&board->failed, memory_order_relaxed) || bench_stopped())
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

void pass_time(const struct measure *m, uint64_t ns)
{
    if (m->loaded)
        usleep((useconds_t)(ns / 1000));
    else
        spin_ns(ns);
}

int await_answer(struct board *board, const struct measure *m, _Atomic uint32_t *word, uint32_t value)
{
    return await(board, word, value, m->loaded ? SLEEPING : YIELDING);
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
    usleep(m->resident_mib || m->beside_mib ? 100000 : 5000);
}

void occupy(struct board *board, unsigned mib)
{
    size_t size = (size_t)mib << 20;
    unsigned char *p;

    if (!mib)
        return;
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        child_fail(board, "no %u MiB for a process: %s", mib, strerror(errno));
    madvise(p, size, MADV_NOHUGEPAGE);
    if (madvise(p, size, MADV_POPULATE_WRITE) == 0)
        return;
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

/* ---- Load --------------------------------------------------------------------------------------------- */

/* One process for each core that does nothing but run, at the priority of all. */
struct load {
    pid_t pids[MAX_LOAD];
    unsigned n;
};

static int load_start(struct load *load)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    for (load->n = 0; load->n < MAX_LOAD && (long)load->n < cores; load->n++) {
        pid_t pid = world_fork();
        if (pid < 0)
            return fail("fork: %s", strerror(errno));
        if (pid == 0) {
            for (volatile unsigned long count = 0;;)
                count = count + 1;
        }
        load->pids[load->n] = pid;
    }
    usleep(20000); /* until the scheduler has spread them */
    return 0;
}

static int load_end(struct load *load)
{
    int r = 0;

    for (unsigned i = 0; i < load->n; i++) {
        kill(load->pids[i], SIGKILL);
        r = reap(load->pids[i], true) < 0 ? -1 : r;
    }
    return r;
}

/* ---- What is measured --------------------------------------------------------------------------------- */

struct ratio {
    char name[160];
    const struct figure *above, *below;
    struct series rounds;
};

/* What is measured together, round by round, and printed then. */
struct section {
    const char *what, *name;
    unsigned measures, figures, ratios; /* where the plan's begin; they end where the next one's do */
};

struct plan {
    struct measure measures[MAX_MEASURES];
    struct figure *figures[MAX_FIGURES];
    struct ratio ratios[MAX_RATIOS];
    struct section sections[MAX_SECTIONS + 1];
    unsigned n_measures, n_figures, n_ratios, n_sections;
    /* On an idle machine, one table, small processes. Later sections measure these again, so that both sides of a ratio
     * are of one round. */
    struct figure *give, *keeper, *claimant;
};

static void begin_section(struct plan *plan, const char *what, const char *name)
{
    plan->sections[plan->n_sections++] =
        (struct section){what, name, plan->n_measures, plan->n_figures, plan->n_ratios};
}

static struct figure *figure(struct plan *plan, const char *what, const char *name, const char *suffix)
{
    struct figure *f = must(calloc(1, sizeof *f));

    snprintf(f->name, sizeof f->name, "%s%s", name, suffix);
    f->what = what;
    plan->figures[plan->n_figures++] = f;
    return f;
}

static void add(struct plan *plan, struct measure m, measure_run *run, int kind, struct figure *first,
                struct figure *second)
{
    m.run = run;
    m.kind = kind;
    m.first = first;
    m.second = second;
    if (!m.samples)
        m.samples = 1;
    plan->measures[plan->n_measures++] = m;
}

static void compare(struct plan *plan, const struct figure *above, const struct figure *below)
{
    struct ratio *r = &plan->ratios[plan->n_ratios++];

    r->above = above;
    r->below = below;
    snprintf(r->name, sizeof r->name, "%s_vs_%s_ratio", above->name, below->name);
}

/* m: how it is measured; who is killed or given to, and by whom, is added. */
static void plan_living(struct plan *plan, struct measure m, const char *suffix)
{
    struct figure *sleep, *spin, *hop1, *hop2, *descriptor, *claim, *give_sleep, *give_spin, *spin_rested, *give_keeper;

    sleep = figure(plan, "floor: a futex wakes a sleeping process", "futex_sleep", suffix);
    spin = figure(plan, "floor: a process that spins sees a word change", "futex_spin", suffix);
    hop1 = figure(plan, "floor: a SEQPACKET socket wakes a sleeping process", "socket_hop", suffix);
    hop2 = figure(plan, "floor: the same by way of a third process, as through a keeper", "socket_two_hops", suffix);
    descriptor = figure(plan, "floor: one hop with a descriptor", "descriptor_hop", suffix);
    claim = figure(plan, "libheir: heir_claim of the keeper's table, and heir_release", "claim_release", suffix);
    give_sleep = figure(plan, "libheir: heir_give_away until the receiver, asleep in heir_wait, has written",
                        "give_sleep", suffix);
    give_spin = figure(plan, "libheir: the same, the receiver with spin_us", "give_spin", suffix);
    spin_rested =
        figure(plan, "libheir: the same after as long a pause as where others sleep", "give_spin_rested", suffix);
    give_keeper = figure(plan, "libheir: as give_sleep, through the keeper: giver and receiver are of different groups",
                         "give_keeper", suffix);

    add(plan, m, run_hop, FUTEX_SLEEP, sleep, NULL);
    add(plan, m, run_give, GIVE_SLEEP, give_sleep, NULL);
    add(plan, m, run_hop, SOCKET_TWO, hop2, NULL);
    if (give_keeper_possible())
        add(plan, m, run_give, GIVE_KEEPER, give_keeper, NULL);
    else
        say("a give through the keeper is left out: only root can be of two groups");
    add(plan, m, run_claim, 0, claim, NULL);
    add(plan, m, run_hop, SOCKET_ONE, hop1, NULL);
    add(plan, m, run_hop, DESCRIPTOR, descriptor, NULL);
    if (!m.loaded) { /* who spins has a core of his own, or is not measured but its scheduler */
        add(plan, m, run_give, GIVE_SPIN, give_spin, NULL);
        add(plan, m, run_give, GIVE_SPIN_RESTED, spin_rested, NULL);
        add(plan, m, run_hop, FUTEX_SPIN, spin, NULL);
        plan->give = give_sleep;
    }
    compare(plan, give_sleep, sleep);
    compare(plan, give_sleep, hop2);
    compare(plan, give_spin, spin);
    compare(plan, give_keeper, hop2);
    compare(plan, claim, hop2);
}

static void plan_rivals(struct plan *plan, struct measure m, const char *suffix, const struct figure *claimant)
{
    static const char *const rivals[] = {[PIDFD] = "pidfd", [WAITPID] = "waitpid", [HANGUP] = "hangup"};
    char name[32];

    for (int kind = PIDFD; kind <= HANGUP; kind++) {
        struct figure *notice, *standby;
        snprintf(name, sizeof name, "kill_%s", rivals[kind]);
        notice = figure(plan, "rival: SIGKILL until it is noticed", name, suffix);
        snprintf(name, sizeof name, "kill_%s_standby", rivals[kind]);
        standby = figure(plan, "rival: and until the standby has written", name, suffix);
        add(plan, m, run_death, kind, notice, standby);
        compare(plan, standby, claimant);
    }
}

static void plan_watched(struct plan *plan, struct measure m, const char *suffix)
{
    struct figure *mutex, *mutex_standby, *keeper;

    m.watched = true;
    mutex = figure(plan, "floor: kill_mutex beside a process that looks at a word all the time", "kill_mutex_watched",
                   suffix);
    mutex_standby = figure(plan, "floor: and until the standby has written", "kill_mutex_watched_standby", suffix);
    keeper = figure(plan, "libheir: SIGKILL until a process that looks all the time sees the keeper own the table",
                    "kill_keeper_watched", suffix);
    add(plan, m, run_death, MUTEX, mutex, mutex_standby);
    add(plan, m, run_kill_keeper, 0, keeper, NULL);
    compare(plan, keeper, mutex);
}

struct deaths {
    struct figure *mutex, *standby, *keeper, *claimant;
};

static struct deaths plan_kills(struct plan *plan, struct measure m, const char *suffix)
{
    struct deaths d;

    d.mutex = figure(plan, "floor: SIGKILL until a bare robust mutex has woken its waiter", "kill_mutex", suffix);
    d.standby =
        figure(plan, "floor: and until the standby that the waiter wakes has written", "kill_mutex_standby", suffix);
    d.keeper = figure(plan, "libheir: SIGKILL until the keeper owns the table, by the time noted in it", "kill_keeper",
                      suffix);
    d.claimant = figure(plan, "libheir: SIGKILL until the waiting claimant has written", "kill_claimant", suffix);
    add(plan, m, run_death, MUTEX, d.mutex, d.standby);
    add(plan, m, run_kill_keeper, 0, d.keeper, NULL);
    add(plan, m, run_kill_claimant, 0, d.claimant, NULL);
    return d;
}

/* Does it matter who has the memory? After gigabytes have been written the kernel's code is in no cache any more, and
 * whatever it does takes longer, whoever dies: so the same again, when the dead had nothing and another has as much. */
static void plan_beside(struct plan *plan, struct measure m, const char *suffix, const struct deaths *had)
{
    char name[32];

    snprintf(name, sizeof name, "_beside%s", suffix);
    m.beside_mib = m.resident_mib;
    m.resident_mib = 0;
    struct deaths had_not = plan_kills(plan, m, name);
    compare(plan, had->mutex, had_not.mutex);
    compare(plan, had->keeper, had_not.keeper);
    compare(plan, had->claimant, had_not.claimant);
}

static void plan_deaths(struct plan *plan, struct measure m, const char *suffix)
{
    struct deaths d = plan_kills(plan, m, suffix);
    struct figure *open;

    compare(plan, d.keeper, d.mutex);
    compare(plan, d.claimant, d.mutex);
    compare(plan, d.claimant, d.standby);
    plan_rivals(plan, m, suffix, d.claimant);
    if (m.resident_mib) {
        compare(plan, d.keeper, plan->keeper);
        compare(plan, d.claimant, plan->claimant);
        plan_beside(plan, m, suffix, &d);
    }
    if (m.resident_mib || m.loaded)
        return;
    plan->keeper = d.keeper;
    plan->claimant = d.claimant;
    plan_watched(plan, m, suffix);
    m.changes = 1000;
    open = figure(plan, "libheir: as kill_keeper, with 1,000 changes of an open transaction to undo",
                  "kill_keeper_tx1000", suffix);
    add(plan, m, run_kill_keeper, 0, open, NULL);
    compare(plan, open, d.keeper);
}

static void plan_idle(struct plan *plan, struct measure m)
{
    add(plan, m, run_kill_keeper, 0, plan->keeper, NULL);
    add(plan, m, run_kill_claimant, 0, plan->claimant, NULL);
}

static void plan_tables(struct plan *plan, struct measure m, const char *suffix)
{
    struct figure *give, *take, *keeper, *claimant;

    give = figure(plan, "libheir: as give_sleep, the giver has so many tables, and gives one", "give_sleep", suffix);
    take = figure(plan, "libheir: as give_sleep, the receiver has so many tables, and gets one", "take_sleep", suffix);
    keeper = figure(plan, "libheir: SIGKILL of the owner of so many tables until the keeper owns the last of them",
                    "kill_keeper", suffix);
    claimant = figure(plan, "libheir: SIGKILL of the owner of so many until one's waiting claimant has written",
                      "kill_claimant", suffix);
    add(plan, m, run_give, GIVE_SLEEP, give, take);
    add(plan, m, run_kill_keeper, 0, keeper, NULL);
    add(plan, m, run_kill_claimant, 0, claimant, NULL);
    compare(plan, give, plan->give);
    compare(plan, take, plan->give);
    compare(plan, keeper, plan->keeper);
    compare(plan, claimant, plan->claimant);
}

/* ---- The run ------------------------------------------------------------------------------------------ */

struct options {
    struct bench bench;
    uint64_t samples, pause_us;
    unsigned resident[MAX_RESIDENT], n_resident;
    const char *only, *resident_list;
};

static void note_worse(const struct series *rounds, const char *name, double *worst, const char **whose)
{
    double error = series_error(rounds);

    if (!rounds->n || error <= *worst)
        return;
    *worst = error;
    *whose = name;
}

/* Of the ratios; of the times, when --only has left nothing to compare. */
static double worst_error(const struct plan *plan, const struct section *s, const char **whose)
{
    bool compared = false;
    double worst = 0;

    for (unsigned i = s->ratios; i < s[1].ratios; i++) {
        compared |= plan->ratios[i].rounds.n > 0;
        note_worse(&plan->ratios[i].rounds, plan->ratios[i].name, &worst, whose);
    }
    for (unsigned i = s->figures; i < s[1].figures && !compared; i++)
        note_worse(&plan->figures[i]->medians, plan->figures[i]->name, &worst, whose);
    return worst;
}

static bool wanted(const struct options *o, const struct measure *m)
{
    return list_has(o->only, m->first->name) || (m->second && list_has(o->only, m->second->name));
}

/* Has it a figure of its own that is wanted? */
static bool wanted_section(const struct plan *plan, const struct options *o, const struct section *s)
{
    for (unsigned i = s->figures; i < s[1].figures; i++)
        if (list_has(o->only, plan->figures[i]->name))
            return true;
    return false;
}

/* Each sample after another process has taken up memory. */
static int run_beside(struct handoff *h, const struct measure *m)
{
    int r = 0;

    for (unsigned i = 0; i < m->samples && r == 0; i++) {
        board_reset(h->board);
        pid_t pid = world_fork();
        if (pid < 0)
            return fail("fork: %s", strerror(errno));
        if (pid == 0) {
            occupy(h->board, m->beside_mib);
            announce(&h->board->ready, 1);
            for (;;)
                pause();
        }
        r = await(h->board, &h->board->ready, 1, SLEEPING);
        if (r == 0)
            r = m->run(h, m, 1);
        kill(pid, SIGKILL);
        r = reap(pid, true) < 0 ? -1 : r;
    }
    return r;
}

static int run_measure(struct handoff *h, const struct measure *m)
{
    struct load load = {.n = 0};
    int r = m->loaded ? load_start(&load) : 0;

    if (r == 0)
        r = m->beside_mib ? run_beside(h, m) : m->run(h, m, m->samples);
    if (m->tables > h->held)
        h->held = m->tables;
    if (load_end(&load) < 0)
        r = -1;
    return r;
}

/* For who waits: what the first round has found. */
static void tell(const struct figure *f)
{
    if (f && f->us.n > f->seen)
        say("first round, %s: %.1f us", f->name, series_quantile(&f->us, 0.5));
}

static int run_round(struct handoff *h, struct plan *plan, const struct options *o, const struct section *s,
                     unsigned round)
{
    for (unsigned i = s->measures; i < s[1].measures; i++) {
        struct measure *m = &plan->measures[i];
        if (!wanted(o, m))
            continue;
        progress("%s, round %u: %s", s->name, round + 1, m->first->name);
        if (run_measure(h, m) < 0)
            return bench_stopped() ? -1 : fail("%s could not be measured", m->first->name);
        if (round == 0 && !o->bench.quick) {
            tell(m->first);
            tell(m->second);
        }
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
    for (unsigned i = s->ratios; i < s[1].ratios; i++) {
        struct ratio *r = &plan->ratios[i];
        size_t above = r->above->medians.n, below = r->below->medians.n;
        if (above && below)
            series_add(&r->rounds, r->above->medians.v[above - 1] / r->below->medians.v[below - 1]);
    }
    return 0;
}

static void report(const struct plan *plan, const struct section *s)
{
    bool said = false;

    for (unsigned i = s->figures; i < s[1].figures; i++) {
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
        raw_series(&f->us, "us", "%s", f->name);
    }
    for (unsigned i = s->ratios; i < s[1].ratios; i++) {
        if (!plan->ratios[i].rounds.n)
            continue;
        if (!said)
            say("ratios of p50: the median of those of each round");
        said = true;
        put_result(series_median(&plan->ratios[i].rounds), "%s", plan->ratios[i].name);
    }
}

/* Of the time that is left, each section may take an equal part; what it leaves is the later ones'. */
static int run_section(struct handoff *h, struct plan *plan, const struct options *o, const struct section *s)
{
    unsigned left = plan->n_sections - (unsigned)(s - plan->sections);
    uint64_t now = now_ns(), used = (now - o->bench.began_ns) / 1000000000;
    struct bench share = o->bench;
    const char *whose = "";
    char prefix[32];
    double error = 1;
    unsigned round;
    int r = 0;

    share.began_ns = now;
    share.seconds = used < share.seconds ? (share.seconds - used) / left : 0;
    say("%s: %s", s->name, s->what);
    for (round = 0; r == 0 && bench_goes_on(&share, round, error); round += r == 0) {
        r = run_round(h, plan, o, s, round);
        if (r == 0)
            error = worst_error(plan, s, &whose);
    }
    report(plan, s);
    if (r < 0 && !bench_stopped())
        return -1;
    snprintf(prefix, sizeof prefix, "%s_", s->name);
    bench_steady(&o->bench, prefix, round, error, whose);
    return 0;
}

static void introduce(const struct options *o)
{
    say("handoff: time until a table's next owner can work");
    say_machine();
    say("parameters: %llu samples a round of what kills nobody, a quarter of what kills, fewer of what is slow; at "
        "least %llu rounds of each part, if %llu s are enough; a pause of %llu us before each, so that all others "
        "sleep, a hundredth of it between two who spin",
        (unsigned long long)o->samples, (unsigned long long)o->bench.rounds, (unsigned long long)o->bench.seconds,
        (unsigned long long)o->pause_us);
    say("the process that is killed sleeps; NAME_64mib: it has 64 MiB of memory of its own in 4 KiB pages; "
        "NAME_beside_64mib: it has none, another process has just taken so much; "
        "NAME_100tables: the owner has 100; NAME_loaded: each core has a process that only counts, too");
    say("quantiles that lie beyond the number of samples are their maximum");
    say("says nothing about: many clients, core dumps, other priorities than all have");
}

/* Two workers at a time have so much, the standby and the one that is killed. */
static bool room_in_memory(unsigned mib)
{
    return ((uint64_t)mib << 21) + (UINT64_C(1) << 30) <= memory_available();
}

/* An empty table takes up 24 KiB. */
static bool room_for_tables(unsigned n)
{
    struct statvfs shm;

    return statvfs("/dev/shm", &shm) == 0 && (uint64_t)shm.f_bavail * shm.f_bsize > (uint64_t)n * 65536 &&
           room_in_memory(0);
}

static void plan_all(struct plan *plan, const struct options *o)
{
    static const unsigned tables[] = {100, 10000};
    unsigned n = (unsigned)o->samples;
    const struct measure one = {.samples = n / 4};
    static char suffix[MAX_SECTIONS][24];

    begin_section(plan, "nobody dies, nothing else runs", "living");
    plan_living(plan, (struct measure){.samples = n}, "");
    begin_section(plan, "an owner is killed, nothing else runs", "deaths");
    plan_deaths(plan, one, "");
    begin_section(plan, "each core has another process that runs all the time", "loaded");
    plan_living(plan, (struct measure){.samples = n / 5, .loaded = true}, "_loaded");
    plan_deaths(plan, (struct measure){.samples = n / 16, .loaded = true}, "_loaded");
    for (unsigned i = 0; i < sizeof tables / sizeof tables[0] - o->bench.quick; i++) {
        char *text = suffix[plan->n_sections];
        if (!room_for_tables(tables[i])) {
            say("%u tables are left out: /dev/shm has no room for them", tables[i]);
            continue;
        }
        snprintf(text, sizeof suffix[0], "_%utables", tables[i]);
        begin_section(plan, "the owner has many tables", text + 1);
        add(plan, (struct measure){.samples = n / 8}, run_give, GIVE_SLEEP, plan->give, NULL);
        plan_idle(plan, (struct measure){.samples = n / 16});
        plan_tables(plan, (struct measure){.tables = tables[i], .samples = i ? 2 : n / 16}, text);
    }
    for (unsigned i = 1; i < o->n_resident; i++) {
        unsigned mib = o->resident[i];
        char *text = suffix[plan->n_sections];
        if (!room_in_memory(mib)) {
            say("%u MiB resident is left out: the machine has not enough memory for it", mib);
            continue;
        }
        snprintf(text, sizeof suffix[0], "_%umib", mib);
        begin_section(plan, "an owner with much memory of its own is killed", text + 1);
        plan_idle(plan, (struct measure){.samples = n / 16});
        plan_deaths(plan, (struct measure){.resident_mib = mib, .samples = mib < 512 ? n / 32 : n / 200}, text);
    }
    begin_section(plan, NULL, NULL); /* where the last one ends */
    plan->n_sections--;
}

static int run_all(struct world *world, void *arg)
{
    const struct options *o = arg;
    struct handoff h = {.world = world, .pause_ns = o->pause_us * 1000};
    static struct plan plan; /* reachable to the end: no leak checker need be told */
    bool any = false;

    introduce(o);
    bench_catch_stop();
    h.board = mmap(NULL, sizeof *h.board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (h.board == MAP_FAILED)
        return fail("mmap: %s", strerror(errno));
    plan_all(&plan, o);
    if (world_keeper_start(world) < 0 || world_open(world, "handoff", &h.client) < 0)
        return -1;
    for (unsigned i = 0; i < plan.n_sections && !bench_stopped(); i++) {
        if (!wanted_section(&plan, o, &plan.sections[i]))
            continue;
        any = true;
        if (run_section(&h, &plan, o, &plan.sections[i]) < 0)
            return -1;
    }
    if (!any)
        return fail("--only names nothing that is measured");
    if (bench_stopped()) {
        say("STOPPED: this is what had been measured; the check at the end was not made");
        return -1;
    }
    if (destroy_held(&h) < 0)
        return -1;
    int r = heir_close(h.client);
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
