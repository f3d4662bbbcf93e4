/* SPDX-License-Identifier: MIT */
/*
 * The keeper's journal and counters, as others read them; see heir/inspect.h, and struct journal_entry for how.
 *
 * They are read from the file and not through a mapping: a hole in it, where a keeper had no memory for its journal,
 * would be filled by looking at it.
 */
#include "atomics.h"
#include "client.h"
#include "counters.h"
#include "shm.h"
#include <errno.h>
#include <heir/inspect.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert(COUNTERS_USED <= COUNTERS_ROOM, "format");

static bool take(int fd, void *to, size_t bytes, size_t from)
{
    return pread(fd, to, bytes, (off_t)from) == (ssize_t)bytes;
}

/* The namespace's object, whose first page is copied. The descriptor; -ENOENT: there is none. */
static int open_space(const char *ns_option, struct space_page *page)
{
    char ns[NAME_ROOM], object[SHM_NAME_ROOM];
    struct stat st;
    int r = name_space(ns_option, ns);

    if (r < 0)
        return r;
    shm_name(object, ns, 'k', NULL);
    int fd = shm_open_object(object, false);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || st.st_size == 0)
        r = -ENOENT; /* on its way in */
    else if (!take(fd, page, sizeof *page, 0))
        r = -EUCLEAN;
    else if ((r = head_check(&page->head, SPACE_MAGIC, (uint64_t)st.st_size, PAGE_BYTES)) == -EAGAIN)
        r = -ENOENT;
    else if (r == 0 && (uint64_t)st.st_size < SPACE_BYTES) /* an earlier version's */
        set(&page->journal_last, 0);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* false: it is being overwritten, or has been. */
static bool read_entry(int fd, uint64_t n, struct journal_entry *e)
{
    size_t at = sizeof(struct space_page) + n % JOURNAL_ENTRIES * sizeof *e;
    uint64_t after;

    if (!take(fd, e, sizeof *e, at) || peek(&e->sequence) != n)
        return false;
    atomic_thread_fence(memory_order_acquire);
    return take(fd, &after, sizeof after, at) && after == n;
}

static void show(const struct journal_entry *e, struct heir_happening *h)
{
    h->sequence = peek(&e->sequence);
    h->when_ns = e->when_ns;
    h->kind = (enum heir_happened)e->kind;
    h->reason = (enum heir_reason)e->reason;
    h->cause = (enum heir_cause)e->cause;
    h->code = e->code;
    h->table = e->table;
    h->epoch = e->epoch;
    h->from = e->from;
    h->to = e->to;
    h->undone = e->undone;
    h->reclaim_ns = e->reclaim_ns;
    h->count = e->count;
    h->committed = e->committed;
    h->pid = e->pid;
    name_show(e->name, h->name);
    name_show(e->from_role, h->from_role);
    name_show(e->to_role, h->to_role);
}

int heir_inspect_events(const char *ns, uint64_t since, heir_inspect_event *visit, void *arg)
{
    struct space_page page;
    int r = 0, fd = visit == NULL ? -EINVAL : open_space(ns, &page);

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    uint64_t last = peek(&page.journal_last), n = since < last ? since + 1 : since > last ? 1 : last + 1;
    if (last > JOURNAL_ENTRIES && n <= last - JOURNAL_ENTRIES)
        n = last - JOURNAL_ENTRIES + 1;
    for (; r == 0 && n <= last; n++) {
        struct journal_entry e;
        struct heir_happening h = {.journal = page.head.created_ns};
        if (!read_entry(fd, n, &e))
            continue;
        show(&e, &h);
        r = visit(&h, arg);
    }
    close(fd);
    return r;
}

int heir_inspect_counters(const char *ns, heir_inspect_counter *visit, void *arg)
{
    static const struct heir_counter counters[] = {
#define COUNTER(id, name_, label_, value_, unit_, text_)                                                               \
    {.name = name_, .label = label_, .label_value = value_, .unit = unit_, .text = text_},
        COUNTERS(COUNTER)
#undef COUNTER
    };
    struct space_page page;
    int r = 0, fd = visit == NULL ? -EINVAL : open_space(ns, &page);

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    close(fd);
    for (size_t i = 0; r == 0 && i < COUNTERS_USED; i++) {
        struct heir_counter counter = counters[i];
        size_t len = strlen(counter.name);
        counter.level = len > 4 && strcmp(counter.name + len - 4, "_max") == 0;
        counter.value = peek(&page.counters[i]);
        r = visit(&counter, arg);
    }
    return r;
}
