/* SPDX-License-Identifier: MIT */
/*
 * Tables with a lease, and heir_revoke() by force.
 *
 *   L1 An owner that has neither committed nor renewed for lease_ms loses the table to the keeper: HEIR_REVOKED for the
 * next, HEIR_EVENT_LOST for it, and its next write is refused. L2 Never before lease_ms; at most a quarter later. L3
 * Whoever commits or renews in time keeps it. L4 Who is in the middle of a write or a transaction is killed first, and
 * undone. L5 A lease belongs to the table: it begins anew with every owner, and the keeper's has none.
 *   R1 Force kills only who is in the middle of a write; the table goes to the keeper, also past an heir. R2 What else
 * the killed one owned goes to its heirs as at every death. R3 Errors: -ENOENT, -EALREADY, -EBUSY, -EACCES.
 */
#include "eye.h"

#include <grp.h>
#include <heir/admin.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEASE 300 /* ms */

static bool t_has_left(void *arg)
{
    return look("t").owner != *(uint64_t *)arg;
}

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static void killed(struct agent *agent)
{
    CHECK_RC(agent_reap(agent, PATIENCE), 0);
    CHECK(WIFSIGNALED(agent->status) && WTERMSIG(agent->status) == SIGKILL, "status %x", (unsigned)agent->status);
}

/* The table was lost before the test was ready: it says nothing then. */
static bool too_slow(int64_t since, int rc)
{
    if (rc && now_ms() - since >= LEASE) {
        test_skip("no time to be had: %d ms to begin", (int)(now_ms() - since));
        return true;
    }
    CHECK_RC(rc, 0);
    return false;
}

/* ---- Leases ------------------------------------------------------------------------------------------- */

static void lose(bool in_line)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *h = agent_new("h");
    int64_t created = now_ms();
    DO(a, 0, "create t lease=%d heir=h data=will", LEASE);
    CHECK_EQ(look("t").lease_ms, LEASE);
    if (in_line) {
        agent_send(b, "claim t -1");
        CHECK(line_has("t", 1));
    }
    int64_t begin = now_ms(); /* before the last sign of life */
    if (too_slow(created, agent_do(a, "put t k v")))
        return;
    CHECK(wait_until(t_has_left, &a->id, PATIENCE));
    CHECK(now_ms() - begin >= LEASE, "lost after %d ms", (int)(now_ms() - begin));
    if (in_line) {
        CHECK_RC(agent_answer(b, PATIENCE), 0);
    } else {
        CHECK_EQ(look("t").owner, HEIR_KEEPER); /* not the heir: nobody has died */
        CHECK_EQ(look("t").reason, HEIR_REVOKED);
        CHECK_EQ(look("t").from, a->id);
        CHECK_EQ(look("t").cause, HEIR_CAUSE_NONE);
        DO(b, 0, "claim t 0");
    }
    if (EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL)) {
        CHECK_EQ(b->answer.event.from, HEIR_KEEPER);
        CHECK_EQ(b->answer.event.cause, HEIR_CAUSE_NONE);
        CHECK_EQ(b->answer.event.undone, 0);
    }
    NO_EVENT(h);
    DO(a, -ESTALE, "put t k w");
    DO(a, -EPERM, "renew t");
    if (EVENT(a, HEIR_EVENT_LOST, HEIR_REVOKED, "t", NULL))
        CHECK(a->answer.event.table != NULL);
    NO_EVENT(a);
    DO(a, 0, "get t k"); /* a reader's handle */
    CHECK_STR(a->answer.value, "v");
}

static void l1_lost_to_the_keeper(void)
{
    lose(false);
}

static void l1_lost_to_the_first_in_line(void)
{
    lose(true);
}

/* Stopped for as long as one likes; it learns of it when it wakes. */
static void l1_stopped(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    int64_t created = now_ms();
    DO(a, 0, "create t lease=%d", LEASE);
    if (too_slow(created, agent_do(a, "put t k v")))
        return;
    agent_stop(a);
    DO(b, 0, "claim t %d", patience(PATIENCE));
    DO(b, 0, "put t k new");
    uint64_t committed = look("t").committed;
    agent_send(a, "put t k stale");
    agent_continue(a);
    CHECK_RC(agent_answer(a, PATIENCE), -ESTALE);
    EVENT(a, HEIR_EVENT_LOST, HEIR_REVOKED, "t", NULL);
    CHECK_EQ(look("t").committed, committed);
}

struct diligence {
    int how, ms;
};

/* Show signs of life for some time, and lose nothing. The answer's number is the longest pause. */
static int be_diligent(struct agent_self *self, void *arg)
{
    const struct diligence *d = arg;
    struct heir_table *t = agent_table(self, "t");
    int64_t last = now_ms(), end = last + d->ms, most = 0;
    int rc = 0;
    while (!rc && last < end) {
        sleep_ms(LEASE / 10);
        if (d->how == 0)
            rc = heir_renew(t);
        else if (d->how == 1)
            rc = heir_add(t, "n", 1, 1, NULL);
        else if ((rc = heir_begin(t)) == 0 && (rc = heir_put(t, "k", 1, "v", 1)) == 0)
            rc = heir_commit(t);
        int64_t now = now_ms();
        most = now - last > most ? now - last : most;
        last = now;
    }
    self->answer.number = (uint64_t)most;
    return rc;
}

static void l3_kept(void)
{
    look_on();
    struct agent *a = agent_new("a");
    DO(a, 0, "create t lease=%d", LEASE);
    for (int how = 0; how < 3; how++) {
        struct diligence d = {how, 3 * LEASE};
        int rc = agent_call(a, be_diligent, &d, sizeof d);
        if (rc && a->answer.number >= LEASE) { /* the machine has not let it run */
            test_skip("no time to be had: %d ms between two signs of life", (int)a->answer.number);
            return;
        }
        CHECK(rc == 0, "how %d: %s", how, error_text(rc));
        CHECK_EQ(look("t").owner, a->id);
        CHECK_EQ(look("t").epoch, 1);
    }
    NO_EVENT(a);
}

/* Renewing is for owners, also inside a transaction; without a lease it does nothing. */
static void l3_who_may_renew(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t lease=60000");
    DO(a, 0, "create u");
    DO(b, 0, "attach t");
    DO(b, -EPERM, "renew t");
    DO(a, 0, "renew t");
    DO(a, 0, "renew u");
    DO(a, 0, "begin t");
    DO(a, 0, "renew t");
    DO(a, 0, "abort t");
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    DO(a, -EPERM, "renew t");
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", NULL);
    DO(b, 0, "renew t");
    CHECK_RC(heir_renew(NULL), -EINVAL);
    CHECK_EQ(look("t").lease_ms, 60000);
    CHECK_EQ(look("u").lease_ms, 0);
}

/* In a transaction renewing keeps it; then it is killed, not only robbed. */
static void kill_in_a_transaction(bool stopped)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *h = agent_new("h");
    DO(a, 0, "create u heir=h data=legacy");
    int64_t created = now_ms();
    DO(a, 0, "create t lease=%d heir=h data=will", LEASE);
    if (too_slow(created, agent_do(a, "put t k v")))
        return;
    agent_send(b, "claim t -1");
    CHECK(line_has("t", 1));
    int rc = agent_do(a, "begin t");
    rc = rc ? rc : agent_do(a, "put t k w");
    rc = rc ? rc : agent_do(a, "del t k");
    if (too_slow(created, rc))
        return;
    if (stopped)
        agent_stop(a);
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    killed(a);
    if (EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL)) {
        CHECK_EQ(b->answer.event.undone, 2);
        CHECK_EQ(b->answer.event.cause, HEIR_CAUSE_SIGNAL);
        CHECK_EQ(b->answer.event.code, SIGKILL);
    }
    DO(b, 0, "get t k");
    CHECK_STR(b->answer.value, "v");
    if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "u", "legacy")) /* its death, not a revocation */
        CHECK_EQ(h->answer.event.from, a->id);
    NO_EVENT(h);
}

static void l4_killed(void)
{
    kill_in_a_transaction(false);
}

static void l4_killed_while_stopped(void)
{
    kill_in_a_transaction(true);
}

/* Every owner has a whole lease; the keeper may have the table for ever. Several tables, each for itself. */
static void l5_begins_anew(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t lease=%d", LEASE);
    DO(a, 0, "create long lease=60000");
    DO(a, 0, "create none");
    CHECK(wait_until(t_has_left, &a->id, PATIENCE));
    sleep_ms(2 * LEASE);
    CHECK_EQ(look("t").owner, HEIR_KEEPER);
    CHECK_EQ(look("t").epoch, 2);
    int64_t begin = now_ms();
    DO(b, 0, "claim t 0");
    CHECK(wait_until(t_has_left, &b->id, PATIENCE));
    CHECK(now_ms() - begin >= LEASE, "lost after %d ms", (int)(now_ms() - begin));
    CHECK_EQ(look("long").owner, a->id);
    CHECK_EQ(look("none").owner, a->id);
    keeper_kill(); /* a lease is watched by the next keeper, too; nobody loses one for the time without */
    begin = now_ms();
    REQUIRE_EQ(keeper_start(NULL), 0);
    DO(b, 0, "claim t %d", patience(PATIENCE));
    CHECK(wait_until(t_has_left, &b->id, PATIENCE));
    CHECK(now_ms() - begin >= LEASE, "lost after %d ms", (int)(now_ms() - begin));
}

/* ---- Force -------------------------------------------------------------------------------------------- */

static int force(const char *name)
{
    return heir_revoke(&(struct heir_open_options){.timeout_ms = patience(PATIENCE)}, name, true);
}

static void r1_in_a_transaction(void)
{
    look_on();
    for (int stopped = 0; stopped < 2; stopped++) {
        struct agent *a = agent_new("a"), *h = agent_new("h"), *b = agent_new("b");
        DO(a, 0, "create t heir=h data=will");
        DO(a, 0, "create u heir=h data=legacy");
        DO(a, 0, "create v");
        DO(a, 0, "put t k v");
        DO(a, 0, "begin t");
        DO(a, 0, "put t k w");
        DO(a, 0, "begin u");
        DO(a, 0, "put u k w");
        if (stopped)
            agent_stop(a);
        CHECK_RC(force("t"), 0);
        CHECK_EQ(look("t").owner, HEIR_KEEPER); /* when it returns */
        CHECK_EQ(look("t").reason, HEIR_REVOKED);
        CHECK_EQ(look("t").from, a->id);
        CHECK_RC(force("t"), -EALREADY);
        killed(a);
        if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "u", "legacy")) {
            CHECK_EQ(h->answer.event.from, a->id);
            CHECK_EQ(h->answer.event.undone, 1);
            CHECK_EQ(h->answer.event.cause, HEIR_CAUSE_SIGNAL);
            CHECK_EQ(h->answer.event.code, SIGKILL);
        }
        NO_EVENT(h);
        DO(b, 0, "claim v %d", patience(PATIENCE)); /* the keeper's */
        if (EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "v", NULL))
            CHECK_EQ(b->answer.event.code, SIGKILL);
        DO(b, 0, "claim t 0");
        if (EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL))
            CHECK_EQ(b->answer.event.undone, 1);
        DO(b, 0, "get t k");
        CHECK_STR(b->answer.value, "v");
        DO(b, 0, "destroy t");
        DO(b, 0, "destroy v");
        DO(h, 0, "destroy u");
        CHECK_RC(agent_end(b), 0);
        CHECK_RC(agent_end(h), 0);
    }
}

/* Nobody is killed who does not write; the first in line has it. */
static void r1_without_a_transaction(void)
{
    look_on();
    struct agent *a = agent_new("a"), *h = agent_new("h"), *b = agent_new("b");
    DO(a, 0, "create t heir=h");
    DO(a, 0, "create u");
    DO(a, 0, "begin u"); /* of another table */
    agent_send(b, "claim t -1");
    CHECK(line_has("t", 1));
    CHECK_RC(force("t"), 0);
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    DO(a, -ESTALE, "put t k v");
    DO(a, 0, "put u k v");
    DO(a, 0, "commit u");
    EVENT(a, HEIR_EVENT_LOST, HEIR_REVOKED, "t", NULL);
    NO_EVENT(h);
    agent_stop(b); /* nor one that is stopped */
    CHECK_RC(force("t"), 0);
    agent_continue(b);
    DO(b, -ESTALE, "put t k v");
}

static int put_on(struct agent_self *self, void *arg)
{
    struct heir_table *t = agent_table(self, "t");
    int rc;
    (void)arg;
    while ((rc = heir_add(t, "n", 1, 1, NULL)) == 0)
        ;
    return rc;
}

/* At full speed, stopped anywhere: it is killed or refused, and the table is the keeper's either way. */
static void r1_at_full_speed(void)
{
    struct rnd rnd = {test_seed};
    int dead = 0;
    look_on();
    for (int round = 0; round < 60; round++) {
        struct agent *a = agent_new("a");
        DO(a, 0, "claim t 0");
        agent_call_send(a, put_on, NULL, 0);
        for (volatile uint64_t spin = rnd_below(&rnd, 300000); spin;)
            spin--;
        if (round % 2)
            agent_stop(a);
        CHECK_RC(force("t"), 0);
        CHECK_EQ(look("t").owner, HEIR_KEEPER);
        CHECK_EQ(look("t").reason, HEIR_REVOKED);
        agent_continue(a);
        int rc = agent_answer(a, PATIENCE);
        CHECK(rc == -ESTALE || rc == AGENT_DEAD, "%s", error_text(rc));
        dead += rc == AGENT_DEAD;
        if (rc == AGENT_DEAD)
            killed(a);
        else
            CHECK_RC(agent_end(a), 0);
    }
    printf(" (%d of 60 killed)", dead);
}

static void r3_errors(void)
{
    look_on();
    struct agent *a = agent_new("a");
    CHECK_RC(force("t"), -ENOENT);
    DO(a, 0, "create t");
    DO(a, 0, "begin t");
    CHECK_RC(heir_revoke(NULL, "t", false), -EBUSY);
    DO(a, 0, "commit t");
    DO(a, 0, "release t");
    CHECK_RC(force("t"), -EALREADY);
    CHECK_RC(heir_revoke(NULL, "t", false), -EALREADY);
    CHECK_RC(heir_revoke(NULL, NULL, true), -EINVAL);
    CHECK_RC(heir_revoke(NULL, "../t", true), -EINVAL);
}

/* As another user; see access.c. */
static int revoke_as_nobody(struct agent_self *self, void *arg)
{
    (void)self, (void)arg;
    if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
        return -EIO;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    return force("t");
}

static void r3_another_user(void)
{
    if (geteuid()) {
        test_skip("it takes root to be another user");
        return;
    }
    look_on_by((const char *const[]){"--socket-mode", "0666", NULL});
    struct agent *a = agent_new("a"), *nobody = agent_new(NULL);
    DO(a, 0, "create t mode=0666");
    DO(a, 0, "begin t");
    CHECK_RC(agent_call(nobody, revoke_as_nobody, NULL, 0), -EACCES);
    DO(a, 0, "put t k v");
    DO(a, 0, "commit t");
    CHECK_EQ(look("t").owner, a->id);
}

static const struct test tests[] = {{"L1 lost to the keeper", l1_lost_to_the_keeper},
                                    {"L1 lost to the first in line", l1_lost_to_the_first_in_line},
                                    {"L1 stopped", l1_stopped},
                                    {"L3 kept", l3_kept},
                                    {"L3 who may renew", l3_who_may_renew},
                                    {"L4 killed", l4_killed},
                                    {"L4 killed while stopped", l4_killed_while_stopped},
                                    {"L5 begins anew", l5_begins_anew},
                                    {"R1 in a transaction", r1_in_a_transaction},
                                    {"R1 without a transaction", r1_without_a_transaction},
                                    {"R1 at full speed", r1_at_full_speed},
                                    {"R3 errors", r3_errors},
                                    {"R3 another user", r3_another_user},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "leases", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
