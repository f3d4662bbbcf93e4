/* SPDX-License-Identifier: MIT */
/*
 * What has happened, as a line or as JSON: for events and watch.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *kind_text(enum heir_happened kind)
{
    static const char *const names[] = {[HEIR_TRANSFER] = "transfer",      [HEIR_DEATH] = "death",
                                        [HEIR_LATE] = "death-goes-on",     [HEIR_LEFT] = "left",
                                        [HEIR_CREATED] = "created",        [HEIR_DESTROYED] = "destroyed",
                                        [HEIR_RENAMED] = "renamed",        [HEIR_DAMAGED] = "damaged",
                                        [HEIR_LEASE_OVER] = "lease-over",  [HEIR_KILLED] = "killed",
                                        [HEIR_MORE] = "more-transfers",    [HEIR_KEEPER_START] = "keeper-start",
                                        [HEIR_KEEPER_STOP] = "keeper-stop"};
    return (size_t)kind < sizeof names / sizeof names[0] && names[kind] != NULL ? names[kind] : "unknown";
}

void time_text(char out[TEXT_MAX], uint64_t when_ns)
{
    time_t seconds = (time_t)(when_ns / 1000000000u);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t used = strftime(out, TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + used, TEXT_MAX - used, ".%06" PRIu64 "Z", when_ns / 1000 % 1000000);
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

static json_t *party_json(uint64_t id, const char *role)
{
    json_t *object = json_object();
    json_object_set_new(object, "id", json_integer((json_int_t)id));
    json_object_set_new(object, "role", json_text(id == HEIR_KEEPER || role[0] == '\0' ? NULL : role));
    return object;
}

static json_t *number_json(uint64_t number)
{
    return json_integer((json_int_t)number);
}

json_t *happening_json(const struct heir_happening *h)
{
    char when[TEXT_MAX];
    bool transfer = h->kind == HEIR_TRANSFER,
         end = h->kind == HEIR_DEATH || h->kind == HEIR_LATE || h->kind == HEIR_LEFT;
    json_t *object = json_object();

    time_text(when, h->when_ns);
    json_object_set_new(object, "sequence", h->sequence != 0 ? number_json(h->sequence) : json_null());
    json_object_set_new(object, "time", json_text(when));
    json_object_set_new(object, "kind", json_text(kind_text(h->kind)));
    if (h->name[0] != '\0')
        json_object_set_new(object, "table", json_text(h->name));
    if (h->table != 0)
        json_object_set_new(object, "table_id", number_json(h->table));
    if (h->kind == HEIR_RENAMED)
        json_object_set_new(object, "before", json_text(h->from_role));
    else if (transfer || h->from != 0)
        json_object_set_new(object, "from", party_json(h->from, h->from_role));
    if (transfer || h->kind == HEIR_CREATED)
        json_object_set_new(object, "to", party_json(h->to, h->to_role));
    if (transfer) {
        json_object_set_new(object, "epoch", number_json(h->epoch));
        json_object_set_new(object, "reason", json_text(reason_text(h->reason)));
        json_object_set_new(object, "undone", number_json(h->undone));
        json_object_set_new(object, "committed", number_json(h->committed));
        json_object_set_new(object, "last_death", cause_json(h->cause, h->code));
    }
    if (end) {
        json_object_set_new(object, "death", cause_json(h->cause, h->code));
        json_object_set_new(object, "reclaim_us", json_real((double)h->reclaim_ns / 1e3));
        json_object_set_new(object, "tables", number_json(h->count));
    }
    if (h->kind == HEIR_MORE)
        json_object_set_new(object, "transfers", number_json(h->count));
    if (h->kind == HEIR_LEASE_OVER)
        json_object_set_new(object, "lease_ms", number_json(h->count));
    if (h->pid != 0)
        json_object_set_new(object, "pid", json_integer(h->pid));
    return object;
}

/* ---- Text --------------------------------------------------------------------------------------------- */

static const char *party_text(char out[HEIR_NAME_MAX + 40], uint64_t id, const char *role)
{
    if (id == HEIR_KEEPER)
        return "keeper";
    snprintf(out, HEIR_NAME_MAX + 40, role[0] != '\0' ? "client %" PRIu64 " (%s)" : "client %" PRIu64, id, role);
    return out;
}

static enum colour kind_colour(enum heir_happened kind)
{
    bool odd = kind == HEIR_DEATH || kind == HEIR_LATE || kind == HEIR_LEASE_OVER || kind == HEIR_KILLED;
    return kind == HEIR_DAMAGED ? RED : odd ? YELLOW : PLAIN;
}

static void print_text(const struct heir_happening *h)
{
    char when[TEXT_MAX], cause[TEXT_MAX], a[HEIR_NAME_MAX + 40], b[HEIR_NAME_MAX + 40];
    const char *from = party_text(a, h->from, h->from_role), *to = party_text(b, h->to, h->to_role);
    const char *s = h->count == 1 ? "" : "s";

    time_text(when, h->when_ns);
    cause_text(cause, h->cause, h->code);
    colour_begin(kind_colour(h->kind));
    printf("%s  ", when);
    switch (h->kind) {
    case HEIR_TRANSFER:
        printf("table %s: epoch %" PRIu64 ", %s -> %s, %s", h->name, h->epoch, from, to, reason_text(h->reason));
        if (h->reason == HEIR_INHERITED && cause[0] != '\0')
            printf(" (%s)", cause);
        printf(", at transaction %" PRIu64, h->committed);
        /* who claims it then is told of them, too: they are the same ones */
        if (h->undone != 0 && h->reason != HEIR_CLAIMED)
            printf(", %" PRIu64 " change%s undone", h->undone, h->undone == 1 ? "" : "s");
        break;
    case HEIR_DEATH:
    case HEIR_LATE:
        printf("%s, pid %d, died: %s; %s%" PRIu64 " table%s handed on in %.0f us", from, (int)h->pid, cause,
               h->kind == HEIR_LATE ? "another " : "", h->count, s, (double)h->reclaim_ns / 1e3);
        break;
    case HEIR_LEFT:
        printf("%s, pid %d, left; %" PRIu64 " table%s handed on", from, (int)h->pid, h->count, s);
        break;
    case HEIR_CREATED:
        printf("table %s: created by %s", h->name, to);
        break;
    case HEIR_DESTROYED:
        printf("table %s: destroyed, last owner %s", h->name, from);
        break;
    case HEIR_RENAMED:
        printf("table %s: renamed to %s", h->from_role, h->name);
        break;
    case HEIR_DAMAGED:
        printf("table %s: damaged, set aside", h->name);
        break;
    case HEIR_LEASE_OVER:
        printf("table %s: %s has not renewed its lease of %" PRIu64 " ms", h->name, from, h->count);
        break;
    case HEIR_KILLED:
        printf("table %s: taken by force: %s, pid %d, is killed", h->name, from, (int)h->pid);
        break;
    case HEIR_MORE:
        printf("and %" PRIu64 " more transfer%s after that death", h->count, s);
        break;
    case HEIR_KEEPER_START:
        printf("keeper, pid %d, starts", (int)h->pid);
        break;
    case HEIR_KEEPER_STOP:
        printf("keeper, pid %d, stops", (int)h->pid);
        break;
    default:
        printf("something that this version does not know (%d)", (int)h->kind);
    }
    colour_end(kind_colour(h->kind));
    putchar('\n');
}

static void print_line(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

void happening_print(const struct ctl *ctl, const struct heir_happening *happening)
{
    if (ctl->json)
        print_line(happening_json(happening));
    else
        print_text(happening);
    fflush(stdout);
}

void happening_remark(const struct ctl *ctl, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "kind", json_text("remark"));
        json_object_set_new(object, "message", json_text(text));
        print_line(object);
    } else {
        printf("-- %s\n", text);
    }
    fflush(stdout);
}

/* ---- The journal -------------------------------------------------------------------------------------- */

uint64_t journal_step(struct journal_place *place, const struct heir_happening *h)
{
    uint64_t missed = h->sequence - place->sequence - 1;
    bool other = place->journal != 0 && place->journal != h->journal, begin = place->journal == 0;
    place->journal = h->journal;
    place->sequence = h->sequence;
    return other ? UINT64_MAX : begin ? 0 : missed;
}

void journal_remark(const struct ctl *ctl, uint64_t missed)
{
    if (missed == UINT64_MAX)
        happening_remark(ctl, "the namespace has begun anew");
    else if (missed != 0)
        happening_remark(ctl, "%" PRIu64 " events were overwritten before they could be read", missed);
}
