/* SPDX-License-Identifier: MIT */
/*
 * What does it cost a table that there are many others, and its owner that there are many other clients? That it has
 * many objects itself, or a long history?
 *
 * Two keepers run side by side, each with its own namespace: one has a crowd of tables and clients, or large tables,
 * the other one table and one client. Each sample is taken in one and then in the other, so that a ratio is between
 * neighbours in time. The crowd's tables are one process's, its clients are threads of few processes; all of them
 * sleep.
 */
#include "common.h"
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <heir.h>
#include <heir/inspect.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NUMBER     "n"
#define TIMEOUT_MS 60000
#define REST_US    3000 /* before a kill: the machine becomes idle */
enum { MAX_CROWDS = 12, HOLDER_TABLES = 20000, CROWD_THREADS = 100, MAX_CHILDREN = 64 };

static const struct heir_table_options table_options = {.max_bytes = HEIR_TABLE_MIN};
static const struct heir_table_options large_options = {.max_bytes = UINT64_C(1) << 30};

enum what { GET, GIVE, CLAIM, RECLAIM, WHATS };
static const struct {
    const char *name, *what;
} whats[WHATS] = {
    [GET] = {"get", "heir_get of an object of one table, a hundred times"},
    [GIVE] = {"give", "heir_give_away to a client of the same thread, and its heir_wait"},
    [CLAIM] = {"claim", "heir_claim and heir_release of one table"},
    [RECLAIM] = {"reclaim", "SIGKILL of the owner of one table until it is the keeper's, by the time noted in it"},
};

struct crowd {
    uint64_t tables, clients;
    uint64_t objects, history; /* of the tables that are worked on; changes since a snapshot that is held */
    char name[32];
    bool out;
    uint64_t got;                                           /* tables that there could be, when that are fewer */
    struct series us[WHATS], alone_us[WHATS], ratio[WHATS]; /* of each round */
    struct series all[WHATS];                               /* samples */
    struct series client_bytes, client_shm_bytes, table_bytes, restart_ms, mass_ms, create_us;
};

/* A namespace, and what is measured in it. */
struct side {
    struct world *world;
    const struct crowd *crowd;
    struct heir *giver, *taker, *holder;
    struct heir_snapshot *held[2];              /* of the table that is given and the one that is claimed */
    struct heir_table *table, *claimed, *probe; /* two that go to and fro, and one whose owner is killed */
    int64_t owners;
};

struct options {
    struct bench bench;
    uint64_t samples;
    bool long_run;
};

struct scale {
    const struct options *options;
    struct crowd crowds[MAX_CROWDS];
    unsigned n_crowds;
    uint64_t transfers, kills;
};

/* ---- Children: each says one number when it is ready, and sleeps until it is killed -------------------- */

struct child {
    pid_t pid;
    int64_t said;
};

typedef int64_t child_run(const struct world *world, uint64_t from, uint64_t n);

static int start(struct child *child, child_run *run, const struct world *world, uint64_t from, uint64_t n)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail("pipe: %s", strerror(errno));
    child->pid = world_fork();
    if (child->pid == 0) {
        int64_t said = run(world, from, n);
        if (write(fds[1], &said, sizeof said) != sizeof said)
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    if (child->pid < 0 || read(fds[0], &child->said, sizeof child->said) != sizeof child->said) {
        close(fds[0]);
        return fail("a process of the crowd did not get ready");
    }
    close(fds[0]);
    return 0;
}

static void end(struct child *child)
{
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
}

static int fill(struct heir_table *table, uint64_t objects)
{
    int r = 0;

    for (uint64_t i = 0; i < objects && r == 0; i++) {
        uint64_t key = mix64(i);
        r = heir_put(table, &key, sizeof key, &i, sizeof i);
    }
    return check(r, "heir_put");
}

static int change(struct heir_table *table, uint64_t history)
{
    int64_t number;
    int r = 0;

    for (uint64_t i = 0; i < history && r == 0; i++)
        r = heir_add(table, "changes", sizeof "changes", 1, &number);
    return check(r, "heir_add");
}

/* Owns the probe, and counts its owners. The first one fills it; the second one, when it is held in a snapshot, makes
 * its history. */
static int64_t own_probe(const struct world *world, uint64_t objects, uint64_t history)
{
    const struct heir_table_options *options = objects || history ? &large_options : &table_options;
    struct heir_table *table;
    struct heir *client;
    int64_t owners;

    if (world_open(world, "victim", &client) < 0 ||
        check(heir_claim(client, "probe", options, TIMEOUT_MS, &table), "heir_claim") < 0 ||
        check(heir_add(table, NUMBER, sizeof NUMBER, 1, &owners), "heir_add") < 0 ||
        (owners == 1 && fill(table, objects) < 0) || (owners == 2 && change(table, history) < 0))
        _exit(1);
    return owners;
}

/* Creates tables; says how many there could be. */
static int64_t hold_tables(const struct world *world, uint64_t from, uint64_t n)
{
    struct heir_table *table;
    struct heir *client;
    char name[32];
    int r = 0;

    if (world_open(world, "holder", &client) < 0)
        _exit(1);
    for (uint64_t i = from; i < from + n && r == 0; i++) {
        snprintf(name, sizeof name, "t%llu", (unsigned long long)i);
        r = heir_create(client, name, &table_options, &table);
        if (r < 0) {
            say("table %llu could not be created: %s", (unsigned long long)i, heir_strerror(r));
            return (int64_t)(i - from);
        }
    }
    return (int64_t)n;
}

struct opening {
    const struct world *world;
    _Atomic int64_t ready;
};

static void *be_client(void *arg)
{
    struct opening *opening = arg;
    struct heir *client;

    if (world_open(opening->world, "crowd", &client) < 0)
        _exit(1);
    opening->ready++;
    for (;;)
        pause();
    return NULL;
}

static int64_t hold_clients(const struct world *world, uint64_t from, uint64_t n)
{
    static struct opening opening;
    pthread_t thread;

    (void)from;
    opening.world = world;
    for (uint64_t i = 0; i < n; i++)
        if (pthread_create(&thread, NULL, be_client, &opening) != 0)
            _exit(1);
    while (opening.ready < (int64_t)n)
        usleep(1000);
    return (int64_t)n;
}

/* ---- One sample --------------------------------------------------------------------------------------- */

static int hold(struct side *side, const char *name, struct heir_snapshot **snapshot)
{
    struct heir_table *table;

    if (check(heir_attach(side->holder, name, &table), "heir_attach") < 0)
        return -1;
    return check(heir_snapshot_open(table, snapshot), "heir_snapshot_open");
}

/* A table of the giver's, of the size and with the history that the crowd says. */
static int prepare(struct side *side, const char *name, struct heir_table **table, struct heir_snapshot **snapshot)
{
    const struct crowd *c = side->crowd;
    bool large = c->objects || c->history;
    int64_t number;

    if (check(heir_create(side->giver, name, large ? &large_options : &table_options, table), "heir_create") < 0 ||
        check(heir_add(*table, NUMBER, sizeof NUMBER, 1, &number), "heir_add") < 0 || fill(*table, c->objects) < 0 ||
        (c->history && hold(side, name, snapshot) < 0))
        return -1;
    return change(*table, c->history);
}

static int side_open(struct side *side, struct world *world, const struct crowd *crowd)
{
    *side = (struct side){.world = world, .crowd = crowd};
    if (world_open(world, "giver", &side->giver) < 0 || world_open(world, "taker", &side->taker) < 0 ||
        world_open(world, "holder", &side->holder) < 0 || prepare(side, "given", &side->table, &side->held[0]) < 0 ||
        prepare(side, "claimed", &side->claimed, &side->held[1]) < 0)
        return -1;
    return check(heir_release(side->claimed), "heir_release");
}

/* The history was there to the end, if the snapshots are. */
static int side_close(struct side *side)
{
    int r = 0;

    for (unsigned i = 0; i < 2 && r == 0; i++)
        if (side->held[i])
            r = check(heir_snapshot_check(side->held[i]), "heir_snapshot_check");
    for (unsigned i = 0; i < 2; i++)
        if (side->held[i])
            heir_snapshot_close(side->held[i]);
    if (check(heir_close(side->giver), "heir_close") < 0 || check(heir_close(side->taker), "heir_close") < 0)
        r = -1;
    return check(heir_close(side->holder), "heir_close") < 0 ? -1 : r;
}

static int take_event(struct heir *client, struct heir_event *event)
{
    if (check(heir_wait(client, TIMEOUT_MS, event), "heir_wait") < 0)
        return -1;
    return event->type == HEIR_EVENT_TRANSFER ? 0 : fail("an event of type %d instead of a transfer", event->type);
}

static int sample_get(struct side *side, double *us)
{
    uint64_t began = now_ns();
    int64_t number;

    for (unsigned i = 0; i < 100; i++) {
        size_t size = sizeof number;
        if (check(heir_get(side->table, NUMBER, sizeof NUMBER, &number, &size), "heir_get") < 0)
            return -1;
    }
    *us = (double)(now_ns() - began) / 1e3;
    return 0;
}

static int sample_give(struct side *side, double *us)
{
    struct heir *giver = side->giver;
    struct heir_event event;
    uint64_t began = now_ns();

    if (check(heir_give_away(side->table, heir_id(side->taker), NULL, 0), "heir_give_away") < 0 ||
        take_event(side->taker, &event) < 0)
        return -1;
    *us = (double)(now_ns() - began) / 1e3;
    side->table = event.table;
    side->giver = side->taker;
    side->taker = giver;
    return 0;
}

static int sample_claim(struct side *side, double *us)
{
    struct heir_event event;
    uint64_t began = now_ns();

    if (check(heir_claim(side->giver, "claimed", NULL, TIMEOUT_MS, &side->claimed), "heir_claim") < 0 ||
        check(heir_release(side->claimed), "heir_release") < 0)
        return -1;
    *us = (double)(now_ns() - began) / 1e3;
    while (heir_wait(side->giver, 0, &event) == 0) { /* if it came before the release */
    }
    return 0;
}

static int sample_reclaim(struct side *side, double *us)
{
    uint64_t deadline = now_ns() + TIMEOUT_MS * UINT64_C(1000000), began;
    struct heir_info info;
    struct child victim;

    if (start(&victim, own_probe, side->world, side->crowd->objects, side->crowd->history) < 0)
        return -1;
    if (victim.said != ++side->owners)
        return fail("NOT CONSERVED: owner %lld finds the number %lld", (long long)side->owners, (long long)victim.said);
    if (!side->probe && check(heir_attach(side->giver, "probe", &side->probe), "heir_attach") < 0)
        return -1;
    if (side->crowd->history && side->owners == 1) {
        struct heir_snapshot *snapshot; /* closed with the holder */
        if (hold(side, "probe", &snapshot) < 0)
            return -1;
    }
    usleep(REST_US);
    began = real_ns();
    kill(victim.pid, SIGKILL);
    do {
        usleep(300);
        if (check(heir_info(side->probe, &info), "heir_info") < 0)
            return -1;
    } while (info.owner != HEIR_KEEPER && now_ns() < deadline);
    waitpid(victim.pid, NULL, 0);
    if (info.owner != HEIR_KEEPER || info.since_ns < began)
        return fail("the keeper has not taken the table of a killed owner");
    *us = (double)(info.since_ns - began) / 1e3;
    return 0;
}

static int sample(struct scale *s, struct side *side, enum what what, double *us)
{
    static int (*const run[WHATS])(struct side *, double *) = {sample_get, sample_give, sample_claim, sample_reclaim};

    s->transfers += what == GIVE ? 1 : what == CLAIM ? 2 : 0;
    s->kills += what == RECLAIM;
    return run[what](side, us);
}

/* Both in turns; the ratio is that of the medians. */
static int compare(struct scale *s, struct crowd *crowd, struct side *many, struct side *one)
{
    for (enum what what = GET; what < WHATS; what++) {
        struct series us[2] = {{0}, {0}};
        uint64_t n = what == RECLAIM ? (s->options->samples + 9) / 10 : s->options->samples;
        double value;
        progress("%s: %s", crowd->name, whats[what].what);
        for (uint64_t i = 0; i < 2 * n + 2; i++) {
            unsigned which = (i + (i >> 1)) & 1; /* none is always the second */
            if (sample(s, which ? one : many, what, &value) < 0)
                return -1;
            if (i >= 2) /* the first ones find nothing where they need it */
                series_add(&us[which], value);
        }
        series_add(&crowd->us[what], series_median(&us[0]));
        series_add(&crowd->alone_us[what], series_median(&us[1]));
        series_add(&crowd->ratio[what], series_median(&us[0]) / series_median(&us[1]));
        series_append(&crowd->all[what], &us[0], 0);
        series_free(&us[0]);
        series_free(&us[1]);
    }
    return 0;
}

/* ---- A crowd ------------------------------------------------------------------------------------------ */

static double keeper_rss(const struct world *world)
{
    char path[64], line[128];
    unsigned long kib, rss = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/status", (long)world->keeper);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %lu", &kib) == 1 || sscanf(line, "RssShmem: %lu", &kib) == 1)
            rss += kib;
    if (f)
        fclose(f);
    return (double)rss * 1024;
}

/* Memory of the clients' pages. */
static double client_pages(const struct world *world)
{
    char prefix[64];
    struct dirent *e;
    struct stat st;
    double bytes = 0;
    DIR *d = opendir("/dev/shm");

    snprintf(prefix, sizeof prefix, "heir.%s.c.", world->ns);
    while (d && (e = readdir(d)))
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
            bytes += (double)st.st_blocks * 512;
    if (d)
        closedir(d);
    return bytes;
}

/* heird is killed, and the next one is waited for. */
static int restart(const struct crowd *crowd, struct world *world, double *ms)
{
    uint64_t began;

    progress("%s: starting the keeper again", crowd->name);
    kill(world->keeper, SIGKILL);
    waitpid(world->keeper, NULL, 0);
    began = now_ns();
    if (world_keeper_start(world) < 0)
        return -1;
    *ms = (double)(now_ns() - began) / 1e6;
    return 0;
}

struct ended {
    uint64_t of, keepers, last_ns;
};

static int look(const struct heir_info *info, int error, void *arg)
{
    struct ended *e = arg;

    if (error == 0 && info->name[0] == 't') {
        e->of++;
        e->keepers += info->owner == HEIR_KEEPER;
        if (info->since_ns > e->last_ns)
            e->last_ns = info->since_ns;
    }
    return 0;
}

/* The owner of all of them is killed: until the last one is the keeper's. */
static int mass_death(struct scale *s, const struct crowd *crowd, const struct world *world, struct child *holder,
                      double *ms)
{
    uint64_t deadline = now_ns() + TIMEOUT_MS * UINT64_C(1000000), began;
    struct ended e;

    progress("%s: killing the owner of all tables", crowd->name);
    usleep(100000);
    began = real_ns();
    end(holder);
    do {
        usleep(50000);
        e = (struct ended){0};
        if (check(heir_inspect_tables(world->ns, look, &e), "heir_inspect_tables") < 0)
            return -1;
    } while (e.keepers < e.of && now_ns() < deadline);
    if (e.keepers != e.of || e.of != (uint64_t)holder->said)
        return fail("NOT CONSERVED: a worker with %lld tables was killed: there are %llu, %llu of them the keeper's",
                    (long long)holder->said, (unsigned long long)e.of, (unsigned long long)e.keepers);
    s->kills++;
    s->transfers += e.of;
    *ms = (double)(e.last_ns - began) / 1e6;
    return 0;
}

/* 1: there cannot be so many tables. */
static int gather(struct crowd *crowd, struct world *world, struct child *children, unsigned *n)
{
    double before = keeper_rss(world), pages = client_pages(world);
    uint64_t began = now_ns();

    crowd->got = 0;
    progress("%s: creating tables", crowd->name);
    while (crowd->got < crowd->tables) {
        uint64_t rest = crowd->tables - crowd->got, wanted = rest < HOLDER_TABLES ? rest : HOLDER_TABLES;
        if (start(&children[*n], hold_tables, world, crowd->got, wanted) < 0)
            return -1;
        crowd->got += (uint64_t)children[*n].said;
        if ((uint64_t)children[(*n)++].said < wanted)
            return 1;
    }
    if (crowd->tables > 1) {
        series_add(&crowd->create_us, (double)(now_ns() - began) / 1e3 / (double)crowd->got);
        series_add(&crowd->table_bytes, (keeper_rss(world) - before) / (double)crowd->got);
    }
    before = keeper_rss(world);
    progress("%s: opening clients", crowd->name);
    for (uint64_t have = 0; have < crowd->clients; have += CROWD_THREADS, ++*n) {
        uint64_t rest = crowd->clients - have;
        if (start(&children[*n], hold_clients, world, 0, rest < CROWD_THREADS ? rest : CROWD_THREADS) < 0)
            return -1;
    }
    if (crowd->clients > 1) {
        series_add(&crowd->client_bytes, (keeper_rss(world) - before) / (double)crowd->clients);
        series_add(&crowd->client_shm_bytes, (client_pages(world) - pages) / (double)crowd->clients);
    }
    return 0;
}

static int measure(struct scale *s, struct crowd *crowd, struct world *world, struct side *one)
{
    struct child children[MAX_CHILDREN];
    struct side many;
    unsigned n = 0;
    double ms;
    int r;

    if (world_keeper_start(world) < 0 || (r = gather(crowd, world, children, &n)) < 0)
        return -1;
    if (r > 0) {
        say("%s is left out: heird could take %llu tables, and has a mapping for each (vm.max_map_count)", crowd->name,
            (unsigned long long)crowd->got);
        crowd->out = true;
    } else if (side_open(&many, world, crowd) < 0 || compare(s, crowd, &many, one) < 0 || side_close(&many) < 0) {
        return -1;
    }
    if (!crowd->out && crowd->clients <= 1 &&
        crowd->tables > 1) { /* the clients' threads need not come back for what follows */
        if (restart(crowd, world, &ms) < 0)
            return -1;
        series_add(&crowd->restart_ms, ms);
        if (crowd->tables <= HOLDER_TABLES) { /* one process has them all */
            if (mass_death(s, crowd, world, &children[0], &ms) < 0)
                return -1;
            series_add(&crowd->mass_ms, ms);
            children[0] = children[--n];
        }
    }
    while (n-- > 0)
        end(&children[n]);
    if (world_keeper_stop(world) < 0)
        return -1;
    world_clear(world);
    return 0;
}

/* ---- The run ------------------------------------------------------------------------------------------ */

static struct crowd *new_crowd(struct scale *s)
{
    struct crowd *crowd = &s->crowds[s->n_crowds++];

    crowd->tables = crowd->clients = 1;
    return crowd;
}

static void add_objects(struct scale *s, uint64_t objects)
{
    struct crowd *crowd = new_crowd(s);

    crowd->objects = objects;
    snprintf(crowd->name, sizeof crowd->name, "objects%llu", (unsigned long long)objects);
}

static void add_history(struct scale *s, uint64_t history)
{
    struct crowd *crowd = new_crowd(s);

    crowd->history = history;
    snprintf(crowd->name, sizeof crowd->name, "history%llu", (unsigned long long)history);
}

static void add_crowd(struct scale *s, uint64_t tables, uint64_t clients)
{
    struct crowd *crowd = new_crowd(s);

    crowd->tables = tables;
    crowd->clients = clients;
    snprintf(crowd->name, sizeof crowd->name, "tables%llu_clients%llu", (unsigned long long)tables,
             (unsigned long long)clients);
}

static double worst_error(const struct scale *s, const char **whose)
{
    double worst = 0;

    for (unsigned i = 0; i < s->n_crowds; i++) {
        for (enum what what = GET; what < WHATS; what++) {
            double error = s->crowds[i].out ? 0 : series_error(&s->crowds[i].ratio[what]);
            if (error <= worst)
                continue;
            worst = error;
            *whose = s->crowds[i].name;
        }
    }
    return worst;
}

static void put_median(const struct series *of, const char *crowd, const char *name)
{
    if (of->n)
        put_result(series_median(of), "%s_%s", crowd, name);
}

static void report(const struct crowd *c)
{
    if (c->out)
        return;
    if (c->objects)
        say("%llu objects in each table that is worked on", (unsigned long long)c->objects);
    else if (c->history)
        say("%llu changes since a snapshot that is held of each table that is worked on",
            (unsigned long long)c->history);
    else
        say("%llu tables and %llu clients more than the probes'", (unsigned long long)c->tables,
            (unsigned long long)c->clients);
    for (enum what what = GET; what < WHATS; what++) {
        put_result(series_median(&c->us[what]), "%s_%s_p50_us", c->name, whats[what].name);
        put_result(series_median(&c->ratio[what]), "%s_%s_vs_alone_ratio", c->name, whats[what].name);
        put_result(100 * series_spread(&c->ratio[what]), "%s_%s_ratio_spread_percent", c->name, whats[what].name);
        raw_series(&c->all[what], "us", "%s_%s", c->name, whats[what].name);
    }
    put_median(&c->create_us, c->name, "create_us");
    put_median(&c->table_bytes, c->name, "keeper_table_bytes");
    put_median(&c->client_bytes, c->name, "keeper_client_bytes");
    put_median(&c->client_shm_bytes, c->name, "keeper_client_shm_bytes");
    put_median(&c->restart_ms, c->name, "keeper_restart_ms");
    put_median(&c->mass_ms, c->name, "owner_of_all_killed_ms");
}

static void introduce(const struct options *o)
{
    say("scale: what many tables and many clients cost the one that works");
    say_machine();
    say("parameters: %llu samples of each thing in a round (a tenth of them kills), at least %llu rounds",
        (unsigned long long)o->samples, (unsigned long long)o->bench.rounds);
    for (enum what what = GET; what < WHATS; what++)
        say("%s: %s", whats[what].name, whats[what].what);
    say("alone: the same with a keeper that has one table and one client more than these probes', in turns");
    say("keeper_client_bytes: growth of heird's resident memory, what it has mapped of the client's page included; "
        "shm: "
        "memory of that page; the kernel's for sockets and threads is not in it");
    say("says nothing about: clients that are all busy");
}

static int run_round(struct scale *s, struct world *world, struct side *one, unsigned round)
{
    for (unsigned i = 0; i < s->n_crowds; i++) {
        struct crowd *crowd = &s->crowds[i];
        /* a table of 64 KiB takes up 24 KiB, and page tables in three processes */
        if (!crowd->out && crowd->tables * 40960 + crowd->clients * 65536 + (crowd->objects + crowd->history) * 512 >
                               memory_available() / 2) {
            crowd->out = true;
            say("%s is left out: the machine has not enough memory for it", crowd->name);
        }
        if (!crowd->out && measure(s, crowd, world, one) < 0)
            return fail("%s could not be measured in round %u", crowd->name, round + 1);
    }
    return 0;
}

static int run_all(struct world *world, void *arg)
{
    static struct scale s; /* reachable to the end: no leak checker need be told */
    const struct options *o = arg;
    struct world alone = *world, crowded = *world;
    struct child child[MAX_CHILDREN];
    struct crowd small = {.tables = 1, .clients = 1, .name = "alone"};
    const char *whose = "";
    struct side one;
    unsigned n = 0, round;
    double error = 1;

    s.options = o;
    introduce(o);
    world_another(&alone, "alone");
    world_another(&crowded, "crowd");
    add_crowd(&s, o->bench.quick ? 100 : 1000, 1);
    if (!o->bench.quick)
        add_crowd(&s, 10000, 1);
    add_crowd(&s, 1, o->bench.quick ? 20 : 100);
    if (!o->bench.quick) {
        add_crowd(&s, 1, 1000);
        add_crowd(&s, 10000, 1000);
    }
    add_objects(&s, o->bench.quick ? 10000 : 1000000);
    add_history(&s, o->bench.quick ? 10000 : 1000000);
    if (o->long_run) {
        add_crowd(&s, 60000, 1);
        add_crowd(&s, 100000, 1);
    }
    if (world_keeper_start(&alone) < 0 || gather(&small, &alone, child, &n) < 0 || side_open(&one, &alone, &small) < 0)
        return -1;
    for (round = 0; bench_goes_on(&o->bench, round, error); round++) {
        if (run_round(&s, &crowded, &one, round) < 0)
            return -1;
        error = worst_error(&s, &whose);
    }
    for (unsigned i = 0; i < s.n_crowds; i++)
        report(&s.crowds[i]);
    bench_steady(&o->bench, "", round, error, whose);
    if (side_close(&one) < 0)
        return -1;
    while (n-- > 0)
        end(&child[n]);
    if (world_keeper_stop(&alone) < 0)
        return -1;
    world_clear(&alone);
    say("conserved: every owner of a probe found the sum of all before it; of a killed worker all tables became the "
        "keeper's");
    put_result((double)s.transfers, "transfers_checked");
    put_result((double)s.kills, "kills_checked");
    put_result(world_objects(world), "leftover_shm_objects");
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {
        .bench = {.does = "Measure what many tables, clients, objects and changes cost the one that works.",
                  .wrong = "Ends with 1 when a table was lost, or has not come back to the keeper.",
                  .max_error = 0.10,
                  .rounds = 3,
                  .seconds = 120,
                  .patience = 2}};
    const struct bench_option options[] = {
        {"samples", "N", "of each thing in a round", &o.samples, 10, 100000, 400, 40},
        {.name = "long", .help = "also 60,000 and 100,000 tables", .value = &o.long_run},
        {0},
    };
    int status;

    o.bench.options = options;
    status = bench_options(&o.bench, argc, argv);
    return status >= 0 ? status : world_run(run_all, &o);
}
