/* SPDX-License-Identifier: MIT */
/*
 * libheir: tables in shared memory that outlive the process that owns them.
 *
 * A keeper (heird, or heir/keeper.h inside your own program) creates named shared-memory tables. A worker
 * claims one, owns it, and reads and writes it at memory speed. When the worker dies, in whatever way, the
 * table is exactly at its last commit and falls to its heir: by default the keeper, which hands it to the
 * next worker that claims it. This is what Erlang's ETS calls heir and give_away, for C and processes.
 *
 *     struct heir *me; struct heir_table *t; int64_t n;
 *     heir_open(NULL, &me);
 *     heir_claim(me, "counter", &(struct heir_table_options){0}, -1, &t);
 *     heir_add(t, "n", 1, 1, &n);             // goes on where the last owner, dead by now, was committed
 *
 * THE MODEL
 *  - A namespace is a world of tables with one keeper. A client (struct heir) is one *thread's* membership
 *    in it: it owns tables, gets events, and dies with that thread. A process may have many clients.
 *  - A table holds objects (key, value): bytes, copied in and out. Keys have 1 to HEIR_KEY_MAX bytes.
 *  - One client owns a table at a time. A protected table is written by its owner alone and read by all;
 *    a public one is written by all; a private one is the owner's alone.
 *  - The epoch of a table grows with every change of owner. A write by a former owner is refused
 *    (-ESTALE), even when that owner was stopped for hours and never noticed that it had lost the table.
 *  - Changes are made in transactions: heir_begin ... heir_commit, or one for each single call outside of
 *    them. A transaction becomes visible as one, and survives as one.
 *  - Readers take no lock and store nothing. They see the last commit, never half of one.
 *
 * GENERAL RULES (exceptions stand at the function)
 *  - Returns: 0, or a negative errno. heir_strerror() makes a sentence of it that says what to do.
 *  - Ownership: what you pass in is copied before the call returns; what you get is yours, except handles
 *    (struct heir_table *), which belong to their client and are valid until heir_close().
 *  - Options: a NULL pointer or zero fields mean defaults. Set the whole struct to zero first: reserved
 *    fields must be zero, so that fields can be added within one soname.
 *  - Threads: any thread of the process may call any function, heir_close() excepted. An open transaction
 *    belongs to the thread that began it; writes by other threads wait for its end.
 *  - Fork: in a forked child every call on the parent's handles fails with -ENOTCONN and harms nothing of
 *    the parent. The child opens its own client. exec, like death, gives the tables back.
 *  - Killed inside a call: the table is at the state before or after the operation (of a transaction:
 *    before or after heir_commit), never between. This holds for every function here.
 *  - Time is CLOCK_MONOTONIC; EINTR is handled; SIGPIPE is never raised; nothing is printed.
 *  - Signal handlers: no function here may be called from one, nor may one leave a function here by siglongjmp().
 *    What it held stays held until its thread ends: then the tables are at their last commit and go to their
 *    heirs, as always; until then calls of other threads, and heir_close(), may wait for it without end.
 *
 * WHAT GOES WRONG, AND ITS CURE
 *  - "My table went back while my process lives." The client belonged to a thread that has ended. Open
 *    clients in a thread that lives as long as the tables are needed.
 *  - -ENOSPC with max_bytes far away: /dev/shm is full (a default container has 64 MiB: docker run
 *    --shm-size). Nothing is lost, and nothing was changed by the failed call.
 *  - The tables vanish at logout: systemd-logind removes a user's shared memory (RemoveIPC=yes). Run the
 *    keeper as a system service or set RemoveIPC=no.
 *  - A stopped owner (SIGSTOP, a debugger) is alive and keeps its tables. `heirctl revoke` takes them.
 *  - Memory protection is between users. Under one uid, descriptors and views guard against mistakes, not
 *    against malice.
 *
 * ERRORS THAT EVERY FUNCTION WITH A HANDLE MAY RETURN
 *  -EINVAL        an argument is out of the documented range (a NULL handle among them)
 *  -ENOTCONN      the handle is a parent's (after fork), detached, or destroyed
 *  -EUCLEAN       the shared memory of the table is damaged; it has been left alone
 * AND EVERY FUNCTION THAT TALKS TO THE KEEPER
 *  -ECONNREFUSED  no keeper answers at the socket (not started, or just being restarted); tables already
 *                 open go on being read and written
 *  -EPROTONOSUPPORT  the keeper, or a table's layout, is of another version of libheir
 *  -ENAMETOOLONG  the socket path does not fit in a Unix socket address (107 bytes)
 *  -EACCES        the permissions of the namespace or of the table do not allow it
 */
#ifndef HEIR_H
#define HEIR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HEIR_API __attribute__((visibility("default")))
#else
#define HEIR_API
#endif

struct heir;       /* a client */
struct heir_table; /* a client's handle of a table: one a table and client */
struct heir_event;

#define HEIR_KEEPER    0u  /* the keeper's id */
#define HEIR_NOBODY    "-" /* as an heir: destroy the table with its owner */
#define HEIR_NAME_MAX  63  /* bytes of a table, role or namespace name */
#define HEIR_DATA_MAX  512 /* bytes of a giver's or heir's data */
#define HEIR_KEY_MAX   65535u
#define HEIR_TABLE_MIN (UINT64_C(64) << 10) /* smallest max_bytes */
#define HEIR_TABLE_MAX (UINT64_C(64) << 30) /* largest max_bytes */

/* ---- Clients ------------------------------------------------------------------------------------------ */

struct heir_open_options {
    const char *ns;     /* namespace; NULL: $HEIR_NAMESPACE, else "default". A-Z a-z 0-9 _ -, 1 to 63 */
    const char *socket; /* NULL: $HEIR_SOCKET, else $XDG_RUNTIME_DIR/heir/NS.sock, else /run/heir/NS.sock
                           (root), else /tmp/heir-UID/NS.sock */
    const char *name;   /* role name; NULL: the program's name (unsuitable bytes become '_') */
    int timeout_ms;     /* for a keeper, here and in later control calls; 0: 1000; -1: for ever */
    unsigned spin_us;   /* heir_wait() and a heir_claim() in line watch memory for so long before they sleep: a
                           hand-over then costs no wake-up, and a processor meanwhile. 0: sleep at once */
    int crash_note;     /* 1: note fatal signals, see below */
    int reserved_int;
    uint64_t reserved[5];
};

/*
 * Join a namespace: make the calling thread a client of it.
 *
 * The client lives until heir_close() or until this thread ends, in whatever way: then its tables go to
 * their heirs. A role name (1 to 63 of A-Z a-z 0-9 . _ -, not beginning with a dot) is how others find the
 * client and name it as an heir; it need not be unique: the client that has borne it longest is meant.
 *
 * crash_note: the kernel tells of a crash only after the core dump has been written, which may take minutes. With this
 * option a handler for the signals that dump core (QUIT ILL TRAP ABRT BUS FPE SEGV SYS XCPU XFSZ; not those that are
 * ignored) notes signal, address and time in the client's page and wakes the keeper, which hands the tables on before
 * the dump begins (those with a write in progress: as soon as the dump has begun). Then the signal takes its usual
 * course: the handler that was there before runs, or the process dies. One that recovers from the signal finds its
 * clients ended: their tables are gone, and their calls return -ENOTCONN. The handlers stay until the process ends.
 *
 * Returns 0 and *client, to be closed with heir_close(); -EINVAL for a bad name; -ECONNREFUSED when no keeper
 * answered within timeout_ms; -EACCES when the socket's or its folder's permissions refuse; -ENOMEM; -EMFILE
 * (a client needs seven descriptors); -ENOSPC when /dev/shm has no room for the client's page; -ENOSYS on a kernel
 * before 5.16; -EDQUOT when this uid has as many clients as the keeper allows. Killed inside: nothing remains.
 */
HEIR_API int heir_open(const struct heir_open_options *options, struct heir **client);

/*
 * Leave: hand this client's tables to the keeper (reason HEIR_RELEASED, not HEIR_INHERITED: a clean stop
 * and a crash can be told apart), roll an open transaction back, and free the client and all its handles.
 * A table whose heir is HEIR_NOBODY is destroyed.
 *
 * Returns 0; -EPERM when called by another thread than the one that opened it (nothing is done). Without a
 * keeper it succeeds at once: the next keeper finds what was left. NULL is allowed. In a forked child it
 * frees the child's copy and harms nothing. Killed inside: the tables go the way of a crash.
 */
HEIR_API int heir_close(struct heir *client);

/* This client's id: never 0, and never used again as long as there is anybody to whom it could mean something: numbers
 * begin anew only when a keeper has stopped in an orderly way and left neither a client nor a table. 0 for NULL. */
HEIR_API uint64_t heir_id(const struct heir *client);

/*
 * A descriptor for poll/epoll, readable when heir_wait() would find something to do. It stays the client's:
 * do not read or close it. It may be readable for nothing: call heir_wait() with timeout 0 then, which also
 * does the library's house-keeping (reconnecting to a restarted keeper).
 */
HEIR_API int heir_fd(const struct heir *client);

/*
 * Wait for the next event. timeout_ms: 0 looks, -1 waits for ever.
 *
 * Returns 0 and *event; -ETIMEDOUT. Events are HEIR_EVENT_TRANSFER: this client owns a table now (given,
 * inherited, or claimed: every epoch's event comes exactly once, also to one who called heir_claim() and
 * has its handle already; creating a table makes none); HEIR_EVENT_LOST: it owns it no longer without
 * having given it (revoked); HEIR_EVENT_KEEPER_DOWN and _UP: control calls will wait, or work again.
 * A table is handed on before the keeper looks how its owner died, which takes it some microseconds: an event that
 * tells of a death waits for that, if the keeper is stopped or killed just then for a second at most.
 * None is ever dropped: each waits in this client's memory, some 700 bytes, until this function returns it or the
 * client is closed. So call it, if only with timeout 0, also where nobody cares for what it tells.
 * Killed inside: the event is the next owner's, or nobody's; the table is not lost.
 */
HEIR_API int heir_wait(struct heir *client, int timeout_ms, struct heir_event *event);

/* The id of the living client that has borne the role name longest. -ENOENT when there is none. */
HEIR_API int heir_find(struct heir *client, const char *name, uint64_t *id);

enum heir_event_type { HEIR_EVENT_TRANSFER = 1, HEIR_EVENT_LOST, HEIR_EVENT_KEEPER_DOWN, HEIR_EVENT_KEEPER_UP };
enum heir_reason {
    HEIR_CLAIMED = 1, /* by heir_claim(), from the keeper */
    HEIR_GIVEN,       /* by heir_give_away() */
    HEIR_INHERITED,   /* the owner died */
    HEIR_RELEASED,    /* by heir_release() or heir_close() */
    HEIR_REVOKED      /* by an administrator, or because a lease has run out */
};
/* How the client ended that owned the table before, when it did. */
enum heir_cause {
    HEIR_CAUSE_NONE,    /* it did not: claimed, given, released, revoked */
    HEIR_CAUSE_UNKNOWN, /* it ended, and nobody knows how (heir_info(): or not yet) */
    HEIR_CAUSE_SIGNAL,  /* code: the signal's number */
    HEIR_CAUSE_EXIT,    /* code: the exit status */
    HEIR_CAUSE_THREAD   /* its thread ended, or called exec, and the process lives */
};
struct heir_event {
    enum heir_event_type type;
    enum heir_reason reason;
    struct heir_table *table; /* TRANSFER: this client owns it now. LOST: the handle, now a reader's */
    char name[HEIR_NAME_MAX + 1];
    uint64_t from, epoch; /* previous owner; the epoch that began with this event */
    uint64_t undone;      /* changes of an unfinished transaction that were rolled back */
    size_t data_len;
    unsigned char data[HEIR_DATA_MAX]; /* so many of them: the giver's, or the heir's when the owner died. A claimant
                                          gets the data with which the keeper had inherited the table */
    enum heir_cause cause;             /* of the last death, which a claimant learns, too */
    int code;
    uint64_t reserved[3];
};

/* ---- Tables ------------------------------------------------------------------------------------------- */

/*
 * As in ETS. A set and an ordered set have one object a key; an ordered set can be read in the order of its keys
 * (memcmp, shorter first). A bag has any number of different objects a key, a duplicate bag also equal ones; a key's
 * objects are in the order of their insertion, and its keys may have HEIR_KEY_MAX - 10 bytes.
 */
enum heir_type { HEIR_SET, HEIR_ORDERED_SET, HEIR_BAG, HEIR_DUPLICATE_BAG };
enum heir_access { HEIR_PROTECTED, HEIR_PUBLIC, HEIR_PRIVATE };

struct heir_table_options {
    enum heir_type type;
    enum heir_access access;
    uint64_t max_bytes; /* address space; memory is taken as needed. 0: 1 GiB. HEIR_TABLE_MIN to _MAX */
    const char *heir;   /* a role name; NULL or "": the keeper; HEIR_NOBODY */
    const void *heir_data;
    size_t heir_data_len;        /* up to HEIR_DATA_MAX */
    unsigned mode;               /* who may own and write (user bits), read (group, other bits). 0: 0600 */
    unsigned lease_ms;           /* 0: none; else see heir_renew() */
    size_t key_size, value_size; /* 0: any; else every key, value must have this size */
    uint64_t reserved[6];
};

/*
 * Create a table and own it, at epoch 1.
 *
 * name: 1 to 63 of A-Z a-z 0-9 . _ -, not beginning with a dot. Returns 0 and *table; -EEXIST; -EINVAL;
 * -EMSGSIZE for heir data over HEIR_DATA_MAX; -ENOSPC when
 * /dev/shm is full (nothing is left behind); -EDQUOT when this uid has as many tables, or bytes of max_bytes, as the
 * keeper allows. Killed inside: the table does not exist, or its heir has it.
 */
HEIR_API int heir_create(struct heir *client, const char *name, const struct heir_table_options *options,
                         struct heir_table **table);

/*
 * Become the owner: the one call that a worker makes, at its first start and at every restart.
 *
 * No such table: it is created, or -ENOENT when options is NULL. Owned by the keeper: it is yours. Owned by
 * a living client: wait in line; claims of one table queue in order; timeout_ms 0: -EBUSY at once; -1: for
 * ever; over: -ETIMEDOUT. Already yours: 0. While the keeper is being restarted the call goes on waiting
 * (its place in line is that of the reconnection). When a table was taken over, heir_wait() has an
 * event for it (reason HEIR_CLAIMED) that says how many changes of the dead owner were undone. Who claims and
 * releases again and again takes these events, too: one that is never asked for keeps its memory.
 *
 * timeout_ms 0 does not wait for an owner. It does wait, as long as the client's timeout_ms says, for the keeper to
 * answer, and, when the table is the keeper's, for one who is inside a write to it (a writer of a public table, or a
 * former owner that has not quite died): -ETIMEDOUT then.
 *
 * Returns also -EPROTOTYPE when the table exists with another type, key_size or value_size than the options
 * say; -EACCES when its mode gives this uid no right to own; -EDQUOT when 1,024 claims of this client are in line; and
 * the errors of heir_create().
 * A claim that timed out in the very moment in which it was granted shows as an event later.
 * Killed inside: the claim leaves the line, or the table goes to its heir.
 */
HEIR_API int heir_claim(struct heir *client, const char *name, const struct heir_table_options *options, int timeout_ms,
                        struct heir_table **table);

/*
 * Open a table to read it (a public one: also to write it). The handle follows the table through every change of owner
 * and of keeper, until it is destroyed. Returns -ENOENT; -EACCES by the table's mode, or when it is private.
 */
HEIR_API int heir_attach(struct heir *client, const char *name, struct heir_table **table);

/* Unmap a table that this client does not own (-EBUSY for the owner: release, give or destroy it).
 * -EBUSY also while a walk or a snapshot of it is open, or another thread waits to write.
 * Threads that are inside a read finish first. Later calls on the handle: -ENOTCONN, until it is attached anew. */
HEIR_API int heir_detach(struct heir_table *table);

/*
 * Give the table to the client with this id. The receiver need do nothing: its heir_wait() returns the
 * event with the handle, and the data. The giver's handle is a reader's from then on.
 *
 * Between clients of one uid this is done in shared memory, after the first gift to a receiver also without a keeper;
 * else the keeper does it. A receiver that has never had the table open for writing asks the keeper for its memory.
 *
 * Returns 0 when the receiver owns it; -EPERM when the caller does not own it; -EINVAL when `to` is oneself
 * or HEIR_KEEPER (use heir_release()); -ESRCH when `to` is dead or unknown; -EBUSY inside an open transaction;
 * -EMSGSIZE for data over HEIR_DATA_MAX; -EACCES when the receiver's uid may not own it. In every error the giver
 * still owns, but -ECONNREFUSED: the keeper died while it was asked, and heir_info() tells the owner.
 * Killed inside: the giver's heir or the receiver has it, whole, and its event is not lost.
 */
HEIR_API int heir_give_away(struct heir_table *table, uint64_t to, const void *data, size_t data_len);

/* Hand the table back to the keeper, from which the first in the line of claims gets it. Errors as heir_give_away(). */
HEIR_API int heir_release(struct heir_table *table);

/*
 * Say that the owner is alive and well: for tables with a lease (heir_table_options.lease_ms). An owner that has
 * neither committed a change nor called this for that long loses the table to the keeper (HEIR_REVOKED), as by
 * heir_revoke() by force: its next write is refused, and if it is in the middle of a write its process is killed first.
 * Time alone never hands over what its owner could still write. Not before lease_ms, and a quarter of it later at most,
 * with some milliseconds for very short ones, and more for thousands of them.
 * One store: no lock, no system call. Returns 0; -EPERM when the caller does not own it.
 */
HEIR_API int heir_renew(struct heir_table *table);

/* Remove the table. Owner only (-EPERM). Other processes' handles keep their mapping: reads go on returning the last
 * state until they are detached; claims waiting in line create it anew, or return -ENOENT. -EBUSY inside an open
 * transaction. */
HEIR_API int heir_destroy(struct heir_table *table);

/* Set who gets the table when its owner dies (a role name, NULL or "" for the keeper, HEIR_NOBODY) and what
 * data the event will carry. Owner only (-EPERM). The setting stays with the table when the owner changes. */
HEIR_API int heir_set_heir(struct heir_table *table, const char *heir, const void *data, size_t data_len);

/* Give the table another name. Owner only (-EPERM); -EEXIST. Handles stay valid. */
HEIR_API int heir_rename(struct heir_table *table, const char *name);

struct heir_info {
    char name[HEIR_NAME_MAX + 1], heir[HEIR_NAME_MAX + 1]; /* heir: "" is the keeper */
    enum heir_type type;
    enum heir_access access;
    uint64_t owner, epoch, objects;
    uint64_t bytes_used; /* memory in use: index, objects, recent history, house-keeping */
    uint64_t max_bytes;
    uint64_t committed;   /* number of the last committed transaction */
    uint64_t horizon;     /* the oldest one whose view can still be read */
    uint64_t id;          /* the table's own number, never used again */
    uint64_t bytes_taken; /* memory taken from the system: bytes_used and what is kept for reuse */
    uint64_t waiting;     /* claims in line, as last noted by the keeper */
    uint64_t since_ns;    /* begin of the owner's reign, CLOCK_REALTIME */
    uint64_t key_size, value_size;
    uint32_t uid, gid, mode, lease_ms;
    uint64_t from;           /* who owned it before this reign */
    enum heir_reason reason; /* how the reign began */
    enum heir_cause cause;   /* and how the last owner that died had ended */
    int code, reserved_int;
    uint64_t created_ns; /* CLOCK_REALTIME */
    uint64_t undone;     /* changes of unfinished transactions that were rolled back when the reign began */
    uint64_t rollbacks;  /* how often unfinished changes have been taken back, whether after a death or not */
    uint64_t history;    /* changes whose earlier state is kept, for readers */
    uint64_t reserved[1];
};

/* What is known of the table, as of now; for any handle. */
HEIR_API int heir_info(struct heir_table *table, struct heir_info *info);

/* ---- Objects ------------------------------------------------------------------------------------------
 *
 * Writes return, besides their own errors: -EPERM when this client never owned the table; -ESTALE when it owns
 * it no longer; -ENOSPC when max_bytes are used or /dev/shm is full (nothing changed; an open transaction stays
 * open and can be committed without the failed change, or aborted); -EINVAL for a key length of 0 or over HEIR_KEY_MAX,
 * or one that differs from the table's key_size or value_size; -EFBIG for a value of 4 GiB or more; -ENOTSUP when the
 * function is not for tables of this type. Reads return -EACCES on a private table that this client does not own. Keys
 * and values are any bytes; equal means equal length and bytes.
 */

/* Insert or replace. Bags: add an object; one that a HEIR_BAG has already is not added again. */
HEIR_API int heir_put(struct heir_table *table, const void *key, size_t key_len, const void *value, size_t value_len);

/* Insert only: -EEXIST when the key is there. */
HEIR_API int heir_put_new(struct heir_table *table, const void *key, size_t key_len, const void *value,
                          size_t value_len);

struct heir_object {
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
};

/* heir_put() for each of `count` objects, in this order: all of them or, on an error, none. */
HEIR_API int heir_put_many(struct heir_table *table, const struct heir_object *objects, size_t count);

/* Insert all of them or, when one of the keys is there already, none (-EEXIST). Of a key that stands twice among them
 * a set takes the last object, as heir_put_many() does; a bag takes both. */
HEIR_API int heir_put_new_many(struct heir_table *table, const struct heir_object *objects, size_t count);

/*
 * Copy the value out. *value_len: the room in, the length out. -ENOENT; -ENOBUFS with the length when the
 * room is short (nothing is copied). value may be NULL when the room is 0; value_len may be NULL: no value is copied.
 * Bags: the oldest object of the key.
 */
HEIR_API int heir_get(struct heir_table *table, const void *key, size_t key_len, void *value, size_t *value_len);

/* Is the key there: 0, or -ENOENT. */
HEIR_API int heir_has(struct heir_table *table, const void *key, size_t key_len);

/* Delete. -ENOENT. Bags: all objects of the key. */
HEIR_API int heir_del(struct heir_table *table, const void *key, size_t key_len);

/* Delete the object if it has this value, else -ENOENT. Duplicate bags: every such object. */
HEIR_API int heir_del_object(struct heir_table *table, const void *key, size_t key_len, const void *value,
                             size_t value_len);

/* Copy the value out as heir_get() and delete the object, as one. -ENOENT; -ENOBUFS: nothing is deleted. Bags: the
 * oldest object of the key. */
HEIR_API int heir_take(struct heir_table *table, const void *key, size_t key_len, void *value, size_t *value_len);

/* Add to an 8-byte native integer; an absent one counts as 0. *result (may be NULL): the sum. A value of
 * another size: -EINVAL; overflow: -ERANGE; both leave it unchanged. Not for bags. */
HEIR_API int heir_add(struct heir_table *table, const void *key, size_t key_len, int64_t delta, int64_t *result);

/* The same with a limit, as ETS's update_counter with a threshold: a sum beyond `limit` (above it when delta >= 0,
 * below it when delta < 0), or one that would overflow in that direction, becomes `wrap`. */
HEIR_API int heir_add_wrap(struct heir_table *table, const void *key, size_t key_len, int64_t delta, int64_t limit,
                           int64_t wrap, int64_t *result);

/*
 * Compare and swap: replace the value by another one if it is still the expected one. expected NULL (with length 0):
 * the key must not be there yet. Returns 0; -ENOENT when the key is not there; -ECANCELED when its value is another
 * (with expected NULL: when it is there). Not for bags.
 */
HEIR_API int heir_cas(struct heir_table *table, const void *key, size_t key_len, const void *expected,
                      size_t expected_len, const void *value, size_t value_len);

/*
 * Change a value in place. Lends *value, a copy of the object's value that can be written to and is value_len long: cut
 * off, or followed by zero bytes, when it had another length; all zero when the key was not there. It is published with
 * the transaction in which it was lent, which must be open (-EINVAL), as it is at the commit; heir_abort() discards it.
 * The same key can be edited again, and *value is then the same memory if the length is the same.
 *
 * The memory is lent until the transaction ends; a store through it afterwards faults, and none through it reaches
 * another object: an edited object has pages of its own. If the object is put, added to or deleted later in the same
 * transaction, that counts, and what is stored here is nobody's. It begins at an address divisible by 8. At most 64 in
 * one transaction (-EBUSY); -ENOMEM. Not for bags. Use heir_view() to read it.
 */
HEIR_API int heir_edit(struct heir_table *table, const void *key, size_t key_len, size_t value_len, void **value);

/*
 * Look at a value without copying it. For a table that nobody else writes: inside this thread's open transaction, or by
 * the owner of a protected or private table. -EPERM otherwise: use a snapshot. *value is read-only memory (stores
 * fault) and is right until the next write to the table, by whatever thread, or the end of the transaction; an owner
 * that may be revoked looks inside a transaction. Bags: the oldest object of the key.
 */
HEIR_API int heir_view(struct heir_table *table, const void *key, size_t key_len, const void **value,
                       size_t *value_len);

/* Delete all objects, as one change, in constant time; their memory comes back in slices with the writes that follow.
 */
HEIR_API int heir_clear(struct heir_table *table);

/* ---- Transactions -------------------------------------------------------------------------------------
 *
 * One open transaction a table. Its thread alone sees its changes, and may end it. Other writers wait. The
 * owner cannot change while it is open. It may be as large as the table's free space: each change needs its objects
 * and some 100 bytes of log.
 */

/* Begin. -EALREADY when this thread has one open on the table; -EPERM, -ESTALE as for a write. */
HEIR_API int heir_begin(struct heir_table *table);

/* Make all changes since heir_begin() visible, and permanent, by one store. -EPERM when another thread began it;
 * -EINVAL when none is open. Killed inside: all of them or none. */
HEIR_API int heir_commit(struct heir_table *table);

/* Undo all changes since heir_begin(). Errors as heir_commit(). */
HEIR_API int heir_abort(struct heir_table *table);

/* ---- Walks -------------------------------------------------------------------------------------------- */

/* Called for an object. The pointers are valid during the call only. Non-zero stops the walk. */
typedef int heir_visit(const void *key, size_t key_len, const void *value, size_t value_len, void *arg);

/*
 * Visit every object of one committed state (inside an open transaction, its own thread: of that transaction's), each
 * once: of an ordered set in the order of the keys, of a bag the objects of a key one after the other in the order of
 * their insertion, else in no order. visit may read and write the table: the walk still shows the state at its
 * beginning (in a transaction, its own later changes may show or not).
 *
 * A walk over more than a small table pins its state through the keeper while it lasts. Without a keeper the objects
 * are copied first, which may need as much memory as they have: -ENOMEM; -EAGAIN when the owner writes faster than
 * they can be copied; -ESTALE when the pin was broken for want of space; -EBUSY when this client has 16 pins. Returns
 * 0, or what visit returned.
 */
HEIR_API int heir_foreach(struct heir_table *table, heir_visit *visit, void *arg);

/* Visit the objects of one key: of a bag any number, in the order of their insertion. -ENOENT when there is none.
 * Otherwise as heir_foreach(). */
HEIR_API int heir_values(struct heir_table *table, const void *key, size_t key_len, heir_visit *visit, void *arg);

/*
 * Ordered sets: visit the objects with from <= key < to in memcmp order, shorter first; NULL: open end. Otherwise as
 * heir_foreach(); ranges of up to about a thousand objects need no pin. -ENOTSUP for other types.
 */
HEIR_API int heir_range(struct heir_table *table, const void *from, size_t from_len, const void *to, size_t to_len,
                        heir_visit *visit, void *arg);

/* The same objects in the opposite order, beginning with the greatest key less than `to`. */
HEIR_API int heir_range_reverse(struct heir_table *table, const void *from, size_t from_len, const void *to,
                                size_t to_len, heir_visit *visit, void *arg);

/*
 * Ordered sets: copy out the least key, the greatest one, the one that follows a key, the one before it. As in ETS the
 * key itself need not be there. *found_len: the room in, the length out. -ENOENT: there is none; -ENOBUFS with the
 * length. `found` must not overlap `key`. Each call looks at the last commit: for several steps on one state use
 * heir_range() or a snapshot.
 */
HEIR_API int heir_first(struct heir_table *table, void *found, size_t *found_len);
HEIR_API int heir_last(struct heir_table *table, void *found, size_t *found_len);
HEIR_API int heir_next(struct heir_table *table, const void *key, size_t key_len, void *found, size_t *found_len);
HEIR_API int heir_prev(struct heir_table *table, const void *key, size_t key_len, void *found, size_t *found_len);

/* ---- Snapshots ----------------------------------------------------------------------------------------
 *
 * One committed state, looked at for as long as one likes, by a reader or a writer, while the table goes on changing.
 * The keeper notes it as a pin: what the state needs is not reused meanwhile. A table that is out of space breaks the
 * oldest pin; then everything here returns -ESTALE, and never wrong data. Snapshots belong to their client: it has at
 * most 16, walks included, and they vanish with it. They may be used by any thread, one at a time.
 */
struct heir_snapshot;

/* Pin the last committed state. -EBUSY: this client has 16 pins; -EACCES as for a read; -ECONNREFUSED without a keeper.
 * Killed inside: the keeper drops the pin with the client. */
HEIR_API int heir_snapshot_open(struct heir_table *table, struct heir_snapshot **snapshot);

/* Give it up and free it. NULL is allowed. heir_close() does it for those that are still open. */
HEIR_API int heir_snapshot_close(struct heir_snapshot *snapshot);

/* Its state: the number of a committed transaction (heir_info.committed at the time). 0 for NULL. */
HEIR_API uint64_t heir_snapshot_state(const struct heir_snapshot *snapshot);

/* Does the pin still hold: 0, or -ESTALE. After looking at what heir_snapshot_view() returned, this tells whether that
 * was right all the while. */
HEIR_API int heir_snapshot_check(const struct heir_snapshot *snapshot);

/* heir_get(), heir_values(), heir_foreach(), heir_range() and heir_range_reverse() on this state. */
HEIR_API int heir_snapshot_get(struct heir_snapshot *snapshot, const void *key, size_t key_len, void *value,
                               size_t *value_len);
HEIR_API int heir_snapshot_values(struct heir_snapshot *snapshot, const void *key, size_t key_len, heir_visit *visit,
                                  void *arg);
HEIR_API int heir_snapshot_foreach(struct heir_snapshot *snapshot, heir_visit *visit, void *arg);
HEIR_API int heir_snapshot_range(struct heir_snapshot *snapshot, const void *from, size_t from_len, const void *to,
                                 size_t to_len, heir_visit *visit, void *arg);
HEIR_API int heir_snapshot_range_reverse(struct heir_snapshot *snapshot, const void *from, size_t from_len,
                                         const void *to, size_t to_len, heir_visit *visit, void *arg);

/* A pointer to the value, in read-only memory (stores fault), without copying it: right until the snapshot is closed,
 * unless the pin is broken meanwhile, which heir_snapshot_check() tells. */
HEIR_API int heir_snapshot_view(struct heir_snapshot *snapshot, const void *key, size_t key_len, const void **value,
                                size_t *value_len);

/* ---- Changes ------------------------------------------------------------------------------------------
 *
 * A feed tells each committed change of a table once and in order, to any reader and without a lock: for who shows
 * them, keeps a copy elsewhere, or computes something from them. It reads the table's history, which the writer lets
 * go of when some 128 newer changes are there: who comes later is told from which transaction to which he has missed
 * what was changed, and never anything wrong. With `hold` the keeper holds for the feed what it has not read; then
 * nothing is missed but when the table is out of space and breaks the pin.
 *
 * Transactions have numbers, each one more than the one before; those that no change is told of are the table's own
 * housekeeping. What was undone is never told. To begin with the whole table: take a snapshot, open the feed with
 * `from` = heir_snapshot_state() + 1, and walk the snapshot; what it holds the feed needs.
 */
struct heir_feed;

enum heir_changed {
    HEIR_CHANGE_PUT = 1, /* key, value: the object is there, in a set instead of the key's earlier one */
    HEIR_CHANGE_DELETED, /* key, value: the object that was there is not. Of equal ones: the oldest */
    HEIR_CHANGE_CLEARED, /* none of what was there is */
    HEIR_CHANGE_MISSED   /* what transactions txn to missed_last changed went before it could be read */
};
struct heir_change {
    uint64_t txn, missed_last; /* missed_last: 0 for the others */
    enum heir_changed kind;
    int last; /* 1: no other change of this transaction follows */
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
    uint64_t reserved[4];
};

/* Called for a change. The pointers are valid during the call only. Non-zero stops, and this change counts as told. */
typedef int heir_visit_change(const struct heir_change *change, void *arg);

struct heir_feed_options {
    uint64_t from; /* the first transaction to tell of; 0: the next one that is committed */
    int hold;      /* 1: have the keeper hold what is not read yet. It takes up to two of the client's 16 pins */
    int reserved_int;
    uint64_t reserved[4];
};

/*
 * Open a feed; of a table opened by heir_inspect_open() without hold. Returns 0 and *feed, to be closed with
 * heir_feed_close(); -ENOMEM; -EACCES as for a read; with hold also -EBUSY when this client has 16 pins, and
 * -ECONNREFUSED without a keeper. A feed may be used by any thread, one at a time. It keeps the table mapped
 * (heir_detach(): -EBUSY), through changes of owner; of a table that has been destroyed it tells what is left, and then
 * nothing more. Killed inside: the keeper drops the pins with the client.
 */
HEIR_API int heir_feed_open(struct heir_table *table, const struct heir_feed_options *options, struct heir_feed **feed);

/*
 * Visit the changes that were committed before this call and that have not been visited yet, in the order in which they
 * were made; of a transaction all, also those that it overwrote itself. up_to: those of later transactions are left for
 * later; 0: none are. When nothing is new this is two loads: who wants to be up to date calls it as often as that.
 * visit may read and write the table, and may do anything but use the feed.
 *
 * A transaction is copied as a whole before it is visited: -ENOMEM when there is not so much memory; it can be tried
 * again. Returns 0, or what visit returned; -EACCES as for a read. After an error nothing has been skipped.
 *
 * A held feed holds what it has not read, and for a quarter of a second, or a megabyte of changes, what it has: who
 * stops calling holds more and more, until the table is full and takes it back.
 */
HEIR_API int heir_feed_read(struct heir_feed *feed, uint64_t up_to, heir_visit_change *visit, void *arg);

/* The last transaction of which all changes have been visited, or missed: one more is where another feed goes on. 0 for
 * NULL. */
HEIR_API uint64_t heir_feed_state(const struct heir_feed *feed);

/* Close and free it. NULL is allowed. heir_close() does it for those that are still open; those of heir_inspect_open()
 * are to be closed before heir_inspect_close(). */
HEIR_API int heir_feed_close(struct heir_feed *feed);

/* ---- Checking -----------------------------------------------------------------------------------------
 *
 *  K1  the header's numbers agree with each other and with the size of the file
 *  K2  every page of the heap is in exactly one span, large block or free run, and free runs are joined and listed
 *  K3  every block is in use exactly once, or free: index, versions, history and what waits in it account for all
 *  K4  the index is well formed: every way through it that should lead to the same place does
 *  K5  every version in the index is found by its key, and `objects` counts the living
 *  K6  the history is in commit order
 */

/* Where every byte of the file is: their sum is max_bytes. */
struct heir_account {
    uint64_t live;       /* objects of the last commit: key, value and head of each */
    uint64_t superseded; /* older versions, and what waits for the history to let it go */
    uint64_t index;      /* of the objects */
    uint64_t metadata;   /* header, page descriptors, history, log, blocks put by */
    uint64_t slack;      /* lost in blocks that are larger than what is in them */
    uint64_t free;       /* backed by memory, for later use */
    uint64_t untouched;  /* never backed */
    uint64_t findings;   /* things found wrong */
    uint64_t reserved[8];
};

/* Called for each thing found wrong: the law's number (5 for K5), what, and where (an offset, or a number). */
typedef void heir_finding(unsigned law, const char *what, uint64_t where, void *arg);

/*
 * Is the table whole? Read-only, and without a lock: it disturbs nobody, and works while the table is written and while
 * its owner is dead in the middle of a transaction. Inside this thread's own open transaction: -EBUSY.
 *
 * It is done again when the table has changed meanwhile; of a table that never stands still only what is found a dozen
 * times, and never seen to be sound in between, is told, and *account is of a moment in between. finding and account
 * may be NULL. Returns 0; -EUCLEAN when something is wrong; -EACCES as for a read; -ENOMEM (it needs a 128th of the
 * memory in use, 192 KiB, and 64 bytes a change of an open transaction).
 */
HEIR_API int heir_check(struct heir_table *table, heir_finding *finding, void *arg, struct heir_account *account);

/*
 * heir_foreach() of a table that is damaged: what cannot be read is passed over. *lost: how many times; behind one of
 * them may have been a whole part of the index, so 0 means all of it, and 1 not that one object is missing. It is 1,
 * too, when all could be read and these are not as many objects as the table counts (unless it is written meanwhile).
 * Keys of a set are checked by their hash, other keys and values are not. All else is as of heir_foreach(); -EUCLEAN
 * when not even the beginning of the index is there.
 */
HEIR_API int heir_salvage(struct heir_table *table, heir_visit *visit, void *arg, uint64_t *lost);

/* ---- The rest ----------------------------------------------------------------------------------------- */

/* A sentence for an error (negative or positive) of this library that says what to do. Static; never NULL. */
HEIR_API const char *heir_strerror(int error);

/* "MAJOR.MINOR.PATCH". Static. */
HEIR_API const char *heir_version(void);

#ifdef __cplusplus
}
#endif
#endif
