/* SPDX-License-Identifier: MIT */
/*
 * The errors of the table functions: create, claim, attach, detach, give, release, destroy, heir, rename, info.
 */
#include "api.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char name63[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
static const char name64[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
static const char *const bad_names[] = {"", ".", "..", ".a", "a/b", "/a", "a b", "a\n", "\xc3\xa4", "a*", name64, NULL};

static struct heir *begin(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    return test_open("me");
}

static struct heir_table *created(struct heir *client, const char *name)
{
    struct heir_table *table = NULL;
    REQUIRE_RC(heir_create(client, name, NULL, &table), 0);
    REQUIRE(table != NULL);
    return table;
}

static uint64_t owner_of(struct heir_table *table)
{
    struct heir_info info = {0};
    CHECK_RC(heir_info(table, &info), 0);
    return info.owner;
}

static void table_names(void)
{
    static const char *const good[] = {"a", "A.b_c-9", "a..", "9", "_", name63, NULL};
    struct heir *me = begin();
    struct heir_table *table = NULL, *first = created(me, "first");
    for (int i = 0; bad_names[i]; i++) {
        const char *name = bad_names[i];
        int create = heir_create(me, name, NULL, &table);
        int claim = heir_claim(me, name, NULL, 0, &table);
        int attach = heir_attach(me, name, &table);
        int rename = heir_rename(first, name);
        CHECK(create == -EINVAL, "create \"%s\": %s", name, error_text(create));
        CHECK(claim == -EINVAL, "claim \"%s\": %s", name, error_text(claim));
        CHECK(attach == -EINVAL, "attach \"%s\": %s", name, error_text(attach));
        CHECK(rename == -EINVAL, "rename \"%s\": %s", name, error_text(rename));
    }
    CHECK_EQ(shm_count("t."), 1);
    for (int i = 0; good[i]; i++) {
        struct heir_info info = {0};
        table = created(me, good[i]);
        CHECK_RC(heir_info(table, &info), 0);
        CHECK_STR(info.name, good[i]);
        CHECK_RC(heir_rename(first, good[i]), -EEXIST);
        CHECK_RC(heir_destroy(table), 0);
        CHECK_RC(heir_rename(first, good[i]), 0);
    }
}

static void create_options(void)
{
    static char data[HEIR_DATA_MAX + 1];
    static const struct {
        struct heir_table_options options;
        int rc;
        const char *what;
    } bad[] = {
        {{.type = (enum heir_type)4}, -EINVAL, "type 4"},
        {{.access = (enum heir_access)3}, -EINVAL, "access 3"},
        {{.max_bytes = 1}, -EINVAL, "max_bytes 1"},
        {{.max_bytes = HEIR_TABLE_MIN - 1}, -EINVAL, "max_bytes below HEIR_TABLE_MIN"},
        {{.max_bytes = HEIR_TABLE_MAX + 1}, -EINVAL, "max_bytes above HEIR_TABLE_MAX"},
        {{.max_bytes = UINT64_MAX}, -EINVAL, "max_bytes 2^64-1"},
        {{.heir = ".x"}, -EINVAL, "heir .x"},
        {{.heir = "a/b"}, -EINVAL, "heir a/b"},
        {{.heir = name64}, -EINVAL, "heir of 64 bytes"},
        {{.heir_data = data, .heir_data_len = sizeof data}, -EMSGSIZE, "heir data of 513 bytes"},
        {{.heir_data = data, .heir_data_len = SIZE_MAX}, -EMSGSIZE, "heir data of 2^64-1 bytes"},
        {{.heir_data_len = 1}, -EINVAL, "no heir data, but a length"},
        {{.mode = 01777}, -EINVAL, "mode 01777"},
        {{.mode = 0x10000600}, -EINVAL, "mode with far bits"},
        {{.key_size = HEIR_KEY_MAX + 1}, -EINVAL, "key_size over HEIR_KEY_MAX"},

        {{.reserved = {1}}, -EINVAL, "reserved[0]"},
        {{.reserved = {0, 0, 0, 0, 0, 1}}, -EINVAL, "reserved[5]"},
    };
    struct heir *me = begin();
    struct heir_table *table = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int rc = heir_create(me, "t", &bad[i].options, &table);
        CHECK(rc == bad[i].rc, "create, %s: %s, not %s", bad[i].what, error_text(rc), error_text(bad[i].rc));
        if (rc == 0)
            heir_destroy(table);
        rc = heir_claim(me, "t", &bad[i].options, 0, &table);
        CHECK(rc == bad[i].rc, "claim, %s: %s, not %s", bad[i].what, error_text(rc), error_text(bad[i].rc));
        if (rc == 0)
            heir_destroy(table);
        CHECK_RC(heir_attach(me, "t", &table), -ENOENT);
    }
    CHECK_EQ(shm_count("t."), 0);
}

static void create_at_the_limits(void)
{
    static char data[HEIR_DATA_MAX];
    const struct heir_table_options good[] = {
        {.max_bytes = HEIR_TABLE_MIN},
        {.max_bytes = HEIR_TABLE_MIN + 1},
        {.max_bytes = HEIR_TABLE_MAX},
        {.heir = ""},
        {.heir = HEIR_NOBODY},
        {.heir = name63, .heir_data = data, .heir_data_len = sizeof data},
        {.mode = 0666},
        {.mode = 0400},
        {.key_size = HEIR_KEY_MAX, .value_size = 1 << 20},
    };
    struct heir *me = begin();
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct heir_table *table = NULL;
        struct heir_info info = {0};
        int rc = heir_create(me, "t", &good[i], &table);
        if (TEST_TSAN && good[i].max_bytes == HEIR_TABLE_MAX && rc == -ENOMEM)
            continue; /* its shadow has no room for so much address space */
        if (!CHECK(rc == 0, "options %zu: %s", i, error_text(rc)))
            continue;
        CHECK_RC(heir_info(table, &info), 0);
        CHECK_EQ(info.epoch, 1);
        CHECK_EQ(info.owner, heir_id(me));
        CHECK_EQ(info.objects, 0);
        CHECK_EQ(info.type, HEIR_SET);
        CHECK_EQ(info.mode, good[i].mode ? good[i].mode : 0600);
        CHECK_EQ(info.key_size, good[i].key_size);
        CHECK_EQ(info.value_size, good[i].value_size);
        CHECK_EQ(info.uid, geteuid());
        CHECK_EQ(info.gid, getegid());
        CHECK_STR(info.heir, good[i].heir ? good[i].heir : "");
        if (good[i].max_bytes)
            CHECK(info.max_bytes >= good[i].max_bytes - 4095 && info.max_bytes <= good[i].max_bytes + 4095, "%llu",
                  (unsigned long long)info.max_bytes);
        else
            CHECK_EQ(info.max_bytes, 1 << 30);
        CHECK_RC(heir_destroy(table), 0);
    }
}

static void null_arguments(void)
{
    struct heir *me = begin();
    struct heir_table *table = created(me, "t"), *none = NULL;
    struct heir_info info;
    CHECK_RC(heir_create(NULL, "x", NULL, &none), -EINVAL);
    CHECK_RC(heir_create(me, NULL, NULL, &none), -EINVAL);
    CHECK_RC(heir_create(me, "x", NULL, NULL), -EINVAL);
    CHECK_RC(heir_claim(NULL, "x", NULL, 0, &none), -EINVAL);
    CHECK_RC(heir_claim(me, NULL, NULL, 0, &none), -EINVAL);
    CHECK_RC(heir_claim(me, "x", NULL, 0, NULL), -EINVAL);
    CHECK_RC(heir_attach(NULL, "t", &none), -EINVAL);
    CHECK_RC(heir_attach(me, NULL, &none), -EINVAL);
    CHECK_RC(heir_attach(me, "t", NULL), -EINVAL);
    CHECK_RC(heir_detach(NULL), -EINVAL);
    CHECK_RC(heir_give_away(NULL, 1, NULL, 0), -EINVAL);
    CHECK_RC(heir_release(NULL), -EINVAL);
    CHECK_RC(heir_destroy(NULL), -EINVAL);
    CHECK_RC(heir_set_heir(NULL, NULL, NULL, 0), -EINVAL);
    CHECK_RC(heir_rename(NULL, "x"), -EINVAL);
    CHECK_RC(heir_rename(table, NULL), -EINVAL);
    CHECK_RC(heir_info(NULL, &info), -EINVAL);
    CHECK_RC(heir_info(table, NULL), -EINVAL);
    CHECK_EQ(shm_count("t."), 1);
    CHECK_EQ(owner_of(table), heir_id(me));
}

static void create_twice(void)
{
    struct heir *me = begin(), *other = test_open("other");
    struct heir_table *table = created(me, "t"), *again = NULL;
    CHECK_RC(heir_create(me, "t", NULL, &again), -EEXIST);
    CHECK_RC(heir_create(other, "t", NULL, &again), -EEXIST);
    CHECK_RC(heir_release(table), 0);
    CHECK_RC(heir_create(me, "t", NULL, &again), -EEXIST); /* also when the keeper has it */
}

static void claim_errors(void)
{
    struct heir *me = begin(), *other = test_open("other");
    struct heir_table *table = NULL, *mine = NULL, *theirs = NULL;
    const struct heir_table_options sized = {.key_size = 8, .value_size = 16};
    CHECK_RC(heir_claim(me, "t", NULL, 0, &table), -ENOENT);
    CHECK_RC(heir_claim(me, "t", NULL, 50, &table), -ENOENT);
    CHECK_EQ(shm_count("t."), 0);
    REQUIRE_RC(heir_claim(me, "t", &sized, 0, &mine), 0);
    CHECK_RC(heir_claim(me, "t", &sized, 0, &table), 0); /* already mine */
    CHECK(table == mine);
    CHECK_RC(heir_claim(me, "t", NULL, -1, &table), 0);
    CHECK(table == mine);
    struct heir_event event;
    CHECK_RC(heir_wait(me, 0, &event), -ETIMEDOUT); /* creating makes no event */
    CHECK_RC(heir_claim(other, "t", &sized, 0, &theirs), -EBUSY);
    CHECK_RC(heir_claim(other, "t", NULL, 0, &theirs), -EBUSY);
    int64_t begin_ms = now_ms();
    CHECK_RC(heir_claim(other, "t", &sized, 60, &theirs), -ETIMEDOUT);
    CHECK(now_ms() - begin_ms >= 59);
    CHECK_RC(heir_claim(other, "t", &(struct heir_table_options){.key_size = 16, .value_size = 16}, 50, &theirs),
             -EPROTOTYPE);
    CHECK_RC(heir_claim(other, "t", &(struct heir_table_options){.key_size = 8, .value_size = 8}, 50, &theirs),
             -EPROTOTYPE);
    CHECK_RC(heir_claim(other, "t", &(struct heir_table_options){.type = HEIR_BAG}, 50, &theirs), -EPROTOTYPE);
    CHECK_RC(heir_release(mine), 0);
    CHECK_RC(heir_claim(other, "t", &(struct heir_table_options){.key_size = 16, .value_size = 16}, 0, &theirs),
             -EPROTOTYPE);
    CHECK_EQ(owner_of(mine), HEIR_KEEPER);
    CHECK_RC(heir_claim(other, "t", NULL, 0, &theirs), 0); /* no options: no opinion */
    CHECK_EQ(owner_of(mine), heir_id(other));
}

static void attach_and_detach(void)
{
    struct heir *me = begin(), *other = test_open("other");
    struct heir_table *table = created(me, "t"), *reader = NULL, *again = NULL, *none = NULL;
    CHECK_RC(heir_attach(me, "none", &none), -ENOENT);
    CHECK_RC(heir_detach(table), -EBUSY);
    REQUIRE_RC(heir_attach(me, "t", &again), 0); /* one handle a table and client */
    CHECK(again == table);
    CHECK_RC(heir_put(again, "k", 1, "v", 1), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    REQUIRE_RC(heir_attach(other, "t", &again), 0);
    CHECK(again == reader);
    CHECK_RC(heir_has(reader, "k", 1), 0);
    CHECK_RC(heir_detach(reader), 0);
    struct heir_info info;
    size_t len = 0;
    CHECK_RC(heir_has(reader, "k", 1), -ENOTCONN);
    CHECK_RC(heir_get(reader, "k", 1, NULL, &len), -ENOTCONN);
    CHECK_RC(heir_put(reader, "k", 1, "v", 1), -ENOTCONN);
    CHECK_RC(heir_begin(reader), -ENOTCONN);
    CHECK_RC(heir_info(reader, &info), -ENOTCONN);
    CHECK_RC(heir_detach(reader), -ENOTCONN);
    CHECK_RC(heir_release(reader), -ENOTCONN);
    REQUIRE_RC(heir_attach(other, "t", &again), 0); /* anew */
    CHECK_RC(heir_has(again, "k", 1), 0);
    CHECK_RC(heir_release(table), 0);
    CHECK_RC(heir_detach(table), 0); /* no longer the owner */
    CHECK_RC(heir_has(table, "k", 1), -ENOTCONN);
}

static void private_tables(void)
{
    struct heir *me = begin(), *other = test_open("other");
    struct heir_table *table = NULL, *reader = NULL;
    size_t len = 0;
    REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.access = HEIR_PRIVATE}, &table), 0);
    CHECK_RC(heir_attach(other, "t", &reader), -EACCES);
    REQUIRE_RC(heir_put(table, "k", 1, "", 0), 0);
    CHECK_RC(heir_get(table, "k", 1, NULL, &len), 0);
    CHECK_RC(heir_release(table), 0);
    CHECK_RC(heir_get(table, "k", 1, NULL, &len), -EACCES);
    CHECK_RC(heir_has(table, "k", 1), -EACCES);
    CHECK_RC(heir_put(table, "k", 1, "", 0), -ESTALE);
    CHECK_RC(heir_claim(other, "t", NULL, 0, &reader), 0);
    CHECK_RC(heir_has(reader, "k", 1), 0);
}

/* What the owner alone may do, tried by a reader; and what the owner may not. In every error the owner still owns. */
static void owner_only(void)
{
    static char data[HEIR_DATA_MAX + 1];
    struct heir *me = begin(), *other = test_open("other");
    struct heir_table *table = created(me, "t"), *reader = NULL, *public = NULL;
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    CHECK_RC(heir_give_away(reader, heir_id(me), NULL, 0), -EPERM);
    CHECK_RC(heir_release(reader), -EPERM);
    CHECK_RC(heir_destroy(reader), -EPERM);
    CHECK_RC(heir_set_heir(reader, "other", NULL, 0), -EPERM);
    CHECK_RC(heir_rename(reader, "u"), -EPERM);
    CHECK_RC(heir_give_away(table, heir_id(me), NULL, 0), -EINVAL);
    CHECK_RC(heir_give_away(table, HEIR_KEEPER, NULL, 0), -EINVAL);
    CHECK_RC(heir_give_away(table, heir_id(other) + 1000, NULL, 0), -ESRCH);
    CHECK_RC(heir_give_away(table, UINT64_MAX, NULL, 0), -ESRCH);
    CHECK_RC(heir_give_away(table, heir_id(other), data, sizeof data), -EMSGSIZE);
    CHECK_RC(heir_give_away(table, heir_id(other), NULL, 1), -EINVAL);
    CHECK_RC(heir_set_heir(table, "other", data, sizeof data), -EMSGSIZE);
    CHECK_RC(heir_set_heir(table, "other", NULL, 1), -EINVAL);
    CHECK_RC(heir_set_heir(table, ".x", NULL, 0), -EINVAL);
    CHECK_RC(heir_set_heir(table, name64, NULL, 0), -EINVAL);
    REQUIRE_RC(heir_begin(table), 0);
    CHECK_RC(heir_give_away(table, heir_id(other), NULL, 0), -EBUSY);
    CHECK_RC(heir_release(table), -EBUSY);
    CHECK_RC(heir_destroy(table), -EBUSY);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), 0); /* the transaction has not suffered */
    CHECK_RC(heir_commit(table), 0);
    CHECK_EQ(owner_of(table), heir_id(me));
    CHECK_RC(heir_has(reader, "k", 1), 0);
    /* the same for a public table, which others may write */
    REQUIRE_RC(heir_create(me, "p", &(struct heir_table_options){.access = HEIR_PUBLIC}, &table), 0);
    REQUIRE_RC(heir_attach(other, "p", &public), 0);
    CHECK_RC(heir_put(public, "k", 1, "v", 1), 0);
    CHECK_RC(heir_give_away(public, heir_id(me), NULL, 0), -EPERM);
    CHECK_RC(heir_release(public), -EPERM);
    CHECK_RC(heir_destroy(public), -EPERM);
    CHECK_RC(heir_set_heir(public, "other", NULL, 0), -EPERM);
    CHECK_RC(heir_rename(public, "u"), -EPERM);
    CHECK_EQ(owner_of(public), heir_id(me));
    struct heir_event event;
    CHECK_RC(heir_wait(other, 0, &event), -ETIMEDOUT);
    CHECK_RC(heir_wait(me, 0, &event), -ETIMEDOUT);
}

static void destroyed(void)
{
    struct heir *me = begin(), *other = test_open("other");
    struct heir_table *table = created(me, "t"), *reader = NULL, *again = NULL;
    struct heir_info info;
    char value[8];
    size_t len = sizeof value;
    REQUIRE_RC(heir_put(table, "k", 1, "v", 1), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    CHECK_RC(heir_destroy(table), 0);
    CHECK_EQ(shm_count("t."), 0);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), -ENOTCONN);
    CHECK_RC(heir_begin(table), -ENOTCONN);
    CHECK_RC(heir_release(table), -ENOTCONN);
    CHECK_RC(heir_destroy(table), -ENOTCONN);
    CHECK_RC(heir_info(table, &info), -ENOTCONN);
    CHECK_RC(heir_attach(me, "t", &again), -ENOENT);
    CHECK_RC(heir_get(reader, "k", 1, value, &len), 0); /* others' mappings stay */
    CHECK_BYTES(value, len, "v", 1);
    CHECK_RC(heir_put(reader, "k", 1, "v", 1), -EPERM);
    table = created(me, "t"); /* the name is free */
    CHECK_RC(heir_has(table, "k", 1), -ENOENT);
    CHECK_RC(heir_detach(reader), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    CHECK_RC(heir_has(reader, "k", 1), -ENOENT);
}

static void renamed(void)
{
    struct heir *me = begin(), *other = test_open("other");
    struct heir_table *table = created(me, "t"), *second = created(me, "u"), *reader = NULL, *none = NULL;
    struct heir_info info;
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    CHECK_RC(heir_rename(table, "u"), -EEXIST);
    CHECK_RC(heir_rename(table, "v"), 0);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), 0);
    CHECK_RC(heir_has(reader, "k", 1), 0); /* handles stay valid */
    CHECK_RC(heir_info(reader, &info), 0);
    CHECK_STR(info.name, "v");
    CHECK_RC(heir_attach(other, "t", &none), -ENOENT);
    CHECK_RC(heir_attach(other, "v", &none), 0);
    CHECK(none == reader);
    CHECK_RC(heir_rename(second, "t"), 0);
    CHECK_EQ(shm_count("t."), 2);
    CHECK_EQ(keeper_stop(), 0); /* the new names survive the keeper */
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *third = test_open("third");
    CHECK_RC(heir_attach(third, "v", &none), 0);
    CHECK_RC(heir_has(none, "k", 1), 0);
    CHECK_RC(heir_attach(third, "t", &none), 0);
    CHECK_RC(heir_attach(third, "u", &none), -ENOENT);
}

static void control_without_keeper(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = NULL;
    REQUIRE_RC(heir_open(&(struct heir_open_options){.timeout_ms = 50}, &me), 0);
    struct heir_table *table = created(me, "t"), *other = NULL;
    uint64_t id;
    keeper_kill();
    CHECK_RC(heir_create(me, "u", NULL, &other), -ECONNREFUSED);
    CHECK_RC(heir_attach(me, "u", &other), -ECONNREFUSED);
    CHECK_RC(heir_claim(me, "u", NULL, 0, &other), -ECONNREFUSED);
    CHECK_RC(heir_find(me, "u", &id), -ECONNREFUSED);
    CHECK_RC(heir_rename(table, "u"), -ECONNREFUSED);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), 0); /* but the table goes on */
    CHECK_RC(heir_has(table, "k", 1), 0);
    CHECK_RC(heir_close(me), 0);
}

/* What is large is read under a pin of the keeper's: a reader must not wait for one who is no more. */
static void walk_without_keeper(void)
{
    enum { OBJECTS = 2000 };
    struct heir *me = begin(), *other = NULL;
    struct heir_table *table = created(me, "t"), *reader = NULL;
    static const char value[1000];
    uint64_t count = 0;
    REQUIRE_RC(heir_open(&(struct heir_open_options){.timeout_ms = -1}, &other), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    for (uint32_t i = 0; i < OBJECTS; i++)
        REQUIRE_RC(heir_put(table, &i, sizeof i, value, sizeof value), 0);
    keeper_kill(); /* of which the reader has not heard */
    CHECK_RC(heir_foreach(reader, visit_bytes, &count), 0);
    CHECK_EQ(count, OBJECTS);
    CHECK_RC(heir_close(other), 0);
}

const struct test api_tables[] = {{"names", table_names},
                                  {"create: bad options", create_options},
                                  {"create: options at the limits", create_at_the_limits},
                                  {"NULL arguments", null_arguments},
                                  {"create twice", create_twice},
                                  {"claim: errors", claim_errors},
                                  {"attach and detach", attach_and_detach},
                                  {"private tables", private_tables},
                                  {"owner only", owner_only},
                                  {"destroyed", destroyed},
                                  {"renamed", renamed},
                                  {"control calls without a keeper", control_without_keeper},
                                  {"walks without a keeper", walk_without_keeper},
                                  {NULL, NULL}};
