/* A guest's output from the first byte on: whatever it is, it is told in the end, what was a head
 * stays one when more comes, and its lines are headers. */
#include "cgi_priv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_head(struct syn_wasm_text head)
{
    struct syn_wasm_text name, value;
    size_t count = 0;

    while (wasm_cgi_next(&head, &name, &value)) {
        int status = wasm_cgi_status(value);

        if (!wasm_header_name_ok(name) || !wasm_header_value_ok(value) ||
            (status && (status < 200 || status > 599)) || ++count > SYN_WASM_HEADERS_MAX)
            abort();
    }
    if (count == 0)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = size ? (const char *)data : "";
    size_t end = 0, before = 0;
    enum wasm_cgi whole = wasm_cgi_look(text, size, true, &end);
    enum wasm_cgi part = wasm_cgi_look(text, size / 2, false, &before);

    if (whole == WASM_CGI_MORE || (part != WASM_CGI_MORE && part != whole) ||
        (part == WASM_CGI_HEAD && before != end))
        abort();
    if (whole == WASM_CGI_HEAD) {
        if (end > size || end > SYN_WASM_HEADER_BYTES_MAX)
            abort();
        check_head((struct syn_wasm_text){text, end});
    }
    return 0;
}
