/* SPDX-License-Identifier: MIT */
/*
 * Taking over what an earlier keeper left: everything in the namespace's shared memory, whole or not.
 *
 * Whatever step the earlier keeper died in, what it left is one of these: an object that is not ready (its creation:
 * removed), a table marked as destroyed (removed), a table whose owner has ended (settled as at any death), a name in a
 * header that is not the file's (the file is right). A table in the set of a client that does not own it stays there:
 * clients pass tables to each other meanwhile, and it may be about to be that client's.
 * What is none of these and not whole is set aside: named in the log, left alone, and refused with -EUCLEAN.
 */
#include "atomics.h"
#include "bell.h"
#include "owner.h"
#include "robust.h"
#include "shm.h"
#include "space.h"
#include "state.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int adopt_missing(const struct heir_keeper *k, const char *name)
{
    char object[SHM_NAME_ROOM];
    shm_name(object, k->ns, 't', name);
    int fd = shm_open_object(object, false);
    if (fd < 0)
        return fd == -ENOENT ? -ENOENT : -EUCLEAN;
    close(fd);
    return -EUCLEAN;
}

typedef int visit_object(struct heir_keeper *k, const char *name, int fd, uint64_t bytes);

struct scan {
    struct heir_keeper *keeper;
    char kind;
    visit_object *visit;
};

static int look(const char *object, const char *name, void *arg)
{
    const struct scan *scan = arg;
    struct heir_keeper *k = scan->keeper;
    struct stat st;
    int r = 0, fd = shm_open_object(object, true);

    if (fd == -EMFILE || fd == -ENFILE ||
        fd == -ENOMEM) /* whose owner is alive cannot be told by half of the clients */
        return fd;
    if (fd < 0 || fstat(fd, &st) < 0) {
        keeper_log(k, HEIR_LOG_ERROR, "%s: cannot be opened (%s), set aside", object, strerror(fd < 0 ? -fd : errno));
        if (scan->kind == 't') {
            k->damaged++;
            journal_name(k, HEIR_DAMAGED, name);
        }
    } else {
        r = scan->visit(k, name, fd, (uint64_t)st.st_size);
    }
    if (fd >= 0)
        close(fd);
    return r;
}

/* All objects of a kind. */
static int scan(struct heir_keeper *k, char kind, visit_object *visit)
{
    return shm_each(k->ns, kind, look, &(struct scan){k, kind, visit});
}

static void remove_object(struct heir_keeper *k, char kind, const char *name)
{
    char object[SHM_NAME_ROOM];
    shm_name(object, k->ns, kind, name);
    shm_remove(object);
}

static void set_aside(struct heir_keeper *k, char kind, const char *name, int error)
{
    if (kind == 't') {
        k->damaged++;
        journal_name(k, HEIR_DAMAGED, name);
    }
    keeper_log(k, HEIR_LOG_ERROR, "%s %s: %s, set aside", kind == 't' ? "table" : "client", name,
               error == -EPROTONOSUPPORT ? "made by another version of libheir" : "damaged");
}

static int adopt_client(struct heir_keeper *k, const char *name, int fd, uint64_t bytes)
{
    struct client_page *page = bytes == CLIENT_PAGE_BYTES ? shm_map(fd, bytes, true) : NULL;
    if (page == NULL && bytes == CLIENT_PAGE_BYTES)
        return -ENOMEM;
    int r = page != NULL ? shm_populate(page, PAGE_BYTES) : -EUCLEAN; /* a cut and stretched file has holes */

    if (r == 0)
        r = head_check(&page->head, CLIENT_MAGIC, bytes, CLIENT_PAGE_BYTES);
    if (r == 0 && (page->head.id == 0 || page->head.id > OWNER_ID_MAX || strtoull(name, NULL, 10) != page->head.id ||
                   get(&page->owned_room) > CLIENT_OWNED_MAX || get(&page->owned_count) > get(&page->owned_room) ||
                   client_by_id(k, page->head.id) != NULL))
        r = -EUCLEAN;
    if (r < 0) {
        if (page != NULL)
            munmap(page, bytes);
        if (r == -EAGAIN || bytes == 0)
            remove_object(k, 'c', name);
        else
            set_aside(k, 'c', name, r);
        return 0;
    }
    struct keeper_client *c = client_enter(k, page);
    if (c == NULL) {
        munmap(page, bytes);
        return -ENOMEM;
    }
    c->ready = true;
    if (get(&k->space->next_client) <= c->id)
        set(&k->space->next_client, c->id + 1);
    process_watch(k, c, NULL);
    bell_ring_dozer(page); /* it has not heard of the end of the keeper before */
    return 0;
}

int adopt_check_table(const struct table_page *page, uint64_t bytes)
{
    int r = head_check(&page->head, TABLE_MAGIC, bytes, HEIR_TABLE_MIN);
    if (r < 0)
        return r;
    const struct view *v = &page->view;
    const struct ledger *l = &page->ledger;
    if (page->max_bytes != bytes || page->heap_first != space_heap_first(bytes) || page->type > HEIR_DUPLICATE_BAG ||
        page->access > HEIR_PRIVATE || get(&v->limit) < page->heap_first || get(&v->limit) > bytes / PAGE_BYTES ||
        get(&l->log_floor) >= bytes || get(&v->horizon) > get(&v->committed) || page->head.id == 0 ||
        page->head.id >= OWNED_ID_MAX) /* which would leave no number for new tables */
        return -EUCLEAN;
    return 0;
}

static int adopt_table(struct heir_keeper *k, const char *name, int fd, uint64_t bytes)
{
    struct table_page *page = bytes >= PAGE_BYTES ? shm_map(fd, PAGE_BYTES, true) : NULL;
    struct settings settings;
    int r = page != NULL ? shm_populate(page, PAGE_BYTES) : -EUCLEAN;

    if (r == 0)
        r = adopt_check_table(page, bytes);
    if (r == 0 && (!name_valid(name) || table_by_id(k, page->head.id) != NULL))
        r = -EUCLEAN;
    bool destroyed = r == 0 && get(&page->destroyed) != 0;
    if (r < 0 || destroyed) {
        if (page != NULL)
            munmap(page, PAGE_BYTES);
        if (destroyed || r == -EAGAIN || bytes == 0)
            remove_object(k, 't', name);
        else
            set_aside(k, 't', name, r);
        return 0;
    }
    settings_read(page, &settings);
    if (strcmp(settings.name, name) != 0) {
        memset(settings.name, 0, sizeof settings.name);
        strcpy(settings.name, name);
        settings_write(page, &settings);
    }
    owner_explain(page, HEIR_CAUSE_UNKNOWN, 0); /* what a keeper left open that was killed */
    set(&page->waiting, 0);
    if (get(&k->space->next_table) <= page->head.id)
        set(&k->space->next_table, page->head.id + 1);
    struct keeper_table *t = table_enter(k, name, page);
    if (t == NULL) {
        munmap(page, PAGE_BYTES);
        return -ENOMEM;
    }
    lease_begin(k, t);
    return 0;
}

int adopt_all(struct heir_keeper *k)
{
    struct keeper_client *c, *next;
    struct keeper_table *t, *next_table;
    uint64_t began = clock_mono_ns();
    int r = scan(k, 'c', adopt_client);

    if (r == 0)
        r = scan(k, 't', adopt_table);
    if (r < 0)
        return r;
    cds_list_for_each_entry_safe(t, next_table, &k->tables, all)
        death_settle(k, t);
    cds_list_for_each_entry(c, &k->clients, all)
        pins_again(k, c);
    pins_known(k);
    if (k->table_count + k->client_count + k->damaged != 0)
        keeper_log(k, HEIR_LOG_NOTICE, "adopted %lu tables and %lu clients of an earlier keeper in %lu us, %lu damaged",
                   (unsigned long)k->table_count, (unsigned long)k->client_count,
                   (unsigned long)((clock_mono_ns() - began) / 1000), (unsigned long)k->damaged);
    cds_list_for_each_entry_safe(c, next, &k->clients, all) {
        if (robust_holder(&c->page->life.mutex) == 0 || get(&c->page->crash_signal) != 0)
            death_of(k, c, clock_mono_ns());
        else if ((r = watcher_add(k, c)) < 0)
            return r;
    }
    k->adopted = true;
    return 0;
}

/* Of a client or a table that may live on: NULL: not to be had. */
static void *first_page(int fd, uint64_t bytes)
{
    void *page = bytes >= PAGE_BYTES ? shm_map(fd, PAGE_BYTES, true) : NULL;

    if (page != NULL && shm_populate(page, PAGE_BYTES) < 0) {
        munmap(page, PAGE_BYTES);
        page = NULL;
    }
    return page;
}

static int purge_client(struct heir_keeper *k, const char *name, int fd, uint64_t bytes)
{
    struct client_page *page = bytes == CLIENT_PAGE_BYTES ? first_page(fd, bytes) : NULL;

    remove_object(k, 'c', name);
    if (page == NULL)
        return 0;
    bell_ring_dozer(page); /* it may wait for a table that is no more */
    munmap(page, PAGE_BYTES);
    return 0;
}

/* Its owner may live: let its writes be refused. */
static void mark_destroyed(int fd, uint64_t bytes)
{
    struct table_page *page = first_page(fd, bytes);

    if (page == NULL)
        return;
    if (adopt_check_table(page, bytes) == 0)
        set(&page->destroyed, 1);
    munmap(page, PAGE_BYTES);
}

static int purge_table(struct heir_keeper *k, const char *name, int fd, uint64_t bytes)
{
    mark_destroyed(fd, bytes);
    remove_object(k, 't', name);
    keeper_log(k, HEIR_LOG_NOTICE, "table %s: purged", name);
    return 0;
}

int adopt_remove(struct heir_keeper *k, const char *name)
{
    char object[SHM_NAME_ROOM];
    struct stat st;

    shm_name(object, k->ns, 't', name);
    int fd = shm_open_object(object, true);
    if (fd < 0)
        return fd;
    uint64_t bytes = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    mark_destroyed(fd, bytes);
    close(fd);
    int r = shm_remove(object);
    if (r < 0)
        return r;
    if (k->damaged > 0)
        k->damaged--;
    journal_name(k, HEIR_DESTROYED, name);
    keeper_log(k, HEIR_LOG_NOTICE, "table %s: destroyed; it had been set aside", name);
    return 0;
}

int purge_all(struct heir_keeper *k)
{
    int r = scan(k, 't', purge_table);
    return r < 0 ? r : scan(k, 'c', purge_client);
}
