/* SPDX-License-Identifier: MIT */
/*
 * Tables whose files go bad: flipped bits, random words, offsets that lead anywhere, files cut short, stretched, or
 * overwritten with something else; in tables of each type and in several states, before a keeper adopts them and under
 * the hands of all who have them mapped. (Cutting only before: touching what was cut is SIGBUS by the kernel, and who
 * may cut may do anything.)
 *
 * Then the table is read, checked and claimed, and everything is done with it that can be. Errors are right, and so is
 * wrong content; a crash, a hang or harm to another table is not. HEIR_TEST_SECONDS makes it longer.
 */
#include "../lib/format/layout.h"
#include "support.h"

#include <fcntl.h>
#include <heir/inspect.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VICTIMS 8
#define TYPES   4
#define KEYS    150

enum state { SMALL, GROWN, CLEARED, FULL, IN_TRANSACTION, STATES };

static bool there_is[TYPES]; /* which types the library has */

/* ---- Tables ------------------------------------------------------------------------------------------- */

struct victim {
    char name[16];
    int type, state;
    uint64_t max_bytes, seed;
};

static size_t make_key(char key[32], uint64_t number)
{
    return (size_t)snprintf(key, 32, number % 2 ? "key %d" : "a longer key: %d", (int)number);
}

/* One write of any kind, with one of a few keys. */
static int write_something(struct heir_table *t, struct rnd *rnd)
{
    static char value[20000];
    char key[32], other[32];
    size_t key_len = make_key(key, rnd_below(rnd, KEYS)), other_len = make_key(other, rnd_below(rnd, KEYS));
    size_t len = rnd_below(rnd, 6) ? rnd_below(rnd, 100) : rnd_below(rnd, sizeof value), room = sizeof value;
    struct heir_object objects[2] = {{key, key_len, value, len}, {other, other_len, "two", 3}};
    void *lent;
    int rc;

    switch (rnd_below(rnd, 14)) {
    case 0:
        return heir_put_new(t, key, key_len, value, len);
    case 1:
    case 2:
        return heir_del(t, key, key_len);
    case 3:
        return heir_take(t, key, key_len, value, &room);
    case 4:
        return heir_add(t, key, key_len, 1, NULL);
    case 5:
        return heir_add_wrap(t, key, key_len, 100, 1000, 0, NULL);
    case 6:
        return heir_put_many(t, objects, 2);
    case 7:
        return heir_put_new_many(t, objects, 2);
    case 8:
        return heir_cas(t, key, key_len, "two", 3, value, len);
    case 9:
        return heir_del_object(t, key, key_len, "two", 3);
    case 10:
        rc = heir_edit(t, key, key_len, 200, &lent);
        if (rc == 0)
            memset(lent, 1, 200);
        return rc;
    default:
        return heir_put(t, key, key_len, value, len);
    }
}

static void write_much(struct heir_table *t, struct rnd *rnd, int transactions)
{
    for (int i = 0; i < transactions; i++) {
        if (i % 5 != 0) {
            write_something(t, rnd);
            continue;
        }
        heir_begin(t);
        for (int n = 0; n < 8; n++)
            write_something(t, rnd);
        i % 10 == 0 ? heir_commit(t) : heir_abort(t);
    }
}

static int make_victim(struct agent_self *self, void *arg)
{
    const struct victim *v = arg;
    struct heir_table_options options = {.type = (enum heir_type)v->type, .max_bytes = v->max_bytes};
    struct rnd rnd = {v->seed};
    struct heir_table *t;
    char key[32];
    int rc = heir_create(self->client, v->name, &options, &t);
    if (rc)
        return rc;
    agent_note(self, v->name, t);
    rc = heir_put(t, "first", 5, "one", 3);
    write_much(t, &rnd, v->state == SMALL ? 10 : 400);
    if (v->state == CLEARED) {
        heir_clear(t);
        write_much(t, &rnd, 5);
        heir_clear(t);
        write_much(t, &rnd, 5);
    }
    for (uint64_t i = 0; v->state == FULL && heir_put(t, key, make_key(key, i), "filling", 7) == 0;)
        i++;
    if (v->state == IN_TRANSACTION && rc == 0) {
        rc = heir_begin(t);
        for (int i = 0; i < 150; i++)
            write_something(t, &rnd);
        if (rnd_below(&rnd, 3) == 0)
            heir_clear(t);
    }
    return rc;
}

/* ---- Damage ------------------------------------------------------------------------------------------- */

struct file {
    int fd;
    uint64_t bytes, heap, used; /* used: bytes of the heap that are */
};

static uint64_t word_at(const struct file *f, uint64_t offset)
{
    uint64_t word = 0;
    return pread(f->fd, &word, 8, (off_t)offset) == 8 ? word : 0;
}

static void put_word(const struct file *f, uint64_t offset, uint64_t word)
{
    if (offset + 8 <= f->bytes)
        CHECK(pwrite(f->fd, &word, 8, (off_t)offset) == 8);
}

static struct file open_file(const char *name)
{
    struct file f = {-1};
    struct stat st = {0};
    char path[200];
    shm_path(path, sizeof path, "t.", name);
    f.fd = open(path, O_RDWR | O_CLOEXEC);
    if (!CHECK(f.fd >= 0 && fstat(f.fd, &st) == 0, "%s: %s", path, strerror(errno)))
        return f;
    f.bytes = (uint64_t)st.st_size;
    f.heap = word_at(&f, offsetof(struct table_page, heap_first)) * PAGE_BYTES;
    uint64_t end = word_at(&f, offsetof(struct table_page, ledger) + offsetof(struct ledger, frontier)) * PAGE_BYTES;
    if (f.heap < PAGE_BYTES || f.heap >= f.bytes) /* it has been hit already */
        f.heap = 2 * PAGE_BYTES;
    f.used = end > f.heap && end <= f.bytes ? end - f.heap : f.bytes - f.heap;
    return f;
}

/* A place where something stands: header, descriptors, heap, log. */
static uint64_t place(const struct file *f, struct rnd *rnd)
{
    switch (rnd_below(rnd, 6)) {
    case 0:
        return offsetof(struct table_page, view) + rnd_below(rnd, sizeof(struct view) / 8) * 8;
    case 1:
        return offsetof(struct table_page, ledger) + rnd_below(rnd, sizeof(struct ledger) / 8) * 8;
    case 2:
        return PAGE_BYTES + rnd_below(rnd, f->used / PAGE_BYTES * 3) * 8;
    case 3:
        return f->bytes - 8 - rnd_below(rnd, PAGE_BYTES / 8) * 8;
    default:
        return f->heap + rnd_below(rnd, f->used / 8) * 8;
    }
}

static void flip_bits(struct file *f, struct rnd *rnd)
{
    for (uint64_t n = 1 + rnd_below(rnd, 8); n > 0; n--) {
        uint64_t offset = place(f, rnd);
        put_word(f, offset, word_at(f, offset) ^ UINT64_C(1) << rnd_below(rnd, 64));
    }
}

static void random_words(struct file *f, struct rnd *rnd)
{
    for (uint64_t n = 1 + rnd_below(rnd, 8); n > 0; n--)
        put_word(f, place(f, rnd), rnd_next(rnd) >> rnd_below(rnd, 64));
}

/* Offsets, granules and pages that lead to the wrong place, or nowhere. */
static void wrong_offsets(struct file *f, struct rnd *rnd)
{
    for (uint64_t n = 1 + rnd_below(rnd, 8); n > 0; n--) {
        uint64_t offset = place(f, rnd), old = word_at(f, offset);
        uint64_t to = rnd_below(rnd, 3) == 0 ? f->bytes - rnd_below(rnd, 64) : f->heap + rnd_below(rnd, f->used);
        switch (rnd_below(rnd, 5)) {
        case 0:
            put_word(f, offset, to);
            break;
        case 1:
            put_word(f, offset, (old & ~UINT64_C(0xffffffff)) | to / GRANULE);
            break;
        case 2:
            put_word(f, offset, to / PAGE_BYTES);
            break;
        case 3:
            put_word(f, offset, (old & 0xffffffff) | to / PAGE_BYTES << 32);
            break;
        case 4:
            put_word(f, offset, old + rnd_below(rnd, 64) - 32);
        }
    }
}

/* A part of the table in the place of another. */
static void wrong_place(struct file *f, struct rnd *rnd)
{
    static unsigned char part[3 * PAGE_BYTES];
    size_t len = 8 + rnd_below(rnd, sizeof part - 8);
    uint64_t from = place(f, rnd), to = place(f, rnd);
    ssize_t n = pread(f->fd, part, len, (off_t)from);
    if (to + len > f->bytes) /* it stays as long as it is */
        to = f->bytes - len;
    if (n > 0 && to > 256 + 64) /* the writer's mutex is no data: what the C library does with a bad one is its own */
        CHECK(pwrite(f->fd, part, (size_t)n, (off_t)to) == n);
}

static void foreign_content(struct file *f, struct rnd *rnd)
{
    static unsigned char noise[65536];
    size_t len = 1 + rnd_below(rnd, sizeof noise);
    uint64_t from = rnd_below(rnd, 2) ? 320 : rnd_below(rnd, f->bytes - sizeof noise);
    if (from < 320)
        from = 320;
    for (size_t i = 0; i < len; i++)
        noise[i] = (unsigned char)(rnd_below(rnd, 3) ? rnd_next(rnd) : 0);
    CHECK(pwrite(f->fd, noise, len, (off_t)from) == (ssize_t)len);
}

/* Holes: memory that was never written reads as zeros. */
static void punched(struct file *f, struct rnd *rnd)
{
    uint64_t page = place(f, rnd) / PAGE_BYTES;
    if (page > 0)
        CHECK(fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE_BYTES),
                        (off_t)((1 + rnd_below(rnd, 4)) * PAGE_BYTES)) == 0);
}

static void cut(struct file *f, struct rnd *rnd)
{
    uint64_t to = rnd_below(rnd, 3) ? rnd_below(rnd, f->bytes) : rnd_below(rnd, f->bytes / PAGE_BYTES) * PAGE_BYTES;
    CHECK(ftruncate(f->fd, (off_t)to) == 0);
    if (rnd_below(rnd, 3) == 0) /* and made as long as it was */
        CHECK(ftruncate(f->fd, (off_t)f->bytes) == 0);
    else if (rnd_below(rnd, 4) == 0)
        CHECK(ftruncate(f->fd, (off_t)(f->bytes + rnd_below(rnd, 2 * PAGE_BYTES))) == 0);
}

static const struct {
    const char *name;
    void (*hurt)(struct file *f, struct rnd *rnd);
    bool cuts;
} damages[] = {{"flipped bits", flip_bits},
               {"random words", random_words},
               {"wrong offsets", wrong_offsets},
               {"wrong place", wrong_place},
               {"holes", punched},
               {"foreign content", foreign_content},
               {"cut", cut, true}};

#define DAMAGES (sizeof damages / sizeof damages[0])

/* Returns what has been done to it. */
static const char *hurt(const char *name, struct rnd *rnd, bool may_cut)
{
    struct file f = open_file(name);
    size_t how;
    do {
        how = rnd_below(rnd, DAMAGES);
    } while (damages[how].cuts && !may_cut);
    if (f.fd >= 0) {
        damages[how].hurt(&f, rnd);
        close(f.fd);
    }
    return damages[how].name;
}

/* ---- Use ---------------------------------------------------------------------------------------------- */

static void note(unsigned law, const char *what, uint64_t where, void *arg)
{
    (void)law, (void)what, (void)where;
    ++*(uint64_t *)arg;
}

static int visit_change(const struct heir_change *change, void *arg)
{
    return visit_bytes(change->key, change->key_len, change->value, change->value_len, arg);
}

static int read_all(struct heir_table *t)
{
    struct heir_feed *feed = NULL;
    static char value[20000];
    struct heir_account account;
    struct heir_info info;
    uint64_t count = 0, findings = 0, lost;
    char key[32];
    for (uint64_t i = 0; i < KEYS; i++) {
        size_t room = sizeof value, key_len = make_key(key, i);
        heir_get(t, key, key_len, value, &room);
        heir_has(t, key, key_len);
        heir_values(t, key, key_len, visit_bytes, &count);
        room = sizeof key;
        heir_next(t, key, key_len, value, &room);
        room = sizeof value;
        heir_prev(t, key, key_len, value, &room);
    }
    size_t room = sizeof value;
    heir_first(t, value, &room);
    room = sizeof value;
    heir_last(t, value, &room);
    heir_foreach(t, visit_bytes, &count);
    heir_salvage(t, visit_bytes, &count, &lost);
    heir_range(t, "key 1", 5, "key 5", 5, visit_bytes, &count);
    heir_range_reverse(t, NULL, 0, NULL, 0, visit_bytes, &count);
    heir_feed_open(t, &(struct heir_feed_options){.from = 1}, &feed);
    heir_feed_read(feed, 0, visit_change, &count);
    heir_feed_close(feed);
    heir_info(t, &info);
    int rc = heir_check(t, note, &findings, &account);
    if (rc != -EACCES && rc != -ENOTCONN && rc != -ENOMEM)
        CHECK((rc == -EUCLEAN) == (findings != 0) && account.findings == findings);
    return rc == 0 || rc == -EUCLEAN || rc == -EACCES || rc == -ENOTCONN ? 0 : rc;
}

/* Without a client, as heirctl looks. */
static int look(struct agent_self *self, void *arg)
{
    struct heir_table *t;
    (void)self;
    if (heir_inspect_open(NULL, arg, &t) != 0)
        return 0;
    int rc = read_all(t);
    heir_inspect_close(t);
    return rc;
}

static int use(struct heir *client, struct heir_table *t, struct rnd *rnd)
{
    struct heir_snapshot *snapshot = NULL;
    const void *view;
    uint64_t count = 0, lost;
    char key[32];
    size_t len;
    int rc = read_all(t);
    heir_snapshot_open(t, &snapshot);
    for (uint64_t i = 0; i < KEYS; i += 10)
        if (heir_view(t, key, make_key(key, i), &view, &len) == 0)
            visit_bytes(key, 1, view, len, &count);
    write_much(t, rnd, 100);
    if (snapshot) {
        heir_snapshot_foreach(snapshot, visit_bytes, &count);
        for (uint64_t i = 0; i < KEYS; i += 10) {
            len = 0;
            heir_snapshot_get(snapshot, key, make_key(key, i), NULL, &len);
            heir_snapshot_values(snapshot, key, make_key(key, i), visit_bytes, &count);
        }
    }
    heir_snapshot_close(snapshot);
    heir_begin(t);
    heir_foreach(t, visit_bytes, &count);
    heir_salvage(t, visit_bytes, &count, &lost);
    write_something(t, rnd);
    heir_values(t, key, make_key(key, 1), visit_bytes, &count);
    heir_abort(t);
    heir_clear(t);
    write_much(t, rnd, 60);
    read_all(t);
    heir_set_heir(t, "somebody", "data", 4);
    (void)client;
    return rc;
}

/* The next owner. answer.number: it could be claimed. */
static int claim_and_use(struct agent_self *self, void *arg)
{
    const struct victim *v = arg;
    struct rnd rnd = {v->seed + 1};
    struct heir_table *t;
    if (heir_attach(self->client, v->name, &t) == 0)
        read_all(t);
    int rc = heir_claim(self->client, v->name, NULL, 300, &t);
    self->answer.number = rc == 0;
    if (rc)
        return 0;
    rc = use(self->client, t, &rnd);
    if (heir_release(t) != 0 || rnd_below(&rnd, 2))
        return rc;
    if (heir_claim(self->client, v->name, NULL, 300, &t) == 0)
        heir_destroy(t);
    return rc;
}

/* It has the table mapped already. */
static int go_on(struct agent_self *self, void *arg)
{
    const struct victim *v = arg;
    struct rnd rnd = {v->seed + 2};
    struct heir_table *t = agent_table(self, v->name);
    if (!t)
        return -EBADRQC;
    heir_abort(t); /* if it had one open */
    return use(self->client, t, &rnd);
}

static int read_on(struct agent_self *self, void *arg)
{
    struct heir_table *t = agent_table(self, ((const struct victim *)arg)->name);
    return t ? read_all(t) : -EBADRQC;
}

/* ---- Rounds ------------------------------------------------------------------------------------------- */

static struct {
    uint64_t victims, claimed;
} ledger;

/* Call it in the agent; a crash or a hang is told with all that is needed to see it again. */
static struct agent *call(struct agent *agent, const char *role, agent_fn *fn, const struct victim *v, const char *how,
                          const char *who)
{
    int rc = agent_call(agent, fn, v, sizeof *v);
    CHECK(rc == 0, "%s of %s (type %d, state %d, %s, seed %llu): %s", who, v->name, v->type, v->state, how,
          (unsigned long long)test_seed, error_text(rc));
    if (rc == AGENT_HUNG || rc == AGENT_DEAD) {
        agent_kill(agent);
        agent = agent_new(role);
    }
    return agent;
}

static void check_good_one(void)
{
    struct agent *agent = agent_new("check");
    DO(agent, 0, "claim good %d", PATIENCE / 2);
    DO(agent, 0, "get good k");
    CHECK_STR(agent->answer.value, "whole");
    DO(agent, 0, "count good");
    CHECK_EQ(agent->answer.number, 1);
    DO(agent, 0, "release good");
    CHECK_RC(agent_end(agent), 0);
    struct heir_table *table;
    if (CHECK_RC(heir_inspect_open(NULL, "good", &table), 0)) {
        CHECK_RC(heir_check(table, NULL, NULL, NULL), 0);
        heir_inspect_close(table);
    }
}

static void begin(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create good max=1048576");
    DO(a, 0, "put good k whole");
    for (int type = 0; type < TYPES; type++) {
        int rc = agent_do(a, "create probe type=%d", type);
        there_is[type] = rc == 0;
        CHECK(rc == 0 || rc == -ENOTSUP, "type %d: %s", type, error_text(rc));
        if (rc == 0)
            DO(a, 0, "destroy probe");
    }
    CHECK_RC(agent_end(a), 0);
}

static struct agent *make_victims(struct victim *victims, struct rnd *rnd)
{
    struct agent *a = agent_new("a");
    for (int i = 0; i < VICTIMS; i++) {
        struct victim *v = &victims[i];
        *v = (struct victim){.state = (int)rnd_below(rnd, STATES), .seed = rnd_next(rnd)};
        v->max_bytes = rnd_below(rnd, 3) ? 262144 : rnd_below(rnd, 2) ? 65536 : 1048576;
        do {
            v->type = (int)rnd_below(rnd, TYPES);
        } while (!there_is[v->type]);
        snprintf(v->name, sizeof v->name, "victim%d", i);
        int rc = agent_call(a, make_victim, v, sizeof *v);
        CHECK(rc == 0, "%s (type %d, state %d): %s", v->name, v->type, v->state, error_text(rc));
        ledger.victims++;
    }
    return a;
}

static void remove_victims(void)
{
    char name[16], path[200];
    for (int i = 0; i < VICTIMS; i++) {
        snprintf(name, sizeof name, "victim%d", i);
        shm_path(path, sizeof path, "t.", name);
        unlink(path);
    }
}

static void tell(void)
{
    printf(" (%d tables, %d of them could be claimed)", (int)ledger.victims, (int)ledger.claimed);
    memset(&ledger, 0, sizeof ledger);
}

/* The damage is there when the keeper comes. */
static void before_adoption(void)
{
    struct rnd rnd = {test_seed};
    begin();
    CHECK_EQ(keeper_stop(), 0);
    for (int64_t end = now_ms() + (int64_t)(test_seconds(10) * 1000); now_ms() < end;) {
        struct victim victims[VICTIMS];
        const char *how[VICTIMS];
        REQUIRE_EQ(keeper_start(NULL), 0);
        struct agent *a = make_victims(victims, &rnd);
        CHECK_EQ(keeper_stop(), 0);
        agent_kill(a);
        for (int i = 0; i < VICTIMS; i++)
            how[i] = hurt(victims[i].name, &rnd, true);
        struct agent *outside = agent_new(NULL);
        for (int i = 0; i < VICTIMS; i++)
            outside = call(outside, NULL, look, &victims[i], how[i], "a look");
        agent_kill(outside);
        if (!CHECK_EQ(keeper_start(NULL), 0)) { /* who it was is to be found by trying */
            remove_victims();
            break;
        }
        struct agent *b = agent_new("b");
        for (int i = 0; i < VICTIMS; i++) {
            b = call(b, "b", claim_and_use, &victims[i], how[i], "the next owner");
            ledger.claimed += b->answer.number;
        }
        agent_kill(b); /* what it owned is reclaimed */
        check_good_one();
        if (!CHECK(keeper_stop() == 0, "the keeper has ended (seed %llu)", (unsigned long long)test_seed))
            break;
        remove_victims();
    }
    remove_victims();
    tell();
}

/* The damage comes while the keeper, an owner and a reader have the table. */
static void under_their_hands(void)
{
    struct rnd rnd = {test_seed + 1};
    begin();
    for (int64_t end = now_ms() + (int64_t)(test_seconds(10) * 1000); now_ms() < end;) {
        struct victim victims[VICTIMS];
        const char *how[VICTIMS];
        struct agent *a = make_victims(victims, &rnd), *reader = agent_new("reader"), *b = agent_new("b");
        for (int i = 0; i < VICTIMS; i++)
            DO(reader, 0, "attach %s", victims[i].name);
        for (int i = 0; i < VICTIMS; i++)
            how[i] = hurt(victims[i].name, &rnd, false);
        for (int i = 0; i < VICTIMS; i++) {
            int rc = agent_call(reader, read_on, &victims[i], sizeof victims[i]);
            CHECK(rc == 0, "reader of %s (type %d, state %d, %s): %s", victims[i].name, victims[i].type,
                  victims[i].state, how[i], error_text(rc));
            if (rc == AGENT_HUNG || rc == AGENT_DEAD)
                break;
        }
        if (rnd_below(&rnd, 2)) /* else it dies with what it has open */
            for (int i = 0; i < VICTIMS; i++) {
                int rc = agent_call(a, go_on, &victims[i], sizeof victims[i]);
                CHECK(rc == 0, "owner of %s (type %d, state %d, %s): %s", victims[i].name, victims[i].type,
                      victims[i].state, how[i], error_text(rc));
                if (rc == AGENT_HUNG || rc == AGENT_DEAD)
                    break;
            }
        agent_kill(a);
        for (int i = 0; i < VICTIMS; i++) {
            b = call(b, "b", claim_and_use, &victims[i], how[i], "the next owner");
            ledger.claimed += b->answer.number;
        }
        agent_kill(reader);
        agent_kill(b);
        check_good_one();
        if (!CHECK(keeper_stop() == 0, "the keeper has ended (seed %llu)", (unsigned long long)test_seed))
            break;
        remove_victims();
        REQUIRE_EQ(keeper_start(NULL), 0);
    }
    remove_victims();
    tell();
}

static const struct test tests[] = {
    {"before adoption", before_adoption}, {"under their hands", under_their_hands}, {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "damage", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
