/* SPDX-License-Identifier: MIT */
/*
 * A process that is killed before its k-th instruction.
 *
 * Once, the operation is single-stepped from entry to return, with the processor's trap flag, and the address of every
 * instruction noted: the trace. To be killed at the k-th a process does not step again, which would take k traps. It
 * runs at full speed from one breakpoint to the next, each at a place where the trace comes by for the first time
 * since the one before, the last of them at its k-th instruction. As few as possible, mostly one. (A repeated string
 * instruction counts as one instruction. Nothing is compiled into the library: it is the build that is released.)
 *
 * A new client for each kill would take most of the time. So there is a template, a process that has opened the table,
 * and is forked for each kill. The library forbids just that; so the template first takes off what lets it notice:
 * mappings that a child does not inherit, and a page that is wiped in it. Such a child is to the library another
 * thread of the template, and all have the same memory to begin with, so that they take the same way.
 */
#include "steps.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define TRACE_MAX  (1L << 20)
#define STOPS_MAX  16384L
#define WINDOW     512 /* how far back the breakpoint before is looked for */
#define RANGES     64
#define TRAP_FLAG  0x100
#define BREAKPOINT 0xcc

static struct shared { /* with the processes that are killed */
    volatile int phase, rc, mode;
    volatile int ready, go;
    volatile int pid;
    volatile bool astray;
    volatile long count, kill; /* of ptrace's steps */
    step_fn *run;
    uint32_t i;
    long length;              /* of the trace */
    long stops[STOPS_MAX];    /* where the breakpoints are, as numbers of the trace */
    volatile long stop, last; /* the breakpoint that is set; the number of them */
    uintptr_t trace[TRACE_MAX];
    bool fresh[TRACE_MAX]; /* the instruction before this one has changed the table */
} * shared;

static const void *watched; /* the bytes of the table */
static void *watched_copy;
static size_t watched_bytes;

static struct range { /* code in which breakpoints can be set */
    uintptr_t from, to;
} ranges[RANGES];
static int range_count;

static struct step { /* of the trace: the breakpoint before it, -1: none, and how many there are up to here */
    int32_t from, cost;
} * steps;
static long steps_room;

static unsigned char trap_stack[65536];

/* ---- Breakpoints -------------------------------------------------------------------------------------- */

static bool in_code(uintptr_t address)
{
    for (int i = 0; i < range_count; i++)
        if (address >= ranges[i].from && address < ranges[i].to)
            return true;
    return false;
}

static void find_code(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    range_count = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char mode[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && mode[0] == 'r' && mode[2] == 'x' &&
            strchr(line, '/') && range_count < RANGES)
            ranges[range_count++] = (struct range){from, to};
    }
    if (maps)
        fclose(maps);
}

static void open_code(void)
{
    for (int i = 0; i < range_count; i++)
        mprotect((void *)ranges[i].from, ranges[i].to - ranges[i].from, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static unsigned char replaced; /* by the breakpoint */

static void set_breakpoint(void)
{
    volatile unsigned char *code = (unsigned char *)shared->trace[shared->stops[shared->stop]];
    replaced = *code;
    *code = BREAKPOINT;
}

static void note_step(uintptr_t at)
{
    static bool changed;
    if (watched && memcmp(watched, watched_copy, watched_bytes)) {
        changed = true;
        memcpy(watched_copy, watched, watched_bytes);
    }
    if (shared->length == TRACE_MAX || (shared->length && shared->trace[shared->length - 1] == at))
        return;
    shared->fresh[shared->length] = changed || shared->length == 0;
    shared->trace[shared->length++] = at;
    changed = false;
}

static void trapped(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
#if defined(__x86_64__)
    ucontext_t *user = context;
    uintptr_t at = (uintptr_t)user->uc_mcontext.gregs[REG_RIP];
    if (shared->mode == TRACE) {
        if (shared->phase != INSIDE)
            user->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
        else
            note_step(at);
        return;
    }
    *(volatile unsigned char *)(at - 1) = replaced;
    user->uc_mcontext.gregs[REG_RIP] = (greg_t)(at - 1);
    if (++shared->stop < shared->last)
        set_breakpoint();
    else
        syscall(SYS_kill, getpid(), SIGKILL);
#else
    (void)context;
#endif
}

static void catch_traps(void)
{
    stack_t own = {.ss_sp = trap_stack, .ss_size = sizeof trap_stack};
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&own, NULL);
    sigaction(SIGTRAP, &action, NULL);
}

/* The operation, traced, or with its first breakpoint set. */
static __attribute__((noinline)) void do_it(struct kid *kid)
{
    unsigned long flag = shared->mode == TRACE ? TRAP_FLAG : 0;
    if (shared->mode == KILL)
        set_breakpoint();
    else if (watched)
        memcpy(watched_copy, watched, watched_bytes);
    shared->phase = INSIDE;
#if defined(__x86_64__)
    __asm__ volatile("pushfq; orq %0, (%%rsp); popfq" ::"r"(flag) : "memory", "cc");
#endif
    int rc = shared->run(kid);
    shared->phase = AFTER;
    shared->rc = rc;
}

/* For each step of the trace the way to it with the fewest breakpoints. The one before it must be set where this
 * address is not passed any more on the way. */
static void plan(void)
{
    long n = shared->length, room = 1;
    struct last_seen {
        uintptr_t address;
        long at;
    } * seen;
    if (n > steps_room) {
        free(steps);
        steps = calloc((size_t)n, sizeof *steps);
        steps_room = steps ? n : 0;
    }
    while (room < 2 * n)
        room *= 2;
    seen = calloc((size_t)room, sizeof *seen);
    for (long k = 0; seen && k < steps_room && k < n; k++) {
        uintptr_t address = shared->trace[k];
        size_t slot = (size_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (size_t)(room - 1);
        while (seen[slot].address && seen[slot].address != address)
            slot = (slot + 1) & (size_t)(room - 1);
        long before = seen[slot].address ? seen[slot].at : -1;
        seen[slot] = (struct last_seen){address, k};
        steps[k] = (struct step){-1, before < 0 ? 1 : INT32_MAX};
        for (long from = k - 1; before >= 0 && from > before && from > k - WINDOW; from--)
            if (steps[from].cost < steps[k].cost - 1)
                steps[k] = (struct step){(int32_t)from, steps[from].cost + 1};
        if (!in_code(address) || steps[k].cost > STOPS_MAX)
            steps[k].cost = INT32_MAX;
    }
    free(seen);
}

long kill_length(void)
{
    return shared->length;
}

bool kill_reaches(long k)
{
    return k < steps_room && k < shared->length && steps[k].cost <= STOPS_MAX;
}

bool kill_is_new(long k)
{
    return shared->fresh[k];
}

static void aim(long k)
{
    shared->stop = 0;
    shared->last = steps[k].cost;
    for (long stop = steps[k].cost - 1; stop >= 0 && k >= 0; k = steps[k].from, stop--)
        shared->stops[stop] = k;
}

static void prepare(enum kill_mode mode, long k)
{
    shared->phase = BEFORE;
    shared->mode = (int)mode;
    shared->rc = shared->ready = shared->go = shared->pid = 0;
    shared->count = 0;
    shared->kill = k;
    if (mode == TRACE)
        shared->length = 0;
    if (mode == KILL)
        aim(k);
}

static struct death told(void)
{
    struct death death = {(enum phase)shared->phase, shared->rc, false};
    death.astray = shared->mode == KILL && shared->stop != shared->last;
    if (shared->mode == TRACE)
        plan();
    return death;
}

void kill_init(void)
{
    if (!shared) {
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (shared == MAP_FAILED)
            shared = NULL;
    }
    find_code();
}

/* ---- The template ------------------------------------------------------------------------------------- */

static pid_t template;
static int template_fd = -1;

/* Undo MADV_DONTFORK and MADV_WIPEONFORK. */
static void let_children_inherit(void)
{
    unsigned long from = 0, to = 0, other_from, other_to;
    char line[512];
    FILE *maps = fopen("/proc/self/smaps", "re");
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx ", &other_from, &other_to) == 2 && strchr(line, '-') < strchr(line, ' ')) {
            from = other_from;
            to = other_to;
        }
        if (strncmp(line, "VmFlags:", 8))
            continue;
        if (strstr(line, " dc"))
            madvise((void *)from, to - from, MADV_DOFORK);
        if (strstr(line, " wf"))
            madvise((void *)from, to - from, MADV_KEEPONFORK);
    }
    if (maps)
        fclose(maps);
}

/* What every operation needs for the first time, symbols looked up for one, it has had. */
static int warm_up(struct heir *client)
{
    const struct heir_table_options options = {.max_bytes = HEIR_TABLE_MIN, .heir = HEIR_NOBODY};
    struct heir_table *warm;
    char value[16];
    size_t len = sizeof value;
    void *memory;
    int rc = heir_create(client, "warm", &options, &warm);
    if (!rc)
        rc = heir_put(warm, "a", 1, "a", 1);
    if (!rc)
        rc = heir_begin(warm);
    if (!rc)
        rc = heir_edit(warm, "b", 1, 8, &memory);
    if (!rc)
        rc = heir_abort(warm);
    if (!rc)
        rc = heir_take(warm, "a", 1, value, &len);
    return rc ? rc : heir_destroy(warm);
}

static void be_template(const char *name, pid_t parent, int fd)
{
    struct kid kid = {0};
    struct heir_open_options options = {.name = "template", .timeout_ms = patience(PATIENCE)};
    char order;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent || dup2(fd, 3) != 3)
        _exit(1);
    close_range(4, ~0u, 0);
    int rc = heir_open(&options, &kid.client);
    if (!rc)
        rc = warm_up(kid.client);
    if (!rc)
        rc = heir_attach(kid.client, name, &kid.table);
    let_children_inherit();
    open_code();
    catch_traps();
    if (write(3, &rc, sizeof rc) != sizeof rc || rc)
        _exit(1);
    while (read(3, &order, 1) == 1) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            kid.i = shared->i;
            if (shared->mode == RUN_AND_DIE)
                shared->rc = shared->run(&kid);
            else
                do_it(&kid);
            syscall(SYS_kill, getpid(), SIGKILL);
        }
        shared->pid = pid;
        int status = 0;
        waitpid(pid, &status, 0);
        if (pid < 0 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            shared->phase = BROKEN;
        if (write(3, &status, sizeof status) != sizeof status)
            break;
    }
    _exit(0);
}

static bool hear(int *number)
{
    struct pollfd end = {.fd = template_fd, .events = POLLIN};
    return poll(&end, 1, patience(PATIENCE)) == 1 && read(template_fd, number, sizeof *number) == sizeof *number;
}

int kill_begin(const char *table, const void *bytes, size_t length)
{
    int pair[2], rc = -EPIPE;
    pid_t parent = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return -errno;
    watched = bytes;
    watched_bytes = length;
    watched_copy = malloc(length);
    fflush(NULL);
    template = fork();
    if (template == 0)
        be_template(table, parent, pair[1]);
    close(pair[1]);
    template_fd = pair[0];
    if (!hear(&rc))
        rc = -EPIPE;
    if (rc)
        kill_end();
    return rc;
}

void kill_end(void)
{
    if (template > 0) {
        kill(template, SIGKILL);
        waitpid(template, NULL, 0);
    }
    if (template_fd >= 0)
        close(template_fd);
    free(watched_copy);
    watched = watched_copy = NULL;
    template = 0;
    template_fd = -1;
}

struct death kill_at(step_fn *operation, uint32_t i, enum kill_mode mode, long k)
{
    int status;
    prepare(mode, k);
    shared->run = operation;
    shared->i = i;
    if (write(template_fd, "k", 1) != 1 || !hear(&status)) {
        if (shared->pid > 0)
            kill(shared->pid, SIGKILL);
        return (struct death){.phase = BROKEN, .rc = -ETIME};
    }
    return told();
}

/* ---- A client of its own ------------------------------------------------------------------------------ */

static void be_client(const struct client_stepped *op, uint64_t survivor, pid_t parent)
{
    struct kid kid = {.survivor = survivor};
    struct heir_open_options options = {.name = "kid", .timeout_ms = patience(PATIENCE)};
    int rc = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    close_range(3, ~0u, 0);
    if (op->begin != FROM_NOTHING)
        rc = heir_open(&options, &kid.client);
    if (!rc && op->begin == FROM_OWNING)
        rc = heir_claim(kid.client, "t", NULL, patience(PATIENCE), &kid.table);
    if (!rc && op->begin == FROM_ATTACHED)
        rc = heir_attach(kid.client, "t", &kid.table);
    if (!rc && op->before)
        rc = op->before(&kid);
    shared->rc = rc;
    if (rc) {
        shared->phase = BROKEN;
        _exit(1);
    }
    shared->run = op->run;
    if (op->from_outside && ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0) {
        shared->mode = RUN;
        shared->ready = 1;
        raise(SIGSTOP);
    } else {
        open_code();
        catch_traps();
        shared->ready = 1;
        while (!shared->go)
            sched_yield();
    }
    do_it(&kid);
    for (;;)
        pause();
}

int64_t kill_client_begin(const struct client_stepped *op, uint64_t survivor, enum kill_mode mode, long k)
{
    prepare(op->from_outside ? RUN : mode, k);
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        be_client(op, survivor, parent);
    for (int64_t end = now_ms() + patience(2 * PATIENCE); pid > 0 && !shared->ready && now_ms() < end;) {
        if (shared->phase == BROKEN)
            break;
        sched_yield();
    }
    if (!CHECK(shared->ready, "%s: the child did not begin: %s", op->name, error_text(shared->rc))) {
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

static void step_from_outside(pid_t pid, enum kill_mode mode)
{
    int status;
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
        return;
    while (shared->phase == BEFORE && step(pid))
        ;
    while (shared->phase == INSIDE && (mode == TRACE || shared->count < shared->kill) && step(pid))
        shared->count++;
    if (mode == TRACE)
        shared->length = shared->count;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
        ;
}

struct death kill_client(const struct client_stepped *op, int64_t child, enum kill_mode mode, long k)
{
    int status = 0;
    pid_t pid = (pid_t)child;
    int64_t end = now_ms() + patience(6 * PATIENCE);
    (void)k;
    if (op->from_outside) {
        step_from_outside(pid, mode);
        return (struct death){.phase = (enum phase)shared->phase, .rc = shared->rc};
    }
    shared->go = 1;
    while (shared->phase != AFTER && waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ms() > end) {
            CHECK(false, "%s hangs", op->name);
            break;
        }
        sched_yield();
    }
    if (!WIFSIGNALED(status)) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: the child ended with status %x", op->name, status);
    return told();
}
