/* SPDX-License-Identifier: MIT */
/*
 * The worker of scenario 2: it counts in a table that it is handed. It says who it is, waits for the table, and answers
 * each line that comes in with the next number.
 */
#include <err.h>
#include <heir.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    struct heir *me;
    struct heir_event event = {0};
    int64_t n;
    int error;
    char request[64];

    if ((error = heir_open(&(struct heir_open_options){.timeout_ms = -1}, &me)))
        errx(1, "%s", heir_strerror(error));
    dprintf(STDOUT_FILENO, "counter-public-worker %d %" PRIu64 "\n", (int)getpid(), heir_id(me));

    while (event.type != HEIR_EVENT_TRANSFER)
        if ((error = heir_wait(me, -1, &event)))
            errx(1, "%s", heir_strerror(error));

    while (fgets(request, sizeof(request), stdin)) {
        if ((error = heir_add(event.table, "n", 1, 1, &n)))
            errx(1, "%s", heir_strerror(error));
        dprintf(STDOUT_FILENO, "%" PRId64 "\n", n);
    }
    return heir_close(me) ? 1 : 0;
}
