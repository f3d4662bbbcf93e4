/* SPDX-License-Identifier: MIT */
/* The doorbell; see bell.h. */
#include "bell.h"
#include "atomics.h"
#include <sys/socket.h>

void bell_ring_sleepers(int socket)
{
    if (socket >= 0 && send(socket, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* full: it will wake up all the same */
    }
}

void bell_rouse(const struct client_page *page, int socket)
{
    if (socket >= 0 && atomic_load_explicit(&page->asleep, memory_order_seq_cst) != 0) {
        VISIBLE();
        bell_ring_sleepers(socket);
    }
}

void bell_ring(struct client_page *page, int socket)
{
    /* visible to others now: */
    VISIBLE();
    atomic_fetch_add_explicit(&page->rung, 1, memory_order_seq_cst);
    bell_rouse(page, socket);
}

void bell_sleep(struct client_page *page)
{
    atomic_fetch_add_explicit(&page->asleep, 1, memory_order_seq_cst);
}

void bell_wake(struct client_page *page)
{
    atomic_fetch_sub_explicit(&page->asleep, 1, memory_order_seq_cst);
}
