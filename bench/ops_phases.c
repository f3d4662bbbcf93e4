/* SPDX-License-Identifier: MIT */
/* What does `ops` do to a store, and how does it know that the store did it? See ops_phases.h. */
#include "ops_phases.h"

#include "common.h"

#include <errno.h>
#include <heir.h>
#include <string.h>

/* What a key's value begins with in this version; the rest of it does not matter. */
static uint64_t number_of(uint64_t key, uint64_t version)
{
    return mix64(key + version);
}

static void set_number(struct work *w, size_t i, uint64_t number)
{
    memcpy(w->values + i * w->value_size, &number, sizeof number);
}

static int phase_insert(struct store *s, struct work *w)
{
    int r = 0;

    for (uint64_t i = 0; i < w->n && r == 0; i++) {
        set_number(w, 0, number_of(w->keys[i], s->version));
        r = s->peer->insert(s->state, &w->keys[i], w->values);
    }
    return r;
}

static int phase_get(struct store *s, struct work *w)
{
    uint64_t number, sum = 0;
    int r = 0;

    for (uint64_t i = 0; i < w->n && r == 0; i++) {
        r = s->peer->get(s->state, &w->keys[i], w->values);
        memcpy(&number, w->values, sizeof number);
        sum += number - number_of(w->keys[i], s->version);
    }
    return r < 0 ? r : sum ? (fail("%s: get returned wrong values", s->peer->name), -EUCLEAN) : 0;
}

static int phase_put(struct store *s, struct work *w)
{
    int r = 0;

    s->version++;
    for (uint64_t i = 0; i < w->n && r == 0; i++) {
        set_number(w, 0, number_of(w->keys[i], s->version));
        r = s->peer->put(s->state, &w->keys[i], w->values);
    }
    return r;
}

static int phase_batch(struct store *s, struct work *w)
{
    int r = 0;

    s->version++;
    for (uint64_t i = 0; i < w->n && r == 0; i += BATCH) {
        for (unsigned j = 0; j < BATCH; j++)
            set_number(w, j, number_of(w->keys[i + j], s->version));
        r = s->peer->put_many(s->state, &w->keys[i], BATCH, w->values);
    }
    return r;
}

static int phase_hot_put(struct store *s, struct work *w)
{
    int r = 0;

    for (uint64_t i = 0; i < w->n && r == 0; i++) {
        set_number(w, 0, i);
        r = s->peer->put(s->state, &w->hot_key, w->values);
    }
    s->extra++;
    s->extra_sum += w->n - 1;
    return r;
}

static int phase_hot_get(struct store *s, struct work *w)
{
    uint64_t number, sum = 0;
    int r = 0;

    for (uint64_t i = 0; i < w->n && r == 0; i++) {
        r = s->peer->get(s->state, &w->hot_key, w->values);
        memcpy(&number, w->values, sizeof number);
        sum += number - (w->n - 1);
    }
    return r < 0 ? r : sum ? (fail("%s: get of the hot key returned wrong values", s->peer->name), -EUCLEAN) : 0;
}

static int phase_hot_add(struct store *s, struct work *w)
{
    int64_t result = 0;
    int r = 0;

    for (uint64_t i = 0; i < w->n && r == 0; i++)
        r = s->peer->add(s->state, &w->add_key, 1, &result);
    s->extra++;
    s->extra_sum += w->n;
    return r < 0 ? r : result != (int64_t)w->n ? (fail("%s: add counted wrongly", s->peer->name), -EUCLEAN) : 0;
}

/* Half of the objects, so that the check that follows has something to find. */
static int phase_del(struct store *s, struct work *w)
{
    int r = 0;

    for (uint64_t i = 0; i < w->n / 2 && r == 0; i++)
        r = s->peer->del(s->state, &w->keys[i]);
    return r;
}

const struct phase phases[PHASES] = {
    [INSERT] = {"insert", "new objects into a growing store", phase_insert},
    [GET] = {"get", "copy a value out", phase_get},
    [PUT] = {"put", "overwrite with another value of the same size", phase_put},
    [BATCH_PUT] = {"put_tx10", "overwrite in transactions of 10, a put", phase_batch},
    [HOT_PUT] = {"hot_put", "overwrite one object again and again", phase_hot_put},
    [HOT_GET] = {"hot_get", "get one object again and again", phase_hot_get},
    [HOT_ADD] = {"hot_add", "add 1 to one number again and again", phase_hot_add},
    [DEL] = {"del", "delete half of the objects", phase_del},
};

bool phase_possible(const struct peer *peer, unsigned phase)
{
    return (phase != BATCH_PUT || peer->put_many) && (phase != HOT_ADD || peer->add);
}

int phase_check(const struct store *s, const struct work *w, bool deleted)
{
    uint64_t objects = s->extra, sum = s->extra_sum, found, found_sum;
    int r;

    for (uint64_t i = deleted ? w->n / 2 : 0; i < w->n; i++, objects++)
        sum += number_of(w->keys[i], s->version);
    r = s->peer->walk(s->state, &found, &found_sum);
    if (r < 0)
        return fail("%s: walk: %s", s->peer->name, heir_strerror(r));
    if (found != objects || found_sum != sum)
        return fail("%s: NOT CONSERVED: %llu objects instead of %llu, sum %llu instead of %llu", s->peer->name,
                    (unsigned long long)found, (unsigned long long)objects, (unsigned long long)found_sum,
                    (unsigned long long)sum);
    return 0;
}
