/* SPDX-License-Identifier: MIT */
/*
 * A test's world: namespace, folder, keeper; and the leak check at its end.
 *
 * The order of the end: this process' clients, agents, programs, the keeper (SIGTERM), then heird --purge if segments
 * are left (tables outlive a keeper by design), then the check: no segment, no child, no new descriptor, no file.
 */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <heir/admin.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS 64
#define FDS     4096

struct world world;

static struct program *heird;
static struct heir *clients[CLIENTS];
static bool fds_before[FDS];
static unsigned number;

/* ---- Looking ------------------------------------------------------------------------------------------ */

static int count_entries(const char *path, int but)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int n = 0;
    if (!dir)
        return -errno;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.' && (but < 0 || atoi(entry->d_name) != dirfd(dir)))
            n++;
    closedir(dir);
    return n;
}

int count_fds(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)(pid ? pid : getpid()));
    return count_entries(path, pid && pid != getpid() ? -1 : 0);
}

int count_threads(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)(pid ? pid : getpid()));
    return count_entries(path, -1);
}

void shm_path(char *path, size_t size, const char *kind, const char *name)
{
    snprintf(path, size, "/dev/shm/heir.%s.%s%s", world.ns, kind, name);
}

/* Count, and remove and name when told so. */
static int shm_walk(const char *kind, bool clean)
{
    char mark[128];
    DIR *dir = opendir("/dev/shm");
    struct dirent *entry;
    int n = 0;
    snprintf(mark, sizeof mark, "heir.%s.%s", world.ns, kind);
    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, mark, strlen(mark)))
            continue;
        n++;
        if (clean) {
            if (n < 20 && !world.expect_rest)
                fprintf(stderr, "\nleft behind: /dev/shm/%s\n", entry->d_name);
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir)
        closedir(dir);
    return n;
}

int shm_count(const char *kind)
{
    return shm_walk(kind, false);
}

bool shm_has_room(uint64_t bytes)
{
    struct statvfs room = {0};
    if (statvfs("/dev/shm", &room) == 0 && (uint64_t)room.f_bavail * room.f_frsize >= bytes)
        return true;
    test_skip("it takes %llu MiB of room in /dev/shm", (unsigned long long)(bytes >> 20));
    return false;
}

/* ---- The keeper --------------------------------------------------------------------------------------- */

static int start(const char *const extra[])
{
    const char *argv[32] = {"heird", "--namespace", world.ns, "--socket", world.socket, "--ready-fd", "3"};
    size_t n = 7;
    int pipes[2];
    for (; extra && *extra && n < 31; extra++)
        argv[n++] = *extra;
    if (pipe2(pipes, O_CLOEXEC))
        return -errno;
    heird = program_spawn(argv, pipes[1], world.log);
    close(pipes[1]);
    int rc = heird ? 0 : -ENOENT;
    if (heird) {
        struct waiting it = waiting_begin(PATIENCE);
        char line[256];
        if (!await_readable(pipes[0], &it))
            rc = -ETIME;
        else if (read(pipes[0], line, sizeof line) <= 0)
            rc = -ECHILD;
    }
    close(pipes[0]);
    if (rc == -ETIME) {
        keeper_kill();
    } else if (rc == -ECHILD) {
        program_wait(heird, PATIENCE);
        heird = NULL;
    }
    return rc;
}

int keeper_start(const char *const extra[])
{
    return heird ? -EBUSY : start(extra);
}

int keeper_stop(void)
{
    if (!heird)
        return 0;
    program_signal(heird, SIGCONT);
    program_signal(heird, SIGTERM);
    int code = program_wait(heird, PATIENCE);
    int status = heird->status;
    heird = NULL;
    if (code == PROGRAM_HUNG)
        return -ETIME;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : code;
}

void keeper_kill(void)
{
    if (!heird)
        return;
    program_signal(heird, SIGKILL);
    program_wait(heird, PATIENCE);
    heird = NULL;
}

void keeper_freeze(void)
{
    int status;
    kill(heird->pid, SIGSTOP);
    while (waitpid(heird->pid, &status, WUNTRACED) < 0 && errno == EINTR)
        ;
}

void keeper_thaw(void)
{
    kill(heird->pid, SIGCONT);
}

pid_t keeper_pid(void)
{
    return heird ? heird->pid : 0;
}

char *keeper_log(void)
{
    size_t len = 0, room = 1 << 20;
    char *text = calloc(1, room + 1);
    int fd = open(world.log, O_RDONLY | O_CLOEXEC);
    while (text && fd >= 0 && len < room) {
        ssize_t n = read(fd, text + len, room - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

/* ---- Clients of the test process ---------------------------------------------------------------------- */

struct heir *test_open(const char *role)
{
    struct heir_open_options options = {.name = role, .timeout_ms = patience(PATIENCE)};
    struct heir *client = NULL;
    int slot = 0;
    while (slot < CLIENTS && clients[slot])
        slot++;
    REQUIRE(slot < CLIENTS);
    REQUIRE_RC(heir_open(&options, &client), 0);
    clients[slot] = client;
    return client;
}

void test_close(struct heir *client)
{
    for (int i = 0; i < CLIENTS; i++)
        if (client && clients[i] == client)
            clients[i] = NULL;
    CHECK_RC(heir_close(client), 0);
}

int test_ping(struct heir_keeper_status *status)
{
    return heir_ping(&(struct heir_open_options){.timeout_ms = -1}, status);
}

/* ---- Begin, end --------------------------------------------------------------------------------------- */

static void look_at_fds(bool check)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    if (!check)
        memset(fds_before, 0, sizeof fds_before);
    while (dir && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(dir) || fd >= FDS)
            continue;
        if (!check) {
            fds_before[fd] = true;
        } else if (!fds_before[fd]) {
            char path[64], target[PATH_MAX] = "";
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            if (readlink(path, target, sizeof target - 1) < 0)
                target[0] = 0;
            CHECK(false, "leaked descriptor %d: %s", fd, target);
            close(fd);
        }
    }
    if (dir)
        closedir(dir);
}

/* Collect who has ended; true when nobody is left. */
static bool has_no_children(void *arg)
{
    int pid;
    (void)arg;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        ;
    return pid < 0;
}

static void look_at_children(void)
{
    char path[64];
    int pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    if (wait_until(has_no_children, NULL, 1000)) /* whoever was killed may be about to end */
        return;
    for (int n = 0; n < 100 && !has_no_children(NULL); n++) {
        FILE *file = fopen(path, "re");
        while (file && fscanf(file, "%d", &pid) == 1) {
            CHECK(false, "leaked child process %d", pid);
            kill(pid, SIGKILL);
        }
        if (file)
            fclose(file);
        wait_until(has_no_children, NULL, 100);
    }
}

static void look_at_folder(void)
{
    DIR *dir = opendir(world.dir);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        const char *name = entry->d_name, *dot = strrchr(name, '.');
        if (!strcmp(name, ".") || !strcmp(name, ".."))
            continue;
        /* a lock file cannot be removed without a race: it may stay */
        if (strcmp(name, "heird.log") && !(dot && (!strcmp(dot, ".err") || !strcmp(dot, ".lock"))))
            CHECK(false, "left behind: %s/%s", world.dir, name);
        if (unlinkat(dirfd(dir), name, 0) && errno == EISDIR)
            unlinkat(dirfd(dir), name, AT_REMOVEDIR);
    }
    if (dir)
        closedir(dir);
    CHECK(rmdir(world.dir) == 0, "%s: %s", world.dir, strerror(errno));
}

int world_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    memset(&world, 0, sizeof world);
    look_at_fds(false);
    snprintf(world.ns, sizeof world.ns, "t%d-%u", (int)getpid(), ++number);
    if (!tmp || !*tmp || strlen(tmp) > 40)
        tmp = "/tmp";
    snprintf(world.dir, sizeof world.dir, "%s/heir-%s-XXXXXX", tmp, world.ns);
    if (!mkdtemp(world.dir))
        return -errno;
    chmod(world.dir, 0755); /* access tests come here as another user */
    snprintf(world.socket, sizeof world.socket, "%s/s", world.dir);
    snprintf(world.log, sizeof world.log, "%s/heird.log", world.dir);
    setenv("HEIR_NAMESPACE", world.ns, 1);
    setenv("HEIR_SOCKET", world.socket, 1);
    return 0;
}

void world_end(void)
{
    if (!world.dir[0])
        return;
    setenv("HEIR_NAMESPACE", world.ns, 1);
    setenv("HEIR_SOCKET", world.socket, 1);
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i])
            CHECK_RC(heir_close(clients[i]), 0);
        clients[i] = NULL;
    }
    agents_end();
    if (heird)
        CHECK_EQ(keeper_stop(), 0);
    heird = NULL;
    if (shm_count("") > 0 && !world.expect_rest) {
        static const char *const purge[] = {"--purge", NULL};
        CHECK_RC(start(purge), 0);
        CHECK_EQ(keeper_stop(), 0);
    }
    programs_end();
    int left = shm_walk("", true);
    if (!world.expect_rest)
        CHECK(left == 0, "%d segments are left in /dev/shm", left);
    look_at_children();
    look_at_folder();
    look_at_fds(true);
    memset(&world, 0, sizeof world);
    unsetenv("HEIR_NAMESPACE");
    unsetenv("HEIR_SOCKET");
}
