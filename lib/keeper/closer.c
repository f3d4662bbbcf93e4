/* SPDX-License-Identifier: MIT */
/*
 * Closing what others have sent.
 *
 * A descriptor that a client sends may be one whose last close() waits: a socket that lingers, a file of a file system
 * of its own. So what another user sends is closed by a thread of that user's, which keeps nobody else waiting.
 */
#include "state.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_BYTES (64 * 1024)

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

struct closer *closer_new(void)
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

void closer_end(struct closer *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
}

uint64_t closer_pending(const struct closer *w)
{
    return w != NULL ? atomic_load(&w->count) : 0;
}

bool closer_take(struct closer *w, int fd)
{
    struct to_close *one = malloc(sizeof *one);

    if (one == NULL)
        return false;
    *one = (struct to_close){.fd = fd};
    atomic_fetch_add(&w->count, 1);
    pthread_mutex_lock(&w->lock);
    *w->last = one;
    w->last = &one->next;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    return true;
}
