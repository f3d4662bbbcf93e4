/* SPDX-License-Identifier: MIT */
/*
 * heird: the keeper of <heir/keeper.h> as a daemon.
 *
 * It stays in the foreground and logs to stderr, a line a write. The signals that end it are blocked before the
 * keeper's threads are started, so that they inherit the mask and only main() ever takes one. Being killed is as good
 * an end as SIGTERM: tables and owners stay in shared memory for the next keeper.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <heir/keeper.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { DONE = 0, CANNOT_START = 1, WRONG_USAGE = 2 };

struct settings {
    struct heir_keeper_options keeper;
    int ready_fd; /* -1: nobody waits */
    bool verbose;
};

static const char help[] =
    "heird: keep the tables of a namespace in shared memory and hand them on when their owners die\n"
    "\n"
    "usage: heird [options]\n"
    "\n"
    "  --namespace N       the world of tables to keep (default: $HEIR_NAMESPACE, else \"default\")\n"
    "  --socket PATH       where clients connect (default: $HEIR_SOCKET, else $XDG_RUNTIME_DIR/heir/N.sock,\n"
    "                      else /run/heir/N.sock for root, else /tmp/heir-UID/N.sock)\n"
    "  --socket-mode MODE  who may connect, in octal (default: 0600, this user alone)\n"
    "  --ready-fd FD       write the line READY to this descriptor as soon as clients can connect\n"
    "  --max-clients N     what one user may have, but root and heird's own: clients (default 1000), tables that it\n"
    "  --max-tables N      created (10000), and bytes of their max_bytes (no limit); 0: no limit\n"
    "  --max-bytes N\n"
    "  --no-huge-pages     leave the memory of large tables in 4 KiB pages\n"
    "  --purge             first remove the tables and clients that an earlier keeper left, instead of adopting them\n"
    "  --verbose           log what is done in detail, too\n"
    "  --version           print the version\n"
    "  --help              print this\n"
    "\n"
    "It runs in the foreground and logs to stderr. SIGTERM or SIGINT stops it; its tables stay for the next keeper\n"
    "of the namespace, and programs that own or read them go on meanwhile. Under systemd: Type=notify.\n"
    "\n"
    "Exit status: 0 stopped by a signal, 1 cannot start, 2 wrong usage.\n";

/* ---- Log ---------------------------------------------------------------------------------------------- */

static const char *level_text(enum heir_log_level level)
{
    switch (level) {
    case HEIR_LOG_ERROR:
        return "error: ";
    case HEIR_LOG_DEBUG:
        return "debug: ";
    default:
        return "";
    }
}

/* One write for the whole line: processes that share a log file never mix within a line. */
static void log_line(enum heir_log_level level, const char *line, void *arg)
{
    const struct settings *settings = arg;
    if (level >= HEIR_LOG_DEBUG && !settings->verbose)
        return;

    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    char text[2048];
    size_t used = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(text + used, sizeof text - used, ".%06ldZ heird[%d]: %s", now.tv_nsec / 1000,
                             (int)getpid(), level_text(level));
    size_t begin = used;
    int wanted = snprintf(text + used, sizeof text - used, "%s", line);
    used = wanted < (int)(sizeof text - used) ? used + (size_t)wanted : sizeof text - 1;
    for (size_t i = begin; i < used; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < ' ' || byte == 0x7f)
            text[i] = '?';
    }
    text[used++] = '\n';
    while (write(STDERR_FILENO, text, used) < 0 && errno == EINTR)
        ;
}

static void log_format(struct settings *settings, enum heir_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void log_format(struct settings *settings, enum heir_log_level level, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log_line(level, line, settings);
}

/* ---- Telling that it is ready ------------------------------------------------------------------------- */

/* The protocol of sd_notify(3): a datagram to $NOTIFY_SOCKET, where a leading '@' stands for the abstract namespace's 0
 * byte. */
static void notify_manager(struct settings *settings, const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || path[0] == '\0')
        return;

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || length >= sizeof address.sun_path) {
        log_format(settings, HEIR_LOG_ERROR,
                   "cannot tell the service manager %s: $NOTIFY_SOCKET must be a path of at most %zu bytes that begins "
                   "with / or @",
                   state, sizeof address.sun_path - 1);
        return;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = '\0';

    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
        log_format(settings, HEIR_LOG_ERROR, "cannot tell the service manager %s at $NOTIFY_SOCKET=%s: %s", state, path,
                   strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void notify_ready_fd(struct settings *settings)
{
    static const char ready[] = "READY\n";
    int fd = settings->ready_fd;
    if (fd < 0)
        return;

    ssize_t written;
    do
        written = write(fd, ready, sizeof ready - 1);
    while (written < 0 && errno == EINTR);
    if (written != (ssize_t)sizeof ready - 1)
        log_format(settings, HEIR_LOG_ERROR, "cannot write READY to the descriptor %d of --ready-fd: %s", fd,
                   written < 0 ? strerror(errno) : "it took a part of the line only");
    /* Who reads until the end of the file is not to wait for the end of heird. */
    if (fd > STDERR_FILENO)
        close(fd);
    settings->ready_fd = -1;
}

/* ---- Command line ------------------------------------------------------------------------------------- */

static int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int usage_error(const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    fprintf(stderr, "heird: %s (heird --help tells more)\n", sentence);
    return WRONG_USAGE;
}

static bool parse_number(const char *text, int base, unsigned long max, unsigned long *number)
{
    char *end;
    errno = 0;
    *number = strtoul(text, &end, base);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *number <= max;
}

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct settings *settings)
{
    enum {
        NAMESPACE = 256,
        SOCKET,
        SOCKET_MODE,
        READY_FD,
        MAX_CLIENTS,
        MAX_TABLES,
        MAX_BYTES,
        NO_HUGE_PAGES,
        PURGE,
        VERBOSE,
        VERSION,
        HELP
    };
    static const struct option options[] = {
        {"namespace", required_argument, NULL, NAMESPACE},
        {"socket", required_argument, NULL, SOCKET},
        {"socket-mode", required_argument, NULL, SOCKET_MODE},
        {"ready-fd", required_argument, NULL, READY_FD},
        {"max-clients", required_argument, NULL, MAX_CLIENTS},
        {"max-tables", required_argument, NULL, MAX_TABLES},
        {"max-bytes", required_argument, NULL, MAX_BYTES},
        {"no-huge-pages", no_argument, NULL, NO_HUGE_PAGES},
        {"purge", no_argument, NULL, PURGE},
        {"verbose", no_argument, NULL, VERBOSE},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    unsigned long number;
    int option, index = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", options, &index)) != -1) {
        switch (option) {
        case NAMESPACE:
            if (optarg[0] == '\0')
                return usage_error("--namespace wants a name of 1 to %d of A-Z a-z 0-9 _ -", HEIR_NAME_MAX);
            settings->keeper.ns = optarg;
            break;
        case SOCKET:
            if (optarg[0] == '\0')
                return usage_error("--socket wants the path of the socket to make");
            settings->keeper.socket = optarg;
            break;
        case SOCKET_MODE:
            if (!parse_number(optarg, 8, 0777, &number) || number == 0)
                return usage_error("--socket-mode wants permissions in octal from 0001 to 0777, such as 0660, not '%s'",
                                   optarg);
            settings->keeper.socket_mode = (unsigned)number;
            break;
        case READY_FD:
            if (!parse_number(optarg, 10, INT_MAX, &number))
                return usage_error("--ready-fd wants the number of an open descriptor, not '%s'", optarg);
            if (fcntl((int)number, F_GETFL) < 0 || (fcntl((int)number, F_GETFL) & O_ACCMODE) == O_RDONLY)
                return usage_error(
                    "--ready-fd %s is not open for writing: open it first, as in `heird --ready-fd 3 3>file`", optarg);
            settings->ready_fd = (int)number;
            break;
        case MAX_CLIENTS:
        case MAX_TABLES:
        case MAX_BYTES:
            if (!parse_number(optarg, 10, ULONG_MAX, &number))
                return usage_error("--%s wants a number, 0 for no limit, not '%s'", options[index].name, optarg);
            *(option == MAX_CLIENTS  ? &settings->keeper.clients_per_uid
              : option == MAX_TABLES ? &settings->keeper.tables_per_uid
                                     : &settings->keeper.bytes_per_uid) = number != 0 ? number : UINT64_MAX;
            break;
        case NO_HUGE_PAGES:
            settings->keeper.no_huge_pages = true;
            break;
        case PURGE:
            settings->keeper.purge = true;
            break;
        case VERBOSE:
            settings->verbose = true;
            break;
        case VERSION:
            printf("heird %s\n", heir_version());
            return fflush(stdout) == 0 ? DONE : CANNOT_START;
        case HELP:
        case 'h':
            fputs(help, stdout);
            return fflush(stdout) == 0 ? DONE : CANNOT_START;
        case ':':
            return usage_error("%s wants a value", argv[optind - 1]);
        default:
            return usage_error("there is no option %s, or not in this form", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return usage_error("'%s' is one argument too many: heird takes options only", argv[optind]);
    return -1;
}

static const char *ns_text(const struct settings *settings)
{
    const char *ns = settings->keeper.ns != NULL ? settings->keeper.ns : getenv("HEIR_NAMESPACE");
    return ns != NULL ? ns : "default";
}

/* The library's sentences are for every call; at a start it is known what they mean. */
static const char *start_error_text(int error)
{
    switch (error) {
    case -EBUSY:
        return "a keeper runs for it, or another one listens at the socket: stop that one (heirctl ping tells its "
               "pid), or "
               "choose another --namespace and --socket";
    case -EINVAL:
        return "a namespace has 1 to 63 of A-Z a-z 0-9 _ -, and a socket is a path that is not empty: see --namespace, "
               "--socket, $HEIR_NAMESPACE and $HEIR_SOCKET";
    case -EACCES:
    case -EPERM:
        return "permission denied: the socket's folder, or what the namespace has in /dev/shm, belongs to another "
               "user; run "
               "heird as that user, or choose another --namespace or --socket";
    case -ENOENT:
    case -ENOTDIR:
        return "the folder of the socket does not exist: make it, or choose another --socket";
    case -ENOSPC:
        return "/dev/shm is full (df /dev/shm): make room there (docker run has --shm-size for it)";
    default:
        return heir_strerror(error);
    }
}

/* ---- The process -------------------------------------------------------------------------------------- */

/* Started with 0, 1 or 2 closed, the next descriptor opened would take the number, and a log line end in a client's
 * socket. */
static bool fill_standard_fds(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* A keeper holds several descriptors for each client and table. The soft limit is often 1024 for the sake of select(2).
 */
static void raise_fd_limit(struct settings *settings)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_format(settings, HEIR_LOG_ERROR, "cannot raise the limit of open files to %ju: %s",
                   (uintmax_t)limit.rlim_max, strerror(errno));
}

static void block_signals(sigset_t *ending)
{
    struct sigaction hangup;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(ending);
    sigaddset(ending, SIGTERM);
    sigaddset(ending, SIGINT);
    /* Linux keeps a blocked signal for sigwait() even if it is ignored: nohup would be without effect. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(ending, SIGHUP);
    pthread_sigmask(SIG_BLOCK, ending, NULL);
}

int main(int argc, char **argv)
{
    struct settings settings = {.ready_fd = -1};
    int status = parse(argc, argv, &settings);
    if (status >= 0)
        return status;
    if (!fill_standard_fds())
        return CANNOT_START;
    settings.keeper.log = log_line;
    settings.keeper.log_arg = &settings;

    sigset_t ending;
    block_signals(&ending);
    raise_fd_limit(&settings);

    struct heir_keeper *keeper;
    int error = heir_keeper_start(&settings.keeper, &keeper);
    if (error < 0) {
        log_format(&settings, HEIR_LOG_ERROR, "cannot start a keeper for the namespace '%s': %s", ns_text(&settings),
                   start_error_text(error));
        return CANNOT_START;
    }
    log_format(&settings, HEIR_LOG_NOTICE, "ready: libheir %s keeps the namespace '%s'", heir_version(),
               ns_text(&settings));
    notify_ready_fd(&settings);
    notify_manager(&settings, "READY=1");

    int taken;
    while (sigwait(&ending, &taken) != 0)
        ;
    log_format(&settings, HEIR_LOG_NOTICE, "stopping on SIG%s; the tables stay for the next keeper",
               sigabbrev_np(taken));
    notify_manager(&settings, "STOPPING=1");
    heir_keeper_stop(keeper);
    return DONE;
}
