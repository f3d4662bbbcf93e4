/* SPDX-License-Identifier: MIT */
/*
 * Every death of a client, in every state that it can be in (section 5 of the design): O16 of the list in ownership.c.
 *
 * A cell of the matrix is one death. The victim owns "t", whose heir is the keeper, and "u", whose heir is "h", and is
 * in the state's middle. After it:
 *   - "t" is the claimant's: one that waits in line or, every other time, the keeper's and then a later claimant's; "u"
 *     is h's; both within a deadline, at their last commit, whole, and with the right number of undone changes;
 *   - the events have reason, previous owner, cause and code;
 *   - the victim's pins, its place in a line and its client page are gone;
 *   - tables that were being given have one owner each, and whoever owns one and lives was told so, once an epoch.
 * Deaths in a loop (putting, giving, being given to) come at a random moment, and preferably inside of a call. A ledger
 * ends the run.
 */
#include "deaths.h"

#include <heir/admin.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const struct fate death_fates[KINDS] = {
    [BY_KILL] = {"SIGKILL", HEIR_CAUSE_SIGNAL, SIGKILL, false},
    [BY_SEGV] = {"SEGV", HEIR_CAUSE_SIGNAL, SIGSEGV, false},
    [BY_ABORT] = {"abort", HEIR_CAUSE_SIGNAL, SIGABRT, false},
    [BY_EXIT] = {"exit 7", HEIR_CAUSE_EXIT, EXIT_CODE, false},
    [BY_EXIT_0] = {"exit 0", HEIR_CAUSE_EXIT, 0, false},
    [BY_EXIT_OTHER] = {"another thread's exit 7", HEIR_CAUSE_EXIT, EXIT_CODE, false},
    [BY_EXEC] = {"exec", HEIR_CAUSE_THREAD, 0, true},
    [BY_EXEC_OTHER] = {"another thread's exec", HEIR_CAUSE_THREAD, 0, true},
    [BY_THREAD_EXIT] = {"thread exit", HEIR_CAUSE_THREAD, 0, true},
    [BY_CANCEL] = {"thread cancel", HEIR_CAUSE_THREAD, 0, true},
    [BY_OOM] = {"out of memory", HEIR_CAUSE_SIGNAL, SIGKILL, false},
    [STOPPED] = {"while stopped", HEIR_CAUSE_SIGNAL, SIGKILL, false},
    [DUMPING] = {"while dumping core", HEIR_CAUSE_SIGNAL, SIGSEGV, true},
    [IN_PID_NS] = {"in a pid namespace", HEIR_CAUSE_SIGNAL, SIGKILL, false},
    [ZOMBIE] = {"as a zombie", HEIR_CAUSE_SIGNAL, SIGKILL, false},
    [LEAVING_A_CHILD] = {"leaving a child", HEIR_CAUSE_SIGNAL, SIGKILL, false}};

static const char *const states[STATES] = {"idle",   "mid-put",     "mid-transaction", "holding a pin",
                                           "giving", "being given", "in line"};

struct death_ledger death_ledger[KINDS];

/* ---- The matrix --------------------------------------------------------------------------------------- */

static void all_states(struct plan plan)
{
    struct heir_keeper_status status;
    int times = (int)(test_seconds(10) / 10 + 0.7); /* a third of it is once, too */
    death_rnd.state = test_seed ^ (uint64_t)plan.kind << 32;
    struct stage *stage = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stage != MAP_FAILED);
    death_survivors();
    plan.stage = stage;
    for (int s = 0; s < STATES; s++) {
        plan.state = (enum state)s;
        int runs = (plan.state == PUTTING || plan.state == GIVING || plan.state == BEING_GIVEN ? 6 : 4) *
                   (times > 0 ? times : 1);
        for (int run = 0; run < runs; run++) {
            unsigned failures = CU_get_number_of_failures();
            plan.threaded = run / 2 % 2;
            death_cell(plan, run % 2);
            if (CU_get_number_of_failures() != failures) {
                fprintf(stderr, "\nin: %s, %s, run %d (client in %s thread, %s)\n", death_fates[plan.kind].name,
                        states[s], run, plan.threaded ? "another" : "the first",
                        run % 2 ? "a claimant in line" : "nobody in line");
                return; /* what follows would only repeat it */
            }
        }
    }
    CHECK_RC(test_ping(&status), 0);
    CHECK_EQ(status.clients, DEATH_SURVIVORS);
    CHECK_EQ(status.tables, 2);
    munmap(stage, sizeof *stage);
}

static void cannot(enum kind kind, const char *why)
{
    snprintf(death_ledger[kind].why, sizeof death_ledger[kind].why, "%s", why);
    test_skip("%s", why);
}

#define DIES(name, how)                                                                                                \
    static void name(void)                                                                                             \
    {                                                                                                                  \
        all_states((struct plan){.kind = (how)});                                                                      \
    }
DIES(by_kill, BY_KILL)
DIES(by_segv, BY_SEGV)
DIES(by_abort, BY_ABORT)
DIES(by_exit, BY_EXIT)
DIES(by_exit_0, BY_EXIT_0)
DIES(by_exit_other, BY_EXIT_OTHER)
DIES(by_exec, BY_EXEC)
DIES(by_exec_other, BY_EXEC_OTHER)
DIES(while_stopped, STOPPED)
DIES(as_a_zombie, ZOMBIE)
DIES(leaving_a_child, LEAVING_A_CHILD)

static void by_thread_exit(void)
{
    if (TEST_ASAN)
        cannot(BY_THREAD_EXIT, "the sanitizer takes unwinding out of a signal handler for a bug");
    else
        all_states((struct plan){.kind = BY_THREAD_EXIT});
}

static void by_cancel(void)
{
    if (TEST_ASAN)
        cannot(BY_CANCEL, "the sanitizer takes the unwinding of a cancelled thread for a bug");
    else
        all_states((struct plan){.kind = BY_CANCEL});
}

static void by_oom(void)
{
    struct plan plan = {.kind = BY_OOM};
    const char *why;
    if (!oom_place(plan.cgroup, sizeof plan.cgroup, &why)) {
        cannot(BY_OOM, why);
        return;
    }
    all_states(plan);
    oom_place_remove();
}

static void while_dumping(void)
{
    struct plan plan = {.kind = DUMPING};
    const char *why;
    if (!dump_place(&death_dump, &why)) {
        cannot(DUMPING, why);
        return;
    }
    snprintf(plan.folder, sizeof plan.folder, "%s", death_dump.folder);
    plan.resident = death_dump.fd >= 0 ? 0 : 256;
    all_states(plan);
    dump_place_remove(&death_dump);
}

static void in_a_pid_namespace(void)
{
    if (geteuid())
        cannot(IN_PID_NS, "it takes root to make a pid namespace");
    else
        all_states((struct plan){.kind = IN_PID_NS});
}

static void print_ledger(void)
{
    printf("\n# runs (of them inside of a call; being given: tables taken back)\n# %-24s", "");
    for (int s = 0; s < STATES; s++)
        printf(" %15s", states[s]);
    for (int k = 0; k < KINDS; k++) {
        printf("\n# %-24s", death_fates[k].name);
        for (int s = 0; s < STATES && !death_ledger[k].why[0]; s++) {
            char text[32];
            snprintf(text, sizeof text, s == PUTTING || s == GIVING || s == BEING_GIVEN ? "%u (%u)" : "%u",
                     death_ledger[k].runs[s], death_ledger[k].inside[s]);
            printf(" %15s", text);
        }
        if (death_ledger[k].why[0])
            printf(" not done: %s", death_ledger[k].why);
        if (death_ledger[k].unknown)
            printf("  cause unknown %u times", death_ledger[k].unknown);
        if (death_ledger[k].over)
            printf("  %u dumps were over too early to be seen", death_ledger[k].over);
    }
    printf("\n");
}

static const struct test tests[] = {{"O16 SIGKILL", by_kill},
                                    {"O16 SEGV", by_segv},
                                    {"O16 abort", by_abort},
                                    {"O16 exit 7", by_exit},
                                    {"O16 exit 0", by_exit_0},
                                    {"O16 another thread's exit", by_exit_other},
                                    {"O16 exec", by_exec},
                                    {"O16 another thread's exec", by_exec_other},
                                    {"O16 thread exit", by_thread_exit},
                                    {"O16 thread cancel", by_cancel},
                                    {"O16 out of memory", by_oom},
                                    {"O16 while stopped", while_stopped},
                                    {"O16 while dumping core", while_dumping},
                                    {"O16 in a pid namespace", in_a_pid_namespace},
                                    {"O16 as a zombie", as_a_zombie},
                                    {"O16 leaving a child", leaving_a_child},
                                    {"ledger", print_ledger},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "deaths", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
