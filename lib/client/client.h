/* SPDX-License-Identifier: MIT */
/*
 * A client's side: its membership and its handles.
 *
 *   client.c   opening and closing          object.c   operations on objects, transactions
 *   call.c     requests to the keeper       event.c    what heir_wait() tells
 *   table.c    handles: claim, attach       give.c     passing tables on, and what else an owner decides
 *   peer.c     clients that can be given to directly   visit.c, snapshot.c   walks; states that are held
 *   lend.c     memory lent for editing      crash.c    notes of fatal signals
 *   feed.c     committed changes
 *   check.c, inspect.c, admin.c, error.c, fork.c
 *
 * Locks, in this order: heir.lock; then a table's writer mutex. heir.lock is never held while waiting for the keeper.
 * Operations on objects take no lock of the process: the mapping is found by RCU, so that a thread may detach a
 * handle, or a transfer change its mapping, while others read through it.
 */
#ifndef HEIR_CLIENT_H
#define HEIR_CLIENT_H

#include "fork.h"
#include "hash.h"
#include "name.h"
#include "owner.h"
#include "rcu.h"
#include "store.h"
#include "wire.h"
#include <heir.h>
#include <pthread.h>
#include <urcu/list.h>

struct lend;
struct peer;

/* How a table is mapped. Replaced as a whole. */
struct mapping {
    struct store reader; /* the read-only view: all pointers that leave the library come from here */
    struct store writer; /* base NULL: this client may not write. Its state belongs to the holder of the writer mutex */
    struct lend *lend;   /* what heir_edit() has lent; NULL: never any. The transaction's thread's */
    struct mapping *replaced; /* the one before it, which had the same read-only view */
};

struct heir_table {
    struct heir *client; /* NULL: heir_inspect_open() */
    uint64_t id;
    struct life life;                  /* its client's; see fork.h */
    _Atomic(struct mapping *) mapping; /* RCU; NULL: detached, or destroyed */
    _Atomic uint64_t epoch;            /* in which this client knows that it owns the table; 0: never owned */
    _Atomic(const void *) txn_thread;  /* mark of the thread with the open transaction */
    struct mapping *txn_mapping;       /* through which it was begun; that thread's */
    _Atomic uint32_t users;            /* threads in walks, or waiting to write: the handle stays mapped */
    bool told;                         /* the event of `epoch` is out. heir.lock */
    bool lost;                         /* owned once, and known to be over. heir.lock */
    struct cds_lfht_node by_id;
    struct cds_list_head closing;
};

struct queued_event {
    struct heir_event event;
    struct cds_list_head list;
};

struct heir {
    char ns[NAME_ROOM], socket_path[SOCKET_ROOM], role[NAME_ROOM];
    int timeout_ms;
    unsigned spin_us;
    struct life life; /* see fork.h */
    pthread_t thread; /* the one whose end is this client's */
    uint64_t id;
    struct client_page *page;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t arrived;
    int socket;      /* -1: no keeper */
    int lost_socket; /* to be closed by the thread that polls it; -1: none */
    int bell, heard; /* the end that is rung, and the one that hears it */
    int timer;
    int epoll;    /* what heir_wait() waits for, and the application by heir_fd() */
    int arrivals; /* what a call waits for: a reply, or that the bell is rung, which it leaves to heir_wait() */
    bool polled;  /* heir_fd() has been asked for: the application may sleep at any time */
    bool crash_note;
    uint64_t drained; /* count of the bell when its descriptor was last read */
    uint64_t rung;    /* count of the bell as of the last look at the owned set */
    bool reading;     /* a thread polls the socket, for all */
    bool dozing;      /* a thread with a claim in line sleeps on the bell's count */
    bool connecting;  /* a thread is at it */
    bool orphan;      /* the keeper does not know us */
    uint32_t serial;
    struct cds_list_head calls;
    struct cds_list_head events;
    struct queued_event *spare; /* for the next event: no memory need be found then. NULL: none */
    bool rescan;
    struct heir_table *latest; /* that came; NULL: none */
    uint64_t *seen;            /* owned set as of the last look */
    uint64_t seen_room;
    struct hash tables;
    struct cds_list_head snapshots, feeds;
    struct cds_list_head peers;
};

#define FOREVER UINT64_MAX

uint64_t deadline_after(int timeout_ms); /* -1: FOREVER */
int deadline_left_ms(uint64_t deadline); /* for poll(): -1 for ever, 0 over */

/* ---- call.c */

/* Without a client: connect, and one request with its reply. -ECONNREFUSED, -EACCES, -EPROTONOSUPPORT, ... */
int link_open(const char *path, uint64_t deadline);
bool link_retry(uint64_t deadline); /* sleep before the next look for a keeper; false: it is too late for one */
int link_ask(int socket, struct wire_request *q, int fd, uint64_t deadline, struct wire_reply *reply, int *reply_fd);

/* Ask the keeper, waiting for one if there is none. *fd (may be NULL): a descriptor that came with the reply. Returns
 * the reply's error, or -ECONNREFUSED when the deadline passed without a keeper, -ETIMEDOUT without an answer. The lock
 * is not held. */
int call(struct heir *c, struct wire_request *q, uint64_t deadline, struct wire_reply *reply, int *fd);

/* The same without waiting for another keeper when there is none, or when it goes away: -ECONNREFUSED. */
int call_once(struct heir *c, struct wire_request *q, uint64_t deadline, struct wire_reply *reply, int *fd);

/* The same as call(), for a reply with WIRE_FDS descriptors. */
int call_for_both(struct heir *c, struct wire_request *q, uint64_t deadline, struct wire_reply *reply,
                  int fds[WIRE_FDS]);

/* With the lock held, which is let go meanwhile: watch the bell for spin_us at most. true: its count is not `rung` any
 * more. */
bool call_spin(struct heir *c, uint64_t rung, uint64_t deadline);

/* This is the connection from now on. */
void call_connected(struct heir *c, int socket);

/* With the lock held: look whether the connection is alive; come back to a keeper if that is possible at once. */
void call_service(struct heir *c);

/* Wake heir_wait() in a while: something could not be done now. */
void call_look_again(struct heir *c);

/* ---- table.c */
struct heir_table *table_find(struct heir *c, uint64_t id);
/* The handle of a table, mapped from fd, which is consumed (-1: it is mapped already). With the lock held. */
int table_open(struct heir *c, const struct wire_reply *reply, int fd, struct heir_table **table);
/* Whether the table has become this client's, without heir_wait() having told: then the handle is made fit for an
 * owner. */
APART bool table_catch_up(struct heir_table *t);
void table_warm(struct heir_table *t);  /* map its memory now, so that the first writes need not wait for that */
int table_unmap(struct heir_table *t);  /* after a grace period; -EBUSY: it is in use */
void table_free(struct heir_table *t);  /* nobody uses it any more */
void table_abort(struct heir_table *t); /* what this thread has open */
/* Map a table and check its header: -EUCLEAN, -EPROTONOSUPPORT, -ENOMEM. old (may be NULL): its read-only view is used
 * again. */
int mapping_new(int fd, bool writable, const struct mapping *old, struct mapping **mapping);
void mapping_free(struct mapping *m);
/* The thread that calls, as a mark. */
const void *this_thread(void);
/* What a table's first page tells. */
void page_info(const struct store *s, struct heir_info *info);

/* A handle that is in order: 0, or -EINVAL, -ENOTCONN. */
int table_check(const struct heir_table *t);
/* Fill in a request's heir data, or a giver's. -EMSGSIZE, -EINVAL. */
int table_data(struct wire_request *q, const void *data, size_t data_len);
int table_data_check(const void *data, size_t data_len);

/* ---- peer.c */
/* The client with this id, if it can be given to directly: to be let go by peer_put(). -EREMOTE: it cannot; -ESRCH:
 * there is no such client; and what call() returns. */
int peer_get(struct heir *c, uint64_t id, struct peer **peer);
void peer_put(struct heir *c, struct peer *p);
struct party peer_party(const struct peer *p);
void peers_free(struct heir *c);

/* ---- crash.c */
int crash_note_begin(struct heir *c); /* -ENOMEM */
void crash_note_end(struct heir *c);

/* ---- object.c */

/* Enter a read: 0 with the mapping, and RCU's read side held until handle_read_end(). *own: this thread has a
 * transaction open. */
int read_begin(struct heir_table *t, struct mapping **mapping, bool *own);
int check_key(const struct store *s, const void *key, size_t key_len);

/* ---- snapshot.c */

/* Have the keeper hold the last committed state; let it go. -EBUSY, -EACCES, -ECONNREFUSED, ... */
int pin_take(struct heir_table *t, uint64_t *snap);
int pin_take_once(struct heir_table *t, uint64_t *snap); /* without waiting for another keeper */
void pin_drop(struct heir_table *t, uint64_t snap);
void snapshots_close(struct heir *c); /* all of them */

/* ---- feed.c */
void feeds_close(struct heir *c); /* all of them */

/* ---- event.c, with the lock held */
/* A new event, empty, to be filled in at once. NULL: no memory. */
struct heir_event *event_push(struct heir *c, enum heir_event_type type);
/* Tell that the epoch in which this client owned the table is over, if it began before epoch `newer` and the client has
 * not ended it itself. t may be NULL. */
void event_loss(struct heir *c, struct heir_table *t, uint64_t newer);
void event_scan(struct heir *c); /* which lets the lock go */
/* A table may come soon: have the memory to tell of it. In vain: then it is looked for when it has come. */
void event_prepare(struct heir *c);
/* The table is about to go on to others: what its events leave open is told now, if the keeper has told it. */
void event_explain(struct heir *c, const struct heir_table *t);
void event_polled(struct heir *c); /* the application may sleep from now on without our knowing */
/* The table is this client's: tell of it if that is news. */
void event_note(struct heir *c, struct heir_table *t);
/* A handle of a table that has come to us without our asking, fit for an owner; NULL. Asking for it lets the lock go.
 */
struct heir_table *event_fetch(struct heir *c, uint64_t id);

/* Fields for later must be zero: else they could never get a meaning. */
bool all_zero(const uint64_t *reserved, size_t count);

/* 0, or -EINVAL, -ENOTCONN. */
int client_check(const struct heir *c);

/* For a handle whose life has ended, before the answer -ENOTCONN: a transaction that this thread has open on it is
 * undone, since it will not be ended any more, and others wait for the table. */
APART void table_refuse(struct heir_table *t);

#endif
