/* SPDX-License-Identifier: MIT */
/*
 * heirctl clients: who is a client of the namespace, straight from the clients' pages in shared memory.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>

static json_t *crash_json(const struct heir_client_info *info)
{
    char address[TEXT_MAX];
    json_t *object = cause_json(HEIR_CAUSE_SIGNAL, info->crash_signal);
    snprintf(address, sizeof address, "0x%" PRIx64, info->crash_address);
    json_object_set_new(object, "address", json_text(address));
    json_object_set_new(object, "age_ms", json_integer((json_int_t)age_ms(info->crash_ns)));
    return object;
}

static json_t *pins_json(const struct people *people, const struct tables *tables, uint64_t client)
{
    json_t *list = json_array();
    for (size_t i = 0; i < people->pin_count; i++) {
        if (people->pins[i].client == client)
            json_array_append_new(list, pin_json(&people->pins[i], tables_find(tables, people->pins[i].table)));
    }
    return list;
}

static json_t *client_json(const struct person *person, const struct people *people, const struct tables *tables)
{
    const struct heir_client_info *info = &person->info;
    json_t *object = json_object();
    json_object_set_new(object, "id", json_integer((json_int_t)info->id));
    if (person->error < 0) {
        json_object_set_new(object, "error", json_error(person->error, heir_strerror(person->error)));
        return object;
    }
    json_object_set_new(object, "role", json_text(info->name));
    json_object_set_new(object, "pid", json_integer(info->pid));
    json_object_set_new(object, "tid", json_integer(info->tid));
    json_object_set_new(object, "state", json_text(state_text(info->state)));
    json_object_set_new(object, "uid", json_integer(info->uid));
    json_object_set_new(object, "gid", json_integer(info->gid));
    json_object_set_new(object, "tables", json_integer((json_int_t)info->tables));
    json_object_set_new(object, "pins", json_integer((json_int_t)info->pins));
    json_object_set_new(object, "pinned", pins_json(people, tables, info->id));
    json_object_set_new(object, "memory", info->memory != 0 ? json_integer((json_int_t)info->memory) : json_null());
    json_object_set_new(object, "age_ms", json_integer((json_int_t)age_ms(info->since_ns)));
    json_object_set_new(object, "crash", info->crash_signal != 0 ? crash_json(info) : json_null());
    return object;
}

static enum exit_status print_json(const struct ctl *ctl, const struct people *people, const struct tables *tables)
{
    json_t *object = json_object(), *clients = json_array();
    for (size_t i = 0; i < people->count; i++)
        json_array_append_new(clients, client_json(&people->list[i], people, tables));
    json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
    json_object_set_new(object, "clients", clients);
    return json_print(object);
}

static void add_row(struct grid *grid, const struct heir_client_info *info, const struct people *people)
{
    char age[TEXT_MAX], pinned[TEXT_MAX], memory[TEXT_MAX] = "-";
    uint64_t oldest_ns;
    people_pins(people, info->id, 0, &oldest_ns);
    age_text(pinned, oldest_ns);
    age_text(age, info->since_ns);
    if (info->memory != 0)
        size_text(memory, info->memory);
    grid_add_number(grid, info->id);
    grid_add(grid, info->name);
    grid_add_number(grid, (uint64_t)info->pid);
    grid_add_number(grid, (uint64_t)info->tid);
    grid_add_coloured(grid, state_text(info->state), state_colour(info->state));
    grid_add_number(grid, info->uid);
    grid_add_number(grid, info->tables);
    grid_add_number(grid, info->pins);
    grid_add(grid, pinned);
    grid_add(grid, memory);
    grid_add(grid, age);
}

static void print_pins(const struct heir_client_info *info, const struct people *people, const struct tables *tables)
{
    for (size_t i = 0; i < people->pin_count; i++) {
        const struct heir_pin *pin = &people->pins[i];
        const struct heir_info *table = tables_find(tables, pin->table);
        char text[4 * TEXT_MAX];
        if (pin->client != info->id)
            continue;
        pin_text(text, pin, table);
        printf("client %" PRIu64 " (%s, pid %d) reads the table %s: %s\n", info->id, info->name, (int)info->pid,
               table != NULL ? table->name : "?", text);
    }
}

/* The note that it left itself; see heir_open(). */
static void print_crash(const struct heir_client_info *info)
{
    char cause[TEXT_MAX], age[TEXT_MAX];
    if (info->crash_signal == 0)
        return;
    cause_text(cause, HEIR_CAUSE_SIGNAL, info->crash_signal);
    age_text(age, info->crash_ns);
    printf("client %" PRIu64 " (%s, pid %d) crashes: %s at address 0x%" PRIx64 ", since %s\n", info->id, info->name,
           (int)info->pid, cause, info->crash_address, age);
}

static void print_text(const struct ctl *ctl, const struct people *people, const struct tables *tables)
{
    static const char *const titles[] = {">ID",     "ROLE",  ">PID",    ">TID",    "STATE", ">UID",
                                         ">TABLES", ">PINS", ">PINNED", ">MEMORY", ">AGE",  NULL};
    struct grid *grid = grid_new(titles);
    size_t rows = 0;
    for (size_t i = 0; i < people->count; i++) {
        if (people->list[i].error == 0) {
            add_row(grid, &people->list[i].info, people);
            rows++;
        }
    }
    if (rows > 0)
        grid_print(grid);
    grid_free(grid);
    for (size_t i = 0; i < people->count; i++)
        print_pins(&people->list[i].info, people, tables);
    for (size_t i = 0; i < people->count; i++)
        print_crash(&people->list[i].info);
    for (size_t i = 0; i < people->count; i++) {
        if (people->list[i].error < 0)
            printf("client %" PRIu64 ": %s\n", people->list[i].info.id, heir_strerror(people->list[i].error));
    }
    if (people->count == 0)
        fprintf(stderr, "heirctl: there are no clients in the namespace '%s'\n", ctl_ns(ctl));
}

static enum exit_status run(struct ctl *ctl)
{
    struct people people;
    struct tables tables = {0};
    enum exit_status status = DONE;
    int error = people_load(ctl, &people);
    if (people.pin_count > 0)
        tables_load(ctl, &tables); /* their names */
    if (error < 0)
        status = ctl_fail_error(ctl, error, "cannot list the clients of the namespace '%s'", ctl_ns(ctl));
    else if (ctl->json)
        status = print_json(ctl, &people, &tables);
    else
        print_text(ctl, &people, &tables);
    tables_free(&tables);
    people_free(&people);
    return status;
}

const struct verb verb_clients = {
    .name = "clients",
    .arguments = "",
    .line = "list the clients: role, process, state, tables owned, states read",
    .text =
        "A client is one thread's membership in the namespace. Reads the shared memory, so it needs no keeper and\n"
        "disturbs nobody. Without a keeper, dead clients stay in the list until the next keeper finds them.\n"
        "  STATE   running (or sleeping), stopped (SIGSTOP, a debugger), dumping (its core), zombie (its parent has\n"
        "          not waited for it), dead, unknown\n"
        "  PINS    states of tables that are held for it to read: a line for each stands behind the others\n"
        "  PINNED  since when, the oldest of them\n"
        "  MEMORY  resident, of its process; what it shares with others counts, too\n"
        "A client that has noted a fatal signal (heir_open_options.crash_note) has a line of its own after the others\n"
        "while its tables are not all handed on; heirctl events tells of it afterwards.\n"
        "\n"
        "--json:\n"
        "  {\"namespace\": text, \"clients\": [{\"id\": number, \"role\": text, \"pid\": number, \"tid\": number,\n"
        "    \"state\": \"running\"|\"stopped\"|\"dumping\"|\"zombie\"|\"dead\"|\"unknown\", \"uid\": number, \"gid\": "
        "number,\n"
        "    \"tables\": number, \"pins\": number, \"memory\": bytes|null, \"age_ms\": number,\n"
        "    \"pinned\": [{\"client\": number, \"table\": text|null, \"transaction\": number, \"behind\": "
        "number|null,\n"
        "                \"broken\": true|false|null, \"age_ms\": number}],\n"
        "    \"crash\": null|{\"cause\": \"signal\", \"code\": number, \"signal\": text|null, \"address\": text, "
        "\"age_ms\": number}}]}\n"
        "  A client that cannot be read: {\"id\": number, \"error\": {\"errno\": text, \"message\": text}}\n",
    .run = run,
};
