/* SPDX-License-Identifier: MIT */
/*
 * What the keeper knows. All of it can be rebuilt from shared memory: that is what adopt.c does.
 *
 *   keeper.c      starting, stopping, the event loop       watcher.c   threads that wait for deaths
 *   connection.c  sockets and messages                     reign.c     who owns what: pass, grant, create, destroy
 *   request.c     what clients ask for                     death.c     clients that end: their tables go to the heirs
 *   catalogue.c   tables and clients, found by name or id  adopt.c     taking over what an earlier keeper left
 *   process.c     what the kernel tells of a process       lease.c     owners that must show that they are well
 *   pin.c         states that are held for readers         user.c      what one uid may have
 *   closer.c      closing what others have sent            journal.c   what has happened, told once
 *   fault.c       memory that a client has cut off         huge.c      memory in larger pages
 *   journal.c     telling what has happened                collect.c   removing what belongs to nobody
 *
 * Clients of one uid pass tables to each other without asking: who owns a table is what its owner word says, and what
 * the keeper has noted of it is as old as its last look (table_owner).
 *
 * One lock, keeper.lock, protects all of it; the event loop and the watchers take it for the time of one event. Below
 * it come only the writer mutexes of tables, which are tried and never waited for: no client can hold the keeper up.
 */
#ifndef HEIR_STATE_H
#define HEIR_STATE_H

#include "counters.h"
#include "hash.h"
#include "layout.h"
#include "name.h"
#include "owner.h"
#include "wire.h"
#include <heir/inspect.h>
#include <heir/keeper.h>
#include <urcu/list.h>

struct connection;
struct watcher;

struct keeper_client {
    uint64_t id;
    char name[NAME_ROOM];
    uint32_t uid, gid;
    int32_t pid, tid; /* noted here, with uid and name: its page is the client's to change */
    uint64_t start_time;
    struct client_page *page;
    struct connection *connection; /* NULL: not connected now */
    int bell;                      /* -1: none */
    int pidfd;                     /* -1: none */
    int stat;                      /* /proc/PID/stat, opened while it lived; -1: none */
    bool ready;                    /* its life mutex has been locked */
    bool dying;                    /* being reclaimed: waits for a writer mutex */
    bool proven;                   /* its process, or it, is proven to have ended, or never to run again */
    unsigned looks;                /* at tables of its that were busy, since it is proven to have ended */
    uint64_t dumps_seen_ns;        /* when it was last looked whether it dumps core */
    bool untold;                   /* the journal does not know yet that it has ended, or of all its tables */
    bool told;                     /* the journal knows that it has ended */
    enum heir_cause cause;         /* how it has ended */
    int code;
    uint64_t first_table;           /* that was handed on before that was known; 0: none */
    uint64_t ended_ns;              /* when that was noticed */
    uint64_t reclaimed, reclaim_ns; /* tables, and the time it took */
    struct keeper_user *user;
    struct watcher *watcher;
    struct cds_list_head tables; /* which it owned when we last looked at them */
    struct cds_list_head claims, pins;
    unsigned claiming;              /* claims in line */
    struct cds_list_head unsettled; /* of keeper.dying, or of keeper.settled */
    struct cds_list_head all;       /* keeper.clients, oldest first */
    struct cds_lfht_node by_id, by_role;
};

/* What one uid has. */
struct keeper_user {
    uint32_t uid;
    uint64_t connections, clients, tables, bytes;
    struct closer *closer; /* NULL: none yet */
    struct cds_lfht_node by_uid;
};

/* A claim in line. */
struct claim {
    struct keeper_client *client;
    struct keeper_table *table;
    struct wire_request request;
    bool mapped;               /* the client has the table's memory already */
    struct cds_list_head line; /* of the table */
    struct cds_list_head mine; /* of the client */
};

/* An order to take a table from an owner who had to be killed for it: it is carried out when that has ended. */
struct order {
    uint64_t table, client;
    struct connection *connection; /* who is told then; NULL: nobody */
    struct wire_request request;
    struct cds_list_head all; /* keeper.orders */
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
    uint32_t uid, gid, access, mode, lease_ms; /* noted here: its pages are its owners' to change */
    char name[NAME_ROOM];
    struct table_name *entry;
    struct table_page *page;        /* the first page only */
    struct keeper_client *owner;    /* as of our last look: see table_owner(). NULL: the keeper */
    struct keeper_user *user;       /* who created it */
    uint64_t passed_at;             /* its last committed transaction when we last passed it on */
    uint64_t lease_state;           /* what changes when the owner is well, as of the last look */
    uint64_t lease_since_ns;        /* since when it has not changed */
    uint8_t *whole;                 /* all of it, mapped; NULL: it is not. See huge_keep() */
    uint64_t huge_used;             /* heap pages in use when we last looked */
    uint64_t huge_front, huge_heap; /* so far it has been made into huge pages, or cannot be; see huge.c */
    uint64_t huge_ahead;            /* table_page.ahead, as this keeper has written it */
    bool damaged;                   /* it could not be repaired: nobody owns it */
    uint32_t busy_with;             /* the thread that held its writer mutex when we last tried in vain */
    struct cds_list_head line;      /* claims, first come first */
    uint64_t waiting;               /* so many */
    struct cds_list_head pins;
    struct cds_list_head of_owner;  /* of its owner's tables */
    struct cds_list_head waited;    /* of keeper.waited, while somebody is in line */
    struct cds_list_head unsettled; /* of keeper.unsettled: its writer mutex was busy, try again */
    struct cds_list_head leased;    /* of its class, if it has a lease */
    struct cds_list_head all;       /* keeper.tables */
    struct cds_lfht_node by_id;
};

/* Tables with leases of about one length, and when they are looked at. See lease.c. */
#define LEASE_CLASSES 14
struct lease_class {
    struct cds_list_head tables;
    uint64_t look_ns; /* CLOCK_MONOTONIC */
};

struct heir_keeper {
    pthread_mutex_t lock;
    char ns[NAME_ROOM];
    char socket[SOCKET_ROOM];
    heir_log *log;
    void *log_arg;
    struct space_page *space;
    int space_fd, listen_fd, epoll_fd, stop_fd, timer_fd, lease_fd;
    int descriptors; /* beyond this number they are for what must be done, not for new connections */
    uint64_t clients_per_uid, tables_per_uid, bytes_per_uid;
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
    bool short_of_descriptors;
    struct keeper_client *unexplained; /* has ended, and it is not known how; NULL: none */
    bool holding;                      /* what happens is told later */
    struct journal_entry *journal;     /* NULL: there is no memory for it */
    unsigned held_count;
    uint64_t held_lost;
    struct journal_entry held[JOURNAL_ENTRIES];
    struct hash tables_by_name, tables_by_id, clients_by_id, clients_by_role, users;
    struct cds_list_head tables, clients, connections, watchers, retired;
    struct cds_list_head unsettled, dying, settled, waited, orders;
    struct lease_class leases[LEASE_CLASSES];
    struct cds_list_head running; /* keepers of this process */
};

void keeper_log(struct heir_keeper *k, enum heir_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The namespace's page, locked: one keeper a namespace, until the descriptor is closed. -EBUSY. */
int keeper_take_namespace(struct heir_keeper *k);

/* Something could not be done because a writer mutex was busy: come again soon. */
void keeper_retry_soon(struct heir_keeper *k);

/* ---- catalogue.c: one hash table for each way of finding */
int catalogue_init(struct heir_keeper *k);
void catalogue_free(struct heir_keeper *k);
struct keeper_table *table_by_name(struct heir_keeper *k, const char *name);
struct keeper_table *table_by_id(struct heir_keeper *k, uint64_t id);
struct keeper_client *client_by_id(struct heir_keeper *k, uint64_t id);
struct keeper_client *client_by_role(struct heir_keeper *k, const char *name); /* the oldest that lives */
/* Who owns it, by its owner word. NULL: the keeper, or one that is no more. */
struct keeper_client *table_owner(struct heir_keeper *k, struct keeper_table *t);

/* Enter an existing object, whose page this consumes on success. NULL: no memory. */
struct keeper_table *table_enter(struct heir_keeper *k, const char *name, struct table_page *page);
struct keeper_client *client_enter(struct heir_keeper *k, struct client_page *page);
int table_rename(struct heir_keeper *k, struct keeper_table *t, const char *name);
void table_forget(struct heir_keeper *k, struct keeper_table *t);
void client_forget(struct heir_keeper *k, struct keeper_client *c);

/* ---- user.c */
struct keeper_user *user_of(struct heir_keeper *k, uint32_t uid); /* NULL: no memory */
void users_free(struct heir_keeper *k);
/* Close what came from this user, which may make who closes it wait. */
void user_close(struct keeper_user *u, int fd);
/* Whether it may have one more: 0, -EDQUOT. */
int user_may_connect(const struct heir_keeper *k, const struct keeper_user *u);
int user_may_open(const struct heir_keeper *k, const struct keeper_user *u);
int user_may_create(const struct heir_keeper *k, const struct keeper_user *u, uint64_t bytes);

/* ---- closer.c */
struct closer *closer_new(void);                 /* NULL: no memory, or no thread */
bool closer_take(struct closer *w, int fd);      /* false: no memory; fd stays the caller's */
uint64_t closer_pending(const struct closer *w); /* not closed yet. w may be NULL */
void closer_end(struct closer *w);               /* when it has closed what it has; it frees itself */

/* ---- watcher.c */
int watcher_add(struct heir_keeper *k, struct keeper_client *c);
void watcher_remove(struct keeper_client *c);
void watchers_stop(struct heir_keeper *k);

/* ---- process.c */
/* Hold what proves the end of the client's process, and tells of it; c: its connection, NULL when there is none. */
void process_watch(struct heir_keeper *k, struct keeper_client *client, const struct connection *c);
/* When the process started, in clock ticks after boot; 0: unknown. */
uint64_t process_start_time(int32_t pid);
/* Note how the client has ended. */
void process_cause(struct keeper_client *c);
/* Its thread is no more, although its process lives: exec by another thread than the first takes on that one's id
 * before the kernel looks at the robust list, and then finds nothing of its own in it. */
bool process_lost_thread(const struct keeper_client *c);
/* Its process writes a core dump: no thread of it will ever run again. */
bool process_dumps(const struct keeper_client *c);
int process_kill(const struct keeper_client *c); /* -ESRCH: there is no hold on it */

/* ---- reign.c */
bool client_lives(const struct keeper_client *c);
void reign_ring(struct keeper_client *c);
/* The writer mutex: 0: held, and the table is at its last commit. -EBUSY; -EUCLEAN: it cannot be repaired. */
int reign_lock(struct heir_keeper *k, struct keeper_table *t);
void reign_unlock(struct keeper_table *t);
/* Come again for this table, or this dying client. */
void reign_put_off(struct heir_keeper *k, struct keeper_table *t);
/* Pass it on; the writer mutex is held. to: NULL: to the keeper. When the mutex has been let go, reign_passed()
 * follows: it wakes the owner, which would only wait for the mutex if it were woken before, answers its claim, and
 * notes it all. */
int reign_transfer(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *to, const struct passing *how);
void reign_passed(struct heir_keeper *k, struct keeper_table *t);
/* The keeper owns the table: give it to the first in line. */
void reign_grant(struct heir_keeper *k, struct keeper_table *t);
/* The owner waits in line for what it owns by now: that is granted, and wakes it. false: it did not wait. */
bool reign_answer_owner(struct heir_keeper *k, struct keeper_table *t);
/* From the living owner (or the keeper) to a living client, or to the keeper (NULL). -EBUSY: a write is going on;
 * -EAGAIN: its owner has just passed it on, or this epoch (0: any) is over. */
int reign_pass(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *to, uint64_t epoch,
               const struct passing *how);
int reign_destroy(struct heir_keeper *k, struct keeper_table *t, uint64_t epoch); /* as reign_pass() */
void reign_destroy_locked(struct heir_keeper *k, struct keeper_table *t);         /* the mutex is let go */
int reign_create(struct heir_keeper *k, struct keeper_client *c, const struct wire_request *q,
                 struct keeper_table **table);
/* Take the table from its owner (in this epoch; 0: whichever), who is killed if need be: REPLIED: by an order, which is
 * answered later. */
int reign_revoke(struct heir_keeper *k, struct keeper_table *t, uint64_t epoch, bool force, struct connection *c,
                 const struct wire_request *q);
/* A client that has ended may still hold the writer mutex of what it has just passed on, or of a public table: 1: it
 * does not any more; 0: it is not the one; -EBUSY: it is not proven yet that it has stopped. */
int reign_free_writer(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *dead);
bool reign_ordered(const struct heir_keeper *k, const struct keeper_table *t, const struct keeper_client *owner);
void reign_orders_done(struct heir_keeper *k, const struct keeper_client *c);
void reign_orders_unheard(struct heir_keeper *k, const struct connection *c); /* who gave them has gone */
/* A claim comes into the line, and leaves it. */
int reign_wait_in_line(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *c,
                       const struct wire_request *q);
void reign_claim_free(struct heir_keeper *k, struct claim *claim);
/* The client waits for nothing any more. */
void reign_drop_claims(struct heir_keeper *k, struct keeper_client *c);

/* ---- death.c */
/* The client has ended, or leaves: hand on all it owns, then forget it. since_ns: when that was noticed. */
void death_of(struct heir_keeper *k, struct keeper_client *c, uint64_t since_ns);
/* The same by a thread that is to be quick: what can wait, waits until death_explain() and death_conclude(). */
void death_noticed(struct heir_keeper *k, struct keeper_client *c, uint64_t since_ns);
void death_explain(struct heir_keeper *k); /* how it has ended: as soon as may be, while the kernel knows */
void death_conclude(struct heir_keeper *k);
/* Its process has ended, says the kernel: what it held is free. */
void death_proven(struct heir_keeper *k, struct keeper_client *c);
/* Settle whose the table is: a dead owner's heir's, or the keeper's, and the first's in line. false: later. */
bool death_settle(struct heir_keeper *k, struct keeper_table *t);
/* Whatever was put off. */
void death_retry(struct heir_keeper *k);

/* ---- lease.c */
void lease_begin(struct heir_keeper *k, struct keeper_table *t);
void lease_look(struct heir_keeper *k);

/* ---- pin.c */
/* Note the pins that a client's page tells of, at start; and when all are noted. */
void pins_again(struct heir_keeper *k, struct keeper_client *c);
void pins_known(struct heir_keeper *k);
/* The client is back: what it has let go by itself meanwhile, in its page, is gone. */
void pins_looked_at(struct keeper_client *c);
int pin_grant(struct keeper_table *t, struct keeper_client *c, uint64_t *txn);
int pin_release(struct keeper_table *t, struct keeper_client *c, uint64_t txn);
void pins_drop(struct keeper_client *c);
void pins_destroyed(struct keeper_table *t); /* with their table */
void pins_forget(struct keeper_table *t);    /* the keeper stops: the pages go on telling of them */

/* ---- journal.c: each of these tells the journal, the counters and the log: at once, or with what was held */
#define NOTES 16 /* lines of the log that what was held may take */
void journal_hold(struct heir_keeper *k, bool hold);
void journal_tell_held(struct heir_keeper *k);
void journal_transfer(struct heir_keeper *k, const struct keeper_table *t); /* that has just been made */
void journal_died(struct heir_keeper *k, const struct keeper_client *c);    /* counts it; journal_end() follows */
void journal_end(struct heir_keeper *k, struct keeper_client *c);           /* at once */
/* c: who created it, or owned it; may be NULL. */
void journal_table(struct heir_keeper *k, enum heir_happened kind, const struct keeper_table *t,
                   const struct keeper_client *c);
void journal_renamed(struct heir_keeper *k, const struct keeper_table *t, const char *before);
/* Of a table that is not in the catalogue: damaged, destroyed. Not in the log, which says what is the matter. */
void journal_name(struct heir_keeper *k, enum heir_happened kind, const char *name);
void journal_keeper(struct heir_keeper *k, bool starts);
void journal_count(struct heir_keeper *k, enum counter which, uint64_t more);

/* ---- fault.c */
/* A page of a mapping of ours that its file no longer has is replaced by zeros, in the keeper's threads alone. */
int fault_guard(void);
void fault_thread(bool ours); /* the calling thread is one of them, or runs somebody else's code */
int fault_count(void);        /* pages that have been replaced under the calling thread */

/* ---- connection.c */
struct connection {
    int fd;
    uint32_t uid, gid;
    int32_t pid;
    struct keeper_client *client; /* NULL: an administrator, or not yet */
    struct keeper_user *user;
    struct cds_list_head all;
};
void connection_accept(struct heir_keeper *k);
void connection_receive(struct heir_keeper *k, struct connection *c);
void connection_close(struct heir_keeper *k, struct connection *c);
/* The descriptors stay the caller's. */
void connection_reply(struct connection *c, const struct wire_request *q, struct wire_reply *reply, int fd);
void connection_reply_with(struct connection *c, const struct wire_request *q, struct wire_reply *reply, const int *fds,
                           unsigned count);

/* ---- request.c: validate, check rights, act. *fd: a descriptor that came with the message, to be set to -1 when it is
 * kept. */
void request_handle(struct heir_keeper *k, struct connection *c, const struct wire_request *q, int *fd);
bool may_own(const struct heir_keeper *k, uint32_t uid, uint32_t gid, const struct keeper_table *t);
/* Open a table's memory for a client and reply with it. error: 0, or -EINPROGRESS: it waits in line for it. false: it
 * cannot be opened; then who waits in line is told nothing, since he is still in it. */
bool request_reply_table(struct heir_keeper *k, struct connection *c, const struct wire_request *q,
                         struct keeper_table *t, enum wire_memory memory, int error);
#define REPLIED 1 /* a handler's: the reply has been sent, or will be */

/* ---- huge.c */
int huge_start(struct heir_keeper *k);
void huge_stop(struct heir_keeper *k);
/* Keep this mapping of all of a table for the next time that it must be repaired, or unmap it. The lock is held. */
void huge_keep(struct heir_keeper *k, struct keeper_table *t, uint8_t *whole);

/* ---- adopt.c */
/* No such table: -ENOENT, or -EUCLEAN when there is something of that name which has been set aside. */
int adopt_missing(const struct heir_keeper *k, const char *name);
/* Remove one that has been set aside. -ENOENT. */
int adopt_remove(struct heir_keeper *k, const char *name);
int adopt_check_table(const struct table_page *page, uint64_t bytes);
int adopt_all(struct heir_keeper *k);
int purge_all(struct heir_keeper *k);

/* What epoll is to report: a connection's address, a client's id (watchers may have freed it meanwhile). */
enum source { SOURCE_LISTEN, SOURCE_STOP, SOURCE_TIMER, SOURCE_LEASE, SOURCE_CONNECTION, SOURCE_PIDFD };
int keeper_poll(struct heir_keeper *k, int fd, enum source source, uint64_t what);

#endif
