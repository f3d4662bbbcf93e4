/* SPDX-License-Identifier: MIT */
/* Sending and receiving messages; see wire.h. */
#include "wire.h"
#include "point.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int wire_send(int socket, const void *message, size_t bytes, const int *fds, unsigned count)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * WIRE_FDS)];
    } control;
    struct iovec part = {(void *)(uintptr_t)message, bytes};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    if (count > 0) {
        memset(&control, 0, sizeof control);
        m.msg_control = control.room;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    }
    VISIBLE();
    while (sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EWOULDBLOCK)
            return -EAGAIN;
        if (errno == ECONNRESET || errno == ENOTCONN)
            return -EPIPE;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int wire_receive(int socket, void *message, size_t bytes, size_t *got, int *fds, unsigned most)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * WIRE_FDS_MOST)]; /* what finds no room is closed by the kernel, here */
    } control;
    struct iovec part = {message, bytes};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t n;
    unsigned count = 0;

    for (unsigned i = 0; i < most; i++)
        fds[i] = -1;
    while ((n = recvmsg(socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0) {
        if (errno == ECONNRESET) {
            *got = 0;
            return 0;
        }
        if (errno != EINTR)
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        int here = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < here; i++, count++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + (size_t)i * sizeof(int), sizeof(int));
            if (count < most)
                fds[count] = fd;
            else
                close(fd);
        }
    }
    *got = (size_t)n;
    if (count > most || (n == 0 && count > 0) || /* an empty message is an end, and brings nothing */
        (m.msg_flags & MSG_TRUNC) != 0)
        return -EPROTO;
    /* there is room for all: when one did not come, there was no number free for it */
    return (m.msg_flags & MSG_CTRUNC) != 0 ? -EMFILE : 0;
}

bool wire_text_ok(const char text[NAME_ROOM])
{
    return memchr(text, '\0', NAME_ROOM) != NULL;
}
