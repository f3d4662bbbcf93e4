#!/bin/sh
# SPDX-License-Identifier: MIT
# Check the model of the hand-off over all interleavings, and that each step that is broken on purpose is noticed.
#
#   sh tests/model/run.sh [--long] [--only NAME]...
#
# --long       larger bounds, too: some 10 minutes, up to 6 GiB
# --only NAME  one configuration or break
#
# A line each: its name, what has to come out, states, depth, seconds. The last line is the sum. Exit status 0 if all is
# as it has to be, 77 without spin.

set -u

here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tools/script.sh
. "$here/../../tools/script.sh"
model=$here/handoff.pml
long=false chosen='' passed=0 failed=0
memory=2000

while [ $# -gt 0 ]; do
    case $1 in
    --long)
        long=true
        memory=6000
        ;;
    --only)
        [ $# -gt 1 ] || exit 2
        shift
        chosen="$chosen $1 "
        ;;
    *)
        manual "$0" >&2
        exit 2
        ;;
    esac
    shift
done

if ! command -v spin >/dev/null 2>&1; then
    say 'spin is not installed: the model is not checked'
    say 'model: 0 passed, 0 failed, 1 skipped'
    exit 77
fi

work_in model

# run KIND NAME "DEATHS GIFTS CLAIMS TIMEOUTS RELEASES" [-D...]: KIND is sound (no error), ends (no endless run: any
# cycle is one without progress) or broken (an error). Searched to the end, or it does not count.
run() {
    kind=$1 name=$2 bounds=$3
    shift 3
    case $chosen in
    '' | *" $name "*) ;;
    *) return ;;
    esac
    # One word a bound.
    # shellcheck disable=SC2046,SC2086
    set -- "$@" $(printf -- '-DDEATHS=%s -DGIFTS=%s -DCLAIMS=%s -DTIMEOUTS=%s -DRELEASES=%s' $bounds)
    case $kind in
    sound) how='-DSAFETY -O1' flags='' ;;
    ends) how='-DNP -O1' flags=-l ;;
    broken) how='-DSAFETY -O0' flags='' ;;
    esac
    since=$(date +%s)
    # shellcheck disable=SC2086
    if (cd "$work" && rm -f pan* ./*.trail && spin "$@" -a "$model" &&
        ${CC:-cc} $how -w -DCOLLAPSE -DMEMLIM="$memory" -o pan pan.c) >"$work/log" 2>&1; then
        # shellcheck disable=SC2086
        (cd "$work" && ./pan -m100000 $flags) >"$work/log" 2>&1
    fi
    # "State-vector 92 byte, depth reached 118, errors: 0", " 1231543 states, stored"
    errors=$(sed -n 's/.*, errors: \([0-9]*\).*/\1/p' "$work/log")
    depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' "$work/log")
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$work/log")
    found=$(sed -n 's/^pan:[0-9]*: \(.*\) (at depth.*/\1/p' "$work/log")
    complete=true
    if [ -z "$errors" ] || grep -qiE 'max search depth too small|out of memory|memory limit|reached -DMEMLIM|interrupted|truncated' "$work/log"; then
        complete=false
    fi
    result=FAILED
    case $kind in
    sound | ends) [ "$errors" != 0 ] || ! $complete || result=ok ;;
    # what it must not be is a mistake of the model itself; an error needs no complete search
    broken) case $found in
        'assertion violated'* | 'invalid end state'*) result=caught ;;
        esac ;;
    esac
    printf '%-7s %-6s %-22s %10s states, depth %3s, %3s s%s\n' "$result" "$kind" "$name" "${states:-?}" "${depth:-?}" \
        $(($(date +%s) - since)) "${found:+: $found}"
    if [ "$result" = FAILED ]; then
        failed=$((failed + 1))
        tail -n 30 "$work/log"
    else
        passed=$((passed + 1))
    fi
}

#                    deaths, gifts, claims, timeouts, releases
run sound   give     '3 2 0 0 0'
run sound   line     '1 0 2 1 1'
run sound   all      '3 1 1 0 0'
run sound   release  '2 1 1 0 1'
run sound   threads  '2 2 0 0 0' -DTHREADS
run ends    all-ends '2 1 1 0 0'

if $long; then
    run sound give-long    '3 3 0 0 0'
    run sound restart-long '2 0 1 1 1'
    run sound forget-first '3 1 1 0 0' -DBREAK=FORGET_FIRST
    run sound line-long    '2 0 3 1 1'
    run sound all-release  '3 1 1 0 1'
    run sound all-long     '3 1 1 1 1'
    run sound threads-long '3 2 0 0 0' -DTHREADS
    run sound threads-line '3 1 1 0 0' -DTHREADS
    run ends  ends-long    '3 1 1 0 1'
fi

broken() {
    run broken "$1" "$2" -DBREAK="$1"
}

broken SET_AFTER_SWITCH      '3 1 0 0 0'
broken RECORD_AFTER_SWITCH   '3 1 0 0 0'
broken NO_SECOND_LOOK        '3 1 0 0 0'
broken LEAVE_BEFORE_RING     '3 1 0 0 0'
broken LEAVE_AFTER_UNLOCK    '3 2 0 0 0'
broken TAKE_BACK_SAME_EPOCH  '3 1 0 0 0'
broken DEAD_AFTER_SET_READ   '3 1 0 0 0'
broken FORGET_FIRST_NO_SWEEP '3 1 0 0 0'
broken NO_RING_AT_ADOPTION   '2 1 1 1 1'
broken GRANT_TO_THE_DEAD     '2 1 1 0 1'
broken SETTLE_UNLOCKED       '3 1 0 0 0'
broken WORD_READ_BEFORE_LOCK '3 1 0 0 0'
broken ADOPTION_TIDIES_SETS  '3 1 0 0 0'
broken NO_RING_AT_RECLAIM    '3 1 0 0 0'
broken MUTEX_NOT_ROBUST      '2 1 0 0 0'
broken CANCEL_NOT_AWAITED    '2 1 1 1 1'
broken CLAIM_NOT_SENT_AGAIN  '2 0 1 0 1'
broken ADOPTION_PASSES_HEIR  '3 1 0 0 0'
broken ASK_AGAIN_ANY_EPOCH   '2 1 1 0 1'
run broken LOOK_WITHOUT_LOCK '2 1 0 0 0' -DTHREADS -DBREAK=LOOK_WITHOUT_LOCK
run broken GIVE_WHEN_DEAD    '2 2 0 0 0' -DTHREADS -DBREAK=GIVE_WHEN_DEAD

say "model: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
