/* SPDX-License-Identifier: MIT */
/* heirctl watch --changes: each committed change, in its place, or a line that says which were lost. */
#include "heirctl.h"

#include <heir/inspect.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A watcher that has begun, which its first line tells. */
static struct program *watcher(const char *const argv[])
{
    char line[1024] = "";
    struct program *w = program_start(argv);
    REQUIRE(w != NULL);
    REQUIRE(program_line(w, line, sizeof line, PATIENCE) > 0);
    REQUIRE(strstr(line, "table t: changes after transaction ") != NULL, "%s", line);
    return w;
}

#define WATCH(...) watcher((const char *const[]){"heirctl", "watch", "--changes", __VA_ARGS__, NULL})

/* The next line, without its time. */
static void next_is(const char *file, int number, const char *function, struct program *w, const char *expected)
{
    char line[2048] = "";
    int rc = program_line(w, line, sizeof line, PATIENCE);
    const char *rest = strstr(line, "Z  ");
    check_true(file, number, function, rc > 0, "a line", "%d", rc);
    check_str(file, number, function, rest != NULL && line[0] == '2' ? rest + 3 : line, expected, "the next line");
}

#define NEXT(w, expected) next_is(HERE, w, expected)

/* The next line with this in it. */
static void later(const char *file, int number, const char *function, struct program *w, const char *expected)
{
    char line[2048] = "";
    while (program_line(w, line, sizeof line, PATIENCE) > 0) {
        if (strstr(line, expected) != NULL)
            return;
    }
    check_true(file, number, function, false, expected, "has not been said");
}

#define LATER(w, expected) later(HERE, w, expected)

static void ends(struct program *w, int signal)
{
    program_signal(w, signal);
    CHECK_EQ(program_wait(w, PATIENCE), 128 + signal);
}

/* ---- What is shown ------------------------------------------------------------------------------------ */

static void of_a_set(void)
{
    struct agent *a = keeper_and_owner("t"), *b = agent_new("second");
    DO(a, 0, "put t before x");
    struct program *w = WATCH("t", "u");
    DO(a, 0, "put t k v");
    NEXT(w, "table t: transaction 3, put k = v");
    DO(a, 0, "put t k w");
    DO(a, 0, "del t before");
    NEXT(w, "table t: transaction 4, put k = w");
    NEXT(w, "table t: transaction 5, deleted before = x");
    DO(a, 0, "begin t");
    DO(a, 0, "put t never x");
    DO(a, 0, "abort t");
    DO(a, 0, "begin t");
    DO(a, 0, "put t one 1");
    DO(a, 0, "put t two 2");
    DO(a, 0, "del t one");
    DO(a, -ENOENT, "del t one");
    DO(a, 0, "commit t");
    DO(a, 0, "clear t");
    DO(a, 0, "clear t"); /* which changes nothing */
    NEXT(w, "table t: transaction 6, put one = 1");
    NEXT(w, "table t: transaction 6, put two = 2");
    NEXT(w, "table t: transaction 6, deleted one = 1");
    NEXT(w, "table t: transaction 7, cleared");
    DO(a, 0, "add t n 1");
    NEXT(w, "table t: transaction 8, put n = 0x0100000000000000");
    /* a table that was not there */
    DO(b, 0, "create u type=1");
    LATER(w, "table u: changes after transaction 1");
    DO(b, 0, "put u z 1");
    LATER(w, "table u: transaction 2, put z = 1");
    /* what the dead had not committed is not shown */
    DO(a, 0, "begin t");
    DO(a, 0, "put t undone x");
    DO(b, 0, "attach t");
    agent_send(b, "claim t -1");
    agent_kill(a);
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    DO(b, 0, "put t next y");
    LATER(w, ", inherited (signal 9, SIGKILL), at transaction 8, 1 change undone");
    LATER(w, "table t: transaction 9, put next = y");
    ends(w, SIGTERM);
}

/* Bytes that are not text, long ones, and in JSON all of them. */
static void of_bytes(void)
{
    char longer[301], expected[512];
    struct agent *a = keeper_and_owner("t type=1");
    DO(a, 0, "release t");
    struct program *w = WATCH("t"), *j = WATCH("t", "--json");
    memset(longer, 'x', sizeof longer - 1);
    longer[300] = '\0';
    CTL(0, "put", "t", "0x00ff", "0x");
    LATER(w, "put 0x00ff = ");
    LATER(j, "\"key\":\"0x00ff\",\"value\":\"\",\"length\":0}");
    CTL(0, "put", "t", "long", longer);
    snprintf(expected, sizeof expected, "put long = %.64s... (300 bytes)", longer);
    LATER(w, expected);
    snprintf(expected, sizeof expected, "\"key\":\"long\",\"value\":\"%s\",\"length\":300}", longer);
    LATER(j, expected);
    memcpy(longer + 63, "\xc3\xa9", 2); /* not in the middle of a character */
    CTL(0, "put", "t", "long", longer);
    snprintf(expected, sizeof expected, "put long = %.63s... (300 bytes)", longer);
    LATER(w, expected);
    CTL(0, "put", "t", longer, "0x0a1b");
    snprintf(expected, sizeof expected, "put %.63s... (300 bytes) = 0x0a1b", longer);
    LATER(w, expected);
    ends(w, SIGHUP);
    ends(j, SIGTERM);
}

static void of_bags_in_json(void)
{
    char line[1024] = "";
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("baker");
    DO(a, 0, "create t type=3"); /* a duplicate bag */
    struct program *w = WATCH("t"), *j = WATCH("t", "--json");
    DO(a, 0, "put t k 1");
    DO(a, 0, "put t k 2");
    DO(a, 0, "put t k 1");
    NEXT(w, "table t: transaction 2, put k = 1");
    NEXT(w, "table t: transaction 3, put k = 2");
    NEXT(w, "table t: transaction 4, put k = 1");
    DO(a, 0, "take t k");
    DO(a, 0, "del t k");
    NEXT(w, "table t: transaction 5, deleted k = 1");
    NEXT(w, "table t: transaction 6, deleted k = 2");
    NEXT(w, "table t: transaction 6, deleted k = 1");
    DO(a, 0, "put t again 9");
    DO(a, 0, "clear t");
    static const struct {
        const char *kind, *key, *value;
        int transaction, last;
    } want[] = {{"put", "k", "1", 2, 1},     {"put", "k", "2", 3, 1},      {"put", "k", "1", 4, 1},
                {"deleted", "k", "1", 5, 1}, {"deleted", "k", "2", 6, 0},  {"deleted", "k", "1", 6, 1},
                {"put", "again", "9", 7, 1}, {"cleared", NULL, NULL, 8, 1}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        REQUIRE(program_line(j, line, sizeof line, PATIENCE) > 0);
        json_t *object = json_loads(line, 0, NULL);
        REQUIRE(object != NULL, "%s", line);
        CHECK_STR(text(object, "kind"), want[i].kind);
        CHECK_STR(text(object, "table"), "t");
        CHECK(number(object, "table_id") > 0 && strlen(text(object, "time")) == 27);
        CHECK_EQ(number(object, "transaction"), want[i].transaction);
        CHECK_EQ(json_is_true(json_object_get(object, "last")), want[i].last);
        if (want[i].key != NULL) {
            CHECK_STR(text(object, "key"), want[i].key);
            CHECK_STR(text(object, "value"), want[i].value);
            CHECK_EQ(number(object, "length"), 1);
        } else {
            CHECK(json_object_get(object, "key") == NULL && json_object_get(object, "value") == NULL);
        }
        json_decref(object);
    }
    ends(w, SIGTERM);
    ends(j, SIGTERM);
}

/* ---- What is lost, and what is not -------------------------------------------------------------------- */

#define FLOOD 5000

static int write_flood(struct agent_self *self, void *arg)
{
    int rc = 0;
    (void)arg;
    for (int i = 0; i < FLOOD && rc == 0; i++)
        rc = heir_put(agent_table(self, "t"), "key", 3, &i, sizeof i);
    return rc;
}

/* A watcher that stands still meanwhile. */
static void flood_unseen(struct program *w, struct agent *a)
{
    program_signal(w, SIGSTOP);
    CHECK_RC(agent_call(a, write_flood, NULL, 0), 0);
    program_signal(w, SIGCONT);
}

/* Then every transaction is told, once, or lost. */
static void flood(struct program *w, struct agent *a, unsigned *told, unsigned *lost, unsigned *gaps)
{
    char line[1024];
    struct heir_info info;
    DO(a, 0, "info t");
    info = a->answer.info;
    flood_unseen(w, a);
    *told = *lost = *gaps = 0;
    for (unsigned long next = info.committed + 1, from, to; next <= info.committed + FLOOD; next = to + 1) {
        REQUIRE(program_line(w, line, sizeof line, PATIENCE) > 0);
        const char *change = strstr(line, "table t: transaction ");
        if (sscanf(line, "-- table t: lost: transactions %lu to %lu", &from, &to) == 2) {
            *lost += (unsigned)(to - from + 1);
            ++*gaps;
        } else if (change != NULL && sscanf(change, "table t: transaction %lu, put key = ", &from) == 1) {
            to = from;
            ++*told;
        } else {
            REQUIRE(false, "%s", line);
        }
        REQUIRE(from == next && to >= from, "%lu expected: %s", next, line);
    }
    CHECK_EQ(*told + *lost, FLOOD);
}

static void nothing_is_lost(void)
{
    unsigned told, lost, gaps;
    struct agent *a = keeper_and_owner("t");
    struct program *w = WATCH("t");
    flood(w, a, &told, &lost, &gaps);
    CHECK_EQ(lost, 0);
    CTL(0, "clients");
    SAYS("heirctl");
    /* the next keeper holds it, too */
    keeper_kill();
    DO(a, 0, "put t k v");
    NEXT(w, "table t: transaction 5002, put k = v");
    REQUIRE_EQ(keeper_start(NULL), 0);
    LATER(w, ", starts");
    flood(w, a, &told, &lost, &gaps);
    CHECK_EQ(lost, 0);
    ends(w, SIGTERM);
}

/* Not held: there is no keeper, or --no-pin. */
static void what_is_lost(void)
{
    unsigned told, lost, gaps;
    char line[1024] = "";
    struct agent *a = keeper_and_owner("t");
    struct program *w = program_start((const char *const[]){"heirctl", "watch", "t", "--changes", "--no-pin", NULL});
    REQUIRE(w != NULL && program_line(w, line, sizeof line, PATIENCE) > 0);
    CHECK_STR(line, "-- table t: changes after transaction 1, held by nobody: some may be lost");
    CTL(0, "clients");
    CHECK(strstr(out.out, "heirctl") == NULL, "%s", out.out);
    flood(w, a, &told, &lost, &gaps);
    CHECK(gaps == 1 && told >= 64, "%u told, %u lost in %u gaps", told, lost, gaps);
    ends(w, SIGTERM);
    keeper_kill();
    w = WATCH("t");
    flood(w, a, &told, &lost, &gaps);
    CHECK(gaps == 1 && told >= 64, "%u told, %u lost in %u gaps", told, lost, gaps);
    struct program *j = WATCH("--json", "t");
    flood_unseen(j, a);
    REQUIRE(program_line(j, line, sizeof line, PATIENCE) > 0);
    json_t *object = json_loads(line, 0, NULL);
    CHECK_STR(text(object, "kind"), "lost");
    CHECK_EQ(number(object, "transaction"), 2 * FLOOD + 2);
    CHECK(number(object, "to_transaction") > 2 * FLOOD + 2);
    CHECK(json_object_get(object, "last") == NULL);
    json_decref(object);
    ends(w, SIGTERM);
    ends(j, SIGTERM);
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* ---- In their place ----------------------------------------------------------------------------------- */

/* Between the transfers to which they belong: the owners' own. */
static void between_transfers(void)
{
    char expected[256];
    struct agent *a = keeper_and_owner("t"), *b = agent_new("second"), *of[] = {a, b};
    struct program *w = WATCH("t");
    for (int i = 0; i < 20; i++) {
        DO(of[i % 2], 0, "put t k%d v", i);
        DO(of[i % 2], 0, "release t");
        DO(of[(i + 1) % 2], 0, "claim t 0");
    }
    for (int i = 0; i < 20; i++) {
        snprintf(expected, sizeof expected, "table t: transaction %d, put k%d = v", i + 2, i);
        NEXT(w, expected);
        snprintf(expected, sizeof expected, "table t: epoch %d, client %d (%s) -> keeper, released, at transaction %d",
                 2 * i + 2, i % 2 + 1, i % 2 ? "second" : "baker", i + 2);
        NEXT(w, expected);
        snprintf(expected, sizeof expected, "table t: epoch %d, keeper -> client %d (%s), claimed, at transaction %d",
                 2 * i + 3, (i + 1) % 2 + 1, i % 2 ? "baker" : "second", i + 2);
        NEXT(w, expected);
    }
    ends(w, SIGTERM);
}

/* ---- Ends --------------------------------------------------------------------------------------------- */

static int count_deaths(const struct heir_happening *h, void *arg)
{
    *(int *)arg += h->kind == HEIR_DEATH;
    return 0;
}

static void ends_and_errors(void)
{
    int deaths = 0;
    struct agent *a = keeper_and_owner("t");
    struct program *w = WATCH("t"), *i = WATCH("t"), *p = WATCH("t");
    /* another name; the table of the old one is a new one */
    DO(a, 0, "put t k v");
    DO(a, 0, "rename t u");
    NEXT(w, "table t: transaction 2, put k = v");
    NEXT(w, "table t: renamed to u");
    NEXT(w, "-- table t: removed, renamed or not readable: its changes end after transaction 2");
    DO(a, 0, "create t");
    LATER(w, "table t: changes after transaction 1");
    DO(a, 0, "put t k new");
    LATER(w, "table t: transaction 2, put k = new");
    DO(a, 0, "destroy t");
    NEXT(w, "table t: destroyed, last owner client 1 (baker)");
    NEXT(w, "-- table t: removed, renamed or not readable: its changes end after transaction 2");
    /* stopped in whatever way: it leaves, and dies of it all the same */
    ends(w, SIGTERM);
    ends(i, SIGINT);
    close(p->out);
    p->out = -1;
    DO(a, 0, "create t");
    CHECK_EQ(program_wait(p, PATIENCE), 128 + SIGPIPE);
    CHECK_EQ(heir_inspect_events(NULL, 0, count_deaths, &deaths), 0);
    CHECK_EQ(deaths, 0);
    CTL(2, "watch", "--changes");
    COMPLAINS("--changes wants at least one TABLE");
    CTL(2, "watch", "--no-pin", "t");
    CTL(2, "watch", "--changes", "t", "a/b");
    COMPLAINS("'a/b' cannot be a table");
    CTL(2, "watch", "--changes=t");
    CTL(2, "events", "--changes", "t");
    DO(a, 0, "release t");
    keeper_kill();
    damage("t");
    CTL(1, "watch", "--changes", "t");
    COMPLAINS("cannot read the changes of the table 't'");
    json_decref(CTL_JSON(1, "watch", "--changes", "t"));
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* The history goes bad under its hands. */
static void damaged_meanwhile(void)
{
    char path[256];
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "put t k v");
    struct program *w = WATCH("t");
    DO(a, 0, "put t k w");
    NEXT(w, "table t: transaction 3, put k = w");
    shm_path(path, sizeof path, "t.", "t");
    FILE *f = fopen(path, "r+b");
    const uint64_t beyond = UINT64_C(1) << 40;
    REQUIRE(f != NULL);
    CHECK(fseek(f, 192 + 8, SEEK_SET) == 0 && fwrite(&beyond, 8, 1, f) == 1); /* the horizon: see struct view */
    fclose(f);
    DO(a, 0, "put t k x");
    CHECK_EQ(program_wait(w, PATIENCE), 1);
    agent_kill(a);
    world.expect_rest = true;
}

const struct test changes_tests[] = {{"changes: of a set", of_a_set},
                                     {"changes: of bytes", of_bytes},
                                     {"changes: of bags, in JSON", of_bags_in_json},
                                     {"changes: nothing is lost", nothing_is_lost},
                                     {"changes: what is lost", what_is_lost},
                                     {"changes: between transfers", between_transfers},
                                     {"changes: ends and errors", ends_and_errors},
                                     {"changes: damaged meanwhile", damaged_meanwhile},
                                     {NULL, NULL}};
