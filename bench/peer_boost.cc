/* SPDX-License-Identifier: MIT */
/*
 * What does Boost.Interprocess cost: boost::unordered_map in managed_shared_memory, every operation under one
 * interprocess_mutex? Keys are integers, values arrays of a size known to the compiler: its most favourable form. A
 * process killed inside leaves a locked mutex and half of a change.
 */
#include "peer.h"
#include "world.h"

#include <boost/functional/hash.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/unordered_map.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

namespace
{

namespace bip = boost::interprocess;

/* The operations as seen by the functions below, whatever the value's size. */
struct store {
    virtual ~store() = default;
    virtual int insert(uint64_t key, const void *value) = 0;
    virtual int get(uint64_t key, void *value) = 0;
    virtual int put(uint64_t key, const void *value) = 0;
    virtual int del(uint64_t key) = 0;
    virtual int add(uint64_t key, int64_t delta, int64_t *result) = 0;
    virtual void walk(uint64_t *objects, uint64_t *sum) = 0;
    virtual uint64_t bytes() = 0;
};

template <size_t Size> struct sized_store final : store {
    struct value_type {
        unsigned char bytes[Size];
    };
    using pair = std::pair<const uint64_t, value_type>;
    using allocator = bip::allocator<pair, bip::managed_shared_memory::segment_manager>;
    using map_type =
        boost::unordered_map<uint64_t, value_type, boost::hash<uint64_t>, std::equal_to<uint64_t>, allocator>;
    using lock = bip::scoped_lock<bip::interprocess_mutex>;

    bip::managed_shared_memory memory;
    bip::interprocess_mutex *mutex;
    map_type *map;

    sized_store(const char *name, uint64_t room) : memory(bip::create_only, name, room, nullptr, bip::permissions(0600))
    {
        bip::shared_memory_object::remove(name);
        mutex = memory.construct<bip::interprocess_mutex>("mutex")();
        map = memory.construct<map_type>("map")(3, boost::hash<uint64_t>(), std::equal_to<uint64_t>(),
                                                allocator(memory.get_segment_manager()));
    }

    static value_type value_of(const void *from)
    {
        value_type v;
        memcpy(v.bytes, from, Size);
        return v;
    }

    int insert(uint64_t key, const void *value) override
    {
        lock guard(*mutex);
        return map->emplace(key, value_of(value)).second ? 0 : -EEXIST;
    }

    int get(uint64_t key, void *value) override
    {
        lock guard(*mutex);
        auto it = map->find(key);
        if (it == map->end())
            return -ENOENT;
        memcpy(value, it->second.bytes, Size);
        return 0;
    }

    int put(uint64_t key, const void *value) override
    {
        lock guard(*mutex);
        auto it = map->find(key);
        if (it == map->end())
            return map->emplace(key, value_of(value)).second ? 0 : -EEXIST;
        memcpy(it->second.bytes, value, Size);
        return 0;
    }

    int del(uint64_t key) override
    {
        lock guard(*mutex);
        return map->erase(key) ? 0 : -ENOENT;
    }

    int add(uint64_t key, int64_t delta, int64_t *result) override
    {
        lock guard(*mutex);
        value_type &value = (*map)[key]; /* a new one is all zero */
        int64_t number;
        memcpy(&number, value.bytes, sizeof number);
        *result = number += delta;
        memcpy(value.bytes, &number, sizeof number);
        return 0;
    }

    void walk(uint64_t *objects, uint64_t *sum) override
    {
        lock guard(*mutex);
        *objects = *sum = 0;
        for (const auto &object : *map) {
            uint64_t number;
            memcpy(&number, object.second.bytes, sizeof number);
            ++*objects;
            *sum += number;
        }
    }

    uint64_t bytes() override { return memory.get_size() - memory.get_free_memory(); }
};

/* Nothing may throw into C. */
template <typename Call> int guarded(Call call)
{
    try {
        return call();
    } catch (const std::bad_alloc &) { /* Interprocess's own is derived from it */
        return -ENOSPC;
    } catch (...) {
        return -EIO;
    }
}

store *of(void *state)
{
    return static_cast<store *>(state);
}

int boost_open(const struct peer_setup *setup, void **state)
{
    return guarded([&] {
        /* A node and its block's head, two bucket arrays while it grows, and room for fragments. */
        uint64_t room = setup->objects * (setup->value_size + 128) * 3 / 2 + (64u << 20);
        char name[64];
        /* Named like the namespace's own, it is removed with them should we be killed right here. */
        snprintf(name, sizeof name, "heir.%s.boost", setup->world->ns);
        if (setup->value_size == 16)
            *state = new sized_store<16>(name, room);
        else if (setup->value_size == 64)
            *state = new sized_store<64>(name, room);
        else if (setup->value_size == 1024)
            *state = new sized_store<1024>(name, room);
        else
            return -ENOTSUP;
        return 0;
    });
}

void boost_close(void *state)
{
    delete of(state);
}

int boost_insert(void *state, const uint64_t *key, const void *value)
{
    return guarded([&] { return of(state)->insert(*key, value); });
}

int boost_get(void *state, const uint64_t *key, void *value)
{
    return guarded([&] { return of(state)->get(*key, value); });
}

int boost_put(void *state, const uint64_t *key, const void *value)
{
    return guarded([&] { return of(state)->put(*key, value); });
}

int boost_del(void *state, const uint64_t *key)
{
    return guarded([&] { return of(state)->del(*key); });
}

int boost_walk(void *state, uint64_t *objects, uint64_t *sum)
{
    return guarded([&] {
        of(state)->walk(objects, sum);
        return 0;
    });
}

int boost_add(void *state, const uint64_t *key, int64_t delta, int64_t *result)
{
    return guarded([&] { return of(state)->add(*key, delta, result); });
}

int boost_bytes(void *state, uint64_t *bytes)
{
    *bytes = of(state)->bytes();
    return 0;
}

} // namespace

extern "C" const struct peer peer_boost = {
    "boost",      "Boost.Interprocess unordered_map in managed_shared_memory under interprocess_mutex; no crash safety",
    boost_open,   boost_close,
    boost_insert, boost_get,
    boost_put,    boost_del,
    boost_walk,
    nullptr, // range
    nullptr, // hold
    nullptr, // held_range
    boost_add,
    nullptr, // put_many: it has no transactions
    boost_bytes,
    nullptr, // settle
    nullptr, // taken
};
