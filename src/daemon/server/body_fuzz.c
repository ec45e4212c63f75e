/* Bodies and query strings of every route, as they come after the JSON parser: a JSON object is
 * held against the shape of each route. What passes once passes again unchanged, so that a document
 * that was taken can be stored, read and taken again; the same for a training job and its model,
 * and for the names of what the market trades. */
#include <stdint.h>

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
    static const struct srv_routes *const tables[] = {
        &srv_system_routes, &srv_account_routes,  &srv_training_routes,     &srv_log_routes,
        &srv_bill_routes,   &srv_content_routes,  &srv_upload_routes,       &srv_name_routes,
        &srv_node_routes,   &srv_instance_routes, &srv_market_order_routes, &srv_market_view_routes,
    };

    for (size_t t = 0; t < SYN_LEN(tables); t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            if (tables[t]->rows[i].body != NULL)
                try_schema(tables[t]->rows[i].body, given);
            if (tables[t]->rows[i].query != NULL)
                try_schema(tables[t]->rows[i].query, given);
        }
    }
}

static void
try_training(const json_t *given)
{
    SYN_JSON(spec);
    SYN_JSON(model);
    SYN_JSON(again);

    spec = json_deep_copy(json_object_get(given, "spec"));
    model = json_deep_copy(json_object_get(given, "model"));
    if (!json_is_object(spec))
        return;
    if (json_is_object(model) && syn_training_model_merge(model, spec, NULL, NULL) < 0)
        return;
    if (syn_training_spec_check(spec, NULL) < 0)
        return;
    again = json_deep_copy(spec);
    need(again == NULL ||
         (syn_training_spec_check(again, NULL) == SYN_OK && json_equal(spec, again)));
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
    try_market(given);
    return 0;
}
