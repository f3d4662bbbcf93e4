/* SPDX-License-Identifier: MIT */
/*
 * The committed changes of a table, as lines or as JSON: for watch.
 *
 * Where there is a keeper, it holds what has not been read yet; heirctl is a client of its own for the time, and leaves
 * in an orderly way when it is stopped. Without one, and of a table that is not for us to attach, the history is read
 * straight from shared memory as far as it reaches.
 */
#include "heirctl.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEEPER_MS 200 /* to find out whether there is a keeper */
#define SHOWN     64  /* bytes of a key or value on a line for people */

struct changes {
    const struct ctl *ctl;
    const char *name; /* of the table, while its changes are printed */
    uint64_t id;
    struct heir_table *table;
    struct heir_feed *feed;
    bool held; /* the handle is a client's */
};

/* ---- Text --------------------------------------------------------------------------------------------- */

/* As bytes_text(), cut off where it is long. To be freed. */
static char *short_text(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    size_t shown = len;
    if (len > SHOWN) {
        shown = SHOWN;
        while (shown > SHOWN - 4 && (bytes[shown] & 0xc0) == 0x80) /* not in the middle of a character */
            shown--;
    }
    char *text = bytes_text(data, shown);
    if (shown == len)
        return text;
    size_t size = strlen(text) + TEXT_MAX;
    char *more = must_alloc(size);
    snprintf(more, size, "%s... (%zu bytes)", text, len);
    free(text);
    return more;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void print_lost(const struct changes *c, const struct heir_change *change)
{
    colour_begin(YELLOW);
    printf("-- table %s: lost: ", c->name);
    if (change->txn == change->missed_last)
        printf("transaction %" PRIu64, change->txn);
    else
        printf("transactions %" PRIu64 " to %" PRIu64, change->txn, change->missed_last);
    colour_end(YELLOW);
    putchar('\n');
}

static void print_text(const struct changes *c, const struct heir_change *change, const char *when)
{
    if (change->kind == HEIR_CHANGE_MISSED) {
        print_lost(c, change);
        return;
    }
    printf("%s  table %s: transaction %" PRIu64 ", ", when, c->name, change->txn);
    if (change->kind == HEIR_CHANGE_CLEARED) {
        puts("cleared");
        return;
    }
    char *key = short_text(change->key, change->key_len), *value = short_text(change->value, change->value_len);
    printf("%s %s = %s\n", change->kind == HEIR_CHANGE_PUT ? "put" : "deleted", key, value);
    free(key);
    free(value);
}

static void set_bytes(json_t *object, const char *name, const void *data, size_t len)
{
    char *text = bytes_text(data, len);
    json_object_set_new(object, name, json_text(text));
    free(text);
}

static void print_json(const struct changes *c, const struct heir_change *change, const char *when)
{
    static const char *const kinds[] = {[HEIR_CHANGE_PUT] = "put",
                                        [HEIR_CHANGE_DELETED] = "deleted",
                                        [HEIR_CHANGE_CLEARED] = "cleared",
                                        [HEIR_CHANGE_MISSED] = "lost"};
    json_t *object = json_object();
    json_object_set_new(object, "time", json_text(when));
    json_object_set_new(object, "kind", json_text(kinds[change->kind]));
    json_object_set_new(object, "table", json_text(c->name));
    json_object_set_new(object, "table_id", json_integer((json_int_t)c->id));
    json_object_set_new(object, "transaction", json_integer((json_int_t)change->txn));
    if (change->kind == HEIR_CHANGE_MISSED)
        json_object_set_new(object, "to_transaction", json_integer((json_int_t)change->missed_last));
    else
        json_object_set_new(object, "last", json_boolean(change->last));
    if (change->kind == HEIR_CHANGE_PUT || change->kind == HEIR_CHANGE_DELETED) {
        set_bytes(object, "key", change->key, change->key_len);
        set_bytes(object, "value", change->value, change->value_len);
        json_object_set_new(object, "length", json_integer((json_int_t)change->value_len));
    }
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static int print_change(const struct heir_change *change, void *arg)
{
    const struct changes *c = arg;
    char when[TEXT_MAX];
    time_text(when, now_ns());
    if (c->ctl->json)
        print_json(c, change, when);
    else
        print_text(c, change, when);
    return ferror(stdout) || stop_signal() != 0 ? 1 : 0;
}

/* ---- Tables ------------------------------------------------------------------------------------------- */

struct heir *changes_client(const struct ctl *ctl)
{
    struct heir_open_options options = ctl_options(ctl);
    struct heir *client;
    options.timeout_ms = KEEPER_MS;
    return heir_open(&options, &client) == 0 ? client : NULL;
}

/* Of the table that is open now, if it is still the one. */
static int open_feed(struct changes *c, uint64_t from, int hold)
{
    struct heir_info info;
    int error = heir_info(c->table, &info);
    if (error == 0 && info.id != c->id)
        error = -ENOENT;
    return error < 0 ? error
                     : heir_feed_open(c->table, &(struct heir_feed_options){.from = from, .hold = hold}, &c->feed);
}

static int open_held(struct changes *c, struct heir *client, const char *name, uint64_t from)
{
    int error = heir_attach(client, name, &c->table);
    if (error < 0)
        return error;
    error = open_feed(c, from, 1);
    if (error < 0)
        heir_detach(c->table);
    return error;
}

static int open_unheld(struct changes *c, const char *name, uint64_t from)
{
    int error = heir_inspect_open(c->ctl->ns, name, &c->table);
    if (error < 0)
        return error;
    error = open_feed(c, from, 0);
    if (error < 0)
        heir_inspect_close(c->table);
    return error;
}

int changes_open(const struct ctl *ctl, struct heir *client, const char *name, uint64_t id, uint64_t from,
                 struct changes **changes)
{
    struct changes *c = must_alloc(sizeof *c);
    *c = (struct changes){.ctl = ctl, .id = id};
    c->held = client != NULL && open_held(c, client, name, from) == 0;
    int error = c->held ? 0 : open_unheld(c, name, from);
    if (error < 0) {
        free(c);
        c = NULL;
    } else {
        happening_remark(ctl, "table %s: changes after transaction %" PRIu64 "%s", name, heir_feed_state(c->feed),
                         c->held ? "" : ", held by nobody: some may be lost");
    }
    *changes = c;
    return error;
}

void changes_close(struct changes *c)
{
    if (c == NULL)
        return;
    heir_feed_close(c->feed);
    if (c->held)
        heir_detach(c->table);
    else
        heir_inspect_close(c->table);
    free(c);
}

uint64_t changes_safe(const struct changes *c, uint64_t epoch)
{
    struct heir_info before, after;
    if (heir_info(c->table, &before) < 0 || heir_info(c->table, &after) < 0)
        return 0;
    return after.epoch <= epoch || !c->held ? before.committed : 0;
}

int changes_print(struct changes *c, const char *name, uint64_t up_to)
{
    c->name = name;
    int error = heir_feed_read(c->feed, up_to, print_change, c);
    fflush(stdout);
    return error > 0 ? 0 : error;
}

uint64_t changes_told(const struct changes *c)
{
    return heir_feed_state(c->feed);
}
