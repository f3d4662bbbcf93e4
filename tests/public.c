/* SPDX-License-Identifier: MIT */
/*
 * Public tables, sets and ordered sets: several processes write at full speed, by transactions, many objects at once,
 * compare and swap, lent memory; they are killed at any moment, and the owner too; the next writer sets right what they
 * left. A reader adds up: sums are constant, pairs are equal. HEIR_TEST_SECONDS makes it longer.
 */
#include "model.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define WORKERS  4
#define ACCOUNTS 100
#define PAIRS    20
#define TOTAL    (ACCOUNTS * INT64_C(1000))

struct shared {
    _Atomic int64_t begun[WORKERS], done[WORKERS]; /* counts by compare and swap */
    _Atomic int64_t operations;
    _Atomic int error;
    _Atomic unsigned error_in;
};

static struct shared *shared;

struct job {
    int number;
    uint64_t seed;
};

/* Keys: 'a' and an account's number, 'p' and a pair's number and a side, "blob", "count", "round". */
static size_t numbered(char kind, unsigned number, unsigned side, unsigned char *key)
{
    key[0] = (unsigned char)kind;
    key[1] = (unsigned char)number;
    key[2] = (unsigned char)side;
    return kind == 'p' ? 3 : 2;
}

/* ---- The writers -------------------------------------------------------------------------------------- */

static int move_money(struct heir_table *table, struct rnd *rnd)
{
    unsigned char key[4];
    int64_t rest = 0;
    int rc = heir_begin(table);
    for (uint64_t moves = 2 + rnd_below(rnd, 5); moves && !rc; moves--) {
        int64_t balance = 0, amount = moves == 1 ? -rest : (int64_t)rnd_below(rnd, 200) - 100;
        size_t key_len = numbered('a', (unsigned)rnd_below(rnd, ACCOUNTS), 0, key), len = 8;
        rest += amount;
        if (rnd_below(rnd, 2)) {
            rc = heir_add(table, key, key_len, amount, NULL);
            continue;
        }
        rc = heir_take(table, key, key_len, &balance, &len); /* away, and back */
        balance += amount;
        if (!rc)
            rc = heir_put_new(table, key, key_len, &balance, 8);
    }
    if (rc) {
        heir_abort(table);
        return rc;
    }
    return rnd_below(rnd, 8) ? heir_commit(table) : heir_abort(table);
}

/* Both sides of some pairs, by one call. */
static int put_pairs(struct heir_table *table, struct rnd *rnd)
{
    unsigned char keys[8][4], bytes[300];
    struct heir_object objects[8];
    size_t count = 2 * (1 + rnd_below(rnd, 4)), len = 1 + rnd_below(rnd, sizeof bytes);
    memset(bytes, (int)rnd_next(rnd), len);
    for (size_t i = 0; i < count; i += 2) {
        unsigned number = (unsigned)rnd_below(rnd, PAIRS);
        for (unsigned side = 0; side < 2; side++)
            objects[i + side] =
                (struct heir_object){keys[i + side], numbered('p', number, side, keys[i + side]), bytes, len};
    }
    return heir_put_many(table, objects, count);
}

static int count_up(struct heir_table *table, int number)
{
    for (;;) {
        int64_t old = 0, next;
        size_t len = 8;
        int rc = heir_get(table, "count", 5, &old, &len);
        if (rc)
            return rc;
        next = old + 1;
        atomic_store(&shared->begun[number], atomic_load(&shared->done[number]) + 1);
        rc = heir_cas(table, "count", 5, &old, 8, &next, 8);
        if (rc == 0)
            atomic_fetch_add(&shared->done[number], 1);
        if (rc != -ECANCELED)
            return rc;
    }
}

static int edit_blob(struct heir_table *table, struct rnd *rnd)
{
    void *lent = NULL;
    size_t len = 1000 + rnd_below(rnd, 4) * 1000;
    int rc = heir_begin(table);
    if (!rc)
        rc = heir_edit(table, "blob", 4, len, &lent);
    if (!rc)
        memset(lent, (int)rnd_next(rnd), len);
    if (rc) {
        heir_abort(table);
        return rc;
    }
    return rnd_below(rnd, 4) ? heir_commit(table) : heir_abort(table);
}

static int be_writer(struct agent_self *self, void *arg)
{
    struct job *job = arg;
    struct rnd rnd = {job->seed};
    struct heir_table *table = agent_table(self, "t");
    unsigned what = 0;
    int64_t turn;
    int rc = 0;
    while (!rc) {
        what = (unsigned)rnd_below(&rnd, 8);
        if (what < 4)
            rc = move_money(table, &rnd);
        else if (what == 4)
            rc = put_pairs(table, &rnd);
        else if (what == 5)
            rc = count_up(table, job->number);
        else if (what == 6)
            rc = edit_blob(table, &rnd);
        else if (!(rc = heir_add_wrap(table, "round", 5, 1, 9, 1, &turn)) && (turn < 1 || turn > 9))
            rc = -EBADMSG;
        atomic_fetch_add(&shared->operations, 1);
    }
    atomic_store(&shared->error_in, what);
    atomic_store(&shared->error, rc);
    return rc;
}

/* ---- The reader --------------------------------------------------------------------------------------- */

struct audit {
    int64_t sum, count, turn;
    unsigned accounts, sides, wrong;
    struct {
        size_t len;
        unsigned char byte;
    } pair[PAIRS][2];
};

static int audit_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct audit *audit = arg;
    const unsigned char *name = key, *bytes = value;
    int64_t number = 0;
    if (value_len == 8)
        memcpy(&number, value, 8);
    for (size_t i = 1; i < value_len && (name[0] == 'p' || name[0] == 'b'); i++)
        audit->wrong += bytes[i] != bytes[0];
    if (name[0] == 'a') {
        audit->wrong += key_len != 2 || value_len != 8;
        audit->sum += number;
        audit->accounts++;
    } else if (name[0] == 'p') {
        audit->pair[name[1] % PAIRS][name[2] & 1].len = value_len;
        audit->pair[name[1] % PAIRS][name[2] & 1].byte = bytes[0];
        audit->sides++;
    } else if (name[0] == 'c') {
        audit->count = number;
    } else if (name[0] == 'r') {
        audit->turn = number;
    }
    return 0;
}

static bool books_are_right(struct heir_table *table, bool by_range, const char *when, int64_t *count)
{
    struct audit audit = {0};
    int rc = -EAGAIN;
    for (int64_t end = now_ms() + patience(PATIENCE); (rc == -EAGAIN || rc == -ESTALE) && now_ms() < end;) {
        memset(&audit, 0, sizeof audit); /* again when the writers were faster */
        rc = by_range ? heir_range(table, NULL, 0, NULL, 0, audit_visit, &audit)
                      : heir_foreach(table, audit_visit, &audit);
    }
    for (int i = 0; i < PAIRS; i++)
        audit.wrong += memcmp(&audit.pair[i][0].len, &audit.pair[i][1].len, sizeof(size_t)) != 0 ||
                       audit.pair[i][0].byte != audit.pair[i][1].byte;
    *count = audit.count;
    return CHECK(rc == 0 && audit.sum == TOTAL && audit.accounts == ACCOUNTS && !audit.wrong && audit.turn <= 9,
                 "%s: %s; sum %lld, expected %lld, in %u accounts; %u sides, %u wrong", when, error_text(rc),
                 (long long)audit.sum, (long long)TOTAL, audit.accounts, audit.sides, audit.wrong);
}

static int64_t counted(void)
{
    int64_t done = 0;
    for (int i = 0; i < WORKERS; i++)
        done += atomic_load(&shared->done[i]);
    return done;
}

/* All that were done before the look are there, and of each killed writer perhaps one that it could not note. */
static bool count_is_right(int64_t count, int64_t before, int64_t killed)
{
    int64_t done = counted();
    return CHECK(count >= before && count <= done + killed + WORKERS, "the count is %lld; %lld were done, %lld before",
                 (long long)count, (long long)done, (long long)before);
}

/* ---- The test ----------------------------------------------------------------------------------------- */

static int open_accounts(struct agent_self *self, void *arg)
{
    struct heir_table *table = agent_table(self, "t");
    int64_t zero = 0;
    unsigned char key[4];
    int rc = 0;
    (void)arg;
    for (unsigned i = 0; i < ACCOUNTS && !rc; i++)
        rc = heir_add(table, key, numbered('a', i, 0, key), 1000, NULL);
    return rc ? rc : heir_put(table, "count", 5, &zero, 8);
}

static struct agent *start_writer(int number, struct rnd *rnd)
{
    struct job job = {number, rnd_next(rnd)};
    struct agent *agent = agent_new("writer");
    DO(agent, 0, "attach t");
    agent_call_send(agent, be_writer, &job, sizeof job);
    return agent;
}

static bool has_worked(void *arg)
{
    return atomic_load(&shared->operations) > *(int64_t *)arg || atomic_load(&shared->error);
}

static bool writers_go_on(const char *when)
{
    int64_t now = atomic_load(&shared->operations) + 10;
    bool worked = wait_until(has_worked, &now, PATIENCE);
    int error = atomic_load(&shared->error);
    return CHECK(worked && !error, "%s: %s (operation %u)", when, worked ? error_text(error) : "they hang",
                 atomic_load(&shared->error_in));
}

/* A public table with its accounts, the owner, a reader's handle, the writers at work. */
static struct agent *begin(enum heir_type type, unsigned max_bytes, struct rnd *rnd, struct agent *writer[WORKERS],
                           struct heir_table **reader)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *owner = agent_new("owner");
    DO(owner, 0, "create t access=public type=%d max=%u", (int)type, max_bytes);
    CHECK_RC(agent_call(owner, open_accounts, NULL, 0), 0);
    REQUIRE_RC(heir_attach(test_open("reader"), "t", reader), 0);
    for (int i = 0; i < WORKERS; i++)
        writer[i] = start_writer(i, rnd);
    return owner;
}

static void random_kills(enum heir_type type, unsigned max_bytes)
{
    struct rnd rnd = {test_seed + (uint64_t)type};
    struct heir_table *reader = NULL;
    struct agent *writer[WORKERS], *owner = begin(type, max_bytes, &rnd, writer, &reader);
    int64_t count = 0, before = 0, longest = 0;
    int kills = 0, owners = 0;
    bool good = true;
    for (int64_t end = now_ms() + (int64_t)(test_seconds(5) * 1000); now_ms() < end && good;) {
        int i = kills++ % WORKERS;
        nanosleep(&(struct timespec){.tv_nsec = (long)rnd_below(&rnd, 6000000)}, NULL); /* a moment to kill at */
        agent_kill(writer[i]);
        if (rnd_below(&rnd, 3) == 0) /* another one, too */
            agent_kill(writer[(i + 1) % WORKERS]);
        before = counted();
        good = books_are_right(reader, type == HEIR_ORDERED_SET && kills % 2, "after a kill", &count) &&
               count_is_right(count, before, 2 * kills);
        if (rnd_below(&rnd, 16) == 0) { /* the owner's death is nothing to the writers */
            agent_kill(owner);
            owner = agent_new("owner");
            int64_t begun = now_ms(); /* the writers hardly leave the table alone: it may take long */
            agent_send(owner, "claim t -1 none");
            good = good && CHECK_RC(agent_answer(owner, 6 * PATIENCE), 0);
            longest = now_ms() - begun > longest ? now_ms() - begun : longest;
            owners++;
        }
        if (rnd_below(&rnd, 16) == 0) {
            keeper_kill();
            good = good && writers_go_on("without a keeper");
            REQUIRE_EQ(keeper_start(NULL), 0);
        }
        for (int k = 0; k < WORKERS; k++)
            if (!writer[k]->pid)
                writer[k] = start_writer(k, &rnd);
        good = good && writers_go_on("after a kill");
        if (kills % 8 == 0) /* while it is written */
            good = good && CHECK_RC(heir_check(reader, NULL, NULL, NULL), 0);
    }
    for (int i = 0; i < WORKERS; i++)
        agent_kill(writer[i]);
    whole(reader, "when all are dead", NULL); /* one may have died in a transaction */
    books_are_right(reader, false, "when all are dead", &count);
    DO(owner, 0, "put t x y");
    DO(owner, 0, "del t x");
    books_are_right(reader, false, "after the next write", &before);
    CHECK_EQ(before, count);
    count_is_right(count, counted(), 2 * kills);
    whole(reader, "after the next write", NULL);
    CHECK(kills >= 3, "%d kills", kills);
    printf(" (%d kills, %d of the owner, the longest claim %lld ms, %lld operations)", kills, owners,
           (long long)longest, (long long)atomic_load(&shared->operations));
    munmap(shared, sizeof *shared);
}

/* Several at once, so that nobody is left who would wake those that wait: they go on nevertheless. */
static void the_living_go_on(void)
{
    struct rnd rnd = {test_seed};
    struct heir_table *reader = NULL;
    struct agent *writer[WORKERS];
    int64_t count = 0;
    int round = 0;
    bool good = true;
    begin(HEIR_SET, 1 << 20, &rnd, writer, &reader);
    for (int64_t end = now_ms() + (int64_t)(test_seconds(5) * 1000); now_ms() < end && good; round++) {
        unsigned kills = 1 + (unsigned)rnd_below(&rnd, WORKERS - 1), first = (unsigned)rnd_below(&rnd, WORKERS);
        char when[64];
        snprintf(when, sizeof when, "%u of %d killed in round %d", kills, WORKERS, round);
        nanosleep(&(struct timespec){.tv_nsec = (long)rnd_below(&rnd, 3000000)}, NULL); /* a moment to kill at */
        for (unsigned k = 0; k < kills; k++)
            agent_signal(writer[(first + k) % WORKERS], SIGKILL);
        for (unsigned k = 0; k < kills; k++)
            agent_kill(writer[(first + k) % WORKERS]);
        good = writers_go_on(when);
        for (unsigned k = 0; k < kills; k++)
            writer[(first + k) % WORKERS] = start_writer((int)((first + k) % WORKERS), &rnd);
    }
    for (int i = 0; i < WORKERS; i++)
        agent_kill(writer[i]);
    books_are_right(reader, false, "when all are dead", &count);
    whole(reader, "when all are dead", NULL);
    CHECK(round >= 3, "%d rounds", round);
    printf(" (%d rounds)", round);
    munmap(shared, sizeof *shared);
}

static void a_set(void)
{
    random_kills(HEIR_SET, 4 << 20);
}

static void an_ordered_set(void)
{
    random_kills(HEIR_ORDERED_SET, 4 << 20);
}

static void a_small_set(void)
{
    random_kills(HEIR_SET, 256 << 10);
}

static void a_small_ordered_set(void)
{
    random_kills(HEIR_ORDERED_SET, 256 << 10);
}

static const struct test tests[] = {{"set", a_set},
                                    {"ordered set", an_ordered_set},
                                    {"small set", a_small_set},
                                    {"small ordered set", a_small_ordered_set},
                                    {"the living go on", the_living_go_on},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "public", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
