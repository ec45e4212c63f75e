#include <synor/market/lease.h>

#include <synor/base/str.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(bool holds)
{
    if (!holds)
        abort();
}

/* A lease that is taken says the same after a round trip, and prices what it says it prices. */
static void
check_lease(const struct syn_lease *lease)
{
    struct syn_lease again;
    SYN_BUF(before);
    SYN_BUF(after);
    SYN_JSON(doc);
    SYN_JSON(doc_again);

    need(syn_lease_encode(lease, &doc, NULL) == 0);
    need(syn_lease_decode(doc, &again, NULL) == 0);
    need(syn_lease_encode(&again, &doc_again, NULL) == 0);
    need(syn_json_write(doc, &before, NULL) == 0 && syn_json_write(doc_again, &after, NULL) == 0);
    need(before.len == after.len && memcmp(before.data, after.data, before.len) == 0);
    need(lease->count <= SYN_LEASE_PRICES_MAX);
    for (size_t i = 0; i < lease->count; i++) {
        const struct syn_lease_price *price = &lease->prices[i];
        struct syn_lease_price got;

        need(price->price >= 0 && price->price <= SYN_LEASE_PRICE_MAX);
        need(i == 0 || strcmp(lease->prices[i - 1].item, price->item) < 0);
        need(syn_lease_find(lease, price->item) == price);
        need(syn_lease_get(lease, NULL, price->item, price->unit->measure, &got, NULL) == 0);
        need(got.price == price->price);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_lease lease;
    SYN_JSON(doc);

    if (syn_json_parse((const char *)data, size, &doc, NULL) == 0 &&
        syn_lease_decode(doc, &lease, NULL) == 0)
        check_lease(&lease);
    return 0;
}
