#include <synor/orchestration/place.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>
#include <synor/orchestration/life.h>

#define GIB        (INT64_C(1) << 30)
#define NODES_MAX  4
#define ROUNDS     1500
#define GROUPS_MAX 2

/* A cluster as the tests know it: plain numbers, from which documents are made. */
struct plain_node {
    const char *id;
    const char *region;
    const char *state;
    const char *sandbox;
    bool drained;
    int64_t cpu, memory, scratch;
    int64_t cards[GROUPS_MAX];
    const char *models[GROUPS_MAX];
    int64_t vram[GROUPS_MAX];
    bool netless;
    const char *pytorch;              /* its version; NULL: the node tells of no frameworks */
    const char *pythons[2], *node_js; /* versions; all NULL: the node tells of no languages */
    bool speechless;                  /* it tells that it has none */
};

static void
add_language(json_t *list, const char *name, const char *version, const char *state)
{
    if (version)
        assert_int_equal(json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", name,
                                                               "version", version, "state", state)),
                         0);
}

static void
add_languages(json_t *status, const struct plain_node *node)
{
    json_t *list;

    if (!node->pythons[0] && !node->node_js && !node->speechless)
        return;
    list = json_array();
    for (size_t i = 0; i < SYN_LEN(node->pythons); i++)
        add_language(list, "python", node->pythons[i], "ready");
    add_language(list, "node", node->node_js, "ready");
    add_language(list, "node", "12.22.9", "too-old");
    assert_int_equal(json_object_set_new(status, "languages", list), 0);
}

static struct syn_cluster *
cluster_seeded(const struct plain_node *nodes, size_t count, uint64_t seed)
{
    struct syn_cluster *cluster;
    struct syn_err err;

    assert_done(syn_cluster_new(seed, &cluster, &err), &err);
    for (size_t i = 0; i < count; i++) {
        const struct plain_node *node = &nodes[i];
        SYN_JSON(doc);

        doc = json_pack(
            "{s:s, s:{s:s, s:b}, s:{s:s, s:{s:I, s:I, s:I, s:[{s:s, s:I, s:I}, {s:s, s:I, s:I}]},"
            " s:[{s:s, s:s}], s:s}}",
            "id", node->id, "spec", "region", node->region, "unschedulable", node->drained,
            "status", "state", node->state, "capacity", "cpu_millicores", (json_int_t)node->cpu,
            "memory_bytes", (json_int_t)node->memory, "scratch_bytes", (json_int_t)node->scratch,
            "gpus", "model", node->models[0], "count", (json_int_t)node->cards[0], "vram_bytes",
            (json_int_t)node->vram[0], "model", node->models[1], "count",
            (json_int_t)node->cards[1], "vram_bytes", (json_int_t)node->vram[1], "sandboxes",
            "name", node->sandbox, "state", "ready", "default_isolation", node->sandbox);
        assert_non_null(doc);
        if (node->netless)
            assert_int_equal(json_object_set_new(json_object_get(doc, "status"), "networks",
                                                 json_pack("{s:s}", "state", "missing")),
                             0);
        if (node->pytorch)
            assert_int_equal(json_object_set_new(json_object_get(doc, "status"), "frameworks",
                                                 json_pack("{s:s}", "pytorch", node->pytorch)),
                             0);
        add_languages(json_object_get(doc, "status"), node);
        assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
    }
    return cluster;
}

static struct syn_cluster *
cluster_make(const struct plain_node *nodes, size_t count)
{
    return cluster_seeded(nodes, count, 0);
}

static const struct plain_node plain = {
    .id = "node-1",
    .region = "eu",
    .state = "ready",
    .sandbox = "gvisor",
    .cpu = 4000,
    .memory = 8 * GIB,
    .scratch = 100 * GIB,
    .models = {"a100", "h100"},
    .vram = {40, 80},
};

static const struct syn_place_request small = {
    .count = 1, .amounts = {1000, GIB, GIB}, .policy = SYN_FLEET_BINPACK};

struct why_case {
    const char *name;
    const char *reason;
    const char *fix; /* part of one of the ways out */
    struct plain_node node;
    struct syn_place_request request;
};

static void
check_why(const struct why_case *one)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(&one->node, 1);
    struct syn_placement placement;
    struct syn_err err;
    const char *reason;
    char message[200];
    bool found = false;
    SYN_JSON(why);
    SYN_JSON(fix);

    print_message("# %s\n", one->name);
    assert_code(syn_place(cluster, &one->request, &placement, &err), SYN_PLACE_NONE, &err);
    syn_place_why(cluster, &one->request, &reason, message, sizeof(message));
    assert_string_equal(reason, one->reason);
    assert_non_null(syn_job_reason(SYN_JOB_PENDING, reason));
    assert_true(message[0]);
    assert_done(syn_place_explain(cluster, &one->request, &why, &fix, &err), &err);
    assert_true(json_array_size(why) >= 2);
    for (size_t i = 0; i < json_array_size(fix); i++)
        found = found || strstr(json_string_value(json_array_get(fix, i)), one->fix);
    if (!found)
        fail_msg("no \"%s\" among the fixes: %s", one->fix, json_dumps(fix, 0));
}

static void
test_every_dimension_is_explained(void **state)
{
    struct why_case cases[] = {
        {"silent", "no-node", "bring node-1 back", plain, small},
        {"drained", "no-node", "synor node drain node-1 --off", plain, small},
        {"region", "no-region", "leave out --region us", plain, small},
        {"isolation", "no-sandbox", "--isolation auto", plain, small},
        {"no gpu", "no-gpu", "--gpus 2", plain, small},
        {"gpu model", "no-gpu", "--gpu-type a100", plain, small},
        {"vram", "no-gpu", "--min-vram", plain, small},
        {"cpu", "insufficient-cpu", "--cpus 4", plain, small},
        {"memory", "insufficient-memory", "--memory 8192mb", plain, small},
        {"scratch", "insufficient-scratch", "--scratch 102400mb", plain, small},
        {"gang", "insufficient-cpu", "--workers 4", plain, small},
        {"two at once", "insufficient-cpu",
         "comes closest; ask together for --cpus 4 --memory 8192mb", plain, small},
        {"framework", "no-framework", "install --break-system-packages jax", plain, small},
        {"framework image", "no-framework", "--image synor://NAME", plain, small},
        {"framework version", "no-framework", "that is there: --framework pytorch", plain, small},
        {"framework and cpu", "no-framework", "--framework custom", plain, small},
        {"kata", "no-sandbox", "with --runtime container", plain, small},
        {"gvisor", "no-sandbox", "apt install runsc", plain, small},
        {"networks", "no-network", "have a node make networks", plain, small},
        {"language", "no-runtime", "apt-get install nodejs", plain, small},
        {"language image", "no-runtime", "--runtime custom:IMAGE", plain, small},
        {"language version", "no-runtime", "that is there: --runtime python3", plain, small},
        {"namespace", "namespace-not-allowed", "--allow-namespace-sandbox", plain, small},
    };

    (void)state;
    cases[0].node.state = "silent";
    cases[1].node.drained = true;
    cases[2].request.region = "us";
    cases[3].request.isolation = SYN_ISOLATION_RUNC;
    cases[4].node.cards[0] = 2;
    cases[4].request.gpus = cases[4].request.gpus_max = 8;
    cases[5].node.cards[0] = 2;
    cases[5].request.gpus = cases[5].request.gpus_max = 2;
    cases[5].request.gpu_model = "h100";
    cases[6].node.cards[1] = 2;
    cases[6].request.gpus = cases[6].request.gpus_max = 1;
    cases[6].request.vram_min_bytes = 81;
    cases[7].request.amounts.cpu_millicores = 5000;
    cases[8].request.amounts.memory_bytes = 9 * GIB;
    cases[9].request.amounts.scratch_bytes = 101 * GIB;
    cases[10].request.count = 5;
    cases[11].request.amounts = (struct syn_amounts){8000, 16 * GIB, GIB};
    cases[16].request.isolation = SYN_ISOLATION_KATA;
    cases[17].request.isolation = SYN_ISOLATION_GVISOR;
    cases[17].node.sandbox = "runc";
    cases[18].node.netless = cases[18].request.networks = true;
    for (size_t i = 12; i < 16; i++) {
        cases[i].node.pytorch = "1.13.0a0";
        cases[i].request.framework = i == 14 ? "pytorch" : "jax";
    }
    cases[14].request.framework_version = "1.1";
    cases[15].request.amounts.cpu_millicores = 5000;
    for (size_t i = 19; i < 22; i++) {
        cases[i].node.pythons[0] = "3.11.2";
        cases[i].request.framework = i == 21 ? "python" : "node";
    }
    cases[21].request.framework_version = "3.12";
    cases[22].request.isolation = SYN_ISOLATION_NAMESPACE;
    for (size_t i = 0; i < SYN_LEN(cases); i++)
        check_why(&cases[i]);
}

static void
test_a_framework_counts_where_nodes_tell_of_it(void **state)
{
    static const struct {
        const char *has, *framework, *version;
        bool fits;
    } cases[] = {
        {NULL, "jax", "9", true},
        {"1.13.1", NULL, NULL, true},
        {"1.13.1", "", "", true},
        {"1.13.1", "pytorch", NULL, true},
        {"1.13.1", "pytorch", "", true},
        {"1.13.1", "pytorch", "1", true},
        {"1.13.1", "pytorch", "1.13", true},
        {"1.13.1", "pytorch", "1.13.1", true},
        {"1.13.1", "pytorch", "1.1", false},
        {"1.13.1", "pytorch", "1.13.1.2", false},
        {"", "pytorch", "1", false},
        {"", "pytorch", "", true},
        {"1.13.1", "jax", "", false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct plain_node node = plain;
        struct syn_place_request request = small;
        SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
        struct syn_placement placement;
        struct syn_err err;

        node.pytorch = cases[i].has;
        request.framework = cases[i].framework;
        request.framework_version = cases[i].version;
        cluster = cluster_make(&node, 1);
        assert_int_equal(syn_place(cluster, &request, &placement, &err),
                         cases[i].fits ? 0 : SYN_PLACE_NONE);
    }
}

static void
test_a_language_counts_where_nodes_tell_of_it(void **state)
{
    static const struct {
        const char *pythons[2], *node_js;
        bool speechless;
        const char *language, *version;
        bool fits;
    } cases[] = {
        {{NULL}, NULL, false, "python", "3.11", true}, /* an agent of before */
        {{NULL}, NULL, true, "python", "", false},
        {{NULL}, NULL, true, "node", "12", false}, /* too old */
        {{"3.11.2"}, NULL, false, "python", "3", true},
        {{"3.11.2"}, NULL, false, "python", "3.1", false},
        {{"3.11.2"}, NULL, false, "node", "", false},
        {{"3.11.2", "3.12.1"}, NULL, false, "python", "3.12", true},
        {{"3.11.2"}, "20.20.2", false, "node", "20", true},
        {{"3.11.2"}, "20.20.2", false, "node", "22", false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct plain_node node = plain;
        struct syn_place_request request = small;
        SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
        struct syn_placement placement;
        struct syn_err err;

        memcpy(node.pythons, cases[i].pythons, sizeof(node.pythons));
        node.node_js = cases[i].node_js;
        node.speechless = cases[i].speechless;
        node.pytorch = "1.13"; /* frameworks are another matter */
        request.framework = cases[i].language;
        request.framework_version = cases[i].version;
        cluster = cluster_make(&node, 1);
        assert_int_equal(syn_place(cluster, &request, &placement, &err),
                         cases[i].fits ? 0 : SYN_PLACE_NONE);
    }
}

static void
test_an_empty_cluster_and_bad_requests(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(NULL, 0);
    struct syn_place_request request = small;
    struct syn_placement placement;
    struct syn_err err;
    const char *reason;
    char message[100];
    SYN_JSON(why);
    SYN_JSON(fix);

    (void)state;
    assert_code(syn_place(cluster, &request, &placement, &err), SYN_PLACE_NONE, &err);
    syn_place_why(cluster, &request, &reason, message, sizeof(message));
    assert_string_equal(reason, "no-node");
    assert_done(syn_place_explain(cluster, &request, &why, &fix, &err), &err);
    assert_int_equal(json_array_size(why), 1);
    assert_int_equal(json_array_size(fix), 1);
    request.count = 0;
    assert_code(syn_place(cluster, &request, &placement, &err), SYN_E_INVALID, &err);
    request = small;
    request.gpus = 2;
    request.gpus_max = 1;
    assert_code(syn_place(cluster, &request, &placement, &err), SYN_E_INVALID, &err);
    request = small;
    request.amounts.memory_bytes = INT64_MAX;
    assert_code(syn_place(cluster, &request, &placement, &err), SYN_E_INVALID, &err);
}

static unsigned
nodes_used(const struct syn_placement *placement)
{
    unsigned used = 0;

    for (uint32_t i = 0; i < placement->count; i++)
        used += i == 0 || !syn_str_eq(placement->slots[i].node, placement->slots[i - 1].node);
    return used;
}

static void
test_policies(void **state)
{
    struct plain_node nodes[3] = {plain, plain, plain};
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_place_request request = small;
    struct syn_placement placement;
    struct syn_err err;
    uint32_t firsts = 0;

    (void)state;
    nodes[1].id = "node-2";
    nodes[2].id = "node-3";
    nodes[2].cards[0] = 4;
    cluster = cluster_make(nodes, 3);
    request.count = 3;
    assert_done(syn_place(cluster, &request, &placement, &err), &err);
    assert_int_equal(nodes_used(&placement), 1);
    request.policy = SYN_FLEET_SPREAD;
    assert_done(syn_place(cluster, &request, &placement, &err), &err);
    assert_int_equal(nodes_used(&placement),
                     2); /* the node with cards is kept for who needs them */
    request.one_node = true;
    assert_done(syn_place(cluster, &request, &placement, &err), &err);
    assert_int_equal(nodes_used(&placement), 1);
    request = small;
    for (uint64_t seed = 0; seed < 64; seed++) {
        SYN_SCOPED(syn_cluster_free_scope)
        struct syn_cluster *other = cluster_seeded(nodes, 3, seed);

        assert_done(syn_place(other, &request, &placement, &err), &err);
        firsts |= SYN_BIT(placement.slots[0].node[5] - '0');
    }
    assert_int_equal(firsts, SYN_BIT(1) | SYN_BIT(2)); /* equals take turns over seeds */
    request.gpus = 1;
    request.gpus_max = 8;
    assert_done(syn_place(cluster, &request, &placement, &err), &err);
    assert_int_equal(placement.gpus, 4);
    assert_string_equal(placement.slots[0].node, "node-3");
    assert_string_equal(placement.slots[0].gpu_model, "a100");
}

/* The oracle: every member on every node with every group of cards, by plain search; on one node
 * with cards of one group. */
static bool
oracle(struct plain_node *nodes, size_t count, const struct syn_place_request *request,
       uint32_t members, const struct plain_node *only, unsigned only_group)
{
    if (members == 0)
        return true;
    for (size_t i = 0; i < count; i++) {
        struct plain_node *node = &nodes[i];
        bool done = false;

        if (only && only != node)
            continue;
        if (!syn_str_eq(node->state, "ready") || node->drained ||
            (request->region && !syn_str_eq(request->region, node->region)) ||
            (request->isolation != SYN_ISOLATION_AUTO &&
             !syn_str_eq(syn_isolation_name(request->isolation), node->sandbox)) ||
            (request->networks && node->netless) || node->cpu < request->amounts.cpu_millicores ||
            node->memory < request->amounts.memory_bytes ||
            node->scratch < request->amounts.scratch_bytes)
            continue;
        node->cpu -= request->amounts.cpu_millicores;
        node->memory -= request->amounts.memory_bytes;
        node->scratch -= request->amounts.scratch_bytes;
        for (unsigned g = 0; g < GROUPS_MAX && !done; g++) {
            if (only && g != only_group)
                continue;
            if (request->gpus > 0 &&
                (node->cards[g] < request->gpus || node->vram[g] < request->vram_min_bytes ||
                 (request->gpu_model && !syn_str_eq(request->gpu_model, node->models[g]))))
                continue;
            node->cards[g] -= request->gpus;
            done = oracle(nodes, count, request, members - 1, request->one_node ? node : NULL, g);
            node->cards[g] += request->gpus;
        }
        node->cpu += request->amounts.cpu_millicores;
        node->memory += request->amounts.memory_bytes;
        node->scratch += request->amounts.scratch_bytes;
        if (done)
            return true;
    }
    return false;
}

/* Take what the placement says, and see that every node had it. */
static void
check_placement(const struct plain_node *nodes, size_t count,
                const struct syn_place_request *request, const struct syn_placement *placement)
{
    struct plain_node left[NODES_MAX];

    memcpy(left, nodes, count * sizeof(*nodes));
    assert_int_equal(placement->count, request->count);
    assert_in_range(placement->gpus, request->gpus, request->gpus_max);
    for (uint32_t i = 0; i < placement->count; i++) {
        const struct syn_place_slot *slot = &placement->slots[i];
        struct plain_node *node = left;

        while (node < left + count && !syn_str_eq(node->id, slot->node))
            node++;
        assert_true(node < left + count);
        assert_string_equal(node->state, "ready");
        assert_false(node->drained);
        assert_string_equal(syn_isolation_name(slot->isolation), node->sandbox);
        node->cpu -= request->amounts.cpu_millicores;
        node->memory -= request->amounts.memory_bytes;
        node->scratch -= request->amounts.scratch_bytes;
        assert_true(node->cpu >= 0 && node->memory >= 0 && node->scratch >= 0);
        for (unsigned g = 0; g < GROUPS_MAX; g++)
            if (placement->gpus > 0 && syn_str_eq(node->models[g], slot->gpu_model)) {
                node->cards[g] -= placement->gpus;
                assert_true(node->cards[g] >= 0 && node->vram[g] >= request->vram_min_bytes);
            }
        if (request->one_node)
            assert_string_equal(slot->node, placement->slots[0].node);
    }
}

static int64_t
pick(uint64_t *seed, int64_t bound)
{
    return (int64_t)(syn_test_random(seed) % (uint64_t)bound);
}

static void
random_case(uint64_t *seed, struct plain_node *nodes, struct syn_place_request *request)
{
    static const char *const ids[NODES_MAX] = {"node-a", "node-b", "node-c", "node-d"};

    for (unsigned i = 0; i < NODES_MAX; i++)
        nodes[i] = (struct plain_node){
            .id = ids[i],
            .region = pick(seed, 3) ? "eu" : "us",
            .state = pick(seed, 8) ? "ready" : "silent",
            .sandbox = pick(seed, 2) ? "gvisor" : "runc",
            .drained = pick(seed, 10) == 0,
            .cpu = 1000 * pick(seed, 8),
            .memory = GIB * pick(seed, 8),
            .scratch = GIB * pick(seed, 8),
            .cards = {pick(seed, 5), pick(seed, 3)},
            .models = {"a100", "h100"},
            .vram = {40, 80},
            .netless = pick(seed, 4) == 0,
        };
    *request = (struct syn_place_request){
        .count = (uint32_t)(1 + pick(seed, 5)),
        .amounts = {500 * (1 + pick(seed, 6)), GIB / 2 * (1 + pick(seed, 5)), GIB * pick(seed, 3)},
        .gpus = pick(seed, 2) ? 0 : pick(seed, 4),
        .gpu_model = pick(seed, 3) ? NULL : "h100",
        .vram_min_bytes = pick(seed, 3) ? 0 : 50,
        .region = pick(seed, 3) ? NULL : "us",
        .isolation = pick(seed, 3) ? SYN_ISOLATION_AUTO : SYN_ISOLATION_RUNC,
        .networks = pick(seed, 3) == 0,
        .one_node = pick(seed, 3) == 0,
        .policy = (enum syn_fleet_policy)pick(seed, SYN_FLEET_POLICIES),
    };
    request->gpus_max = request->gpus + (pick(seed, 3) ? 0 : 2);
}

/* Every change of one option that is offered must place the gang, says the oracle. */
static void
check_fixes(struct plain_node *nodes, const struct syn_place_request *request, const json_t *fix)
{
    const json_t *way;
    size_t i;

    json_array_foreach (fix, i, way) {
        struct syn_place_request changed = *request;
        const char *text = json_string_value(way);
        const char *at = strrchr(text, ' ') + 1;

        if (strstr(text, "closest") || strstr(text, "join"))
            continue;
        if (strstr(text, "--cpus"))
            assert_int_equal(syn_parse_cpus(at, "cpus", &changed.amounts.cpu_millicores, NULL), 0);
        else if (strstr(text, "--memory"))
            assert_int_equal(syn_parse_bytes(at, "memory", &changed.amounts.memory_bytes, NULL), 0);
        else if (strstr(text, "--scratch"))
            assert_int_equal(syn_parse_bytes(at, "scratch", &changed.amounts.scratch_bytes, NULL),
                             0);
        else if (strstr(text, "--gpus"))
            assert_int_equal(syn_parse_i64(at, 0, 99, "gpus", &changed.gpus, NULL), 0);
        else if (strstr(text, "--gpu-type"))
            changed.gpu_model = at;
        else if (strstr(text, "--min-vram"))
            assert_int_equal(syn_parse_bytes(at, "vram", &changed.vram_min_bytes, NULL), 0);
        else if (strstr(text, "--isolation"))
            changed.isolation = SYN_ISOLATION_AUTO;
        else if (strstr(text, "--region"))
            changed.region = NULL;
        else if (strstr(text, "make networks"))
            changed.networks = false;
        else if (strstr(text, "--workers")) {
            int64_t workers;

            assert_int_equal(syn_parse_i64(at, 1, 64, "workers", &workers, NULL), 0);
            changed.count = (uint32_t)workers;
        } else {
            continue;
        }
        if (!oracle(nodes, NODES_MAX, &changed, changed.count, NULL, 0))
            fail_msg("this would not help: %s", text);
    }
}

static void
test_placement_agrees_with_a_search(void **state)
{
    uint64_t seed = 20261123;
    unsigned placed = 0;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
        struct plain_node nodes[NODES_MAX];
        struct syn_place_request request;
        struct syn_placement placement, again;
        struct syn_err err = {0};
        uint64_t began = seed;
        SYN_JSON(why);
        SYN_JSON(fix);
        bool can;
        int rc;

        random_case(&seed, nodes, &request);
        cluster = cluster_make(nodes, NODES_MAX);
        can = oracle(nodes, NODES_MAX, &request, request.count, NULL, 0);
        rc = syn_place(cluster, &request, &placement, &err);
        if ((rc == SYN_OK) != can)
            fail_msg("seed %llu: placed %d, the search says %d", (unsigned long long)began, rc,
                     can);
        assert_done(syn_place_explain(cluster, &request, &why, &fix, &err), &err);
        assert_int_equal(json_array_size(why) == 0, can);
        assert_int_equal(json_array_size(fix) == 0, can);
        check_fixes(nodes, &request, fix);
        if (!can)
            continue;
        placed++;
        check_placement(nodes, NODES_MAX, &request, &placement);
        assert_done(syn_place(cluster, &request, &again, &err), &err);
        for (uint32_t i = 0; i < placement.count; i++)
            assert_string_equal(placement.slots[i].node, again.slots[i].node);
    }
    assert_in_range(placed, ROUNDS / 10, ROUNDS * 9 / 10); /* both answers were tried */
}

static int
explain_scenario(void *arg, struct syn_err *err)
{
    struct syn_place_request request = small;
    SYN_JSON(why);
    SYN_JSON(fix);

    request.count = 5;
    request.gpus = request.gpus_max = 8;
    request.gpu_model = "h100";
    return syn_place_explain(arg, &request, &why, &fix, err);
}

static void
test_shortage_of_memory(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(&plain, 1);

    (void)state;
    assert_true(syn_test_sweep_alloc(explain_scenario, cluster) > 10);
}

/* A node that asks `cpu` for a core and `card` for an h100; an a100 costs 2. */
static void
price_node(struct syn_cluster *cluster, const char *id, const char *cpu, const char *card)
{
    struct syn_err err;
    SYN_JSON(doc);

    doc = json_pack("{s:s, s:{s:{s:s, s:s, s:s, s:{s:s, s:s}}}, s:{s:s, s:{s:i, s:I, s:I, s:[{s:s,"
                    " s:i}, {s:s, s:i}]}, s:[{s:s, s:s}]}}",
                    "id", id, "spec", "offer", "cpu_core_hour", cpu, "memory_gib_hour", "0",
                    "scratch_gib_hour", "0", "gpu_hour", "a100", "2", "h100", card, "status",
                    "state", "ready", "capacity", "cpu_millicores", 4000, "memory_bytes",
                    (json_int_t)(8 * GIB), "scratch_bytes", (json_int_t)(8 * GIB), "gpus", "model",
                    "a100", "count", 1, "model", "h100", "count", 1, "sandboxes", "name", "gvisor",
                    "state", "ready");
    assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
}

static void
test_a_price_ceiling_is_a_limit(void **state)
{
    static const struct {
        int64_t gpus;
        const char *model;
        int64_t price_max;        /* thousandths of a SYNOR */
        const char *node, *cards; /* "": it fits nowhere, for its price */
    } rows[] = {
        {0, "", 20, "node-b", ""}, {0, "", 29, "node-b", ""},
        {0, "", 19, "", ""},       {1, "h100", 3020, "node-b", ""},
        {1, "h100", 3019, "", ""}, {1, "", 2020, "node-b", "a100"},
        {1, "", 2019, "", ""},     {1, "a100", 9000, "any", ""},
    };
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_err err;

    (void)state;
    assert_done(syn_cluster_new(0, &cluster, &err), &err);
    price_node(cluster, "node-a", "0.03", "4");
    price_node(cluster, "node-b", "0.02", "3");
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_place_request request = small;
        struct syn_placement placement;
        const char *reason;
        char message[200];
        int rc;

        request.gpus = request.gpus_max = rows[i].gpus;
        request.gpu_model = rows[i].model;
        request.price_max = rows[i].price_max * SYN_SYNOR / 1000;
        rc = syn_place(cluster, &request, &placement, &err);
        print_message("# row %zu\n", i);
        if (!*rows[i].node) {
            assert_int_equal(rc, SYN_PLACE_NONE);
            syn_place_why(cluster, &request, &reason, message, sizeof(message));
            assert_string_equal(reason, "too-dear");
            continue;
        }
        assert_int_equal(rc, SYN_OK);
        if (!syn_str_eq(rows[i].node, "any"))
            assert_string_equal(placement.slots[0].node, rows[i].node);
        if (*rows[i].cards)
            assert_string_equal(placement.slots[0].gpu_model, rows[i].cards);
    }
}

/* Documents from before regions had to be said, and those of who does not say one. */
static void
test_no_region_is_local(void **state)
{
    struct plain_node node = plain;
    struct syn_place_request request = small;
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_placement placement;
    struct syn_err err;

    (void)state;
    node.region = "";
    cluster = cluster_make(&node, 1);
    request.region = "local";
    assert_done(syn_place(cluster, &request, &placement, &err), &err);
    request.region = "eu";
    assert_code(syn_place(cluster, &request, &placement, &err), SYN_PLACE_NONE, &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_price_ceiling_is_a_limit),
        cmocka_unit_test(test_every_dimension_is_explained),
        cmocka_unit_test(test_no_region_is_local),
        cmocka_unit_test(test_a_framework_counts_where_nodes_tell_of_it),
        cmocka_unit_test(test_a_language_counts_where_nodes_tell_of_it),
        cmocka_unit_test(test_an_empty_cluster_and_bad_requests),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_placement_agrees_with_a_search),
        cmocka_unit_test(test_shortage_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
