/* SPDX-License-Identifier: MIT */
/*
 * heirctl put: insert or replace an object.
 */
#include "heirctl.h"
#include <stdlib.h>

static enum exit_status print_json(const struct ctl *ctl, const struct bytes *key, const struct bytes *value)
{
    if (!ctl->json)
        return DONE;
    char *key_text = bytes_text(key->data, key->len), *value_text = bytes_text(value->data, value->len);
    json_t *object = json_object();
    json_object_set_new(object, "table", json_text(ctl->args[0]));
    json_object_set_new(object, "key", json_text(key_text));
    json_object_set_new(object, "value", json_text(value_text));
    json_object_set_new(object, "length", json_integer((json_int_t)value->len));
    free(key_text);
    free(value_text);
    return json_print(object);
}

static enum exit_status put(const struct ctl *ctl, const struct bytes *key, const struct bytes *value)
{
    struct writing writing = {0};
    enum exit_status status = writing_begin(ctl, ctl->args[0], NULL, &writing);
    if (status != DONE)
        return status;
    int error = heir_put(writing.table, key->data, key->len, value->data, value->len);
    if (error < 0)
        status = writing_fail(ctl, &writing, error, "the object was not written");
    writing_end(&writing);
    return error < 0 ? status : print_json(ctl, key, value);
}

static enum exit_status run(struct ctl *ctl)
{
    struct bytes key, value;
    enum exit_status status = key_parse(ctl, ctl->args[1], &key);
    if (status != DONE)
        return status;
    const char *problem = bytes_parse(ctl->args[2], &value);
    if (problem != NULL) {
        free(key.data);
        return ctl_fail_usage(ctl, "the value '%.64s' cannot be taken: %s", ctl->args[2], problem);
    }
    status = put(ctl, &key, &value);
    free(key.data);
    free(value.data);
    return status;
}

const struct verb verb_put = {
    .name = "put",
    .arguments = "TABLE KEY VALUE",
    .line = "write an object into a table that the keeper owns, or a public one",
    .text =
        "Inserts the object or replaces its value, as one transaction. KEY and VALUE are text, or 0x and hexadecimal\n"
        "digits; a word that begins with -- has to come after a lone --. A table that is not public is claimed for\n"
        "the moment of the write and released again, which raises its epoch; one that a living client owns is left\n"
        "alone. Needs the keeper.\n"
        "\n"
        "--json:\n"
        "  {\"table\": text, \"key\": text, \"value\": text, \"length\": number in bytes}\n",
    .min_args = 3,
    .max_args = 3,
    .run = run,
};
