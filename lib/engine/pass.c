/* SPDX-License-Identifier: MIT */
/* One look at a whole table; see pass.h. Here: K1 to K3, and the account. */
#include "pass.h"
#include "shm.h"
#include "tree.h"
#include <stdlib.h>

/* ---- Blocks ------------------------------------------------------------------------------------------- */

uint64_t pass_mark(const struct pass *c, uint64_t offset)
{
    uint64_t mark = 0;
    uint64_t begin = c->s->heap_first * PAGE_BYTES, end = c->look.frontier * PAGE_BYTES;
    if (offset % 8 != 0 || offset < begin || offset >= end || end - offset < 24)
        return 0;
    for (unsigned i = 0; i < 3; i++)
        mark = (mark ^ get(pass_at(c, offset) + i)) * UINT64_C(0x9e3779b97f4a7c15);
    return mark;
}

static bool seen(const struct pass *c, uint64_t offset)
{
    uint64_t granule = (offset - c->s->heap_first * PAGE_BYTES) / GRANULE;
    return (c->seen[granule / 64] >> granule % 64 & 1) != 0;
}

uint64_t pass_hold(struct pass *c, uint64_t offset)
{
    uint64_t size = space_block(c->s, &c->look, offset);
    if (size == 0) {
        wrong(c, 3, "what is used is free, or no block", offset, pass_mark(c, offset));
        return 0;
    }
    if (seen(c, offset)) {
        wrong(c, 3, "a block is used twice", offset, pass_mark(c, offset));
        return 0;
    }
    uint64_t granule = (offset - c->s->heap_first * PAGE_BYTES) / GRANULE;
    c->seen[granule / 64] |= UINT64_C(1) << granule % 64;
    return size;
}

bool pass_put_in(struct pass *c, enum part part, uint64_t bytes, uint64_t size)
{
    c->part[part] += bytes < size ? bytes : size;
    c->part[PART_SLACK] += bytes < size ? size - bytes : 0;
    return bytes <= size;
}

void *pass_hold_all(struct pass *c, uint64_t offset, enum part part, uint64_t bytes)
{
    uint64_t size = pass_hold(c, offset);
    if (size == 0)
        return NULL;
    pass_put_in(c, part, size, size);
    if (size < bytes) {
        wrong(c, 3, "a block is smaller than what should be in it", offset, size);
        return NULL;
    }
    return c->s->base + offset;
}

/* ---- Walks -------------------------------------------------------------------------------------------- */

#define PATIENT_TRIES 50   /* looks at what is odd: it is caught in motion in one of many, never in so many */
#define STEP_TRIES    1000 /* to make a step before its way is changed */

void pass_walk(struct pass *c, enum step (*next)(struct pass *c, void *walk, bool patient), void *walk)
{
    enum step end = STEP_DONE;

    for (unsigned tries = 0; end != STEP_LAST && tries < STEP_TRIES; tries = end == STEP_AGAIN ? tries + 1 : 0)
        end = next(c, walk, tries < PATIENT_TRIES);
    c->found.partial |= end != STEP_LAST;
}

bool pass_led(struct pass *c, const struct link *way, unsigned count)
{
    atomic_thread_fence(memory_order_acquire);
    pass_follow(c);
    while (count > 0 && pass_word(c, way[count - 1].at) == way[count - 1].to)
        count--;
    return count == 0;
}

/* ---- Space -------------------------------------------------------------------------------------------- */

static void check_spares(struct pass *c)
{
    static const uint64_t least[SPARES] = {PAGE_BYTES, sizeof(struct leaf), 0, sizeof(struct clearing)};
    const struct ledger *l = ledger_of(c->s);

    for (int i = 0; i < SPARES; i++) {
        if (pass_word(c, &l->spare[i]) != 0)
            pass_hold_all(c, pass_word(c, &l->spare[i]), PART_METADATA, least[i]);
    }
    if (pass_word(c, &l->limbo) != 0)
        pass_hold_all(c, pass_word(c, &l->limbo), PART_METADATA, sizeof(struct chunk));
}

static uint64_t look_word(const word_t *word, void *arg)
{
    return pass_word(arg, word);
}

static void look_block(uint64_t offset, uint64_t bytes, void *arg)
{
    struct pass *c = arg;
    if (seen(c, offset))
        return;
    missing(c, 3, "a block is lost", offset, pass_mark(c, offset));
    c->part[PART_SLACK] += bytes;
}

static void look_bad(const char *what, uint64_t where, uint64_t is, void *arg)
{
    wrong(arg, 2, what, where, is);
}

/* ---- Numbers ------------------------------------------------------------------------------------------ */

/* The heap is in use up to page `frontier`: can it be looked at? -ENOMEM; -EUCLEAN: the file has been cut. */
static int reach(struct pass *c, uint64_t frontier)
{
    const uint64_t a_page = PAGE_BYTES / GRANULE / 64, first = c->s->heap_first;
    uint64_t from = c->reached;

    if (frontier <= from)
        return 0;
    if (!shm_reaches(c->s->base, space_front(c->s)) ||
        !shm_reaches(c->s->base + from * PAGE_BYTES, (frontier - from) * PAGE_BYTES))
        return -EUCLEAN;
    uint64_t *seen = realloc(c->seen, (frontier - first) * a_page * sizeof *seen);
    if (seen == NULL)
        return -ENOMEM;
    memset(seen + (from - first) * a_page, 0, (frontier - from) * a_page * sizeof *seen);
    c->seen = seen;
    c->reached = frontier;
    return 0;
}

void pass_follow(struct pass *c)
{
    past_follow(&c->past);
    uint64_t frontier = pass_word(c, &ledger_of(c->s)->frontier);
    if (frontier >= c->s->heap_first && frontier <= readable(c->s) / PAGE_BYTES && reach(c, frontier) == 0)
        c->look.frontier = frontier;
}

/* K1. false: nothing more can be looked at. */
static bool check_header(struct pass *c)
{
    const struct store *s = c->s;
    const struct table_page *page = page_of(s);
    const struct view *v = view_of(s);
    const struct ledger *l = ledger_of(s);
    uint64_t limit = get(&v->limit), floor = get(&l->log_floor), before = c->found.count;

    c->horizon = get(&v->horizon);
    if (page->max_bytes != s->bytes || page->heap_first != s->heap_first || page->hash_seed != s->seed)
        wrong(c, 1, "size, beginning of the heap or seed are not those that were mapped", page->max_bytes, 0);
    if (page->type > HEIR_DUPLICATE_BAG || page->access > HEIR_PRIVATE)
        wrong(c, 1, "there is no such type, or access", page->type, page->access);
    if (limit < s->heap_first || limit > s->bytes / PAGE_BYTES)
        wrong(c, 1, "the heap is longer than the file, or shorter than nothing", limit, 0);
    if (floor >= s->bytes || floor % PAGE_BYTES != 0 || floor < s->heap_first * PAGE_BYTES)
        wrong(c, 1, "the undo log is longer than the file, or shorter than a page", floor, 0);
    if (c->found.count != before)
        return false;
    int r = past_follow(&c->past);
    if (r < 0) {
        c->found.no_memory |= r == -ENOMEM;
        wrong(c, c->past.wrong.law, c->past.wrong.what, c->past.wrong.where, c->past.wrong.mark);
        return false;
    }
    c->objects = get(&v->objects[c->past.committed & 1]);
    uint64_t frontier = pass_word(c, &l->frontier);
    /* the limit again, which is raised first */
    if (frontier < s->heap_first || frontier > readable(s) / PAGE_BYTES)
        wrong(c, 1, "the heap in use is longer than what is backed", frontier, limit);
    /* a long log may stand in what its transaction has freed; it is given back when it is rolled back */
    else if (frontier * PAGE_BYTES > floor && c->past.count == 0)
        wrong(c, 1, "the heap and the undo log are in each other's place", frontier, floor);
    else if ((r = reach(c, frontier)) == -EUCLEAN)
        wrong(c, 1, "the file is shorter than it says", s->bytes, 0);
    c->found.no_memory |= r == -ENOMEM;
    c->look.frontier = frontier;
    return c->found.count == before && r == 0;
}

/* The header's numbers that do not keep from looking further. */
static void check_numbers(struct pass *c)
{
    const struct view *v = view_of(c->s);
    const struct ledger *l = ledger_of(c->s);
    /* in this order, as none is ever beyond the next */
    uint64_t next = get(&l->next_horizon), txn = get(&l->log_txn), committed = get(&v->committed);
    uint64_t objects = get(&v->objects[committed & 1]);

    if (c->horizon > next || next > committed)
        wrong(c, 1, "the horizon is beyond the last commit", next, c->horizon);
    if (txn > committed + 1)
        wrong(c, 1, "the undo log is of a transaction to come", txn, 0);
    if (c->living != objects && objects == c->objects) /* else it has changed while we counted */
        missing(c, 5, "objects does not count the living", objects - c->living, objects);
}

/* All of the file but the heap in use is known from the header. */
static void close_account(struct pass *c, uint64_t lost, struct heir_account *a)
{
    const struct store *s = c->s;
    uint64_t heap = s->heap_first * PAGE_BYTES, end = c->look.frontier * PAGE_BYTES, front = space_front(s);
    uint64_t limit = get(&view_of(s)->limit) * PAGE_BYTES, floor = get(&ledger_of(s)->log_floor), sum = 0;

    c->part[PART_SLACK] += lost;
    for (int i = 0; i < PARTS; i++)
        sum += c->part[i];
    if (sum + c->idle != end - heap) {
        /* by a block that is freed while we look, too; by one that is as large each time, the same each time */
        missing(c, 2, "the account does not add up", sum + c->idle - (end - heap), c->past.committed);
        /* whatever it is, each byte is somewhere */
        uint64_t over = sum + c->idle > end - heap ? sum + c->idle - (end - heap) : 0;
        c->part[PART_SLACK] += over == 0 ? end - heap - sum - c->idle : 0;
        for (int i = PARTS; i >= 0; i--) {
            uint64_t *from = i == PARTS ? &c->idle : &c->part[i], take = over < *from ? over : *from;
            *from -= take;
            over -= take;
        }
    }
    if (front > heap) /* the header is being changed; so is what comes of it */
        front = heap;
    if (floor < end) /* see check_header() */
        floor = end;
    if (floor > s->bytes)
        floor = s->bytes;
    if (limit > floor)
        limit = floor;
    if (limit < end)
        limit = end;
    *a = (struct heir_account){
        .live = c->part[PART_LIVE],
        .superseded = c->part[PART_SUPERSEDED],
        .index = c->part[PART_INDEX],
        .metadata = c->part[PART_METADATA] + front + (s->bytes - floor),
        .slack = c->part[PART_SLACK],
        .free = c->idle + (limit - end),
        .untouched = (heap - front) + (floor - limit),
    };
}

int pass_run(const struct store *s, struct findings *found, struct heir_account *account)
{
    struct pass c = {.s = s, .reached = s->heap_first};
    uint64_t lost;
    int r = 1;

    /* which could be anything: then nothing is said of it */
    *account = (struct heir_account){.slack = s->bytes};
    past_begin(&c.past, s);
    c.look = (struct space_look){.word = look_word, .block = look_block, .bad = look_bad, .arg = &c};
    if (!shm_reaches(s->base, PAGE_BYTES)) {
        wrong(&c, 1, "the file is shorter than it says", s->bytes, 0);
    } else if (check_header(&c)) {
        c.key = malloc(3 * HEIR_KEY_MAX);
        c.found.no_memory |= c.key == NULL;
        if (!c.found.no_memory) {
            c.bounds[0] = c.key + HEIR_KEY_MAX;
            c.bounds[1] = c.bounds[0] + HEIR_KEY_MAX;
            check_spares(&c);
            pass_index(&c);
            pass_history(&c);
            pass_follow(&c);
            int visited = space_visit(s, &c.look, &c.idle, &lost);
            c.found.no_memory |= visited < 0;
            c.found.partial |= visited > 0;
        }
        if (!c.found.no_memory) {
            check_numbers(&c);
            close_account(&c, lost, account);
            r = 0;
        }
    }
    c.found.partial |= r != 0;
    past_end(&c.past);
    free(c.seen);
    free(c.key);
    free(c.clearings);
    findings_sort(&c.found);
    *found = c.found;
    return c.found.no_memory ? -ENOMEM : r;
}
