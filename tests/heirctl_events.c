/* SPDX-License-Identifier: MIT */
/* heirctl events, stats and watch: the keeper's journal and counters, and what only the tables themselves tell. */
#include "heirctl.h"

#include <heir/inspect.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The n-th event of this kind, counted from 0; NULL: there are fewer. */
static const json_t *event(const json_t *object, const char *kind, int n)
{
    const json_t *list = json_object_get(object, "events");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        if (strcmp(text(e, "kind"), kind) == 0 && n-- == 0)
            return e;
    }
    return NULL;
}

static size_t count_events(const char *kind)
{
    size_t count = 0;
    json_t *object = CTL_JSON(0, "events");
    while (event(object, kind, (int)count) != NULL)
        count++;
    json_decref(object);
    return count;
}

struct awaited {
    const char *kind;
    size_t count;
};

static bool has_happened(void *arg)
{
    const struct awaited *awaited = arg;
    return count_events(awaited->kind) >= awaited->count;
}

#define HAPPENS(kind, count) CHECK(wait_until(has_happened, &(struct awaited){kind, count}, PATIENCE), kind)

/* ---- events ------------------------------------------------------------------------------------------- */

/* Which worker it was, what killed it, what it owned, and how far its state had come. */
static void events_of_a_death(void)
{
    struct agent *a = keeper_and_owner("bread heir=second"), *b = agent_new("second");
    DO(a, 0, "create cake");
    DO(a, 0, "put bread k v");
    DO(a, 0, "put bread k w");
    DO(a, 0, "begin bread");
    DO(a, 0, "put bread k x");
    agent_send(a, "die segv");
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "bread", NULL);
    HAPPENS("transfer", 2);
    CHECK_RC(agent_reap(a, PATIENCE), 0); /* not before: what has been reaped tells nobody how it ended */
    json_t *object = CTL_JSON(0, "events");
    CHECK_STR(text(object, "namespace"), world.ns);
    const json_t *start = event(object, "keeper-start", 0), *created = event(object, "created", 1);
    const json_t *death = event(object, "death", 0), *transfer = event(object, "transfer", 0);
    CHECK_EQ(number(start, "pid"), keeper_pid());
    CHECK_EQ(number(start, "sequence"), 1);
    CHECK_STR(text(created, "table"), "cake");
    CHECK_STR(text(json_object_get(created, "to"), "role"), "baker");
    CHECK_STR(text(json_object_get(death, "from"), "role"), "baker");
    CHECK_EQ(number(json_object_get(death, "from"), "id"), a->id);
    CHECK_EQ(number(death, "tables"), 2);
    CHECK_STR(text(json_object_get(death, "death"), "signal"), "SIGSEGV");
    CHECK(json_real_value(json_object_get(death, "reclaim_us")) > 0);
    CHECK(number(transfer, "sequence") > number(death, "sequence"));
    if (strcmp(text(transfer, "table"), "bread") != 0)
        transfer = event(object, "transfer", 1);
    CHECK_STR(text(transfer, "table"), "bread");
    CHECK_EQ(number(transfer, "epoch"), 2);
    CHECK_EQ(number(transfer, "undone"), 1);
    CHECK(number(transfer, "committed") >= 2);
    CHECK_STR(text(transfer, "reason"), "inherited");
    CHECK_STR(text(json_object_get(transfer, "to"), "role"), "second");
    CHECK_EQ(number(json_object_get(transfer, "last_death"), "code"), SIGSEGV);
    json_decref(object);
    CTL(0, "events");
    SAYS("client 1 (baker), pid ");
    SAYS("died: signal 11, SIGSEGV; 2 tables handed on in ");
    SAYS(
        "table bread: epoch 2, client 1 (baker) -> client 2 (second), inherited (signal 11, SIGSEGV), at transaction ");
    SAYS("1 change undone");
    CHECK_EQ(counter("deaths", "signal"), 1);
    CHECK_EQ(counter("deaths", "exit"), 0);
    CHECK_EQ(counter("transfers", "inherited"), 2);
    CHECK_EQ(counter("reclaims", ""), 1);
    CHECK_EQ(counter("rollbacks", ""), 1);
    CHECK_EQ(counter("undone", ""), 1);
    CHECK_EQ(counter("tables_created", ""), 2);
    CHECK(counter("reclaim", "") == counter("reclaim_max", "") && counter("reclaim", "") > 0);
}

/* Each kind but those above; and all of it is still there under the next keeper. */
static void events_of_all_kinds(void)
{
    struct agent *a = keeper_and_owner("t"), *b = agent_new("second");
    DO(a, 0, "rename t u");
    DO(a, 0, "release u");
    DO(b, 0, "claim u 0");
    CTL(0, "revoke", "u");
    DO(b, 0, "claim u 0");
    DO(b, 0, "begin u");
    CTL(0, "revoke", "--force", "u");
    CHECK_RC(agent_reap(b, PATIENCE), 0);
    DO(a, 0, "claim u 0");
    DO(a, 0, "destroy u");
    DO(a, 0, "create damaged");
    DO(a, 0, "release damaged");
    CHECK_RC(agent_end(a), 0);
    HAPPENS("left", 1);
    HAPPENS("death", 1);
    keeper_kill();
    damage("damaged");
    size_t before = count_events("transfer");
    json_t *object = CTL_JSON(0, "events"); /* without a keeper */
    CHECK_STR(text(event(object, "renamed", 0), "before"), "t");
    CHECK_STR(text(event(object, "renamed", 0), "table"), "u");
    CHECK_STR(text(event(object, "transfer", 0), "reason"), "released");
    CHECK_STR(text(event(object, "transfer", 1), "reason"), "claimed");
    CHECK_STR(text(event(object, "transfer", 2), "reason"), "revoked");
    CHECK_EQ(number(event(object, "killed", 0), "pid"), b->status == 0 ? 0 : number(event(object, "death", 0), "pid"));
    CHECK_STR(text(event(object, "destroyed", 0), "table"), "u");
    CHECK(event(object, "damaged", 0) == NULL);
    json_decref(object);
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK_EQ(count_events("transfer"), before);
    CHECK_EQ(count_events("keeper-start"), 2);
    CHECK_EQ(count_events("damaged"), 1);
    CHECK_EQ(counter("keepers", ""), 2);
    CHECK_EQ(counter("transfers", "revoked"), 2);
    CHECK_EQ(counter("tables_renamed", ""), 1);
    CHECK_EQ(counter("tables_destroyed", ""), 1);
    CHECK_EQ(counter("tables_damaged", ""), 1);
    CHECK_EQ(counter("owners_killed", ""), 1);
    CHECK_EQ(counter("clients_closed", ""), 1);
    keeper_stop();
    CHECK_EQ(count_events("keeper-stop"), 1);
    CTL(0, "events", "--count", "1");
    SAYS("keeper, pid ");
    CHECK(strchr(out.out, '\n') == strrchr(out.out, '\n'), "one line: %s", out.out);
    world.expect_rest = true;
}

struct round {
    uint64_t count, last, epoch;
};

static int in_order(const struct heir_happening *h, void *arg)
{
    struct round *round = arg;
    CHECK(round->last == 0 || h->sequence == round->last + 1);
    *round = (struct round){round->count + 1, h->sequence, h->epoch};
    return 0;
}

/* More than there is room for: the last ones are there, each once and in order, and who follows is told. */
static void events_go_round(void)
{
    struct agent *a = keeper_and_owner("t");
    struct program *follower = program_start((const char *const[]){"heirctl", "events", "--follow", NULL});
    char line[1024] = "";
    REQUIRE(follower != NULL);
    while (strstr(line, "created by") == NULL)
        REQUIRE(program_line(follower, line, sizeof line, PATIENCE) > 0);
    DO(a, 0, "release t");
    CHECK(program_line(follower, line, sizeof line, PATIENCE) > 0);
    CHECK(strstr(line, "epoch 2, client 1 (baker) -> keeper, released") != NULL, "%s", line);
    program_signal(follower, SIGSTOP);
    for (int i = 0; i < 400; i++) {
        DO(a, 0, "claim t 0");
        DO(a, 0, "release t");
    }
    struct round round = {0};
    CHECK_EQ(heir_inspect_events(NULL, 0, in_order, &round), 0);
    CHECK_EQ(round.count, 512);
    CHECK_EQ(round.last, 803); /* with the keeper's start, and the creation */
    CHECK_EQ(round.epoch, 802);
    round = (struct round){.last = 800};
    CHECK_EQ(heir_inspect_events(NULL, 800, in_order, &round), 0);
    CHECK_EQ(round.count, 3);
    CHECK_EQ(heir_inspect_events(NULL, 803, in_order, &round), 0);
    CHECK_EQ(round.count, 3);
    round = (struct round){0};
    CHECK_EQ(heir_inspect_events(NULL, 804, in_order, &round), 0); /* of another journal */
    CHECK_EQ(round.count, 512);
    CHECK_EQ(heir_inspect_events(NULL, 0, NULL, NULL), -EINVAL);
    CHECK_EQ(heir_inspect_counters("a/b", NULL, NULL), -EINVAL);
    program_signal(follower, SIGCONT);
    int missed = 0, told = 0, most = 0;
    while (strstr(line, "epoch 802,") == NULL) {
        int rc = program_line(follower, line, sizeof line, PATIENCE);
        REQUIRE(rc > 0, "%d: %d missed, %d told", rc, missed, told);
        most = sscanf(line, "-- %d events were overwritten before they could be read", &missed) == 1 ? most + 1 : most;
        told += strstr(line, "table t: epoch ") != NULL;
    }
    CHECK_EQ(most, 1);
    CHECK_EQ(missed + told, 800); /* epochs 3 to 802 */
    program_signal(follower, SIGTERM);
    CHECK_EQ(program_wait(follower, PATIENCE), 128 + SIGTERM);
}

/* A keeper of before the journal left an object of one page. */
static void events_after_an_old_keeper(void)
{
    char path[256];
    struct agent *a = keeper_and_owner("t");
    keeper_kill();
    shm_path(path, sizeof path, "k", "");
    CHECK_EQ(truncate(path, 4096), 0);
    CTL(0, "events");
    CHECK_STR(out.out, "");
    CTL(0, "stats");
    REQUIRE_EQ(keeper_start(NULL), 0);
    DO(a, 0, "put t k v");
    DO(a, 0, "release t");
    CHECK_EQ(count_events("transfer"), 1);
    keeper_kill();
    CHECK_EQ(truncate(path, 4096), 0);
    REQUIRE_EQ(keeper_start((const char *const[]){"--purge", NULL}), 0);
    CHECK_EQ(count_events("keeper-start"), 1);
    keeper_kill();
    CHECK_EQ(truncate(path, 100), 0); /* damaged */
    CTL(1, "events");
    json_decref(CTL_JSON(1, "stats"));
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* ---- stats -------------------------------------------------------------------------------------------- */

static void stats(void)
{
    struct agent *a = keeper_and_owner("t.-_9"), *b = agent_new("second");
    DO(a, 0, "put t.-_9 k v");
    agent_send(b, "claim t.-_9 -1 none");
    for (int64_t end = now_ms() + patience(PATIENCE); counter("claims_waited", "") != 1 && now_ms() < end;)
        ;
    CHECK_EQ(counter("claims_waited", ""), 1);
    CHECK_EQ(counter("clients_opened", ""), 2);
    CTL(0, "stats", "--prometheus");
    SAYS("# HELP heir_deaths_total clients that died, by how they ended\n# TYPE heir_deaths_total counter\n");
    SAYS(",cause=\"signal\"} 0\n");
    SAYS("heir_table_objects{namespace=\"");
    SAYS("\",table=\"t.-_9\"} 1\n");
    SAYS("# TYPE heir_reclaim_max_seconds gauge\n");
    SAYS("state=\"running\"} 2\n");
    /* every line is a comment or a sample, and no metric is described twice */
    SHELL(0,
          "heirctl() { \"$HEIR_TEST_BINDIR/heirctl\" \"$@\"; }; heirctl stats --prometheus >%s/m && "
          "! grep -v -E '^# (HELP|TYPE) heir_[a-z_]+ .+$|^heir_[a-z_]+\\{([a-z]+=\"[^\"]*\",?)+\\} [0-9.]+$' %s/m && "
          "test -z \"$(grep TYPE %s/m | sort | uniq -d)\" && rm %s/m",
          world.dir, world.dir, world.dir, world.dir);
    CTL(0, "stats");
    SAYS("deaths signal");
    CTL(2, "stats", "--prometheus", "--json");
    CTL(2, "stats", "t");
    CTL(2, "events", "t");
    CTL(2, "events", "--count", "x");
    CTL(2, "events", "--count");
    CTL(2, "events", "--prometheus");
    DO(a, 0, "release t.-_9");
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    keeper_kill();
    CTL(0, "stats"); /* without a keeper */
    CTL(0, "--namespace", "no-such-one", "stats");
    CTL(0, "--namespace", "no-such-one", "events");
    COMPLAINS("nothing has happened");
    damage("t.-_9");
    json_t *object = CTL_JSON(0, "stats");
    CHECK_EQ(number(object, "tables"), 0);
    CHECK_EQ(number(object, "unreadable"), 1);
    json_decref(object);
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* ---- watch -------------------------------------------------------------------------------------------- */

/* The next line with this in it; the others are thrown away. */
static void watched(struct program *watch, const char *expected)
{
    char line[1024] = "", all[4096] = "";
    while (program_line(watch, line, sizeof line, PATIENCE) > 0) {
        if (strstr(line, expected) != NULL)
            return;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s\n", line);
    }
    CHECK(false, "watch has not said: %s, but: %s", expected, all);
}

static void watch(void)
{
    char line[1024];
    struct agent *a = keeper_and_owner("t"), *b = agent_new("second");
    struct program *w = program_start((const char *const[]){"heirctl", "watch", NULL});
    struct program *one = program_start((const char *const[]){"heirctl", "--json", "watch", "later", NULL});
    REQUIRE(w != NULL && one != NULL);
    /* it has begun when it tells of this */
    DO(a, 0, "create probe");
    for (bool begun = false; !begun;) {
        DO(a, 0, "release probe");
        DO(a, 0, "claim probe 0");
        begun = program_line(w, line, sizeof line, 100) > 0;
    }
    /* the keeper's: nothing is missing */
    DO(a, 0, "release t");
    watched(w, "table t: epoch 2, client 1 (baker) -> keeper, released");
    DO(b, 0, "claim t 0");
    watched(w, "table t: epoch 3, keeper -> client 2 (second), claimed");
    /* directly, and without a keeper */
    DO(b, 0, "give t %llu", (unsigned long long)a->id);
    watched(w, "table t: epoch 4, client 2 (second) -> client 1 (baker), given");
    while (agent_do(a, "wait 0") == 0)
        ;
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    watched(w, "table t: epoch 5, ");
    keeper_kill();
    DO(b, 0, "give t %llu", (unsigned long long)a->id);
    watched(w, "table t: epoch 6, client 2 (second) -> client 1 (baker), given");
    REQUIRE_EQ(keeper_start(NULL), 0);
    watched(w, ", starts");
    /* more than it can see: it says so */
    program_signal(w, SIGSTOP);
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    DO(b, 0, "give t %llu", (unsigned long long)a->id);
    DO(a, 0, "give t %llu", (unsigned long long)b->id);
    program_signal(w, SIGCONT);
    watched(w, "-- table t: the transfers of epochs 7 to 8 were not seen");
    watched(w, "table t: epoch 9, client 1 (baker) -> client 2 (second), given");
    agent_signal(b, SIGKILL);
    watched(w, "client 2 (second), pid ");
    watched(w, "table t: epoch 10, client 2 (second) -> keeper, inherited (signal 9, SIGKILL)");
    CHECK_RC(agent_reap(b, PATIENCE), 0);
    /* one table, which was not there */
    DO(a, 0, "create later");
    watched(one, "\"created\"");
    DO(a, 0, "destroy later");
    watched(one, "\"destroyed\"");
    program_signal(w, SIGTERM);
    program_signal(one, SIGTERM);
    CHECK_EQ(program_wait(w, PATIENCE), 128 + SIGTERM);
    CHECK_EQ(program_wait(one, PATIENCE), 128 + SIGTERM);
    CTL(2, "watch", "a/b");
}

const struct test events_tests[] = {{"events: of a death", events_of_a_death},
                                    {"events: of all kinds", events_of_all_kinds},
                                    {"events: go round", events_go_round},
                                    {"events: after an old keeper", events_after_an_old_keeper},
                                    {"stats", stats},
                                    {"watch", watch},
                                    {NULL, NULL}};
