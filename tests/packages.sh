#!/bin/sh
# SPDX-License-Identifier: MIT
# Does tools/packages.sh install what is missing, all of that and nothing else, and say so where it cannot?
#
# In a world of its own: PATH leads to a dpkg-query that has a list of what is installed, an apt-get that adds to it, and
# to nothing that could change this machine. Run by meson test.

set -u

cd "$(dirname "$0")/../tools" || exit 1
# shellcheck source=tools/script.sh
. ./script.sh
passed=0 failed=0
work_in packages

mkdir "$work/bin"
for program in sh awk env dirname; do
    ln -s "$(command -v $program)" "$work/bin/$program"
done
stub() {
    { say '#!/bin/sh' && cat; } >"$work/bin/$1"
    chmod +x "$work/bin/$1"
}

# What is not installed is not there, or has been removed; pkgconf is there for pkg-config.
stub dpkg-query <<STUB
while read -r package; do
    echo "installed \$package "
done <$work/installed
echo 'installed pkgconf pkg-config (= 1.8.1-1), pkg-config-bin:any'
echo 'config-files libtdb-dev '
STUB
stub id <<STUB
cat $work/uid
STUB
ln -s "$(command -v cat)" "$work/bin/cat"
stub apt-get <<STUB
echo "\$*" >>$work/asked
[ ! -e $work/offline ] || { echo 'E: no network' >&2; exit 100; }
for word; do
    case \$word in
    erlang-base) echo 'E: Unable to locate package' >&2; exit 100 ;;
    -* | update | install) ;;
    *) echo \$word >>$work/installed ;;
    esac
done
STUB

# The lists as packages.sh tells them where there is no dpkg-query.
mv "$work/bin/dpkg-query" "$work/off"
lists=$(PATH=$work/bin sh ./packages.sh bench)
needed=$(PATH=$work/bin sh ./packages.sh build | sed 's/.*something: *//; s/pkg-config //; s/ *$//')
peers=$(say "$lists" | sed 's/.*systemtap-sdt-dev *//; s/ *$//')
mv "$work/off" "$work/bin/dpkg-query"

# world UID INSTALLED...
world() {
    say "$1" >"$work/uid"
    shift
    printf '%s\n' "$@" >"$work/installed"
    rm -f "$work/asked" "$work/offline"
    : >"$work/asked"
}

# expect WHAT STATUS KIND: packages.sh ends so; apt-get was asked for the lines of stdin, and no others.
expect() {
    sed 's/ *$//' >"$work/want"
    PATH=$work/bin sh ./packages.sh "$3" >"$work/out" 2>&1
    status=$?
    if [ $status -eq "$2" ] && cmp -s "$work/want" "$work/asked"; then
        passed=$((passed + 1))
    else
        say "FAILED: $1: status $status; what was to be asked, what was asked; what it said:"
        cat "$work/want" "$work/asked" "$work/out"
        failed=$((failed + 1))
    fi
}

# says TEXT
says() {
    if grep -qF -e "$1" "$work/out"; then
        passed=$((passed + 1))
    else
        say "FAILED: no '$1' in what it said:"
        cat "$work/out"
        failed=$((failed + 1))
    fi
}

update='-q update'
install='-q -y --no-install-recommends install'

# shellcheck disable=SC2086
world 0 $needed
expect 'all is there' 0 build </dev/null
says 'Packages: all there.'

world 0 gcc
expect 'some are missing' 0 build <<ASKED
$update
$install ${needed#gcc }
ASKED
says "Packages: installing ${needed#gcc }"
says 'Packages: done.'
: >"$work/asked"
expect 'then all is there' 0 build </dev/null

# shellcheck disable=SC2086
world 0 $needed gnuplot-nox
expect 'peers one by one, without the one that cannot be had' 0 bench <<ASKED
$update
$(for peer in $peers; do say "$install $peer"; done | grep -v gnuplot)
ASKED
says 'Packages: erlang-base cannot be installed'
says 'Packages: done.'

world 0 gcc
: >"$work/offline"
expect 'no network' 1 bench <<ASKED
$update
ASKED
says 'apt-get update failed'

world 1000 gcc
expect 'no root, and no sudo' 1 build </dev/null
says "as root: apt-get install ${needed#gcc }"

stub sudo <<'STUB'
exec "$@"
STUB
world 1000 gcc
expect 'no root, but sudo' 0 build <<ASKED
$update
$install ${needed#gcc }
ASKED

expect 'no such list' 2 nothing <<ASKED
$(cat "$work/asked")
ASKED

say "packages: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
