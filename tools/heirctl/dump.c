/* SPDX-License-Identifier: MIT */
/*
 * heirctl dump: a table's objects as text that Berkeley DB's and LMDB's tools read, too.
 *
 * It is one committed state, also of a table that is written meanwhile. A small table is copied out of shared memory
 * first. For a large one, which would need as much memory again, and for one that is written too fast to be copied,
 * dump becomes a client for the time and holds the state by a pin; without a keeper it is copied, too.
 *
 * A file appears under its name when it is whole: a dump that was cut off never takes the place of a good one.
 */
#include "flat.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_BYTES   (UINT64_C(4) << 20)
#define KEEPER_MS     200 /* to find out whether there is a keeper */
#define OUTPUT_FAILED 1   /* of a visit: errors of the library are negative */

struct dump {
    const struct ctl *ctl;
    struct heir_info info;
    enum flat_format format;
    FILE *file;
    json_t *objects; /* in place of the file */
    struct progress progress;
    uint64_t count, lost;
    int output_error;
};

/* ---- The file ----------------------------------------------------------------------------------------- */

struct target {
    char *path, *temporary; /* NULL: written in place */
};

/* What is there already may be no file: a pipe or a device is written to, and not replaced. */
static int target_open(struct target *target, const char *path, FILE **file)
{
    struct stat st;
    int fd;
    *target = (struct target){0};
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    } else {
        target->path = realpath(path, NULL); /* of a symbolic link that what it points to is replaced */
        if (target->path == NULL)
            target->path = strcpy(must_alloc(strlen(path) + 1), path);
        size_t size = strlen(target->path) + 32;
        target->temporary = must_alloc(size);
        snprintf(target->temporary, size, "%s.%d.tmp", target->path, (int)getpid());
        fd = open(target->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    *file = fd < 0 ? NULL : fdopen(fd, "w");
    return *file == NULL ? -errno : 0;
}

static int target_close(struct target *target, FILE *file, bool good)
{
    int error = 0;
    if (file != NULL && good && (fflush(file) != 0 || (target->temporary != NULL && fsync(fileno(file)) != 0)))
        error = -errno;
    if (file != NULL && fclose(file) != 0 && error == 0)
        error = -errno;
    if (target->temporary != NULL && file != NULL && good && error == 0 && rename(target->temporary, target->path) < 0)
        error = -errno;
    if (target->temporary != NULL && file != NULL && (!good || error < 0))
        unlink(target->temporary);
    free(target->temporary);
    free(target->path);
    return error;
}

/* ---- The objects -------------------------------------------------------------------------------------- */

static int add_object(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct dump *dump = arg;
    progress_step(&dump->progress);
    dump->count++;
    if (dump->file == NULL) {
        char *key_text = bytes_text(key, key_len), *value_text = bytes_text(value, value_len);
        json_t *object = json_object();
        json_object_set_new(object, "key", json_text(key_text));
        json_object_set_new(object, "value", json_text(value_text));
        json_array_append_new(dump->objects, object);
        free(key_text);
        free(value_text);
        return 0;
    }
    flat_write(dump->file, dump->format, key, key_len);
    flat_write(dump->file, dump->format, value, value_len);
    if (ferror(dump->file)) {
        dump->output_error = -errno;
        return OUTPUT_FAILED;
    }
    return 0;
}

/* As a client with a pin. Returns -ENOTSUP, with nothing visited, when that cannot be. */
static int walk_pinned(struct dump *dump)
{
    struct heir_open_options options = ctl_options(dump->ctl);
    struct heir *client;
    struct heir_table *table;
    struct heir_snapshot *snapshot;
    options.timeout_ms = KEEPER_MS;
    if (heir_open(&options, &client) < 0)
        return -ENOTSUP;
    int error = heir_attach(client, dump->ctl->args[0], &table);
    if (error == 0)
        error = heir_snapshot_open(table, &snapshot);
    error = error < 0 ? -ENOTSUP : heir_snapshot_foreach(snapshot, add_object, dump);
    heir_close(client);
    return error;
}

static int walk(struct dump *dump, struct heir_table *table)
{
    if (dump->ctl->salvage)
        return heir_salvage(table, add_object, dump, &dump->lost);
    bool large = dump->info.bytes_used > SMALL_BYTES;
    int error = large ? walk_pinned(dump) : heir_foreach(table, add_object, dump);
    if (large && error == -ENOTSUP)
        return heir_foreach(table, add_object, dump);
    if (!large && error == -EAGAIN) { /* it is written too fast to be copied; nothing has been visited */
        error = walk_pinned(dump);
        return error == -ENOTSUP ? -EAGAIN : error;
    }
    return error;
}

/* ---- The verb ----------------------------------------------------------------------------------------- */

static enum exit_status fail_output(const struct ctl *ctl, int error)
{
    return ctl_fail(ctl, REFUSED, error, "cannot write to %s: %s", ctl->output != NULL ? ctl->output : "stdout",
                    strerror(-error));
}

static enum exit_status print_result(const struct dump *dump)
{
    const struct ctl *ctl = dump->ctl;
    if (ctl->json) {
        json_t *object = json_object();
        json_object_set_new(object, "table", json_text(ctl->args[0]));
        json_object_set_new(object, "type", json_text(type_text(dump->info.type)));
        if (dump->file == NULL) {
            json_object_set(object, "objects", dump->objects);
        } else {
            json_object_set_new(object, "file", json_text(ctl->output));
            json_object_set_new(object, "count", json_integer((json_int_t)dump->count));
        }
        json_object_set_new(object, "lost", json_integer((json_int_t)dump->lost));
        return json_print(object);
    }
    if (ctl->output != NULL)
        printf("%" PRIu64 " object%s of the table '%s' %s written to %s\n", dump->count, dump->count == 1 ? "" : "s",
               ctl->args[0], dump->count == 1 ? "was" : "were", ctl->output);
    return DONE;
}

static enum exit_status dump_table(struct dump *dump, struct heir_table *table)
{
    const struct ctl *ctl = dump->ctl;
    struct target target = {0};
    if (ctl->output != NULL) {
        int error = target_open(&target, ctl->output, &dump->file);
        if (error < 0) {
            target_close(&target, NULL, false);
            return fail_output(ctl, error);
        }
    } else if (!ctl->json) {
        dump->file = stdout;
    }

    char what[HEIR_NAME_MAX + 16];
    snprintf(what, sizeof what, "dump %s", ctl->args[0]);
    progress_begin(&dump->progress, what, dump->info.objects, ctl->output == NULL && isatty(STDOUT_FILENO));
    if (dump->file != NULL)
        flat_write_header(dump->file, dump->format, dump->info.type);
    int error = walk(dump, table);
    progress_clear();
    if (error == 0 && dump->file != NULL)
        flat_write_end(dump->file);
    int output_error = ctl->output != NULL ? target_close(&target, dump->file, error == 0) : 0;
    if (error == OUTPUT_FAILED)
        output_error = dump->output_error;
    if (error == -ESTALE)
        return ctl_fail(ctl, REFUSED, error,
                        "the table '%s' was not dumped: it ran out of space, and the state that was being read was "
                        "given up after %" PRIu64 " objects; dump faster, or give it more max_bytes",
                        ctl->args[0], dump->count);
    if (error == -EUCLEAN && !ctl->salvage)
        return ctl_fail(ctl, REFUSED, error,
                        "the table '%s' was not dumped: it is damaged; heirctl dump --salvage %s prints what can be "
                        "read, heirctl check %s what is wrong",
                        ctl->args[0], ctl->args[0], ctl->args[0]);
    if (error < 0)
        return ctl_fail_error(ctl, error, "the table '%s' was not dumped", ctl->args[0]);
    if (output_error < 0)
        return fail_output(ctl, output_error);
    enum exit_status status = print_result(dump);
    if (dump->lost == 0 || status != DONE)
        return status;
    struct ctl plain = *ctl;
    plain.json = false; /* the object that was printed has it, too */
    return ctl_fail(&plain, REFUSED, -EUCLEAN,
                    "the table '%s' is damaged: %" PRIu64 " objects were read, and in %" PRIu64
                    " places something could not be",
                    ctl->args[0], dump->count, dump->lost);
}

static enum exit_status run(struct ctl *ctl)
{
    const char *name = ctl->args[0];
    struct dump dump = {.ctl = ctl, .format = FLAT_PRINT};
    struct heir_table *table;

    if (ctl->format != NULL && strcmp(ctl->format, "bytevalue") == 0)
        dump.format = FLAT_BYTEVALUE;
    else if (ctl->format != NULL && strcmp(ctl->format, "print") != 0)
        return ctl_fail_usage(ctl, "--format wants print or bytevalue, not '%.64s'", ctl->format);
    int error = heir_inspect_open(ctl->ns, name, &table);
    if (error == -ENOENT)
        return ctl_fail_no_table(ctl, name);
    if (error == 0 && (error = heir_info(table, &dump.info)) < 0)
        heir_inspect_close(table);
    if (error < 0)
        return ctl_fail_error(ctl, error, "cannot read the table '%s'", name);
    dump.objects = json_array();
    enum exit_status status = dump_table(&dump, table);
    json_decref(dump.objects);
    heir_inspect_close(table);
    return status;
}

const struct verb verb_dump = {
    .name = "dump",
    .arguments = "TABLE [--format print|bytevalue] [--output FILE] [--salvage]",
    .line = "print all objects, as mdb_load, db_load and load read them",
    .text =
        "One committed state, in the text format of LMDB's mdb_dump and Berkeley DB's db_dump: to stdout, or to FILE,\n"
        "which appears when it is whole. Needs no keeper and disturbs nobody: a table that is written meanwhile may\n"
        "take some more memory for the time; if it has none, the dump is given up, and says so. Ordered sets are in "
        "the order of their keys, the objects of a bag's key\n"
        "in the order of their insertion.\n"
        "  --format print      printable ASCII as it is, all else as \\ and two hexadecimal digits (the default)\n"
        "  --format bytevalue  two hexadecimal digits a byte\n"
        "  --salvage           of a damaged table, what can be read; exit status 1 when something could not be. Keys "
        "are\n"
        "                      checked as far as they can be, values are not\n"
        "mdb_load takes up to 1 MiB unless it is told otherwise, by a line before the second one of the dump:\n"
        "  heirctl dump t | sed '1a mapsize=1073741824' | mdb_load -n t.mdb\n"
        "\n"
        "--json:\n"
        "  {\"table\": text, \"type\": \"set\"|\"ordered-set\"|\"bag\"|\"duplicate-bag\",\n"
        "   \"objects\": [{\"key\": text, \"value\": text}]}, or with --output: \"file\": text, \"count\": number;\n"
        "   and \"lost\": number of places that could not be read, with --salvage\n",
    .options = "--format --output --salvage ",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
