/* SPDX-License-Identifier: MIT */
/*
 * Standing in line. A thread that waits for a table sleeps on its client's bell alone (bell.h), so all that it must
 * hear of has to be rung: replies to its own claim and to others' requests, the end of the connection, of the keeper,
 * of the namespace. Where one of these rings is left out, a test here hangs.
 */
#include "ownership.h"

#include <dirent.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* A thread of this process sleeps on the bell: shown by the system call that it is in. */
static bool dozes(void *arg)
{
    char path[300], line[64];
    struct dirent *entry;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/task", *(pid_t *)arg);
    DIR *tasks = opendir(path);
    while (tasks != NULL && !found && (entry = readdir(tasks)) != NULL) {
        long number, operation;
        snprintf(path, sizeof path, "/proc/%d/task/%s/syscall", *(pid_t *)arg, entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        found = fgets(line, sizeof line, file) != NULL && sscanf(line, "%ld %*x %lx", &number, &operation) == 2 &&
                number == SYS_futex && operation == FUTEX_WAIT_BITSET;
        fclose(file);
    }
    if (tasks != NULL)
        closedir(tasks);
    return found;
}

static bool stands_in_line(const struct agent *agent, const char *name)
{
    pid_t pid = agent->pid;
    return line_has(name, 1) && wait_until(dozes, &pid, PATIENCE);
}

static struct claimant {
    pthread_t thread;
    struct heir *client;
    const char *name;
    int rc;
} t = {.name = "t"}, u = {.name = "u"};

static void *stand_in_line(void *arg)
{
    struct claimant *claimant = arg;
    struct heir_table *table;
    claimant->rc = heir_claim(claimant->client, claimant->name, NULL, -1, &table);
    return NULL;
}

static int begin(struct agent_self *self, struct claimant *claimant)
{
    claimant->client = self->client;
    return -pthread_create(&claimant->thread, NULL, stand_in_line, claimant);
}

static int end(struct claimant *claimant)
{
    pthread_join(claimant->thread, NULL);
    return claimant->rc;
}

/* In an agent. */
static int begin_t(struct agent_self *self, void *arg)
{
    (void)arg;
    return begin(self, &t);
}

static int begin_u(struct agent_self *self, void *arg)
{
    (void)arg;
    return begin(self, &u);
}

static int end_both(struct agent_self *self, void *arg)
{
    int rc = end(&t);
    (void)self;
    (void)arg;
    return rc != 0 ? rc : end(&u);
}

static int end_t(struct agent_self *self, void *arg)
{
    (void)self;
    (void)arg;
    return end(&t);
}

/* ---- Others' requests --------------------------------------------------------------------------------- */

static int work(struct agent_self *self, void *arg)
{
    struct heir_table *mine;
    uint64_t id;
    int rc = 0;
    (void)arg;
    for (int i = 0; i < 50 && rc == 0; i++) {
        if ((rc = heir_find(self->client, "a", &id)) == 0 && (rc = heir_create(self->client, "mine", NULL, &mine)) == 0)
            rc = heir_destroy(mine);
    }
    return rc;
}

static void o26_two_threads_wait_another_works(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "create u");
    CHECK_RC(agent_call(b, begin_t, NULL, 0), 0);
    CHECK(stands_in_line(b, "t"));
    CHECK_RC(agent_call(b, work, NULL, 0), 0);
    CHECK_RC(agent_call(b, begin_u, NULL, 0), 0);
    CHECK(stands_in_line(b, "u"));
    CHECK_RC(agent_call(b, work, NULL, 0), 0);
    agent_kill(a);
    CHECK_RC(agent_call(b, end_both, NULL, 0), 0);
    CHECK_EQ(look("t").owner, b->id);
    CHECK_EQ(look("u").owner, b->id);
}

/* It is told by a message alone, which nobody else is there to read. */
static void o26_the_table_ends(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    agent_send(b, "claim t -1 none");
    CHECK(stands_in_line(b, "t"));
    DO(a, 0, "destroy t");
    CHECK_RC(agent_answer(b, PATIENCE), -ENOENT);
}

/* ---- The end of what it waits for --------------------------------------------------------------------- */

/* Another thread hears of the keeper's end, and finds the next one. */
static void o26_the_keeper_ends(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    CHECK_RC(agent_call(b, begin_t, NULL, 0), 0);
    CHECK(stands_in_line(b, "t"));
    keeper_kill();
    EVENT(b, HEIR_EVENT_KEEPER_DOWN, 0, NULL, NULL);
    REQUIRE_EQ(keeper_start(NULL), 0);
    EVENT(b, HEIR_EVENT_KEEPER_UP, 0, NULL, NULL);
    CHECK(stands_in_line(b, "t"));
    agent_kill(a);
    CHECK_RC(agent_call(b, end_t, NULL, 0), 0);
    CHECK_EQ(look("t").owner, b->id);
}

/* Nobody else is there to hear of it. */
static void o26_the_keeper_ends_unheard(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    agent_send(b, "claim t -1");
    CHECK(stands_in_line(b, "t"));
    keeper_kill();
    agent_kill(a);
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    CHECK_EQ(look("t").owner, b->id);
}

static void o26_the_namespace_ends(void)
{
    static const char *const purge[] = {"--purge", NULL};
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    agent_send(b, "claim t -1");
    CHECK(stands_in_line(b, "t"));
    CHECK_EQ(keeper_stop(), 0);
    REQUIRE_EQ(keeper_start(purge), 0);
    CHECK_RC(agent_answer(b, PATIENCE), -ENOTCONN);
}

struct connection {
    int fd;
    ino_t number;
};

static bool find_connection(struct connection *found)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_un peer = {.sun_path = ""};
        socklen_t len = sizeof peer;
        struct stat st;
        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_family == AF_UNIX &&
            strcmp(peer.sun_path, world.socket) == 0 && fstat(fd, &st) == 0) {
            *found = (struct connection){fd, st.st_ino};
            return true;
        }
    }
    return false;
}

static bool is_another(void *arg)
{
    struct connection *before = arg, now;
    return find_connection(&now) && now.number != before->number;
}

static int cut_the_connection(struct agent_self *self, void *arg)
{
    struct connection connection;
    (void)self;
    (void)arg;
    if (!find_connection(&connection) || shutdown(connection.fd, SHUT_WR) < 0)
        return -EBADF;
    return wait_until(is_another, &connection, PATIENCE) ? 0 : -ETIME;
}

/* The keeper closes it: the claimant comes back, and stands in line again. */
static void o26_the_connection_ends(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    CHECK_RC(agent_call(b, begin_t, NULL, 0), 0);
    CHECK(stands_in_line(b, "t"));
    CHECK_RC(agent_call(b, cut_the_connection, NULL, 0), 0);
    CHECK(stands_in_line(b, "t"));
    agent_kill(a);
    CHECK_RC(agent_call(b, end_t, NULL, 0), 0);
    CHECK_EQ(look("t").owner, b->id);
}

const struct test ownership_line[] = {{"O26 two threads wait, another works", o26_two_threads_wait_another_works},
                                      {"O26 the table ends", o26_the_table_ends},
                                      {"O26 the keeper ends", o26_the_keeper_ends},
                                      {"O26 the keeper ends unheard", o26_the_keeper_ends_unheard},
                                      {"O26 the namespace ends", o26_the_namespace_ends},
                                      {"O26 the connection ends", o26_the_connection_ends},
                                      {NULL, NULL}};
