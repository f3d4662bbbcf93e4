/* SPDX-License-Identifier: MIT */
/* The doorbell; see bell.h. */
#include "bell.h"
#include "atomics.h"
#include <poll.h>
#include <unistd.h>

void bell_ring_sleepers(int eventfd)
{
    uint64_t one = 1;
    struct pollfd bell = {.fd = eventfd, .events = POLLOUT};

    /* full: it will wake up all the same; and the client may have made it one that blocks */
    if (eventfd < 0 || poll(&bell, 1, 0) != 1 || (bell.revents & POLLOUT) == 0)
        return;
    if (write(eventfd, &one, sizeof one) < 0) {
        /* the same, in this very moment */
    }
}

void bell_ring(struct client_page *page, int eventfd)
{
    /* visible to others now: */
    VISIBLE();
    atomic_fetch_add_explicit(&page->rung, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&page->asleep, memory_order_seq_cst) != 0) {
        VISIBLE();
        bell_ring_sleepers(eventfd);
    }
}

void bell_sleep(struct client_page *page)
{
    atomic_fetch_add_explicit(&page->asleep, 1, memory_order_seq_cst);
}

void bell_wake(struct client_page *page)
{
    atomic_fetch_sub_explicit(&page->asleep, 1, memory_order_seq_cst);
}
