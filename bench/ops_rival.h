/* SPDX-License-Identifier: MIT */
/* A store that cannot be called from C: a script that does the phases itself, and prints what they took. */
#ifndef BENCH_OPS_RIVAL_H
#define BENCH_OPS_RIVAL_H

#include "ops_phases.h"
#include "world.h"

/*
 * Runs `sh SCRIPT OBJECTS VALUE_SIZE`, with $BENCH_DIR a folder for its files (no folders in it), which is removed
 * afterwards. It prints PHASE_ns=NUMBER for each phase it knows, and # lines, which are shown when `shown` is set.
 * ns[] of the others stays 0.
 *
 * The script checks its own store and ends with 0; with 77 when its programs are not installed: -ENOTSUP. Anything else
 * is an error, said: -EIO.
 */
int rival_run(const char *script, const struct world *world, const struct work *w, bool shown, double ns[PHASES]);

/* The script's name without folders and extension. */
void rival_name(const char *script, char *name, size_t size);

#endif
