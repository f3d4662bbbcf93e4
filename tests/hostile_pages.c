/* SPDX-License-Identifier: MIT */
/* What a hostile client can do to its own page, its life mutex, its owned set, and with its bell. */
#include "atomics.h"
#include "attacker.h"
#include "hostile.h"
#include "owned.h"
#include "owner.h"
#include "robust.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define TABLES 4

/* ---- Pages ---------------------------------------------------------------------------------------------- */

enum field {
    OWNED_HUGE,
    OWNED_NONSENSE,
    CRASH_SIGNAL,
    DEAD,
    CLOSING,
    LIFE_FREE,
    LIFE_OTHER,
    LIFE_LOST,
    LIFE_DIED,
    LIFE_FLICKERS,
    BELL,
    PINS,
    WHO,
    ANYTHING,
    CUT_OFF,
    CUT_TO_A_PAGE,
    FIELDS
};

static _Atomic uint32_t *life_of(struct client_page *page)
{
    return (_Atomic uint32_t *)(void *)&page->life;
}

static void fill_owned(struct client_page *page, uint64_t count, bool sense)
{
    for (uint64_t i = 0; i < count; i++)
        set(&page->owned[i], sense ? owned_word(1 + i % 64, i) : raw_nonsense());
}

static void damage(const struct raw *me, enum field field)
{
    struct client_page *page = me->page;
    switch (field) {
    case OWNED_HUGE: /* tables of others, most of all */
        fill_owned(page, CLIENT_OWNED_MAX, true);
        set(&page->owned_room, UINT64_MAX);
        set(&page->owned_count, UINT64_MAX);
        break;
    case OWNED_NONSENSE:
        fill_owned(page, 5000, false);
        set(&page->owned_room, raw_nonsense());
        set(&page->owned_count, raw_nonsense());
        break;
    case CRASH_SIGNAL:
        set(&page->crash_signal, raw_nonsense());
        robust_wake_watcher(&page->life.mutex);
        break;
    case DEAD:
        set(&page->dead, raw_nonsense());
        break;
    case CLOSING:
        set(&page->closing, raw_nonsense());
        break;
    case LIFE_FREE:
        atomic_store(life_of(page), 0);
        break;
    case LIFE_OTHER: /* init's, for example */
        atomic_store(life_of(page), 1 + (uint32_t)(raw_nonsense() & 0xfff));
        break;
    case LIFE_LOST: /* ENOTRECOVERABLE */
        ((struct { uint32_t lock, count, owner; } *)(void *)&page->life)->owner = 0x7fffffff - 1;
        atomic_store(life_of(page), 0);
        break;
    case LIFE_DIED:
        atomic_store(life_of(page), FUTEX_OWNER_DIED | FUTEX_WAITERS | (uint32_t)raw_nonsense());
        syscall(SYS_futex, life_of(page), FUTEX_WAKE, 1, NULL, NULL, 0);
        break;
    case LIFE_FLICKERS:
        atomic_fetch_xor(life_of(page), FUTEX_WAITERS);
        syscall(SYS_futex, life_of(page), FUTEX_WAKE, 1, NULL, NULL, 0);
        break;
    case BELL:
        set(&page->asleep, raw_nonsense());
        set(&page->rung, raw_nonsense());
        break;
    case PINS:
        for (unsigned i = 0; i < PINS_A_CLIENT; i++) {
            set(&page->pins[i].table, raw_nonsense() % 8);
            set(&page->pins[i].txn, raw_nonsense());
        }
        break;
    case WHO:
        page->pid = (int32_t)raw_nonsense();
        page->tid = (int32_t)raw_nonsense();
        page->head.uid = (uint32_t)raw_nonsense();
        page->head.id = raw_nonsense();
        page->start_time = raw_nonsense();
        memset(page->name, 'x', sizeof page->name);
        break;
    case ANYTHING:
        for (unsigned i = 0; i < 64; i++)
            ((word_t *)(void *)page)[raw_nonsense() % (PAGE_BYTES / 8)] = raw_nonsense();
        break;
    case CUT_OFF:
    case CUT_TO_A_PAGE:
        if (ftruncate(me->page_fd, field == CUT_OFF ? 0 : PAGE_BYTES) < 0 || ftruncate(me->page_fd, 100 << 20) < 0)
            return;
        if (field == CUT_OFF && ftruncate(me->page_fd, 0) < 0)
            return;
        break;
    case FIELDS:
        break;
    }
}

/* Whatever makes the keeper look at the client's page. Any answer is right. */
static void ask_for_much(const struct raw *me, const struct raw_table *table)
{
    struct wire_request q;
    for (unsigned i = 0; i < 12; i++) {
        static const enum wire_type types[] = {WIRE_ATTACH, WIRE_PIN,      WIRE_CLAIM,  WIRE_FIND,
                                               WIRE_OPEN,   WIRE_GIVE,     WIRE_UNPIN,  WIRE_PEER,
                                               WIRE_PIN,    WIRE_SET_HEIR, WIRE_RENAME, WIRE_RELEASE};
        q = raw_request(types[i], "evil-0");
        q.table = table->id;
        q.id = me->id;
        if (raw_poke(me->fd, &q) == -EPIPE)
            return;
    }
}

struct spinner {
    const struct raw *me;
    enum field field;
};

static void *go_on_damaging(void *arg)
{
    const struct spinner *s = arg;
    for (;;)
        damage(s->me, s->field);
    return NULL;
}

/* A process with a client and tables, that damages its page: once, or for as long as it lives. It ends with a kill. */
static void life(enum field field, unsigned number)
{
    struct raw me;
    struct raw_table table[TABLES] = {{0}};
    struct spinner spinner = {&me, field};
    pthread_t thread;
    char name[32];
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    signal(SIGBUS, SIG_DFL); /* its own memory is cut off, too */
    if (raw_open(&me, -1, "evil") < 0)
        _exit(1);
    for (unsigned i = 0; i < TABLES; i++) {
        snprintf(name, sizeof name, "evil-%u", i);
        if (raw_create(&me, name, HEIR_TABLE_MIN, i % 2 ? HEIR_PUBLIC : HEIR_PROTECTED, &table[i]) < 0)
            table[i].id = 1;
    }
    if (number % 2 == 0)
        damage(&me, field);
    else
        pthread_create(&thread, NULL, go_on_damaging, &spinner);
    for (int64_t end = now_ms() + (number % 2 ? attack_ms() / 3 : 0); now_ms() <= end;)
        ask_for_much(&me, &table[0]);
    if (number % 4 < 2) { /* another connection, as after a keeper's restart */
        struct wire_request q = raw_request(WIRE_HELLO, "evil");
        q.id = me.id;
        if (field < CUT_OFF)
            memcpy(q.secret, me.page->head.uuid, sizeof q.secret);
        close(me.fd);
        me.fd = raw_connect();
        raw_send(me.fd, &q, sizeof q, &me.bell, 1);
        ask_for_much(&me, &table[0]);
    }
    if (number % 3 == 0) {
        struct wire_request q = raw_request(WIRE_CLOSE, NULL);
        raw_poke(me.fd, &q);
    }
    raise(SIGKILL);
}

static int live_and_die(struct agent_self *self, void *arg)
{
    enum field field = *(const enum field *)arg;
    int64_t end = now_ms() + attack_ms();
    for (unsigned number = 0; now_ms() < end || number < 6; number++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            life(field, number);
        self->answer.number = number;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || WIFEXITED(status))
            return -ECONNREFUSED;
    }
    return 0;
}

static void attack_page(enum field field)
{
    under_attack(live_and_die, &field, sizeof field);
}

#define PAGE_TEST(name, field)                                                                                         \
    static void name(void)                                                                                             \
    {                                                                                                                  \
        attack_page(field);                                                                                            \
    }
PAGE_TEST(owned_without_end, OWNED_HUGE)
PAGE_TEST(owned_nonsense, OWNED_NONSENSE)
PAGE_TEST(crash_note, CRASH_SIGNAL)
PAGE_TEST(dead, DEAD)
PAGE_TEST(closing, CLOSING)
PAGE_TEST(life_free, LIFE_FREE)
PAGE_TEST(life_of_another, LIFE_OTHER)
PAGE_TEST(life_lost, LIFE_LOST)
PAGE_TEST(life_died, LIFE_DIED)
PAGE_TEST(life_flickers, LIFE_FLICKERS)
PAGE_TEST(asleep_and_rung, BELL)
PAGE_TEST(pins, PINS)
PAGE_TEST(who_it_is, WHO)
PAGE_TEST(anything, ANYTHING)
PAGE_TEST(cut_off, CUT_OFF)
PAGE_TEST(cut_to_a_page, CUT_TO_A_PAGE)

/* ---- Bells ---------------------------------------------------------------------------------------------- */

/* What may make the keeper wait, or is another user's, is no bell. */
static int no_bells(struct agent_self *self, void *arg)
{
    int pipes[2], pair[2];
    (void)arg;
    if (pipe2(pipes, O_CLOEXEC) || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair))
        return -errno;
    const int bells[] = {pipes[0],
                         pipes[1],
                         pair[0],
                         raw_connect(),
                         eventfd(0, EFD_CLOEXEC),
                         timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
                         memfd_create("evil", MFD_CLOEXEC),
                         socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                         socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), /* not connected: it has no other end */
                         open("/dev/null", O_RDWR | O_CLOEXEC)};
    for (unsigned i = 0; i < sizeof bells / sizeof bells[0]; i++) {
        struct raw me;
        self->answer.number = i;
        if (raw_hello(&me, -1, "evil", bells[i]) != -EPROTO)
            return -EPROTO;
        close(me.fd);
    }
    return 0;
}

/* A bell that blocks, is full, and is never heard: tables are given to the client all the time. */
static int full_bell(struct agent_self *self, void *arg)
{
    struct wire_request ready = raw_request(WIRE_READY, NULL);
    struct raw me, other;
    struct raw_table table;
    int pair[2], r;
    (void)arg;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return -errno;
    while (send(pair[0], "", 1, MSG_DONTWAIT) > 0)
        ;
    if ((r = raw_open(&other, -1, "evil-other")) < 0 || (r = raw_hello(&me, -1, "evil", pair[0])) < 0 ||
        (r = robust_try(&me.page->life.mutex)) < 0 || (r = raw_ask(me.fd, &ready, -1, NULL, NULL)) < 0)
        return r;
    set(&me.page->asleep, 1);
    if ((r = raw_create(&other, "evil-1", HEIR_TABLE_MIN, HEIR_PROTECTED, &table)) < 0)
        return r;
    for (int64_t end = now_ms() + attack_ms(); now_ms() < end;) {
        struct wire_request give = raw_request(WIRE_GIVE, NULL);
        bool back = self->answer.number++ % 2 != 0;
        give.table = table.id;
        give.id = back ? other.id : me.id;
        if ((r = raw_ask(back ? me.fd : other.fd, &give, -1, NULL, NULL)) < 0)
            return r;
    }
    return 0;
}

static void bells_that_are_none(void)
{
    under_attack(no_bells, NULL, 0);
}

static void bell_that_is_full(void)
{
    under_attack(full_bell, NULL, 0);
}

const struct test hostile_pages[] = {{"page: owned set without end", owned_without_end},
                                     {"page: owned set of nonsense", owned_nonsense},
                                     {"page: crash note", crash_note},
                                     {"page: dead", dead},
                                     {"page: closing", closing},
                                     {"page: life mutex free", life_free},
                                     {"page: life mutex of another", life_of_another},
                                     {"page: life mutex lost", life_lost},
                                     {"page: life mutex died", life_died},
                                     {"page: life mutex flickers", life_flickers},
                                     {"page: asleep and rung", asleep_and_rung},
                                     {"page: pins", pins},
                                     {"page: who it is", who_it_is},
                                     {"page: anything", anything},
                                     {"page: cut off", cut_off},
                                     {"page: cut to a page", cut_to_a_page},
                                     {"bells that are none", bells_that_are_none},
                                     {"bell that is full", bell_that_is_full},
                                     {NULL, NULL}};
