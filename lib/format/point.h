/* SPDX-License-Identifier: MIT */
/*
 * Points at which another process can see what this one has done so far: before every store to shared memory that goes
 * through set() and before every message. The build with HEIR_POINTS has a hook there, by which tests kill or stop a
 * participant at each of them in turn; in all others there is nothing.
 */
#ifndef HEIR_POINT_H
#define HEIR_POINT_H

#ifdef HEIR_POINTS
extern void (*heir_point)(const char *file, int line); /* NULL: none */
#define VISIBLE() (heir_point != NULL ? heir_point(__FILE__, __LINE__) : (void)0)
#else
#define VISIBLE() ((void)0)
#endif

#endif
