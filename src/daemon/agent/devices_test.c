#include "agent_testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>

#define LONG_MS 60000

static struct bench *bench;

static int
set_up(void **state)
{
    (void)state;
    bench = bench_open();
    bench->agent.infos[1].sandbox = "runc";
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    agt_devices_close(&bench->agent);
    bench_close(bench);
    return 0;
}

/* The ids of a list: "cpu0 cuda0 ". */
static const char *
ids_of(const json_t *list)
{
    static char text[512];
    size_t i, len = 0;
    json_t *device;

    text[0] = '\0';
    json_array_foreach (list, i, device)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ",
                                syn_json_str(device, "id", "?"));
    return text;
}

#define CPU "{\"id\": \"cpu0\", \"driver\": \"cpu\", \"kind\": \"cpu\", \"share\": \"whole\"}"
#define CUDA \
    "{\"id\": \"cuda0\", \"driver\": \"cuda\", \"uuid\": \"u1\", \"pci\": \"0000:3b:00.0\"}"
#define SLICE(n)                                                                          \
    "{\"id\": \"cuda" n "\", \"driver\": \"cuda\", \"uuid\": \"m" n "\", \"pci\": \"p\"," \
    "\"share\": \"slice\"}"

static void
capacity_is_picked_once(void **state)
{
    static const struct {
        const char *devices, *want;
    } rows[] = {
        {"", ""},
        {CPU, "cpu0 "},
        {CPU "," CUDA, "cpu0 cuda0 "},
        {CPU ", {\"id\": \"h100\", \"driver\": \"modelled\", \"modelled\": true}", "cpu0 "},
        {CPU ", {\"id\": \"opencl0\", \"driver\": \"opencl\", \"share\": \"host\"}", "cpu0 "},
        /* One card, two drivers. */
        {CUDA ", {\"id\": \"opencl0\", \"driver\": \"opencl\", \"pci\": \"0000:3b:00.0\"}",
         "cuda0 "},
        {CUDA ", {\"id\": \"opencl0\", \"driver\": \"opencl\", \"uuid\": \"u1\"}", "cuda0 "},
        {CUDA ", {\"id\": \"opencl0\", \"driver\": \"opencl\", \"pci\": \"0000:4b:00.0\"}",
         "cuda0 opencl0 "},
        {SLICE("0") "," SLICE(
             "1") ", {\"id\": \"opencl0\", \"driver\": \"opencl\", \"pci\": \"p\"}",
         "cuda0 cuda1 "},
        /* Two without a place on the bus are two. */
        {"{\"id\": \"a\", \"driver\": \"x\"}, {\"id\": \"b\", \"driver\": \"y\"}", "a b "},
        {CPU "," CPU ", {}, 7, null, \"x\", {\"id\": 3}", "cpu0 "},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_BUF(text);
        SYN_JSON(answer);
        SYN_JSON(list);
        struct syn_err err = {0};

        syn_buf_addf(&text, "{\"items\": [%s], \"drivers\": []}", rows[i].devices);
        answer = json_loads(syn_buf_text(&text), 0, NULL);
        assert_non_null(answer);
        assert_done(agt_devices_pick(answer, &list, &err), &err);
        assert_string_equal(ids_of(list), rows[i].want);
    }
}

static void
only_what_matters_is_told(void **state)
{
    SYN_JSON(answer);
    SYN_JSON(list);
    SYN_BUF(text);
    struct syn_err err = {0};

    (void)state;
    answer = json_loads("{\"items\": [{\"id\": \"cuda0\", \"driver\": \"cuda\", \"kind\": \"gpu\","
                        "\"modelled\": false, \"memory_bytes\": 80, \"numa_node\": 1, "
                        "\"features\": \"long\", \"numbers\": [\"fp8\"], \"model\": [\"odd\"]}]}",
                        0, NULL);
    assert_done(agt_devices_pick(answer, &list, &err), &err);
    assert_done(syn_json_write(list, &text, &err), &err);
    assert_string_equal(
        syn_buf_text(&text),
        "[{\"driver\":\"cuda\",\"id\":\"cuda0\",\"kind\":\"gpu\",\"memory_bytes\":80,"
        "\"numa_node\":1}]");
}

static void
lists_are_limited(void **state)
{
    SYN_JSON(answer);
    SYN_JSON(list);
    json_t *devices = json_array();
    struct syn_err err = {0};

    (void)state;
    for (int i = 0; i < 2 * AGT_DEVICES_MAX; i++)
        assert_int_equal(
            json_array_append_new(devices, json_pack("{s:o}", "id", json_sprintf("d%d", i))), 0);
    answer = json_pack("{s:o}", "items", devices);
    assert_done(agt_devices_pick(answer, &list, &err), &err);
    assert_int_equal(json_array_size(list), AGT_DEVICES_MAX);
}

/* Whatever the process does, the agent goes on, without a list. */
static void
bad_answers_are_errors(void **state)
{
    static const struct {
        const char *script;
        int code;
        int64_t limit_ms;
    } rows[] = {
        {"echo '{\"items\": [" CPU "]}'", SYN_OK, LONG_MS},
        {"echo '{\"items\": [" CPU "]}'; exit 1", SYN_E_INTERNAL, LONG_MS},
        {"kill -SEGV $$", SYN_E_INTERNAL, LONG_MS},
        {"exec sleep 600", SYN_E_TIMEOUT, 100},
        {"exec cat /dev/zero", SYN_E_TOOBIG, LONG_MS},
        {"echo nonsense", SYN_E_INVALID, LONG_MS},
        {"echo '[]'", SYN_E_INVALID, LONG_MS},
        {"echo '{}'", SYN_E_CORRUPT, LONG_MS},
        {"", SYN_E_CORRUPT, LONG_MS},
    };
    const char *const missing[] = {"/no/such/program", NULL};
    struct syn_err err = {0};
    json_t *list = NULL;

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        const char *const argv[] = {"/bin/sh", "-c", rows[i].script, NULL};

        bench->agent.devices_argv = argv;
        bench->agent.pace.devices_ms = rows[i].limit_ms;
        print_message("# %s\n", rows[i].script);
        assert_code(agt_devices_ask(&bench->agent, &list, &err), rows[i].code, &err);
        if (rows[i].code < 0)
            assert_true(syn_str_starts(err.msg, "devices: "));
        assert_int_equal(list != NULL, rows[i].code == SYN_OK);
        json_decref(list);
        list = NULL;
    }
    bench->agent.devices_argv = missing;
    assert_code(agt_devices_ask(&bench->agent, &list, &err), SYN_E_NOTFOUND, &err);
}

/* The inventory goes out without it, then with it. */
static void
inventory_does_not_wait_for_it(void **state)
{
    static const char script[] =
        "until [ -e \"$0\" ]; do sleep 0.02; done; echo '{\"items\": [" CPU "]}'";
    const char *const argv[] = {"/bin/sh", "-c", script, bench_path(bench, "go"), NULL};
    struct syn_err err = {0};
    bool told = false;

    (void)state;
    bench->agent.devices_argv = argv;
    agt_devices_open(&bench->agent);
    for (int i = 0; i < 6000 && !told; i++) {
        SYN_JSON(inventory);

        assert_done(agt_inventory(&bench->agent, &inventory, &err), &err);
        told = json_object_get(inventory, "devices") != NULL;
        if (told)
            assert_string_equal(ids_of(json_object_get(inventory, "devices")), "cpu0 ");
        if (i == 0) {
            assert_false(told);
            bench_put(bench, "go", "", 0);
        }
        (void)usleep(10000);
    }
    assert_true(told);
}

static int
pick_scenario(void *arg, struct syn_err *err)
{
    SYN_JSON(list);

    return agt_devices_pick(arg, &list, err);
}

static int
inventory_scenario(void *arg, struct syn_err *err)
{
    SYN_JSON(inventory);

    return agt_inventory(arg, &inventory, err);
}

static void
picking_survives_short_memory(void **state)
{
    SYN_JSON(answer);
    struct syn_err err = {0};

    (void)state;
    answer = json_loads("{\"items\": [" CPU "," CUDA "]}", 0, NULL);
    assert_true(syn_test_sweep_alloc(pick_scenario, answer) >= 5);
    assert_done(agt_devices_pick(answer, &bench->agent.devices, &err), &err);
    assert_true(syn_test_sweep_alloc(inventory_scenario, &bench->agent) >= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(capacity_is_picked_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_matters_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_are_limited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_answers_are_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(inventory_does_not_wait_for_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(picking_survives_short_memory, set_up, tear_down),
    };

    syn_log_setup(STDERR_FILENO, SYN_LOG_ERROR, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
