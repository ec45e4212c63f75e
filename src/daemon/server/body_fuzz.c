/* Bodies and query strings of every route, as they come after the JSON parser: a JSON object is
 * held against the shape of each route. What passes once passes again unchanged, so that a document
 * that was taken can be stored, read and taken again; the same for a training job and its model, a
 * service, and for the names of what the market trades. */
#include <stdint.h>

#include <synor/workload/service_spec.h>
#include <synor/workload/training_spec.h>

#include <synor/base/str.h>

#include "market_priv.h"
#include "server_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(bool holds)
{
    if (!holds)
        abort();
}

static void
try_schema(const struct syn_schema *schema, const json_t *given)
{
    SYN_JSON(once);
    SYN_JSON(twice);

    once = json_deep_copy(given);
    if (once == NULL || syn_schema_apply(schema, once, "body", NULL) < 0)
        return;
    twice = json_deep_copy(once);
    need(twice == NULL ||
         (syn_schema_apply(schema, twice, "body", NULL) == SYN_OK && json_equal(once, twice)));
}

static void
try_routes(const json_t *given)
{
    for (size_t t = 0; srv_all_routes[t] != NULL; t++) {
        const struct srv_routes *table = srv_all_routes[t];

        for (size_t i = 0; i < table->count; i++) {
            if (table->rows[i].body != NULL)
                try_schema(table->rows[i].body, given);
            if (table->rows[i].query != NULL)
                try_schema(table->rows[i].query, given);
        }
    }
}

/* What a kind of workload takes as its spec, it takes again as it stands then. */
static void
try_spec(const json_t *given, int (*check)(json_t *spec, struct syn_err *err))
{
    SYN_JSON(spec);
    SYN_JSON(again);

    spec = json_deep_copy(json_object_get(given, "spec"));
    if (!json_is_object(spec) || check(spec, NULL) < 0)
        return;
    again = json_deep_copy(spec);
    need(again == NULL || (check(again, NULL) == SYN_OK && json_equal(spec, again)));
}

static void
try_training(const json_t *given)
{
    SYN_JSON(spec);
    SYN_JSON(model);
    SYN_JSON(merged);

    spec = json_deep_copy(json_object_get(given, "spec"));
    model = json_deep_copy(json_object_get(given, "model"));
    if (!json_is_object(spec))
        return;
    if (json_is_object(model) && syn_training_model_merge(model, spec, NULL, NULL) < 0)
        return;
    merged = json_pack("{s:O}", "spec", spec);
    if (merged != NULL)
        try_spec(merged, syn_training_spec_check);
}

/* A class's name is its parts, and an order's number is its id's. */
static void
try_market(const json_t *given)
{
    const char *text = syn_json_str(given, "class", "");
    struct market_class_name class;
    char again[4 * MARKET_WORD_MAX + 8];
    char id[MARKET_ORDER_ID_MAX];
    uint64_t number, same = 0;

    if (srv_market_class_parse(text, &class, NULL) == SYN_OK) {
        (void)snprintf(again, sizeof(again), "%s/%s/%s/%s", class.kind, class.model, class.region,
                       class.duration);
        need(syn_str_eq(again, text) && syn_str_eq(class.text, text));
        need(syn_str_starts(text, class.triple) && text[strlen(class.triple)] == '/');
        need(class.duration_ms > 0);
    }
    if (srv_market_order_number(syn_json_str(given, "order", ""), &number, NULL) == SYN_OK) {
        need(srv_market_order_number(srv_market_order_id(number, id), &same, NULL) == SYN_OK);
        need(same == number && number > 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_JSON(given);

    if (size > 16384 || syn_json_parse_object((const char *)data, size, &given, NULL) < 0)
        return 0;
    try_routes(given);
    try_training(given);
    try_spec(given, syn_service_spec_check);
    try_market(given);
    return 0;
}
