/* SPDX-License-Identifier: MIT */
/*
 * Memory that a client has cut off under us.
 *
 * A client can write to its page and to its tables, and so can make their files shorter: touching what is gone is
 * SIGBUS. In the keeper's threads such a page is replaced by one of zeros, which the checks that everything from shared
 * memory goes through take for what it is: damage. (The X server guards its shared memory in the same way.) The mark
 * of a thread is thread-local, so other threads of an embedding program keep their own handling.
 */
#include "layout.h"
#include "state.h"
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

static __thread volatile sig_atomic_t guarded __attribute__((tls_model("initial-exec")));
static __thread volatile sig_atomic_t faults __attribute__((tls_model("initial-exec")));
static struct sigaction before;

void fault_thread(bool ours)
{
    guarded = ours;
}

int fault_count(void)
{
    return (int)faults;
}

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    if (guarded && info->si_code == BUS_ADRERR) {
        void *page = (void *)((uintptr_t)info->si_addr / PAGE_BYTES * PAGE_BYTES);
        if (mmap(page, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
            MAP_FAILED) {
            faults = faults + 1;
            return;
        }
    }
    if ((before.sa_flags & SA_SIGINFO) != 0) {
        before.sa_sigaction(signal, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signal);
    } else {
        sigaction(SIGBUS, &before, NULL); /* it happens again, and takes its usual course */
    }
}

int fault_guard(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool done;
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int r = 0;

    sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&lock);
    if (!done && sigaction(SIGBUS, &action, &before) < 0)
        r = -errno;
    done = done || r == 0;
    pthread_mutex_unlock(&lock);
    return r;
}
