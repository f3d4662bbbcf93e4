/* SPDX-License-Identifier: MIT */
/*
 * heirctl rm: remove a table that no client owns.
 */
#include "heirctl.h"
#include <errno.h>
#include <stdio.h>

/* -1: it cannot be read. */
static long long count_objects(const struct ctl *ctl)
{
    struct heir_table *table;
    struct heir_info info;
    if (heir_inspect_open(ctl->ns, ctl->args[0], &table) < 0)
        return -1;
    int error = heir_info(table, &info);
    heir_inspect_close(table);
    return error < 0 ? -1 : (long long)info.objects;
}

static enum exit_status print(const struct ctl *ctl, long long objects)
{
    const char *name = ctl->args[0];
    if (ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "table", json_text(name));
        json_object_set_new(object, "removed", json_true());
        json_object_set_new(object, "objects", objects < 0 ? json_null() : json_integer(objects));
        return json_print(object);
    }
    if (objects < 0)
        printf("the table '%s', which was damaged, was removed\n", name);
    else
        printf("the table '%s' was removed, with %lld object%s\n", name, objects, objects == 1 ? "" : "s");
    return DONE;
}

/* As one who may own it: for users who are not the keeper's. */
static enum exit_status destroy(const struct ctl *ctl)
{
    const char *name = ctl->args[0];
    struct writing writing;
    enum exit_status status = writing_join(ctl, &writing);
    if (status == DONE)
        status = writing_own(ctl, name, "remove", &writing);
    if (status != DONE)
        return status;
    long long objects = (long long)writing.info.objects;
    int error = heir_destroy(writing.table);
    if (error < 0)
        status = ctl_fail_error(ctl, error, "the table '%s' was not removed", name);
    else
        writing.claimed = false;
    writing_end(&writing);
    return error < 0 ? status : print(ctl, objects);
}

static enum exit_status run(struct ctl *ctl)
{
    const char *name = ctl->args[0];
    struct heir_open_options options = ctl_options(ctl);
    enum exit_status status =
        ctl_ask(ctl, "Remove the table '%s' of the namespace '%s', with all that is in it?", name, ctl_ns(ctl));
    if (status != DONE)
        return status;
    long long objects = count_objects(ctl);
    int error = heir_remove(&options, name);
    if (error == 0)
        return print(ctl, objects);
    if (error == -ENOENT)
        return ctl_fail_no_table(ctl, name);
    if (error == -EBUSY)
        return writing_fail_busy(ctl, name, "remove");
    return error == -EACCES ? destroy(ctl) : ctl_fail_error(ctl, error, "the table '%s' was not removed", name);
}

const struct verb verb_rm = {
    .name = "rm",
    .arguments = "TABLE [--yes]",
    .line = "remove a table that no client owns",
    .text =
        "Asks before, on a terminal; elsewhere --yes has to be said. A table that a living client owns is left alone:\n"
        "let that one destroy it, or revoke it first. Who has the table open goes on reading its last state. A claim\n"
        "that comes later creates the table anew. Removes also what is damaged and was set aside. Needs the keeper.\n"
        "  --yes  do not ask\n"
        "\n"
        "--json:\n"
        "  {\"table\": text, \"removed\": true, \"objects\": number of those that were in it|null}\n",
    .options = "--yes ",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
