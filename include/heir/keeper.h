/* SPDX-License-Identifier: MIT */
/*
 * The keeper inside your own program: what heird runs, as a thread of the caller.
 *
 * It creates the tables of one namespace, decides who owns them, and reclaims them when an owner dies. It may be killed
 * or stopped at any time: tables and owners stay, and the next keeper of the namespace goes on. One keeper a namespace.
 */
#ifndef HEIR_KEEPER_H
#define HEIR_KEEPER_H

#include <heir.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct heir_keeper;

enum heir_log_level { HEIR_LOG_ERROR, HEIR_LOG_NOTICE, HEIR_LOG_DEBUG };

/* One line without newline. Called by the keeper's threads, one at a time; must not call the keeper, nor fork. */
typedef void heir_log(enum heir_log_level level, const char *line, void *arg);

struct heir_keeper_options {
    const char *ns;       /* as heir_open_options */
    const char *socket;   /* as heir_open_options */
    unsigned socket_mode; /* 0: 0600. Who may connect */
    bool purge;           /* remove the tables and clients of an earlier keeper instead of adopting them */
    bool no_huge_pages; /* leave tables in 4 KiB pages. Else a thread joins what is in use to pages of 2 MiB, where the
                           kernel can (Linux 6.1): faster tables, while a part may stand still for a moment once;
                           and gives one that grows memory ahead, in huge pages: a 16th of what it has, 16 MiB at most,
                           while an eighth of /dev/shm is free */
    heir_log *log;      /* NULL: silent */
    void *log_arg;
    /* What one uid may have; -EDQUOT beyond. Root's and the keeper's own clients may have as many as there is room for.
     * 0: the default; UINT64_MAX: no limit. */
    uint64_t clients_per_uid; /* default 1,000; twice as many connections */
    uint64_t tables_per_uid;  /* tables that it created. Default 10,000 */
    uint64_t bytes_per_uid;   /* sum of their max_bytes. Default: no limit */
    uint64_t reserved[5];
};

/*
 * Start a keeper in threads of its own. It is ready, and has adopted what an earlier one left, when this returns.
 *
 * Returns 0 and *keeper, to be ended with heir_keeper_stop(); -EBUSY when the namespace has a running keeper, or the
 * socket belongs to one; -EINVAL for a bad name; -ENAMETOOLONG for the socket path; -EACCES, -ENOSPC, -EMFILE, -ENOSYS
 * (kernel before 5.16). After fork the child has no keeper; it must not stop the parent's.
 */
HEIR_API int heir_keeper_start(const struct heir_keeper_options *options, struct heir_keeper **keeper);

/* Stop it: close the socket and end its threads, leaving tables and clients to the next keeper. NULL is allowed. */
HEIR_API void heir_keeper_stop(struct heir_keeper *keeper);

#ifdef __cplusplus
}
#endif
#endif
