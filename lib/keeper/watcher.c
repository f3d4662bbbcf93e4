/* SPDX-License-Identifier: MIT */
/*
 * Watchers: threads that sleep until one of their clients ends.
 *
 * A watcher waits with futex_waitv() on the life mutexes of up to WATCHED clients and on a word of its own, by which it
 * is told that its set has changed. The kernel wakes it while it walks the dead thread's robust list: before it frees
 * the dead process's memory, which is what makes this quick (design: 25 us against 80 ms for a process of 1 GiB). The
 * watcher itself then does the reclaiming: one wake-up from death to the next owner. One that has no clients left ends
 * when others have room.
 */
#include "atomics.h"
#include "robust.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WATCHED     32
#define STACK_BYTES (64 * 1024)
#define VAIN_NS     1000000

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

struct watcher {
    struct heir_keeper *keeper;
    pthread_t thread;
    _Atomic uint32_t changed; /* raised when `clients` changes, or to stop */
    bool stop;
    unsigned count;
    struct keeper_client *clients[WATCHED];
    struct cds_list_head all;
};

/* Others have room for more than it could have: it ends. With the lock held. */
static bool is_spare(const struct watcher *w)
{
    const struct watcher *other;
    cds_list_for_each_entry(other, &w->keeper->watchers, all) {
        if (w->count == 0 && other != w && other->count <= WATCHED / 2)
            return true;
    }
    return false;
}

static void tell(struct watcher *w)
{
    atomic_fetch_add(&w->changed, 1);
    syscall(SYS_futex, &w->changed, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

/* Fill in what to wait for, burying the dead on the way. The lock is held. */
static unsigned prepare(struct watcher *w, struct futex_waitv waits[WATCHED + 1])
{
    unsigned n = 0;
    waits[n++] = (struct futex_waitv){
        .val = atomic_load(&w->changed), .uaddr = (uintptr_t)&w->changed, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG};
    for (unsigned i = 0; i < w->count;) {
        struct keeper_client *c = w->clients[i];
        uint32_t value = 0;
        const uint32_t *word = robust_watch(&c->page->life.mutex, &value);
        if (word == NULL || get(&c->page->crash_signal) != 0) {
            uint64_t now = clock_mono_ns();
            watcher_remove(c); /* puts another one in its place */
            death_noticed(w->keeper, c, now);
            continue;
        }
        waits[n++] = (struct futex_waitv){.val = value, .uaddr = (uintptr_t)word, .flags = FUTEX_32};
        i++;
    }
    return n;
}

/* Who has got a table may be waiting for this very processor: it goes first. The lock is let go meanwhile. */
static void explain(struct heir_keeper *k)
{
    struct keeper_table *t = table_by_id(k, k->unexplained->first_table);

    if (t != NULL && table_owner(k, t) != NULL) {
        pthread_mutex_unlock(&k->lock);
        sched_yield();
        pthread_mutex_lock(&k->lock);
    }
    death_explain(k);
}

static void *watch(void *arg)
{
    struct watcher *w = arg;
    struct futex_waitv waits[WATCHED + 1] = {{0}};

    fault_thread(true);
    pthread_mutex_lock(&w->keeper->lock);
    while (!w->stop) {
        unsigned count = w->count;
        uint64_t changed = waits[0].val;
        unsigned n = prepare(w, waits);
        if (w->keeper->unexplained != NULL)
            explain(w->keeper);
        if (w->stop)
            break;
        if (is_spare(w)) {
            cds_list_move(&w->all, &w->keeper->retired);
            break;
        }
        /* a client that writes to its life mutex all the time must not keep us busy */
        bool vain = waits[0].val == changed && w->count == count;
        pthread_mutex_unlock(&w->keeper->lock);
        if (vain)
            nanosleep(&(struct timespec){.tv_nsec = VAIN_NS}, NULL);
        syscall(SYS_futex_waitv, waits, n, 0, NULL, CLOCK_MONOTONIC);
        pthread_mutex_lock(&w->keeper->lock);
    }
    pthread_mutex_unlock(&w->keeper->lock);
    return NULL;
}

/* Those that have ended, or are about to. */
static void join_retired(struct heir_keeper *k)
{
    while (!cds_list_empty(&k->retired)) {
        struct watcher *w = cds_list_entry(k->retired.next, struct watcher, all);
        cds_list_del(&w->all);
        pthread_join(w->thread, NULL);
        free(w);
    }
}

static struct watcher *watcher_new(struct heir_keeper *k)
{
    struct watcher *w = calloc(1, sizeof *w);
    pthread_attr_t attr;

    if (w == NULL)
        return NULL;
    join_retired(k);
    w->keeper = k;
    atomic_store(&w->changed, 1);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int r = pthread_create(&w->thread, &attr, watch, w);
    pthread_attr_destroy(&attr);
    if (r != 0) {
        free(w);
        return NULL;
    }
    cds_list_add(&w->all, &k->watchers);
    return w;
}

int watcher_add(struct heir_keeper *k, struct keeper_client *c)
{
    struct watcher *w, *found = NULL;

    cds_list_for_each_entry(w, &k->watchers, all) {
        if (w->count < WATCHED) {
            found = w;
            break;
        }
    }
    if (found == NULL && (found = watcher_new(k)) == NULL)
        return -ENOMEM;
    found->clients[found->count++] = c;
    c->watcher = found;
    tell(found);
    return 0;
}

void watcher_remove(struct keeper_client *c)
{
    struct watcher *w = c->watcher;
    if (w == NULL)
        return;
    for (unsigned i = 0; i < w->count; i++) {
        if (w->clients[i] == c) {
            w->clients[i] = w->clients[--w->count];
            break;
        }
    }
    c->watcher = NULL;
    if (!pthread_equal(w->thread, pthread_self()))
        tell(w); /* it must not wait on memory that is about to be unmapped */
}

/* Called without the lock, and with `stopping` set: nobody adds watchers any more. */
void watchers_stop(struct heir_keeper *k)
{
    struct watcher *w, *next;

    pthread_mutex_lock(&k->lock);
    cds_list_for_each_entry(w, &k->watchers, all) {
        w->stop = true;
        tell(w);
    }
    pthread_mutex_unlock(&k->lock);
    cds_list_for_each_entry_safe(w, next, &k->watchers, all) {
        pthread_join(w->thread, NULL);
        while (w->count > 0)
            w->clients[--w->count]->watcher = NULL;
        free(w);
    }
    CDS_INIT_LIST_HEAD(&k->watchers);
    join_retired(k);
}
