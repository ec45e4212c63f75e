/* The balancer: a table that is wanted, a HAProxy that runs, and a thread that looks after it.
 *
 *   set()    next model + commands -> runtime API, or files + a new process that takes over
 *   thread   HAProxy died: start it again from the model (later and later while it keeps dying);
 *            connections wait meanwhile in sockets that we hold
 *            a table was not reached: try again
 *            servers that leave: delete them when their last request has ended
 *            processes that were replaced: note their end. The connection to their runtime API
 *            is kept, or nobody could ask them what they still have: it is their last one
 *
 * Whatever goes wrong on the runtime API, a reload from the model puts right: the model is
 * complete, nothing is ever read back from HAProxy but counters. Time-outs of HAProxy itself are
 * the API's (balancer_wire.c) and the start's (balancer_process.c). */
#include "balancer_live_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#define LEAVING_MS     200 /* between two attempts to delete what leaves */
#define LEAVING_BATCH  256 /* commands of one attempt */
#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 10000
#define STEADY_MS      10000 /* who lives so long has not died at once */
#define STOPPING_TRIES 500   /* a millisecond each */

void
lb_lock(struct syn_balancer *balancer)
{
    int rc = pthread_mutex_lock(&balancer->lock);

    assert(rc == 0);
    (void)rc;
}

void
lb_unlock(struct syn_balancer *balancer)
{
    int rc = pthread_mutex_unlock(&balancer->lock);

    assert(rc == 0);
    (void)rc;
}

static int64_t
now_ms(void)
{
    return syn_clock_ns() / 1000000;
}

static void
wake(struct syn_balancer *balancer)
{
    uint64_t one = 1;

    (void)!write(balancer->wake, &one, sizeof(one));
}

int
lb_connect(const struct syn_balancer *balancer, struct lb_wire **ret, struct syn_err *err)
{
    char control[LB_CONTROL_SIZE];

    lb_control(balancer->now.generation, control);
    return lb_wire_open(balancer->dir, control, ret, err);
}

/* --- counters --------------------------------------------------------------------------------- */

int
lb_show_stat(struct lb_wire *wire, const char *command, struct lb_stat **ret, size_t *ret_count,
             struct syn_err *err)
{
    SYN_BUF(reply);
    int rc = lb_wire_ask(wire, command, 1, &reply, err);

    return rc < 0 ? rc : lb_stat_parse(reply.data, strlen(reply.data), ret, ret_count, err);
}

static void
tally_take(struct lb_tally *tally, const struct lb_stat *stat)
{
    for (size_t i = 0; i < LB_COUNTERS; i++)
        tally->seen[i] = stat->value[i] - SYN_MIN(tally->offset[i], stat->value[i]);
    memcpy(tally->now, stat->value, sizeof(tally->now));
}

/* Those of each section, by its number. */
static int
tallies_by_slot(struct syn_balancer *balancer, struct syn_map **ret, struct syn_err *err)
{
    const char *id;
    void *value;
    size_t cursor = 0;
    int rc = syn_map_new(NULL, ret, err);

    while (rc == SYN_OK && syn_map_next(balancer->tallies, &cursor, &id, &value)) {
        char name[16];

        (void)snprintf(name, sizeof(name), "b%u", ((struct lb_tally *)value)->slot);
        rc = syn_map_put_take(*ret, name, value, err);
    }
    return rc;
}

int
lb_read_counts(struct syn_balancer *balancer, struct lb_wire *wire, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct lb_stat *stats = NULL;
    SYN_SCOPED(syn_map_free_scope) struct syn_map *by_slot = NULL;
    size_t count = 0;
    int rc = lb_show_stat(wire, "show stat -1 2 -1\n", &stats, &count, err);

    if (rc == SYN_OK)
        rc = tallies_by_slot(balancer, &by_slot, err);
    for (size_t i = 0; rc == SYN_OK && i < count; i++) {
        struct lb_tally *tally = syn_map_find(by_slot, stats[i].proxy);

        if (tally != NULL)
            tally_take(tally, &stats[i]);
    }
    return rc;
}

/* The process that counted is not the one that will. */
static void
tallies_move_on(struct syn_balancer *balancer)
{
    const char *id;
    void *value;
    size_t cursor = 0;

    while (syn_map_next(balancer->tallies, &cursor, &id, &value)) {
        struct lb_tally *tally = value;

        for (size_t i = 0; i < LB_COUNTERS; i++) {
            tally->base[i] += tally->seen[i];
            tally->seen[i] = tally->offset[i] = 0;
        }
    }
}

static int
tally_new(struct syn_balancer *balancer, const struct lb_slot *slot, struct lb_wire *wire,
          struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct lb_tally *tally = syn_calloc(1, sizeof(*tally));
    struct lb_tally *before = syn_map_find(balancer->tallies, slot->id);
    int rc;

    if (tally == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for counters");
    tally->slot = slot->number;
    tally->born = balancer->generation;
    for (size_t i = 0; before != NULL && i < LB_COUNTERS; i++)
        tally->base[i] = before->base[i] + before->seen[i];
    if (wire != NULL) { /* a section that another one has had */
        SYN_SCOPED(syn_free_scope) struct lb_stat *stats = NULL;
        char command[48];
        size_t count = 0;

        (void)snprintf(command, sizeof(command), "show stat b%u 2 -1\n", slot->number);
        rc = lb_show_stat(wire, command, &stats, &count, err);
        if (rc < 0)
            return rc;
        if (count > 0)
            memcpy(tally->offset, stats[0].value, sizeof(tally->offset));
    }
    return syn_map_put_take(balancer->tallies, slot->id, SYN_TAKE(tally), err);
}

/* A tally for each backend of the model. `wire`: the process has gone on. */
static int
tallies_follow(struct syn_balancer *balancer, struct lb_wire *wire, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *ids = NULL;
    const char *id;
    void *value;
    size_t cursor = 0;
    int rc = syn_map_new(NULL, &ids, err);

    for (size_t i = 0; rc == SYN_OK && i < balancer->model->slot_count; i++) {
        const struct lb_slot *slot = &balancer->model->slots[i];
        const struct lb_tally *tally;

        if (slot->id == NULL)
            continue;
        rc = syn_map_put_take(ids, slot->id, balancer, err);
        tally = syn_map_find(balancer->tallies, slot->id);
        if (rc == SYN_OK && (tally == NULL || tally->slot != slot->number))
            rc = tally_new(balancer, slot, wire, err);
    }
    while (rc == SYN_OK && syn_map_next(balancer->tallies, &cursor, &id, &value))
        if (syn_map_find(ids, id) == NULL)
            (void)syn_map_remove(balancer->tallies, id);
    return rc;
}

/* --- a process from the model ----------------------------------------------------------------- */

static int
write_files(struct syn_balancer *balancer, unsigned generation, struct syn_err *err)
{
    const struct lb_model *model = balancer->model;
    char name[LB_CONTROL_SIZE], control[LB_CONTROL_SIZE];
    SYN_BUF(map);
    SYN_BUF(config);
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < model->cert_count; i++) {
        (void)snprintf(name, sizeof(name), "c%u.pem", model->certs[i].number);
        rc = lb_file_write(balancer->dir, name, model->certs[i].pem, strlen(model->certs[i].pem),
                           err);
    }
    if (rc == SYN_OK && model->authority != NULL)
        rc = lb_file_write(balancer->dir, LB_AUTHORITY, model->authority, strlen(model->authority),
                           err);
    for (size_t i = 0; rc == SYN_OK && i < model->door_count; i++) {
        const char *list = model->doors[i].list;

        (void)snprintf(name, sizeof(name), "f%u.list", model->doors[i].number);
        if (list != NULL)
            rc = lb_file_write(balancer->dir, name, list, strlen(list), err);
    }
    if (rc == SYN_OK && balancer->setup.lua)
        rc = lb_file_write(balancer->dir, LB_HOLD_FILE, lb_hold_lua, strlen(lb_hold_lua), err);
    if (rc == SYN_OK)
        rc = lb_render_map(model, &map, err);
    if (rc == SYN_OK)
        rc = lb_file_write(balancer->dir, "routes.map", syn_buf_text(&map), map.len, err);
    lb_control(generation, control);
    if (rc == SYN_OK)
        rc = lb_render(&balancer->setup, model, control, &config, err);
    (void)snprintf(name, sizeof(name), "haproxy-%u.cfg", generation);
    if (rc == SYN_OK)
        rc = lb_file_write(balancer->dir, name, syn_buf_text(&config), config.len, err);
    return rc;
}

static void
remove_files(const struct syn_balancer *balancer, unsigned generation)
{
    char name[LB_CONTROL_SIZE];

    (void)snprintf(name, sizeof(name), "haproxy-%u.cfg", generation);
    (void)unlinkat(balancer->dir, name, 0);
    lb_control(generation, name);
    (void)unlinkat(balancer->dir, name, 0);
}

static void
old_drop(struct syn_balancer *balancer, size_t at)
{
    remove_files(balancer, balancer->old[at].generation);
    balancer->old_wire[at] = lb_wire_close(balancer->old_wire[at]);
    lb_process_end(&balancer->old[at]);
    balancer->old_count--;
    for (size_t i = at; i < balancer->old_count; i++) {
        balancer->old[i] = balancer->old[i + 1];
        balancer->old_wire[i] = balancer->old_wire[i + 1];
    }
    balancer->old_wire[balancer->old_count] = NULL;
}

/* The file `running` as it is. Whoever comes after us finds less without it, so it is no failure.
 */
static void
note_running(struct syn_balancer *balancer)
{
    struct lb_process all[LB_OLD_MAX + 1] = {balancer->now};
    struct syn_err err;

    memcpy(&all[1], balancer->old, balancer->old_count * sizeof(all[0]));
    if (lb_process_write(balancer->dir, all, balancer->old_count + 1, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "balancer.note", &err);
    else
        (void)unlinkat(balancer->dir, LB_PID_FILE, 0);
}

/* It ends when it has nothing left. Takes the connection (or NULL) from the call on. */
static void
retire_take(struct syn_balancer *balancer, struct lb_process process, struct lb_wire *wire)
{
    if (!lb_process_alive(&process)) {
        (void)lb_wire_close(wire);
        if (process.pid > 0)
            remove_files(balancer, process.generation);
        lb_process_forget(&process);
        return;
    }
    if (balancer->old_count == LB_OLD_MAX)
        old_drop(balancer, 0);
    balancer->old[balancer->old_count] = process;
    balancer->old_wire[balancer->old_count++] = wire;
}

/* Frontends that nobody uses yet are bound, and refuse. */
static int
close_doors(struct syn_balancer *balancer, struct lb_wire *wire, struct syn_err *err)
{
    SYN_BUF(commands);
    size_t count = 0;
    int rc;

    for (size_t i = 0; i < balancer->model->door_count; i++) {
        const struct lb_door *door = &balancer->model->doors[i];

        if (door->open)
            continue;
        syn_buf_addf(&commands, "disable frontend f%u\n", door->number);
        count++;
    }
    rc = syn_buf_ok(&commands, err);
    return rc < 0 ? rc : lb_wire_do(wire, syn_buf_text(&commands), count, err);
}

/* Until the process before has heard that it is replaced it takes connections, which would be
 * served as before the change. */
static void
await_stopping(struct lb_wire *before)
{
    uint64_t stopping = 0;

    for (unsigned i = 0; before != NULL && stopping == 0 && i < STOPPING_TRIES; i++) {
        if (i > 0)
            (void)poll(NULL, 0, 1);
        if (lb_ask_info(before, "\nStopping: ", &stopping, NULL) < 0)
            return;
    }
}

/* Hold what the process that serves now listens on, in the place of what was held. */
static void
hold_sockets(struct syn_balancer *balancer)
{
    char control[LB_CONTROL_SIZE];
    struct syn_err err;

    balancer->sockets = lb_sockets_free(balancer->sockets);
    lb_control(balancer->now.generation, control);
    if (lb_sockets_take(balancer->dir, control, &balancer->sockets, &err) < 0)
        syn_log_err(SYN_LOG_DEBUG, "balancer.sockets", &err);
}

/* Start a process that takes over from the one that serves, or from us when that has died. */
static int
start_process(struct syn_balancer *balancer, unsigned generation, bool beside,
              struct lb_process *ret, struct syn_err *err)
{
    bool alive = lb_process_alive(&balancer->now);
    bool offered = balancer->sockets != NULL && !alive &&
                   lb_sockets_offer(balancer->sockets, balancer->dir, NULL) == SYN_OK;
    enum lb_start how = alive     ? (beside ? LB_START_BESIDE : LB_START_INSTEAD)
                        : offered ? LB_START_OFFERED
                                  : LB_START_FRESH;
    int rc = lb_process_start(balancer->program, balancer->path, generation, how, &balancer->now,
                              ret, err);

    if (offered)
        lb_sockets_withdraw(balancer->sockets, balancer->dir);
    /* Nobody shall wait for a process that does not come, nor it fail again for what it was sent.
     */
    if (offered && rc < 0)
        balancer->sockets = lb_sockets_free(balancer->sockets);
    return rc;
}

/* Put a new process with the model in the place of what runs. */
static int
reload(struct syn_balancer *balancer, struct syn_err *err)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = NULL;
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *before = NULL;
    struct lb_process fresh = LB_PROCESS_NONE;
    unsigned generation = ++balancer->generation;
    bool beside;
    int rc = write_files(balancer, generation, err);

    if (rc == SYN_OK && balancer->now.pid > 0 && lb_connect(balancer, &before, NULL) == SYN_OK)
        (void)!lb_read_counts(balancer, before, NULL);
    /* Of what was found running nobody knows who may come to wait. */
    beside = before != NULL && balancer->setup.lua &&
             (balancer->ours ? lb_may_wait(balancer, before)
                             : lb_learn_marks(&balancer->now, before, NULL) == SYN_OK);
    if (rc == SYN_OK)
        rc = start_process(balancer, generation, beside, &fresh, err);
    /* Where it listens may be in the way of where the new one is to: then it has to go. */
    if (rc == SYN_E_UNAVAILABLE && beside) {
        beside = false;
        rc = start_process(balancer, generation, beside, &fresh, err);
    }
    if (rc < 0) {
        remove_files(balancer, generation);
        return rc;
    }
    balancer->now.lingers = beside && lb_shut_doors(before, NULL) == SYN_OK;
    if (beside && !balancer->now.lingers)
        lb_process_retire(&balancer->now);
    if (!balancer->now.lingers)
        await_stopping(before);
    retire_take(balancer, balancer->now,
                balancer->ours || balancer->now.marks != NULL ? SYN_TAKE(before) : NULL);
    balancer->ours = true;
    balancer->now = fresh;
    balancer->started_ms = now_ms();
    atomic_store(&balancer->pid, (int)fresh.pid);
    hold_sockets(balancer);
    tallies_move_on(balancer);
    note_running(balancer);
    lb_model_fresh(balancer->model);
    rc = lb_connect(balancer, &wire, err);
    if (rc == SYN_OK)
        rc = close_doors(balancer, wire, err);
    return rc < 0 ? rc : tallies_follow(balancer, NULL, err);
}

/* The same, and when it fails the thread does it again. */
static int
reach(struct syn_balancer *balancer, struct syn_err *err)
{
    int rc = reload(balancer, err);

    balancer->adrift = rc < 0;
    if (rc < 0) {
        balancer->retry_ms = now_ms() + balancer->backoff_ms;
        balancer->backoff_ms = SYN_MIN(balancer->backoff_ms * 2, BACKOFF_MAX_MS);
    }
    return rc;
}

/* --- set -------------------------------------------------------------------------------------- */

static int
apply(struct syn_balancer *balancer, const struct lb_change *change, struct syn_err *err)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = NULL;
    int rc = lb_connect(balancer, &wire, err);

    if (rc == SYN_OK)
        rc = lb_wire_do(wire, syn_buf_text(&change->commands), change->command_count, err);
    if (rc < 0)
        return rc;
    balancer->changes += change->command_count;
    return tallies_follow(balancer, wire, err);
}

static int
set_locked(struct syn_balancer *balancer, const struct syn_balancer_table *table,
           struct syn_err *err)
{
    struct lb_model *next = NULL;
    struct lb_change change;
    bool live = balancer->begun && !balancer->adrift && lb_process_alive(&balancer->now);
    int rc = lb_model_next(&balancer->setup, balancer->model, table, &next, &change, err);

    if (rc < 0)
        return rc;
    (void)lb_model_free(balancer->model);
    balancer->model = next;
    balancer->begun = true;
    if (live && change.reload == NULL) {
        struct syn_err why;

        if (change.command_count == 0 || apply(balancer, &change, &why) == SYN_OK) {
            lb_tell_lingering(balancer, &change);
            lb_change_fini(&change);
            (void)lb_let_on(balancer);
            return SYN_OK;
        }
        syn_log_err(SYN_LOG_WARN, "balancer.command", &why);
    } else if (change.reload != NULL) {
        syn_log_kv(SYN_LOG_DEBUG, "balancer.reload", "why", change.reload, (const char *)NULL);
    }
    lb_change_fini(&change);
    balancer->reloads++;
    rc = reach(balancer, err);
    if (rc == SYN_OK)
        (void)lb_let_on(balancer);
    return rc;
}

int
syn_balancer_set(struct syn_balancer *balancer, const struct syn_balancer_table *table,
                 struct syn_err *err)
{
    int rc = syn_balancer_check(table, err);

    if (rc < 0)
        return rc;
    lb_lock(balancer);
    rc = set_locked(balancer, table, err);
    lb_unlock(balancer);
    wake(balancer);
    return rc;
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Try to delete what leaves. Returns whether something is left to leave. */
static bool
let_leave(struct syn_balancer *balancer)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = NULL;
    struct {
        struct lb_slot *slot;
        unsigned number;
    } asked[LEAVING_BATCH];
    SYN_BUF(commands);
    SYN_BUF(replies);
    const char *reply;
    size_t count = 0;

    for (size_t i = 0; i < balancer->model->slot_count; i++) {
        struct lb_slot *slot = &balancer->model->slots[i];

        for (size_t k = 0; k < slot->server_count && count < LEAVING_BATCH; k++) {
            if (!slot->servers[k].leaving)
                continue;
            asked[count].slot = slot;
            asked[count++].number = slot->servers[k].number;
            syn_buf_addf(&commands, "del server b%u/s%u\n", slot->number, slot->servers[k].number);
        }
    }
    if (count == 0)
        return false;
    if (syn_buf_ok(&commands, NULL) < 0 || lb_connect(balancer, &wire, NULL) < 0 ||
        lb_wire_ask(wire, syn_buf_text(&commands), count, &replies, NULL) < 0)
        return true;
    reply = replies.data;
    for (size_t i = 0; i < count; i++) {
        struct lb_slot *slot = asked[i].slot;
        size_t at = 0;

        while (slot->servers[at].number != asked[i].number)
            at++;
        if (strncmp(reply, "Server deleted", 14) == 0 || strncmp(reply, "No such server", 14) == 0)
            lb_model_left(slot, at);
        reply += strlen(reply) + 3;
    }
    return true;
}

/* What "show info" says of a process, after "\nNAME: ". */
int
lb_ask_info(struct lb_wire *wire, const char *label, uint64_t *ret, struct syn_err *err)
{
    SYN_BUF(reply);
    char *at;
    int rc = lb_wire_ask(wire, "show info\n", 1, &reply, err);

    if (rc < 0)
        return rc;
    at = strstr(reply.data, label);
    if (at == NULL)
        return SYN_FAIL(err, SYN_E_CORRUPT, "HAProxy does not say how much it has");
    at += strlen(label);
    at[strcspn(at, "\n")] = '\0';
    return syn_parse_u64(at, 0, UINT64_MAX, "a number of HAProxy's", ret, err);
}

static void
look_at_old(struct syn_balancer *balancer)
{
    size_t before = balancer->old_count;

    for (size_t i = balancer->old_count; i-- > 0;) {
        struct lb_wire **wire = &balancer->old_wire[i];
        uint64_t jobs;

        /* Our connection is a job of its own, and must not be what keeps it. */
        if (*wire != NULL && (lb_ask_info(*wire, "\nJobs: ", &jobs, NULL) < 0 || jobs <= 1))
            *wire = lb_wire_close(*wire);
        if (!lb_process_alive(&balancer->old[i]))
            old_drop(balancer, i);
    }
    if (balancer->old_count != before)
        note_running(balancer);
}

/* HAProxy ended though nobody asked it to. */
static void
note_death(struct syn_balancer *balancer)
{
    bool steady = now_ms() - balancer->started_ms >= STEADY_MS;

    syn_log(SYN_LOG_WARN, "balancer.died", "pid=%d", (int)balancer->now.pid);
    remove_files(balancer, balancer->now.generation);
    lb_process_forget(&balancer->now);
    atomic_store(&balancer->pid, 0);
    balancer->restarts++;
    balancer->adrift = true;
    /* The first time at once, then later and later. */
    balancer->retry_ms = steady ? 0 : now_ms() + balancer->backoff_ms;
    balancer->backoff_ms =
        steady ? BACKOFF_MIN_MS : SYN_MIN(balancer->backoff_ms * 2, BACKOFF_MAX_MS);
}

/* Do what is to be done; returns how long to wait for the next time at most, -1: for ever. */
static int
tend(struct syn_balancer *balancer)
{
    struct syn_err err;
    int wait_ms = balancer->old_count > 0 ? 1000 : -1;
    bool lingers;

    look_at_old(balancer);
    if (!balancer->begun)
        return wait_ms;
    if (balancer->now.pid > 0 && !lb_process_alive(&balancer->now))
        note_death(balancer);
    if (balancer->adrift && now_ms() >= balancer->retry_ms && reach(balancer, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "balancer.start", &err);
    if (balancer->adrift)
        return (int)SYN_MAX(balancer->retry_ms - now_ms(), 1);
    lingers = lb_let_on(balancer);
    return let_leave(balancer) || lingers ? LEAVING_MS : wait_ms;
}

static void *
run(void *arg)
{
    struct syn_balancer *balancer = arg;

    lb_lock(balancer);
    while (!balancer->stopping) {
        int wait_ms = tend(balancer);
        struct pollfd pollers[2] = {
            {.fd = balancer->wake, .events = POLLIN},
            {.fd = balancer->begun ? dup(balancer->now.fd) : -1, .events = POLLIN}};
        uint64_t count;

        lb_unlock(balancer);
        (void)poll(pollers, 2, wait_ms);
        (void)!read(balancer->wake, &count, sizeof(count));
        if (pollers[1].fd >= 0)
            (void)close(pollers[1].fd);
        lb_lock(balancer);
    }
    lb_unlock(balancer);
    return NULL;
}

/* --- open and close --------------------------------------------------------------------------- */

static struct syn_balancer *
release(struct syn_balancer *balancer)
{
    const int fds[] = {balancer->wake, balancer->dir, balancer->lock_file};

    lb_process_forget(&balancer->now);
    for (size_t i = 0; i < balancer->old_count; i++) {
        lb_process_forget(&balancer->old[i]);
        (void)lb_wire_close(balancer->old_wire[i]);
    }
    (void)lb_sockets_free(balancer->sockets);
    (void)lb_model_free(balancer->model);
    (void)syn_map_free(balancer->tallies);
    for (size_t i = 0; i < SYN_LEN(fds); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    syn_secret_wipe(&balancer->setup, sizeof(balancer->setup));
    syn_free(balancer->path);
    syn_free(balancer->program);
    (void)pthread_mutex_destroy(&balancer->lock);
    syn_free(balancer);
    return NULL;
}

static int
choose_program(struct syn_balancer *balancer, const char *given, struct syn_err *err)
{
    char path[4096], version[32];
    int rc;

    if (given == NULL) {
        rc = syn_balancer_find(path, sizeof(path), version, sizeof(version), err);
        if (rc < 0)
            return rc;
        given = path;
    } else if (access(given, X_OK) < 0) {
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no program %s", given);
    }
    balancer->program = syn_strdup(given);
    return balancer->program == NULL ? SYN_FAIL(err, SYN_E_NOMEM, "no memory for a path") : SYN_OK;
}

static int
open_dir(struct syn_balancer *balancer, const char *dir, struct syn_err *err)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", dir);
    balancer->path = realpath(dir, NULL);
    if (balancer->path == NULL)
        return SYN_FAIL_SYS(err, errno, "finding %s", dir);
    balancer->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (balancer->dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", dir);
    if (mkdirat(balancer->dir, "empty", 0700) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s/empty", dir);
    balancer->lock_file = openat(balancer->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (balancer->lock_file < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s/lock", dir);
    if (flock(balancer->lock_file, LOCK_EX | LOCK_NB) < 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "another process has %s open", dir);
    return SYN_OK;
}

/* One that was replaced before our time goes on lingering, or is told to end. */
static void
adopt_old(struct syn_balancer *balancer, size_t at)
{
    SYN_SCOPED(lb_wire_close_scope) struct lb_wire *wire = NULL;
    struct lb_process *process = &balancer->old[at];
    char control[LB_CONTROL_SIZE];

    lb_control(process->generation, control);
    process->lingers = balancer->setup.lua &&
                       lb_wire_open(balancer->dir, control, &wire, NULL) == SYN_OK &&
                       lb_learn_marks(process, wire, NULL) == SYN_OK;
    if (process->lingers) { /* who replaced it may have ended before its doors were shut */
        (void)!lb_shut_doors(wire, NULL);
        balancer->old_wire[at] = SYN_TAKE(wire);
    } else {
        lb_process_retire(process);
    }
}

/* What an earlier process of ours left. It serves as it did; the first table takes it over. */
static void
adopt(struct syn_balancer *balancer)
{
    struct lb_process found[LB_OLD_MAX + 1] = {LB_PROCESS_NONE};
    bool stray = lb_process_stray(balancer->path, &found[0]);
    size_t count = lb_process_adopt(balancer->dir, &found[1], LB_OLD_MAX);

    for (size_t i = 1; stray && i <= count; i++)
        stray = found[i].pid != found[0].pid; /* it was noted */
    if (stray) {
        count++;
    } else {
        lb_process_forget(&found[0]);
        memmove(&found[0], &found[1], count * sizeof(found[0]));
    }
    balancer->now = LB_PROCESS_NONE;
    for (size_t i = 0; i < count; i++) {
        balancer->generation = SYN_MAX(balancer->generation, found[i].generation);
        if (i == 0)
            balancer->now = found[i];
        else
            balancer->old[balancer->old_count++] = found[i];
        if (i > 0)
            adopt_old(balancer, i - 1);
    }
    atomic_store(&balancer->pid, (int)balancer->now.pid);
    if (balancer->now.pid > 0)
        hold_sockets(balancer);
}

static int
begin(struct syn_balancer *balancer, const struct syn_balancer_options *options,
      struct syn_err *err)
{
    int rc = open_dir(balancer, options->dir, err);

    if (rc == SYN_OK)
        rc = choose_program(balancer, options->program, err);
    if (rc == SYN_OK)
        rc = lb_setup_fill(&balancer->setup, options, err);
    if (rc == SYN_OK)
        rc = lb_setup_cookie_key(&balancer->setup, balancer->dir, err);
    if (rc == SYN_OK)
        balancer->setup.lua = lb_program_has_lua(balancer->program);
    if (rc == SYN_OK)
        rc = lb_model_new(&balancer->model, err);
    if (rc == SYN_OK)
        rc = syn_map_new(syn_free, &balancer->tallies, err);
    if (rc < 0)
        return rc;
    balancer->model->next_slot = balancer->model->next_door = balancer->model->next_cert = 1;
    balancer->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (balancer->wake < 0)
        return SYN_FAIL_SYS(err, errno, "making an eventfd");
    adopt(balancer);
    rc = pthread_create(&balancer->thread, NULL, run, balancer);
    return rc == 0 ? SYN_OK : SYN_FAIL_SYS(err, rc, "starting the balancer's thread");
}

int
syn_balancer_open(const struct syn_balancer_options *options, struct syn_balancer **ret_balancer,
                  struct syn_err *err)
{
    struct syn_balancer *balancer = syn_calloc(1, sizeof(*balancer));
    int rc;

    if (balancer == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a balancer");
    balancer->wake = balancer->dir = balancer->lock_file = -1;
    balancer->now = LB_PROCESS_NONE;
    balancer->backoff_ms = BACKOFF_MIN_MS;
    (void)pthread_mutex_init(&balancer->lock, NULL);
    rc = begin(balancer, options, err);
    if (rc < 0)
        (void)release(balancer);
    else
        *ret_balancer = balancer;
    return rc;
}

struct syn_balancer *
syn_balancer_close(struct syn_balancer *balancer, bool leave)
{
    if (balancer == NULL)
        return NULL;
    lb_lock(balancer);
    balancer->stopping = true;
    lb_unlock(balancer);
    wake(balancer);
    (void)pthread_join(balancer->thread, NULL);
    if (!leave) { /* or who comes after us goes on with those that linger */
        while (balancer->old_count > 0)
            old_drop(balancer, balancer->old_count - 1);
        if (balancer->now.pid > 0)
            remove_files(balancer, balancer->now.generation);
        lb_process_end(&balancer->now);
        (void)unlinkat(balancer->dir, "running", 0);
    }
    return release(balancer);
}

bool
syn_balancer_listens(struct syn_balancer *balancer)
{
    bool listens;

    lb_lock(balancer);
    listens = balancer->sockets != NULL || lb_process_alive(&balancer->now);
    lb_unlock(balancer);
    return listens;
}

int
syn_balancer_pid(const struct syn_balancer *balancer)
{
    return atomic_load(&balancer->pid);
}
