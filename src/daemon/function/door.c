/* What a route asks of who calls it by HTTP: a key, a signature of the body.
 *
 * Keys are looked at as soon as the head is there, signatures when the body is: what has none is
 * refused before. A secret comes with its route, in the table; the route may be another one by the
 * time that the body has arrived, so a call holds what it was told. */
#include "function_priv.h"

#include <synor/base/str.h>
#include <synor/infra/webhook.h>

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

int
fgw_door_head(struct fgw_call *call, const struct fgw_route *route, struct syn_err *err)
{
    int rc = SYN_OK;

    if (route->needs_key)
        rc = fgw_keys_admit(call, route->function, err);
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
}
