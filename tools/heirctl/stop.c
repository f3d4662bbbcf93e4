/* SPDX-License-Identifier: MIT */
/*
 * Pausing, and being stopped: for verbs that go on until then, and have something to give back first.
 */
#include "heirctl.h"
#include <time.h>

static volatile sig_atomic_t stopped_by;

static void note_signal(int signal)
{
    stopped_by = signal;
}

void stop_begin(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction old, action = {.sa_handler = note_signal}; /* no SA_RESTART: a write that blocks ends, too */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
    }
}

int stop_signal(void)
{
    return stopped_by;
}

void stop_now(void)
{
    if (stopped_by == 0)
        return;
    signal(stopped_by, SIG_DFL);
    raise(stopped_by);
}

void pause_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}
