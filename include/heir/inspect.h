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
#include <stdbool.h>

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
    uint64_t pins;     /* states of tables that are held for it: see heir_inspect_pins() */
    uint64_t since_ns; /* opened, CLOCK_REALTIME */
    char state;        /* R running or sleeping, T stopped, D dumping core, Z zombie: its process has ended, and its
                          parent has not waited for it, X dead, ? cannot be told */
    char reserved_char[3];
    int32_t crash_signal;             /* noted by heir_open_options.crash_note; 0: none */
    uint64_t crash_address, crash_ns; /* where; when, CLOCK_REALTIME */
    uint64_t memory;                  /* bytes that are resident of its process, shared memory included; 0: unknown */
    uint64_t reserved[4];
};
typedef int heir_inspect_client(const struct heir_client_info *info, int error, void *arg);

/* A committed state of a table that the keeper holds for a reader (heir_snapshot_open(), a long walk). What has been
 * superseded since is not reused while it holds; in a table that is out of space it is broken (-ESTALE). */
struct heir_pin {
    uint64_t client, table; /* ids */
    uint64_t transaction;   /* the state. One before the table's horizon: the pin has been broken */
    uint64_t since_ns;      /* CLOCK_REALTIME */
    uint64_t reserved[4];
};
typedef int heir_inspect_pin(const struct heir_pin *pin, void *arg);

/* Visit all tables, all clients, all pins of a namespace, sorted by name, by id, by client. Returns 0, or what visit
 * returned, or an error. Pins of clients that cannot be read are left out. */
HEIR_API int heir_inspect_tables(const char *ns, heir_inspect_table *visit, void *arg);
HEIR_API int heir_inspect_clients(const char *ns, heir_inspect_client *visit, void *arg);
HEIR_API int heir_inspect_pins(const char *ns, heir_inspect_pin *visit, void *arg);

/* ---- What has happened --------------------------------------------------------------------------------
 *
 * The keeper keeps a journal of the last 512 things it did, and counts them. Both stay when it is killed, and the next
 * one goes on with them. What clients do with each other directly (gifts within one uid) it does not see: there the
 * epochs of a table leave a gap.
 */
enum heir_happened {
    HEIR_TRANSFER = 1, /* table, epoch, from, to, reason, undone; cause and code of the last owner that died */
    HEIR_DEATH,        /* from, pid, cause, code; count: tables handed on, in reclaim_ns */
    HEIR_LATE,         /* the same, of a client whose death has been told: it had more, whose writes were in the way */
    HEIR_LEFT,         /* from, pid: it closed; count: tables handed on */
    HEIR_CREATED,      /* table; to */
    HEIR_DESTROYED,    /* table; from: its last owner */
    HEIR_RENAMED,      /* table; from_role: the name before */
    HEIR_DAMAGED,      /* table: it has been set aside */
    HEIR_LEASE_OVER,   /* table, from: who has not renewed it. The transfer follows */
    HEIR_KILLED,       /* table, from, pid: its owner, in the middle of a write, because it was taken by force */
    HEIR_MORE,         /* count: transfers, after a death, that are not told one by one */
    HEIR_KEEPER_START, /* pid */
    HEIR_KEEPER_STOP   /* pid */
};
struct heir_happening {
    uint64_t journal;  /* whose numbers these are: a namespace that has been empty without a keeper begins anew */
    uint64_t sequence; /* from 1 on; where one is missing it has been overwritten */
    uint64_t when_ns;  /* CLOCK_REALTIME */
    enum heir_happened kind;
    enum heir_reason reason;     /* 0: none */
    enum heir_cause cause;       /* of a death */
    int code;                    /* signal or exit status */
    uint64_t table, epoch;       /* id; the epoch that began */
    uint64_t from, to;           /* clients, HEIR_KEEPER */
    uint64_t undone, reclaim_ns; /* changes rolled back; from the notice of a death until all was handed on */
    uint64_t count, committed;   /* transfers: the table's last committed transaction then */
    int32_t pid, reserved_int;
    char name[HEIR_NAME_MAX + 1]; /* of the table */
    char from_role[HEIR_NAME_MAX + 1], to_role[HEIR_NAME_MAX + 1];
    uint64_t reserved[8];
};
typedef int heir_inspect_event(const struct heir_happening *happening, void *arg);

/* Visit what has happened after number `since` (0: all that is still there), in order. When the journal has not come so
 * far it is another one, and all of it is visited. Returns 0, or what visit returned; -EACCES, -EUCLEAN,
 * -EPROTONOSUPPORT. A namespace that is not there has no journal: 0. */
HEIR_API int heir_inspect_events(const char *ns, uint64_t since, heir_inspect_event *visit, void *arg);

struct heir_counter {
    const char *name;                /* "deaths" */
    const char *label, *label_value; /* "cause", "signal"; or "" */
    const char *unit;                /* "": a number of things; "ns" */
    const char *text;                /* a line */
    bool level;                      /* it may fall again */
    uint64_t value;
    uint64_t reserved[4];
};
typedef int heir_inspect_counter(const struct heir_counter *counter, void *arg);

/* Visit all counters; those of one name come one after the other. Returns as heir_inspect_events(). */
HEIR_API int heir_inspect_counters(const char *ns, heir_inspect_counter *visit, void *arg);

/* A handle for reading one table (heir_get, heir_has, heir_foreach, heir_info, heir_feed_open), without a client. Freed
 * with heir_inspect_close(), and only so. -ENOENT, -EACCES, -EUCLEAN, -EPROTONOSUPPORT. */
HEIR_API int heir_inspect_open(const char *ns, const char *name, struct heir_table **table);
HEIR_API void heir_inspect_close(struct heir_table *table);

#ifdef __cplusplus
}
#endif
#endif
