/* Blobs and manifests into a registry.
 *
 *      HEAD --200--> it is there
 *       | 404
 *      POST ?mount&from --201--> another repository had it
 *       | 202 and where to send it
 *       |--- small: PUT ?digest with all of it -------------> 201
 *       '--- large: PATCH, PATCH, ... one piece each,
 *                   after a break GET says how far it came
 *                                 PUT ?digest with nothing -> 201
 *
 * Each answer says where the next request goes; on another host it goes without credentials. A
 * registry that forgets what it was sent, says so and is sent it again; one that never has more
 * than before is given up after as many failures as any request. */
#include "oci_registry_priv.h"

#include <synor/base/str.h>

#define PIECE_BYTES (INT64_C(32) << 20)
#define PIECE_MAX   (INT64_C(1) << 30) /* that a registry may ask for */
#define STEPS_MAX   16                 /* in a row without one more byte there */

struct upload {
    struct syn_oci_registry *registry;
    struct syn_oci_endpoint *endpoint;
    const char *digest;
    const struct syn_oci_source *source;
    struct syn_oci_exchange exchange;
    char url[SYN_OCI_URL_MAX]; /* where it goes on; "": there is no session */
    bool foreign;
    bool unsure;    /* how far it came */
    bool can_mount; /* worth asking for */
    int64_t done;   /* the registry has so much */
    int64_t best;   /* and once had so much */
    int64_t piece;
    bool ended;
    enum syn_oci_sent how;
};

static int
refused(const struct upload *up, struct syn_err *err)
{
    const char *host = up->endpoint->host, *path = up->registry->ref.path;
    long status = up->exchange.status;

    if (status == 404)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s has no place for %s", host, path);
    if (status == 401 || status == 403)
        return SYN_FAIL(err, SYN_E_FORBIDDEN,
                        "%s does not take %s from us; it may need other credentials", host, path);
    if (status == 413)
        return SYN_FAIL(err, SYN_E_TOOBIG, "%s takes nothing so large", host);
    if (status == 405)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s takes no images", host);
    if (status == 429)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s asks to be asked less often", host);
    return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s answered with status %ld", host, status);
}

/* One request; 0 with whatever status. */
static int
ask(struct upload *up, const char *method, int64_t from, int64_t len, struct syn_err *err)
{
    struct syn_oci_exchange *exchange = &up->exchange;

    exchange->method = method;
    exchange->foreign = up->foreign;
    exchange->body = len > 0 ? up->source : NULL;
    exchange->body_from = from;
    exchange->body_len = len;
    return syn_oci_endpoint_ask(up->registry, up->endpoint, exchange, err);
}

/* The answer says where it goes on; some say it once only. */
static int
go_on_at(struct upload *up, struct syn_err *err)
{
    struct syn_oci_exchange *exchange = &up->exchange;
    bool same = true;
    int rc = SYN_OK;

    if (exchange->location[0] != '\0') {
        rc = syn_oci_follow(exchange, &same, err);
        up->foreign = exchange->foreign || !same;
        if (rc == SYN_OK)
            memcpy(up->url, exchange->url, sizeof(up->url));
    } else if (up->url[0] == '\0') {
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "%s does not say where to send a blob",
                      up->endpoint->host);
    }
    return rc;
}

/* How much is there, as the answer says; without a word, `sent`. */
static int
take_range(struct upload *up, int64_t sent, struct syn_err *err)
{
    int64_t end = up->exchange.range_end;

    if (end > sent)
        return SYN_FAIL(err, SYN_E_CORRUPT, "%s says that it has more than it was sent",
                        up->endpoint->host);
    up->done = end >= 0 ? end : sent;
    return SYN_OK;
}

/* --- steps ------------------------------------------------------------------------------------ */

static int
step_begin(struct upload *up, struct syn_err *err)
{
    struct syn_oci_exchange *exchange = &up->exchange;
    bool mount = up->can_mount;
    char more[SYN_IMAGE_PATH_MAX + SYN_IMAGE_DIGEST_MAX + 16] = "";
    size_t len;
    int rc;

    up->foreign = false;
    syn_oci_endpoint_url(up->registry, up->endpoint, "blobs", "uploads/", exchange->url);
    len = strlen(exchange->url);
    if (mount)
        (void)snprintf(more, sizeof(more), "?mount=%s&from=%s", up->digest, up->registry->from);
    (void)snprintf(exchange->url + len, sizeof(exchange->url) - len, "%s", more);
    rc = ask(up, "POST", 0, 0, err);
    if (rc < 0)
        return rc;
    if (exchange->status == 201 && mount) {
        up->ended = true;
        up->how = SYN_OCI_MOUNTED;
        return SYN_OK;
    }
    up->can_mount = false;
    if (exchange->status / 100 == 4 && mount)
        return SYN_OK; /* it may not be looked at: without, then */
    if (exchange->status != 202)
        return SYN_OK;
    up->done = 0;
    up->unsure = false;
    up->piece = up->registry->line.remote->piece_bytes;
    up->piece = SYN_MAX(up->piece > 0 ? up->piece : PIECE_BYTES, exchange->chunk_min);
    up->piece = SYN_MIN(up->piece, PIECE_MAX);
    return go_on_at(up, err);
}

static int
step_look(struct upload *up, struct syn_err *err)
{
    int rc;

    memcpy(up->exchange.url, up->url, sizeof(up->url));
    rc = ask(up, NULL, 0, 0, err);
    if (rc < 0)
        return rc;
    if (up->exchange.status / 100 != 2)
        return SYN_OK;
    up->unsure = false;
    if (up->exchange.range_end < 0)
        up->exchange.range_end = 0;
    rc = take_range(up, up->source->size, err);
    return rc < 0 ? rc : go_on_at(up, err);
}

static int
step_piece(struct upload *up, struct syn_err *err)
{
    int64_t len = SYN_MIN(up->piece, up->source->size - up->done);
    char range[64];
    int rc;

    (void)snprintf(range, sizeof(range), "%lld-%lld", (long long)up->done,
                   (long long)(up->done + len - 1));
    memcpy(up->exchange.url, up->url, sizeof(up->url));
    up->exchange.content_type = "application/octet-stream";
    up->exchange.content_range = range;
    rc = ask(up, "PATCH", up->done, len, err);
    up->exchange.content_type = up->exchange.content_range = NULL;
    up->unsure = rc < 0 || up->exchange.status / 100 != 2;
    if (rc < 0 || up->unsure)
        return rc;
    rc = take_range(up, up->done + len, err);
    return rc < 0 ? rc : go_on_at(up, err);
}

static int
step_end(struct upload *up, struct syn_err *err)
{
    size_t len = strlen(up->url);
    int rc;

    memcpy(up->exchange.url, up->url, sizeof(up->url));
    if (snprintf(up->exchange.url + len, sizeof(up->exchange.url) - len, "%cdigest=%s",
                 strchr(up->url, '?') != NULL ? '&' : '?',
                 up->digest) >= (int)(sizeof(up->exchange.url) - len))
        return SYN_FAIL(err, SYN_E_LIMIT, "%s names a URL that is too long", up->endpoint->host);
    up->exchange.content_type = "application/octet-stream";
    rc = ask(up, "PUT", up->done, up->source->size - up->done, err);
    up->exchange.content_type = NULL;
    up->ended = rc == SYN_OK && up->exchange.status / 100 == 2;
    up->unsure = !up->ended;
    return rc;
}

static int
step(struct upload *up, struct syn_err *err)
{
    if (up->url[0] == '\0')
        return step_begin(up, err);
    if (up->unsure)
        return step_look(up, err);
    if (up->done < up->source->size && (up->done > 0 || up->source->size > up->piece))
        return step_piece(up, err);
    return step_end(up, err);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* A session that is over is no failure of the registry: it is opened again. */
static bool
forgotten(const struct upload *up)
{
    return up->url[0] != '\0' && (up->exchange.status == 404 || up->exchange.status == 416);
}

/* After a step that did not do it: wait when another is worth it. `*n` counts failures. */
static int
after_failure(struct upload *up, int rc, unsigned *n, struct syn_err *err)
{
    int64_t pause_ms;

    *n += 1;
    if (rc == SYN_OK && forgotten(up)) {
        up->url[0] = '\0';
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s forgets what it was sent", up->endpoint->host);
    }
    pause_ms = syn_oci_again_ms(up->registry, &up->exchange, rc, *n);
    if (pause_ms < 0)
        return rc < 0 ? rc : refused(up, err);
    return syn_oci_pause(&up->registry->line, pause_ms, err);
}

static int
send_all(struct upload *up, struct syn_err *err)
{
    unsigned failures = 0, idle = 0;
    int rc = SYN_OK;

    while (rc == SYN_OK && !up->ended) {
        bool mount = up->can_mount;

        rc = step(up, err);
        if (up->done > up->best) {
            up->best = up->done;
            failures = idle = 0;
        } else if (++idle > STEPS_MAX && rc == SYN_OK && !up->ended) {
            return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s takes bytes and has none",
                            up->endpoint->host);
        }
        if (rc < 0 || (up->exchange.status / 100 != 2 && up->can_mount == mount))
            rc = after_failure(up, rc, &failures, err);
    }
    return rc;
}

static int
look_whether_there(struct upload *up, struct syn_err *err)
{
    int rc = SYN_OK;

    for (unsigned n = 1; rc == SYN_OK; n++) {
        int64_t pause_ms;

        syn_oci_endpoint_url(up->registry, up->endpoint, "blobs", up->digest, up->exchange.url);
        up->foreign = false;
        rc = ask(up, "HEAD", 0, 0, err);
        if (rc == SYN_OK && up->exchange.status == 200) {
            up->ended = true;
            up->how = SYN_OCI_THERE;
            return SYN_OK;
        }
        if (rc == SYN_OK && up->exchange.status == 404)
            return SYN_OK;
        pause_ms = syn_oci_again_ms(up->registry, &up->exchange, rc, n);
        if (pause_ms < 0)
            return rc < 0 ? rc : refused(up, err);
        rc = syn_oci_pause(&up->registry->line, pause_ms, err);
    }
    return rc;
}

int
syn_oci_registry_send(struct syn_oci_registry *registry, const char *digest,
                      const struct syn_oci_source *source, enum syn_oci_sent *ret_how,
                      struct syn_err *err)
{
    struct upload up = {.registry = registry,
                        .endpoint = &registry->endpoints[0],
                        .digest = digest,
                        .source = source,
                        .can_mount = registry->from[0] != '\0',
                        .how = SYN_OCI_SENT};
    int rc = look_whether_there(&up, err);

    if (rc == SYN_OK)
        rc = send_all(&up, err);
    if (rc == SYN_OK)
        *ret_how = up.how;
    return rc;
}

/* --- the manifest ----------------------------------------------------------------------------- */

static int
read_text(void *arg, int64_t at, int64_t len, struct syn_buf *out, struct syn_err *err)
{
    const struct syn_buf *text = arg;

    syn_buf_add(out, syn_buf_text(text) + at, (size_t)len);
    return syn_buf_ok(out, err);
}

int
syn_oci_registry_send_manifest(struct syn_oci_registry *registry, const struct syn_buf *text,
                               const char *media, const char *digest, struct syn_err *err)
{
    const struct syn_image_ref *ref = &registry->ref;
    struct syn_buf bytes = *text;
    const struct syn_oci_source source = {
        .size = (int64_t)text->len, .read = read_text, .arg = &bytes};
    struct upload up = {.registry = registry,
                        .endpoint = &registry->endpoints[0],
                        .source = &source,
                        .exchange = {.content_type = media}};
    int rc = SYN_OK;

    for (unsigned n = 0; rc == SYN_OK;) {
        syn_oci_endpoint_url(registry, up.endpoint, "manifests",
                             ref->tag[0] != '\0' ? ref->tag : digest, up.exchange.url);
        rc = ask(&up, "PUT", 0, source.size, err);
        if (rc == SYN_OK && up.exchange.status / 100 == 2)
            break;
        rc = after_failure(&up, rc, &n, err);
    }
    if (rc == SYN_OK && syn_image_digest_ok(up.exchange.digest) &&
        !syn_str_eq(up.exchange.digest, digest))
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "%s says that it has another manifest than it was sent",
                      up.endpoint->host);
    return rc;
}
