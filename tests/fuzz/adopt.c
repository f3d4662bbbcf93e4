/* SPDX-License-Identifier: MIT */
/*
 * Damaged leftovers: what a keeper left in shared memory (tables owned by the keeper, by a living client and by a dead
 * one, some in the middle of a transaction; pages of clients; the namespace's page) is damaged by a list of patches,
 * and a keeper is started on it. It must start; the tables that were not damaged must be there, with what is in them;
 * and a client must be able to open, claim, write, and to look at what is damaged. Then all that the keeper took is
 * given back.
 *
 * Built with clang -fsanitize=fuzzer,address this is a libFuzzer target. Else it has a main() of its own that makes
 * random inputs: adopt [SEED [SECONDS]], or adopt FILE to run one.
 */
#include "atomics.h"
#include "ground.h"
#include "layout.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TABLE_BYTES (UINT64_C(128) << 10)
#define PATCH_BYTES 13u
#define OBJECTS     40u
#define IMAGES      24u
#define SOUND       2u

/* An object as the keeper left it. */
static struct image {
    char name[96]; /* after /dev/shm/ */
    char kind;     /* 't', 'c', 'k' */
    bool sound;    /* not to be damaged */
    uint64_t bytes;
    uint64_t kept; /* so many from its beginning are not zero */
    uint8_t *content;
} images[IMAGES];
static unsigned image_count;

/* ---- What is left ------------------------------------------------------------------------------------- */

static void fill(struct heir_table *t)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        char key[32];
        uint64_t value = i * 7;
        snprintf(key, sizeof key, "key %u", i);
        MUST_RC(heir_put(t, key, strlen(key), &value, sizeof value), 0);
    }
}

static void make_table(struct heir *client, const char *name, struct heir_table_options options, bool open)
{
    static const uint8_t big[9000] = {1};
    struct heir_table *t;
    options.max_bytes = TABLE_BYTES;
    MUST_RC(heir_create(client, name, &options, &t), 0);
    fill(t);
    MUST_RC(heir_put(t, "big", 3, big, sizeof big), 0);
    MUST_RC(heir_del(t, "key 3", 5), 0);
    if (open) {
        MUST_RC(heir_begin(t), 0);
        MUST_RC(heir_put(t, "key 4", 5, "lost", 4), 0);
        MUST_RC(heir_put(t, "lost", 4, "lost", 4), 0);
    }
}

/* Makes tables, and stays until it is killed. */
static pid_t make_victim(void)
{
    int done[2];
    char byte;

    if (pipe2(done, O_CLOEXEC) < 0)
        abort();
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        struct heir *client;
        close(done[0]);
        MUST_RC(ground_open("victim", PATIENCE, &client), 0);
        make_table(client, "dead.set",
                   (struct heir_table_options){.heir = "owner", .heir_data = "d", .heir_data_len = 1}, true);
        make_table(client, "dead.bag", (struct heir_table_options){.type = HEIR_BAG, .access = HEIR_PUBLIC}, false);
        make_table(client, "dead.nobody", (struct heir_table_options){.heir = HEIR_NOBODY}, true);
        MUST(write(done[1], "", 1) == 1);
        for (;;)
            pause();
    }
    close(done[1]);
    MUST(read(done[0], &byte, 1) == 1);
    close(done[0]);
    return pid;
}

static void take_image(int shm, const char *name, char kind)
{
    struct image *im = &images[image_count++];
    struct stat st;
    int fd = openat(shm, name, O_RDONLY | O_CLOEXEC);

    MUST(image_count <= IMAGES && fd >= 0 && fstat(fd, &st) == 0);
    MUST(strlen(name) < sizeof im->name);
    strcpy(im->name, name);
    im->kind = kind;
    im->sound = strstr(name, ".sound") != NULL;
    im->bytes = (uint64_t)st.st_size;
    im->content = malloc(im->bytes);
    MUST(im->content != NULL && pread(fd, im->content, im->bytes, 0) == (ssize_t)im->bytes);
    for (im->kept = im->bytes; im->kept > 0 && im->content[im->kept - 1] == 0;)
        im->kept--;
    close(fd);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct image *)a)->name, ((const struct image *)b)->name);
}

static void set_up(void)
{
    static struct heir *owner; /* kept, but never used again: its page says that it lives, and it does */
    struct heir_keeper *keeper;
    struct heir_table *t;
    struct heir_snapshot *snapshot;
    char prefix[80];
    struct dirent *entry;

    ground_begin();
    MUST_RC(ground_keeper(&keeper), 0);
    MUST_RC(ground_open("owner", PATIENCE, &owner), 0);
    make_table(owner, "sound0", (struct heir_table_options){0}, false);
    make_table(owner, "sound1", (struct heir_table_options){.type = HEIR_ORDERED_SET}, false);
    MUST_RC(heir_claim(owner, "sound0", NULL, 0, &t), 0);
    MUST_RC(heir_release(t), 0);
    MUST_RC(heir_claim(owner, "sound1", NULL, 0, &t), 0);
    MUST_RC(heir_release(t), 0);
    make_table(owner, "own.set", (struct heir_table_options){.lease_ms = 1}, true);
    make_table(owner, "own.ordered", (struct heir_table_options){.type = HEIR_ORDERED_SET, .access = HEIR_PUBLIC},
               false);
    make_table(owner, "free", (struct heir_table_options){.heir = "victim"}, false);
    MUST_RC(heir_claim(owner, "free", NULL, 0, &t), 0);
    MUST_RC(heir_snapshot_open(t, &snapshot), 0);
    MUST_RC(heir_release(t), 0);
    pid_t victim = make_victim();
    heir_keeper_stop(keeper);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    snprintf(prefix, sizeof prefix, "heir.%s.", ground.ns);
    DIR *shm = opendir("/dev/shm");
    MUST(shm != NULL);
    while ((entry = readdir(shm)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            take_image(dirfd(shm), entry->d_name, entry->d_name[strlen(prefix)]);
    }
    closedir(shm);
    qsort(images, image_count, sizeof images[0], by_name); /* the same order every time */
    MUST(image_count == 3 + SOUND + 3 + 3);
    ground_clear();
}

/* ---- Damage ------------------------------------------------------------------------------------------- */

/* An object as it is now. */
static struct now {
    bool gone, fifo;
    uint64_t bytes, changed; /* so many from its beginning may not be zero */
    unsigned mode;
    char name[96];
} now[IMAGES];

static uint8_t *work[IMAGES];
static uint64_t work_room[IMAGES];

static uint64_t minimum(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void begin_work(void)
{
    for (unsigned i = 0; i < image_count; i++) {
        if (work[i] == NULL) {
            work_room[i] = images[i].bytes;
            work[i] = calloc(1, work_room[i]);
            MUST(work[i] != NULL);
        }
        memset(work[i], 0, now[i].changed);
        memcpy(work[i], images[i].content, images[i].kept);
        now[i] = (struct now){.bytes = images[i].bytes, .changed = images[i].kept, .mode = 0600};
        strcpy(now[i].name, images[i].name);
    }
}

/* {which, how, where (2 bytes), another (1 byte), value (8 bytes)} */
static void patch(const uint8_t *bytes)
{
    unsigned which = bytes[0] % image_count, other = bytes[4] % image_count;
    uint64_t where = (bytes[2] | (uint64_t)bytes[3] << 8) * 8, value;
    struct now *n = &now[which];

    memcpy(&value, bytes + 5, sizeof value);
    if (images[which].sound)
        return;
    if ((bytes[1] & 0x80) == 0) /* most things that matter are at the beginning */
        where %= images[which].kind == 't' ? sizeof(struct table_page) : 768;
    where = where % minimum(work_room[which], TABLE_BYTES) / 8 * 8;
    word_t *word = (word_t *)(void *)(work[which] + where);
    if ((bytes[1] & 0x7f) < 100 && where + 8 > n->changed)
        n->changed = where + 8;
    switch (bytes[1] & 0x7f) {
    case 0 ... 29:
        set(word, value);
        break;
    case 30 ... 49: /* a bit */
        set(word, get(word) ^ UINT64_C(1) << (value & 63));
        break;
    case 50 ... 64: /* a little more, or less */
        set(word, get(word) + (uint64_t)(int8_t)(value & 0xff));
        break;
    case 65 ... 74: /* half of it */
        set(word, (get(word) & ~UINT64_C(0xffffffff)) | (value & 0xffffffff));
        break;
    case 75 ... 89: /* what stands there in another object */
        memcpy(&value, images[other].content + where % images[other].bytes / 8 * 8, sizeof value);
        set(word, value);
        break;
    case 90 ... 94: /* many words */
        for (uint64_t i = where; i < minimum(where + bytes[4] * 8u, work_room[which]); i += 8) {
            set((word_t *)(void *)(work[which] + i), value);
            n->changed = n->changed > i + 8 ? n->changed : i + 8;
        }
        break;
    case 95 ... 99: /* the whole beginning of another object */
        n->changed = minimum(images[other].kept, work_room[which]) > n->changed
                         ? minimum(images[other].kept, work_room[which])
                         : n->changed;
        memcpy(work[which], images[other].content, minimum(images[other].kept, work_room[which]));
        break;
    case 100 ... 109:
        n->bytes = bytes[4] % 2 == 0 ? value % (n->bytes + 1) : value % 8 * PAGE_BYTES;
        break;
    case 110 ... 113:
        n->bytes += value % 65536;
        break;
    case 114 ... 117:
        n->gone = true;
        break;
    case 118 ... 121: /* another name of its kind, or none */
        if (images[which].kind == 'k')
            break;
        snprintf(n->name, sizeof n->name, "heir.%s.%c.%s", ground.ns, images[which].kind,
                 (const char *[]){"", "x", "-1", "4", "99", "18446744073709551616", "268435455", "a b"}[value % 8]);
        break;
    case 122 ... 123:
        n->fifo = images[which].kind != 'k';
        break;
    case 124 ... 125:
        n->mode = value & 0777;
    }
}

/* What would not be the keeper's fault, or harm others. */
static void make_harmless(unsigned i)
{
    if (images[i].kind == 'c') { /* nobody but us may be killed for what a page says */
        struct client_page *page = (struct client_page *)(void *)work[i];
        if (page->pid != getpid())
            page->pid = page->pid > 0 ? INT_MAX : page->pid < -1 ? -1 : page->pid;
    }
    if (images[i].kind == 't') { /* of two tables with one number, one is in the wrong; it is not said which */
        struct table_page *page = (struct table_page *)(void *)work[i];
        for (unsigned s = 0; s < image_count; s++) {
            if (images[s].sound && images[s].kind == 't' &&
                page->head.id == ((const struct table_page *)(const void *)images[s].content)->head.id)
                page->head.id = 0;
        }
    }
}

static void put_down(void)
{
    int shm = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(shm >= 0);
    for (unsigned i = 0; i < image_count; i++) {
        const struct now *n = &now[i];
        if (!images[i].sound)
            make_harmless(i);
        if (n->gone)
            continue;
        if (n->fifo) {
            mkfifoat(shm, n->name, 0600);
            continue;
        }
        int fd = openat(shm, n->name, O_RDWR | O_CREAT | O_CLOEXEC | O_EXCL, 0600);
        if (fd < 0 && errno == EEXIST)
            continue; /* renamed to the same name */
        uint64_t bytes = minimum(n->changed, n->bytes);
        MUST(fd >= 0 && pwrite(fd, work[i], bytes, 0) == (ssize_t)bytes && ftruncate(fd, (off_t)n->bytes) == 0 &&
             fchmod(fd, n->mode) == 0);
        close(fd);
    }
    close(shm);
}

/* ---- Use ---------------------------------------------------------------------------------------------- */

static void check_sound(struct heir *client, const char *name)
{
    struct heir_table *t;

    MUST_RC(heir_claim(client, name, NULL, PATIENCE, &t), 0);
    for (unsigned i = 0; i < OBJECTS; i++) {
        char key[32];
        uint64_t value = 0;
        size_t len = sizeof value;
        snprintf(key, sizeof key, "key %u", i);
        MUST_RC(heir_get(t, key, strlen(key), &value, &len), i == 3 ? -ENOENT : 0);
        MUST(i == 3 || (len == sizeof value && value == i * 7));
    }
    MUST_RC(heir_check(t, NULL, NULL, NULL), 0);
    MUST_RC(heir_put(t, "new", 3, "new", 3), 0);
}

/* Whatever comes of it. */
static void look_at(struct heir *client, const char *name)
{
    struct heir_table *t;
    uint8_t value[64];
    size_t len = sizeof value;
    int64_t sum;

    if (heir_claim(client, name, NULL, 0, &t) == 0) {
        heir_get(t, "key 5", 5, value, &len);
        heir_add(t, "n", 1, 1, &sum);
        heir_check(t, NULL, NULL, NULL);
        heir_release(t);
    } else if (heir_attach(client, name, &t) == 0) {
        heir_get(t, "key 5", 5, value, &len);
        heir_check(t, NULL, NULL, NULL);
    }
}

static bool numbers_left(void)
{
    char path[128];
    struct space_page page;
    snprintf(path, sizeof path, "/dev/shm/heir.%s.k", ground.ns);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0 && pread(fd, &page, sizeof page, 0) == (ssize_t)sizeof page);
    close(fd);
    return get(&page.next_client) < UINT64_C(1) << OWNER_ID_BITS && get(&page.next_table) < OWNED_ID_MAX;
}

static void use(void)
{
    struct heir_table_options small = {.max_bytes = HEIR_TABLE_MIN};
    struct heir_keeper *keeper;
    struct heir_table *t;
    struct heir *client;

    int r = ground_keeper(&keeper);
    if (r == -EPROTONOSUPPORT) /* says the namespace's page */
        return;
    MUST_RC(r, 0);
    if (numbers_left()) {
        MUST_RC(ground_open("fresh", PATIENCE, &client), 0);
        MUST(heir_id(client) != HEIR_KEEPER);
        check_sound(client, "sound0");
        check_sound(client, "sound1");
        MUST_RC(heir_create(client, "fresh", &small, &t), 0);
        MUST_RC(heir_put(t, "k", 1, "v", 1), 0);
        MUST_RC(heir_check(t, NULL, NULL, NULL), 0);
        MUST_RC(heir_destroy(t), 0);
        MUST_RC(heir_close(client), 0);
        if (ground_open("curious", 15, &client) == 0) { /* a writer mutex may say for ever that it is held */
            for (unsigned i = 0; i < image_count; i++) {
                if (images[i].kind == 't' && !images[i].sound)
                    look_at(client, images[i].name + strlen("heir..t.") + strlen(ground.ns));
            }
            heir_close(client);
        }
    }
    heir_keeper_stop(keeper);
}

/* The first byte counts for nothing. The rest: patches. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (image_count == 0) {
        set_up();
        for (unsigned i = 0; i < 2; i++) { /* undamaged, and once more: what the library keeps for good is there now */
            begin_work();
            put_down();
            use();
            ground_clear();
        }
    }
    int descriptors = ground_descriptors();
    begin_work();
    for (size_t i = 1; i + PATCH_BYTES <= size && i < 40 * PATCH_BYTES; i += PATCH_BYTES)
        patch(data + i);
    put_down();
    use();
    ground_clear();
    MUST_RC(ground_descriptors(), descriptors);
    return 0;
}

#ifndef HEIR_LIBFUZZER
int main(int argc, char **argv)
{
    return ground_main(argc, argv, "adopt", PATCH_BYTES, 12);
}
#endif
