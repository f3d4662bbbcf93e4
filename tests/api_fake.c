/* SPDX-License-Identifier: MIT */
/*
 * A keeper that is none: it listens at the right place and does not answer, hangs up, answers with garbage, or with the
 * client's own packet changed in one byte (so that each field of the header is wrong once, its version too). And the
 * other way round: a keeper that gets such packets. Nothing may hang, crash, succeed, or leak.
 */
#include "api.h"

#include <fcntl.h>
#include <heir/admin.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum how { NO_ACCEPT, SILENT, HANG_UP, HANG_UP_LATER, GARBAGE, EMPTY, HUGE_PACKET, ECHO, ECHO_CHANGED, ECHO_FDS };

static _Atomic int *visits; /* of the one that hangs up at once */

static struct sockaddr_un address(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", world.socket);
    return to;
}

static void answer_with_fds(int fd, const char *data, size_t len)
{
    char space[CMSG_SPACE(3 * sizeof(int))] = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(3 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(head), (int[]){0, 1, 2}, 3 * sizeof(int));
    sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void be_false(int listener, enum how how, size_t at, struct rnd rnd)
{
    static char packet[1 << 16];
    for (;;) {
        int fd = how == NO_ACCEPT ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (how == NO_ACCEPT || how == SILENT)
            for (;;)
                pause();
        if (fd < 0)
            _exit(1);
        if (how == HANG_UP) {
            atomic_fetch_add(visits, 1);
            close(fd);
            continue;
        }
        for (;;) {
            ssize_t n = recv(fd, packet, sizeof packet, 0);
            if (n <= 0 || how == HANG_UP_LATER)
                break;
            size_t len = (size_t)n;
            if (how == GARBAGE)
                for (size_t i = 0; i < (len = 1 + rnd_below(&rnd, 4096)); i++)
                    packet[i] = (char)rnd_next(&rnd);
            if (how == EMPTY)
                len = 0;
            if (how == HUGE_PACKET)
                len = sizeof packet;
            if (how == ECHO_CHANGED)
                packet[at % len] ^= (char)(1 + rnd_below(&rnd, 255));
            if (how == ECHO_FDS)
                answer_with_fds(fd, packet, len);
            else if (send(fd, packet, len, MSG_NOSIGNAL) < 0)
                break;
        }
        close(fd);
    }
}

static pid_t false_keeper(enum how how, size_t at, struct rnd *rnd)
{
    struct sockaddr_un here = address();
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    unlink(world.socket);
    REQUIRE(bind(listener, (struct sockaddr *)&here, sizeof here) == 0 && listen(listener, 16) == 0);
    if (visits == NULL)
        visits = mmap(NULL, sizeof *visits, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(visits != MAP_FAILED);
    atomic_store(visits, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        be_false(listener, how, at, *rnd);
    }
    close(listener);
    rnd_next(rnd);
    return pid;
}

static void end_false_keeper(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    unlink(world.socket);
}

static bool is_refusal(int rc)
{
    return rc == -ECONNREFUSED || rc == -EPROTONOSUPPORT;
}

static int try_all(void)
{
    struct heir *client = NULL;
    struct heir_keeper_status status;
    struct heir_open_options options = {.timeout_ms = 40};
    int64_t begin = now_ms();
    int opened = heir_open(&options, &client);
    CHECK(is_refusal(opened), "heir_open: %s", error_text(opened));
    if (opened == 0)
        heir_close(client);
    int rc = heir_ping(&options, &status);
    CHECK(is_refusal(rc), "heir_ping: %s", error_text(rc));
    rc = heir_revoke(&options, "t", false);
    CHECK(is_refusal(rc), "heir_revoke: %s", error_text(rc));
    CHECK(now_ms() - begin < patience(5000), "it took %d ms", (int)(now_ms() - begin));
    return opened;
}

static void false_keepers(void)
{
    static const struct {
        enum how how;
        int times;
    } kinds[] = {{NO_ACCEPT, 1}, {SILENT, 1},      {HANG_UP, 2}, {HANG_UP_LATER, 2}, {GARBAGE, 30},
                 {EMPTY, 1},     {HUGE_PACKET, 1}, {ECHO, 1},    {ECHO_FDS, 2}};
    struct rnd rnd = {test_seed};
    int fds = count_fds(0);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (int k = 0; k < kinds[i].times; k++) {
            pid_t pid = false_keeper(kinds[i].how, 0, &rnd);
            try_all();
            end_false_keeper(pid);
            CHECK(count_fds(0) == fds, "kind %zu leaves %d descriptors", i, count_fds(0) - fds);
        }
}

/* As one does that is short of descriptors: whoever tries again does so at leisure, and not for ever. */
static void hangs_up_at_once(void)
{
    const struct heir_open_options options = {.timeout_ms = 500};
    struct rnd rnd = {test_seed};
    struct heir *client;
    pid_t pid = false_keeper(HANG_UP, 0, &rnd);
    CHECK_RC(heir_open(&options, &client), -ECONNREFUSED);
    CHECK(atomic_load(visits) > 1 && atomic_load(visits) < 50, "%d visits", atomic_load(visits));
    end_false_keeper(pid);
    REQUIRE_EQ(keeper_start(NULL), 0);
    REQUIRE_RC(heir_open(&options, &client), 0);
    CHECK_EQ(keeper_stop(), 0);
    pid = false_keeper(HANG_UP, 0, &rnd); /* one that has known another keeper */
    CHECK_RC(heir_claim(client, "t", NULL, 500, &(struct heir_table *){NULL}), -ETIMEDOUT);
    CHECK(atomic_load(visits) > 1 && atomic_load(visits) < 50, "%d visits", atomic_load(visits));
    end_false_keeper(pid);
    CHECK_RC(heir_close(client), 0);
    world.expect_rest = true;
}

static void other_version(void)
{
    struct rnd rnd = {test_seed};
    int refused = 0;
    for (size_t at = 0; at < 48; at++) {
        pid_t pid = false_keeper(ECHO_CHANGED, at, &rnd);
        refused += try_all() == -EPROTONOSUPPORT;
        end_false_keeper(pid);
    }
    CHECK(refused > 0, "no change of the header is called another version");
}

/* ---- The other way round ------------------------------------------------------------------------------ */

/* The first packet that a client sends, caught by a listener of ours. */
static size_t catch_hello(char *packet, size_t size)
{
    struct sockaddr_un here = address();
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    REQUIRE(bind(listener, (struct sockaddr *)&here, sizeof here) == 0 && listen(listener, 16) == 0);
    struct agent *agent = agent_new(NULL);
    agent_send(agent, "open x");
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    poll(&wait, 1, patience(PATIENCE));
    ssize_t n = recv(fd, packet, size, MSG_DONTWAIT);
    agent_kill(agent);
    close(fd);
    close(listener);
    unlink(world.socket);
    REQUIRE(n > 0);
    return (size_t)n;
}

static int connect_raw(void)
{
    struct sockaddr_un to = address();
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* It answers or hangs up, within the time. */
static bool reacts(int fd)
{
    char packet[1 << 16];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, patience(PATIENCE)) != 1)
        return false;
    recv(fd, packet, sizeof packet, MSG_DONTWAIT);
    return true;
}

static void keeper_gets_garbage(void)
{
    char hello[4096], packet[1 << 16];
    struct rnd rnd = {test_seed};
    size_t len = catch_hello(hello, sizeof hello);
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *client = test_open("good");
    struct heir_table *table = NULL;
    REQUIRE_RC(heir_create(client, "t", NULL, &table), 0);
    int fds = count_fds(keeper_pid());
    for (int i = 0; i < 200; i++) {
        size_t n = len;
        int fd = connect_raw();
        if (!CHECK(fd >= 0, "%s", strerror(errno)))
            break;
        memcpy(packet, hello, len);
        switch (i % 5) {
        case 0: /* one byte changed */
            packet[(size_t)(i / 5) % len] ^= (char)(1 + rnd_below(&rnd, 255));
            break;
        case 1: /* cut short */
            n = rnd_below(&rnd, len);
            break;
        case 2: /* longer than it says */
            n = len + 1 + rnd_below(&rnd, 2000);
            memset(packet + len, 0x5a, n - len);
            break;
        case 3: /* noise */
            n = 1 + rnd_below(&rnd, sizeof packet - 1);
            for (size_t k = 0; k < n; k++)
                packet[k] = (char)rnd_next(&rnd);
            break;
        default: /* the body is noise */
            for (size_t k = len < 24 ? len / 2 : 24; k < len; k++)
                packet[k] = (char)rnd_next(&rnd);
        }
        if (i % 3 == 0)
            answer_with_fds(fd, packet, n); /* and descriptors that nobody asked for */
        else
            send(fd, packet, n, MSG_NOSIGNAL);
        if (n > 0)
            CHECK(reacts(fd), "no reaction to case %d, packet %d", i % 5, i);
        close(fd);
    }
    struct heir_keeper_status status;
    CHECK_RC(heir_ping(NULL, &status), 0);
    CHECK_RC(heir_put(table, "k", 1, "v", 1), 0);
    CHECK_EQ(status.tables, 1);
    struct heir_table *second = NULL;
    CHECK_RC(heir_create(client, "u", NULL, &second), 0);
    for (int64_t end = now_ms() + patience(PATIENCE); count_fds(keeper_pid()) > fds + 8 && now_ms() < end;)
        heir_ping(NULL, &status);
    CHECK(count_fds(keeper_pid()) <= fds + 8, "the keeper has %d descriptors, %d before", count_fds(keeper_pid()), fds);
}

/* Clients that connect and say nothing, or never read, do not stop the others. */
static void keeper_has_silent_visitors(void)
{
    int fd[64];
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int i = 0; i < 64; i++)
        fd[i] = connect_raw();
    struct heir *client = test_open("good");
    struct heir_table *table = NULL;
    CHECK_RC(heir_create(client, "t", NULL, &table), 0);
    for (int i = 0; i < 64; i++)
        close(fd[i]);
    CHECK_RC(heir_destroy(table), 0);
}

const struct test api_fake[] = {{"false keepers", false_keepers},
                                {"a keeper that hangs up", hangs_up_at_once},
                                {"a keeper of another version", other_version},
                                {"a keeper that gets garbage", keeper_gets_garbage},
                                {"a keeper with silent visitors", keeper_has_silent_visitors},
                                {NULL, NULL}};
