/* What calls of functions used: sums that bills rest on, and figures by the minute for people.
 *
 * A report of the gateway is rows of sums. They are added to two documents of each function: what
 * it has used since it was made, by who provided it, in the exact measures of the price book; and
 * what was called in this minute. Time and memory are of the node where the call ran; invocations,
 * requests and events are the platform's. */
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "function_starts_priv.h"

#define FUNCTIONS_MAX  4096 /* in one report */
#define BUCKETS        21   /* up to 100 us * 2^i, and what is more */
#define BUCKET_US      100
#define MINUTE_MS      INT64_C(60000)
#define MINUTES_MAX    1440
#define PERMILLE_P50   500
#define PERMILLE_P95   950
#define PERMILLE_P99   990
#define PERMILLE_WHOLE 1000

/* --- reading ---------------------------------------------------------------------------------- */

/* Add the sums to what the provider has. */
static int
add_usage(json_t *usage, const char *provider, const struct syn_usage_sum *more,
          struct syn_err *err)
{
    struct syn_usage_sum sum = {0};
    json_t *items = NULL;
    int rc = syn_usage_decode(json_object_get(usage, provider), &sum, err);

    for (size_t i = 0; i < more->count && rc == SYN_OK; i++)
        rc = syn_usage_add(&sum, more->items[i].item, more->items[i].measure,
                           more->items[i].quantity, err);
    if (rc < 0 || sum.count == 0)
        return rc;
    items = json_array();
    if (items == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what was called");
    rc = syn_usage_encode(&sum, items, err);
    if (rc < 0) {
        json_decref(items);
        return rc;
    }
    return syn_json_set_take(usage, provider, items, err);
}

static int
load_or(struct syn_server *server, const char *key, const char *otherwise, json_t **ret,
        int64_t *ret_revision, struct syn_err *err)
{
    int rc = srv_load(server, key, ret, ret_revision, err);

    if (rc != SRV_ABSENT)
        return rc;
    *ret_revision = 0;
    return syn_json_parse(otherwise, strlen(otherwise), ret, err);
}

#define NO_USAGE \
    "{\"used\":{},\"kept\":{},\"warm\":{},\"cards\":{},\"warm_until_ms\":0,\"since_ms\":0}"

static int
add_kept_for(const json_t *kept, int64_t span_ms, json_t *used, struct syn_err *err)
{
    const char *provider;
    json_t *bytes;
    int rc = SYN_OK;

    json_object_foreach ((json_t *)(uintptr_t)kept, provider, bytes) {
        struct syn_usage_sum sum = {0};

        if (rc == SYN_OK)
            rc = syn_usage_add(&sum, SYN_FUNCTION_ITEM_PROVISIONED, SYN_MEASURE_BYTE_MS,
                               (syn_u128)json_integer_value(bytes) * (syn_u128)span_ms, err);
        if (rc == SYN_OK)
            rc = add_usage(used, provider, &sum, err);
    }
    return rc;
}

static const char *
card_item(const char *model, char out[SYN_ITEM_MAX])
{
    (void)snprintf(out, SYN_ITEM_MAX, "gpu:%.*s", SYN_ITEM_MAX - (int)sizeof("gpu:"), model);
    return out;
}

static int
add_cards_for(const json_t *cards, int64_t span_ms, json_t *used, struct syn_err *err)
{
    const char *provider, *model;
    json_t *models, *count;
    int rc = SYN_OK;

    json_object_foreach ((json_t *)(uintptr_t)cards, provider, models) {
        struct syn_usage_sum sum = {0};
        char item[SYN_ITEM_MAX];

        json_object_foreach (models, model, count)
            if (rc == SYN_OK)
                rc = syn_usage_add(&sum, card_item(model, item), SYN_MEASURE_GPU_MS,
                                   (syn_u128)json_integer_value(count) * (syn_u128)span_ms, err);
        if (rc == SYN_OK)
            rc = add_usage(used, provider, &sum, err);
    }
    return rc;
}

/* What instances that were kept ready used since that was noted: into `used`. Those of a warm-up
 * schedule only until its end, however late somebody looks. */
static int
add_kept(const json_t *usage, int64_t now_ms, json_t *used, struct syn_err *err)
{
    int64_t since_ms = syn_json_i64(usage, "since_ms", now_ms);
    int64_t until_ms = SYN_MIN(syn_json_i64(usage, "warm_until_ms", 0), now_ms);
    int rc = add_kept_for(json_object_get(usage, "kept"), SYN_MAX(now_ms - since_ms, 0), used, err);

    if (rc == SYN_OK)
        rc = add_kept_for(json_object_get(usage, "warm"), SYN_MAX(until_ms - since_ms, 0), used,
                          err);
    return rc < 0 ? rc
                  : add_cards_for(json_object_get(usage, "cards"), SYN_MAX(now_ms - since_ms, 0),
                                  used, err);
}

int
srv_calls_read(struct syn_server *server, const char *function, int64_t now_ms, json_t **ret,
               struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision;
    SYN_JSON(usage);
    int rc = load_or(server, srv_key(key, "function-usage", function, NULL), NO_USAGE, &usage,
                     &revision, err);

    if (rc == SYN_OK)
        rc = add_kept(usage, now_ms, json_object_get(usage, "used"), err);
    if (rc == SYN_OK)
        *ret = json_incref(json_object_get(usage, "used"));
    return rc;
}

int
srv_calls_keep(struct syn_server *server, struct srv_txn *txn, const char *function,
               const struct srv_kept *kept, bool *ret_changed, struct syn_err *err)
{
    int64_t now_ms = syn_wall_ms(server->world), revision;
    char key[SRV_KEY_MAX];
    SYN_JSON(usage);
    int rc = load_or(server, srv_key(key, "function-usage", function, NULL), NO_USAGE, &usage,
                     &revision, err);

    *ret_changed = rc == SYN_OK && (!json_equal(json_object_get(usage, "kept"), kept->always) ||
                                    !json_equal(json_object_get(usage, "warm"), kept->warm) ||
                                    !json_equal(json_object_get(usage, "cards"), kept->cards) ||
                                    syn_json_i64(usage, "warm_until_ms", 0) != kept->warm_until_ms);
    if (rc < 0 || !*ret_changed)
        return rc;
    rc = add_kept(usage, now_ms, json_object_get(usage, "used"), err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(usage, "kept", json_incref(kept->always), err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(usage, "warm", json_incref(kept->warm), err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(usage, "cards", json_incref(kept->cards), err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(usage, "warm_until_ms", kept->warm_until_ms, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(usage, "since_ms", now_ms, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, usage, err);
}

int
srv_calls_usage(const json_t *before, const json_t *now, struct srv_own *rows, size_t *ret_count,
                struct syn_err *err)
{
    const char *provider;
    json_t *items;

    *ret_count = 0;
    json_object_foreach ((json_t *)(uintptr_t)now, provider, items) {
        struct syn_usage_sum then = {0}, until = {0};
        struct srv_own *row = &rows[*ret_count];
        int rc = syn_usage_decode(items, &until, err);

        if (rc == SYN_OK)
            rc = syn_usage_decode(json_object_get(before, provider), &then, err);
        if (rc == SYN_OK && *ret_count == SRV_OWN_MAX)
            rc = SYN_FAIL(err, SYN_E_LIMIT, "calls of more than %d providers", SRV_OWN_MAX);
        if (rc == SYN_OK)
            rc = syn_usage_since(&until, &then, &row->sum, err);
        if (rc < 0)
            return rc;
        (void)syn_str_copy(row->provider, sizeof(row->provider), provider);
        *ret_count += row->sum.count > 0;
    }
    return SYN_OK;
}

int
srv_call_cards_price(const struct syn_server *server, const json_t *spec, int64_t span_ms,
                     int64_t *ret, struct syn_err *err)
{
    struct syn_function_spec read;
    const struct syn_price *price;
    char item[SYN_ITEM_MAX];
    syn_u128 exact;

    *ret = 0;
    syn_function_spec_read(spec, &read);
    if (read.gpus == 0)
        return SYN_OK;
    price = syn_pricebook_find(server->prices, card_item(read.gpu_model, item));
    if (price == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "spec.gpu_model: the price book has no %s", item);
    exact = (syn_u128)read.gpus * (syn_u128)span_ms * (syn_u128)price->price /
            (syn_u128)price->unit->per;
    *ret = (int64_t)SYN_MIN(exact, (syn_u128)SYN_AMOUNT_MAX);
    return SYN_OK;
}

int64_t
srv_call_price(const struct syn_server *server, const json_t *spec)
{
    const struct syn_price *compute = syn_pricebook_find(server->prices, SYN_FUNCTION_ITEM_COMPUTE);
    struct syn_function_spec read;
    int64_t price = 0, cards = 0;

    syn_function_spec_read(spec, &read);
    if (compute != NULL) {
        syn_u128 exact = (syn_u128)read.memory_bytes * (syn_u128)read.timeout_ms *
                         (syn_u128)compute->price / (syn_u128)compute->unit->per;

        price = (int64_t)SYN_MIN(exact, (syn_u128)SYN_AMOUNT_MAX);
    }
    if (srv_call_cards_price(server, spec, read.timeout_ms, &cards, NULL) < 0)
        return price; /* it is refused for that when it is deployed */
    return price > SYN_AMOUNT_MAX - cards ? SYN_AMOUNT_MAX : price + cards;
}

/* --- adding ----------------------------------------------------------------------------------- */

/* A function's two documents on their way. */
struct entry {
    char usage_key[SRV_KEY_MAX], minute_key[SRV_KEY_MAX];
    json_t *usage, *minute;
    int64_t usage_revision, minute_revision;
};

struct srv_calls_batch {
    struct syn_server *server;
    struct syn_map *entries; /* function -> struct entry */
    int64_t minute;
};

static void
entry_free(void *arg)
{
    struct entry *entry = arg;

    json_decref(entry->usage);
    json_decref(entry->minute);
    syn_free(entry);
}

int
srv_calls_batch_new(struct syn_server *server, struct srv_calls_batch **ret, struct syn_err *err)
{
    struct srv_calls_batch *batch = syn_calloc(1, sizeof(*batch));
    int rc;

    if (batch == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what was called");
    batch->server = server;
    batch->minute = syn_wall_ms(server->world) / MINUTE_MS;
    rc = syn_map_new(entry_free, &batch->entries, err);
    if (rc < 0) {
        syn_free(batch);
        return rc;
    }
    *ret = batch;
    return SYN_OK;
}

void
srv_calls_batch_free_scope(struct srv_calls_batch **slot)
{
    if (*slot == NULL)
        return;
    (void)syn_map_free((*slot)->entries);
    syn_free(*slot);
    *slot = NULL;
}

static int
find_entry(struct srv_calls_batch *batch, const char *function, struct entry **ret,
           struct syn_err *err)
{
    struct entry *entry = syn_map_find(batch->entries, function);
    int rc;

    *ret = entry;
    if (entry != NULL)
        return SYN_OK;
    if (syn_map_count(batch->entries) == FUNCTIONS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "a report of more than %d functions", FUNCTIONS_MAX);
    entry = syn_calloc(1, sizeof(*entry));
    if (entry == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what was called");
    (void)srv_key(entry->usage_key, "function-usage", function, NULL);
    (void)srv_key_seq(entry->minute_key, "function-minute", function, batch->minute);
    rc = syn_map_put_take(batch->entries, function, entry, err);
    if (rc == SYN_OK)
        rc = load_or(batch->server, entry->usage_key, NO_USAGE, &entry->usage,
                     &entry->usage_revision, err);
    if (rc == SYN_OK)
        rc = load_or(batch->server, entry->minute_key, "{}", &entry->minute,
                     &entry->minute_revision, err);
    *ret = entry;
    return rc;
}

int
srv_node_provider(struct syn_server *server, const char *node, char out[SYN_ID_MAX],
                  struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    (void)syn_str_copy(out, SYN_ID_MAX, server->provider_id);
    if (node[0] == '\0' || !syn_name_ok(node))
        return SYN_OK;
    rc = srv_load(server, srv_key(key, "node", node, NULL), &doc, NULL, err);
    if (rc == SYN_OK)
        (void)syn_str_copy(
            out, SYN_ID_MAX,
            syn_json_str(json_object_get(doc, "spec"), "provider", server->provider_id));
    return rc < 0 ? rc : SYN_OK;
}

static int
add_money(struct srv_calls_batch *batch, struct entry *entry, const struct srv_calls *calls,
          struct syn_err *err)
{
    bool http = syn_str_eq(calls->trigger, "http"), asked = syn_str_eq(calls->trigger, "invoke");
    struct syn_usage_sum compute = {0}, requests = {0};
    json_t *used = json_object_get(entry->usage, "used");
    char provider[SYN_ID_MAX];
    int rc = srv_node_provider(batch->server, calls->node, provider, err);

    if (rc == SYN_OK)
        rc = syn_usage_add(&compute, SYN_FUNCTION_ITEM_COMPUTE, SYN_MEASURE_BYTE_MS, calls->byte_ms,
                           err);
    if (rc == SYN_OK)
        rc = syn_usage_add(&requests, SYN_FUNCTION_ITEM_CALLS, SYN_MEASURE_REQUEST,
                           (syn_u128)calls->count, err);
    if (rc == SYN_OK && http)
        rc = syn_usage_add(&requests, SYN_FUNCTION_ITEM_HTTP, SYN_MEASURE_REQUEST,
                           (syn_u128)calls->count, err);
    if (rc == SYN_OK && !http && !asked)
        rc = syn_usage_add(&requests, SYN_FUNCTION_ITEM_EVENTS, SYN_MEASURE_REQUEST,
                           (syn_u128)calls->count, err);
    if (rc == SYN_OK)
        rc = add_usage(used, provider, &compute, err);
    return rc < 0 ? rc : add_usage(used, batch->server->provider_id, &requests, err);
}

static int
add_number(json_t *doc, const char *name, int64_t more, struct syn_err *err)
{
    return syn_json_set_i64(doc, name, syn_json_i64(doc, name, 0) + more, err);
}

static int
add_histogram(json_t *doc, const json_t *more, struct syn_err *err)
{
    json_t *sums = json_object_get(doc, "histogram");
    int rc = SYN_OK;

    if (sums == NULL) {
        sums = json_array();
        rc = syn_json_set_take(doc, "histogram", sums, err);
        for (size_t i = 0; i < BUCKETS && rc == SYN_OK; i++)
            rc = syn_json_append_take(sums, json_integer(0), err);
    }
    for (size_t i = 0; i < BUCKETS && rc == SYN_OK; i++) {
        json_t *sum = json_array_get(sums, i);

        (void)json_integer_set(sum, json_integer_value(sum) +
                                        json_integer_value(json_array_get(more, i)));
    }
    return rc;
}

static int
add_minute(json_t *doc, const struct srv_calls *calls, struct syn_err *err)
{
    const struct {
        const char *name;
        int64_t more;
    } rows[] = {{"count", calls->count},
                {"errors", calls->errors},
                {"throttled", calls->throttled},
                {"cold", calls->cold},
                {"duration_us", calls->duration_us}};
    char version[24];
    json_t *versions = json_object_get(doc, "versions"), *of;
    int rc = SYN_OK;

    for (size_t i = 0; i < SYN_LEN(rows) && rc == SYN_OK; i++)
        rc = add_number(doc, rows[i].name, rows[i].more, err);
    if (rc == SYN_OK)
        rc = add_histogram(doc, calls->histogram, err);
    if (rc == SYN_OK && versions == NULL) {
        versions = json_object();
        rc = syn_json_set_take(doc, "versions", versions, err);
    }
    (void)snprintf(version, sizeof(version), "%lld", (long long)calls->version);
    of = json_object_get(versions, version);
    if (rc == SYN_OK && of == NULL) {
        of = json_object();
        rc = syn_json_set_take(versions, version, of, err);
    }
    if (rc == SYN_OK)
        rc = add_number(of, "count", calls->count, err);
    if (rc == SYN_OK)
        rc = add_number(of, "cold", calls->cold, err);
    return rc < 0 ? rc : add_number(of, "errors", calls->errors, err);
}

int
srv_calls_batch_add(struct srv_calls_batch *batch, const struct srv_calls *calls,
                    struct syn_err *err)
{
    struct entry *entry = NULL;
    int rc = find_entry(batch, calls->function, &entry, err);

    if (rc == SYN_OK)
        rc = add_money(batch, entry, calls, err);
    return rc < 0 ? rc : add_minute(entry->minute, calls, err);
}

int
srv_calls_batch_start(struct srv_calls_batch *batch, const json_t *row, struct syn_err *err)
{
    struct entry *entry = NULL;
    int rc = srv_starts_check(row, err);

    if (rc == SYN_OK)
        rc = find_entry(batch, syn_json_str(row, "function", ""), &entry, err);
    if (rc < 0)
        return rc;
    assert(entry != NULL);
    return srv_starts_add(entry->minute, row, err);
}

int
srv_calls_batch_write(struct srv_calls_batch *batch, struct srv_txn *txn, struct syn_err *err)
{
    size_t cursor = 0;
    void *value;
    int rc = SYN_OK;

    while (rc == SYN_OK && syn_map_next(batch->entries, &cursor, NULL, &value)) {
        const struct entry *entry = value;

        rc = srv_txn_replace(txn, entry->usage_key, entry->usage_revision, entry->usage, err);
        if (rc == SYN_OK)
            rc =
                srv_txn_replace(txn, entry->minute_key, entry->minute_revision, entry->minute, err);
    }
    return rc;
}

/* --- metrics ---------------------------------------------------------------------------------- */

/* The bound below which so many thousandths of them are, in us; -1 behind the last bound. */
static int64_t
quantile_us(const json_t *histogram, int64_t permille)
{
    int64_t all = 0, seen = 0;

    for (size_t i = 0; i < BUCKETS; i++)
        all += json_integer_value(json_array_get(histogram, i));
    for (size_t i = 0; i + 1 < BUCKETS; i++) {
        seen += json_integer_value(json_array_get(histogram, i));
        if (all > 0 && seen * PERMILLE_WHOLE >= all * permille)
            return (int64_t)BUCKET_US << i;
    }
    return all > 0 ? -1 : 0;
}

static int
add_doc(json_t *sums, const json_t *doc, struct syn_err *err)
{
    static const char *const names[] = {"count", "errors", "throttled", "cold", "duration_us"};
    json_t *versions = json_object_get(sums, "by_version"), *of;
    const char *version;
    int rc = add_histogram(sums, json_object_get(doc, "histogram"), err);

    for (size_t i = 0; i < SYN_LEN(names) && rc == SYN_OK; i++)
        rc = add_number(sums, names[i], syn_json_i64(doc, names[i], 0), err);
    json_object_foreach (json_object_get(doc, "versions"), version, of) {
        json_t *sum = json_object_get(versions, version);

        if (rc == SYN_OK && sum == NULL) {
            sum = json_object();
            rc = syn_json_set_take(versions, version, sum, err);
        }
        if (rc == SYN_OK)
            rc = add_number(sum, "count", syn_json_i64(of, "count", 0), err);
        if (rc == SYN_OK)
            rc = add_number(sum, "errors", syn_json_i64(of, "errors", 0), err);
        if (rc == SYN_OK)
            rc = add_number(sum, "cold", syn_json_i64(of, "cold", 0), err);
        if (rc == SYN_OK)
            rc = srv_starts_sum(sum, json_object_get(of, "starts"), err);
        if (rc == SYN_OK)
            rc = srv_starts_sum(sums, json_object_get(of, "starts"), err);
    }
    return rc;
}

static int
say_means(json_t *sums, struct syn_err *err)
{
    const char *version;
    json_t *of;
    int rc = srv_starts_means(sums, err);

    json_object_foreach (json_object_get(sums, "by_version"), version, of)
        if (rc == SYN_OK)
            rc = srv_starts_means(of, err);
    return rc;
}

static int
sum_minute(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)key;
    (void)revision;
    return add_doc(arg, doc, err);
}

int
srv_calls_metrics(struct syn_server *server, const char *function, int64_t minutes, json_t **ret,
                  struct syn_err *err)
{
    static const struct {
        const char *name;
        int64_t permille;
    } quantiles[] = {{"p50_us", PERMILLE_P50}, {"p95_us", PERMILLE_P95}, {"p99_us", PERMILLE_P99}};
    int64_t since = syn_wall_ms(server->world) / MINUTE_MS - SYN_MIN(minutes, (int64_t)MINUTES_MAX);
    char prefix[SRV_KEY_MAX], after[SRV_KEY_MAX];
    int64_t count;
    SYN_JSON(sums);
    int rc = syn_json_pack(&sums, err, "{s:I, s:i, s:i, s:i, s:i, s:i, s:{}, s:{}}", "minutes",
                           (json_int_t)minutes, "count", 0, "errors", 0, "throttled", 0, "cold", 0,
                           "duration_us", 0, "starts", "by_version");

    if (rc == SYN_OK)
        rc = srv_each_after(server, srv_key(prefix, "function-minute", function, ""),
                            srv_key_seq(after, "function-minute", function, SYN_MAX(since, 0)),
                            sum_minute, sums, err);
    if (rc == SYN_OK)
        rc = say_means(sums, err);
    if (rc < 0)
        return rc;
    count = syn_json_i64(sums, "count", 0);
    rc = syn_json_set_i64(sums, "mean_us",
                          count > 0 ? syn_json_i64(sums, "duration_us", 0) / count : 0, err);
    for (size_t i = 0; i < SYN_LEN(quantiles) && rc == SYN_OK; i++)
        rc = syn_json_set_i64(
            sums, quantiles[i].name,
            quantile_us(json_object_get(sums, "histogram"), quantiles[i].permille), err);
    (void)json_object_del(sums, "duration_us");
    if (rc == SYN_OK)
        *ret = SYN_TAKE(sums);
    return rc;
}

/* --- sweeping --------------------------------------------------------------------------------- */

/* Keys that are to go, some at a time: what is so old is nobody's any more. */
struct old {
    struct syn_server *server;
    int64_t before_ms;
    struct srv_txn *txn;
    unsigned *removed;
};

static int
commit_old(struct old *old, struct syn_err *err)
{
    size_t count = old->txn->count;
    int rc = count > 0 ? srv_txn_commit(old->server, old->txn, NULL, err) : SYN_OK;

    if (rc == SYN_OK)
        *old->removed += (unsigned)count;
    srv_txn_fini(old->txn);
    srv_txn_init(old->txn);
    return rc < 0 ? rc : SYN_OK;
}

static int
drop_old(struct old *old, const char *key, struct syn_err *err)
{
    int rc = srv_txn_delete(old->txn, key, err);

    return rc < 0 || old->txn->count < SYN_STORE_ROWS_MAX ? rc : commit_old(old, err);
}

static int
see_minute(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct old *old = arg;
    int64_t minute = 0;

    (void)doc;
    (void)revision;
    if (syn_parse_i64(strrchr(key, '/') + 1 + strspn(strrchr(key, '/') + 1, "0"), 0, INT64_MAX,
                      "minute", &minute, NULL) < 0)
        return SYN_OK;
    return minute * MINUTE_MS < old->before_ms ? drop_old(old, key, err) : SYN_OK;
}

static int
see_invocation(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct old *old = arg;

    (void)revision;
    return syn_json_i64(doc, "started_at", 0) < old->before_ms ? drop_old(old, key, err) : SYN_OK;
}

/* A key that has expired is listed for a day, so that who wonders finds out. */
static int
see_key(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct old *old = arg;
    int64_t expires_ms = syn_json_i64(doc, "expires_ms", 0);
    int rc;

    if (expires_ms == 0 || expires_ms >= old->before_ms)
        return SYN_OK;
    rc = srv_txn_check(old->txn, key, revision, err); /* it may be made anew */
    return rc < 0 ? rc : drop_old(old, key, err);
}

int
srv_functions_sweep(struct syn_server *server, int64_t now_ms, unsigned *removed,
                    struct syn_err *err)
{
    SRV_TXN(txn);
    struct old old = {server, now_ms - MINUTES_MAX * MINUTE_MS, &txn, removed};
    int rc = srv_each(server, "function-minute/", see_minute, &old, err);

    if (rc == SYN_OK)
        rc = srv_each(server, "invocation/", see_invocation, &old, err);
    if (rc == SYN_OK)
        rc = commit_old(&old, err);
    if (rc == SYN_OK)
        rc = srv_each(server, SRV_FUNCTION_KEYS, see_key, &old, err);
    return rc < 0 ? rc : commit_old(&old, err);
}
