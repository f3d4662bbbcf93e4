/* SPDX-License-Identifier: MIT */
/* Tables and clients, found by name or id; see state.h. */
#include "atomics.h"
#include "state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

static unsigned long hash_name(const char *name) {
    return (unsigned long)XXH3_64bits(name, strlen(name));
}

static unsigned long hash_id(uint64_t id) {
    return (unsigned long)XXH3_64bits(&id, sizeof id);
}

static struct cds_lfht *hash_new(void) {
    return cds_lfht_new_flavor(64, 64, 0, CDS_LFHT_AUTO_RESIZE, &urcu_bp_flavor, NULL);
}

int catalogue_init(struct heir_keeper *k) {
    k->tables_by_name = hash_new();
    k->tables_by_id = hash_new();
    k->clients_by_id = hash_new();
    return k->tables_by_name == NULL || k->tables_by_id == NULL || k->clients_by_id == NULL ? -ENOMEM : 0;
}

void catalogue_free(struct heir_keeper *k) {
    struct cds_lfht *all[] = {k->tables_by_name, k->tables_by_id, k->clients_by_id};
    urcu_bp_barrier();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i] != NULL)
            cds_lfht_destroy(all[i], NULL);
    }
}

static int match_name(struct cds_lfht_node *node, const void *key) {
    return strcmp(caa_container_of(node, struct table_name, by_name)->text, key) == 0;
}

static int match_table_id(struct cds_lfht_node *node, const void *key) {
    return caa_container_of(node, struct keeper_table, by_id)->id == *(const uint64_t *)key;
}

static int match_client_id(struct cds_lfht_node *node, const void *key) {
    return caa_container_of(node, struct keeper_client, by_id)->id == *(const uint64_t *)key;
}

/* Entries are removed under the keeper's lock, which every caller holds, so they outlive the read-side section here. */
static struct cds_lfht_node *find(struct cds_lfht *ht, unsigned long hash, cds_lfht_match_fct match, const void *key) {
    struct cds_lfht_iter iter;
    urcu_bp_read_lock();
    cds_lfht_lookup(ht, hash, match, key, &iter);
    struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
    urcu_bp_read_unlock();
    return node;
}

static void add(struct cds_lfht *ht, unsigned long hash, struct cds_lfht_node *node) {
    cds_lfht_node_init(node);
    urcu_bp_read_lock();
    cds_lfht_add(ht, hash, node);
    urcu_bp_read_unlock();
}

static void del(struct cds_lfht *ht, struct cds_lfht_node *node) {
    urcu_bp_read_lock();
    cds_lfht_del(ht, node);
    urcu_bp_read_unlock();
}

struct keeper_table *table_by_name(struct heir_keeper *k, const char *name) {
    struct cds_lfht_node *node = find(k->tables_by_name, hash_name(name), match_name, name);
    return node != NULL ? caa_container_of(node, struct table_name, by_name)->table : NULL;
}

struct keeper_table *table_by_id(struct heir_keeper *k, uint64_t id) {
    struct cds_lfht_node *node = find(k->tables_by_id, hash_id(id), match_table_id, &id);
    return node != NULL ? caa_container_of(node, struct keeper_table, by_id) : NULL;
}

struct keeper_client *client_by_id(struct heir_keeper *k, uint64_t id) {
    struct cds_lfht_node *node = find(k->clients_by_id, hash_id(id), match_client_id, &id);
    return node != NULL ? caa_container_of(node, struct keeper_client, by_id) : NULL;
}

struct keeper_client *client_by_role(struct heir_keeper *k, const char *name) {
    struct keeper_client *c;
    cds_list_for_each_entry(c, &k->clients, all) {
        if (strcmp(c->name, name) == 0 && client_lives(c))
            return c;
    }
    return NULL;
}

static void name_free(struct rcu_head *head) {
    free(caa_container_of(head, struct table_name, rcu));
}

static struct table_name *name_add(struct heir_keeper *k, struct keeper_table *t, const char *name) {
    struct table_name *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    strcpy(n->text, name);
    n->table = t;
    add(k->tables_by_name, hash_name(name), &n->by_name);
    return n;
}

static void name_remove(struct heir_keeper *k, struct table_name *n) {
    del(k->tables_by_name, &n->by_name);
    urcu_bp_call_rcu(&n->rcu, name_free);
}

struct keeper_table *table_enter(struct heir_keeper *k, const char *name, struct table_page *page) {
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
    add(k->tables_by_id, hash_id(t->id), &t->by_id);
    cds_list_add_tail(&t->all, &k->tables);
    k->table_count++;
    return t;
}

int table_rename(struct heir_keeper *k, struct keeper_table *t, const char *name) {
    struct table_name *old = t->entry, *new = name_add(k, t, name);
    if (new == NULL)
        return -ENOMEM;
    t->entry = new;
    memset(t->name, 0, sizeof t->name);
    strcpy(t->name, name);
    name_remove(k, old);
    return 0;
}

static void table_free(struct rcu_head *head) {
    free(caa_container_of(head, struct keeper_table, rcu));
}

void table_forget(struct heir_keeper *k, struct keeper_table *t) {
    name_remove(k, t->entry);
    del(k->tables_by_id, &t->by_id);
    cds_list_del(&t->all);
    k->table_count--;
    munmap(t->page, PAGE_BYTES);
    t->page = NULL;
    urcu_bp_call_rcu(&t->rcu, table_free);
}

struct keeper_client *client_enter(struct heir_keeper *k, struct client_page *page) {
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
    add(k->clients_by_id, hash_id(c->id), &c->by_id);
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

static void client_free(struct rcu_head *head) {
    free(caa_container_of(head, struct keeper_client, rcu));
}

void client_forget(struct heir_keeper *k, struct keeper_client *c) {
    watcher_remove(c);
    del(k->clients_by_id, &c->by_id);
    cds_list_del(&c->all);
    k->client_count--;
    if (c->bell >= 0)
        close(c->bell);
    if (c->pidfd >= 0)
        close(c->pidfd);
    if (c->connection != NULL)
        c->connection->client = NULL;
    munmap(c->page, CLIENT_PAGE_BYTES);
    urcu_bp_call_rcu(&c->rcu, client_free);
}
