/* SPDX-License-Identifier: MIT */
/*
 * All tables of a namespace, and what the pins on them hold.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int collect(const struct heir_info *info, int error, void *arg)
{
    struct tables *tables = arg;
    tables->list = must_resize(tables->list, (tables->count + 1) * sizeof *tables->list);
    tables->list[tables->count++] = (struct entry){.info = *info, .error = error};
    return 0;
}

int tables_load(const struct ctl *ctl, struct tables *tables)
{
    *tables = (struct tables){0};
    return heir_inspect_tables(ctl->ns, collect, tables);
}

void tables_free(struct tables *tables)
{
    free(tables->list);
    *tables = (struct tables){0};
}

const struct heir_info *tables_find(const struct tables *tables, uint64_t id)
{
    for (size_t i = 0; i < tables->count; i++) {
        if (tables->list[i].error == 0 && tables->list[i].info.id == id)
            return &tables->list[i].info;
    }
    return NULL;
}

/* ---- Pins --------------------------------------------------------------------------------------------- */

static bool broken(const struct heir_pin *pin, const struct heir_info *table)
{
    return pin->transaction < table->horizon;
}

/* What was read of the table may be older than the pin. */
static uint64_t behind(const struct heir_pin *pin, const struct heir_info *table)
{
    return table->committed > pin->transaction ? table->committed - pin->transaction : 0;
}

void pin_text(char out[4 * TEXT_MAX], const struct heir_pin *pin, const struct heir_info *table)
{
    char age[TEXT_MAX];
    age_text(age, pin->since_ns);
    int n = snprintf(out, 4 * TEXT_MAX, "transaction %" PRIu64, pin->transaction);
    if (table != NULL)
        n += snprintf(out + n, 4 * TEXT_MAX - (size_t)n, ", %" PRIu64 " behind", behind(pin, table));
    snprintf(out + n, 4 * TEXT_MAX - (size_t)n, ", since %s%s", age,
             table != NULL && broken(pin, table) ? ", broken for want of space" : "");
}

json_t *pin_json(const struct heir_pin *pin, const struct heir_info *table)
{
    json_t *object = json_object();
    json_object_set_new(object, "client", json_integer((json_int_t)pin->client));
    json_object_set_new(object, "table", json_text(table != NULL ? table->name : NULL));
    json_object_set_new(object, "transaction", json_integer((json_int_t)pin->transaction));
    json_object_set_new(object, "behind", table != NULL ? json_integer((json_int_t)behind(pin, table)) : json_null());
    json_object_set_new(object, "broken", table != NULL ? json_boolean(broken(pin, table)) : json_null());
    json_object_set_new(object, "age_ms", json_integer((json_int_t)age_ms(pin->since_ns)));
    return object;
}
