/* SPDX-License-Identifier: MIT */
/*
 * heirctl as its users see it: what each verb prints (text, and JSON that is parsed), exit status, wrong usage, no
 * keeper; and `run`, which starts a command again.
 */
#include "heirctl.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct output out;

/* ---- Helpers ------------------------------------------------------------------------------------------ */

bool check_ctl(const char *file, int line, const char *function, int code, const char *const argv[], const char *in)
{
    char text[256];
    program_run(argv, in, &out);
    snprintf(text, sizeof text, "exit status of heirctl %s %s", argv[1], argv[1] && argv[2] ? argv[2] : "");
    bool good = check_eq(file, line, function, out.code, code, text);
    if (code)
        good &= check_true(file, line, function, out.err[0] != 0, "it says why", " %s", text);
    if (!good)
        fprintf(stderr, "stdout: %s\nstderr: %s\n", out.out, out.err);
    return good;
}

/* An error is an object, too. */
json_t *check_json(const char *file, int line, const char *function, int code, const char *const argv[])
{
    json_error_t error;
    check_ctl(file, line, function, code, argv, NULL);
    json_t *object = json_loads(out.out, JSON_DECODE_ANY, &error);
    check_true(file, line, function, object != NULL, "stdout is JSON", " line %d: %s: %s", error.line, error.text,
               out.out);
    if (object && out.code)
        check_true(file, line, function, json_is_string(json_object_get(json_object_get(object, "error"), "message")),
                   "the error has a message", " %s", out.out);
    return object;
}

long long number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    CHECK(json_is_integer(value), "%s is no number in %s", key, out.out);
    return json_integer_value(value);
}

const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    CHECK(value != NULL, "%s is no text in %s", key, out.out);
    return value ? value : "";
}

void check_shell(const char *file, int line, const char *function, int code, const char *format, ...)
{
    char script[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(script, sizeof script, format, arguments);
    va_end(arguments);
    if (program_run((const char *const[]){"/bin/sh", "-c", script, NULL}, NULL, &out) != code)
        fprintf(stderr, "stdout: %s\nstderr: %s\n", out.out, out.err);
    check_eq(file, line, function, out.code, code, script);
}

long long counter_in(const json_t *object, const char *name, const char *label)
{
    const json_t *list = json_object_get(object, "counters");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i), *of = json_object_get(c, "label_value");
        if (strcmp(text(c, "name"), name) == 0 && strcmp(json_is_null(of) ? "" : text(c, "label_value"), label) == 0)
            return number(c, "value");
    }
    return -1;
}

long long counter(const char *name, const char *label)
{
    json_t *object = CTL_JSON(0, "stats");
    long long value = counter_in(object, name, label);
    json_decref(object);
    return value;
}

struct agent *keeper_and_owner(const char *table)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("baker");
    DO(a, 0, "create %s", table);
    return a;
}

void damage(const char *table)
{
    char path[256];
    shm_path(path, sizeof path, "t.", table);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    REQUIRE(fd >= 0, "%s", path);
    CHECK_EQ(pwrite(fd, "spoilt", 6, 1), 6);
    close(fd);
}

/* ---- Looking ------------------------------------------------------------------------------------------ */

static void ls(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    CTL(0, "ls");
    CHECK_STR(out.out, "");
    struct agent *a = agent_new("baker");
    DO(a, 0, "create bread heir=helper");
    DO(a, 0, "create cake access=public heir=%s", HEIR_NOBODY);
    DO(a, 0, "put bread k v");
    DO(a, 0, "create apples");
    DO(a, 0, "release apples");
    CTL(0, "ls");
    SAYS("bread");
    SAYS("baker");
    SAYS("cake");
    SAYS("apples");
    SAYS("keeper");
    CHECK(strstr(out.out, "apples") < strstr(out.out, "bread"), "sorted by name: %s", out.out);
    json_t *object = CTL_JSON(0, "ls");
    const json_t *tables = json_object_get(object, "tables");
    CHECK_STR(text(object, "namespace"), world.ns);
    if (CHECK_EQ(json_array_size(tables), 3)) {
        const json_t *bread = json_array_get(tables, 1), *owner = json_object_get(bread, "owner");
        CHECK_STR(text(bread, "name"), "bread");
        CHECK_STR(text(bread, "type"), "set");
        CHECK_STR(text(bread, "access"), "protected");
        CHECK_STR(text(bread, "heir"), "helper");
        CHECK_EQ(number(bread, "epoch"), 1);
        CHECK_EQ(number(bread, "objects"), 1);
        CHECK_EQ(number(bread, "max_bytes"), 1 << 30);
        CHECK(number(bread, "bytes_used") > 0);
        CHECK_EQ(number(owner, "id"), a->id);
        CHECK_EQ(number(owner, "pid"), a->pid);
        CHECK_STR(text(owner, "role"), "baker");
        CHECK_STR(text(json_array_get(tables, 2), "access"), "public");
        CHECK_STR(text(json_array_get(tables, 2), "heir"), "-");
        CHECK(json_is_null(json_object_get(json_array_get(tables, 0), "heir")));
        CHECK_EQ(number(json_object_get(json_array_get(tables, 0), "owner"), "id"), 0);
    }
    json_decref(object);
}

static void info(void)
{
    struct agent *a = keeper_and_owner("t key=4 value=8 mode=0640 max=1048576 heir=helper"), *b = agent_new("second");
    DO(a, 0, "put t abcd 12345678");
    agent_send(b, "claim t -1 none");
    json_t *object = NULL;
    for (int64_t end = now_ms() + patience(PATIENCE); now_ms() < end;) {
        json_decref(object);
        object = CTL_JSON(0, "info", "t");
        if (number(object, "waiting") == 1)
            break;
    }
    CHECK_EQ(number(object, "waiting"), 1);
    CHECK_STR(text(object, "name"), "t");
    CHECK_STR(text(object, "mode"), "0640");
    CHECK_EQ(number(object, "key_size"), 4);
    CHECK_EQ(number(object, "value_size"), 8);
    CHECK_EQ(number(object, "objects"), 1);
    CHECK_EQ(number(object, "max_bytes"), 1 << 20);
    CHECK_EQ(number(object, "uid"), geteuid());
    CHECK_EQ(number(object, "gid"), getegid());
    CHECK_EQ(number(json_object_get(object, "owner"), "id"), a->id);
    CHECK(number(object, "committed") >= number(object, "horizon"));
    json_decref(object);
    CTL(0, "info", "t");
    SAYS("baker");
    SAYS("helper");
    SAYS("0640");
    DO(a, 0, "release t");
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    CTL(1, "info", "none");
    COMPLAINS("none");
    json_decref(CTL_JSON(1, "info", "none"));
}

static void clients(void)
{
    struct agent *a = keeper_and_owner("t"), *b = agent_new("second");
    DO(a, 0, "create u");
    agent_stop(b);
    CTL(0, "clients");
    SAYS("baker");
    SAYS("second");
    json_t *object = CTL_JSON(0, "clients");
    const json_t *list = json_object_get(object, "clients");
    if (CHECK_EQ(json_array_size(list), 2)) {
        CHECK_EQ(number(json_array_get(list, 0), "id"), a->id);
        CHECK_STR(text(json_array_get(list, 0), "role"), "baker");
        CHECK_STR(text(json_array_get(list, 0), "state"), "running");
        CHECK_EQ(number(json_array_get(list, 0), "pid"), a->pid);
        CHECK_EQ(number(json_array_get(list, 0), "tables"), 2);
        CHECK_EQ(number(json_array_get(list, 1), "tables"), 0);
        CHECK_STR(text(json_array_get(list, 1), "state"), "stopped");
    }
    json_decref(object);
    agent_continue(b);
}

/* Bytes that are no text are shown and taken as 0x...; what was printed can be given back. */
static void get_put_del(void)
{
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "put t k a-value");
    DO(a, 0, "add t n 258");
    CTL(0, "get", "t", "k");
    CHECK_STR(out.out, "a-value\n");
    CTL(0, "get", "t", "n");
    CHECK_STR(out.out, "0x0201000000000000\n");
    CTL(0, "get", "t", "n", "--integer");
    CHECK_STR(out.out, "258\n");
    json_t *object = CTL_JSON(0, "get", "t", "n");
    CHECK_EQ(number(object, "integer"), 258);
    CHECK_EQ(number(object, "length"), 8);
    json_decref(object);
    CTL(1, "put", "t", "k", "w"); /* a living client owns it */
    COMPLAINS("baker");
    CTL(1, "del", "t", "k");
    DO(a, 0, "release t");
    CTL(0, "put", "t", "k", "0x00ff10");
    CTL(0, "get", "t", "k");
    CHECK_STR(out.out, "0x00ff10\n");
    CTL(0, "put", "t", "0x6b32", "text");
    CTL(0, "get", "t", "k2");
    CHECK_STR(out.out, "text\n");
    CTL(0, "put", "t", "empty", "");
    CTL(0, "get", "t", "empty");
    CHECK_STR(out.out, "\n");
    CTL(0, "put", "t", "minus", "-5");
    CTL(0, "get", "t", "minus");
    CHECK_STR(out.out, "-5\n");
    object = CTL_JSON(0, "put", "t", "k", "v");
    CHECK_STR(text(object, "value"), "v");
    json_decref(object);
    CTL(0, "del", "t", "k");
    CTL(1, "del", "t", "k");
    CTL(1, "get", "t", "k");
    json_decref(CTL_JSON(1, "get", "t", "k"));
    object = CTL_JSON(0, "del", "t", "k2");
    CHECK(json_is_true(json_object_get(object, "deleted")));
    json_decref(object);
    CTL(1, "get", "none", "k");
    CTL(1, "put", "none", "k", "v");
    CHECK_EQ(shm_count("t."), 1);   /* it makes no tables */
    CTL(2, "put", "t", "0x1", "v"); /* half a byte */
    CTL(2, "put", "t", "0xzz", "v");
    CTL(2, "get", "t", "");
    DO(a, 0, "claim t 0");
    DO(a, 0, "get t minus");
    CHECK_STR(a->answer.value, "-5");
    DO(a, -ENOENT, "has t k");
}

/* All values of a key, in the order of their insertion. */
static void get_from_a_bag(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("baker");
    DO(a, 0, "create t type=%d", (int)HEIR_BAG);
    DO(a, 0, "release t");
    CTL(0, "put", "t", "k", "second-to-none");
    CTL(0, "put", "t", "k", "first");
    CTL(0, "put", "t", "k", "first");
    CTL(0, "put", "t", "k2", "other");
    CTL(0, "get", "t", "k");
    CHECK_STR(out.out, "second-to-none\nfirst\n");
    json_t *object = CTL_JSON(0, "get", "t", "k");
    CHECK_STR(text(object, "value"), "second-to-none");
    CHECK_EQ(json_array_size(json_object_get(object, "values")), 2);
    json_decref(object);
    object = CTL_JSON(0, "info", "t");
    CHECK_STR(text(object, "type"), "bag");
    json_decref(object);
    CTL(0, "del", "t", "k");
    CTL(1, "get", "t", "k");
    CTL(0, "get", "t", "k2");
}

static void put_into_a_public_one(void)
{
    struct agent *a = keeper_and_owner("t access=public");
    CTL(0, "put", "t", "k", "v");
    CTL(0, "del", "t", "k");
    CTL(0, "put", "t", "k", "w");
    DO(a, 0, "get t k");
    CHECK_STR(a->answer.value, "w");
    DO(a, 0, "info t");
    CHECK_EQ(a->answer.info.epoch, 1);
    DO(a, 0, "create fixed key=4 value=4 access=public");
    CTL(1, "put", "fixed", "k", "v");
    CTL(0, "put", "fixed", "abcd", "1234");
}

static void revoke_it(void)
{
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "begin t");
    CTL(1, "revoke", "t");
    DO(a, 0, "commit t");
    CTL(0, "revoke", "t");
    SAYS("baker");
    DO(a, -ESTALE, "put t k v");
    CTL(1, "revoke", "t");
    CTL(1, "revoke", "none");
    DO(a, 0, "claim t 0");
    json_t *object = CTL_JSON(0, "revoke", "t");
    CHECK_STR(text(object, "table"), "t");
    CHECK_EQ(number(json_object_get(object, "from"), "pid"), a->pid);
    json_decref(object);
    json_decref(CTL_JSON(1, "revoke", "t"));
}

/* In the middle of a write: it is killed, and what it had begun is undone. */
static void revoke_by_force(void)
{
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "put t k v");
    CTL(0, "revoke", "t", "--force"); /* not in the middle of one: it lives */
    DO(a, -ESTALE, "put t k w");
    DO(a, 0, "claim t 0");
    DO(a, 0, "begin t");
    DO(a, 0, "put t k w");
    CTL(1, "revoke", "t");
    COMPLAINS("--force");
    DO(a, 0, "put t k x");
    json_t *object = CTL_JSON(0, "revoke", "--force", "t");
    CHECK_EQ(number(json_object_get(object, "from"), "pid"), a->pid);
    CHECK(json_is_true(json_object_get(object, "forced")));
    json_decref(object);
    CHECK_RC(agent_reap(a, PATIENCE), 0);
    CTL(0, "get", "t", "k");
    CHECK_STR(out.out, "v\n");
    object = CTL_JSON(0, "info", "t");
    CHECK_STR(text(object, "reason"), "revoked");
    CHECK_EQ(number(json_object_get(object, "owner"), "id"), 0);
    CHECK_EQ(number(json_object_get(object, "from"), "id"), a->id);
    json_decref(object);
    CTL(2, "ls", "--force");
    CTL(2, "revoke", "--force");
}

static bool is_the_keepers(void *arg)
{
    json_t *object = CTL_JSON(0, "info", arg);
    bool is = number(json_object_get(object, "owner"), "id") == 0;
    json_decref(object);
    return is;
}

/* What killed the worker, and from whom the table came. */
static void info_tells_of_a_death(void)
{
    static const struct {
        const char *how, *cause, *signal, *text;
        int code;
    } ends[] = {{"kill", "signal", "SIGKILL", "signal 9, SIGKILL", 9},
                {"segv", "signal", "SIGSEGV", "signal 11, SIGSEGV", 11},
                {"exit", "exit", NULL, "exit 0", 0}};
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct agent *a = agent_new("baker");
        DO(a, 0, "claim t 0");
        json_t *object = CTL_JSON(0, "info", "t");
        CHECK_STR(text(object, "reason"), i == 0 ? "created" : "claimed");
        if (i == 0)
            CHECK(json_is_null(json_object_get(object, "last_death")));
        json_decref(object);
        agent_send(a, "die %s", ends[i].how);
        CHECK(wait_until(is_the_keepers, (char[]){"t"}, PATIENCE));
        CHECK_RC(agent_reap(a, PATIENCE), 0); /* not before: what has been reaped tells nobody how it ended */
        object = CTL_JSON(0, "info", "t");
        const json_t *death = json_object_get(object, "last_death");
        CHECK_STR(text(object, "reason"), "inherited");
        CHECK_EQ(number(json_object_get(object, "from"), "id"), a->id);
        CHECK_STR(text(death, "cause"), ends[i].cause);
        CHECK_EQ(number(death, "code"), ends[i].code);
        if (ends[i].signal != NULL)
            CHECK_STR(text(death, "signal"), ends[i].signal);
        json_decref(object);
        CTL(0, "info", "t");
        SAYS(ends[i].text);
        SAYS("inherited from client");
    }
}

struct leased {
    unsigned lease_ms;
};

static int create_leased(struct agent_self *self, void *arg)
{
    const struct leased *leased = arg;
    struct heir_table *t;
    int r = heir_create(self->client, "leased", &(struct heir_table_options){.lease_ms = leased->lease_ms}, &t);
    if (r == 0)
        agent_note(self, "leased", t);
    return r;
}

static void info_tells_of_a_lease(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("baker");
    struct leased leased = {20};
    CHECK_RC(agent_call(a, create_leased, &leased, sizeof leased), 0);
    CTL(0, "info", "leased");
    SAYS("lease          20ms");
    CHECK(wait_until(is_the_keepers, (char[]){"leased"}, PATIENCE));
    json_t *object = CTL_JSON(0, "info", "leased");
    CHECK_EQ(number(object, "lease_ms"), 20);
    CHECK_STR(text(object, "reason"), "revoked");
    CHECK(json_is_null(json_object_get(object, "last_death")));
    json_decref(object);
}

/* A client that notes its crash, and whose tables cannot be handed on yet, because there is no keeper. */
static int crash_noting(struct agent_self *self, void *arg)
{
    struct heir_table *t;
    (void)arg;
    int r = heir_open(&(struct heir_open_options){.name = "noter", .crash_note = 1}, &self->client);
    return r < 0 ? r : heir_create(self->client, "t", NULL, &t);
}

static int crash_now(struct agent_self *self, void *arg)
{
    (void)self;
    (void)arg;
    volatile uintptr_t nowhere = 0x10;
    *(volatile int *)nowhere = 1;
    return 0;
}

static void clients_tells_of_a_crash(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new(NULL);
    REQUIRE_RC(agent_call(a, crash_noting, NULL, 0), 0);
    keeper_kill();
    json_t *object = CTL_JSON(0, "clients");
    CHECK(json_is_null(json_object_get(json_array_get(json_object_get(object, "clients"), 0), "crash")));
    json_decref(object);
    agent_call_send(a, crash_now, NULL, 0);
    CHECK_RC(agent_reap(a, PATIENCE), 0);
    object = CTL_JSON(0, "clients");
    const json_t *crash = json_object_get(json_array_get(json_object_get(object, "clients"), 0), "crash");
    CHECK_EQ(number(crash, "code"), SIGSEGV);
    CHECK_STR(text(crash, "signal"), "SIGSEGV");
    CHECK_STR(text(crash, "address"), "0x10");
    json_decref(object);
    CTL(0, "clients");
    SAYS("crashes: signal 11, SIGSEGV at address 0x10");
    REQUIRE_EQ(keeper_start(NULL), 0);
}

static void ping(void)
{
    struct agent *a = keeper_and_owner("t");
    agent_kill(a);
    json_t *object = NULL;
    for (int64_t end = now_ms() + patience(PATIENCE); now_ms() < end;) {
        json_decref(object);
        object = CTL_JSON(0, "ping");
        if (number(object, "deaths") == 1)
            break;
    }
    CHECK_EQ(number(object, "deaths"), 1);
    CHECK_EQ(number(object, "pid"), keeper_pid());
    CHECK_EQ(number(object, "tables"), 1);
    CHECK_EQ(number(object, "clients"), 0);
    CHECK_STR(text(object, "version"), heir_version());
    json_decref(object);
    CTL(0, "ping");
    SAYS(world.ns);
}

/* ---- No keeper, wrong usage --------------------------------------------------------------------------- */

static void without_a_keeper(void)
{
    CTL(3, "ping");
    CTL(0, "ls"); /* nothing is there, and that is no error */
    CTL(0, "clients");
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "put t k v");
    keeper_kill();
    CTL(0, "ls");
    SAYS("baker");
    CTL(0, "info", "t");
    CTL(0, "clients");
    CTL(0, "get", "t", "k");
    CHECK_STR(out.out, "v\n");
    CTL(3, "put", "t", "k", "w");
    CHECK(strstr(out.err, "heird") || strstr(out.err, "keeper"), "%s", out.err); /* it says what to do */
    DO(a, 0, "put t k w"); /* the owner has not noticed any of it */
    agent_kill(a);
    CTL(0, "get", "t", "k");
    CHECK_STR(out.out, "w\n");
    REQUIRE_EQ(keeper_start(NULL), 0);
}

static void wrong_usage(void)
{
    char path[200];
    CTL(2, "nonsense");
    CHECK_STR(out.out, "");
    CTL(2, "--nonsense", "ls");
    CTL(2, "run", "--restarts", "x", "--", "true");
    CTL(2, "run", "--restarts", "0/10", "--", "true");
    program_run((const char *const[]){"heirctl", NULL}, NULL, &out);
    CHECK_EQ(out.code, 2);
    json_decref(CTL_JSON(2, "nonsense"));
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = 0;
    CTL(1, "--socket", path, "ping");
    CTL(0, "--help");
    CTL(0, "--version");
    SAYS(heir_version());
    CHECK_EQ(shm_count(""), 0);
}

static void options_name_the_namespace(void)
{
    keeper_and_owner("t");
    unsetenv("HEIR_NAMESPACE");
    unsetenv("HEIR_SOCKET");
    CTL(0, "--namespace", world.ns, "--socket", world.socket, "ping");
    CTL(0, "ls", "--namespace", world.ns);
    SAYS("baker");
    CTL(0, "--namespace", "no-such-one", "ls");
    CHECK(strstr(out.out, "baker") == NULL);
}

/* Looking never stops a writer, and needs nobody's cooperation. */
static void looking_at_a_stopped_owner(void)
{
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "put t k v");
    DO(a, 0, "begin t");
    DO(a, 0, "put t k half");
    agent_stop(a);
    CTL(0, "ls");
    SAYS("stopped");
    CTL(0, "get", "t", "k");
    CHECK_STR(out.out, "v\n");
    CTL(0, "info", "t");
    agent_continue(a);
    DO(a, 0, "commit t");
}

/* ---- run ---------------------------------------------------------------------------------------------- */

/* A shell that counts its starts in a file. */
static void run_restarts(void)
{
    char path[128], script[512], line[64] = "";
    int64_t begin = now_ms();
    snprintf(path, sizeof path, "%s/starts", world.dir);
    snprintf(script, sizeof script, "echo x >>%s; n=$(wc -l <%s); echo start $n; test $n -ge 3 || kill -9 $$", path,
             path);
    CTL(0, "run", "--", "sh", "-c", script); /* it dies twice, then ends well */
    CHECK(now_ms() - begin >= 300, "100 ms, then 200 ms: %d ms", (int)(now_ms() - begin));
    CHECK_STR(out.out, "start 1\nstart 2\nstart 3\n");
    COMPLAINS("SIGKILL");
    unlink(path);
    /* it gives up: 3 deaths */
    snprintf(script, sizeof script, "echo x >>%s; exit 7", path);
    CTL(1, "run", "--restarts", "3/60", "--", "sh", "-c", script);
    COMPLAINS("gave up");
    FILE *file = fopen(path, "re");
    int starts = 0;
    while (file && fgets(line, sizeof line, file))
        starts++;
    if (file)
        fclose(file);
    CHECK_EQ(starts, 3);
    unlink(path);
    CTL(1, "run", "--", "/no/such/command");
    COMPLAINS("/no/such/command");
    CTL(0, "run", "--", "true");
}

/* Told to end, it ends, and its command with it. */
static void run_is_ended(void)
{
    static const char *const argv[] = {"heirctl", "run", "--", "sh", "-c", "echo $$; exec sleep 1000", NULL};
    for (int how = 0; how < 2; how++) {
        char line[64] = "";
        struct program *program = program_start(argv);
        REQUIRE(program != NULL);
        CHECK(program_line(program, line, sizeof line, PATIENCE) > 0);
        pid_t child = (pid_t)atoi(line);
        CHECK(child > 0 && kill(child, 0) == 0);
        program_signal(program, how ? SIGKILL : SIGTERM);
        int code = program_wait(program, PATIENCE);
        CHECK_EQ(code, how ? 128 + SIGKILL : 128 + SIGTERM);
        CHECK(program_line(program, line, sizeof line, PATIENCE) == -EPIPE); /* nobody has its stdout any more */
    }
}

/* What it is for: a worker that counts in a table and crashes, and finds its count again. */
static void run_a_worker(void)
{
    char script[2048];
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t access=public");
    DO(a, 0, "put t count x");
    DO(a, 0, "release t");
    const char *folder = getenv("HEIR_TEST_BINDIR");
    snprintf(script, sizeof script,
             "c=$(%s/heirctl get t count); echo $c; test $c = xxxx && exit 0; %s/heirctl put t count x$c; kill -9 $$",
             folder, folder);
    CTL(0, "run", "--", "sh", "-c", script);
    CHECK_STR(out.out, "x\nxx\nxxx\nxxxx\n");
    /* --namespace and --socket are handed on */
    unsetenv("HEIR_NAMESPACE");
    unsetenv("HEIR_SOCKET");
    snprintf(script, sizeof script, "%s/heirctl get t count", folder);
    CTL(0, "--namespace", world.ns, "--socket", world.socket, "run", "--", "sh", "-c", script);
    CHECK_STR(out.out, "xxxx\n");
}

static const struct test tests[] = {{"ls", ls},
                                    {"info", info},
                                    {"clients", clients},
                                    {"get, put, del", get_put_del},
                                    {"get from a bag", get_from_a_bag},
                                    {"put into a public one", put_into_a_public_one},
                                    {"info: a death", info_tells_of_a_death},
                                    {"info: a lease", info_tells_of_a_lease},
                                    {"clients: a crash", clients_tells_of_a_crash},
                                    {"revoke", revoke_it},
                                    {"revoke: by force", revoke_by_force},
                                    {"ping", ping},
                                    {"without a keeper", without_a_keeper},
                                    {"wrong usage", wrong_usage},
                                    {"options name the namespace", options_name_the_namespace},
                                    {"looking at a stopped owner", looking_at_a_stopped_owner},
                                    {"run: restarts", run_restarts},
                                    {"run: is ended", run_is_ended},
                                    {"run: a worker", run_a_worker},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "heirctl", .tests = tests},
                                        {.name = "heirctl dump, load", .tests = dump_tests},
                                        {.name = "heirctl give, rm, purge, explain", .tests = admin_tests},
                                        {.name = "heirctl events, stats, watch", .tests = events_tests},
                                        {.name = "heirctl info, clients", .tests = clients_tests},
                                        {.name = "heirctl watch --changes", .tests = changes_tests},
                                        {.name = "heirctl: completion", .tests = completion_tests},
                                        {.name = "heirctl: each verb", .tests = verb_tests},
                                        {.name = NULL}};
    return test_main(argc, argv, suites);
}
