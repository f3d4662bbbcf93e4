/* SPDX-License-Identifier: MIT */
/*
 * The check of a table that is being written, step by step: a whole table is called whole, and damage is found, however
 * the steps of the writer fall between those of the check.
 *
 * The engine is a part of this program. The writer is a thread that goes on only when it is told to, for so many
 * stores; the check tells it, before chosen ones of its loads. So every interleaving is made on purpose, and is the
 * same each time.
 */
#include "atomics.h"
#include "shm.h"

static void before_store(void);
static void before_load(void);
static uint64_t slow_clock(void);
#define set(word, value) (before_store(), set(word, value))
#define get(word)        (before_load(), get(word))
#define peek(word)       (before_load(), peek(word))

#define clock_mono_ns()  slow_clock()

#include "inside.h"

#include "support.h"
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>

/* ---- The writer --------------------------------------------------------------------------------------- */

static struct store table, reader; /* as the writer and as the check has it */

static struct {
    pthread_t thread;
    sem_t go, stopped;
    uint64_t budget; /* stores until it stops again */
    bool end;
    void (*deed)(struct rnd *rnd); /* done for ever */
    uint64_t deeds;
} writer;

static __thread bool is_writer;

static void stop(void)
{
    sem_post(&writer.stopped);
    sem_wait(&writer.go);
    if (writer.end)
        pthread_exit(NULL);
}

static void before_store(void)
{
    if (!is_writer)
        return;
    while (writer.budget == 0)
        stop();
    writer.budget--;
}

static void *write_for_ever(void *arg)
{
    struct rnd rnd = {test_seed};
    (void)arg;
    is_writer = true;
    stop();
    for (;; writer.deeds++)
        writer.deed(&rnd);
    return NULL;
}

static void go_on(uint64_t stores)
{
    writer.budget = stores;
    sem_post(&writer.go);
    sem_wait(&writer.stopped);
}

static void begin(enum heir_type type, uint64_t bytes, void (*deed)(struct rnd *rnd))
{
    table = (struct store){.bytes = bytes, .seed = test_seed};
    table.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(table.base != MAP_FAILED);
    page_of(&table)->max_bytes = bytes;
    page_of(&table)->type = type;
    page_of(&table)->hash_seed = table.seed;
    CHECK_RC(objects_format(&table), 0);
    reader = (struct store){.base = table.base, .bytes = bytes, .heap_first = table.heap_first, .seed = table.seed};
    writer.deed = deed;
    writer.deeds = 0;
    writer.end = false;
    sem_init(&writer.go, 0, 0);
    sem_init(&writer.stopped, 0, 0);
    REQUIRE_EQ(pthread_create(&writer.thread, NULL, write_for_ever, NULL), 0);
    sem_wait(&writer.stopped);
}

static void end(void)
{
    writer.end = true;
    sem_post(&writer.go);
    pthread_join(writer.thread, NULL);
    munmap(table.base, table.bytes);
}

/* ---- What it does ------------------------------------------------------------------------------------- */

static void put(uint64_t key, size_t len)
{
    static const uint8_t value[4096];
    objects_put(&table, &key, sizeof key, value, len, false);
}

static void commit(bool really)
{
    if (really)
        objects_commit(&table);
    else
        objects_abort(&table);
    objects_make_room(&table);
}

static void overwrite(struct rnd *rnd)
{
    objects_begin(&table);
    put(rnd_below(rnd, 500), rnd_below(rnd, 64));
    commit(true);
}

static void one_key(struct rnd *rnd)
{
    objects_begin(&table);
    put(7, rnd_below(rnd, 64));
    commit(true);
}

static void insert_and_delete(struct rnd *rnd)
{
    uint64_t key = rnd_below(rnd, 500);
    objects_begin(&table);
    if (rnd_below(rnd, 2))
        put(key, rnd_below(rnd, 2000));
    else
        objects_del(&table, &key, sizeof key);
    commit(true);
}

static void clears(struct rnd *rnd)
{
    if (rnd_below(rnd, 500) != 0) {
        overwrite(rnd);
        return;
    }
    objects_begin(&table);
    objects_clear(&table);
    commit(true);
}

static void transactions(struct rnd *rnd)
{
    objects_begin(&table);
    for (int i = 0; i < 10; i++)
        put(rnd_below(rnd, 500), rnd_below(rnd, 64));
    commit(rnd_below(rnd, 3) != 0);
}

/* The table is as it was, and so is everything the next time. */
static void in_vain(struct rnd *rnd)
{
    (void)rnd;
    objects_begin(&table);
    for (uint64_t key = 0; key < 8; key++)
        put(key % 5 + 490, 40 + key);
    commit(false);
}

/* ---- The check ---------------------------------------------------------------------------------------- */

static void (*between_passes)(void); /* NULL: nothing */

/* A second between two looks at it: the check has no time for more passes than it must make. */
static uint64_t slow_clock(void)
{
    static uint64_t ns;
    if (between_passes != NULL)
        between_passes();
    return ns += UINT64_C(1000000000);
}

static uint64_t loads;              /* of the check */
static void (*at_load)(uint64_t n); /* NULL: nothing happens meanwhile */

static void before_load(void)
{
    void (*then)(uint64_t) = at_load;
    if (is_writer || then == NULL)
        return;
    at_load = NULL; /* not for what it does itself */
    then(++loads);
    at_load = then;
}

static unsigned laws; /* of what was found, a bit each */

static void note(unsigned law, const char *what, uint64_t where, void *arg)
{
    char *text = arg;
    (void)where;
    laws |= 1u << law;
    if (text[0] == 0)
        snprintf(text, 100, "K%u %s", law, what);
}

static int check(void (*meanwhile)(uint64_t n), char found[100])
{
    struct heir_account a = {0};
    found[0] = 0;
    laws = 0;
    loads = 0;
    at_load = meanwhile;
    int r = check_table(&reader, note, found, &a);
    at_load = NULL;
    CHECK_EQ(a.live + a.superseded + a.index + a.metadata + a.slack + a.free + a.untouched, table.bytes);
    return r;
}

/* ---- Rolled back in between --------------------------------------------------------------------------- */

static struct rnd dice;
static uint64_t log_count, peak_at, back_at;

static uint64_t log_now(void)
{
    return get(&ledger_of(&table)->log_count);
}

/* The transaction goes on until it is rolled back, then until its log is as long as it was. */
static void there_and_back(uint64_t n)
{
    uint64_t was, now = log_now();
    if (n == peak_at) {
        do {
            was = now;
            go_on(1);
        } while ((now = log_now()) >= was);
    } else if (n == back_at) {
        while (log_now() > log_count)
            go_on(1);
        CHECK(log_now() + 1 >= log_count); /* one less, from the very end */
    }
}

static void count_only(uint64_t n)
{
    (void)n;
}

/* A look at the beginning and one at the end see the same numbers, and yet what was seen between them is another state.
 */
static void rolled_back_in_between(void)
{
    char found[100];
    unsigned states = 0;
    dice = (struct rnd){test_seed};
    for (int type = 0; type < 4; type++) {
        begin(type, 1 << 20, overwrite);
        while (writer.deeds < 2000)
            go_on(1000);
        for (uint64_t deeds = writer.deeds; writer.deeds == deeds;)
            go_on(1);
        writer.deed = in_vain;
        for (uint64_t deeds = writer.deeds + 2; writer.deeds < deeds;)
            go_on(1);
        for (uint64_t k = 1;; k++) {
            uint64_t deeds = writer.deeds, most = 0;
            for (uint64_t i = 0; i < k && writer.deeds == deeds; i++) {
                go_on(1);
                most = log_now() > most ? log_now() : most;
            }
            if (log_now() < most) /* all on its way have been */
                break;
            if (log_now() != 0) {
                log_count = log_now();
                if (!CHECK(check(count_only, found) == 0, "type %d, before store %d: %s", type, (int)k, found))
                    break;
                peak_at = 10 + rnd_below(&dice, loads - 30);
                back_at = peak_at + 1 + rnd_below(&dice, loads - 15 - peak_at);
                if (!CHECK(check(there_and_back, found) == 0, "type %d, from store %d on: %s", type, (int)k, found))
                    break;
                states++;
            }
            while (writer.deeds == deeds)
                go_on(1);
        }
        end();
    }
    printf(" (%u states)", states);
    CHECK(states > 400, "%u", states);
}

/* ---- At every pace ------------------------------------------------------------------------------------ */

static uint64_t per_load, turn; /* stores, in thousandths; the writer's next turn */

static void by_turns(uint64_t n)
{
    static uint64_t last;
    if (n < last)
        last = turn = 0;
    if (n < turn)
        return;
    uint64_t stores = (n - last) * per_load / 1000;
    if (stores != 0)
        go_on(stores);
    last = n;
    turn = n + 1 + rnd_below(&dice, 2000);
}

static const struct habit {
    const char *name;
    void (*deed)(struct rnd *rnd);
} habits[] = {{"one key", one_key},
              {"overwriting", overwrite},
              {"inserting and deleting", insert_and_delete},
              {"clearing", clears},
              {"transactions", transactions}};

static void at_every_pace(void)
{
    static const uint64_t paces[] = {1, 10, 100, 300};
    char found[100];
    dice = (struct rnd){test_seed};
    for (int type = 0; type < 4; type++)
        for (size_t habit = 0; habit < sizeof habits / sizeof habits[0]; habit++) {
            begin(type, 4 << 20, habits[habit].deed);
            while (writer.deeds < 3000)
                go_on(1000);
            for (size_t i = 0; i < sizeof paces / sizeof paces[0] * 4; i++) {
                per_load = paces[i / 4];
                go_on(1 + rnd_below(&dice, 3000));
                if (!CHECK(check(by_turns, found) == 0, "type %d, %s, %d stores in 1000 loads: %s", type,
                           habits[habit].name, (int)per_load, found))
                    break;
            }
            end();
        }
}

/* The last in the tree's order, which is that of bytes. */
static uint64_t quiet_key(uint64_t n)
{
    return __builtin_bswap64(UINT64_MAX - 1000 + n);
}

/* Some objects that are left alone from then on, and ever more others before them. */
static void fill_bags(struct rnd *rnd)
{
    objects_begin(&table);
    put(writer.deeds < 500 ? quiet_key(writer.deeds) : rnd_below(rnd, 500), rnd_below(rnd, 64));
    commit(true);
}

/* Here all of them are other keys. */
static void fill_set(struct rnd *rnd)
{
    objects_begin(&table);
    put(writer.deeds < 500 ? quiet_key(writer.deeds) : writer.deeds, rnd_below(rnd, 64));
    commit(true);
}

static void whole_at_all_paces(void)
{
    char found[100];
    for (per_load = 100; per_load <= 500; per_load += 100)
        if (!CHECK(check(by_turns, found) == 0, "%d stores in 1000 loads: %s", (int)per_load, found))
            break;
}

/* The damage is found each time, as this law and perhaps another one. */
static void found_each_time(int times, unsigned law, unsigned perhaps)
{
    char found[100];
    for (int i = 0; i < times; i++) {
        check(by_turns, found);
        CHECK((laws >> law & 1) != 0 && (laws & ~(1u << law | 1u << perhaps)) == 0, "K%u: laws %#x, first %s", law,
              laws, found);
    }
}

/* A tree that is rebuilt from the root down while it is looked at: what nobody touches is not taken for lost, and
 * damage there is found. */
static void while_a_tree_grows(void)
{
    const uint64_t quiet = quiet_key(250);
    struct version *v;
    dice = (struct rnd){test_seed};
    begin(HEIR_DUPLICATE_BAG, 16 << 20, fill_bags);
    while (writer.deeds < 6000)
        go_on(1000);
    whole_at_all_paces();
    CHECK_RC(read_find(&reader, get(&view_of(&reader)->committed), &quiet, sizeof quiet, &v), 0);
    v->data[BAG_LENGTH + 7] ^= 0x40;
    found_each_time(4, 5, 4);
    printf(" (%d objects)", (int)objects_committed(&table));
    end();
}

/* The same of a set, whose directory doubles meanwhile. */
static void while_a_set_grows(void)
{
    const uint64_t quiet = quiet_key(250);
    struct version *v;
    dice = (struct rnd){test_seed};
    begin(HEIR_SET, 16 << 20, fill_set);
    while (writer.deeds < 600)
        go_on(1000);
    CHECK_RC(read_find(&reader, get(&view_of(&reader)->committed), &quiet, sizeof quiet, &v), 0);
    whole_at_all_paces();
    v->data[7] ^= 0x40;
    found_each_time(4, 5, 5);
    printf(" (%d objects)", (int)objects_committed(&table));
    end();
}

/* As many come as go: the index is rebuilt for ever, and what it was is used again at once. */
static void come_and_go(struct rnd *rnd)
{
    const uint64_t mixed = UINT64_C(0x9e3779b97f4a7c15), new = writer.deeds *mixed >> 1;
    const uint64_t old = (writer.deeds - 1000) * mixed >> 1;
    objects_begin(&table);
    put(writer.deeds < 500 ? quiet_key(writer.deeds) : new, rnd_below(rnd, 64));
    if (writer.deeds >= 1500)
        objects_del(&table, &old, sizeof old);
    commit(rnd_below(rnd, 20) != 0 || writer.deeds < 500);
}

/* More of the table changes than can be looked at meanwhile. */
static void faster_than_the_check(void)
{
    const uint64_t quiet = quiet_key(250);
    struct version *v;
    dice = (struct rnd){test_seed};
    for (int type = 0; type < 4; type++) {
        char found[100];
        begin(type, 2 << 20, come_and_go);
        while (writer.deeds < 2000)
            go_on(1000);
        for (per_load = 500; per_load <= 8000; per_load *= 4)
            CHECK(check(by_turns, found) == 0, "type %d, %d stores in 1000 loads: %s", type, (int)per_load, found);
        CHECK_RC(read_find(&reader, get(&view_of(&reader)->committed), &quiet, sizeof quiet, &v), 0);
        v->data[(type >= HEIR_BAG ? BAG_LENGTH : 0) + 7] ^= 0x40;
        for (per_load = 500; per_load <= 8000; per_load *= 4)
            found_each_time(1, 5, 4);
        end();
    }
}

static struct way way_to(uint64_t key)
{
    struct bag_range range;
    struct way way;
    REQUIRE_EQ(bag_range(&range, &key, sizeof key), 0);
    way_find(&reader, get(&view_of(&reader)->directory), range.range.from, range.range.from_len, false, &way);
    bag_range_end(&range);
    return way;
}

/* It is about to begin the next deed, and holds nothing that it has copied. */
static void finish_deed(void)
{
    for (uint64_t deeds = writer.deeds; writer.deeds == deeds;)
        go_on(1);
}

/* No pass comes to what is behind the damage. */
static void damage_on_the_way(void)
{
    const uint64_t quiet = quiet_key(250);
    dice = (struct rnd){test_seed};
    begin(HEIR_DUPLICATE_BAG, 32 << 20, fill_bags);
    while (writer.deeds < 6000)
        go_on(1000);
    per_load = 50;
    finish_deed();
    REQUIRE(way_to(quiet).leaf != NULL);
    *way_to(quiet).ref ^= 1 << 30;
    found_each_time(4, 3, 3);
    finish_deed();
    *way_to(quiet).ref ^= 1 << 30;
    way_to(quiet).leaf->head |= UINT64_C(99) << 32;
    found_each_time(4, 4, 4);
    printf(" (%d objects)", (int)objects_committed(&table));
    end();
}

static uint64_t astray, straight; /* 1: the way to the quiet ones leads nowhere; where it should lead */

static void set_way(void)
{
    *way_to(quiet_key(250)).ref = straight ^ astray << 30;
}

/* Lead it astray for the next pass, or back. The writer may be about to replace the node, and then it is not. */
static void divert(void)
{
    void (*then)(uint64_t) = at_load;
    at_load = NULL;
    astray ^= 1;
    set_way();
    at_load = then;
}

/* Every other pass does not come to the damage: it acquits nobody. */
static void not_in_every_pass(void)
{
    const uint64_t quiet = quiet_key(250);
    struct version *v;
    dice = (struct rnd){test_seed};
    begin(HEIR_DUPLICATE_BAG, 32 << 20, fill_bags);
    while (writer.deeds < 6000)
        go_on(1000);
    CHECK_RC(read_find(&reader, get(&view_of(&reader)->committed), &quiet, sizeof quiet, &v), 0);
    per_load = 50;
    straight = *way_to(quiet).ref;
    between_passes = divert;
    for (int damage = 0; damage < 2; damage++) {
        char found[100];
        if (damage)
            v->data[BAG_LENGTH + 7] ^= 0x40;
        check(by_turns, found);
        CHECK((laws >> 5 & 1) == (unsigned)damage && (laws & ~(1u << 5 | 1u << 4)) == 0,
              "damage %d: laws %#x, first %s", damage, laws, found);
        astray = 0;
        set_way();
    }
    between_passes = NULL;
    end();
}

/* Every put is rolled back, and the past is let go at once. */
static void while_it_is_full(void)
{
    dice = (struct rnd){test_seed};
    for (int type = 0; type < 4; type++) {
        uint64_t deeds = 0, objects = 0;
        begin(type, 2 << 20, fill_set);
        do {
            objects = objects_committed(&table);
            for (deeds = writer.deeds + 1000; writer.deeds < deeds;)
                go_on(1000);
        } while (objects_committed(&table) > objects + 10);
        whole_at_all_paces();
        end();
    }
}

static const struct test tests[] = {{"rolled back in between", rolled_back_in_between},
                                    {"at every pace", at_every_pace},
                                    {"while a tree grows", while_a_tree_grows},
                                    {"while a set grows", while_a_set_grows},
                                    {"faster than the check", faster_than_the_check},
                                    {"not in every pass", not_in_every_pass},
                                    {"damage on the way", damage_on_the_way},
                                    {"while it is full", while_it_is_full},
                                    {NULL, NULL}};

int main(int argc, char **argv)
{
    const struct test_suite suites[] = {{.name = "moving", .tests = tests}, {.name = NULL}};
    return test_main(argc, argv, suites);
}
