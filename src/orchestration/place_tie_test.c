/* What requests ask of a node beside amounts: labels, groups, distance, bandwidth, capability; and
 * policies that know what nodes draw. Random requests on random small clusters against an oracle
 * that tries every way to put the members down. */
#include <synor/orchestration/place.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/orchestration/power.h>

#define GIB    (INT64_C(1) << 30)
#define MBIT   INT64_C(1000000)
#define NODES  5
#define ROUNDS 1200

struct plain_node {
    const char *id, *region, *zone, *rack;
    const char *gpu; /* NULL: none */
    const char *capability;
    int64_t cores, cards, bandwidth_bps, rtt_us;
    const char *labels[3]; /* "key=value"; NULL ends */
};

static void
set_label(json_t *labels, const char *key, const char *value)
{
    if (value)
        assert_int_equal(json_object_set_new(labels, key, json_string(value)), 0);
}

static void
put_node(struct syn_cluster *cluster, const struct plain_node *node)
{
    struct syn_err err;
    SYN_JSON(doc);
    SYN_JSON(labels);

    labels = json_object();
    set_label(labels, SYN_LABEL_ZONE, node->zone);
    set_label(labels, SYN_LABEL_RACK, node->rack);
    for (size_t i = 0; i < SYN_LEN(node->labels) && node->labels[i]; i++) {
        struct syn_selector label;

        assert_done(syn_selector_parse(node->labels[i], &label, &err), &err);
        set_label(labels, label.key, label.value);
    }
    doc = json_pack(
        "{s:s, s:{s:s, s:O}, s:{s:s, s:I, s:{s:I, s:I, s:I, s:I, s:[{s:s, s:I, s:I, s:s*}]},"
        " s:[{s:s, s:s}], s:s}}",
        "id", node->id, "spec", "region", node->region, "labels", labels, "status", "state",
        "ready", "rtt_us", (json_int_t)node->rtt_us, "capacity", "cpu_millicores",
        (json_int_t)node->cores * 1000, "memory_bytes", (json_int_t)64 * GIB, "scratch_bytes",
        (json_int_t)64 * GIB, "bandwidth_bps", (json_int_t)node->bandwidth_bps, "gpus", "model",
        node->gpu ? node->gpu : "none", "count", (json_int_t)node->cards, "vram_bytes",
        (json_int_t)80 * GIB, "capability", node->capability, "sandboxes", "name", "runc", "state",
        "ready", "default_isolation", "runc");
    assert_non_null(doc);
    assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
}

static void
put_member(struct syn_cluster *cluster, const char *node, const char *group, unsigned number)
{
    struct syn_err err;
    char id[32];
    SYN_JSON(doc);

    (void)snprintf(id, sizeof(id), "inst-%u", number);
    doc =
        json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:{s:I, s:I, s:I}}, s:{s:s}}", "id", id, "account",
                  "acct-1", "spec", "job", id, "node", node, "group", group, "resources",
                  "cpu_millicores", (json_int_t)1000, "memory_bytes", (json_int_t)GIB,
                  "bandwidth_bps", (json_int_t)10 * MBIT, "status", "state", "running");
    assert_non_null(doc);
    assert_done(syn_cluster_put_instance(cluster, doc, &err), &err);
}

static struct syn_cluster *
cluster_make(const struct plain_node *nodes, size_t count)
{
    struct syn_cluster *cluster;
    struct syn_err err;

    assert_done(syn_cluster_new(1, &cluster, &err), &err);
    for (size_t i = 0; i < count; i++)
        put_node(cluster, &nodes[i]);
    return cluster;
}

static struct syn_place_request
one(void)
{
    return (struct syn_place_request){
        .count = 1, .amounts = {1000, GIB, GIB}, .account = "acct-1", .policy = SYN_FLEET_BINPACK};
}

/* Where it goes; "" when it goes nowhere, and then `reason` says why and a sentence helps. */
static void
goes(struct syn_cluster *cluster, const struct syn_place_request *request, const char *node,
     const char *reason)
{
    struct syn_placement placement;
    struct syn_err err;
    const char *why = "";
    char message[256];
    SYN_JSON(rows);
    SYN_JSON(fixes);
    int rc = syn_place(cluster, request, &placement, &err);

    if (rc < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(rc == SYN_OK ? placement.slots[0].node : "", node);
    syn_place_why(cluster, request, &why, message, sizeof(message));
    assert_string_equal(why, reason);
    assert_done(syn_place_explain(cluster, request, &rows, &fixes, &err), &err);
    assert_int_equal(json_array_size(rows) > 0, rc != SYN_OK);
    assert_int_equal(json_array_size(fixes) > 1, rc != SYN_OK); /* not only: join a node */
}

static const struct plain_node two[] = {
    {.id = "a",
     .region = "eu",
     .zone = "z1",
     .cores = 4,
     .bandwidth_bps = 100 * MBIT,
     .labels = {"disk=ssd", "tier=gold"}},
    {.id = "b",
     .region = "eu",
     .zone = "z2",
     .cores = 8,
     .bandwidth_bps = 100 * MBIT,
     .labels = {"disk=hdd"}},
};

static void
test_labels(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(two, 2);
    struct syn_place_request request = one();
    static const struct {
        const char *labels[2], *node, *reason;
    } cases[] = {
        {{"disk=ssd"}, "a", "turn"},
        {{"disk=hdd"}, "b", "turn"},
        {{"disk!=ssd"}, "b", "turn"},
        {{"tier!=gold"}, "b", "turn"},
        {{"tier"}, "a", "turn"},
        {{"tier", "disk=hdd"}, "", "no-label"},
        {{"disk=tape"}, "", "no-label"},
        {{"nothing"}, "", "no-label"},
        {{"synor.io/zone=z2"}, "b", "turn"},
        {{"synor.io/node=a"}, "a", "turn"},
        {{"synor.io/region!=eu"}, "", "no-label"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        memcpy(request.labels, cases[i].labels, sizeof(cases[i].labels));
        goes(cluster, &request, cases[i].node, cases[i].reason);
    }
}

/* More of them than the core has room for at once: what nobody needs any more makes room. */
static void
test_many_labels(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(two, 2);
    struct syn_place_request request = one();
    char text[32];

    (void)state;
    request.labels[0] = text;
    request.labels[1] = "tier";
    for (unsigned i = 0; i < 3 * SYN_FLEET_LABELS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "disk!=%u", i);
        goes(cluster, &request, "a", "turn");
    }
}

static void
test_bad_words(void **state)
{
    static const char *const keys[] = {
        "",
        "-a",
        "a-",
        "a b",
        "a=b",
        "synor.io/",
        "synor.io/x",
        "synor.io/region",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    static const char *const selectors[] = {"", "=", "!=", "=a", "!=a", "a=b c", "a b", "a==b"};
    struct syn_selector selector;
    struct syn_err err;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(keys); i++)
        assert_int_equal(syn_label_check(keys[i], "x", &err), SYN_E_INVALID);
    assert_int_equal(syn_label_check("a", "x y", &err), SYN_E_INVALID);
    assert_int_equal(syn_label_check(SYN_LABEL_ZONE, "", &err), SYN_E_INVALID);
    assert_done(syn_label_check("a.b/c-d_e", "", &err), &err);
    assert_done(syn_label_check(SYN_LABEL_RACK, "r1", &err), &err);
    for (size_t i = 0; i < SYN_LEN(selectors); i++)
        assert_int_equal(syn_selector_parse(selectors[i], &selector, &err), SYN_E_INVALID);
}

static void
test_groups(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(two, 2);
    struct syn_place_request request = one();

    (void)state;
    request.with = (struct syn_place_tie){"web", SYN_FLEET_ZONE};
    goes(cluster, &request, "", "affinity");
    put_member(cluster, "b", "web", 1);
    goes(cluster, &request, "b", "turn");
    request.account = "acct-2"; /* whose group of that name is another */
    goes(cluster, &request, "", "affinity");
    request.account = "acct-1";
    request.with.group = NULL;
    request.apart = (struct syn_place_tie){"web", SYN_FLEET_ZONE};
    goes(cluster, &request, "a", "turn");
    request.apart.scope = SYN_FLEET_REGION;
    goes(cluster, &request, "", "anti-affinity");
    request.apart.group = NULL;
    request.group = "web";
    request.even = 1;
    request.even_scope = SYN_FLEET_ZONE;
    goes(cluster, &request, "a", "turn");
    put_member(cluster, "a", "web", 2);
    put_member(cluster, "a", "web", 3);
    put_member(cluster, "a", "web", 4);
    request.amounts.cpu_millicores = 5000;
    goes(cluster, &request, "b", "turn");
    put_member(cluster, "b", "web", 5);
    put_member(cluster, "b", "web", 6);
    put_member(cluster, "b", "web", 7);
    put_member(cluster, "b", "web", 8);
    request.amounts.cpu_millicores = 2000; /* room where five are, none where three are */
    goes(cluster, &request, "", "spread");
}

static void
test_amounts_and_cards(void **state)
{
    static const struct plain_node nodes[] = {
        {.id = "a",
         .region = "eu",
         .cores = 4,
         .gpu = "h100",
         .cards = 2,
         .capability = "9.0",
         .bandwidth_bps = 100 * MBIT},
        {.id = "b",
         .region = "eu",
         .cores = 4,
         .gpu = "v100",
         .cards = 2,
         .capability = "7.0",
         .bandwidth_bps = 1000 * MBIT},
        {.id = "c", .region = "eu", .cores = 4, .gpu = "odd", .cards = 2, .capability = "new"},
    };
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(nodes, 3);
    struct syn_place_request request = one();

    (void)state;
    request.gpus = request.gpus_max = 1;
    request.capability = 80;
    goes(cluster, &request, "a", "turn");
    request.capability = 91;
    goes(cluster, &request, "", "no-gpu");
    request.capability = 0;
    request.bandwidth_bps = 101 * MBIT;
    goes(cluster, &request, "b", "turn");
    request.bandwidth_bps = 1000 * MBIT;
    goes(cluster, &request, "b", "turn");
    put_member(cluster, "b", "", 1);
    goes(cluster, &request, "", "insufficient-bandwidth");
}

static void
test_distances(void **state)
{
    static const struct plain_node nodes[] = {
        {.id = "a", .region = "eu", .cores = 4},
        {.id = "b", .region = "us", .cores = 4},
        {.id = "c", .region = "asia", .cores = 4},
    };
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(nodes, 3);
    struct syn_place_request request = one();
    struct syn_err err;
    bool changed;

    (void)state;
    request.near = "home";
    request.rtt_max_us = 50000;
    goes(cluster, &request, "", "too-far");
    assert_done(syn_cluster_set_rtt(cluster, "home", "us", 40000, &changed, &err), &err);
    assert_true(changed);
    assert_done(syn_cluster_set_rtt(cluster, "us", "home", 40000, &changed, &err), &err);
    assert_false(changed);
    assert_done(syn_cluster_set_rtt(cluster, "asia", "home", 90000, &changed, &err), &err);
    assert_int_equal(syn_cluster_rtt(cluster, "home", "asia"), 90000);
    assert_int_equal(syn_cluster_rtt(cluster, "eu", "eu"), 0);
    assert_int_equal(syn_cluster_rtt(cluster, "eu", "home"), -1);
    goes(cluster, &request, "b", "turn");
    request.rtt_max_us = 0;
    request.policy = SYN_FLEET_LATENCY;
    goes(cluster, &request, "b", "turn");
    request.near = "asia";
    goes(cluster, &request, "c", "turn");
    request.near = "home";
    request.rtt_max_us = 39999;
    goes(cluster, &request, "", "too-far");
    assert_done(syn_cluster_set_rtt(cluster, "eu", "home", 1000, &changed, &err), &err);
    goes(cluster, &request, "a", "turn");
    assert_done(syn_cluster_set_rtt(cluster, "eu", "home", -1, &changed, &err), &err);
    assert_true(changed);
    goes(cluster, &request, "", "too-far");
    assert_int_equal(syn_cluster_set_rtt(cluster, "", "home", 1, &changed, &err), SYN_E_INVALID);
}

/* Of a region the median of what its nodes measured, unless somebody says otherwise. */
static void
test_measured_distances(void **state)
{
    struct plain_node nodes[] = {
        {.id = "a", .region = "eu", .cores = 4, .rtt_us = 30000},
        {.id = "b", .region = "eu", .cores = 4, .rtt_us = 10000},
        {.id = "c", .region = "eu", .cores = 4, .rtt_us = 90000},
        {.id = "d", .region = "us", .cores = 4, .rtt_us = 50000},
        {.id = "e", .region = "home", .cores = 4, .rtt_us = 70000},
    };
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(nodes, 5);
    struct syn_place_request request = one();
    struct syn_trip trip;
    struct syn_err err;

    (void)state;
    assert_done(syn_cluster_measure(cluster, &err), &err);
    assert_false(syn_cluster_trip_at(cluster, 0, &trip)); /* to where is not known */
    assert_done(syn_cluster_home(cluster, "home", &err), &err);
    request.near = "home";
    request.rtt_max_us = 30000;
    goes(cluster, &request, "e", "turn");
    assert_int_equal(syn_cluster_rtt(cluster, "eu", "home"), 30000);
    assert_int_equal(syn_cluster_rtt(cluster, "us", "home"), 50000);
    assert_true(syn_cluster_trip_at(cluster, 0, &trip));
    assert_true(trip.measured);
    assert_true(syn_cluster_trip_at(cluster, 1, &trip));
    assert_false(syn_cluster_trip_at(cluster, 2, &trip));
    nodes[0].rtt_us = 95000;
    put_node(cluster, &nodes[0]);
    assert_done(syn_cluster_measure(cluster, &err), &err);
    assert_int_equal(syn_cluster_rtt(cluster, "eu", "home"), 90000);
    assert_done(syn_cluster_set_rtt(cluster, "eu", "home", 5000, NULL, &err), &err);
    nodes[0].rtt_us = 1000;
    put_node(cluster, &nodes[0]);
    assert_done(syn_cluster_measure(cluster, &err), &err);
    assert_int_equal(syn_cluster_rtt(cluster, "eu", "home"), 5000);
    assert_done(syn_cluster_set_rtt(cluster, "eu", "home", -1, NULL, &err), &err);
    assert_done(syn_cluster_measure(cluster, &err), &err);
    assert_int_equal(syn_cluster_rtt(cluster, "eu", "home"), 10000);
}

/* The cards that do most for a watt, whatever else would be chosen. */
static void
test_energy(void **state)
{
    static const struct plain_node nodes[] = {
        {.id = "a", .region = "eu", .cores = 8, .gpu = "rtx4090", .cards = 2},
        {.id = "b", .region = "eu", .cores = 8, .gpu = "h100", .cards = 2},
        {.id = "c", .region = "eu", .cores = 8, .gpu = "a100-80gb", .cards = 2},
        {.id = "d", .region = "eu", .cores = 8, .gpu = "mystery", .cards = 2},
        {.id = "e", .region = "eu", .cores = 64},
        {.id = "f", .region = "eu", .cores = 4},
    };
    static const char *const order[] = {"b", "c", "a", "d"};
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = cluster_make(nodes, 6);
    struct syn_place_request request = one();

    (void)state;
    request.policy = SYN_FLEET_ENERGY;
    goes(cluster, &request, "f", "turn"); /* the least machine to be powered */
    request.gpus = request.gpus_max = 2;
    for (size_t i = 0; i < SYN_LEN(order); i++) {
        goes(cluster, &request, order[i], "turn");
        assert_true(syn_cluster_remove_node(cluster, order[i]));
    }
}

static void
test_power(void **state)
{
    struct syn_fleet_model h100 = {0}, unknown = {0}, pcie = {0};
    struct syn_err err;

    (void)state;
    assert_done(syn_power_card("", "h100", &h100, &err), &err);
    assert_int_equal(h100.busy_mw, 700000);
    assert_int_equal(h100.speed, 7915);
    assert_int_equal(h100.geometry, SYN_FLEET_EIGHTHS);
    assert_true(h100.idle_mw > 0 && h100.idle_mw < h100.context_mw);
    assert_done(syn_power_card("h100-pcie", "h100", &pcie, &err), &err);
    assert_int_equal(pcie.busy_mw, 350000);
    assert_int_equal(syn_power_card("", "mystery", &unknown, &err), SYN_POWER_UNKNOWN);
    assert_int_equal(unknown.busy_mw, 300000);
    assert_int_equal(syn_power_card("cpu-x86-avx2", "mystery", &unknown, &err), SYN_POWER_UNKNOWN);
    assert_int_equal(syn_power_cores(4000), 12000);
}

/* ---- against every way there is ---- */

struct world {
    uint64_t random;
    struct plain_node nodes[NODES];
    char ids[NODES][4];
    int64_t free[NODES], bandwidth[NODES]; /* cores, bit/s */
    unsigned groups[NODES][2];             /* members of "g0", "g1" */
    int64_t rtt[3];                        /* of each region to "home"; -1: not known */
    struct syn_cluster *cluster;
};

static const char *const regions[] = {"eu", "us", "asia"};
static const char *const names[] = {"g0", "g1"};

static int64_t
pick(struct world *world, int64_t bound)
{
    return (int64_t)(syn_test_random(&world->random) % (uint64_t)bound);
}

static unsigned
region_of(const char *name)
{
    for (unsigned i = 0; i < SYN_LEN(regions); i++)
        if (syn_str_eq(regions[i], name))
            return i;
    return SYN_LEN(regions);
}

static void
world_make(struct world *world)
{
    static const char *const zones[] = {NULL, "z1", "z2"}, *const racks[] = {NULL, "r1"};
    static const char *const labels[] = {NULL, "k=v", "k=w"}, *const caps[] = {"7.0", "9.0"};
    struct syn_err err;
    unsigned number = 0;
    bool changed;

    assert_done(syn_cluster_new((uint64_t)pick(world, 100), &world->cluster, &err), &err);
    memset(world->groups, 0, sizeof(world->groups));
    for (unsigned i = 0; i < NODES; i++) {
        struct plain_node *node = &world->nodes[i];

        (void)snprintf(world->ids[i], sizeof(world->ids[i]), "n%u", i);
        *node = (struct plain_node){.id = world->ids[i],
                                    .region = regions[pick(world, 3)],
                                    .zone = zones[pick(world, 3)],
                                    .rack = racks[pick(world, 2)],
                                    .gpu = "h100",
                                    .cards = pick(world, 3),
                                    .capability = caps[pick(world, 2)],
                                    .cores = 1 + pick(world, 6),
                                    .bandwidth_bps = 50 * MBIT * pick(world, 3),
                                    .labels = {labels[pick(world, 3)]}};
        put_node(world->cluster, node);
        world->free[i] = node->cores;
        world->bandwidth[i] = node->bandwidth_bps;
        while (world->free[i] > 0 && world->bandwidth[i] >= 10 * MBIT && pick(world, 2)) {
            unsigned group = (unsigned)pick(world, 2);

            put_member(world->cluster, node->id, names[group], number++);
            world->groups[i][group]++;
            world->free[i]--;
            world->bandwidth[i] -= 10 * MBIT;
        }
    }
    for (unsigned i = 0; i < SYN_LEN(regions); i++) {
        world->rtt[i] = pick(world, 3) ? 1000 * (1 + pick(world, 40)) : -1;
        assert_done(
            syn_cluster_set_rtt(world->cluster, regions[i], "home", world->rtt[i], &changed, &err),
            &err);
    }
}

static struct syn_place_request
world_ask(struct world *world)
{
    static const char *const labels[] = {NULL, "k=v", "k!=v", "k", NULL};
    struct syn_place_request request = one();

    request.policy = (enum syn_fleet_policy)pick(world, SYN_FLEET_POLICIES);
    request.count = 1 + (uint32_t)(pick(world, 2) * pick(world, 3));
    request.amounts.cpu_millicores = 1000 * (1 + pick(world, 2));
    request.bandwidth_bps = 20 * MBIT * (pick(world, 3) == 0);
    request.gpus = request.gpus_max = pick(world, 3) == 0;
    request.capability = request.gpus && pick(world, 2) ? 80 : 0;
    request.labels[0] = labels[pick(world, 5)];
    request.near = pick(world, 3) ? NULL : "home";
    request.rtt_max_us = request.near ? 20000 * pick(world, 2) : 0;
    request.group = pick(world, 2) ? names[pick(world, 2)] : NULL;
    if (pick(world, 3) == 0)
        request.with = (struct syn_place_tie){names[pick(world, 2)], (uint32_t)pick(world, 4)};
    if (pick(world, 3) == 0)
        request.apart = (struct syn_place_tie){names[pick(world, 2)], (uint32_t)pick(world, 4)};
    request.even = request.group ? (uint32_t)pick(world, 3) : 0;
    request.even_scope = (uint32_t)pick(world, 4);
    return request;
}

static bool
same(const char *a, const char *b)
{
    return syn_str_eq(a ? a : "", b ? b : "");
}

static bool
together(const struct world *world, unsigned a, unsigned b, enum syn_fleet_scope scope)
{
    const struct plain_node *one_node = &world->nodes[a], *other = &world->nodes[b];

    if (a == b || scope == SYN_FLEET_NODE)
        return a == b;
    return same(one_node->region, other->region) &&
           (scope == SYN_FLEET_REGION || same(one_node->zone, other->zone)) &&
           (scope != SYN_FLEET_RACK || same(one_node->rack, other->rack));
}

static unsigned
near_by(const struct world *world, unsigned node, unsigned group, enum syn_fleet_scope scope)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < NODES; i++)
        sum += together(world, i, node, scope) ? world->groups[i][group] : 0;
    return sum;
}

/* What never changes of the node allows it. */
static bool
admits(const struct world *world, const struct syn_place_request *request, unsigned at)
{
    const struct plain_node *node = &world->nodes[at];
    int64_t rtt = world->rtt[region_of(node->region)];
    const char *label = request->labels[0];

    if (request->gpus &&
        (node->cards == 0 || (request->capability == 80 && syn_str_eq(node->capability, "7.0"))))
        return false;
    if (request->rtt_max_us && (rtt < 0 || rtt > request->rtt_max_us))
        return false;
    if (!label)
        return true;
    if (syn_str_eq(label, "k"))
        return node->labels[0];
    return syn_str_eq(label, "k=v") == same(node->labels[0], "k=v");
}

static unsigned
group_of(const char *name)
{
    return syn_str_eq(name, "g1");
}

static bool
may_go(const struct world *world, const struct syn_place_request *request, unsigned node,
       const unsigned *cards)
{
    unsigned floor = UINT32_MAX, own, all = 0;

    if (!admits(world, request, node) ||
        world->free[node] * 1000 < request->amounts.cpu_millicores ||
        world->bandwidth[node] < request->bandwidth_bps ||
        (request->gpus && cards[node] >= world->nodes[node].cards))
        return false;
    if (request->with.group) {
        unsigned group = group_of(request->with.group);
        bool mine = request->group && syn_str_eq(request->group, request->with.group);

        for (unsigned i = 0; i < NODES; i++)
            all += world->groups[i][group];
        if (near_by(world, node, group, request->with.scope) == 0 && !(mine && all == 0))
            return false;
    }
    if (request->apart.group &&
        near_by(world, node, group_of(request->apart.group), request->apart.scope) > 0)
        return false;
    if (request->even == 0)
        return true;
    for (unsigned i = 0; i < NODES; i++) {
        own = near_by(world, i, group_of(request->group), request->even_scope);
        if (admits(world, request, i))
            floor = SYN_MIN(floor, own);
    }
    own = near_by(world, node, group_of(request->group), request->even_scope);
    return own < floor + request->even;
}

static void
move(struct world *world, const struct syn_place_request *request, unsigned node, unsigned *cards,
     int sign)
{
    world->free[node] -= sign * request->amounts.cpu_millicores / 1000;
    world->bandwidth[node] -= sign * request->bandwidth_bps;
    cards[node] += (unsigned)(sign * request->gpus);
    if (request->group)
        world->groups[node][group_of(request->group)] += (unsigned)sign;
}

/* Is there any way to put so many more down, one after the other? */
static bool
any_way(struct world *world, const struct syn_place_request *request, uint32_t left,
        unsigned *cards)
{
    bool found = left == 0;

    for (unsigned i = 0; i < NODES && !found; i++) {
        if (!may_go(world, request, i, cards))
            continue;
        move(world, request, i, cards, 1);
        found = any_way(world, request, left - 1, cards);
        move(world, request, i, cards, -1);
    }
    return found;
}

/* Are those a way, in some order? */
static bool
some_order(struct world *world, const struct syn_place_request *request,
           struct syn_placement *placement, uint32_t left, unsigned *cards)
{
    bool found = left == 0;

    for (uint32_t i = 0; i < placement->count && !found; i++) {
        struct syn_place_slot *slot = &placement->slots[i];
        unsigned node = (unsigned)(slot->node[1] - '0');

        if (slot->node[0] == '-' || !may_go(world, request, node, cards))
            continue;
        move(world, request, node, cards, 1);
        slot->node[0] = '-';
        found = some_order(world, request, placement, left - 1, cards);
        slot->node[0] = 'n';
        move(world, request, node, cards, -1);
    }
    return found;
}

static void
test_random(void **state)
{
    unsigned placed = 0, refused = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct world world = {.random = seed * 7919};
        struct syn_place_request request;
        struct syn_placement placement;
        unsigned cards[NODES] = {0};
        char message[256];
        const char *reason;
        struct syn_err err;
        bool choice, possible;
        int rc;

        world_make(&world);
        request = world_ask(&world);
        possible = any_way(&world, &request, request.count, cards);
        /* Where the first decides where the others must be, one way is tried, not all. */
        choice = request.count > 1 && request.with.group && request.group &&
                 syn_str_eq(request.with.group, request.group);
        rc = syn_place(world.cluster, &request, &placement, &err);
        syn_place_why(world.cluster, &request, &reason, message, sizeof(message));
        if (rc < 0 || (rc == SYN_OK && !possible) || (rc != SYN_OK && possible && !choice) ||
            (!choice && syn_str_eq(reason, "turn") != possible))
            fail_msg("seed %llu: possible %d, got %d, %s: %s", (unsigned long long)seed, possible,
                     rc, reason, message);
        if (rc == SYN_OK)
            assert_true(some_order(&world, &request, &placement, placement.count, cards));
        placed += rc == SYN_OK;
        refused += rc != SYN_OK;
        world.cluster = syn_cluster_free(world.cluster);
    }
    print_message("# %u placed, %u refused\n", placed, refused);
    assert_true(placed > ROUNDS / 5 && refused > ROUNDS / 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_many_labels),
        cmocka_unit_test(test_bad_words),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_amounts_and_cards),
        cmocka_unit_test(test_distances),
        cmocka_unit_test(test_measured_distances),
        cmocka_unit_test(test_energy),
        cmocka_unit_test(test_power),
        cmocka_unit_test(test_random),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
