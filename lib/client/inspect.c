/* SPDX-License-Identifier: MIT */
/* Looking into a namespace straight from shared memory; see heir/inspect.h. Nothing is trusted, nothing is changed. */
#include "client.h"
#include "owned.h"
#include "proc.h"
#include "robust.h"
#include "shm.h"
#include <errno.h>
#include <heir/inspect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names of objects, without their prefix. */
struct names {
    char **list;
    size_t count;
};

static int note_name(const char *object, const char *name, void *arg)
{
    struct names *names = arg;
    char **more = realloc(names->list, (names->count + 1) * sizeof *more);
    char *copy = strdup(name);

    (void)object;
    if (more != NULL)
        names->list = more;
    if (more == NULL || copy == NULL) {
        free(copy);
        return -ENOMEM;
    }
    names->list[names->count++] = copy;
    return 0;
}

static int list_names(const char *ns, char kind, char ***names, size_t *count)
{
    struct names all = {0};
    int r = shm_each(ns, kind, note_name, &all);
    *names = all.list;
    *count = all.count;
    return r;
}

static void free_names(char **names, size_t count)
{
    while (count > 0)
        free(names[--count]);
    free(names);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_number(const void *a, const void *b)
{
    unsigned long long x = strtoull(*(char *const *)a, NULL, 10), y = strtoull(*(char *const *)b, NULL, 10);
    return (x > y) - (x < y);
}

int heir_inspect_open(const char *ns_option, const char *name, struct heir_table **table)
{
    char ns[NAME_ROOM], object[SHM_NAME_ROOM];
    struct mapping *m;
    struct life life;
    int r;

    if (table == NULL || !name_valid(name))
        return -EINVAL;
    *table = NULL;
    if ((r = name_space(ns_option, ns)) < 0)
        return r;
    shm_name(object, ns, 't', name);
    int fd = shm_open_object(object, false);
    if (fd < 0)
        return fd;
    r = mapping_new(fd, false, NULL, &m);
    close(fd);
    if (r < 0)
        return r;
    struct heir_table *t = calloc(1, sizeof *t);
    if (t == NULL || life_begin(&life) < 0) {
        free(t);
        mapping_free(m);
        return -ENOMEM;
    }
    t->id = page_of(&m->reader)->head.id;
    t->life = life;
    t->mapping = m;
    *table = t;
    return 0;
}

void heir_inspect_close(struct heir_table *t)
{
    if (t == NULL || t->client != NULL)
        return;
    if (life_lasts(t->life))
        mapping_free(t->mapping);
    life_free(&t->life);
    free(t);
}

int heir_inspect_tables(const char *ns_option, heir_inspect_table *visit, void *arg)
{
    char ns[NAME_ROOM];
    char **names;
    size_t count;
    int r = visit == NULL ? -EINVAL : name_space(ns_option, ns);

    if (r < 0)
        return r;
    r = list_names(ns, 't', &names, &count);
    if (r == 0 && count > 1)
        qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct heir_info info = {0};
        struct heir_table *t;
        int error = name_valid(names[i]) ? heir_inspect_open(ns, names[i], &t) : -EUCLEAN;
        if (error == -ENOENT)
            continue; /* gone since we listed it */
        if (error == 0) {
            heir_info(t, &info);
            heir_inspect_close(t);
        }
        name_show(names[i], info.name);
        r = visit(&info, error, arg);
    }
    free_names(names, count);
    return r;
}

/*
 * Who holds the life mutex lives, and its own thread tells how: the process' first one may have ended before it. A pid
 * that is another process' by now, which its start tells, is nobody's.
 */
static void look_at_process(const struct client_page *page, struct heir_client_info *info)
{
    char folder[64];
    struct proc_stat process, thread;
    bool alive = robust_holder(&page->life.mutex) != 0;

    snprintf(folder, sizeof folder, "/proc/%d/", page->pid);
    info->state = 'X';
    if (!proc_stat_of(folder, &process) || (page->start_time != 0 && process.start_time != page->start_time))
        return;
    info->memory = process.resident * (uint64_t)sysconf(_SC_PAGESIZE);
    if (!alive) {
        if (process.state == 'Z')
            info->state = 'Z';
        return;
    }
    snprintf(folder, sizeof folder, "/proc/%d/task/%d/", page->pid, page->tid);
    if (!proc_stat_of(folder, &thread)) /* its id is of another pid namespace */
        thread = process;
    info->state = thread.state == 'T' || thread.state == 't' ? 'T' : proc_dumps_core(page->pid) ? 'D' : 'R';
}

/* *page: to be unmapped. */
static int open_client(const char *ns, const char *id, struct client_page **page)
{
    char object[SHM_NAME_ROOM];
    struct stat st;

    shm_name(object, ns, 'c', id);
    int fd = shm_open_object(object, false);
    if (fd < 0)
        return fd;
    bool whole = fstat(fd, &st) == 0 && st.st_size == (off_t)CLIENT_PAGE_BYTES;
    *page = whole ? shm_map(fd, CLIENT_PAGE_BYTES, false) : NULL;
    close(fd);
    if (*page == NULL)
        return -EUCLEAN;
    int r = head_check(&(*page)->head, CLIENT_MAGIC, CLIENT_PAGE_BYTES, CLIENT_PAGE_BYTES);
    if (r < 0)
        munmap(*page, CLIENT_PAGE_BYTES);
    return r == -EAGAIN ? -ENOENT : r; /* on its way in, or cut off on it */
}

static int read_client(const char *ns, const char *id, struct heir_client_info *info)
{
    struct client_page *page;

    info->id = strtoull(id, NULL, 10);
    int r = open_client(ns, id, &page);
    if (r < 0)
        return r;
    name_show(page->name, info->name);
    info->pid = page->pid;
    info->tid = page->tid;
    info->uid = page->head.uid;
    info->gid = page->head.gid;
    info->since_ns = page->head.created_ns;
    info->crash_signal = (int32_t)get(&page->crash_signal);
    info->crash_address = get(&page->crash_address);
    info->crash_ns = get(&page->crash_ns);
    uint64_t entries = owned_entries(page);
    for (uint64_t i = 0; i < entries; i++)
        info->tables += get(&page->owned[i]) != 0;
    for (unsigned i = 0; i < PINS_A_CLIENT; i++)
        info->pins += get(&page->pins[i].table) != 0;
    look_at_process(page, info);
    munmap(page, CLIENT_PAGE_BYTES);
    return 0;
}

static int list_clients(const char *ns_option, bool visit, char ns[NAME_ROOM], char ***names, size_t *count)
{
    int r = visit ? name_space(ns_option, ns) : -EINVAL;
    *count = 0;
    *names = NULL;
    if (r == 0)
        r = list_names(ns, 'c', names, count);
    if (r == 0 && *count > 1)
        qsort(*names, *count, sizeof **names, by_number);
    return r;
}

int heir_inspect_clients(const char *ns_option, heir_inspect_client *visit, void *arg)
{
    char ns[NAME_ROOM], **names;
    size_t count;
    int r = list_clients(ns_option, visit != NULL, ns, &names, &count);

    for (size_t i = 0; r == 0 && i < count; i++) {
        struct heir_client_info info = {.state = '?'};
        int error = read_client(ns, names[i], &info);
        if (error != -ENOENT)
            r = visit(&info, error, arg);
    }
    free_names(names, count);
    return r;
}

int heir_inspect_pins(const char *ns_option, heir_inspect_pin *visit, void *arg)
{
    char ns[NAME_ROOM], **names;
    size_t count;
    int r = list_clients(ns_option, visit != NULL, ns, &names, &count);

    for (size_t i = 0; r == 0 && i < count; i++) {
        struct client_page *page;
        if (open_client(ns, names[i], &page) < 0)
            continue;
        for (unsigned j = 0; r == 0 && j < PINS_A_CLIENT; j++) {
            const struct pin *pin = &page->pins[j];
            struct heir_pin info = {.client = strtoull(names[i], NULL, 10), .table = get(&pin->table)};
            info.transaction = get(&pin->txn);
            info.since_ns = get(&pin->since_ns);
            if (info.table != 0)
                r = visit(&info, arg);
        }
        munmap(page, CLIENT_PAGE_BYTES);
    }
    free_names(names, count);
    return r;
}
