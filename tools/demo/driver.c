/* SPDX-License-Identifier: MIT */
/*
 * The driver's process side. Signals are blocked and read from a signalfd, in the one place where a driver waits
 * (pump): so nothing is ever interrupted half way, and a signal is just one more reason to clean up and leave.
 *
 * Each child leads a process group of its own, which holds what it starts; the driver is the subreaper of them all. So
 * the end of a child ends its family, and Ctrl-C reaches the driver alone. A driver that is itself killed takes its
 * children along (PR_SET_PDEATHSIG).
 */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    KEEPER_MS = 5000,   /* for an answer of the keeper */
    PATIENCE_MS = 20000 /* for what should be done at once: a death, an orderly end, a claim of what nobody owns */
};

static struct {
    const char *name;
    char demo_dir[PATH_MAX - 64], bin_dir[PATH_MAX - 64];
    sigset_t signals;
    int signal_fd;
    long seconds;
    int64_t deadline;
    struct child **children;
    size_t child_count;
    const char **tables;
    size_t table_count;
    struct heir *me;
    bool own_keeper, cleaned;
    struct child *keeper;
} the;

int64_t driver_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void driver_deadline(long seconds)
{
    the.seconds = seconds;
    the.deadline = driver_now_ms() + seconds * INT64_C(1000);
}

void driver_must(int error, const char *what)
{
    if (error)
        driver_fail("%s: %s", what, heir_strerror(error));
}

static void *grown(void *array, size_t count, size_t size)
{
    array = realloc(array, (count + 1) * size);
    if (!array)
        driver_fail("no memory");
    return array;
}

/* ---- Children ----------------------------------------------------------------------------------------- */

static struct child *launch(const char *path, const char *const argv[], const char *name, int in)
{
    int pair[2];
    struct child *child = calloc(1, sizeof(*child));
    if (!child || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        driver_fail("cannot start %s: %s", name, strerror(errno));

    pid_t driver = getpid();
    pid_t pid = fork();
    if (pid < 0)
        driver_fail("cannot start %s: %s", name, strerror(errno));
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != driver)
            _exit(1);
        sigprocmask(SIG_UNBLOCK, &the.signals, NULL);
        dup2(in < 0 ? pair[1] : in, STDIN_FILENO);
        dup2(pair[1], STDOUT_FILENO);
        execv(path, (char *const *)argv);
        dprintf(STDERR_FILENO, "%s: cannot start %s: %s\n", the.name, path, strerror(errno));
        _exit(127);
    }
    setpgid(pid, pid); /* here and there: whoever is first */
    close(pair[1]);
    *child = (struct child){.name = name, .pid = pid, .fd = pair[0]};
    the.children = grown(the.children, the.child_count, sizeof(*the.children));
    the.children[the.child_count++] = child;
    return child;
}

struct child *driver_start(const char *const argv[])
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", the.demo_dir, argv[0]);
    return launch(path, argv, argv[0], -1);
}

struct child *driver_run(const char *const argv[], int in, const char *restarts)
{
    char heirctl[PATH_MAX], worker[PATH_MAX];
    const char *run[16] = {"heirctl", "run"};
    size_t n = 2;
    snprintf(heirctl, sizeof(heirctl), "%s/heirctl", the.bin_dir);
    snprintf(worker, sizeof(worker), "%s/%s", the.demo_dir, argv[0]);
    if (restarts) {
        run[n++] = "--restarts";
        run[n++] = restarts;
    }
    run[n++] = "--";
    run[n++] = worker;
    for (const char *const *arg = argv + 1; *arg && n < sizeof(run) / sizeof(*run) - 1; arg++)
        run[n++] = *arg;
    return launch(heirctl, run, argv[0], in);
}

/* Without reaping: the pid stays the child's, and so does the process group. */
static bool ends_within(pid_t pid, int ms)
{
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return errno == ESRCH;
    bool ended = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ms) == 1;
    close(fd);
    return ended;
}

/* Reap it if it has ended, after what is left of its family has been killed. */
static bool bury(struct child *child)
{
    siginfo_t info = {0};
    if (child->ended || waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == 0)
        return child->ended;
    kill(-child->pid, SIGKILL);
    waitpid(child->pid, &child->status, 0);
    return child->ended = true;
}

static const char *obituary(int status)
{
    static char text[64];
    if (WIFSIGNALED(status))
        snprintf(text, sizeof(text), "died of SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(text, sizeof(text), "ended with exit code %d", WEXITSTATUS(status));
    return text;
}

void driver_kill(pid_t pid)
{
    if (kill(pid, SIGKILL))
        driver_fail("cannot kill %d: %s", (int)pid, strerror(errno));
    if (!ends_within(pid, PATIENCE_MS))
        driver_fail("process %d outlives SIGKILL", (int)pid);
}

/* ---- Waiting ------------------------------------------------------------------------------------------ */

static void on_signal(void)
{
    struct signalfd_siginfo info;
    if (read(the.signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo != SIGCHLD)
        driver_fail("stopped by SIG%s", sigabbrev_np((int)info.ssi_signo));
    for (size_t i = 0; i < the.child_count; i++) {
        struct child *child = the.children[i];
        if (!child->ended && bury(child) && !child->may_end)
            driver_fail("%s %s", child->name, obituary(child->status));
    }
}

static void on_input(struct child *child)
{
    ssize_t n = read(child->fd, child->buffer + child->length, sizeof(child->buffer) - child->length);
    if (n > 0) {
        child->length += (size_t)n;
        return;
    }
    if (child->length == sizeof(child->buffer))
        driver_fail("%s says a line that is too long", child->name);
    close(child->fd);
    child->fd = -1;
}

/* Wait for anything to happen, at most ms (-1: for ever), and take note of it. False: nothing did. */
static bool pump(int ms)
{
    static struct pollfd *fds;
    int64_t left = the.deadline - driver_now_ms();
    if (left <= 0)
        driver_fail("not done within %ld seconds", the.seconds);
    fds = grown(fds, the.child_count, sizeof(*fds));
    fds[0] = (struct pollfd){.fd = the.signal_fd, .events = POLLIN};
    for (size_t i = 0; i < the.child_count; i++)
        fds[i + 1] = (struct pollfd){.fd = the.children[i]->fd, .events = POLLIN};

    size_t count = the.child_count;
    if (poll(fds, count + 1, ms < 0 || ms > left ? (int)left : ms) <= 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (fds[i + 1].revents)
            on_input(the.children[i]);
    if (fds[0].revents)
        on_signal();
    return true;
}

static const char *take_line(struct child *child)
{
    char *end = memchr(child->buffer, '\n', child->length);
    if (!end)
        return NULL;
    size_t n = (size_t)(end - child->buffer);
    memcpy(child->line, child->buffer, n);
    child->line[n] = '\0';
    child->length -= n + 1;
    memmove(child->buffer, end + 1, child->length);
    return child->line;
}

void driver_say(struct child *child, const char *line)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "%s\n", line);
    if (send(child->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        driver_fail("cannot say '%s' to %s: %s", line, child->name, strerror(errno));
}

const char *driver_hear(struct child *child)
{
    const char *line;
    while (!(line = take_line(child))) {
        bool closed = child->fd < 0; /* most likely it has ended: then pump() will say so */
        if (!pump(closed ? 1000 : -1) && closed)
            driver_fail("%s says no more", child->name);
    }
    return line;
}

struct child *driver_listen(int ms, const char **line)
{
    int64_t end = driver_now_ms() + ms;
    for (;;) {
        for (size_t i = 0; i < the.child_count; i++)
            if ((*line = take_line(the.children[i])))
                return the.children[i];
        int64_t left = end - driver_now_ms();
        if (!pump(ms < 0 ? -1 : left > 0 ? (int)left : 0) && ms >= 0 && driver_now_ms() >= end)
            return NULL;
    }
}

pid_t driver_hello(struct child *child)
{
    const char *line = driver_hear(child);
    const char *space = strrchr(line, ' ');
    pid_t pid = space ? (pid_t)strtol(space, NULL, 10) : 0;
    if (pid <= 0)
        driver_fail("%s says '%s' in place of its pid", child->name, line);
    return pid;
}

void driver_wait(struct child *child)
{
    child->may_end = true;
    while (!child->ended)
        pump(-1);
}

void driver_finish(struct child *child)
{
    shutdown(child->fd, SHUT_WR);
    driver_wait(child);
    if (!WIFEXITED(child->status) || WEXITSTATUS(child->status) != 0)
        driver_fail("%s %s", child->name, obituary(child->status));
}

/* ---- Keeper and tables -------------------------------------------------------------------------------- */

void driver_keeper_start(void)
{
    char heird[PATH_MAX];
    snprintf(heird, sizeof(heird), "%s/heird", the.bin_dir);
    the.keeper = launch(heird, (const char *[]){"heird", "--ready-fd", "1", NULL}, "heird", -1);
    driver_hear(the.keeper);
}

void driver_keeper_kill(void)
{
    the.keeper->may_end = true;
    driver_kill(the.keeper->pid);
    driver_wait(the.keeper);
    the.keeper = NULL;
}

struct heir *driver_heir(void)
{
    return the.me;
}

struct heir_table *driver_attach(const char *name)
{
    struct heir_table *table;
    driver_must(heir_attach(the.me, name, &table), name);
    return table;
}

static int destroy_table(const char *name, int timeout_ms)
{
    struct heir_table *table;
    int error = heir_claim(the.me, name, NULL, timeout_ms, &table);
    if (!error)
        error = heir_destroy(table);
    return error == -ENOENT ? 0 : error;
}

void driver_table(const char *name)
{
    int error = destroy_table(name, 0);
    if (error == -EBUSY)
        driver_fail("the table %s is in use; is this demo running already?", name);
    driver_must(error, name);
    the.tables = grown(the.tables, the.table_count, sizeof(*the.tables));
    the.tables[the.table_count++] = name;
}

/* ---- Begin and end ------------------------------------------------------------------------------------ */

static void end_child(struct child *child)
{
    if (child->ended)
        return;
    kill(child->pid, SIGTERM);
    kill(child->pid, SIGCONT);
    if (!ends_within(child->pid, PATIENCE_MS))
        kill(-child->pid, SIGKILL);
    ends_within(child->pid, PATIENCE_MS);
    bury(child);
}

/* What heirctl left behind when it had to be killed is ours now, and dying. */
static void reap_orphans(void)
{
    int64_t end = driver_now_ms() + PATIENCE_MS;
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && driver_now_ms() < end)
        if (pid == 0)
            sigtimedwait(&the.signals, NULL, &(struct timespec){.tv_nsec = 100000000});
}

/* Returns 0, or the error of the first table that could not be destroyed. */
static int clean_up(void)
{
    int error = 0;
    if (the.cleaned)
        return 0;
    the.cleaned = true;
    driver_deadline(60);
    for (size_t i = 0; i < the.child_count; i++) /* all at once, then one by one */
        if (the.children[i] != the.keeper && !the.children[i]->ended)
            kill(the.children[i]->pid, SIGTERM);
    for (size_t i = 0; i < the.child_count; i++)
        if (the.children[i] != the.keeper)
            end_child(the.children[i]);
    if (the.own_keeper && !the.keeper && the.table_count)
        driver_keeper_start();
    for (size_t i = 0; i < the.table_count && !error; i++)
        error = destroy_table(the.tables[i], PATIENCE_MS);
    heir_close(the.me);
    if (the.keeper)
        end_child(the.keeper);
    reap_orphans();
    return error;
}

static void at_exit(void)
{
    clean_up();
}

int driver_done(const char *format, ...)
{
    va_list args;
    driver_must(clean_up(), "cannot remove a table");
    printf("%s: ", the.name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    return 0;
}

void driver_fail(const char *format, ...)
{
    va_list args;
    bool cleaning = the.cleaned;
    clean_up();
    printf("%s: FAILED: ", the.name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    if (cleaning)
        _exit(1);
    exit(1);
}

static _Noreturn void usage(const struct driver_option *options, int code)
{
    FILE *out = code ? stderr : stdout;
    fprintf(out, "usage: %s [options]\n  %-15s start a keeper for this run\n", the.name, "--own-keeper");
    for (const struct driver_option *o = options; o && o->name; o++)
        fprintf(out, "  %s N%*s %s (%ld to %ld; default %ld)\n", o->name, 13 - (int)strlen(o->name), "", o->help,
                o->least, o->most, *o->value);
    exit(code);
}

static void take_options(int argc, char *argv[], const struct driver_option *options)
{
    for (int i = 1; i < argc; i++) {
        const struct driver_option *o = options;
        if (strcmp(argv[i], "--help") == 0)
            usage(options, 0);
        if (strcmp(argv[i], "--own-keeper") == 0) {
            the.own_keeper = true;
            continue;
        }
        while (o && o->name && strcmp(o->name, argv[i]) != 0)
            o++;
        if (!o || !o->name || ++i == argc)
            usage(options, 2);
        char *end;
        long value = strtol(argv[i], &end, 10);
        if (end == argv[i] || *end || value < o->least || value > o->most)
            usage(options, 2);
        *o->value = value;
    }
}

static void find_programs(void)
{
    ssize_t n = readlink("/proc/self/exe", the.demo_dir, sizeof(the.demo_dir) - 1);
    char *slash = n > 0 ? strrchr(the.demo_dir, '/') : NULL;
    if (!slash)
        driver_fail("cannot tell where this program is: %s", strerror(errno));
    *slash = '\0';
    const char *bin = getenv("HEIR_BINDIR");
    if ((size_t)snprintf(the.bin_dir, sizeof(the.bin_dir), "%s%s", bin ? bin : the.demo_dir, bin ? "" : "/..") >=
        sizeof(the.bin_dir))
        driver_fail("the path of heirctl is too long");
}

void driver_begin(int argc, char *argv[], const struct driver_option *options)
{
    const char *slash = strrchr(argv[0], '/');
    the.name = slash ? slash + 1 : argv[0];
    setvbuf(stdout, NULL, _IOLBF, 0);
    take_options(argc, argv, options);
    driver_deadline(60);
    find_programs();

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0}); /* the crashes to come are meant */
    sigemptyset(&the.signals);
    for (const int *signal = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGCHLD, 0}; *signal; signal++)
        sigaddset(&the.signals, *signal);
    sigprocmask(SIG_BLOCK, &the.signals, NULL);
    the.signal_fd = signalfd(-1, &the.signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (the.signal_fd < 0)
        driver_fail("signalfd: %s", strerror(errno));
    atexit(at_exit);

    if (the.own_keeper) {
        if (!getenv("HEIR_NAMESPACE") && !getenv("HEIR_SOCKET")) { /* not in the way of the user's keeper */
            char ns[64];
            snprintf(ns, sizeof(ns), "demo-%s", the.name);
            setenv("HEIR_NAMESPACE", ns, 1);
        }
        driver_keeper_start();
    }
    int error = heir_open(&(struct heir_open_options){.name = the.name, .timeout_ms = KEEPER_MS}, &the.me);
    if (error == -ECONNREFUSED)
        driver_fail("%s (or try --own-keeper)", heir_strerror(error));
    driver_must(error, "cannot join the namespace");
}

void driver_begin_own_keeper(int argc, char *argv[], const struct driver_option *options)
{
    the.own_keeper = true;
    driver_begin(argc, argv, options);
}
