/* SPDX-License-Identifier: MIT */
/* Handles of tables: making them, mapping and unmapping, claiming, looking. */
#include "lend.h"
#include "objects.h"
#include "read.h"
#include "robust.h"
#include "shm.h"
#include "space.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_BYTES (UINT64_C(1) << 30)
#define WARM_MOST     (UINT64_C(16) << 20) /* less than a millisecond */

__thread struct urcu_bp_reader **rcu_reader, **rcu_quick;

const void *this_thread(void)
{
    static __thread char mark __attribute__((tls_model("initial-exec"))); /* no call to find it */
    return &mark;
}

/* ---- Mappings ----------------------------------------------------------------------------------------- */

static int check_page(const struct table_page *page, uint64_t bytes)
{
    int r = head_check(&page->head, TABLE_MAGIC, bytes, HEIR_TABLE_MIN);
    if (r < 0)
        return r == -EAGAIN ? -EUCLEAN : r;
    if (page->max_bytes != bytes || page->heap_first != space_heap_first(bytes) ||
        page->heap_first * PAGE_BYTES >= bytes)
        return -EUCLEAN;
    return 0;
}

/* Does whoever may read it look for any key of 8 bytes? */
static bool plain(const struct table_page *page)
{
    return page->access != HEIR_PRIVATE && (page->key_size == 0 || page->key_size == sizeof(uint64_t));
}

int mapping_new(int fd, bool writable, const struct mapping *old, struct mapping **mapping)
{
    struct mapping *m = calloc(1, sizeof *m);
    struct stat st;
    int r = -ENOMEM;

    if (m == NULL || fstat(fd, &st) < 0)
        goto failed;
    uint64_t bytes = (uint64_t)st.st_size;
    r = -EUCLEAN;
    if (bytes < HEIR_TABLE_MIN)
        goto failed;
    r = -ENOMEM;
    m->reader.bytes = m->writer.bytes = bytes;
    m->reader.base = old != NULL ? old->reader.base : shm_map(fd, bytes, false);
    m->writer.base = writable ? shm_map(fd, bytes, true) : NULL;
    if (m->reader.base == NULL || (writable && m->writer.base == NULL))
        goto failed;
    r = check_page(page_of(&m->reader), bytes);
    if (r < 0)
        goto failed;
    m->reader.heap_first = m->writer.heap_first = page_of(&m->reader)->heap_first;
    m->reader.seed = m->writer.seed = page_of(&m->reader)->hash_seed;
    read_quick_set(&m->reader, plain(page_of(&m->reader)));
    *mapping = m;
    return 0;
failed:
    if (m != NULL) {
        if (m->writer.base != NULL)
            munmap(m->writer.base, m->writer.bytes);
        if (m->reader.base != NULL && old == NULL)
            munmap(m->reader.base, m->reader.bytes);
        free(m);
    }
    return r;
}

void mapping_free(struct mapping *m)
{
    if (m == NULL)
        return;
    munmap(m->reader.base, m->reader.bytes);
    lend_free(m);
    if (m->writer.base != NULL)
        munmap(m->writer.base, m->writer.bytes);
    free(m->replaced);
    free(m);
}

/* ---- Handles ------------------------------------------------------------------------------------------ */

static int match(struct cds_lfht_node *node, const void *key)
{
    return caa_container_of(node, struct heir_table, by_id)->id == *(const uint64_t *)key;
}

struct heir_table *table_find(struct heir *c, uint64_t id)
{
    if (c->latest != NULL && c->latest->id == id) /* mostly, when something comes */
        return c->latest;
    struct cds_lfht_node *node = hash_find(&c->tables, hash_number(id), match, &id);
    return node != NULL ? caa_container_of(node, struct heir_table, by_id) : NULL; /* freed by heir_close() only */
}

static struct heir_table *table_new(struct heir *c, uint64_t id)
{
    struct heir_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->client = c;
    t->id = id;
    t->life = c->life;
    hash_add(&c->tables, hash_number(id), &t->by_id);
    return t;
}

int table_open(struct heir *c, const struct wire_reply *reply, int fd, struct heir_table **table)
{
    struct heir_table *t = table_find(c, reply->id);
    struct mapping *m, *old;
    bool writable = reply->memory != WIRE_READABLE;
    int r = 0;

    if (fd < 0 && (reply->memory != WIRE_MAPPED || t == NULL || t->mapping == NULL || t->mapping->writer.base == NULL))
        return -EPROTONOSUPPORT;
    if (t == NULL && (t = table_new(c, reply->id)) == NULL) {
        close(fd);
        return -ENOMEM;
    }
    old = t->mapping;
    if (old == NULL || (writable && old->writer.base == NULL)) {
        r = mapping_new(fd, writable, old, &m);
        if (r == 0) {
            m->replaced = old;
            atomic_store_explicit(&t->mapping, m, memory_order_release);
        }
    }
    if (fd >= 0)
        close(fd);
    if (r == 0 && page_of(&t->mapping->reader)->head.id != reply->id)
        r = -EUCLEAN;
    if (r < 0)
        return r;
    uint64_t word = get(&page_of(&t->mapping->reader)->owner);
    if (owner_id(word) == c->id && owner_epoch(word) != t->epoch) {
        event_loss(c, t, owner_epoch(word));
        t->told = owner_epoch(word) == 1; /* creating makes no event */
        t->lost = false;
        t->epoch = owner_epoch(word);
    }
    *table = t;
    return 0;
}

/* At most so much of it, which is backed already: nothing is taken from the system. In vain: then it is done when it is
 * used. */
static void warm(const struct store *s, uint64_t from, uint64_t to)
{
    if (from < to && to <= s->bytes)
        shm_populate(s->base + from, to - from < WARM_MOST ? to - from : WARM_MOST);
}

void table_warm(struct heir_table *t)
{
    const struct store *s = &t->mapping->writer;
    uint64_t heap = s->heap_first * PAGE_BYTES, limit = get(&view_of(s)->limit) * PAGE_BYTES;

    warm(s, 0, space_front(s));
    warm(s, heap, limit);
    warm(s, s->bytes - PAGE_BYTES, s->bytes); /* the undo log begins there */
}

int table_unmap(struct heir_table *t)
{
    struct mapping *m = t->mapping;
    atomic_store_explicit(&t->mapping, NULL, memory_order_release);
    urcu_bp_synchronize_rcu();
    handle_reads_ended(t);
    if (atomic_load(&t->users) != 0 ||
        t->txn_thread != NULL) { /* somebody came in before, to stay longer than a read */
        atomic_store_explicit(&t->mapping, m, memory_order_release);
        return -EBUSY;
    }
    mapping_free(m);
    return 0;
}

bool table_catch_up(struct heir_table *t)
{
    struct heir *c = t->client;
    bool ours = false;

    handle_read_begin();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (m != NULL) {
        uint64_t word = get(&page_of(&m->reader)->owner);
        ours = owner_id(word) == c->id && owner_epoch(word) != t->epoch && t->txn_thread != this_thread();
    }
    handle_read_end(t);
    if (!ours)
        return false;
    uint64_t before = t->epoch;
    pthread_mutex_lock(&c->lock);
    event_scan(c);
    pthread_mutex_unlock(&c->lock);
    return t->epoch != before;
}

void table_free(struct heir_table *t)
{
    mapping_free(t->mapping);
    free(t);
}

void table_abort(struct heir_table *t)
{
    struct mapping *m = t->txn_mapping;
    if (t->txn_thread != this_thread())
        return;
    lend_end(m);
    if (life_ended(t->life)) /* as after a death: the next owner is told how much */
        writer_repair(page_of(&m->writer), &m->writer);
    else
        objects_abort(&m->writer);
    t->txn_thread = NULL;
    writer_unlock(page_of(&m->writer));
}

void table_refuse(struct heir_table *t)
{
    if (life_ended(t->life))
        table_abort(t);
}

int table_check(const struct heir_table *t)
{
    if (t == NULL)
        return -EINVAL;
    if (!life_lasts(t->life)) {
        table_refuse((struct heir_table *)(uintptr_t)t);
        return -ENOTCONN;
    }
    return t->client == NULL ? -EINVAL : 0;
}

/* ---- Getting tables ----------------------------------------------------------------------------------- */

static int put_options(struct wire_request *q, const struct heir_table_options *o)
{
    static const struct heir_table_options none;
    int r;

    if (o == NULL)
        o = &none;
    if (!all_zero(o->reserved, sizeof o->reserved / sizeof *o->reserved))
        return -EINVAL;
    if ((unsigned)o->type > HEIR_DUPLICATE_BAG || (unsigned)o->access > HEIR_PRIVATE || (o->mode & ~0666u) != 0)
        return -EINVAL;
    if ((r = name_heir(o->heir, q->heir)) < 0)
        return r;
    q->flags |= WIRE_OPTIONS;
    q->type = o->type;
    q->access = o->access;
    q->mode = o->mode != 0 ? o->mode : 0600;
    q->max_bytes = o->max_bytes != 0 ? o->max_bytes : DEFAULT_BYTES;
    if (q->max_bytes < HEIR_TABLE_MIN || q->max_bytes > HEIR_TABLE_MAX)
        return -EINVAL;
    if (o->key_size > HEIR_KEY_MAX || o->value_size > UINT32_MAX)
        return -EINVAL;
    q->key_size = o->key_size;
    q->value_size = o->value_size;
    q->lease_ms = o->lease_ms;
    return table_data(q, o->heir_data, o->heir_data_len);
}

/* The claim was in line, and its memory had come; if it could not be mapped then, it is asked for again. */
static int open_mapped(struct heir *c, const struct wire_reply *reply, struct heir_table **table)
{
    int r = table_open(c, reply, -1, table);
    if (r < 0 && (*table = event_fetch(c, reply->id)) != NULL)
        r = 0;
    return r;
}

static int open_by_name(struct heir *c, struct wire_request *q, const char *name, uint64_t deadline,
                        struct heir_table **table)
{
    struct wire_reply reply;
    int fd = -1, r;

    strcpy(q->name, name);
    r = call(c, q, deadline, &reply, &fd);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    r = reply.memory == WIRE_MAPPED ? open_mapped(c, &reply, table) : table_open(c, &reply, fd, table);
    if (r == 0) /* if it is ours, note that now: it may be taken from us before the first heir_wait() */
        event_note(c, *table);
    pthread_mutex_unlock(&c->lock);
    return r;
}

static int check_get(struct heir *c, const char *name, struct heir_table **table)
{
    int r = client_check(c);
    if (r < 0)
        return r;
    if (table == NULL)
        return -EINVAL;
    *table = NULL;
    return name_valid(name) ? 0 : -EINVAL;
}

int heir_create(struct heir *c, const char *name, const struct heir_table_options *options, struct heir_table **table)
{
    struct wire_request q = {.head.type = WIRE_CREATE};
    int r = check_get(c, name, table);
    if (r < 0 || (r = put_options(&q, options)) < 0)
        return r;
    return open_by_name(c, &q, name, deadline_after(c->timeout_ms), table);
}

int heir_claim(struct heir *c, const char *name, const struct heir_table_options *options, int timeout_ms,
               struct heir_table **table)
{
    struct wire_request q = {.head.type = WIRE_CLAIM};
    int r = check_get(c, name, table);
    if (r < 0 || (options != NULL && (r = put_options(&q, options)) < 0))
        return r;
    if (timeout_ms < -1)
        return -EINVAL;
    if (timeout_ms == 0)
        q.flags |= WIRE_NO_WAIT;
    return open_by_name(c, &q, name, deadline_after(timeout_ms == 0 ? c->timeout_ms : timeout_ms), table);
}

int heir_attach(struct heir *c, const char *name, struct heir_table **table)
{
    struct wire_request q = {.head.type = WIRE_ATTACH};
    int r = check_get(c, name, table);
    if (r < 0)
        return r;
    return open_by_name(c, &q, name, deadline_after(c->timeout_ms), table);
}

int heir_detach(struct heir_table *t)
{
    int r = table_check(t);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->client->lock);
    if (t->mapping == NULL)
        r = -ENOTCONN;
    else if (owner_id(get(&page_of(&t->mapping->reader)->owner)) == t->client->id &&
             get(&page_of(&t->mapping->reader)->destroyed) == 0)
        r = -EBUSY;
    else if (t->txn_thread != NULL || atomic_load(&t->users) != 0)
        r = -EBUSY;
    else
        r = table_unmap(t);
    pthread_mutex_unlock(&t->client->lock);
    return r;
}

int table_data_check(const void *data, size_t data_len)
{
    if (data_len > HEIR_DATA_MAX)
        return -EMSGSIZE;
    return data_len != 0 && data == NULL ? -EINVAL : 0;
}

int table_data(struct wire_request *q, const void *data, size_t data_len)
{
    int r = table_data_check(data, data_len);
    if (r < 0)
        return r;
    q->data_len = (uint32_t)data_len;
    if (data_len != 0)
        memcpy(q->data, data, data_len);
    return 0;
}

/* ---- Looking ------------------------------------------------------------------------------------------ */

void page_info(const struct store *s, struct heir_info *info)
{
    const struct table_page *page = page_of(s);
    struct settings settings;
    struct transfer record = {0};
    uint64_t word = get(&page->owner);

    memset(info, 0, sizeof *info);
    settings_read(page, &settings);
    name_show(settings.name, info->name);
    name_show(settings.heir, info->heir);
    transfer_read(page, owner_epoch(word), &record);
    info->type = (enum heir_type)page->type;
    info->access = (enum heir_access)page->access;
    info->owner = owner_id(word);
    info->epoch = owner_epoch(word);
    info->objects = objects_committed(s);
    info->bytes_used = space_bytes_used(s);
    info->max_bytes = page->max_bytes;
    info->committed = get(&page->view.committed);
    info->horizon = get(&page->view.horizon);
    info->id = page->head.id;
    info->bytes_taken = space_bytes_taken(s);
    info->waiting = get(&page->waiting);
    info->since_ns = record.since_ns;
    info->key_size = page->key_size;
    info->value_size = page->value_size;
    info->uid = page->head.uid;
    info->gid = page->head.gid;
    info->mode = page->mode;
    info->lease_ms = page->lease_ms;
    info->from = record.from;
    info->reason = (enum heir_reason)record.reason;
    info->cause = transfer_cause(&record, &info->code);
    if (info->cause == CAUSE_PENDING)
        info->cause = HEIR_CAUSE_UNKNOWN;
    info->created_ns = page->head.created_ns;
    info->undone = record.undone;
    info->rollbacks = get(&page->view.rollbacks) / 2; /* each raises it twice */
    uint64_t head = get(&page->ledger.history_head), tail = get(&page->ledger.history_tail);
    info->history = tail > head ? tail - head : 0;
}

int heir_info(struct heir_table *t, struct heir_info *info)
{
    int r = -ENOTCONN;

    if (t == NULL || info == NULL)
        return -EINVAL;
    if (!life_lasts(t->life)) {
        table_refuse(t);
        return -ENOTCONN;
    }
    handle_read_begin();
    struct mapping *m = atomic_load_explicit(&t->mapping, memory_order_acquire);
    if (m != NULL) {
        page_info(&m->reader, info);
        if (t->txn_thread == this_thread()) /* its own changes, too */
            info->objects = get(&page_of(&m->reader)->view.objects[m->writer.txn & 1]);
        r = 0;
    }
    handle_read_end(t);
    return r;
}
