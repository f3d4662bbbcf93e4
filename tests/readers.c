/* SPDX-License-Identifier: MIT */
/*
 * Readers: whatever happens to the owner and to the keeper, a reader process goes on reading, and sees committed states
 * only.
 *
 * The watcher is an agent that reads the pair "x" and "y" (always equal in a commit), the many-objects walk, and a
 * value whose bytes are all the same, until it is told to stop. It counts its looks, so that a test can wait until it
 * has looked again.
 */
#include "support.h"

#include <heir/admin.h>
#include <heir/inspect.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct shared {
    _Atomic uint64_t looks, last;
    _Atomic int error; /* of the watcher's last call; 0 */
    _Atomic bool stop, write_stop;
};

static struct shared *shared;

#define BLOB "the blob" /* eight bytes: heir_get() has a way of its own for such keys */

static void begin(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* ---- The watcher -------------------------------------------------------------------------------------- */

struct pair {
    int64_t x, y;
    int count;
};

static int visit_pair(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct pair *pair = arg;
    if (key_len == 1 && value_len == 8 && *(const char *)key == 'x')
        memcpy(&pair->x, value, 8);
    if (key_len == 1 && value_len == 8 && *(const char *)key == 'y')
        memcpy(&pair->y, value, 8);
    pair->count++;
    return 0;
}

static int look_once(struct heir_table *table, bool walk)
{
    unsigned char blob[600];
    int64_t x = 0, y = 0, again = 0;
    size_t len = 8;
    int rc = heir_get(table, "x", 1, &x, &len);
    len = 8;
    if (!rc)
        rc = heir_get(table, "y", 1, &y, &len);
    len = 8;
    if (!rc)
        rc = heir_get(table, "x", 1, &again, &len);
    if (!rc && (y < x || again < y)) /* y is read later than x, and never goes back */
        return -EILSEQ;
    len = sizeof blob;
    if (!rc)
        rc = heir_get(table, BLOB, 8, blob, &len);
    for (size_t i = 1; !rc && i < len; i++)
        if (blob[i] != blob[0])
            return -EBADMSG;
    if (!rc && walk) {
        struct pair pair = {-1, -2, 0};
        rc = heir_foreach(table, visit_pair, &pair);
        if (rc == -EAGAIN || rc == -ESTALE)
            return 0;
        if (!rc && (pair.x != pair.y || pair.count != 3))
            return -EBADMSG;
    }
    if (!rc)
        atomic_store(&shared->last, (uint64_t)again);
    return rc;
}

static int watch(struct agent_self *self, void *arg)
{
    struct heir_table *table = NULL;
    (void)arg;
    int rc = heir_attach(self->client, "t", &table);
    while (!rc && !atomic_load(&shared->stop)) {
        rc = look_once(table, atomic_load(&shared->looks) % 16 == 0);
        atomic_fetch_add(&shared->looks, 1);
    }
    atomic_store(&shared->error, rc);
    return rc;
}

static bool has_looked(void *arg)
{
    return atomic_load(&shared->looks) >= *(uint64_t *)arg || atomic_load(&shared->error);
}

/* It goes on looking, from here, a good many times. */
static void watcher_goes_on(const char *when)
{
    uint64_t want = atomic_load(&shared->looks) + 200;
    bool looked = wait_until(has_looked, &want, PATIENCE);
    int error = atomic_load(&shared->error);
    CHECK(looked && !error, "%s: %s", when, looked ? error_text(error) : "the reader stands still");
}

/* ---- The writer --------------------------------------------------------------------------------------- */

static int set_pair(struct heir_table *table, int64_t number, bool half)
{
    unsigned char blob[600];
    int rc = half ? 0 : heir_begin(table);
    if (!rc)
        rc = heir_put(table, "x", 1, &number, 8);
    memset(blob, (int)number, sizeof blob);
    if (!rc)
        rc = heir_put(table, BLOB, 8, blob, 1 + (size_t)number % sizeof blob);
    if (rc || half)
        return rc;
    rc = heir_put(table, "y", 1, &number, 8);
    return rc ? rc : heir_commit(table);
}

static int next_pair(struct agent_self *self, void *arg)
{
    struct heir_table *table = agent_table(self, "t");
    int64_t number = 0;
    size_t len = 8;
    (void)arg;
    int rc = heir_get(table, "x", 1, &number, &len);
    if (rc == 0 || rc == -ENOENT)
        rc = set_pair(table, number + 1, false);
    if (rc)
        heir_abort(table);
    return rc;
}

static int half_a_pair(struct agent_self *self, void *arg)
{
    struct heir_table *table = agent_table(self, "t");
    int64_t number = 0;
    size_t len = 8;
    (void)arg;
    int rc = heir_begin(table);
    if (!rc)
        rc = heir_get(table, "x", 1, &number, &len);
    return rc ? rc : set_pair(table, number + 1, true);
}

static int write_on(struct agent_self *self, void *arg)
{
    int rc = 0;
    while (!rc && !atomic_load(&shared->write_stop))
        rc = next_pair(self, arg);
    return rc;
}

/* A table with its first pair, owned by a new agent; and a watcher at work. */
static struct agent *begin_watching(const char *options, struct agent **watcher)
{
    begin();
    struct agent *owner = agent_new("owner");
    DO(owner, 0, "create t %s", options);
    CHECK_RC(agent_call(owner, next_pair, NULL, 0), 0);
    *watcher = agent_new("watcher");
    agent_call_send(*watcher, watch, NULL, 0);
    watcher_goes_on("at first");
    return owner;
}

static void end_watching(struct agent *watcher)
{
    atomic_store(&shared->stop, true);
    int rc = agent_answer(watcher, PATIENCE);
    CHECK(rc == 0, "the reader's error: %s", error_text(rc));
    munmap(shared, sizeof *shared);
}

/* ---- The tests ---------------------------------------------------------------------------------------- */

static void while_the_owner_writes(void)
{
    struct agent *watcher, *owner = begin_watching("max=262144", &watcher);
    agent_call_send(owner, write_on, NULL, 0);
    int64_t end = now_ms() + (int64_t)(test_seconds(2) * 1000);
    while (now_ms() < end && !atomic_load(&shared->error))
        watcher_goes_on("while the owner writes");
    atomic_store(&shared->write_stop, true);
    CHECK_RC(agent_answer(owner, PATIENCE), 0);
    CHECK(atomic_load(&shared->last) > 1);
    end_watching(watcher);
}

static void while_the_owner_is_dead(void)
{
    struct agent *watcher, *owner = begin_watching("", &watcher);
    CHECK_RC(agent_call(owner, half_a_pair, NULL, 0), 0);
    watcher_goes_on("inside a transaction");
    keeper_kill(); /* nobody sets right what it leaves */
    agent_kill(owner);
    watcher_goes_on("with a dead owner, not reclaimed");
    CHECK_EQ(atomic_load(&shared->last), 1);
    REQUIRE_EQ(keeper_start(NULL), 0);
    watcher_goes_on("with a dead owner, reclaimed");
    struct agent *next = agent_new("next");
    agent_send(next, "claim t -1");
    CHECK_RC(agent_answer(next, PATIENCE), 0);
    watcher_goes_on("with a new owner");
    CHECK_EQ(atomic_load(&shared->last), 1);
    CHECK_RC(agent_call(next, next_pair, NULL, 0), 0);
    watcher_goes_on("with its first commit");
    CHECK_EQ(atomic_load(&shared->last), 2);
    end_watching(watcher);
}

static void while_the_owner_is_stopped(void)
{
    struct agent *watcher, *owner = begin_watching("", &watcher);
    CHECK_RC(agent_call(owner, half_a_pair, NULL, 0), 0);
    agent_stop(owner);
    watcher_goes_on("with an owner stopped inside a transaction");
    CHECK_EQ(atomic_load(&shared->last), 1);
    agent_continue(owner);
    DO(owner, 0, "abort t");
    for (int i = 0; i < 20; i++) { /* and stopped anywhere */
        atomic_store(&shared->write_stop, false);
        agent_call_send(owner, write_on, NULL, 0);
        watcher_goes_on("beside a writer");
        agent_stop(owner);
        watcher_goes_on("with a stopped writer");
        agent_continue(owner);
        atomic_store(&shared->write_stop, true);
        CHECK_RC(agent_answer(owner, PATIENCE), 0);
    }
    end_watching(watcher);
}

static void while_the_table_changes_hands(void)
{
    struct agent *watcher, *owner = begin_watching("", &watcher), *other = agent_new("other");
    for (int i = 0; i < 60; i++) {
        struct agent *from = i % 2 ? other : owner, *to = i % 2 ? owner : other;
        switch (i % 3) {
        case 0:
            DO(from, 0, "give t %llu", (unsigned long long)to->id);
            break;
        case 1:
            DO(from, 0, "release t");
            DO(to, 0, "claim t 0");
            break;
        default:
            CHECK_RC(heir_revoke(NULL, "t", false), 0);
            DO(to, 0, "claim t 0");
        }
        while (agent_do(to, "wait 0") == 0 || agent_do(from, "wait 0") == 0) /* their events are not the point here */
            ;
        CHECK_RC(agent_call(to, next_pair, NULL, 0), 0);
        watcher_goes_on("after a change of hands");
        CHECK_EQ(atomic_load(&shared->last), i + 2);
    }
    end_watching(watcher);
}

static void while_there_is_no_keeper(void)
{
    struct agent *watcher, *owner = begin_watching("", &watcher);
    for (int i = 0; i < 5; i++) {
        if (i % 2)
            CHECK_EQ(keeper_stop(), 0);
        else
            keeper_kill();
        watcher_goes_on("without a keeper");
        CHECK_RC(agent_call(owner, next_pair, NULL, 0), 0);
        watcher_goes_on("without a keeper, after a commit");
        CHECK_EQ(atomic_load(&shared->last), i + 2);
        REQUIRE_EQ(keeper_start(NULL), 0);
        watcher_goes_on("with a new keeper");
    }
    end_watching(watcher);
}

/* A dead or a stopped reader is nobody's trouble. */
static void dead_readers(void)
{
    struct agent *watcher, *owner = begin_watching("max=65536", &watcher);
    for (int i = 0; i < 20; i++) {
        struct agent *one = agent_new("reader");
        agent_call_send(one, watch, NULL, 0);
        watcher_goes_on("with a second reader");
        if (i % 3 == 0)
            agent_stop(one); /* perhaps in a walk that holds the past */
        for (int k = 0; k < 300; k++)
            CHECK_RC(agent_call(owner, next_pair, NULL, 0), 0);
        agent_kill(one);
    }
    end_watching(watcher);
}

static void destroyed_under_a_reader(void)
{
    struct agent *watcher, *owner = begin_watching("", &watcher);
    DO(owner, 0, "destroy t");
    watcher_goes_on("after the table was destroyed"); /* the last state, until it is detached */
    DO(owner, 0, "create t");
    watcher_goes_on("after another one was made");
    CHECK_EQ(atomic_load(&shared->last), 1);
    end_watching(watcher);
}

/* Looking from outside, without a client: the same promises. */
static void from_outside(void)
{
    struct agent *watcher, *owner = begin_watching("", &watcher);
    struct heir_table *outside = NULL;
    REQUIRE_RC(heir_inspect_open(NULL, "t", &outside), 0);
    agent_call_send(owner, write_on, NULL, 0);
    for (int i = 0; i < 2000; i++)
        if (!CHECK_RC(look_once(outside, i % 50 == 0), 0))
            break;
    keeper_kill();
    for (int i = 0; i < 500; i++)
        if (!CHECK_RC(look_once(outside, i % 50 == 0), 0))
            break;
    atomic_store(&shared->write_stop, true);
    CHECK_RC(agent_answer(owner, PATIENCE), 0);
    heir_inspect_close(outside);
    REQUIRE_EQ(keeper_start(NULL), 0);
    end_watching(watcher);
}

/* ---- Strays ------------------------------------------------------------------------------------------- */

static int scribble(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)arg;
    memset((void *)(uintptr_t)value, '!', value_len);
    memset((void *)(uintptr_t)key, '!', key_len);
    return 0;
}

static int scribble_all(struct agent_self *self, void *arg)
{
    (void)arg;
    signal(SIGSEGV, SIG_DFL);
    return heir_foreach(agent_table(self, "t"), scribble, NULL);
}

static int check_scribbled(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    ++*(int *)arg;
    return memchr(key, '!', key_len) || memchr(value, '!', value_len) ? -EBADMSG : 0;
}

/* A worker that writes through what a walk showed it faults, or hits a copy: the table is never harmed. */
static void scribbled_on(void)
{
    for (int big = 0; big < 2; big++) {
        int count = 0, objects = big ? 5000 : 3;
        struct heir_table *table = NULL;
        if (!keeper_pid())
            REQUIRE_EQ(keeper_start(NULL), 0);
        struct agent *owner = agent_new("owner");
        struct heir *me = test_open("me");
        REQUIRE_RC(heir_create(me, "t", NULL, &table), 0);
        for (int i = 0; i < objects; i++) {
            char value[200];
            memset(value, 'a', sizeof value);
            REQUIRE_RC(heir_put(table, &i, sizeof i, value, big ? sizeof value : 10), 0);
            count += i % 256 == '!' || i / 256 == '!'; /* keys that have the byte anyway */
        }
        for (int i = 0; i < objects; i++)
            if (i % 256 == '!' || i / 256 == '!')
                REQUIRE_RC(heir_del(table, &i, sizeof i), 0);
        objects -= count;
        CHECK_RC(heir_release(table), 0);
        DO(owner, 0, "claim t 0");
        int rc = agent_call(owner, scribble_all, NULL, 0);
        CHECK(rc == 0 || rc == AGENT_DEAD, "%s", error_text(rc));
        agent_kill(owner);
        count = 0;
        REQUIRE_RC(heir_claim(me, "t", NULL, patience(PATIENCE), &table), 0);
        CHECK_RC(heir_foreach(table, check_scribbled, &count), 0);
        CHECK_EQ(count, objects);
        CHECK_RC(heir_put(table, "k", 1, "v", 1), 0);
        CHECK_RC(heir_destroy(table), 0);
        test_close(me);
    }
}

/* ---- Threads of one process --------------------------------------------------------------------------- */

static struct heir_table *handle;

static void *read_until_refused(void *arg)
{
    char value[8];
    int rc = 0;
    _Atomic int *begun = arg;
    while (!rc) {
        size_t len = sizeof value;
        rc = heir_get(handle, "k", 1, value, &len);
        atomic_store(begun, 1);
    }
    return (void *)(intptr_t)rc;
}

static bool is_one(void *arg)
{
    return atomic_load((_Atomic int *)arg) == 1;
}

/* heir_detach() waits for threads inside a read; later calls are refused; a new attach works. */
static void detached_under_threads(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *owner = test_open("owner"), *reader = test_open("reader");
    struct heir_table *table = NULL;
    REQUIRE_RC(heir_create(owner, "t", NULL, &table), 0);
    REQUIRE_RC(heir_put(table, "k", 1, "v", 1), 0);
    for (int round = 0; round < 20; round++) {
        pthread_t thread[2];
        _Atomic int begun[2] = {0, 0};
        REQUIRE_RC(heir_attach(reader, "t", &handle), 0);
        for (int i = 0; i < 2; i++)
            pthread_create(&thread[i], NULL, read_until_refused, &begun[i]);
        CHECK(wait_until(is_one, &begun[0], PATIENCE) && wait_until(is_one, &begun[1], PATIENCE));
        CHECK_RC(heir_detach(handle), 0);
        for (int i = 0; i < 2; i++) {
            void *rc = NULL;
            pthread_join(thread[i], &rc);
            CHECK_RC((int)(intptr_t)rc, -ENOTCONN);
        }
    }
}

static _Atomic bool enough;

static void *read_until_enough(void *arg)
{
    char value[8];
    int rc = 0;
    (void)arg;
    while (!rc && !atomic_load(&enough)) {
        size_t len = sizeof value;
        rc = heir_get(handle, "k", 1, value, &len);
        if (!rc)
            rc = heir_has(handle, "none", 4) == -ENOENT ? 0 : -EBADMSG;
    }
    return (void *)(intptr_t)rc;
}

/* Its client becomes the owner and loses the table again, while other threads read through the same handle. */
static void owned_and_given_under_threads(void)
{
    pthread_t thread[2];
    struct heir_table *table = NULL;
    atomic_store(&enough, false);
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *owner = test_open("owner"), *reader = test_open("reader");
    REQUIRE_RC(heir_create(owner, "t", NULL, &table), 0);
    REQUIRE_RC(heir_put(table, "k", 1, "v", 1), 0);
    REQUIRE_RC(heir_attach(reader, "t", &handle), 0);
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, read_until_enough, NULL);
    for (int round = 0; round < 100; round++) {
        struct heir_event event;
        CHECK_RC(heir_give_away(table, heir_id(reader), NULL, 0), 0);
        CHECK_RC(heir_wait(reader, patience(PATIENCE), &event), 0);
        CHECK(event.table == handle);
        CHECK_RC(heir_put(handle, "k", 1, "w", 1), 0);
        CHECK_RC(heir_put(table, "k", 1, "x", 1), -ESTALE);
        if (round % 2) {
            CHECK_RC(heir_give_away(handle, heir_id(owner), NULL, 0), 0);
            CHECK_RC(heir_wait(owner, patience(PATIENCE), &event), 0);
        } else {
            CHECK_RC(heir_release(handle), 0);
            CHECK_RC(heir_claim(owner, "t", NULL, patience(PATIENCE), &table), 0);
            CHECK_RC(heir_wait(owner, patience(PATIENCE), &event), 0);
        }
        CHECK_RC(heir_put(table, "k", 1, "v", 1), 0);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < 2; i++) {
        void *rc = NULL;
        pthread_join(thread[i], &rc);
        CHECK_RC((int)(intptr_t)rc, 0);
    }
}

static const struct test tests[] = {{"while the owner writes", while_the_owner_writes},
                                    {"while the owner is dead", while_the_owner_is_dead},
                                    {"while the owner is stopped", while_the_owner_is_stopped},
                                    {"while the table changes hands", while_the_table_changes_hands},
                                    {"while there is no keeper", while_there_is_no_keeper},
                                    {"dead readers", dead_readers},
                                    {"destroyed under a reader", destroyed_under_a_reader},
                                    {"from outside", from_outside},
                                    {"scribbled on", scribbled_on},
                                    {"detached under threads", detached_under_threads},
                                    {"owned and given under threads", owned_and_given_under_threads},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "readers", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
