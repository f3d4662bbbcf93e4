/* SPDX-License-Identifier: MIT */
/*
 * A table to write to, for put, del and load; one to own, for give and rm.
 *
 * A public table is written as any client does. Another one is claimed for the moment of the write, without waiting, so
 * it works when the keeper owns it and never takes a table from anybody. Between claim and release the signals that a
 * person sends are held back: a table whose heir is nobody would be destroyed with us.
 */
#include "heirctl.h"
#include <errno.h>
#include <stdlib.h>

enum exit_status writing_fail_busy(const struct ctl *ctl, const char *name, const char *deed)
{
    struct heir_table *table;
    struct heir_info info = {0};
    if (heir_inspect_open(ctl->ns, name, &table) == 0) {
        if (heir_info(table, &info) < 0)
            info.owner = HEIR_KEEPER;
        heir_inspect_close(table);
    }
    if (info.owner == HEIR_KEEPER) /* cannot be read, or the owner has let it go meanwhile */
        return ctl_fail(ctl, REFUSED, -EBUSY,
                        "the table '%s' is owned by a living client, which alone may %s it: let that one do so, or "
                        "stop it and try again",
                        name, deed);

    struct people people;
    people_load(ctl, &people);
    char *owner = owner_text(&people, info.owner);
    enum exit_status status =
        ctl_fail(ctl, REFUSED, -EBUSY,
                 "the table '%s' is owned by %s, which alone may %s it: let that one do so, or take the table from it "
                 "with heirctl revoke %s",
                 name, owner, deed, name);
    free(owner);
    people_free(&people);
    return status;
}

static void hold_signals(struct writing *writing)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGTERM);
    sigaddset(&held, SIGHUP);
    sigaddset(&held, SIGQUIT);
    sigprocmask(SIG_BLOCK, &held, &writing->signals);
}

/* The keeper's, for the moment. Returns 0 or an error. */
static int claim(struct writing *writing, const char *name)
{
    int error = heir_claim(writing->client, name, NULL, 0, &writing->table);
    if (error < 0)
        return error;
    writing->claimed = true;
    return heir_info(writing->table, &writing->info);
}

/* Returns 0 with a handle that may write, or an error. */
static int open_table(struct writing *writing, const char *name, const struct heir_table_options *create)
{
    int error = heir_attach(writing->client, name, &writing->table);
    if (error == 0)
        error = heir_info(writing->table, &writing->info);
    if (error == 0 && writing->info.access == HEIR_PUBLIC) {
        /* A write may have to wait for another writer's transaction: that wait can be interrupted. */
        sigprocmask(SIG_SETMASK, &writing->signals, NULL);
        return 0;
    }
    if (error == -ENOENT && create != NULL) {
        error = heir_create(writing->client, name, create, &writing->table);
        if (error == 0) {
            writing->claimed = writing->created = true;
            return heir_info(writing->table, &writing->info);
        }
        if (error == -EEXIST) /* since we looked */
            error = 0;
    }
    if (error < 0 && error != -EACCES) /* a private table cannot be attached, but claimed */
        return error;
    return claim(writing, name);
}

static enum exit_status fail(const struct ctl *ctl, const char *name, const char *deed, int error,
                             struct writing *writing)
{
    writing_end(writing);
    if (error == -ENOENT)
        return ctl_fail_no_table(ctl, name);
    if (error == -EBUSY)
        return writing_fail_busy(ctl, name, deed);
    return ctl_fail_error(ctl, error, "cannot %s the table '%s'", deed, name);
}

enum exit_status writing_join(const struct ctl *ctl, struct writing *writing)
{
    struct heir_open_options options = ctl_options(ctl);
    *writing = (struct writing){0};
    hold_signals(writing); /* before heir_open(): threads that it may start inherit the mask */
    int error = heir_open(&options, &writing->client);
    if (error == 0)
        return DONE;
    sigprocmask(SIG_SETMASK, &writing->signals, NULL);
    return ctl_fail_error(ctl, error, "cannot join the namespace '%s'", ctl_ns(ctl));
}

enum exit_status writing_own(const struct ctl *ctl, const char *name, const char *deed, struct writing *writing)
{
    int error = claim(writing, name);
    return error == 0 ? DONE : fail(ctl, name, deed, error, writing);
}

enum exit_status writing_begin(const struct ctl *ctl, const char *name, const struct heir_table_options *create,
                               struct writing *writing)
{
    enum exit_status status = DONE;
    if (writing->client == NULL)
        status = writing_join(ctl, writing);
    else
        hold_signals(writing);
    int error = status == DONE ? open_table(writing, name, create) : 0;
    return error == 0 ? status : fail(ctl, name, "write", error, writing);
}

void writing_pause(struct writing *writing)
{
    struct heir_event event;
    if (writing->claimed && heir_release(writing->table) < 0) {
        writing_end(writing);
        return;
    }
    writing->claimed = writing->created = false;
    while (heir_wait(writing->client, 0, &event) == 0) { /* of each claim: they would gather */
    }
    sigprocmask(SIG_SETMASK, &writing->signals, NULL);
}

void writing_end(struct writing *writing)
{
    if (writing->client == NULL)
        return;
    /* What release cannot do for want of a keeper, closing does: the next keeper finds the table free. */
    if (writing->claimed)
        heir_release(writing->table);
    heir_close(writing->client);
    sigprocmask(SIG_SETMASK, &writing->signals, NULL);
    *writing = (struct writing){0};
}

enum exit_status writing_fail(const struct ctl *ctl, const struct writing *writing, int error, const char *what)
{
    const struct heir_info *info = &writing->info;
    if (error == -EINVAL && info->key_size != 0)
        return ctl_fail(ctl, REFUSED, error, "%s: every key of the table '%s' has %llu bytes%s", what, info->name,
                        (unsigned long long)info->key_size,
                        info->value_size != 0 ? ", and its values have a fixed size, too; heirctl info tells it" : "");
    if (error == -EINVAL && info->value_size != 0)
        return ctl_fail(ctl, REFUSED, error, "%s: every value of the table '%s' has %llu bytes", what, info->name,
                        (unsigned long long)info->value_size);
    return ctl_fail_error(ctl, error, "%s", what);
}
