/* SPDX-License-Identifier: MIT */
/* Robust mutexes; see robust.h. */
#include "robust.h"
#include "atomics.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int robust_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_NORMAL);
    int r = pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    return -r;
}

static int result(int r)
{
    if (likely(r == 0))
        return 0;
    return r == ENOTRECOVERABLE || r == EINVAL ? -EUCLEAN : -r;
}

/*
 * A thread that is killed while others wait can take with it the knowledge that they do. glibc keeps "there may be
 * other waiters" on the stack of the one that was woken; if that one is killed before it has locked, and a third, which
 * found the mutex free in between, is killed holding it, the word says OWNER_DIED without WAITERS, and the kernel wakes
 * nobody. So nobody sleeps for longer than this without looking again.
 */
#define LOOK_AGAIN_NS 50000000

#ifdef HEIR_TSAN /* which knows this one only */
#define pthread_mutex_clocklock(mutex, clock, until) pthread_mutex_timedlock(mutex, until)
#define LOCK_CLOCK                                   CLOCK_REALTIME
#else
#define LOCK_CLOCK CLOCK_MONOTONIC
#endif

/* Whoever holds it is mostly about to let it go: a put takes less than this, sleeping and being woken more. */
#define SPINS 100

static void spin(const pthread_mutex_t *mutex)
{
    for (int i = 0; i < SPINS && robust_holder(mutex) != 0; i++)
        relax();
}

int robust_lock_until(pthread_mutex_t *mutex, uint64_t deadline_ns)
{
    struct timespec now, until;
    int r;

    spin(mutex);
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec >= deadline_ns)
            return robust_try(mutex);
        clock_gettime(LOCK_CLOCK, &until);
        until.tv_nsec += LOOK_AGAIN_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        r = pthread_mutex_clocklock(mutex, LOCK_CLOCK, &until);
    } while (r == ETIMEDOUT);
    return result(r);
}

int robust_lock(pthread_mutex_t *mutex)
{
    return robust_lock_until(mutex, UINT64_MAX);
}

int robust_try(pthread_mutex_t *mutex)
{
    VISIBLE();
    return result(pthread_mutex_trylock(mutex));
}

void robust_repaired(pthread_mutex_t *mutex)
{
    VISIBLE();
    pthread_mutex_consistent(mutex);
}

void robust_unlock(pthread_mutex_t *mutex)
{
    VISIBLE();
    pthread_mutex_unlock(mutex);
}

static _Atomic uint32_t *word_of(const pthread_mutex_t *mutex)
{
    return (_Atomic uint32_t *)(uintptr_t)&mutex->__data.__lock;
}

/* ---- Apart from glibc's list -------------------------------------------------------------------------- */

/* What glibc notes in place of an owner: it has died, and nobody has repaired yet; nobody ever will. */
#define INCONSISTENT   INT_MAX
#define NOTRECOVERABLE (INT_MAX - 1)

/* The kernel looks at it when this thread ends. */
static struct robust_list_head *own_head(void)
{
    static __thread struct robust_list_head *head;
    size_t len;
    if (head == NULL && syscall(SYS_get_robust_list, 0, &head, &len) < 0)
        head = NULL;
    return head;
}

static void hold(pthread_mutex_t *mutex)
{
    void *entry = mutex != NULL ? &mutex->__data.__list.__next : NULL;
    *(struct robust_list *volatile *)&own_head()->list_op_pending = entry;
    atomic_signal_fence(memory_order_seq_cst); /* the kernel sees what this thread did, in its order */
}

static int note_of(const pthread_mutex_t *mutex)
{
    return *(const volatile int *)&mutex->__data.__owner;
}

static void note(pthread_mutex_t *mutex, int what)
{
    VISIBLE();
    *(volatile int *)&mutex->__data.__owner = what;
}

/* Killed before the wake, the kernel does it: the mutex is the one that is held. */
static void let_go(pthread_mutex_t *mutex, uint32_t word, int waiters)
{
    VISIBLE();
    if ((atomic_exchange(word_of(mutex), word) & FUTEX_WAITERS) != 0)
        syscall(SYS_futex, word_of(mutex), FUTEX_WAKE, waiters, NULL, NULL, 0);
    hold(NULL);
}

static bool is_held(uint32_t word)
{
    return (word & FUTEX_OWNER_DIED) == 0 && (word & FUTEX_TID_MASK) != 0;
}

int robust_try_apart(pthread_mutex_t *mutex)
{
    uint32_t value = atomic_load(word_of(mutex));

    if (is_held(value))
        return -EBUSY;
    if (own_head() == NULL)
        return -ENOSYS;
    uint32_t me = (uint32_t)syscall(SYS_gettid);
    hold(mutex);
    VISIBLE();
    while (!atomic_compare_exchange_weak(word_of(mutex), &value, me | (value & FUTEX_WAITERS))) {
        if (is_held(value)) {
            hold(NULL);
            return -EBUSY;
        }
    }
    if (note_of(mutex) == NOTRECOVERABLE) {
        let_go(mutex, 0, INT_MAX);
        return -EUCLEAN;
    }
    if ((value & FUTEX_OWNER_DIED) == 0)
        return 0;
    note(mutex, INCONSISTENT);
    return -EOWNERDEAD;
}

void robust_repaired_apart(pthread_mutex_t *mutex)
{
    note(mutex, 0);
}

void robust_unlock_apart(pthread_mutex_t *mutex)
{
    bool lost = note_of(mutex) == INCONSISTENT;
    note(mutex, lost ? NOTRECOVERABLE : 0);
    let_go(mutex, 0, lost ? INT_MAX : 1);
}

void robust_put_off_apart(pthread_mutex_t *mutex)
{
    let_go(mutex, FUTEX_OWNER_DIED, 1);
}

/* ---- From outside ------------------------------------------------------------------------------------- */

uint32_t robust_holder(const pthread_mutex_t *mutex)
{
    uint32_t word = atomic_load_explicit(word_of(mutex), memory_order_acquire);
    return (word & FUTEX_OWNER_DIED) != 0 ? 0 : word & FUTEX_TID_MASK;
}

const uint32_t *robust_watch(pthread_mutex_t *mutex, uint32_t *expected)
{
    _Atomic uint32_t *word = word_of(mutex);
    uint32_t value = atomic_load_explicit(word, memory_order_acquire);

    do {
        if ((value & FUTEX_OWNER_DIED) != 0 || (value & FUTEX_TID_MASK) == 0)
            return NULL;
    } while ((value & FUTEX_WAITERS) == 0 && !atomic_compare_exchange_weak(word, &value, value | FUTEX_WAITERS));
    *expected = value | FUTEX_WAITERS;
    return (const uint32_t *)(uintptr_t)word;
}

void robust_bury(pthread_mutex_t *mutex)
{
    _Atomic uint32_t *word = word_of(mutex);
    uint32_t value = atomic_load_explicit(word, memory_order_acquire);

    while ((value & FUTEX_TID_MASK) != 0 && (value & FUTEX_OWNER_DIED) == 0) {
        if (atomic_compare_exchange_weak(word, &value, (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED)) {
            syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
            return;
        }
    }
}

void robust_wake_watcher(pthread_mutex_t *mutex)
{
    _Atomic uint32_t *word = word_of(mutex);
    /* one that is about to sleep expects this bit, which it has set: it looks again instead, and sets it again */
    atomic_fetch_and(word, ~(uint32_t)FUTEX_WAITERS);
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
