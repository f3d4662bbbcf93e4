/* SPDX-License-Identifier: MIT */
/*
 * Standing in line. A thread that waits for a table sleeps on its client's bell alone (bell.h), so all that it must
 * hear of has to be rung: replies to its own claim, the end of the connection, of the client, of the keeper, of the
 * namespace. Where one of these rings is left out, a test here hangs. (Not seen here is the one by which a thread
 * that polls tells it that it has read its reply: that is needed only if it was about to fall asleep in that moment.)
 */
#include "ownership.h"

#include <dirent.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* How many threads of a process sleep on the bell: shown by the system call that they are in. */
static unsigned dozers(pid_t pid)
{
    char path[300], line[64];
    struct dirent *entry;
    unsigned found = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        long number, operation;
        snprintf(path, sizeof path, "/proc/%d/task/%s/syscall", pid, entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        found += fgets(line, sizeof line, file) != NULL && sscanf(line, "%ld %*x %lx", &number, &operation) == 2 &&
                 number == SYS_futex && operation == FUTEX_WAIT_BITSET;
        fclose(file);
    }
    if (tasks != NULL)
        closedir(tasks);
    return found;
}

static bool dozes(void *arg)
{
    return dozers(*(pid_t *)arg) > 0;
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

static int begin_both(struct agent_self *self, void *arg)
{
    int rc = begin(self, &t);
    (void)arg;
    return rc != 0 ? rc : begin(self, &u);
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

static int open_watching(struct agent_self *self, void *arg)
{
    const struct heir_open_options options = {.name = "watching", .spin_us = *(unsigned *)arg};
    return heir_open(&options, &self->client);
}

/* Both watch the bell first, and one of them sleeps on it then: only one is woken there. */
static void o26_two_threads_watch(void)
{
    unsigned spin_us = 300000;
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new(NULL);
    DO(a, 0, "create t");
    DO(a, 0, "create u");
    CHECK_RC(agent_call(b, open_watching, &spin_us, sizeof spin_us), 0);
    CHECK_RC(agent_call(b, begin_both, NULL, 0), 0);
    CHECK(line_has("u", 1) && stands_in_line(b, "t"));
    nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
    CHECK_EQ(dozers(b->pid), 1);
    agent_kill(a);
    CHECK_RC(agent_call(b, end_both, NULL, 0), 0);
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

static void *open_and_end(void *arg)
{
    struct agent_self *self = arg;
    int rc = heir_open(&(struct heir_open_options){.name = "brief"}, &self->client);
    if (rc == 0)
        rc = begin(self, &t);
    for (int64_t over = now_ms() + patience(PATIENCE); rc == 0 && dozers(getpid()) == 0 && now_ms() < over;)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return rc == 0 ? self : NULL;
}

static int end_the_thread(struct agent_self *self, void *arg)
{
    pthread_t thread;
    void *done = NULL;
    (void)arg;
    if (pthread_create(&thread, NULL, open_and_end, self) != 0 || pthread_join(thread, &done) != 0 || done == NULL)
        return -EAGAIN;
    self->client = NULL; /* nobody can close it */
    return end(&t);
}

/* The thread that has opened the client ends, and with it the client; another one of it stands in line. */
static void o26_the_client_ends(void)
{
    look_on();
    struct agent *a = agent_new("a"), *b = agent_new(NULL);
    DO(a, 0, "create t");
    CHECK_RC(agent_call(b, end_the_thread, NULL, 0), -ENOTCONN);
    CHECK(line_has("t", 0));
}

struct connection {
    int fd;
    char number[64]; /* of the socket behind it */
};

/* The number by its name in /proc: a look at the descriptor itself would be a race with the thread that closes it. */
static bool find_connection(struct connection *found)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_un peer = {.sun_path = ""};
        socklen_t len = sizeof peer;
        char path[64];
        *found = (struct connection){.fd = fd};
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_family == AF_UNIX &&
            strcmp(peer.sun_path, world.socket) == 0 && readlink(path, found->number, sizeof found->number - 1) > 0)
            return true;
    }
    return false;
}

static bool is_another(void *arg)
{
    struct connection *before = arg, now;
    return find_connection(&now) && strcmp(now.number, before->number) != 0;
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
                                      {"O26 two threads watch", o26_two_threads_watch},
                                      {"O26 the table ends", o26_the_table_ends},
                                      {"O26 the client ends", o26_the_client_ends},
                                      {"O26 the keeper ends", o26_the_keeper_ends},
                                      {"O26 the keeper ends unheard", o26_the_keeper_ends_unheard},
                                      {"O26 the namespace ends", o26_the_namespace_ends},
                                      {"O26 the connection ends", o26_the_connection_ends},
                                      {NULL, NULL}};
