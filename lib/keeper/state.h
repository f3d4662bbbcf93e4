/* SPDX-License-Identifier: MIT */
/*
 * What the keeper knows. All of it can be rebuilt from shared memory: that is what adopt.c does.
 *
 *   keeper.c      starting, stopping, the event loop       watcher.c   threads that wait for deaths
 *   connection.c  sockets and messages                     reign.c     who owns what: reclaim, grant, give
 *   request.c     what clients ask for                     adopt.c     taking over what an earlier keeper left
 *   catalogue.c   tables and clients, found by name or id  huge.c      memory in larger pages
 *
 * One lock, keeper.lock, protects all of it; the event loop and the watchers take it for the time of one event. Below
 * it come only the writer mutexes of tables, which are tried and never waited for: no client can hold the keeper up.
 */
#ifndef HEIR_STATE_H
#define HEIR_STATE_H

#include "hash.h"
#include "layout.h"
#include "name.h"
#include "wire.h"
#include <heir/keeper.h>
#include <urcu/list.h>

struct connection;
struct watcher;

struct keeper_client {
    uint64_t id;
    char name[NAME_ROOM];
    uint32_t uid, gid;
    struct client_page *page;
    struct connection *connection; /* NULL: not connected now */
    int bell;                      /* eventfd; -1: none */
    int pidfd;                     /* -1: none */
    bool ready;                    /* its life mutex has been locked */
    bool dying;                    /* being reclaimed: waits for a writer mutex */
    bool proven;                   /* its process is proven to have ended */
    uint64_t owns;                 /* tables whose `owner` it is */
    struct watcher *watcher;
    struct cds_list_head claims, pins;
    struct cds_list_head all; /* keeper.clients, oldest first */
    struct cds_lfht_node by_id;
};

/* A claim in line. */
struct claim {
    struct keeper_client *client;
    struct keeper_table *table;
    struct wire_request request;
    struct cds_list_head line; /* of the table */
    struct cds_list_head mine; /* of the client */
};

/* A transfer that the log will tell of. */
#define NOTES 16
struct note {
    uint64_t table, epoch, to;
};

/* A pin, as the keeper knows it; the client's page tells the next keeper. */
struct pin_note {
    struct keeper_client *client;
    struct keeper_table *table;
    unsigned slot; /* in the client's page */
    uint64_t txn;
    struct cds_list_head list; /* of the table */
    struct cds_list_head mine; /* of the client */
};

/* A name a table goes by; a new one at each renaming, since lookups may still be at the old. */
struct table_name {
    char text[NAME_ROOM];
    struct keeper_table *table;
    struct cds_lfht_node by_name;
};

struct keeper_table {
    uint64_t id, max_bytes;
    char name[NAME_ROOM];
    struct table_name *entry;
    struct table_page *page;        /* the first page only */
    struct keeper_client *owner;    /* NULL: the keeper */
    uint64_t owned_entry;           /* in the owner's set */
    uint8_t *whole;                 /* all of it, mapped by huge.c; NULL: it is not */
    uint64_t huge_limit;            /* the table's limit when we last looked */
    uint64_t huge_front, huge_heap; /* so far it has been made into huge pages, or cannot be; see huge.c */
    uint32_t busy_with;             /* the thread that held its writer mutex when we last tried in vain */
    bool unsettled;                 /* its writer mutex was busy: try again */
    struct cds_list_head line;      /* claims, first come first */
    struct cds_list_head pins;
    struct cds_list_head all; /* keeper.tables */
    struct cds_lfht_node by_id;
};

struct heir_keeper {
    pthread_mutex_t lock;
    char ns[NAME_ROOM];
    char socket[SOCKET_ROOM];
    heir_log *log;
    void *log_arg;
    struct space_page *space;
    int space_fd, listen_fd, epoll_fd, stop_fd, timer_fd;
    pthread_t loop, huge_thread;
    pthread_cond_t huge_wake;
    _Atomic bool huge_stop;
    bool huge_running;
    unsigned wholes; /* tables mapped as a whole */
    bool stopping, bound, adopted;
    bool fresh; /* this keeper has begun the namespace */
    uint64_t started_ns, deaths, transfers, damaged;
    uint64_t retry_ms; /* until the next look at what is unsettled; 0: nothing is */
    uint64_t table_count, client_count;
    bool short_of_descriptors, noting;
    unsigned notes;
    uint64_t notes_lost;
    struct note note[NOTES];
    struct hash tables_by_name, tables_by_id, clients_by_id;
    struct cds_list_head tables, clients, connections, watchers;
    struct cds_list_head running; /* keepers of this process */
};

void keeper_log(struct heir_keeper *k, enum heir_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Something could not be done because a writer mutex was busy: come again soon. */
void keeper_retry_soon(struct heir_keeper *k);

/* ---- catalogue.c: one hash table for each way of finding */
int catalogue_init(struct heir_keeper *k);
void catalogue_free(struct heir_keeper *k);
struct keeper_table *table_by_name(struct heir_keeper *k, const char *name);
struct keeper_table *table_by_id(struct heir_keeper *k, uint64_t id);
struct keeper_client *client_by_id(struct heir_keeper *k, uint64_t id);
struct keeper_client *client_by_role(struct heir_keeper *k, const char *name); /* the oldest that lives */

/* Enter an existing object, whose page this consumes on success. NULL: no memory. */
struct keeper_table *table_enter(struct heir_keeper *k, const char *name, struct table_page *page);
struct keeper_client *client_enter(struct heir_keeper *k, struct client_page *page);
int table_rename(struct heir_keeper *k, struct keeper_table *t, const char *name);
void table_forget(struct heir_keeper *k, struct keeper_table *t);
void client_forget(struct heir_keeper *k, struct keeper_client *c);

/* ---- watcher.c */
int watcher_add(struct heir_keeper *k, struct keeper_client *c);
void watcher_remove(struct keeper_client *c);
void watchers_stop(struct heir_keeper *k);

/* ---- reign.c */
bool client_lives(const struct keeper_client *c);
void reign_ring(struct keeper_client *c);
/* The client has ended, or leaves: hand on all it owns, then forget it. since_ns: when that was noticed. */
void reign_end_client(struct heir_keeper *k, struct keeper_client *c, uint64_t since_ns);
/* Its process has ended, says the kernel: what it held is free. */
void reign_proven_dead(struct heir_keeper *k, struct keeper_client *c);
/* The keeper owns the table: give it to the first in line. */
void reign_grant(struct heir_keeper *k, struct keeper_table *t);
/* From the living owner (or the keeper) to a living client, or to the keeper (NULL). -EBUSY: a write is going on. */
int reign_pass(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *to, enum heir_reason reason,
               const void *data, size_t data_len);
int reign_destroy(struct heir_keeper *k, struct keeper_table *t);
int reign_create(struct heir_keeper *k, struct keeper_client *c, const struct wire_request *q,
                 struct keeper_table **table);
/* A table as found at start: settle whose it is. */
void reign_adopt(struct heir_keeper *k, struct keeper_table *t);
/* Whatever was put off. */
void reign_retry(struct heir_keeper *k);
/* Note the pins that a client's page tells of, at start; and when all are noted. */
void reign_pin_again(struct heir_keeper *k, struct keeper_client *c);
void reign_pins_known(struct heir_keeper *k);
/* The client is back: what it has let go by itself meanwhile, in its page, is gone. */
void reign_pins_looked_at(struct keeper_client *c);
void pin_note_free(struct pin_note *pin);
int reign_pin(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *c, uint64_t *txn);
int reign_unpin(struct keeper_table *t, struct keeper_client *c, uint64_t txn);
/* The client waits for nothing any more. */
void reign_drop_claims(struct keeper_client *c);
void reign_count_waiting(struct keeper_table *t);

/* ---- connection.c */
struct connection {
    int fd;
    uint32_t uid, gid;
    int32_t pid;
    struct keeper_client *client; /* NULL: an administrator, or not yet */
    struct cds_list_head all;
};
void connection_accept(struct heir_keeper *k);
void connection_receive(struct heir_keeper *k, struct connection *c);
void connection_close(struct heir_keeper *k, struct connection *c);
/* fd stays the caller's. */
void connection_reply(struct connection *c, const struct wire_request *q, struct wire_reply *reply, int fd);

/* ---- request.c: validate, check rights, act. *fd: a descriptor that came with the message, to be set to -1 when it is
 * kept. */
void request_handle(struct heir_keeper *k, struct connection *c, const struct wire_request *q, int *fd);
bool may_own(const struct heir_keeper *k, uint32_t uid, uint32_t gid, const struct keeper_table *t);
/* Open a table's memory for a client and reply with it. */
void request_reply_table(struct heir_keeper *k, struct connection *c, const struct wire_request *q,
                         struct keeper_table *t, bool writable);
/* Hold a descriptor that proves the end of the client's process; c: its connection, NULL when there is none. */
void client_watch_process(struct heir_keeper *k, struct keeper_client *client, const struct connection *c);

/* ---- huge.c */
int huge_start(struct heir_keeper *k);
void huge_stop(struct heir_keeper *k);

/* ---- adopt.c */
/* No such table: -ENOENT, or -EUCLEAN when there is something of that name which has been set aside. */
int adopt_missing(const struct heir_keeper *k, const char *name);
int adopt_all(struct heir_keeper *k);
int purge_all(struct heir_keeper *k);

/* What epoll is to report: a connection's address, a client's id (watchers may have freed it meanwhile). */
enum source { SOURCE_LISTEN, SOURCE_STOP, SOURCE_TIMER, SOURCE_CONNECTION, SOURCE_PIDFD };
int keeper_poll(struct heir_keeper *k, int fd, enum source source, uint64_t what);

#endif
