/* SPDX-License-Identifier: MIT */
/*
 * Where the kernel kills for want of memory, and where a core dump stands still.
 *
 * The machine's settings stay as they are. A memory cgroup is made below the test's own. A dump is held by a fanotify
 * mark on its folder: the kernel asks us whether the process may open its core file, and until we answer it is in the
 * middle of its dump. Where that is not allowed, a large process takes its time.
 */
#include "deaths.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Out of memory ------------------------------------------------------------------------------------ */

#define OOM_LIMIT "67108864"

static char cgroup[256];
static pid_t cgroup_maker;

static bool write_text(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

void oom_place_remove(void)
{
    if (!cgroup[0] || getpid() != cgroup_maker)
        return;
    for (int64_t end = now_ms() + 2000; rmdir(cgroup) && errno == EBUSY && now_ms() < end;)
        usleep(1000);
    cgroup[0] = 0;
}

/* Our own place in a hierarchy: version 1 has a line "N:memory:PATH", version 2 "0::PATH". */
static bool own_place(char *path, size_t size, bool first)
{
    char line[512];
    bool found = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        const char *mark = first ? ":memory:" : "0::", *at = strstr(line, mark);
        line[strcspn(line, "\n")] = 0;
        if (at && (first || at == line)) {
            at += strlen(mark);
            snprintf(path, size, "%.60s%.120s/heir-test-%d", first ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup", at,
                     (int)getpid());
            found = true;
        }
    }
    if (file)
        fclose(file);
    return found;
}

bool oom_place(char *path, size_t size, const char **why)
{
    *why = "no memory cgroup can be made";
    for (int first = 1; first >= 0; first--) {
        if (!own_place(cgroup, sizeof cgroup, first) || (mkdir(cgroup, 0700) && errno != EEXIST))
            continue;
        cgroup_maker = getpid();
        atexit(oom_place_remove);
        if (write_text(cgroup, first ? "memory.limit_in_bytes" : "memory.max", OOM_LIMIT)) {
            if (!first)
                write_text(cgroup, "memory.swap.max", "0");
            snprintf(path, size, "%s", cgroup);
            return true;
        }
        oom_place_remove();
    }
    cgroup[0] = 0;
    return false;
}

/* ---- Core dumps --------------------------------------------------------------------------------------- */

bool dump_place(struct dump_place *place, const char **why)
{
    char pattern[256] = "";
    struct rlimit limit;
    FILE *file = fopen("/proc/sys/kernel/core_pattern", "re");
    if (file && !fgets(pattern, sizeof pattern, file))
        pattern[0] = 0;
    if (file)
        fclose(file);
    place->fd = place->event_fd = -1;
    *why = "core_pattern does not name a file in the process' own folder";
    if (pattern[0] <= ' ' || strpbrk(pattern, "|@/"))
        return false;
    *why = "the limit of core files is 0";
    if (getrlimit(RLIMIT_CORE, &limit) || limit.rlim_max == 0)
        return false;
    *why = "no folder can be made";
    snprintf(place->folder, sizeof place->folder, "%s/cores", world.dir);
    if (mkdir(place->folder, 0755))
        return false;
    place->fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);
    if (place->fd >= 0 &&
        fanotify_mark(place->fd, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_EVENT_ON_CHILD, AT_FDCWD, place->folder)) {
        close(place->fd);
        place->fd = -1;
    }
    return true;
}

bool dump_stands(struct dump_place *place)
{
    struct pollfd wait = {.fd = place->fd, .events = POLLIN};
    struct fanotify_event_metadata event;
    if (place->fd < 0 || place->event_fd >= 0)
        return true;
    if (poll(&wait, 1, patience(PATIENCE)) != 1 || read(place->fd, &event, sizeof event) != sizeof event)
        return false;
    place->event_fd = event.fd;
    return true;
}

void dump_let_go(struct dump_place *place)
{
    struct fanotify_response yes = {.fd = place->event_fd, .response = FAN_ALLOW};
    if (place->event_fd < 0)
        return;
    CHECK(write(place->fd, &yes, sizeof yes) == sizeof yes);
    close(place->event_fd);
    place->event_fd = -1;
}

void dump_place_remove(struct dump_place *place)
{
    if (place->fd >= 0)
        close(place->fd); /* lets go whatever stands there */
    if (place->event_fd >= 0)
        close(place->event_fd);
    place->fd = place->event_fd = -1;
    DIR *dir = opendir(place->folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(place->folder);
}

static bool read_proc(int pid, const char *what, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

bool process_is_dumping(int pid)
{
    char text[4096];
    return read_proc(pid, "status", text, sizeof text) && strstr(text, "CoreDumping:\t1");
}

char process_state(int pid)
{
    char text[1024];
    const char *end = read_proc(pid, "stat", text, sizeof text) ? strrchr(text, ')') : NULL;
    return end && end[1] ? end[2] : 0;
}
