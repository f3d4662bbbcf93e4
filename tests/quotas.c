/* SPDX-License-Identifier: MIT */
/*
 * What one user may have. Run as root, since it takes several users: agents become them. (Skipped otherwise, but for
 * what heird says to its options.)
 */
#include "support.h"

#include <grp.h>
#include <heir/admin.h>
#include <heir/keeper.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { A = 1001, B = 1002 };

static bool root_only(void)
{
    if (geteuid() == 0)
        return true;
    test_skip("it takes root to be another user");
    return false;
}

static int become(struct agent_self *self, void *arg)
{
    unsigned uid = *(const unsigned *)arg;
    (void)self;
    if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
        return -EIO;
    prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0); /* the change of user has cleared it */
    return 0;
}

static struct agent *agent_of(unsigned uid)
{
    struct agent *agent = agent_new(NULL);
    if (uid != 0)
        REQUIRE_RC(agent_call(agent, become, &uid, sizeof uid), 0);
    return agent;
}

/* That has opened a client. */
static struct agent *client_of(unsigned uid, const char *role)
{
    struct agent *agent = agent_of(uid);
    DO(agent, 0, "open %s", role);
    return agent;
}

static void start(const char *option, const char *value)
{
    const char *const options[] = {"--socket-mode", "0666", option, value, NULL};
    REQUIRE_EQ(keeper_start(options), 0);
}

/* ---- Clients -------------------------------------------------------------------------------------------- */

struct attempt {
    struct agent *agent;
    const char *order;
};

static bool succeeds(void *arg)
{
    const struct attempt *attempt = arg;
    return agent_do(attempt->agent, "%s", attempt->order) == 0;
}

static void clients(void)
{
    struct agent *a[5];
    if (!root_only())
        return;
    start("--max-clients", "3");
    for (int i = 0; i < 5; i++) {
        a[i] = agent_of(A);
        DO(a[i], i < 3 ? 0 : -EDQUOT, "open a");
    }
    client_of(B, "b"); /* another user's are not counted, */
    for (int i = 0; i < 5; i++)
        client_of(0, "root"); /* and root's are not limited */
    DO(a[0], 0, "close");
    DO(a[3], 0, "open a"); /* at once */
    DO(a[4], -EDQUOT, "open a");
    agent_kill(a[1]);
    struct attempt attempt = {a[4], "open a"};
    CHECK(wait_until(succeeds, &attempt, PATIENCE), "after a death: %s", error_text(a[4]->answer.result));
    DO(a[0], -EDQUOT, "open a");
    CHECK_EQ(keeper_stop(), 0);
    start("--max-clients", "3"); /* which counts what it adopts */
    DO(a[0], -EDQUOT, "open a");
    DO(a[2], 0, "close");
    struct attempt again = {a[0], "open a"}; /* which was told by the life mutex, perhaps */
    CHECK(wait_until(succeeds, &again, PATIENCE));
}

/* Connections that say nothing, twice as many as clients. The number of those that last is the answer. */
static int connect_often(struct agent_self *self, void *arg)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int lasting = 0;
    (void)arg;
    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("HEIR_SOCKET"));
    for (int i = 0; i < 20; i++) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
            return -errno;
        struct pollfd hung_up = {.fd = fd, .events = POLLIN};
        lasting += poll(&hung_up, 1, 50) == 0;
    }
    self->answer.number = (uint64_t)lasting;
    return 0;
}

static int open_soon(struct agent_self *self, void *arg)
{
    (void)arg;
    return heir_open(&(struct heir_open_options){.name = "a", .timeout_ms = 100}, &self->client);
}

static void connections(void)
{
    if (!root_only())
        return;
    start("--max-clients", "3");
    struct agent *a = agent_of(A), *again = agent_of(A), *b = agent_of(B), *root = agent_of(0);
    CHECK_RC(agent_call(a, connect_often, NULL, 0), 0);
    CHECK_EQ(a->answer.number, 6);
    CHECK_RC(agent_call(again, open_soon, NULL, 0), -ECONNREFUSED); /* it is not left waiting */
    DO(b, 0, "open b");
    CHECK_RC(agent_call(root, connect_often, NULL, 0), 0);
    CHECK_EQ(root->answer.number, 20);
    agent_kill(a);
    struct attempt attempt = {again, "open a"};
    CHECK(wait_until(succeeds, &attempt, PATIENCE));
}

/* ---- Tables --------------------------------------------------------------------------------------------- */

static void tables(void)
{
    if (!root_only())
        return;
    start("--max-tables", "2");
    struct agent *a = client_of(A, "a"), *again = client_of(A, "again"), *b = client_of(B, "b");
    struct agent *root = client_of(0, "root");
    DO(a, 0, "create t1");
    DO(again, 0, "claim t2 0");
    DO(a, -EDQUOT, "create t3");
    DO(again, -EDQUOT, "claim t3 0");
    DO(a, -EEXIST, "create t2"); /* that it exists is the better answer */
    DO(b, 0, "create t3");
    for (int i = 0; i < 5; i++)
        DO(root, 0, "create r%d", i);
    DO(a, 0, "release t1"); /* whose it is counts, and not who owns it */
    DO(a, -EDQUOT, "create t4");
    DO(root, 0, "claim t1 0");
    DO(a, -EDQUOT, "create t4");
    DO(root, 0, "destroy t1");
    DO(a, 0, "create t4");
    DO(a, 0, "rename t4 t5");
    DO(a, 0, "heir t5 -");
    DO(a, -EDQUOT, "create t6");
    CHECK_EQ(keeper_stop(), 0);
    start("--max-tables", "2"); /* which counts what it adopts */
    DO(a, -EDQUOT, "create t6");
    agent_kill(a); /* t5 is destroyed with it */
    struct attempt attempt = {again, "create t6"};
    CHECK(wait_until(succeeds, &attempt, PATIENCE));
    DO(again, -EDQUOT, "create t7");
}

static void bytes(void)
{
    if (!root_only())
        return;
    start("--max-bytes", "1000000");
    struct agent *a = client_of(A, "a"), *again = client_of(A, "again"), *b = client_of(B, "b");
    struct agent *root = client_of(0, "root");
    DO(a, -EDQUOT, "create t max=1000001");
    DO(a, -EDQUOT, "create t max=1000000"); /* whole pages count */
    DO(a, -EDQUOT, "create t");             /* 1 GiB */
    DO(a, 0, "create t1 max=500000");
    DO(again, -EDQUOT, "create t2 max=500000");
    DO(again, 0, "create t2 max=495616");
    DO(a, -EDQUOT, "create t3 max=65536");
    DO(b, 0, "create t3 max=900000");
    DO(root, 0, "create t4");
    DO(again, 0, "destroy t2");
    DO(a, 0, "create t5 max=65536");
}

static void no_limits(void)
{
    if (!root_only())
        return;
    start("--max-tables", "0");
    struct agent *a = client_of(A, "a");
    for (int i = 0; i < 50; i++)
        DO(a, 0, "create t%d max=65536", i);
}

/* ---- Embedded ------------------------------------------------------------------------------------------- */

/* A keeper of no special user, with limits that are not its own. */
static int keep_for_others(struct agent_self *self, void *arg)
{
    const struct heir_keeper_options options = {
        .socket = arg, .clients_per_uid = 1, .tables_per_uid = 1, .bytes_per_uid = 1, .no_huge_pages = true};
    const struct heir_open_options open = {.socket = arg, .name = "own", .timeout_ms = patience(PATIENCE)};
    struct heir_keeper *keeper = NULL;
    struct heir *client[3];
    struct heir_table *table;
    char name[16];
    int r = heir_keeper_start(&options, &keeper);
    if (r < 0)
        return r;
    for (int i = 0; i < 3 && r == 0; i++) {
        self->answer.number = (uint64_t)i;
        snprintf(name, sizeof name, "t%d", i);
        r = heir_open(&open, &client[i]);
        if (r == 0)
            r = heir_create(client[i], name, NULL, &table);
        if (r == 0)
            r = heir_destroy(table);
    }
    for (int i = 0; i < 3 && r == 0; i++)
        r = heir_close(client[i]);
    heir_keeper_stop(keeper);
    return r;
}

static void own_user(void)
{
    char socket[108];
    snprintf(socket, sizeof socket, "/tmp/heir-%s.sock", world.ns); /* where anybody may make one */
    struct agent *agent = agent_of(geteuid() == 0 ? A : 0);
    int rc = agent_call(agent, keep_for_others, socket, strlen(socket) + 1);
    CHECK(rc == 0, "client %d: %s", (int)agent->answer.number, error_text(rc));
    unlink(socket);
}

static bool has_closed(void *arg)
{
    return count_fds(0) <= *(const int *)arg;
}

static void embedded(void)
{
    const struct heir_keeper_options options = {.clients_per_uid = 2, .tables_per_uid = 1, .socket_mode = 0666};
    struct heir_keeper *keeper = NULL;
    struct agent *a[3];
    if (!root_only())
        return;
    for (int i = 0; i < 3; i++)
        a[i] = agent_of(A); /* before there are threads: sanitizers' allocators do not survive a fork */
    int fds = count_fds(0);
    REQUIRE_RC(heir_keeper_start(&options, &keeper), 0);
    for (int i = 0; i < 3; i++) {
        int rc = agent_do(a[i], "open a");
        CHECK(rc == (i < 2 ? 0 : -EDQUOT), "client %d: %s", i, error_text(rc));
    }
    DO(a[0], 0, "create t heir=-");
    DO(a[1], -EDQUOT, "create u");
    for (int i = 0; i < 3; i++)
        CHECK_RC(agent_end(a[i]), 0);
    heir_keeper_stop(keeper);
    CHECK(wait_until(has_closed, &fds, PATIENCE)); /* by a thread that nobody waits for */
}

/* ---- What heird says ------------------------------------------------------------------------------------ */

static void wrong_usage(void)
{
    static const char *const options[] = {"--max-clients", "--max-tables", "--max-bytes"};
    static const char *const values[] = {"", "x", "-1", "1k", "1 ", " 1", "0x10", "99999999999999999999", "1.5"};
    static struct output output;
    for (int i = 0; i < 3; i++) {
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            int code = run(&output, "heird", options[i], values[v], NULL);
            CHECK(code == 2, "%s '%s': exit %d", options[i], values[v], code);
            CHECK(strstr(output.err, options[i]) != NULL, "%s", output.err);
        }
        CHECK_EQ(run(&output, "heird", options[i], NULL), 2);
        CHECK(strstr(output.err, options[i]) != NULL, "%s", output.err);
    }
    CHECK_EQ(run(&output, "heird", "--help", NULL), 0);
    for (int i = 0; i < 3; i++)
        CHECK(strstr(output.out, options[i]) != NULL, "--help does not tell of %s", options[i]);
    CHECK_EQ(shm_count(""), 0);
}

static void what_to_do(void)
{
    const char *text = heir_strerror(-EDQUOT);
    CHECK(strstr(text, "heird --help") != NULL && strstr(text, "user") != NULL, "%s", text);
    CHECK_STR(heir_strerror(EDQUOT), text);
}

static const struct test all[] = {{"clients", clients},
                                  {"connections", connections},
                                  {"tables", tables},
                                  {"bytes", bytes},
                                  {"no limits", no_limits},
                                  {"embedded: its own user", own_user},
                                  {"embedded: others", embedded},
                                  {"heird: wrong usage", wrong_usage},
                                  {"what to do", what_to_do},
                                  {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "quotas", .tests = all}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
