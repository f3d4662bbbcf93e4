# SPDX-License-Identifier: MIT
# The output of one benchmark as tables in Markdown, for tools/bench.sh:
#
#   awk -v name=NAME -f bench/table.awk NAME.txt
#
# Lines for people become text; keys that differ only in what is measured of one thing become a row.

function cell(key) {
    return key in value ? value[key] : ""
}

# "NAME_p50_us" and its relatives: a row for NAME.
function quantile_table(    i, n, base) {
    n = 0
    for (i = 1; i <= keys; i++)
        if (key[i] ~ /_p50_(us|ns)$/)
            base[++n] = key[i]
    if (!n)
        return
    printf "\n| | p50 | p99 | p99.9 | max | unit |\n| --- | ---: | ---: | ---: | ---: | --- |\n"
    for (i = 1; i <= n; i++) {
        unit = substr(base[i], length(base[i]) - 1)
        stem = substr(base[i], 1, length(base[i]) - 7)
        printf "| %s | %s | %s | %s | %s | %s |\n", stem, cell(base[i]), cell(stem "_p99_" unit),
            cell(stem "_p999_" unit), cell(stem "_max_" unit), unit
        done[base[i]] = done[stem "_p99_" unit] = done[stem "_p999_" unit] = done[stem "_max_" unit] = 1
    }
}

# "STORE_PHASE_ns": a row for each phase, a column for each store.
function store_table(    i, j, n, m, store, phase, found) {
    n = split("heir heir_ordered boost lmdb tdb lfht ets redis floor", store, " ")
    m = split("insert get put put_tx10 range100 snapshot_range100 hot_put hot_get hot_add del", phase, " ")
    for (i = 1; i <= n; i++)
        for (j = 1; j <= m; j++)
            if (((i > 1 ? store[i] "_" : "") phase[j] "_ns") in value)
                found = there[i] = used[j] = 1
    if (!found)
        return
    printf "\n| ns |"
    for (i = 1; i <= n; i++)
        if (there[i])
            printf " %s |", store[i]
    printf "\n| --- |"
    for (i = 1; i <= n; i++)
        if (there[i])
            printf " ---: |"
    printf "\n"
    for (j = 1; j <= m; j++) {
        if (!used[j])
            continue
        printf "| %s |", phase[j]
        for (i = 1; i <= n; i++) {
            k = (i > 1 ? store[i] "_" : "") phase[j] "_ns"
            if (there[i])
                printf " %s |", cell(k)
            done[k] = 1
        }
        printf "\n"
    }
}

function rest_table(    i, any) {
    for (i = 1; i <= keys; i++) {
        if (key[i] in done || key[i] ~ /_spread_percent$|_samples$/)
            continue
        if (!any)
            printf "\n| | |\n| --- | ---: |\n"
        any = 1
        printf "| %s | %s |\n", key[i], value[key[i]]
    }
}

/^# (machine|kernel|build|load when)/ { next }
/^# first round/ { next }
/^# (parameters|NOT STEADY|conserved|STOPPED|says nothing|.* left out)/ {
    note[++notes] = substr($0, 3)
    next
}
/^# / && !title { title = substr($0, 3) }
/^[a-z0-9_]+=/ {
    split($0, part, "=")
    key[++keys] = part[1]
    value[part[1]] = part[2]
}
END {
    printf "\n## %s\n\n%s\n", name, title
    for (i = 1; i <= notes; i++)
        printf "%s* %s\n", (i == 1 ? "\n" : ""), note[i]
    if (name ~ /^ops|^size/)
        store_table()
    else
        quantile_table()
    rest_table()
}
