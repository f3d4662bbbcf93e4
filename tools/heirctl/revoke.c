/* SPDX-License-Identifier: MIT */
/*
 * heirctl revoke: take a table from its living owner.
 */
#include "heirctl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Who owns it just before, for the report: unknown if the shared memory cannot be read. */
static uint64_t owner_before(const struct ctl *ctl, const char *name)
{
    struct heir_table *table;
    struct heir_info info = {0};
    if (heir_inspect_open(ctl->ns, name, &table) < 0)
        return HEIR_KEEPER;
    if (heir_info(table, &info) < 0)
        info.owner = HEIR_KEEPER;
    heir_inspect_close(table);
    return info.owner;
}

static enum exit_status print(const struct ctl *ctl, const struct people *people, uint64_t owner)
{
    const char *name = ctl->args[0];
    if (ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "table", json_text(name));
        json_object_set_new(object, "from", owner == HEIR_KEEPER ? json_null() : owner_json(people, owner));
        json_object_set_new(object, "forced", json_boolean(ctl->force));
        return json_print(object);
    }
    char *text = owner == HEIR_KEEPER ? NULL : owner_text(people, owner);
    printf("the table '%s' was taken from %s\n", name, text != NULL ? text : "its owner");
    free(text);
    return DONE;
}

static enum exit_status run(struct ctl *ctl)
{
    const char *name = ctl->args[0];
    struct heir_open_options options = ctl_options(ctl);
    struct people people;
    people_load(ctl, &people);
    uint64_t owner = owner_before(ctl, name);
    enum exit_status status;
    int error = heir_revoke(&options, name, ctl->force);
    if (error == 0)
        status = print(ctl, &people, owner);
    else if (error == -ENOENT)
        status = ctl_fail_no_table(ctl, name);
    else if (error == -EALREADY)
        status = ctl_fail(ctl, REFUSED, error,
                          "no client owns the table '%s': the keeper has it already, there is nothing to revoke", name);
    else if (error == -EBUSY)
        status =
            ctl_fail(ctl, REFUSED, error,
                     "the owner of the table '%s' is in the middle of a write or a transaction: try again, or kill its "
                     "process with heirctl revoke --force %s",
                     name, name);
    else if (error == -ETIMEDOUT)
        status = ctl_fail(
            ctl, REFUSED, error,
            "the owner of the table '%s' was killed, but has not ended yet: the table is taken when it has", name);
    else if (error == -ESRCH)
        status = ctl_fail(ctl, REFUSED, error,
                          "the owner of the table '%s' is in the middle of a write, and the keeper has no hold on its "
                          "process: end it yourself (heirctl info %s tells its pid)",
                          name, name);
    else
        status = ctl_fail_error(ctl, error, "the table '%s' was not revoked", name);
    people_free(&people);
    return status;
}

const struct verb verb_revoke = {
    .name = "revoke",
    .arguments = "TABLE [--force]",
    .line = "take a table from its living owner",
    .text =
        "The keeper owns the table then, and the first in the line of claims gets it. The former owner's next write\n"
        "is refused (-ESTALE), even if it was stopped all the while. For an owner that hangs, or is stopped and not\n"
        "to be waited for. Needs the keeper.\n"
        "  --force  an owner in the middle of a write or a transaction is killed, with all of its process, and what\n"
        "           it had not committed is undone; without, that is refused\n"
        "\n"
        "--json:\n"
        "  {\"table\": text, \"from\": {\"id\": number, \"role\": text|null, \"pid\": number|null, \"state\": "
        "text|null}\n"
        "   or null when the former owner could not be told, \"forced\": true with --force}\n",
    .options = "--force ",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
