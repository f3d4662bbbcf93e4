/* SPDX-License-Identifier: MIT */
/* Lives, and noticing forks; see fork.h. */
#include "fork.h"
#include "hash.h"
#include "layout.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define WORDS (PAGE_BYTES / sizeof(uint64_t))

/* A page of words: 0 is free, and so is what a child finds. Never unmapped: a handler may be looking at it. */
struct words {
    _Atomic uint64_t *word;
    struct words *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct words *all;
static uint64_t last; /* a child goes on counting: its numbers are not its parent's */

static _Atomic uint64_t *find_free(void)
{
    for (const struct words *w = all; w != NULL; w = w->next) {
        for (size_t i = 0; i < WORDS; i++) {
            if (atomic_load(&w->word[i]) == 0)
                return &w->word[i];
        }
    }
    return NULL;
}

static int add_words(void)
{
    struct words *w = malloc(sizeof *w);
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (w == NULL || page == MAP_FAILED || madvise(page, PAGE_BYTES, MADV_WIPEONFORK) < 0) {
        free(w);
        if (page != MAP_FAILED)
            munmap(page, PAGE_BYTES);
        return -ENOMEM;
    }
    *w = (struct words){.word = page, .next = all};
    all = w;
    return 0;
}

/* A child has no other threads: who held the lock would hold it for ever. */
static void take_lock(void)
{
    pthread_mutex_lock(&lock);
}

static void leave_lock(void)
{
    pthread_mutex_unlock(&lock);
}

static pthread_once_t forks_once = PTHREAD_ONCE_INIT;
static int forks_error;

static void watch_forks(void)
{
    forks_error = rcu_survive_forks();
    if (forks_error == 0 && pthread_atfork(take_lock, leave_lock, leave_lock) != 0)
        forks_error = -ENOMEM;
}

int life_begin(struct life *life)
{
    pthread_once(&forks_once, watch_forks);
    int r = forks_error;

    pthread_mutex_lock(&lock);
    life->word = find_free();
    if (r == 0 && life->word == NULL && (r = add_words()) == 0)
        life->word = find_free();
    if (r == 0) {
        life->number = ++last;
        atomic_store(life->word, life->number);
    }
    pthread_mutex_unlock(&lock);
    return r;
}

void life_free(struct life *life)
{
    pthread_mutex_lock(&lock);
    if (life->word != NULL && (life_lasts(*life) || life_ended(*life)))
        atomic_store(life->word, 0);
    pthread_mutex_unlock(&lock);
}
