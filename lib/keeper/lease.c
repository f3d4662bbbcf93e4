/* SPDX-License-Identifier: MIT */
/*
 * Leases: tables whose owner must show from time to time that it is well.
 *
 * The keeper looks at each of them eight times a lease. What changes when the owner commits or renews, or when there is
 * a new one, only grows, so one sum tells whether anything has happened since. Time only decides whom to ask: the table
 * is taken under its writer mutex, and from one who holds that by killing it first.
 *
 * Leases within a factor of two are looked at together, so that a short one does not make the keeper look at all; and
 * looking takes a tenth of its time at most: who has thousands of tables with very short leases loses them later.
 */
#include "atomics.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LOOK_LEAST_NS UINT64_C(1000000)
#define LOOK_MOST_NS  UINT64_C(1000000000)
#define IDLE          10 /* times as long as looking took */

static uint64_t state_of(const struct keeper_table *t)
{
    return get(&t->page->view.committed) + get(&t->page->renewals) + owner_epoch(get(&t->page->owner));
}

/* Of leases of 2^i ms and more; the last also of all that are longer. */
static unsigned class_of(const struct keeper_table *t)
{
    unsigned i = 31 - (unsigned)__builtin_clz(t->lease_ms);
    return i < LEASE_CLASSES ? i : LEASE_CLASSES - 1;
}

static uint64_t interval_ns(unsigned class)
{
    uint64_t ns = (UINT64_C(1000000) << class) / 8;
    return ns < LOOK_LEAST_NS ? LOOK_LEAST_NS : ns < LOOK_MOST_NS ? ns : LOOK_MOST_NS;
}

static void arm(struct heir_keeper *k)
{
    uint64_t first = 0;

    for (unsigned i = 0; i < LEASE_CLASSES; i++) {
        struct lease_class *class = &k->leases[i];
        if (!cds_list_empty(&class->tables) && (first == 0 || class->look_ns < first))
            first = class->look_ns;
    }
    struct itimerspec when = {.it_value = timespec_of(first)};
    timerfd_settime(k->lease_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void lease_begin(struct heir_keeper *k, struct keeper_table *t)
{
    if (t->lease_ms == 0)
        return;
    unsigned i = class_of(t);
    struct lease_class *class = &k->leases[i];
    t->lease_state = state_of(t);
    t->lease_since_ns = clock_mono_ns();
    if (cds_list_empty(&class->tables))
        class->look_ns = t->lease_since_ns + interval_ns(i);
    cds_list_add(&t->leased, &class->tables);
    arm(k);
}

static void look_at(struct heir_keeper *k, struct keeper_table *t, uint64_t now)
{
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

void lease_look(struct heir_keeper *k)
{
    struct keeper_table *t, *next;
    uint64_t expired;

    if (read(k->lease_fd, &expired, sizeof expired) < 0)
        return;
    for (unsigned i = 0; i < LEASE_CLASSES; i++) {
        struct lease_class *class = &k->leases[i];
        uint64_t now = clock_mono_ns();
        if (now < class->look_ns)
            continue;
        cds_list_for_each_entry_safe(t, next, &class->tables, leased)
            look_at(k, t, now);
        uint64_t ended = clock_mono_ns(), idle = (ended - now) * IDLE;
        class->look_ns = ended + (idle > interval_ns(i) ? idle : interval_ns(i));
    }
    arm(k);
}
