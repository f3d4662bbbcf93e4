/* SPDX-License-Identifier: MIT */
/*
 * Salvage; see salvage.h.
 *
 * The way to a key ends at the node that is torn, or leads to it. The least separator behind the key, of any node on
 * the way, is where the next part begins: of the node's sibling, or of one of an ancestor's. The walk goes on there,
 * and by the order of its keys it meets each once and comes to an end, whatever a torn node says.
 */
#include "salvage.h"
#include "node.h"

struct edge salvage_next(const struct store *s, uint64_t root, const void *from, size_t from_len)
{
    struct edge next = {NULL, 0};
    struct way way;

    if (from == NULL)
        from = "";
    way_find(s, root, from, from_len, false, &way); /* as far as it comes */
    for (unsigned i = 0; i < way.count; i++) {
        const struct inner *node = way.steps[i].node;
        unsigned count = node != NULL ? count_of(get(&node->head)) : 0;
        for (unsigned j = 0; count <= INNER_CHILDREN && j + 1 < count; j++) {
            struct edge separator = separator_key(s, peek(&node->separators[j]));
            if (separator.key != NULL && racy_order(separator.key, separator.len, from, from_len) > 0 &&
                (next.key == NULL || racy_order(separator.key, separator.len, next.key, next.len) < 0))
                next = separator;
        }
    }
    return next;
}
