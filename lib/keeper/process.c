/* SPDX-License-Identifier: MIT */
/*
 * What the kernel tells of a client's process: that it has ended (a pidfd), how (its /proc/PID/stat, opened while it
 * lived, so that it is never a later process's), and that it is busy with a core dump.
 *
 * A robust mutex tells of a death while the thread is on its way out: by then the kernel has noted the exit code.
 */
#include "proc.h"
#include "shm.h"
#include "state.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif
#define LOOKS         20 /* at threads that run, before they are taken to live: 2 ms */
#define LOOK_AGAIN_NS 50000
#define THREADS_MOST  500 /* that are looked at for one answer: some milliseconds */
#define PF_EXITING    0x4 /* of the flags that /proc shows: stable since long before robust mutexes */

static int open_stat(int32_t pid)
{
    char folder[32];
    snprintf(folder, sizeof folder, "/proc/%d/", pid);
    return proc_open(folder, "stat");
}

uint64_t process_start_time(int32_t pid)
{
    char folder[32];
    struct proc_stat stat;

    snprintf(folder, sizeof folder, "/proc/%d/", pid);
    return proc_stat_of(folder, &stat) ? stat.start_time : 0;
}

void process_watch(struct heir_keeper *k, struct keeper_client *client, const struct connection *c)
{
    socklen_t len = sizeof client->pidfd;
    struct proc_stat stat;
    uint64_t started = client->start_time;
    int32_t pid = client->pid;

    if (client->stat >= 0)
        close(client->stat);
    if (c == NULL || getsockopt(c->fd, SOL_SOCKET, SO_PEERPIDFD, &client->pidfd, &len) < 0)
        client->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    client->stat = open_stat(pid);
    if (started == 0 || !proc_stat(client->stat, &stat) || stat.start_time != started) {
        if (client->stat >= 0) /* a later process with its pid */
            close(client->stat);
        client->stat = -1;
        if (c == NULL && client->pidfd >= 0 && started != 0) {
            close(client->pidfd);
            client->pidfd = -1;
        }
    }
    if (client->stat >= k->descriptors) { /* too few to know how it will end; the pidfd tells that it has */
        close(client->stat);
        client->stat = -1;
    }
    if (client->pidfd >= 0)
        keeper_poll(k, client->pidfd, SOURCE_PIDFD, client->id);
}

/* What is to be done with each thread of a client's process; true stops. task: /proc/PID/task/TID/. */
typedef bool each_thread(const struct keeper_client *c, int32_t tid, const char *task, void *arg);

/* 1: stopped; 0: not; -errno: they cannot be seen; -E2BIG: they are too many. *most: how many may still be looked at.
 */
static int threads_walk(const struct keeper_client *c, unsigned *most, each_thread *each, void *arg)
{
    char path[64];
    struct dirent *entry;
    int r = 0;

    snprintf(path, sizeof path, "/proc/%d/task", c->pid);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return -errno;
    while (r == 0 && (entry = readdir(folder)) != NULL) {
        char task[sizeof path + sizeof entry->d_name + 2];
        int32_t tid = atoi(entry->d_name);
        if (tid > 0 && (*most)-- == 0) {
            *most = 0;
            r = -E2BIG;
            break;
        }
        snprintf(task, sizeof task, "%s/%s/", path, entry->d_name);
        r = tid > 0 && each(c, tid, task, arg);
    }
    closedir(folder);
    return r;
}

static bool told_to_end(const struct proc_stat *stat)
{
    return (stat->flags & PF_EXITING) != 0 || (stat->pending & 1ul << (SIGKILL - 1)) != 0;
}

/*
 * Does this thread go on? One that has been told to end has SIGKILL pending until it wakes, and is marked as exiting
 * a little later; in between it runs, and nothing tells. So who sleeps without SIGKILL lives, and who runs is unclear.
 */
static bool lives(const struct keeper_client *c, int32_t tid, const char *task, void *arg)
{
    bool *unclear = arg;
    struct proc_stat stat;

    if (!proc_stat_of(task, &stat) || told_to_end(&stat))
        return false;
    if (tid == c->tid || (stat.state != 'R' && stat.state != 'D')) /* the client's own is in exec */
        return true;
    *unclear = true;
    return false;
}

/* Has all of the process ended (with status 0), or the client's thread alone? A thread in exec takes the place of the
 * first one, and may be missed meanwhile: so the first one, whichever that is by then, has to be seen ending, too. */
static bool all_ended(const struct keeper_client *c)
{
    unsigned most = THREADS_MOST;
    for (int i = 0; i < LOOKS; i++) {
        struct proc_stat first;
        bool unclear = false;
        int r = threads_walk(c, &most, lives, &unclear);
        if (r == 1)
            return false;
        if (r == -E2BIG)
            return proc_stat(c->stat, &first) && told_to_end(&first);
        if (!unclear && (!proc_stat(c->stat, &first) || told_to_end(&first)))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_NS}, NULL);
    }
    return false; /* a thread that only computes */
}

/* The thread's id in its own pid namespace is the last one of its line NSpid. */
static bool is_clients(const struct keeper_client *c, int32_t tid, const char *task, void *arg)
{
    char text[4096], *line;
    int fd = tid == c->tid ? -1 : proc_open(task, "status");
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    (void)arg;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    if (n <= 0 || (line = strstr(text, "\nNSpid:")) == NULL)
        return true; /* or cannot be told */
    line[1 + strcspn(line + 1, "\n")] = '\0';
    return atoi(strrchr(line, '\t') + 1) == c->tid;
}

bool process_lost_thread(const struct keeper_client *c)
{
    struct proc_stat stat;
    unsigned most = THREADS_MOST;
    return proc_stat(c->stat, &stat) && threads_walk(c, &most, is_clients, NULL) == 0;
}

/* A process that its parent has waited for already is not in /proc any more, but newer kernels (Linux 6.15) tell its
 * status by a descriptor that was opened before: see pidfd_open(2), PIDFD_GET_INFO. */
struct pidfd_status {
    uint64_t mask, cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};
#define PIDFD_STATUS _IOWR(0xFF, 11, struct pidfd_status)
#define EXIT_CODE    (UINT64_C(1) << 3)

static bool read_reaped(int pidfd, int *exit_code)
{
    struct pidfd_status status = {.mask = EXIT_CODE};
    if (pidfd < 0 || ioctl(pidfd, PIDFD_STATUS, &status) < 0 || (status.mask & EXIT_CODE) == 0)
        return false;
    *exit_code = status.exit_code;
    return true;
}

void process_cause(struct keeper_client *c)
{
    struct proc_stat stat;
    int noted = (int)atomic_load(&c->page->crash_signal), status = 0;
    bool there = proc_stat(c->stat, &stat), reaped = !there && read_reaped(c->pidfd, &status);

    c->cause = HEIR_CAUSE_UNKNOWN;
    c->code = 0;
    if (there)
        status = stat.exit_code;
    if (noted > 0 && noted <= SIGRTMAX) {
        c->cause = HEIR_CAUSE_SIGNAL;
        c->code = noted;
    } else if (!reaped && (!there || (stat.start_code == 1 && status == 0))) {
        return; /* it is gone; or it is not for us to know */
    } else if ((status & 0x7f) != 0) {
        c->cause = HEIR_CAUSE_SIGNAL;
        c->code = status & 0x7f;
    } else if (status != 0 || reaped) {
        c->cause = HEIR_CAUSE_EXIT;
        c->code = status >> 8 & 0xff;
    } else {
        c->cause = all_ended(c) ? HEIR_CAUSE_EXIT : HEIR_CAUSE_THREAD;
    }
}

bool process_dumps(const struct keeper_client *c)
{
    struct proc_stat stat;

    /* read while it lived, so it was its own */
    return c->pidfd >= 0 && c->stat >= 0 && proc_dumps_core(c->pid) && proc_stat(c->stat, &stat) && stat.state != 'X';
}

int process_kill(const struct keeper_client *c)
{
    if (c->pidfd < 0 || c->pid == getpid())
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}
