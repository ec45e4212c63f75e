#include "agent_priv.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#define GIB (INT64_C(1) << 30)

static struct syn_agent agent;
static struct agt_instance instances[4];

static void
add_gpu(const char *name, const char *uuid, int64_t gib)
{
    struct syn_gpu *gpu = &agent.gpus.gpus[agent.gpus.count++];

    *gpu = (struct syn_gpu){.vram_bytes = gib * GIB, .capability = gib > 40 ? 90 : 0};
    (void)snprintf(gpu->name, sizeof(gpu->name), "%s", name);
    (void)snprintf(gpu->uuid, sizeof(gpu->uuid), "%s", uuid);
}

/* An agent without threads, three cards, and instances in its table that nothing drives. */
static int
set_up(void **state)
{
    static unsigned number;
    char path[AGT_PATH_MAX + 64];
    struct syn_err err = {0};

    (void)state;
    agent = (struct syn_agent){0};
    (void)snprintf(agent.data_dir, sizeof(agent.data_dir), "%.400s/%u", syn_test_dir(), number++);
    assert_int_equal(mkdir(agent.data_dir, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/jobs", agent.data_dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(pthread_mutex_init(&agent.lock, NULL), 0);
    assert_int_equal(pthread_mutex_init(&agent.fetch_lock, NULL), 0);
    assert_done(syn_map_new(NULL, &agent.instances, &err), &err);
    add_gpu("NVIDIA H100 80GB HBM3", "GPU-a", 80);
    add_gpu("NVIDIA H100 80GB HBM3", "GPU-b", 80);
    add_gpu("NVIDIA GeForce RTX 4090", "GPU-c", 24);
    for (unsigned i = 0; i < SYN_LEN(instances); i++) {
        instances[i] = (struct agt_instance){.agent = &agent};
        (void)snprintf(instances[i].id, sizeof(instances[i].id), "inst-%u", i);
        assert_int_equal(mkdir(agt_job_path(&agent, instances[i].id, "", path), 0700), 0);
        assert_done(syn_map_put_take(agent.instances, instances[i].id, &instances[i], &err), &err);
    }
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    agent.instances = syn_map_free(agent.instances);
    (void)pthread_mutex_destroy(&agent.fetch_lock);
    (void)pthread_mutex_destroy(&agent.lock);
    return 0;
}

static int
claim(unsigned i, int count, const char *model, struct syn_gpu *out, size_t *ret_count,
      struct syn_err *err)
{
    struct syn_gpu_use use;
    SYN_JSON(doc);

    doc = json_pack("{s:{s:{s:i, s:s}}}", "spec", "resources", "gpus", count, "gpu_model", model);
    return agt_gpus_claim(&instances[i], doc, out, ret_count, &use, err);
}

static void
cards_are_reported_by_model(void **state)
{
    struct syn_err err = {0};
    SYN_JSON(groups);

    (void)state;
    assert_done(agt_gpus_report(&agent, &groups, &err), &err);
    assert_int_equal(json_array_size(groups), 2);
    assert_string_equal(syn_json_str(json_array_get(groups, 0), "model", ""), "h100");
    assert_string_equal(syn_json_str(json_array_get(groups, 0), "profile", ""), "h100-sxm");
    assert_string_equal(syn_json_str(json_array_get(groups, 0), "capability", ""), "9.0");
    assert_null(json_object_get(json_array_get(groups, 1), "capability"));
    assert_string_equal(syn_json_str(json_array_get(groups, 1), "profile", ""), "rtx-4090");
    assert_int_equal(syn_json_i64(json_array_get(groups, 0), "count", 0), 2);
    assert_int_equal(syn_json_i64(json_array_get(groups, 0), "vram_bytes", 0), 80 * GIB);
    assert_string_equal(syn_json_str(json_array_get(groups, 1), "model", ""), "rtx4090");
    assert_int_equal(syn_json_i64(json_array_get(groups, 1), "count", 0), 1);
}

static void
nobody_shares_a_card(void **state)
{
    struct syn_gpu out[SYN_GPUS_MAX];
    struct syn_err err = {0};
    size_t count = 9;

    (void)state;
    assert_done(claim(0, 0, "", out, &count, &err), &err);
    assert_int_equal(count, 0);
    assert_done(claim(0, 1, "h100", out, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(out[0].uuid, "GPU-a");
    assert_done(claim(1, 1, "h100", out, &count, &err), &err);
    assert_string_equal(out[0].uuid, "GPU-b");
    assert_code(claim(2, 1, "h100", out, &count, &err), SYN_E_CONFLICT, &err);
    assert_non_null(strstr(err.msg, "h100"));
    assert_int_equal(instances[2].gpus_count, 0); /* a refused claim holds nothing */
    assert_done(claim(2, 1, "", out, &count, &err), &err);
    assert_string_equal(out[0].uuid, "GPU-c");
    agt_gpus_release(&instances[0]);
    assert_done(claim(3, 1, "h100", out, &count, &err), &err);
    assert_string_equal(out[0].uuid, "GPU-a");
    assert_code(claim(0, SYN_GPUS_MAX + 1, "", out, &count, &err), SYN_E_INVALID, &err);
}

static void
who_tries_again_keeps_its_cards(void **state)
{
    struct syn_gpu out[SYN_GPUS_MAX];
    struct syn_err err = {0};
    size_t count;

    (void)state;
    assert_done(claim(0, 2, "h100", out, &count, &err), &err);
    assert_done(claim(0, 2, "h100", out, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_int_equal(instances[0].gpus_count, 2);
    assert_done(claim(0, 1, "h100", out, &count, &err), &err);
    assert_int_equal(instances[0].gpus_count, 1);
}

static void
claims_outlive_the_agent(void **state)
{
    struct syn_gpu out[SYN_GPUS_MAX];
    struct syn_err err = {0};
    char path[AGT_PATH_MAX];
    size_t count;

    (void)state;
    assert_done(claim(0, 1, "h100", out, &count, &err), &err);
    assert_done(claim(1, 1, "rtx4090", out, &count, &err), &err);
    for (unsigned i = 0; i < SYN_LEN(instances); i++) { /* as a new agent finds them */
        instances[i].gpus_count = 0;
        agt_gpus_recall(&instances[i]);
    }
    assert_int_equal(instances[0].gpus_count, 1);
    assert_string_equal(instances[0].gpus[0], "GPU-a");
    assert_string_equal(instances[1].gpus[0], "GPU-c");
    assert_int_equal(instances[2].gpus_count, 0);
    assert_done(claim(2, 1, "h100", out, &count, &err), &err);
    assert_string_equal(out[0].uuid, "GPU-b");
    agt_gpus_release(&instances[0]);
    assert_int_equal(access(agt_job_path(&agent, "inst-0", "gpus.json", path), F_OK), -1);
    agt_gpus_recall(&instances[0]);
    assert_int_equal(instances[0].gpus_count, 0);
}

static void
damaged_notes_claim_nothing(void **state)
{
    static const char *const texts[] = {"", "{", "[]", "{\"gpus\": 1}", "{\"gpus\": [1, {}]}"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(texts); i++) {
        struct syn_err err = {0};

        assert_done(agt_keep_file(&instances[0], "gpus.json", texts[i], strlen(texts[i]), &err),
                    &err);
        agt_gpus_recall(&instances[0]);
        assert_int_equal(instances[0].gpus_count, 0);
    }
}

/* ---- parts: the cards are pretended, what is counted is not ---- */

static void
add_part(struct syn_gpu *gpu, const char *name, int start, int eighths, int slices)
{
    struct syn_gpu_part *part = &gpu->parts[gpu->parts_count++];

    *part = (struct syn_gpu_part){.start = start, .eighths = eighths, .slices = slices};
    (void)snprintf(part->name, sizeof(part->name), "%s", name);
    (void)snprintf(part->uuid, sizeof(part->uuid), "MIG-%.40s-%d", gpu->uuid, start);
}

/* Cards 0 and 1 of the list are h100, 2 is the rtx4090, 3 a cut h100 and 4 another one. */
static void
add_more(void)
{
    add_gpu("NVIDIA H100 80GB HBM3", "GPU-d", 80);
    add_part(&agent.gpus.gpus[3], "3g.40gb", 0, 4, 3);
    add_part(&agent.gpus.gpus[3], "1g.10gb", 4, 1, 1);
    add_part(&agent.gpus.gpus[3], "1g.10gb", 5, 1, 1);
    add_gpu("NVIDIA H100 80GB HBM3", "GPU-e", 80);
}

static int
claim_part(unsigned i, int card, json_t *part_take, struct syn_gpu_use *use, struct syn_err *err)
{
    struct syn_gpu out[SYN_GPUS_MAX];
    size_t count;
    SYN_JSON(doc);

    doc = json_pack("{s:{s:o}}", "spec", "resources", part_take);
    assert_int_equal(json_object_set_new(json_object_get(json_object_get(doc, "spec"), "resources"),
                                         "gpus", json_integer(1)),
                     0);
    assert_int_equal(json_object_set_new(json_object_get(json_object_get(doc, "spec"), "resources"),
                                         "gpu_cards", json_pack("[i]", card)),
                     0);
    return agt_gpus_claim(&instances[i], doc, out, &count, use, err);
}

static json_t *
share(const char *sharing, int permille, int mib)
{
    return json_pack("{s:s, s:I, s:s, s:i, s:i}", "gpu_model", "h100", "gpu_vram_bytes",
                     (json_int_t)(80 * GIB), "gpu_sharing", sharing, "gpu_share", permille,
                     "gpu_share_mib", mib);
}

static json_t *
mig(const char *name, int start)
{
    return json_pack("{s:s, s:I, s:s, s:i}", "gpu_model", "h100", "gpu_vram_bytes",
                     (json_int_t)(80 * GIB), "gpu_mig", name, "gpu_part", start);
}

static void
parts_and_sharing_are_reported(void **state)
{
    struct syn_err err = {0};
    const json_t *group, *part;
    SYN_JSON(groups);

    (void)state;
    add_more();
    agent.sharing = AGT_SHARING_MPS;
    assert_done(agt_gpus_report(&agent, &groups, &err), &err);
    assert_int_equal(json_array_size(groups), 3);
    group = json_array_get(groups, 0);
    assert_int_equal(syn_json_i64(group, "count", 0), 3);
    assert_int_equal(syn_json_i64(group, "first", -1), 0);
    assert_string_equal(syn_json_str(group, "sharing", ""), "mps");
    group = json_array_get(groups, 1);
    assert_string_equal(syn_json_str(group, "model", ""), "rtx4090");
    assert_int_equal(syn_json_i64(group, "first", -1), 3);
    assert_null(json_object_get(group, "sharing")); /* its capability is not known */
    group = json_array_get(groups, 2);
    assert_int_equal(syn_json_i64(group, "first", -1), 4);
    assert_null(json_object_get(group, "sharing"));
    assert_int_equal(json_array_size(json_object_get(group, "parts")), 3);
    part = json_array_get(json_object_get(group, "parts"), 2);
    assert_string_equal(syn_json_str(part, "name", ""), "1g.10gb");
    assert_int_equal(syn_json_i64(part, "start", 0), 5);
    assert_int_equal(syn_json_i64(part, "eighths", 0), 1);
    assert_int_equal(syn_json_i64(part, "slices", 0), 1);
}

static void
shares_of_a_card_add_up(void **state)
{
    struct syn_gpu_use use;
    struct syn_gpu out[SYN_GPUS_MAX];
    struct syn_err err = {0};
    size_t count;

    (void)state;
    add_more();
    assert_code(claim_part(0, 1, share("mps", 500, 0), &use, &err), SYN_E_CONFLICT, &err);
    assert_non_null(strstr(err.msg, "not at all"));
    agent.sharing = AGT_SHARING_MPS;
    (void)snprintf(agent.mps_pipes, sizeof(agent.mps_pipes), "/pipes");
    assert_code(claim_part(0, 1, share("time-slice", 500, 0), &use, &err), SYN_E_CONFLICT, &err);
    assert_done(claim_part(0, 1, share("mps", 500, 0), &use, &err), &err);
    assert_string_equal(instances[0].gpus[0], "GPU-b");
    assert_int_equal(use.permille, 500);
    assert_int_equal(use.vram_bytes, 40 * GIB);
    assert_string_equal(use.mps, "/pipes");
    assert_code(claim_part(1, 1, share("mps", 501, 0), &use, &err), SYN_E_CONFLICT, &err);
    assert_code(claim_part(1, 1, share("mps", 100, 40961), &use, &err), SYN_E_CONFLICT, &err);
    assert_done(claim_part(1, 1, share("mps", 100, 40960), &use, &err), &err);
    assert_int_equal(use.vram_bytes, 40 * GIB);
    assert_code(claim_part(2, 1, share("mps", 1, 1), &use, &err), SYN_E_CONFLICT, &err);
    /* A whole card is none that somebody has a share of, whoever names it. */
    assert_done(claim(2, 1, "h100", out, &count, &err), &err);
    assert_string_equal(out[0].uuid, "GPU-a");
    assert_code(claim_part(3, 0, share("mps", 1, 1), &use, &err), SYN_E_CONFLICT, &err);
    agt_gpus_release(&instances[0]);
    agt_gpus_release(&instances[1]);
    assert_done(claim(3, 2, "h100", out, &count, &err), &err);
}

static void
partitions_are_somebodys(void **state)
{
    struct syn_gpu_use use;
    struct syn_err err = {0};

    (void)state;
    add_more();
    assert_done(claim_part(0, 4, mig("1g.10gb", 5), &use, &err), &err);
    assert_string_equal(use.part->uuid, "MIG-GPU-d-5");
    assert_string_equal(instances[0].gpus[0], "GPU-d");
    assert_code(claim_part(1, 4, mig("1g.10gb", 5), &use, &err), SYN_E_CONFLICT, &err);
    assert_code(claim_part(1, 4, mig("1g.10gb", 0), &use, &err), SYN_E_CONFLICT, &err);
    assert_code(claim_part(1, 0, mig("1g.10gb", 4), &use, &err), SYN_E_CONFLICT, &err);
    assert_code(claim_part(1, 9, mig("1g.10gb", 4), &use, &err), SYN_E_CONFLICT, &err);
    assert_done(claim_part(1, 4, mig("3g.40gb", 0), &use, &err), &err);
    assert_done(claim_part(2, 4, mig("1g.10gb", 4), &use, &err), &err);
    for (unsigned i = 0; i < 3; i++) { /* as a new agent finds them */
        instances[i].gpus_count = 0;
        instances[i].gpus_hold = (struct agt_gpu_hold){.time = 0};
        agt_gpus_recall(&instances[i]);
    }
    assert_int_equal(instances[0].gpus_hold.eighths, 0x20);
    assert_int_equal(instances[1].gpus_hold.eighths, 0x0f);
    assert_code(claim_part(3, 4, mig("1g.10gb", 4), &use, &err), SYN_E_CONFLICT, &err);
    agt_gpus_release(&instances[2]);
    assert_done(claim_part(3, 4, mig("1g.10gb", 4), &use, &err), &err);
}

static int
claim_scenario(void *arg, struct syn_err *err)
{
    const json_t *doc = arg;
    struct syn_gpu out[SYN_GPUS_MAX];
    struct syn_gpu_use use;
    SYN_JSON(groups);
    size_t count;
    int rc = agt_gpus_report(&agent, &groups, err);

    return rc < 0 ? rc : agt_gpus_claim(&instances[0], doc, out, &count, &use, err);
}

static void
claims_survive_short_memory(void **state)
{
    SYN_JSON(doc);

    (void)state;
    doc = json_pack("{s:{s:{s:i}}}", "spec", "resources", "gpus", 2);
    assert_true(syn_test_sweep_alloc(claim_scenario, doc) > 5);
    assert_int_equal(instances[0].gpus_count, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cards_are_reported_by_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_shares_a_card, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_tries_again_keeps_its_cards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(claims_outlive_the_agent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_notes_claim_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_and_sharing_are_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shares_of_a_card_add_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(partitions_are_somebodys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(claims_survive_short_memory, set_up, tear_down),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
