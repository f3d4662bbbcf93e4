/* SPDX-License-Identifier: MIT */
/*
 * Peers: other clients of this user, to whom tables can be given without the keeper.
 *
 * The keeper hands out their page and their bell once; both are kept, for the most recent ones. A client that another
 * user's is, or that has no bell, is kept as one that is out of reach.
 */
#include "atomics.h"
#include "client.h"
#include "shm.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PEERS_MOST 64

struct peer {
    uint64_t id;
    struct client_page *page; /* NULL: out of reach */
    int bell;
    unsigned users;
    struct cds_list_head list; /* the most recent first */
};

struct party peer_party(const struct peer *p)
{
    return (struct party){.id = p->id, .page = p->page, .bell = p->bell};
}

static void peer_free(struct peer *p)
{
    cds_list_del(&p->list);
    if (p->page != NULL)
        munmap(p->page, CLIENT_PAGE_BYTES);
    if (p->bell >= 0)
        close(p->bell);
    free(p);
}

/* With the lock held, as in all that follows but peer_get() and peer_put(). */
static struct peer *find(struct heir *c, uint64_t id)
{
    struct peer *p;
    cds_list_for_each_entry(p, &c->peers, list) {
        if (p->id == id)
            return p;
    }
    return NULL;
}

/* Those that have ended, and the one that was not needed for longest. */
static void make_room(struct heir *c)
{
    struct peer *p, *next;
    unsigned count = 0;
    cds_list_for_each_entry_safe(p, next, &c->peers, list) {
        if (p->users == 0 && (++count >= PEERS_MOST || (p->page != NULL && get(&p->page->dead) != 0)))
            peer_free(p);
    }
}

static struct peer *peer_new(struct heir *c, uint64_t id, int page_fd, int bell)
{
    struct peer *p = malloc(sizeof *p);
    if (p == NULL)
        return NULL;
    *p = (struct peer){.id = id, .bell = bell};
    if (page_fd >= 0) {
        p->page = shm_map(page_fd, CLIENT_PAGE_BYTES, true);
        if (p->page == NULL || head_check(&p->page->head, CLIENT_MAGIC, CLIENT_PAGE_BYTES, CLIENT_PAGE_BYTES) < 0 ||
            p->page->head.id != id) {
            if (p->page != NULL)
                munmap(p->page, CLIENT_PAGE_BYTES);
            free(p);
            return NULL;
        }
    }
    make_room(c);
    cds_list_add(&p->list, &c->peers);
    return p;
}

int peer_get(struct heir *c, uint64_t id, struct peer **peer)
{
    int r = 0;

    pthread_mutex_lock(&c->lock);
    struct peer *p = find(c, id);
    if (p == NULL) {
        struct wire_request q = {.head.type = WIRE_PEER, .id = id};
        struct wire_reply reply;
        int fds[WIRE_FDS] = {-1, -1};
        pthread_mutex_unlock(&c->lock);
        r = call_for_both(c, &q, deadline_after(c->timeout_ms), &reply, fds);
        pthread_mutex_lock(&c->lock);
        p = find(c, id); /* another thread may have asked, too */
        if (p == NULL && (r == 0 || r == -EREMOTE)) {
            p = peer_new(c, id, fds[0], fds[1]);
            r = p == NULL ? -ENOMEM : 0;
            fds[1] = p == NULL ? fds[1] : -1;
        }
        for (unsigned i = 0; i < WIRE_FDS; i++) {
            if (fds[i] >= 0)
                close(fds[i]);
        }
    }
    if (p != NULL)
        r = p->page != NULL ? 0 : -EREMOTE;
    if (r == 0) {
        p->users++;
        cds_list_move(&p->list, &c->peers);
        *peer = p;
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

void peer_put(struct heir *c, struct peer *p)
{
    pthread_mutex_lock(&c->lock);
    p->users--;
    pthread_mutex_unlock(&c->lock);
}

void peers_free(struct heir *c)
{
    while (!cds_list_empty(&c->peers))
        peer_free(cds_list_entry(c->peers.next, struct peer, list));
}
