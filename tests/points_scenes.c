/* SPDX-License-Identifier: MIT */
/* The scenes that points.c plays: who does what, and how it must end. No act has a deadline of its own: who does not
 * come to an end is found out by the one who looks on. */
#include "points.h"

#include <heir/admin.h>
#include <heir/inspect.h>
#include <signal.h>
#include <unistd.h>

static bool alive(const struct cast *c, enum who who)
{
    return c->actor[who].pid != 0;
}

static bool who_lives(uint64_t id)
{
    for (enum who who = WORKER; who < ACTORS; who++) {
        if (cast->actor[who].id == id)
            return alive(cast, who);
    }
    return false;
}

static int count(struct hands *h)
{
    int rc = heir_add(h->table, "n", 1, 1, NULL);
    if (rc == 0)
        cast->added++;
    return rc;
}

/* ---- Beginnings --------------------------------------------------------------------------------------- */

static int own_with(struct hands *h, const char *heir)
{
    const struct heir_table_options options = {
        .max_bytes = 1 << 20, .heir = heir, .heir_data = "left", .heir_data_len = 4};
    int rc = heir_create(h->client, "t", &options, &h->table);
    for (int i = 0; rc == 0 && i < FIRST_COUNT; i++)
        rc = count(h);
    return rc;
}

static int own(struct hands *h)
{
    return own_with(h, NULL);
}

static int own_for_other(struct hands *h)
{
    return own_with(h, "other");
}

static int own_and_release(struct hands *h)
{
    int rc = own(h);
    return rc != 0 ? rc : heir_release(h->table);
}

static int attached(struct hands *h)
{
    return heir_attach(h->client, "t", &h->table);
}

/* ---- Acts --------------------------------------------------------------------------------------------- */

static int create(struct hands *h)
{
    return heir_create(h->client, "t", NULL, &h->table);
}

static int open_and_close(struct hands *h)
{
    struct hands more = {0};
    (void)h;
    int rc = open_as(&more, "second");
    return rc != 0 ? rc : heir_close(more.client);
}

static int claim(struct hands *h)
{
    const struct heir_table_options options = {.max_bytes = 1 << 20};
    int rc = heir_claim(h->client, "t", &options, -1, &h->table);
    return rc != 0 ? rc : count(h);
}

/* Until somebody is in line, or will never be again. */
static void wait_for_line(struct hands *h)
{
    struct heir_info info = {0};
    for (int i = 0; i < 1000 && cast->actor[OTHER].pid != 0 && info.waiting == 0 && heir_info(h->table, &info) == 0;
         i++)
        usleep(100);
}

static int release(struct hands *h)
{
    wait_for_line(h);
    return heir_release(h->table);
}

static int destroy(struct hands *h)
{
    wait_for_line(h);
    int rc = heir_destroy(h->table);
    if (rc == 0)
        h->table = NULL;
    return rc;
}

static int rename_it(struct hands *h)
{
    int rc = heir_rename(h->table, "u");
    return rc != 0 ? rc : heir_rename(h->table, "t");
}

static int set_heir(struct hands *h)
{
    return heir_set_heir(h->table, "other", "new", 3);
}

static int give_to(struct hands *h, enum who who)
{
    int rc = heir_give_away(h->table, cast->actor[who].id, "gift", 4);
    me->refused = rc != 0;
    return rc;
}

static int give(struct hands *h)
{
    return give_to(h, OTHER);
}

/* Can it still come to us? Not when nobody is left who could send it. */
static bool may_come(enum who from)
{
    struct heir_table *t;
    struct heir_info info = {0};

    if (cast->actor[from].pid != 0 || heir_inspect_open(NULL, "t", &t) != 0)
        return cast->actor[from].pid != 0 && (cast->actor[from].stage != DONE || cast->actor[from].result == 0);
    heir_info(t, &info);
    heir_inspect_close(t);
    return info.owner == me->id || who_lives(info.owner) || (info.heir[0] != '\0' && info.owner != HEIR_KEEPER);
}

/* Get it as a gift or an inheritance, and write. */
static int receive_from(struct hands *h, enum who from)
{
    uint32_t before = me->events;
    while (me->events == before && may_come(from))
        collect(h, 5);
    return me->events != before ? count(h) : -ETIMEDOUT;
}

static int receive(struct hands *h)
{
    return receive_from(h, WORKER);
}

/* To and fro. */
static int give_back(struct hands *h)
{
    int rc = receive(h);
    return rc != 0 ? rc : give_to(h, WORKER);
}

static int give_and_wait(struct hands *h)
{
    int rc = give(h);
    return rc != 0 ? rc : receive_from(h, OTHER);
}

static int die(struct hands *h)
{
    wait_for_line(h);
    raise(SIGKILL);
    return 0;
}

static int die_at_once(struct hands *h)
{
    (void)h;
    raise(SIGKILL);
    return 0;
}

static int die_unfinished(struct hands *h)
{
    wait_for_line(h);
    int rc = heir_begin(h->table);
    if (rc == 0)
        rc = heir_add(h->table, "n", 1, 1000, NULL);
    raise(SIGKILL);
    return rc;
}

static int close_it(struct hands *h)
{
    wait_for_line(h);
    int rc = heir_close(h->client);
    *h = (struct hands){0};
    return rc;
}

static int pin(struct hands *h)
{
    struct heir_snapshot *snapshot;
    int rc = heir_snapshot_open(h->table, &snapshot);
    if (rc == 0)
        heir_snapshot_close(snapshot);
    return rc;
}

static int revoke_it(struct hands *h)
{
    (void)h;
    int rc = heir_revoke(&(struct heir_open_options){.timeout_ms = -1}, "t", false);
    return rc == -EALREADY ? 0 : rc;
}

static int revoke_by_force(struct hands *h)
{
    (void)h;
    int rc = heir_revoke(&(struct heir_open_options){.timeout_ms = -1}, "t", true);
    return rc == -EALREADY ? 0 : rc;
}

static int stay_in_transaction(struct hands *h)
{
    int rc = own(h);
    if (rc == 0)
        rc = heir_begin(h->table);
    me->in_transaction = true;
    return rc != 0 ? rc : heir_add(h->table, "n", 1, 1000, NULL);
}

/* ---- Ends --------------------------------------------------------------------------------------------- */

static int anybody(const struct cast *c)
{
    (void)c;
    return -1;
}

static int worker_if_alive(const struct cast *c)
{
    return alive(c, WORKER) ? WORKER : KEEPER;
}

static int worker_or_nothing(const struct cast *c)
{
    return alive(c, WORKER) ? WORKER : -2;
}

static int other_if_alive(const struct cast *c)
{
    return alive(c, OTHER) ? OTHER : KEEPER;
}

static int the_receiver(const struct cast *c)
{
    if (!alive(c, WORKER))
        return -1; /* before the gift or after it */
    return c->actor[WORKER].result == 0 ? other_if_alive(c) : WORKER;
}

static int other_or_anybody(const struct cast *c)
{
    return alive(c, OTHER) ? OTHER : -1;
}

static int other_or_nothing(const struct cast *c)
{
    return alive(c, OTHER) ? OTHER : -2;
}

const struct scene scenes[] = {
    {.name = "open and close", .prepare = {[WORKER] = own}, .act = {[OTHER] = open_and_close}, .ends = worker_if_alive},
    {.name = "create", .act = {[WORKER] = create}, .ends = worker_or_nothing},
    {.name = "claim", .prepare = {[WORKER] = own_and_release}, .act = {[OTHER] = claim}, .ends = other_if_alive},
    {.name = "release to the line",
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = release, [OTHER] = claim},
     .ends = other_if_alive},
    {.name = "close",
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = close_it, [OTHER] = claim},
     .ends = other_if_alive},
    {.name = "give", .prepare = {[WORKER] = own}, .act = {[WORKER] = give, [OTHER] = receive}, .ends = the_receiver},
    {.name = "give, without the client",
     .by_thread = true,
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = give, [OTHER] = receive},
     .ends = anybody},
    {.name = "give to one in line",
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = give, [OTHER] = claim},
     .ends = other_or_anybody},
    {.name = "give to and fro",
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = give_and_wait, [OTHER] = give_back},
     .ends = anybody},
    {.name = "give through the keeper",
     .as_nobody = true,
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = give, [OTHER] = receive},
     .ends = the_receiver},
    {.name = "die, one in line",
     .worker_dies = true,
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = die, [OTHER] = claim},
     .ends = other_if_alive},
    {.name = "die in a transaction",
     .worker_dies = true,
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = die_unfinished, [OTHER] = claim},
     .ends = other_if_alive},
    {.name = "die, an heir alive",
     .worker_dies = true,
     .prepare = {[WORKER] = own_for_other},
     .act = {[WORKER] = die_at_once, [OTHER] = receive},
     .ends = other_if_alive},
    {.name = "adopt",
     .worker_dies = true,
     .restarts = true,
     .prepare = {[WORKER] = own},
     .act = {[OTHER] = claim},
     .ends = other_if_alive},
    {.name = "rename", .prepare = {[WORKER] = own}, .act = {[WORKER] = rename_it}, .ends = worker_if_alive},
    {.name = "destroy, one in line",
     .anew = true,
     .prepare = {[WORKER] = own},
     .act = {[WORKER] = destroy, [OTHER] = claim},
     .ends = other_or_nothing},
    {.name = "set the heir", .prepare = {[WORKER] = own}, .act = {[WORKER] = set_heir}, .ends = anybody},
    {.name = "pin", .prepare = {[WORKER] = own, [OTHER] = attached}, .act = {[OTHER] = pin}, .ends = worker_if_alive},
    {.name = "revoke", .prepare = {[WORKER] = own}, .act = {[OTHER] = revoke_it}, .ends = anybody},
    {.name = "revoke by force",
     .prepare = {[WORKER] = stay_in_transaction},
     .act = {[OTHER] = revoke_by_force},
     .ends = anybody},
    {.name = NULL},
};
