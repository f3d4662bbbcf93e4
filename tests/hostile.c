/* SPDX-License-Identifier: MIT */
/*
 * Hostile and broken clients: none of them can crash, hang or slow the keeper for others. Here: what they send, and how
 * much of it; hostile_pages.c and hostile_tables.c: what they write to the memory that they were handed.
 *
 * While an attack goes on honest clients open, claim, give, die and are inherited from, each time within a deadline.
 * When it is over the keeper is the same process, with as many descriptors, threads, clients and tables as before.
 */
#include "hostile.h"
#include "attacker.h"

#include <fcntl.h>
#include <grp.h>
#include <heir/admin.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

int attack_ms(void)
{
    return (int)(test_seconds(0.2) * 1000);
}

/* ---- Honest clients ------------------------------------------------------------------------------------- */

/* One whose tables another claims dies; the other gives one to a third. */
static void honest_work(struct agent *first, struct agent *second, struct agent *third)
{
    static unsigned number;
    char name[32];
    int64_t begun = now_ms();
    snprintf(name, sizeof name, "work-%u", ++number);
    DO(first, 0, "create %s", name);
    DO(first, 0, "put %s k v", name);
    DO(first, 0, "begin %s", name);
    DO(first, 0, "put %s k w", name);
    agent_send(second, "claim %s -1", name);
    agent_kill(first);
    CHECK_RC(agent_answer(second, PATIENCE), 0);
    DO(second, 0, "get %s k", name);
    CHECK_STR(second->answer.value, "v");
    DO(second, 0, "give %s %llu data", name, (unsigned long long)third->id);
    EVENT(third, HEIR_EVENT_TRANSFER, HEIR_GIVEN, name, "data");
    DO(third, 0, "put %s k x", name);
    DO(third, 0, "release %s", name);
    DO(second, 0, "claim %s 0", name);
    DO(second, 0, "destroy %s", name);
    CHECK(now_ms() - begun < patience(WORK_MS), "it took %d ms", (int)(now_ms() - begun));
}

static void honest_work_of_new_ones(void)
{
    int64_t begun = now_ms();
    struct agent *first = agent_new("first"), *second = agent_new("second"), *third = agent_new("third");
    CHECK(now_ms() - begun < patience(WORK_MS), "to open took %d ms", (int)(now_ms() - begun));
    honest_work(first, second, third);
    CHECK_RC(agent_end(second), 0);
    CHECK_RC(agent_end(third), 0);
}

/* ---- The keeper before and after ------------------------------------------------------------------------ */

struct calm {
    int fds, threads;
    struct heir_keeper_status status;
};

static struct calm look(void)
{
    struct calm now = {0};
    CHECK_RC(heir_ping(NULL, &now.status), 0);
    now.status.tables -= (uint64_t)shm_count("t.evil"); /* what is damaged stays */
    now.fds = count_fds(keeper_pid());
    now.threads = count_threads(keeper_pid());
    return now;
}

static struct calm now;

static bool is_calm(void *arg)
{
    const struct calm *before = arg;
    now = look();
    return now.fds <= before->fds && now.threads == before->threads && now.status.pid == before->status.pid &&
           now.status.clients == before->status.clients && now.status.tables == before->status.tables;
}

static void check_calm(struct calm *before)
{
    bool calm = wait_until(is_calm, before, PATIENCE);
    CHECK(calm, "%d descriptors, %d before; %d threads, %d before; %d clients, %d before; %d tables, %d before",
          now.fds, before->fds, now.threads, before->threads, (int)now.status.clients, (int)before->status.clients,
          (int)now.status.tables, (int)before->status.tables);
    CHECK_EQ(now.status.pid, before->status.pid);
    CHECK_EQ(shm_count("c."), (int)now.status.clients);
}

static struct calm start_and_look(const char *const extra[])
{
    REQUIRE_EQ(keeper_start(extra), 0);
    honest_work_of_new_ones(); /* what is made at first need is there then */
    struct calm least = look();
    for (int i = 0; i < 5 || least.status.clients != 0; i++) { /* connections just ended may still be open */
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        struct calm again = look();
        if (again.fds <= least.fds)
            least = again;
    }
    return least;
}

static void stop_and_check(void)
{
    CHECK_EQ(keeper_stop(), 0);
    /* what is left of tables nobody can use must not hold up the next keeper, either */
    REQUIRE_EQ(keeper_start(NULL), 0);
    honest_work_of_new_ones();
    CHECK_EQ(keeper_stop(), 0);
}

void under_attack(agent_fn *attack, const void *arg, size_t len)
{
    struct calm before = start_and_look(NULL);
    struct agent *old[3] = {agent_new("old"), agent_new("old-second"), agent_new("old-third")};
    struct agent *attacker = agent_new(NULL);
    REQUIRE_RC(agent_call_send(attacker, attack, arg, len), 0);
    int64_t end = now_ms() + patience(3 * PATIENCE);
    int rc;
    honest_work(old[0], old[1], old[2]);
    do {
        honest_work_of_new_ones();
        rc = agent_answer(attacker, 0);
    } while (rc == AGENT_HUNG && now_ms() < end);
    CHECK(rc == 0, "the attack, step %d: %s", (int)attacker->answer.number, error_text(rc));
    agent_kill(attacker);
    honest_work_of_new_ones();
    CHECK_RC(agent_end(old[1]), 0);
    CHECK_RC(agent_end(old[2]), 0);
    check_calm(&before);
    stop_and_check();
}

/* A step of an attack that went otherwise than it must. */
#define STEP(self, number_, holds)                                                                                     \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            (self)->answer.number = (number_);                                                                         \
            return -EPROTO;                                                                                            \
        }                                                                                                              \
    } while (0)

/* ---- Messages ------------------------------------------------------------------------------------------- */

/* Each of them ends the connection. */
static int malformed(struct agent_self *self, void *arg)
{
    static uint8_t bytes[4096];
    (void)arg;
    for (unsigned i = 0; i < 400; i++) {
        struct wire_request q = raw_request(WIRE_PING, NULL);
        size_t len = sizeof q;
        int fd = raw_connect();
        STEP(self, i, fd >= 0);
        switch (i % 10) {
        case 0: /* any length, but that of nothing */
            len = 1 + i * 7 % sizeof bytes;
            for (size_t at = 0; at < len; at++)
                bytes[at] = (uint8_t)raw_nonsense();
            break;
        case 1: /* the beginning of a sound one */
            len = 1 + i % (sizeof q - 1);
            break;
        case 2:
            len = sizeof q + 1 + i;
            break;
        case 3:
            q.head.magic ^= 1u << i % 32;
            break;
        case 4:
            q.head.version ^= (uint16_t)(1u << i % 16);
            break;
        case 5:
            q.head.type = i % 20 == 5 ? 0 : (uint16_t)(WIRE_TYPES + i);
            break;
        case 6:
            q.head.length += i % 20 == 6 ? 1u : ~0u;
            break;
        case 7:
            memset(i % 20 == 7 ? q.name : q.heir, 'x', NAME_ROOM);
            break;
        case 8:
            q.data_len = i % 20 == 8 ? HEIR_DATA_MAX + 1 : UINT32_MAX;
            break;
        case 9: /* it may come at any time */
            STEP(self, i, raw_ask(fd, &q, -1, NULL, NULL) == 0);
            q.head.type = WIRE_REPLY;
        }
        if (i % 10 != 0)
            memcpy(bytes, &q, sizeof q);
        STEP(self, i, raw_send(fd, bytes, len, NULL, 0) == 0);
        STEP(self, i, raw_hung_up(fd));
        close(fd);
    }
    return 0;
}

/* What an administrator may ask without being a client: about a table that there is not. */
static int of_anybody(enum wire_type type)
{
    return type == WIRE_PING ? 0 : type == WIRE_REVOKE || type == WIRE_REMOVE ? -ENOENT : -EPROTO;
}

/* Nothing is wrong with the messages; what they ask for is. */
static int out_of_order(struct agent_self *self, void *arg)
{
    struct wire_request q, hello = raw_request(WIRE_HELLO, "evil"), ready = raw_request(WIRE_READY, NULL);
    struct wire_reply reply;
    struct raw me, other;
    (void)arg;
    int fd = raw_connect(), bell = raw_bell();
    for (enum wire_type type = WIRE_READY; type < WIRE_TYPES; type++) { /* without having said who it is */
        q = raw_request(type, "evil");
        int want = of_anybody(type);
        STEP(self, 100u + type, raw_ask(fd, &q, -1, NULL, NULL) == want);
    }
    STEP(self, 1, raw_ask(fd, &hello, -1, NULL, NULL) == -EPROTO); /* no bell */
    STEP(self, 2, raw_open(&other, -1, "evil-other") == 0);
    STEP(self, 3, raw_hello(&me, -1, "evil", -1) == 0);
    for (enum wire_type type = WIRE_CLOSE; type < WIRE_TYPES; type++) { /* not ready */
        q = raw_request(type, "evil");
        int want = of_anybody(type);
        STEP(self, 200u + type, raw_ask(me.fd, &q, -1, NULL, NULL) == want);
    }
    STEP(self, 4, raw_ask(me.fd, &ready, -1, NULL, NULL) == -EPROTO); /* without the lock */
    STEP(self, 5, raw_ask(me.fd, &hello, bell, NULL, NULL) == -EPROTO);
    hello.id = other.id; /* somebody else, whose secret it does not know */
    STEP(self, 6, raw_ask(fd, &hello, bell, NULL, NULL) == -ESRCH);
    memcpy(hello.secret, me.page->head.uuid, sizeof hello.secret);
    STEP(self, 7, raw_ask(fd, &hello, bell, NULL, NULL) == -ESRCH);
    hello.id = 1 << 20; /* nobody */
    STEP(self, 8, raw_ask(fd, &hello, bell, NULL, NULL) == -ESRCH);
    hello.id = 0;
    strcpy(hello.name, "no/role");
    STEP(self, 9, raw_ask(fd, &hello, bell, NULL, NULL) == -EINVAL);
    q = raw_request(WIRE_CANCEL, NULL);
    for (unsigned i = 0; i < 300; i++) {
        q.id = raw_nonsense();
        STEP(self, 10, raw_ask(other.fd, &q, -1, NULL, NULL) == -ENOENT);
    }
    q = raw_request(WIRE_PEER, NULL);
    for (unsigned i = 0; i < 300; i++) {
        q.id = raw_nonsense() | 1u << 20;
        STEP(self, 11, raw_ask(other.fd, &q, -1, NULL, NULL) == -ESRCH);
    }
    for (enum wire_type type = WIRE_OPEN; type <= WIRE_UNPIN; type++) { /* of tables that there never were */
        q = raw_request(type, "evil");
        q.table = q.id = raw_nonsense() | 1u << 20;
        STEP(self, 300u + type, raw_ask(other.fd, &q, -1, NULL, NULL) == -ENOENT);
    }
    for (unsigned i = 0; i < 50; i++) { /* the one that comes last is the client's connection */
        int again = raw_connect();
        hello = raw_request(WIRE_HELLO, "evil");
        hello.id = other.id;
        memcpy(hello.secret, other.page->head.uuid, sizeof hello.secret);
        STEP(self, 12, raw_ask(again, &hello, bell, &reply, NULL) == 0 && reply.id == other.id);
        STEP(self, 13, raw_ask(other.fd, &ready, -1, NULL, NULL) == -EPROTO);
        if (i % 2 == 0)
            close(other.fd);
        other.fd = again;
    }
    q = raw_request(WIRE_CLOSE, NULL);
    STEP(self, 14, raw_ask(other.fd, &q, -1, NULL, NULL) == 0);
    STEP(self, 15, raw_ask(other.fd, &q, -1, NULL, NULL) == -EPROTO);
    return 0;
}

/* Of another user's client nobody gets the page. */
static int open_as_another(struct agent_self *self, void *arg)
{
    struct raw me;
    (void)arg;
    if (setgroups(0, NULL) || setgid(1001) || setuid(1001))
        return -EIO;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* the change of user has cleared it */
    int r = raw_open(&me, -1, "evil");
    self->answer.number = me.id;
    return r;
}

static int ask_for_peer(struct agent_self *self, void *arg)
{
    struct wire_request q = raw_request(WIRE_PEER, NULL);
    struct raw me;
    int r = raw_open(&me, -1, "evil");
    (void)self;
    q.id = *(const uint64_t *)arg;
    return r < 0 ? r : raw_ask(me.fd, &q, -1, NULL, NULL);
}

static void peer_of_another_user(void)
{
    static const char *const mode[] = {"--socket-mode", "0666", NULL};
    if (geteuid() != 0) {
        test_skip("it takes root to be another user");
        return;
    }
    REQUIRE_EQ(keeper_start(mode), 0);
    struct agent *root = agent_new("root"), *other = agent_new(NULL), *asking = agent_new(NULL);
    CHECK_RC(agent_call(other, open_as_another, NULL, 0), 0);
    CHECK_RC(agent_call(asking, ask_for_peer, &other->answer.number, sizeof other->answer.number), -EREMOTE);
    CHECK_RC(agent_call(asking, ask_for_peer, &root->id, sizeof root->id), 0);
    DO(root, 0, "create t mode=0666"); /* the keeper passes it on */
    DO(root, -EACCES, "give t %llu", (unsigned long long)other->answer.number);
}

/* Sound messages with nonsense in them, in any order, with descriptors of any kind. */
static int nonsense(struct agent_self *self, void *arg)
{
    static const char *const names[] = {"evil", "evil.2", "evil-3", "", ".", "no/name", "evil4", "evil-5"},
                             *const heirs[] = {"", "-", "evil", "honest", "old", "no/name", ".", "evil.2"};
    int fds[6] = {raw_bell(), open("/dev/null", O_RDONLY | O_CLOEXEC), memfd_create("evil", MFD_CLOEXEC)}, pair[2];
    struct raw me = {.fd = -1};
    (void)arg;
    STEP(self, 1, pipe2(fds + 3, O_CLOEXEC) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    fds[5] = pair[0];
    for (int64_t end = now_ms() + attack_ms(), n = 0; now_ms() < end; n++) {
        struct wire_request q = raw_request((enum wire_type)(1 + raw_nonsense() % (WIRE_TYPES - 1)), NULL);
        struct wire_reply reply;
        if (me.fd < 0 || n % 300 == 0) {
            if (me.fd >= 0)
                raw_close(&me);
            STEP(self, 2, raw_open(&me, -1, "evil") == 0);
        }
        if (q.head.type == WIRE_REVOKE || q.head.type == WIRE_REMOVE)
            q.head.type = WIRE_PING;
        q.flags = (uint32_t)raw_nonsense();
        q.data_len = (uint32_t)(raw_nonsense() % (HEIR_DATA_MAX + 1));
        q.table = raw_nonsense() % 20;
        q.id = raw_nonsense() % 3 == 0 ? raw_nonsense() : raw_nonsense() % 20;
        q.epoch = raw_nonsense() % 3;
        q.tid = (int32_t)raw_nonsense();
        q.type = (uint32_t)raw_nonsense() % 6;
        q.access = (uint32_t)raw_nonsense() % 4;
        q.mode = (uint32_t)raw_nonsense() % 01000;
        q.lease_ms = (uint32_t)raw_nonsense();
        q.max_bytes = raw_nonsense();
        q.key_size = raw_nonsense() % 3;
        q.value_size = raw_nonsense() % 3;
        strcpy(q.name, names[raw_nonsense() % 8]);
        strcpy(q.heir, heirs[raw_nonsense() % 8]);
        unsigned count = raw_nonsense() % 5 == 0 ? (unsigned)(raw_nonsense() % 7) : 0;
        int r = raw_send(me.fd, &q, sizeof q, fds, count);
        while (r == 0) /* what there is; one that waits in line has no answer */
            r = raw_reply(me.fd, &reply, NULL, n % 16 == 0 ? 1 : 0);
        STEP(self, 3, r == -ETIME || r == -EPIPE);
        if (r == -EPIPE) {
            raw_close(&me);
            me.fd = -1;
        }
    }
    return 0;
}

/* More of them than a message may have, of each number up to the kernel's limit: the connection ends. */
static int surplus_descriptors(struct agent_self *self, void *arg)
{
    int fds[250], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct wire_request q = raw_request(WIRE_PING, NULL);
    (void)arg;
    for (unsigned i = 0; i < 250; i++)
        fds[i] = null;
    for (unsigned count = 0; count <= 250; count += count < 20 ? 1 : 10) {
        int fd = raw_connect();
        STEP(self, count, raw_send(fd, &q, sizeof q, fds, count) == 0);
        struct wire_reply reply;
        int r = raw_reply(fd, &reply, NULL, patience(PATIENCE));
        STEP(self, count, r == (count <= 1 ? 0 : -EPIPE));
        close(fd);
    }
    return 0;
}

/* It asks, and does not read what comes: it loses its connection, and can come again. */
static int never_reads(struct agent_self *self, void *arg)
{
    struct raw me;
    struct raw_table table;
    (void)arg;
    for (int64_t end = now_ms() + attack_ms(), n = 0; now_ms() < end || n < 2; n++) {
        char name[32];
        int r;
        STEP(self, 1, raw_open(&me, -1, "evil") == 0);
        snprintf(name, sizeof name, "evil-%d", (int)n);
        STEP(self, 2, raw_create(&me, name, HEIR_TABLE_MIN, HEIR_PROTECTED, &table) == 0);
        unsigned sent = 0;
        do {
            struct wire_request q = raw_request(n % 2 ? WIRE_ATTACH : WIRE_PING, name);
            r = raw_send(me.fd, &q, sizeof q, NULL, 0);
        } while (r == 0 && ++sent < 100000);
        STEP(self, 3, r == -EPIPE);
        raw_close(&me);
        munmap(table.page, PAGE_BYTES);
        close(table.fd);
    }
    return 0;
}

/* ---- Many ----------------------------------------------------------------------------------------------- */

/* Claims of one table, as many as it gets, by one client; all of them are taken back when it goes. */
static int many_claims(struct agent_self *self, void *arg)
{
    struct raw me, other;
    struct raw_table table;
    struct wire_reply reply;
    unsigned in_line = 0;
    (void)arg;
    STEP(self, 1, raw_open(&me, -1, "evil") == 0 && raw_open(&other, -1, "evil") == 0);
    STEP(self, 2, raw_create(&other, "evil", HEIR_TABLE_MIN, HEIR_PROTECTED, &table) == 0);
    for (unsigned n = 0; n < 100000; n++) {
        struct wire_request q = raw_request(WIRE_CLAIM, "evil");
        int r = raw_ask(me.fd, &q, -1, &reply, NULL);
        if (r == -EDQUOT)
            break;
        STEP(self, 3, r == -EINPROGRESS);
        in_line++;
    }
    STEP(self, 4, in_line >= 256 && in_line < 5000);
    STEP(self, 5, atomic_load(&table.page->waiting) == in_line);
    for (int64_t end = now_ms() + attack_ms(); now_ms() < end;) {
        struct wire_request q = raw_request(WIRE_CANCEL, NULL);
        q.id = 1;
        STEP(self, 6, raw_ask(me.fd, &q, -1, NULL, NULL) == -ENOENT);
    }
    return 0;
}

/* As many connections as there can be, up to 10,000, that say nothing; then some that are only half a client. */
static int many_connections(struct agent_self *self, void *arg)
{
    static int fds[10000];
    static struct raw half[500];
    struct rlimit limit;
    int n = 0;
    (void)arg;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    while (n < 10000 && (fds[n] = raw_connect()) >= 0)
        n++;
    STEP(self, 1, n == 10000 || fds[n] == -EMFILE);
    struct wire_request q = raw_request(WIRE_PING, NULL);
    for (int i = 0; i < n; i += 1000)
        STEP(self, 2, raw_ask(fds[i], &q, -1, NULL, NULL) == 0);
    for (int i = n - 1; i >= n - 3000 && i > 0; i--)
        close(fds[i]);
    for (int i = 0; i < 500; i++)
        STEP(self, 3, raw_hello(&half[i], -1, "evil", -1) == 0);
    self->answer.value_len = (size_t)n;
    return 0;
}

/* A keeper with few descriptors: whoever has a client goes on working, and it recovers. */
#define FEW 200

static int take_descriptors(struct agent_self *self, void *arg)
{
    static struct raw raw[FEW];
    static int fds[FEW];
    const bool *clients = arg;
    int refused = 0, count = *clients ? FEW / 4 : FEW * 3 / 4; /* a client takes three here, too */
    for (int i = 0; i < count; i++) {
        struct wire_request q = raw_request(WIRE_PING, NULL);
        if ((fds[i] = raw_connect()) < 0)
            return fds[i]; /* it does not let them wait in its queue */
        refused += raw_ask(fds[i], &q, -1, NULL, NULL) < 0;
    }
    for (int i = 0; i < count && *clients; i++)
        refused += raw_open(&raw[i], fds[i], "evil") < 0;
    self->answer.number = (uint64_t)refused;
    return 0;
}

static void exhaust_descriptors(bool clients)
{
    struct rlimit few = {FEW, FEW};
    setrlimit(RLIMIT_NOFILE, &few); /* for good: these tests are the last ones */
    struct calm calm = start_and_look(NULL);
    struct agent *old[6], *attacker[4];
    int refused = 0;
    for (int i = 0; i < 6; i++)
        old[i] = agent_new("old");
    for (int i = 0; i < 4; i++) {
        attacker[i] = agent_new(NULL);
        CHECK_RC(agent_call(attacker[i], take_descriptors, &clients, sizeof clients), 0);
        refused += (int)attacker[i]->answer.number;
    }
    CHECK(refused > 20, "%d were refused", refused);
    honest_work(old[0], old[1], old[2]);
    honest_work(old[3], old[4], old[5]);
    for (int i = 0; i < 4; i++)
        agent_kill(attacker[i]);
    for (int i = 0; i < 6; i++)
        if (i % 3 != 0)
            CHECK_RC(agent_end(old[i]), 0);
    check_calm(&calm);
    honest_work_of_new_ones();
    stop_and_check();
}

/* ---- Tests ---------------------------------------------------------------------------------------------- */

static void malformed_messages(void)
{
    under_attack(malformed, NULL, 0);
}

static void messages_out_of_order(void)
{
    under_attack(out_of_order, NULL, 0);
}

static void messages_of_nonsense(void)
{
    under_attack(nonsense, NULL, 0);
}

static void too_many_descriptors(void)
{
    under_attack(surplus_descriptors, NULL, 0);
}

static void one_that_never_reads(void)
{
    under_attack(never_reads, NULL, 0);
}

static void flood_of_claims(void)
{
    under_attack(many_claims, NULL, 0);
}

static void ten_thousand_connections(void)
{
    under_attack(many_connections, NULL, 0);
}

static void exhausted_by_connections(void)
{
    exhaust_descriptors(false);
}

static void exhausted_by_clients(void)
{
    exhaust_descriptors(true);
}

static const struct test tests[] = {{"malformed messages", malformed_messages},
                                    {"messages out of order", messages_out_of_order},
                                    {"peer of another user", peer_of_another_user},
                                    {"messages of nonsense", messages_of_nonsense},
                                    {"surplus descriptors", too_many_descriptors},
                                    {"one that never reads", one_that_never_reads},
                                    {"flood of claims", flood_of_claims},
                                    {"10,000 connections", ten_thousand_connections},
                                    {NULL, NULL}};

static const struct test exhaustion[] = {{"exhausted by connections", exhausted_by_connections},
                                         {"exhausted by clients", exhausted_by_clients},
                                         {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "messages", .tests = tests},
                                        {.name = "pages", .tests = hostile_pages},
                                        {.name = "tables", .tests = hostile_tables},
                                        {.name = "descriptors", .tests = exhaustion},
                                        {.name = NULL}};
    return test_main(argc, argv, suites);
}
