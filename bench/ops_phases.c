/* SPDX-License-Identifier: MIT */
/* What does `ops` do to a store, and how does it know that the store did it? See ops_phases.h. */
#include "ops_phases.h"

#include "common.h"

#include <endian.h>
#include <errno.h>
#include <heir.h>
#include <stdlib.h>
#include <string.h>

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = be64toh(*(const uint64_t *)a), y = be64toh(*(const uint64_t *)b);

    return (x > y) - (x < y);
}

void work_init(struct work *w, uint64_t n, size_t value_size, bool ordered)
{
    *w = (struct work){.n = n, .value_size = value_size, .hot_key = mix64(n), .add_key = mix64(n + 1)};
    w->keys = must(malloc(n * sizeof *w->keys));
    w->values = must(calloc(BATCH, value_size));
    for (uint64_t i = 0; i < n; i++)
        w->keys[i] = mix64(i);
    if (!ordered)
        return;
    w->sorted = must(malloc(n * sizeof *w->sorted));
    memcpy(w->sorted, w->keys, n * sizeof *w->sorted);
    qsort(w->sorted, n, sizeof *w->sorted, compare_keys);
}

/* What a key's value begins with in this version; the rest of it does not matter. */
static uint64_t number_of(uint64_t key, uint64_t version)
{
    return key + version * UINT64_C(0x9e3779b97f4a7c15); /* little work beside that of the store */
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
    int (*const get)(void *, const uint64_t *, void *) = s->peer->get;
    const uint64_t *const keys = w->keys, n = w->n, version = s->version;
    unsigned char *const values = w->values;
    void *const state = s->state;
    uint64_t number, sum = 0;
    int r = 0;

    for (uint64_t i = 0; i < n && r == 0; i++) {
        r = get(state, &keys[i], values);
        memcpy(&number, values, sizeof number);
        sum += number - number_of(keys[i], version);
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

static uint64_t range_begin(const struct work *w, uint64_t i)
{
    return mix64(i + w->round * w->n) % (w->n - RANGE);
}

static int visit_ranges(struct store *s, const struct work *w,
                        int (*range)(void *, const struct span *, struct total *))
{
    int r = 0;

    s->ranges = (struct total){0};
    for (uint64_t i = 0; i < w->n / RANGE_EVERY && r == 0; i++) {
        const uint64_t *first = &w->sorted[range_begin(w, i)];
        r = range(s->state, &(struct span){first[0], first[RANGE], RANGE}, &s->ranges);
    }
    return r;
}

static int phase_ranges(struct store *s, struct work *w)
{
    return visit_ranges(s, w, s->peer->range);
}

static int phase_held_ranges(struct store *s, struct work *w)
{
    int r = s->peer->hold(s->state, true), released;

    if (r < 0)
        return r;
    r = visit_ranges(s, w, s->peer->held_range);
    released = s->peer->hold(s->state, false);
    return r < 0 ? r : released;
}

static int check_ranges(const struct store *s, const struct work *w)
{
    int64_t *times = must(calloc(w->n + 1, sizeof *times)), visits = 0; /* differences to the object before */
    struct total expected = {0};

    for (uint64_t i = 0; i < w->n / RANGE_EVERY; i++) {
        times[range_begin(w, i)]++;
        times[range_begin(w, i) + RANGE]--;
    }
    for (uint64_t i = 0; i < w->n; i++) {
        visits += times[i];
        expected.objects += (uint64_t)visits;
        expected.sum += (uint64_t)visits * number_of(w->sorted[i], s->version);
    }
    free(times);
    if (s->ranges.objects == expected.objects && s->ranges.sum == expected.sum)
        return 0;
    return fail("%s: ranges showed %llu objects instead of %llu, sum %llu instead of %llu", s->peer->name,
                (unsigned long long)s->ranges.objects, (unsigned long long)expected.objects,
                (unsigned long long)s->ranges.sum, (unsigned long long)expected.sum);
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
    [INSERT] = {"insert", "new objects into a growing store", phase_insert, 1, NULL},
    [GET] = {"get", "copy a value out", phase_get, 1, NULL},
    [PUT] = {"put", "overwrite with another value of the same size", phase_put, 1, NULL},
    [BATCH_PUT] = {"put_tx10", "overwrite in transactions of 10, a put", phase_batch, 1, NULL},
    [RANGES] = {"range100", "visit 100 neighbours of the last commit, from a random key on, a visit of all 100",
                phase_ranges, RANGE_EVERY, check_ranges},
    [HELD_RANGES] = {"snapshot_range100", "the same in one snapshot, or one read transaction, for all",
                     phase_held_ranges, RANGE_EVERY, check_ranges},
    [HOT_PUT] = {"hot_put", "overwrite one object again and again", phase_hot_put, 1, NULL},
    [HOT_GET] = {"hot_get", "get one object again and again", phase_hot_get, 1, NULL},
    [HOT_ADD] = {"hot_add", "add 1 to one number again and again", phase_hot_add, 1, NULL},
    [DEL] = {"del", "delete half of the objects", phase_del, 2, NULL},
};

bool phase_possible(const struct peer *peer, unsigned phase)
{
    switch (phase) {
    case BATCH_PUT:
        return peer->put_many;
    case HOT_ADD:
        return peer->add;
    case RANGES:
        return peer->range;
    case HELD_RANGES:
        return peer->held_range;
    default:
        return true;
    }
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
