/* SPDX-License-Identifier: MIT */
/* What /proc tells of a process; see proc.h. */
#include "proc.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool parse(char *text, struct proc_stat *stat)
{
    char *p = strrchr(text, ')'), *save; /* the name before it may hold anything */
    int field = 2;

    memset(stat, 0, sizeof *stat);
    for (p = p != NULL ? strtok_r(p + 1, " ", &save) : NULL; p != NULL; p = strtok_r(NULL, " ", &save)) {
        switch (++field) {
        case 3:
            stat->state = *p;
            break;
        case 9:
            stat->flags = strtoul(p, NULL, 10);
            break;
        case 22:
            stat->start_time = strtoull(p, NULL, 10);
            break;
        case 24:
            stat->resident = strtoull(p, NULL, 10);
            break;
        case 26:
            stat->start_code = strtoul(p, NULL, 10);
            break;
        case 31:
            stat->pending = strtoul(p, NULL, 10);
            break;
        case 52:
            stat->exit_code = atoi(p);
            return true;
        }
    }
    return false;
}

bool proc_stat(int fd, struct proc_stat *stat)
{
    char text[1024];
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;
    if (n <= 0)
        return false;
    text[n] = '\0';
    return parse(text, stat);
}

int proc_open(const char *folder, const char *file)
{
    char path[400];
    snprintf(path, sizeof path, "%s%s", folder, file);
    return open(path, O_RDONLY | O_CLOEXEC);
}

bool proc_stat_of(const char *folder, struct proc_stat *stat)
{
    int fd = proc_open(folder, "stat");
    bool there = proc_stat(fd, stat);
    if (fd >= 0)
        close(fd);
    return there;
}

bool proc_dumps_core(int32_t pid)
{
    char folder[32], text[4096];

    snprintf(folder, sizeof folder, "/proc/%d/", pid);
    int fd = proc_open(folder, "status");
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return strstr(text, "\nCoreDumping:\t1") != NULL;
}
