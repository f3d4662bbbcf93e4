/* SPDX-License-Identifier: MIT */
/*
 * Heirs: what ETS' own suite asserts on give_away, heir and setopts, and what it leaves out. The numbers go on from
 * ownership.c, which has the list.
 *
 *   O17 Heir and data are set as one: 0 to HEIR_DATA_MAX bytes of any value; a call that fails changes nothing; only
 * the owner sets them. O18 An heir that is not there, or is the owner itself, or may not own the table: the keeper
 * inherits. O19 Owner and heir dying together, in one process or two, in any order: the keeper has all, or whoever of
 * the role lives. O20 Chains: every heir may name the next; a role passes from the oldest bearer to the next. O21 An
 * owner that dies while it changes the heir has set it, or not. O22 What was given falls to the table's heir, and not
 * back to its giver, with the heir's data, and not the giver's. O23 Many tables and large ones arrive whole, each
 * told once. O24 An heir that stands in line for the table gets it once.
 */
#include "eye.h"

#include <grp.h>
#include <heir/inspect.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- O17 ---------------------------------------------------------------------------------------------- */

struct will {
    size_t len;
    int expected;
    char heir[80];
};

static void fill(unsigned char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (unsigned char)(i * 7 + len); /* zero bytes among them */
}

static int set_will(struct agent_self *self, void *arg)
{
    const struct will *will = arg;
    unsigned char data[HEIR_DATA_MAX + 1];
    fill(data, will->len);
    return heir_set_heir(agent_table(self, "t"), will->heir, data, will->len);
}

static void o17_data(void)
{
    static const size_t sizes[] = {0, 1, 7, 8, 255, 256, HEIR_DATA_MAX - 1, HEIR_DATA_MAX};
    unsigned char want[HEIR_DATA_MAX];
    look_on();
    struct agent *h = agent_new("h");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct agent *a = agent_new("a");
        struct will will = {.len = sizes[i], .heir = "h"};
        DO(a, 0, "create t heir=other data=before");
        CHECK_RC(agent_call(a, set_will, &will, sizeof will), 0);
        agent_kill(a);
        fill(want, sizes[i]);
        if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", NULL))
            CHECK_BYTES(h->answer.event.data, h->answer.event.data_len, want, sizes[i]);
        DO(h, 0, "destroy t");
    }
}

static void o17_refused(void)
{
    look_on();
    struct agent *a = agent_new("a"), *h = agent_new("h"), *b = agent_new("b");
    struct will large = {.len = HEIR_DATA_MAX + 1, .heir = "b"}, small = {.len = 3, .heir = "b"};
    DO(a, 0, "create t heir=h data=will");
    CHECK_RC(agent_call(a, set_will, &large, sizeof large), -EMSGSIZE);
    static const char *const bad[] = {".b", "b/", "b b", "b\n", "--"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(small.heir, sizeof small.heir, "%s", bad[i]);
        int rc = agent_call(a, set_will, &small, sizeof small);
        CHECK(rc == (strcmp(bad[i], "--") ? -EINVAL : 0), "\"%s\": %s", bad[i], error_text(rc)); /* a fine name */
    }
    DO(a, 0, "heir t h will");
    memset(small.heir, 'x', HEIR_NAME_MAX + 1);
    small.heir[HEIR_NAME_MAX + 1] = 0;
    CHECK_RC(agent_call(a, set_will, &small, sizeof small), -EINVAL);
    DO(b, 0, "attach t");
    DO(b, -EPERM, "heir t b mine");
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    DO(a, -EPERM, "heir t a mine"); /* the owner of before */
    CHECK_STR(look("t").heir, "h");
    agent_kill(b);
    EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will");
    NO_EVENT(a);
}

/* ---- O18 ---------------------------------------------------------------------------------------------- */

static void o18_not_there(void)
{
    look_on();
    struct agent *a = agent_new("a"), *h = agent_new("h");
    DO(a, 0, "create never heir=never data=1");
    DO(a, 0, "create dead heir=h data=2");
    DO(a, 0, "create left heir=left data=3");
    DO(a, 0, "create self heir=a data=4");
    struct agent *left = agent_new("left");
    agent_kill(h);
    DO(left, 0, "close");
    agent_kill(a);
    CHECK(comes_to("never", HEIR_KEEPER));
    CHECK(comes_to("dead", HEIR_KEEPER));
    CHECK(comes_to("left", HEIR_KEEPER));
    CHECK(comes_to("self", HEIR_KEEPER));
    struct agent *b = agent_new("b"), *again = agent_new("h"); /* too late: the keeper has it */
    NO_EVENT(again);
    DO(b, 0, "claim dead 0");
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "dead", "2");
    DO(b, 0, "claim self 0");
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "self", "4");
}

static int become_nobody(struct agent_self *self, void *arg)
{
    (void)self, (void)arg;
    if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
        return -EIO;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    return 0;
}

/* The role is borne by another user, who may not own it. */
static void o18_may_not(void)
{
    if (geteuid()) {
        test_skip("it takes root to be another user");
        return;
    }
    look_on_by((const char *const[]){"--socket-mode", "0666", NULL});
    struct agent *a = agent_new("a"), *nobody = agent_new(NULL);
    REQUIRE_RC(agent_call(nobody, become_nobody, NULL, 0), 0);
    DO(nobody, 0, "open h");
    DO(a, 0, "create t heir=h");
    DO(a, 0, "create u heir=h mode=0666"); /* which lets others read */
    agent_kill(a);
    CHECK(comes_to("t", HEIR_KEEPER));
    CHECK(comes_to("u", HEIR_KEEPER));
    NO_EVENT(nobody);
}

/* ---- O19 ---------------------------------------------------------------------------------------------- */

#define MANY 100

static int own_some(struct agent_self *self, void *arg)
{
    const char *heir = arg;
    int rc = 0;
    for (int i = 0; i < MANY && !rc; i++) {
        struct heir_table_options options = {.max_bytes = HEIR_TABLE_MIN, .heir = heir, .heir_data = &i};
        struct heir_table *table = NULL;
        char name[32];
        options.heir_data_len = sizeof i;
        snprintf(name, sizeof name, "%s.%d", heir, i);
        rc = heir_claim(self->client, name, &options, 0, &table);
        if (!rc)
            rc = heir_put(table, "k", 1, &i, sizeof i);
    }
    return rc;
}

struct tally {
    int keepers, others;
};

static int count_owners(const struct heir_info *info, int error, void *arg)
{
    struct tally *tally = arg;
    tally->keepers += !error && info->owner == HEIR_KEEPER;
    tally->others += error || info->owner != HEIR_KEEPER;
    return 0;
}

static bool all_are_keepers(void *arg)
{
    struct tally tally = {0, 0};
    (void)arg;
    return heir_inspect_tables(NULL, count_owners, &tally) == 0 && tally.others == 0;
}

/* Each is the other's heir, and both die, in any order and distance: in the middle of inheriting, too. */
static void o19_two_processes(void)
{
    struct rnd rnd = {test_seed};
    look_on();
    for (int round = 0; round < 12; round++) {
        struct agent *a = agent_new("a"), *b = agent_new("b");
        CHECK_RC(agent_call(a, own_some, "b", 2), 0);
        CHECK_RC(agent_call(b, own_some, "a", 2), 0);
        agent_signal(round % 2 ? a : b, SIGKILL);
        for (volatile uint64_t spin = rnd_below(&rnd, 3000000); spin;)
            spin--;
        agent_signal(round % 2 ? b : a, SIGKILL);
        agent_kill(a);
        agent_kill(b);
        CHECK(wait_until(all_are_keepers, NULL, PATIENCE));
        CHECK_EQ(shm_count("t."), 2 * MANY);
        CHECK_RC(heir_has(seen("a.7"), "k", 1), 0);
    }
}

static _Atomic int opened;

static void *be_the_heir(void *arg)
{
    struct heir *client;
    (void)arg;
    atomic_store(&opened, heir_open(&(struct heir_open_options){.name = "h"}, &client) ? -1 : 1);
    for (;;)
        pause();
    return NULL;
}

static int with_the_heir(struct agent_self *self, void *arg)
{
    pthread_t thread;
    (void)self, (void)arg;
    atomic_store(&opened, 0);
    if (pthread_create(&thread, NULL, be_the_heir, NULL))
        return -EAGAIN;
    while (!atomic_load(&opened))
        usleep(1000);
    return atomic_load(&opened) == 1 ? 0 : -EIO;
}

/* The heir is a thread of the owner's process: both die by one signal. Another bearer of the role lives, or does not.
 */
static void o19_one_process(void)
{
    look_on();
    for (int round = 0; round < 20; round++) {
        struct agent *a = agent_new("a"), *other = NULL;
        DO(a, 0, "claim t 0 heir=h data=will");
        CHECK_RC(agent_call(a, with_the_heir, NULL, 0), 0);
        if (round % 2)
            other = agent_new("h");
        agent_signal(a, SIGKILL);
        if (other) {
            if (EVENT(other, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will"))
                CHECK_EQ(look("t").owner, other->id);
            NO_EVENT(other);
            DO(other, 0, "release t");
            CHECK_RC(agent_end(other), 0);
        } else {
            CHECK(comes_to("t", HEIR_KEEPER));
        }
        agent_kill(a);
    }
}

/* ---- O20 ---------------------------------------------------------------------------------------------- */

static void o20_chain_of_names(void)
{
    enum { N = 6 };
    struct agent *link[N];
    look_on();
    for (int i = 0; i < N; i++) {
        char role[16];
        snprintf(role, sizeof role, "link%d", i);
        link[i] = agent_new(role);
    }
    DO(link[0], 0, "create t heir=link1 data=to1");
    for (int i = 0; i + 1 < N; i++) {
        char data[16];
        snprintf(data, sizeof data, "to%d", i + 1);
        DO(link[i], 0, "add t n 1");
        agent_kill(link[i]);
        if (EVENT(link[i + 1], HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", data))
            CHECK_EQ(link[i + 1]->answer.event.from, link[i]->id);
        DO(link[i + 1], 0, "heir t link%d to%d", i + 2, i + 2);
    }
    DO(link[N - 1], 0, "add t n 0");
    CHECK_EQ(link[N - 1]->answer.number, N - 1);
    agent_kill(link[N - 1]);
    CHECK(comes_to("t", HEIR_KEEPER));
}

/* One role, many bearers, killed from the oldest on while the table is on its way: at last the youngest has it. */
static void o20_chain_of_bearers(void)
{
    enum { N = 8 };
    struct agent *bearer[N];
    look_on();
    for (int round = 0; round < 6; round++) {
        struct agent *a = agent_new("a");
        DO(a, 0, "claim t 0 heir=h data=will");
        for (int i = 0; i < N; i++)
            bearer[i] = agent_new("h");
        agent_signal(a, SIGKILL);
        for (int i = 0; i < N - 1; i++)
            agent_signal(bearer[i], SIGKILL);
        if (EVENT(bearer[N - 1], HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will"))
            CHECK_EQ(look("t").owner, bearer[N - 1]->id);
        NO_EVENT(bearer[N - 1]);
        DO(bearer[N - 1], 0, "release t");
        agent_kill(a);
        for (int i = 0; i < N; i++)
            agent_kill(bearer[i]);
    }
}

/* ---- O21 ---------------------------------------------------------------------------------------------- */

static int change_heir(struct agent_self *self, void *arg)
{
    struct heir_table *t = agent_table(self, "t");
    _Atomic uint64_t *changes = *(_Atomic uint64_t **)arg;
    for (uint64_t i = 0;; i++) {
        char name[] = {'h', (char)('0' + i % 3), 0};
        int rc = heir_set_heir(t, i % 3 ? name : NULL, name, 2);
        if (rc)
            return rc;
        atomic_store(changes, i + 1);
    }
}

static bool has_changed(void *arg)
{
    return atomic_load(*(_Atomic uint64_t **)arg) > 3;
}

static void o21_changed_during_death(void)
{
    struct rnd rnd = {test_seed};
    _Atomic uint64_t *changes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(changes != MAP_FAILED);
    int went[3] = {0, 0, 0};
    look_on();
    struct agent *heir[3] = {agent_new("claimant"), agent_new("h1"), agent_new("h2")};
    for (int round = 0; round < 60; round++) {
        struct agent *a = agent_new("a");
        atomic_store(changes, 0);
        DO(a, 0, "create t");
        agent_call_send(a, change_heir, &changes, sizeof changes);
        CHECK(wait_until(has_changed, &changes, PATIENCE));
        for (volatile uint64_t spin = rnd_below(&rnd, 200000); spin;)
            spin--;
        agent_kill(a);
        uint64_t n = atomic_load(changes), owner = a->id;
        for (int64_t end = now_ms() + patience(PATIENCE); owner == a->id && now_ms() < end;)
            owner = look("t").owner;
        int who = owner == HEIR_KEEPER ? 0 : owner == heir[1]->id ? 1 : owner == heir[2]->id ? 2 : -1;
        if (!CHECK(who == (int)((n - 1) % 3) || who == (int)(n % 3), "after %d changes: %d", (int)n, who))
            break;
        went[who]++;
        if (who == 0)
            DO(heir[0], 0, "claim t 0");
        char name[] = {'h', (char)('0' + who), 0};
        if (EVENT(heir[who], HEIR_EVENT_TRANSFER, who ? HEIR_INHERITED : HEIR_CLAIMED, "t", NULL))
            CHECK_BYTES(heir[who]->answer.event.data, heir[who]->answer.event.data_len, name, 2);
        CHECK_STR(look("t").heir, who ? name : "");
        for (int i = 0; i < 3; i++)
            NO_EVENT(heir[i]);
        DO(heir[who], 0, "destroy t");
    }
    printf(" (to the keeper %d, h1 %d, h2 %d)", went[0], went[1], went[2]);
    munmap((void *)changes, 4096);
}

/* ---- O22 ---------------------------------------------------------------------------------------------- */

static void o22_given_then_dead(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *h = agent_new("h");
    DO(a, 0, "create t heir=h data=will");
    DO(a, 0, "create kept data=left"); /* the keeper's */
    DO(a, 0, "create gone heir=%s", HEIR_NOBODY);
    DO(a, 0, "give t %llu gift", (unsigned long long)b->id);
    DO(a, 0, "give kept %llu gift", (unsigned long long)b->id);
    DO(a, 0, "give gone %llu gift", (unsigned long long)b->id);
    agent_kill(b); /* it has not even looked */
    if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will"))
        CHECK_EQ(h->answer.event.from, b->id);
    CHECK(comes_to("kept", HEIR_KEEPER));
    DO(h, 0, "claim kept 0");
    EVENT(h, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "kept", "left");
    for (int64_t end = now_ms() + patience(PATIENCE); shm_count("t.") != 2 && now_ms() < end;)
        ;
    CHECK_EQ(shm_count("t."), 2);
    NO_EVENT(a);
    NO_EVENT(h);
    DO(h, 0, "give t %llu back", (unsigned long long)a->id); /* and back again */
    EVENT(a, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "back");
    DO(a, 0, "rename t other"); /* the heir stays with the table, not with its name */
    agent_kill(a);
    EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "other", "will");
}

/* ---- O23 ---------------------------------------------------------------------------------------------- */

#define LARGE_OBJECTS 60000

static int own_large(struct agent_self *self, void *arg)
{
    unsigned char value[1000];
    struct heir_table *table = NULL;
    bool leave = *(bool *)arg;
    struct heir_table_options options = {.heir = "h", .max_bytes = (uint64_t)256 << 20};
    int rc = heir_create(self->client, "large", &options, &table);
    for (int i = 0; i < LARGE_OBJECTS && !rc; i++) {
        memset(value, i & 0xff, sizeof value);
        rc = heir_put(table, &i, sizeof i, value, sizeof value);
    }
    if (!rc)
        rc = heir_begin(table);
    for (int i = 0; i < LARGE_OBJECTS / 2 && !rc; i++)
        rc = heir_del(table, &i, sizeof i);
    if (rc)
        return rc;
    if (leave)
        exit(0); /* without closing: a crash */
    raise(SIGKILL);
    return 0;
}

static void o23_large(void)
{
    if (!shm_has_room((uint64_t)200 << 20))
        return;
    look_on();
    struct agent *h = agent_new("h");
    for (int leave = 0; leave < 2; leave++) {
        struct agent *a = agent_new("a");
        bool how = leave;
        CHECK_RC(agent_call(a, own_large, &how, sizeof how), AGENT_DEAD);
        if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "large", NULL)) {
            CHECK_EQ(h->answer.event.undone, LARGE_OBJECTS / 2);
            CHECK_EQ(h->answer.event.cause, leave ? HEIR_CAUSE_EXIT : HEIR_CAUSE_SIGNAL);
        }
        CHECK_EQ(look("large").objects, LARGE_OBJECTS);
        CHECK_RC(heir_check(seen("large"), NULL, NULL, NULL), 0);
        DO(h, 0, "destroy large");
        agent_kill(a);
    }
}

static void o23_many(void)
{
    int told[MANY] = {0};
    look_on();
    struct agent *a = agent_new("a"), *h = agent_new("h");
    CHECK_RC(agent_call(a, own_some, "h", 2), 0);
    agent_send(a, "die return");
    for (int i = 0; i < MANY; i++) {
        int number = -1, data = -1;
        if (!EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, NULL, NULL))
            break;
        memcpy(&data, h->answer.event.data, sizeof data);
        if (CHECK(sscanf(h->answer.event.name, "h.%d", &number) == 1 && number >= 0 && number < MANY))
            told[number]++;
        CHECK_EQ(number, data);
        CHECK_EQ(h->answer.event.from, a->id);
    }
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(told[i], 1);
    NO_EVENT(h);
}

/* ---- O24 ---------------------------------------------------------------------------------------------- */

static bool two_wait(void *arg)
{
    (void)arg;
    return look("t").waiting == 2;
}

static void o24_heir_in_line(void)
{
    look_on();
    struct agent *a = agent_new("a"), *first = agent_new("first"), *h = agent_new("h");
    DO(a, 0, "create t heir=h data=will");
    agent_send(first, "claim t -1");
    for (int64_t end = now_ms() + patience(PATIENCE); look("t").waiting != 1 && now_ms() < end;)
        ;
    agent_send(h, "claim t -1");
    CHECK(wait_until(two_wait, NULL, PATIENCE));
    agent_kill(a);
    CHECK_RC(agent_answer(h, PATIENCE), 0); /* the heir comes before the line in which it stands */
    EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will");
    NO_EVENT(h);
    CHECK_EQ(look("t").owner, h->id);
    CHECK_EQ(look("t").waiting, 1);
    CHECK_RC(agent_answer(first, 0), AGENT_HUNG);
    DO(h, 0, "release t");
    CHECK_RC(agent_answer(first, PATIENCE), 0);
    EVENT(first, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL);
    CHECK_EQ(first->answer.event.cause, HEIR_CAUSE_NONE); /* released, by now */
    NO_EVENT(h);
}

/* ---- O25 ---------------------------------------------------------------------------------------------- */

static void o25_given_without_a_keeper(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", NULL);
    DO(b, 0, "give t %llu", (unsigned long long)a->id);
    EVENT(a, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", NULL);
    keeper_kill();
    DO(a, 0, "give t %llu alone", (unsigned long long)b->id);
    do
        DO(b, 0, "wait 5000");
    while (b->answer.event.type == HEIR_EVENT_KEEPER_DOWN);
    CHECK_EQ(b->answer.event.type, HEIR_EVENT_TRANSFER);
    CHECK_EQ(b->answer.event.epoch, 4);
    DO(b, 0, "put t k v");
    DO(a, -ESTALE, "put t k w");
    agent_kill(b); /* the next keeper finds out */
    REQUIRE_EQ(keeper_start(NULL), 0);
    DO(a, 0, "claim t 5000 none");
    DO(a, 0, "get t k");
}

static const struct test tests[] = {{"O17 data", o17_data},
                                    {"O17 refused", o17_refused},
                                    {"O18 not there", o18_not_there},
                                    {"O18 may not", o18_may_not},
                                    {"O19 two processes", o19_two_processes},
                                    {"O19 one process", o19_one_process},
                                    {"O20 chain of names", o20_chain_of_names},
                                    {"O20 chain of bearers", o20_chain_of_bearers},
                                    {"O21 changed during a death", o21_changed_during_death},
                                    {"O22 given, then dead", o22_given_then_dead},
                                    {"O23 large", o23_large},
                                    {"O23 many", o23_many},
                                    {"O24 heir in line", o24_heir_in_line},
                                    {"O25 given without a keeper", o25_given_without_a_keeper},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "heirs", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
