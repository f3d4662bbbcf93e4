/* SPDX-License-Identifier: MIT */
/*
 * heirctl get: the committed value of a key, straight from shared memory: it also answers while the owner is dead or
 * stopped.
 */
#include "heirctl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value may grow between asking for its length and copying it. */
static int read_value(struct heir_table *table, const struct bytes *key, struct bytes *value)
{
    *value = (struct bytes){0};
    for (;;) {
        size_t len = value->len;
        int error = heir_get(table, key->data, key->len, value->data, &len);
        if (error != -ENOBUFS) {
            value->len = len;
            return error;
        }
        value->data = must_resize(value->data, len);
        value->len = len;
    }
}

static enum exit_status print_json(const struct ctl *ctl, const char *key, const struct bytes *value)
{
    char *value_text = bytes_text(value->data, value->len);
    json_t *integer = json_null();
    if (value->len == sizeof(int64_t)) {
        int64_t number;
        memcpy(&number, value->data, sizeof number);
        integer = json_integer(number);
    }
    json_t *object = json_object();
    json_object_set_new(object, "table", json_text(ctl->args[0]));
    json_object_set_new(object, "key", json_text(key));
    json_object_set_new(object, "value", json_text(value_text));
    json_object_set_new(object, "length", json_integer((json_int_t)value->len));
    json_object_set_new(object, "integer", integer);
    free(value_text);
    return json_print(object);
}

static enum exit_status print_text(const struct bytes *value)
{
    char *text = bytes_text(value->data, value->len);
    puts(text);
    free(text);
    return DONE;
}

static enum exit_status get(const struct ctl *ctl, const struct bytes *key)
{
    const char *name = ctl->args[0];
    struct heir_table *table;
    struct bytes value;
    int error = heir_inspect_open(ctl->ns, name, &table);
    if (error == -ENOENT)
        return ctl_fail_no_table(ctl, name);
    if (error < 0)
        return ctl_fail_error(ctl, error, "cannot read the table '%s'", name);
    error = read_value(table, key, &value);
    heir_inspect_close(table);

    enum exit_status status;
    char *key_text = bytes_text(key->data, key->len);
    if (error == -ENOENT)
        status = ctl_fail(ctl, REFUSED, error, "the table '%s' has no key '%.200s'", name, key_text);
    else if (error < 0)
        status = ctl_fail_error(ctl, error, "cannot read the key '%.200s' of the table '%s'", key_text, name);
    else
        status = ctl->json ? print_json(ctl, key_text, &value) : print_text(&value);
    free(key_text);
    free(value.data);
    return status;
}

static enum exit_status run(struct ctl *ctl)
{
    struct bytes key;
    enum exit_status status = key_parse(ctl, ctl->args[1], &key);
    if (status != DONE)
        return status;
    status = get(ctl, &key);
    free(key.data);
    return status;
}

const struct verb verb_get = {
    .name = "get",
    .arguments = "TABLE KEY",
    .line = "print the value of a key",
    .text =
        "Reads the shared memory, so it needs no keeper and disturbs nobody.\n"
        "KEY is text, or 0x and hexadecimal digits. The value is printed as text if it is printable and does not\n"
        "begin with 0x, else as 0x and hexadecimal digits: what heir_add() counts are 8 bytes in the machine's order.\n"
        "\n"
        "--json:\n"
        "  {\"table\": text, \"key\": text, \"value\": text, \"length\": number in bytes,\n"
        "   \"integer\": the number if the value has 8 bytes, as heir_add() counts|null}\n",
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
