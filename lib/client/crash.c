/* SPDX-License-Identifier: MIT */
/*
 * Crash notes: a client tells of its own end before the core dump begins.
 *
 * The handler stores signal, address and time in the page of each client of the process that has asked for it, wakes
 * the keeper's watcher, which sleeps on the life mutex's word, puts the action of before back, and sends itself the
 * signal again: it is delivered when the handler returns, with the registers of the crash, to whoever would have had
 * it without us. Only what is async-signal-safe is done: atomic stores and system calls.
 *
 * A process that recovers may open clients again, and crash again: the handler then comes back to its place. Whoever
 * has taken that meanwhile may have kept ours, to call it in the end; then the first one's turn has come, for the last
 * one is the caller.
 */
#include "atomics.h"
#include "client.h"
#include "robust.h"
#include "shm.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int signals[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGXCPU, SIGXFSZ};
#define SIGNALS (sizeof signals / sizeof signals[0])

/* A client that has asked for notes. Never freed: a handler may be looking at it; used again instead. */
struct noted {
    _Atomic(struct client_page *) page; /* NULL: free */
    struct life life;
    struct noted *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct noted *) all;
static _Atomic unsigned running; /* handlers */
/* What our handler has taken the place of: the last time, and the first time. */
static struct sigaction before[SIGNALS], first[SIGNALS];
static bool begun;

static void note(struct client_page *page, int signal, const siginfo_t *info)
{
    if (get(&page->crash_signal) != 0)
        return;
    set(&page->crash_address, (uintptr_t)info->si_addr);
    set(&page->crash_ns, clock_real_ns());
    /* visible to others now: */
    set(&page->crash_signal, (uint64_t)signal);
    robust_wake_watcher(&page->life.mutex);
}

static void on_fatal_signal(int signal, siginfo_t *info, void *context);

static bool is_installed(int signal, struct sigaction *now)
{
    sigaction(signal, NULL, now);
    return (now->sa_flags & SA_SIGINFO) != 0 && now->sa_sigaction == on_fatal_signal;
}

static void on_fatal_signal(int signal, siginfo_t *info, void *context)
{
    struct sigaction now;
    int error = errno;

    (void)context;
    atomic_fetch_add(&running, 1);
    for (struct noted *n = atomic_load(&all); n != NULL; n = n->next) {
        struct client_page *page = atomic_load(&n->page);
        if (page != NULL && life_lasts(n->life)) {
            life_end(n->life);
            note(page, signal, info);
        }
    }
    atomic_fetch_sub(&running, 1);
    for (unsigned i = 0; i < SIGNALS; i++) {
        if (signals[i] == signal)
            sigaction(signal, is_installed(signal, &now) ? &before[i] : &first[i], NULL);
    }
    syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), signal, info);
    errno = error;
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fatal_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < SIGNALS; i++) {
        struct sigaction now;
        if (is_installed(signals[i], &now))
            continue;
        before[i] = now;
        if (!begun)
            first[i] = now;
        if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
    begun = true;
}

/* A child has no other threads: neither who held the lock, nor a handler that runs. */
static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void after_fork_child(void)
{
    atomic_store(&running, 0);
    pthread_mutex_unlock(&lock);
}

static pthread_once_t forks_once = PTHREAD_ONCE_INIT;
static int forks_error;

static void watch_forks(void)
{
    forks_error = pthread_atfork(before_fork, after_fork_parent, after_fork_child) != 0 ? -ENOMEM : 0;
}

int crash_note_begin(struct heir *c)
{
    struct noted *n;

    pthread_once(&forks_once, watch_forks);
    if (forks_error < 0)
        return forks_error;

    pthread_mutex_lock(&lock);
    for (n = all; n != NULL && n->page != NULL && life_lasts(n->life); n = n->next) {
    }
    if (n != NULL) { /* free, a parent's, or one that has been noted */
        atomic_store(&n->page, NULL);
        n->life = c->life;
    } else if ((n = calloc(1, sizeof *n)) != NULL) {
        n->life = c->life;
        n->next = all;
        atomic_store(&all, n);
    }
    if (n != NULL) {
        atomic_store(&n->page, c->page);
        install();
    }
    pthread_mutex_unlock(&lock);
    return n != NULL ? 0 : -ENOMEM;
}

void crash_note_end(struct heir *c)
{
    pthread_mutex_lock(&lock);
    for (struct noted *n = all; n != NULL; n = n->next) {
        if (n->life.number == c->life.number)
            atomic_store(&n->page, NULL);
    }
    pthread_mutex_unlock(&lock);
    while (atomic_load(&running) != 0) /* it may be writing to the page */
        sched_yield();
}
