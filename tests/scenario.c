/* SPDX-License-Identifier: MIT */
/*
 * The demo scenarios, run for real: their own processes, kills and keepers. Each driver checks what it sees and says so
 * by its exit code; here its output is checked once more, and that it leaves nothing: no process, no table, no client.
 */
#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES 512

static struct {
    int code, lines;
    char line[LINES][200];
    char err[4096];
} seen;

static bool namespace_is_empty(void *arg)
{
    (void)arg;
    return shm_count("t.") == 0 && shm_count("c.") == 0;
}

static void read_err(const char *path)
{
    FILE *file = fopen(path, "re");
    size_t n = 0;
    if (file && fseek(file, -(long)sizeof(seen.err) + 1, SEEK_END))
        rewind(file);
    if (file) {
        n = fread(seen.err, 1, sizeof(seen.err) - 1, file);
        fclose(file);
    }
    seen.err[n] = '\0';
}

/* Read a demo's output to the end. */
static void watch(struct program *demo)
{
    int rc = 0;
    while (seen.lines < LINES && (rc = program_line(demo, seen.line[seen.lines], sizeof(seen.line[0]), 60000)) >= 0)
        seen.lines++;
    CHECK(seen.lines > 0 && rc == -EPIPE);
    seen.code = program_wait(demo, PATIENCE);
    read_err(demo->err);
}

static struct program *start(const char *const argv[])
{
    memset(&seen, 0, sizeof(seen));
    struct program *demo = program_start(argv);
    REQUIRE(demo);
    return demo;
}

static const char *last_line(void)
{
    return seen.lines ? seen.line[seen.lines - 1] : "";
}

static void show(void)
{
    fprintf(stderr, "\n");
    for (int i = 0; i < seen.lines; i++)
        fprintf(stderr, "    %s\n", seen.line[i]);
    fprintf(stderr, "%s", seen.err);
}

/* Run it; it must end well, with this last line (all of it, or its beginning), and leave nothing. */
static void run_demo(const char *const argv[], const char *verdict)
{
    watch(start(argv));
    bool well = CHECK_EQ(seen.code, 0);
    well &= CHECK(strncmp(last_line(), verdict, strlen(verdict)) == 0, "\"%s\"", last_line());
    if (keeper_pid())
        well &= CHECK(wait_until(namespace_is_empty, NULL, PATIENCE));
    else
        well &= CHECK(namespace_is_empty(NULL));
    if (!well)
        show();
}

/* The lines that are neither comments nor the verdict, joined by spaces. */
static const char *said(void)
{
    static char text[8192];
    size_t n = 0;
    text[0] = '\0';
    for (int i = 0; i < seen.lines - 1; i++)
        if (seen.line[i][0] != '#' && n < sizeof(text))
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "", seen.line[i]);
    return text;
}

static int count_lines(const char *part)
{
    int n = 0;
    for (int i = 0; i < seen.lines; i++)
        n += strstr(seen.line[i], part) != NULL;
    return n;
}

static const char *number(char *text, size_t size, uint64_t n)
{
    snprintf(text, size, "%llu", (unsigned long long)n);
    return text;
}

/* ---- The scenarios ------------------------------------------------------------------------------------ */

static void counter(void)
{
    REQUIRE_RC(keeper_start(NULL), 0);
    run_demo((const char *[]){"counter", NULL}, "counter: 9 requests, 3 deaths, nothing lost");
    CHECK_STR(said(), "1 2 3 4 5 6 7 8 9");
    CHECK_EQ(count_lines("# kill -9 "), 3);
}

static void counter_public(void)
{
    REQUIRE_RC(keeper_start(NULL), 0);
    run_demo((const char *[]){"counter-public", NULL}, "counter-public: 9 requests, 3 deaths, nothing lost");
    CHECK_STR(said(), "1 2 3 4 5 6 7 8 9");
    CHECK_EQ(count_lines("# kill -9 "), 3);
}

static void dynamite(void)
{
    char seed[32];
    long crash = 0, ticks = 0, before = 0;
    REQUIRE_RC(keeper_start(NULL), 0);
    run_demo((const char *[]){"dynamite", "--crashes", "50", "--seed",
                              number(seed, sizeof(seed), test_seed % 1000000000), NULL},
             "dynamite: 50 crashes in the middle of a change, ");
    for (int i = 0; i < seen.lines; i++)
        if (sscanf(seen.line[i], "crash %*d: %ld ticks", &ticks) == 1) {
            CHECK(ticks >= before, "%ld after %ld", ticks, before);
            before = ticks;
            crash++;
        }
    CHECK_EQ(crash, 50);
    CHECK(ticks > 0);
}

static void sequence(void)
{
    REQUIRE_RC(keeper_start(NULL), 0);
    run_demo((const char *[]){"sequence", NULL},
             "sequence: 0 1 2, crash, 3 4 5: one request failed, no number was lost");
    CHECK_STR(said(),
              "next: 0 next: 1 next: 2 increment cat: failed next: 3 next: 4 next: 5 increment 94: 100 next: 100");
}

static void pairs(void)
{
    char seed[32];
    run_demo((const char *[]){"pairs", "--instances", "100", "--seconds", "2", "--speed", "5", "--seed",
                              number(seed, sizeof(seed), test_seed % 1000000), NULL},
             "pairs: 102 instances, ");
    CHECK_EQ(count_lines("pair-0: from -10, every 40 ms, "), 1);
    CHECK_EQ(count_lines("pair-1: from 0, every 200 ms, "), 1);
    CHECK_EQ(count_lines("have gone on counting without a keeper"), 1);
}

static void device_login(void)
{
    REQUIRE_RC(keeper_start(NULL), 0);
    run_demo((const char *[]){"device-login", NULL}, "device-login: 1 fetch, ");
    CHECK_EQ(count_lines("has claimed the login"), 5); /* at first, after 3 crashes, after 1 kill */
    CHECK_EQ(count_lines("authorization_pending 40"), 3 + 4);
    CHECK_EQ(count_lines("access_granted 41"), 4);
}

/* ---- The drivers -------------------------------------------------------------------------------------- */

static void own_keeper(void)
{
    run_demo((const char *[]){"counter", "--own-keeper", NULL}, "counter: 9 requests, 3 deaths, nothing lost");
    CHECK_STR(said(), "1 2 3 4 5 6 7 8 9");
}

static void no_keeper(void)
{
    watch(start((const char *[]){"counter", NULL}));
    CHECK_EQ(seen.code, 1);
    CHECK(strncmp(last_line(), "counter: FAILED: ", 17) == 0 && strstr(last_line(), "--own-keeper"), "\"%s\"",
          last_line());
    CHECK(namespace_is_empty(NULL));
}

static void wrong_usage(void)
{
    struct output output;
    CHECK_EQ(run(&output, "dynamite", "--crashes", "0", NULL), 2);
    CHECK_EQ(run(&output, "dynamite", "--crashes", NULL), 2);
    CHECK_EQ(run(&output, "counter", "--seed", "1", NULL), 2);
    CHECK_EQ(run(&output, "dynamite", "--help", NULL), 0);
    CHECK(strstr(output.out, "--seed") != NULL);
}

/* From outside, in the middle: it ends with exit code 1 and cleans up. */
static void ended_by(int signal, const char *verdict)
{
    REQUIRE_RC(keeper_start(NULL), 0);
    struct program *demo = start((const char *[]){"dynamite", "--crashes", "50", NULL});
    for (int i = 0; i < 3; i++)
        REQUIRE(program_line(demo, seen.line[0], sizeof(seen.line[0]), PATIENCE) > 0);
    program_signal(demo, signal);
    watch(demo);
    CHECK_EQ(seen.code, 1);
    CHECK_STR(last_line(), verdict);
    CHECK(wait_until(namespace_is_empty, NULL, PATIENCE));
}

static void interrupted(void)
{
    ended_by(SIGINT, "dynamite: FAILED: stopped by SIGINT");
}

static void terminated(void)
{
    ended_by(SIGTERM, "dynamite: FAILED: stopped by SIGTERM");
}

static bool no_client(void *arg)
{
    (void)arg;
    return shm_count("c.") == 0;
}

/* A driver that is itself killed takes its workers with it; its table is left, and the next run begins anew. */
static void killed(void)
{
    REQUIRE_RC(keeper_start(NULL), 0);
    struct program *demo = start((const char *[]){"counter", NULL});
    do
        REQUIRE(program_line(demo, seen.line[0], sizeof(seen.line[0]), PATIENCE) > 0);
    while (strcmp(seen.line[0], "5") != 0);
    program_signal(demo, SIGKILL);
    CHECK_EQ(program_wait(demo, PATIENCE), 128 + SIGKILL);
    CHECK(wait_until(no_client, NULL, PATIENCE));
    CHECK_EQ(shm_count("t."), 1);
    run_demo((const char *[]){"counter", NULL}, "counter: 9 requests, 3 deaths, nothing lost");
    CHECK_STR(said(), "1 2 3 4 5 6 7 8 9");
}

/* Public header and C library. The source comes by stdin, so that no header beside it is found. */
static void workers_need_the_public_header_only(void)
{
    static const char *const workers[] = {"counter-worker",      "counter-public-worker", "dynamite-worker",
                                          "sequence-server",     "pairs-worker",          "device-login-worker",
                                          "device-login-reader", "sequence-client"};
    char root[512], script[2048];
    const char *bin = getenv("HEIR_TEST_BINDIR"), *slash = strrchr(__FILE__, '/');
    REQUIRE(bin && slash);
    /* The compiler was given this file's path as seen from the build's root. */
    snprintf(root, sizeof(root), "%s%s%.*s/..", __FILE__[0] == '/' ? "" : bin, __FILE__[0] == '/' ? "" : "/../",
             (int)(slash - __FILE__), __FILE__);
    for (size_t i = 0; i < sizeof(workers) / sizeof(*workers); i++) {
        struct output output;
        snprintf(
            script, sizeof(script),
            "src='%s'; command -v cc >/dev/null && [ -e \"$src/include/heir.h\" ] || exit 77\n"
            "cd / && exec cc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I \"$src/include\" -fsyntax-only -x c - "
            "<\"$src/tools/demo/%s.c\"",
            root, workers[i]);
        int code = run(&output, "/bin/sh", "-c", script, NULL);
        if (code == 77) {
            test_skip("no compiler, or no source");
            return;
        }
        CHECK(code == 0, "%s: %s", workers[i], output.err);
    }
}

int main(int argc, char **argv)
{
    static const struct test scenarios[] = {{"counter", counter},
                                            {"counter-public", counter_public},
                                            {"dynamite", dynamite},
                                            {"sequence", sequence},
                                            {"pairs", pairs},
                                            {"device-login", device_login},
                                            {0}};
    static const struct test drivers[] = {{"a keeper of its own", own_keeper},
                                          {"no keeper", no_keeper},
                                          {"wrong usage", wrong_usage},
                                          {"interrupted", interrupted},
                                          {"terminated", terminated},
                                          {"killed", killed},
                                          {"workers need the public header only", workers_need_the_public_header_only},
                                          {0}};
    return test_main(argc, argv,
                     (const struct test_suite[]){{"scenarios", scenarios, NULL}, {"drivers", drivers, NULL}, {0}});
}
