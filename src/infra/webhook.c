#include <synor/infra/webhook.h>

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#define SECRET_PREFIX  "whsec_"
#define SECRET_KEY_MAX 512 /* bytes that a base64 secret stands for */
#define DIGITS_HEX     ((size_t)2 * SYN_SHA256_LEN)
#define DIGITS_BASE64  (SYN_BASE64_SIZE(SYN_SHA256_LEN) - 1)

/* By enum syn_webhook_scheme. */
static const char *const scheme_names[] = {"body", "stripe", "standard"};

int
syn_webhook_scheme_find(const char *name)
{
    for (size_t i = 0; i < SYN_LEN(scheme_names); i++)
        if (strcmp(scheme_names[i], name) == 0)
            return (int)i;
    return -1;
}

/* HMAC of ID.SECONDS.BODY, of SECONDS.BODY, or of BODY: what is NULL is left out with its dot. */
static void
digest(const void *key, size_t key_len, const char *const before[2], const void *body,
       size_t body_len, uint8_t ret[SYN_SHA256_LEN])
{
    crypto_auth_hmacsha256_state state;

    (void)crypto_auth_hmacsha256_init(&state, key, key_len);
    for (int i = 0; i < 2; i++) {
        if (before[i] == NULL)
            continue;
        (void)crypto_auth_hmacsha256_update(&state, (const uint8_t *)before[i], strlen(before[i]));
        (void)crypto_auth_hmacsha256_update(&state, (const uint8_t *)".", 1);
    }
    (void)crypto_auth_hmacsha256_update(&state, body, body_len);
    (void)crypto_auth_hmacsha256_final(&state, ret);
    sodium_memzero(&state, sizeof(state));
}

/* As Standard Webhooks has secrets. */
static void
standard_digest(const char *secret, const char *const before[2], const void *body, size_t body_len,
                uint8_t ret[SYN_SHA256_LEN])
{
    const char *text = secret + strlen(SECRET_PREFIX);
    uint8_t key[SECRET_KEY_MAX];
    size_t len = 0;

    if (syn_str_starts(secret, SECRET_PREFIX) &&
        syn_base64_decode(SYN_BASE64_STD, text, strlen(text), key, sizeof(key), &len, NULL) ==
            SYN_OK)
        digest(key, len, before, body, body_len, ret);
    else
        digest(secret, strlen(secret), before, body, body_len, ret);
    sodium_memzero(key, sizeof(key));
}

/* Do the digits say `want`? Which digits they are of a wrong signature may be seen by the time. */
static bool
says(const char *digits, size_t len, const uint8_t want[SYN_SHA256_LEN])
{
    uint8_t given[SYN_SHA256_LEN];
    char text[DIGITS_HEX + 1];
    size_t given_len = 0;

    if (len == DIGITS_HEX) {
        memcpy(text, digits, len);
        text[len] = '\0';
        if (syn_hex_decode(text, given, sizeof(given), NULL) < 0)
            return false;
    } else if (len != DIGITS_BASE64 ||
               syn_base64_decode(SYN_BASE64_STD, digits, len, given, sizeof(given), &given_len,
                                 NULL) < 0 ||
               given_len != sizeof(given)) {
        return false;
    }
    return syn_secret_eq(given, want, sizeof(given));
}

/* The next part of *rest, which a comma or blank ends; false behind the last. */
static bool
next_part(const char **rest, char end, const char **ret, size_t *ret_len)
{
    const char stop[2] = {end, '\0'};

    *rest += strspn(*rest, " ");
    if (**rest == '\0')
        return false;
    *ret = *rest;
    *ret_len = strcspn(*rest, stop);
    *rest += *ret_len;
    *rest += **rest == end;
    while (*ret_len > 0 && (*ret)[*ret_len - 1] == ' ')
        (*ret_len)--;
    return true;
}

/* Does one of the list's signatures, each behind `mark`, say `want`? */
static bool
one_says(const char *list, char end, const char *mark, const uint8_t want[SYN_SHA256_LEN])
{
    size_t len, mark_len = strlen(mark);
    const char *part;
    bool found = false;

    while (next_part(&list, end, &part, &len))
        if (len > mark_len && strncmp(part, mark, mark_len) == 0)
            found = says(part + mark_len, len - mark_len, want) || found;
    return found;
}

static int
check_time(const struct syn_webhook_rule *rule, const char *text, int64_t now_s,
           struct syn_err *err)
{
    int64_t at_s;

    if (syn_parse_i64(text, 0, INT64_MAX / 2, "time", &at_s, NULL) < 0)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "the signature's time \"%.24s\" is no number of seconds", text);
    if (at_s < now_s - rule->tolerance_s || at_s > now_s + rule->tolerance_s)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "the signature's time is %" PRId64 " s from now; %" PRId64 " are allowed",
                        at_s < now_s ? now_s - at_s : at_s - now_s, rule->tolerance_s);
    return SYN_OK;
}

static int
verdict(bool same, struct syn_err *err)
{
    return same ? SYN_OK
                : SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                           "the signature is not that of this body and the route's secret");
}

static int
verify_body(const struct syn_webhook_rule *rule, const struct syn_webhook_request *request,
            struct syn_err *err)
{
    static const char *const nothing[2] = {NULL, NULL};
    const char *digits = request->signature;
    uint8_t want[SYN_SHA256_LEN];

    if (!syn_str_starts(digits, rule->prefix))
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "the signature does not begin with %.40s",
                        rule->prefix);
    digits += strlen(rule->prefix);
    digest(rule->secret, strlen(rule->secret), nothing, request->body, request->body_len, want);
    return verdict(says(digits, strlen(digits), want), err);
}

static int
verify_stripe(const struct syn_webhook_rule *rule, const struct syn_webhook_request *request,
              int64_t now_s, struct syn_err *err)
{
    const char *rest = request->signature, *part;
    uint8_t want[SYN_SHA256_LEN];
    char time[24] = "";
    size_t len;
    int rc;

    while (next_part(&rest, ',', &part, &len))
        if (len > 2 && len - 2 < sizeof(time) && strncmp(part, "t=", 2) == 0)
            (void)snprintf(time, sizeof(time), "%.*s", (int)(len - 2), part + 2);
    rc = check_time(rule, time, now_s, err);
    if (rc < 0)
        return rc;
    digest(rule->secret, strlen(rule->secret), (const char *const[2]){NULL, time}, request->body,
           request->body_len, want);
    return verdict(one_says(request->signature, ',', "v1=", want), err);
}

static int
verify_standard(const struct syn_webhook_rule *rule, const struct syn_webhook_request *request,
                int64_t now_s, struct syn_err *err)
{
    uint8_t want[SYN_SHA256_LEN];
    int rc;

    if (request->id == NULL || request->timestamp == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "webhook-id and webhook-timestamp are needed beside the signature");
    rc = check_time(rule, request->timestamp, now_s, err);
    if (rc < 0)
        return rc;
    standard_digest(rule->secret, (const char *const[2]){request->id, request->timestamp},
                    request->body, request->body_len, want);
    return verdict(one_says(request->signature, ' ', "v1,", want), err);
}

int
syn_webhook_verify(const struct syn_webhook_rule *rule, const struct syn_webhook_request *request,
                   int64_t now_s, struct syn_err *err)
{
    if (request->signature == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "a signature is needed here");
    if (strlen(request->signature) > SYN_WEBHOOK_HEADER_MAX)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "a signature of more than %d bytes",
                        SYN_WEBHOOK_HEADER_MAX);
    switch (rule->scheme) {
    case SYN_WEBHOOK_STRIPE:
        return verify_stripe(rule, request, now_s, err);
    case SYN_WEBHOOK_STANDARD:
        return verify_standard(rule, request, now_s, err);
    case SYN_WEBHOOK_BODY:
    default:
        return verify_body(rule, request, err);
    }
}

void
syn_webhook_sign(const char *secret, const char *id, int64_t at_s, const void *body,
                 size_t body_len, char out[SYN_WEBHOOK_SIGNATURE_SIZE])
{
    uint8_t mac[SYN_SHA256_LEN];
    char time[24];

    (void)snprintf(time, sizeof(time), "%" PRId64, at_s);
    standard_digest(secret, (const char *const[2]){id, time}, body, body_len, mac);
    (void)syn_str_copy(out, SYN_WEBHOOK_SIGNATURE_SIZE, "v1,");
    syn_base64_encode(SYN_BASE64_STD, mac, sizeof(mac), out + 3);
}
