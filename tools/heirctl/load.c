/* SPDX-License-Identifier: MIT */
/*
 * heirctl load: write the objects of a dump into a table.
 *
 * A batch (without --batch: the whole file) is read to its end before the table is touched, so nothing is owned and no
 * transaction is open while we wait for a pipe, and a damaged file has changed nothing. The price is its memory. Then
 * it is one transaction. Between two batches the table is released again; the client stays.
 *
 * A table that we make is nobody's after us until the first batch is in it: if we are killed before, it goes with us.
 */
#include "flat.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BAG_KEY_MAX (HEIR_KEY_MAX - 10) /* heir.h, enum heir_type */

struct load {
    const struct ctl *ctl;
    const char *name, *path; /* of the table; of the file, for sentences */
    struct heir_table_options create;
    bool typed; /* the type was given and not taken from the file */
    uint64_t batch;
    struct flat flat;
    struct progress progress;
    /* the batch: objects with offsets into bytes */
    unsigned char *bytes;
    size_t used, bytes_room, count, item_room;
    struct item {
        size_t key, key_len, value_len;
        uint64_t line; /* of the key; the value's is the next */
    } * items;
    struct writing writing;
    uint64_t loaded, batches; /* committed */
    bool created;
};

/* ---- Reading a batch ---------------------------------------------------------------------------------- */

static void append(struct load *load, const struct bytes *bytes)
{
    if (bytes->len > load->bytes_room - load->used) {
        load->bytes_room = load->bytes_room * 2 + bytes->len;
        load->bytes = must_resize(load->bytes, load->bytes_room);
    }
    if (bytes->len > 0)
        memcpy(load->bytes + load->used, bytes->data, bytes->len);
    load->used += bytes->len;
}

/* False: the file is damaged. */
static bool read_batch(struct load *load)
{
    struct flat *flat = &load->flat;
    load->used = load->count = 0;
    while ((load->batch == 0 || load->count < load->batch) && flat_read(flat)) {
        if (load->count == load->item_room) {
            load->item_room = load->item_room * 2 + 1024;
            load->items = must_resize(load->items, load->item_room * sizeof *load->items);
        }
        load->items[load->count++] = (struct item){load->used, flat->key.len, flat->value.len, flat->line - 1};
        append(load, &flat->key);
        append(load, &flat->value);
        progress_step(&load->progress);
    }
    return flat->problem[0] == '\0';
}

/* ---- Refusals ----------------------------------------------------------------------------------------- */

/* What of the file is in the table: behind each refusal. */
static const char *so_far(const struct load *load, char out[TEXT_MAX * 2])
{
    if (load->loaded == 0)
        return "nothing was loaded";
    snprintf(out, TEXT_MAX * 2, "the first %" PRIu64 " objects were loaded, in %" PRIu64 " batches", load->loaded,
             load->batches);
    return out;
}

static enum exit_status fail_file(const struct load *load, uint64_t line, const char *problem)
{
    char far[TEXT_MAX * 2];
    return ctl_fail(load->ctl, REFUSED, -EBADMSG, "%s, line %" PRIu64 ": %s; %s", load->path, line, problem,
                    so_far(load, far));
}

/* Does the table take each object? Found out before, the line can be told. */
static enum exit_status check_batch(const struct load *load, const struct heir_info *info)
{
    bool bag = info->type == HEIR_BAG || info->type == HEIR_DUPLICATE_BAG;
    size_t key_max = bag ? BAG_KEY_MAX : HEIR_KEY_MAX;
    char problem[128] = "";

    for (size_t i = 0; i < load->count && problem[0] == '\0'; i++) {
        const struct item *item = &load->items[i];
        if (item->key_len < 1 || item->key_len > key_max)
            snprintf(problem, sizeof problem, "a key has 1 to %zu bytes, and this one has %zu", key_max, item->key_len);
        else if (info->key_size != 0 && item->key_len != info->key_size)
            snprintf(problem, sizeof problem, "every key of the table has %" PRIu64 " bytes, and this one has %zu",
                     info->key_size, item->key_len);
        else if (info->value_size != 0 && item->value_len != info->value_size)
            snprintf(problem, sizeof problem, "every value of the table has %" PRIu64 " bytes, and this key's has %zu",
                     info->value_size, item->value_len);
        if (problem[0] != '\0')
            return fail_file(load, item->line, problem);
    }
    return DONE;
}

static enum exit_status check_type(const struct load *load, const struct heir_info *info)
{
    bool single = info->type == HEIR_SET || info->type == HEIR_ORDERED_SET;
    if (load->typed && info->type != load->create.type)
        return ctl_fail(load->ctl, REFUSED, -EPROTOTYPE,
                        "the table '%s' is there, and its type is %s: leave --type away, or load into another table",
                        load->name, type_text(info->type));
    if (single && !load->typed && load->flat.type != HEIR_SET && load->flat.type != HEIR_ORDERED_SET)
        return ctl_fail(load->ctl, REFUSED, -EPROTOTYPE,
                        "%s may have several objects of one key, and the table '%s' keeps one of them: if the last one "
                        "is to stay, say --type %s",
                        load->path, load->name, info->type == HEIR_SET ? "set" : "ordered_set");
    return DONE;
}

static enum exit_status fail_put(const struct load *load, const struct writing *writing, int error)
{
    char what[TEXT_MAX * 2 + 80], far[TEXT_MAX * 2];
    snprintf(what, sizeof what, "%s%s", so_far(load, far),
             error == -ENOSPC ? " (--max-bytes makes a new table larger, --batch a transaction smaller)" : "");
    return writing_fail(load->ctl, writing, error, what);
}

/* ---- Writing a batch ---------------------------------------------------------------------------------- */

static int put_batch(const struct load *load, struct heir_table *table)
{
    struct heir_object *objects = must_alloc(load->count * sizeof *objects);
    for (size_t i = 0; i < load->count; i++) {
        const struct item *item = &load->items[i];
        const unsigned char *key = load->bytes + item->key;
        objects[i] = (struct heir_object){key, item->key_len, key + item->key_len, item->value_len};
    }
    int error = load->count > 0 ? heir_put_many(table, objects, load->count) : 0;
    free(objects);
    return error;
}

static enum exit_status write_batch(struct load *load)
{
    struct writing *writing = &load->writing;
    /* a table that somebody removes between two batches stays removed */
    enum exit_status status = writing_begin(load->ctl, load->name, load->batches == 0 ? &load->create : NULL, writing);
    if (status != DONE)
        return status;
    status = check_type(load, &writing->info);
    if (status == DONE)
        status = check_batch(load, &writing->info);
    if (status == DONE) {
        int error = put_batch(load, writing->table);
        if (error == 0 && writing->created)
            error = heir_set_heir(writing->table, NULL, NULL, 0);
        if (error < 0)
            status = fail_put(load, writing, error);
    }
    if (status == DONE) {
        load->created |= writing->created;
        load->loaded += load->count;
        load->batches++;
    } else if (writing->created && heir_destroy(writing->table) == 0) {
        writing->claimed = false;
    }
    if (status == DONE && load->count == load->batch) /* there may be more */
        writing_pause(writing);
    else
        writing_end(writing);
    return status;
}

/* ---- The verb ----------------------------------------------------------------------------------------- */

static enum exit_status print_result(const struct load *load)
{
    if (load->ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "table", json_text(load->name));
        json_object_set_new(object, "created", json_boolean(load->created));
        json_object_set_new(object, "count", json_integer((json_int_t)load->loaded));
        json_object_set_new(object, "batches", json_integer((json_int_t)load->batches));
        return json_print(object);
    }
    printf("%" PRIu64 " object%s loaded into the table '%s'%s\n", load->loaded, load->loaded == 1 ? " was" : "s were",
           load->name, load->created ? ", which is new" : "");
    return DONE;
}

static enum exit_status load_all(struct load *load)
{
    if (!flat_read_header(&load->flat))
        return fail_file(load, load->flat.line, load->flat.problem);
    if (!load->typed)
        load->create.type = load->flat.type;
    do {
        if (!read_batch(load))
            return fail_file(load, load->flat.line, load->flat.problem);
        if (load->count == 0 && load->batches > 0)
            break;
        enum exit_status status = write_batch(load);
        if (status != DONE)
            return status;
    } while (load->batch != 0 && load->count == load->batch);
    return DONE;
}

static bool parse_type(const char *text, enum heir_type *type)
{
    for (int i = HEIR_SET; i <= HEIR_DUPLICATE_BAG; i++) {
        const char *name = type_text((enum heir_type)i);
        size_t at = 0;
        while (name[at] != '\0' && (text[at] == name[at] || (text[at] == '_' && name[at] == '-')))
            at++;
        if (name[at] == '\0' && text[at] == '\0') {
            *type = (enum heir_type)i;
            return true;
        }
    }
    return false;
}

static enum exit_status parse(struct load *load)
{
    const struct ctl *ctl = load->ctl;
    if (ctl->batch != NULL && (!size_parse(ctl->batch, &load->batch) || load->batch == 0))
        return ctl_fail_usage(ctl, "--batch wants a number of objects from 1 on, not '%.64s'", ctl->batch);
    load->typed = ctl->type != NULL;
    if (load->typed && !parse_type(ctl->type, &load->create.type))
        return ctl_fail_usage(ctl, "--type wants set, ordered_set, bag or duplicate_bag, not '%.64s'", ctl->type);
    uint64_t *max = &load->create.max_bytes;
    if (ctl->max_bytes != NULL && (!size_parse(ctl->max_bytes, max) || *max < HEIR_TABLE_MIN || *max > HEIR_TABLE_MAX))
        return ctl_fail_usage(ctl, "--max-bytes wants a number from 64K to 64G, not '%.64s'", ctl->max_bytes);
    return DONE;
}

static enum exit_status run(struct ctl *ctl)
{
    struct load load = {.ctl = ctl, .name = ctl->args[0], .path = "stdin", .create = {.heir = HEIR_NOBODY}};
    enum exit_status status = parse(&load);
    if (status != DONE)
        return status;
    FILE *file = stdin;
    if (ctl->nargs > 1 && strcmp(ctl->args[1], "-") != 0) {
        load.path = ctl->args[1];
        file = fopen(load.path, "re");
        if (file == NULL)
            return ctl_fail(ctl, REFUSED, -errno, "cannot read %s: %s", load.path, strerror(errno));
    }
    char what[HEIR_NAME_MAX + 16];
    snprintf(what, sizeof what, "load %s", load.name);
    progress_begin(&load.progress, what, 0, false);
    flat_begin(&load.flat, file);
    status = load_all(&load);
    writing_end(&load.writing);
    progress_clear();
    if (status == DONE)
        status = print_result(&load);
    flat_end(&load.flat);
    free(load.bytes);
    free(load.items);
    if (file != stdin)
        fclose(file);
    return status;
}

const struct verb verb_load = {
    .name = "load",
    .arguments = "TABLE [FILE] [--batch N] [--type TYPE] [--max-bytes N]",
    .line = "write the objects of a dump, ours or mdb_dump's or db_dump's",
    .text =
        "Reads FILE, or stdin, to its end and puts its objects into the table as one transaction: all of them or "
        "none.\n"
        "Of a set, objects that are there stay unless the file has their keys. A damaged file is refused with the "
        "line\n"
        "and the reason. A table that is missing is created; one that is not public is claimed for the moment of the\n"
        "write and released again; one that a living client owns is left alone. Needs the keeper.\n"
        "  --batch N      a transaction for each N objects, and memory for no more; the table is released in between,\n"
        "                 and what was loaded stays when a later batch is refused\n"
        "  --type TYPE    of a table that is created: set, ordered_set, bag or duplicate_bag; else the file tells it\n"
        "                 (one that another program wrote: a set, or a bag when it has duplicates=1)\n"
        "  --max-bytes N  of a table that is created: 64K to 64G (default 1G)\n"
        "\n"
        "--json:\n"
        "  {\"table\": text, \"created\": true|false, \"count\": number of objects, \"batches\": number}\n",
    .options = "--batch --type --max-bytes ",
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
