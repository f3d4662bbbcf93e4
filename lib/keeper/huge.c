/* SPDX-License-Identifier: MIT */
/*
 * Huge pages: a thread that asks the kernel to make each 2 MiB of a table that are all in use one page.
 *
 * An operation on a large table looks at three or four places far from each other, and with 4 KiB pages finding their
 * addresses costs more than reading them; a process that maps a table anew, as every heir does, takes one page fault
 * for 2 MiB instead of 512. MADV_COLLAPSE (Linux 6.1) does it for memory that is there, whatever the system's setting
 * for transparent huge pages is, and takes no memory that is not in use already. It is a hint: where it fails nothing
 * is lost. While 2 MiB are copied, who touches them waits, some hundred microseconds once; so it is done here, once for
 * each part, and not while the table grows.
 *
 * The mapping through which that is done is kept: rolling back what a dead owner had begun in a large table would spend
 * more time on page faults than on all else.
 */
#include "shm.h"
#include "space.h"
#include "state.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define WHOLES_MOST   64 /* mappings of whole tables that are kept */
#define LOOK_EVERY_MS 250
#define PART_MOST     (16 * SHM_HUGE) /* then it is looked again whether the table grows */

/* A part of a table that is worth the while. */
struct part {
    uint64_t table, from, to;
    uint8_t *base; /* of the table; while it is worked on the mapping is this thread's */
    uint64_t bytes;
    char name[NAME_ROOM];
};

static uint64_t down(uint64_t bytes)
{
    return bytes / SHM_HUGE * SHM_HUGE;
}

static uint64_t up(uint64_t bytes)
{
    return down(bytes + SHM_HUGE - 1);
}

/* What comes next of this table: of the front, then of the heap. The lock is held. */
static bool next_part(struct keeper_table *t, struct part *part)
{
    const struct store s = {
        .base = (uint8_t *)t->page, .bytes = t->max_bytes, .heap_first = space_heap_first(t->max_bytes)};
    uint64_t heap = up(s.heap_first * PAGE_BYTES), front = down(space_front(&s)), limit = down(readable(&s));

    *part = (struct part){.table = t->id, .from = t->huge_front, .to = front < heap ? front : heap};
    if (part->from >= part->to)
        *part = (struct part){.table = t->id, .from = t->huge_heap > heap ? t->huge_heap : heap, .to = limit};
    if (part->to > part->from + PART_MOST)
        part->to = part->from + PART_MOST;
    memcpy(part->name, t->name, sizeof part->name);
    return part->from < part->to && part->to <= t->max_bytes;
}

static void part_done(struct keeper_table *t, const struct part *part)
{
    if (part->from < up(space_heap_first(t->max_bytes) * PAGE_BYTES))
        t->huge_front = part->to;
    else
        t->huge_heap = part->to;
}

/* Has the table grown since we last looked? */
static bool grows(struct keeper_table *t)
{
    uint64_t limit = get(&t->page->view.limit), before = t->huge_limit;
    t->huge_limit = limit;
    return limit != before;
}

static bool find_part(struct heir_keeper *k, struct part *part)
{
    struct keeper_table *t;
    cds_list_for_each_entry(t, &k->tables, all) {
        if (t->max_bytes >= 2 * SHM_HUGE && !grows(t) && next_part(t, part)) {
            part->bytes = t->max_bytes;
            part->base = t->whole;
            k->wholes -= t->whole != NULL;
            t->whole = NULL;
            return true;
        }
    }
    return false;
}

/* Leave the mapping to the table, if it is still there, and has been mapped with few others. The lock is held. */
static void leave_part(struct heir_keeper *k, const struct part *part)
{
    struct keeper_table *t = table_by_id(k, part->table);

    if (t != NULL)
        part_done(t, part);
    if (t != NULL && part->base != NULL && k->wholes < WHOLES_MOST) {
        t->whole = part->base;
        k->wholes++;
    } else if (part->base != NULL) {
        munmap(part->base, part->bytes);
    }
}

/* NULL: it has been renamed or destroyed meanwhile, or is another one of that name. */
static uint8_t *map_table(const struct heir_keeper *k, const struct part *part)
{
    char name[SHM_NAME_ROOM];
    struct stat st;

    shm_name(name, k->ns, 't', part->name);
    int fd = shm_open_object(name, true);
    if (fd < 0)
        return NULL;
    bool whole = fstat(fd, &st) == 0 && (uint64_t)st.st_size == part->bytes;
    uint8_t *base = whole ? shm_map(fd, part->bytes, true) : NULL;
    close(fd);
    if (base != NULL && ((const struct table_page *)(const void *)base)->head.id != part->table) {
        munmap(base, part->bytes);
        return NULL;
    }
    return base;
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

static void collapse(struct heir_keeper *k, struct part *part)
{
    if (part->base == NULL && (part->base = map_table(k, part)) == NULL)
        return;
    for (uint64_t at = part->from; at < part->to && !atomic_load(&k->huge_stop); at += SHM_HUGE) {
        if (madvise(part->base + at, SHM_HUGE, MADV_COLLAPSE) == 0)
            shm_populate(part->base + at, SHM_HUGE); /* it is there; now also in our page table */
    }
}

static void *work(void *arg)
{
    struct heir_keeper *k = arg;
    struct timespec until;
    struct part part;
    bool probed = false;
    int r = 0;

    fault_thread(true);
    pthread_mutex_lock(&k->lock);
    while (!atomic_load(&k->huge_stop) && r == 0) {
        if (find_part(k, &part)) {
            pthread_mutex_unlock(&k->lock);
            r = probed ? 0 : probe();
            probed = true;
            if (r == 0)
                collapse(k, &part);
            pthread_mutex_lock(&k->lock);
            leave_part(k, &part);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_EVERY_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&k->huge_wake, &k->lock, &until);
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
