/* SPDX-License-Identifier: MIT */
/*
 * Killed before the k-th instruction, for every k.
 *
 * A row of the ledger is one operation on one table in one state. The state is built once, and its bytes are put back
 * for each kill. A child (steps_kill.c) is killed inside the operation; then another process, the survivor, looks: what
 * a reader sees is what was there before or after the operation, never a third thing; heir_check finds nothing wrong
 * with the dead writer's transaction still open; the next write, which repairs, works, and so does the operation
 * itself, with the result it should have; the repaired table is whole, and its bytes add up to max_bytes.
 *
 * For an operation on a dead writer's table the bytes put back are those that this one left, its mutex included.
 *
 * First come, whatever the time, those k before which the table has just been changed: everything that the operation
 * can leave in it is among them, but for the middle of a repeated string instruction. At the other k only the dead
 * process' own memory differs; they follow in an order that spreads them, until the row's share of the time is over.
 * The ledger says how far each came; HEIR_TEST_SECONDS=N gives them longer.
 *
 * Operations of clients and owners need the keeper and a new client for each kill, which takes milliseconds, and may
 * take another way each time, as answers come early or late: their k are spread, and not all can be reached.
 */
#include "steps.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS       256
#define TRIES_MOST 20000u /* of an operation, until it does what is sought */
#define LEAST      10     /* kills of a client, whatever the time */
#define CI_SECONDS 70

static struct heir *me; /* the survivor */
static struct heir_table *table;

static struct row {
    char name[64];
    long instructions, states, kills, before, after, checks, out_of_reach;
    int64_t ms;
    bool all;
} ledger[ROWS];
static int rows;

static int rows_to_come; /* which share the time until then */
static int64_t share_end;

/* ---- Content ------------------------------------------------------------------------------------------ */

struct digest {
    uint64_t sum, objects;
};

static int mix(const void *key, size_t key_len, const void *value, size_t value_len, void *arg)
{
    struct digest *digest = arg;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < key_len; i++)
        hash = (hash ^ ((const unsigned char *)key)[i]) * 1099511628211u;
    hash = (hash ^ 0x100) * 1099511628211u;
    for (size_t i = 0; i < value_len; i++)
        hash = (hash ^ ((const unsigned char *)value)[i]) * 1099511628211u;
    digest->sum += hash ^ hash >> 29;
    digest->objects++;
    return 0;
}

static struct digest content(void)
{
    struct digest digest = {0};
    struct heir_info info = {.objects = UINT64_MAX};
    CHECK_RC(heir_foreach(table, mix, &digest), 0);
    CHECK_RC(heir_info(table, &info), 0);
    CHECK_EQ(info.objects, digest.objects);
    return digest;
}

static bool same(struct digest a, struct digest b)
{
    return a.sum == b.sum && a.objects == b.objects;
}

/* ---- The bytes of the table ----------------------------------------------------------------------------- */

static struct image {
    unsigned char *table; /* as it is mapped here, by nobody's leave */
    unsigned char *saved;
    size_t bytes;
} image;

static bool image_open(void)
{
    char path[128];
    struct stat st;
    shm_path(path, sizeof path, "t.", "t");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        return CHECK(false, "%s: %s", path, strerror(errno));
    image.bytes = (size_t)st.st_size;
    image.table = mmap(NULL, image.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    image.saved = malloc(image.bytes);
    close(fd);
    return CHECK(image.table != MAP_FAILED && image.saved);
}

static void image_save(void)
{
    memcpy(image.saved, image.table, image.bytes);
}

/* Nobody writes, or is about to. */
static void image_restore(void)
{
    for (size_t at = 0; at < image.bytes; at += 4096)
        if (memcmp(image.table + at, image.saved + at, 4096))
            memcpy(image.table + at, image.saved + at, 4096);
}

static void image_close(void)
{
    munmap(image.table, image.bytes);
    free(image.saved);
    memset(&image, 0, sizeof image);
}

/* ---- Is it whole -------------------------------------------------------------------------------------- */

static void tell(unsigned law, const char *what, uint64_t where, void *arg)
{
    fprintf(stderr, "%s: K%u: %s at %llu\n", (const char *)arg, law, what, (unsigned long long)where);
}

static bool whole(const char *name, const char *when, long k)
{
    struct heir_account a;
    char text[128];
    snprintf(text, sizeof text, "%s, killed at %ld, %s", name, k, when);
    int rc = heir_check(table, tell, text, &a);
    uint64_t sum = a.live + a.superseded + a.index + a.metadata + a.slack + a.free + a.untouched;
    struct heir_info info = {0};
    heir_info(table, &info);
    return CHECK(rc == 0 && a.findings == 0, "%s: %s", text, error_text(rc)) &&
           CHECK(sum == info.max_bytes, "%s: %llu bytes in all", text, (unsigned long long)sum);
}

/* The next operations work. */
static bool works(const char *name, long k)
{
    char value[64] = "";
    size_t len = sizeof value;
    int rc = heir_put(table, "next", 4, "works", 5);
    if (!rc)
        rc = heir_get(table, "next", 4, value, &len);
    if (!rc && (len != 5 || memcmp(value, "works", 5)))
        rc = -EBADMSG;
    if (!rc)
        rc = heir_del(table, "next", 4);
    return CHECK(rc == 0, "%s, killed at %ld: the next operation: %s", name, k, error_text(rc));
}

/* ---- A row of the ledger ------------------------------------------------------------------------------- */

static struct row *row_begin(const char *name, const char *type, const char *state)
{
    struct row *row = &ledger[rows < ROWS - 1 ? rows++ : rows];
    memset(row, 0, sizeof *row);
    snprintf(row->name, sizeof row->name, "%s%s%s%s%s", name, *type ? ", " : "", type, *state ? ", " : "", state);
    row->ms = now_ms();
    return row;
}

static void row_end(struct row *row)
{
    row->ms = now_ms() - row->ms;
    if (rows_to_come > 0)
        rows_to_come--;
}

/* What is left of the time is shared by the rows that are to come; who needs less leaves it to the others. */
static int64_t row_deadline(void)
{
    int64_t now = now_ms();
    return now + (share_end > now ? (share_end - now) / (rows_to_come > 0 ? rows_to_come : 1) : 0);
}

/* An order of 0 .. n-1 that is spread out, however early it is ended. */
static long spread(long n)
{
    long stride = (long)((double)n * 0.6180339887);
    for (stride |= 1; n > 1; stride++) {
        long a = stride, b = n;
        while (b) {
            long rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            return stride;
    }
    return 1;
}

/* ---- Operations on objects ------------------------------------------------------------------------------ */

static const char *const type_names[] = {"set", "ordered", "bag", "twins"};

struct scene {
    const struct stepped *op;
    const struct state *state;
    struct row *row;
    struct digest before, after, held;
    struct heir_snapshot *snapshot;
    struct kid kid; /* the survivor as one */
};

static struct digest held(struct scene *scene)
{
    struct digest digest = {0};
    if (scene->snapshot)
        CHECK_RC(heir_snapshot_foreach(scene->snapshot, mix, &digest), 0);
    return digest;
}

static bool known(struct scene *scene, enum heir_type type)
{
    const struct heir_table_options options = {
        .max_bytes = scene->state->max_bytes, .access = HEIR_PUBLIC, .type = type};
    if (!CHECK_RC(heir_create(me, "t", &options, &table), 0))
        return false;
    int rc = scene->state->build(table);
    if (!rc && scene->state->snapshot) {
        rc = heir_snapshot_open(table, &scene->snapshot);
        for (int i = 0; i < 8 && !rc; i++)
            rc = heir_put(table, "k3", 2, "after the snapshot", (size_t)(10 + i));
        scene->held = held(scene);
    }
    return CHECK(rc == 0, "%s: it cannot be built: %s", scene->row->name, error_text(rc)) && image_open();
}

/* Go on with the operation until it does what is sought, and back to before that. */
static bool seek(struct scene *scene)
{
    struct heir_account a, b;
    if (!scene->op->sought)
        return true;
    CHECK_RC(heir_check(table, NULL, NULL, &a), 0);
    for (scene->kid.i = 0; scene->kid.i < TRIES_MOST; scene->kid.i++, a = b) {
        image_save();
        int rc = scene->op->run(&scene->kid);
        if (rc != scene->op->rc)
            return CHECK(false, "%s: number %u returned %s", scene->row->name, scene->kid.i, error_text(rc));
        CHECK_RC(heir_check(table, NULL, NULL, &b), 0);
        const struct change change = {
            .live = (int64_t)(b.live - a.live),
            .superseded = (int64_t)(b.superseded - a.superseded),
            .index = (int64_t)(b.index - a.index),
            .metadata = (int64_t)(b.metadata - a.metadata),
            .free = (int64_t)(b.free - a.free),
            .untouched = (int64_t)(b.untouched - a.untouched),
        };
        if (scene->op->sought(&change)) {
            image_restore();
            return true;
        }
    }
    return CHECK(false, "%s: it never did what is sought", scene->row->name);
}

/* The survivor looks at what is left. 0 before, 1 after, -1 neither. */
static int judge(struct scene *scene, const struct death *death, long k)
{
    const struct stepped *op = scene->op;
    const char *name = scene->row->name;
    bool ended = death->phase == AFTER,
         check = scene->state->check == 0 || scene->row->kills % scene->state->check == 0;
    struct digest now = content();
    int side = same(now, scene->after) && (ended || !same(now, scene->before)) ? 1
               : (!ended || op->same) && same(now, scene->before)              ? ended
                                                                               : -1;
    if (!CHECK(side >= 0, "%s, killed at %ld: %llu objects, neither before nor after%s", name, k,
               (unsigned long long)now.objects, ended ? " (it had ended)" : "") ||
        (check && !whole(name, "before repairing", k)))
        return -1;
    if (!scene->state->full && !works(name, k))
        return -1;
    struct digest then = scene->state->full ? now : content();
    if (!CHECK(same(now, then), "%s, killed at %ld: repairing it changed the content", name, k))
        return -1;
    if (side == 0) {
        int rc = op->run(&scene->kid);
        if (!CHECK(rc == op->rc, "%s, killed at %ld: and done again: %s", name, k, error_text(rc)))
            return -1;
        then = content();
        if (!CHECK(same(then, scene->after), "%s, killed at %ld: done again it does something else", name, k))
            return -1;
    }
    if (check && !whole(name, "after repairing", k))
        return -1;
    if (scene->snapshot && !CHECK(same(held(scene), scene->held), "%s, killed at %ld: the snapshot differs", name, k))
        return -1;
    scene->row->checks += check;
    return side;
}

static int kill_and_judge(struct scene *scene, long k)
{
    struct death death = {.astray = true};
    for (int tries = 0; death.astray && tries < 3; tries++) {
        image_restore();
        death = kill_at(scene->op->run, scene->kid.i, k < 0 ? TRACE : KILL, k);
    }
    if (!CHECK(death.phase != BROKEN, "%s, killed at %ld: the child broke, or hung: %s", scene->row->name, k,
               error_text(death.rc)) ||
        !CHECK(!death.astray, "%s: another way at %ld", scene->row->name, k))
        return -1;
    if (k < 0) {
        if (!CHECK(death.phase == AFTER, "%s never came to its end", scene->row->name) ||
            !CHECK(death.rc == scene->op->rc, "%s: %s", scene->row->name, error_text(death.rc)))
            return -1;
        scene->after = content();
    }
    return judge(scene, &death, k);
}

static void every_kill(struct scene *scene)
{
    const struct stepped *op = scene->op;
    struct row *row = scene->row;
    struct heir_table *t = table;
    scene->kid = (struct kid){.client = me, .table = t};
    if (!seek(scene) || !CHECK_RC(kill_begin("t", image.table, image.bytes), 0))
        return;
    if (op->dead) {
        struct death death = kill_at(op->dead, 0, RUN_AND_DIE, 0);
        if (!CHECK(death.phase == BEFORE && death.rc == 0, "%s: who was to die: %s", row->name, error_text(death.rc)))
            return;
    }
    image_save();
    scene->before = content();
    if (kill_and_judge(scene, -1) < 0 ||
        !CHECK(op->same != !same(scene->before, scene->after), "%s: does it change anything?", row->name))
        return;
    long n = row->instructions = kill_length(), stride = spread(n), done = 0;
    int64_t deadline = row_deadline();
    for (int pass = 0; pass < 2; pass++)
        for (long i = 0, k = 0; i < n && (pass == 0 || now_ms() < deadline); i++, k = (k + stride) % n) {
            if (kill_is_new(k) != (pass == 0))
                continue;
            row->states += pass == 0;
            done++;
            if (!kill_reaches(k)) {
                row->out_of_reach++;
                continue;
            }
            int side = kill_and_judge(scene, k);
            if (side < 0)
                return;
            row->kills++;
            row->before += side == 0;
            row->after += side == 1;
        }
    row->all = done == n && !row->out_of_reach;
    CHECK(row->kills > 0 && (row->before > 0 || op->same), "%s: no kill left the state before it", row->name);
}

void step_through(const struct stepped *op)
{
    for (const struct state *const *state = op->states; *state; state++)
        for (enum heir_type type = HEIR_SET; type <= HEIR_DUPLICATE_BAG; type++) {
            if (!(op->types & 1u << type))
                continue;
            struct scene scene = {.op = op, .state = *state};
            scene.row = row_begin(op->name, type_names[type], (*state)->name);
            if (known(&scene, type))
                every_kill(&scene);
            kill_end();
            row_end(scene.row);
            if (image.table)
                image_restore(); /* whoever died is forgotten */
            if (scene.snapshot)
                CHECK_RC(heir_snapshot_close(scene.snapshot), 0);
            if (image.table)
                image_close();
            if (table)
                CHECK_RC(heir_destroy(table), 0);
            table = NULL;
        }
}

/* ---- Operations of clients and owners -------------------------------------------------------------------- */

/* The known state: ten objects, one of them a number; nothing else. */
static int reset(void)
{
    static const char *const others[] = {"new", "newer", "half"};
    int64_t number = 41;
    char key[8], value[64];
    int rc = 0;
    for (size_t i = 0; i < 3; i++)
        heir_del(table, others[i], strlen(others[i]));
    for (int i = 0; i < 10 && !rc; i++) {
        snprintf(key, sizeof key, "k%d", i);
        memset(value, 'a' + i, sizeof value);
        rc = heir_put(table, key, 2, value, (size_t)(10 + 5 * i));
    }
    return rc ? rc : heir_put(table, "number", 6, &number, 8);
}

static bool take_back(const struct client_stepped *op)
{
    struct heir_event event;
    while (heir_wait(me, 0, &event) == 0)
        ;
    if (op->access == HEIR_PUBLIC)
        return true;
    int rc = heir_claim(me, "t", NULL, patience(PATIENCE), &table);
    while (heir_wait(me, 0, &event) == 0)
        ;
    return CHECK(rc == 0, "%s: the table does not come back: %s", op->name, error_text(rc));
}

static bool all_gone(void *arg)
{
    (void)arg;
    return shm_count("c.") == 1;
}

/* Back and forth once: 0 before, 1 after, -1 neither. */
static int round_trip(const struct client_stepped *op, struct row *row, long k, struct digest before,
                      struct digest *after)
{
    enum kill_mode mode = k < 0 ? TRACE : KILL;
    if ((op->begin == FROM_OWNING || op->begin == FROM_CLAIMING) && heir_release(table))
        return -1;
    int64_t pid = kill_client_begin(op, heir_id(me), mode, k);
    if (pid < 0)
        return -1;
    struct death death = kill_client(op, pid, mode, k);
    if (!take_back(op) || (op->tidy && !op->tidy(me)))
        return -1;
    if (op->access == HEIR_PUBLIC)
        CHECK(wait_until(all_gone, NULL, PATIENCE), "%s, killed at %ld: client pages are left", op->name, k);
    struct digest now = content();
    bool ended = death.phase == AFTER;
    if (k < 0) {
        CHECK(ended, "%s never came to its end", op->name);
        CHECK(death.rc == 0, "%s: %s", op->name, error_text(death.rc));
        *after = now;
    }
    row->out_of_reach += death.astray && k >= 0; /* the keeper's answers come when they come: it may go another way */
    if (!works(op->name, k) || !whole(op->name, "after repairing", k))
        return -1;
    row->checks++;
    if (same(now, *after) && (ended || !same(now, before)))
        return 1;
    if ((!ended || op->same) && same(now, before))
        return ended;
    CHECK(false, "%s, killed at %ld: %llu objects, neither before nor after%s", op->name, k,
          (unsigned long long)now.objects, ended ? " (it had ended)" : "");
    return -1;
}

/* Tracer and child on one processor: a step is then a switch and not the wake-up of another one. */
static void share_processor(bool share)
{
    static cpu_set_t all;
    cpu_set_t one;
    if (!CPU_COUNT(&all))
        sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, share ? &one : &all);
}

static bool may_trace(void)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? 1 : 0);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void every_client_kill(const struct client_stepped *op, struct row *row)
{
    const struct heir_table_options options = {.max_bytes = HEIR_TABLE_MIN, .access = op->access};
    struct digest before, after = {0};
    if (!CHECK_RC(heir_create(me, "t", &options, &table), 0) || !CHECK_RC(reset(), 0))
        return;
    before = content();
    if (!CHECK(round_trip(op, row, -1, before, &after) >= 0) ||
        !CHECK(op->same || !same(before, after), "%s changes nothing", op->name))
        return;
    long n = row->instructions = kill_length(), stride = spread(n), i = 0;
    int64_t deadline = row_deadline();
    for (long k = 0; i < n && (i < LEAST || now_ms() < deadline); i++, k = (k + stride) % n) {
        if (!op->from_outside && !kill_reaches(k)) {
            row->out_of_reach++;
            continue;
        }
        if (!CHECK_RC(reset(), 0) || !CHECK(same(content(), before), "%s: the table was not set back", op->name))
            return;
        int side = round_trip(op, row, k, before, &after);
        if (side < 0)
            return;
        row->kills++;
        row->before += side == 0;
        row->after += side == 1;
    }
    row->all = i == n && !row->out_of_reach;
    CHECK(row->kills > 0 && (row->before > 0 || op->same), "%s: no kill left the state before it", op->name);
}

void step_through_client(const struct client_stepped *op)
{
    if (op->from_outside && !may_trace()) {
        printf(" (%s: ptrace is not permitted)", op->name);
        return;
    }
    struct row *row = row_begin(op->name, "", "");
    share_processor(op->from_outside);
    every_client_kill(op, row);
    share_processor(false);
    if (table)
        CHECK_RC(heir_destroy(table), 0);
    table = NULL;
    row_end(row);
}

/* ---- Around ------------------------------------------------------------------------------------------- */

/* False: it cannot be done here, and the test has been marked so. */
bool steps_begin(void)
{
#if !defined(__x86_64__)
    test_skip("it takes the trap flag of an x86-64");
    return false;
#endif
    if (TEST_ASAN || TEST_TSAN) {
        test_skip("a sanitizer's instructions are not the library's");
        return false;
    }
    kill_init();
    REQUIRE_EQ(keeper_start(NULL), 0);
    me = test_open("survivor");
    table = NULL;
    return true;
}

void steps_share(int count, double share)
{
    rows_to_come = count;
    share_end = now_ms() + (int64_t)(test_seconds(CI_SECONDS) * share * 1000);
}

void steps_ledger(void)
{
    long kills = 0;
    int all = 0;
    printf("\n# %-49s %7s %7s %7s %7s %7s %7s %6s\n", "operation, table, state", "instr.", "states", "kills", "before",
           "after", "checked", "ms");
    for (int i = 0; i < rows; i++) {
        const struct row *row = &ledger[i];
        printf("# %-49s %7ld %7ld %7ld %7ld %7ld %7ld %6lld%s\n", row->name, row->instructions, row->states, row->kills,
               row->before, row->after, row->checks, (long long)row->ms,
               row->all      ? "  all"
               : row->states ? "  all states"
                             : "");
        kills += row->kills;
        all += row->all;
    }
    printf("# %ld kills; of %d rows, %d with all their instructions, the others as far as the time went\n", kills, rows,
           all);
}
