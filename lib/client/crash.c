/* SPDX-License-Identifier: MIT */
/*
 * Crash notes: a client tells of its own end before the core dump begins.
 *
 * The handler stores signal, address and time in the page of each client of the process that has asked for it, wakes
 * the keeper's watcher, which sleeps on the life mutex's word, puts the action of before back, and sends itself the
 * signal again: it is delivered when the handler returns, with the registers of the crash, to whoever would have had
 * it without us. Only what is async-signal-safe is done: atomic stores and system calls.
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
    _Atomic uint64_t generation;        /* of the process; see fork.h */
    struct noted *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct noted *) all;
static _Atomic unsigned running; /* handlers */
static struct sigaction before[SIGNALS];
static bool installed;

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

static void on_fatal_signal(int signal, siginfo_t *info, void *context)
{
    int error = errno;

    (void)context;
    atomic_fetch_add(&running, 1);
    for (struct noted *n = atomic_load(&all); n != NULL; n = n->next) {
        struct client_page *page = atomic_load(&n->page);
        if (page != NULL && fork_same(atomic_load(&n->generation)))
            note(page, signal, info);
    }
    atomic_fetch_sub(&running, 1);
    for (unsigned i = 0; i < SIGNALS; i++) {
        if (signals[i] == signal)
            sigaction(signal, &before[i], NULL);
    }
    syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), signal, info);
    errno = error;
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fatal_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < SIGNALS; i++) {
        sigaction(signals[i], NULL, &before[i]);
        if ((before[i].sa_flags & SA_SIGINFO) != 0 || before[i].sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
    installed = true;
}

int crash_note_begin(struct heir *c)
{
    struct noted *n;

    pthread_mutex_lock(&lock);
    for (n = all; n != NULL && n->page != NULL && fork_same(n->generation); n = n->next) {
    }
    if (n == NULL && (n = calloc(1, sizeof *n)) != NULL) {
        n->next = all;
        n->generation = c->generation;
        atomic_store(&all, n);
    }
    if (n != NULL) {
        n->generation = c->generation;
        atomic_store(&n->page, c->page);
        if (!installed)
            install();
    }
    pthread_mutex_unlock(&lock);
    return n != NULL ? 0 : -ENOMEM;
}

void crash_note_end(struct heir *c)
{
    pthread_mutex_lock(&lock);
    for (struct noted *n = all; n != NULL; n = n->next) {
        if (n->page == c->page && fork_same(n->generation))
            atomic_store(&n->page, NULL);
    }
    pthread_mutex_unlock(&lock);
    while (atomic_load(&running) != 0) /* it may be writing to the page */
        sched_yield();
}
