/* SPDX-License-Identifier: MIT */
/*
 * Errors as a sentence on stderr and as an object on stdout, and the small helpers for JSON.
 */
#include "heirctl.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *ctl_ns(const struct ctl *ctl)
{
    if (ctl->ns != NULL)
        return ctl->ns;
    const char *ns = getenv("HEIR_NAMESPACE");
    return ns != NULL ? ns : "default";
}

struct heir_open_options ctl_options(const struct ctl *ctl)
{
    return (struct heir_open_options){.ns = ctl->ns, .socket = ctl->socket, .name = "heirctl"};
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

/* json_string() refuses what is not UTF-8; such text comes from the command line only, and is said in the form for
 * bytes. */
json_t *json_text(const char *text)
{
    if (text == NULL)
        return json_null();
    json_t *string = json_string(text);
    if (string == NULL) {
        char *hexadecimal = bytes_text(text, strlen(text));
        string = json_string(hexadecimal);
        free(hexadecimal);
    }
    return string;
}

json_t *json_error(int error, const char *message)
{
    const char *name = error == 0 ? NULL : strerrorname_np(abs(error));
    json_t *object = json_object();
    json_object_set_new(object, "errno", json_text(name));
    json_object_set_new(object, "message", json_text(message));
    return object;
}

enum exit_status json_print(json_t *object)
{
    if (object == NULL || json_dumpf(object, stdout, JSON_INDENT(2)) < 0) {
        fprintf(stderr, "heirctl: cannot write JSON to stdout: %s\n", strerror(errno));
        json_decref(object);
        return REFUSED;
    }
    putchar('\n');
    json_decref(object);
    return DONE;
}

enum exit_status ctl_flush(const struct ctl *ctl, enum exit_status status)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == DONE) {
        struct ctl plain = *ctl;
        plain.json = false;
        return ctl_fail(&plain, REFUSED, -errno, "cannot write to stdout: %s", strerror(errno));
    }
    return status;
}

/* ---- Errors ------------------------------------------------------------------------------------------- */

static enum exit_status say(const struct ctl *ctl, enum exit_status status, int error, char *sentence)
{
    text_clean(sentence);
    fflush(stdout);
    progress_clear();
    fprintf(stderr, "heirctl: %s\n", sentence);
    if (ctl->json) {
        json_t *object = json_object();
        json_t *inner = json_error(error, sentence);
        json_object_set_new(inner, "exit", json_integer(status));
        json_object_set_new(object, "error", inner);
        json_print(object);
    }
    return status;
}

enum exit_status ctl_fail(const struct ctl *ctl, enum exit_status status, int error, const char *format, ...)
{
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return say(ctl, status, error, sentence);
}

enum exit_status ctl_fail_error(const struct ctl *ctl, int error, const char *format, ...)
{
    char what[512], sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(sentence, sizeof sentence, "%s: %s", what, heir_strerror(error));
    return say(ctl, error == -ECONNREFUSED ? NO_KEEPER : REFUSED, error, sentence);
}

enum exit_status ctl_fail_usage(const struct ctl *ctl, const char *format, ...)
{
    char what[512], sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(sentence, sizeof sentence, "%s (heirctl %s%s--help tells more)", what, ctl->verb ? ctl->verb->name : "",
             ctl->verb ? " " : "");
    return say(ctl, WRONG_USAGE, 0, sentence);
}

enum exit_status ctl_fail_no_table(const struct ctl *ctl, const char *table)
{
    return ctl_fail(ctl, REFUSED, -ENOENT,
                    "there is no table '%s' in the namespace '%s'; heirctl ls shows the tables there are", table,
                    ctl_ns(ctl));
}
