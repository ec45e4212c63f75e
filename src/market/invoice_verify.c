/* Verification: meter the samples again, build the invoice again, and compare documents. Comparing
 * the JSON form covers every field there is, also those that later versions add. */
#include <synor/market/invoice.h>

#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#define PATH_MAX_BYTES 320

/* What one verification has found so far. */
struct check {
    const struct syn_invoice *invoice;
    const struct syn_invoice_evidence *evidence;
    struct syn_map *instances; /* name -> struct instance; borrowed */
    json_t *differences;       /* borrowed from the result */
    size_t samples;
    bool signatures_ok;
};

/* One instance of the evidence. */
struct instance {
    const char *provider;          /* borrowed from the evidence */
    const struct syn_lease *lease; /* likewise; NULL without one */
    const char *digest;            /* of the lease; "" without one */
    bool lease_doubted;            /* told once */
    int64_t last_seq;              /* where its span ends; 0: nobody says */
    struct syn_meter meter;
};

/* ---- differences ---- */

static int
differ(struct check *check, const char *field, json_t *found, json_t *expected, const char *message,
       struct syn_err *err)
{
    json_t *item = NULL;
    int rc;

    if (json_array_size(check->differences) >= SYN_INVOICE_FINDINGS_MAX)
        return SYN_OK;
    rc = syn_json_pack(&item, err, "{s:s, s:O, s:O, s:s}", "field", field, "found",
                       found ? found : json_null(), "expected", expected ? expected : json_null(),
                       "message", message);
    return rc != 0 ? rc : syn_json_append_take(check->differences, item, err);
}

static void
join_path(char out[PATH_MAX_BYTES], const char *path, const char *key)
{
    int len = snprintf(out, PATH_MAX_BYTES, "%s%s%s", path, path[0] ? "." : "", key);

    if (len < 0 || len >= PATH_MAX_BYTES)
        memcpy(out + PATH_MAX_BYTES - 4, "...", 4);
}

static int
compare(struct check *check, const char *path, json_t *found, json_t *expected, struct syn_err *err)
{
    const char *key;
    json_t *value;
    int rc = 0;

    if (!json_is_object(found) || !json_is_object(expected))
        return json_equal(found, expected)
                   ? SYN_OK
                   : differ(check, path, found, expected,
                            !found      ? "missing"
                            : !expected ? "nothing in the evidence explains this"
                                        : "differs from what the evidence gives",
                            err);
    json_object_foreach (found, key, value) {
        char below[PATH_MAX_BYTES];

        join_path(below, path, key);
        rc = compare(check, below, value, json_object_get(expected, key), err);
        if (rc != 0)
            return rc;
    }
    json_object_foreach (expected, key, value) {
        char below[PATH_MAX_BYTES];

        if (json_object_get(found, key))
            continue;
        join_path(below, path, key);
        rc = compare(check, below, NULL, value, err);
        if (rc != 0)
            return rc;
    }
    return SYN_OK;
}

/* Replace the list `key` by an object, so that its members are compared by name, not by place. */
static int
key_list(json_t *doc, const char *key, const char *minor, struct syn_err *err)
{
    json_t *list = json_object_get(doc, key), *item;
    SYN_JSON(named);
    size_t i;

    named = json_object();
    if (!named)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to compare invoices");
    json_array_foreach (list, i, item) {
        char name[PATH_MAX_BYTES];
        int rc, len = snprintf(name, sizeof(name), "%s/%s", syn_json_str(item, "provider", ""),
                               syn_json_str(item, minor, ""));

        if (json_object_get(named, name)) /* an item at a second price */
            len += snprintf(name + len, sizeof(name) - (size_t)len, "@%s",
                            syn_json_str(item, "price", ""));
        if (json_object_get(named, name)) /* a second one has no counterpart */
            (void)snprintf(name + len, sizeof(name) - (size_t)len, "#%zu", i);
        rc = syn_json_set_take(named, name, json_incref(item), err);
        if (rc != 0)
            return rc;
    }
    return syn_json_set_take(doc, key, SYN_TAKE(named), err);
}

static int
comparable(const struct syn_invoice *invoice, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_invoice_encode(invoice, &doc, err);

    if (rc == 0)
        rc = key_list(doc, "lines", "item", err);
    if (rc == 0)
        rc = key_list(doc, "payees", "share", err);
    if (rc == 0)
        *ret = SYN_TAKE(doc);
    return rc;
}

/* ---- samples ---- */

static const struct syn_invoice_lease *
find_lease(const struct syn_invoice_evidence *evidence, const char *instance)
{
    for (size_t i = 0; i < evidence->lease_count; i++)
        if (syn_str_eq(evidence->leases[i].instance, instance))
            return &evidence->leases[i];
    return NULL;
}

/* Begin where the periods before ended. */
static void
begin_span(const struct syn_invoice_evidence *evidence, struct instance *instance)
{
    for (size_t i = 0; i < evidence->span_count; i++) {
        const struct syn_invoice_span *span = &evidence->spans[i];

        if (!syn_str_eq(span->instance, instance->meter.instance))
            continue;
        instance->meter.seq = span->after_seq;
        instance->meter.to_ms = span->after_ms;
        instance->last_seq = span->last_seq;
        return;
    }
}

static int
find_instance(struct check *check, const struct syn_invoice_report *report, struct instance **ret,
              struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct instance *fresh = NULL;
    const char *name = report->report->instance;
    const struct syn_invoice_lease *lease = find_lease(check->evidence, name);
    int rc;

    *ret = syn_map_find(check->instances, name);
    if (*ret)
        return SYN_OK;
    if (syn_map_count(check->instances) == SYN_INVOICE_USAGES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "an invoice covers at most %d instances",
                        SYN_INVOICE_USAGES_MAX);
    fresh = syn_calloc(1, sizeof(*fresh));
    if (!fresh)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the meter of %s", name);
    fresh->provider = report->provider;
    fresh->lease = lease ? lease->lease : NULL;
    fresh->digest = lease ? lease->digest : "";
    rc = syn_meter_init(&fresh->meter, name, err);
    if (rc != 0)
        return rc;
    begin_span(check->evidence, fresh);
    *ret = fresh;
    return syn_map_put_take(check->instances, name, SYN_TAKE(fresh), err);
}

/* Was the report signed for the lease that is shown, or for none when there is none? */
static int
check_lease(struct check *check, struct instance *instance, const struct syn_report *report,
            struct syn_err *err)
{
    char field[PATH_MAX_BYTES];

    if (instance->lease_doubted || syn_str_eq(report->lease, instance->digest))
        return SYN_OK;
    instance->lease_doubted = true;
    (void)snprintf(field, sizeof(field), "leases.%s", report->instance);
    return differ(check, field, NULL, NULL,
                  instance->digest[0] == '\0' ? "its node signed for a lease, and there is none"
                  : report->lease[0] == '\0'  ? "its node did not sign for the lease"
                                              : "the lease is not the one its node signed for",
                  err);
}

/* Add one report to its instance's meter. A report that is not signed is named, and still counted:
 * so the other differences are those of the figures. */
static int
meter_report(struct check *check, const struct syn_invoice_report *report, struct syn_err *err)
{
    struct syn_err why = {0};
    struct instance *instance;
    char field[PATH_MAX_BYTES];
    int rc = find_instance(check, report, &instance, err);

    if (rc != 0)
        return rc;
    if (!report->signature_ok) {
        check->signatures_ok = false;
        (void)snprintf(field, sizeof(field), "signatures.%s", report->report->instance);
        rc = differ(check, field, NULL, NULL, "a report is not signed by its node's key", err);
    }
    if (rc == 0)
        rc = check_lease(check, instance, report->report, err);
    if (rc == 0 && !syn_str_eq(instance->provider, report->provider)) {
        (void)snprintf(field, sizeof(field), "providers.%s", report->report->instance);
        rc = differ(check, field, NULL, NULL, "reports of one instance name two providers", err);
    }
    if (rc != 0)
        return rc;
    check->samples += report->report->count;
    rc = syn_meter_accept(&instance->meter, report->report, true, &why);
    if (rc == 0)
        return SYN_OK;
    (void)snprintf(field, sizeof(field), "samples.%s", report->report->instance);
    return differ(check, field, NULL, NULL, why.msg, err);
}

/* Do the reports reach to where the bill says that the period ended, and no further? */
static int
check_spans(struct check *check, struct syn_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < check->evidence->span_count; i++) {
        const struct syn_invoice_span *span = &check->evidence->spans[i];
        const struct instance *instance = syn_map_find(check->instances, span->instance);
        int64_t seq = instance ? instance->meter.seq : span->after_seq;
        char field[PATH_MAX_BYTES];

        if (seq == span->last_seq)
            continue;
        (void)snprintf(field, sizeof(field), "samples.%s", span->instance);
        rc = differ(check, field, NULL, NULL,
                    seq < span->last_seq ? "samples of the period are missing"
                                         : "there are samples of another period among them",
                    err);
    }
    return rc;
}

/* Build the invoice again. *ret stays NULL when the evidence cannot be priced: then that is the
 * difference. */
static int
rebuild(struct check *check, const struct syn_pricebook *book, struct syn_invoice **ret,
        struct syn_err *err)
{
    const struct syn_invoice_terms terms = {check->invoice->id,     check->invoice->ref,
                                            check->invoice->tenant, check->invoice->transaction,
                                            check->invoice->escrow, check->invoice->carried,
                                            check->invoice->goes_on};
    struct syn_invoice_usage usages[SYN_INVOICE_USAGES_MAX];
    struct syn_err why = {0};
    const char *name;
    void *value;
    size_t cursor = 0, count = 0;
    int rc;

    while (syn_map_next(check->instances, &cursor, &name, &value)) {
        const struct instance *instance = value;

        assert(count < SYN_LEN(usages));
        usages[count++] =
            (struct syn_invoice_usage){instance->provider, &instance->meter.usage, instance->lease};
    }
    for (size_t i = 0; i < check->evidence->other_count && count < SYN_LEN(usages); i++)
        usages[count++] = check->evidence->others[i];
    rc = syn_invoice_build(&terms, usages, count, book, ret, &why);
    if (rc == 0)
        return SYN_OK;
    if (rc == SYN_E_NOMEM)
        return syn_err_set(err, rc, 0, why.file, why.line, "%s", why.msg);
    return differ(check, "recomputed", NULL, NULL, why.msg, err);
}

/* ---- the ledger's side ---- */

struct entries {
    struct syn_invoice_entry list[SYN_INVOICE_PAYEES_MAX + 3];
    size_t count;
};

static void
add_entry(struct entries *entries, const char *account, int64_t amount)
{
    for (size_t i = 0; i < entries->count; i++) {
        if (syn_str_eq(entries->list[i].account, account)) {
            entries->list[i].amount += amount;
            return;
        }
    }
    assert(entries->count < SYN_LEN(entries->list));
    entries->list[entries->count++] = (struct syn_invoice_entry){account, amount};
}

/* {account: amount}, without zeros. */
static int
entries_json(const struct syn_invoice_entry *list, size_t count, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);

    doc = json_object();
    if (!doc)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to compare a settlement");
    for (size_t i = 0; i < count; i++) {
        char text[SYN_FORMAT_MAX];
        int rc;

        if (list[i].amount == 0)
            continue;
        rc = syn_json_set_str(doc, list[i].account, syn_format_amount(list[i].amount, text), err);
        if (rc != 0)
            return rc;
    }
    *ret = SYN_TAKE(doc);
    return SYN_OK;
}

static int
settlement_json(const char *id, const char *ref, const char *kind, json_t *entries_take,
                json_t **ret, struct syn_err *err)
{
    return syn_json_pack(ret, err, "{s:{s:s, s:s, s:s, s:o}}", "transaction", "id", id, "ref", ref,
                         "kind", kind, "entries", entries_take);
}

static int
check_settlement(struct check *check, const struct syn_invoice *invoice,
                 const struct syn_invoice_settlement *settlement, struct syn_err *err)
{
    struct entries expected = {.count = 0};
    json_t *found_entries = NULL, *expected_entries = NULL;
    SYN_JSON(found_doc);
    SYN_JSON(expected_doc);
    int rc;

    if (!settlement)
        return differ(check, "transaction", NULL, NULL, "the ledger has no such settlement", err);
    add_entry(&expected, settlement->escrow_account, -invoice->escrow);
    add_entry(&expected, settlement->protocol_account, invoice->protocol_amount);
    add_entry(&expected, invoice->tenant, invoice->refund);
    for (size_t i = 0; i < invoice->payee_count; i++)
        add_entry(&expected, invoice->payees[i].provider, invoice->payees[i].provider_amount);
    rc = entries_json(settlement->entries, settlement->count, &found_entries, err);
    if (rc == 0)
        rc = settlement_json(settlement->id, settlement->ref, settlement->kind, found_entries,
                             &found_doc, err);
    if (rc == 0)
        rc = entries_json(expected.list, expected.count, &expected_entries, err);
    if (rc == 0)
        rc = settlement_json(check->invoice->transaction, check->invoice->ref, "settle",
                             expected_entries, &expected_doc, err);
    return rc != 0 ? rc : compare(check, "", found_doc, expected_doc, err);
}

/* ---- everything ---- */

static int
compare_invoices(struct check *check, const struct syn_invoice *recomputed, struct syn_err *err)
{
    SYN_JSON(found);
    SYN_JSON(expected);
    int rc = comparable(check->invoice, &found, err);

    if (rc == 0)
        rc = comparable(recomputed, &expected, err);
    return rc != 0 ? rc : compare(check, "", found, expected, err);
}

static int
run_checks(struct check *check, const struct syn_pricebook *book,
           struct syn_invoice **ret_recomputed, struct syn_err *err)
{
    const struct syn_invoice_evidence *evidence = check->evidence;
    SYN_SCOPED(syn_map_free_scope) struct syn_map *instances = NULL;
    int rc = syn_map_new(syn_free, &instances, err);

    check->instances = instances;
    for (size_t i = 0; rc == 0 && i < evidence->report_count; i++)
        rc = meter_report(check, &evidence->reports[i], err);
    if (rc == 0)
        rc = check_spans(check, err);
    if (rc == 0)
        rc = rebuild(check, book, ret_recomputed, err);
    if (rc == 0 && *ret_recomputed)
        rc = compare_invoices(check, *ret_recomputed, err);
    /* With nothing to compare against, the ledger is held against the invoice itself. */
    if (rc == 0)
        rc = check_settlement(check, *ret_recomputed ? *ret_recomputed : check->invoice,
                              evidence->settlement, err);
    return rc;
}

int
syn_invoice_verify(const struct syn_invoice *invoice, const struct syn_invoice_evidence *evidence,
                   const struct syn_pricebook *book, json_t **ret_result, struct syn_err *err)
{
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *recomputed = NULL;
    SYN_JSON(result);
    struct check check = {.invoice = invoice, .evidence = evidence, .signatures_ok = true};
    json_t *doc = NULL;
    int rc = syn_json_pack(&result, err, "{s:[]}", "differences");

    if (rc != 0)
        return rc;
    check.differences = json_object_get(result, "differences");
    rc = run_checks(&check, book, &recomputed, err);
    if (rc == 0 && recomputed)
        rc = syn_invoice_encode(recomputed, &doc, err);
    if (rc == 0)
        rc = syn_json_set_take(result, "recomputed", doc ? doc : json_null(), err);
    if (rc == 0)
        rc = syn_json_set_bool(result, "agrees", json_array_size(check.differences) == 0, err);
    if (rc == 0)
        rc = syn_json_set_bool(result, "signatures_ok", check.signatures_ok, err);
    if (rc == 0)
        rc = syn_json_set_i64(result, "samples", (int64_t)check.samples, err);
    if (rc == 0)
        *ret_result = SYN_TAKE(result);
    return rc;
}
