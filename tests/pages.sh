#!/bin/sh
# SPDX-License-Identifier: MIT
# Do the manual pages know what there is?
#
# Every command and option that heird --help and heirctl --help print; every function of the public headers, with its
# arguments; every error that heirctl explain lists: in the pages, and no others. And mandoc has nothing to complain of.
# Run by meson test, which sets HEIR_TEST_BINDIR.

set -u

cd "$(dirname "$0")/../tools/man" || exit 1
# shellcheck source=tools/script.sh
. ../script.sh
include=../../include
tools=${HEIR_TEST_BINDIR:?is to be the folder with heird and heirctl}
passed=0 failed=0 skipped=0

# expect WHAT PAGE PATTERN: a line of the page matches it.
expect() {
    if grep -q -e "$3" "$2"; then
        passed=$((passed + 1))
    else
        say "FAILED: $2 has no $1 (no line with '$3')"
        failed=$((failed + 1))
    fi
}

# same WHAT PAGE LIST LIST: sorted lines of what there is, and of what the page has.
same() {
    if [ -n "$3" ] && [ "$3" = "$4" ]; then
        passed=$((passed + 1))
        return
    fi
    say "FAILED: $2 has other $1 than there are. What there is, and what the page has:"
    say "$3" >"$work/is"
    say "$4" >"$work/has"
    diff "$work/is" "$work/has"
    failed=$((failed + 1))
}

work_in pages

# ---- Commands and options ------------------------------------------------------------------------------------

options_of() {
    "$@" --help | grep -o -e '--[a-z][a-z-]*' | sort -u
}

options_in() {
    grep -o -e 'Fl -[a-z][a-z-]*' "$1" | sed 's/^Fl /-/' | sort -u
}

verbs=$("$tools/heirctl" --help | awk -v RS= 'NR == 3' | sed 's/^ *\([a-z]*\).*/\1/' | sort)
same commands heirctl.1 "$verbs" "$(sed -n 's/^\.\(It \)\{0,1\}Cm \([a-z]*\)\( Ar.*\| Op.*\| Oo.*\|\)$/\2/p' heirctl.1 | sort -u)"
options=$(
    options_of "$tools/heirctl"
    for verb in $verbs; do
        options_of "$tools/heirctl" "$verb"
    done
)
same options heirctl.1 "$(say "$options" | sort -u)" "$(options_in heirctl.1)"
same options heird.8 "$(options_of "$tools/heird")" "$(options_in heird.8)"
for name in HEIR_NAMESPACE HEIR_SOCKET; do
    for page in heirctl.1 heird.8 heir.7; do
        expect "variable $name" $page "^\\.It Ev $name$"
    done
done

# ---- Functions and errors ------------------------------------------------------------------------------------

# name "type argument" "type argument", from declarations that may stand on several lines
declared=$(cat $include/heir.h $include/heir/*.h | tr '\n' ' ' | tr -s ' ' |
    grep -o 'HEIR_API [a-z0-9_ ]*[ *]heir_[a-z_]*([^;]*);' |
    sed 's/.*[ *]\(heir_[a-z_]*\)(\(.*\));/\1 "\2"/; s/, */" "/g' | LC_ALL=C sort)
same functions libheir.3 "$declared" "$(sed -n 's/^\.It Fn //p' libheir.3 | LC_ALL=C sort)"
same errors libheir.3 "$("$tools/heirctl" explain | awk 'NR > 1 { print $1 }' | sort)" \
    "$(sed -n 's/^\.It Bq Er //p' libheir.3 | sort)"
for header in $(cd $include && echo heir.h heir/*.h); do
    expect "header $header" libheir.3 "^\\.In $header$"
done

# ---- The language of the pages -------------------------------------------------------------------------------

if command -v mandoc >/dev/null 2>&1; then
    for page in *.[1-8]; do
        if mandoc -T lint -W warning "$page"; then
            passed=$((passed + 1))
        else
            say "FAILED: mandoc has something against $page"
            failed=$((failed + 1))
        fi
    done
else
    say 'skipped: mandoc is not installed'
    skipped=1
fi

say "pages: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
