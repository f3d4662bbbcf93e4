/* SPDX-License-Identifier: MIT */
/*
 * heirctl watch: a line for each transfer and death, and each change of an object, while it happens.
 *
 * Two sources. The keeper's journal tells all that the keeper did, with its reasons. What clients give to each other
 * directly only the owner words of the tables tell: of each table the last epoch that was told is kept, and a newer one
 * in its header is a transfer, which the journal may come with later (then it is passed over), or never. Between two
 * looks a table can have had several owners. The journal may be late, too, by the time that it takes a large process to
 * end: so what is missing is waited for, and after that named as missing.
 *
 * Changes of objects come from feeds, between the looks; see changes.c. Those of a new owner wait for the transfer to
 * be told, if the keeper holds them.
 */
#include "heirctl.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS  25
#define GRACE_MS 1500 /* for the journal to tell of an epoch that a header has shown */
#define POLL_MS  5    /* for new changes, when there have just been none */

struct known {
    uint64_t id, told; /* the last epoch told */
    uint64_t gap_ms;   /* since when epochs between are missing; 0: none is */
    struct heir_info info;
    bool seen;               /* in this look */
    struct changes *changes; /* NULL: they are not watched */
    uint64_t safe;           /* as far as which they are sure to be of owners that were told */
};

struct watching {
    const struct ctl *ctl;
    char *const *tables; /* a NULL behind the last; none: all */
    struct heir *client; /* by which changes are held; NULL: none */
    struct known *list;  /* sorted by id */
    size_t count;
    struct journal_place place;
    bool begun, again;
    int error; /* of changes, for failed_table */
    char failed_table[HEIR_NAME_MAX + 1];
};

static bool wanted(const struct watching *w, const char *name)
{
    char *const *table = w->tables;
    while (*table != NULL && strcmp(*table, name) != 0)
        table++;
    return w->tables[0] == NULL || *table != NULL;
}

static bool wanted_event(const struct watching *w, const struct heir_happening *h)
{
    return h->name[0] == '\0' || wanted(w, h->name) || (h->kind == HEIR_RENAMED && wanted(w, h->from_role));
}

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

/* ---- Changes ------------------------------------------------------------------------------------------ */

static void fail_changes(struct watching *w, const char *name, int error)
{
    if (w->error == 0)
        memcpy(w->failed_table, name, sizeof w->failed_table);
    if (w->error == 0)
        w->error = error;
}

static void print_changes(struct watching *w, struct known *known, uint64_t up_to)
{
    int error = known->changes != NULL ? changes_print(known->changes, known->info.name, up_to) : 0;
    if (error < 0)
        fail_changes(w, known->info.name, error);
}

/* Of a table that is there now. The first transaction is the table's own. */
static void begin_changes(struct watching *w, struct known *known)
{
    int error = changes_open(w->ctl, w->client, known->info.name, known->id, w->begun ? 2 : 0, &known->changes);
    if (error < 0 && error != -ENOENT)
        fail_changes(w, known->info.name, error);
}

/* Of those that are not there any more. */
static void end_changes(struct watching *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct known *known = &w->list[i];
        if (known->seen || known->changes == NULL)
            continue;
        print_changes(w, known, 0);
        happening_remark(w->ctl,
                         "table %s: removed, renamed or not readable: its changes end after transaction %" PRIu64,
                         known->info.name, changes_told(known->changes));
        changes_close(known->changes);
        known->changes = NULL;
    }
}

/* What is new. false: a table has a new owner, who has to be told first. */
static bool poll_changes(struct watching *w, bool *news)
{
    bool good = true;
    for (size_t i = 0; i < w->count; i++) {
        struct known *known = &w->list[i];
        if (known->changes == NULL)
            continue;
        uint64_t told = changes_told(known->changes), safe = changes_safe(known->changes, known->told);
        good &= safe != 0;
        if (safe == 0)
            continue;
        known->safe = safe;
        print_changes(w, known, safe);
        *news |= changes_told(known->changes) != told;
    }
    return good;
}

/* Until the next look. */
static void follow_changes(struct watching *w, uint64_t ms)
{
    uint64_t end = now_ms() + ms;
    for (bool news = true, good = true; good && w->error == 0 && stop_signal() == 0 && !ferror(stdout);) {
        pause_ms(news ? 1 : POLL_MS);
        if (now_ms() >= end)
            break;
        news = false;
        good = poll_changes(w, &news);
    }
}

/* The client's house-keeping; and what somebody passes to it is not for us. */
static void keep_client(struct watching *w)
{
    struct heir_event event;
    while (w->client != NULL && heir_wait(w->client, 0, &event) == 0) {
        if (event.type == HEIR_EVENT_TRANSFER)
            heir_release(event.table);
    }
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
    if (!wanted_event(w, h))
        return 0;
    if (h->kind == HEIR_TRANSFER) {
        struct known *known = know(w, h->table, h->epoch - 1);
        if (h->epoch <= known->told)
            return 0;
        if (h->epoch > known->told + 1)
            say_missing(w, h->name, known->told + 1, h->epoch - 1);
        print_changes(w, known, h->committed);
        known->told = h->epoch;
        known->gap_ms = 0;
    } else if (h->kind == HEIR_CREATED) {
        know(w, h->table, 1);
    } else if (h->kind == HEIR_DESTROYED || h->kind == HEIR_RENAMED) {
        print_changes(w, know(w, h->table, 1), 0);
    }
    happening_print(w->ctl, h);
    return 0;
}

/* ---- The tables --------------------------------------------------------------------------------------- */

static int next_table(const struct heir_info *info, int error, void *arg)
{
    struct watching *w = arg;
    if (error < 0 || !wanted(w, info->name))
        return 0;
    struct known *known = know(w, info->id, w->begun ? 1 : info->epoch); /* the first epoch is no transfer */
    known->info = *info;
    known->seen = true;
    if (w->ctl->changes && known->changes == NULL)
        begin_changes(w, known);
    return 0;
}

static void look_at_one(struct watching *w, const char *name)
{
    struct heir_table *table;
    struct heir_info info;
    int error = heir_inspect_open(w->ctl->ns, name, &table);
    if (error == -ENOENT && !w->begun)
        fprintf(stderr, "heirctl: there is no table '%s' yet\n", name);
    else if (error < 0 && error != -ENOENT && !w->begun && w->ctl->changes)
        fail_changes(w, name, error);
    if (error < 0)
        return; /* none yet, or damaged: which the journal tells */
    if (heir_info(table, &info) == 0) {
        snprintf(info.name, sizeof info.name, "%s", name);
        next_table(&info, 0, w);
    }
    heir_inspect_close(table);
}

static int look_at_tables(struct watching *w)
{
    for (size_t i = 0; i < w->count; i++)
        w->list[i].seen = false;
    if (w->tables[0] == NULL)
        return heir_inspect_tables(w->ctl->ns, next_table, w);
    for (char *const *table = w->tables; *table != NULL; table++)
        look_at_one(w, *table);
    return 0;
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
        if (known->safe != 0)
            print_changes(w, known, known->safe);
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
            end_changes(w);
        }
        w->begun = true;
        keep_client(w);
        uint64_t took = now_ms() - begin, rest = took * 4 > LOOK_MS ? took * 4 : LOOK_MS; /* a fifth of a processor */
        if (!w->again && ctl->changes)
            follow_changes(w, rest);
        else if (!w->again)
            pause_ms((unsigned)rest);
        if (w->error < 0)
            return ctl_fail_error(ctl, w->error, "cannot read the changes of the table '%s'", w->failed_table);
    } while (!ferror(stdout) && stop_signal() == 0);
    return DONE;
}

static enum exit_status run(struct ctl *ctl)
{
    struct watching w = {.ctl = ctl, .tables = ctl->args};
    if (ctl->changes && ctl->nargs == 0)
        return ctl_fail_usage(ctl, "--changes wants at least one TABLE");
    if (ctl->no_pin && !ctl->changes)
        return ctl_fail_usage(ctl, "--no-pin goes with --changes alone");
    stop_begin();
    if (ctl->changes && !ctl->no_pin)
        w.client = changes_client(ctl);
    enum exit_status status = watch(&w);
    for (size_t i = 0; i < w.count; i++)
        changes_close(w.list[i].changes);
    free(w.list);
    heir_close(w.client);
    stop_now();
    return status;
}

const struct verb verb_watch = {
    .name = "watch",
    .arguments = "[TABLE]... [--changes] [--no-pin]",
    .line = "print a line for each transfer and death, while it happens",
    .text =
        "From now on, until it is stopped; of all tables, or of those named, which need not be there yet. Sees also "
        "what\n"
        "clients give to each other directly. What it could not see, because a table had several owners between two\n"
        "looks, it names as missing, after at most two seconds; the looks are 25 ms apart, with thousands of tables "
        "more.\n"
        "Reads the shared memory, so it needs no keeper and disturbs nobody.\n"
        "  --changes  also each committed change of the tables named, some 5 ms later, in the order in which they "
        "were\n"
        "             made and between the transfers where they belong. What was undone is not shown. The keeper "
        "holds\n"
        "             what has not been read; a table that is full takes it back, and without a keeper the history\n"
        "             reaches some 128 changes back: what is lost then is named by its transactions. Of keys and "
        "values\n"
        "             the first 64 bytes\n"
        "  --no-pin   do not become a client, and have nothing held: a reader that hangs then costs no memory\n"
        "\n"
        "--json: an object a line, as heirctl events --follow prints them; \"sequence\" is null for what is not in "
        "the\n"
        "keeper's journal. Changes are\n"
        "  {\"time\": text, when it was seen, \"kind\": \"put\"|\"deleted\"|\"cleared\"|\"lost\", \"table\": text,\n"
        "   \"table_id\": number, \"transaction\": number, and, where it has them,\n"
        "   \"last\": is it the last change of its transaction, \"key\": text, \"value\": text: of a deleted object "
        "what\n"
        "   it was, \"length\": of the value in bytes, \"to_transaction\": of \"lost\"; all from \"transaction\" on}\n",
    .options = "--changes --no-pin ",
    .max_args = INT_MAX,
    .run = run,
};
