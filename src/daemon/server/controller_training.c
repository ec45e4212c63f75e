/* The controller's training jobs: documents in, the pure step, effects out. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/orchestration/place.h>
#include <synor/workload/training_control.h>

#include "controller_priv.h"
#include "units_priv.h"

#define CHECKPOINTS_KEPT 5

/* Everything the step reads, owned. */
struct sight {
    struct ctl_loaded own;
    json_t *progress;
    json_t *checkpoint;
    json_t *result;
};

static void
sight_fini(struct sight *sight)
{
    ctl_loaded_fini(&sight->own);
    json_decref(sight->progress);
    json_decref(sight->checkpoint);
    json_decref(sight->result);
}

static int
newest(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    json_t **slot = arg;

    (void)key;
    (void)revision;
    (void)err;
    json_decref(*slot);
    *slot = json_incref(doc);
    return SYN_OK;
}

/* The result that rank 0 of this attempt stored. */
static json_t *
find_result(const json_t *job, const json_t *instances)
{
    int64_t run = syn_json_i64(json_object_get(job, "status"), "run", 1);
    size_t i;
    json_t *instance;
    json_t *found = NULL;

    json_array_foreach (instances, i, instance) {
        const json_t *spec = json_object_get(instance, "spec");
        json_t *result = syn_json_at(instance, "status.result");

        if (result != NULL && syn_json_i64(spec, "run", 0) == run &&
            syn_json_i64(spec, "rank", 1) == 0)
            found = result;
    }
    return json_incref(found);
}

static int
look(struct syn_server *server, const char *id, struct sight *ret, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc = ctl_load(server, &srv_training, id, &ret->own, err);

    if (rc != SYN_OK)
        return rc;
    rc = srv_load(server, srv_key(key, "progress", id, NULL), &ret->progress, NULL, err);
    if (rc == SRV_ABSENT)
        rc = SYN_OK;
    if (rc == SYN_OK)
        rc = srv_each(server, srv_key(key, "checkpoint", id, ""), newest, &ret->checkpoint, err);
    if (rc == SYN_OK)
        ret->result = find_result(ret->own.doc, ret->own.instances);
    return rc;
}

static int
write_effects(struct syn_server *server, const struct sight *sight,
              const struct syn_training_effects *effects, struct syn_err *err)
{
    const struct ctl_writing writing = {effects->job, effects->created, effects->changed,
                                        effects->events};
    SRV_TXN(txn);
    int rc = SYN_OK;

    if (effects->settle)
        rc = srv_settle(server, &txn, effects->job != NULL ? effects->job : sight->own.doc,
                        sight->own.instances, effects->bill_id, err);
    return rc < 0 ? rc : ctl_write(server, &txn, &srv_training, &sight->own, &writing, err);
}

static int
trim_checkpoints(struct syn_server *server, const char *job, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    struct syn_store_range range = {
        .prefix = srv_key(prefix, "checkpoint", job, ""), .limit = 100, .reverse = true};
    struct syn_store_page page = {0};
    SRV_TXN(txn);
    int rc = syn_store_list(server->store, &range, &page, err);

    for (size_t i = CHECKPOINTS_KEPT; rc == SYN_OK && i < page.count; i++)
        rc = srv_txn_delete(&txn, page.docs[i]->key, err);
    if (rc == SYN_OK && txn.count > 0)
        rc = srv_txn_commit(server, &txn, NULL, err);
    syn_store_page_fini(&page);
    return rc;
}

/* The view of the job in `sight`. */
static int
view_make(const struct ctl_world *world, const struct sight *sight, struct syn_quota *quota,
          struct syn_training_view *view, struct syn_err *err)
{
    struct syn_server *server = world->server;
    int rc = srv_quota_load(server, syn_json_str(sight->own.doc, "account", "?"), quota, err);

    *view = (struct syn_training_view){
        .job = sight->own.doc,
        .instances = sight->own.instances,
        .cluster = world->cluster,
        .quota = quota,
        .progress = json_object_get(sight->progress, "progress"),
        .progress_instance = syn_json_str(sight->progress, "instance", NULL),
        .checkpoint = sight->checkpoint,
        .result = sight->result,
        .now_ms = syn_wall_ms(server->world),
        .observing_since_ms = world->observing_since_ms,
    };
    return rc < 0 ? rc
                  : srv_run_cost(server, sight->own.doc, sight->own.instances, &view->spent,
                                 &view->rate_hour, err);
}

/* The units on the market that the job runs on, as they are before the step and after it. */
struct job_units {
    bool reserved;
    struct srv_units held;
    struct syn_training_units view;
};

static int
units_look(struct syn_server *server, const struct sight *sight, struct job_units *units,
           struct syn_training_view *view, struct syn_err *err)
{
    int rc;

    units->reserved = *syn_json_str(syn_document_spec(sight->own.doc), "reserved", "") != '\0';
    if (!units->reserved)
        return SYN_OK;
    rc = srv_job_units_look(server, sight->own.doc, &units->held, &units->view, err);
    view->units = &units->view;
    return rc < 0 ? rc : SYN_OK;
}

/* What follows from the step is written: begun before it, ended after it. */
static int
take_effects(struct syn_server *server, const struct sight *sight, struct job_units *units,
             struct syn_training_effects *effects, struct syn_err *err)
{
    int rc = SYN_OK;

    if (units->reserved && json_array_size(effects->created) > 0)
        rc = srv_job_units_begin(server, sight->own.doc, effects, err);
    if (rc == SYN_OK && !syn_training_effects_none(effects))
        rc = write_effects(server, sight, effects, err);
    if (rc == SYN_OK && units->reserved)
        rc = srv_job_units_end(server, sight->own.doc, sight->own.instances, effects, &units->held,
                               err);
    return rc;
}

static int
step(const struct ctl_world *world, const char *id, struct ctl_outcome *ret, struct syn_err *err)
{
    struct syn_server *server = world->server;
    SYN_SCOPED(sight_fini) struct sight sight = {0};
    SYN_SCOPED(syn_training_effects_fini) struct syn_training_effects effects = {0};
    struct job_units units = {.held = {.until_ms = 0}};
    struct syn_training_view view;
    struct syn_quota quota;
    int rc = look(server, id, &sight, err);

    ret->gone = rc == SRV_ABSENT;
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    rc = view_make(world, &sight, &quota, &view, err);
    if (rc == SYN_OK)
        rc = units_look(server, &sight, &units, &view, err);
    if (rc == SYN_OK)
        rc = syn_training_step(&view, &effects, err);
    if (rc == SYN_OK && json_is_object(effects.job) && srv_job_ended(effects.job))
        syn_place_withdraw(world->cluster, id);
    if (rc == SYN_OK)
        rc = take_effects(server, &sight, &units, &effects, err);
    if (rc == SYN_OK)
        ret->created = json_incref(effects.created);
    ret->wake_at_ms = effects.wake_at_ms;
    ret->now_ms = view.now_ms;
    if (rc == SYN_OK && syn_training_effects_none(&effects) &&
        srv_work_over(&srv_training, sight.own.doc))
        ret->gone = true;
    return rc == SYN_OK ? trim_checkpoints(server, id, err) : rc;
}

const struct ctl_kind ctl_training = {&srv_training, step};
