/* What functions and the outside trust each other by: secrets that webhooks are signed with, keys
 * that tokens are.
 *
 * The gateway is told both within a function's document, which is told anew when they change:
 * whoever changes one writes the functions again whose routes rest on it. */
#include <string.h>

#include <synor/base/str.h>
#include <synor/infra/webhook_post.h>
#include <synor/orchestration/document.h>

#include "function_calls_priv.h"

/* --- what a spec names ------------------------------------------------------------------------ */

/* The n-th secret that a spec names beside its variables, "" where that part has none; NULL behind
 * the last. */
static const char *
secret_at(const json_t *spec, size_t n)
{
    const json_t *triggers = json_object_get(spec, "triggers");

    if (n < json_array_size(triggers))
        return syn_json_str(json_object_get(json_array_get(triggers, n), "hmac"), "secret", "");
    if (n == json_array_size(triggers))
        return syn_json_str(json_object_get(spec, "destinations"), "secret", "");
    return NULL;
}

bool
srv_function_trusts(const json_t *spec, const char *secret)
{
    const char *name;

    for (size_t i = 0; (name = secret_at(spec, i)) != NULL; i++)
        if (syn_str_eq(name, secret))
            return true;
    return false;
}

static int
check_there(struct syn_server *server, const char *noun, const char *account, const char *name,
            bool *ret, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, noun, account, name), &doc, NULL, err);

    *ret = rc == SYN_OK;
    return rc < 0 ? rc : SYN_OK;
}

/* Did the spec read this queue before? One that was deleted since keeps nobody from changing it. */
static bool
reads_queue(const json_t *spec, const char *queue)
{
    const json_t *trigger;
    size_t i;

    json_array_foreach (json_object_get(spec, "triggers"), i, trigger)
        if (syn_str_eq(syn_json_str(trigger, "queue", ""), queue))
            return true;
    return false;
}

static int
check_queues(struct syn_server *server, const char *account, const json_t *spec,
             const json_t *before, struct syn_err *err)
{
    const json_t *trigger;
    size_t i;

    json_array_foreach (json_object_get(spec, "triggers"), i, trigger) {
        const char *queue = syn_json_str(trigger, "queue", "");
        bool there = true;
        int rc = SYN_OK;

        if (queue[0] != '\0' && !reads_queue(before, queue))
            rc = check_there(server, "queue", account, queue, &there, err);
        if (rc < 0)
            return rc;
        if (!there)
            return SYN_FAIL(err, SYN_E_NOTFOUND,
                            "spec.triggers[%zu].queue: there is no queue %.63s; synor compute "
                            "queue create %.63s makes it",
                            i, queue, queue);
    }
    return SYN_OK;
}

static int
check_destinations(struct syn_server *server, const json_t *spec, struct syn_err *err)
{
    static const char *const ends[] = {"success", "failure"};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(ends); i++) {
        const char *url =
            syn_json_str(json_object_get(spec, "destinations"), ends[i], SRV_QUEUE_WORD);

        if (!syn_str_starts(url, SRV_QUEUE_WORD))
            rc = syn_webhook_url_check(url, server->webhook_private, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "spec.destinations.%s", ends[i]);
    }
    return rc;
}

/* Where a secret is named that is not there. */
static int
no_secret(const json_t *spec, size_t n, const char *name, struct syn_err *err)
{
    if (n < json_array_size(json_object_get(spec, "triggers")))
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "spec.triggers[%zu].hmac.secret: there is no secret %.63s; synor secret "
                        "set makes it",
                        n, name);
    return SYN_FAIL(err, SYN_E_NOTFOUND,
                    "spec.destinations.secret: there is no secret %.63s; synor secret set makes it",
                    name);
}

int
srv_function_trust_check(struct syn_server *server, const char *account, const json_t *spec,
                         const json_t *before, struct syn_err *err)
{
    const char *name;

    for (size_t i = 0; (name = secret_at(spec, i)) != NULL; i++) {
        bool there = true;
        int rc = SYN_OK;

        if (name[0] != '\0')
            rc = check_there(server, "secret", account, name, &there, err);
        if (rc < 0)
            return rc;
        if (!there)
            return no_secret(spec, i, name, err);
    }

    int rc = check_destinations(server, spec, err);

    return rc < 0 ? rc : check_queues(server, account, spec, before, err);
}

/* --- telling it ------------------------------------------------------------------------------- */

struct renewal {
    struct syn_server *server;
    struct srv_txn *txn;
    bool (*rests)(const json_t *spec, const char *name);
    const char *name;
};

static int
renew_one(void *arg, const char *index, json_t *doc, int64_t index_revision, struct syn_err *err)
{
    const struct renewal *renewal = arg;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(function);
    int rc = srv_load(renewal->server, srv_key(key, "function", strrchr(index, '/') + 1, NULL),
                      &function, &revision, err);

    (void)doc;
    (void)index_revision;
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    return renewal->rests(syn_document_spec(function), renewal->name)
               ? srv_txn_replace(renewal->txn, key, revision, function, err)
               : SYN_OK;
}

/* Write again, as they are, the account's functions of which rests(spec, name) says so. */
static int
renew(struct renewal *renewal, const char *account, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];

    return srv_each(renewal->server, srv_key(prefix, "function-of", account, ""), renew_one,
                    renewal, err);
}

int
srv_functions_renew_secret(struct syn_server *server, struct srv_txn *txn, const char *account,
                           const char *secret, struct syn_err *err)
{
    struct renewal renewal = {server, txn, srv_function_trusts, secret};

    return renew(&renewal, account, err);
}

static bool
takes_tokens(const json_t *spec, const char *name)
{
    const json_t *trigger;
    size_t i;

    (void)name;
    json_array_foreach (json_object_get(spec, "triggers"), i, trigger)
        if (syn_str_eq(syn_json_str(trigger, "auth", ""), "token"))
            return true;
    return false;
}

int
srv_functions_renew_tokens(struct syn_server *server, struct srv_txn *txn, const char *account,
                           struct syn_err *err)
{
    struct renewal renewal = {server, txn, takes_tokens, NULL};

    return renew(&renewal, account, err);
}

static int
add_secrets(struct syn_server *server, const char *account, json_t *routes, struct syn_err *err)
{
    const json_t *route;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (routes, i, route) {
        json_t *hmac = json_object_get(route, "hmac"), *value = NULL;

        if (hmac == NULL || rc < 0)
            continue;
        rc = srv_secret_read(server, account, syn_json_str(hmac, "secret", ""), &value, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(hmac, "key", value, err);
        if (rc == SYN_E_NOTFOUND) /* the gateway says so to who comes */
            rc = SYN_OK;
    }
    return rc;
}

static int
add_keys(struct syn_server *server, const char *account, json_t *brief, struct syn_err *err)
{
    json_t *keys = NULL;
    int rc = srv_function_token_keys(server, account, &keys, err);

    return rc < 0 ? rc : syn_json_set_take(brief, "trust", keys, err);
}

int
srv_function_trust_add(struct syn_server *server, const char *account, json_t *brief,
                       struct syn_err *err)
{
    json_t *routes = json_object_get(brief, "routes");
    const json_t *route;
    bool tokens = false;
    size_t i;

    json_array_foreach (routes, i, route)
        tokens = tokens || syn_str_eq(syn_json_str(route, "auth", ""), "token");

    int rc = add_secrets(server, account, routes, err);

    return rc < 0 || !tokens ? rc : add_keys(server, account, brief, err);
}
