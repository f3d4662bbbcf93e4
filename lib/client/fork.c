/* SPDX-License-Identifier: MIT */
/* Noticing forks; see fork.h. */
#include "fork.h"
#include "hash.h"
#include "layout.h"
#include <errno.h>
#include <sys/mman.h>

static uint64_t nothing;
uint64_t *fork_mark = &nothing;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last;

int fork_generation(uint64_t *generation)
{
    int r = rcu_survive_forks();

    pthread_mutex_lock(&lock);
    if (r == 0 && fork_mark == &nothing) {
        void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED || madvise(page, PAGE_BYTES, MADV_WIPEONFORK) < 0)
            r = -ENOMEM;
        else
            fork_mark = page;
    }
    if (r == 0 && *fork_mark == 0) /* first use, or a child's first */
        *fork_mark = ++last;
    *generation = *fork_mark;
    pthread_mutex_unlock(&lock);
    return r;
}
