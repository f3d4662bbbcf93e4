/* SPDX-License-Identifier: MIT */
/*
 * Huge pages: a thread that asks the kernel to make each 2 MiB of a table that are all in use one page.
 *
 * An operation on a large table looks at three or four places far from each other, and with 4 KiB pages finding their
 * addresses costs more than reading them; a process that maps a table anew, as every heir does, takes one page fault
 * for 2 MiB instead of 512. MADV_COLLAPSE (Linux 6.1) does it for memory that is there, whatever the system's setting
 * for transparent huge pages is. It is a hint: where it fails nothing is lost. While 2 MiB are copied, who touches them
 * waits, some hundred microseconds once; so it is done here, once for each part, and not while the table grows. A large
 * table that grows is given huge pages ahead instead: its writer neither asks for memory page by page nor waits.
 *
 * The mapping through which that is done is kept, and that of a repair: rolling back what a dead owner had begun would
 * spend more time on page faults than on all else.
 */
#include "shm.h"
#include "space.h"
#include "state.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define WHOLES_MOST    64 /* mappings of whole tables that are kept */
#define LOOK_EVERY_MS  250
#define PART_MOST      (16 * SHM_HUGE) /* then it is looked again whether the table grows */

#define GROWING_MOST   8 /* tables that are given memory ahead at a time */
#define AHEAD_EVERY_MS 4
#define AHEAD_SHARE    16 /* of what the table has */

/* A part of a table that is worth the while. */
struct part {
    uint64_t table, from, to;
    uint8_t *base; /* of the table; while it is worked on the mapping is this thread's */
    uint64_t bytes;
    char name[NAME_ROOM];
    bool ahead; /* it is not in use yet, and has no memory */
};

/* Tables that had grown when all were last looked at; 0: none. */
struct growing {
    uint64_t tables[GROWING_MOST];
    uint64_t ahead_ns, look_ns; /* CLOCK_MONOTONIC: when these, and all tables, are looked at again */
};

static uint64_t down(uint64_t bytes)
{
    return bytes / SHM_HUGE * SHM_HUGE;
}

static uint64_t up(uint64_t bytes)
{
    return down(bytes + SHM_HUGE - 1);
}

static void part_of(struct keeper_table *t, struct part *part)
{
    part->table = t->id;
    part->bytes = t->max_bytes;
    memcpy(part->name, t->name, sizeof part->name);
}

/* What comes next of this table: of the front, then of the heap. The lock is held. */
static bool next_part(struct keeper_table *t, struct part *part)
{
    const struct store s = {
        .base = (uint8_t *)t->page, .bytes = t->max_bytes, .heap_first = space_heap_first(t->max_bytes)};
    uint64_t heap = up(s.heap_first * PAGE_BYTES), front = down(space_front(&s)), limit = down(readable(&s));

    *part = (struct part){.from = t->huge_front, .to = front < heap ? front : heap};
    if (part->from >= part->to)
        *part = (struct part){.from = t->huge_heap > heap ? t->huge_heap : heap, .to = limit};
    if (part->to > part->from + PART_MOST)
        part->to = part->from + PART_MOST;
    part_of(t, part);
    return part->from < part->to && part->to <= t->max_bytes;
}

/* What a table that grows will need next, and is not ahead yet. The end of the table is left to its undo log. What is
 * taken of it is in use long afterwards, so the ledger's frontier counts and not the limit. */
static bool next_ahead(struct keeper_table *t, struct part *part)
{
    uint64_t heap = space_heap_first(t->max_bytes), used = get(&t->page->ledger.frontier);
    uint64_t limit = get(&t->page->view.limit), end = ahead_end(t->huge_ahead);
    uint64_t last = t->max_bytes / PAGE_BYTES - t->max_bytes / PAGE_BYTES / AHEAD_SHARE;

    if (used < heap || used > limit || limit > last) /* in this order, whatever its owner has written */
        return false;
    if (end < limit)
        end = limit;
    uint64_t more = (used - heap) / AHEAD_SHARE;
    if (more > SPACE_AHEAD_MOST)
        more = SPACE_AHEAD_MOST;
    if (end > used + more / 2) /* rather some at once than one after another */
        return false;
    uint64_t to = used + more < last ? used + more : last;
    *part = (struct part){.from = up(end * PAGE_BYTES), .to = down(to * PAGE_BYTES), .ahead = true};
    part_of(t, part);
    return part->from < part->to;
}

static void part_done(struct keeper_table *t, const struct part *part)
{
    if (part->ahead) {
        uint64_t had = t->huge_ahead, from = part->from / PAGE_BYTES;
        if (part->to > part->from) /* it may go on where the last one ended */
            t->huge_ahead = ahead_word(ahead_end(had) == from ? ahead_first(had) : from, part->to / PAGE_BYTES);
        set(&t->page->ahead, t->huge_ahead);
        return;
    }
    if (part->from < up(space_heap_first(t->max_bytes) * PAGE_BYTES))
        t->huge_front = part->to;
    else
        t->huge_heap = part->to;
}

/* Has the table grown since we last looked? */
static bool grows(struct growing *g, struct keeper_table *t)
{
    uint64_t used = get(&t->page->ledger.frontier), before = t->huge_used, *room = NULL;

    t->huge_used = used;
    for (unsigned i = 0; i < GROWING_MOST; i++) {
        if (g->tables[i] == t->id || (g->tables[i] == 0 && room == NULL))
            room = &g->tables[i];
        if (g->tables[i] == t->id)
            break;
    }
    if (room != NULL && (used != before || *room == t->id))
        *room = used != before ? t->id : 0;
    return used != before;
}

/* The mapping is this thread's for now. */
static void take_part(struct heir_keeper *k, struct keeper_table *t, struct part *part)
{
    part->base = t->whole;
    k->wholes -= t->whole != NULL;
    t->whole = NULL;
}

static bool find_ahead(struct heir_keeper *k, struct growing *g, struct part *part)
{
    for (unsigned i = 0; i < GROWING_MOST; i++) {
        struct keeper_table *t = g->tables[i] != 0 ? table_by_id(k, g->tables[i]) : NULL;
        if (t == NULL) {
            g->tables[i] = 0;
        } else if (next_ahead(t, part)) {
            take_part(k, t, part);
            return true;
        }
    }
    return false;
}

static void forget(struct growing *g, uint64_t table)
{
    for (unsigned i = 0; i < GROWING_MOST; i++) {
        if (g->tables[i] == table)
            g->tables[i] = 0;
    }
}

static bool any(const struct growing *g)
{
    for (unsigned i = 0; i < GROWING_MOST; i++) {
        if (g->tables[i] != 0)
            return true;
    }
    return false;
}

static bool find_part(struct heir_keeper *k, struct growing *g, struct part *part)
{
    struct keeper_table *t;

    cds_list_for_each_entry(t, &k->tables, all) {
        if (t->max_bytes >= 2 * SHM_HUGE && !grows(g, t) && next_part(t, part)) {
            take_part(k, t, part);
            return true;
        }
    }
    return false;
}

void huge_keep(struct heir_keeper *k, struct keeper_table *t, uint8_t *whole)
{
    if (t->whole == NULL && k->wholes < WHOLES_MOST) {
        t->whole = whole;
        k->wholes++;
    } else {
        munmap(whole, t->max_bytes);
    }
}

/* The table may be gone. The lock is held. */
static void leave_part(struct heir_keeper *k, const struct part *part)
{
    struct keeper_table *t = table_by_id(k, part->table);

    if (t != NULL)
        part_done(t, part);
    if (part->base == NULL)
        return;
    if (t != NULL)
        huge_keep(k, t, part->base);
    else
        munmap(part->base, part->bytes);
}

/* In vain: it has been renamed or destroyed meanwhile, or is another one of that name. */
static void map_part(const struct heir_keeper *k, struct part *part)
{
    char name[SHM_NAME_ROOM];
    struct stat st;

    shm_name(name, k->ns, 't', part->name);
    int fd = part->base == NULL ? shm_open_object(name, true) : -1;
    if (fd < 0)
        return;
    bool whole = fstat(fd, &st) == 0 && (uint64_t)st.st_size == part->bytes;
    part->base = whole ? shm_map(fd, part->bytes, true) : NULL;
    close(fd);
    if (part->base != NULL && ((const struct table_page *)(const void *)part->base)->head.id != part->table) {
        munmap(part->base, part->bytes);
        part->base = NULL;
    }
}

/* Is there such a thing here? Asked with memory of our own: of a client's the same errors may mean anything. */
static int probe(void)
{
    int fd = memfd_create("heir", MFD_CLOEXEC), r = 0;
    void *base = fd >= 0 && ftruncate(fd, (off_t)SHM_HUGE) == 0 ? shm_map(fd, SHM_HUGE, true) : NULL;

    if (base != NULL && shm_populate(base, SHM_HUGE) == 0 && madvise(base, SHM_HUGE, MADV_COLLAPSE) < 0)
        r = errno == EINVAL || errno == EPERM ? -errno : 0;
    if (base != NULL)
        munmap(base, SHM_HUGE);
    if (fd >= 0)
        close(fd);
    return r;
}

/* The last eighth is for what cannot do without. */
static bool scarce(void)
{
    struct statvfs room;

    return statvfs(SHM_FOLDER, &room) < 0 || room.f_bavail < room.f_blocks / 8;
}

static void collapse(struct heir_keeper *k, struct part *part)
{
    map_part(k, part);
    for (uint64_t at = part->from; part->base != NULL && at < part->to && !atomic_load(&k->huge_stop); at += SHM_HUGE) {
        if (madvise(part->base + at, SHM_HUGE, MADV_COLLAPSE) == 0)
            shm_populate(part->base + at, SHM_HUGE); /* it is there; now also in our page table */
    }
}

/* The page descriptors of what is ahead, then itself: a page of each 2 MiB, the rest of which comes with the huge page
 * that it is collapsed into. That takes an eighth of the time that collapsing 512 pages does. All in one call:
 * MADV_COLLAPSE begins with a word to every core, the writer's among them. */
static bool back(const struct part *part)
{
    const struct store s = {.heap_first = space_heap_first(part->bytes)};
    uint64_t front = space_front_of(&s, part->from / PAGE_BYTES) - PAGE_BYTES, bytes = part->to - part->from;
    uint8_t *ahead = part->base + part->from;

    for (uint64_t at = 0; at < bytes; at += SHM_HUGE) {
        if (shm_populate(ahead + at, PAGE_BYTES) < 0)
            return false;
    }
    return shm_populate(part->base + front, space_front_of(&s, part->to / PAGE_BYTES) - front) == 0 &&
           madvise(ahead, bytes, MADV_COLLAPSE) == 0 && shm_populate(ahead, bytes) == 0;
}

static void back_ahead(const struct heir_keeper *k, struct part *part)
{
    map_part(k, part);
    if (part->base == NULL || scarce() || !back(part))
        part->to = part->from;
}

static void wait_until_ns(struct heir_keeper *k, uint64_t at)
{
    struct timespec until = timespec_of(at);
    pthread_cond_timedwait(&k->huge_wake, &k->lock, &until);
}

static void *work(void *arg)
{
    struct heir_keeper *k = arg;
    struct growing growing = {0};
    struct part part;
    bool probed = false;
    int r = 0;

    fault_thread(true);
    pthread_mutex_lock(&k->lock);
    while (!atomic_load(&k->huge_stop) && r == 0) {
        uint64_t now = clock_mono_ns();
        bool look = now >= growing.look_ns;
        if ((now >= growing.ahead_ns && find_ahead(k, &growing, &part)) || (look && find_part(k, &growing, &part))) {
            pthread_mutex_unlock(&k->lock);
            r = probed ? 0 : probe();
            probed = true;
            if (r == 0 && part.ahead)
                back_ahead(k, &part);
            else if (r == 0)
                collapse(k, &part);
            pthread_mutex_lock(&k->lock);
            leave_part(k, &part);
            if (part.ahead) /* whatever its owner writes, there is time for others */
                growing.ahead_ns = clock_mono_ns() + AHEAD_EVERY_MS * UINT64_C(1000000);
            if (part.from == part.to) /* there is no memory, or no huge page: not before all are looked at again */
                forget(&growing, part.table);
            continue;
        }
        if (look)
            growing.look_ns = now + LOOK_EVERY_MS * UINT64_C(1000000);
        wait_until_ns(k, any(&growing) ? now + AHEAD_EVERY_MS * UINT64_C(1000000) : growing.look_ns);
    }
    if (r < 0)
        keeper_log(k, HEIR_LOG_DEBUG, "this system makes no huge pages of shared memory: %s", heir_strerror(r));
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

int huge_start(struct heir_keeper *k)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->huge_wake, &attr);
    pthread_condattr_destroy(&attr);
    k->huge_running = pthread_create(&k->huge_thread, NULL, work, k) == 0;
    if (!k->huge_running)
        pthread_cond_destroy(&k->huge_wake);
    return k->huge_running ? 0 : -ENOMEM;
}

void huge_stop(struct heir_keeper *k)
{
    if (!k->huge_running)
        return;
    pthread_mutex_lock(&k->lock);
    atomic_store(&k->huge_stop, true);
    pthread_cond_signal(&k->huge_wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->huge_thread, NULL);
    pthread_cond_destroy(&k->huge_wake);
    k->huge_running = false;
}
