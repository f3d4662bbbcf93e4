/* SPDX-License-Identifier: MIT */
/*
 * heirctl info: all that is known of one table, straight from its shared memory.
 */
#include "heirctl.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* How the owner's reign began. */
static const char *reign_text(const struct heir_info *info)
{
    return info->epoch == 1 ? "created" : reason_text(info->reason);
}

static enum exit_status print_json(const struct heir_info *info, const struct people *people)
{
    char mode[8];
    snprintf(mode, sizeof mode, "%04o", info->mode & 07777u);
    json_t *object = json_object();
    json_object_set_new(object, "name", json_text(info->name));
    json_object_set_new(object, "id", json_integer((json_int_t)info->id));
    json_object_set_new(object, "type", json_text(type_text(info->type)));
    json_object_set_new(object, "access", json_text(access_text(info->access)));
    json_object_set_new(object, "owner", owner_json(people, info->owner));
    json_object_set_new(object, "heir", heir_json(info->heir));
    json_object_set_new(object, "epoch", json_integer((json_int_t)info->epoch));
    json_object_set_new(object, "age_ms", json_integer((json_int_t)age_ms(info->since_ns)));
    json_object_set_new(object, "reason", json_text(reign_text(info)));
    json_object_set_new(object, "from", info->epoch == 1 ? json_null() : owner_json(people, info->from));
    json_object_set_new(object, "last_death", cause_json(info->cause, info->code));
    json_object_set_new(object, "lease_ms", json_integer(info->lease_ms));
    json_object_set_new(object, "waiting", json_integer((json_int_t)info->waiting));
    json_object_set_new(object, "objects", json_integer((json_int_t)info->objects));
    json_object_set_new(object, "bytes_used", json_integer((json_int_t)info->bytes_used));
    json_object_set_new(object, "bytes_taken", json_integer((json_int_t)info->bytes_taken));
    json_object_set_new(object, "max_bytes", json_integer((json_int_t)info->max_bytes));
    json_object_set_new(object, "committed", json_integer((json_int_t)info->committed));
    json_object_set_new(object, "horizon", json_integer((json_int_t)info->horizon));
    json_object_set_new(object, "key_size", json_integer((json_int_t)info->key_size));
    json_object_set_new(object, "value_size", json_integer((json_int_t)info->value_size));
    json_object_set_new(object, "uid", json_integer(info->uid));
    json_object_set_new(object, "gid", json_integer(info->gid));
    json_object_set_new(object, "mode", json_text(mode));
    return json_print(object);
}

static void print_reign(const struct heir_info *info, const struct people *people)
{
    char age[TEXT_MAX], cause[TEXT_MAX], lease[TEXT_MAX];
    age_text(age, info->since_ns);
    printf("epoch       %" PRIu64 ", since %s: %s", info->epoch, age, reign_text(info));
    if (info->epoch != 1) {
        char *from = owner_text(people, info->from);
        printf(" from %s", from);
        free(from);
    }
    putchar('\n');
    cause_text(cause, info->cause, info->code);
    if (cause[0] != '\0')
        printf("last death  of an owner: %s\n", cause);
    if (info->lease_ms != 0) {
        duration_text(lease, info->lease_ms);
        printf("lease       %s, or the keeper takes it\n", lease);
    }
}

static void print_text(const struct heir_info *info, const struct people *people)
{
    char used[TEXT_MAX], taken[TEXT_MAX], max[TEXT_MAX];
    char *owner = owner_text(people, info->owner);
    size_text(used, info->bytes_used);
    size_text(taken, info->bytes_taken);
    size_text(max, info->max_bytes);
    printf("name        %s\n", info->name);
    printf("id          %" PRIu64 "\n", info->id);
    printf("type        %s, %s\n", type_text(info->type), access_text(info->access));
    printf("owner       %s\n", owner);
    printf("heir        %s\n", heir_text(info->heir));
    print_reign(info, people);
    printf("waiting     %" PRIu64 " in line\n", info->waiting);
    printf("objects     %" PRIu64 "\n", info->objects);
    printf("memory      %s used of %s, %s taken from the system\n", used, max, taken);
    printf("committed   transaction %" PRIu64 ", readable from %" PRIu64 " on\n", info->committed, info->horizon);
    if (info->key_size == 0)
        printf("keys        of any size\n");
    else
        printf("keys        of %" PRIu64 " bytes\n", info->key_size);
    if (info->value_size == 0)
        printf("values      of any size\n");
    else
        printf("values      of %" PRIu64 " bytes\n", info->value_size);
    printf("rights      uid %u, gid %u, mode %04o\n", info->uid, info->gid, info->mode & 07777u);
    free(owner);
}

static enum exit_status run(struct ctl *ctl)
{
    const char *name = ctl->args[0];
    struct heir_table *table;
    struct heir_info info;
    int error = heir_inspect_open(ctl->ns, name, &table);
    if (error == -ENOENT)
        return ctl_fail_no_table(ctl, name);
    if (error < 0)
        return ctl_fail_error(ctl, error, "cannot read the table '%s'", name);
    error = heir_info(table, &info);
    heir_inspect_close(table);
    if (error < 0)
        return ctl_fail_error(ctl, error, "cannot read the table '%s'", name);

    struct people people;
    enum exit_status status = DONE;
    people_load(ctl, &people);
    if (ctl->json)
        status = print_json(&info, &people);
    else
        print_text(&info, &people);
    people_free(&people);
    return status;
}

const struct verb verb_info = {
    .name = "info",
    .arguments = "TABLE",
    .line = "tell all that is known of a table",
    .text =
        "Reads the shared memory, so it needs no keeper and disturbs nobody. Tells how the owner's reign began, from\n"
        "whom, and how the last owner that died had ended: a signal, an exit, or the end of its thread alone.\n"
        "\n"
        "--json:\n"
        "  {\"name\": text, \"id\": number, \"type\": \"set\"|\"ordered-set\"|\"bag\"|\"duplicate-bag\", \"access\": "
        "\"protected\"|\"public\"|\"private\",\n"
        "   \"owner\": {\"id\": 0 for the keeper, \"role\": text|null, \"pid\": number|null, \"state\": text|null},\n"
        "   \"heir\": null for the keeper|\"-\" for nobody|role, \"epoch\": number, \"age_ms\": number, \"waiting\": "
        "number,\n"
        "   \"reason\": how its reign began: "
        "\"created\"|\"claimed\"|\"given\"|\"inherited\"|\"released\"|\"revoked\",\n"
        "   \"from\": the owner before, as \"owner\"|null, \"lease_ms\": 0 for none|number,\n"
        "   \"last_death\": null|{\"cause\": \"signal\"|\"exit\"|\"thread\"|\"unknown\", \"code\": number, "
        "\"signal\": text|null},\n"
        "   \"objects\": number, \"bytes_used\": number, \"bytes_taken\": number, \"max_bytes\": number,\n"
        "   \"committed\": number, \"horizon\": number, \"key_size\": 0 for any|number, \"value_size\": 0 for "
        "any|number,\n"
        "   \"uid\": number, \"gid\": number, \"mode\": text in octal}\n",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
