/* SPDX-License-Identifier: MIT */
/*
 * O15: heir_wait() and heir_fd() tell of events, at once and without loss. O4 under fire: exactly one event an epoch,
 * also when the giver is killed in the middle of giving.
 */
#include "ownership.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* ---- Waiting ------------------------------------------------------------------------------------------ */

static int wait_by_poll(struct agent_self *self, void *arg)
{
    bool by_epoll = *(bool *)arg;
    int fd = heir_fd(self->client), rc = -ETIMEDOUT, set = -1;
    if (by_epoll) {
        set = epoll_create1(EPOLL_CLOEXEC);
        if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN}))
            return -errno;
    }
    int64_t end = now_ms() + patience(PATIENCE) / 2;
    while (rc == -ETIMEDOUT && now_ms() < end) { /* it may be readable for nothing */
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        struct epoll_event event;
        int left = (int)(end - now_ms());
        int got = by_epoll ? epoll_wait(set, &event, 1, left) : poll(&wait, 1, left);
        if (got != 1)
            rc = got < 0 ? -errno : AGENT_HUNG;
        else
            rc = heir_wait(self->client, 0, &self->answer.event);
    }
    if (set >= 0)
        close(set);
    return rc;
}

/* Nothing waits: after a few calls of heir_wait() it is quiet. */
static int falls_silent(struct agent_self *self, void *arg)
{
    (void)arg;
    struct heir_event event;
    for (int i = 0; i < 20; i++) {
        struct pollfd wait = {.fd = heir_fd(self->client), .events = POLLIN};
        int got = poll(&wait, 1, 20);
        if (got == 0)
            return 0;
        int rc = got < 0 ? -errno : heir_wait(self->client, 0, &event);
        if (rc != -ETIMEDOUT)
            return rc ? rc : -EEXIST;
    }
    return -ELOOP;
}

static void o15_descriptor(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    for (int i = 0; i < 20; i++) {
        bool by_epoll = i % 2;
        CHECK_RC(agent_call(b, falls_silent, NULL, 0), 0);
        if (i % 4 < 2) { /* the event comes while it waits, or is there before */
            agent_call_send(b, wait_by_poll, &by_epoll, sizeof by_epoll);
            DO(a, 0, "give t %llu %d", (unsigned long long)b->id, i);
            CHECK_RC(agent_answer(b, PATIENCE), 0);
        } else {
            DO(a, 0, "give t %llu %d", (unsigned long long)b->id, i);
            CHECK_RC(agent_call(b, wait_by_poll, &by_epoll, sizeof by_epoll), 0);
        }
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        CHECK_BYTES(b->answer.event.data, b->answer.event.data_len, text, strlen(text));
        CHECK_RC(agent_call(b, falls_silent, NULL, 0), 0);
        DO(b, 0, "attach t"); /* a name for the handle that came with the event */
        DO(b, 0, "release t");
        DO(a, 0, "claim t 0");
        EVENT(a, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL);
    }
}

/* The event is there before the descriptor is asked for, for the first time. */
static void o15_descriptor_asked_for_late(void)
{
    bool by_epoll = false;
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    CHECK_RC(agent_call(b, wait_by_poll, &by_epoll, sizeof by_epoll), 0);
    CHECK_EQ(b->answer.event.reason, HEIR_GIVEN);
}

static int wait_without_room(struct agent_self *self, void *arg)
{
    struct rlimit room, little;
    const int *ms = arg;
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL || fscanf(statm, "%lu", &pages) != 1 || getrlimit(RLIMIT_AS, &room) < 0)
        return -errno;
    fclose(statm);
    little = room;
    little.rlim_cur = pages * 4096 + (64 << 20);
    setrlimit(RLIMIT_AS, &little);
    int rc = heir_wait(self->client, *ms, &self->answer.event);
    setrlimit(RLIMIT_AS, &room);
    return rc;
}

/* The table cannot be mapped when it comes: the event comes when it can. */
static void o15_no_room_to_map(void)
{
    int ms = 300;
    if (TEST_ASAN || TEST_TSAN)
        return test_skip("a sanitizer takes all the address space that there is");
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    NO_EVENT(b); /* what that needs is there */
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    CHECK_RC(agent_call(b, wait_without_room, &ms, sizeof ms), -ETIMEDOUT);
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", NULL);
}

/* An heir that sleeps in poll learns of a death, of the loss by an order, and of the keeper's end and return. */
static void o15_descriptor_tells_all_kinds(void)
{
    bool by_epoll = false;
    look_on();
    struct agent *a = agent_new("a"), *h = agent_new("h");
    DO(a, 0, "create t heir=h");
    agent_call_send(h, wait_by_poll, &by_epoll, sizeof by_epoll);
    agent_kill(a);
    CHECK_RC(agent_answer(h, PATIENCE), 0);
    CHECK_EQ(h->answer.event.reason, HEIR_INHERITED);
    agent_call_send(h, wait_by_poll, &by_epoll, sizeof by_epoll);
    keeper_kill();
    CHECK_RC(agent_answer(h, PATIENCE), 0);
    CHECK_EQ(h->answer.event.type, HEIR_EVENT_KEEPER_DOWN);
    REQUIRE_EQ(keeper_start(NULL), 0);
    EVENT(h, HEIR_EVENT_KEEPER_UP, 0, NULL, NULL);
}

static void o15_wait_is_woken(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    for (int i = 0; i < 50; i++) {
        struct agent *from = i % 2 ? b : a, *to = i % 2 ? a : b;
        agent_send(to, "wait -1");
        DO(from, 0, "give t %llu %d", (unsigned long long)to->id, i);
        CHECK_RC(agent_answer(to, PATIENCE), 0);
        CHECK_EQ(to->answer.event.from, from->id);
    }
}

/* Several tables at once: one event each. */
static void o15_many_events_at_once(void)
{
    enum { N = 30 };
    int count[N] = {0};
    look_on();
    struct agent *a = agent_new("a"), *h = agent_new("h");
    for (int i = 0; i < N; i++)
        DO(a, 0, "create t%d heir=h data=%d", i, i);
    agent_kill(a);
    for (int i = 0; i < N; i++) {
        int number = -1;
        if (!EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, NULL, NULL))
            break;
        if (CHECK_EQ(sscanf(h->answer.event.name, "t%d", &number), 1) && CHECK(number >= 0 && number < N)) {
            char text[16];
            count[number]++;
            snprintf(text, sizeof text, "%d", number);
            CHECK_BYTES(h->answer.event.data, h->answer.event.data_len, text, strlen(text));
        }
    }
    for (int i = 0; i < N; i++)
        CHECK_EQ(count[i], 1);
    NO_EVENT(h);
}

/* ---- Exactly once ------------------------------------------------------------------------------------- */

/* Two clients throw a table to each other as fast as they can: each transfer has its event, once, in the order of
 * epochs. */
struct game {
    uint64_t other;
    int throws;
    bool serves;
};

static int play(struct agent_self *self, void *arg)
{
    struct game *game = arg;
    struct heir_table *table = agent_table(self, "t");
    struct heir_event *event = &self->answer.event;
    uint64_t last = 0;
    int rc = 0;
    for (int i = 0; i < game->throws; i++) {
        if (i > 0 || !game->serves) {
            rc = heir_wait(self->client, patience(PATIENCE), event);
            if (rc)
                return rc;
            if (event->type != HEIR_EVENT_TRANSFER || event->reason != HEIR_GIVEN || event->from != game->other)
                return -ENOMSG;
            if (event->epoch <= last || event->data_len != sizeof i)
                return -EBADMSG;
            last = event->epoch;
            table = event->table;
        }
        if ((rc = heir_add(table, "n", 1, 1, NULL)))
            return rc;
        if ((rc = heir_give_away(table, game->other, &i, sizeof i)))
            return rc;
        self->answer.number = (uint64_t)i + 1;
    }
    return 0;
}

static void o4_one_event_an_epoch(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    struct game ours = {b->id, 500, true}, theirs = {a->id, 500, false};
    DO(a, 0, "create t");
    agent_call_send(b, play, &theirs, sizeof theirs);
    agent_call_send(a, play, &ours, sizeof ours);
    CHECK_RC(agent_answer(a, 3 * PATIENCE), 0);
    CHECK_RC(agent_answer(b, 3 * PATIENCE), 0);
    CHECK_EQ(a->answer.number, 500);
    CHECK_EQ(b->answer.number, 500);
    uint64_t epoch = look("t").epoch;
    CHECK(epoch >= 1001, "%llu", (unsigned long long)epoch);
    CHECK_EQ(look("t").owner, a->id);
    EVENT(a, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", NULL);
    CHECK_EQ(a->answer.event.epoch, epoch);
    NO_EVENT(a);
    NO_EVENT(b);
    DO(a, 0, "add t n 0");
    CHECK_EQ(a->answer.number, 1000);
}

/* The giver is killed at any moment of giving: the receiver has the table and its event once, or the keeper has it. */
static void o4_killed_while_giving(void)
{
    struct rnd rnd = {test_seed};
    int arrived = 0, inherited = 0;
    look_on();
    struct agent *b = agent_new("b");
    for (int round = 0; round < 120; round++) {
        struct agent *a = agent_new("a");
        char text[16];
        snprintf(text, sizeof text, "%d", round);
        DO(a, 0, "claim t 0");
        DO(a, 0, "add t n 1");
        agent_send(a, "give t %llu %s", (unsigned long long)b->id, text);
        int64_t ns = (int64_t)rnd_below(&rnd, round % 4 ? 60000 : 400000);
        struct timespec begin, now;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        do /* not a wait for something: a random moment */
            clock_gettime(CLOCK_MONOTONIC, &now);
        while ((now.tv_sec - begin.tv_sec) * 1000000000L + now.tv_nsec - begin.tv_nsec < ns);
        agent_kill(a);
        int64_t end = now_ms() + patience(PATIENCE);
        uint64_t owner = a->id;
        while ((owner = look("t").owner) == a->id && now_ms() < end)
            ;
        CHECK(owner == b->id || owner == HEIR_KEEPER, "round %d: owner %llu", round, (unsigned long long)owner);
        if (owner == b->id) {
            arrived++;
            if (EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", text))
                CHECK_EQ(b->answer.event.from, a->id);
            DO(b, 0, "release t");
        } else {
            inherited++;
            DO(b, 0, "claim t 0");
            EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL);
            DO(b, 0, "release t");
        }
        NO_EVENT(b);
        int64_t sum = 0;
        size_t len = sizeof sum;
        CHECK_RC(heir_get(seen("t"), "n", 1, &sum, &len), 0);
        CHECK_EQ(sum, round + 1);
    }
    printf(" (%d arrived, %d came back)", arrived, inherited);
}

/* Giver, receiver, or both are killed: the table is with a living one or with the keeper, and its content is whole. */
static void o4_both_killed_while_giving(void)
{
    struct rnd rnd = {test_seed};
    look_on();
    for (int round = 0; round < 60; round++) {
        struct agent *a = agent_new("a"), *b = agent_new("b");
        DO(a, 0, "claim t 0");
        DO(a, 0, "add t n 1");
        agent_send(a, "give t %llu", (unsigned long long)b->id);
        volatile uint64_t spin = rnd_below(&rnd, 100000);
        while (spin)
            spin--;
        struct agent *first = rnd_below(&rnd, 2) ? a : b, *second = first == a ? b : a;
        agent_signal(first, SIGKILL);
        if (round % 3)
            agent_signal(second, SIGKILL);
        agent_kill(first);
        if (round % 3) {
            agent_kill(second);
            CHECK(comes_to("t", HEIR_KEEPER));
        } else { /* the living one has it, or the keeper */
            if (second == a) {
                int rc = agent_answer(a, PATIENCE);
                CHECK(rc == 0 || rc == -ESRCH, "%s", error_text(rc));
                CHECK(comes_to("t", rc ? a->id : HEIR_KEEPER));
                if (rc)
                    DO(a, 0, "add t m 1"); /* it still owns, and may write */
            }
            agent_kill(second);
            CHECK(comes_to("t", HEIR_KEEPER));
        }
        int64_t sum = 0;
        size_t len = sizeof sum;
        CHECK_RC(heir_get(seen("t"), "n", 1, &sum, &len), 0);
        CHECK_EQ(sum, round + 1);
    }
}

/* A claim that times out in the moment in which it is granted: the table is not lost, its event comes later. */
static void o5_granted_too_late(void)
{
    struct rnd rnd = {test_seed};
    int late = 0, granted = 0;
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    for (int round = 0; round < 150; round++) {
        DO(a, 0, "claim t %d", PATIENCE / 2);
        int rc = agent_do(a, "wait 0");
        agent_send(b, "claim t 1");
        volatile uint64_t spin = rnd_below(&rnd, 1500000);
        while (spin)
            spin--;
        DO(a, 0, "release t");
        rc = agent_answer(b, PATIENCE);
        CHECK(rc == 0 || rc == -ETIMEDOUT, "round %d: %s", round, error_text(rc));
        if (rc == 0) {
            granted++;
            CHECK_EQ(look("t").owner, b->id);
        }
        uint64_t owner = look("t").owner;
        if (owner == b->id) {
            late += rc != 0;
            EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL);
            DO(b, 0, "put t k v");
            DO(b, 0, "release t");
        } else {
            CHECK_EQ(owner, HEIR_KEEPER);
        }
        NO_EVENT(b);
    }
    printf(" (%d granted, %d too late)", granted, late);
}

/* ---- Threads of one client ---------------------------------------------------------------------------- */

struct waiter {
    struct heir *client;
    struct heir_event event;
    int rc;
};

static void *wait_in_a_thread(void *arg)
{
    struct waiter *waiter = arg;
    waiter->rc = heir_wait(waiter->client, patience(PATIENCE), &waiter->event);
    return NULL;
}

static int use_threads(struct agent_self *self, void *arg)
{
    struct waiter waiter = {.client = self->client};
    struct heir_table *mine = NULL, *theirs = NULL;
    pthread_t thread;
    uint64_t id;
    (void)arg;
    if (pthread_create(&thread, NULL, wait_in_a_thread, &waiter))
        return -EAGAIN;
    int rc = 0;
    for (int i = 0; i < 50 && !rc; i++) { /* while one thread waits, the other works */
        rc = heir_create(self->client, "mine", NULL, &mine);
        if (!rc && (rc = heir_put(mine, "k", 1, "v", 1)) == 0)
            rc = heir_find(self->client, "b", &id);
        if (!rc && (rc = heir_attach(self->client, "t", &theirs)) == 0)
            rc = heir_has(theirs, "k", 1);
        if (!rc)
            rc = heir_destroy(mine);
    }
    if (!rc) /* now the event can come */
        rc = heir_claim(self->client, "go", &(struct heir_table_options){0}, 0, &mine);
    pthread_join(thread, NULL);
    self->answer.event = waiter.event;
    return rc ? rc : waiter.rc;
}

static void o15_one_thread_waits_another_works(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    agent_call_send(b, use_threads, NULL, 0);
    for (int64_t end = now_ms() + patience(PATIENCE); agent_do(a, "attach go") == -ENOENT && now_ms() < end;)
        ;
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    CHECK_EQ(b->answer.event.type, HEIR_EVENT_TRANSFER);
    CHECK_STR(b->answer.event.name, "t");
    NO_EVENT(b);
}

const struct test ownership_events[] = {{"O5 granted too late", o5_granted_too_late},
                                        {"O15 one thread waits, another works", o15_one_thread_waits_another_works},
                                        {"O15 descriptor", o15_descriptor},
                                        {"O15 descriptor: asked for late", o15_descriptor_asked_for_late},
                                        {"O15 no room to map", o15_no_room_to_map},
                                        {"O15 descriptor: all kinds", o15_descriptor_tells_all_kinds},
                                        {"O15 wait is woken", o15_wait_is_woken},
                                        {"O15 many events at once", o15_many_events_at_once},
                                        {"O4 one event an epoch", o4_one_event_an_epoch},
                                        {"O4 killed while giving", o4_killed_while_giving},
                                        {"O4 both killed while giving", o4_both_killed_while_giving},
                                        {NULL, NULL}};
