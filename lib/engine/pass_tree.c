/* SPDX-License-Identifier: MIT */
/*
 * One look at a whole table; see pass.h. Here: K4 and K5, the index of the other types.
 *
 * A tree that grows is replaced node by node, the root as well, and what has been replaced is soon used for something
 * else. Who walked through it as it was when he began would lose his way, and take all that is behind that place for
 * lost: always the same blocks, though nobody has touched them. So each leaf is looked for from the root, by the key
 * that bounded the one before.
 */
#include "node.h"
#include "pass.h"

/* A node, and by what it was found. */
struct held {
    uint64_t offset, parent;
    unsigned index;
};

/* One on the way, and why it does not go on there. */
struct met {
    struct held node;
    unsigned level;
    bool first;       /* it has not been held */
    const char *what; /* NULL: there is nothing to be said of it */
    uint64_t word;
};

/* A walk through the tree, and its next step. */
struct tour {
    struct edge from; /* keys before it have been seen; none: it begins */
    uint64_t next;    /* the separator where the step after this one begins; 0: there is none */
    struct edge low, high;
    struct held held[TREE_LEVELS_MAX]; /* last, of each level */
    struct met met[TREE_LEVELS_MAX];
    unsigned count;
    struct link links[TREE_LEVELS_MAX];
};

/* Nodes, as copied. */
struct inner_words {
    uint64_t head, children[INNER_CHILDREN], separators[INNER_CHILDREN - 1];
};

struct leaf_words {
    uint64_t head, slots[LEAF_SLOTS];
};

static_assert(sizeof(struct inner_words) == sizeof(struct inner) && sizeof(struct leaf_words) == sizeof(struct leaf),
              "format");

static bool before(struct edge a, struct edge b)
{
    return racy_order(a.key, a.len, b.key, b.len) < 0;
}

/* A node's words as of the last commit. false: there is no block of that size. */
static bool copy_node(const struct pass *c, uint64_t offset, uint64_t *to, uint64_t bytes)
{
    if (space_block(c->s, &c->look, offset) < bytes)
        return false;
    for (uint64_t i = 0; i < bytes / sizeof *to; i++)
        to[i] = pass_word(c, pass_at(c, offset) + i);
    return true;
}

/* The key of a separator, by its word. No key: it is none. */
static struct edge edge_of(const struct pass *c, uint64_t word)
{
    uint64_t offset = slot_version(word), size = space_block(c->s, &c->look, offset), len = 0;
    const struct separator *separator = (const struct separator *)pass_at(c, offset);
    if (size >= sizeof *separator) /* once: it may be overwritten */
        racy_copy(&len, &separator->len, sizeof len);
    if (size < sizeof *separator || len > size - sizeof *separator || len > HEIR_KEY_MAX)
        return (struct edge){NULL, 0};
    return (struct edge){separator->key, len};
}

/* A node's head can be true: it leaves out no more than its bounds share. */
static bool head_true(uint64_t head, unsigned least, unsigned most, struct edge low, struct edge high)
{
    uint64_t same = low.key == NULL || high.key == NULL ? 0 : common(low.key, low.len, high.key, high.len);
    return count_of(head) >= least && count_of(head) <= most && skip_of(head) <= same;
}

/* Why there is no way through this node, and by which word; NULL: there is one. */
static const char *no_way(const struct pass *c, const struct inner_words *node, struct edge low, struct edge high,
                          uint64_t *word)
{
    struct edge from = low;

    *word = node->head;
    if (!head_true(node->head, 1, INNER_CHILDREN, low, high))
        return "a node's head cannot be true";
    for (unsigned i = 0; i + 1 < count_of(node->head); i++) {
        *word = node->separators[i];
        struct edge to = edge_of(c, *word);
        if (to.key == NULL)
            return "a separator is damaged";
        if ((from.key != NULL && !before(from, to)) || (high.key != NULL && !before(to, high)) ||
            slot_hash(*word) != slice(to.key, to.len, skip_of(node->head)))
            return "separators are out of order";
        from = to;
    }
    return NULL;
}

static void check_leaf(struct pass *c, uint64_t offset, const struct leaf_words *leaf, struct edge low,
                       struct edge high)
{
    const unsigned sorted = count_of(leaf->head);
    struct edge keys[LEAF_SLOTS], last = {NULL, 0};
    struct fields f;

    if (!head_true(leaf->head, 0, LEAF_SLOTS, low, high)) {
        wrong(c, 4, "a node's head cannot be true", offset, leaf->head);
        c->found.partial = true;
        return;
    }
    /* it is made for a key, in one transaction with it; and who takes that back leaves a hole */
    if (leaf->slots[0] == 0)
        wrong(c, 4, "a leaf has never had a key", offset, leaf->head);
    for (unsigned i = 0; i < LEAF_SLOTS; i++) {
        uint64_t slot = leaf->slots[i], version = slot_version(slot);
        keys[i] = (struct edge){NULL, 0};
        if (slot == 0 || is_hole(slot) || !pass_version(c, slot, &f))
            continue;
        struct edge key = keys[i] = (struct edge){pass_key(c, version), f.key_len};
        if (slot_hash(slot) != slice(key.key, key.len, skip_of(leaf->head)))
            wrong(c, 5, "a slot's four bytes are not its key's", version, slot);
        else if ((low.key != NULL && before(key, low)) || (high.key != NULL && !before(key, high)))
            wrong(c, 5, "a key is not between its leaf's bounds", version, slot);
        else if (i < sorted && last.key != NULL && !before(last, key))
            wrong(c, 4, "a leaf's keys are out of order", version, slot);
        if (i < sorted)
            last = key;
        for (unsigned j = 0; i >= sorted && j < i; j++) {
            if (keys[j].key != NULL && slot_hash(leaf->slots[j]) == slot_hash(slot) && keys[j].len == key.len &&
                racy_compare(keys[j].key, key.key, key.len) == 0)
                wrong(c, 5, "a key is in a leaf twice", version, slot);
        }
    }
}

/* Is this node another one than the last of its level? One that has got another parent meanwhile is not; one that has
 * two places in its parent is. */
static bool is_new(struct held was, struct held now)
{
    return was.offset != now.offset || (was.parent == now.parent && was.index != now.index);
}

/* The child in which the walk goes on, and its bounds. false: this is no node, or no longer. */
static bool narrow(const struct pass *c, struct tour *t, const struct inner_words *node, unsigned *index)
{
    const unsigned count = count_of(node->head);
    struct edge low = t->low, edge;

    if (count == 0 || count > INNER_CHILDREN)
        return false;
    for (*index = 0; *index + 1 < count; ++*index) {
        if ((edge = edge_of(c, node->separators[*index])).key == NULL)
            return false;
        if (t->from.key == NULL || before(t->from, edge)) {
            t->high = edge;
            t->next = slot_version(node->separators[*index]);
            break;
        }
        low = edge;
    }
    t->low = low;
    return true;
}

/* From the root to the next leaf. Nothing is said yet. false: there is no way to it. */
static bool go_down(struct pass *c, struct tour *t, struct held *leaf)
{
    struct held now = {.offset = 0};
    struct inner_words node;

    pass_follow(c);
    t->count = 0;
    uint64_t root = pass_link(c, &view_of(c->s)->directory, &t->links[0]), levels = tree_levels(root);
    t->low = t->high = (struct edge){NULL, 0};
    t->next = 0;
    *leaf = now;
    if (root != 0 && (levels == 0 || levels > TREE_LEVELS_MAX))
        return false;
    now.offset = index_offset(root);
    for (unsigned level = (unsigned)levels; level-- > 1 && now.offset != 0;) {
        struct met *met = &t->met[t->count++];

        *met = (struct met){.node = now, .level = level, .first = is_new(t->held[level], now)};
        if (!copy_node(c, now.offset, (uint64_t *)&node, sizeof node) ||
            (met->first && (met->what = no_way(c, &node, t->low, t->high, &met->word)) != NULL) ||
            !narrow(c, t, &node, &now.index))
            return false;
        now.parent = now.offset;
        now.offset = node.children[now.index];
        t->links[t->count] = (struct link){&((struct inner *)pass_at(c, now.parent))->children[now.index], now.offset};
    }
    *leaf = now;
    return true;
}

/* Go through the next leaf, and hold what is new on the way. */
static enum step tree_step(struct pass *c, void *walk, bool patient)
{
    struct tour *t = walk;
    struct edge to = {NULL, 0};
    struct leaf_words leaf;
    struct held now;

    const bool way = go_down(c, t, &now);
    const bool fits = now.offset == 0 || copy_node(c, now.offset, (uint64_t *)&leaf, sizeof leaf);
    if (t->high.key != NULL) {
        to = (struct edge){c->bounds[1], t->high.len};
        racy_copy(c->bounds[1], t->high.key, t->high.len);
    }
    if (!pass_sure(c, !way || !fits, patient) || !pass_led(c, t->links, way ? t->count + 1 : t->count))
        return STEP_AGAIN;

    c->found.partial |= !way || !fits;
    if (!way && t->count == 0)
        wrong(c, 4, "the tree's root is damaged", t->links[0].to, 0);
    for (unsigned i = 0; i < t->count; i++) {
        const struct met *met = &t->met[i];
        t->held[met->level] = met->node;
        /* also one whose block has been another node, and met as that, is gone through: the keys lead to the end */
        if (met->first)
            pass_hold_all(c, met->node.offset, PART_INDEX, sizeof(struct inner));
        if (met->what != NULL)
            wrong(c, 4, met->what, met->node.offset, met->word);
    }
    if (now.offset != 0) {
        pass_hold_all(c, now.offset, PART_INDEX, sizeof leaf);
        if (fits)
            check_leaf(c, now.offset, &leaf, t->from, to);
    }
    if (t->next == 0)
        return STEP_LAST;
    pass_hold_all(c, t->next, PART_INDEX, sizeof(struct separator));
    t->from = to;
    uint8_t *other = c->bounds[0];
    c->bounds[0] = c->bounds[1];
    c->bounds[1] = other;
    return STEP_DONE;
}

void pass_tree(struct pass *c)
{
    struct tour t = {.next = 0};
    pass_walk(c, tree_step, &t);
}

/* ---- Cleared trees ------------------------------------------------------------------------------------ */

static void hold_node(struct pass *c, uint64_t offset, unsigned level, uint64_t cursor, bool on_its_way)
{
    unsigned digit = on_its_way ? tree_digit(cursor, level) : 0;

    if (level == 0) {
        const struct leaf *leaf = pass_hold_all(c, offset, PART_SUPERSEDED, sizeof *leaf);
        for (unsigned i = digit; leaf != NULL && i < LEAF_SLOTS; i++) {
            uint64_t slot = pass_word(c, &leaf->slots[i]);
            if (slot != 0 && !is_hole(slot))
                pass_hold_all(c, slot_version(slot), PART_SUPERSEDED, 0);
        }
        return;
    }
    const struct inner *node = pass_hold_all(c, offset, PART_SUPERSEDED, sizeof *node);
    unsigned count = node != NULL ? count_of(get(&node->head)) : 0;
    for (unsigned i = digit; i < count && i < INNER_CHILDREN; i++) {
        if (i + 1 < count && i + 1 < INNER_CHILDREN)
            pass_hold_all(c, slot_version(pass_word(c, &node->separators[i])), PART_SUPERSEDED, 0);
        uint64_t child = pass_word(c, &node->children[i]);
        if (child != 0)
            hold_node(c, child, level - 1, cursor, on_its_way && i == digit);
    }
}

void pass_cleared_tree(struct pass *c, uint64_t word, uint64_t from)
{
    uint64_t levels = tree_levels(word);
    if (word == 0)
        return;
    if (levels == 0 || levels > TREE_LEVELS_MAX)
        wrong(c, 4, "the tree's root is damaged", word, 0);
    else
        hold_node(c, index_offset(word), (unsigned)levels - 1, from, from != 0);
}
