/* SPDX-License-Identifier: MIT */
/*
 * A victim: a process of two threads. One is a client and does what the state says, without end; the other waits. The
 * signal SIGUSR1 makes the client's thread die by its own hand, wherever it is; what the other one does, it does when
 * it is told `go`; the rest comes from outside.
 *
 * The client owns "t", whose heir is the keeper, and "u", whose heir is "h".
 */
#include "deaths.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct plan plan;
static struct stage *stage;
static pthread_t client_thread;
static struct heir *client;
static volatile int *nowhere; /* a page that cannot be written to */

/* ---- Dying -------------------------------------------------------------------------------------------- */

static void become_another(void)
{
    execl("/bin/sleep", "sleep", "600", (char *)NULL);
    _exit(99);
}

/* In the client's thread, in the middle of whatever it does. pthread_exit() is not for signal handlers, but what this
 * is about, the kernel's and the keeper's part, does not know where it was called; and nobody works here afterwards. */
static void by_own_hand(int signal)
{
    (void)signal;
    switch (plan.kind) {
    case BY_ABORT:
        abort();
    case BY_EXIT:
        _exit(EXIT_CODE);
    case BY_EXIT_0:
        if (plan.state == IDLE)
            exit(0);
        _exit(0);
    case BY_EXEC:
        become_another();
        break;
    case BY_THREAD_EXIT:
        pthread_exit(NULL);
    default:
        *nowhere = 1;
    }
}

static void eat(void)
{
    for (;;) {
        size_t bytes = (size_t)32 << 20;
        char *more = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (more == MAP_FAILED)
            _exit(98);
        memset(more, 1, bytes);
    }
}

static void *other(void *arg)
{
    (void)arg;
    while (!atomic_load(&stage->go))
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    if (plan.kind == BY_EXIT_OTHER)
        _exit(EXIT_CODE);
    if (plan.kind == BY_EXEC_OTHER)
        become_another();
    if (plan.kind == BY_CANCEL)
        pthread_cancel(client_thread);
    if (plan.kind == BY_OOM)
        eat();
    for (;;)
        pause();
    return NULL;
}

/* ---- Living ------------------------------------------------------------------------------------------- */

static int ready(void)
{
    atomic_store(&stage->id, heir_id(client));
    atomic_store(&stage->ready, 1);
    return 0;
}

static int rest(void)
{
    ready();
    for (;;)
        pause();
    return 0;
}

uint64_t victim_value(unsigned char *value, uint64_t n)
{
    uint64_t len = sizeof n + n * 37 % (VALUE_MOST - sizeof n);
    memset(value, (int)(n & 0xff), len);
    memcpy(value, &n, sizeof n);
    return len;
}

static int put_on(struct heir_table *t, struct heir_table *u)
{
    unsigned char value[VALUE_MOST];
    ready();
    for (uint64_t n = 2;; n++) {
        uint64_t len = victim_value(value, n);
        atomic_store(&stage->inside, 1);
        int rc = heir_add(t, "n", 1, 1, NULL);
        if (!rc)
            rc = heir_put(u, "k", 1, value, len);
        if (rc)
            return rc;
        atomic_store(&stage->inside, 0);
        atomic_store(&stage->done, n);
        pthread_testcancel();
    }
}

static int begin(struct heir_table *t, struct heir_table *u)
{
    int rc = heir_begin(t);
    for (int i = 0; i < TXN_T && !rc; i++)
        rc = heir_put(t, &i, sizeof i, "half", 4);
    if (!rc)
        rc = heir_begin(u);
    if (!rc)
        rc = heir_put(u, "k", 1, "half", 4);
    if (!rc)
        rc = heir_put(u, "l", 1, "half", 4);
    return rc ? rc : rest();
}

static int pin(struct heir_table *t)
{
    struct heir_table *w = NULL;
    struct heir_snapshot *mine = NULL, *theirs = NULL;
    int rc = heir_attach(client, "w", &w);
    if (!rc)
        rc = heir_snapshot_open(t, &mine);
    if (!rc)
        rc = heir_snapshot_open(w, &theirs);
    atomic_store(&stage->pinned, heir_snapshot_state(theirs));
    return rc ? rc : rest();
}

/* Throw tables to the partner, and throw back what comes. */
static int give(void)
{
    struct heir_event event;
    int rc = 0;
    for (int i = 0; i < THROWN && !rc; i++) {
        struct heir_table *table = NULL;
        struct heir_table_options options = {.max_bytes = HEIR_TABLE_MIN, .heir = i % 2 ? "partner" : NULL};
        char name[] = {'p', (char)('0' + i), 0};
        rc = heir_create(client, name, &options, &table);
        if (!rc)
            rc = heir_give_away(table, plan.partner, name, 2);
    }
    for (ready(); !rc;) {
        rc = heir_wait(client, -1, &event);
        if (rc || event.type != HEIR_EVENT_TRANSFER || event.reason != HEIR_GIVEN || event.from != plan.partner)
            return rc ? rc : -ENOMSG;
        rc = heir_add(event.table, "n", 1, 1, NULL);
        atomic_store(&stage->inside, 1);
        if (!rc)
            rc = heir_give_away(event.table, plan.partner, event.name, 2);
        atomic_store(&stage->inside, 0);
        atomic_fetch_add(&stage->done, 1);
        pthread_testcancel();
    }
    return rc;
}

static int leave_a_child(void)
{
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC))
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
        if (write(ends[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    atomic_store(&stage->child, pid);
    int rc = pid > 0 && read(ends[0], &byte, 1) == 1 ? 0 : -ECHILD;
    close(ends[0]);
    close(ends[1]);
    return rc;
}

static int live(void)
{
    struct heir_open_options open = {
        .name = "victim", .timeout_ms = patience(PATIENCE), .crash_note = plan.kind == DUMPING};
    struct heir_table_options small = {.max_bytes = 1 << 20};
    struct heir_table_options left = {.max_bytes = 1 << 20, .heir = "h", .heir_data = "legacy", .heir_data_len = 6};
    struct heir_table *t = NULL, *u = NULL, *q = NULL;
    unsigned char value[VALUE_MOST];
    small.heir_data = "will";
    small.heir_data_len = 4;
    atomic_store(&stage->tid, (int)syscall(SYS_gettid));
    int rc = heir_open(&open, &client);
    if (!rc)
        rc = heir_create(client, "t", &small, &t);
    if (!rc)
        rc = heir_add(t, "n", 1, 1, NULL);
    if (!rc)
        rc = heir_create(client, "u", &left, &u);
    if (!rc)
        rc = heir_put(u, "k", 1, value, victim_value(value, 1));
    atomic_store(&stage->done, plan.state == PUTTING);
    if (!rc && plan.kind == LEAVING_A_CHILD)
        rc = leave_a_child();
    if (rc)
        return rc;
    switch (plan.state) {
    case PUTTING:
        return put_on(t, u);
    case IN_TRANSACTION:
        return begin(t, u);
    case PINNING:
        return pin(t);
    case GIVING:
    case BEING_GIVEN:
        return give();
    case IN_LINE:
        ready();
        return heir_claim(client, "q", NULL, -1, &q);
    default:
        return rest();
    }
}

static void *live_in_a_thread(void *arg)
{
    (void)arg;
    atomic_store(&stage->error, live());
    return NULL;
}

static int enter_cgroup(void)
{
    char path[300];
    snprintf(path, sizeof path, "%s/cgroup.procs", plan.cgroup);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int rc = fd >= 0 && write(fd, "0", 1) == 1 ? 0 : -errno;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int get_ready_to_dump(void)
{
    struct rlimit limit;
    size_t bytes = (size_t)plan.resident << 20;
    if (chdir(plan.folder) || getrlimit(RLIMIT_CORE, &limit))
        return -errno;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_CORE, &limit))
        return -errno;
    char *memory = bytes ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : NULL;
    if (memory == MAP_FAILED)
        return -ENOMEM;
    if (memory)
        memset(memory, 1, bytes);
    return 0;
}

static int both_threads(void)
{
    pthread_t thread;
    struct sigaction action = {.sa_handler = by_own_hand};
    int rc = plan.kind == BY_OOM ? enter_cgroup() : plan.kind == DUMPING ? get_ready_to_dump() : 0;
    if (rc)
        return rc;
    nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's */
    signal(SIGABRT, SIG_DFL);
    client_thread = pthread_self();
    if (pthread_create(plan.threaded ? &client_thread : &thread, NULL, plan.threaded ? live_in_a_thread : other, NULL))
        return -EAGAIN;
    if (plan.threaded)
        other(NULL);
    return live();
}

int victim_live(struct agent_self *self, void *arg)
{
    (void)self;
    memcpy(&plan, arg, sizeof plan);
    stage = plan.stage;
    if (plan.kind == IN_PID_NS) {
        if (unshare(CLONE_NEWPID))
            return -errno;
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            atomic_store(&stage->error, both_threads());
            _exit(97);
        }
        atomic_store(&stage->pid, pid);
        while (pid > 0) /* it is not waited for, so that one can see how it ended */
            pause();
        return -errno;
    }
    atomic_store(&stage->pid, getpid());
    int rc = both_threads();
    atomic_store(&stage->error, rc);
    return rc;
}

/* ---- The partner -------------------------------------------------------------------------------------- */

/* Throw back what comes from the victim, and keep a ledger of what has been told. Ends when it is over and quiet. */
int partner_play(struct agent_self *self, void *arg)
{
    const struct plan *p = arg;
    struct stage *s = p->stage;
    struct heir_event event;
    for (;;) {
        bool over = atomic_load(&s->over);
        int rc = heir_wait(self->client, over ? 0 : 10, &event);
        if (rc == -ETIMEDOUT && over)
            return 0;
        if (rc == -ETIMEDOUT)
            continue;
        if (rc || event.type != HEIR_EVENT_TRANSFER)
            return rc ? rc : -ENOMSG;
        int i = event.name[1] - '0';
        if (event.name[0] != 'p' || i < 0 || i >= THROWN)
            return -EBADMSG;
        agent_note(self, event.name, event.table);
        s->thrown[i].twice += s->thrown[i].told > 0 && event.epoch <= s->thrown[i].epoch;
        s->thrown[i].told++;
        s->thrown[i].epoch = event.epoch;
        s->thrown[i].from = event.from;
        s->thrown[i].reason = event.reason;
        s->thrown[i].cause = event.cause;
        s->thrown[i].code = event.code;
        if (event.reason != HEIR_GIVEN)
            continue;
        rc = heir_add(event.table, "n", 1, 1, NULL);
        atomic_store(&s->partner_inside, 1);
        if (!rc)
            rc = heir_give_away(event.table, event.from, event.name, 2);
        atomic_store(&s->partner_inside, 0);
        atomic_fetch_add(&s->partner_done, 1);
        s->thrown[i].taken_back = rc == -ESRCH;
        if (rc && rc != -ESRCH)
            return rc;
    }
}
