/* SPDX-License-Identifier: MIT */
/*
 * One look at a whole table, as check.c takes many of. It goes through all that refers to blocks: blocks put by, the
 * index, the history; each is noted by a bit for its granule. Then it goes through all blocks in use (space_visit()):
 * one without a bit is lost. The bits take 1/128 of the heap.
 *
 * A block moves from what is put by into the index, from there into the history, and from there it is freed. A pass
 * looks in this order, so of a table that is written meanwhile it may meet a block twice but does not miss one that is
 * left alone; nor is one missed because the way to it was: see pass_tree.c.
 */
#ifndef HEIR_PASS_H
#define HEIR_PASS_H

#include "past.h"
#include "space.h"

enum part { PART_LIVE, PART_SUPERSEDED, PART_INDEX, PART_METADATA, PART_SLACK, PARTS };

struct pass {
    const struct store *s;
    struct past past;
    struct space_look look;
    uint64_t horizon, objects; /* when it began */
    uint64_t *seen;            /* a bit for each granule of the heap ... */
    uint64_t reached;          /* ... up to this page */
    uint8_t *key, *bounds[2];  /* HEIR_KEY_MAX bytes each */
    uint64_t *clearings;       /* of the history, in its order */
    size_t clearing_count, clearing_room;
    uint64_t part[PARTS], idle;
    uint64_t living;
    struct findings found;
};

/* Look once. *found: sorted, to be freed also on an error; partial if what is left alone may have been passed over. 0;
 * 1: no further than at the header; -ENOMEM. */
int pass_run(const struct store *s, struct findings *found, struct heir_account *account);

/* ---- Between the pass's own files ----------------------------------------------------------------------- */

/* Look at the log, and where the heap ends, again: what is new may be the way to what is old. */
void pass_follow(struct pass *c);

static inline uint64_t pass_word(const struct pass *c, const word_t *word)
{
    return past_word(&c->past, word);
}

static inline word_t *pass_at(const struct pass *c, uint64_t offset)
{
    return (word_t *)(void *)(c->s->base + offset);
}

static inline void wrong(struct pass *c, unsigned law, const char *what, uint64_t where, uint64_t mark)
{
    findings_add(&c->found, (struct finding){what, where, mark, law, .absent = false});
}

/* The same, of something that should have been met, and was not. */
static inline void missing(struct pass *c, unsigned law, const char *what, uint64_t where, uint64_t mark)
{
    findings_add(&c->found, (struct finding){what, where, mark, law, .absent = true});
}

/* What stands at the beginning of a block, in one number. */
uint64_t pass_mark(const struct pass *c, uint64_t offset);

/* The block that begins here is in use by what led here: its size, or 0 when it cannot be. Then it is not to be
 * followed, but by who comes to an end all the same: so everything ends. */
uint64_t pass_hold(struct pass *c, uint64_t offset);

/* Of a block of this size, so many bytes are this; the rest is lost in it. false: it is too small for that. */
bool pass_put_in(struct pass *c, enum part part, uint64_t bytes, uint64_t size);

/* Hold a block, all of which is this, and which is to be read as `bytes` bytes. NULL: it cannot be. */
void *pass_hold_all(struct pass *c, uint64_t offset, enum part part, uint64_t bytes);

/* The fields of a version, read once. */
struct fields {
    uint64_t made, ended, prev, key_len, value_len;
};

/* A version that a slot of the current index leads to. Its key is in c->key afterwards. false: it is none. What is
 * found of it is told by where it is, for slots are copied into other nodes. */
bool pass_version(struct pass *c, uint64_t slot, struct fields *f);
struct fields pass_fields(const struct pass *c, uint64_t offset);
const uint8_t *pass_key(const struct pass *c, uint64_t offset);

/*
 * A walk through what moves is made in steps. Each begins anew, at the one word that leads to all of it, and goes on
 * from where the last one came to. Nothing is said of what it has read before two questions:
 *
 *   - Has it been on a way that leads nowhere any more? What is beyond a link is used anew only when the link has been
 *     changed. So all links of the way are read again, from the last one up (pass_led()).
 *   - Is something odd? Then it may be two moments in one look, and as long as the step is `patient`, it wants to have
 *     looked at one (pass_sure()).
 *
 * If so, it is made again. What is odd each time is damage. Who cannot go on beyond it leaves it out, and says so.
 */
enum step { STEP_DONE, STEP_LAST, STEP_AGAIN };
void pass_walk(struct pass *c, enum step (*next)(struct pass *c, void *walk, bool patient), void *walk);

struct link {
    const word_t *at;
    uint64_t to;
};

/* Read a link of the way. */
static inline uint64_t pass_link(const struct pass *c, const word_t *at, struct link *link)
{
    *link = (struct link){at, pass_word(c, at)};
    return link->to;
}

/* Looks at the log again: pass_sure() comes before. */
bool pass_led(struct pass *c, const struct link *way, unsigned count);

static inline bool pass_sure(const struct pass *c, bool odd, bool patient)
{
    return !odd || !patient || past_still(&c->past);
}

/* K4, K5: the index that readers of the last commit use. */
void pass_index(struct pass *c);
void pass_tree(struct pass *c);

/* One that has been cleared, by the word that led to it: hold all of it but what has been swept up to `from`. What has
 * been freed of it may have been overwritten before a rollback made it wait here again: so versions are not looked at.
 */
void pass_cleared(struct pass *c, uint64_t word, uint64_t from);
void pass_cleared_tree(struct pass *c, uint64_t word, uint64_t from);

/* K6. */
void pass_history(struct pass *c);

#endif
