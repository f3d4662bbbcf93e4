/* SPDX-License-Identifier: MIT */
/*
 * What does LMDB cost, on /dev/shm, without syncing and with a writable map: its fastest mode that survives a killed
 * process? A get renews a read transaction, so that it sees the last commit as libheir's does; a put is a transaction
 * of its own.
 */
#include "peer.h"
#include "world.h"

#include "common.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct lmdb_peer {
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *reader;
    MDB_cursor *cursor; /* of the reader; NULL until it is needed */
    size_t value_size;
};

/* LMDB's own errors are negative, the system's positive. */
static int error_of(int r)
{
    if (r == MDB_NOTFOUND)
        return -ENOENT;
    if (r == MDB_MAP_FULL)
        return -ENOSPC;
    return r < 0 ? -EIO : -r;
}

static int lmdb_open(const struct peer_setup *setup, void **state)
{
    struct lmdb_peer *p = must(calloc(1, sizeof *p));
    char path[96], lock[112];
    MDB_txn *txn;
    int r;

    *state = p;
    p->value_size = setup->value_size;
    snprintf(path, sizeof path, "%s/lmdb", setup->world->shm_dir);
    snprintf(lock, sizeof lock, "%s-lock", path);
    if ((r = mdb_env_create(&p->env)) != 0)
        return error_of(r);
    /* A page holds at least two objects; half of it may be empty, and as much may wait for reuse. */
    r = mdb_env_set_mapsize(p->env, ((setup->objects * (setup->value_size + 64) * 5 + (64u << 20)) | 0xfff) + 1);
    if (r == 0)
        r = mdb_env_open(p->env, path, MDB_NOSUBDIR | MDB_NOSYNC | MDB_WRITEMAP | MDB_NOTLS, 0600);
    unlink(path);
    unlink(lock);
    if (r != 0)
        return error_of(r);
    if ((r = mdb_txn_begin(p->env, NULL, 0, &txn)) != 0)
        return error_of(r);
    if ((r = mdb_dbi_open(txn, NULL, 0, &p->dbi)) != 0 || (r = mdb_txn_commit(txn)) != 0)
        return error_of(r);
    if ((r = mdb_txn_begin(p->env, NULL, MDB_RDONLY, &p->reader)) != 0)
        return error_of(r);
    mdb_txn_reset(p->reader);
    return 0;
}

static void lmdb_close(void *state)
{
    struct lmdb_peer *p = state;

    if (p && p->cursor)
        mdb_cursor_close(p->cursor);
    if (p && p->reader)
        mdb_txn_abort(p->reader);
    if (p && p->env)
        mdb_env_close(p->env);
    free(p);
}

static int lmdb_put_many(void *state, const uint64_t *keys, size_t n, const void *values)
{
    struct lmdb_peer *p = state;
    MDB_txn *txn;
    int r = mdb_txn_begin(p->env, NULL, 0, &txn);

    if (r != 0)
        return error_of(r);
    for (size_t i = 0; i < n && r == 0; i++) {
        MDB_val k = {sizeof keys[i], (void *)&keys[i]}, v = {p->value_size, (char *)values + i * p->value_size};
        r = mdb_put(txn, p->dbi, &k, &v, 0);
    }
    if (r == 0)
        return error_of(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return error_of(r);
}

static int lmdb_put(void *state, const uint64_t *key, const void *value)
{
    return lmdb_put_many(state, key, 1, value);
}

static int lmdb_get(void *state, const uint64_t *key, void *value)
{
    struct lmdb_peer *p = state;
    MDB_val k = {sizeof *key, (void *)key}, v;
    int r = mdb_txn_renew(p->reader);

    if (r != 0)
        return error_of(r);
    r = mdb_get(p->reader, p->dbi, &k, &v);
    if (r == 0)
        memcpy(value, v.mv_data, p->value_size);
    mdb_txn_reset(p->reader);
    return error_of(r);
}

static int lmdb_del(void *state, const uint64_t *key)
{
    struct lmdb_peer *p = state;
    MDB_val k = {sizeof *key, (void *)key};
    MDB_txn *txn;
    int r = mdb_txn_begin(p->env, NULL, 0, &txn);

    if (r != 0)
        return error_of(r);
    if ((r = mdb_del(txn, p->dbi, &k, NULL)) == 0)
        return error_of(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return error_of(r);
}

static int lmdb_add(void *state, const uint64_t *key, int64_t delta, int64_t *result)
{
    struct lmdb_peer *p = state;
    MDB_val k = {sizeof *key, (void *)key}, v;
    int64_t number = 0;
    MDB_txn *txn;
    int r = mdb_txn_begin(p->env, NULL, 0, &txn);

    if (r != 0)
        return error_of(r);
    if ((r = mdb_get(txn, p->dbi, &k, &v)) == 0)
        memcpy(&number, v.mv_data, sizeof number);
    *result = number += delta;
    v = (MDB_val){sizeof number, &number};
    if (r == 0 || r == MDB_NOTFOUND)
        r = mdb_put(txn, p->dbi, &k, &v, 0);
    if (r == 0)
        return error_of(mdb_txn_commit(txn));
    mdb_txn_abort(txn);
    return error_of(r);
}

static int lmdb_walk(void *state, uint64_t *objects, uint64_t *sum)
{
    struct lmdb_peer *p = state;
    MDB_cursor *cursor;
    MDB_val k, v;
    uint64_t number;
    int r = mdb_txn_renew(p->reader);

    *objects = *sum = 0;
    if (r != 0)
        return error_of(r);
    if ((r = mdb_cursor_open(p->reader, p->dbi, &cursor)) == 0) {
        while ((r = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
            memcpy(&number, v.mv_data, sizeof number);
            ++*objects;
            *sum += number;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_reset(p->reader);
    return r == MDB_NOTFOUND ? 0 : error_of(r);
}

static int lmdb_hold(void *state, bool on)
{
    struct lmdb_peer *p = state;
    int r;

    if (!on) {
        mdb_txn_reset(p->reader);
        return 0;
    }
    if ((r = mdb_txn_renew(p->reader)) != 0)
        return error_of(r);
    r = p->cursor ? mdb_cursor_renew(p->reader, p->cursor) : mdb_cursor_open(p->reader, p->dbi, &p->cursor);
    if (r != 0)
        mdb_txn_reset(p->reader);
    return error_of(r);
}

static int lmdb_held_range(void *state, const struct span *span, struct total *total)
{
    struct lmdb_peer *p = state;
    MDB_val k = {sizeof span->from, (void *)&span->from}, v;
    uint64_t number;
    int r = mdb_cursor_get(p->cursor, &k, &v, MDB_SET_RANGE);

    for (uint64_t i = 1; r == 0; i++) {
        memcpy(&number, v.mv_data, sizeof number);
        total->objects++;
        total->sum += number;
        if (i == span->n)
            break;
        r = mdb_cursor_get(p->cursor, &k, &v, MDB_NEXT);
    }
    return error_of(r);
}

static int lmdb_range(void *state, const struct span *span, struct total *total)
{
    int r = lmdb_hold(state, true);

    if (r < 0)
        return r;
    r = lmdb_held_range(state, span, total);
    lmdb_hold(state, false);
    return r;
}

static int lmdb_bytes(void *state, uint64_t *bytes)
{
    struct lmdb_peer *p = state;
    MDB_stat stat;
    int r = mdb_env_stat(p->env, &stat);

    *bytes = stat.ms_psize * (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages);
    return error_of(r);
}

const struct peer peer_lmdb = {
    .name = "lmdb",
    .what = "LMDB " /* its version macro is for run time only */
            "(NOSYNC, WRITEMAP), a renewed read transaction a get, a transaction a put",
    .open = lmdb_open,
    .close = lmdb_close,
    .insert = lmdb_put,
    .get = lmdb_get,
    .put = lmdb_put,
    .del = lmdb_del,
    .walk = lmdb_walk,
    .range = lmdb_range,
    .hold = lmdb_hold,
    .held_range = lmdb_held_range,
    .add = lmdb_add,
    .put_many = lmdb_put_many,
    .bytes = lmdb_bytes,
};
