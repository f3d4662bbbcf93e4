#!/bin/sh
# SPDX-License-Identifier: MIT
# localize.sh IN.a OUT.a: the members of IN.a as one object, in which hidden symbols are local.
set -e
ld -r --whole-archive "$1" -o "$2.o"
objcopy --localize-hidden "$2.o"
# But the base of the probes is one for all that are linked together, and remains theirs: no name in C is like it.
objcopy --globalize-symbol=_.stapsdt.base "$2.o"
rm -f "$2"
ar rcs "$2" "$2.o"
rm -f "$2.o"
