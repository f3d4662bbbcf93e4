/* SPDX-License-Identifier: MIT */
/*
 * What the keeper counts, defined here once: where it stands in struct space_page (by its place in this list: add at
 * the end of a group's reserve only together with LAYOUT_VERSION, or at the end of all), and what is printed of it.
 *
 * C(NAME, name, label, its value, unit, text). Lines of one name stand together. Unit "ns": nanoseconds; "": a number
 * of things. A name that ends in _max is a level; all others only grow.
 */
#ifndef HEIR_COUNTERS_H
#define HEIR_COUNTERS_H

#define COUNTERS(C)                                                                                                    \
    C(DEATHS_SIGNAL, "deaths", "cause", "signal", "", "clients that died, by how they ended")                          \
    C(DEATHS_EXIT, "deaths", "cause", "exit", "", "clients that died, by how they ended")                              \
    C(DEATHS_THREAD, "deaths", "cause", "thread", "", "clients that died, by how they ended")                          \
    C(DEATHS_UNKNOWN, "deaths", "cause", "unknown", "", "clients that died, by how they ended")                        \
    C(TRANSFERS_CLAIMED, "transfers", "reason", "claimed", "", "changes of owner that the keeper made, by reason")     \
    C(TRANSFERS_GIVEN, "transfers", "reason", "given", "", "changes of owner that the keeper made, by reason")         \
    C(TRANSFERS_INHERITED, "transfers", "reason", "inherited", "", "changes of owner that the keeper made, by reason") \
    C(TRANSFERS_RELEASED, "transfers", "reason", "released", "", "changes of owner that the keeper made, by reason")   \
    C(TRANSFERS_REVOKED, "transfers", "reason", "revoked", "", "changes of owner that the keeper made, by reason")     \
    C(RECLAIMS, "reclaims", "", "", "", "deaths after which tables were handed on")                                    \
    C(RECLAIM_NS, "reclaim", "", "", "ns", "time from the notice of a death until its tables were handed on, summed")  \
    C(RECLAIM_MAX_NS, "reclaim_max", "", "", "ns", "the longest of these times")                                       \
    C(CLIENTS_OPENED, "clients_opened", "", "", "", "clients that have come")                                          \
    C(CLIENTS_CLOSED, "clients_closed", "", "", "", "clients that have left in an orderly way")                        \
    C(CLAIMS_WAITED, "claims_waited", "", "", "", "claims that had to wait in line")                                   \
    C(TABLES_CREATED, "tables_created", "", "", "", "tables created")                                                  \
    C(TABLES_DESTROYED, "tables_destroyed", "", "", "", "tables destroyed")                                            \
    C(TABLES_RENAMED, "tables_renamed", "", "", "", "tables renamed")                                                  \
    C(TABLES_DAMAGED, "tables_damaged", "", "", "", "damaged tables set aside, by each keeper anew")                   \
    C(ROLLBACKS, "rollbacks", "", "", "", "unfinished transactions that the keeper rolled back")                       \
    C(UNDONE, "undone", "", "", "", "changes undone, as told to the next owners")                                      \
    C(LEASES_LOST, "leases_lost", "", "", "", "leases that ran out")                                                   \
    C(OWNERS_KILLED, "owners_killed", "", "", "", "owners killed, because a table was taken by force")                 \
    C(REFUSED_MESSAGES, "refused_messages", "", "", "", "malformed messages, and those of another version")            \
    C(REFUSED_CONNECTIONS, "refused_connections", "", "", "", "connections refused for want of room or by a limit")    \
    C(EVENTS_UNTOLD, "events_untold", "", "", "", "transfers that the journal counts, but does not tell one by one")   \
    C(KEEPERS, "keepers", "", "", "", "keepers started")

enum counter {
#define COUNTER(id, name, label, value, unit, text) COUNT_##id,
    COUNTERS(COUNTER)
#undef COUNTER
        COUNTERS_USED
};

#endif
