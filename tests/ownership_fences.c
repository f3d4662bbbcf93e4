/* SPDX-License-Identifier: MIT */
/*
 * O13: a former owner's write is refused, however long it was stopped, and nothing of it arrives. O14: a forked child
 * is nobody: its calls fail and harm nothing of the parent.
 */
#include "ownership.h"

#include <heir/admin.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- O13 ---------------------------------------------------------------------------------------------- */

static void o13_stopped_and_revoked(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "put t k old");
    agent_stop(a);
    DO(b, -EBUSY, "claim t 0"); /* stopped is not dead */
    CHECK_RC(heir_revoke(NULL, "t", false), 0);
    DO(b, 0, "claim t 0");
    DO(b, 0, "put t k new");
    uint64_t committed = look("t").committed;
    agent_send(a, "put t k stale");
    agent_continue(a);
    CHECK_RC(agent_answer(a, PATIENCE), -ESTALE);
    DO(a, -ESTALE, "put t other stale");
    DO(a, -ESTALE, "begin t");
    DO(a, -ESTALE, "del t k");
    DO(a, -ESTALE, "clear t");
    EVENT(a, HEIR_EVENT_LOST, 0, "t", NULL);
    DO(b, 0, "get t k");
    CHECK_STR(b->answer.value, "new");
    CHECK_EQ(look("t").committed, committed);
    CHECK_EQ(look("t").objects, 1);
    DO(a, -EBUSY, "claim t 0"); /* it may stand in line like everybody */
    DO(b, 0, "release t");
    DO(a, 0, "claim t 0");
    DO(a, 0, "put t k again");
}

static int add_until_refused(struct agent_self *self, void *arg)
{
    _Atomic int64_t *added = *(_Atomic int64_t **)arg;
    struct heir_table *table = agent_table(self, "t");
    for (;;) {
        int rc = heir_add(table, "n", 1, 1, NULL);
        if (rc)
            return rc;
        atomic_fetch_add(added, 1);
    }
}

static bool has_begun(void *arg)
{
    return atomic_load(*(_Atomic int64_t **)arg) > 0;
}

/* The same at full speed: stopped anywhere, also inside a write (then the keeper says so and the order is given again).
 */
static void o13_revoked_at_full_speed(void)
{
    _Atomic int64_t *added = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(added != MAP_FAILED);
    int busy = 0;
    int64_t base = 0;
    look_on();
    struct agent *b = agent_new("b");
    for (int round = 0; round < 40; round++) {
        struct agent *a = agent_new("a");
        int rc;
        atomic_store(added, 0);
        DO(a, 0, "claim t 0");
        agent_call_send(a, add_until_refused, &added, sizeof added);
        CHECK(wait_until(has_begun, &added, PATIENCE));
        int64_t end = now_ms() + patience(PATIENCE);
        do { /* a stopped process is alive: the table is taken from it, but not in the middle of a write */
            agent_stop(a);
            rc = heir_revoke(NULL, "t", false);
            if (rc)
                agent_continue(a);
            busy += rc == -EBUSY;
        } while (rc == -EBUSY && now_ms() < end);
        CHECK_RC(rc, 0);
        DO(b, 0, "claim t 0");
        DO(b, 0, "add t n 0");
        int64_t now = (int64_t)b->answer.number;
        agent_continue(a);
        CHECK_RC(agent_answer(a, PATIENCE), -ESTALE);
        CHECK_EQ(now - base, atomic_load(added));
        DO(b, 0, "add t n 0");
        CHECK_EQ(b->answer.number, now);
        base = now;
        DO(b, 0, "release t");
        CHECK_RC(agent_end(a), 0);
    }
    printf(" (stopped inside a write %d times)", busy);
    munmap((void *)added, 4096);
}

/* -EBUSY inside a transaction, and the transaction goes on. */
static void o13_revoked_inside_a_transaction(void)
{
    look_on();
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    DO(a, 0, "begin t");
    DO(a, 0, "put t k v");
    CHECK_RC(heir_revoke(NULL, "t", false), -EBUSY);
    agent_stop(a);
    CHECK_RC(heir_revoke(NULL, "t", false), -EBUSY);
    agent_continue(a);
    DO(a, 0, "put t l v");
    DO(a, 0, "commit t");
    CHECK_RC(heir_revoke(NULL, "t", false), 0);
    CHECK_RC(heir_has(seen("t"), "k", 1), 0);
    CHECK_RC(heir_has(seen("t"), "l", 1), 0);
}

/* ---- O14 ---------------------------------------------------------------------------------------------- */

static int visit_nothing(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len, (void)value, (void)value_len, (void)arg;
    return 0;
}

/* What the child tries on its parent's handles. Returns the number of the first call that was not refused. */
static int try_all(struct heir *client, struct heir_table *table)
{
    struct heir_table *other = NULL;
    struct heir_event event;
    struct heir_info info;
    char value[8];
    size_t len = sizeof value;
    uint64_t id;
    const int rc[] = {heir_put(table, "k", 1, "child", 5),
                      heir_put_new(table, "new", 3, "child", 5),
                      heir_get(table, "k", 1, value, &len),
                      heir_has(table, "k", 1),
                      heir_del(table, "k", 1),
                      heir_take(table, "k", 1, value, &len),
                      heir_add(table, "n", 1, 1, NULL),
                      heir_clear(table),
                      heir_begin(table),
                      heir_commit(table),
                      heir_abort(table),
                      heir_foreach(table, visit_nothing, NULL),
                      heir_info(table, &info),
                      heir_give_away(table, 1, NULL, 0),
                      heir_release(table),
                      heir_set_heir(table, "child", NULL, 0),
                      heir_rename(table, "child"),
                      heir_destroy(table),
                      heir_detach(table),
                      heir_wait(client, 0, &event),
                      heir_find(client, "a", &id),
                      heir_create(client, "child", NULL, &other),
                      heir_claim(client, "t", NULL, 0, &other),
                      heir_attach(client, "t", &other)};
    for (int i = 0; i < (int)(sizeof rc / sizeof rc[0]); i++)
        if (rc[i] != -ENOTCONN)
            return i + 1;
    return 0;
}

enum child { TRY, CLOSE, OWN_CLIENT, EXIT };

static int fork_child(struct agent_self *self, void *arg)
{
    enum child what = *(enum child *)arg;
    struct heir_table *table = agent_table(self, "t");
    pid_t pid = fork();
    if (pid == 0) {
        int code = try_all(self->client, table);
        if (!code && what == CLOSE)
            code = heir_close(self->client) ? 100 : 0;
        if (!code && what == OWN_CLIENT) {
            struct heir *mine = NULL;
            struct heir_table *reader = NULL, *own = NULL;
            struct heir_open_options options = {.name = "child", .timeout_ms = patience(PATIENCE)};
            code = heir_open(&options, &mine) ? 101 : 0;
            if (!code && heir_id(mine) == heir_id(self->client))
                code = 102;
            if (!code && (heir_attach(mine, "t", &reader) || heir_has(reader, "k", 1)))
                code = 103;
            if (!code && (heir_put(reader, "k", 1, "child", 5) != -EPERM))
                code = 104;
            if (!code && (heir_claim(mine, "t", NULL, 0, &own) != -EBUSY))
                code = 105;
            if (!code &&
                (heir_claim(mine, "child", &(struct heir_table_options){0}, 0, &own) || heir_put(own, "k", 1, "v", 1)))
                code = 106;
            if (!code && heir_close(mine))
                code = 107;
        }
        if (what == EXIT && !code)
            raise(SIGKILL);
        _exit(code);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -errno;
    self->answer.number = WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 0;
    return WIFSIGNALED(status) && what != EXIT ? -EFAULT : 0;
}

static void o14_a_forked_child_is_nobody(void)
{
    look_on();
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    uint64_t epoch = look("t").epoch;
    for (int what = TRY; what <= EXIT; what++)
        for (int inside = 0; inside < 2; inside++) {
            enum child child = (enum child)what;
            if (inside) {
                DO(a, 0, "begin t");
                DO(a, 0, "put t half done");
            }
            CHECK_RC(agent_call(a, fork_child, &child, sizeof child), 0);
            CHECK(a->answer.number == 0, "child %d, inside %d: call %d was not refused", what, inside,
                  (int)a->answer.number);
            CHECK_EQ(look("t").owner, a->id);
            CHECK_EQ(look("t").epoch, epoch);
            CHECK_RC(heir_has(seen("t"), "half", 4), -ENOENT);
            DO(a, 0, inside ? "abort t" : "put t k v");
            DO(a, 0, "get t k");
            CHECK_STR(a->answer.value, "v");
            DO(a, -ETIMEDOUT, "wait 0");
            CHECK_EQ(look("t").objects, 1);
        }
    CHECK(comes_to("child", HEIR_KEEPER));
}

/* The child lives on with copies of all its parent's descriptors: the parent is dead nevertheless. */
static int leave_a_child(struct agent_self *self, void *arg)
{
    (void)arg;
    int ready[2];
    char byte;
    if (pipe(ready))
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    if (read(ready[0], &byte, 1) != 1)
        return -errno;
    self->answer.number = (uint64_t)pid;
    return pid < 0 ? -errno : 0;
}

static void o14_the_parent_dies_before_its_child(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    CHECK_RC(agent_call(a, leave_a_child, NULL, 0), 0);
    pid_t child = (pid_t)a->answer.number;
    agent_send(b, "claim t -1");
    CHECK(line_has("t", 1));
    agent_kill(a);
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    DO(b, 0, "has t k");
    CHECK(kill(child, SIGKILL) == 0);
    waitpid(child, NULL, 0); /* it came to this process when its parent died */
    CHECK_EQ(look("t").owner, b->id);
}

const struct test ownership_fences[] = {{"O13 stopped and revoked", o13_stopped_and_revoked},
                                        {"O13 revoked at full speed", o13_revoked_at_full_speed},
                                        {"O13 revoked inside a transaction", o13_revoked_inside_a_transaction},
                                        {"O14 a forked child is nobody", o14_a_forked_child_is_nobody},
                                        {"O14 the parent dies before its child", o14_the_parent_dies_before_its_child},
                                        {NULL, NULL}};
