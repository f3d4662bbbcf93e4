/* SPDX-License-Identifier: MIT */
/*
 * Agents: forked children that do what the test tells them. One order is one packet, one answer is one packet.
 * support.h lists the orders.
 */
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct request {
    char text[1024];
    agent_fn *fn; /* the child is a fork: the same address is the same function */
    size_t len;
    _Alignas(16) unsigned char arg[1024];
};

#define WORDS 16

static struct agent *agents;

/* ---- The agent's side --------------------------------------------------------------------------------- */

struct heir_table *agent_table(struct agent_self *self, const char *name)
{
    for (int i = 0; i < self->tables; i++)
        if (!strcmp(self->table[i].name, name))
            return self->table[i].table;
    return NULL;
}

void agent_note(struct agent_self *self, const char *name, struct heir_table *table)
{
    for (int i = 0; i < self->tables; i++)
        if (!strcmp(self->table[i].name, name)) {
            self->table[i].table = table;
            return;
        }
    if (self->tables == (int)(sizeof self->table / sizeof self->table[0]))
        return;
    snprintf(self->table[self->tables].name, sizeof self->table[0].name, "%s", name);
    self->table[self->tables++].table = table;
}

static int parse_options(char **word, struct heir_table_options *options)
{
    for (; *word; word++) {
        char *value = strchr(*word, '=');
        if (!value)
            return -EBADRQC;
        *value++ = 0;
        if (!strcmp(*word, "heir")) {
            options->heir = strcmp(value, "\"\"") ? value : NULL;
        } else if (!strcmp(*word, "data")) {
            options->heir_data = value;
            options->heir_data_len = strlen(value);
        } else if (!strcmp(*word, "max")) {
            options->max_bytes = strtoull(value, NULL, 0);
        } else if (!strcmp(*word, "mode")) {
            options->mode = (unsigned)strtoul(value, NULL, 8);
        } else if (!strcmp(*word, "key")) {
            options->key_size = strtoull(value, NULL, 0);
        } else if (!strcmp(*word, "value")) {
            options->value_size = strtoull(value, NULL, 0);
        } else if (!strcmp(*word, "type")) {
            options->type = (enum heir_type)atoi(value);
        } else if (!strcmp(*word, "lease")) {
            options->lease_ms = (unsigned)atoi(value);
        } else if (!strcmp(*word, "access")) {
            options->access = !strcmp(value, "public") ? HEIR_PUBLIC : HEIR_PRIVATE;
        } else {
            return -EBADRQC;
        }
    }
    return 0;
}

static void die(const char *how)
{
    if (!strcmp(how, "kill")) {
        raise(SIGKILL);
    } else if (!strcmp(how, "segv")) {
        signal(SIGSEGV, SIG_DFL);
        volatile char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        page[0] = 1;
    } else if (!strcmp(how, "abort")) {
        signal(SIGABRT, SIG_DFL);
        abort();
    } else if (!strcmp(how, "exec")) {
        execl("/bin/sleep", "sleep", "600", (char *)NULL);
    } else if (!strcmp(how, "return")) {
        exit(0); /* what return from main does */
    }
    _exit(strcmp(how, "exit") ? 3 : 0);
}

static int tally(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    ++*(uint64_t *)arg;
    return 0;
}

static int add_up(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    int64_t number;
    (void)key, (void)key_len;
    if (value_len != sizeof number)
        return -EBADMSG;
    memcpy(&number, value, sizeof number);
    *(uint64_t *)arg += (uint64_t)number;
    return 0;
}

static int wait_event(struct agent_self *self, int ms)
{
    int rc = heir_wait(self->client, ms, &self->answer.event);
    if (rc == 0 && self->answer.event.type == HEIR_EVENT_TRANSFER)
        agent_note(self, self->answer.event.name, self->answer.event.table);
    return rc;
}

static int do_client(struct agent_self *self, const char *verb, char **word, int words)
{
    const char *first = words > 1 ? word[1] : NULL;
    if (!strcmp(verb, "open")) {
        struct heir_open_options options = {.name = first, .timeout_ms = patience(PATIENCE)};
        int rc = heir_open(&options, &self->client);
        self->answer.number = heir_id(rc ? NULL : self->client);
        return rc;
    }
    if (!strcmp(verb, "close")) {
        int rc = heir_close(self->client);
        self->client = NULL;
        self->tables = 0;
        return rc;
    }
    if (!strcmp(verb, "id"))
        return (int)(self->answer.number = heir_id(self->client), 0);
    if (!first)
        return -EBADRQC;
    if (!strcmp(verb, "find"))
        return heir_find(self->client, first, &self->answer.number);
    if (!strcmp(verb, "wait"))
        return wait_event(self, atoi(first));
    if (!strcmp(verb, "die"))
        die(first);
    return -EBADRQC;
}

static int do_open_table(struct agent_self *self, const char *verb, char **word, int words)
{
    struct heir_table_options options = {0};
    struct heir_table *table = NULL;
    bool claim = !strcmp(verb, "claim"), none = claim && words > 3 && !strcmp(word[3], "none");
    int rc = none || words < 3 ? 0 : parse_options(word + (claim ? 3 : 2), &options);
    if (rc || (claim && words < 3))
        return -EBADRQC;
    if (claim)
        rc = heir_claim(self->client, word[1], none ? NULL : &options, atoi(word[2]), &table);
    else if (!strcmp(verb, "create"))
        rc = heir_create(self->client, word[1], &options, &table);
    else
        rc = heir_attach(self->client, word[1], &table);
    if (rc == 0)
        agent_note(self, word[1], table);
    return rc;
}

static int do_table(struct agent_self *self, struct heir_table *t, char **word, int words)
{
    const char *verb = word[0], *third = words > 3 ? word[3] : NULL;
    size_t len = third ? strlen(third) : 0;
    if (!strcmp(verb, "detach"))
        return heir_detach(t);
    if (!strcmp(verb, "destroy"))
        return heir_destroy(t);
    if (!strcmp(verb, "release"))
        return heir_release(t);
    if (!strcmp(verb, "renew"))
        return heir_renew(t);
    if (!strcmp(verb, "info"))
        return heir_info(t, &self->answer.info);
    if (!strcmp(verb, "clear"))
        return heir_clear(t);
    if (!strcmp(verb, "begin"))
        return heir_begin(t);
    if (!strcmp(verb, "commit"))
        return heir_commit(t);
    if (!strcmp(verb, "abort"))
        return heir_abort(t);
    if (!strcmp(verb, "count"))
        return heir_foreach(t, tally, &self->answer.number);
    if (!strcmp(verb, "sum"))
        return heir_foreach(t, add_up, &self->answer.number);
    if (words < 3)
        return -EBADRQC;
    if (!strcmp(verb, "give"))
        return heir_give_away(t, strtoull(word[2], NULL, 10), third, len);
    if (!strcmp(verb, "heir"))
        return heir_set_heir(t, strcmp(word[2], "\"\"") ? word[2] : NULL, third, len);
    if (!strcmp(verb, "rename")) {
        int rc = heir_rename(t, word[2]);
        if (rc == 0)
            agent_note(self, word[2], t);
        return rc;
    }
    return -EBADRQC;
}

static int do_object(struct agent_self *self, struct heir_table *t, char **word, int words)
{
    const char *verb = word[0], *key = words > 2 ? word[2] : NULL, *value = words > 3 ? word[3] : NULL;
    size_t key_len = key ? strlen(key) : 0, len = value ? strlen(value) : 0;
    if (!key)
        return -EBADRQC;
    self->answer.value_len = sizeof self->answer.value - 1;
    if (!strcmp(verb, "get"))
        return heir_get(t, key, key_len, self->answer.value, &self->answer.value_len);
    if (!strcmp(verb, "take"))
        return heir_take(t, key, key_len, self->answer.value, &self->answer.value_len);
    if (!strcmp(verb, "has"))
        return heir_has(t, key, key_len);
    if (!strcmp(verb, "del"))
        return heir_del(t, key, key_len);
    if (!strcmp(verb, "put"))
        return heir_put(t, key, key_len, value, len);
    if (!strcmp(verb, "new"))
        return heir_put_new(t, key, key_len, value, len);
    if (!strcmp(verb, "add") && value) {
        int64_t sum = 0;
        int rc = heir_add(t, key, key_len, strtoll(value, NULL, 10), &sum);
        self->answer.number = (uint64_t)sum;
        return rc;
    }
    return -EBADRQC;
}

static bool is_one_of(const char *verb, const char *list)
{
    size_t len = strlen(verb);
    for (const char *at = list; (at = strstr(at, verb)); at += len)
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
            return true;
    return false;
}

static int obey(struct agent_self *self, char *text)
{
    char *word[WORDS + 1] = {NULL}, *rest = NULL;
    int words = 0;
    for (char *w = strtok_r(text, " ", &rest); w && words < WORDS; w = strtok_r(NULL, " ", &rest))
        word[words++] = w;
    if (!words)
        return -EBADRQC;
    if (is_one_of(word[0], "open close find wait id die"))
        return do_client(self, word[0], word, words);
    if (words < 2)
        return -EBADRQC;
    if (is_one_of(word[0], "create claim attach"))
        return do_open_table(self, word[0], word, words);
    struct heir_table *table = agent_table(self, word[1]);
    if (!table)
        return -EBADF; /* the test asked for a handle that this agent never had */
    if (is_one_of(word[0], "put new get has del take add"))
        return do_object(self, table, word, words);
    return do_table(self, table, word, words);
}

static void serve(int fd)
{
    static struct agent_self self;
    static struct request request;
    memset(&self, 0, sizeof self);
    for (;;) {
        ssize_t n = recv(fd, &request, sizeof request, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof request)
            _exit(0); /* the test is gone */
        memset(&self.answer, 0, sizeof self.answer);
        if (!request.fn && !strcmp(request.text, "quit")) {
            self.answer.result = heir_close(self.client);
            send(fd, &self.answer, sizeof self.answer, MSG_NOSIGNAL);
            _exit(0);
        }
        self.answer.result = request.fn ? request.fn(&self, request.arg) : obey(&self, request.text);
        if (send(fd, &self.answer, sizeof self.answer, MSG_NOSIGNAL) < 0)
            _exit(0);
    }
}

static void become(int fd, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(127);
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 20);
    close_range(3, (unsigned)fd - 1, 0);
    close_range((unsigned)fd + 1, ~0u, 0);
    serve(fd);
}

/* ---- The test's side ---------------------------------------------------------------------------------- */

struct agent *agent_new(const char *role)
{
    int fds[2];
    struct agent *agent = calloc(1, sizeof *agent);
    REQUIRE(agent && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
    agent->fd = fds[0];
    agent->next = agents;
    agents = agent; /* before the fork: what the child inherits must not look like a leak there */
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(fds[1], parent);
    close(fds[1]);
    agent->pid = pid;
    snprintf(agent->role, sizeof agent->role, "%s", role ? role : "");
    REQUIRE(pid > 0);
    if (role) {
        REQUIRE_RC(agent_do(agent, "open %s", role), 0);
        agent->id = agent->answer.number;
    }
    return agent;
}

static int hand_over(struct agent *agent, const struct request *request)
{
    if (agent->fd < 0)
        return AGENT_DEAD;
    ssize_t n = send(agent->fd, request, sizeof *request, MSG_NOSIGNAL);
    return n == (ssize_t)sizeof *request ? 0 : AGENT_DEAD;
}

static int send_text(struct agent *agent, const char *format, va_list arguments)
{
    struct request request = {.fn = NULL};
    vsnprintf(request.text, sizeof request.text, format, arguments);
    snprintf(agent->order, sizeof agent->order, "%.*s", (int)sizeof agent->order - 1, request.text);
    return hand_over(agent, &request);
}

int agent_send(struct agent *agent, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int rc = send_text(agent, format, arguments);
    va_end(arguments);
    return rc;
}

int agent_answer(struct agent *agent, int ms)
{
    struct waiting it = waiting_begin(ms);
    if (agent->fd < 0)
        return AGENT_DEAD;
    for (;;) {
        if (!await_readable(agent->fd, &it))
            return AGENT_HUNG;
        ssize_t n = recv(agent->fd, &agent->answer, sizeof agent->answer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        return n == (ssize_t)sizeof agent->answer ? agent->answer.result : AGENT_DEAD;
    }
}

int agent_do(struct agent *agent, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int rc = send_text(agent, format, arguments);
    va_end(arguments);
    return rc ? rc : agent_answer(agent, PATIENCE);
}

int agent_call_send(struct agent *agent, agent_fn *fn, const void *arg, size_t len)
{
    struct request request = {.fn = fn, .len = len};
    if (len > sizeof request.arg)
        return -E2BIG;
    if (len)
        memcpy(request.arg, arg, len);
    snprintf(agent->order, sizeof agent->order, "(a function)");
    return hand_over(agent, &request);
}

int agent_call(struct agent *agent, agent_fn *fn, const void *arg, size_t len)
{
    int rc = agent_call_send(agent, fn, arg, len);
    return rc ? rc : agent_answer(agent, 3 * PATIENCE);
}

int agent_reap(struct agent *agent, int ms)
{
    return await_end(&agent->pid, &agent->status, ms) ? 0 : AGENT_HUNG;
}

void agent_signal(struct agent *agent, int signal)
{
    if (agent->pid > 0)
        kill(agent->pid, signal);
}

void agent_kill(struct agent *agent)
{
    agent_signal(agent, SIGKILL);
    while (agent->pid > 0 && waitpid(agent->pid, &agent->status, 0) < 0 && errno == EINTR)
        ;
    agent->pid = 0;
}

void agent_stop(struct agent *agent)
{
    int status;
    agent_signal(agent, SIGSTOP);
    while (agent->pid > 0 && waitpid(agent->pid, &status, WUNTRACED) < 0 && errno == EINTR)
        ;
}

void agent_continue(struct agent *agent)
{
    agent_signal(agent, SIGCONT);
}

int agent_end(struct agent *agent)
{
    struct request request = {.text = "quit"};
    int rc = agent->pid > 0 ? hand_over(agent, &request) : AGENT_DEAD;
    if (rc == 0)
        rc = agent_answer(agent, PATIENCE);
    if (agent_reap(agent, rc ? 0 : PATIENCE)) {
        agent_kill(agent);
        rc = AGENT_HUNG;
    }
    return rc;
}

void agents_end(void)
{
    while (agents) {
        struct agent *agent = agents;
        agents = agent->next;
        if (agent->pid > 0) {
            agent_continue(agent);
            int rc = 0;
            while (rc != AGENT_HUNG && rc != AGENT_DEAD) /* answers that nobody asked for any more */
                rc = agent_answer(agent, 0);
            rc = agent_end(agent);
            CHECK(rc != AGENT_HUNG, "agent %s hangs in \"%s\"", agent->role, agent->order);
        }
        close(agent->fd);
        free(agent);
    }
}

bool check_do(const char *file, int line, const char *function, struct agent *agent, int expected, const char *format,
              ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int rc = send_text(agent, format, arguments);
    va_end(arguments);
    if (rc == 0)
        rc = agent_answer(agent, PATIENCE);
    snprintf(text, sizeof text, "agent %s: \"%.80s\"", agent->role, agent->order);
    return check_rc(file, line, function, rc, expected, text);
}

bool check_event(const char *file, int line, const char *function, struct agent *agent, int type, int reason,
                 const char *name, const char *data)
{
    char text[256];
    struct heir_event *event = &agent->answer.event;
    if (!check_do(file, line, function, agent, 0, "wait %d", patience(PATIENCE) / 2))
        return false;
    snprintf(text, sizeof text, "agent %s: the type of its event for \"%s\"", agent->role, event->name);
    bool good = check_eq(file, line, function, event->type, type, text);
    snprintf(text, sizeof text, "agent %s: the reason of its event for \"%s\"", agent->role, event->name);
    if (reason)
        good &= check_eq(file, line, function, event->reason, reason, text);
    snprintf(text, sizeof text, "agent %s: the table of its event", agent->role);
    if (name)
        good &= check_str(file, line, function, event->name, name, text);
    snprintf(text, sizeof text, "agent %s: the data of its event", agent->role);
    if (data)
        good &= check_bytes(file, line, function, event->data, event->data_len, data, strlen(data), text);
    return good;
}
