/* Answers of instances, which tenants write: heads, and the chunks behind them, whatever the cuts.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/infra/http_answer.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes of content, -1: malformed, -2: not at its end. */
static ptrdiff_t
chunks(const char *data, size_t size, size_t piece)
{
    struct syn_http_chunks state = {0, 0, 0};
    ptrdiff_t total = 0;
    size_t at = 0;
    int rc = SYN_OK;

    while (at < size && rc == SYN_OK) {
        const char *span = NULL;
        size_t used = 0;
        size_t len = 0;

        rc = syn_http_chunks_feed(&state, data + at, SYN_MIN(piece, size - at), &used, &span, &len,
                                  NULL);
        if (rc < 0)
            return -1;
        assert(used > 0 && len <= used);
        assert(len == 0 || (span >= data + at && span + len <= data + at + used));
        at += used;
        total += (ptrdiff_t)len;
    }
    return rc == SYN_HTTP_CHUNKS_END ? total : -2;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct syn_http_answer answer;
    char *copy = syn_alloc(size + 1);
    size_t scanned = 0;
    size_t len;

    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    len = syn_http_answer_end(copy, size, &scanned);
    if (len > 0 && syn_http_answer_parse(copy, len, &answer, NULL) == 0) {
        assert(answer.status >= 100 && answer.status <= 999);
        assert(!answer.chunked || answer.content_length < 0);
        for (unsigned i = 0; i < answer.header_count; i++) {
            assert(answer.headers[i].name[0] != '\0');
            assert(strpbrk(answer.headers[i].value, "\r\n") == NULL);
        }
    }
    assert(chunks(copy + len, size - len, 1) == chunks(copy + len, size - len, SIZE_MAX));
    syn_free(copy);
    return 0;
}
