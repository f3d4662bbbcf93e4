/* SPDX-License-Identifier: MIT */
/* What a check has found wrong; see finding.h. */
#include "finding.h"
#include <stdlib.h>

#define FINDINGS_MOST (UINT64_C(1) << 20)

void findings_add(struct findings *f, struct finding finding)
{
    if (f->count == FINDINGS_MOST) {
        f->cut = true;
        return;
    }
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
    finding.times = 1;
    f->list[f->count++] = finding;
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

void findings_merge(struct findings *f, const struct findings *other, bool keep, bool add)
{
    const struct finding *a = f->list, *b = other->list;
    const struct finding *const a_end = a + f->count, *const b_end = b + other->count;
    struct findings all = {.room = f->count + other->count, .no_memory = f->no_memory};

    if (all.room == 0)
        return;
    all.list = malloc(all.room * sizeof *all.list);
    all.no_memory |= all.list == NULL;
    while (all.list != NULL && (a < a_end || b < b_end)) {
        int order = a == a_end ? 1 : b == b_end ? -1 : by_place(a, b);
        if (order >= 0 && other->partial && b->absent) {
            b++;
        } else if (order == 0) {
            all.list[all.count] = *a++;
            all.list[all.count++].times += b++->times;
        } else if (order < 0) {
            all.list[all.count] = *a++;
            all.count += keep;
        } else {
            all.list[all.count] = *b++;
            all.count += add && all.count < FINDINGS_MOST;
        }
    }
    free(f->list);
    *f = all;
}

size_t findings_certain(const struct findings *f, unsigned times)
{
    size_t count = 0;
    for (size_t i = 0; i < f->count; i++)
        count += f->list[i].times >= times;
    return count;
}
