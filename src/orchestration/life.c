#include <synor/orchestration/life.h>

#include <synor/base/str.h>

#define TO(state)      SYN_BIT(SYN_JOB_##state)
#define INST_TO(state) SYN_BIT(SYN_PHASE_##state)
#define ENDS           (TO(SUCCEEDED) | TO(FAILED) | TO(STOPPED))

/* A program can be over before anyone saw it run, so starting leads to every end as running does.
 * Back to pending: a lost node, or a retry after the program's own failure. */
static const struct syn_sm_state job_states[] = {
    [SYN_JOB_PENDING] = {"pending", TO(STARTING) | TO(FAILED) | TO(STOPPED)},
    [SYN_JOB_STARTING] = {"starting", TO(RUNNING) | TO(STOPPING) | TO(PENDING) | ENDS},
    [SYN_JOB_RUNNING] = {"running", TO(STOPPING) | TO(PENDING) | ENDS},
    [SYN_JOB_STOPPING] = {"stopping", TO(PENDING) | ENDS},
    [SYN_JOB_SUCCEEDED] = {"succeeded", 0},
    [SYN_JOB_FAILED] = {"failed", 0},
    [SYN_JOB_STOPPED] = {"stopped", 0},
};

static const struct syn_sm_state instance_states[] = {
    [SYN_PHASE_ASSIGNED] = {"assigned", INST_TO(PREPARING) | INST_TO(RUNNING) | INST_TO(STOPPING) |
                                            INST_TO(EXITED) | INST_TO(LOST)},
    [SYN_PHASE_PREPARING] = {"preparing", INST_TO(RUNNING) | INST_TO(STOPPING) | INST_TO(EXITED) |
                                              INST_TO(LOST)},
    [SYN_PHASE_RUNNING] = {"running", INST_TO(STOPPING) | INST_TO(EXITED) | INST_TO(LOST)},
    [SYN_PHASE_STOPPING] = {"stopping", INST_TO(EXITED) | INST_TO(LOST)},
    [SYN_PHASE_EXITED] = {"exited", 0},
    [SYN_PHASE_LOST] = {"lost", 0},
};

const struct syn_sm syn_job_life = {"job", job_states, SYN_LEN(job_states)};
const struct syn_sm syn_instance_life = {"instance", instance_states, SYN_LEN(instance_states)};

/* clang-format off */
static const struct syn_reason job_reasons[] = {
    {SYN_JOB_PENDING, "waiting-for-start", "it has not been placed yet", "it is placed within seconds"},
    {SYN_JOB_PENDING, "quota", "the account holds as much as its quota allows", "wait for its other work to end, or have an operator raise it: synor account quota"},
    {SYN_JOB_PENDING, "no-node", "no node is ready to take work", "start an agent, or bring a silent or drained node back: synor node list"},
    {SYN_JOB_PENDING, "no-region", "no ready node is in the region asked for", "leave out --region, or join a node there"},
    {SYN_JOB_PENDING, "namespace-not-allowed", "no ready node allows the namespace sandbox", "use --isolation auto, or start a node with --allow-namespace-sandbox"},
    {SYN_JOB_PENDING, "no-sandbox", "no ready node offers the isolation asked for", "use --isolation auto; synor doctor names what a node lacks"},
    {SYN_JOB_PENDING, "no-network", "no ready node has networks for instances", "synor node get NODE says what it lacks; install that, and start it anew"},
    {SYN_JOB_PENDING, "no-framework", "no ready node has the framework for its own Python", "install it on a node, bring it in an --image, or use --framework custom"},
    {SYN_JOB_PENDING, "no-runtime", "no ready node has the language of the function", "install it on a node, or bring it in an image: --runtime custom:IMAGE"},
    {SYN_JOB_PENDING, "too-dear", "every node that could take it costs more than --max-price", "raise it, or wait for a cheaper offer: synor node list --capacity"},
    {SYN_JOB_PENDING, "no-gpu", "no ready node has the GPUs asked for free", "ask for fewer or other GPUs, or join a node that has them"},
    {SYN_JOB_PENDING, "insufficient-cpu", "no ready node has the CPUs asked for free", "ask for fewer with --cpus, or wait for running work to end"},
    {SYN_JOB_PENDING, "insufficient-memory", "no ready node has the memory asked for free", "ask for less with --memory, or wait for running work to end"},
    {SYN_JOB_PENDING, "insufficient-scratch", "no ready node has the scratch space asked for free", "ask for less with --scratch, or wait for running work to end"},
    {SYN_JOB_PENDING, "insufficient-bandwidth", "no ready node has the bandwidth asked for free", "ask for less with --bandwidth, or wait for running work to end"},
    {SYN_JOB_PENDING, "too-far", "no ready node is near enough to the region asked for", "allow more with --latency-to, or say how far it is: synor region latency"},
    {SYN_JOB_PENDING, "no-label", "no ready node has the labels asked for", "leave out --label, or give them to a node: synor node label"},
    {SYN_JOB_PENDING, "labels-full", "work says more of labels than can be told apart at once", "ask as other work does, or wait until some of it has ended"},
    {SYN_JOB_PENDING, "affinity", "no node with room is where its group is", "leave out --affinity, or start the group first"},
    {SYN_JOB_PENDING, "anti-affinity", "every node with room is where the group is to be kept away from", "leave out --anti-affinity, or join nodes elsewhere"},
    {SYN_JOB_PENDING, "spread", "where there is room more of its group runs than elsewhere", "leave out --spread, or join nodes elsewhere"},
    {SYN_JOB_PENDING, "turn", "the room there is goes to work that comes before it", "wait for its turn, or raise --priority"},
    {SYN_JOB_PENDING, "making-room", "work of lower priority saves and stops to make room for it", "it starts as soon as that has stopped"},
    {SYN_JOB_PENDING, "preempted", "it gave way to work that comes before it", "it starts again from its last checkpoint as soon as it can be placed"},
    {SYN_JOB_PENDING, "drained", "it left a node that is emptied", "it starts again from its last checkpoint, on another"},
    {SYN_JOB_PENDING, "outbid", "the spot price rose above what it bids", "it starts again from its last checkpoint when the price allows; raise --max-price"},
    {SYN_JOB_PENDING, "no-units", "the account does not hold the units that it takes", "buy them: synor market buy CLASS QTY; or leave out --reserved"},
    {SYN_JOB_PENDING, "not-kept", "no node of those who owe its units has them free together", "wait for their work to end; or ask for fewer on one node"},
    {SYN_JOB_PENDING, "units-over", "its reserved units were used up", "it starts again from its last checkpoint as soon as there are more: synor market buy"},
    {SYN_JOB_PENDING, "node-lost", "a node it ran on was lost", "it starts again from its last checkpoint as soon as it can be placed"},
    {SYN_JOB_PENDING, "retrying", "the program failed and is tried again", "it starts again by itself; the logs hold the program's last words"},
    {SYN_JOB_STARTING, "assigned", "its nodes are chosen and have not taken it up yet", ""},
    {SYN_JOB_STARTING, "preparing", "its nodes are fetching its data and setting up its sandbox", ""},
    {SYN_JOB_RUNNING, "running", "every rank is running", ""},
    {SYN_JOB_RUNNING, "node-silent", "a node it runs on does not report; the program goes on there", "look at the node's agent and its network"},
    {SYN_JOB_STOPPING, "user", "it was asked to stop and may save a checkpoint", ""},
    {SYN_JOB_STOPPING, "budget", "its budget is spent; it may save a checkpoint", ""},
    {SYN_JOB_STOPPING, "time-limit", "its time is over; it may save a checkpoint", ""},
    {SYN_JOB_STOPPING, "preempted", "work that comes before it needs its room; it may save a checkpoint", "it starts again from its last checkpoint"},
    {SYN_JOB_STOPPING, "drained", "its node is emptied; it may save a checkpoint", "it starts again from its last checkpoint, on another"},
    {SYN_JOB_STOPPING, "outbid", "the spot price rose above what it bids; it may save a checkpoint", "it starts again from its last checkpoint when the price allows"},
    {SYN_JOB_STOPPING, "units-over", "its reserved units are over; it may save a checkpoint", "it starts again from its last checkpoint when there are more"},
    {SYN_JOB_STOPPING, "peer-failed", "a rank failed; the others are being stopped", ""},
    {SYN_JOB_STOPPING, "node-lost", "a rank's node was lost; the others are being stopped", "it starts again from its last checkpoint"},
    {SYN_JOB_SUCCEEDED, "completed", "the program ended with exit status 0", ""},
    {SYN_JOB_FAILED, "exit-nonzero", "the program ended with an error", "read the logs, correct the program or its settings, then resume"},
    {SYN_JOB_FAILED, "oom-killed", "the program needed more memory than it asked for", "ask for more with --memory, or make the batch smaller"},
    {SYN_JOB_FAILED, "time-limit", "the time limit was reached", "resume it: it goes on from its last checkpoint"},
    {SYN_JOB_FAILED, "start-failed", "the program could not be started", "check the entry, the image and the files named"},
    {SYN_JOB_FAILED, "scratch-full", "the program filled its scratch volume", "ask for more with --scratch, or keep fewer files"},
    {SYN_JOB_FAILED, "pids-limit", "the program needed more processes than it may have", "start fewer worker processes"},
    {SYN_JOB_FAILED, "node-lost", "its nodes were lost too often", "resume it when the nodes are healthy"},
    {SYN_JOB_FAILED, "interrupted", "it was interrupted and placed again too often", "resume it: it goes on from its last checkpoint, on a bill of its own"},
    {SYN_JOB_FAILED, "peer-failed", "a rank was ended because another one failed", "read the logs of the rank that failed first"},
    {SYN_JOB_STOPPED, "user", "it was stopped on request", "resume it: it goes on from its last checkpoint"},
    {SYN_JOB_STOPPED, "budget", "its budget was spent", "resume it with a higher --max-budget"},
};

static const struct syn_reason instance_reasons[] = {
    {SYN_PHASE_ASSIGNED, "assigned", "the node has not taken it up yet", ""},
    {SYN_PHASE_PREPARING, "preparing", "the node is fetching its data and setting up its sandbox", ""},
    {SYN_PHASE_RUNNING, "running", "it is running", ""},
    {SYN_PHASE_STOPPING, "stopping", "it was asked to stop", ""},
    {SYN_PHASE_EXITED, "completed", "the program ended with exit status 0", ""},
    {SYN_PHASE_EXITED, "failed", "the program ended with an error", ""},
    {SYN_PHASE_EXITED, "oom-killed", "the kernel ended it: it used more memory than its limit", ""},
    {SYN_PHASE_EXITED, "time-limit", "it was stopped at its time limit", ""},
    {SYN_PHASE_EXITED, "stopped", "it was stopped on request", ""},
    {SYN_PHASE_EXITED, "start-failed", "the program could not be started", ""},
    {SYN_PHASE_EXITED, "scratch-full", "its scratch volume is full", ""},
    {SYN_PHASE_EXITED, "unhealthy", "it was ended because its health checks failed", ""},
    {SYN_PHASE_EXITED, "pids-limit", "it needed more processes than its limit", ""},
    {SYN_PHASE_LOST, "node-lost", "its node was lost", ""},
    {SYN_PHASE_LOST, "node-rebooted", "its node was restarted", ""},
    {SYN_PHASE_LOST, "lost", "what ran it on the node died, and its end was not seen", ""},
};
/* clang-format on */

static const struct syn_reason *
reason_find(const struct syn_reason *rows, size_t count, unsigned state, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].state == state && syn_str_eq(rows[i].word, word))
            return &rows[i];
    return NULL;
}

const struct syn_reason *
syn_job_reasons(size_t *ret_count)
{
    *ret_count = SYN_LEN(job_reasons);
    return job_reasons;
}

const struct syn_reason *
syn_instance_reasons(size_t *ret_count)
{
    *ret_count = SYN_LEN(instance_reasons);
    return instance_reasons;
}

const struct syn_reason *
syn_job_reason(unsigned state, const char *word)
{
    return reason_find(job_reasons, SYN_LEN(job_reasons), state, word);
}

const struct syn_reason *
syn_instance_reason(unsigned state, const char *word)
{
    return reason_find(instance_reasons, SYN_LEN(instance_reasons), state, word);
}

int
syn_job_state_find(const char *name)
{
    return syn_sm_find(&syn_job_life, name);
}

int
syn_instance_state_find(const char *name)
{
    return syn_sm_find(&syn_instance_life, name);
}

bool
syn_instance_ended(unsigned state)
{
    return syn_sm_terminal(&syn_instance_life, state);
}
