/* SPDX-License-Identifier: MIT */
/*
 * The client of scenario 4: sends its requests one by one and prints what came back, or "failed" and goes on.
 *
 *     sequence-client SOCKET REQUEST...       (a name in the abstract namespace)
 */
#include <err.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (argc < 3)
        errx(2, "usage: sequence-client SOCKET REQUEST...");
    snprintf(to.sun_path + 1, sizeof(to.sun_path) - 1, "%s", argv[1]);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(to.sun_path + 1));

    for (int i = 2; i < argc; i++) {
        char answer[64];
        int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (server < 0 || connect(server, (struct sockaddr *)&to, length))
            err(1, "connect");
        ssize_t n = send(server, argv[i], strlen(argv[i]), MSG_NOSIGNAL);
        if (n > 0)
            n = read(server, answer, sizeof(answer));
        dprintf(STDOUT_FILENO, "%s: %.*s\n", argv[i], n > 0 ? (int)n : 6, n > 0 ? answer : "failed");
        close(server);
    }
    return 0;
}
