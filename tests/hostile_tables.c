/* SPDX-License-Identifier: MIT */
/* What a hostile owner can do to its table's memory and writer mutex, while the keeper works with it. */
#include "atomics.h"
#include "attacker.h"
#include "hostile.h"
#include "owner.h"
#include "robust.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUICKLY 100000000 /* for a second or so */
#define LARGE   (UINT64_C(16) << 20)

enum how {
    OWNER_WORD,
    TRANSFERS,
    SETTINGS,
    HORIZON,
    LEDGER,
    LOG,
    HEAD,
    LEASE,
    MUTEX_WORD,
    MUTEX_LIST,
    MUTEX_ALL,
    ANY_WORD,
    CUT_OFF,
    CUT_A_LARGE_ONE,
};

struct damage {
    enum how how;
    uint64_t bytes;
};

static _Atomic uint32_t *mutex_of(struct table_page *page)
{
    return (_Atomic uint32_t *)(void *)&page->writer;
}

static void fill(void *start, size_t bytes)
{
    for (size_t i = 0; i < bytes / 8; i++)
        set((word_t *)start + i, raw_nonsense());
}

static void damage(const struct raw_table *t, enum how how, uint64_t id)
{
    struct table_page *page = t->page;
    uint64_t committed;
    switch (how) {
    case OWNER_WORD: /* the keeper, itself, others that are, were, or never will be */
        set(&page->owner, owner_word(raw_nonsense() % 4 ? owner_epoch(get(&page->owner)) + 1 : raw_nonsense(),
                                     raw_nonsense() % 2 ? id : raw_nonsense() & OWNER_ID_MAX));
        break;
    case TRANSFERS:
        fill(page->transfers, sizeof page->transfers);
        break;
    case SETTINGS:
        fill(page->settings, sizeof page->settings);
        for (unsigned i = 0; i < QUICKLY; i++)
            atomic_fetch_add(&page->settings_version, 1);
        break;
    case HORIZON: /* every state that is asked for is about to be let go */
        for (unsigned i = 0; i < QUICKLY; i++) {
            committed = peek(&page->view.committed) + 1;
            set(&page->view.committed, committed);
            set(&page->ledger.next_horizon, committed);
        }
        break;
    case LEDGER:
        fill(&page->view, sizeof page->view);
        fill(&page->ledger, sizeof page->ledger);
        break;
    case LOG: /* a log without end */
        set(&page->ledger.log_floor, PAGE_BYTES);
        set(&page->ledger.log_count, (t->bytes - PAGE_BYTES) / sizeof(struct log_entry));
        set(&page->ledger.log_txn, get(&page->view.committed) + 1);
        break;
    case HEAD:
        fill(page, offsetof(struct table_page, owner));
        break;
    case LEASE:
        page->lease_ms = (uint32_t)raw_nonsense();
        set(&page->renewals, raw_nonsense());
        break;
    case MUTEX_WORD:
        atomic_store(mutex_of(page), (uint32_t)raw_nonsense());
        break;
    case MUTEX_LIST: /* glibc's pointers */
        for (unsigned i = 3; i < 5; i++)
            set((word_t *)(void *)&page->writer + i, raw_nonsense());
        break;
    case MUTEX_ALL:
        fill(&page->writer, sizeof page->writer);
        atomic_store(mutex_of(page), raw_nonsense() % 2 ? 0 : FUTEX_OWNER_DIED);
        break;
    case ANY_WORD:
        set((word_t *)(void *)page + raw_nonsense() % (PAGE_BYTES / 8), raw_nonsense());
        break;
    case CUT_OFF:
    case CUT_A_LARGE_ONE:
        if (ftruncate(t->fd, 0) < 0 || ftruncate(t->fd, (off_t)(raw_nonsense() % (2 * t->bytes))) < 0)
            return;
        break;
    }
}

/* What makes the keeper work with the table. Any answer is right. */
static void ask_for_much(const struct raw *me, const struct raw *other, const struct raw_table *t, const char *name)
{
    char renamed[40];
    snprintf(renamed, sizeof renamed, "%s.renamed", name);
    static const enum wire_type types[] = {WIRE_RELEASE, WIRE_CLAIM,    WIRE_PIN,     WIRE_SET_HEIR, WIRE_RENAME,
                                           WIRE_RENAME,  WIRE_UNPIN,    WIRE_ATTACH,  WIRE_OPEN,     WIRE_GIVE,
                                           WIRE_CLAIM,   WIRE_SET_HEIR, WIRE_RELEASE, WIRE_CLAIM};
    for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct wire_request q = raw_request(types[i], i == 4 ? renamed : name);
        const struct raw *asking = i == 10 ? other : me;
        q.table = t->id;
        q.id = q.head.type == WIRE_GIVE ? other->id : 0;
        q.flags = WIRE_NO_WAIT;
        strcpy(q.heir, "evil-other");
        if (raw_poke(asking->fd, &q) == -EPIPE)
            return;
    }
}

struct spinner {
    const struct raw_table *table;
    enum how how;
    uint64_t id;
};

static void *go_on_damaging(void *arg)
{
    const struct spinner *s = arg;
    for (;;)
        damage(s->table, s->how, s->id);
    return NULL;
}

/* Two processes: one dies as the owner, in the middle of a write; the other has the memory still, and goes on. */
static void life(const struct damage *d, unsigned number)
{
    struct raw me, other;
    struct raw_table table;
    struct spinner spinner = {&table, d->how, 0};
    pthread_t thread;
    char name[32];
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    signal(SIGBUS, SIG_DFL); /* its own memory is cut off, too */
    if (raw_open(&me, -1, "evil") < 0 || raw_open(&other, -1, "evil-other") < 0)
        _exit(1);
    snprintf(name, sizeof name, "evil-%u", number);
    if (raw_create(&me, name, d->bytes, HEIR_PROTECTED, &table) < 0)
        _exit(2);
    spinner.id = me.id;
    if (number % 3 != 0)
        pthread_create(&thread, NULL, go_on_damaging, &spinner);
    else if (d->how != SETTINGS && d->how != HORIZON)
        damage(&table, d->how, me.id);
    for (int64_t end = now_ms() + (number % 3 ? attack_ms() / 2 : 0); now_ms() <= end;)
        ask_for_much(&me, &other, &table, name);
    if (number % 2 == 0 && robust_try_apart(&table.page->writer.mutex) == 0 && d->how != SETTINGS && d->how != HORIZON)
        damage(&table, d->how, me.id);
    pid_t survivor = number % 3 == 2 ? fork() : -1;
    if (survivor == 0) { /* a mapping is not inherited */
        prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
        close(me.fd);
        close(other.fd);
        table.page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, table.fd, 0);
        for (int64_t end = now_ms() + attack_ms() / 2; now_ms() < end && table.page != MAP_FAILED;)
            damage(&table, d->how, me.id);
        _exit(0);
    }
    raise(SIGKILL);
}

static int live_and_die(struct agent_self *self, void *arg)
{
    const struct damage *d = arg;
    int64_t end = now_ms() + attack_ms();
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (unsigned number = 0; now_ms() < end || number < 6; number++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            life(d, number);
        self->answer.number = number;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || WIFEXITED(status))
            return -ECONNREFUSED;
    }
    while (waitpid(-1, NULL, 0) > 0) /* survivors */
        ;
    return 0;
}

static void attack_table(enum how how, uint64_t bytes)
{
    struct damage d = {how, bytes};
    under_attack(live_and_die, &d, sizeof d);
}

#define TABLE_TEST(name, how, bytes)                                                                                   \
    static void name(void)                                                                                             \
    {                                                                                                                  \
        attack_table(how, bytes);                                                                                      \
    }
TABLE_TEST(owner_word_of_any, OWNER_WORD, HEIR_TABLE_MIN)
TABLE_TEST(transfer_records, TRANSFERS, HEIR_TABLE_MIN)
TABLE_TEST(settings_that_change, SETTINGS, HEIR_TABLE_MIN)
TABLE_TEST(horizon_that_moves, HORIZON, HEIR_TABLE_MIN)
TABLE_TEST(ledger_of_nonsense, LEDGER, LARGE)
TABLE_TEST(log_without_end, LOG, HEIR_TABLE_MAX)
TABLE_TEST(head_of_nonsense, HEAD, LARGE)
TABLE_TEST(lease_that_changes, LEASE, HEIR_TABLE_MIN)
TABLE_TEST(mutex_word, MUTEX_WORD, HEIR_TABLE_MIN)
TABLE_TEST(mutex_list, MUTEX_LIST, HEIR_TABLE_MIN)
TABLE_TEST(mutex_of_nonsense, MUTEX_ALL, HEIR_TABLE_MIN)
TABLE_TEST(any_word, ANY_WORD, LARGE)
TABLE_TEST(cut_off, CUT_OFF, HEIR_TABLE_MIN)
TABLE_TEST(cut_large, CUT_A_LARGE_ONE, LARGE)

/* ---- Cut off, and left alone ---------------------------------------------------------------------------- */

/* Nobody asks for anything: the keeper's other threads are the first to see it. */
static int cut_and_wait(struct agent_self *self, void *arg)
{
    static struct raw me, other;
    static struct raw_table table;
    struct wire_request q = raw_request(WIRE_CLAIM, "evil");
    (void)arg;
    int r = raw_open(&me, -1, "evil");
    if (r == 0)
        r = raw_open(&other, -1, "evil-other");
    if (r == 0)
        r = raw_create(&me, "evil", LARGE, HEIR_PROTECTED, &table);
    if (r == 0 && (r = raw_ask(other.fd, &q, -1, NULL, NULL)) == -EINPROGRESS)
        r = 0;
    if (r == 0 && (ftruncate(table.fd, 0) < 0 || ftruncate(me.page_fd, 0) < 0))
        r = -errno;
    self->answer.number = me.id;
    return r;
}

static void cut_and_left_alone(void)
{
    for (int wait = 0; wait < 2; wait++) {
        REQUIRE_EQ(keeper_start(NULL), 0);
        struct agent *attacker = agent_new(NULL);
        CHECK_RC(agent_call(attacker, cut_and_wait, NULL, 0), 0);
        if (wait) /* for the thread that makes huge pages, which looks four times a second */
            nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL);
        CHECK_EQ(keeper_stop(), 0);
        agent_kill(attacker);
    }
}

/* ---- Growth that is none -------------------------------------------------------------------------------- */

#define GROWING (UINT64_C(512) << 20)

/* Pages: how far the memory of the table goes, and how much of it is in use. */
static const struct growth {
    uint64_t limit, used;
} growths[] = {
    {UINT64_C(1) << 52, GROWING / PAGE_BYTES - 1000}, /* 0 when it is turned to bytes; the next one is half of it */
    {(UINT64_C(1) << 52) + GROWING / PAGE_BYTES / 2, GROWING / PAGE_BYTES - 1000},
    {GROWING / PAGE_BYTES / 2, UINT64_C(1) << 52},
    {UINT64_MAX, UINT64_MAX},
};

static int seem_to_grow(struct agent_self *self, void *arg)
{
    static struct raw me;
    static struct raw_table table;
    unsigned which = *(unsigned *)arg;
    const struct growth *g = &growths[which];
    char name[32];
    struct stat st;
    int r = raw_open(&me, -1, "evil");

    snprintf(name, sizeof name, "growing-%u", which);
    if (r == 0)
        r = raw_create(&me, name, GROWING, HEIR_PROTECTED, &table);
    if (r < 0)
        return r;
    set(&table.page->view.limit, g->limit);
    for (unsigned i = 0; i < 40; i++) { /* the keeper looks four times a second whether it moves */
        set(&table.page->ledger.frontier, g->used - i % 2);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    self->answer.number = fstat(table.fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : UINT64_MAX;
    return 0;
}

static void growth_of_nonsense(void)
{
    for (unsigned i = 0; i < sizeof growths / sizeof *growths; i++) {
        REQUIRE_EQ(keeper_start(NULL), 0);
        struct agent *attacker = agent_new(NULL);
        CHECK_RC(agent_call(attacker, seem_to_grow, &i, sizeof i), 0);
        CHECK(attacker->answer.number < 2 * LARGE, "%lu bytes have got memory", (unsigned long)attacker->answer.number);
        CHECK_EQ(keeper_stop(), 0);
        agent_kill(attacker);
    }
}

/* ---- A mutex that is never let go ----------------------------------------------------------------------- */

static int hold_for_ever(struct agent_self *self, void *arg)
{
    static struct raw me[20];
    static struct raw_table table[20];
    (void)arg;
    for (unsigned i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "evil-%u", i);
        self->answer.number = i;
        int r = raw_open(&me[i], -1, "evil");
        if (r == 0)
            r = raw_create(&me[i], name, HEIR_TABLE_MIN, i % 2 ? HEIR_PUBLIC : HEIR_PROTECTED, &table[i]);
        if (r == 0)
            r = robust_try(&table[i].page->writer.mutex);
        if (r < 0)
            return r;
        struct wire_request q = raw_request(i % 4 < 2 ? WIRE_RELEASE : WIRE_DESTROY, NULL);
        q.table = table[i].id;
        if ((r = raw_ask(me[i].fd, &q, -1, NULL, NULL)) != -EBUSY)
            return r < 0 ? r : -EPROTO;
        if (i % 3 == 0)
            atomic_store((_Atomic uint32_t *)(void *)&me[i].page->life, FUTEX_OWNER_DIED); /* it dies, and holds it */
        if (i % 3 == 1) {
            q = raw_request(WIRE_CLOSE, NULL);
            raw_ask(me[i].fd, &q, -1, NULL, NULL);
        }
        close(me[i].fd);
    }
    nanosleep(&(struct timespec){.tv_nsec = attack_ms() * 1000000L % 1000000000}, NULL);
    return 0;
}

/* Who waits for such a table waits; whoever has to do with others does not. */
static void mutex_held_for_ever(void)
{
    under_attack(hold_for_ever, NULL, 0);
}

const struct test hostile_tables[] = {{"table: owner word of any", owner_word_of_any},
                                      {"table: transfer records", transfer_records},
                                      {"table: settings that change", settings_that_change},
                                      {"table: horizon that moves", horizon_that_moves},
                                      {"table: ledger of nonsense", ledger_of_nonsense},
                                      {"table: log without end", log_without_end},
                                      {"table: head of nonsense", head_of_nonsense},
                                      {"table: lease that changes", lease_that_changes},
                                      {"table: mutex word", mutex_word},
                                      {"table: mutex list", mutex_list},
                                      {"table: mutex of nonsense", mutex_of_nonsense},
                                      {"table: any word", any_word},
                                      {"table: cut off", cut_off},
                                      {"table: cut, a large one", cut_large},
                                      {"table: cut off, and left alone", cut_and_left_alone},
                                      {"table: growth of nonsense", growth_of_nonsense},
                                      {"table: mutex held for ever", mutex_held_for_ever},
                                      {NULL, NULL}};
