/* SPDX-License-Identifier: MIT */
/*
 * Ticks, as perf's ring of records has them: one of each, with its time. See perf_event_open(2); root may, and others
 * where kernel.perf_event_paranoid allows it.
 */
#include "ticks.h"
#include "common.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES (UINT64_C(1) << 18)

struct ticks {
    struct perf_event_mmap_page *page; /* and the ring behind it */
    const uint8_t *ring;
    size_t mapped;
};

/* What the processor's own timer has: x86 has a vector for it, elsewhere it is one timer of high resolution of many. 0:
 * no such event. */
static unsigned long long event_id(void)
{
    static const char *const paths[] = {"/sys/kernel/tracing/events/irq_vectors/local_timer_entry/id",
                                        "/sys/kernel/tracing/events/timer/hrtimer_expire_entry/id"};

    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        unsigned long long id;
        FILE *file = fopen(paths[i], "re");
        bool read = file != NULL && fscanf(file, "%llu", &id) == 1;
        if (file != NULL)
            fclose(file);
        if (read)
            return id;
    }
    return 0;
}

struct ticks *ticks_open(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT,
                                   .size = sizeof attr,
                                   .sample_period = 1,
                                   .sample_type = PERF_SAMPLE_TIME,
                                   .use_clockid = 1,
                                   .clockid = CLOCK_MONOTONIC};
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), bytes = page_bytes + RING_BYTES;
    struct ticks *t;
    void *page;
    int fd;

    if ((attr.config = event_id()) == 0)
        return NULL;
    fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return NULL;
    page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd); /* the mapping keeps it */
    if (page == MAP_FAILED)
        return NULL;
    t = must(malloc(sizeof *t));
    *t = (struct ticks){.page = page, .ring = (uint8_t *)page + page_bytes, .mapped = bytes};
    return t;
}

void ticks_close(struct ticks *t)
{
    if (t == NULL)
        return;
    munmap(t->page, t->mapped);
    free(t);
}

bool ticks_between(struct ticks *t, uint64_t from, uint64_t to)
{
    uint64_t head, tail, time;
    bool met = false;

    if (t == NULL)
        return false;
    head = __atomic_load_n(&t->page->data_head, __ATOMIC_ACQUIRE);
    for (tail = t->page->data_tail; tail < head;) {
        struct perf_event_header header; /* all is in words of 8 bytes, so the ring's end divides none */
        memcpy(&header, t->ring + tail % RING_BYTES, sizeof header);
        memcpy(&time, t->ring + (tail + sizeof header) % RING_BYTES, sizeof time);
        if (header.type == PERF_RECORD_SAMPLE && time > to)
            break;
        met |= header.type == PERF_RECORD_SAMPLE && time >= from;
        tail += header.size;
    }
    __atomic_store_n(&t->page->data_tail, tail, __ATOMIC_RELEASE);
    return met;
}
