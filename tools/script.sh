# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What the scripts have in common; to be sourced.

say() {
    printf '%s\n' "$*"
}

# manual FILE: the comment at the top of a script.
manual() {
    sed -n '3,/^$/s/^# \{0,1\}//p' "$1"
}

# usage WHAT: what is wrong with the arguments. The end.
usage() {
    printf '%s: %s (sh %s --help tells more)\n' "${0##*/}" "$*" "$0" >&2
    exit 2
}

# work_in NAME: make a folder, $work, which is removed at the end, also after Ctrl-C. A script that has more to clean up
# defines a clean_up() of its own.
work_in() {
    work=
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP PIPE
    work=$(mktemp -d "${TMPDIR:-/tmp}/heir-$1.XXXXXX") || exit 1
}

clean_up() {
    [ -z "$work" ] || rm -rf "$work"
}
