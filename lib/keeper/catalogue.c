/* SPDX-License-Identifier: MIT */
/* Tables and clients, found by name or id; see state.h. */
#include "atomics.h"
#include "bell.h"
#include "state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int catalogue_init(struct heir_keeper *k)
{
    int r = hash_init(&k->tables_by_name);
    if (r == 0)
        r = hash_init(&k->tables_by_id);
    if (r == 0)
        r = hash_init(&k->clients_by_id);
    if (r == 0)
        r = hash_init(&k->clients_by_role);
    return r < 0 ? r : hash_init(&k->users);
}

void catalogue_free(struct heir_keeper *k)
{
    hash_deinit(&k->tables_by_name);
    hash_deinit(&k->tables_by_id);
    hash_deinit(&k->clients_by_id);
    hash_deinit(&k->clients_by_role);
    users_free(k);
    hash_deinit(&k->users);
}

static int match_name(struct cds_lfht_node *node, const void *key)
{
    return strcmp(caa_container_of(node, struct table_name, by_name)->text, key) == 0;
}

static int match_table_id(struct cds_lfht_node *node, const void *key)
{
    return caa_container_of(node, struct keeper_table, by_id)->id == *(const uint64_t *)key;
}

static int match_client_id(struct cds_lfht_node *node, const void *key)
{
    return caa_container_of(node, struct keeper_client, by_id)->id == *(const uint64_t *)key;
}

struct keeper_table *table_by_name(struct heir_keeper *k, const char *name)
{
    struct cds_lfht_node *node = hash_find(&k->tables_by_name, hash_text(name), match_name, name);
    return node != NULL ? caa_container_of(node, struct table_name, by_name)->table : NULL;
}

struct keeper_table *table_by_id(struct heir_keeper *k, uint64_t id)
{
    struct cds_lfht_node *node = hash_find(&k->tables_by_id, hash_number(id), match_table_id, &id);
    return node != NULL ? caa_container_of(node, struct keeper_table, by_id) : NULL;
}

struct keeper_client *client_by_id(struct heir_keeper *k, uint64_t id)
{
    struct cds_lfht_node *node = hash_find(&k->clients_by_id, hash_number(id), match_client_id, &id);
    return node != NULL ? caa_container_of(node, struct keeper_client, by_id) : NULL;
}

static int match_role(struct cds_lfht_node *node, const void *key)
{
    return strcmp(caa_container_of(node, struct keeper_client, by_role)->name, key) == 0;
}

struct keeper_client *client_by_role(struct heir_keeper *k, const char *name)
{
    struct keeper_client *oldest = NULL;
    struct cds_lfht_iter iter;
    struct cds_lfht_node *node;

    urcu_bp_read_lock();
    cds_lfht_for_each_duplicate(k->clients_by_role.ht, hash_text(name), match_role, name, &iter, node)
    {
        struct keeper_client *c = caa_container_of(node, struct keeper_client, by_role);
        if ((oldest == NULL || c->id < oldest->id) && client_lives(c))
            oldest = c;
    }
    urcu_bp_read_unlock();
    return oldest;
}

/* Note whose it is. */
static void note_owner(struct keeper_table *t, struct keeper_client *owner)
{
    if (t->owner == owner)
        return;
    cds_list_del_init(&t->of_owner);
    t->owner = owner;
    if (owner != NULL)
        cds_list_add_tail(&t->of_owner, &owner->tables);
}

struct keeper_client *table_owner(struct heir_keeper *k, struct keeper_table *t)
{
    uint64_t id = t->damaged ? HEIR_KEEPER : owner_id(get(&t->page->owner));
    if (t->owner == NULL ? id != HEIR_KEEPER : t->owner->id != id)
        note_owner(t, id != HEIR_KEEPER ? client_by_id(k, id) : NULL);
    return t->owner;
}

static struct table_name *name_add(struct heir_keeper *k, struct keeper_table *t, const char *name)
{
    struct table_name *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    strcpy(n->text, name);
    n->table = t;
    hash_add(&k->tables_by_name, hash_text(name), &n->by_name);
    return n;
}

static void name_remove(struct heir_keeper *k, struct table_name *n)
{
    hash_del(&k->tables_by_name, &n->by_name);
    free(n);
}

struct keeper_table *table_enter(struct heir_keeper *k, const char *name, struct table_page *page)
{
    struct keeper_user *user = user_of(k, page->head.uid);
    struct keeper_table *t = calloc(1, sizeof *t);
    if (user == NULL || t == NULL || (t->entry = name_add(k, t, name)) == NULL) {
        free(t);
        return NULL;
    }
    t->id = page->head.id;
    t->max_bytes = page->max_bytes;
    t->uid = page->head.uid;
    t->gid = page->head.gid;
    t->access = page->access;
    t->mode = page->mode;
    t->lease_ms = page->lease_ms;
    t->user = user;
    user->tables++;
    user->bytes += t->max_bytes;
    t->page = page;
    strcpy(t->name, name);
    CDS_INIT_LIST_HEAD(&t->line);
    CDS_INIT_LIST_HEAD(&t->pins);
    CDS_INIT_LIST_HEAD(&t->of_owner);
    CDS_INIT_LIST_HEAD(&t->waited);
    CDS_INIT_LIST_HEAD(&t->unsettled);
    CDS_INIT_LIST_HEAD(&t->leased);
    hash_add(&k->tables_by_id, hash_number(t->id), &t->by_id);
    cds_list_add_tail(&t->all, &k->tables);
    if (++k->table_count > get(&k->space->tables_peak))
        set(&k->space->tables_peak, k->table_count);
    return t;
}

int table_rename(struct heir_keeper *k, struct keeper_table *t, const char *name)
{
    struct table_name *old = t->entry, *new = name_add(k, t, name);
    if (new == NULL)
        return -ENOMEM;
    t->entry = new;
    memset(t->name, 0, sizeof t->name);
    strcpy(t->name, name);
    name_remove(k, old);
    return 0;
}

void table_forget(struct heir_keeper *k, struct keeper_table *t)
{
    name_remove(k, t->entry);
    hash_del(&k->tables_by_id, &t->by_id);
    cds_list_del(&t->all);
    cds_list_del(&t->of_owner);
    cds_list_del(&t->waited);
    cds_list_del(&t->unsettled);
    cds_list_del(&t->leased);
    k->table_count--;
    t->user->tables--;
    t->user->bytes -= t->max_bytes;
    if (t->whole != NULL) {
        munmap(t->whole, t->max_bytes);
        k->wholes--;
    }
    munmap(t->page, PAGE_BYTES);
    t->page = NULL;
    free(t);
}

struct keeper_client *client_enter(struct heir_keeper *k, struct client_page *page)
{
    struct keeper_user *user = user_of(k, page->head.uid);
    struct keeper_client *c = user != NULL ? calloc(1, sizeof *c) : NULL;
    if (c == NULL)
        return NULL;
    c->user = user;
    user->clients++;
    c->id = page->head.id;
    c->uid = page->head.uid;
    c->gid = page->head.gid;
    c->pid = page->pid;
    c->tid = page->tid;
    c->start_time = page->start_time;
    name_show(page->name, c->name);
    c->page = page;
    c->bell = c->pidfd = c->stat = -1;
    CDS_INIT_LIST_HEAD(&c->tables);
    CDS_INIT_LIST_HEAD(&c->unsettled);
    CDS_INIT_LIST_HEAD(&c->claims);
    CDS_INIT_LIST_HEAD(&c->pins);
    hash_add(&k->clients_by_id, hash_number(c->id), &c->by_id);
    hash_add(&k->clients_by_role, hash_text(c->name), &c->by_role);
    struct keeper_client *younger; /* adopted ones come in any order, and the list goes by age */
    struct cds_list_head *place = &k->clients;
    cds_list_for_each_entry_reverse(younger, &k->clients, all) {
        if (younger->id < c->id) {
            place = &younger->all;
            break;
        }
    }
    cds_list_add(&c->all, place);
    k->client_count++;
    return c;
}

void client_forget(struct heir_keeper *k, struct keeper_client *c)
{
    watcher_remove(c);
    while (!cds_list_empty(&c->tables))
        note_owner(cds_list_entry(c->tables.next, struct keeper_table, of_owner), NULL);
    hash_del(&k->clients_by_id, &c->by_id);
    hash_del(&k->clients_by_role, &c->by_role);
    cds_list_del(&c->all);
    cds_list_del(&c->unsettled);
    k->client_count--;
    c->user->clients--;
    if (c->bell >= 0)
        close(c->bell);
    if (c->pidfd >= 0) {
        epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, c->pidfd, NULL); /* a forked child of ours may hold a copy */
        close(c->pidfd);
    }
    if (c->stat >= 0)
        close(c->stat);
    if (c->connection != NULL) {
        c->connection->client = NULL;
        if (get(&c->page->closing) == 0) /* if it lives on (it has noted a crash, and recovered), it must find out */
            shutdown(c->connection->fd, SHUT_RDWR);
    }
    bell_ring_dozer(c->page); /* another of its threads may stand in line */
    munmap(c->page, CLIENT_PAGE_BYTES);
    free(c);
}
