/* JSON from strangers: what parses must survive both writers unchanged, and the canonical one must
 * write the same bytes again. */
#include <synor/base/json.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_JSON(value);
    SYN_JSON(again);
    SYN_JSON(pretty);
    SYN_BUF(text);
    SYN_BUF(text_again);
    SYN_BUF(text_pretty);

    if (syn_json_parse((const char *)data, size, &value, NULL) < 0)
        return 0;
    if (syn_json_write(value, &text, NULL) < 0 ||
        syn_json_write_pretty(value, &text_pretty, NULL) < 0)
        abort();
    /* Escapes may make a text longer than a parser takes. */
    if (text_pretty.len > SYN_JSON_BYTES_MAX)
        return 0;
    if (syn_json_parse(text.data, text.len, &again, NULL) < 0 ||
        syn_json_parse(text_pretty.data, text_pretty.len, &pretty, NULL) < 0 ||
        !json_equal(value, again) || !json_equal(value, pretty))
        abort();
    if (syn_json_write(again, &text_again, NULL) < 0 || text.len != text_again.len ||
        memcmp(text.data, text_again.data, text.len) != 0)
        abort();
    return 0;
}
