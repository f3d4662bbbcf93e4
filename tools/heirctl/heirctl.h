/* SPDX-License-Identifier: MIT */
/*
 * What the verbs of heirctl share: the settings of this run, reports of errors, keys and values as text, aligned
 * tables, colours, owners by their id, and the handle to write through.
 *
 * Everything here stands on the public headers alone. A function that reports an error has written it to stderr (and
 * with --json as an object to stdout) when it returns the exit status; the verb returns that status and writes no more.
 */
#ifndef HEIRCTL_H
#define HEIRCTL_H

#include <heir.h>
#include <heir/admin.h>
#include <heir/inspect.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum exit_status { DONE = 0, REFUSED = 1, WRONG_USAGE = 2, NO_KEEPER = 3 };

struct ctl {
    const char *ns, *socket; /* as given; NULL: the library's default */
    const char *restarts, *format, *output, *batch, *type, *max_bytes, *count; /* options of verbs; NULL: not given */
    bool json, help, version, yes, force, follow, prometheus, dry_run, integer, changes, no_pin, salvage;
    const struct verb *verb; /* NULL until it is known */
    char **args;             /* the verb's arguments; a NULL behind the last */
    int nargs;
};

struct verb {
    const char *name, *arguments, *line; /* line: what it does, for the list */
    const char *text;                    /* the rest of its --help */
    const char *options;    /* those that it has beside the global ones, a space behind each; may be NULL */
    int min_args, max_args; /* max -1: a command, taken as it stands after the first word or -- */
    enum exit_status (*run)(struct ctl *ctl);
};

extern const struct verb verb_ls, verb_info, verb_clients, verb_check, verb_get, verb_put, verb_del, verb_dump,
    verb_load, verb_give, verb_revoke, verb_rm, verb_purge, verb_ping, verb_run, verb_explain, verb_events, verb_stats,
    verb_watch, verb_gc, verb_top;

/* ---- main.c: what there is; complete.c: the same for shells --------------------------------------------- */

struct option {
    const char *name, *what; /* what it wants */
    size_t offset;           /* of the pointer in struct ctl */
    const char *values;      /* for shells: words, ":file", or "" */
    bool global;
};

struct flag {
    const char *name, *what; /* what it does */
    size_t offset;           /* of the bool in struct ctl */
    bool global;
};

extern const struct verb *const verbs[];  /* a NULL behind the last */
extern const struct flag flag_list[];     /* a NULL name behind the last */
extern const struct option option_list[]; /* a NULL name behind the last */
const struct verb *verb_find(const char *name);
bool verb_has(const struct verb *verb, const char *option);

enum exit_status complete(char **words);
const char *explain_name(size_t i); /* of the i-th error; NULL behind the last */

/* ---- report.c: errors and JSON ------------------------------------------------------------------------ */

const char *ctl_ns(const struct ctl *ctl); /* the namespace by its name, for sentences */
struct heir_open_options ctl_options(const struct ctl *ctl);

/* "heirctl: SENTENCE". error: the negative errno behind it, or 0. */
enum exit_status ctl_fail(const struct ctl *ctl, enum exit_status status, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "heirctl: WHAT: heir_strerror(error)", with the exit status that goes with the error. */
enum exit_status ctl_fail_error(const struct ctl *ctl, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "heirctl: SENTENCE (heirctl VERB --help tells more)". */
enum exit_status ctl_fail_usage(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum exit_status ctl_fail_no_table(const struct ctl *ctl, const char *table);

json_t *json_error(int error, const char *message);
json_t *json_text(const char *text); /* NULL: null */
/* Takes the object. Returns DONE. */
enum exit_status json_print(json_t *object);
/* At the end of everything: was all of stdout written? */
enum exit_status ctl_flush(const struct ctl *ctl, enum exit_status status);

/* ---- text.c: bytes, sizes, times ---------------------------------------------------------------------- */

struct bytes {
    unsigned char *data; /* never NULL after bytes_parse() */
    size_t len;
};

void *must_alloc(size_t size); /* ends the program when there is no memory */
void *must_resize(void *memory, size_t size);

int digit_value(char digit); /* of a hexadecimal digit, -1: none */
/* Text, or 0x and hexadecimal digits. Returns NULL, or what is wrong with the word. *bytes: to be freed. */
const char *bytes_parse(const char *word, struct bytes *bytes);
/* The reverse: always taken back by bytes_parse() to the same bytes. To be freed. */
char *bytes_text(const void *data, size_t len);
/* For sentences: with a ? in place of each byte that is no part of a printable character, so that a word that somebody
 * else has chosen cannot control the terminal. */
void text_clean(char *text);
/* Parse the argument as a key; on error the report's exit status, else DONE. */
enum exit_status key_parse(const struct ctl *ctl, const char *word, struct bytes *key);

#define TEXT_MAX 48
void size_text(char out[TEXT_MAX], uint64_t bytes);
void duration_text(char out[TEXT_MAX], uint64_t ms);
void age_text(char out[TEXT_MAX], uint64_t since_ns); /* of a moment of CLOCK_REALTIME; 0: "-" */
uint64_t age_ms(uint64_t since_ns);

bool table_name_ok(const char *name);
bool ns_name_ok(const char *name);
const char *type_text(enum heir_type type);
const char *access_text(enum heir_access access);
const char *state_text(char state);
const char *reason_text(enum heir_reason reason);
/* "signal 11, SIGSEGV", "exit 3", "its thread ended", "unknown"; "" for none. */
void cause_text(char out[TEXT_MAX], enum heir_cause cause, int code);
const char *signal_text(int signal); /* "SIGSEGV"; NULL: no name */

/* "64M": a number of bytes, with K, M, G for powers of 1024. */
bool size_parse(const char *text, uint64_t *bytes);

/* ---- colour.c -------------------------------------------------------------------------------------------- */

enum colour { PLAIN, BOLD, RED, YELLOW };
bool colours_wanted(void); /* a terminal, and no NO_COLOR */
/* Around what is printed to stdout; nothing where no colours are wanted. */
void colour_begin(enum colour colour);
void colour_end(enum colour colour);
enum colour state_colour(char state); /* of a client */

/* ---- grid.c: aligned tables --------------------------------------------------------------------------- */

struct grid;
/* titles: NULL at the end; one that begins with '>' is of a column of numbers, aligned to the right. Kept, not copied.
 */
struct grid *grid_new(const char *const *titles);
void grid_add(struct grid *grid, const char *text); /* the next cell; copied */
void grid_add_coloured(struct grid *grid, const char *text, enum colour colour);
void grid_add_number(struct grid *grid, uint64_t number);
void grid_print(const struct grid *grid);
void grid_free(struct grid *grid);

/* ---- progress.c: a line on the terminal for what takes long ------------------------------------------------ */

struct progress {
    const char *what; /* NULL: nobody to tell */
    uint64_t done, total, shown_ns;
};

/* total 0: not known. quiet: stay silent in any case. */
void progress_begin(struct progress *progress, const char *what, uint64_t total, bool quiet);
void progress_step(struct progress *progress);
void progress_clear(void); /* before anything else is printed; reports of errors do it */

/* ---- owner.c: clients by their id --------------------------------------------------------------------- */

struct people {
    struct person {
        struct heir_client_info info;
        int error; /* then only info.id is known */
    } * list;      /* by their ids, upwards */
    size_t count;
    struct heir_pin *pins;
    size_t pin_count;
};

/* Returns 0 or an error; the list is then what could be read before it. people_free() in both cases. */
int people_load(const struct ctl *ctl, struct people *people);
void people_free(struct people *people);
const struct heir_client_info *people_find(const struct people *people, uint64_t id); /* NULL: unknown */
/* How many pins a client has, on a table; 0: any of them. *oldest_ns (may be NULL): since when; 0: none. */
uint64_t people_pins(const struct people *people, uint64_t client, uint64_t table, uint64_t *oldest_ns);
/* "client 7 (worker, pid 123)", "the keeper". To be freed. */
char *owner_text(const struct people *people, uint64_t id);
json_t *owner_json(const struct people *people, uint64_t id);
json_t *heir_json(const char *heir);
json_t *cause_json(enum heir_cause cause, int code); /* null for none */
const char *heir_text(const char *heir);

/* ---- tables.c: all tables, and the pins on them ---------------------------------------------------------- */

struct tables {
    struct entry {
        struct heir_info info;
        int error; /* then only info.name is known */
    } * list;
    size_t count;
};

int tables_load(const struct ctl *ctl, struct tables *tables); /* as people_load() */
void tables_free(struct tables *tables);
const struct heir_info *tables_find(const struct tables *tables, uint64_t id); /* NULL: unknown */
/* "transaction 812, 30 behind, since 3.2s"; table may be NULL. */
void pin_text(char out[4 * TEXT_MAX], const struct heir_pin *pin, const struct heir_info *table);
json_t *pin_json(const struct heir_pin *pin, const struct heir_info *table);

/* ---- counters.c: what is counted, by the keeper and in a table -------------------------------------------- */

struct counters {
    struct heir_counter *list;
    size_t count;
};

int counters_load(const struct ctl *ctl, struct counters *counters); /* as people_load() */
void counters_free(struct counters *counters);
void counter_text(char name[96], char value[TEXT_MAX], const struct heir_counter *counter);
void counters_print(const struct counters *counters, const char *indent, struct grid *grid); /* name, value, text */
json_t *counters_json(const struct counters *counters);

/* What is counted of each table, from its heir_info. */
extern const struct measure {
    const char *name, *unit, *text; /* unit: "" a number of things, "bytes" */
    bool level;                     /* it may fall again */
    size_t offset;                  /* in struct heir_info */
} measures[];                       /* a NULL name behind the last */
uint64_t measure_of(const struct heir_info *info, const struct measure *measure);

/* ---- happening.c: what the keeper's journal tells -------------------------------------------------------- */

/* As heird's log has it: UTC, so that the two can be laid side by side. */
void time_text(char out[TEXT_MAX], uint64_t when_ns);
json_t *happening_json(const struct heir_happening *happening);
/* A line: text, or with --json an object. */
void happening_print(const struct ctl *ctl, const struct heir_happening *happening);
/* The same for a word on the events themselves: such as that some are missing. */
void happening_remark(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Where a reader of the journal stands. */
struct journal_place {
    uint64_t journal, sequence; /* 0: at the beginning */
};
/* Note that this one comes next. Returns how many have been missed before it; UINT64_MAX: it is another journal. */
uint64_t journal_step(struct journal_place *place, const struct heir_happening *happening);
void journal_remark(const struct ctl *ctl, uint64_t missed); /* of what journal_step() returned */

/* ---- changes.c: what is changed in a table ----------------------------------------------------------------- */

struct changes; /* of one table */
/* By which a keeper holds changes for us. NULL: none answers. */
struct heir *changes_client(const struct ctl *ctl);
/* From transaction `from` on, 0: the next one. client may be NULL. Returns 0, or why the table cannot be read; -ENOENT
 * also when there is another one of this name. */
int changes_open(const struct ctl *ctl, struct heir *client, const char *name, uint64_t id, uint64_t from,
                 struct changes **changes);
void changes_close(struct changes *changes);
/* As far as which all is sure to be of owners up to this epoch, 0: not known. What nobody holds does not wait for that:
 * all. */
uint64_t changes_safe(const struct changes *changes, uint64_t epoch);
int changes_print(struct changes *changes, const char *name, uint64_t up_to); /* 0: all. An error of the library */
uint64_t changes_told(const struct changes *changes);                         /* the last transaction */

/* ---- stop.c: pausing, and being stopped ---------------------------------------------------------------- */

void pause_ms(unsigned ms); /* shorter when a signal comes */
/* Have what would end us be noted instead: INT, TERM, HUP, PIPE; but what is ignored stays so. */
void stop_begin(void);
int stop_signal(void); /* the one that came; 0: none */
void stop_now(void);   /* die of it after all */

/* ---- ask.c: before something is lost ------------------------------------------------------------------- */

/* DONE with --yes, or after a yes on the terminal; without either a report. */
enum exit_status ctl_ask(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- writing.c: a table to write to ------------------------------------------------------------------- */

struct writing {
    struct heir *client;
    struct heir_table *table;
    struct heir_info info;
    bool claimed, created;
    sigset_t signals; /* the mask before */
};

/* Into a struct that is all zero, or again after writing_pause(). On error the report's exit status; then there is
 * nothing to end. create: how to make a table that is missing (`created` tells); NULL: it is refused. */
enum exit_status writing_begin(const struct ctl *ctl, const char *name, const struct heir_table_options *create,
                               struct writing *writing);
void writing_pause(struct writing *writing); /* the table is released, the client stays */
void writing_end(struct writing *writing);   /* also where nothing has begun */
/* The same in two halves, for a verb that needs the table for itself, also a public one: become a client; become the
 * owner, without waiting, for a deed ("give away"). */
enum exit_status writing_join(const struct ctl *ctl, struct writing *writing);
enum exit_status writing_own(const struct ctl *ctl, const char *name, const char *deed, struct writing *writing);
/* Reports that a client owns the table, and what to do about it. */
enum exit_status writing_fail_busy(const struct ctl *ctl, const char *name, const char *deed);
/* Reports why a write was refused. */
enum exit_status writing_fail(const struct ctl *ctl, const struct writing *writing, int error, const char *what);

#endif
