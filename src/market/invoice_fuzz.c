#include <synor/market/invoice.h>

#include <synor/base/mem.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(bool holds)
{
    if (!holds)
        abort();
}

/* One small book, parsed once. */
static const struct syn_pricebook *
book(void)
{
    static const char text[] =
        "{\"version\":1,\"id\":\"b\",\"currency\":\"SYNOR\",\"gb_bytes\":1073741824,"
        "\"month_hours\":730,\"units\":{\"core-hour\":{\"measure\":\"millicore-ms\","
        "\"per\":3600000000}},\"shares\":{\"compute\":{\"provider_bps\":8500,"
        "\"protocol_bps\":1500}},\"items\":[{\"id\":\"cpu\",\"title\":\"t\",\"unit\":\"core-hour\","
        "\"price\":\"0.02\",\"share\":\"compute\"}]}";
    static struct syn_pricebook *parsed;

    if (!parsed)
        need(syn_pricebook_parse(text, sizeof(text) - 1, &parsed, NULL) == 0);
    return parsed;
}

/* An invoice that is taken comes back as itself, and verifying it never fails to look. With no
 * evidence it can only agree when it charges nothing, and then the settlement is missing. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct syn_invoice_evidence nothing = {.report_count = 0};
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *invoice = NULL;
    SYN_SCOPED(syn_invoice_free_scope) struct syn_invoice *back = NULL;
    SYN_JSON(doc);
    SYN_JSON(first);
    SYN_JSON(second);
    SYN_JSON(result);

    if (syn_json_parse((const char *)data, size, &doc, NULL) != 0 ||
        syn_invoice_decode(doc, &invoice, NULL) != 0)
        return 0;
    need(syn_invoice_encode(invoice, &first, NULL) == 0);
    need(syn_invoice_decode(first, &back, NULL) == 0);
    need(syn_invoice_encode(back, &second, NULL) == 0);
    need(json_equal(first, second));
    need(syn_invoice_verify(invoice, &nothing, book(), &result, NULL) == 0);
    need(!syn_json_bool(result, "agrees", true));
    return 0;
}
