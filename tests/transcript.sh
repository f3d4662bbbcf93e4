#!/bin/sh
# SPDX-License-Identifier: MIT
# Is the transcript in heirctl(1) what happens? Its commands are run, and their output has the same shape: the same
# lines, where each number, time and size may be another one.
#
# Run by meson test, which sets HEIR_TEST_BINDIR.

set -u

tools=${HEIR_TEST_BINDIR:?is to be the folder with heird and heirctl}
cd "$(dirname "$0")/../tools/man" || exit 1
# shellcheck source=tools/script.sh
. ../script.sh
page=$PWD/heirctl.1
passed=0 failed=0 keeper=

work_in transcript
HEIR_NAMESPACE=transcript-$$ HEIR_SOCKET=$work/keeper.sock PATH=$tools:$tools/demo:$PATH
export HEIR_NAMESPACE HEIR_SOCKET PATH

clean_up() {
    [ -z "$keeper" ] || kill "$keeper" 2>/dev/null
    wait
    heirctl purge --yes >/dev/null 2>&1
    rm -rf "$work"
}

shape() {
    sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g; s/[0-9]+(\.[0-9]+)?[KMG]?i?B\>/SIZE/g
            s/[0-9]+(\.[0-9]+)?m?s\>/AGE/g; s/[0-9]+/N/g; s/ +/ /g' "$1"
}

# same: what was printed is what was expected; a line [...] stands for any number of them.
same() {
    shape expected >a
    shape printed >b
    awk 'NR == FNR { want[++n] = $0; if ($0 == "[...]") gap = n; next }
         { is[++m] = $0 }
         END {
             if (gap ? m < n - 1 : m != n) exit 1
             for (i = 1; i <= n && i != gap; i++) if (want[i] != is[i]) exit 1
             for (i = n; gap && i > gap; i--) if (want[i] != is[m - n + i]) exit 1
         }' a b
}

try() {
    sh -c "$1" >printed 2>&1
    if same; then
        passed=$((passed + 1))
        return
    fi
    printf 'FAILED: %s: the shape of what heirctl(1) has, and of what it prints:\n' "$1"
    diff a b
    failed=$((failed + 1))
}

cd "$work" || exit 1 # cores, if any, go with the folder
mkfifo ready
heird --ready-fd 3 3>ready 2>log &
keeper=$!
read -r _ <ready

# the first one
sed -n '/^\.Bd/,/^\.Ed/p' "$page" | sed '/^\.Ed/q' | sed '/^\.[BE]d/d; s/\\-/-/g; s/\\e/\\/g' >transcript
command=
: >expected
while IFS= read -r line; do
    case $line in
    '$ '*)
        [ -z "$command" ] || try "$command"
        command=${line#??}
        : >expected
        ;;
    *) printf '%s\n' "$line" >>expected ;;
    esac
done <transcript
try "$command"

# Nobody writes a table while the keeper has it: who claims it gets it at the transaction at which it was left.
if heirctl events | awk '/ inherited / { at = $0; sub(/.*, at transaction /, "", at); sub(/,.*/, "", at); n++ }
                         / claimed, / && n { sub(/.*, at transaction /, ""); sub(/,.*/, ""); if ($0 != at) exit 1 }
                         END { if (n != 5) exit 1 }'; then
    passed=$((passed + 1))
else
    echo 'FAILED: a table was claimed at another transaction than that at which it was left'
    heirctl events
    failed=$((failed + 1))
fi

echo "transcript: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -ge 6 ]
