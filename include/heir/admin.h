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
 * owner's next write is refused (-ESTALE). -ENOENT; -EALREADY when the keeper owns it; -EBUSY while the owner is inside
 * a write or a transaction.
 *
 * force: an owner that is inside a write or a transaction is killed (SIGKILL through the keeper's pidfd: all of its
 * process), and its unfinished transaction is undone before the keeper owns the table. -ETIMEDOUT when its end takes
 * longer than the timeout: it will be carried out all the same. -ESRCH when the keeper has no hold on its process.
 */
HEIR_API int heir_revoke(const struct heir_open_options *options, const char *table, bool force);

#ifdef __cplusplus
}
#endif
#endif
