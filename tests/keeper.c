/* SPDX-License-Identifier: MIT */
/*
 * Keepers: inside a program, one a namespace, ready and stopped properly. keeper_restart.c: what their death and return
 * mean to the others; keeper_damage.c: leftovers that are broken.
 */
#include "keeper.h"

#include <ctype.h>
#include <heir/admin.h>
#include <heir/keeper.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- Embedded ----------------------------------------------------------------------------------------- */

/* Threads end a moment after they were joined, for /proc; the library may keep one of its own once it has begun. */
static bool is_flat(void *arg)
{
    const int *before = arg;
    return count_fds(0) == before[0] && count_threads(0) == before[1];
}

static void started_and_stopped(void)
{
    struct heir_keeper *keeper = NULL;
    struct heir_keeper_status status;
    int before[2] = {0, 0};
    heir_keeper_stop(NULL);
    for (int i = 0; i < 60; i++) {
        if (i == 2) {
            before[0] = count_fds(0);
            before[1] = count_threads(0);
        }
        REQUIRE_RC(heir_keeper_start(NULL, &keeper), 0);
        CHECK_RC(test_ping(&status), 0);
        CHECK_EQ(status.pid, getpid());
        CHECK_EQ(status.deaths, 0);
        heir_keeper_stop(keeper);
        CHECK_RC(heir_ping(&(struct heir_open_options){.timeout_ms = 1}, &status), -ECONNREFUSED);
        CHECK(access(world.socket, F_OK) != 0, "the socket is still there");
    }
    CHECK(wait_until(is_flat, before, PATIENCE), "%d descriptors, %d at first; %d threads, %d at first", count_fds(0),
          before[0], count_threads(0), before[1]);
}

/* A client and its keeper in one process, and the keeper restarted under it. */
static void restarted_around_a_client(void)
{
    struct heir_keeper *keeper = NULL;
    struct heir_table *table = NULL, *other = NULL;
    int64_t sum = 0;
    int before[2];
    REQUIRE_RC(heir_keeper_start(NULL, &keeper), 0);
    struct heir *me = test_open("me");
    REQUIRE_RC(heir_create(me, "t", NULL, &table), 0);
    for (int i = 0; i < 30; i++) {
        struct heir_event event;
        char name[16];
        CHECK_RC(heir_add(table, "n", 1, 1, &sum), 0);
        heir_keeper_stop(keeper);
        CHECK_RC(heir_add(table, "n", 1, 1, &sum), 0);
        REQUIRE_RC(heir_keeper_start(NULL, &keeper), 0);
        CHECK_RC(heir_wait(me, patience(PATIENCE), &event), 0);
        CHECK_EQ(event.type, HEIR_EVENT_KEEPER_DOWN);
        CHECK_RC(heir_wait(me, patience(PATIENCE), &event), 0);
        CHECK_EQ(event.type, HEIR_EVENT_KEEPER_UP);
        CHECK_RC(heir_wait(me, 0, &event), -ETIMEDOUT);
        snprintf(name, sizeof name, "t%d", i);
        CHECK_RC(heir_create(me, name, NULL, &other), 0); /* it knows who I am */
        CHECK_RC(heir_destroy(other), 0);
        if (i == 2) {
            before[0] = count_fds(0);
            before[1] = count_threads(0);
        }
    }
    CHECK_EQ(sum, 60);
    struct heir_info info = {0};
    CHECK_RC(heir_info(table, &info), 0);
    CHECK_EQ(info.owner, heir_id(me));
    CHECK_EQ(info.epoch, 1);
    CHECK(wait_until(is_flat, before, PATIENCE), "%d descriptors, %d before; %d threads, %d before", count_fds(0),
          before[0], count_threads(0), before[1]);
    test_close(me);
    heir_keeper_stop(keeper);
}

struct log {
    _Atomic int lines, inside, bad, about_mortal;
};

static void take_line(enum heir_log_level level, const char *line, void *arg)
{
    struct log *log = arg;
    if (log->inside++) /* one at a time */
        log->bad++;
    if (level < HEIR_LOG_ERROR || level > HEIR_LOG_DEBUG || !*line || strchr(line, '\n'))
        log->bad++;
    for (const char *c = line; *c; c++)
        if (!isprint((unsigned char)*c))
            log->bad++;
    if (strstr(line, "mortal") && level <= HEIR_LOG_NOTICE)
        log->about_mortal++;
    log->lines++;
    log->inside--;
}

/* Its log has an obituary for a death; the heir, a client of the keeper's own process, gets the table. */
static void logs_a_death(void)
{
    static struct log log;
    struct heir_keeper *keeper = NULL;
    struct heir_event event;
    memset(&log, 0, sizeof log);
    REQUIRE_RC(heir_keeper_start(&(struct heir_keeper_options){.log = take_line, .log_arg = &log}, &keeper), 0);
    struct heir *me = test_open("me");
    struct agent *mortal = agent_new("mortal");
    DO(mortal, 0, "create last-will heir=me");
    DO(mortal, 0, "begin last-will");
    DO(mortal, 0, "put last-will k v");
    agent_kill(mortal);
    CHECK_RC(heir_wait(me, patience(PATIENCE), &event), 0);
    CHECK_EQ(event.type, HEIR_EVENT_TRANSFER);
    CHECK_EQ(event.reason, HEIR_INHERITED);
    CHECK_EQ(event.undone, 1);
    CHECK_RC(heir_has(event.table, "k", 1), -ENOENT);
    struct heir_keeper_status status = {0};
    CHECK_RC(test_ping(&status), 0);
    CHECK_EQ(status.deaths, 1);
    CHECK(status.transfers >= 1);
    test_close(me);
    heir_keeper_stop(keeper);
    CHECK(log.lines > 0 && log.bad == 0, "%d lines, %d bad", log.lines, log.bad);
    CHECK(log.about_mortal > 0, "no line names the dead client");
}

static void bad_options(void)
{
    struct heir_keeper *keeper = NULL;
    static const char *const bad[] = {"", "a.b", "a/b", ".a", "a b", NULL};
    CHECK_RC(heir_keeper_start(NULL, NULL), -EINVAL);
    for (int i = 0; bad[i]; i++) {
        int rc = heir_keeper_start(&(struct heir_keeper_options){.ns = bad[i]}, &keeper);
        CHECK(rc == -EINVAL, "namespace \"%s\": %s", bad[i], error_text(rc));
        if (!rc)
            heir_keeper_stop(keeper);
    }
    int rc = heir_keeper_start(&(struct heir_keeper_options){.reserved = {0, 0, 0, 0, 1}}, &keeper);
    CHECK_RC(rc, -EINVAL);
    if (!rc)
        heir_keeper_stop(keeper);
    CHECK_EQ(shm_count(""), 0);
}

static void socket_modes(void)
{
    struct heir_keeper *keeper = NULL;
    static const unsigned mode[] = {0, 0600, 0660, 0666};
    for (size_t i = 0; i < 4; i++) {
        struct stat st = {0};
        REQUIRE_RC(heir_keeper_start(&(struct heir_keeper_options){.socket_mode = mode[i]}, &keeper), 0);
        CHECK(stat(world.socket, &st) == 0);
        CHECK_EQ(st.st_mode & 07777, mode[i] ? mode[i] : 0600);
        heir_keeper_stop(keeper);
    }
}

/* ---- One a namespace ---------------------------------------------------------------------------------- */

static void only_one(void)
{
    struct heir_keeper *keeper = NULL;
    struct heir_table *table = NULL;
    struct heir_keeper_status status = {0};
    static struct output output;
    char second[128], ns[sizeof world.ns], other_ns[sizeof world.ns];
    snprintf(second, sizeof second, "%s/second", world.dir);
    snprintf(other_ns, sizeof other_ns, "%.50s-other", world.ns);
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("me");
    REQUIRE_RC(heir_create(me, "t", NULL, &table), 0);
    REQUIRE_RC(heir_put(table, "k", 1, "v", 1), 0);
    CHECK_RC(heir_keeper_start(NULL, &keeper), -EBUSY);
    CHECK_RC(heir_keeper_start(&(struct heir_keeper_options){.purge = true}, &keeper), -EBUSY);
    CHECK_RC(heir_keeper_start(&(struct heir_keeper_options){.socket = second}, &keeper),
             -EBUSY); /* the namespace is kept */
    CHECK_RC(heir_keeper_start(&(struct heir_keeper_options){.ns = other_ns}, &keeper), -EBUSY); /* the socket is */
    CHECK(run(&output, "heird", "--purge", NULL) > 0);
    CHECK(output.err[0] != 0, "it says nothing");
    CHECK(access(second, F_OK) != 0);
    memcpy(ns, world.ns, sizeof ns);
    memcpy(world.ns, other_ns, sizeof ns);
    CHECK_EQ(shm_count(""), 0); /* one that did not start leaves nothing */
    memcpy(world.ns, ns, sizeof ns);
    CHECK_RC(test_ping(&status), 0); /* none of them has hurt the first */
    CHECK_EQ(status.pid, keeper_pid());
    CHECK_EQ(status.tables, 1);
    CHECK_RC(heir_has(table, "k", 1), 0);
    struct heir_table *other = NULL;
    CHECK_RC(heir_create(me, "u", NULL, &other), 0);
}

/* Started at the same time, exactly one is the keeper. */
static void only_one_of_many(void)
{
    for (int round = 0; round < 5; round++) {
        static const char *const argv[] = {"heird", NULL};
        struct program *program[6];
        struct heir_keeper_status status = {0};
        int alive = 0;
        for (int i = 0; i < 6; i++)
            REQUIRE((program[i] = program_start(argv)) != NULL);
        CHECK_RC(heir_ping(&(struct heir_open_options){.timeout_ms = patience(PATIENCE)}, &status), 0);
        for (int i = 0; i < 6; i++) {
            if (program[i]->pid == status.pid) {
                alive++;
                continue;
            }
            int code = program_wait(program[i], PATIENCE);
            CHECK(code > 0 && code < 128, "a second keeper ended with %d", code);
        }
        CHECK_EQ(alive, 1);
        for (int i = 0; i < 6; i++)
            if (program[i]->pid) {
                program_signal(program[i], SIGTERM);
                CHECK_EQ(program_wait(program[i], PATIENCE), 0);
            }
    }
}

/* ---- The daemon --------------------------------------------------------------------------------------- */

static void wrong_usage(void)
{
    static struct output output;
    CHECK(run(&output, "heird", "--no-such-option", NULL) > 0);
    CHECK(output.err[0] != 0);
    CHECK(run(&output, "heird", "--namespace", "a/b", NULL) > 0);
    CHECK(output.err[0] != 0);
    CHECK(run(&output, "heird", "--namespace", NULL) > 0);
    CHECK(run(&output, "heird", "--ready-fd", "x", NULL) > 0);
    CHECK(run(&output, "heird", "--ready-fd", "77", NULL) > 0); /* there is no such descriptor */
    char path[200];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = 0;
    CHECK(run(&output, "heird", "--socket", path, NULL) > 0);
    CHECK(output.err[0] != 0);
    CHECK_EQ(run(&output, "heird", "--help", NULL), 0);
    CHECK(strstr(output.out, "--ready-fd") != NULL);
    CHECK_EQ(shm_count(""), 0);
}

/* sd_notify: READY=1 on $NOTIFY_SOCKET. */
static void notifies(void)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    char text[256] = "";
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(here.sun_path, sizeof here.sun_path, "%s/notify", world.dir);
    REQUIRE(bind(fd, (struct sockaddr *)&here, sizeof here) == 0);
    setenv("NOTIFY_SOCKET", here.sun_path, 1);
    CHECK_EQ(keeper_start(NULL), 0);
    unsetenv("NOTIFY_SOCKET");
    struct waiting it = waiting_begin(PATIENCE);
    bool ready = false;
    while (!ready && await_readable(fd, &it)) {
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = 0;
        ready = strstr(text, "READY=1") != NULL;
    }
    CHECK(ready, "\"%s\"", text);
    close(fd);
    unlink(here.sun_path);
}

static void many_clients_come_and_go(void)
{
    enum { N = 100 };
    struct agent *agent[5];
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *client[N];
    int fds = 0, threads = 0;
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 50; i++)
            REQUIRE_RC(
                heir_open(&(struct heir_open_options){.name = "c", .timeout_ms = patience(PATIENCE)}, &client[i]), 0);
        for (int i = 0; i < 50; i++)
            CHECK_RC(heir_close(client[i]), 0);
        for (int i = 0; i < 5; i++) { /* and some that die */
            agent[i] = agent_new("mortal");
            agent_kill(agent[i]);
        }
        struct heir_keeper_status status = {.clients = 99};
        for (struct waiting it = waiting_begin(PATIENCE); status.clients && waiting_round(&it) > 0;)
            CHECK_RC(test_ping(&status), 0);
        CHECK_EQ(status.clients, 0);
        CHECK_EQ(status.deaths, 5 * (round + 1));
        CHECK_EQ(shm_count("c."), 0);
        if (round == 1) {
            fds = count_fds(keeper_pid());
            threads = count_threads(keeper_pid());
        }
    }
    CHECK(count_fds(keeper_pid()) <= fds + 2, "%d descriptors, %d before", count_fds(keeper_pid()), fds);
    CHECK(count_threads(keeper_pid()) <= threads + 2, "%d threads, %d before", count_threads(keeper_pid()), threads);
}

/* The keeper's log has each death, with the table's epoch: what an operator looks at first. */
static void heird_logs_deaths(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("miller");
    DO(a, 0, "create flour");
    agent_kill(a);
    struct agent *next = agent_new("miller");
    agent_send(next, "claim flour -1");
    CHECK_RC(agent_answer(next, PATIENCE), 0);
    CHECK_EQ(keeper_stop(), 0);
    char *log = keeper_log();
    CHECK(log && strstr(log, "miller") && strstr(log, "flour") && strstr(log, "epoch"), "the log: %s", log ? log : "");
    free(log);
}

/* ---- Huge pages ----------------------------------------------------------------------------------------- */

static bool kernel_collapses(void)
{
    const size_t huge = 2 << 20;
    int fd = memfd_create("heir-test", MFD_CLOEXEC);
    uint8_t *room = mmap(NULL, 2 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(fd >= 0 && ftruncate(fd, huge) == 0 && room != MAP_FAILED);
    void *base = mmap(room + -(uintptr_t)room % huge, huge, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_POPULATE | MAP_FIXED, fd, 0);
    close(fd);
    bool can = base != MAP_FAILED && madvise(base, huge, 25 /* MADV_COLLAPSE */) == 0;
    munmap(room, 2 * huge);
    return can;
}

/* KiB of shared memory that this process has in huge pages. */
static long huge_kib(void)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[256];
    long sum = 0, kib;
    while (f && fgets(line, sizeof line, f))
        sum += sscanf(line, "ShmemPmdMapped: %ld", &kib) == 1 ? kib : 0;
    if (f)
        fclose(f);
    return sum;
}

struct table_sum {
    struct heir_table *table;
    uint64_t sum;
};

static int add_up(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    uint64_t n = 0;
    (void)key, (void)key_len;
    memcpy(&n, value, value_len < sizeof n ? value_len : sizeof n);
    *(uint64_t *)arg += n;
    return 0;
}

/* Reads all of it, so that huge pages that are there are mapped; the objects are always the same. */
static bool is_in_huge_pages(void *arg)
{
    struct table_sum *want = arg;
    uint64_t sum = 0;
    return CHECK_RC(heir_foreach(want->table, add_up, &sum), 0) && CHECK_EQ(sum, want->sum) && huge_kib() > 0;
}

/* What is in use of a large table comes to be in huge pages, while it is read, and nothing changes. */
static void huge_pages(void)
{
    static const char *const none[] = {"--no-huge-pages", NULL};
    struct table_sum want = {0};
    uint8_t value[1000] = {0};
    if (!kernel_collapses()) {
        test_skip("this kernel does not collapse shared memory");
        return;
    }
    for (int with = 0; with < 2; with++) {
        REQUIRE_EQ(keeper_start(with ? NULL : none), 0);
        struct heir *me = test_open("me");
        want.sum = 0;
        REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.max_bytes = 64 << 20}, &want.table), 0);
        for (uint64_t i = 0; i < 20000; i++) {
            memcpy(value, &i, sizeof i);
            want.sum += i;
            CHECK_RC(heir_put(want.table, &i, sizeof i, value, sizeof value), 0);
        }
        if (with)
            CHECK(wait_until(is_in_huge_pages, &want, patience(PATIENCE)), "%ld KiB in huge pages", huge_kib());
        else
            CHECK(!wait_until(is_in_huge_pages, &want, 1000), "%ld KiB in huge pages", huge_kib());
        CHECK_RC(heir_check(want.table, NULL, NULL, NULL), 0);
        CHECK_RC(heir_destroy(want.table), 0);
        test_close(me);
        CHECK_EQ(keeper_stop(), 0);
    }
}

/* Bytes of the table's file that have memory. */
static uint64_t backed(const char *table)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof path, "/dev/shm/heir.%s.t.%s", world.ns, table);
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

struct grown {
    struct heir_table *table;
    uint64_t count;
};

/* Grow a little. Is there more than is in use by now? Never much more: a 16th, and what the writer has taken itself. */
static bool is_ahead(void *arg)
{
    struct grown *g = arg;
    uint8_t value[1000] = {0};
    struct heir_info info;
    for (int i = 0; i < 20; i++, g->count++)
        CHECK_RC(heir_put(g->table, &g->count, sizeof g->count, value, sizeof value), 0);
    CHECK_RC(heir_info(g->table, &info), 0);
    uint64_t there = backed("t");
    return there > info.bytes_used + (1 << 20) &&
           CHECK(there < info.bytes_used + info.bytes_used / 16 + (1 << 20), "%lu for %lu", (unsigned long)there,
                 (unsigned long)info.bytes_used);
}

/* A large table that grows is given memory before it needs it. */
static void memory_ahead(void)
{
    static const char *const none[] = {"--no-huge-pages", NULL};
    if (!kernel_collapses()) {
        test_skip("this kernel does not collapse shared memory");
        return;
    }
    for (int with = 0; with < 2; with++) {
        REQUIRE_EQ(keeper_start(with ? NULL : none), 0);
        struct heir *me = test_open("me");
        struct grown g = {0};
        REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.max_bytes = 256 << 20}, &g.table), 0);
        while (g.count < 50000)
            is_ahead(&g);
        if (with)
            CHECK(wait_until(is_ahead, &g, PATIENCE), "%lu bytes", (unsigned long)backed("t"));
        else
            CHECK(!wait_until(is_ahead, &g, 1000), "%lu bytes", (unsigned long)backed("t"));
        CHECK_RC(heir_check(g.table, NULL, NULL, NULL), 0);
        CHECK_RC(heir_destroy(g.table), 0);
        test_close(me);
        CHECK_EQ(keeper_stop(), 0);
    }
}

static const struct test tests[] = {{"embedded: started and stopped", started_and_stopped},
                                    {"embedded: restarted around a client", restarted_around_a_client},
                                    {"embedded: logs a death", logs_a_death},
                                    {"embedded: bad options", bad_options},
                                    {"embedded: socket modes", socket_modes},
                                    {"only one", only_one},
                                    {"only one of many", only_one_of_many},
                                    {"heird: wrong usage", wrong_usage},
                                    {"heird: notifies", notifies},
                                    {"heird: logs deaths", heird_logs_deaths},
                                    {"many clients come and go", many_clients_come_and_go},
                                    {"heird: huge pages", huge_pages},
                                    {"heird: memory ahead", memory_ahead},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "keeper", .tests = tests},
                                        {.name = "restart", .tests = keeper_restart},
                                        {.name = "damage", .tests = keeper_damage},
                                        {.name = NULL}};
    return test_main(argc, argv, suites);
}
