/* SPDX-License-Identifier: MIT */
/*
 * Scenario 6: a login that many processes read while the one that does it keeps crashing.
 *
 * The driver is the login server: it gives out one device code, answers polls with "authorization_pending", now and
 * then with rubbish that crashes the worker, and in the end with "access_granted". Once it kills the worker and keeps
 * `heirctl run` from starting another (SIGSTOP), to see that the login can be looked up and read all the same. No
 * reader may ever fail or see half a state; the code must be fetched once, and outlive every worker.
 */
#include "driver.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READERS = 3, POLLS_A_LIFE = 10 };

#define CODE     "GmRhmhcxhwAzkoEqiMEg"
#define INTERVAL "5"

static struct child *worker, *readers[READERS + 1];

/* What all readers see, each asked for it: one and the same. */
static void ask_readers(int count, const char *state)
{
    char expected[128];
    snprintf(expected, sizeof(expected), CODE " " INTERVAL " %s", state);
    for (int i = 0; i < count; i++) {
        driver_say(readers[i], "state?");
        const char *line = driver_hear(readers[i]);
        printf("reader %d: %s\n", (int)readers[i]->pid, line);
        if (strcmp(line, expected) != 0)
            driver_fail("'%s' was to be read", expected);
    }
}

static struct child *start_reader(void)
{
    return driver_start((const char *[]){"device-login-reader", NULL});
}

/* The worker's next request. *pid follows the worker. */
static const char *request(pid_t *pid)
{
    for (;;) {
        const char *line = driver_hear(worker);
        if (strncmp(line, "device-login-worker ", 20) != 0)
            return line;
        *pid = (pid_t)atol(line + 20);
        printf("# worker %d has claimed the login\n", (int)*pid);
    }
}

static void expect_poll(pid_t *pid)
{
    const char *line = request(pid);
    if (strcmp(line, "poll " CODE) != 0)
        driver_fail("the worker says '%s'", line);
}

int main(int argc, char *argv[])
{
    long crashes = 3, polls = 0;
    pid_t pid = 0;
    char state[64];
    driver_begin(argc, argv,
                 (struct driver_option[]){{"--crashes", &crashes, 0, 10, "how often to crash the worker"}, {0}});
    driver_table("device-login");
    worker = driver_run((const char *[]){"device-login-worker", NULL}, -1, OFTEN);
    if (strcmp(request(&pid), "fetch") != 0)
        driver_fail("the worker does not begin with fetching");
    driver_say(worker, CODE " " INTERVAL);
    puts("# it has fetched its device code");

    for (long life = 0; life <= crashes; life++) {
        for (int i = 0; i < POLLS_A_LIFE; i++, polls++) {
            expect_poll(&pid);
            if (polls == 0)
                for (int r = 0; r < READERS; r++)
                    readers[r] = start_reader();
            driver_say(worker, "authorization_pending");
        }
        expect_poll(&pid);
        if (life < crashes) {
            printf("# worker %d gets an answer that it does not understand\n", (int)pid);
            driver_say(worker, "<html>Bad Gateway</html>");
        }
    }
    snprintf(state, sizeof(state), "authorization_pending %ld", polls);
    ask_readers(READERS, state);

    kill(worker->pid, SIGSTOP);
    driver_kill(pid);
    printf("# kill -9 %d; no other is started yet, but there is a new reader\n", (int)pid);
    readers[READERS] = start_reader();
    ask_readers(READERS + 1, state);
    kill(worker->pid, SIGCONT);

    expect_poll(&pid);
    driver_say(worker, "access_granted");
    driver_finish(worker);
    puts("# the user has agreed, and the worker has ended");
    snprintf(state, sizeof(state), "access_granted %ld", polls + 1);
    ask_readers(READERS + 1, state);
    for (int i = 0; i <= READERS; i++)
        driver_finish(readers[i]);
    return driver_done("1 fetch, %ld polls, %ld deaths, %d readers, no half state", polls + 1, crashes + 1,
                       READERS + 1);
}
