/* SPDX-License-Identifier: MIT */
/*
 * Who owns what, rule by rule (section 4 of the design). Real processes, a real keeper.
 *
 *   O1  Only the owner gives a table away or releases it; only the keeper acts when the owner is dead, when the keeper
 * is the owner, or on an order (heir_revoke). O2  There is never more than one owner, and never a moment without a
 * table. O3  A change of owner never happens inside a transaction, and raises the epoch. O4  Its event says table,
 * epoch, previous owner, reason, data, undone; it comes exactly once an epoch. O5  Claims queue in order; a living heir
 * comes before the queue; what the keeper owns goes to the first in line. O6  Giving to the dead or to oneself fails,
 * and the giver still owns. O7  The heir is a role name and stays with the table; nobody alive bears it: the keeper
 * inherits; only HEIR_NOBODY destroys. O8  Several deaths at once end with the keeper owning. O9  An orderly close can
 * be told from a crash. O10 Protected, public, private; after giving, the old owner's handle is a reader's, or refused.
 *
 * ownership_deaths.c: O11 every kind of death is one, O12 10,000 tables come back. ownership_fences.c: O13 a former
 * owner's write is refused, O14 a forked child is nobody. ownership_events.c: O15 waiting and descriptors, O4 under
 * fire. deaths.c: O16 every death in every state. heirs.c: O17 heir and data are set as one, O18 an heir that cannot is
 * none, O19 owner and heir die together, O20 chains of heirs, O21 an heir changed during a death, O22 given tables have
 * heirs, O23 many and large tables, O24 an heir in line,
 * O25 a gift without a keeper, to one who has been given to before. ownership_line.c: O26 who stands in line hears all
 * that it must.
 */
#include "ownership.h"

#include <heir/admin.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- O1, O2, O3 --------------------------------------------------------------------------------------- */

static void o1_only_the_owner(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
    DO(a, 0, "create t");
    DO(b, 0, "attach t");
    DO(b, -EPERM, "give t %llu", (unsigned long long)c->id);
    DO(b, -EPERM, "release t");
    DO(b, -EPERM, "destroy t");
    CHECK_EQ(look("t").owner, a->id);
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    DO(a, -ESTALE, "put t k v");
    DO(a, -EPERM, "give t %llu", (unsigned long long)c->id); /* no longer its */
    DO(a, -EPERM, "release t");
    CHECK_EQ(look("t").owner, b->id);
    CHECK_RC(heir_revoke(NULL, "t", false), 0); /* an order to the keeper */
    CHECK_EQ(look("t").owner, HEIR_KEEPER);
    DO(b, -EPERM, "release t");
    NO_EVENT(c);
}

/* Many run for one table, all at the same time: exactly one has it, again and again, until all have had it. */
static void o2_exactly_one(void)
{
    enum { RUNNERS = 5, ROUNDS = 20 };
    struct agent *agent[RUNNERS];
    look_on();
    for (int round = 0; round < ROUNDS; round++) {
        char role[16];
        int winners = 0, winner = -1;
        for (int i = 0; i < RUNNERS; i++) {
            snprintf(role, sizeof role, "r%d", i);
            if (round == 0)
                agent[i] = agent_new(role);
            agent_send(agent[i], "claim t 0");
        }
        for (int i = 0; i < RUNNERS; i++) {
            int rc = agent_answer(agent[i], PATIENCE);
            CHECK(rc == 0 || rc == -EBUSY, "%s", error_text(rc));
            if (rc == 0) {
                winners++;
                winner = i;
            }
        }
        if (!CHECK_EQ(winners, 1))
            return;
        CHECK_EQ(look("t").owner, agent[winner]->id);
        for (int i = 0; i < RUNNERS; i++) {
            if (i != winner && round > 0 && agent_do(agent[i], "attach t") == 0) {
                int rc = agent_do(agent[i], "put t k v");
                CHECK(rc == -EPERM || rc == -ESTALE, "a loser's put: %s", error_text(rc));
            }
        }
        DO(agent[winner], 0, "add t n 1");
        CHECK_EQ(agent[winner]->answer.number, round + 1);
        DO(agent[winner], 0, round % 3 ? "release t" : "put t last one");
        if (round % 3 == 0) { /* or dies of it */
            agent_kill(agent[winner]);
            CHECK(comes_to("t", HEIR_KEEPER));
            agent[winner] = agent_new("again");
        }
    }
}

static void o3_the_epoch_grows(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    uint64_t epoch = look("t").epoch;
    CHECK_EQ(epoch, 1);
    for (int i = 0; i < 6; i++) {
        struct agent *from = i % 2 ? b : a, *to = i % 2 ? a : b;
        DO(from, 0, "give t %llu", (unsigned long long)to->id);
        CHECK(look("t").epoch > epoch);
        epoch = look("t").epoch;
        EVENT(to, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "");
        CHECK_EQ(to->answer.event.epoch, epoch);
    }
    DO(a, 0, "release t");
    CHECK(look("t").epoch > epoch);
    epoch = look("t").epoch;
    DO(b, 0, "claim t 0");
    CHECK(look("t").epoch > epoch);
    epoch = look("t").epoch;
    CHECK_RC(heir_revoke(NULL, "t", false), 0);
    CHECK(look("t").epoch > epoch);
    epoch = look("t").epoch;
    DO(a, 0, "claim t 0");
    agent_kill(a);
    CHECK(comes_to("t", HEIR_KEEPER));
    CHECK(look("t").epoch > epoch + 1);
}

static void o3_not_inside_a_transaction(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "begin t");
    DO(a, 0, "put t k v");
    DO(a, -EBUSY, "give t %llu", (unsigned long long)b->id);
    DO(a, -EBUSY, "release t");
    DO(a, -EBUSY, "destroy t");
    CHECK_RC(heir_revoke(NULL, "t", false), -EBUSY);
    CHECK_EQ(look("t").epoch, 1);
    CHECK_EQ(look("t").owner, a->id);
    DO(a, 0, "commit t");
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "");
    DO(b, 0, "has t k");
}

/* ---- O4 ----------------------------------------------------------------------------------------------- */

static void o4_the_event_says_all(void)
{
    char big[HEIR_DATA_MAX + 1];
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
    memset(big, 'x', HEIR_DATA_MAX);
    big[HEIR_DATA_MAX] = 0;
    DO(a, 0, "create t heir=c data=will");
    DO(a, 0, "put t k v");
    DO(a, 0, "give t %llu gift", (unsigned long long)b->id);
    if (EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "gift")) {
        CHECK_EQ(b->answer.event.from, a->id);
        CHECK_EQ(b->answer.event.epoch, look("t").epoch);
        CHECK_EQ(b->answer.event.undone, 0);
        CHECK(b->answer.event.table != NULL);
        for (size_t i = 0; i < sizeof b->answer.event.reserved / 8; i++)
            CHECK_EQ(b->answer.event.reserved[i], 0);
    }
    NO_EVENT(b);
    NO_EVENT(a);
    DO(b, 0, "get t k");
    DO(b, 0, "put t k w");
    DO(b, 0, "give t %llu %s", (unsigned long long)a->id, big);
    EVENT(a, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", big);
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "");
    agent_kill(b);
    if (EVENT(c, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will")) {
        CHECK_EQ(c->answer.event.from, b->id);
        CHECK_EQ(c->answer.event.epoch, look("t").epoch);
    }
    NO_EVENT(c);
    NO_EVENT(a);
    DO(c, 0, "get t k");
    CHECK_STR(c->answer.value, "w");
    DO(c, 0, "release t");
    DO(a, 0, "claim t 0");
    if (EVENT(a, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL))
        CHECK_EQ(a->answer.event.from, HEIR_KEEPER);
    NO_EVENT(a);
    DO(a, 0, "claim t 0"); /* already the owner: no event */
    NO_EVENT(a);
    CHECK_RC(heir_revoke(NULL, "t", false), 0);
    EVENT(a, HEIR_EVENT_LOST, 0, "t", NULL);
    CHECK(a->answer.event.table != NULL);
    NO_EVENT(a);
}

/* Whoever sees that it owns the table has the event already. */
static int own_then_event(struct agent_self *self, void *arg)
{
    struct heir_table *table = agent_table(self, "t");
    struct heir_info info = {0};
    (void)arg;
    for (int64_t end = now_ms() + patience(PATIENCE); info.owner != heir_id(self->client);)
        if (now_ms() > end || heir_info(table, &info))
            return AGENT_HUNG;
    return heir_wait(self->client, 0, &self->answer.event);
}

static void o4_the_event_comes_first(void)
{
    look_on();
    struct agent *heir = agent_new("h");
    for (int i = 0; i < 20; i++) {
        struct agent *a = agent_new("a");
        DO(a, 0, i ? "claim t -1" : "create t heir=h");
        DO(heir, 0, "attach t");
        agent_call_send(heir, own_then_event, NULL, 0);
        if (i % 2)
            agent_kill(a);
        else
            DO(a, 0, "give t %llu", (unsigned long long)heir->id);
        if (CHECK_RC(agent_answer(heir, PATIENCE), 0)) {
            CHECK_EQ(heir->answer.event.type, HEIR_EVENT_TRANSFER);
            CHECK_EQ(heir->answer.event.from, a->id);
        }
        NO_EVENT(heir);
        DO(heir, 0, "release t");
        agent_kill(a);
    }
}

/* ---- O5 ----------------------------------------------------------------------------------------------- */

static void o5_claims_queue_in_order(void)
{
    enum { N = 5 };
    struct agent *agent[N];
    look_on();
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    for (int i = 0; i < N; i++) {
        char role[16];
        snprintf(role, sizeof role, "w%d", i);
        agent[i] = agent_new(role);
        agent_send(agent[i], "claim t -1");
        CHECK(line_has("t", (uint64_t)i + 1));
    }
    agent_kill(agent[2]); /* one leaves the line */
    CHECK(line_has("t", N - 1));
    DO(a, 0, "release t");
    for (int i = 0; i < N; i++) {
        if (i == 2)
            continue;
        CHECK_RC(agent_answer(agent[i], PATIENCE), 0);
        CHECK_EQ(look("t").owner, agent[i]->id);
        for (int k = i + 1; k < N; k++) /* nobody else */
            if (k != 2)
                CHECK_RC(agent_answer(agent[k], 0), AGENT_HUNG);
        EVENT(agent[i], HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL);
        NO_EVENT(agent[i]);
        DO(agent[i], 0, "add t n 1");
        CHECK_EQ(agent[i]->answer.number, i < 2 ? i + 1 : i);
        if (i % 2) /* by a death, by a release, by a close */
            agent_kill(agent[i]);
        else
            DO(agent[i], 0, i ? "release t" : "close");
    }
    CHECK(comes_to("t", HEIR_KEEPER));
}

static void o5_a_claim_that_times_out_leaves_the_line(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
    DO(a, 0, "create t");
    agent_send(b, "claim t 100");
    CHECK(line_has("t", 1));
    agent_send(c, "claim t -1");
    CHECK_RC(agent_answer(b, PATIENCE), -ETIMEDOUT);
    CHECK(line_has("t", 1));
    DO(a, 0, "release t");
    CHECK_RC(agent_answer(c, PATIENCE), 0);
    NO_EVENT(b);
}

/* Timeout 0 waits for no owner, but for a write to what the keeper owns, as long as the client does. */
static void o5_a_claim_waits_for_a_write(void)
{
    const struct heir_open_options options = {.name = "hasty", .timeout_ms = 300};
    struct heir_table *table;
    struct heir *hasty;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *writer = agent_new("writer");
    DO(writer, 0, "create t access=public");
    REQUIRE_RC(heir_open(&options, &hasty), 0);
    CHECK_RC(heir_claim(hasty, "t", NULL, 0, &table), -EBUSY);
    DO(writer, 0, "release t");
    DO(writer, 0, "begin t");
    int64_t since = now_ms();
    CHECK_RC(heir_claim(hasty, "t", NULL, 0, &table), -ETIMEDOUT);
    CHECK(now_ms() - since >= 300, "after %d ms", (int)(now_ms() - since));
    DO(writer, 0, "commit t");
    CHECK_RC(heir_claim(hasty, "t", NULL, 0, &table), 0);
    CHECK_RC(heir_close(hasty), 0);
}

static void o5_the_heir_comes_before_the_queue(void)
{
    look_on();
    struct agent *a = agent_new("a"), *h = agent_new("h"), *b = agent_new("b");
    DO(a, 0, "create t heir=h data=will");
    agent_send(b, "claim t -1");
    CHECK(line_has("t", 1));
    agent_kill(a);
    EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will");
    CHECK_EQ(look("t").owner, h->id);
    CHECK_RC(agent_answer(b, 0), AGENT_HUNG);
    DO(h, 0, "release t");
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    CHECK_EQ(look("t").owner, b->id);
}

static void o5_revoked_goes_to_the_first_in_line(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    agent_send(b, "claim t -1");
    CHECK(line_has("t", 1));
    CHECK_RC(heir_revoke(NULL, "t", false), 0);
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    EVENT(b, HEIR_EVENT_TRANSFER, 0, "t", NULL);
    EVENT(a, HEIR_EVENT_LOST, 0, "t", NULL);
    DO(a, -ESTALE, "put t k v");
}

/* What waits for a table that is destroyed creates it anew, or learns that there is none. */
static void o5_claims_of_a_destroyed_table(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c"), *d = agent_new("d");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    agent_send(b, "claim t -1 none");
    CHECK(line_has("t", 1));
    agent_send(c, "claim t -1");
    CHECK(line_has("t", 2));
    agent_send(d, "claim t -1");
    CHECK(line_has("t", 3));
    DO(a, 0, "destroy t");
    CHECK_RC(agent_answer(b, PATIENCE), -ENOENT);
    CHECK_RC(agent_answer(c, PATIENCE), 0);
    DO(c, -ENOENT, "has t k");
    CHECK_RC(agent_answer(d, 0), AGENT_HUNG); /* behind c, now */
    DO(c, 0, "release t");
    CHECK_RC(agent_answer(d, PATIENCE), 0);
}

/* ---- O6 ----------------------------------------------------------------------------------------------- */

static void o6_giving_to_the_dead(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c"), *d = agent_new("d");
    DO(a, 0, "create t");
    DO(a, -EINVAL, "give t %llu", (unsigned long long)a->id);
    agent_kill(b);
    DO(a, -ESRCH, "give t %llu", (unsigned long long)b->id);
    DO(c, 0, "close");
    DO(a, -ESRCH, "give t %llu", (unsigned long long)c->id);
    DO(a, -ESRCH, "give t 123456789");
    CHECK_EQ(look("t").owner, a->id);
    DO(a, 0, "put t k v");
    agent_stop(d); /* one that is stopped is alive */
    DO(a, 0, "give t %llu x", (unsigned long long)d->id);
    agent_continue(d);
    EVENT(d, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "x");
}

/* ---- O7, O8, O9 --------------------------------------------------------------------------------------- */

static void o7_the_heir_is_a_role(void)
{
    look_on();
    struct agent *a = agent_new("a"), *first = agent_new("h"), *second = agent_new("h");
    DO(a, 0, "create t heir=h data=will");
    CHECK_STR(look("t").heir, "h");
    agent_kill(a);
    EVENT(first, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will"); /* it has borne the name longest */
    CHECK_STR(look("t").heir, "h");                                 /* the setting stays */
    agent_kill(first);                                              /* the owner bears the heir's name itself */
    EVENT(second, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will");
    agent_kill(second);
    CHECK(comes_to("t", HEIR_KEEPER)); /* nobody alive bears it */
    a = agent_new("a");
    DO(a, 0, "claim t 0");
    EVENT(a, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", "will");
    struct agent *third = agent_new("h"); /* restarted: need not be set again */
    agent_kill(a);
    EVENT(third, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", "will");
    DO(third, 0, "heir t \"\" other");
    CHECK_STR(look("t").heir, "");
    agent_kill(third);
    CHECK(comes_to("t", HEIR_KEEPER));
    a = agent_new("a");
    DO(a, 0, "claim t 0");
    EVENT(a, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", "other");
}

static void o7_nobody_destroys(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
    DO(a, 0, "create t heir=%s", HEIR_NOBODY);
    DO(a, 0, "put t k v");
    DO(a, 0, "create u");
    DO(a, 0, "heir u %s", HEIR_NOBODY);
    DO(a, 0, "create v heir=%s", HEIR_NOBODY);
    DO(a, 0, "heir v \"\"");
    CHECK_STR(look("t").heir, HEIR_NOBODY);
    agent_send(b, "claim t -1 none");
    CHECK(line_has("t", 1));
    agent_kill(a);
    CHECK_RC(agent_answer(b, PATIENCE), -ENOENT);
    CHECK(vanishes("t"));
    CHECK(vanishes("u"));
    CHECK(comes_to("v", HEIR_KEEPER));
    CHECK_EQ(shm_count("t."), 1);
    DO(c, 0, "create t heir=%s", HEIR_NOBODY); /* by an orderly close, too */
    DO(c, 0, "close");
    CHECK(vanishes("t"));
}

static void o8_several_deaths_at_once(void)
{
    look_on();
    for (int with_keeper = 0; with_keeper < 2; with_keeper++) {
        struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
        DO(a, 0, "claim ta 0 heir=b");
        DO(b, 0, "claim tb 0 heir=c");
        DO(c, 0, "claim tc 0 heir=a");
        DO(a, 0, "put ta k a");
        DO(b, 0, "put tb k b");
        DO(c, 0, "put tc k c");
        if (!with_keeper)
            keeper_freeze(); /* it sees them all dead at the same time */
        agent_kill(a);
        agent_kill(b);
        agent_kill(c);
        if (!with_keeper)
            keeper_thaw();
        CHECK(comes_to("ta", HEIR_KEEPER));
        CHECK(comes_to("tb", HEIR_KEEPER));
        CHECK(comes_to("tc", HEIR_KEEPER));
        CHECK_RC(heir_has(seen("ta"), "k", 1), 0);
        CHECK_RC(heir_has(seen("tb"), "k", 1), 0);
        CHECK_RC(heir_has(seen("tc"), "k", 1), 0);
    }
}

static void o9_a_clean_stop_is_no_crash(void)
{
    look_on();
    struct agent *a = agent_new("a"), *h = agent_new("h"), *b = agent_new("b");
    DO(a, 0, "create t heir=h data=will");
    DO(a, 0, "begin t");
    DO(a, 0, "put t k v");
    DO(a, 0, "close"); /* to the keeper, not to the heir, and without the heir's data */
    CHECK(comes_to("t", HEIR_KEEPER));
    NO_EVENT(h);
    DO(b, 0, "claim t 0");
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", "");
    DO(b, -ENOENT, "has t k");
    DO(b, 0, "heir t \"\" will");
    agent_kill(b);
    CHECK(comes_to("t", HEIR_KEEPER));
    DO(h, 0, "claim t 0");
    EVENT(h, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", "will"); /* a crash: the keeper has inherited */
}

/* ---- O10 ---------------------------------------------------------------------------------------------- */

static void o10_protected(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    DO(b, 0, "attach t");
    DO(b, 0, "get t k");
    DO(b, -EPERM, "put t k w");
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    DO(a, 0, "get t k"); /* a reader's handle */
    CHECK_STR(a->answer.value, "v");
    DO(a, -ESTALE, "put t k w");
    DO(b, 0, "put t k w");
    DO(a, 0, "get t k");
    CHECK_STR(a->answer.value, "w");
    DO(b, 0, "give t %llu", (unsigned long long)a->id);
    EVENT(a, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "");
    DO(a, 0, "put t k x"); /* and the owner's again */
}

static void o10_public(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
    DO(a, 0, "create t access=public");
    DO(b, 0, "attach t");
    DO(c, 0, "attach t");
    for (int i = 0; i < 30; i++) {
        DO(i % 2 ? b : c, 0, "add t n 1");
        DO(a, 0, "add t n 1");
        CHECK_EQ(a->answer.number, 2 * i + 2);
    }
    DO(b, 0, "begin t");
    DO(b, 0, "add t n 1000");
    agent_send(c, "add t n 1"); /* waits for its end */
    CHECK_RC(agent_answer(c, 50), AGENT_HUNG);
    DO(b, 0, "commit t");
    CHECK_RC(agent_answer(c, PATIENCE), 0);
    CHECK_EQ(c->answer.number, 1061);
    /* a writer dies inside a transaction: the next one sets it right and goes on; the owner's rights have not changed
     */
    DO(b, 0, "begin t");
    DO(b, 0, "add t n 5000");
    agent_kill(b);
    DO(c, 0, "add t n 1");
    CHECK_EQ(c->answer.number, 1062);
    CHECK_EQ(look("t").owner, a->id);
    CHECK_EQ(look("t").epoch, 1);
    DO(a, 0, "give t %llu", (unsigned long long)c->id);
    DO(a, 0, "add t n 1"); /* public: the old owner writes on */
    CHECK_EQ(a->answer.number, 1063);
    DO(a, -EPERM, "release t");
    agent_kill(c);
    CHECK(comes_to("t", HEIR_KEEPER));
    DO(a, 0, "add t n 1"); /* also when the keeper has it */
    CHECK_EQ(a->answer.number, 1064);
}

static void o10_private(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t access=private");
    DO(a, 0, "put t k v");
    DO(b, -EACCES, "attach t");
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "");
    DO(b, 0, "get t k");
    CHECK_STR(b->answer.value, "v");
    DO(a, -EACCES, "get t k");
    DO(a, -EACCES, "has t k");
    DO(a, -EACCES, "count t");
    DO(a, -ESTALE, "put t k w");
    agent_kill(b);
    agent_send(a, "claim t -1");
    CHECK_RC(agent_answer(a, PATIENCE), 0);
    DO(a, 0, "get t k");
}

static const struct test tests[] = {{"O1 only the owner", o1_only_the_owner},
                                    {"O2 exactly one", o2_exactly_one},
                                    {"O3 the epoch grows", o3_the_epoch_grows},
                                    {"O3 not inside a transaction", o3_not_inside_a_transaction},
                                    {"O4 the event says all", o4_the_event_says_all},
                                    {"O4 the event comes first", o4_the_event_comes_first},
                                    {"O5 claims queue in order", o5_claims_queue_in_order},
                                    {"O5 a timeout leaves the line", o5_a_claim_that_times_out_leaves_the_line},
                                    {"O5 a claim waits for a write", o5_a_claim_waits_for_a_write},
                                    {"O5 the heir comes before the queue", o5_the_heir_comes_before_the_queue},
                                    {"O5 revoked: the first in line", o5_revoked_goes_to_the_first_in_line},
                                    {"O5 claims of a destroyed table", o5_claims_of_a_destroyed_table},
                                    {"O6 giving to the dead", o6_giving_to_the_dead},
                                    {"O7 the heir is a role", o7_the_heir_is_a_role},
                                    {"O7 nobody destroys", o7_nobody_destroys},
                                    {"O8 several deaths at once", o8_several_deaths_at_once},
                                    {"O9 a clean stop is no crash", o9_a_clean_stop_is_no_crash},
                                    {"O10 protected", o10_protected},
                                    {"O10 public", o10_public},
                                    {"O10 private", o10_private},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "rules", .tests = tests},
                                        {.name = "deaths", .tests = ownership_deaths},
                                        {.name = "fences", .tests = ownership_fences},
                                        {.name = "events", .tests = ownership_events},
                                        {.name = "line", .tests = ownership_line},
                                        {.name = NULL}};
    return test_main(argc, argv, suites);
}
