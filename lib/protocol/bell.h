/* SPDX-License-Identifier: MIT */
/*
 * The doorbell of a client: by it the client learns that something in shared memory concerns it.
 *
 * It is a count in the client's page. Who sleeps does so in one of two ways. One thread may sleep on the count itself,
 * which is a futex: the dozer, who is woken quickest, and hears of nothing else. Any number may sleep in poll(), on one
 * end of a pair of sockets that the client has made: who rings sends a byte to the other end. (Not an eventfd: whether
 * writing to that waits is for the client to say at any time, and a client that does not want it to return could stop
 * the keeper.) Who rings raises the count first and then looks who sleeps; who goes to sleep says so first and then
 * looks at the count: one of the two sees the other. Ringing too often is harmless, and the bell carries no news: what
 * has happened is read from the owned set and the owner words.
 */
#ifndef HEIR_BELL_H
#define HEIR_BELL_H

#include "layout.h"

/* Count up, and rouse all. socket: the client's; -1: it is not at hand, and who polls goes on sleeping. Never waits. */
void bell_ring(struct client_page *page, int socket);

/* The parts of that, for one who has something to do in between. */
void bell_count_up(struct client_page *page);
void bell_rouse_dozer(const struct client_page *page);
void bell_rouse_sleepers(const struct client_page *page, int socket);

/* For the dozer alone, if there is one: something has come by the connection. */
void bell_ring_dozer(struct client_page *page);

static inline uint64_t bell_count(const struct client_page *page)
{
    return atomic_load_explicit(&page->rung, memory_order_acquire);
}

/* The client is about to sleep in poll(), or its application may at any time; it looks at the count after this. And: it
 * is awake. */
void bell_sleep(struct client_page *page);
void bell_wake(struct client_page *page);

/* The same for the dozer, who then sleeps by bell_doze(): until the count is not `rung` any more, the deadline
 * (CLOCK_MONOTONIC) is over, or for no reason. A point at which a thread can be cancelled. */
void bell_doze_begin(struct client_page *page);
void bell_doze(const struct client_page *page, uint64_t rung, uint64_t deadline_ns);
void bell_doze_end(struct client_page *page);

#endif
