/* SPDX-License-Identifier: MIT */
/*
 * Kill points. The library is built here with a hook before every store to shared memory and every message
 * (lib/format/point.h), so the list of points is the list of states in which others can find what one has begun; none
 * can be forgotten. Each scene of points_scenes.c is played by a keeper, a worker and another client, real processes:
 *
 *  - one dies: each of them is killed at each of its points in turn;
 *  - two: one is stopped at a point, the other is killed at one of its own, then the first goes on, or is killed, too.
 *
 * A keeper that was killed is followed by a new one. Then, within a deadline, of the table that the scene is about:
 *  - one who is alive owns it, or the keeper; the one that the scene says, where it says one;
 *  - who owns it can write, and nobody else;
 *  - each epoch was told at most once to whom it concerns, in order, and that of the last owner was told; and how the
 *    owner before had died;
 *  - its counter is at the last commit: of each that somebody knows of, and at most one more for each that died;
 *  - when all have been killed the next claimant has it, heir_check() finds nothing, and no page or table stays behind.
 *
 * All single deaths are played; of the pairs as many as there is time for (HEIR_TEST_SECONDS), evenly spread, from the
 * seed. At the end a ledger says what was covered. The hook is a compiler barrier: `steps` kills at every instruction
 * of the library as it is shipped.
 */
#include "points.h"

#include "layout.h"
#include <dirent.h>
#include <fcntl.h>
#include <heir/inspect.h>
#include <heir/keeper.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCENES_MOST 64
#define END_MS      10000 /* until a scene must have come to its end */
#define BLOCKED_MS                                                                                                     \
    30 /* who makes no headway for this long waits for one that is stopped; only decides what is played */

const char *const who_text[ACTORS] = {"keeper", "worker", "other"};
struct cast *cast;
struct actor *me;

extern void (*heir_point)(const char *file, int line);
void (*heir_point)(const char *file, int line);

static void pass(const char *file, int line, uint32_t n)
{
    if (n != me->die_at && n != me->park_at)
        return;
    const char *name = strrchr(file, '/');
    snprintf(me->at, sizeof me->at, "%.40s:%d", name != NULL ? name + 1 : file, line);
    if (n == me->die_at)
        kill(getpid(), SIGKILL);
    if (n == me->park_at) {
        me->parked = 1;
        while (me->go == 0)
            usleep(50);
    }
}

static void on_point(const char *file, int line)
{
    if (me == NULL)
        return;
    me->busy++;
    if (me->armed != 0)
        pass(file, line, ++me->count);
    me->busy--;
}

/* ---- The actors --------------------------------------------------------------------------------------- */

int open_as(struct hands *h, const char *role)
{
    return heir_open(&(struct heir_open_options){.name = role, .timeout_ms = -1}, &h->client);
}

void collect(struct hands *h, int timeout_ms)
{
    struct heir_event event;

    if (h->client == NULL || heir_wait(h->client, timeout_ms, &event) != 0)
        return;
    if (event.type != HEIR_EVENT_TRANSFER && event.type != HEIR_EVENT_LOST)
        return;
    if (event.type == HEIR_EVENT_TRANSFER)
        h->table = event.table;
    uint32_t n = me->events;
    if (n < EVENTS_MOST) {
        me->event[n].epoch = event.epoch;
        me->event[n].type = event.type;
        me->event[n].reason = event.reason;
        me->event[n].cause = event.cause;
        me->event[n].code = event.code;
        me->events = n + 1;
    }
}

static void reach(enum stage stage)
{
    me->stage = stage;
}

static void follow_parent(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
}

/* A client whose thread ends while another thread of the process is at work. */
struct opener {
    const struct scene *scene;
    struct hands *hands;
    pthread_t thread;
};

static void *open_and_end(void *arg)
{
    struct opener *o = arg;
    me->result = open_as(o->hands, who_text[WORKER]);
    me->id = heir_id(o->hands->client);
    if (me->result == 0)
        me->result = o->scene->prepare[WORKER](o->hands);
    reach(READY);
    while (me->parked == 0 && me->stage != DONE)
        usleep(50);
    me->gone = me->parked != 0;
    while (!me->gone) /* it stays to the end when nobody has stood still */
        usleep(1000);
    return NULL;
}

static void play(const struct scene *scene, enum who who, pid_t parent)
{
    struct hands h = {0};

    follow_parent(parent);
    if (scene->as_nobody && who == WORKER &&
        (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0))
        _exit(1);
    me = &cast->actor[who];
    struct opener opener = {.scene = scene, .hands = &h};
    if (scene->by_thread && who == WORKER) {
        pthread_create(&opener.thread, NULL, open_and_end, &opener);
    } else {
        me->result = open_as(&h, who_text[who]);
        me->id = heir_id(h.client);
        if (me->result == 0 && scene->prepare[who] != NULL)
            me->result = scene->prepare[who](&h);
        reach(READY);
    }
    while (me->stage != ACT)
        usleep(50);
    me->armed = 1;
    if (me->result == 0 && scene->act[who] != NULL)
        me->result = scene->act[who](&h);
    me->armed = 0;
    reach(DONE);
    while (cast->finish == 0) {
        collect(&h, 0);
        uint32_t probe = me->probe;
        if (probe != me->probed) {
            me->probe_result = h.table != NULL ? heir_add(h.table, "n", 1, 1, NULL) : -ENOTCONN;
            if (me->probe_result == 0 && !me->in_transaction)
                cast->added++;
            me->probed = probe;
        }
        usleep(100);
    }
    _exit(0);
}

static void keep(bool again, pid_t parent)
{
    struct heir_keeper *keeper;

    follow_parent(parent);
    me = &cast->actor[KEEPER];
    me->armed = again && me->die_at != 0;
    me->result = heir_keeper_start(
        &(struct heir_keeper_options){.purge = !again, .no_huge_pages = true, .socket_mode = 0666}, &keeper);
    reach(READY);
    for (;;)
        pause();
}

static void enter(const struct scene *scene, enum who who, bool again)
{
    pid_t parent = getpid(), pid;
    struct actor *a = &cast->actor[who];

    a->stage = STARTED;
    a->busy = 0;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        if (who == KEEPER)
            keep(again, parent);
        else
            play(scene, who, parent);
        _exit(0);
    }
    a->pid = pid;
}

static void notice_deaths(void)
{
    for (enum who who = KEEPER; who < ACTORS; who++) {
        struct actor *a = &cast->actor[who];
        if (a->pid != 0 && waitpid(a->pid, NULL, WNOHANG) == a->pid)
            a->pid = 0;
    }
}

static void kill_actor(enum who who)
{
    struct actor *a = &cast->actor[who];
    if (a->pid != 0) {
        kill(a->pid, SIGKILL);
        waitpid(a->pid, NULL, 0);
    }
    a->pid = 0;
}

static void disarm(enum who who)
{
    struct actor *a = &cast->actor[who];
    a->armed = a->die_at = 0;
    while (a->busy != 0 && a->pid != 0)
        notice_deaths();
}

/* ---- A performance ------------------------------------------------------------------------------------ */

struct plan {
    const struct scene *scene;
    enum who victim, parked; /* ACTORS: none */
    uint32_t die_at, park_at;
    bool kill_parked;
};

struct performance {
    bool died, parked;       /* the points of the plan were reached */
    uint32_t points[ACTORS]; /* passed by each */
    char problem[256];       /* "" */
};

static bool fail(struct performance *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct performance *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (p->problem[0] == '\0')
        vsnprintf(p->problem, sizeof p->problem, format, args);
    va_end(args);
    return false;
}

/* Until it is there, or dead; false: neither. */
static bool await_stage(enum who who, enum stage stage, int ms)
{
    struct actor *a = &cast->actor[who];
    for (struct waiting it = waiting_begin(ms); a->pid != 0 && a->stage < stage; usleep(100)) {
        notice_deaths();
        if (waiting_round(&it) == 0)
            return false;
    }
    return true;
}

static void begin_act(const struct plan *plan, enum who who)
{
    struct actor *a = &cast->actor[who];
    if (who == KEEPER && plan->scene->restarts)
        enter(plan->scene, KEEPER, true);
    else if (who == KEEPER)
        a->armed = 1;
    else
        a->stage = ACT;
}

/* Until the actor has died, is stopped, has played its part, or makes no headway. */
static void let_play(enum who who)
{
    struct actor *a = &cast->actor[who];
    uint32_t seen = a->count;
    for (int64_t since = now_ms(); now_ms() - since < BLOCKED_MS && a->pid != 0 && a->parked == 0 && a->stage != DONE;
         usleep(100)) {
        notice_deaths();
        if (a->count != seen)
            since = now_ms();
        seen = a->count;
    }
}

/* A killed keeper is followed by another. */
static void follow_keeper(const struct plan *plan)
{
    struct actor *k = &cast->actor[KEEPER];
    notice_deaths();
    if (k->pid == 0) {
        k->die_at = k->park_at = 0;
        k->parked = 0;
        enter(plan->scene, KEEPER, true);
    }
}

/* Play all parts to their end; false: somebody does not come to it. */
static bool play_to_the_end(const struct plan *plan)
{
    struct waiting it = waiting_begin(END_MS);
    const struct actor *k = &cast->actor[KEEPER];
    for (;;) {
        follow_keeper(plan);
        bool done = k->stage >= READY;
        for (enum who who = WORKER; who < ACTORS; who++)
            done = done && (cast->actor[who].pid == 0 || cast->actor[who].stage == DONE);
        if (done)
            return true;
        if (waiting_round(&it) == 0)
            return false;
        usleep(100);
    }
}

/* ---- What must be true -------------------------------------------------------------------------------- */

/* "t", or "u" when it has been renamed. */
static const char *name_of_it(void)
{
    char path[256];
    shm_path(path, sizeof path, "t.", "u");
    return access(path, F_OK) == 0 ? "u" : "t";
}

static bool info_of(struct heir_info *info)
{
    struct heir_table *t;
    int rc = heir_inspect_open(NULL, name_of_it(), &t);
    if (rc != 0)
        return false;
    rc = heir_info(t, info);
    heir_inspect_close(t);
    return rc == 0;
}

static int who_is(uint64_t id)
{
    if (id == HEIR_KEEPER)
        return KEEPER;
    for (enum who who = WORKER; who < ACTORS; who++) {
        if (cast->actor[who].id == id)
            return cast->actor[who].pid != 0 && !cast->actor[who].gone ? (int)who : -1;
    }
    return -1;
}

static bool hung(struct performance *p)
{
    struct heir_info info = {0};
    int owner = info_of(&info) ? who_is(info.owner) : -2;
    return fail(p, "hung: keeper %u, worker %u, other %u, and %s owns the table", cast->actor[KEEPER].stage,
                cast->actor[WORKER].stage, cast->actor[OTHER].stage,
                owner >= 0    ? who_text[owner]
                : owner == -1 ? "one who is dead"
                              : "nobody");
}

static int probe(enum who who)
{
    struct actor *a = &cast->actor[who];
    uint32_t number = ++a->probe;
    for (struct waiting it = waiting_begin(END_MS); a->probed != number; usleep(100)) {
        notice_deaths();
        if (a->pid == 0)
            return -ESRCH; /* it was being killed, by force */
        if (waiting_round(&it) == 0)
            return -ETIME;
    }
    return a->probe_result;
}

static bool told(const struct actor *a, uint64_t epoch)
{
    for (uint32_t i = 0; i < a->events; i++) {
        if (a->event[i].type == HEIR_EVENT_TRANSFER && a->event[i].epoch == epoch)
            return true;
    }
    return false;
}

/* Does a record of the table still leave open how an owner died? */
static bool left_open(void)
{
    struct table_page page = {0};
    char path[256];
    shm_path(path, sizeof path, "t.", name_of_it());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, &page, sizeof page) : 0;
    if (fd >= 0)
        close(fd);
    return n == sizeof page &&
           ((uint32_t)page.transfers[0].end == CAUSE_PENDING || (uint32_t)page.transfers[1].end == CAUSE_PENDING);
}

/* The owner is who it must be, and knows; the others cannot write. */
static bool settled(const struct plan *plan, struct performance *p)
{
    struct heir_info info = {0};
    int must = plan->scene->ends(cast);

    if (!info_of(&info))
        return must == -2 || fail(p, "the table is gone");
    if (left_open())
        return fail(p, "how an owner died is left open");
    int owner = who_is(info.owner);
    if (owner < 0)
        return fail(p, "the dead client %lu owns the table in epoch %lu", (unsigned long)info.owner,
                    (unsigned long)info.epoch);
    if (must >= 0 && owner != must)
        return fail(p, "%s owns the table, not %s, whose act returned %s", who_text[owner], who_text[must],
                    error_text(cast->actor[must].result));
    for (enum who who = WORKER; who < ACTORS; who++) {
        const struct actor *a = &cast->actor[who];
        if (a->pid == 0 || a->gone)
            continue;
        int rc = probe(who);
        if ((rc == 0) != (owner == (int)who))
            return fail(p, "%s writes: %s, and %s owns the table", who_text[who], error_text(rc), who_text[owner]);
        if (owner == (int)who && info.epoch > 1 && !a->refused && !told(a, info.epoch))
            return fail(p, "%s was not told of epoch %lu", who_text[who], (unsigned long)info.epoch);
    }
    return true;
}

static bool events_in_order(struct performance *p)
{
    for (enum who who = WORKER; who < ACTORS; who++) {
        const struct actor *a = &cast->actor[who];
        uint64_t last = 0;
        for (uint32_t i = 0; i < a->events; i++) {
            if (a->event[i].type != HEIR_EVENT_TRANSFER)
                continue;
            if (a->event[i].epoch <= last)
                return fail(p, "%s was told of epoch %lu after %lu", who_text[who], (unsigned long)a->event[i].epoch,
                            (unsigned long)last);
            last = a->event[i].epoch;
        }
    }
    return true;
}

/* The keeper that works off a death knows how it came; one that follows it may come too late for that. */
static bool causes_told(const struct plan *plan, struct performance *p)
{
    bool one_keeper =
        !plan->scene->restarts && plan->victim != KEEPER && (plan->parked != KEEPER || !plan->kill_parked);
    for (enum who who = WORKER; who < ACTORS; who++) {
        const struct actor *a = &cast->actor[who];
        for (uint32_t i = 0; i < a->events; i++) {
            bool told = a->event[i].cause != HEIR_CAUSE_UNKNOWN && a->event[i].cause <= HEIR_CAUSE_THREAD;
            bool open = a->event[i].cause == HEIR_CAUSE_UNKNOWN && !one_keeper;
            if (!told && !open)
                return fail(p, "%s was told of epoch %lu: cause %u", who_text[who], (unsigned long)a->event[i].epoch,
                            a->event[i].cause);
            if (a->event[i].cause == HEIR_CAUSE_SIGNAL && a->event[i].code != SIGKILL)
                return fail(p, "%s was told of epoch %lu: signal %d", who_text[who], (unsigned long)a->event[i].epoch,
                            a->event[i].code);
        }
    }
    return true;
}

static bool nothing_left(void *arg)
{
    (void)arg;
    return shm_count("c.") == 0 && shm_count("t.") == 0;
}

static void note_finding(unsigned law, const char *what, uint64_t where, void *arg)
{
    fail(arg, "check: K%u: %s (%lu)", law, what, (unsigned long)where);
}

/* After the death of all: the next one has the table, at its last commit. */
static bool inherited(struct performance *p, unsigned deaths, bool anew)
{
    struct heir *client;
    struct heir_table *t;
    int64_t n = 0;
    size_t len = sizeof n;
    uint64_t added;

    int rc = heir_open(&(struct heir_open_options){.name = "last", .timeout_ms = END_MS}, &client);
    if (rc != 0)
        return fail(p, "the last one cannot open: %s", error_text(rc));
    rc = heir_claim(client, name_of_it(), NULL, patience(END_MS), &t);
    if (rc == 0) {
        added = cast->added;
        rc = heir_get(t, "n", 1, &n, &len);
        rc = rc == -ENOENT && (anew || added == 0) ? 0 : rc;
        if (rc == 0 && ((uint64_t)n > added + deaths || ((uint64_t)n < added && !anew)))
            fail(p, "the counter is %ld, and %lu were added by those who lived to tell", (long)n, (unsigned long)added);
        heir_check(t, note_finding, p, NULL);
        rc = heir_destroy(t);
    } else if (rc == -ENOENT) {
        rc = 0;
    }
    heir_close(client);
    if (rc != 0)
        return fail(p, "the last one: %s", error_text(rc));
    if (!wait_until(nothing_left, NULL, PATIENCE))
        return fail(p, "%d tables and %d pages are left", shm_count("t."), shm_count("c."));
    return true;
}

static struct performance perform(const struct plan *plan)
{
    struct performance p = {0};
    const struct scene *scene = plan->scene;
    unsigned deaths = 0;

    memset(cast, 0, sizeof *cast);
    for (enum who who = KEEPER; who < ACTORS; who++) {
        enter(scene, who, false);
        if (!await_stage(who, READY, END_MS) || cast->actor[who].pid == 0 || cast->actor[who].result != 0) {
            fail(&p, "%s cannot begin: %s", who_text[who], error_text(cast->actor[who].result));
            goto end;
        }
    }
    if (scene->restarts)
        kill_actor(KEEPER);
    if (scene->restarts && scene->worker_dies)
        kill_actor(WORKER);
    if (plan->victim < ACTORS)
        cast->actor[plan->victim].die_at = plan->die_at;
    if (plan->parked < ACTORS) {
        cast->actor[plan->parked].park_at = plan->park_at;
        begin_act(plan, plan->parked);
        if (plan->parked != KEEPER || scene->restarts)
            let_play(plan->parked);
        /* the keeper acts only when somebody asks it to */
    }
    for (enum who who = KEEPER; who < ACTORS; who++) {
        if (who != plan->parked)
            begin_act(plan, who);
    }
    if (plan->parked < ACTORS) {
        let_play(plan->parked);
        let_play(plan->victim);
        p.parked = cast->actor[plan->parked].parked != 0;
        if (p.parked && plan->kill_parked)
            kill_actor(plan->parked);
        cast->actor[plan->parked].go = 1;
    }
    bool ended = play_to_the_end(plan) || hung(&p);
    for (enum who who = KEEPER; who < ACTORS; who++) {
        p.points[who] = cast->actor[who].count > p.points[who] ? cast->actor[who].count : p.points[who];
        disarm(who);
    }
    if (ended) {
        for (enum who who = KEEPER; who < ACTORS; who++) {
            deaths += who != KEEPER && cast->actor[who].pid == 0;
        }
        p.died = plan->victim < ACTORS && p.points[plan->victim] >= plan->die_at;
        struct performance look;
        struct waiting it = waiting_begin(END_MS);
        do { /* it settles by itself */
            look = (struct performance){0};
            if (settled(plan, &look))
                break;
            usleep(1000);
            follow_keeper(plan);
        } while (waiting_round(&it) > 0);
        if (look.problem[0] != '\0')
            fail(&p, "%s", look.problem);
        events_in_order(&p);
        causes_told(plan, &p);
    }
    follow_keeper(plan);
    for (enum who who = WORKER; who < ACTORS; who++)
        kill_actor(who);
    if (p.problem[0] == '\0')
        inherited(&p, deaths, scene->anew);
end:
    for (enum who who = KEEPER; who < ACTORS; who++)
        kill_actor(who);
    return p;
}

/* ---- Programme ---------------------------------------------------------------------------------------- */

static struct {
    unsigned long runs, kills, pairs, played, possible_pairs, failed;
} ledger;

static bool report(const struct plan *plan, const struct performance *p)
{
    char how[160] = "";
    if (plan->parked < ACTORS)
        snprintf(how, sizeof how, ", %s stopped at %u (%s)%s", who_text[plan->parked], plan->park_at,
                 cast->actor[plan->parked].at, plan->kill_parked ? " and killed" : "");
    ledger.runs++;
    ledger.failed += p->problem[0] != '\0';
    return CHECK(p->problem[0] == '\0', "%s: %s killed at %u (%s)%s: %s", plan->scene->name,
                 plan->victim < ACTORS ? who_text[plan->victim] : "nobody", plan->die_at,
                 plan->victim < ACTORS ? cast->actor[plan->victim].at : "-", how, p->problem);
}

static bool playable(const struct scene *scene)
{
    return !scene->as_nobody || geteuid() == 0;
}

static void one_dies(void)
{
    uint32_t step = test_seconds(1) < 1 ? 3 : 1; /* where HEIR_TEST_SHARE asks for less, each third one */

    heir_point = on_point;
    printf("\n  %-24s %8s %8s %8s\n", "scene: points of the", "keeper", "worker", "other");
    for (const struct scene *scene = scenes; scene->name != NULL; scene++) {
        if (!playable(scene))
            continue;
        struct plan plan = {.scene = scene, .victim = ACTORS, .parked = ACTORS};
        struct performance p = perform(&plan);
        if (!report(&plan, &p))
            continue;
        unsigned kills[ACTORS] = {0};
        for (enum who who = KEEPER; who < ACTORS; who++) {
            if (who == WORKER && scene->worker_dies && scene->restarts)
                continue;
            for (uint32_t k = 1;; k += step) {
                plan = (struct plan){.scene = scene, .victim = who, .die_at = k, .parked = ACTORS};
                p = perform(&plan);
                if (!report(&plan, &p) || !p.died)
                    break;
                kills[who]++;
                ledger.kills++;
            }
        }
        printf("  %-24s %8u %8u %8u\n", scene->name, kills[KEEPER], kills[WORKER], kills[OTHER]);
    }
    printf("  ");
}

/* A way through 0 to n-1 that comes to each once, in no order: the next after x. */
static uint64_t after(uint64_t x, uint64_t n, uint64_t seed)
{
    uint64_t step = n / 2 + seed % (n / 4 + 1);
    for (uint64_t a = step, b = n; b != 0 || a != 1;) { /* without a common divisor */
        if (b == 0) {
            a = ++step;
            b = n;
        }
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return (x + step) % n;
}

/* The pair with this number, of all scenes. */
static struct plan pair(uint64_t number, uint32_t most[SCENES_MOST][ACTORS])
{
    for (unsigned n = 0;; n++) {
        for (enum who parked = KEEPER; parked < ACTORS; parked++) {
            for (enum who victim = KEEPER; victim < ACTORS; victim++) {
                uint64_t here = parked != victim ? 2ull * most[n][parked] * most[n][victim] : 0;
                if (number >= here) {
                    number -= here;
                    continue;
                }
                return (struct plan){.scene = &scenes[n],
                                     .victim = victim,
                                     .die_at = 1 + (uint32_t)(number / 2 % most[n][victim]),
                                     .parked = parked,
                                     .park_at = 1 + (uint32_t)(number / 2 / most[n][victim]),
                                     .kill_parked = number % 2 != 0};
            }
        }
    }
}

/* Two, of which one stands still: all pairs of points in no order, as far as there is time. */
static void two(void)
{
    double seconds = test_seconds(25);
    int64_t end = now_ms() + (int64_t)(seconds * 1000);
    uint32_t most[SCENES_MOST][ACTORS] = {{0}};
    unsigned count = 0;

    heir_point = on_point;
    for (const struct scene *scene = scenes; scene->name != NULL; scene++, count++) {
        if (!playable(scene))
            continue;
        struct plan plan = {.scene = scene, .victim = ACTORS, .parked = ACTORS};
        struct performance p = perform(&plan);
        if (!report(&plan, &p))
            return;
        memcpy(most[count], p.points, sizeof most[count]);
        for (enum who a = KEEPER; a < ACTORS; a++)
            for (enum who b = KEEPER; b < ACTORS; b++)
                ledger.possible_pairs += a != b ? 2ul * most[count][a] * most[count][b] : 0;
    }
    uint64_t at = test_seed % ledger.possible_pairs;
    for (uint64_t n = 0; n < ledger.possible_pairs && now_ms() < end && ledger.failed < 5; n++) {
        struct plan plan = pair(at, most);
        at = after(at, ledger.possible_pairs, test_seed);
        struct performance p = perform(&plan);
        report(&plan, &p);
        ledger.pairs += p.died && p.parked;
        ledger.played++;
    }
    printf("(%lu kills of one; of %lu pairs %lu played, in %lu both points were reached) ", ledger.kills,
           ledger.possible_pairs, ledger.played, ledger.pairs);
}

static int share(void)
{
    cast = mmap(NULL, sizeof *cast, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return cast == MAP_FAILED;
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {{"one dies", one_dies}, {"two", two}, {NULL, NULL}};
    static const struct test_suite suites[] = {{"points", tests, share}, {NULL, NULL, NULL}};
    return test_main(argc, argv, suites);
}
