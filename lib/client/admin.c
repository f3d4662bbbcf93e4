/* SPDX-License-Identifier: MIT */
/* Orders to a keeper, over a connection of their own; see heir/admin.h. */
#include "client.h"
#include <errno.h>
#include <heir/admin.h>
#include <string.h>
#include <unistd.h>

static int ask(const struct heir_open_options *options, struct wire_request *q, struct wire_reply *reply)
{
    static const struct heir_open_options none;
    const struct heir_open_options *o = options != NULL ? options : &none;
    char ns[NAME_ROOM], path[SOCKET_ROOM];
    bool folder;
    int r;

    if (o->timeout_ms < -1)
        return -EINVAL;
    if ((r = name_space(o->ns, ns)) < 0 || (r = name_socket(o->socket, ns, path, &folder)) < 0 ||
        (folder && (r = name_folder_safe(path)) < 0))
        return r;
    uint64_t deadline = deadline_after(o->timeout_ms != 0 ? o->timeout_ms : 1000);
    int fd = link_open(path, deadline);
    if (fd < 0)
        return fd;
    r = link_ask(fd, q, -1, deadline, reply, NULL);
    close(fd);
    return r;
}

int heir_ping(const struct heir_open_options *options, struct heir_keeper_status *status)
{
    struct wire_request q = {.head.type = WIRE_PING};
    struct wire_reply reply;

    if (status == NULL)
        return -EINVAL;
    int r = ask(options, &q, &reply);
    if (r < 0)
        return r;
    *status = (struct heir_keeper_status){.pid = reply.pid,
                                          .protocol = reply.head.version,
                                          .uptime_ms = reply.uptime_ms,
                                          .tables = reply.tables,
                                          .clients = reply.clients,
                                          .deaths = reply.deaths,
                                          .transfers = reply.transfers,
                                          .damaged = reply.damaged};
    memcpy(status->version, reply.version, sizeof status->version - 1);
    return 0;
}

int heir_remove(const struct heir_open_options *options, const char *table)
{
    struct wire_request q = {.head.type = WIRE_REMOVE};
    struct wire_reply reply;

    if (!name_valid(table))
        return -EINVAL;
    strcpy(q.name, table);
    return ask(options, &q, &reply);
}

int heir_revoke(const struct heir_open_options *options, const char *table, bool force)
{
    struct wire_request q = {.head.type = WIRE_REVOKE, .flags = force ? WIRE_FORCE : 0};
    struct wire_reply reply;

    if (!name_valid(table))
        return -EINVAL;
    strcpy(q.name, table);
    return ask(options, &q, &reply);
}
