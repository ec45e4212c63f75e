/* What a replica of a service gets beyond what every instance gets: checks of its health, told to
 * the server when they change, an end when it is lost, and time to leave traffic before it is asked
 * to stop. */
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "agent_priv.h"
#include "health_priv.h"
#include "probe_priv.h"

#define CARE_ADDRESS_MAX 64
#define CARE_PATH_MAX    513

struct agt_care {
    struct agt_instance *instance;
    struct agt_health health;
    struct agt_probe probe;
    char address[CARE_ADDRESS_MAX]; /* "": none */
    int64_t port;                   /* that it serves */
    int64_t check_port;
    char path[CARE_PATH_MAX]; /* "": by TCP */
    int64_t timeout_ms;
    int64_t leaves_ms; /* when it was first asked to stop; 0: it was not */
    bool told;         /* the server knows `told_ready` */
    bool told_ready;
    bool lost; /* it is being ended for its health */
};

static int64_t
mono(const struct agt_care *care)
{
    return syn_mono_ms(care->instance->agent->world);
}

int
agt_care_new(struct agt_instance *instance, const json_t *doc, struct agt_care **ret,
             struct syn_err *err)
{
    const struct syn_runtime_ops *ops = instance->runtime.ops;
    const struct syn_net_place *place =
        ops->place != NULL && instance->handle != NULL ? ops->place(instance->handle) : NULL;
    const json_t *spec = json_object_get(doc, "spec");
    const json_t *health = json_object_get(spec, "health");
    const struct agt_health_rules rules = {
        .checked = !syn_str_eq(syn_json_str(health, "kind", "none"), "none"),
        .interval_ms = syn_json_i64(health, "interval_ms", 5000),
        .healthy = syn_json_i64(health, "healthy", 1),
        .unhealthy = syn_json_i64(health, "unhealthy", 3),
        .start_ms = syn_json_i64(health, "start_ms", 60000),
    };
    struct agt_care *care;

    if (!syn_str_eq(syn_json_str(spec, "workload", ""), "service"))
        return SYN_OK;
    care = syn_calloc(1, sizeof(*care));
    if (care == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to look after %s", instance->id);
    care->instance = instance;
    care->probe.fd = -1;
    care->port = syn_json_i64(spec, "port", 0);
    care->check_port = syn_json_i64(health, "port", 0);
    if (care->check_port == 0)
        care->check_port = care->port;
    care->timeout_ms = syn_json_i64(health, "timeout_ms", 2000);
    if (place != NULL)
        (void)syn_str_copy(care->address, sizeof(care->address),
                           place->address4[0] != '\0' ? place->address4 : place->address6);
    if (syn_str_eq(syn_json_str(health, "kind", ""), "http"))
        (void)syn_str_copy(care->path, sizeof(care->path), syn_json_str(health, "path", "/"));
    agt_health_init(&care->health, &rules, mono(care));
    *ret = care;
    return SYN_OK;
}

struct agt_care *
agt_care_free(struct agt_care *care)
{
    if (care != NULL)
        agt_probe_end(&care->probe);
    syn_free(care);
    return NULL;
}

/* The server gives it requests, or no longer. Trouble is logged, and tried again. */
static void
tell(struct agt_care *care)
{
    const char *message = care->health.rules.checked ? care->probe.message : "It runs.";
    struct syn_err err = {0};
    int rc;

    if (care->told && care->told_ready == care->health.ready)
        return;
    rc = agt_report_health(care->instance, care->address, care->port, care->health.ready, message,
                           &err);
    if (rc < 0) {
        syn_log_err(SYN_LOG_WARN, "instance.health-untold", &err);
        return;
    }
    care->told = true;
    care->told_ready = care->health.ready;
}

static void
end_lost(struct agt_care *care)
{
    struct agt_instance *instance = care->instance;
    struct syn_err err = {0};

    if (care->lost || !agt_health_lost(&care->health, mono(care)))
        return;
    care->lost = true;
    syn_log(SYN_LOG_WARN, "instance.unhealthy", "instance=%s check=\"%s\"", instance->id,
            care->probe.message);
    if (instance->runtime.ops->stop(instance->runtime.self, instance->handle, -1, &err) < 0) {
        syn_log_err(SYN_LOG_WARN, "instance.stop-failed", &err);
        care->lost = false;
    }
}

void
agt_care_turn(struct agt_care *care)
{
    struct agt_probe_target target = {.address = care->address,
                                      .port = (uint16_t)care->check_port,
                                      .path = care->path[0] != '\0' ? care->path : NULL};
    enum agt_probe_state state = agt_probe_turn(&care->probe, mono(care));

    if (state == AGT_PROBE_NONE && agt_health_due(&care->health, mono(care)))
        state = agt_probe_begin(&care->probe, &target, mono(care), care->timeout_ms);
    if (state == AGT_PROBE_PASSED || state == AGT_PROBE_FAILED)
        (void)agt_health_take(&care->health, state == AGT_PROBE_PASSED, mono(care));
    tell(care);
    end_lost(care);
}

int
agt_care_fd(const struct agt_care *care, short *ret_events)
{
    *ret_events = care->probe.events;
    return care->probe.fd;
}

int64_t
agt_care_pause_ms(const struct agt_care *care)
{
    int64_t left_ms = care->health.due_ms - mono(care);

    if (care->leaves_ms > 0)
        return 20;
    if (!care->health.rules.checked || care->probe.fd >= 0 || left_ms > 100)
        return 100;
    return SYN_MAX(left_ms, 1);
}

bool
agt_care_may_stop(struct agt_care *care, int64_t drain_ms)
{
    if (care->leaves_ms == 0)
        care->leaves_ms = SYN_MAX(mono(care), 1);
    return !care->health.ready || mono(care) - care->leaves_ms >= drain_ms;
}

bool
agt_care_leaves(const struct agt_care *care)
{
    return care->leaves_ms > 0;
}

bool
agt_care_lost(const struct agt_care *care)
{
    return care->lost;
}

const char *
agt_care_message(const struct agt_care *care)
{
    return care->probe.message;
}
