/* What a balancer's backends have counted and have open. */
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
        if (balancer->old_wire[i] == NULL || balancer->old[i].marks != NULL ||
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
