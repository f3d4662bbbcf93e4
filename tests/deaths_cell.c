/* SPDX-License-Identifier: MIT */
/* One cell of the matrix: a death, and what has become of everything afterwards. */
#include "deaths.h"
#include "eye.h"

#include <heir/inspect.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct stage *stage; /* of the running cell */
static struct agent *next, *h, *partner, *holder, *behind;
struct rnd death_rnd;
struct dump_place death_dump;

/* ---- Looking ------------------------------------------------------------------------------------------ */

static bool only_survivors(void *arg)
{
    (void)arg;
    return shm_count("c.") == DEATH_SURVIVORS;
}

static bool is_ready(void *arg)
{
    (void)arg;
    return atomic_load(&stage->ready) || atomic_load(&stage->error);
}

static void cause_is(enum kind kind, enum heir_cause cause, int code)
{
    if (kind == BY_KILL && cause == HEIR_CAUSE_UNKNOWN) {
        death_ledger[kind].unknown++;
        return;
    }
    CHECK_EQ(cause, death_fates[kind].cause);
    CHECK_EQ(code, death_fates[kind].code);
}

/* ---- Pins --------------------------------------------------------------------------------------------- */

static int churn(struct agent_self *self, void *arg)
{
    struct heir_table *w = agent_table(self, "w");
    struct heir_info info;
    int rc = 0;
    for (int i = 0; i < *(int *)arg && !rc; i++)
        rc = heir_put(w, "k", 1, "some value", 10);
    if (!rc)
        rc = heir_info(w, &info);
    self->answer.number = info.horizon;
    return rc;
}

/* Write "w" until the state can no longer be read; as often at most. */
static bool horizon_passes(uint64_t state, int times)
{
    int n = 500;
    for (int i = 0; i < times; i++) {
        CHECK_RC(agent_call(holder, churn, &n, sizeof n), 0);
        if (holder->answer.number > state)
            return true;
    }
    return false;
}

struct pins {
    uint64_t id, pins;
    bool found;
};

static int find_pins(const struct heir_client_info *info, int error, void *arg)
{
    struct pins *pins = arg;
    if (!error && info->id == pins->id) {
        pins->found = true;
        pins->pins = info->pins;
    }
    return 0;
}

/* ---- A death ------------------------------------------------------------------------------------------ */

/* A random moment of the loop, inside of a call. */
static void await_moment(enum state state)
{
    _Atomic uint64_t *done = state == BEING_GIVEN ? &stage->partner_done : &stage->done;
    _Atomic int *inside = state == BEING_GIVEN ? &stage->partner_inside : &stage->inside;
    uint64_t steps = rnd_below(&death_rnd, state == PUTTING ? 2000 : 100), spin = rnd_below(&death_rnd, 300);
    if (state != PUTTING && state != GIVING && state != BEING_GIVEN)
        return;
    int64_t end = now_ms() + patience(PATIENCE);
    while ((atomic_load(done) < steps || !atomic_load(inside)) && now_ms() < end)
        ;
    CHECK(atomic_load(done) >= steps, "the loop stands still after %d steps: %d", (int)atomic_load(done),
          atomic_load(&stage->error));
    for (volatile uint64_t i = 0; i < spin; i++)
        ;
}

static void strike(enum kind kind, struct agent *victim)
{
    int pid = atomic_load(&stage->pid);
    siginfo_t info;
    switch (kind) {
    case BY_KILL:
        agent_kill(victim);
        break;
    case STOPPED:
        kill(pid, SIGSTOP);
        CHECK(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT) == 0);
        CHECK_EQ(look("t").owner, atomic_load(&stage->id));
        kill(pid, SIGKILL);
        break;
    case ZOMBIE:
        kill(pid, SIGKILL);
        CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
        break;
    case IN_PID_NS:
    case LEAVING_A_CHILD:
        kill(pid, SIGKILL);
        break;
    case BY_EXIT_OTHER:
    case BY_EXEC_OTHER:
    case BY_CANCEL:
    case BY_OOM:
        atomic_store(&stage->go, 1);
        break;
    default:
        CHECK(syscall(SYS_tgkill, pid, atomic_load(&stage->tid), SIGUSR1) == 0);
    }
}

/* "t" is next's, and "u" is h's. */
static void tables_came(enum kind kind, enum state state, bool in_line)
{
    uint64_t id = atomic_load(&stage->id), undone = state == IN_TRANSACTION ? TXN_T : 0;
    if (in_line) {
        CHECK_RC(agent_answer(next, PATIENCE), 0);
    } else {
        CHECK(comes_to("t", HEIR_KEEPER));
        struct heir_info info = look("t");
        CHECK_EQ(info.reason, HEIR_INHERITED);
        CHECK_EQ(info.from, id);
        cause_is(kind, info.cause, info.code);
        DO(next, 0, "claim t 0");
    }
    CHECK_EQ(look("t").owner, next->id);
    if (EVENT(next, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "t", "will")) {
        struct heir_event *event = &next->answer.event;
        CHECK_EQ(event->from, HEIR_KEEPER);
        cause_is(kind, event->cause, event->code);
        CHECK(event->undone == undone || (state == PUTTING && event->undone == 1), "%d undone", (int)event->undone);
    }
    if (EVENT(h, HEIR_EVENT_TRANSFER, HEIR_INHERITED, "u", "legacy")) {
        struct heir_event *event = &h->answer.event;
        CHECK_EQ(event->from, id);
        cause_is(kind, event->cause, event->code);
        undone = state == IN_TRANSACTION ? TXN_U : 0;
        CHECK(event->undone == undone || (state == PUTTING && event->undone == 1), "%d undone", (int)event->undone);
        CHECK_EQ(event->epoch, look("u").epoch);
    }
    CHECK_EQ(look("u").owner, h->id);
    NO_EVENT(next);
    NO_EVENT(h);
}

static void content_is_whole(enum state state)
{
    unsigned char value[VALUE_MOST], want[VALUE_MOST];
    uint64_t done = state == PUTTING ? atomic_load(&stage->done) : 1, n = 0, step = 0;
    size_t len = sizeof n;
    CHECK_RC(heir_get(seen("t"), "n", 1, &n, &len), 0);
    CHECK(n == done || (state == PUTTING && n == done + 1), "%d after %d steps", (int)n, (int)done);
    len = sizeof value;
    CHECK_RC(heir_get(seen("u"), "k", 1, value, &len), 0);
    memcpy(&step, value, sizeof step);
    CHECK(step == done || (state == PUTTING && step == n), "%d after %d steps", (int)step, (int)done);
    CHECK_BYTES(value, len, want, victim_value(want, step));
    CHECK_EQ(look("t").objects, 1);
    CHECK_EQ(look("u").objects, 1);
    CHECK_RC(heir_check(seen("t"), NULL, NULL, NULL), 0);
    CHECK_RC(heir_check(seen("u"), NULL, NULL, NULL), 0);
    DO(next, 0, "add t n 1");
    DO(h, 0, "put u k v");
    DO(next, 0, "destroy t");
    DO(h, 0, "destroy u");
}

/* One owner each; and the partner, if it is that, knows of its last epoch, and was told of none twice. */
static void thrown_tables_came(enum kind kind, enum state state)
{
    uint64_t id = atomic_load(&stage->id);
    atomic_store(&stage->over, 1);
    CHECK_RC(agent_answer(partner, PATIENCE), 0);
    for (int i = 0; i < THROWN; i++) {
        char name[] = {'p', (char)('0' + i), 0};
        struct heir_info info = look(name);
        bool its = info.owner == partner->id, back = stage->thrown[i].taken_back;
        CHECK(its || (info.owner == HEIR_KEEPER && i % 2 == 0), "%s is %d's", name, (int)info.owner);
        CHECK_EQ(stage->thrown[i].twice, 0);
        if (its && !back)
            CHECK_EQ(stage->thrown[i].epoch, info.epoch);
        if (its && !back && stage->thrown[i].reason == HEIR_INHERITED) {
            CHECK_EQ(stage->thrown[i].from, id);
            cause_is(kind, (enum heir_cause)stage->thrown[i].cause, stage->thrown[i].code);
        }
        if (!its) {
            CHECK_EQ(info.reason, HEIR_INHERITED);
            CHECK_EQ(info.from, id);
            cause_is(kind, info.cause, info.code);
        }
        CHECK_RC(heir_check(seen(name), NULL, NULL, NULL), 0);
        death_ledger[kind].inside[state] += state == BEING_GIVEN && back;
        if (!its) {
            DO(partner, 0, "claim %s 0", name);
            EVENT(partner, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, name, NULL);
        }
        DO(partner, 0, "destroy %s", name);
    }
    NO_EVENT(partner);
}

static void line_moved_up(void)
{
    CHECK(line_has("q", 1));
    DO(holder, 0, "release q");
    CHECK_RC(agent_answer(behind, PATIENCE), 0);
    EVENT(behind, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "q", NULL);
    DO(behind, 0, "release q");
    DO(holder, 0, "claim q 0");
    EVENT(holder, HEIR_EVENT_TRANSFER, HEIR_CLAIMED, "q", NULL);
}

/* What is to be seen of the process now; then its end, if it has not ended. */
static void process_ends(enum kind kind, struct agent *victim)
{
    int pid = atomic_load(&stage->pid), child = atomic_load(&stage->child);
    if (kind == DUMPING) {
        CHECK(dump_stands(&death_dump));
        if (death_dump.fd >= 0)
            CHECK(process_is_dumping(pid));
        else
            death_ledger[kind].over += process_state(pid) == 'Z';
        dump_let_go(&death_dump);
        CHECK_RC(agent_reap(victim, PATIENCE), 0);
        CHECK(WIFSIGNALED(victim->status) && WCOREDUMP(victim->status), "status %x", (unsigned)victim->status);
    } else if (death_fates[kind].lives) {
        CHECK(process_state(pid) != 0);
        CHECK_EQ(waitpid(victim->pid, NULL, WNOHANG), 0);
    } else if (kind == ZOMBIE) {
        CHECK_EQ(process_state(pid), 'Z');
    }
    if (child > 0) {
        CHECK(kill(child, 0) == 0); /* it has outlived all this */
        CHECK(kill(child, SIGKILL) == 0);
    }
    agent_kill(victim);
    if (child > 0)
        CHECK_EQ(waitpid(child, NULL, 0), child); /* it has come to this process */
}

void death_cell(struct plan plan, bool in_line)
{
    enum state state = plan.state;
    struct agent *victim = agent_new(NULL);
    bool throwing = state == GIVING || state == BEING_GIVEN;
    stage = plan.stage;
    memset(stage, 0, sizeof *stage);
    plan.partner = partner->id;
    agent_call_send(victim, victim_live, &plan, sizeof plan);
    if (throwing)
        agent_call_send(partner, partner_play, &plan, sizeof plan);
    CHECK(wait_until(is_ready, NULL, PATIENCE));
    int error = atomic_load(&stage->error);
    REQUIRE(error == 0, "the victim: %s; %d tables, %d clients in /dev/shm", error_text(error), shm_count("t."),
            shm_count("c."));
    struct pins pins = {.id = atomic_load(&stage->id)};
    if (in_line) {
        agent_send(next, "claim t -1");
        CHECK(line_has("t", 1));
    }
    if (state == IN_LINE) {
        CHECK(line_has("q", 1));
        agent_send(behind, "claim q -1");
        CHECK(line_has("q", 2));
    }
    if (state == PINNING) {
        CHECK(!horizon_passes(atomic_load(&stage->pinned), 4));
        CHECK_RC(heir_inspect_clients(NULL, find_pins, &pins), 0);
        CHECK_EQ(pins.pins, 2);
    }
    await_moment(state);
    strike(plan.kind, victim);
    tables_came(plan.kind, state, in_line);
    CHECK(wait_until(only_survivors, NULL, PATIENCE), "%d clients", shm_count("c."));
    if (state == PUTTING || state == GIVING)
        death_ledger[plan.kind].inside[state] += (unsigned)atomic_load(&stage->inside);
    content_is_whole(state);
    if (throwing)
        thrown_tables_came(plan.kind, state);
    if (state == IN_LINE)
        line_moved_up();
    if (state == PINNING) {
        pins.found = false;
        CHECK_RC(heir_inspect_clients(NULL, find_pins, &pins), 0);
        CHECK(!pins.found);
        CHECK(horizon_passes(atomic_load(&stage->pinned), 100));
    }
    process_ends(plan.kind, victim);
    CHECK_EQ(shm_count("t."), 2);
    death_ledger[plan.kind].runs[state]++;
}

void death_survivors(void)
{
    look_on();
    next = agent_new("next");
    h = agent_new("h");
    partner = agent_new("partner");
    holder = agent_new("holder");
    behind = agent_new("behind");
    DO(holder, 0, "create q");
    DO(holder, 0, "create w max=1048576");
}
