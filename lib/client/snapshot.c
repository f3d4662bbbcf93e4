/* SPDX-License-Identifier: MIT */
/* Snapshots: committed states that the keeper holds for us. */
#include "client.h"
#include "walk.h"
#include <errno.h>
#include <stdlib.h>

struct heir_snapshot {
    struct heir_table *table; /* which stays mapped: `users` counts us */
    const struct store *store;
    uint64_t snap;
    struct life life;
    struct cds_list_head list; /* of the client's, under its lock */
};

/* ---- Pins ----------------------------------------------------------------------------------------------- */

typedef int ask_keeper(struct heir *c, struct wire_request *q, uint64_t deadline, struct wire_reply *reply, int *fd);

static int take(struct heir_table *t, ask_keeper *ask, uint64_t *snap)
{
    struct wire_request q = {.head.type = WIRE_PIN, .table = t->id};
    struct wire_reply reply;
    int r = ask(t->client, &q, deadline_after(t->client->timeout_ms), &reply, NULL);
    if (r == 0)
        *snap = reply.value;
    return r;
}

int pin_take(struct heir_table *t, uint64_t *snap)
{
    return take(t, call, snap);
}

int pin_take_once(struct heir_table *t, uint64_t *snap)
{
    return take(t, call_once, snap);
}

void pin_drop(struct heir_table *t, uint64_t snap)
{
    struct wire_request q = {.head.type = WIRE_UNPIN, .table = t->id, .id = snap};
    struct wire_reply reply;
    struct pin *pins = t->client->page->pins;

    if (call_once(t->client, &q, deadline_after(t->client->timeout_ms), &reply, NULL) == 0)
        return;
    for (unsigned i = 0; i < PINS_A_CLIENT;
         i++) { /* the next keeper asks our page, when it starts and when we are back */
        if (get(&pins[i].table) == t->id && get(&pins[i].txn) == snap) {
            set(&pins[i].table, 0);
            break;
        }
    }
    /* and if another thread has come back to it just now, before that */
    q = (struct wire_request){.head.type = WIRE_UNPIN, .table = t->id, .id = snap};
    call_once(t->client, &q, deadline_after(t->client->timeout_ms), &reply, NULL);
}

/* ---- Snapshots ------------------------------------------------------------------------------------------ */

int heir_snapshot_open(struct heir_table *t, struct heir_snapshot **snapshot)
{
    struct heir_snapshot *n;
    struct mapping *m;
    bool own;
    int r;

    if (snapshot == NULL)
        return -EINVAL;
    *snapshot = NULL;
    if ((r = read_begin(t, &m, &own)) < 0)
        return r;
    atomic_fetch_add(&t->users, 1);
    handle_read_end(t);
    r = -ENOMEM;
    if (t->client == NULL)
        r = -ECONNREFUSED; /* heir_inspect_open() */
    else if ((n = calloc(1, sizeof *n)) != NULL) {
        *n = (struct heir_snapshot){.table = t, .store = &m->reader, .life = t->life};
        if ((r = pin_take(t, &n->snap)) < 0)
            free(n);
    }
    if (r < 0) {
        atomic_fetch_sub(&t->users, 1);
        return r;
    }
    pthread_mutex_lock(&t->client->lock);
    cds_list_add_tail(&n->list, &t->client->snapshots);
    pthread_mutex_unlock(&t->client->lock);
    *snapshot = n;
    return 0;
}

static void end(struct heir_snapshot *n)
{
    atomic_fetch_sub(&n->table->users, 1);
    free(n);
}

int heir_snapshot_close(struct heir_snapshot *n)
{
    if (n == NULL)
        return 0;
    if (!life_lasts(n->life))
        return -ENOTCONN;
    struct heir *c = n->table->client;
    pthread_mutex_lock(&c->lock);
    cds_list_del(&n->list);
    pthread_mutex_unlock(&c->lock);
    pin_drop(n->table, n->snap);
    end(n);
    return 0;
}

void snapshots_close(struct heir *c)
{
    struct heir_snapshot *n, *next;
    cds_list_for_each_entry_safe(n, next, &c->snapshots, list) {
        cds_list_del(&n->list);
        end(n); /* the keeper drops the pins with the client */
    }
}

uint64_t heir_snapshot_state(const struct heir_snapshot *n)
{
    return n != NULL ? n->snap : 0;
}

static int check(const struct heir_snapshot *n)
{
    if (n == NULL)
        return -EINVAL;
    return life_lasts(n->life) ? 0 : -ENOTCONN;
}

int heir_snapshot_check(const struct heir_snapshot *n)
{
    int r = check(n);
    if (r < 0)
        return r;
    struct sight sight = {.snap = n->snap};
    return sight_check(n->store, &sight) == SIGHT_GONE ? -ESTALE : 0;
}

int heir_snapshot_get(struct heir_snapshot *n, const void *key, size_t key_len, void *value, size_t *value_len)
{
    int r = check(n);
    if (r < 0)
        return r;
    if (value == NULL && value_len != NULL && *value_len != 0)
        return -EINVAL;
    r = check_key(n->store, key, key_len);
    return r < 0 ? r : read_get_at(n->store, n->snap, key, key_len, value, value_len);
}

int heir_snapshot_view(struct heir_snapshot *n, const void *key, size_t key_len, const void **value, size_t *value_len)
{
    int r = check(n);
    if (r < 0)
        return r;
    if (value == NULL || value_len == NULL)
        return -EINVAL;
    r = check_key(n->store, key, key_len);
    return r < 0 ? r : read_view_at(n->store, n->snap, key, key_len, value, value_len);
}

static int walk(struct heir_snapshot *n, const struct walk_what *what, heir_visit *visit, void *arg)
{
    return walk_pinned(n->store, n->snap, what, visit, arg);
}

int heir_snapshot_foreach(struct heir_snapshot *n, heir_visit *visit, void *arg)
{
    int r = check(n);
    if (r < 0)
        return r;
    return visit == NULL ? -EINVAL : walk(n, &(struct walk_what){.key = NULL}, visit, arg);
}

int heir_snapshot_values(struct heir_snapshot *n, const void *key, size_t key_len, heir_visit *visit, void *arg)
{
    int r = check(n);
    if (r < 0)
        return r;
    if (visit == NULL)
        return -EINVAL;
    r = check_key(n->store, key, key_len);
    return r < 0 ? r : walk(n, &(struct walk_what){.key = key, .key_len = key_len}, visit, arg);
}

static int range(struct heir_snapshot *n, struct range range, heir_visit *visit, void *arg)
{
    int r = check(n);
    if (r < 0)
        return r;
    if (visit == NULL || !range_valid(&range))
        return -EINVAL;
    if (page_of(n->store)->type != HEIR_ORDERED_SET)
        return -ENOTSUP;
    return walk(n, &(struct walk_what){.range = range}, visit, arg);
}

int heir_snapshot_range(struct heir_snapshot *n, const void *from, size_t from_len, const void *to, size_t to_len,
                        heir_visit *visit, void *arg)
{
    return range(n, (struct range){from, from_len, to, to_len, false}, visit, arg);
}

int heir_snapshot_range_reverse(struct heir_snapshot *n, const void *from, size_t from_len, const void *to,
                                size_t to_len, heir_visit *visit, void *arg)
{
    return range(n, (struct range){from, from_len, to, to_len, true}, visit, arg);
}
