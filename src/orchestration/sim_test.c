#include <math.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/orchestration/sim.h>

#define NODE_HEAD "sn,cpu_milli,memory_mib,gpu,model\n"
#define POD_HEAD                                                                        \
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time," \
    "scheduled_time\n"
#define ONE_NODE  NODE_HEAD "n1,4000,8192,1,A10\n"
#define TWO_NODES NODE_HEAD "n1,64000,65536,2,A10\nn2,64000,65536,2,T4\n"

static const struct syn_sim_options by_times = {
    .policy = SYN_FLEET_BINPACK,
    .seed = 3,
    .price_core = 2000000,
    .price_gib = 1000,
    .price_card = INT64_C(2500000000),
};

/* Nodes, workload and run; NULL text: so many made up. */
static int
run_sim(struct syn_sim *sim, const char *nodes, const char *pods, uint64_t count,
        struct syn_err *err)
{
    int rc = nodes != NULL ? syn_sim_read_nodes(sim, "nodes", nodes, strlen(nodes), err)
                           : syn_sim_make_nodes(sim, count, err);

    if (rc == SYN_OK && pods != NULL)
        rc = syn_sim_read_workload(sim, "pods", pods, strlen(pods), err);
    else if (rc == SYN_OK)
        rc = syn_sim_make_workload(sim, count * 20, err);
    return rc < 0 ? rc : syn_sim_run(sim, err);
}

static int
simulate(const struct syn_sim_options *options, const char *nodes, const char *pods, uint64_t count,
         json_t **ret, struct syn_err *err)
{
    SYN_SCOPED(syn_sim_free_scope) struct syn_sim *sim = NULL;
    int rc = syn_sim_new(options, &sim, err);

    rc = rc < 0 ? rc : run_sim(sim, nodes, pods, count, err);
    if (rc < 0)
        return rc;
    syn_sim_check(sim);
    return syn_sim_report(sim, ret, err);
}

static json_t *
must(const struct syn_sim_options *options, const char *nodes, const char *pods, uint64_t count)
{
    json_t *report = NULL;
    struct syn_err err;

    assert_done(simulate(options, nodes, pods, count, &report, &err), &err);
    return report;
}

static double
figure(const json_t *report, const char *dotted)
{
    const json_t *value = syn_json_at(report, dotted);

    if (!json_is_number(value))
        fail_msg("no number %s", dotted);
    return json_number_value(value);
}

static void
assert_figure(const json_t *report, const char *dotted, double want)
{
    double have = figure(report, dotted);

    if (fabs(have - want) > 1e-9 * fmax(1, fabs(want)))
        fail_msg("%s: %.12g, want %.12g", dotted, have, want);
}

/* --- by times -------------------------------------------------------------------------------- */

/* Two runs of 100 s that want the one card; the second comes 10 s after the first. */
static void
test_waits_power_and_cost(void **state)
{
    json_t *report = must(&by_times, ONE_NODE,
                          POD_HEAD "a,1000,1024,1,1000,,0,100,0\n"
                                   "b,1000,1024,1,1000,A10|T4,10,300,200\n",
                          0);

    (void)state;
    assert_figure(report, "placed", 2);
    assert_figure(report, "finished", 2);
    assert_figure(report, "waiting", 0);
    assert_figure(report, "wait_ms.mean", 45000);
    assert_figure(report, "wait_ms.p50", 0);
    assert_figure(report, "wait_ms.p99", 90000);
    assert_figure(report, "duration_ms", 200000);
    assert_figure(report, "allocation.mean_percent", 100);
    assert_figure(report, "allocation.end_percent", 0);
    assert_figure(report, "allocation.asked_percent", 200);
    assert_figure(report, "energy.joules", (120 + 150) * 200);
    assert_figure(report, "cost_synor.total", (2000000.0 + 1000 + 1e9) / 1e9 * 200 / 3600);
    assert_true(json_is_null(syn_json_at(report, "decisions.per_second")));
    json_decref(report);
}

/* A share draws its part between context and busy; a node that runs nothing draws nothing. */
static void
test_power_of_shares(void **state)
{
    json_t *report = must(&by_times, TWO_NODES, POD_HEAD "a,1000,1024,1,460,A10,0,50,\n", 0);

    (void)state;
    assert_figure(report, "energy.joules", round((120 + 16 + 55 + 95 * 0.46) * 50));
    json_decref(report);
}

static void
test_order_and_ends(void **state)
{
    /* Not in order of time; one never ends, one never fits. */
    json_t *report = must(&by_times, TWO_NODES,
                          POD_HEAD "late,1000,1024,2,1000,T4,500,600,\n"
                                   "ever,1000,1024,1,1000,A10,100,,\n"
                                   "vast,1000,1024,4,1000,A10|T4,0,10,\n",
                          0);
    const json_t *waits = json_array_get(json_object_get(report, "waiting_for"), 0);

    (void)state;
    assert_figure(report, "placed", 2);
    assert_figure(report, "finished", 1);
    assert_figure(report, "waiting", 1);
    assert_figure(report, "allocation.end_percent", 25);
    assert_figure(report, "duration_ms", 600000);
    assert_figure(report, "energy.mean_watts", round(figure(report, "energy.joules") / 600));
    assert_int_equal(json_array_size(json_object_get(report, "waiting_for")), 1);
    assert_figure(waits, "pods", 1);
    assert_figure(waits, "num_gpu", 4);
    assert_figure(waits, "gpu_milli", 1000);
    assert_string_equal(syn_json_str(waits, "gpu_spec", ""), "A10|T4");
    assert_non_null(strstr(syn_json_str(waits, "why", ""), "2 nodes"));
    json_decref(report);
}

/* --- arrivals -------------------------------------------------------------------------------- */

static void
test_arrivals(void **state)
{
    struct syn_sim_options options = by_times;
    json_t *report;

    (void)state;
    options.arrivals_percent = 150; /* six of them are asked for, of four */
    report =
        must(&options, TWO_NODES, "cpu_milli,memory_mib,num_gpu,gpu_milli\n1000,1024,1,1000\n", 0);
    assert_figure(report, "arrived", 6);
    assert_figure(report, "placed", 4);
    assert_figure(report, "refused", 2);
    assert_figure(report, "allocation.end_percent", 100);
    assert_figure(report, "energy.end_watts", 2 * 120 + 2 * 150 + 2 * 70);
    assert_true(json_is_null(syn_json_at(report, "energy.joules")));
    assert_true(json_is_null(syn_json_at(report, "wait_ms")));
    assert_int_equal(json_array_size(syn_json_at(report, "curve")), 6);
    json_decref(report);
}

static void
test_fragmentation(void **state)
{
    struct syn_sim_options options = by_times;
    json_t *report;

    (void)state;
    /* Seven tenths of one card are taken; who wants as much cannot use the rest of it. */
    options.arrivals_percent = 100;
    report = must(&options, ONE_NODE, "cpu_milli,memory_mib,num_gpu,gpu_milli\n1000,8,1,700\n", 0);
    assert_figure(report, "allocation.end_percent", 70);
    assert_figure(report, "fragmentation.end_percent", 100);
    json_decref(report);
    report = must(&options, ONE_NODE, "cpu_milli,memory_mib,num_gpu,gpu_milli\n1000,8,1,400\n", 0);
    assert_figure(report, "allocation.end_percent", 80);
    assert_figure(report, "fragmentation.end_percent", 100);
    json_decref(report);
    options.arrivals_percent = 40;
    report = must(&options, ONE_NODE, "cpu_milli,memory_mib,num_gpu,gpu_milli\n1000,8,1,400\n", 0);
    assert_figure(report, "fragmentation.end_percent", 0);
    json_decref(report);
}

/* --- failures and spot ----------------------------------------------------------------------- */

static void
test_failures(void **state)
{
    struct syn_sim_options options = by_times;
    json_t *report;

    (void)state;
    options.mtbf_ms = INT64_C(20) * 3600000;
    report = must(&options, NULL, NULL, 40);
    assert_true(figure(report, "failures.nodes") > 0);
    assert_true(figure(report, "failures.restarts") > 0);
    assert_true(figure(report, "failures.lost_card_hours") > 0);
    assert_figure(report, "finished", 800);
    json_decref(report);
}

static void
test_spot(void **state)
{
    struct syn_sim_options options = by_times;
    json_t *report, *one;
    size_t i;

    (void)state;
    options.spot = true;
    report = must(&options, NULL, NULL, 60);
    assert_figure(report, "finished", 1200);
    assert_true(figure(report, "spot.hours_bought") > 1200.0 / 2);
    assert_true(figure(report, "spot.interrupted") > 0);
    assert_true(figure(report, "cost_synor.spot") > 0);
    json_array_foreach (syn_json_at(report, "spot.prices_card_hour"), i, one) {
        assert_true(figure(one, "lowest") <= figure(one, "end"));
        assert_true(figure(one, "end") <= figure(one, "highest"));
        assert_true(figure(one, "highest") <= 2 * figure(one, "list") + 1e-9);
    }
    assert_int_not_equal(i, 0);
    json_decref(report);
}

/* Two runs on two cards. When both are asked for, the price is more than the first one bids: it is
 * told so, goes on for two minutes at the price it had, and resumes when the other has ended. */
static void
test_notice(void **state)
{
    struct syn_sim_options options = by_times;
    json_t *report;

    (void)state;
    options.spot = true;
    options.notice_ms = 120000;
    options.seed = 22; /* bids 1.05 and 1.39 of the list price */
    report = must(&options, NODE_HEAD "n1,4000,8192,2,A10\n",
                  POD_HEAD "a,1000,1024,1,1000,,0,7200,\nb,1000,1024,1,1000,,0,5400,\n", 0);
    assert_figure(report, "finished", 2);
    assert_figure(report, "duration_ms", 2 * 3600000 + 3600000 - 120000);
    assert_figure(report, "spot.notices", 1);
    assert_figure(report, "spot.interrupted", 1);
    assert_figure(report, "spot.resumed", 1);
    assert_figure(report, "spot.interruption_ms", 3600000 - 120000);
    assert_figure(report, "spot.hours_bought", 4);
    assert_figure(report, "cost_synor.spot", 0.25 + 0.25 * 120 / 3600 + 0.5 + 0.25 + 1.25);
    json_decref(report);
    options.notice_ms = 0;
    report = must(&options, NODE_HEAD "n1,4000,8192,2,A10\n",
                  POD_HEAD "a,1000,1024,1,1000,,0,7200,\nb,1000,1024,1,1000,,0,5400,\n", 0);
    assert_figure(report, "spot.notices", 0);
    assert_figure(report, "spot.interruption_ms", 3600000);
    assert_figure(report, "duration_ms", 3 * 3600000);
    json_decref(report);
}

/* Progress goes up, to what was announced. */
static void
on_progress(void *arg, int64_t done, int64_t total)
{
    int64_t *last = arg;

    assert_true(done >= *last && done <= total);
    *last = done;
}

static void
test_progress(void **state)
{
    struct syn_sim_options options = by_times;
    int64_t last = 0;

    (void)state;
    options.progress = on_progress;
    options.progress_arg = &last;
    json_decref(must(&options, NULL, NULL, 40));
    assert_true(last > 1000);
}

/* Whatever comes together: all that can run does, the counts agree (simulate() checks them), and
 * the same seed gives the same bytes. */
static void
test_any_seed(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 14; seed++) {
        struct syn_sim_options options = by_times;
        SYN_BUF(once);
        SYN_BUF(again);
        struct syn_err err;
        json_t *report;

        options.seed = seed;
        options.policy = (enum syn_fleet_policy)(seed % SYN_FLEET_POLICIES);
        options.mtbf_ms = seed % 2 == 0 ? 0 : INT64_C(50) * 3600000;
        options.spot = seed % 3 == 0;
        options.notice_ms = (int64_t)seed * 60000;
        options.learn = seed % 4 == 0;
        report = must(&options, NULL, NULL, 12);
        assert_figure(report, "finished", 240 - figure(report, "waiting"));
        assert_true(figure(report, "wait_ms.p50") <= figure(report, "wait_ms.p99"));
        assert_true(figure(report, "allocation.peak_percent") <= 100);
        assert_done(syn_json_write(report, &once, &err), &err);
        json_decref(report);
        report = must(&options, NULL, NULL, 12);
        assert_done(syn_json_write(report, &again, &err), &err);
        json_decref(report);
        assert_string_equal(syn_buf_text(&once), syn_buf_text(&again));
    }
}

/* Policies do what they are for: less power, less money, than going wherever there is most room. */
static void
test_policies(void **state)
{
    struct syn_sim_options options = by_times;
    double joules[2], paid[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        json_t *report;

        options.policy = i == 0 ? SYN_FLEET_SPREAD : SYN_FLEET_ENERGY;
        report = must(&options, NULL, NULL, 40);
        joules[i] = figure(report, "energy.joules");
        json_decref(report);
        options.policy = i == 0 ? SYN_FLEET_SPREAD : SYN_FLEET_PRICE;
        options.spot = true;
        report = must(&options, NULL, NULL, 40);
        paid[i] = figure(report, "cost_synor.total") / figure(report, "finished");
        json_decref(report);
        options.spot = false;
    }
    print_message("# joules %g, %g; paid a run %g, %g\n", joules[0], joules[1], paid[0], paid[1]);
    assert_true(joules[1] < joules[0] * 0.95);
    assert_true(paid[1] < paid[0] * 0.95);
}

/* --- refusals -------------------------------------------------------------------------------- */

static void
test_bad_text(void **state)
{
    static const struct {
        const char *nodes, *pods, *said;
    } rows[] = {
        {"", POD_HEAD, "nodes: empty"},
        {"a;b\n", POD_HEAD, "nodes:1: sn: no such column"},
        {NODE_HEAD, POD_HEAD, "nodes: no node in it"},
        {"sn,sn,cpu_milli\n", POD_HEAD, "nodes:1: sn: twice"},
        {NODE_HEAD "n1,-4,1,0,\n", POD_HEAD, "nodes:2: cpu_milli: below 0: '-4'"},
        {NODE_HEAD "n1,4,1e3,0,\n", POD_HEAD, "nodes:2: memory_mib: no whole number: '1e3'"},
        {NODE_HEAD "n1,4,1,17,T4\n", POD_HEAD, "nodes:2: gpu: too large: '17'"},
        {NODE_HEAD "n1,99999999999999999999,1,0,\n", POD_HEAD, "nodes:2: cpu_milli: too large"},
        {NODE_HEAD "n1,4,1,1,\n", POD_HEAD, "nodes:2: model: empty beside cards"},
        {NODE_HEAD ",4,1,0,\n", POD_HEAD, "nodes:2: sn: empty"},
        {NODE_HEAD "n1,4,1,0,\n\r\nn1,4,1,0,\n", POD_HEAD, "nodes:4: sn: node 'n1' is there"},
        {NODE_HEAD "n1,4,1\n", POD_HEAD, "nodes:2: fewer than the 5 fields"},
        {NODE_HEAD "n1,4,1,0,,\n", POD_HEAD, "nodes:2: more than the 5 fields"},
        {NODE_HEAD "n\xd7,4,1,0,\n", POD_HEAD, "nodes:2: sn: not UTF-8"},
        {NODE_HEAD "\"n1,4,1,0,\n", POD_HEAD, "nodes:2: a quote that nothing closes"},
        {NODE_HEAD "\"n1\"1,4,1,0,\n", POD_HEAD, "nodes:2: text behind a quoted field"},
        {NODE_HEAD "n\0011,4,1,0,\n", POD_HEAD, "nodes:2: control character 1"},
        {ONE_NODE, "cpu_milli,memory_mib,num_gpu,gpu_milli\n1,1,0,0\n",
         "pods:1: creation_time: no such column"},
        {ONE_NODE, POD_HEAD, "pods: no pod in it"},
        {ONE_NODE, POD_HEAD "a,1,1,1,0,,0,1,\n", "pods:2: gpu_milli: nothing of a GPU: '0'"},
        {ONE_NODE, POD_HEAD "a,1,1,1,1001,,0,1,\n", "pods:2: gpu_milli: too large: '1001'"},
        {ONE_NODE, POD_HEAD "a,1,1,2,500,,0,1,\n", "pods:2: gpu_milli: a share of several"},
        {ONE_NODE, POD_HEAD "a,1,1,1,9,X9,0,1,\n", "pods:2: gpu_spec: unknown model 'X9'"},
        {ONE_NODE, POD_HEAD "a,1,1,1,9,T4|,0,1,\n", "pods:2: gpu_spec: an empty name in: 'T4|'"},
        {ONE_NODE, POD_HEAD "a,1,1,0,0,,,1,\n", "pods:2: creation_time: empty"},
        {ONE_NODE, POD_HEAD "a,1,1,0,0,,5,4,\n", "pods:2: deletion_time: before creation_time"},
        {ONE_NODE, POD_HEAD "a,1,1,0,0,,5,9,4\n", "pods:2: scheduled_time: not between"},
        {ONE_NODE, POD_HEAD "a,1,1,0,0,,99999999999,,\n", "pods:2: creation_time: too large"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        json_t *report = NULL;
        struct syn_err err;

        assert_code(simulate(&by_times, rows[i].nodes, rows[i].pods, 0, &report, &err),
                    SYN_E_INVALID, &err);
        if (!syn_str_starts(err.msg, rows[i].said))
            fail_msg("row %zu: \"%s\", want \"%s\"", i, err.msg, rows[i].said);
        assert_null(report);
    }
}

/* As other programs write it. */
static void
test_text(void **state)
{
    json_t *report = must(&by_times,
                          "\xef\xbb\xbf\"sn\",\"model\",gpu,cpu_milli,memory_mib,\"a, b\"\r\n"
                          "\"the \"\"first\"\", of two\",\"A10\",\"1\",4000,8192,\"\"\r\n"
                          "\r\nn2,,0,4000,8192,",
                          POD_HEAD "a,1000,1024,\"1\",1000,\"A10|T4\",0,100,\"\"", 0);

    (void)state;
    assert_figure(report, "nodes", 2);
    assert_figure(report, "cards", 1);
    assert_figure(report, "finished", 1);
    json_decref(report);
}

/* However long the name, line and field are told. */
static void
test_long_name(void **state)
{
    static const char text[] = NODE_HEAD "n1,x,1,0,\n";
    struct syn_sim *sim = NULL;
    struct syn_err err;
    char name[400];

    (void)state;
    memset(name, 'd', sizeof(name));
    memcpy(name + sizeof(name) - sizeof("/n.csv"), "/n.csv", sizeof("/n.csv"));
    assert_done(syn_sim_new(&by_times, &sim, &err), &err);
    assert_code(syn_sim_read_nodes(sim, name, text, strlen(text), &err), SYN_E_INVALID, &err);
    assert_non_null(strstr(err.msg, "/n.csv:2: cpu_milli: no whole number: 'x'"));
    syn_sim_free(sim);
}

static void
test_bad_options(void **state)
{
    struct syn_sim_options options = by_times;
    struct syn_sim *sim = NULL;
    json_t *report = NULL;
    struct syn_err err;

    (void)state;
    options.arrivals_percent = SYN_SIM_ARRIVALS_MAX + 1;
    assert_code(syn_sim_new(&options, &sim, &err), SYN_E_INVALID, &err);
    options.arrivals_percent = 100;
    options.spot = true;
    assert_code(syn_sim_new(&options, &sim, &err), SYN_E_INVALID, &err);
    options.spot = false;
    options.mtbf_ms = 1;
    assert_code(syn_sim_new(&options, &sim, &err), SYN_E_INVALID, &err);
    options.arrivals_percent = 0;
    options.mtbf_ms = -1;
    assert_code(syn_sim_new(&options, &sim, &err), SYN_E_INVALID, &err);
    options.mtbf_ms = 0;
    options.notice_ms = SYN_SIM_NOTICE_MAX + 1;
    assert_code(syn_sim_new(&options, &sim, &err), SYN_E_INVALID, &err);
    assert_null(sim);
    assert_code(simulate(&by_times, NULL, NULL, 0, &report, &err), SYN_E_INVALID, &err);
    assert_code(simulate(&by_times, NULL, NULL, SYN_SIM_NODES_MAX + 1, &report, &err),
                SYN_E_INVALID, &err);
    options = by_times;
    options.arrivals_percent = 100; /* nobody asks for a card, so the mark is never reached */
    assert_code(simulate(&options, ONE_NODE, POD_HEAD "a,1,1,0,0,,0,1,\n", 0, &report, &err),
                SYN_E_INVALID, &err);
    assert_null(report);
}

/* --- picture, memory ------------------------------------------------------------------------- */

static void
test_plot(void **state)
{
    struct syn_sim_options options = by_times;
    struct syn_sim *sim = NULL;
    struct syn_err err;
    SYN_BUF(plot);

    (void)state;
    options.arrivals_percent = 130;
    assert_done(syn_sim_new(&options, &sim, &err), &err);
    assert_done(syn_sim_make_nodes(sim, 20, &err), &err);
    assert_done(syn_sim_make_workload(sim, 100, &err), &err);
    assert_done(syn_sim_run(sim, &err), &err);
    assert_done(syn_sim_plot(sim, &plot, &err), &err);
    syn_sim_free(sim);
    assert_true(syn_str_starts(syn_buf_text(&plot), "<svg "));
    assert_true(syn_str_ends(syn_buf_text(&plot), "</svg>\n"));
    assert_non_null(strstr(syn_buf_text(&plot), "class=\"line\" d=\"M64.0 384.0L"));
    assert_null(strstr(syn_buf_text(&plot), "nan"));
    assert_true(plot.len < 16384);
}

static int
scenario(void *arg, struct syn_err *err)
{
    static const char pods[] =
        POD_HEAD "a,1000,1024,1,1000,,0,7200,\nb,1000,1024,1,500,T4,10,20000,\n"
                 "vast,1000,99999,0,0,,0,60,\n";
    SYN_SCOPED(syn_sim_free_scope) struct syn_sim *sim = NULL;
    SYN_BUF(plot);
    SYN_JSON(report);
    int rc = syn_sim_new(arg, &sim, err);

    rc = rc < 0 ? rc : run_sim(sim, TWO_NODES, pods, 0, err);
    rc = rc < 0 ? rc : syn_sim_plot(sim, &plot, err);
    return rc < 0 ? rc : syn_sim_report(sim, &report, err);
}

static void
test_memory(void **state)
{
    struct syn_sim_options options = by_times;

    (void)state;
    options.spot = true;
    options.notice_ms = 60000;
    options.mtbf_ms = INT64_C(10) * 3600000;
    assert_true(syn_test_sweep_alloc(scenario, &options) > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_power_and_cost),
        cmocka_unit_test(test_power_of_shares),
        cmocka_unit_test(test_order_and_ends),
        cmocka_unit_test(test_arrivals),
        cmocka_unit_test(test_fragmentation),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_spot),
        cmocka_unit_test(test_notice),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_any_seed),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_plot),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
