/* What is read back from an attachment's record, and every address that is asked for. */
#include <string.h>

#include <synor/base/json.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "attachment_priv.h"
#include "filter_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What parses is written as something that parses to the same. */
static void
round_trip(const struct syn_attachment *first)
{
    struct syn_attachment *second = syn_calloc(1, sizeof(*second));
    SYN_BUF(once);
    SYN_BUF(twice);

    if (second && syn_attachment_format(first, &once, NULL) == SYN_OK &&
        syn_attachment_parse(once.data, once.len, second, NULL) == SYN_OK &&
        syn_attachment_format(second, &twice, NULL) == SYN_OK)
        assert(syn_str_eq(syn_buf_text(&once), syn_buf_text(&twice)));
    else
        assert(!"what was written is not read");
    syn_free(second);
}

/* Nothing of a record ends a line or a quoted name of the rules it is made into. */
static void
rules_are_lines(const struct syn_attachment *attachment)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct syn_filter_node node = {.table = "synor_000000"};
    struct syn_filter_member member = {.attachment = attachment,
                                       .bridge = "sy000000b000000",
                                       .port = "sy000000p000000",
                                       .mac = mac};
    SYN_BUF(text);

    assert(syn_addr_parse("10.1.2.3", "address", &member.address4, NULL) == SYN_OK);
    assert(syn_addr_parse("fd00::1", "address", &member.address6, NULL) == SYN_OK);
    syn_filter_remove(&node, &member, true, &text);
    for (const char *line = syn_buf_text(&text); *line != '\0'; line += strcspn(line, "\n") + 1)
        assert(syn_str_starts(line, "add ") || syn_str_starts(line, "delete ") ||
               syn_str_starts(line, "flush "));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_attachment *attachment = syn_calloc(1, sizeof(*attachment));
    char *text = syn_strndup((const char *)data, size);
    char printed[SYN_PREFIX_TEXT_MAX];
    struct syn_prefix prefix, again;

    if (attachment && syn_attachment_parse((const char *)data, size, attachment, NULL) == SYN_OK) {
        round_trip(attachment);
        rules_are_lines(attachment);
    }
    if (text && syn_prefix_parse(text, "prefix", &prefix, NULL) == SYN_OK) {
        assert(syn_prefix_parse(syn_prefix_format(&prefix, printed), "prefix", &again, NULL) ==
               SYN_OK);
        assert(syn_addr_eq(&prefix.addr, &again.addr) && prefix.len == again.len);
        assert(syn_prefix_overlap(&prefix, &again));
    }
    syn_free(text);
    syn_free(attachment);
    return 0;
}
