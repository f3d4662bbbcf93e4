/* SPDX-License-Identifier: MIT */
/* Tables and clients, found by name or id; see state.h. */
#include "atomics.h"
#include "state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

int catalogue_init(struct heir_keeper *k)
{
    int r = hash_init(&k->tables_by_name);
    if (r == 0)
        r = hash_init(&k->tables_by_id);
    return r < 0 ? r : hash_init(&k->clients_by_id);
}

void catalogue_free(struct heir_keeper *k)
{
    hash_deinit(&k->tables_by_name);
    hash_deinit(&k->tables_by_id);
    hash_deinit(&k->clients_by_id);
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

struct keeper_client *client_by_role(struct heir_keeper *k, const char *name)
{
    struct keeper_client *c;
    cds_list_for_each_entry(c, &k->clients, all) {
        if (strcmp(c->name, name) == 0 && client_lives(c))
            return c;
    }
    return NULL;
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
    struct keeper_table *t = calloc(1, sizeof *t);
    if (t == NULL || (t->entry = name_add(k, t, name)) == NULL) {
        free(t);
        return NULL;
    }
    t->id = page->head.id;
    t->max_bytes = page->max_bytes;
    t->page = page;
    strcpy(t->name, name);
    CDS_INIT_LIST_HEAD(&t->line);
    CDS_INIT_LIST_HEAD(&t->pins);
    hash_add(&k->tables_by_id, hash_number(t->id), &t->by_id);
    cds_list_add_tail(&t->all, &k->tables);
    k->table_count++;
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
    k->table_count--;
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
    struct keeper_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->id = page->head.id;
    c->uid = page->head.uid;
    c->gid = page->head.gid;
    memcpy(c->name, page->name, NAME_ROOM);
    c->name[NAME_ROOM - 1] = '\0';
    c->page = page;
    c->bell = c->pidfd = -1;
    CDS_INIT_LIST_HEAD(&c->claims);
    CDS_INIT_LIST_HEAD(&c->pins);
    hash_add(&k->clients_by_id, hash_number(c->id), &c->by_id);
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
    hash_del(&k->clients_by_id, &c->by_id);
    cds_list_del(&c->all);
    k->client_count--;
    if (c->bell >= 0)
        close(c->bell);
    if (c->pidfd >= 0) {
        epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, c->pidfd, NULL); /* a forked child of ours may hold a copy */
        close(c->pidfd);
    }
    if (c->connection != NULL)
        c->connection->client = NULL;
    munmap(c->page, CLIENT_PAGE_BYTES);
    free(c);
}
