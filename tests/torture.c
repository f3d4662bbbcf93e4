/* SPDX-License-Identifier: MIT */
/*
 * Everybody at full speed, and somebody killed every few milliseconds: writers, readers, the keeper.
 *
 * Six tables, three types times two accesses. The writers move money inside of branches of accounts, so that the sum
 * of each branch is 0 after every transaction, put and delete fillers of all sizes, abort, clear and refill. Each has
 * a counter of its transactions in each table; its successor looks whether just those that were committed are there.
 * Readers add up what they see, by walks, ranges and snapshots. In the end every table is whole and nothing is left.
 *
 * The seed chooses who is killed and when, and what the writers do; what comes of it depends on the machine, too.
 */
#include "support.h"

#include <heir/inspect.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define TABLES   6
#define WRITERS  4
#define READERS  3
#define BRANCHES 8
#define MEMBERS  16
#define ACCOUNTS (BRANCHES * MEMBERS)
#define FILLERS  2000

static const char *const names[TABLES] = {"set", "ordered", "bag", "public.set", "public.ordered", "public.bag"};
static const char *const kinds[READERS] = {"walks", "ranges", "snapshots"};

static struct arena {                                                    /* shared by all processes of the test */
    _Atomic uint64_t begun[WRITERS][TABLES], committed[WRITERS][TABLES]; /* transactions */
    _Atomic uint64_t transactions, full, looks[READERS], gone, broken;
    _Atomic bool stop, wrong;
    char what[256]; /* was wrong first */
} * arena;

struct job {
    int number;
    uint64_t seed;
};

static bool is_bag(int t)
{
    return t % 3 == 2;
}

static bool is_ordered(int t)
{
    return t % 3 == 1;
}

static bool is_public(int t)
{
    return t >= 3;
}

/* The public ones are full now and then, also at the end: a writer that finds no room may be killed before it has
 * cleared the table; and clearing it and putting all accounts anew, in one transaction, needs room, too. */
static uint64_t max_bytes_of(int t)
{
    return is_public(t) ? 320 << 10 : 1 << 20;
}

static struct heir_table_options options_of(int t)
{
    static const enum heir_type types[] = {HEIR_SET, HEIR_ORDERED_SET, HEIR_BAG};
    return (struct heir_table_options){
        .type = types[t % 3], .access = is_public(t) ? HEIR_PUBLIC : HEIR_PROTECTED, .max_bytes = max_bytes_of(t)};
}

static int wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int wrong(const char *format, ...)
{
    va_list arguments;
    if (atomic_exchange(&arena->wrong, true))
        return -EBADMSG;
    va_start(arguments, format);
    vsnprintf(arena->what, sizeof arena->what, format, arguments);
    va_end(arguments);
    return -EBADMSG;
}

/* ---- Writing ------------------------------------------------------------------------------------------ */

static size_t account_key(char *key, uint64_t branch, uint64_t member)
{
    return (size_t)snprintf(key, 24, "a%d-%02d", (int)branch, (int)member);
}

static int put_number(struct heir_table *table, const char *key, size_t len, int64_t number)
{
    return heir_put(table, key, len, &number, sizeof number);
}

/* Some accounts of a branch, by amounts that make 0 together. */
static int move_money(struct heir_table *table, bool bag, struct rnd *rnd)
{
    char key[24];
    int64_t rest = 0;
    uint64_t branch = rnd_below(rnd, BRANCHES);
    int rc = 0, moves = 2 + (int)rnd_below(rnd, 6);
    for (int i = 0; i < moves && !rc; i++) {
        int64_t amount = i == moves - 1 ? -rest : (int64_t)rnd_below(rnd, 2000001) - 1000000;
        size_t len = account_key(key, branch, rnd_below(rnd, MEMBERS));
        rest += amount;
        /* a bag has the amounts; equal ones would be one object, so they are told apart by their length */
        unsigned char note[64] = {0};
        memcpy(note, &amount, sizeof amount);
        memcpy(note + 8, &rnd->state, sizeof rnd->state);
        note[16] = (unsigned char)i;
        rc = bag ? heir_put(table, key, len, note, 17 + rnd_below(rnd, 40)) : heir_add(table, key, len, amount, NULL);
    }
    return rc;
}

static int fill(struct heir_table *table, struct rnd *rnd)
{
    unsigned char filler[6000];
    char key[24];
    int rc = 0, changes = (int)rnd_below(rnd, rnd_below(rnd, 20) ? 4 : 60);
    for (int i = 0; i < changes && !rc; i++) {
        size_t len = (size_t)snprintf(key, sizeof key, "f%04d", (int)rnd_below(rnd, FILLERS));
        if (rnd_below(rnd, 5) < 3) {
            memset(filler, (int)rnd_below(rnd, 256), sizeof filler);
            rc = heir_put(table, key, len, filler, rnd_below(rnd, rnd_below(rnd, 30) ? 200 : sizeof filler));
        } else if ((rc = heir_del(table, key, len)) == -ENOENT) {
            rc = 0;
        }
    }
    return rc;
}

struct kept {
    int count;
    struct {
        char key[8];
        size_t len;
        int64_t number;
    } object[ACCOUNTS + WRITERS];
};

static int keep(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct kept *kept = arg;
    if (*(const char *)key == 'f')
        return 0;
    if (kept->count == ACCOUNTS + WRITERS || key_len > 8 || value_len != 8)
        return -EBADMSG;
    memcpy(kept->object[kept->count].key, key, key_len);
    memcpy(&kept->object[kept->count].number, value, 8);
    kept->object[kept->count++].len = key_len;
    return 0;
}

/* All fillers at once; of a bag the accounts, too. */
static int clear(struct heir_table *table, bool bag)
{
    struct kept kept = {0};
    int rc = bag ? 0 : heir_foreach(table, keep, &kept);
    if (!rc)
        rc = heir_clear(table);
    for (int i = 0; i < kept.count && !rc; i++)
        rc = put_number(table, kept.object[i].key, kept.object[i].len, kept.object[i].number);
    return rc;
}

/* Count it, and look whether all is there that was committed before, and no more. */
static int count(struct heir_table *table, int writer, int t, bool first, int64_t *done)
{
    char key[24];
    size_t len = (size_t)snprintf(key, sizeof key, "c%d", writer);
    int rc = heir_add(table, key, len, 1, done);
    uint64_t committed = atomic_load(&arena->committed[writer][t]), begun = atomic_load(&arena->begun[writer][t]);
    if (!rc && (uint64_t)*done != committed + 1 && !(first && (uint64_t)*done == begun + 1))
        rc = wrong("%s: %lld transactions of writer %d are there; %llu were committed, %llu begun", names[t],
                   (long long)*done - 1, writer, (unsigned long long)committed, (unsigned long long)begun);
    if (!rc)
        atomic_store(&arena->committed[writer][t], (uint64_t)*done - 1);
    return rc;
}

static int transaction(struct heir_table *table, int writer, int t, bool first, struct rnd *rnd)
{
    int64_t done = 0;
    bool bag = is_bag(t);
    int rc = heir_begin(table);
    if (rc)
        return rc;
    rc = bag ? 0 : count(table, writer, t, first, &done);
    if (!rc && rnd_below(rnd, 60) == 0)
        rc = clear(table, bag);
    for (uint64_t i = rnd_below(rnd, 3); !rc && i < 3; i++)
        rc = move_money(table, bag, rnd);
    if (!rc)
        rc = fill(table, rnd);
    if (rc == -ENOSPC || (!rc && rnd_below(rnd, 12) == 0)) {
        bool full = rc == -ENOSPC;
        rc = heir_abort(table);
        if (rc || !full)
            return rc;
        atomic_fetch_add(&arena->full, 1);
        if ((rc = heir_begin(table)))
            return rc;
        rc = clear(table, bag);
        return rc ? (heir_abort(table), rc) : heir_commit(table);
    }
    if (rc) {
        heir_abort(table);
        return rc;
    }
    atomic_store(&arena->begun[writer][t], (uint64_t)done);
    rc = heir_commit(table);
    if (!rc) {
        atomic_store(&arena->committed[writer][t], (uint64_t)done);
        atomic_fetch_add(&arena->transactions, 1);
    }
    return rc;
}

/* What is no mistake: the table has gone to another one, or there is no keeper just now. */
static bool passes(int rc)
{
    return rc == -ESTALE || rc == -EPERM || rc == -EBUSY || rc == -ETIMEDOUT || rc == -ECONNREFUSED || rc == -ENOTCONN;
}

static int be_writer(struct agent_self *self, void *arg)
{
    struct job *job = arg;
    struct rnd rnd = {job->seed};
    struct heir_table *table[TABLES] = {NULL};
    bool counted[TABLES] = {false};
    struct heir_event event;
    while (!atomic_load(&arena->stop) && !atomic_load(&arena->wrong)) {
        int t = (int)rnd_below(&rnd, TABLES), rc = 0;
        if (rnd_below(&rnd, 64) == 0)
            while (heir_wait(self->client, 0, &event) == 0)
                ;
        if (!table[t])
            rc = is_public(t) ? heir_attach(self->client, names[t], &table[t])
                              : heir_claim(self->client, names[t], NULL, 0, &table[t]);
        for (uint64_t i = rnd_below(&rnd, 16); !rc && i < 16; i++) {
            rc = transaction(table[t], job->number, t, !counted[t], &rnd);
            counted[t] |= rc == 0;
        }
        if (passes(rc) && !is_public(t))
            table[t] = NULL;
        if (!is_public(t) && table[t] && rnd_below(&rnd, 50) == 0) {
            rc = heir_release(table[t]);
            table[t] = NULL;
        }
        if (rc && !passes(rc) && rc != -ENOSPC)
            return wrong("writer %d, %s: %s", job->number, names[t], error_text(rc));
    }
    return 0;
}

/* ---- Reading ------------------------------------------------------------------------------------------ */

struct sum {
    int t;
    int64_t branch[BRANCHES];
    uint64_t accounts, fillers, bad, digest;
    char last[24];
    size_t last_len;
    int order; /* 1: they must ascend, -1: descend */
};

static int add_up(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct sum *sum = arg;
    const unsigned char *bytes = value;
    const char *name = key;
    int64_t number;
    if (sum->order && sum->last_len) {
        size_t least = key_len < sum->last_len ? key_len : sum->last_len;
        int order = memcmp(key, sum->last, least);
        sum->bad += sum->order * order <= 0;
    }
    memcpy(sum->last, key, key_len < sizeof sum->last ? key_len : sizeof sum->last);
    sum->last_len = key_len;
    uint64_t hash = key_len;
    for (size_t i = 0; i < key_len + value_len; i++)
        hash = (hash ^ (i < key_len ? (unsigned char)name[i] : bytes[i - key_len])) * 1099511628211u;
    sum->digest += hash; /* a set's walk has no order */
    if (*name == 'a' && key_len == 5 && value_len >= 8 && name[1] >= '0' && name[1] < '0' + BRANCHES) {
        memcpy(&number, value, 8);
        sum->branch[name[1] - '0'] += number;
        sum->accounts++;
    } else if (*name == 'f') {
        for (size_t i = 1; i < value_len; i++)
            sum->bad += bytes[i] != bytes[0];
        sum->fillers++;
    } else {
        sum->bad += *name != 'c' || value_len != 8;
    }
    return 0;
}

/* from, to: of the branches seen. */
static int judge(const struct sum *sum, int from, int to, const char *how)
{
    if (sum->bad)
        return wrong("%s of %s: %llu bad objects", how, names[sum->t], (unsigned long long)sum->bad);
    if (!is_bag(sum->t) && sum->accounts != (uint64_t)(to - from) * MEMBERS)
        return wrong("%s of %s: %llu accounts", how, names[sum->t], (unsigned long long)sum->accounts);
    for (int i = from; i < to; i++)
        if (sum->branch[i])
            return wrong("%s of %s: branch %d has %lld", how, names[sum->t], i, (long long)sum->branch[i]);
    return 0;
}

static int look_by_walk(struct heir_table *table, int t)
{
    struct sum sum = {.t = t, .order = is_ordered(t)};
    int rc = heir_foreach(table, add_up, &sum);
    return rc ? rc : judge(&sum, 0, BRANCHES, "walk");
}

static int look_by_range(struct heir_table *table, int t, struct rnd *rnd)
{
    char from[24], to[24];
    int first = (int)rnd_below(rnd, BRANCHES), end = first + 1 + (int)rnd_below(rnd, (uint64_t)(BRANCHES - first));
    struct sum sum = {.t = t, .order = rnd_below(rnd, 2) ? 1 : -1};
    snprintf(from, sizeof from, "a%d", first);
    snprintf(to, sizeof to, "a%d", end);
    int rc = (sum.order > 0 ? heir_range : heir_range_reverse)(table, from, 2, to, 2, add_up, &sum);
    return rc ? rc : judge(&sum, first, end, "range");
}

/* It stays what it is, however long one looks. */
static int look_by_snapshot(struct heir_table *table, int t, struct rnd *rnd)
{
    struct heir_snapshot *snapshot;
    struct sum one = {.t = t, .order = is_ordered(t)}, two = one;
    int rc = heir_snapshot_open(table, &snapshot), closed;
    if (rc)
        return rc;
    rc = heir_snapshot_foreach(snapshot, add_up, &one);
    if (!rc)
        rc = judge(&one, 0, BRANCHES, "snapshot");
    for (uint64_t i = rnd_below(rnd, 4); !rc && i > 0; i--) {
        memset(&two, 0, sizeof two);
        two.t = t;
        two.order = is_ordered(t);
        nanosleep(&(struct timespec){.tv_nsec = (long)rnd_below(rnd, 1000000)}, NULL);
        rc = heir_snapshot_foreach(snapshot, add_up, &two);
        if (!rc && (two.digest != one.digest || two.accounts != one.accounts || two.fillers != one.fillers))
            rc = wrong("snapshot of %s: it has become another one", names[t]);
    }
    if (rc == -ESTALE && heir_snapshot_check(snapshot) == 0)
        rc = wrong("snapshot of %s: -ESTALE from one that holds", names[t]);
    closed = heir_snapshot_close(snapshot);
    return rc ? rc : closed;
}

static int be_reader(struct agent_self *self, void *arg)
{
    struct job *job = arg;
    struct rnd rnd = {job->seed};
    struct heir_table *table[TABLES] = {NULL};
    struct heir_event event;
    int rc = 0;
    while (!atomic_load(&arena->stop) && !atomic_load(&arena->wrong)) {
        int t = (int)rnd_below(&rnd, TABLES), n = job->number;
        if (n == 1 && !is_ordered(t))
            continue;
        if (rnd_below(&rnd, 64) == 0)
            while (heir_wait(self->client, 0, &event) == 0)
                ;
        rc = table[t] ? 0 : heir_attach(self->client, names[t], &table[t]);
        if (!rc)
            rc = n == 0   ? look_by_walk(table[t], t)
                 : n == 1 ? look_by_range(table[t], t, &rnd)
                          : look_by_snapshot(table[t], t, &rnd);
        if (rc == -EAGAIN || rc == -ESTALE) { /* the writer was faster, or needed the room */
            atomic_fetch_add(&arena->gone, 1);
            atomic_fetch_add(&arena->broken, n == 2 && !is_public(t));
        } else if (rc && !passes(rc))
            return wrong("reader by %s, %s: %s", kinds[n], names[t], error_text(rc));
        else
            atomic_fetch_add(&arena->looks[n], rc == 0);
    }
    return 0;
}

/* ---- Killing ------------------------------------------------------------------------------------------ */

static void fill_tables(struct heir *me)
{
    for (int t = 0; t < TABLES; t++) {
        const struct heir_table_options options = options_of(t);
        struct heir_table *table;
        char key[24];
        REQUIRE_RC(heir_create(me, names[t], &options, &table), 0);
        REQUIRE_RC(heir_begin(table), 0);
        for (uint64_t i = 0; i < ACCOUNTS && !is_bag(t); i++)
            CHECK_RC(put_number(table, key, account_key(key, i / MEMBERS, i % MEMBERS), 0), 0);
        CHECK_RC(heir_commit(table), 0);
        if (!is_public(t))
            CHECK_RC(heir_release(table), 0);
    }
}

static struct agent *begin(agent_fn *fn, int number, struct rnd *rnd)
{
    struct agent *agent = agent_new(fn == be_writer ? "writer" : "reader");
    struct job job = {number, rnd_next(rnd)};
    CHECK_RC(agent_call_send(agent, fn, &job, sizeof job), 0);
    return agent;
}

static void finding(unsigned law, const char *what, uint64_t where, void *arg)
{
    fprintf(stderr, "%s: K%u: %s at %llu\n", (const char *)arg, law, what, (unsigned long long)where);
}

static bool whole(struct heir_table *table, int t)
{
    const char *name = names[t];
    struct heir_account a = {0};
    char text[64];
    snprintf(text, sizeof text, "%s", name);
    int rc = heir_check(table, finding, text, &a);
    uint64_t sum = a.live + a.superseded + a.index + a.metadata + a.slack + a.free + a.untouched;
    return CHECK(rc == 0 && sum == max_bytes_of(t), "%s: %s, %llu bytes in all", name, error_text(rc),
                 (unsigned long long)sum);
}

/* What there is to know of a table, for who reads of a failure. */
static void tell(struct heir_table *table, int t)
{
    struct heir_info i = {0};
    struct heir_account a = {0};
    int rc = heir_info(table, &i), checked = heir_check(table, NULL, NULL, &a);
    fprintf(
        stderr,
        "%s, a %s of %llu bytes: %llu objects, %llu bytes used, %llu taken, %llu changes kept, committed %llu, horizon "
        "%llu (%s)\n  live %llu, superseded %llu, index %llu, metadata %llu, slack %llu, free %llu, untouched %llu "
        "(%s)\n",
        names[t],
        is_bag(t)       ? "bag"
        : is_ordered(t) ? "ordered set"
                        : "set",
        (unsigned long long)i.max_bytes, (unsigned long long)i.objects, (unsigned long long)i.bytes_used,
        (unsigned long long)i.bytes_taken, (unsigned long long)i.history, (unsigned long long)i.committed,
        (unsigned long long)i.horizon, error_text(rc), (unsigned long long)a.live, (unsigned long long)a.superseded,
        (unsigned long long)a.index, (unsigned long long)a.metadata, (unsigned long long)a.slack,
        (unsigned long long)a.free, (unsigned long long)a.untouched, error_text(checked));
}

/*
 * It has refused one small object, and nobody holds its past. That is right when all of it is in use by what lives:
 * nothing can be taken back any more, and less is left than one put may need, PAGES_A_PUT, beside the log's 32nd. And
 * each object can be deleted, until there is room.
 */
static bool full_of_what_lives(struct heir_table *table, int t)
{
    struct heir_info info = {0};
    struct heir_account a = {0};
    CHECK_RC(heir_info(table, &info), 0);
    CHECK_RC(heir_check(table, NULL, NULL, &a), 0);
    uint64_t left = info.max_bytes - info.bytes_used;
    bool full = CHECK(info.history == 0 && a.superseded == 0, "%s: full, and has not taken back all", names[t]) &&
                CHECK(left < info.max_bytes / 32 + PAGES_A_PUT * 4096, "%s: full, with %llu bytes left", names[t],
                      (unsigned long long)left);
    int rc = -ENOSPC;
    for (uint64_t i = 0; i < FILLERS + ACCOUNTS && rc == -ENOSPC; i++) {
        char key[24];
        size_t len = i < FILLERS ? (size_t)snprintf(key, sizeof key, "f%04d", (int)i)
                                 : account_key(key, (i - FILLERS) / MEMBERS, i % MEMBERS);
        int deleted = heir_del(table, key, len);
        full = CHECK(deleted == 0 || deleted == -ENOENT, "%s: deleting %s: %s", names[t], key, error_text(deleted)) &&
               full;
        rc = deleted == 0 ? heir_put(table, "f", 1, "f", 1) : -ENOSPC;
    }
    return CHECK(rc == 0, "%s: all is deleted, and no room: %s", names[t], error_text(rc)) && full;
}

static void pause_for(struct rnd *rnd, uint64_t below_us)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)rnd_below(rnd, below_us * 1000)}, NULL);
}

static int no_pins(const struct heir_client_info *info, int error, void *arg)
{
    (void)arg;
    return CHECK(error || info->pins == 0, "client %s has %d pins", info->name, (int)info->pins) ? 0 : 1;
}

/* All have gone: every table is whole, can be had, and has the right content. */
static void look_after(struct heir *me)
{
    for (int t = 0; t < TABLES; t++) {
        const struct heir_table_options options = options_of(t);
        struct heir_table *table = NULL;
        struct sum sum = {.t = t};
        CHECK_RC(heir_claim(me, names[t], &options, patience(PATIENCE), &table), 0);
        if (!table)
            continue;
        whole(table, t);
        CHECK_RC(heir_foreach(table, add_up, &sum), 0);
        judge(&sum, 0, BRANCHES, "last look");
        int rc = heir_put(table, "f", 1, "f", 1);
        if (rc != 0)
            tell(table, t);
        if (rc == -ENOSPC && full_of_what_lives(table, t))
            rc = 0;
        CHECK(rc == 0, "%s: a put: %s", names[t], error_text(rc));
        CHECK_RC(heir_clear(table), 0);
        rc = 0;
        for (int i = 0; rc == 0 && i < 2000; i++) /* until all that was cleared has been taken back */
            rc = heir_put(table, "f", 1, &i, sizeof i);
        if (!CHECK(rc == 0, "%s: a put into what was cleared: %s", names[t], error_text(rc)))
            tell(table, t);
        whole(table, t);
        struct heir_info info = {0};
        CHECK_RC(heir_info(table, &info), 0);
        if (!CHECK(info.bytes_used < 200000, "%s: %llu bytes are in use for one object", names[t],
                   (unsigned long long)info.bytes_used))
            tell(table, t);
        CHECK_RC(heir_destroy(table), 0);
    }
    CHECK_RC(heir_inspect_clients(NULL, no_pins, NULL), 0);
    CHECK_EQ(shm_count("t."), 0);
}

static void torture(void)
{
    struct rnd rnd = {test_seed};
    struct agent *writer[WRITERS], *reader[READERS];
    struct heir_table *table[TABLES];
    int deaths = 0, keepers = 0, checks = 0;
    arena = mmap(NULL, sizeof *arena, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(arena != MAP_FAILED);
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("survivor");
    fill_tables(me);
    for (int t = 0; t < TABLES; t++)
        CHECK_RC(heir_attach(me, names[t], &table[t]), 0);
    for (int i = 0; i < WRITERS; i++)
        writer[i] = begin(be_writer, i, &rnd);
    for (int i = 0; i < READERS; i++)
        reader[i] = begin(be_reader, i, &rnd);
    int64_t end = now_ms() + (int64_t)(test_seconds(14) * 1000);
    while (now_ms() < end && !atomic_load(&arena->wrong)) {
        uint64_t lot = rnd_below(&rnd, 100);
        bool keeper_too = lot >= 94;
        int i;
        pause_for(&rnd, rnd_below(&rnd, 10) ? 5000 : 50000);
        if (lot >= 97) { /* before the others, so that nobody is there to note their deaths */
            keeper_kill();
            pause_for(&rnd, 2000);
        }
        struct agent **victim =
            lot % 4 ? &writer[i = (int)rnd_below(&rnd, WRITERS)] : &reader[i = (int)rnd_below(&rnd, READERS)];
        agent_kill(*victim);
        deaths++;
        if (keeper_too) {
            pause_for(&rnd, 1000);
            keeper_kill();
            REQUIRE_EQ(keeper_start(NULL), 0);
            keepers++;
        }
        *victim = begin(lot % 4 ? be_writer : be_reader, i, &rnd);
        if (deaths % 10 == 0) {
            int t = (int)rnd_below(&rnd, TABLES);
            whole(table[t], t); /* while they go on */
            checks++;
        }
    }
    atomic_store(&arena->stop, true);
    for (int i = 0; i < WRITERS + READERS; i++) {
        struct agent *agent = i < WRITERS ? writer[i] : reader[i - WRITERS];
        CHECK(agent_answer(agent, PATIENCE) == 0 || atomic_load(&arena->wrong), "%s %d does not end", agent->role, i);
        CHECK_RC(agent_end(agent), 0);
    }
    CHECK(!atomic_load(&arena->wrong), "%s", arena->what);
    printf(" (%d deaths, %d of the keeper; %llu transactions, %llu without room; %llu walks, %llu ranges, %llu "
           "snapshots, %llu overtaken; %d checks)",
           deaths, keepers, (unsigned long long)atomic_load(&arena->transactions),
           (unsigned long long)atomic_load(&arena->full), (unsigned long long)atomic_load(&arena->looks[0]),
           (unsigned long long)atomic_load(&arena->looks[1]), (unsigned long long)atomic_load(&arena->looks[2]),
           (unsigned long long)atomic_load(&arena->gone), checks);
    for (int i = 0; i < READERS; i++)
        CHECK(atomic_load(&arena->looks[i]) > 10, "%d looks by %s", (int)atomic_load(&arena->looks[i]), kinds[i]);
    CHECK(atomic_load(&arena->broken) * 4 < atomic_load(&arena->looks[2]), "pins do not hold, with room to spare");
    CHECK(deaths >= 20 && keepers >= 1, "%d deaths", deaths);
    look_after(me);
    CHECK(!atomic_load(&arena->wrong), "%s", arena->what);
    munmap(arena, sizeof *arena);
}

static const struct test tests[] = {{"torture", torture}, {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "torture", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
