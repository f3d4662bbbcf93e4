/* SPDX-License-Identifier: MIT */
/* Sentences for errors, and the version. */
#include <errno.h>
#include <heir.h>
#include <stddef.h>

const char *heir_strerror(int error)
{
    switch (error < 0 ? -(unsigned)error : (unsigned)error) {
    case 0:
        return "done";
    case EINVAL:
        return "an argument is out of range: see the function's documentation for names, lengths and options";
    case ENOENT:
        return "there is no such table, key or client";
    case EEXIST:
        return "it exists already: use another name or key, or heir_claim() and heir_put()";
    case EBUSY:
        return "it is in use: wait for its owner or for the end of the transaction, or have an administrator revoke "
               "it; or too much of it: 16 snapshots, feeds and walks a client, 64 edits a transaction";
    case ETIMEDOUT:
        return "the time is over: nothing has come; wait longer, or look with heirctl who owns it";
    case EPERM:
        return "only the owner may do this, and only the thread that began a transaction or opened a client may end "
               "it: claim the table first";
    case ESTALE:
        return "too late: the table has another owner by now (claim it again), or the snapshot was broken because the "
               "table is full (open another one)";
    case ESRCH:
        return "the receiver is dead or unknown: find its successor by role name";
    case ENOSPC:
        return "no space: the table has reached max_bytes, or /dev/shm is full (df /dev/shm); nothing was changed";
    case EDQUOT:
        return "this user has as many clients, tables or bytes as the keeper allows one user (see heird --help), or "
               "this "
               "client as many claims in line: close, destroy or wait for some";
    case ENOBUFS:
        return "the value is longer than the buffer: call again with the length that was returned";
    case ERANGE:
        return "the sum does not fit in 64 bits; the value is unchanged";
    case ENOTSUP:
        return "tables of this type cannot do that: see the function's documentation";
    case EACCES:
        return "permission denied: by the socket's or its folder's mode, or by the table's owner, mode and access";
    case ECONNREFUSED:
        return "no keeper answers: start heird for this namespace, or check the socket path";
    case EPROTONOSUPPORT:
        return "made for another version of libheir, or no keeper at all: run heird, programs and tools of one version";
    case ENAMETOOLONG:
        return "the socket path is longer than 107 bytes: choose a shorter one with --socket or $HEIR_SOCKET";
    case ENOTCONN:
        return "the handle is of no use any more: it is the parent's of a forked process, detached, destroyed, or "
               "purged by the keeper";
    case EUCLEAN:
        return "the shared memory is damaged and has been left alone: copy it away from /dev/shm and remove it";
    case EMSGSIZE:
        return "more than 512 bytes of data: put them into the table";
    case EFBIG:
        return "a value must be shorter than 4 GiB";
    case EALREADY:
        return "that is so already: a transaction is open, or the keeper owns the table";
    case EAGAIN:
        return "the table changes faster than it can be copied without a keeper: start heird, or try again";
    case EPROTOTYPE:
        return "the table exists with another type, key size or value size";
    case ECANCELED:
        return "the value is another than expected, and has not been changed: read it again";
    case EOVERFLOW:
        return "a number that is never used twice has run out: purge the namespace";
    case ENOMEM:
        return "no memory";
    case EMFILE:
        return "this process has too many open files: raise its limit (ulimit -n)";
    case ENFILE:
        return "the system has too many open files";
    case ENOSYS:
        return "the kernel is too old: libheir needs Linux 5.16";
    case EPROTO:
        return "the keeper did not understand the message: run heird, programs and tools of one version";
    default:
        return "unknown error";
    }
}

const char *heir_version(void)
{
    return HEIR_VERSION;
}
