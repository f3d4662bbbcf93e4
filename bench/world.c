/* SPDX-License-Identifier: MIT */
/* How does a benchmark get a keeper of its own and leave nothing behind? See world.h. */
#include "world.h"

#include "common.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <heir.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEEPER_START_MS 10000
#define STOP_S          5 /* for the benchmark to say what it has */

pid_t world_fork(void)
{
    pid_t parent = getpid(), pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) /* it died before the order was given */
            _exit(1);
    }
    return pid;
}

/* ---- Folders and leftovers ---------------------------------------------------------------------------- */

static void remove_folder(const char *path)
{
    DIR *d = path[0] ? opendir(path) : NULL;
    struct dirent *e;

    if (!d)
        return;
    while ((e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(path);
}

/* The names of a namespace's shared memory begin with "heir.NAMESPACE."; it is ours alone, and so is what begins with
 * "heir.NAMESPACE-". */
static unsigned visit_objects(const struct world *world, bool remove_them)
{
    char prefix[64];
    unsigned n = 0;
    DIR *d = opendir("/dev/shm");
    struct dirent *e;

    int n_prefix = snprintf(prefix, sizeof prefix, "heir.%s", world->ns);
    while (d && (e = readdir(d))) {
        if (strncmp(e->d_name, prefix, (size_t)n_prefix) != 0 || !strchr(".-", e->d_name[n_prefix]))
            continue;
        n++;
        if (remove_them)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    return n;
}

void world_another(struct world *world, const char *name)
{
    size_t n = strlen(world->ns);

    snprintf(world->ns + n, sizeof world->ns - n, "-%s", name);
    snprintf(world->socket, sizeof world->socket, "%s/%s.sock", world->dir, name);
    world->keeper = 0;
}

void world_clear(const struct world *world)
{
    visit_objects(world, true);
}

unsigned world_objects(const struct world *world)
{
    return visit_objects(world, false);
}

static int world_init(struct world *world)
{
    const char *tmp = getenv("TMPDIR");

    *world = (struct world){0};
    snprintf(world->ns, sizeof world->ns, "bench-%ld", (long)getpid());
    /* A socket address has room for 107 bytes. */
    if (!tmp || tmp[0] != '/' || strlen(tmp) > sizeof world->dir - 24)
        tmp = "/tmp";
    snprintf(world->dir, sizeof world->dir, "%.40s/heir-bench-XXXXXX", tmp);
    if (!mkdtemp(world->dir)) {
        int error = errno;
        fail("%s: %s", world->dir, strerror(error));
        world->dir[0] = 0;
        return -1;
    }
    snprintf(world->shm_dir, sizeof world->shm_dir, "/dev/shm/heir-bench-XXXXXX");
    if (!mkdtemp(world->shm_dir)) {
        int error = errno;
        fail("%s: %s", world->shm_dir, strerror(error));
        world->shm_dir[0] = 0;
        return -1;
    }
    snprintf(world->socket, sizeof world->socket, "%s/keeper.sock", world->dir);
    return 0;
}

static void world_deinit(struct world *world)
{
    visit_objects(world, true);
    remove_folder(world->dir);
    remove_folder(world->shm_dir);
}

/* ---- The waiting parent ------------------------------------------------------------------------------- */

int world_run(world_main *run, void *arg)
{
    struct world world;
    sigset_t all, old;
    int status = 0, stopped = 0;
    pid_t child;

    sigemptyset(&all);
    sigaddset(&all, SIGCHLD);
    sigaddset(&all, SIGINT);
    sigaddset(&all, SIGTERM);
    sigaddset(&all, SIGHUP);
    sigaddset(&all, SIGQUIT);
    sigprocmask(SIG_BLOCK, &all, &old);
    if (world_init(&world) < 0) {
        world_deinit(&world);
        return 1;
    }
    /* Grandchildren whose parent is gone become ours, so that they can be waited for. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    child = world_fork();
    if (child == 0) {
        setpgid(0, 0);
        sigprocmask(SIG_SETMASK, &old, NULL);
        exit(run(&world, arg) ? 1 : 0);
    }
    if (child < 0) {
        fail("fork: %s", strerror(errno));
        world_deinit(&world);
        return 1;
    }
    setpgid(child, child); /* both do it: neither may go on before it is done */
    while (waitpid(child, &status, WNOHANG) == 0) {
        const struct timespec grace = {.tv_sec = STOP_S};
        int signo = stopped ? sigtimedwait(&all, NULL, &grace) : sigwaitinfo(&all, NULL);
        if (signo == SIGCHLD || (signo < 0 && errno == EINTR))
            continue;
        kill(stopped ? -child : child, stopped ? SIGKILL : SIGTERM);
        if (!stopped)
            stopped = signo;
    }
    kill(-child, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
    world_deinit(&world);
    if (stopped) {
        fail("stopped by signal %d; nothing is left behind", stopped);
        return 128 + stopped;
    }
    if (WIFSIGNALED(status))
        fail("died of signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* ---- The keeper --------------------------------------------------------------------------------------- */

static void keeper_path(char *path, size_t size)
{
    const char *bindir = getenv("HEIR_BINDIR");
    char self[PATH_MAX];
    ssize_t n;

    if (bindir && bindir[0]) {
        snprintf(path, size, "%s/heird", bindir);
        return;
    }
    n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    if (strrchr(self, '/'))
        *strrchr(self, '/') = 0;
    snprintf(path, size, "%s/../tools/heird", self);
}

static void show_log(const struct world *world)
{
    char path[128], line[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/heird.log", world->dir);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        fprintf(stderr, "  heird: %s", line);
    if (f)
        fclose(f);
}

static void keeper_exec(const struct world *world, const char *path, int ready)
{
    char log[128], ready_text[16];
    int fd;

    snprintf(log, sizeof log, "%s/heird.log", world->dir);
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
    }
    fcntl(ready, F_SETFD, 0);
    snprintf(ready_text, sizeof ready_text, "%d", ready);
    execl(path, "heird", "--namespace", world->ns, "--socket", world->socket, "--ready-fd", ready_text, (char *)NULL);
    fprintf(stderr, "%s: %s (set HEIR_BINDIR to heird's folder)\n", path, strerror(errno));
    _exit(127);
}

int world_keeper_start(struct world *world)
{
    char path[PATH_MAX + 32], line[64];
    struct pollfd p;
    int fds[2];

    keeper_path(path, sizeof path);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail("pipe: %s", strerror(errno));
    world->keeper = world_fork();
    if (world->keeper == 0)
        keeper_exec(world, path, fds[1]);
    close(fds[1]);
    if (world->keeper < 0) {
        world->keeper = 0;
        close(fds[0]);
        return fail("fork: %s", strerror(errno));
    }
    p = (struct pollfd){.fd = fds[0], .events = POLLIN};
    if (poll(&p, 1, KEEPER_START_MS) != 1 || read(fds[0], line, sizeof line) <= 0) {
        close(fds[0]);
        fail("heird did not start:");
        show_log(world);
        kill(world->keeper, SIGKILL);
        waitpid(world->keeper, NULL, 0);
        world->keeper = 0;
        return -1;
    }
    close(fds[0]);
    return 0;
}

int world_keeper_stop(struct world *world)
{
    int status = 0;

    if (!world->keeper)
        return 0;
    kill(world->keeper, SIGTERM);
    for (unsigned ms = 0; waitpid(world->keeper, &status, WNOHANG) == 0; ms++) {
        if (ms == KEEPER_START_MS)
            kill(world->keeper, SIGKILL);
        usleep(1000);
    }
    world->keeper = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    fail("heird ended with status 0x%x:", (unsigned)status);
    show_log(world);
    return -1;
}

int world_open(const struct world *world, const char *role, struct heir **client)
{
    return world_open_spinning(world, role, 0, client);
}

int world_open_spinning(const struct world *world, const char *role, unsigned spin_us, struct heir **client)
{
    struct heir_open_options options = {
        .ns = world->ns, .socket = world->socket, .name = role, .timeout_ms = 5000, .spin_us = spin_us};
    int r = heir_open(&options, client);

    return r < 0 ? fail("heir_open: %s", heir_strerror(r)) : 0;
}
