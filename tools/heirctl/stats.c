/* SPDX-License-Identifier: MIT */
/*
 * heirctl stats: what the keeper counts, and what there is now; for people, as JSON, and as Prometheus scrapes it.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct stats {
    struct counters counters;
    struct tables tables;
    size_t unreadable;
    struct people people;
};

/* ---- Text and JSON ------------------------------------------------------------------------------------ */

static void print_text(const struct stats *stats)
{
    static const char *const titles[] = {"COUNTER", ">VALUE", "WHAT", NULL};
    struct grid *grid = grid_new(titles);
    counters_print(&stats->counters, "", grid);
    grid_add(grid, "tables");
    grid_add_number(grid, stats->tables.count - stats->unreadable);
    grid_add(grid, "tables that there are now");
    grid_add(grid, "tables unreadable");
    grid_add_number(grid, stats->unreadable);
    grid_add(grid, "those that are damaged, or not for us to read");
    grid_add(grid, "clients");
    grid_add_number(grid, stats->people.count);
    grid_add(grid, "clients that there are now");
    grid_print(grid);
    grid_free(grid);
}

static enum exit_status print_json(const struct ctl *ctl, const struct stats *stats)
{
    json_t *object = json_object();
    json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
    json_object_set_new(object, "counters", counters_json(&stats->counters));
    json_object_set_new(object, "tables", json_integer((json_int_t)(stats->tables.count - stats->unreadable)));
    json_object_set_new(object, "unreadable", json_integer((json_int_t)stats->unreadable));
    json_object_set_new(object, "clients", json_integer((json_int_t)stats->people.count));
    return json_print(object);
}

/* ---- Prometheus: names and labels need no escaping, they are of A-Z a-z 0-9 . _ - --------------------- */

static void metric_name(char out[96], const struct heir_counter *c)
{
    bool time = strcmp(c->unit, "ns") == 0;
    snprintf(out, 96, "heir_%s%s%s", c->name, time ? "_seconds" : "", c->level ? "" : "_total");
}

static void print_head(const char *name, const char *type, const char *text)
{
    printf("# HELP %s %s\n# TYPE %s %s\n", name, text, name, type);
}

static void print_counters(const char *ns, const struct stats *stats)
{
    char last[96] = "";
    for (size_t i = 0; i < stats->counters.count; i++) {
        const struct heir_counter *c = &stats->counters.list[i];
        char name[96];
        metric_name(name, c);
        if (strcmp(name, last) != 0)
            print_head(name, c->level ? "gauge" : "counter", c->text);
        strcpy(last, name);
        printf("%s{namespace=\"%s\"", name, ns);
        if (c->label[0] != '\0')
            printf(",%s=\"%s\"", c->label, c->label_value);
        if (strcmp(c->unit, "ns") == 0)
            printf("} %.9f\n", (double)c->value / 1e9);
        else
            printf("} %" PRIu64 "\n", c->value);
    }
}

static void print_clients(const char *ns, const struct people *people)
{
    static const char states[] = "RTDZX?";
    print_head("heir_clients", "gauge", "clients, by the state of their process");
    for (size_t s = 0; states[s] != '\0'; s++) {
        uint64_t count = 0;
        for (size_t i = 0; i < people->count; i++)
            count += (people->list[i].error < 0 ? '?' : people->list[i].info.state) == states[s];
        printf("heir_clients{namespace=\"%s\",state=\"%s\"} %" PRIu64 "\n", ns, state_text(states[s]), count);
    }
}

static void print_tables(const char *ns, const struct stats *stats)
{
    size_t readable = stats->tables.count - stats->unreadable;
    print_head("heir_tables", "gauge", "tables that can be read");
    printf("heir_tables{namespace=\"%s\"} %zu\n", ns, readable);
    print_head("heir_tables_unreadable", "gauge", "tables that are damaged, or not for us to read");
    printf("heir_tables_unreadable{namespace=\"%s\"} %zu\n", ns, stats->unreadable);
    for (const struct measure *m = measures; m->name != NULL && readable > 0; m++) {
        char name[96];
        snprintf(name, sizeof name, "heir_table_%s%s", m->name, m->level ? "" : "_total");
        print_head(name, m->level ? "gauge" : "counter", m->text);
        for (size_t i = 0; i < stats->tables.count; i++) {
            const struct entry *table = &stats->tables.list[i];
            if (table->error == 0)
                printf("%s{namespace=\"%s\",table=\"%s\"} %" PRIu64 "\n", name, ns, table->info.name,
                       measure_of(&table->info, m));
        }
    }
}

static void print_pins(const char *ns, const struct people *people)
{
    print_head("heir_pins", "gauge", "states of tables that are held for readers");
    printf("heir_pins{namespace=\"%s\"} %zu\n", ns, people->pin_count);
}

static enum exit_status print_prometheus(const struct ctl *ctl, const struct stats *stats)
{
    print_counters(ctl_ns(ctl), stats);
    print_clients(ctl_ns(ctl), &stats->people);
    print_pins(ctl_ns(ctl), &stats->people);
    print_tables(ctl_ns(ctl), stats);
    return DONE;
}

static enum exit_status run(struct ctl *ctl)
{
    struct stats stats = {0};
    enum exit_status status;
    if (ctl->json && ctl->prometheus)
        return ctl_fail_usage(ctl, "say --json or --prometheus: it is printed in one form");
    int error = counters_load(ctl, &stats.counters);
    if (error == 0)
        error = tables_load(ctl, &stats.tables);
    for (size_t i = 0; i < stats.tables.count; i++)
        stats.unreadable += stats.tables.list[i].error < 0;
    if (error == 0)
        error = people_load(ctl, &stats.people);
    if (error < 0)
        status = ctl_fail_error(ctl, error, "cannot read the counters of the namespace '%s'", ctl_ns(ctl));
    else if (ctl->prometheus)
        status = print_prometheus(ctl, &stats);
    else if (ctl->json)
        status = print_json(ctl, &stats);
    else
        status = (print_text(&stats), DONE);
    people_free(&stats.people);
    counters_free(&stats.counters);
    tables_free(&stats.tables);
    return status;
}

const struct verb verb_stats = {
    .name = "stats",
    .arguments = "[--prometheus]",
    .line = "print the counters: deaths by cause, transfers by reason, reclaim time, refusals",
    .text =
        "Counted by the keepers of the namespace since it began; they go on under the next one. Gifts that clients of\n"
        "one user make to each other directly are in none of them, but in a table's epochs. Reads the shared memory, "
        "so\n"
        "it needs no keeper and disturbs nobody.\n"
        "  --prometheus  print Prometheus' text format, with sizes and rates of each table: for a node exporter's\n"
        "                textfile collector, or behind a socket\n"
        "\n"
        "--json:\n"
        "  {\"namespace\": text, \"counters\": [{\"name\": text, \"label\": text|null, \"label_value\": text|null,\n"
        "    \"unit\": \"\" for a number of things|\"ns\", \"text\": text, \"value\": number}],\n"
        "   \"tables\": number that there are now, \"unreadable\": number, \"clients\": number}\n",
    .options = "--prometheus ",
    .run = run,
};
