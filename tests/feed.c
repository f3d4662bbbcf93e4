/* SPDX-License-Identifier: MIT */
/*
 * Feeds: a copy made from the changes alone is the table, after each commit, whatever was done to it and whoever was
 * killed; what was missed is told, exactly once and without anything wrong before or after it. feed_speed.c has the
 * writers at full speed, and their deaths.
 */
#include "feed.h"

#include "play.h"

#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- The copy ----------------------------------------------------------------------------------------- */

static size_t equal_one(const struct model *model, const struct heir_change *change)
{
    size_t i = model_from(model, change->key, change->key_len), end = model_end(model, change->key, change->key_len);
    while (i < end && !object_is(model->at[i], change->key, change->key_len, change->value, change->value_len))
        i++;
    return i < end ? i : model->count;
}

int copy_change(const struct heir_change *change, void *arg)
{
    struct copy *copy = arg;
    bool missed = change->kind == HEIR_CHANGE_MISSED, end = copy->last || copy->changes == 0;
    copy->wrong += change->txn < copy->txn || (end && change->txn == copy->txn) || (!end && change->txn != copy->txn);
    copy->wrong += missed ? change->missed_last < change->txn || !change->last : change->missed_last != 0;
    copy->txn = missed ? change->missed_last : change->txn;
    copy->last = change->last != 0;
    copy->changes++;
    copy->transactions += !missed && copy->last;
    copy->gaps += missed;
    if (missed) {
        copy->missed_first = change->txn;
        copy->missed_last = change->missed_last;
        copy->gapped = true;
    } else if (change->kind == HEIR_CHANGE_CLEARED) {
        model_remove(&copy->model, 0, copy->model.count);
    } else if (change->kind == HEIR_CHANGE_PUT) {
        model_put(&copy->model, change->key, change->key_len, change->value, change->value_len);
    } else if (change->kind == HEIR_CHANGE_DELETED) {
        size_t i = equal_one(&copy->model, change);
        copy->wrong += !copy->gapped && i == copy->model.count;
        if (i < copy->model.count)
            model_remove(&copy->model, i, i + 1);
    } else {
        copy->wrong++;
    }
    return 0;
}

bool copy_is(const struct copy *copy, const struct model *model)
{
    bool same = copy->wrong == 0 && copy->model.count == model->count;
    for (size_t i = 0; same && i < model->count; i++) {
        const struct object *a = copy->model.at[i], *b = model->at[i];
        same = object_is(a, b->bytes, b->key_len, object_value(b), b->value_len);
    }
    return CHECK(same, "%zu objects in the copy, %zu in the table; %u wrong, after %" PRIu64 " changes",
                 copy->model.count, model->count, copy->wrong, copy->changes);
}

void copy_end(struct copy *copy)
{
    model_free(&copy->model);
    *copy = (struct copy){.model.type = copy->model.type};
}

static struct heir_feed *feed_of(struct heir_table *table, uint64_t from, int hold)
{
    struct heir_feed *feed = NULL;
    REQUIRE_RC(heir_feed_open(table, &(struct heir_feed_options){.from = from, .hold = hold}, &feed), 0);
    return feed;
}

/* ---- All that can be done to a table ------------------------------------------------------------------ */

/* The copy begins anew from a snapshot of the last commit, as far as which the feed has told all. */
static bool begin_anew(struct copy *copy, const struct heir_feed *feed, struct play *play)
{
    struct heir_snapshot *snapshot = NULL;
    bool good = CHECK_RC(heir_snapshot_open(play->reader, &snapshot), 0) &&
                CHECK_EQ(heir_snapshot_state(snapshot), heir_feed_state(feed));
    heir_snapshot_close(snapshot);
    model_copy(&copy->model, play->open ? &play->before : &play->now);
    copy->gapped = false;
    return good;
}

/* Random operations and transactions. Two feeds, both held or not; one is read at once, the other now and then: that
 * misses much, unless it is held. */
static void play_all(enum heir_type type, int hold)
{
    static struct play play;
    struct copy copies[2] = {{.model.type = type}, {.model.type = type}};
    struct heir_feed *feeds[2];
    unsigned steps = TEST_ASAN || TEST_TSAN ? 8000 : 30000;
    bool good = true;
    play_begin(&play, type, type % 2 ? KEYS_PREFIXES : KEYS_BYTE, 0);
    for (int i = 0; i < 2; i++)
        feeds[i] = feed_of(play.reader, 0, hold);
    for (unsigned step = 1; step <= steps && good; step++) {
        good = play_step(&play);
        for (int i = 0; i < 2 && good; i++) {
            if (step % (i == 0 ? 1 : 500) != 0)
                continue;
            good = CHECK_RC(heir_feed_read(feeds[i], 0, copy_change, &copies[i]), 0);
            if (copies[i].gapped)
                good =
                    CHECK(i == 1 && !hold, "missed: feed %d, %d", i, hold) && begin_anew(&copies[i], feeds[i], &play);
            if (step % 100 == 0)
                good = good && copy_is(&copies[i], play.open ? &play.before : &play.now);
        }
    }
    CHECK(hold || copies[1].gaps > 10, "%u gaps", copies[1].gaps);
    CHECK(copies[0].changes > steps / 4);
    for (int i = 0; i < 2; i++) {
        CHECK_RC(heir_feed_close(feeds[i]), 0);
        copy_end(&copies[i]);
    }
    if (good)
        play_end(&play);
}

static void all_operations(void)
{
    for (int type = HEIR_SET; type <= HEIR_DUPLICATE_BAG; type++)
        for (int hold = 0; hold < 2; hold++)
            play_all((enum heir_type)type, hold);
}

/* ---- What is told of one transaction ------------------------------------------------------------------ */

struct told {
    char text[1024];
    int stop_after; /* changes; 0: never */
};

static int tell(const struct heir_change *change, void *arg)
{
    static const char *const kinds[] = {"?", "+", "-", "clear", "missed"};
    struct told *told = arg;
    size_t used = strlen(told->text);
    snprintf(told->text + used, sizeof told->text - used, "%s%.*s%s%.*s%s", kinds[change->kind], (int)change->key_len,
             (const char *)change->key, change->value_len ? "=" : "", (int)change->value_len,
             (const char *)change->value, change->last ? "; " : " ");
    return --told->stop_after == 0 ? 77 : 0;
}

#define TELLS(feed, expected)                                                                                          \
    do {                                                                                                               \
        struct told all = {.text = ""};                                                                                \
        CHECK_RC(heir_feed_read(feed, 0, tell, &all), 0);                                                              \
        CHECK_STR(all.text, expected);                                                                                 \
    } while (0)

static void put(struct heir_table *t, const char *key, const char *value)
{
    CHECK_RC(heir_put(t, key, strlen(key), value, strlen(value)), 0);
}

static void transactions(void)
{
    struct heir_table *t = NULL, *bag = NULL;
    struct told told = {.stop_after = 2};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *c = test_open("owner");
    REQUIRE_RC(heir_create(c, "t", NULL, &t), 0);
    struct heir_feed *feed = feed_of(t, 0, 0);
    uint64_t state = heir_feed_state(feed);
    TELLS(feed, "");
    put(t, "a", "1");
    put(t, "a", "22");
    TELLS(feed, "+a=1; +a=22; ");
    CHECK_EQ(heir_feed_state(feed), state + 2);
    CHECK_RC(heir_del(t, "a", 1), 0);
    put(t, "b", "");
    TELLS(feed, "-a=22; +b; ");
    CHECK_RC(heir_begin(t), 0);
    put(t, "a", "3");
    CHECK_RC(heir_del(t, "nothing", 7), -ENOENT);
    CHECK_RC(heir_put_new(t, "b", 1, "x", 1), -EEXIST);
    TELLS(feed, "");
    CHECK_RC(heir_abort(t), 0);
    CHECK_RC(heir_begin(t), 0);
    put(t, "c", "1");
    put(t, "c", "2");
    CHECK_RC(heir_del(t, "c", 1), 0);
    CHECK_RC(heir_clear(t), 0);
    put(t, "d", "4");
    TELLS(feed, "");
    CHECK_RC(heir_commit(t), 0);
    /* stopped, and gone on with */
    CHECK_RC(heir_feed_read(feed, 0, tell, &told), 77);
    CHECK_STR(told.text, "+c=1 +c=2 ");
    CHECK_EQ(heir_feed_state(feed), state + 4);
    put(t, "e", "5");
    TELLS(feed, "-c=2 clear +d=4; +e=5; ");
    CHECK_EQ(heir_feed_state(feed), state + 6);
    CHECK_RC(heir_begin(t), 0);
    CHECK_RC(heir_commit(t), 0); /* of nothing */
    TELLS(feed, "");
    CHECK_EQ(heir_feed_state(feed), state + 6);
    CHECK_RC(heir_feed_close(feed), 0);
    /* as far as one wants */
    feed = feed_of(t, state + 1, 0);
    struct told part = {.text = ""};
    CHECK_RC(heir_feed_read(feed, state + 2, tell, &part), 0);
    CHECK_STR(part.text, "+a=1; +a=22; ");
    CHECK_EQ(heir_feed_state(feed), state + 2);
    CHECK_RC(heir_feed_read(feed, state + 1, tell, &part), 0);
    CHECK_EQ(heir_feed_state(feed), state + 2);
    CHECK_RC(heir_feed_read(feed, state + 3, tell, &part), 0);
    CHECK_STR(part.text, "+a=1; +a=22; -a=22; ");
    CHECK_EQ(heir_feed_state(feed), state + 3);
    TELLS(feed, "+b; +c=1 +c=2 -c=2 clear +d=4; +e=5; ");
    CHECK_RC(heir_feed_close(feed), 0);
    /* from where it was, and from what is yet to come */
    feed = feed_of(t, state + 6, 0);
    TELLS(feed, "+e=5; ");
    CHECK_RC(heir_feed_close(feed), 0);
    feed = feed_of(t, state + 8, 1);
    put(t, "f", "6");
    TELLS(feed, "");
    put(t, "g", "7");
    TELLS(feed, "+g=7; ");
    CHECK_RC(heir_feed_close(feed), 0);

    REQUIRE_RC(heir_create(c, "bag", &(struct heir_table_options){.type = HEIR_BAG}, &bag), 0);
    feed = feed_of(bag, 0, 0);
    put(bag, "k", "1");
    put(bag, "k", "2");
    put(bag, "k", "1");
    CHECK_RC(heir_del_object(bag, "k", 1, "1", 1), 0);
    CHECK_RC(heir_put(bag, "k", 1, "3", 1), 0);
    CHECK_RC(heir_del(bag, "k", 1), 0);
    TELLS(feed, "+k=1; +k=2; -k=1; +k=3; -k=2 -k=3; ");
    CHECK_RC(heir_feed_close(feed), 0);
}

/* ---- What is missed ----------------------------------------------------------------------------------- */

static void missed(void)
{
    struct heir_table *t = NULL;
    struct heir_info info = {0};
    struct copy copy = {.model.type = HEIR_SET}, held = {.model.type = HEIR_SET}, small = {.model.type = HEIR_SET};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *c = test_open("owner");
    REQUIRE_RC(heir_create(c, "t", &(struct heir_table_options){.max_bytes = 64 << 20}, &t), 0);
    struct heir_feed *feed = feed_of(t, 0, 0), *holds = feed_of(t, 0, 1);
    uint64_t state = heir_feed_state(feed);
    for (int64_t i = 0; i < 50000; i++)
        REQUIRE_RC(heir_put(t, "key", 3, &i, sizeof i), 0);
    CHECK_RC(heir_feed_read(holds, 0, copy_change, &held), 0);
    CHECK(held.wrong == 0 && held.gaps == 0 && held.transactions == 50000, "%u wrong, %u gaps, %" PRIu64, held.wrong,
          held.gaps, held.transactions);
    CHECK_EQ(held.txn, state + 50000);
    CHECK_RC(heir_feed_read(feed, 0, copy_change, &copy), 0); /* the other one's pin serves it, too */
    CHECK(copy.wrong == 0 && copy.gaps == 0 && copy.transactions == 50000);
    CHECK_RC(heir_feed_close(holds), 0);
    copy_end(&copy);
    for (int64_t i = 0; i < 50000; i++)
        REQUIRE_RC(heir_put(t, "key", 3, &i, sizeof i), 0);
    CHECK_RC(heir_info(t, &info), 0);
    CHECK_RC(heir_feed_read(feed, 0, copy_change, &copy), 0);
    CHECK(copy.wrong == 0 && copy.gaps == 1, "%u wrong, %u gaps", copy.wrong, copy.gaps);
    CHECK_EQ(copy.missed_first, state + 50001);
    CHECK_EQ(copy.missed_last, info.horizon);
    CHECK_EQ(copy.transactions, info.committed - info.horizon);
    CHECK_EQ(copy.txn, info.committed);
    CHECK(copy.transactions >= 64, "%" PRIu64, copy.transactions);
    CHECK_RC(heir_feed_close(feed), 0);

    /* from the beginning: the first one that is there */
    feed = feed_of(t, 1, 0);
    copy_end(&copy);
    CHECK_RC(heir_feed_read(feed, 0, copy_change, &copy), 0);
    CHECK_EQ(copy.missed_first, 1);
    CHECK_EQ(copy.missed_last, info.horizon);
    CHECK_RC(heir_feed_close(feed), 0);
    CHECK_RC(heir_destroy(t), 0);

    /* a full table takes back what is held */
    REQUIRE_RC(heir_create(c, "small", &(struct heir_table_options){.max_bytes = 1 << 20}, &t), 0);
    feed = feed_of(t, 0, 1);
    for (int64_t i = 0; i < 50000; i++)
        REQUIRE_RC(heir_put(t, "key", 3, &i, sizeof i), 0);
    CHECK_RC(heir_feed_read(feed, 0, copy_change, &small), 0);
    CHECK(small.wrong == 0 && small.gaps >= 1 && small.transactions >= 1, "%u wrong, %u gaps", small.wrong, small.gaps);
    copy_end(&small);
    for (int64_t i = 0; i < 200; i++) /* and it holds again */
        REQUIRE_RC(heir_put(t, "key", 3, &i, sizeof i), 0);
    CHECK_RC(heir_feed_read(feed, 0, copy_change, &small), 0);
    CHECK(small.wrong == 0 && small.gaps == 0 && small.transactions == 200, "%u gaps", small.gaps);
    CHECK_RC(heir_feed_close(feed), 0);
    copy_end(&copy);
    copy_end(&held);
    copy_end(&small);
}

static int count_pins(const struct heir_client_info *info, int error, void *arg)
{
    *(uint64_t *)arg += info->pins;
    return error;
}

/* One that is read all the time holds little: neither more and more memory, nor pins that stay. */
static void holds_little(void)
{
    struct heir_table *t = NULL;
    struct heir_info before = {0}, info = {0};
    struct copy copy = {.model.type = HEIR_SET};
    uint64_t pins = 0;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *c = test_open("owner");
    REQUIRE_RC(heir_create(c, "t", NULL, &t), 0);
    struct heir_feed *feed = feed_of(t, 0, 1);
    for (int64_t i = 0; i < 200000; i++) {
        REQUIRE_RC(heir_put(t, "key", 3, &i, sizeof i), 0);
        if (i % 1000 == 0)
            REQUIRE_RC(heir_feed_read(feed, 0, copy_change, &copy), 0);
        if (i == 100000)
            CHECK_RC(heir_info(t, &before), 0);
    }
    CHECK_RC(heir_info(t, &info), 0);
    CHECK(copy.gaps == 0 && copy.wrong == 0);
    CHECK_RC(heir_inspect_clients(NULL, count_pins, &pins), 0);
    CHECK(pins == 1 || pins == 2, "%" PRIu64 " pins", pins);
    pins = 0;
    CHECK(info.bytes_used < before.bytes_used + (16 << 20), "%" PRIu64 " bytes, after half of it %" PRIu64,
          info.bytes_used, before.bytes_used);
    CHECK_RC(heir_feed_close(feed), 0);
    CHECK_RC(heir_inspect_clients(NULL, count_pins, &pins), 0);
    CHECK_EQ(pins, 0);
    copy_end(&copy);
}

/* ---- Errors, ends ------------------------------------------------------------------------------------- */

static int stop(const struct heir_change *change, void *arg)
{
    (void)change, (void)arg;
    return 1;
}

static void errors(void)
{
    struct heir_table *t = NULL, *r = NULL, *private = NULL, *look = NULL;
    struct heir_feed *feed = NULL, *more[20] = {NULL};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *c = test_open("owner"), *d = test_open("reader");
    REQUIRE_RC(heir_create(c, "t", NULL, &t), 0);
    REQUIRE_RC(heir_create(c, "p", &(struct heir_table_options){.access = HEIR_PRIVATE}, &private), 0);
    REQUIRE_RC(heir_attach(d, "t", &r), 0);
    CHECK_RC(heir_feed_open(NULL, NULL, &feed), -EINVAL);
    CHECK_RC(heir_feed_open(t, NULL, NULL), -EINVAL);
    CHECK_RC(heir_feed_open(t, &(struct heir_feed_options){.hold = 2}, &feed), -EINVAL);
    CHECK_RC(heir_feed_open(t, &(struct heir_feed_options){.reserved = {1}}, &feed), -EINVAL);
    CHECK_RC(heir_feed_read(NULL, 0, stop, NULL), -EINVAL);
    CHECK_RC(heir_feed_close(NULL), 0);
    CHECK_EQ(heir_feed_state(NULL), 0);
    CHECK_RC(heir_feed_open(private, NULL, &feed), 0);
    CHECK_RC(heir_feed_close(feed), 0);
    CHECK_RC(heir_feed_open(r, NULL, &feed), 0);
    CHECK_RC(heir_feed_read(feed, 0, NULL, NULL), -EINVAL);
    CHECK_RC(heir_detach(r), -EBUSY);
    put(t, "k", "v");
    pid_t pid = fork(); /* nothing for a child */
    if (pid == 0)
        _exit(heir_feed_read(feed, 0, stop, NULL) == -ENOTCONN && heir_feed_close(feed) == -ENOTCONN ? 0 : 1);
    int status = -1;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    CHECK_RC(heir_feed_read(feed, 0, stop, NULL), 1);
    CHECK_RC(heir_feed_close(feed), 0);
    int held = 0;
    for (; held < 20 && heir_feed_open(r, &(struct heir_feed_options){.hold = 1}, &more[held]) == 0; held++)
        ;
    CHECK_EQ(held, 16);
    CHECK_RC(heir_feed_open(r, &(struct heir_feed_options){.hold = 1}, &feed), -EBUSY);
    while (held > 8)
        CHECK_RC(heir_feed_close(more[--held]), 0);
    CHECK_RC(heir_inspect_open(NULL, "t", &look), 0);
    CHECK_RC(heir_feed_open(look, &(struct heir_feed_options){.hold = 1}, &feed), -ECONNREFUSED);
    CHECK_RC(heir_feed_open(look, NULL, &feed), 0);
    put(t, "k", "w");
    /* a table that is removed, and one without a keeper, are read as before */
    CHECK_RC(heir_destroy(t), 0);
    TELLS(feed, "+k=w; ");
    TELLS(more[0], "+k=w; ");
    CHECK_RC(heir_feed_close(feed), 0);
    heir_inspect_close(look);
    keeper_kill();
    CHECK_RC(heir_feed_open(private, &(struct heir_feed_options){.hold = 1}, &feed), -ECONNREFUSED);
    CHECK_RC(heir_feed_open(private, NULL, &feed), 0);
    put(private, "k", "v");
    TELLS(feed, "+k=v; ");
    REQUIRE_EQ(keeper_start(NULL), 0);
    test_close(d); /* with eight open */
    test_close(c); /* with one */
}

static const struct test tests[] = {
    {"all operations", all_operations}, {"transactions", transactions}, {"missed", missed},
    {"holds little", holds_little},     {"errors and ends", errors},    {NULL, NULL}};

int main(int argc, char **argv)
{
    return test_main(
        argc, argv,
        (const struct test_suite[]){{"feed", tests, NULL}, {"speed", speed_tests, NULL}, {NULL, NULL, NULL}});
}
