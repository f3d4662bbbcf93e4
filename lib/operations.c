/* SPDX-License-Identifier: MIT */
/*
 * What an operation on an object runs through, as one unit: it is many small functions, and a seventh of its time went
 * into calling them.
 */
#include "format/robust.c"

#include "engine/undo.c"

#include "engine/space.c"

#include "engine/history.c"

#include "engine/index.c"

#include "engine/change.c"

#include "engine/objects.c"

#include "engine/read.c"

#include "protocol/owner.c"

#include "client/object.c"
