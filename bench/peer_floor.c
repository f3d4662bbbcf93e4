/* SPDX-License-Identifier: MIT */
/*
 * What does the memory itself cost? An open-addressing array of slots that is made big enough beforehand, without lock,
 * crash safety, growth or variable sizes: nothing that keeps a million objects can be much faster.
 *
 * It lies on /dev/shm like the others, so that it has the same page size, and its pages are there before the clock
 * runs.
 */
#include "peer.h"
#include "world.h"

#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct floor_peer {
    unsigned char *slots; /* key, value; key 0 is an empty slot */
    size_t slot_size, value_size, mask, bytes;
};

static int floor_open(const struct peer_setup *setup, void **state)
{
    struct floor_peer *p = must(calloc(1, sizeof *p));
    char path[96];
    int fd;

    *state = p;
    p->value_size = setup->value_size;
    p->slot_size = sizeof(uint64_t) + ((setup->value_size + 7) & ~(size_t)7);
    for (p->mask = 15; p->mask < setup->objects * 3 / 2; p->mask = 2 * p->mask + 1) {
    }
    p->bytes = (p->mask + 1) * p->slot_size;
    snprintf(path, sizeof path, "%s/floor", setup->world->shm_dir);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    unlink(path);
    if (posix_fallocate(fd, 0, (off_t)p->bytes) != 0) {
        close(fd);
        return -ENOSPC;
    }
    p->slots = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    if (p->slots == MAP_FAILED) {
        p->slots = NULL;
        return -errno;
    }
    return 0;
}

static void floor_close(void *state)
{
    struct floor_peer *p = state;

    if (p && p->slots)
        munmap(p->slots, p->bytes);
    free(p);
}

static unsigned char *slot_at(const struct floor_peer *p, size_t i)
{
    return p->slots + (i & p->mask) * p->slot_size;
}

static uint64_t key_at(const struct floor_peer *p, size_t i)
{
    uint64_t key;

    memcpy(&key, slot_at(p, i), sizeof key);
    return key;
}

/* The key's slot, or the empty one where it would go. The keys are random numbers: they are their own hash. */
static size_t find(const struct floor_peer *p, uint64_t key)
{
    size_t i = key & p->mask;

    for (uint64_t k; (k = key_at(p, i)) != key && k; i = (i + 1) & p->mask) {
    }
    return i;
}

static int floor_put(void *state, const uint64_t *key, const void *value)
{
    struct floor_peer *p = state;
    unsigned char *slot = slot_at(p, find(p, *key));

    memcpy(slot, key, sizeof *key);
    memcpy(slot + sizeof *key, value, p->value_size);
    return 0;
}

static int floor_get(void *state, const uint64_t *key, void *value)
{
    struct floor_peer *p = state;
    size_t i = find(p, *key);

    if (key_at(p, i) != *key)
        return -ENOENT;
    memcpy(value, slot_at(p, i) + sizeof *key, p->value_size);
    return 0;
}

static int floor_add(void *state, const uint64_t *key, int64_t delta, int64_t *result)
{
    struct floor_peer *p = state;
    unsigned char *slot = slot_at(p, find(p, *key));
    int64_t number;

    if (memcmp(slot, key, sizeof *key) != 0) {
        memcpy(slot, key, sizeof *key);
        memset(slot + sizeof *key, 0, p->value_size);
    }
    memcpy(&number, slot + sizeof *key, sizeof number);
    number += delta;
    memcpy(slot + sizeof *key, &number, sizeof number);
    *result = number;
    return 0;
}

/* Moves later slots of the same run into the gap, so that no search stops too early. */
static int floor_del(void *state, const uint64_t *key)
{
    struct floor_peer *p = state;
    size_t gap = find(p, *key);
    const uint64_t none = 0;

    if (key_at(p, gap) != *key)
        return -ENOENT;
    for (size_t i = gap + 1; key_at(p, i); i++) {
        size_t home = key_at(p, i) & p->mask;
        if (((i - home) & p->mask) < ((i - gap) & p->mask))
            continue;
        memcpy(slot_at(p, gap), slot_at(p, i), p->slot_size);
        gap = i;
    }
    memcpy(slot_at(p, gap), &none, sizeof none);
    return 0;
}

static int floor_walk(void *state, uint64_t *objects, uint64_t *sum)
{
    struct floor_peer *p = state;
    uint64_t number;

    *objects = *sum = 0;
    for (size_t i = 0; i <= p->mask; i++) {
        if (!key_at(p, i))
            continue;
        memcpy(&number, slot_at(p, i) + sizeof number, sizeof number);
        ++*objects;
        *sum += number;
    }
    return 0;
}

static int floor_bytes(void *state, uint64_t *bytes)
{
    *bytes = ((struct floor_peer *)state)->bytes;
    return 0;
}

const struct peer peer_floor = {
    .name = "floor",
    .what = "an array of fixed slots, big enough beforehand, without lock, growth or crash safety",
    .open = floor_open,
    .close = floor_close,
    .insert = floor_put,
    .get = floor_get,
    .put = floor_put,
    .del = floor_del,
    .walk = floor_walk,
    .add = floor_add,
    .bytes = floor_bytes,
};
