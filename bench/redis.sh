#!/bin/sh
# SPDX-License-Identifier: MIT
# What does Redis cost for the work of `ops`: a server of its own on a Unix socket, nothing written to disk, one client
# that waits for each answer before it goes on?
#
#   build/bench/ops --rival bench/redis.sh
#   sh bench/redis.sh [OBJECTS [VALUE_SIZE]]
#
# Needs redis-server, redis-cli and redis-benchmark (Debian: redis-tools has the program, redis-server a service beside
# that). Keys have 16 bytes, as redis-benchmark makes them; of each operation at most 30,000 are made. Prints
# PHASE_ns=NUMBER; ends with 1 when an object was lost or invented, with 77 when a program is missing.

set -eu

objects=${1:-1000000} value_size=${2:-64}
for program in redis-cli redis-benchmark; do
    command -v $program >/dev/null || exit 77
done
# One program under several names. It takes the one that it is called by.
server_program=$(command -v redis-server || command -v redis-check-rdb) || exit 77
dir=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/redis-XXXXXX")
ln -s "$(readlink -f "$server_program")" "$dir/redis-server"
socket=$dir/socket
operations=$((objects < 30000 ? objects : 30000))

"$dir/redis-server" --port 0 --unixsocket "$socket" --save '' --appendonly no --dir "$dir" >/dev/null &
server=$!
trap 'kill "$server" 2>/dev/null || :; wait "$server" || :; rm -rf "$dir"' EXIT
tries=0
while [ ! -S "$socket" ]; do
    tries=$((tries + 1))
    [ $tries -le 100 ] || exit 1
    sleep 0.1
done

ask() {
    redis-cli -s "$socket" "$@"
}

expect() {
    found=$(ask "$@")
    [ "$found" = "$expected" ] || {
        echo "redis: $* says $found instead of $expected" >&2
        exit 1
    }
}

# PHASE COMMAND...
timed() {
    phase=$1
    shift
    redis-benchmark -s "$socket" -c 1 -n "$operations" --csv -r "$objects" "$@" |
        awk -F '"' -v phase="$phase" 'NR == 2 { printf "%s_ns=%.1f\n", phase, 1e9 / $4; found = 1 } END { exit !found }'
}

echo "# redis: $("$dir/redis-server" --version | cut -d ' ' -f 3), one client on a Unix socket, no pipelining"
awk -v n="$objects" -v size="$value_size" 'BEGIN {
    value = sprintf("%0*d", size, 0)
    for (i = 0; i < n; i++)
        printf "SET key:%012d %s\r\n", i, value
}' | redis-cli -s "$socket" --pipe >/dev/null
expected=$objects
expect DBSIZE
timed get GET key:__rand_int__
timed put -d "$value_size" -t set
expect DBSIZE
[ "$(ask INFO stats | tr -d '\r' | sed -n 's/^keyspace_misses://p')" = 0 ]
timed hot_put SET key:000000000000 "$(printf '%0*d' "$value_size" 1)"
timed hot_get GET key:000000000000
timed hot_add INCR counter
expected=$operations
expect GET counter
