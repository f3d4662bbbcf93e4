/* SPDX-License-Identifier: MIT */
/* A process of the benchmark's own that does what it is asked, one request after another, over a packet socket. */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct child {
    pid_t pid;
    int wire;
};

/* Runs in the child: 0 ends it well. */
typedef int child_main(int wire, void *arg);

/* All return 0, or -1, said on stderr; so does whoever hears nothing because the other has ended. */
int child_start(struct child *child, child_main *run, void *arg);
int child_tell(int wire, const void *message, size_t size);
int child_hear(int wire, void *message, size_t size); /* 60 s */
/* Child's side: the next request; 1, when there will be none. */
int child_next(int wire, void *request, size_t size);
/* Closes the wire, and waits for the end that follows; or, after a kill, for that one. */
int child_end(struct child *child, bool killed);

/* Keep this thread to the n-th core that this process may use. */
int pin_to_core(unsigned n);
unsigned cores(void);

#endif
