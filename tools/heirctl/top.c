/* SPDX-License-Identifier: MIT */
/*
 * heirctl top: a live screen of the namespace.
 *
 * Everything is read from shared memory once a second, and rates are what has changed since the look before: commits by
 * the number of the last committed transaction, transfers by the epochs, which also count what clients give to each
 * other directly. Two pages: the tables, and the counters.
 */
#include "heirctl.h"
#include <curses.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 1000
#define HEAD    5 /* lines above the rows */

enum column { NAME, OWNER, STATE, EPOCH, OBJECTS, USED, COMMITS, TRANSFERS, WAITING, PINNED, COLUMNS_USED };

static const struct {
    const char *title;
    int width; /* negative: text, aligned to the left */
    char key;  /* sorts by it */
} columns[COLUMNS_USED] = {
    [NAME] = {"NAME", -18, 'n'},        [OWNER] = {"OWNER", -14, 'o'},          [STATE] = {"STATE", -8, 's'},
    [EPOCH] = {"EPOCH", 8, 'e'},        [OBJECTS] = {"OBJECTS", 9, 'b'},        [USED] = {"USED", 8, 'u'},
    [COMMITS] = {"COMMITS/S", 10, 'c'}, [TRANSFERS] = {"TRANSFERS/S", 12, 't'}, [WAITING] = {"WAITING", 8, 'w'},
    [PINNED] = {"PINNED", 8, 'p'},
};

struct row {
    struct heir_info info;
    int error;
    double commits, transfers; /* a second */
    const struct heir_client_info *owner;
    uint64_t pinned_ns; /* since when its oldest pin is; 0: it has none */
};

struct look {
    struct row *rows;
    size_t count;
    struct people people;
    struct counters counters;
    uint64_t when_ns;
};

struct screen {
    const struct ctl *ctl;
    struct look now, before;
    enum column sort;
    bool colours, counters; /* which page */
    size_t first;           /* row shown on top */
};

static volatile sig_atomic_t ended;

static void on_signal(int signal)
{
    ended = signal;
}

/* ---- Looking ------------------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int add_table(const struct heir_info *info, int error, void *arg)
{
    struct look *look = arg;
    look->rows = must_resize(look->rows, (look->count + 1) * sizeof *look->rows);
    look->rows[look->count++] = (struct row){.info = *info, .error = error};
    return 0;
}

static void look_free(struct look *look)
{
    people_free(&look->people);
    counters_free(&look->counters);
    free(look->rows);
    *look = (struct look){0};
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = ((const struct row *)a)->info.id, y = ((const struct row *)b)->info.id;
    return (x > y) - (x < y);
}

static void set_rates(struct screen *s)
{
    double seconds = (double)(s->now.when_ns - s->before.when_ns) / 1e9;
    if (s->before.count > 1) /* of none there is no array */
        qsort(s->before.rows, s->before.count, sizeof *s->before.rows, by_id);
    for (size_t i = 0; i < s->now.count; i++) {
        struct row *row = &s->now.rows[i];
        const struct row *before = s->before.count == 0 || row->error < 0
                                       ? NULL
                                       : bsearch(row, s->before.rows, s->before.count, sizeof *row, by_id);
        row->owner = people_find(&s->now.people, row->info.owner);
        if (row->error == 0)
            people_pins(&s->now.people, 0, row->info.id, &row->pinned_ns);
        if (before == NULL || before->error < 0 || seconds <= 0)
            continue;
        row->commits = (double)(row->info.committed - before->info.committed) / seconds;
        row->transfers = (double)(row->info.epoch - before->info.epoch) / seconds;
    }
}

static int look(struct screen *s)
{
    look_free(&s->before);
    s->before = s->now;
    s->now = (struct look){0};
    s->now.when_ns = now_ns();
    int error = heir_inspect_tables(s->ctl->ns, add_table, &s->now);
    if (error == 0)
        error = people_load(s->ctl, &s->now.people);
    if (error == 0)
        error = counters_load(s->ctl, &s->now.counters);
    set_rates(s);
    return error;
}

/* ---- Sorting ------------------------------------------------------------------------------------------ */

static const char *owner_name(const struct row *row)
{
    return row->info.owner == HEIR_KEEPER ? "keeper" : row->owner != NULL ? row->owner->name : "unknown";
}

static const char *owner_state(const struct row *row)
{
    return row->info.owner == HEIR_KEEPER ? "-" : state_text(row->owner != NULL ? row->owner->state : '?');
}

static enum column sorted_by;

static double measure(const struct row *row)
{
    switch (sorted_by) {
    case EPOCH:
        return (double)row->info.epoch;
    case OBJECTS:
        return (double)row->info.objects;
    case USED:
        return (double)row->info.bytes_used;
    case COMMITS:
        return row->commits;
    case TRANSFERS:
        return row->transfers;
    case WAITING:
        return (double)row->info.waiting;
    case PINNED:
        return row->pinned_ns == 0 ? -1 : (double)age_ms(row->pinned_ns);
    default:
        return 0;
    }
}

/* Names upwards, numbers downwards. */
static int compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    double more = measure(y) - measure(x);
    int order = more > 0 ? 1 : more < 0 ? -1 : 0;
    if (sorted_by == OWNER)
        order = strcmp(owner_name(x), owner_name(y));
    else if (sorted_by == STATE)
        order = strcmp(owner_state(x), owner_state(y));
    return order != 0 ? order : strcmp(x->info.name, y->info.name);
}

/* ---- Drawing ------------------------------------------------------------------------------------------ */

static void total_line(int line, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* No further than the window reaches: curses would go on in the next line. */
static void total_line(int line, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    mvaddnstr(line, 0, text, COLS);
}

/* The sum of all counters of a name, or the one with this label. */
static uint64_t counted(const struct look *look, const char *name, const char *label)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < look->counters.count; i++) {
        const struct heir_counter *c = &look->counters.list[i];
        if (strcmp(c->name, name) == 0 && (label == NULL || strcmp(c->label_value, label) == 0))
            sum += c->value;
    }
    return sum;
}

static void draw_totals(const struct screen *s)
{
    uint64_t objects = 0, used = 0, pins, oldest_ns, waiting = 0, unreadable = 0, stopped = 0, dumping = 0, dead = 0;
    double commits = 0, transfers = 0, deaths = 0;
    char size[TEXT_MAX], age[TEXT_MAX];
    const struct look *l = &s->now;

    for (size_t i = 0; i < l->count; i++) {
        const struct row *row = &l->rows[i];
        unreadable += row->error < 0;
        objects += row->info.objects;
        used += row->info.bytes_used;
        waiting += row->info.waiting;
        commits += row->commits;
        transfers += row->transfers;
    }
    for (size_t i = 0; i < l->people.count; i++) {
        const struct heir_client_info *info = &l->people.list[i].info;
        stopped += info->state == 'T';
        dumping += info->state == 'D';
        dead += info->state == 'X' || info->state == 'Z';
    }
    if (s->before.when_ns != 0)
        deaths = (double)(counted(l, "deaths", NULL) - counted(&s->before, "deaths", NULL)) * 1e9 /
                 (double)(l->when_ns - s->before.when_ns);
    pins = people_pins(&l->people, 0, 0, &oldest_ns);
    age_text(age, oldest_ns);
    size_text(size, used);
    total_line(0, "heirctl top: namespace '%s'", ctl_ns(s->ctl));
    total_line(1, "tables %zu (%" PRIu64 " unreadable), objects %" PRIu64 ", used %s, claims waiting %" PRIu64,
               l->count, unreadable, objects, size, waiting);
    total_line(2,
               "clients %zu (%" PRIu64 " stopped, %" PRIu64 " dumping, %" PRIu64 " dead), pins %" PRIu64
               " (oldest %s), commits %.0f/s, transfers %.0f/s",
               l->people.count, stopped, dumping, dead, pins, age, commits, transfers);
    total_line(3,
               "deaths %.1f/s, by signal %" PRIu64 ", exit %" PRIu64 ", thread %" PRIu64 ", unknown %" PRIu64
               "; the keeper's transfers %" PRIu64,
               deaths, counted(l, "deaths", "signal"), counted(l, "deaths", "exit"), counted(l, "deaths", "thread"),
               counted(l, "deaths", "unknown"), counted(l, "transfers", NULL));
}

static void cell(int line, int *x, enum column column, const char *text)
{
    int width = columns[column].width;
    if (*x + abs(width) <= COLS)
        mvprintw(line, *x, "%*.*s", width, abs(width), text);
    *x += abs(width) + 1;
}

static void number_cell(int line, int *x, enum column column, double number)
{
    char text[TEXT_MAX];
    snprintf(text, sizeof text, "%.0f", number);
    cell(line, x, column, text);
}

static void draw_row(const struct screen *s, int line, const struct row *row)
{
    char size[TEXT_MAX], age[TEXT_MAX];
    int x = 0;
    bool ill = row->error < 0 || (row->owner != NULL && row->owner->state != 'R' && row->info.owner != HEIR_KEEPER);

    if (ill && s->colours)
        attron(COLOR_PAIR(row->error < 0 ? 1 : 2));
    cell(line, &x, NAME, row->info.name);
    if (row->error < 0) {
        mvaddnstr(line, x, heir_strerror(row->error), COLS > x ? COLS - x : 0);
    } else {
        size_text(size, row->info.bytes_used);
        age_text(age, row->pinned_ns);
        cell(line, &x, OWNER, owner_name(row));
        cell(line, &x, STATE, owner_state(row));
        number_cell(line, &x, EPOCH, (double)row->info.epoch);
        number_cell(line, &x, OBJECTS, (double)row->info.objects);
        cell(line, &x, USED, size);
        number_cell(line, &x, COMMITS, row->commits);
        number_cell(line, &x, TRANSFERS, row->transfers);
        number_cell(line, &x, WAITING, (double)row->info.waiting);
        cell(line, &x, PINNED, age);
    }
    if (ill && s->colours)
        attroff(COLOR_PAIR(row->error < 0 ? 1 : 2));
}

static void draw_tables(struct screen *s, int room)
{
    int x = 0;
    sorted_by = s->sort;
    if (s->now.count > 1)
        qsort(s->now.rows, s->now.count, sizeof *s->now.rows, compare);
    for (enum column c = 0; c < COLUMNS_USED; c++) {
        attrset(c == s->sort ? A_REVERSE : A_BOLD);
        cell(HEAD - 1, &x, c, columns[c].title);
    }
    attrset(A_NORMAL);
    for (int i = 0; i < room && s->first + (size_t)i < s->now.count; i++)
        draw_row(s, HEAD + i, &s->now.rows[s->first + (size_t)i]);
}

/* Each with what it has grown by since the look before. */
static void draw_counters(const struct screen *s, int room)
{
    const struct counters *now = &s->now.counters, *before = &s->before.counters;
    attrset(A_BOLD);
    total_line(HEAD - 1, "%-24s %14s %10s  %s", "COUNTER", "VALUE", "NEW", "WHAT");
    attrset(A_NORMAL);
    for (int i = 0; i < room && s->first + (size_t)i < now->count; i++) {
        const struct heir_counter *c = &now->list[s->first + (size_t)i];
        char name[96], value[TEXT_MAX], growth[TEXT_MAX] = "";
        struct heir_counter grown = *c;
        counter_text(name, value, c);
        if (!c->level && before->count == now->count) {
            grown.value -= before->list[s->first + (size_t)i].value;
            counter_text((char[96]){0}, growth, &grown);
        }
        total_line(HEAD + i, "%-24s %14s %10s  %s", name, value, grown.value != 0 ? growth : "", c->text);
    }
}

static size_t rows_of(const struct screen *s)
{
    return s->counters ? s->now.counters.count : s->now.count;
}

static void draw(struct screen *s)
{
    int room = LINES - HEAD - 1;

    erase();
    draw_totals(s);
    if (s->first >= rows_of(s))
        s->first = rows_of(s) > 0 ? rows_of(s) - 1 : 0;
    if (s->counters)
        draw_counters(s, room);
    else
        draw_tables(s, room);
    if (LINES > HEAD) {
        attrset(A_BOLD);
        mvaddnstr(LINES - 1, 0,
                  s->counters ? "q quit; k tables"
                              : "q quit; sort by: n name, o owner, s state, e epoch, b objects, u used, c commits, t "
                                "transfers, w waiting, p pinned; k counters",
                  COLS);
        attrset(A_NORMAL);
    }
    refresh();
}

/* ---- Keys --------------------------------------------------------------------------------------------- */

/* false: that is all. */
static bool take_key(struct screen *s, int key)
{
    size_t page = LINES > HEAD + 1 ? (size_t)(LINES - HEAD - 1) : 1;
    for (enum column c = 0; c < COLUMNS_USED; c++) {
        if (key == columns[c].key)
            s->sort = c;
    }
    if (key == 'k') {
        s->counters = !s->counters;
        s->first = 0;
    }
    if (key == KEY_DOWN && s->first + 1 < rows_of(s))
        s->first++;
    else if (key == KEY_UP && s->first > 0)
        s->first--;
    else if (key == KEY_NPAGE && s->first + page < rows_of(s))
        s->first += page;
    else if (key == KEY_PPAGE)
        s->first = s->first > page ? s->first - page : 0;
    return key != 'q';
}

/* Of tens of thousands of tables a look takes longer than it is to be until the next: keys are taken all the same. */
static bool wait_for_look(struct screen *s)
{
    uint64_t took = (now_ns() - s->now.when_ns) / 1000000, pause = took * 2 > LOOK_MS ? took * 2 : LOOK_MS;
    while (ended == 0) {
        uint64_t passed = (now_ns() - s->now.when_ns) / 1000000;
        timeout(passed < pause ? (int)(pause - passed) : 0);
        int key = getch();
        if (key == ERR && passed >= pause)
            return true;
        if (key == ERR)
            continue;
        if (!take_key(s, key))
            return false;
        draw(s); /* also in a window of another size, which curses knows by now */
    }
    return false;
}

static enum exit_status run(struct ctl *ctl)
{
    struct screen s = {.ctl = ctl};
    struct sigaction action = {.sa_handler = on_signal};

    if (ctl->json)
        return ctl_fail_usage(ctl, "top is a screen for people: heirctl --json stats, ls and clients tell the same");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return ctl_fail_usage(ctl, "top wants a terminal: heirctl stats, ls and clients tell the same elsewhere");
    SCREEN *terminal = newterm(NULL, stdout, stdin);
    if (terminal == NULL)
        return ctl_fail_usage(ctl, "the terminal '%s' is not known: set $TERM", getenv("TERM") ? getenv("TERM") : "");
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    cbreak();
    noecho();
    nonl();
    curs_set(0);
    keypad(stdscr, TRUE);
    if (has_colors() && colours_wanted() && start_color() != ERR && use_default_colors() != ERR) {
        init_pair(1, COLOR_RED, -1);
        init_pair(2, COLOR_YELLOW, -1);
        s.colours = true;
    }
    int error;
    do {
        error = look(&s);
        draw(&s);
    } while (error == 0 && wait_for_look(&s));
    endwin();
    delscreen(terminal);
    look_free(&s.now);
    look_free(&s.before);
    return error < 0 ? ctl_fail_error(ctl, error, "cannot look into the namespace '%s'", ctl_ns(ctl)) : DONE;
}

const struct verb verb_top = {
    .name = "top",
    .arguments = "",
    .line = "watch tables, rates and deaths on a live screen",
    .text =
        "Looks once a second. Keys: q quits; n o s e b u c t w p sort by name, owner, state, epoch, objects, bytes "
        "used,\n"
        "commits a second, transfers a second, claims waiting and age of the oldest pin; k shows the counters of "
        "heirctl\n"
        "stats and what is new in them, or the tables again; the arrows and page keys scroll. Transfers are counted\n"
        "by the epochs of the tables, deaths by the keeper. Owners that are stopped, dumping core or dead are yellow,\n"
        "tables that cannot be read red; not with $NO_COLOR. Needs a terminal, but no keeper, and disturbs nobody.\n"
        "\n"
        "--json: refused; stats, ls and clients tell the same.\n",
    .run = run,
};
