/* SPDX-License-Identifier: MIT */
/* What a check has found wrong; see finding.h. */
#include "finding.h"
#include <stdlib.h>

#define FINDINGS_MOST (UINT64_C(1) << 20)

void findings_add(struct findings *f, unsigned law, const char *what, uint64_t where, uint64_t mark)
{
    if (f->count == FINDINGS_MOST)
        return;
    if (f->count == f->room) {
        size_t room = f->room * 2 + 64;
        struct finding *list = realloc(f->list, room * sizeof *list);
        if (list == NULL) {
            f->no_memory = true;
            return;
        }
        f->list = list;
        f->room = room;
    }
    f->list[f->count++] = (struct finding){what, where, mark, law};
}

static int by_place(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    if (x->law != y->law)
        return x->law < y->law ? -1 : 1;
    if (x->what != y->what)
        return (uintptr_t)x->what < (uintptr_t)y->what ? -1 : 1;
    if (x->where != y->where)
        return x->where < y->where ? -1 : 1;
    return (x->mark > y->mark) - (x->mark < y->mark);
}

void findings_sort(struct findings *f)
{
    size_t count = 0;
    if (f->count > 1)
        qsort(f->list, f->count, sizeof *f->list, by_place);
    for (size_t i = 0; i < f->count; i++) {
        if (i == 0 || by_place(&f->list[i], &f->list[i - 1]) != 0)
            f->list[count++] = f->list[i];
    }
    f->count = count;
}

void findings_meet(struct findings *f, const struct findings *other)
{
    size_t count = 0, j = 0;
    for (size_t i = 0; i < f->count; i++) {
        while (j < other->count && by_place(&other->list[j], &f->list[i]) < 0)
            j++;
        if (j < other->count && by_place(&other->list[j], &f->list[i]) == 0)
            f->list[count++] = f->list[i];
    }
    f->count = count;
}
