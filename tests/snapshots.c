/* SPDX-License-Identifier: MIT */
/*
 * Snapshots: they stay at their state whatever is written, many of them at once; a table out of space breaks the
 * oldest, which then says -ESTALE and never shows wrong data. snapshots_others.c has those of other processes, and the
 * ends of keepers, owners, clients and tables.
 */
#include "snapshots.h"

#include "play.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Looking without failing -------------------------------------------------------------------------- */

struct tour {
    const struct model *model;
    unsigned char *seen;
    size_t count, wrong, next;
    bool in_order, reverse;
};

static int tour_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct tour *tour = arg;
    const struct model *model = tour->model;
    size_t i = tour->in_order ? tour->next : model_from(model, key, key_len), end = model_end(model, key, key_len);
    while (!tour->in_order && i < end && tour->seen[i]) /* of a bag: the next one of this key */
        i++;
    if (i >= model->count || tour->seen[i]++ || !object_is(model->at[i], key, key_len, value, value_len))
        tour->wrong++;
    tour->next = tour->reverse ? i - 1 : i + 1;
    tour->count++;
    return 0;
}

static int toured(struct tour *tour, int rc, size_t want)
{
    memset(tour->seen, 0, tour->model->count);
    bool wrong = tour->wrong || (rc == 0 && tour->count != want);
    tour->count = 0;
    return wrong ? -EBADMSG : rc;
}

static int walks(struct heir_snapshot *snapshot, struct tour *tour)
{
    const struct model *model = tour->model;
    int rc = toured(tour, heir_snapshot_foreach(snapshot, tour_visit, tour), model->count);
    if (rc || model->type != HEIR_ORDERED_SET)
        return rc;
    tour->in_order = true;
    tour->next = 0;
    rc = toured(tour, heir_snapshot_range(snapshot, NULL, 0, NULL, 0, tour_visit, tour), model->count);
    if (rc)
        return rc;
    tour->reverse = true;
    tour->next = model->count - 1;
    rc = toured(tour, heir_snapshot_range_reverse(snapshot, NULL, 0, NULL, 0, tour_visit, tour), model->count);
    tour->in_order = tour->reverse = false;
    return rc;
}

static int look_at_key(struct heir_snapshot *snapshot, struct tour *tour, size_t i)
{
    static unsigned char bytes[1 << 17];
    const struct object *object = tour->model->at[i];
    const void *value = NULL;
    size_t len = sizeof bytes, end = model_end(tour->model, object->bytes, object->key_len);
    size_t first = model_from(tour->model, object->bytes, object->key_len);
    if (first != i)
        return 0;
    int rc = heir_snapshot_get(snapshot, object->bytes, object->key_len, bytes, &len);
    if (rc == 0 && !object_is(object, object->bytes, object->key_len, bytes, len))
        rc = -EBADMSG;
    if (rc == 0)
        rc = heir_snapshot_view(snapshot, object->bytes, object->key_len, &value, &len);
    if (rc == 0) {
        if (len <= sizeof bytes && len)
            memcpy(bytes, value, len);
        rc = heir_snapshot_check(snapshot); /* was that right? */
        if (rc == 0 && !object_is(object, object->bytes, object->key_len, bytes, len))
            rc = -EBADMSG;
    }
    if (rc == 0)
        rc =
            toured(tour, heir_snapshot_values(snapshot, object->bytes, object->key_len, tour_visit, tour), end - first);
    return rc;
}

int snapshot_holds(struct heir_snapshot *snapshot, const struct model *model)
{
    struct tour tour = {.model = model, .seen = calloc(1, model->count + 1)};
    int rc = walks(snapshot, &tour);
    for (size_t i = 0; i < model->count && !rc; i++)
        rc = look_at_key(snapshot, &tour, i);
    free(tour.seen);
    size_t len = 0;
    if (!rc && !model_has(model, "not there", 9) &&
        (rc = heir_snapshot_get(snapshot, "not there", 9, NULL, &len)) == -ENOENT)
        rc = 0;
    return rc;
}

/* ---- They stay ---------------------------------------------------------------------------------------- */

#define SNAPSHOTS 14 /* a client has 16 pins, and the comparison walks */

struct kept {
    struct heir_snapshot *snapshot;
    struct model model;
};

/* Random operations of an owner, snapshots by it and by a reader, of many states at once. */
static void many_states(void)
{
    static struct play play;
    static struct kept kept[SNAPSHOTS];
    for (int type = HEIR_SET; type <= HEIR_DUPLICATE_BAG; type++) {
        unsigned made = 0, steps = TEST_ASAN || TEST_TSAN ? 6000 : 40000;
        bool good = true;
        play_begin(&play, (enum heir_type)type, type % 2 ? KEYS_BYTES : KEYS_COMMON, 0);
        for (unsigned step = 0; step < steps && good; step++) {
            good = play_step(&play);
            if (step % 250)
                continue;
            struct kept *one = &kept[rnd_below(&play.rnd, SNAPSHOTS)];
            struct heir_info info = {0};
            if (one->snapshot) {
                good = good && same_content((struct view){.snapshot = one->snapshot}, &one->model, "an old state");
                good = good && CHECK_RC(heir_snapshot_check(one->snapshot), 0);
                good = good && CHECK_RC(heir_snapshot_close(one->snapshot), 0);
                one->snapshot = NULL;
            }
            model_copy(&one->model, play.open ? &play.before : &play.now);
            good = good && CHECK_RC(heir_info(play.reader, &info), 0) &&
                   CHECK_RC(heir_snapshot_open(made++ % 3 ? play.reader : play.table, &one->snapshot), 0) &&
                   CHECK_EQ(heir_snapshot_state(one->snapshot), info.committed);
            good = good && same_content((struct view){.snapshot = one->snapshot}, &one->model, "a new state");
        }
        play_close(&play);
        for (int i = 0; i < SNAPSHOTS; i++) {
            if (kept[i].snapshot && good)
                CHECK_RC(snapshot_holds(kept[i].snapshot, &kept[i].model), 0);
            CHECK_RC(heir_snapshot_close(kept[i].snapshot), 0);
            kept[i].snapshot = NULL;
            model_free(&kept[i].model);
        }
        if (!good)
            return;
        play_end(&play);
    }
}

static void begin_pair(struct heir_table **table, struct heir_table **reader, enum heir_type type, uint64_t max_bytes)
{
    struct heir_table_options options = {.type = type, .max_bytes = max_bytes};
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    REQUIRE_RC(heir_create(test_open("owner"), "t", &options, table), 0);
    REQUIRE_RC(heir_attach(test_open("reader"), "t", reader), 0);
}

static int fill(struct heir_table *table, struct model *model, uint32_t count, uint32_t salt)
{
    unsigned char value[64];
    int rc = 0;
    for (uint32_t i = 0; i < count && !rc; i++) {
        uint32_t key = i * 2654435761u;
        memset(value, (int)(i ^ salt), sizeof value);
        rc = heir_put(table, &key, 4, value, 1 + i % 64);
        if (model)
            model_put(model, &key, 4, value, 1 + i % 64);
    }
    return rc;
}

/* One of many objects, and hundreds of thousands of writes after it. */
static void through_many_writes(void)
{
    if (!shm_has_room(UINT64_C(300) << 20))
        return;
    uint32_t many = TEST_ASAN || TEST_TSAN ? 3000 : 20000;
    for (int type = HEIR_SET; type <= HEIR_ORDERED_SET; type++) {
        struct heir_table *table = NULL, *reader = NULL;
        struct heir_snapshot *snapshot = NULL, *empty = NULL;
        struct model model = {.type = (enum heir_type)type}, none = model;
        begin_pair(&table, &reader, (enum heir_type)type, 0);
        REQUIRE_RC(heir_snapshot_open(reader, &empty), 0);
        REQUIRE_RC(fill(table, &model, many, 0), 0);
        REQUIRE_RC(heir_snapshot_open(reader, &snapshot), 0);
        for (uint32_t round = 1; round <= 8; round++) {
            int rc = fill(table, NULL, many, round);
            if (round % 3 == 0 && !rc)
                rc = heir_clear(table);
            for (uint32_t i = 0; i < many && round % 3 == 1 && !rc; i++)
                rc = heir_del(table, &(uint32_t){i * 2654435761u}, 4);
            CHECK_RC(rc, 0);
            if (!CHECK_RC(snapshot_holds(snapshot, &model), 0))
                break;
        }
        same_content((struct view){.snapshot = snapshot}, &model, "after many writes");
        same_content((struct view){.snapshot = empty}, &none, "the empty state");
        whole(reader, "with snapshots", NULL);
        CHECK_RC(heir_snapshot_close(snapshot), 0);
        CHECK_RC(heir_snapshot_close(empty), 0);
        model_free(&model);
        CHECK_RC(heir_destroy(table), 0);
        CHECK_RC(heir_detach(reader), 0);
    }
}

static void arguments(void)
{
    struct heir_table *table = NULL, *reader = NULL;
    struct heir_snapshot *snapshot = NULL;
    char value[8];
    const void *view = NULL;
    size_t len = 2;
    begin_pair(&table, &reader, HEIR_SET, 0);
    CHECK_RC(heir_put(table, "k", 1, "value", 5), 0);
    CHECK_RC(heir_snapshot_close(NULL), 0);
    CHECK_EQ(heir_snapshot_state(NULL), 0);
    CHECK_RC(heir_snapshot_check(NULL), -EINVAL);
    CHECK_RC(heir_snapshot_open(NULL, &snapshot), -EINVAL);
    CHECK_RC(heir_snapshot_open(reader, NULL), -EINVAL);
    CHECK_RC(heir_snapshot_get(NULL, "k", 1, value, &len), -EINVAL);
    REQUIRE_RC(heir_snapshot_open(reader, &snapshot), 0);
    CHECK_RC(heir_del(table, "k", 1), 0);
    CHECK_RC(heir_snapshot_get(snapshot, "k", 1, value, &len), -ENOBUFS);
    CHECK_EQ(len, 5);
    CHECK_RC(heir_snapshot_get(snapshot, "k", 1, NULL, NULL), 0);
    len = 0;
    CHECK_RC(heir_snapshot_get(snapshot, "k", 1, NULL, &len), -ENOBUFS);
    CHECK_RC(heir_snapshot_get(snapshot, "", 0, value, &len), -EINVAL);
    CHECK_RC(heir_snapshot_get(snapshot, "kk", 2, value, &len), -ENOENT);
    CHECK_RC(heir_snapshot_view(snapshot, "kk", 2, &view, &len), -ENOENT);
    CHECK_RC(heir_snapshot_view(snapshot, "k", 1, &view, &len), 0);
    CHECK_BYTES(view, len, "value", 5);
    CHECK_RC(heir_snapshot_view(snapshot, "k", 1, NULL, &len), -EINVAL);
    CHECK_RC(heir_snapshot_foreach(snapshot, NULL, NULL), -EINVAL);
    struct tour tour = {0};
    CHECK_RC(heir_snapshot_range(snapshot, NULL, 0, NULL, 0, tour_visit, &tour), -ENOTSUP);
    CHECK_RC(heir_snapshot_range_reverse(snapshot, NULL, 0, NULL, 0, tour_visit, &tour), -ENOTSUP);
    CHECK_RC(heir_snapshot_values(snapshot, "kk", 2, tour_visit, &tour), -ENOENT);
    CHECK_RC(heir_snapshot_close(snapshot), 0);
}

/* Sixteen a client. */
static void the_seventeenth(void)
{
    struct heir_table *table = NULL, *reader = NULL;
    struct heir_snapshot *snapshot[16], *other[16], *more = NULL;
    begin_pair(&table, &reader, HEIR_SET, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 16; i++) {
            REQUIRE_RC(heir_snapshot_open(reader, &snapshot[i]), 0);
            REQUIRE_RC(heir_put(table, "n", 1, &i, sizeof i), 0);
        }
        CHECK_RC(heir_snapshot_open(reader, &more), -EBUSY);
        for (int i = 0; i < 16; i++) /* another client has its own */
            REQUIRE_RC(heir_snapshot_open(table, &other[i]), 0);
        CHECK_RC(heir_snapshot_open(table, &more), -EBUSY);
        CHECK_RC(heir_snapshot_close(snapshot[5]), 0);
        CHECK_RC(heir_snapshot_open(reader, &snapshot[5]), 0);
        CHECK_RC(heir_snapshot_open(reader, &more), -EBUSY);
        for (int i = 0; i < 16; i++) {
            int n = -1, want = i == 5 ? 15 : i - 1;
            size_t len = sizeof n;
            int rc = heir_snapshot_get(snapshot[i], "n", 1, &n, &len);
            CHECK(i == 0 && round == 0 ? rc == -ENOENT : rc == 0 && n == (i ? want : 15), "snapshot %d: %s, %d", i,
                  error_text(rc), n);
            CHECK_RC(heir_snapshot_close(snapshot[i]), 0);
            CHECK_RC(heir_snapshot_close(other[i]), 0);
        }
    }
}

/* ---- They are broken ---------------------------------------------------------------------------------- */

/* The oldest goes first; the writer always has room; what is broken stays broken, everywhere. */
static void broken(void)
{
    static const uint64_t sizes[] = {HEIR_TABLE_MIN, 256 << 10, 1 << 20};
    for (unsigned i = 0; i < 3 * 2; i++) {
        enum heir_type type = i % 2 ? HEIR_ORDERED_SET : HEIR_SET;
        struct heir_table *table = NULL, *reader = NULL;
        struct heir_snapshot *snapshot[3];
        struct model model[3] = {{.type = type}, {.type = type}, {.type = type}};
        uint32_t many = (uint32_t)(sizes[i / 2] / 1500);
        bool gone[3] = {false}, good = true;
        begin_pair(&table, &reader, type, sizes[i / 2]);
        for (int k = 0; k < 3; k++) {
            REQUIRE_RC(fill(table, &model[k], many, 100 * (uint32_t)k), 0);
            REQUIRE_RC(heir_snapshot_open(k == 1 ? table : reader, &snapshot[k]), 0);
        }
        for (uint32_t round = 0; round < 200 && good && !(gone[0] && gone[1] && gone[2]); round++) {
            good = CHECK_RC(fill(table, NULL, many, round), 0);
            for (int k = 2; k >= 0 && good; k--) {
                int rc = snapshot_holds(snapshot[k], &model[k]);
                good = CHECK(rc == -ESTALE || (rc == 0 && !gone[k]), "snapshot %d in round %u: %s", k, round,
                             error_text(rc)) &&
                       CHECK(rc == 0 || k == 2 || !gone[k + 1] || gone[k] || rc == -ESTALE);
                gone[k] = rc == -ESTALE;
                if (k < 2)
                    good = good && CHECK(gone[k] || !gone[k + 1], "snapshot %d was broken before the older one", k + 1);
            }
        }
        CHECK(gone[0] && gone[1] && gone[2], "not broken: %d %d %d", !gone[0], !gone[1], !gone[2]);
        for (int k = 0; k < 3; k++) {
            char value[64];
            const void *view;
            size_t len = sizeof value;
            struct tour tour = {.model = &model[k], .seen = calloc(1, model[k].count)};
            const struct object *one = model[k].at[0];
            CHECK_RC(heir_snapshot_check(snapshot[k]), -ESTALE);
            CHECK_RC(heir_snapshot_get(snapshot[k], one->bytes, one->key_len, value, &len), -ESTALE);
            CHECK_RC(heir_snapshot_get(snapshot[k], "not there", 9, value, &len), -ESTALE);
            CHECK_RC(heir_snapshot_view(snapshot[k], one->bytes, one->key_len, &view, &len), -ESTALE);
            CHECK_RC(heir_snapshot_foreach(snapshot[k], tour_visit, &tour), -ESTALE);
            CHECK_RC(heir_snapshot_values(snapshot[k], one->bytes, one->key_len, tour_visit, &tour), -ESTALE);
            if (type == HEIR_ORDERED_SET) {
                CHECK_RC(heir_snapshot_range(snapshot[k], NULL, 0, NULL, 0, tour_visit, &tour), -ESTALE);
                CHECK_RC(heir_snapshot_range_reverse(snapshot[k], NULL, 0, NULL, 0, tour_visit, &tour), -ESTALE);
            }
            CHECK_EQ(tour.count, 0);
            CHECK_RC(heir_snapshot_close(snapshot[k]), 0);
            free(tour.seen);
            model_free(&model[k]);
        }
        whole(reader, "after breaking", NULL);
        CHECK_RC(heir_destroy(table), 0);
        CHECK_RC(heir_detach(reader), 0);
    }
}

/* A walk over a snapshot whose visit fills the table: what it is shown is right until it is told that it is broken. */
struct breaking {
    struct tour tour; /* first: tour_visit() gets it */
    struct heir_table *table;
    uint32_t many, salt;
    int error;
};

static int breaking_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct breaking *b = arg;
    tour_visit(key, key_len, value, value_len, &b->tour);
    int rc = fill(b->table, NULL, b->many / 8, b->salt++);
    if (rc)
        b->error = rc;
    return 0;
}

static void broken_in_a_walk(void)
{
    for (unsigned i = 0; i < 2 * 5; i++) {
        enum heir_type type = i % 2 ? HEIR_ORDERED_SET : HEIR_SET;
        struct heir_table *table = NULL, *reader = NULL;
        struct heir_snapshot *snapshot = NULL;
        struct model model = {.type = type};
        uint32_t many = 60;
        begin_pair(&table, &reader, type, HEIR_TABLE_MIN);
        REQUIRE_RC(fill(table, &model, many, 0), 0);
        REQUIRE_RC(heir_snapshot_open(reader, &snapshot), 0);
        for (unsigned k = 0; k < i / 2 * many; k++) /* nearer and nearer to the end of the room */
            REQUIRE_RC(fill(table, NULL, 1, k), 0);
        struct breaking b = {{.model = &model, .seen = calloc(1, many)}, table, many, 0, 0};
        int rc = toured(&b.tour, heir_snapshot_foreach(snapshot, breaking_visit, &b), many);
        CHECK(rc == 0 || rc == -ESTALE, "%s", error_text(rc));
        CHECK_RC(b.error, 0);
        if (type == HEIR_ORDERED_SET && heir_snapshot_check(snapshot) == 0) {
            b.tour.in_order = true;
            rc = toured(&b.tour, heir_snapshot_range(snapshot, NULL, 0, NULL, 0, breaking_visit, &b), many);
            CHECK(rc == 0 || rc == -ESTALE, "%s", error_text(rc));
        }
        rc = snapshot_holds(snapshot, &model);
        CHECK(rc == -ESTALE || rc == 0, "%s", error_text(rc));
        CHECK_RC(heir_snapshot_close(snapshot), 0);
        free(b.tour.seen);
        model_free(&model);
        CHECK_RC(heir_destroy(table), 0);
        CHECK_RC(heir_detach(reader), 0);
    }
}

static const struct test tests[] = {{"many states", many_states},
                                    {"through many writes", through_many_writes},
                                    {"arguments", arguments},
                                    {"the seventeenth", the_seventeenth},
                                    {"broken", broken},
                                    {"broken in a walk", broken_in_a_walk},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {
        {.name = "snapshots", .tests = tests}, {.name = "others", .tests = snapshots_others}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
