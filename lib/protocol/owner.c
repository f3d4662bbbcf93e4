/* SPDX-License-Identifier: MIT */
/* Who owns a table; see owner.h. */
#include "owner.h"
#include "robust.h"
#include "shm.h"
#include "undo.h"
#include <string.h>
#include <time.h>

#define MAKE_WAY_MS 5

int writer_lock(struct table_page *page, bool try_only)
{
    return try_only ? robust_try(&page->writer.mutex) : robust_lock(&page->writer.mutex);
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

void owner_switch(struct table_page *page, uint64_t to, enum heir_reason reason, const void *data, size_t data_len)
{
    uint64_t word = get(&page->owner), epoch = owner_epoch(word);
    struct transfer *last = &page->transfers[epoch & 1], *next = &page->transfers[(epoch + 1) & 1];

    /* undone in the epoch that ends now; what the keeper has not yet told anybody is passed on */
    uint64_t undone = get(&page->ledger.undone_epoch) == epoch ? get(&page->ledger.undone) : 0;
    if (owner_id(word) == HEIR_KEEPER && get(&last->epoch) == epoch)
        undone += last->undone;
    set(&next->epoch, 0);
    next->from = owner_id(word);
    next->reason = reason;
    next->data_len = (uint32_t)data_len;
    next->undone = undone;
    next->since_ns = clock_real_ns();
    if (data_len != 0)
        memmove(next->data, data, data_len);
    set(&next->epoch, epoch + 1);
    /* visible to others now: */
    atomic_store_explicit(&page->owner, owner_word(epoch + 1, to), memory_order_seq_cst);
}

bool transfer_read(const struct table_page *page, uint64_t epoch, struct transfer *record)
{
    const struct transfer *t = &page->transfers[epoch & 1];

    if (get(&t->epoch) != epoch)
        return false;
    memcpy(record, t, sizeof *record);
    if (record->data_len > HEIR_DATA_MAX)
        record->data_len = HEIR_DATA_MAX;
    atomic_thread_fence(memory_order_acquire);
    return peek(&t->epoch) == epoch;
}

void settings_read(const struct table_page *page, struct settings *settings)
{
    uint64_t version;
    do {
        version = get(&page->settings_version);
        memcpy(settings, &page->settings[version & 1], sizeof *settings);
        atomic_thread_fence(memory_order_acquire);
    } while (peek(&page->settings_version) != version);
    settings->name[NAME_ROOM - 1] = settings->heir[NAME_ROOM - 1] = '\0';
    if (settings->data_len > HEIR_DATA_MAX)
        settings->data_len = 0;
}

void settings_write(struct table_page *page, const struct settings *settings)
{
    uint64_t version = get(&page->settings_version);
    memcpy(&page->settings[(version + 1) & 1], settings, sizeof *settings);
    /* visible to others now: */
    set(&page->settings_version, version + 1);
}

int64_t owned_add(struct client_page *page, uint64_t table, uint64_t epoch)
{
    uint64_t count = get(&page->owned_count), room = get(&page->owned_room), entry = 0;

    if (room > CLIENT_OWNED_MAX || count > room) /* the page is the client's to damage */
        return -EUCLEAN;

    /* a worker with many tables mostly adds at the end; one with few is cheap to search */
    if (count >= 64)
        entry = count;
    while (entry < count && get(&page->owned[entry].table) != 0)
        entry++;
    if (entry == get(&page->owned_room)) {
        for (entry = 0; entry < count && get(&page->owned[entry].table) != 0; entry++) {
        }
    }
    if (entry == get(&page->owned_room)) {
        if (entry == CLIENT_OWNED_MAX)
            return -ENOSPC;
        uint64_t start = offsetof(struct client_page, owned) + entry * sizeof(struct owned);
        int r = shm_populate((uint8_t *)page + start, PAGE_BYTES); /* entries fill pages exactly */
        if (r < 0)
            return r;
        set(&page->owned_room, entry + PAGE_BYTES / sizeof(struct owned));
    }
    set(&page->owned[entry].epoch, epoch);
    /* visible to others now: */
    set(&page->owned[entry].table, table);
    if (entry >= count)
        set(&page->owned_count, entry + 1);
    return (int64_t)entry;
}

void owned_remove(struct client_page *page, uint64_t entry, uint64_t table)
{
    if (entry < get(&page->owned_count) && get(&page->owned[entry].table) == table)
        set(&page->owned[entry].table, 0);
}
