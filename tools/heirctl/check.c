/* SPDX-License-Identifier: MIT */
/*
 * heirctl check: is every table whole, and where is its memory? Straight from shared memory, while the tables are
 * written, and while their owners are dead or stopped.
 */
#include "heirctl.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MOST 100 /* findings of a table */

static const char *const laws[] = {
    "",
    "the header's numbers agree with each other and with the size of the file",
    "every page of the heap is in exactly one span, large block or free run, and free runs are joined and listed",
    "every block is in use exactly once, or free",
    "the index is well formed",
    "every version in the index is found by its key, and objects counts the living",
    "the history is in commit order",
};
#define LAWS (sizeof laws / sizeof laws[0])

struct checked {
    struct heir_info info;
    int error; /* then it could not be looked at */
    struct heir_account account;
    struct found {
        unsigned law;
        const char *what;
        uint64_t where;
    } found[SHOWN_MOST];
    size_t count;
};

struct list {
    struct checked **table;
    size_t count;
};

static void note(unsigned law, const char *what, uint64_t where, void *arg)
{
    struct checked *checked = arg;
    if (checked->count < SHOWN_MOST)
        checked->found[checked->count++] = (struct found){law, what, where};
}

static int check(const struct ctl *ctl, const char *name, struct checked *checked)
{
    struct heir_table *table;
    memset(checked, 0, sizeof *checked);
    snprintf(checked->info.name, sizeof checked->info.name, "%s", name);
    int error = heir_inspect_open(ctl->ns, name, &table);
    if (error < 0)
        return error;
    heir_info(table, &checked->info);
    snprintf(checked->info.name, sizeof checked->info.name, "%s", name); /* what the table says may be damaged */
    error = heir_check(table, note, checked, &checked->account);
    heir_inspect_close(table);
    return error == -EUCLEAN && checked->account.findings != 0 ? 0 : error;
}

static int collect(const struct heir_info *info, int error, void *arg)
{
    struct list *list = arg;
    struct checked *checked = must_alloc(sizeof *checked);
    memset(checked, 0, sizeof *checked);
    checked->info = *info;
    checked->error = error;
    list->table = must_resize(list->table, (list->count + 1) * sizeof *list->table);
    list->table[list->count++] = checked;
    return 0;
}

static bool whole(const struct checked *checked)
{
    return checked->error == 0 && checked->account.findings == 0;
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

static void add_number(json_t *object, const char *key, uint64_t number)
{
    json_object_set_new(object, key, json_integer((json_int_t)number));
}

static json_t *table_json(const struct checked *checked)
{
    const struct heir_account *a = &checked->account;
    json_t *object = json_object(), *account = json_object(), *found = json_array();

    json_object_set_new(object, "name", json_text(checked->info.name));
    if (checked->error < 0) {
        json_object_set_new(object, "error", json_error(checked->error, heir_strerror(checked->error)));
        json_decref(account);
        json_decref(found);
        return object;
    }
    for (size_t i = 0; i < checked->count; i++) {
        char law[TEXT_MAX];
        json_t *finding = json_object();
        snprintf(law, sizeof law, "K%u", checked->found[i].law);
        json_object_set_new(finding, "law", json_text(law));
        json_object_set_new(finding, "what", json_text(checked->found[i].what));
        add_number(finding, "where", checked->found[i].where);
        json_array_append_new(found, finding);
    }
    add_number(account, "live", a->live);
    add_number(account, "superseded", a->superseded);
    add_number(account, "index", a->index);
    add_number(account, "metadata", a->metadata);
    add_number(account, "slack", a->slack);
    add_number(account, "free", a->free);
    add_number(account, "untouched", a->untouched);
    json_object_set_new(object, "whole", json_boolean(whole(checked)));
    add_number(object, "objects", checked->info.objects);
    add_number(object, "max_bytes", checked->info.max_bytes);
    json_object_set_new(object, "account", account);
    add_number(object, "findings", a->findings);
    json_object_set_new(object, "found", found);
    return object;
}

static void print_json(const struct ctl *ctl, const struct list *list)
{
    json_t *object = json_object(), *tables = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(tables, table_json(list->table[i]));
    json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
    json_object_set_new(object, "tables", tables);
    json_print(object);
}

/* ---- Text --------------------------------------------------------------------------------------------- */

static void add_size(struct grid *grid, uint64_t bytes)
{
    char text[TEXT_MAX];
    size_text(text, bytes);
    grid_add(grid, text);
}

static void add_row(struct grid *grid, const struct checked *checked)
{
    const struct heir_account *a = &checked->account;
    grid_add(grid, checked->info.name);
    if (whole(checked))
        grid_add(grid, "whole");
    else
        grid_add_coloured(grid, "DAMAGED", RED);
    grid_add_number(grid, checked->info.objects);
    add_size(grid, a->live);
    add_size(grid, a->superseded);
    add_size(grid, a->index);
    add_size(grid, a->metadata);
    add_size(grid, a->slack);
    add_size(grid, a->free);
    add_size(grid, a->untouched);
    add_size(grid, checked->info.max_bytes);
}

/* Negative ones are differences. */
static void print_where(uint64_t where)
{
    if (where >> 63 != 0)
        printf("%" PRId64, (int64_t)where);
    else
        printf("%" PRIu64, where);
}

static void print_findings(const struct checked *checked, bool broken[LAWS])
{
    for (size_t i = 0; i < checked->count; i++) {
        const struct found *found = &checked->found[i];
        printf("%s: K%u: %s (", checked->info.name, found->law, found->what);
        print_where(found->where);
        printf(")\n");
        if (found->law < LAWS)
            broken[found->law] = true;
    }
    if (checked->account.findings > checked->count)
        printf("%s: and %" PRIu64 " more\n", checked->info.name, checked->account.findings - checked->count);
}

static void print_text(const struct ctl *ctl, const struct list *list)
{
    static const char *const titles[] = {"NAME",      "STATE",  ">OBJECTS", ">LIVE",      ">SUPERSEDED", ">INDEX",
                                         ">METADATA", ">SLACK", ">FREE",    ">UNTOUCHED", ">MAX",        NULL};
    struct grid *grid = grid_new(titles);
    bool broken[LAWS] = {false};
    size_t rows = 0;

    for (size_t i = 0; i < list->count; i++) {
        if (list->table[i]->error == 0) {
            add_row(grid, list->table[i]);
            rows++;
        }
    }
    if (rows > 0)
        grid_print(grid);
    grid_free(grid);
    for (size_t i = 0; i < list->count; i++) {
        if (list->table[i]->error < 0)
            printf("%s: %s\n", list->table[i]->info.name, heir_strerror(list->table[i]->error));
        print_findings(list->table[i], broken);
    }
    for (unsigned law = 1; law < LAWS; law++) {
        if (broken[law])
            printf("K%u is: %s\n", law, laws[law]);
    }
    if (list->count == 0)
        fprintf(stderr, "heirctl: there are no tables in the namespace '%s'\n", ctl_ns(ctl));
}

/* ---- The verb ----------------------------------------------------------------------------------------- */

static enum exit_status check_list(const struct ctl *ctl, struct list *list)
{
    enum exit_status status = DONE;
    for (size_t i = 0; i < list->count; i++) {
        struct checked *checked = list->table[i];
        if (checked->error == 0) {
            char name[sizeof checked->info.name];
            memcpy(name, checked->info.name, sizeof name);
            checked->error = check(ctl, name, checked);
        }
        if (checked->error == -ENOENT) { /* gone since it was listed */
            free(checked);
            memmove(&list->table[i], &list->table[i + 1], (list->count - i - 1) * sizeof *list->table);
            list->count--;
            i--;
            continue;
        }
        if (!whole(checked))
            status = REFUSED;
    }
    if (ctl->json)
        print_json(ctl, list);
    else
        print_text(ctl, list);
    return status;
}

static enum exit_status run(struct ctl *ctl)
{
    struct list list = {0};
    enum exit_status status = DONE;
    int error = 0;

    if (ctl->nargs > 0) {
        struct heir_info info = {0};
        struct heir_table *table;
        error = heir_inspect_open(ctl->ns, ctl->args[0], &table);
        if (error == -ENOENT)
            return ctl_fail_no_table(ctl, ctl->args[0]);
        if (error == 0)
            heir_inspect_close(table);
        snprintf(info.name, sizeof info.name, "%s", ctl->args[0]);
        collect(&info, error, &list);
    } else {
        error = heir_inspect_tables(ctl->ns, collect, &list);
        if (error < 0)
            status = ctl_fail_error(ctl, error, "cannot list the tables of the namespace '%s'", ctl_ns(ctl));
    }
    if (status == DONE)
        status = check_list(ctl, &list);
    for (size_t i = 0; i < list.count; i++)
        free(list.table[i]);
    free(list.table);
    return status;
}

const struct verb verb_check = {
    .name = "check",
    .arguments = "[TABLE]",
    .line = "check that a table, or each of them, is whole, and tell where its memory is",
    .text =
        "Reads the shared memory, so it needs no keeper and disturbs nobody: a table may be written meanwhile, and "
        "its\n"
        "owner may be stopped or dead in the middle of a transaction. Exit status 1 when something is wrong: each\n"
        "finding is then a line with the law that is broken (K1 to K6, see heir.h), what, and where (an offset or a\n"
        "number). A table that cannot be read counts as damaged.\n"
        "  LIVE        objects of the last commit: key, value and head of each\n"
        "  SUPERSEDED  older versions, and what waits for the history to let it go\n"
        "  INDEX       of the objects\n"
        "  METADATA    header, page descriptors, history, undo log, blocks put by\n"
        "  SLACK       lost in blocks that are larger than what is in them\n"
        "  FREE        backed by memory, for later use\n"
        "  UNTOUCHED   never backed. Together they are MAX\n"
        "\n"
        "--json:\n"
        "  {\"namespace\": text, \"tables\": [{\"name\": text, \"whole\": true|false, \"objects\": number, "
        "\"max_bytes\": "
        "number,\n"
        "    \"account\": {\"live\": number, \"superseded\": number, \"index\": number, \"metadata\": number,\n"
        "                \"slack\": number, \"free\": number, \"untouched\": number},\n"
        "    \"findings\": number, \"found\": [{\"law\": \"K1\" to \"K6\", \"what\": text, \"where\": number}]}]}\n"
        "  found has the first 100 at most. Bytes are numbers; those of the account add up to max_bytes.\n"
        "  A table that cannot be read: {\"name\": text, \"error\": {\"errno\": text, \"message\": text}}\n",
    .max_args = 1,
    .run = run,
};
