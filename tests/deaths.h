/* SPDX-License-Identifier: MIT */
/*
 * The parts of the deaths test: what a victim is to do (deaths_victim.c), places in which the kernel kills or keeps it
 * (deaths_places.c), one death and what becomes of everything after it (deaths_cell.c), and the matrix (deaths.c).
 */
#ifndef HEIR_TESTS_DEATHS_H
#define HEIR_TESTS_DEATHS_H

#include "support.h"
#include <stdatomic.h>

enum kind {
    BY_KILL,       /* SIGKILL, and waited for at once */
    BY_SEGV,       /* a store to where nothing is */
    BY_ABORT,      /* abort() */
    BY_EXIT,       /* exit status 7 */
    BY_EXIT_0,     /* exit status 0 */
    BY_EXIT_OTHER, /* another thread of the process exits */
    BY_EXEC,       /* by the client's thread; the process lives on as another program */
    BY_EXEC_OTHER, /* by another thread */
    BY_THREAD_EXIT,
    BY_CANCEL,       /* at a cancellation point, also one inside of the library */
    BY_OOM,          /* memory is short in its cgroup; another thread asks for it */
    STOPPED,         /* SIGSTOP, then SIGKILL */
    DUMPING,         /* SEGV with crash_note, and the dump does not come to its end */
    IN_PID_NS,       /* SIGKILL; for itself it is process 1 */
    ZOMBIE,          /* SIGKILL, and nobody waits for it */
    LEAVING_A_CHILD, /* SIGKILL; its child has all its descriptors */
    KINDS
};
enum state { IDLE, PUTTING, IN_TRANSACTION, PINNING, GIVING, BEING_GIVEN, IN_LINE, STATES };

#define THROWN     4 /* tables in play while giving */
#define TXN_T      3 /* changes of the unfinished transactions */
#define TXN_U      2
#define EXIT_CODE  7
#define VALUE_MOST 1024

/* What victim, partner and test look at together. */
struct stage {
    _Atomic int ready, error; /* of the victim */
    _Atomic int pid, tid, child;
    _Atomic uint64_t id;
    _Atomic uint64_t pinned; /* the state of "w" that it holds */
    _Atomic int go;          /* to the victim's other thread */
    _Atomic uint64_t done;   /* steps of the victim's loop that have ended */
    _Atomic int inside;      /* it is in one */
    _Atomic uint64_t partner_done;
    _Atomic int partner_inside;
    _Atomic int over; /* to the partner: nothing will come any more */
    struct {          /* what the partner has been told of each table, and how its last gift ended */
        uint64_t told, epoch, from;
        int twice, reason, cause, code;
        int taken_back;
    } thrown[THROWN];
};

struct plan {
    struct stage *stage;
    enum kind kind;
    enum state state;
    bool threaded; /* the client is not the process' first thread's */
    uint64_t partner;
    unsigned resident; /* MiB */
    char cgroup[256], folder[128];
};

/* The victim's life, and the partner's, who throws tables back: for agent_call(). */
int victim_live(struct agent_self *self, void *plan);
int partner_play(struct agent_self *self, void *plan);

/* Is this the value that PUTTING stores in step n? Its length is len. */
uint64_t victim_value(unsigned char *value, uint64_t n); /* the length */

/* A memory cgroup for one to be killed in. false: it cannot be made, and why. */
bool oom_place(char *path, size_t size, const char **why);
void oom_place_remove(void);

/* A folder in which a dump stands still when it is about to open its file, until it is let go. */
struct dump_place {
    char folder[128];
    int fd;       /* fanotify; -1: dumps only take long here */
    int event_fd; /* the dump's file, waiting for leave; -1: none */
};
bool dump_place(struct dump_place *place, const char **why);
bool dump_stands(struct dump_place *place); /* it has come so far (waits for it); true also if that cannot be seen */
void dump_let_go(struct dump_place *place);
void dump_place_remove(struct dump_place *place);
bool process_is_dumping(int pid);
char process_state(int pid); /* of /proc/PID/stat; 0: there is none */

/* ---- The matrix --------------------------------------------------------------------------------------- */

#define DEATH_SURVIVORS 6 /* clients: next, h, partner, holder, behind, and the eye */

struct fate {
    const char *name;
    enum heir_cause cause;
    int code;
    bool lives; /* the process does */
};
extern const struct fate death_fates[KINDS];

struct death_ledger {
    unsigned runs[STATES];
    unsigned inside[STATES]; /* of a call, or the table was taken back */
    unsigned unknown;        /* cause: it was waited for before the keeper could look */
    unsigned over;           /* dumps that were over before one could look */
    char why[128];           /* why it could not be done */
};
extern struct death_ledger death_ledger[KINDS];
extern struct rnd death_rnd;
extern struct dump_place death_dump;

/* Start a keeper and those who outlive the others. */
void death_survivors(void);
/* One death, with a claimant in line for "t", or not. */
void death_cell(struct plan plan, bool in_line);

#endif
