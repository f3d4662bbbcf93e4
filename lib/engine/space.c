/* SPDX-License-Identifier: MIT */
/*
 * Space: memory inside a table.
 *
 * The heap is pages. A *span* is a run of 1 to 16 pages cut into blocks of one size class, at most 64 of them, so that
 * one word, a bit for each free block, is the whole truth about it: taking and giving back a block is one logged store,
 * and free blocks hold nothing that a crash could damage. Spans with a free block are in a list a class. A span that
 * becomes all free goes back to the pages, so memory wanders between classes. Blocks over 8 KiB are runs of whole pages
 * of their own.
 *
 * Free runs are joined with their neighbours at once (Knuth's boundary tags, TAOCP 2.5, here in the page descriptors,
 * away from the pages) and kept in lists by power of two. What is free at the very end of the used heap becomes
 * untouched heap again.
 *
 * Classes are 16 bytes apart up to 128, then eight to a doubling: at most 11 % is lost in a block above 128 bytes.
 */
#include "space.h"
#include "shm.h"
#include <stdlib.h>

enum page_kind { PAGE_NONE, PAGE_SPAN, PAGE_INNER, PAGE_LARGE, PAGE_FREE, PAGE_FREE_LAST };

#define SPAN_MAX     16u
#define CLASS_LARGE  8192u
#define LOW_PAGES    3
#define FIT_TRIES    16
#define COARSE_BELOW (UINT64_C(1) << 20)

static unsigned log2_of(uint64_t n)
{
    return 63u - (unsigned)__builtin_clzll(n);
}

static unsigned fine_class(uint64_t bytes)
{
    if (bytes <= 64)
        return 0;
    if (bytes <= 128)
        return (unsigned)((bytes + 15) / 16) - 4;
    unsigned top = log2_of(bytes - 1); /* 7 for 129..256 */
    return 5 + (top - 7) * 8 + (unsigned)((bytes - 1) >> (top - 3)) - 8;
}

/* In a small table a page for each of many classes would be most of it: there the classes are powers of two. */
static unsigned class_of(const struct store *s, uint64_t bytes)
{
    if (s->bytes < COARSE_BELOW && bytes > 64)
        bytes = UINT64_C(1) << (log2_of(bytes - 1) + 1);
    return fine_class(bytes);
}

static uint64_t class_bytes(unsigned class)
{
    if (class < 5)
        return 64 + 16 * class;
    unsigned top = 7 + (class - 5) / 8;
    return (UINT64_C(9) + (class - 5) % 8) << (top - 3);
}

/* Pages of a span: the fewest that waste at most a sixteenth, or the best of those that fit. */
static unsigned class_pages(unsigned class)
{
    uint64_t size = class_bytes(class);
    unsigned best = 1;
    uint64_t best_waste = PAGE_BYTES;
    for (unsigned n = 1; n <= SPAN_MAX && n * PAGE_BYTES / size <= 64; n++) {
        if (n * PAGE_BYTES < size)
            continue;
        uint64_t waste = n * PAGE_BYTES % size * 16 / n;
        if (waste <= PAGE_BYTES)
            return n;
        if (waste < best_waste * 16) {
            best_waste = waste / 16;
            best = n;
        }
    }
    return best;
}

static_assert(SIZE_CLASSES == 5 + 8 * 6, "classes up to 8 KiB");

/* ---- Page descriptors --------------------------------------------------------------------------------- */

static struct page_desc *desc(const struct store *s, uint64_t page)
{
    return (struct page_desc *)(void *)(s->base + PAGE_BYTES) + (page - s->heap_first);
}

static uint64_t kind_word(enum page_kind kind, unsigned class, uint64_t pages)
{
    return (uint64_t)kind | (uint64_t) class << 8 | pages << 32;
}

static enum page_kind kind_of(uint64_t word)
{
    return (enum page_kind)(word & 0xff);
}

static uint64_t pages_of(uint64_t word)
{
    return word >> 32;
}

static uint64_t next_of(const struct page_desc *d)
{
    return peek(&d->links) >> 32;
}

static uint64_t prev_of(const struct page_desc *d)
{
    return peek(&d->links) & 0xffffffffu;
}

static bool in_heap(const struct store *s, uint64_t page)
{
    return page >= s->heap_first && page < peek(&ledger_of(s)->frontier) && page < readable(s) / PAGE_BYTES;
}

/* Lists of pages; the head is a word in the ledger, 0 ends them. */
static int list_add(struct store *s, word_t *head, uint64_t page)
{
    uint64_t first = peek(head);
    if (first != 0 && !in_heap(s, first))
        return -EUCLEAN;
    log_set(s, &desc(s, page)->links, first << 32);
    if (first != 0)
        log_set(s, &desc(s, first)->links, next_of(desc(s, first)) << 32 | page);
    log_set(s, head, page);
    return 0;
}

static int list_remove(struct store *s, word_t *head, uint64_t page)
{
    uint64_t next = next_of(desc(s, page)), prev = prev_of(desc(s, page));
    if ((next != 0 && !in_heap(s, next)) || (prev != 0 && !in_heap(s, prev)) || (prev == 0 && peek(head) != page))
        return -EUCLEAN;
    if (prev != 0)
        log_set(s, &desc(s, prev)->links, next << 32 | prev_of(desc(s, prev)));
    else
        log_set(s, head, next);
    if (next != 0)
        log_set(s, &desc(s, next)->links, next_of(desc(s, next)) << 32 | prev);
    return 0;
}

/* ---- Runs of pages ------------------------------------------------------------------------------------ */

static word_t *bin_of(struct store *s, uint64_t pages)
{
    return &ledger_of(s)->runs[log2_of(pages)];
}

static int run_insert(struct store *s, uint64_t page, uint64_t pages)
{
    log_set(s, &desc(s, page)->kind, kind_word(PAGE_FREE, 0, pages));
    if (pages > 1)
        log_set(s, &desc(s, page + pages - 1)->kind, kind_word(PAGE_FREE_LAST, 0, pages));
    return list_add(s, bin_of(s, pages), page);
}

static int run_remove(struct store *s, uint64_t page, uint64_t pages)
{
    return list_remove(s, bin_of(s, pages), page);
}

/* A free run of at least `pages`: a few tries in the bin of its size, then the first of a larger bin. 0: none. */
static uint64_t run_find(struct store *s, uint64_t pages)
{
    unsigned bin = log2_of(pages);
    uint64_t page = peek(&ledger_of(s)->runs[bin]);
    for (int i = 0; i < FIT_TRIES && page != 0 && in_heap(s, page); i++) {
        if (pages_of(peek(&desc(s, page)->kind)) >= pages)
            return page;
        page = next_of(desc(s, page));
    }
    while (++bin < RUN_BINS) {
        page = peek(&ledger_of(s)->runs[bin]);
        if (page != 0)
            return page;
    }
    return 0;
}

uint64_t space_front_of(const struct store *s, uint64_t limit)
{
    return (1 + pages_for((limit - s->heap_first) * sizeof(struct page_desc))) * PAGE_BYTES;
}

/* Back the heap up to page `to`, and its descriptors before it. */
static int grow(struct store *s, uint64_t to, int (*populate)(void *start, uint64_t bytes))
{
    struct view *v = view_of(s);
    uint64_t limit = peek(&v->limit), have = space_front_of(s, limit), need = space_front_of(s, to);
    int r = 0;

    s->starved = true;
    if (to > undo_first_page(s))
        return -ENOSPC;
    if (need > have)
        r = populate(s->base + have, need - have);
    if (r == 0)
        r = populate(s->base + limit * PAGE_BYTES, (to - limit) * PAGE_BYTES);
    if (r < 0)
        return r;
    set(&v->limit, to);
    s->starved = false;
    return 0;
}

/* All that the keeper has backed ahead, at once: each visit to the kernel costs a writer whose caches are full of its
 * table more than what is done there. Were nothing ahead it would still be right: what is not there is given memory. */
static bool take_ahead(struct store *s)
{
    uint64_t limit = peek(&view_of(s)->limit), ahead = get(&page_of(s)->ahead), last = undo_first_page(s);
    uint64_t to = ahead_end(ahead) < last ? ahead_end(ahead) : last;

    if (to > limit + SPACE_AHEAD_MOST)
        to = limit + SPACE_AHEAD_MOST;
    return limit >= ahead_first(ahead) && to > limit && grow(s, to, shm_populate_around) == 0;
}

void space_back_one(struct store *s)
{
    if (!s->starved && !take_ahead(s))
        grow(s, peek(&view_of(s)->limit) + 1, shm_populate);
}

static int run_alloc(struct store *s, uint64_t pages, uint64_t *page)
{
    struct ledger *l = ledger_of(s);
    uint64_t p = run_find(s, pages), have;
    int r;

    if (p != 0) {
        if (!in_heap(s, p))
            return -EUCLEAN;
        have = pages_of(peek(&desc(s, p)->kind));
        if (kind_of(peek(&desc(s, p)->kind)) != PAGE_FREE || have < pages || !in_heap(s, p + have - 1))
            return -EUCLEAN;
        if ((r = run_remove(s, p, have)) < 0)
            return r;
        if (have > pages && (r = run_insert(s, p + pages, have - pages)) < 0)
            return r;
    } else {
        p = peek(&l->frontier);
        if (p - s->heap_first > s->bytes / PAGE_BYTES)
            return -EUCLEAN;
        if (p + pages > undo_first_page(s)) /* a long log may have come down into the heap's free end */
            return -ENOSPC;
        if (p + pages > peek(&view_of(s)->limit) && (r = grow(s, p + pages, shm_populate)) < 0)
            return r;
        log_set(s, &l->frontier, p + pages);
    }
    log_set(s, &l->pages_used, peek(&l->pages_used) + pages);
    *page = p;
    return 0;
}

static int run_free(struct store *s, uint64_t page, uint64_t pages)
{
    struct ledger *l = ledger_of(s);
    uint64_t frontier = peek(&l->frontier), near, word;
    int r;

    if (pages == 0 || !in_heap(s, page + pages - 1))
        return -EUCLEAN;
    log_set(s, &l->pages_used, peek(&l->pages_used) - pages);
    near = page + pages;
    if (in_heap(s, near) && kind_of(word = peek(&desc(s, near)->kind)) == PAGE_FREE) {
        if (pages_of(word) == 0 || !in_heap(s, near + pages_of(word) - 1))
            return -EUCLEAN;
        if ((r = run_remove(s, near, pages_of(word))) < 0)
            return r;
        pages += pages_of(word);
    }
    near = page - 1;
    if (in_heap(s, near)) {
        word = peek(&desc(s, near)->kind);
        if (kind_of(word) == PAGE_FREE_LAST || (kind_of(word) == PAGE_FREE && pages_of(word) == 1)) {
            if (pages_of(word) == 0 || !in_heap(s, page - pages_of(word)))
                return -EUCLEAN;
            if ((r = run_remove(s, page - pages_of(word), pages_of(word))) < 0)
                return r;
            page -= pages_of(word);
            pages += pages_of(word);
        }
    }
    if (page + pages == frontier)
        log_set(s, &l->frontier, page);
    else
        return run_insert(s, page, pages);
    return 0;
}

/* ---- Blocks ------------------------------------------------------------------------------------------- */

static uint64_t span_all_free(unsigned class)
{
    uint64_t blocks = class_pages(class) * PAGE_BYTES / class_bytes(class);
    return blocks == 64 ? ~UINT64_C(0) : (UINT64_C(1) << blocks) - 1;
}

static int span_new(struct store *s, unsigned class, uint64_t *page)
{
    unsigned pages = class_pages(class);
    int r = run_alloc(s, pages, page);
    if (r < 0)
        return r;
    log_set(s, &desc(s, *page)->kind, kind_word(PAGE_SPAN, class, pages));
    for (unsigned i = 1; i < pages; i++)
        log_set(s, &desc(s, *page + i)->kind, kind_word(PAGE_INNER, 0, i));
    log_set(s, &desc(s, *page)->free, span_all_free(class));
    return list_add(s, &ledger_of(s)->partial[class], *page);
}

/* A block of the class, from a span that there is or a new one. */
static int span_alloc(struct store *s, unsigned class, uint64_t *offset)
{
    word_t *head = &ledger_of(s)->partial[class];
    uint64_t page = peek(head);
    int r = 0;

    if (unlikely(page == 0) && (r = span_new(s, class, &page)) < 0)
        return r;
    if (unlikely(!in_heap(s, page)))
        return -EUCLEAN;
    struct page_desc *d = desc(s, page);
    uint64_t free = peek(&d->free);
    if (unlikely(free == 0 || peek(&d->kind) != kind_word(PAGE_SPAN, class, class_pages(class))))
        return -EUCLEAN;
    log_set(s, &d->free, free & (free - 1));
    if ((free & (free - 1)) == 0 && (r = list_remove(s, head, page)) < 0)
        return r;
    *offset = page * PAGE_BYTES + (unsigned)__builtin_ctzll(free) * class_bytes(class);
    return 0;
}

/* No page is left for a span of this class: a free block of a larger one. What has the size of a power of two may be a
 * directory, whose offset has no low 6 bits. */
static int larger_alloc(struct store *s, uint64_t bytes, uint64_t *offset)
{
    bool aligned = (bytes & (bytes - 1)) == 0;
    for (unsigned class = class_of(s, bytes) + 1; class < SIZE_CLASSES; class ++) {
        if (peek(&ledger_of(s)->partial[class]) != 0 && (!aligned || class_bytes(class) % 64 == 0))
            return span_alloc(s, class, offset);
    }
    return -ENOSPC;
}

static int large_alloc(struct store *s, uint64_t bytes, uint64_t *offset)
{
    uint64_t pages = pages_for(bytes), page;
    int r = run_alloc(s, pages, &page);
    if (r < 0)
        return r;
    log_set(s, &desc(s, page)->kind, kind_word(PAGE_LARGE, 0, pages));
    if (pages > 1) /* its last page must not look like the end of a free run */
        log_set(s, &desc(s, page + pages - 1)->kind, kind_word(PAGE_INNER, 0, pages - 1));
    *offset = page * PAGE_BYTES;
    return 0;
}

int space_alloc_alone(struct store *s, uint64_t bytes, uint64_t *offset)
{
    return bytes > s->bytes ? -ENOSPC : large_alloc(s, bytes, offset);
}

bool space_alone(const struct store *s, uint64_t offset)
{
    return in_heap(s, offset / PAGE_BYTES) && kind_of(peek(&desc(s, offset / PAGE_BYTES)->kind)) == PAGE_LARGE;
}

int space_alloc(struct store *s, uint64_t bytes, uint64_t *offset)
{
    if (bytes > CLASS_LARGE)
        return space_alloc_alone(s, bytes, offset);
    int r = span_alloc(s, class_of(s, bytes), offset);
    if (unlikely(r == -ENOSPC) && bytes != PAGE_BYTES)
        r = larger_alloc(s, bytes, offset);
    return unlikely(r == -ENOSPC) ? large_alloc(s, bytes, offset) : r;
}

bool space_low(const struct store *s)
{
    uint64_t all = undo_first_page(s) - s->heap_first, limit = peek(&view_of(s)->limit) - s->heap_first;
    uint64_t used = peek(&ledger_of(s)->pages_used), have = s->starved && limit < all ? limit : all;
    return used + all / 32 + LOW_PAGES > have;
}

bool space_fits(const struct store *s, uint64_t offset, uint64_t bytes)
{
    uint64_t page = offset / PAGE_BYTES;
    if (bytes > CLASS_LARGE || !in_heap(s, page))
        return false;
    uint64_t word = peek(&desc(s, page)->kind);
    if (kind_of(word) == PAGE_INNER && pages_of(word) <= page - s->heap_first)
        word = peek(&desc(s, page - pages_of(word))->kind);
    return kind_of(word) == PAGE_SPAN && (word >> 8 & 0xff) == class_of(s, bytes);
}

void space_prefetch(const struct store *s, uint64_t offset)
{
    if (unlikely(offset >= s->bytes || offset < s->heap_first * PAGE_BYTES))
        return;
    prefetch_to_write(s->base + offset);
    prefetch_to_write(s->base + offset + 64); /* what goes on behind that the processor finds itself */
    __builtin_prefetch(desc(s, offset / PAGE_BYTES));
}

int space_free(struct store *s, uint64_t offset)
{
    uint64_t page = offset / PAGE_BYTES, word;
    int r;

    if (unlikely(!in_heap(s, page)))
        return -EUCLEAN;
    word = peek(&desc(s, page)->kind);
    if (kind_of(word) == PAGE_INNER) {
        if (pages_of(word) > page - s->heap_first)
            return -EUCLEAN;
        page -= pages_of(word);
        word = peek(&desc(s, page)->kind);
    }
    if (kind_of(word) == PAGE_LARGE) {
        return offset == page * PAGE_BYTES ? run_free(s, page, pages_of(word)) : -EUCLEAN;
    }
    unsigned class = word >> 8 & 0xff;
    if (kind_of(word) != PAGE_SPAN || class >= SIZE_CLASSES)
        return -EUCLEAN;
    struct page_desc *d = desc(s, page);
    word_t *head = &ledger_of(s)->partial[class];
    uint64_t free = peek(&d->free), index = (offset - page * PAGE_BYTES) / class_bytes(class),
             all = span_all_free(class);
    if (index >= 64 || offset != page * PAGE_BYTES + index * class_bytes(class) || (free >> index & 1) != 0 ||
        (all >> index & 1) == 0)
        return -EUCLEAN;
    log_set(s, &d->free, free | UINT64_C(1) << index);
    if (free == 0 && (r = list_add(s, head, page)) < 0)
        return r;
    if ((free | UINT64_C(1) << index) == all) {
        if ((r = list_remove(s, head, page)) < 0)
            return r;
        return run_free(s, page, class_pages(class));
    }
    return 0;
}

void *at_careful(const struct store *s, uint64_t offset, uint64_t bytes)
{
    uint64_t end = readable(s), first = s->heap_first * PAGE_BYTES;
    uint64_t seen = end > first + PAGE_BYTES ? end - first - PAGE_BYTES : 0;
    uint64_t reach = seen != 0 ? seen + PAGE_BYTES - GLANCE_BYTES : 0;
    if (peek(&s->heap_seen) != seen) /* threads share a reader's store: no more writing to it than needed */
        set((word_t *)&s->heap_seen, seen);
    if (peek(&s->heap_reach) != reach)
        set((word_t *)&s->heap_reach, reach);
    if (offset < first || offset % 8 != 0 || bytes > end || offset > end - bytes)
        return NULL;
    return s->base + offset;
}

/* ---- Whole tables -------------------------------------------------------------------------------------- */

uint64_t space_heap_first(uint64_t max_bytes)
{
    return 1 + pages_for(max_bytes / PAGE_BYTES * sizeof(struct page_desc));
}

int space_format(struct store *s)
{
    struct table_page *p = page_of(s);
    p->heap_first = s->heap_first = space_heap_first(s->bytes);
    set(&p->ledger.frontier, p->heap_first);
    set(&p->ledger.log_floor, s->bytes - PAGE_BYTES);
    set(&p->view.limit, p->heap_first);
    return shm_populate(s->base + s->bytes - PAGE_BYTES, PAGE_BYTES);
}

uint64_t space_bytes_used(const struct store *s)
{
    return space_front_of(s, get(&view_of(s)->limit)) + get(&ledger_of(s)->pages_used) * PAGE_BYTES + PAGE_BYTES;
}

uint64_t space_bytes_taken(const struct store *s)
{
    uint64_t limit = get(&view_of(s)->limit);
    return space_front_of(s, limit) + (limit - s->heap_first) * PAGE_BYTES + (s->bytes - get(&ledger_of(s)->log_floor));
}

/* ---- Checking ------------------------------------------------------------------------------------------ */

uint64_t space_front(const struct store *s)
{
    return space_front_of(s, get(&view_of(s)->limit));
}

static bool looked_at(const struct store *s, const struct space_look *look, uint64_t page)
{
    return page >= s->heap_first && page < look->frontier;
}

uint64_t space_block(const struct store *s, const struct space_look *look, uint64_t offset)
{
    uint64_t page = offset / PAGE_BYTES, word;

    if (!looked_at(s, look, page))
        return 0;
    word = look->word(&desc(s, page)->kind, look->arg);
    if (kind_of(word) == PAGE_INNER && pages_of(word) <= page - s->heap_first) {
        page -= pages_of(word);
        word = look->word(&desc(s, page)->kind, look->arg);
    }
    uint64_t pages = pages_of(word), within = offset - page * PAGE_BYTES;
    unsigned class = word >> 8 & 0xff;
    if (pages == 0 || pages > look->frontier - page)
        return 0;
    if (kind_of(word) == PAGE_LARGE)
        return within == 0 ? pages * PAGE_BYTES : 0;
    if (kind_of(word) != PAGE_SPAN || class >= SIZE_CLASSES)
        return 0;
    uint64_t size = class_bytes(class), index = within / size;
    if (index * size != within || index >= 64 || within + size > pages * PAGE_BYTES)
        return 0;
    return (look->word(&desc(s, page)->free, look->arg) >> index & 1) == 0 ? size : 0;
}

/* Mark the pages of a list: of spans of a class, or of runs of a bin. false: it led elsewhere. */
static bool mark_list(const struct store *s, const struct space_look *look, const word_t *head, bool runs,
                      unsigned number, uint64_t *marks)
{
    uint64_t next;
    bool all_right = true;

    for (uint64_t page = look->word(head, look->arg), prev = 0; page != 0; prev = page, page = next) {
        if (!looked_at(s, look, page)) {
            look->bad("a list of pages leads out of the heap", prev, page, look->arg);
            return false;
        }
        uint64_t bit = page - s->heap_first, kind = look->word(&desc(s, page)->kind, look->arg);
        uint64_t links = look->word(&desc(s, page)->links, look->arg);
        if ((marks[bit / 64] >> bit % 64 & 1) != 0) {
            look->bad("a page is in two lists, or a list is a circle", page, links, look->arg);
            return false;
        }
        marks[bit / 64] |= UINT64_C(1) << bit % 64;
        bool right = runs ? kind_of(kind) == PAGE_FREE && pages_of(kind) != 0 && log2_of(pages_of(kind)) == number
                          : kind_of(kind) == PAGE_SPAN && (kind >> 8 & 0xff) == number;
        if (!right)
            look->bad("a page is in the wrong list", page, kind, look->arg);
        if ((links & 0xffffffffu) != prev)
            look->bad("a page's link back is wrong", page, links, look->arg);
        all_right &= right && (links & 0xffffffffu) == prev;
        next = links >> 32;
    }
    return all_right;
}

/* One page that begins a span, a large block or a free run: how many it has, 0 when it begins nothing. */
static uint64_t visit_page(const struct store *s, const struct space_look *look, uint64_t page, bool marked,
                           bool *is_free, uint64_t *idle, uint64_t *lost)
{
    uint64_t word = look->word(&desc(s, page)->kind, look->arg), free = look->word(&desc(s, page)->free, look->arg);
    uint64_t pages = pages_of(word);
    unsigned class = word >> 8 & 0xff;

    *is_free = kind_of(word) == PAGE_FREE;
    if (pages == 0 || pages > look->frontier - page || (word & 0xffff0000u) != 0)
        return 0;
    switch (kind_of(word)) {
    case PAGE_FREE:
        if (page + pages == look->frontier)
            look->bad("a free run is at the end of the heap", page, word, look->arg);
        if (pages > 1 && look->word(&desc(s, page + pages - 1)->kind, look->arg) != kind_word(PAGE_FREE_LAST, 0, pages))
            look->bad("a free run has no end", page, word, look->arg);
        if (!marked)
            look->bad("a free run is in no list", page, word, look->arg);
        *idle += pages * PAGE_BYTES;
        return pages;
    case PAGE_LARGE:
        if (marked)
            look->bad("a large block is in a list", page, word, look->arg);
        look->block(page * PAGE_BYTES, pages * PAGE_BYTES, look->arg);
        return pages;
    case PAGE_SPAN:
        break;
    default:
        return 0;
    }
    if (class >= SIZE_CLASSES || pages != class_pages(class))
        return 0;
    uint64_t all = span_all_free(class), size = class_bytes(class);
    if ((free & ~all) != 0 || free == all)
        look->bad("a span's free blocks are wrong", page, free, look->arg);
    if ((free != 0) != marked)
        look->bad("a span with free blocks is in no list, or a full one in a list", page, free, look->arg);
    for (unsigned i = 1; i < pages; i++) {
        if (look->word(&desc(s, page + i)->kind, look->arg) != kind_word(PAGE_INNER, 0, i))
            look->bad("a page within a span does not lead to its beginning", page + i, word, look->arg);
    }
    *lost += pages * PAGE_BYTES;
    for (unsigned i = 0; i < 64; i++) {
        if ((all >> i & 1) == 0)
            break;
        *lost -= size;
        if ((free >> i & 1) != 0)
            *idle += size;
        else
            look->block(page * PAGE_BYTES + i * size, size, look->arg);
    }
    return pages;
}

int space_visit(const struct store *s, const struct space_look *look, uint64_t *idle, uint64_t *lost)
{
    const struct ledger *l = ledger_of(s);
    uint64_t counted = look->word(&l->pages_used, look->arg), used = 0, pages;
    bool is_free, after_free = false, after_bad = false, in_lists = true;

    *idle = *lost = 0;
    if (look->frontier <= s->heap_first)
        return 0;
    uint64_t *marks = calloc((look->frontier - s->heap_first) / 64 + 1, sizeof *marks);
    if (marks == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < SIZE_CLASSES; i++)
        in_lists &= mark_list(s, look, &l->partial[i], false, i, marks);
    for (unsigned i = 0; i < RUN_BINS; i++)
        in_lists &= mark_list(s, look, &l->runs[i], true, i, marks);
    for (uint64_t page = s->heap_first; page < look->frontier; page += pages) {
        uint64_t bit = page - s->heap_first;
        pages = visit_page(s, look, page, (marks[bit / 64] >> bit % 64 & 1) != 0, &is_free, idle, lost);
        if (pages != 0) {
            if (is_free && after_free)
                look->bad("two free runs are not joined", page, pages, look->arg);
            used += is_free ? 0 : pages;
            after_free = is_free;
            after_bad = false;
            continue;
        }
        if (!after_bad) /* go on with the next page that makes sense */
            look->bad("a page is in nothing", page, look->word(&desc(s, page)->kind, look->arg), look->arg);
        *lost += PAGE_BYTES;
        pages = 1;
        after_free = false;
        after_bad = true;
    }
    free(marks);
    if (counted != used && look->word(&l->pages_used, look->arg) == counted) /* else it has changed while we counted */
        look->bad("pages_used does not count the pages in use", counted - used, counted, look->arg);
    return in_lists ? 0 : 1;
}
