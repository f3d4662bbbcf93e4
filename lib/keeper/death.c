/* SPDX-License-Identifier: MIT */
/*
 * Clients that end: what they owned goes to its heirs, or to the keeper and the first in line; then they are forgotten.
 *
 * A client is marked dead before its owned set is read, and its page is removed when all that the set names is settled:
 * a giver that passes it a table meanwhile sees the mark and takes the table back, and a keeper that is killed in the
 * middle leaves what the next one needs to do all this again. Besides the set, which is the client's to damage, the
 * keeper goes through what it has itself seen in the client's hands.
 */
#include "atomics.h"
#include "owned.h"
#include "probe.h"
#include "robust.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define LOOKS_MOST 30   /* some seconds, in which whoever lives and writes to a table of the dead lets it go */
#define HOLES      1024 /* entries of a sound owned set beyond the number of tables that there have been at once */

/* The rest is done when the kernel tells that all of the process has ended: soon, if that is what goes on. */
static void conclude_soon(struct heir_keeper *k, const struct keeper_client *c)
{
    if (c->pidfd < 0 || get(&c->page->crash_signal) != 0 ||
        (c->cause != HEIR_CAUSE_SIGNAL && c->cause != HEIR_CAUSE_EXIT))
        keeper_retry_soon(k);
}

/* How it ended is asked when somebody has got its first table: asking takes as long as all the rest. */
void death_explain(struct heir_keeper *k)
{
    struct keeper_client *c = k->unexplained;

    if (c == NULL)
        return;
    k->unexplained = NULL;
    process_cause(c);
    struct keeper_table *t = c->first_table != 0 ? table_by_id(k, c->first_table) : NULL;
    if (t != NULL)
        owner_explain(t->page, c->cause, c->code);
    probe_death(c->id, c->pid, c->cause, c->code);
    journal_died(k, c);
    conclude_soon(k, c);
}

/* The owner has ended: to its heir. The writer mutex is held, and let go. */
static int inherit(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *dead)
{
    if (dead != NULL && dead == k->unexplained) {
        if (dead->first_table != 0)
            death_explain(k);
        dead->first_table = t->id;
    }
    bool closing = dead != NULL && get(&dead->page->closing) != 0;
    bool revoked = dead != NULL && reign_ordered(k, t, dead);
    struct settings settings;
    struct keeper_client *heir = NULL;
    int r = -ESRCH;

    settings_read(t->page, &settings);
    if (strcmp(settings.heir, HEIR_NOBODY) == 0) {
        reign_destroy_locked(k, t);
        return 0;
    }
    struct passing how = {.reason = revoked   ? HEIR_REVOKED
                                    : closing ? HEIR_RELEASED
                                              : HEIR_INHERITED,
                          .data = settings.data,
                          .data_len = closing ? 0 : settings.data_len,
                          .cause = dead == NULL ? HEIR_CAUSE_UNKNOWN : dead->cause,
                          .code = dead != NULL ? dead->code : 0};
    if (!closing && !revoked && settings.heir[0] != '\0')
        heir = client_by_role(k, settings.heir);
    if (heir != NULL && may_own(k, heir->uid, heir->gid, t))
        r = reign_transfer(k, t, heir, &how);
    if (r < 0)
        r = reign_transfer(k, t, NULL, &how);
    reign_unlock(t);
    if (r == 0)
        reign_passed(k, t);
    return r;
}

/* Nobody alive: an owner that is dying, or one that is gone. */
static bool owner_ended(struct heir_keeper *k, struct keeper_table *t)
{
    struct keeper_client *owner = table_owner(k, t);
    if (t->damaged)
        return false;
    return owner != NULL ? owner->dying : owner_id(get(&t->page->owner)) != HEIR_KEEPER;
}

/*
 * The table of one that has ended, or that stands in the set of one: `left` by it, while it was passing the table on.
 * Another thread of its process may still be at that, and take the table back when it finds its receiver dead: so what
 * is left is looked at under the mutex, but for when its living owner holds that, or nothing is left of the process.
 */
static int lock(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *left)
{
    int r = reign_lock(k, t);
    if (r != -EBUSY || left == NULL)
        return r;
    if (reign_free_writer(k, t, left) == 1)
        return reign_lock(k, t);
    const struct keeper_client *owner = table_owner(k, t);
    if (owner == NULL || owner->dying ||
        (!left->proven && robust_holder(&t->page->writer.mutex) != (uint32_t)owner->tid))
        return -EBUSY;
    writer_wanted(t->page, false);
    return -EALREADY;
}

/* 1: a dead owner's, and now another's or gone; 0: it was not; -EBUSY, -ENOSPC: later. */
static int settle(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *left)
{
    uint64_t id = t->id;
    int r = 0;

    if (owner_ended(k, t) || (left != NULL && table_owner(k, t) != NULL)) {
        r = lock(k, t, left);
        if (r == 0 && owner_ended(k, t)) {
            r = inherit(k, t, table_owner(k, t));
            r = r == 0 ? 1 : r;
        } else if (r == 0) {
            reign_unlock(t);
        } else if (r == -EALREADY) {
            r = 0;
        }
        if (r == -EUCLEAN || r == -EOVERFLOW) { /* nobody can write it any more; or get it */
            k->damaged++;
            t->damaged = true;
            r = 1;
        }
    }
    struct keeper_client *owner = r == 0 ? table_owner(k, t) : NULL;
    if (owner != NULL) { /* whoever passed it on may have died before ringing */
        reign_ring(owner);
        reign_answer_owner(k, t);
    }
    if (r < 0) {
        reign_put_off(k, t);
        return r;
    }
    if ((t = table_by_id(k, id)) != NULL) /* it may have been destroyed */
        reign_grant(k, t);
    return r;
}

bool death_settle(struct heir_keeper *k, struct keeper_table *t)
{
    return settle(k, t, NULL) >= 0;
}

static void forget(struct heir_keeper *k, struct keeper_client *c)
{
    char name[SHM_NAME_ROOM], id[24];

    pins_drop(c);
    reign_drop_claims(k, c);
    snprintf(id, sizeof id, "%lu", (unsigned long)c->id);
    shm_name(name, k->ns, 'c', id);
    shm_remove(name); /* last: until then the next keeper repeats all this */
    reign_orders_done(k, c);
    client_forget(k, c);
}

/* Settle all that it owns; false: not all could be. */
static bool hand_on(struct heir_keeper *k, struct keeper_client *c, uint64_t *tables)
{
    uint64_t count = owned_entries(c->page), most = get(&k->space->tables_peak) + HOLES;
    bool all = true;

    for (uint64_t i = 0; i < count && i < most; i++) {
        uint64_t word = get(&c->page->owned[i]);
        struct keeper_table *t = word != 0 ? table_by_id(k, owned_table(word)) : NULL;
        int r = t != NULL ? settle(k, t, c) : 0;
        *tables += r == 1;
        all = all && r >= 0;
        if (r >= 0 && word != 0)
            owned_remove_entry(c->page, i, word);
    }
    while (all && !cds_list_empty(&c->tables)) {
        struct keeper_table *t = cds_list_entry(c->tables.next, struct keeper_table, of_owner);
        int r = table_owner(k, t) == c ? settle(k, t, c) : 0; /* else that look has put it where it belongs */
        *tables += r == 1;
        all = r >= 0;
    }
    return all;
}

/*
 * What it still holds without owning it: a public table, or one that it has just given away. The kernel lets go of that
 * itself, but after a core dump, or never when it has missed the robust list. Thread ids are of the client's pid
 * namespace: one that another living client has, too, proves nothing. false: not yet.
 */
static bool let_go(struct heir_keeper *k, struct keeper_client *c)
{
    struct keeper_table *t;
    bool all = true;

    if (!c->proven && get(&c->page->crash_signal) == 0)
        return true;
    cds_list_for_each_entry(t, &k->tables, all) {
        if (!t->damaged && may_own(k, c->uid, c->gid, t) && reign_free_writer(k, t, c) < 0)
            all = false;
    }
    if (!all)
        keeper_retry_soon(k);
    return all;
}

/* Hand on all it owns: it is in vain only where somebody else is busy. */
static bool reclaim(struct heir_keeper *k, struct keeper_client *c, uint64_t since_ns)
{
    uint64_t tables = 0;
    bool first = !c->dying;

    if (first) {
        if (get(&c->page->closing) == 0) {
            k->deaths++;
            death_explain(k); /* one at a time */
            c->cause = CAUSE_PENDING;
            k->unexplained = c;
        }
        c->untold = true;
        c->ended_ns = since_ns;
    }
    c->dying = true;
    /* before its set is read: who passes it a table looks at this afterwards */
    set_ordered(&c->page->dead, 1);
    journal_hold(k, true); /* telling takes longer than doing */
    bool all = hand_on(k, c, &tables);
    all = let_go(k, c) && all;
    if (!all && c->proven && ++c->looks > LOOKS_MOST) /* nothing more comes of it, and its tables are still looked at */
        all = true;
    journal_hold(k, false);
    if (first || tables > 0)
        c->reclaim_ns = clock_mono_ns() - c->ended_ns;
    if (tables > 0)
        probe_reclaim(c->id, tables, c->reclaim_ns);
    c->untold = c->untold || tables > 0;
    c->reclaimed += tables;
    if (!all && cds_list_empty(&c->unsettled))
        cds_list_add_tail(&c->unsettled, &k->dying);
    if (!cds_list_empty(&k->waited)) /* a set that does not tell the truth must not let anybody wait for ever */
        keeper_retry_soon(k);
    return all;
}

static void tell(struct heir_keeper *k, struct keeper_client *c, bool all)
{
    if (c->ready && c->untold && (c->reclaimed > 0 || all)) {
        journal_end(k, c);
        c->untold = false;
        c->reclaimed = 0;
    }
    journal_tell_held(k);
}

void death_of(struct heir_keeper *k, struct keeper_client *c, uint64_t since_ns)
{
    bool all = reclaim(k, c, since_ns);

    death_explain(k);
    tell(k, c, all);
    if (all)
        forget(k, c);
}

/*
 * Whoever gets the tables is being woken, and on a machine of few cores it has to wait until this thread sleeps: so the
 * log, the page and the descriptors are left to the event loop, which is told by the pidfd when all of the process has
 * ended; and how it ended is left to death_explain().
 */
void death_noticed(struct heir_keeper *k, struct keeper_client *c, uint64_t since_ns)
{
    if (!reclaim(k, c, since_ns)) {
        death_explain(k);
        tell(k, c, false);
        return;
    }
    cds_list_move(&c->unsettled, &k->settled);
    if (k->held_count > NOTES / 2) {
        death_explain(k);
        journal_tell_held(k);
    }
    if (c != k->unexplained)
        conclude_soon(k, c);
}

void death_conclude(struct heir_keeper *k)
{
    death_explain(k);
    while (!cds_list_empty(&k->settled)) {
        struct keeper_client *c = cds_list_entry(k->settled.next, struct keeper_client, unsettled);
        cds_list_del_init(&c->unsettled);
        death_of(k, c, clock_mono_ns());
    }
}

void death_proven(struct heir_keeper *k, struct keeper_client *c)
{
    uint64_t now = clock_mono_ns();
    bool missed = !c->proven && robust_holder(&c->page->life.mutex) != 0;
    if (missed)
        keeper_log(k, HEIR_LOG_NOTICE,
                   "client %lu (%s, pid %d): it has ended, and the kernel has not released its mutexes",
                   (unsigned long)c->id, c->name, c->pid);
    c->proven = true;
    death_of(k, c, now);
}

void death_retry(struct heir_keeper *k)
{
    struct cds_list_head tables, clients;
    struct keeper_table *t, *next;

    death_conclude(k);
    CDS_INIT_LIST_HEAD(&tables);
    CDS_INIT_LIST_HEAD(&clients);
    cds_list_splice(&k->unsettled, &tables);
    CDS_INIT_LIST_HEAD(&k->unsettled);
    cds_list_splice(&k->dying, &clients);
    CDS_INIT_LIST_HEAD(&k->dying);
    while (!cds_list_empty(&clients)) {
        struct keeper_client *c = cds_list_entry(clients.next, struct keeper_client, unsettled);
        cds_list_del_init(&c->unsettled);
        death_of(k, c, clock_mono_ns());
    }
    while (!cds_list_empty(&tables)) {
        t = cds_list_entry(tables.next, struct keeper_table, unsettled);
        cds_list_del_init(&t->unsettled);
        settle(k, t, NULL);
    }
    cds_list_for_each_entry_safe(t, next, &k->waited, waited) {
        if (table_owner(k, t) == NULL || owner_ended(k, t)) {
            cds_list_del(&t->waited);
            cds_list_add_tail(&t->waited, &k->waited);
            settle(k, t, NULL);
            keeper_retry_soon(k); /* the list may have changed: the others next time */
            break;
        }
    }
}
