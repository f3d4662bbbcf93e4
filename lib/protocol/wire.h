/* SPDX-License-Identifier: MIT */
/*
 * The protocol between clients and the keeper: SOCK_SEQPACKET, one message a packet, requests of one form and replies
 * of one form.
 *
 * A request is struct wire_request; fields that its type does not use are zero. Each gets one reply with its serial
 * number; the reply to a claim comes when the claim is granted, cancelled, or refused, and before it may come one with
 * -EINPROGRESS and the table's memory: the claim is in line. Descriptors travel with HELLO (a socket that is rung
 * when the client has an event), with its reply (the client's page), with that to PEER (a page and such a socket), and
 * with replies that open a table.
 */
#ifndef HEIR_WIRE_H
#define HEIR_WIRE_H

#include "layout.h"
#include <stdbool.h>

#define WIRE_MAGIC   0x72696568u /* "heir" */
#define WIRE_VERSION 4u

enum wire_type {
    WIRE_HELLO = 1, /* name; id and secret: I am this client, come again */
    WIRE_READY,     /* the life mutex is locked */
    WIRE_CLOSE,     /* give my tables to the keeper */
    WIRE_CREATE,    /* name, options */
    WIRE_CLAIM,     /* name; flags: options, do not wait */
    WIRE_CANCEL,    /* id: serial of a claim */
    WIRE_ATTACH,    /* name */
    WIRE_OPEN,      /* table: descriptor of a table that I own */
    WIRE_GIVE,      /* table, id, data */
    WIRE_RELEASE,   /* table */
    WIRE_DESTROY,   /* table */
    WIRE_SET_HEIR,  /* table, heir, data */
    WIRE_RENAME,    /* table, name */
    WIRE_FIND,      /* name: id of the client in that role */
    WIRE_PIN,       /* table: value is the transaction */
    WIRE_UNPIN,     /* table, id: the transaction */
    WIRE_PING,
    WIRE_REVOKE, /* name; flags: force */
    WIRE_PEER,   /* id: page and bell of another client of this uid */
    WIRE_REMOVE, /* name: of a table that no client owns */
    WIRE_TYPES,
    WIRE_REPLY = 128
};

/* What a reply says of a table's memory. */
enum wire_memory { WIRE_READABLE, WIRE_WRITABLE, WIRE_MAPPED /* sent before, with -EINPROGRESS */ };

enum wire_flag {
    WIRE_OPTIONS = 1, /* the options below count; without: do not create */
    WIRE_NO_WAIT = 2, /* -EBUSY instead of waiting in line */
    WIRE_AGAIN = 4,   /* sent again after the keeper died: it may have been carried out already */
    WIRE_FORCE = 8
};

struct wire_head {
    uint32_t magic;
    uint16_t version, type;
    uint32_t length; /* of the whole message */
    uint32_t serial;
};

struct wire_request {
    struct wire_head head;
    uint32_t flags;
    uint32_t data_len;
    uint64_t table, id;
    uint64_t epoch; /* of an owner's requests: in which he owns the table; 0: whichever */
    uint8_t secret[16];
    int32_t tid, reserved0;
    uint32_t type, access, mode, lease_ms;
    uint64_t max_bytes, key_size, value_size;
    char name[NAME_ROOM], heir[NAME_ROOM];
    uint8_t data[HEIR_DATA_MAX];
};

struct wire_reply {
    struct wire_head head;
    int32_t error; /* 0 or a negative errno */
    int32_t pid;   /* PING */
    uint64_t id;   /* of the table, or of the client */
    uint64_t epoch, max_bytes, value;
    uint32_t memory; /* of a table: enum wire_memory */
    uint32_t reserved;
    uint64_t uptime_ms, tables, clients, deaths, transfers, damaged; /* PING */
    char version[16];
};

#define WIRE_FDS      2   /* the most that travel with a message */
#define WIRE_FDS_MOST 253 /* the most that the kernel lets anybody send with one */

/* Send one message, with `count` descriptors. Never waits: -EAGAIN. -EPIPE when the other end is gone. */
int wire_send(int socket, const void *message, size_t bytes, const int *fds, unsigned count);

/* Receive one message of at most `bytes`; *got is its length, 0 when the other end has closed. fds: descriptors that
 * came with it (the caller closes them, also on errors), else -1. Never waits: -EAGAIN. -EPROTO: it was too long, or
 * had more than `most` descriptors; the others are closed. -EMFILE: a descriptor could not be taken. */
int wire_receive(int socket, void *message, size_t bytes, size_t *got, int *fds, unsigned most);

/* Strings that came over the wire end within their field. */
bool wire_text_ok(const char text[NAME_ROOM]);

#endif
