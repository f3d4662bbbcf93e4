#!/bin/sh
# SPDX-License-Identifier: MIT
# heirctl top, driven in a real terminal: what it shows, its keys, another size, its end; and where it refuses.
#
# tmux is the terminal. Run by meson test, which sets HEIR_TEST_BINDIR; 77: there is no tmux.

set -u

# shellcheck source=tools/script.sh
. "$(dirname "$0")/../tools/script.sh"

tools=${HEIR_TEST_BINDIR:?is to be the folder with heird and heirctl}
passed=0 failed=0 keeper='' dump='' reader=''

if ! command -v tmux >/dev/null 2>&1; then
    say 'skipped: tmux is not installed'
    exit 77
fi

work_in top
echo 'set -g exit-empty off' >"$work/tmux.conf"
HEIR_NAMESPACE=top-$$ HEIR_SOCKET=$work/keeper.sock
export HEIR_NAMESPACE HEIR_SOCKET
unset NO_COLOR TMUX
ASAN_OPTIONS=detect_leaks=0 # ncurses keeps what it has
export ASAN_OPTIONS

# One server for the whole test: one that ends with its last session may be met by the next while it goes.
terminal() {
    tmux -S "$work/tmux.sock" -f "$work/tmux.conf" "$@"
}

clean_up() {
    terminal kill-server 2>/dev/null
    for process in $keeper $dump $reader; do
        kill "$process" 2>/dev/null
    done
    wait
    "$tools/heirctl" purge --yes >/dev/null 2>&1
    rm -rf "$work"
}

good() {
    passed=$((passed + 1))
}

bad() {
    say "FAILED: $*"
    [ ! -s "$work/screen" ] || sed 's/^/    /' "$work/screen"
    failed=$((failed + 1))
}

# until WHAT COMMAND...: it comes true within 10 seconds.
until_so() {
    what=$1
    shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        if [ "$tries" -ge 100 ]; then
            bad "$what"
            return 1
        fi
        sleep 0.1
    done
    good
}

# check WHAT COMMAND...: it is so now.
check() {
    what=$1
    shift
    if "$@"; then
        good
    else
        bad "$what"
    fi
}

# shows PATTERN: the screen has such a line, now.
shows() {
    terminal capture-pane -p -t top >"$work/screen" 2>/dev/null
    grep -q -e "$1" "$work/screen"
}

# The same of the first row below the headings: of a list that scrolls any row may have been there before.
sixth_is() {
    terminal capture-pane -p -t top >"$work/screen" 2>/dev/null
    sed -n 6p "$work/screen" | grep -q -e "$1"
}

# Has the screen a colour, other than the terminal's own?
coloured() {
    terminal capture-pane -e -p -t top >"$work/screen"
    grep -q "$(printf '\033')\\[3[0-7]m" "$work/screen"
}

plain() {
    ! coloured
}

# in_order A B: the row of A stands above that of B.
in_order() {
    terminal capture-pane -p -t top >"$work/screen"
    awk -v a="$1" -v b="$2" '$1 == a { x = NR } $1 == b { y = NR } END { exit !(x && y && x < y) }' "$work/screen"
}

start() {
    rm -f "$work/code"
    terminal new-session -d -s top -x 110 -y 24 "$1 $tools/heirctl top 2>$work/err; echo \$? >$work/code; sleep 60"
}

ended_with() {
    [ "$(cat "$work/code" 2>/dev/null)" = "$1" ]
}

load() {
    {
        printf 'VERSION=3\nformat=print\ntype=hash\nHEADER=END\n'
        awk -v n="$2" 'BEGIN { for (i = 0; i < n; i++) printf " k%d\n v\n", i }'
        printf 'DATA=END\n'
    } | "$tools/heirctl" load "$1" >/dev/null
}

mkfifo "$work/ready"
"$tools/heird" --ready-fd 3 3>"$work/ready" 2>"$work/log" &
keeper=$!
read -r _ <"$work/ready"

# ---- What it shows -------------------------------------------------------------------------------------------

load apples 1
load bread 30
load cake 20
start ''
until_so 'the namespace' shows "namespace '$HEIR_NAMESPACE'"
until_so 'the totals' shows '^tables 3 (0 unreadable), objects 51, '
until_so 'a row' shows '^bread  *keeper  *-  *2  *30 '
until_so 'the rest of it' shows 'WAITING'
check 'is not sorted by name' in_order apples bread
check 'is not sorted by name' in_order bread cake
terminal send-keys -t top b
until_so 'sorted by objects' in_order cake apples
check 'is not sorted by objects' in_order bread cake
terminal send-keys -t top n
until_so 'sorted by name' in_order apples bread

# rates: each put claims and releases
(while [ ! -e "$work/stop" ]; do "$tools/heirctl" put cake k v >/dev/null; done) &
until_so 'commits a second' shows 'commits [1-9][0-9]*/s, transfers [1-9]'
terminal send-keys -t top t
until_so 'sorted by transfers' in_order cake apples
: >"$work/stop"

# a worker that kills itself
if [ -x "$tools/demo/dynamite-worker" ]; then
    check 'there was no death' shows '^deaths 0\.0/s, by signal 0, '
    (cd "$work" && ! "$tools/demo/dynamite-worker") >/dev/null 2>&1 # a core, if any, goes with the folder
    until_so 'a rate of deaths' shows '^deaths [01]\.[1-9]/s, by signal 1, \|^deaths 1\.0/s, by signal 1, '
fi

# damage
printf 'spoilt' | dd of="/dev/shm/heir.$HEIR_NAMESPACE.t.apples" conv=notrunc bs=1 2>/dev/null
until_so 'what cannot be read' shows '^apples .*damaged'
until_so 'and its number' shows '(1 unreadable)'
check 'a damaged table has no colour' coloured

# ---- Counters, and who reads ---------------------------------------------------------------------------------

check 'not that nobody reads' shows ' pins 0 (oldest -)'
terminal send-keys -t top k
until_so 'the counters' shows '^tables_created  *[34]  *tables created$'
check 'not the way back' shows '^q quit; k tables$'
"$tools/heirctl" put cake k v >/dev/null
until_so 'what is new in them' shows '^clients_opened  *[0-9]*  *[1-9][0-9]*  *clients that have come$'
terminal send-keys -t top Down
until_so 'scrolls them' sixth_is '^deaths exit  *0  *clients that died'
terminal send-keys -t top k
until_so 'the tables again' shows '^bread  *keeper '
terminal resize-window -t top -x 130 -y 24
until_so 'the column of pins' shows '^bread  *keeper .* 0  *-$'
load large 60000
mkfifo "$work/pipe"
# shellcheck disable=SC2217 # that is the point: it holds the pipe open, and reads nothing
sleep 60 <"$work/pipe" &
reader=$!
"$tools/heirctl" dump large >"$work/pipe" 2>/dev/null &
dump=$!
until_so 'a pin' shows ' pins 1 (oldest [0-9]'
until_so 'its table' shows '^large .* 0  *[0-9][0-9.]*[a-z]*$'
terminal send-keys -t top p
until_so 'sorted by pins' in_order large bread
kill "$dump" "$reader"
wait "$dump" "$reader" 2>/dev/null
dump='' reader=''
until_so 'the pin is gone' shows ' pins 0 (oldest -)'
terminal resize-window -t top -x 110 -y 24

# ---- Another size --------------------------------------------------------------------------------------------

terminal resize-window -t top -x 50 -y 12
until_so 'another size' shows '^q quit; sort by: n name, o owner, s state, e epoch$'
check 'not all of 12 lines' [ "$(wc -l <"$work/screen")" -eq 12 ]
terminal resize-window -t top -x 20 -y 3
sleep 0.5
terminal resize-window -t top -x 110 -y 24
until_so 'the size before' shows 'WAITING'

# ---- Its end -------------------------------------------------------------------------------------------------

kill "$keeper"
wait "$keeper" 2>/dev/null
keeper=
until_so 'goes on without a keeper' shows 'bread'
terminal send-keys -t top q
until_so 'q quits' ended_with 0
terminal kill-session -t top

start 'NO_COLOR=1'
until_so 'without colours' shows 'bread'
check 'has colours in spite of NO_COLOR' plain
terminal send-keys -t top C-c
until_so 'an interrupt ends it' ended_with 0
terminal kill-session -t top

# ---- Where it refuses ----------------------------------------------------------------------------------------

: >"$work/screen"
"$tools/heirctl" top >"$work/out" 2>"$work/err" </dev/null
check 'without a terminal: its exit status' [ $? -eq 2 ]
check 'without a terminal: what it says' grep -q 'wants a terminal' "$work/err"
check 'without a terminal: prints nothing' [ ! -s "$work/out" ]
"$tools/heirctl" top x >/dev/null 2>&1
check 'an argument' [ $? -eq 2 ]
start 'TERM=no-such-terminal'
until_so 'an unknown terminal' ended_with 2
check 'does not name the terminal' grep -q 'no-such-terminal' "$work/err"

say "top: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
