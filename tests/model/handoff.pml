/* SPDX-License-Identifier: MIT */
/*
 * The hand-off of one table: direct gifts, the heir, the line of claims, reclaim, and the keeper's restart.
 *
 * Two workers (clients 1, 2), a standby (client 3) that bears the role name of the table's heir, and the keeper (0)
 * take any steps in any order. One step is one access to shared memory, and is named after the function that it stands
 * for. Between any two steps a client may be killed for good, and the keeper be killed and started again. How many
 * deaths, gifts, claims ... a run has is chosen first, so that every run comes to rest with all of them used up.
 *
 * Checked, in every state or at every end:
 *   M1  One owner at most: who has locked the table and found itself the owner finds the same word when it switches it,
 *       and no epoch is begun twice (so a former owner's epoch is refused for ever).
 *   M2  At rest the owner is alive, or the keeper.
 *   M3  Each epoch's event reaches its owner, once: at rest the owner has been told of the epoch; no owner is told of
 *       an epoch that is not newer than the last it was told of; nobody passes on what it has not been told of.
 *   M4  The event's record is whole: part of M3, since a record that is torn, or another epoch's, is not told.
 *   M5  At rest nobody waits in line for a table that the keeper owns, and no request is without an answer.
 *   M6  The keeper grants only to who still waits for it.
 *   M7  A dead owner's table goes to its heir if that one is alive.
 *   M8  At rest the page of every dead client is gone, and the writer mutex is free.
 *   M9  No deadlock (invalid end states), and every run ends (no cycles: checked with -DNP).
 *
 * Left out: what is in the table (the tests `engine` and `steps` check that a repair undoes), settings that change,
 * revoke, several tables, full sets, busy tables put off (the keeper waits here), and weak memory: every access is
 * taken for sequentially consistent. heir_close() is a death here. That a client scans its set when it has connected
 * again is left out, too: the ringing at adoption has to be enough. A client is one thread; with -DTHREADS its life
 * mutex is let go at any time, and the rest of it stops at any time after that.
 *
 * -DBREAK=NAME breaks one step; the names are below. tests/model/run.sh runs it all.
 */

#ifndef DEATHS
#define DEATHS 3 /* of clients and keepers together */
#endif
#ifndef GIFTS
#define GIFTS 1
#endif
#ifndef CLAIMS
#define CLAIMS 1
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1 /* claims that are given up */
#endif
#ifndef RELEASES
#define RELEASES 1
#endif

/* What can be broken. */
#define SET_AFTER_SWITCH       1
#define RECORD_AFTER_SWITCH    2
#define NO_SECOND_LOOK         3 /* at the receiver's `dead` */
#define LEAVE_BEFORE_RING      4 /* the giver's own set */
#define LEAVE_AFTER_UNLOCK     5
#define TAKE_BACK_SAME_EPOCH   6
#define DEAD_AFTER_SET_READ    7 /* raised */
#define FORGET_FIRST           8 /* the page goes before the set is done: made good by reign_adopt() and the ringing */
#define FORGET_FIRST_NO_SWEEP  9 /* the same without reign_adopt() */
#define NO_RING_AT_ADOPTION   10
#define ADOPTION_TIDIES_SETS  11 /* of the living, of what they do not own, or not yet */
#define ADOPTION_PASSES_HEIR  12 /* reign_adopt() gives to the keeper */
#define GRANT_TO_THE_DEAD     13
#define SETTLE_UNLOCKED       14
#define WORD_READ_BEFORE_LOCK 15
#define LOOK_WITHOUT_LOCK     16 /* only a dead owner's table is locked, a living one's is rung at once; with THREADS */
#define GIVE_WHEN_DEAD        17 /* the giver does not look at its own `dead`; with THREADS */
#define NO_RING_AT_RECLAIM    18
#define MUTEX_NOT_ROBUST      19
#define CANCEL_NOT_AWAITED    20
#define CLAIM_NOT_SENT_AGAIN  21
#define ASK_AGAIN_ANY_EPOCH   22 /* a release that is sent again counts for a later epoch, too */
#ifndef BREAK
#define BREAK 0
#endif

#define me     _pid
#define N      4
#define KEEPER 0
#define HEIR   3
#define NOBODY 255
#define UNSET  255

/* ---- Shared memory ------------------------------------------------------------------------------------- */

byte owner = 1, epoch = 1; /* the owner word */
byte record[2];            /* the transfer records: the epoch that each tells of; 0: torn */
byte writer = NOBODY;      /* who holds the writer mutex. At a death the kernel frees it, and writer_repair() follows */
bool life[N];              /* the client's life mutex is held */
bool page[N];              /* the client's page is there */
bool dead[N];              /* is raised in that page */
bool owned[N];             /* the table is in the owned set of that page */
bool bell[N];              /* the client's doorbell. The keeper (0) has none of these */

/* ---- Sockets and private memory ------------------------------------------------------------------------ */

mtype = {IDLE, CLAIM, IN_LINE, CANCEL, RELEASE, ANSWERED, LOST_CLAIM, LOST_CANCEL, LOST_RELEASE};

mtype call[N] = IDLE;        /* a client's request: sent, read by the keeper (IN_LINE), answered, or lost with a keeper */
byte asked[N];               /* the epoch from which it asks to be released */
byte told[N];                /* the newest epoch whose event the client got */
byte line;                   /* who waits for the table, two bits each, the first lowest; the keeper's own memory */

/* ---- The run ------------------------------------------------------------------------------------------- */

byte newest = 1;                                        /* of all epochs that were ever begun */
byte deaths = UNSET, gifts, claims, timeouts, releases; /* still to come */

/* Of the one who dies. What was on its way to a keeper is lost with it; its clients see the hang-up. */
inline end_of_life()
{
#ifdef THREADS
    deaths = (me == KEEPER -> deaths - 1 : deaths); /* a client's has been counted: life[] is false */
#else
    deaths--;
#endif
    if
    :: me == KEEPER ->
        line = 0;
        for (x : 1 .. N - 1) {
            if
            :: call[x] == CLAIM || call[x] == IN_LINE -> call[x] = LOST_CLAIM
            :: call[x] == CANCEL -> call[x] = LOST_CANCEL
            :: call[x] == RELEASE -> call[x] = LOST_RELEASE
            :: else
            fi
        }
    :: else ->
        life[me] = false;
        bell[me] = false;
        call[me] = IDLE;
        asked[me] = 0;
        told[me] = 0
    fi;
    x = 0;
    to = 0;
    from = 0;
    e = 0;
    refused = false;
    if
    :: writer == me && BREAK != MUTEX_NOT_ROBUST -> writer = NOBODY
    :: else
    fi
}

/* A step is taken, or the process is killed instead: `killed` is a label in each. */
#ifdef THREADS
#define DIES ((me == KEEPER && deaths > 0) || (me != KEEPER && !life[me]))
#else
#define DIES deaths > 0
#endif
#define DIE atomic { DIES -> d_step { end_of_life() }; goto killed }
#define STEP(what)                                                                                                     \
    if                                                                                                                 \
    :: atomic { what }                                                                                                 \
    :: DIE                                                                                                             \
    fi

/* ---- lib/protocol/owner.c ------------------------------------------------------------------------------ */

#define word_names(id, at) (owner == (id) && epoch == (at))
#define owned_add(id)    owned[id] = page[id] /* a page that is gone is memory that nobody reads */
#define owned_remove(id) owned[id] = false
#ifdef THREADS
#define bell_ring(id)    bell[id] = page[id]
#else
#define bell_ring(id)    bell[id] = life[id]  /* the dead hear nothing */
#endif
#define writer_lock()    writer == NOBODY -> writer = me
#define writer_unlock()  writer = (writer == me -> NOBODY : writer); e = 0

/* Until it is whole it is torn. */
inline transfer_write()
{
    STEP(record[(e + 1) % 2] = 0);
    STEP(record[(e + 1) % 2] = e + 1)
}

/* One store, blind: the word that it replaces is the one seen when the mutex had been locked. */
inline owner_switch(giver, taker)
{
    STEP(d_step {
        assert(word_names(giver, e));                                    /* M1 */
        assert(giver == KEEPER || !life[giver] || told[giver] == e);     /* M3 */
        assert(!(giver != KEEPER && dead[giver] && taker == KEEPER && life[HEIR])); /* M7 */
        e++;
        assert(e > newest);                                              /* M1 */
        newest = e;
        owner = taker;
        epoch = e
    })
}

/* The receiver was found dead after the switch. */
inline take_back(giver, taker)
{
#if BREAK == TAKE_BACK_SAME_EPOCH
    STEP(e--; owner = giver; epoch = e);
#else
    transfer_write();
    owner_switch(taker, giver);
#endif
    STEP(owned_remove(taker);
         if
         :: giver == me && me != KEEPER -> told[me] = e /* by the return value, -ESRCH */
         :: else
         fi);
    refused = true
}

#if BREAK == GRANT_TO_THE_DEAD
#define SEEN_DEAD(giver, taker) (dead[taker] && giver != KEEPER)
#else
#define SEEN_DEAD(giver, taker) dead[taker]
#endif

/* The mutex is held, and the word names the giver in epoch e. */
inline owner_pass(giver, taker)
{
    if
    :: atomic { SEEN_DEAD(giver, taker) -> refused = true }
    :: atomic { !SEEN_DEAD(giver, taker) -> skip };
#if BREAK != SET_AFTER_SWITCH
        STEP(owned_add(taker));
#endif
#if BREAK != RECORD_AFTER_SWITCH
        transfer_write();
#endif
        owner_switch(giver, taker);
#if BREAK == RECORD_AFTER_SWITCH
        e--; transfer_write(); e++;
#endif
#if BREAK == SET_AFTER_SWITCH
        STEP(owned_add(taker));
#endif
#if BREAK == LEAVE_BEFORE_RING
        STEP(owned_remove(giver));
#endif
        if
        :: me != KEEPER -> STEP(bell_ring(taker))
        :: else /* when it has let go of the mutex: reign_passed() */
        fi;
        if
        :: atomic { SEEN_DEAD(giver, taker) && BREAK != NO_SECOND_LOOK -> skip };
            take_back(giver, taker)
        :: atomic { !SEEN_DEAD(giver, taker) || BREAK == NO_SECOND_LOOK -> skip };
#if BREAK != LEAVE_AFTER_UNLOCK
            STEP(owned_remove(giver))
#endif
        :: DIE
        fi
    :: DIE
    fi
}

/* ---- The keeper ---------------------------------------------------------------------------------------- */

#define client_lives(id) (life[id] && !dead[id])
#define reply(id) call[id] = (life[id] -> ANSWERED : call[id])

#define first_in_line  (line & 3)
#define in_line(id)    ((line & 3) == id || (line >> 2 & 3) == id || line >> 4 == id)
#define line_enter(id) line = (line == 0 -> id : (line < 4 -> line | id << 2 : line | id << 4))
#define line_leave(id)                                                                                                 \
    line = ((line & 3) == id -> line >> 2 : ((line >> 2 & 3) == id -> (line & 3) | (line >> 4) << 2 :                  \
           (line >> 4 == id -> line & 15 : line)))

/* The new owner's own claim is over. */
inline answer_owner()
{
    if
    :: to != KEEPER && in_line(to) -> STEP(line_leave(to); reply(to))
    :: else
    fi
}

/* To the first in line who lives, as long as the keeper owns. */
inline reign_grant()
{
    do
    :: atomic { owner == KEEPER && line != 0 -> to = first_in_line; line_leave(to) };
        if
        :: atomic { client_lives(to) || BREAK == GRANT_TO_THE_DEAD -> skip };
            STEP(writer_lock(); e = epoch); /* settle_begin() */
            assert(!client_lives(to) || call[to] == IN_LINE || call[to] == CANCEL); /* M6 */
            owner_pass(KEEPER, to);
            STEP(writer_unlock());
            if
            :: !refused -> STEP(bell_ring(to)) /* reign_passed() */
            :: else
            fi;
            STEP(reply(to); to = 0; refused = false)
        :: atomic { !client_lives(to) && BREAK != GRANT_TO_THE_DEAD -> to = 0 }
        :: DIE
        fi
    :: atomic { !(owner == KEEPER && line != 0) -> break }
    :: DIE
    od
}

/* The mutex is held, and the word names the dead client `from`. To the heir, else to the keeper. */
inline inherit()
{
#if BREAK == ADOPTION_PASSES_HEIR
    STEP(to = (client_lives(HEIR) && x != KEEPER -> HEIR : KEEPER));
#else
    STEP(to = (client_lives(HEIR) -> HEIR : KEEPER));
#endif
    owner_pass(from, to);
    assert(!refused); /* the keeper alone raises `dead` */
}

/* A table that a dead client may own. Who owns it is looked at under the mutex: a gift may be under way. */
inline reign_settle()
{
#if BREAK == LOOK_WITHOUT_LOCK
    if
    :: atomic { owner == KEEPER || !dead[owner] -> from = owner };
        STEP(bell_ring(from); from = 0)
    :: atomic { owner != KEEPER && dead[owner] -> skip };
#endif
#if BREAK == WORD_READ_BEFORE_LOCK
    STEP(from = owner; e = epoch);
    STEP(writer_lock()); /* settle_begin() */
#elif BREAK == SETTLE_UNLOCKED
    STEP(from = owner; e = epoch);
#else
    STEP(writer_lock()); /* settle_begin() */
    STEP(from = owner; e = epoch);
#endif
    if
    :: from != KEEPER && dead[from] ->
        inherit();
        STEP(writer_unlock(); from = 0);
        STEP(bell_ring(to)); /* reign_passed() */
        answer_owner();
        to = 0
    :: else ->
#if BREAK != NO_RING_AT_RECLAIM
        STEP(bell_ring(from));
#endif
        STEP(writer_unlock(); from = 0)
    fi
#if BREAK == LOOK_WITHOUT_LOCK
    :: DIE
    fi
#endif
}

/* heir_release() of client x has arrived; it may have been carried out already, or x have lost the table. */
inline reign_pass()
{
    STEP(writer_lock()); /* settle_begin() */
    STEP(e = epoch; from = owner);
    if
    :: from == x && (e == asked[x] || BREAK == ASK_AGAIN_ANY_EPOCH) -> owner_pass(from, KEEPER)
    :: else
    fi;
    STEP(writer_unlock(); from = 0);
    STEP(reply(x); x = 0)
}

#define ANY(one) if :: one(1) -> x = 1 :: one(2) -> x = 2 :: one(3) -> x = 3 fi
#define HAS_DIED(id)  (page[id] && !life[id])
#define CLAIMED(id)   call[id] == CLAIM
#define CANCELLED(id) call[id] == CANCEL
#define RELEASED(id)  call[id] == RELEASE
#define UNWANTED(id)  (in_line(id) && life[id] && call[id] == IDLE)

#define SWEEP      (BREAK != FORGET_FIRST_NO_SWEEP)
#define IN_ITS_SET (x == KEEPER || owned[x])
#define FORGET     page[x] = false; owned[x] = false; line_leave(x)

active proctype keeper()
{
    byte x, to, from, e;
    bool refused, adopting;

    deaths != UNSET;
    goto serve;
killed:
    adopting = true; /* here is another: adopt_all() */
serve:
    reign_grant(); /* whatever was done */
    if
    :: x != KEEPER -> STEP(FORGET; x = 0) /* of reign_end_client(), last: forget() */
    :: else
    fi;
end_rest:
    if
    /* reign_end_client(x); or, as x = KEEPER, reign_adopt(): a table whose owner's page is gone */
    :: atomic { (HAS_DIED(1) || HAS_DIED(2) || HAS_DIED(3)) -> ANY(HAS_DIED) };
#if BREAK != DEAD_AFTER_SET_READ
        STEP(dead[x] = true);
#endif
#if BREAK == FORGET_FIRST || BREAK == FORGET_FIRST_NO_SWEEP
        STEP(page[x] = false);
#endif
settle:
        if
        :: atomic { IN_ITS_SET -> skip };
#if BREAK == DEAD_AFTER_SET_READ
            STEP(dead[x] = true);
#endif
            reign_settle()
        :: atomic { !IN_ITS_SET -> skip };
#if BREAK == DEAD_AFTER_SET_READ
            STEP(dead[x] = true)
#endif
        :: DIE
        fi;
        if
        :: x != KEEPER -> goto serve
        :: else -> goto ring
        fi
    :: atomic { adopting && !HAS_DIED(1) && !HAS_DIED(2) && !HAS_DIED(3) -> skip };
#if BREAK == ADOPTION_TIDIES_SETS
        STEP(owned[1] = (owner == 1 -> owned[1] : false));
        STEP(owned[2] = (owner == 2 -> owned[2] : false));
        STEP(owned[3] = (owner == 3 -> owned[3] : false));
#endif
        if
        :: atomic { owner != KEEPER && !page[owner] && SWEEP -> goto settle }
        :: atomic { owner == KEEPER || page[owner] || !SWEEP -> skip }
        :: DIE
        fi;
ring:
#if BREAK != NO_RING_AT_ADOPTION
        STEP(bell_ring(1));
        STEP(bell_ring(2));
        STEP(bell_ring(3));
#endif
        adopting = false

    /* requests */
    :: atomic { !adopting && (CLAIMED(1) || CLAIMED(2) || CLAIMED(3)) -> ANY(CLAIMED);
        if
        :: owner == x -> reply(x)
        :: else -> call[x] = IN_LINE; line_enter(x)
        fi;
        x = 0 }
    :: atomic { !adopting && (CANCELLED(1) || CANCELLED(2) || CANCELLED(3)) -> ANY(CANCELLED);
        line_leave(x); reply(x); x = 0 }
    :: atomic { !adopting && (RELEASED(1) || RELEASED(2) || RELEASED(3)) -> ANY(RELEASED) };
        reign_pass()
#if BREAK == CANCEL_NOT_AWAITED
    :: atomic { (UNWANTED(1) || UNWANTED(2) || UNWANTED(3)) -> ANY(UNWANTED); line_leave(x); x = 0 }
#endif
    :: DIE
    fi;
    goto serve
}

/* ---- The clients --------------------------------------------------------------------------------------- */

#if BREAK == CANCEL_NOT_AWAITED
#define CANCEL_CLAIM call[me] = IDLE
#else
#define CANCEL_CLAIM call[me] = CANCEL
#endif

#define KNOWS_IT_OWNS (word_names(me, told[me]) && call[me] == IDLE)

/* Look through the own set. While the word names this client nobody else changes it, or its record. */
inline event_scan()
{
    if
    :: atomic { owned[me] -> skip };
        STEP(d_step {
            if
            :: owner == me && told[me] != epoch && record[epoch % 2] == epoch ->
                assert(epoch > told[me]); /* M3 */
                told[me] = epoch
            :: else
            fi
        })
    :: atomic { !owned[me] -> skip }
    :: DIE
    fi
}

active [N - 1] proctype client()
{
    byte x, to, from, e;
    bool refused;

    deaths != UNSET;
end_rest:
    do
    /* heir_wait() */
    :: atomic { bell[me] -> bell[me] = false }; event_scan()

    /* heir_give_away(), give_directly(). Whose own `dead` is raised gives no more: the keeper may have read its set */
    :: atomic { KNOWS_IT_OWNS && gifts > 0 && writer == NOBODY && (!dead[me] || BREAK == GIVE_WHEN_DEAD) -> writer = me; gifts--; e = epoch;
        if
        :: me != 1 -> to = 1
        :: me != 2 -> to = 2
        :: me != 3 -> to = 3
        fi };
        owner_pass(me, to);
        STEP(writer_unlock());
#if BREAK == LEAVE_AFTER_UNLOCK
        if
        :: !refused -> STEP(owned_remove(me))
        :: else
        fi;
#endif
        refused = false; to = 0

    /* heir_release() */
    :: atomic { KNOWS_IT_OWNS && releases > 0 -> releases--; asked[me] = epoch; call[me] = RELEASE }

    /* heir_claim(): until it is answered, or the time is over, or the word names this client */
    :: atomic { call[me] == IDLE && owner != me && claims > 0 -> claims--; call[me] = CLAIM }
    :: atomic { (call[me] == CLAIM || call[me] == IN_LINE) && timeouts > 0 -> timeouts--; CANCEL_CLAIM }
    :: atomic { (call[me] == CLAIM || call[me] == IN_LINE) && word_names(me, told[me]) -> CANCEL_CLAIM }
    :: atomic { call[me] == ANSWERED -> call[me] = IDLE; asked[me] = 0 }; event_scan() /* event_note() */

    /* connect_again(); a release is not asked for again when this client sees that it was carried out (ended_by_us()) */
    :: atomic { call[me] == LOST_CLAIM && BREAK != CLAIM_NOT_SENT_AGAIN -> call[me] = CLAIM }
    :: atomic { call[me] == LOST_CANCEL -> call[me] = IDLE }
    :: atomic { call[me] == LOST_RELEASE ->
        if
        :: word_names(me, asked[me]) || (BREAK == ASK_AGAIN_ANY_EPOCH && owner == me) -> call[me] = RELEASE
        :: else -> call[me] = IDLE; asked[me] = 0
        fi }
    :: DIE
    od;
killed:
    skip
}

/* ---- The run, and its end ------------------------------------------------------------------------------ */

#define AT_REST(id)                                                                                                    \
    assert(!life[id] || call[id] == IDLE || (call[id] == IN_LINE && owner != KEEPER)); /* M5 */                        \
    assert(life[id] || !page[id])                                                      /* M8 */

active proctype course()
{
    atomic {
        select(gifts : 0 .. GIFTS);
        select(claims : 0 .. CLAIMS);
        select(timeouts : 0 .. TIMEOUTS);
        select(releases : 0 .. RELEASES);
        record[1] = 1;
        owned[1] = true;
        told[1] = 1;
        life[1] = true; life[2] = true; life[3] = true;
        page[1] = true; page[2] = true; page[3] = true;
        select(deaths : 0 .. DEATHS)
    }
    do
#ifdef THREADS /* a client's first thread ends */
    :: d_step { deaths > 0 && life[1] -> deaths--; life[1] = false }
    :: d_step { deaths > 0 && life[2] -> deaths--; life[2] = false }
    :: d_step { deaths > 0 && life[3] -> deaths--; life[3] = false }
#endif
    :: timeout -> break
    od;
    atomic {
        assert(owner == KEEPER || life[owner]);          /* M2 */
        assert(owner == KEEPER || told[owner] == epoch); /* M3 */
        assert(writer == NOBODY);                        /* M8 */
        AT_REST(1);
        AT_REST(2);
        AT_REST(3)
    }
}
