/* SPDX-License-Identifier: MIT */
/*
 * What does TDB cost, on /dev/shm, with robust mutexes as locks and a hash table made for the number of objects? No
 * transactions: theirs are for disks.
 */
#include "peer.h"
#include "world.h"

#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tdb.h>
#include <unistd.h>

struct tdb_peer {
    struct tdb_context *db;
    size_t value_size;
};

static int error_of(struct tdb_peer *p, int r)
{
    if (r == 0)
        return 0;
    return tdb_error(p->db) == TDB_ERR_NOEXIST ? -ENOENT : tdb_error(p->db) == TDB_ERR_OOM ? -ENOMEM : -EIO;
}

static int tdb_peer_open(const struct peer_setup *setup, void **state)
{
    struct tdb_peer *p = must(calloc(1, sizeof *p));
    int chains = (int)(setup->objects < 1000000 ? setup->objects : 1000000) | 1;
    char path[96];

    *state = p;
    p->value_size = setup->value_size;
    /* Offsets have 32 bits; and a file grows in steps. */
    if (!tdb_runtime_check_for_robust_mutexes() ||
        setup->objects * (setup->value_size * 5 / 4 + 64) > (UINT64_C(3) << 30))
        return -ENOTSUP;
    snprintf(path, sizeof path, "%s/tdb", setup->world->shm_dir);
    p->db = tdb_open(path, chains, TDB_CLEAR_IF_FIRST | TDB_MUTEX_LOCKING | TDB_INCOMPATIBLE_HASH | TDB_NOSYNC,
                     O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (!p->db)
        return errno ? -errno : -EIO;
    unlink(path);
    return 0;
}

static void tdb_peer_close(void *state)
{
    struct tdb_peer *p = state;

    if (p && p->db)
        tdb_close(p->db);
    free(p);
}

static TDB_DATA data_of(const void *bytes, size_t size)
{
    return (TDB_DATA){(unsigned char *)bytes, size};
}

static int tdb_peer_insert(void *state, const uint64_t *key, const void *value)
{
    struct tdb_peer *p = state;

    return error_of(p, tdb_store(p->db, data_of(key, sizeof *key), data_of(value, p->value_size), TDB_INSERT));
}

static int tdb_peer_put(void *state, const uint64_t *key, const void *value)
{
    struct tdb_peer *p = state;

    return error_of(p, tdb_store(p->db, data_of(key, sizeof *key), data_of(value, p->value_size), TDB_REPLACE));
}

struct copy {
    void *to;
    size_t size;
};

static int copy_out(TDB_DATA key, TDB_DATA data, void *arg)
{
    struct copy *copy = arg;

    (void)key;
    memcpy(copy->to, data.dptr, data.dsize < copy->size ? data.dsize : copy->size);
    return 0;
}

static int tdb_peer_get(void *state, const uint64_t *key, void *value)
{
    struct tdb_peer *p = state;
    struct copy copy = {value, p->value_size};

    return error_of(p, tdb_parse_record(p->db, data_of(key, sizeof *key), copy_out, &copy));
}

static int tdb_peer_del(void *state, const uint64_t *key)
{
    struct tdb_peer *p = state;

    return error_of(p, tdb_delete(p->db, data_of(key, sizeof *key)));
}

static int tdb_peer_add(void *state, const uint64_t *key, int64_t delta, int64_t *result)
{
    struct tdb_peer *p = state;
    int64_t number = 0;
    struct copy copy = {&number, sizeof number};
    int r;

    if (tdb_chainlock(p->db, data_of(key, sizeof *key)) != 0)
        return -EIO;
    tdb_parse_record(p->db, data_of(key, sizeof *key), copy_out, &copy);
    *result = number += delta;
    r = tdb_store(p->db, data_of(key, sizeof *key), data_of(&number, sizeof number), TDB_REPLACE);
    tdb_chainunlock(p->db, data_of(key, sizeof *key));
    return error_of(p, r);
}

static int visit(struct tdb_context *db, TDB_DATA key, TDB_DATA data, void *arg)
{
    struct total *total = arg;
    uint64_t number;

    (void)db;
    (void)key;
    memcpy(&number, data.dptr, sizeof number);
    total->objects++;
    total->sum += number;
    return 0;
}

static int tdb_peer_walk(void *state, uint64_t *objects, uint64_t *sum)
{
    struct tdb_peer *p = state;
    struct total total = {0};

    if (tdb_traverse_read(p->db, visit, &total) < 0)
        return -EIO;
    *objects = total.objects;
    *sum = total.sum;
    return 0;
}

const struct peer peer_tdb = {
    .name = "tdb",
    .what = "TDB (MUTEX_LOCKING, NOSYNC), a hash chain an object; crash safe for its locks, not for its contents",
    .open = tdb_peer_open,
    .close = tdb_peer_close,
    .insert = tdb_peer_insert,
    .get = tdb_peer_get,
    .put = tdb_peer_put,
    .del = tdb_peer_del,
    .walk = tdb_peer_walk,
    .add = tdb_peer_add,
};
