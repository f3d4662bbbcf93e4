/* SPDX-License-Identifier: MIT */
/*
 * heirctl run: start a command again when it died, as far as a worker needs it to get its table back.
 *
 * One loop over sigwaitinfo(): the signals are blocked all the time, so none is missed between looking and waiting.
 * Only deaths of the last SECONDS count, for the delay as well as for giving up: a command that dies once a day is
 * always back after 100 ms.
 */
#include "heirctl.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DELAY_FIRST_MS 100u
#define DELAY_MAX_MS   5000u
#define RESTARTS_MAX   100000ul
#define SECONDS_MAX    86400ul

struct runner {
    const struct ctl *ctl;
    size_t limit;       /* deaths ... */
    uint64_t window_ms; /* ... within this time, and it gives up */
    uint64_t *deaths;   /* when the last `limit` ones were, a ring; 0: none yet */
    size_t next;
    sigset_t watched, before;
    pid_t child;
    uint64_t started_ms;
    int status; /* of waitpid(), of the child that ended last */
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* N/SECONDS */
static bool parse_restarts(const char *text, struct runner *runner)
{
    char *end;
    errno = 0;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long limit = strtoul(text, &end, 10);
    if (end[0] != '/' || end[1] < '0' || end[1] > '9')
        return false;
    unsigned long seconds = strtoul(end + 1, &end, 10);
    if (*end != '\0' || errno != 0 || limit < 1 || limit > RESTARTS_MAX || seconds < 1 || seconds > SECONDS_MAX)
        return false;
    runner->limit = limit;
    runner->window_ms = seconds * 1000;
    return true;
}

/* ---- The child ---------------------------------------------------------------------------------------- */

static _Noreturn void become_command(const struct runner *runner, pid_t parent, int report)
{
    /* The command must not outlive us as an orphan that nobody restarts. A parent that died before the request counts,
     * too. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigprocmask(SIG_SETMASK, &runner->before, NULL);
    if (getppid() != parent)
        _exit(128 + SIGTERM);
    execvp(runner->ctl->args[0], runner->ctl->args);
    int error = errno;
    while (write(report, &error, sizeof error) < 0 && errno == EINTR)
        ;
    _exit(127);
}

/* Returns 0 when the command runs (or was killed on the way), or a negative errno. */
static int start(struct runner *runner)
{
    int report[2], error = 0;
    if (pipe2(report, O_CLOEXEC) < 0)
        return -errno;
    pid_t parent = getpid();
    runner->started_ms = now_ms();
    runner->child = fork();
    if (runner->child == 0)
        become_command(runner, parent, report[1]);
    if (runner->child < 0)
        error = errno;
    close(report[1]);
    /* exec closes the pipe, so the end of the file is success. */
    ssize_t got = 0;
    while (error == 0 && (got = read(report[0], &error, sizeof error)) < 0 && errno == EINTR)
        ;
    close(report[0]);
    if (got > 0)
        waitpid(runner->child, &runner->status, 0);
    return -error;
}

/* A terminal sends its signals to the whole foreground group; sent on, they would come twice. */
static void forward(const struct runner *runner, const siginfo_t *signal)
{
    if (signal->si_code == SI_KERNEL && getpgid(runner->child) == getpgrp())
        return;
    kill(runner->child, signal->si_signo);
}

/* Wait for the end of the child. Returns whether we were told to end meanwhile. */
static bool wait_for_end(struct runner *runner)
{
    bool ending = false;
    for (;;) {
        siginfo_t signal;
        if (sigwaitinfo(&runner->watched, &signal) < 0)
            continue;
        if (signal.si_signo != SIGCHLD) {
            ending = true;
            forward(runner, &signal);
        } else if (waitpid(runner->child, &runner->status, WNOHANG) == runner->child) {
            return ending;
        }
    }
}

/* ---- Deaths ------------------------------------------------------------------------------------------- */

static int status_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void death_text(char out[TEXT_MAX], int status)
{
    if (!WIFSIGNALED(status)) {
        snprintf(out, TEXT_MAX, "exited with status %d", WEXITSTATUS(status));
        return;
    }
    const char *name = sigabbrev_np(WTERMSIG(status));
    const char *core = WCOREDUMP(status) ? ", core dumped" : "";
    if (name != NULL)
        snprintf(out, TEXT_MAX, "was killed by SIG%s%s", name, core);
    else
        snprintf(out, TEXT_MAX, "was killed by signal %d%s", WTERMSIG(status), core);
}

/* Note a death; returns how many there were within the window, this one included. */
static size_t count_death(struct runner *runner)
{
    uint64_t now = now_ms();
    runner->deaths[runner->next] = now;
    runner->next = (runner->next + 1) % runner->limit;
    size_t count = 0;
    for (size_t i = 0; i < runner->limit; i++)
        count += runner->deaths[i] != 0 && now - runner->deaths[i] <= runner->window_ms;
    return count;
}

static unsigned delay_ms(size_t deaths)
{
    unsigned delay = DELAY_FIRST_MS;
    while (--deaths > 0 && delay < DELAY_MAX_MS)
        delay *= 2;
    return delay < DELAY_MAX_MS ? delay : DELAY_MAX_MS;
}

/* Returns whether we were told to end meanwhile. */
static bool sleep_unless_told(const struct runner *runner, unsigned ms)
{
    uint64_t end = now_ms() + ms, now;
    while ((now = now_ms()) < end) {
        struct timespec rest = {.tv_sec = (time_t)((end - now) / 1000),
                                .tv_nsec = (long)((end - now) % 1000) * 1000000};
        int signal = sigtimedwait(&runner->watched, NULL, &rest);
        if (signal > 0 && signal != SIGCHLD)
            return true;
    }
    return false;
}

static enum exit_status give_up(const struct runner *runner, size_t deaths, const char *death)
{
    return ctl_fail(
        runner->ctl, REFUSED, 0,
        "run: gave up: '%s' died %zu time%s within %llu s, the last time it %s; find out why (what it wrote "
        "stands above, and heirctl events tells what it owned), then start it again",
        runner->ctl->args[0], deaths, deaths == 1 ? "" : "s", (unsigned long long)(runner->window_ms / 1000), death);
}

static enum exit_status keep_running(struct runner *runner)
{
    const char *command = runner->ctl->args[0];
    for (bool first = true;; first = false) {
        char death[TEXT_MAX], lived[TEXT_MAX];
        int error = start(runner);
        if (error < 0 && first)
            return ctl_fail(runner->ctl, REFUSED, error, "run: cannot start '%s': %s", command, strerror(-error));
        if (error < 0) {
            /* Perhaps it is just being replaced by another version. */
            runner->status = 127 << 8;
            snprintf(death, sizeof death, "could not be started (E%s)", strerrorname_np(-error) + 1);
        } else {
            if (wait_for_end(runner) || runner->status == 0)
                return (enum exit_status)status_code(runner->status);
            death_text(death, runner->status);
        }
        size_t deaths = count_death(runner);
        if (deaths >= runner->limit)
            return give_up(runner, deaths, death);
        unsigned delay = delay_ms(deaths);
        duration_text(lived, now_ms() - runner->started_ms);
        fprintf(stderr,
                "heirctl: run: '%s' (pid %d) %s after %s; death %zu of %zu within %llu s; starting it again in %u ms\n",
                command, (int)runner->child, death, lived, deaths, runner->limit,
                (unsigned long long)(runner->window_ms / 1000), delay);
        if (sleep_unless_told(runner, delay))
            return (enum exit_status)status_code(runner->status);
    }
}

static void watch_signals(struct runner *runner)
{
    struct sigaction hangup;
    signal(SIGCHLD, SIG_DFL); /* ignored, as some parents leave it, there would be no status to collect */
    sigemptyset(&runner->watched);
    sigaddset(&runner->watched, SIGCHLD);
    sigaddset(&runner->watched, SIGTERM);
    sigaddset(&runner->watched, SIGINT);
    /* A blocked signal is taken even if it is ignored: nohup would be without effect. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&runner->watched, SIGHUP);
    sigprocmask(SIG_BLOCK, &runner->watched, &runner->before);
}

static enum exit_status run(struct ctl *ctl)
{
    struct runner runner = {.ctl = ctl};
    const char *restarts = ctl->restarts != NULL ? ctl->restarts : "5/10";
    if (!parse_restarts(restarts, &runner))
        return ctl_fail_usage(
            ctl, "--restarts wants N/SECONDS, such as 5/10: N from 1 to %lu, SECONDS from 1 to %lu; not '%s'",
            RESTARTS_MAX, SECONDS_MAX, restarts);
    if ((ctl->ns != NULL && setenv("HEIR_NAMESPACE", ctl->ns, 1) < 0) ||
        (ctl->socket != NULL && setenv("HEIR_SOCKET", ctl->socket, 1) < 0))
        return ctl_fail(ctl, REFUSED, -errno, "run: cannot set the environment: %s", strerror(errno));
    runner.deaths = must_alloc(runner.limit * sizeof *runner.deaths);
    memset(runner.deaths, 0, runner.limit * sizeof *runner.deaths);
    watch_signals(&runner);
    enum exit_status status = keep_running(&runner);
    free(runner.deaths);
    return status;
}

const struct verb verb_run = {
    .name = "run",
    .arguments = "[--restarts N/SECONDS] -- COMMAND [ARGUMENT]...",
    .line = "run a command and start it again when it dies",
    .text =
        "When the command dies (a signal, or an exit status other than 0), it is started again after 100 ms; with "
        "each\n"
        "further death within SECONDS the delay doubles, up to 5 s. After N deaths within SECONDS (default 5/10) run\n"
        "gives up, with exit status 1. When the command ends with status 0, so does run. SIGTERM, SIGINT and SIGHUP\n"
        "are sent on to the command, and run then ends with its status (128 + the signal if one killed it). When run\n"
        "itself is killed, the command gets SIGTERM.\n"
        "\n"
        "--namespace and --socket are handed on as $HEIR_NAMESPACE and $HEIR_SOCKET. Each death is a line on stderr;\n"
        "stdout is the command's alone. Needs no keeper. This is not a service manager: if you have one (systemd,\n"
        "runit, s6), use that.\n"
        "\n"
        "--json: nothing but the error object when it cannot start the command or gives up.\n",
    .options = "--restarts ",
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
