/* SPDX-License-Identifier: MIT */
/*
 * heirctl ping: is the keeper there, and how is it.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static enum exit_status print_json(const struct ctl *ctl, const struct heir_keeper_status *keeper, double answer_us)
{
    json_t *object = json_object();
    json_object_set_new(object, "namespace", json_text(ctl_ns(ctl)));
    json_object_set_new(object, "pid", json_integer(keeper->pid));
    json_object_set_new(object, "version", json_text(keeper->version));
    json_object_set_new(object, "protocol", json_integer(keeper->protocol));
    json_object_set_new(object, "uptime_ms", json_integer((json_int_t)keeper->uptime_ms));
    json_object_set_new(object, "tables", json_integer((json_int_t)keeper->tables));
    json_object_set_new(object, "clients", json_integer((json_int_t)keeper->clients));
    json_object_set_new(object, "deaths", json_integer((json_int_t)keeper->deaths));
    json_object_set_new(object, "transfers", json_integer((json_int_t)keeper->transfers));
    json_object_set_new(object, "damaged", json_integer((json_int_t)keeper->damaged));
    json_object_set_new(object, "answer_us", json_integer((json_int_t)answer_us));
    return json_print(object);
}

static void print_text(const struct ctl *ctl, const struct heir_keeper_status *keeper, double answer_us)
{
    char uptime[TEXT_MAX];
    duration_text(uptime, keeper->uptime_ms);
    printf("the keeper of the namespace '%s' answered in %.2f ms\n", ctl_ns(ctl), answer_us / 1e3);
    printf("process     pid %d, version %s, protocol %" PRIu32 ", up %s\n", (int)keeper->pid, keeper->version,
           keeper->protocol, uptime);
    printf("now         %" PRIu64 " table%s, %" PRIu64 " client%s\n", keeper->tables, keeper->tables == 1 ? "" : "s",
           keeper->clients, keeper->clients == 1 ? "" : "s");
    printf("since then  %" PRIu64 " deaths reclaimed, %" PRIu64 " transfers\n", keeper->deaths, keeper->transfers);
    printf("set aside   %" PRIu64 " damaged%s\n", keeper->damaged,
           keeper->damaged > 0 ? " (heirctl ls shows them)" : "");
}

static enum exit_status run(struct ctl *ctl)
{
    struct heir_open_options options = ctl_options(ctl);
    struct heir_keeper_status keeper;
    double begin = now_us();
    int error = heir_ping(&options, &keeper);
    double answer_us = now_us() - begin;
    if (error < 0)
        return ctl_fail_error(ctl, error, "no keeper for the namespace '%s'", ctl_ns(ctl));
    keeper.version[sizeof keeper.version - 1] = '\0';
    if (ctl->json)
        return print_json(ctl, &keeper, answer_us);
    print_text(ctl, &keeper, answer_us);
    return DONE;
}

const struct verb verb_ping = {
    .name = "ping",
    .arguments = "",
    .line = "ask the keeper how it is",
    .text = "Waits up to a second for an answer. Exit status 3 when there is none.\n"
            "\n"
            "--json:\n"
            "  {\"namespace\": text, \"pid\": number, \"version\": text, \"protocol\": number, \"uptime_ms\": number,\n"
            "   \"tables\": number, \"clients\": number, \"deaths\": number, \"transfers\": number,\n"
            "   \"damaged\": number of tables set aside, \"answer_us\": number}\n"
            "  deaths and transfers are counted since this keeper was started.\n",
    .run = run,
};
