/* SPDX-License-Identifier: MIT */
/*
 * heirctl get: the committed value of a key, straight from shared memory: it also answers while the owner is dead or
 * stopped.
 */
#include "heirctl.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_NUMBER 1 /* of a visit: errors of the library are negative */

static json_t *value_json(const void *data, size_t len)
{
    char *text = bytes_text(data, len);
    json_t *value = json_text(text);
    free(text);
    return value;
}

/* A key's first value as an object; the values of all of its objects, of which a bag has any number. */
static int add_json(const void *key, size_t key_len, const void *data, size_t len, void *arg)
{
    json_t *object = arg, *values = json_object_get(object, "values");

    (void)key, (void)key_len;
    if (json_array_size(values) == 0) {
        json_t *integer = json_null();
        if (len == sizeof(int64_t)) {
            int64_t number;
            memcpy(&number, data, sizeof number);
            integer = json_integer(number);
        }
        json_object_set_new(object, "value", value_json(data, len));
        json_object_set_new(object, "length", json_integer((json_int_t)len));
        json_object_set_new(object, "integer", integer);
    }
    json_array_append_new(values, value_json(data, len));
    return 0;
}

static int print_text(const void *key, size_t key_len, const void *data, size_t len, void *arg)
{
    const struct ctl *ctl = arg;
    int64_t number;
    (void)key, (void)key_len;
    if (ctl->integer && len != sizeof number)
        return NO_NUMBER;
    if (ctl->integer) {
        memcpy(&number, data, sizeof number);
        printf("%" PRId64 "\n", number);
        return 0;
    }
    char *text = bytes_text(data, len);
    puts(text);
    free(text);
    return 0;
}

static int print(const struct ctl *ctl, struct heir_table *table, const struct bytes *key, const char *key_text)
{
    if (!ctl->json)
        return heir_values(table, key->data, key->len, print_text, (void *)ctl);
    json_t *object = json_object();
    json_object_set_new(object, "table", json_text(ctl->args[0]));
    json_object_set_new(object, "key", json_text(key_text));
    json_object_set_new(object, "values", json_array());
    int error = heir_values(table, key->data, key->len, add_json, object);
    if (error < 0)
        json_decref(object);
    else
        json_print(object);
    return error;
}

static enum exit_status get(const struct ctl *ctl, const struct bytes *key)
{
    const char *name = ctl->args[0];
    struct heir_table *table;
    int error = heir_inspect_open(ctl->ns, name, &table);
    if (error == -ENOENT)
        return ctl_fail_no_table(ctl, name);
    if (error < 0)
        return ctl_fail_error(ctl, error, "cannot read the table '%s'", name);

    enum exit_status status = DONE;
    char *key_text = bytes_text(key->data, key->len);
    error = print(ctl, table, key, key_text);
    if (error == -ENOENT)
        status = ctl_fail(ctl, REFUSED, error, "the table '%s' has no key '%.200s'", name, key_text);
    else if (error == NO_NUMBER)
        status =
            ctl_fail(ctl, REFUSED, -EINVAL,
                     "the value of the key '%.200s' is no number as heir_add() counts it, which has 8 bytes: leave "
                     "--integer away",
                     key_text);
    else if (error < 0)
        status = ctl_fail_error(ctl, error, "cannot read the key '%.200s' of the table '%s'", key_text, name);
    heir_inspect_close(table);
    free(key_text);
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
    .arguments = "TABLE KEY [--integer]",
    .line = "print the value of a key, of a bag all of them",
    .text = "Reads the shared memory, so it needs no keeper and disturbs nobody.\n"
            "KEY is text, or 0x and hexadecimal digits. The value is printed as text if it is printable and does not\n"
            "begin with 0x, else as 0x and hexadecimal digits.\n"
            "Of a bag each value of the key is printed, on a line of its own, in the order of their insertion.\n"
            "  --integer  as a number: what heir_add() counts, 8 bytes in the machine's order\n"
            "\n"
            "--json:\n"
            "  {\"table\": text, \"key\": text, \"value\": text, \"length\": number in bytes,\n"
            "   \"integer\": the number if the value has 8 bytes, as heir_add() counts|null,\n"
            "   \"values\": [text of each value: one, but of a bag]}\n",
    .options = "--integer ",
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
