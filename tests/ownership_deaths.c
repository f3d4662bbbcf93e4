/* SPDX-License-Identifier: MIT */
/*
 * O11: whatever the death, the next in line has the table, at its last commit. O12: a worker with more tables than one
 * robust list holds gives all of them back. And a death that the kernel's walk of the robust list missed is still
 * found.
 */
#include "ownership.h"

#include <heir/inspect.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Processes ---------------------------------------------------------------------------------------- */

static bool has_three_fds(void *arg)
{
    return count_fds(((struct agent *)arg)->pid) == 3;
}

static void o11_every_death_of_a_process(void)
{
    static const char *const how[] = {"kill", "segv", "abort", "exit", "return", "exec"};
    look_on();
    struct agent *a = agent_new("a");
    DO(a, 0, "claim t -1 data=will");
    for (size_t i = 0; i < sizeof how / sizeof how[0]; i++) {
        struct agent *next = agent_new("a");
        agent_send(next, "claim t -1");
        CHECK(line_has("t", 1));
        DO(a, 0, "add t n 1");
        CHECK_EQ(a->answer.number, i + 1);
        bool inside = i % 2;
        if (inside) {
            DO(a, 0, "begin t");
            DO(a, 0, "add t n 100");
            DO(a, 0, "put t half done");
        }
        agent_send(a, "die %s", how[i]);
        int rc = agent_answer(next, PATIENCE);
        CHECK(rc == 0, "after death by %s: %s", how[i], error_text(rc));
        EVENT(next, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", "will");
        CHECK(next->answer.event.undone == (inside ? 2 : 0), "after %s: %d", how[i], (int)next->answer.event.undone);
        DO(next, -ENOENT, "has t half");
        NO_EVENT(next);
        if (!strcmp(how[i], "exec")) {
            CHECK(waitpid(a->pid, NULL, WNOHANG) == 0); /* the process lives */
            CHECK(wait_until(has_three_fds, a, PATIENCE), "%d descriptors",
                  count_fds(a->pid)); /* and inherits nothing */
            agent_kill(a);
        } else {
            CHECK_RC(agent_reap(a, PATIENCE), 0);
        }
        a = next;
    }
}

/* Without anybody in line, and with the dead process not waited for: it is a zombie, and dead. */
static void o11_a_zombie_is_dead(void)
{
    siginfo_t info;
    look_on();
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    DO(a, 0, "begin t");
    DO(a, 0, "put t k v");
    agent_signal(a, SIGKILL);
    CHECK(waitid(P_PID, (id_t)a->pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK(comes_to("t", HEIR_KEEPER));
    CHECK_RC(heir_has(seen("t"), "k", 1), -ENOENT);
    agent_kill(a);
}

/* The owner dies together with the only one in line. */
static void o11_the_line_dies_too(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b"), *c = agent_new("c");
    DO(a, 0, "create t");
    agent_send(b, "claim t -1");
    CHECK(line_has("t", 1));
    keeper_freeze();
    agent_kill(a);
    agent_kill(b);
    keeper_thaw();
    CHECK(comes_to("t", HEIR_KEEPER));
    DO(c, 0, "claim t 0");
}

/* ---- Threads ------------------------------------------------------------------------------------------ */

struct by_thread {
    int how;
    int rc;
    struct heir *client;
    struct heir_table *table;
};

static void *own_and_end(void *arg)
{
    struct by_thread *state = arg;
    state->rc =
        heir_open(&(struct heir_open_options){.name = "thread", .timeout_ms = patience(PATIENCE)}, &state->client);
    if (!state->rc)
        state->rc = heir_claim(state->client, "t", &(struct heir_table_options){0}, -1, &state->table);
    if (!state->rc)
        state->rc = heir_add(state->table, "n", 1, 1, NULL);
    if (!state->rc)
        state->rc = heir_begin(state->table);
    if (!state->rc)
        state->rc = heir_add(state->table, "n", 1, 1000, NULL);
    if (state->how == 1)
        pthread_exit(NULL);
    if (state->how == 2) {
        pthread_cancel(pthread_self());
        for (;;)
            pthread_testcancel();
    }
    return NULL;
}

static int end_a_thread(struct agent_self *self, void *arg)
{
    static struct by_thread state; /* of a client whose thread is no more; nobody can close it */
    pthread_t thread;
    state = (struct by_thread){.how = *(int *)arg};
    if (pthread_create(&thread, NULL, own_and_end, &state))
        return -EAGAIN;
    pthread_join(thread, NULL);
    if (state.rc)
        return state.rc;
    self->answer.number = heir_id(state.client);
    agent_note(self, "dead", state.table);
    return heir_close(state.client) == -EPERM ? 0 : -EDOM;
}

static void o11_every_death_of_a_thread(void)
{
    static const char *const name[] = {"return", "pthread_exit", "pthread_cancel"};
    look_on();
    for (int how = 0; how < (TEST_ASAN ? 2 : 3); how++) { /* it takes the unwinding of a cancelled thread for a bug */
        struct agent *a = agent_new(NULL), *next = agent_new("next");
        int rc = agent_call(a, end_a_thread, &how, sizeof how);
        if (CHECK(rc == 0, "%s: %s", name[how], error_text(rc))) {
            DO(next, 0, "claim t %d", PATIENCE / 2);
            DO(next, 0, "add t n 0");
            CHECK_EQ(next->answer.number, how + 1);
            EVENT(next, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", NULL);
            CHECK_EQ(next->answer.event.undone, 1);
            DO(a, -ESTALE, "put dead k v"); /* "my table went back while my process lives" */
            CHECK_RC(heir_has(seen("t"), "k", 1), -ENOENT);
        }
        CHECK_RC(agent_end(next), 0);
        agent_kill(a);
    }
}

/* Of two clients of one process, the death of one thread takes only its own tables. */
static void o11_one_thread_of_two(void)
{
    int how = 0;
    look_on();
    struct agent *a = agent_new("a");
    DO(a, 0, "create mine");
    CHECK_RC(agent_call(a, end_a_thread, &how, sizeof how), 0);
    CHECK(comes_to("t", HEIR_KEEPER));
    DO(a, 0, "put mine k v");
    CHECK_EQ(look("mine").owner, a->id);
}

/* ---- Many tables -------------------------------------------------------------------------------------- */

static int own_many(struct agent_self *self, void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        struct heir_table *table = NULL;
        char name[32];
        snprintf(name, sizeof name, "many.%d", i);
        int rc = heir_create(self->client, name, &(struct heir_table_options){.max_bytes = HEIR_TABLE_MIN}, &table);
        if (!rc)
            rc = heir_put(table, "number", 6, &i, sizeof i);
        if (!rc && i == n - 1 && !(rc = heir_begin(table))) /* it will die inside a transaction of the last one */
            rc = heir_del(table, "number", 6);
        self->answer.number = (uint64_t)i;
        if (rc)
            return rc;
    }
    return 0;
}

struct counts {
    uint64_t all, keepers, errors;
};

static int count_owner(const struct heir_info *info, int error, void *arg)
{
    struct counts *counts = arg;
    counts->all++;
    counts->keepers += !error && info->owner == HEIR_KEEPER;
    counts->errors += error != 0;
    return 0;
}

static bool all_are_keepers(void *arg)
{
    struct counts counts = {0};
    return heir_inspect_tables(NULL, count_owner, &counts) == 0 && counts.keepers == *(uint64_t *)arg && !counts.errors;
}

static int take_many(struct agent_self *self, void *arg)
{
    int n = *(int *)arg;
    for (int i = 0; i < n; i++) {
        struct heir_table *table = NULL;
        struct heir_event event;
        char name[32];
        int number = -1;
        size_t len = sizeof number;
        snprintf(name, sizeof name, "many.%d", i);
        int rc = heir_claim(self->client, name, NULL, 0, &table);
        if (!rc)
            rc = heir_get(table, "number", 6, &number, &len);
        if (!rc && number != i)
            rc = -EBADMSG;
        if (!rc)
            rc = heir_wait(self->client, 0, &event);
        if (!rc && (strcmp(event.name, name) || event.undone != (i == n - 1)))
            rc = -ENOMSG;
        self->answer.number = (uint64_t)i;
        if (rc)
            return rc;
    }
    return 0;
}

static void o12_ten_thousand_tables(void)
{
    int n = TEST_ASAN || TEST_TSAN ? 2500 : 10000; /* a robust list is walked for 2048 */
    uint64_t want = (uint64_t)n;
    if (!shm_has_room(want * HEIR_TABLE_MIN))
        return;
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    agent_call_send(a, own_many, &n, sizeof n);
    int rc = agent_answer(a, 12 * PATIENCE);
    if (!CHECK(rc == 0, "table %d: %s", (int)a->answer.number, error_text(rc)))
        return;
    agent_kill(a);
    CHECK(wait_until(all_are_keepers, &want, 3 * PATIENCE));
    agent_call_send(b, take_many, &n, sizeof n);
    rc = agent_answer(b, 12 * PATIENCE);
    CHECK(rc == 0, "table %d: %s", (int)b->answer.number, error_text(rc));
    DO(b, 0, "close"); /* and by an orderly close */
    CHECK(wait_until(all_are_keepers, &want, 3 * PATIENCE));
    REQUIRE_EQ(keeper_stop(), 0); /* a keeper need not hold a descriptor for each that exists */
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK(wait_until(all_are_keepers, &want, 3 * PATIENCE));
    CHECK(count_fds(keeper_pid()) < 1000, "the keeper has %d descriptors", count_fds(keeper_pid()));
}

/* ---- Missed by the kernel ----------------------------------------------------------------------------- */

struct empty_list { /* the kernel's struct robust_list_head */
    void *next;
    long offset;
    void *pending;
};

/* The kernel walks this list instead of the C library's: nobody is told of the death. */
static int die_unnoticed(struct agent_self *self, void *arg)
{
    static struct empty_list list;
    (void)self, (void)arg;
    list = (struct empty_list){&list, 0, NULL};
    if (syscall(SYS_set_robust_list, &list, sizeof list))
        return -errno;
    raise(SIGKILL);
    return -EIO;
}

static void o11_the_kernel_missed_it(void)
{
    look_on();
    for (int inside = 0; inside < 2; inside++) {
        struct agent *a = agent_new("a"), *b = agent_new("b"), *h = agent_new("h");
        DO(a, 0, "claim t 0 data=will");
        DO(a, 0, "add t n 1");
        DO(a, 0, "create u heir=h");
        DO(a, 0, "put u k v");
        if (inside) { /* it holds the writer mutexes, too */
            DO(a, 0, "begin t");
            DO(a, 0, "add t n 100");
            DO(a, 0, "begin u");
            DO(a, 0, "del u k");
        }
        agent_send(b, "claim t -1");
        CHECK(line_has("t", 1));
        CHECK_RC(agent_call(a, die_unnoticed, NULL, 0), AGENT_DEAD);
        int rc = agent_answer(b, PATIENCE);
        if (CHECK(rc == 0, "inside %d: %s", inside, error_text(rc))) {
            EVENT(b, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", "will");
            CHECK_EQ(b->answer.event.undone, inside);
            DO(b, 0, "add t n 0");
            CHECK_EQ(b->answer.number, inside + 1);
        }
        if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "u", NULL)) {
            CHECK_EQ(h->answer.event.undone, inside);
            DO(h, 0, "get u k");
            DO(h, 0, "put u k w");
            DO(h, 0, "destroy u");
        }
        CHECK_RC(agent_end(b), 0);
        CHECK_RC(agent_end(h), 0);
        agent_kill(a);
    }
}

/* The writer of a public table vanishes so inside a transaction: the others go on. */
static void o11_the_kernel_missed_a_public_writer(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t access=public");
    DO(a, 0, "add t n 1");
    DO(b, 0, "attach t");
    DO(b, 0, "begin t");
    DO(b, 0, "add t n 100");
    agent_send(a, "add t n 1");
    CHECK_RC(agent_answer(a, 50), AGENT_HUNG);
    CHECK_RC(agent_call(b, die_unnoticed, NULL, 0), AGENT_DEAD);
    CHECK_RC(agent_answer(a, PATIENCE), 0);
    CHECK_EQ(a->answer.number, 2);
}

const struct test ownership_deaths[] = {
    {"O11 every death of a process", o11_every_death_of_a_process},
    {"O11 a zombie is dead", o11_a_zombie_is_dead},
    {"O11 the line dies too", o11_the_line_dies_too},
    {"O11 every death of a thread", o11_every_death_of_a_thread},
    {"O11 one thread of two", o11_one_thread_of_two},
    {"O11 the kernel missed it", o11_the_kernel_missed_it},
    {"O11 the kernel missed a public writer", o11_the_kernel_missed_a_public_writer},
    {"O12 ten thousand tables", o12_ten_thousand_tables},
    {NULL, NULL}};
