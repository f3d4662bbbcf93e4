/* SPDX-License-Identifier: MIT */
/* What Tab makes of a line: by bash and zsh themselves, with the scripts that are installed. */
#include "heirctl.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The words as bash splits them, the last one being typed; the completions, sorted, a space behind each. */
static void complete_in_bash(const char *file, int line, const char *function, const char *words, const char *expected)
{
    char script[1024];
    snprintf(
        script, sizeof script,
        "cd %s; PATH=$HEIR_TEST_BINDIR:$PATH; . $HEIR_TEST_BINDIR/completion/heirctl; complete -p heirctl >/dev/null "
        "|| exit 9; COMP_WORDS=(heirctl %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _heirctl; "
        "printf '%%s\\n' \"${COMPREPLY[@]}\" | LC_ALL=C sort -u | tr '\\n' ' '",
        world.dir, words);
    program_run((const char *const[]){"/bin/bash", "--norc", "--noprofile", "-c", script, NULL}, NULL, &out);
    check_eq(file, line, function, out.code, 0, words);
    check_str(file, line, function, out.out, expected, words);
    check_str(file, line, function, out.err, "", words);
}

#define TAB(words, expected) complete_in_bash(HERE, words, expected)

static void some_names(void)
{
    struct agent *a = keeper_and_owner("bread"), *b = agent_new("b.2-_");
    DO(a, 0, "create bre.ad-_");
    DO(b, 0, "create cake");
}

static void in_bash(void)
{
    char line[256];
    if (access("/bin/bash", X_OK) < 0) {
        test_skip("bash is not installed");
        return;
    }
    some_names();
    TAB("l", "load ls ");
    TAB("--namespace x du", "dump ");
    TAB("nonsense ''", " ");
    TAB("--j", "--json ");
    TAB("dump --", "--format --help --json --namespace --output --salvage --socket ");
    TAB("rm --y", "--yes ");
    TAB("ls --y", " ");
    TAB("revoke --fo", "--force ");
    TAB("events --", "--count --follow --help --json --namespace --socket ");
    TAB("stats --pr", "--prometheus ");
    TAB("watch brea", "bread ");
    TAB("watch bread --changes ca", "cake ");
    TAB("watch cake bread bre.", "bre.ad-_ ");
    TAB("watch --", "--changes --help --json --namespace --no-pin --socket ");
    TAB("gc --d", "--dry-run ");
    TAB("info ''", "bre.ad-_ bread cake ");
    TAB("info brea", "bread ");
    TAB("check c", "cake ");
    TAB("info bread ''", " ");
    TAB("give cake b", "b.2-_ baker ");
    TAB("dump --format ''", "bytevalue print ");
    TAB("dump --format =", "bytevalue print ");
    TAB("dump --format = p", "print ");
    TAB("dump bread --format print --ou", "--output ");
    TAB("load t --type dup", "duplicate_bag ");
    TAB("explain ESR", "ESRCH ");
    snprintf(line, sizeof line, "--namespace no-such-one info ''");
    TAB(line, " ");
    unsetenv("HEIR_NAMESPACE");
    snprintf(line, sizeof line, "--namespace %s info c", world.ns);
    TAB(line, "cake ");
    snprintf(line, sizeof line, "--namespace = %s info c", world.ns);
    TAB(line, "cake ");
    TAB("info ''", " ");
    /* what the shell looks for itself */
    SHELL(0, "cd %s && mkdir files && cd files && : >some && : >'some more' && chmod +x some", world.dir);
    TAB("load t files/", "files/some files/some more ");
    TAB("dump t --output files/s", "files/some files/some more ");
    TAB("run -- ./files/s", "./files/some ");
    TAB("run -- sha256su", "sha256sum ");
    SHELL(0, "rm -r %s/files", world.dir);
}

/* What begins with a dash may be an option or a name; with two, it is a name behind a lone -- only. */
static void names_with_dashes(void)
{
    if (access("/bin/bash", X_OK) < 0) {
        test_skip("bash is not installed");
        return;
    }
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("-role");
    DO(a, 0, "create -d.x");
    DO(a, 0, "create --json2");
    DO(a, 0, "create -h");
    TAB("info ''", "-d.x ");
    TAB("info -", "--help --json --namespace --socket -d.x ");
    TAB("info --js", "--json ");
    TAB("info -- -", "--json2 -d.x -h ");
    TAB("info -- --js", "--json2 ");
    TAB("give -d.x -r", "-role ");
    TAB("load -d.x -", "--batch --help --json --max-bytes --namespace --socket --type ");
}

/* What zsh's own functions are told: they work in its line editor only. */
static void in_zsh(void)
{
    if (program_run((const char *const[]){"/bin/sh", "-c", "command -v zsh", NULL}, NULL, &out) != 0) {
        test_skip("zsh is not installed");
        return;
    }
    some_names();
    SHELL(0,
          "cat >%s/try <<'END'\n"
          "PATH=$HEIR_TEST_BINDIR:$PATH\n"
          "_describe() { print -rl -- \"${(@P)2}\" }\n"
          "_files() { print files }\n"
          "_command_names() { print commands }\n"
          "compset() { }\n"
          "try() { words=(heirctl \"$@\"); CURRENT=$#words; . $HEIR_TEST_BINDIR/completion/_heirctl }\n"
          "try info brea; try give cake bak; try dump t --format=p; try load t f; try run -- f; try nonsense ''\n"
          "END\n"
          "zsh -f %s/try",
          world.dir, world.dir);
    CHECK_STR(out.out, "bread:set\nbaker:client 1\n--format=print\nfiles\ncommands\n\n");
    SHELL(0, "rm %s/try", world.dir);
}

/* Nothing is an error, and nobody is needed. */
static void without_anything(void)
{
    CTL(0, "--complete", "info", "");
    CHECK_STR(out.out, "");
    CTL(0, "--complete", "--namespace", "a/b", "info", "");
    CHECK_STR(out.out, "");
    CTL(0, "--complete", "--", "--json");
    CHECK_STR(out.out, "");
    CTL(2, "--complete");
}

const struct test completion_tests[] = {{"completion: in bash", in_bash},
                                        {"completion: names with dashes", names_with_dashes},
                                        {"completion: in zsh", in_zsh},
                                        {"completion: without anything", without_anything},
                                        {NULL, NULL}};
