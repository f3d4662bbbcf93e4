/* SPDX-License-Identifier: MIT */
/* Owned sets; see owned.h. */
#include "owned.h"
#include "atomics.h"
#include "shm.h"
#include <errno.h>

#define SEARCHED 64 /* entries in a set that is small enough to be searched for a free one each time */

uint64_t owned_entries(const struct client_page *page)
{
    uint64_t count = get(&page->owned_count), room = get(&page->owned_room);
    if (room > CLIENT_OWNED_MAX)
        room = CLIENT_OWNED_MAX;
    return count < room ? count : room;
}

static void raise_to(word_t *word, uint64_t least)
{
    uint64_t value = peek(word);
    if (value < least)
        VISIBLE();
    while (value < least && !atomic_compare_exchange_weak(word, &value, least)) {
    }
}

/* Free, or an entry of this very table, which a giver that died has left. */
static bool usable(uint64_t word, uint64_t table)
{
    return word == 0 || owned_table(word) == table;
}

/* The first usable entry from `entry` on; `end` if there is none. */
static uint64_t find(const struct client_page *page, uint64_t entry, uint64_t end, uint64_t table)
{
    while (entry < end && !usable(get(&page->owned[entry]), table))
        entry++;
    return entry;
}

/* Memory for the entry. */
static int make_room(struct client_page *page, uint64_t entry)
{
    uint64_t start = offsetof(struct client_page, owned) + entry * sizeof(word_t); /* entries fill pages exactly */
    if (entry >= CLIENT_OWNED_MAX)
        return -ENOSPC;
    int r = shm_populate((uint8_t *)page + start, PAGE_BYTES);
    if (r == 0)
        raise_to(&page->owned_room, entry + PAGE_BYTES / sizeof(word_t));
    return r;
}

int64_t owned_add(struct client_page *page, uint64_t table, uint64_t epoch)
{
    for (;;) {
        uint64_t room = get(&page->owned_room), count = get(&page->owned_count);
        if (room > CLIENT_OWNED_MAX || count > room)
            return -EUCLEAN;
        /* a worker with many tables mostly adds at the end */
        uint64_t entry = find(page, count < SEARCHED ? 0 : count, room, table);
        if (entry == room && (entry = find(page, 0, room, table)) == room) {
            int r = make_room(page, entry);
            if (r < 0)
                return r;
        }
        uint64_t old = get(&page->owned[entry]);
        raise_to(&page->owned_count, entry + 1); /* before it is filled: who looks at it then finds it free */
        /* visible to others now: */
        VISIBLE();
        if (usable(old, table) && atomic_compare_exchange_strong(&page->owned[entry], &old, owned_word(table, epoch)))
            return (int64_t)entry;
    }
}

void owned_remove_entry(struct client_page *page, uint64_t entry, uint64_t word)
{
    /* visible to others now: */
    VISIBLE();
    atomic_compare_exchange_strong(&page->owned[entry], &word, 0);
}

void owned_remove(struct client_page *page, uint64_t table, uint64_t hint)
{
    uint64_t count = owned_entries(page);

    if (hint != 0 && hint <= count) {
        uint64_t word = get(&page->owned[hint - 1]);
        if (owned_table(word) == table) {
            owned_remove_entry(page, hint - 1, word);
            return;
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t word = get(&page->owned[i]);
        if (owned_table(word) == table)
            owned_remove_entry(page, i, word);
    }
}
