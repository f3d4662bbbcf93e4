/* SPDX-License-Identifier: MIT */
/* The keeper: starting and stopping it, and its event loop. */
#include "atomics.h"
#include "shm.h"
#include "state.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MOST_MS    100
#define BACKLOG          1024
#define DESCRIPTORS_KEPT 64 /* for what must be done, when connections have taken the others */

void keeper_log(struct heir_keeper *k, enum heir_log_level level, const char *format, ...)
{
    char line[512];
    va_list args;

    if (k->log == NULL)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *p = line; *p != '\0'; p++) { /* what stands in shared memory, or in its folder, may be anything */
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    }
    k->log(level, line, k->log_arg);
}

int keeper_poll(struct heir_keeper *k, int fd, enum source source, uint64_t what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = what << 3 | source};
    if (source == SOURCE_CONNECTION)
        event.data.u64 = what | source; /* an address, aligned to 8 at least */
    return epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* ---- Trying again ------------------------------------------------------------------------------------- */

void keeper_retry_soon(struct heir_keeper *k)
{
    uint64_t ms = k->retry_ms != 0 ? k->retry_ms : 1;
    struct itimerspec when = {.it_value = {.tv_nsec = (long)ms * 1000000}};
    k->retry_ms = ms;
    timerfd_settime(k->timer_fd, 0, &when, NULL);
}

static void retry(struct heir_keeper *k)
{
    uint64_t expired, ms = k->retry_ms;

    if (read(k->timer_fd, &expired, sizeof expired) < 0)
        return;
    k->retry_ms = ms * 2 < RETRY_MOST_MS ? ms * 2 : RETRY_MOST_MS;
    ms = k->retry_ms;
    struct itimerspec off = {0}, now;
    timerfd_settime(k->timer_fd, 0, &off, NULL);
    death_retry(k);
    timerfd_gettime(k->timer_fd, &now);
    if (now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0)
        k->retry_ms = 0; /* nothing was put off again */
}

/* ---- The loop ----------------------------------------------------------------------------------------- */

static void dispatch(struct heir_keeper *k, uint64_t data)
{
    struct keeper_client *client;

    switch ((enum source)(data & 7)) {
    case SOURCE_LISTEN:
        connection_accept(k);
        break;
    case SOURCE_STOP:
        k->stopping = true;
        break;
    case SOURCE_TIMER:
        retry(k);
        break;
    case SOURCE_LEASE:
        lease_look(k);
        break;
    case SOURCE_CONNECTION:
        connection_receive(k, (struct connection *)(uintptr_t)(data & ~UINT64_C(7)));
        break;
    case SOURCE_PIDFD:
        client = client_by_id(k, data >> 3);
        if (client != NULL && client->pidfd >= 0) {
            epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, client->pidfd, NULL); /* it would go on telling */
            close(client->pidfd);
            client->pidfd = -1;
            death_proven(k, client);
        }
    }
}

static void *loop(void *arg)
{
    struct heir_keeper *k = arg;
    struct epoll_event events[64];

    fault_thread(true);
    while (!k->stopping) {
        int n = epoll_wait(k->epoll_fd, events, 64, -1);
        pthread_mutex_lock(&k->lock);
        death_conclude(k); /* so that the log tells first what was first */
        for (int i = 0; i < n && !k->stopping; i++)
            dispatch(k, events[i].data.u64);
        pthread_mutex_unlock(&k->lock);
    }
    return NULL;
}

/* ---- Starting and stopping ---------------------------------------------------------------------------- */

int keeper_take_namespace(struct heir_keeper *k)
{
    char name[SHM_NAME_ROOM];
    struct stat open_one, named;

    shm_name(name, k->ns, 'k', NULL);
    for (;;) {
        int fd = shm_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return -errno;
        k->space_fd = fd;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? -EBUSY : -errno;
        int again = shm_open(name, O_RDONLY | O_CLOEXEC,
                             0); /* a keeper that stopped just now may have removed what we opened */
        bool same =
            again >= 0 && fstat(fd, &open_one) == 0 && fstat(again, &named) == 0 && open_one.st_ino == named.st_ino;
        if (again >= 0)
            close(again);
        if (same)
            break;
        close(fd);
        k->space_fd = -1;
    }
    if (ftruncate(k->space_fd, SPACE_BYTES) < 0)
        return -errno;
    struct space_page *page = shm_map(k->space_fd, SPACE_BYTES, true);
    if (page == NULL)
        return -errno;
    k->space = page;
    int r = shm_populate(page, PAGE_BYTES);
    if (r < 0)
        return r;
    /* a keeper must start, also where memory is full */
    if (shm_populate(page + 1, SPACE_BYTES - PAGE_BYTES) == 0)
        k->journal = (struct journal_entry *)(page + 1);
    r = head_check(&page->head, SPACE_MAGIC, PAGE_BYTES, PAGE_BYTES);
    if (r == 0 && (get(&page->next_client) == 0 || get(&page->next_table) == 0))
        r = -EUCLEAN; /* 0 is the keeper's number, and nobody's */
    if (r < 0) {
        if (r == -EPROTONOSUPPORT)
            return r;
        k->fresh = true;
        memset(page, 0, k->journal != NULL ? SPACE_BYTES : PAGE_BYTES);
        head_init(&page->head, 0, geteuid(), getegid());
        set(&page->next_client, 1);
        set(&page->next_table, 1);
        set(&page->head.magic, SPACE_MAGIC);
    }
    set(&page->keeper_pid, (uint64_t)getpid());
    return 0;
}

static int make_folder(const char *socket)
{
    char folder[SOCKET_ROOM];

    strcpy(folder, socket);
    *strrchr(folder, '/') = '\0';
    if (mkdir(folder, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
        return -errno;
    return name_folder_safe(socket); /* somebody else's folder in /tmp must not become our door */
}

static int listen_at(struct heir_keeper *k, unsigned mode)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, k->socket, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* A socket file that nobody listens at was left by a keeper that was killed; one with a listener is another
     * namespace's. */
    int r = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN || errno == EINPROGRESS)
        r = -EBUSY;
    else if (errno == ECONNREFUSED)
        unlink(k->socket);
    close(fd);
    if (r < 0)
        return r;
    k->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (k->listen_fd < 0 || bind(k->listen_fd, (struct sockaddr *)&address, sizeof address) < 0)
        return errno == EADDRINUSE ? -EBUSY : -errno;
    k->bound = true;
    if (chmod(k->socket, mode != 0 ? mode : 0600) < 0 || listen(k->listen_fd, BACKLOG) < 0)
        return -errno;
    return 0;
}

static int close_fd(int *fd)
{
    int r = *fd >= 0 ? close(*fd) : 0;
    *fd = -1;
    return r;
}

/* Give back all that was taken; anything may be missing. */
static void tear_down(struct heir_keeper *k)
{
    struct keeper_table *t, *next_table;
    struct keeper_client *c, *next_client;
    struct connection *n, *next;
    struct order *o, *next_order;
    char name[SHM_NAME_ROOM];

    huge_stop(k);
    watchers_stop(k);
    fault_thread(true);
    death_conclude(k);
    if (k->bound)
        unlink(k->socket);
    close_fd(&k->listen_fd);
    cds_list_for_each_entry_safe(n, next, &k->connections, all) {
        user_close(n->user, n->fd);
        free(n);
    }
    cds_list_for_each_entry(c, &k->clients, all) {
        c->connection = NULL;
        reign_drop_claims(k, c);
    }
    bool empty = (k->adopted || k->fresh) && k->table_count == 0 && k->client_count == 0 && k->damaged == 0;
    cds_list_for_each_entry_safe(t, next_table, &k->tables, all) {
        pins_forget(t);
        table_forget(k, t);
    }
    cds_list_for_each_entry_safe(c, next_client, &k->clients, all)
        client_forget(k, c);
    cds_list_for_each_entry_safe(o, next_order, &k->orders, all)
        free(o);
    catalogue_free(k);
    fault_thread(false);
    if (k->space != NULL) {
        if (empty) { /* no number is remembered by anybody */
            shm_name(name, k->ns, 'k', NULL);
            shm_remove(name);
        }
        munmap(k->space, SPACE_BYTES);
    }
    close_fd(&k->space_fd);
    close_fd(&k->epoll_fd);
    close_fd(&k->stop_fd);
    close_fd(&k->timer_fd);
    close_fd(&k->lease_fd);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* ---- Forking ------------------------------------------------------------------------------------------ */

/* A child of a program with a keeper in it must not hold what the keeper holds: its lock on the namespace and its
 * sockets would outlive it, and no other could take over. */
static pthread_mutex_t running_lock = PTHREAD_MUTEX_INITIALIZER;
static CDS_LIST_HEAD(running);
static bool forks_watched;

static void before_fork(void)
{
    struct heir_keeper *k;
    pthread_mutex_lock(&running_lock);
    cds_list_for_each_entry(k, &running, running)
        pthread_mutex_lock(&k->lock);
}

static void after_fork_parent(void)
{
    struct heir_keeper *k;
    cds_list_for_each_entry(k, &running, running)
        pthread_mutex_unlock(&k->lock);
    pthread_mutex_unlock(&running_lock);
}

static void after_fork_child(void)
{
    struct heir_keeper *k;
    struct connection *c;
    cds_list_for_each_entry(k, &running, running) {
        close_fd(&k->space_fd); /* closing is not unlocking: the parent holds it still */
        close_fd(&k->listen_fd);
        close_fd(&k->epoll_fd);
        cds_list_for_each_entry(c, &k->connections, all)
            close_fd(&c->fd);
    }
    CDS_INIT_LIST_HEAD(&running);
    pthread_mutex_unlock(&running_lock);
}

static int note_running(struct heir_keeper *k)
{
    pthread_mutex_lock(&running_lock);
    bool ok = rcu_survive_forks() == 0; /* first: see there */
    ok = ok && (forks_watched || pthread_atfork(before_fork, after_fork_parent, after_fork_child) == 0);
    forks_watched = ok;
    if (ok)
        cds_list_add(&k->running, &running);
    pthread_mutex_unlock(&running_lock);
    return ok ? 0 : -ENOMEM;
}

static void note_stopped(struct heir_keeper *k)
{
    pthread_mutex_lock(&running_lock);
    cds_list_del(&k->running);
    pthread_mutex_unlock(&running_lock);
}

static bool kernel_has_waitv(void)
{
    return syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) == 0 || errno != ENOSYS;
}

static uint64_t or_default(uint64_t limit, uint64_t fallback)
{
    return limit != 0 ? limit : fallback;
}

static void set_limits(struct heir_keeper *k, const struct heir_keeper_options *o)
{
    struct rlimit files;

    k->clients_per_uid = or_default(o->clients_per_uid, 1000);
    k->tables_per_uid = or_default(o->tables_per_uid, 10000);
    k->bytes_per_uid = or_default(o->bytes_per_uid, UINT64_MAX);
    k->descriptors = INT_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < INT_MAX)
        k->descriptors =
            (int)(files.rlim_cur - (files.rlim_cur / 4 < DESCRIPTORS_KEPT ? files.rlim_cur / 4 : DESCRIPTORS_KEPT));
}

static int start(struct heir_keeper *k, const struct heir_keeper_options *o)
{
    bool folder;
    int r;

    for (size_t i = 0; i < sizeof o->reserved / sizeof *o->reserved; i++) {
        if (o->reserved[i] != 0)
            return -EINVAL;
    }
    if ((o->socket_mode & ~0777u) != 0)
        return -EINVAL;
    set_limits(k, o);
    if ((r = fault_guard()) < 0)
        return r;
    if ((r = name_space(o->ns, k->ns)) < 0 || (r = name_socket(o->socket, k->ns, k->socket, &folder)) < 0)
        return r;
    if (!kernel_has_waitv())
        return -ENOSYS;
    if ((r = catalogue_init(k)) < 0 || (r = keeper_take_namespace(k)) < 0)
        return r;
    if (folder && (r = make_folder(k->socket)) < 0)
        return r;
    k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    k->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    k->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    k->lease_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (k->epoll_fd < 0 || k->stop_fd < 0 || k->timer_fd < 0 || k->lease_fd < 0)
        return -errno;
    if ((r = listen_at(k, o->socket_mode)) < 0)
        return r;
    if ((r = keeper_poll(k, k->listen_fd, SOURCE_LISTEN, 0)) < 0 ||
        (r = keeper_poll(k, k->stop_fd, SOURCE_STOP, 0)) < 0 ||
        (r = keeper_poll(k, k->timer_fd, SOURCE_TIMER, 0)) < 0 ||
        (r = keeper_poll(k, k->lease_fd, SOURCE_LEASE, 0)) < 0)
        return r;
    fault_thread(true);
    pthread_mutex_lock(&k->lock);
    journal_keeper(k, true);
    if (o->purge)
        r = purge_all(k);
    if (r == 0)
        r = adopt_all(k);
    pthread_mutex_unlock(&k->lock);
    fault_thread(false);
    if (r < 0 || (!o->no_huge_pages && (r = huge_start(k)) < 0))
        return r;
    return -pthread_create(&k->loop, NULL, loop, k);
}

int heir_keeper_start(const struct heir_keeper_options *options, struct heir_keeper **keeper)
{
    static const struct heir_keeper_options none;
    const struct heir_keeper_options *o = options != NULL ? options : &none;

    if (keeper == NULL)
        return -EINVAL;
    *keeper = NULL;
    struct heir_keeper *k = calloc(1, sizeof *k);
    if (k == NULL)
        return -ENOMEM;
    k->log = o->log;
    k->log_arg = o->log_arg;
    k->started_ns = clock_mono_ns();
    k->space_fd = k->listen_fd = k->epoll_fd = k->stop_fd = k->timer_fd = k->lease_fd = -1;
    pthread_mutex_init(&k->lock, NULL);
    CDS_INIT_LIST_HEAD(&k->tables);
    CDS_INIT_LIST_HEAD(&k->clients);
    CDS_INIT_LIST_HEAD(&k->connections);
    CDS_INIT_LIST_HEAD(&k->watchers);
    CDS_INIT_LIST_HEAD(&k->retired);
    CDS_INIT_LIST_HEAD(&k->unsettled);
    CDS_INIT_LIST_HEAD(&k->dying);
    CDS_INIT_LIST_HEAD(&k->settled);
    CDS_INIT_LIST_HEAD(&k->waited);
    for (unsigned i = 0; i < LEASE_CLASSES; i++)
        CDS_INIT_LIST_HEAD(&k->leases[i].tables);
    CDS_INIT_LIST_HEAD(&k->orders);
    int r = start(k, o);
    if (r < 0) {
        tear_down(k);
        return r;
    }
    if ((r = note_running(k)) < 0) {
        k->running.next = NULL;
        heir_keeper_stop(k);
        return r;
    }
    *keeper = k;
    return 0;
}

void heir_keeper_stop(struct heir_keeper *k)
{
    uint64_t one = 1;

    if (k == NULL)
        return;
    if (k->running.next != NULL)
        note_stopped(k);
    while (write(k->stop_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_join(k->loop, NULL);
    pthread_mutex_lock(&k->lock);
    journal_keeper(k, false);
    pthread_mutex_unlock(&k->lock);
    tear_down(k);
}
