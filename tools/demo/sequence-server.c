/* SPDX-License-Identifier: MIT */
/*
 * The server of scenario 4: it hands out numbers. Its stdin is a listening Unix socket; a connection is one request:
 *
 *     next           the next number, from 0
 *     increment N    skip N numbers; the answer is the next one
 *
 * What it does not understand it does not try to survive: it aborts, as `increment cat` will show.
 */
#include <err.h>
#include <errno.h>
#include <heir.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t answer(struct heir_table *sequence, const char *request)
{
    int64_t step = 1, next;
    char *end;
    int error;
    if (strcmp(request, "next") != 0) {
        if (strncmp(request, "increment ", 10) != 0)
            abort();
        step = strtoll(request + 10, &end, 10);
        if (end == request + 10 || *end)
            abort();
    }
    if ((error = heir_add(sequence, "next", 4, step, &next)))
        errx(1, "%s", heir_strerror(error));
    return request[0] == 'n' ? next - 1 : next;
}

int main(void)
{
    struct heir *me;
    struct heir_table *sequence;
    int error, client;

    if ((error = heir_open(&(struct heir_open_options){.timeout_ms = -1}, &me)) ||
        (error = heir_claim(me, "sequence", &(struct heir_table_options){0}, -1, &sequence)))
        errx(1, "%s", heir_strerror(error));
    dprintf(STDOUT_FILENO, "sequence-server %d\n", (int)getpid());

    while ((client = accept(STDIN_FILENO, NULL, NULL)) >= 0) {
        char request[64];
        ssize_t n = read(client, request, sizeof(request) - 1);
        if (n > 0) {
            request[n] = '\0';
            dprintf(client, "%" PRId64, answer(sequence, request));
        }
        close(client);
    }
    if (errno != EINVAL) /* shut down: the orderly end */
        err(1, "accept");
    return heir_close(me) ? 1 : 0;
}
