/* SPDX-License-Identifier: MIT */
/*
 * Probes: places at which a tracer (bpftrace, perf, gdb, SystemTap) can see what the library and the keeper do, listed
 * here once and told in heir(7). Each is a nop, and a note in the ELF file that says where its arguments are; without
 * <sys/sdt.h> it is nothing. So arguments are what the caller has at hand, and nothing is worked out for them.
 */
#ifndef HEIR_PROBE_H
#define HEIR_PROBE_H

#include <stdint.h>

#ifdef HEIR_PROBES
#ifdef __clang__
#define STAP_SDT_ARG_CONSTRAINT nr /* given the choice it takes memory, and stores the arguments there for that */
#endif
#include <sys/sdt.h>
/* inline: it counts as short. By its lines it would be long, and what has a probe not be inlined for that. */
#define PROBE(name, count, parameters, ...)                                                                            \
    static inline __attribute__((always_inline)) void probe_##name parameters                                          \
    {                                                                                                                  \
        __asm__ __inline__ volatile(STAP_PROBE_ASM(                                                                    \
            libheir, name, STAP_PROBE_ASM_TEMPLATE(count))::STAP_PROBE_ASM_OPERANDS(count, __VA_ARGS__));              \
    }
#else
#define PROBE(name, count, parameters, ...)                                                                            \
    static inline void probe_##name parameters                                                                         \
    {                                                                                                                  \
        (void)(const uint64_t[count]){__VA_ARGS__};                                                                    \
    }
#endif

/* The owner word has been switched. reason: enum heir_reason. */
PROBE(transfer, 5, (uint64_t table, uint64_t epoch, uint64_t from, uint64_t to, uint32_t reason), table, epoch, from,
      to, reason)

/* The keeper knows how a client ended that did not close: when its first table has been handed on. cause: enum
 * heir_cause. */
PROBE(death, 4, (uint64_t client, int32_t pid, uint32_t cause, int32_t code), client, pid, cause, code)

/* It has handed on tables of one that has ended; ns: since it noticed that. */
PROBE(reclaim, 3, (uint64_t client, uint64_t tables, uint64_t ns), client, tables, ns)

/* A transaction is visible. The number of its table is not at hand here; it is the 8 bytes at page + 24. */
PROBE(commit, 2, (const void *page, uint64_t transaction), (uintptr_t)page, transaction)

/* One that was not finished has been taken back. died: its writer has not done that itself. */
PROBE(rollback, 4, (uint64_t table, uint64_t transaction, uint64_t changes, uint32_t died), table, transaction, changes,
      died)

/* The keeper holds a state for a reader. */
PROBE(pin, 3, (uint64_t table, uint64_t client, uint64_t transaction), table, client, transaction)

#endif
