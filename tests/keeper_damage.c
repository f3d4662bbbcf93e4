/* SPDX-License-Identifier: MIT */
/*
 * Leftovers that are broken: cut short, overwritten, foreign. They are found while no keeper runs, so that it meets
 * them at its start. It must start, set them aside, and serve the others; who opens a broken table gets an error, never
 * a crash or a hang.
 */
#include "keeper.h"

#include <fcntl.h>
#include <heir/admin.h>
#include <heir/inspect.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Damage ------------------------------------------------------------------------------------------- */

static void overwrite(const char *path, off_t at, const void *bytes, size_t len)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (!CHECK(fd >= 0, "%s: %s", path, strerror(errno)))
        return;
    CHECK(pwrite(fd, bytes, len, at) == (ssize_t)len);
    close(fd);
}

static void cut_to_0(const char *path)
{
    CHECK(truncate(path, 0) == 0);
}

static void cut_to_100(const char *path)
{
    CHECK(truncate(path, 100) == 0);
}

static void cut_to_4096(const char *path)
{
    CHECK(truncate(path, 4096) == 0);
}

static void cut_in_half(const char *path)
{
    struct stat st = {0};
    CHECK(stat(path, &st) == 0 && truncate(path, st.st_size / 2) == 0);
}

static void zero_head(const char *path)
{
    static const char zero[4096];
    overwrite(path, 0, zero, sizeof zero);
}

static void other_magic(const char *path)
{
    overwrite(path, 0, "NOTHEIR!", 8);
}

static void noise_everywhere(const char *path)
{
    static unsigned char noise[65536];
    struct rnd rnd = {test_seed};
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)rnd_next(&rnd);
    overwrite(path, 0, noise, sizeof noise);
}

static void noise_after_the_magic(const char *path)
{
    static unsigned char noise[4000];
    struct rnd rnd = {test_seed + 1};
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)rnd_next(&rnd);
    overwrite(path, 8, noise, sizeof noise);
}

static void all_ones(const char *path)
{
    static unsigned char ones[4096 - 16];
    memset(ones, 0xff, sizeof ones);
    overwrite(path, 16, ones, sizeof ones);
}

static void a_text(const char *path)
{
    CHECK(truncate(path, 0) == 0);
    overwrite(path, 0, "this is not a table\n", 20);
}

static const struct {
    const char *name;
    void (*hurt)(const char *path);
    bool unfinished; /* like one whose keeper died while it was made: it may be removed */
} damages[] = {{"cut.to.0", cut_to_0, true},   {"cut.to.100", cut_to_100},
               {"cut.to.4096", cut_to_4096},   {"cut.in.half", cut_in_half},
               {"zero.head", zero_head, true}, {"other.magic", other_magic},
               {"noise", noise_everywhere},    {"noise.after.magic", noise_after_the_magic},
               {"all.ones", all_ones},         {"text", a_text}};

#define DAMAGES ((int)(sizeof damages / sizeof damages[0]))

/* ---- Whole tables beside them ------------------------------------------------------------------------- */

static bool is_error_of_damage(int rc)
{
    return rc == -EUCLEAN || rc == -EPROTONOSUPPORT;
}

static void check_good_ones(void)
{
    struct agent *agent = agent_new("check");
    DO(agent, 0, "claim good %d", PATIENCE / 2);
    DO(agent, 0, "get good k");
    CHECK_STR(agent->answer.value, "whole");
    DO(agent, 0, "put good k whole");
    DO(agent, 0, "release good");
    CHECK_RC(agent_end(agent), 0);
}

static void damaged_tables(void)
{
    char path[200];
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create good");
    DO(a, 0, "put good k whole");
    for (int i = 0; i < DAMAGES; i++) {
        DO(a, 0, "create %s max=1048576", damages[i].name);
        for (int k = 0; k < 20; k++)
            DO(a, 0, "put %s k%d v", damages[i].name, k);
    }
    CHECK_RC(agent_end(a), 0);
    CHECK_EQ(keeper_stop(), 0);
    for (int i = 0; i < DAMAGES; i++) {
        shm_path(path, sizeof path, "t.", damages[i].name);
        damages[i].hurt(path);
    }
    REQUIRE_EQ(keeper_start(NULL), 0);
    check_good_ones();
    struct heir_keeper_status status = {0};
    CHECK_RC(test_ping(&status), 0);
    CHECK(status.damaged >= DAMAGES - 2 && status.damaged <= DAMAGES, "%d set aside", (int)status.damaged);
    struct agent *b = agent_new("b");
    for (int i = 0; i < DAMAGES; i++) {
        const char *name = damages[i].name;
        bool may_be_gone = damages[i].unfinished;
        int rc = agent_do(b, "attach %s", name);
        CHECK(is_error_of_damage(rc) || (may_be_gone && rc == -ENOENT), "attach %s: %s", name, error_text(rc));
        rc = agent_do(b, "claim %s 0 none", name);
        CHECK(is_error_of_damage(rc) || (may_be_gone && rc == -ENOENT), "claim %s: %s", name, error_text(rc));
    }
    CHECK_EQ(keeper_stop(), 0); /* it still stands, and what is set aside stays so */
    REQUIRE_EQ(keeper_start(NULL), 0);
    check_good_ones();
    DO(b, 0, "close");
}

/* Looking from outside at what is damaged, while nobody keeps it. */
struct found {
    int whole, damaged, other;
};

static int find_damage(const struct heir_info *info, int error, void *arg)
{
    struct found *found = arg;
    if (!error)
        found->whole++;
    else if (is_error_of_damage(error) && info->name[0])
        found->damaged++;
    else
        found->other++;
    return 0;
}

static void inspected_damage(void)
{
    char path[200];
    struct found found = {0};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create good");
    DO(a, 0, "put good k whole");
    for (int i = 0; i < DAMAGES; i++)
        DO(a, 0, "create %s max=1048576", damages[i].name);
    CHECK_RC(agent_end(a), 0);
    CHECK_EQ(keeper_stop(), 0);
    for (int i = 0; i < DAMAGES; i++) {
        shm_path(path, sizeof path, "t.", damages[i].name);
        damages[i].hurt(path);
    }
    CHECK_RC(heir_inspect_tables(NULL, find_damage, &found), 0);
    CHECK(found.whole == 1 && found.damaged == DAMAGES && found.other == 0, "%d whole, %d damaged, %d other",
          found.whole, found.damaged, found.other);
    for (int i = 0; i < DAMAGES; i++) {
        struct heir_table *table = NULL;
        int rc = heir_inspect_open(NULL, damages[i].name, &table);
        CHECK(is_error_of_damage(rc), "%s: %s", damages[i].name, error_text(rc));
        if (rc == 0)
            heir_inspect_close(table);
    }
}

/* Things that are no tables, under names of tables. */
static void foreign_things(void)
{
    char path[5][200];
    static const char *const name[] = {"folder", "link", "pipe", "dangling", "bad name"};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create good");
    DO(a, 0, "put good k whole");
    CHECK_RC(agent_end(a), 0);
    CHECK_EQ(keeper_stop(), 0);
    for (int i = 0; i < 5; i++)
        shm_path(path[i], sizeof path[i], "t.", name[i]);
    CHECK(mkdir(path[0], 0700) == 0);
    CHECK(symlink("/etc/passwd", path[1]) == 0);
    CHECK(mkfifo(path[2], 0600) == 0);
    CHECK(symlink("/dev/shm/not-there", path[3]) == 0);
    int fd = open(path[4], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
    REQUIRE_EQ(keeper_start(NULL), 0); /* ready: it did not wait for somebody to open the pipe */
    check_good_ones();
    struct agent *b = agent_new("b");
    for (int i = 0; i < 4; i++) {
        int rc = agent_do(b, "attach %s", name[i]);
        CHECK(rc < 0 && rc != AGENT_HUNG && rc != AGENT_DEAD, "attach %s: %s", name[i], error_text(rc));
    }
    CHECK_EQ(keeper_stop(), 0);
    CHECK_RC(agent_end(b), 0);
    for (int i = 0; i < 5; i++)
        if (unlink(path[i]))
            rmdir(path[i]);
}

/* Pages of clients, living and dead. */
static void damaged_client_pages(void)
{
    struct rnd rnd = {test_seed};
    char path[200], id[32];
    for (int round = 0; round < 12; round++) {
        REQUIRE_EQ(keeper_start(NULL), 0);
        struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
        if (round == 0) {
            DO(a, 0, "create good");
            DO(a, 0, "put good k whole");
            DO(a, 0, "release good");
        }
        DO(b, 0, "claim held 0");
        DO(b, 0, "put held k v");
        CHECK_EQ(keeper_stop(), 0);
        if (round % 2)
            agent_kill(b);
        unsigned char noise[256];
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (unsigned char)rnd_next(&rnd);
        snprintf(id, sizeof id, "%llu", (unsigned long long)b->id);
        shm_path(path, sizeof path, "c.", id);
        if (access(path, F_OK)) {
            CHECK(false, "%s is not there", path);
        } else if (round == 0 || round == 1) {
            if (round) /* its owner is dead: nobody gets a SIGBUS for it */
                CHECK(truncate(path, 0) == 0);
            else
                overwrite(path, 0, noise, 64);
        } else {
            struct stat st = {0};
            CHECK(stat(path, &st) == 0);
            overwrite(path, (off_t)rnd_below(&rnd, (uint64_t)st.st_size - sizeof noise), noise,
                      1 + rnd_below(&rnd, round < 6 ? 16 : 255));
        }
        REQUIRE_EQ(keeper_start(NULL), 0);
        check_good_ones();
        DO(c, 0, "create other"); /* the living are served */
        DO(c, 0, "destroy other");
        agent_kill(a);
        agent_kill(b);
        agent_kill(c);
        CHECK_EQ(keeper_stop(), 0);
        unlink(path);
        /* what it held may be lost to its page's damage; the next round begins without */
        shm_path(path, sizeof path, "t.", "held");
        unlink(path);
    }
}

/* ---- Random damage ------------------------------------------------------------------------------------ */

/* Everything that can be done with a table. Any answer is right, if it comes. */
static int use_it(struct agent_self *self, void *arg)
{
    struct heir_table *table = NULL;
    uint64_t count = 0;
    (void)arg;
    int rc = heir_claim(self->client, "victim", NULL, 500, &table);
    self->answer.number = rc == 0;
    if (rc)
        return 0;
    rc = heir_foreach(table, visit_bytes, &count);
    for (int i = 0; i < 120; i++) {
        char key[16], value[256];
        size_t len = sizeof value;
        snprintf(key, sizeof key, "key %d", i);
        heir_get(table, key, strlen(key), value, &len);
        heir_has(table, key, strlen(key));
    }
    for (int i = 0; i < 120; i++) {
        char key[16], value[256] = "new";
        size_t len = sizeof value;
        snprintf(key, sizeof key, "key %d", i);
        if (i % 10 == 0)
            heir_begin(table);
        if (i % 3 == 0)
            heir_put(table, key, strlen(key), value, (size_t)i * 2);
        else if (i % 3 == 1)
            heir_del(table, key, strlen(key));
        else
            heir_take(table, key, strlen(key), value, &len);
        if (i % 10 == 9)
            i % 20 == 9 ? heir_abort(table) : heir_commit(table);
    }
    heir_foreach(table, visit_bytes, &count);
    heir_clear(table);
    for (int i = 0; i < 200; i++)
        heir_put(table, &i, sizeof i, &i, sizeof i);
    heir_release(table);
    return 0;
}

static void random_damage(void)
{
    struct rnd rnd = {test_seed};
    int opened = 0, rounds = TEST_ASAN || TEST_TSAN ? 20 : 80;
    char path[200];
    shm_path(path, sizeof path, "t.", "victim");
    for (int round = 0; round < rounds; round++) {
        uint64_t seed = rnd.state;
        REQUIRE_EQ(keeper_start(NULL), 0);
        struct agent *a = agent_new("a");
        DO(a, 0, "claim good 0");
        DO(a, 0, "put good k whole");
        DO(a, 0, "create victim max=262144");
        for (int i = 0; i < 100; i++)
            DO(a, 0, "put victim key-%d some-value-of-%d", i, i);
        DO(a, 0, "begin victim"); /* with an undo log to be followed */
        DO(a, 0, "put victim key-1 half");
        DO(a, 0, "del victim key-2");
        CHECK_EQ(keeper_stop(), 0);
        agent_kill(a);
        struct stat st = {0};
        CHECK(stat(path, &st) == 0);
        uint64_t reach = round % 3 == 0 ? 4096 : round % 3 == 1 ? 16384 : (uint64_t)st.st_blocks * 512;
        for (uint64_t hits = 1 + rnd_below(&rnd, 8); hits; hits--) {
            unsigned char noise[8];
            uint64_t value = rnd_next(&rnd) >> rnd_below(&rnd, 64); /* also small numbers, like offsets */
            memcpy(noise, &value, 8);
            overwrite(path, (off_t)(rnd_below(&rnd, reach > 8 ? reach - 8 : 1) & (rnd_below(&rnd, 2) ? ~7ull : ~0ull)),
                      noise, 1 + rnd_below(&rnd, 8));
        }
        REQUIRE_EQ(keeper_start(NULL), 0);
        struct agent *b = agent_new("b");
        int rc = agent_call(b, use_it, NULL, 0);
        opened += rc == 0 && b->answer.number;
        CHECK(rc == 0, "round %d (state %llu): %s", round, (unsigned long long)seed, error_text(rc));
        agent_kill(b);
        check_good_ones();
        if (!CHECK_EQ(keeper_stop(), 0))
            fprintf(stderr, "round %d (state %llu)\n", round, (unsigned long long)seed);
        unlink(path);
    }
    printf(" (%d of %d could still be opened)", opened, rounds);
}

/* A living worker's table goes bad under the running keeper: only this table suffers. */
static void damaged_while_owned(void)
{
    char path[200];
    static const char zero[1024];
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create good");
    DO(a, 0, "put good k whole");
    DO(a, 0, "release good");
    DO(a, 0, "create bad");
    DO(a, 0, "put bad k v");
    shm_path(path, sizeof path, "t.", "bad");
    overwrite(path, 0, zero, sizeof zero);
    int rc = agent_do(a, "put bad k w");
    CHECK(rc != AGENT_HUNG && rc != AGENT_DEAD, "put: %s", error_text(rc));
    agent_kill(a);
    rc = agent_do(b, "claim bad 200");
    CHECK(rc != AGENT_HUNG && rc != AGENT_DEAD, "claim: %s", error_text(rc));
    check_good_ones();
    CHECK_EQ(keeper_stop(), 0);
    REQUIRE_EQ(keeper_start(NULL), 0);
    check_good_ones();
}

const struct test keeper_damage[] = {{"damaged tables", damaged_tables},
                                     {"damage seen from outside", inspected_damage},
                                     {"foreign things", foreign_things},
                                     {"damaged client pages", damaged_client_pages},
                                     {"random damage", random_damage},
                                     {"damaged while owned", damaged_while_owned},
                                     {NULL, NULL}};
