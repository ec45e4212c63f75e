/* A small world for the controller's step: documents, nodes, agents and a clock, all in memory.
 * Every step is taken twice: the second must have nothing to do. */
#ifndef SYN_SERVICE_CONTROL_TESTING_H
#define SYN_SERVICE_CONTROL_TESTING_H

#include "control_priv.h"

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>
#include <synor/orchestration/autoscale.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/place.h>

#define NODES  3
#define NOW_MS INT64_C(1795460000000)
#define SPEC                                                                              \
    "{\"image\":\"synor://img\",\"port\":80,\"replicas\":3,\"update_deadline_ms\":60000," \
    "\"cpu_millicores\":500}"

struct world {
    json_t *service, *versions, *instances, *events;
    json_t *balanced; /* what the balancer has; NULL: there is none */
    json_t *volumes;  /* NULL: none */
    json_t *nodes[NODES];
    struct syn_cluster *cluster;
    struct syn_quota quota;
    int64_t spent, escrow, balance, now_ms;
    unsigned settled;
    /* Of billing: */
    json_t *billed; /* {instance: sample} */
    int64_t number, since_ms, window_since_ms, window_spent;
    int64_t paid; /* by the bills of periods */
    unsigned renewed, forgotten;
    int64_t cpu;      /* that each replica uses, thousandths of what it asked; < 0: unknown */
    int64_t requests; /* of the whole service; < 0: unknown */
    int64_t jobs;     /* that each replica tells, as "custom:jobs"; < 0: unknown */
    const struct syn_zone_source *zones;
    struct syn_service_loads loads;
    const struct syn_service_ahead *ahead;     /* of calls; NULL: nothing is known */
    const struct syn_service_answers *answers; /* of both versions; NULL: unknown */
};

static inline void
put_node(struct world *world, unsigned index, const char *state)
{
    char id[16];
    struct syn_err err;

    (void)snprintf(id, sizeof(id), "node-%u", index);
    json_decref(world->nodes[index]);
    world->nodes[index] =
        json_pack("{s:s, s:{s:s}, s:{s:s, s:{s:i, s:I, s:I}, s:[{s:s, s:s}], s:s}}", "id", id,
                  "spec", "region", "eu", "status", "state", state, "capacity", "cpu_millicores",
                  4000, "memory_bytes", (json_int_t)8 << 30, "scratch_bytes", (json_int_t)64 << 30,
                  "sandboxes", "name", "gvisor", "state", "ready", "default_isolation", "gvisor");
    assert_done(syn_document_set_time(syn_document_status(world->nodes[index]), "last_seen_at",
                                      world->now_ms, &err),
                &err);
    assert_done(syn_cluster_put_node(world->cluster, world->nodes[index], &err), &err);
}

static inline json_t *
spec_of(const char *text)
{
    struct syn_err err;
    json_t *spec;

    assert_done(syn_json_parse(text, strlen(text), &spec, &err), &err);
    assert_done(syn_service_spec_check(spec, &err), &err);
    return spec;
}

static inline bool
load_of(void *self, const char *instance, struct syn_service_load *ret)
{
    const struct world *world = self;

    assert_true(syn_str_starts(instance, "inst-abc-"));
    *ret = (struct syn_service_load){.at_ms = world->now_ms, .cpu_millicores = world->cpu / 2};
    return world->cpu >= 0;
}

static inline int64_t
total_of(void *self, const char *metric)
{
    const struct world *world = self;

    return syn_str_eq(metric, "requests") ? world->requests : SYN_AUTOSCALE_UNKNOWN;
}

static inline int64_t
scraped_of(void *self, const char *instance, const char *metric)
{
    const struct world *world = self;

    assert_true(syn_str_starts(instance, "inst-abc-"));
    return syn_str_eq(metric, "custom:jobs") ? world->jobs : SYN_AUTOSCALE_UNKNOWN;
}

static inline struct world *
world_new(const char *text)
{
    struct world *world = syn_calloc(1, sizeof(*world));
    const struct syn_service_new made = {
        .id = "svc-abc", .name = "web", .account = "acct-1", .image_cid = "bone", .now_ms = NOW_MS};
    struct syn_err err;
    json_t *version;

    assert_non_null(world);
    world->now_ms = NOW_MS;
    world->escrow = 100 * SYN_SYNOR;
    world->balance = 100 * SYN_SYNOR;
    world->billed = json_object();
    world->number = 1;
    world->since_ms = world->window_since_ms = NOW_MS;
    world->cpu = world->requests = world->jobs = SYN_AUTOSCALE_UNKNOWN;
    world->loads = (struct syn_service_loads){
        .of = load_of, .total = total_of, .scraped = scraped_of, .self = world};
    world->instances = json_array();
    world->events = json_array();
    world->balanced = json_object();
    world->versions = json_array();
    assert_done(syn_cluster_new(7, &world->cluster, &err), &err);
    assert_done(syn_quota_read(NULL, &world->quota, &err), &err);
    assert_done(syn_service_make_take(&made, spec_of(text), &world->service, &version, &err), &err);
    assert_int_equal(json_array_append_new(world->versions, version), 0);
    for (unsigned i = 0; i < NODES; i++)
        put_node(world, i, "ready");
    return world;
}

static inline void
world_free(struct world *world)
{
    json_decref(world->service);
    json_decref(world->versions);
    json_decref(world->instances);
    json_decref(world->events);
    json_decref(world->billed);
    json_decref(world->balanced);
    json_decref(world->volumes);
    for (unsigned i = 0; i < NODES; i++)
        json_decref(world->nodes[i]);
    syn_cluster_free(world->cluster);
    syn_free(world);
}

static inline struct syn_service_view
view_of(const struct world *world)
{
    return (struct syn_service_view){
        .service = world->service,
        .versions = world->versions,
        .instances = world->instances,
        .cluster = world->cluster,
        .quota = &world->quota,
        .billed = world->billed,
        .period = {world->number, world->since_ms, world->window_since_ms, world->window_spent},
        .spent = world->spent,
        .rate_hour = SYN_SYNOR,
        .escrow = world->escrow,
        .balance = world->balance,
        .now_ms = world->now_ms,
        .balanced = world->balanced,
        .volumes = world->volumes,
        .answers = world->answers,
        .observing_since_ms = NOW_MS,
        .zones = world->zones,
        .loads = &world->loads,
        .ahead = world->ahead,
    };
}

static inline void
put_instance(struct world *world, json_t *doc)
{
    struct syn_err err;

    assert_done(syn_cluster_put_instance(world->cluster, doc, &err), &err);
}

static inline void
replace(struct world *world, json_t *doc)
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

/* What the server does: the bill of all that was used, and another escrow. */
static inline void
renew(struct world *world, const struct syn_service_effects *effects)
{
    int64_t charge = SYN_MIN(world->spent, world->escrow);
    const json_t *doc;
    size_t i;

    world->paid += charge;
    world->balance += world->escrow - charge;
    world->escrow = world->spent = 0;
    world->window_spent = effects->new_window ? 0 : world->window_spent + charge;
    world->since_ms = world->now_ms;
    if (effects->new_window)
        world->window_since_ms = world->now_ms;
    world->number++;
    world->renewed++;
    json_array_foreach (world->instances, i, doc)
        assert_int_equal(json_object_set_new(
                             world->billed, syn_document_id(doc),
                             json_incref(json_object_get(syn_document_status(doc), "usage_seq"))),
                         0);
}

static inline void
forget(struct world *world, const char *instance)
{
    const json_t *doc;
    size_t i;

    json_array_foreach (world->instances, i, doc) {
        if (!syn_str_eq(syn_document_id(doc), instance))
            continue;
        assert_true(syn_instance_ended((unsigned)syn_instance_state_find(syn_document_state(doc))));
        assert_int_equal(json_array_remove(world->instances, i), 0);
        (void)json_object_del(world->billed, instance);
        world->forgotten++;
        return;
    }
    fail_msg("%s was forgotten twice", instance);
}

static inline void
apply(struct world *world, const struct syn_service_effects *effects)
{
    const char *name;
    json_t *doc, *node;
    size_t i;

    if (effects->service) {
        json_decref(world->service);
        world->service = json_incref(effects->service);
    }
    json_array_foreach (effects->created, i, doc) {
        assert_int_equal(json_array_append(world->instances, doc), 0);
        put_instance(world, doc);
    }
    json_array_foreach (effects->changed, i, doc)
        replace(world, doc);
    json_object_foreach (effects->bound, name, node)
        assert_int_equal(json_object_set(json_object_get(world->volumes, name), "node", node), 0);
    assert_int_equal(json_array_extend(world->events, effects->events), 0);
    if (effects->renew)
        renew(world, effects);
    json_array_foreach (effects->forgotten, i, doc)
        forget(world, syn_json_str(doc, "instance", ""));
    world->escrow += effects->lock;
    world->balance -= effects->lock;
    assert_true(world->balance >= 0);
    world->settled += effects->settle;
}

static inline void
step(struct world *world)
{
    struct syn_service_effects effects;
    struct syn_service_view view;
    struct syn_err err;
    bool again = true;

    for (int i = 0; again; i++) {
        view = view_of(world);
        assert_done(syn_service_step(&view, &effects, &err), &err);
        apply(world, &effects);
        again = effects.wake_at_ms == world->now_ms && !syn_service_effects_none(&effects);
        syn_service_effects_fini(&effects);
        assert_true(i < 10);
    }
    view = view_of(world);
    assert_done(syn_service_step(&view, &effects, &err), &err);
    if (!syn_service_effects_none(&effects))
        fail_msg("a second step still writes: %s, events %s",
                 effects.service ? json_dumps(effects.service, JSON_SORT_KEYS) : "same",
                 json_dumps(effects.events, 0));
    syn_service_effects_fini(&effects);
}

static inline bool
ended(const json_t *doc)
{
    return syn_instance_ended((unsigned)syn_instance_state_find(syn_document_state(doc)));
}

static inline bool
asked(const json_t *doc)
{
    return syn_str_eq(syn_json_str(syn_document_spec(doc), "desired", ""), "stopped");
}

static inline int64_t
version_of(const json_t *doc)
{
    return syn_json_i64(syn_document_spec(doc), "version", 0);
}

/* What the agent of the instance reports. */
static inline void
report(struct world *world, json_t *doc, const char *state, const char *reason, bool ready)
{
    json_t *status = syn_document_status(doc);
    struct syn_err err;

    assert_done(syn_document_set_state(doc, state, reason, "said the agent", &err), &err);
    if (syn_document_time(status, "started_at") == SYN_DOCUMENT_NONE)
        assert_done(syn_document_set_time(status, "started_at", world->now_ms, &err), &err);
    assert_done(
        syn_json_set_take(status, "health", json_pack("{s:b}", "ready", ready ? 1 : 0), &err),
        &err);
    if (ended(doc)) {
        assert_done(syn_document_set_time(status, "ended_at", world->now_ms, &err), &err);
        assert_done(syn_json_set_i64(status, "usage_seq_last", 3, &err), &err);
        assert_done(syn_json_set_i64(status, "usage_seq", 3, &err), &err);
    }
    put_instance(world, doc);
}

/* Agents do what they are asked: what is to stop ends, what is of a good version becomes ready. */
static inline void
obey(struct world *world, int64_t bad_version)
{
    json_t *doc;
    size_t i;

    json_array_foreach (world->instances, i, doc) {
        if (ended(doc))
            continue;
        if (asked(doc))
            report(world, doc, "exited", "stopped", false);
        else if (version_of(doc) != bad_version)
            report(world, doc, "running", "running", true);
    }
}

static inline unsigned
count(const struct world *world, int64_t version, bool only_ready)
{
    const json_t *doc;
    unsigned found = 0;
    size_t i;

    json_array_foreach (world->instances, i, doc)
        found += !ended(doc) && !asked(doc) && (version == 0 || version_of(doc) == version) &&
                 (!only_ready || syn_json_bool(syn_json_at(doc, "status.health"), "ready", false));
    return found;
}

static inline void
expect(const struct world *world, const char *state, const char *reason)
{
    const json_t *status = syn_document_status(world->service);

    assert_string_equal(syn_json_str(status, "state", ""), state);
    assert_string_equal(syn_json_str(status, "reason", ""), reason);
}

static inline unsigned
events(const struct world *world, const char *type)
{
    const json_t *event;
    unsigned found = 0;
    size_t i;

    json_array_foreach (world->events, i, event)
        found += syn_str_eq(syn_json_str(event, "type", ""), type);
    return found;
}

static inline void
run(struct world *world, unsigned turns, int64_t bad_version)
{
    for (unsigned i = 0; i < turns; i++) {
        step(world);
        obey(world, bad_version);
        world->now_ms += 1000;
    }
    step(world);
}

static inline void
update(struct world *world, const char *text, const char *cid)
{
    const struct syn_service_new change = {.image_cid = cid, .now_ms = world->now_ms};
    json_t *version = NULL;
    struct syn_err err;

    assert_done(
        syn_service_update_take(
            world->service,
            syn_document_version(world->versions,
                                 syn_json_i64(syn_document_status(world->service), "target", 0)),
            &change, spec_of(text), false, &version, &err),
        &err);
    if (version)
        assert_int_equal(json_array_append_new(world->versions, version), 0);
}

#endif
