/* SPDX-License-Identifier: MIT */
/*
 * Object operations against a model: an array in the test's own memory that every operation is also done to, with
 * transactions that commit and abort at random, a reader that must see the last commit, and an owner that changes now
 * and then. Then growth to many objects, and several threads of one owner. objects_space.c has tables that run full.
 */
#include "objects.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define IDS       3000 /* keys that the random operations use */
#define BIG_EVERY 500  /* one in so many keys is big */
#define VALUE_MAX (64 << 10)

/* ---- Keys: each id has one ---------------------------------------------------------------------------- */

static size_t key_of(unsigned id, unsigned char *key)
{
    struct rnd rnd = {id};
    size_t len =
        id % BIG_EVERY == BIG_EVERY - 1 ? 1000 + rnd_below(&rnd, HEIR_KEY_MAX - 1000) : 3 + rnd_below(&rnd, 298);
    if (id < 200) {
        key[0] = (unsigned char)id;
        return 1;
    }
    key[0] = (unsigned char)id;
    key[1] = (unsigned char)(id >> 8);
    if (id < 300)
        return 2;
    if (id < IDS / 2) /* heir_get() has a way of its own for these */
        len = 8;
    for (size_t i = 2; i < len; i++)
        key[i] = (unsigned char)(id * 7 + i * (i >> 3));
    return len;
}

static int id_of(const unsigned char *key, size_t len)
{
    static unsigned char want[HEIR_KEY_MAX];
    unsigned id = len == 1 ? key[0] : key[0] | (unsigned)key[1] << 8;
    if (id >= IDS || key_of(id, want) != len || memcmp(want, key, len))
        return -1;
    return (int)id;
}

/* ---- Keys of eight bytes: read by another way ------------------------------------------------------------ */

#define LENGTHS 5000

static void look(struct heir_table *table, uint64_t key, const unsigned char *value, size_t len, size_t room)
{
    static unsigned char got[LENGTHS + 32];
    size_t got_len = room;
    memset(got, 0xa5, sizeof got);
    int r = heir_get(table, &key, sizeof key, got, &got_len);
    CHECK(r == (room < len ? -ENOBUFS : 0), "value of %zu bytes, room for %zu: %s", len, room, heir_strerror(r));
    CHECK_EQ(got_len, len);
    if (r == 0)
        CHECK(memcmp(got, value, len) == 0, "value of %zu bytes, room for %zu: other bytes", len, room);
    for (size_t i = r == 0 ? len : room; i < sizeof got; i++) {
        if (got[i] != 0xa5) {
            CHECK(false, "value of %zu bytes, room for %zu: byte %zu was written", len, room, i);
            break;
        }
    }
}

static void every_length(void)
{
    static unsigned char value[LENGTHS];
    const struct heir_table_options options = {.access = HEIR_PROTECTED};
    struct heir_table *table, *reader;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me"), *other = test_open("other");
    REQUIRE_RC(heir_create(me, "t", &options, &table), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (unsigned char)(i * 7 + (i >> 8));
    for (size_t len = 0; len < LENGTHS; len = len < 200 || len > 3900 ? len + 1 : len + 61) {
        uint64_t key = len * UINT64_C(0x9e3779b97f4a7c15);
        REQUIRE_RC(heir_put(table, &key, sizeof key, value, len), 0);
        look(table, key, value, len, LENGTHS);
        look(reader, key, value, len, len);
        if (len > 0)
            look(reader, key, value, len, len - 1);
        if (len % 3 == 0) {
            size_t room = LENGTHS;
            static unsigned char got[LENGTHS];
            CHECK_RC(heir_put(table, &key, sizeof key, value + 1, len / 2), 0);
            look(reader, key, value + 1, len / 2, LENGTHS);
            CHECK_RC(heir_del(table, &key, sizeof key), 0);
            CHECK_RC(heir_get(reader, &key, sizeof key, got, &room), -ENOENT);
            CHECK_EQ(room, LENGTHS);
        }
    }
    uint64_t key = 1; /* longer ones that begin like it are other keys */
    unsigned char longer[HEIR_KEY_MAX] = {1};
    for (size_t len = sizeof key + 1; len < 600; len++)
        CHECK_RC(heir_put(table, longer, len, value, len), 0);
    CHECK_RC(heir_get(reader, &key, sizeof key, value, &(size_t){sizeof value}), -ENOENT);
    /* inside a transaction its owner sees what it has done, and nobody else does */
    key = UINT64_C(0x9e3779b97f4a7c15); /* of the value of one byte */
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_put(table, &key, sizeof key, value + 2, 17), 0);
    look(table, key, value + 2, 17, LENGTHS);
    look(reader, key, value, 1, LENGTHS);
    CHECK_RC(heir_clear(table), 0);
    CHECK_RC(heir_put(table, &key, sizeof key, value + 3, 18), 0);
    look(table, key, value + 3, 18, LENGTHS);
    look(reader, key, value, 1, LENGTHS);
    CHECK_RC(heir_abort(table), 0);
    look(table, key, value, 1, LENGTHS);
    CHECK_RC(heir_clear(table), 0);
    CHECK_RC(heir_get(reader, &key, sizeof key, longer, &(size_t){sizeof longer}), -ENOENT);
    CHECK_RC(heir_get(table, &key, sizeof key, longer, &(size_t){sizeof longer}), -ENOENT);
}

/* ---- The model ---------------------------------------------------------------------------------------- */

struct object {
    bool there;
    size_t len;
    unsigned char *value;
};

struct undo {
    unsigned id;
    struct object before;
};

static struct object model[IDS];
static unsigned objects;
static bool open_txn;
static struct undo *journal; /* of the open transaction */
static size_t undos, undo_room;

static void set(unsigned id, bool there, const void *value, size_t len)
{
    struct object *object = &model[id];
    objects += (unsigned)there - (unsigned)object->there;
    if (open_txn) {
        if (undos == undo_room)
            journal = realloc(journal, (undo_room = undo_room * 2 + 64) * sizeof *journal);
        journal[undos++] = (struct undo){id, *object};
    } else {
        free(object->value);
    }
    *object = (struct object){there, len, NULL};
    if (there && len) {
        object->value = malloc(len);
        memcpy(object->value, value, len);
    }
}

static void end_model_transaction(bool commit)
{
    open_txn = false;
    while (undos) {
        struct undo *undo = &journal[--undos];
        if (commit) {
            free(undo->before.value);
            continue;
        }
        objects += (unsigned)undo->before.there - (unsigned)model[undo->id].there;
        free(model[undo->id].value);
        model[undo->id] = undo->before;
    }
}

static void free_model(void)
{
    end_model_transaction(true);
    for (unsigned id = 0; id < IDS; id++)
        free(model[id].value);
    memset(model, 0, sizeof model);
    objects = 0;
    free(journal);
    journal = NULL;
    undo_room = 0;
}

/* What a reader sees of it: what was there before the open transaction. */
static const struct object *committed_object(unsigned id)
{
    for (size_t i = 0; i < undos; i++)
        if (journal[i].id == id)
            return &journal[i].before;
    return &model[id];
}

/* ---- The comparison ----------------------------------------------------------------------------------- */

static unsigned char key[HEIR_KEY_MAX], value[VALUE_MAX], room[VALUE_MAX];
static unsigned operation; /* its number, for messages */

static bool same(const char *what, unsigned id, int rc, const void *got, size_t len, const struct object *want)
{
    bool good = rc == (want->there ? 0 : -ENOENT);
    if (good && rc == 0)
        good = len == want->len && (len == 0 || memcmp(got, want->value, len) == 0);
    return CHECK(good, "operation %u, %s of key %u: %s, %zu bytes; the model: %s, %zu bytes", operation, what, id,
                 error_text(rc), len, want->there ? "there" : "absent", want->len);
}

static bool compare_get(struct heir_table *table, const char *what, unsigned id, const struct object *want)
{
    size_t len = sizeof room, key_len = key_of(id, key);
    int rc = heir_get(table, key, key_len, room, &len);
    return same(what, id, rc, room, len, want);
}

struct walk {
    unsigned char seen[IDS];
    unsigned count, wrong;
    bool committed;
};

static int compare_visit(const void *k, size_t k_len, const void *v, size_t v_len, void *arg)
{
    struct walk *walk = arg;
    int id = id_of(k, k_len);
    walk->count++;
    if (id < 0 || walk->seen[id]++) {
        walk->wrong++;
        return 0;
    }
    const struct object *want = walk->committed ? committed_object((unsigned)id) : &model[id];
    if (!want->there || want->len != v_len || (v_len && memcmp(want->value, v, v_len)))
        walk->wrong++;
    return 0;
}

static bool compare_all(struct heir_table *table, bool committed)
{
    static struct walk walk;
    unsigned want = 0;
    memset(&walk, 0, sizeof walk);
    walk.committed = committed;
    for (unsigned id = 0; id < IDS; id++)
        want += committed ? committed_object(id)->there : model[id].there;
    bool good = CHECK_RC(heir_foreach(table, compare_visit, &walk), 0);
    good &= CHECK(walk.wrong == 0 && walk.count == want, "operation %u: %u objects, %u wrong or twice; expected %u",
                  operation, walk.count, walk.wrong, want);
    return good;
}

/* ---- Random operations -------------------------------------------------------------------------------- */

static size_t random_value(struct rnd *rnd)
{
    uint64_t kind = rnd_below(rnd, 100);
    size_t len = kind < 5    ? 0
                 : kind < 30 ? 8
                 : kind < 90 ? rnd_below(rnd, 400)
                 : kind < 98 ? rnd_below(rnd, 5000)
                             : rnd_below(rnd, VALUE_MAX + 1);
    uint64_t seed = rnd_next(rnd);
    if (len == 8)
        seed = kind % 8 == 0 ? seed : seed >> 40; /* most are small numbers for heir_add() */
    for (size_t i = 0; i < len; i += 8, seed = seed * 6364136223846793005u + (len > 8))
        memcpy(value + i, &seed, len - i < 8 ? len - i : 8);
    return len;
}

static bool random_add(struct heir_table *table, struct rnd *rnd, unsigned id, size_t key_len)
{
    int64_t delta = (int64_t)rnd_next(rnd) >> rnd_below(rnd, 62), sum = 0, old = 0;
    const struct object *before = &model[id];
    int want = 0, rc = heir_add(table, key, key_len, delta, &sum);
    if (before->there && before->len != 8)
        want = -EINVAL;
    else if (before->there)
        memcpy(&old, before->value, 8);
    int64_t expected = 0;
    if (!want && __builtin_add_overflow(old, delta, &expected))
        want = -ERANGE;
    if (!want) {
        set(id, true, &expected, 8);
        return CHECK(rc == 0 && sum == expected, "operation %u, add to key %u: %s, %lld, expected %lld", operation, id,
                     error_text(rc), (long long)sum, (long long)expected);
    }
    return CHECK(rc == want, "operation %u, add to key %u: %s, expected %s", operation, id, error_text(rc),
                 error_text(want));
}

static bool random_write(struct heir_table *table, struct rnd *rnd, unsigned id)
{
    size_t key_len = key_of(id, key), len = 0;
    uint64_t what = rnd_below(rnd, 100);
    struct object *object = &model[id];
    int rc, want;
    if (what < 45) {
        len = random_value(rnd);
        rc = heir_put(table, key, key_len, value, len);
        set(id, true, value, len);
        return CHECK(rc == 0, "operation %u, put of key %u: %s", operation, id, error_text(rc));
    }
    if (what < 55) {
        len = random_value(rnd);
        rc = heir_put_new(table, key, key_len, value, len);
        want = object->there ? -EEXIST : 0;
        if (!want)
            set(id, true, value, len);
        return CHECK(rc == want, "operation %u, put_new of key %u: %s", operation, id, error_text(rc));
    }
    if (what < 75) {
        rc = heir_del(table, key, key_len);
        want = object->there ? 0 : -ENOENT;
        if (!want)
            set(id, false, NULL, 0);
        return CHECK(rc == want, "operation %u, del of key %u: %s", operation, id, error_text(rc));
    }
    if (what < 85) {
        len = sizeof room;
        rc = heir_take(table, key, key_len, room, &len);
        bool good = same("take", id, rc, room, len, object);
        if (object->there)
            set(id, false, NULL, 0);
        return good;
    }
    return random_add(table, rnd, id, key_len);
}

static bool random_rest(struct heir_table *table, struct heir_table *reader, struct rnd *rnd)
{
    uint64_t what = rnd_below(rnd, 1000);
    unsigned id = (unsigned)rnd_below(rnd, IDS);
    if (what < 900) {
        bool good = compare_get(table, "get", id, &model[id]);
        return good && compare_get(reader, "reader's get", id, committed_object(id));
    }
    if (what < 910 && rnd_below(rnd, 20) == 0) {
        int rc = heir_clear(table);
        for (id = 0; id < IDS; id++)
            if (model[id].there)
                set(id, false, NULL, 0);
        return CHECK(rc == 0, "operation %u, clear: %s", operation, error_text(rc));
    }
    if (what < 925)
        return compare_all(table, false) && compare_all(reader, true);
    if (!open_txn) {
        int rc = heir_begin(table);
        open_txn = true;
        return CHECK(rc == 0, "operation %u, begin: %s", operation, error_text(rc));
    }
    bool commit = what % 2;
    int rc = commit ? heir_commit(table) : heir_abort(table);
    end_model_transaction(commit);
    return CHECK(rc == 0, "operation %u, %s: %s", operation, commit ? "commit" : "abort", error_text(rc));
}

static void random_operations(void)
{
    struct rnd rnd = {test_seed};
    struct heir *client[2];
    struct heir_table *table[2] = {NULL, NULL};
    unsigned owner = 0, end = TEST_ASAN || TEST_TSAN ? 20000 : 100000;
    REQUIRE_EQ(keeper_start(NULL), 0);
    client[0] = test_open("one");
    client[1] = test_open("two");
    REQUIRE_RC(heir_create(client[0], "t", NULL, &table[0]), 0);
    REQUIRE_RC(heir_attach(client[1], "t", &table[1]), 0);
    bool good = true;
    for (operation = 0; operation < end && good; operation++) {
        unsigned id = (unsigned)rnd_below(&rnd, rnd_below(&rnd, 4) ? 600 : IDS); /* some keys are hotter */
        if (rnd_below(&rnd, 10) < 6)
            good = random_write(table[owner], &rnd, id);
        else
            good = random_rest(table[owner], table[!owner], &rnd);
        if (good && !open_txn && rnd_below(&rnd, 2000) == 0) { /* the other one goes on */
            good = CHECK_RC(heir_give_away(table[owner], heir_id(client[!owner]), NULL, 0), 0);
            owner = !owner;
        }
    }
    struct heir_info info = {0};
    if (open_txn) {
        CHECK_RC(heir_commit(table[owner]), 0);
        end_model_transaction(true);
    }
    if (good) {
        compare_all(table[0], false);
        compare_all(table[1], false);
        CHECK_RC(heir_info(table[owner], &info), 0);
        CHECK_EQ(info.objects, objects);
    }
    free_model();
}

/* ---- Growth ------------------------------------------------------------------------------------------- */

#define MANY 200000u

static size_t value_of(uint64_t number, unsigned char *out)
{
    struct rnd rnd = {number};
    size_t len = 8 + rnd_below(&rnd, 60);
    memcpy(out, &number, 8);
    memset(out + 8, (int)number & 0xff, len - 8);
    return len;
}

struct tally {
    unsigned char *seen;
    uint64_t count, wrong;
};

static int tally_visit(const void *k, size_t k_len, const void *v, size_t v_len, void *arg)
{
    struct tally *tally = arg;
    unsigned char want[80];
    uint64_t number = MANY;
    if (k_len == sizeof number)
        memcpy(&number, k, sizeof number);
    tally->count++;
    if (number >= MANY || tally->seen[number]++ || value_of(number, want) != v_len || memcmp(want, v, v_len))
        tally->wrong++;
    return 0;
}

static void check_many(struct heir_table *table, uint64_t step)
{
    struct tally tally = {.seen = calloc(1, MANY)};
    struct heir_info info = {0};
    CHECK_RC(heir_foreach(table, tally_visit, &tally), 0);
    CHECK_EQ(tally.wrong, 0);
    CHECK_EQ(tally.count, (MANY + step - 1) / step);
    CHECK_RC(heir_info(table, &info), 0);
    CHECK_EQ(info.objects, tally.count);
    for (uint64_t number = 0; number < MANY; number += 997) {
        unsigned char want[80], got[80];
        size_t len = sizeof got, want_len = value_of(number, want);
        int rc = heir_get(table, &number, 8, got, &len);
        if (number % step)
            CHECK_RC(rc, -ENOENT);
        else if (CHECK_RC(rc, 0))
            CHECK_BYTES(got, len, want, want_len);
    }
    free(tally.seen);
}

static void growth(void)
{
    struct heir_table *table = NULL, *reader = NULL;
    unsigned char bytes[80];
    if (!shm_has_room(UINT64_C(192) << 20))
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me"), *other = test_open("other");
    REQUIRE_RC(heir_create(me, "t", NULL, &table), 0);
    REQUIRE_RC(heir_attach(other, "t", &reader), 0);
    for (uint64_t number = 0; number < MANY; number++)
        if (heir_put_new(table, &number, 8, bytes, value_of(number, bytes)))
            REQUIRE_EQ(number, -1);
    check_many(reader, 1);
    for (uint64_t number = 0; number < MANY; number++) /* in the opposite direction, without the even ones */
        if ((MANY - 1 - number) % 2 && heir_del(table, &(uint64_t){MANY - 1 - number}, 8))
            REQUIRE_EQ(number, -1);
    check_many(reader, 2);
    REQUIRE_RC(heir_clear(table), 0);
    for (uint64_t number = 0; number < MANY; number += 3) /* and again, into what has been given back */
        if (heir_put(table, &number, 8, bytes, value_of(number, bytes)))
            REQUIRE_EQ(number, -1);
    check_many(reader, 3);
    /* one transaction over everything, undone */
    REQUIRE_RC(heir_begin(table), 0);
    for (uint64_t number = 0; number < MANY; number += 3)
        if (heir_del(table, &number, 8) || heir_put(table, &(uint64_t){number + 1}, 8, bytes, 8))
            REQUIRE_EQ(number, -1);
    REQUIRE_RC(heir_abort(table), 0);
    check_many(reader, 3);
    check_many(table, 3);
}

static void big_values(void)
{
    struct heir_table *table = NULL;
    size_t size = (size_t)9 << 20;
    if (!shm_has_room(UINT64_C(96) << 20))
        return;
    unsigned char *bytes = malloc(size), *got = malloc(size);
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me");
    int rc = heir_create(me, "t", &(struct heir_table_options){.max_bytes = 64 << 20}, &table);
    for (unsigned round = 0; rc == 0 && round < 24; round++) {
        size_t len = size - round * 1000, room_len = size;
        memset(bytes, (int)round + 1, len);
        rc = heir_put(table, round % 2 ? "big" : "other", round % 2 ? 3 : 5, bytes, len);
        if (rc == 0 && (rc = heir_get(table, round % 2 ? "big" : "other", round % 2 ? 3 : 5, got, &room_len)) == 0)
            CHECK(room_len == len && memcmp(got, bytes, len) == 0, "round %u", round);
    }
    CHECK_RC(rc, 0);
    free(bytes);
    free(got);
}

/* ---- Several threads of one owner --------------------------------------------------------------------- */

#define THREADS 4
#define ADDS    4000

static struct heir_table *shared;
static _Atomic bool done;

static void *add_many(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < ADDS; i++) {
        int rc;
        if (i % 4 == 0) { /* a transfer between two counters, by two changes */
            if ((rc = heir_begin(shared)) || (rc = heir_add(shared, "a", 1, -(int64_t)i, NULL)) ||
                (rc = heir_add(shared, "b", 1, i, NULL)) || (rc = heir_commit(shared)))
                return (void *)(intptr_t)rc;
        } else if ((rc = heir_add(shared, &(char){(char)('0' + number)}, 1, 1, NULL)) ||
                   (rc = heir_add(shared, "all", 3, 1, NULL))) {
            return (void *)(intptr_t)rc;
        }
    }
    return NULL;
}

static int sum_ab(const void *k, size_t k_len, const void *v, size_t v_len, void *arg)
{
    int64_t number;
    if (k_len == 1 && v_len == 8 && (*(const char *)k == 'a' || *(const char *)k == 'b')) {
        memcpy(&number, v, 8);
        *(int64_t *)arg += number;
    }
    return 0;
}

static void *watch_sum(void *arg)
{
    uintptr_t looks = 0;
    (void)arg;
    while (!done) {
        int64_t sum = 0;
        if (heir_foreach(shared, sum_ab, &sum) || sum)
            return NULL;
        looks++;
    }
    return (void *)(looks + 1);
}

static void threads_of_the_owner(void)
{
    pthread_t thread[THREADS], watcher;
    void *result = NULL;
    int64_t sum = 0;
    done = false;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me");
    REQUIRE_RC(heir_create(me, "t", NULL, &shared), 0);
    REQUIRE_RC(heir_put(shared, "a", 1, &sum, 8), 0);
    REQUIRE_RC(heir_put(shared, "b", 1, &sum, 8), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, add_many, (void *)i);
    pthread_create(&watcher, NULL, watch_sum, NULL);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], &result);
        CHECK_RC((int)(intptr_t)result, 0);
    }
    done = true;
    pthread_join(watcher, &result);
    CHECK(result != NULL, "a walk saw half of a transaction");
    CHECK_RC(heir_add(shared, "all", 3, 0, &sum), 0);
    CHECK_EQ(sum, THREADS * (ADDS - ADDS / 4));
    for (char name = '0'; name < '0' + THREADS; name++) {
        CHECK_RC(heir_add(shared, &name, 1, 0, &sum), 0);
        CHECK_EQ(sum, ADDS - ADDS / 4);
    }
}

static const struct test tests[] = {{"random operations", random_operations},
                                    {"every length", every_length},
                                    {"growth", growth},
                                    {"big values", big_values},
                                    {"threads of the owner", threads_of_the_owner},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {
        {.name = "objects", .tests = tests}, {.name = "space", .tests = objects_space}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
