/* SPDX-License-Identifier: MIT */
/*
 * Checking: heir_check() and heirctl check. Whole tables are called whole, whoever writes them meanwhile, and however
 * their owner ended; what is wrong is found, by the law that it breaks, also in a table that never stands still; and
 * the account has each byte once.
 */
#include "../lib/format/layout.h"
#include "support.h"

#include <fcntl.h>
#include <heir/inspect.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct output out;

#define CTL(code, ...) check_ctl(HERE, code, (const char *const[]){"heirctl", __VA_ARGS__, NULL})
#define SAYS(text)     CHECK(strstr(out.out, text) != NULL, "no \"%s\" in: %s", text, out.out)

static void check_ctl(const char *file, int line, const char *function, int code, const char *const argv[])
{
    char text[128];
    program_run(argv, NULL, &out);
    snprintf(text, sizeof text, "exit status of heirctl %s %s", argv[1], argv[1] && argv[2] ? argv[2] : "");
    if (!check_eq(file, line, function, out.code, code, text))
        fprintf(stderr, "stdout: %s\nstderr: %s\n", out.out, out.err);
}

static json_t *ctl_json(int code, const char *table)
{
    json_error_t error;
    CTL(code, "--json", "check", table);
    json_t *object = json_loads(out.out, 0, &error);
    CHECK(object != NULL, "line %d: %s: %s", error.line, error.text, out.out);
    return object;
}

static long long number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    CHECK(json_is_integer(value), "%s is no number in %s", key, out.out);
    return json_integer_value(value);
}

static uint64_t sum_of(const struct heir_account *a)
{
    return a->live + a->superseded + a->index + a->metadata + a->slack + a->free + a->untouched;
}

/* The laws that were broken, as "K5 K2 ". */
static void note(unsigned law, const char *what, uint64_t where, void *arg)
{
    char name[8], *text = arg;
    (void)where;
    CHECK(what != NULL && what[0] != 0 && law >= 1 && law <= 6);
    snprintf(name, sizeof name, "K%u ", law);
    if (!strstr(text, name))
        strcat(text, name);
}

/* Look from outside. */
static int look(const char *name, char laws[32], struct heir_account *account)
{
    struct heir_table *table;
    laws[0] = 0;
    int rc = heir_inspect_open(NULL, name, &table);
    if (rc)
        return rc;
    rc = heir_check(table, note, laws, account);
    heir_inspect_close(table);
    return rc;
}

#define WHOLE(name)                                                                                                    \
    do {                                                                                                               \
        struct heir_account account_;                                                                                  \
        char laws_[32];                                                                                                \
        CHECK(look(name, laws_, &account_) == 0, "%s: %s", name, laws_);                                               \
        CHECK_EQ(account_.findings, 0);                                                                                \
    } while (0)

/* Tables of all types that there are, by their type as a number. */
static bool has_type(struct agent *agent, int type)
{
    int rc = agent_do(agent, "create probe type=%d", type);
    if (rc == 0)
        DO(agent, 0, "destroy probe");
    return rc != -ENOTSUP;
}

/* ---- The call ----------------------------------------------------------------------------------------- */

static void arguments(void)
{
    struct heir_account account;
    struct heir_table *table, *seen;
    char laws[32] = "";
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me"), *other = test_open("other");
    CHECK_RC(heir_check(NULL, NULL, NULL, NULL), -EINVAL);
    REQUIRE_RC(heir_create(me, "t", NULL, &table), 0);
    REQUIRE_RC(heir_attach(other, "t", &seen), 0);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), 0);
    CHECK_RC(heir_check(table, NULL, NULL, NULL), 0);
    CHECK_RC(heir_check(seen, note, laws, &account), 0);
    CHECK_EQ(sum_of(&account), 1 << 30);
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_put(table, "k", 1, "w", 1), 0);
    CHECK_RC(heir_check(table, note, laws, &account), -EBUSY);
    CHECK_RC(heir_check(seen, note, laws, &account), 0); /* another handle sees the last commit */
    CHECK_EQ(account.live, 24 + 8 + 1);
    CHECK_RC(heir_abort(table), 0);
    CHECK_RC(heir_check(table, note, laws, &account), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(heir_check(table, NULL, NULL, NULL) == -ENOTCONN ? 0 : 1);
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "in a forked child");
    CHECK_RC(heir_detach(seen), 0);
    CHECK_RC(heir_check(seen, NULL, NULL, NULL), -ENOTCONN);
    CHECK_STR(laws, "");
}

/* Each byte is somewhere, and where it should be. */
static void accounts(void)
{
    struct heir_account a, before;
    struct heir_table *table;
    char value[5000] = "";
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me");
    REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.max_bytes = 8 << 20}, &table), 0);
    CHECK_RC(heir_check(table, NULL, NULL, &before), 0);
    CHECK_EQ(sum_of(&before), 8 << 20);
    CHECK_EQ(before.live, 0);
    CHECK(before.index > 0 && before.metadata > 0 && before.untouched > 0);
    uint64_t live = 0;
    for (int i = 0; i < 2000; i++) {
        CHECK_RC(heir_put(table, &i, sizeof i, value, (size_t)i), 0);
        live += 24 + 8 + (uint64_t)i; /* head, key in words of 8 bytes, value */
    }
    CHECK_RC(heir_check(table, NULL, NULL, &a), 0);
    CHECK_EQ(sum_of(&a), 8 << 20);
    CHECK_EQ(a.live, live);
    /* no version; where this table's hash has just filled a segment, the one that was split: whole pages, few */
    CHECK(a.superseded % 4096 == 0 && a.superseded <= 4 * 4096, "superseded %d", (int)a.superseded);
    CHECK(a.index > before.index && a.untouched < before.untouched && a.slack < a.live / 4, "slack %d", (int)a.slack);
    for (int i = 0; i < 100; i++) /* kept for slow readers */
        CHECK_RC(heir_put(table, &i, sizeof i, value, (size_t)i), 0);
    CHECK_RC(heir_check(table, NULL, NULL, &a), 0);
    CHECK_EQ(a.live, live);
    CHECK(a.superseded > 100 * 32 && sum_of(&a) == 8 << 20, "%d superseded", (int)a.superseded);
    CHECK_RC(heir_clear(table), 0);
    CHECK_RC(heir_check(table, NULL, NULL, &a), 0);
    CHECK_EQ(a.live, 0);
    CHECK(a.superseded > live && sum_of(&a) == 8 << 20, "%d superseded", (int)a.superseded);
    for (int i = 0; i < 3000; i++) /* in the middle of working that off, and after */
        if (heir_put(table, "k", 1, value, 5000) == 0 && i % 100 == 0) {
            CHECK_RC(heir_check(table, NULL, NULL, &a), 0);
            CHECK_EQ(sum_of(&a), 8 << 20);
            CHECK_EQ(a.live, 24 + 8 + 5000);
        }
    CHECK(a.superseded < 200 * 8192, "%d superseded", (int)a.superseded);
}

/* ---- heirctl ------------------------------------------------------------------------------------------ */

static void command(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    CTL(0, "check");
    CHECK_STR(out.out, "");
    struct agent *a = agent_new("baker");
    DO(a, 0, "create bread max=1048576");
    DO(a, 0, "create apples max=65536");
    for (int i = 0; i < 50; i++)
        DO(a, 0, "put bread key%d value", i);
    for (int with_keeper = 1; with_keeper >= 0; with_keeper--) {
        CTL(0, "check");
        SAYS("LIVE");
        SAYS("bread");
        SAYS("whole");
        SAYS("1MiB");
        CHECK(strstr(out.out, "apples") < strstr(out.out, "bread"), "sorted by name: %s", out.out);
        CTL(0, "check", "bread");
        CHECK(strstr(out.out, "apples") == NULL);
        json_t *object = ctl_json(0, "bread");
        const json_t *tables = json_object_get(object, "tables"), *table = json_array_get(tables, 0);
        const json_t *account = json_object_get(table, "account");
        CHECK_STR(json_string_value(json_object_get(object, "namespace")), world.ns);
        CHECK_EQ(json_array_size(tables), 1);
        CHECK_STR(json_string_value(json_object_get(table, "name")), "bread");
        CHECK(json_is_true(json_object_get(table, "whole")));
        CHECK_EQ(number(table, "objects"), 50);
        CHECK_EQ(number(table, "findings"), 0);
        CHECK_EQ(json_array_size(json_object_get(table, "found")), 0);
        CHECK_EQ(number(account, "live"), 50 * (24 + 8 + 5));
        CHECK_EQ(number(account, "live") + number(account, "superseded") + number(account, "index") +
                     number(account, "metadata") + number(account, "slack") + number(account, "free") +
                     number(account, "untouched"),
                 number(table, "max_bytes"));
        json_decref(object);
        object = ctl_json(0, NULL);
        CHECK_EQ(json_array_size(json_object_get(object, "tables")), 2);
        json_decref(object);
        object = ctl_json(1, "nothing");
        CHECK(json_is_string(json_object_get(json_object_get(object, "error"), "message")));
        json_decref(object);
        CTL(1, "check", "nothing");
        CHECK(strstr(out.err, "nothing") != NULL);
        if (with_keeper)
            CHECK_EQ(keeper_stop(), 0);
    }
    CTL(2, "check", "a", "b");
    CTL(2, "check", "a/b");
    CTL(2, "check", "--nonsense");
    CTL(0, "check", "--help");
    SAYS("SUPERSEDED");
    CTL(0, "--help");
    SAYS("check [TABLE]");
}

/* ---- What is wrong is found --------------------------------------------------------------------------- */

/* Change the word at an offset of a table's file by exclusive or. */
static void change(const char *table, uint64_t offset, uint64_t by)
{
    char path[200];
    uint64_t word = 0;
    shm_path(path, sizeof path, "t.", table);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pread(fd, &word, 8, (off_t)offset) == 8);
    word ^= by;
    CHECK(pwrite(fd, &word, 8, (off_t)offset) == 8);
    close(fd);
}

static uint64_t word_at(const char *table, uint64_t offset)
{
    char path[200];
    uint64_t word = 0;
    shm_path(path, sizeof path, "t.", table);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && pread(fd, &word, 8, (off_t)offset) == 8);
    close(fd);
    return word;
}

/* Where these bytes stand in the heap; 0: nowhere. */
static uint64_t find_bytes(const char *table, const char *bytes)
{
    char path[200];
    uint64_t at = 0;
    shm_path(path, sizeof path, "t.", table);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st = {0};
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    char *all = malloc((size_t)st.st_size);
    ssize_t n = all ? pread(fd, all, (size_t)st.st_size, 0) : 0;
    const char *found = n > 8192 ? memmem(all + 8192, (size_t)n - 8192, bytes, strlen(bytes)) : NULL;
    if (found)
        at = (uint64_t)(found - all);
    free(all);
    close(fd);
    return at;
}

#define VIEW(field)   (offsetof(struct table_page, view) + offsetof(struct view, field))
#define LEDGER(field) (offsetof(struct table_page, ledger) + offsetof(struct ledger, field))

/* One word wrong in a table that is whole: the law that it breaks is named, and nothing else happens. */
static void laws(void)
{
    char found[32], want[8];
    struct heir_account account;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t max=262144");
    for (int i = 0; i < 200; i++)
        DO(a, 0, "put t some-key-%d value", i);
    for (int i = 0; i < 20; i++)
        DO(a, 0, "put t some-key-%d other", i);
    CHECK_RC(agent_end(a), 0);
    CHECK_EQ(keeper_stop(), 0);
    uint64_t heap = word_at("t", offsetof(struct table_page, heap_first)) * PAGE_BYTES;
    uint64_t directory = word_at("t", VIEW(directory)) & ~UINT64_C(63), segment = word_at("t", directory);
    uint64_t head = word_at("t", LEDGER(history_head)) % CHUNK_RECORDS;
    uint64_t record = word_at("t", LEDGER(head_chunk)) + offsetof(struct chunk, records) + head * sizeof(struct record);
    uint64_t committed = word_at("t", VIEW(committed)), slot = segment;
    while (slot < segment + PAGE_BYTES && (word_at("t", slot) & 0xffffffffu) == 0)
        slot += 8;
    uint64_t version = (word_at("t", slot) & 0xffffffffu) * GRANULE;
    REQUIRE(version > heap && slot < segment + PAGE_BYTES && head != 0);
    /* the descriptor of the span with the smallest blocks that has free ones */
    uint64_t span = word_at("t", LEDGER(partial[0]));
    REQUIRE(span != 0);
    span = PAGE_BYTES + (span - heap / PAGE_BYTES) * sizeof(struct page_desc);
    uint64_t span_free = word_at("t", span + offsetof(struct page_desc, free));
    const struct {
        int law;
        uint64_t offset, by;
    } damage[] = {
        {1, VIEW(horizon), UINT64_C(1) << 40},
        {1, VIEW(limit), UINT64_C(1) << 40},
        {1, LEDGER(frontier), UINT64_C(1) << 30},
        {1, LEDGER(next_horizon), UINT64_C(1) << 50},
        {1, LEDGER(log_floor), 8},
        {1, offsetof(struct table_page, type), 77},
        {2, LEDGER(pages_used), 1},
        {2, LEDGER(partial[0]), 0x55555},
        {2, LEDGER(runs[0]), word_at("t", LEDGER(runs[0])) == 0 ? heap / PAGE_BYTES : 1},
        {2, span + offsetof(struct page_desc, kind), 0x7},
        {2, span + offsetof(struct page_desc, links), 1},
        {3, span + offsetof(struct page_desc, free), span_free & -span_free},
        {3, LEDGER(spare[SPARE_CHUNK]), PAGE_BYTES},
        {4, directory, 3},
        {4, VIEW(cleared), heap},
        {4, VIEW(directory), 40},
        {5, VIEW(objects) + 8 * (committed & 1), 4},
        {5, slot, UINT64_C(1) << 50},
        {5, version, UINT64_C(1) << 60},
        {5, version + sizeof(struct version), 0x20},
        {6, record, UINT64_C(1) << 40},
        {6, record + offsetof(struct record, gone), 5},
        {6, LEDGER(history_head), UINT64_C(1) << 20},
        {6, LEDGER(tail_chunk), PAGE_BYTES},
        {6, word_at("t", LEDGER(head_chunk)) + offsetof(struct chunk, number), 1},
    };
    WHOLE("t");
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        change("t", damage[i].offset, damage[i].by);
        int rc = look("t", found, &account);
        snprintf(want, sizeof want, "K%d ", damage[i].law);
        CHECK(rc == -EUCLEAN && strstr(found, want) != NULL, "%d: K%d expected, found %s (%s)", (int)i, damage[i].law,
              found, error_text(rc));
        CHECK(account.findings > 0 && sum_of(&account) == 262144, "%d: %lu findings, sum %lu", (int)i,
              (unsigned long)account.findings, (unsigned long)sum_of(&account));
        if (i % 6 == 0) {
            json_t *object = ctl_json(1, "t");
            const json_t *table = json_array_get(json_object_get(object, "tables"), 0);
            CHECK(json_is_false(json_object_get(table, "whole")));
            CHECK_EQ(number(table, "findings"), account.findings);
            CHECK(json_array_size(json_object_get(table, "found")) > 0);
            json_decref(object);
            CTL(1, "check");
            SAYS(damage[i].law == 1 ? "t: K1: " : "t: K");
            SAYS("DAMAGED");
        }
        change("t", damage[i].offset, damage[i].by);
        WHOLE("t");
    }
}

/* Files that are no tables, or too short: told, and nothing dies of it. */
static void not_tables(void)
{
    char path[200];
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create good max=65536");
    DO(a, 0, "create cut max=1048576");
    DO(a, 0, "create cut.later max=1048576");
    for (int i = 0; i < 100; i++)
        DO(a, 0, "put cut.later %d value", i);
    CHECK_RC(agent_end(a), 0);
    CHECK_EQ(keeper_stop(), 0);
    struct heir_table *table;
    REQUIRE_RC(heir_inspect_open(NULL, "cut.later", &table), 0);
    CHECK_RC(heir_check(table, NULL, NULL, NULL), 0);
    static const off_t cuts[] = {100000, 49152, 8192, 4096, 0};
    shm_path(path, sizeof path, "t.", "cut.later"); /* under a mapping: touching it would be SIGBUS */
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        char laws_found[32] = "";
        CHECK(truncate(path, cuts[i]) == 0);
        int rc = heir_check(table, note, laws_found, NULL);
        CHECK(cuts[i] > 20000 || (rc == -EUCLEAN && strstr(laws_found, "K1")), "cut to %d: %s", (int)cuts[i],
              laws_found);
    }
    heir_inspect_close(table);
    shm_path(path, sizeof path, "t.", "cut");
    CHECK(truncate(path, 4096) == 0);
    shm_path(path, sizeof path, "t.", "text");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, "not a table\n", 12) == 12);
    close(fd);
    CTL(1, "check");
    SAYS("good");
    SAYS("cut: ");
    SAYS("cut.later: ");
    SAYS("text: ");
    CTL(1, "check", "text");
    CTL(0, "check", "good");
    json_t *object = ctl_json(1, "cut");
    const json_t *entry = json_array_get(json_object_get(object, "tables"), 0);
    CHECK_STR(json_string_value(json_object_get(json_object_get(entry, "error"), "errno")), "EUCLEAN");
    json_decref(object);
    unlink(path);
}

/* ---- Whole, while it is written ----------------------------------------------------------------------- */

struct job {
    int how;
    uint64_t seed;
};

enum { HOT_KEY, OVERWRITE, INSERT_AND_DELETE, CLEARS, TRANSACTIONS, LARGE, WAYS };

static int be_writer(struct agent_self *self, void *arg)
{
    static char value[300000];
    const struct job *job = arg;
    struct heir_table *t = agent_table(self, "t");
    struct rnd rnd = {job->seed};
    int rc = 0;
    for (uint64_t n = 0; rc == 0 || rc == -ENOENT || rc == -ENOSPC; n++) {
        uint64_t key = job->how == HOT_KEY ? 0 : rnd_below(&rnd, 500);
        switch (job->how) {
        case HOT_KEY:
        case OVERWRITE:
            rc = heir_put(t, &key, 8, value, rnd_below(&rnd, 64));
            break;
        case INSERT_AND_DELETE:
            rc = rnd_below(&rnd, 2) ? heir_put(t, &key, 8, value, rnd_below(&rnd, 2000)) : heir_del(t, &key, 8);
            break;
        case CLEARS:
            rc = n % 1500 == 0 ? heir_clear(t) : heir_put(t, &key, 8, value, rnd_below(&rnd, 64));
            break;
        case TRANSACTIONS:
            if (n % 10 == 0)
                rc = heir_begin(t);
            if (rc == 0)
                rc = heir_put(t, &key, 8, value, rnd_below(&rnd, 64));
            if (n % 10 == 9)
                rc = rnd_below(&rnd, 3) ? heir_commit(t) : heir_abort(t);
            break;
        case LARGE:
            rc = rnd_below(&rnd, 2) ? heir_put(t, &key, 8, value, rnd_below(&rnd, rnd_below(&rnd, 4) ? 3000 : 300000))
                                    : heir_del(t, &key, 8);
            break;
        }
    }
    return rc;
}

static void while_written(void)
{
    struct heir_account account;
    struct rnd rnd = {test_seed};
    char laws_found[32];
    int runs = 0;
    if (!shm_has_room(48 << 20))
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int type = 0; type < 4; type++) {
        struct agent *probe = agent_new("probe");
        bool there = has_type(probe, type);
        CHECK_RC(agent_end(probe), 0);
        for (int how = 0; there && how < WAYS; how++) {
            struct job job = {how, rnd_next(&rnd)};
            struct agent *a = agent_new("a");
            DO(a, 0, "create t type=%d max=33554432", type);
            DO(a, 0, "put t first value");
            agent_call_send(a, be_writer, &job, sizeof job);
            int64_t end = now_ms() + (int64_t)(test_seconds(12) / 4 / WAYS * 1000);
            for (int first = runs; now_ms() < end || runs < first + 10; runs++) {
                int rc = look("t", laws_found, &account);
                if (!CHECK(rc == 0, "type %d, way %d: %s: %s", type, how, error_text(rc), laws_found))
                    break;
                CHECK_EQ(sum_of(&account), 33554432);
            }
            CTL(0, "check");
            CTL(0, "check", "t");
            agent_stop(a); /* wherever it is: also inside an operation */
            WHOLE("t");
            agent_kill(a);
            struct agent *next = agent_new("next");
            DO(next, 0, "claim t %d none", PATIENCE / 2);
            WHOLE("t");
            DO(next, 0, "destroy t");
            CHECK_RC(agent_end(next), 0);
        }
    }
    printf(" (%d runs)", runs);
}

struct threads {
    struct heir_table *table;
    _Atomic bool stop;
    int rc;
};

static void *write_on(void *arg)
{
    struct threads *threads = arg;
    for (uint64_t n = 0; !threads->stop && threads->rc == 0; n++) {
        uint64_t key = n * 7 % 100;
        if (n % 8 == 0)
            threads->rc = heir_begin(threads->table);
        if (threads->rc == 0)
            threads->rc = heir_put(threads->table, &key, sizeof key, &n, n % 9);
        if (threads->rc == 0 && n % 8 == 7)
            threads->rc = n % 3 ? heir_commit(threads->table) : heir_abort(threads->table);
    }
    heir_abort(threads->table);
    return NULL;
}

/* By the owner, through the handle that another thread of his writes to, also inside of transactions. */
static void while_another_thread_writes(void)
{
    struct threads threads = {0};
    char laws_found[32] = "";
    pthread_t thread;
    int runs = 0;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me");
    REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.max_bytes = 1 << 20}, &threads.table), 0);
    REQUIRE_EQ(pthread_create(&thread, NULL, write_on, &threads), 0);
    for (int64_t end = now_ms() + (int64_t)(test_seconds(1) * 1000); now_ms() < end; runs++) {
        int rc = heir_check(threads.table, note, laws_found, NULL);
        if (!CHECK(rc == 0, "%s: %s", error_text(rc), laws_found))
            break;
    }
    threads.stop = true;
    pthread_join(thread, NULL);
    CHECK_RC(threads.rc, 0);
    printf(" (%d runs)", runs);
}

/* A table that never stands still, with something wrong in a part that nobody touches: found in each run. */
static void wrong_while_written(void)
{
    char laws_found[32];
    struct job job = {HOT_KEY, test_seed};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t max=1048576");
    for (int i = 0; i < 300; i++)
        DO(a, 0, "put t quiet-key-%d value", i);
    agent_call_send(a, be_writer, &job, sizeof job);
    for (int i = 0; i < 20; i++)
        WHOLE("t");
    uint64_t key = find_bytes("t", "quiet-key-170");
    REQUIRE(key != 0 && key % 8 == 0);
    change("t", key, 0x10);
    for (int i = 0; i < 20; i++) {
        int rc = look("t", laws_found, NULL);
        CHECK(rc == -EUCLEAN && strcmp(laws_found, "K5 ") == 0, "%s: %s", error_text(rc), laws_found);
    }
    change("t", key, 0x10);
    for (int i = 0; i < 20; i++)
        WHOLE("t");
    agent_kill(a);
}

/* ---- Whole, in the middle of a transaction ------------------------------------------------------------ */

static int leave_open(struct agent_self *self, void *arg)
{
    struct heir_table *t = agent_table(self, "t");
    char value[3000] = "";
    const int *how = arg;
    int rc = heir_begin(t);
    if (rc == 0 && *how == 1)
        rc = heir_clear(t);
    for (int i = 0; i < 3000 && rc == 0; i++)
        rc = heir_put(t, &i, sizeof i, value, (size_t)(i * *how % 3000));
    for (int i = 0; i < 500 && rc == 0; i++)
        rc = heir_del(t, &i, sizeof i);
    if (rc == 0 && *how == 2)
        rc = heir_clear(t);
    return rc == 0 ? heir_put(t, "last", 4, value, 100) : rc;
}

static int fill(struct agent_self *self, void *arg)
{
    char value[300] = "";
    int rc = 0;
    (void)arg;
    for (int i = 0; i < 1000 && rc == 0; i++)
        rc = heir_put(agent_table(self, "t"), &i, sizeof i, value, (size_t)i % 300);
    return rc;
}

/* The owner stopped, then killed there, with no keeper to set it right. What is seen is the last commit. */
static void in_a_transaction(void)
{
    if (!shm_has_room(48 << 20))
        return;
    for (int type = 0; type < 4; type++) {
        for (int how = 0; how < 3; how++) {
            struct heir_account before, after;
            char laws_found[32];
            REQUIRE_EQ(keeper_start(NULL), 0);
            struct agent *a = agent_new("a");
            if (!has_type(a, type)) {
                agent_kill(a);
                CHECK_EQ(keeper_stop(), 0);
                break;
            }
            DO(a, 0, "create t type=%d max=16777216", type);
            CHECK_RC(agent_call(a, fill, NULL, 0), 0);
            CHECK_RC(look("t", laws_found, &before), 0);
            CHECK_RC(agent_call(a, leave_open, &how, sizeof how), 0);
            CHECK(word_at("t", LEDGER(log_txn)) == word_at("t", VIEW(committed)) + 1 &&
                  word_at("t", LEDGER(log_count)) > 3000);
            agent_stop(a);
            CHECK(look("t", laws_found, &after) == 0, "stopped: %s", laws_found);
            CHECK_EQ(after.live, before.live);
            CHECK_EQ(sum_of(&after), 16777216);
            CTL(0, "check", "t");
            keeper_kill();
            agent_kill(a);
            CHECK(look("t", laws_found, &after) == 0, "killed: %s", laws_found);
            CHECK_EQ(after.live, before.live);
            CTL(0, "check");
            SAYS("whole");
            REQUIRE_EQ(keeper_start(NULL), 0);
            struct agent *b = agent_new("b");
            DO(b, 0, "claim t %d none", PATIENCE / 2);
            CHECK(look("t", laws_found, &after) == 0, "rolled back: %s", laws_found);
            CHECK_EQ(after.live, before.live);
            DO(b, 0, "destroy t");
            CHECK_RC(agent_end(b), 0);
            CHECK_EQ(keeper_stop(), 0);
        }
    }
}

/* ---- Speed -------------------------------------------------------------------------------------------- */

static void many_objects(void)
{
    struct heir_account account;
    struct heir_table *table;
    int64_t ms;
    if (!shm_has_room(192 << 20))
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me");
    REQUIRE_RC(heir_create(me, "t", NULL, &table), 0);
    const int many = TEST_ASAN || TEST_TSAN ? 100000 : 1000000;
    for (int i = 0; i < many; i++)
        if (heir_put(table, &i, sizeof i, &i, sizeof i) != 0)
            break;
    ms = now_ms();
    CHECK_RC(heir_check(table, NULL, NULL, &account), 0);
    ms = now_ms() - ms;
    CHECK_EQ(account.live, (uint64_t)many * (24 + 8 + 4));
    CHECK_EQ(sum_of(&account), 1 << 30);
    printf(" (%d objects in %d ms)", many, (int)ms);
    CHECK(ms < patience(PATIENCE), "%d ms", (int)ms);
}

static const struct test tests[] = {{"arguments", arguments},
                                    {"accounts", accounts},
                                    {"command", command},
                                    {"laws", laws},
                                    {"not tables", not_tables},
                                    {"while written", while_written},
                                    {"while another thread writes", while_another_thread_writes},
                                    {"wrong while written", wrong_while_written},
                                    {"in a transaction", in_a_transaction},
                                    {"many objects", many_objects},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "check", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
