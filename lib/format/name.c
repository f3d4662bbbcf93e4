/* SPDX-License-Identifier: MIT */
/* Names; see name.h. */
#include "name.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool valid(const char *name, const char *more)
{
    size_t n = 0;
    for (; name[n] != '\0'; n++) {
        if (n == HEIR_NAME_MAX || (!letter(name[n]) && strchr(more, name[n]) == NULL))
            return false;
    }
    return n > 0 && name[0] != '.';
}

bool name_valid(const char *name)
{
    return name != NULL && valid(name, ".");
}

int name_space(const char *ns, char out[NAME_ROOM])
{
    if (ns == NULL)
        ns = secure_getenv("HEIR_NAMESPACE");
    if (ns == NULL)
        ns = "default";
    if (!valid(ns, ""))
        return -EINVAL;
    memset(out, 0, NAME_ROOM);
    strcpy(out, ns);
    return 0;
}

int name_socket(const char *socket, const char *ns, char out[SOCKET_ROOM], bool *folder)
{
    const char *run = secure_getenv("XDG_RUNTIME_DIR");
    int n;

    if (folder != NULL)
        *folder = false;
    if (socket == NULL)
        socket = secure_getenv("HEIR_SOCKET");
    if (socket != NULL) {
        n = snprintf(out, SOCKET_ROOM, "%s", socket);
    } else {
        if (folder != NULL)
            *folder = true;
        if (run != NULL && run[0] == '/')
            n = snprintf(out, SOCKET_ROOM, "%s/heir/%s.sock", run, ns);
        else if (geteuid() == 0)
            n = snprintf(out, SOCKET_ROOM, "/run/heir/%s.sock", ns);
        else
            n = snprintf(out, SOCKET_ROOM, "/tmp/heir-%u/%s.sock", (unsigned)geteuid(), ns);
    }
    if (n == 0)
        return -EINVAL;
    return n >= SOCKET_ROOM ? -ENAMETOOLONG : 0;
}

int name_folder_safe(const char *socket)
{
    char folder[SOCKET_ROOM];
    struct stat st;

    strcpy(folder, socket);
    *strrchr(folder, '/') = '\0';
    if (lstat(folder, &st) < 0)
        return errno == ENOENT ? 0 : -EACCES;
    return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 022) == 0 ? 0 : -EACCES;
}

int name_role(const char *name, char out[NAME_ROOM])
{
    memset(out, 0, NAME_ROOM);
    if (name != NULL) {
        if (!name_valid(name) || strcmp(name, HEIR_NOBODY) == 0)
            return -EINVAL;
        strcpy(out, name);
        return 0;
    }
    snprintf(out, NAME_ROOM, "%s", program_invocation_short_name);
    for (size_t i = 0; out[i] != '\0'; i++) {
        if (!letter(out[i]) && (out[i] != '.' || i == 0))
            out[i] = '_';
    }
    if (out[0] == '\0')
        strcpy(out, "client");
    return 0;
}

void name_show(const char *found, char out[NAME_ROOM])
{
    size_t n = 0;
    for (; n < HEIR_NAME_MAX && found[n] != '\0'; n++)
        out[n] = letter(found[n]) || found[n] == '.' ? found[n] : '?';
    memset(out + n, 0, NAME_ROOM - n);
}

int name_heir(const char *heir, char out[NAME_ROOM])
{
    memset(out, 0, NAME_ROOM);
    if (heir == NULL || heir[0] == '\0')
        return 0;
    if (!name_valid(heir)) /* HEIR_NOBODY, "-", is of valid form */
        return -EINVAL;
    strcpy(out, heir);
    return 0;
}
