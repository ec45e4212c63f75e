/* Who waits for a first server, and how those get on who wait in a process that was replaced.
 *
 * A process that is told to end hears of no server any more: who waits there would be turned away.
 * So where somebody waits, or may, the new process is started beside the old one; that shuts its
 * doors, and is not told to end. It lingers: commands of later changes go to both, and servers that
 * come with the change itself are added to the sections where somebody waits. As soon as nobody
 * does, it is told. A section means the same backend in both if that has had it ever since; or
 * requests would be led to another's.
 *
 * One that an earlier owner of the folder left has sections of other numbers, and so have those
 * that lingered beside it. The map that they keep says under each section whose it is: a mark of
 * the backend and its shape. */
#include "balancer_live_priv.h"

#include <string.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define FOUND_FROM 1000000 /* numbers of servers that are added to processes that were found */

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

static void
section_name(unsigned number, char ret[16])
{
    (void)snprintf(ret, 16, "b%u", number);
}

/* The number of the backend's section in a process that was found; 0: it has none that is alike. */
static unsigned
number_there(const struct lb_model *model, const struct lb_slot *slot, const struct lb_process *old)
{
    const char *limit, *mark;
    char name[16];

    section_name(slot->number, name);
    limit = syn_map_find(model->routes, name);
    mark = limit == NULL ? NULL : strchr(limit, '/');
    return mark == NULL ? 0 : (unsigned)(uintptr_t)syn_map_find(old->marks, mark + 1);
}

static uint64_t
find_held(const struct syn_map *held, unsigned number)
{
    char name[16];

    section_name(number, name);
    return (uint64_t)(uintptr_t)syn_map_find(held, name);
}

/* How many wait for it in processes that were found. */
static uint64_t
held_there(struct syn_balancer *balancer, const struct lb_slot *slot)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < balancer->old_count; i++) {
        SYN_SCOPED(syn_map_free_scope) struct syn_map *held = NULL;
        unsigned number = balancer->old[i].marks == NULL
                              ? 0
                              : number_there(balancer->model, slot, &balancer->old[i]);

        if (number > 0 && balancer->old_wire[i] != NULL && lb_process_alive(&balancer->old[i]) &&
            syn_map_new(NULL, &held, NULL) == SYN_OK &&
            gather_held(balancer->old_wire[i], held, NULL) == SYN_OK)
            sum += find_held(held, number);
    }
    return sum;
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
        if (balancer->old_wire[i] != NULL && balancer->old[i].marks == NULL &&
            lb_process_alive(&balancer->old[i]))
            (void)!gather_held(balancer->old_wire[i], held, NULL);
    for (size_t i = 0; rc == SYN_OK && i < model->slot_count; i++) {
        uint64_t waiting;

        if (model->slots[i].id == NULL)
            continue;
        waiting = find_held(held, model->slots[i].number) + held_there(balancer, &model->slots[i]);
        if (waiting > 0)
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

/* The servers that get requests, as commands. In a process that was found they have numbers that
 * nobody has there, and those of other nodes are left out: certificates have other numbers, too. */
static size_t
add_servers(const struct lb_setup *setup, const struct lb_slot *slot, bool found,
            struct syn_buf *out)
{
    size_t count = 0;

    for (size_t i = 0; i < slot->server_count; i++) {
        struct lb_server server = slot->servers[i];

        if (server.off || server.leaving || server.weight == 0 || (found && server.peer != NULL))
            continue;
        server.number += found ? FOUND_FROM : 0;
        count += lb_server_commands(setup, slot, &server, out);
    }
    return count;
}

/* The backend's section in that process; 0: it has none. */
static unsigned
section_there(const struct syn_balancer *balancer, const struct lb_slot *slot,
              const struct lb_process *process)
{
    if (process->marks != NULL)
        return number_there(balancer->model, slot, process);
    return is_same_there(balancer, slot, process->generation) ? slot->number : 0;
}

static int
let_on(const struct syn_balancer *balancer, struct lb_wire *wire, const struct lb_process *process,
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
        struct lb_slot slot = model->slots[i];

        slot.number = slot.id == NULL ? 0 : section_there(balancer, &slot, process);
        if (slot.number > 0 && find_held(held, slot.number) > 0)
            count += add_servers(&balancer->setup, &slot, process->marks != NULL, &commands);
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
        section_name(slot->number, name);
        if (slot->id != NULL && !served && syn_map_find(model->routes, name) != NULL)
            return true;
    }
    return syn_map_new(NULL, &held, NULL) == SYN_OK && gather_held(wire, held, NULL) == SYN_OK &&
           syn_map_count(held) > 0;
}

/* A line is "0x55d1b6c0 b7 60000/0123456789abcdef". */
static int
learn_line(char *line, struct syn_map *marks, struct syn_err *err)
{
    char *key = strchr(line, ' ');
    char *value = key == NULL ? NULL : strchr(key + 1, ' ');
    char *mark = value == NULL ? NULL : strchr(value, '/');
    uint64_t number;

    if (mark == NULL || key[1] != 'b')
        return SYN_OK;
    *value = '\0';
    if (syn_parse_u64(key + 2, 1, FOUND_FROM, "", &number, NULL) < 0)
        return SYN_OK;
    return syn_map_put_take(marks, mark + 1,
                            (void *)(uintptr_t)number, /* NOLINT(performance-no-int-to-ptr) */
                            err);
}

int
lb_learn_marks(struct lb_process *process, struct lb_wire *wire, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *marks = NULL;
    SYN_BUF(reply);
    uint64_t stopping = 0;
    char *line;
    int rc = lb_ask_info(wire, "\nStopping: ", &stopping, err);

    if (rc == SYN_OK && stopping != 0)
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "it was told to end");
    if (rc == SYN_OK)
        rc = lb_wire_ask(wire, "show map routes.map\n", 1, &reply, err);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &marks, err);
    line = rc < 0 ? NULL : reply.data;
    while (rc == SYN_OK && line != NULL && *line != '\0') {
        char *end = strchr(line, '\n');

        if (end != NULL)
            *end++ = '\0';
        rc = learn_line(line, marks, err);
        line = end;
    }
    if (rc == SYN_OK)
        process->marks = SYN_TAKE(marks);
    return rc;
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
            balancer->old[i].marks == NULL && lb_process_alive(&balancer->old[i]))
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
            let_on(balancer, balancer->old_wire[i], process, &waits, &err) < 0)
            syn_log_err(SYN_LOG_DEBUG, "balancer.replaced", &err);
        if (!waits)
            lb_process_retire(process);
        lingers = lingers || waits;
    }
    return lingers;
}
