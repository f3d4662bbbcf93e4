/* SPDX-License-Identifier: MIT */
/* Who owns a table; see owner.h. */
#include "owner.h"
#include "bell.h"
#include "owned.h"
#include "probe.h"
#include "robust.h"
#include "shm.h"
#include "undo.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#define MAKE_WAY_MS    5
#define SETTINGS_TRIES 1000

int writer_lock(struct table_page *page, bool try_only)
{
    return try_only ? robust_try(&page->writer.mutex) : robust_lock(&page->writer.mutex);
}

int writer_lock_until(struct table_page *page, uint64_t deadline_ns)
{
    return robust_lock_until(&page->writer.mutex, deadline_ns);
}

int writer_repair(struct table_page *locked, struct store *whole)
{
    uint64_t undone;
    int r = undo_all(whole, &undone);
    if (r ==
        0) /* repaired first, then said so: killed in between, the next one repairs again and finds nothing to do */
        robust_repaired(&locked->writer.mutex);
    else
        robust_unlock(&locked->writer.mutex);
    return r;
}

void writer_unlock(struct table_page *page)
{
    robust_unlock(&page->writer.mutex);
}

void writer_wanted(struct table_page *page, bool wanted)
{
    if (peek(&page->wanted) != wanted)
        set(&page->wanted, wanted);
}

void writer_make_way(struct table_page *page)
{
    for (int i = 0; i < MAKE_WAY_MS * 10; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        if (get(&page->wanted) == 0)
            return;
    }
    set(&page->wanted, 0); /* the keeper is gone, or waits for one that is stopped; it will say so again */
}

static uint64_t end_word(enum heir_cause cause, int code)
{
    return (uint32_t)cause | (uint64_t)(uint32_t)code << 32;
}

enum heir_cause transfer_cause(const struct transfer *record, int *code)
{
    uint64_t end = peek(&record->end);
    *code = (int)(end >> 32);
    return (enum heir_cause)(uint32_t)end;
}

void owner_explain(struct table_page *page, enum heir_cause cause, int code)
{
    for (int i = 0; i < 2; i++) {
        word_t *end = &page->transfers[i].end;
        uint64_t open = end_word(CAUSE_PENDING, 0);
        if (peek(end) != open)
            continue;
        /* visible to others now: */
        VISIBLE();
        atomic_compare_exchange_strong(end, &open, end_word(cause, code)); /* else the table has gone on since */
    }
}

/* The record of the next epoch; nothing names it yet. */
static void transfer_write(struct table_page *page, uint64_t entry, const struct passing *how)
{
    uint64_t word = get(&page->owner), epoch = owner_epoch(word);
    struct transfer *last = &page->transfers[epoch & 1], *next = &page->transfers[(epoch + 1) & 1];

    /* undone in the epoch that ends now; what the keeper has not yet told anybody is passed on */
    uint64_t undone = get(&page->ledger.undone_epoch) == epoch ? get(&page->ledger.undone) : 0;
    if (owner_id(word) == HEIR_KEEPER && get(&last->epoch) == epoch)
        undone += last->undone;
    set(&next->epoch, 0);
    next->from = owner_id(word);
    next->reason = how->reason;
    next->data_len = (uint32_t)how->data_len;
    next->undone = undone;
    next->since_ns = clock_real_ns();
    next->entry = entry;
    set(&next->end, end_word(how->cause, how->code));
    if (how->data_len != 0)
        memmove(next->data, how->data, how->data_len);
    set(&next->epoch, epoch + 1);
}

static void owner_switch(struct table_page *page, uint64_t to, enum heir_reason reason)
{
    uint64_t word = get(&page->owner), epoch = owner_epoch(word) + 1;
    /* visible to others now: */
    set_ordered(&page->owner, owner_word(epoch, to));
    probe_transfer(page->head.id, epoch, owner_id(word), to, reason);
}

/* Where the table stands in its owner's set, as the record of this epoch tells; 0: unknown. */
static uint64_t own_entry(const struct table_page *page)
{
    uint64_t epoch = owner_epoch(get(&page->owner));
    const struct transfer *t = &page->transfers[epoch & 1];
    return get(&t->epoch) == epoch ? t->entry : 0;
}

void owner_pass_soon(const struct table_page *page, const struct party *to)
{
    prefetch_to_write(&page->owner);
    for (int i = 0; i < 2; i++)
        prefetch_to_write(&page->transfers[i]);
    prefetch_to_write(to->page->owned);
}

int owner_pass(struct table_page *page, const struct party *from, const struct party *to, const struct passing *how)
{
    uint64_t table = page->head.id, epoch = owner_epoch(get(&page->owner)), left = own_entry(page);
    int64_t entry = -1;

    if (epoch + 2 > EPOCH_MAX)
        return -EOVERFLOW;
    if (to->page != NULL) {
        if (get(&to->page->dead) != 0 || get(&to->page->closing) != 0)
            return -ESRCH;
        if ((entry = owned_add(to->page, table, epoch + 1)) < 0)
            return (int)entry;
    }
    transfer_write(page, (uint64_t)(entry + 1), how);
    owner_switch(page, to->id, how->reason);
    if (to->page != NULL) {
        if (to->later)
            bell_count_up(to->page);
        else
            bell_ring(to->page, to->bell);
        if (get_ordered(&to->page->dead) != 0) { /* who raised it may have read the set before we were in it */
            transfer_write(page, left, &(struct passing){.reason = how->reason});
            owner_switch(page, from->id, how->reason);
            owned_remove(to->page, table, (uint64_t)(entry + 1));
            return -ESRCH;
        }
    }
    if (from->page != NULL) /* last: until here the giver's own death is repaired through it */
        owned_remove(from->page, table, left);
    return 0;
}

int owner_first(struct table_page *page, const struct party *owner)
{
    int64_t entry = owned_add(owner->page, page->head.id, 1);
    if (entry < 0)
        return (int)entry;
    transfer_write(page, (uint64_t)(entry + 1), &(struct passing){.reason = HEIR_CLAIMED});
    owner_switch(page, owner->id, HEIR_CLAIMED);
    return 0;
}

bool transfer_read(const struct table_page *page, uint64_t epoch, struct transfer *record)
{
    const struct transfer *t = &page->transfers[epoch & 1];

    if (get(&t->epoch) != epoch)
        return false;
    memcpy(record, t, offsetof(struct transfer, data));
    if (record->data_len > HEIR_DATA_MAX)
        record->data_len = HEIR_DATA_MAX;
    memcpy(record->data, t->data, record->data_len);
    atomic_thread_fence(memory_order_acquire);
    return peek(&t->epoch) == epoch;
}

/* The first bytes of them. In a damaged table they may change all the time: then any are as good as others. */
static void settings_copy(const struct table_page *page, void *to, size_t bytes)
{
    unsigned tries = SETTINGS_TRIES;
    uint64_t version;
    do {
        version = get(&page->settings_version);
        memcpy(to, &page->settings[version & 1], bytes);
        atomic_thread_fence(memory_order_acquire);
    } while (peek(&page->settings_version) != version && --tries > 0);
}

void settings_read(const struct table_page *page, struct settings *settings)
{
    settings_copy(page, settings, sizeof *settings);
    settings->name[NAME_ROOM - 1] = settings->heir[NAME_ROOM - 1] = '\0';
    if (settings->data_len > HEIR_DATA_MAX)
        settings->data_len = 0;
}

void settings_name(const struct table_page *page, char name[NAME_ROOM])
{
    static_assert(offsetof(struct settings, name) == 0, "the first of them");
    settings_copy(page, name, NAME_ROOM);
    name[NAME_ROOM - 1] = '\0';
}

void settings_write(struct table_page *page, const struct settings *settings)
{
    uint64_t version = get(&page->settings_version);
    memcpy(&page->settings[(version + 1) & 1], settings, sizeof *settings);
    /* visible to others now: */
    set(&page->settings_version, version + 1);
}
