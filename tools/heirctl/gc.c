/* SPDX-License-Identifier: MIT */
/*
 * heirctl gc: remove what provably belongs to nobody, and say what it was.
 */
#include "heirctl.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct found {
    const struct ctl *ctl;
    json_t *list;
    uint64_t count, bytes;
};

static const char *why_text(enum heir_leftover_why why)
{
    switch (why) {
    case HEIR_LEFTOVER_HALF:
        return "half-made";
    case HEIR_LEFTOVER_DESTROYED:
        return "destroyed";
    case HEIR_LEFTOVER_DEAD:
        return "dead";
    }
    return "unknown";
}

static int tell(const struct heir_leftover *leftover, void *arg)
{
    struct found *found = arg;
    char size[TEXT_MAX];
    size_text(size, leftover->bytes);
    found->count++;
    found->bytes += leftover->bytes;
    if (found->ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "kind", json_text(leftover->kind == 't' ? "table" : "client"));
        json_object_set_new(object, "name", json_text(leftover->name));
        json_object_set_new(object, "why", json_text(why_text(leftover->why)));
        json_object_set_new(object, "bytes", json_integer((json_int_t)leftover->bytes));
        json_array_append_new(found->list, object);
    } else {
        printf("%s %s: %s, %s%s\n", leftover->kind == 't' ? "table" : "client", leftover->name, why_text(leftover->why),
               size, found->ctl->dry_run ? "" : ", removed");
    }
    return 0;
}

static enum exit_status run(struct ctl *ctl)
{
    struct found found = {.ctl = ctl, .list = json_array()};
    enum exit_status status = DONE;
    char size[TEXT_MAX];
    int error = heir_collect(ctl->ns, !ctl->dry_run, tell, &found);
    size_text(size, found.bytes);
    if (error == -EBUSY) {
        status =
            ctl_fail(ctl, REFUSED, error,
                     "a keeper runs for the namespace '%s': it has collected at its start what there was", ctl_ns(ctl));
    } else if (error < 0) {
        status = ctl_fail_error(ctl, error, "cannot collect in the namespace '%s'", ctl_ns(ctl));
    } else if (ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
        json_object_set_new(object, "removed", json_boolean(!ctl->dry_run));
        json_object_set(object, "leftovers", found.list);
        status = json_print(object);
    } else {
        printf("%" PRIu64 " thing%s of nobody in the namespace '%s', %s%s\n", found.count, found.count == 1 ? "" : "s",
               ctl_ns(ctl), size, ctl->dry_run && found.count > 0 ? "; nothing was removed" : "");
    }
    json_decref(found.list);
    return status;
}

const struct verb verb_gc = {
    .name = "gc",
    .arguments = "[--dry-run]",
    .line = "remove what belongs to nobody in a namespace that has no keeper",
    .text =
        "That is: tables and clients whose creation was cut off, destroyed tables that were not yet removed, and "
        "clients\n"
        "that have ended and own nothing. A keeper removes the same at its start, and hands on what dead clients own;\n"
        "nothing of that is touched here, nor what is damaged (heirctl rm). Prints each thing.\n"
        "  --dry-run  only print them\n"
        "\n"
        "--json:\n"
        "  {\"namespace\": text, \"removed\": false with --dry-run, \"leftovers\": [{\"kind\": "
        "\"table\"|\"client\",\n"
        "    \"name\": name or id, \"why\": \"half-made\"|\"destroyed\"|\"dead\", \"bytes\": number}]}\n",
    .options = "--dry-run ",
    .run = run,
};
