/* SPDX-License-Identifier: MIT */
/*
 * Orders to a running keeper, for its own user and root (others: -EACCES). options: of heir_open_options only ns,
 * socket and timeout_ms are used.
 */
#ifndef HEIR_ADMIN_H
#define HEIR_ADMIN_H

#include <heir.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct heir_keeper_status {
    int32_t pid;
    uint32_t protocol;
    char version[16];
    uint64_t uptime_ms;
    uint64_t tables, clients;   /* now */
    uint64_t deaths, transfers; /* since its start */
    uint64_t damaged;           /* tables set aside */
    uint64_t reserved[8];
};

/* Is the keeper there, and how is it. */
HEIR_API int heir_ping(const struct heir_open_options *options, struct heir_keeper_status *status);

/*
 * Take a table from its living owner: the keeper owns it, and the first in the line of claims gets it. The former
 * owner's next write is refused (-ESTALE). -ENOENT; -EUCLEAN when it is damaged and was set aside; -EALREADY when
 * the keeper owns it; -EBUSY while the owner is inside a write or a transaction.
 *
 * force: an owner that is inside a write or a transaction is killed (SIGKILL through the keeper's pidfd: all of its
 * process), and its unfinished transaction is undone before the keeper owns the table. -ETIMEDOUT when its end takes
 * longer than the timeout: it will be carried out all the same. -ESRCH when the keeper has no hold on its process.
 */
HEIR_API int heir_revoke(const struct heir_open_options *options, const char *table, bool force);

/*
 * Remove a table that no client owns, also one that is damaged and has been set aside. Who has it open goes on reading
 * its last state, if there is any. -ENOENT; -EBUSY while a client owns it, or somebody writes to it.
 */
HEIR_API int heir_remove(const struct heir_open_options *options, const char *table);

/* Why a thing in shared memory provably belongs to nobody. */
enum heir_leftover_why {
    HEIR_LEFTOVER_HALF = 1,  /* it was being created, by a keeper that was killed meanwhile */
    HEIR_LEFTOVER_DESTROYED, /* a table that was destroyed by a keeper that was killed before it could remove it */
    HEIR_LEFTOVER_DEAD       /* a client that has ended, and owns nothing */
};
struct heir_leftover {
    char kind;                    /* 't' table, 'c' client */
    char name[HEIR_NAME_MAX + 1]; /* of the table; the client's id */
    enum heir_leftover_why why;
    uint64_t bytes; /* of memory that it takes */
    uint64_t reserved[4];
};
typedef int heir_leftover_found(const struct heir_leftover *leftover, void *arg);

/*
 * Find what keepers and clients that were killed have left, and remove it if `remove` says so: `found` (may be NULL) is
 * called for each, after it has been removed; non-zero stops and is returned. Only in a namespace without a keeper
 * (-EBUSY), which would do the same at its start; nothing is touched that it would adopt or hand on. This process must
 * be allowed to write the namespace's memory (-EACCES): what it may not open stays, and then so do all clients.
 */
HEIR_API int heir_collect(const char *ns, bool remove, heir_leftover_found *found, void *arg);

#ifdef __cplusplus
}
#endif
#endif
