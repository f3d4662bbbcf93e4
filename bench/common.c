/* SPDX-License-Identifier: MIT */
/* How do the benchmarks read options, take time, sum samples up, and print? See common.h. */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <heir.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t real_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

void spin_ns(uint64_t ns)
{
    uint64_t end = now_ns() + ns;

    while (now_ns() < end) {
    }
}

void shuffle(uint64_t *v, size_t n, uint64_t seed)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = mix64(seed + i) % i;
        uint64_t t = v[i - 1];
        v[i - 1] = v[j];
        v[j] = t;
    }
}

void *must(void *memory)
{
    if (!memory) {
        fail("out of memory");
        exit(1);
    }
    return memory;
}

/* ---- Options ------------------------------------------------------------------------------------------ */

enum { MAX_OPTIONS = 32, HELP_COLUMN = 20, FEWEST_ROUNDS = 3 /* fewer tell nothing of their spread */ };

static FILE *raw; /* --raw */

static bool is_text(const struct bench_option *o)
{
    return o->argument && o->max < o->min;
}

static void print_option(FILE *to, const struct bench_option *o)
{
    char left[64];

    snprintf(left, sizeof left, "  --%s %s", o->name, o->argument ? o->argument : "");
    fprintf(to, "%-*s", HELP_COLUMN, left);
    for (const char *p = o->help; *p; p++) {
        fputc(*p, to);
        if (*p == '\n')
            fprintf(to, "%*s", HELP_COLUMN, "");
    }
    if (o->argument && !is_text(o) && o->quick != o->usual)
        fprintf(to, " (%llu; quick: %llu)", (unsigned long long)o->usual, (unsigned long long)o->quick);
    else if (o->argument && !is_text(o))
        fprintf(to, " (%llu)", (unsigned long long)o->usual);
    fputc('\n', to);
}

static int usage(const struct bench *b, const struct bench_option *all, FILE *to, int status)
{
    fprintf(to, "Usage: %s [OPTION]...\n%s\n\n", program_invocation_short_name, b->does);
    for (const struct bench_option *o = all; o->name; o++)
        print_option(to, o);
    fprintf(to,
            "\nPrints lines with # for people and key=value lines for scripts; where it is, on stderr if that is a "
            "terminal.\n%s\nheird is looked for in $HEIR_BINDIR, else in ../tools beside this program's folder.\n",
            b->wrong);
    return status;
}

static bool read_option(const struct bench_option *o, const char *text)
{
    if (!o->argument)
        *(bool *)o->value = true;
    else if (is_text(o))
        *(const char **)o->value = text;
    else
        return parse_u64(text, o->min, o->max, o->value);
    return true;
}

int bench_options(struct bench *b, int argc, char **argv)
{
    char rounds[96];
    bool help = false, ok = true;
    struct bench_option all[MAX_OPTIONS] = {{0}};
    struct option longs[MAX_OPTIONS] = {{0}};
    unsigned n = 0;
    int c;

    snprintf(rounds, sizeof rounds, "at least so many rounds; up to %u times as many when medians are unsure",
             b->patience);
    for (const struct bench_option *o = b->options; o->name; o++)
        all[n++] = *o;
    all[n++] = (struct bench_option){"rounds", "N", rounds, &b->rounds, 1, 1000, b->rounds, 2};
    all[n++] = (struct bench_option){
        "seconds",   "N",       "after so many no round is begun; of the first three, after three times as many",
        &b->seconds, 1,         1000000,
        b->seconds,  b->seconds};
    all[n++] = (struct bench_option){"raw", "FILE", "write all samples to it, for plots", &b->raw, 1, 0, 0, 0};
    all[n++] = (struct bench_option){.name = "quick", .help = "a try-out of some seconds", .value = &b->quick};
    all[n++] = (struct bench_option){.name = "help", .help = "this text", .value = &help};
    for (unsigned i = 0; i < n; i++) {
        longs[i] = (struct option){all[i].name, all[i].argument ? required_argument : no_argument, NULL, (int)i};
        if (all[i].argument && !is_text(&all[i]))
            *(uint64_t *)all[i].value = UINT64_MAX;
    }
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
        ok = c != '?' && read_option(&all[c], optarg) && ok;
    for (unsigned i = 0; i < n; i++) {
        uint64_t *value = all[i].value;
        if (all[i].argument && !is_text(&all[i]) && *value == UINT64_MAX)
            *value = b->quick ? all[i].quick : all[i].usual;
    }
    if (help)
        return usage(b, all, stdout, 0);
    if (!ok || optind != argc)
        return usage(b, all, stderr, 2);
    if (b->raw && !(raw = fopen(b->raw, "we"))) {
        fail("%s: %s", b->raw, strerror(errno));
        return 2;
    }
    b->began_ns = now_ns();
    return -1;
}

static volatile sig_atomic_t stopped;

static void note_stop(int signo)
{
    (void)signo;
    stopped = 1;
}

void bench_catch_stop(void)
{
    struct sigaction action = {.sa_handler = note_stop}; /* without SA_RESTART: who waits shall look */

    sigaction(SIGTERM, &action, NULL);
}

bool bench_stopped(void)
{
    return stopped;
}

bool bench_goes_on(const struct bench *b, uint64_t round, double error)
{
    uint64_t seconds = (now_ns() - b->began_ns) / 1000000000;

    if (bench_stopped())
        return false;
    if (round < FEWEST_ROUNDS && round < b->rounds)
        return round == 0 || seconds < FEWEST_ROUNDS * b->seconds;
    return seconds < b->seconds &&
           (round < b->rounds || (!b->quick && error > b->max_error && round < b->patience * b->rounds));
}

void bench_steady(const struct bench *b, const char *part, uint64_t round, double error, const char *whose)
{
    put_result((double)round, "%srounds", part);
    put_result(100 * error, "%sworst_error_percent", part);
    if (error > b->max_error)
        say("NOT STEADY: after %llu rounds the median of %s may still be off by %.0f %%%s", (unsigned long long)round,
            whose, 100 * error,
            bench_stopped() ? " (stopped)"
            : b->quick      ? " (--quick)"
                            : ": the machine does other work, or give more --rounds and --seconds");
}

/* ---- Samples ------------------------------------------------------------------------------------------ */

void series_add(struct series *s, double value)
{
    if (s->n == s->room) {
        s->room = s->room ? 2 * s->room : 64;
        s->v = must(realloc(s->v, s->room * sizeof *s->v));
    }
    s->v[s->n++] = value;
}

void series_append(struct series *s, const struct series *from, size_t first)
{
    for (size_t i = first; i < from->n; i++)
        series_add(s, from->v[i]);
}

void series_free(struct series *s)
{
    free(s->v);
    *s = (struct series){0};
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double series_quantile(const struct series *s, double q)
{
    double *sorted, at, part, value;
    size_t i;

    if (!s->n)
        return 0;
    sorted = must(malloc(s->n * sizeof *sorted));
    memcpy(sorted, s->v, s->n * sizeof *sorted);
    qsort(sorted, s->n, sizeof *sorted, compare);
    at = q * (double)(s->n - 1);
    i = (size_t)at;
    part = at - (double)i;
    value = sorted[i];
    if (i + 1 < s->n)
        value += part * (sorted[i + 1] - sorted[i]);
    free(sorted);
    return value;
}

double series_median(const struct series *s)
{
    return series_quantile(s, 0.5);
}

double series_spread(const struct series *s)
{
    double median = series_median(s);

    return median > 0 ? (series_quantile(s, 0.75) - series_quantile(s, 0.25)) / median : 0;
}

double series_error(const struct series *s)
{
    /* For a normal distribution: sigma = IQR / 1.349, and the median's standard error is 1.253 sigma / sqrt(n). */
    return s->n < 3 ? 1 : 0.929 * series_spread(s) / sqrt((double)s->n);
}

/* ---- Output ------------------------------------------------------------------------------------------- */

static bool progress_shown;

void say(const char *format, ...)
{
    va_list ap;

    progress_end();
    fputs("# ", stdout);
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

void put_result(double value, const char *name, ...)
{
    va_list ap;

    progress_end();
    va_start(ap, name);
    vprintf(name, ap);
    va_end(ap);
    if (value == floor(value) && fabs(value) < 1e15)
        printf("=%.0f\n", value);
    else
        printf("=%.*f\n", fabs(value) < 10 ? 3 : fabs(value) < 100 ? 2 : 1, value);
    fflush(stdout);
}

void raw_begin(const char *unit, const char *name, ...)
{
    va_list ap;

    if (!raw)
        return;
    fputs("# ", raw);
    va_start(ap, name);
    vfprintf(raw, name, ap);
    va_end(ap);
    fprintf(raw, " %s\n", unit);
}

void raw_value(double value, uint64_t count)
{
    if (raw)
        fprintf(raw, "%.6g %llu\n", value, (unsigned long long)count);
}

void raw_end(void)
{
    if (!raw)
        return;
    fputs("\n\n", raw);
    fflush(raw);
}

void raw_series(const struct series *s, const char *unit, const char *name, ...)
{
    char text[96];
    va_list ap;

    if (!s->n)
        return;
    va_start(ap, name);
    vsnprintf(text, sizeof text, name, ap);
    va_end(ap);
    raw_begin(unit, "%s", text);
    for (size_t i = 0; i < s->n; i++)
        raw_value(s->v[i], 1);
    raw_end();
}

void progress(const char *format, ...)
{
    static int tty = -1;
    va_list ap;

    if (tty < 0)
        tty = isatty(STDERR_FILENO);
    if (!tty)
        return;
    progress_shown = true;
    fputs("\r\033[K", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fflush(stderr);
}

void progress_end(void)
{
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}

int fail(const char *format, ...)
{
    va_list ap;

    progress_end();
    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    return -1;
}

int check(int r, const char *call)
{
    return r < 0 ? fail("%s: %s", call, heir_strerror(r)) : 0;
}

/* ---- The machine -------------------------------------------------------------------------------------- */

static void first_line(const char *path, char *line, int size)
{
    FILE *f = fopen(path, "re");

    if (!f || !fgets(line, size, f))
        snprintf(line, (size_t)size, "unknown");
    if (f)
        fclose(f);
    line[strcspn(line, "\n")] = 0;
}

/* The value of "name   : value" in a file of /proc; false when it is not there. */
static bool proc_field(const char *path, const char *name, char *value, size_t size)
{
    char line[512];
    bool found = false;
    FILE *f = fopen(path, "re");

    while (f && !found && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, name, strlen(name)) != 0)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = 0;
        snprintf(value, size, "%s", colon);
        found = true;
    }
    if (f)
        fclose(f);
    return found;
}

uint64_t memory_available(void)
{
    char value[64];

    return proc_field("/proc/meminfo", "MemAvailable", value, sizeof value) ? strtoull(value, NULL, 10) * 1024 : 0;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED ", with sanitizers: figures mean nothing"
#else
#define SANITIZED ""
#endif
#ifdef __OPTIMIZE__
#define OPTIMIZED "optimized"
#else
#define OPTIMIZED "not optimized: figures mean little"
#endif
#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

void say_machine(void)
{
    char model[256], huge[64], huge_shm[64], governor[64], load[64];
    struct utsname u = {0};

    uname(&u);
    if (!proc_field("/proc/cpuinfo", "model name", model, sizeof model))
        snprintf(model, sizeof model, "%s processor", u.machine);
    first_line("/sys/kernel/mm/transparent_hugepage/enabled", huge, sizeof huge);
    first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", huge_shm, sizeof huge_shm);
    first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor, sizeof governor);
    first_line("/proc/loadavg", load, sizeof load);
    say("machine: %s, %ld cores, %.1f GiB available, frequency governor %s", model, sysconf(_SC_NPROCESSORS_ONLN),
        (double)memory_available() / (1 << 30), governor);
    say("kernel: %s %s %s; transparent huge pages: %s, shared memory: %s", u.sysname, u.release, u.machine, huge,
        huge_shm);
    say("build: libheir %s, %s, %s%s", heir_version(), COMPILER, OPTIMIZED, SANITIZED);
    say("load when it began: %s", load);
}

bool parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 0);
    if (errno || end == text || *end || *text == '-' || n < min || n > max)
        return false;
    *value = n;
    return true;
}

bool list_has(const char *list, const char *name)
{
    size_t n = strlen(name);

    if (!list)
        return true;
    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

size_t list_size(const char *list)
{
    size_t n = 1;

    for (const char *p = list; (p = strchr(p, ',')); p++)
        n++;
    return n;
}
