/* SPDX-License-Identifier: MIT */
/*
 * The run of a test program, and its checks.
 *
 * Two processes: the *runner* runs the tests; its parent, the *guardian*, does nothing but see to it that nothing is
 * left when the runner crashes, hangs and is ended from outside: processes, folders, shared memory. Both are
 * subreapers, so that a grandchild whose parent was killed by a test comes to the runner, where the leak check of
 * world.c finds it.
 */
#include "support.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t test_seed;

static unsigned skipped;         /* tests */
static bool skipping;            /* the running one */
static unsigned failures_before; /* of the running test */

/* ---- Random numbers, time ----------------------------------------------------------------------------- */

uint64_t rnd_next(struct rnd *rnd)
{
    uint64_t z = (rnd->state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t rnd_below(struct rnd *rnd, uint64_t end)
{
    return end ? rnd_next(rnd) % end : 0;
}

int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int patience(int ms)
{
    const char *factor = getenv("HEIR_TEST_PATIENCE");
    double by = factor ? atof(factor) : TEST_ASAN || TEST_TSAN ? 4 : 1;
    return (int)(ms * (by >= 0.1 ? by : 1));
}

double test_seconds(double normal)
{
    const char *text = getenv("HEIR_TEST_SECONDS"), *part = getenv("HEIR_TEST_SHARE");
    double seconds = text ? atof(text) : 0, share = part ? atof(part) : 1;
    return seconds > 0 ? seconds : share > 0 && share < 1 ? normal * share : normal;
}

struct waiting waiting_begin(int ms)
{
    return (struct waiting){.left = patience(ms), .since = now_ms()};
}

int waiting_round(struct waiting *it)
{
    int64_t now = now_ms(), past = now - it->since;
    it->left -= past < ROUND_MS ? past : ROUND_MS;
    it->since = now;
    return it->left <= 0 ? 0 : it->left < ROUND_MS ? (int)it->left : ROUND_MS;
}

bool wait_until(condition *holds, void *arg, int ms)
{
    struct waiting it = waiting_begin(ms);
    for (;;) {
        if (holds(arg))
            return true;
        if (waiting_round(&it) == 0)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

bool await_readable(int fd, struct waiting *it)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int round, got;
    do {
        round = waiting_round(it);
        got = poll(&wait, 1, round);
    } while ((got == 0 && round > 0) || (got < 0 && errno == EINTR));
    return got > 0;
}

struct end {
    pid_t *pid;
    int *status;
};

static bool has_ended(void *arg)
{
    const struct end *end = arg;
    if (*end->pid > 0 && waitpid(*end->pid, end->status, WNOHANG) == *end->pid)
        *end->pid = 0;
    return *end->pid == 0;
}

bool await_end(pid_t *pid, int *status, int ms)
{
    return wait_until(has_ended, &(struct end){pid, status}, ms);
}

/* ---- Checks ------------------------------------------------------------------------------------------- */

const char *error_text(int error)
{
    static char text[4][96];
    static unsigned turn;
    char *out = text[turn++ % 4];
    if (error == AGENT_HUNG)
        snprintf(out, sizeof text[0], "%d (no answer: it hangs)", error);
    else if (error < 0)
        snprintf(out, sizeof text[0], "%d (%s)", error, strerror(-error));
    else
        snprintf(out, sizeof text[0], "%d", error);
    return out;
}

static bool note(const char *file, int line, const char *function, bool holds, const char *message)
{
    if (!holds) {
        const char *base = strrchr(file, '/');
        fprintf(stderr, "\n%s:%d: %s: %s\n", base ? base + 1 : file, line, function, message);
    }
    CU_assertImplementation(holds, (unsigned)line, message, file, function, CU_FALSE);
    return holds;
}

bool check_true(const char *file, int line, const char *function, bool holds, const char *text, const char *format, ...)
{
    char message[1024];
    int n = snprintf(message, sizeof message, "%s", text);
    va_list arguments;
    va_start(arguments, format);
    if (n > 0 && n < 800 && format[1]) {
        message[n++] = ':';
        vsnprintf(message + n, sizeof message - (size_t)n, format, arguments);
    }
    va_end(arguments);
    return note(file, line, function, holds, message);
}

bool check_eq(const char *file, int line, const char *function, long long actual, long long expected, const char *text)
{
    char message[1024];
    snprintf(message, sizeof message, "%s is %lld, expected %lld", text, actual, expected);
    return note(file, line, function, actual == expected, message);
}

bool check_rc(const char *file, int line, const char *function, int actual, int expected, const char *text)
{
    char message[1024];
    snprintf(message, sizeof message, "%s returned %s, expected %s", text, error_text(actual), error_text(expected));
    return note(file, line, function, actual == expected, message);
}

bool check_str(const char *file, int line, const char *function, const char *actual, const char *expected,
               const char *text)
{
    char message[1024];
    bool same = actual && expected && strcmp(actual, expected) == 0;
    snprintf(message, sizeof message, "%s is \"%.400s\", expected \"%.400s\"", text, actual ? actual : "(null)",
             expected ? expected : "(null)");
    return note(file, line, function, same, message);
}

static void hex(char *out, size_t size, const void *bytes, size_t len)
{
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < len && n + 4 < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%02x", ((const unsigned char *)bytes)[i]);
}

bool check_bytes(const char *file, int line, const char *function, const void *actual, size_t actual_len,
                 const void *expected, size_t expected_len, const char *text)
{
    char message[1024], a[256], e[256];
    bool same = actual_len == expected_len && (actual_len == 0 || memcmp(actual, expected, actual_len) == 0);
    hex(a, sizeof a, actual, actual_len);
    hex(e, sizeof e, expected, expected_len);
    snprintf(message, sizeof message, "%s is %zu bytes %s, expected %zu bytes %s", text, actual_len, a, expected_len,
             e);
    return note(file, line, function, same, message);
}

void check_required(const char *file, int line, const char *function, bool holds)
{
    if (!holds)
        CU_assertImplementation(CU_FALSE, (unsigned)line, "(the test ends here)", file, function, CU_TRUE);
}

void test_skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs(" skipped: ", stdout);
    vprintf(format, arguments);
    va_end(arguments);
    skipping = true;
}

int visit_bytes(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    volatile unsigned char sink;
    ++*(uint64_t *)arg;
    for (size_t i = 0; i < key_len; i++)
        sink = ((const unsigned char *)key)[i];
    for (size_t i = 0; i < value_len; i++)
        sink = ((const unsigned char *)value)[i];
    (void)sink;
    return 0;
}

/* ---- The runner --------------------------------------------------------------------------------------- */

static void set_up(void)
{
    skipping = false;
    failures_before = CU_get_number_of_failures();
    int rc = world_begin();
    CHECK_RC(rc, 0);
}

static void tear_down(void)
{
    if (CU_get_number_of_failures() != failures_before) {
        char *log = keeper_log();
        if (log && *log) {
            size_t len = strlen(log);
            fprintf(stderr, "---- heird said:\n%s%s----\n", len > 6000 ? "...\n" : "",
                    len > 6000 ? log + len - 6000 : log);
        }
        free(log);
    }
    world_end();
    if (skipping && CU_get_number_of_failures() == failures_before)
        skipped++;
}

static int run_all(const struct test_suite *suites, const char *only, const char *program)
{
    bool but = only && only[0] == '-';
    unsigned tests = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    printf("# %s: seed %llu\n", program, (unsigned long long)test_seed);
    if (CU_initialize_registry() != CUE_SUCCESS) {
        fprintf(stderr, "%s\n", CU_get_error_msg());
        return 1;
    }
    for (; suites->name; suites++) {
        CU_pSuite suite = CU_add_suite_with_setup_and_teardown(suites->name, suites->init, NULL, set_up, tear_down);
        for (const struct test *test = suites->tests; suite && test->name; test++) {
            if (only && (strstr(test->name, only + but) != NULL) == but)
                continue;
            if (CU_add_test(suite, test->name, test->run))
                tests++;
        }
        if (CU_get_error() != CUE_SUCCESS) {
            fprintf(stderr, "%s: %s\n", suites->name, CU_get_error_msg());
            return 1;
        }
    }
    if (only && !tests) {
        fprintf(stderr, "%s: no test has '%s' in its name\n", program, only);
        return 1;
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_tests_failed() + CU_get_number_of_suites_failed();
    unsigned ran = CU_get_number_of_tests_run();
    unsigned passed = ran - CU_get_number_of_tests_failed() - skipped;
    CU_cleanup_registry();
    printf("%s: %u passed, %u failed, %u skipped\n", program, passed, failed, skipped);
    fflush(stdout);
    if (failed || ran == 0)
        return 1;
    return passed ? 0 : 77;
}

/* ---- The guardian ------------------------------------------------------------------------------------- */

static volatile pid_t runner;
static volatile sig_atomic_t ended_by;

static void pass_on(int signal)
{
    ended_by = signal;
    if (runner > 0)
        kill(runner, SIGKILL);
}

/* Kill and collect whoever has come to this process. */
static void kill_children(void)
{
    char path[64], line[32];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    for (;;) {
        FILE *file = fopen(path, "re");
        while (file && fscanf(file, "%31s", line) == 1)
            kill((pid_t)atoi(line), SIGKILL);
        if (file)
            fclose(file);
        if (waitpid(-1, NULL, 0) < 0 && errno != EINTR)
            return;
    }
}

static void remove_marked(const char *folder, const char *mark)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[512];
        if (strncmp(entry->d_name, mark, strlen(mark)))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (unlink(path) == 0)
            continue;
        DIR *inner = opendir(path);
        struct dirent *file;
        while (inner && (file = readdir(inner)))
            unlinkat(dirfd(inner), file->d_name, 0);
        if (inner)
            closedir(inner);
        rmdir(path);
    }
    if (dir)
        closedir(dir);
}

static int guard(pid_t child, const char *program)
{
    int status = 0;
    char mark[64];
    const char *tmp = getenv("TMPDIR");
    runner = child;
    struct sigaction action = {.sa_handler = pass_on};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    kill_children();
    snprintf(mark, sizeof mark, "heir.t%d-", (int)child);
    remove_marked("/dev/shm", mark);
    snprintf(mark, sizeof mark, "heir-t%d-", (int)child);
    remove_marked(tmp ? tmp : "/tmp", mark);
    remove_marked("/tmp", mark);
    if (WIFEXITED(status) && !ended_by)
        return WEXITSTATUS(status);
    fprintf(stderr, "\n%s: the tests %s %d\n", program, ended_by ? "were ended by signal" : "crashed with signal",
            ended_by ? (int)ended_by : WTERMSIG(status));
    printf("%s: 0 passed, 1 failed, 0 skipped\n", program);
    return 1;
}

int test_main(int argc, char **argv, const struct test_suite *suites)
{
    const char *slash = strrchr(argv[0], '/'), *only = NULL;
    const char *program = slash ? slash + 1 : argv[0];
    if (!strncmp(program, "test-", 5))
        program += 5;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    test_seed = (uint64_t)t.tv_sec * 1000003u ^ (uint64_t)t.tv_nsec ^ (uint64_t)getpid() << 20;
    test_seed %= 1000000000u;
    for (int i = 1; i < argc; i++) {
        char *end;
        unsigned long long number = strtoull(argv[i], &end, 10);
        if (*argv[i] && !*end)
            test_seed = number;
        else
            only = argv[i];
    }
    struct rlimit core;
    if (!getenv("HEIR_TEST_CORE") && getrlimit(RLIMIT_CORE, &core) == 0) {
        core.rlim_cur = 0; /* a test that is about core files may raise it again */
        setrlimit(RLIMIT_CORE, &core);
    }
    if (getenv("HEIR_TEST_NOFORK"))
        return run_all(suites, only, program);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (getppid() != parent)
            _exit(1);
        return run_all(suites, only, program);
    }
    int code = guard(child, program);
    fflush(stdout);
    _exit(code); /* the guardian has nothing that a leak checker should look at */
}
