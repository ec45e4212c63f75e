#include <synor/market/meter.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(bool holds)
{
    if (!holds)
        abort();
}

/* A report that is taken signs the same bytes after a round trip, and a meter that accepts it
 * survives as a document. */
static void
check_report(const struct syn_report *report)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *back = NULL;
    struct syn_meter meter, again;
    SYN_BUF(before);
    SYN_BUF(after);
    SYN_JSON(doc);
    SYN_JSON(meter_doc);

    need(syn_report_encode(report, &doc, NULL) == 0);
    need(syn_report_decode(doc, &back, NULL) == 0);
    need(syn_report_payload(report, &before, NULL) == 0);
    need(syn_report_payload(back, &after, NULL) == 0);
    need(before.len == after.len && memcmp(before.data, after.data, before.len) == 0);
    need(syn_meter_init(&meter, report->instance, NULL) == 0);
    if (syn_meter_accept(&meter, report, true, NULL) != 0)
        return;
    need(meter.seq == report->samples[report->count - 1].seq);
    need(syn_meter_encode(&meter, &meter_doc, NULL) == 0);
    need(syn_meter_decode(meter_doc, &again, NULL) == 0);
    need(again.usage.count == meter.usage.count && again.seq == meter.seq);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = NULL;
    struct syn_meter meter;
    SYN_JSON(doc);

    if (syn_json_parse((const char *)data, size, &doc, NULL) != 0)
        return 0;
    if (syn_meter_decode(doc, &meter, NULL) == 0)
        need(meter.from_ms <= meter.to_ms && meter.usage.count <= SYN_USAGE_ITEMS_MAX);
    if (syn_report_decode(doc, &report, NULL) == 0)
        check_report(report);
    return 0;
}
