/* SPDX-License-Identifier: MIT */
/* How do the processes of a benchmark talk? See child.h. */
#include "child.h"

#include "common.h"
#include "world.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAR_MS 60000

int child_start(struct child *child, child_main *run, void *arg)
{
    int wires[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wires) < 0)
        return fail("socketpair: %s", strerror(errno));
    child->pid = world_fork();
    if (child->pid == 0) {
        close(wires[0]);
        _exit(run(wires[1], arg) ? 1 : 0);
    }
    close(wires[1]);
    child->wire = wires[0];
    return child->pid < 0 ? fail("fork: %s", strerror(errno)) : 0;
}

int child_tell(int wire, const void *message, size_t size)
{
    if (send(wire, message, size, MSG_NOSIGNAL) != (ssize_t)size)
        return fail("send: %s", strerror(errno));
    return 0;
}

int child_hear(int wire, void *message, size_t size)
{
    struct pollfd p = {.fd = wire, .events = POLLIN};

    if (poll(&p, 1, HEAR_MS) != 1)
        return fail("another process did not answer in time");
    if (recv(wire, message, size, 0) != (ssize_t)size)
        return fail("another process has ended");
    return 0;
}

int child_next(int wire, void *request, size_t size)
{
    ssize_t n = recv(wire, request, size, 0);

    return n == (ssize_t)size ? 0 : n == 0 ? 1 : fail("recv: %s", strerror(errno));
}

int child_end(struct child *child, bool killed)
{
    int status = 0;

    shutdown(child->wire, SHUT_RDWR); /* later children have copies of it */
    close(child->wire);
    while (waitpid(child->pid, &status, 0) < 0)
        if (errno != EINTR)
            return fail("waitpid: %s", strerror(errno));
    if (killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : status == 0)
        return 0;
    return fail("process %ld ended with status 0x%x", (long)child->pid, (unsigned)status);
}

unsigned cores(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : (unsigned)CPU_COUNT(&set);
}

int pin_to_core(unsigned n)
{
    cpu_set_t may, one;
    int core = -1;

    if (sched_getaffinity(0, sizeof may, &may) < 0)
        return fail("sched_getaffinity: %s", strerror(errno));
    do
        while (++core < CPU_SETSIZE && !CPU_ISSET(core, &may))
            ;
    while (n-- && core < CPU_SETSIZE);
    if (core >= CPU_SETSIZE)
        return fail("there are not enough cores");
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    return sched_setaffinity(0, sizeof one, &one) < 0 ? fail("sched_setaffinity: %s", strerror(errno)) : 0;
}
