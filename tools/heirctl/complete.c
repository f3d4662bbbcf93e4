/* SPDX-License-Identifier: MIT */
/*
 * heirctl --complete [WORD]... WORD: for the shells, what the last word could become.
 *
 * A line each, what it is for behind a tab; ":file" and ":command" tell the shell to look for one itself. The scripts
 * of tools/completion only hand the words over, so commands, options and names stand here and nowhere else. Never an
 * error: what cannot be made out has no completions.
 */
#include "heirctl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
    const struct ctl *ctl;
    const char *begin;  /* what is typed of the word */
    const char *prefix; /* and stands before it: "--format=" */
    bool ended;         /* the options, by a lone -- */
};

static void offer(const struct line *line, const char *word, const char *what)
{
    if (word[0] == ':') {
        if (line->ended || line->begin[0] != '-')
            puts(word);
    } else if (strncmp(word, line->begin, strlen(line->begin)) == 0) {
        printf("%s%s%s%s\n", line->prefix, word, what != NULL ? "\t" : "", what != NULL ? what : "");
    }
}

static void offer_words(const struct line *line, const char *words)
{
    while (*words != '\0') {
        char word[32];
        int len = (int)strcspn(words, " ");
        snprintf(word, sizeof word, "%.*s", len, words);
        offer(line, word, NULL);
        words += len + (words[len] == ' ');
    }
}

/* ---- Names -------------------------------------------------------------------------------------------- */

/* One that would be taken for an option only behind a lone --. */
static void offer_name(const struct line *line, const char *name, const char *what)
{
    if (line->ended || (strncmp(name, "--", 2) != 0 && strcmp(name, "-h") != 0))
        offer(line, name, what);
}

static int offer_table(const struct heir_info *info, int error, void *arg)
{
    if (table_name_ok(info->name))
        offer_name(arg, info->name, error == 0 ? type_text(info->type) : "cannot be read");
    return 0;
}

static int offer_role(const struct heir_client_info *info, int error, void *arg)
{
    char what[TEXT_MAX];
    snprintf(what, sizeof what, "client %llu", (unsigned long long)info->id);
    if (error == 0)
        offer_name(arg, info->name, what);
    return 0;
}

/* The argument that comes after `count` others: by its name in the verb's usage. Those of a command may be files. */
static void offer_argument(struct line *line, const struct verb *verb, int count)
{
    const char *name = verb->max_args >= 0 ? verb->arguments : count == 0 ? "COMMAND" : "FILE";
    if (verb->max_args >= 0 && count >= verb->max_args)
        return;
    for (; verb->max_args >= 0 && count > 0 && strncmp(name, "[TABLE]...", 10) != 0; count--)
        name += strcspn(name, " ") + 1;
    name += name[0] == '[';
    if (strncmp(name, "TABLE", 5) == 0) {
        heir_inspect_tables(line->ctl->ns, offer_table, line);
    } else if (strncmp(name, "CLIENT", 6) == 0) {
        heir_inspect_clients(line->ctl->ns, offer_role, line);
    } else if (strncmp(name, "ERROR", 5) == 0) {
        for (size_t i = 0; explain_name(i) != NULL; i++)
            offer(line, explain_name(i), NULL);
    } else if (strncmp(name, "FILE", 4) == 0) {
        offer(line, ":file", NULL);
    } else if (strncmp(name, "COMMAND", 7) == 0) {
        offer(line, ":command", NULL);
    }
}

/* ---- Options ------------------------------------------------------------------------------------------ */

static const struct option *find_option(const struct verb *verb, const char *name, size_t len)
{
    for (const struct option *option = option_list; option->name != NULL; option++) {
        if (strlen(option->name) == len && memcmp(option->name, name, len) == 0 &&
            (option->global || verb_has(verb, option->name)))
            return option;
    }
    return NULL;
}

static void offer_options(const struct line *line, const struct verb *verb)
{
    for (const struct option *option = option_list; option->name != NULL; option++) {
        if (option->global || verb_has(verb, option->name))
            offer(line, option->name, option->what);
    }
    for (const struct flag *flag = flag_list; flag->name != NULL; flag++) {
        if (verb_has(verb, flag->name) ||
            (flag->global && (verb == NULL || flag->offset != offsetof(struct ctl, version))))
            offer(line, flag->name, flag->what);
    }
}

/* ---- The line ----------------------------------------------------------------------------------------- */

enum exit_status complete(char **words)
{
    struct ctl ctl = {0};
    struct line line = {.ctl = &ctl, .prefix = ""};
    const struct option *open = NULL; /* its value comes next */

    for (; words[1] != NULL; words++) {
        const char *word = words[0];
        if (open != NULL && strcmp(word, "=") == 0) /* bash takes it for a word */
            continue;
        if (open != NULL) {
            if (open->offset == offsetof(struct ctl, ns))
                ctl.ns = word;
            open = NULL;
        } else if (!line.ended && strncmp(word, "--", 2) == 0) {
            line.ended = word[2] == '\0';
            open = find_option(ctl.verb, word, strlen(word));
            if (strncmp(word, "--namespace=", 12) == 0)
                ctl.ns = word + 12;
        } else if (ctl.verb == NULL) {
            ctl.verb = verb_find(word);
            if (ctl.verb == NULL)
                return DONE;
        } else {
            ctl.nargs++;
            line.ended |= ctl.verb->max_args < 0;
        }
    }

    char *word = words[0], *value = strchr(word, '=');
    line.begin = open != NULL && strcmp(word, "=") == 0 ? "" : word;
    if (open == NULL && !line.ended && value != NULL && strncmp(word, "--", 2) == 0 &&
        (open = find_option(ctl.verb, word, (size_t)(value - word))) != NULL) {
        char *prefix = must_alloc((size_t)(value - word) + 2);
        snprintf(prefix, (size_t)(value - word) + 2, "%s", word);
        line.prefix = prefix;
        line.begin = value + 1;
        offer_words(&line, open->values);
        free(prefix);
    } else if (open != NULL) {
        offer_words(&line, open->values);
    } else {
        if (!line.ended && line.begin[0] == '-')
            offer_options(&line, ctl.verb);
        for (size_t i = 0; ctl.verb == NULL && verbs[i] != NULL; i++)
            offer(&line, verbs[i]->name, verbs[i]->line);
        if (ctl.verb != NULL) /* a name may begin with a dash, too */
            offer_argument(&line, ctl.verb, ctl.nargs);
    }
    fflush(stdout);
    return DONE;
}
