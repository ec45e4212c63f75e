/* Keys of an account, with which others call its functions by HTTP:
 *
 *     "function-key/ACCOUNT/NAME"   {id, account, name, digest, functions?, rate_per_second, burst,
 *                                    expires_ms, created_at}
 *
 * A key's text is answered once, to who makes it; what is kept is its SHA-256. The text is 32
 * random bytes, so no slow hash is needed. The gateway is told these documents as they are (ADR
 * 51). */
#include <synor/base/str.h>
#include <synor/base/units.h>
#include <synor/infra/crypto.h>

#include "function_priv.h"

#define KEYS_MAX      100 /* of one account */
#define FUNCTIONS_MAX 64  /* of one key */
#define RATE_MAX      1000000
#define TTL_MAX_MS    (INT64_C(3650) * 24 * 3600 * 1000)
#define KEY_PREFIX    "sk-"
#define KEY_BYTES     32
#define KEY_TEXT      (sizeof(KEY_PREFIX) + 2 * (size_t)KEY_BYTES)

/* What may be seen of it. */
static int
seen_of(struct syn_server *server, const json_t *doc, json_t **ret, struct syn_err *err)
{
    int64_t expires_ms = syn_json_i64(doc, "expires_ms", 0);
    char until[SYN_FORMAT_MAX];

    return syn_json_pack(ret, err, "{s:s, s:O?, s:I, s:I, s:s, s:s?, s:b}", "name",
                         syn_json_str(doc, "name", ""), "functions",
                         json_object_get(doc, "functions"), "rate_per_second",
                         (json_int_t)syn_json_i64(doc, "rate_per_second", 0), "burst",
                         (json_int_t)syn_json_i64(doc, "burst", 0), "created_at",
                         syn_json_str(doc, "created_at", ""), "expires_at",
                         expires_ms != 0 ? syn_format_time(expires_ms, until) : NULL, "expired",
                         expires_ms != 0 && expires_ms <= syn_wall_ms(server->world) ? 1 : 0);
}

/* --- making ----------------------------------------------------------------------------------- */

struct making {
    const json_t *body;
    const char *account, *name;
    char digest[2 * SYN_SHA256_LEN + 1];
    json_t *doc;
};

/* A name that no function has is a mistake rather than a plan. */
static int
check_functions(struct syn_server *server, const struct making *making, struct syn_err *err)
{
    const json_t *item;
    size_t i;

    json_array_foreach (json_object_get(making->body, "functions"), i, item) {
        const char *name = json_string_value(item);
        char key[SRV_KEY_MAX];
        SYN_JSON(id);
        int rc = syn_name_ok(name)
                     ? srv_load(server, srv_key(key, "function-name", making->account, name), &id,
                                NULL, err)
                     : SRV_ABSENT;

        if (rc == SRV_ABSENT)
            return SYN_FAIL(err, SYN_E_NOTFOUND, "functions[%zu]: there is no function %.63s", i,
                            name);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
fill(struct syn_server *server, struct making *making, struct syn_err *err)
{
    const json_t *functions = json_object_get(making->body, "functions");
    int64_t now_ms = syn_wall_ms(server->world);
    int64_t ttl_ms = syn_json_i64(making->body, "ttl_ms", 0);
    int64_t rate = syn_json_i64(making->body, "rate_per_second", 0);
    char id[SRV_KEY_MAX], at[SYN_FORMAT_MAX];
    int rc;

    (void)snprintf(id, sizeof(id), "%s/%s", making->account, making->name);
    rc = syn_json_pack(srv_again(&making->doc), err, "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s}",
                       "id", id, "account", making->account, "name", making->name, "digest",
                       making->digest, "rate_per_second", (json_int_t)rate, "burst",
                       (json_int_t)syn_json_i64(making->body, "burst", rate), "expires_ms",
                       (json_int_t)(ttl_ms > 0 ? now_ms + ttl_ms : 0), "created_at",
                       syn_format_time(now_ms, at));
    if (rc == SYN_OK && functions != NULL)
        rc = syn_json_set_take(making->doc, "functions", syn_json_deep_copy(functions), err);
    return rc;
}

static int
make_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct making *making = arg;
    char key[SRV_KEY_MAX];
    SYN_JSON(before);
    int rc = srv_load(server, srv_key(key, "function-key", making->account, making->name), &before,
                      NULL, err);

    if (rc == SYN_OK)
        return SYN_FAIL(err, SYN_E_EXISTS, "there is a key %s: remove it first, or name another",
                        making->name);
    if (rc == SRV_ABSENT)
        rc = srv_need_room(server, "function-key", making->account, KEYS_MAX, "keys of functions",
                           err);
    if (rc == SYN_OK)
        rc = check_functions(server, making, err);
    if (rc == SYN_OK)
        rc = fill(server, making, err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, 0, making->doc, err);
}

/* "sk-..." and its digest. */
static void
draw(char text[KEY_TEXT], char *ret_digest)
{
    uint8_t bytes[KEY_BYTES], digest[SYN_SHA256_LEN];

    syn_secret_random(bytes, sizeof(bytes));
    memcpy(text, KEY_PREFIX, sizeof(KEY_PREFIX));
    syn_hex_encode(bytes, sizeof(bytes), text + strlen(KEY_PREFIX));
    syn_sha256(text, strlen(text), digest);
    syn_hex_encode(digest, sizeof(digest), ret_digest);
    syn_secret_wipe(bytes, sizeof(bytes));
}

static int
create_key(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const json_t *body = syn_http_req_json(req);
    struct making making = {.body = body,
                            .account = srv_identity(req)->account,
                            .name = syn_json_str(body, "name", "")};
    char text[KEY_TEXT];
    SYN_JSON(answer);
    int rc;

    if (json_object_get(body, "burst") != NULL && syn_json_i64(body, "rate_per_second", 0) == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "burst: is of use with rate_per_second alone: without a rate there is no "
                        "limit");
    draw(text, making.digest);
    rc = srv_change(ctx, "the keys of functions", make_attempt, &making, NULL, err);
    if (rc == SYN_OK)
        rc = seen_of(ctx, making.doc, &answer, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(answer, "key", text, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 201, answer, err);
    syn_secret_wipe(text, sizeof(text));
    (void)srv_again(&making.doc);
    return rc;
}

/* --- listing, removing ------------------------------------------------------------------------ */

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    json_t *seen = NULL;
    int rc = seen_of(arg, doc, &seen, err);

    (void)key;
    return rc < 0 ? rc : syn_json_append_take(items, seen, err);
}

static int
list_keys(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(prefix, "function-key", srv_identity(req)->account, ""),
                          false, list_item, ctx, err);
}

static int
delete_key(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *name;
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc = srv_need_name(req, "key", &name, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "function-key", srv_identity(req)->account, name), "key",
                      &doc, &revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_check(&txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(ctx, &txn, NULL, err);
    return rc == SYN_STORE_CONFLICT
               ? SYN_FAIL(err, SYN_E_CONFLICT, "the key %s changed meanwhile", name)
               : rc;
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field key_fields[] = {
    {.name = "name", .kind = SYN_FIELD_NAME, .required = true, .help = "Whose or what it is"},
    {.name = "functions",
     .kind = SYN_FIELD_LIST,
     .min = 1,
     .max = FUNCTIONS_MAX,
     .help = "Names of those that it may call; without it all of the account's"},
    {.name = "rate_per_second",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = RATE_MAX,
     .help = "Calls of each function; without it any number"},
    {.name = "burst",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = RATE_MAX,
     .help = "Calls of each at once, after some rest; default rate_per_second"},
    {.name = "ttl_ms",
     .kind = SYN_FIELD_MS,
     .min = 1,
     .max = TTL_MAX_MS,
     .help = "How long it is valid; without it until it is removed"},
};
static const struct syn_schema key_schema = SYN_SCHEMA("FunctionKeyCreate", key_fields);

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/function-keys", list_keys, &srv_list_query, "function-keys.list",
             "Keys that functions are called with"),
    SRV_WRITE("POST", "/v1/function-keys", create_key, &key_schema, "function-keys.create",
              "Make a key that functions are called with; its text is shown once"),
    {.method = "DELETE",
     .pattern = "/v1/function-keys/{name}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_key,
     .name = "function-keys.delete",
     .summary = "Remove a key; who has it calls no more"},
};

const struct srv_routes srv_function_key_routes = {rows, SYN_LEN(rows)};
