/* SPDX-License-Identifier: MIT */
/*
 * Killed after the k-th instruction, for every k.
 *
 * A child steps itself through one operation, with the processor's trap flag: after every instruction its SIGTRAP
 * handler counts, and at the k-th kills the process. Then another process takes the table over: its content is what it
 * was before or after the operation, never a third thing, and the next operation works. One small table serves for all
 * kills of an operation: what a kill leaks would soon fill it.
 *
 * Nothing is compiled into the library for this: it tests the build that is released. (A debugger's single steps,
 * ptrace, do the same at four times the cost.) The k are taken in an order that spreads them, until all are done or the
 * operation's share of the time is over (HEIR_TEST_SECONDS=600 does all of them); the ledger at the end says how far it
 * came.
 */
#include "steps.h"

#include <heir/inspect.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define STEPS_MAX 20000000L
#define TRAP_FLAG 0x100

enum phase { BEFORE, INSIDE, AFTER, BROKEN };

struct page { /* shared with the children */
    volatile int phase;
    volatile int rc;
    volatile int ready, go;    /* the child stands before its operation; it may begin */
    volatile int dead_ready;   /* of the helper that dies first */
    volatile long count, kill; /* instructions inside; killed when there are more than this */
};

static struct page *page;
static struct heir *me; /* the survivor */
static struct heir_table *table;

static struct row {
    const char *name;
    long instructions, kills, before, after;
    bool all;
} ledger[32];
static int rows;

/* ---- Content ------------------------------------------------------------------------------------------ */

struct digest {
    uint64_t sum, objects;
};

static int mix(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct digest *digest = arg;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < key_len; i++)
        hash = (hash ^ ((const unsigned char *)key)[i]) * 1099511628211u;
    hash = (hash ^ 0x100) * 1099511628211u;
    for (size_t i = 0; i < value_len; i++)
        hash = (hash ^ ((const unsigned char *)value)[i]) * 1099511628211u;
    digest->sum += hash ^ hash >> 29;
    digest->objects++;
    return 0;
}

static struct digest content(struct heir_table *of)
{
    struct digest digest = {0};
    CHECK_RC(heir_foreach(of, mix, &digest), 0);
    return digest;
}

static bool same(struct digest a, struct digest b)
{
    return a.sum == b.sum && a.objects == b.objects;
}

/* The known state: ten objects, one of them a number; nothing else. */
static int reset(struct heir_table *of, bool again)
{
    static const char *const others[] = {"new", "newer", "number2"};
    int64_t number = 41;
    char key[8], value[64];
    int rc = 0;
    if (again)
        for (size_t i = 0; i < 3; i++)
            heir_del(of, others[i], strlen(others[i]));
    for (int i = 0; i < 10 && !rc; i++) {
        snprintf(key, sizeof key, "k%d", i);
        memset(value, 'a' + i, sizeof value);
        rc = heir_put(of, key, 2, value, (size_t)(10 + 5 * i));
    }
    return rc ? rc : heir_put(of, "number", 6, &number, 8);
}

/* ---- The stepped child -------------------------------------------------------------------------------- */

/* After every instruction, from the one that sets the trap flag on. */
static void count_step(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
#if defined(__x86_64__)
    ucontext_t *user = context;
    if (page->phase != INSIDE)
        user->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
    else if (page->count++ >= page->kill)
        syscall(SYS_kill, getpid(), SIGKILL);
#else
    (void)context;
#endif
}

static void begin_stepping(void)
{
    static unsigned char stack[65536];
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = count_step, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&own, NULL);
    sigaction(SIGTRAP, &action, NULL);
    page->phase = INSIDE;
#if defined(__x86_64__)
    __asm__ volatile("pushfq; orq %0, (%%rsp); popfq" ::"i"(TRAP_FLAG) : "memory", "cc");
#endif
}

static void be_child(const struct stepped *op, pid_t parent)
{
    struct kid kid = {.survivor = heir_id(me)};
    struct heir_open_options options = {.name = "kid", .timeout_ms = patience(PATIENCE)};
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    close_range(3, ~0u, 0);
    if (op->begin != FROM_NOTHING)
        page->rc = heir_open(&options, &kid.client);
    if (!page->rc && op->begin == FROM_OWNING)
        page->rc = heir_claim(kid.client, "t", NULL, patience(PATIENCE), &kid.table);
    if (!page->rc && op->begin == FROM_ATTACHED)
        page->rc = heir_attach(kid.client, "t", &kid.table);
    if (page->rc) {
        page->phase = BROKEN;
        _exit(1);
    }
    if (op->from_outside && ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0) {
        page->ready = 1;
        raise(SIGSTOP);
        page->phase = INSIDE;
    } else {
        page->ready = 1;
        while (!page->go)
            sched_yield();
        begin_stepping();
    }
    int rc = op->run(&kid);
    page->phase = AFTER;
    page->rc = rc;
    for (;;)
        pause();
}

/* Start a child and bring it to the begin of the operation: waiting there. -1: it could not be. */
static pid_t start_child(const struct stepped *op, long k)
{
    page->phase = BEFORE;
    page->rc = page->ready = page->go = page->dead_ready = 0;
    page->count = 0;
    page->kill = k;
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        be_child(op, parent);
    for (int64_t end = now_ms() + patience(2 * PATIENCE); pid > 0 && !page->ready && now_ms() < end;) {
        if (page->phase == BROKEN)
            break;
        sched_yield();
    }
    if (!CHECK(page->ready, "%s: the child did not begin: %s", op->name, error_text(page->rc))) {
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
        return -1;
    }
    return pid;
}

/* One instruction. False: the child has ended. */
static bool step(pid_t pid)
{
    int status, signal = 0;
    for (;;) {
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, (void *)(intptr_t)signal) || waitpid(pid, &status, __WALL) != pid)
            return false;
        if (!WIFSTOPPED(status))
            return false;
        signal = WSTOPSIG(status);
        if (signal == SIGTRAP)
            return true;
    }
}

static void step_from_outside(pid_t pid)
{
    int status;
    long all = 0;
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
        return;
    while (page->phase == BEFORE && all++ < STEPS_MAX && step(pid))
        ;
    while (page->phase == INSIDE && page->count < page->kill && step(pid))
        page->count++;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
        ;
}

/* Let it step, to its k-th instruction, where it dies, or to the end of the operation, where it is killed. */
static void step_and_kill(const struct stepped *op, pid_t pid)
{
    int status = 0;
    int64_t end = now_ms() + patience(6 * PATIENCE);
    if (op->from_outside) {
        step_from_outside(pid);
        return;
    }
    page->go = 1;
    while (page->phase != AFTER && waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ms() > end) {
            CHECK(false, "%s hangs after %ld instructions", op->name, page->count);
            break;
        }
        sched_yield();
    }
    if (!WIFSIGNALED(status)) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: the child ended with status %x", op->name, status);
}

/* ---- What comes before and after ---------------------------------------------------------------------- */

/* Somebody who dies inside a transaction of a public table, while the keeper sleeps: the next writer sets it right. */
static void leave_a_dead_writer(void)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct heir *client = NULL;
        struct heir_table *mine = NULL;
        struct heir_open_options options = {.name = "dead", .timeout_ms = patience(PATIENCE)};
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        close_range(3, ~0u, 0);
        if (getppid() == parent && !heir_open(&options, &client) && !heir_attach(client, "t", &mine) &&
            !heir_begin(mine) && !heir_put(mine, "k1", 2, "half", 4) && !heir_put(mine, "half", 4, "half", 4) &&
            !heir_del(mine, "k2", 2))
            page->dead_ready = 1;
        else
            page->dead_ready = -1;
        for (;;)
            pause();
    }
    for (int64_t end = now_ms() + patience(PATIENCE); !page->dead_ready && now_ms() < end;)
        sched_yield();
    CHECK_EQ(page->dead_ready, 1);
    kill(keeper_pid(), SIGSTOP);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static struct heir_info look(void)
{
    struct heir_info info = {.owner = UINT64_MAX};
    CHECK_RC(heir_info(table, &info), 0);
    return info;
}

/* The known state, in the hands of whom the child wants to find it. */
static bool prepare(const struct stepped *op, bool again)
{
    const struct heir_table_options options = {.max_bytes = op->fresh ? 1 << 20 : HEIR_TABLE_MIN, .access = op->access};
    if (again && op->fresh) {
        if (!CHECK_RC(heir_destroy(table), 0))
            return false;
        again = false;
    }
    if (!again && !CHECK_RC(heir_create(me, "t", &options, &table), 0))
        return false;
    int rc = op->fresh ? 0 : reset(table, again);
    if (!CHECK(rc == 0, "%s: the table cannot be set back: %s", op->name, error_text(rc)))
        return false;
    return true;
}

static bool take_back(const struct stepped *op)
{
    struct heir_event event;
    while (heir_wait(me, 0, &event) == 0)
        ;
    if (op->access == HEIR_PUBLIC)
        return true;
    int rc = heir_claim(me, "t", NULL, patience(PATIENCE), &table);
    while (heir_wait(me, 0, &event) == 0)
        ;
    return CHECK(rc == 0, "%s: the table does not come back: %s", op->name, error_text(rc));
}

/* The next operations work. */
static bool works(const struct stepped *op, long k)
{
    char value[64] = "";
    size_t len = sizeof value;
    int rc = heir_put(table, "next", 4, "works", 5);
    if (!rc)
        rc = heir_get(table, "next", 4, value, &len);
    if (!rc && (len != 5 || memcmp(value, "works", 5)))
        rc = -EBADMSG;
    if (!rc)
        rc = heir_del(table, "next", 4);
    return CHECK(rc == 0, "%s, killed after %ld: the next operation: %s", op->name, k, error_text(rc));
}

static bool all_gone(void *arg)
{
    (void)arg;
    return shm_count("c.") == 1;
}

/* Back and forth once: 0 before, 1 after, -1 neither. instructions: how many the operation has had. */
static int round_trip(const struct stepped *op, long k, struct digest before, struct digest *after, long *instructions)
{
    if (op->begin == FROM_OWNING && heir_release(table))
        return -1;
    pid_t pid = start_child(op, k);
    if (pid < 0)
        return -1;
    if (op->recovery)
        leave_a_dead_writer();
    step_and_kill(op, pid);
    *instructions = page->count;
    bool ended = page->phase == AFTER;
    int rc = page->rc;
    if (op->recovery)
        kill(keeper_pid(), SIGCONT);
    if (!take_back(op))
        return -1;
    if (op->tidy && !op->tidy(me))
        return -1;
    if (op->begin == FROM_NOTHING || op->begin == FROM_OPEN)
        CHECK(wait_until(all_gone, NULL, PATIENCE), "%s, killed after %ld: client pages are left", op->name, k);
    struct digest now = content(table);
    CHECK_EQ(look().objects, now.objects);
    if (k == STEPS_MAX) {
        CHECK(ended, "%s never came to its end", op->name);
        CHECK(rc == 0, "%s: %s", op->name, error_text(rc));
        *after = now;
    }
    if (!works(op, k))
        return -1;
    if (same(now, *after) && (ended || !same(now, before)))
        return 1;
    if (!ended && same(now, before))
        return 0;
    if (op->same && same(now, before))
        return ended;
    CHECK(false, "%s, killed after %ld of its instructions: %llu objects, neither before nor after%s", op->name, k,
          (unsigned long long)now.objects, ended ? " (it had ended)" : "");
    return -1;
}

static long spread(long n)
{
    long stride = (long)((double)n * 0.6180339887);
    for (stride |= 1;; stride++) {
        long a = stride, b = n;
        while (b) {
            long rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            return stride;
    }
}

/* Tracer and child on one processor: a step is then a switch and not the wake-up of another one. */
static void share_processor(bool share)
{
    static cpu_set_t all;
    cpu_set_t one;
    if (!CPU_COUNT(&all))
        sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, share ? &one : &all);
}

static bool may_trace(void)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? 1 : 0);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void step_all(const struct stepped *op);

void step_through(const struct stepped *op)
{
    if (op->from_outside && !may_trace()) {
        printf(" (%s: ptrace is not permitted)", op->name);
        return;
    }
    share_processor(op->from_outside);
    step_all(op);
    share_processor(false);
}

static void step_all(const struct stepped *op)
{
    struct digest before, after = {0};
    long n = 0, used = 0;
    struct row *row = &ledger[rows++];
    *row = (struct row){.name = op->name};
    table = NULL;
    if (!prepare(op, false))
        return;
    before = content(table);
    int end = round_trip(op, STEPS_MAX, before, &after, &n); /* undisturbed: what is after, and how long it takes */
    if (!CHECK(end >= 0) || !CHECK(op->same || !same(before, after), "%s changes nothing", op->name))
        return;
    row->instructions = n;
    double seconds = test_seconds(40) * op->share;
    int64_t deadline = now_ms() + (int64_t)(seconds * 1000);
    long stride = n > 1 ? spread(n) : 1;
    for (long i = 0, k = 0; i < n && now_ms() < deadline; i++, k = (k + stride) % n) {
        if (!prepare(op, true))
            return;
        if (!CHECK(same(content(table), before), "%s: the table was not set back", op->name))
            return;
        int side = round_trip(op, k, before, &after, &used);
        if (side < 0) {
            fprintf(stderr, "%s: killed after instruction %ld of %ld\n", op->name, k, n);
            return;
        }
        row->kills++;
        row->before += side == 0;
        row->after += side == 1;
        row->all = i + 1 == n;
    }
    CHECK(row->kills > 0);
    CHECK(row->before > 0 || op->same, "%s: no kill left the state before it", op->name);
    if (table)
        CHECK_RC(heir_destroy(table), 0);
    table = NULL;
}

/* ---- Around ------------------------------------------------------------------------------------------- */

/* False: it cannot be done here, and the test has been marked so. */
bool steps_begin(void)
{
#if !defined(__x86_64__)
    test_skip("it takes the trap flag of an x86-64");
    return false;
#endif
    if (TEST_ASAN || TEST_TSAN) {
        test_skip("a sanitizer's instructions are not the library's");
        return false;
    }
    if (!page)
        page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    REQUIRE_EQ(keeper_start(NULL), 0);
    me = test_open("survivor");
    return true;
}

void steps_ledger(void)
{
    printf("\n# %-22s %12s %8s %8s %8s\n", "operation", "instructions", "kills", "before", "after");
    for (int i = 0; i < rows; i++)
        printf("# %-22s %12ld %8ld %8ld %8ld%s\n", ledger[i].name, ledger[i].instructions, ledger[i].kills,
               ledger[i].before, ledger[i].after, ledger[i].all ? "  all" : "");
}
