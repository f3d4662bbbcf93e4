/* SPDX-License-Identifier: MIT */
/*
 * heirctl ls: all tables of the namespace, a line each. A table that cannot be read is a line that says why.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>

static json_t *entry_json(const struct entry *entry, const struct people *people)
{
    const struct heir_info *info = &entry->info;
    json_t *object = json_object();
    json_object_set_new(object, "name", json_text(info->name));
    if (entry->error < 0) {
        json_object_set_new(object, "error", json_error(entry->error, heir_strerror(entry->error)));
        return object;
    }
    json_object_set_new(object, "type", json_text(type_text(info->type)));
    json_object_set_new(object, "access", json_text(access_text(info->access)));
    json_object_set_new(object, "owner", owner_json(people, info->owner));
    json_object_set_new(object, "heir", heir_json(info->heir));
    json_object_set_new(object, "epoch", json_integer((json_int_t)info->epoch));
    json_object_set_new(object, "objects", json_integer((json_int_t)info->objects));
    json_object_set_new(object, "bytes_used", json_integer((json_int_t)info->bytes_used));
    json_object_set_new(object, "max_bytes", json_integer((json_int_t)info->max_bytes));
    json_object_set_new(object, "age_ms", json_integer((json_int_t)age_ms(info->since_ns)));
    json_object_set_new(object, "waiting", json_integer((json_int_t)info->waiting));
    return object;
}

static enum exit_status print_json(const struct ctl *ctl, const struct tables *listing, const struct people *people)
{
    json_t *object = json_object(), *tables = json_array();
    for (size_t i = 0; i < listing->count; i++)
        json_array_append_new(tables, entry_json(&listing->list[i], people));
    json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
    json_object_set_new(object, "tables", tables);
    return json_print(object);
}

static void add_owner(struct grid *grid, const struct people *people, uint64_t id)
{
    const struct heir_client_info *owner = people_find(people, id);
    char text[TEXT_MAX];
    if (id == HEIR_KEEPER) {
        grid_add(grid, "keeper");
        grid_add(grid, "-");
        grid_add(grid, "-");
    } else if (owner == NULL) {
        snprintf(text, sizeof text, "client-%" PRIu64, id);
        grid_add(grid, text);
        grid_add(grid, "-");
        grid_add_coloured(grid, "unknown", YELLOW);
    } else {
        grid_add(grid, owner->name);
        grid_add_number(grid, (uint64_t)owner->pid);
        grid_add_coloured(grid, state_text(owner->state), state_colour(owner->state));
    }
}

static void add_row(struct grid *grid, const struct heir_info *info, const struct people *people)
{
    char used[TEXT_MAX], max[TEXT_MAX], age[TEXT_MAX];
    size_text(used, info->bytes_used);
    size_text(max, info->max_bytes);
    age_text(age, info->since_ns);
    grid_add(grid, info->name);
    grid_add(grid, type_text(info->type));
    grid_add(grid, access_text(info->access));
    add_owner(grid, people, info->owner);
    grid_add(grid, heir_text(info->heir));
    grid_add_number(grid, info->epoch);
    grid_add_number(grid, info->objects);
    grid_add(grid, used);
    grid_add(grid, max);
    grid_add(grid, age);
    grid_add_number(grid, info->waiting);
}

static void print_text(const struct ctl *ctl, const struct tables *listing, const struct people *people)
{
    static const char *const titles[] = {"NAME",   "TYPE",     "ACCESS", "OWNER", ">PID", "STATE",    "HEIR",
                                         ">EPOCH", ">OBJECTS", ">USED",  ">MAX",  ">AGE", ">WAITING", NULL};
    struct grid *grid = grid_new(titles);
    size_t rows = 0;
    for (size_t i = 0; i < listing->count; i++) {
        if (listing->list[i].error == 0) {
            add_row(grid, &listing->list[i].info, people);
            rows++;
        }
    }
    if (rows > 0)
        grid_print(grid);
    grid_free(grid);
    for (size_t i = 0; i < listing->count; i++) {
        if (listing->list[i].error < 0) {
            colour_begin(RED);
            printf("%s: %s", listing->list[i].info.name, heir_strerror(listing->list[i].error));
            colour_end(RED);
            putchar('\n');
        }
    }
    if (listing->count == 0)
        fprintf(stderr, "heirctl: there are no tables in the namespace '%s'\n", ctl_ns(ctl));
}

static enum exit_status run(struct ctl *ctl)
{
    struct tables listing;
    struct people people;
    enum exit_status status = DONE;
    int error = tables_load(ctl, &listing);
    people_load(ctl, &people); /* after the tables: who owns one then is there, or gone meanwhile */
    if (error < 0)
        status = ctl_fail_error(ctl, error, "cannot list the tables of the namespace '%s'", ctl_ns(ctl));
    else if (ctl->json)
        status = print_json(ctl, &listing, &people);
    else
        print_text(ctl, &listing, &people);
    people_free(&people);
    tables_free(&listing);
    return status;
}

const struct verb verb_ls = {
    .name = "ls",
    .arguments = "",
    .line = "list the tables: owner, heir, epoch, size, claims waiting",
    .text =
        "Reads the shared memory, so it needs no keeper and disturbs nobody. A table that cannot be read is a line\n"
        "with its name and the reason, after the others.\n"
        "  OWNER, PID, STATE  who may write it, by role name; the keeper owns what nobody else does\n"
        "  HEIR               who gets it when its owner dies: keeper, nobody (destroyed), or a role name\n"
        "  EPOCH              grows with every change of owner\n"
        "  AGE                since when it has this owner\n"
        "  WAITING            claims in line for it\n"
        "\n"
        "--json:\n"
        "  {\"namespace\": text, \"tables\": [{\"name\": text, \"type\": "
        "\"set\"|\"ordered-set\"|\"bag\"|\"duplicate-bag\", \"access\": "
        "\"protected\"|\"public\"|\"private\",\n"
        "    \"owner\": {\"id\": 0 for the keeper, \"role\": text|null, \"pid\": number|null,\n"
        "              \"state\": \"running\"|\"stopped\"|\"dumping\"|\"zombie\"|\"dead\"|\"unknown\"|null},\n"
        "    \"heir\": null for the keeper|\"-\" for nobody|role, \"epoch\": number, \"objects\": number,\n"
        "    \"bytes_used\": number, \"max_bytes\": number, \"age_ms\": number, \"waiting\": number}]}\n"
        "  A table that cannot be read: {\"name\": text, \"error\": {\"errno\": text, \"message\": text}}\n",
    .run = run,
};
