#include <synor/workload/service_control.h>

#include <synor/base/str.h>

#define TO(state) SYN_BIT(SYN_SERVICE_##state)
#define LIVES     (TO(DEPLOYING) | TO(RUNNING) | TO(DEGRADED))

static const struct syn_sm_state service_states[] = {
    [SYN_SERVICE_DEPLOYING] = {"deploying", LIVES | TO(STOPPING) | TO(STOPPED)},
    [SYN_SERVICE_RUNNING] = {"running", LIVES | TO(STOPPING) | TO(STOPPED)},
    [SYN_SERVICE_DEGRADED] = {"degraded", LIVES | TO(STOPPING) | TO(STOPPED)},
    [SYN_SERVICE_STOPPING] = {"stopping", TO(STOPPED)},
    /* Deployed again it begins a new run. */
    [SYN_SERVICE_STOPPED] = {"stopped", TO(DEPLOYING)},
};

const struct syn_sm syn_service_life = {"service", service_states, SYN_LEN(service_states)};

static const struct {
    unsigned state;
    const char *word;
    const char *sentence;
} reasons[] = {
    {SYN_SERVICE_DEPLOYING, "created", "its first replicas are being started"},
    {SYN_SERVICE_DEPLOYING, "updating", "its replicas are being replaced by a newer version's"},
    {SYN_SERVICE_DEPLOYING, "scaling", "it is being brought to another number of replicas"},
    {SYN_SERVICE_DEPLOYING, "testing", "a part of what comes goes to its new version"},
    {SYN_SERVICE_DEPLOYING, "waiting", "its new version waits to be promoted"},
    {SYN_SERVICE_DEPLOYING, "rolling-back", "it goes back to the version that worked"},
    {SYN_SERVICE_RUNNING, "ready", "every replica is ready"},
    {SYN_SERVICE_RUNNING, "completed", "its replicas have ended, and are not to be restarted"},
    {SYN_SERVICE_RUNNING, "scaled-to-zero", "no replica is wanted"},
    {SYN_SERVICE_RUNNING, "funds-low", "its account cannot pay for the next billing period"},
    {SYN_SERVICE_RUNNING, "rolled-back", "a version failed; the one before it serves"},
    {SYN_SERVICE_DEGRADED, "replica-down", "a replica is not ready; it is replaced"},
    {SYN_SERVICE_DEGRADED, "crash-loop", "replicas end soon after they start"},
    {SYN_SERVICE_DEGRADED, "deploy-failed", "its first version did not become ready in time"},
    {SYN_SERVICE_DEGRADED, "ended", "a replica has failed, and is not to be restarted"},
    {SYN_SERVICE_DEGRADED, "no-room", "no node has room for a replica"},
    {SYN_SERVICE_STOPPING, "user", "it was asked to stop"},
    {SYN_SERVICE_STOPPING, "budget", "what was locked for it is spent"},
    {SYN_SERVICE_STOPPING, "funds", "its account has no more to pay it with"},
    {SYN_SERVICE_STOPPED, "user", "it was stopped on request"},
    {SYN_SERVICE_STOPPED, "budget", "what was locked for it is spent"},
    {SYN_SERVICE_STOPPED, "funds", "its account has no more to pay it with"},
};

const char *
syn_service_reason(unsigned state, const char *word)
{
    for (size_t i = 0; i < SYN_LEN(reasons); i++)
        if (reasons[i].state == state && syn_str_eq(reasons[i].word, word))
            return reasons[i].sentence;
    return NULL;
}
