/* SPDX-License-Identifier: MIT */
/*
 * A reader of scenario 6: looks the login up by the name of its table and reads it again and again, asking nobody. It
 * stops, and says why, if what it sees is not one whole state of one login. For each line that comes in it says what it
 * sees.
 */
#include <err.h>
#include <heir.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct login {
    char device_code[64], interval[16], state[64];
    int64_t polls;
    int keys;
};

static int visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct login *login = arg;
    struct {
        const char *name;
        void *to;
        size_t room;
    } fields[] = {{"device_code", login->device_code, sizeof(login->device_code)},
                  {"interval", login->interval, sizeof(login->interval)},
                  {"state", login->state, sizeof(login->state)},
                  {"polls", &login->polls, sizeof(login->polls)}};
    for (int i = 0; i < 4; i++)
        if (strlen(fields[i].name) == key_len && memcmp(fields[i].name, key, key_len) == 0 &&
            value_len <= fields[i].room) {
            memcpy(fields[i].to, value, value_len);
            login->keys++;
        }
    return 0;
}

static void look(struct heir_table *table, struct login *login)
{
    struct login now = {0};
    int64_t number = -1;
    int error = heir_foreach(table, visit, &now);
    if (error)
        errx(1, "%s", heir_strerror(error));
    if (now.keys != 4 || sscanf(now.state, "%*s %" SCNd64, &number) != 1 || number != now.polls)
        errx(1, "half a state: %d keys, %s, %" PRId64 " polls", now.keys, now.state, now.polls);
    if (login->keys && (strcmp(now.device_code, login->device_code) || strcmp(now.interval, login->interval)))
        errx(1, "the device code was %s and is %s", login->device_code, now.device_code);
    if (now.polls < login->polls)
        errx(1, "polls went back from %" PRId64 " to %" PRId64, login->polls, now.polls);
    *login = now;
}

int main(void)
{
    struct heir *me;
    struct heir_table *table;
    struct login login = {0};
    char line[64];
    int error;
    if ((error = heir_open(NULL, &me)) || (error = heir_attach(me, "device-login", &table)))
        errx(1, "%s", heir_strerror(error));

    for (;;) {
        look(table, &login);
        if (poll(&(struct pollfd){.fd = STDIN_FILENO, .events = POLLIN}, 1, 1) == 0)
            continue;
        if (!fgets(line, sizeof(line), stdin))
            return heir_close(me) ? 1 : 0;
        look(table, &login);
        dprintf(STDOUT_FILENO, "%s %s %s\n", login.device_code, login.interval, login.state);
    }
}
