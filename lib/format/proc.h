/* SPDX-License-Identifier: MIT */
/*
 * What /proc tells of a process: for the keeper, which wants to know how a client ended, and for who looks at clients.
 */
#ifndef HEIR_PROC_H
#define HEIR_PROC_H

#include <stdbool.h>
#include <stdint.h>

/* Fields of /proc/PID/stat; see proc(5). */
struct proc_stat {
    char state;
    unsigned long flags, pending, start_code;
    uint64_t start_time; /* clock ticks after boot */
    uint64_t resident;   /* pages */
    int exit_code;
};

/* false: the process is gone; or fd is -1. Read from its beginning, so as often as one likes. */
bool proc_stat(int fd, struct proc_stat *stat);

/* The same by name: "/proc/PID/" or "/proc/PID/task/TID/". */
bool proc_stat_of(const char *folder, struct proc_stat *stat);

/* A file there. -1 with errno set. */
int proc_open(const char *folder, const char *file);

/* Does the kernel write its core? It stands there as a sleeper otherwise. */
bool proc_dumps_core(int32_t pid);

#endif
