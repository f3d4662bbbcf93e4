/* SPDX-License-Identifier: MIT */
/*
 * Pins: committed states that are held for readers. The client's page tells the next keeper of them, the table's floor
 * tells its writer; this keeper notes for itself what it has granted, since pages are the clients' to damage.
 */
#include "atomics.h"
#include "probe.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <stdlib.h>

#define TRIES 1000 /* a writer commits a few times between two looks at most */

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

static void pin_note_free(struct pin_note *pin)
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
    set_ordered(&t->page->pin_floor, floor);
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

int pin_grant(struct keeper_table *t, struct keeper_client *c, uint64_t *txn)
{
    unsigned slot = 0, tries = TRIES;
    uint64_t next;
    struct pin_note *mine, *after;

    while (slot < PINS_A_CLIENT && get(&c->page->pins[slot].table) != 0)
        slot++;
    if (slot == PINS_A_CLIENT)
        return -EBUSY;
    /* one that its client has taken back by itself: so there are never more notes than slots */
    cds_list_for_each_entry_safe(mine, after, &c->pins, mine) {
        if (mine->slot == slot)
            unpin(mine);
    }
    struct pin_note *pin = pin_note_new(t, c, slot, 0);
    if (pin == NULL)
        return -ENOMEM;
    set(&c->page->pins[slot].since_ns, clock_real_ns());
    do { /* see history.c: the writer may be about to let this very state go */
        *txn = pin->txn = get(&t->page->view.committed);
        set(&c->page->pins[slot].txn, *txn);
        set(&c->page->pins[slot].table, t->id);
        pin_floor_set(t);
        next = get_ordered(&t->page->ledger.next_horizon);
    } while (next > *txn && next <= get(&t->page->view.committed) && --tries > 0);
    if (next <= *txn) {
        probe_pin(t->id, c->id, *txn);
        return 0;
    }
    unpin(pin); /* the horizon is never beyond the last commit, nor on the heels of each: the table is damaged */
    return -EUCLEAN;
}

int pin_release(struct keeper_table *t, struct keeper_client *c, uint64_t txn)
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

void pins_drop(struct keeper_client *c)
{
    struct pin_note *pin, *next;
    cds_list_for_each_entry_safe(pin, next, &c->pins, mine)
        unpin(pin);
}

void pins_looked_at(struct keeper_client *c)
{
    struct pin_note *pin, *next;
    cds_list_for_each_entry_safe(pin, next, &c->pins, mine) {
        if (get(&c->page->pins[pin->slot].table) != pin->table->id)
            unpin(pin);
    }
}

void pins_again(struct heir_keeper *k, struct keeper_client *c)
{
    for (unsigned slot = 0; slot < PINS_A_CLIENT; slot++) {
        const struct pin *noted = &c->page->pins[slot];
        struct keeper_table *t = table_by_id(k, get(&noted->table));
        if (t == NULL || pin_note_new(t, c, slot, get(&noted->txn)) == NULL)
            set(&c->page->pins[slot].table, 0);
    }
}

void pins_known(struct heir_keeper *k)
{
    struct keeper_table *t;
    cds_list_for_each_entry(t, &k->tables, all)
        pin_floor_set(t);
}

void pins_forget(struct keeper_table *t)
{
    struct pin_note *pin, *next;
    cds_list_for_each_entry_safe(pin, next, &t->pins, list)
        pin_note_free(pin);
}

void pins_destroyed(struct keeper_table *t)
{
    struct pin_note *pin;
    cds_list_for_each_entry(pin, &t->pins, list)
        set(&pin->client->page->pins[pin->slot].table, 0);
    pins_forget(t);
}
