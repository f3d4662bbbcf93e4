/* SPDX-License-Identifier: MIT */
/*
 * Clients that say anything: an input is a list of steps of three connections to a keeper in this process. A step sends
 * a request, right or patched, whole or not, with descriptors that belong to it or not; or it does to the client what
 * can happen to one: its life mutex is locked, it dies, its connection breaks. Then a well-behaved client must be
 * served, and when all have gone the keeper must have the descriptors that it had before.
 *
 * Built with clang -fsanitize=fuzzer,address this is a libFuzzer target. Else it has a main() of its own that makes
 * random inputs: message [SEED [SECONDS]], or message FILE to run one.
 */
#include "ground.h"
#include "robust.h"
#include "wire.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define STEP_BYTES  16u
#define STEPS       48u
#define CONNECTIONS 3u
#define PAGES       (STEPS + CONNECTIONS)
#define MOST_FDS    20u

static struct connection {
    int fd;   /* -1: none */
    int page; /* of the client that it has; -1: none */
} connections[CONNECTIONS];

/* Clients that the keeper has made: they can come again. */
static struct page {
    struct client_page *page;
} pages[PAGES];
static unsigned page_count;

static struct known {
    uint64_t table, epoch, txn;
    uint32_t serial;
} known;

/* ---- Connections -------------------------------------------------------------------------------------- */

static void reconnect(struct connection *c)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (c->fd >= 0)
        close(c->fd);
    c->page = -1;
    c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, ground.socket);
    MUST(c->fd >= 0);
    MUST(connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0);
}

static _Atomic uint32_t *life(const struct page *p)
{
    return (_Atomic uint32_t *)(void *)&p->page->life.mutex; /* glibc's is first: see robust.h */
}

/* As the kernel does at the end of a thread. */
static void die(const struct page *p)
{
    atomic_store(life(p), FUTEX_OWNER_DIED);
    syscall(SYS_futex, life(p), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void map_page(struct connection *c, int fd)
{
    struct page *p = &pages[page_count];
    if (page_count == PAGES)
        return;
    p->page = mmap(NULL, CLIENT_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(p->page != MAP_FAILED);
    c->page = (int)page_count++;
}

/* Take what has come, after waiting so long for something. */
static void take_replies(struct connection *c, int ms)
{
    struct pollfd ready = {.fd = c->fd, .events = POLLIN};
    struct wire_reply reply;
    size_t got;
    int fds[WIRE_FDS], r;

    poll(&ready, 1, ms);
    while ((r = wire_receive(c->fd, &reply, sizeof reply, &got, fds, WIRE_FDS)) == 0 && got > 0) {
        MUST(got == sizeof reply && reply.head.magic == WIRE_MAGIC && reply.head.type == WIRE_REPLY);
        MUST(reply.error <= 0 && reply.error >= -4095);
        off_t bytes = fds[0] >= 0 ? lseek(fds[0], 0, SEEK_END) : 0;
        if (bytes == (off_t)CLIENT_PAGE_BYTES && fds[1] < 0 && c->page < 0)
            map_page(c, fds[0]);
        if (reply.max_bytes != 0) {
            known.table = reply.id;
            known.epoch = reply.epoch;
        }
        if (reply.value != 0)
            known.txn = reply.value;
        for (unsigned i = 0; i < WIRE_FDS; i++) {
            if (fds[i] >= 0)
                close(fds[i]);
        }
    }
    if (r != -EAGAIN)
        reconnect(c); /* it has been thrown out */
}

/* ---- Requests ----------------------------------------------------------------------------------------- */

static void name_of(char name[NAME_ROOM], unsigned which)
{
    static const char *const names[] = {"a", "b", "c", "life", "-", "", ".", "a/b"};
    strcpy(name, names[which < 200 ? which % 4 : which % 8]);
}

/* One that could be right. */
static void make_request(const struct connection *c, const uint8_t *step, struct wire_request *q)
{
    const struct page *p = c->page >= 0 ? &pages[c->page] : NULL;
    const struct page *other = page_count > 0 ? &pages[step[9] % page_count] : NULL;

    *q = (struct wire_request){.head = {.magic = WIRE_MAGIC,
                                        .version = WIRE_VERSION,
                                        .type = 1 + step[1] % (WIRE_TYPES - 1),
                                        .length = sizeof *q,
                                        .serial = ++known.serial}};
    q->table = known.table;
    q->epoch = step[8] % 2 == 0 ? known.epoch : 0;
    q->tid = (int32_t)syscall(SYS_gettid);
    q->flags = step[8] >> 4;
    q->max_bytes = HEIR_TABLE_MIN * (1 + step[9] % 2);
    q->mode = 0600 | (step[9] >> 2 & 066);
    q->type = step[9] % 4;
    q->access = step[10] % 3;
    q->lease_ms = step[10] >= 240 ? 1 : 0;
    q->data_len = step[10] % 5;
    name_of(q->name, step[11]);
    name_of(q->heir, step[12]);
    if (q->head.type == WIRE_HELLO) {
        strcpy(q->name, "life");
        if (other != NULL && step[10] % 4 == 0) { /* it comes again */
            q->id = other->page->head.id;
            memcpy(q->secret, other->page->head.uuid, sizeof q->secret);
        }
    } else if (q->head.type == WIRE_CANCEL) {
        q->id = known.serial - step[9] % 8;
    } else if (q->head.type == WIRE_UNPIN) {
        q->id = known.txn;
    } else if (other != NULL) {
        q->id = other->page->head.id;
    }
    if (q->head.type == WIRE_READY && p != NULL && step[10] % 8 != 0)
        atomic_store(life(p), (uint32_t)syscall(SYS_gettid));
}

static void patch_request(const uint8_t *step, struct wire_request *q)
{
    uint64_t word, value;
    uint8_t *at = (uint8_t *)q + step[5] % (sizeof *q / 8) * 8;

    memcpy(&value, step + 8, sizeof value);
    memcpy(&word, at, sizeof word);
    switch (step[4] >> 4) {
    case 0:
        word = value;
        break;
    case 1:
        word ^= UINT64_C(1) << (value & 63);
        break;
    case 2:
        word += (uint64_t)(int8_t)(value & 0xff);
        break;
    case 3:
        q->id = value & 7;
        return;
    case 4:
        q->table = value & 7;
        return;
    case 5:
        q->max_bytes = value;
        return;
    case 6:
        memset(q->name, 'n', value % (NAME_ROOM + 1));
        return;
    default:
        return;
    }
    memcpy(at, &word, sizeof word);
}

/* What goes with a request: the number of descriptors, which the caller closes; *far: more to close. */
static unsigned make_descriptors(const struct connection *c, unsigned kind, int fds[MOST_FDS], int *far)
{
    unsigned n = 1;
    int pair[2];

    *far = -1;
    switch (kind) {
    case 1: /* a bell */
    case 2:
    case 3:
        MUST(socketpair(AF_UNIX, kind == 3 ? SOCK_DGRAM : SOCK_STREAM, 0, pair) == 0);
        fds[0] = pair[0];
        *far = pair[1];
        return 1;
    case 4:
        fds[0] = eventfd(0, 0);
        return 1;
    case 5:
        fds[0] = memfd_create("fuzz", 0);
        return 1;
    case 6: /* the connection itself: the kernel must find out that nobody holds it */
        fds[0] = dup(c->fd);
        return 1;
    case 7:
        n = 2;
        break;
    case 8:
        n = MOST_FDS;
        break;
    case 9: /* full: nobody can ring it */
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
        while (write(pair[0], ground.ns, sizeof ground.ns) > 0) {
        }
        fds[0] = pair[0];
        *far = pair[1];
        return 1;
    default:
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        fds[i] = eventfd(0, 0);
    return n;
}

static void send_message(struct connection *c, const void *bytes, size_t size, const int *fds, unsigned count)
{
    char control[CMSG_SPACE(sizeof(int) * MOST_FDS)] __attribute__((aligned(8))) = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    if (count > 0) {
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&m);
        *head = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * count)};
        memcpy(CMSG_DATA(head), fds, sizeof(int) * count);
    }
    sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT); /* it may be full, or closed */
}

static void ask(struct connection *c, const uint8_t *step)
{
    static union {
        struct wire_request q;
        uint8_t bytes[sizeof(struct wire_request) * 2];
    } message;
    int fds[MOST_FDS], far;
    size_t size = sizeof message.q;

    memset(&message, 0, sizeof message);
    make_request(c, step, &message.q);
    unsigned kind = (step[3] & 0xf0) == 0 ? step[3] & 15 : message.q.head.type == WIRE_HELLO ? 1 : 0;
    if ((step[4] & 15) < 3)
        patch_request(step, &message.q);
    if (step[6] == 0) /* cut off */
        size = step[7] * 8u % sizeof message.q;
    else if (step[6] == 1) /* too long */
        size += step[7];
    else if (step[6] == 2)
        message.q.head.length = size = step[7];
    unsigned count = make_descriptors(c, kind, fds, &far);
    bool hello = message.q.head.type == WIRE_HELLO;
    send_message(c, &message, size, fds, count);
    while (count > 0)
        close(fds[--count]);
    if (far >= 0)
        close(far); /* whoever rings finds nobody */
    if ((step[2] & 1) == 0 || hello)
        take_replies(c, hello ? 200 : 2);
}

/* The first byte: what is to be done, and by whom; see ask() for the others. */
static void take_step(const uint8_t *step)
{
    struct connection *c = &connections[(step[0] >> 4) % CONNECTIONS];
    const struct page *p = c->page >= 0 ? &pages[c->page] : NULL;

    switch (step[0] & 15) {
    default:
        ask(c, step);
        break;
    case 10:
        reconnect(c);
        break;
    case 11:
        if (p != NULL)
            die(p);
        break;
    case 12:
        take_replies(c, 0);
        break;
    case 13:
        shutdown(c->fd, step[1] % 3);
        break;
    case 14: /* what a client does to its own page */
        if (p != NULL && step[1] % 4 == 0)
            atomic_store(&p->page->closing, 1);
        else if (p != NULL && step[1] % 4 == 1)
            atomic_store(&p->page->owned[step[2] % 16], (uint64_t)step[3] << OWNED_EPOCH_BITS | step[4]);
        else if (p != NULL && step[1] % 4 == 2)
            atomic_store(&p->page->pins[step[2] % PINS_A_CLIENT].table, (uint64_t)step[3] % 8);
        else if (p != NULL)
            atomic_store(&p->page->owned_count, step[3]);
        break;
    case 15: /* a crash, noted */
        if (p != NULL && step[1] % 4 == 0) {
            atomic_store(&p->page->crash_signal, step[2]);
            robust_wake_watcher(&p->page->life.mutex);
        }
    }
}

/* ---- Use ---------------------------------------------------------------------------------------------- */

static void behave_well(void)
{
    struct heir_table_options small = {.max_bytes = HEIR_TABLE_MIN};
    struct heir_table *t;
    struct heir *client;
    char value[8];
    size_t len = sizeof value;

    MUST_RC(ground_open("well-behaved", PATIENCE, &client), 0);
    MUST_RC(heir_claim(client, "well-behaved", &small, PATIENCE, &t), 0);
    MUST_RC(heir_put(t, "key", 3, "value", 5), 0);
    MUST_RC(heir_get(t, "key", 3, value, &len), 0);
    MUST(len == 5 && memcmp(value, "value", 5) == 0);
    MUST_RC(heir_check(t, NULL, NULL, NULL), 0);
    MUST_RC(heir_release(t), 0);
    MUST_RC(heir_close(client), 0);
}

static void must_come_to(int descriptors)
{
    for (int ms = 0; ground_descriptors() != descriptors; ms++) {
        MUST(ms < PATIENCE);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* The first byte counts for nothing. The rest: steps. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool began;
    struct heir_keeper *keeper;

    if (!began) {
        ground_begin();
        MUST_RC(ground_keeper(&keeper), 0);
        behave_well(); /* what the library keeps for good is there now */
        heir_keeper_stop(keeper);
    }
    began = true;
    int idle = ground_descriptors();
    MUST_RC(ground_keeper(&keeper), 0);
    int running = ground_descriptors();
    known = (struct known){.table = 1};
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        connections[i].fd = -1;
        reconnect(&connections[i]);
    }
    for (size_t i = 1; i + STEP_BYTES <= size && i < STEPS * STEP_BYTES; i += STEP_BYTES)
        take_step(data + i);
    behave_well();
    for (unsigned i = 0; i < CONNECTIONS; i++)
        close(connections[i].fd);
    for (unsigned i = 0; i < page_count; i++)
        die(&pages[i]);
    must_come_to(running);
    behave_well();
    while (page_count > 0)
        munmap(pages[--page_count].page, CLIENT_PAGE_BYTES);
    heir_keeper_stop(keeper);
    ground_clear();
    must_come_to(idle);
    return 0;
}

#ifndef HEIR_LIBFUZZER
int main(int argc, char **argv)
{
    return ground_main(argc, argv, "message", STEP_BYTES, STEPS - 1);
}
#endif
