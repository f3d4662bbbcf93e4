/* SPDX-License-Identifier: MIT */
/*
 * What the drivers of the demo scenarios share: children, a deadline, and leaving nothing behind.
 *
 * A driver starts workers, kills them, looks at what is left in the table, and says on stdout what it sees. Lines that
 * begin with '#' explain. The last line is the verdict, the exit code 0 or 1. However a driver ends (driver_done(),
 * driver_fail(), SIGINT, SIGTERM, its deadline), its children are ended and its tables are destroyed before it is gone.
 *
 * The programs it starts speak in lines: their stdin and stdout are one socket, whose other end the driver holds.
 * Workers begin with "NAME PID" once they own their table.
 */
#ifndef DEMO_DRIVER_H
#define DEMO_DRIVER_H

#include <heir.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct driver_option {
    const char *name; /* "--seed"; NULL ends the list */
    long *value;      /* its default, until the option is given */
    long least, most;
    const char *help;
};

struct child {
    const char *name;
    pid_t pid;
    int fd;       /* what it reads and writes; -1 when it has closed it */
    bool may_end; /* else its end is the driver's failure */
    bool ended;
    int status; /* as of waitpid(), when it has ended */
    size_t length;
    char buffer[512], line[512];
};

/* First of all: take the options, begin the deadline, start a keeper if --own-keeper is given, become a client. */
void driver_begin(int argc, char *argv[], const struct driver_option *options);

/* With a keeper of its own, whether --own-keeper is given or not. */
void driver_begin_own_keeper(int argc, char *argv[], const struct driver_option *options);

/* Seconds from now until it has failed; 60 after driver_begin(). */
void driver_deadline(long seconds);

/* The driver's own client, and a table opened to read. */
struct heir *driver_heir(void);
struct heir_table *driver_attach(const char *table);

/* A table that the scenario makes: destroyed at the end, and now, if a killed run left it. name is kept. */
void driver_table(const char *name);

/* Start a program of this folder: once; or by `heirctl run`, which starts it again when it dies. in: its stdin, or -1
 * for the socket. restarts: NULL for heirctl's default, or OFTEN for a worker that dies more often than one should. */
#define OFTEN "1000/1" /* only the deaths of the last second count: it waits 800 ms at most */
struct child *driver_start(const char *const argv[]);
struct child *driver_run(const char *const argv[], int in, const char *restarts);

/* A line to it; its next line, valid until the one after it; the pid of its "NAME PID". */
void driver_say(struct child *child, const char *line);
const char *driver_hear(struct child *child);
pid_t driver_hello(struct child *child);

/* The next line of any child. ms -1: wait for ever. NULL: none came in time. */
struct child *driver_listen(int ms, const char **line);

/* SIGKILL, and wait until the process is gone. */
void driver_kill(pid_t pid);

/* Wait for its end; close its stdin before that, and fail unless it ends with exit code 0. */
void driver_wait(struct child *child);
void driver_finish(struct child *child);

/* The keeper of --own-keeper: SIGKILL it, start another. */
void driver_keeper_kill(void);
void driver_keeper_start(void);

int64_t driver_now_ms(void);

/* Clean up, then print the last line, "NAME: ...". For main to return. */
int driver_done(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void driver_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void driver_must(int error, const char *what); /* fail with heir_strerror() unless error is 0 */

#endif
