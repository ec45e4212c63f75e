/* What a route asks of who calls it by HTTP: a key, a token, a signature of the body.
 *
 * Keys and tokens are looked at as soon as the head is there, signatures when the body is: what has
 * none is refused before. A secret comes with its route, in the table; the route may be another one
 * by the time that the body has arrived, so a call holds what it was told. Whose tokens are taken
 * comes with the function: a token is checked here, and nobody is asked. */
#include "function_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/jwt.h>
#include <synor/infra/webhook.h>

/* --- tokens ----------------------------------------------------------------------------------- */

/* The key that signed it; NULL: none of those whose tokens are taken. */
static const json_t *
signer_of(const struct syn_jwt *token, const struct fgw_function *function, struct syn_err *err)
{
    const char *issuer = syn_jwt_issuer(token), *kid = syn_jwt_key_id(token);
    bool issuer_known = false, key_known = false;
    const json_t *key;
    size_t i;

    json_array_foreach (function->trust, i, key) {
        const char *own = syn_json_str(key, "kid", "");

        if (!syn_str_eq(syn_json_str(key, "issuer", ""), issuer))
            continue;
        issuer_known = true;
        if (own[0] != '\0' && kid[0] != '\0' && !syn_str_eq(own, kid))
            continue;
        key_known = true;
        if (syn_jwt_signed_by(token, syn_json_str(key, "key", "")))
            return key;
    }
    if (!issuer_known)
        (void)SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                       "token-issuer: tokens of \"%.60s\" (iss) are not taken here", issuer);
    else if (!key_known)
        (void)SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                       "token-key: its issuer has no key \"%.60s\" (kid), or has it no more", kid);
    else
        (void)SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                       "token-signature: it is not signed by its issuer's key");
    return NULL;
}

static int
check_token(struct fgw_call *call, const struct fgw_function *function, const struct syn_jwt *token,
            struct syn_err *err)
{
    const json_t *key = signer_of(token, function, err);
    const char *subject = syn_json_str(token->claims, "sub", NULL);
    char one[2 * SYN_ID_MAX];
    struct syn_jwt_rule rule = {.now_s = syn_wall_ms(syn_world_system()) / 1000};
    int rc;

    if (key == NULL)
        return SYN_E_UNAUTHENTICATED;
    (void)snprintf(one, sizeof(one), "%s/%s", function->account, function->name);
    rule.audiences[0] = syn_json_str(key, "audience", one);
    if (json_object_get(key, "audience") == NULL)
        rule.audiences[1] = function->account;
    rc = syn_jwt_check(token, &rule, err);
    if (rc < 0 || subject == NULL)
        return rc;
    call->subject = syn_strdup(subject);
    return call->subject != NULL ? SYN_OK
                                 : SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a subject");
}

static int
admit_token(struct fgw_call *call, const struct fgw_function *function, struct syn_err *err)
{
    const char *text = syn_http_req_bearer(call->req);
    struct syn_jwt token;
    int rc;

    call->key_header = "authorization";
    if (text == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "token-missing: a token is needed here: Authorization: Bearer TOKEN");
    rc = syn_jwt_parse(text, strlen(text), &token, err);
    if (rc < 0)
        return rc;
    rc = check_token(call, function, &token, err);
    syn_jwt_fini(&token);
    return rc;
}

/* --- signatures ------------------------------------------------------------------------------- */

static enum syn_webhook_scheme
scheme_of(const json_t *hmac)
{
    int scheme = syn_webhook_scheme_find(syn_json_str(hmac, "scheme", "body"));

    return scheme < 0 ? SYN_WEBHOOK_BODY : (enum syn_webhook_scheme)scheme;
}

static const char *
signature_of(const struct fgw_call *call)
{
    return syn_http_req_header(call->req, syn_json_str(call->hmac, "header", ""));
}

/* What would be in vain is not waited for. */
static int
expect_signature(struct fgw_call *call, json_t *hmac, struct syn_err *err)
{
    const char *header = syn_json_str(hmac, "header", "");

    if (json_object_get(hmac, "key") == NULL)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE,
                        "this route's secret %.63s is not there: its owner has to set it",
                        syn_json_str(hmac, "secret", "?"));
    call->hmac = json_incref(hmac);
    return signature_of(call) != NULL ? SYN_OK
                                      : SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                                                 "a signature is needed here, as %.64s", header);
}

/* --- the door --------------------------------------------------------------------------------- */

int
fgw_door_head(struct fgw_call *call, const struct fgw_route *route, struct syn_err *err)
{
    int rc = SYN_OK;

    if (route->needs_key)
        rc = fgw_keys_admit(call, route->function, err);
    if (route->needs_token)
        rc = admit_token(call, route->function, err);
    if (rc == SYN_OK && route->hmac != NULL)
        rc = expect_signature(call, route->hmac, err);
    return rc;
}

int
fgw_door_body(struct fgw_call *call, struct syn_err *err)
{
    const json_t *hmac = call->hmac;
    struct syn_webhook_request request = {.id = syn_http_req_header(call->req, "webhook-id"),
                                          .timestamp =
                                              syn_http_req_header(call->req, "webhook-timestamp")};
    const struct syn_webhook_rule rule = {.scheme = scheme_of(hmac),
                                          .prefix = syn_json_str(hmac, "prefix", ""),
                                          .tolerance_s = syn_json_i64(hmac, "tolerance_s", 300),
                                          .secret = syn_json_str(hmac, "key", "")};

    if (hmac == NULL)
        return SYN_OK;
    request.signature = signature_of(call);
    request.body = syn_http_req_body(call->req, &request.body_len);
    return syn_webhook_verify(&rule, &request, syn_wall_ms(syn_world_system()) / 1000, err);
}

void
fgw_door_leave(struct fgw_call *call)
{
    json_decref(call->hmac);
    call->hmac = NULL;
    syn_free(call->subject);
    call->subject = NULL;
}
