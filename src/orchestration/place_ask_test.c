/* Jobs that ask for room: what one sees of the queue, of giving way, and of a server that comes
 * back; and a random history in which nothing is ever given twice. */
#include <synor/orchestration/place.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define GIB   (INT64_C(1) << 30)
#define NODES 3
#define JOBS  12
#define STEPS 400
#define LIVES 40

static json_t *
node_doc(const char *id, const char *state, bool drained, int64_t cpus, int64_t cards)
{
    json_t *doc = json_pack(
        "{s:s, s:{s:s, s:b}, s:{s:s, s:{s:I, s:I, s:I, s:[{s:s, s:I, s:I}]}, s:[{s:s, s:s, s:b}],"
        " s:s}}",
        "id", id, "spec", "region", "eu", "unschedulable", drained, "status", "state", state,
        "capacity", "cpu_millicores", (json_int_t)cpus * 1000, "memory_bytes",
        (json_int_t)cpus * GIB, "scratch_bytes", (json_int_t)100 * GIB, "gpus", "model", "a100",
        "count", (json_int_t)cards, "vram_bytes", (json_int_t)80 * GIB, "sandboxes", "name", "runc",
        "state", "ready", "gpus", true, "default_isolation", "runc");

    assert_non_null(doc);
    return doc;
}

static void
put_node(struct syn_cluster *cluster, const char *id, const char *state, int64_t cpus,
         int64_t cards)
{
    struct syn_err err;
    SYN_JSON(doc);

    doc = node_doc(id, state, false, cpus, cards);
    assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
}

/* The instance of rank `rank` of the job, as it was placed. */
static json_t *
instance_doc(const char *job, uint32_t attempt, uint32_t rank, const struct syn_place_slot *slot,
             const struct syn_place_request *request, int64_t gpus, int64_t priority)
{
    char id[SYN_ID_MAX];
    json_t *doc;

    (void)snprintf(id, sizeof(id), "inst-%s-%u-%u", job, attempt, rank);
    doc = json_pack("{s:s, s:s, s:{s:s, s:s, s:I, s:{s:I, s:I, s:I, s:I, s:s, s:I}}, s:{s:s}}",
                    "id", id, "account", "acct-1", "spec", "job", job, "node", slot->node,
                    "priority", (json_int_t)priority, "resources", "cpu_millicores",
                    (json_int_t)request->amounts.cpu_millicores, "memory_bytes",
                    (json_int_t)request->amounts.memory_bytes, "scratch_bytes",
                    (json_int_t)request->amounts.scratch_bytes, "gpus", (json_int_t)gpus,
                    "gpu_model", slot->gpu_model, "gpu_vram_bytes",
                    (json_int_t)slot->gpu_vram_bytes, "status", "state", "running");
    assert_non_null(doc);
    return doc;
}

static struct syn_place_request
cpus(int64_t cores)
{
    return (struct syn_place_request){
        .count = 1, .amounts = {cores * 1000, cores * GIB / 2, GIB}, .policy = SYN_FLEET_BINPACK};
}

static int
ask(struct syn_cluster *cluster, const char *job, int64_t priority,
    const struct syn_place_request *request, struct syn_placement *ret)
{
    const struct syn_place_who who = {.job = job, .account = "acct-1", .priority = priority};
    struct syn_err err;
    int rc = syn_place_ask(cluster, &who, request, ret, &err);

    if (rc < 0)
        fail_msg("asking for %s: %s", job, err.msg);
    return rc;
}

/* Its only instance runs, or has ended. */
static void
report(struct syn_cluster *cluster, const char *job, int64_t priority,
       const struct syn_place_request *request, const struct syn_placement *placement,
       const char *state)
{
    struct syn_err err;
    SYN_JSON(doc);

    doc = instance_doc(job, 1, 0, &placement->slots[0], request, placement->gpus, priority);
    assert_int_equal(
        json_object_set_new(json_object_get(doc, "status"), "state", json_string(state)), 0);
    assert_done(syn_cluster_put_instance(cluster, doc, &err), &err);
}

static struct syn_cluster *
cluster_make(int64_t cores, int64_t cards)
{
    struct syn_cluster *cluster;
    struct syn_err err;

    assert_done(syn_cluster_new(1, &cluster, &err), &err);
    put_node(cluster, "node-1", "ready", cores, cards);
    return cluster;
}

static void
test_queue(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(4, 0);
    struct syn_place_request large = cpus(3), small = cpus(2);
    struct syn_placement first, second;
    struct syn_place_turn turn;
    struct syn_err err;
    char job[SYN_ID_MAX];

    (void)state;
    assert_int_equal(ask(cluster, "a", 500, &large, &first), SYN_OK);
    assert_int_equal(ask(cluster, "a", 500, &large, &second), SYN_OK); /* the same answer */
    assert_string_equal(second.slots[0].node, "node-1");
    report(cluster, "a", 500, &large, &first, "running");
    assert_int_equal(ask(cluster, "b", 500, &small, &second), SYN_PLACE_NONE);
    assert_int_equal(ask(cluster, "c", 500, &small, &second), SYN_PLACE_NONE);
    assert_done(syn_place_turn(cluster, "c", &turn, &err), &err);
    assert_int_equal(turn.position, 2);
    assert_int_equal(turn.queue, 2);
    assert_false(syn_place_next(cluster, job));
    report(cluster, "a", 500, &large, &first, "exited");
    assert_true(syn_place_next(cluster, job)); /* both fit now */
    assert_true(syn_place_next(cluster, job));
    assert_false(syn_place_next(cluster, job));
    assert_int_equal(ask(cluster, "c", 500, &small, &second), SYN_OK);
    assert_int_equal(syn_place_turn(cluster, "c", &turn, &err), SYN_PLACE_NONE);
    assert_int_equal(ask(cluster, "d", 500, &small, &second), SYN_PLACE_NONE); /* b's is kept */
    syn_place_withdraw(cluster, "b");
    syn_place_withdraw(cluster, "nobody");
    assert_int_equal(ask(cluster, "d", 500, &small, &second), SYN_OK);
}

/* So many wait, each for something else of labels, that one who says yet another thing has to; it
 * is told that, and not that others come first. */
static void
test_more_labels_than_can_be_told_apart(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(4, 0);
    struct syn_place_request large = cpus(5), small = cpus(1);
    struct syn_placement placement;
    char label[32], message[256];
    const char *reason = "";

    (void)state;
    for (unsigned i = 0; i < SYN_FLEET_LABELS_MAX; i++) {
        char job[16];

        (void)snprintf(job, sizeof(job), "job-%u", i);
        (void)snprintf(label, sizeof(label), "disk!=%u", i);
        large.labels[0] = label;
        assert_int_equal(ask(cluster, job, 500, &large, &placement), SYN_PLACE_NONE);
    }
    small.labels[0] = label; /* as one of them */
    assert_int_equal(ask(cluster, "same", 500, &small, &placement), SYN_OK);
    small.labels[0] = "disk!=another";
    assert_int_equal(ask(cluster, "another", 500, &small, &placement), SYN_PLACE_NONE);
    syn_place_why(cluster, &small, &reason, message, sizeof(message));
    assert_string_equal(reason, "labels-full");
    assert_non_null(strstr(message, "64 different things"));
    syn_place_withdraw(cluster, "job-7");
    assert_int_equal(ask(cluster, "another", 500, &small, &placement), SYN_OK);
}

static void
test_giving_way(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(4, 0);
    struct syn_place_request request = cpus(3);
    struct syn_placement low, high;
    char job[SYN_ID_MAX];

    (void)state;
    assert_int_equal(ask(cluster, "low", 500, &request, &low), SYN_OK);
    report(cluster, "low", 500, &request, &low, "running");
    assert_int_equal(ask(cluster, "equal", 500, &request, &high), SYN_PLACE_NONE);
    assert_null(syn_place_evicted(cluster, "low")); /* never for its equal */
    assert_int_equal(ask(cluster, "high", 501, &request, &high), SYN_PLACE_SOON);
    assert_string_equal(high.slots[0].node, "node-1");
    assert_string_equal(syn_place_evicted(cluster, "low"), "preempted");
    assert_true(syn_place_next(cluster, job));
    assert_string_equal(job, "low");
    report(cluster, "low", 500, &request, &low, "stopping");
    assert_int_equal(ask(cluster, "high", 501, &request, &high), SYN_PLACE_SOON);
    report(cluster, "low", 500, &request, &low, "exited");
    assert_int_equal(ask(cluster, "high", 501, &request, &high), SYN_OK);
    assert_int_equal(ask(cluster, "low", 500, &request, &low), SYN_PLACE_NONE);
    assert_null(syn_place_evicted(cluster, "low"));
    syn_place_withdraw(cluster, "equal");
    report(cluster, "high", 501, &request, &high, "running");
    report(cluster, "high", 501, &request, &high, "exited");
    assert_int_equal(ask(cluster, "low", 500, &request, &low), SYN_OK);
}

/* A server that comes back knows what runs from the documents alone. */
static void
test_coming_back(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(4, 2);
    struct syn_place_request request = cpus(3), other = cpus(1);
    struct syn_placement placement = {.count = 1, .gpus = 2};
    char job[SYN_ID_MAX];

    (void)state;
    request.gpus = request.gpus_max = 2;
    other.gpus = other.gpus_max = 1;
    placement.slots[0] =
        (struct syn_place_slot){.node = "node-1", .gpu_model = "a100", .gpu_vram_bytes = 80 * GIB};
    report(cluster, "runs", 500, &request, &placement, "running");
    assert_int_equal(ask(cluster, "waits", 500, &other, &placement), SYN_PLACE_NONE);
    assert_int_equal(ask(cluster, "urgent", 900, &other, &placement), SYN_PLACE_SOON);
    assert_string_equal(syn_place_evicted(cluster, "runs"), "preempted");
    assert_true(syn_place_next(cluster, job));
    while (!syn_str_eq(job, "runs"))
        assert_true(syn_place_next(cluster, job));
    placement.gpus = 2;
    report(cluster, "runs", 500, &request, &placement, "exited");
    assert_int_equal(ask(cluster, "urgent", 900, &other, &placement), SYN_OK);
    assert_int_equal(ask(cluster, "waits", 500, &other, &placement), SYN_OK);
}

/* A node that is emptied: what finds room elsewhere goes there, the rest stays. */
static void
drain(bool comes_back)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(4, 0);
    const struct syn_place_request request = cpus(3);
    const struct syn_place_who who = {.job = "a", .account = "acct-1", .priority = 500};
    struct syn_placement placement, second;
    struct syn_err err;
    SYN_JSON(node);

    assert_int_equal(ask(cluster, "a", 500, &request, &placement), SYN_OK);
    if (comes_back) {
        syn_cluster_free(cluster);
        cluster = cluster_make(4, 0);
    }
    report(cluster, "a", 500, &request, &placement, "running");
    assert_done(syn_place_claim(cluster, &who, &request, 0, &err), &err);
    node = node_doc("node-1", "ready", true, 4, 0);
    assert_done(syn_json_set_bool(json_object_get(node, "spec"), "evacuate", true, &err), &err);
    assert_done(syn_cluster_put_node(cluster, node, &err), &err);
    assert_done(syn_place_empty(cluster, &err), &err);
    assert_null(syn_place_evicted(cluster, "a")); /* there is no other node */
    put_node(cluster, "node-2", "ready", 2, 0);
    assert_done(syn_place_empty(cluster, &err), &err);
    assert_null(syn_place_evicted(cluster, "a")); /* it is too small */
    put_node(cluster, "node-3", "ready", 4, 0);
    assert_done(syn_place_empty(cluster, &err), &err);
    assert_string_equal(syn_place_evicted(cluster, "a"), "drained");
    assert_int_equal(ask(cluster, "b", 400, &request, &second), SYN_PLACE_NONE); /* kept for a */
    report(cluster, "a", 500, &request, &placement, "exited");
    assert_int_equal(ask(cluster, "a", 500, &request, &placement), SYN_OK);
    assert_string_equal(placement.slots[0].node, "node-3");
}

static void
test_an_emptied_node(void **state)
{
    (void)state;
    drain(false);
    drain(true);
}

/* What was placed and waits for room looks elsewhere when its node is no longer there for it. */
static void
test_a_node_that_is_lost_before_the_start(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(4, 0);
    struct syn_place_request request = cpus(3);
    struct syn_placement low, high;

    (void)state;
    assert_int_equal(ask(cluster, "low", 500, &request, &low), SYN_OK);
    report(cluster, "low", 500, &request, &low, "running");
    assert_int_equal(ask(cluster, "high", 501, &request, &high), SYN_PLACE_SOON);
    put_node(cluster, "node-1", "silent", 4, 0);
    assert_int_equal(ask(cluster, "high", 501, &request, &high), SYN_PLACE_NONE);
    put_node(cluster, "node-2", "ready", 4, 0);
    assert_int_equal(ask(cluster, "high", 501, &request, &high), SYN_OK);
    assert_string_equal(high.slots[0].node, "node-2");
}

/* What a claim says is what counts then: its priority, and that it is one. */
static void
test_claims(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(4, 4);
    struct syn_place_request request = cpus(1), other = cpus(4);
    const struct syn_place_who who = {.job = "gang", .account = "acct-1", .priority = 500};
    struct syn_placement placement = {.count = 3, .gpus = 1};
    struct syn_err err;
    char job[SYN_ID_MAX];

    (void)state;
    request.count = 3;
    request.one_node = true;
    request.gpus = request.gpus_max = 1;
    for (uint32_t rank = 0; rank < 3; rank++) {
        SYN_JSON(doc);

        placement.slots[rank] = (struct syn_place_slot){
            .node = "node-1", .gpu_model = "a100", .gpu_vram_bytes = 80 * GIB};
        doc = instance_doc("gang", 1, rank, &placement.slots[rank], &request, 1, 500);
        assert_done(syn_cluster_put_instance(cluster, doc, &err), &err);
        assert_done(syn_place_claim(cluster, &who, &request, 1, &err), &err);
    }
    assert_done(syn_place_claim(cluster, &who, &request, 1, &err), &err);
    assert_int_equal(ask(cluster, "equal", 500, &other, &placement), SYN_PLACE_NONE);
    assert_int_equal(ask(cluster, "high", 501, &other, &placement), SYN_PLACE_SOON);
    assert_string_equal(syn_place_evicted(cluster, "gang"), "preempted");
    assert_true(syn_place_next(cluster, job));
    assert_string_equal(job, "gang");
}

/* More runs on a node than it has: nothing new comes until that is over, and then it does. */
static void
test_a_node_that_shrank(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(8, 0);
    struct syn_place_request request = cpus(6), other = cpus(1);
    struct syn_placement placement, second;

    (void)state;
    assert_int_equal(ask(cluster, "a", 500, &request, &placement), SYN_OK);
    report(cluster, "a", 500, &request, &placement, "running");
    put_node(cluster, "node-1", "ready", 4, 0);
    assert_int_equal(ask(cluster, "b", 500, &other, &second), SYN_PLACE_NONE);
    put_node(cluster, "node-1", "ready", 4, 0);
    report(cluster, "a", 500, &request, &placement, "exited");
    put_node(cluster, "node-1", "ready", 4, 0);
    assert_int_equal(ask(cluster, "b", 500, &other, &second), SYN_OK);
    assert_int_equal(ask(cluster, "c", 500, &request, &second), SYN_PLACE_NONE);
}

static void
test_cards_that_come_later(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(8, 0);
    struct syn_place_request request = cpus(1);
    struct syn_placement placement;

    (void)state;
    request.gpus = 1;
    request.gpus_max = 4;
    request.gpu_model = "a100";
    request.region = "eu";
    assert_int_equal(ask(cluster, "a", 500, &request, &placement), SYN_PLACE_NONE);
    put_node(cluster, "node-2", "ready", 8, 2);
    assert_int_equal(ask(cluster, "a", 500, &request, &placement), SYN_OK);
    assert_int_equal(placement.gpus, 2);
    assert_string_equal(placement.slots[0].node, "node-2");
    assert_true(syn_cluster_remove_node(cluster, "node-2"));
    assert_int_equal(ask(cluster, "a", 500, &request, &placement), SYN_PLACE_NONE);
    request.region = "us";
    assert_int_equal(ask(cluster, "b", 500, &request, &placement), SYN_PLACE_NONE);
}

/* ---- a random history ---- */

struct job {
    char id[24];
    int64_t priority;
    struct syn_place_request request;
    bool waits, runs;
    uint32_t attempt;
    struct syn_placement placement; /* while it runs */
};

struct life {
    uint64_t random;
    struct syn_cluster *cluster;
    int64_t cpus[NODES];
    bool ready[NODES];
    bool empties[NODES]; /* it is drained, and what runs there is to move */
    struct job jobs[JOBS];
};

static int64_t
pick(struct life *life, int64_t bound)
{
    return (int64_t)(syn_test_random(&life->random) % (uint64_t)bound);
}

static void
life_node(struct life *life, int at)
{
    char id[24];
    struct syn_err err;
    SYN_JSON(doc);

    (void)snprintf(id, sizeof(id), "node-%d", at);
    doc = node_doc(id, life->ready[at] ? "ready" : "silent", life->empties[at], life->cpus[at],
                   (int64_t)(at % 2) * 4);
    assert_done(
        syn_json_set_bool(json_object_get(doc, "spec"), "evacuate", life->empties[at], &err), &err);
    assert_done(syn_cluster_put_node(life->cluster, doc, &err), &err);
}

static void
life_instances(struct life *life, struct job *job, const char *state)
{
    for (uint32_t rank = 0; rank < job->placement.count; rank++) {
        struct syn_err err;
        SYN_JSON(doc);

        doc = instance_doc(job->id, job->attempt, rank, &job->placement.slots[rank], &job->request,
                           job->placement.gpus, job->priority);
        assert_int_equal(
            json_object_set_new(json_object_get(doc, "status"), "state", json_string(state)), 0);
        assert_done(syn_cluster_put_instance(life->cluster, doc, &err), &err);
    }
}

static void
life_claim(struct life *life, const struct job *job)
{
    const struct syn_place_who who = {
        .job = job->id, .account = "acct-1", .priority = job->priority};
    struct syn_err err;

    assert_done(syn_place_claim(life->cluster, &who, &job->request, job->placement.gpus, &err),
                &err);
}

/* A new server: nothing is known but the documents. */
static void
life_restart(struct life *life)
{
    struct syn_err err;

    syn_cluster_free(life->cluster);
    assert_done(syn_cluster_new(3, &life->cluster, &err), &err);
    for (int i = 0; i < JOBS; i++)
        if (life->jobs[i].runs && i % 2)
            life_instances(life, &life->jobs[i], "running");
    for (int i = 0; i < NODES; i++)
        life_node(life, i);
    for (int i = 0; i < JOBS; i++)
        if (life->jobs[i].runs && i % 2 == 0)
            life_instances(life, &life->jobs[i], "running");
    for (int i = 0; i < JOBS; i++)
        if (life->jobs[i].runs && pick(life, 2))
            life_claim(life, &life->jobs[i]);
}

/* Nothing is over-committed. */
static void
life_check(const struct life *life)
{
    for (size_t i = 0; i < syn_cluster_count(life->cluster); i++) {
        const struct syn_node_view *node = syn_cluster_at(life->cluster, i);

        assert_true(node->used.cpu_millicores <= node->capacity.cpu_millicores);
        assert_true(node->used.memory_bytes <= node->capacity.memory_bytes);
        for (unsigned g = 0; g < node->gpus_count; g++)
            assert_true(node->gpus[g].used <= node->gpus[g].count);
    }
}

static void
life_ask(struct life *life, struct job *job)
{
    int rc = ask(life->cluster, job->id, job->priority, &job->request, &job->placement);

    if (rc != SYN_OK)
        return;
    job->waits = false;
    job->runs = true;
    job->attempt++;
    for (uint32_t i = 0; i < job->placement.count; i++)
        assert_string_equal(syn_cluster_find(life->cluster, job->placement.slots[i].node)->region,
                            "eu");
    life_instances(life, job, "running");
}

static void
life_new(struct life *life, struct job *job)
{
    job->waits = true;
    job->priority = 100 * pick(life, 3);
    job->request = cpus(1 + pick(life, 4));
    job->request.count = pick(life, 3) ? 1 : 1 + (uint32_t)pick(life, 3);
    job->request.one_node = pick(life, 2);
    job->request.gpus = pick(life, 3) ? 0 : pick(life, 3);
    job->request.gpus_max = job->request.gpus + pick(life, 2);
    job->request.policy = (enum syn_fleet_policy)pick(life, SYN_FLEET_POLICIES);
}

static void
life_end(struct life *life, struct job *job, bool again)
{
    life_instances(life, job, "exited");
    job->runs = false;
    job->waits = again;
    if (!again)
        syn_place_withdraw(life->cluster, job->id);
}

static void
life_step(struct life *life)
{
    struct job *job = &life->jobs[pick(life, JOBS)];
    int node = (int)pick(life, NODES);
    struct syn_err err;

    switch (pick(life, 16)) {
    case 0:
        life_restart(life);
        break;
    case 1:
        life->ready[node] = pick(life, 3);
        life->empties[node] = pick(life, 3) == 0;
        life_node(life, node);
        break;
    case 2:
        if (job->waits)
            syn_place_withdraw(life->cluster, job->id);
        job->waits = false;
        break;
    default:
        if (job->runs)
            life_end(life, job, syn_place_evicted(life->cluster, job->id) != NULL);
        else if (!job->waits)
            life_new(life, job);
        if (job->waits)
            life_ask(life, job);
    }
    assert_done(syn_place_empty(life->cluster, &err), &err);
    life_check(life);
}

/* Whoever waits in the end is placed once the others have gone, if it could ever be. */
static void
life_finish(struct life *life)
{
    for (int i = 0; i < NODES; i++) {
        life->ready[i] = true;
        life->empties[i] = false;
        life_node(life, i);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < JOBS; i++) {
            struct job *job = &life->jobs[i];

            if (job->runs)
                life_end(life, job, false);
        }
    for (int round = 0; round < JOBS; round++)
        for (int i = 0; i < JOBS; i++) {
            struct job *job = &life->jobs[i];

            if (job->waits)
                life_ask(life, job);
            life_check(life);
            if (job->runs)
                life_end(life, job, false);
        }
    for (int i = 0; i < JOBS; i++) {
        struct syn_placement placement;
        struct syn_err err;

        if (life->jobs[i].waits)
            assert_int_equal(syn_place(life->cluster, &life->jobs[i].request, &placement, &err),
                             SYN_PLACE_NONE);
    }
}

static void
test_random_histories(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= LIVES; seed++) {
        struct life life = {.random = seed * 977};
        struct syn_err err;

        print_message("# history %llu\n", (unsigned long long)seed);
        assert_done(syn_cluster_new(3, &life.cluster, &err), &err);
        for (int i = 0; i < NODES; i++) {
            life.cpus[i] = 4 + 2 * i;
            life.ready[i] = true;
            life_node(&life, i);
        }
        for (int i = 0; i < JOBS; i++)
            (void)snprintf(life.jobs[i].id, sizeof(life.jobs[i].id), "job%d", i);
        for (int i = 0; i < STEPS; i++)
            life_step(&life);
        life_finish(&life);
        syn_cluster_free(life.cluster);
    }
}

struct docs {
    json_t *node;
    json_t *instance;
};

static int
ask_scenario(void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    static const char *const jobs[] = {"a", "b", "c"};
    const struct syn_place_request request = cpus(3);
    const struct docs *docs = arg;
    struct syn_placement placement;
    int rc = syn_cluster_new(1, &cluster, err);

    if (rc == SYN_OK)
        rc = syn_cluster_put_node(cluster, docs->node, err);
    for (size_t i = 0; i < SYN_LEN(jobs) && rc >= 0; i++) {
        const struct syn_place_who who = {
            .job = jobs[i], .account = "acct-1", .priority = 100 * (int64_t)i};

        rc = syn_place_ask(cluster, &who, &request, &placement, err);
        if (rc == SYN_OK)
            rc = syn_cluster_put_instance(cluster, docs->instance, err);
    }
    return rc < 0 ? rc : SYN_OK;
}

static void
test_shortage_of_memory(void **state)
{
    const struct syn_place_request request = cpus(3);
    const struct syn_place_slot slot = {.node = "node-1"};
    struct docs docs = {node_doc("node-1", "ready", false, 4, 2),
                        instance_doc("a", 1, 0, &slot, &request, 0, 0)};

    (void)state;
    assert_true(syn_test_sweep_alloc(ask_scenario, &docs) > 50);
    json_decref(docs.node);
    json_decref(docs.instance);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_more_labels_than_can_be_told_apart),
        cmocka_unit_test(test_giving_way),
        cmocka_unit_test(test_coming_back),
        cmocka_unit_test(test_an_emptied_node),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_a_node_that_is_lost_before_the_start),
        cmocka_unit_test(test_a_node_that_shrank),
        cmocka_unit_test(test_cards_that_come_later),
        cmocka_unit_test(test_random_histories),
        cmocka_unit_test(test_shortage_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
