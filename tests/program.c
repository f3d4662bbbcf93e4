/* SPDX-License-Identifier: MIT */
/*
 * Programs from the build's tools folder, run as processes of a test: pipes, deadlines, and nothing that survives the
 * test.
 */
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct program *programs;
static unsigned number;

static int find(const char *name, char *path, size_t size)
{
    const char *folder = getenv("HEIR_TEST_BINDIR");
    if (strchr(name, '/') == name) {
        snprintf(path, size, "%s", name);
        return access(path, X_OK) ? -errno : 0;
    }
    if (!folder) {
        fprintf(stderr, "\nHEIR_TEST_BINDIR must name the folder with heird and heirctl (meson sets it)\n");
        return -ENOENT;
    }
    snprintf(path, size, "%s/%s", folder, name);
    if (access(path, X_OK) == 0)
        return 0;
    snprintf(path, size, "%s/demo/%s", folder, name);
    return access(path, X_OK) ? -errno : 0;
}

static void become(const char *path, const char *const argv[], const int fds[4], pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(127);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL); /* ignored when the tests run under nohup */
    int high[4];             /* first out of the way of 0 to 3 */
    for (int i = 0; i < 4; i++)
        high[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 10);
    for (int i = 0; i < 4; i++)
        if (high[i] >= 0)
            dup2(high[i], i);
        else if (i == 3)
            close(3);
    close_range(4, ~0u, 0);
    execv(path, (char *const *)(uintptr_t)argv);
    dprintf(2, "%s: %s\n", path, strerror(errno));
    _exit(127);
}

/* err: the file for its stderr, NULL for one of its own. fd3: what it gets as descriptor 3, or -1: then it also gets
 * pipes. */
struct program *program_spawn(const char *const argv[], int fd3, const char *err)
{
    char path[512];
    int in[2] = {-1, -1}, out[2] = {-1, -1}, file = -1, rc = find(argv[0], path, sizeof path);
    struct program *program = calloc(1, sizeof *program);
    if (!CHECK(rc == 0 && program, "%s: %s", argv[0], error_text(rc))) {
        free(program);
        return NULL;
    }
    if (err)
        snprintf(program->err, sizeof program->err, "%s", err);
    else
        snprintf(program->err, sizeof program->err, "%s/%u.err", world.dir, ++number);
    file = open(program->err, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd3 < 0) {
        rc = pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ? -errno : 0;
    } else {
        in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        out[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
    }
    fflush(NULL);
    pid_t parent = getpid(), pid = rc || file < 0 ? -1 : fork();
    if (pid == 0)
        become(path, argv, (int[]){in[0], out[1], file, fd3}, parent);
    if (file >= 0)
        close(file);
    if (in[0] >= 0)
        close(in[0]);
    if (out[1] >= 0)
        close(out[1]);
    program->pid = pid;
    program->in = in[1];
    program->out = out[0];
    if (!CHECK(pid > 0, "%s: %s", argv[0], strerror(errno))) {
        program_close_in(program);
        if (program->out >= 0)
            close(program->out);
        free(program);
        return NULL;
    }
    program->next = programs;
    programs = program;
    return program;
}

struct program *program_start(const char *const argv[])
{
    return program_spawn(argv, -1, NULL);
}

void program_close_in(struct program *program)
{
    if (program->in >= 0)
        close(program->in);
    program->in = -1;
}

int program_write(struct program *program, const char *text)
{
    size_t len = strlen(text);
    while (len) {
        ssize_t n = write(program->in, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Read what is there into the buffer: 0, -EPIPE at the end, PROGRAM_HUNG. */
static int more(struct program *program, struct waiting *it)
{
    for (;;) {
        if (!await_readable(program->out, it))
            return PROGRAM_HUNG;
        ssize_t n = read(program->out, program->buffer + program->have, sizeof program->buffer - program->have);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return -EPIPE;
        program->have += (size_t)n;
        return 0;
    }
}

int program_line(struct program *program, char *line, size_t size, int ms)
{
    struct waiting it = waiting_begin(ms);
    for (;;) {
        char *newline = memchr(program->buffer, '\n', program->have);
        size_t len = newline ? (size_t)(newline - program->buffer) : program->have;
        bool full = program->have == sizeof program->buffer;
        int rc = newline || full ? 0 : more(program, &it);
        if (rc == 0 && !newline && !full)
            continue;
        if (rc && (rc != -EPIPE || len == 0))
            return rc;
        size_t used = newline ? len + 1 : len;
        if (len >= size)
            len = size - 1;
        memcpy(line, program->buffer, len);
        line[len] = 0;
        memmove(program->buffer, program->buffer + used, program->have - used);
        program->have -= used;
        return (int)len;
    }
}

void program_signal(struct program *program, int signal)
{
    if (program->pid > 0)
        kill(program->pid, signal);
}

int program_wait(struct program *program, int ms)
{
    bool hung = !await_end(&program->pid, &program->status, ms);
    if (hung) {
        fprintf(stderr, "\nprocess %d did not end within %d ms\n", (int)program->pid, patience(ms));
        kill(program->pid, SIGKILL);
        await_end(&program->pid, &program->status, PATIENCE);
        return PROGRAM_HUNG;
    }
    return WIFSIGNALED(program->status) ? 128 + WTERMSIG(program->status) : WEXITSTATUS(program->status);
}

int program_run(const char *const argv[], const char *input, struct output *output)
{
    memset(output, 0, sizeof *output);
    struct program *program = program_start(argv);
    if (!program)
        return output->code = PROGRAM_HUNG;
    if (input)
        program_write(program, input);
    program_close_in(program);
    size_t len = 0;
    int rc = 0;
    struct waiting it = waiting_begin(2 * PATIENCE);
    while (rc == 0) {
        program->have = 0;
        rc = more(program, &it);
        size_t n = program->have < sizeof output->out - 1 - len ? program->have : sizeof output->out - 1 - len;
        memcpy(output->out + len, program->buffer, n);
        len += n;
    }
    output->code = program_wait(program, rc == PROGRAM_HUNG ? 0 : PATIENCE);
    int file = open(program->err, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, output->err, sizeof output->err - 1) < 0)
            output->err[0] = 0;
        close(file);
    }
    return output->code;
}

int run(struct output *output, ...)
{
    const char *argv[32] = {NULL};
    va_list arguments;
    va_start(arguments, output);
    for (int i = 0; i < 31 && (argv[i] = va_arg(arguments, const char *)); i++)
        ;
    va_end(arguments);
    return program_run(argv, NULL, output);
}

void programs_end(void)
{
    while (programs) {
        struct program *program = programs;
        programs = program->next;
        if (!await_end(&program->pid, &program->status, 0)) {
            CHECK(false, "a program is still running at the end of the test: %d", (int)program->pid);
            kill(program->pid, SIGKILL);
            await_end(&program->pid, &program->status, PATIENCE);
        }
        program_close_in(program);
        if (program->out >= 0)
            close(program->out);
        free(program);
    }
}
