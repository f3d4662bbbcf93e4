/* SPDX-License-Identifier: MIT */
/*
 * heirctl dump and load: every byte comes back, between our tables and through the tools whose format it is; one
 * committed state; all or nothing; damaged files, refused by line.
 */
#include "heirctl.h"

#include <fcntl.h>
#include <heir/inspect.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n"

static void put(struct heir_table *table, const char *key, const char *value)
{
    CHECK_RC(heir_put(table, key, strlen(key), value, strlen(value)), 0);
}

/* Every byte value, in keys and in values; an empty value. */
static void fill_with_all_bytes(struct heir_table *table)
{
    unsigned char key[3], value[256];
    for (int i = 0; i < 256; i++)
        value[i] = (unsigned char)i;
    for (int i = 0; i < 256; i++) {
        key[0] = (unsigned char)i;
        key[1] = '\\';
        key[2] = (unsigned char)(i ^ 0x55);
        CHECK_RC(heir_put(table, key, (size_t)(1 + i % 3), value + i / 2, (size_t)(i - i / 2)), 0);
    }
    put(table, "backslashes", "\\a \\\\ \\41 \\");
    put(table, " spaces ", "  ");
    put(table, "DATA=END", "HEADER=END\nDATA=END\n");
}

static void expect_same(const char *a, const char *b)
{
    SHELL(0,
          "cd $HEIR_TEST_BINDIR; for t in %s %s; do ./heirctl dump $t --format bytevalue | sha256sum; done | uniq | "
          "wc -l",
          a, b);
    CHECK_STR(out.out, "1\n");
}

static void is_mode(const char *path, unsigned mode)
{
    struct stat st = {0};
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == mode, "%s has mode %o", path, st.st_mode);
}

/* ---- Dumping ------------------------------------------------------------------------------------------ */

static void dump_formats(void)
{
    char path[200];
    struct heir_table *t;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("baker");
    REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.type = HEIR_ORDERED_SET}, &t), 0);
    CTL(0, "dump", "t");
    CHECK_STR(out.out, "VERSION=3\nformat=print\ntype=btree\nbt_minkey=2\nHEADER=END\nDATA=END\n");
    put(t, "b\\", "\x01\x7f\xff~");
    put(t, "a", "");
    CTL(0, "dump", "t");
    CHECK_STR(out.out, "VERSION=3\nformat=print\ntype=btree\nbt_minkey=2\nHEADER=END\n"
                       " a\n \n b\\5c\n \\01\\7f\\ff~\nDATA=END\n");
    char *whole = strdup(out.out);
    CTL(0, "dump", "t", "--format=bytevalue");
    CHECK_STR(out.out, "VERSION=3\nformat=bytevalue\ntype=btree\nbt_minkey=2\nHEADER=END\n"
                       " 61\n \n 625c\n 017fff7e\nDATA=END\n");
    json_t *object = CTL_JSON(0, "dump", "t");
    CHECK_STR(text(object, "table"), "t");
    CHECK_STR(text(object, "type"), "ordered-set");
    const json_t *second = json_array_get(json_object_get(object, "objects"), 1);
    CHECK_STR(text(second, "key"), "b\\");
    CHECK_STR(text(second, "value"), "0x017fff7e");
    json_decref(object);
    /* a file: whole, or not there */
    snprintf(path, sizeof path, "%s/dump", world.dir);
    object = CTL_JSON(0, "dump", "t", "--output", path);
    CHECK_EQ(number(object, "count"), 2);
    CHECK_STR(text(object, "file"), path);
    json_decref(object);
    is_mode(path, 0600);
    SHELL(0, "cat %s", path);
    CHECK_STR(out.out, whole);
    CTL(0, "dump", "t", "--output", path); /* another one takes its place */
    SAYS("2 objects");
    damage("t");
    CTL(1, "dump", "t", "--output", path);
    SHELL(0, "cat %s; ls %s", path, world.dir);
    CHECK(strncmp(out.out, whole, strlen(whole)) == 0, "the good one stays: %s", out.out);
    CHECK(strstr(out.out, ".tmp") == NULL, "%s", out.out);
    unlink(path);
    free(whole);
}

static void dump_refuses(void)
{
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "put t k v");
    CTL(1, "dump", "none");
    COMPLAINS("none");
    json_decref(CTL_JSON(1, "dump", "none"));
    CTL(1, "dump", "t", "--output", "/no/such/folder/t");
    COMPLAINS("/no/such/folder/t");
    CTL(0, "dump", "t", "--output", "/dev/null"); /* no file takes the place of a device */
    SHELL(0, "test -c /dev/null");
    SHELL(1, "$HEIR_TEST_BINDIR/heirctl dump t >/dev/full");
    CTL(2, "dump");
    CTL(2, "dump", "t", "u");
    CTL(2, "dump", "t", "--format", "xml");
    CTL(2, "dump", "t", "--format");
    CTL(2, "dump", "t", "--batch", "1");
    CTL(2, "ls", "--output", "x");
    damage("t");
    CTL(1, "dump", "t");
    CHECK_STR(out.out, "");
    COMPLAINS("damaged");
}

/* Without a keeper, with a name of every letter, of a table that is private and whose owner is stopped. */
static void dump_needs_nobody(void)
{
    static const char name[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-.01234567";
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("baker");
    DO(a, 0, "create %s access=private", name);
    DO(a, 0, "put %s k v", name);
    DO(a, 0, "begin %s", name);
    DO(a, 0, "put %s k half", name);
    keeper_kill();
    agent_stop(a);
    CTL(0, "dump", name);
    CHECK_STR(out.out, HEADER " k\n v\nDATA=END\n");
    CTL_IN(3, HEADER " k\n v\nDATA=END\n", "load", "u");
    agent_continue(a);
    DO(a, 0, "commit %s", name);
    REQUIRE_EQ(keeper_start(NULL), 0);
}

/* Fill a hole with this into the table where that is. */
static void tear(const char *table, int with, const char *what)
{
    char path[256];
    static char all[2 << 20];
    char hole[400];
    memset(hole, with, sizeof hole);
    shm_path(path, sizeof path, "t.", table);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t len = pread(fd, all, sizeof all, 0);
    REQUIRE(len > 0, "%s", path);
    char *at = memmem(all, (size_t)len, what, strlen(what));
    REQUIRE(at != NULL, "%s", what);
    CHECK_EQ(pwrite(fd, hole, sizeof hole, at - all), sizeof hole);
    close(fd);
}

/* Of 2000 objects some are gone: the others are there, each with its value, and it is said that some are not. */
static void dump_salvages(void)
{
    static const char *const types[] = {"set", "ordered_set", "bag"};
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (int i = 0; i < 6; i++) {
        const char *type = types[i / 2];
        SHELL(0,
              "heirctl() { \"$HEIR_TEST_BINDIR/heirctl\" \"$@\"; }; cd %s && { printf 'VERSION=3\\nformat=print\\n"
              "HEADER=END\\n'; seq 10001 12000 | sed 's/.*/ key&\\n value&/'; echo DATA=END; } | "
              "heirctl load t --type %s --max-bytes 2M && heirctl dump t --salvage | grep -c '^ key'",
              world.dir, type);
        SAYS("\n2000\n");
        tear("t", i % 2 == 0 ? 0xa5 : 0, "value11000");
        if (i % 2 == 0) {
            CTL(1, "dump", "t");
            COMPLAINS("heirctl dump --salvage t");
        }
        SHELL(1, "$HEIR_TEST_BINDIR/heirctl dump t --salvage --output %s/d", world.dir);
        SHELL(0,
              "cd %s && n=$(grep -c '^ key' d) && test $n -gt 1900 && test $n -lt 2000 && "
              "! sed -n 'N; s/^ key\\(.*\\)\\n value\\(.*\\)/\\1 \\2/p' d | awk '$1 != $2' | grep . && "
              "$HEIR_TEST_BINDIR/heirctl load u --type %s <d && rm d",
              world.dir, type);
        CTL(1, "--json", "dump", "t", "--salvage", "--output", "/dev/null");
        json_t *object = json_loads(out.out, 0, NULL);
        CHECK(number(object, "count") > 1900 && number(object, "count") < 2000);
        CHECK(number(object, "lost") > 0);
        json_decref(object);
        CTL(0, "rm", "t", "--yes");
        CTL(0, "rm", "u", "--yes");
    }
}

/* ---- There and back ----------------------------------------------------------------------------------- */

static void round_trips(void)
{
    static const char *const types[] = {"set", "ordered-set", "bag", "duplicate-bag"};
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("baker");
    for (int type = 0; type < 4; type++) {
        for (int bytevalue = 0; bytevalue < 2; bytevalue++) {
            char name[16];
            struct heir_table *t;
            snprintf(name, sizeof name, "t%d%d", type, bytevalue);
            REQUIRE_RC(heir_create(me, name, &(struct heir_table_options){.type = (enum heir_type)type}, &t), 0);
            fill_with_all_bytes(t);
            if (type >= HEIR_BAG) {
                put(t, "k", "second to none");
                put(t, "k", "first");
                put(t, "k", "first"); /* a duplicate bag has it twice */
            }
            CTL(0, "dump", name, "--format", bytevalue ? "bytevalue" : "print");
            char *dump = strdup(out.out);
            CTL_IN(0, dump, "load", "u");
            SAYS("new");
            free(dump);
            json_t *object = CTL_JSON(0, "info", "u");
            CHECK_STR(text(object, "type"), types[type]);
            json_decref(object);
            SHELL(0,
                  "export LC_ALL=C; cd $HEIR_TEST_BINDIR; for t in %s u; do ./heirctl dump $t | paste - - | %s; done "
                  "| sort | uniq -c | awk '$1 %% 2 { print }'",
                  name, type == HEIR_SET ? "cat" : "cat -n"); /* but of a set, also the order is the same */
            CHECK_STR(out.out, "");
            REQUIRE_RC(heir_claim(me, "u", NULL, 0, &t), 0);
            CHECK_RC(heir_destroy(t), 0);
        }
    }
}

static bool have(const char *program)
{
    char script[64];
    snprintf(script, sizeof script, "command -v %s", program);
    if (program_run((const char *const[]){"/bin/sh", "-c", script, NULL}, NULL, &out) == 0)
        return true;
    test_skip("%s is not installed", program);
    return false;
}

/* Through the other one's store and back. Its keys have to be shorter than ours; a bag's objects are sorted
 * there, and have a value. */
static void through_a_store(const char *load, const char *dump)
{
    struct heir_table *t, *bag;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct heir *me = test_open("baker");
    REQUIRE_RC(heir_create(me, "t", &(struct heir_table_options){.type = HEIR_ORDERED_SET}, &t), 0);
    REQUIRE_RC(heir_create(me, "b", &(struct heir_table_options){.type = HEIR_BAG}, &bag), 0);
    fill_with_all_bytes(t);
    for (int i = 0; i < 3; i++) {
        put(bag, "k1", (const char *const[]){"a", "b", "c"}[i]);
        put(bag, "k2", (const char *const[]){"a", "b b", "c\\"}[i]);
    }
    for (int bytevalue = 0; bytevalue < 2; bytevalue++) {
        const char *format = bytevalue ? "bytevalue" : "print";
        SHELL(0,
              "cd %s; PATH=$HEIR_TEST_BINDIR:$PATH; rm -f store*; heirctl dump t --format %s | %s && %s | "
              "heirctl load u --type ordered_set",
              world.dir, format, load, dump);
        SAYS("259 objects");
        expect_same("t", "u");
        SHELL(0,
              "cd %s; PATH=$HEIR_TEST_BINDIR:$PATH; rm -f store*; heirctl dump b --format %s | %s && %s | "
              "heirctl load v",
              world.dir, format, load, dump);
        SAYS("6 objects");
        json_t *object = CTL_JSON(0, "info", "v");
        CHECK_STR(text(object, "type"), "bag");
        json_decref(object);
        CTL(0, "get", "v", "k1");
        CHECK_STR(out.out, "a\nb\nc\n");
        SHELL(0, "cd $HEIR_TEST_BINDIR; ./heirctl get v k2 | sort");
        CHECK_STR(out.out, "a\nb b\nc\\\n");
        SHELL(0, "rm -f %s/store*", world.dir);
    }
}

static void through_lmdb(void)
{
    if (have("mdb_load") && have("mdb_dump"))
        through_a_store("mdb_load -n store", "mdb_dump -n store");
}

static void through_berkeley_db(void)
{
    if (have("db_load") && have("db_dump")) {
        through_a_store("db_load store", "db_dump -p store");
    }
}

/* ---- Loading ------------------------------------------------------------------------------------------ */

static void load_into_what_is_there(void)
{
    char path[200];
    struct agent *a = keeper_and_owner("t");
    DO(a, 0, "put t stays 1");
    DO(a, 0, "put t k old");
    CTL_IN(1, HEADER " k\n new\nDATA=END\n", "load", "t"); /* a living client owns it */
    COMPLAINS("baker");
    COMPLAINS("revoke");
    DO(a, 0, "release t");
    snprintf(path, sizeof path, "%s/in", world.dir);
    /* as other stores write it */
    SHELL(0,
          "printf 'VERSION=3\nformat=print\ndatabase=d\ntype=hash\nmapsize=1048576\nmaxreaders=126\n"
          "h_nelem=7\ndb_pagesize=4096\nHEADER=END\n k\n new\n \\\\00\n \nDATA=END\n' >%s",
          path);
    json_t *object = CTL_JSON(0, "load", "t", path);
    CHECK_STR(text(object, "table"), "t");
    CHECK_EQ(number(object, "count"), 2);
    CHECK_EQ(number(object, "batches"), 1);
    CHECK(json_is_false(json_object_get(object, "created")));
    json_decref(object);
    unlink(path);
    DO(a, 0, "attach t");
    DO(a, 0, "get t k");
    CHECK_STR(a->answer.value, "new");
    DO(a, 0, "get t stays");
    DO(a, 0, "info t");
    CHECK_EQ(a->answer.info.objects, 3);
    CHECK_EQ(a->answer.info.owner, 0);
    /* what is there is what it is */
    CTL_IN(1, HEADER "DATA=END\n", "load", "t", "--type", "bag");
    COMPLAINS("set");
    CTL_IN(1, "VERSION=3\nformat=print\nduplicates=1\nHEADER=END\n a\n 1\n a\n 2\nDATA=END\n", "load", "t");
    COMPLAINS("several objects");
    CTL_IN(0, "VERSION=3\nformat=print\nduplicates=1\nHEADER=END\n a\n 1\n a\n 2\nDATA=END\n", "load", "t", "--type",
           "set");
    DO(a, 0, "get t a");
    CHECK_STR(a->answer.value, "2");
    /* a public one is not claimed */
    DO(a, 0, "create p access=public");
    CTL_IN(0, HEADER " k\n v\nDATA=END\n", "load", "p", "-");
    DO(a, 0, "info p");
    CHECK_EQ(a->answer.info.epoch, 1);
    CHECK_EQ(a->answer.info.objects, 1);
    CTL_IN(1, HEADER "DATA=END\n", "load", "p", "/no/such/file");
    COMPLAINS("/no/such/file");
    damage("t");
    CTL_IN(1, HEADER " k\n v\nDATA=END\n", "load", "t");
}

static void load_makes_tables(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    CTL_IN(0, HEADER "DATA=END\n", "load", "empty", "--type", "duplicate_bag", "--max-bytes", "2M");
    json_t *object = CTL_JSON(0, "info", "empty");
    CHECK_STR(text(object, "type"), "duplicate-bag");
    CHECK_EQ(number(object, "max_bytes"), 2 << 20);
    CHECK_EQ(number(object, "objects"), 0);
    CHECK_EQ(number(json_object_get(object, "owner"), "id"), 0);
    CHECK(json_is_null(json_object_get(object, "heir")));
    json_decref(object);
    CTL_IN(0, HEADER "DATA=END\n", "load", "empty"); /* nothing is no reason to refuse */
    CTL_IN(2, HEADER "DATA=END\n", "load", "t", "--type", "tree");
    CTL_IN(2, HEADER "DATA=END\n", "load", "t", "--max-bytes", "64");
    CTL_IN(2, HEADER "DATA=END\n", "load", "t", "--max-bytes", "1X");
    CTL_IN(2, HEADER "DATA=END\n", "load", "t", "--batch", "0");
    CTL_IN(2, HEADER "DATA=END\n", "load", "t", "--batch", "-1");
    CTL_IN(2, HEADER "DATA=END\n", "load", ".t");
    CTL_IN(2, HEADER "DATA=END\n", "load");
    CHECK_EQ(shm_count("t."), 1);
}

static void load_in_batches(void)
{
    char path[200];
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("baker");
    snprintf(path, sizeof path, "%s/in", world.dir);
    SHELL(
        0,
        "{ printf 'VERSION=3\nformat=print\nHEADER=END\n'; seq 1 1000 | sed 's/.*/ key&\\n value&/'; echo DATA=END; } "
        ">%s",
        path);
    json_t *object = CTL_JSON(0, "load", "t", path, "--batch", "100");
    CHECK_EQ(number(object, "count"), 1000);
    CHECK_EQ(number(object, "batches"), 10);
    CHECK(json_is_true(json_object_get(object, "created")));
    json_decref(object);
    object = CTL_JSON(0, "info", "t");
    CHECK_EQ(number(object, "objects"), 1000);
    json_decref(object);
    /* line 1004 is the key of the object 501 */
    SHELL(0, "sed -i '1004s/ key501/key501/' %s", path);
    CTL(1, "load", "u", path, "--batch", "100");
    COMPLAINS("line 1004");
    COMPLAINS("the first 500 objects");
    DO(a, 0, "attach u");
    DO(a, 0, "info u");
    CHECK_EQ(a->answer.info.objects, 500);
    DO(a, 0, "has u key500");
    DO(a, -ENOENT, "has u key501");
    CTL(1, "load", "v", path); /* as one: nothing, and no table */
    COMPLAINS("nothing was loaded");
    DO(a, -ENOENT, "attach v");
    unlink(path);
    /* a full table has what it had */
    SHELL(0,
          "{ printf 'VERSION=3\nformat=print\nHEADER=END\n'; seq -f %%099.0f 1 2000 | sed 's/.*/ &\\n &/'; echo "
          "DATA=END; } >%s",
          path);
    CTL(1, "load", "small", path, "--max-bytes", "128K");
    COMPLAINS("--max-bytes");
    DO(a, -ENOENT, "attach small");
    DO(a, 0, "create small max=131072");
    DO(a, 0, "put small k v");
    DO(a, 0, "release small");
    CTL(1, "load", "small", path);
    DO(a, 0, "info small");
    CHECK_EQ(a->answer.info.objects, 1);
    unlink(path);
}

static bool has_objects(void *arg)
{
    struct heir_table *t;
    struct heir_info info = {0};
    if (heir_inspect_open(NULL, "t", &t) < 0)
        return false;
    heir_info(t, &info);
    heir_inspect_close(t);
    return info.objects == *(const uint64_t *)arg && info.owner == HEIR_KEEPER;
}

/* One client for all batches, but the table is free between them; also across keepers. */
static void load_stays_one_client(void)
{
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("baker");
    struct program *load = program_start((const char *const[]){"heirctl", "load", "t", "--batch", "1", NULL});
    REQUIRE(load != NULL);
    CHECK_RC(program_write(load, HEADER " a\n 1\n"), 0);
    CHECK(wait_until(has_objects, &(uint64_t){1}, PATIENCE));
    DO(a, 0, "claim t 0");
    DO(a, 0, "put t other x");
    DO(a, 0, "release t");
    CHECK_RC(program_write(load, " b\n 2\n"), 0);
    CHECK(wait_until(has_objects, &(uint64_t){3}, PATIENCE));
    keeper_kill();
    REQUIRE_EQ(keeper_start(NULL), 0);
    CHECK_RC(program_write(load, " c\n 3\n"), 0);
    CHECK(wait_until(has_objects, &(uint64_t){4}, PATIENCE));
    DO(a, 0, "claim t 0"); /* and it is not waited for */
    CHECK_RC(program_write(load, " d\n 4\nDATA=END\n"), 0);
    program_close_in(load);
    CHECK_EQ(program_wait(load, PATIENCE), 1);
    DO(a, 0, "count t");
    CHECK_EQ(a->answer.number, 4);
    CHECK_EQ(counter("clients_opened", ""), 2); /* the baker, and that one */
    CHECK_EQ(counter("clients_closed", ""), 1);
}

static void load_refuses_by_line(void)
{
    static const struct {
        const char *text, *line, *why;
    } files[] = {
        {"", "line 0", "empty"},
        {"hello\n", "line 1", "VERSION=3"},
        {"\n", "line 1", "VERSION=3"},
        {"VERSION=4\nHEADER=END\nDATA=END\n", "line 1", "VERSION=4"},
        {"format=print\nHEADER=END\nDATA=END\n", "line 2", "VERSION=3"},
        {"VERSION=3\nformat=xml\nHEADER=END\nDATA=END\n", "line 2", "xml"},
        {"VERSION=3\ntype=recno\nHEADER=END\n 31\n 32\nDATA=END\n", "line 2", "recno"},
        {"VERSION=3\nkeys=0\nHEADER=END\n 31\nDATA=END\n", "line 2", "keys"},
        {"VERSION=3\nformat=print\n a\n b\nDATA=END\n", "line 3", "header"},
        {"VERSION=3\nformat=print\n", "line 2", "HEADER=END"},
        {"VERSION=3\nformat=pr", "line 2", "cut off"},
        {HEADER " a\n b\n", "line 6", "cut off"},
        {HEADER " a\n b\n c\n", "line 7", "cut off"},
        {HEADER " a\n b\n c", "line 7", "cut off"},
        {HEADER " a\n b\n c\nDATA=END\n", "line 8", "value"},
        {HEADER " a\nb\n c\n d\nDATA=END\n", "line 6", "value"},
        {HEADER "a\n b\nDATA=END\n", "line 5", "key"},
        {HEADER "\n b\nDATA=END\n", "line 5", "key"},
        {HEADER " a\n \\4\nDATA=END\n", "line 6", "backslash"},
        {HEADER " a\n 123\\\nDATA=END\n", "line 6", "column 5"},
        {HEADER " a\n \\4g\nDATA=END\n", "line 6", "backslash"},
        {HEADER " a\n b\n \n c\nDATA=END\n", "line 7", "1 to 65535 bytes"},
        {HEADER " a\n b\nDATA=END\nmore\n", "line 8", "behind DATA=END"},
        {HEADER " a\n b\nDATA=END\nVERSION=3\n", "line 8", "second database"},
        {"VERSION=3\nHEADER=END\n 616\n 62\nDATA=END\n", "line 3", "hexadecimal"},
        {"VERSION=3\nHEADER=END\n 61\n 6x\nDATA=END\n", "line 4", "hexadecimal"},
        {"VERSION=3\nHEADER=END\n 61\n 6 \nDATA=END\n", "line 4", "hexadecimal"},
    };
    REQUIRE_EQ(keeper_start(NULL), 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        CTL_IN(1, files[i].text, "load", "t");
        COMPLAINS(files[i].line);
        COMPLAINS(files[i].why);
        COMPLAINS("nothing was loaded");
        CTL_IN(1, files[i].text, "load", "t", "--batch", "100");
    }
    SHELL(1, "printf 'VERSION=3\\nHEADER=END\\n 61\\n \\0\\nDATA=END\\n' | $HEIR_TEST_BINDIR/heirctl load t");
    COMPLAINS("line 4");
    CHECK_EQ(shm_count("t."), 0);
    /* what the table refuses is told by its line, too */
    struct agent *a = agent_new("baker");
    DO(a, 0, "create fixed key=2 value=2");
    DO(a, 0, "release fixed");
    CTL_IN(1, HEADER " ab\n cd\n abc\n de\nDATA=END\n", "load", "fixed");
    COMPLAINS("line 7");
    CTL_IN(1, HEADER " ab\n cd\n de\n f\nDATA=END\n", "load", "fixed");
    COMPLAINS("line 7");
    CTL_IN(0, HEADER " ab\n cd\n de\n fg\nDATA=END\n", "load", "fixed");
    CTL(0, "get", "fixed", "ab");
    CHECK_STR(out.out, "cd\n");
}

static bool no_client(void *arg)
{
    (void)arg;
    return shm_count("c.") == 0;
}

/* Whenever it is: the whole file, or not even the table. */
static void load_is_killed(void)
{
    char path[200];
    struct rnd rnd = {test_seed};
    int whole = 0, nothing = 0;
    REQUIRE_EQ(keeper_start(NULL), 0);
    snprintf(path, sizeof path, "%s/in", world.dir);
    SHELL(
        0,
        "{ printf 'VERSION=3\\nformat=print\\nHEADER=END\\n'; seq 1 20000 | sed 's/.*/ &\\n &/'; echo DATA=END; } >%s",
        path);
    for (int round = 0; round < 40; round++) {
        const char *const argv[] = {"heirctl", "load", "t", path, NULL};
        struct program *program = program_start(argv);
        REQUIRE(program != NULL);
        usleep((useconds_t)rnd_below(&rnd, TEST_ASAN ? 200000 : 40000));
        program_signal(program, SIGKILL);
        program_wait(program, PATIENCE);
        CHECK(wait_until(no_client, NULL, PATIENCE), "its death was noticed");
        if (shm_count("t.") == 0) {
            nothing++;
            continue;
        }
        json_t *object = CTL_JSON(0, "info", "t");
        CHECK_EQ(number(object, "objects"), 20000);
        CHECK(json_is_null(json_object_get(object, "heir")));
        json_decref(object);
        CTL(0, "rm", "t", "--yes");
        whole++;
    }
    printf("killed in loads: %d whole, %d not there ", whole, nothing);
    unlink(path);
}

/* On a terminal: a line that goes before anything else is said. 512 objects are there, then time has passed. */
static void progress_on_a_terminal(void)
{
    if (!have("script"))
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    SHELL(1,
          "cd %s; { printf 'VERSION=3\\nformat=print\\nHEADER=END\\n'; seq 1 520 | sed 's/^/ /'; } >one; seq 1 1000 | "
          "sed 's/^/ "
          "/' >two; script -qec '{ cat one; sleep 0.3; cat two; echo hello; } | $HEIR_TEST_BINDIR/heirctl load t' "
          "/dev/null; "
          "code=$?; rm one two; exit $code",
          world.dir);
    SAYS("\rload t: 512 objects\r\033[Kheirctl: stdin, line 1524");
    SHELL(1, "printf 'hello\\n' | $HEIR_TEST_BINDIR/heirctl load t"); /* no terminal, no line */
    CHECK(strchr(out.err, '\r') == NULL, "%s", out.err);
}

/* ---- One committed state ------------------------------------------------------------------------------ */

#define ACCOUNTS 2000

struct bank {
    size_t value_len;
    int seconds;
};

/* Moves money from account to account, in transactions. */
static int keep_moving(struct agent_self *self, void *arg)
{
    const struct bank *bank = arg;
    struct heir_table *t = agent_table(self, "bank");
    struct rnd rnd = {test_seed};
    char *value = calloc(1, bank->value_len);
    int r = value ? 0 : -ENOMEM;
    for (int64_t end = now_ms() + bank->seconds * 1000; r == 0 && now_ms() < end;) {
        int64_t amount = (int64_t)rnd_below(&rnd, 1000);
        if ((r = heir_begin(t)) < 0)
            break;
        for (int i = 0; r == 0 && i < 2; i++) {
            uint32_t account = (uint32_t)rnd_below(&rnd, ACCOUNTS);
            size_t len = bank->value_len;
            int64_t sum = 0;
            if ((r = heir_get(t, &account, sizeof account, value, &len)) == 0) {
                memcpy(&sum, value, sizeof sum);
                sum += i == 0 ? amount : -amount;
                memcpy(value, &sum, sizeof sum);
                r = heir_put(t, &account, sizeof account, value, bank->value_len);
            }
        }
        int end_rc = r == 0 ? heir_commit(t) : heir_abort(t);
        r = r ? r : end_rc;
    }
    free(value);
    return r;
}

/* Small, it is copied; large, a pin holds it. The sum is that of the beginning: 0. */
static void one_committed_state(void)
{
    static const size_t lengths[] = {8, 4000};
    if (!shm_has_room(64 << 20))
        return;
    REQUIRE_EQ(keeper_start(NULL), 0);
    struct agent *a = agent_new("baker");
    for (int i = 0; i < 2; i++) {
        struct bank bank = {.value_len = lengths[i], .seconds = 3};
        char path[200], line[16384];
        DO(a, 0, "create bank");
        snprintf(path, sizeof path, "%s/dump", world.dir);
        SHELL(
            0,
            "{ printf 'VERSION=3\nformat=bytevalue\nHEADER=END\n'; i=0; zeros=$(printf '%%0*d' %d 0); "
            "while test $i -lt %d; do "
            "printf ' %%02x%%02x0000\n %%s\n' $((i & 255)) $((i >> 8)) $zeros; i=$((i+1)); done; echo DATA=END; } >%s",
            (int)lengths[i] * 2, ACCOUNTS, path);
        DO(a, 0, "release bank");
        CTL(0, "load", "bank", path);
        DO(a, 0, "claim bank 0");
        agent_call_send(a, keep_moving, &bank, sizeof bank);
        for (int round = 0; round < 4; round++) {
            CTL(0, "dump", "bank", "--format", "bytevalue", "--output", path);
            FILE *file = fopen(path, "re");
            REQUIRE(file != NULL);
            int lines = 0, moved = 0;
            uint64_t total = 0;
            while (fgets(line, sizeof line, file)) {
                uint64_t sum = 0;
                if (line[0] != ' ' || ++lines % 2 != 0)
                    continue;
                for (unsigned byte = 8; byte-- > 0;) {
                    unsigned digits = 0;
                    sscanf(line + 1 + 2 * byte, "%2x", &digits);
                    sum = sum << 8 | digits;
                }
                total += sum;
                moved += sum != 0;
            }
            fclose(file);
            CHECK_EQ(lines, 2 * ACCOUNTS);
            CHECK_EQ(total, 0);
            CHECK(round == 0 || moved > 0);
        }
        CHECK_RC(agent_answer(a, PATIENCE), 0);
        unlink(path);
        DO(a, 0, "destroy bank");
    }
    CTL(0, "clients");
    CHECK(strstr(out.out, "heirctl") == NULL, "dump is a client no longer: %s", out.out);
}

const struct test dump_tests[] = {{"dump: formats", dump_formats},
                                  {"dump: refuses", dump_refuses},
                                  {"dump: needs nobody", dump_needs_nobody},
                                  {"dump: salvages", dump_salvages},
                                  {"dump and load: round trips", round_trips},
                                  {"dump and load: through LMDB", through_lmdb},
                                  {"dump and load: through Berkeley DB", through_berkeley_db},
                                  {"load: into what is there", load_into_what_is_there},
                                  {"load: makes tables", load_makes_tables},
                                  {"load: in batches", load_in_batches},
                                  {"load: stays one client", load_stays_one_client},
                                  {"load: refuses by line", load_refuses_by_line},
                                  {"load: is killed", load_is_killed},
                                  {"load: progress on a terminal", progress_on_a_terminal},
                                  {"dump: one committed state", one_committed_state},
                                  {NULL, NULL}};
