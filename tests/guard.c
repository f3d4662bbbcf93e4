/* SPDX-License-Identifier: MIT */
/*
 * Stray stores of a worker: through every pointer that the library hands out, at its ends, all over it, and into the
 * pages around it. Each is done by a process of its own, the table's owner. It dies of SIGSEGV, or it has hit memory of
 * its own (a walk's private copy); in either case the next owner finds the table whole, at its last commit. Only what
 * heir_edit() lends can be written to, until the transaction ends, and reaches no other object.
 */
#include "model.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SMALL 7u
#define BIG   3000u
#define LENT  60u /* bytes, as other values have: their blocks are neighbours */

/* ---- The worker --------------------------------------------------------------------------------------- */

enum where { FIRST, LAST, ALL, BEHIND, BESIDE, AROUND, WHERES };

#define SURVIVED 1000 /* what a worker answers when its store did not fault */

/* These stores are meant: no sanitizer shall stop them. */
#define STRAY    __attribute__((noinline, no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

static sigjmp_buf back;

static void go_back(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

/* Stores behind it, on both sides of it, or one into each of the pages before and after, whether they fault or not. */
STRAY static void store_around(unsigned char *at, size_t len, enum where where)
{
    struct rnd rnd = {(uintptr_t)at};
    const bool near = where != AROUND;
    const intptr_t page = near ? 1 : 4096, pages = near ? 2000 : 64, from = where == BEHIND ? 0 : -pages;
    struct sigaction action = {.sa_handler = go_back, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    for (volatile intptr_t i = from; i <= pages + (intptr_t)len / page; i++) {
        uintptr_t any = ((uintptr_t)at & ~(uintptr_t)4095) + (uintptr_t)(i * page) + rnd_below(&rnd, 4096);
        volatile unsigned char *volatile to = near ? at + i : (unsigned char *)any;
        bool own = (uintptr_t)to - (uintptr_t)at < len; /* and this function's stack and `back` must live on */
        own |= (uintptr_t)to / 4096 - (uintptr_t)&rnd / 4096 + 8 <= 16;
        own |= (uintptr_t)to / 4096 == (uintptr_t)&back / 4096;
        if (!own && sigsetjmp(back, 1) == 0)
            *to ^= 0x5a;
    }
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
}

STRAY static void store(const void *pointer, size_t len, enum where where)
{
    volatile unsigned char *at = (unsigned char *)(uintptr_t)pointer;
    switch (where) {
    case FIRST:
        at[0] ^= 0x5a;
        break;
    case LAST:
        at[len - 1] ^= 0x5a;
        break;
    case ALL:
        for (size_t i = 0; i < len; i++)
            at[len - 1 - i] ^= 0x5a;
        break;
    default:
        store_around((unsigned char *)(uintptr_t)pointer, len, where);
        raise(SIGKILL); /* nothing of this process is to be trusted any more */
    }
}

struct order {
    enum where where;
    enum heir_type type;
    unsigned count;
    int way;
};

struct aim {
    struct order order;
    unsigned seen;
    bool at_key;
};

static int aim_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct aim *aim = arg;
    if (aim->seen++ == aim->order.count / 2 || aim->order.count == 1)
        store(aim->at_key ? key : value, aim->at_key ? key_len : value_len, aim->order.where);
    return 0;
}

static uint32_t middle(const struct order *order)
{
    return order->count / 2;
}

typedef int range_fn(struct heir_table *, const void *, size_t, const void *, size_t, heir_visit *, void *);

static struct heir_table *the_table(struct agent_self *self)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would make an exit code of it */
    signal(SIGBUS, SIG_DFL);
    return agent_table(self, "t");
}

/* way: 0 and 1 a walk, 2 and 3 one key, 4 to 7 ranges; odd: the key. */
static int through_a_visit(struct agent_self *self, void *arg)
{
    struct aim aim = {*(struct order *)arg, 0, ((struct order *)arg)->way % 2};
    struct heir_table *table = the_table(self);
    uint32_t key = middle(&aim.order);
    int rc;
    if (aim.order.way / 2 == 0) {
        rc = heir_foreach(table, aim_visit, &aim);
    } else if (aim.order.way / 2 == 1) {
        aim.order.count = 1;
        rc = heir_values(table, &key, 4, aim_visit, &aim);
    } else {
        range_fn *range = aim.order.way / 2 == 2 ? heir_range : heir_range_reverse;
        rc = range(table, NULL, 0, NULL, 0, aim_visit, &aim);
    }
    return rc ? rc : SURVIVED;
}

static int through_a_visit_in_a_transaction(struct agent_self *self, void *arg)
{
    int rc = heir_begin(the_table(self));
    if (!rc)
        rc = heir_put(the_table(self), "mine", 4, "not committed", 13);
    rc = rc ? rc : through_a_visit(self, arg);
    if (rc == SURVIVED)
        heir_abort(the_table(self));
    return rc;
}

/* way: 0 outside, 1 inside of a transaction, 2 of an object changed in it. */
static int through_a_view(struct agent_self *self, void *arg)
{
    struct order *order = arg;
    struct heir_table *table = the_table(self);
    const void *value = NULL;
    uint32_t key = middle(order);
    size_t len = 0;
    int rc = order->way ? heir_begin(table) : 0;
    if (!rc && order->way == 2)
        rc = heir_put(table, &key, 4, "put in this transaction", 23);
    if (!rc)
        rc = heir_view(table, &key, 4, &value, &len);
    if (rc)
        return rc;
    store(value, len, order->where);
    return SURVIVED;
}

/* way: 0 the view, 1 and 2 the walk, 3 and 4 one key, 5 and 6 the range; even: the key. */
static int through_a_snapshot(struct agent_self *self, void *arg)
{
    struct aim aim = {*(struct order *)arg, 0, ((struct order *)arg)->way % 2 == 0};
    struct heir_snapshot *snapshot = NULL;
    const void *value = NULL;
    uint32_t key = middle(&aim.order);
    size_t len = 0;
    int rc = heir_snapshot_open(the_table(self), &snapshot);
    if (rc)
        return rc;
    if (aim.order.way == 0) {
        rc = heir_snapshot_view(snapshot, &key, 4, &value, &len);
        if (!rc)
            store(value, len, aim.order.where);
    } else if (aim.order.way <= 2) {
        rc = heir_snapshot_foreach(snapshot, aim_visit, &aim);
    } else if (aim.order.way <= 4) {
        aim.order.count = 1;
        rc = heir_snapshot_values(snapshot, &key, 4, aim_visit, &aim);
    } else {
        rc = heir_snapshot_range(snapshot, NULL, 0, NULL, 0, aim_visit, &aim);
    }
    return rc ? rc : SURVIVED;
}

/* way: 0 while it is lent, 1 after an abort; or another change came later: 2 put, 3 del, 4 clear, 5 cas, 6 an edit of
 * another length. */
static int edit_in_a_way(struct heir_table *table, int way, uint32_t key, void **memory)
{
    void *lent = NULL, *again = NULL;
    int rc = heir_begin(table);
    if (!rc)
        rc = heir_edit(table, &key, 4, LENT, &lent);
    if (rc)
        return rc;
    *memory = lent;
    memset(lent, 'e', LENT);
    switch (way) {
    case 0:
        break;
    case 1:
        rc = heir_abort(table);
        break;
    case 2:
        rc = heir_put(table, &key, 4, "put", 3);
        break;
    case 3:
        rc = heir_del(table, &key, 4);
        break;
    case 4:
        rc = heir_clear(table);
        break;
    case 5:
        rc = heir_cas(table, &key, 4, lent, LENT, "x", 1);
        break;
    default:
        rc = heir_edit(table, &key, 4, LENT + 3, &again);
    }
    return rc;
}

static int through_an_edit(struct agent_self *self, void *arg)
{
    struct order *order = arg;
    void *lent = NULL;
    int rc = edit_in_a_way(the_table(self), order->way, middle(order), &lent);
    if (rc)
        return rc;
    store(lent, LENT, order->where);
    return SURVIVED;
}

#define MORE 300u /* objects that come after the edit, and may get memory that it leaves */

/* The same, more changes, stray stores where it was lent, and a commit. */
static int edit_and_commit_after_all(struct agent_self *self, void *arg)
{
    struct order *order = arg;
    struct heir_table *table = the_table(self);
    unsigned char value[LENT];
    void *lent = NULL;
    int rc = edit_in_a_way(table, order->way, middle(order), &lent);
    for (uint32_t i = 0; i < MORE && !rc; i++) {
        uint32_t key = 1000000 + i;
        memset(value, (int)i, sizeof value);
        rc = heir_put(table, &key, 4, value, sizeof value);
    }
    if (rc)
        return rc;
    store_around(lent, LENT, order->where);
    if (order->way)
        store(lent, LENT, ALL);
    return heir_commit(table);
}

/* ---- The next owner ----------------------------------------------------------------------------------- */

static struct heir *me;
static struct heir_table *table;
static struct model model;

static void begin(enum heir_type type, unsigned count)
{
    struct heir_table_options options = {.type = type};
    unsigned char value[600];
    if (!keeper_pid())
        REQUIRE_EQ(keeper_start(NULL), 0);
    me = test_open("me");
    REQUIRE_RC(heir_create(me, "t", &options, &table), 0);
    model_free(&model);
    model.type = type;
    for (uint32_t i = 0; i < count; i++) {
        size_t len = i % 5 == 4 ? 600 : 10 + i % 90;
        memset(value, (int)i, sizeof value);
        REQUIRE_RC(heir_put(table, &i, 4, value, len), 0);
        model_put(&model, &i, 4, value, len);
    }
}

static void end(void)
{
    CHECK_RC(heir_destroy(table), 0);
    test_close(me);
    model_free(&model);
}

/* One worker, one store. must_fault: it may not survive. Whether it did. */
static bool attempt(const char *name, agent_fn *fn, struct order order, bool must_fault)
{
    static const char *const places[] = {"first byte", "last byte", "all bytes",
                                         "behind it",  "beside it", "pages around"};
    char when[128];
    snprintf(when, sizeof when, "%s, way %d, %s, type %d, %u objects", name, order.way, places[order.where],
             (int)order.type, order.count);
    struct agent *worker = agent_new("worker");
    CHECK_RC(heir_release(table), 0);
    DO(worker, 0, "claim t %d none", patience(PATIENCE));
    int rc = agent_call(worker, fn, &order, sizeof order);
    if (rc == AGENT_DEAD) {
        CHECK_RC(agent_reap(worker, PATIENCE), 0);
        int died_of = WIFSIGNALED(worker->status) ? WTERMSIG(worker->status) : 0;
        CHECK(order.where >= BEHIND ? died_of : died_of == SIGSEGV, "%s: status %#x", when, (unsigned)worker->status);
    } else {
        CHECK(rc == SURVIVED, "%s: %s", when, error_text(rc));
        CHECK(!must_fault || order.where >= BEHIND, "%s: the store did not fault", when);
    }
    agent_kill(worker);
    CHECK_RC(heir_claim(me, "t", NULL, patience(PATIENCE), &table), 0);
    same_content((struct view){table, NULL}, &model, when);
    whole(table, when, NULL);
    return rc == SURVIVED;
}

static void all_ways(const char *name, agent_fn *fn, int ways, int ordered_ways, bool must_fault)
{
    unsigned stores = 0, copies = 0;
    for (int type = HEIR_SET; type <= HEIR_BAG; type++)
        for (unsigned big = 0; big < 2; big++) {
            begin((enum heir_type)type, big ? BIG : SMALL);
            for (int way = 0; way < (type == HEIR_ORDERED_SET ? ordered_ways : ways); way++)
                for (enum where where = FIRST; where < WHERES; where++) {
                    struct order order = {where, (enum heir_type)type, big ? BIG : SMALL, way};
                    copies += attempt(name, fn, order, must_fault);
                    stores++;
                }
            end();
        }
    printf(" (%u stray stores, %u into private copies)", stores, copies);
}

static void visits(void)
{
    all_ways("a visit", through_a_visit, 4, 8, false);
}

static void visits_in_a_transaction(void)
{
    all_ways("a visit in a transaction", through_a_visit_in_a_transaction, 2, 6, false);
}

static void views(void)
{
    all_ways("a view", through_a_view, 3, 3, true);
}

static void snapshot_views(void)
{
    all_ways("a snapshot's view", through_a_snapshot, 1, 1, true);
}

static void snapshots(void)
{
    all_ways("a snapshot", through_a_snapshot, 5, 7, false);
}

static void edits(void)
{
    for (unsigned i = 0; i < 2 * 2 * 7 * WHERES; i++) {
        struct order order = {(enum where)(i % WHERES), i / WHERES % 2 ? HEIR_ORDERED_SET : HEIR_SET,
                              i / WHERES / 2 % 2 ? BIG : SMALL, (int)(i / WHERES / 4)};
        begin(order.type, order.count);
        bool survived = attempt("an edit", through_an_edit, order, order.way == 1);
        if (order.way == 0 && order.where < BEHIND)
            CHECK(survived, "a store into what is lent faults");
        end();
    }
}

/* The next owner of a commit of edit_and_commit_after_all() finds what the changes say. Before the lent memory, within
 * reach, is the head of the edited object: with stores there too, each other object is as it should be. */
static void edits_overtaken(void)
{
    unsigned char value[LENT];
    for (unsigned i = 0; i < 2 * 2 * 2 * 7; i++) {
        struct order order = {i / 4 % 2 ? BESIDE : BEHIND, i % 2 ? HEIR_ORDERED_SET : HEIR_SET, i / 2 % 2 ? BIG : SMALL,
                              (int)(i / 8)};
        bool others = order.where == BESIDE || order.way == 0 || order.way == 6; /* the edited one has any bytes */
        char when[64];
        if (order.way == 1)
            continue;
        snprintf(when, sizeof when, "overtaken, way %d, type %d, %u objects", order.way, (int)order.type, order.count);
        begin(order.type, order.count);
        struct agent *worker = agent_new("worker");
        CHECK_RC(heir_release(table), 0);
        DO(worker, 0, "claim t %d none", patience(PATIENCE));
        CHECK_RC(agent_call(worker, edit_and_commit_after_all, &order, sizeof order), 0);
        agent_kill(worker);
        CHECK_RC(heir_claim(me, "t", NULL, patience(PATIENCE), &table), 0);
        uint32_t key = middle(&order);
        if (order.way == 2)
            model_put(&model, &key, 4, "put", 3);
        else if (order.way == 3)
            model_del(&model, &key, 4);
        else if (order.way == 4)
            model_free(&model);
        else if (order.way == 5)
            model_put(&model, &key, 4, "x", 1);
        for (uint32_t n = 0; n < MORE; n++) {
            memset(value, (int)n, sizeof value);
            model_put(&model, &(uint32_t){1000000 + n}, 4, value, sizeof value);
        }
        bool good = true;
        for (size_t k = 0; k < model.count && good && others; k++)
            if (memcmp(model.at[k]->bytes, &key, 4))
                good = same_key((struct view){table, NULL}, &model, model.at[k]->bytes, 4, when);
        if (!others)
            same_content((struct view){table, NULL}, &model, when);
        if (order.where == BEHIND)
            whole(table, when, NULL);
        end();
    }
}

/* After the commit: what was stored before it is there, and nothing that comes after it. */
static int edit_and_commit(struct agent_self *self, void *arg)
{
    struct order *order = arg;
    void *lent = NULL;
    uint32_t key = middle(order);
    int rc = heir_begin(the_table(self));
    if (!rc)
        rc = heir_edit(the_table(self), &key, 4, LENT, &lent);
    if (rc)
        return rc;
    memset(lent, 'c', LENT);
    rc = heir_commit(the_table(self));
    if (rc)
        return rc;
    store(lent, LENT, order->where);
    return SURVIVED;
}

static void edits_committed(void)
{
    unsigned char want[LENT];
    memset(want, 'c', sizeof want);
    for (int type = HEIR_SET; type <= HEIR_ORDERED_SET; type++)
        for (enum where where = FIRST; where < WHERES; where++) {
            struct order order = {where, (enum heir_type)type, BIG, 0};
            begin((enum heir_type)type, BIG);
            model_put(&model, &(uint32_t){middle(&order)}, 4, want, sizeof want);
            attempt("a committed edit", edit_and_commit, order, true);
            end();
        }
}

static const struct test tests[] = {{"visits", visits},
                                    {"transaction's visits", visits_in_a_transaction},
                                    {"views", views},
                                    {"snapshot's views", snapshot_views},
                                    {"snapshots", snapshots},
                                    {"edits", edits},
                                    {"edits overtaken", edits_overtaken},
                                    {"edits committed", edits_committed},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "guard", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
