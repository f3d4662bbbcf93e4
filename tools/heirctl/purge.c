/* SPDX-License-Identifier: MIT */
/*
 * heirctl purge: remove all that a namespace left in shared memory.
 *
 * Only a keeper may do that, since only one at a time can be: so for the moment we are it, as heird --purge is at its
 * start. A running keeper has the namespace locked, and is refused by that. Its socket is one that nobody knows, so
 * that no client comes in while we are at it.
 */
#include "heirctl.h"
#include <errno.h>
#include <heir/keeper.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rest {
    char (*tables)[HEIR_NAME_MAX + 1];
    size_t count;
    uint64_t clients, living;
};

static int add_table(const struct heir_info *info, int error, void *arg)
{
    struct rest *rest = arg;
    (void)error;
    rest->tables = must_resize(rest->tables, (rest->count + 1) * sizeof *rest->tables);
    memcpy(rest->tables[rest->count++], info->name, sizeof info->name);
    return 0;
}

static int add_client(const struct heir_client_info *info, int error, void *arg)
{
    struct rest *rest = arg;
    rest->clients++;
    rest->living += error == 0 && info->state != 'X' && info->state != 'Z';
    return 0;
}

/* What can be seen of it. */
static int look(const struct ctl *ctl, struct rest *rest)
{
    *rest = (struct rest){0};
    int error = heir_inspect_tables(ctl->ns, add_table, rest);
    return error < 0 ? error : heir_inspect_clients(ctl->ns, add_client, rest);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool has_table(const struct rest *rest, const char *name)
{
    return rest->count > 0 && bsearch(name, rest->tables, rest->count, sizeof *rest->tables, by_name) != NULL;
}

/* ---- Being the keeper --------------------------------------------------------------------------------- */

static int remove_all(const struct ctl *ctl)
{
    char folder[] = "/tmp/heir-purge-XXXXXX", socket[sizeof folder + 8];
    struct heir_keeper *keeper;
    sigset_t held, before;

    sigfillset(&held); /* the folder is to be gone whatever comes */
    if (mkdtemp(folder) == NULL)
        return -errno;
    snprintf(socket, sizeof socket, "%s/s", folder);
    sigprocmask(SIG_BLOCK, &held, &before);
    int error = heir_keeper_start(
        &(struct heir_keeper_options){.ns = ctl->ns, .socket = socket, .purge = true, .no_huge_pages = true}, &keeper);
    if (error == 0)
        heir_keeper_stop(keeper);
    rmdir(folder);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* ---- The verb ----------------------------------------------------------------------------------------- */

static enum exit_status print(const struct ctl *ctl, const struct rest *before, const struct rest *after)
{
    bool all = after->count == 0 && after->clients == 0;
    if (ctl->json && all) {
        json_t *object = json_object(), *tables = json_array();
        for (size_t i = 0; i < before->count; i++)
            json_array_append_new(tables, json_text(before->tables[i]));
        json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
        json_object_set_new(object, "tables", tables);
        json_object_set_new(object, "clients", json_integer((json_int_t)before->clients));
        return json_print(object);
    }
    for (size_t i = 0; !ctl->json && i < before->count; i++) {
        if (!has_table(after, before->tables[i]))
            printf("the table '%s' was removed\n", before->tables[i]);
    }
    if (!all)
        return ctl_fail(ctl, REFUSED, -EACCES,
                        "%zu tables and %" PRIu64 " clients of the namespace '%s' are still there: they belong to "
                        "another user; do it as that user, or as root",
                        after->count, after->clients, ctl_ns(ctl));
    if (!ctl->json)
        printf("the namespace '%s' is empty: %zu table%s and %" PRIu64 " client%s were removed\n", ctl_ns(ctl),
               before->count, before->count == 1 ? "" : "s", before->clients, before->clients == 1 ? "" : "s");
    return DONE;
}

static enum exit_status purge(const struct ctl *ctl, const struct rest *before)
{
    struct rest after;
    enum exit_status status =
        ctl_ask(ctl,
                "Remove all %zu tables of the namespace '%s', with all that is in them, and %" PRIu64
                " clients, of which %" PRIu64 " live?",
                before->count, ctl_ns(ctl), before->clients, before->living);
    if (status != DONE)
        return status;
    int error = remove_all(ctl);
    if (error == -EBUSY)
        return ctl_fail(ctl, REFUSED, error,
                        "a keeper runs for the namespace '%s', and purge would pull its tables away under it: stop it "
                        "first (heirctl ping tells its pid); or remove a table with heirctl rm",
                        ctl_ns(ctl));
    if (error < 0)
        return ctl_fail_error(ctl, error, "the namespace '%s' was not purged", ctl_ns(ctl));
    error = look(ctl, &after);
    if (error < 0)
        status = ctl_fail_error(ctl, error, "cannot see whether the namespace '%s' is empty", ctl_ns(ctl));
    else
        status = print(ctl, before, &after);
    free(after.tables);
    return status;
}

static enum exit_status run(struct ctl *ctl)
{
    struct rest before;
    int error = look(ctl, &before);
    enum exit_status status = error < 0 ? ctl_fail_error(ctl, error, "cannot look into the namespace '%s'", ctl_ns(ctl))
                                        : purge(ctl, &before);
    free(before.tables);
    return status;
}

const struct verb verb_purge = {
    .name = "purge",
    .arguments = "[--yes]",
    .line = "remove all tables and clients of a namespace that has no keeper",
    .text =
        "Also what is damaged, and what belongs to clients that live: their writes are refused from then on. Asks\n"
        "before, on a terminal; elsewhere --yes has to be said. While a keeper runs it is refused: stop that first.\n"
        "heird can do the same at its start.\n"
        "  --yes  do not ask\n"
        "\n"
        "--json:\n"
        "  {\"namespace\": text, \"tables\": [name of each that was removed], \"clients\": number of those}\n",
    .options = "--yes ",
    .run = run,
};
