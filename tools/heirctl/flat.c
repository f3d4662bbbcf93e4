/* SPDX-License-Identifier: MIT */
/* The text format of dump and load, written and read; see flat.h. */
#include "flat.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- Writing ------------------------------------------------------------------------------------------ */

void flat_write_header(FILE *file, enum flat_format format, enum heir_type type)
{
    fprintf(file, "VERSION=3\nformat=%s\ntype=btree\n", format == FLAT_PRINT ? "print" : "bytevalue");
    if (type == HEIR_ORDERED_SET)
        fputs("bt_minkey=2\n", file);
    if (type == HEIR_BAG || type == HEIR_DUPLICATE_BAG)
        fputs("duplicates=1\n", file);
    if (type == HEIR_BAG)
        fputs("dupsort=1\n", file);
    fputs("HEADER=END\n", file);
}

void flat_write(FILE *file, enum flat_format format, const void *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;

    putc(' ', file);
    for (size_t i = 0; i < len; i++) {
        if (format == FLAT_PRINT && bytes[i] >= ' ' && bytes[i] <= '~' && bytes[i] != '\\') {
            putc(bytes[i], file);
            continue;
        }
        if (format == FLAT_PRINT)
            putc('\\', file);
        putc(digits[bytes[i] >> 4], file);
        putc(digits[bytes[i] & 15], file);
    }
    putc('\n', file);
}

void flat_write_end(FILE *file)
{
    fputs("DATA=END\n", file);
}

/* ---- Reading lines ------------------------------------------------------------------------------------ */

static bool refuse(struct flat *flat, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(struct flat *flat, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(flat->problem, sizeof flat->problem, format, arguments);
    va_end(arguments);
    return false;
}

void flat_begin(struct flat *flat, FILE *file)
{
    *flat = (struct flat){.file = file, .format = FLAT_BYTEVALUE};
}

void flat_end(struct flat *flat)
{
    free(flat->key.data);
    free(flat->value.data);
}

/* A line without its newline, followed by a 0. False: there is none, or a problem. */
static bool read_line(struct flat *flat, struct bytes *line, size_t *room)
{
    errno = 0;
    ssize_t len = getline((char **)&line->data, room, flat->file);
    if (len < 0 && !feof(flat->file)) {
        flat->line++;
        return refuse(flat, "cannot be read: %s", strerror(errno));
    }
    if (len < 0)
        return false;
    flat->line++;
    if (line->data[len - 1] != '\n')
        return refuse(flat, "the file ends in the middle of the line: it is cut off");
    line->data[--len] = '\0';
    line->len = (size_t)len;
    if (memchr(line->data, '\0', line->len) != NULL)
        return refuse(flat, "a byte 0 is in the line: this is not the text of a dump");
    return true;
}

/* ---- The header --------------------------------------------------------------------------------------- */

struct header {
    bool version, duplicates, dupsort, ordered;
};

static bool take_header(struct flat *flat, struct header *header, const char *name, const char *value)
{
    bool on = strcmp(value, "0") != 0;
    if (strcmp(name, "VERSION") == 0) {
        if (strcmp(value, "3") != 0)
            return refuse(flat, "VERSION=%.32s, and what can be read is 3", value);
        header->version = true;
    } else if (strcmp(name, "format") == 0) {
        if (strcmp(value, "print") != 0 && strcmp(value, "bytevalue") != 0)
            return refuse(flat, "format=%.32s, and what can be read is print and bytevalue", value);
        flat->format = value[0] == 'p' ? FLAT_PRINT : FLAT_BYTEVALUE;
    } else if (strcmp(name, "type") == 0) {
        if (strcmp(value, "btree") != 0 && strcmp(value, "hash") != 0)
            return refuse(flat, "type=%.32s, and what can be read is btree and hash", value);
    } else if (strcmp(name, "keys") == 0) {
        if (!on)
            return refuse(flat, "keys=0: objects without keys cannot be read");
    } else if (strcmp(name, "duplicates") == 0) {
        header->duplicates = on;
    } else if (strcmp(name, "dupsort") == 0) {
        header->dupsort = on;
    } else if (strcmp(name, "bt_minkey") == 0) {
        header->ordered = true;
    }
    return true; /* what else there is says how another store keeps the objects, not what they are */
}

bool flat_read_header(struct flat *flat)
{
    struct header header = {0};
    while (read_line(flat, &flat->key, &flat->key_room)) {
        char *name = (char *)flat->key.data, *value = strchr(name, '=');
        if (value == NULL)
            return refuse(flat, flat->line == 1 ? "this is no dump: its first line is to be VERSION=3"
                                                : "a line of the header is to be NAME=VALUE");
        *value++ = '\0';
        if (strcmp(name, "HEADER") == 0 && strcmp(value, "END") == 0) {
            if (!header.version)
                return refuse(flat, "the header ends and has no VERSION=3");
            flat->type = header.duplicates && header.dupsort ? HEIR_BAG
                         : header.duplicates                 ? HEIR_DUPLICATE_BAG
                         : header.ordered                    ? HEIR_ORDERED_SET
                                                             : HEIR_SET;
            return true;
        }
        if (!take_header(flat, &header, name, value))
            return false;
    }
    if (flat->problem[0] == '\0')
        refuse(flat, flat->line == 0 ? "the file is empty" : "the file ends in its header: HEADER=END is missing");
    return false;
}

/* ---- Objects ------------------------------------------------------------------------------------------ */

/* A line's bytes, in place. */
static bool decode(struct flat *flat, struct bytes *line)
{
    unsigned char *out = line->data;
    bool print = flat->format == FLAT_PRINT;

    for (size_t at = 1; at < line->len;) {
        const unsigned char *in = line->data + at;
        if (print && in[0] != '\\') {
            *out++ = *in;
            at++;
            continue;
        }
        if (print && in[1] == '\\') {
            *out++ = '\\';
            at += 2;
            continue;
        }
        int high = digit_value((char)in[print]), low = high < 0 ? -1 : digit_value((char)in[print + 1]);
        if (low < 0 && print)
            return refuse(flat,
                          "column %zu: behind a backslash belong two hexadecimal digits or another backslash (LMDB's "
                          "mdb_dump -p before 0.9.25 writes a lone one: dump without -p)",
                          at + 1);
        if (low < 0)
            return refuse(flat, "column %zu: here belong two hexadecimal digits for each byte", at + 1);
        *out++ = (unsigned char)(high << 4 | low);
        at += 2 + print;
    }
    line->len = (size_t)(out - line->data);
    return true;
}

static bool nothing_behind(struct flat *flat)
{
    while (read_line(flat, &flat->key, &flat->key_room)) {
        if (strncmp((char *)flat->key.data, "VERSION=", 8) == 0)
            return refuse(flat, "a second database begins here: load takes a file with one of them");
        if (flat->key.len != 0)
            return refuse(flat, "something stands behind DATA=END");
    }
    return false;
}

/* False at DATA=END, too. */
static bool read_bytes(struct flat *flat, struct bytes *line, size_t *room, const char *what)
{
    if (!read_line(flat, line, room)) {
        if (flat->problem[0] == '\0')
            refuse(flat, "the file ends without DATA=END: it is cut off");
        return false;
    }
    if (line->data[0] == ' ')
        return decode(flat, line);
    if (strcmp((char *)line->data, "DATA=END") == 0)
        return line == &flat->key ? nothing_behind(flat) : refuse(flat, "DATA=END in place of the last key's value");
    return refuse(flat, "here belongs a %s, behind a space", what);
}

bool flat_read(struct flat *flat)
{
    return read_bytes(flat, &flat->key, &flat->key_room, "key") &&
           read_bytes(flat, &flat->value, &flat->value_room, "value");
}
