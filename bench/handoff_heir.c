/* SPDX-License-Identifier: MIT */
/*
 * How long does libheir take to change a table's owner: claimed, given, or left behind by a killed process?
 *
 * Every owner adds 1 to the table's number: so the number tells how many owners there were, and each can tell that
 * nothing before it was lost or done twice. Every change of owner must have its event, once, and raise the epoch.
 */
#include "handoff.h"

#include <errno.h>
#include <heir/inspect.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NUMBER     "n"
#define TIMEOUT_MS 30000
#define SPIN_US    10000000 /* longer than anybody waits */

static const struct heir_table_options table_options = {.max_bytes = 4 << 20};

/* The one event that must have come, and no other. */
static int one_event(struct heir *client, struct heir_event *event)
{
    if (check(heir_wait(client, TIMEOUT_MS, event), "heir_wait") < 0)
        return -1;
    return event->type == HEIR_EVENT_TRANSFER ? 0 : fail("an event of type %d instead of a transfer", event->type);
}

static int no_event(struct heir *client)
{
    struct heir_event event;
    int r = heir_wait(client, 0, &event);

    return r == -ETIMEDOUT ? 0
                           : fail("an event too many (heir_wait: %d, type %d, epoch %llu)", r, r ? 0 : event.type,
                                  r ? 0ull : (unsigned long long)event.epoch);
}

/* ---- Holding many tables ------------------------------------------------------------------------------ */

static const struct heir_table_options held_options = {.max_bytes = HEIR_TABLE_MIN};

static int claim_held(struct heir *client, unsigned i, struct heir_table **table)
{
    struct heir_event event;
    char name[32];

    snprintf(name, sizeof name, "held-%u", i);
    if (check(heir_claim(client, name, &held_options, TIMEOUT_MS, table), "heir_claim") < 0)
        return -1;
    while (heir_wait(client, 0, &event) == 0) { /* none for the one that has created it */
    }
    return 0;
}

/* The tables that an owner has beside the one that is measured: they are the keeper's in between, and stay. */
static int hold(struct heir *client, const struct measure *m)
{
    struct heir_table *table;

    for (unsigned i = 1; i < m->tables; i++)
        if (claim_held(client, i, &table) < 0)
            return -1;
    return 0;
}

struct held {
    uint64_t all, keepers, last_ns;
};

static int look(const struct heir_info *info, int error, void *arg)
{
    struct held *held = arg;

    if (error || strncmp(info->name, "held-", 5) != 0)
        return 0;
    held->all++;
    held->keepers += info->owner == HEIR_KEEPER;
    if (info->since_ns > held->last_ns)
        held->last_ns = info->since_ns;
    return 0;
}

/* Until those that the killed one held are the keeper's; and when the last one was. */
static int await_held(struct handoff *h, const struct measure *m, uint64_t *last_ns)
{
    uint64_t deadline = now_ns() + TIMEOUT_MS * UINT64_C(1000000);
    struct held held;

    do {
        usleep(20000); /* looking at thousands of tables costs the keeper a core */
        held = (struct held){0};
        if (check(heir_inspect_tables(h->world->ns, look, &held), "heir_inspect_tables") < 0)
            return -1;
    } while (held.keepers < held.all && now_ns() < deadline);
    *last_ns = held.last_ns;
    if (held.keepers == held.all && held.all >= m->tables - 1)
        return 0;
    return fail("NOT CONSERVED: the owner of %u tables was killed: there are %llu, %llu of them the keeper's",
                m->tables, (unsigned long long)held.all + 1, (unsigned long long)held.keepers + 1);
}

int destroy_held(struct handoff *h)
{
    struct heir_table *table;

    for (unsigned i = 1; i < h->held; i++)
        if (claim_held(h->client, i, &table) < 0 || check(heir_destroy(table), "heir_destroy") < 0)
            return fail("NOT CONSERVED: table %u of %u", i, h->held);
    return 0;
}

/* ---- Claim and release -------------------------------------------------------------------------------- */

int run_claim(struct handoff *h, const struct measure *m, unsigned n)
{
    struct heir_table *table;
    struct heir_event event;
    struct heir_info info;
    uint64_t began, claimed;
    int64_t number = 0;

    if (check(heir_create(h->client, "claim", &table_options, &table), "heir_create") < 0 ||
        check(heir_release(table), "heir_release") < 0)
        return -1;
    for (unsigned i = 0; i < n; i++) {
        pass_time(m, h->pause_ns);
        began = now_ns();
        if (check(heir_claim(h->client, "claim", NULL, TIMEOUT_MS, &table), "heir_claim") < 0)
            return -1;
        claimed = now_ns() - began;
        if (check(heir_add(table, NUMBER, sizeof NUMBER, 1, &number), "heir_add") < 0 ||
            one_event(h->client, &event) < 0)
            return -1;
        began = now_ns();
        if (check(heir_release(table), "heir_release") < 0)
            return -1;
        series_add(&m->first->us, (double)(claimed + now_ns() - began) / 1e3);
        h->transfers += 2;
    }
    /* Epoch 1 was the creation's, 2 the first release's. */
    if (check(heir_info(table, &info), "heir_info") < 0 || no_event(h->client) < 0)
        return -1;
    if (info.epoch != 2 + 2 * (uint64_t)n || info.owner != HEIR_KEEPER || number != n)
        return fail("NOT CONSERVED: %u claims and releases: epoch %llu, number %lld", n, (unsigned long long)info.epoch,
                    (long long)number);
    if (check(heir_claim(h->client, "claim", NULL, TIMEOUT_MS, &table), "heir_claim") < 0 ||
        one_event(h->client, &event) < 0)
        return -1;
    return check(heir_destroy(table), "heir_destroy");
}

/* ---- Give --------------------------------------------------------------------------------------------- */

/* Takes the table, adds 1, notes the time, and checks that it is what the giver left. */
static int take_gift(struct heir *client, uint64_t turn, struct heir_table **table, uint64_t *written)
{
    struct heir_event event;
    int64_t number;

    if (one_event(client, &event) < 0 || check(heir_add(event.table, NUMBER, sizeof NUMBER, 1, &number), "heir_add"))
        return -1;
    *written = now_ns();
    *table = event.table;
    if (event.reason != HEIR_GIVEN || event.epoch != turn + 1 || number != (int64_t)turn)
        return fail("NOT CONSERVED: gift %llu came with reason %d, epoch %llu, number %lld", (unsigned long long)turn,
                    event.reason, (unsigned long long)event.epoch, (long long)number);
    return 0;
}

bool give_keeper_possible(void)
{
    return geteuid() == 0;
}

static int open_side(struct handoff *h, int kind, const char *role, struct heir **client)
{
    return world_open_spinning(h->world, role, kind == GIVE_SPIN || kind == GIVE_SPIN_RESTED ? SPIN_US : 0, client);
}

static uint64_t give_pause(const struct handoff *h, const struct measure *m)
{
    return m->kind == GIVE_SPIN ? spin_pause(h) : h->pause_ns;
}

static void receiver(struct handoff *h, const struct measure *m, uint64_t giver, unsigned n)
{
    struct board *board = h->board;
    struct heir_table *table;
    struct heir *client;
    uint64_t written;
    int r;

    stay(RECEIVER);
    if ((m->kind == GIVE_KEEPER && setegid(getegid() + 1) < 0) || open_side(h, m->kind, "receiver", &client) < 0)
        child_fail(board, "receiver");
    atomic_store(&board->id, heir_id(client));
    announce(&board->ready, 1);
    for (uint32_t step = 1; step <= n; step++) {
        if (take_gift(client, 2 * step - 1, &table, &written) < 0)
            child_fail(board, "receiver");
        atomic_store(&board->written, written);
        announce(&board->answer, step);
        pass_time(m, give_pause(h, m));
        atomic_store(&board->began, now_ns());
        if ((r = heir_give_away(table, giver, NULL, 0)) < 0)
            child_fail(board, "heir_give_away: %s", heir_strerror(r));
        if (await_answer(board, m, &board->call, step) < 0)
            _exit(1);
    }
    if (no_event(client) < 0 || heir_close(client) < 0)
        child_fail(board, "receiver");
    _exit(0);
}

int run_give(struct handoff *h, const struct measure *m, unsigned n)
{
    struct board *board = h->board;
    struct heir_table *table;
    struct heir *giver;
    uint64_t began, written;
    struct heir_info info;
    pid_t pid;

    n = m->second ? n : (n + 1) / 2; /* there and back are two samples */
    board_reset(board);
    if (open_side(h, m->kind, "giver", &giver) < 0 || hold(giver, m) < 0 ||
        check(heir_create(giver, "give", &table_options, &table), "heir_create") < 0)
        return -1;
    if ((pid = world_fork()) == 0)
        receiver(h, m, heir_id(giver), n);
    stay(GIVER);
    if (pid < 0 || await(board, &board->ready, 1, SLEEPING) < 0)
        return -1;
    for (uint32_t step = 1; step <= n; step++) {
        pass_time(m, give_pause(h, m));
        began = now_ns();
        if (check(heir_give_away(table, atomic_load(&board->id), NULL, 0), "heir_give_away") < 0 ||
            await_answer(board, m, &board->answer, step) < 0 || /* a giver goes on working, as in the floors */
            take_gift(giver, 2 * step, &table, &written) < 0)
            return -1;
        if (m->loaded)
            announce(&board->call, step);
        else
            atomic_store(&board->call, step);
        series_add(&m->first->us, (double)(atomic_load(&board->written) - began) / 1e3);
        series_add(m->second ? &m->second->us : &m->first->us, (double)(written - atomic_load(&board->began)) / 1e3);
        h->transfers += 2;
    }
    stay(ANYWHERE);
    if (check(heir_info(table, &info), "heir_info") < 0 || no_event(giver) < 0 || reap(pid, false) < 0)
        return -1;
    if (info.epoch != 1 + 2 * (uint64_t)n || info.owner != heir_id(giver))
        return fail("NOT CONSERVED: epoch %llu after %u gifts", (unsigned long long)info.epoch, 2 * n);
    if (check(heir_destroy(table), "heir_destroy") < 0)
        return -1;
    return check(heir_close(giver), "heir_close");
}

/* ---- Kill --------------------------------------------------------------------------------------------- */

/* Owns the table from the moment the one before it is dead, and waits to be killed in a transaction of its own. */
static void worker(struct handoff *h, const struct measure *m, uint32_t step)
{
    struct board *board = h->board;
    struct heir_event event = {0};
    struct heir_table *table;
    struct heir *client;
    int64_t number;
    uint64_t written;
    int r;

    occupy(board, step > m->samples ? 0 : m->resident_mib); /* the last one is not measured */
    if (world_open(h->world, "worker", &client) < 0)
        child_fail(board, "worker");
    announce(&board->armed, step);
    if ((r = heir_claim(client, "kill", &table_options, TIMEOUT_MS, &table)) < 0)
        child_fail(board, "heir_claim: %s", heir_strerror(r));
    if ((r = heir_add(table, NUMBER, sizeof NUMBER, 1, &number)) < 0)
        child_fail(board, "heir_add: %s", heir_strerror(r));
    written = now_ns();
    atomic_store(&board->written, written);
    announce(&board->answer, step);
    if (number != step)
        child_fail(board, "NOT CONSERVED: owner %u finds the number %lld", step, (long long)number);
    if (step > 1 && one_event(client, &event) < 0)
        child_fail(board, "worker");
    if (no_event(client) < 0)
        child_fail(board, "worker");
    if (step > 1 && event.undone != m->changes)
        child_fail(board, "NOT CONSERVED: %u changes were open, %llu undone", m->changes,
                   (unsigned long long)event.undone);
    atomic_store(&board->epoch, step > 1 ? event.epoch : 1);
    if (hold(client, m) < 0)
        child_fail(board, "worker");
    if (m->changes && (r = heir_begin(table)) < 0)
        child_fail(board, "heir_begin: %s", heir_strerror(r));
    for (unsigned i = 0; i < m->changes; i++)
        if ((r = heir_put(table, &i, sizeof i, &number, sizeof number)) < 0)
            child_fail(board, "heir_put: %s", heir_strerror(r));
    announce(&board->ready, step);
    for (;;)
        pause();
}

static pid_t start_worker(struct handoff *h, const struct measure *m, uint32_t step)
{
    pid_t pid = world_fork();

    if (pid == 0)
        worker(h, m, step);
    return pid;
}

/* Until the table's owner is the keeper, as seen from outside: looking all the time, or now and then. */
static int await_keeper(struct heir_table *table, bool watched, struct heir_info *info)
{
    uint64_t deadline = now_ns() + TIMEOUT_MS * UINT64_C(1000000);

    do {
        if (watched)
            sched_yield();
        else
            usleep(500);
        if (check(heir_info(table, info), "heir_info") < 0)
            return -1;
    } while (info->owner != HEIR_KEEPER && now_ns() < deadline);
    return info->owner == HEIR_KEEPER ? 0 : fail("the keeper has not taken the table of a killed owner");
}

static int await_claim(struct heir_table *table)
{
    uint64_t deadline = now_ns() + TIMEOUT_MS * UINT64_C(1000000);
    struct heir_info info = {0};

    while (check(heir_info(table, &info), "heir_info") == 0 && !info.waiting && now_ns() < deadline)
        usleep(50);
    return info.waiting ? 0 : fail("the keeper has not noted a waiting claim");
}

/* The last owner is dead or about to be: take the table back, look at it once more, and remove it. */
static int end_kills(struct handoff *h, const struct measure *m, struct heir_table *table, pid_t pid, uint32_t owners)
{
    struct heir_info info;
    struct heir_event event;
    int64_t number = 0;
    size_t size = sizeof number;

    kill(pid, SIGKILL);
    if (reap(pid, true) < 0 || await_keeper(table, false, &info) < 0 ||
        check(heir_claim(h->client, "kill", NULL, TIMEOUT_MS, &table), "heir_claim") < 0 ||
        one_event(h->client, &event) < 0 || no_event(h->client) < 0 ||
        check(heir_get(table, NUMBER, sizeof NUMBER, &number, &size), "heir_get") < 0 ||
        check(heir_info(table, &info), "heir_info") < 0)
        return -1;
    h->kills++;
    h->transfers += 2;
    if (number != owners || event.undone != m->changes || event.epoch != info.epoch || info.objects != 1)
        return fail(
            "NOT CONSERVED: %u owners: number %lld, %llu objects, %llu undone, epoch %llu in the event and %llu",
            owners, (long long)number, (unsigned long long)info.objects, (unsigned long long)event.undone,
            (unsigned long long)event.epoch, (unsigned long long)info.epoch);
    return check(heir_destroy(table), "heir_destroy");
}

/*
 * One kill: the time until the keeper owned. Not watched, nobody but the dying process and the keeper runs, and the
 * time is the one that the keeper noted in the table: it is believed only if it lies between the kill and the moment in
 * which it is read.
 */
static int kill_owner(struct handoff *h, const struct measure *m, struct heir_table *table, pid_t pid,
                      struct heir_info *info, double *us)
{
    uint64_t began = now_ns(), began_real = real_ns(), ended, ended_real, last_ns;

    kill(pid, SIGKILL);
    if (await_keeper(table, m->watched, info) < 0)
        return -1;
    ended = now_ns();
    ended_real = real_ns();
    *us = (double)(ended - began) / 1e3;
    if (m->watched)
        return 0;
    if (info->since_ns < began_real || info->since_ns > ended_real)
        return fail("the keeper's time of the change of owner is not between the kill and now");
    *us = (double)(info->since_ns - began_real) / 1e3;
    if (m->tables < 2)
        return 0;
    if (await_held(h, m, &last_ns) < 0)
        return -1;
    if (last_ns > info->since_ns)
        *us = (double)(last_ns - began_real) / 1e3;
    return 0;
}

/* The owner to be killed first, and the table. Its pid, or -1. */
static pid_t first_worker(struct handoff *h, const struct measure *m, struct heir_table **table)
{
    board_reset(h->board);
    pid_t pid = start_worker(h, m, 1);
    if (pid < 0 || await(h->board, &h->board->ready, 1, SLEEPING) < 0 ||
        check(heir_attach(h->client, "kill", table), "heir_attach") < 0)
        return -1;
    return pid;
}

int run_kill_keeper(struct handoff *h, const struct measure *m, unsigned n)
{
    struct board *board = h->board;
    struct heir_table *table = NULL;
    struct heir_info info;
    uint64_t epoch;
    double us;
    pid_t pid;

    pid = first_worker(h, m, &table);
    if (pid < 0)
        return -1;
    for (uint32_t step = 1; step <= n; step++) {
        epoch = atomic_load(&board->epoch);
        rest(m);
        if (kill_owner(h, m, table, pid, &info, &us) < 0)
            return -1;
        series_add(&m->first->us, us);
        if (info.epoch != epoch + 1)
            return fail("NOT CONSERVED: epoch %llu after %llu", (unsigned long long)info.epoch,
                        (unsigned long long)epoch);
        h->kills++;
        h->transfers += 2;
        if (reap(pid, true) < 0)
            return -1;
        pid = start_worker(h, m, step + 1);
        if (pid < 0 || await(board, &board->ready, step + 1, SLEEPING) < 0)
            return -1;
        if (atomic_load(&board->epoch) != epoch + 2)
            return fail("NOT CONSERVED: a claim of epoch %llu after %llu",
                        (unsigned long long)atomic_load(&board->epoch), (unsigned long long)epoch + 1);
    }
    return end_kills(h, m, table, pid, n + 1);
}

int run_kill_claimant(struct handoff *h, const struct measure *m, unsigned n)
{
    struct board *board = h->board;
    struct heir_table *table = NULL;
    uint64_t began, epoch;
    pid_t pid, next;

    pid = first_worker(h, m, &table);
    if (pid < 0)
        return -1;
    for (uint32_t step = 1; step <= n; step++) {
        epoch = atomic_load(&board->epoch);
        next = start_worker(h, m, step + 1);
        if (next < 0 || await(board, &board->armed, step + 1, SLEEPING) < 0 || await_claim(table) < 0)
            return -1;
        rest(m);
        began = now_ns();
        kill(pid, SIGKILL);
        if (await(board, &board->answer, step + 1, SLEEPING) < 0)
            return -1;
        series_add(&m->first->us, (double)(atomic_load(&board->written) - began) / 1e3);
        h->kills++;
        h->transfers++;
        if (reap(pid, true) < 0 || await(board, &board->ready, step + 1, SLEEPING) < 0)
            return -1;
        /* The keeper may own it for a moment in between, or hand it on in one step. */
        if (atomic_load(&board->epoch) - epoch - 1 > 1)
            return fail("NOT CONSERVED: a claim of epoch %llu after %llu",
                        (unsigned long long)atomic_load(&board->epoch), (unsigned long long)epoch);
        pid = next;
    }
    return end_kills(h, m, table, pid, n + 1);
}
