/* What is kept for the market: for who holds units alone, lent to spot work, never to others; by
 * random sequences, and counted here a second time. */
#include <synor/orchestration/place.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define NODES  3
#define JOBS   40
#define ROUNDS 200
#define LIVES  40
#define CORES  INT64_C(8)
#define GOOD   "cpu/fast/eu"

static const char *const sellers[] = {"ann", "bob"};
static const char *const owners[NODES] = {"ann", "ann", "bob"};

enum kind { DEMAND, SPOT, HOLDER };

struct job {
    enum kind kind;
    int64_t cores;
    int node;     /* where it runs; -1: nowhere */
    bool waits;   /* it has asked */
    bool leaving; /* it was told to go */
};

struct bench {
    struct syn_cluster *cluster;
    struct job jobs[JOBS];
    int64_t keeps[2];
    int64_t begun[2]; /* units that holders use */
    bool here[NODES];
};

static void
put_node(struct bench *bench, int at)
{
    struct syn_err err;
    SYN_JSON(doc);
    char id[16];

    (void)snprintf(id, sizeof(id), "node-%d", at);
    doc = json_pack("{s:s, s:{s:s, s:b, s:s}, s:{s:s, s:{s:I, s:I, s:I}, s:[{s:s, s:s}], s:s,"
                    " s:[{s:s, s:s, s:s}]}}",
                    "id", id, "spec", "region", "eu", "unschedulable", 0, "provider", owners[at],
                    "status", "state", "ready", "capacity", "cpu_millicores",
                    (json_int_t)(CORES * 1000), "memory_bytes", (json_int_t)1 << 40,
                    "scratch_bytes", (json_int_t)1 << 40, "sandboxes", "name", "runc", "state",
                    "ready", "default_isolation", "runc", "devices", "id", "cpu0", "kind", "cpu",
                    "profile", "cpu-fast");
    assert_non_null(doc);
    assert_done(syn_cluster_put_node(bench->cluster, doc, &err), &err);
    bench->here[at] = true;
}

static void
name_of(int at, char *out)
{
    (void)snprintf(out, SYN_ID_MAX, "job-%02d", at);
}

static void
put_instance(struct bench *bench, int at, bool runs)
{
    const struct job *job = &bench->jobs[at];
    char name[SYN_ID_MAX], id[SYN_ID_MAX + 8], node[16];
    int priority = job->kind == SPOT ? -100 : 500;
    struct syn_err err;
    SYN_JSON(doc);

    name_of(at, name);
    (void)snprintf(id, sizeof(id), "i-%s", name);
    (void)snprintf(node, sizeof(node), "node-%d", job->node);
    if (job->kind == HOLDER)
        priority = SYN_PLACE_PRIORITY_HELD;
    doc = json_pack("{s:s, s:{s:s, s:s, s:i, s:{s:I, s:I, s:I, s:I, s:s}}, s:{s:s}}", "id", id,
                    "spec", "node", node, "job", name, "priority", priority, "resources",
                    "cpu_millicores", (json_int_t)job->cores * 1000, "memory_bytes",
                    (json_int_t)1024, "scratch_bytes", (json_int_t)10, "gpus", (json_int_t)0,
                    "gpu_model", "", "status", "state", runs ? "running" : "exited");
    assert_non_null(doc);
    assert_done(syn_cluster_put_instance(bench->cluster, doc, &err), &err);
}

static void
tell_keeps(struct bench *bench)
{
    struct syn_keep keeps[2];
    bool changed;
    struct syn_err err;

    memset(keeps, 0, sizeof(keeps));
    for (int i = 0; i < 2; i++) {
        (void)syn_str_copy(keeps[i].provider, sizeof(keeps[i].provider), sellers[i]);
        (void)syn_str_copy(keeps[i].good, sizeof(keeps[i].good), GOOD);
        keeps[i].units = bench->keeps[i];
    }
    assert_done(syn_cluster_set_keeps(bench->cluster, keeps, 2, &changed, &err), &err);
}

static int
seller_of(int node)
{
    return syn_str_eq(owners[node], "bob");
}

static struct syn_place_request
request_of(const struct job *job)
{
    return (struct syn_place_request){
        .count = 1,
        .amounts = {job->cores * 1000, 1024, 10},
        .spot = job->kind == SPOT,
        .good = job->kind == HOLDER ? GOOD : NULL,
        .sellers = sellers,
        .sellers_count = job->kind == HOLDER ? 2 : 0,
    };
}

/* Must a holder find room? Where a node keeps enough, which no other holder was promised. */
static bool
must_fit(const struct bench *bench, int at)
{
    int64_t most = 0;

    for (int n = 0; n < NODES; n++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "node-%d", n);
        most = SYN_MAX(most, syn_cluster_kept(bench->cluster, id, GOOD));
    }
    for (int i = 0; i < JOBS; i++)
        if (bench->jobs[i].waits && bench->jobs[i].kind == HOLDER)
            return false;
    return bench->jobs[at].kind == HOLDER && most >= bench->jobs[at].cores;
}

static int
ask(struct bench *bench, int at)
{
    bool must = must_fit(bench, at);
    struct job *job = &bench->jobs[at];
    const struct syn_place_request request = request_of(job);
    char name[SYN_ID_MAX];
    struct syn_place_who who = {.job = name, .account = "carl", .priority = 500, .now_ms = 1};
    struct syn_placement placement;
    struct syn_err err;
    int rc;

    name_of(at, name);
    if (job->kind == SPOT)
        who.priority = -100;
    if (job->kind == HOLDER)
        who.priority = SYN_PLACE_PRIORITY_HELD;
    rc = syn_place_ask(bench->cluster, &who, &request, &placement, &err);
    if (rc < 0)
        fail_msg("asking: %s", err.msg);
    assert_true(!must || rc != SYN_PLACE_NONE);
    job->waits = rc != SYN_OK;
    if (rc != SYN_OK)
        return rc;
    job->node = placement.slots[0].node[strlen("node-")] - '0';
    if (job->kind == HOLDER) { /* its units are begun */
        bench->begun[seller_of(job->node)] += job->cores;
        bench->keeps[seller_of(job->node)] -= job->cores;
    }
    put_instance(bench, at, true);
    if (job->kind == HOLDER)
        tell_keeps(bench);
    return rc;
}

static void
end(struct bench *bench, int at)
{
    struct job *job = &bench->jobs[at];

    if (job->kind == HOLDER)
        bench->begun[seller_of(job->node)] -= job->cores;
    put_instance(bench, at, false);
    job->node = -1;
    job->leaving = false;
}

/* Jobs that the cluster has something to say to. */
static void
hear(struct bench *bench)
{
    char name[SYN_ID_MAX];

    while (syn_place_next(bench->cluster, name)) {
        int at = (name[4] - '0') * 10 + name[5] - '0';
        struct job *job = &bench->jobs[at];

        if (syn_place_evicted(bench->cluster, name) && job->node >= 0) {
            assert_int_equal(job->kind, SPOT); /* nothing else ever has to go */
            job->leaving = true;
        } else if (job->waits) {
            (void)ask(bench, at);
        }
    }
}

static int64_t
cores_of(const struct bench *bench, int node, enum kind kind)
{
    int64_t cores = 0;

    for (int i = 0; i < JOBS; i++)
        if (bench->jobs[i].node == node && bench->jobs[i].kind == kind)
            cores += bench->jobs[i].cores;
    return cores;
}

static void
check(struct bench *bench)
{
    int64_t kept[2] = {0, 0}, room[2] = {0, 0}, on_node[NODES];

    for (int n = 0; n < NODES; n++) {
        char id[16];
        int64_t firm = cores_of(bench, n, DEMAND) + cores_of(bench, n, HOLDER);

        (void)snprintf(id, sizeof(id), "node-%d", n);
        on_node[n] = syn_cluster_kept(bench->cluster, id, GOOD);
        /* What is kept is there, whatever spot work does. */
        for (int j = 0; j < JOBS && firm + on_node[n] > CORES; j++)
            if (bench->jobs[j].node == n || bench->jobs[j].waits)
                print_message("job %d kind %d: %lld cores, node %d%s%s\n", j,
                              (int)bench->jobs[j].kind, (long long)bench->jobs[j].cores,
                              bench->jobs[j].node, bench->jobs[j].waits ? ", waits" : "",
                              bench->jobs[j].leaving ? ", leaves" : "");
        if (firm + on_node[n] > CORES)
            fail_msg("node %d: %lld run, %lld kept", n, (long long)firm, (long long)on_node[n]);
        kept[seller_of(n)] += on_node[n];
        room[seller_of(n)] += CORES - firm - on_node[n] - cores_of(bench, n, SPOT);
    }
    for (int i = 0; i < 2; i++) {
        int64_t most = bench->keeps[i];

        for (int j = 0; j < JOBS; j++) /* placed, and told to wait for spot work to go */
            if (bench->jobs[j].waits && bench->jobs[j].kind == HOLDER)
                most += bench->jobs[j].cores;
        if (kept[i] > most)
            fail_msg("%s keeps %lld, not %lld", sellers[i], (long long)kept[i], (long long)most);
        /* And nothing is missing while there is room. What was placed and waits counts as kept, or
         * has the room: then there may be none. */
        if (kept[i] < bench->keeps[i])
            for (int j = 0; j < JOBS && room[i] > 0; j++)
                room[i] = bench->jobs[j].waits || bench->jobs[j].leaving ? 0 : room[i];
        if (kept[i] < bench->keeps[i] && room[i] > 0)
            fail_msg("%s keeps %lld of %lld, and has room for %lld", sellers[i], (long long)kept[i],
                     (long long)bench->keeps[i], (long long)room[i]);
    }
}

static uint64_t
below(uint64_t *random, uint64_t bound)
{
    return syn_test_random(random) % bound;
}

static void
step(struct bench *bench, uint64_t *random)
{
    int at = (int)below(random, JOBS);
    struct job *job = &bench->jobs[at];
    char name[SYN_ID_MAX];

    name_of(at, name);
    if (below(random, 4) == 0) { /* a provider sells, as much as its nodes have left */
        int i = (int)below(random, 2);
        int64_t most = i == 0 ? 2 * CORES : CORES;

        for (int n = 0; n < NODES; n++)
            if (seller_of(n) == i)
                most -= cores_of(bench, n, DEMAND) + cores_of(bench, n, HOLDER);
        bench->keeps[i] = (int64_t)below(random, (uint64_t)SYN_MAX(most, 0) + 1);
        tell_keeps(bench);
    } else if (job->node >= 0) {
        end(bench, at);
    } else if (job->waits) {
        syn_place_withdraw(bench->cluster, name);
        job->waits = false;
    } else {
        syn_place_withdraw(bench->cluster, name); /* who had the name before may have gone midway */
        *job = (struct job){.kind = (enum kind)below(random, 3),
                            .cores = 1 + (int64_t)below(random, 4),
                            .node = -1};
        (void)ask(bench, at);
    }
    hear(bench);
    for (int i = 0; i < JOBS; i++)
        if (bench->jobs[i].leaving && below(random, 2) == 0) {
            end(bench, i);
            name_of(i, name);
            syn_place_withdraw(bench->cluster, name);
            hear(bench);
        }
}

static void
test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= LIVES; seed++) {
        SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
        struct bench bench = {.begun = {0, 0}};
        uint64_t random = seed * 7919;
        struct syn_err err;

        assert_done(syn_cluster_new(seed, &cluster, &err), &err);
        bench.cluster = cluster;
        for (int i = 0; i < JOBS; i++)
            bench.jobs[i].node = -1;
        for (int n = 0; n < NODES; n++)
            put_node(&bench, n);
        bench.jobs[0].cores = 1; /* the first question makes the core */
        (void)ask(&bench, 0);
        for (int i = 0; i < ROUNDS; i++) {
            step(&bench, &random);
            check(&bench);
        }
    }
}

/* What was lent goes to who bids more, and to nobody who bids as much. */
static void
test_bids(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct bench bench = {.begun = {0, 0}};
    const struct job spot = {.kind = SPOT, .cores = CORES};
    struct syn_place_request request = request_of(&spot);
    struct syn_place_who who = {.job = "job-01", .account = "carl", .priority = -100, .now_ms = 1};
    struct syn_placement placement;
    struct syn_err err;
    bool changed;

    (void)state;
    assert_done(syn_cluster_new(1, &cluster, &err), &err);
    bench.cluster = cluster;
    put_node(&bench, 2);
    bench.keeps[1] = 1; /* the rest of the node is nobody's */
    tell_keeps(&bench);
    assert_int_equal(syn_place_ask(cluster, &who, &request, &placement, &err), SYN_OK);
    bench.jobs[1] = (struct job){.kind = SPOT, .cores = CORES, .node = 2};
    put_instance(&bench, 1, true);
    assert_int_equal(syn_cluster_kept(cluster, "node-2", GOOD), 1);
    who.job = "job-02";
    assert_int_equal(syn_place_ask(cluster, &who, &request, &placement, &err), SYN_PLACE_NONE);
    assert_null(syn_place_evicted(cluster, "job-01"));
    who.job = "job-03";
    who.priority = -99;
    assert_int_equal(syn_place_ask(cluster, &who, &request, &placement, &err), SYN_PLACE_SOON);
    assert_string_equal(syn_place_evicted(cluster, "job-01"), "preempted");
    assert_int_equal(syn_cluster_kept(cluster, "node-2", GOOD), 1);

    /* Of what nothing is kept any more nothing is lent: work on demand comes first again. */
    put_instance(&bench, 1, false);
    syn_place_withdraw(cluster, "job-01");
    syn_place_withdraw(cluster, "job-02");
    assert_int_equal(syn_place_ask(cluster, &who, &request, &placement, &err), SYN_OK);
    bench.jobs[3] = bench.jobs[1];
    put_instance(&bench, 3, true);
    request.spot = false;
    who = (struct syn_place_who){.job = "job-04", .account = "carl", .priority = 0, .now_ms = 1};
    assert_int_equal(syn_place_ask(cluster, &who, &request, &placement, &err), SYN_PLACE_NONE);
    assert_done(syn_cluster_set_keeps(cluster, NULL, 0, &changed, &err), &err);
    assert_true(changed);
    assert_int_equal(syn_place_ask(cluster, &who, &request, &placement, &err), SYN_PLACE_SOON);
    assert_string_equal(syn_place_evicted(cluster, "job-03"), "preempted");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bids), cmocka_unit_test(test_random)};

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
