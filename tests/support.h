/* SPDX-License-Identifier: MIT */
/*
 * What every test program stands on.
 *
 *  - a *world*: a private namespace, socket and folder a test, with heird as a real process in it. test_main() makes a
 * new one before each test and takes it down after it, whatever happened in between; HEIR_NAMESPACE and HEIR_SOCKET
 * name it, so heir_open(NULL, ...) and every program started find it;
 *  - a *program*: something from the build's tools folder, run as a process with pipes;
 *  - an *agent*: a forked child that does what it is told over a socket, with a deadline: a hang is a value;
 *  - comparisons that print both values, and wait_until() for what changes by itself;
 *  - a leak check after each test: descriptors, children, shared memory, files.
 *
 * CU_ macros and the checks below count in the test's own process and thread only. Children report by an agent's
 * answer, a pipe or an exit code, and leave by _exit(). All deadlines are guards against hangs, not measurements.
 */
#ifndef HEIR_TESTS_SUPPORT_H
#define HEIR_TESTS_SUPPORT_H

#include <CUnit/CUnit.h>
#include <errno.h>
#include <heir.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(TEST_ASAN)
#define TEST_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(TEST_TSAN)
#define TEST_TSAN 1
#endif
#ifndef TEST_ASAN
#define TEST_ASAN 0
#endif
#ifndef TEST_TSAN
#define TEST_TSAN 0
#endif

/* ---- Running ------------------------------------------------------------------------------------------ */

struct test {
    const char *name;
    void (*run)(void);
};

struct test_suite {
    const char *name;
    const struct test *tests; /* ends with a NULL name */
    int (*init)(void); /* once before the suite, in the process that runs the tests; may be NULL; non-zero: failure */
};

/*
 * Run the suites (the array ends with a NULL name) and return what main() shall return: 0, 1 when something failed, 77
 * when everything was skipped. The last line on stdout is "PROGRAM: N passed, N failed, N skipped" (PROGRAM without
 * "test-"). Arguments: a number is the seed, a word runs only the tests whose names contain it, with a dash before it
 * all the others. The tests run in a child of the calling process; HEIR_TEST_NOFORK=1 runs them in it, for a debugger;
 * HEIR_TEST_CORE=1 lets crashes leave a core file.
 */
int test_main(int argc, char **argv, const struct test_suite *suites);

/* The running test cannot be done here; say why, then return from it. Counts as skipped unless a check failed before.
 */
void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

extern uint64_t test_seed;

/* How long a test that goes on for a time shall last: HEIR_TEST_SECONDS, or this default, of which HEIR_TEST_SHARE (0
 * to 1) makes a part. */
double test_seconds(double normal);

/* ---- Random numbers, time ----------------------------------------------------------------------------- */

struct rnd {
    uint64_t state;
};
uint64_t rnd_next(struct rnd *rnd);
uint64_t rnd_below(struct rnd *rnd, uint64_t end); /* 0 .. end-1 */

#define PATIENCE 10000 /* ms until something that must happen counts as hanging */
int patience(int ms);  /* longer under a sanitizer, or by HEIR_TEST_PATIENCE=FACTOR */
int64_t now_ms(void);  /* CLOCK_MONOTONIC */
/*
 * A wait with PATIENCE, in rounds. Of what passes between two of them no more than ROUND_MS is counted: a machine that
 * stood still for longer (its processes frozen, a virtual machine paused) has shown nothing of whom we wait for, who
 * stood still, too.
 */
#define ROUND_MS 500
struct waiting {
    int64_t left, since;
};
struct waiting waiting_begin(int ms);            /* of PATIENCE's kind */
int waiting_round(struct waiting *it);           /* how long the next round may take, in ms; 0: the last look */
bool await_readable(int fd, struct waiting *it); /* or at its end; false when that never came */
typedef bool condition(void *arg);
bool wait_until(condition *holds, void *arg, int ms); /* looks every millisecond; false when it never came true */

/* ---- Checks ------------------------------------------------------------------------------------------- */

#define HERE                                 __FILE__, __LINE__, __func__
/* Each says whether it held. CHECK takes an optional message: CHECK(x > 3, "x is %d", x). */
#define CHECK(condition, ...)                check_true(HERE, (condition), #condition, " " __VA_ARGS__)
#define CHECK_EQ(actual, expected)           check_eq(HERE, (long long)(actual), (long long)(expected), #actual)
#define CHECK_RC(call, expected)             check_rc(HERE, (call), (expected), #call)
#define CHECK_STR(actual, expected)          check_str(HERE, (actual), (expected), #actual)
#define CHECK_BYTES(actual, len, want, wlen) check_bytes(HERE, (actual), (len), (want), (wlen), #actual)
/* Leave the test when it does not hold: only what the world knows of (test_open, agents, programs) is cleaned up then.
 */
#define REQUIRE(condition, ...)              check_required(HERE, CHECK(condition, __VA_ARGS__))
#define REQUIRE_EQ(actual, expected)         check_required(HERE, CHECK_EQ(actual, expected))
#define REQUIRE_RC(call, expected)           check_required(HERE, CHECK_RC(call, expected))

bool check_true(const char *file, int line, const char *function, bool holds, const char *text, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
bool check_eq(const char *file, int line, const char *function, long long actual, long long expected, const char *text);
bool check_rc(const char *file, int line, const char *function, int actual, int expected, const char *text);
bool check_str(const char *file, int line, const char *function, const char *actual, const char *expected,
               const char *text);
bool check_bytes(const char *file, int line, const char *function, const void *actual, size_t actual_len,
                 const void *expected, size_t expected_len, const char *text);
void check_required(const char *file, int line, const char *function, bool holds);

/* What one put may need: what is put by, two nodes or segments, what leads to them, itself. A table with fewer free may
 * refuse it. */
#define PAGES_A_PUT 8u

/* A heir_visit that reads every byte it is shown, and counts how often: *(uint64_t *)arg. */
int visit_bytes(const void *key, size_t key_len, const void *value, size_t value_len, void *arg);

/* ---- The world ---------------------------------------------------------------------------------------- */

struct world {
    char ns[64];
    char dir[96]; /* a new, empty folder; the world removes its own files, the test the others */
    char socket[108];
    char log[128];    /* heird's stderr, of all its runs in this world */
    bool expect_rest; /* set by a test that leaves segments behind on purpose: remove them without complaint */
};
extern struct world world;

/* For test programs that need a second world in a test, or one without test_main(). begin: -errno. */
int world_begin(void);
void world_end(void);

/* heird in the world, ready when this returns 0. -EBUSY: it runs; -ECHILD: it ended before it was ready; -ETIME: it
 * never was. extra: more arguments, NULL at the end, or NULL. */
int keeper_start(const char *const extra[]);
int keeper_stop(void);    /* SIGTERM; its exit code, -signal, -ETIME when it had to be killed */
void keeper_kill(void);   /* SIGKILL, and gone when this returns */
void keeper_freeze(void); /* SIGSTOP; none of its threads runs any more when this returns */
void keeper_thaw(void);
pid_t keeper_pid(void); /* 0: not running */
char *keeper_log(void); /* all it has written to stderr; to be freed */

/* How many segments the world has: kind "t." tables, "c." clients, "" all. */
int shm_count(const char *kind);
/* False: /dev/shm has less room than that (a default container has 64 MiB), and the test has been skipped. */
bool shm_has_room(uint64_t bytes);
void shm_path(char *path, size_t size, const char *kind, const char *name); /* "/dev/shm/heir.NS.KINDNAME" */

/* A client of the test process itself, closed at the end of the test if it is still open. Fails the test and leaves it
 * when there is none. */
struct heir *test_open(const char *role);
void test_close(struct heir *client);
/* heir_ping() without a deadline, for what is not about deadlines: a machine that stands still for longer than any of
 * them must not look like a keeper that is not there. One that never answers runs into the suite's own limit. */
struct heir_keeper_status;
int test_ping(struct heir_keeper_status *status);

int count_fds(pid_t pid); /* 0: this process */
int count_threads(pid_t pid);

/* ---- Programs ----------------------------------------------------------------------------------------- */

#define PROGRAM_HUNG (-ETIME)

struct program {
    pid_t pid;     /* 0: has ended */
    int in, out;   /* its stdin, its stdout; -1: closed */
    int status;    /* of waitpid(), when it has ended */
    char err[160]; /* the file its stderr goes to */
    char buffer[4096];
    size_t have;
    struct program *next;
};

/* Start argv[0] (found in HEIR_TEST_BINDIR, or absolute). Freed at the world's end; still running then is a failure.
 * Fails the test and returns NULL when it cannot be started. */
struct program *program_start(const char *const argv[]);
/* The next line of its stdout without the newline: its length, -EPIPE at the end, PROGRAM_HUNG. ms: of PATIENCE's kind.
 */
int program_line(struct program *program, char *line, size_t size, int ms);
int program_write(struct program *program, const char *text);
void program_close_in(struct program *program);
void program_signal(struct program *program, int signal);
/* Wait for its end: the exit code, 128 + signal, or PROGRAM_HUNG (it is killed then). */
int program_wait(struct program *program, int ms);

struct output {
    int code; /* as program_wait() */
    char out[65536], err[16384];
};
/* Run to the end, with input (may be NULL) on stdin. Returns output->code. */
int program_run(const char *const argv[], const char *input, struct output *output);
/* The same with a list of arguments: run(&output, "heirctl", "ls", NULL). */
int run(struct output *output, ...) __attribute__((sentinel));

/* ---- Agents ------------------------------------------------------------------------------------------- */

#define AGENT_HUNG (-ETIME) /* no answer in time: not an error that the library has */
#define AGENT_DEAD (-EPIPE)

struct answer {
    int result; /* of the call */
    uint64_t number;
    size_t value_len;
    char value[2048];
    struct heir_event event;
    struct heir_info info;
};

struct agent {
    pid_t pid; /* 0: has ended */
    int fd;
    int status;  /* of waitpid(), when it has ended */
    uint64_t id; /* of its client */
    char role[64];
    char order[256];      /* the last one, for messages */
    struct answer answer; /* to the last order */
    struct agent *next;
};

/* What an agent is on its own side. */
struct agent_self {
    struct heir *client;
    int tables;
    struct {
        char name[HEIR_NAME_MAX + 1];
        struct heir_table *table;
    } table[256];
    struct answer answer; /* cleared before each order */
};
typedef int agent_fn(struct agent_self *self, void *arg);
struct heir_table *agent_table(struct agent_self *self, const char *name); /* NULL: no such handle */
void agent_note(struct agent_self *self, const char *name, struct heir_table *table);

/* A new process; role not NULL: with a client of this role name (fails the test and leaves it if it cannot be had).
 * It inherits no descriptor but 0 to 2. The world's end ends and frees it. */
struct agent *agent_new(const char *role);

/*
 * Give an order and wait PATIENCE for the answer: the result of the call, AGENT_HUNG or AGENT_DEAD; more is in
 * agent->answer. Orders are words with spaces between them:
 *
 *   open [ROLE]   close   find ROLE (number)   wait MS (event)   id (number)
 *   create T [OPTION...]   claim T MS [none | OPTION...]   attach T   detach T   destroy T   rename T NAME
 *       OPTION: heir=NAME data=TEXT max=BYTES mode=OCTAL key=N value=N access=public|private type=NUMBER lease=MS
 *   give T ID [DATA]   release T   renew T   heir T NAME|"" [DATA]   info T (info)
 *   put T K V   new T K V   get T K (value)   has T K   del T K   take T K (value)   add T K N (number: the sum)
 *   clear T   begin T   commit T   abort T   count T (number)   sum T (number: of 8-byte values)
 *   die HOW       kill segv abort exit return (from main) exec
 *
 * On its own side the agent remembers its handles by name; a TRANSFER event adds one.
 */
int agent_do(struct agent *agent, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same in two halves, for what shall happen in between. agent_answer waits ms (of PATIENCE's kind; 0 looks). */
int agent_send(struct agent *agent, const char *format, ...) __attribute__((format(printf, 2, 3)));
int agent_answer(struct agent *agent, int ms);
/* Run a function in the agent, with a copy of arg (up to 1024 bytes). */
int agent_call(struct agent *agent, agent_fn *fn, const void *arg, size_t len);
int agent_call_send(struct agent *agent, agent_fn *fn, const void *arg, size_t len);

void agent_kill(struct agent *agent); /* SIGKILL; dead and waited for when this returns */
void agent_signal(struct agent *agent, int signal);
void agent_stop(struct agent *agent); /* SIGSTOP; stopped when this returns */
void agent_continue(struct agent *agent);
int agent_reap(struct agent *agent, int ms); /* wait until it dies by itself: 0, AGENT_HUNG */
int agent_end(struct agent *agent);          /* close its client and exit; -errno, AGENT_HUNG */

/* Give an order and compare the result. */
#define DO(agent, expected, ...) check_do(HERE, agent, expected, __VA_ARGS__)
bool check_do(const char *file, int line, const char *function, struct agent *agent, int expected, const char *format,
              ...) __attribute__((format(printf, 6, 7)));
/* Wait for the agent's next event and compare. name, data: NULL: any; reason 0: any. The event is in agent->answer. */
#define EVENT(agent, type, reason, name, data) check_event(HERE, agent, type, reason, name, data)
bool check_event(const char *file, int line, const char *function, struct agent *agent, int type, int reason,
                 const char *name, const char *data);
/* It has no event now. */
#define NO_EVENT(agent) DO(agent, -ETIMEDOUT, "wait 0")

/* ---- Between support's own files ----------------------------------------------------------------------- */

/* Wait for a child's end; *pid is 0 then, and from then on. */
bool await_end(pid_t *pid, int *status, int ms);
struct program *program_spawn(const char *const argv[], int fd3, const char *err);
void programs_end(void);
void agents_end(void);
const char *error_text(int error); /* "-28 (No space left on device)" */

#endif
