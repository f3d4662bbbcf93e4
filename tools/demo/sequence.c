/* SPDX-License-Identifier: MIT */
/*
 * Scenario 4: a server that crashes on a bad request, and a client that hardly notices.
 *
 * The listening socket is the driver's, and each server inherits it: requests that come while there is no server wait
 * in its queue. So `increment cat`, which kills the server, is the only request that fails, and the sequence goes on
 * behind it.
 */
#include "driver.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *const must_be_seen[] = {
    "next: 0", "next: 1",           "next: 2",   "increment cat: failed", "next: 3", "next: 4",
    "next: 5", "increment 94: 100", "next: 100",
};

static int listening_socket(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* abstract: no file to be left behind */
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path + 1, name);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 16))
        driver_fail("no socket to listen on: %s", strerror(errno));
    return fd;
}

int main(int argc, char *argv[])
{
    char name[64];
    driver_begin(argc, argv, NULL);
    driver_table("sequence");
    snprintf(name, sizeof(name), "heir-sequence-%d", (int)getpid());
    int listener = listening_socket(name);
    struct child *server = driver_run((const char *[]){"sequence-server", NULL}, listener, NULL);
    pid_t first = driver_hello(server);
    printf("# server %d listens\n", (int)first);

    struct child *client =
        driver_start((const char *[]){"sequence-client", name, "next", "next", "next", "increment cat", "next", "next",
                                      "next", "increment 94", "next", NULL});
    client->may_end = true;
    for (size_t i = 0; i < sizeof(must_be_seen) / sizeof(*must_be_seen); i++) {
        const char *line = driver_hear(client);
        puts(line);
        if (strcmp(line, must_be_seen[i]) != 0)
            driver_fail("'%s' was to come", must_be_seen[i]);
        if (strstr(line, "failed")) {
            pid_t second = driver_hello(server);
            printf("# server %d has crashed; server %d goes on\n", (int)first, (int)second);
            if (second == first)
                driver_fail("the server lives");
        }
    }
    driver_finish(client);
    shutdown(listener, SHUT_RDWR);
    driver_finish(server);
    return driver_done("0 1 2, crash, 3 4 5: one request failed, no number was lost");
}
