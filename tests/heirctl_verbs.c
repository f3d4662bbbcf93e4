/* SPDX-License-Identifier: MIT */
/*
 * heirctl, verb by verb, in every condition: a row of heirctl_rows.c says what a verb does in one of them, or why there
 * is nothing to be done. A verb that heirctl has and that lacks a row is a failure.
 *
 * Each row runs in a scene of its own, once for people and once with --json. Whatever else it is about: what is printed
 * is UTF-8 that no terminal obeys, JSON is JSON, and an error is an object with the exit status.
 */
#include "heirctl_rows.h"

#include <dirent.h>
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLES 3000 /* of thousands */
#define HALVES 1000 /* for gc */
#define NASTY  "\033[31mnasty"

static const char *const condition_names[] = {"output",        "wrong usage",         "refused", "no keeper",
                                              "damaged table", "thousands of tables", "names",   "bytes"};

static struct agent *baker, *second;
static char *printed, *complained; /* by the run that was last */

/* ---- The scene ---------------------------------------------------------------------------------------- */

static void leave(void)
{
    if (baker != NULL && baker->pid != 0)
        agent_end(baker);
    if (second != NULL && second->pid != 0)
        agent_end(second);
    baker = second = NULL;
}

/* Bread goes from one to the other. */
static void give_bread(struct agent *from, struct agent *to)
{
    while (agent_do(from, "wait 0") == 0)
        ;
    DO(from, 0, "give bread %llu", (unsigned long long)to->id);
    EVENT(to, HEIR_EVENT_TRANSFER, HEIR_GIVEN, "bread", NULL);
}

/* "bread", which baker owns, and one that nobody does. */
static void scene(const char *kept, const char *role)
{
    leave();
    if (keeper_pid() == 0)
        REQUIRE_EQ(keeper_start(NULL), 0);
    baker = agent_new("baker");
    second = agent_new(role);
    DO(baker, 0, "claim %s -1 max=1048576", kept);
    DO(baker, 0, "clear %s", kept);
    DO(baker, 0, "put %s k a-value", kept);
    DO(baker, 0, "release %s", kept);
    DO(baker, 0, "claim bread -1 max=1048576");
    DO(baker, 0, "heir bread helper");
    DO(baker, 0, "clear bread");
    DO(baker, 0, "put bread k v");
    while (agent_do(baker, "wait 0") == 0)
        ;
    give_bread(baker, second); /* from now on they need no keeper for it */
    give_bread(second, baker);
}

static int create_thousands(struct agent_self *self, void *arg)
{
    int r = 0;
    (void)arg;
    for (int i = 0; r == 0 && i < TABLES; i++) {
        char name[32];
        struct heir_table *t;
        snprintf(name, sizeof name, "t%04d", i);
        r = heir_create(self->client, name,
                        &(struct heir_table_options){.type = HEIR_ORDERED_SET, .max_bytes = HEIR_TABLE_MIN}, &t);
        r = r ? r : heir_put(t, "k", 1, "a-value", 7);
        if (i % 2 != 0)
            r = r ? r : heir_release(t);
    }
    return r;
}

/* As another program may leave it in the folder, or a worker in memory that is its own to write. */
static void overwrite(const char *kind, const char *name, const char *what)
{
    char path[256], bytes[65536];
    shm_path(path, sizeof path, kind, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t len = pread(fd, bytes, sizeof bytes, 0);
    REQUIRE(fd >= 0 && len > 0, "%s", path);
    for (char *at = bytes; (at = memmem(at, (size_t)(bytes + len - at), what, strlen(what) + 1)) != NULL; at++)
        CHECK_EQ(pwrite(fd, "\033[7m", 4, at - bytes), 4);
    close(fd);
}

static void make_nasty(void)
{
    char path[256], id[32];
    snprintf(id, sizeof id, "%llu", (unsigned long long)baker->id);
    overwrite("c.", id, "baker");
    overwrite("t.", "bread", "helper");
    shm_path(path, sizeof path, "t.", NASTY);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void remove_nasty(void)
{
    char path[256];
    shm_path(path, sizeof path, "t.", NASTY);
    unlink(path);
}

static int put_bytes(struct agent_self *self, void *arg)
{
    const struct specimen *s = arg;
    struct heir_table *t = NULL;
    int r = heir_claim(self->client, "kept", NULL, -1, &t);
    r = r ? r : heir_put(t, s->bytes, s->len, s->bytes, s->len);
    return r ? r : heir_release(t);
}

/* ---- Running ------------------------------------------------------------------------------------------ */

static bool matches(const char *pattern, const char *text)
{
    regex_t regex;
    REQUIRE(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB | REG_NEWLINE) == 0, "%s", pattern);
    bool does = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return does;
}

/* The text with the subject for each @; as a pattern, which it then matches as it stands. To be freed. */
static char *expand(const char *text, const char *subject, bool pattern)
{
    size_t size = strlen(text) + 1;
    for (const char *p = text; *p != '\0'; p++)
        size += *p == '@' ? 2 * strlen(subject) : 0;
    char *all = malloc(size), *to = all;
    REQUIRE(all != NULL);
    for (; *text != '\0'; text++) {
        if (*text != '@') {
            *to++ = *text;
            continue;
        }
        for (const char *p = subject; *p != '\0'; p++) {
            if (pattern && strchr(".[]()*+?{}^$|\\", *p) != NULL)
                *to++ = '\\';
            *to++ = *p;
        }
    }
    *to = '\0';
    return all;
}

static char *read_file(const char *name)
{
    char path[200];
    size_t room = 1 << 20, len = 0, n;
    snprintf(path, sizeof path, "%s/%s", world.dir, name);
    FILE *file = fopen(path, "re");
    char *text = malloc(room);
    REQUIRE(file != NULL && text != NULL, "%s", path);
    while ((n = fread(text + len, 1, room - 1 - len, file)) > 0) {
        len += n;
        if (len == room - 1) {
            text = realloc(text, room *= 2);
            REQUIRE(text != NULL);
        }
    }
    fclose(file);
    unlink(path);
    text[len] = '\0';
    CHECK(strlen(text) == len, "a byte 0 in %s", name);
    return text;
}

/* Its output is in files: it may be long. */
static int run_row(const struct row *row, const char *subject, bool json)
{
    static const char plain[] = "dir=$0; ulimit -v $1; shift; exec \"$HEIR_TEST_BINDIR/heirctl\" \"$@\" "
                                ">\"$dir/out\" 2>\"$dir/err\"";
    static const char typed[] = "dir=$0; typed=$1; shift; : >\"$dir/err\"; printf '%s' \"$typed\" | TERM=xterm "
                                "script -qec \"$HEIR_TEST_BINDIR/heirctl $*\" /dev/null >\"$dir/out\"";
    /* 256 MiB are more than enough; the sanitizers want all that there is */
    const char *limit = TEST_ASAN || TEST_TSAN ? "unlimited" : "262144";
    const char *argv[20] = {"/bin/sh", "-c", row->typed != NULL ? typed : plain, world.dir,
                            row->typed != NULL ? row->typed : limit};
    char *words[10] = {NULL};
    size_t n = 5, used = 0;

    if (json)
        argv[n++] = "--json";
    argv[n++] = row->verb;
    for (size_t i = 0; row->args[i] != NULL; i++)
        argv[n++] = words[used++] = expand(row->args[i], subject, false);
    int code = program_run(argv, row->input, &out);
    while (used > 0)
        free(words[--used]);
    if (out.err[0] != '\0')
        fprintf(stderr, "%s\n", out.err);
    free(printed);
    free(complained);
    printed = read_file("out");
    complained = read_file("err");
    return code;
}

/* One that goes on until it is stopped: what it says of a gift. */
static int run_endless(const struct row *row, const char *subject, bool json)
{
    const char *argv[12] = {"heirctl", json ? "--json" : row->verb, json ? row->verb : NULL};
    char *words[8] = {NULL}, line[2048] = "";
    size_t n = json ? 3 : 2, used = 0;
    for (size_t i = 0; row->args[i] != NULL; i++)
        argv[n++] = words[used++] = expand(row->args[i], subject, false);
    struct program *program = program_start(argv);
    REQUIRE(program != NULL);
    struct agent *from = baker, *to = second;
    bool told = false;
    int wait = 50; /* it may not have begun, or have thousands of tables to look at */
    for (int64_t end = now_ms() + patience(PATIENCE); !told && now_ms() < end;) {
        give_bread(from, to);
        from = to == second ? second : baker;
        to = from == second ? baker : second;
        wait = wait < 1000 ? 2 * wait : wait;
        while (!told && program_line(program, line, sizeof line, wait) > 0)
            told = json ? strstr(line, "\"given\"") != NULL : matches(row->out, line);
    }
    if (from == second)
        give_bread(second, baker);
    program_signal(program, SIGTERM);
    int code = program_wait(program, PATIENCE);
    while (used > 0)
        free(words[--used]);
    free(printed);
    free(complained);
    printed = strdup(line);
    complained = strdup("");
    return code - 128 == SIGTERM ? 0 : code;
}

/* ---- Looking at what was printed ---------------------------------------------------------------------- */

/* UTF-8 without what a terminal obeys: jansson takes no other UTF-8, and the rest is a matter of single bytes, but for
 * the controls from U+0080 on and those of the direction. */
static void is_clean(const char *what, const char *text)
{
    json_t *string = json_string(text);
    CHECK(string != NULL, "%s is no UTF-8: %.500s", what, text);
    json_decref(string);
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool control = (*p < ' ' && *p != '\n') || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0) ||
                       strncmp((const char *)p, "\xe2\x80\xae", 3) == 0;
        if (!CHECK(!control, "%s has a control, byte %02x: %.500s", what, *p, (const char *)p))
            return;
    }
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        lines++;
    return lines;
}

static void look_at_text(const struct row *row, const char *subject)
{
    char *pattern = expand(row->out != NULL ? row->out : "", subject, true);
    CHECK(row->out != NULL ? matches(pattern, printed) : printed[0] == '\0', "not /%s/: %.2000s", pattern, printed);
    free(pattern);
    pattern = expand(row->err != NULL ? row->err : "", subject, true);
    CHECK(row->err != NULL ? matches(pattern, complained) : row->typed != NULL || complained[0] == '\0',
          "not /%s/: %.2000s", pattern, complained);
    free(pattern);
    if (row->lines != 0)
        CHECK_EQ(count_lines(printed), row->lines);
}

/* Each member stands in the verb's --help. */
static void is_documented(const char *help, const json_t *value)
{
    const char *key;
    json_t *member;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)value, i, member) is_documented(help, member);
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        char quoted[80];
        snprintf(quoted, sizeof quoted, "\"%s\"", key);
        CHECK(strstr(help, quoted) != NULL, "%s is not in: %s", quoted, help);
        is_documented(help, member);
    }
}

static void look_at_json(const struct row *row, const char *subject)
{
    json_error_t error;
    if (printed[0] == '\0' && (row->endless || strcmp(row->verb, "run") == 0))
        return;
    json_t *object = json_loads(printed, JSON_REJECT_DUPLICATES, &error);
    CHECK(object != NULL, "line %d: %s: %.500s", error.line, error.text, printed);
    if (row->code != 0) {
        const json_t *inner = json_object_get(object, "error");
        CHECK(row->findings || inner != NULL, "%.500s", printed);
        CHECK(row->findings || json_integer_value(json_object_get(inner, "exit")) == row->code, "%.500s", printed);
    }
    CTL(0, strcmp(row->verb, "watch") == 0 ? "events" : row->verb, "--help");
    is_documented(out.out, object);
    if (row->list != NULL && row->code == 0) {
        CHECK_EQ(json_array_size(json_object_get(object, row->list)), row->count);
    } else if (row->member != NULL && row->code == 0) {
        CHECK_STR(text(object, row->member), subject);
    }
    json_decref(object);
}

/* ---- The conditions ----------------------------------------------------------------------------------- */

static void try_row(const struct row *row, const char *subject, bool json)
{
    char what[256] = "";
    for (size_t i = 0; row->args[i] != NULL; i++)
        snprintf(what + strlen(what), sizeof what - strlen(what), " %.80s", row->args[i]);
    unsigned before = CU_get_number_of_failure_records();
    if (row->without && keeper_pid() != 0)
        keeper_kill();
    int code = row->endless ? run_endless(row, subject, json) : run_row(row, subject, json);
    CHECK_EQ(code, row->code);
    if (row->typed == NULL) {
        is_clean("stdout", printed);
        is_clean("stderr", complained);
    }
    if (json)
        look_at_json(row, subject);
    else
        look_at_text(row, subject);
    if (CU_get_number_of_failure_records() != before)
        fprintf(stderr, "that was: %s: heirctl%s %s%s (@ is %s)\n", condition_names[row->condition],
                json ? " --json" : "", row->verb, what, subject);
}

static bool terminal_there(const struct row *row)
{
    static int there = -1;
    if (row->typed != NULL && there < 0)
        there = system("command -v script >/dev/null") == 0; /* NOLINT(cert-env33-c) */
    return row->typed == NULL || there == 1;
}

/* The table of a row is not to be there in the next one. */
static void forget(const char *name)
{
    leave();
    if (keeper_pid() == 0)
        REQUIRE_EQ(keeper_start(NULL), 0);
    program_run((const char *const[]){"heirctl", "rm", "--yes", "--", name, NULL}, NULL, &out);
}

/* Each row of the condition: for people, and with --json where there is such a form. */
static void each(enum condition where, void (*prepare)(const struct row *row), const char *const subjects[])
{
    for (const struct row *row = rows; row->verb != NULL; row++) {
        bool both = row->typed == NULL && strcmp(row->verb, "top") != 0 && !row->plain;
        if (row->condition != where || row->none != NULL || !terminal_there(row))
            continue;
        for (size_t i = 0; subjects[i] != NULL; i++) {
            for (int json = 0; json <= (int)both; json++) {
                scene(where == NAMES ? subjects[i] : "kept", where == NAMES ? "-s.e_c-" : "second");
                if (prepare != NULL)
                    prepare(row);
                try_row(row, subjects[i], json != 0);
                if (where == BYTES)
                    remove_nasty();
                if (where == DAMAGED || where == NAMES) /* not to be met by the next one */
                    forget(subjects[i]);
            }
        }
    }
    leave();
    if (keeper_pid() == 0)
        REQUIRE_EQ(keeper_start(NULL), 0); /* takes what was left */
}

static const char *const no_subject[] = {"kept", NULL};

static void output(void)
{
    each(OUTPUT, NULL, no_subject);
}

static void usage(void)
{
    each(USAGE, NULL, no_subject);
}

static void refused(void)
{
    each(REFUSED, NULL, no_subject);
}

static void kill_keeper(const struct row *row)
{
    (void)row;
    keeper_kill();
}

static void no_keeper(void)
{
    each(NO_KEEPER, kill_keeper, no_subject);
}

/* The next keeper finds it, and sets it aside. */
static void damage_kept(const struct row *row)
{
    keeper_kill();
    damage("kept");
    if (!row->without)
        REQUIRE_EQ(keeper_start(NULL), 0);
}

static void damaged(void)
{
    each(DAMAGED, damage_kept, no_subject);
}

static void names(void)
{
    each(NAMES, NULL, name_list);
}

static void prepare_bytes(const struct row *row)
{
    (void)row;
    make_nasty();
}

/* What is no text, where it can come from outside: words, files, and what others wrote into the shared memory. */
static void bytes(void)
{
    each(BYTES, prepare_bytes, no_subject);
    scene("kept", "second");
    make_nasty();
    CTL(0, "--complete", "info", "");
    CHECK_STR(out.out, "bread\tset\nkept\tset\n"); /* what no table can be called is not offered */
    remove_nasty();
    leave();
}

static void keys_and_values(void)
{
    for (const struct specimen *s = specimens; s->text != NULL; s++) {
        for (const struct row *row = byte_rows; row->verb != NULL; row++) {
            for (int json = 0; json < 2; json++) {
                scene("kept", "second");
                CHECK_RC(agent_call(baker, put_bytes, s, sizeof *s), 0);
                try_row(row, s->text, json != 0);
            }
        }
    }
    leave();
}

static void thousands(void)
{
    int run = 0;
    if (!shm_has_room(UINT64_C(256) << 20))
        return;
    scene("kept", "second");
    REQUIRE_RC(agent_call(baker, create_thousands, NULL, 0), 0);
    CTL(0, "--complete", "info", "t");
    CHECK_EQ(count_lines(out.out), TABLES);
    for (const struct row *row = rows; row->verb != NULL; row++) {
        if (row->condition != THOUSANDS || row->none != NULL || !terminal_there(row))
            continue;
        for (int json = 0; json <= (int)(row->typed == NULL && strcmp(row->verb, "top") != 0 && !row->plain); json++) {
            char subject[32];
            snprintf(subject, sizeof subject, "t%04d", 2 * run++ + (row->owned ? 0 : 1));
            if (strcmp(row->verb, "gc") == 0) {
                SHELL(0, "cd /dev/shm && seq -f heir.%s.t.half%%g %d | xargs touch", world.ns, HALVES);
                if (keeper_pid() != 0)
                    keeper_kill();
            }
            try_row(row, subject, json != 0);
        }
    }
    leave();
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* On a terminal, and not with NO_COLOR; the letters are the same. */
static void colours(void)
{
    static const char *const without[] = {"NO_COLOR=1 TERM=xterm", "TERM=dumb"};
    static const char on_terminal[] = "%s script -qec '$HEIR_TEST_BINDIR/heirctl %s' /dev/null </dev/null";
    if (!terminal_there(&(struct row){.typed = ""})) {
        test_skip("script (bsdutils) is not installed");
        return;
    }
    scene("kept", "second");
    agent_stop(baker);
    damage("kept");
    SHELL(0, on_terminal, "TERM=xterm NO_COLOR=", "ls");
    SAYS("\033[33mstopped\033[m");
    SAYS("\033[31mkept: ");
    SHELL(1, on_terminal, "TERM=xterm NO_COLOR=", "check");
    SAYS("\033[1mNAME ");
    SHELL(0, on_terminal, "TERM=xterm NO_COLOR=", "--json clients");
    CHECK(strchr(out.out, '\033') == NULL, "%s", out.out);
    for (int i = 0; i < 2; i++) {
        SHELL(0, on_terminal, without[i], "ls");
        SAYS("  stopped  ");
        CHECK(strchr(out.out, '\033') == NULL, "%s", out.out);
    }
    agent_continue(baker);
    agent_kill(baker);
    SHELL(0, "while ! $HEIR_TEST_BINDIR/heirctl events | grep -q ' died: '; do sleep 0.05; done");
    SHELL(0, on_terminal, "TERM=xterm NO_COLOR=", "events");
    SAYS(" died: signal 9, SIGKILL; 1 table handed on in ");
    SAYS("\033[33m2");
    leave();
    keeper_kill();
    REQUIRE_EQ(keeper_start(NULL), 0);
    CTL(0, "rm", "kept", "--yes");
}

/* ---- The matrix --------------------------------------------------------------------------------------- */

static bool has_row(const char *verb, enum condition where)
{
    for (const struct row *row = rows; row->verb != NULL; row++) {
        if (strcmp(row->verb, verb) == 0 && row->condition == where)
            return true;
    }
    return false;
}

/* Each verb that there is has a row in each condition, and is told of by --help. */
static void is_complete(void)
{
    size_t verbs = 0;
    CTL(0, "--complete", "");
    char *list = strdup(out.out), *rest = list;
    REQUIRE(list != NULL);
    for (char *line; (line = strsep(&rest, "\n")) != NULL && line[0] != '\0'; verbs++) {
        char usage_line[80];
        const char *verb = strsep(&line, "\t");
        for (enum condition c = OUTPUT; c < CONDITIONS; c++)
            CHECK(has_row(verb, c), "%s has no row for: %s", verb, condition_names[c]);
        CTL(0, verb, "--help");
        snprintf(usage_line, sizeof usage_line, "usage: heirctl %s%s", strcmp(verb, "run") == 0 ? "[options] " : "",
                 verb);
        SAYS(usage_line);
        SAYS("\n--json");
        SAYS("exit status: 0 done, 1 refused or not found, 2 wrong usage, 3 no keeper answers");
        CTL(2, verb, "--nonsense");
        COMPLAINS("there is no option --nonsense here");
        json_decref(CTL_JSON(2, verb, "--nonsense"));
        CTL(0, "--help");
        CHECK(strstr(out.out, verb) != NULL, "%s", verb);
    }
    free(list);
    CHECK(verbs >= 21, "%zu verbs", verbs);
    free(printed);
    free(complained);
    printed = complained = NULL;
}

const struct test verb_tests[] = {{"verbs: output", output},
                                  {"verbs: wrong usage", usage},
                                  {"verbs: refused", refused},
                                  {"verbs: no keeper", no_keeper},
                                  {"verbs: damaged table", damaged},
                                  {"verbs: thousands of tables", thousands},
                                  {"verbs: names", names},
                                  {"verbs: bytes", bytes},
                                  {"verbs: keys and values", keys_and_values},
                                  {"verbs: colours", colours},
                                  {"verbs: all are here", is_complete},
                                  {NULL, NULL}};
