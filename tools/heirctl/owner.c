/* SPDX-License-Identifier: MIT */
/*
 * Who is behind a client's id: role, process, state. Read from shared memory, so it also answers without a keeper; what
 * cannot be read there (permissions, a damaged page, a client gone since) is left open in the answer and never an error
 * of the verb.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int collect(const struct heir_client_info *info, int error, void *arg)
{
    struct people *people = arg;
    people->list = must_resize(people->list, (people->count + 1) * sizeof *people->list);
    people->list[people->count++] = (struct person){.info = *info, .error = error};
    return 0;
}

static int collect_pin(const struct heir_pin *pin, void *arg)
{
    struct people *people = arg;
    people->pins = must_resize(people->pins, (people->pin_count + 1) * sizeof *pin);
    people->pins[people->pin_count++] = *pin;
    return 0;
}

int people_load(const struct ctl *ctl, struct people *people)
{
    *people = (struct people){0};
    int error = heir_inspect_clients(ctl->ns, collect, people);
    return error == 0 ? heir_inspect_pins(ctl->ns, collect_pin, people) : error;
}

uint64_t people_pins(const struct people *people, uint64_t client, uint64_t table, uint64_t *oldest_ns)
{
    uint64_t count = 0, oldest = 0;
    for (size_t i = 0; i < people->pin_count; i++) {
        const struct heir_pin *pin = &people->pins[i];
        if ((client != 0 && pin->client != client) || (table != 0 && pin->table != table))
            continue;
        count++;
        if (oldest == 0 || pin->since_ns < oldest)
            oldest = pin->since_ns;
    }
    if (oldest_ns != NULL)
        *oldest_ns = oldest;
    return count;
}

void people_free(struct people *people)
{
    free(people->pins);
    free(people->list);
    *people = (struct people){0};
}

const struct heir_client_info *people_find(const struct people *people, uint64_t id)
{
    size_t low = 0, high = people->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (people->list[middle].info.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    const struct person *person = low < people->count ? &people->list[low] : NULL;
    return person != NULL && person->info.id == id && person->error == 0 ? &person->info : NULL;
}

char *owner_text(const struct people *people, uint64_t id)
{
    char text[HEIR_NAME_MAX + 96];
    const struct heir_client_info *info = people_find(people, id);
    if (id == HEIR_KEEPER)
        snprintf(text, sizeof text, "the keeper");
    else if (info == NULL)
        snprintf(text, sizeof text, "client %" PRIu64, id);
    else
        snprintf(text, sizeof text, "client %" PRIu64 " (%s, pid %d, %s)", id, info->name, (int)info->pid,
                 state_text(info->state));
    return strcpy(must_alloc(strlen(text) + 1), text);
}

json_t *owner_json(const struct people *people, uint64_t id)
{
    const struct heir_client_info *info = id == HEIR_KEEPER ? NULL : people_find(people, id);
    json_t *object = json_object();
    json_object_set_new(object, "id", json_integer((json_int_t)id));
    json_object_set_new(object, "role", json_text(info ? info->name : NULL));
    json_object_set_new(object, "pid", info ? json_integer(info->pid) : json_null());
    json_object_set_new(object, "state", json_text(info ? state_text(info->state) : NULL));
    return object;
}

json_t *cause_json(enum heir_cause cause, int code)
{
    static const char *const names[] = {[HEIR_CAUSE_UNKNOWN] = "unknown",
                                        [HEIR_CAUSE_SIGNAL] = "signal",
                                        [HEIR_CAUSE_EXIT] = "exit",
                                        [HEIR_CAUSE_THREAD] = "thread"};
    if (cause == HEIR_CAUSE_NONE)
        return json_null();
    bool known = (size_t)cause < sizeof names / sizeof names[0];
    json_t *object = json_object();
    json_object_set_new(object, "cause", json_text(names[known ? cause : HEIR_CAUSE_UNKNOWN]));
    json_object_set_new(object, "code", json_integer(code));
    json_object_set_new(object, "signal", json_text(cause == HEIR_CAUSE_SIGNAL ? signal_text(code) : NULL));
    return object;
}

/* ---- Heirs -------------------------------------------------------------------------------------------- */

const char *heir_text(const char *heir)
{
    if (heir[0] == '\0')
        return "keeper";
    return strcmp(heir, HEIR_NOBODY) == 0 ? "nobody" : heir;
}

json_t *heir_json(const char *heir)
{
    return json_text(heir[0] == '\0' ? NULL : heir);
}
