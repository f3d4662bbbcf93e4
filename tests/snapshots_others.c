/* SPDX-License-Identifier: MIT */
/*
 * Snapshots and the others: a writer in another process, at full speed; keepers that are killed and restarted while one
 * is open; clients that close, die or fork with snapshots open, and leave no pin; tables that are given away,
 * destroyed, detached, and whose owner dies in the middle of a transaction.
 */
#include "snapshots.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 500
#define TOTAL (COUNT * INT64_C(1000))

static struct model model;
static struct heir *owner, *other;
static struct heir_table *table, *reader;
static struct heir_snapshot *snapshot;

static int fill(struct heir_table *to, uint32_t salt, struct model *note)
{
    int rc = 0;
    for (uint32_t i = 0; i < COUNT && !rc; i++) {
        uint32_t value[4] = {salt, i, salt ^ i, 7};
        rc = heir_put(to, &i, 4, value, sizeof value);
        if (note)
            model_put(note, &i, 4, value, sizeof value);
    }
    return rc;
}

/* An ordered set with COUNT objects, and a snapshot of it by another client. */
static void begin(uint64_t max_bytes)
{
    struct heir_table_options options = {.type = HEIR_ORDERED_SET, .max_bytes = max_bytes};
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    model_free(&model);
    model.type = HEIR_ORDERED_SET;
    owner = test_open("owner");
    other = test_open("other");
    REQUIRE_RC(heir_create(owner, "t", &options, &table), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    REQUIRE_RC(fill(table, 0, &model), 0);
    REQUIRE_RC(heir_snapshot_open(reader, &snapshot), 0);
}

static bool holds(const char *when)
{
    int rc = snapshot_holds(snapshot, &model);
    return CHECK(rc == 0, "%s: %s", when, error_text(rc)) && CHECK_RC(heir_snapshot_check(snapshot), 0);
}

static struct heir_info look(struct heir_table *handle)
{
    struct heir_info info = {0};
    CHECK_RC(heir_info(handle, &info), 0);
    return info;
}

/* Writes bring the horizon past this state: nothing pins it any more. */
static bool passes(void *arg)
{
    int rc = 0;
    for (int i = 0; i < 500 && !rc; i++)
        rc = heir_put(table, "x", 1, &i, sizeof i);
    return rc || look(table).horizon > *(uint64_t *)arg;
}

static void no_pin_at(uint64_t state, const char *when)
{
    CHECK(wait_until(passes, &state, PATIENCE), "%s: state %llu is pinned, the horizon at %llu", when,
          (unsigned long long)state, (unsigned long long)look(table).horizon);
}

/* ---- Keepers ------------------------------------------------------------------------------------------ */

static void keeper_restarted(void)
{
    struct heir_open_options brief = {.name = "hasty", .timeout_ms = patience(200)}; /* does not wait long for one */
    struct heir_snapshot *more = NULL;
    struct heir_table *seen = NULL;
    struct heir *hasty = NULL;
    begin(4 << 20);
    REQUIRE_RC(heir_open(&brief, &hasty), 0);
    CHECK_RC(heir_attach(hasty, "t", &seen), 0);
    uint64_t state = heir_snapshot_state(snapshot);
    for (uint32_t round = 1; round < 5; round++) {
        if (round % 2)
            keeper_kill();
        else
            CHECK_EQ(keeper_stop(), 0);
        holds("without a keeper");
        CHECK_RC(fill(table, round, NULL), 0);
        holds("without a keeper, after writes");
        CHECK_RC(heir_snapshot_open(seen, &more), -ECONNREFUSED);
        REQUIRE_EQ(keeper_start(NULL), 0);
        holds("with a new keeper");
        struct agent *one = agent_new("anybody"); /* the keeper is at work */
        DO(one, 0, "attach t");
        CHECK_RC(agent_end(one), 0);
        CHECK_RC(fill(table, round, NULL), 0);
        holds("with a new keeper, after writes");
    }
    CHECK_RC(heir_snapshot_close(snapshot), 0);
    no_pin_at(state, "closed after the keepers");
    REQUIRE_RC(heir_snapshot_open(reader, &snapshot), 0);
    state = heir_snapshot_state(snapshot);
    keeper_kill();
    CHECK_RC(heir_snapshot_close(snapshot), 0);
    REQUIRE_EQ(keeper_start(NULL), 0);
    no_pin_at(state, "closed without a keeper");
    CHECK_RC(heir_close(hasty), 0);
    whole(reader, "at the end", NULL);
}

/* ---- Clients ------------------------------------------------------------------------------------------ */

static int open_some(struct agent_self *self, void *arg)
{
    struct heir_table *t = agent_table(self, "t");
    struct heir_snapshot *some[3] = {NULL};
    int rc = 0;
    (void)arg;
    for (int i = 0; i < 3 && !rc; i++)
        rc = heir_snapshot_open(t, &some[i]);
    self->answer.number = heir_snapshot_state(some[0]);
    return rc;
}

static void client_closed_or_dead(void)
{
    begin(4 << 20);
    CHECK_RC(heir_snapshot_close(snapshot), 0);
    for (int how = 0; how < 6; how++) {
        struct agent *one = agent_new("one");
        DO(one, 0, "attach t");
        CHECK_RC(agent_call(one, open_some, NULL, 0), 0);
        uint64_t state = one->answer.number;
        CHECK_RC(fill(table, (uint32_t)how, NULL), 0);
        CHECK(look(table).horizon <= state, "state %llu is pinned, the horizon at %llu", (unsigned long long)state,
              (unsigned long long)look(table).horizon);
        switch (how) {
        case 0:
            DO(one, 0, "close");
            break;
        case 1:
            agent_kill(one);
            break;
        case 2:
            DO(one, -EBUSY, "detach t");
            agent_signal(one, SIGTERM);
            CHECK_RC(agent_reap(one, PATIENCE), 0);
            break;
        case 3:
            agent_send(one, "die exit");
            CHECK_RC(agent_reap(one, PATIENCE), 0);
            break;
        case 4: /* with the keeper */
            keeper_kill();
            agent_kill(one);
            REQUIRE_EQ(keeper_start(NULL), 0);
            break;
        default:
            keeper_kill();
            DO(one, 0, "close");
            REQUIRE_EQ(keeper_start(NULL), 0);
        }
        no_pin_at(state, how == 0 ? "a closed client" : "a dead client");
    }
    /* in the test's own process, with some open */
    for (int i = 0; i < 3; i++)
        REQUIRE_RC(heir_snapshot_open(reader, &snapshot), 0);
    uint64_t state = heir_snapshot_state(snapshot);
    test_close(other);
    no_pin_at(state, "closed in this process");
    whole(table, "at the end", NULL);
}

/* A forked child has no part in it, and harms nothing. */
static void forked(void)
{
    int status = 0;
    begin(4 << 20);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        size_t len = 0;
        const void *value;
        uint32_t key = 5;
        int wrong = heir_snapshot_get(snapshot, &key, 4, NULL, &len) != -ENOTCONN;
        wrong |= (heir_snapshot_view(snapshot, &key, 4, &value, &len) != -ENOTCONN) << 1;
        wrong |= (heir_snapshot_check(snapshot) != -ENOTCONN) << 2;
        wrong |= (heir_view(table, &key, 4, &value, &len) != -ENOTCONN) << 3;
        wrong |= (heir_put_many(table, &(struct heir_object){"k", 1, "v", 1}, 1) != -ENOTCONN) << 4;
        wrong |= (heir_check(table, NULL, NULL, NULL) != -ENOTCONN) << 5;
        heir_snapshot_close(snapshot);
        _exit(wrong);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status %#x", (unsigned)status);
    CHECK_RC(fill(table, 1, NULL), 0);
    holds("after a child closed it");
    CHECK_RC(heir_snapshot_close(snapshot), 0);
}

/* ---- Owners, tables ----------------------------------------------------------------------------------- */

static void given_away(void)
{
    struct heir_event event;
    begin(4 << 20);
    CHECK_RC(heir_give_away(table, heir_id(other), NULL, 0), 0);
    CHECK_RC(heir_wait(other, patience(PATIENCE), &event), 0);
    holds("of a table that is one's own now");
    CHECK_RC(fill(reader, 1, NULL), 0);
    holds("after one's own writes");
    CHECK_RC(heir_clear(reader), 0);
    CHECK_RC(heir_give_away(reader, heir_id(owner), NULL, 0), 0);
    CHECK_RC(heir_wait(owner, patience(PATIENCE), &event), 0);
    CHECK_RC(fill(table, 2, NULL), 0);
    holds("of a table given away");
    CHECK_RC(heir_release(table), 0);
    holds("of a table released");
    CHECK_RC(heir_snapshot_close(snapshot), 0);
}

static void destroyed_and_detached(void)
{
    size_t len = 0;
    uint32_t key = 3;
    begin(4 << 20);
    CHECK_RC(fill(table, 1, NULL), 0);
    CHECK_RC(heir_destroy(table), 0);
    holds("of a destroyed table");
    test_close(owner);
    holds("of a destroyed table without its owner");
    CHECK_RC(heir_detach(reader), -EBUSY);
    holds("of a destroyed table, not to be detached");
    CHECK_RC(heir_snapshot_close(snapshot), 0);
    CHECK_RC(heir_detach(reader), 0);
    CHECK_RC(heir_get(reader, &key, 4, NULL, &len), -ENOTCONN);
    CHECK_RC(heir_snapshot_open(reader, &snapshot), -ENOTCONN);
    test_close(other);
    CHECK_EQ(shm_count("t."), 0);
}

static int half(struct agent_self *self, void *arg)
{
    struct heir_table *t = agent_table(self, "t");
    int rc = heir_begin(t);
    if (!rc)
        rc = fill(t, 99, NULL);
    if (!rc && *(int *)arg)
        rc = heir_clear(t);
    return rc;
}

static void owner_dies_in_a_transaction(void)
{
    begin(4 << 20);
    CHECK_RC(heir_release(table), 0);
    struct agent *a = agent_new("a");
    agent_send(a, "claim t -1 none");
    CHECK_RC(agent_answer(a, PATIENCE), 0);
    for (int round = 0; round < 6; round++) {
        struct heir_snapshot *inside = NULL, *dead = NULL;
        CHECK_RC(agent_call(a, half, &round, sizeof round), 0);
        REQUIRE_RC(heir_snapshot_open(reader, &inside), 0); /* the last commit, not what is open */
        CHECK_EQ(heir_snapshot_state(inside), look(reader).committed);
        CHECK_RC(snapshot_holds(inside, &model), 0);
        agent_kill(a);
        holds("after its owner's death");
        struct agent *next = agent_new("a");
        REQUIRE_RC(heir_snapshot_open(reader, &dead), 0);
        CHECK_RC(snapshot_holds(dead, &model), 0);
        agent_send(next, "claim t -1 none");
        CHECK_RC(agent_answer(next, PATIENCE), 0);
        holds("with the next owner");
        CHECK_RC(snapshot_holds(inside, &model), 0);
        CHECK_RC(snapshot_holds(dead, &model), 0);
        DO(next, 0, "put t k v");
        DO(next, 0, "del t k");
        CHECK_RC(snapshot_holds(inside, &model), 0);
        CHECK_RC(heir_snapshot_close(inside), 0);
        CHECK_RC(heir_snapshot_close(dead), 0);
        a = next;
    }
    holds("after all of them");
    CHECK_RC(heir_snapshot_close(snapshot), 0);
    whole(reader, "at the end", NULL);
}

/* ---- Beside a writer ---------------------------------------------------------------------------------- */

static _Atomic bool *stop;

static int move_money(struct agent_self *self, void *arg)
{
    struct rnd rnd = {*(uint64_t *)arg};
    struct heir_table *t = agent_table(self, "t");
    int rc = 0;
    while (!rc && !atomic_load(stop)) {
        uint32_t from = (uint32_t)rnd_below(&rnd, COUNT), to = (uint32_t)rnd_below(&rnd, COUNT);
        int64_t amount = (int64_t)rnd_below(&rnd, 500);
        rc = heir_begin(t);
        if (!rc)
            rc = heir_add(t, &from, 4, -amount, NULL);
        if (!rc)
            rc = heir_add(t, &to, 4, amount, NULL);
        if (!rc)
            rc = heir_commit(t);
    }
    return rc;
}

static int begin_accounts(struct agent_self *self, void *arg)
{
    int rc = 0;
    (void)arg;
    for (uint32_t i = 0; i < COUNT && !rc; i++)
        rc = heir_add(agent_table(self, "t"), &i, 4, 1000, NULL);
    return rc;
}

struct sum {
    int64_t sum;
    uint64_t print; /* a fingerprint of what was seen, whatever the order */
    unsigned count;
};

static int sum_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct sum *sum = arg;
    uint32_t account = 0;
    int64_t balance = 0;
    if (key_len != 4 || value_len != 8)
        return -EBADMSG;
    memcpy(&account, key, 4);
    memcpy(&balance, value, 8);
    struct rnd mix = {(uint64_t)balance * 31 + account};
    sum->sum += balance;
    sum->print += rnd_next(&mix);
    sum->count++;
    return 0;
}

static int sum_by_keys(struct heir_snapshot *s, struct sum *sum)
{
    for (uint32_t i = 0; i < COUNT; i++) {
        int64_t balance = 0;
        const void *seen = NULL;
        size_t len = 8;
        int rc = i % 2 ? heir_snapshot_get(s, &i, 4, &balance, &len) : heir_snapshot_view(s, &i, 4, &seen, &len);
        if (rc == 0 && i % 2 == 0) {
            memcpy(&balance, seen, 8);
            rc = heir_snapshot_check(s);
        }
        if (rc)
            return rc;
        sum_visit(&i, 4, &balance, 8, sum);
    }
    return 0;
}

static void beside_a_writer(void)
{
    static const char *const sizes[] = {"131072", "524288", "67108864"};
    REQUIRE_EQ(keeper_start(NULL), 0);
    stop = mmap(NULL, sizeof *stop, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stop != MAP_FAILED);
    for (int i = 0; i < 6; i++) {
        bool ordered = i % 2;
        unsigned looks = 0, stale = 0, wrong = 0;
        struct heir *me = test_open("me");
        struct agent *writer = agent_new("writer");
        uint64_t seed = test_seed;
        atomic_store(stop, false);
        DO(writer, 0, "create t type=%d max=%s", ordered ? HEIR_ORDERED_SET : HEIR_SET, sizes[i / 2]);
        CHECK_RC(agent_call(writer, begin_accounts, NULL, 0), 0);
        REQUIRE_RC(heir_attach(me, "t", &reader), 0);
        agent_call_send(writer, move_money, &seed, sizeof seed);
        for (int64_t end = now_ms() + (int64_t)(test_seconds(0.8) * 1000); now_ms() < end && !wrong;) {
            struct heir_snapshot *s = NULL;
            struct sum sum[4] = {{0, 0, 0}};
            REQUIRE_RC(heir_snapshot_open(reader, &s), 0);
            int rc = heir_snapshot_foreach(s, sum_visit, &sum[0]);
            if (!rc)
                rc = sum_by_keys(s, &sum[1]);
            sum[2] = sum[3] = sum[1];
            if (!rc && ordered) {
                memset(sum + 2, 0, 2 * sizeof *sum);
                rc = heir_snapshot_range(s, NULL, 0, NULL, 0, sum_visit, &sum[2]);
                if (!rc)
                    rc = heir_snapshot_range_reverse(s, NULL, 0, NULL, 0, sum_visit, &sum[3]);
            }
            for (int k = 0; k < 4 && !rc; k++)
                wrong += sum[k].sum != TOTAL || sum[k].count != COUNT || sum[k].print != sum[0].print;
            looks += rc == 0;
            stale += rc == -ESTALE;
            CHECK(rc == 0 || rc == -ESTALE, "%s", error_text(rc));
            CHECK_RC(heir_snapshot_close(s), 0);
        }
        CHECK(!wrong, "%s bytes: %u of %u looks were wrong", sizes[i / 2], wrong, looks);
        CHECK(i / 2 < 2 || (looks > 10 && stale <= looks / 20), "%u looks, %u stale", looks, stale);
        atomic_store(stop, true);
        CHECK_RC(agent_answer(writer, PATIENCE), 0);
        whole(reader, "after it", NULL);
        DO(writer, 0, "destroy t");
        CHECK_RC(agent_end(writer), 0);
        test_close(me);
        printf(" (%s: %u looks, %u stale)", sizes[i / 2], looks, stale);
    }
    munmap((void *)stop, sizeof *stop);
}

const struct test snapshots_others[] = {{"keeper restarted", keeper_restarted},
                                        {"client closed or dead", client_closed_or_dead},
                                        {"forked", forked},
                                        {"given away", given_away},
                                        {"destroyed and detached", destroyed_and_detached},
                                        {"owner dies in a transaction", owner_dies_in_a_transaction},
                                        {"beside a writer", beside_a_writer},
                                        {NULL, NULL}};
