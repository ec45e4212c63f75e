#include "world_test_priv.h"

#include <synor/base/str.h>
#include <synor/workload/training_spec.h>

static json_t *
node_make(unsigned index, const char *state)
{
    char id[16];

    (void)snprintf(id, sizeof(id), "node-%u", index);
    return json_pack("{s:s, s:{s:s}, s:{s:s, s:{s:i, s:I, s:I}, s:[{s:s, s:s}], s:s, s:s}}", "id",
                     id, "spec", "region", "eu", "status", "state", state, "capacity",
                     "cpu_millicores", 4000, "memory_bytes", (json_int_t)8 << 30, "scratch_bytes",
                     (json_int_t)64 << 30, "sandboxes", "name", "gvisor", "state", "ready",
                     "default_isolation", "gvisor", "last_seen_at", "2026-11-23T10:00:00.000Z");
}

static void
put_instance(struct world *world, json_t *doc)
{
    struct syn_err err;

    assert_done(syn_cluster_put_instance(world->cluster, doc, &err), &err);
}

void
world_node(struct world *world, unsigned index, const char *state)
{
    struct syn_err err;
    bool gone = syn_str_eq(state, "gone");

    json_decref(world->nodes[index]);
    world->nodes[index] = node_make(index, gone ? "left" : state);
    world->node_there[index] = !gone;
    assert_done(syn_document_set_time(syn_document_status(world->nodes[index]), "last_seen_at",
                                      world->now_ms, &err),
                &err);
    if (gone)
        syn_cluster_remove_node(world->cluster, syn_document_id(world->nodes[index]));
    else
        assert_done(syn_cluster_put_node(world->cluster, world->nodes[index], &err), &err);
}

void
world_price(struct world *world, unsigned index, int spot_floor_percent)
{
    json_t *offer =
        json_pack("{s:s, s:s, s:s, s:i}", "cpu_core_hour", "0.02", "memory_gib_hour", "0.001",
                  "scratch_gib_hour", "0", "spot_floor_percent", spot_floor_percent);
    json_t *devices = json_pack("[{s:s, s:s}]", "kind", "cpu", "profile", "cpu-x86");
    struct syn_err err;

    assert_done(syn_json_set_take(syn_document_spec(world->nodes[index]), "offer", offer, &err),
                &err);
    assert_done(
        syn_json_set_take(syn_document_status(world->nodes[index]), "devices", devices, &err),
        &err);
    assert_done(syn_cluster_put_node(world->cluster, world->nodes[index], &err), &err);
}

struct world *
world_new(const char *spec_text)
{
    struct world *world = syn_calloc(1, sizeof(*world));
    struct syn_training_new new_job = {.id = "train-abc",
                                       .account = "acct-1",
                                       .source_cid = "bsource",
                                       .dataset_cid = "",
                                       .now_ms = WORLD_NOW_MS};
    struct syn_err err;
    json_t *spec;

    assert_non_null(world);
    world->now_ms = WORLD_NOW_MS;
    world->instances = json_array();
    world->events = json_array();
    assert_done(syn_cluster_new(7, &world->cluster, &err), &err);
    assert_done(syn_quota_read(NULL, &world->quota, &err), &err);
    assert_done(syn_json_parse(spec_text, strlen(spec_text), &spec, &err), &err);
    assert_done(syn_training_spec_check(spec, &err), &err);
    assert_done(syn_training_make_take(&new_job, spec, &world->job, &err), &err);
    for (unsigned i = 0; i < WORLD_NODES; i++)
        world_node(world, i, "ready");
    return world;
}

void
world_free(struct world *world)
{
    json_decref(world->job);
    json_decref(world->instances);
    json_decref(world->events);
    json_decref(world->progress);
    json_decref(world->checkpoint);
    for (unsigned i = 0; i < WORLD_NODES; i++)
        json_decref(world->nodes[i]);
    syn_cluster_free(world->cluster);
    syn_free(world);
}

struct syn_training_view
world_view(const struct world *world)
{
    return (struct syn_training_view){
        .job = world->job,
        .instances = world->instances,
        .cluster = world->cluster,
        .quota = &world->quota,
        .spent = world->spent,
        .rate_hour = 1000,
        .progress = world->progress,
        .progress_instance = world->progress_instance,
        .checkpoint = world->checkpoint,
        .now_ms = world->now_ms,
        .observing_since_ms = WORLD_NOW_MS,
    };
}

static void
replace_instance(struct world *world, json_t *doc)
{
    json_t *known;
    size_t i;

    json_array_foreach (world->instances, i, known) {
        if (!syn_str_eq(syn_document_id(known), syn_document_id(doc)))
            continue;
        assert_int_equal(json_array_set(world->instances, i, doc), 0);
        put_instance(world, doc);
        return;
    }
    fail_msg("an instance changed that nobody created: %s", syn_document_id(doc));
}

static void
create_instance(struct world *world, json_t *doc)
{
    const json_t *known;
    size_t i;

    json_array_foreach (world->instances, i, known)
        assert_string_not_equal(syn_document_id(known), syn_document_id(doc));
    assert_string_equal(syn_json_str(syn_document_spec(doc), "job", ""),
                        syn_document_id(world->job));
    assert_int_equal(json_array_append(world->instances, doc), 0);
    put_instance(world, doc);
}

static void
apply(struct world *world, const struct syn_training_effects *effects)
{
    json_t *doc;
    size_t i;

    if (effects->job) {
        json_decref(world->job);
        world->job = json_incref(effects->job);
    }
    json_array_foreach (effects->created, i, doc)
        create_instance(world, doc);
    json_array_foreach (effects->changed, i, doc)
        replace_instance(world, doc);
    assert_int_equal(json_array_extend(world->events, effects->events), 0);
    world->settled += effects->settle;
}

bool
world_step(struct world *world)
{
    struct syn_training_effects effects;
    struct syn_training_view view = world_view(world);
    struct syn_err err;
    bool wrote;

    assert_done(syn_training_step(&view, &effects, &err), &err);
    wrote = !syn_training_effects_none(&effects);
    apply(world, &effects);
    syn_training_effects_fini(&effects);
    view = world_view(world);
    assert_done(syn_training_step(&view, &effects, &err), &err);
    if (!syn_training_effects_none(&effects))
        fail_msg("a second step still writes: job %s, events %s",
                 effects.job ? json_dumps(effects.job, JSON_SORT_KEYS) : "same",
                 json_dumps(effects.events, 0));
    syn_training_effects_fini(&effects);
    world->steps++;
    return wrote;
}

json_t *
world_instance(const struct world *world, unsigned rank)
{
    int64_t attempt = syn_json_i64(syn_document_status(world->job), "attempt", 0);
    int64_t run = syn_json_i64(syn_document_status(world->job), "run", 0);
    json_t *doc;
    size_t i;

    json_array_foreach (world->instances, i, doc) {
        const json_t *spec = syn_document_spec(doc);

        if (syn_json_i64(spec, "run", 0) == run && syn_json_i64(spec, "attempt", 0) == attempt &&
            syn_json_i64(spec, "rank", -1) == rank)
            return doc;
    }
    fail_msg("no instance of rank %u", rank);
    return NULL;
}

void
world_report(struct world *world, json_t *instance, const char *state, const char *reason,
             int exit_code)
{
    json_t *status = syn_document_status(instance);
    bool ended = syn_instance_ended((unsigned)syn_instance_state_find(state));
    struct syn_err err;

    assert_done(syn_document_set_state(instance, state, reason, "said the agent", &err), &err);
    if (!syn_str_eq(state, "assigned") && !syn_str_eq(state, "preparing") &&
        !syn_str_eq(reason, "start-failed") && !json_object_get(status, "was_started")) {
        assert_done(syn_document_set_time(status, "started_at", world->now_ms, &err), &err);
        assert_done(syn_json_set_bool(status, "was_started", true, &err), &err);
    }
    if (ended) {
        assert_done(syn_document_set_time(status, "ended_at", world->now_ms, &err), &err);
        assert_done(syn_json_set_i64(status, "usage_seq_last", 3, &err), &err);
        assert_done(syn_json_set_i64(status, "usage_seq", 3, &err), &err);
    }
    if (exit_code >= 0)
        assert_done(syn_json_set_i64(status, "exit_code", exit_code, &err), &err);
    put_instance(world, instance);
}

void
world_report_all(struct world *world, const char *state, const char *reason, int exit_code)
{
    int64_t workers = syn_json_i64(syn_document_spec(world->job), "workers", 0);

    for (unsigned rank = 0; rank < workers; rank++)
        world_report(world, world_instance(world, rank), state, reason, exit_code);
}

void
world_expect(const struct world *world, const char *state, const char *reason)
{
    const json_t *status = syn_document_status(world->job);

    assert_string_equal(syn_json_str(status, "state", ""), state);
    assert_string_equal(syn_json_str(status, "reason", ""), reason);
}

const char *
world_message(const struct world *world)
{
    return syn_json_str(syn_document_status(world->job), "message", "");
}

unsigned
world_events(const struct world *world, const char *type)
{
    const json_t *event;
    unsigned count = 0;
    size_t i;

    json_array_foreach (world->events, i, event)
        count += syn_str_eq(syn_json_str(event, "type", ""), type);
    return count;
}
