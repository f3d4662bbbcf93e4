/* SPDX-License-Identifier: MIT */
/*
 * heirctl explain: what an error of the library means, when it comes, and what to do.
 *
 * The sentence is heir_strerror()'s, which says meaning and cure in short. Which calls return the error, and when, is
 * gathered here from the public headers; they are the manual, this is its index by error.
 */
#include "heirctl.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct meaning {
    int error;
    const char *name;
    const char *when; /* lines */
    const char *cure;
};

#define OF(error) error, #error

static const struct meaning meanings[] = {
    {OF(EACCES),
     "heir_open(): the mode of the socket or of its folder refuses this user\n"
     "heir_claim(), heir_give_away(): the table's mode gives that user no right to own it\n"
     "heir_attach() and reads: the table's mode refuses, or it is private\n"
     "heir/admin.h: only the keeper's user and root may give orders\n"
     "heir/inspect.h: the shared memory belongs to another user",
     "run it as the keeper's user, or loosen heird --socket-mode, or the table's mode (heirctl info tells it)"},
    {OF(EAGAIN),
     "heir_foreach(), heir_range() and the like without a keeper: the owner writes faster than the objects can be "
     "copied",
     "start heird, which pins the state for the time of the walk; or try again"},
    {OF(EALREADY),
     "heir_begin(): this thread has a transaction open on the table\n"
     "heir_revoke(): the keeper owns the table already",
     "commit or abort first; there is nothing to revoke"},
    {OF(EBUSY),
     "heir_claim() with timeout 0: a living client owns the table\n"
     "heir_detach(): this client owns the table, or a walk or a snapshot of it is open\n"
     "heir_give_away(), heir_release(), heir_destroy(): inside an open transaction\n"
     "heir_revoke() without force: the owner is inside a write or a transaction\n"
     "walks and snapshots: this client has 16 of them; heir_edit(): 64 in one transaction\n"
     "heir_keeper_start(): the namespace has a keeper, or the socket belongs to one",
     "wait, or ask for less; heirctl info tells the owner, heirctl revoke takes the table from one that hangs"},
    {OF(ECANCELED), "heir_cas(): the value is another than the expected one (or is there, where none was expected)",
     "read the value again and decide anew"},
    {OF(ECONNREFUSED),
     "heir_open() and all that asks the keeper: none answers at the socket within the timeout\n"
     "heir_give_away(): the keeper died while it was asked; heir_info() tells who owns",
     "start heird for this namespace, or correct --namespace, --socket, $HEIR_NAMESPACE, $HEIR_SOCKET; tables that are "
     "open go on being read and written"},
    {OF(EDQUOT),
     "heir_open(): this user has as many clients as the keeper allows\n"
     "heir_create(), heir_claim(): this user has as many tables, or bytes of max_bytes, as the keeper allows",
     "close clients, destroy tables, or start heird with a larger --max-clients, --max-tables or --max-bytes; root and "
     "the keeper's own user are not limited"},
    {OF(EEXIST),
     "heir_create(), heir_rename(): there is a table of this name\n"
     "heir_put_new(), heir_put_new_many(): the key is there",
     "heir_claim() takes a table that exists, heir_put() replaces a value"},
    {OF(EFBIG), "writes: a value of 4 GiB or more", "store it in parts"},
    {OF(EINVAL),
     "any: an argument is out of its range, a NULL handle, a reserved field that is not zero\n"
     "names: 1 to 63 of A-Z a-z 0-9 . _ -, not beginning with a dot; namespaces without the dot\n"
     "writes: no key, one of more than 65535 bytes (bags: 65525), or not of the table's key_size or value_size\n"
     "heir_give_away(): to oneself or to the keeper; heir_commit(), heir_abort(), heir_edit(): no open transaction",
     "set options to zero first; heirctl info tells the table's sizes; heir_release() gives to the keeper"},
    {OF(EMFILE), "heir_open(), heir_keeper_start(): this process has too many open files; a client needs six",
     "raise the limit (ulimit -n), or open fewer clients"},
    {OF(EMSGSIZE), "data of a gift or of an heir: more than 512 bytes", "put them into the table"},
    {OF(ENAMETOOLONG), "the socket's path does not fit into a Unix socket address: more than 107 bytes",
     "choose a shorter one with --socket or $HEIR_SOCKET"},
    {OF(ENFILE), "heir_open(), heir_keeper_start(): the whole system has too many open files",
     "raise fs.file-max (sysctl), or look who has them (lsof)"},
    {OF(ENOBUFS),
     "heir_get(), heir_take(), heir_first(), heir_next() and the like: what was found is longer than the room",
     "call again with the length that was returned; nothing was copied or deleted"},
    {OF(ENOENT),
     "heir_attach(), heir_claim() without options, heir/admin.h, heir/inspect.h: there is no such table\n"
     "reads, heir_del(), heir_take(), heir_cas(): the key is not there\n"
     "heir_find(): no living client has this role",
     "heirctl ls shows the tables, heirctl clients the clients"},
    {OF(ENOMEM),
     "any: this process gets no more memory\n"
     "walks without a keeper: they copy the objects first; heir_check(): it needs a 128th of the table",
     "free some; start heird, so that walks need none"},
    {OF(ENOSPC),
     "writes, heir_begin(): max_bytes are used, or /dev/shm is full; nothing was changed, and an open transaction "
     "stays open\n"
     "heir_create(), heir_claim(), heir_open(): /dev/shm has no room for a new table or client; nothing is left behind",
     "df /dev/shm tells which it is. Full: give it more (docker run --shm-size, mount -o remount,size=). Not full: "
     "the table needs a larger max_bytes: heirctl dump it, and heirctl load --max-bytes into a new one"},
    {OF(ENOSYS), "heir_open(), heir_keeper_start(): the kernel is older than Linux 5.16", "use a newer kernel"},
    {OF(ENOTCONN),
     "calls with a handle: it is a parent's (this is a forked child), was detached, or its table was destroyed or "
     "purged",
     "open a client of the child's own; attach or claim the table anew"},
    {OF(ENOTSUP),
     "calls that are not for tables of this type: ranges of a set, counters, edits and heir_cas() of a bag",
     "heirctl info tells the type; another one needs a new table"},
    {OF(EOVERFLOW), "creating: the numbers of tables or clients, which are never used twice, have run out",
     "stop the keeper and start it with --purge, which begins the namespace anew"},
    {OF(EPERM),
     "writes, give, release, destroy, rename, set_heir: this client never owned the table\n"
     "heir_commit(), heir_abort(): another thread began the transaction; heir_close(): another one opened the client\n"
     "heir_view(): somebody else may write the table meanwhile",
     "claim the table; let the thread that began end it; use a snapshot to look"},
    {OF(EPROTO), "talking to the keeper: it did not understand, or its answer was not understood",
     "run heird, programs and tools of one version"},
    {OF(EPROTONOSUPPORT), "talking to the keeper, opening a table: made by another version of libheir",
     "run heird, programs and tools of one version; a table of another one can be dumped and loaded by its own tools"},
    {OF(EPROTOTYPE), "heir_claim(): the table exists with another type, key_size or value_size than the options say",
     "heirctl info tells what it has; use that, or remove the table (heirctl rm)"},
    {OF(ERANGE), "heir_add(): the sum does not fit in 64 bits; the value is unchanged", "use heir_add_wrap()"},
    {OF(ESRCH), "heir_give_away(): the receiver is dead or unknown; the giver still owns",
     "find its successor by role name (heir_find()); heirctl clients shows who is there"},
    {OF(ESTALE),
     "writes: this client owns the table no longer: it was revoked, given, or lost with a thread that ended; nothing "
     "was changed\n"
     "snapshots and walks: the table was out of space and broke the pin that held the state",
     "claim the table again; open another snapshot, keep it shorter, or make the table larger"},
    {OF(ETIMEDOUT), "heir_wait(), heir_claim(): the time is over and nothing has come",
     "wait longer; heirctl info tells who owns the table and how many are in line"},
    {OF(EUCLEAN), "any call with a table: its shared memory is damaged, and has been left alone",
     "heirctl check TABLE tells what is wrong; copy /dev/shm/heir.NAMESPACE.t.TABLE away if it matters, and remove it "
     "(heirctl rm)"},
};
#define MEANINGS (sizeof meanings / sizeof meanings[0])

const char *explain_name(size_t i)
{
    return i < MEANINGS ? meanings[i].name : NULL;
}

/* ---- Which one ---------------------------------------------------------------------------------------- */

/* ENOSPC, enospc, -ENOSPC, 28, -28. */
static const struct meaning *find(const char *word)
{
    const char *name = word + (word[0] == '-');
    char *end;
    long number = isdigit((unsigned char)name[0]) ? strtol(name, &end, 10) : 0;
    for (size_t i = 0; i < MEANINGS; i++) {
        if ((number != 0 && *end == '\0' && number == meanings[i].error) || strcasecmp(name, meanings[i].name) == 0 ||
            strcasecmp(name, strerrorname_np(meanings[i].error)) == 0)
            return &meanings[i];
    }
    return NULL;
}

/* Is it an error at all? */
static bool is_error(const char *word)
{
    const char *name = word + (word[0] == '-');
    for (int error = 1; error < 4096; error++) {
        char number[TEXT_MAX];
        snprintf(number, sizeof number, "%d", error);
        if (strerrorname_np(error) != NULL &&
            (strcmp(name, number) == 0 || strcasecmp(name, strerrorname_np(error)) == 0))
            return true;
    }
    return false;
}

/* ---- Printing ----------------------------------------------------------------------------------------- */

static json_t *meaning_json(const struct meaning *meaning)
{
    json_t *object = json_object(), *when = json_array();
    for (const char *line = meaning->when; line != NULL;) {
        const char *end = strchr(line, '\n');
        json_array_append_new(when, end != NULL ? json_stringn(line, (size_t)(end - line)) : json_string(line));
        line = end != NULL ? end + 1 : NULL;
    }
    json_object_set_new(object, "errno", json_text(meaning->name));
    json_object_set_new(object, "number", json_integer(meaning->error));
    json_object_set_new(object, "meaning", json_text(heir_strerror(meaning->error)));
    json_object_set_new(object, "when", when);
    json_object_set_new(object, "cure", json_text(meaning->cure));
    return object;
}

#define COLUMNS 100

/* Words in lines, all but the first one indented; a line that goes on, by more. */
static void print_wrapped(const char *title, const char *text)
{
    int column = printf("%-7s", title);
    for (bool new_line = false; *text != '\0'; new_line = *text == '\n', text += *text != '\0') {
        int len = (int)strcspn(text, " \n");
        if (new_line)
            column = printf("\n%7s", "") - 1;
        else if (column + 1 + len > COLUMNS)
            column = printf("\n%9s", "") - 1;
        column += printf(" %.*s", len, text);
        text += len;
    }
    putchar('\n');
}

static void print_text(const struct meaning *meaning)
{
    printf("-%s (%d)\n", meaning->name, meaning->error);
    print_wrapped("means", heir_strerror(meaning->error));
    print_wrapped("when", meaning->when);
    print_wrapped("cure", meaning->cure);
}

static enum exit_status print_all(const struct ctl *ctl)
{
    static const char *const titles[] = {"ERROR", ">NUMBER", "MEANING", NULL};
    if (ctl->json) {
        json_t *object = json_object(), *list = json_array();
        for (size_t i = 0; i < MEANINGS; i++)
            json_array_append_new(list, meaning_json(&meanings[i]));
        json_object_set_new(object, "errors", list);
        return json_print(object);
    }
    struct grid *grid = grid_new(titles);
    for (size_t i = 0; i < MEANINGS; i++) {
        grid_add(grid, meanings[i].name);
        grid_add_number(grid, (uint64_t)meanings[i].error);
        grid_add(grid, heir_strerror(meanings[i].error));
    }
    grid_print(grid);
    grid_free(grid);
    return DONE;
}

static enum exit_status run(struct ctl *ctl)
{
    if (ctl->nargs == 0)
        return print_all(ctl);
    const char *word = ctl->args[0];
    const struct meaning *meaning = find(word);
    if (meaning == NULL && is_error(word))
        return ctl_fail(ctl, REFUSED, 0,
                        "libheir has no meaning of its own for %.64s: where it returns it, it comes from the system "
                        "(man 3 errno)",
                        word);
    if (meaning == NULL)
        return ctl_fail_usage(ctl, "'%.64s' is no error: say ENOSPC, -ENOSPC, 28 or -28", word);
    if (ctl->json)
        return json_print(meaning_json(meaning));
    print_text(meaning);
    return DONE;
}

const struct verb verb_explain = {
    .name = "explain",
    .arguments = "[ERROR]",
    .line = "tell what an error of the library means, when it comes, and the cure",
    .text = "ERROR is a name or a number, with or without a minus: ENOSPC, -ENOSPC, 28, -28. Without it all of the\n"
            "library's errors are listed. Needs nothing: no keeper, no namespace.\n"
            "\n"
            "--json:\n"
            "  {\"errno\": text, \"number\": number, \"meaning\": text, \"when\": [text], \"cure\": text}\n"
            "  or, of all of them, {\"errors\": [the same]}\n",
    .max_args = 1,
    .run = run,
};
