/* SPDX-License-Identifier: MIT */
/* The doorbell; see bell.h. */
#include "bell.h"
#include "atomics.h"
#include "shm.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* In `asleep`: one that sleeps on the count itself; below it are counted those who sleep in poll(). */
#define DOZER (UINT64_C(1) << 32)

/* The half of the count that changes: a futex is 32 bits wide. */
static uint32_t *futex_of(const struct client_page *page)
{
    return (uint32_t *)(uintptr_t)&page->rung + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

void bell_rouse_sleepers(const struct client_page *page, int socket)
{
    if (socket < 0 || (uint32_t)get_ordered(&page->asleep) == 0)
        return;
    VISIBLE();
    if (send(socket, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* full: it will wake up all the same */
    }
}

void bell_rouse_dozer(const struct client_page *page)
{
    if (get_ordered(&page->asleep) < DOZER)
        return;
    VISIBLE();
    syscall(SYS_futex, futex_of(page), FUTEX_WAKE, 1, NULL, NULL, 0);
}

void bell_count_up(struct client_page *page)
{
    /* visible to others now: */
    VISIBLE();
    atomic_fetch_add_explicit(&page->rung, 1, memory_order_seq_cst);
}

void bell_ring(struct client_page *page, int socket)
{
    bell_count_up(page);
    bell_rouse_dozer(page);
    bell_rouse_sleepers(page, socket);
}

void bell_ring_dozer(struct client_page *page)
{
    atomic_thread_fence(memory_order_seq_cst); /* what there is to tell was written, or sent, before */
    if (get_ordered(&page->asleep) < DOZER)
        return;
    bell_count_up(page);
    bell_rouse_dozer(page);
}

void bell_sleep(struct client_page *page)
{
    atomic_fetch_add_explicit(&page->asleep, 1, memory_order_seq_cst);
}

void bell_wake(struct client_page *page)
{
    atomic_fetch_sub_explicit(&page->asleep, 1, memory_order_seq_cst);
}

void bell_doze_begin(struct client_page *page)
{
    atomic_fetch_add_explicit(&page->asleep, DOZER, memory_order_seq_cst);
}

void bell_doze(const struct client_page *page, uint64_t rung, uint64_t deadline_ns)
{
    struct timespec until = timespec_of(deadline_ns);
    int type;

    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    syscall(SYS_futex, futex_of(page), FUTEX_WAIT_BITSET, (uint32_t)rung, &until, NULL, FUTEX_BITSET_MATCH_ANY);
    pthread_setcanceltype(type, NULL);
}

void bell_doze_end(struct client_page *page)
{
    atomic_fetch_sub_explicit(&page->asleep, DOZER, memory_order_seq_cst);
}
