/* How long the stages of a start took, and that it is told once. */
#include "agent_testing.h"

#include <synor/base/str.h>

static int64_t now_ms;

static int64_t
wall_ms(void *self)
{
    (void)self;
    return now_ms;
}

static int64_t
mono_ns(void *self)
{
    (void)self;
    return now_ms * 1000000;
}

static const struct syn_world_ops clock_ops = {
    .version = SYN_WORLD_VERSION, .wall_ms = wall_ms, .mono_ns = mono_ns};
static const struct syn_world test_world = {&clock_ops, NULL};

static struct syn_agent agent;
static struct agt_instance instance;

static void
begin(const char *start, int64_t created_before_ms)
{
    char at[SYN_FORMAT_MAX];
    struct syn_err err = {0};
    SYN_JSON(doc);

    now_ms = INT64_C(1795463937123);
    agent = (struct syn_agent){.world = &test_world};
    instance = (struct agt_instance){.agent = &agent, .id = "inst-1"};
    assert_done(syn_json_pack(&doc, &err, "{s:s, s:{}}", "created_at",
                              syn_format_time(now_ms - created_before_ms, at), "spec"),
                &err);
    if (start != NULL)
        assert_done(syn_json_set_str(json_object_get(doc, "spec"), "start", start, &err), &err);
    agt_start_begin(&instance, doc);
}

static void
assert_told(const char *want)
{
    struct syn_err err = {0};
    SYN_JSON(body);
    SYN_JSON(wanted);

    body = json_object();
    wanted = json_loads(want, 0, NULL);
    assert_non_null(wanted);
    assert_done(agt_start_report(&instance, body, &err), &err);
    if (!json_equal(body, wanted)) {
        char *text = json_dumps(body, 0);

        fail_msg("told %s, not %s", text, want);
    }
}

static void
test_stages(void **state)
{
    (void)state;
    begin("cold", 7);
    now_ms += 20;
    agt_start_lap(&instance, AGT_STAGE_FETCH);
    now_ms += 300;
    agt_start_lap(&instance, AGT_STAGE_CREATE);
    now_ms += 4000;
    assert_told("{\"start\": {\"way\": \"cold\", \"note\": \"\", \"stages_us\": {\"schedule\": "
                "7000, \"fetch\": 20000, \"create\": 300000, \"initialise\": 4000000}}}");
    now_ms += 50000; /* it could not be told: it was ready then all the same */
    assert_told("{\"start\": {\"way\": \"cold\", \"note\": \"\", \"stages_us\": {\"schedule\": "
                "7000, \"fetch\": 20000, \"create\": 300000, \"initialise\": 4000000}}}");
    agt_start_told(&instance);
    assert_told("{}");
}

static void
test_other_ways(void **state)
{
    (void)state;
    begin("snapshot", -5000); /* a clock that is late */
    agt_start_way(&instance, AGT_WAY_SNAPSHOT);
    agt_start_note(&instance, "said");
    agt_start_stage(&instance, AGT_STAGE_RESTORE, 85000);
    agt_start_stage(&instance, AGT_STAGE_INITIALISE, 12);
    assert_told("{\"start\": {\"way\": \"snapshot\", \"note\": \"said\", \"stages_us\": "
                "{\"schedule\": 0, \"restore\": 85000, \"initialise\": 12}}}");
    begin(NULL, 0); /* no function's */
    assert_told("{}");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_stages),
                                              cmocka_unit_test(test_other_ways)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
