/* SPDX-License-Identifier: MIT */
/*
 * A line on the terminal for what takes long: written over itself ten times a second, and gone at the end. Only where
 * stderr is a terminal, so that a log has none of it.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define EVERY_NS   UINT64_C(100000000)
#define EVERY_STEP 256u /* look at the clock after so many steps */

static bool shown; /* the cursor stands behind a line of ours */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void progress_begin(struct progress *progress, const char *what, uint64_t total, bool quiet)
{
    *progress = (struct progress){.total = total, .shown_ns = now_ns()};
    if (!quiet && isatty(STDERR_FILENO))
        progress->what = what;
}

void progress_step(struct progress *progress)
{
    if (++progress->done % EVERY_STEP != 0 || progress->what == NULL || now_ns() - progress->shown_ns < EVERY_NS)
        return;
    fprintf(stderr, "\r%s: %" PRIu64, progress->what, progress->done);
    if (progress->total != 0)
        fprintf(stderr, " of %" PRIu64, progress->total);
    fprintf(stderr, " objects");
    fflush(stderr);
    shown = true;
    progress->shown_ns = now_ns();
}

void progress_clear(void)
{
    if (shown)
        fputs("\r\033[K", stderr);
    shown = false;
}
