/* Ways to start an instance of a function, and the clock that is held to them. */
#include "start_priv.h"

#include <synor/base/log.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "agent_priv.h"
#include "wish_priv.h"

static const char *const ways[AGT_WAYS] = {[AGT_WAY_COLD] = "cold",
                                           [AGT_WAY_POOL] = "pool",
                                           [AGT_WAY_ZYGOTE] = "zygote",
                                           [AGT_WAY_SNAPSHOT] = "snapshot"};

static const char *const stages[AGT_STAGES] = {[AGT_STAGE_SCHEDULE] = "schedule",
                                               [AGT_STAGE_FETCH] = "fetch",
                                               [AGT_STAGE_CREATE] = "create",
                                               [AGT_STAGE_RESTORE] = "restore",
                                               [AGT_STAGE_INITIALISE] = "initialise"};

static int64_t
now_us(const struct agt_instance *instance)
{
    const struct syn_world *world = instance->agent->world;

    return world->ops->mono_ns(world->self) / 1000;
}

const char *
agt_start_wanted(const json_t *doc)
{
    return syn_json_str(json_object_get(doc, "spec"), "start", "");
}

void
agt_start_begin(struct agt_instance *instance, const json_t *doc)
{
    int64_t created_ms = syn_document_time(doc, "created_at");

    instance->start = (struct agt_start){.kept = agt_start_wanted(doc)[0] != '\0'};
    if (!instance->start.kept)
        return;
    /* By two clocks where the node is another machine: as good as they agree. */
    if (created_ms != SYN_DOCUMENT_NONE)
        agt_start_stage(instance, AGT_STAGE_SCHEDULE,
                        (syn_wall_ms(instance->agent->world) - created_ms) * 1000);
    instance->start.since_us = now_us(instance);
}

void
agt_start_way(struct agt_instance *instance, enum agt_way way)
{
    instance->start.way = way;
}

void
agt_start_stage(struct agt_instance *instance, enum agt_stage stage, int64_t us)
{
    instance->start.gone_through[stage] = true;
    instance->start.stages_us[stage] = SYN_MAX(us, 0);
}

void
agt_start_lap(struct agt_instance *instance, enum agt_stage stage)
{
    int64_t now = now_us(instance);

    agt_start_stage(instance, stage, now - instance->start.since_us);
    instance->start.since_us = now;
}

void
agt_start_note(struct agt_instance *instance, const char *note)
{
    (void)snprintf(instance->start.note, sizeof(instance->start.note), "%s", note);
}

/* --- ways ------------------------------------------------------------------------------------- */

/* What forks is the driver of the sandbox that was chosen: the time of its zygote, where that has
 * to be started first, is the first instance's. */
static int
fork_it(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
        struct syn_err *err)
{
    int rc;

    if (!syn_str_eq(instance->made_by->sandbox, AGT_NAMESPACE)) {
        agt_start_note(instance, "only what has isolation namespace is forked");
        return AGT_START_CANNOT;
    }
    rc = agt_instance_start_cold(instance, doc, wish, err);
    if (rc < 0)
        return rc;
    agt_start_way(instance, AGT_WAY_ZYGOTE);
    agt_start_lap(instance, AGT_STAGE_CREATE);
    return SYN_OK;
}

/* AGT_START_CANNOT: this node has no such way, or it failed and left nothing; a note says why. */
static int
start_by(const char *way, struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
         struct syn_err *err)
{
    if (syn_str_eq(way, ways[AGT_WAY_ZYGOTE]))
        return fork_it(instance, doc, wish, err);
    if (syn_str_eq(way, ways[AGT_WAY_SNAPSHOT]))
        return agt_saved_start(instance, doc, wish, err);
    if (syn_str_eq(way, ways[AGT_WAY_COLD]))
        return agt_pool_start(instance, doc, wish, err);
    if (way[0] != '\0')
        agt_start_note(instance, "this node's agent does not know that way to start");
    return AGT_START_CANNOT;
}

int
agt_start_program(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
                  struct syn_err *err)
{
    const char *way = agt_start_wanted(doc);
    int rc;

    agt_start_lap(instance, AGT_STAGE_FETCH);
    rc = start_by(way, instance, doc, wish, err);
    if (rc != AGT_START_CANNOT)
        return rc;
    if (instance->start.note[0] != '\0')
        syn_log(SYN_LOG_WARN, "instance.starts-cold", "instance=%s instead-of=%s why=\"%s\"",
                instance->id, way, instance->start.note);
    agt_start_way(instance, AGT_WAY_COLD);
    rc = agt_instance_start_cold(instance, doc, wish, err);
    if (rc == SYN_OK)
        agt_start_lap(instance, AGT_STAGE_CREATE);
    return rc;
}

/* --- telling ---------------------------------------------------------------------------------- */

int
agt_start_report(struct agt_instance *instance, json_t *body, struct syn_err *err)
{
    const struct agt_start *start = &instance->start;
    json_t *told = NULL, *us;
    int rc;

    if (!start->kept)
        return SYN_OK;
    if (!start->gone_through[AGT_STAGE_INITIALISE])
        agt_start_lap(instance, AGT_STAGE_INITIALISE);
    rc = syn_json_pack(&told, err, "{s:s, s:s, s:{}}", "way", ways[start->way], "note", start->note,
                       "stages_us");
    us = json_object_get(told, "stages_us");
    for (size_t i = 0; i < AGT_STAGES && rc == SYN_OK; i++)
        if (start->gone_through[i])
            rc = syn_json_set_i64(us, stages[i], start->stages_us[i], err);
    if (rc < 0) {
        json_decref(told);
        return rc;
    }
    return syn_json_set_take(body, "start", told, err);
}

void
agt_start_told(struct agt_instance *instance)
{
    instance->start.kept = false;
    agt_saved_ready(instance);
    agt_pool_look(instance->agent);
}
