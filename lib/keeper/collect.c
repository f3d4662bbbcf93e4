/* SPDX-License-Identifier: MIT */
/*
 * What belongs to nobody any more, found and removed without a keeper; see heir/admin.h.
 *
 * The conditions are those by which adopt.c removes; of clients only those go that own nothing, by their own set and by
 * every owner word, since handing on is a keeper's work. While we hold the namespace's lock no keeper comes. Clients
 * may live and pass tables to each other, but not to one whose life mutex nobody holds: it has no thread to take them.
 */
#include "atomics.h"
#include "owned.h"
#include "robust.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <heir/admin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct collection {
    struct heir_keeper *keeper;
    char kind;           /* of what is looked at now */
    bool remove, closed; /* closed: not everything may be opened */
    heir_leftover_found *found;
    void *arg;
    uint64_t *owners;
    size_t owner_count;
};

/* A page, read: not mapped, since nothing here may be filled up or written. */
static bool take(int fd, void *to, size_t bytes)
{
    return pread(fd, to, bytes, 0) == (ssize_t)bytes;
}

/* ---- Tables ------------------------------------------------------------------------------------------- */

static int note_owner(struct collection *all, uint64_t owner)
{
    uint64_t *more = realloc(all->owners, (all->owner_count + 1) * sizeof *more);
    if (more == NULL)
        return -ENOMEM;
    all->owners = more;
    all->owners[all->owner_count++] = owner;
    return 0;
}

/* Why it is nobody's; 0: it is somebody's, or damaged. */
static int look_at_table(struct collection *all, const char *name, int fd, uint64_t bytes)
{
    struct table_page page;

    if (bytes == 0)
        return HEIR_LEFTOVER_HALF;
    if (bytes < PAGE_BYTES || !take(fd, &page, sizeof page) || !name_valid(name))
        return 0;
    int r = adopt_check_table(&page, bytes);
    if (r == -EAGAIN)
        return HEIR_LEFTOVER_HALF;
    if (r == 0 && get(&page.destroyed) != 0)
        return HEIR_LEFTOVER_DESTROYED;
    r = note_owner(all, owner_id(get(&page.owner))); /* also of a damaged one: it may be right */
    return r;
}

/* ---- Clients ------------------------------------------------------------------------------------------ */

static bool owns(const struct collection *all, const struct client_page *page)
{
    uint64_t entries = owned_entries(page);

    for (uint64_t i = 0; i < entries; i++) {
        if (get(&page->owned[i]) != 0)
            return true;
    }
    for (size_t i = 0; i < all->owner_count; i++) {
        if (all->owners[i] == page->head.id)
            return true;
    }
    return false;
}

static int look_at_client(struct collection *all, const char *name, int fd, uint64_t bytes)
{
    if (bytes == 0)
        return HEIR_LEFTOVER_HALF;
    struct client_page *page = bytes == CLIENT_PAGE_BYTES ? shm_map(fd, bytes, false) : NULL;
    if (page == NULL)
        return 0;
    int r = head_check(&page->head, CLIENT_MAGIC, bytes, CLIENT_PAGE_BYTES);
    bool sound = r == 0 && page->head.id != 0 && strtoull(name, NULL, 10) == page->head.id &&
                 get(&page->owned_room) <= CLIENT_OWNED_MAX && get(&page->owned_count) <= get(&page->owned_room);
    if (r == -EAGAIN)
        r = HEIR_LEFTOVER_HALF;
    else
        r = sound && !all->closed && robust_holder(&page->life.mutex) == 0 && !owns(all, page) ? HEIR_LEFTOVER_DEAD : 0;
    munmap(page, bytes);
    return r;
}

/* ---- All of it ---------------------------------------------------------------------------------------- */

static int look(const char *object, const char *name, void *arg)
{
    struct collection *all = arg;
    struct stat st;
    int r = 0, fd = shm_open_object(object, true);

    if (fd == -ENOENT)
        return 0;
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
        return fd;
    if (fd < 0 || fstat(fd, &st) < 0)
        all->closed = true;
    else
        r = all->kind == 't' ? look_at_table(all, name, fd, (uint64_t)st.st_size)
                             : look_at_client(all, name, fd, (uint64_t)st.st_size);
    if (fd >= 0)
        close(fd);
    if (r <= 0)
        return r;
    struct heir_leftover leftover = {
        .kind = all->kind, .why = (enum heir_leftover_why)r, .bytes = (uint64_t)st.st_blocks * 512};
    name_show(name, leftover.name);
    if (all->remove && (r = shm_remove(object)) < 0)
        return r;
    return all->found != NULL ? all->found(&leftover, all->arg) : 0;
}

static int scan(struct collection *all, char kind)
{
    all->kind = kind;
    return shm_each(all->keeper->ns, kind, look, all);
}

int heir_collect(const char *ns, bool remove, heir_leftover_found *found, void *arg)
{
    char name[SHM_NAME_ROOM];
    struct heir_keeper *k = calloc(1, sizeof *k); /* as far as the namespace's lock needs one */
    struct collection all = {.keeper = k, .remove = remove, .found = found, .arg = arg};
    int r = k == NULL ? -ENOMEM : name_space(ns, k->ns);

    if (r == 0) {
        k->space_fd = -1;
        r = keeper_take_namespace(k);
    }
    if (r == 0)
        r = scan(&all, 't');
    if (r == 0)
        r = scan(&all, 'c');
    if (k != NULL && k->space != NULL) {
        if (k->fresh) { /* there was none */
            shm_name(name, k->ns, 'k', NULL);
            shm_remove(name);
        }
        set(&k->space->keeper_pid, 0);
        munmap(k->space, SPACE_BYTES);
    }
    if (k != NULL && k->space_fd > 0)
        close(k->space_fd);
    free(all.owners);
    free(k);
    return r;
}
