/* Metrics, targets and states from strangers. What is a metric says itself again; any state
 * gives decisions within the bounds. */
#include <stdlib.h>
#include <string.h>

#include <synor/base/units.h>
#include <synor/orchestration/autoscale.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_texts(const char *text)
{
    struct syn_autoscale_metric metric;
    char out[SYN_FORMAT_MAX];
    int64_t again;

    if (syn_autoscale_parse_metric(text, &metric, NULL) < 0)
        return;
    syn_autoscale_format(metric.kind, metric.target, out);
    if (syn_autoscale_parse_target(out, "x", &again, NULL) < 0 || again != metric.target)
        abort();
}

static void
check_state(const char *text, size_t size)
{
    struct syn_autoscale_rule rule = syn_autoscale_rule_default();
    struct syn_autoscale_now now = {
        .now_ms = INT64_C(1800000000000), .current = 3, .totals = {500000, SYN_AUTOSCALE_UNKNOWN}};
    struct syn_autoscale_state state;
    struct syn_autoscale_decision decision;
    json_t *doc = NULL;

    rule.max = 9;
    rule.metrics_count = 2;
    rule.metrics[0] =
        (struct syn_autoscale_metric){.kind = SYN_AUTOSCALE_REQUESTS, .target = 100000};
    rule.metrics[1] = (struct syn_autoscale_metric){.kind = SYN_AUTOSCALE_CPU, .target = 700};
    if (syn_json_parse(text, size, &doc, NULL) < 0)
        return;
    syn_autoscale_state_read(&rule, doc, &state);
    for (int i = 0; i < 4; i++) {
        syn_autoscale_decide(&rule, &now, &state, &decision);
        if (decision.replicas < rule.min || decision.replicas > rule.max)
            abort();
        now.current = decision.replicas;
        now.now_ms += 20000;
    }
    json_decref(doc);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_texts(text);
    check_state(text, size);
    free(text);
    return 0;
}
