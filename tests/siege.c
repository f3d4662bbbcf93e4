/* SPDX-License-Identifier: MIT */
/*
 * Ownership under siege: workers, standbys, givers and the keeper are killed at random, all the time, while tables go
 * from hand to hand in every way there is. A ledger in memory that they share says, table by table, who may have what:
 *
 *  - an increment's result is new: nobody has had it before (there are not two owners), and it is more than what was
 *    known to be committed when it began (nothing that was committed is lost);
 *  - at the end the counter is at least what is known to be committed, and at most what has been tried;
 *  - an epoch is told at most once, and to nobody who does not own the table in it;
 *  - nobody writes in an epoch of another: also not who was stopped (SIGSTOP), and lost the table meanwhile;
 *  - in the end every table can be claimed, is whole (heir_check), and nothing is left behind.
 *
 * HEIR_TEST_SECONDS=3600 makes it an hour.
 */
#include "support.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TABLES = 6,
    ACTORS = 6,       /* the last two bear the heirs' role */
    VALUES = 1 << 24, /* of a counter, that can be told apart */
    EPOCHS = 1 << 20
};

enum act { ADD, TRANSACTION, GIVE, CLAIM, RELEASE, SET_HEIR, SNAPSHOT, READ, ACTS };
static const char *const act_text[ACTS] = {"adds",     "transactions", "gifts",     "claims",
                                           "releases", "new heirs",    "snapshots", "reads"};

static struct board {
    _Atomic uint32_t stop;
    _Atomic uint64_t id[ACTORS];
    _Atomic uint64_t done[ACTS];
    _Atomic uint64_t events, refused;
    struct {
        _Atomic uint64_t known; /* committed */
        _Atomic uint64_t tried; /* increments begun */
        _Atomic uint8_t had[VALUES / 8], told[EPOCHS / 8];
    } table[TABLES];
    _Atomic uint32_t problems;
    char problem[256];
} * board;

static void problem(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void problem(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (atomic_fetch_add(&board->problems, 1) == 0)
        vsnprintf(board->problem, sizeof board->problem, format, args);
    va_end(args);
}

static bool mark(_Atomic uint8_t *bits, uint64_t n)
{
    return (atomic_fetch_or(&bits[n / 8], (uint8_t)(1u << n % 8)) & 1u << n % 8) == 0;
}

static void raise_known(unsigned n, uint64_t value)
{
    uint64_t known = board->table[n].known;
    while (known < value && !atomic_compare_exchange_weak(&board->table[n].known, &known, value)) {
    }
}

/* ---- An actor ----------------------------------------------------------------------------------------- */

struct actor {
    struct heir *me;
    struct heir_table *table[TABLES];
    struct rnd rnd;
    unsigned number;
};

static const char *table_name(unsigned n)
{
    static char name[8];
    snprintf(name, sizeof name, "t%u", n);
    return name;
}

static int number_of(const char *name)
{
    return name[0] == 't' && name[1] >= '0' && name[1] < '0' + TABLES ? name[1] - '0' : -1;
}

static void listen(struct actor *a, int timeout_ms)
{
    struct heir_event event;

    while (heir_wait(a->me, timeout_ms, &event) == 0) {
        int n = number_of(event.name);
        timeout_ms = 0;
        if (event.type != HEIR_EVENT_TRANSFER || n < 0)
            continue;
        board->events++;
        a->table[n] = event.table;
        struct heir_info now = {0};
        if (heir_info(event.table, &now) == 0 && now.epoch == event.epoch && now.owner != heir_id(a->me))
            problem("t%d: epoch %lu was told to client %lu, and is client %lu's", n, (unsigned long)event.epoch,
                    (unsigned long)heir_id(a->me), (unsigned long)now.owner);
        if (event.epoch < EPOCHS && !mark(board->table[n].told, event.epoch))
            problem("t%d: epoch %lu was told twice", n, (unsigned long)event.epoch);
    }
}

static void committed(unsigned n, uint64_t before, int64_t value)
{
    if ((uint64_t)value <= before)
        problem("t%u: an increment made it %ld, and %lu was committed before it began", n, (long)value,
                (unsigned long)before);
    if (value < VALUES && !mark(board->table[n].had, (uint64_t)value))
        problem("t%u: two have made it %ld", n, (long)value);
    raise_known(n, (uint64_t)value);
}

static int add(struct actor *a, unsigned n)
{
    uint64_t before = board->table[n].known, me = heir_id(a->me);
    struct heir_info first = {0}, then = {0};
    int64_t value;

    board->table[n].tried++;
    heir_info(a->table[n], &first);
    int rc = heir_add(a->table[n], "n", 1, 1, &value);
    heir_info(a->table[n], &then);
    if (rc == 0 && first.owner != me && then.owner != me && first.epoch == then.epoch)
        problem("t%u: client %lu has written in epoch %lu, which is client %lu's", n, (unsigned long)me,
                (unsigned long)then.epoch, (unsigned long)then.owner);
    if (rc == 0)
        committed(n, before, value);
    return rc;
}

/* Several at once, or none. */
static int transact(struct actor *a, unsigned n)
{
    uint64_t before = board->table[n].known, count = 1 + rnd_below(&a->rnd, 20);
    bool give_up = rnd_below(&a->rnd, 4) == 0;
    int64_t value = 0;
    int rc = heir_begin(a->table[n]);

    if (rc != 0)
        return rc;
    board->table[n].tried += count;
    for (uint64_t i = 0; rc == 0 && i < count; i++)
        rc = heir_add(a->table[n], "n", 1, 1, &value);
    if (rc != 0 || give_up) {
        heir_abort(a->table[n]);
        return rc;
    }
    rc = heir_commit(a->table[n]);
    if (rc == 0)
        committed(n, before, value);
    return rc;
}

static int claim(struct actor *a, unsigned n)
{
    static const int waits[] = {0, 1, 20, 100};
    const char *heir = rnd_below(&a->rnd, 2) == 0 ? "standby" : NULL;
    const struct heir_table_options options = {.max_bytes = 1 << 20, .heir = heir};
    struct heir_table *t;
    int rc = heir_claim(a->me, table_name(n), &options, waits[rnd_below(&a->rnd, 4)], &t);
    if (rc == 0)
        a->table[n] = t;
    return rc;
}

static int read_it(struct actor *a, unsigned n)
{
    uint64_t before = board->table[n].known;
    int64_t value = 0;
    size_t len = sizeof value;

    if (a->table[n] == NULL) {
        int rc = heir_attach(a->me, table_name(n), &a->table[n]);
        if (rc != 0)
            return rc;
    }
    int rc = heir_get(a->table[n], "n", 1, &value, &len);
    if (rc == 0 && (uint64_t)value < before)
        problem("t%u: %ld was read after %lu was committed", n, (long)value, (unsigned long)before);
    return rc;
}

static int snapshot(struct actor *a, unsigned n)
{
    struct heir_snapshot *s;
    int rc = heir_snapshot_open(a->table[n], &s);
    if (rc == 0)
        heir_snapshot_close(s);
    return rc;
}

static int do_it(struct actor *a, enum act act, unsigned n)
{
    if (act == CLAIM)
        return claim(a, n);
    if (act == READ)
        return read_it(a, n);
    if (a->table[n] == NULL)
        return -ENOENT;
    switch (act) {
    case ADD:
        return add(a, n);
    case TRANSACTION:
        return transact(a, n);
    case GIVE:
        return heir_give_away(a->table[n], board->id[rnd_below(&a->rnd, ACTORS)], "x", 1);
    case RELEASE:
        return heir_release(a->table[n]);
    case SET_HEIR:
        return heir_set_heir(a->table[n], rnd_below(&a->rnd, 2) == 0 ? "standby" : NULL, NULL, 0);
    case SNAPSHOT:
        return snapshot(a, n);
    default:
        return -EINVAL;
    }
}

static void live(unsigned number, uint64_t seed)
{
    /* how often, of a hundred */
    static const unsigned often[ACTS] = {[ADD] = 50,    [TRANSACTION] = 10, [GIVE] = 14,    [CLAIM] = 14,
                                         [RELEASE] = 4, [SET_HEIR] = 2,     [SNAPSHOT] = 2, [READ] = 4};
    struct actor a = {.rnd = {seed}, .number = number};
    char role[16];

    snprintf(role, sizeof role, number < ACTORS - 2 ? "w%u" : "standby", number);
    if (heir_open(
            &(struct heir_open_options){.name = role, .timeout_ms = PATIENCE, .spin_us = number % 2 != 0 ? 20 : 0},
            &a.me) != 0)
        _exit(1);
    board->id[number] = heir_id(a.me);
    while (board->stop == 0) {
        unsigned dice = (unsigned)rnd_below(&a.rnd, 100), act = 0;
        while (dice >= often[act])
            dice -= often[act++];
        int rc = do_it(&a, (enum act)act, (unsigned)rnd_below(&a.rnd, TABLES));
        if (rc == 0)
            board->done[act]++;
        else if (rc == -ESTALE)
            board->refused++;
        else if (rc == -EUCLEAN)
            problem("%s: damaged", act_text[act]);
        listen(&a, 0);
    }
    listen(&a, 0);
    heir_close(a.me);
    _exit(0);
}

/* ---- The siege ---------------------------------------------------------------------------------------- */

static pid_t pid[ACTORS];
static unsigned long killed, stopped, keepers_killed;

static void enter(unsigned number, struct rnd *rnd)
{
    uint64_t seed = rnd_next(rnd);
    pid_t parent = getpid();
    fflush(NULL);
    pid[number] = fork();
    if (pid[number] != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() == parent)
        live(number, seed);
    _exit(1);
}

static void end(unsigned number)
{
    kill(pid[number], SIGKILL);
    waitpid(pid[number], NULL, 0);
    killed++;
}

static void besiege(struct rnd *rnd, double seconds)
{
    int64_t until = now_ms() + (int64_t)(seconds * 1000);
    while (now_ms() < until && board->problems == 0) {
        usleep((useconds_t)rnd_below(rnd, 12000));
        unsigned who = (unsigned)rnd_below(rnd, ACTORS), other = (unsigned)rnd_below(rnd, ACTORS);
        switch (rnd_below(rnd, 16)) {
        case 0:
            keeper_kill();
            keepers_killed++;
            if (rnd_below(rnd, 2) == 0 && other != who) { /* a death that nobody sees */
                end(other);
                enter(other, rnd);
            }
            REQUIRE_RC(keeper_start(NULL), 0);
            break;
        case 1:
        case 2: /* both at the same time */
            end(who);
            if (other != who)
                end(other);
            enter(who, rnd);
            if (other != who)
                enter(other, rnd);
            break;
        case 3:
        case 4: /* one that sleeps through it all */
            kill(pid[who], SIGSTOP);
            usleep((useconds_t)rnd_below(rnd, 20000));
            kill(pid[who], SIGCONT);
            stopped++;
            break;
        default:
            end(who);
            enter(who, rnd);
        }
    }
}

static void note_finding(unsigned law, const char *what, uint64_t where, void *arg)
{
    CHECK(false, "%s: K%u: %s (%lu)", (const char *)arg, law, what, (unsigned long)where);
}

/* What is left when all have gone. */
static void take_stock(unsigned n)
{
    struct heir *last = test_open("last");
    struct heir_table *t;
    int64_t value = 0;
    size_t len = sizeof value;

    int rc = heir_claim(last, table_name(n), NULL, patience(PATIENCE), &t);
    if (rc == -ENOENT && board->table[n].known == 0) { /* nobody has claimed it in all this time */
        test_close(last);
        return;
    }
    if (CHECK_RC(rc, 0)) {
        rc = heir_get(t, "n", 1, &value, &len);
        CHECK(rc == 0 || (rc == -ENOENT && board->table[n].known == 0), "t%u: %s", n, error_text(rc));
        CHECK((uint64_t)value >= board->table[n].known && (uint64_t)value <= board->table[n].tried,
              "t%u is %ld: known %lu, tried %lu", n, (long)value, (unsigned long)board->table[n].known,
              (unsigned long)board->table[n].tried);
        char name[8];
        snprintf(name, sizeof name, "t%u", n);
        heir_check(t, note_finding, name, NULL);
        CHECK_RC(heir_destroy(t), 0);
    }
    test_close(last);
}

static void under_siege(void)
{
    struct rnd rnd = {test_seed};

    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(board != MAP_FAILED);
    REQUIRE_RC(keeper_start(NULL), 0);
    for (unsigned i = 0; i < ACTORS; i++)
        enter(i, &rnd);
    besiege(&rnd, test_seconds(25));
    board->stop = 1;
    for (unsigned i = 0; i < ACTORS; i++) {
        int status = -1;
        waitpid(pid[i], &status, 0);
        CHECK(status == 0, "actor %u ended with status 0x%x", i, (unsigned)status);
    }
    CHECK(board->problems == 0, "%s (and %u more)", board->problem, board->problems);
    for (unsigned n = 0; n < TABLES; n++)
        take_stock(n);
    printf("(%lu killed, %lu stopped, %lu keepers; %lu events, %lu refused as former owners;", killed, stopped,
           keepers_killed, (unsigned long)board->events, (unsigned long)board->refused);
    for (unsigned i = 0; i < ACTS; i++) {
        if (board->done[i] != 0)
            printf(" %s %lu", act_text[i], (unsigned long)board->done[i]);
    }
    printf(") ");
    CHECK_EQ(shm_count("t."), 0);
    munmap(board, sizeof *board);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {{"under siege", under_siege}, {NULL, NULL}};
    static const struct test_suite suites[] = {{"siege", tests, NULL}, {NULL, NULL, NULL}};
    return test_main(argc, argv, suites);
}
