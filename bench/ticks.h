/* SPDX-License-Identifier: MIT */
/* Ticks: the interrupts of the machine's timer that a thread meets. */
#ifndef BENCH_TICKS_H
#define BENCH_TICKS_H

#include <stdbool.h>
#include <stdint.h>

struct ticks;

/* Those of this thread, from now on. NULL: this kernel does not tell them, or not to this user. */
struct ticks *ticks_open(void);
void ticks_close(struct ticks *t);

/* Was there one between these times of now_ns()? Each question begins where the one before ended, or later. NULL: no.
 */
bool ticks_between(struct ticks *t, uint64_t from, uint64_t to);

#endif
