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
    SYN_JSON(doc);

    doc = json_pack("{s:{s:{s:i, s:s}}}", "spec", "resources", "gpus", count, "gpu_model", model);
    return agt_gpus_claim(&instances[i], doc, out, ret_count, err);
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

static int
claim_scenario(void *arg, struct syn_err *err)
{
    const json_t *doc = arg;
    struct syn_gpu out[SYN_GPUS_MAX];
    SYN_JSON(groups);
    size_t count;
    int rc = agt_gpus_report(&agent, &groups, err);

    return rc < 0 ? rc : agt_gpus_claim(&instances[0], doc, out, &count, err);
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
        cmocka_unit_test_setup_teardown(claims_survive_short_memory, set_up, tear_down),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
