/* SPDX-License-Identifier: MIT */
/*
 * Looking into a namespace from outside: straight from shared memory, with or without a keeper.
 *
 * Nothing here takes a lock, talks to anybody, or changes anything. What is seen is what the permissions of the shared
 * memory allow (the keeper's user, or root). ns: as in heir_open_options.
 */
#ifndef HEIR_INSPECT_H
#define HEIR_INSPECT_H

#include <heir.h>

#ifdef __cplusplus
extern "C" {
#endif

/* error: 0, or why the table could not be read (-EUCLEAN damaged, -EPROTONOSUPPORT other version, -EACCES); then only
 * info->name is set. Non-zero stops the walk and is returned. */
typedef int heir_inspect_table(const struct heir_info *info, int error, void *arg);

struct heir_client_info {
    uint64_t id;
    char name[HEIR_NAME_MAX + 1]; /* role name */
    int32_t pid, tid;             /* as the keeper sees them */
    uint32_t uid, gid;
    uint64_t tables;   /* owned */
    uint64_t pins;     /* walks in progress that hold a state */
    uint64_t since_ns; /* opened, CLOCK_REALTIME */
    char state;        /* R running or sleeping, T stopped, D dumping core, Z zombie, X dead, ? cannot be told */
    char reserved_char[3];
    int32_t crash_signal;             /* noted by heir_open_options.crash_note; 0: none */
    uint64_t crash_address, crash_ns; /* where; when, CLOCK_REALTIME */
    uint64_t reserved[5];
};
typedef int heir_inspect_client(const struct heir_client_info *info, int error, void *arg);

/* Visit all tables, all clients of a namespace, sorted by name, by id. Returns 0, or what visit returned, or an error.
 */
HEIR_API int heir_inspect_tables(const char *ns, heir_inspect_table *visit, void *arg);
HEIR_API int heir_inspect_clients(const char *ns, heir_inspect_client *visit, void *arg);

/* A handle for reading one table (heir_get, heir_has, heir_foreach, heir_info), without a client. Freed with
 * heir_inspect_close(), and only so. -ENOENT, -EACCES, -EUCLEAN, -EPROTONOSUPPORT. */
HEIR_API int heir_inspect_open(const char *ns, const char *name, struct heir_table **table);
HEIR_API void heir_inspect_close(struct heir_table *table);

#ifdef __cplusplus
}
#endif
#endif
