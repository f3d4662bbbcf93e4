/* SPDX-License-Identifier: MIT */
/*
 * The interface's errors: joining a namespace, waiting, orders to the keeper, looking from outside, sentences for
 * errors. api_tables.c and api_objects.c have the rest, api_fake.c a keeper that is none.
 */
#include "api.h"

#include <heir/admin.h>
#include <heir/inspect.h>
#include <heir/keeper.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char name63[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
static const char name64[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

/* ---- Sentences ---------------------------------------------------------------------------------------- */

static void strerror_knows_all(void)
{
    static const int known[] = {
        EINVAL, ENOTCONN, EUCLEAN, ECONNREFUSED, EPROTONOSUPPORT, ENAMETOOLONG, EACCES,    ENOMEM,   EMFILE, ENOSPC,
        ENOSYS, EPERM,    ENOENT,  ETIMEDOUT,    EBUSY,           EEXIST,       ENOTSUP,   EMSGSIZE, ESRCH,  EPROTOTYPE,
        ESTALE, EFBIG,    ENOBUFS, ERANGE,       EAGAIN,          EALREADY,     ECANCELED, EDQUOT,   0};
    const char *unknown = heir_strerror(-99999);
    REQUIRE(unknown != NULL);
    CHECK(*unknown != 0);
    CHECK(heir_strerror(0) != NULL && *heir_strerror(0));
    for (int i = 0; known[i]; i++) {
        const char *text = heir_strerror(-known[i]);
        if (!CHECK(text && strlen(text) > 5, "no sentence for %d", known[i]))
            continue;
        CHECK(strcmp(text, unknown) != 0, "%d is unknown", known[i]);
        CHECK_STR(heir_strerror(known[i]), text);
        for (int k = 0; k < i; k++)
            CHECK(strcmp(text, heir_strerror(-known[k])) != 0, "%d and %d are the same", known[i], known[k]);
    }
    CHECK(heir_strerror(INT32_MIN) != NULL);
    CHECK(heir_strerror(INT32_MAX) != NULL);
}

static void version_has_three_numbers(void)
{
    int major, minor, patch, end = 0;
    CHECK_EQ(sscanf(heir_version(), "%d.%d.%d%n", &major, &minor, &patch, &end), 3);
    CHECK_EQ(heir_version()[end], 0);
    CHECK_STR(heir_version(), HEIR_VERSION);
}

/* ---- Joining ------------------------------------------------------------------------------------------ */

static void open_bad_arguments(void)
{
    static const char *const bad_role[] = {"", ".a", ".", "a/b", "a b", "a\n", "\xc3\xa4", name64, NULL};
    static const char *const bad_ns[] = {"", ".a", "a.b", "a/b", "../a", "a b", name64, NULL};
    struct heir *client = NULL;
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK_RC(heir_open(NULL, NULL), -EINVAL);
    for (int i = 0; bad_role[i]; i++) {
        struct heir_open_options options = {.name = bad_role[i]};
        int rc = heir_open(&options, &client);
        CHECK(rc == -EINVAL, "role \"%s\": %s", bad_role[i], error_text(rc));
        if (rc == 0)
            heir_close(client);
    }
    for (int i = 0; bad_ns[i]; i++) {
        struct heir_open_options options = {.ns = bad_ns[i]};
        int rc = heir_open(&options, &client);
        CHECK(rc == -EINVAL, "namespace \"%s\": %s", bad_ns[i], error_text(rc));
        if (rc == 0)
            heir_close(client);
    }
    for (size_t i = 0; i < sizeof(struct heir_open_options); i++) { /* any reserved byte that is set is refused */
        struct heir_open_options options = {.timeout_ms = 1000};
        size_t first = offsetof(struct heir_open_options, reserved_int);
        if (i < first)
            continue;
        memset((char *)&options + i, 1, 1);
        int rc = heir_open(&options, &client);
        if (rc == 0)
            heir_close(client);
        if (!CHECK(rc == -EINVAL, "reserved byte at %zu: %s", i, error_text(rc)))
            break;
    }
    CHECK_EQ(shm_count("c."), 0);
}

static void open_good_names(void)
{
    static const char *const good[] = {"a", "A.b_c-9", "a..", "9", name63, NULL};
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int i = 0; good[i]; i++) {
        struct heir *client = test_open(good[i]);
        uint64_t id = 0;
        CHECK(heir_id(client) != 0);
        CHECK_RC(heir_find(client, good[i], &id), 0);
        CHECK_EQ(id, heir_id(client));
        test_close(client);
    }
    struct heir *client = test_open(NULL); /* the program's name */
    uint64_t id = 0;
    CHECK_RC(heir_find(client, program_invocation_short_name, &id), 0);
    CHECK_EQ(id, heir_id(client));
}

/* A namespace begins anew, with its numbers, when a keeper stops and leaves nothing; so here it leaves a table. */
static void ids_are_never_used_again(void)
{
    uint64_t last = 0;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *first = test_open("first");
    struct heir_table *kept;
    CHECK_RC(heir_create(first, "kept", NULL, &kept), 0);
    last = heir_id(first);
    test_close(first);
    for (int i = 0; i < 50; i++) {
        struct heir *client = test_open("x");
        CHECK(heir_id(client) > last, "%llu after %llu", (unsigned long long)heir_id(client), (unsigned long long)last);
        last = heir_id(client);
        test_close(client);
        if (i == 25) {
            CHECK_EQ(keeper_stop(), 0);
            REQUIRE_EQ(keeper_start(NULL), 0);
        }
    }
    CHECK_EQ(heir_id(NULL), 0);
}

static void open_without_keeper(void)
{
    struct heir *client = NULL;
    struct heir_open_options options = {.timeout_ms = 50};
    char path[200];
    CHECK_RC(heir_open(&options, &client), -ECONNREFUSED);
    snprintf(path, sizeof path, "%s/none/s", world.dir);
    options.socket = path;
    CHECK_RC(heir_open(&options, &client), -ECONNREFUSED);
    struct heir_keeper_status status;
    options.socket = NULL;
    CHECK_RC(heir_ping(&options, &status), -ECONNREFUSED);
    CHECK_RC(heir_revoke(&options, "t", false), -ECONNREFUSED);
    /* its socket is there, but nobody listens */
    REQUIRE_EQ(keeper_start(NULL), 0);
    keeper_kill();
    CHECK(access(world.socket, F_OK) == 0);
    CHECK_RC(heir_open(&options, &client), -ECONNREFUSED);
    CHECK_RC(heir_ping(&options, &status), -ECONNREFUSED);
    REQUIRE_EQ(keeper_start(NULL), 0); /* takes the dead one's socket over */
    CHECK_RC(heir_ping(&options, &status), 0);
}

static int open_default(struct agent_self *self, void *arg)
{
    (void)arg;
    return heir_open(&(struct heir_open_options){.timeout_ms = -1}, &self->client);
}

static void open_waits_for_the_keeper(void)
{
    struct agent *agent = agent_new(NULL);
    CHECK_RC(agent_call_send(agent, open_default, NULL, 0), 0);
    CHECK_RC(agent_answer(agent, 100), AGENT_HUNG); /* -1: for ever */
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK_RC(agent_answer(agent, PATIENCE), 0);
    CHECK_RC(agent_end(agent), 0);
}

static void socket_path_too_long(void)
{
    char path[200];
    struct heir *client = NULL;
    struct heir_keeper *keeper = NULL;
    struct heir_keeper_status status;
    memset(path, 'x', sizeof path);
    memcpy(path, "/tmp/", 5);
    path[108] = 0; /* one byte more than fits */
    struct heir_open_options options = {.socket = path, .timeout_ms = 50};
    CHECK_RC(heir_open(&options, &client), -ENAMETOOLONG);
    CHECK_RC(heir_ping(&options, &status), -ENAMETOOLONG);
    CHECK_RC(heir_revoke(&options, "t", false), -ENAMETOOLONG);
    CHECK_RC(heir_keeper_start(&(struct heir_keeper_options){.socket = path}, &keeper), -ENAMETOOLONG);
    path[107] = 0;
    CHECK_RC(heir_open(&options, &client), -ECONNREFUSED);
    setenv("HEIR_SOCKET", path, 1);
    path[107] = 'x';
    setenv("HEIR_SOCKET", path, 1);
    CHECK_RC(heir_open(NULL, &client), -ENAMETOOLONG);
}

/* The address of section 3 of the design, when neither the option nor HEIR_SOCKET says it. */
static void default_socket(void)
{
    char folder[150], path[300];
    struct heir_keeper_status status;
    snprintf(folder, sizeof folder, "%s/heir", world.dir);
    snprintf(path, sizeof path, "%s/%s.sock", folder, world.ns);
    REQUIRE(mkdir(folder, 0700) == 0);
    REQUIRE(strlen(path) <= 107);
    snprintf(world.socket, sizeof world.socket, "%.107s", path);
    REQUIRE_EQ(keeper_start(NULL), 0);
    unsetenv("HEIR_SOCKET");
    const char *was = getenv("XDG_RUNTIME_DIR");
    char *keep = was ? strdup(was) : NULL;
    setenv("XDG_RUNTIME_DIR", world.dir, 1);
    CHECK_RC(heir_ping(NULL, &status), 0);
    CHECK_EQ(status.pid, keeper_pid());
    unsetenv("HEIR_NAMESPACE"); /* then it is "default", where nobody is */
    CHECK_RC(heir_ping(&(struct heir_open_options){.timeout_ms = 50}, &status), -ECONNREFUSED);
    CHECK_RC(heir_ping(&(struct heir_open_options){.ns = world.ns}, &status), 0);
    if (keep)
        setenv("XDG_RUNTIME_DIR", keep, 1);
    else
        unsetenv("XDG_RUNTIME_DIR");
    free(keep);
    CHECK_EQ(keeper_stop(), 0);
    snprintf(path, sizeof path, "%s/%s.sock.lock", folder, world.ns);
    unlink(path);
    CHECK(rmdir(folder) == 0, "%s", strerror(errno));
}

static void *close_it(void *client)
{
    return (void *)(intptr_t)heir_close(client);
}

static void close_errors(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *client = test_open("a");
    pthread_t thread;
    void *rc = NULL;
    REQUIRE(pthread_create(&thread, NULL, close_it, client) == 0);
    pthread_join(thread, &rc);
    CHECK_RC((int)(intptr_t)rc, -EPERM);
    CHECK(heir_id(client) != 0); /* nothing was done */
    uint64_t id;
    CHECK_RC(heir_find(client, "a", &id), 0);
    CHECK_RC(heir_close(NULL), 0);
    keeper_kill(); /* without a keeper it succeeds at once */
    test_close(client);
}

/* A client needs five descriptors. With fewer to be had it fails and keeps none. */
static int open_with_few(struct agent_self *self, void *arg)
{
    (void)arg;
    int before = count_fds(0), failed = 0;
    for (int more = 0; more < 16; more++) {
        struct rlimit limit = {32 + (rlim_t)more, 64};
        for (int fd = 0; fd < 32 && more == 0; fd++) /* fill what is below */
            dup(2);
        if (more == 0)
            before = count_fds(0);
        if (setrlimit(RLIMIT_NOFILE, &limit))
            return -errno;
        int rc = heir_open(&(struct heir_open_options){.timeout_ms = 1000}, &self->client);
        if (rc == -EMFILE)
            failed++;
        else if (rc)
            return rc;
        if (rc == 0 && more < 3)
            return -EOVERFLOW;
        if (rc == 0 && (rc = heir_close(self->client)))
            return rc;
        self->client = NULL;
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){64, 64});
        if (count_fds(0) != before)
            return -ENOTUNIQ;
        if (rc == 0 && more >= 12)
            break;
    }
    self->answer.number = (uint64_t)failed;
    return 0;
}

static void open_without_descriptors(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *agent = agent_new(NULL);
    CHECK_RC(agent_call(agent, open_with_few, NULL, 0), 0);
    CHECK(agent->answer.number >= 1 && agent->answer.number < 12, "%d times -EMFILE", (int)agent->answer.number);
    CHECK_RC(agent_end(agent), 0);
}

/* ---- Waiting, finding --------------------------------------------------------------------------------- */

static void wait_and_find(void)
{
    struct heir_event event;
    uint64_t id = 0;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *client = test_open("a");
    CHECK_RC(heir_wait(NULL, 0, &event), -EINVAL);
    CHECK_RC(heir_wait(client, 0, NULL), -EINVAL);
    CHECK_RC(heir_wait(client, 0, &event), -ETIMEDOUT);
    int64_t begin = now_ms();
    CHECK_RC(heir_wait(client, 50, &event), -ETIMEDOUT);
    CHECK(now_ms() - begin >= 49, "it came back after %d ms", (int)(now_ms() - begin));
    CHECK(heir_fd(client) >= 0);
    CHECK(heir_fd(NULL) < 0);
    CHECK_RC(heir_find(NULL, "a", &id), -EINVAL);
    CHECK_RC(heir_find(client, NULL, &id), -EINVAL);
    CHECK_RC(heir_find(client, "a", NULL), -EINVAL);
    CHECK_RC(heir_find(client, "", &id), -EINVAL);
    CHECK_RC(heir_find(client, ".a", &id), -EINVAL);
    CHECK_RC(heir_find(client, name64, &id), -EINVAL);
    CHECK_RC(heir_find(client, "nobody", &id), -ENOENT);
    CHECK_RC(heir_find(client, "a", &id), 0);
    CHECK_EQ(id, heir_id(client));
    struct heir *second = test_open("a"); /* the one that has borne it longest */
    CHECK_RC(heir_find(second, "a", &id), 0);
    CHECK_EQ(id, heir_id(client));
    test_close(client);
    CHECK_RC(heir_find(second, "a", &id), 0);
    CHECK_EQ(id, heir_id(second));
}

/* ---- Orders, looking ---------------------------------------------------------------------------------- */

static void admin_errors(void)
{
    struct heir_keeper_status status;
    struct heir_table *table = NULL;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *client = test_open("a");
    memset(&status, 0xff, sizeof status);
    CHECK_RC(heir_ping(NULL, &status), 0);
    CHECK_EQ(status.pid, keeper_pid());
    CHECK_STR(status.version, heir_version());
    CHECK_EQ(status.clients, 1);
    CHECK_EQ(status.tables, 0);
    CHECK_EQ(status.damaged, 0);
    for (size_t i = 0; i < sizeof status.reserved / sizeof status.reserved[0]; i++)
        CHECK_EQ(status.reserved[i], 0);
    CHECK_RC(heir_ping(NULL, NULL), -EINVAL);
    CHECK_RC(heir_revoke(NULL, NULL, false), -EINVAL);
    CHECK_RC(heir_revoke(NULL, "", false), -EINVAL);
    CHECK_RC(heir_revoke(NULL, "a/b", false), -EINVAL);
    CHECK_RC(heir_revoke(NULL, "t", false), -ENOENT);
    REQUIRE_RC(heir_create(client, "t", NULL, &table), 0);
    CHECK_RC(heir_begin(table), 0);
    CHECK_RC(heir_revoke(NULL, "t", false), -EBUSY);
    CHECK_RC(heir_commit(table), 0);
    CHECK_RC(heir_revoke(NULL, "t", false), 0);
    CHECK_RC(heir_revoke(NULL, "t", false), -EALREADY);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), -ESTALE);
}

static int count_table(const struct heir_info *info, int error, void *arg)
{
    (void)info;
    ++*(int *)arg;
    return error ? error : *(int *)arg == 2 ? 42 : 0;
}

static int count_client(const struct heir_client_info *info, int error, void *arg)
{
    if (error)
        return error;
    if (info->pid != getpid() || info->state != 'R')
        return -EBADMSG;
    ++*(int *)arg;
    return 0;
}

static void inspect_errors(void)
{
    struct heir_table *table = NULL, *outside = NULL;
    int tables = 0, count = 0;
    char value[8];
    size_t len = sizeof value;
    CHECK_RC(heir_inspect_tables("no-such-namespace", count_table, &tables), 0);
    CHECK_EQ(tables, 0);
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *client = test_open("a");
    CHECK_RC(heir_inspect_tables(NULL, NULL, NULL), -EINVAL);
    CHECK_RC(heir_inspect_tables("a/b", count_table, &tables), -EINVAL);
    CHECK_RC(heir_inspect_clients(NULL, NULL, NULL), -EINVAL);
    CHECK_RC(heir_inspect_clients(NULL, count_client, &count), 0);
    CHECK_EQ(count, 1);
    CHECK_RC(heir_inspect_open(NULL, "t", &outside), -ENOENT);
    CHECK_RC(heir_inspect_open(NULL, NULL, &outside), -EINVAL);
    CHECK_RC(heir_inspect_open(NULL, "t", NULL), -EINVAL);
    CHECK_RC(heir_inspect_open(NULL, "../x", &outside), -EINVAL);
    REQUIRE_RC(heir_create(client, "t", NULL, &table), 0);
    REQUIRE_RC(heir_put(table, "k", 1, "v", 1), 0);
    REQUIRE_RC(heir_create(client, "u", NULL, &table), 0);
    CHECK_RC(heir_inspect_tables(NULL, count_table, &tables), 42);
    REQUIRE_RC(heir_inspect_open(NULL, "t", &outside), 0);
    CHECK_RC(heir_get(outside, "k", 1, value, &len), 0);
    CHECK_BYTES(value, len, "v", 1);
    CHECK_RC(heir_has(outside, "x", 1), -ENOENT);
    CHECK_RC(heir_put(outside, "k", 1, "w", 1), -EPERM);
    CHECK_RC(heir_begin(outside), -EPERM);
    heir_inspect_close(outside);
    heir_inspect_close(NULL);
}

static const struct test tests[] = {{"strerror knows all", strerror_knows_all},
                                    {"version has three numbers", version_has_three_numbers},
                                    {"open: bad arguments", open_bad_arguments},
                                    {"open: good names", open_good_names},
                                    {"ids are never used again", ids_are_never_used_again},
                                    {"open: no keeper", open_without_keeper},
                                    {"open: waits for the keeper", open_waits_for_the_keeper},
                                    {"open: socket path too long", socket_path_too_long},
                                    {"open: default socket", default_socket},
                                    {"open: no descriptors", open_without_descriptors},
                                    {"close: errors", close_errors},
                                    {"wait and find: errors", wait_and_find},
                                    {"orders: errors", admin_errors},
                                    {"inspect: errors", inspect_errors},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "clients", .tests = tests},
                                        {.name = "tables", .tests = api_tables},
                                        {.name = "objects", .tests = api_objects},
                                        {.name = "false keepers", .tests = api_fake},
                                        {.name = NULL}};
    return test_main(argc, argv, suites);
}
