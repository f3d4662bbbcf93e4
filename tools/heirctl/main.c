/* SPDX-License-Identifier: MIT */
/*
 * heirctl: look into a namespace of libheir, and give orders to its keeper.
 *
 * This file has the table of verbs, the command line and the help. Options are words that begin with -- and may stand
 * before or behind the verb; words with one dash are arguments, so that a value may be -5 without ado. A lone -- ends
 * the options.
 */
#include "heirctl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct verb *const verbs[] = {
    &verb_ls,  &verb_info,  &verb_clients, &verb_events, &verb_watch,   &verb_top,  &verb_stats,  &verb_check,
    &verb_get, &verb_put,   &verb_del,     &verb_dump,   &verb_load,    &verb_give, &verb_revoke, &verb_rm,
    &verb_gc,  &verb_purge, &verb_ping,    &verb_run,    &verb_explain, NULL,
};
#define VERBS (sizeof verbs / sizeof verbs[0] - 1)

/* Those without a value ... */
const struct flag flag_list[] = {
    {"--json", "print JSON", offsetof(struct ctl, json), true},
    {"--help", "tell what it does", offsetof(struct ctl, help), true},
    {"--version", "print the version", offsetof(struct ctl, version), true},
    {"--yes", "do not ask", offsetof(struct ctl, yes), false},
    {"--force", "also from one in the middle of a write, who is killed", offsetof(struct ctl, force), false},
    {"--follow", "go on with what happens", offsetof(struct ctl, follow), false},
    {"--integer", "print the number that heir_add() counts", offsetof(struct ctl, integer), false},
    {"--prometheus", "print Prometheus' text format", offsetof(struct ctl, prometheus), false},
    {"--changes", "each committed change, too", offsetof(struct ctl, changes), false},
    {"--no-pin", "let nothing be held for it", offsetof(struct ctl, no_pin), false},
    {"--salvage", "of a damaged table, what can be read", offsetof(struct ctl, salvage), false},
    {"--dry-run", "change nothing", offsetof(struct ctl, dry_run), false},
    {NULL, NULL, 0, false},
};

/* ... and with one. */
const struct option option_list[] = {
    {"--namespace", "a name of 1 to 63 of A-Z a-z 0-9 _ -", offsetof(struct ctl, ns), "", true},
    {"--socket", "the path of the keeper's socket", offsetof(struct ctl, socket), ":file", true},
    {"--count", "a number of events", offsetof(struct ctl, count), "", false},
    {"--restarts", "N/SECONDS, such as 5/10", offsetof(struct ctl, restarts), "", false},
    {"--format", "print or bytevalue", offsetof(struct ctl, format), "print bytevalue", false},
    {"--output", "the path of a file", offsetof(struct ctl, output), ":file", false},
    {"--batch", "a number of objects", offsetof(struct ctl, batch), "", false},
    {"--type", "set, ordered_set, bag or duplicate_bag", offsetof(struct ctl, type),
     "set ordered_set bag duplicate_bag", false},
    {"--max-bytes", "a number of bytes, such as 64M", offsetof(struct ctl, max_bytes), "", false},
    {NULL, NULL, 0, NULL, false},
};

/* ---- Help --------------------------------------------------------------------------------------------- */

static const char global_options[] =
    "options:\n"
    "  --namespace N  which world of tables (default: $HEIR_NAMESPACE, else \"default\")\n"
    "  --socket PATH  where its keeper listens (default: $HEIR_SOCKET, else as heird --help says)\n"
    "  --json         print JSON; an error is {\"error\": {\"errno\": text|null, \"message\": text, \"exit\": "
    "number}}\n"
    "  --help         print this; behind a command: what that does\n"
    "  --version      print the version\n"
    "\n"
    "exit status: 0 done, 1 refused or not found, 2 wrong usage, 3 no keeper answers\n";

static void print_help(void)
{
    printf("heirctl: look into a namespace of libheir, and give orders to its keeper\n"
           "\n"
           "usage: heirctl [options] COMMAND [argument]...\n"
           "\n");
    for (size_t i = 0; i < VERBS; i++) {
        char form[64];
        const char *arguments = verbs[i]->max_args < 0 ? "-- COMMAND..." : verbs[i]->arguments;
        const char *options = strstr(arguments, "[--");
        snprintf(form, sizeof form, "%s %.*s", verbs[i]->name,
                 options != NULL ? (int)(options - arguments) : (int)strlen(arguments), arguments);
        printf("  %-20s %s\n", form, verbs[i]->line);
    }
    printf("\nA worker crashes: events tells which one, what killed it, what it owned and how far its state had come; "
           "ls and\ninfo tell who has its tables now, dump and get what is in them. These, clients, watch, top, stats "
           "and check\nread the shared memory: they need no keeper and disturb nobody.\n\n%s",
           global_options);
}

static void print_verb_help(const struct verb *verb)
{
    printf("usage: heirctl %s %s%s%s\n\n%s\n\n%s\n%s", verb->max_args < 0 ? "[options]" : verb->name,
           verb->max_args < 0 ? verb->name : verb->arguments, verb->arguments[0] != '\0' ? " " : "",
           verb->max_args < 0 ? verb->arguments : "[options]", verb->line, verb->text, global_options);
}

/* ---- Command line ------------------------------------------------------------------------------------- */

/* An error may stand before the --json that was to decide its form. */
static void look_for_json(struct ctl *ctl, char **words)
{
    for (; *words != NULL && strcmp(*words, "--") != 0; words++) {
        if (strcmp(*words, "--json") == 0)
            ctl->json = true;
    }
}

/* Is the word the option `name`, as --name VALUE or --name=VALUE? Returns the words taken, 0: another one. */
static int take_value(const char *name, char **words, const char **value)
{
    size_t len = strlen(name);
    if (strncmp(words[0], name, len) != 0)
        return 0;
    if (words[0][len] == '=') {
        *value = words[0] + len + 1;
        return 1;
    }
    if (words[0][len] != '\0')
        return 0;
    /* Another option in place of the value: the value was forgotten. --name=VALUE takes it as it stands. */
    if (words[1] == NULL || strncmp(words[1], "--", 2) == 0)
        return 1;
    *value = words[1];
    return 2;
}

bool verb_has(const struct verb *verb, const char *option)
{
    size_t len = strlen(option);
    const char *rest = verb != NULL ? verb->options : NULL;
    while (rest != NULL && (rest = strstr(rest, option)) != NULL) {
        if (rest[len] == ' ')
            return true;
        rest += len;
    }
    return false;
}

/* Take the option at words[0]. Returns how many words it has; 0 after a report. */
static int take_option(struct ctl *ctl, char **words)
{
    const char *word = strcmp(words[0], "-h") == 0 ? "--help" : words[0];
    for (const struct flag *flag = flag_list; flag->name != NULL; flag++) {
        if (strcmp(word, flag->name) == 0 && (flag->global || verb_has(ctl->verb, word))) {
            *(bool *)((char *)ctl + flag->offset) = true;
            return 1;
        }
    }
    for (const struct option *option = option_list; option->name != NULL; option++) {
        const char *value = NULL;
        bool known = option->global || verb_has(ctl->verb, option->name);
        int taken = known ? take_value(option->name, words, &value) : 0;
        if (taken == 0)
            continue;
        if (value == NULL || value[0] == '\0') {
            look_for_json(ctl, words);
            ctl_fail_usage(ctl, "%s wants %s", option->name, option->what);
            return 0;
        }
        memcpy((char *)ctl + option->offset, &value, sizeof value);
        return taken;
    }
    look_for_json(ctl, words);
    ctl_fail_usage(ctl, "there is no option %.64s%s", word,
                   ctl->verb ? " here; an argument like it has to come after a lone --" : "");
    return 0;
}

const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    }
    return NULL;
}

/* The options before the verb, and the verb. Returns the words behind it, NULL after a report. */
static char **parse_global(struct ctl *ctl, char **words)
{
    while (*words != NULL && (*words)[0] == '-') {
        if (strcmp(*words, "--") == 0) {
            words++;
            break;
        }
        int taken = take_option(ctl, words);
        if (taken == 0)
            return NULL;
        words += taken;
    }
    if (*words == NULL)
        return words;
    ctl->verb = verb_find(*words);
    if (ctl->verb == NULL) {
        look_for_json(ctl, words);
        ctl_fail_usage(ctl, "there is no command '%.64s'", *words);
        return NULL;
    }
    return words + 1;
}

/* The verb's options and arguments. The arguments are gathered at the beginning of the words. */
static bool parse_verb(struct ctl *ctl, char **words)
{
    bool options = true;
    ctl->args = words;
    while (*words != NULL) {
        if (options && strcmp(*words, "--") == 0) {
            options = false;
            words++;
            continue;
        }
        bool is_help = ctl->nargs == 0 && strcmp(*words, "-h") == 0;
        if (options && (strncmp(*words, "--", 2) == 0 || is_help)) {
            int taken = take_option(ctl, words);
            if (taken == 0)
                return false;
            words += taken;
            continue;
        }
        if (ctl->verb->max_args < 0)
            options = false;
        ctl->args[ctl->nargs++] = *words++;
    }
    ctl->args[ctl->nargs] = NULL;
    return true;
}

static enum exit_status fail_no_verb(const struct ctl *ctl)
{
    char names[512] = "";
    for (size_t i = 0; i < VERBS; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s",
                 i == 0          ? ""
                 : i + 1 < VERBS ? ", "
                                 : " or ",
                 verbs[i]->name);
    }
    return ctl_fail_usage(ctl, "say what to do: %s", names);
}

static enum exit_status check(const struct ctl *ctl)
{
    const struct verb *verb = ctl->verb;
    if (ctl->nargs < verb->min_args)
        return ctl_fail_usage(ctl, "%s wants %s", verb->name, verb->arguments);
    if (verb->max_args >= 0 && ctl->nargs > verb->max_args)
        return ctl_fail_usage(ctl, "'%.64s' is one argument too many: %s wants %s", ctl->args[verb->max_args],
                              verb->name, verb->max_args == 0 ? "none" : verb->arguments);
    if (!ns_name_ok(ctl_ns(ctl)))
        return ctl_fail_usage(ctl, "'%.64s' cannot be a namespace%s: a name has 1 to %d of A-Z a-z 0-9 _ -",
                              ctl_ns(ctl), ctl->ns == NULL ? " ($HEIR_NAMESPACE)" : "", HEIR_NAME_MAX);
    const char *socket = getenv("HEIR_SOCKET");
    if (ctl->socket == NULL && socket != NULL && socket[0] == '\0')
        return ctl_fail_usage(ctl, "$HEIR_SOCKET is empty: unset it, or set it to the path of the keeper's socket");
    int tables = strstr(verb->arguments, "TABLE") == NULL       ? 0
                 : strstr(verb->arguments, "TABLE]...") != NULL ? ctl->nargs
                                                                : ctl->nargs > 0;
    for (int i = 0; i < tables; i++) {
        if (!table_name_ok(ctl->args[i]))
            return ctl_fail_usage(
                ctl, "'%.64s' cannot be a table: a name has 1 to %d of A-Z a-z 0-9 . _ - and begins with no dot",
                ctl->args[i], HEIR_NAME_MAX);
    }
    return DONE;
}

static enum exit_status obey(struct ctl *ctl, char **words)
{
    words = parse_global(ctl, words);
    if (words == NULL || (ctl->verb != NULL && !parse_verb(ctl, words)))
        return WRONG_USAGE;
    if (ctl->version) {
        printf("heirctl %s\n", heir_version());
        return DONE;
    }
    if (ctl->help) {
        if (ctl->verb != NULL)
            print_verb_help(ctl->verb);
        else
            print_help();
        return DONE;
    }
    if (ctl->verb == NULL)
        return fail_no_verb(ctl);
    enum exit_status status = check(ctl);
    return status == DONE ? ctl->verb->run(ctl) : status;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {0};
    if (argc > 2 && strcmp(argv[1], "--complete") == 0)
        return (int)complete(argv + 2);
    enum exit_status status = obey(&ctl, argv + (argc > 0));
    return (int)ctl_flush(&ctl, status);
}
