/* SPDX-License-Identifier: MIT */
/*
 * The question before something is lost. It is asked of a person at a terminal; a script says --yes, and one that
 * forgot it is refused and not left waiting.
 */
#include "heirctl.h"
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

enum exit_status ctl_ask(const struct ctl *ctl, const char *format, ...)
{
    char question[512], answer[16] = "";
    if (ctl->yes)
        return DONE;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return ctl_fail_usage(ctl, "%s cannot be undone, and here is no terminal to ask: say --yes", ctl->verb->name);

    va_list arguments;
    va_start(arguments, format);
    vsnprintf(question, sizeof question, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(answer, sizeof answer, stdin) == NULL)
        fputc('\n', stderr);
    return strcasecmp(answer, "y\n") == 0 || strcasecmp(answer, "yes\n") == 0
               ? DONE
               : ctl_fail(ctl, REFUSED, 0, "nothing was done");
}
