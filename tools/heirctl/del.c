/* SPDX-License-Identifier: MIT */
/*
 * heirctl del: delete an object. A key that is not there is refused and not passed over: it is most often mistyped.
 */
#include "heirctl.h"
#include <errno.h>
#include <stdlib.h>

static enum exit_status print_json(const struct ctl *ctl, const char *key)
{
    if (!ctl->json)
        return DONE;
    json_t *object = json_object();
    json_object_set_new(object, "table", json_text(ctl->args[0]));
    json_object_set_new(object, "key", json_text(key));
    json_object_set_new(object, "deleted", json_true());
    return json_print(object);
}

static enum exit_status del(const struct ctl *ctl, const struct bytes *key, const char *key_text)
{
    struct writing writing = {0};
    enum exit_status status = writing_begin(ctl, ctl->args[0], NULL, &writing);
    if (status != DONE)
        return status;
    int error = heir_del(writing.table, key->data, key->len);
    if (error == -ENOENT)
        status = ctl_fail(ctl, REFUSED, error, "the table '%s' has no key '%.200s'", ctl->args[0], key_text);
    else if (error < 0)
        status = writing_fail(ctl, &writing, error, "the object was not deleted");
    writing_end(&writing);
    return error < 0 ? status : print_json(ctl, key_text);
}

static enum exit_status run(struct ctl *ctl)
{
    struct bytes key;
    enum exit_status status = key_parse(ctl, ctl->args[1], &key);
    if (status != DONE)
        return status;
    char *key_text = bytes_text(key.data, key.len);
    status = del(ctl, &key, key_text);
    free(key_text);
    free(key.data);
    return status;
}

const struct verb verb_del = {
    .name = "del",
    .arguments = "TABLE KEY",
    .line = "delete an object of a table that the keeper owns, or of a public one",
    .text = "KEY is text, or 0x and hexadecimal digits; a word that begins with -- has to come after a lone --.\n"
            "A table that is not public is claimed for the moment of the change and released again, which raises its\n"
            "epoch; one that a living client owns is left alone. Needs the keeper.\n"
            "Exit status 1 also when there is no such key.\n"
            "\n"
            "--json:\n"
            "  {\"table\": text, \"key\": text, \"deleted\": true}\n",
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
