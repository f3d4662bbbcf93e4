/* SPDX-License-Identifier: MIT */
/* What clients ask for: validate everything, then check rights, then act. Each handler returns the error of its reply.
 */
#include "atomics.h"
#include "owner.h"
#include "robust.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Who may ------------------------------------------------------------------------------------------ */

bool may_own(const struct heir_keeper *k, uint32_t uid, uint32_t gid, const struct keeper_table *t)
{
    (void)k;
    (void)gid;
    return uid == 0 || (uid == t->uid && (t->mode & 0600) == 0600);
}

static bool may_read(const struct connection *c, const struct keeper_table *t)
{
    unsigned mode = t->mode;
    if (c->uid == 0)
        return true;
    if (c->uid == t->uid)
        return (mode & 0400) != 0;
    if (c->gid == t->gid)
        return (mode & 040) != 0;
    return (mode & 04) != 0;
}

static bool administrator(const struct connection *c)
{
    return c->uid == 0 || c->uid == geteuid();
}

/* ---- Clients ------------------------------------------------------------------------------------------ */

static int client_create(struct heir_keeper *k, const struct connection *c, const struct wire_request *q,
                         struct keeper_client **client, int *page_fd)
{
    uint64_t id;
    char name[SHM_NAME_ROOM], text[24];
    int fd, r = user_may_open(k, c->user);

    if (r < 0)
        return r;
    do { /* a page that was set aside keeps its number, also where the namespace's page has forgotten it */
        id = get(&k->space->next_client);
        if (id > OWNER_ID_MAX)
            return -EOVERFLOW;
        set(&k->space->next_client, id + 1); /* before it is used */
        snprintf(text, sizeof text, "%lu", (unsigned long)id);
        shm_name(name, k->ns, 'c', text);
        fd = shm_create(name, CLIENT_PAGE_BYTES, PAGE_BYTES, 0600);
    } while (fd == -EEXIST);
    if (fd < 0)
        return fd;
    struct client_page *page = shm_map(fd, CLIENT_PAGE_BYTES, true);
    r = page == NULL ? -ENOMEM : robust_init(&page->life.mutex);
    if (r == 0) {
        head_init(&page->head, id, c->uid, c->gid);
        memcpy(page->name, q->name, NAME_ROOM);
        page->pid = c->pid;
        page->tid = q->tid;
        page->start_time = process_start_time(c->pid);
        set(&page->owned_room, OWNED_FIRST);
        /* visible to others now: */
        set(&page->head.magic, CLIENT_MAGIC);
        *client = client_enter(k, page);
        r = *client == NULL ? -ENOMEM : 0;
    }
    if (r < 0) {
        if (page != NULL)
            munmap(page, CLIENT_PAGE_BYTES);
        close(fd);
        shm_remove(name);
        return r;
    }
    *page_fd = fd;
    return 0;
}

/* The bell must be something that cannot make us wait, and is the client's own: a socket that leads to another user
 * could be one that takes our word for something. */
static bool is_bell(const struct connection *c, int fd)
{
    int domain = 0, type = 0;
    struct ucred peer = {0};
    socklen_t len = sizeof domain, peer_len = sizeof peer;

    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) == 0 && peer.uid == c->uid;
}

static int hello(struct heir_keeper *k, struct connection *c, const struct wire_request *q, int *fd)
{
    struct keeper_client *client = NULL;
    int page_fd = -1, r;

    if (c->client != NULL || !is_bell(c, *fd))
        return -EPROTO;
    if (*fd >= k->descriptors)
        return -EMFILE;
    if (q->id != 0) {
        client = client_by_id(k, q->id);
        if (client == NULL || client->dying || memcmp(client->page->head.uuid, q->secret, sizeof q->secret) != 0 ||
            client->uid != c->uid)
            return -ESRCH;
        if (client->connection != NULL)
            client->connection->client = NULL; /* the old connection is a dead one */
        if (client->bell >= 0)
            close(client->bell);
        reign_drop_claims(k, client); /* it sends them again */
        pins_looked_at(client);
    } else {
        if (!name_valid(q->name))
            return -EINVAL;
        if ((r = client_create(k, c, q, &client, &page_fd)) < 0)
            return r;
    }
    if (client->pidfd < 0)
        process_watch(k, client, c);
    client->bell = *fd;
    *fd = -1;
    client->connection = c;
    c->client = client;
    struct wire_reply reply = {.id = client->id, .pid = getpid()};
    connection_reply(c, q, &reply, page_fd);
    if (page_fd >= 0)
        close(page_fd);
    else
        reign_ring(client); /* whatever happened while there was no keeper */
    return REPLIED;
}

static int ready(struct heir_keeper *k, struct keeper_client *client)
{
    if (client->ready)
        return 0;
    if (robust_holder(&client->page->life.mutex) == 0)
        return -EPROTO;
    int r = watcher_add(k, client);
    if (r < 0)
        return r;
    client->ready = true;
    journal_count(k, COUNT_CLIENTS_OPENED, 1);
    keeper_log(k, HEIR_LOG_DEBUG, "client %lu (%s, pid %d) has come", (unsigned long)client->id, client->name,
               client->pid);
    return 0;
}

/* ---- Tables ------------------------------------------------------------------------------------------- */

bool request_reply_table(struct heir_keeper *k, struct connection *c, const struct wire_request *q,
                         struct keeper_table *t, enum wire_memory memory, int error)
{
    char name[SHM_NAME_ROOM];
    int fd = -1;

    if (memory != WIRE_MAPPED) {
        shm_name(name, k->ns, 't', t->name);
        fd = shm_open_object(name, memory == WIRE_WRITABLE);
        if (fd < 0 && error == -EINPROGRESS)
            return false;
        error = fd < 0 ? fd : error;
    }
    struct wire_reply reply = {.error = error,
                               .id = t->id,
                               .epoch = owner_epoch(get(&t->page->owner)),
                               .max_bytes = t->max_bytes,
                               .memory = memory};
    connection_reply(c, q, &reply, fd);
    if (fd >= 0)
        close(fd);
    return error == 0 || error == -EINPROGRESS;
}

static int check_options(const struct wire_request *q)
{
    char heir[NAME_ROOM];
    if (q->type > HEIR_DUPLICATE_BAG || q->access > HEIR_PRIVATE || (q->mode & ~0666u) != 0)
        return -EINVAL;
    if (q->max_bytes < HEIR_TABLE_MIN || q->max_bytes > HEIR_TABLE_MAX)
        return -EINVAL;
    if (q->key_size > HEIR_KEY_MAX || q->value_size > UINT32_MAX)
        return -EINVAL;
    return name_heir(q->heir, heir);
}

static int create(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct keeper_table *t;
    int r = check_options(q);
    if (r == 0)
        r = reign_create(k, c->client, q, &t);
    if (r == -EEXIST)
        return adopt_missing(k, q->name);
    if (r < 0)
        return r;
    request_reply_table(k, c, q, t, WIRE_WRITABLE, 0);
    return REPLIED;
}

static int create_new(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct keeper_table *t;

    if (!name_valid(q->name))
        return -EINVAL;
    t = table_by_name(k, q->name);
    if (t == NULL)
        return create(k, c, q);
    if ((q->head.serial != 0 && (q->flags & WIRE_AGAIN) != 0) && table_owner(k, t) == c->client &&
        owner_epoch(get(&t->page->owner)) == 1) {
        request_reply_table(k, c, q, t, WIRE_WRITABLE, 0);
        return REPLIED;
    }
    return -EEXIST;
}

static int claim(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    bool options = (q->flags & WIRE_OPTIONS) != 0;
    struct keeper_table *t;
    int r;

    if (!name_valid(q->name))
        return -EINVAL;
    if (options && (r = check_options(q)) < 0)
        return r;
    t = table_by_name(k, q->name);
    if (t == NULL)
        return options ? create(k, c, q) : adopt_missing(k, q->name);
    if (!may_own(k, c->uid, c->gid, t))
        return -EACCES;
    if (options &&
        (q->type != t->page->type || q->key_size != t->page->key_size || q->value_size != t->page->value_size))
        return -EPROTOTYPE;
    if (table_owner(k, t) == c->client) {
        request_reply_table(k, c, q, t, WIRE_WRITABLE, 0);
        return REPLIED;
    }
    if (table_owner(k, t) != NULL && (q->flags & WIRE_NO_WAIT) != 0)
        return -EBUSY;
    return reign_wait_in_line(k, t, c->client, q);
}

static int cancel(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct claim *claim;
    cds_list_for_each_entry(claim, &c->client->claims, mine) {
        if (claim->request.head.serial == q->id) {
            struct wire_reply reply = {.error = -ETIMEDOUT};
            connection_reply(c, &claim->request, &reply, -1);
            reign_claim_free(k, claim);
            return 0;
        }
    }
    return -ENOENT; /* granted already: that reply is on its way */
}

static int attach(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct keeper_table *t;

    if (!name_valid(q->name))
        return -EINVAL;
    t = table_by_name(k, q->name);
    if (t == NULL)
        return adopt_missing(k, q->name);
    bool own = table_owner(k, t) == c->client, writable = t->access == HEIR_PUBLIC && may_own(k, c->uid, c->gid, t);
    if (!own && (!may_read(c, t) || t->access == HEIR_PRIVATE))
        return -EACCES;
    request_reply_table(k, c, q, t, own || writable ? WIRE_WRITABLE : WIRE_READABLE, 0);
    return REPLIED;
}

/* The table that this request is about; it must be the asking client's own, in this epoch. */
static int own(struct heir_keeper *k, const struct connection *c, const struct wire_request *q, struct keeper_table **t,
               uint64_t *epoch)
{
    *t = table_by_id(k, q->table);
    if (*t == NULL)
        return -ENOENT;
    uint64_t word = get(&(*t)->page->owner);
    *epoch = owner_epoch(word);
    if (q->epoch != 0 && q->epoch != *epoch)
        return -EPERM;
    return owner_id(word) == c->client->id && table_owner(k, *t) == c->client ? 0 : -EPERM;
}

/* Another thread of the owner has been quicker, and given it away. */
static int quicker(int r)
{
    return r == -EAGAIN ? -EPERM : r;
}

static int give(struct heir_keeper *k, const struct connection *c, const struct wire_request *q)
{
    struct keeper_table *t;
    uint64_t epoch;
    int r = own(k, c, q, &t, &epoch);

    if (r < 0)
        return r;
    struct keeper_client *to = client_by_id(k, q->id);
    if (q->id == HEIR_KEEPER || to == c->client)
        return -EINVAL;
    if (to == NULL || !client_lives(to))
        return -ESRCH;
    if (!may_own(k, to->uid, to->gid, t))
        return -EACCES;
    const struct passing how = {.reason = HEIR_GIVEN, .data = q->data, .data_len = q->data_len};
    return quicker(reign_pass(k, t, to, epoch, &how));
}

/* What a client needs to give to another without us: both are one user's, and could trace each other as well. */
static int peer(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct keeper_client *to = client_by_id(k, q->id);
    char name[SHM_NAME_ROOM], id[24];

    if (to == NULL || !client_lives(to))
        return -ESRCH;
    if (to->uid != c->client->uid || to->gid != c->client->gid || to->bell < 0)
        return -EREMOTE;
    snprintf(id, sizeof id, "%lu", (unsigned long)to->id);
    shm_name(name, k->ns, 'c', id);
    int page = shm_open_object(name, true);
    if (page < 0)
        return page;
    struct wire_reply reply = {.id = to->id};
    connection_reply_with(c, q, &reply, (int[]){page, to->bell}, 2);
    close(page);
    return REPLIED;
}

static int set_heir(struct keeper_table *t, const struct wire_request *q)
{
    struct settings settings;
    char heir[NAME_ROOM];
    int r = name_heir(q->heir, heir);

    if (r < 0)
        return r;
    settings_read(t->page, &settings);
    memcpy(settings.heir, heir, NAME_ROOM);
    memcpy(settings.data, q->data, sizeof settings.data);
    settings.data_len = q->data_len;
    settings_write(t->page, &settings);
    return 0;
}

static int rename_table(struct heir_keeper *k, struct keeper_table *t, const struct wire_request *q)
{
    char from[SHM_NAME_ROOM], to[SHM_NAME_ROOM], before[NAME_ROOM];
    struct settings settings;

    if (!name_valid(q->name))
        return -EINVAL;
    if (strcmp(t->name, q->name) == 0)
        return 0;
    if (table_by_name(k, q->name) != NULL)
        return -EEXIST;
    shm_name(from, k->ns, 't', t->name);
    shm_name(to, k->ns, 't', q->name);
    int r = shm_move(from, to);
    if (r < 0)
        return r;
    memcpy(before, t->name, NAME_ROOM);
    if ((r = table_rename(k, t, q->name)) < 0) {
        shm_move(to, from);
        return r;
    }
    settings_read(t->page, &settings);
    memcpy(settings.name, q->name, NAME_ROOM);
    settings_write(t->page, &settings);
    journal_renamed(k, t, before);
    return 0;
}

/* The table that an administrator names: 0; NULL: there is none of that name. */
static int named(struct heir_keeper *k, const struct connection *c, const struct wire_request *q,
                 struct keeper_table **t)
{
    if (!name_valid(q->name))
        return -EINVAL;
    if (!administrator(c))
        return -EACCES;
    *t = table_by_name(k, q->name);
    return 0;
}

static int revoke_table(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct keeper_table *t;
    int r = named(k, c, q, &t);

    if (r < 0)
        return r;
    return t != NULL ? reign_revoke(k, t, 0, (q->flags & WIRE_FORCE) != 0, c, q) : adopt_missing(k, q->name);
}

static int remove_table(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct keeper_table *t;
    int r = named(k, c, q, &t);

    if (r < 0)
        return r;
    if (t == NULL)
        return adopt_remove(k, q->name);
    uint64_t word = get(&t->page->owner);
    if (!t->damaged && owner_id(word) != HEIR_KEEPER)
        return -EBUSY;
    r = reign_destroy(k, t, owner_epoch(word));
    return r == -EAGAIN ? -EBUSY : r;
}

static int pin(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct keeper_table *t = table_by_id(k, q->table);
    struct wire_reply reply = {0};

    if (t == NULL)
        return -ENOENT;
    if (table_owner(k, t) != c->client && (!may_read(c, t) || t->access == HEIR_PRIVATE))
        return -EACCES;
    int r = pin_grant(t, c->client, &reply.value);
    if (r < 0)
        return r;
    connection_reply(c, q, &reply, -1);
    return REPLIED;
}

static int ping(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    struct wire_reply reply = {.pid = getpid(),
                               .uptime_ms = (clock_mono_ns() - k->started_ns) / 1000000,
                               .tables = k->table_count,
                               .clients = k->client_count,
                               .deaths = k->deaths,
                               .transfers = k->transfers,
                               .damaged = k->damaged};
    snprintf(reply.version, sizeof reply.version, "%s", HEIR_VERSION);
    connection_reply(c, q, &reply, -1);
    return REPLIED;
}

static int find(struct heir_keeper *k, struct connection *c, const struct wire_request *q)
{
    if (!name_valid(q->name))
        return -EINVAL;
    struct keeper_client *found = client_by_role(k, q->name);
    if (found == NULL)
        return -ENOENT;
    struct wire_reply reply = {.id = found->id};
    connection_reply(c, q, &reply, -1);
    return REPLIED;
}

/* ---- All of them -------------------------------------------------------------------------------------- */

static int handle(struct heir_keeper *k, struct connection *c, const struct wire_request *q, int *fd)
{
    struct keeper_table *t;
    uint64_t epoch;
    int r;

    switch (q->head.type) {
    case WIRE_HELLO:
        return hello(k, c, q, fd);
    case WIRE_PING:
        return ping(k, c, q);
    case WIRE_REVOKE:
        return revoke_table(k, c, q);
    case WIRE_REMOVE:
        return remove_table(k, c, q);
    }
    if (c->client == NULL)
        return -EPROTO;
    if (q->head.type == WIRE_READY)
        return ready(k, c->client);
    if (!c->client->ready || c->client->dying)
        return -EPROTO;
    switch (q->head.type) {
    case WIRE_CREATE:
        return create_new(k, c, q);
    case WIRE_CLAIM:
        return claim(k, c, q);
    case WIRE_CANCEL:
        return cancel(k, c, q);
    case WIRE_ATTACH:
        return attach(k, c, q);
    case WIRE_FIND:
        return find(k, c, q);
    case WIRE_PIN:
        return pin(k, c, q);
    case WIRE_UNPIN:
        t = table_by_id(k, q->table);
        return t != NULL ? pin_release(t, c->client, q->id) : -ENOENT;
    case WIRE_GIVE:
        return give(k, c, q);
    case WIRE_PEER:
        return peer(k, c, q);
    case WIRE_CLOSE:
        set(&c->client->page->closing, 1);
        death_of(k, c->client, clock_mono_ns());
        return 0;
    }
    if ((r = own(k, c, q, &t, &epoch)) < 0)
        return r;
    switch (q->head.type) {
    case WIRE_OPEN:
        request_reply_table(k, c, q, t, WIRE_WRITABLE, 0);
        return REPLIED;
    case WIRE_RELEASE:
        return quicker(reign_pass(k, t, NULL, epoch, &(struct passing){.reason = HEIR_RELEASED}));
    case WIRE_DESTROY:
        return quicker(reign_destroy(k, t, epoch));
    case WIRE_SET_HEIR:
        return set_heir(t, q);
    case WIRE_RENAME:
        return rename_table(k, t, q);
    }
    return -EPROTO;
}

void request_handle(struct heir_keeper *k, struct connection *c, const struct wire_request *q, int *fd)
{
    /* for who asks for a table that is not, or not yet, its own: of before that is looked at, so that what it is told
     * is never newer than the refusal */
    struct keeper_table *t = q->head.type == WIRE_OPEN ? table_by_id(k, q->table) : NULL;
    uint64_t epoch = t != NULL ? owner_epoch(get(&t->page->owner)) : 0;
    int r = handle(k, c, q, fd);
    if (r != REPLIED) {
        struct wire_reply reply = {.error = r, .epoch = epoch};
        connection_reply(c, q, &reply, -1);
    }
}
