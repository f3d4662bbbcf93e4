#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what is missing, build for release, run all benchmarks, and draw what they found.
#
#   sh tools/bench.sh [--quick] [--long] [--only A,B] [--no-install] [--out DIR]
#
# handoff   time until a table's next owner can work: given, claimed, or left behind by a killed process
# ops       cost of an object operation, against the stores that are found
# sizes     the same against the number of objects
# growth    every single put while a table grows
# readers   a writer beside readers, one that is stopped, one that holds a snapshot
# recovery  a writer killed in the middle of a transaction
# scale     many tables, many clients
# plots     from what is in the folder of results; always the last
#
# --quick       a try-out of a minute: whether all works, not how fast
# --long        three times as much time for each, sizes up to ten million, 100,000 tables; else all takes 15 minutes
# --only A,B    some of the list above; what is in the folder of the others stays
# --no-install  with the packages that are there
# --out DIR     where results go (bench/results): NAME.txt what a benchmark printed, NAME.raw its samples, results.md a
#               table of all, machine.md, plots as SVG and PNG
#
# The machine should do nothing else meanwhile. Builds in build-bench/. A peer that cannot be installed, or fails, is left
# out with a word. Ends with 1 when a benchmark failed, which it does when it has lost something: see FAILED.

set -u

here=$(pwd)
cd "$(dirname "$0")/.." || exit 1
. tools/script.sh
build=$PWD/build-bench
begun=$(date +%s) load=$(cut -d ' ' -f 1-3 /proc/loadavg)
failed='' skipped=''

# ---- What to do ----------------------------------------------------------------------------------------------

all='handoff ops sizes growth readers recovery scale'
mode=usual chosen=$all install=true out=bench/results

while [ $# -gt 0 ]; do
    case $1 in
    --quick | --long) mode=${1#--} ;;
    --no-install) install=false ;;
    --only)
        [ $# -gt 1 ] || usage '--only wants names of benchmarks'
        shift
        chosen=$(say "$1" | tr , ' ')
        for name in $chosen; do
            case " $all plots " in
            *" $name "*) ;;
            *) usage "there is no benchmark $name" ;;
            esac
        done
        ;;
    --out)
        [ $# -gt 1 ] || usage '--out wants a folder'
        shift
        case $1 in
        /*) out=$1 ;;
        *) out=$here/$1 ;;
        esac
        ;;
    -h | --help)
        manual tools/bench.sh
        exit 0
        ;;
    *) usage "there is no option $1" ;;
    esac
    shift
done

wanted() {
    case " $chosen " in
    *" $1 "*) true ;;
    *) false ;;
    esac
}

# A namespace that the user works in must not come in between.
unset HEIR_NAMESPACE HEIR_SOCKET HEIR_BINDIR
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd -P)
work_in bench

# ---- Packages and build --------------------------------------------------------------------------------------

make_ready() {
    if $install; then
        say '== What the benchmarks need'
        sh tools/packages.sh bench || say 'Not all could be installed: going on with what is there.'
        say
    fi
    say '== Building for release in build-bench/'
    # Peers that came after the last build are looked for again.
    if [ -f "$build/build.ninja" ]; then
        meson setup --reconfigure "$build" >"$work/log" 2>&1 || rm -rf "$build"
    fi
    if { [ ! -f "$build/build.ninja" ] && ! meson setup "$build" --buildtype=release -Dtests=false >"$work/log" 2>&1; } ||
        ! ninja -C "$build" >>"$work/log" 2>&1; then
        cat "$work/log"
        say 'FAILED: it does not build; why stands above'
        exit 1
    fi
    stores=$("$build/bench/ops" --help | sed -n 's/.*only these stores: //p')
    say "Stores to compare with: $stores; $(scripts_found)"
    command -v gnuplot >/dev/null || say 'There is no gnuplot: no plots.'
}

scripts_found() {
    found=
    if command -v escript >/dev/null; then
        found="$found ets"
    fi
    if command -v redis-benchmark >/dev/null; then
        found="$found redis"
    fi
    say "by scripts:${found:- none}"
}

# ---- The machine ---------------------------------------------------------------------------------------------

proc() {
    sed -n "s/^$2[[:space:]]*:[[:space:]]*//p" "$1" | head -n 1
}

describe_machine() {
    governor=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null || say unknown)
    memory=$(proc /proc/meminfo MemTotal | awk '{ printf "%.0f GiB", $1 / 1048576 }')
    commit=$(git describe --always --dirty 2>/dev/null || say unknown)
    cat <<MACHINE
| | |
| --- | --- |
| machine | $(proc /proc/cpuinfo 'model name'), $(getconf _NPROCESSORS_ONLN) cores, $memory |
| kind | $(systemd-detect-virt 2>/dev/null | sed 's/^none$/no virtual machine/' | grep . || say unknown) |
| kernel | $(uname -srm), frequency governor $governor |
| load when it began | $load |
| date | $(date -u +%Y-%m-%d) |
| libheir | commit $commit |
| compiler | $(sed -n 's/^# build: libheir [^,]*, //p' "$out"/*.txt 2>/dev/null | head -n 1) |
| run | \`sh tools/bench.sh$([ "$mode" = usual ] || say " --$mode")\` |
MACHINE
}

# ---- Running -------------------------------------------------------------------------------------------------

# NAME PROGRAM ARGUMENT...: what it says goes into NAME.txt.
run() {
    name=$1 program=$2
    shift 2
    since=$(date +%s)
    printf '%-15s' "$name"
    [ ! -t 2 ] || say # its progress has a line of its own
    [ "$mode" != quick ] || set -- "$@" --quick
    "$build/bench/$program" --raw "$out/$name.raw" "$@" >"$out/$name.txt" &
    child=$!
    # Ctrl-C reaches it, too; a second signal would not let it print what it has.
    trap 'wait $child; exit 130' INT
    trap 'kill -TERM $child; wait $child; exit 143' TERM HUP
    wait $child
    status=$?
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    took="$(($(date +%s) - since)) s"
    case $status in
    0)
        grep -q '^# NOT STEADY' "$out/$name.txt" && took="$took, not steady"
        say "$took"
        sed -n 's/^# \(.* left out.*\)/               \1/p' "$out/$name.txt"
        ;;
    77)
        skipped="$skipped $name"
        say 'left out: it cannot be measured here'
        ;;
    *)
        failed="$failed $name"
        say "FAILED with status $status after $took; why stands above, what it had found in $out/$name.txt"
        ;;
    esac
}

# Seconds, in this mode.
seconds() {
    case $mode in
    long) say $(($1 * 3)) ;;
    *) say "$1" ;;
    esac
}

# But those of the list.
stores_but() {
    for store in $stores; do
        case " $* " in
        *" $store "*) ;;
        *) printf '%s,' "$store" ;;
        esac
    done | sed 's/,$//'
}

# lfht grows by a thread of its own, which has to wait for its turn: on two cores that takes minutes.
run_ops() {
    run ops ops --peers "$(stores_but lfht)" --rival bench/ets.sh,bench/redis.sh --seconds "$(seconds 120)"
}

run_sizes() {
    rm -f "$out"/size-*
    case $mode in
    quick) sizes='1000:3 10000:3' ;;
    long) sizes='1000:40 10000:20 100000:10 1000000:5 10000000:3' ;;
    *) sizes='1000:40 10000:20 100000:10 1000000:3' ;;
    esac
    for size in $sizes; do
        run "size-${size%:*}" ops --objects "${size%:*}" --rounds "${size#*:}" --only get,put \
            --peers "$(stores_but lfht floor)" --seconds "$(seconds 20)"
    done
}

run_one() {
    case $1 in
    handoff) run handoff handoff --seconds "$(seconds 170)" ;;
    ops) run_ops ;;
    sizes) run_sizes ;;
    growth) run growth growth --seconds "$(seconds 80)" ;;
    readers) run readers readers --seconds "$(seconds 90)" ;;
    recovery) run recovery recovery --seconds "$(seconds 80)" ;;
    scale)
        if [ "$mode" = long ]; then
            run scale scale --seconds "$(seconds 100)" --long
        else
            run scale scale --seconds 100
        fi
        ;;
    esac
}

# ---- Tables and plots ----------------------------------------------------------------------------------------

value() {
    sed -n "s/^$2=//p" "$out/$1.txt" 2>/dev/null | tail -n 1
}

# A line of values of one benchmark; what is missing is NaN.
row() {
    file=$1
    shift
    for key; do
        number=$(value "$file" "$key")
        printf ' %s' "${number:-NaN}"
    done
    printf '\n'
}

# The distribution of a data set, as lines of a value and the percent that are not larger: finely, but not every sample.
distribution() {
    [ -f "$out/$1.raw" ] || return 0
    awk -v name="# $2 " 'index($0, name) == 1 { on = 1; next } !NF { on = 0 } on' "$out/$1.raw" | sort -g |
        awk '{ value[NR] = $1; sum += $2; upto[NR] = sum }
            END {
                print value[1], 0
                for (i = 1; i <= NR; i++)
                    if (i == NR || upto[i] - upto[last] >= sum / 120 || sum - upto[i] < (sum - upto[last]) / 1.5) {
                        print value[i], 100 * upto[i] / sum
                        last = i
                    }
            }' >"$work/$2.dist"
}

prepare_plots() {
    for name in futex_spin give_spin futex_sleep give_sleep socket_hop socket_two_hops give_keeper descriptor_hop; do
        distribution handoff $name
    done
    for name in kill_mutex_standby kill_claimant kill_pidfd_standby kill_waitpid_standby kill_hangup_standby; do
        distribution handoff $name
        distribution handoff ${name}_loaded
    done
    for name in put floor_ready floor_fresh; do
        distribution growth $name
    done
    for size in '' _64mib _1024mib _4096mib; do
        printf '%s' "${size:-_0mib}" | sed 's/_\(.*\)mib/\1/'
        row handoff kill_keeper${size}_p50_us kill_claimant${size}_p50_us kill_mutex_standby${size}_p50_us \
            kill_pidfd_standby${size}_p50_us kill_waitpid_standby${size}_p50_us kill_hangup_standby${size}_p50_us
    done | grep -v '\(NaN *\)\{6\}' >"$work/resident.dat"
    for file in "$out"/size-*.txt; do
        [ -f "$file" ] || continue
        file=${file##*/} file=${file%.txt}
        printf '%s' "${file#size-}"
        row "$file" get_ns heir_ordered_get_ns boost_get_ns lmdb_get_ns tdb_get_ns \
            put_ns heir_ordered_put_ns boost_put_ns lmdb_put_ns tdb_put_ns
    done | sort -n >"$work/sizes.dat"
    sed -n 's/^readers\([0-9]*\)_writer_mops=.*/\1/p' "$out/readers.txt" 2>/dev/null | while read -r count; do
        printf '%s' "$count"
        row readers "readers${count}_writer_mops" "readers${count}_read_mops" \
            "ordered_readers${count}_writer_mops" "ordered_readers${count}_read_mops" \
            "floor_readers${count}_writer_mops" "floor_readers${count}_read_mops"
    done >"$work/readers.dat"
}

# Is there anything to be drawn?
drawable() {
    case $1 in
    handoff) [ -s "$work/give_sleep.dist" ] ;;
    deaths) [ -s "$work/kill_claimant.dist" ] ;;
    growth) [ -s "$work/put.dist" ] ;;
    *) [ -s "$work/$1.dat" ] ;;
    esac
}

draw() {
    prepare_plots
    command -v gnuplot >/dev/null || return 0
    machine=$(awk -F ' [|] |^[|] | [|]$' '$2 == "machine" { printf "%s", $3 } $2 == "date" { printf ", %s", $3 }' \
        "$out/machine.md" 2>/dev/null)
    for plot in handoff deaths resident sizes readers growth; do
        drawable $plot || continue
        for format in svg png; do
            gnuplot -e "data='$work'; what='$plot'; format='$format'; machine='$machine'" bench/plots.gp \
                >"$work/plot" 2>"$work/log"
            if [ -s "$work/plot" ]; then
                mv "$work/plot" "$out/$plot.$format"
            else
                say "no plot $plot.$format: $(grep . "$work/log" | tail -n 1)"
            fi
        done
    done
}

# ---- Go ------------------------------------------------------------------------------------------------------

if [ "$chosen" != plots ]; then
    make_ready
    say
    say "== Measuring, into $out$([ "$mode" = quick ] || say ': the machine should do nothing else meanwhile')"
    for name in $all; do
        ! wanted "$name" || run_one "$name"
    done
    describe_machine >"$out/machine.md"
    say
fi
say '== Tables and plots'
{
    say '# libheir: what the benchmarks found'
    say
    cat "$out/machine.md" 2>/dev/null
    for name in $all; do
        for file in "$out/$name.txt" "$out"/size-*.txt; do
            case $name,$file in
            sizes,*/size-*) ;;
            *,*/"$name.txt") ;;
            *) continue ;;
            esac
            [ ! -f "$file" ] || awk -v name="$(basename "$file" .txt)" -f bench/table.awk "$file"
        done
    done
} >"$out/results.md"
draw
say "$out/results.md"
for file in "$out"/*.svg; do
    [ ! -f "$file" ] || say "$file, and .png"
done

say
[ -z "$skipped" ] || say "Left out:$skipped"
say "Took $((($(date +%s) - begun + 30) / 60)) min."
if [ -n "$failed" ]; then
    say "VERDICT: FAILED:$failed"
    exit 1
fi
say 'VERDICT: nothing was lost.'
