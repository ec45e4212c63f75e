/* Who has which route of the gateway. Host, path and method together are one thing that one
 * function can have, whoever asks first, as hosts and paths of services are:
 *
 *     "function-route/HASH"   {function, account, host, path, method}
 *
 * HASH is of all three, the names in the path left out: /a/{x} and /a/{y} are the same. */
#include <string.h>

#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/orchestration/document.h>

#include "function_priv.h"

#define DIGEST_BYTES 16

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};

/* The pattern without the names in it. */
static void
add_shape(struct syn_buf *out, const char *pattern)
{
    for (const char *at = pattern; *at != '\0'; at++) {
        syn_buf_addc(out, *at);
        if (*at == '{') {
            at += strcspn(at, "*}");
            syn_buf_addc(out, *at);
        }
    }
}

static int
route_key(const json_t *trigger, const char *method, char out[SRV_KEY_MAX], struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];
    char text[2 * DIGEST_BYTES + 1];
    SYN_BUF(all);
    int rc;

    syn_buf_addf(&all, "%s\n%s\n", method, syn_json_str(trigger, "host", ""));
    add_shape(&all, syn_json_str(trigger, "path", ""));
    rc = syn_buf_ok(&all, err);
    if (rc < 0)
        return rc;
    syn_sha256(syn_buf_text(&all), all.len, digest);
    syn_hex_encode(digest, DIGEST_BYTES, text);
    (void)srv_key(out, "function-route", text, NULL);
    return SYN_OK;
}

static bool
serves(const json_t *trigger, const char *method)
{
    const json_t *given = json_object_get(trigger, "methods"), *item;
    size_t i;

    json_array_foreach (given, i, item)
        if (syn_str_eq(json_string_value(item), method))
            return true;
    return given == NULL;
}

/* {key: {function, ...}} of all routes of the spec. */
static int
routes_of(const char *id, const char *account, const json_t *spec, json_t *ret, struct syn_err *err)
{
    const json_t *trigger;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(spec, "triggers"), i, trigger) {
        if (!syn_str_eq(syn_json_str(trigger, "type", ""), "http"))
            continue;
        for (size_t m = 0; m < SYN_LEN(methods) && rc == SYN_OK; m++) {
            char key[SRV_KEY_MAX];
            json_t *row = NULL;

            if (!serves(trigger, methods[m]))
                continue;
            rc = route_key(trigger, methods[m], key, err);
            if (rc == SYN_OK)
                rc = syn_json_pack(&row, err, "{s:s, s:s, s:s, s:s, s:s}", "function", id,
                                   "account", account, "host", syn_json_str(trigger, "host", ""),
                                   "path", syn_json_str(trigger, "path", ""), "method", methods[m]);
            if (rc == SYN_OK)
                rc = syn_json_set_take(ret, key, row, err);
        }
    }
    return rc;
}

/* Other accounts' functions are nobody's business. */
static int
refuse(struct syn_server *server, const char *account, const json_t *taken, struct syn_err *err)
{
    bool own = syn_str_eq(syn_json_str(taken, "account", ""), account);
    char key[SRV_KEY_MAX];
    SYN_JSON(function);
    int rc =
        own ? srv_load(server, srv_key(key, "function", syn_json_str(taken, "function", "?"), NULL),
                       &function, NULL, err)
            : SYN_OK;

    if (rc < 0)
        return rc;
    return SYN_FAIL(err, SYN_E_CONFLICT, "%s %s%s is already %s%s",
                    syn_json_str(taken, "method", ""), syn_json_str(taken, "host", ""),
                    syn_json_str(taken, "path", ""),
                    own ? "served by the function " : "served by another account's function",
                    own ? syn_json_str(function, "name", "?") : "");
}

int
srv_function_routes_put(struct syn_server *server, struct srv_txn *txn, const char *id,
                        const char *account, const json_t *spec, struct syn_err *err)
{
    char own_key[SRV_KEY_MAX];
    const char *key;
    json_t *row;
    SYN_JSON(before);
    SYN_JSON(wanted);
    SYN_JSON(function);
    int rc = srv_load(server, srv_key(own_key, "function", id, NULL), &function, NULL, err);

    before = json_object();
    wanted = json_object();
    if (rc >= 0 && (before == NULL || wanted == NULL))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for routes");
    if (rc == SYN_OK)
        rc = routes_of(id, account, syn_document_spec(function), before, err);
    if (rc >= 0)
        rc = routes_of(id, account, spec, wanted, err);
    json_object_foreach (wanted, key, row) {
        SYN_JSON(taken);
        int64_t revision = 0;

        if (rc < 0)
            break;
        rc = srv_load(server, key, &taken, &revision, err);
        if (rc == SYN_OK && !syn_str_eq(syn_json_str(taken, "function", ""), id))
            return refuse(server, account, taken, err);
        if (rc >= 0)
            rc = srv_txn_replace(txn, key, rc == SRV_ABSENT ? 0 : revision, row, err);
    }
    json_object_foreach (before, key, row)
        if (rc == SYN_OK && json_object_get(wanted, key) == NULL)
            rc = srv_txn_delete(txn, key, err);
    return rc;
}
