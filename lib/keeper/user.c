/* SPDX-License-Identifier: MIT */
/* What one uid may have: so that no user can starve the others. The keeper's own user and root are not limited. */
#include "state.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_BYTES (64 * 1024)

/* ---- Closing -------------------------------------------------------------------------------------------- */

struct to_close {
    int fd;
    struct to_close *next;
};

/* A thread that closes what came from one user, and frees itself when it is done. */
struct closer {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct to_close *first, **last;
    _Atomic uint64_t count;
    bool stop;
};

static void *close_all(void *arg)
{
    struct closer *w = arg;

    pthread_mutex_lock(&w->lock);
    while (w->first != NULL || !w->stop) {
        struct to_close *next = w->first;
        if (next == NULL) {
            pthread_cond_wait(&w->more, &w->lock);
            continue;
        }
        if ((w->first = next->next) == NULL)
            w->last = &w->first;
        pthread_mutex_unlock(&w->lock);
        setsockopt(next->fd, SOL_SOCKET, SO_LINGER, &(struct linger){0}, sizeof(struct linger));
        close(next->fd);
        free(next);
        atomic_fetch_sub(&w->count, 1);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return NULL;
}

static struct closer *closer_new(void)
{
    struct closer *w = calloc(1, sizeof *w);
    pthread_attr_t attr;
    pthread_t thread;

    if (w == NULL)
        return NULL;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    w->last = &w->first;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED); /* nobody waits for what it waits for */
    int r = pthread_create(&thread, &attr, close_all, w);
    pthread_attr_destroy(&attr);
    if (r == 0)
        return w;
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return NULL;
}

static void closer_end(struct closer *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
}

static bool limited(const struct keeper_user *u)
{
    return u->uid != 0 && u->uid != geteuid();
}

void user_close(struct keeper_user *u, int fd)
{
    struct to_close *one = limited(u) ? malloc(sizeof *one) : NULL;

    if (one != NULL && u->closer == NULL)
        u->closer = closer_new();
    if (one == NULL || u->closer == NULL) {
        free(one);
        close(fd);
        return;
    }
    *one = (struct to_close){.fd = fd};
    atomic_fetch_add(&u->closer->count, 1);
    pthread_mutex_lock(&u->closer->lock);
    *u->closer->last = one;
    u->closer->last = &one->next;
    pthread_cond_signal(&u->closer->more);
    pthread_mutex_unlock(&u->closer->lock);
}

/* ---- Users ---------------------------------------------------------------------------------------------- */

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
    uint64_t open = u->connections + (u->closer != NULL ? atomic_load(&u->closer->count) : 0);
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
