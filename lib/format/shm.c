/* SPDX-License-Identifier: MIT */
/* Shared-memory objects; see shm.h. */
#include "shm.h"
#include "atomics.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE /* Linux 5.14 */
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define LIBC_GLIBC 0x6c676c69u /* "ilgl": the only one whose mutex layout is known here */

void shm_name(char out[SHM_NAME_ROOM], const char *ns, char kind, const char *name)
{
    if (kind == 'k')
        snprintf(out, SHM_NAME_ROOM, "/heir.%s.k", ns);
    else
        snprintf(out, SHM_NAME_ROOM, "/heir.%s.%c.%s", ns, kind, name != NULL ? name : "");
}

int shm_create(const char *name, uint64_t bytes, uint64_t backed, unsigned mode)
{
    VISIBLE();
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    int r = 0;
    VISIBLE();
    if (fchmod(fd, mode) < 0 || ftruncate(fd, (off_t)bytes) < 0) /* the umask has no say here */
        r = -errno;
    VISIBLE();
    while (r == 0 && fallocate(fd, 0, 0, (off_t)backed) < 0) {
        if (errno != EINTR)
            r = -errno;
    }
    if (r < 0) {
        shm_unlink(name);
        close(fd);
        return r;
    }
    return fd;
}

int shm_open_object(const char *name, bool writable)
{
    int fd = shm_open(name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int shm_each(const char *ns, char kind, shm_found *found, void *arg)
{
    char prefix[SHM_NAME_ROOM];
    struct dirent *entry;
    DIR *folder = opendir(SHM_FOLDER);
    int r = 0;

    if (folder == NULL)
        return -errno;
    shm_name(prefix, ns, kind, NULL);
    while (r == 0 && (entry = readdir(folder)) != NULL) {
        char object[sizeof entry->d_name + 1];
        snprintf(object, sizeof object, "/%s", entry->d_name);
        if (strncmp(object, prefix, strlen(prefix)) == 0)
            r = found(object, object + strlen(prefix), arg);
    }
    closedir(folder);
    return r;
}

int shm_remove(const char *name)
{
    VISIBLE();
    return shm_unlink(name) < 0 ? -errno : 0;
}

int shm_move(const char *from, const char *to)
{
    char a[sizeof SHM_FOLDER + SHM_NAME_ROOM], b[sizeof SHM_FOLDER + SHM_NAME_ROOM];
    snprintf(a, sizeof a, SHM_FOLDER "%s", from);
    snprintf(b, sizeof b, SHM_FOLDER "%s", to);
    VISIBLE();
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

/* An address at a multiple of SHM_HUGE with so much room behind it, taken; NULL: none. */
static uint8_t *aligned_room(uint64_t bytes)
{
    uint8_t *room = mmap(NULL, bytes + SHM_HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    uint64_t before = -(uintptr_t)room % SHM_HUGE;
    if (before != 0)
        munmap(room, before);
    munmap(room + before + bytes, SHM_HUGE - before);
    return room + before;
}

void *shm_map_part(int fd, uint64_t from, uint64_t bytes, bool writable)
{
    int prot = PROT_READ | (writable ? PROT_WRITE : 0), flags = MAP_SHARED | MAP_NORESERVE;
    uint8_t *room = bytes >= SHM_HUGE && bytes % PAGE_BYTES == 0 ? aligned_room(bytes) : NULL;
    void *p = mmap(room, bytes, prot, room != NULL ? flags | MAP_FIXED : flags, fd, (off_t)from);
    if (p == MAP_FAILED) {
        if (room != NULL)
            munmap(room, bytes);
        return NULL;
    }
    madvise(p, bytes, MADV_DONTFORK);
    madvise(p, bytes, MADV_DONTDUMP);
    return p;
}

void *shm_map(int fd, uint64_t bytes, bool writable)
{
    return shm_map_part(fd, 0, bytes, writable);
}

static int populate(void *start, uint64_t bytes, int how)
{
    while (madvise(start, bytes, how) < 0) {
        if (errno == EFAULT || errno == ENOMEM || errno == ENOSPC)
            return -ENOSPC; /* EFAULT: touching it would have been SIGBUS */
        if (errno != EINTR && errno != EAGAIN)
            return errno == EINVAL ? -ENOSYS : -errno;
    }
    return 0;
}

int shm_populate(void *start, uint64_t bytes)
{
    return populate(start, bytes, MADV_POPULATE_WRITE);
}

int shm_populate_around(void *start, uint64_t bytes)
{
    return populate(start, bytes, MADV_POPULATE_READ);
}

bool shm_reaches(void *start, uint64_t bytes)
{
    while (madvise(start, bytes, MADV_POPULATE_READ) < 0) {
        if (errno == EFAULT)
            return false;
        if (errno != EINTR && errno != EAGAIN)
            break; /* no memory: not ours to judge */
    }
    return true;
}

void head_init(struct object_head *head, uint64_t id, uint32_t uid, uint32_t gid)
{
    head->version = LAYOUT_VERSION;
    head->endian = ENDIAN_MARK;
    head->word_size = sizeof(void *);
    head->mutex_size = sizeof(pthread_mutex_t);
    head->libc_mark = LIBC_GLIBC;
    head->id = id;
    head->created_ns = clock_real_ns();
    head->uid = uid;
    head->gid = gid;
    while (getrandom(head->uuid, sizeof head->uuid, 0) != (ssize_t)sizeof head->uuid) {
    }
}

int head_check(const struct object_head *head, uint64_t magic, uint64_t bytes, uint64_t least)
{
    if (bytes < least)
        return -EUCLEAN;
    uint64_t found = get(&head->magic);
    if (found == 0)
        return -EAGAIN;
    if (found != magic)
        return -EUCLEAN;
    if (head->version != LAYOUT_VERSION || head->endian != ENDIAN_MARK || head->word_size != sizeof(void *) ||
        head->mutex_size != sizeof(pthread_mutex_t) || head->libc_mark != LIBC_GLIBC)
        return -EPROTONOSUPPORT;
    return 0;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_real_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t clock_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
}
