/* SPDX-License-Identifier: MIT */
/*
 * A writer at full speed, killed again and again in the middle of its transactions, and the keeper now and then: each
 * transaction that was committed is told exactly once and whole, or is within a gap that is told; and the copy is the
 * table. HEIR_TEST_SECONDS makes it longer.
 *
 * Each transaction has the number that follows on the last committed one's under the key "seq", and moves money between
 * accounts, so that the sum of all stays the same. Some are long, some are undone.
 */
#include "feed.h"

#include <heir/inspect.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define ACCOUNTS 200
#define START    INT64_C(1000)
#define AHEAD    20000 /* transactions that the writer may be ahead of one who has all held */

static _Atomic int64_t *told; /* by the held follower; shared with the writer */

/* ---- The writer --------------------------------------------------------------------------------------- */

struct job {
    uint64_t seed;
    bool waits;
};

static size_t account(uint64_t number, char key[16])
{
    return (size_t)snprintf(key, 16, "a%u", (unsigned)number);
}

static int move_money(struct heir_table *t, struct rnd *rnd)
{
    int64_t rest = 0, seq;
    bool long_one = rnd_below(rnd, 500) == 0;
    int rc = heir_begin(t);
    if (rc == 0 && rnd_below(rnd, 4) == 0) /* a change that says nothing about the sum */
        rc = heir_put(t, "blob", 4, &rest, rnd_below(rnd, 9));
    if (rc == 0)
        rc = heir_add(t, "seq", 3, 1, &seq);
    for (uint64_t moves = long_one ? 1000 : 2 + rnd_below(rnd, 4); moves > 0 && rc == 0; moves--) {
        int64_t amount = moves == 1 ? -rest : (int64_t)rnd_below(rnd, 200) - 100, balance = 0;
        size_t value_len = sizeof balance;
        char key[16];
        size_t len = account(rnd_below(rnd, ACCOUNTS), key);
        rest += amount;
        if (rnd_below(rnd, 2) == 0) {
            rc = heir_add(t, key, len, amount, NULL);
            continue;
        }
        rc = heir_take(t, key, len, &balance, &value_len); /* away, and back */
        balance += amount;
        if (rc == 0)
            rc = heir_put_new(t, key, len, &balance, sizeof balance);
    }
    if (rc != 0) {
        heir_abort(t);
        return rc;
    }
    return rnd_below(rnd, 16) != 0 ? heir_commit(t) : heir_abort(t);
}

static int set_up(struct heir_table *t)
{
    int64_t start = START, seq = 0;
    int rc = heir_begin(t);
    for (unsigned i = 0; i < ACCOUNTS && rc == 0; i++) {
        char key[16];
        rc = heir_put(t, key, account(i, key), &start, sizeof start);
    }
    if (rc == 0)
        rc = heir_put(t, "seq", 3, &seq, sizeof seq);
    return rc == 0 ? heir_commit(t) : rc;
}

static int be_writer(struct agent_self *self, void *arg)
{
    struct job *job = arg;
    struct rnd rnd = {job->seed};
    struct heir_table *t = NULL;
    int64_t seq = 0;
    int rc = heir_claim(self->client, "t", NULL, -1, &t);
    while (rc == 0) {
        size_t len = sizeof seq;
        rc = move_money(t, &rnd);
        while (rc == 0 && job->waits && heir_get(t, "seq", 3, &seq, &len) == 0 && seq > atomic_load(told) + AHEAD)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return rc;
}

/* ---- The reader --------------------------------------------------------------------------------------- */

struct follower {
    struct heir_table *table;
    struct heir_feed *feed;
    struct copy copy;
    int64_t sum, seq;
    uint64_t odd;  /* transactions that are not whole, twice, or out of order */
    bool skipped;  /* something has been missed since the last one */
    int64_t until; /* when to stop, also between two changes */
};

#define STOPPED 1

static int64_t number_of(const void *value, size_t len)
{
    int64_t number = 0;
    if (len == sizeof number)
        memcpy(&number, value, sizeof number);
    return number;
}

static int64_t balance(const struct model *model, const void *key, size_t key_len)
{
    if (key_len == 0 || *(const char *)key != 'a' || !model_has(model, key, key_len))
        return 0;
    const struct object *object = model->at[model_from(model, key, key_len)];
    return number_of(object_value(object), object->value_len);
}

static int follow_change(const struct heir_change *change, void *arg)
{
    struct follower *f = arg;
    f->sum -= balance(&f->copy.model, change->key, change->key_len);
    copy_change(change, &f->copy);
    f->sum += balance(&f->copy.model, change->key, change->key_len);
    if (change->kind == HEIR_CHANGE_MISSED)
        f->skipped = true;
    if (change->kind == HEIR_CHANGE_PUT && change->key_len == 3 && memcmp(change->key, "seq", 3) == 0) {
        int64_t seq = number_of(change->value, change->value_len);
        f->odd += f->skipped ? seq <= f->seq : seq != f->seq + 1;
        f->seq = seq;
        f->skipped = false;
    }
    f->odd += change->last && !f->copy.gapped && f->sum != START * ACCOUNTS;
    return f->copy.changes % 64 == 0 && now_ms() > f->until ? STOPPED : 0;
}

static int add_object(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    model_put(arg, key, key_len, value, value_len);
    return 0;
}

/* From a snapshot, and with the changes from there on. */
static bool follow_from_snapshot(struct follower *f, int hold)
{
    struct heir_snapshot *snapshot = NULL;
    uint64_t odd = f->odd;
    unsigned gaps = f->copy.gaps, wrong = f->copy.wrong;
    copy_end(&f->copy);
    heir_feed_close(f->feed);
    f->feed = NULL;
    if (!CHECK_RC(heir_snapshot_open(f->table, &snapshot), 0))
        return false;
    uint64_t state = heir_snapshot_state(snapshot);
    bool good =
        CHECK_RC(heir_feed_open(f->table, &(struct heir_feed_options){.from = state + 1, .hold = hold}, &f->feed), 0);
    int rc = heir_snapshot_foreach(snapshot, add_object, &f->copy.model);
    heir_snapshot_close(snapshot);
    f->copy.gaps = gaps;
    f->copy.wrong = wrong;
    f->odd = odd;
    f->copy.txn = state;
    f->copy.last = true;
    f->copy.changes = 1;
    f->skipped = f->copy.gapped = rc == -ESTALE && !hold; /* a full table has broken it: another time */
    if (!good || !CHECK(rc == 0 || f->skipped, "%s", error_text(rc)) || f->skipped)
        return good;
    f->sum = 0;
    for (size_t i = 0; i < f->copy.model.count; i++)
        f->sum += balance(&f->copy.model, f->copy.model.at[i]->bytes, f->copy.model.at[i]->key_len);
    size_t at = model_from(&f->copy.model, "seq", 3);
    good = good && CHECK(model_has(&f->copy.model, "seq", 3)) && CHECK_EQ(f->sum, START * ACCOUNTS);
    if (good)
        f->seq = number_of(object_value(f->copy.model.at[at]), f->copy.model.at[at]->value_len);
    return good;
}

static bool follow(struct follower *f)
{
    int rc = heir_feed_read(f->feed, 0, follow_change, f);
    return CHECK(rc == 0 || rc == STOPPED, "%s", error_text(rc)) &&
           CHECK(f->odd == 0 && f->copy.wrong == 0, "%" PRIu64 " odd, %u wrong, at transaction %" PRIu64, f->odd,
                 f->copy.wrong, f->copy.txn);
}

/* ---- Kills -------------------------------------------------------------------------------------------- */

static struct agent *new_writer(struct rnd *rnd, bool waits)
{
    struct job job = {rnd_next(rnd), waits};
    struct agent *writer = agent_new("writer");
    agent_call_send(writer, be_writer, &job, sizeof job);
    return writer;
}

static void ends_as_the_table(struct follower *f)
{
    struct model table = {.type = f->copy.model.type};
    f->until = INT64_MAX;
    if (!follow(f))
        return;
    CHECK_RC(heir_foreach(f->table, add_object, &table), 0);
    if (!f->copy.gapped)
        copy_is(&f->copy, &table);
    if (CHECK(model_has(&table, "seq", 3))) {
        const struct object *seq = table.at[model_from(&table, "seq", 3)];
        CHECK(f->skipped || f->seq == number_of(object_value(seq), seq->value_len), "seq %" PRId64, f->seq);
    }
    model_free(&table);
}

/* Two followers, one held; and one who looks without a client. */
static void kills(enum heir_type type, uint64_t max_bytes, bool hold)
{
    struct rnd rnd = {test_seed};
    struct heir_table *t = NULL;
    struct follower one = {.copy.model.type = type}, look = {.copy.model.type = type};
    unsigned deaths = 0;
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(told != MAP_FAILED);
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *c = test_open("reader");
    REQUIRE_RC(heir_create(c, "t", &(struct heir_table_options){.type = type, .max_bytes = max_bytes}, &t), 0);
    REQUIRE_RC(set_up(t), 0);
    one.table = t;
    bool good = follow_from_snapshot(&one, hold);
    REQUIRE_RC(heir_inspect_open(NULL, "t", &look.table), 0);
    REQUIRE_RC(heir_feed_open(look.table, NULL, &look.feed), 0);
    look.copy.gapped = look.skipped = true;
    CHECK_RC(heir_release(t), 0);
    int64_t end = now_ms() + (int64_t)(test_seconds(3) * 1000);
    while (now_ms() < end && good) {
        struct agent *writer = new_writer(&rnd, hold);
        one.until = look.until = now_ms() + (int64_t)rnd_below(&rnd, 40);
        do {
            good = follow(&one) && follow(&look);
            atomic_store(told, one.seq);
            if (good && one.copy.gapped)
                good = follow_from_snapshot(&one, hold);
        } while (good && now_ms() < one.until);
        agent_kill(writer);
        if (++deaths % 20 == 0) {
            keeper_kill();
            REQUIRE_EQ(keeper_start(NULL), 0);
        }
    }
    struct heir_table *mine = NULL;
    CHECK_RC(heir_claim(c, "t", NULL, PATIENCE, &mine), 0); /* the last one is buried, what it left is undone */
    if (good) {
        ends_as_the_table(&one);
        ends_as_the_table(&look);
    }
    printf("# %u deaths, to transaction %" PRIu64 "; gaps: %u%s, without a client %u\n", deaths, one.copy.txn,
           one.copy.gaps, hold ? " although held" : "", look.copy.gaps);
    CHECK(deaths > 1 && one.copy.txn > 100);
    CHECK(!hold || one.copy.gaps == 0, "held, and %u gaps", one.copy.gaps);
    CHECK_RC(heir_feed_close(look.feed), 0);
    heir_inspect_close(look.table);
    copy_end(&one.copy);
    copy_end(&look.copy);
    munmap(told, sizeof *told);
}

static void held(void)
{
    if (shm_has_room(256 << 20))
        kills(HEIR_SET, 256 << 20, true);
}

static void held_in_order(void)
{
    if (shm_has_room(256 << 20))
        kills(HEIR_ORDERED_SET, 256 << 20, true);
}

static void not_held(void)
{
    kills(HEIR_SET, 4 << 20, false);
}

static void broken(void)
{
    kills(HEIR_ORDERED_SET, 1 << 20, false);
}

const struct test speed_tests[] = {
    {"held", held}, {"held, in order", held_in_order}, {"not held", not_held}, {"a small table", broken}, {NULL, NULL}};
