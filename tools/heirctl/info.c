/* SPDX-License-Identifier: MIT */
/*
 * heirctl info: all that is known of one table, or of the namespace, in sections. Straight from shared memory; only how
 * the keeper is, it is asked itself.
 */
#include "heirctl.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEPER_MS 200 /* to find out whether there is a keeper */

/* ---- A table ------------------------------------------------------------------------------------------ */

/* How the owner's reign began. */
static const char *reign_text(const struct heir_info *info)
{
    return info->epoch == 1 ? "created" : reason_text(info->reason);
}

static json_t *pins_json(const struct heir_info *info, const struct people *people)
{
    json_t *list = json_array();
    for (size_t i = 0; i < people->pin_count; i++) {
        if (people->pins[i].table == info->id)
            json_array_append_new(list, pin_json(&people->pins[i], info));
    }
    return list;
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
    json_object_set_new(object, "history", json_integer((json_int_t)info->history));
    json_object_set_new(object, "rollbacks", json_integer((json_int_t)info->rollbacks));
    json_object_set_new(object, "undone", json_integer((json_int_t)info->undone));
    json_object_set_new(object, "created_age_ms", json_integer((json_int_t)age_ms(info->created_ns)));
    json_object_set_new(object, "pinned", pins_json(info, people));
    json_object_set_new(object, "committed", json_integer((json_int_t)info->committed));
    json_object_set_new(object, "horizon", json_integer((json_int_t)info->horizon));
    json_object_set_new(object, "key_size", json_integer((json_int_t)info->key_size));
    json_object_set_new(object, "value_size", json_integer((json_int_t)info->value_size));
    json_object_set_new(object, "uid", json_integer(info->uid));
    json_object_set_new(object, "gid", json_integer(info->gid));
    json_object_set_new(object, "mode", json_text(mode));
    return json_print(object);
}

static void print_size(const char *what, uint64_t size)
{
    if (size == 0)
        printf("  %-15sof any size\n", what);
    else
        printf("  %-15sof %" PRIu64 " bytes\n", what, size);
}

static void print_what(const struct heir_info *info)
{
    char age[TEXT_MAX];
    age_text(age, info->created_ns);
    printf("Table\n");
    printf("  name           %s\n", info->name);
    printf("  id             %" PRIu64 ", created %s ago\n", info->id, age);
    printf("  type           %s, %s\n", type_text(info->type), access_text(info->access));
    print_size("keys", info->key_size);
    print_size("values", info->value_size);
    printf("  rights         uid %u, gid %u, mode %04o\n", info->uid, info->gid, info->mode & 07777u);
}

static void print_ownership(const struct heir_info *info, const struct people *people)
{
    char age[TEXT_MAX], cause[TEXT_MAX], lease[TEXT_MAX], *owner = owner_text(people, info->owner);
    age_text(age, info->since_ns);
    printf("Ownership\n");
    printf("  owner          %s\n", owner);
    printf("  heir           %s\n", heir_text(info->heir));
    printf("  epoch          %" PRIu64 ", since %s: %s", info->epoch, age, reign_text(info));
    free(owner);
    if (info->epoch != 1) {
        char *from = owner_text(people, info->from);
        printf(" from %s", from);
        free(from);
    }
    putchar('\n');
    cause_text(cause, info->cause, info->code);
    if (cause[0] != '\0')
        printf("  last death     of an owner: %s\n", cause);
    if (info->undone != 0)
        printf("  undone         %" PRIu64 " changes that were not committed\n", info->undone);
    if (info->lease_ms != 0) {
        duration_text(lease, info->lease_ms);
        printf("  lease          %s, or the keeper takes it\n", lease);
    }
    printf("  waiting        %" PRIu64 " in line\n", info->waiting);
}

static void print_measures(const struct heir_info *info)
{
    static const char *const titles[] = {"Counters", ">VALUE", "WHAT", NULL};
    struct grid *grid = grid_new(titles);
    for (const struct measure *m = measures; m->name != NULL; m++) {
        char name[TEXT_MAX], value[TEXT_MAX];
        snprintf(name, sizeof name, "  %s", m->name);
        if (strcmp(m->unit, "bytes") == 0)
            size_text(value, measure_of(info, m));
        else
            snprintf(value, sizeof value, "%" PRIu64, measure_of(info, m));
        grid_add(grid, name);
        grid_add(grid, value);
        grid_add(grid, m->text);
    }
    grid_print(grid);
    grid_free(grid);
}

static void print_readers(const struct heir_info *info, const struct people *people)
{
    printf("Readers\n");
    printf("  readable       from transaction %" PRIu64 " to %" PRIu64 "\n", info->horizon, info->committed);
    printf("  pins           %" PRIu64 "\n", people_pins(people, 0, info->id, NULL));
    for (size_t i = 0; i < people->pin_count; i++) {
        char text[4 * TEXT_MAX];
        if (people->pins[i].table != info->id)
            continue;
        char *reader = owner_text(people, people->pins[i].client);
        pin_text(text, &people->pins[i], info);
        printf("  pin            %s: %s\n", reader, text);
        free(reader);
    }
}

static void print_text(const struct heir_info *info, const struct people *people)
{
    print_what(info);
    print_ownership(info, people);
    print_measures(info);
    print_readers(info, people);
}

static enum exit_status tell_table(struct ctl *ctl)
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

/* ---- The namespace ------------------------------------------------------------------------------------ */

static const char states[] = "RTDZX?";

struct world {
    struct heir_keeper_status keeper;
    bool keeper_answers;
    struct tables tables;
    struct people people;
    struct counters counters;
    uint64_t unreadable, objects, bytes_used, waiting; /* of all tables */
    uint64_t oldest_pin_ns, in_state[sizeof states - 1];
};

static int world_load(const struct ctl *ctl, struct world *w)
{
    struct heir_open_options options = ctl_options(ctl);
    options.timeout_ms = KEEPER_MS;
    *w = (struct world){0};
    w->keeper_answers = heir_ping(&options, &w->keeper) == 0;
    int error = tables_load(ctl, &w->tables);
    if (error == 0)
        error = people_load(ctl, &w->people);
    if (error == 0)
        error = counters_load(ctl, &w->counters);
    for (size_t i = 0; i < w->tables.count; i++) {
        const struct entry *table = &w->tables.list[i];
        w->unreadable += table->error < 0;
        w->objects += table->info.objects;
        w->bytes_used += table->info.bytes_used;
        w->waiting += table->info.waiting;
    }
    for (size_t i = 0; i < w->people.count; i++) {
        const struct person *person = &w->people.list[i];
        const char *state = strchr(states, person->error < 0 ? '?' : person->info.state);
        w->in_state[state != NULL && *state != '\0' ? state - states : (ptrdiff_t)sizeof states - 2]++;
    }
    people_pins(&w->people, 0, 0, &w->oldest_pin_ns);
    return error;
}

static void world_free(struct world *w)
{
    tables_free(&w->tables);
    people_free(&w->people);
    counters_free(&w->counters);
}

static enum exit_status print_world_json(const struct ctl *ctl, const struct world *w)
{
    json_t *object = json_object(), *keeper = json_null(), *clients = json_object();
    if (w->keeper_answers) {
        keeper = json_object();
        json_object_set_new(keeper, "pid", json_integer(w->keeper.pid));
        json_object_set_new(keeper, "version", json_text(w->keeper.version));
        json_object_set_new(keeper, "uptime_ms", json_integer((json_int_t)w->keeper.uptime_ms));
    }
    for (size_t i = 0; states[i] != '\0'; i++)
        json_object_set_new(clients, state_text(states[i]), json_integer((json_int_t)w->in_state[i]));
    json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
    json_object_set_new(object, "keeper", keeper);
    json_object_set_new(object, "tables", json_integer((json_int_t)(w->tables.count - w->unreadable)));
    json_object_set_new(object, "unreadable", json_integer((json_int_t)w->unreadable));
    json_object_set_new(object, "objects", json_integer((json_int_t)w->objects));
    json_object_set_new(object, "bytes_used", json_integer((json_int_t)w->bytes_used));
    json_object_set_new(object, "waiting", json_integer((json_int_t)w->waiting));
    json_object_set_new(object, "clients", clients);
    json_object_set_new(object, "pins", json_integer((json_int_t)w->people.pin_count));
    json_object_set_new(object, "oldest_pin_ms",
                        w->people.pin_count > 0 ? json_integer((json_int_t)age_ms(w->oldest_pin_ns)) : json_null());
    json_object_set_new(object, "counters", counters_json(&w->counters));
    return json_print(object);
}

static void print_world(const struct ctl *ctl, const struct world *w)
{
    static const char *const titles[] = {"Counters", ">VALUE", "WHAT", NULL};
    char text[TEXT_MAX];
    printf("Namespace\n");
    printf("  name           %s\n", ctl_ns(ctl));
    duration_text(text, w->keeper.uptime_ms);
    if (w->keeper_answers)
        printf("  keeper         pid %d, version %s, up %s\n", (int)w->keeper.pid, w->keeper.version, text);
    else
        printf("  keeper         none answers\n");
    size_text(text, w->bytes_used);
    printf("  tables         %zu, %" PRIu64 " unreadable: %" PRIu64 " objects, %s used, %" PRIu64 " claims waiting\n",
           w->tables.count, w->unreadable, w->objects, text, w->waiting);
    printf("  clients        %zu", w->people.count);
    const char *before = ": ";
    for (size_t i = 0; states[i] != '\0'; i++) {
        if (w->in_state[i] > 0) {
            printf("%s%" PRIu64 " %s", before, w->in_state[i], state_text(states[i]));
            before = ", ";
        }
    }
    printf("\n  pins           %zu", w->people.pin_count);
    age_text(text, w->oldest_pin_ns);
    if (w->people.pin_count > 0)
        printf(", the oldest since %s", text);
    putchar('\n');
    struct grid *grid = grid_new(titles);
    counters_print(&w->counters, "  ", grid);
    if (w->counters.count > 0)
        grid_print(grid);
    grid_free(grid);
}

static enum exit_status tell_world(struct ctl *ctl)
{
    struct world w;
    enum exit_status status = DONE;
    int error = world_load(ctl, &w);
    if (error < 0)
        status = ctl_fail_error(ctl, error, "cannot look into the namespace '%s'", ctl_ns(ctl));
    else if (ctl->json)
        status = print_world_json(ctl, &w);
    else
        print_world(ctl, &w);
    world_free(&w);
    return status;
}

static enum exit_status run(struct ctl *ctl)
{
    return ctl->nargs > 0 ? tell_table(ctl) : tell_world(ctl);
}

const struct verb verb_info = {
    .name = "info",
    .arguments = "[TABLE]",
    .line = "tell all that is known of a table, or of the namespace",
    .text =
        "Reads the shared memory, so it needs no keeper and disturbs nobody. Of a table: what it is; how the owner's\n"
        "reign began, from whom, and how the last owner that died had ended, a signal, an exit, or the end of its\n"
        "thread alone; what is counted in it; and the states that are held for readers. Of the namespace: its keeper,\n"
        "if one answers, sums of its tables and clients, and the counters of heirctl stats.\n"
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
        "   \"history\": changes kept for readers, \"rollbacks\": number, \"undone\": changes, before the reign, "
        "\"created_age_ms\": number,\n"
        "   \"pinned\": [{\"client\": number, \"table\": text, \"transaction\": number, \"behind\": number, "
        "\"broken\": true|false,\n"
        "     \"age_ms\": number}],\n"
        "   \"committed\": number, \"horizon\": number, \"key_size\": 0 for any|number, \"value_size\": 0 for "
        "any|number,\n"
        "   \"uid\": number, \"gid\": number, \"mode\": text in octal}\n"
        "  Without TABLE:\n"
        "  {\"namespace\": text, \"keeper\": null|{\"pid\": number, \"version\": text, \"uptime_ms\": number},\n"
        "   \"tables\": number that can be read, \"unreadable\": number, \"objects\": number, \"bytes_used\": number, "
        "\"waiting\": number,\n"
        "   \"clients\": {\"running\": number, \"stopped\": number, \"dumping\": number, \"zombie\": number, \"dead\": "
        "number, \"unknown\": number},\n"
        "   \"pins\": number, \"oldest_pin_ms\": number|null,\n"
        "   \"counters\": [{\"name\": text, \"label\": text|null, \"label_value\": text|null,\n"
        "     \"unit\": \"\" for a number of things|\"ns\", \"text\": text, \"value\": number}]}\n",
    .min_args = 0,
    .max_args = 1,
    .run = run,
};
