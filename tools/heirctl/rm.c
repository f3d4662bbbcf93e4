/* SPDX-License-Identifier: MIT */
/*
 * heirctl rm: remove a table that no client owns.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>

static enum exit_status print(const struct ctl *ctl, uint64_t objects)
{
    const char *name = ctl->args[0];
    if (ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "table", json_text(name));
        json_object_set_new(object, "removed", json_true());
        json_object_set_new(object, "objects", json_integer((json_int_t)objects));
        return json_print(object);
    }
    printf("the table '%s' was removed, with %" PRIu64 " object%s\n", name, objects, objects == 1 ? "" : "s");
    return DONE;
}

static enum exit_status run(struct ctl *ctl)
{
    const char *name = ctl->args[0];
    struct writing writing;
    enum exit_status status =
        ctl_ask(ctl, "Remove the table '%s' of the namespace '%s', with all that is in it?", name, ctl_ns(ctl));
    if (status == DONE)
        status = writing_join(ctl, &writing);
    if (status == DONE)
        status = writing_own(ctl, name, "remove", &writing);
    if (status != DONE)
        return status;
    uint64_t objects = writing.info.objects;
    int error = heir_destroy(writing.table);
    if (error < 0)
        status = ctl_fail_error(ctl, error, "the table '%s' was not removed", name);
    else
        writing.claimed = false;
    writing_end(&writing);
    return error < 0 ? status : print(ctl, objects);
}

const struct verb verb_rm = {
    .name = "rm",
    .arguments = "TABLE [--yes]",
    .line = "remove a table that no client owns",
    .text =
        "Asks before, on a terminal; elsewhere --yes has to be said. A table that a living client owns is left alone:\n"
        "let that one destroy it, or revoke it first. Who has the table open goes on reading its last state. A claim\n"
        "that comes later creates the table anew. Needs the keeper.\n"
        "  --yes  do not ask\n"
        "\n"
        "--json:\n"
        "  {\"table\": text, \"removed\": true, \"objects\": number of those that were in it}\n",
    .options = "--yes ",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
