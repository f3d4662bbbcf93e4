/* SPDX-License-Identifier: MIT */
/*
 * What has happened, told once: to the journal and the counters in shared memory, and to the log.
 *
 * Telling takes longer than doing: a line of the log is a write to a file, and a claimant may be waiting for the next
 * table. So while a death is worked off what happens is held, and told when all is done: up to as much as the journal
 * has room for; of what is more the number is told.
 */
#include "atomics.h"
#include "shm.h"
#include "state.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void journal_count(struct heir_keeper *k, enum counter which, uint64_t more)
{
    word_t *counter = &k->space->counters[which];
    set(counter, peek(counter) + more);
}

static void count_most(struct heir_keeper *k, enum counter which, uint64_t value)
{
    if (peek(&k->space->counters[which]) < value)
        set(&k->space->counters[which], value);
}

/* ---- The log ------------------------------------------------------------------------------------------ */

static const char *reason_text(uint32_t reason)
{
    static const char *const text[] = {"?", "claimed", "given", "inherited", "released", "revoked"};
    return text[reason < sizeof text / sizeof text[0] ? reason : 0];
}

static void describe_end(const struct journal_entry *e, char text[64])
{
    text[0] = '\0';
    if (e->cause == HEIR_CAUSE_SIGNAL)
        snprintf(text, 64, " (signal %d, %s)", e->code, strsignal(e->code));
    else if (e->cause == HEIR_CAUSE_EXIT)
        snprintf(text, 64, " (exit %d)", e->code);
    else if (e->cause == HEIR_CAUSE_THREAD)
        snprintf(text, 64, " (its thread ended)");
}

static void describe(uint64_t id, const char *role, char text[NAME_ROOM + 32])
{
    if (id == HEIR_KEEPER)
        snprintf(text, NAME_ROOM + 32, "keeper");
    else
        snprintf(text, NAME_ROOM + 32, "client %" PRIu64 " (%s)", id, role[0] != '\0' ? role : "gone");
}

/* Clients pass tables to each other without a line in the log, too. */
static enum heir_log_level importance(const struct journal_entry *e)
{
    bool usual = e->reason == HEIR_CLAIMED || e->reason == HEIR_GIVEN || e->reason == HEIR_RELEASED;
    return usual && e->cause == HEIR_CAUSE_NONE && e->undone == 0 ? HEIR_LOG_DEBUG : HEIR_LOG_NOTICE;
}

static void say(struct heir_keeper *k, const struct journal_entry *e)
{
    char from[NAME_ROOM + 32], to[NAME_ROOM + 32], end[64];
    const char *died = e->kind == HEIR_LEFT ? "left" : "died";

    describe(e->from, e->from_role, from);
    describe(e->to, e->to_role, to);
    switch ((enum heir_happened)e->kind) {
    case HEIR_TRANSFER:
        keeper_log(k, importance(e), "table %s: epoch %" PRIu64 ", %s -> %s, %s, %" PRIu64 " changes undone", e->name,
                   e->epoch, from, to, reason_text(e->reason), e->undone);
        break;
    case HEIR_DEATH:
    case HEIR_LATE:
    case HEIR_LEFT:
        describe_end(e, end);
        keeper_log(k, HEIR_LOG_NOTICE,
                   "client %" PRIu64 " (%s, pid %d) %s: %" PRIu64 " %s reclaimed in %" PRIu64 " us%s", e->from,
                   e->from_role, e->pid, died, e->count, e->count == 1 ? "table" : "tables", e->reclaim_ns / 1000, end);
        break;
    case HEIR_CREATED:
        keeper_log(k, HEIR_LOG_NOTICE, "table %s: created by %s", e->name, to);
        break;
    case HEIR_DESTROYED:
        keeper_log(k, HEIR_LOG_NOTICE, "table %s: destroyed", e->name);
        break;
    case HEIR_RENAMED:
        keeper_log(k, HEIR_LOG_NOTICE, "table %s: renamed to %s", e->from_role, e->name);
        break;
    case HEIR_DAMAGED:
        keeper_log(k, HEIR_LOG_ERROR, "table %s: damaged, set aside", e->name);
        break;
    case HEIR_LEASE_OVER:
        keeper_log(k, HEIR_LOG_NOTICE, "table %s: %s has not renewed its lease of %" PRIu64 " ms", e->name, from,
                   e->count);
        break;
    case HEIR_KILLED:
        keeper_log(k, HEIR_LOG_NOTICE, "table %s: revoked by force: %s is killed, pid %d", e->name, from, e->pid);
        break;
    case HEIR_MORE:
        break; /* tell_held() says how many it has not said */
    case HEIR_KEEPER_START:
    case HEIR_KEEPER_STOP:
        break; /* heird says that */
    }
}

/* ---- The journal -------------------------------------------------------------------------------------- */

static void write_down(struct heir_keeper *k, const struct journal_entry *e)
{
    uint64_t n = peek(&k->space->journal_last) + 1;
    const size_t rest = offsetof(struct journal_entry, when_ns);

    if (k->journal == NULL)
        return;
    struct journal_entry *slot = &k->journal[n % JOURNAL_ENTRIES];
    set(&slot->sequence, 0);
    atomic_thread_fence(memory_order_release); /* before the rest; pairs with the look after copying */
    memcpy((uint8_t *)slot + rest, (const uint8_t *)e + rest, sizeof *e - rest);
    set(&slot->sequence, n);
    /* visible to others now: */
    set(&k->space->journal_last, n);
}

static void role_of(struct heir_keeper *k, uint64_t id, char role[NAME_ROOM])
{
    struct keeper_client *c = id != HEIR_KEEPER && role[0] == '\0' ? client_by_id(k, id) : NULL;
    if (c != NULL)
        memcpy(role, c->name, NAME_ROOM);
}

static void tell(struct heir_keeper *k, struct journal_entry *e, bool aloud)
{
    if (e->kind != HEIR_RENAMED)
        role_of(k, e->from, e->from_role);
    role_of(k, e->to, e->to_role);
    write_down(k, e);
    if (aloud)
        say(k, e);
}

/* Now, or when what goes on is done. */
static void note(struct heir_keeper *k, struct journal_entry *e)
{
    if (e->when_ns == 0)
        e->when_ns = clock_real_ns();
    if (!k->holding)
        tell(k, e, true);
    else if (k->held_count < JOURNAL_ENTRIES)
        k->held[k->held_count++] = *e;
    else
        k->held_lost++;
}

void journal_hold(struct heir_keeper *k, bool hold)
{
    k->holding = hold;
}

void journal_tell_held(struct heir_keeper *k)
{
    unsigned count = k->held_count;
    uint64_t lost = k->held_lost;

    k->held_count = 0;
    k->held_lost = 0;
    for (unsigned i = 0; i < count; i++)
        tell(k, &k->held[i], i < NOTES);
    if (count > NOTES || lost != 0)
        keeper_log(k, HEIR_LOG_NOTICE, "... and %" PRIu64 " more transfers",
                   lost + (count > NOTES ? count - NOTES : 0));
    if (lost == 0)
        return;
    journal_count(k, COUNT_EVENTS_UNTOLD, lost);
    note(k, &(struct journal_entry){.kind = HEIR_MORE, .count = lost});
}

/* ---- What may happen ---------------------------------------------------------------------------------- */

void journal_transfer(struct heir_keeper *k, const struct keeper_table *t)
{
    uint64_t word = get(&t->page->owner), epoch = owner_epoch(word);
    const struct transfer *record = &t->page->transfers[epoch & 1];
    int code;
    struct journal_entry e = {.kind = HEIR_TRANSFER, .table = t->id, .epoch = epoch, .to = owner_id(word)};
    e.committed = t->passed_at;

    if (get(&record->epoch) == epoch) { /* else it has been passed on since, by its owner */
        e.when_ns = record->since_ns;
        e.from = record->from;
        e.undone = record->undone;
        e.reason = record->reason;
        e.cause = (uint32_t)transfer_cause(record, &code);
        e.code = code;
    }
    memcpy(e.name, t->name, NAME_ROOM);
    if (e.reason >= HEIR_CLAIMED && e.reason <= HEIR_REVOKED)
        journal_count(k, COUNT_TRANSFERS_CLAIMED + (e.reason - HEIR_CLAIMED), 1);
    if (e.undone != 0 && e.to != HEIR_KEEPER)
        journal_count(k, COUNT_UNDONE, e.undone);
    note(k, &e);
}

void journal_died(struct heir_keeper *k, const struct keeper_client *c)
{
    journal_count(k,
                  c->cause == HEIR_CAUSE_SIGNAL   ? COUNT_DEATHS_SIGNAL
                  : c->cause == HEIR_CAUSE_EXIT   ? COUNT_DEATHS_EXIT
                  : c->cause == HEIR_CAUSE_THREAD ? COUNT_DEATHS_THREAD
                                                  : COUNT_DEATHS_UNKNOWN,
                  1);
    for (unsigned i = 0; i < k->held_count; i++) {
        if (k->held[i].cause == CAUSE_PENDING) {
            k->held[i].cause = c->cause;
            k->held[i].code = c->code;
        }
    }
}

void journal_end(struct heir_keeper *k, struct keeper_client *c)
{
    bool closing = get(&c->page->closing) != 0;
    struct journal_entry e = {.kind = closing   ? HEIR_LEFT
                                      : c->told ? HEIR_LATE
                                                : HEIR_DEATH,
                              .when_ns = clock_real_ns() - (clock_mono_ns() - c->ended_ns),
                              .from = c->id,
                              .cause = c->cause,
                              .code = c->code,
                              .pid = c->pid,
                              .count = c->reclaimed,
                              .reclaim_ns = c->reclaim_ns};
    if (closing && !c->told)
        journal_count(k, COUNT_CLIENTS_CLOSED, 1);
    if (!closing && c->reclaimed != 0) {
        journal_count(k, COUNT_RECLAIMS, 1);
        journal_count(k, COUNT_RECLAIM_NS, c->reclaim_ns);
        count_most(k, COUNT_RECLAIM_MAX_NS, c->reclaim_ns);
    }
    c->told = true;
    tell(k, &e, true); /* all is done, and what it consisted of is told next */
}

void journal_table(struct heir_keeper *k, enum heir_happened kind, const struct keeper_table *t,
                   const struct keeper_client *c)
{
    static const enum counter counters[] = {[HEIR_CREATED] = COUNT_TABLES_CREATED,
                                            [HEIR_DESTROYED] = COUNT_TABLES_DESTROYED,
                                            [HEIR_DAMAGED] = COUNT_TABLES_DAMAGED,
                                            [HEIR_LEASE_OVER] = COUNT_LEASES_LOST,
                                            [HEIR_KILLED] = COUNT_OWNERS_KILLED};
    struct journal_entry e = {.kind = kind, .table = t->id, .epoch = owner_epoch(get(&t->page->owner))};

    memcpy(e.name, t->name, NAME_ROOM);
    if (c != NULL)
        *(kind == HEIR_CREATED ? &e.to : &e.from) = c->id;
    if (c != NULL && kind == HEIR_KILLED)
        e.pid = c->pid;
    if (kind == HEIR_LEASE_OVER)
        e.count = t->lease_ms;
    journal_count(k, counters[kind], 1);
    note(k, &e);
}

void journal_renamed(struct heir_keeper *k, const struct keeper_table *t, const char *before)
{
    struct journal_entry e = {.kind = HEIR_RENAMED, .table = t->id};
    memcpy(e.name, t->name, NAME_ROOM);
    snprintf(e.from_role, sizeof e.from_role, "%s", before);
    journal_count(k, COUNT_TABLES_RENAMED, 1);
    note(k, &e);
}

void journal_name(struct heir_keeper *k, enum heir_happened kind, const char *name)
{
    struct journal_entry e = {.kind = kind, .when_ns = clock_real_ns()};
    snprintf(e.name, sizeof e.name, "%s", name);
    journal_count(k, kind == HEIR_DAMAGED ? COUNT_TABLES_DAMAGED : COUNT_TABLES_DESTROYED, 1);
    write_down(k, &e); /* the log says what is the matter */
}

void journal_keeper(struct heir_keeper *k, bool starts)
{
    if (starts)
        journal_count(k, COUNT_KEEPERS, 1);
    note(k, &(struct journal_entry){.kind = starts ? HEIR_KEEPER_START : HEIR_KEEPER_STOP, .pid = getpid()});
}
