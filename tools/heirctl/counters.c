/* SPDX-License-Identifier: MIT */
/*
 * What is counted, for every verb that shows it: by the keepers, which the library lists with unit and text
 * (lib/format/counters.h); and in each table, which is listed here.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The keepers' -------------------------------------------------------------------------------------- */

static int collect(const struct heir_counter *counter, void *arg)
{
    struct counters *counters = arg;
    counters->list = must_resize(counters->list, (counters->count + 1) * sizeof *counter);
    counters->list[counters->count++] = *counter;
    return 0;
}

int counters_load(const struct ctl *ctl, struct counters *counters)
{
    *counters = (struct counters){0};
    return heir_inspect_counters(ctl->ns, collect, counters);
}

void counters_free(struct counters *counters)
{
    free(counters->list);
    *counters = (struct counters){0};
}

void counter_text(char name[96], char value[TEXT_MAX], const struct heir_counter *counter)
{
    snprintf(name, 96, "%s%s%s", counter->name, counter->label[0] != '\0' ? " " : "", counter->label_value);
    if (strcmp(counter->unit, "ns") == 0)
        snprintf(value, TEXT_MAX, "%.1fus", (double)counter->value / 1e3);
    else
        snprintf(value, TEXT_MAX, "%" PRIu64, counter->value);
}

void counters_print(const struct counters *counters, const char *indent, struct grid *grid)
{
    for (size_t i = 0; i < counters->count; i++) {
        char name[96], text[128], value[TEXT_MAX];
        counter_text(name, value, &counters->list[i]);
        snprintf(text, sizeof text, "%s%s", indent, name);
        grid_add(grid, text);
        grid_add(grid, value);
        grid_add(grid, counters->list[i].text);
    }
}

json_t *counters_json(const struct counters *counters)
{
    json_t *list = json_array();
    for (size_t i = 0; i < counters->count; i++) {
        const struct heir_counter *c = &counters->list[i];
        json_t *counter = json_object();
        json_object_set_new(counter, "name", json_text(c->name));
        json_object_set_new(counter, "label", json_text(c->label[0] != '\0' ? c->label : NULL));
        json_object_set_new(counter, "label_value", json_text(c->label[0] != '\0' ? c->label_value : NULL));
        json_object_set_new(counter, "unit", json_text(c->unit));
        json_object_set_new(counter, "text", json_text(c->text));
        json_object_set_new(counter, "value", json_integer((json_int_t)c->value));
        json_array_append_new(list, counter);
    }
    return list;
}

/* ---- A table's ----------------------------------------------------------------------------------------- */

#define OF(field) offsetof(struct heir_info, field)
const struct measure measures[] = {
    {"objects", "", "objects in the table", true, OF(objects)},
    {"bytes_used", "bytes", "bytes in use: index, objects, history, house-keeping", true, OF(bytes_used)},
    {"bytes_taken", "bytes", "bytes taken from the system", true, OF(bytes_taken)},
    {"bytes_max", "bytes", "bytes that it may take", true, OF(max_bytes)},
    {"history", "", "changes whose earlier state is kept for readers", true, OF(history)},
    {"commits", "", "committed transactions", false, OF(committed)},
    {"rollbacks", "", "how often unfinished changes were taken back", false, OF(rollbacks)},
    {"epochs", "", "owners that it has had", false, OF(epoch)},
    {"claims_waiting", "", "claims in line", true, OF(waiting)},
    {NULL, NULL, NULL, false, 0},
};

uint64_t measure_of(const struct heir_info *info, const struct measure *measure)
{
    uint64_t value;
    memcpy(&value, (const char *)info + measure->offset, sizeof value);
    return value;
}
