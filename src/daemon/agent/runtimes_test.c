/* Which driver runs what: by class, with cards, and by who made the folder. */
#include <stdio.h>
#include <sys/stat.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#include "agent_priv.h"

/* Two drivers in name: nothing of them is called. */
static const struct syn_runtime_ops container_ops = {.version = SYN_RUNTIME_VERSION};
static const struct syn_runtime_ops native_ops = {.version = SYN_RUNTIME_VERSION};

struct bench {
    struct syn_agent agent;
    struct agt_instance instance;
};

static void
slot(struct bench *bench, const struct syn_runtime_ops *ops, const char *sandbox, bool works,
     bool gpus)
{
    struct syn_agent *agent = &bench->agent;
    size_t at = agent->slots++;

    agent->runtimes[at] = (struct syn_runtime){ops, bench};
    agent->infos[at] =
        (struct syn_runtime_info){.driver = ops == &native_ops ? "native" : "container",
                                  .sandbox = sandbox,
                                  .version = "1",
                                  .platform = "",
                                  .gpus = gpus};
    agent->works[at] = works;
}

/* `--runtime container` where containerd has runc alone. */
static void
open_bench(struct bench *bench)
{
    char path[AGT_PATH_MAX];

    *bench = (struct bench){.instance = {.agent = &bench->agent, .id = "inst-1"}};
    (void)snprintf(bench->agent.data_dir, sizeof(bench->agent.data_dir), "%s", syn_test_dir());
    (void)snprintf(path, sizeof(path), "%s/instances", bench->agent.data_dir);
    (void)mkdir(path, 0700);
    slot(bench, &container_ops, "runc", true, false);
    slot(bench, &native_ops, "gvisor", true, false);
    slot(bench, &native_ops, "runc", true, true);
}

static void
ask(struct bench *bench, const char *isolation, int gpus, const char *driver, const char *sandbox)
{
    struct syn_err err = {0};
    SYN_JSON(doc);
    int rc;

    assert_done(syn_json_pack(&doc, &err, "{s:{s:s, s:{s:i}}}", "spec", "isolation", isolation,
                              "resources", "gpus", gpus),
                &err);
    bench->instance.made_by = NULL;
    rc = agt_runtime_choose(&bench->instance, doc, &err);
    if (driver == NULL) {
        assert_int_equal(rc, SYN_E_UNSUPPORTED);
        assert_non_null(strstr(err.msg, isolation));
        return;
    }
    assert_done(rc, &err);
    assert_string_equal(bench->instance.made_by->driver, driver);
    assert_string_equal(bench->instance.made_by->sandbox, sandbox);
}

static void
a_class_goes_to_the_first_driver_that_has_it(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench);
    ask(&bench, "auto", 0, "container", "runc");
    ask(&bench, "runc", 0, "container", "runc");
    ask(&bench, "gvisor", 0, "native", "gvisor");
    ask(&bench, "kata", 0, NULL, NULL);
    ask(&bench, "auto", 1, "native", "runc"); /* who passes cards on */
    ask(&bench, "gvisor", 1, NULL, NULL);
    bench.agent.works[0] = false;
    ask(&bench, "runc", 0, "native", "runc");
}

/* Not by `auto` either where nothing else works. */
static void
who_does_not_ask_gets_no_fork(void **state)
{
    struct bench bench;

    (void)state;
    open_bench(&bench);
    ask(&bench, "namespace", 0, NULL, NULL);
    slot(&bench, &native_ops, "namespace", true, false);
    ask(&bench, "namespace", 0, "native", "namespace");
    for (size_t i = 0; i < 3; i++)
        bench.agent.works[i] = false;
    ask(&bench, "auto", 0, NULL, NULL);
    ask(&bench, "namespace", 0, "native", "namespace");
    assert_string_equal(agt_sandbox_default(&bench.agent), "none");
}

static void
each_class_is_told_once_with_its_driver(void **state)
{
    struct syn_err err = {0};
    struct bench bench;
    SYN_JSON(list);
    const json_t *runc;

    (void)state;
    open_bench(&bench);
    assert_done(agt_sandboxes(&bench.agent, &list, &err), &err);
    assert_int_equal(json_array_size(list), 2);
    runc = json_array_get(list, 0);
    assert_string_equal(syn_json_str(runc, "name", ""), "runc");
    assert_string_equal(syn_json_str(runc, "runtime", ""), "container");
    assert_true(syn_json_bool(runc, "gpus", false)); /* natively */
    assert_string_equal(syn_json_str(json_array_get(list, 1), "runtime", ""), "native");
    assert_string_equal(agt_sandbox_default(&bench.agent), "runc");
    for (size_t i = 0; i < AGT_RUNTIMES; i++)
        bench.agent.works[i] = false;
    assert_string_equal(agt_sandbox_default(&bench.agent), "none");
}

/* What prepare() leaves, as far as it tells who prepared. */
static void
write_plan(struct bench *bench, const char *runtime, const char *platform)
{
    static const char *const texts[] = {"id",    "name",  "cgroup", "tool",   "platform",
                                        "cover", "image", "group",  "address"};
    static const char *const numbers[] = {"cpu_millicores", "memory_bytes", "pids_max",
                                          "scratch_bytes",  "wall_ms",      "grace_ms",
                                          "log_bytes_max",  "id_base"};
    char dir[AGT_PATH_MAX], path[AGT_PATH_MAX + 16];
    struct syn_err err = {0};
    SYN_JSON(plan);

    assert_done(syn_json_pack(&plan, &err, "{s:i, s:b, s:b, s:s}", "version", 1, "gvisor", 0,
                              "devices", 0, "runtime", runtime),
                &err);
    for (size_t i = 0; i < SYN_LEN(texts); i++)
        assert_done(syn_json_set_str(plan, texts[i], "", &err), &err);
    for (size_t i = 0; i < SYN_LEN(numbers); i++)
        assert_done(syn_json_set_i64(plan, numbers[i], 0, &err), &err);
    assert_done(syn_json_set_str(plan, "platform", platform, &err), &err);
    (void)mkdir(agt_run_path(&bench->instance, dir), 0700);
    (void)snprintf(path, sizeof(path), "%s/plan.json", dir);
    assert_int_equal(json_dump_file(plan, path, 0), 0);
}

static void
of_folder(struct bench *bench, const char *driver)
{
    SYN_JSON(doc);

    doc = json_pack("{s:{s:s}}", "spec", "isolation", "runc");
    bench->instance.made_by = NULL;
    agt_runtime_of_folder(&bench->instance, doc);
    assert_non_null(bench->instance.made_by);
    assert_string_equal(bench->instance.made_by->driver, driver);
}

static void
what_runs_stays_with_who_made_it(void **state)
{
    char dir[AGT_PATH_MAX];
    struct bench bench;

    (void)state;
    open_bench(&bench);
    assert_string_equal(syn_runtime_driver_of(agt_run_path(&bench.instance, dir)), "");
    of_folder(&bench, "container"); /* nobody did yet */
    write_plan(&bench, "", "");
    assert_string_equal(syn_runtime_driver_of(dir), "native");
    of_folder(&bench, "native");
    write_plan(&bench, "unix:/run/x.sock", "");
    assert_string_equal(syn_runtime_driver_of(dir), "container");
    of_folder(&bench, "container");
    /* The node was told `--runtime native` since: containerd is open for this alone. */
    bench.agent.works[0] = false;
    of_folder(&bench, "container");
    /* Neither does what the document asks for work any more. */
    bench.agent.works[1] = bench.agent.works[2] = false;
    of_folder(&bench, "container");
    write_plan(&bench, "", "");
    of_folder(&bench, "native");
    write_plan(&bench, "", "zygote");
    assert_string_equal(syn_runtime_driver_of(dir), "zygote");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_class_goes_to_the_first_driver_that_has_it),
        cmocka_unit_test(who_does_not_ask_gets_no_fork),
        cmocka_unit_test(each_class_is_told_once_with_its_driver),
        cmocka_unit_test(what_runs_stays_with_who_made_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
