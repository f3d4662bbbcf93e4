/* SPDX-License-Identifier: MIT */
/*
 * Crash notes (heir_open_options.crash_note): what is told of a crash, and that the signal then takes its usual course.
 *
 *   N1 A noted signal ends the client: its tables go to the heirs, with cause and code, whatever becomes of the
 * process. N2 The signal goes to whom it would have gone without the note: the default action, or the handler of
 * before, with the siginfo of the crash; one that is ignored stays ignored. N3 Who recovers finds its clients ended
 * (-ENOTCONN), can open new ones, and those are noted, too. N4 All clients of the process that have asked for it are
 * noted, whichever thread crashes; a forked child's crash is not its parent's. N5 Signal, address and time can be seen
 * as long as the client's page exists, and the next keeper finds them.
 */
#include "support.h"

#include <heir/inspect.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- On the victim's side ----------------------------------------------------------------------------- */

/* What a handler has seen, for the test to look at. */
static struct seen {
    int signal, code, handled;
    void *address;
    pid_t sender;
    _Atomic int ready;
} * seen;

static void *wall; /* a page that cannot be written to */

enum action { LEAVE, DEFAULT, IGNORE, HANDLE, RECOVER };

static sigjmp_buf way_out;

static void record(int signal, siginfo_t *info, void *context)
{
    (void)context;
    seen->signal = signal;
    seen->code = info->si_code;
    seen->address = info->si_addr;
    seen->sender = info->si_pid;
    seen->handled++;
}

static void handle(int signal, siginfo_t *info, void *context)
{
    record(signal, info, context);
    _exit(5);
}

static void recover(int signal, siginfo_t *info, void *context)
{
    record(signal, info, context);
    siglongjmp(way_out, 1);
}

static void act(int signal, enum action how)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (how == IGNORE)
        action.sa_handler = SIG_IGN;
    if (how == HANDLE || how == RECOVER) {
        action.sa_sigaction = how == HANDLE ? handle : recover;
        action.sa_flags = SA_SIGINFO;
    }
    sigaction(signal, &action, NULL);
}

static void hit_the_wall(void)
{
    *(volatile char *)wall = 1;
}

static int open_noted(struct heir **client, const char *role)
{
    struct heir_open_options options = {.name = role, .timeout_ms = patience(PATIENCE), .crash_note = 1};
    return heir_open(&options, client);
}

struct order {
    int signal;
    enum action before;
    int more;
};

/* A noted client that owns "t", whose heir is "h". */
static int begin(struct agent_self *self, void *arg)
{
    static const int all[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGXCPU, SIGXFSZ};
    const struct order *order = arg;
    struct heir_table_options options = {.heir = "h"};
    struct heir_table *table = NULL;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        act(all[i], DEFAULT); /* a sanitizer has its own */
    act(order->signal, order->before);
    int rc = open_noted(&self->client, "victim");
    if (!rc)
        rc = heir_claim(self->client, "t", &options, 0, &table);
    if (!rc)
        rc = heir_put(table, "k", 1, "v", 1);
    if (!rc)
        agent_note(self, "t", table);
    self->answer.number = heir_id(self->client);
    return rc;
}

static int crash(struct agent_self *self, void *arg)
{
    const struct order *order = arg;
    (void)self;
    if (order->signal == SIGSEGV)
        hit_the_wall();
    raise(order->signal);
    return 0;
}

static struct agent *h;

static struct agent *victim_new(int signal, enum action before)
{
    struct order order = {signal, before, 0};
    struct agent *victim = agent_new(NULL);
    REQUIRE_RC(agent_call(victim, begin, &order, sizeof order), 0);
    victim->id = victim->answer.number;
    return victim;
}

static void let_crash(struct agent *victim, int signal)
{
    struct order order = {signal, LEAVE, 0};
    agent_call_send(victim, crash, &order, sizeof order);
}

/* h inherits "t", and is told of the signal; then it gives it back to the keeper. */
static void inherited(uint64_t from, int code, uint64_t undone)
{
    if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "t", NULL)) {
        CHECK_EQ(h->answer.event.from, from);
        CHECK_EQ(h->answer.event.cause, HEIR_CAUSE_SIGNAL);
        CHECK_EQ(h->answer.event.code, code);
        CHECK_EQ(h->answer.event.undone, undone);
    }
    DO(h, 0, "get t k");
    DO(h, 0, "release t");
    NO_EVENT(h);
}

static void set_the_stage(void)
{
    if (!seen) {
        seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        wall = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    memset(seen, 0, sizeof *seen);
    REQUIRE_EQ(keeper_start(NULL), 0);
    h = agent_new("h");
}

static void died_by(struct agent *victim, int signal)
{
    CHECK_RC(agent_reap(victim, PATIENCE), 0);
    CHECK(WIFSIGNALED(victim->status) && WTERMSIG(victim->status) == signal, "status %x", (unsigned)victim->status);
}

/* ---- N1, N2 ------------------------------------------------------------------------------------------- */

static void n2_default(void)
{
    static const int all[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGXCPU, SIGXFSZ};
    set_the_stage();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (int from_outside = 0; from_outside < 2; from_outside++) {
            struct agent *victim = victim_new(all[i], DEFAULT);
            if (from_outside)
                agent_signal(victim, all[i]);
            else
                let_crash(victim, all[i]);
            inherited(victim->id, all[i], 0);
            died_by(victim, all[i]);
        }
}

struct look {
    uint64_t id;
    struct heir_client_info info;
};

static int find_client(const struct heir_client_info *info, int error, void *arg)
{
    struct look *look = arg;
    if (!error && info->id == look->id)
        look->info = *info;
    return 0;
}

static struct heir_client_info look_at(uint64_t id)
{
    struct look look = {.id = id};
    CHECK_RC(heir_inspect_clients(NULL, find_client, &look), 0);
    return look.info;
}

static void n2_ignored(void)
{
    set_the_stage();
    struct agent *victim = victim_new(SIGQUIT, IGNORE);
    let_crash(victim, SIGQUIT);
    CHECK_RC(agent_answer(victim, PATIENCE), 0);
    CHECK_EQ(look_at(victim->id).id, victim->id);
    CHECK_EQ(look_at(victim->id).crash_signal, 0);
    DO(victim, 0, "put t k v");
    NO_EVENT(h);
    let_crash(victim, SIGSEGV); /* the others are noted */
    inherited(victim->id, SIGSEGV, 0);
    died_by(victim, SIGSEGV);
}

/* The handler of before sees what it would have seen. */
static void n2_handled(void)
{
    set_the_stage();
    struct agent *victim = victim_new(SIGSEGV, HANDLE);
    let_crash(victim, SIGSEGV);
    inherited(victim->id, SIGSEGV, 0); /* the signal, though the process ends by _exit(5) */
    CHECK_RC(agent_reap(victim, PATIENCE), 0);
    CHECK(WIFEXITED(victim->status) && WEXITSTATUS(victim->status) == 5, "status %x", (unsigned)victim->status);
    CHECK_EQ(seen->handled, 1);
    CHECK_EQ(seen->signal, SIGSEGV);
    CHECK_EQ(seen->code, SEGV_ACCERR);
    CHECK(seen->address == wall, "%p, the wall is %p", seen->address, wall);
    victim = victim_new(SIGQUIT, HANDLE); /* and of a signal that somebody has sent */
    agent_signal(victim, SIGQUIT);
    inherited(victim->id, SIGQUIT, 0);
    CHECK_RC(agent_reap(victim, PATIENCE), 0);
    CHECK_EQ(seen->handled, 2);
    CHECK_EQ(seen->signal, SIGQUIT);
    CHECK_EQ(seen->code, SI_USER);
    CHECK_EQ(seen->sender, getpid());
}

/* A handler set later that calls the one of before, which is the library's, in the end; and then a client more. */
static struct sigaction of_before;

static void chain(int signal, siginfo_t *info, void *context)
{
    record(signal, info, context);
    if (of_before.sa_flags & SA_SIGINFO)
        of_before.sa_sigaction(signal, info, context);
}

static int chain_and_crash(struct agent_self *self, void *arg)
{
    const struct order *order = arg;
    struct sigaction action = {.sa_sigaction = chain, .sa_flags = SA_SIGINFO};
    struct heir *more = NULL;
    (void)self;
    sigaction(SIGSEGV, &action, &of_before);
    if (order->more && open_noted(&more, "more"))
        return -EIO;
    hit_the_wall();
    return -EXFULL;
}

static void n2_chained(void)
{
    set_the_stage();
    for (int more = 0; more < 2; more++) {
        struct agent *victim = victim_new(SIGSEGV, DEFAULT);
        struct order order = {SIGSEGV, LEAVE, more};
        seen->handled = 0;
        agent_call_send(victim, chain_and_crash, &order, sizeof order);
        inherited(victim->id, SIGSEGV, 0);
        died_by(victim, SIGSEGV);
        CHECK_EQ(seen->handled, 1);
        CHECK(seen->address == wall);
    }
}

static void n1_options(void)
{
    set_the_stage();
    struct heir *client = NULL;
    CHECK_RC(heir_open(&(struct heir_open_options){.crash_note = 2}, &client), -EINVAL);
    CHECK_RC(heir_open(&(struct heir_open_options){.crash_note = -1}, &client), -EINVAL);
}

/* ---- N3 ----------------------------------------------------------------------------------------------- */

/* Number of the first call on an ended client that did not say so. */
static int all_refused(struct agent_self *self)
{
    struct heir_table *table = agent_table(self, "t"), *other;
    struct heir_event event;
    struct heir_info info;
    uint64_t id;
    const int rc[] = {heir_put(table, "k", 1, "w", 1),
                      heir_has(table, "k", 1),
                      heir_begin(table),
                      heir_commit(table),
                      heir_abort(table),
                      heir_info(table, &info),
                      heir_renew(table),
                      heir_release(table),
                      heir_wait(self->client, 0, &event),
                      heir_find(self->client, "h", &id),
                      heir_claim(self->client, "t", NULL, 0, &other),
                      heir_create(self->client, "other", NULL, &other)};
    for (int i = 0; i < (int)(sizeof rc / sizeof rc[0]); i++)
        if (rc[i] != -ENOTCONN) {
            self->answer.number = (uint64_t)i + 1;
            return rc[i] ? rc[i] : -EISCONN;
        }
    return 0;
}

static int crash_and_recover(struct agent_self *self, void *arg)
{
    const struct order *order = arg;
    int rc = 0;
    if (order->more &&
        ((rc = heir_begin(agent_table(self, "t"))) || (rc = heir_put(agent_table(self, "t"), "l", 1, "", 0))))
        return rc;
    if (sigsetjmp(way_out, 1) == 0) {
        if (order->signal == SIGSEGV)
            hit_the_wall();
        raise(order->signal);
        return -EXFULL;
    }
    return all_refused(self);
}

static int close_client(struct agent_self *self, void *arg)
{
    (void)arg;
    int rc = heir_close(self->client);
    self->client = NULL;
    self->tables = 0;
    return rc;
}

static void n3_recovered(void)
{
    struct order order = {SIGSEGV, RECOVER, 0};
    set_the_stage();
    struct agent *victim = agent_new(NULL);
    for (int round = 0; round < 4; round++) {
        CHECK_RC(agent_call(victim, begin, &order, sizeof order), 0);
        uint64_t id = victim->answer.number;
        int rc = agent_call(victim, crash_and_recover, &order, sizeof order);
        CHECK(rc == 0, "round %d, call %d: %s", round, (int)victim->answer.number, error_text(rc));
        CHECK_EQ(seen->handled, round + 1);
        CHECK(seen->address == wall);
        inherited(id, SIGSEGV, 0);
        CHECK_RC(agent_call(victim, close_client, NULL, 0), 0);
    }
    order.before = DEFAULT; /* and at last nobody recovers */
    CHECK_RC(agent_call(victim, begin, &order, sizeof order), 0);
    uint64_t id = victim->answer.number;
    let_crash(victim, SIGSEGV);
    inherited(id, SIGSEGV, 0);
    died_by(victim, SIGSEGV);
}

/* Handlers stay as they are: the new client is noted without anybody's setting the signal's action again. */
static int begin_again(struct agent_self *self, void *arg)
{
    struct heir_table *table = NULL;
    (void)arg;
    int rc = open_noted(&self->client, "victim");
    if (!rc)
        rc = heir_claim(self->client, "t", NULL, 0, &table);
    if (!rc)
        agent_note(self, "t", table);
    self->answer.number = heir_id(self->client);
    return rc;
}

static void n3_noted_again(void)
{
    struct order order = {SIGSEGV, RECOVER, 0};
    set_the_stage();
    struct agent *victim = agent_new(NULL);
    CHECK_RC(agent_call(victim, begin, &order, sizeof order), 0);
    for (int round = 0; round < 3; round++) {
        uint64_t id = victim->answer.number;
        int rc = agent_call(victim, crash_and_recover, &order, sizeof order);
        CHECK(rc == 0, "round %d, call %d: %s", round, (int)victim->answer.number, error_text(rc));
        inherited(id, SIGSEGV, 0);
        CHECK_RC(agent_call(victim, close_client, NULL, 0), 0);
        CHECK_RC(agent_call(victim, begin_again, NULL, 0), 0);
    }
}

/* Out of a transaction: its table is gone, too, and what it had done is undone. */
static void n3_recovered_in_a_transaction(void)
{
    struct order order = {SIGSEGV, RECOVER, 1};
    set_the_stage();
    struct agent *victim = agent_new(NULL);
    CHECK_RC(agent_call(victim, begin, &order, sizeof order), 0);
    uint64_t id = victim->answer.number;
    int rc = agent_call(victim, crash_and_recover, &order, sizeof order);
    CHECK(rc == 0, "call %d: %s", (int)victim->answer.number, error_text(rc));
    inherited(id, SIGSEGV, 1);
    CHECK_RC(agent_call(victim, close_client, NULL, 0), 0);
}

/* ---- N4 ----------------------------------------------------------------------------------------------- */

static int fork_and_crash(struct agent_self *self, void *arg)
{
    const struct order *order = arg;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (order->more) { /* with a noted client of its own */
            struct heir *mine = NULL;
            struct heir_table *table = NULL;
            struct heir_table_options options = {.heir = "h"};
            if (open_noted(&mine, "child") || heir_create(mine, "u", &options, &table))
                _exit(3);
            seen->sender = (pid_t)heir_id(mine);
        }
        hit_the_wall();
        _exit(4);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -errno;
    self->answer.number = (uint64_t)status;
    return 0;
}

static void n4_forked_child(void)
{
    set_the_stage();
    struct agent *victim = victim_new(SIGSEGV, DEFAULT);
    for (int own = 0; own < 2; own++) {
        struct order order = {SIGSEGV, LEAVE, own};
        CHECK_RC(agent_call(victim, fork_and_crash, &order, sizeof order), 0);
        int status = (int)victim->answer.number;
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %x", (unsigned)status);
        if (own && EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "u", NULL)) {
            CHECK_EQ(h->answer.event.from, seen->sender);
            CHECK_EQ(h->answer.event.cause, HEIR_CAUSE_SIGNAL);
            CHECK_EQ(h->answer.event.code, SIGSEGV);
        }
        NO_EVENT(h);
        CHECK_EQ(look_at(victim->id).id, victim->id);
        CHECK_EQ(look_at(victim->id).crash_signal, 0);
        DO(victim, 0, "put t k v");
    }
    let_crash(victim, SIGSEGV); /* and it is still noted itself */
    inherited(victim->id, SIGSEGV, 0);
    died_by(victim, SIGSEGV);
}

static void *own_u(void *arg)
{
    struct heir *client = NULL;
    struct heir_table *table = NULL;
    struct heir_table_options options = {.heir = "h"};
    (void)arg;
    if (open_noted(&client, "second") == 0 && heir_create(client, "u", &options, &table) == 0)
        atomic_store(&seen->ready, 1);
    for (;;)
        pause();
    return NULL;
}

static void *crash_here(void *arg)
{
    (void)arg;
    hit_the_wall();
    return NULL;
}

static int with_a_second(struct agent_self *self, void *arg)
{
    const struct order *order = arg;
    pthread_t second, third;
    (void)self;
    if (pthread_create(&second, NULL, own_u, NULL))
        return -EAGAIN;
    while (!atomic_load(&seen->ready))
        usleep(1000);
    if (!order->more)
        hit_the_wall();
    if (pthread_create(&third, NULL, crash_here, NULL))
        return -EAGAIN;
    for (;;)
        pause();
    return -EXFULL;
}

/* Two clients in one process, and a crash in the thread of one, or in a third one. */
static void n4_two_clients(void)
{
    set_the_stage();
    for (int third = 0; third < 2; third++) {
        struct agent *victim = victim_new(SIGSEGV, DEFAULT);
        struct order order = {SIGSEGV, LEAVE, third};
        atomic_store(&seen->ready, 0);
        agent_call_send(victim, with_a_second, &order, sizeof order);
        bool came[2] = {false, false};
        for (int i = 0; i < 2; i++)
            if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, NULL, NULL)) {
                CHECK_EQ(h->answer.event.cause, HEIR_CAUSE_SIGNAL);
                CHECK_EQ(h->answer.event.code, SIGSEGV);
                came[h->answer.event.name[0] == 'u'] = true;
            }
        CHECK(came[0] && came[1]);
        NO_EVENT(h);
        died_by(victim, SIGSEGV);
        DO(h, 0, "release t");
        DO(h, 0, "destroy u");
    }
}

/* After heir_close() nothing is noted, and nothing is touched that is no longer there. */
static void n4_closed(void)
{
    set_the_stage();
    struct agent *victim = victim_new(SIGSEGV, DEFAULT);
    CHECK_RC(agent_call(victim, close_client, NULL, 0), 0);
    let_crash(victim, SIGSEGV);
    died_by(victim, SIGSEGV);
    NO_EVENT(h);
}

/* ---- Stack overflow ----------------------------------------------------------------------------------- */

static int recurse(volatile int *deep)
{
    volatile int more[256] = {*deep + 1};
    return more[0] > 0 ? recurse(more) + more[1] : 0;
}

static int overflow(struct agent_self *self, void *arg)
{
    const struct order *order = arg;
    static char other[65536];
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other};
    volatile int deep = 0;
    (void)self;
    if (order->more && sigaltstack(&stack, NULL))
        return -errno;
    setrlimit(RLIMIT_STACK, &(struct rlimit){1 << 20, 1 << 20});
    return recurse(&deep);
}

/* Without a second stack there is no place for a handler: a plain death by SEGV. */
static void n1_stack_overflow(void)
{
    set_the_stage();
    for (int other = 0; other < 2; other++) {
        struct agent *victim = victim_new(SIGSEGV, DEFAULT);
        struct order order = {SIGSEGV, LEAVE, other};
        agent_call_send(victim, overflow, &order, sizeof order);
        inherited(victim->id, SIGSEGV, 0);
        died_by(victim, SIGSEGV);
    }
}

/* ---- N5 ----------------------------------------------------------------------------------------------- */

static void n5_to_be_seen(void)
{
    struct timespec before, after;
    set_the_stage();
    struct agent *victim = victim_new(SIGSEGV, DEFAULT);
    clock_gettime(CLOCK_REALTIME, &before);
    keeper_freeze(); /* the page stays until the keeper has seen to it */
    let_crash(victim, SIGSEGV);
    died_by(victim, SIGSEGV);
    clock_gettime(CLOCK_REALTIME, &after);
    struct heir_client_info info = look_at(victim->id);
    CHECK_EQ(info.id, victim->id);
    CHECK_EQ(info.crash_signal, SIGSEGV);
    CHECK(info.crash_address == (uintptr_t)wall, "%llx", (unsigned long long)info.crash_address);
    CHECK(info.crash_ns >= (uint64_t)before.tv_sec * 1000000000 + (uint64_t)before.tv_nsec &&
          info.crash_ns <= (uint64_t)after.tv_sec * 1000000000 + (uint64_t)after.tv_nsec);
    keeper_thaw();
    inherited(victim->id, SIGSEGV, 0);
}

static void n5_without_a_keeper(void)
{
    set_the_stage();
    struct agent *victim = victim_new(SIGABRT, DEFAULT);
    keeper_kill();
    EVENT(h, HEIR_EVENT_KEEPER_DOWN, 0, NULL, NULL);
    let_crash(victim, SIGABRT);
    died_by(victim, SIGABRT);
    CHECK_EQ(look_at(victim->id).crash_signal, SIGABRT);
    REQUIRE_EQ(keeper_start(NULL), 0);
    bool up = false;
    for (int i = 0; i < 2 && !up; i++) { /* in whichever order */
        CHECK_RC(agent_do(h, "wait %d", patience(PATIENCE) / 2), 0);
        if ((up = h->answer.event.type == HEIR_EVENT_KEEPER_UP))
            continue;
        CHECK_STR(h->answer.event.name, "t");
        CHECK_EQ(h->answer.event.code, SIGABRT);
        EVENT(h, HEIR_EVENT_KEEPER_UP, 0, NULL, NULL);
        return;
    }
    inherited(victim->id, SIGABRT, 0);
}

/* Threads that open and close clients, while another one forks: in the child nobody lets go of what they held. */
static _Atomic bool enough;

static void *come_and_go(void *arg)
{
    (void)arg;
    while (!enough) {
        struct heir *client;
        if (open_noted(&client, "passer-by") == 0)
            heir_close(client);
    }
    return NULL;
}

static int fork_meanwhile(struct agent_self *self, void *arg)
{
    pthread_t threads[3];
    int rc = 0;
    (void)arg;
    for (size_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, come_and_go, NULL);
    for (int64_t end = now_ms() + (int64_t)(test_seconds(3) * 1000); rc == 0 && now_ms() < end; self->answer.number++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
            struct heir *mine;
            _exit(open_noted(&mine, "child") == 0 && heir_close(mine) == 0 ? 0 : 1);
        }
        int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
        struct waiting it = waiting_begin(PATIENCE / 2);
        bool hung = pidfd >= 0 && !await_readable(pidfd, &it);
        if (hung)
            kill(pid, SIGKILL);
        if (pidfd < 0 || waitpid(pid, &status, 0) < 0)
            rc = -errno;
        else if (status != 0)
            rc = hung ? AGENT_HUNG : -ECHILD;
        close(pidfd);
    }
    enough = true;
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return rc;
}

static void n4_forked_meanwhile(void)
{
    if (TEST_ASAN || TEST_TSAN) /* gcc 12's, and others of its time */
        return test_skip("fork() does not take the locks of a sanitizer's allocator");
    set_the_stage();
    struct agent *forker = agent_new(NULL);
    int rc = agent_call(forker, fork_meanwhile, NULL, 0);
    CHECK(rc == 0, "child %d: %s", (int)forker->answer.number, error_text(rc));
    printf(" (%d children)", (int)forker->answer.number);
}

static const struct test tests[] = {{"N1 options", n1_options},
                                    {"N1 stack overflow", n1_stack_overflow},
                                    {"N2 default", n2_default},
                                    {"N2 ignored", n2_ignored},
                                    {"N2 handled", n2_handled},
                                    {"N2 chained", n2_chained},
                                    {"N3 recovered", n3_recovered},
                                    {"N3 noted again", n3_noted_again},
                                    {"N3 recovered in a transaction", n3_recovered_in_a_transaction},
                                    {"N4 forked child", n4_forked_child},
                                    {"N4 forked meanwhile", n4_forked_meanwhile},
                                    {"N4 two clients", n4_two_clients},
                                    {"N4 closed", n4_closed},
                                    {"N5 to be seen", n5_to_be_seen},
                                    {"N5 without a keeper", n5_without_a_keeper},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "obituary", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
