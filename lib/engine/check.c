/* SPDX-License-Identifier: MIT */
/*
 * Is a table whole?
 *
 * A pass (pass.h) looks at all of it as its next owner would find it (past.h), and takes no lock. A pass during which
 * nothing has changed is the truth. In any other one, what is found may come from looking at different moments; so it
 * is done again, until nothing is left, or something has come so often that it cannot be chance.
 *
 * What one pass has found and another one has not was motion: for a pass does not lose sight of what is left alone,
 * whatever is changed around it, so that motion makes findings of what moves only; and a finding's mark tells what
 * stood there, and what moves is another thing each time. But a pass may have been partial: beyond something damaged,
 * or when the table moves too fast, it leaves out what it cannot come to, and knows it. A partial pass accuses of what
 * it has seen, and acquits nobody; and a table in which nothing is found is looked at until it has been seen as a
 * whole.
 */
#include "check.h"
#include "pass.h"
#include "shm.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEADER_TRIES   100
#define PASSES_LEAST   3   /* that were not partial, though nothing is found */
#define PASSES_CERTAIN 12  /* what came in so many is no chance */
#define PASSES_MOST    100 /* if there is time for so many */
#define TIME_MOST_NS   UINT64_C(3000000000)

/* What no writer can leave as it is, whatever it does: log_count grows with each word that is changed, and falls again
 * only after `rollbacks` has been raised. */
struct moment {
    uint64_t committed, rollbacks, next_horizon, log_txn, log_count, limit, log_floor;
};

static struct moment moment_now(const struct store *s)
{
    const struct view *v = view_of(s);
    const struct ledger *l = ledger_of(s);
    return (struct moment){get(&v->committed), get(&v->rollbacks), get(&l->next_horizon), get(&l->log_txn),
                           get(&l->log_count), get(&v->limit),     get(&l->log_floor)};
}

/* Who does the same again and again must not be in step with us: each pass would come upon it at the same place. */
static void fall_out_of_step(uint64_t pass)
{
    const struct timespec pause = {.tv_nsec = (long)((clock_mono_ns() ^ pass) * UINT64_C(0x9e3779b97f4a7c15) >> 47)};
    nanosleep(&pause, NULL);
}

static int report_all(const struct findings *f, unsigned times, heir_finding *report, void *arg)
{
    for (size_t i = 0; report != NULL && i < f->count; i++)
        if (f->list[i].times >= times)
            report(f->list[i].law, f->list[i].what, f->list[i].where, arg);
    return (int)findings_certain(f, times);
}

int check_store(const struct store *s, heir_finding *report, void *arg)
{
    struct heir_account account;
    struct findings found;
    int r = pass_run(s, &found, &account);
    if (r >= 0)
        r = report_all(&found, 1, report, arg);
    free(found.list);
    return r;
}

/* A pass; quiet: nothing has changed meanwhile. One that has come no further than the header, because that was being
 * changed, is none. */
static int look(const struct store *s, struct findings *found, struct heir_account *sums, bool *quiet)
{
    for (int tries = 1;; tries++) {
        struct moment before = {0}, after = {0};
        bool there = shm_reaches(s->base, PAGE_BYTES);
        if (there)
            before = moment_now(s);
        int r = pass_run(s, found, sums);
        if (there && shm_reaches(s->base, PAGE_BYTES)) {
            atomic_thread_fence(memory_order_acquire);
            after = moment_now(s);
        }
        *quiet = memcmp(&before, &after, sizeof before) == 0;
        if (r != 1 || *quiet || tries == HEADER_TRIES)
            return r < 0 ? r : 0;
        free(found->list);
        *found = (struct findings){0};
    }
}

int check_table(const struct store *s, heir_finding *report, void *arg, struct heir_account *account)
{
    struct heir_account sums = {0};
    struct findings left = {0};
    uint64_t began = clock_mono_ns();
    unsigned passes = 0, whole = 0; /* whole: those that were not partial */
    bool quiet = false;
    int r = 0;

    for (;;) {
        struct heir_account now;
        struct findings found = {0};
        r = look(s, &found, &now, &quiet);
        passes++;
        if (quiet || whole == 0 || findings_whole(&found))
            sums = now;
        if (quiet) {
            free(left.list);
            left = found;
        } else {
            findings_merge(&left, &found, !findings_whole(&found), whole == 0);
            whole += findings_whole(&found);
            free(found.list);
            r = left.no_memory ? -ENOMEM : r;
        }

        bool over = passes >= PASSES_CERTAIN && clock_mono_ns() - began > TIME_MOST_NS;
        if (r < 0 || quiet || (left.count == 0 && whole >= PASSES_LEAST) ||
            (over && findings_certain(&left, PASSES_CERTAIN) > 0) || passes == PASSES_MOST)
            break;
        fall_out_of_step(passes);
    }
    if (r == 0)
        r = report_all(&left, quiet ? 1 : PASSES_CERTAIN, report, arg);
    free(left.list);
    if (account != NULL && r >= 0) {
        *account = sums;
        account->findings = (uint64_t)r;
    }
    return r;
}
