/* SPDX-License-Identifier: MIT */
/*
 * A client that keeps to no rule: the protocol by hand, and the memory that comes with it, to be written to at will.
 * For test programs that link the library's inside.
 */
#ifndef HEIR_TESTS_ATTACKER_H
#define HEIR_TESTS_ATTACKER_H

#include "layout.h"
#include "wire.h"

struct raw {
    int fd;      /* the connection */
    int page_fd; /* of its page */
    int bell;
    uint64_t id;
    struct client_page *page;
};

struct raw_table {
    int fd;
    uint64_t id, bytes;
    struct table_page *page; /* the first page only */
};

int raw_connect(void); /* a descriptor, -errno */
struct wire_request raw_request(enum wire_type type, const char *name);
/* With any number of descriptors, and of any length. -errno. */
int raw_send(int fd, const void *message, size_t bytes, const int *fds, unsigned count);
/* 0; -EPIPE: the keeper has hung up; -ETIME. fds: WIRE_FDS of them, may be NULL: they are closed. */
int raw_reply(int fd, struct wire_reply *reply, int *fds, int ms);
/* Both: the reply's error. with: a descriptor to be sent, or -1; came (may be NULL): one that came. */
int raw_ask(int fd, const struct wire_request *q, int with, struct wire_reply *reply, int *came);
/* Ask, and take what comes: it may be nothing. 0, -EPIPE. */
int raw_poke(int fd, const struct wire_request *q);
/* Has the keeper hung up, in time? Replies that come before are thrown away. */
int raw_hung_up(int fd);

int raw_bell(void); /* that nobody hears */
/* Become a client, with its life mutex locked, or without; over a connection, or (-1) one of its own. 0, -errno. */
int raw_hello(struct raw *raw, int fd, const char *role, int bell);
int raw_open(struct raw *raw, int fd, const char *role);
void raw_close(struct raw *raw); /* as a crash would: nothing is said */

/* A table whose heir is nobody. */
int raw_create(const struct raw *raw, const char *name, uint64_t bytes, enum heir_access access,
               struct raw_table *table);

/* The same as a nonsense of any kind: small numbers, large ones, bits. */
uint64_t raw_nonsense(void);

#endif
