#include <synor/infra/cid.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is accepted must come back the same from its canonical spelling. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_cid cid;
    struct syn_cid back;
    char text[SYN_CID_TEXT_MAX];
    size_t used = 0;

    if (syn_cid_parse((const char *)data, size, &cid, NULL) == 0) {
        (void)syn_cid_format(&cid, text);
        if (size == strlen(text) && memcmp(text, data, size) != 0)
            abort();
        if (syn_cid_parse(text, strlen(text), &back, NULL) != 0 || !syn_cid_eq(&cid, &back))
            abort();
    }
    if (syn_cid_decode(data, size, &cid, &used, NULL) == 0) {
        uint8_t bytes[SYN_CID_BYTES];

        if (used > size)
            abort();
        syn_cid_encode(&cid, bytes);
        if (used == SYN_CID_BYTES && memcmp(bytes, data, used) != 0)
            abort();
    }
    return 0;
}
