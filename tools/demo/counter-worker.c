/* SPDX-License-Identifier: MIT */
/*
 * The worker of scenario 1: it counts. For each line that comes in it answers with the next number.
 *
 * This is the whole program. It does not know whether it is the first worker or the tenth: heir_claim() makes the
 * table, or takes over the one of a worker that died, as that one's last commit left it.
 */
#include <err.h>
#include <heir.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    struct heir *me;
    struct heir_table *counter;
    int64_t n;
    int error;
    char request[64];

    if ((error = heir_open(&(struct heir_open_options){.timeout_ms = -1}, &me)) ||
        (error = heir_claim(me, "counter", &(struct heir_table_options){.access = HEIR_PROTECTED}, -1, &counter)))
        errx(1, "%s", heir_strerror(error));
    dprintf(STDOUT_FILENO, "counter-worker %d\n", (int)getpid());

    while (fgets(request, sizeof(request), stdin)) {
        if ((error = heir_add(counter, "n", 1, 1, &n)))
            errx(1, "%s", heir_strerror(error));
        dprintf(STDOUT_FILENO, "%" PRId64 "\n", n);
    }
    return heir_close(me) ? 1 : 0;
}
