/* SPDX-License-Identifier: MIT */
/*
 * heirctl give: hand a table that no client owns to a client, which is told by an event as of any gift.
 *
 * Whom it is meant for is found out before the table is claimed: a mistyped name changes nothing.
 */
#include "heirctl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum exit_status fail_nobody(const struct ctl *ctl)
{
    return ctl_fail(ctl, REFUSED, -ESRCH,
                    "there is no living client '%s' in the namespace '%s'; heirctl clients shows those there are",
                    ctl->args[1], ctl_ns(ctl));
}

/* What is a number is an id. */
static bool is_number(const char *word)
{
    return word[strspn(word, "0123456789")] == '\0' && strlen(word) <= 19;
}

static enum exit_status find(const struct ctl *ctl, struct heir *client, uint64_t *id)
{
    const char *word = ctl->args[1];
    int error = 0;
    if (is_number(word))
        *id = strtoull(word, NULL, 10);
    else
        error = heir_find(client, word, id);
    if (error == -ENOENT || (error == 0 && *id == heir_id(client)))
        return fail_nobody(ctl);
    return error == 0 ? DONE : ctl_fail_error(ctl, error, "cannot find the client '%s'", word);
}

static enum exit_status print(const struct ctl *ctl, const struct people *people, uint64_t id)
{
    const char *name = ctl->args[0];
    if (ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "table", json_text(name));
        json_object_set_new(object, "to", owner_json(people, id));
        return json_print(object);
    }
    char *text = owner_text(people, id);
    printf("the table '%s' was given to %s\n", name, text);
    free(text);
    return DONE;
}

static enum exit_status give(const struct ctl *ctl, struct writing *writing, uint64_t id)
{
    const char *name = ctl->args[0];
    enum exit_status status = writing_own(ctl, name, "give away", writing);
    if (status != DONE)
        return status;
    struct people people;
    people_load(ctl, &people); /* before: it may be gone afterwards */
    int error = heir_give_away(writing->table, id, NULL, 0);
    if (error == 0)
        writing->claimed = false;
    writing_end(writing);
    if (error == -ESRCH)
        status = fail_nobody(ctl);
    else if (error < 0)
        status = ctl_fail_error(ctl, error, "the table '%s' was not given", name);
    else
        status = print(ctl, &people, id);
    people_free(&people);
    return status;
}

static enum exit_status run(struct ctl *ctl)
{
    const char *word = ctl->args[1];
    struct writing writing;
    uint64_t id = HEIR_KEEPER;

    if (!table_name_ok(word))
        return ctl_fail_usage(ctl, "'%.64s' cannot be a client: say its id, or its role name", word);
    if (is_number(word) && strtoull(word, NULL, 10) == HEIR_KEEPER)
        return ctl_fail_usage(ctl, "%s is the keeper, which owns what nobody else does: say revoke to take a table",
                              word);
    enum exit_status status = writing_join(ctl, &writing);
    if (status != DONE)
        return status;
    status = find(ctl, writing.client, &id);
    if (status == DONE)
        return give(ctl, &writing, id);
    writing_end(&writing);
    return status;
}

const struct verb verb_give = {
    .name = "give",
    .arguments = "TABLE CLIENT",
    .line = "give a table that no client owns to a client",
    .text = "CLIENT is the client's id, or its role name (of several, the one that has borne it longest is meant); a\n"
            "number is an id. The client learns of it by an event. A table that a living client owns is left alone:\n"
            "revoke it first. Needs the keeper.\n"
            "\n"
            "--json:\n"
            "  {\"table\": text, \"to\": {\"id\": number, \"role\": text|null, \"pid\": number|null, \"state\": "
            "text|null}}\n",
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
