#!/bin/sh
# SPDX-License-Identifier: MIT
# See a counter survive kill -9: install what is missing, build, and run scenario 1 with its output explained.
#
#   sh tools/demo.sh
#
# Runs in a namespace and a folder of its own, and removes both at the end, also after Ctrl-C. build/ stays.

set -eu

cd "$(dirname "$0")/.."
. tools/script.sh
work='' keeper='' driver=''

# A line of the programs, and below it what it means.
explain() {
    printf '      %s\n' "$*"
}

fail() {
    printf '\nVERDICT: the demo FAILED: %s\n' "$*"
    exit 1
}

end() {
    [ -z "$1" ] || kill "$1" 2>/dev/null || return 0
    [ -z "$1" ] || wait "$1" 2>/dev/null || return 0
}

clean_up() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP
    end "$driver"
    end "$keeper"
    if [ -n "$work" ]; then
        # Tables outlive their keeper; these are the demo's own.
        rm -rf "$work" /dev/shm/heir."$HEIR_NAMESPACE".*
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'say; say "VERDICT: interrupted; cleaning up"; exit 130' INT
trap 'exit 143' TERM HUP

case ${1-} in
'') ;;
-h | --help)
    manual tools/demo.sh
    exit 0
    ;;
*)
    printf 'demo.sh: it takes no arguments\n' >&2
    exit 2
    ;;
esac

# ---- Build ---------------------------------------------------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/heir-demo.XXXXXX")
HEIR_NAMESPACE=demo-$$
HEIR_SOCKET=$work/keeper.sock
export HEIR_NAMESPACE HEIR_SOCKET

say '== 1. What the build needs'
sh tools/packages.sh build
say
say '== 2. Build, in build/'
if [ ! -f build/build.ninja ]; then
    meson setup build >"$work/build.log" 2>&1 || {
        cat "$work/build.log"
        fail 'meson setup failed; its words stand above'
    }
fi
if ninja -C build tools/heird tools/heirctl tools/demo/counter tools/demo/counter-worker >"$work/build.log" 2>&1; then
    if grep -q 'no work to do' "$work/build.log"; then
        say 'Nothing to build: it is all there.'
    else
        say 'Built: the library, heird (the keeper), heirctl (the tool), and the programs of the scenario.'
    fi
else
    cat "$work/build.log"
    fail 'the build failed; its words stand above (an old build/ can be removed: rm -r build)'
fi

# ---- The keeper ----------------------------------------------------------------------------------------------

say
say '== 3. The keeper'
mkfifo "$work/ready" "$work/output"
# Both in sessions of their own: Ctrl-C comes to this script alone, which ends them in order.
setsid build/tools/heird --ready-fd 3 3>"$work/ready" 2>"$work/keeper.log" &
keeper=$!
ready=
read -r ready <"$work/ready" || :
if [ "$ready" != READY ]; then
    cat "$work/keeper.log"
    fail 'the keeper did not start; its words stand above'
fi
say "heird runs (pid $keeper). It creates the tables, notices deaths, and hands tables on. It does not see what is"
say "written: workers read and write the shared memory themselves."

# ---- Scenario 1 ----------------------------------------------------------------------------------------------

say
say '== 4. A worker counts, and is killed with SIGKILL three times'
say 'The worker (tools/demo/counter-worker.c) claims the table "counter" and adds 1 for each request. No line of it'
say 'saves or restores anything. A driver asks it three times, kills it, and goes on with the one started in its place.'
say
setsid build/tools/demo/counter >"$work/output" 2>&1 &
driver=$!

counted=
while IFS= read -r line; do
    printf '  %s\n' "$line"
    case $line in
    *[!0-9]* | '') ;;
    *) counted="$counted${counted:+ }$line" ;;
    esac
    case $line in
    1) explain '^ the first answer: the sum was committed in shared memory before the worker said it' ;;
    4 | 7) explain '^ the new worker goes on where the dead one was committed' ;;
    *[!0-9]*) ;;
    *) explain '^ one more' ;;
    esac
    case $line in
    '# '*'which is new'*) explain '^ heir_claim() made the table, because there was none' ;;
    '# kill'*) explain '^ no chance to save: SIGKILL cannot be caught' ;;
    '# '*'is dead'*) explain '^ the driver reads the table although nobody runs who owns it' ;;
    '# '*'started by heirctl run'*) explain '^ the same heir_claim(), the same program: the table came from the keeper' ;;
    'heirctl: run'*) explain '^ heirctl run, which starts the worker again when it dies' ;;
    esac
done <"$work/output"
status=0
wait "$driver" || status=$?
driver=

# ---- What the keeper saw -------------------------------------------------------------------------------------

say
say "== 5. The keeper's own log of the deaths"
deaths=$(grep -c 'counter-worker.* died' "$work/keeper.log" || :)
grep -E 'counter-worker.* died|table counter: epoch .* inherited' "$work/keeper.log" | sed 's/^/  /' || :
explain '^ a death: how long it took to roll back what was not committed and to take the tables; then the epoch of the'
explain '  table, which grows with every change of owner, so that a write of a former owner can be told and refused'

end "$keeper"
keeper=

[ "$status" -eq 0 ] || fail "the scenario ended with exit status $status; its last line says why"
[ "$counted" = '1 2 3 4 5 6 7 8 9' ] || fail "the answers were $counted, not 1 2 3 4 5 6 7 8 9"
[ "$deaths" -eq 3 ] || {
    cat "$work/keeper.log"
    fail "the keeper logged $deaths deaths, not 3; its whole log stands above"
}
say
say 'VERDICT: it works. 1 2 3 4 5 6 7 8 9 across three SIGKILLs: nothing lost, nothing counted twice.'
say 'Next: README.md; build/tools/heirctl --help; the other scenarios in build/tools/demo/; sh tools/test.sh'
