/* SPDX-License-Identifier: MIT */
/*
 * What heirctl tells of the living system: the namespace as a whole; clients in each state that they can be in; the
 * states of tables that are held for readers; and a reader that stands still, as heirctl itself may.
 */
#include "deaths.h"
#include "heirctl.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- The namespace ------------------------------------------------------------------------------------ */

static void info_of_the_namespace(void)
{
    CTL(0, "info"); /* nothing is there, and that is no error */
    SAYS("none answers");
    struct agent *a = keeper_and_owner("t"), *b = agent_new("second");
    DO(a, 0, "put t k v");
    DO(a, 0, "put t l v");
    DO(b, 0, "create u");
    agent_stop(b);
    json_t *object = CTL_JSON(0, "info");
    CHECK_STR(text(object, "namespace"), world.ns);
    CHECK_EQ(number(json_object_get(object, "keeper"), "pid"), keeper_pid());
    CHECK_EQ(number(object, "tables"), 2);
    CHECK_EQ(number(object, "unreadable"), 0);
    CHECK_EQ(number(object, "objects"), 2);
    CHECK_EQ(number(json_object_get(object, "clients"), "running"), 1);
    CHECK_EQ(number(json_object_get(object, "clients"), "stopped"), 1);
    CHECK_EQ(number(object, "pins"), 0);
    CHECK(json_is_null(json_object_get(object, "oldest_pin_ms")));
    CHECK_EQ(counter_in(object, "tables_created", ""), 2);
    CHECK_EQ(counter_in(object, "deaths", "signal"), 0);
    json_t *stats = CTL_JSON(0, "stats"); /* they are the same */
    CHECK(json_equal(json_object_get(object, "counters"), json_object_get(stats, "counters")));
    json_decref(stats);
    json_decref(object);
    CTL(0, "info");
    SAYS("clients        2: 1 running, 1 stopped");
    SAYS("  tables_created           2  tables created\n");
    agent_continue(b);
    keeper_kill();
    object = CTL_JSON(0, "info");
    CHECK(json_is_null(json_object_get(object, "keeper")));
    CHECK_EQ(counter_in(object, "tables_created", ""), 2);
    json_decref(object);
    damage("u");
    object = CTL_JSON(0, "info");
    CHECK_EQ(number(object, "tables"), 1);
    CHECK_EQ(number(object, "unreadable"), 1);
    json_decref(object);
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* Each counter of a table, by its way from the library to the page. */
static void info_counts(void)
{
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "put t k v");
    json_t *object = CTL_JSON(0, "info", "t");
    long long commits = number(object, "committed"), history = number(object, "history");
    CHECK_EQ(number(object, "rollbacks"), 0);
    json_decref(object);
    for (int i = 0; i < 3; i++)
        DO(a, 0, "put t k w");
    DO(a, 0, "begin t");
    DO(a, 0, "put t k x");
    DO(a, 0, "put t l x");
    DO(a, 0, "abort t");
    object = CTL_JSON(0, "info", "t");
    CHECK_EQ(number(object, "committed"), commits + 3);
    CHECK_EQ(number(object, "history"), history + 3);
    CHECK_EQ(number(object, "rollbacks"), 1);
    CHECK_EQ(number(object, "undone"), 0);
    CHECK(number(object, "created_age_ms") >= number(object, "age_ms"));
    json_decref(object);
    DO(a, 0, "begin t");
    DO(a, 0, "put t k x");
    DO(a, 0, "put t l x");
    agent_kill(a);
    a = agent_new("baker");
    DO(a, 0, "claim t -1 none");
    object = CTL_JSON(0, "info", "t");
    CHECK_EQ(number(object, "undone"), 2);
    CHECK_EQ(number(object, "rollbacks"), 2);
    json_decref(object);
    CTL(0, "info", "t");
    SAYS("undone         2 changes that were not committed");
    SAYS("how often unfinished changes were taken back");
}

/* ---- Pins --------------------------------------------------------------------------------------------- */

static void pins_are_shown(void)
{
    struct heir_table *t, *u;
    struct heir_snapshot *first, *second;
    char expected[128];
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("reader");
    REQUIRE_RC(heir_create(me, "t", NULL, &t), 0);
    REQUIRE_RC(heir_create(me, "u", NULL, &u), 0);
    REQUIRE_RC(heir_put(t, "k", 1, "v", 1), 0);
    REQUIRE_RC(heir_snapshot_open(t, &first), 0);
    usleep(20000);
    for (int i = 0; i < 7; i++)
        REQUIRE_RC(heir_put(t, "k", 1, "w", 1), 0);
    REQUIRE_RC(heir_snapshot_open(t, &second), 0);
    for (int i = 0; i < 2; i++)
        REQUIRE_RC(heir_put(t, "k", 1, "w", 1), 0);
    json_t *object = CTL_JSON(0, "clients");
    const json_t *client = json_array_get(json_object_get(object, "clients"), 0);
    const json_t *pins = json_object_get(client, "pinned"), *pin = json_array_get(pins, 0);
    CHECK_EQ(number(client, "pins"), 2);
    CHECK(number(client, "memory") > 100000 && number(client, "memory") < 1 << 30, "%lld", number(client, "memory"));
    if (CHECK_EQ(json_array_size(pins), 2)) {
        CHECK_EQ(number(pin, "client"), heir_id(me));
        CHECK_STR(text(pin, "table"), "t");
        CHECK_EQ(number(pin, "transaction"), heir_snapshot_state(first));
        CHECK_EQ(number(pin, "behind"), 9);
        CHECK(json_is_false(json_object_get(pin, "broken")));
        CHECK(number(pin, "age_ms") >= 20 && number(pin, "age_ms") < 1000000, "%lld", number(pin, "age_ms"));
        CHECK(number(pin, "age_ms") >= number(json_array_get(pins, 1), "age_ms") + 20);
        CHECK_EQ(number(json_array_get(pins, 1), "behind"), 2);
    }
    json_t *info = CTL_JSON(0, "info", "t");
    CHECK_EQ(json_array_size(json_object_get(info, "pinned")), 2);
    CHECK_EQ(number(json_array_get(json_object_get(info, "pinned"), 0), "client"), heir_id(me));
    json_decref(info);
    json_decref(object);
    info = CTL_JSON(0, "info", "u");
    CHECK_EQ(json_array_size(json_object_get(info, "pinned")), 0);
    json_decref(info);
    object = CTL_JSON(0, "info");
    CHECK_EQ(number(object, "pins"), 2);
    CHECK(number(object, "oldest_pin_ms") >= 20);
    json_decref(object);
    CTL(0, "clients");
    snprintf(expected, sizeof expected,
             "client %d (reader, pid %d) reads the table t: transaction %d, 9 behind, since ", (int)heir_id(me),
             (int)getpid(), (int)heir_snapshot_state(first));
    SAYS(expected);
    CTL(0, "info", "t");
    SAYS("pins           2\n");
    SAYS(", 9 behind, since ");
    CTL(0, "stats", "--prometheus");
    SAYS("heir_pins{namespace=");
    /* the next keeper knows since when */
    keeper_kill();
    REQUIRE_EQ(keeper_start(NULL), 0);
    object = CTL_JSON(0, "info");
    CHECK_EQ(number(object, "pins"), 2);
    CHECK(number(object, "oldest_pin_ms") >= 20);
    json_decref(object);
    CHECK_RC(heir_snapshot_close(first), 0);
    CHECK_RC(heir_snapshot_close(second), 0);
    object = CTL_JSON(0, "clients");
    client = json_array_get(json_object_get(object, "clients"), 0);
    CHECK_EQ(number(client, "pins"), 0);
    CHECK_EQ(json_array_size(json_object_get(client, "pinned")), 0);
    json_decref(object);
}

/* ---- States ------------------------------------------------------------------------------------------- */

struct expected {
    uint64_t id;
    const char *state;
};

/* In the list of clients; "gone" when it is not there. */
static bool client_is(void *arg)
{
    const struct expected *expected = arg;
    const char *state = "gone";
    json_t *object = CTL_JSON(0, "clients");
    const json_t *list = json_object_get(object, "clients");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if ((uint64_t)number(json_array_get(list, i), "id") == expected->id)
            state = text(json_array_get(list, i), "state");
    }
    bool is = strcmp(state, expected->state) == 0;
    json_decref(object);
    return is;
}

/* `clients`, and `ls` in the line of the only table: text and JSON. */
static void shown_as(const struct agent *a, const char *state)
{
    struct expected expected = {a->id, state};
    CHECK(wait_until(client_is, &expected, patience(PATIENCE)), "%s: %s", state, out.out);
    json_t *object = CTL_JSON(0, "ls");
    const json_t *owner = json_object_get(json_array_get(json_object_get(object, "tables"), 0), "owner");
    CHECK_EQ(number(owner, "id"), a->id);
    CHECK_STR(text(owner, "state"), state);
    json_decref(object);
    object = CTL_JSON(0, "info", "t");
    CHECK_STR(text(json_object_get(object, "owner"), "state"), state);
    json_decref(object);
    object = CTL_JSON(0, "info");
    CHECK_EQ(number(json_object_get(object, "clients"), state), 1);
    json_decref(object);
    CTL(0, "ls");
    SAYS(state);
    CTL(0, "clients");
    SAYS(state);
}

static struct agent *owner_of_t(void)
{
    struct agent *a = agent_new("baker");
    DO(a, 0, "claim t 0");
    return a;
}

/* A keeper would have noticed an end, and have passed the table on. */
static void ends_are_shown(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = owner_of_t();
    shown_as(a, "running");
    agent_stop(a);
    shown_as(a, "stopped");
    agent_continue(a);
    shown_as(a, "running");
    keeper_kill();
    agent_signal(a, SIGKILL); /* nobody waits for it */
    shown_as(a, "zombie");
    CHECK_RC(agent_reap(a, PATIENCE), 0);
    shown_as(a, "dead");
    struct expected gone = {a->id, "gone"};
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK(wait_until(client_is, &gone, patience(PATIENCE)), "%s", out.out);
}

static int dump_core(struct agent_self *self, void *folder)
{
    struct rlimit limit;
    (void)self;
    if (chdir(folder) || getrlimit(RLIMIT_CORE, &limit) || prctl(PR_SET_DUMPABLE, 1))
        return -errno;
    limit.rlim_cur = limit.rlim_max;
    signal(SIGQUIT, SIG_DFL); /* a sanitizer has its own */
    if (setrlimit(RLIMIT_CORE, &limit))
        return -errno;
    raise(SIGQUIT);
    return 0;
}

static void a_dump_is_shown(void)
{
    struct dump_place place;
    const char *why = "a dump cannot be held (fanotify)";
    if (!dump_place(&place, &why) || place.fd < 0) {
        dump_place_remove(&place);
        test_skip("%s", why);
        return;
    }
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = owner_of_t();
    agent_call_send(a, dump_core, place.folder, sizeof place.folder);
    CHECK(dump_stands(&place));
    shown_as(a, "dumping");
    dump_let_go(&place);
    CHECK_RC(agent_reap(a, PATIENCE), 0);
    dump_place_remove(&place);
    struct expected gone = {a->id, "gone"};
    CHECK(wait_until(client_is, &gone, patience(PATIENCE)), "%s", out.out);
}

static void *own_and_wait(void *arg)
{
    struct heir *client;
    struct heir_table *t;
    (void)arg;
    if (heir_open(&(struct heir_open_options){.name = "second"}, &client) == 0 &&
        heir_claim(client, "t", &(struct heir_table_options){0}, 0, &t) == 0)
        pause();
    _exit(1);
}

static int lose_first_thread(struct agent_self *self, void *arg)
{
    pthread_t thread;
    (void)self;
    (void)arg;
    if (pthread_create(&thread, NULL, own_and_wait, NULL) == 0)
        pthread_exit(NULL);
    return -EAGAIN;
}

/* The first thread has ended, and /proc/PID shows a zombie; but the client's lives. */
static void a_first_thread_is_no_client(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new(NULL);
    agent_call_send(a, lose_first_thread, NULL, 0);
    a->id = 1;
    for (int64_t end = now_ms() + patience(PATIENCE);
         (process_state(a->pid) != 'Z' || shm_count("t.") == 0) && now_ms() < end;)
        usleep(1000);
    CHECK_EQ(process_state(a->pid), 'Z');
    shown_as(a, "running");
    agent_kill(a);
}

/* ---- A heirctl that stands still ---------------------------------------------------------------------- */

#define OBJECTS 100000
#define KEY     8
#define VALUE   64
#define READ    500 /* before it is stopped */

static void make_object(char key[KEY + 1], char value[VALUE + 1], unsigned i, unsigned version)
{
    snprintf(key, KEY + 1, "k%07u", i);
    snprintf(value, VALUE + 1, "%08u %08u%047d", i, version, 0);
}

static void write_all(struct heir_table *t, unsigned first, unsigned count, unsigned version)
{
    char key[KEY + 1], value[VALUE + 1];
    for (unsigned i = first; i < first + count; i++) {
        make_object(key, value, i % OBJECTS, version);
        REQUIRE_RC(heir_put(t, key, KEY, value, VALUE), 0);
    }
}

static bool dump_is_stopped(void *arg)
{
    const struct program *dump = arg;
    return process_state(dump->pid) == 'T';
}

/* A keeper, a table, and `heirctl dump t`, stopped when it has written a part, of which the first objects have been
 * read. */
static struct program *stopped_dump(struct heir_table_options options, struct heir_table **t, struct heir_info *info)
{
    char line[256] = "";
    REQUIRE_EQ(keeper_start(NULL), 0);
    REQUIRE_RC(heir_create(test_open("writer"), "t", &options, t), 0);
    write_all(*t, 0, OBJECTS, 0);
    REQUIRE_RC(heir_info(*t, info), 0);
    struct program *dump = program_start((const char *const[]){"heirctl", "dump", "t", NULL});
    REQUIRE(dump != NULL);
    while (strcmp(line, "HEADER=END") != 0)
        REQUIRE(program_line(dump, line, sizeof line, PATIENCE) >= 0);
    for (int i = 0; i < 2 * READ; i++)
        REQUIRE(program_line(dump, line, sizeof line, PATIENCE) >= 0);
    program_signal(dump, SIGSTOP);
    CHECK(wait_until(dump_is_stopped, dump, patience(PATIENCE)));
    return dump;
}

/* The only pin that there is, as `clients` tells it: of a client that is stopped. To be freed with *object. */
static const json_t *stopped_pin(json_t **object, const struct program *dump)
{
    *object = CTL_JSON(0, "clients");
    const json_t *list = json_object_get(*object, "clients"), *pins = NULL;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *client = json_array_get(list, i);
        if (number(client, "pid") != dump->pid)
            continue;
        CHECK_STR(text(client, "role"), "heirctl");
        CHECK_STR(text(client, "state"), "stopped");
        pins = json_object_get(client, "pinned");
    }
    CHECK_EQ(json_array_size(pins), 1);
    return json_array_get(pins, 0);
}

/* A writer goes on, commit for commit; what the dump prints in the end is the state at its beginning. */
static void a_stopped_dump_disturbs_nobody(void)
{
    enum { COMMITS = 50000 };
    unsigned seen = READ;
    char line[256], key[KEY + 1], value[VALUE + 1], expected[128];
    struct heir_table *t;
    struct heir_info before, after;
    json_t *object;
    if (!shm_has_room(64 << 20))
        return;
    struct program *dump = stopped_dump((struct heir_table_options){.type = HEIR_ORDERED_SET}, &t, &before);
    write_all(t, OBJECTS - COMMITS / 2, COMMITS, 1); /* also those that have been printed */
    REQUIRE_RC(heir_info(t, &after), 0);
    CHECK(after.committed >= before.committed + COMMITS);
    CHECK_EQ(process_state(dump->pid), 'T'); /* it stood still all the while */
    const json_t *pin = stopped_pin(&object, dump);
    CHECK_STR(text(pin, "table"), "t");
    CHECK_EQ(number(pin, "transaction"), before.committed);
    CHECK_EQ(number(pin, "behind"), after.committed - before.committed);
    CHECK(json_is_false(json_object_get(pin, "broken")));
    CHECK(number(pin, "age_ms") < 1000000, "%lld", number(pin, "age_ms"));
    json_decref(object);
    CHECK_EQ(after.horizon, before.committed); /* the price: */
    CHECK(after.history >= COMMITS, "%llu", (unsigned long long)after.history);
    CTL(0, "clients");
    SAYS("reads the table t: transaction ");
    program_signal(dump, SIGCONT);
    for (; seen < OBJECTS; seen++) {
        make_object(key, value, seen, 0);
        snprintf(expected, sizeof expected, " %s", value);
        if (program_line(dump, line, sizeof line, PATIENCE) < 0 || strcmp(line + 1, key) != 0 ||
            program_line(dump, line, sizeof line, PATIENCE) < 0 || strcmp(line, expected) != 0)
            break;
    }
    CHECK_EQ(seen, OBJECTS);
    CHECK(program_line(dump, line, sizeof line, PATIENCE) >= 0);
    CHECK_STR(line, "DATA=END");
    CHECK_EQ(program_wait(dump, PATIENCE), 0);
    write_all(t, 0, 1000, 2); /* and the space comes back */
    REQUIRE_RC(heir_info(t, &after), 0);
    CHECK(after.horizon > before.committed);
}

/* In a table that is full the writer breaks the pin; the dump says that it is not whole. */
static void a_stopped_dump_is_given_up(void)
{
    unsigned round = 1;
    char line[256], rest[256] = "", error[1024] = "";
    struct heir_table *t;
    struct heir_info before, after;
    json_t *object;
    if (!shm_has_room(64 << 20))
        return;
    struct program *dump = stopped_dump((struct heir_table_options){.max_bytes = 20 << 20}, &t, &before);
    do {
        write_all(t, 0, 10000, round++);
        REQUIRE_RC(heir_info(t, &after), 0);
    } while (after.horizon <= before.committed && round < 1000);
    CHECK(after.horizon > before.committed);
    CHECK_EQ(process_state(dump->pid), 'T');
    const json_t *pin = stopped_pin(&object, dump);
    CHECK(json_is_true(json_object_get(pin, "broken")));
    json_decref(object);
    CTL(0, "info", "t");
    SAYS("broken for want of space");
    program_signal(dump, SIGCONT);
    while (program_line(dump, line, sizeof line, PATIENCE) >= 0)
        strcpy(rest, line);
    CHECK(strcmp(rest, "DATA=END") != 0); /* nobody takes it for whole */
    CHECK_EQ(program_wait(dump, PATIENCE), 1);
    FILE *file = fopen(dump->err, "r");
    if (file != NULL) {
        error[fread(error, 1, sizeof error - 1, file)] = '\0';
        fclose(file);
    }
    CHECK(strstr(error, "ran out of space") != NULL, "%s", error);
}

const struct test clients_tests[] = {{"info: the namespace", info_of_the_namespace},
                                     {"info: what is counted", info_counts},
                                     {"clients: pins", pins_are_shown},
                                     {"clients: ends", ends_are_shown},
                                     {"clients: a core dump", a_dump_is_shown},
                                     {"clients: without the first thread", a_first_thread_is_no_client},
                                     {"a stopped dump disturbs nobody", a_stopped_dump_disturbs_nobody},
                                     {"a stopped dump is given up", a_stopped_dump_is_given_up},
                                     {NULL, NULL}};
