/* SPDX-License-Identifier: MIT */
/*
 * Walking over a damaged tree: where it goes on behind a part that cannot be read.
 */
#ifndef HEIR_SALVAGE_H
#define HEIR_SALVAGE_H

#include "version.h"

/* The first key behind `from` (NULL: behind nothing) at which another part of the tree begins, as far as the nodes on
 * the way to `from` can be read. No key: there is none. */
APART struct edge salvage_next(const struct store *s, uint64_t root, const void *from, size_t from_len);

#endif
