/* SPDX-License-Identifier: MIT */
/*
 * RCU's read side, for the time in which an operation uses a handle's mapping.
 *
 * Where liburcu keeps this thread's reader is found once a thread, not by four calls of the dynamic linker an
 * operation; what follows is otherwise liburcu's own inline urcu_bp_read_lock() and _unlock(), with which it can be
 * mixed.
 */
#ifndef HEIR_RCU_H
#define HEIR_RCU_H

#include "atomics.h"
#include <urcu/static/urcu-bp.h>

struct heir_table;

extern __thread struct urcu_bp_reader **rcu_reader __attribute__((tls_model("initial-exec")));

/* The same once this thread has read, where the kernel orders its memory when it matters (membarrier); else NULL. */
extern __thread struct urcu_bp_reader **rcu_quick __attribute__((tls_model("initial-exec")));

/* The reader's counter, its first member: the whole is not aligned as its type says. */
static inline unsigned long *rcu_counter(struct urcu_bp_reader **reader)
{
    return (unsigned long *)(void *)*reader;
}

static inline void handle_read_begin(void)
{
    if (unlikely(rcu_reader == NULL)) {
        rcu_reader = &URCU_TLS(urcu_bp_reader);
        rcu_quick = urcu_bp_has_sys_membarrier ? rcu_reader : NULL;
    }
    if (unlikely(*rcu_reader == NULL))
        urcu_bp_register();
    unsigned long *counter = rcu_counter(rcu_reader);
    cmm_barrier();
    if (likely((*counter & URCU_BP_GP_CTR_NEST_MASK) == 0)) {
        CMM_STORE_SHARED(*counter, CMM_LOAD_SHARED(urcu_bp_gp.ctr));
        urcu_bp_smp_mb_slave();
    } else {
        CMM_STORE_SHARED(*counter, *counter + URCU_BP_GP_COUNT);
    }
}

/* A read of a handle's mapping ends; all such reads have ended. For the thread sanitizer, which does not see into
 * liburcu, this says in its own words what RCU guarantees. */
static inline void handle_read_ends(struct heir_table *t)
{
#ifdef HEIR_TSAN
    void __tsan_release(void *);
    __tsan_release(t);
#else
    (void)t;
#endif
}

static inline void handle_reads_ended(struct heir_table *t)
{
#ifdef HEIR_TSAN
    void __tsan_acquire(void *);
    __tsan_acquire(t);
#else
    (void)t;
#endif
}

static inline void handle_read_end(struct heir_table *t)
{
    handle_read_ends(t);
    unsigned long *counter = rcu_counter(rcu_reader);
    urcu_bp_smp_mb_slave();
    CMM_STORE_SHARED(*counter, *counter - URCU_BP_GP_COUNT);
    cmm_barrier();
}

/* handle_read_begin() in the commonest case, where this thread is in no other read; NULL: it is another case, and
 * nothing has begun. */
static inline unsigned long *handle_read_quickly(void)
{
    struct urcu_bp_reader **reader = rcu_quick;
    if (unlikely(reader == NULL) || unlikely(*reader == NULL))
        return NULL;
    unsigned long *counter = rcu_counter(reader);
    if (unlikely((*counter & URCU_BP_GP_CTR_NEST_MASK) != 0))
        return NULL;
    CMM_STORE_SHARED(*counter, CMM_LOAD_SHARED(urcu_bp_gp.ctr));
    cmm_barrier();
    return counter;
}

static inline void handle_read_quickly_end(struct heir_table *t, unsigned long *counter)
{
    handle_read_ends(t);
    cmm_barrier();
    CMM_STORE_SHARED(*counter, 0); /* of the phase only who is within a read need know */
    cmm_barrier();
}

#endif
