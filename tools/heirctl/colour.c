/* SPDX-License-Identifier: MIT */
/*
 * Colours, for people at a terminal who have not set NO_COLOR: red is what is broken, yellow what wants a look.
 */
#include "heirctl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool colours_wanted(void)
{
    static int wanted = -1;
    if (wanted < 0) {
        const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
        wanted =
            (no == NULL || no[0] == '\0') && terminal != NULL && strcmp(terminal, "dumb") != 0 && isatty(STDOUT_FILENO);
    }
    return wanted == 1;
}

void colour_begin(enum colour colour)
{
    static const char *const codes[] = {[PLAIN] = "", [BOLD] = "\033[1m", [RED] = "\033[31m", [YELLOW] = "\033[33m"};
    if (colours_wanted())
        fputs(codes[colour], stdout);
}

void colour_end(enum colour colour)
{
    if (colour != PLAIN && colours_wanted())
        fputs("\033[m", stdout);
}

enum colour state_colour(char state)
{
    return state == 'R' || state == '\0' ? PLAIN : YELLOW;
}
