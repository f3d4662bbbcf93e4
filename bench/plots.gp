# SPDX-License-Identifier: MIT
# The plots of tools/bench.sh, one a run, to stdout:
#
#   gnuplot -e "data='FOLDER'; what='NAME'; format='svg|png'; machine='TEXT'" bench/plots.gp
#
# FOLDER has what bench.sh has made of the samples. Colours are those of Okabe and Ito, which the colour-blind can tell
# apart: blue is libheir's, grey and dashed the floor, the others the rivals', the same in all plots.

set encoding utf8
wide = what eq 'deaths' || what eq 'sizes' || what eq 'readers'
if (format eq 'svg') {
    if (wide) { set terminal svg size 900,400 font 'DejaVu Sans,12' background rgb 'white' } \
    else { set terminal svg size 760,400 font 'DejaVu Sans,12' background rgb 'white' }
} else {
    if (wide) { set terminal pngcairo size 1350,600 font 'DejaVu Sans,12' fontscale 1.1 linewidth 1.4 } \
    else { set terminal pngcairo size 1140,600 font 'DejaVu Sans,12' fontscale 1.1 linewidth 1.4 }
}

# ---- One style for all -----------------------------------------------------------------------------------------

blue = '#0072B2'; sky = '#56B4E9'; vermillion = '#D55E00'; green = '#009E73'; purple = '#CC79A7'; orange = '#E69F00'
set linetype 1 lc rgb blue lw 2.5 pt 7 ps 0.7         # libheir
set linetype 2 lc rgb sky lw 2.5 pt 5 ps 0.7          # libheir's other way
set linetype 3 lc rgb '#00355c' lw 2.5 pt 9 ps 0.8    # libheir's third
set linetype 4 lc rgb '#777777' lw 1.6 dt (6,4) pt 6 ps 0.7  # a floor
set linetype 5 lc rgb '#aaaaaa' lw 1.6 dt (2,3) pt 8 ps 0.7  # another
set linetype 6 lc rgb vermillion lw 2 pt 11 ps 0.8    # rivals
set linetype 7 lc rgb green lw 2 pt 13 ps 0.8
set linetype 8 lc rgb purple lw 2 pt 4 ps 0.7
set border 3 lc rgb '#444444'
set tics nomirror
set grid lc rgb '#e4e4e4' lw 0.8 lt 1 dt solid
set key outside right center vertical Left reverse samplen 2.2 spacing 1.25 width -1
set tmargin 3.2
set title offset 0,-0.2
set label 1 machine at screen 0.995,0.022 right font ',9' textcolor rgb '#777777'
set bmargin 4.6

# Times as people say them; x in microseconds, or in nanoseconds.
us_tics = "set xtics ('0.1 µs' 0.1, '1 µs' 1, '10 µs' 10, '100 µs' 100, '1 ms' 1000, '10 ms' 1e4, '100 ms' 1e5, '1 s' 1e6)"
ns_tics = "set xtics ('10 ns' 10, '100 ns' 100, '1 µs' 1e3, '10 µs' 1e4, '100 µs' 1e5, '1 ms' 1e6, '10 ms' 1e7, '100 ms' 1e8)"
at_right = "set key outside right center vertical Left reverse samplen 2.2 spacing 1.25 width -1; set ylabel ''; unset label 1"

dist(name) = data.'/'.name.'.dist'
there(name) = int(system("test -s '".name."' && echo 1 || echo 0"))
shown(name) = there(dist(name)) ? dist(name) : '/dev/null'

# ---- The plots -------------------------------------------------------------------------------------------------

if (what eq 'handoff') {
    set title 'A table passes from one living process to another'
    set xlabel 'time until the receiver has written'
    eval us_tics
    set ylabel 'hand-offs done by then [%]'
    set logscale x
    set yrange [0:100]
    set xrange [0.03:1000]
    plot shown('futex_spin') with lines lt 5 title 'floor: a word, spinning', \
         shown('give_spin') with lines lt 2 title 'heir\_give\_away, spinning', \
         shown('futex_sleep') with lines lt 4 title 'floor: futex wake', \
         shown('give_sleep') with lines lt 1 title 'heir\_give\_away, asleep', \
         shown('socket_hop') with lines lt 6 title 'a socket hop', \
         shown('descriptor_hop') with lines lt 7 title 'and a descriptor', \
         shown('socket_two_hops') with lines lt 8 title 'two socket hops', \
         shown('give_keeper') with lines lt 3 title 'heir\_give\_away by keeper'
}

if (what eq 'deaths') {
    set xlabel 'SIGKILL until the next owner has written'
    set ylabel 'hand-overs done by then [%]' offset 1,0
    eval us_tics
    set logscale x
    set yrange [0:100]
    unset key
    set multiplot
    do for [side = 0:1] {
        suffix = side ? '_loaded' : ''
        set title side ? 'each core busy with something else' : 'an owner is killed: an idle machine'
        set origin (side ? 0.41 : 0), 0
        set size (side ? 0.59 : 0.41), 1
        if (side) { eval at_right }
        set xrange [9:(side ? 90000 : 3000)]
        plot shown('kill_mutex_standby'.suffix) with lines lt 4 title 'floor: robust mutex', \
             shown('kill_claimant'.suffix) with lines lt 1 title 'libheir', \
             shown('kill_pidfd_standby'.suffix) with lines lt 6 title 'pidfd', \
             shown('kill_waitpid_standby'.suffix) with lines lt 7 title 'SIGCHLD, waitpid', \
             shown('kill_hangup_standby'.suffix) with lines lt 8 title 'socket hang-up'
    }
    unset multiplot
}

if (what eq 'resident') {
    file = data.'/resident.dat'
    set title 'An owner with much memory of its own is killed'
    set xlabel 'resident in the dead process [MiB]'
    set ylabel 'SIGKILL until the next owner has written'
    set logscale y
    set ytics ('10 µs' 10, '100 µs' 100, '1 ms' 1000, '10 ms' 1e4, '100 ms' 1e5, '1 s' 1e6)
    set offsets 0.2, 0.2, 0, 0
    set yrange [9:*]
    plot file using 0:6:xtic(1) with linespoints lt 7 title 'SIGCHLD, waitpid', \
         file using 0:7 with linespoints lt 8 title 'socket hang-up', \
         file using 0:5 with linespoints lt 6 title 'pidfd', \
         file using 0:3 with linespoints lt 1 title 'libheir: next owner', \
         file using 0:2 with linespoints lt 2 title 'libheir: keeper owns', \
         file using 0:4 with linespoints lt 4 title 'floor: robust mutex'
}

if (what eq 'sizes') {
    file = data.'/sizes.dat'
    set xlabel 'objects in the store'
    set logscale x
    set logscale y
    set xtics ('1,000' 1e3, '10,000' 1e4, '100,000' 1e5, '1 million' 1e6, '10 million' 1e7)
    set ytics ('10 ns' 10, '100 ns' 100, '1 µs' 1e3, '10 µs' 1e4)
    set xrange [700:*]
    set yrange [20:*]
    unset key
    set multiplot
    do for [side = 0:1] {
        set origin (side ? 0.41 : 0), 0
        set size (side ? 0.59 : 0.41), 1
        set title side ? 'overwrite an object' : 'get an object'
        set ylabel (side ? '' : 'time of one operation')
        if (side) { eval at_right }
        plot file using 1:(column(2 + 5 * side)) with linespoints lt 1 title 'libheir, set', \
             file using 1:(column(3 + 5 * side)) with linespoints lt 2 title 'libheir, ordered set', \
             file using 1:(column(4 + 5 * side)) with linespoints lt 7 title 'Boost.Interprocess', \
             file using 1:(column(5 + 5 * side)) with linespoints lt 6 title 'LMDB (no sync)', \
             file using 1:(column(6 + 5 * side)) with linespoints lt 8 title 'TDB (mutexes)'
    }
    unset multiplot
}

if (what eq 'readers') {
    file = data.'/readers.dat'
    set xlabel 'reader processes, on all cores but the writer''s'
    set logscale x 2
    set logscale y
    set format y '%g'
    set yrange [0.1:*]
    unset key
    set multiplot
    do for [side = 0:1] {
        set origin (side ? 0.41 : 0), 0
        set size (side ? 0.59 : 0.41), 1
        set title side ? 'reads, all readers'' together' : 'writes of the one writer'
        set ylabel (side ? '' : 'million operations a second')
        if (side) { eval at_right }
        plot file using 1:(column(6 + side)) with linespoints lt 4 title 'floor: memcpy', \
             file using 1:(column(2 + side)) with linespoints lt 1 title 'libheir, set', \
             file using 1:(column(4 + side)) with linespoints lt 2 title 'libheir, ordered set'
    }
    unset multiplot
}

if (what eq 'growth') {
    set title 'Each put while a table grows from nothing: how many take longer?'
    set xlabel 'time of one put'
    set ylabel 'puts that took longer [%]'
    set logscale xy
    eval ns_tics
    set format y '%g'
    set yrange [0.0001:100]
    set xrange [9:*]
    plot shown('floor_ready') using 1:(100 - $2) with lines lt 4 title 'floor: memcpy', \
         shown('floor_fresh') using 1:(100 - $2) with lines lt 5 title 'floor: fresh memory', \
         shown('put') using 1:(100 - $2) with lines lt 1 title 'libheir: heir\_put'
}
