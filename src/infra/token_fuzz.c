/* Tokens and scope lists from strangers: whatever parses must print back to itself. */
#include <stddef.h>
#include <stdint.h>

#include <synor/infra/token.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t digest[SYN_SHA256_LEN];
    uint8_t bytes[64];
    char text[256];
    char out[SYN_SCOPES_TEXT_SIZE];
    size_t len;
    struct syn_scopes scopes;
    struct syn_scopes again;

    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (syn_token_digest(text, size, digest, NULL) == 0)
        assert(size == SYN_TOKEN_LEN);
    if (syn_scopes_parse(text, &scopes, NULL) == 0) {
        int rc = syn_scopes_parse(syn_scopes_format(&scopes, out), &again, NULL);

        assert(rc == 0 && again.bits == scopes.bits && strcmp(again.node, scopes.node) == 0);
    }
    if (syn_base32_decode(text, size, bytes, sizeof(bytes), &len, NULL) == 0) {
        char back[SYN_BASE32_SIZE(sizeof(bytes))];

        syn_base32_encode(bytes, len, back);
        assert(strlen(back) == size && memcmp(back, text, size) == 0);
    }
    for (int kind = SYN_BASE64_STD; kind <= SYN_BASE64_URL; kind++) {
        char back[SYN_BASE64_SIZE(sizeof(bytes))];

        if (syn_base64_decode((enum syn_base64)kind, text, size, bytes, sizeof(bytes), &len, NULL) <
            0)
            continue;
        syn_base64_encode((enum syn_base64)kind, bytes, len, back);
        assert(strlen(back) == size && memcmp(back, text, size) == 0);
    }
    return 0;
}
