# SPDX-License-Identifier: MIT
# bash completion for heirctl, which itself knows what a word could become (tools/heirctl/complete.c).
# shellcheck shell=bash

_heirctl() {
    local line word=${COMP_WORDS[COMP_CWORD]}
    [[ $word != = ]] || word=
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :file)
            compopt -o filenames 2>/dev/null
            while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -f -- "$word")
            ;;
        :command)
            while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -c -- "$word")
            ;;
        *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <("${COMP_WORDS[0]}" --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}

complete -F _heirctl heirctl
