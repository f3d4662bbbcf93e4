/* SPDX-License-Identifier: MIT */
/* What one uid may have: so that no user can starve the others. The keeper's own user and root are not limited. */
#include "state.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static bool limited(const struct keeper_user *u)
{
    return u->uid != 0 && u->uid != geteuid();
}

void user_close(struct keeper_user *u, int fd)
{
    if (limited(u) && u->closer == NULL)
        u->closer = closer_new();
    if (u->closer == NULL || !closer_take(u->closer, fd))
        close(fd);
}

static int match_uid(struct cds_lfht_node *node, const void *key)
{
    return caa_container_of(node, struct keeper_user, by_uid)->uid == *(const uint32_t *)key;
}

/* Kept for as long as the keeper runs: a uid that comes again is counted on. */
struct keeper_user *user_of(struct heir_keeper *k, uint32_t uid)
{
    struct cds_lfht_node *node = hash_find(&k->users, hash_number(uid), match_uid, &uid);
    if (node != NULL)
        return caa_container_of(node, struct keeper_user, by_uid);
    struct keeper_user *u = calloc(1, sizeof *u);
    if (u == NULL)
        return NULL;
    u->uid = uid;
    hash_add(&k->users, hash_number(uid), &u->by_uid);
    return u;
}

void users_free(struct heir_keeper *k)
{
    struct cds_lfht_iter iter;
    struct cds_lfht_node *node;

    if (k->users.ht == NULL)
        return;
    for (;;) {
        urcu_bp_read_lock();
        cds_lfht_first(k->users.ht, &iter);
        node = cds_lfht_iter_get_node(&iter);
        urcu_bp_read_unlock();
        if (node == NULL)
            break;
        hash_del(&k->users, node);
        struct keeper_user *u = caa_container_of(node, struct keeper_user, by_uid);
        if (u->closer != NULL)
            closer_end(u->closer);
        free(u);
    }
}

int user_may_connect(const struct heir_keeper *k, const struct keeper_user *u)
{
    uint64_t open = u->connections + closer_pending(u->closer);
    return limited(u) && open / 2 >= k->clients_per_uid ? -EDQUOT : 0;
}

int user_may_open(const struct heir_keeper *k, const struct keeper_user *u)
{
    return limited(u) && u->clients >= k->clients_per_uid ? -EDQUOT : 0;
}

int user_may_create(const struct heir_keeper *k, const struct keeper_user *u, uint64_t bytes)
{
    if (!limited(u))
        return 0;
    return u->tables >= k->tables_per_uid || bytes > k->bytes_per_uid || u->bytes > k->bytes_per_uid - bytes ? -EDQUOT
                                                                                                             : 0;
}
