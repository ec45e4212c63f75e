/* HAProxy counts what each server has answered since it was added, or since HAProxy was started or
 * reloaded. A canary's verdict asks for what came since its stage began, of both versions. So sums
 * are kept of what grows between two looks; they begin anew with each stage and with this server,
 * which then has to see errors again before it acts on them. */
#include "trials_priv.h"

#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#define TRIALS_MAX 4096

struct trial {
    char since[SYN_FORMAT_MAX];
    int64_t version;
    struct syn_map *seen; /* instance -> struct syn_service_answers at the last look */
    struct syn_service_answers sums[SYN_SERVICE_SIDES];
};

struct srv_trials {
    struct syn_map *services; /* id -> struct trial */
};

static void
free_trial(void *value)
{
    struct trial *trial = value;

    (void)syn_map_free(trial->seen);
    syn_free(trial);
}

static void
free_seen(void *value)
{
    syn_free(value);
}

int
srv_trials_new(struct srv_trials **ret, struct syn_err *err)
{
    struct srv_trials *trials = syn_calloc(1, sizeof(*trials));
    int rc;

    if (trials == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for trials");
    rc = syn_map_new(free_trial, &trials->services, err);
    if (rc < 0)
        (void)srv_trials_free(trials);
    else
        *ret = trials;
    return rc;
}

struct srv_trials *
srv_trials_free(struct srv_trials *trials)
{
    if (trials == NULL)
        return NULL;
    (void)syn_map_free(trials->services);
    syn_free(trials);
    return NULL;
}

void
srv_trials_forget(struct srv_trials *trials, const char *service)
{
    (void)syn_map_remove(trials->services, service);
}

bool
srv_trials_wants(const json_t *service)
{
    const json_t *rollout = json_object_get(syn_document_status(service), "rollout");

    return syn_str_eq(syn_json_str(rollout, "stage", ""), "testing") &&
           syn_str_eq(syn_json_str(rollout, "strategy", ""), "canary");
}

/* The service's trial in its present stage; NULL: there is no memory, or room, for one. */
static struct trial *
trial_of(struct srv_trials *trials, const json_t *service)
{
    const json_t *rollout = json_object_get(syn_document_status(service), "rollout");
    const char *id = syn_document_id(service), *since = syn_json_str(rollout, "since", "");
    int64_t version = syn_json_i64(rollout, "version", 0);
    struct trial *trial = syn_map_find(trials->services, id);

    if (trial != NULL && trial->version == version && syn_str_eq(trial->since, since))
        return trial;
    if (trial == NULL && syn_map_count(trials->services) >= TRIALS_MAX)
        return NULL;
    trial = syn_calloc(1, sizeof(*trial));
    if (trial == NULL)
        return NULL;
    trial->version = version;
    (void)syn_str_copy(trial->since, sizeof(trial->since), since);
    if (syn_map_new(free_seen, &trial->seen, NULL) < 0) {
        syn_free(trial);
        return NULL;
    }
    return syn_map_put_take(trials->services, id, trial, NULL) < 0 ? NULL : trial;
}

/* Which side an instance is on; SIDES: neither. */
static unsigned
side_of(const json_t *service, const char *instance)
{
    const json_t *status = syn_document_status(service);
    const json_t *rollout = json_object_get(status, "rollout");
    const json_t *row;
    size_t i;

    json_array_foreach (json_object_get(status, "endpoints"), i, row) {
        int64_t version = syn_json_i64(row, "version", 0);

        if (!syn_str_eq(syn_json_str(row, "instance", ""), instance))
            continue;
        if (version == syn_json_i64(rollout, "version", -1))
            return SYN_SERVICE_NEW;
        return version == syn_json_i64(rollout, "from", -1) ? SYN_SERVICE_OLD : SYN_SERVICE_SIDES;
    }
    return SYN_SERVICE_SIDES;
}

/* Add what has come since the last look. Where less is counted than then, it was begun anew. */
static void
add(struct trial *trial, unsigned side, const struct syn_balancer_server_counts *count)
{
    struct syn_service_answers *seen = syn_map_find(trial->seen, count->server);
    struct syn_service_answers *sum = &trial->sums[side];
    bool first = seen == NULL, anew;

    if (first) {
        seen = syn_calloc(1, sizeof(*seen));
        if (seen == NULL || syn_map_put_take(trial->seen, count->server, seen, NULL) < 0)
            return;
    }
    anew = count->answers < seen->answers || count->errors < seen->errors;
    if (!first) {
        sum->answers += count->answers - (anew ? 0 : seen->answers);
        sum->errors += count->errors - (anew ? 0 : seen->errors);
    }
    *seen = (struct syn_service_answers){count->answers, count->errors};
}

bool
srv_trials_take(struct srv_trials *trials, const json_t *service,
                const struct syn_balancer_server_counts *counts, size_t count,
                struct syn_service_answers ret[SYN_SERVICE_SIDES])
{
    struct trial *trial;

    if (!srv_trials_wants(service)) {
        srv_trials_forget(trials, syn_document_id(service));
        return false;
    }
    trial = trial_of(trials, service);
    if (trial == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        unsigned side = side_of(service, counts[i].server);

        if (side != SYN_SERVICE_SIDES)
            add(trial, side, &counts[i]);
    }
    memcpy(ret, trial->sums, sizeof(trial->sums));
    return true;
}
