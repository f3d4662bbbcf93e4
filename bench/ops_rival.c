/* SPDX-License-Identifier: MIT */
/* How does `ops` measure a store that it cannot call? See ops_rival.h. */
#include "ops_rival.h"

#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define EXIT_NOT_HERE 77

void rival_name(const char *script, char *name, size_t size)
{
    const char *base = strrchr(script, '/') ? strrchr(script, '/') + 1 : script;

    snprintf(name, size, "%.*s", (int)strcspn(base, "."), base);
}

static void read_line(char *line, bool shown, double ns[PHASES])
{
    line[strcspn(line, "\n")] = 0;
    if (line[0] == '#' && shown)
        say("%s", line + 1 + strspn(line + 1, " "));
    for (unsigned phase = 0; phase < PHASES; phase++) {
        size_t n = strlen(phases[phase].name);
        if (strncmp(line, phases[phase].name, n) == 0 && strncmp(line + n, "_ns=", 4) == 0)
            ns[phase] = strtod(line + n + 4, NULL);
    }
}

int rival_run(const char *script, const struct world *world, const struct work *w, bool shown, double ns[PHASES])
{
    char command[128], line[512];
    int status;
    FILE *f;

    snprintf(command, sizeof command, "exec sh \"$BENCH_SCRIPT\" %llu %llu", (unsigned long long)w->n,
             (unsigned long long)w->value_size);
    setenv("BENCH_SCRIPT", script, 1);
    setenv("BENCH_DIR", world->dir, 1);
    fflush(NULL);
    f = popen(command, "re");
    if (!f)
        return fail("%s: %s", script, strerror(errno)), -EIO;
    while (fgets(line, sizeof line, f))
        read_line(line, shown, ns);
    status = pclose(f);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_HERE)
        return -ENOTSUP;
    if (status != 0)
        return fail("%s: ended with status 0x%x", script, (unsigned)status), -EIO;
    return 0;
}
