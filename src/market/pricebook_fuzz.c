#include <synor/market/pricebook.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A book that is taken keeps its promises: every item is found, priced in range and shared whole.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_SCOPED(syn_pricebook_free_scope) struct syn_pricebook *book = NULL;
    const struct syn_price *items;
    size_t count;

    if (syn_pricebook_parse((const char *)data, size, &book, NULL) != 0)
        return 0;
    items = syn_pricebook_items(book, &count);
    for (size_t i = 0; i < count; i++) {
        const struct syn_share *share = items[i].share;

        if (syn_pricebook_find(book, items[i].item) != &items[i] || items[i].price < 0 ||
            items[i].unit == NULL || items[i].unit->per <= 0 ||
            share->provider_bps + share->protocol_bps != 10000)
            abort();
    }
    return 0;
}
