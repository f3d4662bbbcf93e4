/* SPDX-License-Identifier: MIT */
/*
 * Who owns what, as the keeper changes it. The rules are those of owner.h; here are the steps, each of which may be the
 * keeper's last: what then lies in shared memory is what adopt.c makes whole.
 *
 * The keeper owns a table whenever nobody alive does, and gives it to the first in line. A writer mutex that is busy
 * (another thread of the dying process still runs; a writer of a public table) is never waited for: the table is marked
 * unsettled, and looked at again.
 */
#include "atomics.h"
#include "bell.h"
#include "index.h"
#include "objects.h"
#include "owned.h"
#include "robust.h"
#include "shm.h"
#include "state.h"
#include "undo.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define CLAIMS_A_CLIENT 1024 /* in line at once */
#define DUMPS_EVERY_NS  1000000
#define TRIES           100 /* of a busy writer mutex, before the table is put off: a put takes less than this */

bool client_lives(const struct keeper_client *c)
{
    return c->ready && !c->dying && !c->proven && get(&c->page->closing) == 0 && get(&c->page->dead) == 0 &&
           robust_holder(&c->page->life.mutex) != 0;
}

void reign_ring(struct keeper_client *c)
{
    bell_ring(c->page, c->bell);
}

/* ---- The writer mutex --------------------------------------------------------------------------------- */

static int open_table(const struct heir_keeper *k, const struct keeper_table *t, bool writable)
{
    char name[SHM_NAME_ROOM];
    shm_name(name, k->ns, 't', t->name);
    return shm_open_object(name, writable);
}

/* The writer has died in the middle: map the whole table and roll back. */
static int repair(struct heir_keeper *k, struct keeper_table *t)
{
    struct store whole = {.bytes = t->max_bytes, .heap_first = space_heap_first(t->max_bytes), .base = t->whole};
    int fd = t->whole != NULL ? -1 : open_table(k, t, true), r = t->whole != NULL || fd >= 0 ? 0 : fd;
    uint64_t undone;
    int faults = fault_count();

    if (fd >= 0) {
        if ((whole.base = shm_map(fd, t->max_bytes, true)) == NULL)
            r = -ENOMEM;
        close(fd);
    }
    if (r == -ENOMEM || r == -EMFILE || r == -ENFILE) { /* of ours: that will pass */
        robust_put_off_apart(&t->page->writer.mutex);
        return -EBUSY;
    }
    if (r == 0)
        r = undo_all(&whole, &undone); /* as in writer_repair() */
    if (r == 0)
        robust_repaired_apart(&t->page->writer.mutex);
    else
        robust_unlock_apart(&t->page->writer.mutex);
    if (whole.base != t->whole && r == 0 && fault_count() == faults)
        huge_keep(k, t, whole.base); /* a worker that has died in a transaction may do so again */
    else if (whole.base != t->whole)
        munmap(whole.base, t->max_bytes);
    return r == 0 ? 0 : -EUCLEAN;
}

/* Is this the thread of another client that lives? */
static bool thread_of_other(struct heir_keeper *k, const struct keeper_client *dead, uint32_t tid)
{
    struct keeper_client *c;
    cds_list_for_each_entry(c, &k->clients, all) {
        if (c != dead && (uint32_t)c->tid == tid)
            return true;
    }
    return false;
}

/* Is it proven, by now, that no thread of it runs again? It may have thousands of tables: asked once in a while. */
static bool proven(struct keeper_client *c)
{
    uint64_t now = c->proven ? 0 : clock_mono_ns();

    if (!c->proven && now - c->dumps_seen_ns >= DUMPS_EVERY_NS) {
        c->proven = process_dumps(c);
        c->dumps_seen_ns = clock_mono_ns();
    }
    return c->proven;
}

/*
 * Can the holder of the mutex never let it go, although the kernel has not said so? The process is gone and the robust
 * list was damaged or cut off; or it dumps core, and the kernel will come to the list when that is done. In a protected
 * table nobody but the owner's threads can hold the mutex; in a public one it is the client's own if the thread is.
 */
static bool held_by_the_dead(struct heir_keeper *k, struct keeper_table *t)
{
    struct keeper_client *owner = table_owner(k, t);
    if (owner == NULL || !owner->dying)
        return false;
    uint32_t holder = robust_holder(&t->page->writer.mutex);
    return owner->proven &&
           (holder == (uint32_t)owner->tid || (t->access != HEIR_PUBLIC && !thread_of_other(k, owner, holder)));
}

void reign_unlock(struct keeper_table *t)
{
    robust_unlock_apart(&t->page->writer.mutex);
}

int reign_lock(struct heir_keeper *k, struct keeper_table *t)
{
    int r = -EBUSY;

    for (int i = 0; i < TRIES && r == -EBUSY; i++)
        r = robust_try_apart(&t->page->writer.mutex);
    if (r == -EBUSY && held_by_the_dead(k, t)) {
        robust_bury(&t->page->writer.mutex);
        r = robust_try_apart(&t->page->writer.mutex);
    }
    writer_wanted(t->page, r == -EBUSY);
    if (r == -EBUSY) {
        uint32_t holder = robust_holder(&t->page->writer.mutex);
        if (holder != t->busy_with) /* many are at it: come again soon */
            k->retry_ms = 0;
        t->busy_with = holder;
    }
    if (r == -EOWNERDEAD && (r = repair(k, t)) == 0) {
        journal_count(k, COUNT_ROLLBACKS, 1);
        keeper_log(k, HEIR_LOG_DEBUG, "table %s: rolled back to transaction %lu", t->name,
                   (unsigned long)get(&t->page->view.committed));
    }
    if (r == -EUCLEAN)
        journal_table(k, HEIR_DAMAGED, t, NULL);
    return r;
}

/* Whoever owns it now must not wait for the end of a core dump, or for a robust list that the kernel has missed. */
int reign_free_writer(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *dead)
{
    uint32_t holder = robust_holder(&t->page->writer.mutex);

    if (holder != (uint32_t)dead->tid || thread_of_other(k, dead, holder))
        return 0;
    if (!proven(dead)) /* the kernel is about to let it go */
        return -EBUSY;
    robust_bury(&t->page->writer.mutex);
    return 1;
}

void reign_put_off(struct heir_keeper *k, struct keeper_table *t)
{
    if (cds_list_empty(&t->unsettled))
        cds_list_add_tail(&t->unsettled, &k->unsettled);
    keeper_retry_soon(k);
}

/* ---- Transfers ---------------------------------------------------------------------------------------- */

/* Without its bell: who sleeps is woken when the mutex has been let go, by reign_passed(). */
static struct party party_of(struct keeper_client *c)
{
    return (struct party){
        .id = c != NULL ? c->id : HEIR_KEEPER, .page = c != NULL ? c->page : NULL, .bell = -1, .later = true};
}

int reign_transfer(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *to, const struct passing *how)
{
    struct party from = party_of(table_owner(k, t)), receiver = party_of(to);
    t->passed_at = get(&t->page->view.committed); /* its next owner may write before we tell of it */
    int r = owner_pass(t->page, &from, &receiver, how);
    table_owner(k, t);
    if (r == 0)
        k->transfers++;
    return r;
}

/* ---- The line ----------------------------------------------------------------------------------------- */

static void count_waiting(struct heir_keeper *k, struct keeper_table *t, bool one_more)
{
    t->waiting = one_more ? t->waiting + 1 : t->waiting - 1;
    set(&t->page->waiting, t->waiting);
    if (t->waiting == 0)
        cds_list_del_init(&t->waited);
    else if (cds_list_empty(&t->waited))
        cds_list_add(&t->waited, &k->waited);
}

void reign_claim_free(struct heir_keeper *k, struct claim *claim)
{
    struct keeper_table *t = claim->table;
    cds_list_del(&claim->line);
    cds_list_del(&claim->mine);
    claim->client->claiming--;
    free(claim);
    count_waiting(k, t, false);
}

void reign_drop_claims(struct heir_keeper *k, struct keeper_client *c)
{
    while (!cds_list_empty(&c->claims))
        reign_claim_free(k, cds_list_entry(c->claims.next, struct claim, mine));
}

int reign_wait_in_line(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *c,
                       const struct wire_request *q)
{
    struct claim *claim = c->claiming < CLAIMS_A_CLIENT ? malloc(sizeof *claim) : NULL;
    if (claim == NULL)
        return c->claiming < CLAIMS_A_CLIENT ? -ENOMEM : -EDQUOT;
    *claim = (struct claim){.client = c, .table = t, .request = *q};
    cds_list_add_tail(&claim->line, &t->line);
    cds_list_add_tail(&claim->mine, &c->claims);
    c->claiming++;
    count_waiting(k, t, true);
    if (table_owner(k, t) != NULL) { /* it maps the memory while it waits */
        journal_count(k, COUNT_CLAIMS_WAITED, 1);
        claim->mapped = request_reply_table(k, c->connection, q, t, WIRE_WRITABLE, -EINPROGRESS);
    }
    if (table_owner(k, t) == NULL)
        reign_grant(k, t);
    else
        reign_answer_owner(k, t); /* it may have been given to the client in this moment */
    return REPLIED;
}

bool reign_answer_owner(struct heir_keeper *k, struct keeper_table *t)
{
    struct keeper_client *owner = table_owner(k, t);
    struct claim *claim, *next;
    bool answered = false;

    if (owner == NULL || cds_list_empty(&t->line))
        return false;
    cds_list_for_each_entry_safe(claim, next, &owner->claims, mine) {
        if (claim->table != t)
            continue;
        if (owner->connection != NULL) {
            request_reply_table(k, owner->connection, &claim->request, t, claim->mapped ? WIRE_MAPPED : WIRE_WRITABLE,
                                0);
            answered = true;
        }
        reign_claim_free(k, claim);
    }
    return answered;
}

void reign_passed(struct heir_keeper *k, struct keeper_table *t)
{
    struct keeper_client *owner = table_owner(k, t);

    if (owner != NULL)
        bell_rouse_dozer(owner->page);
    if (!reign_answer_owner(k, t) && owner != NULL) /* else the reply wakes it */
        bell_rouse_sleepers(owner->page, owner->bell);
    journal_transfer(k, t);
}

void reign_grant(struct heir_keeper *k, struct keeper_table *t)
{
    int r;

    while (table_owner(k, t) == NULL && !cds_list_empty(&t->line)) {
        struct claim *claim = cds_list_entry(t->line.next, struct claim, line);
        struct keeper_client *to = claim->client;
        if (!client_lives(to) || to->connection == NULL) {
            reign_claim_free(k, claim);
            continue;
        }
        if ((r = reign_lock(k, t)) == -EBUSY) {
            reign_put_off(k, t);
            break;
        }
        if (r == 0) {
            struct transfer last = {0};
            int code;
            transfer_read(t->page, owner_epoch(get(&t->page->owner)), &last);
            if (table_owner(k, t) == NULL)
                r = reign_transfer(k, t, to,
                                   &(struct passing){.reason = HEIR_CLAIMED,
                                                     .data = last.data,
                                                     .data_len = last.data_len,
                                                     .cause = transfer_cause(&last, &code),
                                                     .code = code});
            else
                r = -EAGAIN; /* it was on its way from a giver to one that died, and went back */
            reign_unlock(t);
        }
        if (r == 0) {
            reign_passed(k, t);
        } else if (r != -EAGAIN) {
            struct wire_reply reply = {.error = r};
            connection_reply(to->connection, &claim->request, &reply, -1);
            reign_claim_free(k, claim);
        }
    }
}

/* ---- On request --------------------------------------------------------------------------------------- */

int reign_pass(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *to, uint64_t epoch,
               const struct passing *how)
{
    struct keeper_client *from = table_owner(k, t);
    int r = reign_lock(k, t);

    if (r < 0)
        return r;
    if (table_owner(k, t) == from && (epoch == 0 || epoch == owner_epoch(get(&t->page->owner))))
        r = reign_transfer(k, t, to, how);
    else
        r = -EAGAIN; /* its owner has just given it away */
    reign_unlock(t);
    if (r < 0)
        return r;
    reign_passed(k, t);
    if (how->reason == HEIR_REVOKED && from != NULL)
        reign_ring(from);
    if (to == NULL)
        reign_grant(k, t);
    return 0;
}

/* ---- Orders ------------------------------------------------------------------------------------------- */

bool reign_ordered(const struct heir_keeper *k, const struct keeper_table *t, const struct keeper_client *owner)
{
    struct order *o;
    cds_list_for_each_entry(o, &k->orders, all) {
        if (o->table == t->id && o->client == owner->id)
            return true;
    }
    return false;
}

void reign_orders_done(struct heir_keeper *k, const struct keeper_client *c)
{
    struct order *o, *next;
    cds_list_for_each_entry_safe(o, next, &k->orders, all) {
        if (o->client != c->id)
            continue;
        struct wire_reply reply = {0};
        if (o->connection != NULL)
            connection_reply(o->connection, &o->request, &reply, -1);
        cds_list_del(&o->all);
        free(o);
    }
}

void reign_orders_unheard(struct heir_keeper *k, const struct connection *c)
{
    struct order *o;
    cds_list_for_each_entry(o, &k->orders, all) {
        if (o->connection == c)
            o->connection = NULL;
    }
}

int reign_revoke(struct heir_keeper *k, struct keeper_table *t, uint64_t epoch, bool force, struct connection *c,
                 const struct wire_request *q)
{
    struct keeper_client *owner;
    uint64_t word;
    int r, tries = TRIES;

    do { /* again when it has been given away meanwhile */
        word = get(&t->page->owner);
        owner = table_owner(k, t);
        if (owner == NULL)
            return -EALREADY;
        if (epoch != 0 && owner_epoch(word) != epoch)
            return -EAGAIN;
        r = reign_pass(k, t, NULL, owner_epoch(word), &(struct passing){.reason = HEIR_REVOKED});
    } while ((r == -EAGAIN || (r == -EBUSY && get(&t->page->owner) != word)) && --tries > 0);
    if (r != -EBUSY || !force)
        return r == -EAGAIN ? -EBUSY : r;
    /* The owner word, and who holds the mutex, is what those who may write to the table make it: nobody is killed for
     * another user's table. */
    if (owner->uid != t->uid)
        return -EACCES;
    struct order *o = malloc(sizeof *o);
    if (o == NULL)
        return -ENOMEM;
    *o = (struct order){.table = t->id, .client = owner->id, .connection = c};
    if (q != NULL)
        o->request = *q;
    journal_table(k, HEIR_KILLED, t, owner);
    cds_list_add(&o->all, &k->orders); /* before it dies */
    if ((r = process_kill(owner)) < 0) {
        cds_list_del(&o->all);
        free(o);
        return r;
    }
    return REPLIED;
}

/* ---- Tables that end ---------------------------------------------------------------------------------- */

void reign_destroy_locked(struct heir_keeper *k, struct keeper_table *t)
{
    char name[SHM_NAME_ROOM];
    struct keeper_client *from = table_owner(k, t);
    struct cds_list_head line;

    set(&t->page->destroyed, 1);
    if (!t->damaged)
        reign_unlock(t);
    shm_name(name, k->ns, 't', t->name);
    shm_remove(name);
    if (from != NULL)
        owned_remove(from->page, t->id, 0);
    journal_table(k, HEIR_DESTROYED, t, from);
    pins_destroyed(t);
    CDS_INIT_LIST_HEAD(&line);
    cds_list_splice(&t->line, &line);
    CDS_INIT_LIST_HEAD(&t->line);
    /* who waited for it claims anew, when it is gone: the first creates it */
    struct claim *claim;
    cds_list_for_each_entry(claim, &line, line)
        claim->table = NULL;
    table_forget(k, t);
    while (!cds_list_empty(&line)) {
        claim = cds_list_entry(line.next, struct claim, line);
        struct keeper_client *c = claim->client;
        struct wire_request q = claim->request;
        int fd = -1;
        cds_list_del(&claim->line);
        cds_list_del(&claim->mine);
        c->claiming--;
        free(claim);
        if (client_lives(c) && c->connection != NULL)
            request_handle(k, c->connection, &q, &fd);
    }
}

int reign_destroy(struct heir_keeper *k, struct keeper_table *t, uint64_t epoch)
{
    if (t->damaged) { /* nobody can lock it any more, nor own it */
        k->damaged--;
    } else {
        int r = reign_lock(k, t);
        if (r < 0)
            return r;
        if (epoch != owner_epoch(get(&t->page->owner))) {
            reign_unlock(t);
            return -EAGAIN;
        }
    }
    reign_destroy_locked(k, t);
    return 0;
}

int reign_create(struct heir_keeper *k, struct keeper_client *c, const struct wire_request *q,
                 struct keeper_table **table)
{
    uint64_t bytes = (q->max_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES, id = get(&k->space->next_table);
    char name[SHM_NAME_ROOM];
    struct settings settings = {.data_len = q->data_len};
    int r = user_may_create(k, c->user, bytes);

    if (r < 0)
        return r;
    if (id > OWNED_ID_MAX)
        return -EOVERFLOW;
    set(&k->space->next_table, id + 1); /* before it is used */
    shm_name(name, k->ns, 't', q->name);
    int fd = shm_create(name, bytes, 2 * PAGE_BYTES, 0600);
    if (fd < 0)
        return fd;
    struct store s = {.bytes = bytes, .base = shm_map(fd, bytes, true)};
    struct table_page *page = s.base != NULL ? shm_map(fd, PAGE_BYTES, true) : NULL;
    r = page == NULL ? -ENOMEM : 0;
    close(fd);
    if (r == 0) {
        head_init(&page->head, id, c->uid, c->gid);
        page->max_bytes = bytes;
        page->key_size = q->key_size;
        page->value_size = q->value_size;
        page->type = q->type;
        page->access = q->access;
        page->mode = q->mode;
        page->lease_ms = q->lease_ms;
        while (getrandom(&page->hash_seed, sizeof page->hash_seed, 0) != (ssize_t)sizeof page->hash_seed) {
        }
        s.seed = page->hash_seed;
        memcpy(settings.name, q->name, NAME_ROOM);
        memcpy(settings.heir, q->heir, NAME_ROOM);
        memcpy(settings.data, q->data, sizeof settings.data);
        settings_write(page, &settings);
        r = robust_init(&page->writer.mutex);
    }
    if (r == 0)
        r = objects_format(&s);
    if (s.base != NULL)
        munmap(s.base, bytes);
    struct party owner = party_of(c);
    if (r == 0)
        r = owner_first(page, &owner);
    if (r == 0) {
        /* visible to others now: */
        set(&page->head.magic, TABLE_MAGIC);
        *table = table_enter(k, q->name, page);
        if (*table != NULL) {
            table_owner(k, *table);
            lease_begin(k, *table);
            journal_table(k, HEIR_CREATED, *table, c);
            return 0;
        }
        r = -ENOMEM;
    }
    owned_remove(c->page, id, 0);
    if (page != NULL)
        munmap(page, PAGE_BYTES);
    shm_remove(name);
    return r;
}
