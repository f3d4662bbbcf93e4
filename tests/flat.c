/* SPDX-License-Identifier: MIT */
/*
 * The keeper's size: memory, descriptors, threads and mappings are the same after many clients have lived, and many
 * tables, as they were after the first thousand. HEIR_TEST_LIVES=100000 makes it that many of each.
 */
#include "support.h"

#include <heir/admin.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP   1000
#define LIVES     5000
#define GROWTH_KB 512 /* that is no leak: 100 bytes a life would be as much */

static int lives(void)
{
    const char *text = getenv("HEIR_TEST_LIVES");
    int n = text ? atoi(text) : 0;
    return n > 0 ? n : TEST_ASAN || TEST_TSAN ? LIVES / 5 : LIVES;
}

/* ---- The keeper's size ---------------------------------------------------------------------------------- */

struct size {
    long rss_kb;
    int fds, threads, maps;
};

static int count_lines(const char *path)
{
    int n = 0, c;
    FILE *f = fopen(path, "re");
    while (f && (c = getc(f)) != EOF)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

static struct size size_of(pid_t pid)
{
    struct size size = {.fds = count_fds(pid), .threads = count_threads(pid)};
    char path[64];
    long all, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    CHECK(f && fscanf(f, "%ld %ld", &all, &resident) == 2);
    if (f)
        fclose(f);
    size.rss_kb = resident * (sysconf(_SC_PAGESIZE) / 1024);
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    size.maps = count_lines(path);
    return size;
}

static bool is_empty(void *arg)
{
    struct heir_keeper_status status = {.clients = 1};
    (void)arg;
    return test_ping(&status) == 0 && status.clients == 0 && status.tables == 0;
}

static struct size least_size(void)
{
    CHECK(wait_until(is_empty, NULL, PATIENCE));
    struct size least = size_of(keeper_pid());
    for (int i = 0; i < 50; i++) { /* what has ended just now is still being let go */
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        struct size size = size_of(keeper_pid());
        if (size.fds <= least.fds && size.threads <= least.threads)
            least = size;
    }
    return least;
}

/* ---- Lives ---------------------------------------------------------------------------------------------- */

typedef int life_fn(int number);

static int make_table(struct heir *client, int number, const char *heir, struct heir_table **table)
{
    struct heir_table_options options = {.max_bytes = HEIR_TABLE_MIN, .heir = heir, .access = HEIR_PROTECTED};
    char name[32];
    snprintf(name, sizeof name, "table-%d-%d", (int)getpid(), number);
    int r = heir_create(client, name, &options, table);
    return r == 0 ? heir_put(*table, name, strlen(name), name, strlen(name)) : r;
}

static int open_one(struct heir **client)
{
    return heir_open(&(struct heir_open_options){.name = "mortal", .timeout_ms = patience(PATIENCE)}, client);
}

/* It leaves as it came; its table, before it. */
static int live_and_leave(int number)
{
    struct heir_table *table;
    struct heir *client;
    int r = open_one(&client);
    if (r < 0)
        return r;
    if ((r = make_table(client, number, NULL, &table)) == 0)
        r = heir_destroy(table);
    int closed = heir_close(client);
    return r < 0 ? r : closed;
}

/* It is killed in the middle of a transaction, and its table goes with it. */
static int live_and_die(int number)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct heir_table *table;
        struct heir *client;
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (open_one(&client) == 0 && make_table(client, number, HEIR_NOBODY, &table) == 0 && heir_begin(table) == 0 &&
            heir_put(table, "k", 1, "v", 1) == 0)
            raise(SIGKILL);
        _exit(1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) ? 0 : -EIO;
}

struct lives {
    life_fn *life;
    int count;
};

static int live_often(struct agent_self *self, void *arg)
{
    const struct lives *lives = arg;
    int r = 0;
    for (int i = 0; i < lives->count && r == 0; i++) {
        self->answer.number = (uint64_t)i;
        r = lives->life(i);
    }
    return r;
}

static void live(life_fn *life, int count)
{
    struct lives some = {life, 0};
    for (int done = 0; done < count; done += some.count) {
        struct agent *agent = agent_new(NULL);
        some.count = count - done < 1000 ? count - done : 1000;
        REQUIRE_RC(agent_call_send(agent, live_often, &some, sizeof some), 0);
        int rc = agent_answer(agent, 12 * PATIENCE);
        REQUIRE(rc == 0, "life %d: %s", (int)agent->answer.number, error_text(rc));
        CHECK_RC(agent_end(agent), 0);
    }
}

static void stays_flat(life_fn *life)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    live(life, WARM_UP);
    struct size before = least_size();
    int count = lives();
    live(life, count);
    struct size after = least_size();
    printf(" (%d: %ld -> %ld KiB, %d -> %d descriptors, %d -> %d threads, %d -> %d mappings)", count, before.rss_kb,
           after.rss_kb, before.fds, after.fds, before.threads, after.threads, before.maps, after.maps);
    CHECK(after.fds <= before.fds);
    CHECK(after.threads <= before.threads);
    CHECK(after.maps <= before.maps + 8, "arenas of malloc() come and go");
    if (!TEST_ASAN && !TEST_TSAN) /* which keep what is freed */
        CHECK(after.rss_kb <= before.rss_kb + GROWTH_KB);
    CHECK_EQ(shm_count("c."), 0);
    CHECK_EQ(shm_count("t."), 0);
}

static void clients_that_leave(void)
{
    stays_flat(live_and_leave);
}

static void clients_that_die(void)
{
    stays_flat(live_and_die);
}

static struct heir *maker;

static int make_and_destroy(int number)
{
    struct heir_table *table;
    int r = maker ? 0 : open_one(&maker);
    if (r == 0)
        r = make_table(maker, number, NULL, &table);
    if (r == 0 && number % 2)
        r = heir_release(table);
    if (r == 0 && number % 2) {
        char name[32];
        snprintf(name, sizeof name, "table-%d-%d", (int)getpid(), number);
        struct heir_event event;
        r = heir_claim(maker, name, NULL, 0, &table);
        if (r == 0)
            r = heir_wait(maker, 0, &event);
    }
    return r == 0 ? heir_destroy(table) : r;
}

static void tables(void)
{
    stays_flat(make_and_destroy);
}

static const struct test tests[] = {{"clients that leave", clients_that_leave},
                                    {"clients that die", clients_that_die},
                                    {"tables", tables},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "flat", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
