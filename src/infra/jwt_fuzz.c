/* Tokens, keys and signatures of webhooks from strangers: what is read is bounded, and no text is
 * signed by a key that signed nothing but one. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/infra/jwt.h>
#include <synor/infra/webhook.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* RFC 8037's. */
static const char key[] = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

static void
try_token(const char *text, size_t len)
{
    const struct syn_jwt_rule rule = {.audiences = {"acct-a"}, .now_s = 1700000000};
    struct syn_jwt token;
    struct syn_err err;

    if (syn_jwt_parse(text, len, &token, &err) < 0)
        return;
    assert(token.signed_len < len && len <= SYN_JWT_MAX);
    assert(!syn_jwt_signed_by(&token, key));
    if (syn_jwt_check(&token, &rule, &err) == SYN_OK)
        assert(json_object_get(token.claims, "exp") != NULL);
    (void)syn_jwt_issuer(&token);
    (void)syn_jwt_key_id(&token);
    syn_jwt_fini(&token);
}

static void
try_signature(char *text)
{
    struct syn_webhook_request request = {.signature = text, .body = "{}", .body_len = 2};
    struct syn_webhook_rule rule = {.prefix = "sha256=", .tolerance_s = 300, .secret = "sesame"};
    char *line = strchr(text, '\n');

    if (line != NULL) {
        *line = '\0';
        request.id = request.timestamp = line + 1;
    }
    for (int scheme = SYN_WEBHOOK_BODY; scheme <= SYN_WEBHOOK_STANDARD; scheme++) {
        rule.scheme = (enum syn_webhook_scheme)scheme;
        if (syn_webhook_verify(&rule, &request, 1700000000, NULL) == SYN_OK)
            assert(!"nobody who does not know the secret signs with it");
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_JSON(keys);
    SYN_BUF(text);

    try_token((const char *)data, size);
    if (syn_jwt_keys_read((const char *)data, size, &keys, NULL) == SYN_OK)
        assert(json_array_size(keys) > 0 && json_array_size(keys) <= SYN_JWT_KEYS_MAX);
    syn_buf_add(&text, data, size);
    if (text.len > 0)
        try_signature(text.data);
    return 0;
}
