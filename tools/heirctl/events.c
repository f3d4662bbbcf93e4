/* SPDX-License-Identifier: MIT */
/*
 * heirctl events: the last deaths and transfers, from the keeper's journal in shared memory.
 */
#include "heirctl.h"
#include <stdio.h>
#include <stdlib.h>

#define LOOK_MS 20

struct collected {
    struct heir_happening *list;
    size_t count, skip;
};

static int collect(const struct heir_happening *happening, void *arg)
{
    struct collected *all = arg;
    all->list = must_resize(all->list, (all->count + 1) * sizeof *all->list);
    all->list[all->count++] = *happening;
    return 0;
}

static enum exit_status print_json(const struct ctl *ctl, const struct collected *all)
{
    json_t *object = json_object(), *list = json_array();
    for (size_t i = all->skip; i < all->count; i++)
        json_array_append_new(list, happening_json(&all->list[i]));
    json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
    json_object_set_new(object, "events", list);
    return json_print(object);
}

struct following {
    const struct ctl *ctl;
    struct journal_place place;
    bool again; /* another journal: from its beginning */
};

static int print_next(const struct heir_happening *happening, void *arg)
{
    struct following *f = arg;
    uint64_t missed = journal_step(&f->place, happening);
    journal_remark(f->ctl, missed);
    if (missed == UINT64_MAX && happening->sequence != 1) {
        f->place.sequence = 0;
        f->again = true;
        return 1;
    }
    happening_print(f->ctl, happening);
    return ferror(stdout) != 0 ? -1 : 0;
}

/* Until somebody stops us, or nobody reads it any more. */
static enum exit_status follow(const struct ctl *ctl, const struct collected *all)
{
    struct following f = {.ctl = ctl};
    for (size_t i = 0; i < all->count; i++) {
        journal_step(&f.place, &all->list[i]);
        if (i >= all->skip)
            happening_print(ctl, &all->list[i]);
    }
    while (!ferror(stdout)) {
        f.again = false;
        int error = heir_inspect_events(ctl->ns, f.place.sequence, print_next, &f);
        if (error < -1)
            return ctl_fail_error(ctl, error, "cannot read the journal of the namespace '%s'", ctl_ns(ctl));
        if (!f.again)
            pause_ms(LOOK_MS);
    }
    return DONE;
}

static enum exit_status run(struct ctl *ctl)
{
    struct collected all = {0};
    enum exit_status status = DONE;
    uint64_t count = 0;
    if (ctl->count != NULL && !size_parse(ctl->count, &count))
        return ctl_fail_usage(ctl, "--count wants a number of events, not '%.64s'", ctl->count);
    int error = heir_inspect_events(ctl->ns, 0, collect, &all);
    if (ctl->count != NULL && count < all.count)
        all.skip = all.count - count;
    if (error < 0)
        status = ctl_fail_error(ctl, error, "cannot read the journal of the namespace '%s'", ctl_ns(ctl));
    else if (ctl->follow)
        status = follow(ctl, &all);
    else if (ctl->json)
        status = print_json(ctl, &all);
    else
        for (size_t i = all.skip; i < all.count; i++)
            happening_print(ctl, &all.list[i]);
    if (status == DONE && !ctl->json && !ctl->follow && all.count == 0)
        fprintf(stderr, "heirctl: nothing has happened in the namespace '%s'\n", ctl_ns(ctl));
    free(all.list);
    return status;
}

const struct verb verb_events = {
    .name = "events",
    .arguments = "[--follow] [--count N]",
    .line = "tell what has happened: deaths and their causes, transfers, tables made and removed",
    .text = "The keeper's journal of the last 512 things that it did, oldest first, in UTC as heird's log. It outlives "
            "the\n"
            "keeper. A death comes before the transfers that followed from it. Gifts that clients of one user make to "
            "each\n"
            "other directly are not in it: they are the epochs that are missing (heirctl watch sees them). Reads the "
            "shared\n"
            "memory, so it needs no keeper and disturbs nobody.\n"
            "  --count N  only the last N\n"
            "  --follow   go on with what happens, until it is stopped; says so if something was overwritten unread\n"
            "\n"
            "--json, with --follow an event a line and without the frame:\n"
            "  {\"namespace\": text, \"events\": [{\"sequence\": number, \"time\": text, \"kind\": "
            "\"transfer\"|\"death\"|\"death-goes-on\"|\n"
            "    \"left\"|\"created\"|\"destroyed\"|\"renamed\"|\"damaged\"|\"lease-over\"|\"killed\"|"
            "\"more-transfers\"|\n"
            "    \"keeper-start\"|\"keeper-stop\", and, where it has them,\n"
            "    \"table\": text, \"table_id\": number, \"before\": name before a renaming, \"pid\": number,\n"
            "    \"from\": {\"id\": 0 for the keeper, \"role\": text|null}, \"to\": the same,\n"
            "    \"epoch\": number, \"reason\": \"claimed\"|\"given\"|\"inherited\"|\"released\"|\"revoked\", "
            "\"undone\": number,\n"
            "    \"committed\": last transaction, \"last_death\" or \"death\": null|{\"cause\": "
            "\"signal\"|\"exit\"|\"thread\"|\"unknown\",\n"
            "    \"code\": number, \"signal\": text|null}, \"reclaim_us\": number, \"tables\": number handed on,\n"
            "    \"transfers\": number that are not told one by one, \"lease_ms\": number}]}\n"
            "  With --follow also {\"kind\": \"remark\", \"message\": text}.\n",
    .options = "--follow --count ",
    .run = run,
};
