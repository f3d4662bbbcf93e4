/* SPDX-License-Identifier: MIT */
/*
 * Leases: tables whose owner must show from time to time that it is well.
 *
 * The keeper looks at each of them eight times a lease. What changes when the owner commits or renews, or when there is
 * a new one, only grows, so one sum tells whether anything has happened since. Time only decides whom to ask: the table
 * is taken under its writer mutex, and from one who holds that by killing it first.
 */
#include "atomics.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LOOK_LEAST_MS 1
#define LOOK_MOST_MS  1000

static uint64_t state_of(const struct keeper_table *t)
{
    return get(&t->page->view.committed) + get(&t->page->renewals) + owner_epoch(get(&t->page->owner));
}

static void arm(struct heir_keeper *k)
{
    uint64_t ms = LOOK_MOST_MS;
    struct keeper_table *t;

    cds_list_for_each_entry(t, &k->leased, leased) {
        uint64_t look = t->lease_ms / 8;
        if (look < ms)
            ms = look > LOOK_LEAST_MS ? look : LOOK_LEAST_MS;
    }
    if (cds_list_empty(&k->leased))
        ms = 0;
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000}};
    timerfd_settime(k->lease_fd, 0, &when, NULL);
}

void lease_begin(struct heir_keeper *k, struct keeper_table *t)
{
    if (t->lease_ms == 0)
        return;
    t->lease_state = state_of(t);
    t->lease_since_ns = clock_mono_ns();
    cds_list_add(&t->leased, &k->leased);
    arm(k);
}

void lease_look(struct heir_keeper *k)
{
    struct keeper_table *t, *next;
    uint64_t expired, now = clock_mono_ns();

    if (read(k->lease_fd, &expired, sizeof expired) < 0)
        return;
    cds_list_for_each_entry_safe(t, next, &k->leased, leased) {
        uint64_t epoch = owner_epoch(get(&t->page->owner)), state = state_of(t);
        const struct keeper_client *owner = table_owner(k, t);
        if (state != t->lease_state || owner == NULL) {
            t->lease_state = state;
            t->lease_since_ns = now;
        } else if (now - t->lease_since_ns >= t->lease_ms * UINT64_C(1000000) && !reign_ordered(k, t, owner)) {
            journal_table(k, HEIR_LEASE_OVER, t, owner);
            reign_revoke(k, t, epoch, true, NULL, NULL);
            t->lease_since_ns = now; /* if it cannot be done now, it is tried again after another lease */
        }
    }
    arm(k);
}
