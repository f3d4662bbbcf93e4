/* SPDX-License-Identifier: MIT */
/* Names: which are valid, and which namespace, socket and role are meant when nothing is said. */
#ifndef HEIR_NAME_H
#define HEIR_NAME_H

#include "layout.h"
#include <stdbool.h>

#define SOCKET_ROOM 108 /* sizeof sun_path */

/* A table or role name: 1 to 63 of A-Z a-z 0-9 . _ -, not beginning with a dot. */
bool name_valid(const char *name);

/* The namespace: `ns`, else $HEIR_NAMESPACE, else "default". No dots, so that heir.NS.t.TABLE reads in one way only.
 * -EINVAL. */
int name_space(const char *ns, char out[NAME_ROOM]);

/* The socket: `socket`, else what heir_open_options says. -ENAMETOOLONG. *folder (may be NULL): it is in a folder of
 * ours. */
int name_socket(const char *socket, const char *ns, char out[SOCKET_ROOM], bool *folder);

/* Is the folder of a default socket path one that only its user can have put a socket into? -EACCES; a missing one is.
 */
int name_folder_safe(const char *socket);

/* The role: `name`, else the program's name made valid. -EINVAL. */
int name_role(const char *name, char out[NAME_ROOM]);

/* As found in shared memory or in its folder, where anybody may have put it: to be shown, with a ? for each byte that
 * no name has. A terminal obeys some of those. */
void name_show(const char *found, char out[NAME_ROOM]);

/* An heir: "" (also for NULL), HEIR_NOBODY, or a role. -EINVAL. */
int name_heir(const char *heir, char out[NAME_ROOM]);

#endif
