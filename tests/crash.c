/* SPDX-License-Identifier: MIT */
/*
 * Workers that are killed: between any two changes of a transaction, and at any moment at full speed while a bank moves
 * money between its accounts, with a reader that sums them up all the time. (steps.c kills between any two
 * instructions.) HEIR_TEST_SECONDS makes the second part longer.
 */
#include "support.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* ---- Between two changes ------------------------------------------------------------------------------ */

#define CHANGES 14

/* The i-th change of the transaction: puts, overwrites, deletes, takes, adds; also twice to one key. */
static int change(struct agent *agent, int i)
{
    static const char *const orders[CHANGES] = {
        "put t new1 one",   "put t a changed",
        "del t b",          "add t n 100",
        "take t c",         "put t new1 two",
        "new t b back",     "add t m 5",
        "del t new1",       "put t a again",
        "add t n -1",       "del t b",
        "new t new2 three", "put t d longer-than-it-was-before-this-transaction"};
    return agent_do(agent, "%s", orders[i]);
}

static void begin_content(struct agent *agent)
{
    DO(agent, 0, "put t a A");
    DO(agent, 0, "put t b B");
    DO(agent, 0, "put t c C");
    DO(agent, 0, "put t d D");
    DO(agent, 0, "add t n 7");
}

static void check_content(struct agent *agent)
{
    static const char *const want[] = {"a", "A", "b", "B", "c", "C", "d", "D"};
    DO(agent, 0, "count t");
    CHECK_EQ(agent->answer.number, 5);
    for (int i = 0; i < 8; i += 2) {
        DO(agent, 0, "get t %s", want[i]);
        CHECK_STR(agent->answer.value, want[i + 1]);
    }
    int64_t number = 0;
    DO(agent, 0, "get t n");
    memcpy(&number, agent->answer.value, sizeof number);
    CHECK_EQ(number, 7);
    DO(agent, 0, "info t");
    CHECK_EQ(agent->answer.info.objects, 5);
}

/* Wait until so many claims stand in the line of "t", as this agent sees it. */
static bool line_has(struct agent *agent, uint64_t waiting)
{
    for (int64_t end = now_ms() + patience(PATIENCE); now_ms() < end;)
        if (agent_do(agent, "info t") == 0 && agent->answer.info.waiting == waiting)
            return true;
    return false;
}

/* Killed after k changes: the next owner finds the last commit, and its event says k. */
static void after_k_changes(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    begin_content(a);
    for (int k = 0; k <= CHANGES; k++) {
        struct agent *next = agent_new("a");
        DO(a, 0, "begin t");
        for (int i = 0; i < k; i++)
            CHECK_RC(change(a, i), 0);
        DO(a, -ENOENT, "del t nothing"); /* what has changed nothing does not count */
        DO(a, -EEXIST, "new t d x");
        DO(next, 0, "attach t");
        check_content(next); /* a reader sees none of it */
        agent_send(next, "claim t -1");
        agent_kill(a);
        CHECK_RC(agent_answer(next, PATIENCE), 0);
        if (EVENT(next, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL))
            CHECK(next->answer.event.undone == (uint64_t)k, "killed after %d changes: %d undone", k,
                  (int)next->answer.event.undone);
        check_content(next);
        a = next;
    }
    DO(a, 0, "begin t"); /* and all of it, committed */
    for (int i = 0; i < CHANGES; i++)
        CHECK_RC(change(a, i), 0);
    DO(a, 0, "commit t");
    agent_kill(a);
    a = agent_new("a");
    agent_send(a, "claim t -1");
    CHECK_RC(agent_answer(a, PATIENCE), 0);
    EVENT(a, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL);
    CHECK_EQ(a->answer.event.undone, 0);
    DO(a, 0, "get t a");
    CHECK_STR(a->answer.value, "again");
    DO(a, -ENOENT, "has t b");
    DO(a, -ENOENT, "has t c");
    DO(a, -ENOENT, "has t new1");
    DO(a, 0, "add t n 0");
    CHECK_EQ(a->answer.number, 106);
    DO(a, 0, "info t");
    CHECK_EQ(a->answer.info.objects, 5);
}

/* The same, with a clear, and with an abort before. */
static void after_a_clear(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int abort_first = 0; abort_first < 2; abort_first++) {
        struct agent *a = agent_new("a"), *next = agent_new("b");
        DO(a, 0, "claim t 0");
        DO(a, 0, "clear t");
        begin_content(a);
        DO(a, 0, "begin t");
        DO(a, 0, "clear t");
        DO(a, 0, "put t a after");
        DO(a, 0, "count t");
        CHECK_EQ(a->answer.number, 1);
        if (abort_first) {
            DO(a, 0, "abort t");
            check_content(a);
            DO(a, 0, "begin t");
            DO(a, 0, "put t x y");
            DO(a, 0, "clear t");
        }
        DO(next, 0, "attach t");
        check_content(next);
        agent_kill(a);
        agent_send(next, "claim t -1");
        CHECK_RC(agent_answer(next, PATIENCE), 0);
        check_content(next);
        DO(next, 0, "close");
    }
}

/* An heir that dies before it has touched the table, and the next one too: the undo is not lost and not done twice. */
static void heirs_die_one_after_the_other(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    begin_content(a);
    for (int round = 0; round < 10; round++) {
        struct agent *b = agent_new("b"), *c = agent_new("c");
        DO(a, 0, "begin t");
        DO(a, 0, "put t a half");
        DO(a, 0, "put t x half");
        agent_send(b, "claim t -1");
        CHECK(line_has(a, 1));
        agent_send(c, "claim t -1");
        CHECK(line_has(a, 2));
        agent_kill(a);
        CHECK_RC(agent_answer(b, PATIENCE), 0);
        agent_kill(b);
        CHECK_RC(agent_answer(c, PATIENCE), 0);
        check_content(c);
        a = c;
    }
}

/* ---- The bank ----------------------------------------------------------------------------------------- */

#define ACCOUNTS 64
#define WORKERS  3

struct bank {                                           /* shared by all processes of the test */
    _Atomic int64_t begun[WORKERS], committed[WORKERS]; /* transactions */
    _Atomic int64_t looks, wrong, errors;
    _Atomic int last_error;
    _Atomic bool stop;
};

static struct bank *bank;

struct job {
    int number;
    uint64_t seed;
};

/* Move money for ever: some accounts, by some amounts that make 0 together; a log entry; a blob; the count of
 * transactions. */
static int move_money(struct heir_table *table, int number, struct rnd *rnd)
{
    char count[16], name[16];
    unsigned char blob[3000];
    int64_t rest = 0, done = 0;
    int rc = heir_begin(table), moves = 2 + (int)rnd_below(rnd, 5);
    for (int i = 0; i < moves && !rc; i++) {
        uint32_t account = (uint32_t)rnd_below(rnd, ACCOUNTS);
        int64_t amount = i == moves - 1 ? -rest : (int64_t)rnd_below(rnd, 2001) - 1000;
        rest += amount;
        rc = heir_add(table, &account, sizeof account, amount, NULL);
    }
    snprintf(name, sizeof name, "log %d", (int)rnd_below(rnd, 50));
    memset(blob, (int)rnd_below(rnd, 256), sizeof blob);
    if (!rc && rnd_below(rnd, 4))
        rc = heir_put(table, name, strlen(name), blob, rnd_below(rnd, 400));
    else if (!rc && (rc = heir_del(table, name, strlen(name))) == -ENOENT)
        rc = 0;
    if (!rc)
        rc = heir_put(table, "blob", 4, blob, 1 + rnd_below(rnd, sizeof blob));
    snprintf(count, sizeof count, "count %d", number);
    if (!rc)
        rc = heir_add(table, count, 7, 1, &done);
    if (!rc && rnd_below(rnd, 10) == 0)
        return heir_abort(table);
    if (rc)
        return rc;
    atomic_store(&bank->begun[number], done);
    rc = heir_commit(table);
    if (!rc)
        atomic_store(&bank->committed[number], done);
    return rc;
}

static int be_banker(struct agent_self *self, void *arg)
{
    struct job *job = arg;
    struct rnd rnd = {job->seed};
    struct heir_table *table = agent_table(self, "bank");
    int rc = 0;
    while (!rc)
        rc = move_money(table, job->number, &rnd);
    atomic_store(&bank->last_error, rc);
    atomic_fetch_add(&bank->errors, 1);
    return rc;
}

struct audit {
    int64_t sum, accounts, bad;
    int64_t counts[WORKERS];
};

static int audit_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct audit *audit = arg;
    const unsigned char *bytes = value;
    int64_t number = 0;
    if (key_len == 4 && memcmp(key, "blob", 4)) {
        if (value_len != 8)
            return -EBADMSG;
        memcpy(&number, value, 8);
        audit->sum += number;
        audit->accounts++;
    } else if (key_len == 7 && !memcmp(key, "count ", 6) && value_len == 8) {
        memcpy(&audit->counts[((const char *)key)[6] - '0'], value, 8);
    } else {
        for (size_t i = 1; i < value_len; i++)
            audit->bad += bytes[i] != bytes[0];
    }
    return 0;
}

/* Reads all the time, by walks and by single gets. */
static int be_auditor(struct agent_self *self, void *arg)
{
    struct heir_table *table = NULL;
    unsigned char blob[3000];
    int64_t last[WORKERS] = {0};
    (void)arg;
    int rc = heir_attach(self->client, "bank", &table);
    while (!rc && !atomic_load(&bank->stop)) {
        struct audit audit = {0};
        size_t len = sizeof blob;
        rc = heir_foreach(table, audit_visit, &audit);
        if (rc == -EAGAIN || rc == -ESTALE) /* the writer was faster, or needed the room */
            rc = 0;
        else if (!rc && (audit.sum || audit.accounts != ACCOUNTS || audit.bad))
            rc = -EBADMSG;
        for (int i = 0; i < WORKERS && !rc && audit.accounts == ACCOUNTS; i++) {
            if (audit.counts[i] < last[i]) /* it does not go back */
                rc = -EILSEQ;
            last[i] = audit.counts[i];
        }
        for (int i = 0; i < 200 && !rc; i++) {
            len = sizeof blob;
            rc = heir_get(table, "blob", 4, blob, &len);
            for (size_t k = 1; !rc && k < len; k++)
                if (blob[k] != blob[0])
                    rc = -EBADMSG;
        }
        atomic_fetch_add(&bank->looks, 1);
    }
    if (rc)
        atomic_fetch_add(&bank->wrong, 1);
    return rc;
}

/* Before the agents: they inherit it. */
static void map_bank(void)
{
    bank = mmap(NULL, sizeof *bank, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(bank != MAP_FAILED);
    REQUIRE_EQ(keeper_start(NULL), 0);
}

static void open_bank(struct agent *agent, const char *options)
{
    DO(agent, 0, "create bank max=4000000 %s", options);
    DO(agent, 0, "begin bank");
}

static int fill_bank(struct agent_self *self, void *arg)
{
    int rc = 0;
    (void)arg;
    for (uint32_t account = 0; account < ACCOUNTS && !rc; account++)
        rc = heir_add(agent_table(self, "bank"), &account, sizeof account, 0, NULL);
    if (!rc)
        rc = heir_put(agent_table(self, "bank"), "blob", 4, "xxx", 3);
    return rc ? rc : heir_commit(agent_table(self, "bank"));
}

static int audit_once(struct agent_self *self, void *arg)
{
    struct audit audit;
    int rc = -ESTALE;
    (void)arg;
    for (int64_t end = now_ms() + patience(PATIENCE); rc == -ESTALE && now_ms() < end;) { /* others needed the room */
        memset(&audit, 0, sizeof audit);
        rc = heir_foreach(agent_table(self, "bank"), audit_visit, &audit);
    }
    memcpy(self->answer.value, &audit, sizeof audit);
    return rc;
}

/* After a death: nothing is lost that was committed, nothing is there that was not. */
static void check_books(struct agent *agent, int worker, int round)
{
    struct audit audit;
    if (!CHECK_RC(agent_call(agent, audit_once, NULL, 0), 0))
        return;
    memcpy(&audit, agent->answer.value, sizeof audit);
    CHECK(audit.sum == 0 && audit.accounts == ACCOUNTS && audit.bad == 0,
          "round %d: sum %lld in %lld accounts, %lld bad", round, (long long)audit.sum, (long long)audit.accounts,
          (long long)audit.bad);
    int64_t begun = atomic_load(&bank->begun[worker]), committed = atomic_load(&bank->committed[worker]);
    CHECK(audit.counts[worker] == begun || audit.counts[worker] == committed,
          "round %d: %lld transactions are in the table, %lld were committed, %lld begun", round,
          (long long)audit.counts[worker], (long long)committed, (long long)begun);
}

static void spin(struct rnd *rnd, int64_t below_us)
{
    struct timespec begin, now;
    int64_t ns = (int64_t)rnd_below(rnd, (uint64_t)below_us * 1000);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do { /* not a wait for something: a random moment to kill at */
        nanosleep(&(struct timespec){.tv_nsec = ns > 200000 ? 100000 : 0}, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000000000LL + now.tv_nsec - begin.tv_nsec < ns);
}

static void close_bank(struct agent *auditor)
{
    atomic_store(&bank->stop, true);
    CHECK_RC(agent_answer(auditor, PATIENCE), 0);
    CHECK_EQ(atomic_load(&bank->wrong), 0);
    CHECK(atomic_load(&bank->looks) > 3, "the reader has looked %d times", (int)atomic_load(&bank->looks));
    CHECK(atomic_load(&bank->errors) == 0, "a worker had an error: %s", error_text(atomic_load(&bank->last_error)));
}

/* One owner after the other; now and then the keeper dies too. */
static void random_kills(void)
{
    struct rnd rnd = {test_seed};
    map_bank();
    struct agent *worker = agent_new("worker"), *auditor = agent_new("auditor");
    open_bank(worker, "");
    CHECK_RC(agent_call(worker, fill_bank, NULL, 0), 0);
    agent_call_send(auditor, be_auditor, NULL, 0);
    int64_t end = now_ms() + (int64_t)(test_seconds(6) * 1000);
    int round = 0, keepers = 0;
    uint64_t undone = 0;
    while (now_ms() < end) {
        struct job job = {0, rnd_next(&rnd)};
        struct agent *next = agent_new("worker");
        bool keeper_too = ++round % 16 == 0;
        agent_call_send(worker, be_banker, &job, sizeof job);
        agent_send(next, "claim bank -1");
        spin(&rnd, round % 5 ? 6000 : 60000);
        if (keeper_too && rnd_below(&rnd, 2))
            keeper_kill();
        agent_kill(worker);
        if (keeper_too) {
            keepers++;
            keeper_kill();
            REQUIRE_EQ(keeper_start(NULL), 0);
        }
        if (!CHECK_RC(agent_answer(next, PATIENCE), 0))
            break;
        int rc = agent_do(next, "wait 0");
        while (rc == 0 && next->answer.event.type != HEIR_EVENT_TRANSFER) /* of the keeper's absence */
            rc = agent_do(next, "wait 0");
        if (CHECK_RC(rc, 0)) {
            CHECK_EQ(next->answer.event.reason, HEIR_CLAIMED);
            undone += next->answer.event.undone;
        }
        check_books(next, 0, round);
        worker = next;
    }
    printf(" (%d deaths, %d of the keeper, %lld transactions, %llu changes undone, %lld looks)", round, keepers,
           (long long)atomic_load(&bank->committed[0]), (unsigned long long)undone,
           (long long)atomic_load(&bank->looks));
    CHECK(round >= 10, "%d rounds", round);
    close_bank(auditor);
    munmap(bank, sizeof *bank);
}

/* Several writers of a public table: whoever dies inside a transaction is set right by the next one. */
static void random_kills_of_public_writers(void)
{
    struct rnd rnd = {test_seed};
    struct agent *worker[WORKERS];
    map_bank();
    struct agent *owner = agent_new("owner"), *auditor = agent_new("auditor");
    open_bank(owner, "access=public");
    CHECK_RC(agent_call(owner, fill_bank, NULL, 0), 0);
    agent_call_send(auditor, be_auditor, NULL, 0);
    for (int i = 0; i < WORKERS; i++) {
        struct job job = {i, rnd_next(&rnd)};
        worker[i] = agent_new("worker");
        DO(worker[i], 0, "attach bank");
        agent_call_send(worker[i], be_banker, &job, sizeof job);
    }
    int64_t end = now_ms() + (int64_t)(test_seconds(4) * 1000);
    int round = 0;
    while (now_ms() < end) {
        int i = round++ % WORKERS;
        spin(&rnd, 10000);
        agent_kill(worker[i]);
        check_books(owner, i, round);
        struct job job = {i, rnd_next(&rnd)};
        worker[i] = agent_new("worker");
        if (!DO(worker[i], 0, "attach bank"))
            break;
        agent_call_send(worker[i], be_banker, &job, sizeof job);
    }
    for (int i = 0; i < WORKERS; i++)
        agent_kill(worker[i]);
    DO(owner, 0, "info bank");
    CHECK_EQ(owner->answer.info.epoch, 1); /* none of this was the owner's business */
    printf(" (%d deaths, %lld looks)", round, (long long)atomic_load(&bank->looks));
    CHECK(round >= 10, "%d rounds", round);
    close_bank(auditor);
    munmap(bank, sizeof *bank);
}

static const struct test tests[] = {{"killed after k changes", after_k_changes},
                                    {"killed after a clear", after_a_clear},
                                    {"heirs die one after the other", heirs_die_one_after_the_other},
                                    {"random kills", random_kills},
                                    {"random kills of public writers", random_kills_of_public_writers},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "crash", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
