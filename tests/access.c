/* SPDX-License-Identifier: MIT */
/*
 * Who may. Run as root, since it takes two users: this one keeps, and an agent becomes another. (Skipped otherwise.)
 *
 * The other user can neither connect to a namespace of mode 0600 nor open its shared memory; where the socket lets it
 * in, a table's mode decides.
 */
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <heir/admin.h>
#include <heir/inspect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NOBODY 65534

static bool root_only(void)
{
    if (geteuid() == 0)
        return true;
    test_skip("it takes root to be another user");
    return false;
}

struct who {
    unsigned uid, gid;
};

static int become(struct agent_self *self, void *arg)
{
    const struct who *who = arg;
    (void)self;
    if (setgroups(0, NULL) || setgid(who->gid) || setuid(who->uid) || setuid(0) == 0)
        return -EIO;
    prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0); /* the change of user has cleared it */
    return 0;
}

static struct agent *agent_of(unsigned uid, unsigned gid)
{
    struct who who = {uid, gid};
    struct agent *agent = agent_new(NULL);
    REQUIRE_RC(agent_call(agent, become, &who, sizeof who), 0);
    return agent;
}

/* A keeper that lets everybody connect: the mode is an option of heird and of the embedded one. */
static void start_open_keeper(void)
{
    static const char *const mode[] = {"--socket-mode", "0666", NULL};
    REQUIRE_EQ(keeper_start(mode), 0);
}

static int tell_status(int rc, struct agent_self *self, uint64_t number)
{
    self->answer.number = number;
    return rc;
}

/* ---- A namespace of mode 0600 ------------------------------------------------------------------------- */

static int cannot_enter(struct agent_self *self, void *arg)
{
    (void)arg;
    struct heir_open_options options = {.timeout_ms = 200};
    struct heir_keeper_status status;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct heir *client = NULL;
    const char *path = getenv("HEIR_SOCKET");
    if (heir_open(&options, &client) != -EACCES)
        return tell_status(-EPERM, self, 1);
    if (heir_ping(&options, &status) != -EACCES)
        return tell_status(-EPERM, self, 2);
    if (heir_revoke(&options, "t", false) != -EACCES)
        return tell_status(-EPERM, self, 3);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno != EACCES)
        return tell_status(-errno, self, 4);
    close(fd);
    return 0;
}

static int visit_refused(const struct heir_info *info, int error, void *arg)
{
    (void)info;
    *(int *)arg += error == -EACCES;
    return error == -EACCES ? 0 : -EPERM;
}

/* Every object of the namespace, by its name. The number of them is the answer. */
static int cannot_open_memory(struct agent_self *self, void *arg)
{
    char mark[128];
    struct dirent *entry;
    struct heir_table *table = NULL;
    int n = 0, refused = 0;
    (void)arg;
    snprintf(mark, sizeof mark, "heir.%s.", getenv("HEIR_NAMESPACE"));
    DIR *dir = opendir("/dev/shm");
    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, mark, strlen(mark)))
            continue;
        n++;
        for (int mode = O_RDONLY; mode <= O_RDWR; mode++)
            if (openat(dirfd(dir), entry->d_name, mode | O_CLOEXEC) >= 0 || errno != EACCES)
                return tell_status(-EPERM, self, 100u + (unsigned)n);
    }
    if (dir)
        closedir(dir);
    if (heir_inspect_open(NULL, "t", &table) != -EACCES)
        return tell_status(-EPERM, self, 1);
    int rc = heir_inspect_tables(NULL, visit_refused, &refused);
    if (rc || refused != 1)
        return tell_status(rc ? rc : -ENOENT, self, 2);
    return tell_status(0, self, (uint64_t)n);
}

static void another_user(void)
{
    if (!root_only())
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a"), *nobody = agent_of(NOBODY, NOBODY);
    DO(a, 0, "create t mode=0666"); /* the table's mode opens nothing that the namespace keeps shut */
    DO(a, 0, "put t k v");
    int rc = agent_call(nobody, cannot_enter, NULL, 0);
    CHECK(rc == 0, "step %d: %s", (int)nobody->answer.number, error_text(rc));
    rc = agent_call(nobody, cannot_open_memory, NULL, 0);
    CHECK(rc == 0, "step %d: %s", (int)nobody->answer.number, error_text(rc));
    CHECK(nobody->answer.number >= 2, "it saw %d objects", (int)nobody->answer.number);
    DO(a, 0, "get t k");
}

static void modes_of_the_objects(void)
{
    char mark[128];
    struct dirent *entry;
    struct stat st;
    int n = 0;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("a");
    DO(a, 0, "create t mode=0666");
    DO(a, 0, "create u");
    snprintf(mark, sizeof mark, "heir.%s.", world.ns);
    DIR *dir = opendir("/dev/shm");
    while (dir && (entry = readdir(dir)))
        if (!strncmp(entry->d_name, mark, strlen(mark)) && CHECK(fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)) {
            n++;
            CHECK((st.st_mode & 07777) == 0600 && st.st_uid == geteuid(), "%s: mode %o", entry->d_name,
                  st.st_mode & 07777);
        }
    if (dir)
        closedir(dir);
    CHECK(n >= 3);
    CHECK(stat(world.socket, &st) == 0 && (st.st_mode & 07777) == 0600, "the socket: mode %o", st.st_mode & 07777);
}

/* ---- Modes of tables ---------------------------------------------------------------------------------- */

static int open_here(struct agent_self *self, void *arg)
{
    (void)arg;
    int rc = heir_open(&(struct heir_open_options){.name = "other", .timeout_ms = 1000}, &self->client);
    self->answer.number = heir_id(self->client);
    return rc;
}

static void table_modes(void)
{
    static const struct {
        const char *mode;
        int group, others; /* what attach says to one of the group, to others */
    } cases[] = {{"0600", -EACCES, -EACCES}, {"0640", 0, -EACCES}, {"0644", 0, 0}, {"0604", -EACCES, 0}};
    if (!root_only())
        return;
    start_open_keeper();
    struct agent *a = agent_of(1001, 2001), *same = agent_of(1001, 3001), *group = agent_of(1002, 2001),
                 *other = agent_of(1003, 3001);
    CHECK_RC(agent_call(a, open_here, NULL, 0), 0);
    CHECK_RC(agent_call(same, open_here, NULL, 0), 0);
    CHECK_RC(agent_call(group, open_here, NULL, 0), 0);
    uint64_t group_id = group->answer.number;
    CHECK_RC(agent_call(other, open_here, NULL, 0), 0);
    uint64_t other_id = other->answer.number;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DO(a, 0, "create t%zu mode=%s", i, cases[i].mode);
        DO(a, 0, "put t%zu k v", i);
        DO(same, 0, "attach t%zu", i);
        DO(same, 0, "get t%zu k", i);
        DO(group, cases[i].group, "attach t%zu", i);
        DO(other, cases[i].others, "attach t%zu", i);
        if (!cases[i].others) {
            DO(other, 0, "get t%zu k", i);
            DO(other, -EPERM, "put t%zu k w", i);
        }
        DO(a, -EACCES, "give t%zu %llu", i, (unsigned long long)other_id); /* it may not own it; I still do */
        DO(a, -EACCES, "give t%zu %llu", i, (unsigned long long)group_id);
        DO(a, 0, "put t%zu k v", i);
        DO(a, 0, "release t%zu", i);
        DO(group, -EACCES, "claim t%zu 0", i);
        DO(other, -EACCES, "claim t%zu 0", i);
        DO(other, -EACCES, "claim t%zu 100 none", i);
        DO(same, 0, "claim t%zu 0", i);
        DO(same, 0, "destroy t%zu", i);
    }
}

static int revoke_it(struct agent_self *self, void *arg)
{
    (void)self;
    return heir_revoke(&(struct heir_open_options){.timeout_ms = 1000}, arg, false);
}

static void orders_of_others(void)
{
    if (!root_only())
        return;
    start_open_keeper();
    struct agent *a = agent_new("a"), *other = agent_of(1003, 3001);
    DO(a, 0, "create t mode=0644");
    CHECK_RC(agent_call(other, revoke_it, "t", 2), -EACCES);
    DO(a, 0, "put t k v");
    CHECK_RC(heir_revoke(NULL, "t", false), 0);
}

/* What a reader of another user gets is a descriptor for reading: there is no way from it to writing. */
static int try_to_write(struct agent_self *self, void *arg)
{
    struct dirent *entry;
    int found = 0;
    (void)arg;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && (entry = readdir(dir))) {
        char path[300], target[300] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof target - 1) < 0 || !strstr(target, ".t."))
            continue;
        found++;
        if ((fcntl(atoi(entry->d_name), F_GETFL) & O_ACCMODE) != O_RDONLY || open(path, O_RDWR | O_CLOEXEC) >= 0)
            return tell_status(-EPERM, self, 1);
        if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(entry->d_name), 0) != MAP_FAILED)
            return tell_status(-EPERM, self, 2);
    }
    if (dir)
        closedir(dir);
    FILE *maps = fopen("/proc/self/maps", "re"); /* and no writable mapping */
    char line[512];
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "heir.") && strstr(line, ".t.")) {
            found++;
            if (strstr(line, " rw"))
                return tell_status(-EPERM, self, 3);
        }
    if (maps)
        fclose(maps);
    return tell_status(found ? 0 : -ENOENT, self, 4);
}

static void readers_cannot_write(void)
{
    if (!root_only())
        return;
    start_open_keeper();
    struct agent *a = agent_new("a"), *other = agent_of(1003, 3001);
    DO(a, 0, "create t mode=0644");
    DO(a, 0, "put t k v");
    CHECK_RC(agent_call(other, open_here, NULL, 0), 0);
    DO(other, 0, "attach t");
    DO(other, 0, "get t k");
    int rc = agent_call(other, try_to_write, NULL, 0);
    CHECK(rc == 0, "step %d: %s", (int)other->answer.number, error_text(rc));
}

/* ---- The folder of the default socket ----------------------------------------------------------------- */

static int in_own_folder(struct agent_self *self, void *arg)
{
    const char *want = arg;
    struct heir *client = NULL;
    unsetenv("HEIR_SOCKET");
    unsetenv("XDG_RUNTIME_DIR");
    return tell_status(heir_open(&(struct heir_open_options){.timeout_ms = 200, .name = want}, &client), self, 0);
}

/* /tmp/heir-UID that somebody else has made, or opened to others, is not trusted, whoever listens in it. */
static void folder_of_somebody_else(void)
{
    char folder[32];
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    if (!root_only())
        return;
    unsigned uid = 1000000u + (unsigned)getpid();
    snprintf(folder, sizeof folder, "/tmp/heir-%u", uid);
    snprintf(here.sun_path, sizeof here.sun_path, "%.31s/%.63s.sock", folder, world.ns);
    struct agent *other = agent_of(uid, uid);
    CHECK_RC(agent_call(other, in_own_folder, "x", 2), -ECONNREFUSED);
    rmdir(folder); /* should the client have made it */
    REQUIRE(mkdir(folder, 0777) == 0 && chmod(folder, 0777) == 0);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&here, sizeof here) == 0 && listen(fd, 4) == 0);
    CHECK(chmod(here.sun_path, 0666) == 0);
    CHECK_RC(agent_call(other, in_own_folder, "x", 2), -EACCES); /* root's */
    CHECK(chown(folder, uid, uid) == 0);
    CHECK_RC(agent_call(other, in_own_folder, "x", 2), -EACCES); /* its own, but open to all */
    close(fd);
    unlink(here.sun_path);
    CHECK(chmod(folder, 0700) == 0);
    CHECK_RC(agent_call(other, in_own_folder, "x", 2), -ECONNREFUSED);
    rmdir(folder);
}

static const struct test tests[] = {{"another user", another_user},
                                    {"modes of the objects", modes_of_the_objects},
                                    {"table modes", table_modes},
                                    {"orders of others", orders_of_others},
                                    {"readers cannot write", readers_cannot_write},
                                    {"folder of somebody else", folder_of_somebody_else},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "access", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
