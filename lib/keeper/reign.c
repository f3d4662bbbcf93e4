/* SPDX-License-Identifier: MIT */
/*
 * Who owns what, as the keeper changes it. The rules are those of owner.h; here are the steps, each of which may be the
 * keeper's last: what then lies in shared memory is what adopt.c makes whole.
 *
 * The keeper owns a table whenever nobody alive does, and gives it to the first in line. A named heir that lives comes
 * before the line. A writer mutex that is busy (another thread of the dying process still runs; a writer of a public
 * table) is never waited for: the table is marked unsettled, and looked at again.
 */
#include "atomics.h"
#include "index.h"
#include "objects.h"
#include "owner.h"
#include "robust.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define TRIES 100 /* of a busy writer mutex, before the table is put off: a put takes less than this */

bool client_lives(const struct keeper_client *c)
{
    return c->ready && !c->dying && !c->proven && get(&c->page->closing) == 0 && get(&c->page->dead) == 0 &&
           robust_holder(&c->page->life.mutex) != 0;
}

void reign_ring(struct keeper_client *c)
{
    uint64_t one = 1;
    struct pollfd bell = {.fd = c->bell, .events = POLLOUT};
    /* full: it will wake up all the same; and the client may have made it a blocking one */
    if (c->bell < 0 || poll(&bell, 1, 0) != 1 || (bell.revents & POLLOUT) == 0)
        return;
    if (write(c->bell, &one, sizeof one) < 0) {
        /* the same, in this very moment */
    }
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
    struct store whole = {.bytes = t->max_bytes, .heap_first = t->page->heap_first, .base = t->whole};
    int fd = t->whole != NULL ? -1 : open_table(k, t, true), r = t->whole != NULL || fd >= 0 ? 0 : fd;
    if (fd >= 0) {
        if ((whole.base = shm_map(fd, t->max_bytes, true)) == NULL)
            r = -ENOMEM;
        close(fd);
    }
    if (r < 0) {
        robust_unlock(&t->page->writer.mutex);
        return r;
    }
    r = writer_repair(t->page, &whole);
    if (whole.base != t->whole)
        munmap(whole.base, t->max_bytes);
    return r;
}

/* Is this the thread of another client that lives? */
static bool thread_of_other(struct heir_keeper *k, const struct keeper_client *dead, uint32_t tid)
{
    struct keeper_client *c;
    cds_list_for_each_entry(c, &k->clients, all) {
        if (c != dead && (uint32_t)c->page->tid == tid)
            return true;
    }
    return false;
}

/* Who owns it, in the keeper's own memory. */
static void set_owner(struct keeper_table *t, struct keeper_client *owner)
{
    if (t->owner != NULL)
        t->owner->owns--;
    t->owner = owner;
    if (owner != NULL)
        owner->owns++;
}

static uint64_t epoch_of(const struct keeper_table *t)
{
    return owner_epoch(get(&t->page->owner));
}

/* 0: held, and the table is at its last commit. -EBUSY; -EUCLEAN: it cannot be repaired. */
static int settle_begin(struct heir_keeper *k, struct keeper_table *t)
{
    int r = -EBUSY;

    for (int i = 0; i < TRIES && r == -EBUSY; i++)
        r = writer_lock(t->page, true);
    if (r == -EBUSY && t->owner != NULL && t->owner->proven) {
        /* Its process is gone, and the kernel has not told: the robust list was damaged or cut off. In a protected
         * table nobody else can hold the mutex; in a public one it is its own if the thread is. */
        uint32_t holder = robust_holder(&t->page->writer.mutex);
        if (holder == (uint32_t)t->owner->page->tid ||
            (t->page->access != HEIR_PUBLIC && !thread_of_other(k, t->owner, holder))) {
            robust_bury(&t->page->writer.mutex);
            r = writer_lock(t->page, true);
        }
    }
    writer_wanted(t->page, r == -EBUSY);
    if (r == -EBUSY) {
        uint32_t holder = robust_holder(&t->page->writer.mutex);
        if (holder != t->busy_with) /* many are at it: come again soon */
            k->retry_ms = 0;
        t->busy_with = holder;
    }
    if (r == -EOWNERDEAD && (r = repair(k, t)) == 0)
        keeper_log(k, HEIR_LOG_DEBUG, "table %s: rolled back to transaction %lu", t->name,
                   (unsigned long)get(&t->page->view.committed));
    if (r == -EUCLEAN)
        keeper_log(k, HEIR_LOG_ERROR, "table %s: damaged, set aside", t->name);
    return r;
}

static void put_off(struct heir_keeper *k, struct keeper_table *t)
{
    t->unsettled = true;
    keeper_retry_soon(k);
}

/* ---- Transfers ---------------------------------------------------------------------------------------- */

/* The transfer itself; the writer mutex is held. */
static int transfer(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *to, enum heir_reason reason,
                    const void *data, size_t data_len)
{
    struct keeper_client *from = t->owner;
    uint64_t epoch = epoch_of(t), old_entry = t->owned_entry;

    if (epoch == EPOCH_MAX)
        return -EOVERFLOW;
    if (to != NULL) {
        int64_t entry = owned_add(to->page, t->id, epoch + 1);
        if (entry < 0)
            return (int)entry;
        t->owned_entry = (uint64_t)entry;
    }
    owner_switch(t->page, to != NULL ? to->id : HEIR_KEEPER, reason, data, data_len);
    set_owner(t, to);
    k->transfers++;
    if (to != NULL)
        reign_ring(to);
    if (from != NULL)
        owned_remove(from->page, old_entry, t->id);
    return 0;
}

static const char *reason_text(enum heir_reason reason)
{
    static const char *const text[] = {"?", "claimed", "given", "inherited", "released", "revoked"};
    return text[(unsigned)reason < sizeof text / sizeof text[0] ? reason : 0];
}

static void log_transfer(struct heir_keeper *k, const struct keeper_table *t, uint64_t epoch, uint64_t to)
{
    struct transfer record = {0};
    char who[2][NAME_ROOM + 32];

    if (!transfer_read(t->page, epoch, &record))
        return;
    const uint64_t ids[2] = {record.from, to};
    for (int i = 0; i < 2; i++) {
        struct keeper_client *c = ids[i] != HEIR_KEEPER ? client_by_id(k, ids[i]) : NULL;
        if (ids[i] == HEIR_KEEPER)
            snprintf(who[i], sizeof who[i], "keeper");
        else
            snprintf(who[i], sizeof who[i], "client %lu (%s)", (unsigned long)ids[i], c != NULL ? c->name : "gone");
    }
    keeper_log(k, HEIR_LOG_NOTICE, "table %s: epoch %lu, %s -> %s, %s, %lu changes undone", t->name,
               (unsigned long)epoch, who[0], who[1], reason_text(record.reason), (unsigned long)record.undone);
}

/* Note a transfer for the log: told at once, or by keeper_tell_notes(). */
static void keeper_note(struct heir_keeper *k, const struct keeper_table *t, uint64_t to)
{
    struct note note = {t->id, epoch_of(t), to};
    if (!k->noting)
        log_transfer(k, t, note.epoch, to);
    else if (k->notes < NOTES)
        k->note[k->notes++] = note;
    else
        k->notes_lost++;
}

static void keeper_tell_notes(struct heir_keeper *k)
{
    for (unsigned i = 0; i < k->notes; i++) {
        struct keeper_table *t = table_by_id(k, k->note[i].table);
        if (t != NULL)
            log_transfer(k, t, k->note[i].epoch, k->note[i].to);
    }
    if (k->notes_lost != 0)
        keeper_log(k, HEIR_LOG_NOTICE, "... and %lu more transfers", (unsigned long)k->notes_lost);
    k->notes = 0;
    k->notes_lost = 0;
}

static void claim_free(struct claim *claim)
{
    cds_list_del(&claim->line);
    cds_list_del(&claim->mine);
    free(claim);
}

/* The owner waits in line for what it owns by now: that is granted. */
static void answer_owner(struct heir_keeper *k, struct keeper_table *t)
{
    struct claim *claim, *next;

    if (t->owner == NULL)
        return;
    cds_list_for_each_entry_safe(claim, next, &t->owner->claims, mine) {
        if (claim->table != t)
            continue;
        if (t->owner->connection != NULL)
            request_reply_table(k, t->owner->connection, &claim->request, t, true);
        claim_free(claim);
    }
    reign_count_waiting(t);
}

void reign_grant(struct heir_keeper *k, struct keeper_table *t)
{
    int r = 0;

    while (t->owner == NULL && !cds_list_empty(&t->line)) {
        struct claim *claim = cds_list_entry(t->line.next, struct claim, line);
        struct keeper_client *to = claim->client;
        if (!client_lives(to) || to->connection == NULL) {
            claim_free(claim);
            continue;
        }
        if ((r = settle_begin(k, t)) == -EBUSY) {
            put_off(k, t);
            break;
        }
        if (r == 0) {
            struct transfer last = {0};
            transfer_read(t->page, epoch_of(t), &last);
            r = transfer(k, t, to, HEIR_CLAIMED, last.data, last.data_len);
            writer_unlock(t->page);
        }
        if (r == 0) {
            request_reply_table(k, to->connection, &claim->request, t, true);
            keeper_note(k, t, to->id);
        } else {
            struct wire_reply reply = {.error = r};
            connection_reply(to->connection, &claim->request, &reply, -1);
        }
        claim_free(claim);
        if (r == 0)
            answer_owner(k, t);
    }
    reign_count_waiting(t);
}

void reign_count_waiting(struct keeper_table *t)
{
    struct claim *claim;
    uint64_t waiting = 0;
    cds_list_for_each_entry(claim, &t->line, line)
        waiting++;
    set(&t->page->waiting, waiting);
}

int reign_pass(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *to, enum heir_reason reason,
               const void *data, size_t data_len)
{
    struct keeper_client *from = t->owner;
    int r = settle_begin(k, t);

    if (r < 0)
        return r;
    r = transfer(k, t, to, reason, data, data_len);
    writer_unlock(t->page);
    if (r < 0)
        return r;
    keeper_note(k, t, to != NULL ? to->id : HEIR_KEEPER);
    answer_owner(k, t);
    if (reason == HEIR_REVOKED && from != NULL)
        reign_ring(from);
    if (to == NULL)
        reign_grant(k, t);
    return 0;
}

/* ---- Tables that end ---------------------------------------------------------------------------------- */

/* The writer mutex is held; it is let go. */
static void destroy_locked(struct heir_keeper *k, struct keeper_table *t)
{
    char name[SHM_NAME_ROOM];
    struct keeper_client *from = t->owner;
    struct pin_note *pin, *next_pin;
    struct cds_list_head line;

    set(&t->page->destroyed, 1);
    writer_unlock(t->page);
    shm_name(name, k->ns, 't', t->name);
    shm_remove(name);
    if (from != NULL)
        owned_remove(from->page, t->owned_entry, t->id);
    set_owner(t, NULL);
    keeper_log(k, HEIR_LOG_NOTICE, "table %s: destroyed", t->name);
    cds_list_for_each_entry_safe(pin, next_pin, &t->pins, list) {
        set(&pin->client->page->pins[pin->slot].table, 0);
        pin_note_free(pin);
    }
    CDS_INIT_LIST_HEAD(&line);
    cds_list_splice(&t->line, &line);
    table_forget(k, t);
    /* who waited for it claims anew: the first creates it */
    while (!cds_list_empty(&line)) {
        struct claim *claim = cds_list_entry(line.next, struct claim, line);
        struct keeper_client *c = claim->client;
        struct wire_request q = claim->request;
        int fd = -1;
        claim_free(claim);
        if (client_lives(c) && c->connection != NULL)
            request_handle(k, c->connection, &q, &fd);
    }
}

int reign_destroy(struct heir_keeper *k, struct keeper_table *t)
{
    int r = settle_begin(k, t);
    if (r == 0)
        destroy_locked(k, t);
    return r;
}

int reign_create(struct heir_keeper *k, struct keeper_client *c, const struct wire_request *q,
                 struct keeper_table **table)
{
    uint64_t bytes = (q->max_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES, id = get(&k->space->next_table);
    char name[SHM_NAME_ROOM];
    struct settings settings = {.data_len = q->data_len};
    int64_t entry = -1;

    set(&k->space->next_table, id + 1); /* before it is used */
    shm_name(name, k->ns, 't', q->name);
    int fd = shm_create(name, bytes, 2 * PAGE_BYTES, 0600);
    if (fd < 0)
        return fd;
    struct store s = {.bytes = bytes, .base = shm_map(fd, bytes, true)};
    struct table_page *page = s.base != NULL ? shm_map(fd, PAGE_BYTES, true) : NULL;
    int r = page == NULL ? -ENOMEM : 0;
    close(fd);
    if (r == 0) {
        head_init(&page->head, id, c->uid, c->gid);
        page->max_bytes = bytes;
        page->key_size = q->key_size;
        page->value_size = q->value_size;
        page->type = q->type;
        page->access = q->access;
        page->mode = q->mode;
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
    if (r == 0 && (entry = owned_add(c->page, id, 1)) < 0)
        r = (int)entry;
    if (r == 0) {
        owner_switch(page, c->id, HEIR_CLAIMED, NULL, 0);
        /* visible to others now: */
        set(&page->head.magic, TABLE_MAGIC);
        *table = table_enter(k, q->name, page);
        if (*table != NULL) {
            set_owner(*table, c);
            (*table)->owned_entry = (uint64_t)entry;
            keeper_log(k, HEIR_LOG_NOTICE, "table %s: created by client %lu (%s)", q->name, (unsigned long)c->id,
                       c->name);
            return 0;
        }
        r = -ENOMEM;
    }
    if (entry >= 0)
        owned_remove(c->page, (uint64_t)entry, id);
    if (page != NULL)
        munmap(page, PAGE_BYTES);
    shm_remove(name);
    return r;
}

/* ---- Clients that end --------------------------------------------------------------------------------- */

/* The owner has ended: to its heir. -EBUSY: not yet. */
static int inherit(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *dead)
{
    bool closing = get(&dead->page->closing) != 0;
    struct settings settings;
    struct keeper_client *heir = NULL;
    int r = settle_begin(k, t);

    if (r == -EUCLEAN) { /* nobody can write it any more */
        set_owner(t, NULL);
        k->damaged++;
        return 0;
    }
    if (r < 0)
        return r;
    settings_read(t->page, &settings);
    if (strcmp(settings.heir, HEIR_NOBODY) == 0) {
        destroy_locked(k, t);
        return 0;
    }
    if (!closing && settings.heir[0] != '\0')
        heir = client_by_role(k, settings.heir);
    if (heir != NULL && !may_own(k, heir->uid, heir->gid, t))
        heir = NULL;
    r = -ENOSPC;
    if (heir != NULL)
        r = transfer(k, t, heir, HEIR_INHERITED, settings.data, settings.data_len);
    if (r < 0)
        r = transfer(k, t, NULL, closing ? HEIR_RELEASED : HEIR_INHERITED, settings.data,
                     closing ? 0 : settings.data_len);
    writer_unlock(t->page);
    if (r == 0) {
        keeper_note(k, t, t->owner != NULL ? t->owner->id : HEIR_KEEPER);
        answer_owner(k, t);
    }
    return r;
}

void reign_drop_claims(struct keeper_client *c)
{
    while (!cds_list_empty(&c->claims)) {
        struct claim *claim = cds_list_entry(c->claims.next, struct claim, mine);
        struct keeper_table *t = claim->table;
        claim_free(claim);
        reign_count_waiting(t);
    }
}

static void drop_pins(struct keeper_client *c);

static void forget(struct heir_keeper *k, struct keeper_client *c)
{
    char name[SHM_NAME_ROOM], id[24];

    drop_pins(c);
    reign_drop_claims(c);
    snprintf(id, sizeof id, "%lu", (unsigned long)c->id);
    shm_name(name, k->ns, 'c', id);
    shm_remove(name); /* last: until then the next keeper repeats all this */
    client_forget(k, c);
}

static bool end_unnamed(struct heir_keeper *k, struct keeper_client *c)
{
    struct keeper_table *t, *next;
    bool all = true;

    cds_list_for_each_entry_safe(t, next, &k->tables, all) {
        uint64_t id = t->id;
        if (t->owner != c)
            continue;
        if (inherit(k, t, c) < 0) {
            put_off(k, t);
            all = false;
        } else if ((t = table_by_id(k, id)) != NULL && t->owner == NULL) {
            reign_grant(k, t);
        }
    }
    return all;
}

void reign_end_client(struct heir_keeper *k, struct keeper_client *c, uint64_t since_ns)
{
    uint64_t tables = 0;
    bool busy = false, closing = get(&c->page->closing) != 0, first = !c->dying;

    if (first && !closing)
        k->deaths++;
    c->dying = true;
    /* before its set is read: who gives to it looks at this afterwards */
    atomic_store_explicit(&c->page->dead, 1, memory_order_seq_cst);
    k->noting = true; /* telling takes longer than doing */
    uint64_t count = get(&c->page->owned_count), room = get(&c->page->owned_room);
    for (uint64_t i = 0; i < count && i < room && i < CLIENT_OWNED_MAX; i++) {
        uint64_t id = get(&c->page->owned[i].table);
        struct keeper_table *t = id != 0 ? table_by_id(k, id) : NULL;
        if (t == NULL || t->owner != c) {
            if (t != NULL && t->owner != NULL)
                reign_ring(t->owner);
            if (id != 0)
                owned_remove(c->page, i, id);
            continue;
        }
        t->owned_entry = i;
        if (inherit(k, t, c) < 0) { /* busy, or we are short of something: later */
            busy = true;
            put_off(k, t);
            continue;
        }
        tables++;
        t = table_by_id(k, id); /* it may have been destroyed */
        if (t != NULL && t->owner == NULL)
            reign_grant(k, t);
    }
    if (!busy && c->owns != 0) /* its page is its own to damage: the set does not name all that it owned */
        busy = !end_unnamed(k, c);
    k->noting = false;
    uint64_t us = (clock_mono_ns() - since_ns) / 1000;
    if (c->ready && (tables > 0 || (first && !busy)))
        keeper_log(k, HEIR_LOG_NOTICE, "client %lu (%s, pid %d) %s: %lu %s in %lu us", (unsigned long)c->id, c->name,
                   c->page->pid, closing ? "left" : "died", (unsigned long)tables,
                   tables == 1 ? "table reclaimed" : "tables reclaimed", (unsigned long)us);
    keeper_tell_notes(k);
    if (!busy)
        forget(k, c);
}

/* The kernel has missed a robust list: the client may have died while it was writing to any public table. Thread ids
 * are of the client's pid namespace: one that another living client has, too, proves nothing. */
static void bury_public(struct heir_keeper *k, const struct keeper_client *dead)
{
    struct keeper_table *t;

    if (thread_of_other(k, dead, (uint32_t)dead->page->tid))
        return;
    cds_list_for_each_entry(t, &k->tables, all) {
        if (t->page->access == HEIR_PUBLIC && robust_holder(&t->page->writer.mutex) == (uint32_t)dead->page->tid)
            robust_bury(&t->page->writer.mutex);
    }
}

void reign_proven_dead(struct heir_keeper *k, struct keeper_client *c)
{
    uint64_t now = clock_mono_ns();
    bool missed = !c->proven && robust_holder(&c->page->life.mutex) != 0;
    if (missed)
        bury_public(k, c);
    if (missed)
        keeper_log(k, HEIR_LOG_NOTICE,
                   "client %lu (%s, pid %d): its process has ended, and the kernel has not released its mutexes",
                   (unsigned long)c->id, c->name, c->page->pid);
    c->proven = true;
    reign_end_client(k, c, now);
}

void reign_retry(struct heir_keeper *k)
{
    struct keeper_table *t, *next_table;
    struct keeper_client *c, *next;

    cds_list_for_each_entry_safe(t, next_table, &k->tables, all)
        t->unsettled = false;
    cds_list_for_each_entry_safe(c, next, &k->clients, all) {
        if (c->dying)
            reign_end_client(k, c, clock_mono_ns());
    }
    cds_list_for_each_entry(t, &k->tables, all) {
        if (t->owner == NULL && !cds_list_empty(&t->line))
            reign_grant(k, t);
    }
}

void reign_adopt(struct heir_keeper *k, struct keeper_table *t)
{
    uint64_t word = get(&t->page->owner), id = owner_id(word);

    set_owner(t, id != HEIR_KEEPER ? client_by_id(k, id) : NULL);
    if (id == HEIR_KEEPER || t->owner != NULL)
        return;
    /* the owner's page is gone: it ended, and the keeper died after it had settled the rest */
    int r = settle_begin(k, t);
    if (r == -EBUSY) {
        put_off(k, t);
        return;
    }
    if (r < 0)
        return;
    struct settings settings;
    settings_read(t->page, &settings);
    if (strcmp(settings.heir, HEIR_NOBODY) == 0) {
        destroy_locked(k, t);
        return;
    }
    transfer(k, t, NULL, HEIR_INHERITED, settings.data, settings.data_len);
    writer_unlock(t->page);
}

/* ---- Pins --------------------------------------------------------------------------------------------- */

static struct pin_note *pin_note_new(struct keeper_table *t, struct keeper_client *c, unsigned slot, uint64_t txn)
{
    struct pin_note *pin = malloc(sizeof *pin);
    if (pin == NULL)
        return NULL;
    *pin = (struct pin_note){.client = c, .table = t, .slot = slot, .txn = txn};
    cds_list_add_tail(&pin->list, &t->pins);
    cds_list_add_tail(&pin->mine, &c->pins);
    return pin;
}

void pin_note_free(struct pin_note *pin)
{
    cds_list_del(&pin->list);
    cds_list_del(&pin->mine);
    free(pin);
}

static void pin_floor_set(struct keeper_table *t)
{
    struct pin_note *pin;
    uint64_t floor = 0;
    cds_list_for_each_entry(pin, &t->pins, list) {
        if (pin->txn < get(&t->page->view.horizon))
            continue; /* broken: it must not hide those that hold */
        if (floor == 0 || pin->txn < floor)
            floor = pin->txn;
    }
    atomic_store_explicit(&t->page->pin_floor, floor, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
}

static void unpin(struct pin_note *pin)
{
    struct keeper_table *t = pin->table;
    struct pin *noted = &pin->client->page->pins[pin->slot];
    if (get(&noted->table) == t->id)
        set(&noted->table, 0);
    pin_note_free(pin);
    pin_floor_set(t);
}

int reign_pin(struct heir_keeper *k, struct keeper_table *t, struct keeper_client *c, uint64_t *txn)
{
    unsigned slot = 0;
    uint64_t next;

    (void)k;
    while (slot < PINS_A_CLIENT && get(&c->page->pins[slot].table) != 0)
        slot++;
    if (slot == PINS_A_CLIENT)
        return -EBUSY;
    struct pin_note *pin = pin_note_new(t, c, slot, 0);
    if (pin == NULL)
        return -ENOMEM;
    do { /* see history.c: the writer may be about to let this very state go */
        *txn = pin->txn = get(&t->page->view.committed);
        set(&c->page->pins[slot].txn, *txn);
        set(&c->page->pins[slot].table, t->id);
        pin_floor_set(t);
        next = atomic_load_explicit(&t->page->ledger.next_horizon, memory_order_seq_cst);
    } while (next > *txn && next <= get(&t->page->view.committed));
    if (next <= *txn)
        return 0;
    unpin(pin); /* the horizon is never beyond the last commit: the table is damaged */
    return -EUCLEAN;
}

int reign_unpin(struct keeper_table *t, struct keeper_client *c, uint64_t txn)
{
    struct pin_note *pin;

    cds_list_for_each_entry(pin, &c->pins, mine) {
        if (pin->table == t && pin->txn == txn) {
            unpin(pin);
            return 0;
        }
    }
    return -ENOENT;
}

static void drop_pins(struct keeper_client *c)
{
    struct pin_note *pin, *next;
    cds_list_for_each_entry_safe(pin, next, &c->pins, mine)
        unpin(pin);
}

void reign_pins_looked_at(struct keeper_client *c)
{
    struct pin_note *pin, *next;
    cds_list_for_each_entry_safe(pin, next, &c->pins, mine) {
        if (get(&c->page->pins[pin->slot].table) != pin->table->id)
            unpin(pin);
    }
}

void reign_pin_again(struct heir_keeper *k, struct keeper_client *c)
{
    for (unsigned slot = 0; slot < PINS_A_CLIENT; slot++) {
        const struct pin *noted = &c->page->pins[slot];
        struct keeper_table *t = table_by_id(k, get(&noted->table));
        if (t == NULL || pin_note_new(t, c, slot, get(&noted->txn)) == NULL)
            set(&c->page->pins[slot].table, 0);
    }
}

void reign_pins_known(struct heir_keeper *k)
{
    struct keeper_table *t;
    cds_list_for_each_entry(t, &k->tables, all)
        pin_floor_set(t);
}
