#!/bin/sh
# SPDX-License-Identifier: MIT
# What does Erlang's ETS cost for the work of `ops`: a protected set, written and read by its owner?
#
#   build/bench/ops --rival bench/ets.sh
#   sh bench/ets.sh [OBJECTS [VALUE_SIZE]]
#
# Needs escript (Debian: erlang-base). Keys are binaries of 8 random bytes; objects are made beforehand, so that what is
# measured is ETS. Values of more than 64 bytes are shared in Erlang, and not copied out. Prints PHASE_ns=NUMBER; ends
# with 1 when an object was lost or invented, with 77 when there is no escript.

set -eu

objects=${1:-1000000} value_size=${2:-64}
command -v escript >/dev/null || exit 77
dir=${BENCH_DIR:-${TMPDIR:-/tmp}}
script=$(mktemp "$dir/ets-XXXXXX")
trap 'rm -f "$script"' EXIT
cat >"$script" <<'END'
#!/usr/bin/env escript
-mode(compile).

main([N0, S0]) ->
    N = list_to_integer(N0), Size = list_to_integer(S0), Main = self(),
    %% A heap that is large from the start: the collector is not what is measured.
    spawn_opt(fun() -> run(N, Size), Main ! done end, [link, {min_heap_size, 64 * N}]),
    receive done -> ok end.

run(N, Size) ->
    _ = rand:seed(exsss, 1),
    io:format("# ets: Erlang/OTP ~s, ~s, ETS protected set, binaries as keys and values~n",
              [erlang:system_info(otp_release), erlang:system_info(emu_flavor)]),
    T = ets:new(bench, [set, protected]),
    Keys = [rand:bytes(8) || _ <- lists:seq(1, N)],
    timed(insert, N, fun insert/2, T, objects(Keys, Size, 1)),
    N = ets:info(T, size),
    Sum = sum(T, N),
    Keys2 = shuffled(Keys),
    timed(get, N, fun(Tab, L) -> Sum = get(Tab, L, 0) end, T, Keys2),
    timed(put, N, fun insert/2, T, objects(shuffled(Keys), Size, 2)),
    N = ets:info(T, size),
    true = Sum + N =:= sum(T, N),
    Hot = objects([<<"hot key ">> || _ <- lists:seq(1, N)], Size, 3),
    timed(hot_put, N, fun insert/2, T, Hot),
    timed(hot_get, N, fun(Tab, L) -> get(Tab, L, 0) end, T, [<<"hot key ">> || _ <- Hot]),
    true = ets:insert(T, {<<"add key ">>, 0}),
    timed(hot_add, N, fun(Tab, C) -> add(Tab, <<"add key ">>, C) end, T, N),
    [{_, N}] = ets:lookup(T, <<"add key ">>),
    {Gone, _} = lists:split(N div 2, shuffled(Keys)),
    timed(del, N div 2, fun delete/2, T, Gone),
    true = N - N div 2 + 2 =:= ets:info(T, size).

timed(Name, Ops, F, T, Arg0) ->
    Arg = binary_to_term(term_to_binary(Arg0)), % in the order in which it is used
    erlang:garbage_collect(),
    Began = erlang:monotonic_time(nanosecond),
    F(T, Arg),
    Took = erlang:monotonic_time(nanosecond) - Began,
    io:format("~s_ns=~.1f~n", [Name, Took / Ops]).

insert(T, [Object | Rest]) -> ets:insert(T, Object), insert(T, Rest);
insert(_, []) -> ok.

get(T, [Key | Rest], Sum) -> [{_, <<Number:32, _/binary>>}] = ets:lookup(T, Key), get(T, Rest, Sum + Number);
get(_, [], Sum) -> Sum.

delete(T, [Key | Rest]) -> ets:delete(T, Key), delete(T, Rest);
delete(_, []) -> ok.

add(_, _, 0) -> ok;
add(T, Key, Left) -> ets:update_counter(T, Key, 1), add(T, Key, Left - 1).

objects(Keys, Size, Version) -> [{Key, value(Key, Size, Version)} || Key <- Keys].

%% The number is at most 2^31: no sum of them needs more than a word.
value(<<Part:30, _/bitstring>>, Size, Version) -> <<(Part + Version):32, 0:((Size - 4) * 8)>>.

sum(T, N) ->
    {N, Sum} = ets:foldl(fun({_, <<Number:32, _/binary>>}, {C, S}) -> {C + 1, S + Number} end, {0, 0}, T),
    Sum.

shuffled(L) -> [X || {_, X} <- lists:sort([{rand:uniform(), X} || X <- L])].
END
escript "$script" "$objects" "$value_size"
