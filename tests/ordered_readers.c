/* SPDX-License-Identifier: MIT */
/*
 * Readers of an ordered set in other processes, while its owner moves money between accounts that come and go: the sum
 * is constant, the keys strictly ascend (and descend), a walk by steps gets on. Also while the owner is killed at any
 * moment, and the next one claims the table. HEIR_TEST_SECONDS makes it longer.
 */
#include "model.h"
#include "ordered.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define TOTAL   1000000
#define READERS 2

struct bank { /* shared by all processes of the test */
    _Atomic uint64_t looks, missed, moves;
    _Atomic int error;
    _Atomic unsigned accounts;
    _Atomic bool stop, write_stop;
};

static struct bank *bank;

static void account_key(uint32_t number, unsigned char *key)
{
    for (int i = 0; i < 4; i++)
        key[i] = (unsigned char)(number >> (24 - 8 * i));
}

/* ---- The writer --------------------------------------------------------------------------------------- */

/* An account without money is not there. */
static int change(struct heir_table *table, uint32_t account, int64_t by)
{
    unsigned char key[4];
    int64_t balance = 0;
    size_t len = 8;
    account_key(account, key);
    int rc = heir_get(table, key, 4, &balance, &len);
    if (rc && rc != -ENOENT)
        return rc;
    balance += by;
    return balance ? heir_put(table, key, 4, &balance, 8) : heir_del(table, key, 4);
}

static int move_some(struct heir_table *table, struct rnd *rnd)
{
    unsigned accounts = atomic_load(&bank->accounts);
    int rc = heir_begin(table);
    for (uint64_t moves = 1 + rnd_below(rnd, 6); moves && !rc; moves--) {
        unsigned char key[4];
        int64_t balance = 0;
        size_t len = 8;
        uint32_t from = (uint32_t)rnd_below(rnd, accounts), to = (uint32_t)rnd_below(rnd, accounts);
        account_key(from, key);
        rc = heir_get(table, key, 4, &balance, &len);
        if (rc == -ENOENT) {
            rc = 0;
            continue;
        }
        if (rc || from == to)
            continue;
        int64_t amount = rnd_below(rnd, 3) ? 1 + (int64_t)rnd_below(rnd, (uint64_t)balance) : balance;
        rc = change(table, from, -amount);
        if (!rc)
            rc = change(table, to, amount);
    }
    if (rc) {
        heir_abort(table);
        return rc;
    }
    return rnd_below(rnd, 10) ? heir_commit(table) : heir_abort(table);
}

static int write_on(struct agent_self *self, void *arg)
{
    struct rnd rnd = {*(uint64_t *)arg};
    int rc = 0;
    while (!rc && !atomic_load(&bank->write_stop)) {
        rc = move_some(agent_table(self, "t"), &rnd);
        atomic_fetch_add(&bank->moves, 1);
    }
    if (rc)
        atomic_store(&bank->error, rc);
    return rc;
}

static int begin_accounts(struct agent_self *self, void *arg)
{
    struct heir_table *table = agent_table(self, "t");
    unsigned accounts = atomic_load(&bank->accounts);
    int rc = heir_begin(table);
    (void)arg;
    for (uint32_t i = 0; i < accounts && !rc; i++)
        rc = change(table, i, i ? 100 : TOTAL - 100 * (int64_t)(accounts - 1));
    return rc ? rc : heir_commit(table);
}

/* ---- The readers -------------------------------------------------------------------------------------- */

struct audit {
    int64_t sum;
    size_t count;
    unsigned wrong;
    int direction;
    unsigned char last[4];
};

static int audit_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct audit *audit = arg;
    int64_t balance = 0;
    if (key_len != 4 || value_len != 8 || (audit->count && memcmp(key, audit->last, 4) * audit->direction <= 0)) {
        audit->wrong++;
        return 0;
    }
    memcpy(audit->last, key, 4);
    memcpy(&balance, value, 8);
    audit->wrong += balance <= 0;
    audit->sum += balance;
    audit->count++;
    return 0;
}

/* Half of the accounts is more than nothing and not more than all; a range stays inside its ends. */
static int look_at_part(struct heir_table *table, struct rnd *rnd, int direction)
{
    struct audit audit = {.direction = direction};
    unsigned char from[4], to[4];
    uint32_t first = (uint32_t)rnd_below(rnd, atomic_load(&bank->accounts)), span = (uint32_t)rnd_below(rnd, 200);
    account_key(first, from);
    account_key(first + span, to);
    int rc = (direction < 0 ? heir_range_reverse : heir_range)(table, from, 4, to, 4, audit_visit, &audit);
    if (rc)
        return rc;
    if (audit.count && (memcmp(audit.last, from, 4) < 0 || memcmp(audit.last, to, 4) >= 0))
        return -ERANGE;
    return audit.wrong || audit.sum > TOTAL || audit.count > span ? -EBADMSG : 0;
}

static int look_at_all(struct heir_table *table, int direction)
{
    struct audit audit = {.direction = direction};
    int rc = (direction < 0 ? heir_range_reverse : heir_range)(table, NULL, 0, NULL, 0, audit_visit, &audit);
    return rc ? rc : audit.wrong || audit.sum != TOTAL ? -EBADMSG : 0;
}

/* Each step is on another commit: only the order is sure. */
static int go_by_steps(struct heir_table *table, bool back)
{
    unsigned char key[4], found[4];
    size_t len = 4;
    int rc = back ? heir_last(table, key, &len) : heir_first(table, key, &len);
    for (int i = 0; i < 100 && !rc; i++) {
        len = 4;
        rc = back ? heir_prev(table, key, 4, found, &len) : heir_next(table, key, 4, found, &len);
        if (!rc && (len != 4 || memcmp(found, key, 4) * (back ? -1 : 1) <= 0))
            return -EILSEQ;
        memcpy(key, found, 4);
    }
    return rc == -ENOENT ? 0 : rc;
}

static int read_on(struct agent_self *self, void *arg)
{
    struct rnd rnd = {*(uint64_t *)arg};
    struct heir_table *table = NULL;
    int rc = heir_attach(self->client, "t", &table);
    while (!rc && !atomic_load(&bank->stop)) {
        int direction = rnd_below(&rnd, 2) ? 1 : -1;
        switch (rnd_below(&rnd, 6)) {
        case 0:
        case 1:
            rc = look_at_all(table, direction);
            break;
        case 2:
        case 3:
            rc = look_at_part(table, &rnd, direction);
            break;
        default:
            rc = go_by_steps(table, direction < 0);
        }
        if (rc == -EAGAIN || rc == -ESTALE) { /* the writer was faster, or needed the room */
            atomic_fetch_add(&bank->missed, 1);
            rc = 0;
        } else if (!rc) {
            atomic_fetch_add(&bank->looks, 1);
        }
    }
    if (rc)
        atomic_store(&bank->error, rc);
    return rc;
}

static bool looked_on(void *arg)
{
    return atomic_load(&bank->looks) >= *(uint64_t *)arg || atomic_load(&bank->error);
}

static bool readers_go_on(const char *when)
{
    uint64_t want = atomic_load(&bank->looks) + 20;
    bool looked = wait_until(looked_on, &want, PATIENCE);
    int error = atomic_load(&bank->error);
    return CHECK(looked && !error, "%s: %s", when, looked ? error_text(error) : "the readers stand still");
}

/* ---- The tests ---------------------------------------------------------------------------------------- */

static struct agent *begin(unsigned accounts, const char *options, struct agent *readers[READERS])
{
    if (!bank)
        bank = mmap(NULL, sizeof *bank, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(bank != MAP_FAILED);
    memset(bank, 0, sizeof *bank);
    atomic_store(&bank->accounts, accounts);
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *owner = agent_new("owner");
    DO(owner, 0, "create t type=%d %s", HEIR_ORDERED_SET, options);
    CHECK_RC(agent_call(owner, begin_accounts, NULL, 0), 0);
    for (uint64_t i = 0; i < READERS; i++) {
        uint64_t seed = test_seed + i;
        readers[i] = agent_new("reader");
        agent_call_send(readers[i], read_on, &seed, sizeof seed);
    }
    readers_go_on("at first");
    return owner;
}

static int check_whole(struct agent_self *self, void *arg)
{
    struct heir_account account = {0};
    (void)arg;
    int rc = heir_check(agent_table(self, "t"), NULL, NULL, &account);
    self->answer.number = account.findings;
    return rc ? rc : look_at_all(agent_table(self, "t"), 1);
}

static void finish(struct agent *owner, struct agent *readers[READERS])
{
    atomic_store(&bank->stop, true);
    for (int i = 0; i < READERS; i++) {
        int rc = agent_answer(readers[i], PATIENCE);
        CHECK(rc == 0, "the reader's error: %s", error_text(rc));
        CHECK_RC(agent_end(readers[i]), 0);
    }
    CHECK_RC(agent_call(owner, check_whole, NULL, 0), 0);
    CHECK_EQ(owner->answer.number, 0);
    DO(owner, 0, "destroy t");
    CHECK_RC(agent_end(owner), 0);
    printf(" (%llu looks, %llu missed, %llu moves)", (unsigned long long)bank->looks, (unsigned long long)bank->missed,
           (unsigned long long)bank->moves);
}

static void at_full_speed(void)
{
    static const struct {
        unsigned accounts;
        const char *options;
    } banks[] = {{50, "max=65536"}, {300, ""}, {3000, "max=4194304"}};
    for (size_t i = 0; i < sizeof banks / sizeof banks[0]; i++) {
        struct agent *readers[READERS], *owner = begin(banks[i].accounts, banks[i].options, readers);
        uint64_t seed = test_seed;
        agent_call_send(owner, write_on, &seed, sizeof seed);
        int64_t end = now_ms() + (int64_t)(test_seconds(2) * 1000);
        while (now_ms() < end && readers_go_on("beside a writer"))
            ;
        atomic_store(&bank->write_stop, true);
        CHECK_RC(agent_answer(owner, PATIENCE), 0);
        CHECK(atomic_load(&bank->moves) > 100);
        finish(owner, readers);
    }
}

static void owners_killed(void)
{
    struct rnd rnd = {test_seed};
    struct agent *readers[READERS], *owner = begin(700, "max=1048576", readers);
    int64_t end = now_ms() + (int64_t)(test_seconds(5) * 1000);
    int round = 0;
    bool good = true;
    for (; (now_ms() < end || round < 10) && good; round++) {
        struct agent *next = agent_new("owner");
        uint64_t seed = rnd_next(&rnd);
        agent_call_send(owner, write_on, &seed, sizeof seed);
        agent_send(next, "claim t -1 none");
        nanosleep(&(struct timespec){.tv_nsec = (long)rnd_below(&rnd, 8000000)}, NULL); /* a moment to kill at */
        agent_kill(owner);
        if (round % 8 == 7) { /* nobody may claim for a while */
            keeper_kill();
            readers_go_on("with a dead owner and no keeper");
            REQUIRE_EQ(keeper_start(NULL), 0);
        }
        good = CHECK_RC(agent_answer(next, PATIENCE), 0) && CHECK_RC(agent_call(next, check_whole, NULL, 0), 0) &&
               CHECK_EQ(next->answer.number, 0) && readers_go_on("with a new owner");
        owner = next;
    }
    CHECK(round >= 10, "%d rounds", round);
    printf(" (%d deaths)", round);
    finish(owner, readers);
}

const struct test ordered_readers[] = {
    {"readers at full speed", at_full_speed}, {"owners killed", owners_killed}, {NULL, NULL}};
