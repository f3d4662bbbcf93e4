/* SPDX-License-Identifier: MIT */
/* heirctl give, rm, purge and explain: whom, what is refused, and that a refusal changes nothing. */
#include "heirctl.h"

#include <stdio.h>
#include <string.h>

static uint64_t epoch(const char *table)
{
    json_t *object = CTL_JSON(0, "info", table);
    uint64_t epoch = (uint64_t)number(object, "epoch");
    json_decref(object);
    return epoch;
}

/* ---- give --------------------------------------------------------------------------------------------- */

static void give_it(void)
{
    char id[32];
    struct agent *a = keeper_and_owner("t"), *b = agent_new("sec.ond-1"), *younger = agent_new("sec.ond-1");
    DO(a, 0, "put t k v");
    CTL(1, "give", "t", "sec.ond-1"); /* a living client owns it */
    COMPLAINS("baker");
    COMPLAINS("heirctl revoke t");
    DO(a, 0, "put t k v"); /* and still does */
    DO(a, 0, "release t");
    CTL(0, "give", "t", "sec.ond-1");
    SAYS("sec.ond-1");
    EVENT(b, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "");
    DO(b, 0, "put t k w");
    NO_EVENT(younger);
    DO(b, 0, "release t");
    snprintf(id, sizeof id, "%d", (int)younger->id);
    json_t *object = CTL_JSON(0, "give", "t", id);
    CHECK_STR(text(object, "table"), "t");
    CHECK_EQ(number(json_object_get(object, "to"), "id"), younger->id);
    CHECK_EQ(number(json_object_get(object, "to"), "pid"), younger->pid);
    CHECK_STR(text(json_object_get(object, "to"), "role"), "sec.ond-1");
    json_decref(object);
    EVENT(younger, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "t", "");
    /* a public one has an owner, too */
    DO(a, 0, "create p access=public");
    CTL(1, "give", "p", id);
    COMPLAINS("baker");
    DO(a, 0, "release p");
    CTL(0, "give", "p", id);
    EVENT(younger, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "p", "");
    json_decref(CTL_JSON(1, "give", "t", id));
}

static void give_refuses(void)
{
    char id[32];
    struct agent *a = keeper_and_owner("t"), *b = agent_new("second");
    DO(a, 0, "release t");
    uint64_t before = epoch("t");
    CTL(1, "give", "t", "nobody");
    COMPLAINS("nobody");
    COMPLAINS("heirctl clients");
    CTL(1, "give", "t", "heirctl"); /* itself */
    json_decref(CTL_JSON(1, "give", "t", "nobody"));
    CHECK_EQ(epoch("t"), before);
    CTL(1, "give", "t", "4711");
    COMPLAINS("4711");
    snprintf(id, sizeof id, "%d", (int)b->id);
    CHECK_RC(agent_end(b), 0);
    CTL(1, "give", "t", id);
    CTL(1, "give", "none", "baker");
    COMPLAINS("none");
    CTL(2, "give");
    CTL(2, "give", "t");
    CTL(2, "give", "t", "baker", "x");
    CTL(2, "give", "t", "0");
    CTL(2, "give", "t", "a/b");
    CTL(2, "give", "t", "");
    CTL(2, "give", ".t", "baker");
    CTL(2, "give", "t", "baker", "--yes");
    DO(a, 0, "claim t 0"); /* it is nobody's after all of this */
    DO(a, 0, "release t");
    damage("t");
    CTL(1, "give", "t", "baker");
    keeper_kill();
    CTL(3, "give", "t", "baker");
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* ---- rm ----------------------------------------------------------------------------------------------- */

static void rm(void)
{
    static const char name[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-.01234567";
    struct agent *a = keeper_and_owner("t"), *reader = agent_new("reader");
    DO(a, 0, "put t k v");
    DO(reader, 0, "attach t");
    CTL(1, "rm", "t", "--yes"); /* a living client owns it */
    COMPLAINS("baker");
    COMPLAINS("heirctl revoke t");
    DO(a, 0, "put t k v");
    DO(a, 0, "release t");
    CTL(2, "rm", "t"); /* nobody can be asked */
    COMPLAINS("--yes");
    CHECK_EQ(shm_count("t."), 1);
    CTL(0, "rm", "t", "--yes");
    SAYS("with 1 object");
    CHECK_EQ(shm_count("t."), 0);
    DO(reader, 0, "get t k"); /* as heir_destroy() says */
    CTL(1, "rm", "t", "--yes");
    COMPLAINS("heirctl ls");
    json_decref(CTL_JSON(1, "rm", "t", "--yes"));
    DO(a, 0, "create %s access=private heir=%s", name, HEIR_NOBODY);
    DO(a, 0, "create p access=public");
    CTL(1, "rm", "p", "--yes");
    DO(a, 0, "release p");
    CTL(0, "rm", "--yes", "p");
    CTL(0, "revoke", name);
    json_t *object = CTL_JSON(0, "rm", name, "--yes");
    CHECK_STR(text(object, "table"), name);
    CHECK(json_is_true(json_object_get(object, "removed")));
    json_decref(object);
    CHECK_EQ(shm_count("t."), 0);
    DO(a, 0, "create t");
    DO(a, 0, "release t");
    CTL(2, "rm");
    CTL(2, "rm", "t", "u", "--yes");
    CTL(2, "rm", "t", "--yes=1");
    CTL(2, "ls", "--yes");
    keeper_kill();
    CTL(3, "rm", "t", "--yes");
    damage("t");
    REQUIRE_EQ(keeper_start(NULL), 0);
    CTL(1, "info", "t");
    CTL(0, "rm", "t", "--yes"); /* set aside */
    SAYS("damaged");
    CTL(1, "rm", "t", "--yes");
    CHECK_EQ(shm_count("t."), 0);
    json_t *status = CTL_JSON(0, "ping");
    CHECK_EQ(number(status, "damaged"), 0);
    json_decref(status);
    struct agent *b = agent_new("second");
    DO(b, 0, "create t");
}

/* ---- gc ----------------------------------------------------------------------------------------------- */

static void make_file(const char *kind, const char *name, const char *how)
{
    char path[256];
    shm_path(path, sizeof path, kind, name);
    SHELL(0, "%s >%s", how, path);
}

/* What belongs to nobody goes; what a keeper would adopt, hand on or set aside stays. */
static void gc(void)
{
    struct agent *a = keeper_and_owner("kept"), *owner = agent_new("owner"), *idle = agent_new("idle");
    DO(a, 0, "put kept k v");
    DO(owner, 0, "create orphan");
    DO(a, 0, "create damaged");
    CTL(1, "gc");
    COMPLAINS("a keeper runs");
    keeper_kill();
    uint64_t dead = idle->id;
    agent_kill(owner);
    agent_kill(idle);
    damage("damaged");
    make_file("t.", "empty", ":");
    make_file("t.", "half", "head -c 65536 /dev/zero");
    make_file("c.", "4711", "truncate -s 8M /dev/stdout");
    CTL(0, "gc", "--dry-run");
    SAYS("table half: half-made, 64KiB\n");
    SAYS("nothing was removed");
    CHECK_EQ(shm_count("t."), 5);
    json_t *object = CTL_JSON(0, "gc");
    const json_t *list = json_object_get(object, "leftovers");
    CHECK_EQ(json_array_size(list), 4);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *leftover = json_array_get(list, i);
        char id[32];
        snprintf(id, sizeof id, "%llu", (unsigned long long)dead);
        if (strcmp(text(leftover, "why"), "dead") == 0)
            CHECK_STR(text(leftover, "name"), id);
        else
            CHECK_STR(text(leftover, "why"), "half-made");
    }
    json_decref(object);
    CHECK_EQ(shm_count("t."), 3);
    CHECK_EQ(shm_count("c."), 2); /* of who lives, and of who owns the orphan */
    DO(a, 0, "put kept k w");
    CTL(0, "gc");
    SAYS("0 things");
    CTL(0, "--namespace", "no-such-one", "gc");
    SAYS("0 things");
    CTL(2, "gc", "x");
    CTL(2, "gc", "--yes");
    REQUIRE_EQ(keeper_start(NULL), 0);
    DO(a, 0, "claim orphan -1");
    CTL(0, "rm", "damaged", "--yes");
}

/* A person is asked: script(1) makes the terminal. */
static void rm_asks(void)
{
    if (program_run((const char *const[]){"/bin/sh", "-c", "command -v script", NULL}, NULL, &out) != 0) {
        test_skip("script (bsdutils) is not installed");
        return;
    }
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "release t");
    static const char *const answers[] = {"n", "", "yess", "y"};
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(shm_count("t."), 1);
        SHELL(i < 3, "echo '%s' | script -qec '$HEIR_TEST_BINDIR/heirctl rm t' /dev/null", answers[i]);
        SAYS("Remove the table 't'");
        SAYS(i < 3 ? "nothing was done" : "was removed");
    }
    CHECK_EQ(shm_count("t."), 0);
}

/* ---- purge -------------------------------------------------------------------------------------------- */

static void purge(void)
{
    char path[256];
    struct agent *a = keeper_and_owner("b.-_readA1"), *dead = agent_new("second");
    DO(a, 0, "create damaged");
    DO(dead, 0, "create orphan");
    CTL(1, "purge", "--yes");
    COMPLAINS("a keeper runs");
    CHECK_EQ(shm_count("t."), 3);
    DO(a, 0, "put b.-_readA1 k v");
    CTL(0, "ping"); /* it has not noticed */
    keeper_kill();
    agent_kill(dead);
    damage("damaged");
    shm_path(path, sizeof path, "t.", "half"); /* as creating leaves it when it is killed */
    SHELL(0, ": >%s", path);
    CTL(2, "purge"); /* nobody can be asked */
    COMPLAINS("--yes");
    CTL(2, "purge", "x", "--yes");
    CHECK_EQ(shm_count("t."), 4);
    json_t *object = CTL_JSON(0, "purge", "--yes");
    CHECK_STR(text(object, "namespace"), world.ns);
    CHECK_EQ(json_array_size(json_object_get(object, "tables")), 4);
    CHECK_EQ(number(object, "clients"), 2);
    json_decref(object);
    CHECK_EQ(shm_count(""), 0);
    DO(a, -ENOTCONN, "put b.-_readA1 k w");
    CTL(0, "purge", "--yes"); /* nothing to do */
    SAYS("0 tables");
    CHECK_EQ(shm_count(""), 0);
    /* it is a namespace as any */
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *b = agent_new("third");
    DO(b, 0, "create damaged");
}

static void purge_tells_what(void)
{
    struct agent *a = keeper_and_owner("one");
    DO(a, 0, "create two");
    CHECK_RC(agent_end(a), 0);
    keeper_stop();
    CTL(0, "--namespace", "no-such-one", "purge", "--yes");
    CHECK_EQ(shm_count("t."), 2);
    CTL(0, "purge", "--yes");
    SAYS("the table 'one' was removed\n");
    SAYS("the table 'two' was removed\n");
    SAYS("is empty");
    CHECK_EQ(shm_count(""), 0);
}

/* ---- explain ------------------------------------------------------------------------------------------ */

static void explain(void)
{
    static const char *const forms[] = {"ENOSPC", "-ENOSPC", "28", "-28", "enospc"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        json_t *object = CTL_JSON(0, "explain", forms[i]);
        CHECK_STR(text(object, "errno"), "ENOSPC");
        CHECK_EQ(number(object, "number"), ENOSPC);
        CHECK_STR(text(object, "meaning"), heir_strerror(-ENOSPC));
        CHECK(json_array_size(json_object_get(object, "when")) >= 2);
        CHECK(strstr(text(object, "cure"), "--shm-size") != NULL);
        json_decref(object);
    }
    CTL(0, "explain", "-ESTALE");
    SAYS("-ESTALE (116)");
    SAYS("claim the table again");
    CTL(0, "explain", "ENOTSUP"); /* which has two names */
    SAYS("-ENOTSUP");
    CTL(0, "explain", "EOPNOTSUPP");
    SAYS("-ENOTSUP");
    CTL(0, "explain");
    SAYS("EUCLEAN");
    CTL(1, "explain", "EXDEV");
    CTL(1, "explain", "-18");
    CTL(2, "explain", "hello");
    CTL(2, "explain", "28x");
    CTL(2, "explain", "0");
    CTL(2, "explain", "");
    CTL(2, "explain", "--", "--28");
    CTL(2, "explain", "ENOSPC", "ESTALE");
    json_decref(CTL_JSON(1, "explain", "EXDEV"));
    json_decref(CTL_JSON(2, "explain", "hello"));
}

/* It knows each error for which the library has a sentence, and no other. */
static void explain_knows_all(void)
{
    bool known[4096] = {false};
    json_t *object = CTL_JSON(0, "explain");
    const json_t *list = json_object_get(object, "errors");
    for (size_t i = 0; i < json_array_size(list); i++)
        known[number(json_array_get(list, i), "number")] = true;
    for (int error = 1; error < 4096; error++)
        CHECK(known[error] == (strcmp(heir_strerror(error), "unknown error") != 0), "error %d", error);
    json_decref(object);
}

const struct test admin_tests[] = {{"give", give_it},
                                   {"give: refuses", give_refuses},
                                   {"rm", rm},
                                   {"rm: asks", rm_asks},
                                   {"gc", gc},
                                   {"purge", purge},
                                   {"purge: tells what", purge_tells_what},
                                   {"explain", explain},
                                   {"explain: knows all", explain_knows_all},
                                   {NULL, NULL}};
