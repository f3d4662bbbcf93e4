/* SPDX-License-Identifier: MIT */
/*
 * heir_edit(): lent memory is published at the commit, as it is then, and discarded by an abort and by a death; and
 * heir_view(): who may look, and at what. What a store through these pointers does afterwards is in guard.c.
 */
#include "operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static unsigned char *edit(const char *key, size_t len)
{
    void *lent = NULL;
    REQUIRE_RC(heir_edit(table, key, strlen(key), len, &lent), 0);
    CHECK((uintptr_t)lent % 8 == 0, "lent at %p", lent);
    return lent;
}

static void note(const char *key, const void *value, size_t len)
{
    model_put(&model, key, strlen(key), value, len);
}

/* ---- heir_edit() -------------------------------------------------------------------------------------- */

static void edits_in(enum heir_type type)
{
    unsigned char *a, *b, *c, *again;
    struct model before = {.type = type};
    operations_begin(&(struct heir_table_options){.type = type});
    operations_put("a", "abcdefgh");
    operations_put("b", "abcdefgh");
    operations_put("e", "");
    model_copy(&before, &model);
    for (int commit = 0; commit < 2; commit++) {
        CHECK_RC(heir_begin(table), 0);
        a = edit("a", 8);
        CHECK_BYTES(a, 8, "abcdefgh", 8);
        b = edit("b", 3); /* cut off */
        CHECK_BYTES(b, 3, "abc", 3);
        c = edit("c", 20); /* not there yet */
        CHECK_BYTES(c, 20, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
        again = edit("e", 4);
        CHECK_BYTES(again, 4, "\0\0\0\0", 4);
        a[0] = 'A';
        memset(c, 'c', 20);
        note("a", "Abcdefgh", 8);
        note("b", "abc", 3);
        note("c", c, 20);
        note("e", "\0\0\0\0", 4);
        same_content((struct view){table, NULL}, &model, "edited, inside");
        same_content((struct view){reader, NULL}, &before, "edited, outside");
        CHECK(edit("a", 8) == a && edit("c", 20) == c); /* the same memory, as it is */
        CHECK_BYTES(a, 8, "Abcdefgh", 8);
        b = edit("b", 8); /* what was cut off does not come back */
        CHECK_BYTES(b, 8, "abc\0\0\0\0\0", 8);
        memcpy(b + 2, "XYZ", 3);
        a[7] = 'H'; /* after the other edits, and after reads */
        note("a", "AbcdefgH", 8);
        note("b", "abXYZ\0\0\0", 8);
        same_content((struct view){table, NULL}, &model, "edited again, inside");
        same_content((struct view){reader, NULL}, &before, "edited again, outside");
        CHECK_RC(commit ? heir_commit(table) : heir_abort(table), 0);
        if (!commit)
            model_copy(&model, &before);
        operations_same(commit ? "committed" : "aborted");
        whole(table, "after an edit", NULL);
    }
    CHECK_RC(heir_begin(table), 0); /* stores after the last call are published, too */
    a = edit("a", 12);
    CHECK_BYTES(a, 12, "AbcdefgH\0\0\0\0", 12);
    c = edit("c", 0);
    CHECK_RC(heir_put(table, "other", 5, "o", 1), 0);
    memset(a, 'z', 12);
    CHECK_RC(heir_commit(table), 0);
    note("a", "zzzzzzzzzzzz", 12);
    note("c", NULL, 0);
    note("other", "o", 1);
    operations_same("the last store before the commit");
    model_free(&before);
    operations_end();
}

static void edits(void)
{
    on_both_types(edits_in);
}

/* Other operations on an object that has been edited, in the same transaction. */
static void edits_and_others_in(enum heir_type type)
{
    int64_t number = 40, sum = 0;
    char value[16];
    size_t len = sizeof value;
    operations_begin(&(struct heir_table_options){.type = type});
    operations_put("put", "12345678");
    operations_put("del", "12345678");
    operations_put("take", "12345678");
    operations_put("cas", "12345678");
    operations_put("back", "12345678");
    CHECK_RC(heir_put(table, "add", 3, &number, 8), 0);
    CHECK_RC(heir_begin(table), 0);
    memcpy(edit("put", 8), "edited", 6);
    memcpy(edit("del", 8), "edited", 6);
    memcpy(edit("take", 8), "edited", 6);
    memcpy(edit("cas", 8), "edited", 6);
    memcpy(edit("new", 6), "edited", 6);
    memcpy(edit("back", 8), "edited", 6);
    number = 100;
    memcpy(edit("add", 8), &number, 8);
    CHECK_RC(heir_put_new(table, "new", 3, "x", 1), -EEXIST);
    CHECK_RC(heir_put(table, "put", 3, "put", 3), 0);
    CHECK_RC(heir_del(table, "del", 3), 0);
    CHECK_RC(heir_take(table, "take", 4, value, &len), 0);
    CHECK_BYTES(value, len, "edited78", 8);
    CHECK_RC(heir_cas(table, "cas", 3, "12345678", 8, "x", 1), -ECANCELED);
    CHECK_RC(heir_cas(table, "cas", 3, "edited78", 8, "swapped", 7), 0);
    CHECK_RC(heir_add(table, "add", 3, 5, &sum), 0);
    CHECK_EQ(sum, 105);
    CHECK_RC(heir_del(table, "back", 4), 0);
    CHECK_BYTES(edit("back", 4), 4, "\0\0\0\0", 4); /* it was not there any more */
    memcpy(edit("put", 5), "PUT", 3);               /* edited again after a put: the put's bytes, and zeros */
    CHECK_RC(heir_commit(table), 0);
    note("put", "PUT\0\0", 5);
    model_del(&model, "del", 3);
    model_del(&model, "take", 4);
    note("cas", "swapped", 7);
    note("new", "edited", 6);
    note("back", "\0\0\0\0", 4);
    note("add", &sum, 8);
    operations_same("edits and others");
    CHECK_RC(heir_begin(table), 0);
    memcpy(edit("cas", 7), "edited!", 7);
    CHECK_RC(heir_clear(table), 0);
    CHECK_RC(heir_has(table, "cas", 3), -ENOENT);
    CHECK_BYTES(edit("cas", 7), 7, "\0\0\0\0\0\0\0", 7);
    CHECK_RC(heir_commit(table), 0);
    model_free(&model);
    note("cas", "\0\0\0\0\0\0\0", 7);
    operations_same("edit, clear, edit");
    operations_end();
}

static void edits_and_others(void)
{
    on_both_types(edits_and_others_in);
}

static void limits_in(enum heir_type type)
{
    void *lent = NULL;
    unsigned char *first[64];
    operations_begin(&(struct heir_table_options){.type = type});
    CHECK_RC(heir_edit(table, "k", 1, 8, &lent), -EINVAL); /* no transaction is open */
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_edit(table, "k", 0, 8, &lent), -EINVAL);
    CHECK_RC(heir_edit(table, NULL, 1, 8, &lent), -EINVAL);
    CHECK_RC(heir_edit(table, "k", 1, 8, NULL), -EINVAL);
    CHECK_RC(heir_edit(table, "k", 1, (size_t)1 << 32, &lent), -EFBIG);
    CHECK_RC(heir_edit(NULL, "k", 1, 8, &lent), -EINVAL);
    CHECK_RC(heir_commit(table), 0);
    operations_same("edits refused");
    for (int round = 0; round < 3; round++) {
        CHECK_RC(heir_begin(table), 0);
        for (uint32_t i = 0; i < 64; i++) {
            REQUIRE_RC(heir_edit(table, &i, 4, 50 + i, &lent), 0);
            first[i] = lent;
            memset(lent, (int)i + round, 50 + i);
        }
        for (uint32_t i = 64; i < 70; i++)
            CHECK_RC(heir_edit(table, &i, 4, 50, &lent), -EBUSY);
        for (uint32_t i = 0; i < 64; i += 9) { /* those that are lent can be had again */
            CHECK_RC(heir_edit(table, &i, 4, 50 + i, &lent), 0);
            CHECK(lent == first[i]);
        }
        CHECK_RC(heir_put(table, "put", 3, "works", 5), 0);
        CHECK_RC(round == 1 ? heir_abort(table) : heir_commit(table), 0);
        for (uint32_t i = 0; i < 64 && round != 1; i++) {
            unsigned char value[128];
            memset(value, (int)i + round, sizeof value);
            model_put(&model, &i, 4, value, 50 + i);
            note("put", "works", 5);
        }
        operations_same("64 edits");
    }
    operations_end();
    operations_begin(&(struct heir_table_options){.type = type, .value_size = 8});
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_edit(table, "k", 1, 7, &lent), -EINVAL);
    CHECK_RC(heir_edit(table, "k", 1, 8, &lent), 0);
    CHECK_RC(heir_commit(table), 0);
    note("k", "\0\0\0\0\0\0\0\0", 8);
    operations_same("a table of 8-byte values");
    operations_end();
}

static void limits(void)
{
    on_both_types(limits_in);
}

/* A full table: heir_edit() says so, not the commit. */
static void without_room_in(enum heir_type type)
{
    static unsigned char value[900];
    void *lent = NULL;
    operations_begin(&(struct heir_table_options){.type = type, .max_bytes = HEIR_TABLE_MIN});
    for (int round = 0; round < 20; round++) {
        int rc = 0;
        CHECK_RC(heir_begin(table), 0);
        unsigned char *a = edit("a", 2000), *b = edit("b", 10);
        memset(a, round + 1, 2000);
        uint32_t n = 0;
        for (; !rc; n++)
            rc = heir_put(table, &n, 4, value, sizeof value);
        CHECK_RC(rc, -ENOSPC);
        CHECK_RC(heir_edit(table, "c", 1, 100000, &lent), -ENOSPC);
        memset(b, round + 1, 10);
        CHECK_RC(heir_commit(table), 0);
        for (uint32_t i = 0; i + 1 < n; i++)
            if ((rc = heir_del(table, &i, 4)))
                REQUIRE_EQ(i, -1);
        unsigned char want[2000];
        memset(want, round + 1, sizeof want);
        note("a", want, 2000);
        note("b", want, 10);
        if (!operations_same("edited in a table that is full then") || !whole(table, "it", NULL))
            break;
    }
    operations_end();
}

static void without_room(void)
{
    on_both_types(without_room_in);
}

static void large_in(enum heir_type type)
{
    size_t size = 1 << 20;
    unsigned char *bytes = malloc(size + 5000);
    operations_begin(&(struct heir_table_options){.type = type, .max_bytes = 64 << 20});
    struct rnd rnd = {test_seed};
    memset(bytes, 'm', size);
    CHECK_RC(heir_put(table, "mega", 4, bytes, size), 0);
    note("mega", bytes, size);
    for (int round = 0; round < 30; round++) {
        CHECK_RC(heir_begin(table), 0);
        size_t len = size - 5000 + rnd_below(&rnd, 10000), old = model.at[0]->value_len;
        unsigned char *lent = edit("mega", len);
        memcpy(bytes, object_value(model.at[0]), old < len ? old : len);
        if (old < len)
            memset(bytes + old, 0, len - old);
        CHECK(memcmp(lent, bytes, len) == 0, "round %d: another content of %zu bytes, %zu before", round, len, old);
        for (int i = 0; i < 20; i++) {
            size_t at = rnd_below(&rnd, len);
            lent[at] = bytes[at] = (unsigned char)(round + i);
        }
        lent[len - 1] = bytes[len - 1] = (unsigned char)round;
        bool commit = rnd_below(&rnd, 3);
        CHECK_RC(commit ? heir_commit(table) : heir_abort(table), 0);
        if (commit)
            note("mega", bytes, len);
        if (!operations_same("a value of a MiB"))
            break;
    }
    free(bytes);
    operations_end();
}

static void large(void)
{
    on_both_types(large_in);
}

static int edit_and_wait(struct agent_self *self, void *arg)
{
    struct heir_table *t = agent_table(self, "t");
    void *lent = NULL;
    (void)arg;
    int rc = heir_begin(t);
    if (!rc)
        rc = heir_edit(t, "k", 1, 5000, &lent);
    if (!rc)
        memset(lent, '!', 5000);
    if (!rc)
        rc = heir_edit(t, "new", 3, 50, &lent);
    return rc;
}

/* Killed with lent memory: the next owner finds the last commit. */
static void killed_while_lent(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int type = HEIR_SET; type <= HEIR_ORDERED_SET; type++) {
        struct agent *owner = agent_new("owner"), *next = agent_new("next");
        DO(owner, 0, "create t type=%d", type);
        DO(owner, 0, "put t k value");
        CHECK_RC(agent_call(owner, edit_and_wait, NULL, 0), 0);
        agent_send(next, "claim t -1 none");
        agent_kill(owner);
        CHECK_RC(agent_answer(next, PATIENCE), 0);
        DO(next, 0, "get t k");
        CHECK_STR(next->answer.value, "value");
        DO(next, 0, "count t");
        CHECK_EQ(next->answer.number, 1);
        CHECK_RC(agent_call(next, edit_and_wait, NULL, 0), 0);
        DO(next, 0, "commit t");
        DO(next, 0, "count t");
        CHECK_EQ(next->answer.number, 2);
        DO(next, 0, "destroy t");
    }
}

/* ---- heir_view() -------------------------------------------------------------------------------------- */

static bool sees(struct heir_table *handle, const char *key, const char *want)
{
    const void *value = NULL;
    size_t len = 12345;
    int rc = heir_view(handle, key, strlen(key), &value, &len);
    return CHECK_RC(rc, 0) && CHECK_BYTES(value, len, want, strlen(want));
}

static void views_of(enum heir_type type, enum heir_access access)
{
    const void *value = NULL;
    size_t len = 0;
    bool bag = type == HEIR_BAG || type == HEIR_DUPLICATE_BAG, open = access != HEIR_PUBLIC;
    operations_begin(&(struct heir_table_options){.type = type, .access = access});
    CHECK_RC(heir_put(table, "k", 1, "value", 5), 0);
    CHECK_RC(heir_put(table, "e", 1, "", 0), 0);
    if (bag)
        CHECK_RC(heir_put(table, "k", 1, "younger", 7), 0);
    if (open) { /* nobody else writes it */
        sees(table, "k", "value");
        sees(table, "e", "");
        CHECK_RC(heir_view(table, "x", 1, &value, &len), -ENOENT);
    } else {
        CHECK_RC(heir_view(table, "k", 1, &value, &len), -EPERM);
    }
    if (access != HEIR_PRIVATE)
        CHECK_RC(heir_view(reader, "k", 1, &value, &len), -EPERM);
    CHECK_RC(heir_view(table, "", 0, &value, &len), -EINVAL);
    CHECK_RC(heir_view(table, "k", 1, NULL, &len), -EINVAL);
    CHECK_RC(heir_view(NULL, "k", 1, &value, &len), -EINVAL);
    CHECK_RC(heir_begin(table), 0);
    sees(table, "k", "value");
    CHECK_RC(heir_take(table, "k", 1, NULL, NULL), 0);
    CHECK_RC(heir_put(table, "k", 1, "own", 3), 0);
    CHECK_RC(heir_put(table, "n", 1, "new", 3), 0);
    sees(table, "k", bag ? "younger" : "own");
    sees(table, "n", "new");
    CHECK_RC(heir_del(table, "k", 1), 0);
    CHECK_RC(heir_view(table, "k", 1, &value, &len), -ENOENT);
    if (!bag) {
        memcpy(edit("edited", 6), "edited", 6);
        sees(table, "edited", "edited");
    }
    if (access != HEIR_PRIVATE)
        CHECK_RC(heir_view(reader, "k", 1, &value, &len), -EPERM);
    CHECK_RC(heir_abort(table), 0);
    if (open)
        sees(table, "k", "value");
    if (access == HEIR_PUBLIC) { /* inside its transaction anyone may */
        CHECK_RC(heir_begin(reader), 0);
        sees(reader, "k", "value");
        CHECK_RC(heir_commit(reader), 0);
        CHECK_RC(heir_view(reader, "k", 1, &value, &len), -EPERM);
    }
    operations_end();
}

static void views(void)
{
    for (int type = HEIR_SET; type <= HEIR_DUPLICATE_BAG; type++)
        for (int access = HEIR_PROTECTED; access <= HEIR_PRIVATE; access++)
            views_of((enum heir_type)type, (enum heir_access)access);
}

/* Looked at without a copy, and right until the next write. */
static void view_of_many_in(enum heir_type type)
{
    unsigned wrong = 0;
    operations_begin(&(struct heir_table_options){.type = type});
    unsigned char *bytes = malloc(100000);
    for (uint32_t i = 0; i < 2000; i++) {
        memset(bytes, (int)i, 100000);
        REQUIRE_RC(heir_put(table, &i, 4, bytes, i % 100 ? i % 300 : 90000 + i), 0);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        const unsigned char *value = NULL;
        size_t len = 0;
        if (heir_view(table, &i, 4, (const void **)&value, &len) || len != (i % 100 ? i % 300 : 90000 + i))
            wrong++;
        for (size_t k = 0; k < len; k++)
            wrong += value[k] != (unsigned char)i;
    }
    CHECK_EQ(wrong, 0);
    free(bytes);
    operations_end();
}

static void view_of_many(void)
{
    on_both_types(view_of_many_in);
}

const struct test operations_edit[] = {{"edits", edits},
                                       {"edits and others", edits_and_others},
                                       {"limits of edits", limits},
                                       {"edits without room", without_room},
                                       {"large edits", large},
                                       {"killed while lent", killed_while_lent},
                                       {"views", views},
                                       {"views of many", view_of_many},
                                       {NULL, NULL}};
