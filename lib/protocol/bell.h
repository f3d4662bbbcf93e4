/* SPDX-License-Identifier: MIT */
/*
 * The doorbell of a client: by it the client learns that something in shared memory concerns it.
 *
 * It is a count in the client's page and, for one who sleeps in poll(), a pair of sockets that the client has made: who
 * rings sends a byte to one end, the client polls the other. (Not an eventfd: whether writing to that waits is for the
 * client to say at any time, and a client that does not want it to return could stop the keeper.) Who rings
 * raises the count first and then looks whether anybody sleeps; who goes to sleep says so first and then looks at the
 * count: one of the two sees the other. Ringing too often is harmless, and the bell carries no news: what has happened
 * is read from the owned set and the owner words.
 */
#ifndef HEIR_BELL_H
#define HEIR_BELL_H

#include "layout.h"

/* socket: the client's, -1: it has none. Never waits. */
void bell_ring(struct client_page *page, int socket);

/* The second half of that alone: a count that was raised without a socket wakes nobody who sleeps. */
void bell_rouse(const struct client_page *page, int socket);

/* Wake who polls, alone: for what the client's own threads have to tell each other. */
void bell_ring_sleepers(int socket);

static inline uint64_t bell_count(const struct client_page *page)
{
    return atomic_load_explicit(&page->rung, memory_order_acquire);
}

/* The client is about to sleep, or its application may at any time; it looks at the count after this. And: it is awake.
 */
void bell_sleep(struct client_page *page);
void bell_wake(struct client_page *page);

#endif
