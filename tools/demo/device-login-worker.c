/* SPDX-License-Identifier: MIT */
/*
 * The worker of scenario 6: logs a device in, as with OAuth: it fetches a device code once, then polls the server with
 * it until the user has agreed. (The server is at the other end of stdin and stdout.)
 *
 * It understands three answers. Anything else kills it; then the next worker goes on polling with the same code.
 */
#include <err.h>
#include <errno.h>
#include <heir.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct heir_table *login;

static void must(int error)
{
    if (error)
        errx(1, "%s", heir_strerror(error));
}

static void put(const char *key, const char *value)
{
    must(heir_put(login, key, strlen(key), value, strlen(value) + 1));
}

static void get(const char *key, char *value, size_t room)
{
    must(heir_get(login, key, strlen(key), value, &room));
}

static void ask(const char *request, char *answer, size_t room)
{
    dprintf(STDOUT_FILENO, "%s\n", request);
    if (!fgets(answer, (int)room, stdin))
        exit(0);
    answer[strcspn(answer, "\n")] = '\0';
}

static void fetch(void)
{
    char answer[128], code[64], interval[16];
    ask("fetch", answer, sizeof(answer));
    if (sscanf(answer, "%63s %15s", code, interval) != 2)
        abort();
    must(heir_begin(login));
    put("device_code", code);
    put("interval", interval);
    put("state", "authorization_pending 0");
    must(heir_add(login, "polls", 5, 0, NULL));
    must(heir_commit(login));
}

/* Returns whether the login is over. */
static bool poll_server(void)
{
    char code[64], request[96], answer[128], state[160];
    int64_t polls;
    get("device_code", code, sizeof(code));
    snprintf(request, sizeof(request), "poll %s", code);
    ask(request, answer, sizeof(answer));

    must(heir_begin(login));
    must(heir_add(login, "polls", 5, 1, &polls));
    bool pending = strcmp(answer, "authorization_pending") == 0;
    if (!pending && strcmp(answer, "access_granted") != 0)
        abort(); /* in the middle of the change */
    snprintf(state, sizeof(state), "%s %" PRId64, answer, polls);
    put("state", state);
    must(heir_commit(login));
    return !pending;
}

int main(void)
{
    struct heir *me;
    char interval[16];
    must(heir_open(&(struct heir_open_options){.timeout_ms = -1}, &me));
    must(heir_claim(me, "device-login", &(struct heir_table_options){0}, -1, &login));
    dprintf(STDOUT_FILENO, "device-login-worker %d\n", (int)getpid());

    if (heir_has(login, "device_code", strlen("device_code")) == -ENOENT)
        fetch();
    get("interval", interval, sizeof(interval));
    while (!poll_server())
        nanosleep(&(struct timespec){.tv_nsec = atol(interval) * 1000000}, NULL);
    return heir_close(me) ? 1 : 0;
}
