/* Secrets of an account: names for texts that replicas are given and nobody else reads again.
 *
 * A secret is stored sealed (AES-256-GCM) under a key of the server's own, a file beside the store
 * that only it may read; whose it is, its name and its version are sealed with it, so none can be
 * put in another's place. No answer has a value but the one that the agent of a node gets for an
 * instance that was placed there: specs and instances name secrets, nothing more. Setting one anew
 * makes a new version of every service that uses it, in the same transaction. */
#include <inttypes.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>
#include <synor/infra/secret_file.h>
#include <synor/orchestration/document.h>
#include <synor/orchestration/life.h>
#include <synor/workload/service_spec.h>

#include "function_priv.h"

#define SECRET_BYTES_MAX ((size_t)64 << 10)
#define SECRETS_MAX      256 /* of one account */
#define SEALED_MAX       (SYN_SEAL_NONCE_LEN + SECRET_BYTES_MAX + SYN_SEAL_TAG_LEN)

/* --- sealing ---------------------------------------------------------------------------------- */

static int
read_key(const char *path, uint8_t *ret, struct syn_err *err)
{
    SYN_BUF(text);
    int rc = syn_secret_file_read(path, &text, err);

    if (rc == SYN_OK && text.len != SYN_SEAL_KEY_LEN)
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "%s is no key", path);
    if (rc == SYN_OK)
        memcpy(ret, text.data, SYN_SEAL_KEY_LEN);
    if (text.len > 0)
        syn_secret_wipe(text.data, text.len);
    return rc;
}

/* The server's key, made when it is needed first. */
static int
load_key(struct syn_server *server, uint8_t *ret, struct syn_err *err)
{
    char path[SRV_PATH_MAX + 32];
    int rc;

    (void)snprintf(path, sizeof(path), "%s/server/secrets.key", server->data_dir);
    rc = read_key(path, ret, err);
    if (rc != SYN_E_NOTFOUND)
        return rc;
    syn_secret_random(ret, SYN_SEAL_KEY_LEN);
    rc = syn_secret_file_create(path, ret, SYN_SEAL_KEY_LEN, err);
    return rc == SYN_E_EXISTS ? read_key(path, ret, err) : rc; /* somebody else was faster */
}

/* What a value is sealed together with. */
static void
label_of(const char *account, const char *name, int64_t version, char out[SRV_KEY_MAX])
{
    (void)snprintf(out, SRV_KEY_MAX, "secret/%s/%s/%" PRId64, account, name, version);
}

int
srv_seal(struct syn_server *server, const char *label, const char *value, char **ret_text,
         struct syn_err *err)
{
    uint8_t key[SYN_SEAL_KEY_LEN];
    size_t len = strlen(value), sealed_len = SYN_SEAL_NONCE_LEN + len + SYN_SEAL_TAG_LEN;
    SYN_SCOPED(syn_free_scope) uint8_t *sealed = syn_alloc(sealed_len);
    SYN_SCOPED(syn_free_scope) char *text = syn_alloc(2 * sealed_len + 1);
    const struct syn_seal seal = {key, sealed, label, strlen(label)};
    int rc;

    if (sealed == NULL || text == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a secret");
    rc = load_key(server, key, err);
    syn_secret_random(sealed, SYN_SEAL_NONCE_LEN);
    if (rc == SYN_OK)
        rc = syn_seal(&seal, value, len, sealed + SYN_SEAL_NONCE_LEN, err);
    syn_secret_wipe(key, sizeof(key));
    if (rc < 0)
        return rc;
    syn_hex_encode(sealed, sealed_len, text);
    *ret_text = SYN_TAKE(text);
    return SYN_OK;
}

int
srv_unseal(struct syn_server *server, const char *label, const char *text, json_t **ret,
           struct syn_err *err)
{
    size_t len = strlen(text) / 2, plain_len;
    uint8_t key[SYN_SEAL_KEY_LEN];
    SYN_SCOPED(syn_free_scope) uint8_t *sealed = syn_alloc(len + 1);
    const struct syn_seal seal = {key, sealed, label, strlen(label)};
    int rc;

    if (sealed == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a secret");
    if (len < SYN_SEAL_NONCE_LEN + SYN_SEAL_TAG_LEN || len > SEALED_MAX)
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s is damaged", label);
    rc = syn_hex_decode(text, sealed, len, err);
    if (rc == SYN_OK)
        rc = load_key(server, key, err);
    plain_len = len - SYN_SEAL_NONCE_LEN - SYN_SEAL_TAG_LEN;
    if (rc == SYN_OK)
        rc = syn_unseal(&seal, sealed + SYN_SEAL_NONCE_LEN, len - SYN_SEAL_NONCE_LEN,
                        sealed + SYN_SEAL_NONCE_LEN, err);
    syn_secret_wipe(key, sizeof(key));
    if (rc < 0)
        return syn_err_wrap(err, rc,
                            "%s: it is sealed under another key than that of "
                            "server/secrets.key, or damaged",
                            label);
    *ret = json_stringn((const char *)sealed + SYN_SEAL_NONCE_LEN, plain_len);
    syn_secret_wipe(sealed, len);
    return *ret != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a secret");
}

/* The value of a stored secret, as JSON text. */
static int
unseal_value(struct syn_server *server, const char *account, const json_t *doc, json_t **ret,
             struct syn_err *err)
{
    char label[SRV_KEY_MAX];

    label_of(account, syn_json_str(doc, "name", ""), syn_json_i64(doc, "version", 0), label);
    return srv_unseal(server, label, syn_json_str(doc, "sealed", ""), ret, err);
}

/* --- setting, listing, removing --------------------------------------------------------------- */

/* What may be seen of it. */
static int
seen_of(const json_t *doc, json_t **ret, struct syn_err *err)
{
    return syn_json_pack(ret, err, "{s:s, s:I, s:s}", "name", syn_json_str(doc, "name", ""),
                         "version", (json_int_t)syn_json_i64(doc, "version", 0), "updated_at",
                         syn_json_str(doc, "updated_at", ""));
}

struct setting {
    const char *account, *name, *value;
    json_t *seen;
    json_t *services; /* names of those that got a new version */
};

static int
set_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct setting *setting = arg;
    SYN_SCOPED(syn_free_scope) char *sealed = NULL;
    char key[SRV_KEY_MAX], label[SRV_KEY_MAX], at[SYN_FORMAT_MAX];
    int64_t revision = 0, version;
    SYN_JSON(before);
    SYN_JSON(doc);
    int rc = srv_load(server, srv_key(key, "secret", setting->account, setting->name), &before,
                      &revision, err);

    if (rc == SRV_ABSENT) {
        revision = 0;
        rc = srv_need_room(server, "secret", setting->account, SECRETS_MAX, "secrets", err);
    }
    version = syn_json_i64(before, "version", 0) + 1;
    label_of(setting->account, setting->name, version, label);
    if (rc == SYN_OK)
        rc = srv_seal(server, label, setting->value, &sealed, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:s, s:I, s:s, s:s}", "name", setting->name, "version",
                           (json_int_t)version, "updated_at",
                           syn_format_time(syn_wall_ms(server->world), at), "sealed", sealed);
    if (rc == SYN_OK)
        rc = srv_txn_replace(txn, key, revision, doc, err);
    if (rc == SYN_OK)
        rc = seen_of(doc, srv_again(&setting->seen), err);
    if (rc == SYN_OK)
        rc = srv_services_renew_secret(server, txn, setting->account, setting->name,
                                       srv_again(&setting->services), err);
    if (rc == SYN_OK)
        rc = srv_functions_renew_secret(server, txn, setting->account, setting->name, err);
    return rc;
}

static int
put_secret(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct setting setting = {.account = srv_identity(req)->account,
                              .value = syn_json_str(syn_http_req_json(req), "value", "")};
    int rc = srv_need_name(req, "secret", &setting.name, err);
    const json_t *id;
    size_t i;

    if (rc == SYN_OK && strlen(setting.value) > SECRET_BYTES_MAX)
        rc = SYN_FAIL(err, SYN_E_INVALID, "value: at most %zu bytes", SECRET_BYTES_MAX);
    if (rc == SYN_OK)
        rc = srv_change(server, "the secret", set_attempt, &setting, NULL, err);
    json_array_foreach (setting.services, i, id)
        if (rc == SYN_OK)
            srv_controller_poke(server->controller, json_string_value(id));
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 200, setting.seen, err);
    (void)srv_again(&setting.seen);
    (void)srv_again(&setting.services);
    return rc;
}

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    json_t *seen = NULL;
    int rc = seen_of(doc, &seen, err);

    (void)arg;
    (void)key;
    return rc < 0 ? rc : syn_json_append_take(items, seen, err);
}

static int
list_secrets(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(prefix, "secret", srv_identity(req)->account, ""),
                          false, list_item, NULL, err);
}

static int
delete_secret(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *account = srv_identity(req)->account, *name, *what = "service";
    char key[SRV_KEY_MAX], user[SYN_ID_MAX] = "";
    int64_t revision = 0;
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc = srv_need_name(req, "secret", &name, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "secret", account, name), "secret", &doc, &revision, err);
    if (rc == SYN_OK)
        rc = srv_service_with_secret(ctx, account, name, user, err);
    if (rc == SYN_OK && user[0] == '\0') {
        rc = srv_function_with_secret(ctx, account, name, user, err);
        what = "function";
    }
    if (rc == SYN_OK && user[0] != '\0')
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "%s %s uses the secret %s: update it without, or delete it, first", what,
                        user, name);
    if (rc == SYN_OK)
        rc = srv_txn_check(&txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(ctx, &txn, NULL, err);
    return rc == SYN_STORE_CONFLICT
               ? SYN_FAIL(err, SYN_E_CONFLICT, "the secret %s changed meanwhile", name)
               : rc;
}

int
srv_secrets_check(struct syn_server *server, const char *account, const json_t *spec,
                  struct syn_err *err)
{
    const char *where;
    json_t *name;
    SYN_JSON(named);
    int rc = syn_service_secrets(spec, &named, err);

    json_object_foreach (named, where, name) {
        char key[SRV_KEY_MAX];
        SYN_JSON(doc);

        rc = srv_load(server, srv_key(key, "secret", account, json_string_value(name)), &doc, NULL,
                      err);
        if (rc == SRV_ABSENT)
            return SYN_FAIL(err, SYN_E_NOTFOUND,
                            "spec.%s: there is no secret %.63s; synor secret set makes it",
                            where[0] == '/' ? "mounts" : "secrets", json_string_value(name));
        if (rc < 0)
            return rc;
    }
    return rc;
}

/* --- for the node ----------------------------------------------------------------------------- */

/* The text of one of the account's secrets. */
int
srv_secret_read(struct syn_server *server, const char *account, const char *name, json_t **ret,
                struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_need(server, srv_key(key, "secret", account, name), "secret", &doc, NULL, err);

    return rc < 0 ? rc : unseal_value(server, account, doc, ret, err);
}

/* What an instance is given, as its node's agent may know it while it is to run. */
static int
instance_secrets(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *where;
    json_t *name;
    SYN_JSON(instance);
    SYN_JSON(answer);
    SYN_JSON(named);
    int state;
    int rc = srv_instance_mine(ctx, req, &instance, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:{}, s:{}}", "env", "files");
    if (rc == SYN_OK)
        rc = syn_service_secrets(syn_document_spec(instance), &named, err);
    if (rc < 0)
        return rc;
    state = syn_instance_state_find(syn_document_state(instance));
    if (state < 0 || syn_instance_ended((unsigned)state))
        return SYN_FAIL(err, SYN_E_PRECONDITION, "instance %s has ended",
                        syn_document_id(instance));
    json_object_foreach (named, where, name) {
        json_t *value = NULL;

        rc = srv_secret_read(ctx, syn_json_str(instance, "account", ""), json_string_value(name),
                             &value, err);
        if (rc == SYN_OK)
            rc = syn_json_set_take(json_object_get(answer, where[0] == '/' ? "files" : "env"),
                                   where, value, err);
        if (rc < 0)
            return rc;
    }
    return syn_http_reply_json(req, 200, answer, err);
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field put_fields[] = {
    {.name = "value",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SECRET_BYTES_MAX,
     .required = true,
     .help = "What it is; no answer ever has it"},
};
static const struct syn_schema put_schema = SYN_SCHEMA("SecretPut", put_fields);

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/secrets", list_secrets, &srv_list_query, "secrets.list",
             "Names and versions of the account's secrets"),
    SRV_WRITE("PUT", "/v1/secrets/{name}", put_secret, &put_schema, "secrets.set",
              "Set a secret; services that use it get a new version"),
    {.method = "DELETE",
     .pattern = "/v1/secrets/{name}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_secret,
     .name = "secrets.delete",
     .summary = "Forget a secret that no service uses"},
    {.method = "GET",
     .pattern = "/v1/instances/{id}/secrets",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .handler = instance_secrets,
     .name = "instances.secrets",
     .summary = "What an instance is given, for the agent of its node"},
};

const struct srv_routes srv_secret_routes = {rows, SYN_LEN(rows)};
