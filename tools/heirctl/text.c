/* SPDX-License-Identifier: MIT */
/*
 * Text for people: keys and values, sizes, times, names.
 *
 * Bytes are printed as they are when they are printable UTF-8, else as 0x and hexadecimal digits. What begins with 0x
 * is taken as digits, so printable bytes that begin with 0x are printed as digits, too: each form says one thing only,
 * and what was printed can always be given back.
 */
#include "heirctl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *must_resize(void *memory, size_t size)
{
    void *moved = realloc(memory, size > 0 ? size : 1);
    if (moved == NULL) {
        fprintf(stderr, "heirctl: %zu bytes of memory are not to be had; free some and try again\n", size);
        exit(REFUSED);
    }
    return moved;
}

void *must_alloc(size_t size)
{
    return must_resize(NULL, size);
}

/* ---- Bytes -------------------------------------------------------------------------------------------- */

int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

const char *bytes_parse(const char *word, struct bytes *bytes)
{
    size_t len = strlen(word);
    if (len < 2 || word[0] != '0' || word[1] != 'x') {
        bytes->data = must_alloc(len);
        memcpy(bytes->data, word, len);
        bytes->len = len;
        return NULL;
    }
    if (len % 2 != 0)
        return "after 0x stands an odd number of hexadecimal digits";
    bytes->len = len / 2 - 1;
    bytes->data = must_alloc(bytes->len);
    for (size_t i = 0; i < bytes->len; i++) {
        int high = digit_value(word[2 + 2 * i]), low = digit_value(word[3 + 2 * i]);
        if (high < 0 || low < 0) {
            free(bytes->data);
            return "0x begins bytes in hexadecimal digits; text that begins with 0x has to be given so, too "
                   "(0x3078...)";
        }
        bytes->data[i] = (unsigned char)(high << 4 | low);
    }
    return NULL;
}

/* The length of the printable UTF-8 character at the beginning, 0 if there is none. */
static size_t printable_char(const unsigned char *data, size_t len)
{
    unsigned char first = data[0];
    if (first < 0x80)
        return first >= ' ' && first != 0x7f;

    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (first < 0xc2 || first > 0xf4 || size > len)
        return 0;
    uint32_t code = first & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((data[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (data[i] & 0x3f);
    }
    if (code < smallest[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    /* Characters that control a terminal, break the line or turn the order of the ones around them. */
    if (code < 0xa0 || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0xfeff)
        return 0;
    return size;
}

static bool printable(const unsigned char *data, size_t len)
{
    if (len >= 2 && data[0] == '0' && data[1] == 'x')
        return false;
    for (size_t i = 0; i < len;) {
        size_t size = printable_char(data + i, len - i);
        if (size == 0)
            return false;
        i += size;
    }
    return true;
}

char *bytes_text(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    if (printable(bytes, len)) {
        char *text = must_alloc(len + 1);
        if (len > 0)
            memcpy(text, bytes, len);
        text[len] = '\0';
        return text;
    }
    static const char digits[] = "0123456789abcdef";
    char *text = must_alloc(2 * len + 3), *out = text;
    *out++ = '0';
    *out++ = 'x';
    for (size_t i = 0; i < len; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
    return text;
}

void text_clean(char *text)
{
    for (size_t len = strlen(text); len > 0;) {
        size_t size = printable_char((unsigned char *)text, len);
        if (size == 0)
            *text = '?';
        text += size + (size == 0);
        len -= size + (size == 0);
    }
}

enum exit_status key_parse(const struct ctl *ctl, const char *word, struct bytes *key)
{
    const char *problem = bytes_parse(word, key);
    if (problem != NULL)
        return ctl_fail_usage(ctl, "the key '%.64s' cannot be taken: %s", word, problem);
    if (key->len < 1 || key->len > HEIR_KEY_MAX) {
        enum exit_status status =
            ctl_fail_usage(ctl, "a key has 1 to %u bytes, and this one has %zu", HEIR_KEY_MAX, key->len);
        free(key->data);
        return status;
    }
    return DONE;
}

/* ---- Sizes and times ---------------------------------------------------------------------------------- */

void size_text(char out[TEXT_MAX], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double size = (double)bytes;
    /* 1023.95 would be printed as 1024.0 */
    while (size >= 1023.95 && unit < 6) {
        size /= 1024;
        unit++;
    }
    bool whole = unit == 0 || (bytes & ((UINT64_C(1) << 10 * unit) - 1)) == 0;
    snprintf(out, TEXT_MAX, whole ? "%.0f%s" : "%.1f%s", size, units[unit]);
}

bool size_parse(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMG";
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
    if (text[0] < '0' || text[0] > '9' || errno != 0 || end[unit != NULL] != '\0' || number > UINT64_MAX >> shift)
        return false;
    *bytes = (uint64_t)number << shift;
    return true;
}

void duration_text(char out[TEXT_MAX], uint64_t ms)
{
    unsigned long long seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60;
    if (ms < 1000)
        snprintf(out, TEXT_MAX, "%llums", (unsigned long long)ms);
    else if (seconds < 10)
        snprintf(out, TEXT_MAX, "%llu.%llus", seconds, (unsigned long long)ms / 100 % 10);
    else if (minutes == 0)
        snprintf(out, TEXT_MAX, "%llus", seconds);
    else if (hours == 0)
        snprintf(out, TEXT_MAX, "%llum%02llus", minutes, seconds % 60);
    else if (hours < 48)
        snprintf(out, TEXT_MAX, "%lluh%02llum", hours, minutes % 60);
    else
        snprintf(out, TEXT_MAX, "%llud%02lluh", hours / 24, hours % 24);
}

uint64_t age_ms(uint64_t since_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    /* The clock may have been set back. */
    return since_ns != 0 && now_ns > since_ns ? (now_ns - since_ns) / 1000000 : 0;
}

void age_text(char out[TEXT_MAX], uint64_t since_ns)
{
    if (since_ns == 0)
        snprintf(out, TEXT_MAX, "-");
    else
        duration_text(out, age_ms(since_ns));
}

/* ---- Names -------------------------------------------------------------------------------------------- */

static bool name_ok(const char *name, const char *also)
{
    size_t len = strlen(name);
    if (len < 1 || len > HEIR_NAME_MAX || name[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++) {
        char byte = name[i];
        bool letter = (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
        if (!letter && strchr(also, byte) == NULL)
            return false;
    }
    return true;
}

bool table_name_ok(const char *name)
{
    return name_ok(name, "._-");
}

/* Without the dot, which ends it in the names of its shared memory. */
bool ns_name_ok(const char *name)
{
    return name_ok(name, "_-");
}

const char *type_text(enum heir_type type)
{
    switch (type) {
    case HEIR_SET:
        return "set";
    case HEIR_ORDERED_SET:
        return "ordered-set";
    case HEIR_BAG:
        return "bag";
    case HEIR_DUPLICATE_BAG:
        return "duplicate-bag";
    }
    return "unknown";
}

const char *access_text(enum heir_access access)
{
    switch (access) {
    case HEIR_PROTECTED:
        return "protected";
    case HEIR_PUBLIC:
        return "public";
    case HEIR_PRIVATE:
        return "private";
    }
    return "unknown";
}

const char *reason_text(enum heir_reason reason)
{
    switch (reason) {
    case HEIR_CLAIMED:
        return "claimed";
    case HEIR_GIVEN:
        return "given";
    case HEIR_INHERITED:
        return "inherited";
    case HEIR_RELEASED:
        return "released";
    case HEIR_REVOKED:
        return "revoked";
    }
    return "unknown";
}

const char *signal_text(int signal)
{
    static const char *const names[] = {
        [SIGHUP] = "SIGHUP",   [SIGINT] = "SIGINT",       [SIGQUIT] = "SIGQUIT", [SIGILL] = "SIGILL",
        [SIGTRAP] = "SIGTRAP", [SIGABRT] = "SIGABRT",     [SIGBUS] = "SIGBUS",   [SIGFPE] = "SIGFPE",
        [SIGKILL] = "SIGKILL", [SIGUSR1] = "SIGUSR1",     [SIGSEGV] = "SIGSEGV", [SIGUSR2] = "SIGUSR2",
        [SIGPIPE] = "SIGPIPE", [SIGALRM] = "SIGALRM",     [SIGTERM] = "SIGTERM", [SIGXCPU] = "SIGXCPU",
        [SIGXFSZ] = "SIGXFSZ", [SIGVTALRM] = "SIGVTALRM", [SIGPROF] = "SIGPROF", [SIGSYS] = "SIGSYS",
    };
    return signal > 0 && (size_t)signal < sizeof names / sizeof names[0] ? names[signal] : NULL;
}

void cause_text(char out[TEXT_MAX], enum heir_cause cause, int code)
{
    const char *name = signal_text(code);
    switch (cause) {
    case HEIR_CAUSE_NONE:
        out[0] = '\0';
        return;
    case HEIR_CAUSE_SIGNAL:
        snprintf(out, TEXT_MAX, "signal %d%s%s", code, name != NULL ? ", " : "", name != NULL ? name : "");
        return;
    case HEIR_CAUSE_EXIT:
        snprintf(out, TEXT_MAX, "exit %d", code);
        return;
    case HEIR_CAUSE_THREAD:
        snprintf(out, TEXT_MAX, "its thread ended");
        return;
    case HEIR_CAUSE_UNKNOWN:
        break;
    }
    snprintf(out, TEXT_MAX, "unknown");
}

const char *state_text(char state)
{
    switch (state) {
    case 'R':
        return "running";
    case 'T':
        return "stopped";
    case 'D':
        return "dumping";
    case 'Z':
        return "zombie";
    case 'X':
        return "dead";
    default:
        return "unknown";
    }
}
