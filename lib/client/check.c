/* SPDX-License-Identifier: MIT */
/* Is a table whole; see check.h. Through the read-only view, for any handle. */
#include "check.h"
#include "client.h"
#include <errno.h>

int heir_check(struct heir_table *t, heir_finding *finding, void *arg, struct heir_account *account)
{
    int r = 0;

    if (t == NULL)
        return -EINVAL;
    if (!fork_same(t->generation))
        return -ENOTCONN;
    handle_read_begin();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (m == NULL)
        r = -ENOTCONN;
    else if (atomic_load_explicit(&t->txn_thread, memory_order_relaxed) == this_thread())
        r = -EBUSY;
    else if (t->client != NULL && page_of(&m->reader)->access == HEIR_PRIVATE &&
             owner_id(get(&page_of(&m->reader)->owner)) != t->client->id)
        r = -EACCES;
    else
        atomic_fetch_add(&t->users, 1); /* it takes long: the handle stays mapped, without RCU's read side */
    handle_read_end(t);
    if (r < 0)
        return r;
    r = check_table(&m->reader, finding, arg, account);
    atomic_fetch_sub(&t->users, 1);
    return r > 0 ? -EUCLEAN : r;
}
