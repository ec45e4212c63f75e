/* What a balancer's backends have counted, have open, and keep waiting. */
#include "balancer_live_priv.h"

#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

static uint64_t
total(const struct lb_tally *tally, enum lb_field field)
{
    return tally->base[field] + tally->seen[field];
}

static void
fill_counts(const struct lb_tally *tally, bool tcp, struct syn_balancer_counts *ret)
{
    *ret = (struct syn_balancer_counts){
        .requests = total(tally, tcp ? LB_STOT : LB_REQUESTS),
        .connect_errors = total(tally, LB_ECON),
        .response_errors = total(tally, LB_ERESP),
        .retries = total(tally, LB_WRETR),
        .redispatches = total(tally, LB_WREDIS),
        .bytes_in = total(tally, LB_BIN),
        .bytes_out = total(tally, LB_BOUT),
        .open = tally->now[LB_SCUR],
        .queued = tally->now[LB_QCUR],
        .servers_up = tally->now[LB_ACT],
        .queue_ms = tally->now[LB_QTIME],
        .connect_ms = tally->now[LB_CTIME],
        .response_ms = tally->now[LB_RTIME],
        .total_ms = tally->now[LB_TTIME],
    };
    for (unsigned i = 1; i <= 5; i++)
        ret->answers[i] = total(tally, (enum lb_field)(LB_1XX + i - 1));
    ret->answers[0] = total(tally, LB_OTHER);
}

static int
by_name(const void *a, const void *b)
{
    const struct syn_balancer_counts *left = a, *right = b;

    return strcmp(left->backend, right->backend);
}

static int
fill_stats(struct syn_balancer *balancer, struct syn_balancer_stats *stats, struct syn_err *err)
{
    const struct lb_model *model = balancer->model;
    size_t bytes = 1;
    char *name;

    for (size_t i = 0; i < model->slot_count; i++)
        bytes += model->slots[i].id == NULL ? 0 : strlen(model->slots[i].id) + 1;
    stats->backends = syn_calloc(model->slot_count + 1, sizeof(*stats->backends));
    stats->names = name = syn_alloc(bytes);
    if (stats->backends == NULL || stats->names == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for counters");
    for (size_t i = 0; i < model->slot_count; i++) {
        const struct lb_slot *slot = &model->slots[i];
        const struct lb_tally *tally;

        if (slot->id == NULL || (tally = syn_map_find(balancer->tallies, slot->id)) == NULL)
            continue;
        fill_counts(tally, strstr(slot->shape, "mode tcp") != NULL, &stats->backends[stats->count]);
        memcpy(name, slot->id, strlen(slot->id) + 1);
        stats->backends[stats->count++].backend = name;
        name += strlen(name) + 1;
    }
    qsort(stats->backends, stats->count, sizeof(*stats->backends), by_name);
    return SYN_OK;
}

/* What one server has in one process. NOTFOUND: the process knows no such server. */
static int
ask_open(struct lb_wire *wire, const struct lb_slot *slot, unsigned server, uint64_t *ret_open,
         struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct lb_stat *stats = NULL;
    char command[64];
    size_t count = 0;
    int rc;

    (void)snprintf(command, sizeof(command), "show stat b%u 4 %u\n", slot->number, server);
    rc = lb_show_stat(wire, command, &stats, &count, err);
    if (rc == SYN_OK && count == 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "a process knows no b%u/s%u", slot->number, server);
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        *ret_open += stats[i].value[LB_SCUR];
    return rc;
}

static int
open_locked(struct syn_balancer *balancer, const char *backend, const char *server,
            uint64_t *ret_open, struct syn_err *err)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = NULL;
    const struct lb_slot *slot = lb_model_slot(balancer->model, backend);
    size_t at = 0;
    int rc;

    while (slot != NULL && at < slot->server_count && strcmp(slot->servers[at].id, server) != 0)
        at++;
    if (slot == NULL || at == slot->server_count)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no server %s of %s", server, backend);
    if (!balancer->begun || balancer->adrift)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy does not run as it should");
    rc = lb_connect(balancer, &wire, err);
    if (rc == SYN_OK)
        rc = ask_open(wire, slot, slot->servers[at].number, ret_open, err);
    for (size_t i = 0; rc == SYN_OK && i < balancer->old_count; i++) {
        if (!lb_process_alive(&balancer->old[i]))
            continue;
        /* It may have the backend in a section of another shape, under another number. */
        if (balancer->old_wire[i] == NULL ||
            ask_open(balancer->old_wire[i], slot, slot->servers[at].number, ret_open, err) < 0)
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "a process of before ends what it has");
    }
    return rc;
}

int
syn_balancer_open_at(struct syn_balancer *balancer, const char *backend, const char *server,
                     uint64_t *ret_open, struct syn_err *err)
{
    uint64_t open = 0;
    int rc;

    lb_lock(balancer);
    rc = open_locked(balancer, backend, server, &open, err);
    lb_unlock(balancer);
    if (rc == SYN_OK)
        *ret_open = open;
    return rc;
}

static int
read_locked(struct syn_balancer *balancer, struct syn_balancer_stats *stats, struct syn_err *err)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = NULL;
    int rc;

    stats->reloads = balancer->reloads;
    stats->restarts = balancer->restarts;
    stats->changes = balancer->changes;
    if (!balancer->begun)
        return SYN_OK;
    rc = lb_connect(balancer, &wire, err);
    if (rc == SYN_OK)
        rc = lb_read_counts(balancer, wire, err);
    if (rc == SYN_OK)
        rc = lb_ask_info(wire, "\nCurrConns: ", &stats->connections, err);
    return rc < 0 ? rc : fill_stats(balancer, stats, err);
}

int
syn_balancer_read(struct syn_balancer *balancer, struct syn_balancer_stats *ret_stats,
                  struct syn_err *err)
{
    struct syn_balancer_stats stats = {.backends = NULL};
    int rc;

    lb_lock(balancer);
    rc = read_locked(balancer, &stats, err);
    lb_unlock(balancer);
    if (rc < 0)
        syn_balancer_stats_fini(&stats);
    else
        *ret_stats = stats;
    return rc;
}

/* --- who waits -------------------------------------------------------------------------------- */

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

static int
servers_locked(struct syn_balancer *balancer, const char *backend,
               struct syn_balancer_server_counts **ret, size_t *ret_count, struct syn_err *err)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = NULL;
    SYN_SCOPED(syn_free_scope) struct lb_stat *stats = NULL;
    const struct lb_slot *slot = lb_model_slot(balancer->model, backend);
    char command[64];
    size_t count = 0;
    int rc;

    if (slot == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no backend %s", backend);
    if (!balancer->begun || balancer->adrift)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "HAProxy does not run as it should");
    (void)snprintf(command, sizeof(command), "show stat b%u 4 -1\n", slot->number);
    rc = lb_connect(balancer, &wire, err);
    if (rc == SYN_OK)
        rc = lb_show_stat(wire, command, &stats, &count, err);
    return rc < 0 ? rc : lb_stat_servers(slot, stats, count, ret, ret_count, err);
}

int
syn_balancer_read_servers(struct syn_balancer *balancer, const char *backend,
                          struct syn_balancer_server_counts **ret, size_t *ret_count,
                          struct syn_err *err)
{
    int rc;

    lb_lock(balancer);
    rc = servers_locked(balancer, backend, ret, ret_count, err);
    lb_unlock(balancer);
    return rc;
}
