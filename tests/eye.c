/* SPDX-License-Identifier: MIT */
/* A client that looks; see eye.h. */
#include "eye.h"

static struct heir *eye;

void look_on_by(const char *const options[])
{
    REQUIRE_EQ(keeper_start(options), 0);
    eye = test_open("eye");
}

void look_on(void)
{
    look_on_by(NULL);
}

struct heir_table *seen(const char *name)
{
    struct heir_table *table = NULL;
    REQUIRE_RC(heir_attach(eye, name, &table), 0);
    return table;
}

struct heir_info look(const char *name)
{
    struct heir_info info = {.owner = UINT64_MAX};
    CHECK_RC(heir_info(seen(name), &info), 0);
    return info;
}

struct hope {
    struct heir_table *table;
    uint64_t number;
    const char *name;
};

static bool owned_by(void *arg)
{
    struct hope *hope = arg;
    struct heir_info info;
    return heir_info(hope->table, &info) == 0 && info.owner == hope->number;
}

bool comes_to(const char *name, uint64_t owner)
{
    struct hope hope = {.table = seen(name), .number = owner};
    return wait_until(owned_by, &hope, PATIENCE);
}

static bool has_waiting(void *arg)
{
    struct hope *hope = arg;
    struct heir_info info;
    return heir_info(hope->table, &info) == 0 && info.waiting == hope->number;
}

bool line_has(const char *name, uint64_t waiting)
{
    struct hope hope = {.table = seen(name), .number = waiting};
    return wait_until(has_waiting, &hope, PATIENCE);
}

static bool is_gone(void *arg)
{
    struct hope *hope = arg;
    struct heir_table *table;
    return heir_attach(eye, hope->name, &table) == -ENOENT;
}

bool vanishes(const char *name)
{
    struct heir_table *table = NULL;
    if (heir_attach(eye, name, &table) == 0)
        heir_detach(table);
    struct hope hope = {.name = name};
    return wait_until(is_gone, &hope, PATIENCE);
}
