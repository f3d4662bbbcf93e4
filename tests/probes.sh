#!/bin/sh
# SPDX-License-Identifier: MIT
# Are the probes those that heir(7) has, and do they fire with the arguments it tells?
#
#   probes.sh LIBRARY PROGRAM...
#
# The shared library's notes, those of the programs that have the static one in them, the header and the page are
# compared. Then each program, which prints what its probes are to say, is run under gdb. Run by meson test, which sets
# HEIR_TEST_PROBES to true or false and HEIR_TEST_SANITIZE; 77: built without probes.

set -u

# shellcheck source=tools/script.sh
. "$(dirname "$0")/../tools/script.sh"

library=${1:?wants the shared library and programs}
shift
page=$(dirname "$0")/../tools/man/heir.7
header=$(dirname "$0")/../lib/format/probe.h
passed=0 failed=0 skipped=0

if [ "${HEIR_TEST_PROBES:-true}" != true ]; then
    say 'skipped: built without probes (sys/sdt.h is in systemtap-sdt-dev)'
    say 'probes: 0 passed, 0 failed, 1 skipped'
    exit 77
fi

work_in probes
HEIR_NAMESPACE=probes-$$ HEIR_SOCKET=$work/keeper.sock
export HEIR_NAMESPACE HEIR_SOCKET
unset DEBUGINFOD_URLS

clean_up() {
    "${HEIR_TEST_BINDIR:?}/heirctl" purge --yes >/dev/null 2>&1
    rm -rf "$work"
}

# same WHAT: $work/is and $work/has have the same lines, and some.
same() {
    if [ -s "$work/has" ] && cmp -s "$work/is" "$work/has"; then
        passed=$((passed + 1))
    else
        say "FAILED: $1"
        diff "$work/is" "$work/has"
        failed=$((failed + 1))
    fi
}

# ---- What there is -------------------------------------------------------------------------------------------

# NAME TYPE...: each probe of a file once, if it is everywhere the same.
notes_of() {
    readelf -n "$1" | awk '
        $1 == "Provider:" { ours = $2 == "libheir" }
        ours && $1 == "Name:" { line = $2 }
        ours && $1 == "Arguments:" {
            for (i = 2; i <= NF; i++) {
                size = $i
                sub(/@.*/, "", size)
                line = line " " (size < 0 ? "int" : "uint") 8 * (size < 0 ? -size : size)
            }
            print line
        }' | sort -u
}

# NAME TYPE ARGUMENT TYPE ARGUMENT...
sed -n 's/^\.It Cm \([a-z]*\) Ar \(u\{0,1\}int.*\)/\1 \2/p' "$page" | sed 's/ , / /g' | sort >"$work/page"
tr '\n' ' ' <"$header" | grep -o 'PROBE([a-z]*, [0-9], ([^)]*)' |
    sed 's/PROBE(\([a-z]*\), [0-9], (\([^)]*\))/\1 \2/; s/const void \*/uint64 /g; s/_t / /g; s/,//g' |
    sort >"$work/is"
cp "$work/page" "$work/has"
same 'the header has other probes or arguments than the page'
awk '{ line = $1; for (i = 2; i <= NF; i += 2) line = line " " $i; print line }' "$work/page" | sort >"$work/types"
for file in "$library" "$@"; do
    if ldd "$file" | grep -q libheir.so; then
        continue
    fi
    notes_of "$file" >"$work/is"
    cp "$work/types" "$work/has"
    same "$file has other probes than the page"
done

# ---- What they say -------------------------------------------------------------------------------------------

printf_of() {
    awk '{
        format = $1
        arguments = ""
        for (i = 2; i <= NF; i += 2) {
            n = "$_probe_arg" i / 2 - 1
            if ($(i + 1) == "page") # the number of the table
                n = "*(unsigned long *)(" n " + 24)"
            if ($(i + 1) == "ns")
                format = format " in some time"
            else {
                format = format ($i ~ /^u/ ? " %lu" : " %d")
                arguments = arguments ", " n
            }
        }
        print "break -probe-stap libheir:" $1
        print "commands\nsilent\nprintf \"PROBE " format "\\n\"" arguments "\ncontinue\nend"
    }' "$work/page"
}

{
    say 'set confirm off'
    say 'set pagination off'
    say 'set debuginfod enabled off'
    say 'set width 0'
    say 'set detach-on-fork on'
    say 'set follow-fork-mode parent'
    say 'handle all nostop noprint pass'
    say 'handle SIGTRAP stop noprint nopass'
    say 'break main'
    say "run >$work/said"
    printf_of
    say 'continue'
    say 'quit'
} >"$work/orders"

if ! command -v gdb >/dev/null 2>&1; then
    say 'skipped: gdb is not installed: nobody sees the probes fire'
    skipped=1
elif [ "${HEIR_TEST_SANITIZE:-none}" != none ]; then
    say 'skipped: a program with a sanitizer is not run under gdb'
    skipped=1
elif ! gdb -nx -batch -ex run --args true 2>&1 | grep -q 'exited normally'; then
    say 'skipped: gdb may not trace processes here'
    skipped=1
else
    for program in "$@"; do
        timeout 120 gdb -nx -batch -x "$work/orders" "$program" >"$work/gdb" 2>&1
        sed -n 's/^PROBE //p' "$work/gdb" >"$work/is"
        cp "$work/said" "$work/has"
        same "$(basename "$program"): what its probes said, and were to say" || cat "$work/gdb"
    done
fi

say "probes: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
