/* SPDX-License-Identifier: MIT */
/*
 * Feeds: committed changes, as they come.
 *
 * What is held: two pins take turns. The keeper pins the last commit only, so the next pin is taken ahead of what has
 * been read, and the one before it is let go when the reader has come there. Without a keeper the pin stays as it is,
 * and holds more and more; a broken one is replaced.
 */
#include "feed.h"
#include "client.h"
#include "read.h"
#include "shm.h"
#include <errno.h>
#include <stdlib.h>

#define ROLL_NS    UINT64_C(250000000)
#define ROLL_BYTES (1u << 20)

struct heir_feed {
    struct heir_table *table; /* which stays mapped: `users` counts us */
    const struct store *store;
    struct life life;
    struct cds_list_head list; /* of the client's, under its lock; of heir_inspect_open(): none */
    bool hold;
    uint64_t held, ahead; /* pinned states, 0: none. All after `held` is there; `ahead` is not read yet */
    uint64_t rolled_ns;   /* when the keeper was last asked for a pin */
    uint64_t bytes;       /* copied since then */
    struct feed feed;
};

/* ---- What is held ----------------------------------------------------------------------------------------- */

static void let_go(struct heir_feed *f, uint64_t *pin)
{
    if (*pin != 0)
        pin_drop(f->table, *pin);
    *pin = 0;
}

static void take_ahead(struct heir_feed *f)
{
    struct heir *c = f->table->client;

    pthread_mutex_lock(&c->lock);
    if (c->socket < 0)
        call_service(c);
    pthread_mutex_unlock(&c->lock);
    pin_take_once(f->table, &f->ahead); /* none: all the same, but that more may be missed */
    f->bytes = 0;
}

static void roll(struct heir_feed *f)
{
    uint64_t horizon = get(&view_of(f->store)->horizon), now = clock_mono_ns();

    if (f->ahead != 0 && (f->feed.read >= f->ahead || f->ahead < horizon)) {
        let_go(f, &f->held);
        f->held = f->ahead;
        f->ahead = 0;
    }
    if (f->held != 0 && f->held < horizon) { /* broken: another one at once */
        let_go(f, &f->held);
        f->rolled_ns = 0;
    }
    if (f->ahead == 0 && f->held != f->feed.read && (f->bytes > ROLL_BYTES || now - f->rolled_ns > ROLL_NS)) {
        take_ahead(f);
        f->rolled_ns = now;
    }
}

/* ---- Feeds ------------------------------------------------------------------------------------------------ */

int heir_feed_open(struct heir_table *t, const struct heir_feed_options *options, struct heir_feed **feed)
{
    static const struct heir_feed_options defaults;
    struct heir_feed *f = NULL;
    struct mapping *m;
    bool own;
    int r;

    if (feed == NULL)
        return -EINVAL;
    *feed = NULL;
    if (options == NULL)
        options = &defaults;
    if (options->hold < 0 || options->hold > 1 || options->reserved_int != 0 || !all_zero(options->reserved, 4))
        return -EINVAL;
    if ((r = read_begin(t, &m, &own)) < 0)
        return r;
    atomic_fetch_add(&t->users, 1);
    handle_read_end(t);
    if (options->hold && t->client == NULL)
        r = -ECONNREFUSED; /* heir_inspect_open() */
    else if ((f = calloc(1, sizeof *f)) == NULL)
        r = -ENOMEM;
    else
        *f = (struct heir_feed){.table = t, .store = &m->reader, .life = t->life, .hold = options->hold != 0};
    if (r == 0 && f->hold && (r = pin_take(t, &f->ahead)) == 0)
        f->rolled_ns = clock_mono_ns();
    if (r < 0) {
        free(f);
        atomic_fetch_sub(&t->users, 1);
        return r;
    }
    feed_begin(&f->feed, options->from != 0 ? options->from - 1 : f->hold ? f->ahead : sight_now(f->store).snap);
    if (t->client != NULL) {
        pthread_mutex_lock(&t->client->lock);
        cds_list_add_tail(&f->list, &t->client->feeds);
        pthread_mutex_unlock(&t->client->lock);
    }
    *feed = f;
    return 0;
}

int heir_feed_read(struct heir_feed *f, uint64_t up_to, heir_visit_change *visit, void *arg)
{
    struct mapping *m;
    bool own;

    if (f == NULL || visit == NULL)
        return -EINVAL;
    if (!life_lasts(f->life))
        return -ENOTCONN;
    int r = read_begin(f->table, &m, &own);
    if (r < 0)
        return r;
    handle_read_end(f->table);

    uint64_t committed = get(&view_of(f->store)->committed);
    if (up_to == 0 || up_to > committed)
        up_to = committed;
    r = feed_give(&f->feed, up_to, visit, arg); /* what an earlier call has left */
    for (bool more = true; r == 0 && more && feed_empty(&f->feed);) {
        r = feed_fill(f->store, &f->feed);
        f->bytes += f->feed.copied.used;
        if (f->hold)
            roll(f);
        int given = feed_give(&f->feed, up_to, visit, arg); /* also before an error: what has been missed */
        r = given != 0 ? given : r;
        more = f->feed.read < up_to;
    }
    return r;
}

uint64_t heir_feed_state(const struct heir_feed *f)
{
    return f != NULL ? f->feed.told : 0;
}

static void end(struct heir_feed *f)
{
    feed_end(&f->feed);
    atomic_fetch_sub(&f->table->users, 1);
    free(f);
}

int heir_feed_close(struct heir_feed *f)
{
    if (f == NULL)
        return 0;
    if (!life_lasts(f->life))
        return -ENOTCONN;
    struct heir *c = f->table->client;
    if (c != NULL) {
        pthread_mutex_lock(&c->lock);
        cds_list_del(&f->list);
        pthread_mutex_unlock(&c->lock);
    }
    let_go(f, &f->held);
    let_go(f, &f->ahead);
    end(f);
    return 0;
}

void feeds_close(struct heir *c)
{
    struct heir_feed *f, *next;
    cds_list_for_each_entry_safe(f, next, &c->feeds, list) {
        cds_list_del(&f->list);
        end(f); /* the keeper drops the pins with the client */
    }
}
