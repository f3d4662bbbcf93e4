#!/bin/sh
# SPDX-License-Identifier: MIT
# Install the Debian packages that are missing, and only those.
#
#   sh tools/packages.sh build|test|bench
#
# build: the library, the tools and their tests (what demo.sh needs); test: what test.sh needs beside that; bench: what
# the plots are drawn with, and the peers that the benchmarks compare with; of these each is installed for itself, and
# one that cannot be had is left out with a word. Asks for root by sudo when there is something to install. Where there is no
# dpkg it says what is needed and goes on: the build tells what it misses.

set -eu

# shellcheck source=tools/script.sh
. "$(dirname "$0")/script.sh"

build='gcc libc6-dev meson ninja-build pkg-config liburcu-dev libxxhash-dev libjansson-dev libncurses-dev libcunit1-dev systemtap-sdt-dev'
test="$build g++ clang libclang-rt-dev llvm binutils shellcheck cppcheck lmdb-utils db-util mandoc tmux zsh spin gdb"
bench=$build
# redis-tools has the server, too, and no service that runs from then on
peers='g++ liblmdb-dev libtdb-dev libboost-dev erlang-base redis-tools gnuplot-nox fonts-dejavu-core'

fail() {
    printf 'packages.sh: %s\n' "$*" >&2
    exit 1
}

# Providers count, too: what satisfies pkg-config may be pkgconf.
installed() {
    dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null | awk -v wanted="$1" '
        $1 == "installed" {
            gsub(/\([^)]*\)|,/, " ")
            for (i = 2; i <= NF; i++)
                if ($i == wanted)
                    found = 1
        }
        END { exit !found }'
}

# A space before each that is not there.
missing_of() {
    missing=
    for package; do
        installed "$package" || missing="$missing $package"
    done
}

install_packages() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" >/dev/null
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "these packages need root to be installed, and there is no sudo; as root: apt-get install$missing"
    fi
}

optional=
case ${1-} in
build) wanted=$build ;;
test) wanted=$test ;;
bench)
    wanted=$bench
    optional=$peers
    ;;
*)
    printf 'usage: sh tools/packages.sh build|test|bench\n' >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null 2>&1; then
    say "This is not Debian: install what corresponds to these packages if the build misses something: $wanted $optional"
    exit 0
fi

# One word a package, here and below.
# shellcheck disable=SC2086
missing_of $wanted $optional
if [ -z "$missing" ]; then
    say "Packages: all there."
    exit 0
fi

say "Packages: installing$missing"
as_root apt-get -q update >/dev/null ||
    fail 'apt-get update failed (its words stand above); check the network and /etc/apt/sources.list, then try again'
# shellcheck disable=SC2086
missing_of $wanted
# shellcheck disable=SC2086
[ -z "$missing" ] || install_packages $missing ||
    fail "apt-get install failed (its words stand above); try it by hand: apt-get install$missing"
for package in $optional; do
    installed "$package" || install_packages "$package" ||
        say "Packages: $package cannot be installed (why stands above): it is left out"
done
say "Packages: done."
