/* SPDX-License-Identifier: MIT */
/*
 * A full /dev/shm: -ENOSPC from the call, never SIGBUS; what was there stays; when there is room again, work goes on.
 *
 * The program moves into a mount namespace of its own and lays a tmpfs of 4 MiB over /dev/shm there, anew for each
 * test. heird and the agents are its children and see the same.
 */
#include "support.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool small_shm(void)
{
    static int moved = -1;
    if (moved < 0)
        moved = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    if (moved)
        umount("/dev/shm"); /* the last test's */
    if (!moved || mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4m,mode=1777")) {
        test_skip("a mount namespace is not permitted");
        return false;
    }
    return true;
}

/* Take what is left but so many bytes, by a file of our own. */
static void fill_shm(size_t leave)
{
    struct statvfs room;
    int fd = open("/dev/shm/ballast", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && statvfs("/dev/shm", &room) == 0);
    off_t bytes = (off_t)(room.f_bavail * room.f_frsize) - (off_t)leave, have = lseek(fd, 0, SEEK_END);
    if (bytes > 0)
        CHECK(posix_fallocate(fd, have, bytes) == 0);
    close(fd);
}

static void empty_shm(void)
{
    unlink("/dev/shm/ballast");
}

static size_t free_shm(void)
{
    struct statvfs room = {0};
    statvfs("/dev/shm", &room);
    return room.f_bavail * room.f_frsize;
}

/* ---- Tests -------------------------------------------------------------------------------------------- */

/* Put until there is no more; the value of object i is i at all places. */
static int put_until_full(struct agent_self *self, void *arg)
{
    unsigned char value[1000];
    int rc = 0;
    (void)arg;
    for (uint32_t i = 0; rc == 0; i++) {
        memset(value, (int)i, sizeof value);
        rc = heir_put_new(agent_table(self, "t"), &i, sizeof i, value, sizeof value);
        self->answer.number = i;
    }
    return rc;
}

/* The one that found no room, again. (Another key may find some: what was missing may have been a page of the index.)
 */
static int put_another(struct agent_self *self, void *arg)
{
    static const unsigned char value[1000];
    return heir_put(agent_table(self, "t"), arg, sizeof(uint32_t), value, sizeof value);
}

static int check_values(struct agent_self *self, void *arg)
{
    uint32_t count = *(uint32_t *)arg;
    struct heir_info info;
    for (uint32_t i = 0; i < count; i++) {
        unsigned char value[1000];
        size_t len = sizeof value;
        int rc = heir_get(agent_table(self, "t"), &i, sizeof i, value, &len);
        if (rc)
            return rc;
        if (len != sizeof value || value[0] != (i & 0xff) || value[999] != (i & 0xff))
            return -EBADMSG;
    }
    int rc = heir_info(agent_table(self, "t"), &info);
    return rc ? rc : info.objects == count ? 0 : -EOVERFLOW;
}

/* table_page.ahead, the word at 184: all that there may ever be of the table has memory. */
static void say_all_is_backed(void)
{
    char path[160];
    uint64_t word = UINT32_MAX;
    snprintf(path, sizeof path, "/dev/shm/heir.%s.t.t", world.ns);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0 && pwrite(fd, &word, sizeof word, 184) == sizeof word);
    close(fd);
}

static void fill_one(bool lie)
{
    if (!small_shm())
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t"); /* of 1 GiB, where there are 4 MiB */
    if (lie)
        say_all_is_backed();
    DO(b, 0, "attach t");
    CHECK_RC(agent_call(a, put_until_full, NULL, 0), -ENOSPC);
    uint32_t count = (uint32_t)a->answer.number;
    CHECK(count > 1000, "only %u objects of 1000 bytes in 4 MiB", count);
    CHECK_RC(agent_call(b, check_values, &count, sizeof count), 0);
    CHECK_RC(agent_call(a, put_another, &count, sizeof count), -ENOSPC);
    CHECK_RC(agent_call(a, check_values, &count, sizeof count), 0);
    /* inside a transaction: it stays open, and can be committed without the failed change */
    DO(a, 0, "begin t");
    CHECK_RC(agent_call(a, put_another, &count, sizeof count), -ENOSPC);
    DO(a, 0, "commit t");
    CHECK_RC(agent_call(b, check_values, &count, sizeof count), 0);
    /* the keeper can reclaim and hand over without a byte of room */
    agent_kill(a);
    fill_shm(0);
    agent_send(b, "claim t -1");
    CHECK_RC(agent_answer(b, PATIENCE), 0);
    CHECK_RC(agent_call(b, check_values, &count, sizeof count), 0);
    empty_shm();
    DO(b, 0, "clear t"); /* what is deleted makes room */
    CHECK_RC(agent_call(b, put_until_full, NULL, 0), -ENOSPC);
    CHECK(b->answer.number > count / 2, "%u objects fitted, then %u", count, (unsigned)b->answer.number);
}

static void put_into_a_full_one(void)
{
    fill_one(false);
}

static void full_and_said_to_be_backed(void)
{
    fill_one(true);
}

static void room_comes_back(void)
{
    if (!small_shm())
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    fill_shm(0);
    int rc = 0;
    for (int i = 0; i < 3000 && rc == 0; i++) /* some may fit into what the table has taken already */
        rc = agent_do(a, "put t key-%d %0200d", i, i);
    CHECK_RC(rc, -ENOSPC);
    DO(a, 0, "get t k");
    empty_shm();
    DO(a, 0, "put t late %0900d", 0);
    DO(a, 0, "get t k");
}

static void create_in_a_full_one(void)
{
    if (!small_shm())
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new("b");
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    DO(a, 0, "release t");
    DO(b, 0, "create other");
    size_t steps[] = {0, 4096, 8192, 16384, 32768};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        fill_shm(steps[i]);
        size_t before = free_shm();
        int rc = agent_do(a, "create u");
        CHECK(rc == -ENOSPC || (rc == 0 && steps[i]), "create with %zu bytes left: %s", steps[i], error_text(rc));
        if (rc == 0)
            DO(a, 0, "destroy u");
        rc = agent_do(a, "claim v 0");
        CHECK(rc == -ENOSPC || (rc == 0 && steps[i]), "claim with %zu bytes left: %s", steps[i], error_text(rc));
        if (rc == 0)
            DO(a, 0, "destroy v");
        CHECK_EQ(shm_count("t."), 2); /* nothing is left behind */
        CHECK(free_shm() >= before, "%zu bytes were free before, %zu now", before, free_shm());
        DO(b, 0, "attach t"); /* what needs no room works */
        DO(b, 0, "get t k");
        DO(a, 0, "claim t 0");
        DO(a, 0, "get t k");
        DO(a, 0, "give t %llu", (unsigned long long)b->id);
        DO(b, 0, "release t");
        empty_shm();
    }
    DO(a, 0, "create u");
}

static int open_one(struct agent_self *self, void *arg)
{
    (void)arg;
    return heir_open(&(struct heir_open_options){.name = "late", .timeout_ms = patience(1000)}, &self->client);
}

static void open_in_a_full_one(void)
{
    if (!small_shm())
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *b = agent_new(NULL);
    DO(a, 0, "create t");
    DO(a, 0, "put t k v");
    fill_shm(0);
    CHECK_RC(agent_call(b, open_one, NULL, 0), -ENOSPC);
    CHECK_EQ(shm_count("c."), 1);
    DO(a, 0, "get t k");
    empty_shm();
    CHECK_RC(agent_call(b, open_one, NULL, 0), 0);
    CHECK_RC(agent_end(b), 0);
}

/* Many tables, each with little room: the one that fails does not hurt the others. */
static int make_many(struct agent_self *self, void *arg)
{
    int rc = 0;
    (void)arg;
    for (int i = 0; i < 2000 && rc == 0; i++) {
        struct heir_table *table = NULL;
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        rc = heir_create(self->client, name, &(struct heir_table_options){.max_bytes = HEIR_TABLE_MIN}, &table);
        if (rc == 0) {
            self->answer.number = (uint64_t)i + 1; /* this one is there, empty perhaps */
            rc = heir_put(table, "number", 6, &i, sizeof i);
        }
    }
    return rc;
}

static int check_many(struct agent_self *self, void *arg)
{
    int n = *(int *)arg, rc = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        struct heir_table *table = NULL;
        char name[16];
        int number = -1;
        size_t len = sizeof number;
        snprintf(name, sizeof name, "t%d", i);
        self->answer.number = (uint64_t)i;
        rc = heir_claim(self->client, name, NULL, patience(PATIENCE) / 2, &table);
        if (rc == 0)
            rc = heir_get(table, "number", 6, &number, &len);
        if (rc == -ENOENT && i == n - 1) { /* that may be the one that failed */
            number = i;
            rc = 0;
        }
        if (rc == 0 && number != i)
            rc = -EBADMSG;
        if (rc == 0)
            rc = heir_destroy(table);
    }
    return rc;
}

static void many_tables(void)
{
    if (!small_shm())
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    CHECK_RC(agent_call(a, make_many, NULL, 0), -ENOSPC);
    int n = (int)a->answer.number;
    CHECK(n > 10, "%d tables", n);
    CHECK_EQ(shm_count("t."), n);
    agent_kill(a);
    CHECK_EQ(keeper_stop(), 0); /* a keeper starts in a full one, too */
    fill_shm(0);
    REQUIRE_EQ(keeper_start(NULL), 0);
    empty_shm();
    struct agent *b = agent_new("b");
    int rc = agent_call(b, check_many, &n, sizeof n);
    CHECK(rc == 0, "table %d of %d: %s", (int)b->answer.number, n, error_text(rc));
    CHECK_EQ(shm_count("t."), 0);
}

static const struct test tests[] = {{"put into a full one", put_into_a_full_one},
                                    {"full, and said to be backed", full_and_said_to_be_backed},
                                    {"room comes back", room_comes_back},
                                    {"create in a full one", create_in_a_full_one},
                                    {"open in a full one", open_in_a_full_one},
                                    {"many tables", many_tables},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "space", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
