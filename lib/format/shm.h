/* SPDX-License-Identifier: MIT */
/*
 * Shared-memory objects: naming, creating, opening, mapping and backing them.
 */
#ifndef HEIR_SHM_H
#define HEIR_SHM_H

#include "layout.h"
#include <stdbool.h>
#include <time.h>

#define SHM_FOLDER    "/dev/shm"
#define SHM_NAME_ROOM 160

/* heir.NS.KIND.NAME, or heir.NS.k for kind 'k'. `name` may be NULL to get the prefix. */
void shm_name(char out[SHM_NAME_ROOM], const char *ns, char kind, const char *name);

/* Create an object of `bytes` of which the first `backed` have memory. Returns the descriptor; -EEXIST, -ENOSPC,
 * -errno. */
int shm_create(const char *name, uint64_t bytes, uint64_t backed, unsigned mode);

/* Open one. Returns the descriptor; -ENOENT, -EACCES, -errno. */
int shm_open_object(const char *name, bool writable);

int shm_remove(const char *name);

/* `found` is called for each object of a kind, with its name and what that has behind heir.NS.KIND.; it may remove it.
 * Returns what it returned if that is not 0, which ends it; -errno. */
typedef int shm_found(const char *object, const char *name, void *arg);
int shm_each(const char *ns, char kind, shm_found *found, void *arg);

/* Rename without replacing: -EEXIST. */
int shm_move(const char *from, const char *to);

#define SHM_HUGE (UINT64_C(2) << 20) /* bytes of a huge page, where there are some */

/* Map bytes from the start, or from a multiple of SHM_HUGE; not inherited by fork, not in core dumps, and so that a
 * huge page of the file can be one of the mapping. NULL with errno set. */
void *shm_map(int fd, uint64_t bytes, bool writable);
void *shm_map_part(int fd, uint64_t from, uint64_t bytes, bool writable);

/* Give memory to a mapped range. -ENOSPC when there is none: never SIGBUS later. */
int shm_populate(void *start, uint64_t bytes);

/* The same for memory that others have probably touched: of that the kernel maps 16 pages at once, when it is asked as
 * for reading; it can be written all the same, and what is not there is given here, too. */
int shm_populate_around(void *start, uint64_t bytes);

/* Is the file of a mapped range as long as the mapping? Else touching it is SIGBUS. */
bool shm_reaches(void *start, uint64_t bytes);

/* Fill in a fresh object's head, all but `magic`, which the caller stores last. */
void head_init(struct object_head *head, uint64_t id, uint32_t uid, uint32_t gid);

/* Check that an object of `bytes` (0: unknown) is whole and ours: 0, -EAGAIN not ready, -EUCLEAN not one of ours or cut
 * short, -EPROTONOSUPPORT made by another version or C library. */
int head_check(const struct object_head *head, uint64_t magic, uint64_t bytes, uint64_t least);

uint64_t clock_real_ns(void);
uint64_t clock_mono_ns(void);
struct timespec timespec_of(uint64_t ns);

#endif
