/* An image's registry, with the mirrors that a platform puts before it.
 *
 *      mirrors, in order  -->  registry           the first that has it
 *           |
 *      ask --401--> challenge --> token server    once a request
 *       |---3xx--> another place                  at most REDIRECTS_MAX, never away from TLS
 *       |---429, 5xx, a broken connection         again, later, from where it broke
 *
 * A mirror may lie about a tag as the registry may; about what has a digest neither can.
 * Credentials are for the registry alone, and for token servers that are its own: on its host or
 * below it, the known ones, and those that the platform's rules name. Others are asked without. The
 * scope of a token is ours to say, never the challenge's. */
#include "oci_registry_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/crypto.h>

#define REDIRECTS_MAX 5
#define TRIES_MAX     4U
#define PAUSE_MS      INT64_C(250)
#define PAUSE_MAX_MS  INT64_C(30000)
#define TOKEN_BYTES   ((size_t)65536)
#define ACCEPT                                                                              \
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " \
    "application/vnd.docker.distribution.manifest.list.v2+json, "                           \
    "application/vnd.docker.distribution.manifest.v2+json"

/* Token servers on hosts of their own, which credentials may go to. */
static const char *const token_hosts[][2] = {
    {"docker.io", "auth.docker.io"},
    {"registry.gitlab.com", "gitlab.com"},
};

/* --- rules ------------------------------------------------------------------------------------ */

static const json_t *
rule_of(const struct syn_oci_remote *remote, const char *host)
{
    return json_object_get(json_object_get(remote->rules, "registries"), host);
}

static int
hosts_check(const json_t *rule, const char *path, const char *key, struct syn_err *err)
{
    const json_t *list = json_object_get(rule, key);
    const json_t *item;
    size_t i;

    if (list == NULL)
        return SYN_OK;
    if (!json_is_array(list) || json_array_size(list) > SYN_OCI_MIRRORS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: expected a list of at most %d hosts", path, key,
                        SYN_OCI_MIRRORS_MAX);
    json_array_foreach (list, i, item) {
        if (!json_is_string(item) || !syn_image_host_ok(json_string_value(item)))
            return SYN_FAIL(err, SYN_E_INVALID, "%s.%s[%zu]: expected HOST or HOST:PORT", path, key,
                            i);
    }
    return SYN_OK;
}

static int
rule_check(const char *host, json_t *rule, struct syn_err *err)
{
    static const char *const known[] = {"mirrors", "token_hosts", "tls",
                                        "ca_file", "private",     NULL};
    char path[SYN_IMAGE_HOST_MAX + 16];
    const char *ca_file = "/";
    bool flag;
    int rc;

    (void)snprintf(path, sizeof(path), "registries.%.*s", SYN_IMAGE_HOST_MAX - 1, host);
    if (!syn_image_host_ok(host) || !json_is_object(rule))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected HOST or HOST:PORT, and an object", path);
    rc = syn_json_only_keys(rule, path, known, err);
    if (rc == SYN_OK)
        rc = hosts_check(rule, path, "mirrors", err);
    if (rc == SYN_OK)
        rc = hosts_check(rule, path, "token_hosts", err);
    if (rc == SYN_OK)
        rc = syn_json_opt_bool(rule, path, "tls", &flag, err);
    if (rc == SYN_OK)
        rc = syn_json_opt_bool(rule, path, "private", &flag, err);
    if (rc == SYN_OK)
        rc = syn_json_opt_str(rule, path, "ca_file", &ca_file, err);
    if (rc == SYN_OK && ca_file[0] != '/')
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s.ca_file: expected an absolute path", path);
    if (rc == SYN_OK && json_is_false(json_object_get(rule, "tls")) &&
        !syn_image_host_loopback(host))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s.tls: only this machine is asked without TLS", path);
    return rc;
}

int
syn_oci_rules_check(const json_t *rules, struct syn_err *err)
{
    static const char *const known[] = {"registries", NULL};
    json_t *rows = NULL;
    const char *host;
    json_t *rule;
    int rc = syn_json_only_keys(rules, "rules", known, err);

    if (rc == SYN_OK && json_object_get(rules, "registries") != NULL)
        rc = syn_json_get_obj(rules, NULL, "registries", &rows, err);
    json_object_foreach (rows, host, rule)
        if (rc == SYN_OK)
            rc = rule_check(host, rule, err);
    return rc;
}

/* --- life ------------------------------------------------------------------------------------- */

static void
add_endpoint(struct syn_oci_registry *registry, const char *host, bool mirror)
{
    struct syn_oci_endpoint *endpoint = &registry->endpoints[registry->count++];

    (void)syn_str_copy(endpoint->host, sizeof(endpoint->host), host);
    endpoint->rule = rule_of(registry->line.remote, host);
    endpoint->mirror = mirror;
}

static int
open_as(const struct syn_oci_remote *remote, const struct syn_image_ref *ref, bool push,
        struct syn_oci_registry **ret_registry, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_registry_close_scope) struct syn_oci_registry *registry = NULL;
    const json_t *mirror;
    size_t i;
    int rc;

    registry = syn_calloc(1, sizeof(*registry));
    if (registry == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a registry");
    registry->ref = *ref;
    registry->push = push;
    rc = syn_oci_line_init(&registry->line, remote, err);
    if (rc < 0)
        return rc;
    json_array_foreach (json_object_get(rule_of(remote, ref->host), "mirrors"), i, mirror)
        if (!push)
            add_endpoint(registry, json_string_value(mirror), true);
    add_endpoint(registry, ref->host, false);
    *ret_registry = SYN_TAKE(registry);
    return SYN_OK;
}

int
syn_oci_registry_open(const struct syn_oci_remote *remote, const struct syn_image_ref *ref,
                      struct syn_oci_registry **ret_registry, struct syn_err *err)
{
    return open_as(remote, ref, false, ret_registry, err);
}

int
syn_oci_registry_open_push(const struct syn_oci_remote *remote, const struct syn_image_ref *ref,
                           const char *from, struct syn_oci_registry **ret_registry,
                           struct syn_err *err)
{
    int rc = open_as(remote, ref, true, ret_registry, err);

    if (rc == SYN_OK && from != NULL && !syn_str_eq(from, ref->path))
        (void)syn_str_copy((*ret_registry)->from, SYN_IMAGE_PATH_MAX, from);
    return rc;
}

void
syn_oci_registry_stop_watch(struct syn_oci_registry *registry, const atomic_bool *stop)
{
    registry->line.stop = stop;
}

int
syn_oci_registry_open_beside(const struct syn_oci_registry *registry, const atomic_bool *stop,
                             struct syn_oci_registry **ret_registry, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_registry_close_scope) struct syn_oci_registry *beside = NULL;
    int rc = open_as(registry->line.remote, &registry->ref, registry->push, &beside, err);

    if (rc < 0)
        return rc;
    syn_oci_registry_stop_watch(beside, stop);
    beside->line.deadline_ns = registry->line.deadline_ns;
    for (size_t i = 0; i < registry->count; i++) {
        const char *authorization = registry->endpoints[i].authorization;

        if (authorization == NULL)
            continue;
        beside->endpoints[i].authorization = syn_strdup(authorization);
        if (beside->endpoints[i].authorization == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a registry");
    }
    *ret_registry = SYN_TAKE(beside);
    return SYN_OK;
}

static void
forget(struct syn_oci_endpoint *endpoint)
{
    if (endpoint->authorization != NULL)
        syn_secret_wipe(endpoint->authorization, strlen(endpoint->authorization));
    syn_free(endpoint->authorization);
    endpoint->authorization = NULL;
}

struct syn_oci_registry *
syn_oci_registry_close(struct syn_oci_registry *registry)
{
    if (registry == NULL)
        return NULL;
    for (size_t i = 0; i < registry->count; i++)
        forget(&registry->endpoints[i]);
    syn_oci_line_fini(&registry->line);
    syn_free(registry);
    return NULL;
}

void
syn_oci_registry_close_scope(struct syn_oci_registry **slot)
{
    *slot = syn_oci_registry_close(*slot);
}

/* --- signing in ------------------------------------------------------------------------------- */

static int
collect(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct syn_buf *out = arg;

    if (out->len + len > TOKEN_BYTES)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the token server says too much");
    syn_buf_add(out, data, len);
    return syn_buf_ok(out, err);
}

static bool
listed(const json_t *list, const char *host)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item)
        if (strcasecmp(json_string_value(item), host) == 0)
            return true;
    return false;
}

/* Is the token server `host` the registry's own? */
static bool
may_have_auth(const struct syn_oci_endpoint *endpoint, const char *host, bool plain)
{
    size_t own = strcspn(endpoint->host, ":"), len = strcspn(host, ":");

    if (syn_str_eq(host, endpoint->host) ||
        listed(json_object_get(endpoint->rule, "token_hosts"), host))
        return true;
    for (size_t i = 0; i < SYN_LEN(token_hosts); i++)
        if (syn_str_eq(endpoint->host, token_hosts[i][0]) && syn_str_eq(host, token_hosts[i][1]))
            return true;
    return !plain && endpoint->host[0] != '[' && memchr(endpoint->host, '.', own) != NULL &&
           strspn(endpoint->host, "0123456789.") < own && host[len] == '\0' && len > own + 1 &&
           host[len - own - 1] == '.' && strncmp(host + len - own, endpoint->host, own) == 0;
}

static int
keep_authorization(struct syn_oci_endpoint *endpoint, const char *scheme, const char *value,
                   struct syn_err *err)
{
    size_t len = 0;
    SYN_BUF(line);

    forget(endpoint);
    syn_buf_addf(&line, "%s %s", scheme, value);
    return syn_buf_take(&line, &endpoint->authorization, &len, err);
}

static int
escape(CURL *easy, struct syn_buf *out, const char *key, const char *text, struct syn_err *err)
{
    char *escaped = curl_easy_escape(easy, text, 0);

    if (escaped == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a URL");
    syn_buf_addf(out, "%s=%s", key, escaped);
    curl_free(escaped);
    return SYN_OK;
}

static int
token_url(const struct syn_oci_registry *registry, const struct syn_oci_challenge *challenge,
          char out[SYN_OCI_URL_MAX], struct syn_err *err)
{
    char scope[SYN_IMAGE_PATH_MAX + 32];
    SYN_BUF(url);
    int rc;

    (void)snprintf(scope, sizeof(scope), "repository:%s:%s", registry->ref.path,
                   registry->push ? "pull,push" : "pull");
    syn_buf_adds(&url, challenge->realm);
    syn_buf_addc(&url, strchr(challenge->realm, '?') != NULL ? '&' : '?');
    rc = escape(registry->line.easy, &url, "service", challenge->service, err);
    if (rc == SYN_OK)
        rc = escape(registry->line.easy, &url, "&scope", scope, err);
    (void)snprintf(scope, sizeof(scope), "repository:%s:pull", registry->from);
    if (rc == SYN_OK && registry->from[0] != '\0')
        rc = escape(registry->line.easy, &url, "&scope", scope, err);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&url, err);
    if (rc == SYN_OK && !syn_str_copy(out, SYN_OCI_URL_MAX, syn_buf_text(&url)))
        rc = SYN_FAIL(err, SYN_E_INVALID, "the token server's address is too long");
    return rc;
}

static int
fetch_token(struct syn_oci_registry *registry, struct syn_oci_endpoint *endpoint,
            const struct syn_oci_challenge *challenge, struct syn_err *err)
{
    const char *auth = endpoint->mirror ? NULL : registry->line.remote->auth;
    struct syn_oci_exchange exchange = {.write = collect};
    char basic[SYN_IMAGE_AUTH_MAX + 8], host[SYN_IMAGE_HOST_MAX];
    bool plain = false;
    SYN_BUF(answer);
    SYN_BUF(token);
    int rc = token_url(registry, challenge, exchange.url, err);

    exchange.arg = &answer;
    if (rc == SYN_OK)
        rc = syn_oci_url_host(exchange.url, host, &plain, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "signing in to %s", endpoint->host);
    exchange.private_ok = syn_json_bool(rule_of(registry->line.remote, host), "private", false);
    exchange.ca_file = syn_json_str(rule_of(registry->line.remote, host), "ca_file", NULL);
    (void)snprintf(basic, sizeof(basic), "Basic %.*s", SYN_IMAGE_AUTH_MAX - 1,
                   auth != NULL ? auth : "");
    if (auth != NULL && may_have_auth(endpoint, host, plain))
        exchange.authorization = basic;
    rc = syn_oci_ask(&registry->line, &exchange, err);
    syn_secret_wipe(basic, sizeof(basic));
    if (rc == SYN_OK && exchange.status != 200) {
        if (auth != NULL && exchange.authorization == NULL)
            return SYN_FAIL(err, SYN_E_FORBIDDEN,
                            "%s has its tokens from %s, which is not known to be its own: no "
                            "credentials were sent there (rules: token_hosts)",
                            endpoint->host, host);
        return SYN_FAIL(err, exchange.status >= 500 ? SYN_E_UNAVAILABLE : SYN_E_FORBIDDEN,
                        "%s gives no token for %s (%ld)", host, registry->ref.path,
                        exchange.status);
    }
    if (rc == SYN_OK)
        rc = syn_oci_token_parse(syn_buf_text(&answer), answer.len, &token, err);
    if (rc == SYN_OK)
        rc = keep_authorization(endpoint, "Bearer", syn_buf_text(&token), err);
    if (answer.len > 0)
        syn_secret_wipe(answer.data, answer.len);
    if (token.len > 0)
        syn_secret_wipe(token.data, token.len);
    return rc;
}

static int
sign_in(struct syn_oci_registry *registry, struct syn_oci_endpoint *endpoint, const char *text,
        struct syn_err *err)
{
    const char *auth = endpoint->mirror ? NULL : registry->line.remote->auth;
    struct syn_oci_challenge challenge;
    int rc = syn_oci_challenge_parse(text, &challenge, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", endpoint->host);
    if (challenge.bearer)
        return fetch_token(registry, endpoint, &challenge, err);
    if (auth == NULL)
        return SYN_FAIL(err, SYN_E_FORBIDDEN, "%s asks for credentials; none were given",
                        endpoint->host);
    return keep_authorization(endpoint, "Basic", auth, err);
}

/* --- asking ----------------------------------------------------------------------------------- */

static int
status_fail(const struct syn_oci_registry *registry, const struct syn_oci_endpoint *endpoint,
            long status, struct syn_err *err)
{
    const char *path = registry->ref.path;

    if (status == 404)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s has no such image: %s", endpoint->host, path);
    if (status == 401 || status == 403)
        return SYN_FAIL(err, SYN_E_FORBIDDEN,
                        "%s does not let us have %s; there may be none, or it needs credentials",
                        endpoint->host, path);
    if (status == 429)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s asks to be asked less often", endpoint->host);
    return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s answered with status %ld", endpoint->host, status);
}

void
syn_oci_endpoint_url(const struct syn_oci_registry *registry,
                     const struct syn_oci_endpoint *endpoint, const char *kind, const char *what,
                     char out[SYN_OCI_URL_MAX])
{
    const char *host = endpoint->host;
    bool plain = syn_image_host_loopback(host) && !syn_json_bool(endpoint->rule, "tls", false);

    if (syn_str_eq(host, "docker.io"))
        host = "registry-1.docker.io";
    (void)snprintf(out, SYN_OCI_URL_MAX, "%s://%s/v2/%s/%s/%.200s", plain ? "http" : "https", host,
                   registry->ref.path, kind, what);
}

/* What goes with a request depends on whose host it is. */
static int
aim(const struct syn_oci_registry *registry, const struct syn_oci_endpoint *endpoint,
    struct syn_oci_exchange *exchange, struct syn_err *err)
{
    const json_t *rule = endpoint->rule;
    char host[SYN_IMAGE_HOST_MAX];
    bool plain;
    int rc = SYN_OK;

    if (exchange->foreign) {
        rc = syn_oci_url_host(exchange->url, host, &plain, err);
        rule = rc == SYN_OK ? rule_of(registry->line.remote, host) : NULL;
    }
    exchange->private_ok = syn_json_bool(rule, "private", false);
    exchange->ca_file = syn_json_str(rule, "ca_file", NULL);
    exchange->authorization = exchange->foreign ? NULL : endpoint->authorization;
    return rc;
}

/* Another place for the same request: what sends something may be led only with it. */
static bool
leads_on(const struct syn_oci_exchange *exchange)
{
    bool reads = exchange->method == NULL || syn_str_eq(exchange->method, "HEAD");

    return exchange->location[0] != '\0' &&
           (reads ? exchange->status / 100 == 3
                  : exchange->status == 307 || exchange->status == 308);
}

int
syn_oci_endpoint_ask(struct syn_oci_registry *registry, struct syn_oci_endpoint *endpoint,
                     struct syn_oci_exchange *exchange, struct syn_err *err)
{
    char first[SYN_OCI_URL_MAX];
    bool signed_in = exchange->foreign, same = true;
    unsigned redirects = 0;
    int rc;

    memcpy(first, exchange->url, sizeof(first));
    for (;;) {
        rc = aim(registry, endpoint, exchange, err);
        if (rc == SYN_OK)
            rc = syn_oci_ask(&registry->line, exchange, err);
        if (rc < 0)
            return rc;
        if (exchange->status == 401 && !signed_in && redirects == 0) {
            signed_in = true;
            rc = sign_in(registry, endpoint, exchange->challenge, err);
            memcpy(exchange->url, first, sizeof(first));
        } else if (leads_on(exchange)) {
            if (++redirects > REDIRECTS_MAX)
                return SYN_FAIL(err, SYN_E_FORBIDDEN, "%s leads on more than %d times",
                                endpoint->host, REDIRECTS_MAX);
            rc = syn_oci_follow(exchange, &same, err);
            exchange->foreign = exchange->foreign || !same;
        } else {
            return SYN_OK;
        }
        if (rc < 0)
            return rc;
    }
}

static bool
worth_again(int rc, long status)
{
    return rc == SYN_OK ? status == 429 || status == 408 || status >= 500
                        : rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT;
}

int64_t
syn_oci_again_ms(const struct syn_oci_registry *registry, const struct syn_oci_exchange *exchange,
                 int rc, unsigned n)
{
    const struct syn_oci_remote *remote = registry->line.remote;
    int64_t pause_ms = remote->pause_ms > 0 ? remote->pause_ms : PAUSE_MS;

    if (!worth_again(rc, exchange->status) ||
        n >= (remote->tries_max > 0 ? remote->tries_max : TRIES_MAX))
        return -1;
    pause_ms <<= SYN_MIN(n - 1, 16U);
    pause_ms = SYN_MAX(pause_ms, rc == SYN_OK ? exchange->retry_after_ms : 0);
    return SYN_MIN(pause_ms, PAUSE_MAX_MS);
}

/* --- manifests -------------------------------------------------------------------------------- */

static int
collect_manifest(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct syn_buf *out = arg;

    if (out->len + len > SYN_JSON_BYTES_MAX)
        return SYN_FAIL(err, SYN_E_TOOBIG, "the manifest has more than %zu bytes",
                        SYN_JSON_BYTES_MAX);
    syn_buf_add(out, data, len);
    return syn_buf_ok(out, err);
}

static int
manifest_once(struct syn_oci_registry *registry, struct syn_oci_endpoint *endpoint,
              const char *what, struct syn_oci_exchange *exchange, struct syn_err *err)
{
    struct syn_buf *out = exchange->arg;
    int rc = SYN_OK;

    for (unsigned n = 1; rc == SYN_OK; n++) {
        int64_t pause_ms;

        syn_buf_clear(out);
        exchange->foreign = false;
        syn_oci_endpoint_url(registry, endpoint, "manifests", what, exchange->url);
        rc = syn_oci_endpoint_ask(registry, endpoint, exchange, err);
        if (rc == SYN_OK && exchange->status == 200)
            return SYN_OK;
        pause_ms = syn_oci_again_ms(registry, exchange, rc, n);
        if (pause_ms < 0)
            return rc < 0 ? rc : status_fail(registry, endpoint, exchange->status, err);
        rc = syn_oci_pause(&registry->line, pause_ms, err);
    }
    return rc;
}

/* The manifest's own digest, which must be the one that was asked for, or that the registry says.
 */
static int
check_digest(const struct syn_buf *text, const char *what, const char *said,
             char ret_digest[SYN_IMAGE_DIGEST_MAX], struct syn_err *err)
{
    uint8_t raw[SYN_SHA256_LEN];

    syn_sha256(syn_buf_text(text), text->len, raw);
    (void)syn_str_copy(ret_digest, SYN_IMAGE_DIGEST_MAX, "sha256:");
    syn_hex_encode(raw, sizeof(raw), ret_digest + strlen("sha256:"));
    if ((syn_image_digest_ok(what) && !syn_str_eq(what, ret_digest)) ||
        (syn_image_digest_ok(said) && !syn_str_eq(said, ret_digest)))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the manifest is not what its digest says");
    return SYN_OK;
}

int
syn_oci_registry_manifest(struct syn_oci_registry *registry, const char *what, struct syn_buf *out,
                          char ret_digest[SYN_IMAGE_DIGEST_MAX], char ret_media[SYN_OCI_MEDIA_MAX],
                          struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < registry->count; i++) {
        struct syn_oci_endpoint *endpoint = &registry->endpoints[i];
        struct syn_oci_exchange exchange = {.accept = ACCEPT, .write = collect_manifest};

        exchange.arg = out;
        rc = manifest_once(registry, endpoint, what, &exchange, err);
        if (rc == SYN_OK)
            rc = check_digest(out, what, exchange.digest, ret_digest, err);
        if (rc == SYN_OK)
            (void)syn_str_copy(ret_media, SYN_OCI_MEDIA_MAX, exchange.media);
        if (rc == SYN_OK || rc == SYN_E_NOMEM || rc == SYN_E_CANCELED)
            return rc;
    }
    return rc;
}

/* --- blobs ------------------------------------------------------------------------------------ */

struct blob {
    const struct syn_oci_sink *sink;
    struct syn_oci_exchange exchange;
    int64_t size;
    int64_t done; /* taken by the sink */
    int64_t skip; /* of this answer: the sink has it */
    bool looked;  /* at this answer's headers */
    bool begun;
    struct syn_sha256 hash;
};

static int
blob_look(struct blob *blob, struct syn_err *err)
{
    const struct syn_oci_exchange *exchange = &blob->exchange;
    int64_t from = exchange->status == 206 ? exchange->from : 0;

    blob->looked = true;
    blob->skip = exchange->from - from;
    if (exchange->status == 206 && exchange->range_from != exchange->from)
        return SYN_FAIL(err, SYN_E_CORRUPT, "another part of the blob came than was asked for");
    if (exchange->length >= 0 && exchange->length != blob->size - from)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the blob has %lld bytes, its descriptor says %lld",
                        (long long)(exchange->length + from), (long long)blob->size);
    return SYN_OK;
}

/* To the sink, in parts that end where it wants to be told. */
static int
blob_give(struct blob *blob, const char *at, size_t len, struct syn_err *err)
{
    const struct syn_oci_sink *sink = blob->sink;
    int rc = SYN_OK;

    while (rc == SYN_OK && len > 0) {
        size_t part = len;

        if (sink->mark != NULL)
            part = (size_t)SYN_MIN((int64_t)len, sink->stride - blob->done % sink->stride);
        syn_sha256_update(&blob->hash, at, part);
        rc = sink->write(sink->arg, at, part, err);
        if (rc < 0)
            break;
        blob->done += (int64_t)part;
        at += part;
        len -= part;
        if (sink->mark != NULL && blob->done % sink->stride == 0)
            rc = sink->mark(sink->arg, blob->done, &blob->hash, err);
    }
    return rc;
}

static int
blob_write(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct blob *blob = arg;
    const char *at = data;
    size_t known;
    int rc = blob->looked ? SYN_OK : blob_look(blob, err);

    if (rc < 0)
        return rc;
    known = (size_t)SYN_MIN(blob->skip, (int64_t)len);
    blob->skip -= (int64_t)known;
    at += known;
    len -= known;
    if (len == 0)
        return SYN_OK;
    if ((int64_t)len > blob->size - blob->done)
        return SYN_FAIL(err, SYN_E_CORRUPT, "the blob has more than the %lld bytes it should have",
                        (long long)blob->size);
    return blob_give(blob, at, len, err);
}

static int
blob_end(struct blob *blob, const char *digest, struct syn_err *err)
{
    uint8_t raw[SYN_SHA256_LEN];
    char hex[2 * SYN_SHA256_LEN + 1];

    syn_sha256_final(&blob->hash, raw);
    syn_hex_encode(raw, sizeof(raw), hex);
    if (!syn_str_eq(hex, digest + strlen("sha256:")))
        return SYN_FAIL(err, SYN_E_CORRUPT, "blob %.19s is not what its digest says", digest);
    return SYN_OK;
}

/* From the beginning, or the first time from where the sink is. */
static int
blob_begin(struct blob *blob, struct syn_err *err)
{
    const struct syn_oci_sink *sink = blob->sink;

    blob->done = 0;
    syn_sha256_init(&blob->hash);
    if (sink->from == 0 || blob->begun)
        return sink->begin(sink->arg, err);
    blob->begun = true;
    blob->done = sink->from;
    blob->hash = sink->hash;
    return SYN_OK;
}

/* From one endpoint, going on where a connection broke. */
static int
blob_from(struct syn_oci_registry *registry, struct syn_oci_endpoint *endpoint, const char *digest,
          struct blob *blob, struct syn_err *err)
{
    struct syn_oci_exchange *exchange = &blob->exchange;
    int rc = blob_begin(blob, err);

    *exchange = (struct syn_oci_exchange){.write = blob_write, .arg = blob};
    for (unsigned n = 1; rc == SYN_OK; n++) {
        int64_t before = blob->done, pause_ms;

        exchange->foreign = false;
        syn_oci_endpoint_url(registry, endpoint, "blobs", digest, exchange->url);
        exchange->from = blob->done;
        blob->looked = false;
        rc = syn_oci_endpoint_ask(registry, endpoint, exchange, err);
        if (rc == SYN_OK && exchange->status / 100 != 2 && !worth_again(rc, exchange->status))
            return status_fail(registry, endpoint, exchange->status, err);
        if (blob->done == blob->size &&
            (rc == SYN_OK || (blob->size > 0 && worth_again(rc, exchange->status))))
            return blob_end(blob, digest, err);
        if (rc == SYN_OK && exchange->status / 100 == 2)
            rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s ended a blob early", endpoint->host);
        if (blob->done > before)
            n = 1;
        pause_ms = syn_oci_again_ms(registry, exchange, rc, n);
        if (pause_ms < 0)
            return rc < 0 ? rc : status_fail(registry, endpoint, exchange->status, err);
        rc = syn_oci_pause(&registry->line, pause_ms, err);
    }
    return rc;
}

int
syn_oci_registry_blob(struct syn_oci_registry *registry, const char *digest, int64_t size,
                      const struct syn_oci_sink *sink, struct syn_err *err)
{
    struct blob blob = {.sink = sink, .size = size};
    int rc = SYN_OK;

    if (size < 0 || size > SYN_OCI_BLOB_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "blob %.19s has more than %lld bytes", digest,
                        (long long)SYN_OCI_BLOB_MAX);
    for (size_t i = 0; i < registry->count; i++) {
        rc = blob_from(registry, &registry->endpoints[i], digest, &blob, err);
        if (rc == SYN_OK || rc == SYN_E_NOMEM || rc == SYN_E_CANCELED || rc == SYN_E_NOSPACE)
            return rc;
    }
    return rc;
}
