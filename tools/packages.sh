#!/bin/sh
# SPDX-License-Identifier: MIT
# Install the Debian packages that are missing, and only those.
#
#   sh tools/packages.sh build|test|bench
#
# build: the library, the tools and their tests (what demo.sh needs); test: what test.sh needs beside that; bench: the
# peers that the benchmarks compare with. Asks for root by sudo when there is something to install. Where there is no
# dpkg it says what is needed and goes on: the build tells what it misses.

set -eu

build='gcc libc6-dev meson ninja-build pkg-config liburcu-dev libxxhash-dev libjansson-dev libncurses-dev libcunit1-dev systemtap-sdt-dev'
test="$build g++ clang libclang-rt-dev llvm binutils shellcheck cppcheck lmdb-utils db-util mandoc tmux zsh spin gdb"
bench="$build g++ liblmdb-dev libtdb-dev libboost-dev"

say() {
    printf '%s\n' "$*"
}

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

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "these packages need root to be installed, and there is no sudo; as root: apt-get install $missing"
    fi
}

case ${1-} in
build) wanted=$build ;;
test) wanted=$test ;;
bench) wanted=$bench ;;
*)
    printf 'usage: sh tools/packages.sh build|test|bench\n' >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null 2>&1; then
    say "This is not Debian: install what corresponds to these packages if the build misses something: $wanted"
    exit 0
fi

missing=
for package in $wanted; do
    installed "$package" || missing="$missing${missing:+ }$package"
done
if [ -z "$missing" ]; then
    say "Packages: all there."
    exit 0
fi

say "Packages: installing $missing"
as_root apt-get -q update >/dev/null ||
    fail 'apt-get update failed (its words stand above); check the network and /etc/apt/sources.list, then try again'
# One word a package.
# shellcheck disable=SC2086
as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing >/dev/null ||
    fail "apt-get install failed (its words stand above); try it by hand: apt-get install $missing"
say "Packages: done."
