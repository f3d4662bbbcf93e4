/* SPDX-License-Identifier: MIT */
/*
 * Robust mutexes in shared memory, and looking at them from outside.
 *
 * A robust mutex is a futex word that holds its owner's thread id; when the thread ends in any way the kernel walks the
 * thread's list of such words and replaces the id by FUTEX_OWNER_DIED, and wakes a waiter if FUTEX_WAITERS is set
 * (Linux Documentation/locking/robust-futex-ABI). glibc keeps that word first in pthread_mutex_t. Locking is done by
 * glibc; watching for a death is done on the word itself, since pthread_mutex_lock() can neither watch several nor be
 * interrupted.
 */
#ifndef HEIR_ROBUST_H
#define HEIR_ROBUST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

int robust_init(pthread_mutex_t *mutex);

/* 0; -EOWNERDEAD: held, but what it protects must be repaired, then robust_repaired(); -EBUSY (try); -EUCLEAN: lost for
 * ever. */
int robust_lock(pthread_mutex_t *mutex);
int robust_lock_until(pthread_mutex_t *mutex, uint64_t deadline_ns); /* CLOCK_MONOTONIC; over: -EBUSY */
int robust_try(pthread_mutex_t *mutex);
void robust_repaired(pthread_mutex_t *mutex);
void robust_unlock(pthread_mutex_t *mutex);

/*
 * The same for one who must follow no pointer that others can write to: the keeper. glibc links the robust mutexes that
 * a thread holds through the mutexes themselves, and follows the links when it unlocks; in a hostile client's table
 * they lead anywhere. Here the kernel is told by the thread's own list head alone, in the word for what is being locked
 * just now. So a thread holds one at a time.
 */
int robust_try_apart(pthread_mutex_t *mutex); /* as robust_try(); -ENOSYS */
void robust_repaired_apart(pthread_mutex_t *mutex);
void robust_unlock_apart(pthread_mutex_t *mutex);  /* not repaired: lost for ever */
void robust_put_off_apart(pthread_mutex_t *mutex); /* not repaired: the next one shall try */

/* Thread id of the living holder; 0: it is free, or its holder has died. */
uint32_t robust_holder(const pthread_mutex_t *mutex);

/* Ask the kernel to wake us when the holder ends: the word to wait on while it has the value *expected. NULL: there is
 * no holder. */
const uint32_t *robust_watch(pthread_mutex_t *mutex, uint32_t *expected);

/* Wake who watches, although the holder lives: it has something to tell. */
void robust_wake_watcher(pthread_mutex_t *mutex);

/* The holder is proven to be dead, but the kernel has missed it: do what it would have done. */
void robust_bury(pthread_mutex_t *mutex);

#endif
