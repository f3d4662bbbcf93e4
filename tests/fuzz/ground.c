/* SPDX-License-Identifier: MIT */
/* See ground.h. */
#include "ground.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct ground ground;

static pid_t whose;

void ground_wrong(const char *file, int line, const char *what, int rc)
{
    fprintf(stderr, "%s:%d: %s: %d (%s)\n", file, line, what, rc, rc < 0 ? strerror(-rc) : "");
    abort();
}

void ground_clear(void)
{
    char prefix[80];
    struct dirent *entry;
    DIR *shm = opendir("/dev/shm");

    snprintf(prefix, sizeof prefix, "heir.%s.", ground.ns);
    while (shm != NULL && (entry = readdir(shm)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && unlinkat(dirfd(shm), entry->d_name, 0) < 0)
            unlinkat(dirfd(shm), entry->d_name, AT_REMOVEDIR);
    }
    if (shm != NULL)
        closedir(shm);
}

static void clear_all(void)
{
    if (getpid() != whose)
        return;
    ground_clear();
    unlink(ground.socket);
    rmdir(ground.folder);
}

/* A child that lives as long as this process, and no longer. */
static void watch_over(void)
{
    int alive[2];
    char byte;

    if (pipe2(alive, O_CLOEXEC) < 0)
        abort();
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid > 0) {
        close(alive[0]);
        return;
    }
    setsid(); /* no ^C for it */
    signal(SIGALRM, SIG_IGN);
    dup2(alive[0], 0);
    for (int fd = 1; fd < 256; fd++)
        close(fd);
    while (read(0, &byte, 1) < 0 && errno == EINTR) {
    }
    whose = getpid();
    clear_all();
    _exit(0);
}

void ground_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    if (tmp == NULL || tmp[0] == '\0' || strlen(tmp) > 30)
        tmp = "/tmp";
    whose = getpid();
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    snprintf(ground.ns, sizeof ground.ns, "fuzz-%d", (int)whose);
    snprintf(ground.folder, sizeof ground.folder, "%s/heir-fuzz-XXXXXX", tmp);
    if (mkdtemp(ground.folder) == NULL)
        abort();
    snprintf(ground.socket, sizeof ground.socket, "%s/s", ground.folder);
    watch_over();
    atexit(clear_all);
}

int ground_keeper(struct heir_keeper **keeper)
{
    struct heir_keeper_options options = {.ns = ground.ns, .socket = ground.socket};
    return heir_keeper_start(&options, keeper);
}

int ground_open(const char *name, int timeout_ms, struct heir **client)
{
    struct heir_open_options options = {
        .ns = ground.ns, .socket = ground.socket, .name = name, .timeout_ms = timeout_ms};
    return heir_open(&options, client);
}

int ground_descriptors(void)
{
    int n = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder != NULL && readdir(folder) != NULL)
        n++;
    if (folder != NULL)
        closedir(folder);
    return n;
}

/* ---- Without libFuzzer -------------------------------------------------------------------------------- */

#define HANGS 40 /* s for one input: told before the test is over its time */

static uint8_t input[4096];
static size_t input_size;

uint64_t ground_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void tell_input(int signal)
{
    static const char digits[] = "0123456789abcdef", hangs[] = "it hangs; input: ", crashed[] = "it crashed; input: ";
    static char text[2 * sizeof input + 1];
    char *out = text;
    for (size_t i = 0; i < input_size; i++) {
        *out++ = digits[input[i] >> 4];
        *out++ = digits[input[i] & 15];
    }
    *out++ = '\n';
    ssize_t ignored = signal == SIGALRM ? write(STDERR_FILENO, hangs, sizeof hangs - 1)
                                        : write(STDERR_FILENO, crashed, sizeof crashed - 1);
    ignored = write(STDERR_FILENO, text, (size_t)(out - text));
    (void)ignored;
    raise(signal);
}

static int run_file(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        perror(path);
        return 1;
    }
    if (S_ISDIR(st.st_mode)) {
        DIR *folder = opendir(path);
        struct dirent *entry;
        int r = 0;
        while (folder != NULL && (entry = readdir(folder)) != NULL) {
            char inside[4096];
            snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
            if (entry->d_name[0] != '.')
                r |= run_file(inside);
        }
        if (folder != NULL)
            closedir(folder);
        return r;
    }
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    input_size = fread(input, 1, sizeof input, f);
    fclose(f);
    alarm(HANGS);
    return LLVMFuzzerTestOneInput(input, input_size);
}

int ground_main(int argc, char **argv, const char *name, size_t step, size_t most)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    const char *longer = getenv("HEIR_TEST_SECONDS");
    char *end = NULL;
    /* the short run is the same every time; who gives it time looks for what is new */
    uint64_t seed = argc > 1 ? strtoull(argv[1], &end, 10) : longer != NULL ? (uint64_t)time(NULL) : 1;
    uint64_t random = seed, runs = 0;
    double seconds = argc > 2 ? atof(argv[2]) : longer != NULL ? atof(longer) : 10;

    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++) {
        struct sigaction action = {.sa_handler = tell_input, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)}, now;
        sigaction(deadly[i], NULL, &now);
        if (now.sa_handler == SIG_DFL) /* else it is a sanitizer's, which has more to tell */
            sigaction(deadly[i], &action, NULL);
    }
    if (argc > 1 && *end != '\0')
        return run_file(argv[1]);
    printf("# fuzz-%s: seed %lu\n", name, (unsigned long)seed);
    fflush(stdout);
    for (time_t until = time(NULL) + (time_t)seconds; time(NULL) <= until; runs++) {
        input_size = 1 + (1 + ground_random(&random) % most) * step;
        for (size_t i = 0; i < input_size; i++)
            input[i] = (uint8_t)ground_random(&random);
        for (size_t i = 1; i < input_size; i += step) { /* small numbers, too */
            uint64_t value = ground_random(&random) >> ground_random(&random) % 64;
            memcpy(input + i + step - sizeof value, &value, sizeof value);
        }
        alarm(HANGS);
        LLVMFuzzerTestOneInput(input, input_size);
    }
    printf("fuzz-%s: %lu inputs\n", name, (unsigned long)runs);
    return 0;
}
