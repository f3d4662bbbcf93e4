/* SPDX-License-Identifier: MIT */
/*
 * The format: what lies in shared memory, byte by byte. Someone with a hex dump and this file can read a table.
 *
 * There are three kinds of objects under /dev/shm, all created by the keeper:
 *
 *   heir.NS.k         the namespace: struct space_page. Numbers that are never used twice, the keeper's lock (flock),
 *                     its journal and counters
 *   heir.NS.c.ID      a client:      struct client_page
 *   heir.NS.t.TABLE   a table:       struct table_page, then
 *
 *        0  table_page                  one page
 *     4096  page descriptors            24 bytes for each page of the file, backed as far as `limit` reaches
 *           heap                        pages from heap_first up to `limit`: index, versions, history
 *           (never touched)             between limit and log_floor the file is a hole
 *   max_bytes undo log, growing down    16-byte entries from the end of the file
 *
 * THE RULES
 *  F1  Everything is an offset from the start of the file; 0 is "none". A version is named by its granule (offset /
 * 16). F2  What comes out of shared memory is input: no offset is followed that is not below `limit` (or in the log).
 *  F3  A killed thread leaves a prefix of its program order. Every store to a field below is an atomic release store,
 * so the compiler keeps that order; what a crash leaves is told at each field. F4  "logged": the field is changed only
 * inside a transaction, by log_set(), which writes its old value to the undo log first. A crash leaves the field
 * anywhere; rolling back restores it. F5  "monotone": only grows, is not rolled back, and every value it ever had
 * remains true. F6  Numbers are native: a file is read by machines of the same endianness and word size (checked at
 * open).
 *
 * A test freezes sizes and offsets; change them only together with LAYOUT_VERSION.
 */
#ifndef HEIR_LAYOUT_H
#define HEIR_LAYOUT_H

#include <assert.h>
#include <heir.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#define LAYOUT_VERSION 5u
#define TABLE_MAGIC    UINT64_C(0x31656c6261746568) /* "hetable1" */
#define CLIENT_MAGIC   UINT64_C(0x31746e65696c6368) /* "hclient1" */
#define SPACE_MAGIC    UINT64_C(0x3165636170736568) /* "hespace1" */
#define ENDIAN_MARK    0x01020304u

#define PAGE_BYTES     4096u
#define GRANULE        16u
#define NAME_ROOM      64u
#define SIZE_CLASSES   53u
#define RUN_BINS       25u
#define OWNER_ID_BITS  28u /* of the owner word; the rest is the epoch */
#define PINS_A_CLIENT  16u

typedef _Atomic uint64_t word_t;

/* ---- Common head of all objects. Written once, before `magic`, which is stored last: without it the object is not
 * ready. */
struct object_head {
    word_t magic;        /*  0 stored last at creation */
    uint32_t version;    /*  8 LAYOUT_VERSION */
    uint32_t endian;     /* 12 ENDIAN_MARK */
    uint16_t word_size;  /* 16 sizeof(void *) */
    uint16_t mutex_size; /* 18 sizeof(pthread_mutex_t): C libraries differ */
    uint32_t libc_mark;  /* 20 which C library made the mutexes */
    uint64_t id;         /* 24 table's or client's number in the namespace, never used again */
    uint64_t created_ns; /* 32 CLOCK_REALTIME */
    uint8_t uuid[16];    /* 40 of this very object; for a client: its secret */
    uint32_t uid, gid;   /* 56 whose it is */
};
static_assert(sizeof(struct object_head) == 64, "format");

/* ---- Tables ------------------------------------------------------------------------------------------- */

/* How an epoch began. Written whole by whoever changes the owner, under the writer mutex, before the owner word is
 * switched to the epoch; a crash before that leaves a record that nothing names. The record of epoch e is in
 * transfers[e & 1]. Only how the owner died is told a moment later, when its table has been handed on: until then `end`
 * says CAUSE_PENDING, and the keeper replaces it, in one step, if it is still that. */
#define CAUSE_PENDING ((enum heir_cause)UINT32_MAX)
struct transfer {
    word_t epoch;
    uint64_t from;   /* previous owner */
    uint32_t reason; /* enum heir_reason */
    uint32_t data_len;
    uint64_t undone;   /* changes rolled back since the last client owned it */
    uint64_t since_ns; /* CLOCK_REALTIME */
    uint64_t entry;    /* where the table stands in the new owner's set, + 1; a hint. 0: the keeper owns it */
    word_t end;        /* how the last owner that died had ended: enum heir_cause, and its code << 32 */
    uint8_t data[HEIR_DATA_MAX];
};
static_assert(sizeof(struct transfer) == 568, "format");

/* What can be set anew. Written whole to settings[(version + 1) & 1], then settings_version is raised: the commit. */
struct settings {
    char name[NAME_ROOM]; /* after a crash in heir_rename the file's own name is right, and the adopting keeper restores
                             this */
    char heir[NAME_ROOM]; /* "": the keeper */
    uint64_t data_len;
    uint8_t data[HEIR_DATA_MAX];
};
static_assert(sizeof(struct settings) == 648, "format");

/* What readers look at for every read: one cache line. */
struct view {
    word_t committed;  /* last committed transaction. Its store is the commit. Monotone */
    word_t horizon;    /* states before this transaction can no longer be read: raised before what they need is reused.
                          Monotone */
    word_t rollbacks;  /* raised before a rollback, and after it, before what it set free is reused. Monotone */
    word_t directory;  /* offset of the index directory | its depth (6 bits); of the root | levels. Logged */
    word_t limit;      /* heap pages below this number are backed by memory. Monotone */
    word_t cleared;    /* offset of the newest struct clearing that a reader may need, 0: none. Logged */
    word_t objects[2]; /* living objects after transaction n, in [n & 1]: that of the open one is next to the committed
                          one's */
};
static_assert(sizeof(struct view) == 64, "format");

enum spare { SPARE_CHUNK, SPARE_SEGMENT, SPARE_DIRECTORY, SPARE_CLEARING, SPARES };

/* What the writer keeps. */
struct ledger {
    word_t log_txn;      /* the log below undoes this transaction: it counts only while log_txn == committed + 1 */
    word_t log_count;    /* entries in the log */
    word_t log_floor;    /* the file is backed from here to its end */
    word_t changes;      /* changes made by log_txn */
    word_t undone;       /* changes rolled back after a death ... */
    word_t undone_epoch; /* ... in this epoch */
    word_t frontier;     /* first heap page never used. Logged */
    word_t pages_used;   /* heap pages in use. Logged */
    word_t history_head, history_tail; /* record numbers. Logged */
    word_t head_chunk, tail_chunk;     /* offsets. Logged */
    word_t spare[SPARES];              /* blocks put by, so that deleting and clearing work in a full table. Logged */
    word_t limbo, limbo_txn;           /* a chunk that may be used again after this transaction. Logged */
    word_t sweep;                      /* how far the CLEAR record at the head has been worked off. Logged */
    word_t next_horizon;               /* the horizon that the writer is about to raise; see history.c */
    word_t partial[SIZE_CLASSES];      /* first page of a span with free blocks, a list a class. Logged */
    word_t runs[RUN_BINS];             /* first page of a free run of 2^i to 2^(i+1)-1 pages. Logged */
};
static_assert(sizeof(struct ledger) == 784, "format");

struct table_page {
    struct object_head head; /* 0 */
    /* 64: written once, at creation */
    uint64_t max_bytes;
    uint64_t heap_first; /* first page of the heap */
    uint64_t hash_seed;
    uint64_t key_size, value_size;
    uint32_t type, access, mode;
    uint32_t lease_ms; /* 0: none */
    uint64_t reserved1[1];
    /* 128 */
    word_t owner; /* epoch << 28 | client id: see owner.h. The one store that transfers the table */
    word_t settings_version;
    word_t pin_floor; /* oldest pinned transaction, 0: none. Written by the keeper alone */
    word_t waiting;   /* claims in line, for inspection. Written by the keeper alone */
    word_t destroyed; /* 1: removed; claims and writes are refused. Written under the writer mutex */
    word_t wanted;    /* 1: the keeper waits for the writer mutex, and writers let it go first. A hint */
    word_t renewals;  /* grows with each heir_renew(). Written by the owner */
    word_t ahead; /* heap pages that the keeper has backed before their use, as parts of huge pages: the number of the
                     first << 32 | the number after the last. Written by the keeper alone. A hint */
    /* 192 */
    struct view view;
    /* 256: the writer mutex. It stays where it is for life, and is locked through the writable view only */
    union {
        pthread_mutex_t mutex;
        uint8_t room[64];
    } writer;
    /* 320 */
    struct ledger ledger;
    /* 1104 */
    struct transfer transfers[2];
    struct settings settings[2];
};
static_assert(offsetof(struct table_page, ahead) == 184, "format");
static_assert(offsetof(struct table_page, owner) == 128, "format");
static_assert(offsetof(struct table_page, view) == 192, "format");
static_assert(offsetof(struct table_page, writer) == 256, "format");
static_assert(offsetof(struct table_page, ledger) == 320, "format");
static_assert(sizeof(struct table_page) <= PAGE_BYTES, "format");

/* Undo log entry i lies at max_bytes - 16 * (i + 1). */
struct log_entry {
    uint64_t offset; /* of an 8-byte word */
    uint64_t old;
};

/* Page descriptor; all words are logged. See space.c. */
struct page_desc {
    word_t kind;  /* enum page_kind | size class << 8 | pages << 32 */
    word_t links; /* next page << 32 | previous page, in a list of spans or of runs */
    word_t free;  /* spans: a bit for each free block */
};
static_assert(sizeof(struct page_desc) == 24, "format");

/* A version of an object. Immutable once published, but for `ended`. */
struct version {
    word_t made;    /* transaction << 8 | high byte of the key length */
    word_t ended;   /* transaction that deleted it, 0: none, << 8 | low byte of the key length. Logged */
    word_t prev;    /* value length << 32 | granule of the version before this one, 0: none */
    uint8_t data[]; /* key, padded to 8 bytes, then value */
};
static_assert(sizeof(struct version) == 24, "format");

/* An index replaced by an empty one: readers of states before `txn` use the one noted here. Written before it is
 * linked. */
struct clearing {
    word_t txn;
    word_t directory; /* directory word */
    word_t prev;      /* the clearing before this one, 0: none. Logged */
};

/* History record; see history.c. */
struct record {
    uint64_t txn;
    uint64_t made; /* offset of the version it added, 0: none */
    uint64_t gone; /* offset that no later state needs, 0: none; | enum record_kind */
};
#define CHUNK_RECORDS 170u
struct chunk {
    word_t next;   /* written when it is full; of the last one it means nothing */
    word_t number; /* of its first record / CHUNK_RECORDS. Written before it is linked: who has come to it without a
                      lock sees by it where he is (feed.c) */
    struct record records[CHUNK_RECORDS];
};
static_assert(sizeof(struct chunk) == PAGE_BYTES, "format");

/* Index of a set: a directory of words (segment offset | its depth), and segments of one page: see index.c.
 * slot: hash (32 bits) << 32 | granule; 0: never used, hash << 32 with granule 0: used before */
#define SEGMENT_GROUPS 64u
#define GROUP_SLOTS    8u

/* Nodes of an ordered index: see tree.c. head: bytes that all keys in the node's range have in common << 32 | sorted
 * slots, or children. Written once. A slot or separator word: four bytes of the key after those << 32 | granule. */
#define LEAF_SLOTS     63u
#define INNER_CHILDREN 64u
#define SLOT_HOLE      1u /* as a granule: the key that was here has been taken back */
struct leaf {
    word_t head;
    word_t
        slots[LEAF_SLOTS]; /* `head` of them sorted, the others in the order of their insertion, 0 ends them. Logged */
};
static_assert(sizeof(struct leaf) == 512, "format");

struct inner {
    word_t head;
    word_t children[INNER_CHILDREN];       /* offsets; 0: there are no keys in this part of the range. Logged */
    word_t separators[INNER_CHILDREN - 1]; /* between them; written once */
};
static_assert(sizeof(struct inner) == 1024, "format");

/* All keys before it are less, all keys after it are not. Written once. */
struct separator {
    word_t len;
    uint8_t key[];
};

/* ---- Clients ------------------------------------------------------------------------------------------ */

/*
 * The owned set: tables that the client may own. Each entry is one word: the table's id << 24 | the low bits of an
 * epoch, 0: free. A table is in it before the owner word names the client, and out of it after the word names another:
 * it may hold more than the client owns, never less. Whoever passes a table to the client enters it (compare and swap);
 * who passes it on, or the keeper after a death, takes it out.
 */
#define OWNED_EPOCH_BITS 24u
#define OWNED_ID_MAX     ((UINT64_C(1) << (64 - OWNED_EPOCH_BITS)) - 1)

struct pin {
    word_t table; /* id, 0: free. Stored last */
    word_t txn;
    word_t since_ns; /* CLOCK_REALTIME, for people */
};

struct client_page {
    struct object_head head; /* 0; uuid is the secret that proves a reconnecting client */
    char name[NAME_ROOM];    /* 64: role. Written once */
    int32_t pid, tid;        /* 128: as seen by the keeper; written once */
    uint64_t
        start_time; /* of the process, clock ticks after boot: tells it from a later one with its pid. Written once */
    word_t closing; /* 144: the client leaves in an orderly way */
    word_t dead;    /* 152: raised by the keeper before it reads the owned set */
    word_t owned_count; /* 160: entries of `owned` ever used; raised before an entry is. Monotone */
    word_t owned_room;  /* 168: entries backed by memory. Monotone */
    /* the doorbell: see bell.h */
    word_t rung;   /* 176: how often it has been rung */
    word_t asleep; /* 184: threads that sleep, and in which way */
    /* 192: the life mutex. Locked by the client's thread from heir_open on */
    union {
        pthread_mutex_t mutex;
        uint8_t room[64];
    } life;
    /* 256: the crash note. Written by the client's signal handler, `crash_signal` last */
    word_t crash_signal;  /* 0: none */
    word_t crash_address; /* where it happened */
    word_t crash_ns;      /* CLOCK_REALTIME */
    uint64_t reserved[5];
    struct pin pins[PINS_A_CLIENT]; /* 320; written by the keeper, taken back by the client */
    word_t owned[];                 /* 704 */
};
static_assert(offsetof(struct client_page, life) == 192, "format");
static_assert(offsetof(struct client_page, pins) == 320, "format");
static_assert(offsetof(struct client_page, owned) == 704, "format");
#define CLIENT_PAGE_BYTES (UINT64_C(8) << 20)
#define CLIENT_OWNED_MAX  ((CLIENT_PAGE_BYTES - offsetof(struct client_page, owned)) / sizeof(word_t))
#define OWNED_FIRST       ((PAGE_BYTES - offsetof(struct client_page, owned)) / sizeof(word_t)) /* in a fresh page */

/* ---- The namespace ------------------------------------------------------------------------------------ */

/*
 * The journal: what the keeper has last done, for people who come afterwards. A ring; entry n is in slot n %
 * JOURNAL_ENTRIES.
 *
 * Written by the keeper alone, one entry at a time: `sequence` is set to 0, then the rest is written, then `sequence`
 * is set to the entry's number (release), then journal_last is raised to it. A reader takes entries up to journal_last,
 * copies one and looks whether `sequence` was the same before and after; another one means that it has been
 * overwritten. A crash leaves an entry that journal_last does not reach, and the next keeper gives its number to
 * another; what it told of has happened, and is not told.
 */
#define JOURNAL_ENTRIES   512u
struct journal_entry {
    word_t sequence;     /*   0: from 1 on; 0: being written */
    uint64_t when_ns;    /*   8: CLOCK_REALTIME, of what it tells, not of the telling */
    uint64_t table;      /*  16: id, 0: it is about none */
    uint64_t epoch;      /*  24: the one that began, 0: none */
    uint64_t from, to;   /*  32: clients. Transfers: the owner before and after; deaths: `from` is who died */
    uint64_t undone;     /*  48: changes of unfinished transactions rolled back */
    uint64_t reclaim_ns; /*  56: deaths: from its notice until all was handed on */
    uint64_t count;      /*  64: deaths: tables handed on; HEIR_MORE: how many transfers */
    uint32_t kind;       /*  72: enum heir_happened */
    uint32_t reason;     /*  76: enum heir_reason, 0: none */
    uint32_t cause;      /*  80: enum heir_cause */
    int32_t code;        /*  84: signal or exit status */
    int32_t pid;         /*  88: of who died, or was killed; of the keeper */
    uint32_t reserved32;
    uint64_t committed; /*  96: transfers: the last committed transaction, as of the entry */
    uint64_t reserved[3];
    char name[NAME_ROOM];                          /* 128: of the table */
    char from_role[NAME_ROOM], to_role[NAME_ROOM]; /* 192: role names; renamed: from_role is the name before */
};
static_assert(sizeof(struct journal_entry) == 320, "format");
static_assert(offsetof(struct journal_entry, name) == 128, "format");

#define COUNTERS_ROOM 64u

struct space_page {
    struct object_head head;
    word_t next_client; /* 64: ids below have been given out. Raised before the id is used */
    word_t next_table;
    word_t keeper_pid;   /* for people */
    word_t tables_peak;  /* the most tables that there were at once: no owned set of a sound client is much longer.
                            Monotone */
    word_t journal_last; /* 96: number of the last whole entry; 0: there is none. Monotone */
    uint64_t reserved[3];
    /* 128: in the order of counters.h. Written by the keeper alone, one store each; a crash may leave out the last
     * event. They go on under the next keeper. Monotone */
    word_t counters[COUNTERS_ROOM];
    uint8_t reserved_page[PAGE_BYTES - 128 - COUNTERS_ROOM * sizeof(word_t)];
    /* 4096: struct journal_entry[JOURNAL_ENTRIES]. Backed by memory, unless there was none when the keeper started:
     * then nothing is written there */
};
static_assert(offsetof(struct space_page, counters) == 128, "format");
static_assert(sizeof(struct space_page) == PAGE_BYTES, "format");
#define SPACE_BYTES (PAGE_BYTES + JOURNAL_ENTRIES * sizeof(struct journal_entry))

#endif
