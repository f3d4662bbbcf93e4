/* SPDX-License-Identifier: MIT */
/*
 * The keeper dies and comes back: workers never stop, deaths without a keeper are found, claims keep waiting, nothing
 * changes hands that should not, and no event is lost.
 */
#include "keeper.h"

#include <heir/admin.h>
#include <heir/inspect.h>
#include <heir/keeper.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct shared {
    _Atomic int64_t added;
    _Atomic bool stop;
};

static struct shared *shared;

static void map_shared(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
}

static int write_on(struct agent_self *self, void *arg)
{
    struct heir_table *table = agent_table(self, "t");
    int rc = 0;
    (void)arg;
    while (!rc && !atomic_load(&shared->stop))
        if (!(rc = heir_add(table, "n", 1, 1, NULL)))
            atomic_fetch_add(&shared->added, 1);
    return rc;
}

static bool has_added(void *arg)
{
    return atomic_load(&shared->added) >= *(int64_t *)arg;
}

static struct heir_info look(const char *name)
{
    struct heir_table *table = NULL;
    struct heir_info info = {.owner = UINT64_MAX};
    if (CHECK_RC(heir_inspect_open(NULL, name, &table), 0)) {
        CHECK_RC(heir_info(table, &info), 0);
        heir_inspect_close(table);
    }
    return info;
}

struct hope {
    const char *name;
    uint64_t owner;
};

static bool owned_by(void *arg)
{
    struct hope *hope = arg;
    return look(hope->name).owner == hope->owner;
}

static bool comes_to(const char *name, uint64_t owner)
{
    struct hope hope = {name, owner};
    return wait_until(owned_by, &hope, PATIENCE);
}

static bool line_has(const char *name, uint64_t waiting)
{
    struct waiting it = waiting_begin(PATIENCE);
    while (look(name).waiting != waiting)
        if (waiting_round(&it) == 0)
            return false;
    return true;
}

/* ---- Tests -------------------------------------------------------------------------------------------- */

static void workers_go_on(void)
{
    map_shared();
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    agent_call_send(a, write_on, NULL, 0);
    for (int i = 0; i < 6; i++) {
        if (i % 2)
            CHECK_EQ(keeper_stop(), 0);
        else
            keeper_kill();
        int64_t want = atomic_load(&shared->added) + 1000;
        CHECK(wait_until(has_added, &want, PATIENCE), "the worker stands still without a keeper");
        REQUIRE_EQ(keeper_start(NULL), 0);
        want = atomic_load(&shared->added) + 1000;
        CHECK(wait_until(has_added, &want, PATIENCE), "the worker stands still with a new keeper");
        CHECK_EQ(look("t").owner, a->id);
        CHECK_EQ(look("t").epoch, 1);
    }
    atomic_store(&shared->stop, true);
    CHECK_RC(agent_answer(a, PATIENCE), 0);
    DO(a, 0, "add t n 0");
    CHECK_EQ(a->answer.number, atomic_load(&shared->added));
    munmap(shared, sizeof *shared);
}

static void deaths_without_a_keeper(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c"), *h = agent_new("h"),
                 *d = agent_new("d");
    DO(a, 0, "create ta data=will");
    DO(b, 0, "create tb heir=h data=will");
    DO(c, 0, "create tc heir=%s", HEIR_NOBODY);
    DO(d, 0, "create td");
    DO(a, 0, "put ta k v");
    DO(a, 0, "begin ta");
    DO(a, 0, "put ta k w");
    DO(a, 0, "put ta l w");
    DO(a, 0, "del ta k");
    DO(b, 0, "begin tb");
    DO(b, 0, "put tb l w");
    keeper_kill();
    agent_kill(a);
    agent_kill(b);
    agent_kill(c);
    DO(d, 0, "put td k v");
    CHECK_EQ(look("ta").owner, a->id); /* nobody has acted yet */
    REQUIRE_EQ(keeper_start(NULL), 0);
    if (EVENT(h, HEIR_EVENT_KEEPER_DOWN, 0, NULL, NULL) && EVENT(h, HEIR_EVENT_KEEPER_UP, 0, NULL, NULL) &&
        EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "tb", "will")) {
        CHECK_EQ(h->answer.event.undone, 1);
        CHECK_EQ(h->answer.event.from, b->id);
        DO(h, -ENOENT, "has tb l");
    }
    CHECK(comes_to("ta", HEIR_KEEPER));
    struct agent *next = agent_new("a");
    DO(next, 0, "claim ta %d", PATIENCE / 2);
    EVENT(next, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "ta", "will");
    CHECK_EQ(next->answer.event.undone, 3);
    DO(next, 0, "get ta k");
    CHECK_STR(next->answer.value, "v");
    DO(next, -ENOENT, "claim tc 0 none");
    CHECK_EQ(look("td").owner, d->id);
    DO(d, 0, "create te"); /* the living one is known again */
    CHECK_EQ(shm_count("t."), 4);
}

/* An orderly close without a keeper: the next one finds what was left, as released. */
static void closes_without_a_keeper(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t heir=b data=will");
    DO(a, 0, "put t k v");
    DO(a, 0, "begin t");
    DO(a, 0, "put t k w");
    keeper_kill();
    DO(a, 0, "close");
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK(comes_to("t", HEIR_KEEPER));
    EVENT(b, HEIR_EVENT_KEEPER_DOWN, 0, NULL, NULL);
    EVENT(b, HEIR_EVENT_KEEPER_UP, 0, NULL, NULL);
    NO_EVENT(b); /* released, not inherited */
    DO(b, 0, "claim t 0");
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", "");
    DO(b, 0, "get t k");
    CHECK_STR(b->answer.value, "v");
}

static void claims_wait_on(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
    DO(a, 0, "create t");
    agent_send(b, "claim t -1");
    CHECK(line_has("t", 1));
    agent_send(c, "claim t 300");
    CHECK(line_has("t", 2));
    keeper_kill();
    CHECK_RC(agent_answer(c, PATIENCE), -ETIMEDOUT); /* its time is over, keeper or not */
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK(line_has("t", 1));
    CHECK_RC(agent_answer(b, 0), AGENT_HUNG);
    DO(a, 0, "put t k v");
    agent_kill(a);
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    DO(b, 0, "has t k");
    /* the owner dies while there is no keeper, and one waits */
    agent_send(c, "claim t -1");
    CHECK(line_has("t", 1));
    keeper_kill();
    agent_kill(b);
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK_RC(agent_answer(c, PATIENCE), 0);
    /* and a claim that begins without a keeper waits for one as long as the client was told to */
    CHECK_EQ(keeper_stop(), 0);
    agent_send(c, "claim u -1");
    CHECK_RC(agent_answer(c, 50), AGENT_HUNG);
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK_RC(agent_answer(c, PATIENCE), 0);
}

static void down_and_up(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    for (int i = 0; i < 4; i++) {
        agent_send(b, "wait -1"); /* one that waits, one that looks later */
        if (i % 2)
            CHECK_EQ(keeper_stop(), 0);
        else
            keeper_kill();
        CHECK_RC(agent_answer(b, PATIENCE), 0);
        CHECK_EQ(b->answer.event.type, HEIR_EVENT_KEEPER_DOWN);
        agent_send(b, "wait -1");
        REQUIRE_EQ(keeper_start(NULL), 0);
        CHECK_RC(agent_answer(b, PATIENCE), 0);
        CHECK_EQ(b->answer.event.type, HEIR_EVENT_KEEPER_UP);
        NO_EVENT(b);
        EVENT(a, HEIR_EVENT_KEEPER_DOWN, 0, NULL, NULL);
        EVENT(a, HEIR_EVENT_KEEPER_UP, 0, NULL, NULL);
        NO_EVENT(a);
        DO(a, 0, "find b");
        CHECK_EQ(a->answer.number, b->id); /* names and ids are what they were */
    }
}

/* What was given or inherited, but not yet told, when the keeper died. */
static void no_event_is_lost(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int i = 0; i < 10; i++) {
        struct agent *a = agent_new("a"), *b = agent_new("b");
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        DO(a, 0, "create %s", name);
        DO(a, 0, "give %s %llu gift", name, (unsigned long long)b->id);
        keeper_kill();
        int transfers = 0, rc = 0;
        if (i % 2 == 0) { /* it looks while there is no keeper: it may hear of it now, or later */
            rc = agent_do(b, "wait 20");
            CHECK(rc == 0 || rc == -ETIMEDOUT, "wait: %s", error_text(rc));
            transfers += rc == 0 && b->answer.event.type == HEIR_EVENT_TRANSFER;
        }
        REQUIRE_EQ(keeper_start(NULL), 0);
        for (struct waiting it = waiting_begin(PATIENCE / 2); transfers == 0 && waiting_round(&it) > 0;) {
            rc = agent_do(b, "wait 100");
            if (rc == 0 && b->answer.event.type == HEIR_EVENT_TRANSFER) {
                transfers++;
                CHECK_STR(b->answer.event.name, name);
                CHECK_BYTES(b->answer.event.data, b->answer.event.data_len, "gift", 4);
            }
        }
        while (agent_do(b, "wait 20") == 0)
            transfers += b->answer.event.type == HEIR_EVENT_TRANSFER;
        CHECK_EQ(transfers, 1);
        DO(b, 0, "put %s k v", name);
        CHECK_EQ(look(name).owner, b->id);
        CHECK_RC(agent_end(b), 0);
        CHECK_RC(agent_end(a), 0);
    }
}

static void sigterm_leaves_the_tables(void)
{
    char data[64];
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create mine heir=b data=will max=262144 mode=0640");
    DO(a, 0, "put mine k v");
    DO(b, 0, "create left data=will");
    DO(b, 0, "put left k w");
    DO(b, 0, "release left");
    struct heir_info mine = look("mine"), left = look("left");
    CHECK_EQ(keeper_stop(), 0);
    CHECK_EQ(shm_count("t."), 2);
    CHECK(access(world.socket, F_OK) != 0, "the socket is left");
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir_info now = look("mine");
    CHECK_BYTES(&now, sizeof now, &mine, sizeof mine); /* everything that can be said of it */
    now = look("left");
    CHECK_EQ(now.owner, HEIR_KEEPER);
    CHECK_EQ(now.epoch, left.epoch);
    snprintf(data, sizeof data, "%s", now.heir);
    CHECK_STR(data, "");
    DO(a, 0, "claim left 0");
    DO(a, 0, "get left k");
    CHECK_STR(a->answer.value, "w");
    agent_kill(a);
    CHECK(comes_to("mine", b->id));
    CHECK(comes_to("left", HEIR_KEEPER));
}

static void purge_removes_them(void)
{
    static const char *const purge[] = {"--purge", NULL};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    DO(b, 0, "create u");
    agent_kill(b);
    CHECK_EQ(keeper_stop(), 0);
    agent_kill(a);
    CHECK(shm_count("t.") == 2 && shm_count("") > 2);
    REQUIRE_EQ(keeper_start(purge), 0);
    CHECK_EQ(shm_count("t."), 0);
    CHECK_EQ(shm_count("c."), 0);
    a = agent_new("a");
    DO(a, -ENOENT, "claim t 0 none");
    DO(a, 0, "create t");
    DO(a, -ENOENT, "has t k");
}

/* Purged under a living worker: it does not crash or hang, and can begin anew. */
static void purge_under_a_worker(void)
{
    static const char *const purge[] = {"--purge", NULL};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    CHECK_EQ(keeper_stop(), 0);
    REQUIRE_EQ(keeper_start(purge), 0);
    CHECK_EQ(shm_count("t."), 0);
    int rc = agent_do(a, "put t k w");
    CHECK(rc != AGENT_HUNG && rc != AGENT_DEAD, "put: %s", error_text(rc));
    rc = agent_do(a, "wait 100");
    CHECK(rc != AGENT_HUNG && rc != AGENT_DEAD, "wait: %s", error_text(rc));
    rc = agent_do(a, "create u");
    CHECK(rc != AGENT_HUNG && rc != AGENT_DEAD, "create: %s", error_text(rc));
    rc = agent_do(a, "close");
    CHECK(rc != AGENT_HUNG && rc != AGENT_DEAD, "close: %s", error_text(rc));
    struct agent *b = agent_new("b");
    DO(b, 0, "claim t 0");
    DO(b, -ENOENT, "has t k");
}

/* The keeper is killed in the middle of reclaiming many tables, again and again: the last one finishes it. */
static void killed_while_reclaiming(void)
{
    enum { TABLES = 150 };
    struct rnd rnd = {test_seed};
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int round = 0; round < 8; round++) {
        struct agent *a = agent_new("a"), *h = agent_new("h");
        for (int i = 0; i < TABLES; i++)
            if (!DO(a, 0, "claim t%d 0 max=65536 heir=%s data=%d", i, i % 3 ? "\"\"" : "h", i))
                return;
        DO(a, 0, "heir t1 \"\" 1");
        for (int i = 0; i < TABLES; i++)
            DO(a, 0, "put t%d k v", i);
        DO(a, 0, "begin t7");
        DO(a, 0, "put t7 k half");
        agent_kill(a);
        for (int k = 0; k < 6; k++) {
            struct timespec pause = {.tv_nsec = (long)rnd_below(&rnd, 3000000)};
            nanosleep(&pause, NULL); /* a random moment, not a wait for something */
            keeper_kill();
            REQUIRE_EQ(keeper_start(NULL), 0);
        }
        for (int i = 0; i < TABLES; i++) {
            char name[16];
            snprintf(name, sizeof name, "t%d", i);
            if (!CHECK(comes_to(name, i % 3 ? HEIR_KEEPER : h->id), "round %d, %s: owner %llu", round, name,
                       (unsigned long long)look(name).owner))
                return;
        }
        int transfers = 0, rc;
        while ((rc = agent_do(h, "wait 20")) == 0)
            transfers += h->answer.event.type == HEIR_EVENT_TRANSFER;
        CHECK_RC(rc, -ETIMEDOUT);
        CHECK_EQ(transfers, TABLES / 3);
        CHECK_RC(agent_end(h), 0);
        struct hope last = {"t0", HEIR_KEEPER};
        CHECK(wait_until(owned_by, &last, PATIENCE));
    }
}

/* Hands change all the time while keepers are killed: at every moment one owner, and nothing is counted twice or lost.
 */
static int pass_on(struct agent_self *self, void *arg)
{
    (void)arg;
    while (!atomic_load(&shared->stop)) {
        struct heir_table *table = NULL;
        int rc = heir_claim(self->client, "t", &(struct heir_table_options){0}, 100, &table);
        if (rc == -ETIMEDOUT || rc == -ECONNREFUSED || rc == -EBUSY)
            continue;
        if (!rc)
            rc = heir_add(table, "n", 1, 1, NULL);
        if (rc)
            return rc;
        atomic_fetch_add(&shared->added, 1);
        do /* without a keeper it stays mine, and the release is asked for again */
            rc = heir_release(table);
        while (rc == -ECONNREFUSED && !atomic_load(&shared->stop));
        if (rc && rc != -EPERM && rc != -ECONNREFUSED)
            return rc;
        struct heir_event event;
        while (heir_wait(self->client, 0, &event) == 0)
            ;
    }
    return 0;
}

static void hands_change_while_keepers_die(void)
{
    struct rnd rnd = {test_seed};
    struct agent *agent[3];
    map_shared();
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int i = 0; i < 3; i++) {
        agent[i] = agent_new("hand");
        agent_call_send(agent[i], pass_on, NULL, 0);
    }
    for (int i = 0; i < 25; i++) {
        int64_t want = atomic_load(&shared->added) + 1 + (int64_t)rnd_below(&rnd, 60);
        if (!CHECK(wait_until(has_added, &want, PATIENCE), "nobody gets the table any more, round %d", i))
            break;
        keeper_kill();
        REQUIRE_EQ(keeper_start(NULL), 0);
    }
    atomic_store(&shared->stop, true);
    for (int i = 0; i < 3; i++)
        CHECK_RC(agent_answer(agent[i], PATIENCE), 0);
    for (int i = 0; i < 3; i++)
        CHECK_RC(agent_end(agent[i]), 0);
    struct agent *last = agent_new("last");
    DO(last, 0, "claim t %d", PATIENCE / 2);
    DO(last, 0, "add t n 0");
    CHECK_EQ(last->answer.number, atomic_load(&shared->added));
    munmap(shared, sizeof *shared);
}

/* Giving, releasing, destroying without a keeper: done, or refused with -ECONNREFUSED; then the owner is known and it
 * works later. */
static int open_hasty(struct agent_self *self, void *arg)
{
    (void)arg;
    int rc = heir_open(&(struct heir_open_options){.name = "hasty", .timeout_ms = 50}, &self->client);
    self->answer.number = heir_id(self->client);
    return rc;
}

static void orders_without_a_keeper(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new(NULL), *b = agent_new("b");
    CHECK_RC(agent_call(a, open_hasty, NULL, 0), 0);
    uint64_t id = a->answer.number;
    DO(a, 0, "create t");
    DO(a, 0, "create u");
    DO(a, 0, "create v");
    DO(a, 0, "create w heir=b");
    DO(a, 0, "put t k v");
    keeper_kill();
    int give = agent_do(a, "give t %llu", (unsigned long long)b->id);
    CHECK(give == 0 || give == -ECONNREFUSED, "give: %s", error_text(give));
    CHECK_EQ(look("t").owner, give ? id : b->id);
    int release = agent_do(a, "release u");
    CHECK(release == 0 || release == -ECONNREFUSED, "release: %s", error_text(release));
    CHECK_EQ(look("u").owner, release ? id : HEIR_KEEPER);
    int destroy = agent_do(a, "destroy v");
    CHECK(destroy == 0 || destroy == -ECONNREFUSED, "destroy: %s", error_text(destroy));
    int set = agent_do(a, "heir w \"\"");
    CHECK(set == 0 || set == -ECONNREFUSED, "set_heir: %s", error_text(set));
    CHECK_STR(look("w").heir, set ? "b" : "");
    REQUIRE_EQ(keeper_start(NULL), 0);
    if (give) {
        DO(a, 0, "put t k w");
        DO(a, 0, "give t %llu", (unsigned long long)b->id);
    }
    CHECK(comes_to("t", b->id));
    if (release)
        DO(a, 0, "release u");
    CHECK(comes_to("u", HEIR_KEEPER));
    if (destroy)
        DO(a, 0, "destroy v");
    CHECK(agent_do(b, "attach v") == -ENOENT);
}

/* What heird has made goes on under a keeper inside a program, and back. */
static void another_kind_of_keeper(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "add t n 1");
    for (int i = 0; i < 4; i++) {
        struct heir_keeper *keeper = NULL;
        CHECK_EQ(keeper_stop(), 0);
        REQUIRE_RC(heir_keeper_start(NULL, &keeper), 0);
        DO(a, 0, "give t %llu", (unsigned long long)b->id);
        DO(b, 0, "claim t %d", PATIENCE / 2); /* it is its already */
        DO(b, 0, "add t n 1");
        heir_keeper_stop(keeper);
        REQUIRE_EQ(keeper_start(NULL), 0);
        DO(b, 0, "give t %llu", (unsigned long long)a->id);
        DO(a, 0, "claim t %d", PATIENCE / 2);
        DO(a, 0, "add t n 1");
        CHECK_EQ(a->answer.number, 2 * i + 3);
    }
}

/* A keeper that is stopped for a while is only slow. */
static void a_stopped_keeper(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    keeper_freeze();
    DO(a, 0, "put t k v");
    agent_send(b, "claim t -1");
    CHECK_RC(agent_answer(b, 50), AGENT_HUNG);
    agent_kill(a);
    CHECK_RC(agent_answer(b, 50), AGENT_HUNG);
    keeper_thaw();
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    DO(b, 0, "has t k");
}

static int pin_and_unpin(struct agent_self *self, void *arg)
{
    struct heir_table *table = NULL;
    (void)arg;
    int rc = heir_attach(self->client, "t", &table);
    while (!rc) {
        struct heir_snapshot *snapshot = NULL;
        if (heir_snapshot_open(table, &snapshot) == 0)
            heir_snapshot_close(snapshot);
    }
    return rc;
}

/* A client that lets a pin go while there is no keeper does so in its page, and the next keeper may just have read
 * that: it must not remember the pin for ever, nor the client when it is dead. */
static void pins_let_go_meanwhile(void)
{
    struct heir_table *table;
    struct heir_snapshot *snapshot;
    struct heir_info info;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me");
    REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.max_bytes = HEIR_TABLE_MIN}, &table), 0);
    for (int round = 0; round < 40; round++) {
        struct agent *a = agent_new("a"), *b = agent_new("b");
        agent_call_send(a, pin_and_unpin, NULL, 0);
        agent_call_send(b, pin_and_unpin, NULL, 0);
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL); /* a moment to kill at */
        keeper_kill();
        REQUIRE_EQ(keeper_start(NULL), 0);
        agent_kill(a);
        agent_kill(b);
        for (int i = 0; i < 3; i++) {
            REQUIRE_RC(heir_snapshot_open(table, &snapshot), 0);
            CHECK_RC(heir_snapshot_close(snapshot), 0);
        }
    }
    for (int i = 0; i < 2000; i++) /* nothing holds the past */
        CHECK_RC(heir_put(table, "k", 1, "v", 1), 0);
    CHECK_RC(heir_info(table, &info), 0);
    CHECK(info.committed - info.horizon < 1000, "the horizon is %lu transactions back",
          (unsigned long)(info.committed - info.horizon));
}

const struct test keeper_restart[] = {{"workers go on", workers_go_on},
                                      {"deaths without a keeper", deaths_without_a_keeper},
                                      {"closes without a keeper", closes_without_a_keeper},
                                      {"claims wait on", claims_wait_on},
                                      {"down and up", down_and_up},
                                      {"no event is lost", no_event_is_lost},
                                      {"SIGTERM leaves the tables", sigterm_leaves_the_tables},
                                      {"purge removes them", purge_removes_them},
                                      {"purge under a worker", purge_under_a_worker},
                                      {"killed while reclaiming", killed_while_reclaiming},
                                      {"hands change while keepers die", hands_change_while_keepers_die},
                                      {"orders without a keeper", orders_without_a_keeper},
                                      {"another kind of keeper", another_kind_of_keeper},
                                      {"a stopped keeper", a_stopped_keeper},
                                      {"pins let go meanwhile", pins_let_go_meanwhile},
                                      {NULL, NULL}};
