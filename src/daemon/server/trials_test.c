/* What counts of a canary's trial: what came since its stage began, on the right side. */
#include "trials_priv.h"

#include <synor/base/str.h>
#include <synor/base/test.h>

static json_t *
service(const char *stage, const char *since)
{
    json_t *doc =
        json_pack("{s:s, s:{s:{s:s, s:s, s:s, s:i, s:i}, s:[{s:s, s:i}, {s:s, s:i}, {s:s, s:i}]}}",
                  "id", "svc-a", "status", "rollout", "strategy", "canary", "stage", stage, "since",
                  since, "version", 2, "from", 1, "endpoints", "instance", "old", "version", 1,
                  "instance", "new", "version", 2, "instance", "older", "version", 0);

    assert_non_null(doc);
    return doc;
}

/* Tell the counts of both and of one that is neither. */
static bool
tell(struct srv_trials *trials, const char *stage, const char *since, const uint64_t counts[4],
     struct syn_service_answers ret[SYN_SERVICE_SIDES])
{
    struct syn_balancer_server_counts servers[3] = {
        {"old", counts[0], counts[1]}, {"new", counts[2], counts[3]}, {"older", 1000, 1000}};
    SYN_JSON(doc);

    doc = service(stage, since);
    return srv_trials_take(trials, doc, servers, SYN_LEN(servers), ret);
}

static void
test_sums_begin_with_the_stage(void **state)
{
    struct syn_service_answers sums[SYN_SERVICE_SIDES];
    struct srv_trials *trials = NULL;
    struct syn_err err;

    (void)state;
    assert_done(srv_trials_new(&trials, &err), &err);
    assert_false(tell(trials, "starting", "s1", (uint64_t[]){9, 0, 0, 0}, sums));
    assert_true(tell(trials, "testing", "s1", (uint64_t[]){900, 90, 5, 5}, sums));
    assert_int_equal(sums[SYN_SERVICE_OLD].answers + sums[SYN_SERVICE_NEW].answers, 0);
    assert_true(tell(trials, "testing", "s1", (uint64_t[]){990, 91, 15, 8}, sums));
    assert_int_equal(sums[SYN_SERVICE_OLD].answers, 90);
    assert_int_equal(sums[SYN_SERVICE_OLD].errors, 1);
    assert_int_equal(sums[SYN_SERVICE_NEW].answers, 10);
    assert_int_equal(sums[SYN_SERVICE_NEW].errors, 3);
    /* HAProxy was reloaded: it counts from nothing. */
    assert_true(tell(trials, "testing", "s1", (uint64_t[]){10, 1, 2, 0}, sums));
    assert_int_equal(sums[SYN_SERVICE_OLD].answers, 100);
    assert_int_equal(sums[SYN_SERVICE_OLD].errors, 2);
    assert_int_equal(sums[SYN_SERVICE_NEW].answers, 12);
    assert_int_equal(sums[SYN_SERVICE_NEW].errors, 3);
    /* Another step. */
    assert_true(tell(trials, "testing", "s2", (uint64_t[]){20, 1, 4, 0}, sums));
    assert_int_equal(sums[SYN_SERVICE_OLD].answers + sums[SYN_SERVICE_NEW].answers, 0);
    assert_true(tell(trials, "testing", "s2", (uint64_t[]){21, 1, 4, 0}, sums));
    assert_int_equal(sums[SYN_SERVICE_OLD].answers, 1);
    assert_false(tell(trials, "finishing", "s3", (uint64_t[]){20, 1, 4, 0}, sums));
    trials = srv_trials_free(trials);
    assert_null(trials);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_begin_with_the_stage),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
