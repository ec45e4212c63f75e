/* What a registry and a token server say of signing in: what is taken fits a header and a URL. */
#include <synor/base/str.h>

#include "oci_registry_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(const char *text, bool blanks)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text >= 0x7f || *text < ' ' || (*text == ' ' && !blanks))
            abort();
}

static void
try_url(const char *text)
{
    struct syn_oci_exchange *exchange = calloc(1, sizeof(*exchange));
    char host[SYN_IMAGE_HOST_MAX];
    bool plain, same;

    if (exchange == NULL)
        abort();
    (void)syn_str_copy(exchange->url, sizeof(exchange->url), "https://r.example.com/v2/a/blobs/b");
    (void)syn_str_copy(exchange->location, sizeof(exchange->location), text);
    if (syn_oci_follow(exchange, &same, NULL) == SYN_OK &&
        (syn_oci_url_host(exchange->url, host, &plain, NULL) < 0 || plain))
        abort();
    if (syn_oci_url_host(text, host, &plain, NULL) == SYN_OK &&
        (!syn_image_host_ok(host) || (plain && !syn_image_host_loopback(host))))
        abort();
    free(exchange);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_oci_challenge challenge;
    char text[2048];
    SYN_BUF(token);

    if (syn_oci_token_parse((const char *)data, size, &token, NULL) == SYN_OK) {
        if (token.len == 0 || token.len > SYN_OCI_TOKEN_MAX)
            abort();
        check_text(syn_buf_text(&token), false);
    }
    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (syn_oci_challenge_parse(text, &challenge, NULL) == SYN_OK) {
        if (challenge.bearer && challenge.realm[0] == '\0')
            abort();
        check_text(challenge.realm, !challenge.bearer);
        check_text(challenge.service, true);
    }
    try_url(text);
    return 0;
}
