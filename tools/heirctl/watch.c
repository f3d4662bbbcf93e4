/* SPDX-License-Identifier: MIT */
/*
 * heirctl watch: a line for each transfer and death, while it happens.
 *
 * Two sources. The keeper's journal tells all that the keeper did, with its reasons. What clients give to each other
 * directly only the owner words of the tables tell: of each table the last epoch that was told is kept, and a newer one
 * in its header is a transfer, which the journal may come with later (then it is passed over), or never. Between two
 * looks a table can have had several owners. The journal may be late, too, by the time that it takes a large process to
 * end: so what is missing is waited for, and after that named as missing.
 */
#include "heirctl.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS  25
#define GRACE_MS 1500 /* for the journal to tell of an epoch that a header has shown */

struct known {
    uint64_t id, told; /* the last epoch told */
    uint64_t gap_ms;   /* since when epochs between are missing; 0: none is */
    struct heir_info info;
    bool seen; /* in this look */
};

struct watching {
    const struct ctl *ctl;
    const char *table;  /* NULL: all */
    struct known *list; /* sorted by id */
    size_t count;
    struct journal_place place;
    bool begun, again;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct known *find(const struct watching *w, uint64_t id, size_t *place)
{
    size_t low = 0, high = w->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (w->list[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    *place = low;
    return low < w->count && w->list[low].id == id ? &w->list[low] : NULL;
}

static struct known *know(struct watching *w, uint64_t id, uint64_t told)
{
    size_t place;
    struct known *known = find(w, id, &place);
    if (known != NULL)
        return known;
    w->list = must_resize(w->list, (w->count + 1) * sizeof *w->list);
    memmove(w->list + place + 1, w->list + place, (w->count - place) * sizeof *w->list);
    w->count++;
    w->list[place] = (struct known){.id = id, .told = told};
    return &w->list[place];
}

/* ---- The journal -------------------------------------------------------------------------------------- */

static void say_missing(const struct watching *w, const char *table, uint64_t from, uint64_t to)
{
    if (from == to)
        happening_remark(w->ctl, "table %s: the transfer of epoch %" PRIu64 " was not seen", table, from);
    else
        happening_remark(w->ctl, "table %s: the transfers of epochs %" PRIu64 " to %" PRIu64 " were not seen", table,
                         from, to);
}

static int next_event(const struct heir_happening *h, void *arg)
{
    struct watching *w = arg;
    uint64_t missed = journal_step(&w->place, h);

    if (!w->begun)
        return 0;
    journal_remark(w->ctl, missed);
    if (missed == UINT64_MAX && h->sequence != 1) {
        w->place.sequence = 0;
        w->again = true;
        return 1;
    }
    if (w->table != NULL && h->name[0] != '\0' && !happening_of(h, w->table))
        return 0;
    if (h->kind == HEIR_TRANSFER) {
        struct known *known = know(w, h->table, h->epoch - 1);
        if (h->epoch <= known->told)
            return 0;
        if (h->epoch > known->told + 1)
            say_missing(w, h->name, known->told + 1, h->epoch - 1);
        known->told = h->epoch;
        known->gap_ms = 0;
    } else if (h->kind == HEIR_CREATED) {
        know(w, h->table, 1);
    }
    happening_print(w->ctl, h);
    return 0;
}

/* ---- The tables --------------------------------------------------------------------------------------- */

static int next_table(const struct heir_info *info, int error, void *arg)
{
    struct watching *w = arg;
    if (error < 0 || (w->table != NULL && strcmp(w->table, info->name) != 0))
        return 0;
    struct known *known = know(w, info->id, w->begun ? 1 : info->epoch); /* the first epoch is no transfer */
    known->info = *info;
    known->seen = true;
    return 0;
}

static int look_at_one(struct watching *w)
{
    struct heir_table *table;
    struct heir_info info;
    int error = heir_inspect_open(w->ctl->ns, w->table, &table);
    if (error < 0)
        return 0; /* none yet, or damaged: which the journal tells */
    if (heir_info(table, &info) == 0)
        next_table(&info, 0, w);
    heir_inspect_close(table);
    return 0;
}

static int look_at_tables(struct watching *w)
{
    for (size_t i = 0; i < w->count; i++)
        w->list[i].seen = false;
    return w->table != NULL ? look_at_one(w) : heir_inspect_tables(w->ctl->ns, next_table, w);
}

static void print_header(const struct watching *w, const struct known *known, const struct people *people)
{
    const struct heir_info *info = &known->info;
    const struct heir_client_info *from = people_find(people, info->from), *to = people_find(people, info->owner);
    struct heir_happening h = {.kind = HEIR_TRANSFER,
                               .when_ns = info->since_ns,
                               .table = info->id,
                               .epoch = info->epoch,
                               .from = info->from,
                               .to = info->owner,
                               .reason = info->reason,
                               .cause = info->cause,
                               .code = info->code,
                               .committed = info->committed};
    memcpy(h.name, info->name, sizeof h.name);
    if (from != NULL)
        memcpy(h.from_role, from->name, sizeof h.from_role);
    if (to != NULL)
        memcpy(h.to_role, to->name, sizeof h.to_role);
    happening_print(w->ctl, &h);
}

/* What the headers have shown, and the journal has not told meanwhile. */
static void tell_headers(struct watching *w)
{
    struct people people = {0};
    bool loaded = false;
    uint64_t now = now_ms();

    for (size_t i = 0; i < w->count; i++) {
        struct known *known = &w->list[i];
        if (!known->seen || known->info.epoch <= known->told)
            continue;
        /* clients only give: all else is the keeper's, which will tell it, after the death that it followed from */
        bool gap = known->info.epoch > known->told + 1;
        if (gap || known->info.reason != HEIR_GIVEN) {
            if (known->gap_ms == 0)
                known->gap_ms = now;
            if (now - known->gap_ms < GRACE_MS)
                continue;
        }
        if (gap)
            say_missing(w, known->info.name, known->told + 1, known->info.epoch - 1);
        if (!loaded)
            people_load(w->ctl, &people);
        loaded = true;
        print_header(w, known, &people);
        known->told = known->info.epoch;
        known->gap_ms = 0;
    }
    people_free(&people);
}

/* ---- The verb ----------------------------------------------------------------------------------------- */

static enum exit_status watch(struct watching *w)
{
    const struct ctl *ctl = w->ctl;
    do {
        uint64_t begin = now_ms();
        w->again = false;
        /* headers first: what they show the journal may have told by the time that we read it. At the beginning the
         * other way round: what happens in between has happened before */
        int error = w->begun ? look_at_tables(w) : 0;
        if (error == 0)
            error = heir_inspect_events(ctl->ns, w->place.sequence, next_event, w);
        if (error == 0 && !w->begun)
            error = look_at_tables(w);
        if (error < 0)
            return ctl_fail_error(ctl, error, "cannot look into the namespace '%s'", ctl_ns(ctl));
        if (w->begun) {
            tell_headers(w);
        } else if (w->table != NULL && w->count == 0) {
            fprintf(stderr, "heirctl: there is no table '%s' yet\n", w->table);
        }
        w->begun = true;
        uint64_t took = now_ms() - begin;
        if (!w->again)
            pause_ms(took * 4 > LOOK_MS ? (unsigned)(took * 4) : LOOK_MS); /* a fifth of a processor at most */
    } while (!ferror(stdout));
    return DONE;
}

static enum exit_status run(struct ctl *ctl)
{
    struct watching w = {.ctl = ctl, .table = ctl->nargs > 0 ? ctl->args[0] : NULL};
    enum exit_status status = watch(&w);
    free(w.list);
    return status;
}

const struct verb verb_watch = {
    .name = "watch",
    .arguments = "[TABLE]",
    .line = "print a line for each transfer and death, while it happens",
    .text =
        "From now on, until it is stopped; of all tables, or of one, which need not be there yet. Sees also what\n"
        "clients give to each other directly. What it could not see, because a table had several owners between two\n"
        "looks, it names as missing, after at most two seconds; the looks are 25 ms apart, with thousands of tables "
        "more.\n"
        "Reads the shared memory, so it needs no keeper and disturbs nobody. It does not show changes of objects.\n"
        "\n"
        "--json: an object a line, as heirctl events --follow prints them; \"sequence\" is null for what is not in "
        "the\n"
        "keeper's journal.\n",
    .max_args = 1,
    .run = run,
};
