/* What a replica of a service gets beyond what every instance gets: checks of its health, told to
 * the server when they change, an end when it is lost, and time to leave traffic before it is asked
 * to stop.
 *
 *     start-up --passed once--> readiness: does it get requests?
 *                          `--> liveness: does it go on?
 *
 * Each is asked only where it was asked for. Without a liveness check readiness answers for both,
 * unless it is said not to; without a start-up check the time to start is liveness' to pass first.
 */
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/workload/service_spec.h>

#include "agent_priv.h"
#include "health_priv.h"
#include "mesh_priv.h"
#include "probe_priv.h"
#include "scrape_priv.h"

#define CARE_ADDRESS_MAX 64
#define CARE_PATH_MAX    (SYN_SERVICE_PATH_MAX + 1)
#define CARE_HOST_MAX    (SYN_SERVICE_HOST_MAX + 1)
#define CARE_MESSAGE_MAX (AGT_PROBE_MESSAGE_MAX + 32)
#define CARE_REASON_MS   1000
#define CARE_LEAVE_MS    20
#define CARE_HEAR_MS     100
#define CARE_SHOWN_MS    10   /* between two looks whether the mesh has it */
#define CARE_FIRST_MS    250  /* what only listens has as much processor for its first requests, */
#define CARE_SETTLE_MS   1000 /* and is held to its own then; so late it is tried again */
#define CARE_ALONE_MS    5000 /* so late it is ready without: calls from this node reach it */

enum { CARE_STARTUP, CARE_READY, CARE_LIVE, CARE_BEFORE_STOP, CARE_CHECKS };
_Static_assert(CARE_CHECKS + 1 == AGT_CARE_FDS, "a descriptor for each check, one to scrape");

struct care_check {
    struct agt_health health;
    struct agt_probe probe;
    int64_t port;
    char path[CARE_PATH_MAX]; /* "": by TCP */
    char host[CARE_HOST_MAX];
    char headers[SYN_SERVICE_CHECK_HEADER_BYTES_MAX + 1];
    const char *grpc_service; /* NULL: not by gRPC; a text of `said_of` */
    json_t *said_of;
    const char **argv; /* NULL: over the network; its texts are `command`'s */
    json_t *command;
    int64_t timeout_ms;
    char said[AGT_PROBE_MESSAGE_MAX]; /* what came of the last one */
};

struct agt_care {
    struct agt_instance *instance;
    struct care_check checks[CARE_CHECKS];
    struct agt_scrape *scrape;      /* NULL: nothing is to be read of it */
    char address[CARE_ADDRESS_MAX]; /* "": none */
    int64_t port;                   /* that it serves */
    int64_t leaves_ms;              /* when it was first asked to stop; 0: it was not */
    int64_t before_stop_ms;         /* when what comes before its stop was begun; 0: not yet */
    bool before_stop_over;
    bool told; /* the server knows `told_ready` and why */
    bool told_ready;
    int64_t told_ms; /* or when it began */
    char told_message[CARE_MESSAGE_MAX];
    bool listens;        /* when it listens it is ready: nothing else is asked of it until then */
    bool settled;        /* it is held to its processor */
    int64_t settle_ms;   /* from when on; 0: it was not ready yet */
    bool shown;          /* other nodes can call it, or that is waited for no longer */
    int64_t shown_by_ms; /* when it is not; 0: it was not well yet */
    bool lost;           /* it is being ended for its health */
    char message[CARE_MESSAGE_MAX];
};

static int64_t
mono(const struct agt_care *care)
{
    return syn_mono_ms(care->instance->agent->world);
}

/* --- from the document ------------------------------------------------------------------------ */

static int
set_command(struct care_check *check, json_t *command, struct syn_err *err)
{
    size_t count = json_array_size(command);

    check->argv = syn_calloc(count + 1, sizeof(*check->argv));
    if (check->argv == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a check");
    check->command = json_incref(command);
    for (size_t i = 0; i < count; i++)
        check->argv[i] = json_string_value(json_array_get(command, i));
    return SYN_OK;
}

static void
set_headers(struct care_check *check, json_t *headers)
{
    const char *name;
    json_t *value;
    size_t used = 0;

    json_object_foreach (headers, name, value) {
        int n = snprintf(check->headers + used, sizeof(check->headers) - used, "%s: %s\r\n", name,
                         json_string_value(value));

        if (n < 0 ||
            (size_t)n >= sizeof(check->headers) - used) { /* the spec's check is stricter */
            check->headers[used] = '\0';
            return;
        }
        used += (size_t)n;
    }
}

/* What is asked, and how often; what follows from the answers is its machine's. */
static int
set_check(struct care_check *check, const json_t *spec, const char *name,
          struct agt_health_rules rules, struct syn_err *err)
{
    const json_t *said = json_object_get(spec, name);
    const char *kind = syn_json_str(said, "kind", "none");

    rules.checked = !syn_str_eq(kind, "none");
    rules.interval_ms = syn_json_i64(said, "interval_ms", 5000);
    check->health.rules = rules;
    check->timeout_ms = syn_json_i64(said, "timeout_ms", 2000);
    check->port = syn_json_i64(said, "port", 0);
    if (check->port == 0)
        check->port = syn_json_i64(spec, "port", 0);
    if (syn_str_eq(kind, "exec"))
        return set_command(check, json_object_get(said, "command"), err);
    if (syn_str_eq(kind, "grpc")) {
        check->said_of = json_incref(json_object_get(spec, name));
        check->grpc_service = syn_json_str(check->said_of, "service", "");
    }
    if (!syn_str_eq(kind, "http"))
        return SYN_OK;
    (void)syn_str_copy(check->path, sizeof(check->path), syn_json_str(said, "path", "/"));
    (void)syn_str_copy(check->host, sizeof(check->host), syn_json_str(said, "host", ""));
    set_headers(check, json_object_get(said, "headers"));
    return SYN_OK;
}

static int
set_checks(struct agt_care *care, const json_t *spec, struct syn_err *err)
{
    const json_t *health = json_object_get(spec, "health");
    const json_t *live = json_object_get(spec, "liveness");
    bool lives = !syn_str_eq(syn_json_str(live, "kind", "none"), "none");
    bool ends = syn_json_bool(health, "ends", !lives);
    int64_t unhealthy = syn_json_i64(health, "unhealthy", 3);
    int64_t start_ms = syn_json_i64(health, "start_ms", 60000);
    struct agt_health_rules rules = {.healthy = 1, .unhealthy = 1, .start_ms = start_ms};
    int rc = set_check(&care->checks[CARE_STARTUP], spec, "startup", rules, err);

    if (care->checks[CARE_STARTUP].health.rules.checked)
        start_ms = 0;
    rules.start_ms = start_ms;
    rules.lost = syn_json_i64(live, "unhealthy", 3);
    if (rc == SYN_OK)
        rc = set_check(&care->checks[CARE_LIVE], spec, "liveness", rules, err);
    rules = (struct agt_health_rules){.healthy = syn_json_i64(health, "healthy", 1),
                                      .unhealthy = unhealthy,
                                      .lost = ends ? 2 * unhealthy : 0,
                                      .start_ms = ends ? start_ms : 0};
    if (rc == SYN_OK)
        rc = set_check(&care->checks[CARE_READY], spec, "health", rules, err);
    rules = (struct agt_health_rules){.healthy = 1};
    return rc < 0 ? rc : set_check(&care->checks[CARE_BEFORE_STOP], spec, "pre_stop", rules, err);
}

/* Asked from now on. */
static void
begin(struct agt_care *care, unsigned which)
{
    struct agt_health *health = &care->checks[which].health;
    const struct agt_health_rules rules = health->rules;

    agt_health_init(health, &rules, mono(care));
}

int
agt_care_new(struct agt_instance *instance, const json_t *doc, struct agt_care **ret,
             struct syn_err *err)
{
    const struct syn_runtime_ops *ops = instance->runtime.ops;
    const struct syn_net_place *place =
        ops->place != NULL && instance->handle != NULL ? ops->place(instance->handle) : NULL;
    const json_t *spec = json_object_get(doc, "spec");
    struct agt_care *care;
    int rc;

    if (!syn_str_eq(syn_json_str(spec, "workload", ""), "service"))
        return SYN_OK;
    care = syn_calloc(1, sizeof(*care));
    if (care == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to look after %s", instance->id);
    care->instance = instance;
    care->told_ms = mono(care);
    care->port = syn_json_i64(spec, "port", 0);
    care->listens = instance->run[0] != '\0';
    if (place != NULL)
        (void)syn_str_copy(care->address, sizeof(care->address),
                           place->address4[0] != '\0' ? place->address4 : place->address6);
    for (size_t i = 0; i < SYN_LEN(care->checks); i++)
        care->checks[i].probe = (struct agt_probe)AGT_PROBE_INIT;
    rc = set_checks(care, spec, err);
    if (rc < 0) {
        (void)agt_care_free(care);
        return rc;
    }
    for (unsigned i = 0; i < SYN_LEN(care->checks); i++)
        begin(care, i);
    *ret = care;
    return SYN_OK;
}

struct agt_care *
agt_care_free(struct agt_care *care)
{
    if (care == NULL)
        return NULL;
    for (size_t i = 0; i < SYN_LEN(care->checks); i++) {
        agt_probe_end(&care->checks[i].probe);
        syn_free((void *)care->checks[i].argv);
        json_decref(care->checks[i].command);
        json_decref(care->checks[i].said_of);
    }
    (void)agt_scrape_free(care->scrape);
    syn_free(care);
    return NULL;
}

/* --- checks ----------------------------------------------------------------------------------- */

static bool
is_ready(const struct agt_care *care)
{
    return care->checks[CARE_STARTUP].health.began && care->checks[CARE_READY].health.ready;
}

/* Is its question asked now? */
static bool
is_asked(const struct agt_care *care, unsigned which)
{
    return which != CARE_BEFORE_STOP &&
           care->checks[CARE_STARTUP].health.began == (which != CARE_STARTUP);
}

static void
set_message(struct agt_care *care, unsigned which)
{
    static const char *const of[] = {"start-up check: ", "", "liveness check: "};

    (void)snprintf(care->message, sizeof(care->message), "%s%s", of[which],
                   care->checks[which].said);
}

static void
set_present_message(struct agt_care *care)
{
    if (!care->checks[CARE_STARTUP].health.began)
        set_message(care, CARE_STARTUP);
    else if (care->checks[CARE_READY].health.rules.checked)
        set_message(care, CARE_READY);
    else
        (void)syn_str_copy(care->message, sizeof(care->message), "It runs.");
}

/* Whoever is told of it may call it at once, also from another node: by then its service must have
 * its certificate in this node's mesh. */
static bool
is_shown(struct agt_care *care)
{
    const struct agt_instance *instance = care->instance;

    if (!care->shown && care->shown_by_ms == 0)
        care->shown_by_ms = mono(care) + CARE_ALONE_MS;
    care->shown = care->shown || !instance->enters_mesh || care->port == 0 ||
                  agt_mesh_shows(instance->agent->mesh, instance->id) ||
                  mono(care) >= care->shown_by_ms;
    return care->shown;
}

/* Does the server know? That it is not ready yet, and why, may wait a little: a start needs no
 * reports. */
static bool
is_known(const struct agt_care *care, bool ready)
{
    if (care->told_ready != ready)
        return false;
    return ready || mono(care) - care->told_ms < CARE_REASON_MS ||
           (care->told && syn_str_eq(care->message, care->told_message));
}

/* What it did until now was to start. */
static void
settle(struct agt_care *care)
{
    const struct agt_instance *instance = care->instance;

    if (care->settle_ms == 0)
        care->settle_ms = mono(care) + (care->listens ? CARE_FIRST_MS : 0);
    if (mono(care) < care->settle_ms)
        return;
    care->settled =
        instance->runtime.ops->settle == NULL ||
        instance->runtime.ops->settle(instance->runtime.self, instance->handle, NULL) == SYN_OK;
    care->settle_ms = mono(care) + CARE_SETTLE_MS;
}

/* The server gives it requests, or no longer. Trouble is logged, and tried again. */
static void
tell(struct agt_care *care)
{
    bool well = is_ready(care), ready = well && is_shown(care);
    struct syn_err err = {0};
    int rc;

    if (care->lost)
        return;
    set_present_message(care);
    if ((well || care->settle_ms != 0) && !care->settled)
        settle(care);
    if (well && !ready)
        (void)syn_str_copy(care->message, sizeof(care->message),
                           "It is well, and its node's mesh does not have it yet.");
    if (is_known(care, ready))
        return;
    rc = agt_report_health(care->instance, care->address, care->port, ready, care->message, &err);
    if (rc < 0) {
        syn_log_err(SYN_LOG_WARN, "instance.health-untold", &err);
        return;
    }
    care->told = true;
    care->told_ready = ready;
    care->told_ms = mono(care);
    memcpy(care->told_message, care->message, sizeof(care->message));
}

static void
end_lost(struct agt_care *care, unsigned which)
{
    struct agt_instance *instance = care->instance;
    struct syn_err err = {0};

    if (care->lost || !agt_health_lost(&care->checks[which].health, mono(care)))
        return;
    care->lost = true;
    set_message(care, which);
    syn_log(SYN_LOG_WARN, "instance.unhealthy", "instance=%s check=\"%s\"", instance->id,
            care->message);
    if (instance->runtime.ops->stop(instance->runtime.self, instance->handle, -1, &err) < 0) {
        syn_log_err(SYN_LOG_WARN, "instance.stop-failed", &err);
        care->lost = false;
    }
}

/* What goes on in a sandbox that was made ahead is a host program of ours. It listens once it has
 * loaded its function, and its first request takes long, since it has to fetch what that needs of
 * its memory: that is to be a caller's. With a fraction of a core it would take much longer. */
static struct agt_probe_target
target_of(const struct agt_care *care, const struct care_check *check)
{
    bool connects = check->path[0] == '\0' || (care->listens && !check->health.began);

    return (struct agt_probe_target){
        .address = care->address,
        .port = (uint16_t)check->port,
        .path = connects ? NULL : check->path,
        .host = check->host[0] != '\0' ? check->host : NULL,
        .headers = check->headers,
        .grpc_service = check->grpc_service,
        .argv = check->argv,
        .runtime = &care->instance->runtime,
        .instance = care->instance->handle,
    };
}

static void
ask(struct agt_care *care, unsigned which)
{
    struct care_check *check = &care->checks[which];
    const struct agt_probe_target target = target_of(care, check);
    enum agt_probe_state state = agt_probe_turn(&check->probe, mono(care));

    if (state == AGT_PROBE_NONE && agt_health_due(&check->health, mono(care)))
        state = agt_probe_begin(&check->probe, &target, mono(care), check->timeout_ms);
    if (state != AGT_PROBE_PASSED && state != AGT_PROBE_FAILED)
        return;
    memcpy(check->said, check->probe.message, sizeof(check->said));
    (void)agt_health_take(&check->health, state == AGT_PROBE_PASSED, mono(care));
    if (which == CARE_STARTUP && check->health.began) { /* it has started: the others begin */
        begin(care, CARE_READY);
        begin(care, CARE_LIVE);
    }
}

/* --- what it tells of itself ------------------------------------------------------------------ */

void
agt_care_heed(struct agt_care *care, const json_t *doc)
{
    const json_t *wanted = syn_json_at(doc, "spec.scrape");
    struct syn_err err = {0};

    if (agt_scrape_want(&care->scrape, wanted, (uint16_t)care->port, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.not-scraped", &err);
}

static bool
scrapes(const struct agt_care *care)
{
    return care->scrape != NULL && is_ready(care);
}

/* Only what is ready counts. What is not told is looked at again soon: nothing is kept. */
static void
scrape(struct agt_care *care)
{
    struct syn_err err = {0};
    SYN_JSON(round);
    int rc;

    if (!scrapes(care))
        return;
    rc = agt_scrape_turn(care->scrape, care->address, mono(care), &round, &err);
    if (rc == SYN_OK && round != NULL)
        rc = agt_report_metrics(care->instance, round, &err);
    if (rc < 0)
        syn_log_err(SYN_LOG_WARN, "instance.metrics-untold", &err);
}

/* --- a turn of all of it ---------------------------------------------------------------------- */

void
agt_care_turn(struct agt_care *care)
{
    for (unsigned i = 0; i < SYN_LEN(care->checks); i++) {
        if (!is_asked(care, i))
            continue;
        ask(care, i);
        end_lost(care, i);
    }
    tell(care);
    scrape(care);
}

void
agt_care_fds(const struct agt_care *care, struct pollfd *ret)
{
    for (size_t i = 0; i < SYN_LEN(care->checks); i++)
        ret[i] =
            (struct pollfd){.fd = care->checks[i].probe.fd, .events = care->checks[i].probe.events};
    ret[CARE_CHECKS] = agt_scrape_fd(scrapes(care) ? care->scrape : NULL);
}

int64_t
agt_care_due_ms(const struct agt_care *care)
{
    int64_t due_ms = INT64_MAX;

    if (care->leaves_ms > 0)
        due_ms = mono(care) + CARE_LEAVE_MS;
    if (care->settle_ms != 0 && !care->settled)
        due_ms = SYN_MIN(due_ms, care->settle_ms);
    if (is_ready(care) && !care->shown)
        due_ms = SYN_MIN(due_ms, mono(care) + CARE_SHOWN_MS);
    for (unsigned i = 0; i < SYN_LEN(care->checks); i++) {
        const struct care_check *check = &care->checks[i];

        if (!is_asked(care, i) || !check->health.rules.checked)
            continue;
        if (check->probe.fd < 0)
            due_ms = SYN_MIN(due_ms, check->health.due_ms);
        else
            due_ms = SYN_MIN(due_ms, check->probe.deadline_ms);
        if (check->probe.exec != NULL) { /* what it prints is taken, or it would be held up */
            int64_t hear_ms = mono(care) + CARE_HEAR_MS;

            due_ms = SYN_MIN(due_ms, hear_ms);
        }
    }
    if (scrapes(care)) {
        int64_t read_ms = mono(care) + agt_scrape_pause_ms(care->scrape, mono(care));

        due_ms = SYN_MIN(due_ms, read_ms);
    }
    return due_ms;
}

bool
agt_care_may_stop(struct agt_care *care, int64_t drain_ms)
{
    if (care->leaves_ms == 0)
        care->leaves_ms = SYN_MAX(mono(care), 1);
    return !is_ready(care) || mono(care) - care->leaves_ms >= drain_ms;
}

int64_t
agt_care_before_stop(struct agt_care *care, int64_t grace_ms)
{
    struct care_check *check = &care->checks[CARE_BEFORE_STOP];
    const struct agt_probe_target target = target_of(care, check);
    enum agt_probe_state state = AGT_PROBE_RUNS;
    int64_t left_ms;

    assert(grace_ms > 0);
    if (!check->health.rules.checked)
        return grace_ms;
    if (care->before_stop_ms == 0) {
        care->before_stop_ms = SYN_MAX(mono(care), 1);
        state = agt_probe_begin(&check->probe, &target, mono(care), grace_ms);
    } else if (!care->before_stop_over) {
        state = agt_probe_turn(&check->probe, mono(care));
    }
    left_ms = SYN_MAX(grace_ms - (mono(care) - care->before_stop_ms), 0);
    if (care->before_stop_over)
        return left_ms;
    if (state == AGT_PROBE_RUNS && left_ms > 0)
        return -1;
    care->before_stop_over = true;
    if (state != AGT_PROBE_PASSED)
        syn_log(SYN_LOG_WARN, "instance.pre-stop-failed", "instance=%s said=\"%s\"",
                care->instance->id, check->probe.message);
    agt_probe_end(&check->probe);
    return left_ms;
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
    return care->message;
}
