#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what is missing, build, and run all tests.
#
#   sh tools/test.sh [--quick] [--only NAME]...
#
# gcc    release, warnings are errors         (build-gcc)
#        tests that go on for a time do so for less in the others: a quarter of it, unless HEIR_TEST_SHARE says more
# clang  the same with clang, without the suites crash, model and bench (build-clang)
# asan   gcc with address and UB sanitizer    (build-asan)
# tsan   clang with thread sanitizer          (build-tsan)
# and then: the installed library from C and C++, what it exports, shellcheck, cppcheck, nothing left behind.
#
# --quick      gcc alone, without these checks
# --only NAME  a configuration of the list above, or a test program (meson test -C build-gcc --list); without the checks
#
# The last line is the sum: "N passed, N failed, N skipped". Exit status 0 if nothing failed.

set -u

cd "$(dirname "$0")/.." || exit 1
. tools/script.sh
root=$(pwd -P)
begun=$(date +%s)
passed=0 failed=0 skipped=0

# ---- What to do ----------------------------------------------------------------------------------------------

configurations='gcc clang asan tsan'
chosen='' programs='' checks=true

while [ $# -gt 0 ]; do
    case $1 in
    --quick)
        configurations=gcc
        checks=false
        ;;
    --only)
        [ $# -gt 1 ] || usage '--only wants the name of a configuration or of a test program'
        shift
        checks=false
        case $1 in
        gcc | clang | asan | tsan) chosen="$chosen $1" ;;
        '' | -*) usage '--only wants the name of a configuration or of a test program' ;;
        *) programs="$programs $1" ;;
        esac
        ;;
    -h | --help)
        manual tools/test.sh
        exit 0
        ;;
    *) usage "there is no option $1" ;;
    esac
    shift
done
[ -z "$chosen" ] || configurations=$chosen

# Tests make namespaces of their own; one that the user works in must not come in between.
unset HEIR_NAMESPACE HEIR_SOCKET
work_in check

# ---- What must not be left behind ----------------------------------------------------------------------------

# Shared memory by its namespace, files by their name, processes by pid.
list_shared_memory() {
    for file in /dev/shm/heir.*; do
        [ ! -e "$file" ] || say "$file"
    done | sed 's|^/dev/shm/heir\.\([^.]*\)\..*|\1|' | sort -u
}

list_files() {
    for file in /tmp/heir[.-]* "${TMPDIR:-/tmp}"/heir[.-]*; do
        [ ! -e "$file" ] || say "$file"
    done | grep -v '/heir-check\.' | sort -u # what a run of this script works in
}

list_keepers() {
    for exe in /proc/[0-9]*/exe; do
        case $(readlink "$exe" 2>/dev/null) in
        "$root"/build*/tools/heird | "$root"/build*/tools/heird' (deleted)')
            pid=${exe#/proc/}
            say "${pid%/exe}"
            ;;
        esac
    done | sort -u
}

list_shared_memory >"$work/shared_memory"
list_files >"$work/files"
list_keepers >"$work/keepers"

# Prints what is new. Given a moment: what was just ended may still be going.
nothing_new() {
    for _ in 1 2 3 4 5 6; do
        "list_$1" | comm -13 "$work/$1" - >"$work/new"
        [ -s "$work/new" ] || return 0
        sleep 0.5
    done
    cat "$work/new"
    return 1
}

# ---- Building and testing ------------------------------------------------------------------------------------

note_failure() {
    say "FAILED: $*"
    failed=$((failed + 1))
}

# Old kernels and sanitizers agree on 28 bits; above them, the thread sanitizer cannot place its shadow memory.
without_aslr() {
    bits=$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28)
    if [ "$bits" -gt 28 ] && setarch "$(uname -m)" -R true 2>/dev/null; then
        setarch "$(uname -m)" -R "$@"
    else
        "$@"
    fi
}

configure() {
    case $1 in
    gcc) options='CC=gcc --buildtype=release --werror' ;;
    clang) options='CC=clang --buildtype=release --werror' ;;
    asan) options='CC=gcc --buildtype=debugoptimized -Db_sanitize=address,undefined -Dbench=false' ;;
    tsan) options='CC=clang --buildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false -Dbench=false' ;;
    esac
    # Configured otherwise before, by hand or by an older version of this script: begin anew.
    if [ "$(cat "build-$1/test-options" 2>/dev/null)" = "$options" ]; then
        return 0
    fi
    rm -rf "build-$1"
    # One word an option.
    # shellcheck disable=SC2086
    env "${options%% *}" meson setup "build-$1" ${options#* } || return 1
    say "$options" >"build-$1/test-options"
}

# The results of the programs, from their own last lines. Sets passed, failed, skipped. $2: when it began.
add_up() {
    if [ ! -f "build-$1/meson-logs/testlog.json" ]; then
        note_failure "$1: no test was run${programs:+ (meson test -C build-$1 --list shows their names)}"
        return
    fi
    # python3 comes with meson.
    python3 - "build-$1/meson-logs/testlog.json" 2>&1 >"$work/sum" <<'PYTHON'
import json, re, sys
total = [0, 0, 0]
for text in open(sys.argv[1], encoding="utf-8", errors="replace"):
    test = json.loads(text)
    lines = test.get("stdout", "").rstrip().splitlines()
    match = re.fullmatch(r"\S+: (\d+) passed, (\d+) failed, (\d+) skipped", lines[-1]) if lines else None
    counts = [int(count) for count in match.groups()] if match else [0, 0, 0]
    # a benchmark prints figures, a fuzzer its inputs; that it ran and found all in order is one test
    if not match and (":bench / " in test["name"] or " / fuzz-" in test["name"]):
        counts = {"OK": [1, 0, 0], "SKIP": [0, 0, 1]}.get(test["result"], [0, 1, 0])
    elif not match:
        print(f"FAILED: {test['name']} did not end with its line of results ({test['result']})", file=sys.stderr)
        counts[1] = 1
    elif test["result"] not in ("OK", "SKIP") and counts[1] == 0:
        print(f"FAILED: {test['name']} counted no failure, but ended with {test['result']}", file=sys.stderr)
        counts[1] = 1
    total = [a + b for a, b in zip(total, counts)]
print(*total)
PYTHON
    if read -r p f s <"$work/sum"; then
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
        say "$1: $p passed, $f failed, $s skipped ($(($(date +%s) - $2)) s with the build)"
    else
        note_failure "$1: build-$1/meson-logs/testlog.json cannot be read; why stands above"
    fi
}

run_configuration() {
    since=$(date +%s)
    say
    say "== $1: build in build-$1/, test"
    if ! configure "$1" >"$work/log" 2>&1 || ! ninja -C "build-$1" >>"$work/log" 2>&1; then
        cat "$work/log"
        note_failure "$1 does not build; why stands above"
        return
    fi
    rm -f "build-$1/meson-logs/testlog.json"
    case $1 in
    gcc) share=1 ;;
    *) share=0.25 ;;
    esac
    case $1 in
    asan) set -- asan -t 3 ;;
    tsan) set -- tsan -t 5 ;;
    *) set -- "$1" -t 1 ;;
    esac
    name=$1
    shift
    if [ "$name" = clang ] && [ -z "$programs" ]; then
        set -- "$@" --suite unit --suite process
    fi
    # Many tests mostly wait: one more at a time than there are processors. Of the rest, one word a program.
    # shellcheck disable=SC2086
    HEIR_TEST_SHARE=${HEIR_TEST_SHARE:-$share} without_aslr meson test -C "build-$name" --no-rebuild --print-errorlogs \
        --num-processes $(($(nproc) + 1)) "$@" $programs
    add_up "$name" "$since"
}

# ---- Checks beside the tests ---------------------------------------------------------------------------------

check() {
    what=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        say "ok      $what"
        passed=$((passed + 1))
    else
        cat "$work/log"
        note_failure "$what"
    fi
}

write_user() {
    cat >"$1" <<'C'
#include <heir.h>
#include <heir/admin.h>
#include <heir/inspect.h>
#include <heir/keeper.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, heir_strerror(error));
    return 1;
}

int main(void)
{
    struct heir_keeper_options options;
    struct heir_keeper *keeper;
    struct heir_keeper_status status;
    struct heir *me;
    struct heir_table *table;
    int64_t n = 0;
    int error;
    memset(&options, 0, sizeof options);
    if ((error = heir_keeper_start(&options, &keeper)) != 0)
        return failed("heir_keeper_start", error);
    if ((error = heir_open(NULL, &me)) != 0)
        return failed("heir_open", error);
    if ((error = heir_create(me, "counter", NULL, &table)) != 0)
        return failed("heir_create", error);
    if ((error = heir_add(table, "n", 1, 40, &n)) != 0 || (error = heir_add(table, "n", 1, 2, &n)) != 0)
        return failed("heir_add", error);
    if ((error = heir_ping(NULL, &status)) != 0)
        return failed("heir_ping", error);
    if ((error = heir_destroy(table)) != 0)
        return failed("heir_destroy", error);
    if ((error = heir_close(me)) != 0)
        return failed("heir_close", error);
    heir_keeper_stop(keeper);
    printf("version %s counted to %d\n", heir_version(), (int)n);
    return n == 42 ? 0 : 1;
}
C
}

install_into_folder() {
    DESTDIR=$work/installed meson install -C build-gcc --no-rebuild --quiet || return 1
    PKG_CONFIG_PATH=$(dirname "$(find "$work/installed" -name heir.pc)")
    library=$(dirname "$(find "$work/installed" -name libheir.so)")
    PKG_CONFIG_SYSROOT_DIR=$work/installed
    export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
    pkg-config --exists --print-errors heir && [ -x "$(find "$work/installed" -path '*/bin/heird')" ] &&
        [ -x "$(find "$work/installed" -path '*/bin/heirctl')" ]
}

# Compiles each public header alone, then a program that uses them all, links it by pkg-config, and runs it.
use_installed() {
    language=$1
    shift
    flags=$(pkg-config --cflags heir) || return 1
    libraries=$(pkg-config --libs heir) || return 1
    for header in heir.h heir/admin.h heir/inspect.h heir/keeper.h; do
        printf '#include <%s>\n' "$header" >"$work/header.$language"
        # shellcheck disable=SC2086
        "$@" $flags -fsyntax-only "$work/header.$language" || return 1
    done
    write_user "$work/user.$language"
    # shellcheck disable=SC2086
    "$@" $flags -o "$work/user-$language" "$work/user.$language" $libraries || return 1
    HEIR_NAMESPACE=installed-$$-$language HEIR_SOCKET=$work/s LD_LIBRARY_PATH=$library "$work/user-$language"
}

exports_only_heir() {
    file=$(find "$work/installed" -name libheir.so)
    # A version node of the symbol map is an absolute symbol.
    nm -D --defined-only "$file" >"$work/symbols" || return 1
    awk '$2 != "A" { count++ } $2 != "A" && $3 !~ /^heir_/ { print "exported: " $3; bad = 1 }
        END { if (!count) print "it exports nothing"; exit bad || !count }' "$work/symbols"
}

check_scripts() {
    find .ci tools tests bench -name '*.sh' -o -name '*.bash' >"$work/scripts"
    say .ci/run >>"$work/scripts"
    xargs shellcheck -x <"$work/scripts"
}

# The loops of liburcu are macros that cppcheck has to know. In name.c it takes a bound for strings that come in for the
# bound of an array of its own.
check_sources() {
    urcu=$(env -u PKG_CONFIG_SYSROOT_DIR pkg-config --variable=includedir liburcu-bp)/urcu
    cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 -j 2 \
        --suppress=missingIncludeSystem --suppress=arrayIndexOutOfBoundsCond:lib/format/name.c \
        --include="$urcu/list.h" --include="$urcu/rculfhash.h" \
        -D_GNU_SOURCE -D__linux__ '-DHEIR_VERSION="0.0.0"' -I include lib tools
}

run_checks() {
    say
    say '== Checks: the installed library, the sources'
    check 'meson install into a DESTDIR, found by pkg-config' install_into_folder
    check 'the installed headers and library from C11' use_installed c gcc -std=c11 -Wall -Wextra -Werror -pedantic
    check 'the installed headers and library from C++17' use_installed cc g++ -std=c++17 -Wall -Wextra -Werror -pedantic
    check 'the shared library exports nothing but heir_*' exports_only_heir
    check 'shellcheck finds nothing in the scripts' check_scripts
    check 'cppcheck finds nothing in lib/ and tools/' check_sources
}

# ---- Go ------------------------------------------------------------------------------------------------------

say '== What the tests need'
if [ "$configurations" = gcc ]; then
    sh tools/packages.sh build || exit 1
else
    sh tools/packages.sh test || exit 1
fi

for configuration in $configurations; do
    run_configuration "$configuration"
done
if $checks; then
    run_checks
fi

say
say '== Left behind'
check 'no shared memory of a new namespace in /dev/shm' nothing_new shared_memory
check 'no new file or folder in /tmp' nothing_new files
check 'no keeper process' nothing_new keepers

say
say "Took $((($(date +%s) - begun + 30) / 60)) min."
if [ "$failed" -eq 0 ]; then
    say 'VERDICT: all is well.'
else
    say 'VERDICT: something FAILED; look for FAILED above.'
fi
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
