/* Keys of accounts: who may call a function whose route asks for one, and how often.
 *
 * The server tells a key as a document of its own, by its digest; what a request brings is digested
 * and looked up. A key has a bucket for each function that it calls: `burst` calls at most, filled
 * up by `rate` a second. Time is in nanoseconds, so a bucket that counts billionths of a call is
 * exact: each nanosecond adds `rate` of them. */
#include "function_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>

#define CALL      INT64_C(1000000000) /* a call, as buckets count */
#define SECOND_NS INT64_C(1000000000)
#define RATE_MAX  INT64_C(1000000)
#define BURST_MAX INT64_C(1000000)

struct fgw_key {
    char id[2 * SYN_ID_MAX]; /* ACCOUNT/NAME */
    char account[SYN_ID_MAX], name[SYN_ID_MAX];
    char digest[2 * SYN_SHA256_LEN + 1];
    json_t *functions; /* names; NULL: all of the account's */
    int64_t rate;      /* calls a second; 0: any number */
    int64_t burst;
    int64_t expires_ms;      /* 0: never */
    struct syn_map *buckets; /* function's id -> struct fgw_bucket */
    bool seen;
};

struct fgw_keys {
    struct syn_map *by_id;     /* -> struct fgw_key, owned */
    struct syn_map *by_digest; /* -> the same */
};

/* --- buckets ---------------------------------------------------------------------------------- */

void
fgw_bucket_fill(struct fgw_bucket *bucket, int64_t burst, int64_t now_ns)
{
    *bucket = (struct fgw_bucket){.left = burst * CALL, .at_ns = now_ns};
}

bool
fgw_bucket_take(struct fgw_bucket *bucket, int64_t rate, int64_t burst, int64_t now_ns)
{
    int64_t passed = SYN_MAX(now_ns - bucket->at_ns, 0);
    int64_t full = burst * CALL;

    assert(rate > 0 && rate <= RATE_MAX && burst > 0 && burst <= BURST_MAX);
    if (passed >= full / rate + 1)
        bucket->left = full;
    else
        bucket->left = SYN_MIN(bucket->left + passed * rate, full);
    bucket->at_ns = SYN_MAX(bucket->at_ns, now_ns);
    if (bucket->left < CALL)
        return false;
    bucket->left -= CALL;
    return true;
}

static int
take(struct fgw_key *key, const char *function, int64_t now_ns, bool *ret_taken,
     struct syn_err *err)
{
    struct fgw_bucket *bucket = syn_map_find(key->buckets, function);

    if (bucket == NULL) {
        int rc;

        bucket = syn_calloc(1, sizeof(*bucket));
        if (bucket == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a key's calls");
        fgw_bucket_fill(bucket, key->burst, now_ns);
        rc = syn_map_put_take(key->buckets, function, bucket, err);
        if (rc < 0)
            return rc;
    }
    *ret_taken = fgw_bucket_take(bucket, key->rate, key->burst, now_ns);
    return SYN_OK;
}

/* --- keys ------------------------------------------------------------------------------------- */

static void
key_free(void *value)
{
    struct fgw_key *key = value;

    (void)syn_map_free(key->buckets);
    json_decref(key->functions);
    syn_free(key);
}

struct fgw_keys *
fgw_keys_free(struct fgw_keys *keys)
{
    if (keys == NULL)
        return NULL;
    (void)syn_map_free(keys->by_digest);
    (void)syn_map_free(keys->by_id);
    syn_free(keys);
    return NULL;
}

int
fgw_keys_new(struct fgw_keys **ret, struct syn_err *err)
{
    struct fgw_keys *keys = syn_calloc(1, sizeof(*keys));
    int rc;

    if (keys == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for keys");
    rc = syn_map_new(key_free, &keys->by_id, err);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &keys->by_digest, err);
    if (rc < 0) {
        (void)fgw_keys_free(keys);
        return rc;
    }
    *ret = keys;
    return SYN_OK;
}

static int
read_key(const json_t *doc, struct fgw_key *key, struct syn_err *err)
{
    json_t *functions = json_object_get(doc, "functions");

    if (!syn_str_copy(key->id, sizeof(key->id), syn_json_str(doc, "id", "")) ||
        !syn_str_copy(key->account, sizeof(key->account), syn_json_str(doc, "account", "")) ||
        !syn_str_copy(key->name, sizeof(key->name), syn_json_str(doc, "name", "")) ||
        !syn_str_copy(key->digest, sizeof(key->digest), syn_json_str(doc, "digest", "")) ||
        strlen(key->digest) != sizeof(key->digest) - 1)
        return SYN_FAIL(err, SYN_E_INVALID, "%.60s is no key", syn_json_str(doc, "id", ""));
    key->functions = json_is_array(functions) ? json_incref(functions) : NULL;
    key->rate = SYN_MAX(0, SYN_MIN(syn_json_i64(doc, "rate_per_second", 0), RATE_MAX));
    key->burst = SYN_MAX(1, SYN_MIN(syn_json_i64(doc, "burst", 1), BURST_MAX));
    key->expires_ms = syn_json_i64(doc, "expires_ms", 0);
    key->seen = true;
    return SYN_OK;
}

/* One that is told again as it was keeps its buckets: what is left of them is of this process. */
static void
keep_buckets(struct fgw_key *key, struct fgw_key *before)
{
    if (before != NULL && strcmp(before->digest, key->digest) == 0 && before->rate == key->rate &&
        before->burst == key->burst)
        key->buckets = SYN_TAKE(before->buckets);
}

int
fgw_keys_put(struct fgw_keys *keys, const json_t *doc, struct syn_err *err)
{
    struct fgw_key *key = syn_calloc(1, sizeof(*key));
    int rc;

    if (key == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a key");
    rc = read_key(doc, key, err);
    if (rc == SYN_OK)
        keep_buckets(key, syn_map_find(keys->by_id, key->id));
    if (rc == SYN_OK && key->buckets == NULL)
        rc = syn_map_new(syn_free, &key->buckets, err);
    if (rc < 0) {
        key_free(key);
        return rc;
    }
    fgw_keys_remove(keys, key->id);
    rc = syn_map_put_take(keys->by_id, key->id, key, err);
    if (rc == SYN_OK)
        rc = syn_map_put_take(keys->by_digest, key->digest, key, err);
    return rc;
}

void
fgw_keys_remove(struct fgw_keys *keys, const char *id)
{
    const struct fgw_key *key = syn_map_find(keys->by_id, id);

    if (key == NULL)
        return;
    (void)syn_map_remove(keys->by_digest, key->digest);
    (void)syn_map_remove(keys->by_id, id);
}

void
fgw_keys_snapshot(struct fgw_keys *keys)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(keys->by_id, &cursor, NULL, &value))
        ((struct fgw_key *)value)->seen = false;
}

void
fgw_keys_synced(struct fgw_keys *keys)
{
    size_t cursor = 0;
    const char *id;
    void *value;

    while (syn_map_next(keys->by_id, &cursor, &id, &value)) {
        if (!((struct fgw_key *)value)->seen)
            fgw_keys_remove(keys, id);
    }
}

void
fgw_keys_forget(struct fgw_keys *keys, const char *function)
{
    size_t cursor = 0;
    void *value;

    while (syn_map_next(keys->by_id, &cursor, NULL, &value))
        (void)syn_map_remove(((struct fgw_key *)value)->buckets, function);
}

/* --- who calls -------------------------------------------------------------------------------- */

static bool
opens(const struct fgw_key *key, const struct fgw_function *function)
{
    const json_t *name;
    size_t i;

    if (!syn_str_eq(key->account, function->account))
        return false;
    json_array_foreach (key->functions, i, name) {
        if (syn_str_eq(json_string_value(name), function->name))
            return true;
    }
    return key->functions == NULL;
}

int
fgw_keys_admit(struct fgw_call *call, const struct fgw_function *function, struct syn_err *err)
{
    const char *text = syn_http_req_header(call->req, "x-api-key");
    char digest[2 * SYN_SHA256_LEN + 1];
    uint8_t bytes[SYN_SHA256_LEN];
    struct fgw_key *key;
    bool taken = true;
    int rc = SYN_OK;

    call->key_header = text != NULL ? "x-api-key" : "authorization";
    if (text == NULL)
        text = syn_http_req_bearer(call->req);
    if (text == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED,
                        "a key is needed here: x-api-key: KEY, or Authorization: Bearer KEY");
    syn_sha256(text, strlen(text), bytes);
    syn_hex_encode(bytes, sizeof(bytes), digest);
    key = syn_map_find(call->gateway->keys->by_digest, digest);
    if (key == NULL)
        return SYN_FAIL(err, SYN_E_UNAUTHENTICATED, "this key is not known, or was removed");
    if (!opens(key, function))
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "this key is not one for this function");
    if (key->expires_ms != 0 && syn_wall_ms(syn_world_system()) >= key->expires_ms)
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "this key has expired");
    if (key->rate > 0)
        rc = take(key, function->id, call->arrived_ns, &taken, err);
    if (rc < 0)
        return rc;
    if (!taken) /* which a second, that the answer says, fills up by one at least */
        return SYN_FAIL(err, SYN_E_LIMIT, "this key may call the function %lld times a second",
                        (long long)key->rate);
    (void)syn_str_copy(call->key, sizeof(call->key), key->name);
    return SYN_OK;
}

bool
fgw_call_passes(const struct fgw_call *call, const char *header)
{
    return !fgw_header_is_ours(header) &&
           (call->key_header == NULL || strcmp(header, call->key_header) != 0);
}
