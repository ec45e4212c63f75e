/* Parts of cards: what is asked for, placed, written down and read again; explanations; and random
 * histories, servers that come back among them, in which a ledger of its own finds no card given
 * away twice. The nodes are pretended, no card is behind them. */
#include <synor/orchestration/cost.h>
#include <synor/orchestration/place.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>

#define GIB   (INT64_C(1) << 30)
#define CARDS 4
#define NODES 3
#define JOBS  14
#define STEPS 300
#define LIVES 30

/* Cards 0 and 1 are shared in the way named, 2 and 3 cut; the node calls them 1 to 4, since its
 * first one has no price. */
static json_t *
node_doc(const char *id, const char *sharing)
{
    static const char *const cuts[] = {"3g.40gb", "1g.20gb", "1g.10gb"};
    static const int starts[] = {0, 4, 6}, eighths[] = {4, 2, 1}, slices[] = {3, 1, 1};
    json_t *parts = json_array();
    json_t *doc = json_pack(
        "{s:s, s:{s:s}, s:{s:s, s:{s:I, s:I, s:I, s:[{s:s, s:i, s:I, s:i, s:s*},"
        " {s:s, s:i, s:I, s:i, s:O}]}, s:[{s:s, s:s, s:b}], s:s}}",
        "id", id, "spec", "region", "eu", "status", "state", "ready", "capacity", "cpu_millicores",
        (json_int_t)64000, "memory_bytes", (json_int_t)64 * GIB, "scratch_bytes",
        (json_int_t)1000 * GIB, "gpus", "model", "h100", "count", 2, "vram_bytes",
        (json_int_t)80 * GIB, "first", 1, "sharing", sharing, "model", "h100", "count", 2,
        "vram_bytes", (json_int_t)80 * GIB, "first", 3, "parts", parts, "sandboxes", "name", "runc",
        "state", "ready", "gpus", true, "default_isolation", "runc");

    for (int i = 0; i < 3; i++)
        assert_int_equal(
            json_array_append_new(parts,
                                  json_pack("{s:s, s:i, s:i, s:i}", "name", cuts[i], "start",
                                            starts[i], "eighths", eighths[i], "slices", slices[i])),
            0);
    json_decref(parts);
    assert_non_null(doc);
    return doc;
}

static void
put_node(struct syn_cluster *cluster, const char *id, const char *sharing)
{
    struct syn_err err;
    SYN_JSON(doc);

    doc = node_doc(id, sharing);
    assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
}

static struct syn_place_request
whole(int64_t gpus)
{
    return (struct syn_place_request){
        .count = 1, .amounts = {1000, GIB, GIB}, .gpus = gpus, .gpus_max = gpus};
}

static struct syn_place_request
share(uint32_t permille, int64_t bytes)
{
    struct syn_place_request request = whole(1);

    request.gpu_share = permille;
    request.gpu_share_bytes = bytes;
    return request;
}

static struct syn_place_request
mig(const char *name)
{
    struct syn_place_request request = whole(1);

    request.mig = name;
    return request;
}

static int
ask(struct syn_cluster *cluster, const char *job, const struct syn_place_request *request,
    struct syn_placement *ret)
{
    const struct syn_place_who who = {.job = job, .account = "acct-1", .priority = 500};
    struct syn_err err;
    int rc = syn_place_ask(cluster, &who, request, ret, &err);

    if (rc < 0)
        fail_msg("asking for %s: %s", job, err.msg);
    return rc;
}

/* The only instance of the job, as its document would be made. */
static json_t *
instance_doc(const char *job, const struct syn_place_request *request,
             const struct syn_placement *placement, const char *state)
{
    const struct syn_place_slot *slot = &placement->slots[0];
    json_t *resources, *doc;
    struct syn_err err;

    resources =
        json_pack("{s:I, s:I, s:I, s:I, s:s, s:I}", "cpu_millicores",
                  (json_int_t)request->amounts.cpu_millicores, "memory_bytes",
                  (json_int_t)request->amounts.memory_bytes, "scratch_bytes",
                  (json_int_t)request->amounts.scratch_bytes, "gpus", (json_int_t)placement->gpus,
                  "gpu_model", slot->gpu_model, "gpu_vram_bytes", (json_int_t)slot->gpu_vram_bytes);
    assert_done(syn_place_resources(request, slot, placement->gpus, resources, &err), &err);
    doc = json_pack("{s:s+, s:s, s:{s:s, s:s, s:o}, s:{s:s}}", "id", "inst-", job, "account",
                    "acct-1", "spec", "job", job, "node", slot->node, "resources", resources,
                    "status", "state", state);
    assert_non_null(doc);
    return doc;
}

static void
report(struct syn_cluster *cluster, const char *job, const struct syn_place_request *request,
       const struct syn_placement *placement, const char *state)
{
    struct syn_err err;
    SYN_JSON(doc);

    doc = instance_doc(job, request, placement, state);
    assert_done(syn_cluster_put_instance(cluster, doc, &err), &err);
}

static void
test_documents_name_the_part(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_place_request half = share(500, 20 * GIB), small = share(500, 60 * GIB);
    struct syn_place_request cut = mig("1g.20gb"), card = whole(1);
    struct syn_placement first, second, third, fourth;
    const json_t *resources;
    struct syn_err err;
    SYN_JSON(doc);
    SYN_JSON(part);

    (void)state;
    assert_done(syn_cluster_new(1, &cluster, &err), &err);
    put_node(cluster, "node-1", "mps");
    assert_int_equal(ask(cluster, "a", &half, &first), SYN_OK);
    doc = instance_doc("a", &half, &first, "running");
    resources = syn_json_at(doc, "spec.resources");
    assert_string_equal(syn_json_str(resources, "gpu_sharing", ""), "mps");
    assert_int_equal(syn_json_i64(resources, "gpu_share", 0), 500);
    assert_int_equal(syn_json_i64(resources, "gpu_share_mib", 0), 20480);
    assert_int_equal(syn_json_i64(resources, "gpu_permille", 0), 500);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(resources, "gpu_cards"), 0)),
                     first.slots[0].gpu_cards == 1 ? 1 : 2); /* as the node calls it */
    assert_done(syn_cluster_put_instance(cluster, doc, &err), &err);
    /* On the same card as far as time and memory go; charged by what it has more of. */
    assert_int_equal(ask(cluster, "b", &small, &second), SYN_OK);
    assert_int_equal(second.slots[0].gpu_cards, first.slots[0].gpu_cards);
    assert_int_equal(second.slots[0].gpu_permille, 750);
    report(cluster, "b", &small, &second, "running");
    assert_int_equal(syn_cluster_at(cluster, 0)->gpus[0].used, 1);
    assert_int_equal(ask(cluster, "c", &card, &third), SYN_OK);
    assert_int_equal(third.slots[0].gpu_cards | first.slots[0].gpu_cards, 3);
    assert_int_equal(ask(cluster, "d", &cut, &fourth), SYN_OK);
    part = instance_doc("d", &cut, &fourth, "running");
    resources = syn_json_at(part, "spec.resources");
    assert_string_equal(syn_json_str(resources, "gpu_mig", ""), "1g.20gb");
    assert_int_equal(syn_json_i64(resources, "gpu_part", 0), 4);
    assert_int_equal(syn_json_i64(resources, "gpu_permille", 0), 250);
    assert_null(json_object_get(resources, "gpu_share"));
}

static void
test_a_part_costs_its_part(void **state)
{
    struct syn_cost_ask asked = {.amounts = {0, 0, 0}, .gpus = 1, .gpu_model = "h100", .count = 1};
    struct syn_node_view node;
    struct syn_place_request request = share(250, 0);
    struct syn_cost cost;
    struct syn_err err;
    SYN_JSON(doc);
    json_t *lease = NULL;

    (void)state;
    doc = node_doc("node-1", "time-slice");
    assert_int_equal(json_object_set_new(json_object_get(doc, "spec"), "offer",
                                         json_pack("{s:{s:s}, s:s, s:s, s:s}", "gpu_hour", "h100",
                                                   "4", "cpu_core_hour", "0", "memory_gib_hour",
                                                   "0", "scratch_gib_hour", "0")),
                     0);
    assert_done(syn_node_view_read(doc, &node, &err), &err);
    assert_done(syn_cost_on(&node, NULL, &asked, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 4 * SYN_SYNOR);
    asked.gpu_permille = 250;
    assert_done(syn_cost_on(&node, NULL, &asked, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, SYN_SYNOR);
    assert_done(syn_cost_member(&node, NULL, &request, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, SYN_SYNOR);
    request = share(250, 40 * GIB);
    assert_done(syn_cost_member(&node, NULL, &request, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 2 * SYN_SYNOR);
    request = mig("3g.40gb");
    assert_done(syn_cost_member(&node, NULL, &request, &cost, &err), &err);
    assert_int_equal(cost.rate_hour, 2 * SYN_SYNOR);
    json_decref(lease);
}

/* A ceiling between what its time and what its memory would cost. */
static void
test_ceilings_count_the_part(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_place_request request = share(250, 40 * GIB);
    struct syn_placement placement;
    struct syn_err err;
    SYN_JSON(doc);

    (void)state;
    assert_done(syn_cluster_new(1, &cluster, &err), &err);
    doc = node_doc("node-1", "time-slice");
    assert_int_equal(json_object_set_new(json_object_get(doc, "spec"), "offer",
                                         json_pack("{s:{s:s}, s:s, s:s, s:s}", "gpu_hour", "h100",
                                                   "4", "cpu_core_hour", "0", "memory_gib_hour",
                                                   "0", "scratch_gib_hour", "0")),
                     0);
    assert_done(syn_cluster_put_node(cluster, doc, &err), &err);
    request.price_max = 2 * SYN_SYNOR - 1;
    assert_int_equal(syn_place(cluster, &request, &placement, &err), SYN_PLACE_NONE);
    request.price_max++;
    assert_int_equal(syn_place(cluster, &request, &placement, &err), SYN_OK);
}

static const struct {
    const char *sharing;
    uint32_t permille;
    int64_t gib;
    const char *mig;
    const char *why, *fix;
} rows[] = {
    {NULL, 500, 0, NULL, "2 x h100, not shared, 2 x h100, cut", "--gpus 1, without --gpu-share"},
    {"mps", 500, 70, NULL, "of one 0.700 free, and 0.700 of its memory", "--gpu-memory 57344mb"},
    {"mps", 800, 0, NULL, "0.800 of one GPU needed", "--gpu-share 0.700"},
    {"mps", 100, 81, NULL, "0.100 of one GPU and of its memory 81 GiB", "--gpu-memory 57344mb"},
    {"mps", 0, 0, "2g.20gb", "the partition 2g.20gb of one GPU needed", "--mig 3g.40gb"},
    {"mps", 0, 0, "2g.20gb", "2 x h100, not cut, 2 x h100, cut otherwise", "--mig 3g.40gb"},
};

static void
test_explanations(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
        struct syn_place_request request = share(300, 0), other = whole(1);
        struct syn_placement placement;
        struct syn_err err;
        SYN_SCOPED(syn_free_scope) char *said = NULL;
        SYN_SCOPED(syn_free_scope) char *helps = NULL;
        SYN_JSON(why);
        SYN_JSON(fix);

        assert_done(syn_cluster_new(1, &cluster, &err), &err);
        put_node(cluster, "node-1", rows[i].sharing);
        if (rows[i].sharing) {
            assert_int_equal(ask(cluster, "a", &request, &placement), SYN_OK);
            report(cluster, "a", &request, &placement, "running");
            assert_int_equal(ask(cluster, "b", &other, &placement), SYN_OK);
            report(cluster, "b", &other, &placement, "running");
        }
        request = rows[i].mig ? mig(rows[i].mig) : share(rows[i].permille, rows[i].gib * GIB);
        assert_int_equal(syn_place(cluster, &request, &placement, &err), SYN_PLACE_NONE);
        assert_done(syn_place_explain(cluster, &request, &why, &fix, &err), &err);
        said = json_dumps(why, 0);
        helps = json_dumps(fix, 0);
        if (!strstr(said, rows[i].why) || !strstr(helps, rows[i].fix))
            fail_msg("row %zu: %s\n%s", i, said, helps);
    }
}

static void
test_bad_parts_are_refused(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct syn_place_request bad[] = {share(1001, 0), share(1, -1),   share(0, 1), share(10, 0),
                                      share(10, 0),   mig("1g.10gb"), share(10, 0)};
    struct syn_placement placement;
    struct syn_err err;

    (void)state;
    assert_done(syn_cluster_new(1, &cluster, &err), &err);
    bad[3].gpus = 0;
    bad[4].gpus_max = 2;
    bad[5].gpu_share = 10;
    bad[6].one_node = true;
    for (size_t i = 0; i < SYN_LEN(bad); i++)
        assert_code(syn_place(cluster, &bad[i], &placement, &err), SYN_E_INVALID, &err);
}

/* ---- random histories ---- */

struct job {
    char id[16];
    bool waits, runs, legacy; /* its document does not name its cards, as one of before */
    struct syn_place_request request;
    struct syn_placement placement;
};

struct life {
    struct syn_cluster *cluster;
    struct job jobs[JOBS];
    uint64_t random;
};

static const char *const sharings[NODES] = {"mps", "time-slice", NULL};

static uint64_t
pick(struct life *life, uint64_t below)
{
    life->random = life->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (life->random >> 33) % below;
}

/* What of one card is somebody's, by the placements alone. */
struct ledger {
    int time, vram, wholes, parts;
};

static void
enter(struct ledger ledger[NODES][CARDS], const struct job *job)
{
    static const char *const names[] = {"3g.40gb", "1g.20gb", "1g.10gb"};
    const struct syn_place_slot *slot = &job->placement.slots[0];
    int node = slot->node[strlen(slot->node) - 1] - '0';
    int vram = job->request.gpu_share_bytes
                   ? (int)((job->request.gpu_share_bytes * 1000 + 80 * GIB - 1) / (80 * GIB))
                   : (int)job->request.gpu_share;

    assert_int_equal(__builtin_popcount(slot->gpu_cards), job->placement.gpus);
    for (int card = 0; card < CARDS; card++) {
        struct ledger *of = &ledger[node][card];

        if (!(slot->gpu_cards & SYN_BIT(card)))
            continue;
        assert_true((card >= 2) == (job->request.mig != NULL));
        if (job->request.mig) {
            static const uint32_t starts[] = {0, 4, 6};

            for (int p = 0; p < 3; p++)
                if (syn_str_eq(job->request.mig, names[p])) {
                    assert_int_equal(slot->gpu_part, starts[p]);
                    assert_false(of->parts & (1 << p));
                    of->parts |= 1 << p;
                }
        } else if (job->request.gpu_share) {
            assert_non_null(sharings[node]);
            of->time += (int)job->request.gpu_share;
            of->vram += vram;
        } else {
            of->wholes++;
        }
    }
}

static void
life_check(const struct life *life)
{
    struct ledger ledger[NODES][CARDS] = {0};

    for (int i = 0; i < JOBS; i++)
        if (life->jobs[i].runs)
            enter(ledger, &life->jobs[i]);
    for (int n = 0; n < NODES; n++)
        for (int c = 0; c < CARDS; c++) {
            const struct ledger *of = &ledger[n][c];

            assert_true(of->time <= 1000 && of->vram <= 1000 && of->wholes <= 1);
            assert_false(of->wholes > 0 && of->time > 0);
        }
}

static void
life_report(struct life *life, const struct job *job, const char *state)
{
    struct syn_placement placement = job->placement;

    if (job->legacy)
        placement.slots[0].gpu_named = 0;
    report(life->cluster, job->id, &job->request, &placement, state);
}

/* A new server: nothing is known but the documents. */
static void
life_restart(struct life *life)
{
    const struct syn_place_who who = {.account = "acct-1", .priority = 500};
    struct syn_err err;
    char id[SYN_ID_MAX];

    syn_cluster_free(life->cluster);
    assert_done(syn_cluster_new(3, &life->cluster, &err), &err);
    for (int i = 0; i < NODES; i++) {
        (void)snprintf(id, sizeof(id), "node-%d", i);
        put_node(life->cluster, id, sharings[i]);
    }
    for (int i = 0; i < JOBS; i++)
        if (life->jobs[i].runs)
            life_report(life, &life->jobs[i], "running");
    for (int i = 0; i < JOBS; i++) {
        struct syn_place_who own = who;

        own.job = life->jobs[i].id;
        if (life->jobs[i].runs && pick(life, 2))
            assert_done(syn_place_claim(life->cluster, &own, &life->jobs[i].request,
                                        life->jobs[i].placement.gpus, &err),
                        &err);
    }
}

static void
life_new(struct life *life, struct job *job)
{
    static const char *const cuts[] = {"3g.40gb", "1g.20gb", "1g.10gb", "7g.80gb"};
    uint64_t kind = pick(life, 8);

    job->waits = true;
    job->request = kind == 0  ? whole(1 + (int64_t)pick(life, 2))
                   : kind < 4 ? mig(cuts[pick(life, 4)])
                              : share(50 * (1 + (uint32_t)pick(life, 19)),
                                      pick(life, 2) ? 0 : (int64_t)(1 + pick(life, 80)) * GIB);
    job->request.policy = (enum syn_fleet_policy)pick(life, SYN_FLEET_POLICIES);
}

static void
life_step(struct life *life)
{
    struct job *job = &life->jobs[pick(life, JOBS)];

    if (pick(life, 40) == 0) {
        life_restart(life);
        return;
    }
    if (job->runs) {
        life_report(life, job, "exited");
        job->runs = false;
        syn_place_withdraw(life->cluster, job->id);
    } else if (!job->waits) {
        life_new(life, job);
    }
    if (job->waits && ask(life->cluster, job->id, &job->request, &job->placement) == SYN_OK) {
        job->waits = false;
        job->runs = true;
        life_report(life, job, "running");
    }
    life_check(life);
}

/* When all have gone, all cards are free again: whoever waits for what there is gets it. */
static void
life_finish(struct life *life)
{
    for (int i = 0; i < JOBS; i++)
        if (life->jobs[i].runs) {
            life_report(life, &life->jobs[i], "exited");
            syn_place_withdraw(life->cluster, life->jobs[i].id);
        } else if (life->jobs[i].waits) {
            syn_place_withdraw(life->cluster, life->jobs[i].id);
        }
    for (size_t n = 0; n < syn_cluster_count(life->cluster); n++) {
        const struct syn_node_view *node = syn_cluster_at(life->cluster, n);

        for (unsigned g = 0; g < node->gpus_count; g++)
            assert_int_equal(node->gpus[g].used, 0);
        for (unsigned c = 0; c < CARDS; c++)
            assert_true(node->cards[c].holders == 0 && node->cards[c].time == 0 &&
                        node->cards[c].vram == 0 && node->cards[c].slices == 0);
    }
}

static void
test_random_histories(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= LIVES; seed++) {
        struct life life = {.random = seed * 977};

        print_message("# history %llu\n", (unsigned long long)seed);
        for (int i = 0; i < JOBS; i++)
            (void)snprintf(life.jobs[i].id, sizeof(life.jobs[i].id), "job%d", i);
        life_restart(&life);
        for (int i = 0; i < STEPS; i++)
            life_step(&life);
        life_finish(&life);
        syn_cluster_free(life.cluster);
    }
}

/* Documents that do not name their cards take some all the same. */
static void
test_who_names_no_card_has_one(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    struct job old = {.id = "old", .legacy = true, .request = whole(2)};
    struct syn_place_request small = share(10, 0);
    struct life life = {0};
    struct syn_placement placement;
    struct syn_err err;

    (void)state;
    assert_done(syn_cluster_new(1, &cluster, &err), &err);
    put_node(cluster, "node-0", "mps");
    life.cluster = cluster;
    assert_int_equal(ask(cluster, "old", &old.request, &old.placement), SYN_OK);
    syn_place_withdraw(cluster, "old");
    life_report(&life, &old, "running");
    assert_int_equal(syn_cluster_at(cluster, 0)->gpus[0].used, 2);
    assert_int_equal(syn_place(cluster, &small, &placement, &err), SYN_PLACE_NONE);
    life_report(&life, &old, "exited");
    assert_int_equal(syn_place(cluster, &small, &placement, &err), SYN_OK);
}

/* What a quota is asked for: of a part what it is of the card that does for least. */
static void
test_what_is_least(void **state)
{
    SYN_SCOPED(syn_cluster_free_scope) struct syn_cluster *cluster = NULL;
    const struct syn_place_request asks[] = {whole(2),       share(250, 0),  share(250, 40 * GIB),
                                             mig("1g.10gb"), mig("3g.40gb"), mig("7g.80gb")};
    static const int64_t least[] = {2000, 250, 500, 125, 500, 1};
    struct syn_err err;

    (void)state;
    assert_done(syn_cluster_new(1, &cluster, &err), &err);
    assert_int_equal(syn_place_gpu_least(cluster, &asks[1]), 250); /* no node is there */
    assert_int_equal(syn_place_gpu_least(cluster, &asks[3]), 1);
    put_node(cluster, "node-1", "time-slice");
    for (size_t i = 0; i < SYN_LEN(asks); i++)
        assert_int_equal(syn_place_gpu_least(cluster, &asks[i]), least[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_least),
        cmocka_unit_test(test_documents_name_the_part),
        cmocka_unit_test(test_a_part_costs_its_part),
        cmocka_unit_test(test_ceilings_count_the_part),
        cmocka_unit_test(test_explanations),
        cmocka_unit_test(test_bad_parts_are_refused),
        cmocka_unit_test(test_who_names_no_card_has_one),
        cmocka_unit_test(test_random_histories),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
