/* SPDX-License-Identifier: MIT */
/*
 * Lending. A third mapping of the table, which can neither be read nor written but for the pages that are lent. So a
 * stray store of the application meets, apart from them, read-only memory or none; the library's own writable view is
 * at an address that it never tells.
 */
#include "lend.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LEND_MOST 64u

struct lend {
    uint8_t *base;
    unsigned count;
    struct part {
        uint64_t from, to; /* of whole pages */
    } parts[LEND_MOST];
};

static struct lend *lend_of(struct mapping *m)
{
    if (m->lend != NULL)
        return m->lend;
    struct lend *lend = calloc(1, sizeof *lend);
    if (lend == NULL)
        return NULL;
    /* of a shared mapping an old size of 0 makes a second one: mremap(2) */
    lend->base = mremap(m->writer.base, 0, m->writer.bytes, MREMAP_MAYMOVE);
    if (lend->base == MAP_FAILED || mprotect(lend->base, m->writer.bytes, PROT_NONE) < 0) {
        if (lend->base != MAP_FAILED)
            munmap(lend->base, m->writer.bytes);
        free(lend);
        return NULL;
    }
    madvise(lend->base, m->writer.bytes, MADV_DONTFORK);
    madvise(lend->base, m->writer.bytes, MADV_DONTDUMP);
    m->lend = lend;
    return lend;
}

int lend_out(struct mapping *m, uint64_t offset, uint64_t bytes, void **memory)
{
    struct lend *lend = lend_of(m);
    uint64_t from = offset / PAGE_BYTES * PAGE_BYTES, to = pages_for(offset + bytes) * PAGE_BYTES;

    if (lend == NULL)
        return -ENOMEM;
    *memory = lend->base + offset;
    for (unsigned i = 0; i < lend->count; i++) {
        if (lend->parts[i].from <= from && lend->parts[i].to >= to)
            return 0;
    }
    if (lend->count == LEND_MOST)
        return -EBUSY;
    if (mprotect(lend->base + from, to - from, PROT_READ | PROT_WRITE) < 0)
        return -ENOMEM;
    lend->parts[lend->count++] = (struct part){from, to};
    return 0;
}

void lend_end(struct mapping *m)
{
    struct lend *lend = m->lend;

    if (likely(lend == NULL))
        return;
    for (; lend->count > 0; lend->count--) {
        struct part *part = &lend->parts[lend->count - 1];
        mprotect(lend->base + part->from, part->to - part->from, PROT_NONE);
    }
}

void lend_free(struct mapping *m)
{
    if (m->lend == NULL)
        return;
    munmap(m->lend->base, m->writer.bytes);
    free(m->lend);
    m->lend = NULL;
}
