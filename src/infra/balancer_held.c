/* Who waits for a first server, and how those get on who wait in a process that was replaced.
 *
 * A process that is told to end hears of no server any more: who waits there would be turned away.
 * So where somebody waits, or may, the new process is started beside the old one; that shuts its
 * doors, and is not told to end. It lingers: commands of later changes go to both, and servers that
 * come with the change itself are added to the sections where somebody waits. As soon as nobody
 * does, it is told. A section means the same backend in both if that has had it ever since; or
 * requests would be led to another's. */
#include "balancer_live_priv.h"

#include <string.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

bool
syn_balancer_holds(const struct syn_balancer *balancer)
{
    return balancer->setup.lua;
}

/* Of one backend: what it has, less what its servers have. */
static int
ask_held(struct lb_wire *wire, const char *section, uint64_t *ret_held, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct lb_stat *stats = NULL;
    uint64_t all = 0, served = 0;
    char command[64];
    size_t count = 0;
    int rc;

    (void)snprintf(command, sizeof(command), "show stat %.31s 6 -1\n", section);
    rc = lb_show_stat(wire, command, &stats, &count, err);
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        *(syn_str_eq(stats[i].server, "BACKEND") ? &all : &served) += stats[i].value[LB_SCUR];
    if (rc == SYN_OK)
        *ret_held += all - SYN_MIN(served, all);
    return rc;
}

/* Section -> how many wait there, in one process. */
static int
gather_held(struct lb_wire *wire, struct syn_map *held, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct lb_stat *stats = NULL;
    size_t count = 0;
    int rc = lb_show_stat(wire, "show stat -1 2 -1\n", &stats, &count, err);

    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        uint64_t waiting = (uint64_t)(uintptr_t)syn_map_find(held, stats[i].proxy);

        if (stats[i].value[LB_ACT] > 0 || stats[i].value[LB_SCUR] == 0)
            continue;
        rc = ask_held(wire, stats[i].proxy, &waiting, err);
        if (rc == SYN_OK && waiting > 0) /* a number in a pointer's place */
            rc =
                syn_map_put_take(held, stats[i].proxy,
                                 (void *)(uintptr_t)waiting, /* NOLINT(performance-no-int-to-ptr) */
                                 err);
    }
    return rc;
}

static int
held_locked(struct syn_balancer *balancer,
            void (*each)(void *arg, const char *backend, uint64_t count), void *arg,
            struct syn_err *err)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = NULL;
    SYN_SCOPED(syn_map_free_scope) struct syn_map *held = NULL;
    const struct lb_model *model = balancer->model;
    int rc;

    if (!balancer->begun || balancer->adrift)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy does not run as it should");
    rc = syn_map_new(NULL, &held, err);
    if (rc == SYN_OK)
        rc = lb_connect(balancer, &wire, err);
    if (rc == SYN_OK)
        rc = gather_held(wire, held, err);
    for (size_t i = 0; rc == SYN_OK && i < balancer->old_count; i++)
        if (balancer->old_wire[i] != NULL && lb_process_alive(&balancer->old[i]))
            (void)!gather_held(balancer->old_wire[i], held, NULL);
    for (size_t i = 0; rc == SYN_OK && i < model->slot_count; i++) {
        char name[16];
        uint64_t waiting;

        (void)snprintf(name, sizeof(name), "b%u", model->slots[i].number);
        waiting = (uint64_t)(uintptr_t)syn_map_find(held, name);
        if (model->slots[i].id != NULL && waiting > 0)
            each(arg, model->slots[i].id, waiting);
    }
    return rc;
}

int
syn_balancer_held(struct syn_balancer *balancer,
                  void (*each)(void *arg, const char *backend, uint64_t count), void *arg,
                  struct syn_err *err)
{
    int rc;

    lb_lock(balancer);
    rc = held_locked(balancer, each, arg, err);
    lb_unlock(balancer);
    return rc;
}

/* --- in processes that were replaced ---------------------------------------------------------- */

/* Does the section mean this backend in a process of that generation, too? */
static bool
is_same_there(const struct syn_balancer *balancer, const struct lb_slot *slot, unsigned generation)
{
    const struct lb_tally *tally = syn_map_find(balancer->tallies, slot->id);

    return tally != NULL && tally->slot == slot->number && tally->born <= generation;
}

/* The servers that get requests, as commands. */
static size_t
add_servers(const struct lb_setup *setup, const struct lb_slot *slot, struct syn_buf *out)
{
    size_t count = 0;

    for (size_t i = 0; i < slot->server_count; i++) {
        const struct lb_server *server = &slot->servers[i];

        if (!server->off && !server->leaving && server->weight > 0)
            count += lb_server_commands(setup, slot, server, out);
    }
    return count;
}

static int
let_on(const struct syn_balancer *balancer, struct lb_wire *wire, unsigned generation,
       bool *ret_waits, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *held = NULL;
    const struct lb_model *model = balancer->model;
    SYN_BUF(commands);
    SYN_BUF(replies);
    size_t count = 0;
    int rc = syn_map_new(NULL, &held, err);

    if (rc == SYN_OK)
        rc = gather_held(wire, held, err);
    if (rc < 0 || syn_map_count(held) == 0)
        return rc;
    *ret_waits = true;
    for (size_t i = 0; i < model->slot_count; i++) {
        const struct lb_slot *slot = &model->slots[i];
        char name[16];

        (void)snprintf(name, sizeof(name), "b%u", slot->number);
        if (slot->id != NULL && syn_map_find(held, name) != NULL &&
            is_same_there(balancer, slot, generation))
            count += add_servers(&balancer->setup, slot, &commands);
    }
    rc = syn_buf_ok(&commands, err);
    /* One that it has from before is said to be ready, which is as good: replies tell no more. */
    return rc < 0 || count == 0 ? rc
                                : lb_wire_ask(wire, syn_buf_text(&commands), count, &replies, err);
}

bool
lb_may_wait(const struct syn_balancer *balancer, struct lb_wire *wire)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *held = NULL;
    const struct lb_model *model = balancer->model;

    for (size_t i = 0; i < model->slot_count; i++) {
        const struct lb_slot *slot = &model->slots[i];
        bool served = false;
        char name[16];

        for (size_t k = 0; k < slot->server_count; k++)
            served = served || (!slot->servers[k].off && !slot->servers[k].leaving);
        (void)snprintf(name, sizeof(name), "b%u", slot->number);
        if (slot->id != NULL && !served && syn_map_find(model->routes, name) != NULL)
            return true;
    }
    return syn_map_new(NULL, &held, NULL) == SYN_OK && gather_held(wire, held, NULL) == SYN_OK &&
           syn_map_count(held) > 0;
}

int
lb_shut_doors(struct lb_wire *wire, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct lb_stat *stats = NULL;
    SYN_BUF(commands);
    size_t count = 0;
    int rc = lb_show_stat(wire, "show stat -1 1 -1\n", &stats, &count, err);

    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        syn_buf_addf(&commands, "shutdown frontend %.31s\n", stats[i].proxy);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&commands, err);
    return rc < 0 ? rc : lb_wire_do(wire, syn_buf_text(&commands), count, err);
}

void
lb_tell_lingering(struct syn_balancer *balancer, const struct lb_change *change)
{
    for (size_t i = 0; i < balancer->old_count; i++) {
        SYN_BUF(replies); /* of what it does not have, it says so */

        if (balancer->old[i].lingers && balancer->old_wire[i] != NULL &&
            lb_process_alive(&balancer->old[i]))
            (void)!lb_wire_ask(balancer->old_wire[i], syn_buf_text(&change->commands),
                               change->command_count, &replies, NULL);
    }
}

bool
lb_let_on(struct syn_balancer *balancer)
{
    bool lingers = false;

    for (size_t i = 0; i < balancer->old_count; i++) {
        struct lb_process *process = &balancer->old[i];
        bool waits = false;
        struct syn_err err;

        if (!process->lingers || !lb_process_alive(process))
            continue;
        if (balancer->old_wire[i] != NULL &&
            let_on(balancer, balancer->old_wire[i], process->generation, &waits, &err) < 0)
            syn_log_err(SYN_LOG_DEBUG, "balancer.replaced", &err);
        if (!waits)
            lb_process_retire(process);
        lingers = lingers || waits;
    }
    return lingers;
}
