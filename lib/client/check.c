/* SPDX-License-Identifier: MIT */
/* Is a table whole; see check.h. Through the read-only view, for any handle. */
#include "check.h"
#include "client.h"
#include <errno.h>

int heir_check(struct heir_table *t, heir_finding *finding, void *arg, struct heir_account *account)
{
    struct mapping *m;
    bool own;
    int r = read_begin(t, &m, &own);

    if (r < 0)
        return r;
    if (own)
        r = -EBUSY;
    else
        atomic_fetch_add(&t->users, 1); /* it takes long: the handle stays mapped, without RCU's read side */
    handle_read_end(t);
    if (r < 0)
        return r;
    r = check_table(&m->reader, finding, arg, account);
    atomic_fetch_sub(&t->users, 1);
    return r > 0 ? -EUCLEAN : r;
}
